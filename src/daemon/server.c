/* server: the loop. Nothing in it waits: devices have threads, the journal and the audit log have
 * theirs, a policy is read by another, and a peer that is not ready is left for a later round. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/systemd.h"
#include "daemon/server.h"

/* What wakes the loop, in epoll's data; connections have larger numbers. */
enum { WAKE_SOCKET = 0, WAKE_SCRIBE, WAKE_WORKERS, WAKE_SIGNAL, WAKE_RELOAD };
#define PIDFD_BIT (UINT64_C(1) << 63)

#define BURY_NS      (200 * WT_NS_PER_MS)
#define JOB_BURY_NS  WT_NS_PER_S
#define HUNG_LOOK_NS (50 * WT_NS_PER_MS)
#define STOP_NS      (10 * WT_NS_PER_S)
#define IDLE_NS      (60 * WT_NS_PER_S)

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

/* ---- the table's helpers ---- */

static void give_device(void *data, struct wt_device_job *job)
{
    wt_workers_give(((struct wt_server *)data)->workers, job);
}

static void give_journal(void *data, struct wt_journal_job *job)
{
    wt_scribe_give(((struct wt_server *)data)->scribe, job);
}

static uint64_t generation(void *data)
{
    return wt_scribe_generation(((struct wt_server *)data)->scribe);
}

static int64_t cap_of(void *data, uint32_t device, enum wt_knob knob)
{
    struct wt_server *s = data;
    return wt_policy_cap(s->policy, device, s->ids[device], knob);
}

static bool is_alive(void *data, const struct wt_lease_record *record)
{
    struct wt_server *s = data;
    return wt_lease_life(s->ctx, record, &s->self) != WT_OWNER_DEAD;
}

/* ---- the policy, read anew ---- */

/* Users and groups may come from a network: looked up by a thread that nobody waits for. */
struct reload {
    char path[4096];
    int fd;
    bool is_done;
    pthread_mutex_t lock;
    struct wt_policy *policy;
    struct wt_error err;
};

static void *reload_policy(void *data)
{
    struct reload *r = data;
    struct wt_policy *policy = NULL;
    struct wt_error err = {0};
    int rc = wt_policy_load(&policy, r->path, &err);
    pthread_mutex_lock(&r->lock);
    r->policy = rc < 0 ? NULL : policy;
    r->err = err;
    r->is_done = true;
    pthread_mutex_unlock(&r->lock);
    uint64_t one = 1;
    if (write(r->fd, &one, sizeof(one)) < 0) {
        /* The counter is full, so it is readable. */
    }
    return NULL;
}

