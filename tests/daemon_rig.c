/* daemon_rig: see daemon_rig.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knob/knob.h"

static int64_t deadline_ns(void)
{
    return wt_clock_now_ns() + RIG_PATIENCE_S * WT_NS_PER_S;
}

void rig_open(struct rig *r, const char *spec)
{
    struct wt_error err = {0};
    wt_text(r->dir, sizeof(r->dir), "/tmp/wattune-test-daemon-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(chmod(r->dir, 0755), 0);
    wt_text(r->socket, sizeof(r->socket), "%s/socket", r->dir);
    wt_text(r->policy, sizeof(r->policy), "%s/policy.conf", r->dir);
    wt_text(r->audit, sizeof(r->audit), "%s/audit", r->dir);
    wt_text(r->log, sizeof(r->log), "%s/log", r->dir);
    wt_text(r->sysroot, sizeof(r->sysroot), "%s/root", r->dir);
    assert_int_equal(wt_fs_mkdirs(r->sysroot, 0755, NULL), 0);
    struct wt_emulation_options options = {.dir = r->dir};
    if (wt_emulation_start(&r->emulation, spec, &options, &err) < 0 ||
        wt_emulation_setenv(r->emulation, &err) < 0)
        fail_msg("%s", err.text);
    struct wt_ctx_options ctx_options = {.nvml_library = wt_emulation_library(r->emulation)};
    if (wt_ctx_new(&r->ctx, &ctx_options, &err) < 0 ||
        wt_devices_open(&r->devices, r->ctx, NULL, &err) < 0)
        fail_msg("%s", err.text);
    wt_text(r->state, sizeof(r->state), "%s/lease", wt_emulation_dir(r->emulation));
}

void rig_close(struct rig *r)
{
    if (r->daemon > 0)
        rig_stop(r, SIGKILL);
    wt_devices_free(r->devices);
    wt_ctx_free(r->ctx);
    wt_emulation_free(r->emulation);
    unsetenv("WATTUNE_EMULATION");
    wt_fs_remove_tree(r->dir, NULL);
    *r = (struct rig){0};
}

void rig_write(const char *path, const char *text)
{
    char dir[512];
    wt_text(dir, sizeof(dir), "%s", path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(dir, 0755, NULL), 0);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

void rig_policy(const struct rig *r, const char *text)
{
    rig_write(r->policy, text);
    chmod(r->policy, 0644);
}

void rig_start(struct rig *r)
{
    const char *program = getenv("WATTUNED_COMMAND");
    const char *argv[24] = {"wattuned", "--socket", r->socket, "--policy",
                            r->policy,  "--audit",  r->audit};
    size_t n = 7;
    assert_non_null(program);
    if (r->is_rooted) {
        argv[n++] = "--sysroot";
        argv[n++] = r->sysroot;
    }
    for (size_t i = 0; r->extra[i]; i++)
        argv[n++] = r->extra[i];
    unlink(r->socket);
    r->daemon = fork();
    assert_true(r->daemon >= 0);
    if (r->daemon == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(fd, STDERR_FILENO);
        dup2(fd, STDOUT_FILENO);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    struct wt_client *client;
    for (int64_t end_ns = deadline_ns(); wt_client_open(&client, r->socket, NULL) < 0;) {
        int status;
        if (wt_clock_now_ns() > end_ns || waitpid(r->daemon, &status, WNOHANG) > 0) {
            char *log = rig_read(r->log);
            fail_msg("wattuned does not answer: %s", log);
        }
        poll(NULL, 0, 5);
    }
    wt_client_close(client);
}

int rig_stop(struct rig *r, int signal)
{
    int status = 0;
    kill(r->daemon, signal);
    assert_int_equal(waitpid(r->daemon, &status, 0), r->daemon);
    r->daemon = 0;
    return status;
}

int64_t rig_limit(const struct rig *r, size_t device)
{
    struct wt_knob_found found;
    struct wt_error err = {0};
    if (wt_knob_snapshot(r->devices, device, WT_KNOB_POWER, &found, &err) < 0)
        fail_msg("%s", err.text);
    return found.value;
}

bool rig_becomes(const struct rig *r, size_t device, int64_t want)
{
    for (int64_t end_ns = deadline_ns(); rig_limit(r, device) != want;) {
        if (wt_clock_now_ns() > end_ns)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}

char *rig_read(const char *path)
{
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, (1 << 20) - 1) < 0)
            text[0] = '\0';
        close(fd);
    }
    return text;
}

bool rig_has(const char *path, const char *text)
{
    char *all = rig_read(path);
    bool is = strstr(all, text) != NULL;
    free(all);
    return is;
}

bool rig_awaits(const char *path, const char *text)
{
    for (int64_t end_ns = deadline_ns(); !rig_has(path, text); poll(NULL, 0, 5))
        if (wt_clock_now_ns() > end_ns)
            return false;
    return true;
}

size_t rig_open_entries(const struct rig *r, struct wt_journal_totals *ret_totals)
{
    struct wt_journal *journal;
    struct wt_error err = {0};
    if (wt_journal_open(&journal, NULL, r->state, NULL, &err) < 0 ||
        wt_journal_lock(journal, &err) < 0)
        fail_msg("%s", err.text);
    size_t count, open = 0;
    const struct wt_lease_record *e = wt_journal_entries(journal, &count);
    for (size_t i = 0; i < count; i++)
        open += wt_lease_is_open(&e[i]);
    if (ret_totals)
        *ret_totals = wt_journal_totals(journal);
    wt_journal_unlock(journal);
    wt_journal_close(journal);
    return open;
}

/* ---- clients ---- */

