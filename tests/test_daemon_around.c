/* wattuned in its surroundings: its own crashes and restarts, leases beside it, drivers that hang,
 * Slurm, systemd. Needs root, to be other users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon_rig.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/scribe.h"
#include "emulator/host.h"
#include "knob/knob.h"

/* ---- the daemon's own end ---- */

static void a_killed_daemon_finds_its_claims_again(void **state)
{
    (void)state;
    rig_set_limit(1, 200000);
    struct rig_client lives = rig_client(&rig, ALICE), dies = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&lives, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&dies, 0, 120000).rc, 0);
    assert_int_equal(rig_claim(&dies, 1, 130000).rc, 0);
    rig_stop(&rig, SIGKILL);
    rig_kill(&dies, SIGKILL);
    assert_int_equal(rig_limit(&rig, 0), 120000);
    rig_start(&rig);
    assert_true(rig_becomes(&rig, 0, 150000)); /* uncovered, and held on */
    assert_true(rig_becomes(&rig, 1, 200000));
    /* The living one is known again, and what it found. */
    struct rig_answer a = rig_claim(&lives, 0, 160000);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.claim_ok.found, 250000);
    assert_int_equal(rig_restore(&lives).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    rig_end(&lives);
}

static void a_client_that_dies_after_the_restart_is_put_back(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_stop(&rig, SIGKILL);
    rig_start(&rig);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    rig_kill(&c, SIGKILL); /* it never came back */
    assert_true(rig_becomes(&rig, 0, 250000));
}

static void stopping_puts_back_and_leaving_does_not(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_stop(&rig, SIGUSR2), 0); /* an upgrade */
    assert_int_equal(rig_limit(&rig, 0), 150000);
    rig_start(&rig);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    assert_int_equal(rig_open_entries(&rig, NULL), 0);
    struct rig_answer a = rig_restore(&c);
    assert_int_equal(a.rc, WT_E_STATE);
    assert_non_null(strstr(a.err.text, "has put everything back"));
    rig_end(&c);
}

static void without_a_daemon_restore_ends_dead_claims_only(void **state)
{
    (void)state;
    struct rig_client lives = rig_client(&rig, ALICE), dies = rig_client(&rig, BOB);
    assert_int_equal(rig_claim(&lives, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&dies, 0, 120000).rc, 0);
    size_t restored = 9;
    /* A daemon answers for them: nobody else's business. */
    assert_int_equal(wt_lease_recover(rig.ctx, rig.devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 0);
    rig_stop(&rig, SIGKILL);
    rig_kill(&dies, SIGKILL);
    assert_int_equal(wt_lease_recover(rig.ctx, rig.devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 1);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    rig_kill(&lives, SIGKILL);
    assert_int_equal(wt_lease_recover(rig.ctx, rig.devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 1);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    struct wt_journal_totals t;
    assert_int_equal(rig_open_entries(&rig, &t), 0);
    assert_int_equal(t.opened, t.closed);
}

static void a_second_daemon_is_refused(void **state)
{
    (void)state;
    struct rig second = rig;
    pid_t pid = fork();
    if (pid == 0) {
        execl(getenv("WATTUNED_COMMAND"), "wattuned", "--policy", second.policy, "--socket",
              "/nonexistent/socket", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1);
}

/* ---- beside the daemon ---- */

/* Guardians and recovery ask whenever they look; a daemon that starts meanwhile must not take them
 * for another daemon. */
static void asking_for_a_daemon_keeps_none_from_starting(void **state)
{
    (void)state;
    char dir[200];
    struct wt_error err = {0};
    struct wt_scribe *scribe;
    struct wt_journal *journal;
    wt_text(dir, sizeof(dir), "%s/asked", rig.dir);
    assert_int_equal(wt_scribe_new(&scribe, rig.ctx, dir, &err), 0); /* makes the folder */
    assert_int_equal(wt_journal_open(&journal, rig.ctx, dir, NULL, &err), 0);
    assert_true(wt_journal_has_daemon(journal));
    wt_scribe_free(scribe);
    assert_false(wt_journal_has_daemon(journal));
    pid_t asker = fork();
    if (asker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            wt_journal_has_daemon(journal);
    }
    assert_true(asker > 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(wt_scribe_new(&scribe, rig.ctx, dir, &err), 0);
        wt_scribe_free(scribe);
    }
    kill(asker, SIGKILL);
    waitpid(asker, NULL, 0);
    wt_journal_close(journal);
}

static void a_lease_without_the_daemon_and_a_claim_never_meet(void **state)
{
    (void)state;
    struct wt_lease *lease;
    struct wt_error err = {0};
    struct wt_lease_options direct = {.socket = "none"};
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(wt_lease_open(&lease, rig.ctx, rig.devices, &direct, &err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 120000, NULL, &err), WT_E_BUSY);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_POWER, 120000, NULL, &err), 0);
    struct rig_answer a = rig_claim(&c, 1, 150000);
    assert_int_equal(a.rc, WT_E_BUSY);
    assert_non_null(strstr(a.err.text, "without wattuned"));
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    a = rig_claim(&c, 1, 150000);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.claim_ok.found, 250000);
    rig_end(&c);
}

static void a_lease_goes_through_the_daemon_by_itself(void **state)
{
    (void)state;
    struct wt_lease *lease;
    struct wt_error err = {0};
    struct wt_lease_options options = {.socket = rig.socket};
    int64_t enforced = 0;
    assert_int_equal(wt_lease_open(&lease, rig.ctx, rig.devices, &options, &err), 0);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_POWER, 150000, &enforced, &err), 0);
    assert_int_equal(enforced, 150000);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_POWER, 90000, NULL, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "takes 100 to 250 W"));
    assert_int_equal(wt_lease_set(lease, 5, WT_KNOB_POWER, 1, NULL, &err), WT_E_NOTFOUND);
    rig_stop(&rig, SIGKILL); /* in the middle */
    rig_start(&rig);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_POWER, 140000, &enforced, &err), 0);
    assert_int_equal(rig_limit(&rig, 1), 140000);
    assert_int_equal(wt_lease_close(lease, &err), 0);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    assert_true(rig_has(rig.audit, "\"event\":\"claim\""));
}

