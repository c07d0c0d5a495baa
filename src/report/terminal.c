/* terminal: a run's summary, the sweep's table and the list of runs, for people.
 *
 * Everything fits the window: a column that has a shorter form takes it, then the least needed
 * ones go, and the last column is cut. Names and commands come from outside and may hold anything,
 * so control characters never reach the terminal. */
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "record/record.h"
#include "report/words.h"
#include "wattune/report.h"

enum { MAX_COLUMNS = 12 };

enum paint { PLAIN, DIM, BOLD, GREEN, YELLOW, RED };

static const char *const paints[] = {
    [PLAIN] = "",           [DIM] = "\033[2m",     [BOLD] = "\033[1m",
    [GREEN] = "\033[1;32m", [YELLOW] = "\033[33m", [RED] = "\033[31m",
};

void wt_term_init(struct wt_term *term, FILE *out)
{
    *term = (struct wt_term){.out = out, .width = 80};
    int fd = fileno(out);
    bool is_tty = fd >= 0 && isatty(fd);
    const char *no_colour = getenv("NO_COLOR"), *kind = getenv("TERM");
    term->is_colour = is_tty && !(no_colour && no_colour[0]) && !(kind && !strcmp(kind, "dumb"));
    term->is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    struct winsize size;
    unsigned long columns;
    const char *text = getenv("COLUMNS");
    uint64_t number;
    if (is_tty && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        term->width = size.ws_col;
    else if (text && wt_text_to_u64(text, &number) == 0 && number >= 20 && number <= 1000) {
        columns = (unsigned long)number;
        term->width = (unsigned)columns;
    }
}

static unsigned width_of(const struct wt_term *term)
{
    return term->width ? term->width : 80;
}

static const char *paint(const struct wt_term *term, enum paint colour)
{
    return term->is_colour ? paints[colour] : "";
}

static const char *unpaint(const struct wt_term *term, enum paint colour)
{
    return term->is_colour && colour != PLAIN ? "\033[0m" : "";
}

/* ---- text in columns ---- */

/* Columns a text takes: characters, as names here are in scripts of single width. */
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Bytes of the first n characters. */
static size_t bytes_of(const char *text, size_t n)
{
    size_t i = 0;
    while (text[i]) {
        if (((unsigned char)text[i] & 0xc0) != 0x80 && n-- == 0)
            break;
        i++;
    }
    return i;
}

/* What a terminal may be sent: no control character (C1 ones in their UTF-8 form too), and ASCII
 * only where the terminal knows no more. */
static void clean(const struct wt_term *term, char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        bool is_c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        if (*p < 0x20 || *p == 0x7f || (*p >= 0x80 && !term->is_utf8) || is_c1)
            *p = '?';
        if (is_c1)
            p[1] = '?';
    }
}

/* Words broken into lines of the window's width, each after `indent` blanks, the first after
 * `lead`. */
static void print_wrapped(const struct wt_term *term, enum paint colour, const char *lead,
                          const char *text)
{
    char copy[1200];
    wt_text(copy, sizeof(copy), "%s", text);
    clean(term, copy);
    size_t indent = columns_of(lead), at = indent;
    size_t width = width_of(term) > indent + 20 ? width_of(term) : indent + 20;
    fprintf(term->out, "%s%s", lead, paint(term, colour));
    bool is_first = true;
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        size_t length = columns_of(word);
        if (!is_first && at + 1 + length > width) {
            fprintf(term->out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!is_first) {
            fputc(' ', term->out);
            at++;
        }
        for (; at + length > width; length = columns_of(word)) { /* longer than a whole line */
            size_t n = bytes_of(word, width - at);
            fprintf(term->out, "%.*s\n%*s", (int)n, word, (int)indent, "");
            word += n;
            at = indent;
        }
        fputs(word, term->out);
        at += length;
        is_first = false;
    }
    fprintf(term->out, "%s\n", unpaint(term, colour));
}

/* ---- tables ---- */

struct column {
    const char *head;
    bool is_right;
    const char *brief; /* head of its brief form; NULL: the same */
};

enum form { FULL, BRIEF, HIDDEN };

/* What gives way when the window is narrow, in this order. */
struct step {
    size_t column;
    enum form form;
};

struct cell {
    char full[200], brief[48]; /* brief "": the same */
};

struct table {
    const struct wt_term *term;
    const struct column *columns;
    size_t column_count, row_count;
    const struct step *steps;
    size_t step_count;
    size_t last_min; /* columns that the last one can be cut down to */
    bool is_whole;   /* nothing is cut: what does not fit the first column has a line of its own */
    struct cell *cells;
    enum paint *colours; /* of rows */
};

static bool table_init(struct table *table, const struct wt_term *term,
                       const struct column *columns, size_t column_count, size_t row_count)
{
    *table = (struct table){.term = term,
                            .columns = columns,
                            .column_count = column_count,
                            .row_count = row_count,
                            .last_min = 16};
    table->cells = calloc(column_count * (row_count + 1), sizeof(*table->cells));
    table->colours = calloc(row_count + 1, sizeof(*table->colours));
    return table->cells && table->colours;
}

