/* accounts: whose energy it is. Of a GPU its holder's from begin to end, of the host's devices by
 * CPU time, of steps inside their job's; which devices are meant; and all adds up. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs_bed.h"

static void a_gpu_is_its_holders_from_begin_to_end(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 3, 0);
    /* Begins and ends between ticks. */
    tell(bed, 7, NULL, "0", bed->now_ns + 4 * STEP_NS, 0, 0);
    pass(bed, 4 * STEP_NS, 0);
    pass(bed, 6 * STEP_NS, 0);
    tick(bed);
    run_s(bed, 9, 0);
    struct wt_job_row row = stored(bed, 7, "", "GPU-0");
    assert_int_equal(row.state, WT_JOB_RUNNING);
    assert_true(has_file(bed->map, "0"));
    assert_false(has_file(bed->map, "1"));
    tell(bed, 7, NULL, "0", bed->now_ns - 96 * STEP_NS, bed->now_ns + 3 * STEP_NS, 0);
    run_s(bed, 1, 0);
    row = stored(bed, 7, "", "GPU-0");
    assert_int_equal(row.state, WT_JOB_ENDED);
    assert_uj(row.energy_uj, 200 * 9.9, "all the time it held it, and no more");
    assert_true((double)row.low_uj * 1e-6 < 0.96 * 200 * 9.9);
    assert_true((double)row.high_uj * 1e-6 > 1.04 * 200 * 9.9);
    assert_int_equal(row.provenance, WT_PROV_COUNTER);
    assert_string_equal(row.rule, "exclusive");
    assert_string_equal(row.user, "ada");
    assert_int_equal(row.gap_ns, 0);
    /* What was told of it is done with; the user is told. */
    assert_false(has_file(bed->facts, "7"));
    /* For wattuned, which goes by the end in it, and five minutes long. */
    char path[160];
    snprintf(path, sizeof(path), "%s/7.ended", bed->facts);
    assert_int_equal(access(path, F_OK), 0);
    struct timespec old[2] = {{.tv_sec = time(NULL) - 301}, {.tv_sec = time(NULL) - 301}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    tick(bed);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(has_file(bed->facts, "7.energy"));
    assert_false(has_file(bed->map, "0"));
    bed_free(bed);
}

static void a_job_shorter_than_a_tick_has_its_energy(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[1] = 300;
    run_s(bed, 2, 0);
    tell(bed, 8, NULL, "1", bed->now_ns + 2 * STEP_NS, bed->now_ns + 5 * STEP_NS, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 8, "", "GPU-1").energy_uj, 300 * 0.3, "0.3 s");
    bed_free(bed);
}

static void two_holders_are_said_and_split_evenly(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 1, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 6, 0);
    tell(bed, 1, NULL, "0", bed->now_ns - 10 * S, bed->now_ns, 0);
    tell(bed, 2, NULL, "0", bed->now_ns - 6 * S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row one = stored(bed, 1, "", "GPU-0"), two = stored(bed, 2, "", "GPU-0");
    assert_uj(one.energy_uj, 100 * (4 + 3), "4 s alone, 6 s by halves");
    assert_uj(two.energy_uj, 100 * 3, "6 s by halves");
    assert_string_equal(two.rule, "split evenly");
    assert_non_null(strstr(two.note, "at once"));
    assert_int_equal(two.low_uj, 0);
    assert_true(two.high_uj >= 600000000);
    bed_free(bed);
}

