/* store: chooses the kind of store by what it is called. */
#include <stdlib.h>
#include <string.h>

#include "jobs/jobs.h"

struct wt_job_store {
    const struct wt_job_store_ops *ops;
    void *data;
};

bool wt_job_is_postgres(const char *where)
{
    return strncmp(where, "postgresql://", 13) == 0 || strncmp(where, "postgres://", 11) == 0;
}

int wt_job_store_open(struct wt_job_store **ret_store, const char *where, bool is_to_write,
                      struct wt_error *err)
{
    const char *at = where ? where : WT_JOB_STORE_FILE;
    if (!*at) {
        wt_fail(err, WT_E_USAGE, "a store is wanted, and its name is empty");
        wt_fix(err, "give the path of a file, or postgresql://USER@HOST/DATABASE");
        return WT_E_USAGE;
    }
    if (!wt_job_is_postgres(at) && strstr(at, "://")) {
        wt_fail(err, WT_E_USAGE, "no store of the kind \"%.*s\"", (int)(strstr(at, "://") - at),
                at);
        wt_fix(err, "give the path of a file, or postgresql://USER@HOST/DATABASE");
        return WT_E_USAGE;
    }
    struct wt_job_store *store = calloc(1, sizeof(*store));
    if (!store)
        return wt_fail(err, WT_E_NOMEM, "no memory for the job store");
    store->ops = wt_job_is_postgres(at) ? &wt_job_postgres : &wt_job_sqlite;
    int rc = store->ops->open(&store->data, at, is_to_write, err);
    if (rc < 0) {
        free(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

void wt_job_store_close(struct wt_job_store *store)
{
    if (!store)
        return;
    store->ops->close(store->data);
    free(store);
}

const char *wt_job_store_name(const struct wt_job_store *store)
{
    return store->ops->name(store->data);
}

int wt_job_store_write(struct wt_job_store *store, struct wt_job_row *rows, size_t count,
                       struct wt_error *err)
{
    return count ? store->ops->write(store->data, rows, count, err) : 0;
}

int wt_job_store_list(struct wt_job_store *store, const struct wt_job_filter *filter,
                      struct wt_job_row **ret_rows, size_t *ret_count, struct wt_error *err)
{
    return store->ops->list(store->data, filter, ret_rows, ret_count, err);
}
