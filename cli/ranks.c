/* ranks: one command started many times by srun or mpirun.
 *
 * The ranks of a node meet in a folder whose name follows from the job,
 * /tmp/wattune-UID-GROUP-NODE: it is the door of the run, and each rank that steps aside leaves
 * "PID.rank" there, with the GPUs it was given. Nobody waits for anybody but the one that measures,
 * half a second at most, and only where ranks were given GPUs of their own.
 *
 * A record covers the ranks that said where they run and were over when it ended; where it cannot
 * tell of the others, it covers the one that measures, and no sum is made (record/sum.c).
 *
 * Facts of Slurm 22.05, by trial: a batch script has SLURM_PROCID and SLURM_LOCALID too, and no
 * SLURM_STEP_ID; with --gpus-per-task each rank sees its own GPU alone, in CUDA_VISIBLE_DEVICES and
 * in SLURM_STEP_GPUS; a job that was requeued has its number and steps' from before, and
 * SLURM_RESTART_COUNT. */
#include "ranks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RANKS_MAX 1000000

static bool number(const char *name, unsigned *ret)
{
    const char *text = getenv(name);
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value > RANKS_MAX)
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool either(const char *name, const char *other, unsigned *ret)
{
    return number(name, ret) || number(other, ret);
}

/* What is safe in a file's name and in a group; the end tells jobs apart, so that is kept. */
static void take_name(char *buf, size_t size, const char *kind, const char *text)
{
    size_t room = size - strlen(kind) - 2, len = strlen(text), used;
    if (len > room)
        text += len - room;
    used = (size_t)snprintf(buf, size, "%s-", kind);
    for (; *text && used + 1 < size; text++) {
        bool is_plain = strchr("._-", *text) || (*text >= '0' && *text <= '9') ||
                        (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        buf[used++] = is_plain ? *text : '-';
    }
    buf[used] = '\0';
}

/* Of "3,1" or "2(x3),1" the number at a node. */
static unsigned tasks_at(const char *text, unsigned node)
{
    for (const char *p = text ? text : ""; *p >= '0' && *p <= '9';) {
        char *end;
        unsigned long tasks = strtoul(p, &end, 10), times = 1;
        if (strncmp(end, "(x", 2) == 0)
            times = strtoul(end + 2, &end, 10);
        end += *end == ')';
        if (node < times)
            return tasks <= RANKS_MAX ? (unsigned)tasks : 0;
        node -= (unsigned)times;
        p = end + (*end == ',');
    }
    return 0;
}

static bool find_mpirun(struct cli_ranks *r)
{
    unsigned local, rank;
    const char *job = getenv("PMIX_NAMESPACE");
    if (!job || !*job)
        job = getenv("OMPI_MCA_ess_base_jobid");
    if (number("OMPI_COMM_WORLD_LOCAL_RANK", &local) && number("OMPI_COMM_WORLD_RANK", &rank)) {
        if (!number("OMPI_COMM_WORLD_LOCAL_SIZE", &r->here) ||
            !number("OMPI_COMM_WORLD_SIZE", &r->all))
            return false;
    } else if (number("MPI_LOCALRANKID", &local) && number("PMI_RANK", &rank)) {
        if (!number("MPI_LOCALNRANKS", &r->here) || !number("PMI_SIZE", &r->all))
            return false;
    } else {
        return false;
    }
    char own[32]; /* mpirun's ranks are children of one process on a node: a name for one node */
    if (!job || !*job) {
        snprintf(own, sizeof(own), "%ld", (long)getppid());
        job = own;
    }
    take_name(r->group, sizeof(r->group), "mpi", job);
    r->nodes = r->here == r->all ? 1 : 0;
    r->is_first_here = local == 0;
    r->is_first_of_all = rank == 0;
    return true;
}

static bool find_slurm(struct cli_ranks *r)
{
    unsigned job, step, local, rank, restart = 0;
    char name[40], again[16] = "";
    if (!number("SLURM_JOB_ID", &job) || !either("SLURM_STEP_ID", "SLURM_STEPID", &step) ||
        !number("SLURM_LOCALID", &local) || !number("SLURM_PROCID", &rank) ||
        !number("SLURM_NODEID", &r->node))
        return false;
    if (!either("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", &r->all) ||
        !either("SLURM_STEP_NUM_NODES", "SLURM_NNODES", &r->nodes))
        return false;
    r->here = tasks_at(getenv("SLURM_STEP_TASKS_PER_NODE"), r->node);
    if (!r->here) /* Slurm does not say: as if all were alike */
        r->here = r->nodes ? (r->all + r->nodes - 1) / r->nodes : r->all;
    if (number("SLURM_RESTART_COUNT", &restart) && restart)
        snprintf(again, sizeof(again), "-r%u", restart);
    snprintf(name, sizeof(name), "%u.%u%s", job, step, again);
    take_name(r->group, sizeof(r->group), "slurm", name);
    r->is_first_here = local == 0;
    r->is_first_of_all = rank == 0 || (r->node == 0 && local == 0);
    return true;
}

void cli_ranks_find(struct cli_ranks *ret_ranks)
{
    struct cli_ranks r = {0};
    if ((!find_mpirun(&r) && !find_slurm(&r)) || r.all < 2) {
        *ret_ranks = (struct cli_ranks){0};
        return;
    }
    const char *node = getenv("SLURMD_NODENAME");
    r.is_many = true;
    take_name(r.dir, sizeof(r.dir), "", node && *node ? node : "");
    snprintf(r.node_name, sizeof(r.node_name), "%s", node ? node : "");
    char tail[64];
    snprintf(tail, sizeof(tail), "%.60s", r.dir);
    snprintf(r.dir, sizeof(r.dir), "/tmp/wattune-%u-%s%s", (unsigned)geteuid(), r.group,
             tail[1] ? tail : "");
    /* The command of a rank that measures may call us again: that is a run of its own. */
    const char *door = getenv("WATTUNE_DOOR");
    if (r.is_first_here && door && strcmp(door, r.dir) == 0)
        r = (struct cli_ranks){0};
    *ret_ranks = r;
}

/* Another user may have taken the name: then there is no folder, and no marks. */
static bool own_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return false;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & 077);
}

