/* sweep_submit: the job arrays of a sweep by Slurm: made of the runs that are missing, noted in its
 * folder, and cancelled. What became of their tasks is sweep_collect.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm.h"
#include "sweep_slurm.h"

/* "0-3,7" of the tasks that are to be submitted, owned; NULL: none are, or no memory. */
static char *list_new(const struct sweep_slurm *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (size_t i = 0; out && i < s->limit; i++) {
        size_t last = i;
        if (!is_of(s, i, TASK_NEW))
            continue;
        while (last + 1 < s->limit && is_of(s, last + 1, TASK_NEW))
            last++;
        fprintf(out, "%s%zu", ftell(out) ? "," : "", i);
        if (last > i)
            fprintf(out, "-%zu", last);
        i = last;
    }
    if (!out || fclose(out) != 0 || !size) {
        free(text);
        return NULL;
    }
    return text;
}

/* Of "0-3,7" the next range; false: there is none. */
static bool next_range(const char **text, size_t *ret_from, size_t *ret_to)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    *ret_from = *ret_to = strtoul(*text, &end, 10);
    if (*end == '-')
        *ret_to = strtoul(end + 1, &end, 10);
    *text = end + (*end == ',');
    return true;
}

/* Each line of "jobs" says which tasks an array has; the last that has one is its. */
void cli_sweep_read_jobs(const struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    const char *line = s->jobs ? s->jobs : "";
    while (*line) {
        char *end;
        unsigned long number = strtoul(line, &end, 10);
        const char *list = end + (*end == ' ');
        for (size_t from, to; next_range(&list, &from, &to);)
            for (; from <= to && from < job->step_count; from++)
                if (is_of(s, from, TASK_NEW))
                    s->tasks[from].job = (unsigned)number;
        line = strchr(list, '\n') ? strchr(list, '\n') + 1 : "";
    }
    for (size_t i = 0; i < job->step_count; i++)
        if (s->tasks[i].job)
            s->tasks[i].state = TASK_SENT;
}

/* What each task runs: this program, as it was called here. */
int cli_sweep_write_script(const struct sweep_job *job, int argc, char **argv, struct wt_error *err)
{
    char self[4096], *text = NULL;
    size_t size = 0;
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        snprintf(err->text, sizeof(err->text), "/proc/self/exe: %s", strerror(errno));
        return err->code = WT_E_IO;
    }
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return err->code = WT_E_NOMEM;
    self[n] = '\0';
    fputs("#!/bin/sh\n# of `wattune sweep --slurm`: a task of the array makes a run of the plan\n"
          "exec ",
          out);
    cli_shell_word(out, self);
    fputs(" sweep --slurm-task ", out);
    cli_shell_word(out, job->slurm->folder.path);
    fprintf(out, " --seed %llu", (unsigned long long)job->plan.seed);
    for (int i = 1; i < argc; i++) {
        putc(' ', out);
        cli_shell_word(out, argv[i]);
    }
    putc('\n', out);
    if (fclose(out) != 0) {
        free(text);
        return err->code = WT_E_NOMEM;
    }
    int rc = cli_folder_write(&job->slurm->folder, "job.sh", text, err);
    free(text);
    return rc;
}

/* sbatch's command line; text holds what of it is made here. */
struct sbatch {
    char name[80], array[70000], log[4096], script[4096];
    char *argv[SWEEP_SBATCH_MAX + 16];
};

static void fill_sbatch(const struct sweep_job *job, const char *list, struct sbatch *b)
{
    const char *folder = job->slurm->folder.path;
    size_t n = 0;
    snprintf(b->name, sizeof(b->name), "--job-name=%s", job->group);
    snprintf(b->array, sizeof(b->array), "--array=%s", list);
    snprintf(b->log, sizeof(b->log), "--output=%s/%%A_%%a.log", folder);
    snprintf(b->script, sizeof(b->script), "%s/job.sh", folder);
    char *const words[] = {"sbatch", "--parsable",         b->name,    b->array,
                           b->log,   "--open-mode=append", "--requeue"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        b->argv[n++] = words[i];
    for (size_t i = 0; i < job->o.slurm.sbatch_count; i++)
        b->argv[n++] = (char *)(uintptr_t)job->o.slurm.sbatch[i];
    b->argv[n++] = b->script;
    b->argv[n] = NULL;
}

void cli_sweep_slurm_dry(const struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    struct sbatch *b = calloc(1, sizeof(*b));
    s->tasks = calloc(job->step_count, sizeof(*s->tasks));
    s->limit = s->tasks ? job->point_count * job->o.repeats : 0;
    for (size_t i = 0; i < s->limit; i++)
        s->tasks[i].state = job->steps[i].is_stored ? TASK_DONE : TASK_NEW;
    char *list = list_new(s);
    if (!b || !list)
        goto out;
    if (!job->o.resume)
        snprintf(s->folder.path, sizeof(s->folder.path), "%.3500s/SWEEP", s->parent);
    fill_sbatch(job, list, b);
    snprintf(b->name, sizeof(b->name), "--job-name=%s", job->o.resume ? job->group : "SWEEP");
    for (size_t i = 0; b->argv[i]; i++) {
        putchar(i ? ' ' : '\n');
        cli_shell_word(stdout, b->argv[i]);
    }
    putchar('\n');
out:
    free(list);
    free(b);
}

int cli_sweep_cancel(const char *id, bool is_waiting_only, struct wt_error *err)
{
    char name[48], *said = NULL;
    snprintf(name, sizeof(name), "%s", id);
    char *const waiting[] = {"scancel", "--state=PENDING", name, NULL};
    char *const all[] = {"scancel", name, NULL};
    int rc = cli_slurm_run(is_waiting_only ? waiting : all, &said, err);
    if (rc > 0 && (strstr(said, "Invalid job id") || strstr(said, "already complet")))
        rc = 0;
    if (rc > 0) {
        said[strcspn(said, "\n")] = '\0';
        snprintf(err->text, sizeof(err->text), "scancel %s: %.200s", id, said);
        rc = err->code = WT_E_IO;
    }
    free(said);
    return rc;
}

/* The number in sbatch's answer; every other line is for the user. 0: there is none. */
static unsigned read_job(char *text)
{
    unsigned job = 0;
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest)) != NULL;) {
        char *end;
        unsigned long number = strtoul(line, &end, 10);
        bool is_number = *line >= '1' && *line <= '9' && (!*end || *end == ';');
        if (is_number)
            job = (unsigned)number;
        else
            cli_note("%s", line);
    }
    return job;
}

