/* jobs: the facts of Slurm as they are read, the store of rows, sums over them, and what a user is
 * told. Whose energy it is: test_accounts.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "jobs_bed.h"

/* ---- facts ---- */

static void facts_are_read_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *error; /* NULL: read */
        const char *why;
    } table[] = {
        {"job=1\nbegin_ns=5\n", NULL, "the least"},
        {"job=1\nbegin_ns=5", NULL, "without a last newline"},
        {"job=1\nstep=batch\nbegin_ns=5\nend_ns=9\npid=4\npid_start=9\n", NULL, "a step"},
        {"job=1\nbegin_ns=5\nname=\xc3\xa9t\xc3\xa9\n", NULL, "UTF-8"},
        {"job=1\nbegin_ns=5\nname=\n", NULL, "an empty text is none"},
        {"job=1\nbegin_ns=5\nlease=77\nnote=a\nnote=b\nX=\n", NULL,
         "keys not known are passed over"},
        {"job=1\nbegin_ns=5\ngpus=0-3,7\n", NULL, "ranges"},
        {"job=1\nbegin_ns=5\ndevices=GPU-b,GPU-a\ngpus=0,3\n", NULL, "ids before numbers"},
        {"job=1\nbegin_ns=5\ngpus=0,3\ndevices=GPU-b\n", "devices=", "fewer ids than GPUs"},
        {"job=1\nbegin_ns=5\ndevices=GPU-b\n", "devices=", "ids of no GPUs"},
        {"job=1\nbegin_ns=5\ngpus=0,3\ndevices=GPU-b,GPU-b\n", NULL, "two parts of a card"},
        {"job=1\nbegin_ns=5\ngpus=0\ndevices=\n", "devices=", "an empty id"},
        {"job=1\nbegin_ns=5\ngpus=0,1\ndevices=GPU-b,\n", "devices=", "an empty last id"},
        {"job=1\nbegin_ns=5\ngpus=0\ndevices="
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxx"
         "\n",
         "devices=", "longer than an id may be"},
        {"begin_ns=5\n", "without job", "whose?"},
        {"job=1\n", "without begin_ns", "since when?"},
        {"job=0\nbegin_ns=5\n", "job=0", "no job"},
        {"job=4294967296\nbegin_ns=5\n", "job=4294967296", "more than 32 bits"},
        {"job=-1\nbegin_ns=5\n", "job=-1", "a sign"},
        {"job=1\njob=1\nbegin_ns=5\n", "job is there twice", "twice"},
        {"job=1\nbegin_ns=0\n", "begin_ns=0", "no time"},
        {"job=1\nbegin_ns=9223372036854775808\n", "begin_ns=", "beyond int64"},
        {"job=1\nbegin_ns=5\nstep=../x\n", "step=", "no step's name"},
        {"job=1\nbegin_ns=5\nstep=99999999999\n", "step=", "too long a number"},
        {"job=1\nbegin_ns=5\ngpus=\n", "gpus=", "empty list"},
        {"job=1\nbegin_ns=5\ngpus=0,,1\n", "gpus=", "empty entry"},
        {"job=1\nbegin_ns=5\ngpus=0,0\n", "gpus=", "one twice"},
        {"job=1\nbegin_ns=5\ngpus=3-1\n", "gpus=", "backwards"},
        {"job=1\nbegin_ns=5\ngpus=0-500\n", "gpus=", "more than a node has"},
        {"job=1\nbegin_ns=5\ncap_mw=1.5\n", "cap_mw=", "no whole number"},
        {"job=1\nbegin_ns=5\nuser\n", "line 3", "no value"},
        {"job=1\nbegin_ns=5\n=x\n", "line 3", "no key"},
        {"job=1\nbegin_ns=5\nname=a\x1b[2J\n", "line 3", "a control character"},
        {"job=1\nbegin_ns=5\nname=\xc3(\n", "line 3", "no UTF-8"},
        {"job=1\nbegin_ns=5\nname=\xc0\xaf\n", "line 3", "overlong"},
        {"job=1\nbegin_ns=5\nname=\xed\xa0\x80\n", "line 3", "a surrogate"},
        {"", "without job", "empty"},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct wt_job_facts f;
        struct wt_error err = {0};
        int rc = wt_job_facts_parse(&f, table[i].text, strlen(table[i].text), "F", &err);
        if (!table[i].error && rc < 0)
            fail_msg("%s: refused: %s", table[i].why, err.text);
        if (table[i].error && (rc != WT_E_FORMAT || !strstr(err.text, table[i].error) ||
                               strncmp(err.text, "F: ", 3) != 0))
            fail_msg("%s: %d, %s", table[i].why, rc, err.text);
    }
}

