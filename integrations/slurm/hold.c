/* hold: see hold.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hold.h"
#include "talk.h"

#define NVIDIA "/proc/driver/nvidia/gpus"

/* One GPU of the job. */
struct card {
    uint32_t number, device; /* Slurm's, wattuned's */
    bool is_found;
    char id[96], name[96];     /* id: by map= or minor number at first; "": not known yet */
    int64_t cap_mw, clock_khz; /* on the device; 0: not held */
};

/* A sentence for the user, and the GPUs that it is true of. */
struct note {
    uint64_t cards;
    char text[320];
};

struct scene {
    const struct wt_slurm_hold *h;
    struct wt_slurm_talk talk;
    struct card cards[WT_SLURM_GPUS];
    size_t count;
    struct note notes[WT_SLURM_NOTES];
    size_t note_count;
    bool is_wanted;   /* something was asked for, or the site has a default: the user is told */
    bool has_failed;  /* something that was asked for does not hold */
    bool is_claiming; /* the last question of hold() was a claim */
    bool is_late;     /* a claim was sent and not answered in time: it may hold later */
    char broken[256]; /* why the talk could not go on; "": it can */
};

#define ALL UINT64_MAX /* no GPU in particular */

static void note(struct scene *s, uint64_t cards, const char *fmt, ...) WT_PRINTF(3, 4);
static void note(struct scene *s, uint64_t cards, const char *fmt, ...)
{
    struct note n = {.cards = cards};
    va_list args;
    va_start(args, fmt);
    vsnprintf(n.text, sizeof(n.text), fmt, args);
    va_end(args);
    for (size_t i = 0; i < s->note_count; i++)
        if (strcmp(s->notes[i].text, n.text) == 0) {
            s->notes[i].cards |= cards;
            return;
        }
    if (s->note_count < WT_SLURM_NOTES)
        s->notes[s->note_count++] = n;
}

/* "GPU 0, 3: TEXT" */
static void sentence(const struct scene *s, const struct note *n, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (size_t i = 0; n->cards != ALL && i < s->count && at + 16 < size; i++)
        if (n->cards >> i & 1) {
            wt_text(buf + at, size - at, "%s%u", at ? ", " : "GPU ", s->cards[i].number);
            at += strlen(buf + at);
        }
    wt_text(buf + at, size - at, "%s%s", at ? ": " : "", n->text);
}

static const char *value_text(char *buf, size_t size, enum wt_knob knob, int64_t value)
{
    return wt_text(buf, size, knob == WT_KNOB_POWER ? "%.7g W" : "%.7g MHz", (double)value / 1000);
}

/* ---- whose GPU is which ---- */

/* The UUID of /dev/nvidiaN, as the driver says. */
static bool find_minor(uint32_t minor, char *ret_id, size_t size)
{
    DIR *all = opendir(NVIDIA);
    bool is_found = false;
    for (struct dirent *e; all && !is_found && (e = readdir(all));) {
        char path[400], text[4096];
        wt_text(path, sizeof(path), NVIDIA "/%.255s/information", e->d_name);
        FILE *f = fopen(path, "re");
        size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
        if (f)
            fclose(f);
        text[n] = '\0';
        char *number = strstr(text, "Device Minor:"), *id = strstr(text, "GPU UUID:");
        if (!number || !id)
            continue;
        number += strlen("Device Minor:");
        number += strspn(number, " \t");
        if (*number < '0' || *number > '9' || strtoul(number, NULL, 10) != minor)
            continue;
        id += strlen("GPU UUID:");
        id += strspn(id, " \t");
        wt_text(ret_id, size, "%.*s", (int)strcspn(id, " \t\r\n"), id);
        is_found = *ret_id != '\0';
    }
    if (all)
        closedir(all);
    return is_found;
}

static bool has_minors(void)
{
    return access(NVIDIA, R_OK | X_OK) == 0;
}

/* What needs no wattuned: by the operator's map, else by the minor number of an NVIDIA card. 0 with
 * an empty id where neither says. */
