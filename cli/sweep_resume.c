/* sweep_resume: going on with a sweep that was interrupted. Every run in the store keeps the plan
 * of its sweep; what it was begun with is typed again, and must be the same. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

static int differs(const char *group, struct wt_error *err, const char *fmt, ...) WT_PRINTF(3, 4);
static int differs(const char *group, struct wt_error *err, const char *fmt, ...)
{
    char why[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    snprintf(err->text, sizeof(err->text), "--resume %s: %s", group, why);
    snprintf(err->fix, sizeof(err->fix),
             "give what it was begun with; without --resume it is a new sweep");
    return err->code = WT_E_CHANGED;
}

int cli_sweep_group(struct wt_store *store, const char *option, const char *name, char *buf,
                    size_t size, struct wt_error *err)
{
    if (strcmp(name, "last") != 0) {
        snprintf(buf, size, "%s", name);
        return 0;
    }
    struct wt_run *runs = NULL;
    size_t count = 0;
    int rc = wt_store_list(store, NULL, NULL, 0, &runs, &count, err);
    if (rc < 0)
        return rc;
    buf[0] = '\0';
    /* A job of many ranks is a group, too. */
    for (size_t i = 0; i < count && !buf[0]; i++)
        if (runs[i].group[0] && !runs[i].node.count)
            snprintf(buf, size, "%s", runs[i].group);
    wt_runs_free(runs, count);
    if (buf[0])
        return 0;
    snprintf(err->text, sizeof(err->text), "%s last: no sweep is stored", option);
    snprintf(err->fix, sizeof(err->fix), "`wattune runs` lists what is");
    return err->code = WT_E_NOTFOUND;
}

/* The list has heads only, newest first. */
static int load(struct wt_store *store, struct sweep_stored *s, struct wt_error *err)
{
    struct wt_run *heads = NULL;
    size_t count = 0;
    int rc = wt_store_list(store, NULL, s->group, 0, &heads, &count, err);
    if (rc < 0)
        return rc;
    s->runs = calloc(count + 1, sizeof(*s->runs));
    if (!s->runs)
        rc = err->code = WT_E_NOMEM;
    for (; rc == 0 && s->run_count < count; s->run_count++) {
        rc = wt_store_load(store, heads[count - 1 - s->run_count].id, &s->runs[s->run_count], err);
        if (rc < 0)
            break;
    }
    wt_runs_free(heads, count);
    if (rc == 0 && !count) {
        snprintf(err->text, sizeof(err->text), "--resume %s: no run of such a sweep is stored",
                 s->group);
        snprintf(err->fix, sizeof(err->fix),
                 "`wattune runs` lists what is; --resume last is the newest sweep");
        rc = err->code = WT_E_NOTFOUND;
    }
    return rc;
}

static bool is_counted_here(const struct cli_bed *bed, const char *id)
{
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++) {
        const struct wt_device_info *info = wt_devices_info(bed->devices, i);
        if (info->is_counted && strcmp(info->id, id) == 0)
            return true;
    }
    return false;
}

static int check_devices(const struct sweep_options *o, const struct sweep_stored *s,
                         struct wt_error *err)
{
    const struct wt_run *run = NULL;
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].device_count && (!run || s->runs[i].state == WT_RUN_DONE))
            run = &s->runs[i];
    if (!run)
        return 0; /* it ended before anything was measured */
    for (size_t k = 0; k < run->device_count; k++)
        if (run->devices[k].is_counted && !is_counted_here(&o->bed, run->devices[k].id))
            return differs(s->group, err, "it measured %.90s (%.90s), and now that is not measured",
                           run->devices[k].name, run->devices[k].id);
    for (size_t i = 0; i < wt_devices_count(o->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(o->bed.devices, i);
        bool is_known = !info->is_counted;
        for (size_t k = 0; k < run->device_count; k++)
            is_known |= run->devices[k].is_counted && strcmp(run->devices[k].id, info->id) == 0;
        if (!is_known)
            return differs(s->group, err, "it did not measure %.90s (%.90s), and now that is",
                           info->name, info->id);
    }
    return 0;
}

/* The newest plan that its runs keep. */
static int read_plan(struct sweep_stored *s, struct wt_error *err)
{
    struct wt_error why = {0};
    const char *kept = NULL;
    for (size_t i = s->run_count; i-- > 0 && !kept;)
        kept = s->runs[i].plan;
    if (!kept || wt_sweep_plan_from_json(&s->plan, kept, &why) < 0)
        return differs(s->group, err, "%s", kept ? why.text : "its runs keep no plan of a sweep");
    return 0;
}

