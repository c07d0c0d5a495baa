/* plan: a plan for people - each place against now, a line of time, the sentence, what it rests on.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"
#include "record/record.h"
#include "report/table.h"

/* "Sat 2020-07-04 02:00"; seconds only where there are some. */
static const char *moment(char *buf, size_t size, int64_t t_s)
{
    static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    char text[32];
    int64_t day = t_s / 86400 - (t_s % 86400 < 0);
    wt_moment_text(text, sizeof(text), t_s);
    text[10] = '\0';
    text[t_s % 60 ? 19 : 16] = '\0';
    return wt_text(buf, size, "%s %s %s", days[(day % 7 + 7) % 7], text, text + 11);
}

/* units: of a thousandth, of one, of a thousand. A short job's figures are small, and not 0.000. */
static const char *scaled(char *buf, size_t size, double value, const char *const units[3])
{
    int unit = fabs(value) >= 1000 ? 2 : fabs(value) >= 0.1 || !(fabs(value) > 0) ? 1 : 0;
    if (isnan(value))
        return wt_text(buf, size, "unknown");
    value *= unit == 2 ? 1e-3 : unit == 0 ? 1e3 : 1;
    if (unit == 0 && fabs(value) < 0.01)
        return wt_text(buf, size, "%.2g %s", value, units[unit]);
    int digits = fabs(value) >= 99.95    ? 0
                 : fabs(value) >= 9.995  ? 1
                 : fabs(value) >= 0.9995 ? 2
                                         : 3;
    return wt_text(buf, size, "%.*f %s", digits, value, units[unit]);
}

static const char *const grams[] = {"mg", "g", "kg"}, *const kilowatthours[] = {"Wh", "kWh", "MWh"};

static const char *money(char *buf, size_t size, double value)
{
    if (isnan(value))
        return wt_text(buf, size, "unknown");
    return wt_text(buf, size, fabs(value) > 0 && fabs(value) < 0.1 ? "%.2g" : "%.2f", value);
}

static const char *amount(char *buf, size_t size, const struct wt_plan_sum *sum,
                          enum wt_objective objective)
{
    if (objective == WT_OBJECTIVE_CARBON)
        return scaled(buf, size, sum->carbon_g, grams);
    if (objective == WT_OBJECTIVE_COST)
        return money(buf, size, sum->cost);
    return scaled(buf, size, sum->facility_kwh, kilowatthours);
}

enum { REGION, WHAT, START, END, PIECES, ENERGY, CARBON, COST, SAVED };

static void put_row(struct wt_table *table, size_t row, const struct wt_plan_result *r,
                    size_t place, bool is_now, bool has_pue)
{
    const struct wt_plan *plan = &r->plans[place];
    const struct wt_plan_sum *sum = is_now ? &plan->baseline : &plan->sum;
    bool is_best = !is_now && place == r->best;
    char text[64];
    wt_table_set(table, row, REGION, "%s", is_now ? "" : r->places[place].region);
    wt_table_set(table, row, WHAT, "%s%s",
                 is_best ? (table->term->is_utf8 ? "\xe2\x96\xb8 " : "> ") : "  ",
                 is_now ? "now" : "plan");
    wt_table_set(table, row, START, "%s", moment(text, sizeof(text), sum->start_s));
    wt_table_set(table, row, END, "%s", moment(text, sizeof(text), sum->end_s));
    struct wt_cell *start = wt_table_cell(table, row, START), *end = wt_table_cell(table, row, END);
    wt_text(start->brief, sizeof(start->brief), "%.42s", start->full + 4);
    wt_text(end->brief, sizeof(end->brief), "%.42s", end->full + 4);
    wt_table_set(table, row, PIECES, "%zu", is_now ? (size_t)1 : plan->count);
    wt_table_set(
        table, row, ENERGY, "%s",
        scaled(text, sizeof(text), has_pue ? sum->facility_kwh : sum->energy_kwh, kilowatthours));
    if (r->places[place].signals[WT_SIGNAL_CARBON])
        wt_table_set(table, row, CARBON, "%s", scaled(text, sizeof(text), sum->carbon_g, grams));
    if (r->places[place].signals[WT_SIGNAL_PRICE])
        wt_table_set(table, row, COST, "%s", money(text, sizeof(text), sum->cost));
    if (!is_now)
        wt_table_set(table, row, SAVED, isnan(plan->saving) ? "unknown" : "%.1f %%",
                     100 * plan->saving);
    table->colours[row] = is_best ? WT_GREEN : is_now ? WT_DIM : WT_PLAIN;
}

