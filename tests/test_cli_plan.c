/* `wattune plan`: what it prints, its document, and what it says to mistakes. */
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

static double number(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static void january_against_july_is_one_command(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--signal", "pue=paper", "--power", "1kW", "--duration",
              "2w", "--start", "2020-07-01", "--deadline", "2021-02-01", "--objective", "energy");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "29.5 %"));
    assert_non_null(strstr(s.out, "less facility"));
    assert_non_null(strstr(s.out, "Fri 2021-01-01 00:00"));
    assert_non_null(strstr(s.out, "another centre")); /* whose it is */
    assert_non_null(strstr(s.out, "not known"));      /* the months between */
    spawn_done(&s);
}

static void the_document_has_segments_sums_and_the_baseline(void **state)
{
    (void)state;
    char path[96], carbon[160], pue[160];
    struct spawned s;
    spawn_file(path, sizeof(path), "grid.csv",
               "time,gco2_per_kwh\n2020-05-05T00:00:00Z,400\n2020-05-05T02:00:00Z,100\n"
               "2020-05-05T03:00:00Z,300\n2020-05-05T05:00:00Z,200\n2020-05-05T06:00:00Z,500\n");
    snprintf(carbon, sizeof(carbon), "carbon=%s", path);
    spawn_file(path, sizeof(path), "pue.csv", "month,pue\n5,1.5\n");
    snprintf(pue, sizeof(pue), "pue=%s", path);
    spawn_run(&s, home, "wattune", "plan", "--json", "--signal", carbon, "--signal", pue,
              "--signal", "price=0.4", "--power", "2kW", "--duration", "2h", "--start",
              "2020-05-05T00:00Z", "--deadline", "7h", "--interruptible");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s), *segments = json_object_get(doc, "segments");
    json_t *base = json_object_get(doc, "baseline");
    assert_int_equal(json_array_size(segments), 2);
    json_t *first = json_array_get(segments, 0), *last = json_array_get(segments, 1);
    assert_string_equal(json_string_value(json_object_get(first, "start")), "2020-05-05T02:00:00Z");
    assert_string_equal(json_string_value(json_object_get(first, "end")), "2020-05-05T03:00:00Z");
    assert_string_equal(json_string_value(json_object_get(last, "start")), "2020-05-05T05:00:00Z");
    assert_true(is_near(number(doc, "energy_kwh"), 4));
    assert_true(is_near(number(doc, "facility_kwh"), 6));
    assert_true(is_near(number(doc, "carbon_g"), 2 * 1.5 * (100 + 200)));
    assert_true(is_near(number(doc, "cost"), 6 * 0.4));
    assert_true(is_near(number(base, "carbon_g"), 2 * 1.5 * 800));
    assert_true(is_near(number(json_object_get(doc, "saving"), "share"), 1 - 300.0 / 800));
    assert_true(is_near(number(json_object_get(doc, "saving"), "carbon_g"), 1500));
    assert_string_equal(json_string_value(json_object_get(doc, "objective")), "carbon");
    assert_int_equal(json_array_size(json_object_get(doc, "signals")), 3);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(doc, "job"), "provenance")), "given");
    json_decref(doc);
    spawn_done(&s);

    /* A stop that takes half an hour, and pieces of 90 minutes, are not worth it. */
    spawn_run(&s, home, "wattune", "plan", "--json", "--signal", carbon, "--power", "2kW",
              "--duration", "2h", "--start", "2020-05-05T00:00Z", "--deadline",
              "2020-05-05T07:00:00Z", "--interruptible", "--checkpoint-cost", "30min",
              "--min-segment", "90min");
    assert_int_equal(spawn_code(&s), 0);
    doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "segments")), 1);
    assert_true(json_is_null(json_object_get(doc, "facility_kwh"))); /* no PUE: not known */
    assert_true(json_is_null(json_object_get(doc, "cost")));
    json_decref(doc);
    spawn_done(&s);
}

static void regions_stand_side_by_side(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--signal",
              "carbon@DE=" WT_BENCH_CARBON "/de-2020-hourly.csv", "--signal",
              "carbon@FR=" WT_BENCH_CARBON "/fr-2020-hourly.csv", "--signal", "pue=1.2", "--signal",
              "pue@FR=1.4", "--power", "10kW", "--duration", "8h", "--start", "2020-07-01T13:00Z",
              "--deadline", "2d");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "DE"));
    assert_non_null(strstr(s.out, "Start in FR at"));
    assert_non_null(strstr(s.out, "than starting now in DE"));
    assert_non_null(strstr(s.out, "112 kWh")); /* FR: 80 kWh at its own PUE */
    spawn_done(&s);
}

