/* meter: windows over sampled devices.
 *
 * Beginning and ending a window writes down a time. Everything else happens in wt_meter_result, on
 * the series that the sampling threads fill meanwhile; the sampler may wake a thread for a counter
 * that is slow to read. Locks: one for the table of windows, one for
 * each device's series; the second is never taken inside the first or the other way round. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "window/meter.h"
#include "window/series.h"

#define CHUNK      256 /* windows allocated at once */
#define SLOT_BITS  24
#define HISTORY_NS (3600 * WT_NS_PER_S)
#define KEEP_NS    (60 * WT_NS_PER_S) /* knots younger than this are never thinned */
/* Nor are those around a wanted edge: more than a rare counter's longest span. */
#define MARGIN_NS (20 * WT_NS_PER_S)
#define SHORT_NS                                                                                   \
    (200 * WT_NS_PER_MS) /* a window of a model: its load is known by ticks of 10 ms               \
                          */
#define TICKS_NS    (40 * WT_NS_PER_MS) /* how wrong such a load may be, as a time */
#define BRIEF_NS    (50 * WT_NS_PER_MS) /* how long the model's last reading may take */
#define BRIEFS      32
#define KNOTS_LEAST 4096
#define KNOTS_MOST  65536

enum window_state { WINDOW_FREE, WINDOW_OPEN, WINDOW_ENDED };

struct window {
    uint64_t id;
    int64_t begin_ns, end_ns;
    uint32_t next_free;
    enum window_state state;
    char name[64];
};

/* What a processor's model said of the time since it was last asked. */
struct brief {
    int64_t to_ns; /* from where the one before it ends */
    double w;
};

struct device {
    const struct wt_device_info *info;
    pthread_mutex_t lock;
    struct wt_series energy, power; /* filled where the device can */
    struct wt_status status;
    int64_t t_status_ns;
    double power_w; /* the latest; NaN */
    int64_t t_tried_ns;
    enum wt_provenance least;    /* of the readings so far, by their state */
    struct brief briefs[BRIEFS]; /* the latest, in a ring; of a modeled processor */
    size_t brief_count;
};

struct wt_meter {
    struct wt_ctx *ctx;
    struct wt_sampler *sampler;
    struct device *devices;
    size_t count;
    double z;
    int64_t period_ns;
    int64_t t_start_ns;
    _Atomic(wt_trace_fn) trace;
    void *_Atomic trace_data;

    pthread_mutex_t lock; /* of the windows */
    struct window **chunks;
    size_t chunk_count;
    uint32_t first_free; /* UINT32_MAX: none */
    uint64_t sequence;

    pthread_mutex_t news_lock;
    pthread_cond_t news;
    atomic_uint waiting;
};

/* ---- readings come in (sampling threads) ---- */

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The edges that somebody may still ask for, sorted. Owned by the caller. NULL: no memory. */
static int64_t *wanted_edges(struct wt_meter *m, size_t *ret_count)
{
    pthread_mutex_lock(&m->lock);
    size_t count = 0;
    int64_t *edges = malloc((m->chunk_count * CHUNK * 2 + 1) * sizeof(*edges));
    for (size_t i = 0; edges && i < m->chunk_count * CHUNK; i++) {
        const struct window *w = &m->chunks[i / CHUNK][i % CHUNK];
        if (w->state == WINDOW_FREE)
            continue;
        edges[count++] = w->begin_ns;
        if (w->state == WINDOW_ENDED)
            edges[count++] = w->end_ns;
    }
    pthread_mutex_unlock(&m->lock);
    if (edges)
        qsort(edges, count, sizeof(*edges), compare_times);
    *ret_count = count;
    return edges;
}

/* Called by the thread that alone adds to this device's series. */
static void thin(struct wt_meter *m, struct device *d, int64_t now_ns)
{
    size_t count;
    int64_t *edges = wanted_edges(m, &count);
    if (!edges)
        return; /* it is tried again with the next reading */
    pthread_mutex_lock(&d->lock);
    wt_series_thin(&d->energy, edges, count, now_ns - KEEP_NS, MARGIN_NS);
    wt_series_thin(&d->power, edges, count, now_ns - KEEP_NS, MARGIN_NS);
    pthread_mutex_unlock(&d->lock);
    free(edges);
}

static enum wt_provenance least_of(enum wt_provenance least, enum wt_state state)
{
    enum wt_provenance p = state == WT_MODELED    ? WT_PROV_MODELED
                           : state == WT_EMULATED ? WT_PROV_EMULATED
                           : state == WT_REPLAYED ? WT_PROV_REPLAYED
                                                  : WT_PROV_COUNTER;
    return p < least ? p : least;
}

