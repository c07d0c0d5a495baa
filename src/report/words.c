/* words: how the terminal and the HTML report call things alike, and what they list in which order.
 *
 * Sensors name devices as their vendors do, at length. People say "GPU 0": that is the name here,
 * in every table, note and plot of one output, and the long one is a detail of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "plan/signal.h"
#include "report/words.h"

enum { DEPTH_MOST = 4 }; /* parts of parts; a document that was tampered with may have circles */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* ---- names ---- */

static const char *word_of(enum wt_device_kind kind)
{
    switch (kind) {
    case WT_DEVICE_GPU:
        return "GPU";
    case WT_DEVICE_CPU:
        return "CPU";
    case WT_DEVICE_DRAM:
        return "memory";
    default:
        return "node";
    }
}

static size_t index_of(const struct wt_run *run, const char *id)
{
    for (size_t i = 0; id[0] && i < run->device_count; i++)
        if (strcmp(run->devices[i].id, id) == 0)
            return i;
    return SIZE_MAX;
}

/* Rails are parts of "node", whichever meter that is: the one of their own chip, or else the only
 * one of their source. */
static size_t node_of(const struct wt_run *run, size_t at)
{
    size_t found = SIZE_MAX, count = 0;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->kind != WT_DEVICE_NODE || d->is_part || !begins(d->id, "node-") ||
            strcmp(d->source, run->devices[at].source) != 0)
            continue;
        if (begins(run->devices[at].id, d->id + 5))
            return i;
        found = i;
        count++;
    }
    return count == 1 ? found : SIZE_MAX;
}

/* The device that this one is a part of; SIZE_MAX: none that is listed. */
static size_t whole_of(const struct wt_run *run, size_t at)
{
    const struct wt_run_device *d = &run->devices[at];
    size_t whole = d->is_part ? index_of(run, d->part_of) : SIZE_MAX;
    if (d->is_part && whole == SIZE_MAX && strcmp(d->part_of, "node") == 0)
        whole = node_of(run, at);
    return whole == at ? SIZE_MAX : whole;
}

/* Without what stands in brackets at the end. */
static const char *bare(const char *name, char *buf, size_t size)
{
    const char *bracket = strstr(name, " (");
    size_t n = bracket && bracket != name ? (size_t)(bracket - name) : strlen(name);
    return wt_text(buf, size, "%.*s", (int)n, name);
}

/* A --sensor-command without a name: sensor/command.c calls it "node by COMMAND". */
static bool is_unnamed_command(const struct wt_run_device *d)
{
    char id[32];
    wt_text(id, sizeof(id), "%s-command", wt_device_kind_name(d->kind));
    return strcmp(d->source, "command") == 0 && begins(d->id, id);
}

static const char *name_of(const struct wt_run *run, size_t at, unsigned depth, char *buf,
                           size_t size);

/* "core of cpu-package-0" by the name that the whole has here. */
static const char *part_name(const struct wt_run *run, size_t at, unsigned depth, char *buf,
                             size_t size)
{
    const struct wt_run_device *d = &run->devices[at];
    size_t whole = whole_of(run, at);
    char short_name[96], whole_name[112], whole_bare[96] = "", again[120];
    unsigned package;
    bare(d->name[0] ? d->name : d->id, short_name, sizeof(short_name));
    if (whole != SIZE_MAX && depth < DEPTH_MOST) {
        name_of(run, whole, depth + 1, whole_name, sizeof(whole_name));
        bare(run->devices[whole].name, whole_bare, sizeof(whole_bare));
    } else if (sscanf(d->part_of, "cpu-package-%u", &package) == 1) {
        wt_text(whole_name, sizeof(whole_name), "CPU %u", package);
    } else {
        wt_text(whole_name, sizeof(whole_name), "%s",
                begins(d->part_of, "node") ? "node" : d->part_of);
    }
    if (strcmp(d->id, "node-psys") == 0)
        return wt_text(buf, size, "psys");
    if (d->kind == WT_DEVICE_GPU && strcmp(d->source, "nvml") == 0 && d->index >= 0)
        return wt_text(buf, size, "MIG %d of %s", d->index, whole_name);
    if (d->kind == WT_DEVICE_GPU && strcmp(d->source, "amdgpu") == 0 && d->index >= 0)
        return wt_text(buf, size, "GPU %d", d->index);
    wt_text(again, sizeof(again), "%s-%s", d->part_of, d->source);
    if (d->part_of[0] && strcmp(d->id, again) == 0)
        return wt_text(buf, size, "%s by %s", whole_name, d->source);
    const char *die = strstr(short_name, "-die-");
    if (begins(short_name, "CPU package ") && die)
        return wt_text(buf, size, "CPU %.*s die %s", (int)(die - short_name - 12), short_name + 12,
                       die + 5);
    const char *of = strstr(short_name, " of ");
    bool is_of_whole = of && (strcmp(of + 4, d->part_of) == 0 ||
                              (whole_bare[0] && strcmp(of + 4, whole_bare) == 0));
    if (is_of_whole)
        return wt_text(buf, size, "%.*s of %s", (int)(of - short_name), short_name, whole_name);
    return wt_text(buf, size, "%s", short_name);
}