static int find_id(const struct scene *s, struct card *card, struct wt_error *err)
{
    const struct wt_slurm_config *c = &s->h->config;
    card->id[0] = '\0';
    if (*c->map && access(c->map, F_OK) == 0)
        return wt_slurm_map_find(c->map, card->number, card->id, sizeof(card->id), err);
    if (!s->talk.is_emulated && has_minors() &&
        !find_minor(card->number, card->id, sizeof(card->id)))
        return wt_fail(err, WT_E_NOTFOUND,
                       "the driver has no /dev/nvidia%u; the site names its GPUs with map=FILE in "
                       "plugstack.conf",
                       card->number);
    return 0;
}

/* Else as wattuned numbers its GPUs, which is NVML's order. */
static int find_device(struct scene *s, struct card *card,
                       const struct wt_wire_message *const devices, struct wt_error *err)
{
    uint32_t gpus = 0;
    int rc = find_id(s, card, err);
    if (rc < 0)
        return rc;
    const char *id = card->id;
    for (uint32_t i = 0; i < s->talk.devices; i++) {
        if (devices[i].u.device_ok.kind != WT_DEVICE_GPU)
            continue;
        if (*id ? strcmp(devices[i].u.device_ok.id, id) == 0 : gpus == card->number) {
            card->device = i;
            card->is_found = true;
            if (!*id)
                wt_text(card->id, sizeof(card->id), "%s", devices[i].u.device_ok.id);
            wt_text(card->name, sizeof(card->name), "%s", devices[i].u.device_ok.name);
            return 0;
        }
        gpus++;
    }
    return wt_fail(err, WT_E_NOTFOUND, "wattuned has %s%s on this node",
                   *id ? "no GPU " : "fewer GPUs", id);
}

static int find_devices(struct scene *s, struct wt_error *err)
{
    struct wt_wire_message *devices = calloc(WT_WIRE_DEVICES, sizeof(*devices));
    int rc = devices ? 0 : wt_fail(err, WT_E_NOMEM, "no memory");
    for (uint32_t i = 0; rc == 0 && i < s->talk.devices; i++) {
        devices[i] = (struct wt_wire_message){.type = WT_WIRE_DEVICE, .u.device = {i}};
        rc = wt_slurm_ask(&s->talk, &devices[i], WT_WIRE_DEVICE_OK, err);
    }
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        struct wt_error why;
        if (find_device(s, &s->cards[i], devices, &why) < 0) {
            s->has_failed = true;
            note(s, UINT64_C(1) << i, "%s", why.text);
        }
    }
    free(devices);
    return rc;
}

/* ---- holding ---- */

/* What is asked of one card; 0: nothing. */
static int64_t wanted_cap(struct scene *s, size_t i)
{
    const struct wt_slurm_wish *w = &s->h->wish;
    const struct wt_slurm_config *c = &s->h->config;
    struct wt_error err;
    int64_t cap_mw = 0;
    switch (w->power) {
    case WT_SLURM_WATTS:
        return w->cap_mw;
    case WT_SLURM_OFF:
        return 0;
    case WT_SLURM_UNSAID:
        return c->default_mw;
    case WT_SLURM_YES:
        if (c->default_mw)
            return c->default_mw;
        break;
    case WT_SLURM_AUTO:
        break;
    }
    char label[128]; /* what was found on an emulated card holds on no other */
    wt_text(label, sizeof(label), "%s%s", s->talk.is_emulated ? "EMULATED " : "", s->cards[i].name);
    if (wt_slurm_auto_pick(w->autos, label, &cap_mw) == 0)
        return cap_mw;
    if (wt_slurm_auto_find(c->autos, s->cards[i].name, &cap_mw, &err) == 0)
        return cap_mw;
    s->has_failed = true;
    note(
        s, UINT64_C(1) << i,
        "no cap: no setting is known yet for \"%s\" (%s). Find one with `wattune tune -- CMD` in a "
        "job: it is noted for your next ones; or give the watts",
        s->cards[i].name, err.code == WT_E_FORMAT || err.code == WT_E_DENIED ? err.text : c->autos);
    return 0;
}

