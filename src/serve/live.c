/* live: see wattune/live.h. Two windows are open all the time, one since this began and one since
 * midnight; each tick reads the energies so far off them, and what the meter knows of now. What may
 * hang (a daemon, a driver's list of processes) is asked by threads of their own (watch.h). */
#include "wattune/live.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "report/words.h"
#include "serve/watch.h"

#define HISTORY_NS  (600 * WT_NS_PER_S) /* of the meter: ticks are asked for at once */
#define STALE_NS    (5 * WT_NS_PER_S)   /* a status that is older is none */
#define STEP_MOST_S 3.0                 /* between two ticks; more was not looked at */
#define RETRY_NS    (5 * WT_NS_PER_S)   /* until a job store is opened again */
#define JOBS_MOST   64
#define DROPPED     1024 /* jobs not listed that are told from new ones */

struct wt_live {
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_meter *meter;
    struct wt_accounts *accounts; /* NULL: none, or their store cannot be opened now */
    struct wt_accounts_options accounts_options;
    bool keeps_jobs;
    int64_t t_open_ns; /* when that is tried again */
    struct wt_lease_watch *leases;
    struct wt_process_watch *processes;
    uint64_t since, today; /* windows */
    int64_t t_tick_ns, next_midnight_ns;
    struct wt_run names; /* what the devices are called */
    struct wt_live_problem *found;
    size_t found_count;
    size_t jobs_max;
    uint32_t dropped[DROPPED];
    size_t dropped_count;

    pthread_mutex_t lock; /* of the state, whose leases and processes are the watches' */
    struct wt_live_state state;
};

/* ---- days ---- */

/* The midnight (local time) that a time lies behind, or the one after it. */
static int64_t midnight_ns(int64_t unix_ns, int days)
{
    time_t t = (time_t)(unix_ns / WT_NS_PER_S);
    struct tm tm;
    localtime_r(&t, &tm);
    tm.tm_mday += days;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    return (int64_t)mktime(&tm) * WT_NS_PER_S;
}

static void begin_today(struct wt_live *l, int64_t now_ns, int64_t unix_ns)
{
    uint64_t window;
    int64_t midnight = midnight_ns(unix_ns, 0);
    if (midnight < l->state.start_unix_ns)
        midnight = l->state.start_unix_ns; /* the clock was set */
    if (wt_meter_begin_at(l->meter, "today", now_ns - (unix_ns - midnight), &window) < 0)
        return; /* tried again at the next tick */
    wt_meter_cancel(l->meter, l->today);
    l->today = window;
    l->state.today_unix_ns = midnight;
    l->next_midnight_ns = midnight_ns(unix_ns, 1);
}

/* ---- a device ---- */

static enum wt_provenance provenance_of(const struct wt_live *l, const struct wt_device_info *info)
{
    if (!(info->can & (WT_CAN_ENERGY | WT_CAN_POWER)))
        return WT_PROV_UNKNOWN;
    if (info->is_emulated)
        return WT_PROV_EMULATED;
    if (wt_ctx_recording(l->ctx))
        return WT_PROV_REPLAYED;
    if (info->is_modeled)
        return WT_PROV_MODELED;
    return info->can & WT_CAN_ENERGY ? WT_PROV_COUNTER : WT_PROV_SAMPLED;
}

/* What was read between two knots is a guess until the next: a later look may know of less. What is
 * told stays. */
static void take_energy(struct wt_joules *told, const struct wt_joules *seen)
{
    double least_j = isfinite(told->energy_j) ? told->energy_j : 0;
    double kept_j = fmax(least_j, seen->energy_j);
    if (seen->provenance == WT_PROV_UNKNOWN) {
        told->low_j = told->high_j = NAN;
        told->provenance = WT_PROV_UNKNOWN; /* energy_j stays, to go on from */
        return;
    }
    *told = *seen;
    told->energy_j = kept_j;
    told->high_j = fmax(kept_j, seen->high_j);
}

