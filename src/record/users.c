/* users: which processes use which device, second by second, and what each of them drew.
 *
 * A GPU's driver is asked by a thread of its own, since such a call may hang; whoever splits the
 * energy takes the latest answer. CPU time is read where the energy is split: /proc does not
 * hang. */
#include "wattune/users.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sensor/program.h"
#include "window/attribution.h"

#define PERIOD_NS  WT_NS_PER_S
#define STOP_NS    (300 * WT_NS_PER_MS)
#define PROCS_MOST 64
#define ANCESTRY   64
#define JOB_NAME   "this run"

struct sight { /* what a driver said last */
    bool is_known;
    char why[120];
    struct wt_device_process procs[PROCS_MOST];
    size_t count;
};

/* Shared with the thread; freed by whoever leaves last. */
struct watch {
    struct wt_devices *devices;
    size_t count;
    struct sight *sights;
    bool *is_gpu;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool is_stopping;
    atomic_uint refs;
};

struct user {
    struct wt_ledger ledger;
    bool has_others, has_ours, is_blind; /* others' processes seen; ours; it could not be asked */
    char why[120];
    double idle_w;                      /* NaN: not known */
    int64_t t_ns;                       /* up to here split */
    struct wt_share shares[PROCS_MOST]; /* of the last span */
    bool is_ours[PROCS_MOST];
    size_t share_count;
    uint64_t weight_total;
    uint32_t ours[WT_LEDGER_ROWS]; /* pids that were of the run, also when they have ended */
    size_t ours_count;
};

struct wt_users {
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    size_t count;
    struct user *users; /* owned */
    struct watch *watch;
    pthread_t thread;
    bool has_thread, has_cpu;
    uint32_t job_pid;
    size_t point;     /* points of the run looked at */
    int64_t begin_ns; /* of the window */
    bool has_cpu_time;
    struct wt_error cpu_lost; /* code 0: the run's CPU time is known */
    uint64_t job_ns, busy_ns; /* at the last span */
};

/* ---- asking drivers ---- */

static void watch_unref(struct watch *w)
{
    if (!w || atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->stop);
    free(w->sights);
    free(w->is_gpu);
    free(w);
}

static void look(struct watch *w, size_t i)
{
    struct sight seen = {0};
    struct wt_error err = {0};
    int rc = wt_devices_processes(w->devices, i, seen.procs, PROCS_MOST, &seen.count, &err);
    seen.is_known = rc == 0;
    if (seen.count > PROCS_MOST)
        seen.count = PROCS_MOST;
    if (rc < 0)
        wt_text(seen.why, sizeof(seen.why), "%.110s", err.text[0] ? err.text : wt_strerror(rc));
    pthread_mutex_lock(&w->lock);
    w->sights[i] = seen;
    pthread_mutex_unlock(&w->lock);
}

static void *watch_main(void *data)
{
    struct watch *w = data;
    unsigned rounds = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->is_stopping) {
        for (size_t i = 0; i < w->count && !w->is_stopping; i++) {
            if (!w->is_gpu[i])
                continue;
            pthread_mutex_unlock(&w->lock);
            look(w, i);
            pthread_mutex_lock(&w->lock);
        }
        /* A short run would be over before it is seen: at first it is looked at more often. */
        int64_t t_ns = wt_clock_now_ns() + (rounds < 20 ? PERIOD_NS / 20 : PERIOD_NS / 2);
        rounds++;
        struct timespec ts = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                              .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
        if (!w->is_stopping)
            pthread_cond_timedwait(&w->stop, &w->lock, &ts);
    }
    pthread_mutex_unlock(&w->lock);
    watch_unref(w);
    return NULL;
}