static bool read_whole(int fd, void *to, size_t size)
{
    for (size_t used = 0; used < size;) {
        ssize_t n = read(fd, (char *)to + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        used += (size_t)n;
    }
    return true;
}

static void leave_holder(void)
{
    if (fork() == 0) {
        poll(NULL, 0, RIG_PATIENCE_S * 2000);
        _exit(0);
    }
}

static void be_client(const char *socket, int from, int to)
{
    struct wt_client *client = NULL;
    struct rig_answer a = {0};
    struct wt_wire_message m;
    a.rc = wt_client_open(&client, socket, &a.err);
    if (write(to, &a, sizeof(a)) != (ssize_t)sizeof(a))
        _exit(1);
    while (read_whole(from, &m, sizeof(m))) {
        a = (struct rig_answer){.rc = WT_E_GONE};
        if (m.type == WT_WIRE_REQUESTS) /* no message: the end */
            _exit(0);
        if (m.type == WT_WIRE_END) { /* no message: leave somebody who holds the socket */
            leave_holder();
            a.rc = 0;
        } else if (client) {
            a.rc = wt_client_ask(client, &m, &a.message, &a.err);
        }
        if (write(to, &a, sizeof(a)) != (ssize_t)sizeof(a))
            _exit(1);
    }
    _exit(0);
}

struct rig_client rig_client(const struct rig *r, uint32_t uid)
{
    int to[2], from[2];
    struct rig_client c;
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to[1]);
        close(from[0]);
        if (uid != geteuid() && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* which the change of user cleared */
        be_client(r->socket, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    c.to = to[1];
    c.from = from[0];
    struct rig_answer hello = rig_answer(&c);
    if (hello.rc < 0 && hello.rc != WT_E_BUSY)
        fail_msg("user %u: %s", uid, hello.err.text);
    return c;
}

void rig_ask_later(const struct rig_client *c, const struct wt_wire_message *m)
{
    assert_int_equal(write(c->to, m, sizeof(*m)), (ssize_t)sizeof(*m));
}

struct rig_answer rig_answer(const struct rig_client *c)
{
    struct rig_answer a;
    assert_true(read_whole(c->from, &a, sizeof(a)));
    return a;
}

struct rig_answer rig_ask(const struct rig_client *c, const struct wt_wire_message *m)
{
    rig_ask_later(c, m);
    return rig_answer(c);
}

struct rig_answer rig_claim(const struct rig_client *c, uint32_t device, int64_t power_mw)
{
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    m.u.claim.device = device;
    m.u.claim.knob = WT_KNOB_POWER;
    m.u.claim.value = power_mw;
    return rig_ask(c, &m);
}

struct rig_answer rig_restore(const struct rig_client *c)
{
    struct wt_wire_message m = {.type = WT_WIRE_RESTORE};
    return rig_ask(c, &m);
}

void rig_fork_holder(const struct rig_client *c)
{
    struct wt_wire_message m = {.type = WT_WIRE_END};
    rig_ask(c, &m);
}

void rig_kill(struct rig_client *c, int signal)
{
    int status;
    kill(c->pid, signal);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->to);
    close(c->from);
}

void rig_end(struct rig_client *c)
{
    int status;
    /* Clients begun later hold the pipe, too: its end would not be seen. */
    struct wt_wire_message m = {.type = WT_WIRE_REQUESTS};
    rig_ask_later(c, &m);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->to);
    close(c->from);
}
