/* sampler: see sampler.h.
 *
 * A worker is a thread and all that it needs to end safely on its own. While a read is out nothing
 * else of the worker is locked; when it comes back the worker looks first whether it has been left
 * behind, and then touches neither the sampler, nor the context, nor the devices. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sampler/pacer.h"
#include "sampler/sampler.h"
#include "sensor/sensor.h"

#define STATUS_PERIOD_NS WT_NS_PER_S
/* So many good reads in a row, and a failure is over: one that comes and goes is one failure. */
#define READS_TO_CLEAR 20
#define POWER_MOST_MW  UINT64_C(10000000)

/* One device as its worker sees it. */
struct slot {
    size_t device;
    char id[96], source[16];
    unsigned can;
    uint64_t range_uj;
    struct wt_pacer pacer;
    int64_t tick_ns; /* of the counter; 0: unknown */
    int64_t t_status_ns, t_energy_ns;
    int64_t poll_ns, t_read_ns; /* not more often than this; when last */
    bool is_model, has_read;    /* of a processor: may be asked for what it has already */
    uint64_t round;
    unsigned refreshes; /* that were heard */
    int failing;        /* the error that repeats; 0: reads succeed */
    uint64_t fail_count;
    unsigned good_count; /* in a row */
};

struct worker {
    struct wt_sampler *sampler; /* not to be touched once is_abandoned */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under lock: */
    struct slot **slots; /* owned */
    size_t count;
    bool is_asked, is_stopping, is_abandoned, is_ended;
    bool is_rare;         /* reads a counter rarely */
    struct slot *reading; /* the slot whose read is out */
    int64_t reading_since_ns;
    int64_t cpu_ns;
    uint64_t reads, failures;
};

struct wt_sampler {
    struct wt_ctx *ctx;
    struct wt_sampler_options options;
    _Atomic int64_t edge_ns;
    _Atomic int64_t *cover_ns; /* one a device */
    atomic_bool is_following;
    atomic_uint refreshes; /* asked for so far */
    atomic_int rare_count; /* threads that read a counter rarely: edges wake them */

    pthread_mutex_t lock; /* of workers, is_stopping; taken before a worker's */
    pthread_cond_t changed;
    struct worker **workers; /* owned, those abandoned not among them */
    size_t count, room;
    bool is_stopping;
    pthread_t supervisor;
    bool has_supervisor;
    _Atomic int64_t beat_ns, resumed_ns; /* the supervisor last looked; was last kept from it */
    size_t device_count;
};

int64_t wt_sampler_period_ns(int64_t asked_ns, uint64_t range_uj, uint64_t power_max_mw)
{
    if (!range_uj)
        return asked_ns;
    /* uJ / mW is ms. */
    uint64_t half_ms = range_uj / (power_max_mw ? power_max_mw : POWER_MOST_MW) / 2;
    int64_t half_ns = half_ms > 86400000 ? 86400 * WT_NS_PER_S : (int64_t)half_ms * WT_NS_PER_MS;
    if (half_ns < WT_NS_PER_MS)
        half_ns = WT_NS_PER_MS;
    return asked_ns < half_ns ? asked_ns : half_ns;
}

/* Waits at most for span_ns of real time. */
static void cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t span_ns)
{
    int64_t t_ns = wt_clock_now_ns() + span_ns;
    struct timespec ts = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                          .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
    pthread_cond_timedwait(cond, lock, &ts);
}

static void worker_free(struct worker *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++)
        free(w->slots[i]);
    free(w->slots);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static struct worker *worker_new(struct wt_sampler *sampler, size_t room)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->sampler = sampler;
    pthread_mutex_init(&w->lock, NULL);
    wt_cond_init(&w->wake);
    w->slots = calloc(room ? room : 1, sizeof(struct slot *));
    if (w->slots)
        return w;
    worker_free(w);
    return NULL;
}

/* Said once, counted, and said once more when it clears. */
static void complain(struct wt_sampler *s, struct slot *slot, int rc, const struct wt_error *err)
{
    if (rc < 0) {
        if (rc != slot->failing) {
            wt_log(s->ctx, WT_LOG_WARN, slot->source, "%s cannot be read: %s", slot->id,
                   err->text[0] ? err->text : wt_strerror(rc));
            slot->failing = rc;
            slot->fail_count = 0;
        }
        slot->fail_count++;
        slot->good_count = 0;
    } else if (slot->failing && ++slot->good_count == READS_TO_CLEAR) {
        wt_log(s->ctx, WT_LOG_WARN, slot->source, "%s can be read again, after %llu failed reads",
               slot->id, (unsigned long long)slot->fail_count);
        slot->failing = 0;
    }
}