static void table_done(struct table *table)
{
    free(table->cells);
    free(table->colours);
}

static struct cell *cell_at(const struct table *table, size_t row, size_t column)
{
    return &table->cells[row * table->column_count + column];
}

static void set(struct table *table, size_t row, size_t column, const char *fmt, ...)
    WT_PRINTF(4, 5);
static void set(struct table *table, size_t row, size_t column, const char *fmt, ...)
{
    struct cell *cell = cell_at(table, row, column);
    va_list args;
    va_start(args, fmt);
    vsnprintf(cell->full, sizeof(cell->full), fmt, args);
    va_end(args);
    clean(table->term, cell->full);
}

static const char *text_of(const struct cell *cell, enum form form)
{
    return form == BRIEF && cell->brief[0] ? cell->brief : cell->full;
}

static const char *head_of(const struct column *column, enum form form)
{
    return form == BRIEF && column->brief ? column->brief : column->head;
}

/* A row that is nothing but words, such as a heading: it may be longer than its column. */
static bool is_heading(const struct table *table, size_t row)
{
    for (size_t c = 1; c < table->column_count; c++)
        if (cell_at(table, row, c)->full[0])
            return false;
    return table->is_whole;
}

/* Width of a column in a form; 0 when it is hidden or empty all the way down. */
static size_t column_width(const struct table *table, size_t column, enum form form)
{
    size_t width = 0;
    if (form == HIDDEN)
        return 0;
    for (size_t i = 0; i < table->row_count; i++) {
        size_t n = columns_of(text_of(cell_at(table, i, column), form));
        width = n > width && !is_heading(table, i) ? n : width;
    }
    size_t head = columns_of(head_of(&table->columns[column], form));
    return width && head > width ? head : width;
}

/* What the table needs; the last column can be cut, down to last_min. */
static size_t table_width(const struct table *table, const enum form *forms)
{
    size_t width = 0;
    for (size_t c = 0; c < table->column_count; c++) {
        size_t n = column_width(table, c, forms[c]);
        if (c + 1 == table->column_count && n > table->last_min && !table->is_whole)
            n = table->last_min;
        width += n ? n + 2 : 0;
    }
    return width;
}

static void print_cell(const struct table *table, const char *text, size_t width, bool is_right,
                       bool is_last)
{
    size_t n = columns_of(text), blanks = width > n ? width - n : 0;
    FILE *out = table->term->out;
    fprintf(out, "  %*s%s%*s", is_right ? (int)blanks : 0, "", text,
            is_right || is_last ? 0 : (int)blanks, "");
}

/* Text too long for its place, over as many lines as it takes. */
static void print_long(const struct table *table, const char *text)
{
    size_t window = width_of(table->term), at = 0;
    size_t room = window > 12 ? window - 2 : 10;
    do {
        size_t n = bytes_of(text + at, room);
        fprintf(table->term->out, "  %.*s", (int)n, text + at);
        at += n;
        if (text[at])
            fputc('\n', table->term->out);
    } while (text[at]);
}

static void table_print(const struct table *table)
{
    enum form forms[MAX_COLUMNS] = {FULL};
    size_t window = width_of(table->term), last = table->column_count - 1;
    for (size_t i = 0; i < table->step_count && table_width(table, forms) > window; i++)
        forms[table->steps[i].column] = table->steps[i].form;
    size_t widths[MAX_COLUMNS], total = 0;
    for (size_t c = 0; c < table->column_count; c++) {
        widths[c] = column_width(table, c, forms[c]);
        total += widths[c] ? widths[c] + 2 : 0;
    }
    /* What still does not fit is cut off the last column, not below its head's width. */
    size_t floor = columns_of(head_of(&table->columns[last], forms[last]));
    if (total > window && table->is_whole) {
        size_t rest = total - widths[0];
        widths[0] = window > rest + 4 ? window - rest : 4;
    } else if (total > window && widths[last] > floor) {
        size_t over = total - window;
        widths[last] = widths[last] > over + floor ? widths[last] - over : floor;
    }

    FILE *out = table->term->out;
    bool has_head = false;
    for (size_t c = 0; c < table->column_count; c++)
        has_head |= table->columns[c].head[0] != '\0';
    if (has_head) {
        fputs(paint(table->term, DIM), out);
        for (size_t c = 0; c < table->column_count; c++)
            if (widths[c])
                print_cell(table, head_of(&table->columns[c], forms[c]), widths[c],
                           table->columns[c].is_right, c == last);
        fprintf(out, "%s\n", unpaint(table->term, DIM));
    }
    for (size_t i = 0; i < table->row_count; i++) {
        enum paint colour = table->colours[i];
        fputs(paint(table->term, colour), out);
        for (size_t c = 0; c < table->column_count; c++) {
            if (!widths[c])
                continue;
            char text[sizeof(((struct cell *)0)->full) + 8];
            wt_text(text, sizeof(text), "%s", text_of(cell_at(table, i, c), forms[c]));
            if (c == 0 && table->is_whole && is_heading(table, i)) {
                print_long(table, text);
                break;
            }
            if (c == 0 && table->is_whole && columns_of(text) > widths[c]) {
                print_long(table, text);
                fputc('\n', out);
                text[0] = '\0';
            }
            if (columns_of(text) > widths[c]) {
                text[bytes_of(text, widths[c] - 1)] = '\0';
                strcat(text, table->term->is_utf8 ? "\u2026" : "~");
            }
            print_cell(table, text, widths[c], table->columns[c].is_right, c == last);
        }
        fprintf(out, "%s\n", unpaint(table->term, colour));
    }
}

