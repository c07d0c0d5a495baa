/* run: the record in memory and its JSON; what is unknown is null. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <locale.h>
#include <stdlib.h>

#include "record/record.h"
#include "runs.h"

static const struct runs_spec typical = {
    .cap_w = 150, .wall_s = 40, .power_w = 149, .bound = 0.012, .is_with_cpu = true};

static json_t *parse(char *text)
{
    assert_non_null(text);
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    free(text);
    return doc;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static double number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void the_document_has_what_the_design_promises(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical);
    json_t *doc = parse(wt_run_to_json(&run));
    assert_near(number_at(doc, "wall_s"), 40, 1e-6);
    assert_int_equal(json_integer_value(json_object_get(doc, "exit")), 0);
    json_t *gpu = json_array_get(json_object_get(doc, "devices"), 0);
    assert_string_equal(text_at(gpu, "kind"), "gpu");
    assert_string_equal(text_at(gpu, "provenance"), "emulated");
    assert_string_equal(text_at(gpu, "method"), "counter");
    assert_near(number_at(gpu, "energy_j"), 5960, 1e-3);
    assert_near(number_at(gpu, "mean_w"), 149, 1e-3);
    json_t *total = json_object_get(doc, "total");
    assert_near(number_at(total, "energy_j"), 8360, 1e-3);
    assert_true(number_at(total, "low_j") < 8360 && number_at(total, "high_j") > 8360);
    json_t *work = json_object_get(doc, "work");
    assert_string_equal(text_at(work, "unit"), "tokens");
    assert_near(number_at(work, "j_per"), 8360.0 / 512000, 1e-9);
    json_t *set = json_array_get(json_object_get(json_object_get(doc, "settings"), "power"), 0);
    assert_near(number_at(set, "found"), 250, 0);
    assert_near(number_at(set, "enforced"), 150, 0);
    json_t *loss = json_array_get(json_object_get(doc, "values"), 0);
    assert_true(number_at(loss, "last") < number_at(loss, "first"));
    assert_int_equal(json_array_size(json_object_get(doc, "phases")), 3);
    assert_true(json_is_array(json_object_get(doc, "gaps")));
    assert_true(json_is_true(json_object_get(doc, "emulated")));
    assert_null(json_object_get(doc, "trace"));
    json_decref(doc);

    doc = parse(wt_run_to_json_full(&run));
    json_t *trace = json_array_get(json_object_get(doc, "trace"), 0);
    assert_int_equal(json_array_size(json_object_get(trace, "power_w")), 101);
    json_decref(doc);
    wt_run_done(&run);
}

static void parameters_and_the_plan_come_back(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical), back;
    const struct wt_run_param params[] = {{"batch", "16"}, {"dtype", "bf\xc3\xa4"}};
    for (size_t i = 0; i < WT_COUNTOF(params); i++)
        assert_int_equal(wt_run_add_param(&run, &params[i]), 0);
    assert_int_equal(wt_run_set_plan(&run, "no JSON"), WT_E_FORMAT);
    assert_null(run.plan);
    assert_int_equal(wt_run_set_plan(&run, "{\"seed\": 1}"), 0);
    assert_int_equal(wt_run_set_plan(&run, "{\"seed\": 7}"), 0);
    json_t *doc = wt_run_json(&run, false);
    assert_string_equal(text_at(json_object_get(doc, "params"), "batch"), "16");
    assert_near(number_at(json_object_get(doc, "plan"), "seed"), 7, 0);
    assert_int_equal(wt_run_from_json(&back, doc, NULL), 0);
    assert_int_equal(back.param_count, 2);
    assert_string_equal(back.params[1].name, "dtype");
    assert_string_equal(back.params[1].value, "bf\xc3\xa4");
    assert_string_equal(back.plan, "{\"seed\":7}");
    json_decref(doc);
    wt_run_done(&back);
    wt_run_done(&run);
    /* Of a run without them the document has them empty. */
    run = runs_make(&typical);
    doc = wt_run_json(&run, false);
    assert_int_equal(json_object_size(json_object_get(doc, "params")), 0);
    assert_true(json_is_null(json_object_get(doc, "plan")));
    assert_int_equal(wt_run_from_json(&back, doc, NULL), 0);
    assert_int_equal(back.param_count, 0);
    assert_null(back.plan);
    json_decref(doc);
    wt_run_done(&back);
    wt_run_done(&run);
}

