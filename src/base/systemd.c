/* systemd: see systemd.h. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "base/systemd.h"

#define FIRST_FD 3

static bool is_for_us(const char *variable)
{
    const char *pid = getenv(variable);
    uint64_t number;
    return pid && wt_text_to_u64(pid, &number) == 0 && number == (uint64_t)getpid();
}

int wt_systemd_socket(void)
{
    const char *count = getenv("LISTEN_FDS");
    uint64_t number;
    if (!is_for_us("LISTEN_PID") || !count || wt_text_to_u64(count, &number) < 0 || number == 0)
        return -1;
    fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
    return FIRST_FD;
}

void wt_systemd_tell(const char *fmt, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char text[512];
    va_list args;
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    memcpy(to.sun_path, path, strlen(path));
    if (*path == '@')
        to.sun_path[0] = '\0'; /* abstract */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    close(fd);
}

int64_t wt_systemd_watchdog_ns(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t usec;
    if (!text || (getenv("WATCHDOG_PID") && !is_for_us("WATCHDOG_PID")) ||
        wt_text_to_u64(text, &usec) < 0 || usec == 0 || usec > UINT64_C(1000000) * 86400)
        return 0;
    return (int64_t)usec * 1000;
}
