/* `wattune submit` and `wattune segment` with stand-ins of sbatch and scontrol, which write down
 * what they are given. tests/slurm has a real Slurm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;
static char log_path[128], script[128], cut_grid[160];

/* A program on the PATH. */
static void stand_in(const char *name, const char *text)
{
    char path[128];
    spawn_file(path, sizeof(path), name, text);
    assert_int_equal(chmod(path, 0755), 0);
}

static const char *moment(char *buf, size_t size, int64_t t_s)
{
    time_t t = (time_t)t_s;
    struct tm utc;
    strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    return buf;
}

static int each_setup(void **state)
{
    static char programs[3000]; /* the PATH that the test was started with */
    char path[4096], text[600], t[6][32];
    spawn_setup(state);
    if (!*programs)
        snprintf(programs, sizeof(programs), "%s", getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", home, programs);
    setenv("PATH", path, 1);
    spawn_path(log_path, sizeof(log_path), "log");
    setenv("LOG", log_path, 1);
    setenv("TZ", "UTC", 1);
    /* Each argument in brackets; the script that is handed over is kept. */
    stand_in("sbatch",
             "#!/bin/sh\nprintf 'sbatch' >>\"$LOG\"\nfor a; do printf ' [%s]' \"$a\" >>\"$LOG\"\n"
             "case $a in */train.sh) cp \"$a\" \"$LOG.script\";; esac; done\n"
             "echo >>\"$LOG\"\necho Submitted batch job 7\n"
             "[ ! -e \"$LOG.fail\" ] || { echo sbatch: error: no such partition >&2; exit 3; }\n");
    stand_in("scontrol", "#!/bin/sh\necho \"scontrol $*\" >>\"$LOG\"\n"
                         "if [ -e \"$LOG.refuse-$1\" ]; then rm \"$LOG.refuse-$1\"; exit 1; fi\n");
    spawn_file(script, sizeof(script), "train.sh",
               "#!/bin/sh -u\n#SBATCH -n 4\necho \"runs $*\"\n");
    /* Cheap, dear, cheap, dear: from tomorrow on. */
    int64_t start_s = ((int64_t)time(NULL) / 86400 + 1) * 86400;
    for (int i = 0; i < 6; i++)
        moment(t[i], sizeof(t[i]), start_s + (i ? (i - 1) * 3600 : -864000));
    snprintf(text, sizeof(text),
             "time,gco2_per_kwh\n%s,900\n%s,100\n%s,800\n%s,100\n%s,800\n%s,800\n", t[0], t[1],
             t[2], t[3], t[4], t[5]);
    spawn_file(path, sizeof(path), "grid.csv", text);
    snprintf(cut_grid, sizeof(cut_grid), "carbon=%s/grid.csv", home);
    return 0;
}

static void mark(const char *suffix)
{
    char path[160];
    snprintf(path, sizeof(path), "%s%s", log_path, suffix);
    fclose(fopen(path, "we"));
}

static void one_piece_is_one_sbatch_with_its_begin(void **state)
{
    (void)state;
    struct spawned s;
    char want[512], t[32];
    spawn_run(&s, home, "wattune", "submit", "--signal", cut_grid, "--power", "1kW", "--duration",
              "1h", "--deadline", "2d", "--", "--partition", "gpu", script, "a b", "--begin=now");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_string_equal(s.out, "Submitted batch job 7\n"); /* sbatch's, and nothing else */
    assert_non_null(strstr(s.err, "less CO2e"));
    spawn_done(&s);
    moment(t, sizeof(t), ((int64_t)time(NULL) / 86400 + 1) * 86400);
    t[19] = '\0';
    snprintf(want, sizeof(want),
             "sbatch [--begin=%s] [--partition] [gpu] [%s] [a b] [--begin=now]\n", t,
             script); /* the script's own option is none of sbatch's */
    char *log = spawn_read("log");
    assert_string_equal(log, want);
    free(log);
}

static void a_predicted_job_is_submitted_too(void **state)
{
    (void)state;
    struct spawned s;
    char line[600];
    snprintf(line, sizeof(line),
             "\"$WATTUNE_COMMAND\" predict train bert-base --gpu a40 --tokens 10M --json | "
             "\"$WATTUNE_COMMAND\" submit --prediction - --signal %s --deadline 2d --dry-run -- %s",
             cut_grid, script);
    spawn_run(&s, home, "sh", "-c", line);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "sbatch --begin="));
    assert_non_null(strstr(s.err, "PREDICTED bert-base on a40"));
    spawn_done(&s);
}

