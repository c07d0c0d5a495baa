/* probe_record: polls one device quickly and keeps what it shows.
 *
 * Each reading is a call of its own, so that the times before and after it are its own. Polling is
 * finest in the beginning; it stays so where values change every few milliseconds (RAPL), and
 * otherwise falls to a step that costs next to nothing. A call that never comes back takes its
 * thread and its memory with it, and nothing else. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "wattune/probe.h"

#define FINE_NS     (100 * INT64_C(1000))
#define COARSE_NS   WT_NS_PER_MS
#define LEARN_NS    (400 * WT_NS_PER_MS)
#define COST_FACTOR 4 /* reading takes at most a fourth of the time */
#define FAST_NS     (5 * WT_NS_PER_MS)
#define FAILED_NS   (20 * WT_NS_PER_MS)
#define STOP_S      10

struct wt_probe {
    struct wt_clock clock;
    struct wt_devices *devices;
    size_t device;
    struct wt_device_info info; /* a copy: the devices may be gone before a hung call */
    struct wt_probe_trace trace;
    /* A counter's call takes NVIDIA's driver milliseconds, a power reading's less than one
     * microsecond: each has a thread, so that the one does not hold back the other. */
    struct poller {
        struct wt_probe *probe;
        pthread_t thread;
        bool is_started;
        unsigned streams; /* bits of WT_PROBE_* */
    } pollers[2];
    atomic_bool is_stopping;
    atomic_int refs;
    atomic_int rc; /* of the threads */
};

static void probe_unref(struct wt_probe *p)
{
    if (atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    wt_probe_trace_done(&p->trace);
    free(p);
}

static const struct {
    unsigned can, read;
} streams[WT_PROBE_STREAMS] = {
    [WT_PROBE_POWER] = {WT_CAN_POWER, WT_READ_POWER},
    [WT_PROBE_PLAIN] = {WT_CAN_PLAIN, WT_READ_PLAIN},
    [WT_PROBE_ENERGY] = {WT_CAN_ENERGY, WT_READ_ENERGY},
};

/* Is there anything for this poller? */
static bool has_any(const struct wt_probe *p, unsigned which)
{
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++)
        if ((which & 1u << i) && (p->info.can & streams[i].can))
            return true;
    return false;
}

/* Reads these streams once. False: nothing could be read. */
static bool poll_once(struct wt_probe *p, unsigned which)
{
    bool is_any = false;
    for (size_t i = 0; i < WT_PROBE_STREAMS && p->rc == 0; i++) {
        if (!(p->info.can & streams[i].can) || !(which & 1u << i))
            continue;
        struct wt_reading r;
        if (wt_devices_read(p->devices, p->device, streams[i].read, &r, NULL) < 0) {
            wt_probe_series_fail(&p->trace.series[i], p->clock.now_ns(p->clock.data));
            continue;
        }
        is_any = true;
        int rc = wt_probe_series_add(&p->trace.series[i], r.t_before_ns, r.t_after_ns,
                                     i == WT_PROBE_ENERGY  ? r.energy.uj
                                     : i == WT_PROBE_POWER ? r.power.mw
                                                           : r.plain.mw);
        if (rc < 0)
            p->rc = rc;
    }
    return is_any;
}

static bool is_fast(const struct wt_probe *p, unsigned which, int64_t span_ns)
{
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++)
        if ((which & 1u << i) && (int64_t)p->trace.series[i].count > span_ns / FAST_NS)
            return true;
    return false;
}

static void *record(void *data)
{
    const struct poller *poller = data;
    struct wt_probe *p = poller->probe;
    unsigned which = poller->streams;
    int64_t start_ns = p->clock.now_ns(p->clock.data), cost_ns = 0, step_ns = FINE_NS;
    bool is_learning = true;
    while (!atomic_load(&p->is_stopping) && p->rc == 0) {
        int64_t before_ns = p->clock.now_ns(p->clock.data);
        bool is_read = poll_once(p, which);
        int64_t after_ns = p->clock.now_ns(p->clock.data);
        cost_ns = cost_ns ? cost_ns + (after_ns - before_ns - cost_ns) / 16 : after_ns - before_ns;
        if (is_learning && after_ns - start_ns > LEARN_NS) {
            is_learning = false;
            if (!is_fast(p, which, after_ns - start_ns))
                step_ns = COARSE_NS;
        }
        int64_t wait_ns = step_ns > COST_FACTOR * cost_ns ? step_ns : COST_FACTOR * cost_ns;
        if (!is_read)
            wait_ns = FAILED_NS;
        p->clock.sleep_until_ns(p->clock.data, before_ns + wait_ns);
    }
    probe_unref(p);
    return NULL;
}