/* One knob of one card. Returns what is on the device then; 0: not held, and said why. */
static int64_t hold(struct scene *s, size_t i, enum wt_knob knob, int64_t want,
                    struct wt_error *err)
{
    struct card *card = &s->cards[i];
    uint64_t bit = UINT64_C(1) << i;
    uint32_t job = s->h->job.job;
    char asked[32], bound[32], other[32];
    s->is_claiming = false;
    struct wt_wire_message m = {.type = WT_WIRE_KNOB,
                                .u.knob = {card->device, (uint32_t)knob, job}};
    int rc = wt_slurm_ask(&s->talk, &m, WT_WIRE_KNOB_OK, err);
    if (rc < 0)
        return rc;
    int64_t min = m.u.knob_ok.min, max = m.u.knob_ok.max, value = want;
    value_text(asked, sizeof(asked), knob, want);
    if (!m.u.knob_ok.is_allowed) {
        note(s, bit, "%s is not set: %s", asked, m.u.knob_ok.why_not);
        return 0;
    }
    if (want < min || want > max) {
        note(s, bit, "%s is not set: %s takes %s to %s", asked, card->name,
             value_text(bound, sizeof(bound), knob, min),
             value_text(other, sizeof(other), knob, max));
        return 0;
    }
    if (want < m.u.knob_ok.floor) {
        note(s, bit, "%s is not set: this site lets users go down to %s", asked,
             value_text(bound, sizeof(bound), knob, m.u.knob_ok.floor));
        return 0;
    }
    if (want > m.u.knob_ok.ceiling) {
        value = m.u.knob_ok.ceiling;
        if (value < min)
            value = min;
        note(s, bit, "%s is above what this site allows; %s is set", asked,
             value_text(bound, sizeof(bound), knob, value));
    }
    m = (struct wt_wire_message){.type = WT_WIRE_CLAIM,
                                 .u.claim = {card->device, (uint32_t)knob, job, value, 0}};
    s->is_claiming = true;
    rc = wt_slurm_ask(&s->talk, &m, WT_WIRE_CLAIM_OK, err);
    if (rc < 0)
        return rc;
    int64_t set = m.u.claim_ok.effective;
    if (m.u.claim_ok.is_covered)
        note(s, bit, "%s is held, and %s is on it: somebody asked for less before", asked,
             value_text(bound, sizeof(bound), knob, set));
    else if (set != value)
        note(s, bit, "%s was asked for, and the card took %s", asked,
             value_text(bound, sizeof(bound), knob, set));
    return set;
}

/* An error that wattuned tells is of that card alone (its driver hangs, say); where the talk itself
 * broke off, all that is left is not set for the same reason. */
static void hold_noted(struct scene *s, size_t i, enum wt_knob knob, int64_t want, int64_t *ret_set)
{
    struct wt_error err = {0};
    char asked[32];
    int64_t set = *s->broken ? WT_E_GONE : hold(s, i, knob, want, &err);
    *ret_set = set > 0 ? set : 0;
    if (set > 0)
        return;
    s->has_failed = true;
    if (set == 0)
        return;
    value_text(asked, sizeof(asked), knob, want);
    bool is_late = err.code == WT_E_TIMEOUT && s->talk.is_broken && s->is_claiming;
    if (s->talk.is_broken && !*s->broken)
        wt_text(s->broken, sizeof(s->broken), "%s", err.text);
    /* Sent and not answered: wattuned does it yet, should it come to that. The epilog ends it. */
    s->is_late |= is_late;
    note(s, UINT64_C(1) << i, "%s is not set%s: %s", asked,
         is_late ? " yet, and may be set later" : "", *s->broken ? s->broken : err.text);
}

static void hold_cards(struct scene *s)
{
    const struct wt_slurm_wish *w = &s->h->wish;
    for (size_t i = 0; i < s->count; i++) {
        struct card *card = &s->cards[i];
        if (!card->is_found)
            continue;
        int64_t cap_mw = wanted_cap(s, i);
        if (cap_mw)
            hold_noted(s, i, WT_KNOB_POWER, cap_mw, &card->cap_mw);
        if (w->clock_khz)
            hold_noted(s, i, WT_KNOB_CLOCK, w->clock_khz, &card->clock_khz);
    }
}

