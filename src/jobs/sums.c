/* sums: rows of devices and nodes into one energy a job, user, account and so on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/jobs.h"

struct sorted {
    const struct wt_job_row *row;
    char key[96];
    int world; /* 0: real, or not known; 1: replayed; 2: emulated */
};

static int world_of(const struct wt_job_row *row)
{
    return row->provenance == WT_PROV_EMULATED ? 2 : row->provenance == WT_PROV_REPLAYED ? 1 : 0;
}

static const char *text_of(const struct wt_job_row *row, enum wt_job_by by)
{
    switch (by) {
    case WT_JOB_BY_USER:
        return row->user;
    case WT_JOB_BY_ACCOUNT:
        return row->account;
    case WT_JOB_BY_PARTITION:
        return row->partition;
    case WT_JOB_BY_MODEL:
        return row->model;
    case WT_JOB_BY_NODE:
        return row->node;
    case WT_JOB_BY_JOB:
    case WT_JOB_BY_NONE:
        break;
    }
    return "";
}

/* What is nobody's is beside the users, and one more of a node. */
static bool is_idle(const struct wt_job_row *row)
{
    return row->job == 0;
}

static bool is_taken(const struct wt_job_row *row, enum wt_job_by by, bool steps)
{
    if (!row->is_counted)
        return false;
    if (is_idle(row))
        return (by == WT_JOB_BY_NODE || by == WT_JOB_BY_NONE) && !steps;
    return steps ? row->step[0] != '\0' : row->step[0] == '\0';
}

static int compare_jobs(const struct wt_job_row *x, const struct wt_job_row *y)
{
    int order = strcmp(x->cluster, y->cluster);
    if (order == 0 && x->job != y->job)
        order = x->job < y->job ? -1 : 1;
    if (order == 0)
        order = strcmp(x->step, y->step);
    return order;
}

static int compare(const void *one, const void *other, void *data)
{
    const struct sorted *x = one, *y = other;
    enum wt_job_by by = *(const enum wt_job_by *)data;
    int order = strcmp(x->key, y->key);
    if (order == 0)
        order = (int)is_idle(x->row) - (int)is_idle(y->row);
    if (order == 0 && by == WT_JOB_BY_JOB)
        order = compare_jobs(x->row, y->row);
    if (order == 0)
        order = x->world - y->world;
    /* Of one sum: the rows of a job side by side, so that it is counted once. */
    if (order == 0)
        order = compare_jobs(x->row, y->row);
    if (order == 0)
        order = strcmp(x->row->node, y->row->node);
    if (order == 0 && x->row->begin_ns != y->row->begin_ns)
        order = x->row->begin_ns < y->row->begin_ns ? -1 : 1;
    return order ? order : strcmp(x->row->device, y->row->device);
}

static bool is_one_sum(const struct sorted *x, const struct sorted *y, enum wt_job_by by)
{
    return strcmp(x->key, y->key) == 0 && is_idle(x->row) == is_idle(y->row) &&
           x->world == y->world && (by != WT_JOB_BY_JOB || compare_jobs(x->row, y->row) == 0);
}

static void add_energy(struct wt_job_sum *sum, const struct wt_job_row *row)
{
    if (row->provenance == WT_PROV_UNKNOWN) {
        sum->unknown++;
        return;
    }
    if (sum->energy.provenance == WT_PROV_UNKNOWN || row->provenance < sum->energy.provenance) {
        sum->energy.provenance = row->provenance;
        memcpy(sum->weakest, row->device, sizeof(sum->weakest));
    }
    sum->energy.energy_j += (double)row->energy_uj * 1e-6;
    sum->energy.low_j += (double)row->low_uj * 1e-6;
    sum->energy.high_j += row->high_uj == UINT64_MAX ? INFINITY : (double)row->high_uj * 1e-6;
}

