/* shared: making, mapping, locking and repairing the shared file; processes, loads and faults. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emulator/shared.h"

#define MAGIC   UINT64_C(0x3155444d45544157)
#define VERSION 1u

/* NVML's process utilisation covers between 1/6 s and 1 s. */
#define UTIL_PERIOD_NS (200 * WT_NS_PER_MS)
#define SWEEP_NS       WT_NS_PER_S

/* A device has been at rest this long when its emulation starts: its sensors have their history. */
#define REST_NS (15 * WT_NS_PER_S)

/* The parts of a device that a change may touch and that redoing it would not rewrite alike. The
 * rings of samples, finished loads and kernels are written ahead of their counters only. */
static const struct {
    size_t offset, size;
} kept[] = {
    {offsetof(struct wt_shared_device, state), sizeof(struct wt_shared_state)},
    {offsetof(struct wt_shared_device, model), offsetof(struct wt_model, samples)},
    {offsetof(struct wt_shared_device, model) + offsetof(struct wt_model, counter_mj),
     offsetof(struct wt_model, done) - offsetof(struct wt_model, counter_mj)},
};
_Static_assert(offsetof(struct wt_model, samples) < offsetof(struct wt_model, counter_mj) &&
                   offsetof(struct wt_model, counter_mj) < offsetof(struct wt_model, loads) &&
                   offsetof(struct wt_model, loads) < offsetof(struct wt_model, done) &&
                   offsetof(struct wt_model, done) < offsetof(struct wt_model, kernels),
               "kept[] relies on the order of the model's rings");
_Static_assert(offsetof(struct wt_model, kernels) + sizeof(((struct wt_model *)NULL)->kernels) +
                       16 >
                   sizeof(struct wt_model),
               "nothing lies behind the kernels");
_Static_assert(offsetof(struct wt_model, counter_mj) <=
                   offsetof(struct wt_model, samples) + sizeof(((struct wt_model *)NULL)->samples) +
                       8,
               "nothing but the ring lies between samples and counter_mj");

static void keep(struct wt_shared_device *d)
{
    unsigned char *to = d->saved;
    for (size_t i = 0; i < WT_COUNTOF(kept); i++) {
        memcpy(to, (const unsigned char *)d + kept[i].offset, kept[i].size);
        to += kept[i].size;
    }
    atomic_store(&d->is_saved, 1);
}

static void put_back(struct wt_shared_device *d)
{
    const unsigned char *from = d->saved;
    for (size_t i = 0; i < WT_COUNTOF(kept); i++) {
        memcpy((unsigned char *)d + kept[i].offset, from, kept[i].size);
        from += kept[i].size;
    }
    atomic_store(&d->is_saved, 0);
}

/* splitmix64: one seed gives as many as are needed, well apart. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static size_t size_of(unsigned count)
{
    return sizeof(struct wt_shared_file) + count * sizeof(struct wt_shared_device);
}

static int fill_device(struct wt_shared_device *d, const struct wt_profile *p, uint64_t seed,
                       unsigned index, int64_t t_ns, struct wt_error *err)
{
    pthread_mutexattr_t attr;
    int errnum = pthread_mutexattr_init(&attr);
    if (!errnum)
        errnum = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (!errnum)
        errnum = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (!errnum)
        errnum = pthread_mutex_init(&d->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    if (errnum)
        return wt_fail_errno(err, errnum, "a lock for an emulated device");

    d->seed = mix(seed + index * UINT64_C(0x632be59bd9b4e019));
    uint64_t a = mix(d->seed ^ 1), b = mix(d->seed ^ 2);
    wt_text(d->profile, sizeof(d->profile), "%s", p->name);
    /* Version 8 of RFC 9562: made up by its maker. */
    wt_text(d->uuid, sizeof(d->uuid), "GPU-%08x-%04x-8%03x-%04x-%012llx", (unsigned)(a >> 32),
            (unsigned)(a >> 16) & 0xffffu, (unsigned)a & 0xfffu,
            0x8000u | ((unsigned)(b >> 48) & 0x3fffu),
            (unsigned long long)(b & UINT64_C(0xffffffffffff)));
    wt_text(d->serial, sizeof(d->serial), "%013llu",
            (unsigned long long)(mix(d->seed ^ 3) % UINT64_C(10000000000000)));
    d->state.next_load = 1;
    d->state.t_period_ns = d->state.t_procs_ns = t_ns;
    wt_model_init(&d->model, p, t_ns - REST_NS, d->seed);
    wt_model_advance(&d->model, p, t_ns);
    d->start_fj = d->model.energy_fj;
    return 0;
}

