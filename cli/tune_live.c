/* tune_live: a search while the command runs - the devices, leases and windows of it.
 *
 * Work comes from the command's own marks (door, NVTX, --progress). Where none has come by
 * PROXY_NS although a GPU is at work, the cycles of the GPUs' clock stand in for it: right for what
 * computes, too careful for what waits for memory, whose speed hardly follows the clock. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "goal.h"
#include "tune.h"

#define PROXY_NS      INT64_C(20000000000)
#define READ_WAIT_NS  INT64_C(200000000)
#define HOLD_NS       INT64_C(1000000000) /* between two looks at what was set */
#define STEPS_DEFAULT 12                  /* about so many limits of power to choose from */

struct device {
    size_t index; /* in the bed's devices */
    int64_t found[TUNE_KNOBS], requested[TUNE_KNOBS], enforced[TUNE_KNOBS];
    bool is_set;
};

struct live {
    struct tune_options *o;
    struct cli_measure m;
    struct wt_lease *lease;
    struct wt_tune *tune;
    enum wt_knob knobs[TUNE_KNOBS];
    size_t knob_count;
    struct wt_search_axis axes[TUNE_KNOBS];
    struct wt_candidate *candidates; /* owned */
    size_t count, reference, start;
    struct device *devices; /* owned; those that are tuned */
    size_t device_count;
    struct wt_best best;

    bool is_work_told, is_proxy;
    int64_t first_busy_ns, next_hold_ns;
    double cycles; /* of all GPUs' clocks so far, in millions */
    int64_t cycles_ns;
    enum wt_tune_stage stage; /* as told last */
    size_t candidate;
    char *remarks[TUNE_REMARKS]; /* owned */
    size_t remark_count;
};

static void remark(struct live *l, const char *fmt, ...) WT_PRINTF(2, 3);
static void remark(struct live *l, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    for (size_t i = 0; n >= 0 && i < l->remark_count; i++)
        if (strcmp(l->remarks[i], text) == 0) { /* once is enough */
            free(text);
            return;
        }
    if (n < 0 || l->remark_count == TUNE_REMARKS) {
        if (n >= 0)
            free(text);
        return;
    }
    l->remarks[l->remark_count++] = text;
}

/* ---- what there is to choose from ---- */

/* Limits from the lowest to the one that was found, in steps of whole 5 W. Never above it: whoever
 * set it may have had a reason (a rack's budget), and --set says otherwise. */
static int default_set(struct live *l, struct wt_error *err)
{
    struct tune_options *o = l->o;
    struct wt_knob_info info;
    struct wt_error why = {0};
    for (size_t i = 0; i < wt_devices_count(o->bed.devices); i++) {
        int rc = cli_knob(&o->bed, i, WT_KNOB_POWER, &info, &why, err);
        if (rc == WT_E_UNSUPPORTED)
            continue;
        if (rc < 0)
            return rc;
        int64_t top = info.current > info.min && info.current < info.max ? info.current : info.max;
        double low = wt_knob_to_user(info.min), high = wt_knob_to_user(top);
        double step = ceil((high - low) / STEPS_DEFAULT / 5) * 5;
        char text[96];
        if (step <= 0)
            step = 5;
        snprintf(text, sizeof(text), "power=%g:%g:%g", low, high, step);
        rc = cli_setting_parse(text, &o->sets[0], err);
        if (rc < 0)
            return rc;
        /* The highest is what others are compared with, and a step may miss it. */
        struct cli_setting *s = &o->sets[0];
        if (s->values[s->count - 1] != top)
            s->values[s->count++] = top;
        o->set_count = 1;
        return 0;
    }
    return cli_no_knob(WT_KNOB_POWER, &why, err);
}