static int64_t ctx_now(const struct worker *w)
{
    return wt_ctx_now_ns(w->sampler->ctx);
}

/* Reads one device and delivers. Called and left with w->lock held; false: we were left behind. */
static bool read_slot(struct worker *w, struct slot *slot, unsigned what, bool is_grid)
{
    struct wt_sampler *s = w->sampler;
    wt_sampler_read read = s->options.read;
    void *devices = s->options.devices;
    struct wt_reading reading = {0};
    struct wt_error err = {0};
    int64_t before_ns = ctx_now(w);

    w->reading = slot;
    w->reading_since_ns = wt_clock_now_ns();
    pthread_mutex_unlock(&w->lock);
    int rc = read(devices, slot->device, what, &reading, &err);
    pthread_mutex_lock(&w->lock);
    w->reading = NULL;
    if (w->is_abandoned)
        return false;
    if (!reading.t_after_ns) { /* it failed before it got to the vendor */
        reading.t_before_ns = before_ns;
        reading.t_after_ns = ctx_now(w);
    }

    w->reads++;
    if (rc < 0)
        w->failures++;
    complain(s, slot, rc, &err);
    wt_pacer_saw(&slot->pacer, reading.t_before_ns, reading.t_after_ns,
                 reading.energy.state != WT_ABSENT, reading.energy.uj);
    if (wt_pacer_is_slow(&slot->pacer))
        what |= WT_READ_SLOW;
    s->options.sink(s->options.sink_data, slot->device, what, is_grid, &reading, rc, &err);
    return true;
}

/* With w->lock held. */
static void hear(struct worker *w, int64_t *edge_ns, int64_t now_ns)
{
    struct wt_sampler *s = w->sampler;
    int64_t edge = atomic_load_explicit(&s->edge_ns, memory_order_relaxed);
    bool is_new_edge = edge != *edge_ns;
    *edge_ns = edge;
    for (size_t i = 0; i < w->count; i++) {
        if (atomic_load_explicit(&s->is_following, memory_order_relaxed))
            wt_pacer_follow(&w->slots[i]->pacer, now_ns);
        unsigned refreshes = atomic_load_explicit(&s->refreshes, memory_order_relaxed);
        if (w->slots[i]->refreshes != refreshes) {
            w->slots[i]->refreshes = refreshes;
            w->slots[i]->t_status_ns = now_ns - STATUS_PERIOD_NS;
        }
        if (is_new_edge)
            wt_pacer_edge(&w->slots[i]->pacer, now_ns);
        wt_pacer_cover(
            &w->slots[i]->pacer, now_ns,
            atomic_load_explicit(&s->cover_ns[w->slots[i]->device], memory_order_relaxed));
    }
}

/* is_due: by its pacer. */
static unsigned what_to_read(struct slot *slot, bool is_grid, bool is_due, bool may_seek,
                             int64_t now_ns)
{
    unsigned what = 0;
    bool has_power = slot->can & WT_CAN_POWER;
    /* A slow sensor (a BMC, a program) is asked at its own pace; the grid may lie a little early.
     */
    if (slot->poll_ns && now_ns - slot->t_read_ns < slot->poll_ns - slot->poll_ns / 50)
        return 0;
    /* Between two moves of the counter there is nothing new in it. */
    bool is_early = has_power && !slot->pacer.is_seeking && slot->tick_ns > 0 && !is_due &&
                    now_ns - slot->t_energy_ns < slot->tick_ns / 4;
    /* A device that fails is asked all it can be, until it answers. */
    bool is_wanted =
        !is_grid || wt_pacer_grid(&slot->pacer, now_ns, may_seek) || slot->failing || is_due;
    if ((slot->can & WT_CAN_ENERGY) && !is_early && is_wanted) {
        what |= WT_READ_ENERGY;
        slot->t_energy_ns = now_ns;
    }
    if (has_power && (is_grid || !what))
        what |= WT_READ_POWER;
    if (is_grid && (slot->can & WT_CAN_STATUS) && now_ns - slot->t_status_ns >= STATUS_PERIOD_NS) {
        what |= WT_READ_STATUS;
        slot->t_status_ns = now_ns;
    }
    /* At first, and where somebody waits for the end of a window. */
    if (slot->is_model && what && (!slot->has_read || slot->pacer.is_seeking))
        what |= WT_READ_BRIEF;
    slot->has_read = true;
    return what;
}

