/* split: whose the joules were.
 *
 *   a GPU         to the job that holds it; by halves and so on where several do; nobody's else
 *   host devices  by CPU time of each job against all busy CPU time of that tick
 *
 * What a device drew (D) and what its holders did come from windows of one meter, and differ by
 * crumbs and by what became known later: the difference is nobody's, so that places always add up.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/accounts.h"
#include "window/attribution.h"

#define LOST_NS (30 * WT_NS_PER_S) /* not known for so long: its window begins anew */

/* A second of CPU time of one job may draw so many times what one of another does: assumed, not
 * measured. Of memory and whole nodes the CPU time says less than of the processor. */
#define UNLIKE_CPU  3.0
#define UNLIKE_REST 10.0

int64_t wt_accounts_mono_ns(const struct wt_accounts *a, int64_t unix_ns)
{
    int64_t now_ns = wt_ctx_now_ns(a->ctx), unix_now_ns = a->meter.unix_ns(a->meter.data);
    int64_t ago_ns;
    if (__builtin_sub_overflow(unix_now_ns, unix_ns, &ago_ns) || ago_ns < 0)
        return now_ns; /* to come: a clock was set */
    return ago_ns > now_ns ? 0 : now_ns - ago_ns;
}

static uint64_t uj_of(double joules)
{
    return joules > 0 ? (uint64_t)llround(joules * 1e6) : 0;
}

static const struct wt_window_device *device_in(const struct wt_window_result *r, size_t device)
{
    for (size_t i = 0; i < r->device_count; i++)
        if (r->devices[i].device == device)
            return &r->devices[i];
    return NULL;
}

static bool is_known(const struct wt_window_device *d)
{
    return d && d->energy.provenance != WT_PROV_UNKNOWN;
}

static void weaken(struct place *place, enum wt_provenance provenance)
{
    if (!place->is_known || provenance < place->weakest)
        place->weakest = provenance;
    place->is_known = true;
}

static bool is_gpu(const struct device *d)
{
    return d->info->kind == WT_DEVICE_GPU;
}

static bool is_holder(const struct segment *s, const struct job *job)
{
    for (size_t k = 0; k < s->count; k++)
        if (s->holders[k] == job)
            return true;
    return false;
}

/* When the span began that this tick splits. */
static int64_t before_ns(const struct wt_accounts *a)
{
    return a->tick_ns ? a->tick_ns : a->base_begin_ns;
}

/* Begin and end of a job or a step as far as they are in this tick, monotonic. */
struct stay {
    int64_t from_ns, to_ns;
};

static struct stay stay_of_job(const struct wt_accounts *a, const struct job *job, int64_t now_ns)
{
    struct stay stay = {before_ns(a), now_ns};
    if (job->is_new || job->from_ns > stay.from_ns)
        stay.from_ns = job->from_ns;
    if (job->is_ended)
        stay.to_ns = wt_accounts_mono_ns(a, job->end_ns);
    if (stay.to_ns < stay.from_ns)
        stay.to_ns = stay.from_ns;
    return stay;
}

static struct stay stay_of_step(const struct wt_accounts *a, const struct job *job,
                                const struct step *step, int64_t now_ns)
{
    struct stay stay = stay_of_job(a, job, now_ns);
    int64_t begin_ns = wt_accounts_mono_ns(a, step->begin_ns);
    int64_t end_ns = step->is_ended ? wt_accounts_mono_ns(a, step->end_ns) : now_ns;
    if (step->is_new)
        stay.from_ns = job->from_ns;
    if (begin_ns > stay.from_ns)
        stay.from_ns = begin_ns;
    if (end_ns < stay.to_ns)
        stay.to_ns = end_ns;
    if (stay.to_ns < stay.from_ns)
        stay.to_ns = stay.from_ns;
    return stay;
}

/* ---- giving ---- */

static void give(struct wt_accounts *a, size_t i, struct job *job, uint64_t uj)
{
    struct device *d = &a->devices[i];
    job->places[i].acc_uj += uj;
    if (job == &a->nobody)
        d->idle_uj += uj;
    else
        d->jobs_uj += uj;
    d->fresh_uj -= uj;
}

