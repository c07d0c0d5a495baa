/* fleet: a replay for people - each case against the baseline, who waits for it, what it rests on.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"
#include "record/record.h"
#include "report/table.h"

#define GROUPS_SHOWN 5

static const char *scaled(char *buf, size_t size, double value, const char *const units[3])
{
    int step = 0;
    if (isnan(value))
        return wt_text(buf, size, "unknown");
    for (; step < 2 && fabs(value) >= 999.5; step++)
        value /= 1000;
    int digits = fabs(value) >= 99.95 ? 0 : fabs(value) >= 9.995 ? 1 : 2;
    return wt_text(buf, size, "%.*f %s", digits, value, units[step]);
}

static const char *const kwh[3] = {"kWh", "MWh", "GWh"};
static const char *const grams[3] = {"g", "kg", "t"};
static const char *const money[3] = {"", "k", "M"};

/* "4.5 h": waits are compared, so that a number and a unit are enough. */
static const char *wait_text(char *buf, size_t size, double s)
{
    if (isnan(s))
        return wt_text(buf, size, "unknown");
    double a = fabs(s);
    return a < 59.5      ? wt_text(buf, size, "%.0f s", s)
           : a < 3570    ? wt_text(buf, size, "%.0f min", s / 60)
           : a < 35.95e3 ? wt_text(buf, size, "%.1f h", s / 3600)
           : a < 172.8e3 ? wt_text(buf, size, "%.0f h", s / 3600)
           : a < 863.5e3 ? wt_text(buf, size, "%.1f d", s / 86400)
                         : wt_text(buf, size, "%.0f d", s / 86400);
}

static double energy_of(const struct wt_fleet_case *c)
{
    return isnan(c->energy_kwh) ? c->jobs_kwh : c->energy_kwh;
}

/* What a case saves of: the facility's energy (without a PUE the nodes'), or carbon, or cost. */
static double value_of(const struct wt_fleet_result *r, const struct wt_fleet_case *c, int what)
{
    return what == WT_OBJECTIVE_CARBON       ? c->carbon_g
           : what == WT_OBJECTIVE_COST       ? c->cost
           : r->place.signals[WT_SIGNAL_PUE] ? c->facility_kwh
                                             : energy_of(c);
}

/* The share that a case saves against the baseline, which may be below 0 (a price); NaN: not
 * known. */
static double saved_of(const struct wt_fleet_result *r, const struct wt_fleet_case *c, int what)
{
    double base = value_of(r, &r->cases[0], what);
    return fabs(base) > 0 ? (base - value_of(r, c, what)) / fabs(base) : NAN;
}

/* The objective, where there is a signal for it. */
static int what_of(const struct wt_fleet_result *r)
{
    int what = (int)r->policy.objective;
    bool is_known = (what == WT_OBJECTIVE_CARBON && r->place.signals[WT_SIGNAL_CARBON]) ||
                    (what == WT_OBJECTIVE_COST && r->place.signals[WT_SIGNAL_PRICE]);
    return is_known ? what : WT_OBJECTIVE_ENERGY;
}

static const char *case_name(const struct wt_fleet_case *c)
{
    return c->has_caps && c->has_shifts ? "both"
           : c->has_caps                ? "caps"
           : c->has_shifts              ? "shift"
                                        : "as it was";
}

/* ---- the table of cases ---- */

enum { NAME, ENERGY, FACILITY, CARBON, COST, SAVED, MEDIAN, MEAN, P95, USE, SPAN, TABLE_COLUMNS };

static void put_case(struct wt_table *table, size_t row, const struct wt_fleet_result *r, int what)
{
    const struct wt_fleet_case *c = &r->cases[row];
    char text[64];
    bool is_last = row && row + 1 == r->case_count;
    wt_table_set(table, row, NAME, "%s%s",
                 is_last ? (table->term->is_utf8 ? "\xe2\x96\xb8 " : "> ") : "  ", case_name(c));
    wt_table_set(table, row, ENERGY, "%s", scaled(text, sizeof(text), energy_of(c), kwh));
    if (r->place.signals[WT_SIGNAL_PUE])
        wt_table_set(table, row, FACILITY, "%s", scaled(text, sizeof(text), c->facility_kwh, kwh));
    if (r->place.signals[WT_SIGNAL_CARBON])
        wt_table_set(table, row, CARBON, "%s", scaled(text, sizeof(text), c->carbon_g, grams));
    if (r->place.signals[WT_SIGNAL_PRICE])
        wt_table_set(table, row, COST, "%s", scaled(text, sizeof(text), c->cost, money));
    double saved = saved_of(r, c, what);
    if (row)
        wt_table_set(table, row, SAVED, isnan(saved) ? "unknown" : "%.1f %%", 100 * saved);
    wt_table_set(table, row, MEDIAN, "%s", wait_text(text, sizeof(text), c->wait_s.median));
    wt_table_set(table, row, MEAN, "%s", wait_text(text, sizeof(text), c->wait_s.mean));
    wt_table_set(table, row, P95, "%s", wait_text(text, sizeof(text), c->wait_s.p95));
    wt_table_set(table, row, USE, "%.1f %%", 100 * c->utilisation);
    wt_table_set(table, row, SPAN, "%s",
                 wait_text(text, sizeof(text), (double)(c->end_s - c->start_s)));
    table->colours[row] = is_last ? WT_GREEN : row ? WT_PLAIN : WT_DIM;
}

