/* Live feeds through the command, against a server on this machine that speaks the documented forms
 * (tests/feeds/server.py) and can fail in many ways: where values come from is said, keys stay
 * where they were, and a service that is down is not the end of planning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spawned.h"

#define KEY "sesame-4711"

static const char *const home = spawn_folder;
static struct spawned server;
static unsigned port;

static void use(const char *fault)
{
    static const char *const names[] = {"UKCARBON", "ELECTRICITYMAPS", "WATTTIME", "ENTSOE"};
    for (size_t i = 0; i < 4; i++) {
        char name[64], url[128];
        snprintf(name, sizeof(name), "WATTUNE_%s_URL", names[i]);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u%s%s", port, *fault ? "/" : "", fault);
        setenv(name, url, 1);
    }
}

/* Each test begins with nothing kept, a service that works, and the right keys. */
static int each_setup(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "rm -rf '%s/wattune/feeds'", home);
    if (system(path) != 0)
        return -1;
    use("");
    setenv("ELECTRICITYMAPS_TOKEN", KEY, 1);
    setenv("WATTTIME_USER", "ann", 1);
    setenv("WATTTIME_PASSWORD", KEY, 1);
    setenv("ENTSOE_TOKEN", KEY, 1);
    return 0;
}

static int setup(void **state)
{
    spawn_setup(state);
    const char *const argv[] = {"python3", WT_FEED_SERVER, home, NULL};
    char path[128];
    spawn_path(path, sizeof(path), "port");
    spawn_start(&server, home, argv);
    for (int i = 0; i < 3000 && !port; i++) {
        FILE *in = fopen(path, "re");
        if (in && fscanf(in, "%u", &port) != 1)
            port = 0;
        if (in)
            fclose(in);
        struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL); /* until Python has started */
    }
    return port ? 0 : -1;
}

static int teardown(void **state)
{
    spawn_wait(&server); /* closes its input, upon which it ends */
    spawn_done(&server);
    return spawn_teardown(state);
}

/* wattune plan of a job of two hours within two days, and what else is given. */
#define plan(s, signal, ...)                                                                       \
    spawn_run((s), home, "wattune", "plan", "--signal", (signal), "--power", "1kW", "--duration",  \
              "2h", "--deadline", "2d", "--feed-timeout", "10s", ##__VA_ARGS__)

static json_t *plan_json(const char *signal)
{
    struct spawned s;
    plan(&s, signal, "--json");
    if (spawn_code(&s) != 0)
        fail_msg("%s: %s", signal, s.err);
    json_t *doc = spawn_json(&s);
    spawn_done(&s);
    return doc;
}

static void fails(const char *signal, int code, const char *says)
{
    struct spawned s;
    plan(&s, signal);
    if (spawn_code(&s) != code || !strstr(s.err, says) || strstr(s.err, KEY))
        fail_msg("%s: code %d, says: %s", signal, spawn_code(&s), s.err);
    spawn_done(&s);
}

static size_t requests(void)
{
    char *log = spawn_read("log");
    size_t n = 0;
    for (const char *p = log; (p = strchr(p, '\n')); p++)
        n++;
    free(log);
    return n;
}

static void each_service_is_planned_on_with_its_own_forecast(void **state)
{
    (void)state;
    static const struct {
        const char *signal;
        bool has_forecast;
        double least; /* the wave is lowest at 3:00, in the service's own unit */
    } rows[] = {
        {"carbon=ukcarbon", true, 105},
        {"carbon=ukcarbon:13", true, 105},
        {"carbon=electricitymaps:DE", true, 100},
        {"carbon=electricitymaps:PL", true, 100}, /* a key for the last day alone */
        {"carbon=watttime:CAISO_NORTH", true, 200 * 0.45359237},
        {"price=entsoe:10Y1001A1001A82H", false, -0.05},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        json_t *doc = plan_json(rows[i].signal);
        json_t *signal = json_array_get(json_object_get(doc, "signals"), 0);
        json_t *piece = json_array_get(json_object_get(doc, "segments"), 0);
        const char *start = json_string_value(json_object_get(piece, "start"));
        bool is_price = rows[i].signal[0] == 'p';
        double sum = json_number_value(json_object_get(doc, is_price ? "cost" : "carbon_g"));
        assert_string_equal(json_string_value(json_object_get(signal, "source")),
                            strchr(rows[i].signal, '=') + 1);
        assert_true(json_is_string(json_object_get(signal, "fetched")));
        assert_true(json_is_string(json_object_get(signal, "forecast_from")) ==
                    rows[i].has_forecast);
        assert_true(json_is_false(json_object_get(signal, "is_stale")));
        /* Two hours around 3:00 UTC, whatever the minute is now: a little over the least. */
        if (strncmp(start + 10, "T01:", 4) != 0 && strncmp(start + 10, "T02:", 4) != 0 &&
            strncmp(start + 10, "T03:00", 6) != 0)
            fail_msg("%s: starts at %s", rows[i].signal, start);
        if (!(sum >= 2 * rows[i].least && sum < 2 * rows[i].least + (is_price ? 0.03 : 30)))
            fail_msg("%s: %g, of 2 x %g", rows[i].signal, sum, rows[i].least);
        json_decref(doc);
    }
}

static void the_plan_says_where_values_come_from(void **state)
{
    (void)state;
    struct spawned s;
    plan(&s, "carbon=watttime:CAISO_NORTH");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "from watttime:CAISO_NORTH, read at"));
    assert_non_null(strstr(s.out, "service's own forecast"));
    assert_non_null(strstr(s.out, "marginal rate"));
    spawn_done(&s);
    plan(&s, "price=entsoe:10Y1001A1001A82H");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "day-ahead prices in EUR a kWh"));
    assert_non_null(strstr(s.out, "price is a forecast from")); /* after tomorrow: ours */
    spawn_done(&s);
    use("noforecast");
    plan(&s, "carbon=electricitymaps:DE");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "gives this key no"));
    assert_non_null(strstr(s.out, "estimates")); /* every third hour of the server's */
    assert_non_null(strstr(s.out, "carbon is a forecast from"));
    spawn_done(&s);
}

