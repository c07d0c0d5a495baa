/* report: what people read fits their window and says all that must be said; the HTML is one file
 * that nothing from outside can break out of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runs.h"
#include "wattune/pair.h"
#include "wattune/report.h"

static char dir[64], page[80];

static int setup(void **state)
{
    (void)state;
    wt_text(dir, sizeof(dir), "/tmp/wattune-report-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    wt_text(page, sizeof(page), "%s/report.html", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return wt_fs_remove_tree(dir, NULL);
}

static const struct runs_spec v100[] = {
    {.cap_w = 100, .wall_s = 52.6, .power_w = 99, .bound = 0.012},
    {.cap_w = 150, .wall_s = 43.4, .power_w = 149, .bound = 0.012},
    {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.012},
};

struct bench {
    struct wt_run runs[9];
    struct wt_sweep sweep;
};

static void make(struct bench *b, bool is_real)
{
    struct wt_error err = {0};
    for (unsigned i = 0; i < WT_COUNTOF(b->runs); i++) {
        struct runs_spec spec = v100[i % 3];
        spec.repeat = i / 3;
        spec.is_real = is_real;
        b->runs[i] = runs_make(&spec);
    }
    b->runs[1].exit_code = 1;
    if (wt_sweep_make(&b->sweep, b->runs, WT_COUNTOF(b->runs), NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void empty(struct bench *b)
{
    wt_sweep_done(&b->sweep);
    for (size_t i = 0; i < WT_COUNTOF(b->runs); i++)
        wt_run_done(&b->runs[i]);
}

/* What fn prints on a terminal of this kind; owned by the caller. */
static char *printed(unsigned width, bool is_utf8, bool is_colour, const struct wt_run *run,
                     const struct wt_sweep *sweep, size_t count)
{
    char *text = NULL;
    size_t size;
    struct wt_term term = {open_memstream(&text, &size), is_colour, is_utf8, width};
    assert_non_null(term.out);
    if (sweep)
        wt_report_sweep(&term, sweep);
    else if (count)
        wt_report_runs(&term, run, count);
    else
        wt_report_run(&term, run, true);
    fclose(term.out);
    assert_non_null(text);
    return text;
}

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = NULL;
    size_t size = 0;
    assert_true(getdelim(&text, &size, '\0', file) > 0);
    fclose(file);
    return text;
}

static void must_have(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text ? text : "");
}

static void must_fit(char *text, size_t width)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t n = 0;
        for (const char *p = line; *p; p++)
            n += ((unsigned char)*p & 0xc0) != 0x80;
        if (n > width)
            fail_msg("%zu columns in a window of %zu: %s", n, width, line);
    }
}

static void a_summary_says_energy_interval_and_where_from(void **state)
{
    (void)state;
    struct runs_spec spec = v100[1];
    spec.is_with_cpu = true;
    struct wt_run run = runs_make(&spec);
    char *text = printed(100, true, false, &run, NULL, 0);
    static const char *const parts[] = {
        "EMULATED v100-pcie-32gb: no real device was measured",
        "Tesla V100-PCIE-32GB",
        "6.467 kJ [6.389, 6.544]",
        "counter, emulated",
        "total",
        "43.4 s",
        "512,000 tokens in 100 steps",
        "mJ [",
        "per token",
        "power 150 W on GPU 0 (was 250 W)",
        "forward: 100 times",
        "own cost  0.009 % of one core",
        "node07",
    };
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        must_have(text, parts[i]);
    assert_null(strchr(text, '\033'));
    free(text);
    run.is_emulated = false;
    text = printed(100, true, false, &run, NULL, 0);
    assert_null(strstr(text, "EMULATED"));
    free(text);
    wt_run_done(&run);
}

static void what_is_unknown_is_said_and_is_no_zero(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    run.devices[0].energy = run.total = (struct wt_joules){0, 0, 0, WT_PROV_UNKNOWN};
    wt_text(run.devices[0].note, sizeof(run.devices[0].note), "lost after 2 s");
    char *text = printed(80, true, false, &run, NULL, 0);
    must_have(text, "unknown");
    must_have(text, "lost after 2 s");
    assert_null(strstr(text, "0.00 J"));
    assert_null(strstr(text, "per token"));
    free(text);
    run.device_count = 0;
    text = printed(80, true, false, &run, NULL, 0);
    must_have(text, "no energy or power sensor could be read here");
    free(text);
    wt_run_done(&run);
}

static void everything_fits_any_window(void **state)
{
    (void)state;
    struct bench b;
    make(&b, false);
    /* Two GPUs of one name, and a value whose name is longer than the column of labels. */
    struct wt_run two = runs_make(&v100[1]);
    runs_add_device(&two, WT_DEVICE_GPU, "GPU-2", "Tesla V100-PCIE-32GB", 5000, 0.01);
    wt_text(two.values[0].name, sizeof(two.values[0].name), "loss held out");
    for (unsigned width = 60; width <= 200; width += 7) {
        char *text = printed(width, true, false, NULL, &b.sweep, 0);
        must_fit(text, width);
        free(text);
        text = printed(width, true, false, b.runs, NULL, 9);
        must_fit(text, width);
        free(text);
        text = printed(width, true, false, &two, NULL, 0);
        must_fit(text, width);
        free(text);
    }
    wt_run_done(&two);
    empty(&b);
}

static void a_narrow_table_keeps_its_intervals(void **state)
{
    (void)state;
    struct bench b;
    make(&b, false);
    char *text = printed(80, true, false, NULL, &b.sweep, 0);
    must_have(text, "rel. time");
    must_have(text, "0.808 \u00b10.0");
    must_have(text, "\u25b8  100 W");
    must_have(text, "reference");
    must_have(text, "choice");
    free(text);
    text = printed(160, true, false, NULL, &b.sweep, 0);
    must_have(text, "0.808 [0.80");
    must_have(text, "kJ [");
    must_have(text, "rel. power");
    must_have(text, "ended with exit code 1");
    free(text);
    empty(&b);
}