static int check_running(const struct sweep_stored *s, struct wt_error *err)
{
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].state == WT_RUN_RUNNING) {
            snprintf(err->text, sizeof(err->text), "--resume %s: it is still running (run %s)",
                     s->group, s->runs[i].id);
            snprintf(err->fix, sizeof(err->fix), "wait until it has ended, or end it");
            return err->code = WT_E_BUSY;
        }
    return 0;
}

int cli_resume_seed(struct sweep_options *o, const struct sweep_stored *stored,
                    struct wt_error *err)
{
    if (o->has_seed && o->seed != stored->plan.seed)
        return differs(stored->group, err, "its order is that of --seed %llu",
                       (unsigned long long)stored->plan.seed);
    o->seed = stored->plan.seed;
    return 0;
}

int cli_resume_find(struct sweep_options *o, const char *name, struct sweep_stored *ret_stored,
                    struct wt_error *err)
{
    struct sweep_stored s = {0};
    struct wt_store *store = NULL;
    int rc = wt_store_open(&store, NULL, err);
    if (rc < 0)
        return rc;
    rc = cli_sweep_group(store, "--resume", name, s.group, sizeof(s.group), err);
    if (rc == 0)
        rc = load(store, &s, err);
    if (rc == 0)
        rc = check_running(&s, err);
    if (rc == 0)
        rc = read_plan(&s, err);
    if (rc == 0)
        rc = cli_resume_seed(o, &s, err);
    wt_store_close(store);
    if (rc < 0) {
        cli_resume_done(&s);
        return rc;
    }
    *ret_stored = s;
    return 0;
}

int cli_resume_check(const struct sweep_options *o, const struct sweep_stored *stored,
                     const struct wt_sweep_plan *plan, struct wt_error *err)
{
    struct wt_error why = {0};
    if (wt_sweep_plan_check(&stored->plan, plan, &why) < 0)
        return differs(stored->group, err, "%s", why.text);
    if (cli_sweep_is_elsewhere(o))
        return 0; /* on which devices the others were made is seen when they come back */
    for (size_t i = 0; i < stored->run_count; i++) {
        const struct wt_run *run = &stored->runs[i];
        const char *now = o->bed.emulation_name;
        if (strcmp(run->emulation, now) != 0)
            return differs(stored->group, err, "it ran on %s%s, and now it is %s%s",
                           run->emulation[0] ? "the emulated " : "real devices", run->emulation,
                           now[0] ? "the emulated " : "real devices", now);
    }
    return check_devices(o, stored, err);
}

void cli_resume_done(struct sweep_stored *stored)
{
    wt_runs_free(stored->runs, stored->run_count);
    wt_sweep_plan_done(&stored->plan);
    *stored = (struct sweep_stored){0};
}

size_t cli_resume_mark(const struct sweep_stored *stored, const struct point *points,
                       struct wt_sweep_step *steps, size_t step_count)
{
    size_t marked = 0;
    for (size_t i = 0; i < step_count; i++) {
        for (size_t k = 0; k < stored->run_count; k++) {
            const struct wt_run *run = &stored->runs[k];
            steps[i].is_stored |= run->state == WT_RUN_DONE && run->exit_code == 0 &&
                                  run->repeat == steps[i].repeat &&
                                  strcmp(run->label, points[steps[i].point].label) == 0;
        }
        marked += steps[i].is_stored;
    }
    return marked;
}

void cli_resume_tell(const struct sweep_options *o, const char *group, const char *why, int argc,
                     char **argv)
{
    char text[8192], name[40];
    char **words = calloc((size_t)argc + 5, sizeof(*words));
    size_t count = 0;
    int from = o->resume_at, span = 0;
    if (!words)
        return;
    if (o->resume) /* the one that was given goes */
        span = o->resume == argv[from - 1] ? 2 : 1;
    snprintf(name, sizeof(name), "%s", group);
    char *head[] = {"wattune", "sweep", "--resume", name};
    for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
        words[count++] = head[i];
    for (int i = 1; i < argc; i++)
        if (i < from - span || i >= from)
            words[count++] = argv[i];
    cli_command_text(text, sizeof(text), words);
    cli_note("%s: %s", why, text);
    free(words);
}
