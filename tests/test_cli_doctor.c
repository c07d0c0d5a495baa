/* `wattune doctor`: a value or the reason why there is none, on emulated GPUs and recorded trees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "spawn.h"

static char home[64];

static int setup(void **state)
{
    (void)state;
    spawn_home(home, sizeof(home));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    spawn_home_done(home);
    return 0;
}

static void put(const char *path, const char *text)
{
    char full[512];
    wt_text(full, sizeof(full), "%s/tree%s", home, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(full, 0755, NULL), 0);
    full[strlen(full)] = '/';
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* The finding about this, NULL when there is none. device may be NULL: any. */
static const json_t *finding(const json_t *root, const char *device, const char *what)
{
    size_t i;
    const json_t *f;
    json_array_foreach(json_object_get(root, "findings"), i, f)
    {
        if (strcmp(json_string_value(json_object_get(f, "what")), what) == 0 &&
            (!device || strcmp(json_string_value(json_object_get(f, "device")), device) == 0))
            return f;
    }
    return NULL;
}

static const char *text(const json_t *f, const char *key)
{
    const char *value = f ? json_string_value(json_object_get(f, key)) : NULL;
    return value ? value : "(none)";
}

static json_t *document(const struct spawned *s)
{
    json_error_t err;
    json_t *root = json_loads(s->out, 0, &err);
    if (!root)
        fail_msg("%s in %s", err.text, s->out);
    return root;
}

static void an_emulated_gpu_is_looked_at_and_called_so(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "doctor", "--emulate", "v100-pcie-32gb:2");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "EMULATED: v100-pcie-32gb:2"));
    assert_non_null(strstr(s.out, "Tesla V100-PCIE-32GB, EMULATED"));
    assert_non_null(strstr(s.out, "GPU 1"));
    assert_null(strstr(s.out, "broken")); /* a sensor may need a period to have a sample */
    assert_non_null(strstr(s.out, "100 to 250 W"));
    assert_non_null(strstr(s.out, "What next"));
    assert_non_null(strstr(s.out, "wattune sweep --set power=auto"));
    spawn_done(&s);
}

static void lines_break_between_words(void **state)
{
    (void)state;
    struct spawned s;
    setenv("COLUMNS", "60", 1);
    spawn_run(&s, home, "wattune", "doctor", "--emulate", "v100-pcie-32gb");
    unsetenv("COLUMNS");
    assert_int_equal(spawn_code(&s), 0);
    for (char *line = strtok(s.out, "\n"); line; line = strtok(NULL, "\n")) {
        const char *word = strrchr(line, ' '); /* a path alone may be as long as it is */
        if (strlen(line) > 60 && word && word - line > 26)
            fail_msg("more than 60 columns: %s", line);
    }
    spawn_done(&s);
}

static void hidden_gpus_are_said_to_be_there(void **state)
{
    (void)state;
    static const struct {
        const char *list, *want;
    } rows[] = {{"", "2 GPUs are there, but CUDA_VISIBLE_DEVICES=\"\" hides them all"},
                {"7", "2 GPUs are there, but CUDA_VISIBLE_DEVICES=\"7\" hides them all"},
                {"1", NULL}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spawned s;
        setenv("CUDA_VISIBLE_DEVICES", rows[i].list, 1);
        spawn_run(&s, home, "wattune", "doctor", "--json", "--emulate", "v100-pcie-32gb:2");
        unsetenv("CUDA_VISIBLE_DEVICES");
        assert_int_equal(spawn_code(&s), rows[i].want ? 4 : 0);
        json_t *root = document(&s);
        const json_t *f = finding(root, "", "GPUs");
        assert_int_equal(f != NULL, rows[i].want != NULL);
        if (rows[i].want) {
            assert_string_equal(text(f, "value"), rows[i].want);
            assert_string_equal(text(f, "kind"), "missing");
            assert_non_null(strstr(text(f, "fix"), "unset CUDA_VISIBLE_DEVICES"));
        }
        json_decref(root);
        spawn_done(&s);
    }
}