/* Those that have all knobs are tuned, and take the values. */
static int find_devices(struct live *l, struct wt_error *err)
{
    struct tune_options *o = l->o;
    size_t total = wt_devices_count(o->bed.devices);
    l->devices = calloc(total + 1, sizeof(*l->devices));
    if (!l->devices)
        return err->code = WT_E_NOMEM;
    for (size_t i = 0; i < total; i++) {
        struct device d = {.index = i};
        bool is_whole = true;
        for (size_t k = 0; k < o->set_count && is_whole; k++) {
            struct wt_knob_info info;
            struct wt_error why = {0};
            char text[48], range[200];
            int rc = cli_knob(&o->bed, i, o->sets[k].knob, &info, &why, err);
            if (rc == WT_E_UNSUPPORTED) {
                is_whole = false;
                break;
            }
            if (rc < 0)
                return rc;
            if (!info.is_settable) {
                snprintf(err->text, sizeof(err->text), "%s cannot be set: %.200s",
                         wt_knob_name(info.knob), info.why_not);
                snprintf(err->fix, sizeof(err->fix), "%s", info.fix);
                return err->code = WT_E_DENIED;
            }
            d.found[k] = info.current;
            for (size_t v = 0; v < o->sets[k].count; v++)
                if (!wt_knob_takes(&info, o->sets[k].values[v])) {
                    snprintf(
                        err->text, sizeof(err->text), "--set %s=%s: this device takes %s",
                        wt_knob_name(info.knob),
                        wt_knob_value_typed(text, sizeof(text), info.knob, o->sets[k].values[v]),
                        wt_knob_range_text(range, sizeof(range), &info));
                    return err->code = WT_E_USAGE;
                }
        }
        if (is_whole)
            l->devices[l->device_count++] = d;
    }
    struct wt_error why = {0};
    return l->device_count ? 0 : cli_no_knob(o->sets[0].knob, &why, err);
}

static enum wt_axis form_of(enum wt_knob knob)
{
    switch (knob) {
    case WT_KNOB_POWER:
    case WT_KNOB_CPU_POWER:
        return WT_AXIS_POWER;
    case WT_KNOB_CLOCK:
    case WT_KNOB_CPU_FREQ:
        return WT_AXIS_CLOCK;
    default:
        return WT_AXIS_OTHER;
    }
}

static int make_candidates(struct live *l, struct wt_error *err)
{
    const struct tune_options *o = l->o;
    l->count = 1;
    for (size_t k = 0; k < o->set_count; k++) {
        l->knobs[k] = o->sets[k].knob;
        l->axes[k].form = form_of(l->knobs[k]);
        snprintf(l->axes[k].name, sizeof(l->axes[k].name), "%s", wt_knob_name(l->knobs[k]));
        snprintf(l->axes[k].unit, sizeof(l->axes[k].unit), "%s", wt_knob_unit(l->knobs[k]));
        if (o->sets[k].count > TUNE_CANDIDATES / l->count) {
            snprintf(err->text, sizeof(err->text), "--set: more than %d combinations",
                     TUNE_CANDIDATES);
            return err->code = WT_E_USAGE;
        }
        l->count *= o->sets[k].count;
    }
    if (l->count < 2) {
        snprintf(err->text, sizeof(err->text),
                 "--set: one setting alone, and nothing to choose from");
        snprintf(err->fix, sizeof(err->fix),
                 "name several: --set power=100:250:10; or `wattune run --set`");
        return err->code = WT_E_USAGE;
    }
    l->knob_count = o->set_count;
    l->candidates = calloc(l->count, sizeof(*l->candidates));
    if (!l->candidates)
        return err->code = WT_E_NOMEM;
    for (size_t i = 0; i < l->count; i++) {
        size_t rest = i;
        bool is_highest = true;
        for (size_t k = 0; k < o->set_count; k++) {
            l->candidates[i].values[k] =
                wt_knob_to_user(o->sets[k].values[rest % o->sets[k].count]);
            rest /= o->sets[k].count;
            is_highest &= l->candidates[i].values[k] >= l->candidates[l->reference].values[k];
        }
        if (is_highest)
            l->reference = i;
    }
    return 0;
}

