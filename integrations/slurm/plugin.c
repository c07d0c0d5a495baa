/* plugin: Wattune's options in sbatch, srun and salloc, and its hooks in Slurm's helpers.
 *
 * Settings are made in job_prolog and ended in job_epilog, which Slurm runs for each job on each of
 * its nodes; what holds meanwhile is wattuned's and outlives every process here. Each of the two
 * works in a child of its own with a limit of time, and says success whatever happens: SPANK's
 * "optional" keeps a return code from draining the node, never a crash or a hang. The steps' hooks
 * write facts of the step, tell the user what the prolog noted, and refuse to run where
 * --power-cap-required was not met: from inside a task, where that fails the job and drains
 * nothing.
 *
 * What a user typed comes twice: checked where he typed it, and again here, as root, since his srun
 * is his. docs/slurm.md has the hooks and faults as measured. Includes Slurm's header and links
 * nothing of Slurm's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hold.h"

/* The one thing that slurmd looks up by name. */
#pragma GCC visibility push(default)
#include <slurm/spank.h>
SPANK_PLUGIN(wattune, 1)
#pragma GCC visibility pop

#define ENV_POWER    "WATTUNE_POWER" /* SPANK_WATTUNE_POWER in the prolog's environment */
#define ENV_GPUPOWER "WATTUNE_GPUPOWER"
#define ENV_CLOCK    "WATTUNE_CLOCK"
#define ENV_REQUIRED "WATTUNE_REQUIRED"
#define ENV_REPORT   "WATTUNE_REPORT"
#define ENV_AUTO     "WATTUNE_AUTO"

#define GUARD_NS    WT_NS_PER_S       /* beyond the talk's own limit */
#define ENERGY_NS   (3 * WT_NS_PER_S) /* for whoever measures, which looks once a second */
#define SERVE_S     5                 /* so old .serve may be, which it touches then */
#define ENERGY_MAX  2048
#define STEP_BATCH  0xfffffffbu
#define STEP_EXTERN 0xfffffffcu
#define STEP_INTER  0xfffffffau

enum { OPT_CAP = 1, OPT_GPUPOWER, OPT_CLOCK, OPT_REQUIRED, OPT_REPORT, OPT_COUNT };

/* One process is one sbatch, srun or slurmstepd: what was typed there, and what its step is. */
static struct wt_slurm_wish wish;
static char typed[OPT_COUNT][32];
static struct step {
    bool is_known, is_told, is_refused, is_ended;
    uint32_t job, step, exited, tasks;
    char name[32], dir[300], refused[400];
    const char *node;
    struct wt_slurm_facts facts; /* the job's */
} step;

/* ---- options ---- */

static int on_option(int val, const char *value, int remote)
{
    struct wt_error err = {0};
    int rc = 0;
    if (val <= 0 || val >= OPT_COUNT)
        return ESPANK_BAD_ARG;
    wt_text(typed[val], sizeof(typed[val]), "%s", value ? value : "1");
    if (val == OPT_CAP || val == OPT_GPUPOWER) {
        struct wt_slurm_wish now = wish;
        rc = val == OPT_CAP ? wt_slurm_parse_cap(value, &now, &err)
                            : wt_slurm_parse_gpupower(value, &now, &err);
        int other = val == OPT_CAP ? OPT_GPUPOWER : OPT_CAP;
        if (rc == 0 && *typed[other] && (now.power != wish.power || now.cap_mw != wish.cap_mw))
            rc = wt_fail(&err, WT_E_USAGE,
                         "--gpupower is another name of --power-cap: give one of them");
        if (rc == 0)
            wish = now;
    } else if (val == OPT_CLOCK) {
        rc = wt_slurm_parse_clock(value, &wish, &err);
    } else if (val == OPT_REQUIRED) {
        wish.is_required = true;
    } else {
        wish.has_report = true;
    }
    if (rc == 0)
        return ESPANK_SUCCESS;
    *typed[val] = '\0';
    if (remote)
        return ESPANK_SUCCESS; /* the prolog has said so, where it matters */
    slurm_error("wattune: %s", err.text);
    return ESPANK_BAD_ARG;
}