/* From one to another: what was thought of the past was wrong. */
static void move(struct wt_accounts *a, size_t i, struct job *from, struct job *to, uint64_t uj)
{
    struct device *d = &a->devices[i];
    from->places[i].acc_uj -= uj;
    to->places[i].acc_uj += uj;
    if (from == &a->nobody) {
        d->idle_uj -= uj;
        d->jobs_uj += uj;
    } else {
        d->jobs_uj -= uj;
        d->idle_uj += uj;
    }
}

/* Brings each holder of the segment to this much of it. What is not there yet comes with a later
 * tick; at the end the difference is taken from nobody, or given back by who has ended: of who goes
 * on it was told, and never falls. */
static void settle(struct wt_accounts *a, size_t i, uint64_t each_uj, bool is_final)
{
    struct device *d = &a->devices[i];
    struct segment *s = &d->segment;
    struct place *nobody = &a->nobody.places[i];
    if (each_uj < s->given_uj) {
        for (size_t k = 0; is_final && k < s->count; k++) {
            uint64_t over_uj = s->given_uj - each_uj, has_uj = s->holders[k]->places[i].acc_uj;
            if (!s->holders[k]->is_ended)
                continue;
            move(a, i, s->holders[k], &a->nobody, over_uj < has_uj ? over_uj : has_uj);
        }
        return;
    }
    uint64_t want_uj = each_uj - s->given_uj, given_uj = 0;
    uint64_t fresh_each_uj = s->count ? d->fresh_uj / s->count : 0;
    uint64_t old_each_uj = s->count && is_final ? nobody->acc_uj / s->count : 0;
    for (size_t k = 0; k < s->count; k++) {
        uint64_t now_uj = want_uj < fresh_each_uj ? want_uj : fresh_each_uj;
        uint64_t left_uj = want_uj - now_uj;
        uint64_t old_uj = left_uj < old_each_uj ? left_uj : old_each_uj;
        give(a, i, s->holders[k], now_uj);
        move(a, i, &a->nobody, s->holders[k], old_uj);
        given_uj = now_uj + old_uj;
    }
    s->given_uj += given_uj;
}

/* ---- segments ---- */

static int open_segment(struct wt_accounts *a, size_t i, int64_t t_ns, struct wt_error *err)
{
    struct segment *s = &a->devices[i].segment;
    s->begin_ns = t_ns;
    s->given_uj = 0;
    s->low_uj = s->high_uj = 0;
    s->known_ns = 0;
    s->window = 0; /* without memory for one: tried again at the next tick, from then on */
    int rc = a->meter.begin_at(a->meter.data, t_ns, &s->window);
    return rc < 0 ? wt_fail(err, rc, "no memory for a window of %s", a->devices[i].info->id) : 0;
}

static void hold_gap(const struct wt_accounts *a, size_t i, struct place *place, int64_t gap_ns)
{
    const struct device *d = &a->devices[i];
    if (gap_ns <= 0)
        return;
    place->gap_ns += gap_ns; /* each of several holders may have drawn all of it */
    if (d->power_max_mw)
        place->gap_uj += wt_energy_uj_from(d->power_max_mw, (uint64_t)gap_ns);
    else
        place->is_unbounded = true;
}

static struct job *holder(struct wt_accounts *a, struct segment *s, size_t k)
{
    return s->count ? s->holders[k] : &a->nobody;
}

/* What is known of a segment so far, into its holders' places as open. */
static void show_segment(struct wt_accounts *a, size_t i)
{
    struct segment *s = &a->devices[i].segment;
    for (size_t k = 0; k < (s->count ? s->count : 1); k++) {
        struct place *place = &holder(a, s, k)->places[i];
        place->is_here = true;
        place->is_shared |= s->count > 1;
        place->open_low_uj = s->count > 1 ? 0 : s->low_uj;
        place->open_high_uj = s->high_uj;
        if (s->known_ns)
            weaken(place, s->provenance);
    }
}