static void what_lies_beyond_the_series_is_called_a_forecast(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--signal", DE, "--power", "1kW", "--duration", "8h",
              "--start", "2020-12-31T20:00Z", "--deadline", "2021-01-03");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "forecast from 2021-01-01T00:00:00Z on"));
    assert_non_null(strstr(s.out, "from 26 earlier"));
    assert_non_null(strstr(s.out, "rests on a forecast"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--json", "--signal", DE, "--power", "1kW", "--duration",
              "8h", "--start", "2020-12-31T20:00Z", "--deadline", "2021-01-03");
    json_t *doc = spawn_json(&s), *f = json_array_get(json_object_get(doc, "forecasts"), 0);
    assert_true(number(f, "mean_abs_error") > 0 && number(f, "trials") == 26);
    assert_true(number(doc, "forecast_share") > 0);
    json_decref(doc);
    spawn_done(&s);
    /* By today the series is years old, and nothing is made of it. */
    spawn_run(&s, home, "wattune", "plan", "--signal", DE, "--power", "1kW", "--duration", "8h",
              "--start", "now", "--deadline", "2d");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "too far"));
    spawn_done(&s);
}

static void a_stored_run_gives_power_time_and_where_they_come_from(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--", "sleep", "0.3");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--run", "last", "--signal", DE, "--start", "2020-06-01",
              "--deadline", "1d");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "the power is that of run"));
    spawn_done(&s);
    /* So is its time; where both are given nothing of the run is used. */
    spawn_run(&s, home, "wattune", "plan", "--run", "last", "--power", "100 W", "--signal", DE,
              "--start", "2020-06-01", "--deadline", "1d");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "its time was not measured"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--run", "last", "--power", "100W", "--duration", "1h",
              "--signal", DE, "--start", "2020-06-01", "--deadline", "1d");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "EMULATED"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--json", "--run", "last", "--duration", "5h",
              "--signal", DE, "--start", "2020-06-01", "--deadline", "1d");
    json_t *doc = spawn_json(&s), *job = json_object_get(doc, "job");
    assert_string_equal(json_string_value(json_object_get(job, "provenance")), "emulated");
    assert_string_equal(json_string_value(json_object_get(job, "emulation")), "v100-pcie-32gb");
    assert_true(json_is_string(json_object_get(job, "run")));
    assert_true(number(job, "duration_s") == 18000);
    assert_true(number(job, "power_low_w") < number(job, "power_w"));
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--run", "19990101", "--signal", DE, "--deadline", "1d");
    assert_int_equal(spawn_code(&s), 4);
    spawn_done(&s);
}

#define PREDICT_3G                                                                                 \
    "\"$WATTUNE_COMMAND\" predict train bert-base --gpu a100-sxm-80gb --batch 64 --tokens 3G "
#define PLAN_IT                                                                                    \
    "\"$WATTUNE_COMMAND\" plan --prediction - --signal carbon=300 --start 2020-06-01 --deadline "

static void a_prediction_gives_power_time_and_their_bounds(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "sh", "-c", PREDICT_3G "--host-watts 500 --json | tee $HOME/job.json");
    json_t *doc = spawn_json(&s), *prediction = json_object_get(doc, "prediction");
    json_t *time = json_object_get(prediction, "time_s");
    json_t *power = json_object_get(prediction, "power_w");
    spawn_done(&s);
    spawn_run(&s, home, "sh", "-c", PREDICT_3G "--host-watts 500 --json | " PLAN_IT "30d --json");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *plan = spawn_json(&s), *job = json_object_get(plan, "job");
    assert_true(is_near(number(job, "power_w"), number(power, "value") + 500));
    assert_true(is_near(number(job, "power_low_w"), number(power, "low") + 500));
    assert_true(is_near(number(job, "power_high_w"), number(power, "high") + 500));
    assert_true(is_near(number(job, "duration_s"), ceil(number(time, "value"))));
    assert_true(is_near(number(job, "duration_low_s"), number(time, "low")));
    assert_true(is_near(number(job, "duration_high_s"), number(time, "high")));
    assert_string_equal(json_string_value(json_object_get(job, "provenance")), "modeled");
    assert_string_equal(json_string_value(json_object_get(job, "prediction")),
                        "bert-base on a100-sxm-80gb");
    assert_true(json_is_null(json_object_get(job, "run")));
    double energy_kwh = number(job, "power_w") * number(job, "duration_s") / 3.6e6;
    assert_true(is_near(number(plan, "energy_kwh"), energy_kwh));
    assert_null(strstr(s.out, "the rest of the node")); /* it is in the power */
    assert_null(strstr(s.out, "WARNING"));
    json_decref(plan);
    json_decref(doc);
    spawn_done(&s);

    spawn_run(&s, home, "sh", "-c", PREDICT_3G "--host-watts 500 --json | " PLAN_IT "30d");
    assert_non_null(strstr(s.out, "PREDICTED bert-base on a100-sxm-80gb: power and time were"));
    assert_non_null(strstr(s.out, "power and time are predicted and not measured"));
    spawn_done(&s);

    /* What is given goes before what is predicted, as with a run. */
    char file[96];
    spawn_path(file, sizeof(file), "job.json");
    spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--power", "1kW", "--signal",
              "carbon=300", "--deadline", "30d");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "its time was not measured"));
    assert_non_null(strstr(s.out, "the time is predicted and"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--duration", "1h", "--signal",
              "carbon=300", "--deadline", "30d");
    assert_non_null(strstr(s.out, "its power was not measured"));
    assert_non_null(strstr(s.out, "the power is predicted and"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--power", "1kW", "--duration",
              "1h", "--signal", "carbon=300", "--deadline", "30d");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "PREDICTED"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--run", "last", "--signal",
              "carbon=300", "--deadline", "30d");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--run and --prediction"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--jobs", "x.swf", "--prediction", file);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--prediction is of one job"));
    spawn_done(&s);
}

