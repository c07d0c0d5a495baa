/* compare: settings side by side on a terminal - the table of a sweep, and that of a search. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "report/table.h"
#include "report/words.h"

/* ---- a sweep ---- */

/* "1.085 [1.081, 1.089]", brief "1.085 ±0.004" with the wider side. */
static void put_ratio(struct wt_table *table, size_t row, size_t column,
                      const struct wt_estimate *e)
{
    struct wt_cell *cell = wt_table_cell(table, row, column);
    if (e->low == e->high) {
        wt_table_set(table, row, column, "%.3f", e->value);
        return;
    }
    wt_table_set(table, row, column, "%.3f [%.3f, %.3f]", e->value, e->low, e->high);
    wt_text(cell->brief, sizeof(cell->brief), "%.3f %s%.3f", e->value,
            table->term->is_utf8 ? "\u00b1" : "+-", fmax(e->value - e->low, e->high - e->value));
}

/* Of the others energy or time are what is made small, or as good as it. */
static bool is_value_shown(const struct wt_goal *goal)
{
    return goal->objective == WT_OBJECTIVE_EDP || goal->objective == WT_OBJECTIVE_COST ||
           goal->objective == WT_OBJECTIVE_ETA;
}

static void put_row(struct wt_table *table, const struct wt_sweep *sweep, size_t i)
{
    const struct wt_sweep_row *row = &sweep->rows[i];
    const struct wt_joules energy = {row->energy_j.value, row->energy_j.low, row->energy_j.high,
                                     row->provenance};
    bool is_choice = i == sweep->choice;
    char text[80];
    /* Told at the row's start too, as a narrow window may not hold the words. */
    wt_table_set(table, i, 0, "%s%s%s", is_choice ? (table->term->is_utf8 ? "\u25b8" : ">") : "",
                 row->is_reference ? "=" : "", row->outlier_count ? "!" : "");
    wt_table_set(table, i, 1, "%s", row->label);
    wt_table_brief_label(wt_table_cell(table, i, 1));
    wt_table_set(table, i, 2, "%u", row->repeats);
    if (row->outlier_count)
        wt_table_set(table, i, 2, "%u, %u off", row->repeats, row->outlier_count);
    wt_table_set(table, i, 3, "%s", wt_format_seconds(text, sizeof(text), row->time_s.value));
    wt_table_joules(table, i, 4, &energy);
    wt_table_power(table, i, 5, &row->power_w, row->provenance);
    put_ratio(table, i, 6, &row->time_ratio);
    put_ratio(table, i, 7, &row->energy_ratio);
    put_ratio(table, i, 8, &row->power_ratio);
    if (is_value_shown(&sweep->plan.goal))
        put_ratio(table, i, 9, &row->value_ratio);
    bool is_idle = row->is_binding_known && !row->is_binding;
    static const struct {
        const char *full, *brief;
    } notes[] = {{"reference, keep", "keep"},  {"reference", "ref."},       {"choice", "choice"},
                 {"does not bind", "unbound"}, {"same as best", "as best"}, {"", ""},
                 {"ruled out", "out"}};
    size_t note = row->is_reference          ? !is_choice
                  : is_choice                ? 2
                  : !row->is_admissible      ? 6
                  : is_idle                  ? 3
                  : row->is_overlapping_best ? 4
                                             : 5;
    wt_table_set(table, i, 10, "%s", notes[note].full);
    wt_text(wt_table_cell(table, i, 10)->brief, sizeof(wt_table_cell(table, i, 10)->brief), "%s",
            notes[note].brief);
    table->colours[i] = is_choice ? WT_GREEN : WT_PLAIN;
}

