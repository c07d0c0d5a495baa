/* replay: the same search on recorded points, which no device is needed for. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "search/search.h"

#define COLUMNS_MAX  16
#define LINE_MAX_    4096
#define ROWS_MAX     100000
#define SETTINGS_MAX 4096
#define WORD_MAX_    60
#define ROWS_AT_ONCE 2 /* of a setting that has repeats: then the spread is known */

enum column {
    COLUMN_TIME,
    COLUMN_ENERGY,
    COLUMN_EPOCHS,
    COLUMN_WORK,
    COLUMN_UNIT,
    COLUMN_BOUND,
    COLUMN_OFFSET,
    COLUMN_REFERENCE,
    COLUMN_AXES, /* from here on: of an axis */
};

static const struct {
    const char *name;
    bool may_be_zero;
} known_columns[COLUMN_AXES] = {
    [COLUMN_TIME] = {"time_s", false},           [COLUMN_ENERGY] = {"energy_j", false},
    [COLUMN_EPOCHS] = {"epochs", false},         [COLUMN_WORK] = {"work", false},
    [COLUMN_UNIT] = {"work_unit", false},        [COLUMN_BOUND] = {"energy_bound_j", true},
    [COLUMN_OFFSET] = {"sensor_offset_w", true}, [COLUMN_REFERENCE] = {"is_reference", true},
};

/* What a parameter's column has held so far, each once. */
struct values {
    double *numbers; /* owned; NaN: none above 0. As many as the words, which the replay owns */
    size_t count;
    bool is_words; /* one was no number: then all are words */
    bool has_number;
    size_t odd, line; /* the first that was none, and where */
};

/* A file's columns, and what is told of its rows together. */
struct layout {
    struct values values[WT_SEARCH_AXES];
    size_t columns[COLUMNS_MAX];
    bool has[COLUMN_AXES];
    size_t reference; /* candidate of the first row that says so; SIZE_MAX: none */
    size_t reference_line;
    double offset_w; /* largest */
    char names[COLUMNS_MAX][32];
    size_t count;
};

static bool is_blank(const char *line)
{
    line += strspn(line, " \t\r\n");
    return !*line || *line == '#';
}

/* "# wattune 0.1.0, what was run, modeled", or ", emulated PROFILE": the title that a sweep gives
 * its CSV. */
static void read_title(struct wt_replay *r, char *line)
{
    static const char mark[] = ", emulated ", modeled[] = ", modeled";
    if (strncmp(line, "# wattune ", 10) != 0)
        return;
    line[strcspn(line, "\r\n")] = '\0';
    size_t length = strlen(line), ending = strlen(modeled);
    r->is_modeled = length >= ending && strcmp(line + length - ending, modeled) == 0;
    for (const char *at = line; (at = strstr(at, mark));) {
        at += strlen(mark);
        wt_text(r->emulation, sizeof(r->emulation), "%s", at);
    }
}

static int add_axis(struct wt_replay *r, const char *column, const char *path, struct wt_error *err)
{
    if (r->axis_count == WT_SEARCH_AXES)
        return wt_fail(err, WT_E_FORMAT, "%s: more than %d columns of settings: %s", path,
                       WT_SEARCH_AXES, column);
    struct wt_search_axis *axis = &r->axes[r->axis_count++];
    if (strcasecmp(column, "power_w") == 0) {
        *axis = (struct wt_search_axis){.name = "power", .unit = "W", .form = WT_AXIS_POWER};
    } else if (strcasecmp(column, "clock_mhz") == 0) {
        *axis = (struct wt_search_axis){.name = "clock", .unit = "MHz", .form = WT_AXIS_CLOCK};
    } else {
        *axis = (struct wt_search_axis){.form = WT_AXIS_OTHER};
        wt_text(axis->name, sizeof(axis->name), "%s", column);
    }
    return 0;
}

