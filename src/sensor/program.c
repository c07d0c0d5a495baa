/* program: see program.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sensor/program.h"
#include "wattune/device.h"

#define ARGS_MAX 16
#define SLICE_MS 50 /* how late its end is noticed when something it started keeps its stdout */
#define END_MS   1000

#define SESSIONS 256

extern char **environ;

/* ---- which processes are sensors ---- */

/* Of this process, as its children are: the sessions that were made for programs, and what those
 * that have been reaped took. The lock is held while one is started, so that none is ever there and
 * not in the list. An ended one stays in it for a while: what it left behind is of its session. */
static struct {
    pthread_mutex_t lock;
    struct {
        pid_t sid;
        bool is_live;
    } list[SESSIONS];
    size_t next;
    uint64_t cpu_ns;
} sessions = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* With the lock held. */
static void enter_session(pid_t sid)
{
    size_t i = 0;
    while (i < SESSIONS && sessions.list[sessions.next].is_live) {
        sessions.next = (sessions.next + 1) % SESSIONS;
        i++;
    }
    sessions.list[sessions.next].sid = sid;
    sessions.list[sessions.next].is_live = true;
    sessions.next = (sessions.next + 1) % SESSIONS;
}

static void end_session(pid_t sid)
{
    pthread_mutex_lock(&sessions.lock);
    for (size_t i = 0; i < SESSIONS; i++)
        if (sessions.list[i].sid == sid)
            sessions.list[i].is_live = false;
    pthread_mutex_unlock(&sessions.lock);
}

bool wt_is_sensor_process(uint32_t pid)
{
    bool is_sensor = false;
    pthread_mutex_lock(&sessions.lock);
    pid_t sid = getsid((pid_t)pid);
    for (size_t i = 0; i < SESSIONS && sid > 0; i++)
        is_sensor |= sessions.list[i].sid == sid;
    pthread_mutex_unlock(&sessions.lock);
    return is_sensor;
}

static uint64_t ns_of(const struct rusage *used)
{
    return (uint64_t)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * WT_NS_PER_S +
           (uint64_t)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) * 1000;
}

/* Waits as waitpid does, and counts what the one that has ended took. */
static pid_t reap(pid_t pid)
{
    struct rusage used;
    pthread_mutex_lock(&sessions.lock);
    pid_t got = wait4(pid, NULL, WNOHANG, &used);
    if (got > 0)
        sessions.cpu_ns += ns_of(&used);
    pthread_mutex_unlock(&sessions.lock);
    return got;
}

uint64_t wt_program_others_cpu_ns(void)
{
    struct rusage all;
    pthread_mutex_lock(&sessions.lock);
    uint64_t ns = getrusage(RUSAGE_CHILDREN, &all) == 0 ? ns_of(&all) : 0;
    ns = ns > sessions.cpu_ns ? ns - sessions.cpu_ns : 0;
    pthread_mutex_unlock(&sessions.lock);
    return ns;
}

/* ---- what it prints ---- */

struct tail {
    char *buf;
    size_t size, used;
    int fd; /* -1: at its end */
    bool is_cut;
};

static void keep(struct tail *t, const char *text, size_t n)
{
    size_t room = t->size - 1;
    t->is_cut |= t->used + n > room;
    if (n > room) {
        text += n - room;
        n = room;
    }
    if (t->used + n > room) {
        size_t drop = t->used + n - room;
        memmove(t->buf, t->buf + drop, t->used - drop);
        t->used -= drop;
    }
    memcpy(t->buf + t->used, text, n);
    t->used += n;
}

