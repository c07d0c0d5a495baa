/* leases: what wattuned holds, asked over its socket every other second by a thread of its own: a
 * daemon that does not answer keeps nobody else waiting. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lease/client.h"
#include "serve/watch.h"

#define PERIOD_NS (2 * WT_NS_PER_S)
#define SILENT_NS (3 * WT_NS_PER_S) /* an answer that takes longer is none */
#define LISTED    128               /* leases that are asked for; the others are counted */

struct wt_lease_watch {
    struct wt_watch *watch;
    char path[4096]; /* "": there is none to be asked */
    struct wt_client *client;
    char (*ids)[96]; /* of the daemon's devices; NULL: not asked yet */
    size_t id_count;

    pthread_mutex_t lock; /* of what follows */
    int64_t asked_ns;     /* 0: no question is under way */
    bool has_daemon;
    char why[200];
    struct wt_live_lease *list;
    size_t count, unlisted;
};

static void disconnect(struct wt_lease_watch *w)
{
    wt_client_close(w->client);
    free(w->ids);
    w->client = NULL;
    w->ids = NULL;
}

static void drop(void *data)
{
    struct wt_lease_watch *w = data;
    disconnect(w);
    pthread_mutex_destroy(&w->lock);
    free(w->list);
    free(w);
}

static int connect_to(struct wt_lease_watch *w, struct wt_error *err)
{
    if (w->client)
        return 0;
    int rc = wt_client_open(&w->client, w->path, err);
    if (rc < 0)
        return rc;
    w->id_count = wt_client_devices(w->client);
    w->ids = calloc(w->id_count ? w->id_count : 1, sizeof(*w->ids));
    if (!w->ids)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the daemon's devices");
    for (uint32_t i = 0; rc == 0 && i < w->id_count; i++) {
        struct wt_wire_message m = {.type = WT_WIRE_DEVICE, .u.device = {i}};
        rc = wt_client_ask(w->client, &m, &m, err);
        if (rc == 0 && m.type == WT_WIRE_DEVICE_OK)
            memcpy(w->ids[i], m.u.device_ok.id, sizeof(w->ids[i]));
    }
    if (rc < 0)
        disconnect(w);
    return rc;
}

static void take(const struct wt_lease_watch *w, const struct wt_wire_message *m,
                 struct wt_live_lease *ret)
{
    *ret = (struct wt_live_lease){
        .device = SIZE_MAX,
        .knob = (enum wt_knob)m->u.status_ok.knob,
        .value = m->u.status_ok.value,
        .effective = m->u.status_ok.effective,
        .pid = m->u.status_ok.pid,
        .uid = m->u.status_ok.uid,
        .job = m->u.status_ok.job,
        .left_s =
            m->u.status_ok.hold_left_ns ? wt_s_from_ns(m->u.status_ok.hold_left_ns) : INFINITY,
        .is_set = m->u.status_ok.state != 2,
        .is_unrestored = m->u.status_ok.state == 1,
    };
    if (m->u.status_ok.device < w->id_count)
        wt_text(ret->title, sizeof(ret->title), "%s", w->ids[m->u.status_ok.device]);
    wt_text(ret->program, sizeof(ret->program), "%s", m->u.status_ok.name);
    wt_user_name(ret->uid, ret->user, sizeof(ret->user));
}

static int ask(struct wt_lease_watch *w, struct wt_live_lease *list, size_t *ret_count,
               size_t *ret_unlisted, struct wt_error *err)
{
    size_t count = 0, total = 1;
    int rc = connect_to(w, err);
    for (uint32_t i = 0; rc == 0 && i < total && i < LISTED; i++) {
        struct wt_wire_message m = {.type = WT_WIRE_STATUS, .u.status = {i}};
        rc = wt_client_ask(w->client, &m, &m, err);
        if (rc == WT_E_NOTFOUND) { /* none, or this one ended meanwhile */
            *err = (struct wt_error){0};
            total = i;
            rc = 0;
        } else if (rc == 0 && m.type == WT_WIRE_STATUS_OK) {
            total = m.u.status_ok.count;
            take(w, &m, &list[count++]);
        }
    }
    *ret_count = count;
    *ret_unlisted = total > count ? total - count : 0;
    return rc;
}

static void look(void *data)
{
    struct wt_lease_watch *w = data;
    struct wt_error err = {0};
    size_t count = 0, unlisted = 0;
    struct wt_live_lease *list = calloc(LISTED, sizeof(*list));
    pthread_mutex_lock(&w->lock);
    w->asked_ns = wt_clock_now_ns();
    pthread_mutex_unlock(&w->lock);
    int rc = !list ? wt_fail(&err, WT_E_NOMEM, "no memory for leases")
                   : ask(w, list, &count, &unlisted, &err);
    if (rc < 0) {
        disconnect(w);
        count = unlisted = 0;
    }
    pthread_mutex_lock(&w->lock);
    free(w->list);
    w->asked_ns = 0;
    w->list = list;
    w->count = count;
    w->unlisted = unlisted;
    w->has_daemon = rc == 0;
    wt_text(w->why, sizeof(w->why), "%.190s",
            rc == 0       ? ""
            : err.text[0] ? err.text
                          : wt_strerror(rc));
    pthread_mutex_unlock(&w->lock);
}

int wt_lease_watch_new(struct wt_lease_watch **ret_watch, const struct wt_ctx *ctx,
                       bool is_emulated, struct wt_error *err)
{
    struct wt_lease_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return wt_fail(err, WT_E_NOMEM, "no memory for leases");
    pthread_mutex_init(&w->lock, NULL);
    if (!wt_client_path(ctx, is_emulated, w->path, sizeof(w->path))) {
        wt_text(w->why, sizeof(w->why), "no wattuned belongs to these devices");
        *ret_watch = w; /* nobody to ask, so no thread */
        return 0;
    }
    wt_text(w->why, sizeof(w->why), "wattuned has not answered yet");
    struct wt_watch *watch;
    if (wt_watch_start(&watch, look, drop, w, PERIOD_NS) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory or no thread for leases");
    w->watch = watch;
    *ret_watch = w;
    return 0;
}

void wt_lease_watch_free(struct wt_lease_watch *w)
{
    if (!w)
        return;
    if (w->watch)
        wt_watch_stop(w->watch);
    else
        drop(w);
}

int wt_lease_watch_copy(struct wt_lease_watch *w, struct wt_live_state *state)
{
    pthread_mutex_lock(&w->lock);
    int64_t silent_ns = w->asked_ns ? wt_clock_now_ns() - w->asked_ns : 0;
    bool is_silent = silent_ns > SILENT_NS;
    size_t count = is_silent ? 0 : w->count; /* what it said before may be long over */
    state->has_daemon = w->has_daemon && !is_silent;
    state->is_daemon_silent = is_silent;
    state->is_daemon_asked = w->asked_ns && !is_silent && !w->has_daemon;
    if (is_silent)
        wt_text(state->daemon_why, sizeof(state->daemon_why),
                "wattuned has not answered for %.0f s", wt_s_from_ns(silent_ns));
    else
        wt_text(state->daemon_why, sizeof(state->daemon_why), "%s", w->why);
    state->leases = count ? malloc(count * sizeof(*w->list)) : NULL;
    bool ok = state->leases || !count;
    if (ok && count)
        memcpy(state->leases, w->list, count * sizeof(*w->list));
    state->lease_count = ok ? count : 0;
    state->leases_unlisted = is_silent ? 0 : w->unlisted;
    pthread_mutex_unlock(&w->lock);
    return ok ? 0 : WT_E_NOMEM;
}
