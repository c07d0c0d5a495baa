/* accounts: what is known after something ended that should not have, or later than it should.
 * Crashes, reboots, stops, sensors that go away, bad files, no memory: nothing is accounted twice,
 * and a gap has its bounds. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs_bed.h"

static void a_job_goes_on_after_a_crash_with_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 40, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    assert_true(before.updated_ns >= unix_of(bed, bed->now_ns) - 31 * S);
    crash(bed);
    pass(bed, 20 * S, 0);
    start(bed);
    run_s(bed, 10, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_ENDED);
    assert_int_equal(after.begin_ns, before.begin_ns);
    int64_t noted_ns = before.updated_ns - before.begin_ns;
    assert_uj(after.energy_uj, (double)before.energy_uj * 1e-6 + 200 * 10, "what was seen");
    assert_int_equal(after.gap_ns, 60 * S - noted_ns); /* 40 + 20 s in all until the start */
    double truth_j = 200 * 70.0;
    assert_true((double)after.low_uj * 1e-6 <= truth_j && truth_j <= (double)after.high_uj * 1e-6);
    assert_true((double)after.high_uj * 1e-6 <=
                1.05 * (double)after.energy_uj * 1e-6 + 400 * (double)after.gap_ns * 1e-9 + 1);
    /* Of a meter whose most nobody knows there is no upper bound. */
    assert_true(stored(bed, 5, "", "node-ipmi").high_uj == UINT64_MAX);
    bed_free(bed);
}

static void a_job_that_ended_meanwhile_is_closed_up_to_its_end(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 35, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    pass(bed, 20 * S, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns - 5 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_ENDED);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_int_equal(after.gap_ns, after.end_ns - before.updated_ns);
    assert_uj(after.high_uj - before.high_uj, 400 * (double)after.gap_ns * 1e-9, "full power");
    assert_false(has_file(bed->facts, "5"));
    bed_free(bed);
}

static void after_a_reboot_open_rows_are_lost_up_to_the_boot(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 35, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    pass(bed, 100 * S, 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/5", bed->facts); /* the folder is in memory */
    unlink(path);
    wt_text(bed->meter.boot, sizeof(bed->meter.boot), "boot-2");
    bed->meter.boot_ns = unix_of(bed, bed->now_ns - 40 * S);
    start(bed);
    run_s(bed, 2, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_LOST);
    assert_int_equal(after.end_ns, bed->meter.boot_ns);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_int_equal(after.low_uj, before.low_uj);
    assert_int_equal(after.gap_ns, after.end_ns - before.updated_ns);
    assert_uj(after.high_uj - before.high_uj, 400 * (double)after.gap_ns * 1e-9, "full power");
    assert_non_null(strstr(after.note, "started anew"));
    bed_free(bed);
}

/* It died between the last rows and the removal of the file. */
static void an_ended_job_is_not_accounted_twice(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    int64_t end_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, end_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    tell(bed, 5, NULL, "0", begin_ns, end_ns, 0);
    start(bed);
    run_s(bed, 2, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.seq, before.seq);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_false(has_file(bed->facts, "5"));
    bed_free(bed);
}

static void a_gpu_that_dies_leaves_a_bounded_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 10, 0);
    bed->is_dead[0] = true;
    bed->dead_ns[0] = bed->now_ns;
    run_s(bed, 40, 0);
    bed->is_dead[0] = false;
    bed->alive_ns[0] = bed->now_ns - 3 * S; /* windows from here on are whole */
    run_s(bed, 40, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row row = stored(bed, 5, "", "GPU-0");
    double truth_j = 100 * 90.0;
    assert_int_equal(row.provenance, WT_PROV_COUNTER);
    assert_true(row.gap_ns >= 30 * S && row.gap_ns <= 80 * S);
    assert_true((double)row.low_uj * 1e-6 <= truth_j && truth_j <= (double)row.high_uj * 1e-6);
    bed_free(bed);
}

static void a_gpu_no_sensor_reads_is_unknown_and_said(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0,6", bed->now_ns, 0, 0);
    run_s(bed, 2, 0);
    struct wt_job_row row = stored(bed, 5, "", "gpu-6");
    assert_int_equal(row.provenance, WT_PROV_UNKNOWN);
    assert_true(row.high_uj == UINT64_MAX);
    assert_non_null(strstr(row.note, "no sensor"));
    bed_free(bed);
}

