/* Leases over devices made of memory: what is journalled when, and what a restore does with it.
 * Real processes, signals and the guardian are in test_lease_guardian.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lease/lease.h"

#define DEVICES 4

/* A file system that cannot put a folder on disk. */
static bool is_folder_bad;

int fsync(int fd)
{
    struct stat st;
    if (is_folder_bad && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

/* ---- devices made of memory, and everything written in the order it was ---- */

enum { DEVICE_WRITE = 100 };

struct event {
    int kind; /* enum wt_journal_op or DEVICE_WRITE */
    uint64_t offset;
    uint8_t *bytes;
    size_t size; /* of a device write: the device */
    int64_t value;
};

struct machine {
    char dir[64];
    char ids[DEVICES][32];
    int64_t power[DEVICES], clock[DEVICES];
    int64_t shift; /* what the device makes of a value: value + shift */
    bool is_emulated, is_refusing[DEVICES];
    struct wt_lease *rival; /* sets and restores around the next reading */
    struct event *events;
    size_t event_count;
    bool is_recording;
    struct wt_journal_trace trace;
};

static void record(struct machine *m, struct event e)
{
    if (!m->is_recording)
        return;
    m->events = realloc(m->events, (m->event_count + 1) * sizeof(*m->events));
    assert_non_null(m->events);
    m->events[m->event_count++] = e;
}

static void on_journal_op(void *data, enum wt_journal_op op, uint64_t offset, const void *bytes,
                          size_t size)
{
    struct event e = {.kind = (int)op, .offset = offset, .size = size};
    if (size && (e.bytes = malloc(size)))
        memcpy(e.bytes, bytes, size);
    record(data, e);
    if (!((struct machine *)data)->is_recording)
        free(e.bytes);
}

static size_t m_count(void *data)
{
    (void)data;
    return DEVICES;
}

static const char *m_id(void *data, size_t i, bool *ret_is_emulated)
{
    struct machine *m = data;
    *ret_is_emulated = m->is_emulated;
    return m->ids[i];
}

static int m_read(void *data, size_t i, enum wt_knob knob, struct wt_knob_info *ret,
                  bool *ret_is_blind, struct wt_error *err)
{
    struct machine *m = data;
    if (knob == WT_KNOB_CLOCK) {
        *ret = (struct wt_knob_info){.knob = knob,
                                     .min = 135000,
                                     .max = 1530000,
                                     .step = 1000,
                                     .is_lockable = true,
                                     .is_settable = true};
        *ret_is_blind = true;
        return 0;
    }
    if (knob != WT_KNOB_POWER)
        return wt_fail(err, WT_E_UNSUPPORTED, "no such knob");
    struct wt_lease *rival = m->rival;
    m->rival = NULL;
    if (rival)
        assert_int_equal(wt_lease_set(rival, i, knob, 110000, NULL, NULL), 0);
    *ret = (struct wt_knob_info){.knob = knob,
                                 .min = 100000,
                                 .max = 250000,
                                 .step = 1000,
                                 .def = 250000,
                                 .current = m->power[i],
                                 .enforced = m->power[i],
                                 .is_settable = true};
    *ret_is_blind = false;
    if (rival)
        assert_int_equal(wt_lease_restore(rival, NULL), 0);
    return 0;
}

static int m_set(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err)
{
    struct machine *m = data;
    if (m->is_refusing[i])
        return wt_fail(err, WT_E_DENIED, "%s says no", m->ids[i]);
    record(m, (struct event){.kind = DEVICE_WRITE, .size = i, .value = value + m->shift});
    (knob == WT_KNOB_POWER ? m->power : m->clock)[i] = value + m->shift;
    return 0;
}

static struct wt_lease_ops ops_of(struct machine *m)
{
    return (struct wt_lease_ops){
        .count = m_count, .id = m_id, .read = m_read, .set = m_set, .restore = m_set, .data = m};
}

static int setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return -1;
    const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    wt_text(m->dir, sizeof(m->dir), "%s/wattune-test-lease-XXXXXX", where);
    if (!mkdtemp(m->dir))
        return -1;
    for (size_t i = 0; i < DEVICES; i++) {
        wt_text(m->ids[i], sizeof(m->ids[i]), "GPU-%zu", i);
        m->power[i] = 250000;
    }
    m->power[0] = 200000; /* the site's own cap */
    m->trace = (struct wt_journal_trace){.op = on_journal_op, .data = m};
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    wt_fs_remove_tree(m->dir, NULL);
    for (size_t i = 0; i < m->event_count; i++)
        free(m->events[i].bytes);
    free(m->events);
    free(m);
    return 0;
}

static struct wt_lease *open_lease(struct machine *m)
{
    struct wt_lease *lease = NULL;
    struct wt_error err = {0};
    struct wt_lease_ops ops = ops_of(m);
    if (wt_lease_open_on(&lease, NULL, &ops, m->dir, NULL, 0, &m->trace, &err) < 0)
        fail_msg("%s", err.text);
    return lease;
}

static int set_power(struct wt_lease *lease, size_t i, int64_t value, struct wt_error *err)
{
    return wt_lease_set(lease, i, WT_KNOB_POWER, value, NULL, err);
}

/* The journal after a restart: every owner of before is dead. */
static struct wt_restorer restarted(struct machine *m)
{
    struct wt_restorer who = {.ops = ops_of(m)};
    struct wt_error err = {0};
    if (wt_owner_self(&who.self, &err) < 0 ||
        wt_journal_open(&who.journal, NULL, m->dir, NULL, &err) < 0)
        fail_msg("%s", err.text);
    who.self.boot[0] ^= 0xff;
    return who;
}

struct seen {
    size_t count;
    int rc[64];
    char text[512];
};

static void on_recovered(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                         int64_t written, int rc, const char *text)
{
    struct seen *s = data;
    assert_true(knob > 0 && knob < WT_KNOB_COUNT && *device_id && found >= 0 && written >= 0);
    if (s->count < WT_COUNTOF(s->rc))
        s->rc[s->count++] = rc;
    if (rc < 0)
        wt_text(s->text, sizeof(s->text), "%s", text);
}

static int recover(struct machine *m, struct seen *seen, size_t *ret_restored)
{
    struct wt_restorer who = restarted(m);
    size_t left;
    struct wt_error err;
    int rc = wt_restore_all(&who, 0, true, on_recovered, seen, ret_restored, &left, &err);
    wt_journal_close(who.journal);
    return rc;
}

static size_t open_entries(struct machine *m, struct wt_journal_totals *ret_totals)
{
    struct wt_restorer who = restarted(m);
    struct wt_error err = {0};
    if (wt_journal_lock(who.journal, &err) < 0)
        fail_msg("%s", err.text);
    size_t count, open = 0;
    const struct wt_lease_record *e = wt_journal_entries(who.journal, &count);
    for (size_t i = 0; i < count; i++)
        open += wt_lease_is_open(&e[i]);
    if (ret_totals)
        *ret_totals = wt_journal_totals(who.journal);
    wt_journal_unlock(who.journal);
    wt_journal_close(who.journal);
    return open;
}

static void path_of(const struct machine *m, char *buf, size_t size)
{
    wt_text(buf, size, "%s/%s", m->dir, WT_JOURNAL_FILE);
}

static uint8_t *slurp(const struct machine *m, size_t *ret_size)
{
    char path[128];
    path_of(m, path, sizeof(path));
    struct stat st;
    *ret_size = 0;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    *ret_size = (size_t)st.st_size;
    return bytes;
}

static void spit(const struct machine *m, const uint8_t *bytes, size_t size)
{
    char path[128];
    path_of(m, path, sizeof(path));
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* ---- setting and putting back ---- */

static void a_site_value_is_put_back_not_the_default(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    int64_t enforced = 0;
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 150000, &enforced, NULL), 0);
    assert_int_equal(enforced, 150000);
    assert_int_equal(set_power(lease, 0, 120000, NULL), 0);
    assert_int_equal(set_power(lease, 1, 100000, NULL), 0);
    assert_int_equal(m->power[0], 120000);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(m->power[1], 250000);
    assert_int_equal(open_entries(m, NULL), 0);
}