static struct wt_lease_hold look(struct wt_lease *lease, size_t device, enum wt_knob knob)
{
    struct wt_lease_hold hold;
    assert_int_equal(wt_lease_look(lease, device, knob, &hold, NULL), 0);
    return hold;
}

/* Looks until it is lost, within patience. */
static struct wt_lease_hold look_until_lost(struct wt_lease *lease, enum wt_knob knob)
{
    struct wt_lease_hold hold = {0};
    for (int n = 0; n < RIG_PATIENCE_S * 200 && !hold.is_lost; n++) {
        usleep(5000);
        hold = look(lease, 0, knob);
    }
    assert_true(hold.is_lost);
    return hold;
}

static void a_lease_learns_that_someone_else_changed_what_it_set(void **state)
{
    (void)state;
    struct wt_lease *lease;
    struct wt_error err = {0};
    struct wt_lease_options options = {.socket = rig.socket};
    struct wt_lease_hold hold;
    assert_int_equal(wt_lease_open(&lease, rig.ctx, rig.devices, &options, &err), 0);
    assert_int_equal(wt_lease_look(lease, 0, WT_KNOB_POWER, &hold, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 150000, NULL, &err), 0);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_POWER, 150000, NULL, &err), 0);
    hold = look(lease, 0, WT_KNOB_POWER);
    assert_false(hold.is_lost);
    assert_int_equal(hold.span_ns, 0);
    int64_t seen_ns = hold.seen_ns;
    rig_set_limit(0, 175000);
    hold = look(lease, 0, WT_KNOB_POWER);
    assert_true(hold.is_lost);
    assert_string_equal(hold.why, "something else made it 175 W");
    assert_int_equal(hold.seen_ns, seen_ns);
    rig_set_limit(0, 150000); /* what was lost once is not found again */
    assert_true(look(lease, 0, WT_KNOB_POWER).is_lost);
    assert_false(look(lease, 1, WT_KNOB_POWER).is_lost);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 140000, NULL, &err), 0);
    assert_false(look(lease, 0, WT_KNOB_POWER).is_lost);
    assert_int_equal(wt_lease_close(lease, &err), 0);
}