static void start_reload(struct wt_server *s)
{
    pthread_t thread;
    pthread_attr_t attr;
    s->is_reload_due = s->reload != NULL;
    if (s->reload)
        return; /* that one may have read the file before it changed: once more after it */
    struct reload *r = calloc(1, sizeof(*r));
    if (!r)
        return;
    wt_text(r->path, sizeof(r->path), "%s", s->policy_path);
    r->fd = s->reload_fd;
    pthread_mutex_init(&r->lock, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    wt_systemd_tell("RELOADING=1\nMONOTONIC_USEC=%lld",
                    (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    if (pthread_create(&thread, &attr, reload_policy, r) == 0)
        s->reload = r;
    else
        free(r);
    pthread_attr_destroy(&attr);
}

static void say_policy(struct wt_server *s)
{
    unsigned line;
    const char *name;
    const char(*ids)[96] = (const char(*)[96])s->ids;
    size_t rules = wt_policy_rules(s->policy), caps = wt_policy_caps(s->policy);
    if (wt_policy_is_there(s->policy))
        wt_log(s->ctx, WT_LOG_INFO, "daemon", "%s: %zu rule%s, %zu site-cap%s", s->policy_path,
               rules, rules == 1 ? "" : "s", caps, caps == 1 ? "" : "s");
    else
        wt_log(s->ctx, WT_LOG_WARN, "daemon",
               "%s: there is no such file: root alone may set anything", s->policy_path);
    for (size_t i = 0;
         i < 16 && (name = wt_policy_no_device(s->policy, i, ids, s->device_count, &line)); i++)
        wt_log(s->ctx, WT_LOG_WARN, "daemon", "%s:%u: no device here is \"%s\"", s->policy_path,
               line, name);
    for (size_t i = 0; i < 16 && (name = wt_policy_unknown(s->policy, i, &line)); i++)
        wt_log(s->ctx, WT_LOG_WARN, "daemon", "%s:%u: there is no \"%s\"; the rule is for nobody",
               s->policy_path, line, name);
}

static void end_reload(struct wt_server *s)
{
    struct reload *r = s->reload;
    uint64_t count;
    if (read(s->reload_fd, &count, sizeof(count)) < 0 || !r)
        return;
    pthread_mutex_lock(&r->lock);
    bool is_done = r->is_done;
    pthread_mutex_unlock(&r->lock);
    if (!is_done)
        return;
    s->reload = NULL;
    if (r->policy && !wt_policy_is_there(r->policy) && wt_policy_is_there(s->policy)) {
        /* Half of an edit, more likely than a wish to have no caps. */
        r->err.code =
            wt_fail(&r->err, WT_E_NOTFOUND, "%s: there is no such file any more", r->path);
        wt_policy_free(r->policy);
        r->policy = NULL;
    }
    if (r->policy) {
        wt_policy_free(s->policy);
        s->policy = r->policy;
        say_policy(s);
        wt_peer_nodes(s->ctx, (const char(*)[96])s->ids, s->device_count, s->minors);
        wt_table_recap(s->table);
    } else {
        wt_log(s->ctx, WT_LOG_ERROR, "daemon", "%s; the policy before it stays in force",
               r->err.text);
    }
    wt_audit_write(s->audit, &(struct wt_audit_line){
                                 .event = "policy", .rc = r->err.code, .why = r->err.text});
    wt_systemd_tell("READY=1\nSTATUS=%s", r->err.code ? r->err.text : "serving, policy read anew");
    pthread_mutex_destroy(&r->lock);
    free(r);
    if (s->is_reload_due)
        start_reload(s);
}

/* ---- opening ---- */

static int watch(struct wt_server *s, int fd, uint64_t wake, struct wt_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = wake};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return wt_fail_errno(err, errno, "epoll_ctl");
}

static int open_events(struct wt_server *s, struct wt_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR2);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->reload_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll < 0 || s->signals < 0 || s->reload_fd < 0)
        return wt_fail_errno(err, errno, "epoll, signalfd or eventfd");
    int rc = watch(s, wt_scribe_fd(s->scribe), WAKE_SCRIBE, err);
    if (rc == 0)
        rc = watch(s, wt_workers_fd(s->workers), WAKE_WORKERS, err);
    if (rc == 0)
        rc = watch(s, s->signals, WAKE_SIGNAL, err);
    if (rc == 0)
        rc = watch(s, s->reload_fd, WAKE_RELOAD, err);
    return rc;
}

static int copy_devices(struct wt_server *s, const struct wt_server_options *o,
                        struct wt_error *err)
{
    s->device_count = o->device_count < WT_WIRE_DEVICES ? o->device_count : WT_WIRE_DEVICES;
    s->devices = calloc(s->device_count + 1, sizeof(*s->devices));
    s->ids = calloc(s->device_count + 1, sizeof(*s->ids));
    s->minors = calloc(s->device_count + 1, sizeof(*s->minors));
    s->allocations = calloc(1, sizeof(*s->allocations));
    if (!s->devices || !s->ids || !s->minors || !s->allocations)
        return wt_fail(err, WT_E_NOMEM, "no memory for the devices");
    memcpy(s->devices, o->devices, s->device_count * sizeof(*s->devices));
    for (size_t i = 0; i < s->device_count; i++)
        wt_text(s->ids[i], sizeof(s->ids[i]), "%s", s->devices[i].id);
    wt_peer_nodes(s->ctx, (const char(*)[96])s->ids, s->device_count, s->minors);
    if (o->run_dir) {
        char path[4200];
        wt_text(path, sizeof(path), "%s/jobs", o->run_dir);
        wt_allocations_load(s->allocations, path, (const char(*)[96])s->ids, s->device_count);
    }
    return 0;
}