static void a_narrow_window_keeps_verdict_and_setting(void **state)
{
    (void)state;
    struct bench b;
    make(&b, false);
    char *text = printed(60, true, false, NULL, &b.sweep, 0);
    static const char *const parts[] = {"\u25b8  100 W", "=  250 W", "choice",      "ref.",
                                        "energy",        "5.2",      "0.651 \u00b1"};
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        must_have(text, parts[i]);
    free(text);
    empty(&b);

    /* Two knobs: by the first, then the second, whatever the order of the runs was. */
    static const char *const labels[] = {
        "power=250 W, clock=1380 MHz", "power=250 W, clock=900 MHz", "power=150 W, clock=1380 MHz",
        "power=150 W, clock=900 MHz"};
    struct wt_run runs[4];
    struct wt_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        struct runs_spec spec = v100[2];
        spec.repeat = 3 - (unsigned)i; /* of ids of their own, the newest first */
        runs[i] = runs_make(&spec);
        wt_text(runs[i].label, sizeof(runs[i].label), "%s", labels[i]);
    }
    assert_int_equal(wt_sweep_make(&b.sweep, runs, 4, labels[0], &err), 0);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(b.sweep.rows[i].label, labels[3 - i]);
    text = printed(80, true, false, NULL, &b.sweep, 0);
    must_have(text, "\u25b8=  250 W, 1380 MHz");
    must_have(text, "reference, keep");
    free(text);
    for (unsigned width = 70; width <= 80; width += 10) {
        text = printed(width, true, false, runs, NULL, 4);
        must_have(text, width < 80 ? "  150 W, 900 MHz  " : "150 W, clock=900 MHz");
        free(text);
    }
    wt_sweep_done(&b.sweep);
    for (size_t i = 0; i < 4; i++)
        wt_run_done(&runs[i]);
}

static void equal_gpus_have_the_number_that_cuda_gives_them(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    runs_add_device(&run, WT_DEVICE_GPU, "GPU-2", "Tesla V100-PCIE-32GB", 5000, 0.01);
    run.devices[0].index = 2;
    run.devices[1].index = 3;
    char *text = printed(120, true, false, &run, NULL, 0);
    must_have(text, "\n  GPU 2  Tesla V100-PCIE-32GB  ");
    must_have(text, "\n  GPU 3  Tesla V100-PCIE-32GB  ");
    free(text);
    text = printed(60, true, false, &run, NULL, 0);
    must_have(text, "\n  GPU 2  ");
    must_have(text, "  counter");
    free(text);
    /* Kept, and not known of runs from before it was. */
    char *doc = wt_run_to_json(&run);
    must_have(doc, "\"index\": 3");
    free(doc);
    run.devices[0].index = run.devices[1].index = -1;
    text = printed(120, true, false, &run, NULL, 0);
    must_have(text, "Tesla V100-PCIE-32GB, number 1 ");
    free(text);
    wt_run_done(&run);
}

/* A sweep of what no sensor reads: the value alone says too much, in any window and on its page. */
static void a_sweep_of_modeled_runs_shows_the_bands(void **state)
{
    (void)state;
    struct bench b;
    make(&b, true);
    wt_sweep_done(&b.sweep);
    for (size_t i = 0; i < WT_COUNTOF(b.runs); i++) {
        double e = b.runs[i].total.energy_j;
        b.runs[i].devices[0].is_modeled = true;
        b.runs[i].devices[0].method = WT_PROV_MODELED;
        b.runs[i].total = b.runs[i].devices[0].energy =
            (struct wt_joules){e, 0.25 * e, 2 * e, WT_PROV_MODELED};
    }
    struct wt_error err = {0};
    assert_int_equal(wt_sweep_make(&b.sweep, b.runs, WT_COUNTOF(b.runs), NULL, &err), 0);
    char *text = printed(200, true, false, NULL, &b.sweep, 0);
    must_have(text, "8.0 kJ [2.0, 16.0]");
    must_have(text, "200 W [50, 400]");
    free(text);
    text = printed(100, true, false, NULL, &b.sweep, 0);
    must_have(text, "2.0 to 16.0 kJ");
    assert_null(strstr(text, "8.00 kJ"));
    free(text);
    assert_int_equal(wt_report_html(page, &b.sweep, NULL, 0, &err), 0);
    text = slurp(page);
    must_have(text, "<td>200 W<small>[50, 400]</small></td>");
    must_have(text, "<td>16 J<small>[4, 31]</small></td>");
    free(text);
    empty(&b);
}

static void one_of_a_thing_is_said_as_one(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    run.phases[0].count = 1;
    run.work.steps = 1;
    run.value_count = 1;
    wt_text(run.values[0].name, sizeof(run.values[0].name), "loss held out");
    char *text = printed(100, true, false, &run, NULL, 0);
    must_have(text, "forward: 1 time, ");
    must_have(text, "in 1 step,");
    must_have(text, "  reported  loss held out: 10.3\n");
    assert_null(strstr(text, "at the end"));
    free(text);
    /* A program's word steers no terminal. */
    wt_text(run.values[0].name, sizeof(run.values[0].name), "a\033[31m\nb");
    text = printed(100, true, false, &run, NULL, 0);
    must_have(text, "  a?[31m?b  10.3\n");
    free(text);
    run.work.count = 1;
    wt_text(run.work.unit, sizeof(run.work.unit), "steps");
    text = printed(100, true, false, &run, NULL, 0);
    must_have(text, "  work      1 step, ");
    free(text);
    assert_int_equal(wt_report_html(page, NULL, &run, 1, NULL), 0);
    text = slurp(page);
    must_have(text, "<dt>work</dt><dd>1 step</dd>");
    free(text);
    wt_run_done(&run);

    /* A single run has no spread, and its interval of no width is not told as one. */
    struct wt_run runs[2] = {runs_make(&v100[0]), runs_make(&v100[2])};
    struct wt_sweep sweep = {0};
    struct wt_error err = {0};
    assert_int_equal(wt_sweep_make(&sweep, runs, 2, NULL, &err), 0);
    must_have(sweep.advice, "for 31.5 % more time (one run, no spread known)");
    wt_sweep_done(&sweep);
    wt_run_done(&runs[0]);
    wt_run_done(&runs[1]);
}

