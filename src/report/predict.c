/* predict: a prediction for people - a pass, all of the work, what decides it, what it rests on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "report/table.h"
#include "report/words.h"

enum { WHAT, TIME, POWER, ENERGY, TOKEN };

static void put_seconds(struct wt_table *table, size_t row, const struct wt_estimate *e)
{
    struct wt_cell *cell = wt_table_cell(table, row, TIME);
    char value[40], low[40], high[40];
    wt_short_seconds(value, sizeof(value), e->value);
    wt_table_set(table, row, TIME, "%s [%s, %s]", value, wt_short_seconds(low, sizeof(low), e->low),
                 wt_short_seconds(high, sizeof(high), e->high));
    wt_text(cell->brief, sizeof(cell->brief), "%s", value);
}

static void put_joules(struct wt_table *table, size_t row, size_t column,
                       const struct wt_estimate *e)
{
    struct wt_joules j = {e->value, e->low, e->high, WT_PROV_MODELED};
    struct wt_cell *cell = wt_table_cell(table, row, column);
    char text[80];
    wt_table_set(table, row, column, "%s", wt_format_interval(text, sizeof(text), &j));
    wt_format_joules(cell->brief, sizeof(cell->brief), e->value);
}

static void put_watts(struct wt_table *table, size_t row, const struct wt_estimate *e)
{
    struct wt_cell *cell = wt_table_cell(table, row, POWER);
    wt_table_set(table, row, POWER, "%.0f W [%.0f, %.0f]", e->value, e->low, e->high);
    wt_text(cell->brief, sizeof(cell->brief), "%.0f W", e->value);
}

static void print_table(const struct wt_term *term, const struct wt_predict_job *job)
{
    static const struct wt_column columns[] = {{"", false, NULL},
                                               {"time", true, NULL},
                                               {"power", true, NULL},
                                               {"energy", true, NULL},
                                               {"per token", true, NULL}};
    static const struct wt_table_step steps[] = {{POWER, WT_BRIEF},  {TIME, WT_BRIEF},
                                                 {TOKEN, WT_BRIEF},  {ENERGY, WT_BRIEF},
                                                 {TOKEN, WT_HIDDEN}, {POWER, WT_HIDDEN}};
    struct wt_table table;
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), job->part_count + 1)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        table.is_whole = true; /* an interval is left out, never cut */
        for (size_t i = 0; i < job->part_count; i++) {
            const struct wt_prediction *r = &job->parts[i].each;
            wt_table_set(&table, i, WHAT, "a pass of %s", job->parts[i].name);
            put_seconds(&table, i, &r->pass_s);
            put_watts(&table, i, &r->power_w);
            put_joules(&table, i, ENERGY, &r->energy_j);
            put_joules(&table, i, TOKEN, &r->j_per_token);
        }
        size_t all = job->part_count;
        char count[32];
        wt_table_set(&table, all, WHAT, "%s tokens", wt_grouped(count, sizeof(count), job->tokens));
        put_seconds(&table, all, &job->time_s);
        put_watts(&table, all, &job->power_w);
        put_joules(&table, all, ENERGY, &job->energy_j);
        put_joules(&table, all, TOKEN, &job->j_per_token);
        table.colours[all] = WT_BOLD;
        wt_table_print(&table);
    }
    wt_table_done(&table);
}

static void say_amount(const struct wt_term *term, const char *lead, const char *unit,
                       const struct wt_estimate *e, double scale)
{
    char text[120], value[40], low[40], high[40];
    if (isnan(e->value))
        return;
    wt_text(text, sizeof(text), "%s [%s, %s]",
            wt_three_digits(value, sizeof(value), e->value * scale, unit),
            wt_three_digits(low, sizeof(low), e->low * scale, ""),
            wt_three_digits(high, sizeof(high), e->high * scale, ""));
    wt_term_wrap(term, WT_PLAIN, lead, text);
}

/* Whose figure it is, where that is more than what was typed. */
static void say_source(const struct wt_term *term, const char *lead, double value, const char *unit,
                       const char *source)
{
    char text[500];
    if (isnan(value) || !*source || strncmp(source, "--", 2) == 0)
        return;
    wt_text(text, sizeof(text), "%.6g%s: %s", value, unit, source);
    wt_term_wrap(term, WT_DIM, lead, text);
}

