/* Chaos with the daemon: clients, guardians and wattuned itself are killed at random moments, over
 * and over, and every emulated GPU has to be back at what it was.
 *
 *     build/bench/daemon-chaos [CYCLES [SEED]]        (default: 200 1; the bar: 10000)
 *
 * Eight GPUs, half of them with a site's cap of 200 W under a default of 250 W. A cycle: one to
 * four clients take claims on six of them through the daemon, often several on one GPU, and up to
 * two take leases on the other two without it, each with its guardian; all set power limits and
 * clock locks without pause. After up to 15 ms some of the clients, guardians and the daemon get
 * SIGKILL, or all, in random order; those that live are told to end. Then the restart: the daemon,
 * when it was killed, and what a boot does (wt_lease_recover), until nothing is left to put back.
 * Printed at the end, and the exit code 1 when any is not as it should be: devices off their value,
 * journal entries lost, doubled or left open, restores later than 1 s after the restart, clients
 * that failed though nobody killed them. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knob/knob.h"
#include "lease/client.h"
#include "lease/lease.h"
#include "wattune/emulate.h"

#define GPUS       8
#define SHARED     6 /* the first of them: by the daemon */
#define CLIENTS    6
#define LATE_NS    WT_NS_PER_S
#define WAIT_TO_NS (10 * WT_NS_PER_S)

static uint64_t rng_state;
static char self[4096], daemon_path[4096], socket_path[4096];

