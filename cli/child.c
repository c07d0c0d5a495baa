/* child: a command run as if Wattune were not there.
 *
 * The child stays in our process group, so the terminal, job control and full-screen programs work
 * untouched: what the terminal sends (Ctrl-C, Ctrl-Z, Ctrl-\) reaches both of us at once, and we
 * only take note of it. A signal that somebody sends to us alone is passed on; what went to the
 * whole group a witness saw too (witness.c), and the command unless it left the group. Ours arrive
 * through a signalfd. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static const int passed_on[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGTSTP,
                                SIGCONT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH};
static sigset_t caught, original;
static bool is_blocked, was_pipe_ignored;

int64_t cli_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int fail_errno(struct wt_error *err, int code, const char *what, int errnum)
{
    snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(errnum));
    err->fix[0] = '\0';
    return err->code = code;
}

int cli_signals_block(struct wt_error *err)
{
    if (is_blocked)
        return 0;
    sigemptyset(&caught);
    sigaddset(&caught, SIGCHLD);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
        sigaddset(&caught, passed_on[i]);
    if (sigprocmask(SIG_BLOCK, &caught, &original) < 0)
        return fail_errno(err, WT_E_INTERNAL, "sigprocmask", errno);
    /* A reader of ours that goes (`| head`) ends neither the measuring nor the putting back. */
    was_pipe_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
    is_blocked = true;
    return 0;
}

/* In the child. False: we have gone meanwhile. */
static bool be_a_group(pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (null > STDIN_FILENO) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    return getppid() == parent;
}

static void environment_free(char **env, char *const *more)
{
    for (size_t i = 0; env && more[2 * i]; i++)
        free(env[i]);
    free(env);
}

/* Ours with these in it; the list and what was added are owned, see environment_free. */
static char **environment(char *const *more)
{
    size_t count = 0, added = 0, n = 0;
    while (environ[count])
        count++;
    while (more[2 * added])
        added++;
    char **env = calloc(count + added + 1, sizeof(*env));
    for (size_t i = 0; env && i < added; i++)
        if (asprintf(&env[n++], "%s=%s", more[2 * i], more[2 * i + 1]) < 0) {
            env[n - 1] = NULL;
            environment_free(env, more);
            return NULL;
        }
    for (size_t i = 0; env && i < count; i++) {
        bool is_replaced = false;
        for (size_t k = 0; k < added; k++) {
            size_t length = strlen(more[2 * k]);
            is_replaced |=
                strncmp(environ[i], more[2 * k], length) == 0 && environ[i][length] == '=';
        }
        if (!is_replaced)
            env[n++] = environ[i];
    }
    return env;
}

int cli_child_start(struct cli_child *child, char **argv, struct wt_error *err)
{
    int rc = cli_signals_block(err);
    if (rc < 0)
        return rc;
    *child = (struct cli_child){.signal_fd = -1,
                                .output_fd = child->output_fd,
                                .is_error_moved = child->is_error_moved,
                                .terminal_fd = child->terminal_fd,
                                .is_group = child->is_group,
                                .env = child->env};
    child->signal_fd = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    if (child->signal_fd < 0)
        return fail_errno(err, WT_E_INTERNAL, "signalfd", errno);
    /* Orphans of the command come to us, so that they can be named. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (!child->is_group)
        child->witness = cli_witness_start(); /* without one, what the group got comes twice */

    int report[2];
    char **env = child->env ? environment(child->env) : NULL;
    if (child->env && !env) {
        rc = fail_errno(err, WT_E_NOMEM, argv[0], ENOMEM);
        goto fail;
    }
    if (pipe2(report, O_CLOEXEC) < 0) {
        rc = fail_errno(err, WT_E_INTERNAL, "pipe", errno);
        goto fail;
    }
    fflush(NULL);
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid < 0) {
        rc = fail_errno(err, WT_E_INTERNAL, "fork", errno);
        close(report[0]);
        close(report[1]);
        goto fail;
    }
    if (child->pid == 0) {
        if (child->is_group && !be_a_group(parent))
            _exit(125);
        sigprocmask(SIG_SETMASK, &original, NULL);
        if (!was_pipe_ignored)
            signal(SIGPIPE, SIG_DFL);
        if (child->output_fd >= 0)
            dup2(child->output_fd, STDOUT_FILENO);
        if (child->output_fd >= 0 && child->is_error_moved)
            dup2(child->output_fd, STDERR_FILENO);
        execvpe(argv[0], argv, env ? env : environ);
        int why = errno;
        if (write(report[1], &why, sizeof(why)) < 0)
            _exit(125);
        _exit(why == ENOENT ? 127 : 126);
    }
    if (child->is_group)
        setpgid(child->pid, child->pid); /* whoever of us is first */
    close(report[1]);
    int why = 0;
    ssize_t n;
    do
        n = read(report[0], &why, sizeof(why));
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (env)
        environment_free(env, child->env);
    env = NULL;
    if (n == sizeof(why)) {
        waitpid(child->pid, NULL, 0);
        rc = fail_errno(err, why == ENOENT ? WT_E_NOTFOUND : WT_E_DENIED, argv[0], why);
        goto fail;
    }
    return 0;
