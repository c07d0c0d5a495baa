/* `wattune run` started many times, as srun and mpirun do: one on each node measures, the others
 * are the command at once. The variables are set here; tests/slurm/test_budget.py has a real srun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runs.h"
#include "spawned.h"
#include "wattune/door.h"

static const char *const home = spawn_folder;
static char job[16]; /* of its own for each test: ranks meet in /tmp by its number */

static const char *const variables[] = {"SLURM_JOB_ID",
                                        "SLURM_STEP_ID",
                                        "SLURM_PROCID",
                                        "SLURM_LOCALID",
                                        "SLURM_NODEID",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_NTASKS",
                                        "SLURM_STEP_NUM_NODES",
                                        "SLURM_STEP_TASKS_PER_NODE",
                                        "SLURM_STEP_GPUS",
                                        "SLURM_RESTART_COUNT",
                                        "SLURMD_NODENAME",
                                        "CUDA_VISIBLE_DEVICES",
                                        "PMI_ID",
                                        "HYDI_CONTROL_FD",
                                        "PMI_RANK",
                                        "PMI_SIZE",
                                        "MPI_LOCALRANKID",
                                        "MPI_LOCALNRANKS",
                                        "PMIX_NAMESPACE",
                                        "OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "SLURM_STEPID",
                                        "WATTUNE_DOOR",
                                        "SLURM_NNODES"};

static void forget(void)
{
    for (size_t i = 0; i < WT_COUNTOF(variables); i++)
        unsetenv(variables[i]);
}

static int each_setup(void **state)
{
    static unsigned number;
    forget();
    snprintf(job, sizeof(job), "%u", 100000 + (unsigned)getpid() % 80000 * 10 + number++ % 10);
    return spawn_setup(state);
}

static void set(const char *name, unsigned value)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", value);
    setenv(name, text, 1);
}

/* A rank of a step with "2,2" tasks on n1 and n2. */
static void be_rank(unsigned rank)
{
    setenv("SLURM_JOB_ID", job, 1);
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    setenv("SLURM_STEP_NUM_NODES", "2", 1);
    setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2)", 1);
    setenv("SLURMD_NODENAME", rank < 2 ? "n1" : "n2", 1);
    set("SLURM_PROCID", rank);
    set("SLURM_LOCALID", rank % 2);
    set("SLURM_NODEID", rank / 2);
}

static char self[512]; /* this program, as one that marks */

static int mark(void)
{
    struct wt_door *door;
    if (wt_door_open(&door, NULL) < 0)
        return 9;
    wt_door_mark(door, WT_MARK_WORK, "tokens", 100);
    wt_door_close(door);
    return 0;
}

static json_t *document(const struct spawned *s)
{
    json_t *doc = spawn_json(s);
    assert_non_null(doc);
    return doc;
}

