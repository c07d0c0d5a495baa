/* feed_watttime: the answers of WattTime's v3 API.
 *
 * {"data":[{"point_time":"2022-07-15T00:00:00Z","value":870}, ...], "meta":{"region":"CAISO_NORTH",
 * "signal_type":"co2_moer","units":"lbs_co2_per_mwh","data_point_period_seconds":300, ...}}, of
 * v3/historical and v3/forecast alike; {"token":"..."} of /login. co2_moer is the emission of the
 * plants that follow the load, a marginal rate, and not the mean of the grid.
 * Source: https://docs.watttime.org */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "plan/feed.h"

/* A pound a MWh in g a kWh: 453.59237 g over 1000 kWh. */
#define G_PER_KWH 0.45359237

static int read_points(struct wt_feed_rows *rows, const json_t *points, int64_t span_s,
                       bool is_forecast, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(points); i++) {
        const json_t *point = json_array_get(points, i), *value = json_object_get(point, "value");
        const char *time = json_string_value(json_object_get(point, "point_time"));
        int64_t t_s;
        if (!time || wt_moment_parse(time, &t_s) < 0)
            rc = wt_fail(err, WT_E_FORMAT, "holds a value (%zu) that has no point_time", i + 1);
        else if (!json_is_number(value) && !json_is_null(value))
            rc = wt_fail(err, WT_E_FORMAT, "holds a point (%zu) that has no value", i + 1);
        else
            rc = wt_feed_put(rows, t_s, t_s + span_s,
                             json_is_null(value) ? NAN : json_number_value(value) * G_PER_KWH,
                             is_forecast, err);
    }
    return rc;
}

int wt_feed_watttime(struct wt_feed_rows *rows, const char *text, size_t size, const char *region,
                     bool is_forecast, struct wt_error *err)
{
    json_error_t where;
    json_t *doc = json_loadb(text, size, 0, &where);
    if (!doc)
        return wt_fail(err, WT_E_FORMAT, "is no JSON: line %d: %.80s", where.line, where.text);
    const json_t *data = json_object_get(doc, "data"), *meta = json_object_get(doc, "meta");
    const char *told = json_string_value(json_object_get(meta, "region"));
    const char *units = json_string_value(json_object_get(meta, "units"));
    json_int_t span_s = json_integer_value(json_object_get(meta, "data_point_period_seconds"));
    int rc = 0;
    if (!json_is_array(data) || !json_is_object(meta))
        rc = wt_fail(err, WT_E_FORMAT, "has no list data, or no meta");
    else if (!units || strcasecmp(units, "lbs_co2_per_mwh") != 0)
        rc = wt_fail(err, WT_E_FORMAT, "is in %.40s, not in lbs_co2_per_mwh",
                     units ? units : "no unit");
    else if (told && strcasecmp(told, region) != 0)
        rc = wt_fail(err, WT_E_FORMAT, "is of region %.40s, not of %s", told, region);
    else if (span_s < 60 || span_s > WT_DAY_S)
        rc = wt_fail(err, WT_E_FORMAT, "does not say how long a value holds");
    else
        rc = read_points(rows, data, span_s, is_forecast, err);
    json_decref(doc);
    return rc;
}

int wt_feed_watttime_token(char *buf, size_t room, const char *text, size_t size,
                           struct wt_error *err)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-";
    json_t *doc = json_loadb(text, size, 0, NULL);
    const char *token = json_string_value(json_object_get(doc, "token"));
    int rc = 0;
    /* It becomes a line of the next request: a letter more could make it two. */
    if (!token || !*token || strlen(token) >= room || strspn(token, letters) != strlen(token))
        rc = wt_fail(err, WT_E_FORMAT, "has no token");
    else
        memcpy(buf, token, strlen(token) + 1);
    json_decref(doc);
    return rc;
}
