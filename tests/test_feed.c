/* Feeds without a network: the documented forms of each service, what is made of their rows, and
 * what is kept of them. tests/test_cli_feed.c asks a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan/feed.h"

#define NOON INT64_C(1780315200) /* 2026-06-01T12:00Z */

static char *slurp(const char *name, size_t *ret_size)
{
    char path[512];
    snprintf(path, sizeof(path), WT_TEST_DATA "/feeds/%s", name);
    FILE *in = fopen(path, "re");
    if (!in)
        fail_msg("%s", path);
    char *text = calloc(1, 65536);
    *ret_size = fread(text, 1, 65535, in);
    fclose(in);
    return text;
}

/* Parses a file of tests/data/feeds by its name. */
static int parse(struct wt_feed_rows *rows, const char *name, struct wt_error *err)
{
    char currency[4];
    size_t size;
    char *text = slurp(name, &size);
    int rc = strncmp(name, "electricitymaps", 15) == 0
                 ? wt_feed_electricitymaps(rows, text, size, "DE", err)
             : strncmp(name, "ukcarbon", 8) == 0 ? wt_feed_ukcarbon(rows, text, size, NOON, err)
             : strncmp(name, "watttime", 8) == 0
                 ? wt_feed_watttime(rows, text, size, "CAISO_NORTH", false, err)
                 : wt_feed_entsoe(rows, text, size, currency, err);
    free(text);
    return rc;
}

static struct wt_signal *series(struct wt_feed_rows *rows, enum wt_signal_kind kind)
{
    struct wt_error err = {0};
    struct wt_signal *s;
    if (wt_feed_series(&s, kind, rows, "test", &err) < 0)
        fail_msg("%s", err.text);
    wt_feed_rows_done(rows);
    return s;
}