static void take_segment(struct wt_accounts *a, size_t i, const struct wt_window_device *r,
                         int64_t t_ns, bool is_final)
{
    struct segment *s = &a->devices[i].segment;
    if (is_known(r)) {
        s->low_uj = r->energy.low_j * 1e6;
        s->high_uj = r->energy.high_j * 1e6;
        s->known_ns = t_ns;
        s->provenance = r->energy.provenance;
        uint64_t uj = uj_of(r->energy.energy_j);
        settle(a, i, s->count ? uj / s->count : uj, is_final);
    }
    show_segment(a, i);
    for (size_t k = 0; r && r->note[0] && k < (s->count ? s->count : 1); k++)
        memcpy(holder(a, s, k)->places[i].note, r->note, sizeof(r->note));
}

/* The holders change at t: what the segment took is known for good. */
static void close_segment(struct wt_accounts *a, size_t i, int64_t t_ns)
{
    struct segment *s = &a->devices[i].segment;
    struct wt_window_result r = {0};
    struct wt_error err;
    if (t_ns <= s->begin_ns) {
        if (s->window)
            a->meter.cancel(a->meter.data, s->window);
        return;
    }
    if (s->window && a->meter.end_at(a->meter.data, s->window, t_ns) == 0 &&
        a->meter.result(a->meter.data, s->window, &r, &err) == 0) {
        const struct wt_window_device *d = device_in(&r, i);
        take_segment(a, i, d, t_ns, true);
        wt_window_result_done(&r);
    } else if (s->window) {
        a->meter.cancel(a->meter.data, s->window);
    }
    int64_t known_ns = s->known_ns ? s->known_ns : s->begin_ns;
    for (size_t k = 0; k < (s->count ? s->count : 1); k++) {
        struct place *place = &holder(a, s, k)->places[i];
        place->low_uj += place->open_low_uj;
        place->high_uj += place->open_high_uj;
        place->open_low_uj = place->open_high_uj = 0;
        place->open_gap_ns = 0;
        hold_gap(a, i, place, t_ns - known_ns);
    }
}

static int change_holders(struct wt_accounts *a, size_t i, int64_t t_ns, struct job *job,
                          bool is_added, struct wt_error *err)
{
    struct segment *s = &a->devices[i].segment;
    if (t_ns < s->begin_ns)
        t_ns = s->begin_ns;
    close_segment(a, i, t_ns);
    if (is_added) {
        struct job **more = reallocarray(s->holders, s->count + 1, sizeof(*more));
        if (!more)
            return wt_fail(err, WT_E_NOMEM, "no memory for the holders of a GPU");
        s->holders = more;
        s->holders[s->count++] = job;
        job->places[i].is_here = true;
    } else {
        size_t kept = 0;
        for (size_t k = 0; k < s->count; k++)
            if (s->holders[k] != job)
                s->holders[kept++] = s->holders[k];
        s->count = kept;
    }
    a->is_mapping_stale = true;
    return open_segment(a, i, t_ns, err);
}

struct event {
    int64_t t_ns;
    struct job *job;
    bool is_added;
};

static int compare_events(const void *one, const void *other)
{
    const struct event *a = one, *b = other;
    if (a->t_ns != b->t_ns)
        return a->t_ns < b->t_ns ? -1 : 1;
    /* Who leaves goes before who comes, but nobody leaves before he came. */
    if (a->job == b->job)
        return (int)b->is_added - (int)a->is_added;
    return (int)a->is_added - (int)b->is_added;
}

/* Only now it is told that it never held this GPU: what it got of it was nobody's. */
static int take_back(struct wt_accounts *a, size_t i, struct job *job, struct wt_error *err)
{
    struct place *place = &job->places[i];
    /* Who held it beside him keeps what he was told of. */
    bool is_alone = a->devices[i].segment.count == 1;
    int64_t t_ns = is_alone ? job->from_ns : wt_ctx_now_ns(a->ctx);
    int rc = change_holders(a, i, t_ns, job, false, err);
    if (rc < 0)
        return rc;
    move(a, i, job, &a->nobody, place->acc_uj);
    /* A row that was written has its end, too, with nothing in it. */
    *place = (struct place){.weakest = place->weakest,
                            .is_known = place->is_known,
                            .is_here = place->is_here && !job->is_unwritten};
    return 0;
}

