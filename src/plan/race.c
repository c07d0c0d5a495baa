/* race: who goes on and who is stopped, decided at rungs. No clocks, no processes, no files.
 *
 * By asha a trial goes on as soon as it is among the best 1/eta of those that have come to its rung
 * so far. By the other rules all that came into a round are waited for, and the best 1/eta of them,
 * rounded up, go on. Whoever has the lowest loss of a rung goes on by any rule. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/race.h"

#define RUNGS_MAX  64
#define TRIALS_MAX 1000

struct trial {
    struct wt_race_trial seen;
    double *steps, *losses; /* as they were told */
    size_t count, room;
    double *scores, *rung_losses; /* of each rung it came to */
    double until;                 /* where it runs to, while it runs */
    size_t promoted;              /* how many rungs it may run to */
    bool is_forced;
};

struct wt_race {
    struct wt_race_options o;
    struct trial *trials;
    size_t count, begun;
    double rungs[RUNGS_MAX];
    size_t rung_count;
    size_t round;   /* the rung that all are waited for; of asha not used */
    double *epochs; /* to score by */
    size_t epoch_room;
};

const char *wt_race_state_name(enum wt_race_state state)
{
    static const char *const names[] = {"waiting", "running", "stopped", "finished", "diverged"};
    return (unsigned)state < WT_COUNTOF(names) ? names[state] : "unknown";
}

void wt_race_options_init(struct wt_race_options *options, double step_max)
{
    *options = (struct wt_race_options){.rule = WT_RACE_FORECAST,
                                        .step_max = step_max,
                                        .first_share = 0.133,
                                        .eta = 1.5,
                                        .epochs = 1,
                                        .decay = 0.999,
                                        .burn_in = 2};
}

static int check(const struct wt_race_options *o, size_t count, struct wt_error *err)
{
    if (count < 2 || count > TRIALS_MAX)
        return wt_fail(err, WT_E_USAGE, "a race of %zu: it takes 2 to %d trials", count,
                       TRIALS_MAX);
    if (!wt_race_rule_name(o->rule))
        return wt_fail(err, WT_E_USAGE, "no rule number %d", (int)o->rule);
    if (!(o->step_max > 0) || !isfinite(o->step_max))
        return wt_fail(err, WT_E_USAGE, "a whole trial of %g steps: must be above 0", o->step_max);
    if (!(o->first_share > 0 && o->first_share <= 1))
        return wt_fail(err, WT_E_USAGE, "the first rung at %g of a trial: above 0, 1 at most",
                       o->first_share);
    if (!(o->eta >= 1.1 && o->eta <= 1000))
        return wt_fail(err, WT_E_USAGE, "one in %g goes on: eta is 1.1 to 1000", o->eta);
    if (!(o->epoch_steps >= 0) || !isfinite(o->epoch_steps))
        return wt_fail(err, WT_E_USAGE, "epochs of %g steps: must be above 0", o->epoch_steps);
    if (o->step_max > 1e6 * (o->epoch_steps > 0 ? o->epoch_steps : o->step_max))
        return wt_fail(err, WT_E_USAGE, "epochs of %g steps: more than a million in a trial",
                       o->epoch_steps);
    if (!o->epochs)
        return wt_fail(err, WT_E_USAGE, "the last 0 epochs: must be 1 or more");
    if (!(o->decay > 0 && o->decay <= 1))
        return wt_fail(err, WT_E_USAGE, "a decay of %g: above 0, 1 at most", o->decay);
    return 0;
}