/* ---- one run ---- */

/* Above all figures of a run or sweep: that they are not of this machine. */
static void print_banner(const struct wt_term *term, const char *word, const char *what,
                         const char *words)
{
    char text[400];
    wt_text(text, sizeof(text), "%s%s%s: %s", word, what[0] ? " " : "", what, words);
    print_wrapped(term, YELLOW, "  ", text);
}

static void print_banners(const struct wt_term *term, const struct wt_run *run)
{
    if (run->is_emulated)
        print_banner(term, "EMULATED", run->emulation, "no real device was measured");
    if (run->is_replayed)
        print_banner(term, "REPLAYED", run->recording, wt_replayed_words(run));
}

enum { LABEL = 9 }; /* columns of the words at the left */

static void line(const struct wt_term *term, const char *head, const char *fmt, ...)
    WT_PRINTF(3, 4);
static void line(const struct wt_term *term, const char *head, const char *fmt, ...)
{
    char text[1000], lead[48];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    wt_text(lead, sizeof(lead), "  %-*s ", LABEL, head);
    print_wrapped(term, PLAIN, lead, text);
}

static void put_watts(struct table *table, size_t row, size_t column, double watts)
{
    if (isfinite(watts))
        set(table, row, column, "%.*f W",
            fabs(watts) < 9.95    ? 2
            : fabs(watts) < 99.95 ? 1
                                  : 0,
            watts);
}

enum { NAME, DETAIL, ENERGY, MEAN, HIGHEST, BY };

/* "of it: core of CPU 0", further in for each whole it lies in; in a narrow window the place says
 * enough. */
static void put_name(struct table *table, size_t row, const struct wt_run *run,
                     const struct wt_report_line *line)
{
    const struct wt_run_device *d = &run->devices[line->device];
    struct cell *cell = cell_at(table, row, NAME);
    char title[128], whole[128];
    int indent = (int)(2 * line->depth) + (line->is_counted ? 0 : 2);
    wt_device_title(run, line->device, title, sizeof(title));
    /* "core of CPU 0" has said it. */
    if (line->is_orphan && d->part_of[0] && !strstr(title, " of ")) {
        size_t n = strlen(title);
        wt_text(title + n, sizeof(title) - n, ", part of %s",
                wt_device_title_of(run, d->part_of, whole, sizeof(whole)));
    }
    set(table, row, NAME, "%*s%s%s", indent, "", line->depth ? "of it: " : "", title);
    if (line->depth && strlen(title) + (size_t)indent < sizeof(cell->brief)) {
        wt_text(cell->brief, sizeof(cell->brief), "%*s%s", indent, "", title);
        clean(table->term, cell->brief);
    }
}

static void put_device(struct table *table, size_t row, const struct wt_run *run,
                       const struct wt_report_line *line)
{
    const struct wt_run_device *d = &run->devices[line->device];
    char text[128];
    put_name(table, row, run, line);
    set(table, row, DETAIL, "%s", wt_device_detail(run, line->device, text, sizeof(text)));
    set(table, row, ENERGY, "%s", wt_format_interval(text, sizeof(text), &d->energy));
    if (d->energy.provenance != WT_PROV_UNKNOWN)
        put_watts(table, row, MEAN, d->mean_w);
    put_watts(table, row, HIGHEST, d->max_w);
    set(table, row, BY, "%s", wt_measured_by(d, false, text, sizeof(text)));
    wt_measured_by(d, true, cell_at(table, row, BY)->brief, sizeof(cell_at(table, row, BY)->brief));
}

static void put_sum(struct table *table, size_t row, const char *name, const struct wt_joules *sum,
                    double wall_s)
{
    char text[96];
    set(table, row, NAME, "%s", name);
    set(table, row, ENERGY, "%s", wt_format_interval(text, sizeof(text), sum));
    if (sum->provenance != WT_PROV_UNKNOWN && wall_s > 0)
        put_watts(table, row, MEAN, sum->energy_j / wall_s);
    set(table, row, BY, "%s", wt_provenance_name(sum->provenance));
    table->colours[row] = BOLD;
}

