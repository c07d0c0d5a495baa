/* rapl: energy counters of Intel and AMD processors.
 *
 * The kernel shows the same counters as perf events, as powercap files and as registers. Each
 * domain is read by the first of these that works, in that order: perf needs a privilege that can
 * be given to one program, and keeps 64 bits; powercap has been root's alone since Linux 5.10
 * (CVE-2020-8694); a register needs root and a module. A refusal is worth saying only where no way
 * was left.
 *
 * Which domains are counted in a sum: each package, and each DRAM domain (memory behind a package
 * is not inside its counter). Core and uncore are inside their package. psys is the platform and
 * contains the packages, but what else depends on the board; it is listed as a part, so that
 * nothing is counted twice, and the packages are what is summed. Dies of one Intel package have
 * counters of their own and are summed; AMD's repeat the counter of their package, and so do two
 * domains of one name: the first is summed.
 *
 * Source: Documentation/power/powercap/powercap.rst, and those of rapl_perf.c and rapl_msr.c. */
#include <stdlib.h>
#include <string.h>

#include "sensor/rapl.h"

#define POWERCAP "/sys/class/powercap"

/* 32 bits in steps of 2^-14 J, where nothing tells the step. */
#define STEP_USUAL_UJ 61

/* One counter and the ways to it. */
struct domain {
    enum wt_rapl_kind kind; /* WT_RAPL_KIND_COUNT: a name that is not known here */
    unsigned package;
    int die;                          /* -1: the package is not divided */
    char name[64];                    /* as powercap names it, or would */
    char parent[96];                  /* the id of the package it lies in, or "" */
    char zone[32];                    /* powercap's, or "" */
    uint64_t range_uj;                /* the hardware's, by powercap; 0: unknown */
    struct wt_rapl_offer *perf, *msr; /* borrowed; NULL: not that way */
};

struct domains {
    struct domain *list; /* owned */
    size_t count, room;
};

/* What a source of this kind holds beside its gauges. */
struct ways {
    struct wt_rapl_offers perf, msr;
    struct wt_rapl_event **events; /* owned, each too */
    size_t event_count, event_room;
};

/* ---- which processors to ask ---- */

void wt_rapl_places_add(struct wt_rapl_places *places, const struct wt_ctx *ctx, bool is_amd,
                        unsigned cpu)
{
    struct wt_rapl_place place = {.package = wt_machine_package_of(ctx, cpu), .cpu = cpu};
    place.die = is_amd ? -1 : (int)wt_machine_die_of(ctx, cpu);
    for (size_t i = 0; i < places->count; i++)
        if (places->list[i].package == place.package && places->list[i].die == place.die)
            return;
    if (places->count < WT_RAPL_PLACES_MAX)
        places->list[places->count++] = place;
}

void wt_rapl_places_end(struct wt_rapl_places *places)
{
    bool is_divided = false;
    for (size_t i = 0; i < places->count; i++)
        for (size_t j = 0; j < i; j++)
            is_divided |= places->list[i].package == places->list[j].package;
    for (size_t i = 0; i < places->count && !is_divided; i++)
        places->list[i].die = -1;
}

/* ---- which domains there are ---- */

/* Borrowed until the next one is added. NULL without memory. */
static struct domain *add_domain(struct domains *domains)
{
    if (domains->count == domains->room) {
        size_t room = domains->room ? domains->room * 2 : 16;
        struct domain *more = realloc(domains->list, room * sizeof(*more));
        if (!more)
            return NULL;
        domains->list = more;
        domains->room = room;
    }
    struct domain *d = &domains->list[domains->count++];
    *d = (struct domain){.die = -1};
    return d;
}

static void parse_name(struct domain *d, const struct domain *parent)
{
    static const char *const names[] = {[WT_RAPL_CORE] = "core",
                                        [WT_RAPL_UNCORE] = "uncore",
                                        [WT_RAPL_DRAM] = "dram",
                                        [WT_RAPL_PSYS] = "psys"};
    if (sscanf(d->name, "package-%u-die-%d", &d->package, &d->die) >= 1) {
        d->kind = WT_RAPL_PACKAGE;
        return;
    }
    for (d->kind = WT_RAPL_CORE; d->kind < WT_RAPL_KIND_COUNT; d->kind++)
        if (strcmp(d->name, names[d->kind]) == 0)
            break;
    if (parent) {
        d->package = parent->package;
        d->die = parent->die;
        wt_text(d->parent, sizeof(d->parent), "cpu-%s", parent->name);
    }
}

