/* `wattune sweep --slurm` with stand-ins of sbatch, squeue, sacct and scancel: a task is run where
 * it is submitted, on an emulated GPU, or meets what files beside the log say. tests/slurm has a
 * real Slurm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;
static char log_path[128], report[128], programs[3000];

/* A program on the PATH. */
static void stand_in(const char *name, const char *text)
{
    char path[128];
    spawn_file(path, sizeof(path), name, text);
    assert_int_equal(chmod(path, 0755), 0);
}

static const char sbatch[] =
    "#!/bin/sh\nprintf 'sbatch' >>\"$LOG\"\nfor a; do printf ' [%s]' \"$a\" >>\"$LOG\"; done\n"
    "echo >>\"$LOG\"\n"
    "[ ! -e \"$LOG.fail\" ] || { echo 'sbatch: error: no such partition' >&2; exit 1; }\n"
    "n=$(($(cat \"$LOG.n\" 2>/dev/null || echo 40) + 1))\necho $n >\"$LOG.n\"\n"
    "for a; do case $a in --array=*) list=${a#*=};; --output=*) out=${a#*=};; esac; script=$a; "
    "done\n"
    "echo 'sbatch: a word of the site' >&2\necho \"$n;cluster\"\n"
    "for part in $(echo \"$list\" | tr , ' '); do\n"
    "for t in $(seq ${part%-*} ${part#*-}); do slurm-task $n $t \"$script\" \"${out%/*}\"; done\n"
    "done\n";
/* JOB TASK SCRIPT FOLDER. A file LOG.KIND-TASK is what the task meets, once. */
static const char task[] =
    "#!/bin/sh\nnode=n$((($1 + $2) % 2 + 1))\n"
    "meets() { [ -e \"$LOG.$1-$task\" ] && rm \"$LOG.$1-$task\"; }\n"
    "said() { echo \"${job}_$task|$1|$node\" >>\"$LOG.states\"; }\n"
    "job=$1 task=$2\n"
    "if meets vanish; then exit; fi\n"
    "if meets hold; then echo \"$*\" >>\"$LOG.held\"; said PENDING; exit; fi\n"
    "for word in NODE_FAIL PREEMPTED FAILED TIMEOUT CANCELLED; do\n"
    "if meets $word; then said $word; exit; fi\ndone\n"
    "model=v100-pcie-32gb\n[ ! -e \"$LOG.other-$node\" ] || model=a100-pcie-80gb\n"
    "[ ! -e \"$LOG.restart-$task\" ] || export SLURM_RESTART_COUNT=$(cat \"$LOG.restart-$task\")\n"
    "SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$task SLURMD_NODENAME=$node \\\n"
    "\"$WATTUNE_COMMAND\" emulate $model -- sh \"$3\" >>\"$4/${job}_$task.log\" 2>&1\n"
    "said COMPLETED\n";