static void print_devices(const struct wt_term *term, const struct wt_run *run)
{
    /* An energy never goes without its interval and where it comes from. */
    static const struct column columns[] = {
        {"", false, NULL},    {"", false, NULL},       {"energy", true, NULL},
        {"mean", true, NULL}, {"highest", true, NULL}, {"measured by", false, "by"},
    };
    static const struct step steps[] = {
        {BY, BRIEF}, {DETAIL, HIDDEN}, {HIGHEST, HIDDEN}, {NAME, BRIEF}, {MEAN, HIDDEN},
    };
    struct table table;
    struct wt_report_line *lines = calloc(run->device_count + 3, sizeof(*lines));
    size_t count = lines ? wt_report_lines(run, lines) : 0;
    if (table_init(&table, term, columns, WT_COUNTOF(columns), count) && lines) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        table.is_whole = true;
        for (size_t i = 0; i < table.row_count; i++)
            switch (lines[i].kind) {
            case WT_LINE_DEVICE:
                put_device(&table, i, run, &lines[i]);
                break;
            case WT_LINE_TOTAL:
                put_sum(&table, i, "total", &run->total, run->wall_s);
                break;
            case WT_LINE_BESIDE:
                set(&table, i, NAME, "beside the total:");
                table.colours[i] = DIM;
                break;
            case WT_LINE_ESTIMATE:
                put_sum(&table, i, "with what is modeled", &run->estimate, 0);
                break;
            }
        if (table.row_count == 1)
            table.colours[0] = BOLD;
        table_print(&table);
    }
    table_done(&table);
    free(lines);
}

/* "51 200 tokens": digits in groups of three. */
static const char *grouped(char *buf, size_t size, uint64_t count)
{
    char digits[32];
    wt_text(digits, sizeof(digits), "%llu", (unsigned long long)count);
    size_t n = strlen(digits), used = 0;
    for (size_t i = 0; i < n && used + 2 < size; i++) {
        if (i && (n - i) % 3 == 0)
            buf[used++] = ',';
        buf[used++] = digits[i];
    }
    buf[used] = '\0';
    return buf;
}

static void print_work(const struct wt_term *term, const struct wt_run *run)
{
    char count[40], per[64], rate[48] = "", steps[48] = "";
    if (!run->work.is_known)
        return;
    struct wt_joules j = wt_run_j_per_work(run);
    if (run->wall_s > 0)
        wt_text(
            rate, sizeof(rate), ", %s/s",
            grouped(per, sizeof(per), (uint64_t)llround((double)run->work.count / run->wall_s)));
    if (run->work.steps)
        wt_text(steps, sizeof(steps), " in %s step%s", grouped(per, sizeof(per), run->work.steps),
                run->work.steps == 1 ? "" : "s");
    line(term, "work", "%s %s%s%s", grouped(count, sizeof(count), run->work.count), run->work.unit,
         steps, rate);
    if (j.provenance != WT_PROV_UNKNOWN)
        line(term, "", "%s per %s%s%s", wt_format_interval(per, sizeof(per), &j),
             strcmp(run->work.unit, "tokens") == 0 ? "token" : run->work.unit,
             j.provenance == WT_PROV_MODELED ? ", " : "",
             j.provenance == WT_PROV_MODELED ? "modeled" : "");
}

static void print_settings(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], held[96], text[48], was[48];
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        if (!knob)
            continue;
        held[0] = '\0';
        if (s->enforced != s->requested)
            wt_text(held, sizeof(held), ", the device holds %s",
                    wt_knob_value_text(text, sizeof(text), s->knob, s->enforced));
        line(term, i ? "" : "set", "%s %s on %s (was %s)%s", knob,
             wt_knob_value_text(text, sizeof(text), s->knob, s->requested),
             wt_device_title_of(run, s->device_id, name, sizeof(name)),
             wt_knob_value_text(was, sizeof(was), s->knob, s->found), held);
    }
}

static void print_troubles(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], bound[32], text[640];
    if (wt_is_standing(run))
        print_wrapped(term, YELLOW, "  note      ", wt_standing_words);
    for (size_t i = 0; i < run->gap_count; i++) {
        const struct wt_run_gap *g = &run->gaps[i];
        if (!wt_gap_is_said(run, i))
            continue;
        if (isfinite(g->bound_j))
            wt_format_joules(bound, sizeof(bound), g->bound_j);
        else
            wt_text(bound, sizeof(bound), "an unknown amount");
        wt_text(text, sizeof(text),
                "%s could not be read from %.1f s to %.1f s (%s): up to %s unseen",
                wt_device_title_of(run, g->device_id, name, sizeof(name)), g->from_s, g->to_s,
                g->why, bound);
        print_wrapped(term, YELLOW, "  gap       ", text);
    }
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        wt_device_title(run, i, name, sizeof(name));
        if (wt_note_is_said(run, i)) {
            wt_text(text, sizeof(text), "%s: %s", name, d->note);
            print_wrapped(term, PLAIN, "  note      ", text);
        }
        if (d->is_check_off) {
            char one[80], two[80];
            wt_text(text, sizeof(text),
                    "%s: counter and integrated power disagree beyond their bounds: %s and %s",
                    name, wt_format_interval(one, sizeof(one), &d->energy),
                    wt_format_interval(two, sizeof(two), &d->check));
            print_wrapped(term, YELLOW, "  check     ", text);
        }
    }
    struct wt_node_check node = wt_run_node_check(run);
    if (node.is_off) {
        char one[80], two[80];
        wt_text(text, sizeof(text),
                "the parts were measured to draw more than the whole node, beyond their bounds: %s "
                "and %s",
                wt_format_interval(one, sizeof(one), &node.parts),
                wt_format_interval(two, sizeof(two), &run->devices[node.node].energy));
        print_wrapped(term, YELLOW, "  check     ", text);
    }
    if (run->state == WT_RUN_INCOMPLETE)
        print_wrapped(term, YELLOW, "  state     ",
                      "incomplete: Wattune ended before the run did; figures are as last written");
}