static int take_events(struct wt_accounts *a, size_t i, struct wt_error *err)
{
    size_t count = 0, room = 0;
    int rc = 0;
    for (const struct job *job = a->jobs; job; job = job->next)
        room += 2;
    struct event *events = calloc(room + 1, sizeof(*events));
    if (!events)
        return wt_fail(err, WT_E_NOMEM, "no memory for what has changed");
    for (struct job *job = a->jobs; job && rc == 0; job = job->next) {
        bool is_held = is_holder(&a->devices[i].segment, job);
        bool is_given = wt_accounts_holds(a, job, NULL, i);
        if (job->is_closed || job->is_final)
            continue;
        if (is_held && !is_given)
            rc = take_back(a, i, job, err);
        if (is_given && !is_held && (job->is_new || job->is_moved))
            events[count++] = (struct event){job->from_ns, job, true};
        int64_t end_ns = wt_accounts_mono_ns(a, job->end_ns);
        if (is_given && job->is_ended) /* it may have been over before we looked */
            events[count++] =
                (struct event){end_ns > job->from_ns ? end_ns : job->from_ns, job, false};
    }
    qsort(events, count, sizeof(*events), compare_events);
    for (size_t k = 0; k < count && rc == 0; k++) {
        rc = change_holders(a, i, events[k].t_ns, events[k].job, events[k].is_added, err);
        a->devices[i].was_shared |= a->devices[i].segment.count > 1;
    }
    free(events);
    return rc;
}

/* The results of all that begins and ends in this tick wait for samples once. */
static void wait_for_ends(struct wt_accounts *a, int64_t now_ns)
{
    int64_t last_ns = INT64_MIN;
    for (const struct job *job = a->jobs; job; job = job->next) {
        if (job->is_closed || job->is_final || !job->facts.gpu_count)
            continue;
        struct stay stay = stay_of_job(a, job, now_ns);
        if (job->is_new && stay.from_ns > last_ns)
            last_ns = stay.from_ns;
        if (job->is_ended && stay.to_ns > last_ns)
            last_ns = stay.to_ns;
        for (const struct step *step = job->steps; step; step = step->next) {
            struct stay part = stay_of_step(a, job, step, now_ns);
            if (step->is_ended && !step->is_closed && step->gpu_count && part.to_ns > last_ns)
                last_ns = part.to_ns;
        }
    }
    if (last_ns != INT64_MIN)
        a->meter.wait(a->meter.data, last_ns);
}

static int split_gpu(struct wt_accounts *a, size_t i, int64_t now_ns, struct wt_error *err)
{
    struct device *d = &a->devices[i];
    struct segment *s = &d->segment;
    struct wt_window_device w;
    d->was_shared = s->count > 1;
    for (struct job *job = a->jobs; job; job = job->next)
        job->places[i].before_uj = job->places[i].acc_uj;
    int rc = s->window ? 0 : open_segment(a, i, s->begin_ns, err);
    if (rc == 0)
        rc = take_events(a, i, err);
    if (rc == 0 && a->meter.peek(a->meter.data, s->window, i, &w, NULL) == 0)
        take_segment(a, i, &w, now_ns, false);
    int64_t since_ns = s->known_ns ? s->known_ns : s->begin_ns;
    if (rc == 0 && now_ns - since_ns > LOST_NS) {
        close_segment(a, i, now_ns);
        rc = open_segment(a, i, now_ns, err);
    }
    /* What is not known yet may never be: who ends now has it in his bound. */
    int64_t open_ns = now_ns - (s->known_ns ? s->known_ns : s->begin_ns);
    for (size_t k = 0; rc == 0 && k < (s->count ? s->count : 1); k++)
        holder(a, s, k)->places[i].open_gap_ns = open_ns;
    a->nobody.places[i].is_here = true;
    return rc;
}

int wt_accounts_split_turn(struct wt_accounts *a, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < a->count && rc == 0; i++) {
        struct segment *s = &a->devices[i].segment;
        if (!a->devices[i].is_split || !is_gpu(&a->devices[i]) || s->count ||
            a->tick_ns <= s->begin_ns)
            continue;
        close_segment(a, i, a->tick_ns);
        rc = open_segment(a, i, a->tick_ns, err);
    }
    return rc;
}

