/* check: what is wrong with a user's tables, all of it at once; and what of a table no single cell
 * shows. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "catalogue/sheet.h"
#include "emulator/model.h"

/* ---- rows against each other ---- */

static int compare_keys(const void *a, const void *b, void *data)
{
    const struct wt_sheet *sheet = data;
    size_t x = *(const size_t *)a, y = *(const size_t *)b, key = wt_schemas[sheet->kind].key;
    const char *u = wt_sheet_cell(sheet, x, key), *v = wt_sheet_cell(sheet, y, key);
    int order = wt_schemas[sheet->kind].is_case_kept ? strcmp(u, v) : strcasecmp(u, v);
    return order ? order : (x > y) - (x < y);
}

/* The earlier of two is the one that is meant. */
static void check_twice(const struct wt_sheet *sheet, struct wt_problems *problems)
{
    size_t key = wt_schemas[sheet->kind].key;
    size_t *order = malloc((sheet->count ? sheet->count : 1) * sizeof(*order));
    if (!order) {
        problems->has_no_memory = true;
        return;
    }
    for (size_t i = 0; i < sheet->count; i++)
        order[i] = i;
    qsort_r(order, sheet->count, sizeof(*order), compare_keys, (void *)(uintptr_t)sheet);
    for (size_t i = 1; i < sheet->count; i++) {
        const char *one = wt_sheet_cell(sheet, order[i - 1], key),
                   *two = wt_sheet_cell(sheet, order[i], key);
        if (wt_same_key(sheet->kind, one, two))
            wt_problem_add(problems, sheet, sheet->lines[order[i]], (int)key, false,
                           "leave one of the rows out, or name it otherwise",
                           "\"%.60s\" is in line %u already", two, sheet->lines[order[i - 1]]);
    }
    free(order);
}

struct order {
    int low, high; /* columns of which the first may not be more */
    const char *words;
};

static void check_orders(const struct wt_sheet *sheet, const struct order *orders, size_t count,
                         struct wt_problems *problems)
{
    const struct wt_field *fields = wt_schemas[sheet->kind].fields;
    for (size_t i = 0; i < sheet->count; i++)
        for (size_t k = 0; k < count; k++) {
            double low = wt_sheet_number(sheet, i, (size_t)orders[k].low);
            double high = wt_sheet_number(sheet, i, (size_t)orders[k].high);
            if (low > high)
                wt_problem_add(problems, sheet, sheet->lines[i], orders[k].low, false,
                               orders[k].words, "%g is more than %s, which is %g", low,
                               fields[orders[k].high].name, high);
        }
}

static void check_profiles(const struct wt_sheet *sheet, struct wt_problems *problems)
{
    for (size_t i = 0; i < sheet->count; i++) {
        const char *profile = wt_sheet_cell(sheet, i, WT_GPU_PROFILE);
        if (*profile && !wt_profile_find(profile))
            wt_problem_add(problems, sheet, sheet->lines[i], WT_GPU_PROFILE, false,
                           "name one of `wattune emulate --list`, or leave it empty: the row is "
                           "enough",
                           "the emulator has no profile \"%.40s\"", profile);
    }
}

void wt_sheet_check(const struct wt_sheet *sheet, struct wt_problems *problems)
{
    static const struct order of_gpus[] = {
        {WT_GPU_IDLE, WT_GPU_TDP, "a board at rest draws less than at its limit"},
        {WT_GPU_LIMIT_MIN, WT_GPU_LIMIT_MAX, "swap them if they are the wrong way round"},
        {WT_GPU_CLOCK_BASE, WT_GPU_CLOCK_MAX, "swap them if they are the wrong way round"},
        {WT_GPU_IDLE, WT_GPU_LIMIT_MAX, "a board at rest draws less than at its limit"},
        {WT_GPU_MEM_TARGET, WT_GPU_MEM_GB_S, "what is reached is less than the peak"},
        {WT_GPU_FP32, WT_GPU_BF16,
         "bf16 is the dense peak of 16 bits; leave it empty where there "
         "is none"},
    };
    check_twice(sheet, problems);
    if (sheet->kind == WT_DATA_GPUS)
        check_profiles(sheet, problems);
    if (sheet->kind == WT_DATA_GPUS)
        check_orders(sheet, of_gpus, WT_COUNTOF(of_gpus), problems);
}

static bool is_gpu(const struct wt_gpu_ids *ids, const char *id)
{
    for (size_t i = 0; i < ids->count; i++)
        for (size_t k = 0; k < ids->sheets[i]->count; k++)
            if (wt_same_key(WT_DATA_GPUS, wt_sheet_cell(ids->sheets[i], k, WT_GPU_ID), id))
                return true;
    return false;
}

void wt_sheet_check_gpus(const struct wt_sheet *sheet, const struct wt_gpu_ids *ids,
                         struct wt_problems *problems)
{
    for (size_t i = 0; i < sheet->count; i++) {
        const char *gpu = wt_sheet_cell(sheet, i, WT_INSTANCE_GPU);
        if (*gpu && !is_gpu(ids, gpu))
            wt_problem_add(problems, sheet, sheet->lines[i], WT_INSTANCE_GPU, false,
                           "name one of `wattune data list gpus`, or add it to a gpus.csv",
                           "no GPU has the id \"%.40s\"", gpu);
    }
}