static void a_lease_learns_that_the_daemon_was_stopped(void **state)
{
    (void)state;
    struct wt_lease *lease;
    struct wt_error err = {0};
    struct wt_lease_options options = {.socket = rig.socket};
    assert_int_equal(wt_lease_open(&lease, rig.ctx, rig.devices, &options, &err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 150000, NULL, &err), 0);
    rig_stop(&rig, SIGKILL); /* it comes back, and so does what it held */
    assert_false(look(lease, 0, WT_KNOB_POWER).is_lost);
    rig_start(&rig);
    assert_false(look(lease, 0, WT_KNOB_POWER).is_lost);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 900000, NULL, &err), 0);
    rig_stop(&rig, SIGTERM);
    assert_string_equal(look_until_lost(lease, WT_KNOB_POWER).why, "wattuned was stopped");
    /* A locked clock cannot be read back: what the daemon said is all there is. */
    assert_string_equal(look(lease, 0, WT_KNOB_CLOCK).why, "wattuned was stopped");
    rig_start(&rig);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 140000, NULL, &err), 0);
    assert_false(look(lease, 0, WT_KNOB_POWER).is_lost);
    assert_int_equal(wt_lease_close(lease, &err), 0);
    assert_int_equal(rig_limit(&rig, 0), 250000);
}

static void a_lease_learns_that_its_time_is_over(void **state)
{
    (void)state;
    struct wt_lease *lease;
    struct wt_error err = {0};
    struct wt_lease_options options = {.socket = rig.socket, .hold_ns = 300 * WT_NS_PER_MS};
    for (int i = 0; i < 2; i++) {
        enum wt_knob knob = i ? WT_KNOB_CLOCK : WT_KNOB_POWER;
        assert_int_equal(wt_lease_open(&lease, rig.ctx, rig.devices, &options, &err), 0);
        int64_t before_ns = wt_clock_now_ns();
        assert_int_equal(wt_lease_set(lease, 0, knob, i ? 900000 : 150000, NULL, &err), 0);
        struct wt_lease_hold hold = look_until_lost(lease, knob);
        assert_true(hold.is_own_end);
        assert_true(hold.span_ns > 0 && hold.span_ns <= 300 * WT_NS_PER_MS);
        assert_true(hold.seen_ns > before_ns);
        assert_non_null(strstr(hold.why, "was over"));
        assert_int_equal(wt_lease_close(lease, NULL), 0);
    }
}

/* ---- a driver that hangs ---- */

static void a_hung_device_holds_up_no_other(void **state)
{
    (void)state;
    static const char *const extra[] = {"--device-timeout", "0.2"};
    rig_stop(&rig, SIGTERM);
    rig.extra[0] = extra[0];
    rig.extra[1] = extra[1];
    rig_start(&rig);
    struct rig_client c = rig_client(&rig, ALICE), other = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&other, 0, 200000).rc, 0);
    struct wt_error err = {0};
    assert_int_equal(
        wt_emulation_fault_add(rig.emulation, "hang:nvmlDeviceSetPowerManagementLimit:gpu=0", &err),
        0);
    struct rig_answer a = rig_claim(&c, 0, 150000);
    assert_int_equal(a.rc, WT_E_TIMEOUT);
    if (!strstr(a.err.text, "no answer from its driver"))
        fail_msg("%s", a.err.text);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 0, 140000).rc, WT_E_TIMEOUT); /* at once */
    assert_int_equal(rig_restore(&other).rc, WT_E_TIMEOUT);
    struct wt_wire_message m = {.type = WT_WIRE_DEVICE};
    assert_true(rig_ask(&c, &m).message.u.device_ok.flags & WT_WIRE_IS_HUNG);
    assert_true(rig_has(rig.log, "no answer from its driver"));
    wt_emulation_fault_clear(rig.emulation); /* it comes back, carries it out, and that is undone */
    assert_true(rig_becomes(&rig, 0, 250000));
    for (int64_t end_ns = wt_clock_now_ns() + RIG_PATIENCE_S * WT_NS_PER_S;
         wt_clock_now_ns() < end_ns && rig_open_entries(&rig, NULL) != 1;)
        poll(NULL, 0, 5);
    assert_int_equal(rig_open_entries(&rig, NULL), 1);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_end(&c);
    rig_end(&other);
    assert_true(rig_becomes(&rig, 0, 250000));
}

static void a_device_that_refuses_a_restore_is_tried_again(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    struct wt_error err = {0};
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    assert_int_equal(wt_emulation_fault_add(rig.emulation,
                                            "denied:nvmlDeviceSetPowerManagementLimit:gpu=0", &err),
                     0);
    assert_int_equal(rig_restore(&c).rc, WT_E_DENIED);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    assert_int_equal(rig_claim(&c, 0, 120000).rc, WT_E_DENIED); /* nobody gets it before */
    wt_emulation_fault_clear(rig.emulation);
    assert_true(rig_becomes(&rig, 0, 250000));
    rig_end(&c);
}