/* ---- host devices ---- */

static void take_cpu_times(struct wt_accounts *a)
{
    uint64_t busy_ns;
    a->busy_delta_ns = 0;
    bool has_busy = a->has_cpu && wt_busy_cpu_ns(a->ctx, &busy_ns, NULL) == 0;
    if (has_busy && a->has_busy && busy_ns > a->busy_ns)
        a->busy_delta_ns = busy_ns - a->busy_ns;
    a->has_busy = has_busy;
    a->busy_ns = has_busy ? busy_ns : 0;
    for (struct job *job = a->jobs; job; job = job->next) {
        job->delta_ns = 0;
        for (struct step *step = job->steps; step; step = step->next) {
            uint64_t ns;
            step->delta_ns = 0;
            if (!a->has_cpu || step->is_closed || !step->cpu.pid ||
                wt_step_cpu_ns(a->ctx, &step->cpu, &ns, NULL) < 0)
                continue;
            bool is_since = a->tick_ns && wt_accounts_mono_ns(a, step->begin_ns) >= a->tick_ns;
            uint64_t had_ns = step->has_cpu_time ? step->cpu_ns : is_since ? 0 : ns;
            step->delta_ns = ns > had_ns ? ns - had_ns : 0;
            /* It falls when a process is gone that nobody waited for: what comes back was counted.
             */
            step->cpu_ns = ns > had_ns ? ns : had_ns;
            step->has_cpu_time = true;
            job->delta_ns += step->delta_ns;
        }
    }
}

static double unlike(const struct device *d)
{
    return d->info->has_gpu ? INFINITY : d->info->kind == WT_DEVICE_CPU ? UNLIKE_CPU : UNLIKE_REST;
}

/* What a share of the CPU time may have been of the energy, if times are unlike by this factor. */
static void add_bounds(const struct device *d, struct place *place, double share)
{
    double factor = unlike(d);
    if (isinf(factor)) {
        place->high_uj += d->fresh_high_uj;
        return;
    }
    place->low_uj += share > 0 ? d->fresh_low_uj * share / (share + factor * (1 - share)) : 0;
    place->high_uj += d->fresh_high_uj * factor * share / (factor * share + 1 - share);
}

/* This tick of a host device, for who was there for so long of it. */
static void note_host(const struct wt_accounts *a, size_t i, struct place *place, double share,
                      int64_t stay_ns)
{
    const struct device *d = &a->devices[i];
    place->is_here = true;
    if (d->provenance == WT_PROV_UNKNOWN) {
        place->open_gap_ns += stay_ns;
        if (d->is_anew) { /* for good */
            hold_gap(a, i, place, place->open_gap_ns);
            place->open_gap_ns = 0;
        }
        return;
    }
    weaken(place, d->provenance);
    place->open_gap_ns = 0; /* what was drawn then is there now */
    if (d->fresh_uj > place->edge_uj)
        place->edge_uj = d->fresh_uj;
    if (d->is_lost) /* at some time of the gap, by whoever */
        place->high_uj += d->fresh_high_uj;
    else
        add_bounds(d, place, share);
}