/* What people call it, when there is no other of this name. */
static const char *name_of(const struct wt_run *run, size_t at, unsigned depth, char *buf,
                           size_t size)
{
    const struct wt_run_device *d = &run->devices[at];
    const char *name = d->name[0] ? d->name : d->id, *die;
    size_t count = 0;
    if (is_unnamed_command(d))
        return wt_text(buf, size, "%s", word_of(d->kind));
    /* Runs stored before the index was kept have nothing better. */
    if (d->index < 0 || strcmp(d->source, "command") == 0)
        return wt_text(buf, size, "%s", name);
    if (d->is_part)
        return part_name(run, at, depth, buf, size);
    switch (d->kind) {
    case WT_DEVICE_GPU:
        return wt_text(buf, size, "GPU %d", d->index);
    case WT_DEVICE_CPU:
        if (begins(name, "all "))
            return bare(name, buf, size);
        die = strstr(d->id, "-die-");
        return die ? wt_text(buf, size, "CPU %d die %s", d->index, die + 5)
                   : wt_text(buf, size, "CPU %d", d->index);
    case WT_DEVICE_DRAM:
        for (size_t i = 0; i < run->device_count; i++)
            count += run->devices[i].kind == WT_DEVICE_DRAM && !run->devices[i].is_part &&
                     strcmp(run->devices[i].source, "command") != 0;
        return count > 1 ? wt_text(buf, size, "memory %d", d->index) : wt_text(buf, size, "memory");
    default:
        if (begins(name, "what the power supply"))
            return wt_text(buf, size, "power supply");
        return begins(name, "node") ? wt_text(buf, size, "node") : bare(name, buf, size);
    }
}

/* Of several meters of a node each says which: "node (ipmi)". */
static const char *full_name_of(const struct wt_run *run, size_t at, char *buf, size_t size)
{
    const struct wt_run_device *d = &run->devices[at];
    char mine[128], other[128];
    name_of(run, at, 0, mine, sizeof(mine));
    for (size_t i = 0; d->kind == WT_DEVICE_NODE && !d->is_part && i < run->device_count; i++)
        if (i != at && begins(d->id, "node-") &&
            strcmp(name_of(run, i, 0, other, sizeof(other)), mine) == 0)
            return wt_text(buf, size, "%.60s (%.50s)", mine, d->id + 5);
    return wt_text(buf, size, "%s", mine);
}

const char *wt_device_title(const struct wt_run *run, size_t at, char *buf, size_t size)
{
    char mine[128], other[128];
    size_t same = 0, number = 0;
    if (at >= run->device_count)
        return wt_text(buf, size, "device %zu", at);
    full_name_of(run, at, mine, sizeof(mine));
    for (size_t i = 0; i < run->device_count; i++)
        if (strcmp(full_name_of(run, i, other, sizeof(other)), mine) == 0) {
            same++;
            number += i < at;
        }
    if (same < 2)
        return wt_text(buf, size, "%s", mine);
    return wt_text(buf, size, "%s, number %zu", mine, number);
}