static void a_refused_set_leaves_the_others_claim(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE), bob = rig_client(&rig, BOB);
    struct wt_error err = {0};
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(wt_emulation_fault_add(rig.emulation,
                                            "denied@#1+1:nvmlDeviceSetPowerManagementLimit:gpu=0",
                                            &err),
                     0);
    assert_int_equal(rig_claim(&bob, 0, 120000).rc, WT_E_DENIED);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    rig_end(&bob);
    rig_end(&c);
    assert_true(rig_becomes(&rig, 0, 250000));
}

/* ---- Slurm and device nodes ---- */

static void put_in_job(pid_t pid, unsigned job)
{
    char path[400], text[200];
    wt_text(path, sizeof(path), "%s/proc/%d/cgroup", rig.sysroot, pid);
    wt_text(text, sizeof(text), "0::/system.slice/slurmstepd.scope/job_%u/step_0/user/task_0\n",
            job);
    rig_write(path, text);
    wt_text(path, sizeof(path), "%s/sys/fs/cgroup/system.slice/slurmstepd.scope/job_%u/x",
            rig.sysroot, job);
    rig_write(path, "");
}

static void end_job(unsigned job)
{
    char path[400];
    wt_text(path, sizeof(path), "%s/sys/fs/cgroup/system.slice/slurmstepd.scope/job_%u",
            rig.sysroot, job);
    assert_int_equal(wt_fs_remove_tree(path, NULL), 0);
}

static struct rig_answer claim_for_job(const struct rig_client *c, uint32_t device, uint32_t job)
{
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.device = device;
    m.u.claim.knob = WT_KNOB_POWER;
    m.u.claim.value = 150000;
    m.u.claim.job = job;
    return rig_ask(c, &m);
}

static void a_jobs_user_reaches_the_jobs_devices_only(void **state)
{
    (void)state;
    rig_policy(&rig, "allow slurm on all set power\n");
    rig_start(&rig);
    struct rig_client root = rig_client(&rig, 0), c = rig_client(&rig, ALICE),
                      bob = rig_client(&rig, BOB);
    put_in_job(c.pid, 42);
    put_in_job(bob.pid, 43);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, WT_E_DENIED); /* root has not told yet */
    struct wt_wire_message m = {.type = WT_WIRE_JOB_BEGIN};
    m.u.job_begin.job = 42;
    m.u.job_begin.uid = ALICE;
    m.u.job_begin.devices = 1u << 1;
    assert_int_equal(rig_ask(&root, &m).rc, 0);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, WT_E_DENIED);
    assert_int_equal(rig_claim(&bob, 1, 150000).rc, WT_E_DENIED);
    assert_int_equal(claim_for_job(&bob, 1, 42).rc, WT_E_DENIED); /* not in it */
    /* For the job, by its user and by root: outlives both connections, and a restart. */
    assert_int_equal(claim_for_job(&c, 1, 42).rc, 0);
    assert_int_equal(claim_for_job(&root, 0, 42).rc, WT_E_DENIED); /* root for him may no more */
    rig_end(&c);
    assert_int_equal(rig_limit(&rig, 1), 150000);
    rig_stop(&rig, SIGKILL);
    rig_start(&rig);
    poll(NULL, 0, 300); /* a look or two at who lives */
    assert_int_equal(rig_limit(&rig, 1), 150000);
    struct rig_client again = rig_client(&rig, ALICE);
    put_in_job(again.pid, 42);
    assert_int_equal(rig_claim(&again, 1, 160000).rc, 0); /* the allocation is still known */
    rig_end(&again);
    m = (struct wt_wire_message){.type = WT_WIRE_JOB_END, .u.job_end = {42}};
    assert_int_equal(rig_ask(&root, &m).rc, 0);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    rig_end(&root);
    rig_end(&bob);
}

static void a_cgroup_of_the_users_own_making_is_no_job(void **state)
{
    (void)state;
    rig_policy(&rig, "allow slurm on all set power\n");
    rig_start(&rig);
    struct rig_client root = rig_client(&rig, 0), c = rig_client(&rig, ALICE);
    struct wt_wire_message m = {.type = WT_WIRE_JOB_BEGIN};
    m.u.job_begin.job = 42;
    m.u.job_begin.uid = ALICE;
    m.u.job_begin.devices = 3;
    assert_int_equal(rig_ask(&root, &m).rc, 0);
    put_in_job(c.pid, 42);
    char path[400];
    wt_text(path, sizeof(path), "%s/sys/fs/cgroup/system.slice/slurmstepd.scope/job_42",
            rig.sysroot);
    assert_int_equal(chown(path, ALICE, ALICE), 0);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, WT_E_DENIED);
    assert_int_equal(chown(path, 0, 0), 0);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_end(&c);
    rig_end(&root);
    end_job(42);
}