static void a_rank_that_does_not_measure_is_the_command_at_once(void **state)
{
    (void)state;
    struct spawned s;
    char pid[16];
    be_rank(1);
    spawn_run(&s, home, "wattune", "run", "--", "sh", "-c", "echo $$; exit 5");
    snprintf(pid, sizeof(pid), "%d\n", (int)s.pid);
    assert_string_equal(s.out, pid); /* the very process that was started */
    assert_string_equal(s.err, "");
    assert_int_equal(spawn_code(&s), 5);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--", "no-such-command-at-all");
    assert_int_equal(spawn_code(&s), 127);
    assert_non_null(strstr(s.err, "no-such-command-at-all"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--", "/dev/null");
    assert_int_equal(spawn_code(&s), 126);
    spawn_done(&s);
    be_rank(0); /* takes the folder away */
    spawn_run(&s, home, "wattune", "run", "--nodes-wait", "0s", "--", "true");
    spawn_done(&s);
}

static void all_ranks_of_a_node_tell_of_their_work(void **state)
{
    (void)state;
    struct spawned one, first;
    const char *const argv[] = {"wattune", "run", "--json", "--nodes-wait=0s",
                                "--",      self,  "mark",   NULL};
    be_rank(3);
    spawn_start(&one, home, argv);
    spawn_wait(&one); /* over when the first ends */
    be_rank(2);
    spawn_start(&first, home, argv);
    spawn_wait(&first);
    assert_int_equal(spawn_code(&one), 0);
    assert_string_equal(one.out, "");
    json_t *doc = document(&first);
    const json_t *work = json_object_get(doc, "work"), *node = json_object_get(doc, "node");
    assert_int_equal(json_integer_value(json_object_get(work, "count")), 200);
    assert_int_equal(json_integer_value(json_object_get(node, "index")), 1);
    assert_int_equal(json_integer_value(json_object_get(node, "ranks")), 2);
    assert_int_equal(json_integer_value(json_object_get(node, "of_nodes")), 2);
    assert_int_equal(json_integer_value(json_object_get(node, "of_ranks")), 4);
    assert_string_equal(json_string_value(json_object_get(doc, "host")), "n2");
    json_decref(doc);
    spawn_done(&one);
    spawn_done(&first);
    char path[128];
    snprintf(path, sizeof(path), "/tmp/wattune-%u-slurm-%s.0-n2", (unsigned)geteuid(), job);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* How many ranks its record is of. */
static long long covered(const json_t *doc)
{
    return json_integer_value(json_object_get(json_object_get(doc, "node"), "ranks"));
}

/* Another rank, which is over before the first of its node begins. */
static void step_aside(unsigned rank)
{
    struct spawned s;
    be_rank(rank);
    spawn_run(&s, home, "wattune", "run", "--", "true");
    spawn_done(&s);
}

#define EMULATED "wattune", "emulate", "v100-pcie-32gb", "--"

static const char *command(void)
{
    return getenv("WATTUNE_COMMAND");
}

static void the_first_node_sums_once_all_have_told(void **state)
{
    (void)state;
    struct spawned s;
    char group[48];
    snprintf(group, sizeof(group), "slurm-%s.0", job);
    be_rank(0);
    spawn_run(&s, home, EMULATED, command(), "run", "--nodes-wait", "1s", "--", "sleep", "0.2");
    assert_non_null(strstr(s.err, "no sum"));
    assert_non_null(strstr(s.err, "1 of 2 nodes told of nothing"));
    assert_null(strstr(s.err, "  sum "));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--sum", group);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.out, "no sum"));
    spawn_done(&s);

    step_aside(3);
    be_rank(2);
    spawn_run(&s, home, EMULATED, command(), "run", "--", "sleep", "0.2");
    assert_null(strstr(s.err, "slurm-")); /* the first node's to say */
    spawn_done(&s);
    step_aside(1);
    be_rank(0);
    spawn_run(&s, home, EMULATED, command(), "run", "--", "sleep", "0.2");
    assert_non_null(strstr(s.err, "2 of 2 nodes"));
    assert_non_null(strstr(s.err, "  sum "));
    spawn_done(&s);
    forget();
    spawn_run(&s, home, "wattune", "runs", "--sum", group, "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = document(&s);
    const json_t *runs = json_object_get(doc, "runs");
    double sum = 0;
    assert_int_equal(json_array_size(runs), 2); /* of n1 the newest */
    for (size_t i = 0; i < 2; i++)
        sum += json_real_value(
            json_object_get(json_object_get(json_array_get(runs, i), "total"), "energy_j"));
    assert_near(json_real_value(json_object_get(json_object_get(doc, "total"), "energy_j")), sum,
                1e-6);
    assert_true(sum > 1);
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--sum", "slurm-1.0");
    assert_int_equal(spawn_code(&s), 4);
    spawn_done(&s);
}

static const char *group_of(char *buf, size_t size, const char *option)
{
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--json", "--nodes-wait=0s", option, "--", "true");
    buf[0] = '\0';
    if (*s.out) {
        json_t *doc = document(&s);
        const char *group = json_string_value(json_object_get(doc, "group"));
        snprintf(buf, size, "%s", group ? group : "none");
        json_decref(doc);
    }
    spawn_done(&s);
    return buf;
}

static void who_measures_follows_from_the_variables(void **state)
{
    (void)state;
    char group[64], want[64];
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "none");

    /* Open MPI's, and those go before Slurm's: its mpirun is a step with one task a node. */
    be_rank(0);
    setenv("PMIX_NAMESPACE", "prterun-host-77@1", 1);
    set("OMPI_COMM_WORLD_SIZE", 4);
    set("OMPI_COMM_WORLD_LOCAL_SIZE", 2);
    set("OMPI_COMM_WORLD_RANK", 2);
    set("OMPI_COMM_WORLD_LOCAL_RANK", 0);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "mpi-prterun-host-77-1");
    set("OMPI_COMM_WORLD_RANK", 3);
    set("OMPI_COMM_WORLD_LOCAL_RANK", 1);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "");
    assert_string_equal(group_of(group, sizeof(group), "--each-rank"), "none");
    forget();

    /* MPICH's and Intel's. */
    setenv("PMIX_NAMESPACE", "kvs_1", 1);
    set("PMI_RANK", 0);
    set("PMI_SIZE", 2);
    set("MPI_LOCALRANKID", 0);
    set("MPI_LOCALNRANKS", 2);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "mpi-kvs_1");
    unsetenv("PMIX_NAMESPACE"); /* hydra's PMI_ID is the rank: ranks would not meet by it */
    setenv("HYDI_CONTROL_FD", "5", 1);
    setenv("PMI_ID", "0", 1);
    snprintf(want, sizeof(want), "mpi-%ld", (long)getpid());
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), want);
    forget();

    /* A batch script has a rank and no step; a step of one task has no others. */
    be_rank(0);
    unsetenv("SLURM_STEP_ID");
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "none");
    be_rank(0);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "none");
    be_rank(0);
    snprintf(want, sizeof(want), "slurm-%s.0", job);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), want);
    setenv("SLURM_RESTART_COUNT", "2", 1); /* requeued: its steps have their numbers again */
    snprintf(want, sizeof(want), "slurm-%s.0-r2", job);
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), want);
    setenv("SLURM_PROCID", "many", 1); /* nonsense is none */
    assert_string_equal(group_of(group, sizeof(group), "--no-store"), "none");
}