static int map(struct wt_shared *s, int fd, struct wt_error *err)
{
    void *at = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return wt_fail_errno(err, errno, "mapping the emulated devices");
    s->file = at;
    return 0;
}

static struct wt_shared *new_shared(void)
{
    struct wt_shared *s = calloc(1, sizeof(*s));
    if (s)
        s->loads_fd = -1;
    return s;
}

int wt_shared_create(struct wt_shared **ret_shared, const char *dir,
                     const struct wt_profile *const *profiles, unsigned count, const char *spec,
                     uint64_t seed, bool is_unprivileged, struct wt_error *err)
{
    char path[4096];
    int fd = -1, rc;
    struct wt_shared *s = new_shared();
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for an emulation");
    s->size = size_of(count);
    s->owner_uid = (uint32_t)geteuid();

    wt_text(path, sizeof(path), "%s/devices", dir);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }
    /* Room now, or a full disk would kill a client with SIGBUS later. */
    int errnum = posix_fallocate(fd, 0, (off_t)s->size);
    if (errnum) {
        rc = wt_fail_errno(err, errnum, "%s: room for %u emulated devices", path, count);
        goto out;
    }
    if ((rc = map(s, fd, err)) < 0)
        goto out;
    wt_text(path, sizeof(path), "%s/loads", dir);
    s->loads_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (s->loads_fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }

    struct wt_shared_file *f = s->file;
    f->version = VERSION;
    f->file_size = (uint32_t)s->size;
    f->device_count = count;
    f->owner_pid = (uint32_t)getpid();
    f->seed = seed;
    f->is_unprivileged = is_unprivileged;
    f->t_start_ns = wt_clock_now_ns();
    f->unix_start_ns = wt_clock_unix_ns();
    wt_text(f->spec, sizeof(f->spec), "%s", spec);
    for (unsigned i = 0; i < count; i++) {
        s->profiles[i] = profiles[i];
        rc = fill_device(&f->devices[i], profiles[i], seed, i, f->t_start_ns, err);
        if (rc < 0)
            goto out;
    }
    __atomic_store_n(&f->magic, MAGIC, __ATOMIC_SEQ_CST);
    *ret_shared = s;
    s = NULL;
    rc = 0;
out:
    if (fd >= 0)
        close(fd);
    wt_shared_close(s);
    return rc;
}

int wt_shared_open(struct wt_shared **ret_shared, const char *dir, struct wt_error *err)
{
    char path[4096];
    struct stat st;
    int rc = 0;
    struct wt_shared *s = new_shared();
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for an emulation");

    wt_text(path, sizeof(path), "%s/devices", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }
    s->size = (size_t)st.st_size;
    s->owner_uid = (uint32_t)st.st_uid;
    if (s->size < sizeof(struct wt_shared_file)) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: not a file of emulated devices", path);
        goto out;
    }
    if ((rc = map(s, fd, err)) < 0)
        goto out;
    const struct wt_shared_file *f = s->file;
    if (f->magic != MAGIC || f->version != VERSION || f->file_size != s->size ||
        f->device_count > WT_SHARED_DEVICES || size_of(f->device_count) != s->size) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: made by another version of Wattune", path);
        goto out;
    }
    for (unsigned i = 0; i < f->device_count; i++)
        if (!(s->profiles[i] = wt_profile_find(f->devices[i].profile))) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: no profile %s here", path, f->devices[i].profile);
            goto out;
        }
    wt_text(path, sizeof(path), "%s/loads", dir);
    s->loads_fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (s->loads_fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }
    *ret_shared = s;
    s = NULL;
out:
    if (fd >= 0)
        close(fd);
    wt_shared_close(s);
    return rc;
}

void wt_shared_close(struct wt_shared *s)
{
    if (!s)
        return;
    if (s->file)
        munmap(s->file, s->size);
    if (s->loads_fd >= 0)
        close(s->loads_fd);
    free(s);
}

/* ---- faults ---- */

int wt_shared_fault_add(struct wt_shared *s, const struct wt_fault *fault, struct wt_error *err)
{
    struct wt_shared_file *f = s->file;
    for (size_t i = 0; i < WT_SHARED_FAULTS; i++) {
        struct wt_shared_fault *slot = &f->faults[i];
        if (atomic_load(&slot->generation))
            continue;
        for (size_t k = 0; k < WT_COUNTOF(slot->calls); k++)
            atomic_store(&slot->calls[k], 0);
        slot->fault = *fault;
        slot->t_planted_ns = wt_clock_now_ns();
        atomic_store(&slot->generation, atomic_fetch_add(&f->generation, 1) + 1);
        return 0;
    }
    return wt_fail(err, WT_E_FULL, "no room for more than %d faults", WT_SHARED_FAULTS);
}