static void begin_job(const struct rig_client *root, uint32_t job, uint64_t devices)
{
    struct wt_wire_message m = {.type = WT_WIRE_JOB_BEGIN, .u.job_begin = {job, ALICE, devices}};
    assert_int_equal(rig_ask(root, &m).rc, 0);
}

/* The facts of root's, which our plugin in slurmd writes. */
static void live_by_facts(const char *folder)
{
    char path[400];
    rig_policy(&rig, "allow slurm on all set power\n");
    rig_start(&rig);
    struct rig_client root = rig_client(&rig, 0);
    wt_text(path, sizeof(path), "%s/42", folder);
    rig_write(path, "job=42\nbegin_ns=1\n");
    begin_job(&root, 42, 2);
    assert_int_equal(claim_for_job(&root, 1, 42).rc, 0);
    assert_int_equal(rig_limit(&rig, 1), 150000);
    /* An epilog that met no daemon: the next one reads it, however young the claim is. */
    rig_end(&root);
    rig_stop(&rig, SIGKILL);
    rig_write(path, "job=42\nbegin_ns=1\nend_ns=2\n");
    assert_int_equal(rig_limit(&rig, 1), 150000);
    rig_start(&rig);
    assert_true(rig_becomes(&rig, 1, 250000));
    /* And one that did not get through to a daemon that was busy. */
    root = rig_client(&rig, 0);
    rig_write(path, "job=42\nbegin_ns=3\n");
    begin_job(&root, 42, 2);
    assert_int_equal(claim_for_job(&root, 1, 42).rc, 0);
    poll(NULL, 0, 500);
    assert_int_equal(rig_limit(&rig, 1), 150000);
    rig_write(path, "job=42\nbegin_ns=3\nend_ns=4\n");
    assert_true(rig_becomes(&rig, 1, 250000));
    rig_end(&root);
}

static void a_job_lives_as_its_facts_say(void **state)
{
    (void)state;
    char folder[300];
    live_by_facts(wt_text(folder, sizeof(folder), "%s/run/wattune/slurm", rig.sysroot));
}

static void facts_may_lie_elsewhere(void **state)
{
    (void)state;
    static char folder[300]; /* the rig keeps it */
    rig.extra[0] = "--jobs";
    rig.extra[1] = wt_text(folder, sizeof(folder), "%s/srv/n1/slurm", rig.sysroot);
    live_by_facts(folder);
}

static void the_next_job_on_a_device_ends_one_without_a_trace(void **state)
{
    (void)state;
    rig_policy(&rig, "allow slurm on all set power\n");
    rig_start(&rig);
    struct rig_client root = rig_client(&rig, 0), c = rig_client(&rig, ALICE);
    begin_job(&root, 42, 1);
    begin_job(&root, 43, 2);
    put_in_job(c.pid, 43);
    assert_int_equal(claim_for_job(&root, 0, 42).rc, 0);
    assert_int_equal(claim_for_job(&root, 1, 43).rc, 0);
    begin_job(&root, 44, 3);
    assert_true(rig_becomes(&rig, 0, 250000));    /* 42 has lost its epilog */
    assert_int_equal(rig_limit(&rig, 1), 150000); /* 43 shares the device */
    struct wt_wire_message m = {.type = WT_WIRE_JOB_END, .u.job_end = {43}};
    assert_int_equal(rig_ask(&root, &m).rc, 0);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    rig_end(&c);
    rig_end(&root);
}