static void print_cases(const struct wt_term *term, const struct wt_fleet_result *r, int what)
{
    static const struct wt_column columns[TABLE_COLUMNS] = {
        {"", false, NULL},
        {"energy", true, NULL},
        {"facility", true, NULL},
        {"carbon", true, NULL},
        {"cost", true, NULL},
        {"saved", true, NULL},
        {"wait: median", true, "median"},
        {"mean", true, NULL},
        {"95 %", true, NULL},
        {"in use", true, NULL},
        {"makespan", true, NULL},
    };
    static const struct wt_table_step steps[] = {
        {SPAN, WT_HIDDEN},   {USE, WT_HIDDEN}, {MEDIAN, WT_BRIEF},
        {ENERGY, WT_HIDDEN}, {P95, WT_HIDDEN}, {COST, WT_HIDDEN},
    };
    struct wt_table table;
    if (wt_table_init(&table, term, columns, TABLE_COLUMNS, r->case_count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < r->case_count; i++)
            put_case(&table, i, r, what);
        wt_table_print(&table);
    }
    wt_table_done(&table);
}

/* ---- who is slowed ---- */

static void put_group(struct wt_table *table, size_t row, const struct wt_fleet_group *g,
                      const char *kind)
{
    char text[64];
    double more_s = g->turnaround_s[1] - g->turnaround_s[0];
    wt_table_set(table, row, 0, "%s %.40s", kind, *g->name ? g->name : "(none)");
    wt_term_clean(table->term, wt_table_cell(table, row, 0)->full);
    wt_table_set(table, row, 1, "%zu", g->jobs);
    wt_table_set(table, row, 2, "%s", wait_text(text, sizeof(text), g->wait_s[0]));
    wt_table_set(table, row, 3, "%s", wait_text(text, sizeof(text), g->wait_s[1]));
    wait_text(text, sizeof(text), more_s);
    wt_table_set(table, row, 4, "%s%s", more_s > 0 ? "+" : "", text);
    wt_table_set(table, row, 5, "%.0f %%", 100 * (double)g->slowed / (double)g->jobs);
}

static void print_groups(const struct wt_term *term, const struct wt_fleet_result *r)
{
    static const struct wt_column columns[] = {{"slowed most, by a job", false, NULL},
                                               {"jobs", true, NULL},
                                               {"waited", true, NULL},
                                               {"waits", true, NULL},
                                               {"to its end", true, NULL},
                                               {"slowed", true, NULL}};
    static const struct wt_table_step steps[] = {{2, WT_HIDDEN}, {3, WT_HIDDEN}, {1, WT_HIDDEN}};
    const char *kind = r->classes_of == WT_FLEET_QUEUE ? "queue" : "partition";
    size_t classes = r->class_count < GROUPS_SHOWN ? r->class_count : GROUPS_SHOWN;
    size_t users = r->user_count < GROUPS_SHOWN ? r->user_count : GROUPS_SHOWN;
    struct wt_table table;
    fputc('\n', term->out);
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), classes + users)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < classes; i++)
            put_group(&table, i, &r->classes[i], kind);
        for (size_t i = 0; i < users; i++)
            put_group(&table, classes + i, &r->users[i], "user");
        wt_table_print(&table);
    }
    wt_table_done(&table);
}

/* ---- in words ---- */