static void local_time_is_right_on_both_days_of_the_change(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *start, *begin;
    } rows[] = {
        {"UTC", "2037-07-01T12:00Z", "2037-07-01T12:00:00"},
        {"Europe/Berlin", "2037-07-01T12:00Z", "2037-07-01T14:00:00"},
        {"Europe/Berlin", "2037-01-01T12:00Z", "2037-01-01T13:00:00"},
        {"Europe/Berlin", "2037-03-29T00:59:59Z", "2037-03-29T01:59:59"},
        {"Europe/Berlin", "2037-03-29T01:00Z", "2037-03-29T03:00:00"},
        /* The clock shows 2:30 twice; the one that mktime does not take is told in seconds. */
        {"Europe/Berlin", "2037-10-25T00:30Z", "uts2140043400"},
        {"Europe/Berlin", "2037-10-25T01:30Z", "2037-10-25T02:30:00"},
        {"Europe/Berlin", "2037-10-25T02:00Z", "2037-10-25T03:00:00"},
        {"America/New_York", "2037-11-01T12:00Z", "2037-11-01T07:00:00"},
        {"Asia/Kolkata", "2037-11-01T12:00Z", "2037-11-01T17:30:00"},
    };
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) != 0)
        skip();
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        char want[64];
        setenv("TZ", rows[i].zone, 1);
        spawn_run(&s, home, "wattune", "submit", "--signal", "carbon=3", "--power", "1kW",
                  "--duration", "1h", "--start", rows[i].start, "--deadline", "1d", "--dry-run",
                  "--", "train.sh");
        assert_int_equal(spawn_code(&s), 0);
        snprintf(want, sizeof(want), "sbatch --begin=%s train.sh\n", rows[i].begin);
        if (strcmp(s.out, want) != 0)
            fail_msg("%s %s: %s", rows[i].zone, rows[i].start, s.out);
        spawn_done(&s);
    }
    setenv("TZ", "UTC", 1);
}

#define PIECES(s, ...)                                                                             \
    spawn_run((s), home, "wattune", "submit", "--signal", cut_grid, "--power", "1kW",              \
              "--duration", "2h", "--deadline", "3d", "--interruptible", ##__VA_ARGS__)

static void at_once_is_said_too(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "submit", "--signal", "carbon=3", "--power", "1kW", "--duration",
              "1h", "--deadline", "1d", "--dry-run", "--", "a b.sh", "it's", "");
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.out, "sbatch --begin=now 'a b.sh' 'it'\\''s' ''\n");
    spawn_done(&s);
}

