/* devices: predictions side by side - a table, and time against energy as an SVG. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "record/record.h"
#include "report/table.h"
#include "report/words.h"

enum { MARK, NAME, REGION, TIME, POWER, ENERGY, TOKEN, CARBON, COST, BEST, LIMIT };

/* A star before the best of a column, where there is no room for words. */
static void put_star(struct wt_table *table, size_t i, size_t column, bool is_best)
{
    struct wt_cell *cell = wt_table_cell(table, i, column);
    char text[sizeof(cell->full)];
    if (!is_best)
        return;
    wt_text(text, sizeof(text), "%s", cell->full);
    wt_table_set(table, i, column, "*%s", text);
    if (cell->brief[0]) {
        wt_text(text, sizeof(text), "%s", cell->brief);
        wt_text(cell->brief, sizeof(cell->brief), "*%s", text);
    }
}

/* is_narrow: signs in place of words on which is best, and which has no room for it. */
static void put_row(struct wt_table *table, size_t i, const struct wt_compare_row *row,
                    bool is_narrow)
{
    const struct wt_predict_job *job = &row->job;
    const struct wt_prediction *last = &job->parts[job->part_count - 1].each;
    struct wt_joules j = {job->energy_j.value, job->energy_j.low, job->energy_j.high,
                          WT_PROV_MODELED};
    char text[80];
    wt_table_set(table, i, MARK, "%s",
                 row->is_pareto ? (table->term->is_utf8 ? "\xe2\x96\xb8" : ">") : "");
    if (row->offer.instance[0]) { /* what a name of a cloud's means */
        struct wt_cell *cell = wt_table_cell(table, i, NAME);
        wt_table_set(table, i, NAME, "%s, %u x %s", row->offer.name, row->offer.devices,
                     row->offer.gpu.id);
        wt_text(cell->brief, sizeof(cell->brief), "%s", row->offer.name);
    } else if (row->offer.devices > 1)
        wt_table_set(table, i, NAME, "%s x %u", row->offer.name, row->offer.devices);
    else
        wt_table_set(table, i, NAME, "%s", row->offer.name);
    wt_table_set(table, i, REGION, "%s", row->offer.region);
    wt_table_set(table, i, TIME, "%s", wt_short_seconds(text, sizeof(text), job->time_s.value));
    wt_table_watts(table, i, POWER, job->power_w.value);
    wt_table_set(table, i, ENERGY, "%s", wt_format_interval(text, sizeof(text), &j));
    wt_format_joules(wt_table_cell(table, i, ENERGY)->brief,
                     sizeof(wt_table_cell(table, i, ENERGY)->brief), job->energy_j.value);
    wt_table_set(table, i, TOKEN, "%s",
                 wt_format_joules(text, sizeof(text), job->j_per_token.value));
    if (!isnan(job->carbon_g.value))
        wt_table_set(table, i, CARBON, "%s",
                     job->carbon_g.value < 999.5
                         ? wt_three_digits(text, sizeof(text), job->carbon_g.value, " g")
                         : wt_three_digits(text, sizeof(text), job->carbon_g.value * 1e-3, " kg"));
    if (!isnan(job->cost.value))
        wt_table_set(table, i, COST, "%s",
                     wt_three_digits(text, sizeof(text), job->cost.value, ""));
    wt_table_set(table, i, LIMIT, "%s", wt_prediction_limit(last));
    wt_text(wt_table_cell(table, i, LIMIT)->brief, 48, "%.*s",
            (int)strcspn(wt_prediction_limit(last), ","), wt_prediction_limit(last));
    const struct {
        bool is_it;
        const char *word;
    } words[] = {{!row->fits, "does not fit"},   {!row->is_fit_known, "memory not known"},
                 {row->is_fastest, "fastest"},   {row->is_thriftiest, "thriftiest"},
                 {row->is_cleanest, "cleanest"}, {row->is_cheapest, "cheapest"}};
    text[0] = '\0';
    for (size_t k = 0; k < WT_COUNTOF(words) && !is_narrow; k++)
        if (words[k].is_it) {
            size_t used = strlen(text);
            wt_text(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", words[k].word);
        }
    wt_table_set(table, i, BEST, "%s", text);
    if (is_narrow) {
        put_star(table, i, TIME, row->is_fastest);
        put_star(table, i, ENERGY, row->is_thriftiest);
        put_star(table, i, CARBON, row->is_cleanest);
        put_star(table, i, COST, row->is_cheapest);
        if (!row->fits || !row->is_fit_known)
            wt_table_set(table, i, MARK, "%c", row->fits ? '?' : '-');
    }
    table->colours[i] = !row->fits || !row->is_fit_known ? WT_DIM
                        : row->is_pareto                 ? WT_BOLD
                                                         : WT_PLAIN;
}

/* Whether an earlier row says the same of its place or its GPU. */
static bool is_told(const struct wt_compare_row *rows, size_t i,
                    const char *(*of)(const struct wt_compare_row *))
{
    for (size_t k = 0; k < i; k++)
        if (rows[k].is_predicted && strcmp(of(&rows[k]), of(&rows[i])) == 0)
            return true;
    return !*of(&rows[i]);
}

static const char *carbon_of(const struct wt_compare_row *row)
{
    return row->job.site.carbon_source;
}

static const char *pue_of(const struct wt_compare_row *row)
{
    return row->offer.pue_source[0] ? "" : row->job.site.pue_source; /* of the file: plain */
}

static const char *own_row_of(const struct wt_compare_row *row)
{
    return row->offer.gpu.origin;
}

static const char *place_of(const struct wt_compare_row *row)
{
    return row->job.site.carbon_source[0] ? "" : row->offer.region;
}

/* Whose figures they are that no measurement and no prediction gave. */
static void say_sources(const struct wt_term *term, const struct wt_compare_row *rows, size_t count)
{
    enum { MOST = 12 };
    char text[700];
    size_t told = 0, more = 0;
    for (size_t i = 0; i < count; i++) {
        const struct wt_predict_site *site = &rows[i].job.site;
        const struct wt_gpu *gpu = &rows[i].offer.gpu;
        const struct {
            const char *(*of)(const struct wt_compare_row *);
            const char *lead, *unit;
            double value;
        } kinds[] = {{carbon_of, "carbon", " g a kWh", site->carbon_g_per_kwh},
                     {pue_of, "PUE", "", site->pue},
                     {own_row_of, "", "", (double)NAN},
                     {place_of, "", "", (double)NAN}};
        for (size_t k = 0; rows[i].is_predicted && k < WT_COUNTOF(kinds); k++) {
            const char *source = kinds[k].of(&rows[i]);
            if (is_told(rows, i, kinds[k].of) || strncmp(source, "--", 2) == 0)
                continue;
            if (told++ >= MOST) {
                more++;
                continue;
            }
            if (kinds[k].of == place_of)
                wt_text(text, sizeof(text),
                        "carbon of %s: not known; it is no region of the catalogue, or one without "
                        "a figure",
                        source);
            else if (kinds[k].of == own_row_of)
                wt_text(text, sizeof(text), "%s is a row of your own: %s", gpu->id, source);
            else
                wt_text(text, sizeof(text), "%s %.6g%s: %s", kinds[k].lead, kinds[k].value,
                        kinds[k].unit, source);
            wt_term_wrap(term, WT_DIM, "  ", text);
        }
    }
    if (more) {
        wt_text(text, sizeof(text), "and %zu more sources: --json has them", more);
        wt_term_wrap(term, WT_DIM, "  ", text);
    }
}

static const char *type_of(const struct wt_compare_row *row)
{
    return row->is_predicted ? wt_prediction_dtype(&row->job.parts[0].each) : "";
}

/* The type of the products: that of most, and who differs, for a card may lack it. */
static void say_types(const struct wt_term *term, const struct wt_compare_row *rows, size_t count)
{
    char text[900];
    const char *usual = "", *last = NULL;
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t same = 0;
        for (size_t k = 0; k < count; k++)
            same += strcmp(type_of(&rows[k]), type_of(&rows[i])) == 0;
        if (*type_of(&rows[i]) && same > most) {
            most = same;
            usual = type_of(&rows[i]);
        }
    }
    if (!most)
        return;
    wt_text(text, sizeof(text), "products in %s", usual);
    for (size_t i = 0; i < count; i++) {
        bool is_told = !*type_of(&rows[i]) || strcmp(type_of(&rows[i]), usual) == 0;
        for (size_t k = 0; k < i && !is_told; k++)
            is_told =
                rows[k].is_predicted && strcmp(rows[k].offer.gpu.id, rows[i].offer.gpu.id) == 0;
        if (is_told)
            continue;
        size_t used = strlen(text);
        bool is_new = !last || strcmp(last, type_of(&rows[i])) != 0;
        last = type_of(&rows[i]);
        wt_text(text + used, sizeof(text) - used, "%s%s%s%s", is_new ? "; in " : ", ",
                is_new ? last : "", is_new ? " on " : "", rows[i].offer.gpu.id);
    }
    wt_term_wrap(term, WT_DIM, "  ", text);
}