static void print_table(const struct wt_term *term, const struct wt_plan_result *r)
{
    bool has_pue = true; /* everywhere: else a job's own energy, which all places have */
    for (size_t i = 0; i < r->count; i++)
        has_pue &= r->places[i].signals[WT_SIGNAL_PUE] != NULL;
    const struct wt_column columns[] = {
        {"", false, NULL},
        {"", false, NULL},
        {"start (UTC)", false, NULL},
        {"end", false, NULL},
        {"pieces", true, NULL},
        {has_pue ? "facility" : "energy", true, NULL},
        {"carbon", true, NULL},
        {"cost", true, NULL},
        {"saved", true, NULL},
    };
    static const struct wt_table_step steps[] = {
        {END, WT_BRIEF},  {START, WT_BRIEF},   {PIECES, WT_HIDDEN},
        {END, WT_HIDDEN}, {ENERGY, WT_HIDDEN},
    };
    struct wt_table table;
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), 2 * r->count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < r->count; i++) {
            put_row(&table, 2 * i, r, i, false, has_pue);
            put_row(&table, 2 * i + 1, r, i, true, has_pue);
        }
        wt_table_print(&table);
    }
    wt_table_done(&table);
}

/* ---- the line of time ---- */

enum { LINE_MAX_COLUMNS = 120 };

/* Seconds of a plan between two moments. */
static int64_t run_between(const struct wt_plan *plan, int64_t from_s, int64_t to_s)
{
    int64_t run_s = 0;
    for (size_t i = 0; i < plan->count; i++) {
        int64_t a = plan->segments[i].start_s > from_s ? plan->segments[i].start_s : from_s;
        int64_t b = plan->segments[i].end_s < to_s ? plan->segments[i].end_s : to_s;
        run_s += b > a ? b - a : 0;
    }
    return run_s;
}

static void print_line(const struct wt_term *term, const struct wt_plan_result *r)
{
    static const char *const bars[] = {"\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83",
                                       "\xe2\x96\x84", "\xe2\x96\x85", "\xe2\x96\x86",
                                       "\xe2\x96\x87", "\xe2\x96\x88"};
    const struct wt_plan *plan = &r->plans[r->best];
    unsigned width = term->width ? term->width : 80;
    size_t columns = width > LINE_MAX_COLUMNS + 12 ? LINE_MAX_COLUMNS
                     : width > 32                  ? width - 12
                                                   : 20;
    int64_t span_s = r->job.deadline_s - r->job.start_s;
    size_t rows[WT_SIGNAL_KINDS] = {0};
    double rates[LINE_MAX_COLUMNS], low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < columns; i++) {
        int64_t until_s,
            at_s = r->job.start_s + (int64_t)((double)span_s * ((double)i + 0.5) / (double)columns);
        rates[i] = wt_place_rate(&r->places[r->best], r->job.objective, rows, at_s, &until_s);
        low = fmin(low, rates[i]);
        high = fmax(high, rates[i]);
    }
    const char *what = r->job.objective == WT_OBJECTIVE_CARBON ? "g/kWh"
                       : r->job.objective == WT_OBJECTIVE_COST ? "a kWh"
                                                               : "PUE";
    fprintf(term->out, "\n  %-8s", what);
    for (size_t i = 0; i < columns; i++) {
        if (isnan(rates[i])) {
            fputc('?', term->out);
            continue;
        }
        int level = high > low ? (int)(7.999 * (rates[i] - low) / (high - low)) : 0;
        if (term->is_utf8)
            fputs(bars[level], term->out);
        else
            fputc('1' + level, term->out);
    }
    fprintf(term->out, "\n  %-8s", "runs");
    for (size_t i = 0; i < columns; i++) {
        int64_t from_s = r->job.start_s + (int64_t)((double)span_s * (double)i / (double)columns);
        int64_t to_s =
            r->job.start_s + (int64_t)((double)span_s * (double)(i + 1) / (double)columns);
        int64_t run_s = run_between(plan, from_s, to_s);
        bool is_most = 2 * run_s >= to_s - from_s;
        fputs(!run_s           ? (term->is_utf8 ? "\xc2\xb7" : ".")
              : !term->is_utf8 ? (is_most ? "#" : "+")
              : is_most        ? "\xe2\x96\x88"
                               : "\xe2\x96\x8c",
              term->out);
    }
    char from[48], to[48];
    moment(from, sizeof(from), r->job.start_s);
    moment(to, sizeof(to), r->job.deadline_s);
    int gap = (int)columns - (int)strlen(from) - (int)strlen(to);
    fprintf(term->out, "\n  %-8s%s%*s%s\n", "", from, gap > 1 ? gap : 1, "", gap > 1 ? to : "");
}

