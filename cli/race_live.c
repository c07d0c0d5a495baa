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
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define TICK_NS INT64_C(20000000)
#define SHOW_NS INT64_C(500000000)
#define SAVE_NS INT64_C(10000000000)
#define LATE_NS INT64_C(1000000000) /* what was said before it was stopped has come by then */
#define GIVE_UP 2

/* ---- what the run is told ---- */

void race_clear_line(struct race_live *l)
{
    if (l->is_line_open)
        fputs("\r\033[K", stderr);
    l->is_line_open = false;
}

void race_mark(void *data, const struct wt_mark *told)
{
    struct race_live *l = data;
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

static void mark_loss(struct race_live *l, const struct race_trial *t, double loss)
{
    struct wt_mark told = {.t_ns = cli_now_ns(), .pid = 1, .kind = WT_MARK_VALUE};
    memcpy(&told.count, &loss, sizeof(loss));
    memcpy(told.name, t->phase, sizeof(told.name));
    race_mark(l, &told);
}

static void drain(void *data, void (*fn)(void *tally, const struct wt_mark *mark), void *tally)
{
    struct race_live *l = data;
    for (size_t i = 0; i < l->mark_count; i++)
        fn(tally, &l->marks[i]);
    l->mark_count = 0;
}

/* ---- who runs ---- */

static const struct wt_race_trial *seen(const struct race_live *l, const struct race_trial *t)
{
    return wt_race_trial(l->race, (size_t)(t - l->trials));
}

static void leave_slot(struct race_live *l, struct race_trial *t)
{
    if (t->slot != SIZE_MAX && l->slots[t->slot].trial == (size_t)(t - l->trials))
        l->slots[t->slot].trial = SIZE_MAX;
}

static void give_up(struct race_live *l, const char *fix, const char *text)
{
    if (!l->err.code)
        cli_error(&l->err, WT_E_STATE, fix, "%s", text);
}

static bool has_any_loss(const struct race_live *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->trials[i].count)
            return true;
    return false;
}

/* What it is that nobody told. */
static void say_missing(const struct race_live *l, const struct race_trial *t, char *buf,
                        size_t size)
{
    if (t->loss_file && t->csv.fd < 0)
        snprintf(buf, size, "%s ended, and there is no %.200s", t->name, t->loss_file);
    else if (t->loss_file && (t->csv.step_column < 0 || t->csv.loss_column < 0))
        snprintf(buf, size, "%s ended, and %.200s has no column %s", t->name, t->loss_file,
                 t->csv.step_column < 0 ? "step" : l->source.loss);
    else
        snprintf(buf, size, "%s ended and had told %s (%.200s)", t->name,
                 !t->has_step && !t->has_loss ? "no step and no loss"
                 : t->has_step                ? "no loss that is a number"
                                              : "no step that is a number",
                 t->log);
}

/* It ended by itself while it was to run. */
static void ended(struct race_live *l, struct race_trial *t)
{
    size_t i = (size_t)(t - l->trials);
    char text[400];
    struct wt_error why;
    double last = t->count ? t->points[t->count - 1].step : 0;
    race_clear_line(l);
    if (t->exit_code == 0 && t->count) {
        cli_note("%s ended by itself at step %g of %g, and is ranked by its last loss", t->name,
                 last, l->o->race.step_max);
        wt_race_ended(l->race, i);
        return;
    }
    if (t->exit_code == 0) {
        say_missing(l, t, text, sizeof(text));
        give_up(l,
                "losses are read from a door (`wattune bench`, the Python package: --loss names "
                "the value), by --progress and --loss-pattern, or from --loss-file",
                text);
    } else {
        cli_note("%s failed with exit code %d: %s", t->name, t->exit_code, t->log);
        if (++l->failed >= GIVE_UP && !has_any_loss(l))
            give_up(l, "the logs say why", "two trials failed before there was any loss");
    }
    wt_race_tell(l->race, i, last + 1, NAN, NAN, &why);
}

static void tell(struct race_live *l, struct race_trial *t)
{
    struct wt_error why;
    while (t->told < t->count && seen(l, t)->state == WT_RACE_RUNNING) {
        const struct race_point *p = &t->points[t->told++];
        if (wt_race_tell(l->race, (size_t)(t - l->trials), p->step, p->loss, p->energy_j, &why) < 0)
            cli_note("%s: %s", t->name, why.text);
    }
}