static void say_limits(const struct wt_term *term, const struct wt_predict_job *job)
{
    for (size_t i = 0; i < job->part_count; i++) {
        const struct wt_prediction *r = &job->parts[i].each;
        char text[300], lead[40];
        wt_text(text, sizeof(text), "limited by %s: compute %.0f %% of the time, memory %.0f %%",
                wt_prediction_limit(r), 100 * r->compute_share, 100 * r->memory_share);
        const struct {
            double share;
            const char *name;
        } rows[] = {{r->launch_share, "launches"},
                    {r->link_share, "the link between devices"},
                    {r->host_share, "the host"}};
        for (size_t k = 0; k < WT_COUNTOF(rows); k++)
            if (rows[k].share >= 0.005) {
                size_t used = strlen(text);
                wt_text(text + used, sizeof(text) - used, ", %s %.0f %%", rows[k].name,
                        100 * rows[k].share);
            }
        wt_text(lead, sizeof(lead), "  %-10s", job->parts[i].name);
        wt_term_wrap(term, WT_PLAIN, lead, text);
    }
}

/* What the bounds stand on. */
static const char *basis_words(const struct wt_prediction *r, char *buf, size_t size)
{
    char time[40];
    if (r->basis == WT_PREDICT_CALIBRATED)
        return wt_text(buf, size, "run %s, %s on %s%s%s%s", r->measured,
                       wt_format_seconds(time, sizeof(time), r->measured_s), r->measured_on,
                       r->emulation[0] ? ", which was made on an EMULATED " : "", r->emulation,
                       r->emulation[0] ? ": no real device was measured" : "");
    if (r->basis == WT_PREDICT_PROFILE)
        return wt_text(buf, size, "the emulator's profile %s", r->gpu.profile);
    return wt_text(buf, size,
                   "its row in %s, and what boards have in common; a run of "
                   "your own makes it narrower (--calibrate)",
                   r->gpu.origin[0] ? r->gpu.origin : "the catalogue");
}

void wt_report_predict(const struct wt_term *term, const struct wt_predict_job *job)
{
    const struct wt_prediction *r = &job->parts[0].each;
    char text[500], basis[400], memory[40], has[40], doubt[WT_PREDICT_DOUBT_SIZE + 80];
    wt_term_banner(term, "PREDICTED", r->gpu.name, "nothing was measured");
    print_table(term, job);
    fputc('\n', term->out);
    say_limits(term, job);
    double need = r->memory_gb;
    for (size_t i = 1; i < job->part_count; i++)
        need = fmax(need, job->parts[i].each.memory_gb);
    wt_three_digits(memory, sizeof(memory), need, " GB");
    if (r->gpu.memory_gb > 0) {
        wt_text(text, sizeof(text), "%s of the device's %s%s", memory,
                wt_three_digits(has, sizeof(has), r->gpu.memory_gb, " GB"),
                need > r->gpu.memory_gb ? ": IT DOES NOT FIT" : "");
        wt_term_wrap(term, need > r->gpu.memory_gb ? WT_RED : WT_PLAIN, "  memory    ", text);
    } else {
        wt_text(text, sizeof(text), "%s; what the device has is not known", memory);
        wt_term_wrap(term, WT_YELLOW, "  memory    ", text);
    }
    wt_text(text, sizeof(text), "%u x %s at %.0f W each, %.0f MHz, products in %s%s", r->devices,
            r->gpu.id, r->limit_w, r->clock_mhz, wt_prediction_dtype(r),
            r->is_hot ? ", held back by heat" : "");
    wt_term_wrap(term, WT_PLAIN, "  devices   ", text);
    if (r->gpu.origin[0] && r->basis != WT_PREDICT_ROW) {
        wt_text(text, sizeof(text), "%s is a row of your own: %s", r->gpu.id, r->gpu.origin);
        wt_term_wrap(term, WT_DIM, "  its row   ", text);
    }
    say_amount(term, "  facility  ", " kWh", &job->facility_kwh, 1);
    say_amount(term, "  carbon    ", " kg CO2e", &job->carbon_g, 1e-3);
    say_amount(term, "  cost      ", "", &job->cost, 1);
    say_source(term, "  PUE       ", job->site.pue, "", job->site.pue_source);
    say_source(term, "  a kWh     ", job->site.carbon_g_per_kwh, " g CO2e",
               job->site.carbon_source);
    wt_term_wrap(term, WT_DIM, "  rests on  ", basis_words(r, basis, sizeof(basis)));
    if (*r->doubt)
        wt_term_wrap(term, WT_YELLOW, "  doubtful  ",
                     wt_text(doubt, sizeof(doubt),
                             "%s. The bounds hold this run's and those without it", r->doubt));
}
