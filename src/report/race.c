/* race: a race on a terminal, of recorded curves or of commands: each trial, what was saved, and
 * the risk taken. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    if (c->is_diverged || c->is_failed)
        wt_table_set(table, row, FINAL, "%s", c->is_failed ? "failed" : "diverged");
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

    char text[480], words[64];
    wt_text(words, sizeof(words), " (energies as they were recorded: %s)",
            wt_provenance_name(curves->provenance));
    wt_text(text, sizeof(text),
            "By %s, rungs %.0f %% of a trial and then %g times as far each, one in %g going on: %s "
            "survives, %s spent instead of %s: %.1f %% saved%s.",
            wt_race_rule_name(options->rule), 100 * options->first_share, options->eta,
            options->eta, curves->curves[r->winner].name,
            cost(spent, sizeof(spent), curves, r->spent), cost(full, sizeof(full), curves, r->full),
            100 * (1 - r->spent / r->full),
            curves->lacking       ? " (not every curve has its energy: each step costs the same)"
            : !curves->has_energy ? " (no energy is recorded: each step costs the same)"
            : curves->provenance == WT_PROV_UNKNOWN ? ""
                                                    : words);
    wt_term_wrap(term, WT_BOLD, "  ", text);
    if (r->regret > 0)
        wt_text(text, sizeof(text),
                "The best would have been %s: the survivor's final loss is %.2f %% "
                "higher.",
                curves->curves[r->best].name, 100 * r->regret);
    else
        wt_text(text, sizeof(text), "It is the best of them.");
    wt_term_wrap(term, WT_PLAIN, "  ", text);
    if (!risk) {
        wt_text(text, sizeof(text),
                "All %zu curves are in it: this is one race, and no risk can be told from it. "
                "--draw N races N of them, drawn anew each time.",
                r->count);
        wt_term_wrap(term, WT_PLAIN, "  ", text);
        return;
    }
    char same[160] = "";
    if (r->count == curves->count) /* only where the order decides (asha) */
        wt_text(
            same, sizeof(same),
            " of the same %zu curves, each in an order drawn anew, by which %s decides (--draw N "
            "draws the curves, too)",
            r->count, wt_race_rule_name(options->rule));
    wt_text(
        text, sizeof(text),
        "Risk, over %zu races%s: a stopped trial would have won %.1f %% of them, and %.1f %% by "
        "more than %g %%; the survivor's final loss is %.2f %% above the best one's on average, "
        "%.2f %% at most. Saved: %.1f %%, in the worst race %.1f %%.",
        risk->races, same, 100 * (1 - risk->won_share), 100 * (1 - risk->near_share),
        100 * risk->tolerance, 100 * risk->regret, 100 * risk->regret_max, 100 * risk->saving,
        100 * risk->saving_min);
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}

/* ---- of commands ---- */

enum { NAME, HOW, AT, LAST, TIME, ENERGY, ITS_END };

static void put_raced(struct wt_table *table, const struct wt_raced *raced, size_t i)
{
    const struct wt_raced_trial *t = &raced->trials[i];
    char text[96];
    wt_table_set(table, i, NAME, "%s", t->name);
    if (t->state == WT_RACE_DIVERGED && t->exit_code > 0)
        wt_table_set(table, i, HOW, "failed (exit %d)", t->exit_code);
    else
        wt_table_set(table, i, HOW, "%s%s",
                     i == raced->winner ? "winner" : wt_race_state_name(t->state),
                     i == raced->best ? ", best" : "");
    if (t->step > 0)
        wt_table_set(table, i, AT, "%.6g of %.6g", t->step, raced->options.step_max);
    if (isfinite(t->loss))
        wt_table_set(table, i, LAST, "%.4f", t->loss);
    if (t->run_s > 0)
        wt_table_set(table, i, TIME, "%s", wt_format_seconds(text, sizeof(text), t->run_s));
    if (t->energy.provenance != WT_PROV_UNKNOWN && t->run_s > 0) {
        wt_table_joules(table, i, ENERGY, &t->energy);
    }
    if (raced->is_verified && isfinite(t->final_loss))
        wt_table_set(table, i, ITS_END, "%.4f", t->final_loss);
    if (i == raced->winner)
        table->colours[i] = WT_GREEN;
}