static void a_phases_energy_of_work_has_its_interval(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    run.phases[0].energy = (struct wt_joules){2000, 1900, 2200, WT_PROV_COUNTER};
    run.phases[0].mean_w = 150;
    run.phases[0].work = 1000;
    char *text = printed(120, true, false, &run, NULL, 0);
    must_have(text, "2.00 J [1.90, 2.20] per token");
    free(text);
    run.phases[0].work = 1000000;
    struct wt_error err = {0};
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    must_have(text, "2.00 J");
    must_have(text, "[1.90, 2.20]");
    free(text);
    /* What is left outside of others in it is not the energy of its work. */
    run.phases[0].work = 1000;
    run.phases[0].wall_s = 30;
    run.phases[0].own_s = 12;
    text = printed(120, true, false, &run, NULL, 0);
    must_have(text, "12.0 s of 30.0 s (the rest: in other phases or programs), 2.00 kJ [1.90, "
                    "2.20], 150.0 W\n");
    free(text);
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    must_have(text, "12.0 s<small>of 30.0 s: the rest is in other phases or programs</small>");
    free(text);
    wt_run_done(&run);
}

static void a_sweeps_energies_have_their_provenance(void **state)
{
    (void)state;
    struct bench b;
    make(&b, true);
    char *text = printed(60, true, false, NULL, &b.sweep, 0);
    must_have(text, "energy by: counter");
    free(text);
    b.sweep.rows[1].provenance = WT_PROV_MODELED;
    text = printed(60, true, false, NULL, &b.sweep, 0);
    must_have(text, "energy by: modeled");
    free(text);
    empty(&b);
}

static void ascii_terminals_get_ascii(void **state)
{
    (void)state;
    struct bench b;
    make(&b, false);
    wt_text(b.runs[0].command, sizeof(b.runs[0].command), "caf\u00e9");
    char *texts[] = {printed(80, false, false, NULL, &b.sweep, 0),
                     printed(80, false, false, b.runs, NULL, 9)};
    for (size_t i = 0; i < WT_COUNTOF(texts); i++) {
        for (const char *p = texts[i]; *p; p++)
            assert_in_range((unsigned char)*p, '\n', '~');
        free(texts[i]);
    }
    empty(&b);
}

static void names_cannot_steer_the_terminal(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    static const char evil[] = "x\033]0;owned\a\033[2J\r\n\xc2\x9b"
                               "31m";
    wt_text(run.command, sizeof(run.command), "%s", evil);
    wt_text(run.devices[0].name, sizeof(run.devices[0].name), "%s", evil);
    wt_text(run.tag, sizeof(run.tag), "%s", evil);
    for (size_t count = 0; count < 2; count++) {
        char *text = printed(120, true, false, &run, NULL, count);
        for (const char *p = text; *p; p++)
            assert_true((unsigned char)*p >= 0x20 || *p == '\n');
        assert_null(strstr(text, "\xc2\x9b"));
        free(text);
    }
    wt_run_done(&run);
}

static void colour_is_for_terminals_that_want_it(void **state)
{
    (void)state;
    struct bench b;
    make(&b, false);
    char *text = printed(80, true, true, NULL, &b.sweep, 0);
    must_have(text, "\033[1;32m");
    free(text);
    empty(&b);
    struct wt_term term;
    FILE *file = fopen(page, "w");
    wt_term_init(&term, file);
    assert_false(term.is_colour);
    assert_int_equal(term.width, 80);
    fclose(file);
}

static void decimals_are_points_in_every_locale(void **state)
{
    (void)state;
    /* Few machines have such a locale made; its sources are in Debian's package locales. */
    char folder[] = "/tmp/wattune-locale-XXXXXX", make_it[160];
    assert_non_null(mkdtemp(folder));
    snprintf(make_it, sizeof(make_it), "localedef -f UTF-8 -i de_DE %s/de_DE.UTF-8 2>/dev/null",
             folder);
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && system(make_it) == 0)
        setenv("LOCPATH", folder, 1);
    bool has_comma = setlocale(LC_NUMERIC, "de_DE.UTF-8") != NULL;
    unsetenv("LOCPATH");
    wt_fs_remove_tree(folder, NULL);
    if (!has_comma) {
        print_message("skipped: no locale with a decimal comma can be made: install locales\n");
        skip();
    }
    struct bench b;
    make(&b, false);
    char *text = printed(120, true, false, NULL, &b.sweep, 0);
    must_have(text, "1.085");
    free(text);
    must_have(b.sweep.advice, "34.9 %");
    setlocale(LC_NUMERIC, "C");
    empty(&b);
}

static void the_list_says_what_became_of_runs(void **state)
{
    (void)state;
    struct bench b;
    make(&b, true);
    b.runs[0].state = WT_RUN_INCOMPLETE;
    b.runs[2].state = WT_RUN_RUNNING;
    b.runs[3].is_emulated = true;
    wt_text(b.runs[4].tag, sizeof(b.runs[4].tag), "night");
    char *text = printed(160, true, false, b.runs, NULL, 9);
    static const char *const parts[] = {"incomplete", "exit 1", "running",
                                        "emulated",   "night",  "power=150 W"};
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        must_have(text, parts[i]);
    must_have(text, b.runs[8].id);
    free(text);
    empty(&b);
}

/* ---- a whole node ---- */

static struct wt_run_device *node_device(struct wt_run *run, enum wt_device_kind kind,
                                         const char *id, const char *name, const char *source,
                                         double energy_j)
{
    runs_add_device(run, kind, id, name, energy_j, 0.1);
    struct wt_run_device *d = &run->devices[run->device_count - 1];
    wt_text(d->source, sizeof(d->source), "%s", source);
    return d;
}

