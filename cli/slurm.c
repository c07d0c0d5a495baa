/* slurm: times as Slurm's commands take them, and those commands. */
#include "slurm.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

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

static int not_started(const char *program, int errnum, struct wt_error *err)
{
    char text[200];
    snprintf(text, sizeof(text), "%s: %s", program, strerror(errnum));
    return fail(err, errnum == ENOENT ? WT_E_NOTFOUND : WT_E_IO, text,
                "install Slurm's commands (Debian, Ubuntu: slurm-client), or put them on the "
                "PATH");
}

int cli_slurm_run(char *const argv[], struct wt_error *err)
{
    char text[200];
    pid_t pid;
    int status;
    int errnum = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
    if (errnum)
        return not_started(argv[0], errnum, err);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errno));
            return fail(err, WT_E_IO, text, "");
        }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int read_all(int fd, char **ret_text)
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
        if (!more) {
            free(text);
            return WT_E_NOMEM;
        }
        text = more;
    }
    if (!text)
        return WT_E_NOMEM;
    text[size] = '\0';
    *ret_text = text;
    return 0;
}

int cli_slurm_ask(char *const argv[], char **ret_text, int *ret_code, struct wt_error *err)
{
    int ends[2], status = 0;
    pid_t pid;
    posix_spawn_file_actions_t files;
    char *text = NULL, line[512], why[400];
    if (pipe(ends) < 0)
        return fail(err, WT_E_IO, "there is no pipe", "");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&files, ends[0]);
    posix_spawn_file_actions_addclose(&files, ends[1]);
    int errnum = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    int rc = errnum ? 0 : read_all(ends[0], &text);
    close(ends[0]);
    if (errnum)
        return not_started(argv[0], errnum, err);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc < 0) {
        snprintf(why, sizeof(why), "no memory for what %s said", argv[0]);
        return fail(err, rc, why, "");
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (code && !ret_code) {
        cli_command_text(line, sizeof(line), (char **)argv);
        text[strcspn(text, "\n")] = '\0';
        snprintf(why, sizeof(why), "%.200s: %.150s", line, *text ? text : "failed");
        free(text);
        return fail(err, WT_E_IO, why, "");
    }
    if (ret_code)
        *ret_code = code;
    *ret_text = text;
    return 0;
}

void cli_slurm_word(FILE *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
    if (*text && strspn(text, plain) == strlen(text)) {
        fputs(text, out);
        return;
    }
    putc('\'', out);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", out);
        else
            putc(*text, out);
    putc('\'', out);
}