/* A file as a series, with the values at whole steps from `from_s`; NaN: not known. */
static void check(const char *name, enum wt_signal_kind kind, int64_t from_s, int64_t step_s,
                  const double *values, size_t count, int64_t service_s)
{
    struct wt_error err = {0};
    struct wt_feed_rows rows = {0};
    if (parse(&rows, name, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    struct wt_signal *s = series(&rows, kind);
    struct wt_signal_info info = wt_signal_info(s);
    assert_true(info.begin_s == from_s);
    assert_true(info.end_s == from_s + (int64_t)count * step_s);
    assert_true(info.service_s == service_s);
    for (size_t i = 0; i < count; i++) {
        double value;
        int64_t t_s = from_s + (int64_t)i * step_s + step_s / 2;
        enum wt_signal_state state = wt_signal_at(s, t_s, &value, NULL);
        enum wt_signal_state want = isnan(values[i])   ? WT_SIGNAL_UNKNOWN
                                    : t_s >= service_s ? WT_SIGNAL_FORECAST
                                                       : WT_SIGNAL_GIVEN;
        if (state != want || (!isnan(values[i]) && fabs(value - values[i]) > 1e-9))
            fail_msg("%s: step %zu is %g (%d), and not %g (%d)", name, i, value, state, values[i],
                     want);
    }
    wt_signal_free(s);
}

static void each_service_is_read_in_its_documented_form(void **state)
{
    (void)state;
    const int64_t never = INT64_MAX;
    check("electricitymaps-history.json", WT_SIGNAL_CARBON, NOON - 7200, 3600,
          (double[]){413, NAN, 389.5}, 3, never);
    check("electricitymaps-forecast.json", WT_SIGNAL_CARBON, NOON, 3600, (double[]){402, 350, 300},
          3, NOON);
    /* One that was never measured stands for its forecast; a forecast is what comes after all. */
    check("ukcarbon-national.json", WT_SIGNAL_CARBON, NOON - 1800, 1800,
          (double[]){263, 262, 255, 240}, 4, NOON + 3600);
    check("ukcarbon-region.json", WT_SIGNAL_CARBON, NOON - 1800, 1800, (double[]){66, 70}, 2, NOON);
    check("watttime-historical.json", WT_SIGNAL_CARBON, NOON - 300, 300,
          (double[]){453.59237, 390.0894382}, 2, never);
}

static void prices_are_those_of_the_coupled_auction(void **state)
{
    (void)state;
    const int64_t from_s = NOON - 14 * 3600;
    /* A03: what is not there is as before it, to the period's end. */
    check("entsoe-a03.xml", WT_SIGNAL_PRICE, from_s, 900,
          (double[]){.19699, .19699, -.005, .0805, .0805, .0805, .1, .1}, 8, INT64_MAX);
    /* A01: what is not there is not known. */
    check("entsoe-a01.xml", WT_SIGNAL_PRICE, from_s, 900, (double[]){.05, .06, NAN, .07}, 4,
          INT64_MAX);
    /* The finer of two, where it is. */
    check("entsoe-hours.xml", WT_SIGNAL_PRICE, from_s, 900,
          (double[]){.041, .042, .043, .044, .044, .044, .044, .044}, 8, INT64_MAX);
}

static void what_is_no_answer_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rc;
        const char *says;
    } files[] = {
        {"entsoe-exaa.xml", WT_E_FORMAT, "other auctions"},
        {"entsoe-two-currencies.xml", WT_E_FORMAT, "in EUR and in BGN"},
        {"entsoe-nothing.xml", WT_E_NOTFOUND, "No matching data found"},
    };
    for (size_t i = 0; i < WT_COUNTOF(files); i++) {
        struct wt_feed_rows rows = {0};
        struct wt_error err = {0};
        if (parse(&rows, files[i].name, &err) != files[i].rc || !strstr(err.text, files[i].says))
            fail_msg("%s: %s", files[i].name, err.text);
        wt_feed_rows_done(&rows);
    }
    static const struct {
        char form; /* of e, u, w, x */
        const char *text, *says;
    } texts[] = {
        {'e', "<html>", "is no JSON"},
        {'e', "{}", "none of the lists"},
        {'e', "{\"zone\":\"FR\",\"history\":[]}", "of zone FR, not of DE"},
        {'e', "{\"history\":[{\"carbonIntensity\":1}]}", "no datetime"},
        {'e', "{\"history\":[{\"datetime\":\"2026-06-01T12:00Z\"}]}", "no carbonIntensity"},
        {'e', "{\"history\":[],\"temporalGranularity\":\"daily\"}", "neither of an hour"},
        {'u', "{\"error\":{}}", "no list data"},
        {'u', "{\"data\":[{\"from\":\"2026-06-01T12:00Z\",\"to\":\"x\"}]}", "no times"},
        {'u', "{\"data\":[{\"from\":\"2026-06-01T12:00Z\",\"to\":\"2026-06-01T12:30Z\"}]}",
         "no intensity"},
        {'u',
         "{\"data\":[{\"from\":\"2026-06-01T12:00Z\",\"to\":\"2026-06-01T11:30Z\",\"intensity\":"
         "{\"forecast\":3}}]}",
         "no span"},
        {'w', "{\"data\":[]}", "or no meta"},
        {'w', "{\"data\":[],\"meta\":{\"units\":\"percentile\"}}", "in percentile"},
        {'w', "{\"data\":[],\"meta\":{\"units\":\"lbs_co2_per_mwh\",\"region\":\"PJM\"}}",
         "of region PJM"},
        {'w', "{\"data\":[],\"meta\":{\"units\":\"lbs_co2_per_mwh\"}}", "how long"},
        {'x', "<a", "is no XML"},
        {'x', "<a/>", "no Publication_MarketDocument"},
        {'x', "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", "document type"},
        {'x', "<Publication_MarketDocument/>", "no prices"},
        {'x',
         "<p:Publication_MarketDocument xmlns:p='x'><resolution>PT7M</resolution>"
         "</p:Publication_MarketDocument>",
         "resolution \"PT7M\""},
        {'x',
         "<Publication_MarketDocument><price_Measure_Unit.name>KWH</price_Measure_Unit.name>"
         "</Publication_MarketDocument>",
         "by KWH"},
    };
    for (size_t i = 0; i < WT_COUNTOF(texts); i++) {
        struct wt_feed_rows rows = {0};
        struct wt_error err = {0};
        const char *t = texts[i].text;
        size_t n = strlen(t);
        char currency[4];
        int rc = texts[i].form == 'e'   ? wt_feed_electricitymaps(&rows, t, n, "DE", &err)
                 : texts[i].form == 'u' ? wt_feed_ukcarbon(&rows, t, n, NOON, &err)
                 : texts[i].form == 'w' ? wt_feed_watttime(&rows, t, n, "CAISO_NORTH", false, &err)
                                        : wt_feed_entsoe(&rows, t, n, currency, &err);
        if (rc != WT_E_FORMAT || !strstr(err.text, texts[i].says))
            fail_msg("%s: %d, %s", t, rc, err.text);
        wt_feed_rows_done(&rows);
    }
}