static void take_throttle(struct wt_live_device *d, double step_s)
{
    if (!(d->status.has & WT_HAS_THROTTLE))
        return;
    d->has_throttle = true;
    for (size_t i = 0; i < WT_COUNTOF(d->throttle_s); i++)
        if (d->status.throttle & (UINT64_C(1) << i))
            d->throttle_s[i] += step_s;
}

static void take_device(struct wt_live *l, size_t i, const struct wt_window_result *since,
                        const struct wt_window_result *today, int64_t now_ns, double step_s)
{
    struct wt_live_device *d = &l->state.devices[i];
    const struct wt_window_device *w = &since->devices[i];
    double gap_s = 0;
    take_energy(&d->energy, &w->energy);
    d->today = today->devices[i].energy;
    if (w->energy.provenance != WT_PROV_UNKNOWN && w->energy.provenance < d->provenance)
        d->provenance = w->energy.provenance;
    wt_text(d->note, sizeof(d->note), "%s", w->note);
    d->power_w = wt_meter_power_w(l->meter, i);
    d->status = (struct wt_status){0};
    wt_meter_status(l->meter, i, now_ns - STALE_NS, &d->status);
    take_throttle(d, step_s);
    for (size_t g = 0; g < since->gap_count; g++)
        if (since->gaps[g].device == i)
            gap_s += wt_s_from_ns(since->gaps[g].to_ns - since->gaps[g].from_ns);
    d->gap_s = fmax(d->gap_s, gap_s);
    memmove(d->history_w, d->history_w + 1, sizeof(d->history_w) - sizeof(d->history_w[0]));
    d->history_w[WT_LIVE_HISTORY - 1] = (float)d->power_w;
}

/* ---- jobs ---- */

static int compare_sums(const void *a, const void *b)
{
    const struct wt_job_sum *x = *(const struct wt_job_sum *const *)a;
    const struct wt_job_sum *y = *(const struct wt_job_sum *const *)b;
    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    return (x->first->job > y->first->job) - (x->first->job < y->first->job);
}

static void count_dropped(struct wt_live *l, struct wt_job_sum **sums, size_t count)
{
    uint32_t now[DROPPED] = {0};
    size_t now_count = 0;
    for (size_t i = l->jobs_max; i < count; i++) {
        bool is_known = false;
        for (size_t k = 0; k < l->dropped_count && !is_known; k++)
            is_known = l->dropped[k] == sums[i]->first->job;
        l->state.jobs_dropped_total += !is_known;
        if (now_count < DROPPED)
            now[now_count++] = sums[i]->first->job;
    }
    memcpy(l->dropped, now, now_count * sizeof(*now));
    l->dropped_count = now_count;
}

static void take_job(const struct wt_job_sum *sum, const struct wt_job_row *rows, size_t row_count,
                     int64_t unix_ns, struct wt_live_job *ret)
{
    const struct wt_job_row *r = sum->first;
    *ret = (struct wt_live_job){
        .job = r->job, .elapsed_s = wt_s_from_ns(unix_ns - r->begin_ns), .energy = sum->energy};
    ret->cap_w = r->cap_set_mw ? wt_w_from_mw(r->cap_set_mw) : NAN;
    for (size_t i = 0; i < row_count; i++)
        ret->device_count += rows[i].job == r->job && !rows[i].step[0] &&
                             rows[i].kind == WT_DEVICE_GPU && rows[i].is_counted;
    wt_text(ret->user, sizeof(ret->user), "%s", r->user);
    wt_text(ret->account, sizeof(ret->account), "%s", r->account);
    wt_text(ret->partition, sizeof(ret->partition), "%s", r->partition);
    wt_text(ret->name, sizeof(ret->name), "%s", r->name);
}