static void an_unknown_energy_is_null_and_never_zero(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical);
    const struct wt_joules unknown = {0, 0, 0, WT_PROV_UNKNOWN};
    run.devices[0].energy = run.total = unknown;
    json_t *doc = parse(wt_run_to_json(&run));
    json_t *gpu = json_array_get(json_object_get(doc, "devices"), 0);
    assert_true(json_is_null(json_object_get(gpu, "energy_j")));
    assert_true(json_is_null(json_object_get(gpu, "mean_w")));
    assert_string_equal(text_at(gpu, "provenance"), "unknown");
    json_t *total = json_object_get(doc, "total");
    assert_true(json_is_null(json_object_get(total, "energy_j")));
    assert_true(json_is_null(json_object_get(total, "mean_w")));
    assert_true(json_is_null(json_object_get(json_object_get(doc, "work"), "j_per")));
    assert_int_equal(wt_run_j_per_work(&run).provenance, WT_PROV_UNKNOWN);
    json_decref(doc);
    wt_run_done(&run);
}

static void an_unfinished_run_has_no_exit_code(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical);
    run.state = WT_RUN_RUNNING;
    json_t *doc = parse(wt_run_to_json(&run));
    assert_true(json_is_null(json_object_get(doc, "exit")));
    assert_string_equal(text_at(doc, "state"), "running");
    json_decref(doc);
    wt_run_done(&run);
}

static void a_command_of_any_bytes_becomes_valid_json(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want, *why;
    } rows[] = {
        {"echo \"a\"\n", "echo \"a\"\n", "quotes and newlines are JSON's to escape"},
        {"caf\xc3\xa9", "caf\xc3\xa9", "UTF-8 stays"},
        {"caf\xc3", "caf?", "a character cut by the buffer's end"},
        {"\xff\xfe", "??", "never UTF-8"},
        {"\xc0\xaf", "??", "overlong"},
        {"\xed\xa0\x80", "???", "a surrogate"},
        {"\xf0\x9f\x94\x8b", "\xf0\x9f\x94\x8b", "four bytes"},
        {"\xf4\x90\x80\x80", "????", "above U+10FFFF"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_run run = {0};
        wt_text(run.command, sizeof(run.command), "%s", rows[i].bytes);
        json_t *doc = parse(wt_run_to_json(&run));
        if (strcmp(text_at(doc, "command"), rows[i].want) != 0)
            fail_msg("%s: got \"%s\"", rows[i].why, text_at(doc, "command"));
        json_decref(doc);
    }
}

static void a_document_read_back_is_the_same_run(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical), back;
    run.host_w = 210;
    run.is_reference = true;
    run.devices[1].is_part = run.devices[1].is_modeled = true;
    run.devices[1].has_sensor = false;
    wt_text(run.devices[1].part_of, sizeof(run.devices[1].part_of), "GPU-1");
    run.is_replayed = true;
    wt_text(run.recording, sizeof(run.recording), "machines/mi250x");
    wt_text(run.recording_title, sizeof(run.recording_title), "a blade");
    run.devices[0].check = (struct wt_joules){5900, 5700, 6100, WT_PROV_EMULATED};
    char *text = wt_run_to_json(&run);
    json_t *doc = json_loads(text, 0, NULL);
    assert_int_equal(wt_run_from_json(&back, doc, NULL), 0);
    json_decref(doc);
    assert_string_equal(back.devices[1].part_of, "GPU-1");
    assert_true(back.is_replayed && back.devices[1].is_modeled && !back.devices[1].has_sensor);
    assert_true(back.devices[0].has_sensor);
    assert_int_equal(back.value_count, 0); /* the store keeps these apart */
    for (size_t i = 0; i < run.value_count; i++)
        assert_int_equal(wt_run_add_value(&back, &run.values[i]), 0);
    char *again = wt_run_to_json(&back);
    assert_string_equal(again, text);
    free(text);
    free(again);
    wt_run_done(&run);
    wt_run_done(&back);
}