/* "power=150 clock=900", as typed. */
static void setting_text(const struct live *l, size_t candidate, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t k = 0; k < l->knob_count; k++) {
        size_t used = strlen(buf);
        snprintf(buf + used, size - used, "%s%s=%g", k ? " " : "", wt_knob_name(l->knobs[k]),
                 l->candidates[candidate].values[k]);
    }
}

/* ---- what was best before ---- */

static void recall(struct live *l, char **command)
{
    const struct tune_options *o = l->o;
    struct wt_best *b = &l->best;
    char setting[160];
    cli_command_text(b->work, sizeof(b->work), command);
    for (size_t i = 0; i < l->device_count; i++) {
        size_t used = strlen(b->machine);
        snprintf(b->machine + used, sizeof(b->machine) - used, "%s%s", i ? ", " : "",
                 wt_devices_info(o->bed.devices, l->devices[i].index)->name);
    }
    size_t used = strlen(b->machine);
    if (o->bed.emulation_name[0])
        snprintf(b->machine + used, sizeof(b->machine) - used, ", emulated");
    snprintf(b->goal, sizeof(b->goal), "%s", wt_objective_name(o->goal.objective));
    for (size_t k = 0; k < l->knob_count; k++) {
        used = strlen(b->goal);
        snprintf(b->goal + used, sizeof(b->goal) - used, " %s", l->axes[k].name);
    }
    used = strlen(b->goal);
    snprintf(b->goal + used, sizeof(b->goal) - used, " slowdown %g power %g host %g",
             o->goal.slowdown_max, o->goal.power_max_w, o->has_host_w ? o->goal.host_w : -1.0);
    l->start = SIZE_MAX;
    if (!l->m.store || o->is_fresh || wt_store_recall(l->m.store, b, NULL) < 0)
        return;
    for (size_t i = 0; i < l->count; i++) {
        setting_text(l, i, setting, sizeof(setting));
        if (strcmp(setting, b->setting) == 0)
            l->start = i;
    }
    if (l->start != SIZE_MAX)
        cli_note("beginning with %s, the best in run %s; it is measured again", b->setting,
                 b->run_id);
}

/* Of a job that saved energy by the limit alone, on cards of one model: for the user's next jobs.
 */
static void remember_for_slurm(const struct live *l, const struct wt_search_result *r)
{
    const struct wt_candidate *best = &l->candidates[r->points[r->choice].candidate];
    const struct wt_device_info *first = wt_devices_info(l->o->bed.devices, l->devices[0].index);
    struct wt_error why;
    if (l->knob_count != 1 || l->knobs[0] != WT_KNOB_POWER || first->kind != WT_DEVICE_GPU ||
        l->o->is_per_gpu || l->o->goal.objective != WT_OBJECTIVE_ENERGY)
        return;
    for (size_t i = 1; i < l->device_count; i++)
        if (strcmp(wt_devices_info(l->o->bed.devices, l->devices[i].index)->name, first->name) != 0)
            return;
    if (wt_auto_remember(first->name, l->o->bed.emulation_name[0], best->values[0], &why) < 0)
        cli_note("--power-cap=auto will not know of it: %s", why.text);
    else if (getenv("SLURM_JOB_ID"))
        cli_note("%.0f W is what --power-cap=auto takes for your jobs on %s from now on",
                 best->values[0], first->name);
}

static void remember(struct live *l, const struct wt_search_result *r, const char *run_id)
{
    struct wt_error why;
    if (!l->m.store || !r->is_saving_real)
        return;
    remember_for_slurm(l, r);
    setting_text(l, r->points[r->choice].candidate, l->best.setting, sizeof(l->best.setting));
    snprintf(l->best.run_id, sizeof(l->best.run_id), "%s", run_id);
    if (wt_store_remember(l->m.store, &l->best, &why) < 0)
        cli_note("what was best is not remembered: %s", why.text);
}

/* ---- operations ---- */