/* Whole under its name or not there: written beside and renamed. */
static void leave_word(const struct cli_ranks *r)
{
    char path[200], beside[200];
    const char *gpus = getenv("CUDA_VISIBLE_DEVICES"), *step = getenv("SLURM_STEP_GPUS");
    snprintf(path, sizeof(path), "%s/%ld.rank", r->dir, (long)getpid());
    snprintf(beside, sizeof(beside), "%s/%ld.rank-new", r->dir, (long)getpid());
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    dprintf(fd, "%s\n%s\n", gpus ? gpus : "", step ? step : "");
    close(fd);
    rename(beside, path);
}

int cli_ranks_step_aside(const struct cli_ranks *r, char **argv)
{
    if (own_folder(r->dir)) {
        setenv("WATTUNE_DOOR", r->dir, 1);
        leave_word(r);
    }
    execvp(argv[0], argv);
    int why = errno;
    struct wt_error err = {.code = why == ENOENT ? WT_E_NOTFOUND : WT_E_DENIED};
    snprintf(err.text, sizeof(err.text), "%.200s: %s", argv[0], strerror(why));
    cli_fail("run", &err);
    return why == ENOENT ? 127 : 126;
}

/* Adds what of a list of GPUs is not in another. False: no room, or a list that is none. */
static bool merge(char *list, size_t size, const char *more)
{
    while (*more) {
        size_t len = strcspn(more, ","), at = strlen(list);
        bool is_there = false;
        for (const char *p = list; *p && !is_there; p += strcspn(p, ","), p += *p == ',')
            is_there = strcspn(p, ",") == len && strncmp(p, more, len) == 0;
        if (!len || (!is_there && at + len + 2 > size))
            return false;
        if (!is_there)
            snprintf(list + at, size - at, "%s%.*s", at ? "," : "", (int)len, more);
        more += len;
        more += *more == ',';
    }
    return true;
}

struct words {
    char seen[512], slurm[512]; /* GPUs as the ranks see them, and as Slurm numbers them */
    unsigned count;             /* ranks */
    bool is_bad;
};

static size_t length_of(const char *list)
{
    size_t n = *list != '\0';
    for (; *list; list++)
        n += *list == ',';
    return n;
}

static void read_word(int dir_fd, const char *name, struct words *w)
{
    char text[1100], *slurm, *end;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    slurm = strchr(text, '\n');
    end = slurm ? strchr(slurm + 1, '\n') : NULL;
    if (!end)
        return;
    *slurm++ = *end = '\0';
    w->count++;
    w->is_bad |=
        !merge(w->seen, sizeof(w->seen), text) || !merge(w->slurm, sizeof(w->slurm), slurm);
}

static void each_word(const struct cli_ranks *r, struct words *w, unsigned *ret_running)
{
    DIR *dir = opendir(r->dir);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (pid <= 0 || strcmp(end, ".rank") != 0)
            continue;
        if (w)
            read_word(dirfd(dir), e->d_name, w);
        if (ret_running && kill((pid_t)pid, 0) == 0)
            ++*ret_running;
    }
    closedir(dir);
}

