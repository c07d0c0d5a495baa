/* sheet: a table of the catalogue out of its text. See sheet.h.
 *
 * Columns are found by their names, so that a user's table may have few of them. Nothing stops at a
 * mistake: a user who checks a table wants all of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalogue/sheet.h"

#define LENGTH_OF_A_SOURCE (sizeof(((struct wt_region *)0)->source) - 1)

/* ---- problems ---- */

static char *place_of(const struct wt_sheet *sheet, unsigned line, char *buf, size_t size)
{
    char number[16] = "";
    const char *path = sheet->path ? sheet->path : "the built-in table";
    if (line)
        wt_text(number, sizeof(number), ":%u", line);
    size_t room = size - strlen(number) - 4, length = strlen(path);
    return wt_text(buf, size, "%s%s%s", length > room ? "..." : "",
                   length > room ? path + length - room : path, number);
}

void wt_problem_add(struct wt_problems *problems, const struct wt_sheet *sheet, unsigned line,
                    int column, bool is_warning, const char *fix, const char *fmt, ...)
{
    if (!problems)
        return;
    problems->errors += !is_warning;
    problems->warnings += is_warning;
    if (problems->count >= WT_PROBLEMS_MAX)
        return;
    if (problems->count % 16 == 0) {
        struct wt_data_problem *more =
            reallocarray(problems->list, problems->count + 16, sizeof(*more));
        if (!more) {
            problems->has_no_memory = true;
            return;
        }
        problems->list = more;
    }
    struct wt_data_problem *p = &problems->list[problems->count++];
    *p = (struct wt_data_problem){.is_warning = is_warning};
    place_of(sheet, line, p->place, sizeof(p->place));
    if (column >= 0)
        wt_text(p->column, sizeof(p->column), "%s", wt_schemas[sheet->kind].fields[column].name);
    wt_text(p->fix, sizeof(p->fix), "%s", fix ? fix : "");
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(p->text, sizeof(p->text), fmt, args) < 0)
        p->text[0] = '\0';
    va_end(args);
}

/* ---- cells of a line ---- */

enum { HAS_COMMA = 1, HAS_QUOTE = 2, IS_OPEN = 4 };

static char *trimmed(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        text[--n] = '\0';
    return text;
}

/* The next cell, cut out of the line and of the quotes that spreadsheets put around words. */
static char *next_cell(char **io_rest, unsigned *io_flags)
{
    char *cell = *io_rest;
    if (!cell)
        return NULL;
    cell += strspn(cell, " \t");
    if (*cell != '"') {
        char *comma = strchr(cell, ',');
        if (comma)
            *comma = '\0';
        *io_rest = comma ? comma + 1 : NULL;
        *io_flags |= strchr(cell, '"') ? HAS_QUOTE : 0;
        return trimmed(cell);
    }
    char *end = ++cell;
    for (; *end && !(*end == '"' && end[1] != '"'); end++) {
        if (*end == '"') {
            *io_flags |= HAS_QUOTE;
            end++;
        }
        *io_flags |= *end == ',' ? HAS_COMMA : 0;
    }
    if (!*end) {
        *io_flags |= IS_OPEN;
        *io_rest = NULL;
        return trimmed(cell);
    }
    *end++ = '\0';
    size_t beyond = strcspn(end, ",");
    if (strspn(end, " \t") < beyond)
        *io_flags |= HAS_QUOTE;
    *io_rest = end[beyond] ? end + beyond + 1 : NULL;
    return trimmed(cell);
}

/* ---- the header ---- */

/* Edits that make one word of another; words are columns' names. */
static unsigned edits(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    size_t n = strlen(a), m = strlen(b);
    unsigned row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (unsigned k = 0; k <= m; k++)
        row[k] = k;
    for (size_t i = 0; i < n; i++) {
        unsigned before = row[0]; /* of the row above, one to the left */
        row[0] = (unsigned)i + 1;
        for (size_t k = 0; k < m; k++) {
            unsigned here = row[k + 1], best = before + (a[i] != b[k]);
            best = best < here + 1 ? best : here + 1;
            best = best < row[k] + 1 ? best : row[k] + 1;
            row[k + 1] = best;
            before = here;
        }
    }
    return row[m];
}

static int column_named(const struct wt_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->count; i++)
        if (strcasecmp(schema->fields[i].name, name) == 0)
            return (int)i;
    return -1;
}

