/* Load with enemies: a thousand clients of one wattuned at once, some of them hostile, and how long
 * an honest one waits. Needs root, to be many users.
 *
 *     build/bench/daemon-load [SECONDS [SEED [CLIENTS [HOSTILE [PERIOD_MS]]]]]
 *                                                   (default: 10 1 1000 64 2000)
 *
 * Each client is a process of its own, connected all the time, of one of 24 users. An honest one
 * claims a power limit on one of seven of the eight emulated GPUs, gets its answer, restores, gets
 * that answer, and does so again after PERIOD_MS on average: many claims stand on one GPU at any
 * time. The hostile are silent, half open, flood with and without reading, send garbage, forge
 * lengths, go for devices and claims of others, and connect in storms. Printed: how long set and
 * restore took together (p50, p99, worst), what the disk alone takes, the daemon's memory before
 * and after, and whether GPU 7, which nobody may touch, was touched. The journal lies below $TMPDIR
 * (/tmp): each set waits for that disk. Exit code 1 when p99 is 20 ms or more, memory grew by more
 * than 32 MB, a foreign device was touched, an honest client failed, or a GPU is not as it was. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knob/knob.h"
#include "lease/client.h"
#include "wattune/emulate.h"

#define GPUS        8
#define FOREIGN     7
#define USERS       24u
#define FIRST_UID   60000u
#define HOSTILE_UID 61000u
#define ORIGINAL_MW 250000
#define P99_NS      (20 * WT_NS_PER_MS)
#define GROWTH_KB   (32u << 10)
#define SAMPLES     4096 /* of one client */

struct shared {
    volatile int is_over, is_measuring; /* once all are there */
    _Atomic unsigned connected;
    struct tally {
        uint32_t count, failed;
        char why[120];
        int64_t ns[SAMPLES];
    } clients[];
};

static struct shared *shared;
static char socket_path[200];
static uint64_t rng_state;

/* splitmix64 */
static uint64_t rng(void)
{
    uint64_t z = (rng_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void become(uint32_t uid)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0)
        _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* ---- honest ---- */

static void honest(size_t i, int64_t period_ns)
{
    struct tally *t = &shared->clients[i];
    struct wt_client *c;
    struct wt_error err = {0};
    if (wt_client_open(&c, socket_path, &err) < 0) {
        t->failed++;
        wt_text(t->why, sizeof(t->why), "%s", err.text);
        _exit(1);
    }
    shared->connected++;
    while (!shared->is_over) {
        int64_t pause_ns = (int64_t)(rng() % (uint64_t)(2 * period_ns + 1));
        poll(NULL, 0, (int)(pause_ns / WT_NS_PER_MS));
        if (shared->is_over)
            break;
        struct wt_wire_message claim = {.type = WT_WIRE_CLAIM}, restore = {.type = WT_WIRE_RESTORE};
        claim.u.claim.device = (uint32_t)(rng() % FOREIGN);
        claim.u.claim.knob = WT_KNOB_POWER;
        claim.u.claim.value = (int64_t)(100 + rng() % 150) * 1000;
        int64_t want = claim.u.claim.value, start_ns = wt_clock_now_ns();
        int rc = wt_client_ask(c, &claim, &claim, &err);
        if (rc == 0 && (claim.type != WT_WIRE_CLAIM_OK || claim.u.claim_ok.enforced > want))
            rc = wt_fail(&err, WT_E_STATE, "enforced %lld", (long long)claim.u.claim_ok.enforced);
        if (rc == 0)
            rc = wt_client_ask(c, &restore, &restore, &err);
        if (rc < 0) {
            t->failed++;
            wt_text(t->why, sizeof(t->why), "%s", err.text);
        } else if (t->count < SAMPLES && shared->is_measuring) {
            t->ns[t->count++] = wt_clock_now_ns() - start_ns;
        }
    }
    wt_client_close(c);
    _exit(0);
}

/* ---- hostile ---- */

static int dial(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    wt_text(to.sun_path, sizeof(to.sun_path), "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(fd);
        poll(NULL, 0, 10);
        return -1;
    }
    return fd;
}

/* As fast as the daemon takes it. Spinning on a full socket would burden the machine, not it. */
static void throw_at(int fd, const void *bytes, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (send(fd, bytes, size, MSG_NOSIGNAL) < 0 && errno == EAGAIN)
        poll(&p, 1, 50);
}

static void say(int fd, const struct wt_wire_message *m)
{
    uint8_t buf[WT_WIRE_MAX];
    throw_at(fd, buf, wt_wire_encode(m, buf));
}

static void hello(int fd)
{
    say(fd, &(struct wt_wire_message){.type = WT_WIRE_HELLO, .u.hello = {1, 1, rng()}});
}

static bool is_hung_up(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP));
}