void wt_report_sweep(const struct wt_term *term, const struct wt_sweep *sweep)
{
    char value[32];
    bool is_to = sweep->is_to_target;
    wt_text(value, sizeof(value), "rel. %s", wt_objective_name(sweep->plan.goal.objective));
    const struct wt_column columns[] = {
        {"", false, NULL},
        {sweep->knob[0] ? sweep->knob : "setting", false, NULL},
        {"runs", true, NULL},
        {is_to ? "time to target" : "time", true, NULL},
        {is_to ? "energy to target" : "energy", true, NULL},
        {"mean", true, NULL},
        {"rel. time", false, NULL},
        {"rel. energy", false, NULL},
        {"rel. power", false, NULL},
        {value, false, NULL},
        {"", false, NULL},
    };
    static const struct wt_table_step steps[] = {
        {8, WT_BRIEF},  {5, WT_BRIEF},  {4, WT_BRIEF},  {6, WT_BRIEF},
        {7, WT_BRIEF},  {9, WT_BRIEF},  {8, WT_HIDDEN}, {2, WT_HIDDEN},
        {5, WT_HIDDEN}, {1, WT_BRIEF},  {10, WT_BRIEF}, {3, WT_HIDDEN},
        {6, WT_HIDDEN}, {4, WT_HIDDEN}, {7, WT_HIDDEN}, {9, WT_HIDDEN},
    };
    struct wt_plain plain;
    struct wt_table table;
    wt_plain_enter(&plain);
    if (sweep->is_emulated)
        wt_term_banner(term, "EMULATED", sweep->emulation, "no real device was measured");
    else if (sweep->run_count && sweep->runs[0].is_replayed)
        wt_term_banners(term, &sweep->runs[0]);
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), sweep->row_count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < sweep->row_count; i++)
            put_row(&table, sweep, i);
        wt_table_print(&table);
    }
    wt_table_done(&table);
    if (!sweep->is_emulated) { /* the banner says it of those */
        char text[80];
        enum wt_provenance weakest = WT_PROV_COUNTER;
        for (size_t i = 0; i < sweep->row_count; i++)
            if (sweep->rows[i].provenance < weakest)
                weakest = sweep->rows[i].provenance;
        wt_text(text, sizeof(text), "energy by: %s", wt_provenance_name(weakest));
        wt_term_wrap(term, weakest <= WT_PROV_MODELED ? WT_YELLOW : WT_DIM, "  ", text);
    }
    fputc('\n', term->out);
    wt_term_wrap(term, sweep->is_saving_real ? WT_GREEN : WT_BOLD, "  ", sweep->advice);
    if (sweep->apply[0])
        wt_term_wrap(term, WT_PLAIN, "  apply it: ", sweep->apply);
    for (size_t i = 0; i < sweep->warning_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", sweep->warnings[i]);
    wt_plain_leave(&plain);
}

/* ---- a search ---- */

/* Ratio of a point to the reference, by the interval of the point alone: the reference's own is
 * shown in its row. */
static struct wt_estimate ratio_of(const struct wt_estimate *e, const struct wt_estimate *reference)
{
    return (struct wt_estimate){e->value / reference->value, e->low / reference->value,
                                e->high / reference->value};
}

/* Head of a column for what was made small, where that is neither the devices' energy nor the time;
 * NULL: it is. */
static const char *goal_head(const struct wt_goal *goal)
{
    switch (goal->objective) {
    case WT_OBJECTIVE_ENERGY:
        return goal->host_w > 0 ? "with the rest" : NULL;
    case WT_OBJECTIVE_EDP:
        return "rel. EDP";
    case WT_OBJECTIVE_COST:
        return "rel. cost";
    case WT_OBJECTIVE_CARBON:
        return "rel. carbon";
    case WT_OBJECTIVE_ETA:
        return "weighed";
    case WT_OBJECTIVE_TIME:
        break;
    }
    return NULL;
}

