/* processes: who uses the GPUs, as their driver says, asked every other second by a thread of its
 * own: a driver may hang, and so may the database of users. A thread that is left behind in such a
 * call touches neither devices nor context once it returns. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lease/journal.h"
#include "serve/watch.h"

#define PERIOD_NS  (2 * WT_NS_PER_S)
#define PROCS_MOST 64 /* of a GPU */

struct wt_process_watch {
    struct wt_watch *watch;
    const struct wt_ctx *ctx;
    struct wt_devices *devices;
    atomic_bool is_left; /* ctx and devices may be gone */

    pthread_mutex_t lock; /* of what follows */
    struct wt_live_process *list;
    size_t count;
};

static void drop(void *data)
{
    struct wt_process_watch *w = data;
    pthread_mutex_destroy(&w->lock);
    free(w->list);
    free(w);
}

/* Name and user of a process. */
static void name(const struct wt_ctx *ctx, struct wt_live_process *p)
{
    char path[64], text[1024];
    wt_text(path, sizeof(path), "/proc/%u/status", p->pid);
    if (wt_fs_read_start(ctx, path, text, sizeof(text)) < 0)
        return; /* ended, or in another pid namespace */
    const char *line = strncmp(text, "Name:\t", 6) == 0 ? text + 6 : "";
    wt_text(p->program, sizeof(p->program), "%.*s", (int)strcspn(line, "\n"), line);
    p->job = wt_job_of(ctx, p->pid);
    unsigned uid;
    line = strstr(text, "\nUid:\t");
    if (line && sscanf(line, "\nUid: %u", &uid) == 1)
        wt_user_name(uid, p->user, sizeof(p->user)); /* last: it may hang */
}

/* Those of one GPU. */
static size_t look_at(struct wt_process_watch *w, size_t device, struct wt_live_process *list)
{
    struct wt_device_process procs[PROCS_MOST];
    const struct wt_device_info *info = wt_devices_info(w->devices, device);
    size_t n = 0, count = 0;
    if (info->kind != WT_DEVICE_GPU || info->is_part ||
        wt_devices_processes(w->devices, device, procs, PROCS_MOST, &n, NULL) < 0)
        return 0;
    for (; count < n && count < PROCS_MOST && !atomic_load(&w->is_left); count++) {
        list[count] = (struct wt_live_process){
            .device = device,
            .pid = procs[count].pid,
            .mem_bytes = procs[count].mem_bytes,
            .busy = procs[count].busy_ppm == UINT32_MAX ? NAN : procs[count].busy_ppm * 1e-6,
        };
        name(w->ctx, &list[count]);
    }
    return count;
}

static void look(void *data)
{
    struct wt_process_watch *w = data;
    if (atomic_load(&w->is_left))
        return;
    size_t devices = wt_devices_count(w->devices), count = 0;
    struct wt_live_process *list = calloc(devices * PROCS_MOST + 1, sizeof(*list));
    for (size_t i = 0; list && i < devices && !atomic_load(&w->is_left); i++)
        count += look_at(w, i, list + count);
    pthread_mutex_lock(&w->lock);
    free(w->list);
    w->list = list;
    w->count = count;
    pthread_mutex_unlock(&w->lock);
}

int wt_process_watch_new(struct wt_process_watch **ret_watch, const struct wt_ctx *ctx,
                         struct wt_devices *devices, struct wt_error *err)
{
    struct wt_process_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return wt_fail(err, WT_E_NOMEM, "no memory for processes");
    pthread_mutex_init(&w->lock, NULL);
    atomic_init(&w->is_left, false);
    w->ctx = ctx;
    w->devices = devices;
    struct wt_watch *watch;
    if (wt_watch_start(&watch, look, drop, w, PERIOD_NS) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory or no thread for processes");
    w->watch = watch;
    *ret_watch = w;
    return 0;
}

void wt_process_watch_free(struct wt_process_watch *w)
{
    if (!w)
        return;
    atomic_store(&w->is_left, true);
    wt_watch_stop(w->watch);
}

int wt_process_watch_copy(struct wt_process_watch *w, struct wt_live_state *state)
{
    pthread_mutex_lock(&w->lock);
    state->processes = w->count ? malloc(w->count * sizeof(*w->list)) : NULL;
    bool ok = state->processes || !w->count;
    if (ok && w->count)
        memcpy(state->processes, w->list, w->count * sizeof(*w->list));
    state->process_count = ok ? w->count : 0;
    pthread_mutex_unlock(&w->lock);
    return ok ? 0 : WT_E_NOMEM;
}
