/* sweep_collect: what became of the tasks of a sweep by Slurm. A task that ended by itself left a
 * word in the folder (sweep_folder.h), and its run goes into the store; of the others Slurm is
 * asked, squeue and where there is accounting sacct. One that was lost is to be submitted again,
 * one that failed is not.
 *
 * Facts of Slurm 22.05, by trial: a job that is over is known to squeue for MinJobAge (5 min by
 * default) only; squeue ends with an error where it knows none of the jobs that it is asked for; a
 * task that Slurm requeues keeps its number, and has SLURM_RESTART_COUNT. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm.h"
#include "sweep_slurm.h"

#define GIVE_UP 2 /* runs that failed */

/* "2 x Tesla V100-PCIE-32GB, Xeon Gold 6248": what of the devices must be alike. */
static void describe_model(const struct wt_run *run, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        size_t same = 0;
        bool is_first = d->is_counted;
        for (size_t k = 0; k < run->device_count; k++)
            if (run->devices[k].is_counted && strcmp(run->devices[k].name, d->name) == 0) {
                same++;
                is_first &= k >= i;
            }
        if (!is_first || used + 1 >= size)
            continue;
        char count[24] = "";
        if (same > 1)
            snprintf(count, sizeof(count), "%zu x ", same);
        snprintf(buf + used, size - used, "%s%s%s", used ? ", " : "", count, d->name);
        used = strlen(buf);
    }
}

static bool is_usable(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && run->exit_code == 0;
}

/* The run that a task left, whole. Errors: those of wt_store_load(). */
static int load_run(const struct sweep_slurm *s, const struct sweep_word *word,
                    struct wt_run *ret_run, struct wt_error *err)
{
    char dir[4096];
    struct wt_store *store = NULL;
    cli_folder_try(s->folder.path, word, dir, sizeof(dir));
    int rc = wt_store_open(&store, dir, err);
    if (rc == 0)
        rc = wt_store_load(store, "last", ret_run, err);
    wt_store_close(store);
    return rc;
}

/* Into the store, if it is not there. */
static int keep_run(struct sweep_slurm *s, struct wt_run *run, struct wt_error *err)
{
    int rc = wt_store_begin(s->store, run, err);
    if (rc == WT_E_STATE) {
        run->state = WT_RUN_DONE;
        return 0;
    }
    return rc < 0 ? rc : wt_store_end(s->store, run, err);
}

int cli_sweep_keep_all(struct sweep_slurm *s, const char *group, struct wt_error *err)
{
    struct wt_run *heads = NULL;
    size_t count = 0;
    int rc = wt_store_list(s->store, NULL, group, 0, &heads, &count, err);
    for (size_t i = 0; rc == 0 && i < count && !s->model[0]; i++)
        if (is_usable(&heads[i]))
            describe_model(&heads[i], s->model, sizeof(s->model));
    wt_runs_free(heads, count);
    s->before = cli_folder_words(&s->folder, &s->before_count);
    for (size_t i = 0; i < s->before_count && rc == 0; i++) {
        struct wt_run run = {0};
        char model[sizeof(s->model)];
        cli_folder_read_word(&s->folder, &s->before[i]);
        if (s->before[i].code < 0 || load_run(s, &s->before[i], &run, NULL) < 0)
            continue;
        describe_model(&run, model, sizeof(model));
        if (is_usable(&run) && !s->model[0])
            snprintf(s->model, sizeof(s->model), "%s", model);
        if (run.state == WT_RUN_DONE && (!is_usable(&run) || strcmp(model, s->model) == 0))
            rc = keep_run(s, &run, err);
        wt_run_done(&run);
    }
    return rc;
}

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

unsigned *cli_sweep_arrays_of(const struct sweep_slurm *s, bool is_unknown_only, size_t *ret_count)
{
    unsigned *arrays = calloc(s->limit + 1, sizeof(*arrays));
    size_t found = 0, count = 0;
    for (size_t i = 0; i < s->limit && arrays; i++)
        if (is_of(s, i, TASK_SENT) && (!is_unknown_only || s->tasks[i].word == WORD_UNKNOWN))
            arrays[found++] = s->tasks[i].job;
    if (found)
        qsort(arrays, found, sizeof(*arrays), by_number);
    for (size_t i = 0; i < found; i++)
        if (!count || arrays[i] != arrays[count - 1])
            arrays[count++] = arrays[i];
    *ret_count = count;
    return arrays;
}

