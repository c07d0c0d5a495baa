/* `wattune plan --jobs`: what it prints, its document, and what it says to mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawned.h"

#define DE "carbon=" WT_BENCH_CARBON "/de-2020-hourly.csv"

static const char *const home = spawn_folder;
static char swf[96], sacct[96], curve[96], bad[96];

static const char swf_text[] = "; MaxNodes: 4\n; MaxProcs: 16\n; Queue: 1 short\n; Queue: 2 long\n"
                               "1 0 0 7200 16 -1 -1 16 10800 -1 1 7 1 -1 2 1 -1 -1\n"
                               "2 60 7140 600 8 -1 -1 8 900 -1 1 8 1 -1 1 1 -1 -1\n"
                               "3 120 8000 3600 4 -1 -1 4 3600 -1 1 7 1 -1 2 1 -1 -1\n"
                               "4 180 -1 -1 4 -1 -1 4 3600 -1 0 7 1 -1 2 1 -1 -1\n";

static const char sacct_text[] =
    "JobID|Submit|Start|End|Elapsed|Timelimit|NNodes|AllocTRES|Partition|QOS|User|State\n"
    "1|2020-05-05T00:00:00|2020-05-05T00:00:00|2020-05-05T02:00:00|02:00:00|03:00:00|2|"
    "cpu=8,gres/gpu=8,node=2|gpu|normal|ann|COMPLETED\n"
    "1.batch|2020-05-05T00:00:00|2020-05-05T00:00:00|2020-05-05T02:00:00|02:00:00||1|"
    "cpu=4||||COMPLETED\n"
    "2|2020-05-05T01:00:00|2020-05-05T01:00:00|2020-05-05T03:00:00|02:00:00|UNLIMITED|1|"
    "cpu=8,node=1|cpu|night|bob|COMPLETED\n";

static int setup(void **state)
{
    int rc = spawn_setup(state);
    spawn_file(swf, sizeof(swf), "jobs.swf", swf_text);
    spawn_file(sacct, sizeof(sacct), "jobs.txt", sacct_text);
    spawn_file(curve, sizeof(curve), "curve.csv",
               "power_w,time_s,energy_j\n150,120,18000\n250,100,20000\n");
    spawn_file(bad, sizeof(bad), "bad.swf", "; MaxNodes: 4\n1 0 0 x\n");
    return rc;
}

static double number(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void a_policy_stands_beside_what_was(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--jobs", swf, "--start", "2020-05-05", "--signal", DE,
              "--signal", "pue=1.5", "--curve", curve, "--node-gpus", "4", "--host-watts", "200",
              "--idle-power", "300W", "--cap", "queue:long=150", "--shift", "12h", "--rebound",
              "30");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    static const char *const says[] = {"MODELED",
                                       "trace replayed",
                                       "as it was",
                                       "caps",
                                       "shift",
                                       "both",
                                       "less CO2e",
                                       "slowed most",
                                       "user 7",
                                       "rebound",
                                       "1 job does not tell how long it ran"};
    for (size_t i = 0; i < sizeof(says) / sizeof(*says); i++)
        if (!strstr(s.out, says[i]))
            fail_msg("\"%s\" is not in: %s", says[i], s.out);
    spawn_done(&s);
}

static void the_document_has_both_cases(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--json", "--jobs", sacct, "--nodes", "4", "--node-gpus",
              "4", "--curve", curve, "--busy-power", "1kW", "--cap", "150", "--objective", "carbon",
              "--signal", "carbon=400");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s), *base = json_object_get(doc, "baseline");
    json_t *result = json_object_get(doc, "result");
    json_t *cap = json_array_get(json_object_get(json_object_get(doc, "policy"), "caps"), 0);
    double ratio = number(json_object_get(cap, "time_ratio"), "value");
    assert_true(fabs(ratio - 1.2) < 0.005);
    assert_true(fabs(number(base, "jobs_kwh") - 6) < 1e-9); /* 2 nodes 2 h, 1 node 2 h */
    assert_true(json_is_null(json_object_get(base, "idle_kwh")));
    assert_true(json_is_null(json_object_get(base, "energy_kwh")));
    assert_true(json_is_null(json_object_get(base, "facility_kwh")));
    assert_true(fabs(number(base, "carbon_g") - 2400) < 1e-6);
    assert_string_equal(json_string_value(json_object_get(base, "provenance")), "modeled");
    /* The job without a GPU is not slowed. */
    double want = 2 + number(cap, "node_w") * 2 * round(7200 * ratio) / 3.6e6;
    assert_true(fabs(number(result, "jobs_kwh") - want) < 1e-9);
    assert_true(number(result, "capped") == 1);
    assert_int_equal(json_array_size(json_object_get(doc, "users")), 2);
    assert_true(number(json_object_get(doc, "saving"), "carbon_g") > 0);
    json_decref(doc);
    spawn_done(&s);

    /* A power that is not given is unknown; jobs that share nodes take their GPUs. */
    spawn_run(&s, home, "wattune", "plan", "--json", "--jobs", sacct, "--nodes", "4", "--shared",
              "--node-gpus", "4");
    doc = spawn_json(&s);
    base = json_object_get(doc, "baseline");
    assert_true(json_is_null(json_object_get(base, "jobs_kwh")));
    assert_string_equal(json_string_value(json_object_get(base, "provenance")), "unknown");
    assert_true(fabs(number(base, "node_hours") - 6) < 1e-9);
    assert_int_equal(json_array_size(json_object_get(doc, "cases")), 0);
    json_decref(doc);
    spawn_done(&s);
}