int wt_race_new(struct wt_race **ret_race, const struct wt_race_options *options, size_t count,
                struct wt_error *err)
{
    int rc = check(options, count, err);
    if (rc < 0)
        return rc;
    struct wt_race *race = calloc(1, sizeof(*race));
    if (race)
        race->trials = calloc(count, sizeof(*race->trials));
    if (!race || !race->trials) {
        wt_race_free(race);
        return wt_fail(err, WT_E_NOMEM, "no memory for a race of %zu", count);
    }
    race->o = *options;
    race->count = count;
    double at = options->first_share * options->step_max;
    if (!(race->o.epoch_steps > 0))
        race->o.epoch_steps = at / 8;
    /* One that lies just before the end decides nothing that the end does not. */
    for (; at < 0.95 * options->step_max && race->rung_count < RUNGS_MAX - 1; at *= options->eta)
        race->rungs[race->rung_count++] = at;
    race->rungs[race->rung_count++] = options->step_max;
    for (size_t i = 0; i < count; i++) {
        struct trial *t = &race->trials[i];
        t->seen = (struct wt_race_trial){.loss = NAN, .energy_j = NAN, .score = INFINITY};
        t->scores = calloc(2 * race->rung_count, sizeof(*t->scores));
        if (!t->scores) {
            wt_race_free(race);
            return wt_fail(err, WT_E_NOMEM, "no memory for a race of %zu", count);
        }
        t->rung_losses = t->scores + race->rung_count;
    }
    *ret_race = race;
    return 0;
}

void wt_race_free(struct wt_race *race)
{
    if (!race)
        return;
    for (size_t i = 0; race->trials && i < race->count; i++) {
        free(race->trials[i].steps);
        free(race->trials[i].losses);
        free(race->trials[i].scores);
    }
    free(race->trials);
    free(race->epochs);
    free(race);
}

/* ---- scoring ---- */

/* Mean losses of the epochs up to a rung. An epoch in which nothing was told is like the one before
 * it, and so are those after the end of a trial that ended by itself. */
static size_t epochs_of(struct wt_race *race, const struct trial *t, double until)
{
    double each = race->o.epoch_steps;
    size_t epochs = (size_t)ceil(until / each - 1e-9), at = 0;
    double last = t->losses[0];
    for (size_t e = 0; e < epochs && e < race->epoch_room; e++) {
        double end = (double)(e + 1) * each * (1 + 1e-12), sum = 0;
        size_t n = 0;
        for (; at < t->count && t->steps[at] <= end; at++, n++)
            sum += t->losses[at];
        if (n)
            last = sum / (double)n;
        race->epochs[e] = last;
    }
    return epochs;
}

static int make_room(struct wt_race *race, struct wt_error *err)
{
    if (race->epochs)
        return 0;
    race->epoch_room = (size_t)ceil(race->o.step_max / race->o.epoch_steps) + 1;
    race->epochs = calloc(race->epoch_room, sizeof(*race->epochs));
    return race->epochs ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for the epochs of a race");
}

/* It is at the next rung, or has ended and is taken to be at all of them. */
static void reach(struct wt_race *race, struct trial *t)
{
    double at = race->rungs[t->seen.rungs];
    t->seen.score = race->o.rule == WT_RACE_ASHA
                        ? t->seen.loss
                        : wt_race_score(&race->o, race->epochs, epochs_of(race, t, at));
    t->scores[t->seen.rungs] = t->seen.score;
    t->rung_losses[t->seen.rungs] = t->seen.loss;
    t->seen.rungs++;
    if (t->promoted < t->seen.rungs)
        t->promoted = t->seen.rungs; /* it was told of a step beyond where it was to stop */
}

/* ---- being told ---- */

static int keep(struct trial *t, double step, double loss, struct wt_error *err)
{
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 64;
        double *steps = reallocarray(t->steps, room, sizeof(*steps));
        if (steps)
            t->steps = steps;
        double *losses = reallocarray(t->losses, room, sizeof(*losses));
        if (losses)
            t->losses = losses;
        if (!steps || !losses)
            return wt_fail(err, WT_E_NOMEM, "no memory for a trial's losses");
        t->room = room;
    }
    t->steps[t->count] = step;
    t->losses[t->count++] = loss;
    return 0;
}

