/* measure: one command's run, from before its start to after its end.
 *
 * The order matters: the window opens before the child is started and closes when it has been
 * reaped, so nothing of it is missed; the store is written while it runs, so that what was measured
 * survives our death. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "steps.h"
#include "tap.h"

#define TICK_NS  INT64_C(100000000)
#define STORE_NS INT64_C(1000000000)
#define HOLD_NS  INT64_C(1000000000) /* between two looks at what was set: they ask the driver */

static void keep_point(void *data, const struct wt_trace_point *point)
{
    struct cli_measure *m = data;
    pthread_mutex_lock(&m->lock);
    if (m->pending_count == m->pending_room) {
        size_t room = m->pending_room ? m->pending_room * 2 : 256;
        void *more = realloc(m->pending, room * sizeof(*m->pending));
        if (!more) { /* a plot with a hole is better than no run */
            pthread_mutex_unlock(&m->lock);
            return;
        }
        m->pending = more;
        m->pending_room = room;
    }
    m->pending[m->pending_count++] = *point;
    pthread_mutex_unlock(&m->lock);
}

int cli_measure_open(struct cli_measure *m, struct cli_bed *bed, bool is_without_store,
                     int64_t period_ns, struct wt_error *err)
{
    m->bed = bed;
    m->log_fd = -1;
    pthread_mutex_init(&m->lock, NULL);
    if (!is_without_store) {
        struct wt_error why;
        if (wt_store_open(&m->store, NULL, &why) < 0) {
            cli_note("this run will not be stored: %s", why.text);
            if (why.fix[0])
                cli_note("  try: %s", why.fix);
        }
    }
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (visible && !bed->gpus && !wt_devices_count(bed->devices))
        cli_note("CUDA_VISIBLE_DEVICES=\"%s\" shows no GPU; --gpu 0 measures one all the same",
                 visible);
    const struct wt_meter_options options = {.period_ns = period_ns};
    int rc = wt_meter_new(&m->meter, bed->ctx, bed->devices, &options, err);
    if (rc < 0)
        return rc;
    wt_meter_on_trace(m->meter, keep_point, m);
    return 0;
}

void cli_measure_close(struct cli_measure *m)
{
    wt_meter_free(m->meter);
    m->meter = NULL;
    wt_store_close(m->store);
    m->store = NULL;
    free(m->pending);
    m->pending = NULL;
    m->pending_count = m->pending_room = 0;
    pthread_mutex_destroy(&m->lock);
}

/* ---- marks ---- */

#define MAX_OPEN 64 /* phases that work is counted for */

struct heard {
    struct wt_mark mark;
    uint64_t number; /* in order of hearing */
};

/* What the marks of one run add up to. */
struct tally {
    struct cli_measure *measure;
    struct wt_run *run;
    int64_t start_ns;
    struct cli_steps steps;
    struct heard *heard; /* and not taken yet */
    size_t heard_count, heard_room;
    uint64_t heard_ever;
    struct wt_phases *phases; /* NULL: no memory, they are left out */
    struct open_phase {
        uint32_t pid;
        char name[32];
    } open[MAX_OPEN]; /* in the order in which they began */
    size_t open_count;
    struct phase_work {
        char name[32];
        uint64_t count;
    } works[MAX_OPEN];
    size_t work_count;
};

/* Work is of the phase that its program began last and has not ended. */
static void follow_phases(struct tally *t, const struct wt_mark *mark)
{
    if (mark->kind == WT_MARK_BEGIN && t->open_count < MAX_OPEN) {
        struct open_phase *o = &t->open[t->open_count++];
        o->pid = mark->pid;
        memcpy(o->name, mark->name, sizeof(o->name));
    }
    bool is_gone = mark->kind == WT_MARK_GONE;
    for (size_t i = t->open_count; (is_gone || mark->kind == WT_MARK_END) && i-- > 0;)
        if (t->open[i].pid == mark->pid && (is_gone || strcmp(t->open[i].name, mark->name) == 0)) {
            memmove(&t->open[i], &t->open[i + 1], (--t->open_count - i) * sizeof(*t->open));
            if (!is_gone)
                break;
        }
}