/* What is there now. */
static void take(struct tail *t)
{
    char text[4096];
    ssize_t n;
    while (t->fd >= 0 && (n = read(t->fd, text, sizeof(text))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        keep(t, text, (size_t)n);
    }
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

/* Ends the text; NUL bytes in it become blanks. */
static void finish(struct tail *t)
{
    for (size_t i = 0; i < t->used; i++)
        if (!t->buf[i])
            t->buf[i] = ' ';
    t->buf[t->used] = '\0';
}

/* Cuts off the last line, that of the shell around the program. False when it is not there. */
static bool take_code(char *out, int *ret_code)
{
    size_t n = strlen(out);
    if (!n || out[n - 1] != '\n')
        return false;
    out[n - 1] = '\0';
    char *line = strrchr(out, '\n');
    uint64_t code;
    if (!line || wt_text_to_u64(line + 1, &code) < 0 || code > 255)
        return false;
    *line = '\0';
    *ret_code = (int)code;
    return true;
}

static void last_line(char *text, char *buf, size_t size)
{
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    wt_text(buf, size, "%s", line ? line + 1 : text);
}

/* ---- starting and ending ---- */

static char **make_environ(void)
{
    static char mark[] = "WATTUNE_SENSOR=1";
    size_t count = 0;
    while (environ && environ[count])
        count++;
    char **made = calloc(count + 2, sizeof(*made));
    if (!made)
        return NULL;
    for (size_t i = 0; i < count; i++)
        made[i] = environ[i];
    made[count] = mark;
    return made;
}

static int start(const char *const *args, const int out[2], const int problems[2], pid_t *ret_pid)
{
    /* The shell outlives the program and says how it ended. */
    const char *argv[ARGS_MAX + 5] = {"/bin/sh", "-c", "\"$@\"; printf '\\n%d\\n' $?",
                                      "wattune-sensor"};
    for (size_t i = 0; i < ARGS_MAX && args[i]; i++)
        argv[4 + i] = args[i];
    char **env = make_environ();
    if (!env)
        return ENOMEM;
    static const int defaults[] = {SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD};
    sigset_t none, set;
    sigemptyset(&none);
    sigemptyset(&set);
    for (size_t i = 0; i < WT_COUNTOF(defaults); i++)
        sigaddset(&set, defaults[i]);
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, problems[1], STDERR_FILENO);
    pthread_mutex_lock(&sessions.lock);
    int errnum = posix_spawn(ret_pid, argv[0], &files, &attr, (char *const *)argv, env);
    if (!errnum)
        enter_session(*ret_pid);
    pthread_mutex_unlock(&sessions.lock);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    free(env);
    return errnum;
}

/* Its end, without taking it: 0 it runs, 1 it has ended and is ours to reap, -1 somebody else has
 * reaped it (a SIGCHLD that is ignored, a waitpid for all). */
static int look_for_end(pid_t pid)
{
    siginfo_t info = {0};
    int rc;
    do
        rc = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : info.si_pid != 0;
}

/* Kills what is left of its session's first group and takes the ends. The number is its own as long
 * as nobody has reaped it. */
static void end(pid_t pid)
{
    if (look_for_end(pid) < 0)
        return;
    kill(-pid, SIGKILL);
    for (int ms = 0; ms < END_MS && reap(pid) == 0; ms++)
        poll(NULL, 0, 1);
    while (reap(-pid) > 0)
        ;
}

static int wait_for(pid_t pid, struct tail *out, struct tail *problems, int stop_fd,
                    int64_t timeout_ns, struct wt_error *err)
{
    int64_t end_ns = wt_clock_now_ns() + timeout_ns, left_ns;
    while ((left_ns = end_ns - wt_clock_now_ns()) > 0) {
        struct pollfd fds[] = {
            {out->fd, POLLIN, 0}, {problems->fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
        int64_t left_ms = left_ns / WT_NS_PER_MS + 1;
        poll(fds, WT_COUNTOF(fds), left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        if (stop_fd >= 0 && fds[2].revents)
            return wt_fail(err, WT_E_STATE, "stopped");
        bool is_over = look_for_end(pid) != 0;
        take(out);
        take(problems);
        if (out->fd < 0 || is_over)
            return 0;
    }
    return wt_fail(err, WT_E_TIMEOUT, "no answer in %.3g s", wt_s_from_ns(timeout_ns));
}

static int open_pipes(int out[2], int problems[2])
{
    if (pipe2(out, O_CLOEXEC) < 0)
        return errno;
    if (pipe2(problems, O_CLOEXEC) < 0) {
        int errnum = errno;
        close(out[0]);
        close(out[1]);
        return errnum;
    }
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(problems[0], F_SETFL, O_NONBLOCK);
    return 0;
}

int wt_program_run(const char *const *args, int stop_fd, int64_t timeout_ns,
                   struct wt_program_result *ret_result, struct wt_error *err)
{
    int out_pipe[2], problem_pipe[2];
    struct wt_program_result result = {.code = -1};
    char text[1024];
    pid_t pid;
    int errnum = open_pipes(out_pipe, problem_pipe);
    if (errnum)
        return wt_fail(err, WT_E_IO, "%s: %s", args[0], strerror(errnum));
    errnum = start(args, out_pipe, problem_pipe, &pid);
    close(out_pipe[1]);
    close(problem_pipe[1]);
    struct tail out = {.buf = result.out, .size = sizeof(result.out), .fd = out_pipe[0]};
    struct tail problems = {.buf = text, .size = sizeof(text), .fd = problem_pipe[0]};
    int rc = errnum ? wt_fail(err, errnum == ENOMEM ? WT_E_NOMEM : WT_E_IO, "%s: %s", args[0],
                              strerror(errnum))
                    : wait_for(pid, &out, &problems, stop_fd, timeout_ns, err);
    if (!errnum) {
        end(pid);
        end_session(pid);
    }
    take(&problems);
    if (out.fd >= 0)
        close(out.fd);
    if (problems.fd >= 0)
        close(problems.fd);
    if (rc < 0)
        return rc;
    finish(&out);
    finish(&problems);
    result.is_cut = out.is_cut;
    last_line(text, result.error, sizeof(result.error));
    if (!take_code(result.out, &result.code))
        return wt_fail(err, WT_E_IO, "%s: was killed%s%s", args[0], *result.error ? ": " : "",
                       result.error);
    *ret_result = result;
    return 0;
}

bool wt_program_is_there(const char *name)
{
    const char *path = getenv("PATH");
    char full[4096];
    while (path && *path) {
        size_t n = strcspn(path, ":");
        wt_text(full, sizeof(full), "%.*s/%s", (int)(n < 2048 ? n : 2048), n ? path : ".", name);
        if (access(full, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}