static int split_host(struct wt_accounts *a, size_t i, int64_t now_ns, struct wt_error *err)
{
    struct device *d = &a->devices[i];
    uint64_t fresh_uj = d->is_lost ? 0 : d->fresh_uj, listed_ns = 0;
    size_t count = 0, k = 0;
    for (struct job *job = a->jobs; job; job = job->next)
        count++;
    struct wt_share *shares = calloc(count + 1, sizeof(*shares));
    if (!shares)
        return wt_fail(err, WT_E_NOMEM, "no memory to split %s", d->info->id);
    for (struct job *job = a->jobs; job; job = job->next, k++)
        listed_ns += shares[k].weight = job->is_closed || job->is_final ? 0 : job->delta_ns;
    uint64_t all_ns = listed_ns > a->busy_delta_ns ? listed_ns : a->busy_delta_ns;
    double all = all_ns ? (double)all_ns : 1;
    struct wt_attribution split;
    wt_attribute(WT_SHARE_BY_WEIGHT, fresh_uj, 0, all_ns, shares, count, &split);
    k = 0;
    for (struct job *job = a->jobs; job; job = job->next, k++) {
        if (job->is_closed || job->is_final)
            continue;
        struct stay stay = stay_of_job(a, job, now_ns);
        note_host(a, i, &job->places[i], (double)shares[k].weight / all, stay.to_ns - stay.from_ns);
        for (struct step *step = job->steps; step; step = step->next) {
            if (step->is_closed)
                continue;
            struct stay part = stay_of_step(a, job, step, now_ns);
            note_host(a, i, &step->places[i], (double)step->delta_ns / all,
                      part.to_ns - part.from_ns);
            if (all_ns)
                step->places[i].acc_uj +=
                    (uint64_t)((unsigned __int128)fresh_uj * step->delta_ns / all_ns);
        }
    }
    note_host(a, i, &a->nobody.places[i],
              all_ns ? (double)(all_ns - listed_ns) / (double)all_ns : 1, now_ns - before_ns(a));
    k = 0; /* last, as what is given is no longer fresh */
    for (struct job *job = a->jobs; job; job = job->next, k++)
        if (!job->is_closed && !job->is_final)
            give(a, i, job, shares[k].energy_uj);
    free(shares);
    return 0;
}

/* ---- steps on GPUs ---- */

/* One GPU of a step, by a window of its own, or by what its job got since it was not its alone. */
static void take_step(struct wt_accounts *a, const struct job *job, struct step *step, size_t i,
                      const struct wt_window_device *w, int64_t now_ns)
{
    const struct device *d = &a->devices[i];
    struct place *place = &step->places[i];
    struct stay part = stay_of_step(a, job, step, now_ns), all = stay_of_job(a, job, now_ns);
    place->is_here = true;
    place->is_shared |= d->was_shared;
    if (is_known(w)) {
        uint64_t uj = uj_of(w->energy.energy_j);
        weaken(place, w->energy.provenance);
        place->known_ns = part.to_ns;
        if (!place->is_shared && (uj > place->acc_uj || step->is_ended))
            place->acc_uj = uj;
        place->open_low_uj = place->is_shared ? 0 : w->energy.low_j * 1e6;
        place->open_high_uj = w->energy.high_j * 1e6;
    }
    if (!place->known_ns)
        place->known_ns = part.from_ns;
    place->open_gap_ns = part.to_ns - place->known_ns;
    uint64_t has_uj = job->places[i].acc_uj, had_uj = job->places[i].before_uj;
    if (!place->is_shared || all.to_ns <= all.from_ns)
        return;
    uint64_t moved_uj = has_uj > had_uj ? has_uj - had_uj : had_uj - has_uj;
    double share = (double)(part.to_ns - part.from_ns) / (double)(all.to_ns - all.from_ns);
    moved_uj = (uint64_t)llround((double)moved_uj * share);
    if (has_uj > had_uj)
        place->acc_uj += moved_uj;
    else if (step->is_ended)
        place->acc_uj -= moved_uj < place->acc_uj ? moved_uj : place->acc_uj;
}

/* Which devices its job holds is told only now. */
static void drop_others(const struct wt_accounts *a, const struct job *job, struct step *step)
{
    for (size_t i = 0; i < a->count; i++)
        if (is_gpu(&a->devices[i]) && !wt_accounts_holds(a, job, step, i))
            step->places[i] =
                (struct place){.weakest = step->places[i].weakest,
                               .is_known = step->places[i].is_known,
                               .is_here = step->places[i].is_here && !step->is_unwritten};
}

