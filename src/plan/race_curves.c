/* race_curves: a race on recorded loss curves, which nothing is run for, and the risk over many. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/random.h"
#include "plan/race.h"

#define LINE_MAX_   4096
#define COLUMNS_MAX 64
#define POINTS_MAX  1000000
#define CURVES_MAX  10000

/* ---- one file ---- */

struct columns {
    int step, loss, energy; /* -1: not there */
    int count;
};

static int read_header(struct columns *c, char *line, const char *column, const char *path,
                       size_t number, struct wt_error *err)
{
    *c = (struct columns){-1, -1, -1, 0};
    for (char *field; (field = wt_text_field(&line)); c->count++) {
        int *at = strcasecmp(field, "step") == 0       ? &c->step
                  : strcasecmp(field, column) == 0     ? &c->loss
                  : strcasecmp(field, "energy_j") == 0 ? &c->energy
                                                       : NULL;
        if (c->count == COLUMNS_MAX)
            return wt_fail(err, WT_E_FORMAT, "%s: more than %d columns", path, COLUMNS_MAX);
        if (at && *at >= 0)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: the column %s is there twice", path, number,
                           field);
        if (at)
            *at = c->count;
    }
    if (c->step >= 0 && c->loss >= 0)
        return 0;
    wt_fail(err, WT_E_FORMAT, "%s: the header lacks %s", path, c->step < 0 ? "step" : column);
    wt_fix(err, "begin it with step,loss, or name the column of the loss with --loss");
    return WT_E_FORMAT;
}

/* A loss may be no number: then the training had diverged. */
static int read_number(const char *field, bool is_loss, double *ret_value)
{
    const char *word = field + (*field == '-' || *field == '+');
    if (is_loss && (strcasecmp(word, "nan") == 0 || strncasecmp(word, "inf", 3) == 0)) {
        *ret_value = NAN;
        return 0;
    }
    return wt_text_to_double(field, ret_value) < 0 || !isfinite(*ret_value) ? WT_E_FORMAT : 0;
}

static int read_row(struct wt_race_curve *curve, const struct columns *c, char *line,
                    const char *path, size_t number, struct wt_error *err)
{
    double step = NAN, loss = NAN, energy_j = NAN;
    int i = 0;
    for (char *field; (field = wt_text_field(&line)); i++) {
        double *value = i == c->step     ? &step
                        : i == c->loss   ? &loss
                        : i == c->energy ? &energy_j
                                         : NULL;
        if (value && read_number(field, i == c->loss, value) < 0)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: \"%.40s\" is no number", path, number, field);
    }
    if (i != c->count)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: %d fields where the header has %d", path, number,
                       i, c->count);
    double last = curve->count ? curve->steps[curve->count - 1] : 0;
    if (!(step > last))
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: step %g after step %g: they go up, from above 0",
                       path, number, step, last);
    double cost = c->energy >= 0 ? energy_j : step;
    double spent = curve->count ? curve->costs[curve->count - 1] : 0;
    if (!(cost > 0) || cost < spent)
        return wt_fail(err, WT_E_FORMAT,
                       "%s:%zu: energy_j is %g after %g: it counts from the start, and goes up",
                       path, number, cost, spent);
    if (curve->is_diverged)
        return 0;
    if (curve->count == POINTS_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d points", path, number, POINTS_MAX);
    if ((curve->count & (curve->count + 1)) == 0) { /* 0, 1, 3, 7, ...: room for twice as many */
        double **lists[] = {&curve->steps, &curve->losses, &curve->costs};
        for (size_t k = 0; k < WT_COUNTOF(lists); k++) {
            double *list = reallocarray(*lists[k], 2 * curve->count + 1, sizeof(*list));
            if (!list)
                return wt_fail(err, WT_E_NOMEM, "%s: no memory for its points", path);
            *lists[k] = list;
        }
    }
    curve->steps[curve->count] = step;
    curve->losses[curve->count] = loss;
    curve->costs[curve->count++] = cost;
    curve->is_diverged = isnan(loss);
    return 0;
}