static void put(struct wt_feed_rows *rows, int64_t from_s, int64_t to_s, double value,
                bool is_forecast)
{
    assert_int_equal(wt_feed_put(rows, NOON + from_s, NOON + to_s, value, is_forecast, NULL), 0);
}

static double value_at(const struct wt_signal *s, int64_t t_s)
{
    double value;
    wt_signal_at(s, NOON + t_s, &value, NULL);
    return value;
}

static void what_nobody_measured_is_counted(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t given, estimated;
    } files[] = {{"ukcarbon-national.json", 3, 1},
                 {"electricitymaps-history.json", 2, 0}, /* one that is null is none */
                 {"electricitymaps-forecast.json", 0, 0}};
    struct wt_feed_rows rows = {0};
    struct wt_error err = {0};
    struct wt_signal *s;
    for (size_t i = 0; i < WT_COUNTOF(files); i++) {
        assert_int_equal(parse(&rows, files[i].name, &err), 0);
        assert_int_equal(wt_feed_series(&s, WT_SIGNAL_CARBON, &rows, "test", &err), 0);
        assert_int_equal(rows.given, files[i].given);
        assert_int_equal(rows.estimated, files[i].estimated);
        wt_signal_free(s);
        wt_feed_rows_done(&rows);
    }
    static const char text[] =
        "{\"data\":[{\"carbonIntensity\":1,\"datetime\":\"2026-06-01T12:00Z\",\"isEstimated\":true}"
        ","
        "{\"carbonIntensity\":1,\"datetime\":\"2026-06-01T13:00Z\",\"isEstimated\":false}]}";
    assert_int_equal(wt_feed_electricitymaps(&rows, text, sizeof(text) - 1, "DE", &err), 0);
    assert_int_equal(wt_feed_series(&s, WT_SIGNAL_CARBON, &rows, "test", &err), 0);
    assert_true(rows.given == 2 && rows.estimated == 1);
    wt_signal_free(s);
    wt_feed_rows_done(&rows);
}

static void what_was_measured_goes_before_a_forecast(void **state)
{
    (void)state;
    struct wt_feed_rows rows = {0};
    put(&rows, 3600, 7200, 5, true); /* in any order */
    put(&rows, 0, 3600, 9, true);
    put(&rows, 0, 1800, 1, false);
    put(&rows, -3600, 0, 2, false);
    put(&rows, -3600, 0, 3, false); /* said again, later: that holds */
    put(&rows, -3600, 0, 8, true);
    struct wt_signal *s = series(&rows, WT_SIGNAL_CARBON);
    assert_true(value_at(s, -1) == 3 && value_at(s, 0) == 1 && value_at(s, 1799) == 1);
    assert_true(value_at(s, 1800) == 9 && value_at(s, 3600) == 5);
    assert_true(wt_signal_info(s).service_s == NOON + 1800);
    wt_signal_free(s);
}

