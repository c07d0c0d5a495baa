/* sweep_slurm: the runs of a sweep as the tasks of a job array, on the nodes of a Slurm cluster.
 *
 * The task with the number N makes the Nth run of the plan (sweep_task.c), by the command line that
 * the sweep was given: one plan, made alike here and there. Slurm begins the tasks in the order of
 * their numbers, which is that of the plan, and puts them where there is room: rounds of settings
 * in random order fall on the nodes alike. What a task found lies in a folder that both sides see
 * (sweep_folder.h); from there it goes into the store, as a run made here would.
 *
 * Facts of Slurm 22.05, by trial: a job that is over is known to squeue for MinJobAge (5 min by
 * default) only; squeue ends with an error where it knows none of the jobs that it is asked for; a
 * task that Slurm requeues keeps its number, and has SLURM_RESTART_COUNT. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slurm.h"
#include "sweep.h"
#include "sweep_folder.h"

#define LOOK_NS    INT64_C(500000000)  /* into the folder */
#define ASK_NS     INT64_C(1000000000) /* Slurm, at first; seldom when it has taken long */
#define ASK_MAX_NS INT64_C(15000000000)
#define GIVE_UP    2 /* runs that failed */

enum task_state {
    TASK_NEW,    /* to be submitted */
    TASK_SENT,   /* Slurm has it */
    TASK_DONE,   /* its run is here */
    TASK_FAILED, /* and is not tried again by this sweep */
};

/* What Slurm says of one. */
enum task_word { WORD_UNKNOWN, WORD_WAITS, WORD_RUNS, WORD_LOST, WORD_OVER };

struct task {
    enum task_state state;
    enum task_word word;
    unsigned job;      /* the array that it was submitted in last; 0: none */
    unsigned again;    /* times that we submitted it again */
    unsigned restarts; /* times that Slurm began it again, in this array */
    int64_t over_ns;   /* since then it is not at work, and left no word; 0: no */
    bool is_left;      /* from before a resume, and not seen at work since: is just sent again */
    char slurm[24];    /* "NODE_FAIL" */
    char node[64];
};

struct sweep_slurm {
    struct wt_store *store;
    struct sweep_folder folder;
    char parent[3500];
    struct task *tasks;        /* owned; of each step */
    size_t limit;              /* steps that are wanted so far: whole rounds */
    char *jobs;                /* owned; the folder's file */
    char model[512];           /* of the devices that count so far; "": none do */
    struct sweep_word *before; /* owned; of a sweep that goes on, what was there already */
    size_t before_count;
    int64_t begun_ns, next_ask_ns, delay_ns;
    bool is_giving_up, is_cancelled, is_deaf; /* deaf: it was said that Slurm does not answer */
    bool is_stricter_told, is_cancel_told;
};

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

/* Of a sweep that goes on: the runs that ended while nobody waited. Those on other models than the
 * first stay where they are. */
static int keep_all(struct sweep_slurm *s, const char *group, struct wt_error *err)
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
        rc = keep_all(s, group, err);
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

/* ---- submitting ---- */

static bool is_of(const struct sweep_slurm *s, size_t i, enum task_state state)
{
    return s->tasks[i].state == state;
}

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
static void read_jobs(const struct sweep_job *job)
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
static int write_script(const struct sweep_job *job, int argc, char **argv, struct wt_error *err)
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

/* scancel of an array or of one of its tasks. What is over already is no error. Errors: WT_E_IO,
 * those of cli_slurm_run(). */
static int cancel(const char *id, bool is_waiting_only, struct wt_error *err)
{
    char name[48], *said = NULL;
    snprintf(name, sizeof(name), "%s", id);
    char *const waiting[] = {"scancel", "--state=PENDING", name, NULL};
    char *const all[] = {"scancel", name, NULL};
    int rc = cli_slurm_run(is_waiting_only ? waiting : all, &said, err);
    if (rc > 0 && (strstr(said, "Invalid job id") || strstr(said, "already complet")))
        rc = 0;
    if (rc > 0) {
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
    if (cancel(id, false, &err) == 0) {
        cli_note("job %u could not be noted, and is cancelled", number);
        return;
    }
    cli_note("job %u could not be noted, nor cancelled: %s", number, err.text);
    cli_note("  try: `scancel %u` ends it", number);
}

/* What is to be submitted. */
static int submit(struct sweep_job *job, struct wt_error *err)
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
        s->next_ask_ns = cli_now_ns() + ASK_NS;
    }
    free(said);
    free(list);
    free(b);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

