/* jobs_chaos: see jobs_chaos.h. */
#include "jobs_chaos.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/jobs.h"

#define DEVICES 3
#define WAIT_NS (120 * WT_NS_PER_S)
#define UNIX0   (INT64_C(1790000000) * WT_NS_PER_S)

struct node {
    struct jobs_chaos *chaos;
    unsigned number;
    char path[128];
    const char *central;
    struct wt_job_sender *sender;
    pthread_t thread;
    atomic_bool is_done;
    size_t writes;
    char why[256];
};

static struct wt_job_row row_of(const struct node *node, unsigned job, unsigned device)
{
    struct wt_job_row row = {
        .job = job + 1,
        .begin_ns = UNIX0 + (int64_t)job * WT_NS_PER_S,
        .kind = WT_DEVICE_GPU,
        .index = (int)device,
        .is_counted = true,
        .nodes = 1,
        .provenance = WT_PROV_COUNTER,
    };
    wt_text(row.cluster, sizeof(row.cluster), "c");
    wt_text(row.node, sizeof(row.node), "n%u", node->number);
    wt_text(row.device, sizeof(row.device), "GPU-%u", device);
    wt_text(row.user, sizeof(row.user), "user%u", job % 7);
    wt_text(row.account, sizeof(row.account), "O'Brien \"%u\"; --", job % 3);
    wt_text(row.name, sizeof(row.name), "bert \xc3\xa9 %u", job);
    return row;
}

/* A job's life: begun, noted, ended, a transaction each. */
static int write_job(struct node *node, struct wt_job_store *store, unsigned job, unsigned *seed,
                     struct wt_error *err)
{
    for (unsigned stage = 0; stage < 3; stage++) {
        struct wt_job_row rows[DEVICES];
        for (unsigned d = 0; d < DEVICES; d++) {
            rows[d] = row_of(node, job, d);
            rows[d].state = stage < 2 ? WT_JOB_RUNNING : WT_JOB_ENDED;
            rows[d].energy_uj = (uint64_t)stage * 1000000 + (uint64_t)(rand_r(seed) % 1000000);
            rows[d].low_uj = rows[d].energy_uj / 2;
            rows[d].high_uj = rows[d].energy_uj * 2;
            rows[d].end_ns = stage < 2 ? 0 : rows[d].begin_ns + 60 * WT_NS_PER_S;
        }
        int rc = wt_job_store_write(store, rows, DEVICES, err);
        if (rc < 0)
            return rc;
        node->writes += DEVICES;
        wt_job_sender_wake(node->sender);
    }
    return 0;
}

static void *node_main(void *data)
{
    struct node *node = data;
    struct wt_job_store *store = NULL;
    struct wt_error err = {0};
    unsigned seed = node->chaos->seed * 1000 + node->number;
    int rc = wt_job_store_open(&store, node->path, true, &err);
    for (unsigned job = 0; rc == 0 && job < node->chaos->jobs; job++) {
        rc = write_job(node, store, job, &seed, &err);
        wt_clock_sleep_until_ns(wt_clock_now_ns() + rand_r(&seed) % 20 * WT_NS_PER_MS);
    }
    wt_job_store_close(store);
    if (rc < 0)
        wt_text(node->why, sizeof(node->why), "node %u: %.200s", node->number, err.text);
    atomic_store(&node->is_done, true);
    return NULL;
}

static int compare_rows(const void *one, const void *other)
{
    const struct wt_job_row *x = one, *y = other;
    int order = strcmp(x->node, y->node);
    if (order == 0 && x->job != y->job)
        order = x->job < y->job ? -1 : 1;
    return order ? order : strcmp(x->device, y->device);
}

static bool is_equal(const struct wt_job_row *x, const struct wt_job_row *y)
{
    for (size_t i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        int64_t a = 0, b = 0;
        if (column->form == WT_COLUMN_TEXT) {
            if (strcmp((const char *)x + column->at, (const char *)y + column->at) != 0)
                return false;
        } else if (wt_job_column_get(column, x, &a) != wt_job_column_get(column, y, &b) || a != b) {
            return false;
        }
    }
    return true;
}

/* Each row of the files against those of the server. */
static int judge(struct jobs_chaos *chaos, struct node *nodes, const char *central,
                 struct wt_error *err)
{
    struct wt_job_store *store;
    struct wt_job_row *there = NULL;
    size_t there_count = 0, matched = 0;
    int rc = wt_job_store_open(&store, central, false, err);
    if (rc < 0)
        return rc;
    rc = wt_job_store_list(store, NULL, &there, &there_count, err);
    wt_job_store_close(store);
    if (rc < 0)
        return rc;
    qsort(there, there_count, sizeof(*there), compare_rows);
    for (size_t i = 0; i < there_count; i++) {
        chaos->joules_there += (double)there[i].energy_uj * 1e-6;
        chaos->doubled += i > 0 && compare_rows(&there[i - 1], &there[i]) == 0;
    }
    for (unsigned n = 0; rc == 0 && n < chaos->nodes; n++) {
        struct wt_job_row *rows;
        size_t count;
        if ((rc = wt_job_store_open(&store, nodes[n].path, false, err)) < 0)
            break;
        rc = wt_job_store_list(store, NULL, &rows, &count, err);
        wt_job_store_close(store);
        for (size_t i = 0; rc == 0 && i < count; i++) {
            const struct wt_job_row *found =
                bsearch(&rows[i], there, there_count, sizeof(*there), compare_rows);
            chaos->rows++;
            chaos->joules += (double)rows[i].energy_uj * 1e-6;
            chaos->missing += !found;
            chaos->wrong += found && !is_equal(found, &rows[i]);
            matched += found != NULL;
        }
        if (rc == 0)
            free(rows);
        chaos->writes += nodes[n].writes;
    }
    chaos->doubled += there_count - matched; /* of no node's file */
    free(there);
    return rc;
}

