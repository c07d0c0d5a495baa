/* Slurm jobs by the traces they leave, below a sysroot: who is in one, and whether it still runs.
 * What a user could have made himself is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "lease/journal.h"
#include "wattune/jobs.h"

static char root[64];
static struct wt_ctx *ctx;

static int setup(void **state)
{
    (void)state;
    wt_text(root, sizeof(root), "/tmp/wattune-test-job-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    struct wt_ctx_options options = {.sysroot = root};
    return wt_ctx_new(&ctx, &options, NULL);
}

static int teardown(void **state)
{
    (void)state;
    wt_ctx_free(ctx);
    wt_fs_remove_tree(root, NULL);
    return 0;
}

static void put(const char *path, const char *text)
{
    char full[400], dir[400];
    wt_text(full, sizeof(full), "%s%s", root, path);
    wt_text(dir, sizeof(dir), "%s", full);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(dir, 0755, NULL), 0);
    FILE *f = fopen(full, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void a_process_is_in_the_job_of_its_cgroup(void **state)
{
    (void)state;
    static const struct {
        const char *cgroup, *folder;
        uint32_t want;
        const char *why;
    } rows[] = {
        {"0::/system.slice/slurmstepd.scope/job_42/step_0/user/task_0\n",
         "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_42/x", 42, "cgroup v2"},
        {"0::/system.slice/node1_slurmstepd.scope/job_43/step_batch\n",
         "/sys/fs/cgroup/system.slice/node1_slurmstepd.scope/job_43/x", 43, "with a node's name"},
        {"9:pids:/\n6:freezer:/slurm/uid_1000/job_44/step_0\n0::/user.slice\n",
         "/sys/fs/cgroup/freezer/slurm/uid_1000/job_44/x", 44, "cgroup v1"},
        {"0::/system.slice/slurmstepd.scope/job_45/step_0\n", NULL, 0, "no such folder"},
        {"0::/user.slice/job_46/step_0\n", "/sys/fs/cgroup/user.slice/job_46/x", 0, "not Slurm's"},
        {"0::/system.slice/slurmstepd.scope/job_0/step_0\n",
         "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_0/x", 0, "no job has this number"},
        {"0::/system.slice/slurmstepd.scope/job_4294967296\n",
         "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_4294967296/x", 0, "nor this one"},
        {"0::/system.slice/slurmstepd.scope/job_-1\n",
         "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_-1/x", 0, "nor this"},
        {"nonsense\n:\n::\n", NULL, 0, "no such format"},
        {"", NULL, 0, "nothing"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put("/proc/77/cgroup", rows[i].cgroup);
        if (rows[i].folder)
            put(rows[i].folder, "");
        uint32_t job = wt_job_of(ctx, 77);
        if (job != rows[i].want)
            fail_msg("%s: %u", rows[i].why, job);
        if (rows[i].want)
            assert_true(wt_job_is_alive(ctx, rows[i].want));
    }
    assert_int_equal(wt_job_of(ctx, 78), 0);
    assert_false(wt_job_is_alive(ctx, 45));
    assert_false(wt_job_is_alive(ctx, 46));
}

static void a_folder_of_a_users_is_no_job(void **state)
{
    (void)state;
    char path[300];
    if (geteuid() != 0)
        skip();
    put("/proc/77/cgroup", "0::/user.slice/slurm/job_42\n");
    put("/sys/fs/cgroup/user.slice/slurm/job_42/x", "");
    put("/sys/fs/cgroup/system.slice/slurm/job_42/x", "");
    assert_int_equal(wt_job_of(ctx, 77), 42);
    wt_text(path, sizeof(path), "%s/sys/fs/cgroup/user.slice/slurm/job_42", root);
    assert_int_equal(chown(path, 1000, 1000), 0);
    assert_int_equal(wt_job_of(ctx, 77), 0);
    assert_true(wt_job_is_alive(ctx, 42));
    wt_text(path, sizeof(path), "%s/sys/fs/cgroup/system.slice/slurm/job_42", root);
    assert_int_equal(chown(path, 1000, 1000), 0);
    assert_false(wt_job_is_alive(ctx, 42));
}

static void without_cgroups_a_slurmstepd_of_roots_tells(void **state)
{
    (void)state;
    static const struct {
        const char *cmdline, *status;
        bool want;
        const char *why;
    } rows[] = {
        {"slurmstepd: [42.batch]", "Name:\tslurmstepd\nUid:\t0\t0\t0\t0\n", true, "a batch step"},
        {"slurmstepd: [42.0]", "Name:\tslurmstepd\nUid:\t0\t0\t0\t0\n", true, "a step"},
        {"slurmstepd: [42]", "Name:\tslurmstepd\nUid:\t0\t0\t0\t0\n", true, "an old one"},
        {"slurmstepd: [421.0]", "Name:\tslurmstepd\nUid:\t0\t0\t0\t0\n", false, "another job"},
        {"slurmstepd: [42.0]", "Name:\tsu\nUid:\t1000\t0\t0\t0\n", false, "set-uid, a user's"},
        {"slurmstepd: [42.0]", "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\n", false, "a user's"},
        {"slurmstepd: [42.0]", "", false, "it is gone"},
        {"/usr/sbin/slurmd", "Name:\tslurmd\nUid:\t0\t0\t0\t0\n", false, "another program"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put("/proc/77/cmdline", rows[i].cmdline);
        put("/proc/77/status", rows[i].status);
        if (wt_job_is_alive(ctx, 42) != rows[i].want)
            fail_msg("%s", rows[i].why);
    }
}

static void a_claim_follows_its_job_and_not_its_process(void **state)
{
    (void)state;
    struct wt_owner self;
    assert_int_equal(wt_owner_self(&self, NULL), 0);
    struct wt_lease_record r = {.is_claim = true, .job = 42, .owner = self};
    r.owner.start_ticks = 1; /* a process that has ended */
    r.unix_ns = wt_clock_unix_ns();
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_ALIVE); /* only just begun */
    r.unix_ns -= 120 * WT_NS_PER_S;
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
    put("/sys/fs/cgroup/system.slice/slurmstepd.scope/job_42/x", "");
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_ALIVE);
    r.owner.boot[0] ^= 1; /* of before a restart of the machine */
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
    r.owner.boot[0] ^= 1;
    r.is_restoring = true; /* then it is about whoever puts it back */
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
    r.is_restoring = false;
    r.owner.pid = 0; /* anyone's */
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
}