static void put_rows(struct wt_table *table, const struct wt_compare_row *rows, size_t count,
                     bool is_narrow)
{
    size_t shown = 0;
    for (size_t i = 0; i < count; i++)
        if (rows[i].is_predicted)
            put_row(table, shown++, &rows[i], is_narrow);
}

/* Mark, name and region as one, which has a line of its own where it is long. */
static void put_names_first(struct wt_table *table)
{
    for (size_t i = 0; i < table->row_count; i++) {
        struct wt_cell *mark = wt_table_cell(table, i, MARK), *name = wt_table_cell(table, i, NAME),
                       *region = wt_table_cell(table, i, REGION);
        char text[sizeof(mark->full)];
        wt_text(text, sizeof(text), "%s", mark->full);
        wt_table_set(table, i, MARK, "%s%s%.100s%s%.60s", *text ? text : " ", " ",
                     *name->brief ? name->brief : name->full, *region->full ? ", " : "",
                     region->full);
        *name = *region = (struct wt_cell){0};
    }
    table->is_whole = true;
}

/* What the signs of a narrow table mean. */
static void say_signs(const struct wt_term *term, const struct wt_compare_row *rows, size_t count)
{
    bool has_unfit = false, has_unknown = false;
    for (size_t i = 0; i < count; i++)
        if (rows[i].is_predicted) {
            has_unfit |= !rows[i].fits;
            has_unknown |= rows[i].fits && !rows[i].is_fit_known;
        }
    wt_term_wrap(term, WT_DIM, "  ", "* the best of its column");
    if (has_unfit)
        wt_term_wrap(term, WT_DIM, "  ", "- does not fit");
    if (has_unknown)
        wt_term_wrap(term, WT_DIM, "  ", "? memory not known");
}