/* ---- files ---- */

struct checker {
    struct wt_data_file *files;
    struct wt_sheet *sheets; /* as many; of a file that is not known: nothing */
    size_t count;
    struct wt_problems problems;
    struct wt_sheet built_in[WT_DATA_KINDS];
};

static int no_memory(struct wt_error *err)
{
    return wt_fail(err, WT_E_NOMEM, "no memory to check tables");
}

static int add_file(struct checker *c, const char *path, struct wt_data_file **ret_file,
                    struct wt_error *err)
{
    struct wt_data_file *files = reallocarray(c->files, c->count + 1, sizeof(*files));
    if (files)
        c->files = files;
    struct wt_sheet *sheets = reallocarray(c->sheets, c->count + 1, sizeof(*sheets));
    if (sheets)
        c->sheets = sheets;
    if (!files || !sheets)
        return no_memory(err);
    size_t length = strlen(path), room = WT_ORIGIN_SIZE - 4;
    *ret_file = &files[c->count];
    files[c->count] = (struct wt_data_file){.kind = WT_DATA_GPUS};
    wt_text(files[c->count].path, sizeof(files[c->count].path), "%s%s", length > room ? "..." : "",
            length > room ? path + length - room : path);
    sheets[c->count++] = (struct wt_sheet){0};
    return 0;
}

/* By its name, gpus.csv. */
static bool is_named_for(const char *path, enum wt_data *ret_kind)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char name[32];
    size_t n = strlen(base);
    if (n < 5 || n - 4 >= sizeof(name) || strcmp(base + n - 4, ".csv") != 0)
        return false;
    wt_text(name, sizeof(name), "%.*s", (int)(n - 4), base);
    return wt_data_named(name, ret_kind);
}

static int check_file(struct checker *c, const char *path, struct wt_error *err)
{
    struct wt_data_file *file;
    struct wt_error why = {0};
    char *text;
    size_t size;
    int rc = wt_file_read(path, WT_SHEET_BYTES, &text, &size, &why);
    if (rc < 0 && rc != WT_E_FORMAT) {
        if (err)
            *err = why;
        return rc;
    }
    if (add_file(c, path, &file, err) < 0) {
        if (rc == 0)
            free(text);
        return WT_E_NOMEM;
    }
    struct wt_sheet nameless = {.path = file->path};
    if (rc < 0) {                /* too long, or no regular file */
        size_t n = strlen(path); /* with which its words begin, as a problem does by itself */
        bool is_named = strncmp(why.text, path, n) == 0 && strncmp(why.text + n, ": ", 2) == 0;
        wt_problem_add(&c->problems, &nameless, 0, -1, false, why.fix, "%s",
                       why.text + (is_named ? n + 2 : 0));
        return 0;
    }
    file->is_known = is_named_for(path, &file->kind) || wt_sheet_guess(text, &file->kind);
    if (!file->is_known) {
        free(text);
        wt_problem_add(&c->problems, &nameless, 0, -1, false,
                       "call it gpus.csv, regions.csv, instances.csv, pue.csv or cpus.csv, or name "
                       "the columns of one of these in its first line",
                       "what table it is, neither its name nor its columns tell");
        return 0;
    }
    struct wt_sheet *sheet = &c->sheets[c->count - 1];
    rc = wt_sheet_read(sheet, file->kind, text, size, path, &c->problems, err);
    if (rc < 0)
        return rc;
    wt_sheet_check(sheet, &c->problems);
    file->rows = sheet->count;
    return 0;
}

static int is_csv(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && strcasecmp(entry->d_name + n - 4, ".csv") == 0;
}

/* "gpu.csv", "GPUS.csv": meant for a table, but not named for it. */
static bool is_nearly_named(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base) - 4; /* of ".csv" */
    for (int i = 0; i < WT_DATA_KINDS; i++) {
        const char *name = wt_data_name((enum wt_data)i);
        if (n >= 3 && strncasecmp(base, name, n) == 0 && strlen(name) - n <= 1)
            return true;
    }
    return false;
}

/* A file of a name that nobody reads, which its owner may not know. */
static int leave_out(struct checker *c, const char *path, struct wt_error *err)
{
    struct wt_data_file *file;
    int rc = add_file(c, path, &file, err);
    if (rc < 0 || !is_nearly_named(path))
        return rc;
    struct wt_sheet nameless = {.path = file->path};
    wt_problem_add(&c->problems, &nameless, 0, -1, true,
                   "gpus.csv, regions.csv, instances.csv, pue.csv and cpus.csv are",
                   "a file of this name is not read");
    return 0;
}