static void read_away(int fd)
{
    uint8_t buf[WT_WIRE_MAX];
    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
}

static void trespass(int fd)
{
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.device = rng() % 2 ? FOREIGN : (uint32_t)rng();
    m.u.claim.knob = rng() % 4 ? WT_KNOB_POWER : (uint32_t)rng();
    m.u.claim.job = rng() % 2 ? (uint32_t)rng() : 0;
    m.u.claim.value = rng() % 2 ? 100000 : (int64_t)rng();
    m.u.claim.hold_ns = rng() % 2 ? 0 : (int64_t)rng();
    say(fd, &m);
    m = (struct wt_wire_message){.type = WT_WIRE_RELEASE};
    m.u.release.device = (uint32_t)(rng() % GPUS);
    m.u.release.knob = WT_KNOB_POWER;
    m.u.release.job = rng() % 2 ? (uint32_t)(rng() % 64) : 0;
    say(fd, &m);
    m = (struct wt_wire_message){.type = rng() % 2 ? WT_WIRE_JOB_BEGIN : WT_WIRE_JOB_END};
    m.u.job_begin.job = (uint32_t)(rng() % 64);
    m.u.job_begin.devices = UINT64_MAX;
    say(fd, &m);
}

static void hostile(unsigned kind)
{
    uint8_t junk[65536];
    int storm[128];
    size_t storm_count = 0;
    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = (uint8_t)rng();
    int fd = -1;
    while (!shared->is_over) {
        if (fd < 0 && (fd = dial()) < 0)
            continue;
        switch (kind % 8) {
        case 0: /* silent */
            poll(NULL, 0, 100);
            break;
        case 1: /* half open */
            hello(fd);
            shutdown(fd, SHUT_WR);
            poll(NULL, 0, 20);
            break;
        case 2: /* floods and never reads */
            hello(fd);
            for (int i = 0; i < 1000; i++)
                say(fd, &(struct wt_wire_message){.type = WT_WIRE_PING, .tag = (uint32_t)i});
            break;
        case 3: /* floods and reads */
            hello(fd);
            for (int i = 0; i < 100; i++)
                say(fd, &(struct wt_wire_message){.type = WT_WIRE_KNOB, .u.knob = {0, 1, 0}});
            read_away(fd);
            break;
        case 4: /* garbage */
            throw_at(fd, junk + rng() % 1000, rng() % 900 + 1);
            break;
        case 5: { /* forged lengths, and far too long */
            struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
            uint8_t buf[WT_WIRE_MAX];
            size_t size = wt_wire_encode(&m, buf);
            memcpy(buf + 8, &(uint32_t){(uint32_t)rng()}, 4);
            if (rng() % 2)
                throw_at(fd, buf, size);
            else
                throw_at(fd, junk, sizeof(junk));
            break;
        }
        case 6: /* others' devices and claims */
            hello(fd);
            for (int i = 0; i < 20; i++)
                trespass(fd);
            read_away(fd);
            poll(NULL, 0, 5);
            break;
        default: /* storms of connections */
            if (storm_count < WT_COUNTOF(storm)) {
                storm[storm_count++] = fd;
            } else {
                while (storm_count)
                    close(storm[--storm_count]);
                close(fd);
            }
            fd = -1;
            break;
        }
        if (fd >= 0 && is_hung_up(fd)) {
            close(fd);
            fd = -1;
        }
    }
    _exit(0);
}

/* ---- the run ---- */