void wt_report_compare(const struct wt_term *term, const struct wt_compare_row *rows, size_t count)
{
    static const struct wt_column columns[] = {
        {"", false, NULL},       {"", false, NULL},          {"region", false, NULL},
        {"time", true, NULL},    {"power", true, NULL},      {"energy", true, NULL},
        {"a token", true, NULL}, {"carbon", true, NULL},     {"cost", true, NULL},
        {"", false, NULL},       {"limited by", false, NULL}};
    static const struct wt_table_step steps[] = {
        {LIMIT, WT_BRIEF},  {ENERGY, WT_BRIEF}, {LIMIT, WT_HIDDEN}, {NAME, WT_BRIEF},
        {POWER, WT_HIDDEN}, {TOKEN, WT_HIDDEN}, {REGION, WT_HIDDEN}};
    struct wt_table table;
    size_t shown = 0, step_count = WT_COUNTOF(steps);
    bool has_best = false, is_narrow = false;
    char text[400], tokens[32] = "0";
    for (size_t i = 0; i < count; i++) /* rows that only the region tells apart keep it */
        for (size_t k = 0; k < i; k++)
            if (strcmp(rows[i].offer.name, rows[k].offer.name) == 0)
                step_count = WT_COUNTOF(steps) - 1;
    for (size_t i = 0; i < count; i++)
        if (rows[i].is_predicted) {
            wt_grouped(tokens, sizeof(tokens), rows[i].job.tokens);
            has_best |= rows[i].is_pareto;
            shown++;
        }
    wt_text(text, sizeof(text), "%s tokens", tokens);
    wt_term_banner(term, "PREDICTED", text, "nothing was measured");
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), shown)) {
        table.steps = steps;
        table.step_count = step_count;
        put_rows(&table, rows, count, false);
        is_narrow = !wt_table_fits(&table);
        if (is_narrow)
            put_rows(&table, rows, count, true);
        if (is_narrow && !wt_table_fits(&table))
            put_names_first(&table);
        wt_table_print(&table);
    }
    wt_table_done(&table);
    fputc('\n', term->out);
    if (is_narrow)
        say_signs(term, rows, count);
    for (size_t i = 0; i < count; i++)
        if (!rows[i].is_predicted) {
            if (i && !rows[i - 1].is_predicted &&
                rows[i].offer.devices == rows[i - 1].offer.devices &&
                strcmp(rows[i].offer.name, rows[i - 1].offer.name) == 0)
                continue; /* in another region */
            wt_text(text, sizeof(text), "not predicted: %s", rows[i].offer.name);
            size_t used = strlen(text);
            if (rows[i].offer.devices > 1 && !rows[i].offer.instance[0])
                used = strlen(wt_text(text, sizeof(text), "not predicted: %s x %u",
                                      rows[i].offer.name, rows[i].offer.devices));
            wt_text(text + used, sizeof(text) - used, ": %s", rows[i].why);
            wt_term_wrap(term, WT_DIM, "  ", text);
        }
    say_types(term, rows, count);
    say_sources(term, rows, count);
    if (has_best)
        wt_text(text, sizeof(text),
                "%s none beats these in all that is known of every one. Order by the values: the "
                "95 %% bounds of several overlap, and one run of your own on a candidate tells "
                "more (wattune predict --calibrate).",
                term->is_utf8 ? "\xe2\x96\xb8" : ">");
    else
        wt_text(text, sizeof(text),
                "none has room for it: try a smaller --batch, --seq or --dtype");
    wt_term_wrap(term, WT_DIM, "  ", text);
}