static void several_pieces_go_with_the_script(void **state)
{
    (void)state;
    struct spawned s;
    char want[512], t[4][32], path[4096];
    int64_t start_s = ((int64_t)time(NULL) / 86400 + 1) * 86400;
    for (int i = 0; i < 4; i++)
        moment(t[i], sizeof(t[i]), start_s + i * 3600);
    PIECES(&s, "--", script, "x");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    spawn_done(&s);
    char *log = spawn_read("log"), *kept = spawn_read("log.script");
    t[0][19] = '\0';
    snprintf(want, sizeof(want), "sbatch [--begin=%s] [--requeue] [--open-mode=append] [/", t[0]);
    assert_memory_equal(log, want, strlen(want));
    assert_non_null(strstr(log, "/train.sh] [x]\n"));
    assert_null(strstr(log, script)); /* a copy; gone when sbatch has it */
    char *from = strstr(log, "append] [") + 9;
    *strchr(from, ']') = '\0';
    assert_int_equal(access(from, F_OK), -1);
    ssize_t n = readlink(getenv("WATTUNE_COMMAND"), path, sizeof(path) - 1);
    snprintf(path, sizeof(path), "%s", n < 0 ? getenv("WATTUNE_COMMAND") : realpath(path, NULL));
    t[0][19] = 'Z';
    char head[4600];
    snprintf(head, sizeof(head),
             "#!%s segment\n#WATTUNE interpreter /bin/sh -u\n#WATTUNE checkpoint 60 USR1\n"
             "#WATTUNE piece %s %s\n#WATTUNE piece %s %s\n#SBATCH -n 4\necho \"runs $*\"\n",
             path, t[0], t[1], t[2], t[3]);
    assert_string_equal(kept, head);
    free(log);
    free(kept);
    /* The lead is the checkpoint's cost where that is longer, or what is said. */
    PIECES(&s, "--checkpoint-cost", "5min", "--checkpoint-signal", "TERM", "--dry-run", "--",
           script);
    assert_non_null(strstr(s.out, "#WATTUNE checkpoint 300 TERM\n"));
    assert_non_null(strstr(s.out, "#WATTUNE piece "));
    spawn_done(&s);
    PIECES(&s, "--checkpoint-lead", "90s", "--min-segment", "5min", "--objective", "carbon",
           "--dry-run", "--", script);
    assert_non_null(strstr(s.out, "#WATTUNE checkpoint 90 USR1\n"));
    spawn_done(&s);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    struct spawned s;
    static const struct {
        const char *args[8];
        int code;
        const char *says;
    } rows[] = {
        {{"--signal", "carbon=3"}, 2, "which script"},
        {{"--signal", "carbon=3", "--checkpoint-signal", "KILL", "--", "x"}, 2, "is not USR1"},
        {{"--signal", "carbon=3", "--checkpoint-lead", "soon", "--", "x"}, 2, "no duration"},
        {{"--signal", "carbon=3", "--", "-b", "now", "x"}, 2, "the start is the plan's"},
        {{"--signal", "carbon=3", "--", "--begin=now", "x"}, 2, "the start is the plan's"},
        {{"--signal", "carbon=3", "--start", "2020-01-01", "--", "x"}, 2, "for the past"},
        {{"--signal", "carbon@A=3", "--signal", "carbon@B=4", "--", "x"}, 2, "several regions"},
        {{"--run", "19990101", "--signal", "carbon=3", "--", "x"}, 4, "19990101"},
        {{"--signal", "carbon=3", "--save-signal", "pue=x", "--", "x"}, 2, "no such --signal"},
        {{"--feed-timeout", "0s", "--", "x"}, 2, "a second at least"},
        {{"--feed-max-age", "old", "--", "x"}, 2, "--feed-max-age old"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "wattune", "submit", "--power", "1W", "--duration", "1h", "--deadline",
                  "1d", a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    PIECES(&s, "--checkpoint-lead", "1h", "--dry-run", "--", script); /* no time to run in */
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "piece 1 of 2 takes 3600 s, and the script would be told 3600"));
    spawn_done(&s);
    PIECES(&s, "--", "--no-requeue", script);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "is requeued"));
    spawn_done(&s);
    PIECES(&s, "--", "--wrap", "python3 train.py");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "a script that begins with #!"));
    spawn_done(&s);
    mark(".fail"); /* sbatch's own words and code */
    PIECES(&s, "--", script);
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "sbatch: error: no such partition"));
    spawn_done(&s);
    setenv("PATH", "/nowhere", 1);
    PIECES(&s, "--", script);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "slurm-client"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "submit", "--help");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "segment", "--help");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

/* ---- inside the job ---- */

