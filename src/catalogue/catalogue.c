/* catalogue: the built-in tables and a user's own as one, and the rows of each by their ids.
 *
 * A row of the user's with the id of a built-in one is in its place, whole: a cell that it leaves
 * empty is not known, and is not filled from the row that it replaces. */
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "catalogue/sheet.h"

/* ---- opening ---- */

bool wt_catalogue_folder(char *buf, size_t size)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct stat st;
    wt_text(buf, size, "%s", "");
    if (config && *config == '/') /* a relative path is to be ignored, says the XDG standard */
        wt_text(buf, size, "%s/wattune/data", config);
    else if (home && *home == '/')
        wt_text(buf, size, "%s/.config/wattune/data", home);
    return *buf && strlen(buf) + 1 < size && stat(buf, &st) == 0 && S_ISDIR(st.st_mode);
}

static int no_memory(struct wt_error *err)
{
    return wt_fail(err, WT_E_NOMEM, "no memory for the catalogue");
}

/* The first error, as the story of a failure. */
static int refuse(const struct wt_problems *problems, struct wt_error *err)
{
    for (size_t i = 0; i < problems->count; i++) {
        const struct wt_data_problem *p = &problems->list[i];
        if (p->is_warning)
            continue;
        wt_fail(err, WT_E_FORMAT, "%s: %s%s%s", p->place, p->column, *p->column ? ": " : "",
                p->text);
        wt_fix(err, "%s; `wattune data check` tells of all that is wrong", p->fix);
        return WT_E_FORMAT;
    }
    return no_memory(err);
}

static int read_own(struct wt_catalogue *c, enum wt_data kind, struct wt_error *err)
{
    struct wt_problems problems = {0};
    struct wt_error why = {0};
    char path[4096], *text;
    size_t size;
    wt_text(path, sizeof(path), "%s/%s.csv", c->folder, wt_schemas[kind].name);
    int rc = wt_file_read(path, WT_SHEET_BYTES, &text, &size, &why);
    if (rc == WT_E_NOTFOUND)
        return 0;
    if (rc < 0) {
        if (err)
            *err = why;
        return rc;
    }
    rc = wt_sheet_read(&c->own[kind], kind, text, size, path, &problems, err);
    if (rc == 0)
        wt_sheet_check(&c->own[kind], &problems);
    if (rc == 0 && kind == WT_DATA_INSTANCES) {
        const struct wt_sheet *gpus[] = {&c->built_in[WT_DATA_GPUS], &c->own[WT_DATA_GPUS]};
        wt_sheet_check_gpus(&c->own[kind], &(struct wt_gpu_ids){gpus, 2}, &problems);
    }
    if (rc == 0 && (problems.errors || problems.has_no_memory))
        rc = refuse(&problems, err);
    free(problems.list);
    return rc;
}

/* The built-in rows, those of the user's in their place, and the user's others behind. */
static int merge(struct wt_catalogue *c, enum wt_data kind, struct wt_error *err)
{
    const struct wt_sheet *built_in = &c->built_in[kind], *own = &c->own[kind];
    size_t key = wt_schemas[kind].key, count = built_in->count;
    struct wt_entry *all = calloc(built_in->count + own->count + 1, sizeof(*all));
    if (!all)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        all[i] = (struct wt_entry){built_in, i, false};
    for (size_t i = 0; i < own->count; i++) {
        size_t k = 0;
        while (k < built_in->count &&
               !wt_same_key(kind, wt_sheet_cell(built_in, k, key), wt_sheet_cell(own, i, key)))
            k++;
        all[k < built_in->count ? k : count++] = (struct wt_entry){own, i, k < built_in->count};
    }
    c->entries[kind] = all;
    c->counts[kind] = count;
    return 0;
}

static int read_table(struct wt_catalogue *c, enum wt_data kind, struct wt_error *err)
{
    char *text = strdup(wt_schemas[kind].text);
    int rc = text ? wt_sheet_read(&c->built_in[kind], kind, text, strlen(text), NULL, NULL, err)
                  : no_memory(err);
    if (rc == 0 && c->folder)
        rc = read_own(c, kind, err);
    return rc < 0 ? rc : merge(c, kind, err);
}