static const char *close_to(const struct wt_schema *schema, const char *name)
{
    unsigned least = 3;
    const char *best = NULL;
    for (size_t i = 0; i < schema->count; i++) {
        unsigned n = edits(name, schema->fields[i].name);
        if (n < least && n < strlen(name)) {
            least = n;
            best = schema->fields[i].name;
        }
    }
    return best;
}

/* What each column of the file is, or -1. Returns how many it has; 0: it cannot be read. */
static size_t read_header(const struct wt_sheet *sheet, unsigned number, char *line,
                          int *ret_columns, size_t max, struct wt_problems *problems)
{
    const struct wt_schema *schema = &wt_schemas[sheet->kind];
    char fix[200];
    unsigned flags = 0;
    size_t count = 0;
    bool is_seen[WT_FIELDS_MAX] = {false};
    if (!strchr(line, ',') && (strchr(line, ';') || strchr(line, '\t'))) {
        wt_problem_add(problems, sheet, number, -1, false, "save it as a CSV with commas",
                       "the columns are parted by %s, not by commas",
                       strchr(line, ';') ? "semicolons" : "tabs");
        return 0;
    }
    for (char *cell; (cell = next_cell(&line, &flags)) != NULL && count < max; count++) {
        int column = ret_columns[count] = column_named(schema, cell);
        const char *close = column < 0 ? close_to(schema, cell) : NULL;
        if (column >= 0 && is_seen[column]) {
            wt_problem_add(problems, sheet, number, column, false, "leave one of them out",
                           "two columns have this name");
            ret_columns[count] = -1;
        } else if (column >= 0) {
            is_seen[column] = true;
        } else if (close) {
            wt_text(fix, sizeof(fix), "call it %s", close);
            wt_problem_add(problems, sheet, number, -1, false, fix, "no column is called \"%.40s\"",
                           cell);
        } else if (*cell) {
            wt_problem_add(problems, sheet, number, -1, true, NULL,
                           "a column \"%.40s\" is read by nothing", cell);
        }
    }
    for (size_t i = 0; i < schema->count; i++)
        if (!is_seen[i] && (i == schema->key || schema->fields[i].type == WT_FIELD_GPU)) {
            wt_text(fix, sizeof(fix), "the first line names the columns, %s among them",
                    schema->fields[i].name);
            wt_problem_add(problems, sheet, number, (int)i, false, fix, "there is no such column");
            count = 0;
        }
    return count;
}

/* ---- a row ---- */

static bool is_utf8(const char *text)
{
    while (*text) {
        size_t n = wt_utf8_length(text, SIZE_MAX);
        if (!n)
            return false;
        text += n;
    }
    return true;
}

static bool is_date(const char *text)
{
    static const char form[] = "dddd-dd-dd";
    size_t n = strlen(text);
    if (n != 4 && n != 7 && n != 10)
        return false;
    for (size_t i = 0; i < n; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != '-')
            return false;
    return true;
}

static bool is_id(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text == 0x7f || strchr(",\"*?", *text))
            return false;
    return true;
}

static bool is_country(const char *text)
{
    return strlen(text) == 3 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3;
}

static void check_number(const struct wt_sheet *sheet, unsigned line, int column, const char *text,
                         struct wt_problems *problems)
{
    const struct wt_field *field = &wt_schemas[sheet->kind].fields[column];
    double value;
    int rc = wt_text_to_double(text, &value);
    bool is_whole = field->type == WT_FIELD_COUNT;
    if (rc < 0)
        wt_problem_add(problems, sheet, line, column, false,
                       "a number with a decimal point and no unit is wanted, or nothing where it "
                       "is not known",
                       "\"%.40s\" is no number", text);
    else if (value < field->low || value > field->high)
        wt_problem_add(problems, sheet, line, column, false,
                       strcmp(field->name, "pue") == 0
                           ? "the facility's energy over that of its computers is wanted"
                           : "see the unit in the column's name",
                       "%.40s is not from %g to %g", text, field->low, field->high);
    else if (is_whole && value != floor(value))
        wt_problem_add(problems, sheet, line, column, false, "a whole number is wanted",
                       "%.40s is no whole number", text);
}