static struct spank_option options[] = {
    {(char *)"power-cap", (char *)"WATTS|auto|off",
     (char *)"power limit of each GPU of the job, as long as it runs", 1, OPT_CAP, on_option},
    {(char *)"power-cap-required", NULL, (char *)"do not run where the limit cannot be set", 0,
     OPT_REQUIRED, on_option},
    {(char *)"gpu-clock", (char *)"MHZ", (char *)"highest clock of each GPU of the job", 1,
     OPT_CLOCK, on_option},
    {(char *)"energy-report", NULL, (char *)"print the energy drawn, at the end", 0, OPT_REPORT,
     on_option},
    {(char *)"gpupower", (char *)"WATTS|yes|no", (char *)"another name of --power-cap", 1,
     OPT_GPUPOWER, on_option},
};

static void reconcile(int ac, char **av);

int slurm_spank_init(spank_t sp, int ac, char **av)
{
    (void)ac;
    (void)av;
    enum spank_context context = spank_context();
    if (context == S_CTX_SLURMD)
        reconcile(ac, av);
    if (context != S_CTX_LOCAL && context != S_CTX_ALLOCATOR && context != S_CTX_REMOTE)
        return ESPANK_SUCCESS;
    for (size_t i = 0; i < WT_COUNTOF(options); i++)
        if (spank_option_register(sp, &options[i]) != ESPANK_SUCCESS)
            slurm_error("wattune: --%s is taken by another plugin", options[i].name);
    return ESPANK_SUCCESS;
}

/* What the prolog is to know. */
static void send_options(spank_t sp)
{
    static const char *const names[OPT_COUNT] = {[OPT_CAP] = ENV_POWER,
                                                 [OPT_GPUPOWER] = ENV_GPUPOWER,
                                                 [OPT_CLOCK] = ENV_CLOCK,
                                                 [OPT_REQUIRED] = ENV_REQUIRED,
                                                 [OPT_REPORT] = ENV_REPORT};
    for (int i = 1; i < OPT_COUNT; i++)
        if (*typed[i] && spank_job_control_setenv(sp, names[i], typed[i], 1) != ESPANK_SUCCESS)
            slurm_error("wattune: Slurm does not pass %s on to the nodes", names[i]);
    if (wish.power != WT_SLURM_AUTO && wish.power != WT_SLURM_YES)
        return;
    struct wt_error err;
    int rc = wt_slurm_auto_own(wish.autos, sizeof(wish.autos), &err);
    if (rc < 0 && rc != WT_E_NOTFOUND)
        slurm_error("wattune: what was found best for you is not used: %s", err.text);
    else if (rc == 0 && spank_job_control_setenv(sp, ENV_AUTO, wish.autos, 1) != ESPANK_SUCCESS)
        slurm_error("wattune: Slurm does not pass %s on to the nodes", ENV_AUTO);
}

/* ---- prolog and epilog ---- */

/* A line, whatever bytes a user had in it: slurmd's log is root's to read. */
static void log_error(const char *text)
{
    char clean[1024];
    slurm_error("wattune: %s", wt_slurm_clean(clean, sizeof(clean), text));
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

static void doze(void)
{
    struct timespec moment = {.tv_nsec = 2 * WT_NS_PER_MS};
    nanosleep(&moment, NULL);
}

/* Runs fn in a child that is killed when it takes too long, or has nobody left to work for: Slurm
 * ends a prolog that is too slow, and then the job is not on this node. */
static void guard(void (*fn)(struct wt_slurm_hold *h), struct wt_slurm_hold *h, const char *what)
{
    int ends[2], status = 0;
    int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + h->config.timeout_ns + GUARD_NS;
    pid_t pid = -1, self = getpid();
    if (pipe2(ends, O_CLOEXEC) < 0) {
        fn(h);
        return;
    }
    pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != self)
            _exit(1);
        close(ends[0]);
        fn(h);
        _exit(0);
    }
    close(ends[1]);
    if (pid < 0) {
        fn(h);
    } else {
        /* Its end closes the pipe. */
        for (;;) {
            int64_t left_ns = until_ns - clock_ns(CLOCK_MONOTONIC);
            struct pollfd p = {.fd = ends[0], .events = POLLIN};
            if (left_ns <= 0 || poll(&p, 1, (int)(left_ns / WT_NS_PER_MS) + 1) != -1 ||
                errno != EINTR)
                break;
        }
        pid_t done = 0;
        for (int i = 0; i < 50 && (done = waitpid(pid, &status, WNOHANG)) == 0; i++) {
            if (clock_ns(CLOCK_MONOTONIC) >= until_ns)
                kill(pid, SIGKILL);
            doze();
        }
        if (done == 0)
            kill(pid, SIGKILL); /* it sticks in the kernel: left behind */
        if (done != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            slurm_error("wattune: the %s's work did not come to an end", what);
    }
    close(ends[0]);
}