static int start_watch(struct wt_users *u)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w)
        return WT_E_NOMEM;
    w->devices = u->devices;
    w->count = u->count;
    w->sights = calloc(u->count + 1, sizeof(*w->sights));
    w->is_gpu = calloc(u->count + 1, sizeof(*w->is_gpu));
    pthread_mutex_init(&w->lock, NULL);
    wt_cond_init(&w->stop);
    atomic_init(&w->refs, 1);
    u->watch = w;
    if (!w->sights || !w->is_gpu)
        return WT_E_NOMEM;
    bool is_any = false;
    for (size_t i = 0; i < u->count; i++) {
        const struct wt_device_info *info = wt_devices_info(u->devices, i);
        w->is_gpu[i] = info->kind == WT_DEVICE_GPU && !info->is_part;
        is_any |= w->is_gpu[i];
        wt_text(w->sights[i].why, sizeof(w->sights[i].why), "the driver has not answered");
    }
    if (!is_any)
        return 0;
    atomic_fetch_add(&w->refs, 1);
    u->has_thread = wt_thread_start(&u->thread, watch_main, w) == 0;
    if (!u->has_thread)
        watch_unref(w);
    return u->has_thread ? 0 : WT_E_NOMEM;
}

int wt_users_new(struct wt_users **ret_users, struct wt_ctx *ctx, struct wt_devices *devices,
                 uint32_t job_pid, struct wt_error *err)
{
    size_t count = wt_devices_count(devices);
    struct wt_users *u = calloc(1, sizeof(*u));
    if (u)
        u->users = calloc(count ? count : 1, sizeof(*u->users));
    if (!u || !u->users) {
        free(u);
        return wt_fail(err, WT_E_NOMEM, "no memory to tell who uses the devices");
    }
    u->ctx = ctx;
    u->devices = devices;
    u->count = count;
    u->job_pid = job_pid ? job_pid : (uint32_t)getpid();
    for (size_t i = 0; i < count; i++) {
        u->users[i].idle_w = NAN;
        u->users[i].t_ns = INT64_MIN;
        u->has_cpu |= wt_devices_info(devices, i)->kind == WT_DEVICE_CPU;
    }
    int rc = start_watch(u);
    if (rc < 0) {
        wt_users_free(u);
        return wt_fail(err, rc, "no memory or no thread to tell who uses the devices");
    }
    *ret_users = u;
    return 0;
}

void wt_users_free(struct wt_users *u)
{
    if (!u)
        return;
    if (u->has_thread) {
        pthread_mutex_lock(&u->watch->lock);
        u->watch->is_stopping = true;
        pthread_cond_signal(&u->watch->stop);
        pthread_mutex_unlock(&u->watch->lock);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        int64_t t_ns = until.tv_nsec + STOP_NS;
        until.tv_sec += (time_t)(t_ns / WT_NS_PER_S);
        until.tv_nsec = (long)(t_ns % WT_NS_PER_S);
        if (pthread_timedjoin_np(u->thread, NULL, &until) != 0)
            pthread_detach(u->thread); /* a call that hangs: it frees what is its own */
    }
    watch_unref(u->watch);
    free(u->users);
    free(u);
}

/* ---- the run's processes ---- */

/* Parent of a process; 0: it has gone. */
static uint32_t parent_of(const struct wt_ctx *ctx, uint32_t pid)
{
    char path[64], text[2048];
    unsigned parent = 0;
    wt_text(path, sizeof(path), "/proc/%u/stat", pid);
    if (wt_fs_read(ctx, path, text, sizeof(text), NULL) < 0)
        return 0;
    char *close = strrchr(text, ')');
    if (!close || sscanf(close + 1, " %*c %u", &parent) != 1)
        return 0;
    return parent;
}

static bool is_kin(const struct wt_users *u, uint32_t pid)
{
    for (int i = 0; i < ANCESTRY && pid > 1; i++) {
        if (pid == u->job_pid)
            return true;
        pid = parent_of(u->ctx, pid);
    }
    return false;
}

/* CPU time of all that the job's process has started, the dead in the time of those who waited for
 * them. Our own helpers and the programs that are sensors are not of the job. */