static void host_devices_go_by_cpu_time(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[2] = 80;
    run_s(bed, 1, 0);
    stepd(bed, 4242, 0);
    tell(bed, 3, NULL, NULL, bed->now_ns, 0, 0);
    tell(bed, 3, "0", NULL, bed->now_ns, 0, 4242);
    for (unsigned i = 1; i <= 10; i++) {
        stepd(bed, 4242, i * 50); /* half a second each second, of two that all are busy */
        run_s(bed, 1, 2 * S);
    }
    tell(bed, 3, "0", NULL, bed->now_ns - 10 * S, bed->now_ns, 4242);
    tell(bed, 3, NULL, NULL, bed->now_ns - 10 * S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row job = stored(bed, 3, "", "cpu-package-0");
    struct wt_job_row step = stored(bed, 3, "0", "cpu-package-0");
    struct wt_job_row node = stored(bed, 3, "", "node-ipmi");
    assert_uj(job.energy_uj, 80 * 10 * 0.25, "a quarter");
    assert_uj(step.energy_uj, 80 * 10 * 0.25, "its step, inside it");
    assert_string_equal(job.rule, "by CPU time");
    /* A second of it against three of others that draw three times as much each, or a third. */
    assert_true((double)job.low_uj * 1e-6 < 800 * 0.1);
    assert_true((double)job.high_uj * 1e-6 > 800 * 0.5);
    assert_false(node.is_counted);
    bed_free(bed);
}

/* Where Slurm makes cgroups, a step's is read and not the processes'. */
static void a_steps_cgroup_goes_before_its_processes(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    char path[256];
    const char *const folders[] = {"sys",
                                   "sys/fs",
                                   "sys/fs/cgroup",
                                   "sys/fs/cgroup/slurm",
                                   "sys/fs/cgroup/slurm/job_3",
                                   "sys/fs/cgroup/slurm/job_3/step_0"};
    for (size_t i = 0; i < WT_COUNTOF(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", bed->dir, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    stepd(bed, 4242, 1000000);
    snprintf(path, sizeof(path), "%s/proc/4242/cgroup", bed->dir);
    write_file(path, "0::/slurm/job_3/step_0/slurm\n");
    snprintf(path, sizeof(path), "%s/sys/fs/cgroup/slurm/job_3/step_0/cpu.stat", bed->dir);
    write_file(path, "usage_usec 500000\n");
    run_s(bed, 1, 0);
    tell(bed, 3, NULL, NULL, bed->now_ns, 0, 0);
    tell(bed, 3, "0", NULL, bed->now_ns, 0, 4242);
    run_s(bed, 1, S);
    tell(bed, 3, NULL, NULL, bed->now_ns - S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 3, "", "cpu-package-0").energy_uj, 50, "half a second of one");
    bed_free(bed);
}

/* slurmstepd dies and nobody tells the step's end. */
static void a_step_ends_with_its_slurmstepd(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    stepd(bed, 50, 0);
    tell(bed, 3, NULL, "0", bed->now_ns, 0, 0);
    tell(bed, 3, "batch", "0", bed->now_ns, 0, 50);
    run_s(bed, 3, 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/proc/50/stat", bed->dir);
    unlink(path);
    run_s(bed, 3, 0);
    struct wt_job_row step = stored(bed, 3, "batch", "GPU-0"), job = stored(bed, 3, "", "GPU-0");
    assert_int_equal(step.state, WT_JOB_ENDED);
    assert_int_equal(job.state, WT_JOB_RUNNING);
    assert_true(step.energy_uj >= 300000000 && step.energy_uj <= 500000000);
    assert_false(has_file(bed->facts, "3.batch"));
    assert_true(has_file(bed->facts, "3"));
    bed_free(bed);
}

/* Any history adds up in whole microjoules at every tick (tick() looks), and jobs get what they
 * held. */
static void histories_add_up(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 12; seed++) {
        struct bed *bed = bed_new();
        unsigned r = seed * 7919;
        struct {
            unsigned job;
            int64_t begin_ns;
            const char *gpus;
        } live[4] = {{0, 0, NULL}};
        static const char *const sets[] = {NULL, "0", "1", "0,1"};
        unsigned next = 100;
        bed->wobble = seed % 3 ? 0.5 : 0;
        for (int s = 0; s < 90; s++) {
            for (size_t i = 0; i < DEVICES; i++) {
                bed->power_w[i] = 50 + rand_r(&r) % 350;
                if (rand_r(&r) % 40 == 0)
                    bed->is_dead[i] = !bed->is_dead[i];
            }
            for (size_t k = 0; k < WT_COUNTOF(live); k++) {
                if (rand_r(&r) % 8)
                    continue;
                if (live[k].job) {
                    tell(bed, live[k].job, NULL, live[k].gpus, live[k].begin_ns,
                         bed->now_ns + rand_r(&r) % 9 * STEP_NS, 0);
                    live[k].job = 0;
                } else {
                    live[k].job = next++;
                    live[k].begin_ns = bed->now_ns + rand_r(&r) % 9 * STEP_NS;
                    live[k].gpus = sets[rand_r(&r) % 4];
                    stepd(bed, live[k].job, 0);
                    tell(bed, live[k].job, NULL, live[k].gpus, live[k].begin_ns, 0, 0);
                    tell(bed, live[k].job, "0", live[k].gpus, live[k].begin_ns, 0, live[k].job);
                }
            }
            for (size_t k = 0; k < WT_COUNTOF(live); k++)
                if (live[k].job)
                    stepd(bed, live[k].job, (unsigned)s * 40);
            run_s(bed, 1, rand_r(&r) % 4 * S);
        }
        bed_free(bed);
    }
}

static void a_requeued_job_is_another(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 3, 0);
    size_t count, gpu = 0;
    const struct wt_job_filter filter = {.job = 5};
    struct wt_job_row *rows = rows_of(bed, &filter, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].device, "GPU-0") == 0) {
            assert_int_equal(rows[i].state, gpu == 0 ? WT_JOB_ENDED : WT_JOB_RUNNING);
            gpu++;
        }
    assert_int_equal(gpu, 2);
    free(rows);
    /* The first's energy is not left for the second's user to read as his. */
    assert_false(has_file(bed->facts, "5.energy"));
    tell(bed, 5, NULL, "0", bed->now_ns - 3 * S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_true(has_file(bed->facts, "5.energy"));
    bed_free(bed);
}

