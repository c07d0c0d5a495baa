/* feed_electricitymaps: the answers of Electricity Maps' v3 API.
 *
 * {"zone":"DE","history":[{"zone":"DE","carbonIntensity":413,"datetime":"2018-04-25T18:07:00.350Z",
 * "isEstimated":false, ...}, ...]}; past-range has "data" in its place, forecast has "forecast"
 * with carbonIntensity and datetime alone. "temporalGranularity" is hourly where it is not told.
 * Source: https://portal.electricitymaps.com/developer-hub/api/reference */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "plan/feed.h"

static int64_t span_of(const json_t *doc)
{
    const char *text = json_string_value(json_object_get(doc, "temporalGranularity"));
    if (!text || strcmp(text, "hourly") == 0)
        return WT_HOUR_S;
    return strcmp(text, "15_minutes") == 0 ? 900 : strcmp(text, "5_minutes") == 0 ? 300 : 0;
}

static int read_points(struct wt_feed_rows *rows, const json_t *points, int64_t span_s,
                       bool is_forecast, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(points); i++) {
        const json_t *point = json_array_get(points, i);
        const json_t *value = json_object_get(point, "carbonIntensity");
        const char *time = json_string_value(json_object_get(point, "datetime"));
        int64_t t_s;
        if (!time || wt_moment_parse(time, &t_s) < 0)
            rc = wt_fail(err, WT_E_FORMAT, "holds a value (%zu) that has no datetime", i + 1);
        else if (!json_is_number(value) && !json_is_null(value))
            rc =
                wt_fail(err, WT_E_FORMAT, "holds a value (%zu) that has no carbonIntensity", i + 1);
        else /* an hour is known by any moment of it */
            t_s = wt_floor_div(t_s, span_s) * span_s,
            rc =
                wt_feed_put(rows, t_s, t_s + span_s,
                            json_is_null(value) ? NAN : json_number_value(value), is_forecast, err);
        if (rc == 0)
            rows->rows[rows->count - 1].is_estimated =
                json_is_true(json_object_get(point, "isEstimated"));
    }
    return rc;
}

int wt_feed_electricitymaps(struct wt_feed_rows *rows, const char *text, size_t size,
                            const char *zone, struct wt_error *err)
{
    json_error_t where;
    json_t *doc = json_loadb(text, size, 0, &where);
    if (!doc)
        return wt_fail(err, WT_E_FORMAT, "is no JSON: line %d: %.80s", where.line, where.text);
    const char *told = json_string_value(json_object_get(doc, "zone"));
    const json_t *points = json_object_get(doc, "forecast");
    bool is_forecast = points != NULL;
    int64_t span_s = span_of(doc);
    int rc = 0;
    if (!points)
        points = json_object_get(doc, "history");
    if (!points)
        points = json_object_get(doc, "data");
    if (!json_is_array(points))
        rc = wt_fail(err, WT_E_FORMAT, "has none of the lists history, data and forecast");
    else if (told && strcasecmp(told, zone) != 0)
        rc = wt_fail(err, WT_E_FORMAT, "is of zone %.40s, not of %s", told, zone);
    else if (!span_s)
        rc = wt_fail(err, WT_E_FORMAT, "has values that are neither of an hour nor of 15 or 5 min");
    else
        rc = read_points(rows, points, span_s, is_forecast, err);
    json_decref(doc);
    return rc;
}
