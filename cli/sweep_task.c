/* sweep_task: one run of a sweep by Slurm, as a task of its array on a node.
 *
 * The settings are set as `wattune run --set` does, through wattuned's lease, not by --power-cap of
 * the SPANK plugin: that is one option for a whole array, and here each task has a setting of its
 * own. The plugin's prolog tells wattuned whose job has which GPUs, so what `allow slurm` lets a
 * user cap by --power-cap he may set from within his job, and no more; wattuned puts it back when
 * the run ends, and when the job does, however it ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sweep.h"
#include "sweep_folder.h"

static bool number(const char *name, unsigned *ret)
{
    const char *text = getenv(name);
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *ret = (unsigned)value;
    return !*end && value <= UINT32_MAX;
}

/* Which of the runs, and which time it is begun. Returns an exit code, or -1. */
static int find_place(const struct sweep_job *job, struct sweep_word *word)
{
    const char *node = getenv("SLURMD_NODENAME");
    if (!number("SLURM_ARRAY_TASK_ID", &word->step) || !number("SLURM_ARRAY_JOB_ID", &word->job))
        return cli_usage("sweep", "--slurm-task: this is no task of a job array of Slurm's");
    number("SLURM_RESTART_COUNT", &word->restart);
    if (word->step >= job->step_count)
        return cli_usage("sweep", "--slurm-task: the plan has no run %u", word->step);
    if (node && *node && !strpbrk(node, " \t\n"))
        snprintf(word->node, sizeof(word->node), "%s", node);
    else if (gethostname(word->node, sizeof(word->node) - 1) < 0 || !word->node[0])
        snprintf(word->node, sizeof(word->node), "node");
    return -1;
}

/* Returns an exit code, or -1. */
static int check_nodes(void)
{
    unsigned nodes;
    if (!number("SLURM_JOB_NUM_NODES", &nodes) || nodes <= 1)
        return -1;
    return cli_usage("sweep",
                     "--slurm: a run is measured on one node, and this job has %u: "
                     "--sbatch-option=--nodes=1",
                     nodes);
}

static int measure(struct sweep_job *job, const struct sweep_word *word, const char *dir)
{
    const struct wt_sweep_step *step = &job->steps[word->step];
    const struct sweep_options *o = &job->o;
    const struct point *point = &job->points[step->point];
    struct wt_error err = {0};
    struct wt_run run = {0};
    struct cli_measure *m = &job->m;
    int rc = 0;
    if (o->set_count)
        rc = wt_lease_open(&job->lease, o->bed.ctx, o->bed.devices, NULL, &err);
    if (rc == 0) {
        job->is_measuring = true;
        rc = cli_measure_open(m, &job->o.bed, true, 0, &err);
    }
    if (rc == 0)
        rc = wt_store_open(&m->store, dir, &err);
    m->lease = job->lease;
    m->progress = o->progress;
    m->work_unit = o->work_per_step ? o->work_unit : NULL;
    m->work_per_step = o->work_per_step;
    snprintf(run.host, sizeof(run.host), "%s", word->node);
    if (rc == 0)
        rc = cli_sweep_tell_run(job, step, &run, &err);
    if (rc == 0)
        rc = cli_sweep_apply(job, point, &run, &err);
    if (rc == 0)
        rc = cli_measure_run(m, point->command, &run, &job->asked, &err);
    int code = run.exit_code;
    if (rc < 0) {
        int why = cli_fail("sweep", &err);
        code = code ? code : why;
    } else if (cli_sweep_is_lost(job, &run)) {
        code = CLI_FAILURE;
    }
    wt_run_done(&run);
    /* Whole before its end is told. */
    wt_store_close(m->store);
    m->store = NULL;
    return code;
}

int cli_sweep_task(struct sweep_job *job)
{
    const char *folder = job->o.slurm.task;
    struct sweep_word word = {0};
    struct wt_error err = {0};
    char dir[4096];
    int code = find_place(job, &word);
    if (code >= 0)
        return code;
    code = check_nodes(); /* a mistake that he who waits hears of, too */
    cli_folder_try(folder, &word, dir, sizeof(dir));
    if (mkdir(dir, 0700) < 0) {
        snprintf(err.text, sizeof(err.text), "%.300s: %s on %s", dir, strerror(errno), word.node);
        snprintf(err.fix, sizeof(err.fix),
                 "--slurm-folder names a folder on a file system that the nodes share");
        err.code = WT_E_IO;
        int why = cli_fail("sweep", &err);
        return code >= 0 ? code : why;
    }
    if (code >= 0) {
        word.code = code;
    } else if (word.restart > job->o.slurm.resubmit) {
        cli_note("this run was lost %u times, and is not begun again (--resubmit)", word.restart);
        word.code = SWEEP_WORD_TOO_OFTEN;
        code = CLI_FAILURE;
    } else {
        word.code = code = measure(job, &word, dir);
    }
    /* One that was asked to end, by a preemption or a scancel, has not ended by itself. Slurm
     * signals all processes of a job, and the command may be gone before we hear of it. */
    if (!job->asked && code >= 128)
        job->asked = cli_signal_wait(cli_now_ns() + 500000000);
    if (!job->asked && cli_folder_tell(folder, &word, &err) < 0)
        code = cli_fail("sweep", &err);
    return job->asked ? 128 + job->asked : code;
}