/* last: the number of the last column; with the goal's there is one more. */
static void put_point(struct wt_table *table, size_t row, const struct wt_search_result *r,
                      size_t i, size_t last)
{
    const struct wt_search_point *p = &r->points[i], *ref = &r->points[r->reference];
    struct wt_estimate time = ratio_of(&p->time_s, &ref->time_s),
                       energy = ratio_of(&p->energy_j, &ref->energy_j);
    char text[120];
    wt_table_set(table, row, 0, "%s%s",
                 i == r->choice ? (table->term->is_utf8 ? "\u25b8" : ">") : "",
                 i == r->reference ? "=" : "");
    wt_table_set(table, row, 1, "%s", wt_search_words(r, p->values, text, sizeof(text)));
    wt_table_set(table, row, 2, "%zu", p->readings);
    wt_table_watts(table, row, 3, p->energy_j.value / p->time_s.value);
    put_ratio(table, row, 4, &time);
    put_ratio(table, row, 5, &energy);
    if (last == 8) {
        struct wt_estimate value = ratio_of(&p->value, &ref->value);
        put_ratio(table, row, 6, &value);
    }
    if (!isnan(p->breakeven_w) && i != r->reference)
        wt_table_set(table, row, last - 1, "%.0f W", p->breakeven_w);
    wt_table_set(table, row, last, "%s",
                 i == r->choice      ? (i == r->reference ? "reference, keep" : "choice")
                 : i == r->reference ? "reference"
                 : p->is_tied        ? "tie"
                 : !p->is_admissible ? "beyond the limits"
                 : i == r->best      ? "lowest"
                                     : "");
    table->colours[row] = i == r->choice ? WT_GREEN : WT_PLAIN;
}

/* The rows by setting, the order of measuring aside. */
static bool is_lower(const struct wt_search_result *r, size_t a, size_t b)
{
    for (size_t k = 0; k < r->axis_count; k++)
        if (r->points[a].values[k] != r->points[b].values[k])
            return r->points[a].values[k] < r->points[b].values[k];
    return false;
}

void wt_report_search(const struct wt_term *term, const struct wt_search_result *result,
                      const struct wt_search_story *story)
{
    const struct wt_search_result *r = result;
    const char *goal = goal_head(&r->goal);
    size_t last = goal ? 8 : 7;
    const struct wt_column columns[] = {
        {"", false, NULL},
        {"setting", true, NULL},
        {"readings", true, "read"},
        {"mean", true, NULL},
        {"rel. time", false, NULL},
        {"rel. energy", false, NULL},
        goal ? (struct wt_column){goal, false, NULL}
             : (struct wt_column){"saves below", true, NULL},
        {goal ? "saves below" : "", goal != NULL, NULL},
        {"", false, NULL},
    };
    const struct wt_table_step steps[] = {
        {4, WT_BRIEF},  {5, WT_BRIEF},  {goal ? 6 : 5, WT_BRIEF}, {2, WT_BRIEF},
        {2, WT_HIDDEN}, {3, WT_HIDDEN}, {last - 1, WT_HIDDEN},    {4, WT_HIDDEN},
    };
    struct wt_plain plain;
    struct wt_table table;
    char text[700];
    wt_plain_enter(&plain);
    if (story->emulation && *story->emulation)
        wt_term_banner(term, "EMULATED", story->emulation, "no real device was measured");
    else if (story->provenance == WT_PROV_REPLAYED)
        wt_term_banner(term, "REPLAYED", story->source, "nothing was measured here");
    size_t *order = calloc(r->point_count, sizeof(*order));
    if (order && wt_table_init(&table, term, columns, last + 1, r->point_count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < r->point_count; i++) {
            size_t k = i;
            for (; k > 0 && is_lower(r, i, order[k - 1]); k--)
                order[k] = order[k - 1];
            order[k] = i;
        }
        for (size_t i = 0; i < r->point_count; i++)
            put_point(&table, i, r, order[i], last);
        wt_table_print(&table);
        wt_table_done(&table);
    }
    free(order);
    fputc('\n', term->out);
    wt_term_wrap(term, r->is_saving_real ? WT_GREEN : WT_BOLD, "  ",
                 wt_search_advice(r, story, text, sizeof(text)));
    for (size_t i = 0; i < r->warning_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", r->warnings[i]);
    for (size_t i = 0; i < story->remark_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", story->remarks[i]);
    wt_plain_leave(&plain);
}