int wt_race_tell(struct wt_race *race, size_t trial, double step, double loss, double energy_j,
                 struct wt_error *err)
{
    if (trial >= race->count)
        return wt_fail(err, WT_E_USAGE, "there is no trial %zu", trial);
    struct trial *t = &race->trials[trial];
    if (t->seen.state != WT_RACE_RUNNING)
        return wt_fail(err, WT_E_USAGE, "trial %zu is not running", trial);
    if (!(step > t->seen.step) || !isfinite(step))
        return wt_fail(err, WT_E_USAGE, "trial %zu: step %g after step %g", trial, step,
                       t->seen.step);
    int rc = make_room(race, err);
    if (rc == 0 && isfinite(loss))
        rc = keep(t, step, loss, err);
    if (rc < 0)
        return rc;
    t->seen.step = step;
    t->seen.loss = loss;
    t->seen.energy_j = energy_j;
    if (!isfinite(loss)) {
        t->seen.loss = NAN;
        t->seen.score = INFINITY;
        t->seen.state = WT_RACE_DIVERGED;
        return 0;
    }
    while (t->seen.rungs < race->rung_count && step >= race->rungs[t->seen.rungs])
        reach(race, t);
    if (step >= race->o.step_max)
        t->seen.state = WT_RACE_FINISHED;
    else if (step >= t->until)
        t->seen.state = WT_RACE_PAUSED;
    return 0;
}

void wt_race_ended(struct wt_race *race, size_t trial)
{
    if (trial >= race->count || race->trials[trial].seen.state != WT_RACE_RUNNING)
        return;
    struct trial *t = &race->trials[trial];
    t->seen.state = t->count ? WT_RACE_FINISHED : WT_RACE_DIVERGED;
    while (t->count && t->seen.rungs < race->rung_count)
        reach(race, t);
}

/* ---- deciding ---- */

/* Whether a is before b at a rung: by score, then by loss (a rule may know nothing yet), then the
 * one that began earlier. */
static bool is_before(const struct wt_race *race, size_t a, size_t b, size_t rung)
{
    const struct trial *left = &race->trials[a], *right = &race->trials[b];
    if (left->scores[rung] < right->scores[rung] || left->scores[rung] > right->scores[rung])
        return left->scores[rung] < right->scores[rung];
    double lead = left->rung_losses[rung] - right->rung_losses[rung];
    return lead < 0 || (!(lead > 0) && a < b);
}

/* How many of those at a rung are before it; *ret_is_lowest: none has a lower loss there. */
static size_t place_of(const struct wt_race *race, size_t trial, size_t rung, bool *ret_is_lowest)
{
    size_t place = 0;
    *ret_is_lowest = true;
    for (size_t i = 0; i < race->count; i++) {
        const struct trial *t = &race->trials[i];
        if (i == trial || t->seen.rungs <= rung || t->seen.state == WT_RACE_DIVERGED)
            continue;
        place += is_before(race, i, trial, rung);
        double lead = race->trials[trial].rung_losses[rung] - t->rung_losses[rung];
        if (lead > 0 || (!(lead < 0) && i < trial))
            *ret_is_lowest = false;
    }
    return place;
}

/* How many have come to a rung. A diverged one has lost its place, but there was one. */
static size_t arrived(const struct wt_race *race, size_t rung)
{
    size_t count = 0;
    for (size_t i = 0; i < race->count; i++) {
        const struct trial *t = &race->trials[i];
        count += t->seen.rungs > rung || (t->seen.state == WT_RACE_DIVERGED && t->promoted > rung);
    }
    return count;
}

static enum wt_race_turn run(struct wt_race *race, size_t trial, size_t rung, size_t *ret_trial,
                             double *ret_step)
{
    struct trial *t = &race->trials[trial];
    t->seen.state = WT_RACE_RUNNING;
    t->until = race->rungs[rung];
    t->promoted = rung + 1;
    *ret_trial = trial;
    *ret_step = t->until;
    return WT_RACE_RUN;
}

static bool is_any(const struct wt_race *race, enum wt_race_state state)
{
    for (size_t i = 0; i < race->count; i++)
        if (race->trials[i].seen.state == state)
            return true;
    return false;
}

/* A paused one at this rung that may go on: among the first `places`, or with the lowest loss. */
static bool find_at(const struct wt_race *race, size_t rung, size_t places, size_t *ret_trial)
{
    bool is_lowest;
    for (size_t i = 0; i < race->count; i++) {
        const struct trial *t = &race->trials[i];
        if (t->seen.state == WT_RACE_PAUSED && t->seen.rungs == rung + 1 &&
            t->promoted == rung + 1 &&
            (place_of(race, i, rung, &is_lowest) < places || is_lowest)) {
            *ret_trial = i;
            return true;
        }
    }
    return false;
}

