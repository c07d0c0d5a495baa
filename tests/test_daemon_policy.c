/* The policy: what the words mean, what is no policy and where, and who may what. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "daemon/policy.h"

#define UUID "GPU-11111111-2222-3333-4444-555555555555"

static bool user(void *data, const char *name, uint32_t *ret_uid)
{
    (void)data;
    *ret_uid = 1000;
    return strcmp(name, "alice") == 0;
}

static bool group(void *data, const char *name, uint32_t *ret_gid)
{
    (void)data;
    *ret_gid = 500;
    return strcmp(name, "ml") == 0;
}

static const struct wt_policy_names names = {user, group, NULL};

static struct wt_policy *parse(const char *text)
{
    struct wt_policy *policy = NULL;
    struct wt_error err = {0};
    if (wt_policy_parse(&policy, "p", text, strlen(text), &names, &err) < 0)
        fail_msg("%s", err.text);
    return policy;
}

static int judge(const char *text, const struct wt_policy_who *who, int64_t mw, int64_t hold_s,
                 int64_t *ret_hold_ns, struct wt_error *err)
{
    struct wt_policy *policy = parse(text);
    struct wt_policy_ask ask = {.device = 2,
                                .id = UUID,
                                .knob = WT_KNOB_POWER,
                                .value = mw,
                                .hold_ns = hold_s * WT_NS_PER_S};
    int rc = wt_policy_judge(policy, who, &ask, ret_hold_ns, err);
    wt_policy_free(policy);
    return rc;
}

static void mistakes_are_named_with_line_and_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"permit user alice", "p:1: expected allow, site-cap or limit, found \"permit\""},
        {"\n# x\n\nallow", "p:4: expected user, uid, group, gid, slurm, owner-of-device-node or "
                           "everyone, found the end of the line"},
        {"allow alice on all set power", "found \"alice\""},
        {"allow user", "p:1: expected a name, found the end of the line"},
        {"allow uid alice on all set power", "p:1: expected a number, found \"alice\""},
        {"allow uid 4294967295 on all set power", "expected a number"},
        {"allow uid -1 on all set power", "expected a number"},
        {"allow everyone at all set power", "p:1: expected on, found \"at\""},
        {"allow everyone on set power", "p:1: expected set, found \"power\""},
        {"allow everyone on 64 set power", "expected all, or indexes (0 to 63)"},
        {"allow everyone on 0,,1 set power", "expected all, or indexes"},
        {"allow everyone on 0, set power", "expected all, or indexes"},
        {"allow everyone on GPU-*;rm set power", "expected all, or indexes"},
        {"allow everyone on all", "p:1: expected set, found the end of the line"},
        {"allow everyone on all set", "names of knobs"},
        {"allow everyone on all set power,speed", "names of knobs"},
        {"allow everyone on all set power from", "a value in W, found the end of the line"},
        {"allow everyone on all set power from -1 W", "a value in W, found \"-1\""},
        {"allow everyone on all set power from 1e3", "a value in W"},
        {"allow everyone on all set power from 100MHz", "p:1: power takes W, found \"MHz\""},
        {"allow everyone on all set power from 100watts", "a value in W, found \"100watts\""},
        {"allow everyone on all set power from 100 MHz", "p:1: power takes W, found \"MHz\""},
        {"allow everyone on all set power from 100 w", "power takes W, found \"w\""},
        {"allow everyone on all set power,cpu-power to 1 GHz", "these knobs take W, found \"GHz\""},
        {"allow everyone on all set clock from 100 W", "found \"W\""},
        {"allow everyone on all set power,clock to 100", "no unit, or different ones"},
        {"allow everyone on all set governor from 1", "no unit, or different ones"},
        {"site-cap epp 3", "no unit, or different ones"},
        {"allow everyone on all set power from 200 W to 100 W", "p:1: from 200 to 100 allows"},
        {"allow everyone on all set power for 12", "a time such as"},
        {"allow everyone on all set power for 12 weeks", "a time such as"},
        {"allow everyone on all set power for 0 s", "a time such as"},
        {"allow everyone on all set power to 9 W from 1 W", "found \"from\""},
        {"allow everyone on all set power twice", "found \"twice\""},
        {"site-cap", "p:1: expected the name of a knob, found the end of the line"},
        {"site-cap watts 3", "found \"watts\""},
        {"site-cap power 0 W", "a cap of 0 allows nothing"},
        {"site-cap power 200 W for all", "expected on or the end of the line, found \"for\""},
        {"limit", "p:1: expected connections, claims or rate, found the end of the line"},
        {"limit claims 0", "a number from 1 to 4096, found \"0\""},
        {"limit rate 5 6", "expected the end of the line, found \"6\""},
        {"limit connections 99999999999999999999", "a number from 1"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_policy *policy = NULL;
        struct wt_error err = {0};
        int rc = wt_policy_parse(&policy, "p", rows[i].text, strlen(rows[i].text), &names, &err);
        if (rc != WT_E_USAGE || !strstr(err.text, rows[i].want))
            fail_msg("%s: %s \"%s\"", rows[i].text, wt_error_name(rc), err.text);
        assert_null(policy);
        assert_true(*err.fix || !strstr(err.text, "expected"));
    }
    struct wt_policy *policy;
    assert_int_equal(wt_policy_parse(&policy, "p", "allow\0x", 7, &names, NULL), WT_E_USAGE);
}

static void who_may_what(void **state)
{
    (void)state;
    static const uint32_t groups[] = {7, 500};
    static const struct wt_policy_who alice = {.uid = 1000, .gid = 1000},
                                      member = {.uid = 1,
                                                .gid = 2,
                                                .groups = groups,
                                                .group_count = 2},
                                      other = {.uid = 1, .gid = 2},
                                      root = {.uid = 0, .is_trusted = true},
                                      in_job = {.uid = 1, .gid = 2, .job_devices = 1u << 2},
                                      in_other_job = {.uid = 1, .gid = 2, .job_devices = 1u << 3},
                                      owner = {.uid = 1, .gid = 2, .node_devices = 1u << 2};
    static const struct {
        const char *text;
        const struct wt_policy_who *who;
        int64_t mw, hold_s;
        int want;
        const char *why;
    } rows[] = {
        {"", &alice, 150000, 0, WT_E_DENIED, "nothing is allowed by itself"},
        {"", &root, 150000, 0, 0, "but to root"},
        {"allow user alice on all set power", &alice, 150000, 0, 0, "by name"},
        {"allow user alice on all set power", &other, 150000, 0, WT_E_DENIED, "another"},
        {"allow user bob on all set power", &alice, 150000, 0, WT_E_DENIED, "a name nobody has"},
        {"allow uid 1 on all set power", &other, 150000, 0, 0, "by number"},
        {"allow group ml on all set power", &member, 150000, 0, 0, "by a further group"},
        {"allow group ml on all set power", &other, 150000, 0, WT_E_DENIED, "not in it"},
        {"allow gid 2 on all set power", &other, 150000, 0, 0, "by the first group"},
        {"allow slurm on all set power", &in_job, 150000, 0, 0, "a device of the job"},
        {"allow slurm on all set power", &in_other_job, 150000, 0, WT_E_DENIED, "of another"},
        {"allow slurm on 1 set power", &in_job, 150000, 0, WT_E_DENIED,
         "the job's, not the rule's"},
        {"allow owner-of-device-node on all set power", &owner, 150000, 0, 0, "its node"},
        {"allow owner-of-device-node on all set power", &in_job, 1, 0, WT_E_DENIED, "not its node"},
        {"allow everyone on 2 set power", &other, 150000, 0, 0, "by index"},
        {"allow everyone on 0,1,3 set power", &other, 150000, 0, WT_E_DENIED, "other indexes"},
        {"allow everyone on 0," UUID " set power", &other, 150000, 0, 0, "by id"},
        {"allow everyone on GPU-11111111 set power", &other, 150000, 0, WT_E_DENIED,
         "a beginning is no id"},
        {"allow everyone on all set clock", &other, 150000, 0, WT_E_DENIED, "another knob"},
        {"allow everyone on all set all", &other, 150000, 0, 0, "all knobs"},
        {"allow everyone on all set clock,power", &other, 150000, 0, 0, "one of several"},
        {"allow everyone on all set power from 150 W", &other, 149999, 0, WT_E_RANGE, "below"},
        {"allow everyone on all set power from 150W", &other, 150000, 0, 0, "the floor itself"},
        {"allow everyone on all set power to 0.15 kW", &other, 150000, 0, 0, "kilowatts"},
        {"allow everyone on all set power to 150000mW", &other, 150001, 0, WT_E_RANGE, "above"},
        {"allow everyone on all set power to 150", &other, 150001, 0, WT_E_RANGE, "without unit"},
        {"allow everyone on all set power from 1 to 150 for 2 h", &other, 150000, 7200, 0, "full"},
        {"allow everyone on all set power for 2 h", &other, 1, 7201, WT_E_DENIED, "too long"},
        {"allow everyone on all set power to 100\nallow uid 1 on all set power to 200", &other,
         150000, 0, 0, "one of two rules is enough"},
        {"allow everyone on all set power to 100 \nallow everyone on all set power from 140\n",
         &other, 120000, 0, WT_E_RANGE, "between two rules"},
        {"site-cap power 140 W\nallow everyone on all set power", &other, 150000, 0, WT_E_RANGE,
         "the site's cap"},
        {"site-cap power 140 W", &root, 140001, 0, WT_E_RANGE, "for root, too"},
        {"site-cap power 140 W", &root, 140000, 0, 0, "the cap itself"},
        {"site-cap power 140 W on 1", &root, 150000, 0, 0, "of another device"},
        {"site-cap power 160 W\nsite-cap power 140 W on 2", &root, 150000, 0, WT_E_RANGE,
         "the lowest of two"},
        {"  \t allow   everyone\ton all set power # and why \r\n", &other, 150000, 0, 0, "space"},
        {"#allow everyone on all set power", &other, 150000, 0, WT_E_DENIED, "a comment"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        int64_t hold_ns = -1;
        int rc = judge(rows[i].text, rows[i].who, rows[i].mw, rows[i].hold_s, &hold_ns, &err);
        if (rc != rows[i].want)
            fail_msg("%s: %s (%s)", rows[i].why, wt_error_name(rc), err.text);
        if (rc == 0)
            assert_true(hold_ns >= 0);
        else
            assert_true(*err.text);
    }
}

static void the_longest_rule_that_allows_it_counts(void **state)
{
    (void)state;
    static const struct wt_policy_who who = {.uid = 1, .gid = 1};
    int64_t hold_ns;
    assert_int_equal(judge("allow uid 1 on all set power for 1 h\n"
                           "allow uid 1 on all set power for 3 h\n",
                           &who, 1, 0, &hold_ns, NULL),
                     0);
    assert_int_equal(hold_ns, 3 * 3600 * WT_NS_PER_S);
    assert_int_equal(judge("allow uid 1 on all set power for 1 h\n"
                           "allow uid 1 on all set power\n",
                           &who, 1, 0, &hold_ns, NULL),
                     0);
    assert_int_equal(hold_ns, 0);
    assert_int_equal(judge("allow uid 1 on all set power for 90 min", &who, 1, 60, &hold_ns, NULL),
                     0);
    assert_int_equal(hold_ns, 60 * WT_NS_PER_S); /* as long as was asked */
}