/* ---- the plot ---- */

#define WIDTH  800.0
#define HEIGHT 520.0
#define LEFT   70.0
#define RIGHT  190.0
#define TOP    40.0
#define BOTTOM 50.0
#define LINE   13.0 /* of a label */

struct axis {
    double low, high; /* logarithms */
};

static void widen(struct axis *a, double value)
{
    a->low = fmin(a->low, log10(value));
    a->high = fmax(a->high, log10(value));
}

static double x_of(const struct axis *a, double value)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (log10(value) - a->low) / (a->high - a->low);
}

static double y_of(const struct axis *a, double value)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (log10(value) - a->low) / (a->high - a->low);
}

/* What a name may not be in XML. */
static void put_escaped(FILE *out, const char *text)
{
    for (; *text; text++)
        if (*text == '<' || *text == '>' || *text == '&')
            fprintf(out, "&#%d;", *text);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, out);
}

static void put_time(FILE *out, const struct axis *x, double value, const char *label)
{
    if (log10(value) < x->low || log10(value) > x->high)
        return;
    fprintf(out,
            "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#ddd\"/>"
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
            x_of(x, value), TOP, HEIGHT - BOTTOM, x_of(x, value), HEIGHT - BOTTOM + 18, label);
}

static void put_grid(FILE *out, const struct axis *x, const struct axis *y)
{
    static const double steps[] = {1, 2, 5};
    static const struct {
        double seconds;
        const char *label;
    } times[] = {{1e-3, "1 ms"},
                 {1e-2, "10 ms"},
                 {0.1, "0.1 s"},
                 {1, "1 s"},
                 {5, "5 s"},
                 {20, "20 s"},
                 {60, "1 min"},
                 {300, "5 min"},
                 {1200, "20 min"},
                 {3600, "1 h"},
                 {4 * 3600, "4 h"},
                 {12 * 3600, "12 h"},
                 {86400, "1 d"},
                 {3 * 86400, "3 d"},
                 {10 * 86400, "10 d"},
                 {30 * 86400, "30 d"},
                 {100 * 86400, "100 d"},
                 {365 * 86400, "1 y"},
                 {3650 * 86400., "10 y"}};
    char text[48];
    for (size_t i = 0; i < WT_COUNTOF(times); i++)
        put_time(out, x, times[i].seconds, times[i].label);
    for (int e = (int)floor(y->low); e <= (int)ceil(y->high); e++)
        for (size_t k = 0; k < WT_COUNTOF(steps); k++) {
            double value = steps[k] * pow(10, e);
            if (log10(value) < y->low || log10(value) > y->high)
                continue;
            fprintf(out,
                    "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/>"
                    "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                    LEFT, y_of(y, value), WIDTH - RIGHT, LEFT - 6, y_of(y, value) + 4,
                    wt_format_joules(text, sizeof(text), value));
        }
}