static int op_apply(void *data, size_t group, size_t candidate, struct wt_error *err)
{
    struct live *l = data;
    size_t first = l->o->is_per_gpu ? group : 0;
    size_t end = l->o->is_per_gpu ? group + 1 : l->device_count;
    for (size_t i = first; i < end; i++) {
        struct device *d = &l->devices[i];
        for (size_t k = 0; k < l->knob_count; k++) {
            int64_t value = wt_knob_from_user(l->candidates[candidate].values[k]);
            int rc = wt_lease_set(l->lease, d->index, l->knobs[k], value, &d->enforced[k], err);
            if (rc < 0)
                return rc;
            d->requested[k] = value;
        }
        d->is_set = true;
    }
    return 0;
}

static int op_begin(void *data, int64_t t_ns, uint64_t *ret_window)
{
    return wt_meter_begin_at(((struct live *)data)->m.meter, "tune", t_ns, ret_window);
}

static int op_end(void *data, uint64_t window, int64_t t_ns)
{
    return wt_meter_end_at(((struct live *)data)->m.meter, window, t_ns);
}

static void op_cancel(void *data, uint64_t window)
{
    wt_meter_cancel(((struct live *)data)->m.meter, window);
}

/* A window in which what was set did not hold is none of that setting. */
static int check_held(struct live *l, struct wt_error *err)
{
    struct wt_lease_hold hold;
    for (size_t i = 0; i < l->device_count; i++)
        for (size_t k = 0; k < l->knob_count; k++) {
            const struct device *d = &l->devices[i];
            if (!d->is_set || wt_lease_look(l->lease, d->index, l->knobs[k], &hold, NULL) < 0 ||
                !hold.is_lost)
                continue;
            snprintf(err->text, sizeof(err->text), "%s of %s is no longer in force: %s",
                     wt_knob_name(l->knobs[k]), wt_devices_info(l->o->bed.devices, d->index)->id,
                     hold.why);
            return err->code = WT_E_CHANGED;
        }
    return 0;
}

/* All devices of the kind that is tuned, also one that cannot be set: a slower partner costs there,
 * too. */
static int op_read(void *data, uint64_t window, double *ret_energy_j, double *ret_rest_j,
                   struct wt_error *err)
{
    struct live *l = data;
    struct wt_window_result r;
    int rc = check_held(l, err);
    if (rc == 0)
        rc = wt_meter_result(l->m.meter, window, READ_WAIT_NS, &r, err);
    if (rc < 0)
        return rc;
    enum wt_device_kind kind = wt_knob_kind(l->knobs[0]);
    double energy_j = 0, rest_j = 0;
    bool has_rest = false;
    for (size_t i = 0; rc == 0 && i < r.device_count; i++) {
        const struct wt_window_device *d = &r.devices[i];
        const struct wt_device_info *info = wt_devices_info(l->o->bed.devices, d->device);
        if (!info->is_counted)
            continue;
        if (info->kind == kind && d->energy.provenance == WT_PROV_UNKNOWN) {
            snprintf(err->text, sizeof(err->text), "%s: %s", info->name,
                     d->note[0] ? d->note : "its energy is not known");
            rc = err->code = WT_E_GONE;
        } else if (info->kind == kind) {
            energy_j += d->energy.energy_j;
        } else if (d->energy.provenance > WT_PROV_MODELED) {
            rest_j += d->energy.energy_j;
            has_rest = true;
        }
    }
    wt_window_result_done(&r);
    if (rc < 0)
        return rc;
    *ret_energy_j = energy_j;
    *ret_rest_j = has_rest ? rest_j : (double)NAN;
    return 0;
}

static void op_say(void *data, const char *text)
{
    struct live *l = data;
    size_t before = l->remark_count;
    remark(l, "%s", text);
    if (l->remark_count > before)
        cli_note("%s", text);
}

/* ---- while it runs ---- */