static int each_setup(void **state)
{
    char path[4096];
    spawn_setup(state);
    if (!*programs)
        snprintf(programs, sizeof(programs), "%s", getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", home, programs);
    setenv("PATH", path, 1);
    spawn_path(log_path, sizeof(log_path), "log");
    spawn_path(report, sizeof(report), "r.html");
    setenv("LOG", log_path, 1);
    stand_in("sbatch", sbatch);
    stand_in("slurm-task", task);
    stand_in("squeue",
             "#!/bin/sh\necho asked >>\"$LOG.asked\"\n"
             "[ ! -e \"$LOG.hung\" ] || exec sleep 1000\n"
             "if [ -e \"$LOG.deaf\" ]; then rm \"$LOG.deaf\"\n"
             "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; fi\n"
             "cat \"$LOG.states\" 2>/dev/null && exit\n"
             "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n");
    stand_in("sacct", "#!/bin/sh\ncat \"$LOG.sacct\" 2>/dev/null && exit\n"
                      "echo Slurm accounting storage is disabled >&2; exit 1\n");
    stand_in("scancel", "#!/bin/sh\necho \"scancel $*\" >>\"$LOG\"\n");
    return 0;
}

static void mark(const char *suffix, const char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s%s", log_path, suffix);
    FILE *out = fopen(path, "we");
    fputs(text, out);
    fclose(out);
}

static void forget(const char *suffix)
{
    char path[160];
    snprintf(path, sizeof(path), "%s%s", log_path, suffix);
    unlink(path);
}

/* How often a word stands in what was written down. */
static int count_log(const char *word)
{
    char *log = spawn_read("log");
    int count = 0;
    for (const char *p = log; (p = strstr(p, word)) != NULL; p++)
        count++;
    free(log);
    return count;
}

/* The word comes to stand in what was written down. */
static void await_in(const char *suffix, const char *word)
{
    char name[32];
    snprintf(name, sizeof(name), "log%s", suffix);
    for (int i = 0; i < 6000; i++) {
        char *text = spawn_read(name);
        bool is_there = strstr(text, word) != NULL;
        free(text);
        if (is_there)
            return;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    fail_msg("never in %s: %s", name, word);
}

#define SWEEP(s, ...)                                                                              \
    spawn_run((s), home, "wattune", "sweep", "--slurm", "--set", "power=150,250", "--report",      \
              report, ##__VA_ARGS__)

/* Some of whose tasks are held: it goes on until somebody does something. */
static void start_held(struct spawned *s)
{
    const char *const argv[] = {"wattune",  "sweep", "--slurm",   "--set", "power=150,250",
                                "--report", report,  "--repeats", "2",     "--",
                                "sleep",    "0.2",   NULL};
    spawn_start(s, home, argv);
}

static void expect(struct spawned *s, int code, const char *says)
{
    if (spawn_code(s) != code || !strstr(s->err, says))
        fail_msg("code %d, not %d with \"%s\"; says: %s", spawn_code(s), code, says, s->err);
}

/* Its rows have so many repeats each; the document, owned. */
static json_t *whole(const struct spawned *s, int repeats)
{
    json_t *doc = spawn_json(s), *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, i), "repeats")),
                         repeats);
    assert_string_equal(json_string_value(json_object_get(doc, "reference")), "250 W");
    return doc;
}

static bool has_warning(const json_t *doc, const char *part)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(doc, "warnings"), i,
                       one) if (strstr(json_string_value(one), part)) return true;
    return false;
}

static void a_sweep_is_one_array_and_one_report(void **state)
{
    (void)state;
    struct spawned s;
    char csv[128], group[64];
    SWEEP(&s, "--repeats", "2", "--seed", "7", "--sbatch-option=--gres=gpu:1", "--sbatch-option",
          "-pgpu", "--json", "--tag", "t", "--csv", spawn_path(csv, sizeof(csv), "r.csv"), "--",
          "sh", "-c", "sleep 0.3; echo it\\'s $SLURM_ARRAY_TASK_ID");
    expect(&s, 0, "job 41: 4 tasks");
    assert_non_null(strstr(s.err, "a word of the site"));
    assert_non_null(strstr(s.err, "  4/4  "));
    json_t *doc = whole(&s, 2);
    assert_true(has_warning(doc, "on 2 nodes: n"));
    json_decref(doc);
    spawn_done(&s);
    assert_int_equal(access(report, R_OK), 0);
    assert_int_equal(access(csv, R_OK), 0);
    char *log = spawn_read("log");
    assert_int_equal(count_log("sbatch "), 1);
    assert_non_null(strstr(log, "sbatch [--parsable] [--job-name=sweep-"));
    assert_non_null(strstr(log, "[--array=0-3] [--output="));
    assert_non_null(strstr(log, "[--requeue] [--gres=gpu:1] [-pgpu] ["));
    assert_non_null(strstr(log, "/wattune/slurm/sweep-"));
    assert_non_null(strstr(log, "/job.sh]\n"));
    free(log);
    /* They are runs as any: in the store, each with its setting and its node. */
    spawn_run(&s, home, "wattune", "runs", "--tag", "t", "--json");
    doc = spawn_json(&s);
    json_t *runs = json_object_get(doc, "runs"), *run = json_array_get(runs, 0);
    assert_int_equal(json_array_size(runs), 4);
    assert_true(json_is_object(json_object_get(run, "plan")));
    snprintf(group, sizeof(group), "%s", json_string_value(json_object_get(run, "group")));
    assert_memory_equal(json_string_value(json_object_get(run, "host")), "n", 1);
    assert_int_equal(json_object_size(json_object_get(run, "settings")), 1);
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "report", group, "-o", report);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

