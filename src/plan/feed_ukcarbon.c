/* feed_ukcarbon: the answers of the Carbon Intensity API of Great Britain (NESO).
 *
 * The nation: {"data":[{"from":"2018-01-20T12:00Z","to":"2018-01-20T12:30Z","intensity":
 * {"forecast":266,"actual":263,"index":"moderate"}}, ...]}, actual null in what is to come, and
 * where nobody measured. A region: {"data":{"regionid":3,"shortname":..., "data":[...]}} (some
 * endpoints put that object in a list), with forecast alone. Source:
 * https://carbon-intensity.github.io/api-definitions/ */
#include <jansson.h>
#include <math.h>

#include "plan/feed.h"

struct point {
    int64_t from_s, to_s;
    const json_t *value;
    bool is_measured;
};

static int read_point(const json_t *o, size_t number, struct point *ret_point, struct wt_error *err)
{
    const json_t *intensity = json_object_get(o, "intensity");
    const json_t *actual = json_object_get(intensity, "actual");
    const char *from = json_string_value(json_object_get(o, "from"));
    const char *to = json_string_value(json_object_get(o, "to"));
    struct point p = {.is_measured = json_is_number(actual)};
    p.value = p.is_measured ? actual : json_object_get(intensity, "forecast");
    if (!from || !to || wt_moment_parse(from, &p.from_s) < 0 || wt_moment_parse(to, &p.to_s) < 0)
        return wt_fail(err, WT_E_FORMAT, "holds a value (%zu) that has no times from and to",
                       number);
    if (!json_is_number(p.value) && !json_is_null(p.value))
        return wt_fail(err, WT_E_FORMAT, "holds a value (%zu) that has no intensity", number);
    *ret_point = p;
    return 0;
}

static int read_points(struct wt_feed_rows *rows, const json_t *points, int64_t now_s,
                       struct wt_error *err)
{
    int64_t measured_s = INT64_MIN; /* the end of what is measured */
    struct point p;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(points); i++) {
        rc = read_point(json_array_get(points, i), i + 1, &p, err);
        if (rc == 0 && p.is_measured && p.to_s > measured_s)
            measured_s = p.to_s;
    }
    if (measured_s == INT64_MIN)
        measured_s = now_s;
    for (size_t i = 0; rc == 0 && i < json_array_size(points); i++) {
        rc = read_point(json_array_get(points, i), i + 1, &p, err);
        if (rc == 0)
            rc = wt_feed_put(rows, p.from_s, p.to_s,
                             json_is_null(p.value) ? NAN : json_number_value(p.value),
                             !p.is_measured && p.to_s > measured_s, err);
        if (rc == 0)
            rows->rows[rows->count - 1].is_estimated = !p.is_measured;
    }
    return rc;
}

int wt_feed_ukcarbon(struct wt_feed_rows *rows, const char *text, size_t size, int64_t now_s,
                     struct wt_error *err)
{
    json_error_t where;
    json_t *doc = json_loadb(text, size, 0, &where);
    if (!doc)
        return wt_fail(err, WT_E_FORMAT, "is no JSON: line %d: %.80s", where.line, where.text);
    const json_t *data = json_object_get(doc, "data"), *first = json_array_get(data, 0);
    if (json_is_object(data))
        data = json_object_get(data, "data");
    else if (json_is_array(json_object_get(first, "data")))
        data = json_object_get(first, "data");
    int rc = json_is_array(data) ? read_points(rows, data, now_s, err)
                                 : wt_fail(err, WT_E_FORMAT, "has no list data");
    json_decref(doc);
    return rc;
}