void wt_shared_fault_clear(struct wt_shared *s)
{
    for (size_t i = 0; i < WT_SHARED_FAULTS; i++)
        atomic_store(&s->file->faults[i].generation, 0);
}

static bool is_in_force(const struct wt_shared_fault *slot, int64_t t_ns)
{
    const struct wt_fault *f = &slot->fault;
    int64_t since = t_ns - slot->t_planted_ns - f->at_ns;
    return !f->is_by_call && since >= 0 && since < f->span_ns;
}

bool wt_shared_fault_lasts(struct wt_shared *s, unsigned place, uint32_t generation)
{
    struct wt_shared_fault *slot = &s->file->faults[place];
    return atomic_load(&slot->generation) == generation &&
           (slot->fault.is_by_call || is_in_force(slot, wt_clock_now_ns()));
}

bool wt_shared_is_lost(struct wt_shared *s, unsigned device)
{
    int64_t now = wt_clock_now_ns();
    for (size_t i = 0; i < WT_SHARED_FAULTS; i++) {
        struct wt_shared_fault *slot = &s->file->faults[i];
        const struct wt_fault *f = &slot->fault;
        if (!atomic_load(&slot->generation) || f->kind != WT_FAULT_LOST || f->function[0] ||
            (f->gpu >= 0 && (unsigned)f->gpu != device))
            continue;
        /* Counted in NVML calls: lost for programs too once it is for NVML. */
        if (f->is_by_call) {
            uint64_t n = atomic_load(&slot->calls[device]);
            if (n >= f->at_call && n - f->at_call < f->call_span)
                return true;
        } else if (is_in_force(slot, now)) {
            return true;
        }
    }
    return false;
}

uint32_t wt_shared_faults(struct wt_shared *s, const char *function, unsigned call, int device)
{
    uint32_t met = 0;
    int64_t now = -1;
    size_t counter = device >= 0 ? (size_t)device : WT_SHARED_DEVICES;
    for (unsigned i = 0; i < WT_SHARED_FAULTS; i++) {
        struct wt_shared_fault *slot = &s->file->faults[i];
        if (!atomic_load(&slot->generation) ||
            !wt_fault_is_about(&slot->fault, function, call, device))
            continue;
        uint64_t n = atomic_fetch_add(&slot->calls[counter], 1) + 1;
        if (now < 0)
            now = wt_clock_now_ns();
        if (slot->fault.is_by_call
                ? n >= slot->fault.at_call && n - slot->fault.at_call < slot->fault.call_span
                : is_in_force(slot, now))
            met |= UINT32_C(1) << i;
    }
    return met;
}

/* ---- advancing ---- */

static struct wt_shared_proc *find_proc(struct wt_shared_device *d, uint32_t pid)
{
    for (size_t i = 0; i < WT_SHARED_PROCS; i++)
        if (d->state.procs[i].pid == pid)
            return &d->state.procs[i];
    return NULL;
}

static struct wt_shared_pending *find_pending(struct wt_shared_device *d, uint64_t id)
{
    for (size_t i = 0; i < WT_COUNTOF(d->state.pending); i++)
        if (d->state.pending[i].id == id)
            return &d->state.pending[i];
    return NULL;
}

struct wt_shared_pending *wt_shared_pending_free(struct wt_shared_device *d)
{
    return find_pending(d, 0);
}

uint64_t wt_shared_reserved_bytes(const struct wt_profile *p)
{
    return p->mem_bytes / 100 >> 20 << 20; /* assumed; boards show between 0.5 and 2 % */
}

/* Time between two moments that a load computed. */
static int64_t overlap(const struct wt_model_load *l, int64_t from_ns, int64_t to_ns)
{
    int64_t begin = l->t_start_ns + l->gap_ns;
    if (begin < from_ns)
        begin = from_ns;
    return to_ns > begin ? to_ns - begin : 0;
}

/* Writes down the loads that have finished. One who is killed here leaves a row that will be
 * written again: readers drop the second of one id. */