static void check_text(const struct wt_sheet *sheet, unsigned line, int column, const char *text,
                       struct wt_problems *problems)
{
    const struct wt_field *field = &wt_schemas[sheet->kind].fields[column];
    size_t longest = field->longest ? field->longest : LENGTH_OF_A_SOURCE;
    if (strlen(text) > longest)
        wt_problem_add(problems, sheet, line, column, false, "shorten it",
                       "%zu bytes are more than the %zu that it may have", strlen(text), longest);
    if (field->type == WT_FIELD_ID && !is_id(text))
        wt_problem_add(problems, sheet, line, column, false,
                       "letters, digits, dots, dashes and colons make an id",
                       "\"%.40s\" is no id: it has a blank, a quote, * or ?", text);
    if (field->type == WT_FIELD_ID && sheet->kind == WT_DATA_GPUS && strchr(text, ':'))
        wt_problem_add(problems, sheet, line, column, false, "write a dash in its place",
                       "\"%.40s\" holds a colon, behind which --gpu has their number", text);
    if (field->type == WT_FIELD_DATE && !is_date(text))
        wt_problem_add(problems, sheet, line, column, false, "write 2025, 2025-06 or 2025-06-30",
                       "\"%.40s\" is no year or date", text);
    if (field->type == WT_FIELD_COUNTRY && !is_country(text))
        wt_problem_add(problems, sheet, line, column, false,
                       "three capitals as of ISO 3166 are wanted: DEU", "\"%.40s\" is no country",
                       text);
}

static void check_cells(const struct wt_sheet *sheet, unsigned line, const char *const *cells,
                        struct wt_problems *problems)
{
    const struct wt_schema *schema = &wt_schemas[sheet->kind];
    for (size_t i = 0; i < schema->count; i++) {
        const struct wt_field *field = &schema->fields[i];
        bool is_number = field->type == WT_FIELD_NUMBER || field->type == WT_FIELD_COUNT;
        if (!*cells[i]) {
            if (field->type == WT_FIELD_GPU)
                wt_problem_add(problems, sheet, line, (int)i, false,
                               "name one of `wattune data list gpus`", "no GPU is named");
            continue;
        }
        if (is_number)
            check_number(sheet, line, (int)i, cells[i], problems);
        else
            check_text(sheet, line, (int)i, cells[i], problems);
        if (field->source >= 0 && !*cells[field->source]) {
            char fix[200];
            wt_text(fix, sizeof(fix), "say in %s where it is from; \"assumed\" is an answer",
                    schema->fields[field->source].name);
            wt_problem_add(problems, sheet, line, (int)i, true, fix, "\"%.40s\" has no source",
                           cells[i]);
        }
    }
}

