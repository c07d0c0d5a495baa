/* race_live: commands raced against each other. Trials run to the rungs that the race asks for, are
 * stopped there (SIGSTOP) or told to end, and go on or do not. All of it is one measured run, whose
 * phases are the trials; each stretch in which one runs is a window of its own.
 *
 * The race decides by points that it is told, in order: one that is resumed is told those that were
 * kept, and comes to where it was. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define TICK_NS     INT64_C(20000000)
#define COLLECT_NS  INT64_C(500000000) /* by then a window's end is covered by samples */
#define SHOW_NS     INT64_C(500000000)
#define SAVE_NS     INT64_C(10000000000)
#define GIVE_UP     2
#define DEVICES_MAX 64

enum stage { RACING, VERIFYING, LEAVING };

struct slot {
    size_t trial; /* SIZE_MAX: free */
    size_t devices[DEVICES_MAX];
    size_t device_count;
    char cuda[DEVICES_MAX * 48]; /* "": as ours */
};

struct live {
    struct race_options *o;
    struct cli_measure m;
    bool is_measuring;
    struct race_source source;
    struct race_trial *trials; /* owned */
    size_t count;
    struct wt_race *race;
    struct slot *slots; /* owned */
    size_t slot_count;
    enum stage stage;
    bool is_decided, is_done_with_starts;
    int asked;
    size_t failed;
    struct wt_raced_trial *raced; /* owned */
    struct wt_mark *marks;        /* owned: for the run */
    size_t mark_count, mark_room;
    int64_t shown_ns, saved_ns;
    bool is_line_open, is_tty;
    char folder[4096];
    struct wt_error err; /* why it was given up; code 0: it was not */
};

/* ---- what the run is told ---- */

static void clear_line(struct live *l)
{
    if (l->is_line_open)
        fputs("\r\033[K", stderr);
    l->is_line_open = false;
}

static void mark(void *data, const struct wt_mark *told)
{
    struct live *l = data;
    if (l->mark_count == l->mark_room) {
        size_t room = l->mark_room ? 2 * l->mark_room : 256;
        void *more = realloc(l->marks, room * sizeof(*l->marks));
        if (!more)
            return;
        l->marks = more;
        l->mark_room = room;
    }
    l->marks[l->mark_count++] = *told;
}

static void mark_phase(struct live *l, const struct race_trial *t, enum wt_mark_kind kind)
{
    struct wt_mark told = {.t_ns = cli_now_ns(), .pid = 1, .kind = kind, .count = 1};
    snprintf(told.name, sizeof(told.name), "%.31s", t->name);
    mark(l, &told);
}

static void mark_loss(struct live *l, const struct race_trial *t, double loss)
{
    struct wt_mark told = {.t_ns = cli_now_ns(), .pid = 1, .kind = WT_MARK_VALUE};
    memcpy(&told.count, &loss, sizeof(loss));
    snprintf(told.name, sizeof(told.name), "%.31s", t->name);
    mark(l, &told);
}

static void drain(void *data, void (*fn)(void *tally, const struct wt_mark *mark), void *tally)
{
    struct live *l = data;
    for (size_t i = 0; i < l->mark_count; i++)
        fn(tally, &l->marks[i]);
    l->mark_count = 0;
}

/* ---- energy, stretch by stretch ---- */

static void open_stretch(struct live *l, struct race_trial *t)
{
    t->since_ns = cli_now_ns();
    t->has_window = l->is_measuring && wt_meter_begin(l->m.meter, t->name, &t->window) == 0;
    t->is_window_over = false;
    t->window_from = t->count;
    mark_phase(l, t, WT_MARK_BEGIN);
}

static void close_stretch(struct live *l, struct race_trial *t)
{
    if (!t->since_ns)
        return;
    int64_t now = cli_now_ns();
    t->window_s = (double)(now - t->since_ns) * 1e-9;
    t->run_s += t->window_s;
    t->since_ns = 0;
    if (t->has_window)
        wt_meter_end(l->m.meter, t->window);
    t->is_window_over = t->has_window;
    t->over_ns = now;
    if (!t->has_window)
        t->spent_j = t->low_j = t->high_j = NAN;
    mark_phase(l, t, WT_MARK_END);
}