/* Tells of the job, ends what a former run of it may have left, holds what is asked for. */
static int talk(struct scene *s, struct wt_error *err)
{
    const struct wt_slurm_job *j = &s->h->job;
    int rc = wt_slurm_dial(&s->talk, s->h->config.socket, s->h->config.timeout_ns, err);
    if (rc == 0)
        rc = find_devices(s, err);
    struct wt_wire_message m = {.type = WT_WIRE_JOB_END, .u.job_end = {j->job}};
    if (rc == 0)
        rc = wt_slurm_ask(&s->talk, &m, WT_WIRE_DONE, err);
    m = (struct wt_wire_message){.type = WT_WIRE_JOB_BEGIN, .u.job_begin = {j->job, j->uid, 0}};
    for (size_t i = 0; i < s->count; i++)
        if (s->cards[i].is_found && s->cards[i].device < 64)
            m.u.job_begin.devices |= UINT64_C(1) << s->cards[i].device;
    if (rc == 0)
        rc = wt_slurm_ask(&s->talk, &m, WT_WIRE_DONE, err);
    if (rc == 0)
        hold_cards(s);
    wt_slurm_hang_up(&s->talk);
    return rc;
}

/* ---- facts ---- */

void wt_slurm_hold_head(struct wt_slurm_facts *f, const struct wt_slurm_job *j)
{
    const struct {
        const char *key, *value;
    } rows[] = {{"user", j->user}, {"account", j->account}, {"partition", j->partition},
                {"name", j->name}, {"cluster", j->cluster}, {"node", j->node},
                {"gpus", j->gpus}};
    wt_slurm_facts_add(f, "uid", "%u", j->uid);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].value && *rows[i].value)
            wt_slurm_facts_add(f, rows[i].key, "%.255s", rows[i].value);
    if (j->nodes)
        wt_slurm_facts_add(f, "nodes", "%u", j->nodes);
}

char *wt_slurm_power_text(char *buf, size_t size, const struct wt_slurm_wish *w)
{
    static const char *const words[] = {[WT_SLURM_UNSAID] = "",
                                        [WT_SLURM_WATTS] = "",
                                        [WT_SLURM_AUTO] = "auto",
                                        [WT_SLURM_OFF] = "off",
                                        [WT_SLURM_YES] = "yes"};
    if (w->power == WT_SLURM_WATTS)
        return wt_text(buf, size, "%lld", (long long)(w->cap_mw / 1000));
    return wt_text(buf, size, "%s", words[w->power]);
}

/* The highest that is on any of them: none draws more. 0: not all are held. */
static int64_t highest(const struct scene *s, enum wt_knob knob)
{
    int64_t most = 0;
    for (size_t i = 0; i < s->count; i++) {
        int64_t value = knob == WT_KNOB_POWER ? s->cards[i].cap_mw : s->cards[i].clock_khz;
        if (value == 0)
            return 0;
        most = value > most ? value : most;
    }
    return most;
}

/* The cards' ids in the order of gpus=; false: not all are known, or they do not fit. */
static bool list_ids(const struct scene *s, char *buf, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!*s->cards[i].id || at + strlen(s->cards[i].id) + 2 > size)
            return false;
        wt_text(buf + at, size - at, "%s%s", at ? "," : "", s->cards[i].id);
        at += strlen(buf + at);
    }
    return at > 0;
}

static void write_facts(struct scene *s, const char *refused)
{
    const struct wt_slurm_hold *h = s->h;
    struct wt_slurm_facts f = {.len = 0};
    struct wt_error err;
    char text[400], power[32], ids[1000];
    wt_slurm_facts_add(&f, "job", "%u", h->job.job);
    wt_slurm_hold_head(&f, &h->job);
    if (list_ids(s, ids, sizeof(ids)))
        wt_slurm_facts_add(&f, "devices", "%s", ids);
    int64_t default_mw = h->wish.power == WT_SLURM_UNSAID ? h->config.default_mw : 0;
    int64_t asked_mw = h->wish.power == WT_SLURM_WATTS ? h->wish.cap_mw : default_mw;
    if (*wt_slurm_power_text(power, sizeof(power), &h->wish))
        wt_slurm_facts_add(&f, "power", "%s", power);
    if (asked_mw)
        wt_slurm_facts_add(&f, "cap_mw", "%lld", (long long)asked_mw);
    if (highest(s, WT_KNOB_POWER))
        wt_slurm_facts_add(&f, "cap_set_mw", "%lld", (long long)highest(s, WT_KNOB_POWER));
    if (h->wish.clock_khz)
        wt_slurm_facts_add(&f, "clock_khz", "%lld", (long long)h->wish.clock_khz);
    if (highest(s, WT_KNOB_CLOCK))
        wt_slurm_facts_add(&f, "clock_set_khz", "%lld", (long long)highest(s, WT_KNOB_CLOCK));
    wt_slurm_facts_add(&f, "begin_ns", "%lld", (long long)h->now_ns);
    if (h->wish.has_report)
        wt_slurm_facts_add(&f, "report", "1");
    if (refused)
        wt_slurm_facts_add(&f, "refused", "%s", refused);
    if (s->is_late)
        wt_slurm_facts_add(&f, "late", "1");
    for (size_t i = 0; s->is_wanted && i < s->note_count; i++) { /* else for the operator alone */
        sentence(s, &s->notes[i], text, sizeof(text));
        wt_slurm_facts_add(&f, "note", "%s", text);
    }
    wt_text(text, sizeof(text), "%u", h->job.job);
    if (wt_slurm_facts_write(h->dir, text, &f, &err) < 0)
        h->log(err.text);
}

