/* wattuned as it runs: a real daemon on emulated GPUs, real clients under other users' ids, real
 * kills. Needs root, to be other users. */
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

#include "emulator/host.h"
#include "knob/knob.h"

/* ---- rights ---- */

static void nobody_may_anything_without_a_rule(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, NOBODY);
    struct rig_answer a = rig_claim(&c, 0, 150000);
    assert_int_equal(a.rc, WT_E_DENIED);
    assert_non_null(strstr(a.err.text, "no rule of"));
    assert_non_null(strstr(a.err.text, "65534"));
    assert_int_equal(rig_limit(&rig, 0), 250000);
    assert_int_equal(rig_open_entries(&rig, NULL), 0);
    rig_end(&c);
    assert_true(rig_awaits(rig.audit, "\"uid\":65534"));
    assert_true(rig_has(rig.audit, "\"decision\":\"refused\""));
}

static void a_rule_bounds_value_device_knob_and_time(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, BOB);
    static const struct {
        uint32_t device, knob;
        int64_t value, hold_s;
        int want;
        const char *why;
    } rows[] = {
        {0, WT_KNOB_POWER, 150000, 0, 0, "allowed"},
        {0, WT_KNOB_POWER, 110000, 3600, 0, "at the floor, as long as may be"},
        {0, WT_KNOB_POWER, 109999, 0, WT_E_RANGE, "below the floor"},
        {0, WT_KNOB_POWER, 200001, 0, WT_E_RANGE, "above the ceiling"},
        {0, WT_KNOB_POWER, 150000, 3601, WT_E_DENIED, "longer than an hour"},
        {1, WT_KNOB_POWER, 150000, 0, WT_E_DENIED, "another device"},
        {0, WT_KNOB_CLOCK, 900000, 0, WT_E_DENIED, "another knob"},
        {2, WT_KNOB_POWER, 150000, 0, WT_E_NOTFOUND, "no such device"},
        {0, 63, 150000, 0, WT_E_UNSUPPORTED, "no such knob"},
        {0, WT_KNOB_POWER, -1, 0, WT_E_RANGE, "a negative value"},
        {0, WT_KNOB_POWER, INT64_MAX, 0, WT_E_RANGE, "a forged value"},
        {0, WT_KNOB_POWER, 150000, INT64_MIN, WT_E_RANGE, "a forged time"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
        m.u.claim.device = rows[i].device;
        m.u.claim.knob = rows[i].knob;
        m.u.claim.value = rows[i].value;
        m.u.claim.hold_ns = rows[i].hold_s == INT64_MIN ? INT64_MIN : rows[i].hold_s * WT_NS_PER_S;
        struct rig_answer a = rig_ask(&c, &m);
        if (a.rc != rows[i].want)
            fail_msg("%s: %s (%s)", rows[i].why, wt_error_name(a.rc), a.err.text);
    }
    assert_int_equal(rig_limit(&rig, 0), 110000);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    rig_end(&c);
    assert_true(rig_becomes(&rig, 0, 250000));
}

static void nobody_ends_anothers_claim(void **state)
{
    (void)state;
    struct rig_client alice = rig_client(&rig, ALICE), bob = rig_client(&rig, BOB);
    assert_int_equal(rig_claim(&alice, 0, 150000).rc, 0);
    struct wt_wire_message m = {.type = WT_WIRE_RELEASE};
    m.u.release.knob = WT_KNOB_POWER;
    assert_int_equal(rig_ask(&bob, &m).rc, WT_E_NOTFOUND);
    struct rig_answer a = rig_restore(&bob);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.done.count, 0);
    m = (struct wt_wire_message){.type = WT_WIRE_STATUS};
    assert_int_equal(rig_ask(&bob, &m).rc, WT_E_NOTFOUND); /* nor sees it */
    a = rig_ask(&alice, &m);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.status_ok.value, 150000);
    assert_int_equal(a.message.u.status_ok.uid, ALICE);
    m = (struct wt_wire_message){.type = WT_WIRE_JOB_END, .u.job_end = {7}};
    assert_int_equal(rig_ask(&bob, &m).rc, WT_E_DENIED);
    m.type = WT_WIRE_JOB_BEGIN;
    m.u.job_begin.devices = 1;
    assert_int_equal(rig_ask(&bob, &m).rc, WT_E_DENIED);
    assert_int_equal(rig_limit(&rig, 0), 150000);
    rig_end(&alice);
    rig_end(&bob);
    assert_true(rig_becomes(&rig, 0, 250000));
}