void wt_race_curve_done(struct wt_race_curve *curve)
{
    free(curve->steps);
    free(curve->losses);
    free(curve->costs);
    memset(curve, 0, sizeof(*curve));
}

/* What `wattune race` writes above a curve: that it was stopped or failed, and where its energies
 * come from.
 */
static void read_remark(struct wt_race_curve *curve, const char *line)
{
    char word[16];
    curve->is_unfinished |= strncmp(line, "# unfinished", 12) == 0;
    curve->is_failed |= strncmp(line, "# failed", 8) == 0;
    if (sscanf(line, "# energy_j %15[a-z]", word) == 1)
        curve->provenance = wt_provenance_from_name(word);
}

int wt_race_curve_parse(struct wt_race_curve *ret_curve, bool *ret_has_energy, FILE *in,
                        const char *column, const char *path, struct wt_error *err)
{
    struct wt_race_curve curve = {0};
    struct columns columns = {0};
    char line[LINE_MAX_];
    int rc = 0;
    size_t size;
    for (size_t number = 1; rc == 0 && (size = wt_text_line(line, sizeof(line), in)); number++) {
        const char *flaw = wt_text_flaw(line, size, number == 1);
        char *text = number == 1 ? wt_text_after_mark(line) : line;
        text += strspn(text, " \t\r\n");
        if (flaw)
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", path, number, flaw);
        else if (!strchr(line, '\n') && !feof(in))
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: a line of more than %d characters", path,
                         number, LINE_MAX_ - 2);
        else if (!*text || *text == '#')
            read_remark(&curve, text);
        else if (!columns.count)
            rc = read_header(&columns, text, column, path, number, err);
        else
            rc = read_row(&curve, &columns, text, path, number, err);
    }
    if (rc == 0 && ferror(in))
        rc = wt_fail_errno(err, errno, "%s", path);
    if (rc == 0 && !curve.count) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: %s", path,
                     columns.count ? "a header and no rows" : "it is empty");
        wt_fix(err, "a header step,loss and a row for each point");
    }
    if (rc < 0) {
        wt_race_curve_done(&curve);
        return rc;
    }
    curve.is_failed &= !curve.is_diverged;
    *ret_has_energy = columns.energy >= 0;
    *ret_curve = curve;
    return 0;
}

/* ---- a folder ---- */

static int is_csv(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 4, ".csv") == 0;
}

static int read_one(struct wt_race_curves *c, const char *folder, const char *name,
                    struct wt_error *err)
{
    char path[4096];
    bool has_energy;
    struct wt_race_curve *curve = &c->curves[c->count];
    wt_text(path, sizeof(path), "%s/%s", folder, name);
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = wt_race_curve_parse(curve, &has_energy, in, c->column, path, err);
    fclose(in);
    if (rc < 0)
        return rc;
    wt_text(curve->name, sizeof(curve->name), "%.*s", (int)strlen(name) - 4, name);
    if (!c->count || curve->provenance < c->provenance)
        c->provenance = curve->provenance;
    if (!has_energy) {
        c->lacks = c->count;
        c->lacking++;
    }
    c->count++;
    double last = curve->steps[curve->count - 1];
    c->gap_steps = fmax(c->gap_steps, last / (double)curve->count);
    return 0;
}