static bool wants_anything(const struct wt_slurm_hold *h)
{
    return h->wish.clock_khz || (h->wish.power != WT_SLURM_UNSAID && h->wish.power != WT_SLURM_OFF);
}

void wt_slurm_hold_begin(struct wt_slurm_hold *h)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct wt_error err = {0};
    uint32_t numbers[WT_SLURM_GPUS];
    if (!s)
        return;
    s->h = h;
    s->talk.fd = -1;
    bool is_asked = wants_anything(h);
    s->is_wanted = is_asked || (h->wish.power == WT_SLURM_UNSAID && h->config.default_mw);
    if (wt_slurm_parse_gpus(h->job.gpus, numbers, &s->count, &err) < 0) {
        s->has_failed = true;
        note(s, ALL, "%s", err.text);
    }
    for (size_t i = 0; i < s->count; i++) {
        s->cards[i].number = numbers[i];
        find_id(s, &s->cards[i], NULL); /* whoever measures has them from the first moment on */
    }
    bool is_required = h->wish.is_required && is_asked;
    /* Before anything is held: from here on wattuned knows that the job lives. */
    write_facts(s, is_required ? "its prolog did not come to an end" : NULL);
    if (s->count == 0 && is_asked && !s->has_failed) {
        s->has_failed = true; /* GPUs that gres.conf gives no device file are not named either */
        note(s, ALL,
             "the job has no GPU on this node that Slurm names, so there is nothing to cap here");
    }
    if (s->count && talk(s, &err) < 0) {
        s->has_failed = true;
        if (s->is_wanted)
            note(s, ALL, "no cap%s: %s", h->wish.clock_khz ? ", no clock" : "", err.text);
        else
            h->log(err.text); /* nothing was asked for: for the operator alone */
    }
    write_facts(s, is_required && s->has_failed
                       ? "--power-cap-required, and what was asked for does not hold on this node"
                       : NULL);
    for (size_t i = 0; i < s->note_count; i++) {
        char text[400];
        sentence(s, &s->notes[i], text, sizeof(text));
        h->log(text);
    }
    free(s);
}

static void end_job(struct wt_slurm_hold *h, bool has_gpus)
{
    struct wt_error err;
    struct wt_slurm_talk t = {.fd = -1};
    char name[16];
    /* First: should wattuned be away now, it reads there that the job is over. */
    wt_text(name, sizeof(name), "%u", h->job.job);
    int rc = wt_slurm_facts_end(h->dir, name, h->now_ns, &err);
    if (rc < 0 && rc != WT_E_NOTFOUND)
        h->log(err.text);
    if (has_gpus) {
        struct wt_wire_message m = {.type = WT_WIRE_JOB_END, .u.job_end = {h->job.job}};
        rc = wt_slurm_dial(&t, h->config.socket, h->config.timeout_ns, &err);
        if (rc == 0)
            rc = wt_slurm_ask(&t, &m, WT_WIRE_DONE, &err);
        if (rc < 0)
            h->log(err.text);
        wt_slurm_hang_up(&t);
    }
    wt_slurm_facts_prune(h->dir, h->job.job);
}