static void gpus_that_ranks_have_alone_are_measured_together(void **state)
{
    (void)state;
    struct spawned one, first;
    be_rank(1);
    setenv("CUDA_VISIBLE_DEVICES", "2", 1);
    setenv("SLURM_STEP_GPUS", "2", 1);
    spawn_run(&one, home, "wattune", "run", "--", "true");
    be_rank(0);
    setenv("CUDA_VISIBLE_DEVICES", "0", 1);
    setenv("SLURM_STEP_GPUS", "0", 1);
    spawn_run(&first, home, "wattune", "emulate", "v100-pcie-32gb:4", "--", command(), "run",
              "--nodes-wait", "0s", "--json", "--", "sh", "-c", "sleep 0.1");
    json_t *doc = document(&first);
    const json_t *devices = json_object_get(doc, "devices");
    size_t gpus = 0;
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *kind = json_object_get(json_array_get(devices, i), "kind");
        gpus += strcmp(json_string_value(kind), "gpu") == 0;
    }
    assert_int_equal(gpus, 2);
    assert_int_equal(covered(doc), 2);
    json_decref(doc);
    spawn_done(&one);
    spawn_done(&first);
    forget();
}

/* Each a reason why the record of a node is not of all its ranks. */
static void what_is_not_covered_is_not_counted(void **state)
{
    (void)state;
    struct spawned s;
    /* One that said nothing, whatever is seen. */
    be_rank(0);
    for (int has_gpus = 0; has_gpus < 2; has_gpus++) {
        if (has_gpus)
            setenv("CUDA_VISIBLE_DEVICES", "0", 1);
        spawn_run(&s, home, "wattune", "run", "--json", "--nodes-wait=0s", "--", "true");
        json_t *doc = document(&s);
        assert_int_equal(covered(doc), 1);
        json_decref(doc);
        spawn_done(&s);
    }
    /* GPUs that the first cannot see (both see their own as 0), and a list that is none. */
    static const char *const seen[][2] = {{"0", "1"}, {",,", "0"}};
    for (size_t i = 0; i < WT_COUNTOF(seen); i++) {
        setenv("CUDA_VISIBLE_DEVICES", seen[i][0], 1);
        setenv("SLURM_STEP_GPUS", seen[i][1], 1);
        step_aside(1);
        setenv("CUDA_VISIBLE_DEVICES", "0", 1);
        setenv("SLURM_STEP_GPUS", "0", 1);
        be_rank(0);
        spawn_run(&s, home, EMULATED, command(), "run", "--json", "--nodes-wait=0s", "--", "true");
        json_t *doc = document(&s);
        assert_int_equal(covered(doc), 1);
        json_decref(doc);
        spawn_done(&s);
    }
    forget();
}