static int read_header(struct wt_replay *r, struct layout *layout, char *line, const char *path,
                       size_t number, struct wt_error *err)
{
    double value;
    layout->reference = SIZE_MAX;
    for (char *field; (field = wt_text_field(&line));) {
        if (layout->count == COLUMNS_MAX)
            return wt_fail(err, WT_E_FORMAT, "%s: more than %d columns", path, COLUMNS_MAX);
        for (size_t i = 0; i < layout->count; i++)
            if (strcmp(layout->names[i], field) == 0)
                return wt_fail(err, WT_E_FORMAT, "%s:%zu: the column %s is there twice", path,
                               number, field);
        size_t *column = &layout->columns[layout->count];
        wt_text(layout->names[layout->count++], sizeof(layout->names[0]), "%s", field);
        *column = 0;
        while (*column < COLUMN_AXES && strcasecmp(field, known_columns[*column].name) != 0)
            ++*column;
        if (*column < COLUMN_AXES) {
            layout->has[*column] = true;
        } else if (!*field || wt_text_to_double(field, &value) == 0) {
            wt_fail(err, WT_E_FORMAT, "%s: the first line holds \"%.40s\", not names of columns",
                    path, field);
            wt_fix(err, "begin it with power_w,time_s,energy_j");
            return WT_E_FORMAT;
        } else {
            *column += r->axis_count;
            int rc = add_axis(r, field, path, err);
            if (rc < 0)
                return rc;
        }
    }
    if (!layout->has[COLUMN_TIME] || !layout->has[COLUMN_ENERGY] || !r->axis_count) {
        wt_fail(err, WT_E_FORMAT, "%s: the header lacks %s", path,
                !layout->has[COLUMN_TIME]     ? "time_s"
                : !layout->has[COLUMN_ENERGY] ? "energy_j"
                                              : "a column of settings");
        wt_fix(err, "begin it with power_w,time_s,energy_j");
        return WT_E_FORMAT;
    }
    return 0;
}

static bool is_same(const double *a, const double *b)
{
    for (size_t k = 0; k < WT_SEARCH_AXES; k++)
        if (a[k] < b[k] || a[k] > b[k])
            return false;
    return true;
}

/* SIZE_MAX: there are too many. */
static size_t candidate_of(struct wt_replay *r, const double *values)
{
    for (size_t i = 0; i < r->count; i++)
        if (is_same(r->candidates[i].values, values))
            return i;
    if (r->count == SETTINGS_MAX)
        return SIZE_MAX;
    memcpy(r->candidates[r->count].values, values, sizeof(r->candidates[0].values));
    return r->count++;
}

/* Takes a parameter's value, and returns what it is along its axis: the number, or of words which
 * of them, from 1 on. Errors: WT_E_FORMAT, WT_E_NOMEM. */
static int take_value(struct wt_replay *r, struct values *v, size_t axis, const char *field,
                      const char *path, size_t line, double *ret_value, struct wt_error *err)
{
    double number = NAN;
    size_t i = 0;
    if (wt_text_to_double(field, &number) < 0 || !(number > 0))
        number = NAN;
    if (isnan(number) && (!*field || strlen(field) > WORD_MAX_))
        return wt_fail(err, WT_E_FORMAT,
                       "%s:%zu: %s is \"%.40s\", and must be a number above 0 or a word of %d "
                       "characters at most",
                       path, line, r->axes[axis].name, field, WORD_MAX_);
    while (i < v->count &&
           !(isnan(number) ? strcmp(r->words[axis][i], field) == 0 : v->numbers[i] == number))
        i++;
    if (i == v->count) {
        if (i == SETTINGS_MAX)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d different settings", path, line,
                           SETTINGS_MAX);
        char *word = strdup(field);
        char **words = reallocarray(r->words[axis], i + 1, sizeof(*words));
        if (words)
            r->words[axis] = words;
        double *numbers = reallocarray(v->numbers, i + 1, sizeof(*numbers));
        if (numbers)
            v->numbers = numbers;
        if (!word || !words || !numbers) {
            free(word);
            return wt_fail(err, WT_E_NOMEM, "%s: no memory for its words", path);
        }
        words[i] = word;
        numbers[i] = number;
        r->word_counts[axis] = ++v->count;
    }
    v->has_number |= !isnan(number);
    if (isnan(number) && !v->is_words) {
        v->is_words = true;
        v->odd = i;
        v->line = line;
        for (size_t c = 0; c < r->count; c++) { /* what was read as numbers */
            size_t k = 0;
            while (v->numbers[k] != r->candidates[c].values[axis])
                k++;
            r->candidates[c].values[axis] = (double)(k + 1);
        }
    }
    *ret_value = v->is_words ? (double)(i + 1) : number;
    return 0;
}