/* However many names there are, and however soon they come. */
static void the_first_and_the_last_value_of_a_name_are_kept(void **state)
{
    (void)state;
    enum { NAMES = 100, ROUNDS = 50 };
    struct wt_run run = {0};
    double last[NAMES] = {0};
    for (int i = 0; i < ROUNDS; i++)
        for (int n = 0; n < NAMES; n++) {
            struct wt_run_value v = {.t_s = 10 + 1e-5 * i, .value = 1000.0 * n + i};
            wt_text(v.name, sizeof(v.name), "trial-%d", n);
            assert_int_equal(wt_run_add_value(&run, &v), 0);
        }
    assert_int_equal(run.value_count, 2 * NAMES);
    for (size_t i = 0; i < run.value_count; i++)
        last[i % NAMES] = run.values[i].value;
    for (int n = 0; n < NAMES; n++)
        assert_true(run.values[n].value == 1000.0 * n && last[n] == 1000.0 * n + ROUNDS - 1);
    /* What comes later does not lie beside one that was only kept as the last. */
    struct wt_run_value later = {.t_s = 11, .name = "trial-7", .value = 1};
    assert_int_equal(wt_run_add_value(&run, &later), 0);
    assert_int_equal(run.value_count, 2 * NAMES);
    later.t_s = 12;
    assert_int_equal(wt_run_add_value(&run, &later), 0);
    assert_int_equal(run.value_count, 2 * NAMES + 1);
    wt_run_done(&run);
}

static void a_long_run_keeps_a_bounded_trace(void **state)
{
    (void)state;
    struct wt_run run = {0};
    for (int i = 0; i < 200000; i++)
        for (uint32_t device = 0; device < 2; device++) {
            struct wt_run_point p = {.t_s = i * 0.1, .device = device, .power_w = i};
            assert_int_equal(wt_run_add_point(&run, &p), 0);
        }
    /* 4000 at full resolution, then 4000 ln(20000 s / 400 s). */
    assert_true(run.point_count > 2 * 15000 && run.point_count < 2 * 24000);
    for (size_t i = 2; i < run.point_count; i++) {
        assert_int_not_equal(run.points[i].device, run.points[i - 1].device);
        assert_true(run.points[i].t_s - run.points[i - 2].t_s < 0.2 + run.points[i].t_s / 4000);
    }
    wt_run_done(&run);
}