struct label {
    double x, y, width;
};

static bool is_free(const struct label *labels, size_t count, const struct label *now)
{
    if (now->y < TOP || now->y > HEIGHT - BOTTOM)
        return false;
    for (size_t i = 0; i < count; i++)
        if (fabs(labels[i].y - now->y) < LINE && now->x <= labels[i].x + labels[i].width &&
            labels[i].x <= now->x + now->width)
            return false;
    return true;
}

/* Beside its point, or as little below or above as no other label is; false: nowhere near. */
static bool place(struct label *labels, size_t *io_count, struct label *now)
{
    const struct label beside = *now;
    for (int tries = 0; tries < 10; tries++) {
        if (is_free(labels, *io_count, now)) {
            labels[(*io_count)++] = *now;
            return true;
        }
        int lines = tries / 2 + 1;
        now->y = beside.y + (tries % 2 ? -lines : lines) * LINE / 2;
    }
    return false;
}

/* Of an earlier machine, or of the same board elsewhere: 1 dot, and 1 name for all. */
static bool is_same_point(const struct wt_compare_row *a, const struct wt_compare_row *b)
{
    return a->is_predicted && a->fits && a->is_fit_known &&
           fabs(a->job.time_s.value / b->job.time_s.value - 1) < 1e-9 &&
           fabs(a->job.energy_j.value / b->job.energy_j.value - 1) < 1e-9;
}

static void put_label(FILE *out, const struct wt_compare_row *row, size_t others)
{
    put_escaped(out, row->offer.name);
    if (row->offer.devices > 1 && !row->offer.instance[0])
        fprintf(out, " x %u", row->offer.devices);
    if (row->offer.region[0]) {
        fputs(", ", out);
        put_escaped(out, row->offer.region);
    }
    if (others)
        fprintf(out, " and %zu more", others);
}

/* One that none beats is labelled for those at its point. */
static bool speaks_for(const struct wt_compare_row *rows, size_t count, size_t i,
                       size_t *ret_others)
{
    *ret_others = 0;
    for (size_t k = 0; k < count; k++) {
        if (k == i || !is_same_point(&rows[k], &rows[i]))
            continue;
        bool is_alike = rows[k].is_pareto == rows[i].is_pareto;
        if (is_alike ? k < i : rows[k].is_pareto)
            return false;
        ++*ret_others;
    }
    return true;
}