static void a_coarse_row_fills_what_finer_ones_leave(void **state)
{
    (void)state;
    struct wt_feed_rows rows = {0};
    put(&rows, 900, 1800, 2, false);
    put(&rows, 0, 3600, 1, false); /* in any order: quarters go before the hour */
    put(&rows, 2700, 3600, 3, false);
    put(&rows, 7200, 10800, 4, true);
    put(&rows, 7200, 8100, 5, true);
    struct wt_signal *s = series(&rows, WT_SIGNAL_CARBON);
    assert_true(value_at(s, 0) == 1 && value_at(s, 900) == 2 && value_at(s, 1800) == 1);
    assert_true(value_at(s, 2699) == 1 && value_at(s, 2700) == 3 && isnan(value_at(s, 3600)));
    assert_true(value_at(s, 7200) == 5 && value_at(s, 8100) == 4 && value_at(s, 10799) == 4);
    assert_true(s->count == 7 && s->end_s == NOON + 10800);
    wt_signal_free(s);
}

static void no_value_and_one_out_of_range_are_no_series(void **state)
{
    (void)state;
    struct wt_signal *s;
    struct wt_error err = {0};
    struct wt_feed_rows rows = {0};
    assert_int_equal(wt_feed_series(&s, WT_SIGNAL_CARBON, &rows, "x", &err), WT_E_FORMAT);
    put(&rows, 0, 3600, NAN, false);
    assert_int_equal(wt_feed_series(&s, WT_SIGNAL_CARBON, &rows, "x", &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "no value"));
    put(&rows, 3600, 7200, -1, false);
    assert_int_equal(wt_feed_series(&s, WT_SIGNAL_CARBON, &rows, "x", &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "cannot be"));
    wt_feed_rows_done(&rows);
    for (int i = 0; i < WT_FEED_ROWS_MAX; i++)
        put(&rows, 60 * i, 60 * i + 60, 1, false);
    assert_int_equal(wt_feed_put(&rows, NOON, NOON + 60, 1, false, &err), WT_E_FORMAT);
    wt_feed_rows_done(&rows);
}

static void a_forecast_of_the_service_is_no_truth_to_try_ours_on(void **state)
{
    (void)state;
    struct wt_feed_rows rows = {0};
    struct wt_signal_forecast f;
    /* Ten days alike, and a forecast of the service's that has nothing of them. */
    for (int h = -240; h < 48; h++)
        put(&rows, 3600 * h, 3600 * h + 3600, h < 0 ? 100 + (h + 240) % 24 : 5000, h >= 0);
    struct wt_signal *s = series(&rows, WT_SIGNAL_CARBON);
    assert_int_equal(wt_signal_forecast(s, NOON + 72 * 3600, &f, NULL), 0);
    assert_true(f.from_s == NOON + 48 * 3600 && f.trials > 0);
    assert_true(f.mean_abs < 1);
    double value;
    assert_int_equal(wt_signal_at(s, NOON + 1, &value, NULL), WT_SIGNAL_FORECAST);
    assert_int_equal(wt_signal_at(s, NOON - 1, &value, NULL), WT_SIGNAL_GIVEN);
    wt_signal_free(s);
}

