/* statement: sums of runs with their provenance, what is said to be missing, and the regions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>

#include "catalogue/sheet.h"
#include "report/statement.h"
#include "runs.h"

enum { RUNS = 3 };

static struct wt_run runs[RUNS];
static struct wt_statement statement;
static struct wt_catalogue *catalogue; /* of the built-in tables */
static const struct wt_statement_options plain_options = {.pue = NAN};

/* Three real runs of a V100 and a processor, an hour apart. */
static int setup(void **state)
{
    (void)state;
    assert_int_equal(wt_catalogue_open(&catalogue, NULL, NULL), 0);
    for (unsigned i = 0; i < RUNS; i++) {
        const struct runs_spec spec = {.wall_s = 40 + i,
                                       .power_w = 200,
                                       .bound = 0.02,
                                       .repeat = i,
                                       .is_real = true,
                                       .is_with_cpu = true};
        runs[i] = runs_make(&spec);
        runs[i].start_unix_ns = INT64_C(1790000000000000000) + i * INT64_C(3600000000000);
        runs[i].group[0] = '\0';
        wt_text(runs[i].tag, sizeof(runs[i].tag), "paper");
        wt_text(runs[i].id, sizeof(runs[i].id), "run-%u", i);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    wt_statement_done(&statement);
    wt_catalogue_close(catalogue);
    for (unsigned i = 0; i < RUNS; i++)
        wt_run_done(&runs[i]);
    return 0;
}

static void make(const struct wt_statement_options *options)
{
    struct wt_error err = {0};
    wt_statement_done(&statement);
    if (wt_statement_make(&statement, runs, RUNS, options, &err) < 0)
        fail_msg("%s", err.text);
}

/* The words about something that was not measured; NULL: nothing is said of it. */
static const char *told(const char *what)
{
    for (size_t i = 0; i < statement.missing_count; i++)
        if (strcmp(statement.missing[i].what, what) == 0)
            return statement.missing[i].text;
    return NULL;
}

static void assert_has(char *text, const char *part)
{
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("no \"%s\" in: %s", part, text);
    free(text);
}

static double sum_of(size_t device)
{
    double sum = 0;
    for (size_t i = 0; i < RUNS; i++)
        sum += runs[i].devices[device].energy.energy_j;
    return sum;
}

static void energies_are_summed_by_provenance(void **state)
{
    (void)state;
    for (size_t i = 0; i < RUNS; i++) { /* the processor's power is sampled */
        runs[i].devices[1].energy.provenance = WT_PROV_SAMPLED;
        runs[i].devices[1].method = WT_PROV_SAMPLED;
        runs[i].total.provenance = WT_PROV_SAMPLED;
    }
    make(&plain_options);
    assert_int_equal(statement.part_count, 2);
    assert_int_equal(statement.parts[0].provenance, WT_PROV_COUNTER);
    assert_near(statement.parts[0].energy.energy_j, sum_of(0), 1e-6);
    assert_near(statement.parts[0].energy.low_j, sum_of(0) * 0.98, 1e-6);
    assert_int_equal(statement.parts[0].runs, RUNS);
    assert_int_equal(statement.parts[1].provenance, WT_PROV_SAMPLED);
    assert_near(statement.parts[1].energy.energy_j, sum_of(1), 1e-6);
    assert_near(statement.total.energy_j, sum_of(0) + sum_of(1), 1e-6);
    assert_near(statement.total.high_j, (sum_of(0) + sum_of(1)) * 1.02, 1e-6);
    assert_int_equal(statement.total.provenance, WT_PROV_SAMPLED);
    assert_true(statement.is_whole);
    assert_has(wt_statement_to_markdown(&statement), "# Energy statement: paper\n");
}

static void failed_and_interrupted_runs_count(void **state)
{
    (void)state;
    runs[0].exit_code = 137;
    runs[1].state = WT_RUN_INCOMPLETE;
    make(&plain_options);
    assert_int_equal(statement.done, 1);
    assert_int_equal(statement.failed, 1);
    assert_int_equal(statement.incomplete, 1);
    assert_near(statement.failed_energy.energy_j, runs[0].total.energy_j, 1e-9);
    assert_near(statement.incomplete_energy.high_j, runs[1].total.high_j, 1e-9);
    assert_near(statement.total.energy_j, sum_of(0) + sum_of(1), 1e-6);
    assert_near(statement.gpu_hours * 3600, statement.wall_s, 1e-9);
    assert_non_null(strstr(told("incomplete"), "cut short (1)"));
    assert_has(wt_statement_to_markdown(&statement), "failed, exit code 137");
}

/* What `wattune run -- nosuchcmd` stores. */
static void make_unstarted(struct wt_run *run, int exit_code)
{
    run->exit_code = exit_code;
    run->device_count = 0;
    run->wall_s = 0;
    run->total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
}

static void a_command_that_did_not_start_is_in_no_figure(void **state)
{
    (void)state;
    make(&plain_options);
    const struct wt_statement before = statement;
    char *was = strdup(told("node"));
    statement = (struct wt_statement){0};
    size_t counts[RUNS];
    for (size_t i = 0; i < RUNS; i++)
        counts[i] = runs[i].device_count;
    make_unstarted(&runs[1], 127);
    make(&plain_options);
    assert_int_equal(statement.unstarted, 1);
    assert_int_equal(statement.failed, 0);
    assert_int_equal(statement.done, 2);
    assert_true(statement.is_whole);
    assert_string_equal(told("node"), was); /* in all of the runs, as before */
    assert_int_equal(statement.missing_count, before.missing_count);
    char *text = wt_statement_to_markdown(&statement);
    assert_null(strstr(text, "at least"));
    assert_non_null(strstr(text, "did not start, as the command was not there or no program: 1;"));
    assert_non_null(strstr(text, "run-1: 0.000 s, nothing, did not start, exit code 127"));
    free(text);
    text = wt_statement_to_codecarbon(&statement);
    assert_null(strstr(text, "run-1"));
    free(text);
    /* One that started and ended so is a failure like any other. */
    runs[1].wall_s = 0.1;
    make(&plain_options);
    assert_int_equal(statement.unstarted, 0);
    assert_int_equal(statement.failed, 1);
    /* Nothing started at all. */
    for (size_t i = 0; i < RUNS; i++)
        make_unstarted(&runs[i], 126);
    make(&plain_options);
    assert_int_equal(statement.unstarted, RUNS);
    assert_has(wt_statement_to_markdown(&statement), "**Not measured**: no command started");
    for (size_t i = 0; i < RUNS; i++)
        runs[i].device_count = counts[i];
    free(was);
    struct wt_statement done = before;
    wt_statement_done(&done);
}

/* The cells of the first row, by the name of their column; NaN: empty. */
static double cell_of(const char *csv, const char *column)
{
    const char *head = csv, *row = strchr(csv, '\n') + 1;
    while (strncmp(head, column, strlen(column)) != 0 || !strchr(",\n", head[strlen(column)])) {
        head += strcspn(head, ",") + 1;
        row += strcspn(row, ",") + 1;
    }
    return *row == ',' ? (double)NAN : strtod(row, NULL);
}

static void codecarbons_parts_are_those_of_the_total(void **state)
{
    (void)state;
    double gpu = runs[0].devices[0].energy.energy_j, cpu = runs[0].devices[1].energy.energy_j;
    struct wt_run_device *d = &runs[0].devices[1];
    d->is_modeled = true;
    d->energy.provenance = WT_PROV_MODELED;
    for (int is_counted = 0; is_counted < 2; is_counted++) {
        d->is_counted = is_counted;
        runs[0].total.energy_j = gpu + is_counted * cpu;
        make(&plain_options);
        char *text = wt_statement_to_codecarbon(&statement);
        assert_near(cell_of(text, "energy_consumed"), (gpu + is_counted * cpu) / 3.6e6, 1e-9);
        assert_near(cell_of(text, "gpu_energy"), gpu / 3.6e6, 1e-9);
        if (is_counted) {
            assert_near(cell_of(text, "cpu_energy"), cpu / 3.6e6, 1e-9);
            assert_near(cell_of(text, "cpu_power"), cpu / runs[0].wall_s, 1e-6);
        } else {
            assert_true(isnan(cell_of(text, "cpu_energy"))); /* beside the total */
        }
        assert_true(isnan(cell_of(text, "ram_energy")));
        free(text);
    }
}

/* A meter from outside sees all of the node. */
static void a_node_that_was_measured_as_a_whole_is_hardware(void **state)
{
    (void)state;
    for (size_t i = 0; i < RUNS; i++) {
        runs[i].device_count = 1;
        struct wt_run_device *d = &runs[i].devices[0];
        d->kind = WT_DEVICE_NODE;
        wt_text(d->name, sizeof(d->name), "node by read-pdu");
        wt_text(d->id, sizeof(d->id), "node");
        runs[i].total = d->energy;
    }
    make(&plain_options);
    char *text = wt_statement_to_markdown(&statement);
    assert_non_null(strstr(text, "**Hardware**: the node as a whole (by read-pdu)\n"));
    assert_non_null(
        strstr(text, "**Not measured**: nothing, as the meter of the node sees all of it\n"));
    free(text);
    for (size_t i = 0; i < RUNS; i++)
        runs[i].device_count = 2;
}

/* Of a run that was killed at once nobody can say that there was no GPU sensor. */
static void a_run_that_was_cut_before_it_was_written_is_blank(void **state)
{
    (void)state;
    make(&plain_options);
    size_t count = runs[1].device_count;
    assert_null(told("blank"));
    assert_null(told("gpu"));
    runs[1].state = WT_RUN_INCOMPLETE;
    runs[1].device_count = 0;
    runs[1].total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    make(&plain_options);
    assert_non_null(strstr(told("blank"), "not written yet in 1 of 3 runs"));
    assert_null(told("gpu"));
    assert_has(wt_statement_to_markdown(&statement),
               "cut short: 1; nothing is known of their energy");
    runs[1].device_count = count;
}

/* A command that was killed 2 s into its 6 s: its statement said "13.2 J", and whole. */
static void a_run_that_has_not_ended_makes_it_at_least(void **state)
{
    (void)state;
    static const struct {
        enum wt_run_state state;
        const char *why;
    } rows[] = {{WT_RUN_INCOMPLETE, "run-1: it was cut short, and what it took after"},
                {WT_RUN_RUNNING, "run-1: it is still going, and has the energy so far"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        runs[1].state = rows[i].state;
        make(&plain_options);
        assert_false(statement.is_whole);
        assert_int_equal(statement.unknown_count, 1);
        assert_int_equal(statement.unknown[0], 1);
        assert_near(statement.total.energy_j, sum_of(0) + sum_of(1), 1e-6);
        assert_has(wt_statement_to_markdown(&statement), "**Energy**: at least ");
        assert_has(wt_statement_to_markdown(&statement), rows[i].why);
        assert_has(wt_statement_to_latex(&statement), "at least ");
        assert_has(wt_statement_to_json(&statement), "\"is_whole\": false");
        wt_statement_done(&statement);
    }
    runs[1].state = WT_RUN_DONE;
    make(&plain_options);
}

static void kinds_are_not_mixed(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct wt_error err = {0};
        runs[1].is_emulated = !kind;
        runs[1].is_replayed = kind;
        assert_int_equal(wt_statement_make(&statement, runs, RUNS, &plain_options, &err),
                         WT_E_MIXED);
        assert_non_null(strstr(err.text, "run-0, run-2"));
        assert_non_null(strstr(err.text, kind ? "replayed ones (run-1)" : "emulated ones (run-1)"));
        assert_true(err.fix[0]);
    }
}

static void a_replay_says_so_in_every_form(void **state)
{
    (void)state;
    const struct wt_region region = {.carbon_g = 100, .source = "somebody"};
    const struct wt_statement_options options = {.pue = NAN, .region = &region};
    char *text = NULL;
    for (size_t i = 0; i < RUNS; i++) {
        runs[i].is_replayed = true;
        wt_text(runs[i].recording_title, sizeof(runs[i].recording_title), "two Xeons");
        for (size_t k = 0; k < 2; k++)
            runs[i].devices[k].energy.provenance = WT_PROV_REPLAYED;
        runs[i].total.provenance = WT_PROV_REPLAYED;
    }
    make(&options);
    assert_has(wt_statement_to_markdown(&statement), "# REPLAYED energy statement: paper");
    assert_has(wt_statement_to_markdown(&statement), "two Xeons**: a recorded machine");
    assert_has(wt_statement_to_latex(&statement), "\\section*{REPLAYED energy statement");
    assert_has(wt_statement_to_json(&statement), "\"kind\": \"replayed\"");
    assert_has(wt_statement_to_codecarbon(&statement), ",REPLAYED paper,run-0");
    assert_int_equal(wt_statement_to_model_card(&statement, &text, NULL), 0);
    assert_has(text, "source: \"REPLAYED two Xeons");
}

static void an_unknown_energy_makes_it_at_least(void **state)
{
    (void)state;
    struct wt_run_device *cpu = &runs[1].devices[1];
    double lost = cpu->energy.energy_j;
    cpu->energy = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    wt_text(cpu->note, sizeof(cpu->note), "Permission denied");
    runs[1].total = cpu->energy;
    double want =
        sum_of(0) + runs[0].devices[1].energy.energy_j + runs[2].devices[1].energy.energy_j;
    make(&plain_options);
    assert_false(statement.is_whole);
    assert_int_equal(statement.unknown_count, 1);
    assert_int_equal(statement.unknown[0], 1);
    assert_near(statement.total.energy_j, want, 1e-6);
    assert_true(lost > 1000);
    assert_has(wt_statement_to_markdown(&statement), "**Energy**: at least ");
    assert_has(wt_statement_to_markdown(&statement), "run-1: CPU 0: Permission denied");
    assert_has(wt_statement_to_json(&statement), "\"is_whole\": false");
}

static void nothing_known_is_unknown_and_not_0(void **state)
{
    (void)state;
    const struct wt_region region = {.carbon_g = 100, .source = "somebody", .date = "2025"};
    const struct wt_statement_options options = {.pue = 1.2, .region = &region};
    struct wt_error err = {0};
    char *text = NULL;
    for (size_t i = 0; i < RUNS; i++) { /* as a damaged record is listed */
        runs[i].device_count = 0;
        runs[i].total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    }
    make(&options);
    assert_int_equal(statement.total.provenance, WT_PROV_UNKNOWN);
    assert_true(isnan(statement.facility_kwh.value) && isnan(statement.co2_g.value));
    assert_int_equal(statement.unknown_count, RUNS);
    assert_has(wt_statement_to_markdown(&statement), "**CO2e**: unknown");
    assert_has(wt_statement_to_json(&statement), "\"co2e_g\": null");
    assert_int_equal(wt_statement_to_model_card(&statement, &text, &err), WT_E_STATE);
    assert_non_null(strstr(err.text, "no energy of these runs is known"));
    assert_non_null(told("gpu"));
}

static void what_the_user_gave_is_added_and_called_given(void **state)
{
    (void)state;
    const struct wt_region region = {.carbon_g = 400, .source = "somebody"};
    const struct wt_statement_options options = {.pue = 1.5, .region = &region};
    runs[0].host_w = runs[1].host_w = 100;
    make(&options);
    double host_j = 100 * (runs[0].wall_s + runs[1].wall_s);
    double total_j = sum_of(0) + sum_of(1), kwh = (total_j + host_j) * 1.5 / 3.6e6;
    assert_near(statement.host_j, host_j, 1e-6);
    assert_near(statement.sum.energy_j, total_j + host_j, 1e-6);
    assert_near(statement.sum.low_j, total_j * 0.98 + host_j, 1e-6);
    assert_near(statement.facility_kwh.value, kwh, 1e-9);
    assert_near(statement.co2_g.value, kwh * 400, 1e-6);
    assert_near(statement.co2_g.high, (total_j * 1.02 + host_j) * 1.5 / 3.6e6 * 400, 1e-6);
    assert_non_null(strstr(told("host"), "2 of 3"));
    assert_has(wt_statement_to_markdown(&statement), "given, not measured: ");
}

static void what_is_modeled_stays_beside_the_total(void **state)
{
    (void)state;
    double modeled = 0;
    for (size_t i = 0; i < RUNS; i++) {
        struct wt_run_device *cpu = &runs[i].devices[1];
        cpu->is_counted = cpu->has_sensor = false;
        cpu->is_modeled = true;
        cpu->energy.provenance = WT_PROV_MODELED;
        runs[i].total = runs[i].devices[0].energy;
        modeled += cpu->energy.energy_j;
    }
    make(&plain_options);
    assert_near(statement.total.energy_j, sum_of(0), 1e-6);
    assert_near(statement.modeled.energy_j, modeled, 1e-6);
    assert_int_equal(statement.part_count, 1);
    assert_non_null(strstr(told("modeled"), "CPU 0"));
    assert_non_null(strstr(told("cpu"),
                           "no CPU sensor: the energy of the processors is estimated by a "
                           "model, beside the total"));
    assert_has(wt_statement_to_markdown(&statement), "not in this: ");
    for (size_t i = 0; i < RUNS; i++) { /* with no sensor at all the model is all there is */
        runs[i].devices[0] = runs[i].devices[1];
        runs[i].device_count = 1;
        runs[i].devices[0].is_counted = true;
        runs[i].total = runs[i].devices[0].energy;
    }
    make(&plain_options);
    assert_non_null(strstr(told("cpu"), "estimated by a model, and so it is in the total"));
    assert_has(wt_statement_to_markdown(&statement), "; weakest part: modeled");
}

static void a_missing_sensor_is_named_with_its_runs(void **state)
{
    (void)state;
    make(&plain_options);
    assert_null(told("cpu"));
    assert_null(told("gpu"));
    assert_non_null(strstr(told("dram"), "no memory sensor: "));
    assert_non_null(strstr(told("node"), "no node meter: "));
    runs[2].devices[1].is_counted = false;
    runs[2].total = runs[2].devices[0].energy;
    make(&plain_options);
    assert_non_null(strstr(told("cpu"), "no CPU sensor in 1 of 3 runs: "));
    assert_non_null(strstr(told("beside"), "CPU 0"));
    for (size_t i = 0; i < RUNS; i++) { /* a meter of the whole sees all of it */
        runs[i].devices[0].kind = WT_DEVICE_NODE;
        runs[i].devices[1].is_counted = false;
        runs[i].total = runs[i].devices[0].energy;
    }
    make(&plain_options);
    assert_null(told("cpu"));
    assert_null(told("dram"));
    assert_null(told("node"));
}

static void gaps_are_listed_with_their_bound(void **state)
{
    (void)state;
    struct wt_run_gap gap = {.from_s = 3, .to_s = 5, .bound_j = 250, .why = "NVML hung"};
    wt_text(gap.device_id, sizeof(gap.device_id), "%s", runs[1].devices[0].id);
    runs[1].gaps = calloc(2, sizeof(gap));
    assert_non_null(runs[1].gaps);
    runs[1].gaps[runs[1].gap_count++] = gap;
    make(&plain_options);
    assert_int_equal(statement.gap_count, 1);
    assert_near(statement.gap_j, 250, 0);
    assert_has(wt_statement_to_markdown(&statement), "spans without a reading: 1; at most 250 J");
    assert_has(wt_statement_to_json(&statement), "\"bound_j\": 250.0");
    gap.bound_j = INFINITY;
    runs[1].gaps[runs[1].gap_count++] = gap;
    make(&plain_options);
    assert_has(wt_statement_to_markdown(&statement), "of one at least there is no bound");
    assert_has(wt_statement_to_json(&statement), "\"bound_j\": null");
}

static void energy_that_two_runs_have_is_told(void **state)
{
    (void)state;
    make(&plain_options);
    assert_null(told("overlap"));
    runs[1].start_unix_ns = runs[0].start_unix_ns + INT64_C(5000000000);
    make(&plain_options);
    assert_non_null(strstr(told("overlap"), "runs run-0 and run-1 used a device"));
    wt_text(runs[1].host, sizeof(runs[1].host), "node08");
    make(&plain_options);
    assert_null(told("overlap"));
}

static void devices_are_counted_by_host(void **state)
{
    (void)state;
    wt_text(runs[2].host, sizeof(runs[2].host), "node08");
    char text[200];
    make(&plain_options);
    assert_string_equal(wt_statement_hardware(&statement, text, sizeof(text)),
                        "2 x Tesla V100-PCIE-32GB, 2 x Xeon Gold 6248");
}

static void a_sweep_counts_as_one(void **state)
{
    (void)state;
    struct wt_run_param param = {.name = "batch", .value = "8"};
    for (size_t i = 0; i < 2; i++) {
        wt_text(runs[i].group, sizeof(runs[i].group), "20260921-133200-000beef");
        assert_int_equal(wt_run_add_param(&runs[i], &param), 0);
    }
    make(&plain_options);
    assert_int_equal(statement.sweeps, 1);
    assert_int_equal(statement.swept, 2);
    assert_int_equal(statement.trials, 2);
}

static void a_races_trainings_are_counted_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        runs[i].race.trials = 4;
        wt_text(runs[i].race.folder, sizeof(runs[i].race.folder), i == 2 ? "/other" : "/one");
    }
    runs[0].race.finished = 1; /* cut off, and resumed as the next */
    runs[1].race.finished = 1;
    runs[1].race.stopped = 2;
    runs[1].race.failed = 1;
    make(&plain_options);
    assert_int_equal(statement.races, 2);
    assert_int_equal(statement.raced, 8);
    assert_int_equal(statement.raced_finished, 1);
    assert_int_equal(statement.raced_stopped, 2);
    assert_int_equal(statement.raced_failed, 1);
    assert_int_equal(statement.trials, 0);
    assert_has(wt_statement_to_markdown(&statement),
               "trainings raced against each other: 8 (races: 2); came to their ends: 1; stopped "
               "early: 2; failed: 1; in a race that was not decided: 4");
    for (size_t i = 0; i < 3; i++)
        runs[i].race.trials = 0;
}

