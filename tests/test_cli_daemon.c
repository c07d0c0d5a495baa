/* wattuned and wattune together, as an administrator and an ordinary user have them: the user sets
 * what the policy lets him on devices that refuse him. Needs root, to be that user. This program is
 * its own way to another user: test_cli_daemon as UID CMD... */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon_rig.h"
#include "spawned.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALICE_TEXT "51234"
#define BOB_TEXT   "51235"

static const char *const home = spawn_folder;
static char self[4096], command[4096];

static int setup(void **state)
{
    char path[700];
    static const char *const files[] = {"devices", "loads"};
    spawn_setup(state);
    chmod(home, 0777);
    rig_open(&rig, "v100-pcie-32gb:2");
    rig_policy(&rig, "allow uid " ALICE_TEXT " on all set power from 100 W to 220 W\n");
    /* Opened to others, the emulation is a machine on which they may set nothing. */
    assert_int_equal(chmod(wt_emulation_dir(rig.emulation), 0755), 0);
    for (size_t i = 0; i < WT_COUNTOF(files); i++) {
        wt_text(path, sizeof(path), "%s/%s", wt_emulation_dir(rig.emulation), files[i]);
        assert_int_equal(chmod(path, 0666), 0);
    }
    setenv("WATTUNE_SOCKET", rig.socket, 1);
    rig_start(&rig);
    return 0;
}

static int teardown(void **state)
{
    rig_close(&rig);
    unsetenv("WATTUNE_SOCKET");
    return spawn_teardown(state);
}

static const char *wattuned(void)
{
    return getenv("WATTUNED_COMMAND");
}

/* Whether another user can get at what was built; a checkout in root's home hides it. */
static void need_reach(void)
{
    struct spawned s;
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "--version");
    int code = spawn_code(&s);
    spawn_done(&s);
    if (code != 0)
        skip();
}

/* ---- the administrator's ---- */

static void it_says_what_it_is(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, wattuned(), "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattuned"));
    spawn_done(&s);
    spawn_run(&s, home, wattuned(), "--version");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(strncmp(s.out, "wattuned 0.", 11), 0);
    spawn_done(&s);
    static const char *const wrong[][2] = {{"--verbose", NULL},
                                           {"serve", NULL},
                                           {"--device-timeout=0", NULL},
                                           {"--device-timeout=soon", NULL}};
    for (size_t i = 0; i < WT_COUNTOF(wrong); i++) {
        spawn_run(&s, home, wattuned(), wrong[i][0]);
        assert_int_equal(spawn_code(&s), 2);
        spawn_done(&s);
    }
}

static void a_policy_can_be_tried(void **state)
{
    (void)state;
    struct spawned s;
    char path[400];
    wt_text(path, sizeof(path), "%s/p", home);
    rig_write(path, "site-cap power 200 W\nallow user nobody-of-that-name on all set power\n");
    chmod(path, 0644);
    spawn_run(&s, home, wattuned(), "--check-policy", path);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, ":2: there is no \"nobody-of-that-name\" here"));
    assert_non_null(strstr(s.out, "good, 1 rule, 1 site-cap\n"));
    spawn_done(&s);
    rig_write(path, "site-cap power 200 W\nallow everyone on all set powr\n");
    spawn_run(&s, home, wattuned(), "--check-policy", path);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, ":2: expected all, or names of knobs"));
    assert_non_null(strstr(s.err, "found \"powr\""));
    spawn_done(&s);
    spawn_run(&s, home, wattuned(), "--check-policy", "/nonexistent/policy");
    assert_int_equal(spawn_code(&s), 4);
    spawn_done(&s);
    spawn_run(&s, home, wattuned(), "--policy", path, "--socket", "/nonexistent/socket");
    assert_int_equal(spawn_code(&s), 2); /* nor does it start with a bad one */
    spawn_done(&s);
}

static void status_says_what_is_held_for_whom(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, wattuned(), "--status");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "device 1: GPU-"));
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "nothing is held"));
    spawn_done(&s);
    struct rig_client c = rig_client(&rig, 51234);
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.device = 1;
    m.u.claim.knob = WT_KNOB_POWER;
    m.u.claim.value = 150000;
    m.u.claim.hold_ns = 1000 * WT_NS_PER_S;
    assert_int_equal(rig_ask(&c, &m).rc, 0);
    spawn_run(&s, home, wattuned(), "--status", "--socket", rig.socket);
    assert_non_null(strstr(s.out, "device 1: power 150 W (found 250 W, last seen there 150 W) for "
                                  "process"));
    assert_non_null(strstr(s.out, "of user " ALICE_TEXT ", for another"));
    spawn_done(&s);
    rig_end(&c);
    rig_stop(&rig, SIGTERM);
    spawn_run(&s, home, wattuned(), "--status");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "nobody listens there"));
    spawn_done(&s);
}