const char *wt_device_title_of(const struct wt_run *run, const char *id, char *buf, size_t size)
{
    size_t at = index_of(run, id);
    unsigned package;
    char more;
    if (at != SIZE_MAX)
        return wt_device_title(run, at, buf, size);
    if (sscanf(id, "cpu-package-%u%c", &package, &more) == 1)
        return wt_text(buf, size, "CPU %u", package);
    return wt_text(buf, size, "%s", id);
}

const char *wt_lost_words(const struct wt_run *run, const struct wt_run_setting *s, char *buf,
                          size_t size)
{
    char value[48], name[128];
    return wt_text(
        buf, size, "%s %s on %s was in force for the first %.1f of %.1f s only: %s",
        wt_knob_name(s->knob), wt_knob_value_text(value, sizeof(value), s->knob, s->requested),
        wt_device_title_of(run, s->device_id, name, sizeof(name)), s->held_s, run->wall_s, s->lost);
}

const char *wt_device_detail(const struct wt_run *run, size_t at, char *buf, size_t size)
{
    buf[0] = '\0';
    if (at >= run->device_count)
        return buf;
    const struct wt_run_device *d = &run->devices[at];
    char title[128], short_name[96];
    const char *modeled = strstr(d->name, ", modeled: "), *bracket = strstr(d->name, " (");
    wt_device_title(run, at, title, sizeof(title));
    bare(d->name, short_name, sizeof(short_name));
    if (modeled)
        return wt_text(buf, size, "%s", modeled + 11);
    if (is_unnamed_command(d)) {
        const char *by = strstr(d->name, " by ");
        return wt_text(buf, size, "%s", by ? by + 1 : "");
    }
    bool is_told = begins(short_name, "CPU package") || begins(short_name, "node") ||
                   begins(short_name, "all ") || begins(short_name, "what the power supply") ||
                   strcmp(short_name, title) == 0 || strstr(short_name, " of ") ||
                   begins(title, d->name) || strcmp(title, "psys") == 0;
    if (!is_told)
        return wt_text(buf, size, "%s", d->name);
    if (strcmp(title, "psys") == 0)
        return buf;
    if (bracket)
        return wt_text(buf, size, "%.*s", (int)strcspn(bracket + 2, ")"), bracket + 2);
    return begins(short_name, "node ") ? wt_text(buf, size, "%s", short_name + 5) : buf;
}

/* ---- what is listed, and in which order ---- */

struct lines {
    const struct wt_run *run;
    struct wt_report_line *list;
    size_t count;
    bool is_counted;
};

static bool is_listed(const struct lines *l, size_t device)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->list[i].kind == WT_LINE_DEVICE && l->list[i].device == device)
            return true;
    return false;
}

/* A device and below it its parts. */
static void add(struct lines *l, size_t device, unsigned depth)
{
    const struct wt_run_device *d = &l->run->devices[device];
    if (is_listed(l, device))
        return;
    l->list[l->count++] = (struct wt_report_line){.kind = WT_LINE_DEVICE,
                                                  .device = device,
                                                  .depth = depth,
                                                  .is_orphan = d->is_part && !depth,
                                                  .is_counted = l->is_counted};
    for (size_t i = 0; i < l->run->device_count; i++)
        if (i != device && whole_of(l->run, i) == device)
            add(l, i, depth + 1);
}

size_t wt_report_lines(const struct wt_run *run, struct wt_report_line *lines)
{
    struct lines l = {.run = run, .list = lines, .is_counted = true};
    for (size_t i = 0; i < run->device_count; i++)
        if (run->devices[i].is_counted)
            add(&l, i, 0);
    bool has_beside = l.count < run->device_count;
    if (run->device_count > 1 || has_beside)
        lines[l.count++] = (struct wt_report_line){.kind = WT_LINE_TOTAL};
    if (has_beside)
        lines[l.count++] = (struct wt_report_line){.kind = WT_LINE_BESIDE};
    l.is_counted = false;
    for (int is_modeled = 0; is_modeled < 2; is_modeled++)
        for (size_t i = 0; i < run->device_count; i++)
            if (whole_of(run, i) == SIZE_MAX && run->devices[i].is_modeled == is_modeled)
                add(&l, i, 0);
    for (size_t i = 0; i < run->device_count; i++) /* each a part of the other: no true record */
        add(&l, i, 0);
    if (run->has_estimate)
        lines[l.count++] = (struct wt_report_line){.kind = WT_LINE_ESTIMATE};
    return l.count;
}