void wt_slurm_hold_end(struct wt_slurm_hold *h)
{
    end_job(h, h->job.gpus && *h->job.gpus);
}

/* ---- after a start of slurmd ---- */

#define RECONCILE_JOBS 256
#define SQUEUE_S       30

enum controllers_word { UNKNOWN, RUNS, ENDS, OVER };

/* What squeue's lines "JOB STATE" say of one job. By its number alone squeue lists all of an array
 * whose last task that is, and a job that was requeued and runs elsewhere: the first are told apart
 * by their numbers, the second is not on the node that was asked for. */
static enum controllers_word read_squeue(const char *text, uint32_t job)
{
    static const char *const running[] = {"RUNNING",   "SUSPENDED", "CONFIGURING", "STOPPED",
                                          "SIGNALING", "RESIZING",  "STAGE_OUT"};
    static const char *const over[] = {"COMPLETED",     "CANCELLED", "FAILED",    "TIMEOUT",
                                       "NODE_FAIL",     "PREEMPTED", "BOOT_FAIL", "DEADLINE",
                                       "OUT_OF_MEMORY", "PENDING",   "REQUEUED",  "REVOKED"};
    bool has_complaint = false;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        char state[64] = "", *end;
        unsigned long number = strtoul(line, &end, 10);
        bool is_row = end > line && *end == ' ';
        if (is_row)
            wt_text(state, sizeof(state), "%.*s", (int)(len - (size_t)(end - line)), end);
        has_complaint |= !is_row;
        line += len + (line[len] == '\n');
        if (!is_row || number != job)
            continue;
        for (size_t i = 0; i < WT_COUNTOF(running); i++)
            if (strstr(state, running[i]))
                return RUNS;
        if (strstr(state, "COMPLETING"))
            return ENDS;
        for (size_t i = 0; i < WT_COUNTOF(over); i++)
            if (strstr(state, over[i]))
                return OVER;
        return UNKNOWN;
    }
    return has_complaint ? UNKNOWN : OVER; /* not here */
}

/* squeue is asked, a program of its own: nothing of Slurm's is linked. One job a time is a light
 * question to the controller. */
static enum controllers_word ask_squeue(const struct wt_slurm_running *r)
{
    int ends[2], status = -1;
    char text[8192], number[16], node[300];
    wt_text(number, sizeof(number), "%u", r->job);
    wt_text(node, sizeof(node), "--nodelist=%s", r->node);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return UNKNOWN;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(SQUEUE_S); /* survives exec */
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execlp("squeue", "squeue", "--noheader", "--all", "--states=all", "--format=%A %T",
               "--jobs", number, node, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t len = 0;
    while (pid > 0 && len + 1 < sizeof(text)) {
        ssize_t n = read(ends[0], text + len, sizeof(text) - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    bool is_cut = len + 1 == sizeof(text);
    text[len] = '\0';
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (strstr(text, "Invalid job id"))
        return OVER; /* forgotten some minutes after its end */
    return pid <= 0 || status != 0 || is_cut ? UNKNOWN : read_squeue(text, r->job);
}

void wt_slurm_hold_reconcile(struct wt_slurm_hold *h)
{
    static const unsigned waits_s[] = {1, 2, 4, 8, 15, 30, 30, 30, 60, 60, 120, 300, 600};
    struct wt_slurm_running jobs[RECONCILE_JOBS];
    size_t count = wt_slurm_facts_running(h->dir, jobs, RECONCILE_JOBS);
    for (size_t i = 0; count && i < WT_COUNTOF(waits_s); i++) {
        size_t left = 0;
        sleep(waits_s[i]);
        for (size_t k = 0; k < count; k++) {
            enum controllers_word word = ask_squeue(&jobs[k]);
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            h->now_ns = (int64_t)now.tv_sec * WT_NS_PER_S + now.tv_nsec;
            h->job.job = jobs[k].job;
            if (!wt_slurm_facts_runs(h->dir, &jobs[k]))
                continue; /* ended by its epilog, or begun anew: not the job that was asked for */
            if (word == OVER)
                end_job(h, true);
            else if (word != RUNS) /* one that runs has its epilog to come */
                jobs[left++] = jobs[k];
        }
        count = left;
    }
}