/* All rows are of one kind of work. */
static int read_unit(struct wt_replay *r, const char *field, const char *path, size_t number,
                     struct wt_error *err)
{
    if (!r->work_unit[0])
        wt_text(r->work_unit, sizeof(r->work_unit), "%s", field);
    if (strcmp(r->work_unit, field) == 0)
        return 0;
    return wt_fail(err, WT_E_FORMAT,
                   "%s:%zu: work in \"%.40s\", and in \"%s\" before: they do not compare", path,
                   number, field, r->work_unit);
}

static int read_row(struct wt_replay *r, struct layout *layout, char *line, const char *path,
                    size_t number, struct wt_error *err)
{
    double of[COLUMN_AXES + WT_SEARCH_AXES] = {[COLUMN_EPOCHS] = 1};
    const double *values = of + COLUMN_AXES;
    size_t i = 0;
    for (char *field; (field = wt_text_field(&line)); i++) {
        double value;
        if (i == layout->count)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than the %zu columns of the header",
                           path, number, layout->count);
        size_t column = layout->columns[i];
        if (column == COLUMN_UNIT) {
            int rc = read_unit(r, field, path, number, err);
            if (rc < 0)
                return rc;
            continue;
        }
        if (column >= COLUMN_AXES && r->axes[column - COLUMN_AXES].form == WT_AXIS_OTHER) {
            size_t axis = column - COLUMN_AXES;
            int rc =
                take_value(r, &layout->values[axis], axis, field, path, number, &of[column], err);
            if (rc < 0)
                return rc;
            continue;
        }
        bool may_be_0 = column < COLUMN_AXES && known_columns[column].may_be_zero;
        if (wt_text_to_double(field, &value) < 0 || !(may_be_0 ? value >= 0 : value > 0) ||
            !isfinite(value))
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: %s is \"%.40s\", and must be a number %s",
                           path, number, layout->names[i], field,
                           may_be_0 ? "that is not negative" : "above 0");
        of[column] = value;
    }
    if (i < layout->count)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: %zu fields where the header has %zu", path,
                       number, i, layout->count);
    if (r->row_count == ROWS_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d rows", path, number, ROWS_MAX);
    if ((r->row_count & (r->row_count + 1)) == 0) { /* 0, 1, 3, 7, ...: room for twice as many */
        size_t room = 2 * r->row_count + 1;
        struct wt_replay_row *rows = reallocarray(r->rows, room, sizeof(*rows));
        if (rows)
            r->rows = rows;
        struct wt_candidate *candidates = reallocarray(r->candidates, room, sizeof(*candidates));
        if (candidates)
            r->candidates = candidates;
        if (!rows || !candidates)
            return wt_fail(err, WT_E_NOMEM, "%s: no memory for its rows", path);
    }
    struct wt_replay_row *row = &r->rows[r->row_count++];
    size_t before = r->count;
    row->candidate = candidate_of(r, values);
    if (row->candidate == SIZE_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d different settings", path, number,
                       SETTINGS_MAX);
    if (r->count > before)
        r->candidates[row->candidate].readings_max = 0;
    r->candidates[row->candidate].readings_max++;
    row->time_s = of[COLUMN_TIME] * of[COLUMN_EPOCHS];
    row->energy_j = of[COLUMN_ENERGY] * of[COLUMN_EPOCHS];
    row->bound_j = of[COLUMN_BOUND] * of[COLUMN_EPOCHS];
    row->work = of[COLUMN_WORK];
    layout->offset_w = fmax(layout->offset_w, of[COLUMN_OFFSET]);
    if (!(of[COLUMN_REFERENCE] > 0))
        return 0;
    if (layout->reference != SIZE_MAX && layout->reference != row->candidate) {
        wt_fail(err, WT_E_FORMAT,
                "%s:%zu: is_reference is 1 as in line %zu, which is of another setting", path,
                number, layout->reference_line);
        wt_fix(err, "1 in the rows of one setting alone, 0 in the others");
        return WT_E_FORMAT;
    }
    if (layout->reference == SIZE_MAX)
        layout->reference_line = number;
    layout->reference = row->candidate;
    return 0;
}