/* Of its slot's GPUs where several run at once: the rest of the node is nobody's alone. */
static struct wt_joules joules_of(const struct live *l, const struct race_trial *t,
                                  const struct wt_window_result *result)
{
    struct wt_joules sum = {.provenance = WT_PROV_UNKNOWN};
    if (l->slot_count == 1)
        return result->total;
    const struct slot *slot = &l->slots[t->slot];
    for (size_t i = 0, n = 0; i < result->device_count; i++)
        for (size_t k = 0; k < slot->device_count; k++)
            if (result->devices[i].device == slot->devices[k]) {
                struct wt_joules before = sum;
                sum = result->devices[i].energy;
                if (n++)
                    wt_joules_add(&sum, &before, &result->devices[i].energy);
            }
    return sum;
}

/* Its points lie on the straight line in time between what it had taken before and after. */
static void collect(struct live *l, struct race_trial *t, bool is_now)
{
    struct wt_window_result result;
    struct wt_error why;
    if (!t->is_window_over || (!is_now && cli_now_ns() - t->over_ns < COLLECT_NS))
        return;
    t->is_window_over = t->has_window = false;
    struct wt_joules j = {.provenance = WT_PROV_UNKNOWN};
    if (wt_meter_result(l->m.meter, t->window, is_now ? COLLECT_NS : 0, &result, &why) == 0) {
        j = joules_of(l, t, &result);
        wt_window_result_done(&result);
    }
    if (j.provenance == WT_PROV_UNKNOWN)
        j.energy_j = j.low_j = j.high_j = NAN;
    double before_s = t->run_s - t->window_s;
    for (size_t i = t->window_from; i < t->count; i++) {
        double share = (t->points[i].run_s - before_s) / t->window_s;
        t->points[i].energy_j = t->spent_j + j.energy_j * (share < 1 ? share : 1);
    }
    t->spent_j += j.energy_j;
    t->low_j += j.low_j;
    t->high_j += j.high_j;
}

static void save(struct live *l, const struct race_trial *t)
{
    struct wt_error why;
    if (race_trial_save(t, &why) < 0) {
        clear_line(l);
        cli_note("%s is not written: %s", t->curve, why.text);
    }
}

/* ---- who runs ---- */

static const struct wt_race_trial *seen(const struct live *l, const struct race_trial *t)
{
    return wt_race_trial(l->race, (size_t)(t - l->trials));
}

static void leave_slot(struct live *l, struct race_trial *t)
{
    if (t->slot != SIZE_MAX && l->slots[t->slot].trial == (size_t)(t - l->trials))
        l->slots[t->slot].trial = SIZE_MAX;
}

static void give_up(struct live *l, const char *fix, const char *text)
{
    if (l->err.code)
        return;
    l->err.code = WT_E_STATE;
    snprintf(l->err.text, sizeof(l->err.text), "%s", text);
    snprintf(l->err.fix, sizeof(l->err.fix), "%s", fix);
}

static bool has_any_loss(const struct live *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->trials[i].count)
            return true;
    return false;
}

/* It ended by itself while it was to run. */
static void ended(struct live *l, struct race_trial *t)
{
    size_t i = (size_t)(t - l->trials);
    char text[400];
    struct wt_error why;
    if (t->exit_code == 0 && t->count) {
        wt_race_ended(l->race, i);
        return;
    }
    clear_line(l);
    if (t->exit_code == 0) {
        snprintf(text, sizeof(text), "%s ended and had told no loss and step (%.200s)", t->name,
                 t->log);
        give_up(l,
                "losses are read from a door (`wattune bench`, the Python package: --loss names "
                "the value), by --progress and --loss-pattern, or from --loss-file",
                text);
    } else {
        cli_note("%s failed with exit code %d: %s", t->name, t->exit_code, t->log);
        if (++l->failed >= GIVE_UP && !has_any_loss(l))
            give_up(l, "the logs say why", "two trials failed before there was any loss");
    }
    wt_race_tell(l->race, i, (t->count ? t->points[t->count - 1].step : 0) + 1, NAN, NAN, &why);
}