static void split_step(struct wt_accounts *a, const struct job *job, struct step *step,
                       int64_t now_ns)
{
    struct wt_window_result r = {0};
    struct wt_window_device w;
    if (job->is_moved)
        drop_others(a, job, step);
    if (step->gpu_count && !step->window) {
        int64_t t_ns = wt_accounts_mono_ns(a, step->begin_ns);
        a->meter.begin_at(a->meter.data, t_ns > a->base_begin_ns ? t_ns : a->base_begin_ns,
                          &step->window); /* without memory for one: at the next tick */
    }
    if (step->window && step->is_ended) {
        a->meter.end_at(a->meter.data, step->window, wt_accounts_mono_ns(a, step->end_ns));
        if (a->meter.result(a->meter.data, step->window, &r, NULL) < 0)
            a->meter.cancel(a->meter.data, step->window);
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!a->devices[i].is_split || !wt_accounts_holds(a, job, step, i))
            continue;
        const struct wt_window_device *seen = step->is_ended ? device_in(&r, i) : NULL;
        if (!step->is_ended && step->window &&
            a->meter.peek(a->meter.data, step->window, i, &w, NULL) == 0)
            seen = &w;
        take_step(a, job, step, i, seen, now_ns);
    }
    wt_window_result_done(&r);
}

static void split_steps(struct wt_accounts *a, int64_t now_ns)
{
    for (struct job *job = a->jobs; job; job = job->next)
        for (struct step *step = job->steps; step; step = step->next)
            if (!step->is_closed && !step->is_final && !job->is_final)
                split_step(a, job, step, now_ns);
}

/* ---- the devices ---- */

static int begin_base(struct wt_accounts *a, size_t i, int64_t t_ns, struct wt_error *err)
{
    struct device *d = &a->devices[i];
    d->base = 0;
    d->base_uj = d->device_uj;
    d->under_uj = d->over_uj = 0;
    d->known_ns = t_ns;
    int rc = a->meter.begin_at(a->meter.data, t_ns, &d->base);
    return rc < 0 ? wt_fail(err, rc, "no memory for a window of %s", d->info->id) : 0;
}

/* The bounds of what is fresh: what they have moved by with it. As far as they had been from D
 * before they were when that was told, so that a bound which trembles is not added up. */
static void bound_fresh(struct device *d, const struct wt_joules *energy)
{
    double told_uj = (double)(d->device_uj - d->base_uj), fresh_uj = (double)d->fresh_uj;
    double over_uj = fmax(0, energy->high_j * 1e6 - told_uj - d->over_uj);
    double under_uj = fmin(fresh_uj, fmax(0, told_uj - energy->low_j * 1e6 - d->under_uj));
    d->fresh_high_uj = fresh_uj + over_uj;
    d->fresh_low_uj = fresh_uj - under_uj;
    d->over_uj += over_uj;
    d->under_uj += under_uj;
}

/* What a device drew since the last tick. */
static int take_base(struct wt_accounts *a, size_t i, int64_t now_ns, struct wt_error *err)
{
    struct device *d = &a->devices[i];
    struct wt_window_device w;
    d->fresh_uj = 0;
    d->fresh_low_uj = d->fresh_high_uj = 0;
    d->is_anew = false;
    if (!d->base || a->meter.peek(a->meter.data, d->base, i, &w, NULL) < 0 || !is_known(&w)) {
        d->provenance = WT_PROV_UNKNOWN;
        d->is_lost = d->is_anew = true;
        if (d->base && now_ns - d->known_ns <= LOST_NS) {
            d->is_anew = false;
            return 0;
        }
        if (d->base)
            a->meter.cancel(a->meter.data, d->base);
        return begin_base(a, i, now_ns, err);
    }
    uint64_t total_uj = d->base_uj + uj_of(w.energy.energy_j);
    if (total_uj > d->device_uj) { /* a better estimate that is lower waits until it is passed */
        d->fresh_uj = total_uj - d->device_uj;
        d->device_uj = total_uj;
    }
    bound_fresh(d, &w.energy);
    d->provenance = w.energy.provenance;
    d->known_ns = now_ns;
    return 0;
}

int wt_accounts_split_begin(struct wt_accounts *a, struct wt_error *err)
{
    int64_t now_ns = wt_ctx_now_ns(a->ctx);
    int rc = 0;
    a->base_begin_ns = now_ns;
    a->split_unix_ns = a->meter.unix_ns(a->meter.data);
    for (size_t i = 0; i < a->count && rc == 0; i++) {
        if (!a->devices[i].is_split)
            continue;
        rc = begin_base(a, i, now_ns, err);
        if (rc == 0 && is_gpu(&a->devices[i]))
            rc = open_segment(a, i, now_ns, err);
    }
    return rc;
}