static void it_can_bring_its_own_emulated_gpus(void **state)
{
    (void)state;
    struct spawned s;
    char socket[400], policy[400];
    wt_text(socket, sizeof(socket), "%s/socket", home);
    wt_text(policy, sizeof(policy), "%s/none", home);
    const char *const argv[] = {wattuned(), "--emulate", "v100-pcie-32gb:2", "--socket",  socket,
                                "--policy", policy,      "--audit",          "/dev/null", NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "export WATTUNE_NVML='"));
    assert_true(spawn_expect(&s, "export LD_LIBRARY_PATH='"));
    struct wt_client *client = NULL;
    for (int n = 0; n < 2000 && wt_client_open(&client, socket, NULL) < 0; n++)
        usleep(5000);
    assert_non_null(client);
    assert_int_equal(wt_client_devices(client), 2);
    assert_true(wt_client_is_emulated(client));
    wt_client_close(client);
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

static void its_journal_lies_where_it_is_told(void **state)
{
    (void)state;
    struct spawned s;
    char dir[400], socket[400], lock[500], root[400];
    wt_text(dir, sizeof(dir), "%s/state", home);
    wt_text(root, sizeof(root), "%s/root", home);
    wt_text(socket, sizeof(socket), "%s/socket", home);
    wt_text(lock, sizeof(lock), "%s/wattuned.lock", dir);
    assert_int_equal(wt_fs_mkdirs(root, 0755, NULL), 0);
    const char *const argv[] = {wattuned(),  "--state-dir", dir,       "--socket",  socket,
                                "--sysroot", root,          "--audit", "/dev/null", NULL};
    spawn_start(&s, home, argv);
    for (int n = 0; n < 2000 && access(lock, F_OK) < 0; n++)
        usleep(5000);
    assert_int_equal(access(lock, F_OK), 0);
    for (int n = 0; n < 2000 && access(socket, F_OK) < 0; n++)
        usleep(5000);
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

/* ---- the user's ---- */

static void an_ordinary_user_sets_what_the_policy_lets_him(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "power=150", "--", "sh", "-c",
              "exit 5");
    if (spawn_code(&s) != 5)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.err, "found 250 W, requested 150 W, enforced 150 W"));
    spawn_done(&s);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    assert_true(rig_has(rig.audit, "\"uid\":" ALICE_TEXT));
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "power=230", "--", "true");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "policy.conf:1 allows it from 100 W to 220 W, not 230 W"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", BOB_TEXT, command, "set", "power=150", "--", "true");
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "no rule of"));
    assert_non_null(strstr(s.err, "try: ask the administrator"));
    spawn_done(&s);
    /* Without the daemon the device itself refuses him. */
    spawn_run(&s, home, self, "as", ALICE_TEXT, "/usr/bin/env", "WATTUNE_SOCKET=none", command,
              "set", "power=150", "--", "true");
    assert_int_equal(spawn_code(&s), 3);
    spawn_done(&s);
    assert_int_equal(rig_limit(&rig, 0), 250000);
}

static void a_run_goes_through_it_too(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "run", "--set", "power=150", "--", "sleep",
              "0.1");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_null(strstr(s.err, "was in force"));
    spawn_done(&s);
    assert_int_equal(rig_limit(&rig, 1), 250000);
    assert_true(rig_has(rig.audit, "\"requested\":150.0"));
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "last", "--json");
    json_t *doc = spawn_json(&s), *sets = json_object_get(doc, "settings");
    json_t *set = json_array_get(json_object_get(sets, "power"), 0);
    assert_true(json_is_null(json_object_get(set, "lost")));
    assert_true(json_is_null(json_object_get(set, "held_s")));
    json_decref(doc);
    spawn_done(&s);
}

/* The daemon with a policy that gives the user a second. */
static void give(const char *time)
{
    char text[128];
    rig_stop(&rig, SIGTERM);
    wt_text(text, sizeof(text),
            "allow uid " ALICE_TEXT " on all set power from 100 W to 250 W for %s\n", time);
    rig_policy(&rig, text);
    rig_start(&rig);
}

