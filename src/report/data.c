/* data: the catalogue on a terminal - rows with their sources, and what is wrong with a table. */
#include <stdlib.h>
#include <string.h>

#include "catalogue/sheet.h"
#include "report/table.h"

/* ---- rows ---- */

/* The words of the sources that were shown, each once. */
struct words {
    char list[24][40];
    size_t count;
};

static void note_source(struct words *words, const char *source)
{
    char word[40];
    for (const char *at = source; *at; at += strcspn(at, ";"), at += *at == ';') {
        wt_text(word, sizeof(word), "%.*s", (int)strcspn(at, ";"), at);
        bool is_known = wt_source_words(word) == word; /* it is its own words */
        for (size_t i = 0; i < words->count; i++)
            is_known |= strcmp(words->list[i], word) == 0;
        if (!is_known && words->count < WT_COUNTOF(words->list))
            memcpy(words->list[words->count++], word, sizeof(word));
    }
}

/* "A40, GDDR6, tdp_w 300 (D;S), ...": numbers with their names and whose they are. */
static const char *row_words(const struct wt_entry *e, struct words *words, char *buf, size_t size)
{
    const struct wt_schema *schema = &wt_schemas[e->sheet->kind];
    char origin[WT_ORIGIN_SIZE];
    *buf = '\0';
    for (size_t i = 0; i < schema->count; i++) {
        const struct wt_field *field = &schema->fields[i];
        const char *text = wt_sheet_cell(e->sheet, e->row, i), *source = "no source";
        size_t used = strlen(buf);
        if (!*text || field->type == WT_FIELD_SOURCE || i == schema->key)
            continue;
        if (field->source >= 0 && *wt_sheet_cell(e->sheet, e->row, (size_t)field->source))
            source = wt_sheet_cell(e->sheet, e->row, (size_t)field->source);
        bool is_plain = field->type == WT_FIELD_TEXT && strcmp(field->name, "profile") != 0;
        if (is_plain && field->source < 0)
            wt_text(buf + used, size - used, "%s%s", used ? ", " : "", text);
        else if (field->source < 0)
            wt_text(buf + used, size - used, "%s%s %s", used ? ", " : "", field->name, text);
        else
            wt_text(buf + used, size - used, "%s%s %s (%s)", used ? ", " : "", field->name, text,
                    source);
        if (field->source >= 0)
            note_source(words, source);
    }
    wt_sheet_origin(e->sheet, e->row, origin, sizeof(origin));
    size_t used = strlen(buf);
    if (*origin)
        wt_text(buf + used, size - used, "; %s%s", origin,
                e->is_replacing ? ", in place of the built-in row" : "");
    return buf;
}

static const char *key_of(const struct wt_entry *e)
{
    return wt_sheet_cell(e->sheet, e->row, wt_schemas[e->sheet->kind].key);
}

static size_t print_entries(const struct wt_term *term, const struct wt_entry *entries,
                            size_t count, const char *pattern)
{
    enum { WIDEST = 34 };
    struct words words = {.count = 0};
    size_t rows = 0, widest = 0;
    char lead[128], text[2000];
    for (size_t i = 0; i < count; i++)
        if (wt_entry_matches(&entries[i], pattern)) {
            size_t n = wt_term_columns(key_of(&entries[i]));
            widest = n > widest && n <= WIDEST ? n : widest;
            rows++;
        }
    for (size_t i = 0; i < count; i++)
        if (wt_entry_matches(&entries[i], pattern)) {
            wt_text(lead, sizeof(lead), "%-*s  ", (int)widest, key_of(&entries[i]));
            wt_term_clean(term, lead);
            wt_term_wrap(term, entries[i].sheet->path ? WT_BOLD : WT_PLAIN, lead,
                         row_words(&entries[i], &words, text, sizeof(text)));
        }
    if (words.count)
        fputc('\n', term->out);
    for (size_t i = 0; i < words.count; i++) {
        wt_text(lead, sizeof(lead), "  %-8s ", words.list[i]);
        wt_term_wrap(term, WT_DIM, lead, wt_source_words(words.list[i]));
    }
    return rows;
}

int wt_report_catalogue(const struct wt_term *term, const struct wt_catalogue *catalogue,
                        enum wt_data kind, const char *pattern, size_t *ret_shown,
                        struct wt_error *err)
{
    struct wt_catalogue *read;
    const struct wt_entry *entries;
    size_t count;
    int rc = wt_catalogue_rows(catalogue, kind, &read, &entries, &count, err);
    if (rc < 0)
        return rc;
    *ret_shown = print_entries(term, entries, count, pattern);
    wt_catalogue_close(read);
    return 0;
}

/* ---- a check ---- */

/* A line each, whatever the window's width: editors read "FILE:LINE: " at the start of one. */
void wt_report_data_check(const struct wt_term *term, const struct wt_data_check *check)
{
    char text[900];
    for (size_t i = 0; i < check->problem_count; i++) {
        const struct wt_data_problem *p = &check->problems[i];
        wt_text(text, sizeof(text), "%s: %s%s%s%s%s%s", p->place, p->is_warning ? "warning: " : "",
                p->column, *p->column ? ": " : "", p->text, *p->fix ? "; " : "", p->fix);
        wt_term_clean(term, text);
        fprintf(term->out, "%s\n", text);
    }
    size_t told = check->problem_count, all = check->errors + check->warnings;
    if (told < all)
        fprintf(term->out, "and %zu more\n", all - told);
    for (size_t i = 0; i < check->file_count; i++) {
        const struct wt_data_file *f = &check->files[i];
        if (f->is_known)
            wt_text(text, sizeof(text), "%s: %zu row%s of %s", f->path, f->rows,
                    f->rows == 1 ? "" : "s", wt_data_name(f->kind));
        else
            wt_text(text, sizeof(text), "%s: not read", f->path);
        size_t used = strlen(text);
        if (f->replaced)
            wt_text(text + used, sizeof(text) - used, ", %zu in place of built-in ones",
                    f->replaced);
        wt_term_clean(term, text);
        fprintf(term->out, "%s\n", text);
    }
    wt_text(text, sizeof(text), "%zu error%s, %zu warning%s", check->errors,
            check->errors == 1 ? "" : "s", check->warnings, check->warnings == 1 ? "" : "s");
    wt_term_wrap(term, check->errors ? WT_RED : check->warnings ? WT_YELLOW : WT_GREEN, "", text);
}