static void print_values(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->value_count; i++) {
        const char *name = run->values[i].name;
        size_t before = 0, last = i, count = 0;
        for (size_t k = 0; k < i; k++)
            before += strcmp(run->values[k].name, name) == 0;
        if (before)
            continue;
        for (size_t k = i; k < run->value_count; k++)
            if (strcmp(run->values[k].name, name) == 0) {
                last = k;
                count++;
            }
        char text[96];
        if (count == 1)
            wt_text(text, sizeof(text), "%.4g", run->values[i].value);
        else
            wt_text(text, sizeof(text), "%.4g at first, %.4g at the end", run->values[i].value,
                    run->values[last].value);
        if (columns_of(name) <= LABEL)
            line(term, name, "%s", text);
        else /* a name that does not fit the column of labels */
            line(term, "reported", "%s: %s", name, text);
    }
}

static void print_phases(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->phase_count; i++) {
        const struct wt_run_phase *p = &run->phases[i];
        char count[48] = "", span[32], energy[400] = "", text[96];
        if (p->count)
            wt_text(count, sizeof(count), "%llu time%s, ", (unsigned long long)p->count,
                    p->count == 1 ? "" : "s");
        if (p->energy.provenance != WT_PROV_UNKNOWN)
            wt_text(energy, sizeof(energy), ", %s, %.1f W",
                    wt_format_interval(text, sizeof(text), &p->energy), p->mean_w);
        else if (p->joint.provenance != WT_PROV_UNKNOWN)
            wt_text(energy, sizeof(energy), ", not separable%s%s: %s%s", p->with[0] ? " from " : "",
                    p->with, p->with[0] ? "together " : "",
                    wt_format_interval(text, sizeof(text), &p->joint));
        line(term, i ? "" : "phases", "%s: %s%s%s", p->name, count,
             wt_format_seconds(span, sizeof(span), p->own_s > 0 ? p->own_s : p->wall_s), energy);
    }
    if (run->phases_note[0])
        line(term, "", "%s", run->phases_note);
}

static void print_attribution(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        char name[128], who[128], text[96], pid[24];
        wt_device_title(run, i, name, sizeof(name));
        if (d->attribution.is_known) {
            line(term, "used by", "%s, %s%s:", name, d->attribution.rule,
                 d->energy.provenance == WT_PROV_MODELED ? ", modeled" : "");
            for (size_t k = 0; k < d->attribution.share_count; k++) {
                const struct wt_run_share *share = &d->attribution.shares[k];
                pid[0] = '\0';
                if (share->pid)
                    wt_text(pid, sizeof(pid), " (%u)", share->pid);
                line(term, "", "%s%s%s: %s", wt_share_name(run, share, who, sizeof(who)), pid,
                     share->is_ours && share->pid ? ", of this run" : "",
                     wt_share_text(d, share->energy_uj, text, sizeof(text)));
            }
            if (d->attribution.idle_uj)
                line(term, "", "idle: %s",
                     wt_share_text(d, d->attribution.idle_uj, text, sizeof(text)));
            if (d->attribution.residual_uj)
                line(term, "", "%s: %s", wt_residual_words(d),
                     wt_share_text(d, d->attribution.residual_uj, text, sizeof(text)));
        }
        /* That its energy is unknown has been said. */
        if (d->attribution.note[0] && d->energy.provenance != WT_PROV_UNKNOWN)
            line(term, d->attribution.is_known ? "" : "used by", "%s: %s", name,
                 d->attribution.note);
    }
}

static void print_details(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], text[80], when[32];
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->check.provenance == WT_PROV_UNKNOWN || d->is_check_off)
            continue;
        wt_device_title(run, i, name, sizeof(name));
        line(term, "check", "%s by the other method: %s, agrees", name,
             wt_format_interval(text, sizeof(text), &d->check));
    }
    struct wt_node_check node = wt_run_node_check(run);
    if (node.node != SIZE_MAX && !node.is_off)
        line(term, "check", "%s: %s, of it no part's sensor sees %s; agrees",
             wt_device_title(run, node.node, name, sizeof(name)),
             wt_format_joules(when, sizeof(when), run->devices[node.node].energy.energy_j),
             wt_format_interval(text, sizeof(text), &node.rest));
    print_phases(term, run);
    print_attribution(term, run);
    if (run->cost.wall_s > 0)
        line(term, "own cost", "%.3f %% of one core (%.3f s), %llu reads, %llu failed",
             run->cost.cpu_s / run->cost.wall_s * 100, run->cost.cpu_s,
             (unsigned long long)run->cost.reads, (unsigned long long)run->cost.failures);
    line(term, "command", "%s", run->command);
    line(term, "machine", "%s%s%s", run->host, run->system[0] ? ": " : "", run->system);
    if (run->recording_title[0])
        line(term, "recording", "%s", run->recording_title);
    line(term, "begun", "%s", wt_time_text(when, sizeof(when), run->start_unix_ns));
    if (run->group[0])
        line(term, "sweep", "%s, %s, run %u", run->group, run->label, run->repeat + 1);
}