char *cli_sweep_list_jobs(const struct sweep_slurm *s, bool is_unknown_only)
{
    char *text = NULL;
    size_t size = 0, count = 0;
    unsigned *arrays = cli_sweep_arrays_of(s, is_unknown_only, &count);
    FILE *out = count ? open_memstream(&text, &size) : NULL;
    for (size_t i = 0; out && i < count; i++)
        fprintf(out, "%s%u", i ? "," : "", arrays[i]);
    free(arrays);
    if (out && fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static const char *name_of(const struct sweep_job *job, size_t i, char *buf, size_t size)
{
    snprintf(buf, size, "%s, run %u", job->points[job->steps[i].point].label,
             job->steps[i].repeat + 1);
    return buf;
}

static void show_log(const struct sweep_job *job, size_t i)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%u_%zu.log", job->slurm->folder.path, job->slurm->tasks[i].job,
             i);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    cli_sweep_show_log_end(fd, 0);
    close(fd);
}

/* What waits is cancelled, at once. */
static void give_up(struct sweep_slurm *s)
{
    s->is_giving_up = true;
    s->next_ask_ns = 0;
}

static void failed(struct sweep_job *job, size_t i)
{
    job->slurm->tasks[i].state = TASK_FAILED;
    job->failed++;
    if (job->failed == GIVE_UP && !job->slurm->is_giving_up) {
        give_up(job->slurm);
        cli_note("two runs failed: giving up");
    }
}

/* Its node failed, it was preempted, or Slurm knows nothing of it any more. */
static void lost(struct sweep_job *job, size_t i)
{
    struct task *t = &job->slurm->tasks[i];
    char name[120];
    bool is_again = t->again + t->restarts < job->o.slurm.resubmit && !job->slurm->is_giving_up;
    cli_progress_clear(&job->progress);
    cli_note("%s was lost%s%s (%s)%s", name_of(job, i, name, sizeof(name)),
             t->node[0] ? " on " : "", t->node,
             t->slurm[0] ? t->slurm : "Slurm does not know it any more",
             is_again ? ": it is submitted again" : ", and is not submitted again");
    t->again += 1 + t->restarts;
    if (is_again)
        t->state = TASK_NEW;
    else
        failed(job, i);
}

static void other_model(struct sweep_job *job, size_t i, const struct wt_run *run,
                        const char *model)
{
    struct sweep_slurm *s = job->slurm;
    char name[120];
    cli_progress_clear(&job->progress);
    cli_note("%s was made on %s (%s), the runs before it on %s: they cannot be compared, and it is "
             "left out",
             name_of(job, i, name, sizeof(name)), model, run->host, s->model);
    if (!s->is_giving_up)
        cli_note("  try: --resume with --sbatch-option=--constraint=FEATURE, or --partition, for "
                 "nodes with %s alone",
                 s->model);
    give_up(s);
    failed(job, i);
}

/* Of a site's default, say: the run is not at the setting that its label says. */
static void tell_stricter(struct sweep_job *job, const char *name, const struct wt_run *run)
{
    struct sweep_slurm *s = job->slurm;
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *set = &run->settings[i];
        if (set->knob != WT_KNOB_POWER || set->enforced >= set->requested)
            continue;
        cli_progress_clear(&job->progress);
        cli_note("%s: a stricter limit held on %s, %g W", name, run->host,
                 wt_knob_to_user(set->enforced));
        if (!s->is_stricter_told)
            cli_note("  try: --sbatch-option=--power-cap=off, where the limit is the site's "
                     "default for jobs");
        s->is_stricter_told = true;
        return;
    }
}