/* An allocation without a step leaves nothing but its facts; an epilog that met no daemon, neither.
 */
static void facts_of_roots_tell_before_any_trace(void **state)
{
    (void)state;
    char path[300];
    struct wt_owner self;
    assert_int_equal(wt_owner_self(&self, NULL), 0);
    struct wt_lease_record r = {.is_claim = true,
                                .job = 42,
                                .owner = self,
                                .unix_ns = wt_clock_unix_ns() - 120 * WT_NS_PER_S};
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    put("/run/wattune/slurm/42", "job=42\nuid=1000\nbegin_ns=1\n");
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_RUNS);
    assert_int_equal(wt_job_told(ctx, 4), WT_JOB_TOLD_NOT);
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_ALIVE);
    r.owner.boot[0] ^= 1; /* a restart of the machine ended it, whatever was left in /run */
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
    r.owner.boot[0] ^= 1;
    put("/run/wattune/slurm/42", "job=42\nuid=1000\nbegin_ns=1\nend_ns=2\n");
    put("/sys/fs/cgroup/system.slice/slurmstepd.scope/job_42/x", ""); /* a task that will not die */
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_ENDED);
    assert_false(wt_job_is_alive(ctx, 42));
    r.unix_ns = wt_clock_unix_ns(); /* and a claim made only just before */
    assert_int_equal(wt_lease_life(ctx, &r, &self), WT_OWNER_DEAD);
    put("/run/wattune/slurm/42", "");
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    /* Measured, and put aside by who measured it; begun anew it runs. */
    put("/run/wattune/slurm/44.ended", "job=44\nbegin_ns=1\nend_ns=2\n");
    assert_int_equal(wt_job_told(ctx, 44), WT_JOB_TOLD_ENDED);
    put("/run/wattune/slurm/44", "job=44\nbegin_ns=3\n");
    assert_int_equal(wt_job_told(ctx, 44), WT_JOB_TOLD_RUNS);
    put("/run/wattune/slurm/45.ended", "job=45\nbegin_ns=1\n"); /* its end was never told */
    assert_int_equal(wt_job_told(ctx, 45), WT_JOB_TOLD_NOT);

    put("/run/wattune/slurm/42", "job=42\n");
    wt_text(path, sizeof(path), "%s/run/wattune/slurm/42", root);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    assert_int_equal(chmod(path, 0644), 0);
    wt_text(path, sizeof(path), "%s/run/wattune/slurm", root);
    assert_int_equal(chmod(path, 01777), 0);
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_RUNS);
    assert_string_equal(WT_LEASE_FACTS_DIR, WT_JOB_FACTS_DIR);
    /* Of a plugin with another run=DIR. */
    char other[300];
    put("/srv/n1/slurm/43", "job=43\n");
    ctx->jobs_dir = wt_text(other, sizeof(other), "%s/srv/n1/slurm", root);
    assert_int_equal(wt_job_told(ctx, 43), WT_JOB_TOLD_RUNS);
    assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    ctx->jobs_dir = NULL;
    assert_int_equal(wt_job_told(ctx, 43), WT_JOB_TOLD_NOT);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 1000, 1000), 0);
        assert_int_equal(wt_job_told(ctx, 42), WT_JOB_TOLD_NOT);
    }
}

int main(void)
{
#define JOB_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        JOB_TEST(a_process_is_in_the_job_of_its_cgroup),
        JOB_TEST(a_folder_of_a_users_is_no_job),
        JOB_TEST(without_cgroups_a_slurmstepd_of_roots_tells),
        JOB_TEST(a_claim_follows_its_job_and_not_its_process),
        JOB_TEST(facts_of_roots_tell_before_any_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
