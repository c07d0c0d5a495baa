/* The guardian and recovery, with real processes on emulated GPUs: owners are killed in every way,
 * and the limits have to come back to what they were. This program is its own client:
 * test_lease_guardian client DEVICE WATTS HOW HOLD_MS. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "knob/knob.h"
#include "lease/lease.h"
#include "wattune/emulate.h"

#define SITE_MW  200000 /* the site's cap, under a default of 250 W */
#define PATIENCE 10     /* seconds until a restore counts as not done: never how fast it must be */

static struct wt_emulation *emulation;
static struct wt_ctx *ctx;
static struct wt_devices *devices;
static char self[4096];

static int group_setup(void **state)
{
    (void)state;
    struct wt_error err = {0};
    if (wt_emulation_start(&emulation, "v100-pcie-32gb:2", NULL, &err) < 0 ||
        wt_emulation_setenv(emulation, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    struct wt_ctx_options options = {.nvml_library = wt_emulation_library(emulation)};
    if (wt_ctx_new(&ctx, &options, &err) < 0 || wt_devices_open(&devices, ctx, NULL, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    return n > 0 ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    wt_emulation_free(emulation);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    struct wt_error err = {0};
    int rc = wt_knob_set(devices, 0, WT_KNOB_POWER, SITE_MW, NULL, &err);
    if (rc == 0)
        rc = wt_knob_set(devices, 1, WT_KNOB_POWER, 250000, NULL, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    return rc;
}

static int64_t limit(size_t device)
{
    struct wt_knob_found found;
    struct wt_error err = {0};
    if (wt_knob_snapshot(devices, device, WT_KNOB_POWER, &found, &err) < 0)
        fail_msg("%s", err.text);
    return found.value;
}

static bool becomes(size_t device, int64_t want)
{
    int64_t until_ns = wt_clock_now_ns() + PATIENCE * WT_NS_PER_S;
    while (limit(device) != want) {
        if (wt_clock_now_ns() > until_ns)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}

/* ---- the client ---- */

static int client(char **argv)
{
    struct wt_error err = {0};
    struct wt_lease *lease = NULL;
    uint64_t device, watts, hold_ms;
    if (wt_text_to_u64(argv[0], &device) < 0 || wt_text_to_u64(argv[1], &watts) < 0 ||
        wt_text_to_u64(argv[3], &hold_ms) < 0)
        return 2;
    struct wt_lease_options options = {.hold_ns = (int64_t)hold_ms * WT_NS_PER_MS};
    if (wt_ctx_new(&ctx, NULL, &err) < 0 || wt_devices_open(&devices, ctx, NULL, &err) < 0 ||
        wt_lease_open(&lease, ctx, devices, &options, &err) < 0 ||
        wt_lease_set(lease, device, WT_KNOB_POWER, (int64_t)watts * 1000, NULL, &err) < 0) {
        fprintf(stderr, "client: %s\n", err.text);
        return 1;
    }
    if (write(STDOUT_FILENO, "s", 1) != 1)
        return 1;
    if (strcmp(argv[2], "exit") == 0)
        exit(0); /* forgets its lease */
    if (strcmp(argv[2], "exec") == 0)
        execlp("sleep", "sleep", "60", (char *)NULL);
    if (strcmp(argv[2], "stay") == 0)
        poll(NULL, 0, 60000);
    if (strcmp(argv[2], "close") == 0) {
        char word; /* until told to */
        if (read(STDIN_FILENO, &word, 1) < 0)
            return 1;
    }
    if (strcmp(argv[2], "flip") == 0)
        for (uint64_t n = 0;; n++)
            if (wt_lease_set(lease, device, WT_KNOB_POWER, (int64_t)(100 + n % 100) * 1000, NULL,
                             &err) < 0 ||
                (n % 3 == 0 && wt_lease_restore(lease, &err) < 0)) {
                fprintf(stderr, "client: %s\n", err.text);
                return 1;
            }
    return wt_lease_close(lease, &err) < 0;
}

struct child {
    pid_t pid;
    int in, out;
};

/* Starts a client in a process group of its own and waits until it has set its value. */
static struct child start(const char *device, const char *watts, const char *how,
                          const char *hold_ms)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setpgid(0, 0);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(self, self, "client", device, watts, how, hold_ms, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    struct child c = {.pid = pid, .in = in[1], .out = out[0]};
    char word = 0;
    assert_int_equal(read(c.out, &word, 1), 1);
    return c;
}

static int end(struct child *c)
{
    int status;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->in);
    close(c->out);
    return status;
}

/* The guardian of an owner, by its command line; 0: none. */
static pid_t guardian_of(pid_t owner)
{
    pid_t found = 0;
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    struct dirent *entry;
    while ((entry = readdir(proc))) {
        char path[300], text[8192];
        wt_text(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        int fd = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
        if (fd < 0)
            continue;
        ssize_t n = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n <= 0)
            continue;
        text[n] = '\0';
        const char *word = text, *last = text + n;
        char pid[16];
        wt_text(pid, sizeof(pid), "%d", owner);
        if (strcmp(word, WT_GUARDIAN_PROGRAM) != 0)
            continue;
        for (int i = 0; i < 3 && word < last; i++)
            word += strlen(word) + 1;
        if (word < last && strcmp(word, pid) == 0)
            found = (pid_t)atoi(entry->d_name);
    }
    closedir(proc);
    return found;
}

static bool guardian_ends(pid_t owner)
{
    int64_t until_ns = wt_clock_now_ns() + PATIENCE * WT_NS_PER_S;
    while (guardian_of(owner)) {
        if (wt_clock_now_ns() > until_ns)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}

static size_t open_entries(struct wt_journal_totals *ret_totals)
{
    char dir[4096];
    struct wt_journal *journal;
    struct wt_error err = {0};
    if (wt_lease_state_dir(ctx, devices, "/nonexistent", dir, sizeof(dir), &err) < 0 ||
        wt_journal_open(&journal, NULL, dir, NULL, &err) < 0 || wt_journal_lock(journal, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(strncmp(dir, wt_emulation_dir(emulation), strlen(wt_emulation_dir(emulation))),
                     0);
    size_t count, open = 0;
    const struct wt_lease_record *e = wt_journal_entries(journal, &count);
    for (size_t i = 0; i < count; i++)
        open += wt_lease_is_open(&e[i]);
    *ret_totals = wt_journal_totals(journal);
    wt_journal_unlock(journal);
    wt_journal_close(journal);
    return open;
}

/* ---- the tests ---- */

static void an_owner_that_ends_well_leaves_no_guardian(void **state)
{
    (void)state;
    struct child c = start("0", "150", "close", "0");
    assert_int_equal(limit(0), 150000);
    assert_true(guardian_of(c.pid) > 0);
    assert_int_equal(write(c.in, "q", 1), 1);
    assert_int_equal(end(&c), 0);
    assert_int_equal(limit(0), SITE_MW);
    assert_true(guardian_ends(c.pid));
}

static void a_killed_owner_is_restored_by_its_guardian(void **state)
{
    (void)state;
    static const struct {
        const char *how;
        int signal;
        bool is_group;
        const char *why;
    } rows[] = {
        {"stay", SIGKILL, false, "kill -9 of the owner"},
        {"stay", SIGKILL, true, "kill -9 of its whole process group"},
        {"stay", SIGTERM, true, "a signal it does not handle, to the group"},
        {"stay", SIGSEGV, false, "a crash"},
        {"exit", 0, false, "an exit without a close"},
        {"exec", 0, false, "it became another program, which lives on"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct child c = start("0", "150", rows[i].how, "0");
        pid_t guardian = guardian_of(c.pid);
        if (rows[i].signal) {
            assert_true(guardian > 0);
            assert_int_equal(limit(0), 150000);
            kill(rows[i].is_group ? -c.pid : c.pid, rows[i].signal);
        }
        if (!becomes(0, SITE_MW))
            fail_msg("%s: still at %lld", rows[i].why, (long long)limit(0));
        kill(c.pid, SIGKILL);
        end(&c);
        assert_true(guardian_ends(c.pid));
        assert_int_equal(limit(1), 250000);
    }
}

static void signals_to_the_guardian_are_not_heard(void **state)
{
    (void)state;
    struct child c = start("0", "150", "stay", "0");
    pid_t guardian = guardian_of(c.pid);
    assert_true(guardian > 0);
    assert_true(getsid(guardian) != getsid(c.pid));
    assert_true(getpgid(guardian) != getpgid(c.pid));
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGUSR1, SIGTSTP};
    for (size_t i = 0; i < WT_COUNTOF(signals); i++)
        kill(guardian, signals[i]);
    kill(c.pid, SIGKILL);
    end(&c);
    assert_true(becomes(0, SITE_MW));
    assert_true(guardian_ends(c.pid));
}

static void a_guardian_holds_no_file_of_its_owner(void **state)
{
    (void)state;
    struct child c = start("0", "150", "close", "0");
    char path[64];
    wt_text(path, sizeof(path), "/proc/%d/fd", guardian_of(c.pid));
    DIR *fds = opendir(path);
    assert_non_null(fds);
    struct dirent *entry;
    while ((entry = readdir(fds))) {
        char link[400], target[256] = "";
        if (entry->d_name[0] == '.')
            continue;
        wt_text(link, sizeof(link), "%s/%s", path, entry->d_name);
        if (readlink(link, target, sizeof(target) - 1) < 0)
            continue;
        if (strcmp(target, "/dev/null") != 0 && strncmp(target, "socket:", 7) != 0 &&
            strncmp(target, "anon_inode:", 11) != 0 && strncmp(target, "pidfd:", 6) != 0)
            fail_msg("descriptor %s is %s", entry->d_name, target);
    }
    closedir(fds);
    assert_int_equal(write(c.in, "q", 1), 1);
    assert_int_equal(end(&c), 0);
}

static void when_the_guardian_is_killed_too_the_next_restores(void **state)
{
    (void)state;
    struct child c = start("0", "150", "stay", "0"), d = start("1", "120", "stay", "0");
    pid_t guardians[] = {guardian_of(c.pid), guardian_of(d.pid)};
    assert_true(guardians[0] > 0 && guardians[1] > 0);
    kill(guardians[0], SIGKILL);
    kill(guardians[1], SIGKILL);
    assert_true(guardian_ends(c.pid));
    assert_true(guardian_ends(d.pid));
    kill(c.pid, SIGKILL);
    end(&c);
    assert_int_equal(limit(0), 150000);
    size_t restored = 0;
    assert_int_equal(wt_lease_recover(ctx, devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 1);
    assert_int_equal(limit(0), SITE_MW);
    assert_int_equal(limit(1), 120000); /* its owner lives */
    kill(d.pid, SIGKILL);
    end(&d);
    assert_int_equal(wt_lease_recover(ctx, devices, NULL, NULL, NULL, &restored, NULL), 0);
    assert_int_equal(restored, 1);
    assert_int_equal(limit(1), 250000);
}

static void an_owner_without_its_guardian_still_restores(void **state)
{
    (void)state;
    struct child c = start("0", "150", "close", "0");
    kill(guardian_of(c.pid), SIGKILL);
    assert_int_equal(write(c.in, "q", 1), 1);
    assert_int_equal(end(&c), 0);
    assert_int_equal(limit(0), SITE_MW);
}

static void a_stopped_owner_loses_the_setting_at_its_deadline(void **state)
{
    (void)state;
    struct child c = start("0", "150", "stay", "50");
    kill(c.pid, SIGSTOP);
    assert_true(becomes(0, SITE_MW));
    kill(c.pid, SIGKILL);
    end(&c);
    assert_true(guardian_ends(c.pid));
}

static void what_someone_else_set_survives_the_owners_death(void **state)
{
    (void)state;
    struct child c = start("0", "150", "stay", "0");
    assert_int_equal(wt_knob_set(devices, 0, WT_KNOB_POWER, 175000, NULL, NULL), 0);
    kill(c.pid, SIGKILL);
    end(&c);
    assert_true(guardian_ends(c.pid));
    assert_int_equal(limit(0), 175000);
    struct wt_journal_totals totals;
    assert_int_equal(open_entries(&totals), 0);
}

static void a_kill_at_any_moment_is_restored(void **state)
{
    (void)state;
    struct wt_journal_totals totals;
    unsigned seed = 1;
    for (int n = 0; n < 25; n++) {
        struct child c = start("0", "150", "flip", "0");
        seed = seed * 1103515245u + 12345u;
        poll(NULL, 0, (int)(seed >> 16) % 12);
        kill(c.pid, SIGKILL);
        end(&c);
        assert_true(guardian_ends(c.pid));
        assert_int_equal(limit(0), SITE_MW);
    }
    assert_int_equal(open_entries(&totals), 0);
    assert_int_equal(totals.opened, totals.closed);
    assert_int_equal(totals.doubled + totals.damaged, 0);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "client") == 0)
        return client(argv + 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_owner_that_ends_well_leaves_no_guardian, setup),
        cmocka_unit_test_setup(a_killed_owner_is_restored_by_its_guardian, setup),
        cmocka_unit_test_setup(signals_to_the_guardian_are_not_heard, setup),
        cmocka_unit_test_setup(a_guardian_holds_no_file_of_its_owner, setup),
        cmocka_unit_test_setup(when_the_guardian_is_killed_too_the_next_restores, setup),
        cmocka_unit_test_setup(an_owner_without_its_guardian_still_restores, setup),
        cmocka_unit_test_setup(a_stopped_owner_loses_the_setting_at_its_deadline, setup),
        cmocka_unit_test_setup(what_someone_else_set_survives_the_owners_death, setup),
        cmocka_unit_test_setup(a_kill_at_any_moment_is_restored, setup),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
