/* json: rows of the catalogue with the source of each number, and what a check found. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "catalogue/sheet.h"

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static json_t *cell_json(const struct wt_entry *e, size_t column)
{
    const struct wt_field *field = &wt_schemas[e->sheet->kind].fields[column];
    const char *text = wt_sheet_cell(e->sheet, e->row, column);
    bool is_number = field->type == WT_FIELD_NUMBER || field->type == WT_FIELD_COUNT;
    json_t *value =
        is_number ? wt_json_number(wt_sheet_number(e->sheet, e->row, column)) : text_or_null(text);
    if (field->source < 0)
        return value;
    if (!*text) {
        json_decref(value);
        return json_null();
    }
    return json_pack("{s:o, s:o}", "value", value, "source",
                     text_or_null(wt_sheet_cell(e->sheet, e->row, (size_t)field->source)));
}

static json_t *row_json(const struct wt_entry *e)
{
    const struct wt_schema *schema = &wt_schemas[e->sheet->kind];
    char origin[WT_ORIGIN_SIZE];
    json_t *j = json_object();
    for (size_t i = 0; j && i < schema->count; i++)
        if (schema->fields[i].type != WT_FIELD_SOURCE &&
            wt_json_put(j, schema->fields[i].name, cell_json(e, i)) < 0)
            goto none;
    wt_sheet_origin(e->sheet, e->row, origin, sizeof(origin));
    if (j && wt_json_put(j, "row", json_string(*origin ? origin : "built-in")) == 0 &&
        wt_json_put(j, "is_replacing", json_boolean(e->is_replacing)) == 0)
        return j;
none:
    json_decref(j);
    return NULL;
}

int wt_catalogue_to_json(const struct wt_catalogue *catalogue, enum wt_data kind,
                         const char *pattern, char **ret_text, struct wt_error *err)
{
    struct wt_catalogue *read;
    const struct wt_entry *entries;
    size_t count;
    int rc = wt_catalogue_rows(catalogue, kind, &read, &entries, &count, err);
    if (rc < 0)
        return rc;
    json_t *rows = json_array();
    for (size_t i = 0; i < count; i++)
        if (wt_entry_matches(&entries[i], pattern))
            json_array_append_new(rows, row_json(&entries[i]));
    char *text = wt_json_dump(json_pack(
        "{s:s, s:s, s:o, s:o}", "wattune", WATTUNE_VERSION, "table", wt_data_name(kind), "folder",
        catalogue->folder ? json_string(catalogue->folder) : json_null(), "rows", rows));
    wt_catalogue_close(read);
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "no memory for a document");
    *ret_text = text;
    return 0;
}

char *wt_data_check_to_json(const struct wt_data_check *check)
{
    json_t *files = json_array(), *problems = json_array();
    for (size_t i = 0; i < check->file_count; i++) {
        const struct wt_data_file *f = &check->files[i];
        json_array_append_new(
            files, json_pack("{s:s, s:o, s:I, s:I}", "path", f->path, "table",
                             f->is_known ? json_string(wt_data_name(f->kind)) : json_null(), "rows",
                             (json_int_t)f->rows, "replaced", (json_int_t)f->replaced));
    }
    for (size_t i = 0; i < check->problem_count; i++) {
        const struct wt_data_problem *p = &check->problems[i];
        json_array_append_new(problems, json_pack("{s:s, s:s, s:o, s:s, s:o}", "level",
                                                  p->is_warning ? "warning" : "error", "place",
                                                  p->place, "column", text_or_null(p->column),
                                                  "text", p->text, "fix", text_or_null(p->fix)));
    }
    return wt_json_dump(json_pack("{s:s, s:I, s:I, s:o, s:o}", "wattune", WATTUNE_VERSION, "errors",
                                  (json_int_t)check->errors, "warnings",
                                  (json_int_t)check->warnings, "files", files, "problems",
                                  problems));
}
