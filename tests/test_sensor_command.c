/* sensor by a command: what is asked for, what is printed, and a command that misbehaves. */
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bed.h"
#include "sensor/command.h"
#include "sensor/gauge.h"
#include "sensor/program.h"
#include "sensor/slow.h"

static void specs_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        enum wt_device_kind kind;
        const char *name;
        int64_t period_ms;
        const char *command;
    } rows[] = {
        {"2s:./read-pdu --outlet 7", WT_DEVICE_NODE, "", 2000, "./read-pdu --outlet 7"},
        {"2:x", WT_DEVICE_NODE, "", 2000, "x"},
        {"500ms:x", WT_DEVICE_NODE, "", 500, "x"},
        {"1.5m:x", WT_DEVICE_NODE, "", 90000, "x"},
        {"1h:x", WT_DEVICE_NODE, "", 3600000, "x"},
        {"gpu@1s:x", WT_DEVICE_GPU, "", 1000, "x"},
        {"node/pdu-7.a_b@5s:curl http://u@h:80", WT_DEVICE_NODE, "pdu-7.a_b", 5000,
         "curl http://u@h:80"},
        {"dram/d@1s:x", WT_DEVICE_DRAM, "d", 1000, "x"},
        {"cpu@1s: x", WT_DEVICE_CPU, "", 1000, " x"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_command_spec s;
        struct wt_error err = {0};
        if (wt_command_parse(rows[i].spec, &s, &err) < 0)
            fail_msg("%s: %s", rows[i].spec, err.text);
        assert_int_equal(s.kind, rows[i].kind);
        assert_string_equal(s.name, rows[i].name);
        assert_int_equal(s.period_ns, rows[i].period_ms * WT_NS_PER_MS);
        assert_string_equal(s.command, rows[i].command);
    }
}

static void a_wrong_spec_is_said_with_the_right_form(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *says;
    } rows[] = {
        {"", "no colon"},
        {"./read-pdu", "no colon"},
        {"2s:", "no command"},
        {"2s:  ", "no command"},
        {":x", "no time"},
        {"2 s:x", "no time"},
        {"2d:x", "no time"},
        {"-2s:x", "no time"},
        {"10ms:x", "between"},
        {"2h:x", "between"},
        {"nan:x", "no time"},
        {"fan@2s:x", "kind"},
        {"@2s:x", "kind"},
        {"node/@2s:x", "name"},
        {"node/a b@2s:x", "name"},
        {"node/abcdefghijklmnopqrstuvwxyz0123456@2s:x", "name"},
        {"node/abcdefghijklmnopqrstuvwxyz/abcdefghijklmnopqrstuvwxyz/abcdefghijklmnopqrstuvwxyz/"
         "abcdefghijk@2s:x",
         "too long"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_command_spec s;
        struct wt_error err = {0};
        assert_int_equal(wt_command_parse(rows[i].spec, &s, &err), WT_E_USAGE);
        assert_says(err.text, rows[i].says);
        assert_says(err.fix, "[KIND[/NAME]@]PERIOD:COMMAND");
    }
}

static void what_is_printed_is_a_number_and_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int rc;
        bool is_energy;
        uint64_t value, step;
    } rows[] = {
        {"212.5 W", 0, false, 212500, 100},
        {"212W", 0, false, 212000, 1000},
        {"  7 mW  ", 0, false, 7, 1},
        {"1.25kW", 0, false, 1250000, 10000},
        {"0 W", 0, false, 0, 1000},
        {"2e2 W", 0, false, 200000, 1000},
        {"98765 J", 0, true, UINT64_C(98765000000), 1000000},
        {"98.765 kJ", 0, true, UINT64_C(98765000000), 1000000},
        {"12.5 Wh", 0, true, UINT64_C(45000000000), 360000000},
        {"1.234 kWh", 0, true, UINT64_C(4442400000000), UINT64_C(3600000000)},
        {"212.5", WT_E_FORMAT, false, 0, 0},
        {"212.5 w", WT_E_FORMAT, false, 0, 0},
        {"212,5 W", WT_E_FORMAT, false, 0, 0},
        {"212.5 W total", WT_E_FORMAT, false, 0, 0},
        {"power 212.5 W", WT_E_FORMAT, false, 0, 0},
        {"-5 W", WT_E_FORMAT, false, 0, 0},
        {"1e300 W", WT_E_FORMAT, false, 0, 0},
        {"nan W", WT_E_FORMAT, false, 0, 0},
        {"W", WT_E_FORMAT, false, 0, 0},
        {"", WT_E_FORMAT, false, 0, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_command_value v = {0};
        struct wt_error err = {0};
        int rc = wt_command_value(rows[i].line, &v, &err);
        if (rc != rows[i].rc || v.is_energy != rows[i].is_energy || v.value != rows[i].value ||
            v.step != rows[i].step)
            fail_msg("\"%s\": %d, %llu by %llu; %s", rows[i].line, rc, (unsigned long long)v.value,
                     (unsigned long long)v.step, err.text);
    }
}