/* ---- in words ---- */

static void print_sentence(const struct wt_term *term, const struct wt_plan_result *r)
{
    const struct wt_plan *plan = &r->plans[r->best], *home = &r->plans[0];
    static const char *const less[] = {[WT_OBJECTIVE_ENERGY] = "less facility energy",
                                       [WT_OBJECTIVE_COST] = "less cost",
                                       [WT_OBJECTIVE_CARBON] = "less CO2e"};
    char when[48], later[48], from[48], to[48], text[400], where[80] = "";
    if (r->count > 1)
        wt_text(where, sizeof(where), " in %s", r->places[r->best].region);
    moment(when, sizeof(when), plan->sum.start_s);
    int64_t wait_s = plan->sum.start_s - r->job.start_s;
    if (plan->count == 1 && !wait_s)
        wt_text(text, sizeof(text), "Start at once%s", where);
    else if (plan->count == 1)
        wt_text(text, sizeof(text), "Start%s at %s UTC, %s later", where, when,
                wt_span_text(later, sizeof(later), wait_s));
    else
        wt_text(text, sizeof(text), "Run%s in %zu pieces, from %s UTC on", where, plan->count,
                when);
    size_t n = strlen(text);
    if (plan->count == 1 && !wait_s && r->best == 0)
        wt_text(text + n, sizeof(text) - n, ": nothing before the deadline is better.");
    else if (isnan(r->saving))
        wt_text(text + n, sizeof(text) - n, ": %s; against starting now nothing can be told.",
                amount(to, sizeof(to), &plan->sum, r->job.objective));
    else
        wt_text(text + n, sizeof(text) - n,
                ": %.1f %% %s than starting now%s%s (%s instead of %s).", 100 * r->saving,
                less[r->job.objective], r->count > 1 ? " in " : "",
                r->count > 1 ? r->places[0].region : "",
                amount(to, sizeof(to), &plan->sum, r->job.objective),
                amount(from, sizeof(from), &home->baseline, r->job.objective));
    fputc('\n', term->out);
    wt_term_wrap(term, r->saving > 0 ? WT_GREEN : WT_BOLD, "  ", text);
}

enum { PIECES_SHOWN = 12 };

static void print_pieces(const struct wt_term *term, const struct wt_plan *plan)
{
    if (plan->count < 2)
        return;
    fputc('\n', term->out);
    for (size_t i = 0; i < plan->count && i < PIECES_SHOWN; i++) {
        char from[48], to[48], span[48];
        const struct wt_segment *s = &plan->segments[i];
        fprintf(term->out, "  %-22s to %-22s %s\n", moment(from, sizeof(from), s->start_s),
                moment(to, sizeof(to), s->end_s),
                wt_span_text(span, sizeof(span), s->end_s - s->start_s));
    }
    if (plan->count > PIECES_SHOWN)
        fprintf(term->out, "  and %zu more: --json has them all\n", plan->count - PIECES_SHOWN);
}

void wt_report_plan(const struct wt_term *term, const struct wt_plan_result *r)
{
    struct wt_plain plain;
    wt_plain_enter(&plain);
    if (*r->power.prediction)
        wt_term_banner(term, "PREDICTED", r->power.prediction,
                       r->power.provenance == WT_PROV_UNKNOWN ? "its time was not measured"
                       : r->power.time_high_s > 0             ? "power and time were not measured"
                                                              : "its power was not measured");
    else if (*r->power.emulation)
        wt_term_banner(term, "EMULATED", r->power.emulation,
                       r->power.provenance == WT_PROV_UNKNOWN
                           ? "its time was not measured on a device"
                           : "its power was not measured on a device");
    else if (r->power.provenance == WT_PROV_REPLAYED)
        wt_term_banner(term, "REPLAYED", r->power.run_id, "its power was not measured here");
    print_table(term, r);
    print_line(term, r);
    print_pieces(term, &r->plans[r->best]);
    print_sentence(term, r);
    for (size_t i = 0; i < r->note_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", r->notes[i].text);
    wt_plain_leave(&plain);
}