static void tell(struct live *l, struct race_trial *t)
{
    struct wt_error why;
    while (t->told < t->count && seen(l, t)->state == WT_RACE_RUNNING) {
        const struct race_point *p = &t->points[t->told++];
        if (wt_race_tell(l->race, (size_t)(t - l->trials), p->step, p->loss, p->energy_j, &why) < 0)
            cli_note("%s: %s", t->name, why.text);
    }
}

/* What it said, whether it is there, and what is to be done with it. */
static void attend_one(struct live *l, struct race_trial *t)
{
    enum race_process before = t->process;
    size_t points = t->count;
    if (before == RACE_NONE) {
        collect(l, t, false);
        return;
    }
    race_trial_look(t);
    race_trial_hear(t, mark, l);
    for (size_t i = points; i < t->count; i++)
        mark_loss(l, t, t->points[i].loss);
    if (t->process == RACE_NONE)
        close_stretch(l, t);
    collect(l, t, false);
    tell(l, t);
    enum wt_race_state state = seen(l, t)->state;
    if (t->process == RACE_NONE) {
        if (t->is_over && state == WT_RACE_RUNNING && !t->is_due)
            ended(l, t);
        else if (t->is_over && t->exit_code && state == WT_RACE_FINISHED && l->stage != LEAVING)
            cli_note("%s has its losses, and then failed with exit code %d: %s", t->name,
                     t->exit_code, t->log);
        leave_slot(l, t);
        save(l, t);
    } else if (t->process == RACE_RUNS && state == WT_RACE_PAUSED && l->o->is_end) {
        race_trial_end(t, l->o->grace_ns);
    } else if (t->process == RACE_RUNS && state == WT_RACE_PAUSED) {
        race_trial_stop(t);
        close_stretch(l, t);
        leave_slot(l, t);
        save(l, t);
    } else if (state == WT_RACE_DIVERGED ||
               (state == WT_RACE_FINISHED && t->step > l->o->race.step_max)) {
        race_trial_end(t, l->o->grace_ns); /* its work is done, or hopeless */
    }
}

static struct slot *slot_for(struct live *l, const struct race_trial *t)
{
    /* What is stopped holds its GPU's memory, and goes on there. */
    if (t->process == RACE_STOPPED)
        return l->slots[t->slot].trial == SIZE_MAX ? &l->slots[t->slot] : NULL;
    for (size_t i = 0; t->process == RACE_NONE && i < l->slot_count; i++)
        if (l->slots[i].trial == SIZE_MAX)
            return &l->slots[i];
    return NULL;
}

/* A due one goes on or begins, where there is room. */
static void run_due(struct live *l, struct race_trial *t)
{
    tell(l, t); /* of a race that is resumed */
    if (seen(l, t)->state != WT_RACE_RUNNING) {
        t->is_due = false;
        return;
    }
    struct slot *slot = slot_for(l, t);
    if (!slot)
        return;
    t->is_due = false;
    collect(l, t, true);
    slot->trial = (size_t)(t - l->trials);
    t->slot = (size_t)(slot - l->slots);
    open_stretch(l, t);
    if (t->process == RACE_STOPPED) {
        race_trial_go_on(t);
        return;
    }
    struct wt_error why = {0};
    if (race_trial_start(t, l->o->is_end, slot->cuda[0] ? slot->cuda : NULL, &why) < 0) {
        close_stretch(l, t);
        leave_slot(l, t);
        if (!l->err.code)
            l->err = why;
    }
}