static void formats_have_three_digits_and_a_point(void **state)
{
    (void)state;
    static const struct {
        double joules;
        const char *want;
    } rows[] = {
        {0, "0.00 J"},         {0.0123, "12.3 mJ"},    {1, "1.00 J"},      {99.96, "100 J"},
        {999.4, "999 J"},      {999.6, "1.00 kJ"},     {12345, "12.3 kJ"}, {5.6e8, "560 MJ"},
        {2.5e9, "2.50 GJ"},    {-1500, "-1.50 kJ"},    {NAN, "unknown"},   {INFINITY, "unknown"},
        {12.34e-6, "12.3 uJ"}, {0.9996e-3, "1.00 mJ"},
    };
    char buf[64];
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        assert_string_equal(wt_format_joules(buf, sizeof(buf), rows[i].joules), rows[i].want);

    static const struct {
        struct wt_joules joules;
        const char *want;
    } intervals[] = {
        {{1234, 1201, 1267, WT_PROV_COUNTER}, "1.234 kJ [1.201, 1.267]"},
        {{1234, 900, 1600, WT_PROV_COUNTER}, "1.23 kJ [0.90, 1.60]"},
        {{1234, 1234, 1234, WT_PROV_COUNTER}, "1.23 kJ [1.23, 1.23]"},
        {{0.057, 0, 1.993, WT_PROV_COUNTER}, "0.06 J [0.00, 1.99]"},
        {{500, 0, INFINITY, WT_PROV_COUNTER}, "500 J [no bound]"},
        {{0, 0, 0, WT_PROV_UNKNOWN}, "unknown"},
    };
    for (size_t i = 0; i < WT_COUNTOF(intervals); i++)
        assert_string_equal(wt_format_interval(buf, sizeof(buf), &intervals[i].joules),
                            intervals[i].want);

    static const struct {
        double seconds;
        const char *want;
    } times[] = {
        {0.0123, "0.012 s"}, {1.234, "1.23 s"},    {12.34, "12.3 s"}, {99.99, "1 min 40 s"},
        {245, "4 min 05 s"}, {7380, "2 h 03 min"}, {NAN, "unknown"},
    };
    for (size_t i = 0; i < WT_COUNTOF(times); i++)
        assert_string_equal(wt_format_seconds(buf, sizeof(buf), times[i].seconds), times[i].want);
}

static void an_id_sorts_by_time_and_says_when(void **state)
{
    (void)state;
    struct wt_run early = {.start_unix_ns = INT64_C(1790000000999000000)};
    struct wt_run late = {.start_unix_ns = INT64_C(1790000001001000000)};
    wt_run_stamp(&early);
    wt_run_stamp(&late);
    assert_true(strcmp(early.id, late.id) < 0);
    assert_memory_equal(early.id, "20260921-141320-999", 19);
    assert_true(early.host[0] && early.system[0]);
    assert_string_equal(early.version, wt_version());
}

static void parts_that_draw_more_than_the_node_are_said_to(void **state)
{
    (void)state;
    static const struct {
        double node_j, bound;
        bool is_off;
        const char *why;
    } rows[] = {
        {9000, 0.01, false, "the node draws more than its parts: fans, memory, losses"},
        {8300, 0.01, false, "less, but within the bounds"},
        {7000, 0.01, true, "less than its parts beyond both bounds"},
        {7000, 0.30, false, "the node's meter is a poor one"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_run run = runs_make(&typical);
        double parts_j = run.total.energy_j;
        assert_true(wt_run_node_check(&run).node == SIZE_MAX);
        runs_add_device(&run, WT_DEVICE_NODE, "node-psys", "platform", rows[i].node_j,
                        rows[i].bound);
        run.devices[run.device_count - 1].is_part = true;
        run.devices[run.device_count - 1].is_counted = false;
        struct wt_node_check check = wt_run_node_check(&run);
        assert_int_equal(check.node, run.device_count - 1);
        assert_near(check.parts.energy_j, parts_j, 1e-6);
        assert_near(check.rest.energy_j, rows[i].node_j - parts_j, 1e-6);
        if (check.is_off != rows[i].is_off)
            fail_msg("%s", rows[i].why);
        json_t *doc = parse(wt_run_to_json(&run));
        json_t *told = json_object_get(doc, "node_check");
        assert_int_equal(json_is_true(json_object_get(told, "agrees")), !rows[i].is_off);
        /* Nothing is averaged away: every figure stays what it was. */
        assert_near(number_at(json_object_get(doc, "total"), "energy_j"), parts_j, 1e-3);
        json_decref(doc);
        wt_run_done(&run);
    }
}

/* A Cray's controller sees each accelerator; one of two is read as a GPU too. */
static void what_a_controller_sees_is_no_rest_of_the_node(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical);
    size_t own = run.device_count;
    double parts_j = 0;
    for (size_t i = 0; i < own; i++)
        parts_j += run.devices[i].kind == WT_DEVICE_GPU ? 0 : run.devices[i].energy.energy_j;
    for (size_t i = 0; i < 2; i++) {
        runs_add_device(&run, WT_DEVICE_GPU, i ? "cray-accel1" : "cray-accel0", "accelerator", 2600,
                        0.01);
        struct wt_run_device *d = &run.devices[run.device_count - 1];
        d->is_part = true;
        d->is_counted = false;
        wt_text(d->source, sizeof(d->source), "cray");
    }
    runs_add_device(&run, WT_DEVICE_NODE, "module-socket-0", "module", 1, 0.01);
    runs_add_device(&run, WT_DEVICE_NODE, "node-cray", "node", 20000, 0.01);
    struct wt_node_check check = wt_run_node_check(&run);
    assert_int_equal(check.node, run.device_count - 1);
    assert_near(check.parts.energy_j, parts_j + 5200, 1e-6);
    wt_run_done(&run);
}