/* A script as submit writes it, with pieces of so many seconds from now. */
static void piece_script(char *path, size_t size, const int64_t pieces[4], int lead_s,
                         const char *body)
{
    char text[1200], t[4][32];
    int64_t now_s = (int64_t)time(NULL);
    for (int i = 0; i < 4; i++)
        moment(t[i], sizeof(t[i]), now_s + pieces[i]);
    snprintf(text, sizeof(text),
             "#!wattune segment\n#WATTUNE interpreter /bin/sh -u\n#WATTUNE checkpoint %d USR1\n"
             "#WATTUNE piece %s %s\n#WATTUNE piece %s %s\n%s",
             lead_s, t[0], t[1], t[2], t[3], body);
    spawn_file(path, size, "slurm_script", text);
}

static void a_piece_without_time_to_run_is_no_piece(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    setenv("SLURM_JOB_ID", "4711", 1);
    piece_script(path, sizeof(path), (int64_t[]){-5, 5, 500, 600}, 10, "echo ran\n");
    spawn_run(&s, home, "wattune", "segment", path);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "piece 1 is over before its script is to be told"));
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

static const char *const keeps = /* until it is told, and a little */
    "trap 'echo kept; exit 9' USR1\necho \"begins $*\"\n"
    "while :; do sleep 0.1; done\n";

static void a_piece_ends_with_a_signal_and_a_requeue(void **state)
{
    (void)state;
    struct spawned s;
    char path[128], want[200], t[32];
    setenv("SLURM_JOB_ID", "4711", 1);
    mark(".refuse-update"); /* as Slurm may, while the job still ends */
    piece_script(path, sizeof(path), (int64_t[]){-5, 13, 500, 600}, 10, keeps);
    moment(t, sizeof(t), (int64_t)time(NULL) + 500);
    const char *const argv[] = {"wattune", "segment", path, "a", NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "kept"));
    char *log = NULL; /* requeued, and Slurm ends it */
    for (int i = 0; i < 6000 && (!log || !strstr(log, "update JobId=4711 StartTime=") ||
                                 strstr(log, "update") == strrchr(log, 'u'));
         i++) {
        struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
        free(log);
        log = spawn_read("log");
    }
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "begins a\nkept\n"));
    assert_non_null(strstr(s.err, "requeued; goes on at"));
    free(log);
    log = spawn_read("log");
    t[19] = '\0';
    snprintf(want, sizeof(want),
             "scontrol requeue 4711\nscontrol update JobId=4711 StartTime=%.17s", t);
    assert_memory_equal(log, want, strlen(want) - 2); /* a second may have passed */
    free(log);
    spawn_done(&s);
}

static void the_last_piece_has_no_end_and_its_code_is_the_scripts(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    setenv("SLURM_JOB_ID", "4711", 1);
    /* Late: all pieces are over. */
    piece_script(path, sizeof(path), (int64_t[]){-500, -400, -300, -200}, 3,
                 "echo \"late $*\"; exit 5\n");
    spawn_run(&s, home, "wattune", "segment", path, "a b");
    assert_int_equal(spawn_code(&s), 5);
    assert_string_equal(s.out, "late a b\n");
    spawn_done(&s);
    /* Work that ends before its piece does is done. */
    piece_script(path, sizeof(path), (int64_t[]){-5, 300, 500, 600}, 3, "echo done\n");
    spawn_run(&s, home, "wattune", "segment", path);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    char *log = spawn_read("log");
    assert_string_equal(log, ""); /* nothing is asked of Slurm */
    free(log);
}

static void between_pieces_the_job_goes_back_to_the_queue(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    setenv("SLURM_JOB_ID", "4711", 1);
    piece_script(path, sizeof(path), (int64_t[]){-500, 2, 500, 600}, 3, "echo runs\n");
    const char *const argv[] = {"wattune", "segment", path, NULL};
    spawn_start(&s, home, argv);
    char *log = NULL;
    for (int i = 0; i < 6000 && (!log || !strstr(log, "StartTime=")); i++) {
        struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
        free(log);
        log = spawn_read("log");
    }
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_string_equal(s.out, "");
    assert_non_null(strstr(log, "scontrol requeue 4711\n"));
    free(log);
    spawn_done(&s);
}