/* ---- the source ---- */

static void open_with(struct bed *bed, const char *const *specs, size_t count)
{
    bed->options.commands = specs;
    bed->options.command_count = count;
    bed_open(bed);
}

static void settle(const struct bed *bed, const char *id)
{
    struct wt_source *source;
    size_t k;
    assert_true(wt_devices_locate(bed->devices, bed_find(bed, id), &source, &k));
    wt_slow_settle(((struct wt_gauges *)source)->list[k]->counter_data);
}

/* Has it asked anew, and waits for the answer. */
static void turn(struct bed *bed, const char *id, int64_t span_ns)
{
    struct wt_reading r;
    bed->now_ns += span_ns;
    (void)bed_read(bed, id, WT_READ_ENERGY | WT_READ_POWER, &r);
    settle(bed, id);
}

static void the_last_line_is_the_reading(void **state)
{
    (void)state;
    static const char *const specs[] = {"2s:echo 1 W; echo; echo 212.5 W; echo; echo warning >&2"};
    struct bed bed;
    bed_init(&bed);
    open_with(&bed, specs, 1);
    const struct wt_device_info *node = bed_device(&bed, "node-command");
    assert_int_equal(node->kind, WT_DEVICE_NODE);
    assert_int_equal(node->can, WT_CAN_POWER);
    assert_true(node->is_counted);
    assert_string_equal(node->source, "command");
    assert_int_equal(node->traits.power_period_ns, 2 * WT_NS_PER_S);
    assert_int_equal(node->traits.power_window_ns, 0);
    assert_int_equal(node->traits.offset_mw, 50); /* half of its last digit */
    assert_int_equal(bed_mw(&bed, "node-command"), 212500);
    bed_done(&bed);
}

static void a_counter_goes_on_and_may_start_anew(void **state)
{
    (void)state;
    struct bed bed;
    char spec[128];
    bed_init(&bed);
    bed_put(&bed, "/meter", "1000.5 Wh\n");
    wt_text(spec, sizeof(spec), "node/plug@2s:cat %s/meter", bed.root);
    const char *const specs[] = {spec};
    open_with(&bed, specs, 1);
    const struct wt_device_info *plug = bed_device(&bed, "node-plug");
    assert_int_equal(plug->can, WT_CAN_ENERGY);
    assert_int_equal(plug->traits.energy_period_ns, 2 * WT_NS_PER_S);
    assert_int_equal(plug->traits.energy_quantum_uj, 360000000);
    assert_string_equal(plug->name, "plug");
    assert_int_equal(bed_uj(&bed, "node-plug"), UINT64_C(3601800000000));
    bed_put(&bed, "/meter", "1000.6 Wh\n");
    assert_int_equal(bed_uj(&bed, "node-plug"), UINT64_C(3601800000000)); /* not due */
    turn(&bed, "node-plug", 2 * WT_NS_PER_S);
    assert_int_equal(bed_uj(&bed, "node-plug"), UINT64_C(3602160000000));
    bed_put(&bed, "/meter", "0.1 Wh\n");
    turn(&bed, "node-plug", 2 * WT_NS_PER_S);
    assert_int_equal(bed_uj(&bed, "node-plug"), 360000000);
    bed_done(&bed);
}

static void a_command_that_does_not_work_is_a_mistake_before_the_job(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *says;
    } rows[] = {
        {"2s:echo 100", "without a unit"},
        {"2s:echo lots", "printed \"lots\""},
        {"2s:true", "printed nothing"},
        {"2s:echo no route >&2", "no route"},
        {"2s:echo 5 W; exit 3", "exit code 3"},
        {"2s:wt-no-such-program", "exit code 127"},
        {"2s:echo 5 W; kill -9 $$", "exit code 137"},
        {"2s:echo 90000 W", "is no reading"},
        {"2s", "no colon"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        bed.options.commands = &rows[i].spec;
        bed.options.command_count = 1;
        int rc = wt_devices_open(&bed.devices, bed.ctx, &bed.options, &bed.err);
        assert_int_equal(rc, WT_E_USAGE);
        assert_says(bed.err.text, rows[i].says);
        const char *colon = strchr(rows[i].spec, ':');
        assert_says(bed.err.text, colon ? colon + 1 : rows[i].spec);
        bed_done(&bed);
    }
}