/* ---- claims ---- */

static void the_strictest_holds_and_release_uncovers_the_next(void **state)
{
    (void)state;
    rig_set_limit(0, 240000);
    struct rig_client alice = rig_client(&rig, ALICE), bob = rig_client(&rig, BOB);
    struct rig_answer a = rig_claim(&alice, 0, 150000);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.claim_ok.found, 240000);
    assert_int_equal(a.message.u.claim_ok.effective, 150000);
    assert_false(a.message.u.claim_ok.is_covered);
    a = rig_claim(&bob, 0, 120000);
    assert_int_equal(a.message.u.claim_ok.effective, 120000);
    assert_int_equal(a.message.u.claim_ok.found, 240000);
    assert_int_equal(rig_limit(&rig, 0), 120000);
    a = rig_claim(&alice, 0, 180000); /* further from it; bob's still goes first */
    assert_int_equal(a.message.u.claim_ok.effective, 120000);
    assert_true(a.message.u.claim_ok.is_covered);
    assert_int_equal(rig_limit(&rig, 0), 120000);
    assert_int_equal(rig_restore(&bob).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 180000);
    assert_int_equal(rig_claim(&bob, 0, 190000).message.u.claim_ok.effective, 180000);
    assert_int_equal(rig_restore(&alice).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 190000);
    rig_kill(&bob, SIGKILL);
    assert_true(rig_becomes(&rig, 0, 240000));
    rig_end(&alice);
}

static void a_killed_client_is_put_back(void **state)
{
    (void)state;
    rig_set_limit(0, 200000);
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 1, 120000).rc, 0);
    rig_kill(&c, SIGKILL);
    assert_true(rig_becomes(&rig, 0, 200000));
    assert_true(rig_becomes(&rig, 1, 250000));
    for (int64_t end_ns = wt_clock_now_ns() + RIG_PATIENCE_S * WT_NS_PER_S;
         rig_open_entries(&rig, NULL) && wt_clock_now_ns() < end_ns;)
        poll(NULL, 0, 5);
    struct wt_journal_totals t;
    assert_int_equal(rig_open_entries(&rig, &t), 0);
    assert_int_equal(t.opened, 2);
    assert_int_equal(t.closed, 2);
    assert_int_equal(t.doubled + t.damaged, 0);
}

static void a_child_that_keeps_the_socket_keeps_no_claim(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_fork_holder(&c);
    rig_kill(&c, SIGKILL);
    assert_true(rig_becomes(&rig, 0, 250000));
}

static void a_claim_ends_at_its_time(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.knob = WT_KNOB_POWER;
    m.u.claim.value = 150000;
    m.u.claim.hold_ns = 50 * WT_NS_PER_MS;
    struct rig_answer a = rig_ask(&c, &m);
    assert_int_equal(a.rc, 0);
    assert_true(a.message.u.claim_ok.hold_ns > 0);
    assert_true(rig_becomes(&rig, 0, 250000));
    rig_end(&c);
    c = rig_client(&rig, BOB); /* whose rule ends everything after an hour */
    a = rig_claim(&c, 0, 150000);
    assert_true(a.message.u.claim_ok.hold_ns > 3590 * WT_NS_PER_S);
    rig_end(&c);
}

static void what_someone_else_set_stays(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_set_limit(0, 175000);
    struct rig_answer a = rig_restore(&c);
    assert_int_equal(a.rc, WT_E_CHANGED);
    assert_non_null(strstr(a.err.text, "175"));
    assert_int_equal(rig_limit(&rig, 0), 175000);
    /* It is free again, and what is found is theirs. */
    assert_int_equal(rig_claim(&c, 0, 150000).message.u.claim_ok.found, 175000);
    assert_int_equal(rig_restore(&c).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 175000);
    rig_end(&c);
}

