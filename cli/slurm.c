/* slurm: times as Slurm's commands take them, and those commands. */
#include "slurm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (4 << 20)
#define SILENCE_NS INT64_C(120000000000)
#define LOOK_MS    100

extern char **environ;

const char *cli_slurm_time(char *buf, size_t size, int64_t t_s)
{
    time_t t = (time_t)t_s;
    struct tm local;
    if (localtime_r(&t, &local)) {
        struct tm read = local;
        read.tm_isdst = -1; /* so does Slurm, and mktime says which of two equal hours it is */
        strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &local);
        if (mktime(&read) == t)
            return buf;
    }
    snprintf(buf, size, "uts%lld", (long long)t_s);
    return buf;
}

int cli_slurm_signal(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {
        {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"TERM", SIGTERM}, {"INT", SIGINT}, {"HUP", SIGHUP}};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].number;
    return 0;
}

/* Until there is something to read. false: it is a question, and nobody waits for it any more. */
static bool wait_for(int fd, bool is_question, bool *ret_is_late)
{
    int64_t until_ns = cli_now_ns() + SILENCE_NS;
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    while (is_question) {
        int n = poll(&waited, 1, LOOK_MS);
        if (n > 0 || (n < 0 && errno != EINTR))
            break;
        *ret_is_late = cli_now_ns() >= until_ns;
        if (*ret_is_late || cli_signal_is_pending())
            return false;
    }
    return true;
}

/* NULL: no memory, or more than anybody says. pid: 0, or of a question, which may be killed. */
static char *read_all(int fd, pid_t pid, bool *ret_is_late)
{
    size_t size = 0, room = 8192;
    char *text = malloc(room);
    while (text) {
        if (!wait_for(fd, pid > 0, ret_is_late)) {
            kill(pid, SIGKILL);
            break;
        }
        ssize_t n = read(fd, text + size, room - size - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
        if (room - size > 1)
            continue;
        char *more = room < ANSWER_MAX ? realloc(text, room *= 2) : NULL;
        if (!more)
            free(text);
        text = more;
    }
    if (text)
        text[size] = '\0';
    return text;
}

static int run(char *const argv[], char **ret_text, bool is_question, struct wt_error *err)
{
    char *said = NULL;
    bool is_late = false;
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status, ends[2] = {-1, -1};
    if (ret_text && pipe2(ends, O_CLOEXEC) < 0) {
        return cli_error(err, WT_E_IO, "", "a pipe: %s", strerror(errno));
    }
    posix_spawn_file_actions_init(&files);
    if (ret_text) {
        posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    }
    int errnum = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (ret_text) {
        close(ends[1]);
        said = errnum ? NULL : read_all(ends[0], is_question ? pid : 0, &is_late);
        close(ends[0]);
    }
    if (errnum) {
        return cli_error(err, errnum == ENOENT ? WT_E_NOTFOUND : WT_E_IO,
                         "install Slurm's commands (Debian, Ubuntu: slurm-client), or put them on "
                         "the PATH",
                         "%s: %s", argv[0], strerror(errnum));
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            free(said);
            return cli_error(err, WT_E_IO, "", "%s: %s", argv[0], strerror(errno));
        }
    if (ret_text && !said) {
        return cli_error(err, WT_E_NOMEM, "", "no memory for what %s said", argv[0]);
    }
    if (is_late) {
        free(said);
        return cli_error(err, WT_E_TIMEOUT, "", "%s said nothing for %d s", argv[0],
                         (int)(SILENCE_NS / 1000000000));
    }
    if (ret_text)
        *ret_text = said;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int cli_slurm_run(char *const argv[], char **ret_text, struct wt_error *err)
{
    return run(argv, ret_text, false, err);
}

int cli_slurm_ask(char *const argv[], char **ret_text, struct wt_error *err)
{
    return run(argv, ret_text, true, err);
}