static unsigned read_kb(pid_t pid, const char *name)
{
    char path[64], text[4096];
    wt_text(path, sizeof(path), "/proc/%d/status", pid);
    const char *at =
        wt_fs_read_start(NULL, path, text, sizeof(text)) == 0 ? strstr(text, name) : NULL;
    return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t limit_of(struct wt_devices *devices, size_t gpu)
{
    struct wt_knob_found found = {0};
    return wt_knob_snapshot(devices, gpu, WT_KNOB_POWER, &found, NULL) < 0 ? -1 : found.value;
}

/* What the disk under the journal takes for a record by itself: no set can be faster. */
static int open_disk(const char *journal)
{
    char path[300];
    wt_text(path, sizeof(path), "%s/../disk", journal);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int64_t sync_disk(int fd)
{
    char record[512] = "";
    int64_t begin_ns = wt_clock_now_ns();
    if (pwrite(fd, record, sizeof(record), 0) < 0 || fdatasync(fd) < 0)
        return 0;
    return wt_clock_now_ns() - begin_ns;
}

static pid_t start_daemon(const char *program, const char *policy, const char *dir)
{
    char log[300];
    wt_text(log, sizeof(log), "%s/log", dir);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDERR_FILENO);
        execl(program, "wattuned", "--socket", socket_path, "--policy", policy, "--audit", log,
              (char *)NULL);
        _exit(127);
    }
    struct wt_client *c;
    for (int n = 0; n < 5000; n++, poll(NULL, 0, 2))
        if (wt_client_open(&c, socket_path, NULL) == 0) {
            wt_client_close(c);
            return pid;
        }
    return -1;
}

static void write_policy(const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return;
    for (unsigned i = 0; i < USERS; i++)
        fprintf(f, "allow uid %u on 0,1,2,3,4,5,6 set power from 100 W to 250 W for 1 h\n",
                FIRST_UID + i);
    fclose(f);
}