/* One entry of powercap's directory. parent: the number of its package among the domains, or none.
 * What cannot be read is noted. */
static int add_zone(struct domains *domains, const struct wt_ctx *ctx, const char *entry,
                    size_t parent, struct wt_findings *notes)
{
    char path[160], name[64];
    struct wt_error why;
    wt_text(path, sizeof(path), POWERCAP "/%s/name", entry);
    int rc = wt_fs_read(ctx, path, name, sizeof(name), &why);
    if (rc == 0 && !*name)
        rc = wt_fail(&why, WT_E_FORMAT, "%s: empty", path);
    if (rc < 0) {
        if (rc == WT_E_NOTFOUND)
            wt_fix(&why, "containers hide it: mount the host's /sys/class/powercap and "
                         "/sys/devices/virtual/powercap, or measure on the host");
        return wt_findings_add_error(notes, "rapl", "", entry, &why);
    }
    struct domain *d = add_domain(domains);
    if (!d)
        return WT_E_NOMEM;
    wt_text(d->name, sizeof(d->name), "%s", name);
    wt_text(d->zone, sizeof(d->zone), "%s", entry);
    wt_text(path, sizeof(path), POWERCAP "/%s/max_energy_range_uj", entry);
    if (wt_fs_read_u64(ctx, path, &d->range_uj, NULL) < 0)
        d->range_uj = 0;
    parse_name(d, parent < domains->count - 1 ? &domains->list[parent] : NULL);
    return 0;
}

/* Packages first, then what lies inside them; the list is in natural order. The same package by way
 * of "intel-rapl-mmio" is the same energy again, and stays out. */
static int find_zones(struct domains *domains, const struct wt_ctx *ctx, struct wt_findings *notes)
{
    char **names = NULL;
    size_t count = 0;
    int rc = wt_fs_list(ctx, POWERCAP, &names, &count, NULL);
    if (rc == WT_E_NOMEM)
        return rc;
    rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        unsigned zone;
        int used = 0;
        if (sscanf(names[i], "intel-rapl:%u%n", &zone, &used) != 1 || names[i][used])
            continue;
        size_t parent = domains->count;
        rc = add_zone(domains, ctx, names[i], SIZE_MAX, notes);
        if (domains->count == parent)
            parent = SIZE_MAX;
        char prefix[32];
        wt_text(prefix, sizeof(prefix), "intel-rapl:%u:", zone);
        for (size_t j = 0; rc == 0 && j < count; j++)
            if (strncmp(names[j], prefix, strlen(prefix)) == 0)
                rc = add_zone(domains, ctx, names[j], parent, notes);
    }
    wt_fs_list_free(names, count);
    return rc;
}

/* A domain that only perf or the registers show is named as powercap would. */
static struct domain *domain_of(struct domains *domains, const struct wt_rapl_offer *offer,
                                bool is_msr)
{
    static const char *const names[] = {"", "core", "uncore", "dram", "psys"};
    for (size_t i = 0; i < domains->count; i++) {
        struct domain *d = &domains->list[i];
        if (d->kind == offer->kind && !(is_msr ? d->msr : d->perf) &&
            (d->kind == WT_RAPL_PSYS || (d->package == offer->package &&
                                         (d->die == offer->die || d->die < 0 || offer->die < 0))))
            return d;
    }
    struct domain *d = add_domain(domains);
    if (!d)
        return NULL;
    char package[48];
    wt_text(package, sizeof(package), offer->die < 0 ? "package-%u" : "package-%u-die-%d",
            offer->package, offer->die);
    d->kind = offer->kind;
    d->package = offer->package;
    d->die = offer->die;
    wt_text(d->name, sizeof(d->name), "%s",
            offer->kind == WT_RAPL_PACKAGE ? package : names[offer->kind]);
    if (offer->kind != WT_RAPL_PACKAGE && offer->kind != WT_RAPL_PSYS)
        wt_text(d->parent, sizeof(d->parent), "cpu-%s", package);
    return d;
}

static int take_offers(struct domains *domains, struct wt_rapl_offers *offers, bool is_msr)
{
    for (size_t i = 0; i < offers->count; i++) {
        struct domain *d = domain_of(domains, &offers->list[i], is_msr);
        if (!d)
            return WT_E_NOMEM;
        if (is_msr)
            d->msr = &offers->list[i];
        else
            d->perf = &offers->list[i];
    }
    return 0;
}