/* In the order in which sensors come: a GPU's second die after it, psys between, the parts of CPU 1
 * before it, the user's own meters, and memory that is modeled. */
static struct wt_run node_make(void)
{
    static const struct runs_spec spec = {
        .wall_s = 10, .power_w = 100, .bound = 0.1, .is_real = true};
    struct wt_run run = runs_make(&spec);
    struct wt_run_device *d;
    wt_text(run.devices[0].id, sizeof(run.devices[0].id), "GPU-1");
    d = node_device(&run, WT_DEVICE_GPU, "GPU-2", "AMD Instinct MI250X", "amdgpu", 0);
    d->index = 1;
    d->is_part = true;
    d->is_counted = d->has_sensor = false;
    wt_text(d->part_of, sizeof(d->part_of), "GPU-1");
    d->energy.provenance = d->method = WT_PROV_UNKNOWN;
    wt_text(d->note, sizeof(d->note), "unknown: its power cannot be read");
    d = node_device(&run, WT_DEVICE_NODE, "node-psys", "platform (psys)", "rapl", 1000);
    d->is_part = true;
    d->is_counted = false;
    d = node_device(&run, WT_DEVICE_CPU, "cpu-package-1-core", "core of cpu-package-1", "rapl",
                    200);
    d->index = 1;
    d->is_part = true;
    d->is_counted = false;
    wt_text(d->part_of, sizeof(d->part_of), "cpu-package-1");
    node_device(&run, WT_DEVICE_CPU, "cpu-package-0", "CPU package 0", "rapl", 300);
    d = node_device(&run, WT_DEVICE_CPU, "cpu-package-1", "CPU package 1", "rapl", 400);
    d->index = 1;
    d = node_device(&run, WT_DEVICE_NODE, "node-pdu", "pdu-left-of-the-rack", "command", 1500);
    d->is_counted = false;
    d->method = d->energy.provenance = WT_PROV_SAMPLED;
    d = node_device(&run, WT_DEVICE_NODE, "node-command", "node by ./read-pdu --outlet 7",
                    "command", 1500);
    d->is_counted = false;
    d = node_device(&run, WT_DEVICE_NODE, "node-ipmi", "node (BMC, by ipmi-dcmi)", "ipmi", 1500);
    d->is_counted = false;
    d = node_device(&run, WT_DEVICE_CPU, "cpu-package-9-core", "core of cpu-package-9", "rapl", 20);
    d->is_part = true;
    d->is_counted = false;
    wt_text(d->part_of, sizeof(d->part_of), "cpu-package-9");
    d = node_device(&run, WT_DEVICE_GPU, "GPU-3", "AMD Radeon", "amdgpu", 20);
    d->index = 2;
    d->is_part = true;
    d->is_counted = false;
    wt_text(d->part_of, sizeof(d->part_of), "cpu-package-9");
    d = node_device(&run, WT_DEVICE_DRAM, "dram", "memory, modeled: 34 GB", "model", 100);
    d->is_counted = false;
    d->is_modeled = true;
    d->method = WT_PROV_SAMPLED;
    d->energy = (struct wt_joules){123, 8, 240, WT_PROV_MODELED};
    run.total = (struct wt_joules){1700, 1600, 1800, WT_PROV_COUNTER};
    run.has_estimate = true;
    run.estimate = (struct wt_joules){1823, 1608, 2040, WT_PROV_MODELED};
    return run;
}

static bool has_provenance(const char *line)
{
    static const char *const words[] = {"counter",  "sampled",  "modeled",  "emulated",
                                        "replayed", " unknown", "no sensor"};
    bool has = false;
    for (size_t i = 0; i < WT_COUNTOF(words); i++) {
        const char *at = strstr(line, words[i]);
        /* An energy that is not known says "unknown" itself, and then where it would come from. */
        has |= at && (i != 5 || strstr(at + 1, words[i]));
    }
    return has;
}

static void every_energy_has_its_provenance_at_any_width(void **state)
{
    (void)state;
    struct wt_run run = node_make();
    for (unsigned width = 60; width <= 160; width++) {
        char *text = printed(width, true, false, &run, NULL, 0), *all = strdup(text);
        *strstr(text, "\n  time ") = '\0';
        for (char *save, *line = strtok_r(text, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save))
            if ((strchr(line, '[') || strstr(line, "  unknown")) && !has_provenance(line))
                fail_msg("%u columns: %s", width, line);
        must_have(all, "pdu-left-of-the-rack");
        must_have(all, "modeled");
        must_fit(all, width);
        free(text);
        free(all);
    }
    wt_run_done(&run);
}

static void rows_stand_by_what_they_are_to_the_total(void **state)
{
    (void)state;
    struct wt_run run = node_make();
    char *text = printed(120, true, false, &run, NULL, 0);
    static const char *const order[] = {
        "\n  GPU 0  ",
        "\n    of it: GPU 1  ",
        "\n  CPU 0  ",
        "\n  CPU 1  ",
        "\n    of it: core of CPU 1  ",
        "\n  total  ",
        "\n  beside the total:",
        "\n    psys  ",
        "\n    pdu-left-of-the-rack  ",
        "\n    node (command)  ",
        "\n    node (ipmi)  ",
        "\n    core of CPU 9  ",
        "\n    GPU 2, part of CPU 9  ",
        "\n    memory  ",
        "\n  with what is modeled  ",
    };
    const char *at = text;
    for (size_t i = 0; i < WT_COUNTOF(order); i++) {
        const char *found = strstr(at, order[i]);
        if (!found)
            fail_msg("no \"%s\" in its place:\n%s", order[i], text);
        at = found;
    }
    must_have(text, "no sensor of its own");
    free(text);
    wt_run_done(&run);

    /* One that counts and one that does not: the sum is said all the same. */
    struct wt_run one = runs_make(&v100[1]);
    text = printed(100, true, false, &one, NULL, 0);
    assert_null(strstr(text, "\n  total"));
    free(text);
    node_device(&one, WT_DEVICE_NODE, "node-ipmi", "node (BMC, by ipmi-dcmi)", "ipmi", 9000)
        ->is_counted = false;
    text = printed(100, true, false, &one, NULL, 0);
    must_have(text, "\n  total ");
    free(text);
    wt_run_done(&one);
}