static int new_catalogue(struct wt_catalogue **ret_catalogue, const char *folder,
                         struct wt_error *err)
{
    struct wt_catalogue *c = calloc(1, sizeof(*c));
    if (c && folder)
        c->folder = strdup(folder);
    if (!c || (folder && !c->folder)) {
        free(c);
        return no_memory(err);
    }
    *ret_catalogue = c;
    return 0;
}

int wt_catalogue_open(struct wt_catalogue **ret_catalogue, const char *folder, struct wt_error *err)
{
    struct wt_catalogue *c;
    struct stat st;
    if (folder && stat(folder, &st) < 0)
        return wt_fail_errno(err, errno, "%s", folder);
    if (folder && !S_ISDIR(st.st_mode)) {
        wt_fail(err, WT_E_FORMAT, "%s: is no folder", folder);
        wt_fix(err, "name the folder that holds gpus.csv, regions.csv, instances.csv");
        return WT_E_FORMAT;
    }
    int rc = new_catalogue(&c, folder, err);
    if (rc < 0)
        return rc;
    for (int kind = 0; rc == 0 && kind < WT_DATA_KINDS; kind++)
        if (kind != WT_DATA_CPUS) /* thousands, which no prediction needs */
            rc = read_table(c, (enum wt_data)kind, err);
    if (rc < 0) {
        wt_catalogue_close(c);
        return rc;
    }
    *ret_catalogue = c;
    return 0;
}

void wt_catalogue_close(struct wt_catalogue *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < WT_DATA_KINDS; i++) {
        wt_sheet_done(&c->built_in[i]);
        wt_sheet_done(&c->own[i]);
        free(c->entries[i]);
    }
    free(c->folder);
    free(c);
}

int wt_catalogue_rows(const struct wt_catalogue *catalogue, enum wt_data kind,
                      struct wt_catalogue **ret_read, const struct wt_entry **ret_entries,
                      size_t *ret_count, struct wt_error *err)
{
    struct wt_catalogue *read = NULL;
    const struct wt_catalogue *from = catalogue;
    if (kind == WT_DATA_CPUS) {
        int rc = new_catalogue(&read, catalogue->folder, err);
        if (rc == 0)
            rc = read_table(read, kind, err);
        if (rc < 0) {
            wt_catalogue_close(read);
            return rc;
        }
        from = read;
    }
    *ret_read = read;
    *ret_entries = from->entries[kind];
    *ret_count = from->counts[kind];
    return 0;
}

static bool is_like(const char *pattern, const char *text)
{
    return strpbrk(pattern, "*?") ? fnmatch(pattern, text, FNM_CASEFOLD) == 0
                                  : strcasestr(text, pattern) != NULL;
}

bool wt_entry_matches(const struct wt_entry *e, const char *pattern)
{
    const struct wt_schema *schema = &wt_schemas[e->sheet->kind];
    return !pattern || is_like(pattern, wt_sheet_cell(e->sheet, e->row, schema->key)) ||
           is_like(pattern, wt_sheet_cell(e->sheet, e->row, schema->title));
}

/* ---- rows, of whatever table ---- */

static const struct wt_entry *entry_at(const struct wt_catalogue *c, enum wt_data kind, size_t i)
{
    return i < c->counts[kind] ? &c->entries[kind][i] : NULL;
}

static void copy_cell(const struct wt_entry *e, size_t column, char *buf, size_t size)
{
    wt_text(buf, size, "%s", wt_sheet_cell(e->sheet, e->row, column));
}

static double number_of(const struct wt_entry *e, size_t column)
{
    return wt_sheet_number(e->sheet, e->row, column);
}

static const struct wt_entry *find(const struct wt_catalogue *c, enum wt_data kind, const char *id)
{
    for (size_t i = 0; i < c->counts[kind]; i++) {
        const struct wt_entry *e = &c->entries[kind][i];
        if (strcasecmp(wt_sheet_cell(e->sheet, e->row, wt_schemas[kind].key), id) == 0)
            return e;
    }
    return NULL;
}

