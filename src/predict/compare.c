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
#define COLUMNS      7

static const char *const column_names[COLUMNS] = {
    "name", "gpu", "gpus", "price_per_hour", "region", "gco2_per_kwh", "pue"};
enum { NAME, GPU, GPUS, PRICE, REGION, CARBON, PUE };

struct reader {
    const char *path;
    unsigned number;
    int at[COLUMNS]; /* column of the file; -1: it has none */
    struct wt_offer *offers;
    size_t count;
};

static int read_header(struct reader *r, char *line, struct wt_error *err)
{
    char *field;
    for (size_t i = 0; i < COLUMNS; i++)
        r->at[i] = -1;
    for (int n = 0; (field = wt_text_field(&line)) != NULL; n++)
        for (size_t i = 0; i < COLUMNS; i++)
            if (strcasecmp(field, column_names[i]) == 0)
                r->at[i] = n;
    if (r->at[GPU] >= 0)
        return 0;
    wt_fail(err, WT_E_FORMAT, "%s:%u: no column is called gpu", r->path, r->number);
    wt_fix(err, "the first line names the columns: name,gpu,gpus,price_per_hour,region,"
                "gco2_per_kwh,pue; all but gpu may be left out");
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

static int read_offer(struct reader *r, char *line, struct wt_error *err)
{
    const char *cells[COLUMNS] = {"", "", "", "", "", "", ""};
    struct wt_offer o = {.devices = 1, .price_per_hour = NAN, .carbon_g_per_kwh = NAN, .pue = NAN};
    double devices;
    char *field;
    for (int n = 0; (field = wt_text_field(&line)) != NULL; n++)
        for (size_t i = 0; i < COLUMNS; i++)
            if (r->at[i] == n)
                cells[i] = field;
    struct wt_error why = {0};
    if (wt_gpu_find(cells[GPU], &o.gpu, &why) < 0) {
        wt_fail(err, WT_E_FORMAT, "%s:%u: %s", r->path, r->number, why.text);
        wt_fix(err, "%s", why.fix);
        return WT_E_FORMAT;
    }
    int rc = read_number(r, cells[GPUS], GPUS, 1, &devices, err);
    if (rc == 0)
        rc = read_number(r, cells[PRICE], PRICE, 0, &o.price_per_hour, err);
    if (rc == 0)
        rc = read_number(r, cells[CARBON], CARBON, 0, &o.carbon_g_per_kwh, err);
    if (rc == 0)
        rc = read_number(r, cells[PUE], PUE, 1, &o.pue, err);
    if (rc < 0)
        return rc;
    if (!isnan(devices))
        o.devices = devices <= 100000 ? (unsigned)devices : 100000;
    wt_text(o.region, sizeof(o.region), "%s", cells[REGION]);
    wt_text(o.name, sizeof(o.name), "%s", cells[NAME]);
    if (!o.name[0])
        memcpy(o.name, o.gpu.id, sizeof(o.gpu.id));
    struct wt_offer *all = reallocarray(r->offers, r->count + 1, sizeof(*all));
    if (!all)
        return wt_fail(err, WT_E_NOMEM, "no memory for %s", r->path);
    r->offers = all;
    r->offers[r->count++] = o;
    return 0;
}

int wt_offers_read(const char *path, struct wt_offer **ret_offers, size_t *ret_count,
                   struct wt_error *err)
{
    struct reader r = {.path = path};
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

int wt_offers_catalogue(unsigned devices, struct wt_offer **ret_offers, size_t *ret_count,
                        struct wt_error *err)
{
    struct wt_gpu gpu;
    size_t count = 0;
    while (wt_gpu_at(count, &gpu))
        count++;
    struct wt_offer *offers = calloc(count, sizeof(*offers));
    if (!offers)
        return wt_fail(err, WT_E_NOMEM, "no memory for the catalogue");
    for (size_t i = 0; i < count && wt_gpu_at(i, &offers[i].gpu); i++) {
        wt_text(offers[i].name, sizeof(offers[i].name), "%s", offers[i].gpu.id);
        offers[i].devices = devices ? devices : 1;
        offers[i].price_per_hour = offers[i].carbon_g_per_kwh = offers[i].pue = NAN;
    }
    *ret_offers = offers;
    *ret_count = count;
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
    return row->is_predicted && row->fits;
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
    for (size_t i = 0; i < count; i++) {
        rows[i].is_fastest = best[0] == i;
        rows[i].is_thriftiest = best[1] == i;
        rows[i].is_cleanest = best[2] == i;
        rows[i].is_cheapest = best[3] == i;
        rows[i].is_pareto = is_candidate(&rows[i]) && !is_beaten(rows, count, i, is_known);
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
    return u != v ? (u < v ? -1 : 1) : strcmp(x->offer.name, y->offer.name);
}

void wt_compare_sort(struct wt_compare_row *rows, size_t count, enum wt_compare_by by)
{
    qsort_r(rows, count, sizeof(*rows), compare_rows, &by);
}

/* ---- the document ---- */

static json_t *row_json(const struct wt_compare_row *row)
{
    json_t *j = json_pack("{s:s, s:s, s:I, s:o}", "name", row->offer.name, "gpu", row->offer.gpu.id,
                          "gpus", (json_int_t)row->offer.devices, "region",
                          row->offer.region[0] ? json_string(row->offer.region) : json_null());
    if (!row->is_predicted) {
        json_object_set_new(j, "why", json_string(row->why));
        return j;
    }
    json_t *more = json_pack(
        "{s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:b}", "basis",
        wt_predict_basis_name(row->job.parts[0].each.basis), "fits", row->fits, "limited_by",
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
