/* `wattune budget` with a stand-in of scontrol that writes down what it is given and answers from
 * files. tests/slurm/test_budget.py has a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "spawned.h"
#include "wattune/plan.h"

static const char *const home = spawn_folder;
static char log_path[128];

static int each_setup(void **state)
{
    static char programs[3000]; /* the PATH that the test was started with */
    char path[4096];
    spawn_setup(state);
    if (!*programs)
        snprintf(programs, sizeof(programs), "%s", getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", home, programs);
    setenv("PATH", path, 1);
    setenv("TZ", "UTC", 1);
    spawn_path(log_path, sizeof(log_path), "log");
    setenv("LOG", log_path, 1);
    spawn_file(path, sizeof(path), "scontrol",
               "#!/bin/sh\n"
               "case \"$1 $2\" in\n"
               "'show licenses') cat \"$LOG.licences\"; exit;;\n"
               "'show reservation') cat \"$LOG.reservations\"; exit;;\n"
               "esac\n"
               "printf 'scontrol' >>\"$LOG\"\nfor a; do printf ' [%s]' \"$a\" >>\"$LOG\"; done\n"
               "echo >>\"$LOG\"\n"
               "if [ -e \"$LOG.refuse-$1\" ]; then cat \"$LOG.refuse-$1\"; rm \"$LOG.refuse-$1\"; "
               "exit 1; fi\n");
    assert_int_equal(chmod(path, 0755), 0);
    spawn_file(path, sizeof(path), "log", "");
    spawn_file(path, sizeof(path), "log.licences",
               "LicenseName=other Total=5 Used=0 Free=5 Reserved=0 Remote=no\n"
               "LicenseName=watt Total=1000 Used=700 Free=300 Reserved=0 Remote=no\n");
    spawn_file(path, sizeof(path), "log.reservations", "No reservations in the system\n");
    return 0;
}

static const char *logged(void)
{
    static char text[8192];
    FILE *in = fopen(log_path, "re");
    assert_non_null(in);
    text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
    fclose(in);
    return text;
}

static void reservation_at(const char *name, long from, long to, const char *licences)
{
    char path[128], text[400];
    snprintf(text, sizeof(text),
             "ReservationName=%s StartTime=%ld EndTime=%ld Duration=1 Nodes=(null) Users=root "
             "Licenses=%s State=ACTIVE Watts=n/a\n",
             name, from, to, licences);
    spawn_file(path, sizeof(path), "log.reservations", text);
}

static void reservation(const char *name, long from, long to, const char *licences)
{
    long now = (long)time(NULL);
    reservation_at(name, now + from, now + to, licences);
}

#define BUDGET(s, ...) spawn_run((s), home, "wattune", "budget", __VA_ARGS__)

static void a_level_is_a_reservation_of_what_is_above_it(void **state)
{
    (void)state;
    struct spawned s;
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400", "--horizon", "1h", "--step",
           "30min");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(logged(),
                           "scontrol [create] [reservation] "
                           "[reservationname=wattune-watt-400] [starttime=now] [endtime="));
    assert_non_null(strstr(logged(), "[licenses=watt:400] [flags=license_only] [users=root]\n"));
    assert_non_null(strstr(s.out, "600 W  carbon 450"));
    assert_non_null(strstr(s.out, "created wattune-watt-400"));
    assert_non_null(strstr(s.err, "jobs that run have 700 W, 100 W more than the budget"));
    spawn_done(&s);
}

static void a_total_below_the_licences_is_set_aside_always(void **state)
{
    (void)state;
    struct spawned s;
    BUDGET(&s, "--signal", "price=0.1", "--level", "0.4kW:price>0.2", "--total", "0.8kW",
           "--reservation-user", "ada");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(logged(), "[reservationname=wattune-watt-200]"));
    assert_non_null(strstr(logged(), "[users=ada]\n"));
    assert_null(strstr(logged(), "wattune-watt-600"));
    spawn_done(&s);
}

/* Where steps of an hour end, with a horizon of a minute. */
static long end_of_hours(void)
{
    return ((long)time(NULL) + 60 + 3599) / 3600 * 3600;
}