/* What it said, whether it is there, and what is to be done with it. */
static void attend_one(struct race_live *l, struct race_trial *t)
{
    enum race_process before = t->process;
    size_t points = t->count;
    if (before == RACE_NONE) {
        race_stretch_collect(l, t, false);
        return;
    }
    if (race_trial_look(t)) {
        race_clear_line(l);
        cli_note("%s does not end when it is told to, and is killed", t->name);
    }
    if (before != RACE_STOPPED || cli_now_ns() - t->over_ns < LATE_NS)
        race_trial_hear(t, race_mark, l);
    for (size_t i = points; i < t->count; i++)
        mark_loss(l, t, t->points[i].loss);
    if (t->process == RACE_NONE) {
        race_keeper_tell(l->keeper_fd, t->child.pid, false);
        race_stretch_close(l, t);
    }
    race_stretch_collect(l, t, false);
    tell(l, t);
    enum wt_race_state state = seen(l, t)->state;
    if (t->process == RACE_NONE) {
        if (t->is_over && state == WT_RACE_RUNNING && !t->is_due)
            ended(l, t);
        else if (t->is_over && t->exit_code && state == WT_RACE_FINISHED &&
                 l->stage != RACE_LEAVING)
            cli_note("%s has its losses, and then failed with exit code %d: %s", t->name,
                     t->exit_code, t->log);
        leave_slot(l, t);
        race_save(l, t);
    } else if (t->process == RACE_RUNS && state == WT_RACE_PAUSED) {
        t->is_resting = true; /* unless it is the next to run */
    } else if (state == WT_RACE_DIVERGED ||
               (state == WT_RACE_FINISHED && t->step > l->o->race.step_max)) {
        race_trial_end(t, l->o->end_signal, l->o->grace_ns); /* its work is done, or hopeless */
    }
}

/* Those at a rung that are not to go on at once. */
static void rest(struct race_live *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct race_trial *t = &l->trials[i];
        if (!t->is_resting)
            continue;
        t->is_resting = false;
        if (l->o->is_end) {
            /* Its slot is free when it has gone. */
            race_trial_end(t, l->o->end_signal, l->o->grace_ns);
        } else {
            race_trial_stop(t);
            race_stretch_close(l, t);
            leave_slot(l, t);
            race_save(l, t);
        }
    }
}

static struct race_slot *slot_for(struct race_live *l, const struct race_trial *t)
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
static void run_due(struct race_live *l, struct race_trial *t)
{
    tell(l, t); /* of a race that is resumed */
    if (seen(l, t)->state != WT_RACE_RUNNING) {
        t->is_due = false;
        return;
    }
    struct race_slot *slot = slot_for(l, t);
    if (!slot)
        return;
    t->is_due = false;
    race_stretch_collect(l, t, true);
    slot->trial = (size_t)(t - l->trials);
    t->slot = (size_t)(slot - l->slots);
    race_stretch_open(l, t);
    race_save(l, t); /* that it goes on */
    if (t->process == RACE_STOPPED) {
        race_trial_go_on(t);
        return;
    }
    struct wt_error why = {0};
    if (race_trial_start(t, l->o->is_end, slot->cuda[0] ? slot->cuda : NULL, &why) < 0) {
        race_stretch_close(l, t);
        leave_slot(l, t);
        if (!l->err.code)
            l->err = why;
        return;
    }
    race_keeper_tell(l->keeper_fd, t->child.pid, true);
}

static size_t busy(const struct race_live *l)
{
    size_t count = 0;
    for (size_t i = 0; i < l->slot_count; i++)
        count += l->slots[i].trial != SIZE_MAX;
    for (size_t i = 0; i < l->count; i++)
        count += (size_t)l->trials[i].is_due - l->trials[i].is_resting;
    return count;
}

/* ---- what it came to ---- */

/* A race that is resumed may know more of a trial than it came to this time. */
static bool is_known_beyond(const struct race_trial *t)
{
    return t->told && t->told < t->known;
}