static void two_regions_may_be_two_services(void **state)
{
    (void)state;
    struct spawned s;
    plan(&s, "carbon@DE=electricitymaps:DE", "--signal", "carbon@GB=ukcarbon");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "carbon of DE is from electricitymaps:DE"));
    assert_non_null(strstr(s.out, "carbon of GB is from ukcarbon"));
    spawn_done(&s);
}

static void a_service_is_not_asked_again_within_minutes(void **state)
{
    (void)state;
    json_decref(plan_json("carbon=ukcarbon"));
    size_t asked = requests();
    json_decref(plan_json("carbon=ukcarbon"));
    assert_int_equal(requests(), asked);
    struct spawned s; /* unless nothing kept may be used */
    plan(&s, "carbon=ukcarbon", "--feed-max-age", "0s");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    assert_int_equal(requests(), asked + 2);
}

/* Makes what is kept of a feed so old. */
static void age(const char *name, int hours)
{
    char path[256], file[128], stamp[32];
    snprintf(file, sizeof(file), "wattune/feeds/%s.csv", name);
    char *text = spawn_read(file), *at = strstr(text, "# fetched: ");
    assert_non_null(at);
    time_t then = time(NULL) - hours * 3600;
    struct tm utc;
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&then, &utc));
    memcpy(at + 11, stamp, 20);
    spawn_path(path, sizeof(path), file);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    free(text);
}

/* The same address answers otherwise now: it is the place of the kept series. */
static void move_kept(const char *name, const char *variable)
{
    char path[256], file[128];
    snprintf(file, sizeof(file), "wattune/feeds/%s.csv", name);
    char *text = spawn_read(file), *at = strstr(text, "# url: ");
    assert_non_null(at);
    spawn_path(path, sizeof(path), file);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    fprintf(out, "%.*s# url: %s%s", (int)(at - text), text, getenv(variable), strchr(at, '\n'));
    fclose(out);
    free(text);
}