static void what_is_as_it_should_be_is_left(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    long end = 0;
    while (end != end_of_hours()) { /* again, where one began in between */
        if (end)
            spawn_done(&s);
        spawn_file(path, sizeof(path), "log", "");
        end = end_of_hours();
        reservation_at("wattune-watt-400", (long)time(NULL) - 60, end, "watt:400");
        BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400", "--horizon", "1min",
               "--step", "60min");
    }
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(logged(), "");
    assert_non_null(strstr(s.out, "nothing to change"));
    spawn_done(&s);
    /* Other licences, put right; an end, moved. */
    reservation_at("wattune-watt-400", (long)time(NULL) - 60, end + 600, "watt:5");
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400", "--horizon", "1min", "--step",
           "60min");
    assert_non_null(strstr(logged(), "scontrol [update] [reservation=wattune-watt-400] [endtime="));
    assert_non_null(strstr(logged(), "[licenses=watt:400]\n"));
    spawn_done(&s);
}

static void what_is_ours_and_not_wanted_is_given_back_and_nothing_else(void **state)
{
    (void)state;
    static const char *const others[] = {"wattune-watt-x", "wattune-watts-400",
                                         "wattune-watt-",  "wattune-watt-0400",
                                         "maintenance",    "wattune-watt-400-b"};
    struct spawned s;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        reservation(others[i], -60, 600, "watt:400");
        BUDGET(&s, "--remove");
        assert_int_equal(spawn_code(&s), 0);
        assert_string_equal(logged(), "");
        spawn_done(&s);
    }
    reservation("wattune-watt-400", -60, 600, "watt:400");
    BUDGET(&s, "--remove", "--dry-run");
    assert_string_equal(logged(), "");
    assert_string_equal(s.out, "scontrol delete reservation=wattune-watt-400\n");
    spawn_done(&s);
    BUDGET(&s, "--remove", "--json");
    assert_string_equal(logged(), "scontrol [delete] [reservation=wattune-watt-400]\n");
    json_t *doc = spawn_json(&s); /* there is no budget: its total is not 0 */
    assert_true(json_is_null(json_object_get(doc, "total_w")));
    assert_int_equal(json_array_size(json_object_get(doc, "steps")), 0);
    json_decref(doc);
    spawn_done(&s);
}

/* Slurm keeps its name for a while. */
static void one_that_is_over_is_not_made_anew_before_it_is_due(void **state)
{
    (void)state;
    struct spawned s;
    char path[128], rows[400], from[32];
    int64_t hour_s = (int64_t)time(NULL) / 3600 * 3600;
    int n = snprintf(rows, sizeof(rows), "time,gco2_per_kwh\n");
    for (int i = 0; i < 4; i++) /* it is to begin two hours from this one on */
        n += snprintf(rows + n, sizeof(rows) - (size_t)n, "%s,%d\n",
                      wt_moment_text(from, sizeof(from), hour_s + 3600 * i), i == 2 ? 500 : 300);
    spawn_file(path, sizeof(path), "grid.csv", rows);
    char signal[160];
    snprintf(signal, sizeof(signal), "carbon=%s", path);
    for (int is_over = 0; is_over < 2; is_over++) {
        spawn_file(rows, sizeof(rows), "log", "");
        reservation(is_over ? "wattune-watt-400" : "wattune-watt-x", -600, -60, "watt:400");
        BUDGET(&s, "--signal", signal, "--level", "60%:carbon>400", "--horizon", "3h");
        assert_int_equal(spawn_code(&s), 0);
        assert_int_equal(strstr(logged(), "[create]") != NULL, !is_over);
        spawn_done(&s);
    }
    reservation("wattune-watt-400", -600, -60, "watt:400"); /* due: tried */
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400");
    assert_non_null(strstr(logged(), "[create]"));
    spawn_done(&s);
}

static void what_slurm_refuses_is_tried_again_after_the_deletions_and_then_said(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    reservation("wattune-watt-900", -60, 600, "watt:900");
    spawn_file(path, sizeof(path), "log.refuse-create", "Invalid license specification\n");
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400");
    assert_int_equal(spawn_code(&s), 0);
    const char *first = strstr(logged(), "[create]"), *gone = strstr(logged(), "[delete]");
    assert_true(first && gone && first < gone && strstr(gone, "[create]"));
    spawn_done(&s);

    char forever[200];
    snprintf(forever, sizeof(forever),
             "#!/bin/sh\n[ \"$1\" = show ] && exec cat \"$LOG.$( [ $2 = "
             "licenses ] && echo licences || echo reservations)\"\n"
             "echo Access denied; exit 1\n");
    spawn_file(path, sizeof(path), "scontrol", forever);
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "Access denied"));
    assert_null(strstr(s.out, "created"));
    spawn_done(&s);
}