static void a_locked_clock_is_unlocked_by_the_last(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE), root = rig_client(&rig, 0);
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.knob = WT_KNOB_CLOCK;
    m.u.claim.value = 900000;
    assert_int_equal(rig_ask(&c, &m).rc, 0);
    m.u.claim.value = 1200000;
    struct rig_answer a = rig_ask(&root, &m);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.message.u.claim_ok.effective, 900000);
    assert_int_equal(rig_restore(&c).rc, 0);
    assert_int_equal(rig_restore(&root).rc, 0);
    rig_end(&c);
    rig_end(&root);
}

/* ---- the site's cap ---- */

static void the_sites_cap_is_above_all_and_stays(void **state)
{
    (void)state;
    rig_policy(&rig, "allow uid 51234 on all set power\nsite-cap power 200 W\n");
    rig_start(&rig);
    rig_set_limit(1, 200000);
    struct rig_client c = rig_client(&rig, ALICE), root = rig_client(&rig, 0);
    struct rig_answer a = rig_claim(&c, 0, 201000);
    assert_int_equal(a.rc, WT_E_RANGE);
    assert_non_null(strstr(a.err.text, "site's cap of 200 W"));
    assert_int_equal(rig_claim(&root, 0, 250000).rc, WT_E_RANGE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 1, 150000).rc, 0);
    rig_kill(&c, SIGKILL);
    assert_true(rig_becomes(&rig, 1, 200000)); /* found 200 under a default of 250 */
    assert_true(rig_becomes(&rig, 0, 200000)); /* found 250, which is above the cap */
    rig_end(&root);
}

static void a_lower_cap_holds_at_once_and_for_the_journal(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 220000).rc, 0);
    rig_policy(&rig, "allow uid 51234 on all set power\nsite-cap power 180 W on 0\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_becomes(&rig, 0, 180000));
    /* A restore that knows of no policy does not lift it either. */
    assert_true(rig_awaits(rig.audit, "\"event\":\"policy\""));
    rig_stop(&rig, SIGKILL);
    rig_kill(&c, SIGKILL);
    size_t restored;
    assert_int_equal(wt_lease_recover(rig.ctx, rig.devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 1);
    assert_int_equal(rig_limit(&rig, 0), 180000);
}

/* ---- policy ---- */

static void a_policy_read_anew_keeps_claims(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE), nobody = rig_client(&rig, NOBODY);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_policy(&rig, "allow everyone on 1 set power from 120 W\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.audit, "\"event\":\"policy\""));
    assert_int_equal(rig_claim(&nobody, 1, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 0, 140000).rc, WT_E_DENIED);
    assert_int_equal(rig_limit(&rig, 0), 150000); /* held before, and held on */
    assert_int_equal(rig_restore(&c).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    rig_end(&c);
    rig_end(&nobody);
}

/* Its holder's wish stays what he asked, in the audit log too. */
static void a_cap_read_anew_moves_what_is_held_and_says_so(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 200000).rc, 0);
    rig_policy(&rig, "site-cap power 180 W\nallow everyone on all set power\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.audit, "\"event\":\"cap\""));
    assert_true(rig_awaits(rig.audit, "\"requested\":200.0,\"enforced\":180.0}"));
    assert_int_equal(rig_limit(&rig, 0), 180000);
    rig_policy(&rig, "site-cap power 190 W\nallow everyone on all set power\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.audit, "\"requested\":200.0,\"enforced\":190.0}"));
    assert_int_equal(rig_limit(&rig, 0), 190000);
    assert_int_equal(rig_restore(&c).rc, 0);
    assert_int_equal(rig_limit(&rig, 0), 190000); /* what was found goes by the cap too */
    rig_end(&c);
}

static void a_mistake_in_the_policy_keeps_the_old_one(void **state)
{
    (void)state;
    rig_policy(&rig, "# fine\nallow everyone in all set power\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.log, "policy.conf:2: expected on, found \"in\""));
    struct rig_client c = rig_client(&rig, ALICE), nobody = rig_client(&rig, NOBODY);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&nobody, 0, 150000).rc, WT_E_DENIED);
    rig_end(&c);
    rig_end(&nobody);
}