static void tell_stage(struct live *l)
{
    struct wt_tune_state s;
    char setting[160];
    wt_tune_state(l->tune, &s);
    if (s.stage == l->stage && s.candidate == l->candidate)
        return;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr); /* the command may be drawing a line of its own */
    if (s.stage == WT_TUNE_SEARCHING && s.candidate != SIZE_MAX) {
        setting_text(l, s.candidate, setting, sizeof(setting));
        cli_note("trying %s", setting);
    } else if (s.stage == WT_TUNE_HOLDING && l->stage != WT_TUNE_HOLDING) {
        setting_text(l, s.candidate, setting, sizeof(setting));
        cli_note("holding %s, found in %.0f s by measuring %zu settings", setting, s.searched_s,
                 s.measured);
    }
    l->stage = s.stage;
    l->candidate = s.candidate;
}

static void on_work(void *data, int64_t t_ns, uint64_t done, bool is_steps)
{
    struct live *l = data;
    (void)is_steps;
    if (l->is_proxy) /* too late: what was measured is in cycles */
        return;
    l->is_work_told = true;
    wt_tune_mark(l->tune, t_ns, done);
}

/* The clock's cycles as work, from the trace; the mean over the GPUs. */
static void on_point(void *data, const struct wt_trace_point *p)
{
    struct live *l = data;
    if (l->is_work_told || l->devices[0].index != p->device || !isfinite(p->clock_mhz))
        return;
    if (l->cycles_ns && p->t_ns > l->cycles_ns)
        l->cycles += p->clock_mhz * (double)(p->t_ns - l->cycles_ns) * 1e-9;
    l->cycles_ns = p->t_ns;
    if (!(p->throttle & WT_THROTTLE_IDLE) && !l->first_busy_ns)
        l->first_busy_ns = p->t_ns;
    if (!l->is_proxy && l->first_busy_ns && p->t_ns - l->first_busy_ns > PROXY_NS) {
        l->is_proxy = true;
        cli_note("the command told of no work for %d s: the cycles of the GPU's clock stand in",
                 (int)(PROXY_NS / 1000000000));
        remark(l, "no work was told: cycles of the GPU's clock stand in for it, which is too "
                  "careful where the load waits for memory (--progress, or a door, tells more)");
    }
    if (l->is_proxy)
        wt_tune_mark(l->tune, p->t_ns, (uint64_t)l->cycles);
}

static void on_tick(void *data, const struct wt_run *run, double elapsed_s)
{
    struct live *l = data;
    int64_t now_ns = cli_now_ns();
    struct wt_error lost;
    (void)run;
    (void)elapsed_s;
    /* Between windows, too: the record says how long the setting held. */
    if (now_ns >= l->next_hold_ns) {
        l->next_hold_ns = now_ns + HOLD_NS;
        check_held(l, &lost);
    }
    wt_tune_tick(l->tune, now_ns);
    tell_stage(l);
}

static void on_end(void *data, struct wt_run *run)
{
    struct live *l = data;
    wt_tune_end(l->tune);
    for (size_t i = 0; i < l->device_count; i++) {
        const struct device *d = &l->devices[i];
        for (size_t k = 0; k < l->knob_count && d->is_set; k++) {
            struct wt_run_setting s = {.knob = l->knobs[k],
                                       .found = d->found[k],
                                       .requested = d->requested[k],
                                       .enforced = d->enforced[k]};
            snprintf(s.device_id, sizeof(s.device_id), "%s",
                     wt_devices_info(l->o->bed.devices, d->index)->id);
            wt_run_add_setting(run, &s);
        }
    }
}

/* ---- the end ---- */

static void describe_groups(struct live *l)
{
    char setting[160];
    for (size_t g = 0; l->o->is_per_gpu && g < l->device_count; g++) {
        setting_text(l, wt_tune_group(l->tune, g), setting, sizeof(setting));
        const struct wt_device_info *info = wt_devices_info(l->o->bed.devices, l->devices[g].index);
        remark(l, "GPU %d (%s) is held at %s", info->index, info->id, setting);
    }
}

