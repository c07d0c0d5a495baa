/* postgres: what the sender needs of it besides the table of functions. */
#ifndef WT_JOBS_POSTGRES_H
#define WT_JOBS_POSTGRES_H

#include <stdatomic.h>

#include "jobs/jobs.h"

/* Whether it can be used at all, without connecting: the library, the form of the address. Its name
 * for people goes to name (may be NULL). Errors: WT_E_UNSUPPORTED, WT_E_USAGE. */
int wt_pg_check(const char *where, char *name, size_t size, struct wt_error *err);
/* Opens like the table's, and from then on every wait ends soon once *stop is set (WT_E_STATE). */
int wt_pg_open(void **ret_data, const char *where, bool is_to_write, const atomic_bool *stop,
               struct wt_error *err);

#endif
