/* slurm: times as Slurm's commands take them, and those commands. */
#include "slurm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (4 << 20)

extern char **environ;

static int fail(struct wt_error *err, int code, const char *text, const char *fix)
{
    err->code = code;
    snprintf(err->text, sizeof(err->text), "%s", text);
    snprintf(err->fix, sizeof(err->fix), "%s", fix);
    return code;
}

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

/* NULL: no memory, or more than anybody says. */
static char *read_all(int fd)
{
    size_t size = 0, room = 8192;
    char *text = malloc(room);
    while (text) {
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

int cli_slurm_run(char *const argv[], char **ret_text, struct wt_error *err)
{
    char text[200], *said = NULL;
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status, ends[2] = {-1, -1};
    if (ret_text && pipe2(ends, O_CLOEXEC) < 0) {
        snprintf(text, sizeof(text), "a pipe: %s", strerror(errno));
        return fail(err, WT_E_IO, text, "");
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
        said = errnum ? NULL : read_all(ends[0]);
        close(ends[0]);
    }
    if (errnum) {
        snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errnum));
        return fail(err, errnum == ENOENT ? WT_E_NOTFOUND : WT_E_IO, text,
                    "install Slurm's commands (Debian, Ubuntu: slurm-client), or put them on the "
                    "PATH");
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errno));
            free(said);
            return fail(err, WT_E_IO, text, "");
        }
    if (ret_text && !said) {
        snprintf(text, sizeof(text), "no memory for what %s said", argv[0]);
        return fail(err, WT_E_NOMEM, text, "");
    }
    if (ret_text)
        *ret_text = said;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