int wt_race_curves_read(struct wt_race_curves *ret_curves, const char *folder, const char *column,
                        struct wt_error *err)
{
    struct wt_race_curves c = {0};
    struct dirent **entries = NULL;
    wt_text(c.column, sizeof(c.column), "%s", column ? column : "loss");
    int count = scandir(folder, &entries, is_csv, versionsort);
    if (count < 0)
        return wt_fail_errno(err, errno, "%s", folder);
    int rc = 0;
    if (count == 0)
        rc = wt_fail(err, WT_E_NOTFOUND, "%s: no .csv file in it", folder);
    else if (count > CURVES_MAX)
        rc = wt_fail(err, WT_E_FORMAT, "%s: more than %d curves", folder, CURVES_MAX);
    else if (!(c.curves = calloc((size_t)count, sizeof(*c.curves))))
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for its curves", folder);
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = read_one(&c, folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    if (rc == 0 && c.count < 2)
        rc = wt_fail(err, WT_E_FORMAT, "%s: one curve; a race takes two or more", folder);
    c.has_energy = !c.lacking;
    if (c.lacking == c.count)
        c.lacking = 0;
    for (size_t i = 0; i < c.count && c.lacking; i++)
        memcpy(c.curves[i].costs, c.curves[i].steps,
               c.curves[i].count * sizeof(*c.curves[i].costs));
    if (rc < 0) {
        if (rc != WT_E_NOMEM && !(err && err->fix[0]))
            wt_fix(err, "a .csv file for each trial, with a header step,loss");
        wt_race_curves_done(&c);
        return rc;
    }
    *ret_curves = c;
    return 0;
}

void wt_race_curves_done(struct wt_race_curves *curves)
{
    for (size_t i = 0; i < curves->count; i++)
        wt_race_curve_done(&curves->curves[i]);
    free(curves->curves);
    memset(curves, 0, sizeof(*curves));
}

/* ---- a race on them ---- */

/* By the seed: the same races on every machine. */
static void shuffle(size_t *order, size_t all, size_t count, uint64_t seed)
{
    struct wt_random dice = {.seed = seed};
    for (size_t i = 0; i < all; i++)
        order[i] = i;
    for (size_t i = 0; i < count; i++) {
        size_t other = i + (size_t)(wt_random_next(&dice) % (all - i)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static double final_loss(const struct wt_race_curve *curve)
{
    return curve->is_diverged || curve->is_failed ? INFINITY : curve->losses[curve->count - 1];
}

static double longest(const struct wt_race_curves *curves, const size_t *order, size_t count)
{
    double steps = 0;
    for (size_t i = 0; i < count; i++) {
        const struct wt_race_curve *c = &curves->curves[order[i]];
        steps = fmax(steps, c->steps[c->count - 1]);
    }
    return steps;
}

static int run_all(struct wt_race *race, const struct wt_race_curves *curves, const size_t *order,
                   size_t *told, struct wt_error *err)
{
    size_t trial;
    double until;
    while (wt_race_next(race, &trial, &until) == WT_RACE_RUN) {
        const struct wt_race_curve *c = &curves->curves[order[trial]];
        while (wt_race_trial(race, trial)->state == WT_RACE_RUNNING) {
            size_t at = told[trial]++;
            if (at == c->count && !c->is_failed) {
                wt_race_ended(race, trial);
                break;
            }
            int rc =
                at < c->count
                    ? wt_race_tell(race, trial, c->steps[at], c->losses[at], c->costs[at], err)
                    : wt_race_tell(race, trial, c->steps[at - 1] + 1, NAN, c->costs[at - 1], err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int sum_up(struct wt_race_replayed *r, const struct wt_race *race,
                  const struct wt_race_curves *curves, struct wt_error *err)
{
    const double *rungs;
    r->rung_count = wt_race_rungs(race, &rungs);
    r->trials = calloc(r->count, sizeof(*r->trials));
    r->rungs = calloc(r->rung_count, sizeof(*r->rungs));
    if (!r->trials || !r->rungs)
        return wt_fail(err, WT_E_NOMEM, "no memory for a race's result");
    memcpy(r->rungs, rungs, r->rung_count * sizeof(*rungs));
    double least = INFINITY;
    for (size_t i = 0; i < r->count; i++) {
        const struct wt_race_curve *c = &curves->curves[r->order[i]];
        r->trials[i] = *wt_race_trial(race, i);
        if (!isnan(r->trials[i].energy_j))
            r->spent += r->trials[i].energy_j;
        r->full += c->costs[c->count - 1];
        if (final_loss(c) < least) {
            least = final_loss(c);
            r->best = r->order[i];
        }
    }
    size_t winner = wt_race_winner(race);
    if (winner == SIZE_MAX)
        return wt_fail(err, WT_E_STATE, "all %zu trials diverged: there is no winner", r->count);
    r->winner = r->order[winner];
    double behind = final_loss(&curves->curves[r->winner]) - least;
    r->regret = behind > 0 ? behind / fabs(least) : 0;
    return 0;
}

int wt_race_replay(struct wt_race_replayed *ret_replayed, const struct wt_race_curves *curves,
                   const struct wt_race_options *options, size_t draw, uint64_t seed,
                   struct wt_error *err)
{
    struct wt_race_replayed r = {.count = draw ? draw : curves->count};
    struct wt_race_options o = *options;
    struct wt_race *race = NULL;
    if (r.count < 2 || r.count > curves->count)
        return wt_fail(err, WT_E_USAGE,
                       "a race of %zu of %zu curves: 2 or more, and no more than "
                       "there are",
                       r.count, curves->count);
    if (!(o.epoch_steps > 0))
        o.epoch_steps = curves->gap_steps;
    size_t *told = calloc(r.count, sizeof(*told));
    r.order = calloc(curves->count, sizeof(*r.order));
    int rc = r.order && told ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a race");
    if (rc == 0) {
        shuffle(r.order, curves->count, r.count, seed);
        o.step_max = longest(curves, r.order, r.count);
        rc = wt_race_new(&race, &o, r.count, err);
    }
    if (rc == 0)
        rc = run_all(race, curves, r.order, told, err);
    if (rc == 0)
        rc = sum_up(&r, race, curves, err);
    wt_race_free(race);
    free(told);
    if (rc < 0) {
        wt_race_replayed_done(&r);
        return rc;
    }
    *ret_replayed = r;
    return 0;
}

void wt_race_replayed_done(struct wt_race_replayed *replayed)
{
    free(replayed->order);
    free(replayed->trials);
    free(replayed->rungs);
    memset(replayed, 0, sizeof(*replayed));
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int wt_race_judge(struct wt_race_risk *ret_risk, const struct wt_race_curves *curves,
                  const struct wt_race_options *options, size_t draw, uint64_t seed, size_t races,
                  double tolerance, struct wt_error *err)
{
    struct wt_race_risk risk = {.races = races, .tolerance = tolerance, .saving_min = INFINITY};
    if (!races)
        return wt_fail(err, WT_E_USAGE, "a risk needs one race at least");
    double *regrets = calloc(races, sizeof(*regrets));
    if (!regrets)
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu races", races);
    double spent = 0, full = 0;
    size_t won = 0, near = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < races; i++) {
        struct wt_race_replayed r;
        rc = wt_race_replay(&r, curves, options, draw, seed + i, err);
        if (rc < 0)
            break;
        regrets[i] = r.regret;
        won += r.regret <= 0;
        near += r.regret <= tolerance;
        spent += r.spent;
        full += r.full;
        risk.saving_min = fmin(risk.saving_min, 1 - r.spent / r.full);
        risk.regret += r.regret / (double)races;
        wt_race_replayed_done(&r);
    }
    if (rc == 0) {
        qsort(regrets, races, sizeof(*regrets), by_value);
        risk.regret_95 = regrets[(size_t)(0.95 * (double)(races - 1) + 0.5)];
        risk.regret_max = regrets[races - 1];
        risk.won_share = (double)won / (double)races;
        risk.near_share = (double)near / (double)races;
        risk.saving = 1 - spent / full;
        *ret_risk = risk;
    }
    free(regrets);
    return rc;
}