/* The devices written to, in order, since the event at `from`. */
static void written_devices(const struct machine *m, size_t from, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t i = from; i < m->event_count; i++)
        if (m->events[i].kind == DEVICE_WRITE) {
            size_t used = strlen(buf);
            wt_text(buf + used, size - used, "%zu", m->events[i].size);
        }
}

static void settings_go_back_the_last_first(void **state)
{
    struct machine *m = *state;
    char order[32];
    m->is_recording = true;
    for (int is_dead = 0; is_dead < 2; is_dead++) {
        struct wt_lease *lease = open_lease(m);
        assert_int_equal(set_power(lease, 2, 150000, NULL), 0);
        assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
        assert_int_equal(set_power(lease, 1, 150000, NULL), 0);
        assert_int_equal(set_power(lease, 2, 120000, NULL), 0);
        size_t from = m->event_count, restored;
        struct seen seen = {0};
        if (is_dead)
            assert_int_equal(recover(m, &seen, &restored), 0);
        else
            assert_int_equal(wt_lease_restore(lease, NULL), 0);
        written_devices(m, from, order, sizeof(order));
        assert_string_equal(order, "102");
        assert_int_equal(wt_lease_close(lease, NULL), 0);
    }
}

static void a_lease_stays_usable_after_a_restore(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    assert_int_equal(wt_lease_restore(lease, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    m->power[0] = 180000; /* the site changes its mind in between */
    assert_int_equal(set_power(lease, 0, 140000, NULL), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[0], 180000);
    struct wt_journal_totals t;
    assert_int_equal(open_entries(m, &t), 0);
    assert_int_equal(t.opened, 2);
    assert_int_equal(t.closed, 2);
}

static void a_request_out_of_range_names_the_range_and_writes_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    static const struct {
        int64_t input;
        int want;
        const char *why;
    } rows[] = {{99999, WT_E_RANGE, "below"},
                {250001, WT_E_RANGE, "above"},
                {0, WT_E_RANGE, "0 unlocks clocks, and is no power"},
                {-1, WT_E_RANGE, "negative"},
                {100000, 0, "the least"},
                {250000, 0, "the most"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        int rc = set_power(lease, 1, rows[i].input, &err);
        if (rc != rows[i].want)
            fail_msg("%s: %s", rows[i].why, wt_error_name(rc));
        if (rc < 0) {
            assert_non_null(strstr(err.text, "100 to 250 W"));
            assert_int_equal(open_entries(m, NULL), 0);
        }
    }
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_CPU_POWER, 1, NULL, &err), WT_E_UNSUPPORTED);
    assert_int_equal(wt_lease_set(lease, DEVICES, WT_KNOB_POWER, 1, NULL, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
}

static void a_refused_set_leaves_nothing_to_put_back(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    m->is_refusing[1] = true;
    assert_int_equal(set_power(lease, 1, 150000, &err), WT_E_DENIED);
    assert_int_equal(wt_lease_set(lease, 1, WT_KNOB_CLOCK, 900000, NULL, &err), WT_E_DENIED);
    assert_int_equal(open_entries(m, NULL), 0);
    /* After an earlier set the earlier value is still held. */
    m->is_refusing[1] = false;
    assert_int_equal(set_power(lease, 1, 150000, &err), 0);
    m->is_refusing[1] = true;
    assert_int_equal(set_power(lease, 1, 120000, &err), WT_E_DENIED);
    m->is_refusing[1] = false;
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[1], 250000);
}

static void a_value_that_did_not_take_is_said_and_still_put_back(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    m->shift = 30000;
    assert_int_equal(set_power(lease, 1, 150000, &err), WT_E_STATE);
    assert_non_null(strstr(err.text, "180"));
    m->shift = 0;
    assert_int_equal(wt_lease_close(lease, &err), 0);
    assert_int_equal(m->power[1], 250000);
}

static void a_value_changed_by_someone_else_stays(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    assert_int_equal(set_power(lease, 1, 150000, NULL), 0);
    m->power[0] = 175000;
    assert_int_equal(wt_lease_restore(lease, &err), WT_E_CHANGED);
    assert_non_null(strstr(err.text, "175"));
    assert_int_equal(m->power[0], 175000);
    assert_int_equal(m->power[1], 250000);
    assert_int_equal(open_entries(m, NULL), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[0], 175000);
}

static void a_set_over_someone_elses_change_is_refused(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    m->power[0] = 175000;
    assert_int_equal(set_power(lease, 0, 120000, &err), WT_E_CHANGED);
    assert_int_equal(m->power[0], 175000);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[0], 175000);
}