/* A task has ended by itself. */
static void take_word(struct sweep_job *job, const struct sweep_word *word)
{
    struct sweep_slurm *s = job->slurm;
    struct task *t = &s->tasks[word->step];
    struct wt_run run = {0};
    struct wt_error err = {0};
    char model[sizeof(s->model)], name[120];
    name_of(job, word->step, name, sizeof(name));
    snprintf(t->node, sizeof(t->node), "%s", word->node);
    if (word->code == SWEEP_WORD_TOO_OFTEN) {
        cli_progress_clear(&job->progress);
        cli_note("%s was lost %u times, and is not begun again", name, word->restart);
        failed(job, word->step);
        return;
    }
    bool is_there = load_run(s, word, &run, &err) == 0 && run.state == WT_RUN_DONE;
    describe_model(&run, model, sizeof(model));
    if (is_there && is_usable(&run) && s->model[0] && strcmp(model, s->model) != 0) {
        other_model(job, word->step, &run, model);
        wt_run_done(&run);
        return;
    }
    if (is_there && is_usable(&run) && !s->model[0])
        snprintf(s->model, sizeof(s->model), "%s", model);
    if (is_there && keep_run(s, &run, &err) < 0)
        cli_note("%s is not stored: %s", name, err.text);
    if (!is_there || !is_usable(&run)) {
        cli_progress_clear(&job->progress);
        if (is_there)
            cli_note("%s: the command exited with %d on %s", name, run.exit_code, word->node);
        else
            cli_note("%s could not be made on %s (exit code %d)", name, word->node, word->code);
        show_log(job, word->step);
        failed(job, word->step);
    } else {
        t->state = TASK_DONE;
        job->steps[word->step].is_stored = true;
        tell_stricter(job, name, &run);
        cli_progress_done(&job->progress, &run);
    }
    if (is_there)
        job->runs[job->run_count++] = run;
    else
        wt_run_done(&run);
}

/* Slurm has begun it again, more often than was allowed with the times that we did. */
static void too_often(struct sweep_job *job, size_t i)
{
    const struct task *t = &job->slurm->tasks[i];
    struct wt_error err = {0};
    char name[120], id[48];
    cli_note("%s was lost %u times, and is cancelled (--resubmit)",
             name_of(job, i, name, sizeof(name)), t->again + t->restarts);
    snprintf(id, sizeof(id), "%u_%zu", t->job, i);
    if (cli_sweep_cancel(id, false, &err) < 0)
        cli_note("%s", err.text);
    failed(job, i);
}

void cli_sweep_look(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    size_t count = 0;
    char name[120];
    struct sweep_word *words = cli_folder_words(&s->folder, &count);
    for (size_t k = 0; k < count; k++) {
        struct sweep_word *word = &words[k];
        struct task *t = word->step < s->limit ? &s->tasks[word->step] : NULL;
        if (!t || t->state != TASK_SENT || t->job != word->job)
            continue;
        cli_folder_read_word(&s->folder, word);
        if (word->restart > t->restarts) {
            t->restarts = word->restart;
            cli_progress_clear(&job->progress);
            if (word->code == SWEEP_WORD_NONE && t->again + t->restarts > job->o.slurm.resubmit) {
                too_often(job, word->step);
                continue;
            }
            cli_note("%s was lost, and Slurm has begun it again",
                     name_of(job, word->step, name, sizeof(name)));
        }
        if (word->code != SWEEP_WORD_NONE)
            take_word(job, word);
    }
    free(words);
}

static enum task_word word_of(const char *state)
{
    static const struct {
        const char *name;
        enum task_word word;
    } rows[] = {
        {"RUNNING", WORD_RUNS},   {"COMPLETING", WORD_RUNS}, {"SUSPENDED", WORD_RUNS},
        {"NODE_FAIL", WORD_LOST}, {"BOOT_FAIL", WORD_LOST},  {"PREEMPTED", WORD_LOST},
        {"REVOKED", WORD_LOST},   {"COMPLETED", WORD_OVER},  {"FAILED", WORD_OVER},
        {"CANCELLED", WORD_OVER}, {"TIMEOUT", WORD_OVER},    {"OUT_OF_MEMORY", WORD_OVER},
        {"DEADLINE", WORD_OVER},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (strncmp(state, rows[i].name, strlen(rows[i].name)) == 0)
            return rows[i].word;
    return WORD_WAITS;
}

/* Lines "JOB_TASK|STATE|NODE", of squeue or sacct. */
static void take_states(struct sweep_job *job, char *text)
{
    struct sweep_slurm *s = job->slurm;
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest)) != NULL;) {
        unsigned number, step;
        char state[24];
        if (sscanf(line, "%u_%u|%23[A-Z_]", &number, &step, state) != 3)
            continue;
        const char *node = strrchr(line, '|') + 1;
        struct task *t = step < s->limit ? &s->tasks[step] : NULL;
        if (!t || t->state != TASK_SENT || t->job != number)
            continue;
        t->word = word_of(state);
        snprintf(t->slurm, sizeof(t->slurm), "%s", state);
        if (node[0] && node[0] != '(' && strncmp(node, "None", 4) != 0)
            snprintf(t->node, sizeof(t->node), "%.63s", node);
    }
}