static void json_says_the_same_and_nothing_else(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "doctor", "--json", "--emulate", "v100-pcie-32gb:2", "--gpu",
              "1");
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = document(&s);
    assert_true(json_is_true(json_object_get(root, "is_emulated")));
    assert_int_equal(json_integer_value(json_object_get(root, "measurable")), 1);
    const json_t *gpu = json_array_get(json_object_get(root, "devices"), 0);
    assert_int_equal(json_array_size(json_object_get(root, "devices")), 1);
    assert_int_equal(json_integer_value(json_object_get(gpu, "index")), 1);
    const json_t *f = finding(root, text(gpu, "id"), "energy counter");
    assert_string_equal(text(f, "kind"), "ok");
    assert_non_null(strstr(text(f, "value"), "kJ"));
    json_decref(root);
    spawn_done(&s);
}

static void a_broken_sensor_is_told_apart_from_a_missing_one(void **state)
{
    (void)state;
    static const struct {
        const char *profile, *fault, *what, *kind;
    } rows[] = {
        {"v100-pcie-32gb", "unknown:nvmlDeviceGetTotalEnergyConsumption", "energy counter",
         "broken"},
        {"v100-pcie-32gb", "unsupported:nvmlDeviceGetTotalEnergyConsumption", "energy counter",
         "missing"},
        {"v100-pcie-32gb", "denied:nvmlInit_v2", "library", "denied"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "doctor", "--json", "--emulate", rows[i].profile, "--fault",
                  rows[i].fault);
        json_t *root = document(&s);
        const json_t *f = finding(root, NULL, rows[i].what);
        if (strcmp(text(f, "kind"), rows[i].kind) != 0)
            fail_msg("%s: %s", rows[i].fault, s.out);
        json_decref(root);
        spawn_done(&s);
    }
}

static void another_root_is_another_machine(void **state)
{
    (void)state;
    struct spawned s;
    char tree[128];
    wt_text(tree, sizeof(tree), "%s/tree", home);
    put("/proc/cpuinfo", "processor : 0\nvendor_id : GenuineIntel\n");
    put("/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    put("/sys/class/powercap/intel-rapl:0/energy_uj", "123000000\n");
    put("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", tree);
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = document(&s);
    assert_int_equal(json_integer_value(json_object_get(root, "measurable")), 1);
    assert_non_null(
        strstr(text(finding(root, "cpu-package-0", "energy counter"), "value"), "0.123 kJ"));
    assert_non_null(strstr(text(finding(root, NULL, "library"), "value"), "no NVIDIA GPU"));
    json_decref(root);
    spawn_done(&s);
}

static void the_way_a_device_is_read_and_what_it_belongs_to_is_said(void **state)
{
    (void)state;
    struct spawned s;
    char tree[128];
    wt_text(tree, sizeof(tree), "%s/tree", home);
    put("/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    put("/sys/class/powercap/intel-rapl:0/energy_uj", "123000000\n");
    put("/sys/class/drm/card0/device/uevent",
        "DRIVER=amdgpu\nPCI_ID=1002:1681\nPCI_SLOT_NAME=0000:04:00.0\n");
    put("/sys/class/drm/card0/device/hwmon/hwmon1/name", "amdgpu\n");
    put("/sys/class/drm/card0/device/hwmon/hwmon1/power1_average", "15000000\n");
    put("/sys/class/drm/card0/device/hwmon/hwmon1/in1_label", "vddnb\n");
    spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", tree);
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = document(&s);
    const char *gpu = "GPU-0000:04:00.0";
    assert_non_null(
        strstr(text(finding(root, "cpu-package-0", "device"), "value"), "read by way of powercap"));
    assert_non_null(
        strstr(text(finding(root, gpu, "device"), "value"), "its energy is in the processor's"));
    assert_non_null(
        strstr(text(finding(root, gpu, "power"), "value"), "a running mean over a time"));
    assert_string_equal(text(json_array_get(json_object_get(root, "devices"), 0), "via"), "hwmon");
    json_decref(root);
    spawn_done(&s);
}

static void a_machine_without_sensors_is_4_and_says_what_next(void **state)
{
    (void)state;
    struct spawned s;
    char tree[128];
    wt_text(tree, sizeof(tree), "%s/tree", home);
    put("/proc/cpuinfo", "processor : 0\nflags : fpu hypervisor\n");
    put("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    spawn_run(&s, home, "wattune", "doctor", "--sysroot", tree);
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.out, "Amazon EC2"));
    assert_non_null(strstr(s.out, "--emulate"));
    assert_string_equal(s.err, "");
    assert_null(strchr(s.out, '\033')); /* no colours into a pipe */
    spawn_done(&s);
}

static void a_store_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    struct spawned s;
    char tree[128], path[160];
    wt_text(tree, sizeof(tree), "%s/tree", home);
    put("/proc/cpuinfo", "\n");
    put("/a-file", "");
    wt_text(path, sizeof(path), "XDG_DATA_HOME=%s/tree/a-file/below", home);
    spawn_run(&s, home, "env", path, getenv("WATTUNE_COMMAND"), "doctor", "--json", "--sysroot",
              tree);
    json_t *root = document(&s);
    const json_t *f = finding(root, NULL, "stored runs");
    assert_string_not_equal(text(f, "kind"), "ok");
    assert_non_null(strstr(text(f, "fix"), "XDG_DATA_HOME"));
    json_decref(root);
    spawn_done(&s);
}