static void a_job_of_many_ranks_is_no_sweep(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        wt_text(runs[i].group, sizeof(runs[i].group), "slurm-7.0");
        runs[i].node.count = 8;
        runs[i].node.index = (unsigned)i;
    }
    make(&plain_options);
    assert_int_equal(statement.sweeps, 0);
    assert_int_equal(statement.nodes, 2);
    assert_has(wt_statement_to_markdown(&statement), "one of each node: 2");
}

static void a_card_has_no_exponent(void **state)
{
    (void)state;
    static const struct {
        double carbon_g;
        const char *want;
    } rows[] = {{1e-6, "emissions: 0.0000000088"}, {1e9, "emissions: 88"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_region region = {.carbon_g = rows[i].carbon_g, .source = "somebody"};
        const struct wt_statement_options options = {.pue = NAN, .region = &region};
        char *text = NULL;
        make(&options);
        assert_int_equal(wt_statement_to_model_card(&statement, &text, NULL), 0);
        assert_null(strstr(text, "e-0"));
        assert_null(strstr(text, "e+0"));
        assert_has(text, rows[i].want);
    }
}

static void a_pue_below_1_is_none(void **state)
{
    (void)state;
    static const double bad[] = {0.99, 0, -1, 10.5, INFINITY};
    for (size_t i = 0; i < WT_COUNTOF(bad); i++) {
        const struct wt_statement_options options = {.pue = bad[i]};
        assert_int_equal(wt_statement_make(&statement, runs, RUNS, &options, NULL), WT_E_RANGE);
    }
    assert_int_equal(wt_statement_make(&statement, runs, 0, &plain_options, NULL), WT_E_NOTFOUND);
}

static void a_command_cannot_leave_its_place(void **state)
{
    (void)state;
    wt_text(runs[0].command, sizeof(runs[0].command), "a ``` <script> \\end{document} %%\n# x\xff");
    wt_text(runs[1].host, sizeof(runs[1].host), "h] \\input{/etc/passwd} <b>");
    make(&plain_options);
    assert_has(wt_statement_to_markdown(&statement),
               "```` a ``` <script> \\end{document} % # x\xef\xbf\xbd");
    assert_has(wt_statement_to_markdown(&statement), "h\\] \\\\input\\{/etc/passwd\\} \\<b\\>");
    assert_has(wt_statement_to_latex(&statement),
               "\\textbackslash{}end\\{document\\} \\% \\# x{[}U+FFFD{]}");
    assert_has(wt_statement_to_latex(&statement),
               "h{]} \\textbackslash{}input\\{/\\allowbreak{}etc");
}

static void a_long_list_ends_with_a_count(void **state)
{
    (void)state;
    struct wt_run many[60];
    struct wt_error err = {0};
    for (size_t i = 0; i < WT_COUNTOF(many); i++) { /* borrows what the one has */
        many[i] = runs[0];
        many[i].start_unix_ns += (int64_t)i * INT64_C(3600000000000);
        wt_text(many[i].id, sizeof(many[i].id), "id-%zu-", i);
        wt_text(many[i].command, sizeof(many[i].command), "train --seed %zu", i);
    }
    if (wt_statement_make(&statement, many, WT_COUNTOF(many), &plain_options, &err) < 0)
        fail_msg("%s", err.text);
    assert_near(statement.total.energy_j, runs[0].total.energy_j * 60, 1e-3);
    assert_null(told("overlap"));
    char *text = wt_statement_to_markdown(&statement);
    assert_non_null(text);
    assert_non_null(strstr(text, "id-39-"));
    assert_null(strstr(text, "id-40-"));
    assert_non_null(strstr(text, "train --seed 39"));
    assert_has(text, "and 20 more, which the JSON has");
    assert_has(wt_statement_to_json(&statement), "train --seed 59");
}

/* ---- regions ---- */

static void regions_are_found_by_id(void **state)
{
    (void)state;
    static const struct {
        const char *id, *name, *country, *date;
        double want;
    } rows[] = {
        {"gcp:europe-west4", "Eemshaven Netherlands", "NLD", "", 236},
        {"GCP:Europe-West4", "Eemshaven Netherlands", "NLD", "", 236},
        {"DEU", "Germany", "DEU", "2023", 380.95},
        {"deu", "Germany", "DEU", "2023", 380.95},
    };
    struct wt_region region;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        assert_int_equal(wt_region_find(catalogue, &region, rows[i].id, NULL), 0);
        assert_string_equal(region.name, rows[i].name);
        assert_string_equal(region.country, rows[i].country);
        assert_string_equal(region.date, rows[i].date);
        assert_near(region.carbon_g, rows[i].want, 0);
        assert_true(region.is_catalogue && strlen(region.source) > 20);
    }
    assert_int_equal(wt_region_find(catalogue, &region, "CAF", NULL), 0);
    assert_true(isnan(region.carbon_g));
}

