/* chaos: clients that are killed, the machine they set, and the count of what is not put back. */
#include "chaos.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knob/knob.h"

uint64_t chaos_rng_state;

uint64_t chaos_rng(void)
{
    uint64_t z = (chaos_rng_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int chaos_die(const struct wt_error *err)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, err->text);
    return 1;
}

/* ---- the machine ---- */

static int64_t original_mw(size_t gpu)
{
    return gpu % 2 ? 250000 : 200000;
}

bool chaos_read_args(int argc, char **argv, uint64_t *cycles, uint64_t *seed)
{
    if (argc > 3 || (argc > 1 && wt_text_to_u64(argv[1], cycles) < 0) ||
        (argc > 2 && wt_text_to_u64(argv[2], seed) < 0)) {
        fprintf(stderr, "usage: %s [CYCLES [SEED]]\n", program_invocation_short_name);
        return false;
    }
    chaos_rng_state = *seed;
    return true;
}

int chaos_machine_start(struct chaos_machine *m, struct wt_error *err)
{
    *m = (struct chaos_machine){0};
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    int rc = wt_emulation_start(&m->emulation, "v100-pcie-32gb:8", NULL, err);
    if (rc == 0)
        rc = wt_emulation_setenv(m->emulation, err);
    if (rc < 0)
        return rc;
    struct wt_ctx_options options = {.nvml_library = wt_emulation_library(m->emulation)};
    rc = wt_ctx_new(&m->ctx, &options, err);
    if (rc == 0)
        rc = wt_devices_open(&m->devices, m->ctx, NULL, err);
    for (size_t gpu = 0; gpu < CHAOS_GPUS && rc == 0; gpu++)
        rc = wt_knob_set(m->devices, gpu, WT_KNOB_POWER, original_mw(gpu), NULL, err);
    return rc < 0 ? rc : wt_lease_state_dir(m->ctx, m->devices, NULL, m->dir, sizeof(m->dir), err);
}

void chaos_machine_done(struct chaos_machine *m)
{
    wt_devices_free(m->devices);
    wt_ctx_free(m->ctx);
    wt_emulation_free(m->emulation);
}

static bool is_all_back(struct wt_devices *devices)
{
    for (size_t gpu = 0; gpu < CHAOS_GPUS; gpu++) {
        struct wt_knob_found found;
        if (wt_knob_snapshot(devices, gpu, WT_KNOB_POWER, &found, NULL) < 0 ||
            found.value != original_mw(gpu))
            return false;
    }
    return true;
}

/* ---- a client ---- */

bool chaos_start(struct chaos_victim *v, uint64_t what)
{
    int in[2], out[2];
    char seed[24], what_text[24];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return false;
    wt_text(seed, sizeof(seed), "%llu", (unsigned long long)chaos_rng());
    wt_text(what_text, sizeof(what_text), "%llu", (unsigned long long)what);
    *v = (struct chaos_victim){.pid = fork(), .in = in[1], .out = out[0]};
    if (v->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl("/proc/self/exe", program_invocation_name, "client", seed, what_text, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    return v->pid > 0;
}

size_t chaos_await(const struct chaos_victim *victims, size_t count)
{
    size_t silent = 0;
    char word;
    for (size_t i = 0; i < count; i++)
        silent += read(victims[i].out, &word, 1) != 1;
    return silent;
}

/* The guardians are our children, because we are the subreaper: by their command lines. */
void chaos_find_guardians(struct chaos_victim *victims, size_t count)
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

void chaos_kill(struct chaos_victim *v, bool is_guardian)
{
    if (is_guardian && v->guardian > 0) {
        kill(v->guardian, SIGKILL);
        v->is_guardian_killed = true;
    } else if (!is_guardian) {
        kill(v->pid, SIGKILL);
        v->is_killed = true;
    }
    chaos_pause();
}

void chaos_pause(void)
{
    if (chaos_rng() % 3 == 0)
        poll(NULL, 0, (int)(chaos_rng() % 4));
}

int chaos_set_something(struct wt_lease *lease, size_t gpu, int64_t clock_khz, struct wt_error *err)
{
    bool is_clock = chaos_rng() % 4 == 0;
    int rc = is_clock ? wt_lease_set(lease, gpu, WT_KNOB_CLOCK, clock_khz, NULL, err)
                      : wt_lease_set(lease, gpu, WT_KNOB_POWER,
                                     (int64_t)(100 + chaos_rng() % 150) * 1000, NULL, err);
    return rc == 0 && chaos_rng() % 16 == 0 ? wt_lease_restore(lease, err) : rc;
}

bool chaos_is_told_to_end(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, 0) != 0;
}

/* ---- what came of it ---- */

int chaos_collect(struct chaos_victim *v, struct chaos_outcome *o)
{
    int status;
    while (waitpid(v->pid, &status, 0) < 0)
        ;
    close(v->out);
    if (v->is_killed)
        status = 0;
    o->failed += status != 0;
    o->clients++;
    o->clients_killed += v->is_killed;
    o->guardians_killed += v->is_guardian_killed;
    o->both_killed += v->is_killed && v->is_guardian_killed;
    return status;
}

/* How many entries are open; 1 where it cannot be read. */
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

void chaos_restart(struct chaos_machine *m, int64_t start_ns, struct chaos_outcome *o)
{
    int64_t now_ns = start_ns;
    size_t open = 1;
    struct wt_journal_totals totals = {0};
    struct wt_error err = {0};
    while (open && now_ns - start_ns < CHAOS_GIVE_UP_NS) {
        size_t restored = 0;
        if (wt_lease_recover(m->ctx, m->devices, NULL, NULL, NULL, &restored, &err) < 0)
            chaos_die(&err);
        o->recovered += restored;
        open = look_at_journal(m->dir, &totals);
        now_ns = wt_clock_now_ns();
        if (open)
            poll(NULL, 0, 2); /* the others want the journal, too */
    }
    o->off += !is_all_back(m->devices);
    o->open_entries += open;
    o->broken_journal += totals.opened != totals.closed + open || totals.doubled > 0;
    o->late += now_ns - start_ns > CHAOS_LATE_NS;
    if (now_ns - start_ns > o->worst_ns)
        o->worst_ns = now_ns - start_ns;
}

bool chaos_is_bad(const struct chaos_outcome *o)
{
    return o->off || o->late || o->failed || o->open_entries || o->broken_journal;
}