fail:
    if (env)
        environment_free(env, child->env);
    cli_child_done(child);
    return rc;
}

/* The child, and orphans of its in our group. Programs that the library runs as sensors have
 * sessions of their own and are the library's to wait for. */
static void reap(struct cli_child *child)
{
    int status;
    pid_t pid;
    if (!child->is_done && waitpid(child->pid, &status, WNOHANG) == child->pid) {
        child->status = status;
        child->is_done = true;
    }
    while ((pid = waitpid(child->is_group ? -child->pid : 0, &status, WNOHANG)) > 0)
        if (pid == child->pid) {
            child->status = status;
            child->is_done = true;
        }
}

/* The child asks its stdout for the size, and that is a pseudo-terminal: it asks again once that
 * has the new one. */
static void resize(const struct cli_child *child)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    ioctl(child->terminal_fd, TIOCSWINSZ, &size);
    if (!child->is_done)
        kill(child->pid, SIGWINCH);
}

static void take_signal(struct cli_child *child, const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    if (number == SIGCHLD) {
        reap(child);
        return;
    }
    if (number == SIGWINCH && child->terminal_fd >= 0) {
        resize(child);
        return;
    }
    bool has_child_got_it =
        cli_witness_saw(child->witness, number) && getpgid(child->pid) == getpgrp();
    if (!child->is_done && (!has_child_got_it || number == SIGCONT))
        kill(child->pid, number);
    if (number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT)
        child->asked_to_end = number;
    if (number == SIGTSTP)
        kill(getpid(), SIGSTOP); /* SIGCONT wakes us, and the child has its own */
}

bool cli_child_wait(struct cli_child *child, int64_t until_ns)
{
    reap(child);
    while (!child->is_done) {
        int64_t left = until_ns - cli_now_ns();
        if (left <= 0)
            return false;
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        struct pollfd fd = {.fd = child->signal_fd, .events = POLLIN};
        if (ppoll(&fd, 1, &wait, NULL) <= 0)
            continue;
        struct signalfd_siginfo info;
        while (read(child->signal_fd, &info, sizeof(info)) == sizeof(info))
            take_signal(child, &info);
    }
    return true;
}

int cli_child_exit_code(const struct cli_child *child)
{
    if (WIFSIGNALED(child->status))
        return 128 + WTERMSIG(child->status);
    return WEXITSTATUS(child->status);
}

/* Parent and name of a process from /proc; false when it has gone. */
static bool read_stat(const char *pid, pid_t *ret_parent, char *name, size_t size)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    char state;
    if (!open || !close || sscanf(close + 1, " %c %d", &state, ret_parent) != 2 || state == 'Z')
        return false;
    snprintf(name, size, "%.*s", (int)(close - open - 1), open + 1);
    return true;
}

/* Is it a program that the library runs as a sensor, or was started by one? Ours are known by their
 * session; the mark in the environment, which a process lacks for a moment while it starts and
 * ends, tells those of another Wattune. */
static bool is_sensor(const char *pid)
{
    char path[64];
    if (wt_is_sensor_process((uint32_t)strtoul(pid, NULL, 10)))
        return true;
    snprintf(path, sizeof(path), "/proc/%.20s/environ", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    char *entry = NULL;
    size_t room = 0;
    bool is_found = false;
    while (!is_found && getdelim(&entry, &room, '\0', f) > 0)
        is_found = strcmp(entry, "WATTUNE_SENSOR=1") == 0;
    free(entry);
    fclose(f);
    return is_found;
}

size_t cli_child_survivors(const struct cli_child *child, char *buf, size_t size)
{
    size_t count = 0, used = 0;
    buf[0] = '\0';
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    struct dirent *entry;
    while ((entry = readdir(proc))) {
        pid_t parent;
        char name[64];
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            !read_stat(entry->d_name, &parent, name, sizeof(name)))
            continue;
        if (parent != getpid() || atoi(entry->d_name) == child->pid ||
            strncmp(name, "wattune", 7) == 0 /* our own guardian */ || is_sensor(entry->d_name))
            continue;
        count++;
        int n =
            snprintf(buf + used, size - used, "%s%s (%s)", used ? ", " : "", entry->d_name, name);
        if (n > 0 && (size_t)n < size - used)
            used += (size_t)n;
        else
            buf[used] = '\0';
    }
    closedir(proc);
    return count;
}

void cli_child_done(struct cli_child *child)
{
    cli_witness_end(child->witness);
    child->witness = NULL;
    if (child->signal_fd >= 0)
        close(child->signal_fd);
    child->signal_fd = -1;
}

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

bool cli_signal_is_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++)
        if (sigismember(&pending, ending_signals[i]))
            return true;
    return false;
}

int cli_signal_wait(int64_t until_ns)
{
    sigset_t ending;
    sigemptyset(&ending);
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++)
        sigaddset(&ending, ending_signals[i]);
    for (;;) {
        int64_t left = until_ns - cli_now_ns();
        if (left <= 0)
            return 0;
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        int got = sigtimedwait(&ending, NULL, &wait);
        if (got > 0)
            return got;
    }
}