/* What it had taken by then. */
static struct wt_joules energy_told(const struct race_trial *t)
{
    struct wt_joules energy = t->spent;
    if (!is_known_beyond(t) || energy.provenance == WT_PROV_UNKNOWN)
        return energy;
    double share = (t->points[t->told - 1].energy_j + t->twice.run_j) / energy.energy_j;
    if (!(share <= 1))
        return (struct wt_joules){.provenance = WT_PROV_UNKNOWN};
    energy.energy_j *= share;
    energy.low_j *= share;
    energy.high_j *= share;
    return energy;
}

/* J a step, without what a process takes before its first loss and after its last. */
static double step_energy(const struct race_trial *t)
{
    if (t->told < 2)
        return NAN;
    const struct race_point *first = &t->points[0], *last = &t->points[t->told - 1];
    return (last->energy_j - first->energy_j) / (last->step - first->step);
}

/* As it stands: decided, or cut. */
static void take_result(struct race_live *l)
{
    race_collect_all(l);
    for (size_t i = 0; i < l->count; i++) {
        const struct race_trial *t = &l->trials[i];
        const struct wt_race_trial *s = seen(l, t);
        struct wt_raced_trial *r = &l->raced[i];
        *r = (struct wt_raced_trial){
            .state = s->state == WT_RACE_RUNNING ? WT_RACE_PAUSED : s->state, /* it was cut off */
            .rungs = s->rungs,
            .step = s->step,
            .loss = s->loss,
            .score = s->score,
            .run_s = is_known_beyond(t) ? t->points[t->told - 1].run_s + t->twice.run_s : t->run_s,
            .energy = energy_told(t),
            .step_j = step_energy(t),
            .again = t->twice.steps,
            .again_j = t->twice.run_j,
            .processes = t->lives,
            .has_run_on = t->has_run_on,
            .exit_code = t->is_over ? t->exit_code : -1,
            .final_loss = NAN,
            .full_j = NAN};
        memcpy(r->name, t->name, sizeof(r->name));
        cli_command_text(r->command, sizeof(r->command), t->command);
        if (s->state == WT_RACE_DIVERGED) /* a failure was told as of one step more */
            r->step = t->count ? t->points[t->count - 1].step : 0;
    }
}

static void decided(struct race_live *l)
{
    struct wt_error why;
    take_result(l);
    l->is_decided = true;
    l->stage = RACE_LEAVING;
    if (!l->o->is_to_the_end)
        return;
    l->stage = RACE_VERIFYING;
    race_clear_line(l);
    cli_note("decided; the stopped ones run on to their ends");
    for (size_t i = 0; i < l->count; i++)
        wt_race_resume(l->race, i, &why);
}

/* Whether what it took is what its steps took: of a race that was killed some were run unseen where
 * it goes on further than it was saved, or comes to its end without a word. */
static bool is_seen_to_its_end(const struct race_trial *t)
{
    return !t->is_skipped && !(t->has_run_on && t->count == t->known);
}

static void verified(struct race_live *l)
{
    race_collect_all(l);
    for (size_t i = 0; i < l->count; i++) {
        const struct race_trial *t = &l->trials[i];
        const struct wt_race_trial *s = seen(l, t);
        if (l->raced[i].state != WT_RACE_PAUSED)
            continue;
        l->raced[i].final_loss = s->state == WT_RACE_FINISHED ? s->loss : NAN;
        if (t->spent.provenance != WT_PROV_UNKNOWN && is_seen_to_its_end(t))
            l->raced[i].full_j = t->spent.energy_j - t->twice.run_j;
        l->raced[i].processes = t->lives;
    }
}

/* ---- the loop ---- */

static void show(struct race_live *l)
{
    int64_t now = cli_now_ns();
    size_t stopped = 0, over = 0;
    char line[400];
    struct winsize size;
    if (!l->is_tty || now - l->shown_ns < SHOW_NS || l->stage == RACE_LEAVING)
        return;
    l->shown_ns = now;
    for (size_t i = 0; i < l->count; i++) {
        enum wt_race_state state = seen(l, &l->trials[i])->state;
        stopped += state == WT_RACE_PAUSED;
        over += state == WT_RACE_FINISHED || state == WT_RACE_DIVERGED;
    }
    int used = snprintf(line, sizeof(line), "%zu trials, %zu at a rung, %zu at their end", l->count,
                        stopped, over);
    for (size_t i = 0; i < l->slot_count && i < 2; i++) {
        const struct race_trial *t =
            l->slots[i].trial == SIZE_MAX ? NULL : &l->trials[l->slots[i].trial];
        if (t && t->count)
            used += snprintf(line + used, sizeof(line) - (size_t)used, "; %s: step %.0f, loss %.4g",
                             t->name, t->points[t->count - 1].step, t->points[t->count - 1].loss);
        else if (t)
            used += snprintf(line + used, sizeof(line) - (size_t)used, "; %s begins", t->name);
    }
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    fprintf(stderr, "\r\033[K%.*s", width - 1, line);
    fflush(stderr);
    l->is_line_open = true;
}