/* As an editor leaves it for a moment. */
static void a_policy_that_is_gone_keeps_the_old_one(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    rig_policy(&rig, "site-cap power 180 W\nallow everyone on all set power\n");
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.log, "1 rule, 1 site-cap"));
    assert_int_equal(unlink(rig.policy), 0);
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.log, "there is no such file any more; the policy before it stays"));
    assert_int_equal(rig_claim(&c, 0, 200000).rc, WT_E_RANGE);
    assert_int_equal(rig_claim(&c, 0, 170000).rc, 0);
    rig_end(&c);
}

static void a_policy_that_others_may_write_is_not_believed(void **state)
{
    (void)state;
    chmod(rig.policy, 0666);
    kill(rig.daemon, SIGHUP);
    assert_true(rig_awaits(rig.log, "not trusted"));
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    rig_end(&c);
}

/* ---- hostile ---- */

/* The code of the error it is hung up on with. */
static int last_word(int fd)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message m = {0};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, RIG_PATIENCE_S * 1000), 1);
    ssize_t n = recv(fd, buf, sizeof(buf), 0);
    assert_true(n > 0);
    assert_int_equal(wt_wire_decode(buf, (size_t)n, &m, NULL), 0);
    assert_int_equal(m.type, WT_WIRE_ERROR);
    assert_int_equal(poll(&p, 1, RIG_PATIENCE_S * 1000), 1);
    assert_int_equal(recv(fd, buf, sizeof(buf), 0), 0);
    close(fd);
    return m.u.error.code;
}

static void garbage_is_answered_and_hung_up_on(void **state)
{
    (void)state;
    uint8_t buf[4096];
    struct wt_wire_message ping = {.type = WT_WIRE_PING, .tag = 1};
    int fd = rig_dial();
    memset(buf, 'x', sizeof(buf));
    send(fd, buf, 100, 0);
    assert_int_equal(last_word(fd), WT_E_FORMAT);
    fd = rig_dial();
    send(fd, buf, sizeof(buf), 0); /* longer than any message */
    assert_int_equal(last_word(fd), WT_E_FORMAT);
    fd = rig_dial();
    size_t size = wt_wire_encode(&ping, buf);
    send(fd, buf, size, 0); /* before hello */
    assert_int_equal(last_word(fd), WT_E_STATE);
    fd = rig_dial();
    buf[8] = 200; /* a forged length */
    send(fd, buf, size, 0);
    assert_int_equal(last_word(fd), WT_E_FORMAT);
    fd = rig_dial();
    buf[4] = 9; /* a version to come */
    send(fd, buf, size, 0);
    assert_int_equal(last_word(fd), WT_E_UNSUPPORTED);
    fd = rig_dial();
    struct wt_wire_message answer = {.type = WT_WIRE_DONE};
    send(fd, buf, wt_wire_encode(&answer, buf), 0); /* an answer is no request */
    assert_int_equal(last_word(fd), WT_E_UNSUPPORTED);
}

static void connections_of_one_user_are_bounded(void **state)
{
    (void)state;
    rig_policy(&rig, "allow everyone on all set power\nlimit connections 3\nlimit claims 1\n");
    rig_start(&rig);
    struct rig_client c[4];
    for (size_t i = 0; i < 4; i++)
        c[i] = rig_client(&rig, ALICE);
    struct rig_client other = rig_client(&rig, BOB);
    assert_int_equal(rig_claim(&c[0], 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&c[1], 0, 150000).rc, WT_E_BUSY);
    assert_int_equal(rig_claim(&c[3], 0, 150000).rc, WT_E_GONE); /* was never let in */
    assert_int_equal(rig_claim(&other, 0, 150000).rc, 0);
    for (size_t i = 0; i < 4; i++)
        rig_end(&c[i]);
    rig_end(&other);
}

