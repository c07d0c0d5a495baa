/* processes: who uses the GPUs, as their driver says, asked every other second by a thread of its
 * own: a driver may hang. */
#include <math.h>
#include <pthread.h>
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
    unsigned uid;
    line = strstr(text, "\nUid:\t");
    if (line && sscanf(line, "\nUid: %u", &uid) == 1)
        wt_user_name(uid, p->user, sizeof(p->user));
    p->job = wt_job_of(ctx, p->pid);
}

static void look(void *data)
{
    struct wt_process_watch *w = data;
    struct wt_device_process procs[PROCS_MOST];
    size_t devices = wt_devices_count(w->devices), count = 0;
    struct wt_live_process *list = calloc(devices * PROCS_MOST + 1, sizeof(*list));
    for (size_t i = 0; list && i < devices; i++) {
        const struct wt_device_info *info = wt_devices_info(w->devices, i);
        size_t n = 0;
        if (info->kind != WT_DEVICE_GPU || info->is_part ||
            wt_devices_processes(w->devices, i, procs, PROCS_MOST, &n, NULL) < 0)
            continue;
        for (size_t k = 0; k < n && k < PROCS_MOST; k++) {
            struct wt_live_process *p = &list[count++];
            *p = (struct wt_live_process){
                .device = i,
                .pid = procs[k].pid,
                .mem_bytes = procs[k].mem_bytes,
                .busy = procs[k].busy_ppm == UINT32_MAX ? NAN : procs[k].busy_ppm * 1e-6,
            };
            name(w->ctx, p);
        }
    }
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
    if (w)
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