static void one_refusing_device_keeps_its_record_and_stops_no_other(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    for (size_t i = 0; i < DEVICES; i++)
        assert_int_equal(set_power(lease, i, 150000, NULL), 0);
    m->is_refusing[1] = true;
    assert_int_equal(wt_lease_close(lease, &err), WT_E_DENIED);
    assert_non_null(strstr(err.text, "GPU-1"));
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(m->power[1], 150000);
    assert_int_equal(m->power[2], 250000);
    assert_int_equal(m->power[3], 250000);
    assert_int_equal(open_entries(m, NULL), 1);

    /* Nobody gets the knob before the old value is back; other devices go on. */
    lease = open_lease(m);
    assert_int_equal(set_power(lease, 1, 120000, &err), WT_E_DENIED);
    assert_int_equal(set_power(lease, 2, 120000, &err), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(open_entries(m, NULL), 1);

    m->is_refusing[1] = false;
    lease = open_lease(m); /* the next Wattune puts it back */
    assert_int_equal(m->power[1], 250000);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(open_entries(m, NULL), 0);
}

static void a_lock_that_cannot_be_read_is_released(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    int64_t enforced = 0;
    assert_int_equal(wt_lease_set(lease, 2, WT_KNOB_CLOCK, 900000, &enforced, NULL), 0);
    assert_int_equal(enforced, 900000);
    assert_int_equal(wt_lease_set(lease, 2, WT_KNOB_CLOCK, 1200000, NULL, NULL), 0);
    assert_int_equal(m->clock[2], 1200000);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->clock[2], 0);
}