static void give_a_second(void)
{
    give("1 s");
}

static json_t *setting_of(json_t *run)
{
    return json_array_get(json_object_get(json_object_get(run, "settings"), "power"), 0);
}

static void a_run_tells_that_the_policy_ended_its_setting(void **state)
{
    (void)state;
    struct spawned s;
    char path[256], id[64];
    need_reach();
    give_a_second();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "run", "--set", "power=150", "--json",
              "--", "sleep", "1.5");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.err, "note      power 150 W on GPU 0 was in force for the first "));
    json_t *doc = spawn_json(&s), *set = setting_of(doc);
    static const char lost[] = "wattuned ended it, its policy gives ";
    assert_int_equal(strncmp(json_string_value(json_object_get(set, "lost")), lost, strlen(lost)),
                     0);
    double held_s = json_number_value(json_object_get(set, "held_s"));
    assert_true(held_s > 0 && held_s < json_number_value(json_object_get(doc, "wall_s")));
    wt_text(id, sizeof(id), "%s", json_string_value(json_object_get(doc, "id")));
    json_decref(doc);
    spawn_done(&s);
    /* The stored run says so as well. */
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "last");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "on GPU 1 was in force for the first "));
    spawn_done(&s);
    spawn_path(path, sizeof(path), "page.html");
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "report", "last", "-o", path);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    char *page = spawn_read("page.html");
    assert_non_null(strstr(page, "only: wattuned ended it, its policy gives "));
    free(page);
    /* Nor is it one side of a comparison. */
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "run", "--set", "power=150", "--", "sleep",
              "0.1");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "report", id, "last");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "had its power for a part of the time only (wattuned ended it"));
    spawn_done(&s);
}

static void a_run_tells_what_else_ended_its_setting(void **state)
{
    (void)state;
    static const char *const want[] = {"wattuned was stopped", "something else made it 200 W"};
    need_reach();
    for (size_t i = 0; i < WT_COUNTOF(want); i++) {
        struct spawned s;
        char go[256], loop[400];
        spawn_path(go, sizeof(go), i ? "go1" : "go0");
        wt_text(loop, sizeof(loop), "while ! [ -e %s ]; do sleep 0.02; done", go);
        const char *const argv[] = {self,    "as",        ALICE_TEXT, command, "run",
                                    "--set", "power=150", "--json",   "--",    "sh",
                                    "-c",    loop,        NULL};
        spawn_start(&s, home, argv);
        assert_true(rig_becomes(&rig, 0, 150000));
        assert_true(rig_becomes(&rig, 1, 150000));
        if (i)
            rig_set_limit(0, 200000);
        else
            rig_stop(&rig, SIGTERM);
        rig_write(go, "");
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), 0);
        json_t *doc = spawn_json(&s);
        assert_string_equal(json_string_value(json_object_get(setting_of(doc), "lost")), want[i]);
        json_decref(doc);
        assert_non_null(strstr(s.err, "note      power 150 W on GPU 0 was in force for the "));
        spawn_done(&s);
        if (!i)
            rig_start(&rig);
    }
}

static void a_sweep_counts_no_run_whose_setting_was_ended(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    give_a_second();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "sweep", "--set", "power=150,200",
              "--repeats", "1", "--report", "-", "--", "sleep", "1.5");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "so this run does not count: wattuned ended it, its policy "));
    assert_non_null(strstr(s.err, "what was set did not hold in 2 runs: giving up"));
    assert_null(strstr(s.out, "less energy"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "--json", "--sweep", "last");
    json_t *doc = spawn_json(&s), *runs = json_object_get(doc, "runs");
    assert_int_equal(json_array_size(runs), 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(runs, i), "state")),
                            "incomplete");
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "tune", "--set", "power=150,200",
              "--window", "1500ms", "--settle", "100ms", "--progress", "(\\d+)", "--", "sh", "-c",
              "for i in $(seq 120); do echo $i; sleep 0.05; done");
    assert_non_null(strstr(s.err, "a measurement failed: power of "));
    assert_non_null(strstr(s.err, "no longer in force: wattuned ended it"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "last", "--json");
    doc = spawn_json(&s);
    json_t *set = setting_of(doc);
    assert_non_null(strstr(json_string_value(json_object_get(set, "lost")), "wattuned ended it"));
    double held_s = json_number_value(json_object_get(set, "held_s"));
    assert_true(held_s > 0 && held_s < json_number_value(json_object_get(doc, "wall_s")));
    json_decref(doc);
    spawn_done(&s);
}