static void of_a_service_that_is_down_the_last_good_series_is_used(void **state)
{
    (void)state;
    static const char *const faults[] = {"broken", "cut", "html", "often"};
    struct spawned s;
    json_decref(plan_json("carbon=ukcarbon"));
    age("ukcarbon", 3);
    for (size_t i = 0; i < 4; i++) {
        use(faults[i]);
        move_kept("ukcarbon", "WATTUNE_UKCARBON_URL");
        plan(&s, "carbon=ukcarbon");
        if (spawn_code(&s) != 0)
            fail_msg("%s: %s", faults[i], s.err);
        assert_non_null(strstr(s.out, "does not answer"));
        assert_non_null(strstr(s.out, "3 h 00 min"));
        spawn_done(&s);
        json_t *doc = plan_json("carbon=ukcarbon");
        assert_true(json_is_true(
            json_object_get(json_array_get(json_object_get(doc, "signals"), 0), "is_stale")));
        json_decref(doc);
        /* Too old is no answer, and says that there is one. */
        plan(&s, "carbon=ukcarbon", "--feed-max-age", "2h");
        assert_int_equal(spawn_code(&s), 1);
        assert_non_null(strstr(s.err, "--feed-max-age (2 h 00 min)"));
        spawn_done(&s);
    }
    /* What is our mistake is no reason to use it. */
    use("unauthorised");
    fails("carbon=ukcarbon", 3, "--signal: UK Carbon Intensity refuses to answer (HTTP 401)");
}

static void what_is_kept_is_the_users_own_and_has_no_key(void **state)
{
    (void)state;
    struct stat st;
    char path[128];
    json_decref(plan_json("price=entsoe:10Y1001A1001A82H"));
    spawn_path(path, sizeof(path), "wattune/feeds/entsoe-10Y1001A1001A82H.csv");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    char *text = spawn_read("wattune/feeds/entsoe-10Y1001A1001A82H.csv");
    assert_null(strstr(text, KEY));
    free(text);
    /* A file that was cut off is not there. */
    assert_int_equal(truncate(path, 300), 0);
    use("broken");
    fails("price=entsoe:10Y1001A1001A82H", 1, "HTTP 503");
    /* Where nothing can be kept the plan is made, and says so. */
    each_setup(NULL);
    spawn_file(path, sizeof(path), "wattune/feeds", "no folder");
    struct spawned s;
    plan(&s, "carbon=ukcarbon");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "could not be kept"));
    spawn_done(&s);
    unlink(path);
}

static void every_way_to_fail_has_its_words(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *signal;
        int code;
        const char *says;
    } rows[] = {
        {"cut", "carbon=ukcarbon", 1, "cut off"},
        {"huge", "carbon=ukcarbon", 1, "more than 8 MB"},
        {"bomb", "carbon=ukcarbon", 1, "more than 8 MB"},
        {"html", "carbon=ukcarbon", 1, "UK Carbon Intensity is no JSON"},
        {"empty", "carbon=ukcarbon", 1, "is no JSON"},
        {"unauthorised", "carbon=electricitymaps:DE", 3, "set ELECTRICITYMAPS_TOKEN"},
        {"unauthorised", "carbon=watttime:CAISO_NORTH", 3,
         "set WATTTIME_USER and WATTTIME_PASSWORD"},
        {"unauthorised", "price=entsoe:10Y1001A1001A82H", 3, "set ENTSOE_TOKEN"},
        {"echo", "carbon=electricitymaps:DE", 3, "refuses the key (HTTP 401)\n"},
        {"echo", "price=entsoe:10Y1001A1001A82H", 3, "refuses the key (HTTP 401)\n"},
        {"forbidden", "carbon=electricitymaps:DE", 3, "does not give this of DE"},
        {"forbidden", "carbon=ukcarbon", 3, "give this of the nation (HTTP 403)"}, /* has no key */
        {"often", "carbon=ukcarbon", 1, "asked again in 77 s"},
        {"broken", "carbon=ukcarbon", 1, "HTTP 503"},
        {"tofile", "carbon=ukcarbon", 1, "redirects to file:///etc/passwd, which is not followed"},
        {"toplain", "carbon=ukcarbon", 1, "redirects to http://192.0.2.1/, which is not"},
        {"tohost", "carbon=electricitymaps:DE", 1, "another host: no key is sent there"},
        {"tohost", "price=entsoe:10Y1001A1001A82H", 1, "another host: no key is sent there"},
        {"around", "carbon=ukcarbon", 1, "more than 3 times"},
        {"otherzone", "carbon=electricitymaps:DE", 1, "of zone FR, not of DE"},
        {"doctype", "price=entsoe:10Y1001A1001A82H", 1, "document type"},
        {"acknowledge", "price=entsoe:10Y1001A1001A82H", 1, "No matching data found"},
        {"ackecho", "price=entsoe:10Y1001A1001A82H", 1, "has a key in it, and is not shown"},
        {"tokenecho", "carbon=watttime:CAISO_NORTH", 3, "to this key (HTTP 403)\n"},
        {"exaa", "price=entsoe:10Y1001A1001A82H", 1, "other auctions"},
        {"", "carbon=watttime:PJM_NJ", 3, "no access to this region"},
        {"", "carbon=electricitymaps", 2, "electricitymaps takes a zone"},
        {"", "carbon=electricitymaps:", 2, "electricitymaps takes a zone"},
        {"", "carbon=electricitymaps:DE&zone=FR", 2, "electricitymaps takes a zone"},
        {"", "carbon=ukcarbon:19", 2, "a region of 1 to 18"},
        {"", "price=entsoe:DE", 2, "a bidding zone of 16 letters"},
        {"", "price=ukcarbon", 2, "ukcarbon has carbon, and no price"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        use(rows[i].fault);
        fails(rows[i].signal, rows[i].code, rows[i].says);
    }
    use("moved"); /* to the same host: that is followed, with the key */
    json_decref(plan_json("carbon=electricitymaps:DE"));
}