void wt_report_run(const struct wt_term *term, const struct wt_run *run, bool is_verbose)
{
    struct wt_plain plain;
    wt_plain_enter(&plain);
    char text[80];
    print_banners(term, run);
    if (run->device_count)
        print_devices(term, run);
    else
        print_wrapped(term, YELLOW, "  energy    ",
                      "unknown: no energy or power sensor could be read here; `wattune doctor` "
                      "says why");
    wt_format_seconds(text, sizeof(text), run->wall_s);
    if (run->state == WT_RUN_DONE && run->exit_code)
        line(term, "time", "%s, exit code %d", text, run->exit_code);
    else
        line(term, "time", "%s", text);
    print_work(term, run);
    print_values(term, run);
    print_settings(term, run);
    print_troubles(term, run);
    if (is_verbose)
        print_details(term, run);
    if (run->id[0])
        line(term, "run", "%s%s%s%s", run->id, run->tag[0] ? ", tag " : "", run->tag,
             run->is_unstored ? ", not stored" : "");
    wt_plain_leave(&plain);
}

/* ---- a sweep ---- */

/* "1.085 [1.081, 1.089]", brief "1.085 ±0.004" with the wider side. */
static void put_ratio(struct table *table, size_t row, size_t column, const struct wt_estimate *e)
{
    struct cell *cell = cell_at(table, row, column);
    if (e->low == e->high) {
        set(table, row, column, "%.3f", e->value);
        return;
    }
    set(table, row, column, "%.3f [%.3f, %.3f]", e->value, e->low, e->high);
    wt_text(cell->brief, sizeof(cell->brief), "%.3f %s%.3f", e->value,
            table->term->is_utf8 ? "\u00b1" : "+-", fmax(e->value - e->low, e->high - e->value));
}

/* "power=150 W, clock=900 MHz" as "150 W, 900 MHz". */
static void brief_label(struct cell *cell)
{
    size_t used = 0;
    bool is_name = strchr(cell->full, '=') != NULL;
    for (const char *p = cell->full; *p && used + 1 < sizeof(cell->brief); p++) {
        if (!is_name)
            cell->brief[used++] = *p;
        if (*p == '=') {
            is_name = false;
        } else if (*p == ',' && strchr(p, '=')) {
            is_name = true;
            cell->brief[used++] = ' ';
        }
    }
    cell->brief[used < sizeof(cell->brief) ? used : sizeof(cell->brief) - 1] = '\0';
}

/* Of the others energy or time are what is made small, or as good as it. */
static bool is_value_shown(const struct wt_goal *goal)
{
    return goal->objective == WT_OBJECTIVE_EDP || goal->objective == WT_OBJECTIVE_COST ||
           goal->objective == WT_OBJECTIVE_ETA;
}

static void put_row(struct table *table, const struct wt_sweep *sweep, size_t i)
{
    const struct wt_sweep_row *row = &sweep->rows[i];
    const struct wt_joules energy = {row->energy_j.value, row->energy_j.low, row->energy_j.high,
                                     row->provenance};
    bool is_choice = i == sweep->choice;
    char text[80];
    /* Told at the row's start too, as a narrow window may not hold the words. */
    set(table, i, 0, "%s%s%s", is_choice ? (table->term->is_utf8 ? "\u25b8" : ">") : "",
        row->is_reference ? "=" : "", row->outlier_count ? "!" : "");
    set(table, i, 1, "%s", row->label);
    brief_label(cell_at(table, i, 1));
    set(table, i, 2, "%u", row->repeats);
    if (row->outlier_count)
        set(table, i, 2, "%u, %u off", row->repeats, row->outlier_count);
    set(table, i, 3, "%s", wt_format_seconds(text, sizeof(text), row->time_s.value));
    set(table, i, 4, "%s", wt_format_interval(text, sizeof(text), &energy));
    wt_format_joules(cell_at(table, i, 4)->brief, sizeof(cell_at(table, i, 4)->brief),
                     row->energy_j.value);
    put_watts(table, i, 5, row->power_w.value);
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
    set(table, i, 10, "%s", notes[note].full);
    wt_text(cell_at(table, i, 10)->brief, sizeof(cell_at(table, i, 10)->brief), "%s",
            notes[note].brief);
    table->colours[i] = is_choice ? GREEN : PLAIN;
}