static void count_phase_work(struct tally *t, const struct wt_mark *mark)
{
    size_t at = t->open_count, i = 0;
    while (at > 0 && t->open[at - 1].pid != mark->pid)
        at--;
    if (at == 0)
        return;
    while (i < t->work_count && strcmp(t->works[i].name, t->open[at - 1].name) != 0)
        i++;
    if (i == MAX_OPEN)
        return;
    if (i == t->work_count) {
        t->works[i].count = 0;
        memcpy(t->works[t->work_count++].name, t->open[at - 1].name, sizeof(t->works[i].name));
    }
    t->works[i].count = wt_mark_sum(t->works[i].count, mark->count);
}

static void put_phase_work(const struct tally *t, struct wt_run *run)
{
    for (size_t i = 0; i < run->phase_count; i++)
        for (size_t k = 0; k < t->work_count; k++)
            if (strcmp(run->phases[i].name, t->works[k].name) == 0)
                run->phases[i].work = t->works[k].count;
}

static void take_mark(void *data, const struct wt_mark *mark)
{
    struct tally *t = data;
    struct wt_run *run = t->run;
    uint64_t steps = run->work.steps, count = run->work.count;
    run->work.steps = cli_steps_take(&t->steps, mark);
    switch (mark->kind) {
    case WT_MARK_WORK:
        if (!run->work.is_known) {
            snprintf(run->work.unit, sizeof(run->work.unit), "%s", mark->name);
            run->work.is_known = true;
        }
        if (strcmp(run->work.unit, mark->name) == 0) {
            run->work.count = wt_mark_sum(run->work.count, mark->count);
            count_phase_work(t, mark);
        }
        break;
    case WT_MARK_STEP:
        break;
    case WT_MARK_BEGIN:
    case WT_MARK_END:
    case WT_MARK_GONE:
        if (t->phases)
            wt_phases_mark(t->phases, mark);
        follow_phases(t, mark);
        break;
    case WT_MARK_VALUE: {
        struct wt_run_value value = {.t_s = (double)(mark->t_ns - t->start_ns) * 1e-9};
        memcpy(value.name, mark->name, sizeof(value.name));
        memcpy(&value.value, &mark->count, sizeof(value.value));
        wt_run_add_value(run, &value);
        break;
    }
    }
    /* Steps where there are any: a step's tokens may be told in parts. */
    struct cli_measure *m = t->measure;
    if (m->on_work && run->work.steps > steps)
        m->on_work(m->data, mark->t_ns, run->work.steps, true);
    else if (m->on_work && !run->work.steps && run->work.count > count)
        m->on_work(m->data, mark->t_ns, run->work.count, false);
}

/* Marks come door by door, but what lies within what is told by time across all of them: a program
 * may tell through several doors, and a range end on another thread than it began. */
static void hear_mark(void *data, const struct wt_mark *mark)
{
    struct tally *t = data;
    if (t->heard_count == t->heard_room) {
        size_t room = t->heard_room ? 2 * t->heard_room : 256;
        void *more = realloc(t->heard, room * sizeof(*t->heard));
        if (!more) { /* counted, if out of order */
            take_mark(t, mark);
            return;
        }
        t->heard = more;
        t->heard_room = room;
    }
    t->heard[t->heard_count].mark = *mark;
    t->heard[t->heard_count++].number = t->heard_ever++;
}

static int by_time(const void *a, const void *b)
{
    const struct heard *x = a, *y = b;
    if (x->mark.t_ns != y->mark.t_ns)
        return x->mark.t_ns < y->mark.t_ns ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Later ones wait: those of another door, before them, may not have been heard yet. */
static void take_marks_until(struct tally *t, int64_t until_ns)
{
    size_t taken = 0;
    if (t->heard_count)
        qsort(t->heard, t->heard_count, sizeof(*t->heard), by_time);
    while (taken < t->heard_count && t->heard[taken].mark.t_ns <= until_ns)
        take_mark(t, &t->heard[taken++].mark);
    t->heard_count -= taken;
    if (taken && t->heard_count)
        memmove(t->heard, t->heard + taken, t->heard_count * sizeof(*t->heard));
}

/* ---- the run ---- */

static void take_points(struct cli_measure *m, struct wt_run *run, int64_t start_ns)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->pending_count; i++) {
        const struct wt_trace_point *p = &m->pending[i];
        if (p->t_ns < start_ns)
            continue;
        if (m->on_point)
            m->on_point(m->data, p);
        /* What was read before the run began is of another setting, or of another run. */
        bool is_ours = p->t_status_ns >= start_ns;
        struct wt_run_point point = {.t_s = (double)(p->t_ns - start_ns) * 1e-9,
                                     .device = (uint32_t)p->device,
                                     .power_w = p->power_w,
                                     .temp_c = is_ours ? p->temp_c : (double)NAN,
                                     .clock_mhz = is_ours ? p->clock_mhz : (double)NAN,
                                     .limit_w = is_ours ? p->limit_w : (double)NAN,
                                     .throttle = is_ours ? p->throttle : 0};
        wt_run_add_point(run, &point);
    }
    m->pending_count = 0;
    pthread_mutex_unlock(&m->lock);
}