/* Which are listed must not change from second to second: the oldest are. With the lock held. */
static int take_jobs(struct wt_live *l, const struct wt_job_row *rows, size_t row_count,
                     int64_t unix_ns)
{
    struct wt_job_sum *sums = NULL;
    size_t sum_count = 0, count = 0;
    int rc = wt_job_sums(rows, row_count, WT_JOB_BY_JOB, false, &sums, &sum_count, NULL);
    struct wt_job_sum **sorted = calloc(sum_count + 1, sizeof(struct wt_job_sum *));
    for (size_t i = 0; rc == 0 && sorted && i < sum_count; i++)
        if (!sums[i].is_idle && sums[i].first && sums[i].first->job)
            sorted[count++] = &sums[i];
    if (sorted)
        qsort(sorted, count, sizeof(struct wt_job_sum *), compare_sums);
    size_t listed = count < l->jobs_max ? count : l->jobs_max;
    struct wt_live_job *jobs = sorted ? calloc(listed + 1, sizeof(*jobs)) : NULL;
    if (!jobs) {
        rc = WT_E_NOMEM;
    } else if (rc == 0) {
        for (size_t i = 0; i < listed; i++)
            take_job(sorted[i], rows, row_count, unix_ns, &jobs[i]);
        free(l->state.jobs);
        l->state.jobs = jobs;
        l->state.job_count = listed;
        l->state.jobs_dropped = count - listed;
        count_dropped(l, sorted, count);
        jobs = NULL;
    }
    free(jobs);
    free(sorted);
    free(sums);
    return rc;
}

static void take_accounted(struct wt_live *l, const struct wt_account_device *list, size_t count)
{
    for (size_t i = 0; i < l->state.device_count; i++)
        for (size_t k = 0; k < count; k++)
            if (strcmp(list[k].id, l->state.devices[i].info->id) == 0) {
                l->state.devices[i].jobs_j = wt_j_from_uj(list[k].jobs_uj);
                l->state.devices[i].idle_j = wt_j_from_uj(list[k].idle_uj);
            }
}

/* What is wrong with the jobs, among the problems. */
static void say_jobs(struct wt_live *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    wt_text(l->state.accounts.problem, sizeof(l->state.accounts.problem), "%.199s", text);
    pthread_mutex_unlock(&l->lock);
}

/* A store that fails must not stop the metrics: it is tried again. What only a person can mend by
 * other options is an error. */
static int open_accounts(struct wt_live *l, bool is_start, struct wt_error *err)
{
    struct wt_error why = {0};
    int rc =
        wt_accounts_new(&l->accounts, l->ctx, l->devices, l->meter, &l->accounts_options, &why);
    bool is_faulty = rc == WT_E_DENIED || rc == WT_E_FORMAT || rc == WT_E_IO || rc == WT_E_FULL ||
                     rc == WT_E_NOTFOUND || rc == WT_E_BUSY;
    if (rc < 0 && is_start && !is_faulty) {
        *err = why;
        return rc;
    }
    l->t_open_ns = wt_ctx_now_ns(l->ctx) + RETRY_NS;
    if (rc < 0 &&
        strncmp(why.text, l->state.accounts.problem, sizeof(l->state.accounts.problem) - 1) != 0)
        wt_log(l->ctx, WT_LOG_WARN, "jobs", "no energy of jobs is kept: %s%s%s", why.text,
               why.fix[0] ? "; " : "", why.fix);
    say_jobs(l, rc < 0 ? why.text : "");
    return 0;
}

/* What goes wrong is in the status and in the log. */
static void tick_accounts(struct wt_live *l, int64_t unix_ns)
{
    struct wt_job_row *rows = NULL;
    struct wt_account_device *devices = NULL;
    struct wt_accounts_status status;
    size_t count = 0, device_count = 0;
    if (l->keeps_jobs && !l->accounts && wt_ctx_now_ns(l->ctx) >= l->t_open_ns)
        open_accounts(l, false, NULL);
    if (!l->accounts)
        return;
    wt_accounts_tick(l->accounts, NULL);
    int rc = wt_accounts_list(l->accounts, false, &rows, &count, NULL);
    if (rc == 0)
        rc = wt_accounts_devices(l->accounts, &devices, &device_count, NULL);
    wt_accounts_status(l->accounts, &status);
    pthread_mutex_lock(&l->lock);
    l->state.has_jobs = true;
    l->state.accounts = status;
    if (rc == 0)
        rc = take_jobs(l, rows, count, unix_ns);
    if (rc == 0)
        take_accounted(l, devices, device_count);
    pthread_mutex_unlock(&l->lock);
    if (rc < 0) /* those of the last tick stay */
        say_jobs(l, "no memory for the jobs of a state");
    free(rows);
    free(devices);
}