int main(int argc, char **argv)
{
    uint64_t args[] = {10, 1, 1000, 64, 2000};
    bool is_bad = argc > 6;
    for (int i = 1; i < argc && i < 6; i++)
        is_bad |= wt_text_to_u64(argv[i], &args[i - 1]) < 0;
    uint64_t seconds = args[0], seed = args[1], clients = args[2], enemies = args[3];
    if (is_bad || enemies > clients || clients > 4000) {
        fputs("usage: daemon-load [SECONDS [SEED [CLIENTS [HOSTILE [PERIOD_MS]]]]]\n", stderr);
        return 2;
    }
    if (geteuid() != 0) {
        fputs("daemon-load: only root can be many users\n", stderr);
        return 77;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    size_t honest_count = clients - enemies;
    size_t size = sizeof(*shared) + honest_count * sizeof(shared->clients[0]);
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    struct wt_error err = {0};
    struct wt_emulation *emulation = NULL;
    struct wt_ctx *ctx = NULL;
    struct wt_devices *devices = NULL;
    char dir[128], policy[200], program[4096];
    const char *parent = getenv("TMPDIR");
    wt_text(dir, sizeof(dir), "%s/wattune-daemon-load-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(dir) || chmod(dir, 0755) < 0 || shared == MAP_FAILED) {
        perror("daemon-load");
        return 1;
    }
    /* Devices in memory, as real ones are in a way; the journal on the disk. */
    char journal[200], link[2048];
    struct wt_emulation_options emulation_options = {
        .dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : dir};
    int rc = wt_emulation_start(&emulation, "v100-pcie-32gb:8", &emulation_options, &err);
    wt_text(journal, sizeof(journal), "%s/lease", dir);
    wt_text(link, sizeof(link), "%s/lease", emulation ? wt_emulation_dir(emulation) : "");
    if (rc == 0 && (mkdir(journal, 0700) < 0 || symlink(journal, link) < 0))
        rc = wt_fail_errno(&err, errno, "%s", journal);
    if (rc == 0)
        rc = wt_emulation_setenv(emulation, &err);
    struct wt_ctx_options options = {.nvml_library =
                                         emulation ? wt_emulation_library(emulation) : NULL};
    if (rc == 0)
        rc = wt_ctx_new(&ctx, &options, &err);
    if (rc == 0)
        rc = wt_devices_open(&devices, ctx, NULL, &err);
    if (rc == 0)
        rc = wt_helper_path("wattuned", program, sizeof(program), &err);
    wt_text(socket_path, sizeof(socket_path), "%s/socket", dir);
    wt_text(policy, sizeof(policy), "%s/policy.conf", dir);
    write_policy(policy);
    pid_t daemon = rc == 0 ? start_daemon(program, policy, dir) : -1;
    if (rc < 0 || daemon < 0) {
        fprintf(stderr, "daemon-load: %s\n", rc < 0 ? err.text : "the daemon does not answer");
        return 1;
    }

    unsigned before_kb = read_kb(daemon, "VmRSS:");
    for (size_t i = 0; i < clients; i++) {
        if (fork() != 0)
            continue;
        rng_state = seed * 1000003 + i;
        if (i < honest_count) {
            become(FIRST_UID + (uint32_t)(i % USERS));
            honest(i, (int64_t)args[4] * WT_NS_PER_MS);
        }
        become(HOSTILE_UID + (uint32_t)((i - honest_count) % 8));
        hostile((unsigned)(i - honest_count));
    }
    bool is_touched = false;
    int disk_fd = open_disk(journal);
    static int64_t disk_ns[SAMPLES * 16];
    size_t syncs = 0;
    for (int n = 0; n < 6000 && shared->connected < honest_count; n++)
        poll(NULL, 0, 10);
    poll(NULL, 0, 1000); /* the commotion of a thousand starts */
    shared->is_measuring = 1;
    int64_t end_ns = wt_clock_now_ns() + (int64_t)seconds * WT_NS_PER_S;
    while (wt_clock_now_ns() < end_ns) {
        is_touched |= limit_of(devices, FOREIGN) != ORIGINAL_MW;
        if (disk_fd >= 0 && syncs < sizeof(disk_ns) / sizeof(*disk_ns))
            disk_ns[syncs++] = sync_disk(disk_fd);
        poll(NULL, 0, 20);
    }
    close(disk_fd);
    unsigned after_kb = read_kb(daemon, "VmRSS:"), peak_kb = read_kb(daemon, "VmHWM:");
    shared->is_over = 1;
    bool is_daemon_alive = kill(daemon, 0) == 0;
    for (size_t i = 0; i < clients; i++) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid == daemon) {
            is_daemon_alive = false;
            i--;
        }
    }
    size_t off = GPUS;
    for (int n = 0; n < 1000 && off; n++, poll(NULL, 0, 5)) {
        off = 0;
        for (size_t gpu = 0; gpu < GPUS; gpu++)
            off += limit_of(devices, gpu) != ORIGINAL_MW;
    }
    kill(daemon, SIGTERM);
    struct rusage usage = {0};
    wait4(daemon, NULL, 0, &usage);

    int64_t *all = calloc(honest_count * SAMPLES + 1, sizeof(*all));
    size_t n = 0;
    uint64_t failed = 0;
    for (size_t i = 0; all && i < honest_count; i++) {
        const struct tally *t = &shared->clients[i];
        memcpy(all + n, t->ns, t->count * sizeof(*all));
        n += t->count;
        failed += t->failed;
        if (t->failed && failed == t->failed)
            fprintf(stderr, "daemon-load: an honest client: %s\n", t->why);
    }
    if (n)
        qsort(all, n, sizeof(*all), compare_ns);
    qsort(disk_ns, syncs, sizeof(*disk_ns), compare_ns);
    int64_t p99_ns = n ? all[n * 99 / 100] : INT64_MAX;
    printf("emulated: 8 x v100-pcie-32gb, seed %llu, %zu honest clients of %u users, %llu hostile, "
           "%llu s\n"
           "set+restore %zu times, %.0f a second: p50 %.2f ms, p99 %.2f ms, worst %.2f ms; failed "
           "%llu\n"
           "the disk alone meanwhile, a write of 512 bytes and its sync: p50 %.2f ms, p99 %.2f ms\n"
           "daemon: memory %u kB before, %u kB after, at most %u kB; %.1f s of CPU time%s\n"
           "foreign device touched: %s; GPUs off their value at the end: %zu\n",
           (unsigned long long)seed, honest_count, USERS, (unsigned long long)enemies,
           (unsigned long long)seconds, n, (double)n / (double)seconds,
           n ? (double)all[n / 2] * 1e-6 : 0, n ? (double)p99_ns * 1e-6 : 0,
           n ? (double)all[n - 1] * 1e-6 : 0, (unsigned long long)failed,
           syncs ? (double)disk_ns[syncs / 2] * 1e-6 : 0,
           syncs ? (double)disk_ns[syncs * 99 / 100] * 1e-6 : 0, before_kb, after_kb, peak_kb,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6,
           is_daemon_alive ? "" : "; it DIED", is_touched ? "YES" : "no", off);
    free(all);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    wt_emulation_free(emulation);
    wt_fs_remove_tree(dir, NULL);
    return !n || p99_ns >= P99_NS || peak_kb > before_kb + GROWTH_KB || failed || is_touched ||
           off || !is_daemon_alive;
}