static int place_of(const struct domain *a, const struct domain *b)
{
    bool is_a_psys = a->kind == WT_RAPL_PSYS, is_b_psys = b->kind == WT_RAPL_PSYS;
    if (is_a_psys != is_b_psys)
        return is_a_psys ? 1 : -1;
    if (a->package != b->package)
        return a->package < b->package ? -1 : 1;
    if (a->die != b->die)
        return a->die < b->die ? -1 : 1;
    return (int)a->kind - (int)b->kind;
}

/* Package after package, each before what lies inside it. Keeps the order of equals. */
static void sort_domains(struct domains *domains)
{
    for (size_t i = 1; i < domains->count; i++)
        for (size_t j = i; j && place_of(&domains->list[j - 1], &domains->list[j]) > 0; j--) {
            struct domain swap = domains->list[j];
            domains->list[j] = domains->list[j - 1];
            domains->list[j - 1] = swap;
        }
}

/* ---- what a domain is ---- */

static void describe(const struct domain *d, struct wt_device_info *info)
{
    const char *entry = *d->zone ? d->zone : d->name;
    *info = (struct wt_device_info){.index = d->package};
    if (d->kind == WT_RAPL_PACKAGE) {
        const char *die = strstr(d->name, "-die-");
        info->kind = WT_DEVICE_CPU;
        wt_text(info->id, sizeof(info->id), "cpu-%s", d->name);
        wt_text(info->name, sizeof(info->name), "CPU package %u%s%s", d->package,
                die ? ", die " : "", die ? die + strlen("-die-") : "");
    } else if (d->kind == WT_RAPL_PSYS) {
        info->kind = WT_DEVICE_NODE;
        info->is_part = true;
        info->index = 0;
        wt_text(info->id, sizeof(info->id), "node-psys");
        wt_text(info->name, sizeof(info->name), "platform (psys)");
    } else if (d->kind == WT_RAPL_DRAM) {
        info->kind = WT_DEVICE_DRAM;
        wt_text(info->id, sizeof(info->id), "dram%s", *d->parent ? d->parent + strlen("cpu") : "");
        wt_text(info->name, sizeof(info->name), "memory of %s", *d->parent ? d->parent : entry);
    } else {
        info->kind = WT_DEVICE_CPU;
        info->is_part = true;
        wt_text(info->part_of, sizeof(info->part_of), "%s", d->parent);
        wt_text(info->id, sizeof(info->id), "%.60s-%.30s", *d->parent ? d->parent : "cpu", d->name);
        wt_text(info->name, sizeof(info->name), "%.30s of %.50s", d->name,
                *d->parent ? d->parent : entry);
    }
}

/* A second domain that says it is the same thing, or a die that repeats its package. */
static bool mark_repeat(const struct wt_gauges *g, bool is_amd, struct wt_device_info *info)
{
    bool is_repeat = false;
    unsigned same = 0;
    for (size_t i = 0; i < g->source.count; i++) {
        const struct wt_device_info *other = &g->source.devices[i];
        bool is_same_id = strcmp(other->id, info->id) == 0;
        bool is_again = !info->is_part && strcmp(other->part_of, info->id) == 0;
        bool is_same_package = is_amd && !info->is_part && !other->is_part &&
                               info->kind == WT_DEVICE_CPU && other->kind == WT_DEVICE_CPU &&
                               other->index == info->index;
        /* "core" lies in "cpu-package-0" and repeats nothing. */
        if (is_again && !strstr(other->id, "-again-"))
            continue;
        if (!is_same_id && !is_again && !is_same_package)
            continue;
        if (!same++)
            wt_text(info->part_of, sizeof(info->part_of), "%s",
                    *other->part_of ? other->part_of : other->id);
        is_repeat = true;
    }
    if (!is_repeat)
        return false;
    info->is_part = true;
    char text[96];
    wt_text(text, sizeof(text), "%s", info->id);
    for (size_t i = 0; i < g->source.count; i++)
        if (strcmp(g->source.devices[i].id, text) == 0) {
            wt_text(info->id, sizeof(info->id), "%.80s-again-%u", text, same);
            break;
        }
    wt_text(text, sizeof(text), "%s", info->name);
    wt_text(info->name, sizeof(info->name), "%.60s (the same counter)", text);
    return true;
}