/* The arrays that tasks are still in, each once, owned; NULL: no memory. */
static unsigned *arrays_of(const struct sweep_slurm *s, bool is_unknown_only, size_t *ret_count)
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

/* "12,15" of them, owned; NULL: tasks are in none, or no memory. */
static char *list_jobs(const struct sweep_slurm *s, bool is_unknown_only)
{
    char *text = NULL;
    size_t size = 0, count = 0;
    unsigned *arrays = arrays_of(s, is_unknown_only, &count);
    FILE *out = count ? open_memstream(&text, &size) : NULL;
    for (size_t i = 0; out && i < count; i++)
        fprintf(out, "%s%u", i ? "," : "", arrays[i]);
    free(arrays);
    if (out && fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* scancel of what has not begun: the rest would fail too. */
static void cancel_waiting(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    size_t count = 0;
    unsigned *arrays = arrays_of(s, false, &count);
    s->is_cancelled = arrays != NULL;
    for (size_t i = 0; i < count; i++) {
        struct wt_error err = {0};
        char id[24];
        snprintf(id, sizeof(id), "%u", arrays[i]);
        if (cancel(id, true, &err) == 0)
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

/* What was not submitted yet is not any more. */
static void drop_new(struct sweep_slurm *s)
{
    for (size_t i = 0; i < s->limit; i++)
        if (is_of(s, i, TASK_NEW))
            s->tasks[i].state = TASK_FAILED;
}

/* ---- what became of the tasks ---- */

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
    if (cancel(id, false, &err) < 0)
        cli_note("%s", err.text);
    failed(job, i);
}

static void look(struct sweep_job *job)
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

static void ask(struct sweep_job *job)
{
    struct sweep_slurm *s = job->slurm;
    char *said = NULL, *list = list_jobs(s, false);
    struct wt_error err = {0};
    int code;
    if (!list)
        return;
    char *const squeue[] = {"squeue", "--noheader",           "--array", "--states=all", "--jobs",
                            list,     "--format=%F_%K|%T|%N", NULL};
    code = cli_slurm_run(squeue, &said, &err);
    free(list);
    if (code < 0 || (code && !strstr(said, "Invalid job id"))) {
        if (!s->is_deaf) {
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
    list = list_jobs(s, true);
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
    if (cli_slurm_run(sacct, &said, &err) == 0)
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

static void judge(struct sweep_job *job)
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
        rc = write_script(job, argc, argv, err);
    if (rc == 0 && !(s->tasks = calloc(job->step_count, sizeof(*s->tasks))))
        rc = err->code = WT_E_NOMEM;
    if (rc < 0)
        return rc;
    s->jobs = cli_folder_read(&s->folder, "jobs");
    s->limit = job->point_count * job->o.repeats;
    s->delay_ns = cli_folder_delay_ns(&s->folder);
    s->begun_ns = cli_now_ns();
    read_jobs(job);
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
    /* What ended while nobody waited is in the store by now: who is not at work is sent again. */
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
    ask(job);
    look(job); /* some ended since then, and Slurm said so */
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
    return after_ns < ASK_NS ? ASK_NS : after_ns > ASK_MAX_NS ? ASK_MAX_NS : after_ns;
}

int cli_sweep_slurm_run(struct sweep_job *job, int argc, char **argv)
{
    struct sweep_slurm *s = job->slurm;
    struct wt_error err = {0};
    int code = -1, rc = begin(job, argc, argv, &err);
    while (rc == 0 && !job->asked) {
        look(job);
        if (cli_now_ns() >= s->next_ask_ns) {
            ask(job);
            judge(job);
            if (s->is_giving_up && !s->is_cancelled)
                cancel_waiting(job);
            s->next_ask_ns = cli_now_ns() + ask_after(s);
        }
        if (s->is_giving_up)
            drop_new(s);
        if (is_settled(s) && !wants_more(job))
            break;
        rc = submit(job, &err);
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
    char *list = rc < 0 || job->asked ? list_jobs(s, false) : NULL;
    if (list)
        cli_note("the jobs go on; `scancel %s` ends them", list);
    if (list && rc < 0 && !job->run_count) /* else it is told where the runs are */
        cli_resume_tell(&job->o, job->group, argc, argv);
    free(list);
    return code;
}