static void bad_files_are_said_and_harm_no_others(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    char path[160];
    struct wt_error err = {0};
    struct wt_accounts_status status;
    snprintf(path, sizeof(path), "%s/9", bed->facts);
    write_file(path, "job=9\nbegin_ns=x\n");
    snprintf(path, sizeof(path), "%s/10", bed->facts);
    write_file(path, "job=11\nbegin_ns=5\n");
    snprintf(path, sizeof(path), "%s/README", bed->facts);
    write_file(path, "not ours\n");
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    pass(bed, S, 0);
    assert_int_equal(wt_accounts_tick(bed->accounts, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "/10: job=11"));
    wt_accounts_status(bed->accounts, &status);
    assert_int_equal(status.jobs, 1);
    assert_non_null(strstr(status.problem, "/10"));
    assert_int_equal(chmod(bed->facts, 0777), 0);
    assert_int_equal(wt_accounts_tick(bed->accounts, &err), WT_E_DENIED);
    wt_accounts_status(bed->accounts, &status);
    assert_int_equal(status.jobs, 1); /* what runs goes on */
    bed_free(bed);
}

static void without_a_folder_all_is_nobodys(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    assert_int_equal(rmdir(bed->facts), 0);
    run_s(bed, 35, 0);
    assert_uj(stored(bed, 0, "idle", "GPU-1").energy_uj + 0, 100 * 31, "up to the last note");
    bed_free(bed);
}

static void another_cluster_ends_nobodys_rows(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    run_s(bed, 10, 0);
    bed->cluster = "other";
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 35, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 2);
    assert_string_equal(rows[0].cluster, "c");
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    assert_string_equal(rows[1].cluster, "other");
    assert_int_equal(rows[1].state, WT_JOB_RUNNING);
    assert_true(rows[0].end_ns <= rows[1].begin_ns);
    assert_uj(rows[0].energy_uj, 100 * 11, "until it was told");
    /* What was not written yet is only called another. */
    crash(bed);
    bed->cluster = "third";
    tell(bed, 6, NULL, NULL, bed->now_ns, 0, 0);
    start(bed);
    run_s(bed, 2, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 3);
    assert_int_equal(rows[1].state, WT_JOB_LOST);
    bed_free(bed);
}

static void midnight_ends_nobodys_rows_with_sound_bounds(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    const int64_t day_ns = 86400 * S;
    /* A minute before. */
    bed->skew_ns = day_ns - (UNIX0 + (bed->now_ns - MONO0)) % day_ns - 60 * S;
    wt_accounts_free(bed->accounts);
    start(bed);
    run_s(bed, 100, 0);
    assert_int_equal(nobodys(bed, "GPU-0", rows, 8), 2);
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    assert_int_equal(rows[0].end_ns % day_ns, 0);
    assert_uj(rows[0].energy_uj, 100 * 60, "until midnight");
    assert_uj(rows[0].high_uj, 105 * 60, "and its bounds");
    double j = (double)rows[1].energy_uj * 1e-6;
    assert_true(j > 100 * 5 && j <= 100 * 40);
    assert_true((double)rows[1].high_uj * 1e-6 < 1.06 * j); /* not the hour before, too */
    assert_true((double)rows[1].low_uj * 1e-6 > 0.94 * j);
    bed_free(bed);
}

static void a_stop_ends_nobodys_rows_and_loses_nothing(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 5, 0);
    assert_true(has_file(bed->facts, ".serve"));
    pass(bed, S / 2, 0); /* since the last tick */
    wt_accounts_free(bed->accounts);
    assert_false(has_file(bed->facts, ".serve"));
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 1);
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    start(bed);
    run_s(bed, 5, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 2);
    assert_int_equal(rows[0].state, WT_JOB_ENDED); /* and not lost */
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row job = stored(bed, 5, "", "GPU-0");
    assert_int_equal(job.gap_ns, 0); /* the next was there at once */
    double truth_j = 100 * 10.5;
    assert_uj(job.energy_uj, truth_j, "with the half second");
    assert_true((double)job.low_uj * 1e-6 <= truth_j && truth_j <= (double)job.high_uj * 1e-6);
    bed_free(bed);
}

