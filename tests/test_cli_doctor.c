/* `wattune doctor`: a value or the reason why there is none, on emulated GPUs and recorded trees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "spawned.h"
#include "trees.h"

static const char *const home = spawn_folder;
static char tree[80]; /* tree: another machine, at home */

static int setup(void **state)
{
    spawn_setup(state);
    wt_text(tree, sizeof(tree), "%s/tree", home);
    return 0;
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

/* The first thing a source says, NULL when it says nothing. */
static const json_t *said_by(const json_t *root, const char *source)
{
    size_t i;
    const json_t *f;
    json_array_foreach(json_object_get(root, "findings"), i, f)
    {
        if (strcmp(json_string_value(json_object_get(f, "source")), source) == 0)
            return f;
    }
    return NULL;
}

static const char *text(const json_t *f, const char *key)
{
    const char *value = f ? json_string_value(json_object_get(f, key)) : NULL;
    return value ? value : "(none)";
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
        json_t *root = spawn_json(&s);
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
    json_t *root = spawn_json(&s);
    assert_true(json_is_true(json_object_get(root, "is_emulated")));
    assert_int_equal(json_integer_value(json_object_get(root, "measurable")), 1);
    const json_t *gpu = json_array_get(json_object_get(root, "devices"), 0);
    assert_int_equal(json_array_size(json_object_get(root, "devices")), 1);
    assert_int_equal(json_integer_value(json_object_get(gpu, "index")), 1);
    const json_t *f = finding(root, text(gpu, "id"), "energy counter");
    assert_string_equal(text(f, "kind"), "ok");
    assert_non_null(strstr(text(f, "value"), "J so far, moves about every 100 ms"));
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
        json_t *root = spawn_json(&s);
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
    tree_put(tree, "/proc/cpuinfo", "processor : 0\nvendor_id : GenuineIntel\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/energy_uj", "123000000\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", tree);
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = spawn_json(&s);
    assert_int_equal(json_integer_value(json_object_get(root, "measurable")), 1);
    assert_non_null(
        strstr(text(finding(root, "cpu-package-0", "energy counter"), "value"), "123.0 J so far"));
    /* Without a bus in the tree nobody knows which cards are on it. */
    assert_null(said_by(root, "nvml"));
    json_decref(root);
    spawn_done(&s);
}

static void a_card_is_missing_only_on_a_bus_that_was_seen(void **state)
{
    (void)state;
    static const struct {
        const char *vendor, *model, *want; /* NULL: no such file; no such line */
        const char *why;
    } rows[] = {
        {"0x8086\n", NULL, "no NVIDIA GPU in this machine", "another vendor's card"},
        {"0x10de\n", NULL, "NVIDIA GPU: not looked at", "NVIDIA's card"},
        {"0x8086\n", "NVIDIA Jetson AGX Orin\n", NULL, "a GPU on no bus"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        tree_put(tree, "/proc/cpuinfo", "processor : 0\nCPU implementer : 0x41\n");
        tree_put(tree, "/sys/bus/pci/devices/0000:03:00.0/vendor", rows[i].vendor);
        tree_put(tree, "/sys/bus/pci/devices/0000:03:00.0/class", "0x030000\n");
        if (rows[i].model)
            tree_put(tree, "/proc/device-tree/model", rows[i].model);
        spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", tree);
        json_t *root = spawn_json(&s);
        const json_t *f = said_by(root, "nvml");
        if (!f != !rows[i].want || (f && !strstr(text(f, "value"), rows[i].want)))
            fail_msg("%s: %s", rows[i].why, s.out);
        json_decref(root);
        spawn_done(&s);
    }
}

static void the_way_a_device_is_read_and_what_it_belongs_to_is_said(void **state)
{
    (void)state;
    struct spawned s;
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/energy_uj", "123000000\n");
    tree_put(tree, "/sys/class/drm/card0/device/uevent",
             "DRIVER=amdgpu\nPCI_ID=1002:1681\nPCI_SLOT_NAME=0000:04:00.0\n");
    tree_put(tree, "/sys/class/drm/card0/device/hwmon/hwmon1/name", "amdgpu\n");
    tree_put(tree, "/sys/class/drm/card0/device/hwmon/hwmon1/power1_average", "15000000\n");
    tree_put(tree, "/sys/class/drm/card0/device/hwmon/hwmon1/in1_label", "vddnb\n");
    spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", tree);
    assert_int_equal(spawn_code(&s), 0);
    json_t *root = spawn_json(&s);
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
    tree_put(tree, "/proc/cpuinfo", "processor : 0\nflags : fpu hypervisor\n");
    tree_put(tree, "/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
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
    char path[160];
    tree_put(tree, "/proc/cpuinfo", "\n");
    tree_put(tree, "/a-file", "");
    wt_text(path, sizeof(path), "XDG_DATA_HOME=%s/a-file/below", tree);
    spawn_run(&s, home, "env", path, getenv("WATTUNE_COMMAND"), "doctor", "--json", "--sysroot",
              tree);
    json_t *root = spawn_json(&s);
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
    assert_non_null(strstr(s.out, "43.20 MJ so far"));
    assert_null(strstr(s.out, "MJ so far, moves"));
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

static void a_fault_is_of_an_emulated_device(void **state)
{
    (void)state;
    static const char *const commands[] = {"doctor", "probe"};
    struct spawned s;
    for (size_t i = 0; i < 2; i++) {
        spawn_run(&s, home, "wattune", commands[i], "--fault", "gone@1s");
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(strstr(s.err, "--fault needs --emulate"));
        spawn_done(&s);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, spawn_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_emulated_gpu_is_looked_at_and_called_so),
        TEST(lines_break_between_words),
        TEST(hidden_gpus_are_said_to_be_there),
        TEST(json_says_the_same_and_nothing_else),
        TEST(a_broken_sensor_is_told_apart_from_a_missing_one),
        TEST(another_root_is_another_machine),
        TEST(a_card_is_missing_only_on_a_bus_that_was_seen),
        TEST(the_way_a_device_is_read_and_what_it_belongs_to_is_said),
        TEST(a_machine_without_sensors_is_4_and_says_what_next),
        TEST(a_store_that_cannot_be_written_is_named),
        TEST(a_wrong_command_line_is_2),
        TEST(a_command_is_a_sensor_like_any_other),
        TEST(a_fault_is_of_an_emulated_device),
        TEST(a_command_that_does_not_work_is_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
