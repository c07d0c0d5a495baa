/* wattune sweep: the paper's experiment on any command - the same work at several settings, in
 * random order and repeated, against the default one. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sweep.h"

#define FAILURES 2 /* in a row at a setting: it is left out */

/* ---- the child's output ---- */

static int open_log(void)
{
    char path[] = "/tmp/wattune-log-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC | O_APPEND);
    if (fd >= 0)
        unlink(path);
    return fd;
}

void cli_sweep_show_log_end(int fd, off_t from)
{
    char text[2049];
    off_t end = lseek(fd, 0, SEEK_END);
    if (end - from > (off_t)sizeof(text) - 1)
        from = end - (off_t)sizeof(text) + 1;
    ssize_t n = pread(fd, text, sizeof(text) - 1, from);
    if (n <= 0) {
        fputs("  it wrote nothing\n", stderr);
        return;
    }
    text[n] = '\0';
    fputs("  the end of what it wrote:\n", stderr);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        fprintf(stderr, "  | %s\n", line);
}

/* ---- results ---- */

static const char *report_path(const struct sweep_options *o)
{
    const char *path = o->report ? o->report : "wattune-report.html";
    return strcmp(path, "-") == 0 ? NULL : path;
}

/* Whether the same table can be made of the store. */
static bool is_stored(const struct sweep_job *job)
{
    for (size_t i = 0; i < job->run_count; i++)
        if (job->runs[i].is_unstored)
            return false;
    return true;
}

static int show(const struct sweep_job *job, size_t reference)
{
    const struct sweep_options *o = &job->o;
    struct wt_sweep sweep = {0};
    struct wt_error err = {0};
    int rc = wt_sweep_make_by(&sweep, job->runs, job->run_count, job->points[reference].label,
                              &job->plan, &err);
    if (rc < 0)
        return cli_fail("sweep", &err);
    if (!isnan(o->precision))
        wt_sweep_want(&sweep, o->precision);
    struct wt_term term;
    wt_term_init(&term, o->is_json ? stderr : stdout);
    wt_report_sweep(&term, &sweep);
    int code = CLI_OK;
    const char *report = report_path(o);
    if (report) {
        rc = wt_report_html(report, &sweep, NULL, 0, &err);
        if (rc < 0) {
            cli_note("%s", err.text);
            if (is_stored(job))
                cli_note("  try: `wattune report %s -o FILE` makes it from the stored runs",
                         sweep.group);
            code = CLI_FAILURE;
        } else {
            fprintf(stderr, "report: %s\n", report);
        }
    }
    if (o->csv && cli_sweep_write_csv(o->csv, &sweep) < 0)
        code = CLI_FAILURE;
    if (o->is_json && cli_print_json("sweep", wt_sweep_to_json(&sweep)) != CLI_OK)
        code = CLI_FAILURE;
    wt_sweep_done(&sweep);
    return code;
}

/* ---- the sweep ---- */