/* Nobody answers, and who waits is not made to. */
static void a_controller_that_hangs_does_not_hold_up_an_end(void **state)
{
    (void)state;
    struct spawned s;
    mark(".hold-0", "");
    mark(".hold-1", "");
    mark(".hold-2", "");
    mark(".hold-3", "");
    mark(".hung", "");
    start_held(&s);
    await_in(".asked", "asked");
    kill(s.pid, SIGINT);
    spawn_wait(&s);
    expect(&s, 130, "the jobs go on; `scancel 41` ends them");
    assert_null(strstr(s.err, "does not answer"));
    spawn_done(&s);
}

static void what_is_lost_is_submitted_again_and_no_more(void **state)
{
    (void)state;
    struct spawned s;
    mark(".NODE_FAIL-1", "");
    mark(".PREEMPTED-2", "");
    mark(".vanish-3", ""); /* Slurm's memory is short */
    mark(".deaf", "");
    SWEEP(&s, "--repeats", "2", "--json", "--", "sleep", "0.2");
    expect(&s, 0, "(NODE_FAIL): it is submitted again");
    assert_non_null(strstr(s.err, "(PREEMPTED): it is submitted again"));
    assert_non_null(strstr(s.err, "(Slurm does not know it any more): it is submitted again"));
    assert_non_null(strstr(s.err, "squeue does not answer, and is asked again"));
    json_decref(whole(&s, 2));
    spawn_done(&s);
    /* Together where they were found lost together. */
    int at_once = count_log("[--array=1-3]");
    assert_int_equal(count_log("[--array=1-2]") + count_log("[--array=3]"), at_once ? 0 : 2);
    assert_int_equal(count_log("sbatch "), at_once ? 2 : 3);
    /* As often as was said. */
    mark(".NODE_FAIL-0", "");
    SWEEP(&s, "--repeats", "1", "--resubmit", "0", "--", "sleep", "0.2");
    expect(&s, 1, "(NODE_FAIL), and is not submitted again");
    assert_non_null(strstr(s.err, "go on with it: wattune sweep --resume sweep-"));
    spawn_done(&s);
    /* Slurm begins one again by itself, and the task counts. */
    mark(".restart-0", "3");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 1, "was lost 3 times, and is not begun again");
    spawn_done(&s);
    mark(".restart-0", "1");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 0, "was lost, and Slurm has begun it again");
    spawn_done(&s);
}

static void what_fails_by_itself_is_not_submitted_again(void **state)
{
    (void)state;
    struct spawned s;
    SWEEP(&s, "--repeats", "2", "--", "sh", "-c", "echo no luck on $SLURMD_NODENAME; exit 9");
    expect(&s, 1, "the command exited with 9 on n");
    assert_non_null(strstr(s.err, "  | no luck on n"));
    assert_non_null(strstr(s.err, "two runs failed: giving up"));
    spawn_done(&s);
    assert_int_equal(count_log("sbatch "), 1);
    /* A time limit that was too short would be so again. */
    mark(".TIMEOUT-0", "");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 1, "run 1 ended as TIMEOUT on n");
    spawn_done(&s);
    /* The folder is not there, or this program is not. */
    mark(".FAILED-0", "");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 1, "left no word in /");
    assert_non_null(strstr(s.err, "a file system that the nodes share"));
    spawn_done(&s);
    /* What was not begun is cancelled. */
    mark(".CANCELLED-0", "");
    mark(".FAILED-1", "");
    mark(".hold-2", "");
    mark(".hold-3", "");
    start_held(&s);
    await_in("", "scancel");
    forget(".states");
    spawn_wait(&s);
    expect(&s, 1, "two runs failed: giving up");
    spawn_done(&s);
    assert_int_equal(count_log("scancel --state=PENDING"), 1);
    /* A setting that the card does not take is told by the node. */
    spawn_run(&s, home, "wattune", "sweep", "--slurm", "--set", "power=20,250", "--repeats", "1",
              "--report", "-", "--", "sleep", "0.2");
    expect(&s, 1, "could not be made on n");
    assert_non_null(strstr(s.err, "  | wattune sweep: "));
    spawn_done(&s);
}