static void say_saving(const struct wt_term *term, const struct wt_raced *raced)
{
    char text[480], spent[48], saved[48], again[96] = "";
    double share = 100 * (1 - raced->steps / raced->steps_full);
    const char *than = share < 0 ? "more" : "less";
    if (raced->steps_again > 0)
        wt_text(again, sizeof(again), " (%.0f of them a second time%s)", raced->steps_again,
                raced->is_resumed ? ", as the race was resumed" : "");
    if (isnan(raced->saving))
        wt_text(text, sizeof(text),
                "%.0f of %.0f steps were run%s, %.1f %% %s; what that saves in energy is not "
                "known.",
                raced->steps, raced->steps_full, again, fabs(share), than);
    else
        wt_text(text, sizeof(text),
                "%.0f of %.0f steps were run%s, %.1f %% %s: %s spent (%s) and %s saved (%.1f %%, "
                "%s).",
                raced->steps, raced->steps_full, again, fabs(share), than,
                wt_format_joules(spent, sizeof(spent), raced->spent_j),
                wt_provenance_name(raced->provenance),
                wt_format_joules(saved, sizeof(saved), raced->saved_j), 100 * raced->saving,
                raced->is_verified ? "by running the stopped ones to their ends afterwards"
                                   : "estimated by each stopped trial's own energy a step");
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}

static void say_risk(const struct wt_term *term, const struct wt_raced *raced)
{
    char text[480];
    if (raced->is_verified && raced->regret > 0)
        wt_text(text, sizeof(text),
                "A stopped one would have won: %s, whose final loss is lower by %.2f %%.",
                raced->trials[raced->best].name, 100 * raced->regret);
    else if (raced->is_verified)
        wt_text(text, sizeof(text), "No stopped one would have won.");
    else
        wt_text(text, sizeof(text),
                "Whether a stopped one would have won is not known: --to-the-end runs them on, and "
                "`wattune race --replay` says how often it happens on recorded trainings.");
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}

static void say_unknown(const struct wt_term *term, const struct wt_raced *raced)
{
    char text[480], names[200] = "";
    size_t count = 0;
    for (size_t i = 0; i < raced->count; i++)
        if (raced->trials[i].has_run_on && count++ < 2) {
            size_t used = strlen(names);
            wt_text(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                    raced->trials[i].name);
        }
    if (!count)
        return;
    size_t used = strlen(names);
    if (count > 2)
        wt_text(names + used, sizeof(names) - used, " and %zu more", count - 2);
    wt_text(
        text, sizeof(text),
        "What %s ran before Wattune was ended or killed, and after the curve was last saved, is "
        "not known and in no figure here.",
        names);
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}

void wt_report_raced(const struct wt_term *term, const struct wt_raced *raced)
{
    static const struct wt_column columns[] = {
        {"trial", false, NULL},      {"", false, NULL},    {"step", true, NULL},
        {"loss", true, NULL},        {"time", true, NULL}, {"energy", true, NULL},
        {"at its end", true, "end"},
    };
    static const struct wt_table_step steps[] = {{ENERGY, WT_BRIEF}, {TIME, WT_HIDDEN}};
    const struct wt_run *run = raced->run;
    struct wt_table table;
    char text[480], bound[64];
    if (run && run->is_emulated)
        wt_term_banner(term, "EMULATED", run->emulation, "the energies are of emulated devices");
    if (!wt_table_init(&table, term, columns, WT_COUNTOF(columns) - !raced->is_verified,
                       raced->count)) {
        wt_table_done(&table);
        return;
    }
    table.steps = steps;
    table.step_count = WT_COUNTOF(steps);
    for (size_t i = 0; i < raced->count; i++)
        put_raced(&table, raced, i);
    wt_table_print(&table);
    wt_table_done(&table);
    fprintf(term->out, "\n");
    if (raced->is_cut)
        wt_text(text, sizeof(text), "Ended before it was decided.");
    else if (raced->winner == SIZE_MAX)
        wt_text(text, sizeof(text), "No trial came to its end with a loss: there is no winner.");
    else
        wt_text(text, sizeof(text), "%s wins, with a %s of %.4f at step %.6g.",
                raced->trials[raced->winner].name, raced->loss, raced->trials[raced->winner].loss,
                raced->trials[raced->winner].step);
    wt_term_wrap(term, WT_BOLD, "  ", text);
    if (!raced->is_cut && raced->winner != SIZE_MAX && raced->stopped) {
        say_saving(term, raced);
        say_risk(term, raced);
    } else if (!raced->is_cut) {
        wt_term_wrap(term, WT_PLAIN, "  ", "None was stopped, so nothing is saved.");
    }
    say_unknown(term, raced);
    if (run && run->total.provenance != WT_PROV_UNKNOWN) {
        wt_text(text, sizeof(text), "%s took %s, %s.",
                raced->is_resumed ? "What was run this time" : "All of it",
                wt_format_interval(bound, sizeof(bound), &run->total),
                wt_provenance_name(run->total.provenance));
        wt_term_wrap(term, WT_PLAIN, "  ", text);
    }
    wt_text(text, sizeof(text), "Curves and logs: %s", raced->folder);
    wt_term_wrap(term, WT_PLAIN, "  ", text);
}
