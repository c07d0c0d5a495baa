/* slurm: times as Slurm's commands take them, and those commands. */
#include "slurm.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

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

int cli_slurm_run(char *const argv[], struct wt_error *err)
{
    char text[200];
    pid_t pid;
    int status;
    int errnum = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
    if (errnum) {
        snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errnum));
        return fail(err, errnum == ENOENT ? WT_E_NOTFOUND : WT_E_IO, text,
                    "install Slurm's commands (Debian, Ubuntu: slurm-client), or put them on the "
                    "PATH");
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errno));
            return fail(err, WT_E_IO, text, "");
        }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