static void jobs_go_on_and_are_collected_by_resume(void **state)
{
    (void)state;
    struct spawned s;
    char name[16];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), ".hold-%d", i);
        mark(name, "");
    }
    start_held(&s);
    await_in(".asked", "asked"); /* all are submitted, and it waits */
    /* Two do not collect one sweep. */
    struct spawned other;
    SWEEP(&other, "--resume", "last", "--repeats", "2", "--", "sleep", "0.2");
    expect(&other, 1, "another wattune collects this sweep");
    spawn_done(&other);
    kill(s.pid, SIGINT);
    spawn_wait(&s);
    expect(&s, 130, "the jobs go on; `scancel 41` ends them");
    assert_non_null(strstr(s.err, "go on with it: wattune sweep --resume sweep-"));
    spawn_done(&s);
    /* What cannot be the same sweep. */
    SWEEP(&s, "--resume", "last", "--repeats", "2", "--", "sleep", "0.3");
    expect(&s, 1, "--resume sweep-");
    spawn_done(&s);
    SWEEP(&s, "--resume", "last", "--repeats", "2", "--seed", "3", "--", "sleep", "0.2");
    expect(&s, 1, "its order is that of --seed");
    spawn_done(&s);
    /* Three are made while nobody waits, and one is lost. */
    mark(".NODE_FAIL-3", "");
    forget(".states");
    assert_int_equal(system("while read -r line; do slurm-task $line; done <\"$LOG.held\""), 0);
    SWEEP(&s, "--resume", "last", "--repeats", "2", "--json", "--", "sleep", "0.2");
    expect(&s, 0, "3 of 4 runs are stored");
    json_decref(whole(&s, 2));
    spawn_done(&s);
    assert_int_equal(count_log("[--array=3]"), 1);
    assert_int_equal(count_log("sbatch "), 2);
    /* More repeats of a sweep that is whole; and by its name. */
    SWEEP(&s, "--resume", "last", "--repeats", "3", "--json", "--", "sleep", "0.2");
    expect(&s, 0, "4 of 6 runs are stored");
    json_decref(whole(&s, 3));
    spawn_done(&s);
    assert_int_equal(count_log("[--array=4-5]"), 1);
}

static void models_are_not_mixed(void **state)
{
    (void)state;
    struct spawned s;
    mark(".other-n2", "");
    SWEEP(&s, "--repeats", "2", "--", "sleep", "0.2");
    expect(&s, 1, "they cannot be compared, and it is left out");
    assert_non_null(strstr(s.err, "--sbatch-option=--constraint="));
    spawn_done(&s);
    forget(".other-n2");
    SWEEP(&s, "--resume", "last", "--repeats", "2", "--json", "--sbatch-option=--constraint=v100",
          "--", "sleep", "0.2");
    if (spawn_code(&s) == 1) { /* the A100 was the first, and its like is wanted */
        spawn_done(&s);
        mark(".other-n1", "");
        mark(".other-n2", "");
        SWEEP(&s, "--resume", "last", "--repeats", "2", "--json", "--", "sleep", "0.2");
    }
    expect(&s, 0, "of 4 runs are stored");
    json_decref(whole(&s, 2));
    spawn_done(&s);
}