static void a_device_has_one_name_and_no_two_the_same(void **state)
{
    (void)state;
    struct wt_run run = node_make();
    /* The name on each line of the table, at any width; the same in notes and below "used by". */
    struct wt_run_gap gap = {.from_s = 1, .to_s = 2, .bound_j = 5};
    wt_text(gap.device_id, sizeof(gap.device_id), "cpu-package-1");
    wt_text(gap.why, sizeof(gap.why), "its file has gone");
    run.gaps = malloc(sizeof(gap));
    assert_non_null(run.gaps);
    run.gaps[0] = gap;
    run.gap_count = 1;
    wt_text(run.devices[8].note, sizeof(run.devices[8].note), "wider: something");
    for (unsigned width = 60; width <= 130; width += 70) {
        char *text = printed(width, true, false, &run, NULL, 0);
        must_have(text, "gap       CPU 1 could not be read");
        must_have(text, "note      node (ipmi): wider");
        assert_null(strstr(text, "CPU package 1"));
        assert_null(strstr(text, "cpu-package-1"));
        char names[20][80];
        size_t count = 0;
        *strstr(text, "\n  time ") = '\0';
        char *save, *line = strtok_r(text, "\n", &save);
        while ((line = strtok_r(NULL, "\n", &save)) && count < 20) {
            line += strspn(line, " ");
            wt_text(names[count], sizeof(names[count]), "%.*s",
                    (int)(strstr(line, "  ") ? strstr(line, "  ") - line : (long)strlen(line)),
                    line);
            for (size_t i = 0; i < count; i++)
                if (strcmp(names[i], names[count]) == 0)
                    fail_msg("%u columns: two rows \"%s\"", width, names[i]);
            count++;
        }
        assert_true(count >= 14);
        free(text);
    }
    wt_run_done(&run);

    /* MIG instances and shares of them; two sensors of one name. */
    struct wt_run mig = runs_make(&v100[1]);
    struct wt_run_share share = {.name = "MIG-7", .energy_uj = 1000000};
    for (int i = 0; i < 2; i++) {
        char id[16];
        wt_text(id, sizeof(id), "MIG-%d", 6 + i);
        struct wt_run_device *d =
            node_device(&mig, WT_DEVICE_GPU, id, "A100 MIG 1g.5gb", "nvml", 0);
        d->is_part = true;
        d->has_sensor = d->is_counted = false;
        d->energy.provenance = d->method = WT_PROV_UNKNOWN;
        d->index = i;
        wt_text(d->part_of, sizeof(d->part_of), "%s", mig.devices[0].id);
        runs_add_device(&mig, WT_DEVICE_DRAM, i ? "dram-a" : "dram-b", "twice", 1, 0.1);
        wt_text(mig.devices[mig.device_count - 1].source, 16, "command");
    }
    mig.devices[0].attribution.is_known = true;
    wt_text(mig.devices[0].attribution.rule, 16, "part");
    mig.devices[0].attribution.shares = malloc(sizeof(share));
    assert_non_null(mig.devices[0].attribution.shares);
    mig.devices[0].attribution.shares[0] = share;
    mig.devices[0].attribution.share_count = 1;
    char *text = printed(120, true, false, &mig, NULL, 0);
    must_have(text, "of it: MIG 0 of GPU 0  ");
    must_have(text, "of it: MIG 1 of GPU 0  ");
    must_have(text, "MIG 1 of GPU 0: 1.00 J");
    must_have(text, "twice, number 0  ");
    must_have(text, "twice, number 1  ");
    free(text);
    wt_run_done(&mig);
}

static void a_thing_is_said_once(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&(struct runs_spec){.wall_s = 5, .power_w = 9, .is_real = true});
    struct wt_run_gap gap = {.from_s = 0, .to_s = 5, .bound_j = INFINITY};
    run.devices[0].energy = run.total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    wt_text(gap.device_id, sizeof(gap.device_id), "%s", run.devices[0].id);
    wt_text(gap.why, sizeof(gap.why), "the sensor stands still");
    wt_text(run.devices[0].note, sizeof(run.devices[0].note), "unknown: %s", gap.why);
    run.gaps = malloc(sizeof(gap));
    assert_non_null(run.gaps);
    run.gaps[0] = gap;
    run.gap_count = 1;
    char *text = printed(200, true, false, &run, NULL, 0);
    must_have(text, "gap       GPU 0 could not be read");
    assert_null(strstr(strstr(text, gap.why) + 1, gap.why));
    free(text);

    /* Of a recording one line says it for all. */
    run.is_replayed = true;
    text = printed(200, true, false, &run, NULL, 0);
    assert_null(strstr(text, gap.why));
    assert_null(strstr(text, "gap  "));
    must_have(text, "a recording does not move: no energy can be had from it");
    free(text);

    /* Methods that disagree: the check says it. */
    run.is_replayed = false;
    run.gap_count = 0;
    run.devices[0].is_check_off = true;
    run.devices[0].energy = (struct wt_joules){10, 9, 11, WT_PROV_COUNTER};
    run.devices[0].check = (struct wt_joules){20, 19, 21, WT_PROV_SAMPLED};
    wt_text(run.devices[0].note, sizeof(run.devices[0].note), "the two disagree");
    text = printed(200, true, false, &run, NULL, 0);
    must_have(text, "check     GPU 0: counter and integrated power disagree");
    assert_null(strstr(text, "note  "));
    free(text);
    wt_run_done(&run);
}