static int open_table(struct wt_server *s, struct wt_error *err)
{
    struct wt_table_device devices[WT_WIRE_DEVICES];
    struct wt_table_ops ops = {give_device, give_journal, wt_handle_answer, generation, cap_of, s};
    for (size_t i = 0; i < s->device_count; i++) {
        devices[i] = (struct wt_table_device){.is_emulated = s->devices[i].is_emulated};
        wt_text(devices[i].id, sizeof(devices[i].id), "%s", s->ids[i]);
    }
    int rc = wt_table_new(&s->table, &ops, devices, s->device_count, err);
    struct wt_lease_record *records = NULL;
    size_t count = 0, parked = 0;
    if (rc == 0)
        rc = wt_scribe_read(s->scribe, &records, &count, err);
    if (rc == 0)
        rc = wt_scribe_start(s->scribe, err);
    if (rc == 0) {
        wt_table_tick(s->table, boot_now_ns(), wt_clock_now_ns());
        rc = wt_table_load(s->table, records, count, is_alive, s, &parked, err);
    }
    if (rc == 0 && count)
        wt_log(s->ctx, WT_LOG_INFO, "daemon", "%zu claims in the journal", count);
    if (rc == 0 && parked)
        wt_log(s->ctx, WT_LOG_WARN, "daemon",
               "%zu claims in the journal are on devices that are not here; they stay there",
               parked);
    s->has_unwatched = count > 0;
    free(records);
    return rc;
}

int wt_server_listen(struct wt_server *s, int socket, struct wt_error *err)
{
    /* One that systemd made waits, as it comes. */
    int flags = fcntl(socket, F_GETFL);
    if (flags < 0 || fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0)
        return wt_fail_errno(err, errno, "fcntl");
    s->socket = socket;
    return watch(s, socket, WAKE_SOCKET, err);
}

int wt_server_new(struct wt_server **ret_server, const struct wt_server_options *o,
                  struct wt_error *err)
{
    struct wt_server *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for a server");
    s->ctx = o->ctx;
    s->uid = (uint32_t)geteuid();
    s->socket = s->epoll = s->signals = s->reload_fd = -1;
    s->device_patience_ns = o->device_patience_ns;
    s->now_ns = wt_clock_now_ns();
    wt_text(s->policy_path, sizeof(s->policy_path), "%s", o->policy);
    int rc = wt_owner_self(&s->self, err);
    if (rc == 0)
        rc = wt_policy_load(&s->policy, s->policy_path, err);
    if (rc == 0)
        rc = copy_devices(s, o, err);
    if (rc == 0)
        rc = wt_audit_new(&s->audit, o->audit, err);
    if (rc == 0)
        rc = wt_scribe_new(&s->scribe, s->ctx, o->state_dir, err);
    if (rc == 0) {
        wt_audit_write(s->audit, &(struct wt_audit_line){.event = "start"});
        const char *ids[WT_WIRE_DEVICES];
        for (size_t i = 0; i < s->device_count; i++)
            ids[i] = s->ids[i];
        struct wt_workers_options workers = {.ctx = s->ctx,
                                             .ids = ids,
                                             .count = s->device_count,
                                             .source = o->source,
                                             .state_dir = o->state_dir};
        rc = wt_workers_new(&s->workers, &workers, err);
    }
    if (rc == 0)
        rc = open_table(s, err);
    if (rc == 0)
        rc = open_events(s, err);
    if (rc < 0) {
        wt_server_free(s);
        return rc;
    }
    say_policy(s);
    *ret_server = s;
    return 0;
}