/* splitmix64 */
static uint64_t rng(void)
{
    uint64_t z = (rng_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int64_t original_mw(size_t gpu)
{
    return gpu % 2 ? 250000 : 200000;
}

static int die(const char *who, const struct wt_error *err)
{
    fprintf(stderr, "daemon-chaos: %s: %s\n", who, err->text);
    return 1;
}

/* ---- the client: daemon-chaos client SEED GPU; GPU 99: any, through the daemon ---- */

static bool is_told_to_end(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, 0) != 0;
}

static int client(const char *seed, const char *gpu_text)
{
    struct wt_error err = {0};
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_lease *lease;
    uint64_t only;
    if (wt_text_to_u64(seed, &rng_state) < 0 || wt_text_to_u64(gpu_text, &only) < 0)
        return 2;
    bool is_direct = only < GPUS;
    struct wt_lease_options options = {.socket = is_direct ? "none" : socket_path};
    if (wt_ctx_new(&ctx, NULL, &err) < 0 || wt_devices_open(&devices, ctx, NULL, &err) < 0 ||
        wt_lease_open(&lease, ctx, devices, &options, &err) < 0)
        return die(is_direct ? "direct" : "client", &err);
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    while (!is_told_to_end()) {
        size_t gpu = is_direct ? only : rng() % SHARED;
        int rc;
        if (rng() % 4 == 0)
            rc = wt_lease_set(lease, gpu, WT_KNOB_CLOCK, (int64_t)(600 + 100 * (rng() % 8)) * 1000,
                              NULL, &err);
        else
            rc = wt_lease_set(lease, gpu, WT_KNOB_POWER, (int64_t)(100 + rng() % 150) * 1000, NULL,
                              &err);
        if (rc == 0 && rng() % 16 == 0)
            rc = wt_lease_restore(lease, &err);
        if (rc < 0)
            return die(is_direct ? "direct" : "client", &err);
    }
    int rc = wt_lease_close(lease, &err);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    return rc < 0 ? die("close", &err) : 0;
}

/* ---- the tormentor ---- */

struct victim {
    pid_t pid, guardian;
    int in, out;
    bool is_direct, is_killed, is_guardian_killed;
};

static bool start(struct victim *v, size_t gpu)
{
    int in[2], out[2];
    char seed[24], gpu_text[24];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return false;
    wt_text(seed, sizeof(seed), "%llu", (unsigned long long)rng());
    wt_text(gpu_text, sizeof(gpu_text), "%zu", gpu);
    *v = (struct victim){.pid = fork(), .in = in[1], .out = out[0], .is_direct = gpu < GPUS};
    if (v->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(self, self, "client", seed, gpu_text, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    return v->pid > 0;
}

static pid_t start_daemon(const char *policy)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("/dev/null", O_WRONLY);
        if (fd >= 0 && !getenv("WT_DEBUG"))
            dup2(fd, STDERR_FILENO);
        execl(daemon_path, "wattuned", "--socket", socket_path, "--policy", policy, "--audit",
              "/dev/null", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool await_daemon(void)
{
    struct wt_client *c;
    for (int64_t end_ns = wt_clock_now_ns() + WAIT_TO_NS; wt_clock_now_ns() < end_ns;
         poll(NULL, 0, 1))
        if (wt_client_open(&c, socket_path, NULL) == 0) {
            wt_client_close(c);
            return true;
        }
    return false;
}

/* The guardians are our children, because we are the subreaper: by their command lines. */
static void find_guardians(struct victim *victims, size_t count)
{
    char path[64], text[4096];
    wt_text(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    if (wt_fs_read(NULL, path, text, sizeof(text), NULL) < 0)
        return;
    char *save = NULL;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char line[8192];
        wt_text(path, sizeof(path), "/proc/%s/cmdline", word);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
        if (fd >= 0)
            close(fd);
        if (n <= 0)
            continue;
        line[n] = '\0';
        if (strcmp(line, WT_GUARDIAN_PROGRAM) != 0)
            continue;
        const char *arg = line;
        for (int i = 0; i < 3 && arg < line + n; i++)
            arg += strlen(arg) + 1;
        for (size_t i = 0; i < count; i++)
            if (arg < line + n && atoi(arg) == victims[i].pid)
                victims[i].guardian = (pid_t)atoi(word);
    }
}

struct outcome {
    uint64_t clients, clients_killed, guardians_killed, daemons_killed, all_killed, recovered;
    uint64_t off, late, failed, open_entries, broken_journal;
    int64_t worst_ns;
};

/* True when the daemon was among the killed. */
static bool torment(struct victim *victims, size_t count, pid_t daemon, struct outcome *o)
{
    poll(NULL, 0, (int)(rng() % 16));
    find_guardians(victims, count);
    size_t things = 2 * count + 1, first = rng() % things;
    bool is_daemon_killed = false;
    uint64_t fate = rng() % 5; /* clients; guardians; the daemon; some of all; all */
    for (size_t k = 0; k < things; k++) {
        size_t i = (k + first) % things;
        bool is_daemon = i == 2 * count, is_guardian = !is_daemon && i % 2;
        struct victim *v = is_daemon ? NULL : &victims[i / 2];
        bool is_doomed = fate == 4 || (fate == 3 && rng() % 2) ||
                         (fate == 0 && !is_daemon && !is_guardian && rng() % 2) ||
                         (fate == 1 && is_guardian && rng() % 2) || (fate == 2 && is_daemon);
        if (!is_doomed)
            continue;
        if (is_daemon) {
            kill(daemon, SIGKILL);
            is_daemon_killed = true;
        } else if (is_guardian && v->guardian > 0) {
            kill(v->guardian, SIGKILL);
            v->is_guardian_killed = true;
        } else if (!is_guardian) {
            kill(v->pid, SIGKILL);
            v->is_killed = true;
        }
        if (rng() % 3 == 0)
            poll(NULL, 0, (int)(rng() % 4));
    }
    o->all_killed += fate == 4;
    return is_daemon_killed;
}

static bool is_all_back(struct wt_devices *devices)
{
    for (size_t gpu = 0; gpu < GPUS; gpu++) {
        struct wt_knob_found found;
        if (wt_knob_snapshot(devices, gpu, WT_KNOB_POWER, &found, NULL) < 0 ||
            found.value != original_mw(gpu))
            return false;
    }
    return true;
}

static size_t look_at_journal(const char *dir, struct wt_journal_totals *ret_totals)
{
    struct wt_journal *journal = NULL;
    struct wt_error err = {0};
    size_t entries, open = 1;
    if (wt_journal_open(&journal, NULL, dir, NULL, &err) == 0 &&
        wt_journal_lock(journal, &err) == 0) {
        const struct wt_lease_record *e = wt_journal_entries(journal, &entries);
        open = 0;
        for (size_t i = 0; i < entries; i++)
            open += wt_lease_is_open(&e[i]);
        *ret_totals = wt_journal_totals(journal);
        wt_journal_unlock(journal);
    }
    wt_journal_close(journal);
    return open;
}

static void cycle(struct wt_ctx *ctx, struct wt_devices *devices, const char *dir,
                  const char *policy, pid_t *daemon, struct outcome *o)
{
    struct victim victims[CLIENTS];
    size_t started = 0;
    for (size_t i = 1 + rng() % 4; i > 0; i--)
        started += start(&victims[started], 99);
    for (size_t gpu = SHARED; gpu < GPUS; gpu++)
        if (rng() % 2)
            started += start(&victims[started], gpu);
    for (size_t i = 0; i < started; i++) {
        char word;
        if (read(victims[i].out, &word, 1) != 1)
            o->failed++;
    }
    bool is_daemon_killed = torment(victims, started, *daemon, o);

    /* The restart. Guardians that live are at work as well; together they have a second. */
    int64_t start_ns = wt_clock_now_ns(), now_ns = start_ns;
    if (is_daemon_killed) {
        waitpid(*daemon, NULL, 0);
        *daemon = start_daemon(policy);
        o->daemons_killed++;
    }
    for (size_t i = 0; i < started; i++)
        close(victims[i].in); /* those that live are told to end */
    for (size_t i = 0; i < started; i++) {
        struct victim *v = &victims[i];
        int status;
        while (waitpid(v->pid, &status, 0) < 0)
            ;
        close(v->out);
        if (!v->is_killed && status != 0) {
            fprintf(stderr, "daemon-chaos: a %s ended with status %d\n",
                    v->is_direct ? "direct client" : "client", status);
            o->failed++;
        }
        o->clients++;
        o->clients_killed += v->is_killed;
        o->guardians_killed += v->is_guardian_killed;
    }
    size_t open = 1;
    struct wt_journal_totals totals = {0};
    struct wt_error err = {0};
    while (open && now_ns - start_ns < WAIT_TO_NS) {
        size_t restored = 0;
        if (wt_lease_recover(ctx, devices, NULL, NULL, NULL, &restored, &err) < 0)
            die("recover", &err);
        o->recovered += restored;
        open = look_at_journal(dir, &totals);
        now_ns = wt_clock_now_ns();
        if (open)
            poll(NULL, 0, 2); /* the others want the journal, too */
    }
    o->off += !is_all_back(devices);
    o->open_entries += open;
    o->broken_journal += totals.opened != totals.closed + open || totals.doubled > 0;
    o->late += now_ns - start_ns > LATE_NS;
    if (now_ns - start_ns > o->worst_ns)
        o->worst_ns = now_ns - start_ns;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == *daemon) {
            fprintf(stderr, "daemon-chaos: the daemon ended by itself, status %d\n", status);
            o->failed++;
            *daemon = start_daemon(policy);
        }
    if (!await_daemon())
        o->failed++;
}

int main(int argc, char **argv)
{
    const char *emulation_dir = getenv("WATTUNE_EMULATION");
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    if (argc == 4 && strcmp(argv[1], "client") == 0) {
        wt_text(socket_path, sizeof(socket_path), "%s/wattuned.sock", emulation_dir);
        return client(argv[2], argv[3]);
    }
    uint64_t cycles = 200, seed = 1;
    if (argc > 3 || (argc > 1 && wt_text_to_u64(argv[1], &cycles) < 0) ||
        (argc > 2 && wt_text_to_u64(argv[2], &seed) < 0)) {
        fputs("usage: daemon-chaos [CYCLES [SEED]]\n", stderr);
        return 2;
    }
    rng_state = seed;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

    struct wt_error err = {0};
    struct wt_emulation *emulation = NULL;
    struct wt_ctx *ctx = NULL;
    struct wt_devices *devices = NULL;
    char dir[4096], policy[4200] = "";
    int rc = wt_emulation_start(&emulation, "v100-pcie-32gb:8", NULL, &err);
    if (rc == 0)
        rc = wt_emulation_setenv(emulation, &err);
    struct wt_ctx_options options = {.nvml_library =
                                         emulation ? wt_emulation_library(emulation) : NULL};
    if (rc == 0)
        rc = wt_ctx_new(&ctx, &options, &err);
    if (rc == 0)
        rc = wt_devices_open(&devices, ctx, NULL, &err);
    for (size_t gpu = 0; gpu < GPUS && rc == 0; gpu++)
        rc = wt_knob_set(devices, gpu, WT_KNOB_POWER, original_mw(gpu), NULL, &err);
    if (rc == 0)
        rc = wt_lease_state_dir(ctx, devices, NULL, dir, sizeof(dir), &err);
    if (rc == 0)
        rc = wt_helper_path("wattuned", daemon_path, sizeof(daemon_path), &err);
    pid_t daemon = 0;
    if (rc == 0) {
        wt_text(socket_path, sizeof(socket_path), "%s/wattuned.sock", wt_emulation_dir(emulation));
        wt_text(policy, sizeof(policy), "%s/policy.conf", wt_emulation_dir(emulation));
        daemon = start_daemon(policy); /* no such file: its own user may */
        if (!await_daemon())
            rc = wt_fail(&err, WT_E_TIMEOUT, "the daemon does not answer");
    }

    struct outcome o = {0};
    int64_t start_ns = wt_clock_now_ns();
    for (uint64_t i = 0; i < cycles && rc == 0; i++) {
        cycle(ctx, devices, dir, policy, &daemon, &o);
        if (o.off || o.open_entries || o.failed) {
            fprintf(stderr, "daemon-chaos: cycle %llu of seed %llu went wrong\n",
                    (unsigned long long)i, (unsigned long long)seed);
            cycles = i + 1;
        }
    }
    double span_s = wt_s_from_ns(wt_clock_now_ns() - start_ns);
    if (daemon > 0) {
        kill(daemon, SIGTERM);
        waitpid(daemon, NULL, 0);
    }
    bool is_bad = rc < 0 || o.off || o.late || o.failed || o.open_entries || o.broken_journal;
    if (rc < 0)
        die("start", &err);
    else
        printf("emulated: 8 x v100-pcie-32gb, seed %llu, %llu cycles in %.0f s\n"
               "clients %llu, killed %llu; guardians killed %llu; daemons killed %llu; all at once "
               "%llu\n"
               "entries put back by the boot %llu, slowest restart %.1f ms\n"
               "devices off their value %llu, restores over 1 s %llu, clients that failed %llu\n"
               "journal: entries left open %llu, lost or doubled %llu\n",
               (unsigned long long)seed, (unsigned long long)cycles, span_s,
               (unsigned long long)o.clients, (unsigned long long)o.clients_killed,
               (unsigned long long)o.guardians_killed, (unsigned long long)o.daemons_killed,
               (unsigned long long)o.all_killed, (unsigned long long)o.recovered,
               (double)o.worst_ns * 1e-6, (unsigned long long)o.off, (unsigned long long)o.late,
               (unsigned long long)o.failed, (unsigned long long)o.open_entries,
               (unsigned long long)o.broken_journal);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    wt_emulation_free(emulation);
    return is_bad;
}