static void a_recording_is_named_and_never_called_sampled(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&(struct runs_spec){.wall_s = 5, .power_w = 9, .is_real = true});
    run.is_replayed = true;
    run.devices[0].method = WT_PROV_SAMPLED;
    run.devices[0].energy.provenance = run.total.provenance = WT_PROV_REPLAYED;
    wt_text(run.recording, sizeof(run.recording), "machines/mi250x");
    for (unsigned width = 60; width <= 120; width += 10) {
        char *text = printed(width, true, false, &run, NULL, 0);
        must_have(text, "REPLAYED machines/mi250x: a recorded machine, nothing was");
        *strstr(text, "\n  time ") = '\0';
        must_have(text, "replayed");
        if (width < 80)
            assert_null(strstr(text, "sampled"));
        free(text);
        text = printed(width, true, false, &run, NULL, 1);
        must_have(text, "replay");
        free(text);
    }
    char *doc = wt_run_to_json(&run);
    must_have(doc, "\"replayed\": true");
    must_have(doc, "\"recording\": \"machines/mi250x\"");
    free(doc);
    struct wt_error err = {0};
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    doc = slurp(page);
    must_have(doc, "<strong>Replayed (machines/mi250x).</strong>");
    must_have(doc, "energy, replayed");
    free(doc);
    wt_run_done(&run);
}

/* A machine without sensors: a processor and memory by the model. */
static struct wt_run modeled_make(void)
{
    struct wt_run run = runs_make(&(struct runs_spec){.wall_s = 5, .power_w = 9, .is_real = true});
    for (size_t i = 0; i < run.point_count; i++)
        run.points[i].limit_w = NAN;
    struct wt_run_device *d = &run.devices[0];
    d->kind = WT_DEVICE_CPU;
    d->is_modeled = true;
    d->method = WT_PROV_SAMPLED;
    wt_text(d->id, sizeof(d->id), "cpu-package-0");
    wt_text(d->name, sizeof(d->name), "CPU, modeled: Intel Xeon Gold 6248");
    wt_text(d->source, sizeof(d->source), "model");
    d->energy = run.total = (struct wt_joules){540, 80, 1400, WT_PROV_MODELED};
    d->attribution.is_known = true;
    wt_text(d->attribution.rule, sizeof(d->attribution.rule), "by share");
    d->attribution.residual_uj = 270000000;
    d->attribution.shares = calloc(1, sizeof(*d->attribution.shares));
    d->attribution.share_count = 1;
    assert_non_null(d->attribution.shares);
    wt_text(d->attribution.shares[0].name, 64, "this run");
    d->attribution.shares[0].energy_uj = 270000000;
    return run;
}

static void what_is_modeled_is_called_so_with_its_interval(void **state)
{
    (void)state;
    struct wt_run run = modeled_make();
    char *text = printed(160, true, false, &run, NULL, 0);
    must_have(text, "used by   CPU 0, by share, modeled:");
    must_have(text, "this run: 270 J [40, 700]");
    must_have(text, "others and idle: 270 J [40, 700]");
    must_have(text, "per token, modeled");
    free(text);
    for (unsigned width = 60; width <= 160; width += 20) {
        text = printed(width, true, false, &run, NULL, 1);
        must_have(text, "modeled");
        must_have(text, width < 100 ? "0.08 to 1.40 kJ" : "0.54 kJ [0.08, 1.40]");
        must_fit(text, width);
        free(text);
    }
    struct wt_error err = {0};
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    static const char *const parts[] = {
        "<strong>Modeled.</strong> The total, 0.54 kJ [0.08, 1.40], is estimated from load",
        "<span>energy, modeled</span><span>[0.08, 1.40]</span>",
        "<span>mean power, modeled</span>",
        "estimated from load, without a sensor",
        "the band in which the truth is expected",
        "CPU 0: estimated from load",
        "others and idle",
        "270 J [40, 700]",
    };
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("no %s in the page", parts[i]);
    assert_null(strstr(text, "As read from"));
    assert_null(strstr(text, "<dt>sampled</dt>"));
    assert_null(strstr(text, "what the sensor may have missed"));
    free(text);
    run.is_replayed = true;
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    assert_non_null(strstr(text, "<span>energy, replayed, modeled</span>"));
    free(text);
    wt_run_done(&run);
}

/* ---- HTML ---- */

/* The page's data, parsed. */
static json_t *data_of(const char *text)
{
    static const char open[] = "<script type=\"application/json\" id=\"data\">";
    const char *from = strstr(text, open);
    assert_non_null(from);
    const char *to = strstr(from, "</script>");
    assert_non_null(to);
    from += strlen(open);
    json_t *data = json_loadb(from, (size_t)(to - from), 0, NULL);
    assert_non_null(data);
    return data;
}

static void a_sweeps_page_holds_everything(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    char *text;
    make(&b, false);
    assert_int_equal(wt_report_html(page, &b.sweep, NULL, 0, &err), 0);
    text = slurp(page);
    json_t *data = data_of(text);
    static const char *const parts[] = {
        "<!doctype html>",
        "<html lang=\"en\">",
        "name=\"viewport\"",
        "Emulated (v100-pcie-32gb)",
        "id=\"relative\"",
        "id=\"energy\"",
        "id=\"power\"",
        "<table>",
        "0.808",
        "Chart.js",
        "Released under the MIT",
        "535.183.01",
        "node07",
        "ended with exit code 1",
        "Apply it: <code>wattune set --emulate v100-pcie-32gb power=100 -- CMD</code>",
        "from the built-in device emulator",
        "prefers-color-scheme",
        "@media print",
        "role=\"img\"",
    };
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("no %s in the page", parts[i]);
    /* Nothing is fetched: no source, no link, no import. */
    static const char *const fetches[] = {"<script src", "<link", "@import",
                                          "url(",        "<img",  "<iframe"};
    for (size_t i = 0; i < WT_COUNTOF(fetches); i++)
        if (strstr(text, fetches[i]))
            fail_msg("the page has %s", fetches[i]);
    json_t *sweep = json_object_get(data, "sweep");
    assert_int_equal(json_array_size(json_object_get(sweep, "rows")), 3);
    json_t *trace = json_array_get(json_object_get(sweep, "traces"), 0);
    assert_true(json_array_size(json_object_get(trace, "power_w")) > 50);
    assert_int_equal(json_array_size(json_object_get(trace, "power_w")),
                     json_array_size(json_object_get(trace, "t_s")));
    json_decref(data);
    free(text);
    empty(&b);
}