static void a_run_that_fails_later_is_a_gap_and_says_what_it_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        const char *says;
    } rows[] = {
        {"garbage\n", WT_E_FORMAT, "garbage"},
        {"", WT_E_FORMAT, "printed nothing"},
        {"7 J\n", WT_E_FORMAT, "a power before"},
        {"8 W\n", 0, ""},
    };
    struct bed bed;
    struct wt_reading r;
    char spec[128];
    bed_init(&bed);
    bed_put(&bed, "/meter", "7 W\n");
    wt_text(spec, sizeof(spec), "2s:cat %s/meter", bed.root);
    const char *const specs[] = {spec};
    open_with(&bed, specs, 1);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bed_put(&bed, "/meter", rows[i].text);
        turn(&bed, "node-command", 2 * WT_NS_PER_S);
        assert_int_equal(bed_read(&bed, "node-command", WT_READ_POWER, &r), rows[i].rc);
        assert_int_equal(r.power.state, rows[i].rc ? WT_ABSENT : WT_LIVE);
        assert_says(bed.err.text, rows[i].says);
    }
    assert_int_equal(r.power.mw, 8000);
    bed_done(&bed);
}

/* After a pause the last answer is old, and is not handed out as if it were of now. */
static void an_old_answer_is_no_reading(void **state)
{
    (void)state;
    static const char *const specs[] = {"2s:echo 7 W"};
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    open_with(&bed, specs, 1);
    bed.now_ns += 600 * WT_NS_PER_S;
    assert_int_equal(bed_read(&bed, "node-command", WT_READ_POWER, &r), WT_E_TIMEOUT);
    settle(&bed, "node-command");
    assert_int_equal(bed_mw(&bed, "node-command"), 7000);
    bed_done(&bed);
}

static void several_are_told_apart_and_one_name_is_one_sensor(void **state)
{
    (void)state;
    static const char *const specs[] = {"2s:echo 1 W", "2s:echo 2 W", "gpu@2s:echo 3 W",
                                        "cpu/left@2s:echo 4 W"};
    static const char *const twice[] = {"node/a@2s:echo 1 W", "node/a@2s:echo 2 W"};
    struct bed bed;
    bed_init(&bed);
    open_with(&bed, specs, WT_COUNTOF(specs));
    assert_int_equal(bed_mw(&bed, "node-command"), 1000);
    assert_int_equal(bed_mw(&bed, "node-command-1"), 2000);
    assert_int_equal(bed_mw(&bed, "gpu-command"), 3000);
    assert_int_equal(bed_mw(&bed, "cpu-left"), 4000);
    assert_true(bed_device(&bed, "cpu-left")->is_counted);
    assert_true(bed_device(&bed, "gpu-command")->is_counted);
    assert_false(bed_device(&bed, "node-command")->is_counted); /* stands beside the sum */
    bed_done(&bed);

    bed_init(&bed);
    bed.options.commands = twice;
    bed.options.command_count = 2;
    assert_int_equal(wt_devices_open(&bed.devices, bed.ctx, &bed.options, &bed.err), WT_E_USAGE);
    assert_says(bed.err.text, "of this name");
    bed_done(&bed);
}

static void the_users_meter_counts_before_one_that_was_found(void **state)
{
    (void)state;
    static const char *const specs[] = {"node/wall@2s:echo 300 W"};
    struct bed bed;
    bed_init(&bed);
    bed_put(&bed, "/tools/ipmi-dcmi.txt", "Current Power : 250 Watts\n");
    open_with(&bed, specs, 1);
    assert_true(bed_device(&bed, "node-wall")->is_counted);
    assert_false(bed_device(&bed, "node-ipmi")->is_counted);
    bed_done(&bed);
}

/* ---- running ---- */

static void a_program_that_does_not_end_is_killed_with_what_it_started(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_program_result *result = calloc(1, sizeof(*result));
    char script[160], path[128], line[64];
    bed_init(&bed);
    wt_text(script, sizeof(script), "sleep 1000 & echo $! >%s/pid; echo 5 W; wait", bed.root);
    const char *const args[] = {"sh", "-c", script, NULL};
    /* Long enough for a shell to start on a busy machine, or the file is not there. */
    int rc = wt_program_run(args, -1, 500 * WT_NS_PER_MS, result, &bed.err);
    assert_int_equal(rc, WT_E_TIMEOUT);
    if (wt_fs_read(bed.ctx, "/pid", line, sizeof(line), NULL) == 0) {
        wt_text(path, sizeof(path), "/proc/%s/stat", line);
        wt_ctx_free(bed.ctx);
        assert_int_equal(wt_ctx_new(&bed.ctx, NULL, NULL), 0);
        char stat[1024];
        /* Gone, or a zombie that nobody has waited for; a signal takes a moment to arrive. */
        for (int i = 0; wt_fs_read(bed.ctx, path, stat, sizeof(stat), NULL) == 0; i++) {
            if (strstr(stat, ") Z"))
                break;
            if (i == 1000)
                fail_msg("still there: %s", stat);
            wt_clock_sleep_until_ns(wt_clock_now_ns() + 10 * WT_NS_PER_MS);
        }
    }
    free(result);
    bed_done(&bed);
}

