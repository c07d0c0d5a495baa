/* facts: what Slurm says of a job, as files that others read (docs/decisions/0009). Written beside
 * and renamed: a reader sees all of a file or nothing. */
#ifndef WT_SLURM_FACTS_H
#define WT_SLURM_FACTS_H

#include "base/base.h"

#define WT_SLURM_FACTS_MAX 4096

/* A file being made; lines that do not fit are left out, but room stays for its end_ns. */
struct wt_slurm_facts {
    char text[WT_SLURM_FACTS_MAX + 1];
    size_t len;
};

/* The text is cleaned (wt_slurm_clean); an empty one is no line. */
void wt_slurm_facts_add(struct wt_slurm_facts *facts, const char *key, const char *fmt, ...)
    WT_PRINTF(3, 4);
/* The value of the i-th line of that key, in a buffer; false: there is none. */
bool wt_slurm_facts_get(const struct wt_slurm_facts *facts, const char *key, size_t i, char *buf,
                        size_t size);

/* The folder is made where it is missing. Errors: WT_E_DENIED (not root's alone), WT_E_FULL,
 * WT_E_IO. */
int wt_slurm_facts_write(const char *dir, const char *name, const struct wt_slurm_facts *facts,
                         struct wt_error *err);
/* Errors: WT_E_NOTFOUND, WT_E_FORMAT (too long, no file of ours), WT_E_IO. */
int wt_slurm_facts_read(const char *dir, const char *name, struct wt_slurm_facts *ret_facts,
                        struct wt_error *err);
/* Adds end_ns, once. Errors: of both. */
int wt_slurm_facts_end(const char *dir, const char *name, int64_t end_ns, struct wt_error *err);
/* A job whose facts have no end. Its number comes again (a requeue), its begin does not. */
struct wt_slurm_running {
    uint32_t job;
    char begin_ns[32], node[256]; /* as the facts have them; node: as Slurm calls it */
};
/* They, in no order; how many. Facts without begin or node are passed over. */
size_t wt_slurm_facts_running(const char *dir, struct wt_slurm_running *ret_jobs, size_t room);
/* Whether that very one still has no end. */
bool wt_slurm_facts_runs(const char *dir, const struct wt_slurm_running *job);
/* No file is no error. */
void wt_slurm_facts_remove(const char *dir, const char *name);
/* True for the first who asks, of all processes. */
bool wt_slurm_facts_first(const char *dir, uint32_t job);
/* Takes away what only this plugin reads of a job, and facts of jobs and steps that nobody has
 * fetched: ended more than a day ago, or ten minutes where there are thousands. */
void wt_slurm_facts_prune(const char *dir, uint32_t ended_job);

#endif