/* What somebody who typed this id may have meant: the part behind the provider is in it, or it is
 * in that. Up to four of them; all: whatever is typed. */
static const char *close_ones(const struct wt_catalogue *c, enum wt_data kind, const char *typed,
                              size_t most, char *buf, size_t size)
{
    size_t count = 0;
    *buf = '\0';
    for (size_t i = 0; i < c->counts[kind]; i++) {
        const struct wt_entry *e = &c->entries[kind][i];
        const char *id = wt_sheet_cell(e->sheet, e->row, wt_schemas[kind].key);
        const char *colon = strchr(id, ':'), *name = colon ? colon + 1 : id;
        size_t used = strlen(buf);
        bool is_close =
            !typed || strcasestr(typed, name) || (strlen(typed) > 1 && strcasestr(id, typed));
        if (is_close && count++ < most)
            wt_text(buf + used, size - used, "%s%s", used ? ", " : "", id);
    }
    return buf;
}

/* "2023", or that no year is known. */
static const char *year_words(const char *date)
{
    return *date ? date : "no year named";
}

/* ---- GPUs ---- */

static void gpu_of(const struct wt_entry *e, struct wt_gpu *gpu)
{
    *gpu = (struct wt_gpu){
        .tdp_w = number_of(e, WT_GPU_TDP),
        .idle_w = number_of(e, WT_GPU_IDLE),
        .limit_min_w = number_of(e, WT_GPU_LIMIT_MIN),
        .limit_max_w = number_of(e, WT_GPU_LIMIT_MAX),
        .clock_base_mhz = number_of(e, WT_GPU_CLOCK_BASE),
        .clock_max_mhz = number_of(e, WT_GPU_CLOCK_MAX),
        .memory_gb = number_of(e, WT_GPU_MEM_GB),
        .memory_gb_s = number_of(e, WT_GPU_MEM_GB_S),
        .memory_reached_gb_s = number_of(e, WT_GPU_MEM_TARGET) / 0.75,
        .fp32_tflop_s = number_of(e, WT_GPU_FP32),
        .tf32_tflop_s = number_of(e, WT_GPU_TF32),
        .bf16_tflop_s = number_of(e, WT_GPU_BF16),
    };
    copy_cell(e, WT_GPU_ID, gpu->id, sizeof(gpu->id));
    copy_cell(e, WT_GPU_NAME, gpu->name, sizeof(gpu->name));
    copy_cell(e, WT_GPU_ARCH, gpu->arch, sizeof(gpu->arch));
    copy_cell(e, WT_GPU_MEMORY, gpu->memory, sizeof(gpu->memory));
    copy_cell(e, WT_GPU_PROFILE, gpu->profile, sizeof(gpu->profile));
    if (!gpu->name[0])
        wt_text(gpu->name, sizeof(gpu->name), "%s", gpu->id);
    wt_sheet_origin(e->sheet, e->row, gpu->origin, sizeof(gpu->origin));
}

bool wt_gpu_at(const struct wt_catalogue *c, size_t i, struct wt_gpu *ret_gpu)
{
    const struct wt_entry *e = entry_at(c, WT_DATA_GPUS, i);
    if (e)
        gpu_of(e, ret_gpu);
    return e != NULL;
}

static const char *without_maker(const char *name)
{
    static const char *const makers[] = {"NVIDIA ", "Tesla ", "AMD Instinct ", "AMD "};
    for (size_t i = 0; i < WT_COUNTOF(makers); i++) {
        size_t n = strlen(makers[i]);
        if (strncasecmp(name, makers[i], n) == 0)
            name += n;
    }
    return name;
}

/* How much of it a row's name is: "NVIDIA A40" and "Tesla V100-PCIE-32GB" begin or end otherwise
 * than the row's. */
static size_t fit(const struct wt_gpu *gpu, const char *name)
{
    const char *own = without_maker(gpu->name);
    size_t n = strlen(own);
    name = without_maker(name);
    return strncasecmp(own, name, n) == 0 && (!name[n] || name[n] == '-' || name[n] == ' ') ? n : 0;
}