static void trace(struct wt_meter *m, size_t device, int64_t t_ns, double power_w,
                  const struct wt_status *status, int64_t t_status_ns)
{
    wt_trace_fn fn = atomic_load_explicit(&m->trace, memory_order_acquire);
    if (!fn)
        return;
    struct wt_trace_point point = {
        .t_ns = t_ns,
        .device = device,
        .power_w = power_w,
        .temp_c = status->has & WT_HAS_TEMP ? status->temp_mc * 1e-3 : NAN,
        .clock_mhz = status->has & WT_HAS_CLOCK ? status->clock_khz * 1e-3 : NAN,
        .limit_w = status->has & WT_HAS_LIMIT ? wt_w_from_mw(status->power_limit_mw) : NAN,
        .throttle = status->has & WT_HAS_THROTTLE ? status->throttle : 0,
        .t_status_ns = t_status_ns,
    };
    fn(atomic_load_explicit(&m->trace_data, memory_order_relaxed), &point);
}

static bool is_modeled_cpu(const struct device *d)
{
    return d->info->is_modeled && d->info->kind == WT_DEVICE_CPU;
}

/* A reading of the model that is new, and not the last one repeated. */
static void note_brief(struct device *d, const struct wt_power *power)
{
    if (!is_modeled_cpu(d) ||
        (d->brief_count && d->briefs[(d->brief_count - 1) % BRIEFS].to_ns >= power->t_ns))
        return;
    d->briefs[d->brief_count++ % BRIEFS] = (struct brief){power->t_ns, wt_w_from_mw(power->mw)};
}

static void take_reading(void *data, size_t i, unsigned what, bool is_grid,
                         const struct wt_reading *r, int rc, const struct wt_error *err)
{
    struct wt_meter *m = data;
    struct device *d = &m->devices[i];
    /* The sensor's own words, where it has any: "exit code 1" says more than "input/output error".
     */
    const char *why = rc < 0 && *err->text ? err->text : wt_strerror(rc);
    int64_t t_ns = r->t_after_ns;
    int out_of_memory = 0;

    pthread_mutex_lock(&d->lock);
    d->t_tried_ns = t_ns;
    if (what & WT_READ_STATUS) {
        if (r->status.has) {
            d->status = r->status;
            d->t_status_ns = t_ns;
        }
        if (r->status.has & WT_HAS_LIMIT) {
            wt_series_note_limit(&d->energy, wt_w_from_mw(r->status.power_limit_mw));
            wt_series_note_limit(&d->power, wt_w_from_mw(r->status.power_limit_mw));
        }
    }
    if (what & WT_READ_POWER) {
        if (r->power.state != WT_ABSENT) {
            d->power_w = wt_w_from_mw(r->power.mw);
            note_brief(d, &r->power);
            d->least = least_of(d->least, r->power.state);
            wt_series_note_power(&d->energy, d->power_w);
            out_of_memory |=
                wt_series_add_power(&d->power, r->t_before_ns, r->t_after_ns, d->power_w);
        } else {
            d->power_w = NAN;
            wt_series_add_failure(&d->power, why);
        }
    }
    if (what & WT_READ_ENERGY) {
        d->energy.is_slow |= (what & WT_READ_SLOW) != 0;
        if (r->energy.state != WT_ABSENT) {
            d->least = least_of(d->least, r->energy.state);
            out_of_memory |=
                wt_series_add_energy(&d->energy, r->t_before_ns, r->t_after_ns, r->energy.uj);
        } else {
            wt_series_add_failure(&d->energy, why);
        }
    }
    if (out_of_memory) {
        wt_series_add_failure(&d->energy, wt_strerror(WT_E_NOMEM));
        wt_series_add_failure(&d->power, wt_strerror(WT_E_NOMEM));
    }
    bool is_full = wt_series_is_full(&d->energy) || wt_series_is_full(&d->power);
    double power_w = what & WT_READ_POWER ? d->power_w : wt_series_power_w(&d->energy);
    struct wt_status status = d->status;
    int64_t t_status_ns = d->t_status_ns;
    pthread_mutex_unlock(&d->lock);

    if (is_grid)
        trace(m, i, t_ns, power_w, &status, t_status_ns);
    if (is_full)
        thin(m, d, t_ns);
    if (atomic_load_explicit(&m->waiting, memory_order_acquire)) {
        pthread_mutex_lock(&m->news_lock);
        pthread_cond_broadcast(&m->news);
        pthread_mutex_unlock(&m->news_lock);
    }
}

/* ---- making and freeing ---- */

