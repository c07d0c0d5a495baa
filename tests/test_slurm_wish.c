/* What the SPANK plugin reads: options, arguments, Slurm's lists, tables; and the files it writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "facts.h"
#include "hold.h"
#include "wish.h"

static char root[64];

static int setup(void **state)
{
    (void)state;
    wt_text(root, sizeof(root), "/tmp/wattune-test-slurm-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    wt_fs_remove_tree(root, NULL);
    return 0;
}

static const char *put(const char *name, const char *text)
{
    static char path[128];
    wt_text(path, sizeof(path), "%s/%s", root, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0644), 0);
    return path;
}

static void options_are_a_number_or_a_word(void **state)
{
    (void)state;
    static const struct {
        int (*parse)(const char *text, struct wt_slurm_wish *io, struct wt_error *err);
        const char *text;
        int rc;
        enum wt_slurm_power power;
        int64_t value;
    } rows[] = {
        {wt_slurm_parse_cap, "150", 0, WT_SLURM_WATTS, 150000},
        {wt_slurm_parse_cap, "150W", 0, WT_SLURM_WATTS, 150000},
        {wt_slurm_parse_cap, "100000w", 0, WT_SLURM_WATTS, 100000000},
        {wt_slurm_parse_cap, "auto", 0, WT_SLURM_AUTO, 0},
        {wt_slurm_parse_cap, "off", 0, WT_SLURM_OFF, 0},
        {wt_slurm_parse_cap, "yes", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "100001", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "99999999999999999999", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "0", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, NULL, WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "-150", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "150 W", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_cap, "150.5", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_gpupower, "yes", 0, WT_SLURM_YES, 0},
        {wt_slurm_parse_gpupower, "no", 0, WT_SLURM_OFF, 0},
        {wt_slurm_parse_gpupower, "200", 0, WT_SLURM_WATTS, 200000},
        {wt_slurm_parse_gpupower, "auto", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_clock, "1200", 0, 0, 1200000},
        {wt_slurm_parse_clock, "1200MHz", 0, 0, 1200000},
        {wt_slurm_parse_clock, "20001", WT_E_USAGE, 0, 0},
        {wt_slurm_parse_clock, "fast", WT_E_USAGE, 0, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_slurm_wish w = {.power = WT_SLURM_UNSAID};
        struct wt_error err = {0};
        int rc = rows[i].parse(rows[i].text, &w, &err);
        int64_t value = rows[i].parse == wt_slurm_parse_clock ? w.clock_khz : w.cap_mw;
        if (rc != rows[i].rc || w.power != rows[i].power || value != rows[i].value ||
            (rc < 0) != (*err.text != '\0'))
            fail_msg("%s: %d, %d, %lld: %s", rows[i].text ? rows[i].text : "NULL", rc, w.power,
                     (long long)value, err.text);
    }
}

static void arguments_name_files_by_node(void **state)
{
    (void)state;
    struct wt_slurm_config c;
    struct wt_error err = {0};
    char *none[] = {NULL};
    assert_int_equal(wt_slurm_parse_config(0, none, "n1", &c, &err), 0);
    assert_string_equal(c.run, "/run/wattune");
    assert_string_equal(c.socket, "/run/wattune/wattuned.sock");
    assert_string_equal(c.autos, "/etc/wattune/slurm-auto.conf");
    assert_int_equal(c.timeout_ns, 2 * WT_NS_PER_S);

    char run[] = "run=/srv/%n/x", map[] = "map=/etc/map-%n%n", cap[] = "default-cap=200W",
         timeout[] = "timeout=500";
    char *good[] = {run, map, cap, timeout};
    assert_int_equal(wt_slurm_parse_config(4, good, "n1", &c, &err), 0);
    assert_string_equal(c.run, "/srv/n1/x");
    assert_string_equal(c.socket, "/srv/n1/x/wattuned.sock");
    assert_string_equal(c.map, "/etc/map-n1n1");
    assert_int_equal(c.default_mw, 200000);
    assert_int_equal(c.timeout_ns, 500 * WT_NS_PER_MS);

    static const char *const bad[] = {"socket",
                                      "socket=relative",
                                      "default-cap=all",
                                      "timeout=0",
                                      "timeout=20001",
                                      "run=",
                                      "capdefault=10",
                                      "=",
                                      ""};
    for (size_t i = 0; i < WT_COUNTOF(bad); i++) {
        char text[64];
        wt_text(text, sizeof(text), "%s", bad[i]);
        char *args[] = {text, cap};
        if (wt_slurm_parse_config(2, args, "n1", &c, &err) != WT_E_USAGE)
            fail_msg("%s is taken", bad[i]);
        assert_int_equal(c.default_mw, 200000); /* the others hold all the same */
        assert_string_equal(c.socket, "/run/wattune/wattuned.sock");
    }
    /* A node's name is a name: a user may have had a word in it. */
    char *args[] = {run};
    const char *const nodes[] = {"../n1", "", ".", NULL};
    for (size_t i = 0; i < WT_COUNTOF(nodes); i++) {
        assert_int_equal(wt_slurm_parse_config(1, args, nodes[i], &c, &err), WT_E_USAGE);
        assert_string_equal(c.run, "/run/wattune");
    }
}