/* Its tables by their names, as it would be read; others are told of. */
static int check_folder(struct checker *c, const char *folder, struct wt_error *err)
{
    struct dirent **names;
    int count = scandir(folder, &names, is_csv, alphasort), rc = 0;
    size_t length = strlen(folder), known = 0;
    while (length > 1 && folder[length - 1] == '/')
        length--;
    if (count < 0)
        return wt_fail_errno(err, errno, "%s", folder);
    for (int i = 0; i < count; i++) {
        enum wt_data kind;
        char *path = NULL;
        if (rc == 0 && asprintf(&path, "%.*s/%s", (int)length, folder, names[i]->d_name) < 0) {
            path = NULL;
            rc = no_memory(err);
        }
        bool is_table = rc == 0 && is_named_for(path, &kind);
        known += is_table;
        if (rc == 0)
            rc = is_table ? check_file(c, path, err) : leave_out(c, path, err);
        free(path);
        free(names[i]);
    }
    free(names);
    struct wt_sheet nameless = {.path = (char *)(uintptr_t)folder};
    if (rc == 0 && !known)
        wt_problem_add(&c->problems, &nameless, 0, -1, false,
                       "gpus.csv, regions.csv, instances.csv, pue.csv and cpus.csv are looked for",
                       "no table is in this folder");
    return rc;
}

/* What needs all of them: GPUs that instances name, and built-in rows that are replaced. */
static int check_together(struct checker *c, struct wt_error *err)
{
    const struct wt_sheet **gpus = calloc(c->count + 1, sizeof(*gpus));
    struct wt_gpu_ids ids = {gpus, 0};
    int rc = gpus ? 0 : no_memory(err);
    for (int kind = 0; rc == 0 && kind < WT_DATA_KINDS; kind++) {
        char *text = strdup(wt_schemas[kind].text);
        rc = text ? wt_sheet_read(&c->built_in[kind], (enum wt_data)kind, text, strlen(text), NULL,
                                  NULL, err)
                  : no_memory(err);
    }
    if (rc == 0)
        gpus[ids.count++] = &c->built_in[WT_DATA_GPUS];
    for (size_t i = 0; rc == 0 && i < c->count; i++)
        if (c->files[i].is_known && c->files[i].kind == WT_DATA_GPUS)
            gpus[ids.count++] = &c->sheets[i];
    for (size_t i = 0; rc == 0 && i < c->count; i++) {
        const struct wt_sheet *sheet = &c->sheets[i], *built_in = &c->built_in[c->files[i].kind];
        size_t key = wt_schemas[c->files[i].kind].key;
        if (c->files[i].is_known && c->files[i].kind == WT_DATA_INSTANCES)
            wt_sheet_check_gpus(sheet, &ids, &c->problems);
        for (size_t k = 0; c->files[i].is_known && k < sheet->count; k++)
            for (size_t n = 0; n < built_in->count; n++)
                if (wt_same_key(sheet->kind, wt_sheet_cell(sheet, k, key),
                                wt_sheet_cell(built_in, n, key))) {
                    c->files[i].replaced++;
                    break;
                }
    }
    free(gpus);
    return rc;
}

/* By file and line, as an editor goes through them. */
static void sort_problems(struct wt_data_check *check)
{
    struct wt_data_problem *all = check->problems;
    for (size_t i = 1; i < check->problem_count; i++) { /* few, and almost in order */
        struct wt_data_problem now = all[i];
        const char *colon = strrchr(now.place, ':');
        size_t k = i, file = colon ? (size_t)(colon - now.place) : strlen(now.place);
        unsigned long line = colon ? strtoul(colon + 1, NULL, 10) : 0;
        for (; k > 0; k--) {
            const char *other = strrchr(all[k - 1].place, ':');
            if (!other || !colon || (size_t)(other - all[k - 1].place) != file ||
                strncmp(all[k - 1].place, now.place, file) != 0 ||
                strtoul(other + 1, NULL, 10) <= line)
                break;
            all[k] = all[k - 1];
        }
        all[k] = now;
    }
}

int wt_data_check(struct wt_data_check *ret_check, const char *const *paths, size_t count,
                  struct wt_error *err)
{
    struct checker c = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct stat st;
        bool is_folder = stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode);
        rc = is_folder ? check_folder(&c, paths[i], err) : check_file(&c, paths[i], err);
    }
    if (rc == 0)
        rc = check_together(&c, err);
    if (rc == 0 && c.problems.has_no_memory)
        rc = no_memory(err);
    for (size_t i = 0; i < c.count; i++)
        wt_sheet_done(&c.sheets[i]);
    for (size_t i = 0; i < WT_DATA_KINDS; i++)
        wt_sheet_done(&c.built_in[i]);
    free(c.sheets);
    if (rc < 0) {
        free(c.files);
        free(c.problems.list);
        return rc;
    }
    *ret_check = (struct wt_data_check){c.files,          c.count,           c.problems.list,
                                        c.problems.count, c.problems.errors, c.problems.warnings};
    sort_problems(ret_check);
    return 0;
}

void wt_data_check_done(struct wt_data_check *check)
{
    free(check->files);
    free(check->problems);
    *check = (struct wt_data_check){0};
}