void wt_report_sweep(const struct wt_term *term, const struct wt_sweep *sweep)
{
    char value[32];
    bool is_to = sweep->is_to_target;
    wt_text(value, sizeof(value), "rel. %s", wt_objective_name(sweep->plan.goal.objective));
    const struct column columns[] = {
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
    static const struct step steps[] = {
        {8, BRIEF},  {4, BRIEF},  {6, BRIEF},  {7, BRIEF},  {9, BRIEF},
        {8, HIDDEN}, {2, HIDDEN}, {5, HIDDEN}, {1, BRIEF},  {10, BRIEF},
        {3, HIDDEN}, {6, HIDDEN}, {4, HIDDEN}, {7, HIDDEN}, {9, HIDDEN},
    };
    struct wt_plain plain;
    struct table table;
    wt_plain_enter(&plain);
    if (sweep->is_emulated)
        print_banner(term, "EMULATED", sweep->emulation, "no real device was measured");
    else if (sweep->run_count && sweep->runs[0].is_replayed)
        print_banners(term, &sweep->runs[0]);
    if (table_init(&table, term, columns, WT_COUNTOF(columns), sweep->row_count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < sweep->row_count; i++)
            put_row(&table, sweep, i);
        table_print(&table);
    }
    table_done(&table);
    if (!sweep->is_emulated) { /* the banner says it of those */
        char text[80];
        enum wt_provenance weakest = WT_PROV_COUNTER;
        for (size_t i = 0; i < sweep->row_count; i++)
            if (sweep->rows[i].provenance < weakest)
                weakest = sweep->rows[i].provenance;
        wt_text(text, sizeof(text), "energy by: %s", wt_provenance_name(weakest));
        print_wrapped(term, weakest <= WT_PROV_MODELED ? YELLOW : DIM, "  ", text);
    }
    fputc('\n', term->out);
    print_wrapped(term, sweep->is_saving_real ? GREEN : BOLD, "  ", sweep->advice);
    if (sweep->apply[0])
        print_wrapped(term, PLAIN, "  apply it: ", sweep->apply);
    for (size_t i = 0; i < sweep->warning_count; i++)
        print_wrapped(term, YELLOW, "  note: ", sweep->warnings[i]);
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

static void put_point(struct table *table, size_t row, const struct wt_search_result *r, size_t i)
{
    const struct wt_search_point *p = &r->points[i], *ref = &r->points[r->reference];
    struct wt_estimate time = ratio_of(&p->time_s, &ref->time_s),
                       energy = ratio_of(&p->energy_j, &ref->energy_j);
    char text[120];
    set(table, row, 0, "%s%s", i == r->choice ? (table->term->is_utf8 ? "\u25b8" : ">") : "",
        i == r->reference ? "=" : "");
    set(table, row, 1, "%s", wt_search_words(r, p->values, text, sizeof(text)));
    set(table, row, 2, "%zu", p->readings);
    put_watts(table, row, 3, p->energy_j.value / p->time_s.value);
    put_ratio(table, row, 4, &time);
    put_ratio(table, row, 5, &energy);
    if (!isnan(p->breakeven_w) && i != r->reference)
        set(table, row, 6, "%.0f W", p->breakeven_w);
    set(table, row, 7, "%s",
        i == r->choice      ? (i == r->reference ? "reference, keep" : "choice")
        : i == r->reference ? "reference"
        : p->is_tied        ? "tie"
        : !p->is_admissible ? "beyond the limits"
        : i == r->best      ? "lowest"
                            : "");
    table->colours[row] = i == r->choice ? GREEN : PLAIN;
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
    static const struct column columns[] = {
        {"", false, NULL},           {"setting", true, NULL},    {"readings", true, "read"},
        {"mean", true, NULL},        {"rel. time", false, NULL}, {"rel. energy", false, NULL},
        {"saves below", true, NULL}, {"", false, NULL},
    };
    static const struct step steps[] = {
        {4, BRIEF}, {5, BRIEF}, {2, BRIEF}, {2, HIDDEN}, {3, HIDDEN}, {6, HIDDEN}, {4, HIDDEN},
    };
    const struct wt_search_result *r = result;
    struct wt_plain plain;
    struct table table;
    char text[700];
    wt_plain_enter(&plain);
    if (story->emulation && *story->emulation)
        print_banner(term, "EMULATED", story->emulation, "no real device was measured");
    else if (story->provenance == WT_PROV_REPLAYED)
        print_banner(term, "REPLAYED", story->source, "nothing was measured here");
    size_t *order = calloc(r->point_count, sizeof(*order));
    if (order && table_init(&table, term, columns, WT_COUNTOF(columns), r->point_count)) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < r->point_count; i++) {
            size_t k = i;
            for (; k > 0 && is_lower(r, i, order[k - 1]); k--)
                order[k] = order[k - 1];
            order[k] = i;
        }
        for (size_t i = 0; i < r->point_count; i++)
            put_point(&table, i, r, order[i]);
        table_print(&table);
        table_done(&table);
    }
    free(order);
    fputc('\n', term->out);
    print_wrapped(term, r->is_saving_real ? GREEN : BOLD, "  ",
                  wt_search_advice(r, story, text, sizeof(text)));
    for (size_t i = 0; i < r->warning_count; i++)
        print_wrapped(term, YELLOW, "  note: ", r->warnings[i]);
    for (size_t i = 0; i < story->remark_count; i++)
        print_wrapped(term, YELLOW, "  note: ", story->remarks[i]);
    wt_plain_leave(&plain);
}