static void slurms_lists_are_numbers_and_hosts(void **state)
{
    (void)state;
    uint32_t gpus[WT_SLURM_GPUS];
    size_t count;
    static const struct {
        const char *text;
        size_t count;
        uint32_t last;
    } good[] = {{"0", 1, 0},  {"0,3", 2, 3},        {"0-2,7", 4, 7}, {"", 0, 0},
                {NULL, 0, 0}, {"NoDevFiles", 0, 0}, {"0-63", 64, 63}};
    for (size_t i = 0; i < WT_COUNTOF(good); i++) {
        assert_int_equal(wt_slurm_parse_gpus(good[i].text, gpus, &count, NULL), 0);
        assert_int_equal(count, good[i].count);
        if (count)
            assert_int_equal(gpus[count - 1], good[i].last);
    }
    static const char *const bad[] = {"a",   "0,",    ",0",    "0 1",  "-1",
                                      "3-1", "0-64",  "0-",    "0--1", "99999999999999999999",
                                      "0;1", "65536", "MIG-1", "1-2-3"};
    for (size_t i = 0; i < WT_COUNTOF(bad); i++)
        if (wt_slurm_parse_gpus(bad[i], gpus, &count, NULL) != WT_E_FORMAT || count)
            fail_msg("%s is taken", bad[i]);

    static const struct {
        const char *text;
        uint32_t want;
    } hosts[] = {
        {"n1", 1},  {"n[1-3]", 3}, {"n[1-3,7],m2", 5},  {"r[0-1]n[0-9]", 20},
        {"", 0},    {NULL, 0},     {"n[1", 0},          {"n[3-1]", 0},
        {"n[]", 0}, {"a,b,c", 3},  {"n[001-010]x", 10}, {"n[1-999999][1-999999][1-999999]", 0}};
    for (size_t i = 0; i < WT_COUNTOF(hosts); i++)
        if (wt_slurm_count_hosts(hosts[i].text) != hosts[i].want)
            fail_msg("%s: %u", hosts[i].text, wt_slurm_count_hosts(hosts[i].text));
}

static void a_text_is_a_line_of_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {{"bert", "bert"},
                {"a\nend_ns=1", "a?end_ns=1"},
                {"\x1b[2J", "?[2J"},
                {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
                {"\xff\xc3", "??"},
                {"\xc3(", "?("},
                {"\xed\xa0\x80", "???"},
                {"\xc0\xaf", "??"},
                {"\xc2\x85", "??"},
                {"\x7f", "?"}};
    char buf[64];
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        assert_string_equal(wt_slurm_clean(buf, sizeof(buf), rows[i].text), rows[i].want);
    assert_string_equal(wt_slurm_clean(buf, 4, "ab\xc3\xa4"), "ab"); /* no half of a character */
}