static int show(struct live *l, const struct wt_run *run)
{
    struct wt_search_result r;
    struct wt_error err = {0};
    struct wt_tune_state s;
    wt_tune_state(l->tune, &s);
    int rc = wt_tune_result(l->tune, SIZE_MAX, &r, &err);
    if (rc < 0) {
        if (l->is_work_told || l->is_proxy) {
            cli_note("nothing was found: the command ended before one setting was measured");
            cli_note("  try: a longer command, or --window 1s");
        } else if (!l->first_busy_ns) {
            cli_note("nothing was found: the command told of no work, and its GPU was idle");
            cli_note(
                "  try: --gpu names the GPU it works on; --progress, --nvtx or a door tells of "
                "work");
        } else {
            cli_note(
                "nothing was found: the command told of no work, and was at work for less than "
                "the %d s after which the GPU's clock stands in",
                (int)(PROXY_NS / 1000000000));
            cli_note("  try: --progress, --nvtx or a door tells of work; or a longer command");
        }
        return rc;
    }
    if (s.stage == WT_TUNE_SEARCHING)
        remark(l, "the command ended before the search did: the best of what was measured");
    describe_groups(l);
    if (l->o->is_per_gpu && s.groups_done)
        remark(l,
               "each GPU its own, as held: %.3f of the time and %.3f of the energy of the highest "
               "setting; the table is of one setting for all",
               s.held_s / r.points[r.reference].time_s.value,
               s.held_j / r.points[r.reference].energy_j.value);
    remember(l, &r, run->id);
    char unit[64] = "";
    if (l->is_proxy)
        snprintf(unit, sizeof(unit), "%llu million cycles", (unsigned long long)s.unit);
    else
        snprintf(unit, sizeof(unit), "%llu %s", (unsigned long long)s.unit,
                 run->work.steps ? "steps" : run->work.unit);
    const struct wt_search_story story = {
        .provenance = run->total.provenance,
        .source = run->command,
        .machine = l->best.machine,
        .emulation = run->emulation,
        .work_unit = unit,
        .run_id = run->is_unstored ? NULL : run->id,
        .searched_s = s.searched_s,
        .extra_j = s.extra_j,
        .remarks = (const char *const *)l->remarks,
        .remark_count = l->remark_count,
    };
    rc = cli_tune_show(l->o, &r, &story);
    wt_search_result_done(&r);
    return rc;
}

static int show_plan(const struct live *l)
{
    char setting[160];
    setting_text(l, l->reference, setting, sizeof(setting));
    printf("%zu settings to choose from on %zu device%s, compared with %s:\n", l->count,
           l->device_count, l->device_count > 1 ? "s" : "", setting);
    for (size_t i = 0; i < l->count; i++) {
        char each[160];
        setting_text(l, i, each, sizeof(each));
        printf("  %s\n", each);
    }
    struct wt_search_options options = {
        .axis_count = l->knob_count, .probes_max = l->o->probes, .is_confirmed = true};
    memcpy(options.axes, l->axes, sizeof(l->axes));
    printf(
        "At most %zu of them are measured, %s among them, for about %.0f s each, slower ones for\n"
        "longer; then it and the choice once more.\n",
        wt_search_most(&options, l->count), setting,
        (double)((l->o->window_ns ? l->o->window_ns : 4000000000) +
                 (l->o->settle_ns ? l->o->settle_ns : 1000000000)) *
            1e-9);
    return CLI_OK;
}

static double offset_w(const struct live *l)
{
    double sum = 0;
    for (size_t i = 0; i < l->device_count; i++)
        sum += wt_devices_info(l->o->bed.devices, l->devices[i].index)->traits.offset_mw * 1e-3;
    return sum;
}