static size_t busy(const struct live *l)
{
    size_t count = 0;
    for (size_t i = 0; i < l->slot_count; i++)
        count += l->slots[i].trial != SIZE_MAX;
    for (size_t i = 0; i < l->count; i++)
        count += l->trials[i].is_due;
    return count;
}

/* ---- what it came to ---- */

static void collect_all(struct live *l)
{
    for (size_t i = 0; i < l->count; i++) {
        bool is_new = l->trials[i].is_window_over;
        collect(l, &l->trials[i], true);
        if (is_new)
            save(l, &l->trials[i]);
    }
}

/* As it stands: decided, or cut. */
static void take_result(struct live *l)
{
    collect_all(l);
    for (size_t i = 0; i < l->count; i++) {
        const struct race_trial *t = &l->trials[i];
        const struct wt_race_trial *s = seen(l, t);
        struct wt_raced_trial *r = &l->raced[i];
        *r = (struct wt_raced_trial){.state = s->state,
                                     .rungs = s->rungs,
                                     .step = s->step,
                                     .loss = s->loss,
                                     .score = s->score,
                                     .run_s = t->run_s,
                                     .energy_j = t->spent_j,
                                     .low_j = t->low_j,
                                     .high_j = t->high_j,
                                     .processes = t->lives,
                                     .exit_code = t->is_over ? t->exit_code : -1,
                                     .final_loss = NAN,
                                     .full_j = NAN};
        memcpy(r->name, t->name, sizeof(r->name));
        if (s->state ==
            WT_RACE_DIVERGED) /* at the last step that it told, not the one it broke at */
            r->step = t->count ? t->points[t->count - 1].step : 0;
    }
}

static void decided(struct live *l)
{
    struct wt_error why;
    take_result(l);
    l->is_decided = true;
    l->stage = LEAVING;
    if (!l->o->is_to_the_end)
        return;
    l->stage = VERIFYING;
    clear_line(l);
    cli_note("decided; the stopped ones run on to their ends");
    for (size_t i = 0; i < l->count; i++)
        wt_race_resume(l->race, i, &why);
}

static void verified(struct live *l)
{
    collect_all(l);
    for (size_t i = 0; i < l->count; i++) {
        const struct wt_race_trial *s = seen(l, &l->trials[i]);
        if (l->raced[i].state != WT_RACE_PAUSED)
            continue;
        l->raced[i].final_loss = s->state == WT_RACE_FINISHED ? s->loss : NAN;
        l->raced[i].full_j = l->trials[i].spent_j;
        l->raced[i].processes = l->trials[i].lives;
    }
}

/* ---- the loop ---- */

static void show(struct live *l)
{
    int64_t now = cli_now_ns();
    size_t stopped = 0, over = 0;
    if (!l->is_tty || now - l->shown_ns < SHOW_NS)
        return;
    l->shown_ns = now;
    for (size_t i = 0; i < l->count; i++) {
        enum wt_race_state state = seen(l, &l->trials[i])->state;
        stopped += state == WT_RACE_PAUSED;
        over += state == WT_RACE_FINISHED || state == WT_RACE_DIVERGED;
    }
    fprintf(stderr, "\r\033[K%zu trials, %zu at a rung, %zu at their end", l->count, stopped, over);
    for (size_t i = 0; i < l->slot_count; i++) {
        const struct race_trial *t =
            l->slots[i].trial == SIZE_MAX ? NULL : &l->trials[l->slots[i].trial];
        if (t && i < 2)
            fprintf(stderr, "; %s: step %.0f, loss %.4g", t->name,
                    t->count ? t->points[t->count - 1].step : 0,
                    t->count ? t->points[t->count - 1].loss : NAN);
    }
    fflush(stderr);
    l->is_line_open = true;
}

static void pass_stop(const struct live *l, int number)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->trials[i].process == RACE_RUNS)
            kill(-l->trials[i].child.pid, number);
}