/* ---- a tick ---- */

static void take_sums(struct wt_live *l, const struct wt_window_result *since,
                      const struct wt_window_result *today)
{
    struct wt_live_state *s = &l->state;
    take_energy(&s->energy, &since->total);
    s->today = today->total;
    wt_device_title_of(&l->names, since->weakest, s->weakest, sizeof(s->weakest));
    bool is_any = false;
    s->power_w = 0;
    for (size_t i = 0; i < s->device_count; i++)
        if (s->devices[i].info->is_counted) {
            s->power_w += s->devices[i].power_w; /* unknown stays so */
            is_any = true;
        }
    if (!is_any)
        s->power_w = NAN;
}

int wt_live_tick(struct wt_live *l, struct wt_error *err)
{
    int64_t now_ns = wt_ctx_now_ns(l->ctx), unix_ns = wt_clock_unix_ns();
    double step_s = fmin(STEP_MOST_S, wt_s_from_ns(now_ns - l->t_tick_ns));
    struct wt_window_result since = {0}, today = {0};
    pthread_mutex_lock(&l->lock);
    if (unix_ns >= l->next_midnight_ns)
        begin_today(l, now_ns, unix_ns);
    pthread_mutex_unlock(&l->lock);
    int rc = wt_meter_peek(l->meter, l->since, &since, err);
    if (rc == 0)
        rc = wt_meter_peek(l->meter, l->today, &today, err);
    if (rc == 0) {
        pthread_mutex_lock(&l->lock);
        l->t_tick_ns = now_ns;
        l->state.unix_ns = unix_ns;
        for (size_t i = 0; i < l->state.device_count; i++)
            take_device(l, i, &since, &today, now_ns, step_s);
        take_sums(l, &since, &today);
        wt_meter_cost(l->meter, &l->state.cost);
        pthread_mutex_unlock(&l->lock);
        tick_accounts(l, unix_ns);
    }
    wt_window_result_done(&since);
    wt_window_result_done(&today);
    return rc;
}

/* ---- making ---- */

static void keep_problem(struct wt_live *l, const struct wt_finding *f)
{
    struct wt_live_problem *p = &l->found[l->found_count++];
    char title[120];
    wt_text(title, sizeof(title), "%s", f->device[0] ? f->device : f->source);
    for (size_t i = 0; i < l->names.device_count; i++)
        if (strcmp(l->names.devices[i].id, f->device) == 0)
            wt_device_title(&l->names, i, title, sizeof(title));
    wt_text(p->what, sizeof(p->what), "%s: %s", title, f->what);
    wt_text(p->why, sizeof(p->why), "%s", f->value);
    wt_text(p->fix, sizeof(p->fix), "%s", f->fix);
}

/* What a machine has and does not show; that it has no cards of some maker is no problem. */
static bool is_problem(const struct wt_finding *f)
{
    return f->kind != WT_FINDING_OK && !f->is_part && strcmp(f->source, "knob") != 0 &&
           strcmp(f->source, "store") != 0 &&
           (f->kind != WT_FINDING_MISSING || f->fix[0] || f->device[0]);
}