static void harvest(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = &s->file->devices[i];
    for (; d->state.done_seen < d->model.done_count; d->state.done_seen++) {
        const struct wt_model_load *l = &d->model.done[d->state.done_seen % WT_MODEL_DONE];
        struct wt_shared_pending *p = find_pending(d, l->id);
        if (!p)
            continue;
        struct wt_shared_proc *proc = find_proc(d, p->pid);
        if (proc) {
            int64_t busy = overlap(l, d->state.t_period_ns, l->t_done_ns);
            proc->period_busy_ns += busy;
            proc->busy_ns += busy;
        }
        struct wt_shared_load row = {
            .id = l->id,
            .group = p->group,
            .device = i,
            .pid = p->pid,
            .t_start_ns = l->t_start_ns,
            .t_done_ns = l->t_done_ns,
            .energy_fj = l->energy_fj,
        };
        memcpy(row.label, p->label, sizeof(p->label));
        /* On a full disk the row is missing from the truth's loads; the device's joules stay. */
        if (write(s->loads_fd, &row, sizeof(row)) < 0)
            p->pid = 0;
        p->id = 0;
    }
}

/* Closes a period of process utilisation. */
static void close_period(struct wt_shared_device *d, int64_t t_ns)
{
    int64_t span = t_ns - d->state.t_period_ns;
    if (d->model.is_running && d->model.load_head != d->model.load_tail) {
        const struct wt_model_load *l = &d->model.loads[d->model.load_head % WT_MODEL_LOADS];
        const struct wt_shared_pending *p = find_pending(d, l->id);
        struct wt_shared_proc *proc = p ? find_proc(d, p->pid) : NULL;
        if (proc) {
            int64_t busy = overlap(l, d->state.t_period_ns, t_ns);
            proc->period_busy_ns += busy;
            proc->busy_ns += busy;
        }
    }
    uint64_t util = d->model.util_ppm;
    for (size_t i = 0; i < WT_SHARED_PROCS; i++) {
        struct wt_shared_proc *proc = &d->state.procs[i];
        if (!proc->pid || proc->period_busy_ns <= 0)
            continue;
        uint32_t sm = (uint32_t)((proc->period_busy_ns * 100 + span / 2) / span);
        struct wt_shared_util *u = &d->utils[d->state.util_count % WT_SHARED_UTILS];
        *u = (struct wt_shared_util){
            .t_ns = t_ns,
            .pid = proc->pid,
            .sm_percent = sm > 100 ? 100 : sm,
            .mem_percent = util ? (uint32_t)(sm * d->model.mem_util_ppm / util) : 0,
        };
        if (u->mem_percent > 100)
            u->mem_percent = 100;
        d->state.util_count++;
        proc->period_busy_ns = 0;
    }
    d->state.t_period_ns = t_ns;
}

static bool is_worked_on(const struct wt_shared_device *d)
{
    if (d->model.load_head != d->model.load_tail)
        return true;
    for (size_t i = 0; i < WT_SHARED_PROCS; i++)
        if (d->state.procs[i].pid && d->state.procs[i].period_busy_ns > 0)
            return true;
    return false;
}

/* To t_ns, stopping at each period's end while somebody works. */
static void advance(struct wt_shared *s, unsigned i, int64_t t_ns)
{
    struct wt_shared_device *d = &s->file->devices[i];
    while (d->state.t_period_ns + UTIL_PERIOD_NS <= t_ns && is_worked_on(d)) {
        int64_t end = d->state.t_period_ns + UTIL_PERIOD_NS;
        wt_model_advance(&d->model, s->profiles[i], end);
        harvest(s, i);
        close_period(d, end);
    }
    wt_model_advance(&d->model, s->profiles[i], t_ns);
    harvest(s, i);
    if (d->state.t_period_ns + UTIL_PERIOD_NS <= t_ns)
        d->state.t_period_ns = t_ns - (t_ns - d->state.t_period_ns) % UTIL_PERIOD_NS;
}