static void a_runs_page_holds_its_values(void **state)
{
    (void)state;
    struct runs_spec spec = v100[1];
    spec.is_with_cpu = true;
    struct wt_run run = runs_make(&spec);
    struct wt_error err = {0};
    char *text;
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    json_t *data = data_of(text);
    json_t *first = json_array_get(json_object_get(data, "runs"), 0);
    json_t *loss = json_array_get(json_object_get(first, "series"), 0);
    assert_string_equal(json_string_value(json_object_get(loss, "name")), "loss");
    assert_int_equal(json_array_size(json_object_get(loss, "value")), 101);
    assert_non_null(strstr(text, "id=\"power-0\""));
    assert_non_null(strstr(text, "id=\"value-0-0\""));
    assert_non_null(strstr(text, "Xeon Gold 6248"));
    json_decref(data);
    free(text);

    /* A run that was cut short has points, but no devices and no energy. */
    run.device_count = 0;
    run.total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    run.state = WT_RUN_INCOMPLETE;
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    text = slurp(page);
    data = data_of(text);
    first = json_array_get(json_object_get(data, "runs"), 0);
    assert_int_equal(json_array_size(json_object_get(first, "traces")), 1);
    assert_non_null(strstr(text, "Incomplete"));
    assert_non_null(strstr(text, "no energy or power sensor could be read here"));
    assert_null(strstr(text, "<dt>[low, high]</dt>"));
    assert_null(strstr(text, "measured by"));
    json_decref(data);
    free(text);
    wt_run_done(&run);
}

/* What was told once is a figure; one point is no plot. */
static void a_value_of_one_moment_has_no_plot(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&v100[1]);
    struct wt_error err = {0};
    struct wt_run_value *more = reallocarray(run.values, run.value_count + 2, sizeof(*more));
    assert_non_null(more);
    run.values = more;
    more[run.value_count++] = (struct wt_run_value){.t_s = 3, .name = "MFU", .value = 0.41};
    more[run.value_count++] = (struct wt_run_value){.t_s = 4, .name = "wer", .value = 0.125};
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    char *text = slurp(page);
    assert_non_null(strstr(text, "id=\"value-0-0\"")); /* the loss, of many moments */
    assert_null(strstr(text, "id=\"value-0-1\""));
    assert_null(strstr(text, "id=\"value-0-2\""));
    assert_non_null(strstr(text, "<dt>MFU</dt><dd>0.41 "));
    assert_non_null(strstr(text, "<dt>wer</dt><dd>0.125 "));
    assert_null(strstr(text, "<dt>loss</dt>"));
    free(text);
    wt_run_done(&run);
}

/* Nothing is chosen of two groups of runs, and no total stands for all of them. */
static void a_page_of_a_pair_chooses_nothing_and_totals_no_run(void **state)
{
    (void)state;
    for (int is_partly = 0; is_partly < 2; is_partly++) {
        struct wt_run runs[2] = {modeled_make(), modeled_make()};
        struct wt_pair pair;
        struct wt_error err = {0};
        wt_text(runs[1].id, sizeof(runs[1].id), "another");
        runs[1].total = runs[1].devices[0].energy =
            (struct wt_joules){300, 50, 900, is_partly ? WT_PROV_SAMPLED : WT_PROV_MODELED};
        assert_int_equal(wt_pair_make(&pair, &runs[0], 1, &runs[1], 1, &err), 0);
        assert_int_equal(wt_report_html(page, &pair.sweep, NULL, 0, &err), 0);
        char *text = slurp(page);
        json_t *data = data_of(text), *sweep = json_object_get(data, "sweep"), *row;
        size_t i;
        json_array_foreach(json_object_get(sweep, "rows"), i, row)
            assert_false(json_is_true(json_object_get(row, "is_choice")));
        assert_true(json_is_true(json_object_get(sweep, "is_pair")));
        static const char *const nots[] = {"<small>choice", "<small>reference",
                                           "<tr class=\"choice\"", "The total, "};
        for (size_t k = 0; k < WT_COUNTOF(nots); k++)
            if (strstr(text, nots[k]))
                fail_msg("%s is in the page", nots[k]);
        must_have(text, "Relative to A");
        must_have(text, is_partly ? "The totals of 1 of the 2 runs are estimated from load"
                                  : "The totals are estimated from load and not measured: CPU 0.");
        json_decref(data);
        free(text);
        wt_pair_done(&pair);
        wt_run_done(&runs[0]);
        wt_run_done(&runs[1]);
    }
}