static void a_series_is_kept_as_it_is(void **state)
{
    (void)state;
    char folder[] = "/tmp/wattune-feed-XXXXXX", path[128];
    struct wt_feed_rows rows = {0};
    struct wt_signal *kept, *read;
    struct wt_error err = {0};
    assert_non_null(mkdtemp(folder));
    put(&rows, -3600, 0, 0.1 + 0.2, false);
    put(&rows, 1800, 3600, 2, false); /* half an hour is not known */
    put(&rows, 3600, 10800, 3, true); /* and the last row is not as long as the others */
    struct wt_signal *s = series(&rows, WT_SIGNAL_CARBON);
    wt_text(s->name, sizeof(s->name), "ukcarbon:3");
    wt_text(s->feed_word, sizeof(s->feed_word), "a word");
    s->fetched_s = NOON;
    assert_int_equal(wt_feed_cache_write(s, folder, "ukcarbon:3", "https://h", &err), 0);
    /* Of another zone, service or kind it is not. */
    assert_int_equal(
        wt_feed_cache_read(&kept, WT_SIGNAL_CARBON, folder, "ukcarbon:4", "https://h", &err),
        WT_E_NOTFOUND);
    assert_int_equal(
        wt_feed_cache_read(&kept, WT_SIGNAL_CARBON, folder, "ukcarbon:3", "https://i", &err),
        WT_E_NOTFOUND);
    assert_int_equal(
        wt_feed_cache_read(&kept, WT_SIGNAL_PRICE, folder, "ukcarbon:3", "https://h", &err),
        WT_E_NOTFOUND);
    assert_int_equal(
        wt_feed_cache_read(&kept, WT_SIGNAL_CARBON, folder, "ukcarbon:3", "https://h", &err), 0);
    /* Two nodes that share the folder and a process number write each their own draft. */
    char draft[160], text[4096];
    snprintf(path, sizeof(path), "%s/ukcarbon-3.csv", folder);
    snprintf(draft, sizeof(draft), "%s.%ld-0", path, (long)getpid());
    FILE *other = fopen(draft, "we");
    assert_non_null(other);
    assert_int_equal(wt_feed_cache_write(s, folder, "ukcarbon:3", "https://h", &err), 0);
    assert_true(fclose(other) == 0 && access(draft, F_OK) == 0);
    /* One that lost its last row is none. */
    FILE *file = fopen(path, "r+e");
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = '\0';
    text[size - 1] = '\0';
    assert_int_equal(ftruncate(fileno(file), strrchr(text, '\n') + 1 - text), 0);
    fclose(file);
    assert_int_equal(
        wt_feed_cache_read(&read, WT_SIGNAL_CARBON, folder, "ukcarbon:3", "https://h", &err),
        WT_E_NOTFOUND);
    assert_true(kept->fetched_s == NOON && kept->service_s == NOON + 3600);
    assert_string_equal(kept->feed_word, "a word");
    snprintf(path, sizeof(path), "%s/saved.csv", folder);
    assert_int_equal(wt_signal_save(s, path, &err), 0);
    assert_int_equal(wt_signal_read(&read, WT_SIGNAL_CARBON, path, &err), 0);
    for (const struct wt_signal *one = kept; one; one = one == kept ? read : NULL) {
        assert_true(fabs(value_at(one, -1800) - 0.3) < 1e-9);
        assert_true(isnan(value_at(one, 900)) && value_at(one, 1800) == 2);
        assert_true(value_at(one, 3600) == 3 && value_at(one, 10799) == 3);
        assert_true(one->end_s == NOON + 10800);
        /* The service's forecast is one in a file, too. */
        double value;
        assert_int_equal(wt_signal_at(one, NOON + 1800, &value, NULL), WT_SIGNAL_GIVEN);
        assert_int_equal(wt_signal_at(one, NOON + 3600, &value, NULL), WT_SIGNAL_FORECAST);
        assert_true(one->fetched_s == NOON);
        assert_string_equal(one->feed_word, "a word");
    }
    wt_signal_free(read);
    wt_signal_free(kept);
    wt_signal_free(s);
    assert_int_equal(wt_fs_remove_tree(folder, NULL), 0);
}