static void facts_hold_what_the_file_says(void **state)
{
    (void)state;
    static const char text[] =
        "job=1234\nstep=0\nuid=1000\nuser=ada\naccount=ml\npartition=gpu\nname=bert\ncluster=c\n"
        "node=n1\ngpus=0,3\ndevices=GPU-b,GPU-a\nnodes=2\ncap_mw=150000\ncap_set_mw=149000\nbegin_"
        "ns=17\nend_ns=18\n"
        "pid=4242\npid_start=123456\nmodel=bert-base\n";
    struct wt_job_facts f;
    assert_int_equal(wt_job_facts_parse(&f, text, strlen(text), "F", NULL), 0);
    assert_int_equal(f.job, 1234);
    assert_string_equal(f.step, "0");
    assert_string_equal(f.user, "ada");
    assert_string_equal(f.model, "bert-base");
    assert_int_equal(f.gpu_count, 2);
    assert_int_equal(f.gpus[1], 3);
    assert_int_equal(f.device_count, 2);
    assert_string_equal(f.devices[1], "GPU-a");
    assert_int_equal(f.cap_mw, 150000);
    assert_int_equal(f.cap_set_mw, 149000);
    assert_int_equal(f.begin_ns, 17);
    assert_int_equal(f.end_ns, 18);
    assert_int_equal(f.pid_start, 123456);
}

static void a_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[WT_JOB_FACTS_MAX + 8];
    struct wt_job_facts f;
    struct wt_error err;
    int n = snprintf(text, sizeof(text), "job=1\nbegin_ns=5\nuser=");
    for (int i = 0; i < 40; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "\xc3\xa9");
    assert_int_equal(wt_job_facts_parse(&f, text, (size_t)n, "F", NULL), 0);
    assert_int_equal(strlen(f.user), 62); /* 63 would be half a character */
    memset(text + n, 'x', sizeof(text) - (size_t)n);
    assert_int_equal(wt_job_facts_parse(&f, text, WT_JOB_FACTS_MAX + 1, "F", &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "longer than 4096"));
}

/* ---- what a user is told ---- */

static void the_users_text_is_short_and_printable(void **state)
{
    (void)state;
    struct wt_job_row rows[24] = {0};
    char text[2048];
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_job_row *row = &rows[i];
        row->job = 12;
        row->begin_ns = UNIX0;
        row->end_ns = UNIX0 + 90 * S;
        row->is_counted = true;
        row->provenance = i % 5 ? WT_PROV_COUNTER : WT_PROV_UNKNOWN;
        row->energy_uj = 1000000 * (i + 1);
        row->low_uj = 900000 * (i + 1);
        row->high_uj = i == 3 ? UINT64_MAX : 1100000 * (i + 1);
        row->gap_ns = i == 3 ? 20 * S : 0;
        row->index = (int)i;
        wt_text(row->node, sizeof(row->node), "n1");
        wt_text(row->device, sizeof(row->device), "GPU-%zu", i);
    }
    wt_accounts_text(text, sizeof(text), rows, WT_COUNTOF(rows));
    assert_non_null(strstr(text, "wattune: job 12 on n1: "));
    assert_non_null(strstr(text, "or more"));
    assert_non_null(strstr(text, "a part is not known"));
    assert_non_null(strstr(text, "not measured for 20"));
    for (const char *c = text; *c; c++)
        assert_true(*c == '\n' || ((unsigned char)*c >= 0x20 && (unsigned char)*c != 0x7f));
}

/* ---- the store ---- */

static struct wt_job_row a_row(unsigned job, const char *device, uint64_t j)
{
    struct wt_job_row row = {.job = job,
                             .begin_ns = UNIX0 + job * S,
                             .end_ns = UNIX0 + (job + 10) * S,
                             .state = WT_JOB_ENDED,
                             .is_counted = true,
                             .provenance = WT_PROV_COUNTER,
                             .energy_uj = j * 1000000,
                             .low_uj = j * 900000,
                             .high_uj = j * 1100000};
    wt_text(row.cluster, sizeof(row.cluster), "c");
    wt_text(row.node, sizeof(row.node), "n1");
    wt_text(row.device, sizeof(row.device), "%s", device);
    wt_text(row.user, sizeof(row.user), job % 2 ? "ada" : "bob");
    wt_text(row.account, sizeof(row.account), "ml");
    return row;
}