/* CPU seconds of this process so far; the command's own are not in it. */
static double own_cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Waiting for the sensor's next tick after the end makes the bound tighter; it may cost 2 % of the
 * run, so that a short command stays short. */
static int64_t result_wait_ns(int64_t wall_ns)
{
    int64_t wait = wall_ns / 50;
    if (wait < 5000000)
        wait = 5000000;
    return wait > 400000000 ? 400000000 : wait;
}

void cli_command_text(char *buf, size_t size, char **argv)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    for (size_t i = 0; out && argv[i]; i++) {
        if (i)
            putc(' ', out);
        cli_shell_word(out, argv[i]);
    }
    bool is_whole = out && fclose(out) == 0;
    snprintf(buf, size, "%s", is_whole ? text : "");
    free(text);
}

/* A program that only counts steps has its work told by the user: so much a step. */
static void count_work_by_steps(const struct cli_measure *m, struct wt_run *run)
{
    if (!run->work.steps || run->work.is_known)
        return;
    snprintf(run->work.unit, sizeof(run->work.unit), "%s", m->work_unit ? m->work_unit : "steps");
    uint64_t worth = m->work_per_step ? m->work_per_step : 1;
    run->work.count = run->work.steps > WT_MARK_COUNT_MAX / worth ? (uint64_t)WT_MARK_COUNT_MAX
                                                                  : run->work.steps * worth;
    run->work.is_known = true;
}

static void say_if_nothing_was_counted(struct cli_measure *m, const struct wt_run *run)
{
    if (m->is_quiet)
        return;
    m->is_quiet = true;
    if (m->progress && !run->work.steps)
        cli_note("--progress '%s' matched nothing that the command wrote to stdout", m->progress);
    else if (m->work_per_step && !run->work.steps)
        cli_note("--work: no step was counted; --progress, --nvtx or a door tells of steps");
}

static void store_failed(struct cli_measure *m, const struct wt_error *why)
{
    cli_note("this run is no longer stored: %s", why->text);
    wt_store_close(m->store);
    m->store = NULL;
}

/* The energies so far, and what it took of them: what is left when we are killed. */
static void look(struct cli_measure *m, uint64_t window, struct wt_users *users,
                 struct wt_phases *phases, struct wt_run *run)
{
    struct wt_window_result so_far;
    struct wt_phases_result counts;
    if (phases && wt_phases_counts(phases, &counts, NULL) == 0) {
        wt_run_set_phases(run, &counts);
        wt_phases_result_done(&counts);
    }
    if (wt_meter_peek(m->meter, window, &so_far, NULL) < 0)
        return; /* no memory: the next second may have it */
    if (users)
        wt_users_span(users, &so_far, run);
    double wall_s = run->wall_s;
    wt_run_set_window(run, m->bed->devices, &so_far);
    run->wall_s = wall_s;
    wt_window_result_done(&so_far);
}

/* Whether what was set is still in force. A setting is lost once, and tells it from then on. */
static void look_after(const struct cli_measure *m, int64_t start_ns, int64_t end_ns,
                       struct wt_run *run)
{
    struct wt_lease_hold hold;
    for (size_t i = 0; m->lease && i < run->setting_count; i++) {
        struct wt_run_setting *s = &run->settings[i];
        size_t d = 0, count = wt_devices_count(m->bed->devices);
        while (d < count && strcmp(wt_devices_info(m->bed->devices, d)->id, s->device_id) != 0)
            d++;
        if (s->lost[0] || d == count || wt_lease_look(m->lease, d, s->knob, &hold, NULL) < 0 ||
            !hold.is_lost || hold.seen_ns >= end_ns)
            continue;
        snprintf(s->lost, sizeof(s->lost), "%s", hold.why);
        s->held_s = hold.seen_ns > start_ns ? (double)(hold.seen_ns - start_ns) * 1e-9 : 0;
    }
}