static bool number_of(const char *text, uint32_t *ret)
{
    uint64_t value;
    if (!text || wt_text_to_u64(text, &value) < 0 || value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

static void log_nothing(const char *text)
{
    (void)text;
}

/* slurmd's node: as it was told (-N), or the machine's name, without a domain. */
static const char *own_node(char *buf, size_t size)
{
    char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(text + at) + 1)
        if (strncmp(text + at, "-N", 2) == 0) {
            const char *name = text[at + 2] ? text + at + 2 : text + at + 3;
            if (name < text + n && *name)
                return wt_text(buf, size, "%s", name);
        }
    if (gethostname(buf, size) < 0)
        return NULL;
    buf[size - 1] = '\0';
    buf[strcspn(buf, ".")] = '\0';
    return buf;
}

static bool has_squeue(void)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        char file[1024];
        size_t len = strcspn(p, ":");
        wt_text(file, sizeof(file), "%.*s/squeue", (int)len, p);
        if (len + sizeof("/squeue") <= sizeof(file) && access(file, X_OK) == 0)
            return true;
        p += len + (p[len] == ':');
    }
    return false;
}

/* slurmd starts, and has no threads yet. What is to be looked after is done by a process that is
 * nobody's child and holds nothing of slurmd's, its log among it. */
static void reconcile(int ac, char **av)
{
    struct wt_slurm_hold h = {.log = log_nothing};
    char name[256];
    struct wt_slurm_running one;
    h.job.node = own_node(name, sizeof(name));
    wt_slurm_parse_config(ac, av, h.job.node, &h.config, NULL);
    wt_text(h.dir, sizeof(h.dir), "%s/slurm", h.config.run);
    if (wt_slurm_facts_running(h.dir, &one, 1) == 0)
        return;
    if (!has_squeue()) {
        log_error("no squeue on slurmd's PATH: of jobs that began before this start it cannot be "
                  "asked whether they are over; one without an epilog keeps its limits");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        for (int signum = 1; signum < NSIG; signum++)
            signal(signum, SIG_DFL);
        for (int fd = 3; fd < 64; fd++) /* the log; more is not open yet */
            close(fd);
        wt_slurm_hold_reconcile(&h);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* From the environment that slurmd gives a prolog; false: no job can be told. */
static bool read_job(int ac, char **av, struct wt_slurm_hold *ret)
{
    struct wt_error err;
    struct wt_slurm_hold h = {.log = log_error, .now_ns = clock_ns(CLOCK_REALTIME)};
    h.job.node = getenv("SLURMD_NODENAME");
    if (wt_slurm_parse_config(ac, av, h.job.node, &h.config, &err) < 0)
        log_error(err.text);
    wt_text(h.dir, sizeof(h.dir), "%s/slurm", h.config.run);
    if (!number_of(getenv("SLURM_JOB_ID"), &h.job.job) || h.job.job == 0 ||
        !number_of(getenv("SLURM_JOB_UID"), &h.job.uid)) {
        log_error("SLURM_JOB_ID and SLURM_JOB_UID are not set here, so no job is known");
        return false;
    }
    h.job.user = getenv("SLURM_JOB_USER");
    h.job.account = getenv("SLURM_JOB_ACCOUNT");
    h.job.partition = getenv("SLURM_JOB_PARTITION");
    h.job.name = getenv("SLURM_JOB_NAME");
    h.job.cluster = getenv("SLURM_CLUSTER_NAME");
    h.job.gpus = getenv("SLURM_JOB_GPUS");
    if (!number_of(getenv("SLURM_JOB_NUM_NODES"), &h.job.nodes))
        h.job.nodes = wt_slurm_count_hosts(getenv("SLURM_NODELIST"));
    *ret = h;
    return true;
}

/* His srun may send anything: what does not parse is as if it was not said, and is told. */
static void read_wish(struct wt_slurm_wish *w)
{
    const struct {
        const char *name;
        int (*parse)(const char *text, struct wt_slurm_wish *io, struct wt_error *err);
    } rows[] = {{"SPANK_" ENV_GPUPOWER, wt_slurm_parse_gpupower},
                {"SPANK_" ENV_POWER, wt_slurm_parse_cap},
                {"SPANK_" ENV_CLOCK, wt_slurm_parse_clock}};
    struct wt_error err;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const char *text = getenv(rows[i].name);
        if (text && rows[i].parse(text, w, &err) < 0)
            log_error(err.text);
    }
    const char *autos = getenv("SPANK_" ENV_AUTO);
    wt_text(w->autos, sizeof(w->autos), "%s", autos ? autos : "");
    w->is_required = getenv("SPANK_" ENV_REQUIRED) != NULL;
    w->has_report = getenv("SPANK_" ENV_REPORT) != NULL;
}

int slurm_spank_job_prolog(spank_t sp, int ac, char **av)
{
    struct wt_slurm_hold h;
    (void)sp;
    if (read_job(ac, av, &h)) {
        read_wish(&h.wish);
        guard(wt_slurm_hold_begin, &h, "prolog");
    }
    return ESPANK_SUCCESS;
}

int slurm_spank_job_epilog(spank_t sp, int ac, char **av)
{
    struct wt_slurm_hold h;
    (void)sp;
    if (read_job(ac, av, &h))
        guard(wt_slurm_hold_end, &h, "epilog");
    return ESPANK_SUCCESS;
}

/* ---- steps, in slurmstepd ---- */

static const char *step_name(uint32_t number, char *buf, size_t size)
{
    switch (number) {
    case STEP_BATCH:
        return "batch";
    case STEP_EXTERN:
        return "extern";
    case STEP_INTER:
        return "interactive";
    default:
        return wt_text(buf, size, "%u", number);
    }
}

/* Whether each number of one list is in the other: a step's GPUs are the job's. */
static bool is_part(const char *part, const char *whole)
{
    uint32_t a[WT_SLURM_GPUS], b[WT_SLURM_GPUS];
    size_t na, nb;
    if (wt_slurm_parse_gpus(part, a, &na, NULL) < 0 || wt_slurm_parse_gpus(whole, b, &nb, NULL) < 0)
        return false;
    for (size_t i = 0; i < na; i++) {
        bool is_there = false;
        for (size_t k = 0; k < nb; k++)
            is_there |= a[i] == b[k];
        if (!is_there)
            return false;
    }
    return na > 0;
}

static uint64_t own_start(void)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the 2nd field; the 22nd is the start */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static void write_step(spank_t sp, uint32_t uid)
{
    /* Job's facts are the prolog's word; of the user's environment only the name is taken, which is
     * his to choose, and GPUs that are among the job's. */
    static const char *const keys[] = {"user", "account", "partition", "cluster", "node", "nodes"};
    struct wt_slurm_facts f = {.len = 0};
    struct wt_error err;
    char value[512], gpus[512] = "", label[16];
    wt_slurm_facts_add(&f, "job", "%u", step.job);
    wt_slurm_facts_add(&f, "step", "%s", step_name(step.step, label, sizeof(label)));
    wt_slurm_facts_add(&f, "uid", "%u", uid);
    for (size_t i = 0; i < WT_COUNTOF(keys); i++)
        if (wt_slurm_facts_get(&step.facts, keys[i], 0, value, sizeof(value)))
            wt_slurm_facts_add(&f, keys[i], "%s", value);
    if (spank_getenv(sp, "SLURM_JOB_NAME", value, sizeof(value)) == ESPANK_SUCCESS && *value)
        wt_slurm_facts_add(&f, "name", "%.255s", value);
    if (wt_slurm_facts_get(&step.facts, "gpus", 0, gpus, sizeof(gpus))) {
        bool is_whole = step.step == STEP_BATCH || step.step == STEP_EXTERN;
        if (is_whole)
            wt_slurm_facts_add(&f, "gpus", "%s", gpus);
        else if (spank_getenv(sp, "SLURM_STEP_GPUS", value, sizeof(value)) == ESPANK_SUCCESS &&
                 is_part(value, gpus))
            wt_slurm_facts_add(&f, "gpus", "%s", value);
    }
    wt_slurm_facts_add(&f, "begin_ns", "%lld", (long long)clock_ns(CLOCK_REALTIME));
    wt_slurm_facts_add(&f, "pid", "%d", (int)getpid());
    wt_slurm_facts_add(&f, "pid_start", "%llu", (unsigned long long)own_start());
    /* The job was requeued, and this is what its step of that number took before. */
    wt_text(value, sizeof(value), "%s.energy", step.name);
    wt_slurm_facts_remove(step.dir, value);
    if (wt_slurm_facts_write(step.dir, step.name, &f, &err) < 0)
        log_error(err.text);
}

/* Root, before the user's rights are taken. */
static void begin_step(spank_t sp, int ac, char **av)
{
    struct wt_slurm_config config;
    struct wt_error err;
    uid_t uid = (uid_t)-1;
    char job[16], label[16];
    step.node = getenv("SLURMD_NODENAME");
    wt_slurm_parse_config(ac, av, step.node, &config, NULL); /* the prolog says what is wrong */
    if (spank_get_item(sp, S_JOB_ID, &step.job) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_STEPID, &step.step) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS)
        return;
    if (spank_get_item(sp, S_JOB_LOCAL_TASK_COUNT, &step.tasks) != ESPANK_SUCCESS)
        step.tasks = 1;
    step.is_known = true;
    wt_text(step.dir, sizeof(step.dir), "%s/slurm", config.run);
    wt_text(job, sizeof(job), "%u", step.job);
    wt_text(step.name, sizeof(step.name), "%s.%s", job, step_name(step.step, label, sizeof(label)));
    bool has_facts = wt_slurm_facts_read(step.dir, job, &step.facts, &err) == 0;
    write_step(sp, (uint32_t)uid);
    if (step.step == STEP_EXTERN)
        return; /* no user looks there, and nothing of his runs there */
    char set[24];
    step.is_refused =
        wt_slurm_facts_get(&step.facts, "refused", 0, step.refused, sizeof(step.refused));
    if (!has_facts && wish.is_required) {
        step.is_refused = true;
        wt_text(step.refused, sizeof(step.refused),
                "--power-cap-required, and this node's prolog left no word on it (%s)", err.text);
    }
    if (wt_slurm_facts_get(&step.facts, "cap_set_mw", 0, set, sizeof(set))) {
        char watts[32];
        wt_text(watts, sizeof(watts), "%.7g", (double)strtoll(set, NULL, 10) / 1000);
        spank_setenv(sp, "WATTUNE_JOB_POWER_CAP", watts, 1);
    } else if (*wt_slurm_power_text(set, sizeof(set), &wish)) {
        spank_setenv(sp, "WATTUNE_JOB_POWER_CAP", "none", 1);
    }
    step.is_told = wt_slurm_facts_get(&step.facts, "note", 0, set, sizeof(set)) &&
                   wt_slurm_facts_first(step.dir, step.job);
}