/* A processor whose settings are all that it has here. */
static void what_has_no_sensor_has_no_row(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    wt_accounts_free(bed->accounts);
    assert_int_equal(unlink(bed->store), 0);
    bed->infos[1].can = bed->infos[2].can = 0;
    bed->is_dead[1] = bed->is_dead[2] = true;
    start(bed);
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0,1", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    tell(bed, 5, NULL, "0,1", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row nobody;
    size_t count;
    const struct wt_job_filter filter = {.job = 5};
    struct wt_job_row *rows = rows_of(bed, &filter, &count);
    assert_int_equal(count, 3); /* two GPUs and the meter of the node */
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(rows[i].device, "cpu-package-0");
    free(rows);
    assert_int_equal(nobodys(bed, "cpu-package-0", &nobody, 1), 0);
    struct wt_job_row gpu = stored(bed, 5, "", "GPU-1"); /* which the job was given */
    assert_true(gpu.begin_ns > 0);
    assert_int_equal(gpu.provenance, WT_PROV_UNKNOWN);
    bed_free(bed);
}

/* What a base knew of its bounds once holds for what was drawn then, and not for all before. */
static void bounds_are_of_their_own_time(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    stepd(bed, 50, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    for (unsigned i = 1; i <= 20; i++) {
        stepd(bed, 50, i * 100); /* all of it */
        run_s(bed, 1, S);
    }
    struct wt_job_row before, after, *rows;
    size_t count;
    before = after = (struct wt_job_row){0};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(wt_accounts_list(bed->accounts, false, &rows, &count, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(!rows[i].step[0] || !rows[i].job); /* steps were not asked for */
            if (rows[i].job == 5 && strcmp(rows[i].device, "cpu-package-0") == 0)
                *(k ? &after : &before) = rows[i];
        }
        free(rows);
        bed->band_j = 3; /* from here on the sensor may be off by that much more */
        stepd(bed, 50, 2000 + 100 + (unsigned)k * 100);
        run_s(bed, 1 - k, S);
    }
    /* That is in the bounds once, and not once a tick. */
    assert_true(after.high_uj > before.high_uj);
    assert_true((double)(after.high_uj - before.high_uj) * 1e-6 < 1.05 * 100 + 3 + 0.1);
    assert_true((double)before.high_uj * 1e-6 < 1.05 * 2000 + 110);
    bed_free(bed);
}

static void steps_on_a_shared_gpu_get_what_their_job_does(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 1, NULL, "0", begin_ns, 0, 0);
    tell(bed, 1, "0", "0", begin_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 6, 0);
    tell(bed, 1, "0", "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 1, "0", "GPU-0");
    assert_uj(step.energy_uj, 100 * (4 + 3), "4 s alone, 6 s by halves");
    assert_string_equal(step.rule, "split evenly");
    bed_free(bed);
}

/* What was told of a job that runs never falls, even where its segment was thought too much. */
static void who_goes_on_gives_nothing_back(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 1, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 5, 0);
    struct job *job = bed->accounts->jobs;
    struct segment *s = &bed->accounts->devices[0].segment;
    /* As after a look that knew too much. */
    bed->accounts->nobody.places[0].acc_uj -= 50000000;
    bed->accounts->devices[0].idle_uj -= 50000000;
    bed->accounts->devices[0].jobs_uj += 50000000;
    job->places[0].acc_uj += 50000000;
    s->given_uj += 50000000;
    uint64_t told_uj = job->places[0].acc_uj;
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 1, 0);
    assert_true(job->places[0].acc_uj >= told_uj);
    bed_free(bed);
}

