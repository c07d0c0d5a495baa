/* compare: one job on several devices, or on what somebody offers, side by side. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "wattune/predict.h"

/* ---- offers: a CSV of machines that can be had ---- */

#define OFFERS_BYTES (1u << 20)
#define COLUMNS      8

static const char *const column_names[COLUMNS] = {
    "name", "gpu", "gpus", "instance", "price_per_hour", "region", "gco2_per_kwh", "pue"};
enum { NAME, GPU, GPUS, INSTANCE, PRICE, REGION, CARBON, PUE };

static const struct wt_offer nothing_known = {.devices = 1,
                                              .vcpus = NAN,
                                              .memory_gib = NAN,
                                              .price_per_hour = NAN,
                                              .carbon_g_per_kwh = NAN,
                                              .pue = NAN};

struct reader {
    const struct wt_catalogue *catalogue;
    const char *path;
    unsigned number;
    int at[COLUMNS]; /* column of the file; -1: it has none */
    int width;       /* columns of the file */
    struct wt_offer *offers;
    size_t count;
};

static int read_header(struct reader *r, char *line, struct wt_error *err)
{
    char *field;
    for (size_t i = 0; i < COLUMNS; i++)
        r->at[i] = -1;
    const char *strange = NULL;
    for (; (field = wt_text_field(&line)) != NULL; r->width++) {
        bool is_known = false;
        for (size_t i = 0; i < COLUMNS; i++)
            if (strcasecmp(field, column_names[i]) == 0) {
                if (r->at[i] >= 0)
                    return wt_fail(err, WT_E_FORMAT, "%s:%u: the column %s is there twice", r->path,
                                   r->number, field);
                r->at[i] = r->width;
                is_known = true;
            }
        if (!is_known && !strange)
            strange = field;
    }
    if (r->at[GPU] < 0 && r->at[INSTANCE] < 0)
        wt_fail(err, WT_E_FORMAT, "%s:%u: no column is called gpu, and none instance", r->path,
                r->number);
    else if (strange) /* a price that nobody reads would make it the cheapest by mistake */
        wt_fail(err, WT_E_FORMAT, "%s:%u: a column \"%.40s\" is read by nothing", r->path,
                r->number, strange);
    else
        return 0;
    wt_fix(err, "the first line names the columns: name,gpu,gpus,instance,price_per_hour,region,"
                "gco2_per_kwh,pue; all but gpu or instance may be left out");
    return WT_E_FORMAT;
}

/* Empty: not known. */
static int read_number(const struct reader *r, const char *text, size_t column, double low,
                       double *ret_value, struct wt_error *err)
{
    *ret_value = NAN;
    if (!*text)
        return 0;
    if (wt_text_to_double(text, ret_value) == 0 && *ret_value >= low && *ret_value <= 1e9)
        return 0;
    return wt_fail(err, WT_E_FORMAT, "%s:%u: %s \"%.40s\" is no number from %g on", r->path,
                   r->number, column_names[column], text, low);
}

static void take_instance(struct wt_offer *o, const struct wt_instance *instance)
{
    memcpy(o->instance, instance->id, sizeof(o->instance));
    memcpy(o->name, instance->id, sizeof(o->name));
    o->devices = instance->gpus;
    o->vcpus = instance->vcpus;
    o->memory_gib = instance->memory_gib;
}