static void signals_are_what_they_are_in_a_plan(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--json", "--jobs", swf, "--start", "now",
              "--busy-power", "800", "--idle-power", "0 W", "--signal", "pue=paper",
              "--feed-timeout", "5s");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s), *signals = json_object_get(doc, "signals");
    assert_int_equal(json_array_size(signals), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(signals, 0), "source")),
                        "paper");
    assert_true(number(json_object_get(doc, "cluster"), "idle_w") == 0);
    assert_non_null(strstr(s.out, "of another centre"));
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--jobs", swf, "-h");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "--rebound"));
    spawn_done(&s);
}

static void savings_are_of_what_is_asked_for(void **state)
{
    (void)state;
    char pue[96];
    spawn_file(pue, sizeof(pue), "pue.csv",
               "time,pue\n2020-05-05T00:00Z,1.2\n2020-05-05T01:00Z,1.3\n");
    char pue_of[128];
    snprintf(pue_of, sizeof(pue_of), "pue=%s", pue);
    const struct {
        const char *args[4], *says, *says_not;
    } rows[] = {
        /* Paid for drawing, who draws less earns less. */
        {{"--signal", "price=-0.1"}, "more cost than without", "less cost"},
        {{"--signal", "price=0"}, "What the policy saves is not known", "than without"},
        {{"--signal", pue_of, "--objective", "energy"},
         "What the policy saves is not known",
         "facility energy than"},
        {{"--signal", "carbon=400", "--objective", "energy"}, "less energy than without", "CO2e"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "wattune", "plan", "--jobs", sacct, "--nodes", "4", "--node-gpus", "4",
                  "--curve", curve, "--busy-power", "1kW", "--cap", "150", a[0], a[1], a[2], a[3]);
        if (spawn_code(&s) != 0 || !strstr(s.out, rows[i].says) || strstr(s.out, rows[i].says_not))
            fail_msg("row %zu: %s%s", i, s.out, s.err);
        spawn_done(&s);
    }
    unlink(pue);
}

static void an_emulated_curve_is_said_to_be_one(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "emulated.csv",
               "# wattune 0.1.0, ./train --of , emulated , emulated a100\n"
               "power_w,time_s,energy_j\n150,120,18000\n250,100,20000\n");
    spawn_run(&s, home, "wattune", "plan", "--jobs", sacct, "--nodes", "4", "--node-gpus", "4",
              "--curve", path, "--host-watts", "200", "--cap", "150");
    if (spawn_code(&s) != 0 || !strstr(s.out, "EMULATED a100"))
        fail_msg("%s%s", s.out, s.err);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--jobs", sacct, "--nodes", "4", "--node-gpus", "4",
              "--curve", path, "--host-watts", "200", "--json");
    json_t *doc = spawn_json(&s), *cluster = json_object_get(doc, "cluster");
    assert_string_equal(json_string_value(json_object_get(cluster, "emulation")), "a100");
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--replay", path);
    if (spawn_code(&s) != 0 || !strstr(s.out, "EMULATED a100"))
        fail_msg("%s%s", s.out, s.err);
    spawn_done(&s);
    unlink(path);
}

static void words_of_a_file_do_not_steer_the_terminal(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "evil.swf", "; MaxNodes: 4\n1 0 0 \x1b[31m\xc2\x9b\x07z\n");
    spawn_run(&s, home, "wattune", "plan", "--jobs", path);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "is \"?[31m???z\""));
    assert_null(strpbrk(s.err, "\x1b\x07\x9b"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--jobs", path, "--shift", "\x1b]0;x\x07");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--shift ?]0;x?"));
    spawn_done(&s);
    unlink(path);
}