static int keep_row(struct wt_sheet *sheet, unsigned line, const char *const *cells)
{
    size_t width = wt_schemas[sheet->kind].count;
    if (sheet->count == sheet->room) {
        size_t room = sheet->room ? sheet->room * 2 : 64;
        const char **more = reallocarray(sheet->cells, room * width, sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        sheet->cells = more;
        unsigned *lines = reallocarray(sheet->lines, room, sizeof(*lines));
        if (!lines)
            return WT_E_NOMEM;
        sheet->lines = lines;
        sheet->room = room;
    }
    memcpy(sheet->cells + sheet->count * width, cells, width * sizeof(*cells));
    sheet->lines[sheet->count++] = line;
    return 0;
}

static int read_row(struct wt_sheet *sheet, unsigned number, char *line, const int *columns,
                    size_t column_count, struct wt_problems *problems)
{
    const struct wt_schema *schema = &wt_schemas[sheet->kind];
    const char *cells[WT_FIELDS_MAX];
    unsigned flags = 0;
    size_t count = 0;
    if (!is_utf8(line)) {
        wt_problem_add(problems, sheet, number, -1, false, "save it as UTF-8",
                       "bytes that are no UTF-8");
        return 0;
    }
    for (size_t i = 0; i < schema->count; i++)
        cells[i] = "";
    for (char *cell; (cell = next_cell(&line, &flags)) != NULL; count++)
        if (count < column_count && columns[count] >= 0)
            cells[columns[count]] = cell;
    if (flags & IS_OPEN)
        wt_problem_add(problems, sheet, number, -1, false, "leave quotes out",
                       "a quote is opened and not closed");
    else if (flags & HAS_COMMA)
        wt_problem_add(problems, sheet, number, -1, false, "write something else in its place",
                       "a cell holds a comma");
    else if (flags & HAS_QUOTE)
        wt_problem_add(problems, sheet, number, -1, false, "leave quotes out",
                       "a cell holds a quote");
    if (!(flags & IS_OPEN) && count != column_count) {
        wt_problem_add(problems, sheet, number, -1, false,
                       "a cell that is not known is empty, and its comma stays",
                       "%zu cells, where the first line names %zu columns", count, column_count);
        return 0;
    }
    if (!*cells[schema->key]) {
        wt_problem_add(problems, sheet, number, (int)schema->key, false,
                       "name the row, so that it can be found", "it is empty");
        return 0;
    }
    if (problems)
        check_cells(sheet, number, cells, problems);
    return keep_row(sheet, number, cells);
}

static bool is_nothing(const char *line)
{
    return line[strspn(line, " \t\r,")] == '\0' || *line == '#';
}

int wt_sheet_read(struct wt_sheet *ret_sheet, enum wt_data kind, char *text, size_t size,
                  const char *path, struct wt_problems *problems, struct wt_error *err)
{
    enum { COLUMNS_MAX = 64 };
    struct wt_sheet sheet = {.kind = kind, .text = text, .path = path ? strdup(path) : NULL};
    int columns[COLUMNS_MAX], rc = path && !sheet.path ? WT_E_NOMEM : 0;
    size_t column_count = 0;
    unsigned number = 0;
    bool has_header = false;
    const char *flaw = wt_text_flaw(text, size, true);
    if (rc == 0 && flaw) {
        wt_problem_add(problems, &sheet, 0, -1, false, "save it as UTF-8", "%s", flaw);
        text[0] = '\0';
    }
    for (char *rest = wt_text_after_mark(text), *line;
         rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
        number++;
        size_t n = strlen(line);
        if (n && line[n - 1] == '\r')
            line[n - 1] = '\0';
        if (is_nothing(line))
            continue;
        if (has_header && column_count) {
            rc = read_row(&sheet, number, line, columns, column_count, problems);
        } else if (!has_header) {
            column_count = read_header(&sheet, number, line, columns, COLUMNS_MAX, problems);
            has_header = true;
        }
    }
    if (rc == 0 && !has_header && !flaw)
        wt_problem_add(problems, &sheet, 0, -1, false, "its first line names the columns",
                       "it is empty");
    if (rc < 0) {
        wt_sheet_done(&sheet);
        return wt_fail(err, rc, "no memory for %s", path ? path : wt_schemas[kind].name);
    }
    *ret_sheet = sheet;
    return 0;
}

void wt_sheet_done(struct wt_sheet *sheet)
{
    free(sheet->path);
    free(sheet->text);
    free(sheet->cells);
    free(sheet->lines);
    *sheet = (struct wt_sheet){0};
}

/* ---- what was read ---- */

const char *wt_sheet_cell(const struct wt_sheet *sheet, size_t row, size_t column)
{
    return sheet->cells[row * wt_schemas[sheet->kind].count + column];
}

double wt_sheet_number(const struct wt_sheet *sheet, size_t row, size_t column)
{
    double value;
    const char *text = wt_sheet_cell(sheet, row, column);
    return *text && wt_text_to_double(text, &value) == 0 ? value : NAN;
}

char *wt_sheet_origin(const struct wt_sheet *sheet, size_t row, char *buf, size_t size)
{
    if (!sheet->path)
        return wt_text(buf, size, "%s", "");
    return place_of(sheet, sheet->lines[row], buf, size);
}

bool wt_same_key(enum wt_data kind, const char *a, const char *b)
{
    return wt_schemas[kind].is_case_kept ? strcmp(a, b) == 0 : strcasecmp(a, b) == 0;
}

bool wt_sheet_guess(const char *text, enum wt_data *ret_kind)
{
    char header[2048];
    size_t most = 1;
    bool is_one = false;
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    for (; text; text = strchr(text, '\n')) {
        text += *text == '\n';
        wt_text(header, sizeof(header), "%.*s", (int)strcspn(text, "\r\n"), text);
        if (!is_nothing(header))
            break;
    }
    for (int kind = 0; text && kind < WT_DATA_KINDS; kind++) {
        const struct wt_schema *schema = &wt_schemas[kind];
        char line[sizeof(header)], *rest = line;
        size_t known = 0;
        unsigned flags = 0;
        bool has_key = false;
        memcpy(line, header, sizeof(line));
        for (char *cell; (cell = next_cell(&rest, &flags)) != NULL;) {
            int column = column_named(schema, cell);
            known += column >= 0;
            has_key |= column == (int)schema->key;
        }
        if (!has_key || known < most)
            continue;
        is_one = known > most;
        most = known;
        *ret_kind = (enum wt_data)kind;
    }
    return is_one;
}