/* What is offered: a GPU and how many, or an instance, which has both. */
static int read_machine(const struct reader *r, const char *const *cells, struct wt_offer *o,
                        struct wt_error *err)
{
    struct wt_instance instance;
    struct wt_error why = {0};
    double devices = NAN;
    int rc;
    if (*cells[INSTANCE] && (*cells[GPU] || *cells[GPUS])) {
        wt_fail(err, WT_E_FORMAT, "%s:%u: instance and %s: one of them", r->path, r->number,
                *cells[GPU] ? "gpu" : "gpus");
        wt_fix(err, "an instance of the catalogue has its GPUs: leave gpu and gpus empty");
        return WT_E_FORMAT;
    }
    if (!*cells[INSTANCE] && !*cells[GPU]) {
        wt_fail(err, WT_E_FORMAT, "%s:%u: neither a gpu nor an instance is given", r->path,
                r->number);
        wt_fix(err, "`wattune data list gpus` and `wattune data list instances` name them");
        return WT_E_FORMAT;
    }
    if (*cells[INSTANCE]) {
        rc = wt_instance_find(r->catalogue, &instance, cells[INSTANCE], &why);
        if (rc == 0)
            take_instance(o, &instance);
        if (rc == 0)
            rc = wt_gpu_find(r->catalogue, instance.gpu, &o->gpu, &why);
    } else {
        rc = wt_gpu_find(r->catalogue, cells[GPU], &o->gpu, &why);
    }
    if (rc < 0) {
        wt_fail(err, WT_E_FORMAT, "%s:%u: %s", r->path, r->number, why.text);
        wt_fix(err, "%s", why.fix);
        return WT_E_FORMAT;
    }
    rc = read_number(r, cells[GPUS], GPUS, 1, &devices, err);
    if (rc == 0 && !isnan(devices) && devices != floor(devices))
        return wt_fail(err, WT_E_FORMAT, "%s:%u: gpus \"%.40s\" is no whole number", r->path,
                       r->number, cells[GPUS]);
    if (rc == 0 && !isnan(devices))
        o->devices = devices <= 100000 ? (unsigned)devices : 100000;
    return rc;
}

static void take_region(struct wt_offer *o, const struct wt_region *region)
{
    wt_text(o->region, sizeof(o->region), "%s", region->id);
    o->carbon_g_per_kwh = region->carbon_g;
    if (!isnan(region->carbon_g))
        wt_region_words(region, o->carbon_source, sizeof(o->carbon_source));
}

/* What the file says of the place goes before what the catalogue knows of it. */
static int read_place(const struct reader *r, const char *const *cells, struct wt_offer *o,
                      struct wt_error *err)
{
    struct wt_region region;
    int rc = read_number(r, cells[CARBON], CARBON, 0, &o->carbon_g_per_kwh, err);
    if (rc == 0)
        rc = read_number(r, cells[PUE], PUE, 1, &o->pue, err);
    if (rc < 0)
        return rc;
    const char *slash = strrchr(r->path, '/'), *base = slash ? slash + 1 : r->path;
    wt_text(o->region, sizeof(o->region), "%s", cells[REGION]);
    if (!isnan(o->pue))
        wt_text(o->pue_source, sizeof(o->pue_source), "%.40s:%u", base, r->number);
    if (!isnan(o->carbon_g_per_kwh))
        wt_text(o->carbon_source, sizeof(o->carbon_source), "%s:%u", r->path, r->number);
    else if (*o->region && wt_region_find(r->catalogue, &region, o->region, NULL) == 0)
        take_region(o, &region);
    return 0;
}

static int read_offer(struct reader *r, char *line, struct wt_error *err)
{
    const char *cells[COLUMNS] = {"", "", "", "", "", "", "", ""};
    struct wt_offer o = nothing_known;
    char *field;
    int n = 0;
    for (; (field = wt_text_field(&line)) != NULL; n++)
        for (size_t i = 0; i < COLUMNS; i++)
            if (r->at[i] == n)
                cells[i] = field;
    if (n > r->width) {
        wt_fail(err, WT_E_FORMAT, "%s:%u: %d cells, where the first line names %d columns", r->path,
                r->number, n, r->width);
        wt_fix(err, "a number has a decimal point, and no comma; a comma in quotes divides too");
        return WT_E_FORMAT;
    }
    int rc = read_machine(r, cells, &o, err);
    if (rc == 0)
        rc = read_number(r, cells[PRICE], PRICE, 0, &o.price_per_hour, err);
    if (rc == 0)
        rc = read_place(r, cells, &o, err);
    if (rc < 0)
        return rc;
    if (*cells[NAME])
        wt_text(o.name, sizeof(o.name), "%s", cells[NAME]);
    else if (!o.name[0])
        memcpy(o.name, o.gpu.id, sizeof(o.gpu.id));
    struct wt_offer *all = reallocarray(r->offers, r->count + 1, sizeof(*all));
    if (!all)
        return wt_fail(err, WT_E_NOMEM, "no memory for %s", r->path);
    r->offers = all;
    r->offers[r->count++] = o;
    return 0;
}