static void phases_and_users_come_back_as_they_were_written(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical), back;
    run.phases[0].own_s = 12;
    run.phases[0].energy = (struct wt_joules){1800, 1750, 1850, WT_PROV_EMULATED};
    run.phases[0].mean_w = 150;
    run.phases[0].is_separable = true;
    run.phases[1].joint = (struct wt_joules){4000, 3900, 4100, WT_PROV_EMULATED};
    wt_text(run.phases[1].with, sizeof(run.phases[1].with), "optimizer");
    wt_text(run.phases_note, sizeof(run.phases_note), "a note");
    struct wt_run_device *d = &run.devices[0];
    d->attribution.is_known = true;
    wt_text(d->attribution.rule, sizeof(d->attribution.rule), "by share");
    d->attribution.idle_uj = 1234567890123;
    d->attribution.residual_uj = 7;
    d->attribution.shares = calloc(1, sizeof(*d->attribution.shares));
    assert_non_null(d->attribution.shares);
    d->attribution.share_count = 1;
    d->attribution.shares[0] =
        (struct wt_run_share){.pid = 42, .name = "python3", .is_ours = true, .energy_uj = 1000001};
    json_t *doc = parse(wt_run_to_json(&run));
    assert_int_equal(wt_run_from_json(&back, doc, NULL), 0);
    json_decref(doc);
    assert_near(back.phases[0].energy.low_j, 1750, 1e-6);
    assert_true(back.phases[0].is_separable);
    assert_int_equal(back.phases[1].energy.provenance, WT_PROV_UNKNOWN);
    assert_near(back.phases[1].joint.high_j, 4100, 1e-6);
    assert_string_equal(back.phases[1].with, "optimizer");
    assert_string_equal(back.phases_note, "a note");
    const struct wt_run_device *b = &back.devices[0];
    assert_true(b->attribution.is_known);
    assert_true(b->attribution.residual_uj == 7);
    assert_int_equal(b->attribution.share_count, 1);
    assert_true(b->attribution.shares[0].energy_uj == 1000001);
    assert_true(b->attribution.shares[0].is_ours);
    assert_false(back.devices[1].attribution.is_known);
    wt_run_done(&run);
    wt_run_done(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_has_what_the_design_promises),
        cmocka_unit_test(parameters_and_the_plan_come_back),
        cmocka_unit_test(an_unknown_energy_is_null_and_never_zero),
        cmocka_unit_test(an_unfinished_run_has_no_exit_code),
        cmocka_unit_test(a_command_of_any_bytes_becomes_valid_json),
        cmocka_unit_test(a_document_read_back_is_the_same_run),
        cmocka_unit_test(the_first_and_the_last_value_of_a_name_are_kept),
        cmocka_unit_test(a_long_run_keeps_a_bounded_trace),
        cmocka_unit_test(formats_have_three_digits_and_a_point),
        cmocka_unit_test(an_id_sorts_by_time_and_says_when),
        cmocka_unit_test(parts_that_draw_more_than_the_node_are_said_to),
        cmocka_unit_test(phases_and_users_come_back_as_they_were_written),
        cmocka_unit_test(what_a_controller_sees_is_no_rest_of_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