/* What is the same whichever way it is read. */
static void set_traits(const struct domain *d, const struct wt_machine *machine,
                       struct wt_sensor_traits *traits)
{
    double fixed_uj = wt_rapl_fixed_step_uj(machine, d->kind);
    uint64_t step_uj = STEP_USUAL_UJ;
    if (d->range_uj)
        step_uj = (d->range_uj >> 32) + 1;
    else if (fixed_uj > 0)
        step_uj = (uint64_t)fixed_uj + (fixed_uj > (double)(uint64_t)fixed_uj);
    else if (d->msr)
        step_uj = wt_gauge_scaled_uj(1, &d->msr->scale) + 1;
    /* The gain is assumed. */
    *traits = (struct wt_sensor_traits){
        .energy_period_ns = WT_NS_PER_MS, .energy_quantum_uj = step_uj, .gain_ppm = 50000};
}

/* ---- one way after the other ---- */

static int keep_event(struct ways *ways, struct wt_rapl_event *event)
{
    if (ways->event_count == ways->event_room) {
        size_t room = ways->event_room ? ways->event_room * 2 : 16;
        struct wt_rapl_event **more = realloc(ways->events, room * sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        ways->events = more;
        ways->event_room = room;
    }
    ways->events[ways->event_count++] = event;
    return 0;
}

/* The most a domain may draw: twice what the largest of its kind are rated for. Bounds gaps, and
 * what may be a wrap. A platform may be a whole node. */
static uint64_t most_mw(const struct domain *d)
{
    return d->kind == WT_RAPL_PSYS ? UINT64_C(20000000) : UINT64_C(1000000);
}

/* A hypervisor may show an event and never count it (psys alone, on a virtual machine with an
 * NVIDIA H200): a platform's counter moves every millisecond. That of graphics that idle, or of
 * cores, may well stand. */
static bool stands_still(const struct wt_gauges *g, const struct wt_gauge *gauge)
{
    uint64_t first_uj, uj;
    if (wt_rapl_event_uj(g->ctx, gauge, &first_uj, NULL) < 0)
        return false;
    for (int i = 0; i < 5; i++) {
        g->ctx->clock.sleep_until_ns(g->ctx->clock.data, wt_ctx_now_ns(g->ctx) + WT_NS_PER_MS);
        if (wt_rapl_event_uj(g->ctx, gauge, &uj, NULL) < 0 || uj != first_uj)
            return false;
    }
    return true;
}

static int try_perf(struct wt_gauges *g, const struct wt_machine *machine, const struct domain *d,
                    struct wt_device_info *info, bool *ret_added, struct wt_findings *notes)
{
    struct wt_rapl_event *event;
    struct wt_error why;
    int rc = wt_rapl_event_open(&event, g->ctx, machine, d->perf, &why);
    if (rc < 0)
        return rc == WT_E_NOMEM ? rc
                                : wt_findings_add_error(notes, "rapl", "", "perf events", &why);
    if (keep_event(g->data, event) < 0) {
        wt_rapl_event_free(event);
        return WT_E_NOMEM;
    }
    struct wt_gauge gauge = {.counter = wt_rapl_event_uj,
                             .counter_data = event,
                             .power_max_mw = most_mw(d),
                             .range_uj =
                                 wt_gauge_scaled_uj((unsigned __int128)1 << 64, &d->perf->scale)};
    if (machine->is_virtual && d->kind == WT_RAPL_PSYS && stands_still(g, &gauge))
        return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", info->name, "",
                               "its counter stands still: this is a virtual machine");
    /* The kernel unwraps the hardware's counter, if it is asked in time. */
    info->traits.energy_range_uj = d->range_uj ? d->range_uj : info->traits.energy_quantum_uj << 32;
    wt_text(info->via, sizeof(info->via), "perf");
    return wt_gauges_add(g, info, &gauge, NULL, ret_added, notes);
}

static int try_powercap(struct wt_gauges *g, const struct domain *d, struct wt_device_info *info,
                        bool *ret_added, struct wt_findings *notes)
{
    struct wt_gauge gauge = {.range_uj = d->range_uj, .power_max_mw = most_mw(d)};
    wt_text(gauge.energy.path, sizeof(gauge.energy.path), POWERCAP "/%s/energy_uj", d->zone);
    info->traits.energy_range_uj = d->range_uj;
    wt_text(info->via, sizeof(info->via), "powercap");
    return wt_gauges_add(g, info, &gauge,
                         "root only since CVE-2020-8694: run as root, or until the next boot sudo "
                         "chmod a+r " POWERCAP "/intel-rapl:*/energy_uj",
                         ret_added, notes);
}