static void tables_are_roots_and_say_which_line_is_wrong(void **state)
{
    (void)state;
    char id[96];
    int64_t mw = 0;
    struct wt_error err;
    const char *path = put("map", "# number, device\n\n 0\tGPU-a \n1 GPU-b\n");
    assert_int_equal(wt_slurm_map_find(path, 0, id, sizeof(id), &err), 0);
    assert_string_equal(id, "GPU-a");
    assert_int_equal(wt_slurm_map_find(path, 2, id, sizeof(id), &err), WT_E_NOTFOUND);
    path = put("auto", "150 Tesla V100*\n300W *H100*\n");
    assert_int_equal(wt_slurm_auto_find(path, "NVIDIA H100 80GB HBM3", &mw, &err), 0);
    assert_int_equal(mw, 300000);
    assert_int_equal(wt_slurm_auto_find(path, "NVIDIA A40", &mw, &err), WT_E_NOTFOUND);
    path = put("auto", "150 Tesla V100*\nmuch *H100*\n");
    assert_int_equal(wt_slurm_auto_find(path, "NVIDIA H100", &mw, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "auto:2: "));
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(wt_slurm_auto_find(path, "Tesla V100", &mw, &err), WT_E_DENIED);
    assert_int_equal(wt_slurm_auto_find(root, "Tesla V100", &mw, &err), WT_E_DENIED);
    assert_int_equal(wt_slurm_auto_find("/nowhere/auto", "Tesla V100", &mw, &err), WT_E_NOTFOUND);
}

static void what_tune_noted_for_the_user_is_passed_on(void **state)
{
    (void)state;
    char list[96], folder[300];
    int64_t mw = 0;
    struct wt_error err;
    wt_text(folder, sizeof(folder), "%s/wattune", root);
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(setenv("XDG_DATA_HOME", root, 1), 0);
    assert_int_equal(wt_slurm_auto_own(list, sizeof(list), &err), WT_E_NOTFOUND);
    put("wattune/slurm-auto", "# mine\n150 Tesla V100-PCIE-32GB\nmuch NVIDIA A40\n"
                              "140 EMULATED Tesla V100-PCIE-32GB\n300 a;b\n\n"
                              "310 NVIDIA H100 80GB HBM3 with a name too long for what is left\n"
                              "1 x\n");
    assert_int_equal(wt_slurm_auto_own(list, sizeof(list), &err), 0);
    assert_string_equal(list, "150 Tesla V100-PCIE-32GB;140 EMULATED Tesla V100-PCIE-32GB;1 x");
    assert_int_equal(wt_slurm_auto_pick(list, "Tesla V100-PCIE-32GB", &mw), 0);
    assert_int_equal(mw, 150000);
    assert_int_equal(wt_slurm_auto_pick(list, "EMULATED Tesla V100-PCIE-32GB", &mw), 0);
    assert_int_equal(mw, 140000);
    assert_int_equal(wt_slurm_auto_pick(list, "x", &mw), 0);
    static const char *const none[] = {"Tesla V100", "Tesla V100-PCIE-32GB;", "", "V100-PCIE-32GB"};
    for (size_t i = 0; i < WT_COUNTOF(none); i++)
        assert_int_equal(wt_slurm_auto_pick(list, none[i], &mw), WT_E_NOTFOUND);
    /* His srun may send anything. */
    static const char *const lists[] = {
        "", ";", ";;", " x", "1", "1 ", "-1 x", "nan x", "99999999999999999999 x"};
    for (size_t i = 0; i < WT_COUNTOF(lists); i++)
        assert_int_equal(wt_slurm_auto_pick(lists[i], "x", &mw), WT_E_NOTFOUND);
}