static void more_rounds_are_submitted_until_it_is_precise(void **state)
{
    (void)state;
    struct spawned s;
    SWEEP(&s, "--precision", "0.001%", "--repeats-max", "3", "--json", "--", "sleep", "0.2");
    expect(&s, 0, "job 42: 2 tasks");
    json_decref(whole(&s, 3));
    spawn_done(&s);
    assert_int_equal(count_log("[--array=4-5]"), 1);
}

static void a_dry_run_makes_nothing(void **state)
{
    (void)state;
    struct spawned s;
    SWEEP(&s, "--dry-run", "--repeats", "2", "--sbatch-option=--gres=gpu:1", "--slurm-folder",
          "/shared", "--", "sleep", "0.2");
    expect(&s, 0, "");
    assert_non_null(strstr(s.out, "150 W"));
    assert_non_null(strstr(s.out, "sbatch --parsable --job-name=SWEEP --array=0-3 "));
    assert_non_null(strstr(s.out, "/shared/SWEEP/job.sh\n"));
    spawn_done(&s);
    assert_int_equal(count_log("sbatch"), 0);
    char path[128];
    assert_int_equal(access(spawn_path(path, sizeof(path), "wattune"), F_OK), -1);
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
        {{"--slurm", "--", "x"}, 2, "power=auto, the default, with --slurm: the cards' limits"},
        {{"--slurm", "--set", "power=auto", "--", "x"}, 2, "--set power=auto, the default, with"},
        {{"--slurm", "--set", "power=1", "--emulate", "a100-pcie-80gb", "--", "x"}, 2, "--emulate"},
        {{"--slurm", "--set", "power=1", "--settle", "1m", "--", "x"}, 2, "--settle with --slurm"},
        {{"--slurm", "--set", "power=1", "--no-store", "--", "x"}, 2, "--no-store with --slurm"},
        {{"--slurm", "--set", "power=1", "--show-output", "--", "x"}, 2, "--show-output with"},
        {{"--slurm", "--set", "power=1", "--measure-only", "--", "x"}, 2, "--measure-only with"},
        {{"--slurm", "--set", "power=1", "--sysroot", "/x", "--", "x"}, 2, "--sysroot with"},
        {{"--slurm", "--set", "power=1", "--objective", "eta", "--", "x"}, 2, "--objective eta"},
        {{"--slurm", "--set", "power=1", "--resubmit", "x", "--", "x"}, 2, "--resubmit x"},
        {{"--resubmit", "1", "--set", "power=1", "--", "x"}, 2, "--resubmit goes with --slurm"},
        {{"--slurm-folder", "/", "--set", "power=1", "--", "x"}, 2, "--slurm-folder goes with"},
        {{"--sbatch-option=-n4", "--set", "power=1", "--", "x"}, 2, "--sbatch-option goes with"},
        {{"--slurm", "--sbatch-option", "gpu", "--", "x"}, 2, "an option in one word"},
        {{"--slurm", "--sbatch-option=--array=1", "--", "x"}, 2, "the tasks are the sweep's"},
        {{"--slurm", "--sbatch-option=-a1", "--", "x"}, 2, "the tasks are the sweep's"},
        {{"--slurm", "--sbatch-option=-ox", "--", "x"}, 2, "in the sweep's folder"},
        {{"--slurm", "--sbatch-option=--power-cap=9", "--", "x"}, 2, "the same for all tasks"},
        {{"--slurm", "--set", "power=1", "--slurm-folder", "/nowhere", "--", "x"}, 4, "/nowhere: "},
        {{"--slurm", "--set", "power=1", "--resume", "last", "--", "x"}, 4, "no sweep is stored"},
        {{"--slurm", "--set", "power=1", "--resume", "sw", "--", "x"}, 4, "no such sweep by Slurm"},
        {{"--slurm-task", "/x", "--set", "power=1", "--", "x"}, 2, "no task of a job array"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "wattune", "sweep", a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    mark(".fail", "");
    SWEEP(&s, "--", "sleep", "0.2");
    expect(&s, 1, "sbatch: error: no such partition");
    assert_non_null(strstr(s.err, "sbatch did not take the job (exit code 1)"));
    spawn_done(&s);
    /* A task of several nodes, and one whose folder is not there. */
    setenv("SLURM_ARRAY_JOB_ID", "9", 1);
    setenv("SLURM_ARRAY_TASK_ID", "0", 1);
    setenv("SLURM_JOB_NUM_NODES", "2", 1);
    SWEEP(&s, "--slurm-task", "/nowhere/x", "--", "sleep", "0.2");
    expect(&s, 2, "--sbatch-option=--nodes=1");
    spawn_done(&s);
    setenv("SLURM_JOB_NUM_NODES", "1", 1);
    SWEEP(&s, "--slurm-task", "/nowhere/x", "--", "sleep", "0.2");
    expect(&s, 1, "/nowhere/x/0-9-0: No such file or directory on ");
    spawn_done(&s);
    setenv("SLURM_ARRAY_TASK_ID", "77", 1);
    SWEEP(&s, "--slurm-task", "/nowhere/x", "--", "sleep", "0.2");
    expect(&s, 2, "the plan has no run 77");
    spawn_done(&s);
    unsetenv("SLURM_ARRAY_JOB_ID");
    unsetenv("SLURM_ARRAY_TASK_ID");
    unsetenv("SLURM_JOB_NUM_NODES");
    setenv("PATH", "/nowhere", 1);
    SWEEP(&s, "--", "sleep", "0.2");
    expect(&s, 1, "slurm-client");
    spawn_done(&s);
}

/* A script of Slurm's, in place of each_setup's. */
#define ON_PATH(name, ...) stand_in(name, "#!/bin/sh\n" __VA_ARGS__)

static bool has(const struct spawned *s, const char *text)
{
    return strstr(s->err, text) != NULL;
}

static void two_nodes_are_told_where_the_sweep_waits(void **state)
{
    (void)state;
    struct spawned s;
    setenv("SLURM_JOB_NUM_NODES", "2", 1);
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    unsetenv("SLURM_JOB_NUM_NODES");
    expect(&s, 1, "could not be made on n");
    assert_true(has(&s, "  | wattune sweep: --slurm: a run is measured on one node"));
    assert_false(has(&s, "left no word"));
    spawn_done(&s);
}

static void a_folder_that_slurm_reads_otherwise_is_refused(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    assert_int_equal(mkdir(spawn_path(path, sizeof(path), "a%b"), 0700), 0);
    SWEEP(&s, "--slurm-folder", path, "--", "sleep", "0.2");
    expect(&s, 2, "Slurm reads %, \\ and a line's end as something else");
    spawn_done(&s);
}

static void options_of_sbatch_that_would_undo_the_sweep_are_refused(void **state)
{
    (void)state;
    struct spawned s;
    static const struct {
        const char *option, *says; /* NULL: it is taken */
    } rows[] = {
        {"--arr=1", "the tasks are the sweep's"},
        {"--power-c=90", "the same for all tasks"},
        {"--power-cap=auto", "the same for all tasks"},
        {"--gpupower=yes", "the same for all tasks"},
        {"--power-cap=off", NULL},
        {"--gpupower=no", NULL},
        {"--power=level", NULL},
        {"-Mother", "the sweep asks this cluster alone"},
        {"--clusters=other", "the sweep asks this cluster alone"},
        {"--cluster=other", "the sweep asks this cluster alone"},
        {"--cluster-constraint=x", NULL},
        {"--wait-all-nodes=1", NULL},
        {"--nodes=1", NULL},
        {"--partition=gpu", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        SWEEP(&s, "--dry-run", "--sbatch-option", rows[i].option, "--", "x");
        bool is_taken = spawn_code(&s) == 0 && strstr(s.out, rows[i].option);
        if (rows[i].says ? spawn_code(&s) != 2 || !has(&s, rows[i].says) : !is_taken)
            fail_msg("%s: code %d, says: %s", rows[i].option, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

static void what_ends_while_a_resume_begins_is_not_made_again(void **state)
{
    (void)state;
    struct spawned s;
    mark(".hold-0", "");
    /* The first that waits is told to end; then its task ends when Slurm is first asked. */
    ON_PATH("squeue", "[ -e \"$LOG.go\" ] || kill -INT $PPID\n"
                      "if [ -e \"$LOG.go\" ] && [ -e \"$LOG.held\" ]; then\n"
                      "slurm-task $(cat \"$LOG.held\"); rm \"$LOG.held\"; fi\n"
                      "grep -v PENDING \"$LOG.states\"\n"
                      "[ ! -e \"$LOG.held\" ] || grep PENDING \"$LOG.states\"\n");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 130, "the jobs go on; `scancel 41` ends them");
    spawn_done(&s);
    mark(".go", "");
    SWEEP(&s, "--resume", "last", "--repeats", "1", "--json", "--", "sleep", "0.2");
    expect(&s, 0, "1 of 2 runs are stored");
    json_decref(whole(&s, 1));
    spawn_done(&s);
    assert_int_equal(count_log("sbatch "), 1);
}

static void what_slurm_and_we_begin_again_counts_together(void **state)
{
    (void)state;
    struct spawned s;
    mark(".NODE_FAIL-0", "");
    ON_PATH("squeue",
            "if [ -e \"$LOG.held\" ]; then read -r job task script folder <\"$LOG.held\"\n"
            "mkdir -p \"$folder/$task-$job-1\"; else : >\"$LOG.hold-0\"; fi\n"
            "cat \"$LOG.states\"\n");
    SWEEP(&s, "--repeats", "1", "--resubmit", "1", "--", "sleep", "0.2");
    expect(&s, 1, "was lost 2 times, and is cancelled");
    spawn_done(&s);
    assert_int_equal(count_log("scancel 42_0\n"), 1);
}

static void an_array_that_cannot_be_noted_is_cancelled(void **state)
{
    (void)state;
    struct spawned s;
    ON_PATH("sbatch", "for a; do case $a in --output=*) out=${a#*=};; esac; done\n"
                      "echo \"${out%/*}\" >\"$LOG.folder\"\nmkdir \"${out%/*}/jobs\"\necho 77\n");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 1, "job 77 could not be noted, and is cancelled");
    assert_true(has(&s, "/jobs: Is a directory"));
    spawn_done(&s);
    assert_int_equal(count_log("scancel 77\n"), 1);
    assert_int_not_equal(system("ls \"$(cat \"$LOG.folder\")\" | grep -q '^jobs.'"), 0);
    ON_PATH("scancel", "echo 'scancel: error: no access' >&2; exit 1\n");
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 1,
           "job 77 could not be noted, nor cancelled: scancel 77: scancel: error: no access");
    assert_true(has(&s, "`scancel 77` ends it"));
    spawn_done(&s);
}

static void a_scancel_that_fails_is_tried_again(void **state)
{
    (void)state;
    struct spawned s;
    mark(".CANCELLED-0", "");
    mark(".CANCELLED-1", "");
    mark(".hold-2", "");
    mark(".hold-3", "");
    ON_PATH("scancel", "echo \"scancel $*\" >>\"$LOG\"\n"
                       "if [ $(grep -c scancel \"$LOG\") -lt 3 ]; then\n"
                       "echo 'scancel: error: Unable to contact' >&2; exit 1; fi\n"
                       "rm \"$LOG.states\"\n");
    SWEEP(&s, "--repeats", "2", "--", "sleep", "0.2");
    expect(&s, 1, "that is tried again: scancel 41: scancel: error: Unable to contact");
    spawn_done(&s);
    assert_int_equal(count_log("scancel --state=PENDING 41"), 3);
}

static void an_error_says_that_the_jobs_go_on(void **state)
{
    (void)state;
    struct spawned s;
    mark(".NODE_FAIL-0", "");
    mark(".hold-1", "");
    ON_PATH("squeue", ": >\"$LOG.fail\"; cat \"$LOG.states\"\n");
    SWEEP(&s, "--repeats", "2", "--", "sleep", "0.2");
    expect(&s, 1, "sbatch did not take the job");
    assert_true(has(&s, "the jobs go on; `scancel 41` ends them"));
    const char *first = strstr(s.err, "go on with it: wattune sweep --resume sweep-");
    assert_non_null(first);
    assert_null(strstr(first + 1, "go on with it"));
    spawn_done(&s);
}

static void the_last_by_slurm_goes_on_and_a_dry_run_says_with_what(void **state)
{
    (void)state;
    struct spawned s;
    SWEEP(&s, "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 0, "");
    spawn_done(&s);
    /* A sweep that was made here is newer. */
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=150,250",
              "--repeats", "1", "--report", "-", "--", "sleep", "0.2");
    expect(&s, 0, "");
    spawn_done(&s);
    SWEEP(&s, "--resume", "last", "--dry-run", "--repeats", "2", "--", "sleep", "0.2");
    expect(&s, 0, "");
    assert_non_null(strstr(s.out, " --array=2-3 "));
    spawn_done(&s);
    SWEEP(&s, "--resume", "last", "--dry-run", "--repeats", "1", "--", "sleep", "0.2");
    expect(&s, 0, "");
    assert_null(strstr(s.out, "sbatch"));
    spawn_done(&s);
    assert_int_equal(count_log("sbatch "), 1);
}

static void a_stricter_limit_is_told(void **state)
{
    (void)state;
    struct spawned s;
    /* As if a site's default had held: what the device obeys, in what the task stored. */
    stand_in("slurm-task-0", task);
    ON_PATH("slurm-task", "slurm-task-0 \"$@\"\n"
                          "python3 -c 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1])\n"
                          "db.execute(\"UPDATE run SET doc = replace(doc, ?, ?)\", "
                          "(\"\\\"enforced\\\":250.0\", \"\\\"enforced\\\":200.0\"))\n"
                          "db.commit()' \"$4/$2-$1-0/runs.db\"\n");
    SWEEP(&s, "--repeats", "2", "--", "sleep", "0.2");
    expect(&s, 0, "250 W, run 1: a stricter limit held on n");
    assert_true(has(&s, "250 W, run 2: a stricter limit held on n"));
    assert_false(has(&s, "150 W, run 1: a stricter"));
    const char *first = strstr(s.err, "  try: --sbatch-option=--power-cap=off");
    assert_non_null(first);
    assert_null(strstr(first + 1, "  try: --sbatch-option=--power-cap=off"));
    spawn_done(&s);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, each_setup, spawn_teardown)
    const struct CMUnitTest tests[] = {
        EACH(a_sweep_is_one_array_and_one_report),
        EACH(a_controller_that_hangs_does_not_hold_up_an_end),
        EACH(what_is_lost_is_submitted_again_and_no_more),
        EACH(what_fails_by_itself_is_not_submitted_again),
        EACH(jobs_go_on_and_are_collected_by_resume),
        EACH(models_are_not_mixed),
        EACH(more_rounds_are_submitted_until_it_is_precise),
        EACH(a_dry_run_makes_nothing),
        EACH(mistakes_are_told),
        EACH(two_nodes_are_told_where_the_sweep_waits),
        EACH(a_folder_that_slurm_reads_otherwise_is_refused),
        EACH(options_of_sbatch_that_would_undo_the_sweep_are_refused),
        EACH(what_ends_while_a_resume_begins_is_not_made_again),
        EACH(what_slurm_and_we_begin_again_counts_together),
        EACH(an_array_that_cannot_be_noted_is_cancelled),
        EACH(a_scancel_that_fails_is_tried_again),
        EACH(an_error_says_that_the_jobs_go_on),
        EACH(the_last_by_slurm_goes_on_and_a_dry_run_says_with_what),
        EACH(a_stricter_limit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
