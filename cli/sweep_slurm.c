/* sweep_slurm: the runs of a sweep as the tasks of a job array, on the nodes of a Slurm cluster.
 *
 * The task with the number N makes the Nth run of the plan (sweep_task.c), by the command line that
 * the sweep was given: one plan, made alike here and there. Slurm begins the tasks in the order of
 * their numbers, which is that of the plan, and puts them where there is room: rounds of settings
 * in random order fall on the nodes alike. What a task found lies in a folder that both sides see
 * (sweep_folder.h); from there it goes into the store, as a run made here would. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep_slurm.h"

#define LOOK_NS    INT64_C(500000000) /* into the folder */
#define ASK_MAX_NS INT64_C(15000000000)

/* ---- options ---- */

/* sbatch takes the beginning of a name for the whole; a shorter one is several options'. */
static bool is_option(const char *text, const char *name)
{
    size_t n = strcspn(text, "=");
    return n > 3 && strncmp(text, name, n) == 0;
}

/* Claims stack and the strictest holds: a site's default limit would be the reference's, too. And
 * --power, of Cray's machines, begins as one that is refused. */
static bool is_allowed(const char *text)
{
    return strcmp(text, "--power-cap=off") == 0 || strcmp(text, "--gpupower=no") == 0 ||
           strncmp(text, "--power=", 8) == 0;
}

int cli_sweep_sbatch_option(struct sweep_options *o, const char *text)
{
    static const struct {
        const char *name;
        char letter;
        const char *why;
    } refused[] = {
        {"--array", 'a', "the tasks are the sweep's"},
        {"--wrap", 0, "the script is the sweep's"},
        {"--output", 'o', "what the tasks write lies in the sweep's folder"},
        {"--error", 'e', "what the tasks write lies in the sweep's folder"},
        {"--wait", 'W', "the sweep waits by itself"},
        {"--parsable", 0, "it is given by itself"},
        {"--test-only", 0, "--dry-run shows what would be submitted"},
        {"--no-requeue", 0, "a task that is lost is begun again; --resubmit 0 for not"},
        {"--clusters", 'M',
         "the sweep asks this cluster alone; $SLURM_CLUSTERS names another for all commands"},
        {"--power-cap", 0, "it is the same for all tasks; --set says the settings"},
        {"--gpupower", 0, "it is the same for all tasks; --set says the settings"},
    };
    if (text[0] != '-' || !text[1] || strcmp(text, "--") == 0)
        return cli_usage("sweep",
                         "--sbatch-option %s: an option in one word, such as "
                         "--sbatch-option=--partition=gpu or --sbatch-option=-pgpu",
                         text);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused) && !is_allowed(text); i++)
        if (is_option(text, refused[i].name) || (text[1] != '-' && text[1] == refused[i].letter))
            return cli_usage("sweep", "--sbatch-option %s: %s", text, refused[i].why);
    if (o->slurm.sbatch_count == SWEEP_SBATCH_MAX)
        return cli_usage("sweep", "--sbatch-option: more than %d", SWEEP_SBATCH_MAX);
    o->slurm.sbatch[o->slurm.sbatch_count++] = text;
    return -1;
}