static bool is_all_sent(struct jobs_chaos *chaos, struct node *nodes)
{
    for (unsigned n = 0; n < chaos->nodes; n++) {
        struct wt_accounts_status status = {0};
        void *file;
        size_t left = 1;
        if (!atomic_load(&nodes[n].is_done))
            return false;
        wt_job_sender_status(nodes[n].sender, &status);
        if (status.unsent || wt_job_sqlite.open(&file, nodes[n].path, false, NULL) < 0)
            return false;
        wt_job_sqlite_count_unsent(file, &left, NULL);
        wt_job_sqlite.close(file);
        if (left) {
            wt_job_sender_wake(nodes[n].sender);
            return false;
        }
    }
    return true;
}

static bool kill_and_start(struct jobs_chaos *chaos, struct pg_rig *rig, unsigned *seed)
{
    int64_t down_ns = wt_clock_now_ns();
    pg_rig_kill(rig);
    wt_clock_sleep_until_ns(down_ns + (100 + rand_r(seed) % 400) * WT_NS_PER_MS);
    bool is_up = pg_rig_start(rig);
    chaos->down_s += wt_s_from_ns(wt_clock_now_ns() - down_ns);
    if (!is_up)
        wt_text(chaos->why, sizeof(chaos->why), "%.200s", rig->why);
    return is_up;
}

bool jobs_chaos_run(struct jobs_chaos *chaos, struct pg_rig *rig, const char *database)
{
    char central[256], dir[64] = "/tmp/wattune-nodes-XXXXXX";
    struct wt_error err = {0};
    struct node *nodes = calloc(chaos->nodes, sizeof(*nodes));
    unsigned seed = chaos->seed, started = 0;
    int rc = 0;
    if (access("/dev/shm", W_OK) == 0) /* hundreds of files that ask for their disk */
        strcpy(dir, "/dev/shm/wattune-nodes-XXXXXX");
    if (!nodes || !mkdtemp(dir)) {
        free(nodes);
        wt_text(chaos->why, sizeof(chaos->why), "no memory, or no folder %s", dir);
        return false;
    }
    pg_rig_uri(rig, database, central, sizeof(central));
    int64_t begin_ns = wt_clock_now_ns();
    for (unsigned n = 0; n < chaos->nodes && rc == 0; n++) {
        nodes[n].chaos = chaos;
        nodes[n].number = n;
        nodes[n].central = central;
        wt_text(nodes[n].path, sizeof(nodes[n].path), "%s/%u.db", dir, n);
        rc = wt_job_sender_new(&nodes[n].sender, nodes[n].path, central, &err);
        if (rc == 0 && pthread_create(&nodes[n].thread, NULL, node_main, &nodes[n]) != 0)
            rc = wt_fail(&err, WT_E_NOMEM, "no thread for node %u", n);
        started += rc == 0;
    }
    for (unsigned k = 0; k < chaos->kills && rc == 0 && !chaos->why[0]; k++) {
        wt_clock_sleep_until_ns(wt_clock_now_ns() + (50 + rand_r(&seed) % 500) * WT_NS_PER_MS);
        kill_and_start(chaos, rig, &seed);
    }
    while (rc == 0 && !chaos->why[0] && !is_all_sent(chaos, nodes)) {
        wt_clock_sleep_until_ns(wt_clock_now_ns() + 20 * WT_NS_PER_MS);
        if (wt_clock_now_ns() - begin_ns > WAIT_NS)
            wt_text(chaos->why, sizeof(chaos->why), "not all was sent within two minutes");
    }
    chaos->send_s = wt_s_from_ns(wt_clock_now_ns() - begin_ns);
    for (unsigned n = 0; n < started; n++) {
        pthread_join(nodes[n].thread, NULL);
        if (nodes[n].why[0])
            wt_text(chaos->why, sizeof(chaos->why), "%s", nodes[n].why);
        if (chaos->why[0]) {
            struct wt_accounts_status status = {0};
            size_t used = strlen(chaos->why);
            wt_job_sender_status(nodes[n].sender, &status);
            if (status.unsent && used < sizeof(chaos->why) - 2)
                wt_text(chaos->why + used, sizeof(chaos->why) - used, "; node %u: %zu left, %.100s",
                        n, status.unsent, status.central_problem);
        }
    }
    for (unsigned n = 0; n < chaos->nodes; n++)
        wt_job_sender_free(nodes[n].sender);
    if (rc == 0 && !chaos->why[0])
        rc = judge(chaos, nodes, central, &err);
    if (rc < 0)
        wt_text(chaos->why, sizeof(chaos->why), "%s", err.text);
    wt_fs_remove_tree(dir, NULL);
    free(nodes);
    return !chaos->why[0] && !chaos->missing && !chaos->doubled && !chaos->wrong;
}