/* Faults that begin at a time and need to know what the sensors showed just then. */
static void advance_over_faults(struct wt_shared *s, unsigned i, int64_t t_ns)
{
    struct wt_shared_device *d = &s->file->devices[i];
    for (;;) {
        int64_t first = INT64_MAX;
        unsigned which = 0;
        for (unsigned k = 0; k < WT_SHARED_FAULTS; k++) {
            const struct wt_shared_fault *slot = &s->file->faults[k];
            uint32_t generation = atomic_load(&slot->generation);
            const struct wt_fault *f = &slot->fault;
            if (!generation || d->marks[k].generation == generation || f->is_by_call ||
                (f->kind != WT_FAULT_RESET && f->kind != WT_FAULT_JUMP &&
                 f->kind != WT_FAULT_FROZEN) ||
                (f->gpu >= 0 && (unsigned)f->gpu != i))
                continue;
            if (slot->t_planted_ns + f->at_ns <= t_ns && slot->t_planted_ns + f->at_ns < first) {
                first = slot->t_planted_ns + f->at_ns;
                which = k;
            }
        }
        if (first == INT64_MAX)
            break;
        advance(s, i, first);
        wt_shared_view(s, i, &d->marks[which].view);
        d->marks[which].generation = atomic_load(&s->file->faults[which].generation);
    }
    advance(s, i, t_ns);
}

struct wt_shared_device *wt_shared_lock(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = &s->file->devices[i];
    if (pthread_mutex_lock(&d->lock) == EOWNERDEAD) {
        if (atomic_load(&d->is_saved))
            put_back(d);
        pthread_mutex_consistent(&d->lock);
    }
    keep(d);
    int64_t now = wt_clock_now_ns();
    advance_over_faults(s, i, now);
    atomic_store(&d->is_saved, 0);
    if (now - d->state.t_procs_ns >= SWEEP_NS)
        wt_shared_sweep(s, i);
    return d;
}

void wt_shared_change(struct wt_shared_device *d)
{
    keep(d);
}

void wt_shared_unlock(struct wt_shared_device *d)
{
    atomic_store(&d->is_saved, 0);
    pthread_mutex_unlock(&d->lock);
}

void wt_shared_view(const struct wt_shared *s, unsigned i, struct wt_view *v)
{
    const struct wt_model *m = &s->file->devices[i].model;
    const struct wt_profile *p = s->profiles[i];
    *v = (struct wt_view){.t_ns = m->t_ns};
    v->has_plain = wt_model_power_plain(m, p, m->t_ns, &v->plain_mw);
    v->has_instant = wt_model_power_instant(m, p, m->t_ns, &v->instant_mw);
    v->has_average = wt_model_power_average(m, p, m->t_ns, &v->average_mw);
    v->has_energy = wt_model_counter(m, p, &v->energy_mj);
    wt_model_status(m, p, &v->status);
}

/* ---- processes ---- */

static void count_contexts(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = &s->file->devices[i];
    uint32_t count = 0;
    for (size_t k = 0; k < WT_SHARED_PROCS; k++)
        count += d->state.procs[k].pid != 0;
    if (count != d->model.contexts)
        wt_model_set_contexts(&d->model, s->profiles[i], count);
}

void wt_shared_leave(struct wt_shared *s, unsigned i, struct wt_shared_proc *proc)
{
    *proc = (struct wt_shared_proc){.pid = 0};
    count_contexts(s, i);
}

void wt_shared_sweep(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = &s->file->devices[i];
    wt_shared_change(d);
    for (size_t k = 0; k < WT_SHARED_PROCS; k++) {
        struct wt_shared_proc *proc = &d->state.procs[k];
        uint64_t start;
        if (proc->pid &&
            (wt_fs_process_start(proc->pid, &start, NULL) < 0 || start != proc->start_ticks))
            wt_shared_leave(s, i, proc);
    }
    d->state.t_procs_ns = d->model.t_ns;
}

struct wt_shared_proc *wt_shared_self(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = &s->file->devices[i];
    uint32_t pid = (uint32_t)getpid();
    uint64_t start;
    if (wt_fs_process_start(pid, &start, NULL) < 0)
        return NULL;
    struct wt_shared_proc *proc = find_proc(d, pid);
    if (proc && proc->start_ticks == start) {
        wt_shared_change(d);
        return proc;
    }
    wt_shared_sweep(s, i);
    proc = find_proc(d, 0);
    if (!proc)
        return NULL;
    proc->start_ticks = start;
    proc->t_attach_ns = d->model.t_ns;
    proc->pid = pid;
    count_contexts(s, i);
    return proc;
}

uint64_t wt_shared_unix_us(const struct wt_shared *s, int64_t t_ns)
{
    return (uint64_t)((s->file->unix_start_ns + (t_ns - s->file->t_start_ns)) / 1000);
}

int64_t wt_shared_from_unix_us(const struct wt_shared *s, uint64_t us)
{
    if (us > (uint64_t)INT64_MAX / 1000)
        return INT64_MAX;
    return (int64_t)us * 1000 - s->file->unix_start_ns + s->file->t_start_ns;
}