static void what_wattune_forecasts_is_not_saved_as_a_value(void **state)
{
    (void)state;
    char path[] = "/tmp/wattune-saved-XXXXXX";
    struct wt_feed_rows rows = {0};
    struct wt_signal_forecast f;
    struct wt_signal *read;
    struct wt_error err = {0};
    for (int h = -48; h < 0; h++)
        put(&rows, 3600 * h, 3600 * h + 3600, 100, false);
    struct wt_signal *s = series(&rows, WT_SIGNAL_CARBON);
    assert_int_equal(wt_signal_forecast(s, NOON + 12 * 3600, &f, &err), 0);
    close(mkstemp(path));
    assert_int_equal(wt_signal_save(s, path, &err), 0);
    assert_int_equal(wt_signal_read(&read, WT_SIGNAL_CARBON, path, &err), 0);
    assert_true(wt_signal_info(read).end_s == NOON);
    assert_true(read->count == 48);
    wt_signal_free(read);
    wt_signal_free(s);
    /* A file that calls something a forecast, and not from when on. */
    FILE *out = fopen(path, "we");
    fputs("# forecast: soon\ntime,pue\n2026-06-01,1\n2026-06-02,1\n", out);
    fclose(out);
    assert_int_equal(wt_signal_read(&read, WT_SIGNAL_PUE, path, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, ":1: \"# forecast: soon\" holds no time"));
    unlink(path);
}

static void a_token_is_one_word_and_a_reason_has_no_key(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}", "[", "{\"token\":\"\"}", "{\"token\":\"a b\"}",
                                      "{\"token\":\"a\\r\\nHost: b\"}"};
    char token[16], reason[64];
    for (size_t i = 0; i < WT_COUNTOF(bad); i++)
        assert_int_equal(wt_feed_watttime_token(token, sizeof(token), bad[i], strlen(bad[i]), NULL),
                         WT_E_FORMAT);
    const char *good = "{\"token\":\"ab.c-d_e\"}";
    assert_int_equal(wt_feed_watttime_token(token, sizeof(token), good, strlen(good), NULL), 0);
    assert_string_equal(token, "ab.c-d_e");
    const char *const keys[] = {"secret", NULL};
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"{\"message\": \"zone\x1b[31m\"}", "zone?[31m"},
        {"{\"error\":{\"code\":\"400\",\"message\":\"too long a range\"}}", "too long a range"},
        {"{\"error\":\"no key secret\"}", ""},
        /* Anywhere, cut by the length of a message, or written otherwise. */
        {"{\"message\":\"no such key\",\"key\":\"secret\"}", ""},
        {"{\"message\":\"0123456789012345678901234567890123456789012345678901234567 secret\"}", ""},
        {"{\"message\":\"no key s\\u0065cret\"}", ""},
        {"{\"message\":\"/api?token=secre%74\"}", ""},
        {"<text>no key s&#101;&#x63;ret</text>", ""},
        {"{\"message\":\"/api?token=secre%2574\"}", ""},
        {"{\"message\":\"100 % of \\u & more\"}", "100 % of \\u & more"},
        {"<Reason><code>999</code><text>Nothing here</text></Reason>", "Nothing here"},
        {"{\"message\":null}", ""},
        {"{\"message\":\"no such zone\"}", "no such zone"},
        {"{\"message\":", ""},
        {"", ""},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        assert_string_equal(
            wt_feed_reason(reason, sizeof(reason), rows[i].text, strlen(rows[i].text), keys, 2),
            rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_service_is_read_in_its_documented_form),
        cmocka_unit_test(prices_are_those_of_the_coupled_auction),
        cmocka_unit_test(what_is_no_answer_is_told),
        cmocka_unit_test(what_nobody_measured_is_counted),
        cmocka_unit_test(what_was_measured_goes_before_a_forecast),
        cmocka_unit_test(a_coarse_row_fills_what_finer_ones_leave),
        cmocka_unit_test(no_value_and_one_out_of_range_are_no_series),
        cmocka_unit_test(a_forecast_of_the_service_is_no_truth_to_try_ours_on),
        cmocka_unit_test(a_series_is_kept_as_it_is),
        cmocka_unit_test(what_wattune_forecasts_is_not_saved_as_a_value),
        cmocka_unit_test(a_token_is_one_word_and_a_reason_has_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
