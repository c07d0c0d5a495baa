/* race: a replayed race on a terminal: each trial, what was saved, and the risk taken. */
#include <math.h>
#include <stdlib.h>

#include "report/table.h"
#include "wattune/race.h"

enum { TRIAL, STATE, STEP, LOSS, SHARE, FINAL };

/* J where they were measured, else steps. */
static const char *cost(char *buf, size_t size, const struct wt_race_curves *curves, double value)
{
    return curves->has_energy ? wt_format_joules(buf, size, value)
                              : wt_text(buf, size, "%.6g steps", value);
}

static void put_trial(struct wt_table *table, size_t row, const struct wt_race_curves *curves,
                      const struct wt_race_replayed *r)
{
    const struct wt_race_trial *t = &r->trials[row];
    const struct wt_race_curve *c = &curves->curves[r->order[row]];
    bool is_winner = r->order[row] == r->winner;
    wt_table_set(table, row, TRIAL, "%s", c->name);
    wt_table_set(table, row, STATE, "%s%s", is_winner ? "winner" : wt_race_state_name(t->state),
                 r->order[row] == r->best ? ", best" : "");
    wt_table_set(table, row, STEP, "%.6g of %.6g", t->step, c->steps[c->count - 1]);
    if (isfinite(t->loss))
        wt_table_set(table, row, LOSS, "%.4f", t->loss);
    wt_table_set(table, row, SHARE, "%.0f %%",
                 isnan(t->energy_j) ? 0 : 100 * t->energy_j / c->costs[c->count - 1]);
    if (c->is_diverged)
        wt_table_set(table, row, FINAL, "diverged");
    else
        wt_table_set(table, row, FINAL, "%.4f", c->losses[c->count - 1]);
    if (is_winner)
        table->colours[row] = WT_GREEN;
}

void wt_report_race(const struct wt_term *term, const struct wt_race_curves *curves,
                    const struct wt_race_options *options, const struct wt_race_replayed *replayed,
                    const struct wt_race_risk *risk)
{
    static const struct wt_column columns[] = {
        {"trial", false, NULL}, {"", false, NULL},    {"step", true, NULL},
        {"loss", true, NULL},   {"cost", true, NULL}, {"at its end", true, "end"},
    };
    const struct wt_race_replayed *r = replayed;
    struct wt_table table;
    char spent[48], full[48];
    wt_term_banner(term, "REPLAYED", "", "recorded curves; nothing was run or measured here");
    if (!wt_table_init(&table, term, columns, WT_COUNTOF(columns), r->count)) {
        wt_table_done(&table);
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        put_trial(&table, i, curves, r);
    wt_table_print(&table);
    wt_table_done(&table);
    fprintf(term->out, "\n");

    char text[480];
    wt_text(text, sizeof(text),
            "By %s, rungs %.0f %% of a trial and then %g times as far each, one in %g going on: %s "
            "survives, %s spent instead of %s: %.1f %% saved%s.",
            wt_race_rule_name(options->rule), 100 * options->first_share, options->eta,
            options->eta, curves->curves[r->winner].name,
            cost(spent, sizeof(spent), curves, r->spent), cost(full, sizeof(full), curves, r->full),
            100 * (1 - r->spent / r->full),
            curves->has_energy ? "" : " (no energy is recorded: each step costs the same)");
    wt_term_wrap(term, WT_BOLD, "  ", text);
    if (r->regret > 0)
        wt_text(text, sizeof(text),
                "The best would have been %s: the survivor's final loss is %.2f %% "
                "higher.",
                curves->curves[r->best].name, 100 * r->regret);
    else
        wt_text(text, sizeof(text), "It is the best of them.");
    wt_term_wrap(term, WT_PLAIN, "  ", text);
    wt_text(
        text, sizeof(text),
        "Risk, over %zu races: a stopped trial would have won %.1f %% of them, and %.1f %% by more "
        "than %g %%; the survivor's final loss is %.2f %% above the best one's on average, %.2f %% "
        "at most. Saved: %.1f %%, in the worst race %.1f %%.",
        risk->races, 100 * (1 - risk->won_share), 100 * (1 - risk->near_share),
        100 * risk->tolerance, 100 * risk->regret, 100 * risk->regret_max, 100 * risk->saving,
        100 * risk->saving_min);
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}