static void a_folder_that_others_may_write_is_not_used(void **state)
{
    (void)state;
    char path[128];
    struct spawned s;
    snprintf(path, sizeof(path), "/tmp/wattune-%u-slurm-%s.0-n1", (unsigned)geteuid(), job);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    be_rank(1);
    spawn_run(&s, home, "wattune", "run", "--", "sh", "-c", "echo door=$WATTUNE_DOOR");
    assert_string_equal(s.out, "door=\n");
    spawn_done(&s);
    be_rank(0);
    spawn_run(&s, home, "wattune", "run", "--nodes-wait", "0s", "--", "true");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "is not ours alone"));
    spawn_done(&s);
    assert_int_equal(rmdir(path), 0);
}

static void a_rank_that_outlives_the_first_is_told_of(void **state)
{
    (void)state;
    struct spawned one, first;
    const char *const argv[] = {"wattune", "run", "--", "sh", "-c", "echo on; read x", NULL};
    be_rank(1);
    spawn_start(&one, home, argv);
    assert_true(spawn_expect(&one, "on"));
    be_rank(0);
    spawn_run(&first, home, "wattune", "run", "--json", "--nodes-wait", "0s", "--", "true");
    assert_non_null(strstr(first.err, "1 other rank"));
    json_t *doc = document(&first);
    assert_int_equal(covered(doc), 1);
    json_decref(doc);
    spawn_wait(&one);
    spawn_done(&one);
    spawn_done(&first);
}

static void an_emulation_is_not_for_ranks(void **state)
{
    (void)state;
    struct spawned s;
    be_rank(0);
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--", "true");
    assert_int_equal(spawn_code(&s), 2);
    spawn_done(&s);
}

static struct wt_run node(unsigned index, const char *host, unsigned nodes, unsigned ranks)
{
    struct runs_spec spec = {.wall_s = 10, .power_w = 100, .bound = 0.01, .is_real = true};
    struct wt_run run = runs_make(&spec);
    wt_text(run.host, sizeof(run.host), "%s", host);
    run.node.index = index;
    run.node.count = 1;
    run.node.nodes = nodes;
    run.node.ranks = ranks;
    return run;
}

