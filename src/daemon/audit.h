/* audit: one JSON line for each decision, to a file or standard error, written by a thread of its
 * own: a disk or a journal that stands still never holds up the daemon. What does not fit into the
 * memory set aside, or is not taken by the file (a full disk), is counted, and the count is written
 * when there is room again. A line is written whole or not at all. */
#ifndef WT_DAEMON_AUDIT_H
#define WT_DAEMON_AUDIT_H

#include "daemon/table.h"

struct wt_audit;

/* path NULL: standard error. The file is appended to and made 0640. Errors: WT_E_IO, WT_E_DENIED,
 * WT_E_NOMEM. */
int wt_audit_new(struct wt_audit **ret_audit, const char *path, struct wt_error *err);
/* Opens the file anew, once what it has is written: it may have been moved away. Where that fails,
 * it goes on with the old one, and says so on standard error. */
void wt_audit_reopen(struct wt_audit *audit);
/* Writes what it has, for a second at most. */
void wt_audit_free(struct wt_audit *audit);

struct wt_audit_line {
    const char *event;          /* "claim", "release", "job-begin", "policy", "start", ... */
    const struct wt_owner *who; /* NULL: the daemon itself */
    uint32_t job;               /* 0: none */
    const char *device;         /* NULL: none */
    enum wt_knob knob;          /* 0: none */
    const int64_t *found, *requested, *enforced; /* NULL: not known */
    int rc;                                      /* 0: allowed, done */
    const char *why;                             /* not NULL when it was refused or failed */
};
void wt_audit_write(struct wt_audit *audit, const struct wt_audit_line *line);

#endif