static void tell_phases(struct wt_phases *phases, struct wt_run *run)
{
    struct wt_phases_result result;
    struct wt_error why;
    if (!phases)
        return;
    if (wt_phases_result(phases, &result, &why) < 0 || wt_run_set_phases(run, &result) < 0)
        cli_note("the energy of phases is left out: %s", why.text);
    else
        wt_phases_result_done(&result);
}

/* The recorded machine that is played back, by the folder that was named. */
static void tell_recording(const struct cli_bed *bed, struct wt_run *run)
{
    const char *title = wt_ctx_recording(bed->ctx);
    if (!title || !bed->sysroot)
        return;
    size_t n = strlen(bed->sysroot);
    while (n > 1 && bed->sysroot[n - 1] == '/')
        n--;
    run->is_replayed = true;
    snprintf(run->recording, sizeof(run->recording), "%.*s", (int)n, bed->sysroot);
    snprintf(run->recording_title, sizeof(run->recording_title), "%s", title);
}

int cli_measure_task(struct cli_measure *m, const struct cli_task *task, char **argv,
                     struct wt_run *run, struct wt_error *err)
{
    struct wt_doorkeeper *keeper = NULL;
    struct wt_error why;
    struct tally tally = {.measure = m, .run = run};
    struct wt_users *users = NULL;
    uint64_t window, lost = 0;

    cli_command_text(run->command, sizeof(run->command), argv);
    snprintf(run->emulation, sizeof(run->emulation), "%s", m->bed->emulation_name);
    run->is_emulated = m->bed->emulation_name[0] != '\0';
    tell_recording(m->bed, run);
    if (m->store && wt_store_begin(m->store, run, &why) < 0)
        store_failed(m, &why);
    wt_run_stamp(run); /* without a store too it has a time and a machine */

    if ((m->door ? wt_doorkeeper_share(&keeper, m->door, &why)
                 : wt_doorkeeper_new(&keeper, NULL, &why)) == 0)
        setenv("WATTUNE_DOOR", wt_doorkeeper_path(keeper), 1);
    else
        cli_note("steps and tokens will not be counted: %s", why.text);

    struct wt_meter_cost before, after;
    double cpu_s = own_cpu_s();
    wt_meter_cost(m->meter, &before);
    int rc = wt_meter_begin(m->meter, "run", &window);
    if (rc < 0) {
        snprintf(err->text, sizeof(err->text), "cannot open a window: %s", wt_strerror(rc));
        err->code = rc;
        wt_doorkeeper_free(keeper);
        return rc;
    }
    int64_t start_ns = cli_now_ns();
    wt_meter_refresh(m->meter);
    tally.start_ns = start_ns;
    if (wt_phases_new(&tally.phases, m->meter, &why) < 0 ||
        wt_users_new(&users, m->bed->ctx, m->bed->devices, 0, &why) < 0)
        cli_note("phases or users will have no energy of their own: %s", why.text);

    rc = task->start(task->data, err);
    if (rc < 0) {
        wt_meter_cancel(m->meter, window);
        run->exit_code = rc == WT_E_NOTFOUND ? 127 : 126;
        run->state = WT_RUN_DONE;
        if (m->store)
            wt_store_end(m->store, run, NULL);
        wt_doorkeeper_free(keeper);
        wt_phases_free(tally.phases);
        wt_users_free(users);
        unsetenv("WATTUNE_DOOR");
        return rc;
    }