/* Nobody else comes: the best of a rung is not left there, however few they were. */
static enum wt_race_turn rescue(struct wt_race *race, size_t *ret_trial, double *ret_step)
{
    size_t trial;
    for (size_t rung = race->rung_count - 1; rung-- > 0;)
        if (find_at(race, rung, 1, &trial))
            return run(race, trial, rung + 1, ret_trial, ret_step);
    return WT_RACE_DONE;
}

static enum wt_race_turn next_asha(struct wt_race *race, size_t *ret_trial, double *ret_step)
{
    for (size_t rung = race->rung_count - 1; rung-- > 0;) {
        size_t places = (size_t)((double)arrived(race, rung) / race->o.eta);
        bool is_lowest;
        for (size_t i = 0; places && i < race->count; i++)
            if (race->trials[i].seen.state == WT_RACE_PAUSED &&
                race->trials[i].seen.rungs == rung + 1 &&
                place_of(race, i, rung, &is_lowest) < places)
                return run(race, i, rung + 1, ret_trial, ret_step);
    }
    if (race->begun < race->count)
        return run(race, race->begun++, 0, ret_trial, ret_step);
    if (is_any(race, WT_RACE_RUNNING))
        return WT_RACE_WAIT;
    return rescue(race, ret_trial, ret_step);
}

/* Whether one is still on its way to this rung. */
static bool is_awaited(const struct wt_race *race, size_t rung)
{
    for (size_t i = 0; i < race->count; i++)
        if (race->trials[i].seen.state == WT_RACE_RUNNING && race->trials[i].seen.rungs <= rung)
            return true;
    return false;
}

static enum wt_race_turn next_round(struct wt_race *race, size_t *ret_trial, double *ret_step)
{
    size_t trial;
    if (race->begun < race->count)
        return run(race, race->begun++, 0, ret_trial, ret_step);
    for (; race->round + 1 < race->rung_count; race->round++) {
        if (is_awaited(race, race->round))
            return WT_RACE_WAIT;
        size_t places = (size_t)ceil((double)arrived(race, race->round) / race->o.eta - 1e-9);
        if (find_at(race, race->round, places, &trial))
            return run(race, trial, race->round + 1, ret_trial, ret_step);
    }
    if (is_any(race, WT_RACE_RUNNING))
        return WT_RACE_WAIT;
    /* All that were chosen may have diverged since. */
    return is_any(race, WT_RACE_FINISHED) ? WT_RACE_DONE : rescue(race, ret_trial, ret_step);
}

enum wt_race_turn wt_race_next(struct wt_race *race, size_t *ret_trial, double *ret_step)
{
    for (size_t i = 0; i < race->count; i++)
        if (race->trials[i].is_forced && race->trials[i].seen.state == WT_RACE_PAUSED)
            return run(race, i, race->rung_count - 1, ret_trial, ret_step);
    return race->o.rule == WT_RACE_ASHA ? next_asha(race, ret_trial, ret_step)
                                        : next_round(race, ret_trial, ret_step);
}

int wt_race_resume(struct wt_race *race, size_t trial, struct wt_error *err)
{
    if (trial >= race->count || race->trials[trial].seen.state != WT_RACE_PAUSED)
        return wt_fail(err, WT_E_STATE, "trial %zu is not paused", trial);
    race->trials[trial].is_forced = true;
    return 0;
}

const struct wt_race_trial *wt_race_trial(const struct wt_race *race, size_t trial)
{
    return trial < race->count ? &race->trials[trial].seen : NULL;
}

size_t wt_race_winner(const struct wt_race *race)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < race->count; i++)
        if (race->trials[i].seen.state == WT_RACE_FINISHED &&
            (best == SIZE_MAX || race->trials[i].seen.loss < race->trials[best].seen.loss))
            best = i;
    return best;
}

size_t wt_race_rungs(const struct wt_race *race, const double **ret_steps)
{
    *ret_steps = race->rungs;
    return race->rung_count;
}