/* The two-sided quantile of the normal distribution, by bisection on erf. */
static double quantile(double confidence)
{
    double lo = 0, hi = 10;
    for (int i = 0; i < 60; i++) {
        double mid = (lo + hi) / 2;
        if (erf(mid / sqrt(2)) < confidence)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static int read_devices(void *devices, size_t device, unsigned what, struct wt_reading *ret_reading,
                        struct wt_error *err)
{
    return wt_devices_read(devices, device, what, ret_reading, err);
}

int wt_meter_new_over(struct wt_meter **ret_meter, struct wt_ctx *ctx,
                      const struct wt_device_info *const *infos, size_t count, wt_sampler_read read,
                      void *devices, const struct wt_meter_options *options, struct wt_error *err)
{
    static const struct wt_meter_options defaults;
    if (!options)
        options = &defaults;
    double confidence = options->confidence > 0 ? options->confidence : 0.95;
    if (!(confidence < 1) || options->period_ns < 0 || options->history_ns < 0)
        return wt_fail(err, WT_E_USAGE,
                       "a meter's period and history cannot be negative, and its "
                       "confidence lies below 1");
    struct wt_meter *m = calloc(1, sizeof(*m));
    if (!m)
        return wt_fail(err, WT_E_NOMEM, "no memory for a meter");
    m->ctx = ctx;
    m->z = quantile(confidence);
    m->first_free = UINT32_MAX;
    m->t_start_ns = wt_ctx_now_ns(ctx);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->news_lock, NULL);
    wt_cond_init(&m->news);

    int64_t period_ns = options->period_ns ? options->period_ns : 100 * WT_NS_PER_MS;
    m->period_ns = period_ns;
    int64_t knots = (options->history_ns ? options->history_ns : HISTORY_NS) / period_ns;
    size_t limit = knots < KNOTS_LEAST  ? KNOTS_LEAST
                   : knots > KNOTS_MOST ? KNOTS_MOST
                                        : (size_t)knots;
    int rc = 0;
    m->devices = calloc(count ? count : 1, sizeof(*m->devices));
    if (!m->devices) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a meter");
        goto out;
    }
    for (; m->count < count; m->count++) {
        struct device *d = &m->devices[m->count];
        struct wt_series_traits traits;
        d->info = infos[m->count];
        d->power_w = NAN;
        d->least = d->info->is_emulated ? WT_PROV_EMULATED : WT_PROV_COUNTER;
        d->t_tried_ns = d->t_status_ns = INT64_MIN;
        pthread_mutex_init(&d->lock, NULL);
        wt_series_traits_counter(&d->info->traits, &traits);
        wt_series_init(&d->energy, &traits, limit);
        wt_series_traits_power(&d->info->traits, &traits);
        wt_series_init(&d->power, &traits, limit);
        if (d->info->can & WT_CAN_POWER)
            d->energy.shape = &d->power;
        d->energy.power_max_w = d->power.power_max_w = wt_w_from_mw(d->info->power_max_mw);
    }
    const struct wt_sampler_options sampling = {
        .period_ns = period_ns,
        .read = read,
        .devices = devices,
        .sink = take_reading,
        .sink_data = m,
    };
    rc = wt_sampler_new(&m->sampler, ctx, infos, count, &sampling, err);
out:
    if (rc < 0)
        wt_meter_free(m);
    else
        *ret_meter = m;
    return rc;
}

int wt_meter_new(struct wt_meter **ret_meter, struct wt_ctx *ctx, struct wt_devices *devices,
                 const struct wt_meter_options *options, struct wt_error *err)
{
    size_t count = wt_devices_count(devices);
    const struct wt_device_info **infos = calloc(count ? count : 1, sizeof(*infos));
    if (!infos)
        return wt_fail(err, WT_E_NOMEM, "no memory for a meter");
    for (size_t i = 0; i < count; i++)
        infos[i] = wt_devices_info(devices, i);
    int rc = wt_meter_new_over(ret_meter, ctx, infos, count, read_devices, devices, options, err);
    free(infos);
    return rc;
}