static void a_stores_rows_come_back_whole(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store;
    struct wt_job_row in = a_row(3, "GPU-0", 5), *rows;
    size_t count;
    char path[128];
    in.high_uj = UINT64_MAX;
    in.index = -1;
    in.gap_ns = 77;
    in.cap_mw = 150000;
    wt_text(in.note, sizeof(in.note), "it's \"quoted\"; DROP TABLE job");
    snprintf(path, sizeof(path), "%s/sub/other.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
    assert_int_equal(wt_job_store_write(store, &in, 1, NULL), 0);
    int64_t first_seq = in.seq;
    assert_int_equal(wt_job_store_write(store, &in, 1, NULL), 0);
    assert_true(in.seq > first_seq);
    assert_int_equal(wt_job_store_list(store, NULL, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        if (memcmp((char *)&in + column->at, (char *)&rows[0] + column->at,
                   column->form == WT_COLUMN_TEXT ? strlen((char *)&in + column->at) + 1
                                                  : column->size) != 0)
            fail_msg("%s came back as another", column->name);
    }
    free(rows);
    wt_job_store_close(store);
    bed_free(bed);
}

static void a_new_store_is_for_its_owner_and_group(void **state)
{
    (void)state;
    char dir[] = "/tmp/wattune-jobs-XXXXXX", path[64], log[80];
    struct wt_job_store *store;
    struct wt_job_row row = {.job = 1, .begin_ns = 1};
    struct stat st;
    static const mode_t umasks[] = {022, 077};
    for (size_t i = 0; i < WT_COUNTOF(umasks); i++) {
        memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/jobs.db", dir);
        snprintf(log, sizeof(log), "%s-wal", path);
        mode_t old = umask(umasks[i]);
        assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
        assert_int_equal(wt_job_store_write(store, &row, 1, NULL), 0);
        umask(old);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        if (stat(log, &st) == 0) /* what is not in the file yet */
            assert_int_equal(st.st_mode & 0777, 0640);
        wt_job_store_close(store);
        assert_int_equal(chmod(path, 0604), 0); /* the site's to say */
        assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
        wt_job_store_close(store);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0604);
        wt_fs_remove_tree(dir, NULL);
    }
}

static void a_list_holds_what_was_asked_for(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store;
    struct wt_job_row rows[] = {a_row(1, "GPU-0", 1), a_row(2, "GPU-0", 1), a_row(30, "GPU-0", 1),
                                a_row(1, "GPU-1", 1), a_row(1, "GPU-0", 1), a_row(0, "GPU-0", 1)};
    wt_text(rows[4].step, sizeof(rows[4].step), "batch");
    wt_text(rows[5].step, sizeof(rows[5].step), "idle");
    static const struct {
        struct wt_job_filter filter;
        size_t want;
        const char *why;
    } table[] = {
        {{.user = NULL}, 4, "neither steps nor nobody's"},
        {{.has_steps = true}, 5, "steps too"},
        {{.has_idle = true}, 5, "nobody's too"},
        {{.user = "bob"}, 2, "jobs 2 and 30"},
        {{.user = "bob' OR 1=1 --"}, 0, "a value is no SQL"},
        {{.job = 1}, 2, "both devices"},
        {{.since_ns = UNIX0 + 20 * S}, 1, "only the last was there"},
        {{.until_ns = UNIX0 + 2 * S}, 2, "begun before"},
        {{.account = "ml", .user = "ada", .node = "n1", .cluster = "c"}, 2, "all of them"},
        {{.partition = "x"}, 0, "none"},
        {{.is_open_only = true}, 0, "none runs"},
        {{.latest = 1}, 1, "job 30"},
        {{.latest = 3}, 4, "job 1 with both devices"},
        {{.latest = 1, .user = "ada"}, 2, "the latest of a user"},
        {{.latest = 9, .has_steps = true}, 1, "steps only"},
    };
    char path[128];
    snprintf(path, sizeof(path), "%s/other.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
    assert_int_equal(wt_job_store_write(store, rows, WT_COUNTOF(rows), NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct wt_job_row *got;
        size_t count;
        assert_int_equal(wt_job_store_list(store, &table[i].filter, &got, &count, NULL), 0);
        free(got);
        if (count != table[i].want)
            fail_msg("%s: %zu, wanted %zu", table[i].why, count, table[i].want);
    }
    wt_job_store_close(store);
    bed_free(bed);
}

static void what_is_no_store_is_refused_with_a_way_out(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store = NULL;
    struct wt_error err;
    char path[128];
    snprintf(path, sizeof(path), "%s/none.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, false, &err), WT_E_NOTFOUND);
    assert_true(err.fix[0]);
    assert_false(has_file(bed->dir, "none.db")); /* to read makes none */
    write_file(path, "this is no database, and long enough to be looked at by SQLite as one.....");
    assert_int_equal(wt_job_store_open(&store, path, true, &err), WT_E_FORMAT);
    assert_int_equal(wt_job_store_open(&store, "mysql://u:secret@h/d", false, &err), WT_E_USAGE);
    assert_null(strstr(err.text, "secret"));
    assert_int_equal(wt_job_store_open(&store, "", false, &err), WT_E_USAGE);
    bed_free(bed);
}

static void what_was_written_since_stays_unsent(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    void *data;
    struct wt_job_row row = a_row(1, "GPU-0", 1), *unsent;
    size_t count;
    char path[128];
    snprintf(path, sizeof(path), "%s/other.db", bed->dir);
    assert_int_equal(wt_job_sqlite.open(&data, path, true, NULL), 0);
    assert_int_equal(wt_job_sqlite.write(data, &row, 1, NULL), 0);
    assert_int_equal(wt_job_sqlite_unsent(data, 10, &unsent, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(wt_job_sqlite.write(data, &row, 1, NULL), 0); /* while it travels */
    assert_int_equal(wt_job_sqlite_sent(data, unsent, count, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 1);
    /* And what was not sent is not removed. */
    assert_int_equal(wt_job_sqlite_prune(data, INT64_MAX, true, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(wt_job_sqlite_sent(data, &row, 1, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 0);
    free(unsent);
    wt_job_sqlite.close(data);
    bed_free(bed);
}

/* ---- sums ---- */

static const struct wt_job_sum *sum_of(const struct wt_job_sum *sums, size_t count, const char *key,
                                       bool is_emulated)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(sums[i].key, key) == 0 && sums[i].is_emulated == is_emulated)
            return &sums[i];
    fail_msg("no sum of \"%s\"", key);
    return NULL;
}

static void sums_keep_worlds_and_unknowns_apart(void **state)
{
    (void)state;
    struct wt_job_row rows[] = {
        a_row(1, "GPU-0", 10), a_row(1, "GPU-1", 20), a_row(3, "GPU-0", 40),
        a_row(5, "emu-0", 80), a_row(5, "gpu-9", 7),  a_row(2, "GPU-0", 5),
        a_row(1, "node", 99),  a_row(0, "GPU-0", 3),  a_row(1, "GPU-0", 9),
    };
    rows[1].provenance = WT_PROV_SAMPLED;
    rows[2].state = WT_JOB_LOST;
    rows[2].high_uj = UINT64_MAX;
    rows[2].gap_ns = 9 * S;
    rows[3].provenance = WT_PROV_EMULATED;
    rows[4].provenance = WT_PROV_UNKNOWN; /* of an emulated node */
    rows[6].is_counted = false;
    wt_text(rows[8].step, sizeof(rows[8].step), "0");
    struct wt_job_sum *sums;
    size_t count;
    assert_int_equal(
        wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_USER, false, &sums, &count, NULL), 0);
    assert_int_equal(count, 3);
    const struct wt_job_sum *ada = sum_of(sums, count, "ada", false);
    assert_true(fabs(ada->energy.energy_j - 70) < 1e-9);
    assert_true(isinf(ada->energy.high_j));
    assert_int_equal(ada->energy.provenance, WT_PROV_SAMPLED);
    assert_string_equal(ada->weakest, "GPU-1");
    assert_int_equal(ada->jobs, 2);
    assert_int_equal(ada->lost, 1);
    assert_true(fabs(ada->gap_s - 9) < 1e-9);
    assert_true(fabs(ada->node_s - 20) < 1e-9);
    assert_int_equal(ada->unknown, 0);
    const struct wt_job_sum *emulated = sum_of(sums, count, "ada", true);
    assert_true(fabs(emulated->energy.energy_j - 80) < 1e-9);
    assert_int_equal(emulated->unknown, 1);
    free(sums);
    assert_int_equal(wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_JOB, true, &sums, &count, NULL),
                     0);
    assert_int_equal(count, 1);
    assert_string_equal(sums[0].key, "1.0");
    free(sums);
    assert_int_equal(
        wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_NODE, false, &sums, &count, NULL), 0);
    assert_int_equal(count, 3); /* jobs, emulated jobs, nobody's */
    free(sums);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_read_or_refused),
        cmocka_unit_test(facts_hold_what_the_file_says),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(the_users_text_is_short_and_printable),
        cmocka_unit_test(a_stores_rows_come_back_whole),
        cmocka_unit_test(a_new_store_is_for_its_owner_and_group),
        cmocka_unit_test(a_list_holds_what_was_asked_for),
        cmocka_unit_test(what_is_no_store_is_refused_with_a_way_out),
        cmocka_unit_test(what_was_written_since_stays_unsent),
        cmocka_unit_test(sums_keep_worlds_and_unknowns_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