int cli_sweep_apply(const struct sweep_job *job, const struct point *point, struct wt_run *run,
                    struct wt_error *err)
{
    for (size_t s = 0; s < job->o.set_count; s++) {
        int rc = cli_apply(job->m.bed, job->lease, job->o.sets[s].knob, point->values[s], run, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void name_group(char *buf, size_t size)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(buf, size, "sweep-%Y%m%dT%H%M%S", &tm);
    snprintf(buf + n, size - n, "-%06x", (unsigned)(now.tv_nsec ^ getpid()) & 0xffffffu);
}

static bool is_good(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && run->exit_code == 0;
}

static bool has_reference(const struct sweep_job *job)
{
    for (size_t i = 0; i < job->run_count; i++)
        if (job->runs[i].is_reference && is_good(&job->runs[i]))
            return true;
    return false;
}

bool cli_sweep_is_precise_enough(const struct sweep_job *job)
{
    struct wt_sweep sweep = {0};
    struct wt_error err;
    const struct sweep_options *o = &job->o;
    if (isnan(o->precision) ||
        wt_sweep_make_by(&sweep, job->runs, job->run_count, job->points[job->reference].label,
                         &job->plan, &err) < 0)
        return false;
    bool is_enough = isnan(sweep.precision) || sweep.precision <= o->precision;
    unsigned needed = is_enough ? 0 : wt_sweep_repeats_for(&sweep, o->precision);
    if (!is_enough && !job->progress.is_tty) {
        fprintf(stderr, "  %s ratios known to %.2g %%", wt_objective_name(o->goal.objective),
                sweep.precision * 100);
        if (needed)
            fprintf(stderr, "; about %u repeats would do", needed);
        fputc('\n', stderr);
    }
    wt_sweep_done(&sweep);
    return is_enough;
}

/* Runs CMD at the reference setting until the devices have come to rest under it. */
static int settle(struct sweep_job *job, struct wt_error *err)
{
    const struct sweep_options *o = &job->o;
    struct cli_measure *m = &job->m;
    struct wt_run all = {0};
    struct wt_settling s = {0};
    struct wt_store *store = m->store;
    int64_t begin_ns = cli_now_ns();
    unsigned count = 0;
    job->progress.label = "settling";
    int rc = cli_sweep_apply(job, &job->points[job->reference], NULL, err);
    m->store = NULL; /* these do not count */
    while (rc == 0 && !s.is_settled && !job->asked && cli_now_ns() - begin_ns < o->settle_ns) {
        struct wt_run run = {0};
        double from_s = (double)(cli_now_ns() - begin_ns) * 1e-9;
        rc = cli_measure_run(m, job->points[job->reference].command, &run, &job->asked, err);
        for (size_t i = 0; i < run.point_count; i++) {
            struct wt_run_point p = run.points[i];
            p.t_s += from_s;
            wt_run_add_point(&all, &p);
        }
        s = wt_settling_of(all.points, all.point_count);
        count++;
        bool is_failed = run.exit_code != 0;
        wt_run_done(&run);
        if (is_failed)
            break; /* the sweep itself will say so */
    }
    m->store = store;
    double spent_s = (double)(cli_now_ns() - begin_ns) * 1e-9;
    wt_run_done(&all);
    if (rc < 0)
        return rc;
    if (!s.is_known)
        cli_note("--settle: no temperature or clock was seen for long enough after %.0f s, %u runs",
                 spent_s, count);
    else
        cli_note("%s after %.0f s, %u runs%s: temperature drifts %+.1f K, clock %+.2f %%",
                 s.is_settled ? "settled" : "not yet settled", spent_s, count,
                 s.is_settled ? "" : " (the intervals hold what drift the repeats show)",
                 s.temp_drift_k, s.clock_drift * 100);
    return 0;
}

int cli_sweep_tell_run(const struct sweep_job *job, const struct wt_sweep_step *step,
                       struct wt_run *run, struct wt_error *err)
{
    const struct sweep_options *o = &job->o;
    const struct point *point = &job->points[step->point];
    snprintf(run->group, sizeof(run->group), "%s", job->group);
    snprintf(run->label, sizeof(run->label), "%s", point->label);
    snprintf(run->tag, sizeof(run->tag), "%s", o->tag ? o->tag : "");
    run->repeat = step->repeat;
    run->is_reference = step->point == job->reference;
    run->host_w = o->goal.host_w;
    int rc = wt_run_set_plan(run, job->plan_text);
    for (size_t k = 0; k < o->param_count && rc == 0; k++) {
        struct wt_run_param param;
        snprintf(param.name, sizeof(param.name), "%s", o->params[k].name);
        snprintf(param.value, sizeof(param.value), "%s", o->params[k].values[point->params[k]]);
        rc = wt_run_add_param(run, &param);
    }
    if (rc < 0)
        err->code = rc;
    return rc;
}

/* A run that we were asked to end is none, even where the command ended well: it may have ended
 * early. In the store it is one that was cut short. */
static void cut_short(struct sweep_job *job, struct wt_run *run)
{
    if (run->exit_code != 0)
        return;
    run->state = WT_RUN_INCOMPLETE;
    if (job->m.store && !run->is_unstored)
        wt_store_update(job->m.store, run, NULL);
}

bool cli_sweep_is_lost(struct sweep_job *job, struct wt_run *run)
{
    const struct wt_run_setting *s = wt_run_lost(run);
    if (!s || run->exit_code != 0)
        return false;
    cli_progress_clear(&job->progress);
    cli_note("%s: %s of %s was in force for the first %.1f of %.1f s only, so this run does not "
             "count: %s",
             run->label, wt_knob_name(s->knob), s->device_id, s->held_s, run->wall_s, s->lost);
    if (strstr(s->lost, "policy"))
        cli_note("  try: shorter runs, or a longer time in wattuned's policy");
    cut_short(job, run);
    return true;
}

/* Returns an exit code, or -1 to go on. */
static int run_step(struct sweep_job *job, const struct wt_sweep_step *step)
{
    struct point *point = &job->points[step->point];
    struct wt_run *run = &job->runs[job->run_count];
    struct wt_error err = {0};
    struct cli_measure *m = &job->m;
    job->progress.label = point->label;
    off_t log_from = m->log_fd >= 0 ? lseek(m->log_fd, 0, SEEK_END) : 0;
    int rc = cli_sweep_tell_run(job, step, run, &err);
    if (rc == 0)
        rc = cli_sweep_apply(job, point, run, &err);
    if (rc == 0)
        rc = cli_measure_run(m, point->command, run, &job->asked, &err);
    if (rc < 0) {
        cli_progress_clear(&job->progress);
        int code = cli_fail("sweep", &err);
        if (run->exit_code)
            code = run->exit_code;
        wt_run_done(run);
        return code;
    }
    job->run_count++;
    cli_progress_done(&job->progress, run);
    if (job->asked)
        cut_short(job, run);
    else if (cli_sweep_is_lost(job, run))
        job->lost++;
    if (run->exit_code != 0 && !job->asked) {
        cli_progress_clear(&job->progress);
        cli_note("%s: the command exited with %d", point->label, run->exit_code);
        if (m->log_fd >= 0)
            cli_sweep_show_log_end(m->log_fd, log_from);
        point->failed++;
    } else if (is_good(run)) {
        job->failed += (int)point->failed; /* it can be run, so they are missing */
        point->failed = 0;
    }
    return -1;
}

/* ---- what fails ---- */

static size_t failed_points(const struct sweep_job *job)
{
    size_t count = 0;
    for (size_t i = 0; i < job->point_count; i++)
        count += job->points[i].failed > 0;
    return count;
}

static bool has_worked(const struct sweep_job *job)
{
    for (size_t i = 0; i < job->run_count; i++)
        if (is_good(&job->runs[i]))
            return true;
    return false;
}

static bool has_good_run(const struct sweep_job *job, const struct point *point)
{
    for (size_t i = 0; i < job->run_count; i++)
        if (is_good(&job->runs[i]) && strcmp(job->runs[i].label, point->label) == 0)
            return true;
    return false;
}

/* Where nothing has worked yet and two settings failed, it may be the command: the reference, which
 * nothing can do without, tells, and so is the next of its round. */
static void ask_reference(struct sweep_job *job, size_t at)
{
    if (has_worked(job) || job->points[job->reference].failed || failed_points(job) < 2)
        return;
    size_t end = (at / job->point_count + 1) * job->point_count;
    for (size_t i = at + 1; i < end; i++)
        if (job->steps[i].point == job->reference) {
            struct wt_sweep_step step = job->steps[at];
            job->steps[at] = job->steps[i];
            job->steps[i] = step;
        }
}

static void leave_out(struct sweep_job *job, struct point *point)
{
    point->is_left_out = true;
    /* Without the reference there is no sweep, which is said elsewhere. */
    if (point == &job->points[job->reference] && !has_reference(job))
        return;
    int exit_code = 0;
    for (size_t i = 0; i < job->run_count; i++)
        if (strcmp(job->runs[i].label, point->label) == 0 && job->runs[i].exit_code)
            exit_code = job->runs[i].exit_code;
    cli_note("%s is %s: %s failed (exit code %d; what the command wrote is shown above)",
             point->label, has_good_run(job, point) ? "not measured further" : "left out",
             point->failed > 1 ? "its last two runs" : "its last run", exit_code);
}

/* A setting at which the command fails again and again says nothing of the others. */
static void judge(struct sweep_job *job, size_t at)
{
    struct point *point = &job->points[job->steps[at].point];
    if (point->failed < FAILURES)
        return;
    leave_out(job, point);
    for (size_t i = at + 1; i < job->step_count; i++)
        job->progress.total -=
            &job->points[job->steps[i].point] == point && !job->steps[i].is_stored;
}

/* At the end. Where all was tried, one of which nothing is there is left out without a second run.
 */
static void judge_rest(struct sweep_job *job, bool is_whole)
{
    for (size_t p = 0; p < job->point_count; p++) {
        struct point *point = &job->points[p];
        bool is_any = has_good_run(job, point);
        if (is_whole && point->failed && !is_any && !point->is_left_out)
            leave_out(job, point);
        job->failed += point->is_left_out && !is_any ? 0 : (int)point->failed;
    }
    job->failed += job->lost;
}

/* After a step: whether the rest would come to nothing. Says why. */
static bool gives_up(const struct sweep_job *job)
{
    const struct point *reference = &job->points[job->reference];
    size_t failed = failed_points(job);
    if (job->lost == FAILURES) {
        cli_note("what was set did not hold in %d runs: giving up", FAILURES);
        return true;
    }
    if (!has_worked(job) && reference->failed && failed >= 2) {
        cli_note("the command failed at %zu settings, also at %s, which the others are compared "
                 "with, and worked at none: giving up",
                 failed, reference->label);
        return true;
    }
    if (!reference->is_left_out || has_reference(job))
        return false;
    cli_note("the command failed twice at %s%s: giving up", reference->label,
             job->point_count > 1 ? ", which the others are compared with" : "");
    if (job->o.param_count && has_worked(job))
        cli_note("  try: a first value in --param with which the command works: that is the one "
                 "the others are compared with");
    return true;
}

/* Returns an exit code, or -1 to go on. */
static int run_all(struct sweep_job *job)
{
    const struct sweep_options *o = &job->o;
    struct wt_error err = {0};
    bool is_given_up = false;
    if (o->settle_ns && job->progress.done < job->progress.total && settle(job, &err) < 0)
        return cli_fail("sweep", &err);
    for (size_t i = 0; i < job->step_count && !job->asked && !is_given_up; i++) {
        if (i % job->point_count == 0 && i / job->point_count >= o->repeats &&
            cli_sweep_is_precise_enough(job))
            break;
        ask_reference(job, i);
        if (job->steps[i].is_stored || job->points[job->steps[i].point].is_left_out)
            continue;
        int code = run_step(job, &job->steps[i]);
        if (code >= 0)
            return code;
        judge(job, i);
        is_given_up = gives_up(job);
    }
    judge_rest(job, !job->asked && !is_given_up);
    return -1;
}

/* What is known before anything is changed: the plan, its order, and what is stored of it. Returns
 * an exit code, or -1 to go on. */
static int prepare(struct sweep_job *job, char **command)
{
    struct sweep_options *o = &job->o;
    struct wt_error err = {0};
    int code = cli_plan(o, command, job->points, &job->point_count, &job->reference);
    if (code >= 0)
        return code;
    job->step_count = job->point_count * o->repeats_max;
    job->steps = calloc(job->step_count, sizeof(*job->steps));
    if (!job->steps)
        err.code = WT_E_NOMEM;
    if (!job->steps || cli_plan_tell(o, command, &job->plan, &err) < 0 ||
        (job->stored.group[0] && cli_resume_check(o, &job->stored, &job->plan, &err) < 0))
        return cli_fail("sweep", &err);
    snprintf(job->plan.reference, sizeof(job->plan.reference), "%s",
             job->points[job->reference].label);
    name_group(job->group, sizeof(job->group));
    if (o->slurm.task) {
        const char *slash = strrchr(o->slurm.task, '/');
        snprintf(job->group, sizeof(job->group), "%s", slash ? slash + 1 : o->slurm.task);
    }
    if (job->stored.group[0])
        snprintf(job->group, sizeof(job->group), "%s", job->stored.group);
    cli_plan_order(job->steps, job->point_count, o->repeats_max, job->plan.seed);
    job->progress.done = cli_resume_mark(&job->stored, job->points, job->steps, job->step_count);
    job->progress.total = job->step_count;
    job->progress.label_width = 12;
    for (size_t i = 0; i < job->point_count; i++)
        if ((int)strlen(job->points[i].label) > job->progress.label_width)
            job->progress.label_width = (int)strlen(job->points[i].label);
    job->plan_text = wt_sweep_plan_to_json(&job->plan);
    job->runs = calloc(job->stored.run_count + job->step_count, sizeof(*job->runs));
    if (job->plan_text && job->runs)
        return -1;
    err.code = WT_E_NOMEM;
    return cli_fail("sweep", &err);
}

/* The stored runs are the table's as well as those to come. */
static void take_stored(struct sweep_job *job)
{
    for (size_t i = 0; i < job->stored.run_count; i++)
        job->progress.spent_s +=
            job->stored.runs[i].state == WT_RUN_DONE ? job->stored.runs[i].wall_s : 0;
    if (job->stored.run_count)
        memcpy(job->runs, job->stored.runs, job->stored.run_count * sizeof(*job->runs));
    job->run_count = job->stored.run_count;
    free(job->stored.runs);
    job->stored.runs = NULL;
    job->stored.run_count = 0;
}

static int open_all(struct sweep_job *job, struct wt_error *err)
{
    struct sweep_options *o = &job->o;
    struct cli_measure *m = &job->m;
    int rc = 0;
    if (o->set_count && job->progress.done < job->progress.total)
        rc = wt_lease_open(&job->lease, o->bed.ctx, o->bed.devices, NULL, err);
    if (rc < 0)
        return rc;
    job->is_measuring = true;
    rc = cli_measure_open(m, &o->bed, o->is_without_store, 0, err);
    if (rc < 0)
        return rc;
    m->lease = job->lease;
    m->log_fd = o->is_output_shown ? -1 : open_log();
    m->is_output_hidden = m->log_fd >= 0;
    m->is_stdout_moved = o->is_json;
    m->progress = o->progress;
    m->work_unit = o->work_per_step ? o->work_unit : NULL;
    m->work_per_step = o->work_per_step;
    m->on_tick = cli_progress_draw;
    m->data = &job->progress;
    job->progress.is_tty = isatty(STDERR_FILENO) && !o->is_output_shown;
    job->progress.measure = m;
    return 0;
}

static void say_plan(const struct sweep_job *job)
{
    const struct sweep_options *o = &job->o;
    const char *emulation = o->bed.emulation_name;
    if (emulation[0])
        fprintf(stderr, "EMULATED %s: no real device is measured or changed\n", emulation);
    fprintf(stderr, "%zu setting%s, %u run%s each, random order (--seed %llu)\n", job->point_count,
            job->point_count > 1 ? "s" : "", o->repeats, o->repeats > 1 ? "s" : "",
            (unsigned long long)job->plan.seed);
    if (o->resume)
        fprintf(stderr, "going on with %s: %zu of %zu runs are stored\n", job->group,
                job->progress.done, job->progress.total);
}

/* Says how to go on where that is of use: where the command never worked, it is not. */
static void tell_resume(const struct sweep_job *job, int argc, char **argv)
{
    bool is_left_out = false;
    for (size_t i = 0; i < job->point_count; i++)
        is_left_out |= job->points[i].is_left_out;
    if (job->asked || (job->failed && job->slurm))
        cli_resume_tell(&job->o, job->group, "go on with it", argc, argv);
    else if (has_worked(job) && (job->failed || is_left_out))
        cli_resume_tell(&job->o, job->group,
                        is_left_out ? "once the cause is mended, go on with it; what was left out "
                                      "is tried again"
                                    : "go on with it",
                        argc, argv);
}

/* The table of what was run, and how it went. */
static int finish(struct sweep_job *job, int argc, char **argv)
{
    struct wt_error err = {0};
    bool has_store = job->m.store != NULL;
    int code;
    cli_progress_clear(&job->progress);
    /* The card is given back before anything is shown: a slow terminal holds no cap. */
    if (job->lease && wt_lease_restore(job->lease, &err) < 0)
        cli_note("not everything was put back: %s", err.text);
    if (job->asked)
        cli_note("interrupted in run %zu of %zu; what the runs before it say is preliminary",
                 job->progress.done, job->progress.total);
    if (has_reference(job)) {
        code = show(job, job->reference);
        if (job->failed)
            code = CLI_FAILURE;
    } else {
        cli_note("no run at %s, which the others are compared with, ended well: there is no table",
                 job->points[job->reference].label);
        code = CLI_FAILURE;
    }
    if (job->asked)
        code = 128 + job->asked;
    if (has_store && (job->run_count || job->slurm))
        tell_resume(job, argc, argv);
    return code;
}

static void close_all(struct sweep_job *job)
{
    struct wt_error back = {0};
    if (job->is_measuring)
        cli_measure_close(&job->m);
    if (wt_lease_close(job->lease, &back) < 0)
        cli_note("not everything was put back: %s", back.text);
    cli_sweep_slurm_close(job);
    cli_bed_close(&job->o.bed);
    if (job->m.log_fd >= 0)
        close(job->m.log_fd);
    cli_sweep_options_done(&job->o);
    wt_runs_free(job->runs, job->run_count);
    cli_resume_done(&job->stored);
    wt_sweep_plan_done(&job->plan);
    cli_points_free(job->points, job->point_count);
    free(job->plan_text);
    free(job->steps);
}

/* What is found out before the plan is made. */
static int open_first(struct sweep_job *job, struct wt_error *err)
{
    struct sweep_options *o = &job->o;
    int rc = cli_signals_block(err);
    if (!o->has_seed)
        o->seed = (uint64_t)cli_now_ns();
    if (rc == 0 && o->slurm.is_asked && !o->slurm.task)
        rc = cli_sweep_slurm_open(job, err);
    else if (rc == 0 && o->resume && !o->slurm.task)
        rc = cli_resume_find(o, o->resume, &job->stored, err);
    /* An emulated sweep that goes on does so on the boards it was begun on. */
    o->bed.emulation_seed = o->seed;
    if (rc == 0 && !job->slurm)
        rc = cli_bed_open(&o->bed, err);
    if (o->is_dry_run || o->slurm.task)
        return rc;
    if (rc == 0)
        rc = cli_output_check("--report", report_path(o), err);
    if (rc == 0)
        rc = cli_output_check("--csv", o->csv, err);
    return rc;
}

int cmd_sweep(int argc, char **argv)
{
    struct sweep_job job = {.o = {.precision = NAN}, .m = {.log_fd = -1}};
    struct wt_error err = {0};
    cli_goal_init(&job.o.goal);
    job.points = calloc(MAX_POINTS, sizeof(*job.points));
    int code = job.points ? cli_sweep_parse(argc, argv, &job.o) : CLI_FAILURE;
    if (code >= 0)
        goto out;
    if (open_first(&job, &err) < 0) {
        code = cli_fail("sweep", &err);
        goto out;
    }
    code = prepare(&job, argv + optind);
    if (code >= 0)
        goto out;
    if (job.o.slurm.task) {
        code = cli_sweep_task(&job);
        goto out;
    }
    if (job.o.is_dry_run) {
        code = cli_sweep_dry(&job.o, &job.plan, job.points, job.point_count, job.reference,
                             job.steps, job.step_count, &job.stored);
        if (job.slurm && !job.o.is_json)
            cli_sweep_slurm_dry(&job);
        goto out;
    }
    take_stored(&job);
    if (!job.slurm && open_all(&job, &err) < 0) {
        code = cli_fail("sweep", &err);
        goto out;
    }
    say_plan(&job);
    code = job.slurm ? cli_sweep_slurm_run(&job, argc, argv) : run_all(&job);
    if (code < 0)
        code = finish(&job, argc, argv);
    else if (job.m.store && job.run_count)
        cli_resume_tell(&job.o, job.group, "go on with it", argc, argv);
out:
    close_all(&job);
    return code;
}