static int split_devices(struct wt_accounts *a, int64_t now_ns, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < a->count; i++) {
        struct device *d = &a->devices[i];
        if (!d->is_split)
            continue;
        int base_rc = take_base(a, i, now_ns, rc == 0 ? err : NULL);
        rc = rc < 0 ? rc : base_rc;
    }
    take_cpu_times(a);
    for (size_t i = 0; i < a->count; i++) {
        struct device *d = &a->devices[i];
        if (!d->is_split)
            continue;
        if (rc == 0)
            rc = is_gpu(d) ? split_gpu(a, i, now_ns, err) : split_host(a, i, now_ns, err);
        if (d->provenance != WT_PROV_UNKNOWN)
            d->is_lost = false;
        give(a, i, &a->nobody, d->fresh_uj); /* what is nobody else's, whatever happens */
    }
    return rc;
}

int wt_accounts_split(struct wt_accounts *a, struct wt_error *err)
{
    wait_for_ends(a, wt_ctx_now_ns(a->ctx));
    int64_t now_ns = wt_ctx_now_ns(a->ctx), unix_ns = a->meter.unix_ns(a->meter.data);
    int rc = split_devices(a, now_ns, err);
    if (rc < 0) /* what is new or has ended is so once more with the next tick */
        return rc;
    split_steps(a, now_ns);
    for (struct job *job = a->jobs; job; job = job->next) {
        job->is_new = job->is_moved = false;
        job->is_closed |= job->is_ended;
        for (struct step *step = job->steps; step; step = step->next) {
            step->is_new = false;
            step->is_closed |= step->is_ended;
        }
    }
    a->tick_ns = now_ns;
    a->split_unix_ns = unix_ns;
    return 0;
}

void wt_accounts_split_end(struct wt_accounts *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->devices[i].segment.holders);
}

/* ---- as a row ---- */

static uint64_t sum_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void wt_accounts_fill(const struct wt_accounts *a, size_t i, const struct place *place,
                      bool is_nobody, struct wt_job_row *row)
{
    const struct device *d = &a->devices[i];
    bool is_host = !is_gpu(d);
    double low_uj = place->low_uj + place->open_low_uj,
           high_uj = place->high_uj + place->open_high_uj;
    uint64_t gap_uj = place->gap_uj;
    bool is_bounded = !place->is_unbounded && place->carry_high_uj != UINT64_MAX;
    if (is_host) {
        low_uj -= (double)place->edge_uj;
        high_uj += (double)place->edge_uj;
    }
    if (place->open_gap_ns > 0 && d->power_max_mw)
        gap_uj = sum_sat(gap_uj, wt_energy_uj_from(d->power_max_mw, (uint64_t)place->open_gap_ns));
    else if (place->open_gap_ns > 0)
        is_bounded = false;
    uint64_t low = low_uj > 0 ? (uint64_t)low_uj : 0;
    uint64_t high = (uint64_t)ceil(high_uj);
    if (low > place->acc_uj)
        low = place->acc_uj;
    if (high < place->acc_uj)
        high = place->acc_uj;
    row->energy_uj = place->acc_uj + place->carry_uj;
    row->low_uj = low + place->carry_low_uj;
    row->high_uj = is_bounded ? sum_sat(sum_sat(high, place->carry_high_uj), gap_uj) : UINT64_MAX;
    row->gap_ns = place->gap_ns + place->open_gap_ns;
    row->provenance = place->is_known || place->has_carry ? place->weakest : WT_PROV_UNKNOWN;
    wt_text(row->rule, sizeof(row->rule), "%s",
            is_nobody          ? "rest"
            : is_host          ? "by CPU time"
            : place->is_shared ? "split evenly"
                               : "exclusive");
    wt_text(row->note, sizeof(row->note), "%s", place->note);
    if (!row->note[0] && place->is_shared && !is_nobody)
        wt_text(row->note, sizeof(row->note),
                "several jobs held it at once: by halves, as nothing tells whose work it was");
    else if (!row->note[0] && d->info->has_gpu && !is_nobody)
        wt_text(
            row->note, sizeof(row->note),
            "it sees the GPUs too, which CPU time says nothing of: any share of it is possible");
}