int wt_probe_start(struct wt_probe **ret_probe, struct wt_ctx *ctx, struct wt_devices *devices,
                   size_t device, struct wt_error *err)
{
    const struct wt_device_info *info = wt_devices_info(devices, device);
    if (!info)
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", device);
    if (!(info->can & (WT_CAN_POWER | WT_CAN_ENERGY)))
        return wt_fail(err, WT_E_UNSUPPORTED, "%s: neither power nor energy can be read", info->id);
    if (info->is_modeled)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s: its power is estimated, there is no sensor",
                       info->id);
    if (wt_tree_is_recorded(ctx))
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s: a recording shows one moment and follows no load", info->id);
    struct wt_probe *p = calloc(1, sizeof(*p));
    if (!p)
        return wt_fail(err, WT_E_NOMEM, "no memory for a probe");
    p->clock = ctx->clock;
    p->devices = devices;
    p->device = device;
    p->info = *info;
    struct wt_reading reading;
    if ((info->can & WT_CAN_STATUS) &&
        wt_devices_read(devices, device, WT_READ_STATUS, &reading, NULL) == 0 &&
        (reading.status.has & WT_HAS_LIMIT))
        p->trace.limit_w = wt_w_from_mw(reading.status.power_limit_mw);
    atomic_init(&p->is_stopping, false);
    atomic_init(&p->refs, 1);
    atomic_init(&p->rc, 0);
    p->pollers[0].streams = 1u << WT_PROBE_POWER | 1u << WT_PROBE_PLAIN;
    p->pollers[1].streams = 1u << WT_PROBE_ENERGY;

    int failed = 0;
    for (size_t i = 0; i < WT_COUNTOF(p->pollers) && !failed; i++) {
        struct poller *poller = &p->pollers[i];
        if (!has_any(p, poller->streams))
            continue;
        poller->probe = p;
        atomic_fetch_add(&p->refs, 1);
        failed = wt_thread_start(&poller->thread, record, poller);
        poller->is_started = !failed;
        if (failed)
            atomic_fetch_sub(&p->refs, 1);
    }
    if (failed) {
        atomic_store(&p->is_stopping, true);
        for (size_t i = 0; i < WT_COUNTOF(p->pollers); i++)
            if (p->pollers[i].is_started)
                pthread_detach(p->pollers[i].thread);
        probe_unref(p);
        return wt_fail_errno(err, failed, "no thread for a probe");
    }
    *ret_probe = p;
    return 0;
}

int wt_probe_edge(struct wt_probe *p, int64_t lo_ns, int64_t hi_ns, bool is_on)
{
    return wt_probe_trace_edge(&p->trace, lo_ns, hi_ns, is_on);
}

static void today(char *buf, size_t size)
{
    time_t now = (time_t)(wt_clock_unix_ns() / WT_NS_PER_S);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(buf, size, "%Y-%m-%d", &tm);
}

int wt_probe_finish(struct wt_probe *p, const char *load, bool is_loaded, const char *trace_path,
                    struct wt_probe_result *ret_result, struct wt_error *trace_err,
                    struct wt_error *err)
{
    struct timespec until;
    int rc;
    atomic_store(&p->is_stopping, true);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    bool is_hung = false;
    for (size_t i = 0; i < WT_COUNTOF(p->pollers); i++) {
        struct poller *poller = &p->pollers[i];
        if (poller->is_started && pthread_timedjoin_np(poller->thread, NULL, &until) != 0) {
            pthread_detach(poller->thread);
            is_hung = true;
        }
    }
    if (is_hung) {
        rc = wt_fail(err, WT_E_TIMEOUT, "%s: a read did not come back in %d s", p->info.id, STOP_S);
        wt_fix(err, "see dmesg | grep -i -e NVRM -e Xid; a hung driver needs a reboot");
    } else if (p->rc < 0) {
        rc = wt_fail(err, p->rc, "no memory for what %s shows", p->info.id);
    } else {
        struct wt_error why = {0};
        if (trace_path && wt_probe_trace_write(&p->trace, &p->info, trace_path, &why) < 0 &&
            trace_err)
            *trace_err = why;
        rc = wt_probe_analyse(&p->trace, &p->info, ret_result, err);
        if (rc == 0) {
            ret_result->is_loaded = is_loaded;
            wt_text(ret_result->load, sizeof(ret_result->load), "%s", load);
            today(ret_result->date, sizeof(ret_result->date));
        }
    }
    probe_unref(p);
    return rc;
}
