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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos.h"
#include "lease/client.h"

#define SHARED  6 /* the first of them: by the daemon */
#define CLIENTS 6
#define ANY     99 /* for a client: any of those, through the daemon */

static char daemon_path[4096], socket_path[4096];

/* ---- the client: daemon-chaos client SEED GPU ---- */

static int client(const char *seed, const char *gpu_text)
{
    struct wt_error err = {0};
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_lease *lease;
    uint64_t only;
    if (wt_text_to_u64(seed, &chaos_rng_state) < 0 || wt_text_to_u64(gpu_text, &only) < 0)
        return 2;
    bool is_direct = only != ANY;
    struct wt_lease_options options = {.socket = is_direct ? "none" : socket_path};
    if (wt_ctx_new(&ctx, NULL, &err) < 0 || wt_devices_open(&devices, ctx, NULL, &err) < 0 ||
        wt_lease_open(&lease, ctx, devices, &options, &err) < 0)
        return chaos_die(&err);
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    while (!chaos_is_told_to_end()) {
        size_t gpu = is_direct ? only : chaos_rng() % SHARED;
        int64_t clock_khz = (int64_t)(600 + 100 * (chaos_rng() % 8)) * 1000;
        if (chaos_set_something(lease, gpu, clock_khz, &err) < 0)
            return chaos_die(&err);
    }
    int rc = wt_lease_close(lease, &err);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    return rc < 0 ? chaos_die(&err) : 0;
}

/* ---- the tormentor ---- */

struct outcome {
    struct chaos_outcome all;
    uint64_t daemons_killed, everything_killed;
};

static int said = -1; /* what the daemons wrote to stderr */

/* Why the last one ended, in its own words. */
static void show_said(void)
{
    char text[2001];
    off_t end = lseek(said, 0, SEEK_END);
    ssize_t n = pread(said, text, sizeof(text) - 1, end > 2000 ? end - 2000 : 0);
    if (n > 0)
        fprintf(stderr, "%.*s", (int)n, text);
}