static void a_refusal_says_which_rule_and_how_far(void **state)
{
    (void)state;
    static const struct wt_policy_who who = {.uid = 1, .gid = 1};
    struct wt_error err;
    int64_t hold_ns;
    judge("\nallow uid 1 on all set power from 100 W to 200 W for 1 h", &who, 250000, 0, &hold_ns,
          &err);
    assert_non_null(strstr(err.text, "p:2 allows it from 100 W to 200 W, not 250 W"));
    judge("\nallow uid 1 on all set power from 100 W to 200 W for 1 h", &who, 150000, 4000,
          &hold_ns, &err);
    assert_non_null(strstr(err.text, "p:2 allows it for 3600 s at most, not 4000 s"));
    judge("", &who, 150000, 0, &hold_ns, &err);
    assert_non_null(strstr(err.text, "no rule of p lets user 1 set it"));
}

static void an_unlocked_clock_is_above_every_bound(void **state)
{
    (void)state;
    static const struct wt_policy_who who = {.uid = 1, .gid = 1};
    static const struct {
        const char *text;
        int64_t khz;
        int want;
    } rows[] = {
        {"allow uid 1 on all set clock", 0, 0},
        {"allow uid 1 on all set clock to 1.2 GHz", 0, WT_E_RANGE},
        {"allow uid 1 on all set clock to 1200 MHz", 1200000, 0},
        {"allow uid 1 on all set clock\nsite-cap clock 1200 MHz", 0, WT_E_RANGE},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_policy *policy = parse(rows[i].text);
        struct wt_policy_ask ask = {.id = UUID, .knob = WT_KNOB_CLOCK, .value = rows[i].khz};
        int64_t hold_ns;
        assert_int_equal(wt_policy_judge(policy, &who, &ask, &hold_ns, NULL), rows[i].want);
        wt_policy_free(policy);
    }
}