static int note(struct wt_replay *r, const char *fmt, ...) WT_PRINTF(2, 3);
static int note(struct wt_replay *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = wt_texts_add(&r->notes, &r->note_count, fmt, args);
    va_end(args);
    return rc;
}

/* Where the rows did different amounts of work, all are made of as much as one at the reference
 * did, as a sweep's table to a target is. A step more or less is no different work. */
static int level_work(struct wt_replay *r)
{
    double least = INFINITY, most = 0, sum = 0, count = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        least = fmin(least, r->rows[i].work);
        most = fmax(most, r->rows[i].work);
        if (r->rows[i].candidate == r->reference) {
            sum += r->rows[i].work;
            count++;
        }
    }
    if (most <= 1.001 * least)
        return 0;
    for (size_t i = 0; i < r->row_count; i++) {
        double times = sum / count / r->rows[i].work;
        r->rows[i].time_s *= times;
        r->rows[i].energy_j *= times;
        r->rows[i].bound_j *= times;
    }
    return note(r,
                "the rows did different amounts of work: times and energies are per unit of it, "
                "times the %.6g%s%s of a row at the reference",
                sum / count, r->work_unit[0] ? " " : "", r->work_unit);
}

/* What the file does not say, and what is taken in its place. */
static int note_what_lacks(struct wt_replay *r, const struct layout *layout)
{
    const char *param = NULL;
    if (r->is_modeled &&
        note(r, "the energies are modeled: estimated from load, and not measured") < 0)
        return WT_E_NOMEM;
    for (size_t a = 0; a < r->axis_count; a++)
        if (r->axes[a].form == WT_AXIS_OTHER && !param)
            param = r->axes[a].name;
    if (param && !layout->has[COLUMN_WORK] && !layout->has[COLUMN_EPOCHS] &&
        note(r,
             "%s is varied, and no column says how much work a row did: each is taken to have done "
             "the same (columns work, epochs)",
             param) < 0)
        return WT_E_NOMEM;
    for (size_t a = 0; a < r->axis_count; a++) {
        const struct values *v = &layout->values[a];
        if (v->is_words && v->has_number &&
            note(r,
                 "the values of %s are taken as words: \"%s\", in line %zu, is no number above 0",
                 r->axes[a].name, r->words[a][v->odd], v->line) < 0)
            return WT_E_NOMEM;
    }
    if (param && layout->reference == SIZE_MAX &&
        note(r, "no column is_reference: the %s of the first row is the reference", param) < 0)
        return WT_E_NOMEM;
    if (!layout->has[COLUMN_BOUND])
        return note(r, "no column energy_bound_j: the intervals hold the spread of the points, not "
                       "the error of their sensors");
    return 0;
}

static size_t find_reference(const struct wt_replay *r)
{
    size_t best = 0;
    for (size_t i = 1; i < r->count; i++) {
        bool is_higher = true;
        for (size_t a = 0; a < r->axis_count; a++)
            is_higher &= r->axes[a].form == WT_AXIS_OTHER
                             ? r->candidates[i].values[a] == r->candidates[0].values[a]
                             : r->candidates[i].values[a] >= r->candidates[best].values[a];
        if (is_higher)
            best = i;
    }
    return best;
}