static void a_device_nodes_owner_may(void **state)
{
    (void)state;
    char path[400], text[400];
    for (size_t i = 0; i < 2; i++) {
        wt_text(path, sizeof(path), "%s/proc/driver/nvidia/gpus/0000:0%zu:00.0/information",
                rig.sysroot, i);
        wt_text(text, sizeof(text), "Model: \t\t V100\nGPU UUID: \t %s\nDevice Minor: \t %zu\n",
                wt_devices_info(rig.devices, i)->id, 5 - i);
        rig_write(path, text);
        wt_text(path, sizeof(path), "%s/dev/nvidia%zu", rig.sysroot, 5 - i);
        rig_write(path, "");
    }
    assert_int_equal(chown(path, ALICE, 0), 0); /* of device 1 */
    rig_policy(&rig, "allow owner-of-device-node on all set power\n");
    rig_start(&rig);
    struct rig_client c = rig_client(&rig, ALICE), bob = rig_client(&rig, BOB);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, WT_E_DENIED);
    assert_int_equal(rig_claim(&bob, 1, 150000).rc, WT_E_DENIED);
    rig_end(&c);
    rig_end(&bob);
}

/* ---- systemd ---- */

static void it_takes_systemds_socket_and_tells_it(void **state)
{
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX}, notify = {.sun_family = AF_UNIX};
    wt_text(at.sun_path, sizeof(at.sun_path), "%s", rig.socket);
    wt_text(notify.sun_path, sizeof(notify.sun_path), "%s/notify", rig.dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), told = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(bind(told, (struct sockaddr *)&notify, sizeof(notify)), 0);
    /* Who connects before it runs waits. */
    int early = rig_dial();
    pid_t pid = fork();
    if (pid == 0) {
        char text[16];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, 3);
        wt_text(text, sizeof(text), "%d", getpid());
        setenv("LISTEN_PID", text, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("NOTIFY_SOCKET", notify.sun_path, 1);
        setenv("WATCHDOG_USEC", "300000", 1);
        execl(getenv("WATTUNED_COMMAND"), "wattuned", "--policy", rig.policy, "--audit", rig.audit,
              (char *)NULL);
        _exit(127);
    }
    rig.daemon = pid;
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message hello = {.type = WT_WIRE_HELLO, .u.hello = {1, 1, 1}};
    send(early, buf, wt_wire_encode(&hello, buf), 0);
    assert_true(recv(early, buf, sizeof(buf), 0) > 0);
    char said[4096] = "";
    for (size_t used = 0; !strstr(said, "WATCHDOG=1") && used < sizeof(said) - 600;) {
        ssize_t n = recv(told, said + used, sizeof(said) - used - 1, 0);
        assert_true(n > 0);
        used += (size_t)n;
    }
    assert_int_equal(strncmp(said, "READY=1", 7), 0);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    close(early);
    close(fd);
    close(told);
}

static int run(int argc, char **argv)
{
#define RUNS(fn)   cmocka_unit_test_setup_teardown(fn, rig_setup_running, rig_teardown)
#define STARTS(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
#define ROOTED(fn) cmocka_unit_test_setup_teardown(fn, rig_setup_rooted, rig_teardown)
    const struct CMUnitTest tests[] = {
        RUNS(a_killed_daemon_finds_its_claims_again),
        RUNS(a_client_that_dies_after_the_restart_is_put_back),
        RUNS(stopping_puts_back_and_leaving_does_not),
        RUNS(without_a_daemon_restore_ends_dead_claims_only),
        RUNS(a_second_daemon_is_refused),
        STARTS(asking_for_a_daemon_keeps_none_from_starting),
        RUNS(a_lease_without_the_daemon_and_a_claim_never_meet),
        RUNS(a_lease_goes_through_the_daemon_by_itself),
        RUNS(a_lease_learns_that_someone_else_changed_what_it_set),
        RUNS(a_lease_learns_that_the_daemon_was_stopped),
        RUNS(a_lease_learns_that_its_time_is_over),
        RUNS(a_hung_device_holds_up_no_other),
        RUNS(a_device_that_refuses_a_restore_is_tried_again),
        RUNS(a_refused_set_leaves_the_others_claim),
        ROOTED(a_jobs_user_reaches_the_jobs_devices_only),
        ROOTED(a_cgroup_of_the_users_own_making_is_no_job),
        ROOTED(a_job_lives_as_its_facts_say),
        ROOTED(facts_may_lie_elsewhere),
        ROOTED(the_next_job_on_a_device_ends_one_without_a_trace),
        ROOTED(a_device_nodes_owner_may),
        STARTS(it_takes_systemds_socket_and_tells_it),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    if (geteuid() != 0) {
        puts("skipped: only root can be other users");
        return 77;
    }
    if (!getenv("WATTUNED_COMMAND")) {
        fputs("WATTUNED_COMMAND is not set: run through `make test`\n", stderr);
        return 99;
    }
    return run(argc, argv);
}