int wt_gpu_find(const struct wt_catalogue *c, const char *name, struct wt_gpu *ret_gpu,
                struct wt_error *err)
{
    struct wt_gpu gpu, best = {0}, by_profile = {0};
    size_t longest = 0;
    bool has_profile = false;
    const struct wt_entry *exact = find(c, WT_DATA_GPUS, name);
    for (size_t i = 0; !exact && wt_gpu_at(c, i, &gpu); i++) {
        size_t n = fit(&gpu, name);
        if (n > longest) {
            best = gpu;
            longest = n;
        }
        if (!has_profile && *gpu.profile && strcasecmp(gpu.profile, name) == 0) {
            by_profile = gpu;
            has_profile = true;
        }
    }
    if (exact) {
        gpu_of(exact, ret_gpu);
        return 0;
    }
    if (longest || has_profile) {
        *ret_gpu = longest ? best : by_profile;
        return 0;
    }
    char close[200];
    close_ones(c, WT_DATA_GPUS, name, 8, close, sizeof(close));
    wt_fail(err, WT_E_NOTFOUND, "no GPU of the catalogue is called \"%.60s\"%s%s", name,
            *close ? "; close to it: " : "", close);
    wt_fix(err, "`wattune data list gpus` names them, as h100-sxm, a40 or b200-sxm");
    return WT_E_NOTFOUND;
}

/* ---- regions ---- */

static void region_of(const struct wt_entry *e, struct wt_region *region)
{
    *region = (struct wt_region){.carbon_g = number_of(e, WT_REGION_CARBON),
                                 .is_catalogue = !e->sheet->path};
    copy_cell(e, WT_REGION_ID, region->id, sizeof(region->id));
    copy_cell(e, WT_REGION_NAME, region->name, sizeof(region->name));
    copy_cell(e, WT_REGION_COUNTRY, region->country, sizeof(region->country));
    copy_cell(e, WT_REGION_YEAR, region->date, sizeof(region->date));
    const char *source = wt_sheet_cell(e->sheet, e->row, WT_REGION_SOURCE);
    wt_text(region->source, sizeof(region->source), "%s",
            *source || region->is_catalogue ? wt_source_words(source)
                                            : "the user's own table, which names no source");
    wt_sheet_origin(e->sheet, e->row, region->origin, sizeof(region->origin));
}

bool wt_region_at(const struct wt_catalogue *c, size_t i, struct wt_region *ret_region)
{
    const struct wt_entry *e = entry_at(c, WT_DATA_REGIONS, i);
    if (e)
        region_of(e, ret_region);
    return e != NULL;
}

int wt_region_find(const struct wt_catalogue *c, struct wt_region *ret_region, const char *id,
                   struct wt_error *err)
{
    char close[200];
    const struct wt_entry *e = find(c, WT_DATA_REGIONS, id);
    if (e) {
        region_of(e, ret_region);
        return 0;
    }
    close_ones(c, WT_DATA_REGIONS, id, 4, close, sizeof(close));
    wt_fail(err, WT_E_NOTFOUND, "\"%.60s\" is no region of the catalogue (data/regions.csv)%s%s",
            id, *close ? "; close to it: " : "", close);
    wt_fix(err, "regions are named as gcp:europe-west4, countries by three letters as DEU");
    return WT_E_NOTFOUND;
}

static const char *words_of(const char *id, const char *name, const char *source, const char *date,
                            const char *origin, char *buf, size_t size)
{
    bool is_named = *name && strcmp(name, id) != 0;
    return wt_text(buf, size, "%s%s%s%s, %s, %s%s%s%s", id, is_named ? " (" : "",
                   is_named ? name : "", is_named ? ")" : "", *source ? source : "no source named",
                   year_words(date), *origin ? " (" : "", origin, *origin ? ")" : "");
}

const char *wt_region_words(const struct wt_region *r, char *buf, size_t size)
{
    return words_of(r->id, r->name, r->source, r->date, r->origin, buf, size);
}

/* ---- instances ---- */

