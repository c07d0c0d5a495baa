/* race: how often a race keeps the best training, and what it saves, on recorded loss curves.
 *
 *   build/bench/race                      the curves of tests/data/race: a table by rule
 *      --loss COLUMN    race by this column (loss: held out; train_loss)
 *      --races N        for each line (500)
 *      --first SHARE --eta X   other rungs than the default ones
 *      --grid           instead: rungs and eta of every rule on the odd curves, to choose by
 *
 * A race draws 16 to 32 of the curves by its seed, in random order. The odd trials were used to
 * choose the defaults, the even ones not at all; both and all 100 are judged. Columns: share of
 * races in which the best one survived, in which it or one within 1 % of its final loss did, saving
 * of energy (each step costs the same) in all and in the worst race, regret of the final loss at
 * the mean, 95th percentile and worst. Ends with 1 when the default rule misses the bar on the even
 * trials or on all: within 1 % in 95 % of races, at 60 % less energy. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wattune/wattune.h"

static size_t races = 500;
static double first_share, eta;

/* Races of 16 to 32 of them, together: each size has its share. */
static int judge(const struct wt_race_curves *curves, const struct wt_race_options *o,
                 struct wt_race_risk *ret)
{
    struct wt_error err = {0};
    struct wt_race_risk sum = {.tolerance = 0.01, .saving_min = INFINITY};
    double spent = 0, full = 0;
    double *regrets = calloc(races, sizeof(*regrets));
    for (size_t i = 0; i < races; i++) {
        struct wt_race_replayed r;
        if (!regrets || wt_race_replay(&r, curves, o, 16 + i % 17, 1000 + i, &err) < 0) {
            fprintf(stderr, "race: %s\n", err.text);
            free(regrets);
            return -1;
        }
        regrets[i] = r.regret;
        sum.won_share += (r.regret <= 0) / (double)races;
        sum.near_share += (r.regret <= 0.01) / (double)races;
        sum.regret += r.regret / (double)races;
        sum.regret_max = fmax(sum.regret_max, r.regret);
        sum.saving_min = fmin(sum.saving_min, 1 - r.spent / r.full);
        spent += r.spent;
        full += r.full;
        wt_race_replayed_done(&r);
    }
    size_t above = races / 20; /* so many lie above the 95th percentile */
    for (size_t k = 0; k <= above; k++) {
        size_t most = 0;
        for (size_t i = 1; i < races; i++)
            if (regrets[i] > regrets[most])
                most = i;
        sum.regret_95 = regrets[most];
        regrets[most] = -1;
    }
    free(regrets);
    sum.saving = 1 - spent / full;
    *ret = sum;
    return 0;
}

/* Those with an odd (0) or even (1) place, borrowed; 2: all. */
static struct wt_race_curves part_of(const struct wt_race_curves *all, int part)
{
    struct wt_race_curves some = *all;
    some.curves = calloc(all->count, sizeof(*some.curves));
    some.count = 0;
    for (size_t i = 0; some.curves && i < all->count; i++)
        if (part == 2 || (int)(i % 2) == part)
            some.curves[some.count++] = all->curves[i];
    return some;
}

static int grid(const struct wt_race_curves *all)
{
    static const double shares[] = {0.066, 0.1, 0.133, 0.166, 0.2}, etas[] = {1.25, 1.5, 2, 3};
    struct wt_race_curves odd = part_of(all, 0);
    for (int rule = 0; rule < WT_RACE_RULES; rule++)
        for (size_t s = 0; s < sizeof(shares) / sizeof(*shares); s++)
            for (size_t e = 0; e < sizeof(etas) / sizeof(*etas); e++) {
                struct wt_race_options o;
                struct wt_race_risk r;
                wt_race_options_init(&o, 0);
                o.rule = (enum wt_race_rule)rule;
                o.first_share = shares[s];
                o.eta = etas[e];
                if (judge(&odd, &o, &r) < 0)
                    return 1;
                printf("%-8s first %5.3f  eta %g  best %5.1f %%  within 1 %% %5.1f %%  saved %4.1f "
                       "%%\n",
                       wt_race_rule_name(o.rule), shares[s], etas[e], 100 * r.won_share,
                       100 * r.near_share, 100 * r.saving);
            }
    free(odd.curves);
    return 0;
}

int main(int argc, char **argv)
{
    const char *column = NULL;
    bool is_grid = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--grid") == 0) {
            is_grid = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--loss") == 0) {
            column = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--races") == 0) {
            races = strtoul(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
            first_share = strtod(argv[++i], NULL);
        } else if (i + 1 < argc && strcmp(argv[i], "--eta") == 0) {
            eta = strtod(argv[++i], NULL);
        } else {
            fprintf(stderr,
                    "usage: race [--loss COLUMN] [--races N] [--first SHARE] [--eta X] [--grid]\n");
            return 2;
        }
    }
    struct wt_race_curves all;
    struct wt_error err = {0};
    if (!races || wt_race_curves_read(&all, WT_RACE_CURVES, column, &err) < 0) {
        fprintf(stderr, "race: %s\n", err.text);
        return 1;
    }
    if (is_grid) {
        int code = grid(&all);
        wt_race_curves_done(&all);
        return code;
    }
    struct wt_race_options standard;
    wt_race_options_init(&standard, 0);
    bool is_missed = false;
    for (int part = 0; part < 3; part++) {
        struct wt_race_curves some = part_of(&all, part);
        printf(
            "%s (%zu curves), %zu races of 16 to 32, by %s\n"
            "  rule     first  eta    best  within 1 %%   saved  worst   regret    95 %%   most\n",
            part == 0   ? "odd trials: chosen on"
            : part == 1 ? "even trials: judged"
                        : "all trials",
            some.count, races, all.column);
        for (int rule = 0; rule < WT_RACE_RULES; rule++) {
            struct wt_race_options o = standard;
            struct wt_race_risk r;
            o.rule = (enum wt_race_rule)rule;
            if (first_share > 0)
                o.first_share = first_share;
            if (eta > 0)
                o.eta = eta;
            if (judge(&some, &o, &r) < 0)
                return 1;
            printf("%c %-8s %5.2f %4.1f  %5.1f %%     %5.1f %%  %4.1f %% %4.1f %%  %5.2f %% %5.2f "
                   "%% %5.1f %%\n",
                   o.rule == standard.rule ? '*' : ' ', wt_race_rule_name(o.rule), o.first_share,
                   o.eta, 100 * r.won_share, 100 * r.near_share, 100 * r.saving, 100 * r.saving_min,
                   100 * r.regret, 100 * r.regret_95, 100 * r.regret_max);
            if (part > 0 && o.rule == standard.rule)
                is_missed |= r.near_share < 0.95 || r.saving < 0.6;
        }
        free(some.curves);
    }
    wt_race_curves_done(&all);
    if (is_missed)
        printf("the default rule misses the bar\n");
    return is_missed;
}