/* Until t_ns, or a trial's end. */
static void wait_signal(struct live *l, int64_t until_ns)
{
    sigset_t set;
    int64_t left = until_ns - cli_now_ns();
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD};
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        sigaddset(&set, numbers[i]);
    if (left < 0)
        left = 0;
    const struct timespec wait = {left / 1000000000, left % 1000000000};
    int got = sigtimedwait(&set, NULL, &wait);
    if (got <= 0 || got == SIGCHLD)
        return;
    if (got == SIGTSTP) {
        pass_stop(l, SIGSTOP);
        kill(getpid(), SIGSTOP);
        pass_stop(l, SIGCONT);
        return;
    }
    if (l->asked) /* once more: at once */
        pass_stop(l, SIGKILL);
    l->asked = got;
}

static void hand_out(struct live *l)
{
    size_t trial;
    double until;
    while (busy(l) < l->slot_count) {
        enum wt_race_turn turn = wt_race_next(l->race, &trial, &until);
        if (turn == WT_RACE_RUN) {
            l->trials[trial].is_due = true;
            run_due(l, &l->trials[trial]);
            continue;
        }
        if (turn == WT_RACE_DONE && busy(l) == 0) {
            if (l->stage == RACING) {
                decided(l);
                continue;
            }
            verified(l);
            l->stage = LEAVING;
        }
        break;
    }
}

static bool leave(struct live *l)
{
    bool is_over = true;
    for (size_t i = 0; i < l->count; i++) {
        race_trial_end(&l->trials[i], l->o->grace_ns);
        is_over &= l->trials[i].process == RACE_NONE;
    }
    if (is_over && !l->is_decided)
        take_result(l);
    return is_over;
}

static bool attend(void *data, int64_t until_ns)
{
    struct live *l = data;
    for (;;) {
        int64_t next = cli_now_ns() + TICK_NS;
        wait_signal(l, next < until_ns ? next : until_ns);
        for (size_t i = 0; i < l->count; i++)
            attend_one(l, &l->trials[i]);
        if (l->asked || l->err.code)
            l->stage = LEAVING;
        for (size_t i = 0; i < l->count && l->stage != LEAVING; i++)
            if (l->trials[i].is_due)
                run_due(l, &l->trials[i]);
        if (l->stage != LEAVING)
            hand_out(l);
        if (l->stage == LEAVING && leave(l))
            return true;
        if (cli_now_ns() - l->saved_ns > SAVE_NS) {
            l->saved_ns = cli_now_ns();
            for (size_t i = 0; i < l->count; i++)
                if (l->trials[i].process == RACE_RUNS)
                    save(l, &l->trials[i]);
        }
        show(l);
        if (cli_now_ns() >= until_ns)
            return false;
    }
}

static int start(void *data, struct wt_error *err)
{
    (void)data;
    (void)err;
    return 0;
}

static int exit_code(void *data)
{
    const struct live *l = data;
    return l->asked ? 128 + l->asked : l->err.code || wt_race_winner(l->race) == SIZE_MAX;
}

/* ---- before it ---- */

/* GPUs of each slot; one slot alone sees what we see. Returns an exit code, or -1. */
static int make_slots(struct live *l)
{
    size_t gpus = 0, all[DEVICES_MAX];
    l->slot_count = l->o->at_once;
    l->slots = calloc(l->slot_count, sizeof(*l->slots));
    if (!l->slots)
        return CLI_FAILURE;
    for (size_t i = 0; i < l->slot_count; i++)
        l->slots[i].trial = SIZE_MAX;
    for (size_t i = 0; i < wt_devices_count(l->m.bed->devices) && gpus < DEVICES_MAX; i++) {
        const struct wt_device_info *info = wt_devices_info(l->m.bed->devices, i);
        if (info->kind == WT_DEVICE_GPU && info->is_counted)
            all[gpus++] = i;
    }
    if (l->slot_count == 1 || !gpus)
        return -1;
    if (gpus % l->slot_count)
        return cli_usage("race", "--at-once %zu: %zu GPUs cannot be shared out evenly",
                         l->slot_count, gpus);
    for (size_t i = 0; i < gpus; i++) {
        struct slot *slot = &l->slots[i * l->slot_count / gpus];
        size_t used = strlen(slot->cuda);
        snprintf(slot->cuda + used, sizeof(slot->cuda) - used, "%s%s", used ? "," : "",
                 wt_devices_info(l->m.bed->devices, all[i])->id);
        slot->devices[slot->device_count++] = all[i];
    }
    return -1;
}