static int job_cpu_ns(const struct wt_users *u, uint64_t *ret_ns, struct wt_error *err)
{
    struct wt_pids pids = {0};
    uint64_t sum_ns = 0, ns;
    int rc = wt_process_children(u->ctx, u->job_pid, &pids, err);
    for (size_t i = 0; rc == 0 && i < pids.count; i++) {
        char name[64];
        if (wt_is_sensor_process(pids.at[i]) ||
            wt_process_cpu_ns(u->ctx, pids.at[i], &ns, name, sizeof(name), NULL) < 0 ||
            strncmp(name, "wattune-guard", 13) == 0)
            continue;
        sum_ns += ns;
        rc = wt_process_children(u->ctx, pids.at[i], &pids, err);
    }
    free(pids.at);
    if (rc < 0)
        return rc;
    if (u->job_pid == (uint32_t)getpid())
        sum_ns += wt_program_others_cpu_ns();
    *ret_ns = sum_ns;
    return 0;
}

/* ---- splitting ---- */

static void find_idle(struct wt_users *u, const struct wt_run *run)
{
    if (u->point > run->point_count)
        u->point = 0;
    for (; u->point < run->point_count; u->point++) {
        const struct wt_run_point *p = &run->points[u->point];
        if (p->device >= u->count || !(p->throttle & WT_THROTTLE_IDLE) || !(p->power_w >= 0))
            continue;
        double *idle_w = &u->users[p->device].idle_w;
        if (isnan(*idle_w) || p->power_w < *idle_w)
            *idle_w = p->power_w;
    }
}

static bool was_ours(const struct user *user, uint32_t pid)
{
    for (size_t i = 0; i < user->ours_count; i++)
        if (user->ours[i] == pid)
            return true;
    return false;
}

/* Shares of a GPU over the span that has just passed. */
static void share_gpu(struct wt_users *u, struct user *user, const struct sight *seen,
                      uint64_t span_ns)
{
    user->share_count = 0;
    user->weight_total = 0;
    if (!seen->is_known) {
        user->is_blind = true;
        memcpy(user->why, seen->why, sizeof(user->why));
        return;
    }
    for (size_t i = 0; i < seen->count; i++) {
        const struct wt_device_process *p = &seen->procs[i];
        struct wt_share *share = &user->shares[user->share_count];
        uint64_t ns;
        *share = (struct wt_share){.pid = p->pid};
        if (wt_process_cpu_ns(u->ctx, p->pid, &ns, share->name, sizeof(share->name), NULL) < 0)
            share->name[0] = '\0'; /* it has ended, or is of another container */
        if (p->busy_ppm != UINT32_MAX)
            share->weight = (uint64_t)((unsigned __int128)span_ns * p->busy_ppm / 1000000u);
        bool is_ours = was_ours(user, p->pid) || is_kin(u, p->pid);
        if (is_ours && !was_ours(user, p->pid) && user->ours_count < WT_LEDGER_ROWS)
            user->ours[user->ours_count++] = p->pid;
        user->has_ours |= is_ours;
        user->has_others |= !is_ours;
        user->share_count++;
    }
}

/* Is it a MIG instance of this device? Other parts (the second die of a card) are no shares of it.
 */
static bool is_slice(const struct wt_device_info *info, const struct wt_device_info *whole)
{
    return info->kind == WT_DEVICE_GPU && info->is_part && strncmp(info->id, "MIG-", 4) == 0 &&
           strcmp(info->part_of, whole->id) == 0;
}

/* Slices of a device have no sensor: each has its share of the memory, used or not. */
static bool share_parts(const struct wt_users *u, size_t device, struct user *user,
                        uint64_t span_ns)
{
    const struct wt_device_info *whole = wt_devices_info(u->devices, device);
    user->share_count = 0;
    for (size_t i = 0; i < u->count; i++) {
        const struct wt_device_info *info = wt_devices_info(u->devices, i);
        if (!is_slice(info, whole))
            continue;
        if (user->share_count == PROCS_MOST)
            break;
        struct wt_share *share = &user->shares[user->share_count++];
        *share = (struct wt_share){.pid = 0};
        wt_text(share->name, sizeof(share->name), "%.63s", info->id);
        uint64_t mem_mb = info->mem_bytes >> 20, whole_mb = whole->mem_bytes >> 20;
        share->weight = whole_mb ? (uint64_t)((unsigned __int128)span_ns * mem_mb / whole_mb) : 0;
    }
    user->weight_total = span_ns;
    return user->share_count > 0;
}