static int note_job(struct sweep_slurm *s, unsigned number, const char *list, struct wt_error *err)
{
    char *more = NULL;
    if (asprintf(&more, "%s%u %s\n", s->jobs ? s->jobs : "", number, list) < 0)
        return err->code = WT_E_NOMEM;
    free(s->jobs);
    s->jobs = more;
    return cli_folder_write(&s->folder, "jobs", s->jobs, err);
}

/* An array that nobody would know of: not this sweep, nor one that goes on with it. */
static void take_back(unsigned number)
{
    struct wt_error err = {0};
    char id[24];
    snprintf(id, sizeof(id), "%u", number);
    if (cli_sweep_cancel(id, false, &err) == 0) {
        cli_note("job %u could not be noted, and is cancelled", number);
        return;
    }
    cli_note("job %u could not be noted, nor cancelled: %s", number, err.text);
    cli_note("  try: `scancel %u` ends it", number);
}

int cli_sweep_submit(struct sweep_job *job, struct wt_error *err)
{
    struct sweep_slurm *s = job->slurm;
    char *list = list_new(s), *said = NULL;
    struct sbatch *b = list ? calloc(1, sizeof(*b)) : NULL;
    int code = 0, rc = 0;
    unsigned number = 0;
    size_t count = 0;
    if (!list)
        return 0;
    if (!b)
        rc = err->code = WT_E_NOMEM;
    if (rc == 0 && strlen(list) + sizeof("--array=") > sizeof(b->array)) {
        snprintf(err->text, sizeof(err->text), "too many tasks for one job array");
        rc = err->code = WT_E_RANGE;
    }
    if (rc == 0) {
        fill_sbatch(job, list, b);
        code = cli_slurm_run(b->argv, &said, err);
        rc = code < 0 ? code : 0;
    }
    if (rc == 0) {
        number = read_job(said);
        if (code || !number) {
            snprintf(err->text, sizeof(err->text), "sbatch did not take the job (exit code %d)",
                     code);
            snprintf(err->fix, sizeof(err->fix), "what sbatch says stands above");
            rc = err->code = WT_E_IO;
        }
    }
    if (rc == 0) {
        rc = note_job(s, number, list, err);
        if (rc < 0)
            take_back(number);
    }
    for (size_t i = 0; i < s->limit && rc == 0; i++) {
        if (!is_of(s, i, TASK_NEW))
            continue;
        s->tasks[i].state = TASK_SENT;
        s->tasks[i].word = WORD_WAITS;
        s->tasks[i].job = number;
        s->tasks[i].restarts = 0;
        s->tasks[i].over_ns = 0;
        s->tasks[i].is_left = false;
        count++;
    }
    if (rc == 0) {
        fprintf(stderr, "job %u: %zu task%s\n", number, count, count > 1 ? "s" : "");
        s->next_ask_ns = cli_now_ns() + SWEEP_ASK_NS;
    }
    free(said);
    free(list);
    free(b);
    return rc;
}

void cli_sweep_cancel_waiting(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    size_t count = 0;
    unsigned *arrays = cli_sweep_arrays_of(s, false, &count);
    s->is_cancelled = arrays != NULL;
    for (size_t i = 0; i < count; i++) {
        struct wt_error err = {0};
        char id[24];
        snprintf(id, sizeof(id), "%u", arrays[i]);
        if (cli_sweep_cancel(id, true, &err) == 0)
            continue;
        s->is_cancelled = false;
        if (!s->is_cancel_told) {
            cli_progress_clear(&job->progress);
            cli_note("what has not begun is not cancelled, and that is tried again: %s", err.text);
        }
        s->is_cancel_told = true;
    }
    free(arrays);
}

void cli_sweep_drop_new(struct sweep_slurm *s)
{
    for (size_t i = 0; i < s->limit; i++)
        if (is_of(s, i, TASK_NEW))
            s->tasks[i].state = TASK_FAILED;
}
