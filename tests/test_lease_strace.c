/* Under strace: no write to a device happens before the journal's fsync has returned. The devices
 * are files here, because what is written to emulated GPUs is memory, which strace does not see.
 * This program is its own client: test_lease_strace client DIR. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lease/lease.h"

#define DEVICES 2

struct machine {
    char dir[256];
    char ids[DEVICES][16];
};

static size_t m_count(void *data)
{
    (void)data;
    return DEVICES;
}

static const char *m_id(void *data, size_t i, bool *ret_is_emulated)
{
    *ret_is_emulated = false;
    return ((struct machine *)data)->ids[i];
}

static int open_device(struct machine *m, size_t i)
{
    char path[300];
    wt_text(path, sizeof(path), "%s/device-%zu", m->dir, i);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int m_read(void *data, size_t i, enum wt_knob knob, struct wt_knob_info *ret,
                  bool *ret_is_blind, struct wt_error *err)
{
    int64_t value = 250000;
    int fd = open_device(data, i);
    if (fd < 0 || pread(fd, &value, sizeof(value), 0) < 0)
        return wt_fail_errno(err, errno, "device %zu", i);
    close(fd);
    *ret = (struct wt_knob_info){.knob = knob,
                                 .min = 100000,
                                 .max = 250000,
                                 .step = 1000,
                                 .current = value,
                                 .enforced = value,
                                 .is_settable = true};
    *ret_is_blind = false;
    return 0;
}

static int m_set(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err)
{
    (void)knob;
    int fd = open_device(data, i);
    if (fd < 0 || pwrite(fd, &value, sizeof(value), 0) != (ssize_t)sizeof(value))
        return wt_fail_errno(err, errno, "device %zu", i);
    close(fd);
    return 0;
}

static int client(const char *dir)
{
    struct machine m = {.ids = {"GPU-0", "GPU-1"}};
    wt_text(m.dir, sizeof(m.dir), "%s", dir);
    struct wt_lease_ops ops = {
        .count = m_count, .id = m_id, .read = m_read, .set = m_set, .restore = m_set, .data = &m};
    struct wt_lease *lease;
    struct wt_error err = {0};
    int rc = wt_lease_open_on(&lease, NULL, &ops, dir, NULL, 0, NULL, &err);
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < DEVICES && rc == 0; i++)
        for (int64_t value = 150000; value >= 120000 && rc == 0; value -= 30000)
            rc = wt_lease_set(lease, i, WT_KNOB_POWER, value, NULL, &err);
    return wt_lease_close(lease, NULL) < 0 || rc < 0;
}

/* True when strace is here and may trace; a container may forbid it. */
static bool can_trace(void)
{
    return system("strace -o /dev/null true >/dev/null 2>&1") == 0;
}

static void nothing_is_written_to_a_device_before_fsync_returned(void **state)
{
    (void)state;
    char dir[] = "/tmp/wattune-test-strace-XXXXXX", self[4096], log[64];
    assert_non_null(mkdtemp(dir));
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(n > 0);
    self[n] = '\0';
    wt_text(log, sizeof(log), "%s/strace", dir);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* which needs ptrace for itself */
        execlp("strace", "strace", "-y", "-f", "-o", log, "-e",
               "trace=pwrite64,write,fsync,rename,renameat,renameat2", self, "client", dir,
               (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    FILE *f = fopen(log, "re");
    assert_non_null(f);
    char line[8192];
    bool is_dir_synced = false, is_synced = false;
    size_t device_writes = 0, sets = 0;
    while (fgets(line, sizeof(line), f)) {
        bool is_journal = strstr(line, "/" WT_JOURNAL_FILE ">") != NULL;
        /* A line is whole once the call has returned: nothing here runs beside another thread. */
        bool is_ok = strstr(line, "= 0\n") != NULL;
        if (strstr(line, "fsync(") && is_journal && is_ok)
            is_synced = true;
        else if (strstr(line, "fsync(") && is_ok && strstr(line, dir))
            is_dir_synced = true;
        else if (strstr(line, "pwrite64(") && is_journal)
            is_synced = false;
        else if (strstr(line, "pwrite64(") && strstr(line, "/device-")) {
            /* The 4 sets come first, then the 2 restores, whose intention was synced long ago. */
            device_writes++;
            if (device_writes <= 4) {
                if (!is_synced || !is_dir_synced)
                    fail_msg("before an fsync returned: %s", line);
                sets++;
            }
        }
    }
    fclose(f);
    assert_int_equal(sets, 4);
    assert_int_equal(device_writes, 6);
    wt_fs_remove_tree(dir, NULL);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return client(argv[2]);
    if (!can_trace()) {
        puts("skipped: strace is not here, or may not trace");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_written_to_a_device_before_fsync_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