static void share_out(struct wt_users *u, size_t i, int64_t begin_ns, int64_t end_ns,
                      uint64_t job_ns, uint64_t busy_ns)
{
    struct user *user = &u->users[i];
    const struct wt_device_info *info = wt_devices_info(u->devices, i);
    uint64_t span_ns = (uint64_t)(end_ns - (user->t_ns > begin_ns ? user->t_ns : begin_ns));
    if (info->kind == WT_DEVICE_CPU) {
        user->shares[0] = (struct wt_share){.pid = 0, .name = JOB_NAME, .weight = job_ns};
        user->share_count = 1;
        user->weight_total = busy_ns;
        return;
    }
    if (share_parts(u, i, user, span_ns))
        return;
    struct sight *seen = malloc(sizeof(*seen));
    if (!seen) {
        user->share_count = 0;
        return;
    }
    pthread_mutex_lock(&u->watch->lock);
    *seen = u->watch->sights[i];
    pthread_mutex_unlock(&u->watch->lock);
    share_gpu(u, user, seen, span_ns);
    free(seen);
}

static bool is_split(const struct wt_device_info *info)
{
    return !info->is_part && (info->kind == WT_DEVICE_GPU || info->kind == WT_DEVICE_CPU);
}

static uint64_t uj_of(const struct wt_joules *energy)
{
    return energy->energy_j > 0 ? (uint64_t)llround(energy->energy_j * 1e6) : 0;
}

static uint64_t idle_uj_of(const struct user *user, int64_t begin_ns, int64_t end_ns)
{
    int64_t from_ns = user->t_ns > begin_ns ? user->t_ns : begin_ns;
    if (isnan(user->idle_w) || end_ns <= from_ns)
        return 0;
    return (uint64_t)llround(user->idle_w * wt_s_from_ns(end_ns - from_ns) * 1e6);
}

/* CPU time since the last call. */
static void cpu_times(struct wt_users *u, uint64_t *ret_job_ns, uint64_t *ret_busy_ns)
{
    uint64_t job_ns, busy_ns;
    struct wt_error err;
    *ret_job_ns = *ret_busy_ns = 0;
    if (!u->has_cpu || wt_busy_cpu_ns(u->ctx, &busy_ns, NULL) < 0)
        return;
    if (job_cpu_ns(u, &job_ns, &err) < 0) {
        u->cpu_lost = err;
        return;
    }
    if (u->has_cpu_time) {
        *ret_job_ns = job_ns > u->job_ns ? job_ns - u->job_ns : 0;
        *ret_busy_ns = busy_ns > u->busy_ns ? busy_ns - u->busy_ns : 0;
    }
    u->has_cpu_time = true;
    u->job_ns = job_ns;
    u->busy_ns = busy_ns;
}

void wt_users_span(struct wt_users *u, const struct wt_window_result *so_far,
                   const struct wt_run *run)
{
    uint64_t job_ns, busy_ns;
    find_idle(u, run);
    u->begin_ns = so_far->begin_ns;
    cpu_times(u, &job_ns, &busy_ns);
    for (size_t k = 0; k < so_far->device_count; k++) {
        const struct wt_window_device *d = &so_far->devices[k];
        if (d->device >= u->count || !is_split(wt_devices_info(u->devices, d->device)))
            continue;
        struct user *user = &u->users[d->device];
        share_out(u, d->device, so_far->begin_ns, so_far->end_ns, job_ns, busy_ns);
        if (d->energy.provenance == WT_PROV_UNKNOWN)
            wt_ledger_lost(&user->ledger);
        else
            wt_ledger_span(&user->ledger, uj_of(&d->energy),
                           idle_uj_of(user, so_far->begin_ns, so_far->end_ns), user->weight_total,
                           user->shares, user->share_count);
        user->t_ns = so_far->end_ns;
    }
}