int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
    enum spank_context context = spank_context();
    if (context == S_CTX_REMOTE)
        begin_step(sp, ac, av);
    /* Within a job that runs already the prolog is over. */
    else if (context == S_CTX_ALLOCATOR || (context == S_CTX_LOCAL && !getenv("SLURM_JOB_ID")))
        send_options(sp);
    return ESPANK_SUCCESS;
}

/* From here on the user's standard error is there. */
int slurm_spank_user_init(spank_t sp, int ac, char **av)
{
    char text[512], mine[32], jobs[64];
    const char *node = step.node ? step.node : "this node";
    (void)sp;
    (void)ac;
    (void)av;
    if (!step.is_known || step.step == STEP_EXTERN)
        return ESPANK_SUCCESS;
    for (size_t i = 0; (step.is_told || step.is_refused) &&
                       wt_slurm_facts_get(&step.facts, "note", i, text, sizeof(text));
         i++)
        slurm_spank_log("wattune: %s: %s", node, text);
    if (step.is_refused)
        slurm_spank_log("wattune: %s: not run: %s", node, step.refused);
    if (!wt_slurm_facts_get(&step.facts, "power", 0, jobs, sizeof(jobs)))
        jobs[0] = '\0';
    if (step.facts.len && *wt_slurm_power_text(mine, sizeof(mine), &wish) &&
        strcmp(mine, jobs) != 0)
        slurm_spank_log("wattune: %s: a limit is the whole job's: give --power-cap=%s to sbatch, "
                        "salloc, or the srun that makes the job",
                        node, mine);
    return ESPANK_SUCCESS;
}