static int try_msr(struct wt_gauges *g, const struct domain *d, struct wt_device_info *info,
                   bool *ret_added, struct wt_findings *notes)
{
    struct wt_gauge gauge = {.counter = wt_rapl_msr_uj,
                             .counter_data = d->msr,
                             .power_max_mw = most_mw(d),
                             .range_uj = wt_gauge_scaled_uj(d->msr->count_range, &d->msr->scale)};
    info->traits.energy_range_uj = gauge.range_uj;
    wt_text(info->via, sizeof(info->via), "msr");
    return wt_gauges_add(g, info, &gauge, "run as root (CAP_SYS_RAWIO)", ret_added, notes);
}

/* What was said of the other ways, for whoever looks on. */
static void log_refusals(const struct wt_ctx *ctx, const char *id, const struct wt_findings *notes)
{
    for (size_t i = 0; i < notes->count; i++)
        wt_log(ctx, WT_LOG_DEBUG, "rapl", "%s: %s", id, notes->list[i].value);
}

/* The same sentence about the way as a whole is said once. */
static int move_notes(struct wt_findings *to, const struct wt_findings *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct wt_finding *f = &from->list[i];
        bool is_said = false;
        for (size_t j = 0; j < to->count && !is_said; j++)
            is_said = strcmp(to->list[j].source, f->source) == 0 &&
                      strcmp(to->list[j].device, f->device) == 0 &&
                      strcmp(to->list[j].what, f->what) == 0 &&
                      strcmp(to->list[j].value, f->value) == 0;
        if (!is_said &&
            wt_findings_add(to, f->kind, f->source, f->device, f->what, f->fix, "%s", f->value) < 0)
            return WT_E_NOMEM;
    }
    return 0;
}

/* What is known while the source is being opened. */
struct opening {
    struct wt_gauges *g;
    struct wt_machine machine;
    struct domains domains;
    struct wt_findings zone_notes, refusals;
    struct wt_error perf_why, msr_why; /* what the ways themselves answered */
    int perf_rc, msr_rc;
    bool is_msr_asked, is_any_unread;
};

/* The last way, and only asked for what no other shows: the first time something is missing. Those
 * domains that registers alone show come last. */
static int ask_registers(struct opening *o)
{
    struct ways *ways = o->g->data;
    if (o->is_msr_asked)
        return 0;
    o->is_msr_asked = true;
    o->msr_rc = wt_rapl_msr_find(o->g->ctx, &o->machine, &ways->msr, &o->msr_why);
    return take_offers(&o->domains, &ways->msr, true);
}

static int add_device(struct opening *o, size_t i)
{
    struct wt_gauges *g = o->g;
    struct wt_device_info info;
    /* Powercap first among what is said: it names the file. */
    struct wt_findings said = {0}, perf_said = {0};
    struct domain d = o->domains.list[i];
    bool is_added = false;
    describe(&d, &info);
    set_traits(&d, &o->machine, &info.traits);
    bool is_repeat = mark_repeat(g, o->machine.is_amd, &info);
    int rc = 0;
    if (d.perf)
        rc = try_perf(g, &o->machine, &d, &info, &is_added, &perf_said);
    if (rc == 0 && !is_added && *d.zone)
        rc = try_powercap(g, &d, &info, &is_added, &said);
    if (rc == 0)
        rc = move_notes(&said, &perf_said);
    if (rc == 0 && !is_added && !is_repeat) {
        rc = ask_registers(o);
        d = o->domains.list[i];
    }
    if (rc == 0 && !is_added && d.msr) {
        set_traits(&d, &o->machine, &info.traits);
        rc = try_msr(g, &d, &info, &is_added, &said);
    }
    bool is_unread = !is_added && !is_repeat;
    o->is_any_unread |= is_unread;
    if (rc == 0 && is_unread)
        rc = move_notes(&o->refusals, &said);
    else
        log_refusals(g->ctx, info.id, &said);
    wt_findings_done(&perf_said);
    wt_findings_done(&said);
    return rc;
}

/* ---- when there is nothing ---- */