void wt_server_free(struct wt_server *s)
{
    if (!s)
        return;
    wt_connections_done(s);
    bool is_quiet = wt_workers_free(s->workers, WT_NS_PER_S);
    wt_scribe_free(s->scribe);
    if (is_quiet)
        wt_table_free(s->table);
    wt_audit_free(s->audit);
    wt_policy_free(s->policy);
    free(s->allocations);
    free(s->devices);
    free(s->ids);
    free(s->minors);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->signals >= 0)
        close(s->signals);
    if (s->reload_fd >= 0 && !s->reload)
        close(s->reload_fd);
    free(s);
}

/* ---- the loop ---- */

static void take_signals(struct wt_server *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            wt_audit_reopen(s->audit);
            start_reload(s);
        } else if (info.ssi_signo == SIGUSR2) {
            s->is_leaving = true;
        } else if (!s->is_stopping) {
            s->is_stopping = true;
            epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->socket, NULL);
            wt_systemd_tell("STOPPING=1\nSTATUS=putting everything back");
            wt_table_stop(s->table);
        }
    }
}

static void take_jobs(struct wt_server *s)
{
    struct wt_device_job *device;
    while ((device = wt_workers_take(s->workers)))
        wt_table_device_done(s->table, device);
}

static void take_records(struct wt_server *s)
{
    struct wt_journal_job *journal;
    while ((journal = wt_scribe_take(s->scribe)))
        wt_table_journal_done(s->table, journal);
}