static void instance_of(const struct wt_entry *e, struct wt_instance *instance)
{
    double gpus = number_of(e, WT_INSTANCE_GPUS);
    *instance = (struct wt_instance){.gpus = gpus >= 1 ? (unsigned)gpus : 1,
                                     .vcpus = number_of(e, WT_INSTANCE_VCPUS),
                                     .memory_gib = number_of(e, WT_INSTANCE_MEMORY)};
    copy_cell(e, WT_INSTANCE_ID, instance->id, sizeof(instance->id));
    copy_cell(e, WT_INSTANCE_GPU, instance->gpu, sizeof(instance->gpu));
    wt_sheet_origin(e->sheet, e->row, instance->origin, sizeof(instance->origin));
}

bool wt_instance_at(const struct wt_catalogue *c, size_t i, struct wt_instance *ret_instance)
{
    const struct wt_entry *e = entry_at(c, WT_DATA_INSTANCES, i);
    if (e)
        instance_of(e, ret_instance);
    return e != NULL;
}

int wt_instance_find(const struct wt_catalogue *c, struct wt_instance *ret_instance, const char *id,
                     struct wt_error *err)
{
    char close[240];
    const struct wt_entry *e = find(c, WT_DATA_INSTANCES, id);
    if (e) {
        instance_of(e, ret_instance);
        return 0;
    }
    close_ones(c, WT_DATA_INSTANCES, id, 4, close, sizeof(close));
    wt_fail(err, WT_E_NOTFOUND, "\"%.60s\" is no instance of the catalogue%s%s", id,
            *close ? "; close to it: " : "", close);
    wt_fix(err, "`wattune data list instances` names them, as aws:p4d.24xlarge");
    return WT_E_NOTFOUND;
}

bool wt_instance_matches(const struct wt_instance *instance, const char *patterns)
{
    char cloud[sizeof(instance->id)], pattern[sizeof(instance->id)];
    wt_text(cloud, sizeof(cloud), "%.*s", (int)strcspn(instance->id, ":"), instance->id);
    for (const char *at = patterns; *at; at += strcspn(at, ","), at += *at == ',') {
        wt_text(pattern, sizeof(pattern), "%.*s", (int)strcspn(at, ","), at);
        if (fnmatch(pattern, instance->id, FNM_CASEFOLD) == 0 ||
            fnmatch(pattern, cloud, FNM_CASEFOLD) == 0 ||
            fnmatch(pattern, instance->gpu, FNM_CASEFOLD) == 0)
            return true;
    }
    return false;
}

/* ---- PUE ---- */

static void pue_of(const struct wt_entry *e, struct wt_pue *pue)
{
    *pue = (struct wt_pue){.pue = number_of(e, WT_PUE_PUE)};
    copy_cell(e, WT_PUE_ID, pue->id, sizeof(pue->id));
    copy_cell(e, WT_PUE_NAME, pue->name, sizeof(pue->name));
    copy_cell(e, WT_PUE_YEAR, pue->date, sizeof(pue->date));
    const char *source = wt_sheet_cell(e->sheet, e->row, WT_PUE_SOURCE);
    wt_text(pue->source, sizeof(pue->source), "%s", wt_source_words(source));
    wt_sheet_origin(e->sheet, e->row, pue->origin, sizeof(pue->origin));
}

bool wt_pue_at(const struct wt_catalogue *c, size_t i, struct wt_pue *ret_pue)
{
    const struct wt_entry *e = entry_at(c, WT_DATA_PUE, i);
    if (e)
        pue_of(e, ret_pue);
    return e != NULL;
}

int wt_pue_find(const struct wt_catalogue *c, struct wt_pue *ret_pue, const char *id,
                struct wt_error *err)
{
    char names[200];
    const struct wt_entry *e = find(c, WT_DATA_PUE, id);
    if (e) {
        pue_of(e, ret_pue);
        return 0;
    }
    wt_fail(err, WT_E_NOTFOUND, "no PUE of the catalogue is called \"%.60s\"", id);
    wt_fix(err, "a number from 1 on, or one of: %s",
           close_ones(c, WT_DATA_PUE, NULL, SIZE_MAX, names, sizeof(names)));
    return WT_E_NOTFOUND;
}

const char *wt_pue_words(const struct wt_pue *p, char *buf, size_t size)
{
    return words_of(p->id, p->name, p->source, p->date, p->origin, buf, size);
}