static void pass_stop(const struct race_live *l, int number)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->trials[i].process == RACE_RUNS ||
            (number == SIGKILL && l->trials[i].process != RACE_NONE))
            kill(-l->trials[i].child.pid, number);
}

/* Until t_ns, or a trial's end. */
static void wait_signal(struct race_live *l, int64_t until_ns)
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
    race_clear_line(l);
    if (l->asked) /* once more: at once */
        pass_stop(l, SIGKILL);
    else
        cli_note("ending the trials; once more kills them");
    l->asked = got;
}

static void hand_out(struct race_live *l)
{
    size_t trial;
    double until;
    while (busy(l) < l->slot_count) {
        enum wt_race_turn turn = wt_race_next(l->race, &trial, &until);
        if (turn == WT_RACE_RUN && l->trials[trial].is_resting) {
            l->trials[trial].is_resting = false;
            continue;
        }
        rest(l);
        if (turn == WT_RACE_RUN) {
            l->trials[trial].is_due = true;
            run_due(l, &l->trials[trial]);
            continue;
        }
        if (turn == WT_RACE_DONE && busy(l) == 0) {
            if (l->stage == RACE_ON) {
                decided(l);
                continue;
            }
            verified(l);
            l->stage = RACE_LEAVING;
        }
        break;
    }
    rest(l);
}

static bool leave(struct race_live *l)
{
    bool is_over = true;
    for (size_t i = 0; i < l->count; i++) {
        race_trial_end(&l->trials[i], l->o->end_signal, l->o->grace_ns);
        is_over &= l->trials[i].process == RACE_NONE;
    }
    if (is_over && !l->is_decided)
        take_result(l);
    return is_over;
}