/* In the task's own process, as the user: what ends here is the task alone. */
int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
    (void)sp;
    (void)ac;
    (void)av;
    if (step.is_known && step.is_refused)
        _exit(1);
    return ESPANK_SUCCESS;
}

static void end_step(void)
{
    struct wt_error err;
    if (!step.is_known || step.is_ended)
        return;
    step.is_ended = true;
    int rc = wt_slurm_facts_end(step.dir, step.name, clock_ns(CLOCK_REALTIME), &err);
    if (rc < 0 && rc != WT_E_NOTFOUND)
        log_error(err.text);
}

/* Whether somebody measures jobs here, by the file that he touches when he looks at the folder. */
static bool is_measured(void)
{
    struct stat st;
    char path[320];
    wt_text(path, sizeof(path), "%s/.serve", step.dir);
    if (lstat(path, &st) < 0)
        return false;
    int64_t age_s = (int64_t)time(NULL) - st.st_mtime;
    return age_s >= -SERVE_S && age_s <= SERVE_S;
}

/* What `wattune serve` has made of the step, as soon as it is there. */
static void print_energy(void)
{
    struct wt_slurm_facts energy;
    char name[64];
    int rc;
    bool is_there = is_measured();
    int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + (is_there ? ENERGY_NS : 0);
    wt_text(name, sizeof(name), "%s.energy", step.name);
    while ((rc = wt_slurm_facts_read(step.dir, name, &energy, NULL)) == WT_E_NOTFOUND &&
           clock_ns(CLOCK_MONOTONIC) < until_ns)
        doze();
    if (rc < 0 || energy.len == 0 || energy.len > ENERGY_MAX) {
        slurm_spank_log("wattune: %s: no energy to report: %s", step.node ? step.node : "this node",
                        is_there ? "`wattune serve` said nothing of this step within 3 s"
                                 : "nothing measures jobs on this node (its administrator can "
                                   "start it: wattune serve)");
        return;
    }
    for (char *line = energy.text; *line;) {
        char clean[ENERGY_MAX + 1];
        size_t len = strcspn(line, "\n");
        bool is_more = line[len] == '\n';
        line[len] = '\0';
        slurm_spank_log("%s", wt_slurm_clean(clean, sizeof(clean), line));
        line += len + is_more;
    }
}

int slurm_spank_task_exit(spank_t sp, int ac, char **av)
{
    (void)sp;
    (void)ac;
    (void)av;
    if (!step.is_known || ++step.exited < step.tasks)
        return ESPANK_SUCCESS;
    end_step();
    if (wish.has_report && !step.is_refused && step.step != STEP_EXTERN)
        print_energy(); /* now, while the user's standard error is still there */
    return ESPANK_SUCCESS;
}

int slurm_spank_exit(spank_t sp, int ac, char **av)
{
    (void)sp;
    (void)ac;
    (void)av;
    if (spank_context() == S_CTX_REMOTE)
        end_step();
    return ESPANK_SUCCESS;
}
