/* table: text that fits a window - lines broken at its width, tables whose columns give way.
 *
 * A column that has a shorter form takes it, then the least needed ones go, and the last column is
 * cut. What comes from outside may hold anything, so control characters never reach the terminal.
 */
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report/table.h"
#include "report/words.h"

static const char *const paints[] = {
    [WT_PLAIN] = "",           [WT_DIM] = "\033[2m",     [WT_BOLD] = "\033[1m",
    [WT_GREEN] = "\033[1;32m", [WT_YELLOW] = "\033[33m", [WT_RED] = "\033[31m",
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

static unsigned wt_term_width(const struct wt_term *term)
{
    return term->width ? term->width : 80;
}

static const char *wt_term_paint(const struct wt_term *term, enum wt_paint colour)
{
    return term->is_colour ? paints[colour] : "";
}

static const char *wt_term_unpaint(const struct wt_term *term, enum wt_paint colour)
{
    return term->is_colour && colour != WT_PLAIN ? "\033[0m" : "";
}

/* ---- text in columns ---- */

/* Columns a text takes: characters, as names here are in scripts of single width. */
size_t wt_term_columns(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Bytes of the first n characters. */
static size_t wt_term_bytes(const char *text, size_t n)
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
void wt_term_clean(const struct wt_term *term, char *text)
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
void wt_term_wrap(const struct wt_term *term, enum wt_paint colour, const char *lead,
                  const char *text)
{
    char copy[1200];
    wt_text(copy, sizeof(copy), "%s", text);
    wt_term_clean(term, copy);
    size_t indent = wt_term_columns(lead), at = indent;
    size_t width = wt_term_width(term) > indent + 20 ? wt_term_width(term) : indent + 20;
    fprintf(term->out, "%s%s", lead, wt_term_paint(term, colour));
    bool is_first = true;
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        size_t length = wt_term_columns(word);
        if (!is_first && at + 1 + length > width) {
            fprintf(term->out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!is_first) {
            fputc(' ', term->out);
            at++;
        }
        for (; at + length > width; length = wt_term_columns(word)) { /* longer than a whole line */
            size_t n = wt_term_bytes(word, width - at);
            fprintf(term->out, "%.*s\n%*s", (int)n, word, (int)indent, "");
            word += n;
            at = indent;
        }
        fputs(word, term->out);
        at += length;
        is_first = false;
    }
    fprintf(term->out, "%s\n", wt_term_unpaint(term, colour));
}

/* ---- tables ---- */

bool wt_table_init(struct wt_table *table, const struct wt_term *term,
                   const struct wt_column *columns, size_t column_count, size_t row_count)
{
    *table = (struct wt_table){.term = term,
                               .columns = columns,
                               .column_count = column_count,
                               .row_count = row_count,
                               .last_min = 16};
    table->cells = calloc(column_count * (row_count + 1), sizeof(*table->cells));
    table->colours = calloc(row_count + 1, sizeof(*table->colours));
    return table->cells && table->colours;
}

void wt_table_done(struct wt_table *table)
{
    free(table->cells);
    free(table->colours);
}

struct wt_cell *wt_table_cell(const struct wt_table *table, size_t row, size_t column)
{
    return &table->cells[row * table->column_count + column];
}

void wt_table_set(struct wt_table *table, size_t row, size_t column, const char *fmt, ...)
{
    struct wt_cell *cell = wt_table_cell(table, row, column);
    va_list args;
    va_start(args, fmt);
    vsnprintf(cell->full, sizeof(cell->full), fmt, args);
    va_end(args);
    wt_term_clean(table->term, cell->full);
}

static const char *text_of(const struct wt_cell *cell, enum wt_form form)
{
    return form == WT_BRIEF && cell->brief[0] ? cell->brief : cell->full;
}

static const char *head_of(const struct wt_column *column, enum wt_form form)
{
    return form == WT_BRIEF && column->brief ? column->brief : column->head;
}

/* A row that is nothing but words, such as a heading: it may be longer than its column. */
static bool is_heading(const struct wt_table *table, size_t row)
{
    for (size_t c = 1; c < table->column_count; c++)
        if (wt_table_cell(table, row, c)->full[0])
            return false;
    return table->is_whole;
}

/* Width of a column in a form; 0 when it is hidden or empty all the way down. */
static size_t column_width(const struct wt_table *table, size_t column, enum wt_form form)
{
    size_t width = 0;
    if (form == WT_HIDDEN)
        return 0;
    for (size_t i = 0; i < table->row_count; i++) {
        size_t n = wt_term_columns(text_of(wt_table_cell(table, i, column), form));
        width = n > width && !is_heading(table, i) ? n : width;
    }
    size_t head = wt_term_columns(head_of(&table->columns[column], form));
    return width && head > width ? head : width;
}

/* What the table needs; the last column can be cut, down to last_min. */
static size_t table_width(const struct wt_table *table, const enum wt_form *forms)
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

/* *io_owed: blanks that stand before the next text there is, so that no line ends with some. */
static void print_cell(const struct wt_table *table, const char *text, size_t width, bool is_right,
                       size_t *io_owed)
{
    size_t n = wt_term_columns(text), blanks = width > n ? width - n : 0;
    size_t before = *io_owed + 2 + (is_right ? blanks : 0);
    *io_owed = is_right ? 0 : blanks;
    if (n)
        fprintf(table->term->out, "%*s%s", (int)before, "", text);
    else
        *io_owed += before;
}

/* Text too long for its place, over as many lines as it takes. */
static void print_long(const struct wt_table *table, const char *text)
{
    size_t window = wt_term_width(table->term), at = 0;
    size_t room = window > 12 ? window - 2 : 10;
    do {
        size_t n = wt_term_bytes(text + at, room);
        fprintf(table->term->out, "  %.*s", (int)n, text + at);
        at += n;
        if (text[at])
            fputc('\n', table->term->out);
    } while (text[at]);
}

/* Gives way until it fits, or there is nothing left to give. */
static bool fit(const struct wt_table *table, enum wt_form forms[WT_COLUMNS_MAX])
{
    size_t window = wt_term_width(table->term);
    for (size_t i = 0; i < table->step_count && table_width(table, forms) > window; i++)
        forms[table->steps[i].column] = table->steps[i].form;
    return table_width(table, forms) <= window;
}

bool wt_table_fits(const struct wt_table *table)
{
    enum wt_form forms[WT_COLUMNS_MAX] = {WT_FULL};
    return fit(table, forms);
}

void wt_table_print(const struct wt_table *table)
{
    enum wt_form forms[WT_COLUMNS_MAX] = {WT_FULL};
    size_t window = wt_term_width(table->term), last = table->column_count - 1;
    fit(table, forms);
    size_t widths[WT_COLUMNS_MAX], total = 0;
    for (size_t c = 0; c < table->column_count; c++) {
        widths[c] = column_width(table, c, forms[c]);
        total += widths[c] ? widths[c] + 2 : 0;
    }
    /* What still does not fit is cut off the last column, not below its head's width. */
    size_t floor = wt_term_columns(head_of(&table->columns[last], forms[last]));
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
        fputs(wt_term_paint(table->term, WT_DIM), out);
        for (size_t c = 0, owed = 0; c < table->column_count; c++)
            if (widths[c])
                print_cell(table, head_of(&table->columns[c], forms[c]), widths[c],
                           table->columns[c].is_right, &owed);
        fprintf(out, "%s\n", wt_term_unpaint(table->term, WT_DIM));
    }
    for (size_t i = 0; i < table->row_count; i++) {
        enum wt_paint colour = table->colours[i];
        size_t owed = 0;
        fputs(wt_term_paint(table->term, colour), out);
        for (size_t c = 0; c < table->column_count; c++) {
            if (!widths[c])
                continue;
            char text[sizeof(((struct wt_cell *)0)->full) + 8];
            wt_text(text, sizeof(text), "%s", text_of(wt_table_cell(table, i, c), forms[c]));
            if (c == 0 && table->is_whole && is_heading(table, i)) {
                print_long(table, text);
                break;
            }
            if (c == 0 && table->is_whole && wt_term_columns(text) > widths[c]) {
                print_long(table, text);
                fputc('\n', out);
                text[0] = '\0';
            }
            if (wt_term_columns(text) > widths[c]) {
                text[wt_term_bytes(text, widths[c] - 1)] = '\0';
                strcat(text, table->term->is_utf8 ? "\u2026" : "~");
            }
            print_cell(table, text, widths[c], table->columns[c].is_right, &owed);
        }
        fprintf(out, "%s\n", wt_term_unpaint(table->term, colour));
    }
}

void wt_table_watts(struct wt_table *table, size_t row, size_t column, double watts)
{
    if (isfinite(watts))
        wt_table_set(table, row, column, "%.*f W",
                     fabs(watts) < 9.95    ? 2
                     : fabs(watts) < 99.95 ? 1
                                           : 0,
                     watts);
}

/* "1.3 to 18.7 J" of "7.7 J [1.3, 18.7]". */
static void put_band(struct wt_cell *cell)
{
    char unit[8], low[24], high[24];
    if (sscanf(cell->full, "%*s %7s [%23[^,], %23[^]]]", unit, low, high) == 3)
        wt_text(cell->brief, sizeof(cell->brief), "%s to %s %s", low, high, unit);
}

void wt_table_joules(struct wt_table *table, size_t row, size_t column,
                     const struct wt_joules *joules)
{
    struct wt_cell *cell = wt_table_cell(table, row, column);
    char text[96];
    wt_table_set(table, row, column, "%s", wt_format_interval(text, sizeof(text), joules));
    if (joules->provenance == WT_PROV_MODELED)
        put_band(cell);
    else if (joules->provenance != WT_PROV_UNKNOWN)
        wt_format_joules(cell->brief, sizeof(cell->brief), joules->energy_j);
}

void wt_table_power(struct wt_table *table, size_t row, size_t column, const struct wt_estimate *w,
                    enum wt_provenance provenance)
{
    char text[96];
    if (provenance != WT_PROV_MODELED || !isfinite(w->value)) {
        wt_table_watts(table, row, column, w->value);
        return;
    }
    wt_table_set(table, row, column, "%s", wt_watts_interval(text, sizeof(text), w));
    put_band(wt_table_cell(table, row, column));
}

/* Above all figures of a run or sweep: that they are not of this machine. */
void wt_term_banner(const struct wt_term *term, const char *word, const char *what,
                    const char *words)
{
    char text[400];
    wt_text(text, sizeof(text), "%s%s%s: %s", word, what[0] ? " " : "", what, words);
    wt_term_wrap(term, WT_YELLOW, "  ", text);
}

void wt_table_brief_label(struct wt_cell *cell)
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