    /* Soon a first time: then the record of a run that is killed says what it ran on. */
    int64_t next_store = start_ns, next_look = start_ns, next_hold = start_ns + HOLD_NS;
    for (int64_t next = start_ns + TICK_NS; !task->wait(task->data, next); next += TICK_NS) {
        int64_t now = cli_now_ns();
        if (next < now)
            next = now; /* we were stopped: do not catch up */
        take_points(m, run, start_ns);
        if (keeper)
            wt_doorkeeper_drain(keeper, hear_mark, &tally, &lost, NULL);
        if (task->drain)
            task->drain(task->data, hear_mark, &tally);
        take_marks_until(&tally, now);
        run->wall_s = (double)(now - start_ns) * 1e-9;
        if (tally.phases)
            wt_phases_advance(tally.phases, now);
        if (now >= next_look) { /* often at first, so that a short run is seen at all */
            next_look = now + (now - start_ns < STORE_NS ? TICK_NS : STORE_NS);
            look(m, window, users, tally.phases, run);
        }
        if (now >= next_hold) {
            next_hold = now + HOLD_NS;
            look_after(m, start_ns, now, run);
        }
        if (m->on_tick)
            m->on_tick(m->data, run, run->wall_s);
        if (m->store && now >= next_store) {
            next_store = now + STORE_NS;
            if (wt_store_update(m->store, run, &why) < 0)
                store_failed(m, &why);
        }
    }
    wt_meter_end(m->meter, window);
    int64_t wall_ns = cli_now_ns() - start_ns;
    run->wall_s = (double)wall_ns * 1e-9;
    look_after(m, start_ns, start_ns + wall_ns, run);
    run->exit_code = task->exit_code(task->data);
    if (task->finish)
        task->finish(task->data);

    struct wt_window_result result;
    rc = wt_meter_result(m->meter, window, result_wait_ns(wall_ns), &result, err);
    take_points(m, run, start_ns);
    if (keeper)
        wt_doorkeeper_drain(keeper, hear_mark, &tally, &lost, NULL);
    if (task->drain)
        task->drain(task->data, hear_mark, &tally);
    take_marks_until(&tally, INT64_MAX);
    free(tally.heard);
    if (tally.phases)
        wt_phases_advance(tally.phases, start_ns + wall_ns);
    tell_phases(tally.phases, run);
    put_phase_work(&tally, run);
    wt_phases_free(tally.phases);
    say_if_nothing_was_counted(m, run);
    count_work_by_steps(m, run);
    if (m->count_others)
        m->others = m->count_others(m->others_data, run);
    if (lost)
        cli_note("%llu marks of the program were lost: its counts are too low",
                 (unsigned long long)lost);
    uint64_t refused = keeper ? wt_doorkeeper_refused(keeper) : 0;
    if (refused)
        cli_note("%llu mark%s of the program told of work or steps below 0 or beyond 2^63 - 1, and "
                 "%s left out",
                 (unsigned long long)refused, refused > 1 ? "s" : "", refused > 1 ? "are" : "is");
    wt_doorkeeper_free(keeper);
    unsetenv("WATTUNE_DOOR");
    if (rc == 0) {
        double wall_s = run->wall_s;
        rc = wt_run_set_window(run, m->bed->devices, &result);
        run->wall_s = wall_s;
        wt_window_result_done(&result);
        if (rc == 0 && users)
            rc = wt_users_finish(users, run, err);
    }
    wt_users_free(users);
    wt_meter_cost(m->meter, &after);
    /* All our threads, not the sampling ones alone: looking at users, phases and the store cost
     * too. */
    run->cost = (struct wt_meter_cost){.cpu_s = own_cpu_s() - cpu_s,
                                       .wall_s = after.wall_s - before.wall_s,
                                       .reads = after.reads - before.reads,
                                       .failures = after.failures - before.failures};
    if (rc < 0) /* what goes wrong with measuring is ours, not the command's */
        cli_note("the energy of this run is not whole: %s",
                 err->text[0] ? err->text : wt_strerror(rc));
    run->state = WT_RUN_DONE;
    if (m->on_end)
        m->on_end(m->data, run);
    look_after(m, start_ns, start_ns + wall_ns, run); /* what was set while it ran */
    if (m->store && wt_store_end(m->store, run, &why) < 0)
        store_failed(m, &why);
    run->is_unstored = !m->store;
    return 0;
}

/* ---- one command ---- */

struct command {
    struct cli_measure *m;
    char **argv;
    struct cli_child child;
    struct cli_tap *tap; /* NULL: nobody reads along */
    bool is_over;
};