/* What is lost while the devices settle is set anew for the first run. */
static void a_setting_lost_while_settling_is_in_force_in_the_runs(void **state)
{
    (void)state;
    need_reach();
    give("3 s");                            /* longer than a run by far, and less than it settles */
    for (int seed = 1; seed <= 2; seed++) { /* two orders */
        struct spawned s;
        char text[8];
        wt_text(text, sizeof(text), "%d", seed);
        spawn_run(&s, home, self, "as", ALICE_TEXT, command, "sweep", "--set", "power=150,200",
                  "--repeats", "1", "--seed", text, "--settle", "3300ms", "--report", "-", "--",
                  "sleep", "0.7");
        if (spawn_code(&s) != 0 || !strstr(s.err, "--settle"))
            fail_msg("%s", s.err);
        spawn_done(&s);
        spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "--json", "--sweep", "last");
        json_t *list = spawn_json(&s), *run, *value;
        spawn_done(&s);
        size_t i, k;
        assert_int_equal(json_array_size(json_object_get(list, "runs")), 2);
        json_array_foreach(json_object_get(list, "runs"), i, run)
        {
            double limit = strtod(json_string_value(json_object_get(run, "label")), NULL);
            spawn_run(&s, home, self, "as", ALICE_TEXT, command, "runs", "--json",
                      json_string_value(json_object_get(run, "id")));
            json_t *doc = spawn_json(&s);
            assert_true(json_is_null(json_object_get(setting_of(doc), "lost")));
            json_array_foreach(
                json_object_get(json_array_get(json_object_get(doc, "trace"), 0), "limit_w"), k,
                value) if (!json_is_null(value) && json_number_value(value) != limit)
                fail_msg("%g W in a run at %g W", json_number_value(value), limit);
            json_decref(doc);
            spawn_done(&s);
        }
        json_decref(list);
    }
}

static void set_ends_with_what_it_holds(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    give_a_second();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "power=150");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "wattuned's policy lets it be held for "));
    assert_non_null(strstr(s.err, "power is no longer in force: wattuned ended it, its policy"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "power=150", "--for", "500ms");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.err, "no longer"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "power=150", "--", "sleep", "1.5");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "power is no longer in force: wattuned ended it, its policy"));
    spawn_done(&s);
}

/* Who may not set the devices himself searches within what the policy lets him. */
static void a_sweep_and_a_search_keep_within_the_policy(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "sweep", "--set", "power=150,200",
              "--repeats", "1", "--report", "-", "--no-store", "--", "sleep", "0.2");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "sweep", "--set", "power=150,230",
              "--repeats", "1", "--report", "-", "--no-store", "--", "true");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "100 to 220 W"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "sweep", "--repeats", "1", "--report", "-",
              "--no-store", "--", "sleep", "0.1"); /* power=auto */
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "tune", "--dry-run", "--", "true");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "compared with power=220"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "tune", "--set", "power=150,200",
              "--window", "300ms", "--settle", "100ms", "--progress", "(\\d+)", "--no-store", "--",
              "sh", "-c", "for i in $(seq 80); do echo $i; sleep 0.05; done");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.err, "trying power=200"));
    spawn_done(&s);
    assert_int_equal(rig_limit(&rig, 0), 250000);
    spawn_run(&s, home, self, "as", BOB_TEXT, command, "tune", "--", "true");
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "no rule of"));
    spawn_done(&s);
}

static void a_user_killed_with_all_he_runs_is_put_back(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    const char *const argv[] = {self,        "as", ALICE_TEXT, command, "set",
                                "power=150", "--", "sleep",    "60",    NULL};
    spawn_start(&s, home, argv);
    assert_true(rig_becomes(&rig, 0, 150000));
    assert_true(rig_becomes(&rig, 1, 150000));
    kill(-s.pid, SIGKILL);
    spawn_wait(&s);
    assert_true(rig_becomes(&rig, 0, 250000));
    assert_true(rig_becomes(&rig, 1, 250000));
    spawn_done(&s);
}

