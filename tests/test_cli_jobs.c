/* `wattune jobs`: lists, sums, JSON, CSV, what it tells Slurm, and what it says to mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/jobs.h"
#include "spawned.h"

#define BEGIN (INT64_C(1793534400) * WT_NS_PER_S) /* 2026-11-01 */

static const char *const home = spawn_folder;
static char store_path[128];

static struct wt_job_row a_row(unsigned job, const char *user, const char *node, const char *device,
                               uint64_t j)
{
    struct wt_job_row row = {.job = job,
                             .begin_ns = BEGIN + (int64_t)job * 3600 * WT_NS_PER_S,
                             .state = WT_JOB_ENDED,
                             .is_counted = true,
                             .provenance = WT_PROV_COUNTER,
                             .nodes = 1,
                             .energy_uj = j * 1000000,
                             .low_uj = j * 900000,
                             .high_uj = j * 1100000};
    row.end_ns = row.updated_ns = row.begin_ns + 600 * WT_NS_PER_S;
    wt_text(row.cluster, sizeof(row.cluster), "c");
    wt_text(row.node, sizeof(row.node), "%s", node);
    wt_text(row.device, sizeof(row.device), "%s", device);
    wt_text(row.user, sizeof(row.user), "%s", user);
    wt_text(row.account, sizeof(row.account), "ml");
    wt_text(row.partition, sizeof(row.partition), job % 2 ? "gpu" : "cpu");
    wt_text(row.model, sizeof(row.model), job == 2 ? "gpt-2" : "bert-base");
    wt_text(row.name, sizeof(row.name), job == 3 ? "=1+1, \"x\"" : "train");
    return row;
}

static void make_store(void)
{
    struct wt_job_store *store;
    struct wt_error err;
    struct wt_job_row rows[] = {
        a_row(1, "ada", "n1", "GPU-0", 1000),     a_row(1, "ada", "n2", "GPU-0", 500),
        a_row(1, "ada", "n1", "node-ipmi", 4000), a_row(1, "ada", "n1", "GPU-0", 900),
        a_row(2, "bob", "n1", "GPU-0", 250),      a_row(3, "ada", "n1", "GPU-1", 40),
        a_row(4, "eve", "n9", "emu-0", 77),       a_row(5, "bob", "n1", "GPU-0", 10),
        a_row(0, "", "n1", "GPU-0", 33),          a_row(5, "bob", "n1", "gpu-7", 0),
    };
    rows[2].is_counted = false;
    wt_text(rows[3].step, sizeof(rows[3].step), "batch");
    rows[4].state = WT_JOB_LOST;
    rows[4].high_uj = UINT64_MAX;
    rows[4].gap_ns = 120 * WT_NS_PER_S;
    rows[5].provenance = WT_PROV_SAMPLED;
    rows[6].provenance = WT_PROV_EMULATED;
    rows[7].state = WT_JOB_RUNNING;
    rows[7].end_ns = 0;
    wt_text(rows[8].step, sizeof(rows[8].step), "idle");
    rows[9].provenance = WT_PROV_UNKNOWN;
    spawn_path(store_path, sizeof(store_path), "jobs.db");
    if (wt_job_store_open(&store, store_path, true, &err) < 0 ||
        wt_job_store_write(store, rows, WT_COUNTOF(rows), &err) < 0)
        fail_msg("%s", err.text);
    wt_job_store_close(store);
}

static int setup(void **state)
{
    int rc = spawn_setup(state);
    make_store();
    return rc;
}

#define JOBS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, spawn_teardown)

static const json_t *sum_of(const json_t *doc, const char *key, bool is_idle)
{
    const json_t *sums = json_object_get(doc, "sums");
    for (size_t i = 0; i < json_array_size(sums); i++) {
        const json_t *sum = json_array_get(sums, i);
        if (strcmp(json_string_value(json_object_get(sum, "key")), key) == 0 &&
            json_is_true(json_object_get(sum, "is_idle")) == is_idle)
            return sum;
    }
    fail_msg("no sum of \"%s\"", key);
    return NULL;
}

static double number(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void jobs_are_listed_with_interval_and_provenance(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "1.50 kJ [1.35, 1.65]")); /* both nodes, the meter beside not */
    assert_non_null(strstr(s.out, "counter"));
    assert_non_null(strstr(s.out, "emulated"));
    assert_non_null(strstr(s.out, "225 J or more"));
    assert_non_null(strstr(s.out, "1 lost"));
    assert_non_null(strstr(s.out, "not measured for up to 2 min"));
    assert_non_null(strstr(s.out, "1 device could not be read"));
    assert_null(strstr(s.out, "idle"));
    spawn_done(&s);
}

