/* pair: two runs, or groups of runs, side by side on a terminal. */
#include <math.h>
#include <string.h>

#include "record/record.h"
#include "report/table.h"

/* "1.085 [1.081, 1.089]"; without an interval where it is not known. */
static void put_ratio(struct wt_table *table, size_t row, const struct wt_estimate *e)
{
    if (isnan(e->low))
        wt_table_set(table, row, 3, "%.3f", e->value);
    else
        wt_table_set(table, row, 3, "%.3f [%.3f, %.3f]", e->value, e->low, e->high);
}

static void put_value(struct wt_table *table, size_t row, size_t column, enum wt_pair_what what,
                      const struct wt_estimate *e, enum wt_provenance provenance)
{
    char text[96];
    const struct wt_joules joules = {e->value, e->low, e->high, provenance};
    switch (what) {
    case WT_PAIR_TIME:
        wt_table_set(table, row, column, "%s", wt_format_seconds(text, sizeof(text), e->value));
        break;
    case WT_PAIR_POWER:
        wt_table_power(table, row, column, e, provenance);
        break;
    default:
        wt_table_joules(table, row, column, &joules);
    }
}

static const char *verdict_words(const struct wt_pair_figure *f)
{
    switch (f->verdict) {
    case WT_PAIR_LOWER:
        return "B lower";
    case WT_PAIR_HIGHER:
        return "B higher";
    case WT_PAIR_UNPROVEN:
        return "not repeated";
    default:
        return "not told apart";
    }
}

static void put_rows(struct wt_table *table, const struct wt_pair *pair)
{
    static const char *const names[] = {"time", "energy", "mean power"};
    const struct wt_sweep *s = &pair->sweep;
    for (size_t i = 0; i < table->row_count; i++) {
        const struct wt_pair_figure *f = &pair->figures[i];
        if (i < WT_PAIR_PER_WORK)
            wt_table_set(table, i, 0, "%s", names[i]);
        else
            wt_table_set(table, i, 0, "energy per %s",
                         strcmp(s->work_unit, "tokens") == 0 ? "token" : s->work_unit);
        put_value(table, i, 1, (enum wt_pair_what)i, &f->a, s->rows[s->reference].provenance);
        put_value(table, i, 2, (enum wt_pair_what)i, &f->b, s->rows[!s->reference].provenance);
        put_ratio(table, i, &f->ratio);
        wt_table_set(table, i, 4, "%s", verdict_words(f));
    }
}

void wt_report_pair(const struct wt_term *term, const struct wt_pair *pair)
{
    const struct wt_sweep *s = &pair->sweep;
    const char *ratio = s->is_per_work ? "B/A, for the same work" : "B/A";
    char a[48], b[48];
    wt_text(a, sizeof(a), "A, %u run%s", s->rows[s->reference].repeats,
            s->rows[s->reference].repeats > 1 ? "s" : "");
    wt_text(b, sizeof(b), "B, %u run%s", s->rows[!s->reference].repeats,
            s->rows[!s->reference].repeats > 1 ? "s" : "");
    const struct wt_column columns[] = {
        {"", false, NULL},     {a, true, NULL},   {b, true, NULL},
        {ratio, false, "B/A"}, {"", false, NULL},
    };
    static const struct wt_table_step steps[] = {
        {1, WT_BRIEF}, {2, WT_BRIEF}, {3, WT_BRIEF}, {1, WT_HIDDEN}, {2, WT_HIDDEN},
    };
    struct wt_plain plain;
    struct wt_table table;
    wt_plain_enter(&plain);
    if (pair->is_emulated)
        wt_term_banner(term, "EMULATED", pair->origin, "no real device was measured");
    else if (pair->is_replayed)
        wt_term_banners(term, &pair->runs[0]);
    bool has_work = !isnan(pair->figures[WT_PAIR_PER_WORK].ratio.value);
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns),
                      has_work ? WT_PAIR_FIGURES : WT_PAIR_PER_WORK)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        put_rows(&table, pair);
        wt_table_print(&table);
    }
    wt_table_done(&table);
    fputc('\n', term->out);
    wt_term_wrap(term, WT_BOLD, "  ", pair->sentence);
    for (size_t i = 0; i < pair->note_count; i++)
        wt_term_wrap(term, WT_YELLOW, "  note: ", pair->notes[i]);
    wt_plain_leave(&plain);
}