static void what_is_no_region_says_what_is_close(void **state)
{
    (void)state;
    static const struct {
        const char *id, *close;
    } rows[] = {{"europe-west4", "close to it: gcp:europe-west4"},
                {"", "is no region"},
                {"xx", "is no region"},
                {"aws:us-east1", "gcp:us-east1"},
                {"id", "is no region"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        struct wt_region region;
        assert_int_equal(wt_region_find(catalogue, &region, rows[i].id, &err), WT_E_NOTFOUND);
        if (!strstr(err.text, rows[i].close))
            fail_msg("no \"%s\" in: %s", rows[i].close, err.text);
        assert_true(err.fix[0]);
    }
}

static void every_row_of_the_catalogue_is_one(void **state)
{
    (void)state;
    size_t count = 0, unknown = 0;
    for (const char *line = strchr(wt_asset_regions, '\n'); line && *++line;
         line = strchr(line, '\n')) {
        char id[48];
        struct wt_region region;
        wt_text(id, sizeof(id), "%.*s", (int)strcspn(line, ","), line);
        assert_int_equal(wt_region_find(catalogue, &region, id, NULL), 0);
        assert_string_equal(region.id, id);
        assert_true(isnan(region.carbon_g) || (region.carbon_g > 1 && region.carbon_g < 1500));
        assert_int_equal(strlen(region.country), 3);
        unknown += isnan(region.carbon_g) ? 1 : 0;
        count++;
    }
    assert_int_equal(count, 253);
    assert_int_equal(unknown, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(energies_are_summed_by_provenance),
        TEST(failed_and_interrupted_runs_count),
        TEST(codecarbons_parts_are_those_of_the_total),
        TEST(a_command_that_did_not_start_is_in_no_figure),
        TEST(a_node_that_was_measured_as_a_whole_is_hardware),
        TEST(kinds_are_not_mixed),
        TEST(a_replay_says_so_in_every_form),
        TEST(an_unknown_energy_makes_it_at_least),
        TEST(a_run_that_was_cut_before_it_was_written_is_blank),
        TEST(a_run_that_has_not_ended_makes_it_at_least),
        TEST(nothing_known_is_unknown_and_not_0),
        TEST(what_the_user_gave_is_added_and_called_given),
        TEST(what_is_modeled_stays_beside_the_total),
        TEST(a_missing_sensor_is_named_with_its_runs),
        TEST(gaps_are_listed_with_their_bound),
        TEST(energy_that_two_runs_have_is_told),
        TEST(devices_are_counted_by_host),
        TEST(a_sweep_counts_as_one),
        TEST(a_races_trainings_are_counted_once),
        TEST(a_job_of_many_ranks_is_no_sweep),
        TEST(a_card_has_no_exponent),
        TEST(a_pue_below_1_is_none),
        TEST(a_command_cannot_leave_its_place),
        TEST(a_long_list_ends_with_a_count),
        TEST(regions_are_found_by_id),
        TEST(what_is_no_region_says_what_is_close),
        TEST(every_row_of_the_catalogue_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