static void the_document_has_sums_and_their_devices(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--job", "1");
    json_t *doc = spawn_json(&s);
    const json_t *job = sum_of(doc, "1", false);
    assert_true(fabs(number(job, "energy_j") - 1500) < 1e-6);
    assert_true(fabs(number(job, "low_j") - 1350) < 1e-6);
    assert_int_equal(number(job, "nodes"), 2);
    assert_string_equal(json_string_value(json_object_get(job, "provenance")), "counter");
    assert_int_equal(json_array_size(json_object_get(job, "devices")), 3);
    assert_string_equal(json_string_value(json_object_get(job, "begin")), "2026-11-01T13:00:00Z");
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--job", "2");
    doc = spawn_json(&s);
    job = sum_of(doc, "2", false);
    assert_true(json_is_null(json_object_get(job, "high_j")));
    assert_int_equal(number(job, "lost"), 1);
    json_decref(doc);
    spawn_done(&s);
}

static void sums_are_by_what_was_asked(void **state)
{
    (void)state;
    static const struct {
        const char *by, *key;
        bool is_idle;
        double want_j;
    } table[] = {
        {"user", "ada", false, 1540},   {"user", "bob", false, 260},
        {"user", "eve", false, 77},     {"partition", "gpu", false, 1550},
        {"model", "gpt-2", false, 250}, {"account", "ml", false, 1800},
        {"node", "n2", false, 500},     {"node", "n1", true, 33},
        {"none", "", true, 33},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--by",
                  table[i].by);
        json_t *doc = spawn_json(&s);
        const json_t *sum = sum_of(doc, table[i].key, table[i].is_idle);
        if (fabs(number(sum, "energy_j") - table[i].want_j) > 1e-6)
            fail_msg("--by %s: %s: %f", table[i].by, table[i].key, number(sum, "energy_j"));
        if (strcmp(table[i].key, "ada") == 0) { /* the weakest of its parts */
            assert_string_equal(json_string_value(json_object_get(sum, "provenance")), "sampled");
            assert_string_equal(json_string_value(json_object_get(sum, "weakest")), "GPU-1");
        }
        json_decref(doc);
        spawn_done(&s);
    }
}

static void filters_leave_out(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value;
        size_t want;
    } table[] = {
        {"--user", "bob", 2},
        {"--account", "ml", 5},
        {"--partition", "gpu", 3},
        {"--model", "gpt-2", 1},
        {"--node", "n2", 1},
        {"--cluster", "d", 0},
        {"--since", "2026-11-01T15:30Z", 2},
        {"--until", "2026-11-01T14:30", 2},
        {"--since", "1d", 0},
        {"--limit", "2", 2},
        {"--until", "2026-10-31", 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", table[i].option,
                  table[i].value);
        json_t *doc = spawn_json(&s);
        size_t count = json_array_size(json_object_get(doc, "sums"));
        /* What was measured long ago is in no day before now, whenever this is run: --since 1d. */
        if (count != table[i].want && strcmp(table[i].value, "1d") != 0)
            fail_msg("%s %s: %zu, wanted %zu", table[i].option, table[i].value, count,
                     table[i].want);
        json_decref(doc);
        spawn_done(&s);
    }
}

/* The latest by their begin, each with all its rows. */
static void a_limit_is_of_jobs_and_not_of_rows(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--limit", "4");
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "sums")), 4);
    assert_non_null(sum_of(doc, "5", false));
    assert_non_null(sum_of(doc, "2", false));
    assert_non_null(strstr(s.err, "there are more"));
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--limit", "5");
    doc = spawn_json(&s);
    assert_true(fabs(number(sum_of(doc, "1", false), "energy_j") - 1500) < 1e-6);
    assert_string_equal(s.err, "");
    json_decref(doc);
    spawn_done(&s);
}

static void csv_is_for_spreadsheets(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--csv");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(strncmp(s.out, "job,cluster,user,account,partition,name,model,begin,end,", 55),
                     0);
    assert_non_null(strstr(s.out, "\n1,c,ada,ml,gpu,train,bert-base,2026-11-01T13:00:00Z,"
                                  "2026-11-01T13:10:00Z,1,2,1200.000000,1500.000000,1350.000000,"
                                  "1650.000000,counter,0,0,0,0,0.000\n"));
    assert_non_null(strstr(s.out, "\"'=1+1, \"\"x\"\"\""));             /* quoted, and no formula */
    assert_non_null(strstr(s.out, ",250.000000,225.000000,,counter,")); /* no upper bound */
    spawn_done(&s);
}