static void a_predicted_job_that_may_be_late_is_warned_of(void **state)
{
    (void)state;
    struct spawned s;
    /* 10,000 s [5,000, 20,000]. */
    spawn_run(&s, home, "sh", "-c",
              "echo '{\"prediction\": {\"model\": \"m\", \"gpu\": \"g\", \"gpus\": 2, \"time_s\": "
              "{\"value\": 10000, \"low\": 5000, \"high\": 20000}, \"power_w\": {\"value\": 1000, "
              "\"low\": 500, \"high\": 2000}, \"parts\": [{\"fits\": false}]}}' >$HOME/job.json");
    spawn_done(&s);
    static const struct {
        const char *deadline, *says;
    } rows[] = {
        {"15000s", "longer than there is before the deadline"},
        {"20000s", ""}, /* at once, and done in time */
        {"7h", "--duration 334min"},
    };
    char file[96], grid[96], signal[128];
    spawn_path(file, sizeof(file), "job.json");
    /* So that it waits for 3 h, and would be done 8 h 33 min after the start. */
    spawn_file(grid, sizeof(grid), "late-grid.csv",
               "time,gco2_per_kwh\n2020-06-01T00:00Z,500\n2020-06-01T03:00Z,100\n"
               "2020-06-02T03:00Z,100\n");
    snprintf(signal, sizeof(signal), "carbon=%s", grid);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--signal",
                  i == 1 ? "carbon=300" : signal, "--start", "2020-06-01", "--deadline",
                  rows[i].deadline, "--json");
        if (spawn_code(&s) != 0)
            fail_msg("%s", s.err);
        if (!strstr(s.out, rows[i].says) || !*rows[i].says == !!strstr(s.out, "WARNING"))
            fail_msg("row %zu: %s", i, s.out);
        /* Twice as much of each: the factor of both is 2 to the square root of 2. */
        assert_non_null(strstr(s.out, "0.38 to 2.7 times"));
        assert_non_null(strstr(s.out, "does not fit into the devices' memory"));
        assert_non_null(strstr(s.out, "the rest of the node is not in it"));
        spawn_done(&s);
    }
    spawn_run(&s, home, "wattune", "plan", "--prediction", file, "--signal", "carbon=300",
              "--deadline", "1h");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "does not fit into"));
    spawn_done(&s);
}

static void what_is_no_prediction_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *shell, *says;
    } rows[] = {
        {"echo hello | ", "standard input:1: is no JSON"},
        {"true | ", "standard input: is empty"},
        {"\"$WATTUNE_COMMAND\" predict train bert-huge --gpu a40 --json 2>&1 | ", "is no JSON"},
        {"\"$WATTUNE_COMMAND\" compare train bert-base --gpu a40 --json | ", "is a comparison"},
        {"\"$WATTUNE_COMMAND\" run --json --emulate v100-pcie-32gb -- true | ",
         "is a run that was measured"},
        {"\"$WATTUNE_COMMAND\" predict train bert-base --gpu a40 --json | ", "of one pass?"},
        {"yes '[[[[[[[[[[[[[[[[[[[[[[' | head -c 5000000 | ", "more than the 4194304 bytes"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        char line[600];
        snprintf(line, sizeof(line), "%s%s2d", rows[i].shell, PLAN_IT);
        spawn_run(&s, home, "sh", "-c", line);
        if (spawn_code(&s) == 0 || !strstr(s.err, rows[i].says))
            fail_msg("%s: %d, %s", rows[i].shell, spawn_code(&s), s.err);
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--prediction", "/nowhere.json", "--signal", "carbon=3",
              "--deadline", "2d");
    assert_int_equal(spawn_code(&s), 1); /* no missing sensor */
    assert_non_null(strstr(s.err, "plan: --prediction: /nowhere.json: No such"));
    spawn_done(&s);
}