static void doctor_says_what_it_lets_one_set(void **state)
{
    (void)state;
    struct spawned s;
    need_reach();
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "doctor");
    assert_non_null(strstr(s.out, "100 to 220 W, settable by wattuned"));
    spawn_done(&s);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "doctor", "--json");
    assert_non_null(strstr(s.out, "\"settable\": 2,")); /* power, and not the clock, of each */
    spawn_done(&s);
    spawn_run(&s, home, self, "as", BOB_TEXT, command, "doctor");
    assert_null(strstr(s.out, "settable by wattuned"));
    assert_non_null(strstr(s.out, "lets user " BOB_TEXT " set it"));
    spawn_done(&s);
}

/* A recorded server's processors: root's files, and a policy that lets the user change them. */
static void a_processors_governor_goes_through_it_too(void **state)
{
    (void)state;
    struct spawned s, d;
    char root[400], socket[400], policy[400], audit[400], file[600];
    need_reach();
    chmod(home, 0777);
    wt_text(root, sizeof(root), "%s/root", home);
    wt_text(socket, sizeof(socket), "%s/socket", home);
    wt_text(policy, sizeof(policy), "%s/policy", home);
    wt_text(audit, sizeof(audit), "%s/audit", home);
    wt_text(file, sizeof(file), "%s/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", root);
    spawn_run(&s, home, "/bin/cp", "-r", WT_MACHINES "/amd-epyc", root);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    rig_write(policy, "allow uid " ALICE_TEXT " on all set governor\n");
    chmod(policy, 0644);
    const char *const argv[] = {wattuned(), "--sysroot", root,      "--socket", socket,
                                "--policy", policy,      "--audit", audit,      NULL};
    spawn_start(&d, home, argv);
    for (int n = 0; n < 2000 && access(socket, F_OK) < 0; n++)
        usleep(5000);
    setenv("WATTUNE_SOCKET", socket, 1);
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "--sysroot", root,
              "governor=powersave", "--", "/bin/cat", file);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_int_equal(strncmp(s.out, "powersave", 9), 0);
    assert_non_null(strstr(s.err, "found schedutil, requested powersave, enforced powersave"));
    spawn_done(&s);
    assert_true(rig_awaits(file, "schedutil"));
    assert_true(rig_awaits(audit, "\"found\":\"schedutil\",\"requested\":\"powersave\""));
    spawn_run(&s, home, self, "as", ALICE_TEXT, command, "set", "--sysroot", root, "cpu-freq=2000",
              "--", "true");
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "no rule of"));
    spawn_done(&s);
    unsetenv("WATTUNE_SOCKET");
    kill(d.pid, SIGTERM);
    spawn_wait(&d);
    assert_int_equal(spawn_code(&d), 0);
    spawn_done(&d);
}

static int become(char **argv)
{
    uint64_t uid;
    if (wt_text_to_u64(argv[0], &uid) < 0 || setgroups(0, NULL) < 0 || setgid((gid_t)uid) < 0 ||
        setuid((uid_t)uid) < 0)
        return 126;
    execv(argv[1], argv + 1);
    return 127;
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "as") == 0)
        return become(argv + 2);
    if (geteuid() != 0) {
        puts("skipped: only root can be other users");
        return 77;
    }
    if (!wattuned() || !getenv("WATTUNE_COMMAND")) {
        fputs("WATTUNED_COMMAND or WATTUNE_COMMAND is not set: run through `make test`\n", stderr);
        return 99;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    wt_text(command, sizeof(command), "%s", getenv("WATTUNE_COMMAND"));
#define RUNS(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(it_says_what_it_is),
        SPAWN_TEST(a_policy_can_be_tried),
        RUNS(status_says_what_is_held_for_whom),
        SPAWN_TEST(it_can_bring_its_own_emulated_gpus),
        SPAWN_TEST(its_journal_lies_where_it_is_told),
        RUNS(an_ordinary_user_sets_what_the_policy_lets_him),
        RUNS(a_run_goes_through_it_too),
        RUNS(a_run_tells_that_the_policy_ended_its_setting),
        RUNS(a_run_tells_what_else_ended_its_setting),
        RUNS(a_sweep_counts_no_run_whose_setting_was_ended),
        RUNS(a_setting_lost_while_settling_is_in_force_in_the_runs),
        RUNS(set_ends_with_what_it_holds),
        RUNS(a_sweep_and_a_search_keep_within_the_policy),
        RUNS(a_user_killed_with_all_he_runs_is_put_back),
        RUNS(doctor_says_what_it_lets_one_set),
        SPAWN_TEST(a_processors_governor_goes_through_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