static void cpu_time_that_falls_is_not_counted_again(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    stepd(bed, 50, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    static const unsigned ticks[] = {100, 40, 100, 100};
    for (size_t i = 0; i < WT_COUNTOF(ticks); i++) {
        stepd(bed, 50, ticks[i]);
        run_s(bed, 1, S);
    }
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    assert_uj(stored(bed, 5, "", "cpu-package-0").energy_uj, 100, "a second of it");
    bed_free(bed);
}

static void a_tick_waits_for_samples_once(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 1, NULL, "0", begin_ns, 0, 0);
    tell(bed, 2, NULL, "1", begin_ns, 0, 0);
    tell(bed, 1, "0", "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    bed->waits = 0;
    tell(bed, 1, NULL, "0", begin_ns, bed->now_ns, 0);
    tell(bed, 2, NULL, "1", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_int_equal(bed->waits, 1);
    run_s(bed, 3, 0);
    assert_int_equal(bed->waits, 1); /* nothing ends: nothing waits */
    bed_free(bed);
}

/* Slurm's numbers are of another order than the driver's. */
static void ids_go_before_numbers(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    bed->devices = "GPU-1,MIG-7";
    tell(bed, 5, NULL, "0,4", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 0);
    run_s(bed, 5, 0);
    tell(bed, 5, NULL, "0,4", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 5, "", "GPU-1").energy_uj, 100 * 5, "the one that is called so");
    assert_uj(stored(bed, 5, "0", "GPU-1").energy_uj, 100 * 5, "its step by its job's ids");
    assert_int_equal(stored(bed, 5, "", "MIG-7").provenance, WT_PROV_UNKNOWN);
    size_t count;
    const struct wt_job_filter filter = {.job = 5, .has_steps = true};
    struct wt_job_row *rows = rows_of(bed, &filter, &count);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(rows[i].device, "GPU-0");
    free(rows);
    bed_free(bed);
}

/* The plugin knows the ids only once it has asked, and writes again. */
static void ids_that_come_later_move_the_job(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 0);
    run_s(bed, 2, 0);
    bed->devices = "GPU-1";
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 4, 0);
    bed->devices = "GPU-0"; /* once said, it stays */
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 5, "", "GPU-1").energy_uj, 100 * 7, "from its begin on");
    assert_uj(stored(bed, 5, "0", "GPU-1").energy_uj, 100 * 7, "and its step");
    assert_uj(stored(bed, 5, "", "GPU-0").energy_uj, 0, "a row that was written has its end");
    assert_int_equal(stored(bed, 5, "", "GPU-0").state, WT_JOB_ENDED);
    bed_free(bed);
}

/* An AMD card with the same number on a node whose numbers are NVIDIA's. */
static void numbers_are_nvidias_where_there_are_such(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    wt_text(bed->infos[0].source, sizeof(bed->infos[0].source), "amdgpu");
    wt_text(bed->infos[1].source, sizeof(bed->infos[1].source), "nvml");
    bed->infos[1].index = 0;
    wt_accounts_free(bed->accounts);
    start(bed);
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    assert_int_equal(bed->accounts->devices[0].segment.count, 0);
    assert_int_equal(bed->accounts->devices[1].segment.count, 1);
    bed_free(bed);
}

/* dcgm-exporter's files are of NVIDIA's numbers alone. */
static void another_vendors_gpu_is_not_mapped(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    wt_text(bed->infos[0].source, sizeof(bed->infos[0].source), "nvml");
    wt_text(bed->infos[1].source, sizeof(bed->infos[1].source), "amdgpu");
    bed->infos[1].index = 0;
    wt_accounts_free(bed->accounts);
    start(bed);
    run_s(bed, 1, 0);
    bed->devices = "GPU-1";
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 2, 0);
    assert_int_equal(bed->accounts->devices[1].segment.count, 1);
    assert_false(has_file(bed->map, "0"));
    bed->devices = "GPU-0";
    int64_t begin_ns = bed->now_ns;
    tell(bed, 6, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 2, 0);
    assert_true(has_file(bed->map, "0"));
    /* Nor do both write one file: the other's end does not take it away. */
    bed->devices = "GPU-1";
    tell(bed, 5, NULL, "0", begin_ns - 2 * S, bed->now_ns, 0);
    run_s(bed, 2, 0);
    assert_int_equal(bed->accounts->devices[1].segment.count, 0);
    assert_true(has_file(bed->map, "0"));
    bed_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_is_its_holders_from_begin_to_end),
        cmocka_unit_test(a_job_shorter_than_a_tick_has_its_energy),
        cmocka_unit_test(two_holders_are_said_and_split_evenly),
        cmocka_unit_test(host_devices_go_by_cpu_time),
        cmocka_unit_test(a_steps_cgroup_goes_before_its_processes),
        cmocka_unit_test(a_step_ends_with_its_slurmstepd),
        cmocka_unit_test(histories_add_up),
        cmocka_unit_test(a_requeued_job_is_another),
        cmocka_unit_test(what_has_no_sensor_has_no_row),
        cmocka_unit_test(bounds_are_of_their_own_time),
        cmocka_unit_test(steps_on_a_shared_gpu_get_what_their_job_does),
        cmocka_unit_test(who_goes_on_gives_nothing_back),
        cmocka_unit_test(cpu_time_that_falls_is_not_counted_again),
        cmocka_unit_test(a_tick_waits_for_samples_once),
        cmocka_unit_test(ids_go_before_numbers),
        cmocka_unit_test(ids_that_come_later_move_the_job),
        cmocka_unit_test(numbers_are_nvidias_where_there_are_such),
        cmocka_unit_test(another_vendors_gpu_is_not_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
