/* scribe: the one thread that writes the daemon's journal. While a sync runs, others' records
 * gather; then all of them share the next one. */
#ifndef WT_DAEMON_SCRIBE_H
#define WT_DAEMON_SCRIBE_H

#include "daemon/jobs.h"

struct wt_scribe;

/* Takes the daemon's lock of this directory. Errors: WT_E_BUSY (another daemon has it), and those
 * of wt_journal_open. */
int wt_scribe_new(struct wt_scribe **ret_scribe, const struct wt_ctx *ctx, const char *dir,
                  struct wt_error *err);
/* From now on the journal belongs to the thread; wt_scribe_read comes before. Errors: WT_E_NOMEM.
 */
int wt_scribe_start(struct wt_scribe *scribe, struct wt_error *err);
/* Writes what was given, syncs, ends. */
void wt_scribe_free(struct wt_scribe *scribe);
/* The claims of this machine that are open in the journal. *ret_records is owned by the caller:
 * free(). */
int wt_scribe_read(struct wt_scribe *scribe, struct wt_lease_record **ret_records,
                   size_t *ret_count, struct wt_error *err);
/* The generation for a wt_journal_job of a device that is read from now on. */
uint64_t wt_scribe_generation(const struct wt_scribe *scribe);
int wt_scribe_fd(const struct wt_scribe *scribe);
void wt_scribe_give(struct wt_scribe *scribe, struct wt_journal_job *job);
struct wt_journal_job *wt_scribe_take(struct wt_scribe *scribe);

#endif