static void put_point(FILE *out, const struct axis *x, const struct axis *y,
                      const struct wt_compare_row *row, size_t others, struct label *labels,
                      size_t *io_count)
{
    double at_x = x_of(x, row->job.time_s.value), at_y = y_of(y, row->job.energy_j.value);
    size_t letters = strlen(row->offer.name) + strlen(row->offer.region) +
                     (row->offer.devices > 1 && !row->offer.instance[0] ? 4 : 0) +
                     (row->offer.region[0] ? 2 : 0) + (others ? 11 : 0);
    struct label label = {at_x + 9, at_y + 4, (row->is_pareto ? 8.0 : 7.2) * (double)letters};
    bool is_placed = place(labels, io_count, &label);
    if (is_placed && fabs(label.y - at_y - 4) > LINE / 2) /* which point it is of */
        fprintf(out, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"#9aa7a2\" stroke-width=\".6\"/>",
                at_x, at_y, label.x - 1, label.y - 4);
    fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"><title>", at_x, at_y,
            row->is_pareto ? 6 : 4, row->is_pareto ? "#1e7153" : "#9aa7a2");
    put_label(out, row, others);
    fputs("</title></circle>", out);
    if (is_placed) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\"%s>", label.x, label.y,
                row->is_pareto ? " font-weight=\"bold\"" : "");
        put_label(out, row, others);
        fputs("</text>", out);
    }
    fputc('\n', out);
}

/* Those that none beats first: where names are many, theirs have room. */
static void put_points(FILE *out, const struct axis *x, const struct axis *y,
                       const struct wt_compare_row *rows, size_t count, struct label *labels)
{
    size_t placed = 0, others;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count; i++)
            if (rows[i].is_predicted && rows[i].fits && rows[i].is_fit_known &&
                rows[i].is_pareto == !pass && speaks_for(rows, count, i, &others))
                put_point(out, x, y, &rows[i], others, labels, &placed);
}

int wt_report_compare_svg(const char *path, const struct wt_compare_row *rows, size_t count,
                          struct wt_error *err)
{
    struct axis x = {INFINITY, -INFINITY}, y = x;
    struct wt_file_draft draft;
    for (size_t i = 0; i < count; i++)
        if (rows[i].is_predicted && rows[i].fits && rows[i].is_fit_known) {
            widen(&x, rows[i].job.time_s.value);
            widen(&y, rows[i].job.energy_j.value);
        }
    if (!(x.low <= x.high))
        return wt_fail(err, WT_E_USAGE, "no machine has room for it: there is nothing to plot");
    x.low -= 0.08, x.high += 0.08, y.low -= 0.08, y.high += 0.08;
    struct label *labels = calloc(count, sizeof(*labels));
    int rc = labels ? wt_file_begin(&draft, path, err)
                    : wt_fail(err, WT_E_NOMEM, "no memory for a plot of %zu machines", count);
    if (rc < 0) {
        free(labels);
        return rc;
    }
    struct wt_plain plain;
    wt_plain_enter(&plain); /* points, whatever the locale */
    fprintf(draft.file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"#fff\"/>\n<text x=\"%g\" y=\"22\" font-size=\"15\">Predicted: energy against "
            "time. Nothing was measured.</text>\n",
            WIDTH, HEIGHT, LEFT);
    put_grid(draft.file, &x, &y);
    fprintf(draft.file,
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">time of the job</text>\n"
            "<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">energy of "
            "the job</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, (TOP + HEIGHT - BOTTOM) / 2);
    put_points(draft.file, &x, &y, rows, count, labels);
    free(labels);
    fputs("</svg>\n", draft.file);
    wt_plain_leave(&plain);
    return wt_file_commit(&draft, err);
}