static void add_row(struct wt_job_sum *sum, const struct sorted *at, const struct sorted *before)
{
    const struct wt_job_row *row = at->row;
    int64_t end_ns = row->end_ns ? row->end_ns : row->updated_ns;
    bool is_other_job = !before || compare_jobs(row, before->row) != 0;
    bool is_other_stay = is_other_job || strcmp(row->node, before->row->node) != 0 ||
                         row->begin_ns != before->row->begin_ns;
    if (!before) {
        memcpy(sum->key, at->key, sizeof(sum->key));
        sum->first = row;
        sum->is_emulated = at->world == 2;
        sum->is_replayed = at->world == 1;
        sum->is_idle = is_idle(row);
        sum->begin_ns = row->begin_ns;
        sum->end_ns = end_ns;
    }
    if (row->begin_ns < sum->begin_ns)
        sum->begin_ns = row->begin_ns;
    if (end_ns > sum->end_ns)
        sum->end_ns = end_ns;
    sum->jobs += is_other_job && row->job;
    if (is_other_stay) {
        sum->nodes += is_other_job || strcmp(row->node, before->row->node) != 0;
        sum->node_s += end_ns > row->begin_ns ? (double)(end_ns - row->begin_ns) * 1e-9 : 0;
        sum->running += row->state == WT_JOB_RUNNING;
        sum->lost += row->state == WT_JOB_LOST;
    }
    if ((double)row->gap_ns * 1e-9 > sum->gap_s)
        sum->gap_s = (double)row->gap_ns * 1e-9;
    add_energy(sum, row);
}

static void name_key(struct sorted *at, enum wt_job_by by)
{
    const struct wt_job_row *row = at->row;
    if (by == WT_JOB_BY_JOB && row->step[0])
        wt_text(at->key, sizeof(at->key), "%010u.%s", row->job, row->step);
    else if (by == WT_JOB_BY_JOB)
        wt_text(at->key, sizeof(at->key), "%010u", row->job);
    else
        wt_text(at->key, sizeof(at->key), "%s", text_of(row, by));
}

static int compare_stays(const void *one, const void *other)
{
    const struct sorted *x = one, *y = other;
    int order = compare_jobs(x->row, y->row);
    return order ? order : strcmp(x->row->node, y->row->node);
}

/* What nothing is known of is of the world of what else its job drew on that node: devices of two
 * worlds are never measured together. */
static void find_worlds(struct sorted *sorted, size_t count)
{
    qsort(sorted, count, sizeof(*sorted), compare_stays);
    for (size_t i = 0, end; i < count; i = end) {
        int world = 0;
        for (end = i; end < count && compare_stays(&sorted[i], &sorted[end]) == 0; end++)
            if (sorted[end].row->provenance != WT_PROV_UNKNOWN)
                world = sorted[end].world;
        for (size_t k = i; k < end; k++)
            if (sorted[k].row->provenance == WT_PROV_UNKNOWN)
                sorted[k].world = world;
    }
}

int wt_job_sums(const struct wt_job_row *rows, size_t count, enum wt_job_by by, bool steps,
                struct wt_job_sum **ret_sums, size_t *ret_count, struct wt_error *err)
{
    struct sorted *sorted = calloc(count + 1, sizeof(*sorted));
    struct wt_job_sum *sums = calloc(count + 1, sizeof(*sums));
    size_t taken = 0, sum_count = 0;
    if (!sorted || !sums) {
        free(sorted);
        free(sums);
        return wt_fail(err, WT_E_NOMEM, "no memory to sum up the jobs");
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_taken(&rows[i], by, steps))
            continue;
        sorted[taken].row = &rows[i];
        sorted[taken].world = world_of(&rows[i]);
        name_key(&sorted[taken++], by);
    }
    find_worlds(sorted, taken);
    qsort_r(sorted, taken, sizeof(*sorted), compare, &by);
    for (size_t i = 0; i < taken; i++) {
        bool is_first = i == 0 || !is_one_sum(&sorted[i - 1], &sorted[i], by);
        sum_count += is_first;
        add_row(&sums[sum_count - 1], &sorted[i], is_first ? NULL : &sorted[i - 1]);
    }
    /* The zeros in a job's key were for the order. */
    for (size_t i = 0; by == WT_JOB_BY_JOB && i < sum_count; i++)
        wt_text(sums[i].key, sizeof(sums[i].key), "%u%s%s", sums[i].first->job,
                sums[i].first->step[0] ? "." : "", sums[i].first->step);
    free(sorted);
    *ret_sums = sums;
    *ret_count = sum_count;
    return 0;
}