static void one_column_of_energy_is_of_one_kind(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--signal", "carbon@A=300", "--signal", "pue@A=1.5",
              "--signal", "carbon@B=400", "--power", "10kW", "--duration", "10h", "--start",
              "2020-06-01", "--deadline", "2d");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "energy")); /* the job's, which is known of both */
    assert_non_null(strstr(s.out, "100 kWh"));
    assert_null(strstr(s.out, "facility  "));
    assert_null(strstr(s.out, "150 kWh"));
    spawn_done(&s);
}

static void a_short_job_has_figures_too(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "plan", "--signal", "carbon=300", "--signal", "price=0.3",
              "--power", "2W", "--duration", "2min", "--start", "2020-06-01", "--deadline", "1h");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "0.067 Wh"));
    assert_non_null(strstr(s.out, "20.0 mg"));
    assert_non_null(strstr(s.out, "2e-05")); /* of the currency */
    spawn_done(&s);
}

static void what_is_not_known_is_a_question_mark_in_the_line(void **state)
{
    (void)state;
    struct spawned s;
    char file[96], signal[128];
    spawn_file(file, sizeof(file), "late.csv",
               "time,gco2_per_kwh\n2020-01-02T00:00Z,300\n2020-01-02T12:00Z,100\n");
    snprintf(signal, sizeof(signal), "carbon=%s", file);
    spawn_run(&s, home, "wattune", "plan", "--signal", signal, "--power", "1kW", "--duration", "2h",
              "--start", "2020-01-01", "--deadline", "2d");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    const char *line = strstr(s.out, "g/kWh   ????");
    assert_non_null(line);
    size_t columns = 80 - 12;
    assert_int_equal(strspn(line + 8, "?"), columns / 2); /* the first of the two days */
    assert_true(line[8 + columns / 2] != '\n');
    spawn_done(&s);
}

static void a_document_that_cannot_be_written_is_a_failure_with_a_reason(void **state)
{
    (void)state;
    struct spawned s;
    if (access("/dev/full", W_OK) != 0)
        skip();
    spawn_run(&s, home, "sh", "-c",
              "exec \"$WATTUNE_COMMAND\" plan --json --signal carbon=300 --power 1W --duration 1h "
              "--start 2020-06-01 --deadline 1d >/dev/full");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "could not be written: No space left"));
    spawn_done(&s);
}

static void too_many_regions_and_signals_are_told_apart(void **state)
{
    (void)state;
    static const char *const kinds[] = {"carbon", "pue", "price"};
    for (int each = 1; each <= 3; each += 2) { /* signals of a region */
        char texts[140][32];
        const char *argv[2 + 2 * 140 + 1] = {"wattune", "plan"};
        for (int i = 0; i < 140; i++) {
            snprintf(texts[i], sizeof(texts[i]), "%s@R%d=3", kinds[i % each], i / each);
            argv[2 + 2 * i] = "--signal";
            argv[3 + 2 * i] = texts[i];
        }
        struct spawned s;
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(
            strstr(s.err, each == 1 ? "more than 64 regions" : "more than 128 signals"));
        spawn_done(&s);
    }
}