static int command_start(void *data, struct wt_error *err)
{
    struct command *c = data;
    const struct cli_measure *m = c->m;
    int out_fd = m->is_output_hidden ? m->log_fd : m->is_stdout_moved ? STDERR_FILENO : -1, rc = 0;
    if (m->progress || m->mark) {
        rc = cli_tap_open(&c->tap, out_fd >= 0 ? out_fd : STDOUT_FILENO, m->progress, m->mark, err);
        if (rc == 0)
            out_fd = cli_tap_child_fd(c->tap);
    }
    c->child = (struct cli_child){.signal_fd = -1,
                                  .output_fd = out_fd,
                                  .is_error_moved = m->is_output_hidden,
                                  .terminal_fd = c->tap ? cli_tap_terminal_fd(c->tap) : -1};
    if (rc == 0)
        rc = cli_child_start(&c->child, c->argv, err);
    if (rc < 0)
        return rc;
    if (c->tap)
        cli_tap_started(c->tap);
    return 0;
}

static bool command_wait(void *data, int64_t until_ns)
{
    struct command *c = data;
    return cli_child_wait(&c->child, until_ns);
}

static void command_drain(void *data, void (*fn)(void *tally, const struct wt_mark *mark),
                          void *tally)
{
    struct command *c = data;
    if (c->tap && c->is_over)
        cli_tap_finish(c->tap);
    if (c->tap)
        cli_tap_drain(c->tap, fn, tally);
}

static int command_exit_code(void *data)
{
    struct command *c = data;
    return cli_child_exit_code(&c->child);
}

static void command_finish(void *data)
{
    struct command *c = data;
    char names[512];
    size_t survivors = cli_child_survivors(&c->child, names, sizeof(names));
    if (survivors)
        cli_note("%zu process%s outlived the command and %s not in its energy from here on: %s",
                 survivors, survivors > 1 ? "es" : "", survivors > 1 ? "are" : "is", names);
    cli_child_done(&c->child);
    c->is_over = true;
}

int cli_measure_run(struct cli_measure *m, char **argv, struct wt_run *run, int *ret_asked,
                    struct wt_error *err)
{
    struct command c = {.m = m, .argv = argv};
    const struct cli_task task = {.data = &c,
                                  .start = command_start,
                                  .wait = command_wait,
                                  .finish = command_finish,
                                  .exit_code = command_exit_code,
                                  .drain = command_drain};
    int rc = cli_measure_task(m, &task, argv, run, err);
    if (ret_asked && rc == 0)
        *ret_asked = c.child.asked_to_end;
    cli_tap_close(c.tap);
    return rc;
}

int cli_apply(struct cli_bed *bed, struct wt_lease *lease, enum wt_knob knob, int64_t value,
              struct wt_run *run, struct wt_error *err)
{
    size_t done = 0;
    struct wt_error why = {0};
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++) {
        const struct wt_device_info *info = wt_devices_info(bed->devices, i);
        struct wt_knob_info k;
        int rc = cli_knob(bed, i, knob, &k, &why, err);
        if (rc == WT_E_UNSUPPORTED)
            continue;
        if (rc < 0)
            return rc;
        struct wt_run_setting setting = {.knob = knob, .found = k.current, .requested = value};
        snprintf(setting.device_id, sizeof(setting.device_id), "%s", info->id);
        rc = wt_lease_set(lease, i, knob, setting.requested, &setting.enforced, err);
        if (rc < 0) {
            cli_error_name(err, info);
            return rc;
        }
        if (run && wt_run_add_setting(run, &setting) < 0)
            return err->code = WT_E_NOMEM;
        done++;
    }
    return done ? 0 : cli_no_knob(knob, &why, err);
}

int cli_inject_nvtx(const char *step, struct wt_error *err)
{
    char path[2300];
    int rc = wt_helper_path("libwattune-nvtx.so", path, sizeof(path), err);
    if (rc < 0)
        return rc;
    char *whole = realpath(path, NULL); /* CMD may change its folder */
    const char *other = getenv("NVTX_INJECTION64_PATH");
    if (other && *other)
        cli_note("--nvtx: takes the place of %s ($NVTX_INJECTION64_PATH)", other);
    setenv("NVTX_INJECTION64_PATH", whole ? whole : path, 1);
    free(whole);
    if (step)
        setenv("WATTUNE_NVTX_STEP", step, 1);
    return 0;
}