static void bounds_are_the_widest_of_all_rules(void **state)
{
    (void)state;
    static const struct wt_policy_who who = {.uid = 1, .gid = 1}, other = {.uid = 2, .gid = 2};
    struct wt_policy *policy = parse("allow uid 1 on all set power from 120 W to 150 W for 1 h\n"
                                     "allow uid 1 on all set power from 100 W to 260 W for 2 h\n"
                                     "site-cap power 240 W\n");
    struct wt_policy_ask ask = {.id = UUID, .knob = WT_KNOB_POWER};
    struct wt_policy_bounds b;
    assert_int_equal(wt_policy_bounds(policy, &who, &ask, &b, NULL), 0);
    assert_int_equal(b.floor, 100000);
    assert_int_equal(b.ceiling, 240000);
    assert_int_equal(b.hold_ns, 2 * 3600 * WT_NS_PER_S);
    assert_int_equal(wt_policy_bounds(policy, &other, &ask, &b, NULL), WT_E_DENIED);
    wt_policy_free(policy);
}

static void limits_and_names_nobody_has(void **state)
{
    (void)state;
    struct wt_policy *policy = parse("limit connections 5\nlimit claims 6\nlimit rate 7\n"
                                     "allow user bob on all set power\n"
                                     "allow user alice on all set power\n"
                                     "allow group crew on all set power\n");
    struct wt_policy_limits l = wt_policy_limits(policy);
    assert_int_equal(l.connections, 5);
    assert_int_equal(l.claims, 6);
    assert_int_equal(l.rate, 7);
    struct wt_error err;
    assert_int_equal(wt_policy_fail_claims(policy, 1000, &err), WT_E_BUSY);
    assert_string_equal(err.text, "user 1000 holds 6 claims, and no more are allowed by p:2");
    assert_int_equal(wt_policy_rules(policy), 3);
    unsigned line = 0;
    assert_string_equal(wt_policy_unknown(policy, 0, &line), "bob");
    assert_int_equal(line, 4);
    assert_string_equal(wt_policy_unknown(policy, 1, &line), "crew");
    assert_int_equal(line, 6);
    assert_null(wt_policy_unknown(policy, 2, &line));
    static const char ids[][96] = {UUID};
    assert_null(wt_policy_no_device(policy, 0, ids, 1, &line));
    wt_policy_free(policy);
    policy = parse("site-cap power 200 W\nsite-cap power 150 W on GPU-elsewhere\n"
                   "allow everyone on " UUID " set power\n");
    assert_int_equal(wt_policy_caps(policy), 2);
    assert_string_equal(wt_policy_no_device(policy, 0, ids, 1, &line), "GPU-elsewhere");
    assert_int_equal(line, 2);
    assert_null(wt_policy_no_device(policy, 1, ids, 1, &line));
    wt_policy_free(policy);
}