static int name_devices(struct wt_live *l)
{
    struct wt_window_result first;
    int rc = wt_meter_peek(l->meter, l->since, &first, NULL);
    if (rc < 0)
        return rc;
    rc = wt_run_set_window(&l->names, l->devices, &first);
    struct wt_live_state *s = &l->state;
    s->devices = calloc(first.device_count + 1, sizeof(*s->devices));
    for (size_t i = 0; rc == 0 && s->devices && i < first.device_count; i++) {
        struct wt_live_device *d = &s->devices[i];
        d->info = wt_devices_info(l->devices, i);
        wt_device_title(&l->names, i, d->title, sizeof(d->title));
        wt_device_detail(&l->names, i, d->detail, sizeof(d->detail));
        d->provenance = provenance_of(l, d->info);
        d->energy = d->today = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
        d->power_w = d->jobs_j = d->idle_j = NAN;
        for (size_t k = 0; k < WT_LIVE_HISTORY; k++)
            d->history_w[k] = NAN;
        s->device_count++;
        if (d->info->is_emulated)
            wt_text(s->unreal, sizeof(s->unreal), "emulated");
        else if (!s->unreal[0] && wt_ctx_recording(l->ctx))
            wt_text(s->unreal, sizeof(s->unreal), "replayed");
    }
    wt_window_result_done(&first);
    return s->devices ? rc : WT_E_NOMEM;
}

static int keep_problems(struct wt_live *l, const struct wt_finding *findings, size_t count)
{
    l->found = calloc(count + 1, sizeof(*l->found));
    for (size_t i = 0; l->found && i < count; i++)
        if (is_problem(&findings[i]))
            keep_problem(l, &findings[i]);
    return l->found ? 0 : WT_E_NOMEM;
}

static int start(struct wt_live *l, const struct wt_live_options *o, struct wt_error *err)
{
    struct wt_finding *findings = NULL;
    size_t count = 0;
    int rc = wt_survey(l->ctx, l->devices, &findings, &count, err); /* before the meter reads */
    const struct wt_meter_options sampling = {.period_ns = o->period_ns, .history_ns = HISTORY_NS};
    if (rc == 0)
        rc = wt_meter_new(&l->meter, l->ctx, l->devices, &sampling, err);
    int64_t unix_ns = wt_clock_unix_ns();
    l->state.start_unix_ns = l->state.today_unix_ns = l->state.unix_ns = unix_ns;
    l->next_midnight_ns = midnight_ns(unix_ns, 1);
    l->t_tick_ns = wt_ctx_now_ns(l->ctx);
    if (rc == 0 && (wt_meter_begin(l->meter, "since", &l->since) < 0 ||
                    wt_meter_begin_at(l->meter, "today", l->t_tick_ns, &l->today) < 0 ||
                    name_devices(l) < 0 || keep_problems(l, findings, count) < 0))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a live view");
    free(findings);
    bool is_emulated = l->state.device_count && l->state.devices[0].info->is_emulated;
    if (rc == 0)
        rc = wt_lease_watch_new(&l->leases, l->ctx, is_emulated, err);
    if (rc == 0 && o->has_processes)
        rc = wt_process_watch_new(&l->processes, l->ctx, l->devices, err);
    if (rc == 0 && o->accounts) {
        l->keeps_jobs = true;
        l->accounts_options = *o->accounts;
        rc = open_accounts(l, true, err);
    }
    l->state.has_jobs = l->accounts;
    return rc;
}

int wt_live_new(struct wt_live **ret_live, struct wt_ctx *ctx, struct wt_devices *devices,
                const char *emulation, const struct wt_live_options *options, struct wt_error *err)
{
    static const struct wt_live_options defaults;
    const struct wt_live_options *o = options ? options : &defaults;
    struct wt_live *l = calloc(1, sizeof(*l));
    if (!l)
        return wt_fail(err, WT_E_NOMEM, "no memory for a live view");
    pthread_mutex_init(&l->lock, NULL);
    l->ctx = ctx;
    l->devices = devices;
    l->jobs_max = o->jobs_max ? o->jobs_max : JOBS_MOST;
    struct wt_live_state *s = &l->state;
    s->energy = s->today = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    s->power_w = NAN;
    s->is_daemon_partial = geteuid() != 0;
    if (gethostname(s->host, sizeof(s->host) - 1) < 0)
        s->host[0] = '\0';
    wt_text(s->emulation, sizeof(s->emulation), "%s", emulation ? emulation : "");
    int rc = start(l, o, err);
    if (rc < 0)
        wt_live_free(l);
    else
        *ret_live = l;
    return rc;
}