static bool attend(void *data, int64_t until_ns)
{
    struct race_live *l = data;
    for (;;) {
        int64_t next = cli_now_ns() + TICK_NS;
        wait_signal(l, next < until_ns ? next : until_ns);
        for (size_t i = 0; i < l->count; i++)
            attend_one(l, &l->trials[i]);
        if (l->asked || l->err.code)
            l->stage = RACE_LEAVING;
        for (size_t i = 0; i < l->count && l->stage != RACE_LEAVING; i++)
            if (l->trials[i].is_due)
                run_due(l, &l->trials[i]);
        if (l->stage != RACE_LEAVING)
            hand_out(l);
        if (l->stage == RACE_LEAVING && leave(l))
            return true;
        if (cli_now_ns() - l->saved_ns > SAVE_NS) {
            l->saved_ns = cli_now_ns();
            for (size_t i = 0; i < l->count; i++)
                if (l->trials[i].process == RACE_RUNS)
                    race_save(l, &l->trials[i]);
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
    const struct race_live *l = data;
    return l->asked ? 128 + l->asked : l->err.code || wt_race_winner(l->race) == SIZE_MAX;
}

/* ---- after it ---- */

static struct wt_raced sum_up(const struct race_live *l, const struct wt_run *run)
{
    struct wt_raced raced = {.options = l->o->race,
                             .trials = l->raced,
                             .count = l->count,
                             .run = run,
                             .folder = l->folder,
                             .is_cut = !l->is_decided,
                             .is_verified = l->o->is_to_the_end && l->is_decided && !l->asked};
    raced.rung_count = wt_race_rungs(l->race, &raced.rungs);
    snprintf(raced.loss, sizeof(raced.loss), "%.31s", l->source.loss);
    wt_raced_sum_up(&raced);
    return raced;
}

/* Before the run is stored for the last time: what its report and a statement say of the race. */
static void tell_run(void *data, struct wt_run *run)
{
    struct race_live *l = data;
    race_collect_all(l);
    race_fill_phases(l, run);
    struct wt_raced raced = sum_up(l, run);
    for (size_t i = 0; i < l->count; i++) {
        enum wt_race_state state = raced.trials[i].state;
        run->race.finished += state == WT_RACE_FINISHED;
        run->race.stopped += state == WT_RACE_PAUSED && l->is_decided;
        run->race.failed += state == WT_RACE_DIVERGED;
    }
    run->race.saved_j = run->race.saving = NAN;
    if (!l->is_decided || raced.winner == SIZE_MAX)
        return;
    snprintf(run->race.winner, sizeof(run->race.winner), "%s", raced.trials[raced.winner].name);
    run->race.loss = raced.trials[raced.winner].loss;
    run->race.saved_j = raced.saved_j;
    run->race.saving = raced.saving;
    run->race.provenance = isnan(raced.saved_j) ? WT_PROV_UNKNOWN : raced.provenance;
    run->race.is_verified = raced.is_verified;
}

static int finish(struct race_live *l, const struct wt_run *run)
{
    struct wt_raced raced = sum_up(l, run);
    char path[4200];
    struct wt_error err = {0};
    char *text = wt_raced_to_json(&raced);
    raced.is_resumed = l->o->is_resume;
    snprintf(path, sizeof(path), "%s/race.json", l->folder);
    if (l->err.code && !has_any_loss(l))
        race_forget_folder(l);
    else if (!text || wt_file_write(path, text, &err) < 0)
        cli_note("%s is not written: %s", path, text ? err.text : "no memory");
    if (l->o->is_json) {
        cli_print_json("race", text);
    } else {
        free(text);
    }
    if (!l->o->is_json && has_any_loss(l)) {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_raced(&term, &raced);
    }
    if (l->err.code) {
        int code =
            cli_fail("race", &l->err); /* a command that cannot be started: as a shell has it */
        return l->err.code == WT_E_NOTFOUND ? 127 : l->err.code == WT_E_DENIED ? 126 : code;
    }
    if (l->asked)
        cli_note("race: --folder %s --resume goes on", l->folder);
    return l->asked ? 128 + l->asked : raced.winner == SIZE_MAX ? CLI_FAILURE : CLI_OK;
}

static int measure(struct race_live *l, char **argv)
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
    char *folder = realpath(l->folder, NULL);
    const char *path = folder ? folder : l->folder;
    size_t length = strlen(path), room = sizeof(run.race.folder) - 1;
    snprintf(run.race.folder, room + 1, "%.255s", length > room ? path + length - room : path);
    free(folder);
    run.race.trials = (unsigned)l->count; /* known of one that is killed, too */
    run.race.loss = run.race.saved_j = run.race.saving = NAN;
    l->m.data = l;
    l->m.on_end = tell_run;
    int rc = cli_measure_task(&l->m, &task, words, &run, &err);
    free(words);
    race_clear_line(l);
    int code = rc < 0 ? cli_fail("race", &err) : finish(l, &run);
    wt_run_done(&run);
    return code;
}

static void done(struct race_live *l)
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
    if (l->keeper_fd >= 0)
        close(l->keeper_fd);
    if (l->folder_fd >= 0)
        close(l->folder_fd);
}

int race_live(struct race_options *o, char **argv)
{
    struct race_live l = {.o = o,
                          .is_tty = isatty(STDERR_FILENO),
                          .keeper_fd = -1,
                          .folder_fd = -1,
                          .saved_ns = cli_now_ns()};
    struct wt_error err = {0};
    int code = race_setup(&l);
    if (code < 0) {
        l.keeper_fd = race_keeper_start();
        code = cli_signals_block(&err) < 0 || cli_bed_open(&o->bed, &err) < 0
                   ? cli_fail("race", &err)
                   : -1;
        bool is_open = code < 0;
        if (code < 0 && cli_measure_open(&l.m, &o->bed, o->is_without_store, 0, &err) < 0)
            code = cli_fail("race", &err);
        l.m.is_quiet = true;
        if (code < 0)
            code = race_make_slots(&l);
        if (code < 0)
            code = race_open_folder(&l);
        if (code < 0)
            code = measure(&l, argv);
        if (is_open)
            cli_measure_close(&l.m);
        cli_bed_close(&o->bed);
    }
    done(&l);
    return code;
}