/* A store asks its disk at each transaction, whose rows have one seq. */
static void a_tick_is_one_transaction(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    for (unsigned job = 1; job <= 3; job++) {
        tell(bed, job, NULL, job == 3 ? "1" : "0", begin_ns, 0, 0);
        tell(bed, job, "0", job == 3 ? "1" : "0", begin_ns, 0, 0);
    }
    run_s(bed, 3, 0);
    for (unsigned job = 1; job <= 3; job++) {
        tell(bed, job, NULL, job == 3 ? "1" : "0", begin_ns, bed->now_ns, 0);
        tell(bed, job, "0", job == 3 ? "1" : "0", begin_ns, bed->now_ns, 0);
    }
    run_s(bed, 1, 0);
    int64_t seq = stored(bed, 1, "", "GPU-0").seq;
    assert_true(seq > 0);
    assert_int_equal(stored(bed, 1, "0", "GPU-0").seq, seq);
    assert_int_equal(stored(bed, 2, "", "GPU-0").seq, seq);
    assert_int_equal(stored(bed, 3, "0", "GPU-1").seq, seq);
    assert_int_equal(stored(bed, 3, "", "cpu-package-0").seq, seq);
    bed_free(bed);
}

static void one_store_has_one_keeper(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_accounts *first = bed->accounts, *second = NULL;
    const struct wt_accounts_options options = {.facts_dir = bed->facts, .store = bed->store};
    struct wt_error err = {0};
    assert_int_equal(wt_accounts_new_over(&second, bed->ctx, bed->pointers, NULL, DEVICES,
                                          &bed->meter, &options, &err),
                     WT_E_STATE);
    char pid[32];
    snprintf(pid, sizeof(pid), "process %d ", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.fix, "--store"));
    assert_ptr_equal(first, bed->accounts);
    wt_accounts_free(bed->accounts);
    start(bed); /* fails the test where it may not */
    bed_free(bed);
}

/* A device of the host that is not known for a while. */
static void a_host_device_that_dies_leaves_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[2] = 80;
    run_s(bed, 2, 0);
    uint64_t base = bed->accounts->devices[1].base;
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    run_s(bed, 10, S);
    bed->is_dead[2] = true;
    run_s(bed, 40, S);
    tell(bed, 5, "0", NULL, begin_ns, bed->now_ns, 50);
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    struct wt_job_row job = stored(bed, 5, "", "cpu-package-0");
    struct wt_job_row step = stored(bed, 5, "0", "cpu-package-0");
    assert_int_equal(job.gap_ns, 40 * S);
    assert_int_equal(step.gap_ns, 40 * S);
    assert_true((double)job.high_uj * 1e-6 >= 300 * 40.0); /* full power */
    assert_true((double)job.high_uj * 1e-6 < 300 * 40.0 + 80 * 30.0);
    assert_int_equal(stored(bed, 5, "", "node-ipmi").gap_ns, 0);
    assert_true(bed->accounts->devices[1].base == base); /* of others nothing begins anew */
    struct wt_job_row nobody;
    run_s(bed, 35, S);
    assert_int_equal(nobodys(bed, "cpu-package-0", &nobody, 1), 1);
    assert_true(nobody.gap_ns >= 45 * S); /* as of what was noted last */
    bed_free(bed);
}

/* It comes back, and its window knows what it drew meanwhile: no gap, and whose it was is open. */
static void what_comes_late_is_no_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    run_s(bed, 5, S);
    bed->is_dead[2] = true;
    run_s(bed, 10, S);
    bed->is_dead[2] = false;
    run_s(bed, 5, S);
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    struct wt_job_row job = stored(bed, 5, "", "cpu-package-0");
    assert_int_equal(job.gap_ns, 0);
    assert_true((double)job.high_uj * 1e-6 >= 100 * 10.0);
    bed_free(bed);
}

static void a_step_whose_gpu_went_away_has_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 50);
    run_s(bed, 10, 0);
    bed->is_dead[0] = true;
    run_s(bed, 7, 0);
    tell(bed, 5, "0", "0", begin_ns, bed->now_ns, 50);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 5, "0", "GPU-0");
    assert_int_equal(step.gap_ns, 7 * S);
    assert_uj(step.energy_uj, 100 * 10, "what was seen");
    assert_uj(step.high_uj, 105 * 10 + 400 * 7, "and full power since");
    bed_free(bed);
}