int wt_offers_read(const struct wt_catalogue *catalogue, const char *path,
                   struct wt_offer **ret_offers, size_t *ret_count, struct wt_error *err)
{
    struct reader r = {.catalogue = catalogue, .path = path};
    char *text;
    size_t size;
    bool has_header = false;
    int rc = wt_file_read(path, OFFERS_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    for (char *rest = text, *line; rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
        r.number++;
        line = r.number == 1 ? wt_text_after_mark(line) : line;
        if (line[strspn(line, " \t\r")] == '\0' || *line == '#')
            continue;
        rc = has_header ? read_offer(&r, line, err) : read_header(&r, line, err);
        has_header = true;
    }
    free(text);
    if (rc == 0 && !r.count)
        rc = wt_fail(err, WT_E_FORMAT, "%s: no machine is in it", path);
    if (rc < 0) {
        free(r.offers);
        return rc;
    }
    *ret_offers = r.offers;
    *ret_count = r.count;
    return 0;
}

/* ---- offers of the catalogue ---- */

int wt_offers_catalogue(const struct wt_catalogue *catalogue, unsigned devices,
                        struct wt_offer **ret_offers, size_t *ret_count, struct wt_error *err)
{
    struct wt_gpu gpu;
    size_t count = 0;
    while (wt_gpu_at(catalogue, count, &gpu))
        count++;
    struct wt_offer *offers = calloc(count, sizeof(*offers));
    if (!offers)
        return wt_fail(err, WT_E_NOMEM, "no memory for the catalogue");
    for (size_t i = 0; i < count; i++) {
        offers[i] = nothing_known;
        (void)wt_gpu_at(catalogue, i, &offers[i].gpu);
        wt_text(offers[i].name, sizeof(offers[i].name), "%s", offers[i].gpu.id);
        offers[i].devices = devices ? devices : 1;
    }
    *ret_offers = offers;
    *ret_count = count;
    return 0;
}

int wt_offers_instances(const struct wt_catalogue *catalogue, const char *patterns,
                        struct wt_offer **ret_offers, size_t *ret_count, struct wt_error *err)
{
    struct wt_instance instance;
    struct wt_offer *offers = NULL;
    size_t count = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && wt_instance_at(catalogue, i, &instance); i++) {
        if (patterns && !wt_instance_matches(&instance, patterns))
            continue;
        struct wt_offer *more = reallocarray(offers, count + 1, sizeof(*more));
        if (!more) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for instances");
            break;
        }
        offers = more;
        offers[count] = nothing_known;
        take_instance(&offers[count], &instance);
        rc = wt_gpu_find(catalogue, instance.gpu, &offers[count++].gpu, err);
    }
    if (rc == 0 && !count) {
        rc = wt_fail(err, WT_E_NOTFOUND, "no instance of the catalogue is like \"%.80s\"",
                     patterns ? patterns : "");
        wt_fix(err,
               "give a cloud, a GPU or an id, * for any: aws, h100-sxm, gcp:a3*; `wattune data "
               "list instances` names them");
    }
    if (rc < 0) {
        free(offers);
        return rc;
    }
    *ret_offers = offers;
    *ret_count = count;
    return 0;
}

/* ---- where ---- */

/* An instance of one cloud is not in a region of another; a country has all of them. */
static bool can_be_in(const struct wt_offer *offer, const struct wt_region *region)
{
    const char *colon = strchr(region->id, ':'), *own = strchr(offer->instance, ':');
    return !colon || !own ||
           (colon - region->id == own - offer->instance &&
            strncasecmp(region->id, offer->instance, (size_t)(own - offer->instance)) == 0);
}

static int read_regions(const struct wt_catalogue *catalogue, const char *text,
                        struct wt_region **ret_regions, size_t *ret_count, struct wt_error *err)
{
    size_t count = 1, n = 0;
    char id[sizeof((*ret_regions)->id)];
    int rc = 0;
    for (const char *at = text; (at = strchr(at, ',')); at++)
        count++;
    struct wt_region *regions = calloc(count, sizeof(*regions));
    if (!regions)
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu regions", count);
    for (const char *at = text; rc == 0 && n < count; n++) {
        size_t length = strcspn(at, ",");
        wt_text(id, sizeof(id), "%.*s", (int)(length < 1000 ? length : 1000), at);
        rc = wt_region_find(catalogue, &regions[n], id, err);
        if (rc == 0 && isnan(regions[n].carbon_g)) {
            rc = wt_fail(err, WT_E_USAGE, "of %s the catalogue has no carbon factor", id);
            wt_fix(err, "give it: --carbon-intensity, or a regions.csv of your own (--data)");
        }
        at += length + (at[length] == ',');
    }
    if (rc < 0) {
        free(regions);
        return rc;
    }
    *ret_regions = regions;
    *ret_count = count;
    return 0;
}