static void tenants_of_different_devices_never_meet(void **state)
{
    struct machine *m = *state;
    struct wt_lease *a = open_lease(m), *b = open_lease(m);
    struct wt_error err = {0};
    assert_int_equal(set_power(a, 0, 150000, NULL), 0);
    assert_int_equal(set_power(b, 1, 140000, NULL), 0);
    assert_int_equal(set_power(b, 0, 140000, &err), WT_E_BUSY);
    char pid[32];
    wt_text(pid, sizeof(pid), "process %d", getpid());
    assert_non_null(strstr(err.text, pid));
    assert_int_equal(wt_lease_set(b, 0, WT_KNOB_CLOCK, 900000, NULL, NULL), 0);
    assert_int_equal(wt_lease_close(a, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(m->power[1], 140000);
    assert_int_equal(set_power(b, 0, 140000, &err), 0);
    assert_int_equal(wt_lease_close(b, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(m->power[1], 250000);
}

static void a_value_read_while_another_held_it_is_read_again(void **state)
{
    struct machine *m = *state;
    struct wt_lease *a = open_lease(m), *b = open_lease(m);
    m->rival = b; /* the reading gives what b set, and b has put it back by the time it is used */
    assert_int_equal(set_power(a, 0, 150000, NULL), 0);
    assert_null(m->rival);
    assert_int_equal(wt_lease_close(a, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(wt_lease_close(b, NULL), 0);
}

static void an_emulated_lease_never_touches_a_real_device(void **state)
{
    struct machine *m = *state;
    m->is_emulated = true;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    m->is_emulated = false; /* a real device of the same id, in the same directory */
    struct seen seen = {0};
    size_t restored = 0;
    assert_int_equal(recover(m, &seen, &restored), WT_E_GONE);
    assert_int_equal(restored, 0);
    assert_int_equal(m->power[0], 150000);
    m->is_emulated = true;
    assert_int_equal(recover(m, &seen, &restored), 0);
    assert_int_equal(m->power[0], 200000);
    wt_lease_close(lease, NULL);
}

static void a_lost_journal_is_no_reason_not_to_restore(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    size_t size;
    uint8_t *bytes = slurp(m, &size);
    bytes[8] = 99; /* a newer Wattune's by now */
    spit(m, bytes, size);
    free(bytes);
    wt_lease_close(lease, NULL);
    assert_int_equal(m->power[0], 200000);
}

static void a_fork_of_the_owner_puts_nothing_back(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) {
        wt_lease_close(lease, NULL);
        _exit(m->power[0] != 150000); /* its copy of the machine */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(open_entries(m, NULL), 1);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
}

static void a_dead_owners_setting_is_put_back_by_the_next(void **state)
{
    struct machine *m = *state;
    int channel[2];
    assert_int_equal(pipe(channel), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct wt_lease *lease = open_lease(m);
        char ok = set_power(lease, 0, 150000, NULL) == 0;
        if (write(channel[1], &ok, 1) == 1)
            pause();
        _exit(1);
    }
    char ok = 0;
    assert_int_equal(read(channel[0], &ok, 1), 1);
    assert_true(ok);
    m->power[0] = 150000; /* memory is not shared, the machine would be */
    struct seen seen = {0};
    size_t restored = 0;

    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    assert_int_equal(set_power(lease, 0, 120000, &err), WT_E_BUSY);
    kill(pid, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* still a zombie */
    assert_int_equal(set_power(lease, 0, 120000, &err), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(recover(m, &seen, &restored), 0);
    assert_int_equal(seen.count, 0);
    waitpid(pid, NULL, 0);
    close(channel[0]);
    close(channel[1]);
}

static void a_restart_that_reset_the_device_is_left_alone(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    m->power[0] = 250000; /* power came back, the driver took its default */
    struct seen seen = {0};
    size_t restored;
    assert_int_equal(recover(m, &seen, &restored), WT_E_CHANGED);
    assert_non_null(strstr(seen.text, "started anew"));
    assert_int_equal(m->power[0], 250000);
    assert_int_equal(open_entries(m, NULL), 0);
    wt_lease_close(lease, NULL);
}

static void a_look_changes_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    struct wt_restorer who = restarted(m);
    who.is_dry = true;
    struct seen seen = {0};
    size_t restored, left, size_before, size_after;
    free(slurp(m, &size_before));
    assert_int_equal(wt_restore_all(&who, 0, true, on_recovered, &seen, &restored, &left, NULL), 0);
    free(slurp(m, &size_after));
    assert_int_equal(seen.count, 1);
    assert_int_equal(m->power[0], 150000);
    assert_int_equal(size_before, size_after);
    wt_journal_close(who.journal);
    wt_lease_close(lease, NULL);
}

/* ---- the journal ---- */

static void a_full_disk_refuses_the_set_and_touches_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    struct wt_error err = {0};
    struct rlimit old, tight = {.rlim_cur = 100};
    getrlimit(RLIMIT_FSIZE, &old);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    int rc = set_power(lease, 0, 150000, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_true(rc < 0);
    assert_int_equal(m->power[0], 200000);
    assert_int_equal(set_power(lease, 0, 150000, &err), 0);

    /* Once something is held, a disk that fills up is no hindrance to a restore. */
    setrlimit(RLIMIT_FSIZE, &tight);
    rc = wt_lease_restore(lease, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, 0);
    assert_int_equal(m->power[0], 200000);
    wt_lease_close(lease, NULL);
    struct seen seen = {0};
    size_t restored;
    assert_int_equal(recover(m, &seen, &restored), 0); /* notes what it finds */
    assert_int_equal(open_entries(m, NULL), 0);
}

static void a_damaged_record_is_passed_over_and_the_others_used(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(set_power(lease, i, 150000, NULL), 0);
    size_t size;
    uint8_t *good = slurp(m, &size), *bad = malloc(size);
    assert_non_null(bad);
    size_t slots = size / WT_JOURNAL_SLOT;
    for (size_t slot = 0; slot < slots; slot++) {
        memcpy(bad, good, size);
        bad[slot * WT_JOURNAL_SLOT + 200] ^= 0x40;
        spit(m, bad, size);
        for (size_t i = 0; i < 3; i++)
            m->power[i] = 150000;
        struct seen seen = {0};
        size_t restored = 0;
        recover(m, &seen, &restored);
        /* Each record tells all: intention and setting stand in for each other. */
        assert_int_equal(restored, 3);
        assert_int_equal(m->power[0], 200000);
        assert_int_equal(m->power[1], 250000);
        assert_int_equal(m->power[2], 250000);
    }
    free(good);
    free(bad);
    m->power[0] = m->power[1] = m->power[2] = 1; /* nothing of this lease is left */
    wt_lease_close(lease, NULL);
}

static void a_newer_journal_is_left_untouched(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    size_t size, after_size;
    uint8_t *bytes = slurp(m, &size);
    static const struct {
        uint8_t first, version;
        const char *want, *why;
    } rows[] = {{'W', WT_JOURNAL_VERSION + 1, "newer Wattune", "a format to come"},
                {'X', 1, NULL, "header damaged, the records are not"}};
    struct wt_lease_ops ops = ops_of(m);
    struct wt_error err = {0};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bytes[0] = rows[i].first;
        bytes[8] = rows[i].version;
        spit(m, bytes, size);
        int rc = wt_lease_open_on(&lease, NULL, &ops, m->dir, NULL, 0, NULL, &err);
        if (rows[i].want) {
            assert_int_equal(rc, WT_E_FORMAT);
            assert_non_null(strstr(err.text, rows[i].want));
        } else {
            assert_int_equal(rc, 0);
            wt_lease_close(lease, NULL);
        }
        uint8_t *after = slurp(m, &after_size);
        assert_int_equal(after_size, size);
        assert_memory_equal(after, bytes, size);
        free(after);
    }
    memset(bytes, 'x', size);
    spit(m, bytes, size);
    assert_int_equal(wt_lease_open_on(&lease, NULL, &ops, m->dir, NULL, 0, NULL, &err),
                     WT_E_FORMAT);
    assert_non_null(strstr(err.fix, "move it away"));
    free(bytes);
}

static void a_long_journal_is_made_shorter_and_loses_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *held = open_lease(m), *busy = open_lease(m);
    assert_int_equal(set_power(held, 0, 150000, NULL), 0);
    for (size_t n = 0; n < 300; n++) {
        assert_int_equal(set_power(busy, 1, 100000 + (int64_t)n * 10, NULL), 0);
        assert_int_equal(wt_lease_restore(busy, NULL), 0);
    }
    size_t size;
    free(slurp(m, &size));
    assert_true(size < 300 * WT_JOURNAL_SLOT);
    struct wt_journal_totals t;
    assert_int_equal(open_entries(m, &t), 1);
    assert_int_equal(t.opened, 301);
    assert_int_equal(t.closed, 300);
    assert_int_equal(t.damaged + t.doubled, 0);
    assert_int_equal(wt_lease_close(held, NULL), 0);
    assert_int_equal(wt_lease_close(busy, NULL), 0);
    assert_int_equal(m->power[0], 200000);
}

static void a_journal_whose_new_name_is_not_on_disk_loses_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    size_t refused = 0;
    for (size_t n = 0; n < 300; n++) {
        is_folder_bad = n >= 100;
        struct wt_error err = {0};
        if (set_power(lease, 1, 100000 + (int64_t)n * 10, &err) < 0) {
            assert_int_equal(err.code, WT_E_IO);
            assert_int_equal(m->power[1], 250000);
            refused++;
        } else {
            assert_int_equal(open_entries(m, NULL), 1);
        }
        is_folder_bad = false;
        assert_int_equal(wt_lease_restore(lease, NULL), 0);
        assert_int_equal(m->power[1], 250000);
        assert_int_equal(open_entries(m, NULL), 0);
    }
    /* From the first time that it was made shorter on, and well again after that. */
    assert_true(refused > 0 && refused < 200);
    assert_int_equal(set_power(lease, 1, 150000, NULL), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    assert_int_equal(m->power[1], 250000);
}

/* What a daemon does: records one after the other, each flushed, into slots written ahead. */
static void slots_written_ahead_are_no_records(void **state)
{
    struct machine *m = *state;
    struct wt_restorer a = restarted(m), b = restarted(m);
    size_t size = 0, longest = 0, count;
    for (uint64_t n = 1; n <= 300; n++) {
        struct wt_journal *j = n % 3 ? a.journal : b.journal; /* two who take turns */
        struct wt_lease_record r = {.lease = n,
                                    .state = WT_LEASE_INTENDED,
                                    .is_claim = true,
                                    .knob = WT_KNOB_POWER,
                                    .device = "GPU-1"};
        assert_int_equal(wt_journal_lock(j, NULL), 0);
        assert_int_equal(wt_journal_append(j, &r, false, NULL), 0);
        assert_int_equal(r.sequence, n);
        assert_int_equal(wt_journal_flush(j, NULL), 0);
        wt_journal_entries(j, &count);
        assert_int_equal(count, n);
        wt_journal_unlock(j);
        free(slurp(m, &size));
        assert_true(size > (1 + n) * WT_JOURNAL_SLOT);
        longest = size > longest ? size : longest;
    }
    assert_true(longest < (1 + 300 + 200) * WT_JOURNAL_SLOT);
    struct wt_journal_totals t;
    assert_int_equal(open_entries(m, &t), 300);
    assert_int_equal(t.damaged + t.doubled, 0);
    assert_int_equal(t.next_sequence, 301);

    /* A power cut: the last are missing, torn, or one before them is. What is there is used, and
     * the next goes behind all of it. */
    uint8_t *good = slurp(m, &size), *bad = malloc(size);
    assert_non_null(bad);
    static const struct {
        size_t slot, from, open, damaged;
        const char *why;
    } rows[] = {{300, 0, 299, 0, "the last was never written"},
                {300, 100, 299, 1, "it is torn"},
                {299, 0, 299, 1, "one before it is missing"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        memcpy(bad, good, size);
        memset(bad + rows[i].slot * WT_JOURNAL_SLOT + rows[i].from, 0,
               WT_JOURNAL_SLOT - rows[i].from);
        spit(m, bad, size);
        size_t open = open_entries(m, &t);
        if (open != rows[i].open || t.damaged != rows[i].damaged)
            fail_msg("%s: %zu open, %zu damaged", rows[i].why, open, t.damaged);
        struct wt_lease_record r = {.lease = 1000,
                                    .state = WT_LEASE_INTENDED,
                                    .is_claim = true,
                                    .knob = WT_KNOB_POWER,
                                    .device = "GPU-1"};
        assert_int_equal(wt_journal_lock(a.journal, NULL), 0);
        assert_int_equal(wt_journal_append(a.journal, &r, true, NULL), 0);
        wt_journal_unlock(a.journal);
        assert_int_equal(open_entries(m, &t), rows[i].open + 1);
    }
    free(good);
    free(bad);
    wt_journal_close(a.journal);
    wt_journal_close(b.journal);
}

static void many_processes_share_one_journal(void **state)
{
    struct machine *m = *state;
    pid_t pids[DEVICES];
    for (size_t i = 0; i < DEVICES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct wt_lease *lease = open_lease(m);
            int bad = 0;
            for (int64_t n = 0; n < 60; n++) {
                bad |= set_power(lease, i, 100000 + n * 1000, NULL);
                bad |= wt_lease_restore(lease, NULL);
            }
            bad |= wt_lease_close(lease, NULL);
            _exit(bad != 0);
        }
    }
    for (size_t i = 0; i < DEVICES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct wt_journal_totals t;
    assert_int_equal(open_entries(m, &t), 0);
    assert_int_equal(t.opened, 60 * DEVICES);
    assert_int_equal(t.closed, 60 * DEVICES);
    assert_int_equal(t.damaged + t.doubled, 0);
}

/* ---- a power cut between any two writes, and within each ---- */

/* What a file system may show after a cut: of the journal and of the file beside it, what was
 * synced for sure, and what was written since in whole, in part, or not. */
struct disk {
    uint8_t *bytes[2]; /* the journal; the new one beside it */
    size_t size[2], synced[2];
    bool is_there[2];
};
#define DISK_MAX (400 * WT_JOURNAL_SLOT)

static void disk_apply(struct disk *d, const struct event *e, size_t part)
{
    int file = e->kind == WT_JOURNAL_CREATE || e->kind == WT_JOURNAL_WRITE_NEW ||
               e->kind == WT_JOURNAL_SYNC_NEW;
    switch (e->kind) {
    case WT_JOURNAL_CREATE:
        d->is_there[1] = true;
        d->size[1] = d->synced[1] = 0;
        break;
    case WT_JOURNAL_WRITE_NEW:
    case WT_JOURNAL_WRITE:
        assert_true(e->offset + part <= DISK_MAX);
        if (part)
            memcpy(d->bytes[file] + e->offset, e->bytes, part);
        if (e->offset + part > d->size[file])
            d->size[file] = e->offset + part;
        break;
    case WT_JOURNAL_SYNC:
    case WT_JOURNAL_SYNC_NEW:
        d->synced[file] = d->size[file];
        break;
    case WT_JOURNAL_RENAME: {
        uint8_t *old = d->bytes[0];
        d->bytes[0] = d->bytes[1];
        d->bytes[1] = old;
        d->size[0] = d->size[1];
        d->synced[0] = d->synced[1];
        d->is_there[0] = true;
        d->is_there[1] = false;
        break;
    }
    case WT_JOURNAL_TRUNCATE:
        d->size[0] = e->offset;
        break;
    default:
        break;
    }
}

static size_t cuts;

/* The power is back: the journal holds size bytes of disk d, the devices what they held. */
static void restart_and_check(struct machine *m, const struct disk *d, size_t size,
                              const int64_t *power, size_t at, const char *how)
{
    struct machine after = *m;
    after.is_recording = false;
    memcpy(after.power, power, sizeof(after.power));
    char path[128];
    path_of(m, path, sizeof(path));
    unlink(path);
    if (d->is_there[0])
        spit(m, d->bytes[0], size);
    struct seen seen = {0};
    size_t restored;
    recover(&after, &seen, &restored);
    for (size_t i = 0; i < DEVICES; i++)
        if (after.power[i] != (i == 0 ? 200000 : 250000))
            fail_msg("cut at write %zu (%s): device %zu at %lld; %s", at, how, i,
                     (long long)after.power[i], seen.text);
    assert_int_equal(open_entries(&after, NULL), 0);
    cuts++;
}

static void cut_everywhere(struct machine *m, const uint8_t *base, size_t base_size)
{
    struct disk d = {.is_there = {base_size > 0, false}};
    d.bytes[0] = calloc(1, DISK_MAX);
    d.bytes[1] = calloc(1, DISK_MAX);
    assert_non_null(d.bytes[0]);
    assert_non_null(d.bytes[1]);
    if (base_size)
        memcpy(d.bytes[0], base, base_size);
    d.size[0] = d.synced[0] = base_size;
    int64_t power[DEVICES] = {200000, 250000, 250000, 250000};
    for (size_t k = 0; k <= m->event_count; k++) {
        restart_and_check(m, &d, d.size[0], power, k, "all written");
        restart_and_check(m, &d, d.synced[0], power, k, "only what was synced");
        if (k == m->event_count)
            break;
        const struct event *e = &m->events[k];
        if (e->kind == WT_JOURNAL_WRITE) {
            static const size_t torn[] = {1, 7, 8, 24, 88, 191, 192, 255, 256, 507, 508, 511};
            for (size_t t = 0; t < WT_COUNTOF(torn); t++) {
                uint8_t kept[WT_JOURNAL_SLOT];
                size_t size = d.size[0];
                memcpy(kept, d.bytes[0] + e->offset, sizeof(kept));
                disk_apply(&d, e, torn[t]);
                restart_and_check(m, &d, d.size[0], power, k, "torn");
                /* The size was written and the rest of the bytes were not. */
                memset(d.bytes[0] + e->offset + torn[t], 0, WT_JOURNAL_SLOT - torn[t]);
                restart_and_check(m, &d, e->offset + WT_JOURNAL_SLOT, power, k, "torn, zeros");
                memcpy(d.bytes[0] + e->offset, kept, sizeof(kept));
                d.size[0] = size;
            }
        }
        if (e->kind == DEVICE_WRITE)
            power[e->size] = e->value;
        else
            disk_apply(&d, e, e->size);
    }
    free(d.bytes[0]);
    free(d.bytes[1]);
}

static void work(struct machine *m)
{
    struct wt_lease *lease = open_lease(m);
    assert_int_equal(set_power(lease, 0, 150000, NULL), 0);
    assert_int_equal(set_power(lease, 0, 120000, NULL), 0);
    assert_int_equal(set_power(lease, 1, 100000, NULL), 0);
    assert_int_equal(wt_lease_restore(lease, NULL), 0);
    assert_int_equal(set_power(lease, 0, 175000, NULL), 0);
    assert_int_equal(set_power(lease, 3, 225000, NULL), 0);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
}

static void a_power_cut_at_any_write_recovers_the_original_values(void **state)
{
    struct machine *m = *state;
    m->is_recording = true;
    work(m);
    m->is_recording = false;
    assert_true(m->event_count > 20);
    cut_everywhere(m, NULL, 0);
    print_message("%zu power cuts over %zu writes\n", cuts, m->event_count);
}

static void a_power_cut_while_the_journal_is_made_shorter_loses_nothing(void **state)
{
    struct machine *m = *state;
    struct wt_lease *lease = open_lease(m);
    size_t size = 0;
    do { /* up to the brink */
        assert_int_equal(set_power(lease, 2, 150000, NULL), 0);
        assert_int_equal(wt_lease_restore(lease, NULL), 0);
        free(slurp(m, &size));
    } while (size < 252 * WT_JOURNAL_SLOT);
    assert_int_equal(wt_lease_close(lease, NULL), 0);
    uint8_t *base = slurp(m, &size);
    m->is_recording = true;
    work(m);
    m->is_recording = false;
    size_t renames = 0;
    for (size_t i = 0; i < m->event_count; i++)
        renames += m->events[i].kind == WT_JOURNAL_RENAME;
    assert_int_equal(renames, 1);
    cut_everywhere(m, base, size);
    free(base);
}

static void nothing_is_set_before_the_value_found_is_on_disk(void **state)
{
    struct machine *m = *state;
    m->is_recording = true;
    work(m);
    m->is_recording = false;
    bool is_intended = false, is_synced = false, is_dir_synced = false;
    size_t sets = 0;
    for (size_t i = 0; i < m->event_count; i++) {
        const struct event *e = &m->events[i];
        if (e->kind == WT_JOURNAL_WRITE) {
            is_intended = e->bytes[6] == WT_LEASE_INTENDED;
            is_synced = false;
        } else if (e->kind == WT_JOURNAL_SYNC) {
            is_synced = true;
        } else if (e->kind == WT_JOURNAL_SYNC_DIR) {
            is_dir_synced = true;
        } else if (e->kind == DEVICE_WRITE && e->value != 200000 && e->value != 250000) {
            assert_true(is_intended && is_synced && is_dir_synced);
            is_intended = false; /* one intention, one set */
            sets++;
        }
    }
    assert_int_equal(sets, 5);
}

int main(void)
{
#define LEASE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LEASE_TEST(a_site_value_is_put_back_not_the_default),
        LEASE_TEST(settings_go_back_the_last_first),
        LEASE_TEST(a_lease_stays_usable_after_a_restore),
        LEASE_TEST(a_request_out_of_range_names_the_range_and_writes_nothing),
        LEASE_TEST(a_refused_set_leaves_nothing_to_put_back),
        LEASE_TEST(a_value_that_did_not_take_is_said_and_still_put_back),
        LEASE_TEST(a_value_changed_by_someone_else_stays),
        LEASE_TEST(a_set_over_someone_elses_change_is_refused),
        LEASE_TEST(one_refusing_device_keeps_its_record_and_stops_no_other),
        LEASE_TEST(a_lock_that_cannot_be_read_is_released),
        LEASE_TEST(tenants_of_different_devices_never_meet),
        LEASE_TEST(a_value_read_while_another_held_it_is_read_again),
        LEASE_TEST(an_emulated_lease_never_touches_a_real_device),
        LEASE_TEST(a_lost_journal_is_no_reason_not_to_restore),
        LEASE_TEST(a_fork_of_the_owner_puts_nothing_back),
        LEASE_TEST(a_dead_owners_setting_is_put_back_by_the_next),
        LEASE_TEST(a_restart_that_reset_the_device_is_left_alone),
        LEASE_TEST(a_look_changes_nothing),
        LEASE_TEST(a_full_disk_refuses_the_set_and_touches_nothing),
        LEASE_TEST(a_damaged_record_is_passed_over_and_the_others_used),
        LEASE_TEST(a_newer_journal_is_left_untouched),
        LEASE_TEST(a_long_journal_is_made_shorter_and_loses_nothing),
        LEASE_TEST(a_journal_whose_new_name_is_not_on_disk_loses_nothing),
        LEASE_TEST(slots_written_ahead_are_no_records),
        LEASE_TEST(many_processes_share_one_journal),
        LEASE_TEST(a_power_cut_at_any_write_recovers_the_original_values),
        LEASE_TEST(a_power_cut_while_the_journal_is_made_shorter_loses_nothing),
        LEASE_TEST(nothing_is_set_before_the_value_found_is_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