static void a_sum_is_whole_or_none(void **state)
{
    (void)state;
    struct wt_run runs[2] = {node(1, "n2", 2, 2), node(0, "n1", 2, 2)};
    struct wt_run_sum sum;
    struct wt_error err = {0};
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    assert_true(sum.is_whole);
    assert_int_equal(sum.parts[0], 1); /* by node */
    assert_near(sum.total.energy_j, 2000, 1e-6);
    assert_near(sum.total.high_j - sum.total.low_j, 40, 1e-6); /* errors may be the same error */
    assert_int_equal(sum.work, 2 * 512000);
    wt_run_sum_done(&sum);

    runs[0].state = WT_RUN_RUNNING;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    assert_false(sum.is_whole);
    assert_int_equal(sum.total.provenance, WT_PROV_UNKNOWN);
    assert_non_null(strstr(sum.why, "not ended: n2"));
    wt_run_sum_done(&sum);
    runs[0].state = WT_RUN_DONE;

    /* How many nodes is not known: by the ranks. */
    runs[0].node.nodes = runs[1].node.nodes = 0;
    runs[0].node.ranks = runs[1].node.ranks = 3;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    assert_non_null(strstr(sum.why, "2 of 3 ranks"));
    wt_run_sum_done(&sum);
    runs[0].node.ranks = runs[1].node.ranks = 2;

    /* Of all nodes, and not of all ranks. */
    runs[0].node.nodes = runs[1].node.nodes = 2;
    runs[0].node.ranks = runs[1].node.ranks = 4;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    assert_string_equal(sum.why, "what the nodes measured covers 2 of 4 ranks");
    wt_run_sum_done(&sum);
    runs[0].node.ranks = runs[1].node.ranks = 2;

    /* Requeued: its first node is another host, and the newer of the two counts. */
    struct wt_run again[3] = {runs[0], runs[1], node(0, "n7", 2, 2)};
    again[2].start_unix_ns += 1000000000;
    assert_int_equal(wt_run_sum_make(&sum, again, 3, NULL, &err), 0);
    assert_true(sum.is_whole);
    assert_int_equal(sum.count, 2);
    assert_int_equal(sum.parts[0], 2);
    wt_run_sum_done(&sum);
    again[2].node.index = 5; /* more nodes than there are */
    assert_int_equal(wt_run_sum_make(&sum, again, 3, NULL, &err), 0);
    assert_string_equal(sum.why, "3 nodes told, and the job has 2");
    wt_run_sum_done(&sum);
    wt_run_done(&again[2]);

    /* A bound that is not known is null in the document. */
    runs[0].total.high_j = INFINITY;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    char *text = wt_run_sum_to_json(&sum, runs);
    assert_non_null(text);
    json_t *doc = json_loads(text, 0, NULL);
    assert_true(json_is_null(json_object_get(json_object_get(doc, "total"), "high_j")));
    assert_near(json_real_value(json_object_get(json_object_get(doc, "total"), "energy_j")), 2000,
                1e-6);
    json_decref(doc);
    free(text);
    wt_run_sum_done(&sum);

    runs[0].total.provenance = WT_PROV_UNKNOWN;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), 0);
    assert_false(sum.is_whole);
    wt_run_sum_done(&sum);
    runs[0].total.provenance = WT_PROV_EMULATED;
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, NULL, &err), WT_E_MIXED);
    assert_int_equal(wt_run_sum_make(&sum, runs, 2, "another", &err), WT_E_NOTFOUND);
    wt_run_done(&runs[0]);
    wt_run_done(&runs[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, each_setup, spawn_teardown)
int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "mark") == 0)
        return mark();
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    const struct CMUnitTest tests[] = {
        TEST(a_rank_that_does_not_measure_is_the_command_at_once),
        TEST(all_ranks_of_a_node_tell_of_their_work),
        TEST(the_first_node_sums_once_all_have_told),
        TEST(who_measures_follows_from_the_variables),
        TEST(gpus_that_ranks_have_alone_are_measured_together),
        TEST(what_is_not_covered_is_not_counted),
        TEST(a_folder_that_others_may_write_is_not_used),
        TEST(a_rank_that_outlives_the_first_is_told_of),
        TEST(an_emulation_is_not_for_ranks),
        TEST(a_sum_is_whole_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