static void print_sentence(const struct wt_term *term, const struct wt_fleet_result *r, int what)
{
    const struct wt_fleet_case *base = &r->cases[0], *last = &r->cases[r->case_count - 1];
    static const char *const things[] = {[WT_OBJECTIVE_ENERGY] = "energy",
                                         [WT_OBJECTIVE_COST] = "cost",
                                         [WT_OBJECTIVE_CARBON] = "CO2e"};
    char text[500], waits[2][32], chosen[64] = "", own[32];
    double saved = saved_of(r, last, what);
    if (isnan(saved))
        wt_text(text, sizeof(text), "What the policy saves is not known: ");
    else
        wt_text(text, sizeof(text), "%.1f %% %s %s than without the policy: ", fabs(100 * saved),
                saved < 0 ? "more" : "less",
                what == WT_OBJECTIVE_ENERGY && r->place.signals[WT_SIGNAL_PUE] ? "facility energy"
                                                                               : things[what]);
    if (last->has_shifts)
        wt_text(chosen, sizeof(chosen), " (%s of it the shift's choice)",
                wait_text(own, sizeof(own), last->chosen_s));
    size_t n = strlen(text);
    wt_text(text + n, sizeof(text) - n,
            "jobs wait %s%s instead of %s on average; %.1f %% of them end more than a tenth later, "
            "%.1f %% more than a tenth earlier.",
            wait_text(waits[0], sizeof(waits[0]), last->wait_s.mean), chosen,
            wait_text(waits[1], sizeof(waits[1]), base->wait_s.mean),
            100 * (double)r->slowed / (double)r->jobs,
            100 * (double)r->quickened / (double)r->jobs);
    fputc('\n', term->out);
    wt_term_wrap(term, saved > 0 ? WT_GREEN : WT_BOLD, "  ", text);
    if (r->policy.rebound > 0) {
        wt_text(text, sizeof(text), "In it are %zu more jobs, by a rebound of %.0f %%.",
                last->added, 100 * r->policy.rebound);
        wt_term_wrap(term, WT_PLAIN, "  ", text);
    }
}

static void print_cap(const struct wt_term *term, const struct wt_fleet_result *r)
{
    const struct wt_fleet_case *last = &r->cases[r->case_count - 1];
    char ends[3][32], sum[200];
    for (size_t i = 0; i < r->policy.cap_count; i++) {
        const struct wt_fleet_cap *c = &r->caps[i];
        char node[64] = "", text[300];
        if (!isnan(c->node_w))
            wt_text(node, sizeof(node), "; a node draws %.4g W instead of %.4g W", c->node_w,
                    r->cluster.busy_w);
        wt_text(text, sizeof(text),
                "%s%s at %g W by the curve: %.3f [%.3f, %.3f] of the time and %.3f [%.3f, %.3f] of "
                "the energy of a card at %g W%s.",
                r->policy.caps[i].of == WT_FLEET_ALL ? "Cards" : r->policy.caps[i].name,
                r->policy.caps[i].of == WT_FLEET_ALL ? "" : "'s cards", r->policy.caps[i].cap_w,
                c->time_ratio.value, c->time_ratio.low, c->time_ratio.high, c->energy_ratio.value,
                c->energy_ratio.low, c->energy_ratio.high, r->reference_w, node);
        wt_term_wrap(term, WT_PLAIN, "  ", text);
    }
    if (!isnan(last->jobs_low_kwh)) {
        wt_text(sum, sizeof(sum),
                "With it nodes with a job take %s [%s, %s], by the curve's 95 %% and each job "
                "started when it is.",
                scaled(ends[0], sizeof(ends[0]), last->jobs_kwh, kwh),
                scaled(ends[1], sizeof(ends[1]), last->jobs_low_kwh, kwh),
                scaled(ends[2], sizeof(ends[2]), last->jobs_high_kwh, kwh));
        wt_term_wrap(term, WT_PLAIN, "  ", sum);
    }
}

void wt_report_fleet(const struct wt_term *term, const struct wt_fleet_result *r)
{
    struct wt_plain plain;
    char text[200], span[48], recorded[2][32];
    int what = what_of(r);
    wt_plain_enter(&plain);
    wt_term_banner(term, "MODELED", r->trace->name, "a recorded trace replayed, nothing measured");
    if (*r->emulation)
        wt_term_banner(term, "EMULATED", r->emulation, "the curve was not measured on a device");
    wt_text(text, sizeof(text), "%zu jobs in %s on %lld nodes%s", r->jobs,
            wt_span_text(span, sizeof(span),
                         r->trace->jobs[r->trace->count - 1].submit_s - r->trace->jobs[0].submit_s),
            (long long)r->cluster.nodes, r->cluster.is_shared ? ", which jobs share" : "");
    wt_term_wrap(term, WT_PLAIN, "  ", text);
    print_cases(term, r, what);
    if (!isnan(r->recorded_wait_s[0])) {
        wt_text(text, sizeof(text), "in the trace itself: wait %s median, %s mean",
                wait_text(recorded[0], sizeof(recorded[0]), r->recorded_wait_s[0]),
                wait_text(recorded[1], sizeof(recorded[1]), r->recorded_wait_s[1]));
        wt_term_wrap(term, WT_DIM, "  ", text);
    }
    if (r->case_count > 1) {
        print_sentence(term, r, what);
        print_cap(term, r);
        print_groups(term, r);
    }
    for (size_t i = 0; i < r->note_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", r->notes[i].text);
    wt_plain_leave(&plain);
}