/* ---- the result ---- */

static int keep(struct wt_run_device *out, const struct wt_share *row, bool is_ours)
{
    struct wt_run_share *more =
        realloc(out->attribution.shares, (out->attribution.share_count + 1) * sizeof(*more));
    if (!more)
        return WT_E_NOMEM;
    out->attribution.shares = more;
    struct wt_run_share *share = &more[out->attribution.share_count++];
    *share =
        (struct wt_run_share){.pid = row->pid, .is_ours = is_ours, .energy_uj = row->energy_uj};
    memcpy(share->name, row->name, sizeof(share->name));
    return 0;
}

static int finish_device(struct wt_users *u, size_t i, int64_t end_ns, struct wt_run_device *out)
{
    const struct wt_device_info *info = wt_devices_info(u->devices, i);
    struct user *user = &u->users[i];
    uint64_t total_uj = uj_of(&out->energy);
    bool has_parts = false;
    for (size_t k = 0; k < u->count; k++)
        has_parts |= is_slice(wt_devices_info(u->devices, k), info);
    enum wt_share_rule rule = has_parts ? WT_SHARE_PART : WT_SHARE_BY_WEIGHT;
    bool is_gpu = info->kind == WT_DEVICE_GPU;
    if (is_gpu && !has_parts && user->has_ours && !user->has_others && !user->is_blind)
        rule = WT_SHARE_EXCLUSIVE;
    if (out->energy.provenance == WT_PROV_UNKNOWN) {
        wt_text(out->attribution.note, sizeof(out->attribution.note), "its energy is not known");
        return 0;
    }
    if (is_gpu && !has_parts && user->is_blind && !user->has_ours && !user->has_others) {
        wt_text(out->attribution.note, sizeof(out->attribution.note),
                "who used it is not known: %s", user->why);
        return 0;
    }
    if (!is_gpu && u->cpu_lost.code) {
        wt_text(out->attribution.note, sizeof(out->attribution.note),
                "the run's CPU time is not known: %s", u->cpu_lost.text);
        return 0;
    }
    out->attribution.is_known = true;
    wt_text(out->attribution.rule, sizeof(out->attribution.rule), "%s", wt_share_rule_name(rule));
    if (rule == WT_SHARE_EXCLUSIVE) {
        struct wt_share job = {.name = JOB_NAME, .energy_uj = total_uj};
        return keep(out, &job, true);
    }
    wt_ledger_close(&user->ledger, total_uj, idle_uj_of(user, u->begin_ns, end_ns),
                    user->weight_total, user->shares, user->share_count);
    out->attribution.idle_uj = user->ledger.idle_uj;
    out->attribution.residual_uj = user->ledger.residual_uj;
    if (is_gpu && !has_parts && isnan(user->idle_w))
        wt_text(out->attribution.note, sizeof(out->attribution.note),
                "it was never seen idle: no row for what it draws then");
    else if (!is_gpu)
        wt_text(out->attribution.note, sizeof(out->attribution.note),
                "by CPU time on all packages alike; what it draws idle is not known");
    for (size_t k = 0; k < user->ledger.row_count; k++) {
        const struct wt_share *row = &user->ledger.rows[k];
        bool is_ours = row->pid ? was_ours(user, row->pid) : strcmp(row->name, JOB_NAME) == 0;
        int rc = keep(out, row, is_ours);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int wt_users_finish(struct wt_users *u, struct wt_run *run, struct wt_error *err)
{
    find_idle(u, run); /* since the last span, too */
    int64_t end_ns = u->begin_ns + llround(run->wall_s * 1e9);
    for (size_t i = 0; i < run->device_count && i < u->count; i++)
        if (is_split(wt_devices_info(u->devices, i)) &&
            finish_device(u, i, end_ns, &run->devices[i]) < 0)
            return wt_fail(err, WT_E_NOMEM, "no memory to tell who used the devices");
    return 0;
}