static void a_job_that_cannot_be_requeued_or_is_cancelled_says_so(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    setenv("SLURM_JOB_ID", "4711", 1);
    mark(".refuse-requeue");
    piece_script(path, sizeof(path), (int64_t[]){-5, 13, 500, 600}, 10,
                 "trap 'exit 0' USR1\nwhile :; do sleep 0.1; done\n");
    spawn_run(&s, home, "wattune", "segment", path);
    assert_int_equal(spawn_code(&s), 1); /* its work is not done */
    assert_non_null(strstr(s.err, "could not be requeued"));
    spawn_done(&s);
    /* scancel: the script gets it, and that is the end. */
    piece_script(path, sizeof(path), (int64_t[]){-5, 300, 500, 600}, 3,
                 "trap 'echo ends; exit 3' TERM\necho begins\nwhile :; do sleep 0.1; done\n");
    const char *const argv[] = {"wattune", "segment", path, NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "begins"));
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 3);
    spawn_done(&s);
    char *log = spawn_read("log");
    assert_string_equal(log, "scontrol requeue 4711\n");
    free(log);
}

static void a_segment_is_of_a_script_of_ours_in_a_job(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"#!/bin/sh\necho a\n", "has not the lines"},
        {"#!w segment\n#WATTUNE interpreter /bin/sh\n#WATTUNE checkpoint 60 USR1\n",
         "has not the lines"},
        {"#!w segment\n#WATTUNE interpreter sh\n", ":2: no line of"},
        {"#!w segment\n#WATTUNE checkpoint 60 KILL\n", ":2: no line of"},
        {"#!w segment\n#WATTUNE checkpoint -1 USR1\n", ":2: no line of"},
        {"#!w segment\n#WATTUNE piece 2030-01-01T00:00:00Z 2029-01-01T00:00:00Z\n", ":2: no line"},
        {"#!w segment\n#WATTUNE piece 2030-01-01T00:00:00Z 2030-01-02T00:00:00Z\n"
         "#WATTUNE piece 2030-01-01T12:00:00Z 2030-01-03T00:00:00Z\n",
         ":3: no line of"},
    };
    struct spawned s;
    char path[128];
    setenv("SLURM_JOB_ID", "4711", 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_file(path, sizeof(path), "slurm_script", rows[i].text);
        spawn_run(&s, home, "wattune", "segment", path);
        if (spawn_code(&s) != 2 || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    spawn_run(&s, home, "wattune", "segment", "/nowhere/slurm_script");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "wattune: segment: /nowhere/slurm_script: No such file"));
    spawn_done(&s);
    piece_script(path, sizeof(path), (int64_t[]){-5, 300, 500, 600}, 3, "echo a\n");
    unsetenv("SLURM_JOB_ID");
    spawn_run(&s, home, "wattune", "segment", path);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "SLURM_JOB_ID"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "segment");
    assert_int_equal(spawn_code(&s), 2);
    spawn_done(&s);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, each_setup, spawn_teardown)
    const struct CMUnitTest tests[] = {
        EACH(one_piece_is_one_sbatch_with_its_begin),
        EACH(a_predicted_job_is_submitted_too),
        EACH(local_time_is_right_on_both_days_of_the_change),
        EACH(at_once_is_said_too),
        EACH(several_pieces_go_with_the_script),
        EACH(mistakes_are_told),
        EACH(a_piece_ends_with_a_signal_and_a_requeue),
        EACH(a_piece_without_time_to_run_is_no_piece),
        EACH(the_last_piece_has_no_end_and_its_code_is_the_scripts),
        EACH(between_pieces_the_job_goes_back_to_the_queue),
        EACH(a_job_that_cannot_be_requeued_or_is_cancelled_says_so),
        EACH(a_segment_is_of_a_script_of_ours_in_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