/* ---- the list of runs ---- */

/* How much of their ids tells these runs apart: a beginning is as good as the whole to name one.
 * Never less than date and time. */
static int unique_length(const struct wt_run *runs, size_t count)
{
    size_t length = 15;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count && k < i + 2; k++) { /* they are in order */
            size_t n = 0;
            while (runs[i].id[n] && runs[i].id[n] == runs[k].id[n])
                n++;
            length = n + 1 > length ? n + 1 : length;
        }
    return (int)length;
}

/* With its interval, or else the value; of an estimate, whose value alone says too much, from where
 * to where. */
static void put_total(struct table *table, size_t row, size_t column, const struct wt_run *run)
{
    struct cell *cell = cell_at(table, row, column);
    const struct wt_joules *t = &run->total;
    char text[96];
    set(table, row, column, "%s", wt_format_interval(text, sizeof(text), t));
    char unit[8], low[24], high[24];
    if (t->provenance == WT_PROV_MODELED &&
        sscanf(text, "%*s %7s [%23[^,], %23[^]]]", unit, low, high) == 3)
        wt_text(cell->brief, sizeof(cell->brief), "%s to %s %s", low, high, unit);
    else if (t->provenance != WT_PROV_UNKNOWN)
        wt_format_joules(cell->brief, sizeof(cell->brief), t->energy_j);
}

static void put_state(struct table *table, size_t row, size_t column, const struct wt_run *run,
                      const char *what)
{
    struct cell *cell = cell_at(table, row, column);
    bool is_modeled = run->total.provenance == WT_PROV_MODELED;
    const char *real = run->is_emulated ? "emulated" : run->is_replayed ? "replayed" : "";
    const char *brief = run->is_emulated ? "emu." : run->is_replayed ? "replay" : "";
    set(table, row, column, "%s%s%s%s%s", what, what[0] && real[0] ? ", " : "", real,
        is_modeled && (what[0] || real[0]) ? ", " : "", is_modeled ? "modeled" : "");
    wt_text(cell->brief, sizeof(cell->brief), "%s%s%s%s%s", what, what[0] && real[0] ? "," : "",
            brief, is_modeled && (what[0] || real[0]) ? "," : "", is_modeled ? "modeled" : "");
}

void wt_report_runs(const struct wt_term *term, const struct wt_run *runs, size_t count)
{
    static const struct column columns[] = {
        {"id", false, NULL},    {"begun", false, NULL},   {"energy", true, NULL},
        {"time", true, NULL},   {"setting", false, NULL}, {"tag", false, NULL},
        {"state", false, NULL}, {"command", false, NULL},
    };
    /* An id begins with the time. */
    static const struct step steps[] = {{2, BRIEF},  {1, HIDDEN}, {0, BRIEF}, {5, HIDDEN},
                                        {3, HIDDEN}, {4, BRIEF},  {6, BRIEF}, {4, HIDDEN}};
    if (!count) {
        fputs("no runs are stored yet; `wattune run -- CMD` makes one\n", term->out);
        return;
    }
    struct wt_plain plain;
    struct table table;
    char text[64];
    wt_plain_enter(&plain);
    if (table_init(&table, term, columns, WT_COUNTOF(columns), count)) {
        int id_length = unique_length(runs, count);
        table.last_min = 12;
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < count; i++) {
            const struct wt_run *run = &runs[i];
            time_t t = (time_t)(run->start_unix_ns / WT_NS_PER_S);
            struct tm tm;
            set(&table, i, 0, "%s", run->id);
            wt_text(cell_at(&table, i, 0)->brief, sizeof(cell_at(&table, i, 0)->brief), "%.*s",
                    id_length, cell_at(&table, i, 0)->full);
            if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm))
                set(&table, i, 1, "%s", text);
            put_total(&table, i, 2, run);
            set(&table, i, 3, "%s", wt_format_seconds(text, sizeof(text), run->wall_s));
            set(&table, i, 4, "%s", run->label);
            brief_label(cell_at(&table, i, 4));
            set(&table, i, 5, "%s", run->tag);
            char what[32] = "";
            if (run->state == WT_RUN_RUNNING)
                wt_text(what, sizeof(what), "running");
            else if (run->state == WT_RUN_INCOMPLETE)
                wt_text(what, sizeof(what), "incomplete");
            else if (run->exit_code)
                wt_text(what, sizeof(what), "exit %d", run->exit_code);
            put_state(&table, i, 6, run, what);
            set(&table, i, 7, "%.190s", run->command);
            table.colours[i] = run->state == WT_RUN_INCOMPLETE ? YELLOW : PLAIN;
        }
        table_print(&table);
    }
    table_done(&table);
    wt_plain_leave(&plain);
}
