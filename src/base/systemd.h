/* systemd: sockets it passes, what it wants to be told, its watchdog. The protocols are a few
 * environment variables and a datagram of text (sd_listen_fds(3), sd_notify(3)), so no library. */
#ifndef WT_BASE_SYSTEMD_H
#define WT_BASE_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

/* The first socket that was passed, close-on-exec; -1: none. */
int wt_systemd_socket(void);
/* "READY=1", ...; nothing happens where nobody listens. */
void wt_systemd_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How often the watchdog wants to hear of us; 0: never. */
int64_t wt_systemd_watchdog_ns(void);

#endif