static void a_page_tells_a_node_apart(void **state)
{
    (void)state;
    struct wt_run run = node_make();
    struct wt_error err = {0};
    struct wt_run_device *d = &run.devices[0];
    d->attribution.is_known = true;
    wt_text(d->attribution.rule, sizeof(d->attribution.rule), "by share");
    d->attribution.residual_uj =
        5000000; /* and no share: its row has the device's name all the same */
    run.devices[4].energy.provenance = WT_PROV_UNKNOWN;
    wt_text(run.devices[4].note, sizeof(run.devices[4].note), "unknown: it was never read");
    assert_int_equal(wt_report_html(page, NULL, &run, 1, &err), 0);
    char *text = slurp(page);
    static const char *const parts[] = {
        "<strong>Partly modeled.</strong> No sensor measures memory",
        "<span>energy, with what is modeled</span>",
        "As read from each device; memory: estimated from load",
        "<small>part of CPU 1, not in the total</small>",
        "rowspan=\"1\">GPU 0<small>by share</small></th><td class=\"l\">others and idle</td>",
        "unknown<small>it was never read</small></td><td class=\"l w\"></td>",
        "no sensor of its own",
    };
    for (size_t i = 0; i < WT_COUNTOF(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("no %s in the page", parts[i]);
    assert_null(strstr(text, "<th class=\"l\" scope=\"row\"></th>"));
    /* Twelve lines have a colour each. */
    char *hues = strstr(text, "var hues = [");
    assert_non_null(hues);
    *strchr(hues, ']') = '\0';
    size_t count = 0;
    for (const char *p = hues; (p = strchr(p, '#')); p++) {
        char hue[8];
        wt_text(hue, sizeof(hue), "%.7s", p);
        assert_null(strstr(p + 1, hue));
        count++;
    }
    assert_true(count >= 12);
    free(text);
    wt_run_done(&run);
}

static void nothing_from_outside_becomes_markup(void **state)
{
    (void)state;
    static const char evil[] = "</script><script>alert(1)</script><!--\"'&";
    struct bench b;
    struct wt_error err = {0};
    char *text;
    make(&b, false);
    for (size_t i = 0; i < WT_COUNTOF(b.runs); i++) {
        struct wt_run *run = &b.runs[i];
        wt_text(run->host, sizeof(run->host), "%s", evil);
        wt_text(run->tag, sizeof(run->tag), "%s", evil);
        wt_text(run->system, sizeof(run->system), "%s", evil);
        wt_text(run->devices[0].name, sizeof(run->devices[0].name), "%s", evil);
        wt_text(run->devices[0].id, sizeof(run->devices[0].id), "%s", evil);
        wt_text(run->devices[0].note, sizeof(run->devices[0].note), "%s", evil);
        wt_text(run->values[0].name, sizeof(run->values[0].name), "%s", evil);
        wt_text(run->command, sizeof(run->command), "%s\xff", evil);
    }
    wt_text(b.sweep.title, sizeof(b.sweep.title), "%s\xff", evil);
    wt_text(b.sweep.rows[0].label, sizeof(b.sweep.rows[0].label), "%s", evil);
    for (int is_run = 0; is_run < 2; is_run++) {
        assert_int_equal(is_run ? wt_report_html(page, NULL, b.runs, 1, &err)
                                : wt_report_html(page, &b.sweep, NULL, 0, &err),
                         0);
        text = slurp(page);
        json_decref(data_of(text));
        assert_null(strstr(text, "<script>alert"));
        assert_non_null(strstr(text, "&lt;script&gt;alert(1)"));
        size_t scripts = 0;
        for (const char *p = text; (p = strstr(p, "</script>")); p++)
            scripts++;
        assert_int_equal(scripts, 3);
        free(text);
    }
    empty(&b);
}

static size_t entries(void)
{
    DIR *d = opendir(dir);
    size_t n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void a_report_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    char path[160];
    make(&b, false);
    assert_int_equal(wt_report_html(page, &b.sweep, NULL, 0, &err), 0);
    assert_int_equal(entries(), 1); /* the temporary name is gone */
    struct stat before, after;
    assert_int_equal(stat(page, &before), 0);

    /* Too large for the limit: the old file stays, the temporary one goes. */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 50000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = wt_report_html(page, &b.sweep, NULL, 0, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(rc < 0);
    assert_non_null(strstr(err.text, page));
    assert_int_equal(entries(), 1);
    assert_int_equal(stat(page, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_size, before.st_size);

    wt_text(path, sizeof(path), "%s/no/such/folder.html", dir);
    assert_int_equal(wt_report_html(path, &b.sweep, NULL, 0, &err), WT_E_NOTFOUND);
    assert_true(err.fix[0] != '\0');
    assert_int_equal(wt_report_html(dir, &b.sweep, NULL, 0, &err), WT_E_IO);
    assert_non_null(strstr(err.text, "is a folder"));
    empty(&b);
}

static void a_link_stays_one_and_a_device_is_written_to(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    struct stat st;
    char target[160];
    make(&b, false);
    wt_text(target, sizeof(target), "%s/target.html", dir);
    FILE *file = fopen(target, "w");
    fclose(file);
    assert_int_equal(chmod(target, 0640), 0);
    assert_int_equal(symlink("target.html", page), 0);
    assert_int_equal(wt_report_html(page, &b.sweep, NULL, 0, &err), 0);
    assert_int_equal(lstat(page, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(target, &st), 0);
    assert_true(st.st_size > 100000);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(wt_report_html("/dev/null", &b.sweep, NULL, 0, &err), 0);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    empty(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_summary_says_energy_interval_and_where_from),
        TEST(what_is_unknown_is_said_and_is_no_zero),
        TEST(everything_fits_any_window),
        TEST(a_narrow_table_keeps_its_intervals),
        TEST(a_narrow_window_keeps_verdict_and_setting),
        TEST(equal_gpus_have_the_number_that_cuda_gives_them),
        TEST(a_sweep_of_modeled_runs_shows_the_bands),
        TEST(one_of_a_thing_is_said_as_one),
        TEST(a_phases_energy_of_work_has_its_interval),
        TEST(a_sweeps_energies_have_their_provenance),
        TEST(ascii_terminals_get_ascii),
        TEST(names_cannot_steer_the_terminal),
        TEST(colour_is_for_terminals_that_want_it),
        TEST(decimals_are_points_in_every_locale),
        TEST(the_list_says_what_became_of_runs),
        TEST(every_energy_has_its_provenance_at_any_width),
        TEST(rows_stand_by_what_they_are_to_the_total),
        TEST(a_device_has_one_name_and_no_two_the_same),
        TEST(a_thing_is_said_once),
        TEST(a_recording_is_named_and_never_called_sampled),
        TEST(what_is_modeled_is_called_so_with_its_interval),
        TEST(a_sweeps_page_holds_everything),
        TEST(a_value_of_one_moment_has_no_plot),
        TEST(a_page_of_a_pair_chooses_nothing_and_totals_no_run),
        TEST(a_page_tells_a_node_apart),
        TEST(a_runs_page_holds_its_values),
        TEST(nothing_from_outside_becomes_markup),
        TEST(a_report_is_written_whole_or_not_at_all),
        TEST(a_link_stays_one_and_a_device_is_written_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