static void steps_are_shown_and_never_summed(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--json", "--steps");
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "sums")), 1);
    assert_true(fabs(number(sum_of(doc, "1.batch", false), "energy_j") - 900) < 1e-6);
    json_decref(doc);
    spawn_done(&s);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *c;
        int code;
        const char *want;
    } table[] = {
        {"--by", "moon", NULL, 2, "job, user, account"},
        {"--job", "0", NULL, 2, "a job's number"},
        {"--since", "yesterday", NULL, 2, "2026-11-01"},
        {"--limit", "-1", NULL, 2, "a number"},
        {"--json", "--csv", NULL, 2, "not both"},
        {"--steps", "--by", "user", 2, "never summed"},
        {"--force", NULL, NULL, 2, "is for --sacct"},
        {"--dry-run", NULL, NULL, 2, "is for --sacct"},
        {"--sacct", "--json", NULL, 2, "goes with none"},
        {"1234", NULL, NULL, 2, "--job N"},
        {"--store", "/nowhere/jobs.db", NULL, 4, "no job store"},
        {"--store", "mysql://ada:s3cret@h/d", NULL, 2, "no store of the kind"},
        {"--store", "postgresql://ada:s3cret@h:x/d", NULL, 2, "postgresql://USER@HOST"},
        {"--moon", NULL, NULL, 2, "--help"},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "jobs", table[i].a, table[i].b, table[i].c);
        if (spawn_code(&s) != table[i].code || !strstr(s.err, table[i].want))
            fail_msg("%s %s: %d, %s", table[i].a, table[i].b ? table[i].b : "", spawn_code(&s),
                     s.err);
        assert_null(strstr(s.err, "s3cret"));
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
}

static void a_missing_libpq_names_its_package(void **state)
{
    (void)state;
    struct spawned s;
    setenv("WATTUNE_LIBPQ", "/nowhere/libpq.so.5", 1);
    spawn_run(&s, home, "wattune", "jobs", "--store", "postgresql://ada:s3cret@127.0.0.1:1/d");
    unsetenv("WATTUNE_LIBPQ");
    assert_int_equal(spawn_code(&s), 4); /* not supported here is exit code 4 */
    assert_non_null(strstr(s.err, "libpq"));
    assert_null(strstr(s.err, "s3cret"));
    spawn_done(&s);
}

/* Stands in for Slurm's programs: sacct prints DIR/comments, sacctmgr notes its arguments. */
static void make_slurm(char *bin, size_t size, const char *comments)
{
    char path[160], text[512];
    spawn_path(bin, size, "bin");
    mkdir(bin, 0755);
    spawn_file(path, sizeof(path), "comments", comments);
    snprintf(text, sizeof(text), "#!/bin/sh\necho \"sacct $*\" >>%s/asked\ncat %s\n", home, path);
    spawn_file(path, sizeof(path), "bin/sacct", text);
    chmod(path, 0755);
    snprintf(text, sizeof(text),
             "#!/bin/sh\nfor a; do printf '[%%s]' \"$a\"; done >>%s/told\n"
             "echo >>%s/told\n",
             home, home);
    spawn_file(path, sizeof(path), "bin/sacctmgr", text);
    chmod(path, 0755);
}

static char *read_told(const char *name)
{
    static char text[4096];
    char path[160];
    FILE *f = fopen(spawn_path(path, sizeof(path), name), "re");
    text[f ? fread(text, 1, sizeof(text) - 1, f) : 0] = '\0';
    if (f)
        fclose(f);
    return text;
}

