/* race_keeper: a process that outlives us, for the case that we are killed: it ends the trials that
 * are there then. The kernel kills a trial's first process by itself, but not what that started. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define GROUPS_MAX 1024
#define GRACE_S    2

static void end_groups(const pid_t *groups, size_t count)
{
    const struct timespec grace = {GRACE_S, 0};
    for (size_t i = 0; i < count; i++) {
        kill(-groups[i], SIGTERM);
        kill(-groups[i], SIGCONT);
    }
    nanosleep(&grace, NULL);
    for (size_t i = 0; i < count; i++)
        kill(-groups[i], SIGKILL);
}

static void keep(int fd)
{
    static pid_t groups[GROUPS_MAX];
    size_t count = 0;
    pid_t told;
    ssize_t n;
    while ((n = read(fd, &told, sizeof(told))) != 0) {
        if (n != (ssize_t)sizeof(told)) {
            if (errno == EINTR)
                continue;
            break;
        }
        if (told > 1 && count < GROUPS_MAX)
            groups[count++] = told;
        for (size_t i = 0; told < -1 && i < count; i++)
            if (groups[i] == -told)
                groups[i--] = groups[--count];
    }
    if (count)
        end_groups(groups, count);
}

int race_keeper_start(void)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        setsid(); /* what is sent to our group or terminal is not for it */
        prctl(PR_SET_NAME, "wattune-race");
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; null >= 0 && fd < 3; fd++)
            dup2(null, fd); /* whoever reads our output is not kept waiting */
        keep(fds[0]);
        _exit(0);
    }
    close(fds[0]);
    if (pid > 0)
        return fds[1];
    close(fds[1]);
    return -1;
}

void race_keeper_tell(int fd, pid_t group, bool is_there)
{
    pid_t told = is_there ? group : -group;
    if (fd >= 0 && write(fd, &told, sizeof(told)) < 0)
        cli_note("a trial may outlive a kill of this program");
}