static void a_slow_service_is_given_up_in_time(void **state)
{
    (void)state;
    struct spawned s;
    use("slow");
    plan(&s, "carbon=ukcarbon", "--feed-timeout", "1s");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "no answer in time"));
    spawn_done(&s);
}

static void addresses_and_keys_are_checked_before_anything_is_sent(void **state)
{
    (void)state;
    size_t asked = requests();
    static const struct {
        const char *variable, *value, *signal;
        int code;
        const char *says;
    } rows[] = {
        {"WATTUNE_UKCARBON_URL", "http://example.org", "carbon=ukcarbon", 2, "is no https URL"},
        {"WATTUNE_UKCARBON_URL", "http://127.0.0.1.example.org", "carbon=ukcarbon", 2,
         "is no https URL"},
        {"WATTUNE_UKCARBON_URL", "file:///etc/passwd", "carbon=ukcarbon", 2, "is no https URL"},
        {"WATTUNE_UKCARBON_URL", "https://ann:key@example.org", "carbon=ukcarbon", 2,
         "WATTUNE_UKCARBON_URL is no plain URL"},
        {"WATTUNE_UKCARBON_URL", "http://127.0.0.1:1", "carbon=ukcarbon", 1, "127.0.0.1:1"},
        {"ELECTRICITYMAPS_TOKEN", "", "carbon=electricitymaps:DE", 3,
         "export ELECTRICITYMAPS_TOKEN"},
        {"WATTTIME_PASSWORD", "", "carbon=watttime:CAISO_NORTH", 3, "WATTTIME_PASSWORD is not set"},
        {"ELECTRICITYMAPS_TOKEN", "a\r\nHost: b", "carbon=electricitymaps:DE", 2,
         "ELECTRICITYMAPS_TOKEN holds what no key has"},
        {"ENTSOE_TOKEN", "a&documentType=A65", "price=entsoe:10Y1001A1001A82H", 2,
         "ENTSOE_TOKEN holds what no key has"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        each_setup(NULL);
        setenv(rows[i].variable, rows[i].value, 1);
        fails(rows[i].signal, rows[i].code, rows[i].says);
    }
    assert_int_equal(requests(), asked);
}

static void a_series_can_be_kept_and_planned_on_again(void **state)
{
    (void)state;
    char path[128], save[160], signal[160];
    struct spawned s;
    spawn_path(path, sizeof(path), "uk.csv");
    snprintf(save, sizeof(save), "carbon@GB=%s", path);
    plan(&s, "carbon@GB=ukcarbon", "--save-signal", save, "--start", "2d", "--json");
    assert_int_equal(spawn_code(&s), 2); /* no time: nothing is asked */
    spawn_done(&s);
    assert_int_equal(access(path, F_OK), -1);
    plan(&s, "carbon@GB=ukcarbon", "--save-signal", save, "--json");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *live = spawn_json(&s);
    spawn_done(&s);
    snprintf(signal, sizeof(signal), "carbon@GB=%s", path);
    const char *start = json_string_value(json_object_get(json_object_get(live, "job"), "start"));
    plan(&s, signal, "--start", start, "--json");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *file = spawn_json(&s);
    spawn_done(&s);
    assert_true(json_equal(json_object_get(live, "segments"), json_object_get(file, "segments")));
    assert_true(json_equal(json_object_get(live, "carbon_g"), json_object_get(file, "carbon_g")));
    /* It is the service's forecast as before, and said to be. */
    assert_true(json_number_value(json_object_get(live, "forecast_share")) > 0);
    assert_true(json_equal(json_object_get(live, "forecast_share"),
                           json_object_get(file, "forecast_share")));
    const json_t *was = json_array_get(json_object_get(live, "signals"), 0);
    const json_t *is = json_array_get(json_object_get(file, "signals"), 0);
    assert_true(
        json_equal(json_object_get(was, "forecast_from"), json_object_get(is, "forecast_from")));
    assert_true(json_equal(json_object_get(was, "fetched"), json_object_get(is, "fetched")));
    json_decref(live);
    json_decref(file);
    static const struct {
        const char *save;
        int code;
        const char *says;
    } rows[] = {
        {"price=/tmp/x.csv", 2, "there is no such --signal"},
        {"carbon@FR=/tmp/x.csv", 2, "there is no such --signal"},
        {"pue=/tmp/x.csv", 2, "is no series"},
        {"carbon@GB=/nowhere/x.csv", 1, "/nowhere/x.csv"},
        {"carbon", 2, "is not KIND=FILE"},
        {"carbon@GB=-", 2, "--save-signal -: "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        plan(&s, "carbon@GB=ukcarbon", "--signal", "pue=1.2", "--save-signal", rows[i].save);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("%s: code %d, says: %s", rows[i].save, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

static void a_replay_says_what_its_feed_is(void **state)
{
    (void)state;
    char path[128];
    struct spawned s;
    spawn_file(path, sizeof(path), "jobs.swf",
               "; MaxNodes: 1\n1 0 0 3600 1 -1 -1 1 3600 -1 1 7 1 -1 1 1 -1 -1\n");
    spawn_run(&s, home, "wattune", "plan", "--jobs", path, "--start", "now", "--busy-power", "1kW",
              "--signal", "carbon=watttime:CAISO_NORTH", "--feed-timeout", "10s", "--json");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s);
    const json_t *signal = json_array_get(json_object_get(doc, "signals"), 0);
    assert_string_equal(json_string_value(json_object_get(signal, "source")),
                        "watttime:CAISO_NORTH");
    assert_true(json_is_string(json_object_get(signal, "fetched")));
    assert_non_null(strstr(s.out, "read at"));
    assert_non_null(strstr(s.out, "marginal rate"));
    json_decref(doc);
    spawn_done(&s);
    /* And of what is kept, that it is old. */
    age("watttime-CAISO_NORTH", 7);
    use("broken");
    move_kept("watttime-CAISO_NORTH", "WATTUNE_WATTTIME_URL");
    spawn_run(&s, home, "wattune", "plan", "--jobs", path, "--start", "now", "--busy-power", "1kW",
              "--signal", "carbon=watttime:CAISO_NORTH", "--feed-timeout", "10s");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "does not answer"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--jobs", path, "--start", "now", "--busy-power", "1kW",
              "--signal", "carbon=watttime:CAISO_NORTH", "--feed-max-age", "6h");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "older than --feed-max-age"));
    spawn_done(&s);
    unlink(path);
}

static void the_command_loads_no_library_without_a_feed(void **state)
{
    (void)state;
    struct spawned s;
    setenv("LD_DEBUG", "files", 1);
    plan(&s, "carbon=300");
    unsetenv("LD_DEBUG");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "libjansson"));
    assert_null(strstr(s.err, "libcurl"));
    assert_null(strstr(s.err, "libexpat"));
    spawn_done(&s);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup(name, each_setup)
    const struct CMUnitTest tests[] = {
        EACH(each_service_is_planned_on_with_its_own_forecast),
        EACH(the_plan_says_where_values_come_from),
        EACH(two_regions_may_be_two_services),
        EACH(a_service_is_not_asked_again_within_minutes),
        EACH(of_a_service_that_is_down_the_last_good_series_is_used),
        EACH(what_is_kept_is_the_users_own_and_has_no_key),
        EACH(every_way_to_fail_has_its_words),
        EACH(a_slow_service_is_given_up_in_time),
        EACH(addresses_and_keys_are_checked_before_anything_is_sent),
        EACH(a_series_can_be_kept_and_planned_on_again),
        EACH(a_replay_says_what_its_feed_is),
        EACH(the_command_loads_no_library_without_a_feed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