void wt_live_free(struct wt_live *l)
{
    if (!l)
        return;
    wt_accounts_free(l->accounts);
    wt_lease_watch_free(l->leases);
    wt_process_watch_free(l->processes);
    wt_meter_free(l->meter);
    wt_run_done(&l->names);
    wt_live_state_done(&l->state);
    free(l->found);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- handing it out ---- */

static void *copy_of(const void *from, size_t count, size_t size)
{
    void *to = malloc(count ? count * size : 1);
    if (to && count)
        memcpy(to, from, count * size);
    return to;
}

/* Leases by the names that devices have here. */
static void name_leases(struct wt_live_state *s)
{
    for (size_t i = 0; i < s->lease_count; i++)
        for (size_t d = 0; d < s->device_count; d++)
            if (strcmp(s->leases[i].title, s->devices[d].info->id) == 0) {
                s->leases[i].device = d;
                wt_text(s->leases[i].title, sizeof(s->leases[i].title), "%.95s",
                        s->devices[d].title);
                break;
            }
}

/* What was found at the start, and what cannot be measured now. */
static int list_problems(const struct wt_live *l, struct wt_live_state *s)
{
    s->problems = calloc(l->found_count + s->device_count + 2, sizeof(*s->problems));
    if (!s->problems)
        return WT_E_NOMEM;
    for (size_t i = 0; i < s->device_count; i++) {
        const struct wt_live_device *d = &s->devices[i];
        struct wt_live_problem *p = &s->problems[s->problem_count];
        if (d->energy.provenance != WT_PROV_UNKNOWN || d->info->is_part ||
            s->unix_ns == s->start_unix_ns)
            continue;
        wt_text(p->what, sizeof(p->what), "%s: energy", d->title);
        wt_text(p->why, sizeof(p->why), "%s", d->note[0] ? d->note : "unknown");
        s->problem_count++;
    }
    if (l->keeps_jobs && (s->accounts.problem[0] || s->accounts.central_problem[0])) {
        struct wt_live_problem *p = &s->problems[s->problem_count++];
        wt_text(p->what, sizeof(p->what), "jobs");
        wt_text(p->why, sizeof(p->why), "%s",
                s->accounts.problem[0] ? s->accounts.problem : s->accounts.central_problem);
    }
    memcpy(s->problems + s->problem_count, l->found, l->found_count * sizeof(*l->found));
    s->problem_count += l->found_count;
    return 0;
}

int wt_live_state(struct wt_live *l, struct wt_live_state *ret_state, struct wt_error *err)
{
    struct wt_live_state s;
    pthread_mutex_lock(&l->lock);
    s = l->state;
    s.devices = copy_of(l->state.devices, s.device_count, sizeof(*s.devices));
    s.jobs = copy_of(l->state.jobs, s.job_count, sizeof(*s.jobs));
    pthread_mutex_unlock(&l->lock);
    s.leases = NULL;
    s.processes = NULL;
    s.problems = NULL;
    int rc = s.devices && s.jobs ? wt_lease_watch_copy(l->leases, &s) : WT_E_NOMEM;
    if (rc == 0 && l->processes)
        rc = wt_process_watch_copy(l->processes, &s);
    if (rc == 0)
        rc = list_problems(l, &s);
    if (rc < 0) {
        wt_live_state_done(&s);
        return wt_fail(err, rc, "no memory for a live state");
    }
    name_leases(&s);
    *ret_state = s;
    return 0;
}

void wt_live_state_done(struct wt_live_state *s)
{
    free(s->devices);
    free(s->leases);
    free(s->processes);
    free(s->jobs);
    free(s->problems);
    *s = (struct wt_live_state){0};
}