int wt_offers_place(const struct wt_catalogue *catalogue, const char *text,
                    struct wt_offer **io_offers, size_t *io_count, size_t *ret_left_out,
                    struct wt_error *err)
{
    struct wt_region *regions = NULL;
    size_t region_count = 0, count = 0, left_out = 0;
    int rc = read_regions(catalogue, text, &regions, &region_count, err);
    if (rc < 0)
        return rc;
    struct wt_offer *all = calloc(*io_count, region_count * sizeof(*all));
    if (!all) {
        free(regions);
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu regions", region_count);
    }
    for (size_t i = 0; i < *io_count; i++) {
        const struct wt_offer *offer = &(*io_offers)[i];
        if (offer->region[0])
            all[count++] = *offer; /* it is where it is */
        for (size_t k = 0; k < region_count && !offer->region[0]; k++) {
            if (!can_be_in(offer, &regions[k])) {
                left_out++;
                continue;
            }
            struct wt_offer *now = &all[count++];
            double own_g = offer->carbon_g_per_kwh;
            *now = *offer;
            take_region(now, &regions[k]);
            if (!isnan(own_g)) { /* the file's figure, whatever region it is seen in */
                now->carbon_g_per_kwh = own_g;
                memcpy(now->carbon_source, offer->carbon_source, sizeof(now->carbon_source));
            }
        }
    }
    free(regions);
    if (!count) {
        free(all);
        wt_fail(err, WT_E_USAGE, "none of these instances is in a region of another cloud");
        wt_fix(err, "name regions of their cloud, or countries: DEU; a regions.csv of your own "
                    "(--data) may add some");
        return WT_E_USAGE;
    }
    free(*io_offers);
    *io_offers = all;
    *io_count = count;
    *ret_left_out = left_out;
    return 0;
}

/* ---- who is best ---- */

static const struct wt_estimate *measure_of(const struct wt_compare_row *row, size_t i)
{
    const struct wt_estimate *all[] = {&row->job.time_s, &row->job.energy_j, &row->job.carbon_g,
                                       &row->job.cost};
    return all[i];
}

static bool is_candidate(const struct wt_compare_row *row)
{
    return row->is_predicted && row->fits && row->is_fit_known;
}

/* Another is no worse in everything that is known of all, and better in something. */
static bool is_beaten(const struct wt_compare_row *rows, size_t count, size_t i,
                      const bool is_known[4])
{
    for (size_t k = 0; k < count; k++) {
        bool is_better = false, is_worse = false;
        if (k == i || !is_candidate(&rows[k]))
            continue;
        for (size_t m = 0; m < 4; m++) {
            double a = measure_of(&rows[k], m)->value, b = measure_of(&rows[i], m)->value;
            is_better |= is_known[m] && a < b;
            is_worse |= is_known[m] && a > b;
        }
        if (is_better && !is_worse)
            return true;
    }
    return false;
}

/* As the best in one thing; boards of one kind are equal to the last digits. */
static bool is_as_good(const struct wt_compare_row *row, const struct wt_compare_row *rows,
                       size_t best, size_t m)
{
    return best != SIZE_MAX && is_candidate(row) &&
           measure_of(row, m)->value <= measure_of(&rows[best], m)->value * (1 + 1e-12);
}

void wt_compare_mark(struct wt_compare_row *rows, size_t count)
{
    size_t best[4] = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    bool is_known[4] = {true, true, true, true}; /* of every one that can do it */
    for (size_t i = 0; i < count; i++)
        for (size_t m = 0; m < 4 && is_candidate(&rows[i]); m++) {
            double value = measure_of(&rows[i], m)->value;
            is_known[m] &= !isnan(value);
            if (!isnan(value) &&
                (best[m] == SIZE_MAX || value < measure_of(&rows[best[m]], m)->value))
                best[m] = i;
        }
    for (size_t i = 0; i < count; i++)
        rows[i].is_pareto = is_candidate(&rows[i]) && !is_beaten(rows, count, i, is_known);
    for (size_t i = 0; i < count; i++) {
        bool *is_best[] = {&rows[i].is_fastest, &rows[i].is_thriftiest, &rows[i].is_cleanest,
                           &rows[i].is_cheapest};
        for (size_t m = 0; m < 4; m++)
            *is_best[m] = is_as_good(&rows[i], rows, best[m], m);
    }
}