/* "lr=0.001,batch=8", fit for a file's name. */
static void name_trial(const struct race_options *o, struct race_trial *t, size_t number)
{
    size_t used = 0;
    for (size_t p = 0; p < o->param_count && used < sizeof(t->name); p++)
        used += (size_t)snprintf(t->name + used, sizeof(t->name) - used, "%s%s=%s", p ? "," : "",
                                 o->params[p].name, o->params[p].values[t->choice[p]]);
    for (char *c = t->name; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,=_+-", *c))
            *c = '_';
    if (used >= sizeof(t->name) - 8)
        snprintf(t->name, sizeof(t->name), "trial-%zu", number + 1);
}

static bool is_name_taken(const struct live *l, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(l->trials[i].name, name) == 0)
            return true;
    return false;
}

static size_t combinations(const struct race_options *o)
{
    size_t count = 1;
    for (size_t p = 0; p < o->param_count && count <= 1000; p++)
        count = o->trials ? o->params[p].count : count * o->params[p].count;
    return count;
}

static bool fill_command(const struct race_options *o, struct race_trial *t)
{
    struct cli_param *own = (struct cli_param *)(uintptr_t)&o->params[o->param_count];
    size_t n = o->param_count + 1, words = 0;
    memcpy(own->values[0], t->name, sizeof(t->name));
    t->command = cli_params_fill(o->params, n, o->command, t->choice);
    if (o->loss_file)
        t->loss_file = cli_params_fill_text(o->params, n, o->loss_file, t->choice);
    while (t->command && t->command[words])
        words++;
    if (!t->command || (o->loss_file && !t->loss_file))
        return false;
    if (!o->again_count)
        return true;
    t->again = calloc(words + o->again_count + 1, sizeof(*t->again));
    for (size_t i = 0; t->again && i < words + o->again_count; i++) {
        t->again[i] = i < words
                          ? strdup(t->command[i])
                          : cli_params_fill_text(o->params, n, o->again[i - words], t->choice);
        if (!t->again[i])
            return false;
    }
    return t->again != NULL;
}

static int make_trials(struct live *l)
{
    const struct race_options *o = l->o;
    size_t count = combinations(o);
    if (count < 2 || count > 1000)
        return cli_usage("race", "a race of %zu%s: it takes 2 to 1000 trials", count,
                         count > 1000 ? " and more" : "");
    l->trials = calloc(count, sizeof(*l->trials));
    l->raced = calloc(count, sizeof(*l->raced));
    if (!l->trials || !l->raced)
        return CLI_FAILURE;
    for (size_t i = 0; i < count; i++) {
        struct race_trial *t = &l->trials[i];
        *t = (struct race_trial){.log_fd = -1,
                                 .out = {.fd = -1},
                                 .csv = {.fd = -1, .step_column = -1, .loss_column = -1},
                                 .source = &l->source,
                                 .slot = SIZE_MAX,
                                 .loss = NAN};
        size_t rest = i;
        for (size_t p = o->param_count; p-- > 0;) {
            t->choice[p] = o->trials ? i : rest % o->params[p].count;
            rest /= o->params[p].count;
        }
        name_trial(o, t, i);
        if (is_name_taken(l, i, t->name))
            snprintf(t->name, sizeof(t->name), "trial-%zu", i + 1);
        l->count++;
        if (!fill_command(o, t))
            return CLI_FAILURE;
    }
    return -1;
}