static void a_wrong_command_line_is_2(void **state)
{
    (void)state;
    static const struct {
        const char *arg;
        int want;
    } rows[] = {{"--no-such-option", 2}, {"stray", 2}, {"--help", 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "doctor", rows[i].arg);
        assert_int_equal(spawn_code(&s), rows[i].want);
        assert_non_null(strstr(rows[i].want ? s.err : s.out, rows[i].want ? "--help" : "--json"));
        spawn_done(&s);
    }
    struct spawned s;
    spawn_run(&s, home, "wattune", "doctor", "--emulate", "v100-pcie-32gb", "--gpu", "7");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "GPU \"7\""));
    spawn_done(&s);
}

static void a_command_that_does_not_work_is_a_line(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "doctor", "--sysroot", home, "--sensor-command",
              "node/bad@2s:echo 100", "--sensor-command", "node/good@2s:echo 212.5 W");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "without a unit"));
    assert_non_null(strstr(s.out, "node-good"));
    spawn_done(&s);
    /* A run fails before its job starts. */
    spawn_run(&s, home, "wattune", "run", "--sensor-command", "node/bad@2s:echo 100", "--", "echo",
              "ran");
    assert_int_equal(spawn_code(&s), 2);
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

static void a_command_is_a_sensor_like_any_other(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "doctor", "--sysroot", home, "--sensor-command",
              "node/pdu@2s:echo 212.5 W", "--sensor-command", "gpu@500ms:echo 12 kWh");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "node-pdu"));
    assert_non_null(strstr(s.out, "212.5 W, every 2 s"));
    /* It moves when the next kWh is full, which is up to the load. */
    assert_non_null(strstr(s.out, "43200.000 kJ so far"));
    assert_null(strstr(s.out, "kJ so far, moves"));
    spawn_done(&s);
    const char *argv[24] = {"wattune", "doctor"};
    for (size_t i = 2; i < 20; i += 2) {
        argv[i] = "--sensor-command";
        argv[i + 1] = "2s:echo 1 W";
    }
    spawn_start(&s, home, argv);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "more than 8"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_emulated_gpu_is_looked_at_and_called_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(lines_break_between_words, setup, teardown),
        cmocka_unit_test_setup_teardown(hidden_gpus_are_said_to_be_there, setup, teardown),
        cmocka_unit_test_setup_teardown(json_says_the_same_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_sensor_is_told_apart_from_a_missing_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_root_is_another_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(the_way_a_device_is_read_and_what_it_belongs_to_is_said,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_machine_without_sensors_is_4_and_says_what_next, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_written_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_command_line_is_2, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_is_a_sensor_like_any_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_that_does_not_work_is_a_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