/* ---- where a figure comes from ---- */

const char *wt_measured_by(const struct wt_run_device *d, bool is_brief, char *buf, size_t size)
{
    enum wt_provenance from = d->energy.provenance;
    if (d->is_part && !d->has_sensor)
        return wt_text(buf, size, is_brief ? "no sensor" : "no sensor of its own");
    /* Of an estimate it does not matter how it was added up. */
    if (from == WT_PROV_UNKNOWN || from == WT_PROV_MODELED || from == d->method)
        return wt_text(buf, size, "%s", wt_provenance_name(from));
    if (is_brief)
        return wt_text(buf, size, "%s",
                       wt_provenance_name(from == WT_PROV_EMULATED ? d->method : from));
    return wt_text(buf, size, "%s, %s", wt_provenance_name(d->method), wt_provenance_name(from));
}

const char *wt_run_unreal(const struct wt_run *run)
{
    bool is_modeled = run->total.provenance == WT_PROV_MODELED;
    if (run->is_emulated)
        return "emulated";
    if (run->is_replayed)
        return is_modeled ? "replayed, modeled" : "replayed";
    return is_modeled ? "modeled" : "";
}

const char *wt_work_unit(const struct wt_run *run, char *buf, size_t size)
{
    size_t n = strlen(run->work.unit);
    bool is_cut = run->work.count == 1 && n > 1 && run->work.unit[n - 1] == 's';
    return wt_text(buf, size, "%.*s", (int)(n - is_cut), run->work.unit);
}

bool wt_work_has_steps(const struct wt_run *run)
{
    bool is_steps = strcmp(run->work.unit, "steps") == 0 || strcmp(run->work.unit, "step") == 0;
    return run->work.steps && !(is_steps && run->work.steps == run->work.count);
}

bool wt_run_is_unstarted(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && (run->exit_code == 126 || run->exit_code == 127) &&
           !run->device_count && !(run->wall_s > 0);
}

const char *wt_replayed_words(const struct wt_run *run)
{
    for (size_t i = 0; i < run->device_count; i++)
        if (strcmp(run->devices[i].source, "command") == 0)
            return "a recorded machine, nothing was measured here but by --sensor-command";
    return "a recorded machine, nothing was measured here";
}

/* ---- each thing once ---- */

const char wt_standing_words[] =
    "a recording does not move: no energy can be had from it where only a counter was recorded";

/* What a window says of readings that never change, or not yet (window/series.c). */
static bool is_of_standing(const char *why)
{
    return strstr(why, "stands still") || strstr(why, "too few readings") ||
           strstr(why, "never read") || strstr(why, "not read from the start");
}

static bool is_recorded(const struct wt_run *run, const struct wt_run_device *d)
{
    return run->is_replayed && strcmp(d->source, "command") != 0;
}

bool wt_is_standing(const struct wt_run *run)
{
    for (size_t i = 0; i < run->device_count; i++)
        if (is_recorded(run, &run->devices[i]) && is_of_standing(run->devices[i].note) &&
            !(run->devices[i].is_modeled))
            return true;
    return false;
}

bool wt_gap_is_said(const struct wt_run *run, size_t gap)
{
    const struct wt_run_gap *g = &run->gaps[gap];
    size_t at = index_of(run, g->device_id);
    if (at == SIZE_MAX)
        return true;
    const struct wt_run_device *d = &run->devices[at];
    if (d->is_part && !d->has_sensor)
        return false;
    return !(is_recorded(run, d) && !d->is_modeled && is_of_standing(g->why));
}

bool wt_note_is_said(const struct wt_run *run, size_t device)
{
    const struct wt_run_device *d = &run->devices[device];
    size_t n = strlen(d->note);
    if (!n || d->is_check_off || (d->is_part && !d->has_sensor))
        return false;
    if (is_recorded(run, d) && !d->is_modeled && is_of_standing(d->note))
        return false;
    for (size_t i = 0; i < run->gap_count; i++) {
        size_t k = strlen(run->gaps[i].why);
        if (k && k <= n && strcmp(run->gaps[i].device_id, d->id) == 0 &&
            strcmp(d->note + n - k, run->gaps[i].why) == 0 && wt_gap_is_said(run, i))
            return false;
    }
    return true;
}