static void a_file_must_be_roots_alone(void **state)
{
    (void)state;
    char dir[] = "/tmp/wattune-test-policy-XXXXXX", path[64], link_path[64];
    struct wt_policy *policy = NULL;
    struct wt_error err = {0};
    assert_non_null(mkdtemp(dir));
    wt_text(path, sizeof(path), "%s/policy.conf", dir);
    wt_text(link_path, sizeof(link_path), "%s/link", dir);
    assert_int_equal(wt_policy_load(&policy, path, &err), 0); /* none: root alone */
    assert_int_equal(wt_policy_rules(policy), 0);
    wt_policy_free(policy);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    static const char text[] = "allow user root on all set power\nallow everyone\n";
    assert_int_equal(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    close(fd);
    assert_int_equal(wt_policy_load(&policy, path, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, ":2: expected on"));
    assert_int_equal(truncate(path, 33), 0);
    assert_int_equal(wt_policy_load(&policy, path, &err), 0);
    assert_int_equal(wt_policy_rules(policy), 1);
    wt_policy_free(policy);
    assert_int_equal(chmod(path, 0664), 0);
    assert_int_equal(wt_policy_load(&policy, path, &err), WT_E_DENIED);
    assert_int_equal(chmod(path, 0646), 0);
    assert_int_equal(wt_policy_load(&policy, path, &err), WT_E_DENIED);
    assert_int_equal(wt_policy_load(&policy, dir, &err), WT_E_FORMAT);
    if (geteuid() == 0) {
        assert_int_equal(chmod(path, 0644), 0);
        assert_int_equal(chown(path, 65534, 65534), 0);
        assert_int_equal(wt_policy_load(&policy, path, &err), WT_E_DENIED);
    }
    wt_fs_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named_with_line_and_what_was_expected),
        cmocka_unit_test(who_may_what),
        cmocka_unit_test(the_longest_rule_that_allows_it_counts),
        cmocka_unit_test(a_refusal_says_which_rule_and_how_far),
        cmocka_unit_test(an_unlocked_clock_is_above_every_bound),
        cmocka_unit_test(bounds_are_the_widest_of_all_rules),
        cmocka_unit_test(limits_and_names_nobody_has),
        cmocka_unit_test(a_file_must_be_roots_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