static char *describe(const struct live *l)
{
    char *text = NULL, command[1024];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fprintf(out, "# wattune race: steps %.10g, loss %s\n", l->o->race.step_max, l->source.loss);
    for (size_t i = 0; i < l->count; i++) {
        cli_command_text(command, sizeof(command), l->trials[i].command);
        fprintf(out, "%s\t%s\n", l->trials[i].name, command);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* The folder's list of trials: made, or of a race that is resumed the same. Returns an exit code,
 * or -1. */
static int open_folder(struct live *l)
{
    char list[4200], *text = describe(l), *found = NULL;
    struct wt_error err = {0};
    size_t room = 0;
    int code = -1;
    snprintf(list, sizeof(list), "%s/trials.tsv", l->folder);
    FILE *in = fopen(list, "re");
    if (in && getdelim(&found, &room, '\0', in) < 0)
        *found = '\0';
    if (in)
        fclose(in);
    if (!text) {
        code = CLI_FAILURE;
    } else if (found && !l->o->is_resume) {
        code =
            cli_usage("race", "--folder %s: a race is in it; --resume goes on with it", l->folder);
    } else if (!found && l->o->is_resume) {
        code = cli_usage("race", "--resume: no race is in %s", l->folder);
    } else if (found && strcmp(found, text) != 0) {
        code = cli_usage("race", "--resume: the race in %s has other trials, steps or losses: %s",
                         l->folder, list);
    } else if (!found) {
        if (mkdir(l->folder, 0777) < 0 && errno != EEXIST) {
            cli_note("%s: %s", l->folder, strerror(errno));
            code = CLI_FAILURE;
        } else if (wt_file_write(list, text, &err) < 0) {
            code = cli_fail("race", &err);
        }
    }
    for (size_t i = 0; code < 0 && i < l->count; i++) {
        struct race_trial *t = &l->trials[i];
        int n = snprintf(t->log, sizeof(t->log), "%s/%s.log", l->folder, t->name);
        snprintf(t->curve, sizeof(t->curve), "%s/%s.csv", l->folder, t->name);
        if (n >= (int)sizeof(t->log) - 4)
            code = cli_usage("race", "--folder: the path is too long");
        else if (l->o->is_resume && race_trial_read(t, &err) < 0)
            code = cli_fail("race", &err);
    }
    free(text);
    free(found);
    return code;
}

static int dry_run(const struct live *l)
{
    const double *rungs;
    char command[1024];
    size_t count = wt_race_rungs(l->race, &rungs);
    printf("%zu trials, to steps", l->count);
    for (size_t i = 0; i < count; i++)
        printf("%s %.6g", i ? "," : "", rungs[i]);
    printf("\n\n");
    for (size_t i = 0; i < l->count; i++) {
        cli_command_text(command, sizeof(command), l->trials[i].command);
        printf("%s\n    %s\n", l->trials[i].name, command);
        if (l->trials[i].again) {
            cli_command_text(command, sizeof(command), l->trials[i].again);
            printf("    %s\n", command);
        }
    }
    return CLI_OK;
}

static int compile(struct live *l)
{
    const struct race_options *o = l->o;
    struct wt_error err = {0};
    int rc = 0;
    l->source.loss = o->loss ? o->loss : "loss";
    if (o->progress)
        rc = cli_pattern_new(&l->source.progress, "--progress", o->progress, &err);
    if (rc == 0 && o->loss_pattern)
        rc = cli_pattern_new(&l->source.wanted, "--loss-pattern", o->loss_pattern, &err);
    return rc < 0 ? cli_fail("race", &err) : -1;
}

static void name_folder(struct live *l)
{
    time_t now = time(NULL);
    struct tm tm;
    if (l->o->folder)
        snprintf(l->folder, sizeof(l->folder), "%s", l->o->folder);
    else
        strftime(l->folder, sizeof(l->folder), "wattune-race-%Y%m%d-%H%M%S",
                 localtime_r(&now, &tm));
}

/* ---- after it ---- */

static int finish(struct live *l, const struct wt_run *run)
{
    struct wt_raced raced = {.options = l->o->race,
                             .trials = l->raced,
                             .count = l->count,
                             .run = run,
                             .folder = l->folder,
                             .is_cut = !l->is_decided,
                             .is_verified = l->o->is_to_the_end && l->is_decided && !l->asked};
    char path[4200];
    struct wt_error err = {0};
    raced.rung_count = wt_race_rungs(l->race, &raced.rungs);
    snprintf(raced.loss, sizeof(raced.loss), "%.31s", l->source.loss);
    wt_raced_sum_up(&raced);
    char *text = wt_raced_to_json(&raced);
    snprintf(path, sizeof(path), "%s/race.json", l->folder);
    if (!text || wt_file_write(path, text, &err) < 0)
        cli_note("%s is not written: %s", path, text ? err.text : "no memory");
    if (l->o->is_json) {
        cli_print_json("race", text);
    } else {
        struct wt_term term;
        free(text);
        wt_term_init(&term, stdout);
        wt_report_raced(&term, &raced);
    }
    if (l->err.code)
        return cli_fail("race", &l->err);
    if (l->asked)
        cli_note("--folder %s --resume goes on", l->folder);
    return l->asked ? 128 + l->asked : raced.winner == SIZE_MAX ? CLI_FAILURE : CLI_OK;
}

static int measure(struct live *l, char **argv)
{
    struct wt_run run = {0};
    struct wt_error err = {0};
    const struct cli_task task = {
        .data = l, .start = start, .wait = attend, .exit_code = exit_code, .drain = drain};
    size_t count = 0;
    while (argv[count])
        count++;
    char **words = calloc(count + 2, sizeof(*words));
    if (!words)
        return CLI_FAILURE;
    words[0] = (char *)(uintptr_t) "wattune";
    words[1] = (char *)(uintptr_t) "race"; /* argv[0] is both */
    memcpy(words + 2, argv + 1, (count - 1) * sizeof(*words));
    snprintf(run.tag, sizeof(run.tag), "%s", l->o->tag ? l->o->tag : "");
    l->is_measuring = true;
    int rc = cli_measure_task(&l->m, &task, words, &run, &err);
    free(words);
    clear_line(l);
    int code = rc < 0 ? cli_fail("race", &err) : finish(l, &run);
    wt_run_done(&run);
    return code;
}

static void done(struct live *l)
{
    for (size_t i = 0; i < l->count; i++)
        race_trial_done(&l->trials[i]);
    cli_pattern_free(l->source.progress);
    cli_pattern_free(l->source.wanted);
    wt_race_free(l->race);
    free(l->trials);
    free(l->raced);
    free(l->slots);
    free(l->marks);
}

int race_live(struct race_options *o, char **argv)
{
    struct live l = {.o = o, .is_tty = isatty(STDERR_FILENO)};
    struct wt_error err = {0};
    int code = compile(&l);
    if (code < 0)
        code = make_trials(&l);
    if (code < 0 && wt_race_new(&l.race, &o->race, l.count, &err) < 0)
        code = cli_fail("race", &err);
    if (code < 0 && o->is_dry_run)
        code = dry_run(&l);
    if (code < 0) {
        name_folder(&l);
        code = open_folder(&l);
    }
    if (code < 0) {
        code = cli_signals_block(&err) < 0 || cli_bed_open(&o->bed, &err) < 0
                   ? cli_fail("race", &err)
                   : -1;
        bool is_open = code < 0;
        if (code < 0 && cli_measure_open(&l.m, &o->bed, o->is_without_store, 0, &err) < 0)
            code = cli_fail("race", &err);
        l.m.is_quiet = true;
        if (code < 0)
            code = make_slots(&l);
        if (code < 0)
            code = measure(&l, argv);
        if (is_open)
            cli_measure_close(&l.m);
        cli_bed_close(&o->bed);
    }
    done(&l);
    return code;
}