int wt_replay_parse(struct wt_replay *ret_replay, FILE *in, const char *path, struct wt_error *err)
{
    struct wt_replay r = {0};
    struct layout layout = {0};
    char line[LINE_MAX_];
    int rc = 0;
    size_t size;
    for (size_t number = 1; rc == 0 && (size = wt_text_line(line, sizeof(line), in)); number++) {
        const char *flaw = wt_text_flaw(line, size, number == 1);
        if (flaw) {
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", path, number, flaw);
            wt_fix(err, "save it as UTF-8");
        } else if (!strchr(line, '\n') && !feof(in)) {
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: a line of more than %d characters", path,
                         number, LINE_MAX_ - 2);
        } else if (is_blank(number == 1 ? wt_text_after_mark(line) : line)) {
            read_title(&r, line);
        } else if (!layout.count) {
            rc = read_header(&r, &layout, wt_text_after_mark(line), path, number, err);
        } else {
            rc = read_row(&r, &layout, line, path, number, err);
        }
    }
    if (rc == 0 && ferror(in))
        rc = wt_fail_errno(err, errno, "%s", path);
    if (rc == 0 && !r.row_count) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: %s", path,
                     layout.count ? "a header and no rows" : "it is empty");
        wt_fix(err, "a header power_w,time_s,energy_j and a row for each measured point");
    }
    for (size_t a = 0; a < r.axis_count; a++)
        if (layout.values[a].is_words) {
            r.axes[a].words = r.words[a];
            r.axes[a].word_count = r.word_counts[a];
        }
    if (rc < 0)
        goto out;
    r.reference = layout.reference != SIZE_MAX ? layout.reference : find_reference(&r);
    r.offset_w = layout.offset_w;
    if ((layout.has[COLUMN_WORK] && level_work(&r) < 0) || note_what_lacks(&r, &layout) < 0)
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for its notes", path);
out:
    for (size_t a = 0; a < WT_SEARCH_AXES; a++)
        free(layout.values[a].numbers);
    if (rc < 0)
        wt_replay_done(&r);
    else
        *ret_replay = r;
    return rc;
}

int wt_replay_read(struct wt_replay *ret_replay, const char *path, struct wt_error *err)
{
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = wt_replay_parse(ret_replay, in, path, err);
    fclose(in);
    return rc;
}

void wt_replay_done(struct wt_replay *replay)
{
    for (size_t i = 0; i < replay->note_count; i++)
        free(replay->notes[i]);
    free(replay->notes);
    for (size_t a = 0; a < WT_SEARCH_AXES; a++) {
        for (size_t i = 0; i < replay->word_counts[a]; i++)
            free(replay->words[a][i]);
        free(replay->words[a]);
    }
    free(replay->candidates);
    free(replay->rows);
    memset(replay, 0, sizeof(*replay));
}

int wt_replay_search(const struct wt_replay *replay, const struct wt_search_options *options,
                     struct wt_search_result *ret_result, struct wt_error *err)
{
    struct wt_search_options o = *options;
    struct wt_search *search;
    size_t *used = calloc(replay->count, sizeof(*used)), next;
    if (!used)
        return wt_fail(err, WT_E_NOMEM, "no memory for a replay");
    o.readings_each = ROWS_AT_ONCE;
    memcpy(o.axes, replay->axes, sizeof(o.axes));
    o.axis_count = replay->axis_count;
    o.offset_w = fmax(o.offset_w, replay->offset_w);
    int rc = wt_search_new(&search, &o, replay->candidates, replay->count, replay->reference, err);
    if (rc < 0) {
        free(used);
        return rc;
    }
    while (rc == 0 && wt_search_next(search, &next, NULL)) {
        size_t skip = used[next], told = 0;
        /* What a model is off by no repeat makes less. */
        double each = replay->is_modeled ? sqrt((double)replay->candidates[next].readings_max) : 1;
        for (size_t i = 0; rc == 0 && i < replay->row_count && told < ROWS_AT_ONCE; i++)
            if (replay->rows[i].candidate == next && (skip ? !skip-- : true)) {
                rc = wt_search_tell_within(search, next, replay->rows[i].time_s,
                                           replay->rows[i].energy_j, each * replay->rows[i].bound_j,
                                           err);
                told++;
            }
        used[next] += told;
    }
    if (rc == 0)
        rc = wt_search_result(search, ret_result, err);
    wt_search_free(search);
    free(used);
    return rc;
}