/* A tick that fails after the store was read. */
static void a_gap_counts_once_whatever_fails(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 40, 0);
    crash(bed);
    pass(bed, 10 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct job *job = bed->accounts->jobs;
    int64_t gap_ns = job->places[0].gap_ns;
    assert_true(gap_ns > 0);
    job->is_new = true; /* as it stays when its first tick fails */
    run_s(bed, 1, 0);
    assert_int_equal(bed->accounts->jobs->places[0].gap_ns, gap_ns);
    bed_free(bed);
}

static void a_tick_without_memory_loses_no_job(void **state)
{
    (void)state;
    for (unsigned fails = 1; fails <= 3; fails++) {
        struct bed *bed = bed_new();
        run_s(bed, 2, 0);
        int64_t begin_ns = bed->now_ns;
        tell(bed, 5, NULL, "0", begin_ns, 0, 0);
        tell(bed, 5, "0", "0", begin_ns, 0, 0);
        for (int i = 0; i < 10; i++) {
            pass(bed, S, 0);
            bed->fails = i == 0 ? fails : 0;
            int rc = wt_accounts_tick(bed->accounts, NULL);
            assert_int_equal(rc, i == 0 ? WT_E_NOMEM : 0);
            assert_conserved(bed);
        }
        tell(bed, 5, "0", "0", begin_ns, bed->now_ns, 0);
        tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
        pass(bed, S, 0);
        bed->fails = 1;
        assert_int_equal(wt_accounts_tick(bed->accounts, NULL), WT_E_NOMEM);
        run_s(bed, 1, 0);
        struct wt_job_row job = stored(bed, 5, "", "GPU-0"), step = stored(bed, 5, "0", "GPU-0");
        assert_int_equal(job.state, WT_JOB_ENDED);
        assert_uj(job.energy_uj, 100 * 10, "all of it");
        assert_uj(step.energy_uj, 100 * 10, "and of the step");
        assert_int_equal(job.gap_ns + step.gap_ns, 0);
        bed_free(bed);
    }
}

/* The job ended while nobody looked, and so did its steps. */
static void steps_of_an_ended_job_are_closed_with_it(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 50);
    run_s(bed, 35, 0);
    crash(bed);
    pass(bed, 20 * S, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns - 15 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 5, "0", "GPU-0"), job = stored(bed, 5, "", "GPU-0");
    assert_int_equal(step.state, WT_JOB_ENDED);
    assert_int_equal(step.end_ns, job.end_ns);
    assert_int_equal(step.gap_ns, job.gap_ns);
    assert_false(has_file(bed->facts, "5.0"));
    /* And of one that nobody ever saw alive. */
    tell(bed, 6, NULL, "1", bed->now_ns, bed->now_ns + S / 2, 0);
    tell(bed, 6, "0", "1", bed->now_ns, 0, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 6, "0", "GPU-1").energy_uj, 50, "half a second");
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_goes_on_after_a_crash_with_a_gap),
        cmocka_unit_test(a_job_that_ended_meanwhile_is_closed_up_to_its_end),
        cmocka_unit_test(after_a_reboot_open_rows_are_lost_up_to_the_boot),
        cmocka_unit_test(an_ended_job_is_not_accounted_twice),
        cmocka_unit_test(a_gpu_that_dies_leaves_a_bounded_gap),
        cmocka_unit_test(a_gpu_no_sensor_reads_is_unknown_and_said),
        cmocka_unit_test(bad_files_are_said_and_harm_no_others),
        cmocka_unit_test(without_a_folder_all_is_nobodys),
        cmocka_unit_test(another_cluster_ends_nobodys_rows),
        cmocka_unit_test(midnight_ends_nobodys_rows_with_sound_bounds),
        cmocka_unit_test(a_stop_ends_nobodys_rows_and_loses_nothing),
        cmocka_unit_test(a_tick_is_one_transaction),
        cmocka_unit_test(one_store_has_one_keeper),
        cmocka_unit_test(a_host_device_that_dies_leaves_a_gap),
        cmocka_unit_test(what_comes_late_is_no_gap),
        cmocka_unit_test(a_step_whose_gpu_went_away_has_a_gap),
        cmocka_unit_test(a_gap_counts_once_whatever_fails),
        cmocka_unit_test(a_tick_without_memory_loses_no_job),
        cmocka_unit_test(steps_of_an_ended_job_are_closed_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