static pid_t start_daemon(const char *policy)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (said >= 0 && !getenv("WT_DEBUG"))
            dup2(said, STDERR_FILENO);
        execl(daemon_path, "wattuned", "--socket", socket_path, "--policy", policy, "--audit",
              "/dev/null", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool await_daemon(void)
{
    struct wt_client *c;
    for (int64_t end_ns = wt_clock_now_ns() + CHAOS_GIVE_UP_NS; wt_clock_now_ns() < end_ns;
         poll(NULL, 0, 1))
        if (wt_client_open(&c, socket_path, NULL) == 0) {
            wt_client_close(c);
            return true;
        }
    return false;
}

/* True when the daemon was among the killed. */
static bool torment(struct chaos_victim *victims, size_t count, pid_t daemon, struct outcome *o)
{
    poll(NULL, 0, (int)(chaos_rng() % 16));
    chaos_find_guardians(victims, count);
    size_t things = 2 * count + 1, first = chaos_rng() % things;
    bool is_daemon_killed = false;
    uint64_t fate = chaos_rng() % 5; /* clients; guardians; the daemon; some of all; all */
    for (size_t k = 0; k < things; k++) {
        size_t i = (k + first) % things;
        bool is_daemon = i == 2 * count, is_guardian = !is_daemon && i % 2;
        bool is_doomed = fate == 4 || (fate == 3 && chaos_rng() % 2) ||
                         (fate == 0 && !is_daemon && !is_guardian && chaos_rng() % 2) ||
                         (fate == 1 && is_guardian && chaos_rng() % 2) || (fate == 2 && is_daemon);
        if (!is_doomed)
            continue;
        if (is_daemon) {
            kill(daemon, SIGKILL);
            is_daemon_killed = true;
            chaos_pause();
        } else {
            chaos_kill(&victims[i / 2], is_guardian);
        }
    }
    o->everything_killed += fate == 4;
    return is_daemon_killed;
}

static void cycle(struct chaos_machine *machine, const char *policy, pid_t *daemon,
                  struct outcome *o)
{
    struct chaos_victim victims[CLIENTS];
    size_t started = 0;
    for (size_t i = 1 + chaos_rng() % 4; i > 0; i--)
        started += chaos_start(&victims[started], ANY);
    for (size_t gpu = SHARED; gpu < CHAOS_GPUS; gpu++)
        if (chaos_rng() % 2)
            started += chaos_start(&victims[started], gpu);
    o->all.failed += chaos_await(victims, started);
    bool is_daemon_killed = torment(victims, started, *daemon, o);

    /* The restart. Guardians that live are at work as well; together they have a second. */
    int64_t start_ns = wt_clock_now_ns();
    int status;
    if (is_daemon_killed) {
        waitpid(*daemon, NULL, 0);
        *daemon = start_daemon(policy);
        o->daemons_killed++;
    }
    for (size_t i = 0; i < started; i++)
        close(victims[i].in); /* those that live are told to end */
    for (size_t i = 0; i < started; i++)
        if ((status = chaos_collect(&victims[i], &o->all)) != 0)
            fprintf(stderr, "daemon-chaos: a client ended with status %d\n", status);
    chaos_restart(machine, start_ns, &o->all);
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == *daemon) {
            fprintf(stderr, "daemon-chaos: the daemon ended by itself, status %d\n", status);
            show_said();
            o->all.failed++;
            *daemon = start_daemon(policy);
        }
    if (!await_daemon())
        o->all.failed++;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "client") == 0) {
        wt_text(socket_path, sizeof(socket_path), "%s/wattuned.sock", getenv("WATTUNE_EMULATION"));
        return client(argv[2], argv[3]);
    }
    uint64_t cycles = 200, seed = 1;
    if (!chaos_read_args(argc, argv, &cycles, &seed))
        return 2;
    struct wt_error err = {0};
    struct chaos_machine machine;
    char policy[4200] = "";
    pid_t daemon = 0;
    said = memfd_create("daemon-chaos", MFD_CLOEXEC);
    int rc = chaos_machine_start(&machine, &err);
    if (rc == 0)
        rc = wt_helper_path("wattuned", daemon_path, sizeof(daemon_path), &err);
    if (rc == 0) {
        const char *dir = wt_emulation_dir(machine.emulation);
        wt_text(socket_path, sizeof(socket_path), "%s/wattuned.sock", dir);
        wt_text(policy, sizeof(policy), "%s/policy.conf", dir);
        daemon = start_daemon(policy); /* no such file: its own user may */
        if (!await_daemon())
            rc = wt_fail(&err, WT_E_TIMEOUT, "the daemon does not answer");
    }

    struct outcome o = {0};
    int64_t start_ns = wt_clock_now_ns();
    for (uint64_t i = 0; i < cycles && rc == 0; i++) {
        cycle(&machine, policy, &daemon, &o);
        if (o.all.off || o.all.open_entries || o.all.failed) {
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
    if (rc < 0)
        chaos_die(&err);
    else
        printf("emulated: 8 x v100-pcie-32gb, seed %llu, %llu cycles in %.0f s\n"
               "clients %llu, killed %llu; guardians killed %llu; daemons killed %llu; all at once "
               "%llu\n"
               "entries put back by the boot %llu, slowest restart %.1f ms\n"
               "devices off their value %llu, restores over 1 s %llu, clients that failed %llu\n"
               "journal: entries left open %llu, lost or doubled %llu\n",
               (unsigned long long)seed, (unsigned long long)cycles, span_s,
               (unsigned long long)o.all.clients, (unsigned long long)o.all.clients_killed,
               (unsigned long long)o.all.guardians_killed, (unsigned long long)o.daemons_killed,
               (unsigned long long)o.everything_killed, (unsigned long long)o.all.recovered,
               (double)o.all.worst_ns * 1e-6, (unsigned long long)o.all.off,
               (unsigned long long)o.all.late, (unsigned long long)o.all.failed,
               (unsigned long long)o.all.open_entries, (unsigned long long)o.all.broken_journal);
    chaos_machine_done(&machine);
    return rc < 0 || chaos_is_bad(&o.all);
}