static int start(struct live *l, char **command, struct wt_error *err)
{
    struct tune_options *o = l->o;
    int rc = cli_signals_block(err);
    if (rc == 0)
        rc = cli_bed_open(&o->bed, err);
    if (rc == 0 && !o->set_count)
        rc = default_set(l, err);
    if (rc == 0)
        rc = find_devices(l, err);
    if (rc == 0)
        rc = make_candidates(l, err);
    if (rc == 0)
        rc = cli_goal_power(&o->goal, &o->bed, err);
    if (rc == 0 && o->is_nvtx)
        rc = cli_inject_nvtx(NULL, err);
    if (rc < 0 || o->is_dry_run)
        return rc;
    rc = wt_lease_open(&l->lease, o->bed.ctx, o->bed.devices, NULL, err);
    if (rc == 0)
        rc = cli_measure_open(&l->m, &o->bed, o->is_without_store, 0, err);
    if (rc < 0)
        return rc;
    recall(l, command);
    struct wt_tune_options options = {
        .search = {.axis_count = l->knob_count,
                   .goal = o->goal,
                   .probes_max = o->probes,
                   .offset_w = offset_w(l),
                   .noise = NAN},
        .candidates = l->candidates,
        .count = l->count,
        .reference = l->reference,
        .start = l->start,
        .groups = o->is_per_gpu ? l->device_count : 1,
        .window_ns = o->window_ns,
        .settle_ns = o->settle_ns,
        .is_host_measured = !o->has_host_w,
    };
    memcpy(options.search.axes, l->axes, sizeof(l->axes));
    /* Before the command starts, so that a setting that cannot be made ends nothing. */
    for (size_t g = 0; g < options.groups; g++)
        if ((rc = op_apply(l, g, l->reference, err)) < 0)
            return rc;
    const struct wt_tune_ops ops = {.data = l,
                                    .apply = op_apply,
                                    .begin = op_begin,
                                    .end = op_end,
                                    .cancel = op_cancel,
                                    .read = op_read,
                                    .say = op_say};
    return wt_tune_new(&l->tune, &options, &ops, err);
}

int cli_tune_live(struct tune_options *o, char **command)
{
    struct live l = {.o = o, .start = SIZE_MAX, .candidate = SIZE_MAX};
    struct wt_run run = {0};
    struct wt_error err = {0};
    int rc = start(&l, command, &err), code;
    if (rc < 0) {
        code = cli_fail("tune", &err);
        goto out;
    }
    if (o->is_dry_run) {
        code = show_plan(&l);
        goto out;
    }
    snprintf(run.tag, sizeof(run.tag), "%s", o->tag ? o->tag : "");
    l.m.is_stdout_moved = o->is_json;
    l.m.progress = o->progress;
    l.m.work_unit = o->work_per_step ? o->work_unit : NULL;
    l.m.work_per_step = o->work_per_step;
    l.m.lease = l.lease;
    l.m.data = &l;
    l.m.on_tick = on_tick;
    l.m.on_point = on_point;
    l.m.on_work = on_work;
    l.m.on_end = on_end;
    rc = cli_measure_run(&l.m, command, &run, NULL, &err);
    if (rc < 0) {
        code = cli_fail("tune", &err);
        if (run.exit_code)
            code = run.exit_code;
        goto out;
    }
    code = run.exit_code;
    struct wt_term term;
    wt_term_init(&term, stderr);
    wt_report_run(&term, &run, false);
    if (show(&l, &run) != 0 && code == 0)
        code = CLI_FAILURE;
out:
    wt_tune_free(l.tune);
    if (l.m.bed)
        cli_measure_close(&l.m);
    if (wt_lease_close(l.lease, &err) < 0) {
        cli_note("a setting was not put back: %s", err.text);
        if (code == CLI_OK)
            code = CLI_FAILURE;
    }
    cli_bed_close(&o->bed);
    wt_run_done(&run);
    for (size_t i = 0; i < l.remark_count; i++)
        free(l.remarks[i]);
    free(l.candidates);
    free(l.devices);
    return code;
}