static int note_none(const struct wt_ctx *ctx, const struct wt_machine *machine, bool is_hidden,
                     struct wt_findings *notes)
{
    if (machine->is_virtual)
        return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", "CPU energy", "",
                               "this is %s, and it has no CPU sensor", machine->virtual_name);
    if (is_hidden)
        return 0;
    if (*machine->container)
        return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", "CPU energy",
                               "mount the host's /sys/class/powercap and "
                               "/sys/devices/virtual/powercap, or measure on the host",
                               "this is a container (%s), and it shows no RAPL domain",
                               machine->container);
    char **names;
    size_t count;
    int rc = wt_fs_list(ctx, "/sys/class", &names, &count, NULL);
    if (rc < 0)
        return wt_findings_add(
            notes, WT_FINDING_MISSING, "rapl", "", "CPU energy",
            "show the container the host's /sys (-v /sys:/sys:ro), or measure on "
            "the host",
            "there is no %s/sys/class, as in a container that hides it", wt_fs_root(ctx));
    wt_fs_list_free(names, count);
    if (machine->is_arm)
        return 0; /* RAPL is Intel's and AMD's: nothing is missing */
    return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", "CPU energy",
                           "sudo modprobe intel_rapl_msr (AMD too, from Linux 5.11)",
                           "%s" POWERCAP " has no RAPL domain", wt_fs_root(ctx));
}

static void free_ways(struct wt_gauges *g)
{
    struct ways *ways = g->data;
    if (!ways)
        return;
    for (size_t i = 0; i < ways->event_count; i++)
        wt_rapl_event_free(ways->events[i]);
    free(ways->events);
    free(ways);
}

static int note_refused(const struct opening *o, bool is_any, struct wt_findings *notes)
{
    int rc = 0;
    if (o->perf_rc < 0 && o->perf_rc != WT_E_NOTFOUND)
        rc = wt_findings_add_error(notes, "rapl", "", "perf events", &o->perf_why);
    /* Without a domain the missing module is another one. */
    if (rc == 0 && o->msr_rc < 0 && o->msr_rc != WT_E_UNSUPPORTED &&
        (is_any || o->msr_rc != WT_E_NOTFOUND))
        rc = wt_findings_add_error(notes, "rapl", "", "registers", &o->msr_why);
    return rc;
}

static int find_domains(struct opening *o)
{
    struct ways *ways = o->g->data;
    const struct wt_ctx *ctx = o->g->ctx;
    int rc = find_zones(&o->domains, ctx, &o->zone_notes);
    /* Of another machine there are files only, unless somebody plays its kernel. */
    o->perf_rc = WT_E_NOTFOUND;
    if (rc == 0 && (ctx->perf || !*ctx->sysroot))
        o->perf_rc = wt_rapl_perf_find(ctx, &o->machine, &ways->perf, &o->perf_why);
    if (rc == 0)
        rc = take_offers(&o->domains, &ways->perf, false);
    if (rc == 0 && !o->domains.count)
        rc = ask_registers(o);
    sort_domains(&o->domains);
    return rc;
}

static int note_all(const struct opening *o, struct wt_findings *notes)
{
    const struct wt_gauges *g = o->g;
    bool is_by_perf = false, is_any = o->domains.count || o->zone_notes.count;
    int rc = 0;
    for (size_t k = 0; k < g->source.count; k++)
        is_by_perf |= strcmp(g->source.devices[k].via, "perf") == 0;
    if (!is_by_perf)
        rc = move_notes(notes, &o->zone_notes);
    if (rc == 0)
        rc = move_notes(notes, &o->refusals);
    if (rc == 0 && !g->source.count)
        rc = note_none(g->ctx, &o->machine, is_any, notes);
    if (rc == 0 && (o->is_any_unread || (!g->source.count && !o->machine.is_virtual)))
        rc = note_refused(o, is_any, notes);
    return rc;
}

static int rapl_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                     const struct wt_devices_options *options, struct wt_findings *notes,
                     struct wt_error *err)
{
    (void)options;
    struct opening o = {0};
    int rc = wt_gauges_new(&o.g, ctx, &wt_rapl_ops, err);
    if (rc < 0)
        return rc;
    wt_machine_look(ctx, &o.machine);
    o.g->free_data = free_ways;
    o.g->data = calloc(1, sizeof(struct ways));
    rc = o.g->data ? find_domains(&o) : WT_E_NOMEM;
    for (size_t i = 0; rc == 0 && i < o.domains.count; i++) /* there may come more */
        rc = add_device(&o, i);
    if (rc == 0)
        rc = note_all(&o, notes);
    if (rc < 0) {
        rc = wt_fail(err, rc, "no memory for RAPL");
        wt_gauges_close(&o.g->source);
    } else {
        *ret_source = &o.g->source;
    }
    wt_findings_done(&o.zone_notes);
    wt_findings_done(&o.refusals);
    free(o.domains.list);
    return rc;
}

const struct wt_source_ops wt_rapl_ops = {
    .name = "rapl",
    .open = rapl_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