static void take_event(struct wt_server *s, const struct epoll_event *event)
{
    switch (event->data.u64) {
    case WAKE_SOCKET:
        wt_connections_accept(s);
        return;
    case WAKE_SCRIBE:
        take_records(s);
        return;
    case WAKE_WORKERS:
        take_jobs(s);
        return;
    case WAKE_SIGNAL:
        take_signals(s);
        return;
    case WAKE_RELOAD:
        end_reload(s);
        return;
    default:
        break;
    }
    struct wt_connection *c = wt_connection_find(s, event->data.u64 & ~PIDFD_BIT);
    if (!c)
        return;
    if (event->data.u64 & PIDFD_BIT || event->events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
        c->is_closing = true; /* the process has ended, whoever else holds its socket */
    else
        c->is_ready = true;
}

static void look_for_hung(struct wt_server *s)
{
    for (uint32_t i = 0; i < s->device_count; i++) {
        int64_t since_ns = wt_workers_busy_since_ns(s->workers, i);
        if (!since_ns || s->now_ns - since_ns < s->device_patience_ns ||
            wt_table_is_hung(s->table, i))
            continue;
        struct wt_error why;
        wt_fail(&why, WT_E_TIMEOUT, "%s: no answer from its driver in %.3g s", s->ids[i],
                wt_s_from_ns(s->now_ns - since_ns));
        wt_fix(&why, "see dmesg | grep -i -e NVRM -e Xid; a hung driver needs a reboot");
        wt_log(s->ctx, WT_LOG_ERROR, "daemon", "%s", why.text);
        wt_audit_write(s->audit,
                       &(struct wt_audit_line){
                           .event = "hung", .device = s->ids[i], .rc = why.code, .why = why.text});
        wt_table_hung(s->table, i, &why);
    }
}

static void bury_allocations(struct wt_server *s)
{
    for (size_t i = 0; i < s->allocations->count; i++) {
        const struct wt_allocation *a = &s->allocations->list[i];
        bool is_young = s->now_ns - a->begun_ns < WT_JOB_GRACE_NS &&
                        wt_job_told(s->ctx, a->job) != WT_JOB_TOLD_ENDED;
        if (is_young || wt_job_is_alive(s->ctx, a->job))
            continue;
        wt_allocations_remove(s->allocations, a->job, (const char(*)[96])s->ids, s->device_count);
        i--;
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int wait_ms(int64_t next_ns)
{
    int64_t left_ns = next_ns - wt_clock_now_ns();
    if (left_ns <= 0)
        return 0;
    return (int)(earlier(left_ns, IDLE_NS) / WT_NS_PER_MS + 1);
}

/* Says why it hangs up. */
static void say_goodbye(struct wt_server *s)
{
    struct wt_error why;
    if (wt_table_is_empty(s->table))
        wt_fail(&why, WT_E_STATE, "wattuned was stopped and has put everything back");
    else
        wt_fail(&why, WT_E_IO, "wattuned was stopped, and not everything could be put back");
    for (size_t i = 0; i < s->top; i++)
        if (s->connections[i])
            wt_connection_fail(s, s->connections[i], 0, &why);
}

static void tell_watchdog(struct wt_server *s, int64_t period_ns, int64_t *next_ns)
{
    if (!period_ns || s->now_ns < *next_ns)
        return;
    wt_systemd_tell("WATCHDOG=1\nSTATUS=%zu claims, %zu connections", wt_table_count(s->table),
                    s->connection_count);
    *next_ns = s->now_ns + period_ns / 3;
}

int wt_server_run(struct wt_server *s, struct wt_error *err)
{
    int64_t bury_ns = 0, watchdog_ns = 0, stop_ns = 0, job_ns = 0;
    int64_t period_ns = wt_systemd_watchdog_ns();
    wt_systemd_tell("READY=1\nSTATUS=serving %zu devices", s->device_count);
    for (;;) {
        s->now_ns = wt_clock_now_ns();
        int64_t next_ns = wt_table_tick(s->table, boot_now_ns(), s->now_ns);
        next_ns = earlier(next_ns, wt_connections_next(s));
        if (s->is_stopping && !stop_ns)
            stop_ns = s->now_ns + STOP_NS;
        if (s->is_leaving ||
            (s->is_stopping && (wt_table_is_empty(s->table) || s->now_ns >= stop_ns)))
            break;
        if (stop_ns)
            next_ns = earlier(next_ns, stop_ns);
        for (uint32_t i = 0; i < s->device_count; i++)
            if (wt_workers_busy_since_ns(s->workers, i))
                next_ns = earlier(next_ns, s->now_ns + HUNG_LOOK_NS);
        if (s->has_unwatched)
            next_ns = earlier(next_ns, bury_ns);
        if (s->allocations->count)
            next_ns = earlier(next_ns, job_ns);
        if (period_ns)
            next_ns = earlier(next_ns, watchdog_ns);

        struct epoll_event events[256];
        int n = epoll_wait(s->epoll, events, (int)WT_COUNTOF(events), wait_ms(next_ns));
        if (n < 0 && errno != EINTR)
            return wt_fail_errno(err, errno, "epoll_wait");
        s->now_ns = wt_clock_now_ns();
        for (int i = 0; i < n; i++)
            take_event(s, &events[i]);
        wt_connections_serve(s);
        wt_connections_sweep(s);
        look_for_hung(s);
        if (s->has_unwatched && s->now_ns >= bury_ns) {
            s->has_unwatched = wt_table_bury(s->table, is_alive, s) > 0;
            bury_ns = s->now_ns + BURY_NS;
        }
        if (s->now_ns >= job_ns) {
            bury_allocations(s);
            job_ns = s->now_ns + JOB_BURY_NS;
        }
        tell_watchdog(s, period_ns, &watchdog_ns);
    }
    wt_audit_write(s->audit, &(struct wt_audit_line){.event = s->is_leaving ? "leave" : "stop"});
    if (s->is_leaving) {
        wt_log(s->ctx, WT_LOG_INFO, "daemon", "leaving %zu claims to the daemon that comes next",
               wt_table_count(s->table));
        return 0;
    }
    say_goodbye(s);
    if (wt_table_is_empty(s->table))
        return 0;
    return wt_fail(err, WT_E_STATE, "%zu claims could not be put back; they are in the journal",
                   wt_table_count(s->table));
}