static void run_sacct(struct spawned *s, const char *bin, const char *extra)
{
    char path[4096], *old = strdup(getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", bin, old);
    setenv("PATH", path, 1);
    spawn_run(s, home, "wattune", "jobs", "--store", store_path, "--sacct", extra);
    setenv("PATH", old, 1);
    free(old);
}

static void slurm_is_told_of_ended_jobs_and_others_words_stay(void **state)
{
    (void)state;
    char bin[128];
    struct spawned s;
    make_slurm(bin, sizeof(bin), "1|\n2|wattune: energy_j=1\n3|see ticket 7|\n");
    run_sacct(&s, bin, "--dry-run");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "1  wattune: energy_j=1500.0 low_j=1350.0 high_j=1650.0 "
                                  "provenance=counter\n"));
    assert_string_equal(read_told("told"), "");
    spawn_done(&s);
    run_sacct(&s, bin, NULL);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.err, "job 3: left alone"));
    assert_non_null(
        strstr(s.err, "2 written, 0 already there, 1 of others left alone, 1 that Slurm"));
    const char *told = read_told("told");
    assert_non_null(
        strstr(told, "[-i][modify][job][where][cluster=c][jobid=1][set][admincomment=wattune: "
                     "energy_j=1500.0 low_j=1350.0 high_j=1650.0 provenance=counter]"));
    assert_non_null(strstr(told, "[jobid=2][set][admincomment=wattune: energy_j=250.0 low_j=225.0 "
                                 "high_j=unknown provenance=counter gap lost]"));
    assert_null(strstr(told, "jobid=3"));
    assert_null(strstr(told, "jobid=5")); /* it runs */
    assert_non_null(strstr(read_told("asked"), "-M c -j 1,2,3,4 -o jobidraw,admincomment"));
    spawn_done(&s);
    run_sacct(&s, bin, "--force");
    assert_non_null(strstr(read_told("told"), "jobid=3"));
    spawn_done(&s);
}

/* Two clusters in one store, with the same numbers. */
static void each_cluster_is_asked_for_its_own_jobs(void **state)
{
    (void)state;
    char bin[128];
    struct spawned s;
    struct wt_job_store *store;
    struct wt_job_row rows[] = {a_row(1, "kim", "m1", "GPU-0", 7),
                                a_row(2, "kim", "m1", "GPU-0", 8)};
    wt_text(rows[0].cluster, sizeof(rows[0].cluster), "d");
    rows[1].cluster[0] = '\0';
    assert_int_equal(wt_job_store_open(&store, store_path, true, NULL), 0);
    assert_int_equal(wt_job_store_write(store, rows, WT_COUNTOF(rows), NULL), 0);
    wt_job_store_close(store);
    make_slurm(bin, sizeof(bin), "1|\n2|\n3|\n4|\n");
    run_sacct(&s, bin, NULL);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    spawn_done(&s);
    const char *text = read_told("asked");
    assert_string_equal(text, "sacct -n -X -P -j 2 -o jobidraw,admincomment\n"
                              "sacct -n -X -P -M c -j 1,2,3,4 -o jobidraw,admincomment\n"
                              "sacct -n -X -P -M d -j 1 -o jobidraw,admincomment\n");
    text = read_told("told");
    assert_non_null(strstr(text, "[where][cluster=d][jobid=1][set][admincomment=wattune: "
                                 "energy_j=7.0 "));
    assert_non_null(strstr(text, "[where][cluster=c][jobid=1][set][admincomment=wattune: "
                                 "energy_j=1500.0 "));
    assert_non_null(strstr(text, "[where][jobid=2][set][admincomment=wattune: energy_j=8.0 "));
}

static void what_slurm_has_already_is_not_written_again(void **state)
{
    (void)state;
    char bin[128];
    struct spawned s;
    make_slurm(bin, sizeof(bin),
               "1|wattune: energy_j=1500.0 low_j=1350.0 high_j=1650.0 provenance=counter\n");
    run_sacct(&s, bin, NULL);
    assert_non_null(strstr(s.err, "0 written, 1 already there"));
    assert_string_equal(read_told("told"), "");
    spawn_done(&s);
}

static void without_slurm_it_says_what_to_install(void **state)
{
    (void)state;
    struct spawned s;
    char *old = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    spawn_run(&s, home, "wattune", "jobs", "--store", store_path, "--sacct");
    setenv("PATH", old, 1);
    free(old);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "slurm-client"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOBS_TEST(jobs_are_listed_with_interval_and_provenance),
        JOBS_TEST(the_document_has_sums_and_their_devices),
        JOBS_TEST(sums_are_by_what_was_asked),
        JOBS_TEST(filters_leave_out),
        JOBS_TEST(a_limit_is_of_jobs_and_not_of_rows),
        JOBS_TEST(csv_is_for_spreadsheets),
        JOBS_TEST(steps_are_shown_and_never_summed),
        JOBS_TEST(mistakes_are_said),
        JOBS_TEST(a_missing_libpq_names_its_package),
        JOBS_TEST(slurm_is_told_of_ended_jobs_and_others_words_stay),
        JOBS_TEST(each_cluster_is_asked_for_its_own_jobs),
        JOBS_TEST(what_slurm_has_already_is_not_written_again),
        JOBS_TEST(without_slurm_it_says_what_to_install),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