static void a_flood_is_slowed_and_delays_nobody(void **state)
{
    (void)state;
    rig_policy(&rig, "allow everyone on all set power\nlimit rate 20\n");
    rig_start(&rig);
    struct rig_client flood = rig_client(&rig, ALICE), other = rig_client(&rig, BOB);
    struct wt_wire_message m = {.type = WT_WIRE_PING};
    int64_t start_ns = wt_clock_now_ns();
    for (int i = 0; i < 50; i++) /* twice the rate at once, then 20 a second */
        assert_int_equal(rig_ask(&flood, &m).rc, 0);
    assert_true(wt_clock_now_ns() - start_ns >= 300 * WT_NS_PER_MS);
    assert_int_equal(rig_claim(&other, 0, 150000).rc, 0);
    rig_end(&flood);
    rig_end(&other);
}

/* ---- the audit log ---- */

static void each_decision_is_one_line_of_json(void **state)
{
    (void)state;
    struct rig_client c = rig_client(&rig, ALICE);
    assert_int_equal(rig_claim(&c, 0, 150000).rc, 0);
    assert_int_equal(rig_claim(&c, 0, 300000).rc, WT_E_RANGE);
    assert_int_equal(rig_restore(&c).rc, 0);
    rig_end(&c);
    rig_stop(&rig, SIGTERM);
    struct stat st;
    assert_int_equal(stat(rig.audit, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640); /* whatever the daemon's umask */
    char *all = rig_read(rig.audit), *save = NULL;
    size_t claims = 0, refused = 0, releases = 0;
    for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *o = json_loads(line, 0, NULL);
        if (!o)
            fail_msg("no JSON: %s", line);
        const char *event = json_string_value(json_object_get(o, "event"));
        bool is_ok = strcmp(json_string_value(json_object_get(o, "decision")), "ok") == 0;
        claims += strcmp(event, "claim") == 0 && is_ok;
        refused += strcmp(event, "claim") == 0 && !is_ok;
        releases += strcmp(event, "release") == 0 && is_ok;
        if (strcmp(event, "claim") == 0 && is_ok) {
            assert_int_equal(json_integer_value(json_object_get(o, "uid")), ALICE);
            assert_int_equal(json_integer_value(json_object_get(o, "pid")), c.pid);
            assert_true(json_real_value(json_object_get(o, "found")) == 250.0);
            assert_true(json_real_value(json_object_get(o, "requested")) == 150.0);
            assert_true(json_real_value(json_object_get(o, "enforced")) == 150.0);
        }
        json_decref(o);
    }
    assert_int_equal(claims, 1);
    assert_int_equal(refused, 1);
    assert_int_equal(releases, 1);
    free(all);
}

static int run(int argc, char **argv)
{
#define RUNS(fn)   cmocka_unit_test_setup_teardown(fn, rig_setup_running, rig_teardown)
#define STARTS(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        RUNS(nobody_may_anything_without_a_rule),
        RUNS(a_rule_bounds_value_device_knob_and_time),
        RUNS(nobody_ends_anothers_claim),
        RUNS(the_strictest_holds_and_release_uncovers_the_next),
        RUNS(a_killed_client_is_put_back),
        RUNS(a_child_that_keeps_the_socket_keeps_no_claim),
        RUNS(a_claim_ends_at_its_time),
        RUNS(what_someone_else_set_stays),
        RUNS(a_locked_clock_is_unlocked_by_the_last),
        STARTS(the_sites_cap_is_above_all_and_stays),
        RUNS(a_lower_cap_holds_at_once_and_for_the_journal),
        RUNS(a_policy_read_anew_keeps_claims),
        RUNS(a_cap_read_anew_moves_what_is_held_and_says_so),
        RUNS(a_mistake_in_the_policy_keeps_the_old_one),
        RUNS(a_policy_that_is_gone_keeps_the_old_one),
        RUNS(a_policy_that_others_may_write_is_not_believed),
        RUNS(garbage_is_answered_and_hung_up_on),
        STARTS(connections_of_one_user_are_bounded),
        STARTS(a_flood_is_slowed_and_delays_nobody),
        RUNS(each_decision_is_one_line_of_json),
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