static void facts_are_whole_and_end_once(void **state)
{
    (void)state;
    struct wt_slurm_facts f = {.len = 0}, read;
    struct wt_error err;
    char dir[96], value[600];
    struct wt_slurm_running jobs[4];
    wt_text(dir, sizeof(dir), "%s/run/slurm", root);
    wt_slurm_facts_add(&f, "job", "%u", 7u);
    wt_slurm_facts_add(&f, "node", "n1");
    wt_slurm_facts_add(&f, "begin_ns", "5");
    wt_slurm_facts_add(&f, "name", "%s", "a\nend_ns=1");
    wt_slurm_facts_add(&f, "account", "%s", "");
    for (size_t i = 0; i < 100; i++) /* what does not fit is left out, and the end still fits */
        wt_slurm_facts_add(&f, "note", "%0500zu", i);
    assert_true(f.len < WT_SLURM_FACTS_MAX);
    assert_int_equal(wt_slurm_facts_write(dir, "7", &f, &err), 0);
    assert_int_equal(wt_slurm_facts_running(dir, jobs, 4), 1);
    assert_int_equal(jobs[0].job, 7);
    assert_string_equal(jobs[0].begin_ns, "5");
    assert_string_equal(jobs[0].node, "n1");
    assert_true(wt_slurm_facts_runs(dir, &jobs[0]));
    struct wt_slurm_running before = {7, "4", "n1"};
    assert_false(wt_slurm_facts_runs(dir, &before)); /* its number has come again */
    assert_int_equal(wt_slurm_facts_end(dir, "7", 123, &err), 0);
    assert_int_equal(wt_slurm_facts_end(dir, "7", 456, &err), 0);
    assert_int_equal(wt_slurm_facts_running(dir, jobs, 4), 0);
    assert_int_equal(wt_slurm_facts_read(dir, "7", &read, &err), 0);
    assert_true(wt_slurm_facts_get(&read, "end_ns", 0, value, sizeof(value)));
    assert_string_equal(value, "123");
    assert_false(wt_slurm_facts_get(&read, "end_ns", 1, value, sizeof(value)));
    assert_false(wt_slurm_facts_get(&read, "account", 0, value, sizeof(value)));
    assert_true(wt_slurm_facts_get(&read, "note", 6, value, sizeof(value)));
    assert_true(wt_slurm_facts_first(dir, 7));
    assert_false(wt_slurm_facts_first(dir, 7));
    wt_slurm_facts_prune(dir, 7);
    assert_true(wt_slurm_facts_first(dir, 7));

    assert_int_equal(wt_slurm_facts_read(dir, "8", &read, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_slurm_facts_end(dir, "8", 1, &err), WT_E_NOTFOUND);
    char long_one[WT_SLURM_FACTS_MAX + 100];
    memset(long_one, 'x', sizeof(long_one));
    long_one[sizeof(long_one) - 1] = '\0';
    put("run/slurm/9", long_one);
    assert_int_equal(wt_slurm_facts_read(dir, "9", &read, &err), WT_E_FORMAT);
    assert_int_equal(chmod(dir, 01777), 0); /* then anybody's file would be a fact */
    assert_int_equal(wt_slurm_facts_write(dir, "10", &f, &err), WT_E_DENIED);
    assert_int_equal(wt_slurm_facts_read(dir, "7", &read, &err), WT_E_DENIED);
}

static void say_nothing(const char *text)
{
    (void)text;
}

/* Nobody listens: facts are there, the job goes on, and the user can be told. */
static void without_a_daemon_the_facts_say_why(void **state)
{
    (void)state;
    struct wt_slurm_facts f;
    char value[400];
    struct wt_slurm_hold h = {
        .log = say_nothing,
        .now_ns = 5,
        .job = {.job = 7, .uid = 1000, .nodes = 1, .gpus = "0,1"},
        .wish = {.power = WT_SLURM_WATTS, .cap_mw = 150000, .is_required = true}};
    wt_text(h.config.socket, sizeof(h.config.socket), "%s/nobody", root);
    h.config.timeout_ns = 100 * WT_NS_PER_MS;
    wt_text(h.dir, sizeof(h.dir), "%s/slurm", root);
    wt_slurm_hold_begin(&h);
    assert_int_equal(wt_slurm_facts_read(h.dir, "7", &f, NULL), 0);
    assert_false(wt_slurm_facts_get(&f, "cap_set_mw", 0, value, sizeof(value)));
    assert_true(wt_slurm_facts_get(&f, "cap_mw", 0, value, sizeof(value)));
    assert_true(wt_slurm_facts_get(&f, "refused", 0, value, sizeof(value)));
    assert_true(wt_slurm_facts_get(&f, "note", 0, value, sizeof(value)));
    assert_non_null(strstr(value, "no wattuned runs on this node"));
    h.now_ns = 6;
    wt_slurm_hold_end(&h);
    assert_int_equal(wt_slurm_facts_read(h.dir, "7", &f, NULL), 0);
    assert_true(wt_slurm_facts_get(&f, "end_ns", 0, value, sizeof(value)));
    assert_string_equal(value, "6");
}

int main(void)
{
#define SLURM_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        SLURM_TEST(options_are_a_number_or_a_word),
        SLURM_TEST(arguments_name_files_by_node),
        SLURM_TEST(slurms_lists_are_numbers_and_hosts),
        SLURM_TEST(a_text_is_a_line_of_utf8),
        SLURM_TEST(tables_are_roots_and_say_which_line_is_wrong),
        SLURM_TEST(what_tune_noted_for_the_user_is_passed_on),
        SLURM_TEST(facts_are_whole_and_end_once),
        SLURM_TEST(without_a_daemon_the_facts_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