/* ---- shares ---- */

const char *wt_share_text(const struct wt_run_device *d, uint64_t uj, char *buf, size_t size)
{
    double share_j = wt_j_from_uj(uj), energy_j = d->energy.energy_j;
    if (d->energy.provenance != WT_PROV_MODELED || !(energy_j > 0))
        return wt_format_joules(buf, size, share_j);
    /* What the model is off by it is off by for all who share. */
    const struct wt_joules j = {share_j, share_j * d->energy.low_j / energy_j,
                                share_j * d->energy.high_j / energy_j, WT_PROV_MODELED};
    return wt_format_interval(buf, size, &j);
}

const char *wt_residual_words(const struct wt_run_device *d)
{
    if (strcmp(d->attribution.rule, "part") == 0)
        return "in no instance";
    return d->attribution.idle_uj ? "others or nobody" : "others and idle";
}

const char *wt_share_name(const struct wt_run *run, const struct wt_run_share *share, char *buf,
                          size_t size)
{
    if (!share->name[0])
        return wt_text(buf, size, "process");
    return wt_device_title_of(run, share->name, buf, size);
}

const char *wt_race_words(const struct wt_run *run, char *buf, size_t size)
{
    char joules[48];
    unsigned rest = run->race.trials - run->race.finished - run->race.stopped - run->race.failed;
    if (rest == run->race.trials)
        return wt_text(buf, size, "%u trainings, not decided", rest);
    wt_text(buf, size, "%u trainings", run->race.trials);
    size_t used = strlen(buf);
    if (run->race.winner[0])
        wt_text(buf + used, size - used, "; %s wins, with a loss of %.4g", run->race.winner,
                run->race.loss);
    used = strlen(buf);
    wt_text(buf + used, size - used, "; came to their ends: %u, stopped early: %u, failed: %u",
            run->race.finished, run->race.stopped, run->race.failed);
    used = strlen(buf);
    if (rest)
        wt_text(buf + used, size - used, ", not decided: %u", rest);
    else if (run->race.stopped && isfinite(run->race.saving))
        wt_text(buf + used, size - used, "; %s saved (%.1f %%, %s by energies that are %s)",
                wt_format_joules(joules, sizeof(joules), run->race.saved_j), 100 * run->race.saving,
                run->race.is_verified ? "found" : "estimated",
                wt_provenance_name(run->race.provenance));
    return buf;
}

const char *wt_watts_interval(char *buf, size_t size, const struct wt_estimate *w)
{
    double half = (w->high - w->low) / 2;
    int decimals = half > 0 ? (int)fmin(3, fmax(0, 1 - floor(log10(half)))) : 2;
    if (!isfinite(half))
        return wt_text(buf, size, "%.3g W [no bound]", w->value);
    return wt_text(buf, size, "%.*f W [%.*f, %.*f]", decimals, w->value, decimals, w->low, decimals,
                   w->high);
}

const char *wt_three_digits(char *buf, size_t size, double value, const char *unit)
{
    return wt_text(buf, size, fabs(value) >= 999.5 && fabs(value) < 1e9 ? "%.0f%s" : "%.3g%s",
                   value, unit);
}

const char *wt_short_seconds(char *buf, size_t size, double s)
{
    if (s >= 2 * 86400.0 && s < 1e15) /* in days: a training's are many hours */
        return wt_span_text(buf, size, llround(s));
    if (s >= 60 || isnan(s))
        return wt_format_seconds(buf, size, s);
    double factor = s >= 1 ? 1 : s >= 1e-3 ? 1e3 : 1e6, value = s * factor;
    return wt_text(buf, size, "%.*f %s",
                   value >= 99.95   ? 0
                   : value >= 9.995 ? 1
                                    : 2,
                   value,
                   s >= 1      ? "s"
                   : s >= 1e-3 ? "ms"
                               : "us");
}