static void mistakes_are_told_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *args[9];
        int code;
        const char *says;
    } rows[] = {
        {{"--power", "1kW", "--duration", "1h", "--deadline", "1d"}, 2, "nothing to plan by"},
        {{"--signal", "wind=3"}, 2, "is not carbon, pue or price"},
        {{"--signal", "carbon"}, 2, "is not KIND=FILE"},
        {{"--signal", "carbon@=3"}, 2, "a region is a word"},
        {{"--signal", "carbon=3", "--signal", "carbon=4"}, 2, "given twice"},
        {{"--power", "1kW", "--power", "2kW"}, 2, "--power 2kW: is given twice"},
        {{"--signal", "pue=0.5"}, 2, "must be 1 or more"},
        {{"--signal", "carbon=paper"}, 1, "no built-in carbon"},
        {{"--signal", "carbon=/nowhere.csv"}, 1, "plan: --signal: /nowhere.csv: No such"},
        {{"--signal", "carbon=ukcarbom:13"}, 1, "or a live feed: electricitymaps:ZONE"},
        {{"--signal", "carbon=BAD"}, 1, "bad.csv:3: gco2_per_kwh is \"x\""},
        {{"--signal", "carbon=3", "--power", "much"}, 2, "--power much"},
        {{"--signal", "carbon=3", "--power", "-3W"}, 2, "--power -3W"},
        {{"--signal", "carbon=3", "--power", "0x10W"}, 2, "--power 0x10W"},
        {{"--signal", "carbon=3", "--power", "infW"}, 2, "--power infW"},
        {{"--signal", "carbon=3", "--power", "1.2.3kW"}, 2, "--power 1.2.3kW"},
        {{"--signal", "carbon=3", "--duration", "long"}, 2, "--duration long"},
        {{"--signal", "carbon=3", "--duration", "2"}, 2, "--duration 2: give a unit: 2h, 2min"},
        {{"--signal", "carbon=3", "--deadline", "2", "--power", "1W", "--duration", "1h"},
         2,
         "--deadline 2: is no time"},
        {{"--signal", "carbon=3", "--duration", "0h"}, 2, "a second at least"},
        {{"--signal", "carbon=3", "--start", "soon"}, 2, "--start soon"},
        {{"--signal", "carbon=3", "--deadline", "soon", "--power", "1W", "--duration"},
         2,
         "argument"},
        {{"--signal", "carbon=3", "--power", "1W", "--duration", "1h"}, 2, "--deadline 2d"},
        {{"--signal", "carbon=3", "--power", "1W", "--duration", "1h", "--deadline", "tomorrow"},
         2,
         "--deadline tomorrow: is no time"},
        {{"--signal", "carbon=3", "--deadline", "1d", "--power", "1W"},
         2,
         "--power and --duration"},
        {{"--signal", "carbon=3", "--objective", "joy"}, 2, "--objective joy"},
        {{"--signal", "carbon=3", "--objective", "edp"}, 2, "--objective edp"},
        {{"--signal", "carbon=3", "--min-segment", "1h"}, 2, "goes with --interruptible"},
        {{"--signal", "carbon=3", "--checkpoint-cost", "1h"}, 2, "goes with --interruptible"},
        {{"--signal", "carbon=3", "true"}, 2, "no command is run"},
        {{"--signal", "carbon=3", "--power", "1W", "--duration", "2d", "--deadline", "1d"},
         2,
         "does not fit"},
        {{"--signal", "pue=1.1", "--power", "1W", "--duration", "1h", "--deadline", "1999-01-01"},
         2,
         "is not after the start"},
    };
    char bad[96], signal[128];
    spawn_file(bad, sizeof(bad), "bad.csv", "time,gco2_per_kwh\n2020-01-01,3\n2020-01-02,x\n");
    snprintf(signal, sizeof(signal), "carbon=%s", bad);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *a[9] = {0};
        for (int k = 0; k < 9 && rows[i].args[k]; k++)
            a[k] = strcmp(rows[i].args[k], "carbon=BAD") == 0 ? signal : rows[i].args[k];
        spawn_run(&s, home, "wattune", "plan", a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
                  a[8]);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    struct spawned s; /* carbon alone is no reason to plan by cost */
    spawn_run(&s, home, "wattune", "plan", "--signal", "carbon=3", "--objective", "cost", "--power",
              "1W", "--duration", "1h", "--deadline", "1d");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--signal price=FILE"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "plan", "--help");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(january_against_july_is_one_command),
        cmocka_unit_test(the_document_has_segments_sums_and_the_baseline),
        cmocka_unit_test(regions_stand_side_by_side),
        cmocka_unit_test(what_lies_beyond_the_series_is_called_a_forecast),
        cmocka_unit_test(a_stored_run_gives_power_time_and_where_they_come_from),
        cmocka_unit_test(a_prediction_gives_power_time_and_their_bounds),
        cmocka_unit_test(a_predicted_job_that_may_be_late_is_warned_of),
        cmocka_unit_test(what_is_no_prediction_is_told),
        cmocka_unit_test(one_column_of_energy_is_of_one_kind),
        cmocka_unit_test(a_short_job_has_figures_too),
        cmocka_unit_test(what_is_not_known_is_a_question_mark_in_the_line),
        cmocka_unit_test(a_document_that_cannot_be_written_is_a_failure_with_a_reason),
        cmocka_unit_test(too_many_regions_and_signals_are_told_apart),
        cmocka_unit_test(mistakes_are_told_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