int cli_sweep_slurm_check(struct sweep_options *o)
{
    if (!o->slurm.has_resubmit)
        o->slurm.resubmit = 2;
    if (!o->slurm.is_asked && !o->slurm.task) {
        const char *alone = o->slurm.sbatch_count   ? "--sbatch-option"
                            : o->slurm.folder       ? "--slurm-folder"
                            : o->slurm.has_resubmit ? "--resubmit"
                                                    : NULL;
        return alone ? cli_usage("sweep", "%s goes with --slurm", alone) : -1;
    }
    const struct {
        bool is_given;
        const char *option, *why;
    } rows[] = {
        {o->is_auto, "--set power=auto, the default,",
         "the cards' limits are not known here: give the watts, --set power=100:250:50"},
        {o->bed.emulate != NULL, "--emulate", "the runs are made on nodes as they are"},
        {o->bed.sysroot != NULL, "--sysroot", "the runs are made on nodes as they are"},
        {o->settle_ns > 0, "--settle",
         "each run is a job of its own, on a node that may have cooled down; let CMD warm up"},
        {o->is_measure_only, "--measure-only", "nothing is measured here"},
        {o->is_output_shown, "--show-output", "what CMD writes lies in the sweep's folder"},
        {o->is_without_store, "--no-store", "what comes back from the nodes goes there"},
        {o->goal.objective == WT_OBJECTIVE_ETA, "--objective eta",
         "the cards' highest limit is not known here; edp weighs time without it"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (rows[i].is_given)
            return cli_usage("sweep", "%s with --slurm: %s", rows[i].option, rows[i].why);
    return -1;
}

/* ---- the folder and the store ---- */

/* A sweep of which no run is there yet. */
static int read_plan(struct sweep_job *job, const char *group, struct wt_error *err)
{
    char *text = cli_folder_read(&job->slurm->folder, "plan");
    int rc = text ? wt_sweep_plan_from_json(&job->stored.plan, text, err) : WT_E_NOTFOUND;
    if (!text) {
        snprintf(err->text, sizeof(err->text), "%.300s: no sweep was begun there",
                 job->slurm->folder.path);
        err->code = rc;
    }
    free(text);
    snprintf(job->stored.group, sizeof(job->stored.group), "%s", group);
    return rc < 0 ? rc : cli_resume_seed(&job->o, &job->stored, err);
}

static int find(struct sweep_job *job, struct wt_error *err)
{
    struct sweep_slurm *s = job->slurm;
    char group[40];
    snprintf(group, sizeof(group), "%s", job->o.resume);
    if (strcmp(group, "last") == 0)
        cli_folder_newest(s->parent, group, sizeof(group));
    if (!group[0]) {
        snprintf(err->text, sizeof(err->text), "--resume last: no sweep is stored in %.300s",
                 s->parent);
        snprintf(err->fix, sizeof(err->fix),
                 "--slurm-folder as it was begun with; one that was made here goes on without "
                 "--slurm");
        return err->code = WT_E_NOTFOUND;
    }
    int rc = cli_folder_open(&s->folder, s->parent, group, false, err);
    if (rc == 0 && !job->o.is_dry_run)
        rc = cli_sweep_keep_all(s, group, err);
    if (rc == 0)
        rc = cli_resume_find(&job->o, group, &job->stored, err);
    return rc == WT_E_NOTFOUND && s->folder.lock_fd >= 0 ? read_plan(job, group, err) : rc;
}

int cli_sweep_slurm_open(struct sweep_job *job, struct wt_error *err)
{
    struct sweep_slurm *s = job->slurm = calloc(1, sizeof(*s));
    if (!s)
        return err->code = WT_E_NOMEM;
    s->folder.lock_fd = -1;
    if (job->o.is_dry_run && !job->o.resume) { /* nothing is made */
        snprintf(s->parent, sizeof(s->parent), "%s",
                 job->o.slurm.folder ? job->o.slurm.folder : "FOLDER");
        return 0;
    }
    int rc = wt_store_open(&s->store, NULL, err);
    if (rc == 0)
        rc = cli_folder_parent(job->o.slurm.folder, s->store, s->parent, sizeof(s->parent), err);
    if (rc == 0 && job->o.resume)
        rc = find(job, err);
    return rc;
}

void cli_sweep_slurm_close(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    if (!s)
        return;
    job->m.store = NULL; /* it was lent */
    cli_folder_close(&s->folder);
    wt_store_close(s->store);
    free(s->tasks);
    free(s->jobs);
    free(s->before);
    free(s);
    job->slurm = NULL;
}

/* ---- all of it ---- */

static size_t count_of(const struct sweep_slurm *s, enum task_word word)
{
    size_t count = 0;
    for (size_t i = 0; i < s->limit; i++)
        count += is_of(s, i, TASK_SENT) && s->tasks[i].word == word;
    return count;
}

static void draw(const struct sweep_job *job)
{
    const struct sweep_slurm *s = job->slurm;
    const struct progress *p = &job->progress;
    char bar[25];
    if (!p->is_tty)
        return;
    for (size_t i = 0; i < sizeof(bar) - 1; i++)
        bar[i] = i * p->total < p->done * (sizeof(bar) - 1) ? '#' : '.';
    bar[sizeof(bar) - 1] = '\0';
    fprintf(stderr, "\r\033[K[%s] %zu/%zu  %zu running, %zu waiting", bar, p->done, p->total,
            count_of(s, WORD_RUNS), count_of(s, WORD_WAITS));
    fflush(stderr);
}

static int by_start(const void *a, const void *b)
{
    const struct wt_run *x = a, *y = b;
    return x->start_unix_ns < y->start_unix_ns ? -1 : x->start_unix_ns > y->start_unix_ns;
}

/* All that is wanted so far has come to an end. */
static bool is_settled(const struct sweep_slurm *s)
{
    for (size_t i = 0; i < s->limit; i++)
        if (is_of(s, i, TASK_NEW) || is_of(s, i, TASK_SENT))
            return false;
    return true;
}

/* The next round, where the precision asks for one. */
static bool wants_more(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    if (s->is_giving_up || s->limit == job->step_count || cli_sweep_is_precise_enough(job))
        return false;
    s->limit += job->point_count;
    return true;
}

static int begin(struct sweep_job *job, int argc, char **argv, struct wt_error *err)
{
    struct sweep_slurm *s = job->slurm;
    int rc = 0;
    job->m.store = s->store;
    if (!job->o.resume)
        rc = cli_folder_open(&s->folder, s->parent, job->group, true, err);
    if (rc == 0)
        rc = cli_folder_write(&s->folder, "plan", job->plan_text, err);
    if (rc == 0)
        rc = cli_sweep_write_script(job, argc, argv, err);
    if (rc == 0 && !(s->tasks = calloc(job->step_count, sizeof(*s->tasks))))
        rc = err->code = WT_E_NOMEM;
    if (rc < 0)
        return rc;
    s->jobs = cli_folder_read(&s->folder, "jobs");
    s->limit = job->point_count * job->o.repeats;
    s->delay_ns = cli_folder_delay_ns(&s->folder);
    s->begun_ns = cli_now_ns();
    cli_sweep_read_jobs(job);
    for (size_t i = 0; i < job->step_count; i++) {
        if (job->steps[i].is_stored)
            s->tasks[i].state = TASK_DONE;
        if (is_of(s, i, TASK_SENT) && i >= s->limit)
            s->limit = (i / job->point_count + 1) * job->point_count;
    }
    job->progress.is_tty = isatty(STDERR_FILENO);
    job->progress.has_nodes = true;
    fprintf(stderr, "folder: %s\n", s->folder.path);
    if (!job->o.resume)
        return 0;
    /* What ended while nobody waited, and well, is in the store by now. */
    for (size_t k = 0; k < s->before_count; k++) {
        const struct sweep_word *word = &s->before[k];
        struct task *t = word->step < job->step_count ? &s->tasks[word->step] : NULL;
        if (!t || t->job != word->job)
            continue;
        if (t->state == TASK_SENT && word->code != SWEEP_WORD_NONE)
            t->state = TASK_NEW;
        if (word->restart > t->restarts)
            t->restarts = word->restart;
    }
    cli_sweep_ask(job);
    cli_sweep_look(job); /* some ended since then, and Slurm said so */
    for (size_t i = 0; i < job->step_count; i++) {
        struct task *t = &s->tasks[i];
        if (t->state != TASK_SENT || t->word == WORD_WAITS || t->word == WORD_RUNS)
            continue;
        /* The word of one that ended well may still be on its way. */
        t->is_left = true;
        if (t->word != WORD_UNKNOWN && strcmp(t->slurm, "COMPLETED") != 0)
            t->state = TASK_NEW;
    }
    return 0;
}

static int64_t ask_after(const struct sweep_slurm *s)
{
    int64_t after_ns = (cli_now_ns() - s->begun_ns) / 60; /* a second after a minute */
    return after_ns < SWEEP_ASK_NS ? SWEEP_ASK_NS : after_ns > ASK_MAX_NS ? ASK_MAX_NS : after_ns;
}

int cli_sweep_slurm_run(struct sweep_job *job, int argc, char **argv)
{
    struct sweep_slurm *s = job->slurm;
    struct wt_error err = {0};
    int code = -1, rc = begin(job, argc, argv, &err);
    while (rc == 0 && !job->asked) {
        cli_sweep_look(job);
        if (cli_now_ns() >= s->next_ask_ns) {
            cli_sweep_ask(job);
            cli_sweep_judge(job);
            if (s->is_giving_up && !s->is_cancelled)
                cli_sweep_cancel_waiting(job);
            s->next_ask_ns = cli_now_ns() + ask_after(s);
        }
        if (s->is_giving_up)
            cli_sweep_drop_new(s);
        if (is_settled(s) && !wants_more(job))
            break;
        rc = cli_sweep_submit(job, &err);
        if (rc < 0)
            break;
        draw(job);
        job->asked = cli_signal_wait(cli_now_ns() + LOOK_NS);
    }
    cli_progress_clear(&job->progress);
    qsort(job->runs, job->run_count, sizeof(*job->runs), by_start);
    if (rc < 0) {
        code = cli_fail("sweep", &err);
        if (err.code == WT_E_NOTFOUND)
            code = CLI_FAILURE; /* no sbatch, as with submit */
    }
    char *list = rc < 0 || job->asked ? cli_sweep_list_jobs(s, false) : NULL;
    if (list)
        cli_note("the jobs go on; `scancel %s` ends them", list);
    if (list && rc < 0 && !job->run_count) /* else it is told where the runs are */
        cli_resume_tell(&job->o, job->group, "go on with it", argc, argv);
    free(list);
    return code;
}