static void the_document_has_steps_and_commands(void **state)
{
    (void)state;
    struct spawned s;
    BUDGET(&s, "--json", "--dry-run", "--signal", "carbon=600", "--follow", "carbon=300", "--floor",
           "20%", "--when-unknown", "50%", "--feed-max-age", "1h", "--feed-timeout", "5s");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_integer_value(json_object_get(doc, "total_w")), 1000);
    assert_int_equal(json_integer_value(json_object_get(doc, "used_w")), 700);
    const json_t *step = json_array_get(json_object_get(doc, "steps"), 0);
    assert_int_equal(json_integer_value(json_object_get(step, "watts")), 500);
    const json_t *commands = json_object_get(doc, "commands");
    assert_int_equal(json_array_size(commands), 10); /* 500 W in steps of 5 % */
    assert_true(json_is_false(json_object_get(json_array_get(commands, 0), "is_done")));
    assert_string_equal(logged(), "");
    json_decref(doc);
    spawn_done(&s);
}

static void without_slurm_a_dry_run_says_so_and_goes_on(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    spawn_file(path, sizeof(path), "scontrol", "#!/bin/sh\necho no controller; exit 1\n");
    BUDGET(&s, "--dry-run", "--total", "2kW", "--signal", "carbon=450", "--level",
           "60%:carbon>400");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "no controller"));
    assert_non_null(strstr(s.out, "licenses=watt:800"));
    spawn_done(&s);
    BUDGET(&s, "--signal", "carbon=450", "--level", "60%:carbon>400");
    assert_int_equal(spawn_code(&s), 1);
    spawn_done(&s);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *other, *want;
        int code;
    } rows[] = {
        {"--level", "60%:carbon", "--json", "--level \"60%:carbon\"", 2},
        {"--level", "2kW:carbon>4", "--json", "more than the total of 1000 W", 2},
        {"--level", "60%:price>4", "--json", "no --signal price=", 2},
        {"--follow", "carbon", "--json", "--follow carbon", 2},
        {"--follow", "carbon=0", "--json", "--follow carbon=0", 2},
        {"--total", "5kW", "--level=60%:carbon>4", "slurm.conf has licences for 1000 W", 2},
        {"--total", "much", "--level=60%:carbon>4", "--total much", 2},
        {"--floor", "10%", "--level=60%:carbon>4", "--floor goes with --follow", 2},
        {"--floor", "x", "--follow=carbon=3", "--floor \"x\"", 2},
        {"--when-unknown", "110%", "--level=60%:carbon>4", "--when-unknown \"110%\"", 2},
        {"--horizon", "90s", "--level=60%:carbon>4", "whole minutes", 2},
        {"--step", "0s", "--level=60%:carbon>4", "whole minutes", 2},
        {"--licence", "volt", "--level=60%:carbon>4", "Licenses=volt:WATTS", 4},
        {"--licence", "a b", "--level=60%:carbon>4", "no name of a licence", 2},
        {"--reservation-user", "a,b", "--level=60%:carbon>4", "no user's name", 2},
        {"--signal", "price@DE=1", "--level=60%:carbon>4", "without @REGION", 2},
        {"--remove", "--json", "--level=60%:carbon>4", "--remove gives all back", 2},
        {"--json", "--dry-run", "--json", "by what", 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        BUDGET(&s, "--signal", "carbon=450", rows[i].option, rows[i].value, rows[i].other);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("%s %s: %d, %s", rows[i].option, rows[i].value, spawn_code(&s), s.err);
        assert_string_equal(logged(), "");
        spawn_done(&s);
    }
}

static void help_is_on_stdout(void **state)
{
    (void)state;
    struct spawned s;
    BUDGET(&s, "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune budget"));
    spawn_done(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, each_setup, spawn_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_level_is_a_reservation_of_what_is_above_it),
        TEST(a_total_below_the_licences_is_set_aside_always),
        TEST(what_is_as_it_should_be_is_left),
        TEST(what_is_ours_and_not_wanted_is_given_back_and_nothing_else),
        TEST(one_that_is_over_is_not_made_anew_before_it_is_due),
        TEST(what_slurm_refuses_is_tried_again_after_the_deletions_and_then_said),
        TEST(the_document_has_steps_and_commands),
        TEST(without_slurm_a_dry_run_says_so_and_goes_on),
        TEST(mistakes_are_named),
        TEST(help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