void cli_sweep_ask(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    char *said = NULL, *list = cli_sweep_list_jobs(s, false);
    struct wt_error err = {0};
    int code;
    if (!list)
        return;
    char *const squeue[] = {"squeue", "--noheader",           "--array", "--states=all", "--jobs",
                            list,     "--format=%F_%K|%T|%N", NULL};
    code = cli_slurm_ask(squeue, &said, &err);
    free(list);
    if (code < 0 || (code && !strstr(said, "Invalid job id"))) {
        if (!s->is_deaf && !cli_signal_is_pending()) {
            cli_progress_clear(&job->progress);
            cli_note("squeue does not answer, and is asked again: %.200s", said ? said : err.text);
        }
        s->is_deaf = true;
        free(said);
        return;
    }
    s->is_deaf = false;
    for (size_t i = 0; i < s->limit; i++)
        if (is_of(s, i, TASK_SENT)) {
            s->tasks[i].word = WORD_UNKNOWN;
            s->tasks[i].slurm[0] = '\0';
        }
    if (!code)
        take_states(job, said);
    free(said);
    said = NULL;
    /* Those that ended some minutes ago; where there is no accounting it says nothing. */
    list = cli_sweep_list_jobs(s, true);
    if (!list)
        return;
    char *const sacct[] = {"sacct",
                           "--noheader",
                           "--allocations",
                           "--parsable2",
                           "--jobs",
                           list,
                           "--format=JobID,State,NodeList",
                           NULL};
    if (cli_slurm_ask(sacct, &said, &err) == 0)
        take_states(job, said);
    free(said);
    free(list);
}

/* Over, for Slurm, without a word in the folder. */
static void no_word(struct sweep_job *job, size_t i)
{
    struct task *t = &job->slurm->tasks[i];
    char name[120];
    name_of(job, i, name, sizeof(name));
    if (job->slurm->is_giving_up) { /* most likely it was we who cancelled it */
        t->state = TASK_FAILED;
        return;
    }
    if (t->word != WORD_OVER) {
        lost(job, i);
        return;
    }
    cli_progress_clear(&job->progress);
    if (strcmp(t->slurm, "COMPLETED") == 0 || strcmp(t->slurm, "FAILED") == 0) {
        cli_note("%s (%s%s%s) left no word in %s", name, t->slurm, t->node[0] ? " on " : "",
                 t->node, job->slurm->folder.path);
        cli_note("  try: --slurm-folder names a folder on a file system that the nodes share, and "
                 "wattune is at the same path there");
    } else {
        cli_note("%s ended as %s%s%s", name, t->slurm, t->node[0] ? " on " : "", t->node);
    }
    show_log(job, i);
    failed(job, i);
}

void cli_sweep_judge(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    int64_t now_ns = cli_now_ns();
    if (s->is_deaf)
        return;
    for (size_t i = 0; i < s->limit; i++) {
        struct task *t = &s->tasks[i];
        if (t->state != TASK_SENT)
            continue;
        if (t->word == WORD_WAITS || t->word == WORD_RUNS) {
            t->over_ns = 0;
            t->is_left = false;
        } else if (!t->over_ns) {
            t->over_ns = now_ns;
        } else if (now_ns - t->over_ns > s->delay_ns || t->word == WORD_LOST ||
                   strcmp(t->slurm, "CANCELLED") == 0) {
            if (t->is_left)
                t->state = TASK_NEW;
            else
                no_word(job, i);
        }
    }
}
