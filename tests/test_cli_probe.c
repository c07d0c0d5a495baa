/* `wattune probe`: on emulated GPUs, where the true values are known, and on a recorded tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "spawned.h"
#include "trees.h"
#include "wattune/probe.h"

static const char *const home = spawn_folder;

static double number(const json_t *root, const char *sensor, const char *what)
{
    const json_t *device = json_array_get(json_object_get(root, "devices"), 0);
    const json_t *found = json_object_get(json_object_get(device, sensor), what);
    return json_number_value(json_object_get(found, "value"));
}

/* How exact it is, is for virtual time to say (test_probe): this machine may be busy. */
static void an_emulated_gpu_is_probed_under_a_load_of_its_own(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "probe", "--json", "--seconds", "4", "--gpu", "0", "--emulate",
              "v100-pcie-32gb:2", "--trace", home);
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = spawn_json(&s);
    assert_true(json_is_true(json_object_get(root, "is_emulated")));
    assert_int_equal(json_array_size(json_object_get(root, "devices")), 1);
    double period_s = number(root, "counter", "period_s");
    assert_true(period_s > 0.09 && period_s < 0.11);
    assert_true(number(root, "counter", "step_j") > 0);
    json_decref(root);
    assert_non_null(strstr(s.err, "goes with the emulation"));
    spawn_done(&s);
    /* What was seen is in a file, and says the same there. */
    char path[128];
    struct wt_probe_trace trace;
    struct wt_device_info info;
    struct wt_probe_result r;
    wt_text(path, sizeof(path), "%s/device-0.trace", home);
    assert_int_equal(wt_probe_trace_read(path, &trace, &info, NULL), 0);
    assert_string_equal(info.name, "Tesla V100-PCIE-32GB");
    assert_int_equal(wt_probe_analyse(&trace, &info, &r, NULL), 0);
    assert_true(fabs(r.sensors[WT_PROBE_ENERGY].period_s.value - period_s) < 0.001);
    wt_probe_trace_done(&trace);
    char *text = tree_get("", path);
    assert_null(strstr(text, "GPU-")); /* nothing names the board */
    free(text);
}

/* Both commands in one emulation: what the one found, the other uses. */
static void doctor_says_that_it_was_probed(void **state)
{
    (void)state;
    struct spawned s;
    const char *wattune = getenv("WATTUNE_COMMAND");
    char script[1200];
    wt_text(script, sizeof(script),
            "'%s' probe --seconds 3 >/dev/null 2>&1; '%s' doctor 2>&1; '%s' probe --no-store "
            "--no-load --seconds 3 2>&1",
            wattune, wattune, wattune);
    spawn_run(&s, home, "wattune", "emulate", "t4", "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "probed on 20"));
    assert_non_null(strstr(s.out, "none (--no-load)"));
    assert_non_null(strstr(s.out, "could not be told: no load ran"));
    assert_null(strstr(s.out, "kept in"));
    spawn_done(&s);
}

static void a_trace_that_cannot_be_written_is_told_before_anything_is_watched(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "probe", "--seconds", "3", "--emulate", "t4", "--trace",
              "/no/such/folder");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "--trace: writing /no/such/folder/device-0.trace: "));
    assert_non_null(strstr(s.err, "a folder that is there"));
    assert_null(strstr(s.err, "watching"));
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

static void a_faulty_counter_ends_with_1(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *want;
    } rows[] = {
        {"frozen:nvmlDeviceGetTotalEnergyConsumption", "stood still"},
        {"reset@4s", "ran backwards"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "probe", "--seconds", "3", "--emulate", "v100-pcie-32gb",
                  "--fault", rows[i].fault);
        assert_int_equal(spawn_code(&s), 1);
        if (!strstr(s.out, rows[i].want))
            fail_msg("no \"%s\" in %s", rows[i].want, s.out);
        assert_non_null(strstr(s.out, "FAULTY"));
        spawn_done(&s);
    }
}

static void mistakes_and_missing_sensors_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *want;
        int code;
    } rows[] = {
        {"--seconds", "1", "from 3 to 3600", 2},
        {"--seconds", "x", "--seconds x", 2},
        {"--bogus", "", "--help", 2},
        {"now", NULL, "options only", 2},
        {"--sysroot", "/nonexistent", "/nonexistent", 4},
        {"--sensor-command", "soon:echo 1 W", "no time", 2},
        {"--emulate", "no-such-gpu", "no-such-gpu", 4},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "probe", rows[i].option, rows[i].value);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("%s: %d, %s", rows[i].option, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    /* An empty tree: another machine, with nothing to read. */
    struct spawned s;
    spawn_run(&s, home, "wattune", "probe", "--sysroot", home);
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "no sensor"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "probe", "--help");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

static void what_is_modeled_or_recorded_is_not_probed(void **state)
{
    (void)state;
    static const struct {
        const char *machine, *says;
    } rows[] = {
        {WT_MACHINES "/gce-vm", "no sensor to probe"},
        {WT_MACHINES "/intel-2s-psys", "is a recording"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "probe", "--seconds", "3", "--sysroot", rows[i].machine);
        if (spawn_code(&s) != 4 || !strstr(s.err, rows[i].says) || strstr(s.err, "kept in"))
            fail_msg("%s: %d, %s", rows[i].machine, spawn_code(&s), s.err);
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(an_emulated_gpu_is_probed_under_a_load_of_its_own),
        SPAWN_TEST(doctor_says_that_it_was_probed),
        SPAWN_TEST(a_trace_that_cannot_be_written_is_told_before_anything_is_watched),
        SPAWN_TEST(a_faulty_counter_ends_with_1),
        SPAWN_TEST(mistakes_and_missing_sensors_are_told),
        SPAWN_TEST(what_is_modeled_or_recorded_is_not_probed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