void cli_ranks_gather(struct cli_ranks *r)
{
    const char *seen = getenv("CUDA_VISIBLE_DEVICES"), *slurm = getenv("SLURM_STEP_GPUS");
    const struct timespec nap = {0, 10000000};
    struct words w;
    r->covered = r->here;
    if (!own_folder(r->dir)) {
        cli_note("%s is not ours alone: what other ranks tell of their work is not heard", r->dir);
        r->dir[0] = '\0';
        r->covered = 1;
        return;
    }
    if (!seen || !*seen)
        return; /* it sees all there are */
    for (int i = 0; i < 50; i++) {
        w = (struct words){.count = 1};
        w.is_bad = !merge(w.seen, sizeof(w.seen), seen) ||
                   !merge(w.slurm, sizeof(w.slurm), slurm ? slurm : "");
        each_word(r, &w, NULL);
        if (w.count >= r->here)
            break;
        nanosleep(&nap, NULL);
    }
    if (w.is_bad) {
        r->covered = 1;
        return;
    }
    if (w.count < r->here) {
        r->covered = w.count;
        cli_note("%u of %u ranks here said nothing of their GPUs: those that they alone have are "
                 "not measured (--gpu names all)",
                 r->here - w.count, r->here);
    }
    if (r->here > 1 && length_of(w.slurm) > length_of(w.seen)) {
        r->covered = 1; /* which of the others has which of them is not known */
        cli_note("the ranks of this node were given %zu GPUs, of which this one can see %zu: the "
                 "others' energy is not in what follows",
                 length_of(w.slurm), length_of(w.seen));
    }
    if (strcmp(w.seen, seen) != 0)
        snprintf(r->gpus, sizeof(r->gpus), "%s", w.seen);
}

unsigned cli_ranks_running(struct cli_ranks *r)
{
    const struct timespec nap = {0, 10000000};
    unsigned running = 0, others = 0;
    /* The folder goes with us: one that comes later would make it anew, and leave it. Ranks that
     * end together end so within milliseconds. */
    for (int i = 0; r->dir[0] && i < 50 && (i == 0 || others + 1 < r->here || (running && i < 20));
         i++) {
        struct words w = {0};
        if (i)
            nanosleep(&nap, NULL);
        running = 0;
        each_word(r, &w, &running);
        others = w.count;
    }
    unsigned over = others >= running ? others - running + 1 : 1;
    r->covered = r->covered < over ? r->covered : over;
    return running;
}

void cli_ranks_tell(const struct cli_ranks *r, struct wt_run *run)
{
    snprintf(run->group, sizeof(run->group), "%s", r->group);
    if (r->node_name[0])
        snprintf(run->host, sizeof(run->host), "%s", r->node_name);
    run->node.index = r->node;
    run->node.count = r->covered;
    run->node.nodes = r->nodes;
    run->node.ranks = r->all;
}

/* Whether another node has begun to write into this store. */
static bool is_shared(const struct wt_run *runs, size_t count, const struct wt_run *run)
{
    for (size_t i = 0; i < count; i++)
        if (runs[i].node.count && strcmp(runs[i].id, run->id) != 0 &&
            (runs[i].node.index != run->node.index || strcmp(runs[i].host, run->host) != 0))
            return true;
    return false;
}

/* Whether there is nothing to wait for: every node has told, and ended. */
static bool is_complete(const struct wt_run_sum *sum, const struct wt_run *runs)
{
    if (sum->is_whole || !sum->nodes || sum->count < sum->nodes)
        return sum->is_whole;
    for (size_t i = 0; i < sum->count; i++)
        if (runs[sum->parts[i]].state != WT_RUN_DONE)
            return false;
    return true;
}

void cli_ranks_sum(const struct cli_ranks *r, struct wt_store *store, const struct wt_run *run,
                   int64_t wait_ns)
{
    struct wt_run_sum sum = {0};
    struct wt_error err = {0};
    struct wt_run *runs = NULL;
    size_t count = 0;
    bool is_alone = false;
    int64_t begin_ns = cli_now_ns();
    if (!store) {
        cli_note("no store: the sum over the nodes cannot be made");
        return;
    }
    for (;;) {
        int64_t spent_ns = cli_now_ns() - begin_ns;
        wt_run_sum_done(&sum);
        wt_runs_free(runs, count);
        runs = NULL;
        count = 0;
        if (wt_store_list(store, NULL, r->group, 0, &runs, &count, &err) < 0 ||
            wt_run_sum_make(&sum, runs, count, run->command, &err) < 0) {
            cli_note("no sum over the nodes: %s", err.text);
            break;
        }
        is_alone = !is_shared(runs, count, run);
        if (is_complete(&sum, runs) || spent_ns >= wait_ns ||
            (is_alone && spent_ns >= 1000000000) || cli_signal_wait(cli_now_ns() + 100000000))
            break;
    }
    if (sum.count) {
        struct wt_term term;
        wt_term_init(&term, stderr);
        wt_report_sum(&term, &sum, runs);
        if (!is_complete(&sum, runs))
            cli_note(is_alone ? "the other nodes do not write into this store; where they do "
                                "($XDG_DATA_HOME), `wattune runs --sum %s` makes the sum"
                              : "once they are there, `wattune runs --sum %s` makes the sum",
                     r->group);
    }
    wt_run_sum_done(&sum);
    wt_runs_free(runs, count);
}