/* No slow counter of this thread is being sought. With w->lock held. */
static bool may_seek(const struct worker *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (wt_pacer_is_slow(&w->slots[i]->pacer) && w->slots[i]->pacer.is_seeking)
            return false;
    return true;
}

/* Whether edges are to wake this thread. With w->lock held. */
static void note_rare(struct worker *w, int64_t now_ns)
{
    bool is_rare = false;
    for (size_t i = 0; i < w->count; i++)
        is_rare |= wt_pacer_is_rare(&w->slots[i]->pacer, now_ns);
    if (is_rare == w->is_rare)
        return;
    w->is_rare = is_rare;
    atomic_fetch_add_explicit(&w->sampler->rare_count, is_rare ? 1 : -1, memory_order_relaxed);
}

static void *worker_main(void *data)
{
    struct worker *w = data;
    pthread_mutex_lock(&w->lock);
    int64_t period_ns = w->sampler->options.period_ns;
    for (size_t i = 0; i < w->count; i++)
        period_ns = wt_sampler_period_ns(period_ns, w->slots[i]->range_uj, 0);
    int64_t grid_ns = ctx_now(w), edge_ns = INT64_MIN;
    uint64_t round = 0;

    while (!w->is_stopping) {
        int64_t now_ns = ctx_now(w);
        bool is_grid = now_ns >= grid_ns;
        w->is_asked = false;
        hear(w, &edge_ns, now_ns);
        round++;
        /* The supervisor may take slots away while a read is out: look from the start each time. */
        for (size_t i = 0; i < w->count && !w->is_stopping;) {
            struct slot *slot = w->slots[i];
            /* The reads before this one took their time. */
            int64_t t_ns = ctx_now(w);
            wt_pacer_keep_apart(&slot->pacer, t_ns);
            bool is_due = wt_pacer_is_due(&slot->pacer, t_ns);
            if (slot->round == round || !(is_grid || is_due)) {
                i++;
                continue;
            }
            slot->round = round;
            unsigned what = what_to_read(slot, is_grid, is_due, may_seek(w), now_ns);
            if (what)
                slot->t_read_ns = now_ns;
            if (what && !read_slot(w, slot, what, is_grid)) {
                pthread_mutex_unlock(&w->lock);
                worker_free(w);
                return NULL;
            }
            i = 0;
        }
        w->cpu_ns = wt_clock_thread_cpu_ns();

        now_ns = ctx_now(w);
        note_rare(w, now_ns);
        if (is_grid) {
            /* Absolute deadlines; what we slept through is not made up for. */
            grid_ns += period_ns;
            if (grid_ns <= now_ns)
                grid_ns += (now_ns - grid_ns) / period_ns * period_ns + period_ns;
        }
        int64_t next_ns = grid_ns;
        for (size_t i = 0; i < w->count; i++) {
            int64_t t_ns = wt_pacer_next_ns(&w->slots[i]->pacer, now_ns);
            if (t_ns < next_ns)
                next_ns = t_ns;
        }
        if (next_ns > now_ns && !w->is_asked && !w->is_stopping)
            cond_wait(&w->wake, &w->lock, next_ns - now_ns);
    }
    w->is_ended = true;
    struct wt_sampler *s = w->sampler;
    pthread_mutex_unlock(&w->lock);

    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* With s->lock held, or before there are threads. The worker is the sampler's when 0 is returned.
 */
static int add_worker(struct wt_sampler *s, struct worker *w)
{
    if (s->count == s->room) {
        size_t room = s->room ? s->room * 2 : 4;
        struct worker **more = realloc(s->workers, room * sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        s->workers = more;
        s->room = room;
    }
    int rc = wt_thread_start(&w->thread, worker_main, w);
    if (rc == 0)
        s->workers[s->count++] = w;
    return rc;
}

/* Moves the devices of a worker that hangs in one of them to a new worker. With s->lock held. */
static void rescue(struct wt_sampler *s, struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool is_hung =
        w->reading && w->count > 1 && wt_clock_now_ns() - w->reading_since_ns > s->options.hang_ns;
    struct worker *fresh = is_hung ? worker_new(s, w->count) : NULL;
    if (!fresh) {
        pthread_mutex_unlock(&w->lock);
        return;
    }
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i] != w->reading) {
            w->slots[i]->round = 0;
            fresh->slots[fresh->count++] = w->slots[i];
        }
    if (add_worker(s, fresh) == 0) {
        wt_log(s->ctx, WT_LOG_WARN, w->reading->source,
               "%s: a read has not come back; its neighbours are read without it", w->reading->id);
        w->slots[0] = w->reading;
        w->count = 1;
    } else {
        fresh->count = 0; /* still the old worker's */
        worker_free(fresh);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *supervisor_main(void *data)
{
    struct wt_sampler *s = data;
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        cond_wait(&s->changed, &s->lock, s->options.hang_ns / 2);
        int64_t now_ns = wt_ctx_now_ns(s->ctx);
        if (now_ns - s->beat_ns > s->options.hang_ns)
            s->resumed_ns = now_ns;
        s->beat_ns = now_ns;
        size_t count = s->count;
        for (size_t i = 0; i < count && !s->is_stopping; i++)
            rescue(s, s->workers[i]);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool wt_sampler_may_be_rare(const struct wt_device_info *info)
{
    const struct wt_sensor_traits *t = &info->traits;
    return (info->can & WT_CAN_ENERGY) && (info->can & WT_CAN_POWER) && !info->poll_ns &&
           !t->energy_range_uj && t->energy_period_ns > 0 && t->power_period_ns > 0 &&
           wt_traits_sees_all(t);
}

int wt_sampler_new(struct wt_sampler **ret_sampler, struct wt_ctx *ctx,
                   const struct wt_device_info *const *infos, size_t count,
                   const struct wt_sampler_options *options, struct wt_error *err)
{
    struct worker *w = NULL;
    struct wt_sampler *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for a sampler");
    s->ctx = ctx;
    s->options = *options;
    if (s->options.period_ns <= 0)
        s->options.period_ns = 100 * WT_NS_PER_MS;
    if (s->options.hang_ns <= 0)
        s->options.hang_ns = 500 * WT_NS_PER_MS;
    if (s->options.stop_ns <= 0)
        s->options.stop_ns = 300 * WT_NS_PER_MS;
    s->device_count = count;
    atomic_init(&s->edge_ns, INT64_MIN + 1); /* differs from what a worker starts with: the first
                                                thing it does is to find the counters' phases */
    s->beat_ns = wt_ctx_now_ns(ctx);
    s->resumed_ns = INT64_MIN;
    pthread_mutex_init(&s->lock, NULL);
    wt_cond_init(&s->changed);
    int rc = 0;
    bool *is_taken = calloc(count ? count : 1, sizeof(*is_taken));
    s->cover_ns = calloc(count ? count : 1, sizeof(*s->cover_ns));
    if (!is_taken || !s->cover_ns)
        goto no_memory;
    for (size_t i = 0; i < count; i++)
        atomic_init(&s->cover_ns[i], INT64_MIN);

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (is_taken[i])
            continue;
        w = worker_new(s, count);
        for (size_t k = i; w && k < count && rc == 0; k++) {
            if (is_taken[k] || strcmp(infos[k]->source, infos[i]->source) != 0)
                continue;
            struct slot *slot = calloc(1, sizeof(*slot));
            if (!slot) {
                rc = WT_E_NOMEM;
                break;
            }
            slot->device = k;
            slot->can = infos[k]->can;
            slot->tick_ns = infos[k]->traits.energy_period_ns;
            slot->t_energy_ns = -slot->tick_ns;
            slot->range_uj = infos[k]->traits.energy_range_uj;
            slot->t_status_ns = -STATUS_PERIOD_NS;
            slot->poll_ns = infos[k]->poll_ns;
            slot->is_model = infos[k]->is_modeled && infos[k]->kind == WT_DEVICE_CPU;
            slot->t_read_ns = -slot->poll_ns;
            wt_text(slot->id, sizeof(slot->id), "%s", infos[k]->id);
            wt_text(slot->source, sizeof(slot->source), "%s", infos[k]->source);
            wt_pacer_init(&slot->pacer, infos[k]->traits.energy_period_ns,
                          infos[k]->can & WT_CAN_ENERGY);
            if (wt_sampler_may_be_rare(infos[k]))
                wt_pacer_allow_rare(&slot->pacer);
            w->slots[w->count++] = slot;
            is_taken[k] = true;
        }
        if (!w)
            rc = WT_E_NOMEM;
        if (rc == 0)
            rc = add_worker(s, w);
        if (rc < 0)
            worker_free(w);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc == 0 && count)
        rc = wt_thread_start(&s->supervisor, supervisor_main, s);
    if (rc < 0)
        goto no_memory;
    s->has_supervisor = count > 0;
    free(is_taken);
    *ret_sampler = s;
    return 0;
no_memory:
    free(is_taken);
    wt_sampler_free(s);
    return wt_fail(err, WT_E_NOMEM, "no memory or no thread for a sampler");
}

static void add_cost(struct wt_sampler_cost *cost, const struct worker *w)
{
    cost->cpu_ns += w->cpu_ns;
    cost->reads += w->reads;
    cost->failures += w->failures;
}

/* Has this worker ended by the deadline? It is left behind when not. With s->lock held. */
static bool await_worker(struct wt_sampler *s, struct worker *w, int64_t deadline_ns)
{
    for (;;) {
        pthread_mutex_lock(&w->lock);
        int64_t left_ns = deadline_ns - wt_clock_now_ns();
        bool is_ended = w->is_ended;
        /* Only a read that is out is ever left behind: everything else ends by itself. */
        if (!is_ended && left_ns <= 0 && w->reading)
            w->is_abandoned = true;
        bool is_abandoned = w->is_abandoned;
        pthread_mutex_unlock(&w->lock);
        if (is_ended || is_abandoned)
            return is_ended;
        cond_wait(&s->changed, &s->lock, left_ns > 0 ? left_ns : WT_NS_PER_MS);
    }
}

void wt_sampler_free(struct wt_sampler *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->has_supervisor)
        pthread_join(s->supervisor, NULL);

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count; i++) {
        pthread_mutex_lock(&s->workers[i]->lock);
        s->workers[i]->is_stopping = true;
        pthread_cond_signal(&s->workers[i]->wake);
        pthread_mutex_unlock(&s->workers[i]->lock);
    }
    int64_t deadline_ns = wt_clock_now_ns() + s->options.stop_ns;
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = s->workers[i];
        pthread_t thread = w->thread;
        if (await_worker(s, w, deadline_ns)) {
            pthread_mutex_unlock(&s->lock); /* it takes this lock once more before it returns */
            pthread_join(thread, NULL);
            pthread_mutex_lock(&s->lock);
            worker_free(w);
        } else {
            pthread_detach(thread);
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(s->workers);
    free(s->cover_ns);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* All threads, or those alone that read a counter rarely. */
static void wake(struct wt_sampler *s, bool is_rare_alone)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = s->workers[i];
        pthread_mutex_lock(&w->lock);
        if (w->is_rare || !is_rare_alone) {
            w->is_asked = true;
            pthread_cond_signal(&w->wake);
        }
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

void wt_sampler_edge(struct wt_sampler *sampler, int64_t t_ns)
{
    atomic_store_explicit(&sampler->edge_ns, t_ns, memory_order_relaxed);
    if (atomic_load_explicit(&sampler->rare_count, memory_order_relaxed) > 0)
        wake(sampler, true);
}

void wt_sampler_cover(struct wt_sampler *sampler, size_t device, int64_t t_ns)
{
    _Atomic int64_t *cover = &sampler->cover_ns[device];
    int64_t had_ns = atomic_load_explicit(cover, memory_order_relaxed);
    while (had_ns < t_ns && !atomic_compare_exchange_weak_explicit(
                                cover, &had_ns, t_ns, memory_order_relaxed, memory_order_relaxed))
        ;
}

void wt_sampler_follow(struct wt_sampler *s)
{
    atomic_store_explicit(&s->is_following, true, memory_order_relaxed);
    wt_sampler_wake(s);
}

void wt_sampler_refresh(struct wt_sampler *s)
{
    atomic_fetch_add_explicit(&s->refreshes, 1, memory_order_relaxed);
}

void wt_sampler_wake(struct wt_sampler *s)
{
    wake(s, false);
}

int64_t wt_sampler_runs_since_ns(const struct wt_sampler *s)
{
    int64_t now_ns = wt_ctx_now_ns(s->ctx);
    return now_ns - s->beat_ns > s->options.hang_ns ? now_ns : s->resumed_ns;
}

void wt_sampler_cost(struct wt_sampler *s, struct wt_sampler_cost *ret_cost)
{
    pthread_mutex_lock(&s->lock);
    struct wt_sampler_cost cost = {0};
    for (size_t i = 0; i < s->count; i++) {
        struct worker *w = s->workers[i];
        pthread_mutex_lock(&w->lock);
        add_cost(&cost, w);
        if (w->reading && wt_clock_now_ns() - w->reading_since_ns > s->options.hang_ns)
            cost.hung++;
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&s->lock);
    *ret_cost = cost;
}