static void a_program_that_leaves_something_behind_is_not_waited_for(void **state)
{
    (void)state;
    static const char *const args[] = {"sh", "-c", "sleep 1000 & echo 5 W", NULL};
    struct wt_program_result *result = calloc(1, sizeof(*result));
    struct wt_error err = {0};
    assert_int_equal(wt_program_run(args, -1, 60 * WT_NS_PER_S, result, &err), 0);
    assert_int_equal(result->code, 0);
    assert_says(result->out, "5 W");
    free(result);
}

static void a_program_is_stopped_when_told(void **state)
{
    (void)state;
    static const char *const args[] = {"sleep", "1000", NULL};
    struct wt_program_result *result = calloc(1, sizeof(*result));
    struct wt_error err = {0};
    int fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(wt_program_run(args, fd, 60 * WT_NS_PER_S, result, &err), WT_E_STATE);
    close(fd);
    free(result);
}

static void exit_codes_are_had_though_children_are_ignored(void **state)
{
    (void)state;
    static const char *const args[] = {"sh", "-c",
                                       "echo out; echo first >&2; echo last >&2; exit 7", NULL};
    struct wt_program_result *result = calloc(1, sizeof(*result));
    struct wt_error err = {0};
    for (int ignored = 0; ignored < 2; ignored++) {
        void (*before)(int) = signal(SIGCHLD, ignored ? SIG_IGN : SIG_DFL);
        if (wt_program_run(args, -1, 60 * WT_NS_PER_S, result, &err) < 0)
            fail_msg("%s", err.text);
        signal(SIGCHLD, before);
        assert_int_equal(result->code, 7);
        assert_string_equal(result->out, "out\n");
        assert_string_equal(result->error, "last");
    }
    free(result);
}

static void of_much_output_the_end_is_kept(void **state)
{
    (void)state;
    static const char *const args[] = {
        "sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf '5 W'",
        NULL};
    struct wt_program_result *result = calloc(1, sizeof(*result));
    struct wt_error err = {0};
    assert_int_equal(wt_program_run(args, -1, 60 * WT_NS_PER_S, result, &err), 0);
    assert_int_equal(result->code, 0);
    size_t n = strlen(result->out);
    assert_true(n > 4000);
    assert_string_equal(result->out + n - 13, "line 1999\n5 W");
    free(result);
}

static void it_has_an_empty_stdin_a_session_of_its_own_and_a_mark(void **state)
{
    (void)state;
    static const char *const args[] = {
        "sh", "-c", "cat; echo $WATTUNE_SENSOR; cut -d' ' -f6 /proc/self/stat", NULL};
    struct wt_program_result *result = calloc(1, sizeof(*result));
    struct wt_error err = {0};
    int session = 0, mark = 0;
    assert_int_equal(wt_program_run(args, -1, 60 * WT_NS_PER_S, result, &err), 0);
    assert_int_equal(sscanf(result->out, "%d %d", &mark, &session), 2);
    assert_int_equal(mark, 1);
    assert_int_not_equal(session, getsid(0));
    free(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs_are_read),
        cmocka_unit_test(a_wrong_spec_is_said_with_the_right_form),
        cmocka_unit_test(what_is_printed_is_a_number_and_a_unit),
        cmocka_unit_test(the_last_line_is_the_reading),
        cmocka_unit_test(a_counter_goes_on_and_may_start_anew),
        cmocka_unit_test(a_command_that_does_not_work_is_a_mistake_before_the_job),
        cmocka_unit_test(a_run_that_fails_later_is_a_gap_and_says_what_it_printed),
        cmocka_unit_test(an_old_answer_is_no_reading),
        cmocka_unit_test(several_are_told_apart_and_one_name_is_one_sensor),
        cmocka_unit_test(the_users_meter_counts_before_one_that_was_found),
        cmocka_unit_test(a_program_that_does_not_end_is_killed_with_what_it_started),
        cmocka_unit_test(a_program_that_leaves_something_behind_is_not_waited_for),
        cmocka_unit_test(a_program_is_stopped_when_told),
        cmocka_unit_test(exit_codes_are_had_though_children_are_ignored),
        cmocka_unit_test(of_much_output_the_end_is_kept),
        cmocka_unit_test(it_has_an_empty_stdin_a_session_of_its_own_and_a_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