static void mistakes_are_told_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *args[8];
        int code;
        const char *says;
    } rows[] = {
        {{"--jobs", "/nowhere.swf"}, 1, "plan: --jobs: /nowhere.swf: No such"},
        {{"--jobs", bad}, 1, "bad.swf:2: field 4 (run time) is \"x\""},
        {{"--jobs", curve}, 1, "neither a Standard Workload Format"},
        {{"--jobs", sacct}, 2, "--nodes N"},
        {{"--jobs", swf, "--jobs", swf}, 2, "one trace already"},
        {{"--jobs", swf, "--nodes", "0"}, 2, "--nodes 0"},
        {{"--jobs", swf, "--node-processors", "x"}, 2, "--node-processors x"},
        {{"--jobs", swf, "--node-gpus", "-1"}, 2, "--node-gpus -1"},
        {{"--jobs", swf, "--busy-power", "much"}, 2, "--busy-power much"},
        {{"--jobs", swf, "--idle-power", "-1"}, 2, "--idle-power -1"},
        {{"--jobs", swf, "--busy-power", "9", "--host-watts", "9"}, 2, "one of them"},
        {{"--jobs", swf, "--busy-power", "9", "--idle-power", "10"}, 2, "draws more than with"},
        {{"--jobs", swf, "--cap", "high"}, 2, "--cap high"},
        {{"--jobs", swf, "--cap", "150"}, 2, "--curve FILE.csv"},
        {{"--jobs", swf, "--cap", "nobody=150", "--curve", curve, "--node-gpus", "2"},
         2,
         "of the partition \"nobody\""},
        {{"--jobs", swf, "--cap", "90", "--curve", curve, "--node-gpus", "2"}, 2, "150 to 250 W"},
        {{"--jobs", swf, "--curve", bad}, 1, "bad.swf"},
        {{"--jobs", swf, "--curve", "/nowhere.csv"}, 1, "plan: --curve: /nowhere.csv: No such"},
        {{"--jobs", swf, "--shift", "soon"}, 2, "--shift soon"},
        {{"--jobs", swf, "--shift", "8h"}, 2, "nothing to shift by"},
        {{"--jobs", swf, "--shift", "8h", "--signal", DE}, 2, "--start TIME"},
        {{"--jobs", swf, "--signal", "carbon@DE=3"}, 2, "no region"},
        {{"--jobs", swf, "--signal", "wind=3"}, 2, "is not carbon, pue or price"},
        {{"--jobs", swf, "--signal", "carbon=3", "--signal", "carbon=3"}, 2, "given twice"},
        {{"--jobs", swf, "--rebound", "120"}, 2, "--rebound 120"},
        {{"--jobs", swf, "--rebound", "0x10"}, 2, "--rebound 0x10"},
        {{"--jobs", swf, "--rebound", "20"}, 2, "goes with --cap"},
        {{"--jobs", swf, "--feed-max-age", "old"}, 2, "--feed-max-age old"},
        {{"--jobs", swf, "--save-signal", "pue=/tmp/x.csv"}, 2, "there is no such --signal"},
        /* Nothing is asked of a service before all options are read. */
        {{"--jobs", swf, "--signal", "carbon=watttime:CAISO_NORTH", "--nodes", "0"},
         2,
         "--nodes 0"},
        {{"--jobs", swf, "--objective", "joy"}, 2, "--objective joy"},
        {{"--jobs", swf, "--start", "soon"}, 2, "--start soon"},
        {{"--jobs", swf, "true"}, 2, "no command is run"},
        {{"--jobs", swf, "--deadline", "2d"}, 2, "--deadline is of one job"},
        {{"--jobs", swf, "--interruptible"}, 2, "--interruptible is of one job"},
        {{"--jobs", swf, "--nonsense"}, 2, "nonsense"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "wattune", "plan", a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_stands_beside_what_was),
        cmocka_unit_test(the_document_has_both_cases),
        cmocka_unit_test(signals_are_what_they_are_in_a_plan),
        cmocka_unit_test(savings_are_of_what_is_asked_for),
        cmocka_unit_test(an_emulated_curve_is_said_to_be_one),
        cmocka_unit_test(words_of_a_file_do_not_steer_the_terminal),
        cmocka_unit_test(mistakes_are_told_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, setup, spawn_teardown);
}