static double key_of(const struct wt_compare_row *row, enum wt_compare_by by)
{
    double value = row->is_predicted ? measure_of(row, by)->value : NAN;
    return isnan(value) ? INFINITY : value;
}

static int compare_rows(const void *a, const void *b, void *by)
{
    const struct wt_compare_row *x = a, *y = b;
    double u = key_of(x, *(enum wt_compare_by *)by), v = key_of(y, *(enum wt_compare_by *)by);
    if (is_candidate(x) != is_candidate(y))
        return is_candidate(x) ? -1 : 1;
    int order = strcmp(x->offer.name, y->offer.name);
    if (u != v)
        return u < v ? -1 : 1;
    return order ? order : strcmp(x->offer.region, y->offer.region);
}

void wt_compare_sort(struct wt_compare_row *rows, size_t count, enum wt_compare_by by)
{
    qsort_r(rows, count, sizeof(*rows), compare_rows, &by);
}

/* ---- the document ---- */

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

/* Where it runs, with what the options say where the offer says nothing. */
static void put_site(json_t *j, const struct wt_compare_row *row)
{
    const struct wt_predict_site *site = &row->job.site;
    json_object_set_new(j, "price_per_hour", wt_json_number(site->price_per_hour));
    json_object_set_new(j, "pue", wt_json_number(site->pue));
    json_object_set_new(j, "pue_source", text_or_null(site->pue_source));
    json_object_set_new(j, "carbon_g_per_kwh", wt_json_number(site->carbon_g_per_kwh));
    json_object_set_new(j, "carbon_source", text_or_null(site->carbon_source));
}

static json_t *row_json(const struct wt_compare_row *row)
{
    const struct wt_offer *o = &row->offer;
    json_t *j = json_pack("{s:s, s:o, s:s, s:s, s:I, s:o, s:o, s:o}", "name", o->name, "instance",
                          text_or_null(o->instance), "gpu", o->gpu.id, "gpu_row",
                          *o->gpu.origin ? o->gpu.origin : "built-in", "gpus",
                          (json_int_t)o->devices, "vcpus", wt_json_number(o->vcpus), "memory_gib",
                          wt_json_number(o->memory_gib), "region", text_or_null(o->region));
    if (!row->is_predicted) {
        json_object_set_new(j, "why", json_string(row->why));
        return j;
    }
    json_t *more = json_pack(
        "{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:b}",
        "basis", wt_predict_basis_name(row->job.parts[0].each.basis), "dtype",
        wt_prediction_dtype(&row->job.parts[0].each), "fits",
        row->is_fit_known ? json_boolean(row->fits) : json_null(), "limited_by",
        wt_prediction_limit(&row->job.parts[row->job.part_count - 1].each), "time_s",
        wt_json_estimate(&row->job.time_s), "power_w", wt_json_estimate(&row->job.power_w),
        "energy_j", wt_json_estimate(&row->job.energy_j), "j_per_token",
        wt_json_estimate(&row->job.j_per_token), "tokens_per_s",
        wt_json_estimate(&row->job.tokens_per_s), "facility_kwh",
        wt_json_estimate(&row->job.facility_kwh), "carbon_g", wt_json_estimate(&row->job.carbon_g),
        "cost", wt_json_estimate(&row->job.cost), "is_fastest", row->is_fastest, "is_thriftiest",
        row->is_thriftiest, "is_cleanest", row->is_cleanest, "is_cheapest", row->is_cheapest,
        "is_pareto", row->is_pareto);
    json_object_update(j, more);
    json_decref(more);
    put_site(j, row);
    return j;
}

char *wt_compare_to_json(const struct wt_compare_row *rows, size_t count)
{
    json_t *list = json_array();
    uint64_t tokens = 0;
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, row_json(&rows[i]));
        if (rows[i].is_predicted)
            tokens = rows[i].job.tokens;
    }
    return wt_json_dump(json_pack("{s:s, s:s, s:I, s:o}", "wattune", WATTUNE_VERSION, "provenance",
                                  "modeled", "tokens", (json_int_t)tokens, "rows", list));
}