void wt_meter_free(struct wt_meter *m)
{
    if (!m)
        return;
    wt_sampler_free(m->sampler);
    for (size_t i = 0; i < m->count; i++) {
        wt_series_done(&m->devices[i].energy);
        wt_series_done(&m->devices[i].power);
        pthread_mutex_destroy(&m->devices[i].lock);
    }
    free(m->devices);
    for (size_t i = 0; i < m->chunk_count; i++)
        free(m->chunks[i]);
    free(m->chunks);
    pthread_cond_destroy(&m->news);
    pthread_mutex_destroy(&m->news_lock);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- windows ---- */

/* With m->lock held. */
static int grow(struct wt_meter *m)
{
    if ((m->chunk_count + 1) * CHUNK >= (UINT32_C(1) << SLOT_BITS))
        return WT_E_FULL;
    struct window **more = realloc(m->chunks, (m->chunk_count + 1) * sizeof(struct window *));
    if (!more)
        return WT_E_NOMEM;
    m->chunks = more;
    struct window *chunk = calloc(CHUNK, sizeof(*chunk));
    if (!chunk)
        return WT_E_NOMEM;
    m->chunks[m->chunk_count] = chunk;
    for (uint32_t i = CHUNK; i-- > 0;) {
        chunk[i].next_free = m->first_free;
        m->first_free = (uint32_t)(m->chunk_count * CHUNK) + i;
    }
    m->chunk_count++;
    return 0;
}

/* With m->lock held. NULL: no such window. */
static struct window *find_window(struct wt_meter *m, uint64_t id)
{
    size_t slot = id & ((UINT32_C(1) << SLOT_BITS) - 1);
    if (slot >= m->chunk_count * CHUNK)
        return NULL;
    struct window *w = &m->chunks[slot / CHUNK][slot % CHUNK];
    return w->state != WINDOW_FREE && w->id == id ? w : NULL;
}

/* With m->lock held. */
static void forget(struct wt_meter *m, struct window *w)
{
    w->state = WINDOW_FREE;
    w->next_free = m->first_free;
    m->first_free = (uint32_t)(w->id & ((UINT32_C(1) << SLOT_BITS) - 1));
}

int wt_meter_begin(struct wt_meter *m, const char *name, uint64_t *ret_window)
{
    return wt_meter_begin_at(m, name, INT64_MAX, ret_window);
}

int wt_meter_begin_at(struct wt_meter *m, const char *name, int64_t t_ns, uint64_t *ret_window)
{
    pthread_mutex_lock(&m->lock);
    int rc = m->first_free == UINT32_MAX ? grow(m) : 0;
    if (rc < 0) {
        pthread_mutex_unlock(&m->lock);
        return rc;
    }
    uint32_t slot = m->first_free;
    struct window *w = &m->chunks[slot / CHUNK][slot % CHUNK];
    m->first_free = w->next_free;
    w->id = ++m->sequence << SLOT_BITS | slot;
    w->state = WINDOW_OPEN;
    size_t n = name ? strnlen(name, sizeof(w->name) - 1) : 0;
    memcpy(w->name, name ? name : "", n);
    w->name[n] = '\0';
    *ret_window = w->id;
    int64_t now_ns = wt_ctx_now_ns(m->ctx);
    w->begin_ns = t_ns < now_ns ? t_ns : now_ns;
    pthread_mutex_unlock(&m->lock);
    wt_sampler_edge(m->sampler, now_ns);
    return 0;
}

int wt_meter_end(struct wt_meter *m, uint64_t window)
{
    return wt_meter_end_at(m, window, INT64_MAX);
}

int wt_meter_end_at(struct wt_meter *m, uint64_t window, int64_t t_ns)
{
    int64_t now_ns = wt_ctx_now_ns(m->ctx), end_ns = t_ns < now_ns ? t_ns : now_ns;
    pthread_mutex_lock(&m->lock);
    struct window *w = find_window(m, window);
    int rc = !w ? WT_E_NOTFOUND : w->state != WINDOW_OPEN ? WT_E_STATE : 0;
    if (rc == 0) {
        w->end_ns = end_ns > w->begin_ns ? end_ns : w->begin_ns;
        w->state = WINDOW_ENDED;
    }
    pthread_mutex_unlock(&m->lock);
    if (rc == 0)
        wt_sampler_edge(m->sampler, now_ns);
    return rc;
}

int wt_meter_cancel(struct wt_meter *m, uint64_t window)
{
    pthread_mutex_lock(&m->lock);
    struct window *w = find_window(m, window);
    if (w)
        forget(m, w);
    pthread_mutex_unlock(&m->lock);
    return w ? 0 : WT_E_NOTFOUND;
}

/* ---- results ---- */

static struct wt_series *main_series(struct device *d)
{
    return d->info->can & WT_CAN_ENERGY ? &d->energy : &d->power;
}

/* A short window of a model is over before its load has been looked at twice. */
static bool is_brief(const struct device *d, int64_t begin_ns, int64_t end_ns)
{
    return is_modeled_cpu(d) && end_ns - begin_ns < SHORT_NS;
}

/* Is there nothing to wait for? Covered, or tried for long enough in vain. */
static bool is_settled(struct device *d, int64_t begin_ns, int64_t end_ns)
{
    pthread_mutex_lock(&d->lock);
    if (is_brief(d, begin_ns, end_ns) || d->info->traits.is_constant) {
        bool has_one =
            d->info->traits.is_constant
                ? d->power.has_value
                : d->brief_count && d->briefs[(d->brief_count - 1) % BRIEFS].to_ns >= end_ns;
        bool is_tried = d->t_tried_ns >= end_ns;
        pthread_mutex_unlock(&d->lock);
        return has_one || is_tried;
    }
    const struct wt_series *s = main_series(d);
    int64_t period_ns = s->traits.period_ns > 0 ? s->traits.period_ns : 100 * WT_NS_PER_MS;
    bool is_settled = wt_series_covered_ns(s) >= end_ns ||
                      d->t_tried_ns >= wt_series_cover_ns(s, end_ns) + 3 * period_ns ||
                      !(d->info->can & (WT_CAN_ENERGY | WT_CAN_POWER));
    pthread_mutex_unlock(&d->lock);
    return is_settled;
}

static void wait_for(struct wt_meter *m, int64_t begin_ns, int64_t end_ns, int64_t wait_ns)
{
    for (size_t i = 0; i < m->count && wait_ns > 0; i++)
        if (wait_ns < BRIEF_NS && is_brief(&m->devices[i], begin_ns, end_ns))
            wait_ns = BRIEF_NS;
    int64_t until_ns = wt_clock_now_ns() + (wait_ns > 0 ? wait_ns : 0);
    struct timespec ts = {.tv_sec = (time_t)(until_ns / WT_NS_PER_S),
                          .tv_nsec = (long)(until_ns % WT_NS_PER_S)};
    size_t i = 0;
    while (i < m->count && is_settled(&m->devices[i], begin_ns, end_ns))
        i++;
    if (i == m->count || wait_ns <= 0)
        return;
    for (size_t k = i; k < m->count; k++) {
        struct device *d = &m->devices[k];
        wt_sampler_cover(
            m->sampler, k,
            is_brief(d, begin_ns, end_ns) ? end_ns : wt_series_cover_ns(main_series(d), end_ns));
    }
    atomic_fetch_add(&m->waiting, 1);
    wt_sampler_wake(m->sampler);
    pthread_mutex_lock(&m->news_lock);
    int rc = 0;
    while (i < m->count && rc == 0) {
        if (is_settled(&m->devices[i], begin_ns, end_ns))
            i++;
        else
            rc = pthread_cond_timedwait(&m->news, &m->news_lock, &ts);
    }
    pthread_mutex_unlock(&m->news_lock);
    atomic_fetch_sub(&m->waiting, 1);
}

struct gap_list {
    struct wt_window_result *result;
    size_t device;
    bool is_out_of_memory;
};

static void add_gap(void *data, int64_t from_ns, int64_t to_ns, double bound_j, const char *why)
{
    struct gap_list *list = data;
    struct wt_window_result *r = list->result;
    if (to_ns <= from_ns || !r) /* NULL: nobody asks for them */
        return;
    struct wt_window_gap *more = realloc(r->gaps, (r->gap_count + 1) * sizeof(*more));
    if (!more) {
        list->is_out_of_memory = true;
        return;
    }
    r->gaps = more;
    struct wt_window_gap *gap = &r->gaps[r->gap_count++];
    *gap = (struct wt_window_gap){
        .device = list->device, .from_ns = from_ns, .to_ns = to_ns, .bound_j = bound_j};
    wt_text(gap->why, sizeof(gap->why), "%s", why ? why : "");
}

static struct wt_joules joules_from(const struct wt_span *span, enum wt_provenance method,
                                    enum wt_provenance least)
{
    return (struct wt_joules){span->energy_j, span->low_j, span->high_j,
                              !span->is_known  ? WT_PROV_UNKNOWN
                              : least < method ? least
                                               : method};
}

/* A read that is out for this long does not count on coming back, unless we were stopped as well.
 * With d->lock held. */
static void note_silence(const struct wt_meter *m, struct device *d, int64_t end_ns)
{
    int64_t most_ns = 10 * m->period_ns > WT_NS_PER_S / 2 ? 10 * m->period_ns : WT_NS_PER_S / 2;
    if (d->t_tried_ns == INT64_MIN || end_ns - d->t_tried_ns < most_ns ||
        wt_sampler_runs_since_ns(m->sampler) > end_ns - most_ns)
        return;
    if (!d->energy.is_broken)
        wt_series_add_failure(&d->energy, "a read has not come back");
    if (!d->power.is_broken)
        wt_series_add_failure(&d->power, "a read has not come back");
}

/* A short window of a modeled processor, by what the model said of the times in it and around it.
 * Its load is a matter of a few ticks: the shorter the window, the more of all that it may draw is
 * in the band. False: nothing is known, or it is too long ago. With d->lock held. */
static bool fill_brief(const struct device *d, int64_t begin_ns, int64_t end_ns,
                       struct wt_span *ret_span)
{
    size_t first = d->brief_count > BRIEFS ? d->brief_count - BRIEFS : 0, n = d->brief_count;
    if (!n || (first && d->briefs[first % BRIEFS].to_ns > begin_ns))
        return false;
    double energy_j = 0, span_s = wt_s_from_ns(end_ns - begin_ns);
    int64_t from_ns = begin_ns;
    for (size_t i = first; i < n && from_ns < end_ns; i++) {
        const struct brief *b = &d->briefs[i % BRIEFS];
        int64_t to_ns = b->to_ns < end_ns && i + 1 < n ? b->to_ns : end_ns;
        if (to_ns <= from_ns)
            continue;
        energy_j += b->w * wt_s_from_ns(to_ns - from_ns);
        from_ns = to_ns;
    }
    const struct wt_series_traits *t = &d->power.traits;
    double share = fmin(1, wt_s_from_ns(TICKS_NS) / fmax(span_s, 1e-9));
    double low_j = energy_j * (1 - t->band_low) - t->band_low_w * span_s;
    double high_j = energy_j * (1 + t->band_high) + t->band_high_w * span_s;
    double most_j = wt_w_from_mw(d->info->power_max_mw) * span_s;
    *ret_span = (struct wt_span){.is_known = true,
                                 .energy_j = energy_j,
                                 .low_j = fmax(0, low_j) * (1 - share),
                                 .high_j = high_j + share * fmax(0, most_j - high_j),
                                 .max_w = ret_span->max_w,
                                 .why = "the load of so short a time is hardly known"};
    return true;
}

/* After so long a reading has been of the window alone, and has been read. */
static int64_t settle_ns(const struct wt_series_traits *power)
{
    return 2 * (power->period_ns + power->seen_ns) + power->smear_ns;
}

/* One device of one window. With d->lock held. */
static void fill_device(const struct wt_meter *m, struct device *d, struct wt_window_device *out,
                        const struct wt_window_result *r, struct gap_list *gaps)
{
    struct wt_span by_counter = {.why = "it has no energy counter"},
                   by_power = {.why = "its power cannot be read"};
    bool has_counter = d->info->can & WT_CAN_ENERGY, has_power = d->info->can & WT_CAN_POWER;
    note_silence(m, d, r->end_ns);
    if (has_counter)
        wt_series_span(&d->energy, r->begin_ns, r->end_ns, m->z, &by_counter);
    if (has_power)
        wt_series_span(&d->power, r->begin_ns, r->end_ns, m->z, &by_power);
    bool is_doubtful = has_counter && has_power &&
                       wt_series_doubt(&d->energy, &d->power, r->begin_ns, r->end_ns, &by_power);

    bool is_by_brief =
        is_brief(d, r->begin_ns, r->end_ns) && fill_brief(d, r->begin_ns, r->end_ns, &by_power);

    bool is_power = !has_counter || wt_span_is_by_power(&by_counter, &by_power);
    const struct wt_span *main = is_power ? &by_power : &by_counter;
    const struct wt_span *other = is_power ? &by_counter : &by_power;
    out->method = !main->is_known ? WT_PROV_UNKNOWN : is_power ? WT_PROV_SAMPLED : WT_PROV_COUNTER;
    out->energy = joules_from(main, out->method, d->least);
    out->check = joules_from(other, is_power ? WT_PROV_COUNTER : WT_PROV_SAMPLED, d->least);
    if (!other->is_known)
        out->check = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    if (!main->is_known)
        out->energy = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    double span_s = wt_s_from_ns(r->end_ns - r->begin_ns);
    out->mean_w = main->is_known && span_s > 0 ? main->energy_j / span_s : NAN;
    /* In a short window the highest reading may be one from before the load. */
    bool is_stale = r->end_ns - r->begin_ns < settle_ns(&d->power.traits) &&
                    by_power.max_w < 0.95 * out->mean_w;
    out->max_w = has_power && !is_stale ? by_power.max_w : NAN;
    out->is_check_off = main->is_known && other->is_known &&
                        (main->low_j > other->high_j || other->low_j > main->high_j);
    /* The mean is the counter's, which sees what no reading of power caught, or is off by another
     * gain: what draws that much on average draws it at some moment. Where the two disagree the
     * reading is no highest of anything. */
    if (out->max_w < out->mean_w)
        out->max_w = out->is_check_off ? (double)NAN : out->mean_w;
    if (out->is_check_off)
        wt_text(out->note, sizeof(out->note),
                "the counter and the integrated power disagree beyond their bounds");
    else if (!main->is_known)
        wt_text(out->note, sizeof(out->note), "unknown: %s", main->why);
    else if (is_power && has_counter)
        wt_text(out->note, sizeof(out->note), "integrated power%s: of the counter, %s",
                is_doubtful ? ", which stood still too" : "", by_counter.why);
    else if (main->why)
        wt_text(out->note, sizeof(out->note), "wider: %s", main->why);
    if (is_by_brief || (!has_counter && !has_power))
        return; /* what has no sensor has no gaps in it either */
    bool is_gap_of_power = is_power && has_power && !is_doubtful;
    wt_series_gaps(is_gap_of_power ? &d->power : &d->energy, r->begin_ns, r->end_ns, add_gap, gaps);
}

/* Adds what counts, or what counts and what is modeled beside it, into one sum. */
static struct wt_joules sum_of(const struct wt_meter *m, const struct wt_window_result *r,
                               bool with_modeled, char *weakest, size_t size)
{
    struct wt_joules sum = {NAN, NAN, NAN, WT_PROV_UNKNOWN};
    bool is_first = true;
    enum wt_provenance least = WT_PROV_COUNTER;
    for (size_t i = 0; i < r->device_count; i++) {
        const struct wt_device_info *info = m->devices[i].info;
        bool is_beside = with_modeled && info->is_modeled && !info->is_part;
        if (!info->is_counted && !is_beside)
            continue;
        const struct wt_joules *part = &r->devices[i].energy;
        if (is_first || part->provenance < least) {
            least = part->provenance;
            wt_text(weakest, size, "%s", info->id);
        }
        if (is_first)
            sum = *part;
        else if (wt_joules_add(&sum, &sum, part) < 0)
            return sum; /* mixed: unknown it stays */
        is_first = false;
    }
    return sum;
}

static void sum_up(const struct wt_meter *m, struct wt_window_result *r)
{
    char weakest[96] = "";
    bool is_metered = false; /* the node as a whole: nothing is missing that a model could add */
    bool has_modeled = false;
    r->total = sum_of(m, r, false, r->weakest, sizeof(r->weakest));
    for (size_t i = 0; i < r->device_count; i++) {
        const struct wt_device_info *info = m->devices[i].info;
        is_metered |= info->is_counted && info->kind == WT_DEVICE_NODE;
        has_modeled |= info->is_modeled && !info->is_part && !info->is_counted;
    }
    r->has_estimate = has_modeled && !is_metered;
    if (r->has_estimate)
        r->estimate = sum_of(m, r, true, weakest, sizeof(weakest));
}

/* Name and times of a window into r. is_open: it goes on, and up to now is asked for. */
static int look_up(struct wt_meter *m, uint64_t window, bool is_open, struct wt_window_result *r,
                   struct wt_error *err)
{
    int rc = 0;
    int64_t now_ns = wt_ctx_now_ns(m->ctx);
    pthread_mutex_lock(&m->lock);
    struct window *w = find_window(m, window);
    if (!w) {
        rc = wt_fail(err, WT_E_NOTFOUND,
                     "there is no such window: never begun, cancelled, or its "
                     "result was taken before");
    } else if (w->state == WINDOW_OPEN && !is_open) {
        rc = wt_fail(err, WT_E_STATE, "window \"%s\" is still open", w->name);
    } else {
        r->begin_ns = w->begin_ns;
        r->end_ns = w->state == WINDOW_OPEN ? now_ns : w->end_ns;
        memcpy(r->name, w->name, sizeof(r->name));
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static bool is_settings_only(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_CPU && !info->can && !info->is_part;
}

/* Energies of the window whose times are in r. */
static int fill(struct wt_meter *m, struct wt_window_result *r, struct wt_error *err)
{
    struct gap_list gaps = {.result = r};
    r->devices = calloc(m->count ? m->count : 1, sizeof(*r->devices));
    for (size_t i = 0; r->devices && i < m->count; i++) {
        struct device *d = &m->devices[i];
        r->devices[i].device = gaps.device = i;
        pthread_mutex_lock(&d->lock);
        fill_device(m, d, &r->devices[i], r, &gaps);
        pthread_mutex_unlock(&d->lock);
    }
    if (!r->devices || gaps.is_out_of_memory) {
        wt_window_result_done(r);
        return wt_fail(err, WT_E_NOMEM, "no memory for the result of a window");
    }
    r->device_count = m->count;
    /* Last in a set is what only holds settings: there is no energy to speak of. */
    while (r->device_count && is_settings_only(m->devices[r->device_count - 1].info))
        r->device_count--;
    sum_up(m, r);
    return 0;
}

int wt_meter_result(struct wt_meter *m, uint64_t window, int64_t wait_ns,
                    struct wt_window_result *ret_result, struct wt_error *err)
{
    struct wt_window_result r = {0};
    int rc = look_up(m, window, false, &r, err);
    if (rc < 0)
        return rc;
    wait_for(m, r.begin_ns, r.end_ns, wait_ns);
    rc = fill(m, &r, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&m->lock);
    struct window *w = find_window(m, window);
    if (w)
        forget(m, w);
    pthread_mutex_unlock(&m->lock);
    *ret_result = r;
    return 0;
}

int wt_meter_peek(struct wt_meter *m, uint64_t window, struct wt_window_result *ret_result,
                  struct wt_error *err)
{
    struct wt_window_result r = {0};
    int rc = look_up(m, window, true, &r, err);
    if (rc == 0)
        rc = fill(m, &r, err);
    if (rc == 0)
        *ret_result = r;
    return rc;
}

int wt_meter_peek_device(struct wt_meter *m, uint64_t window, size_t device,
                         struct wt_window_device *ret_device, struct wt_error *err)
{
    struct wt_window_result r = {0};
    struct wt_window_device out = {.device = device};
    struct gap_list none = {.device = device};
    if (device >= m->count)
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", device);
    int rc = look_up(m, window, true, &r, err);
    if (rc < 0)
        return rc;
    struct device *d = &m->devices[device];
    pthread_mutex_lock(&d->lock);
    fill_device(m, d, &out, &r, &none);
    pthread_mutex_unlock(&d->lock);
    *ret_device = out;
    return 0;
}

void wt_meter_wait(struct wt_meter *m, int64_t t_ns, int64_t wait_ns)
{
    wait_for(m, t_ns - SHORT_NS, t_ns, wait_ns);
}

void wt_window_result_done(struct wt_window_result *result)
{
    free(result->devices);
    free(result->gaps);
    result->devices = NULL;
    result->gaps = NULL;
    result->device_count = result->gap_count = 0;
}

/* ---- beside ---- */

void wt_meter_on_trace(struct wt_meter *m, wt_trace_fn fn, void *data)
{
    atomic_store_explicit(&m->trace_data, data, memory_order_relaxed);
    atomic_store_explicit(&m->trace, fn, memory_order_release);
}

double wt_meter_power_w(struct wt_meter *m, size_t device)
{
    if (device >= m->count)
        return NAN;
    struct device *d = &m->devices[device];
    pthread_mutex_lock(&d->lock);
    double w = d->info->can & WT_CAN_POWER ? d->power_w : wt_series_power_w(&d->energy);
    pthread_mutex_unlock(&d->lock);
    return w;
}

void wt_meter_refresh(struct wt_meter *m)
{
    wt_sampler_refresh(m->sampler);
}

bool wt_meter_status(struct wt_meter *m, size_t device, int64_t since_ns,
                     struct wt_status *ret_status)
{
    if (device >= m->count)
        return false;
    struct device *d = &m->devices[device];
    pthread_mutex_lock(&d->lock);
    bool is_recent = d->t_status_ns != INT64_MIN && d->t_status_ns >= since_ns;
    if (is_recent)
        *ret_status = d->status;
    pthread_mutex_unlock(&d->lock);
    return is_recent;
}

void wt_meter_cost(struct wt_meter *m, struct wt_meter_cost *ret_cost)
{
    struct wt_sampler_cost cost;
    wt_sampler_cost(m->sampler, &cost);
    *ret_cost = (struct wt_meter_cost){
        .cpu_s = wt_s_from_ns(cost.cpu_ns),
        .wall_s = wt_s_from_ns(wt_ctx_now_ns(m->ctx) - m->t_start_ns),
        .reads = cost.reads,
        .failures = cost.failures,
    };
}

/* ---- for phases ---- */

void wt_meter_follow(struct wt_meter *m)
{
    wt_sampler_follow(m->sampler);
}

size_t wt_meter_ticks(struct wt_meter *m, size_t device, int64_t after_ns,
                      struct wt_meter_tick *ticks, size_t max)
{
    size_t count = 0;
    if (device >= m->count)
        return 0;
    struct device *d = &m->devices[device];
    pthread_mutex_lock(&d->lock);
    const struct wt_series *s = &d->energy;
    size_t i = s->count;
    while (i > 0 && s->knots[i - 1].hi_ns > after_ns)
        i--;
    for (; i < s->count && count < max; i++)
        ticks[count++] = (struct wt_meter_tick){
            .lo_ns = s->knots[i].lo_ns,
            .hi_ns = s->knots[i].hi_ns,
            .cum_j = s->knots[i].cum_j,
            .is_gap = i == 0 || s->knots[i].kind != WT_KNOT_PLAIN,
        };
    pthread_mutex_unlock(&d->lock);
    return count;
}

bool wt_meter_is_capped(struct wt_meter *m, size_t device)
{
    if (device >= m->count)
        return false;
    struct device *d = &m->devices[device];
    pthread_mutex_lock(&d->lock);
    bool is_capped = (d->status.has & WT_HAS_THROTTLE) &&
                     (d->status.throttle & (WT_THROTTLE_POWER_CAP | WT_THROTTLE_POWER_BRAKE));
    pthread_mutex_unlock(&d->lock);
    return is_capped;
}

size_t wt_meter_device_count(const struct wt_meter *m)
{
    return m->count;
}

const struct wt_device_info *wt_meter_device_info(const struct wt_meter *m, size_t device)
{
    return device < m->count ? m->devices[device].info : NULL;
}
