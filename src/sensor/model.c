/* model: power of the processor and the memory where nothing measures them, as in most cloud VMs:
 * estimated from how busy the threads are, and from the memory's size. Every reading has the state
 * WT_MODELED, and its band is in the device's traits.
 *
 * The load comes from /proc/stat: between two readings, the share of thread time that was neither
 * idle nor waiting nor taken by the hypervisor for someone else. It is the whole machine's, whoever
 * caused it; a cgroup's limits are not looked at. The counters tick at 100 Hz, so power is renewed
 * every 80 ms or later and repeated in between; the first reading waits for that long after
 * opening. Counters that go back, stand still or run faster than time are an error and no number;
 * "iowait" alone may fall, the kernel says so (Documentation/filesystems/proc.rst).
 *
 * A package is modelled by itself where topology/physical_package_id tells them apart. In a VM that
 * means nothing (some hypervisors show each thread as a package), and on an ARM board it is
 * clusters, so these have one device. The clock is read where cpufreq is; in a VM "cpu MHz" is a
 * constant and is not looked at.
 *
 * What it makes of the load: cpu_model.h, docs/model.md. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sensor/cpu_model.h"
#include "sensor/machine.h"
#include "sensor/model.h"

#define PERIOD_NS     (100 * WT_NS_PER_MS) /* between readings, as the window takes it */
#define RENEW_NS      (80 * WT_NS_PER_MS)
#define FREQ_NS       (500 * WT_NS_PER_MS) /* a clock is a file a thread */
#define FREQ_MOST     16                   /* threads of a package whose clock is read */
#define PACKAGES_MOST 64
#define FILE_MOST     (8u << 20)

/* Thread time since boot, in ticks. */
struct ticks {
    uint64_t busy, idle, iowait, steal;
    unsigned threads;
};

struct package {
    int id; /* physical_package_id */
    struct ticks last;
    int64_t last_ns;
    bool has_power;
    struct wt_power power;
    double freq; /* share of the highest; NaN: unknown */
    int64_t freq_ns;
    struct wt_cpu_model model;
};

struct model {
    struct wt_source source; /* first */
    struct wt_ctx *ctx;
    pthread_mutex_t lock;
    struct package *packages; /* the first of source.devices */
    size_t package_count;
    int *package_of; /* by thread: index into packages */
    size_t thread_room;
    struct wt_power_band dram;
};

static void model_close(struct wt_source *source)
{
    struct model *m = (struct model *)source;
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m->packages);
    free(m->package_of);
    free(m->source.devices);
    free(m);
}

/* A whole file of unknown length. Owned by the caller. */
static int read_file(const struct wt_ctx *ctx, const char *path, char **ret_text,
                     struct wt_error *err)
{
    for (size_t size = 64u << 10;; size *= 4) {
        char *text = malloc(size);
        if (!text)
            return wt_fail(err, WT_E_NOMEM, "no memory for %s", path);
        int rc = wt_fs_read(ctx, path, text, size, err);
        if (rc == 0) {
            *ret_text = text;
            return 0;
        }
        free(text);
        if (rc != WT_E_FORMAT || size >= FILE_MOST)
            return rc;
    }
}

/* ---- load ---- */

/* "cpu3 1 2 3 4 5 6 7 8 9 10": its thread's number and ticks. False: another line. */
static bool parse_thread(const char *line, unsigned *ret_thread, struct ticks *ret_ticks)
{
    unsigned thread;
    int used = 0;
    unsigned long long user, nice, system, idle, iowait = 0, irq = 0, softirq = 0, steal = 0;
    /* "cpu " is the sum of all. */
    if (line[3] < '0' || line[3] > '9' || sscanf(line, "cpu%u%n", &thread, &used) != 1 ||
        line[used] != ' ')
        return false;
    int n = sscanf(line + used, "%llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
                   &idle, &iowait, &irq, &softirq, &steal);
    if (n < 4)
        return false;
    *ret_thread = thread;
    *ret_ticks = (struct ticks){user + nice + system + irq + softirq, idle, iowait, steal, 1};
    return true;
}

/* The ticks of one package, or with package < 0 of all threads. */
static int read_ticks(const struct model *m, int package, struct ticks *ret_ticks,
                      struct wt_error *err)
{
    char *text;
    int rc = read_file(m->ctx, "/proc/stat", &text, err);
    if (rc < 0)
        return rc;
    struct ticks sum = {0};
    for (char *line = text; line && strncmp(line, "cpu", 3) == 0;
         line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        unsigned thread;
        struct ticks t;
        if (!parse_thread(line, &thread, &t))
            continue;
        if (package >= 0 && (thread >= m->thread_room || m->package_of[thread] != package))
            continue;
        sum.busy += t.busy;
        sum.idle += t.idle;
        sum.iowait += t.iowait;
        sum.steal += t.steal;
        sum.threads++;
    }
    free(text);
    if (!sum.threads)
        return wt_fail(err, WT_E_FORMAT, "%s/proc/stat: has no ticks of %s", wt_fs_root(m->ctx),
                       package < 0 ? "any thread" : "this package's threads");
    *ret_ticks = sum;
    return 0;
}

/* The share of thread time that was busy from one moment to another. */
static int load_between(const struct ticks *a, const struct ticks *b, int64_t span_ns,
                        bool is_recorded, double *ret_load, struct wt_error *err)
{
    if (a->threads != b->threads)
        return wt_fail(err, WT_E_STATE, "/proc/stat: %u threads became %u", a->threads, b->threads);
    if (b->busy < a->busy || b->idle < a->idle || b->steal < a->steal)
        return wt_fail(err, WT_E_FORMAT, "/proc/stat: a counter of thread time went back");
    double busy = (double)(b->busy - a->busy);
    double rest = (double)(b->idle - a->idle) + (double)(b->steal - a->steal) +
                  (b->iowait > a->iowait ? (double)(b->iowait - a->iowait) : 0);
    /* All threads together get so many ticks in this time; each may be off by one or two. */
    double due = wt_s_from_ns(span_ns) * (double)sysconf(_SC_CLK_TCK) * a->threads;
    /* A recording stands still: what it knows is the mean since that machine was started. */
    if (is_recorded && busy + rest <= 0) {
        double all = (double)b->busy + (double)b->idle + (double)b->iowait + (double)b->steal;
        *ret_load = all > 0 ? (double)b->busy / all : 0;
        return 0;
    }
    if (busy + rest < 0.3 * due - 2.0 * a->threads || busy + rest <= 0)
        return wt_fail(err, WT_E_FORMAT, "/proc/stat: thread time stands still");
    if (busy + rest > 2 * due + 5.0 * a->threads)
        return wt_fail(err, WT_E_FORMAT, "/proc/stat: thread time runs faster than time");
    *ret_load = busy / (busy + rest);
    return 0;
}

/* ---- clock ---- */

static double read_freq(const struct model *m, int package)
{
    uint64_t sum_khz = 0, most_khz = 0;
    unsigned count = 0;
    for (size_t i = 0; i < m->thread_room && count < FREQ_MOST; i++) {
        char path[128];
        uint64_t now_khz, max_khz;
        if (m->package_of[i] != package)
            continue;
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%zu/cpufreq/scaling_cur_freq", i);
        if (wt_fs_read_u64(m->ctx, path, &now_khz, NULL) < 0)
            return NAN;
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%zu/cpufreq/cpuinfo_max_freq", i);
        if (wt_fs_read_u64(m->ctx, path, &max_khz, NULL) < 0)
            return NAN;
        sum_khz += now_khz;
        most_khz += max_khz;
        count++;
    }
    return most_khz ? (double)sum_khz / (double)most_khz : NAN;
}

/* ---- opening ---- */

/* Which packages there are, in the order of their numbers, and which threads are whose. */
static int find_packages(struct model *m, bool is_whole, struct wt_error *err)
{
    char *text;
    int rc = read_file(m->ctx, "/proc/stat", &text, err);
    if (rc < 0)
        return rc;
    unsigned threads[4096];
    size_t count = 0;
    for (char *line = text; line && strncmp(line, "cpu", 3) == 0;
         line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        struct ticks t;
        if (count < WT_COUNTOF(threads) && parse_thread(line, &threads[count], &t) &&
            threads[count] < 1u << 16)
            count++;
    }
    free(text);
    if (!count)
        return wt_fail(err, WT_E_FORMAT, "%s/proc/stat: has no thread's time", wt_fs_root(m->ctx));
    for (size_t i = 0; i < count; i++)
        if (threads[i] >= m->thread_room)
            m->thread_room = threads[i] + 1;
    m->package_of = malloc(m->thread_room * sizeof(*m->package_of));
    m->packages = calloc(PACKAGES_MOST, sizeof(*m->packages));
    if (!m->package_of || !m->packages)
        return wt_fail(err, WT_E_NOMEM, "no memory for the power model");
    for (size_t i = 0; i < m->thread_room; i++)
        m->package_of[i] = -1;

    for (size_t i = 0; i < count; i++) {
        char path[96];
        uint64_t id = 0;
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/physical_package_id",
                threads[i]);
        if (!is_whole && (wt_fs_read_u64(m->ctx, path, &id, NULL) < 0 || id > INT32_MAX))
            is_whole = true; /* "-1", or no such file */
        size_t k = 0;
        while (k < m->package_count && m->packages[k].id != (int)id)
            k++;
        if (k == PACKAGES_MOST)
            is_whole = true;
        if (!is_whole && k == m->package_count)
            m->packages[m->package_count++].id = (int)id;
        m->package_of[threads[i]] = (int)k;
    }
    if (is_whole) {
        memset(m->packages, 0, PACKAGES_MOST * sizeof(*m->packages));
        m->package_count = 1;
        for (size_t i = 0; i < count; i++)
            m->package_of[threads[i]] = 0;
    }
    return 0;
}

static void describe_package(struct model *m, size_t k)
{
    struct wt_device_info *info = &m->source.devices[k];
    const struct package *p = &m->packages[k];
    info->kind = WT_DEVICE_CPU;
    info->index = (unsigned)k;
    info->can = WT_CAN_POWER;
    info->is_modeled = true;
    wt_text(info->id, sizeof(info->id), "cpu-package-%zu", k);
    wt_text(info->name, sizeof(info->name), "CPU, modeled: %.70s", p->model.name);
    wt_text(info->source, sizeof(info->source), "model");
    info->traits.power_period_ns = info->traits.power_window_ns = PERIOD_NS;
    wt_model_traits(&info->traits, p->model.low_share, p->model.low_mw, p->model.high_share,
                    p->model.high_mw);
}

static void describe_dram(struct model *m, uint64_t mem_bytes)
{
    struct wt_device_info *info = &m->source.devices[m->package_count];
    info->kind = WT_DEVICE_DRAM;
    info->can = WT_CAN_POWER;
    info->is_modeled = true;
    info->mem_bytes = mem_bytes;
    wt_text(info->id, sizeof(info->id), "dram");
    wt_text(info->name, sizeof(info->name), "memory, modeled: %.0f GiB",
            (double)mem_bytes / 1073741824.0);
    wt_text(info->source, sizeof(info->source), "model");
    info->traits.power_period_ns = info->traits.power_window_ns = PERIOD_NS;
    wt_model_traits(&info->traits, 0, m->dram.mid_mw - m->dram.low_mw, 0,
                    m->dram.high_mw - m->dram.mid_mw);
}

static bool is_server(const struct wt_cpu_model *model)
{
    return strstr(model->family, "server") != NULL;
}

/* MemTotal; 0: not to be had. */
static uint64_t mem_total(const struct wt_ctx *ctx)
{
    char *text;
    if (read_file(ctx, "/proc/meminfo", &text, NULL) < 0)
        return 0;
    const char *line = strstr(text, "MemTotal:");
    unsigned long long kib = 0;
    if (!line || sscanf(line, "MemTotal: %llu kB", &kib) != 1 || kib > UINT64_C(1) << 40)
        kib = 0;
    free(text);
    return kib * 1024;
}

static int open_packages(struct model *m, struct wt_findings *notes, struct wt_error *err)
{
    struct wt_machine machine;
    wt_machine_look(m->ctx, &machine);
    struct wt_cpu_identity identity = {
        .family = machine.family, .model = machine.model, .is_virtual = machine.is_virtual};
    wt_text(identity.name, sizeof(identity.name), "%s", machine.name);
    wt_text(identity.vendor, sizeof(identity.vendor), "%s", machine.vendor);
    int rc = find_packages(m, identity.is_virtual || *machine.board, err);
    if (rc < 0)
        return rc;
    uint64_t mem_bytes = mem_total(m->ctx);
    m->source.count = m->package_count + (mem_bytes > 0);
    m->source.devices = calloc(m->source.count, sizeof(*m->source.devices));
    if (!m->source.devices)
        return wt_fail(err, WT_E_NOMEM, "no memory for the power model");
    for (size_t k = 0; k < m->package_count; k++) {
        struct package *p = &m->packages[k];
        rc = read_ticks(m, (int)k, &p->last, err);
        if (rc < 0)
            return rc;
        p->last_ns = wt_ctx_now_ns(m->ctx);
        p->freq = NAN;
        identity.threads_seen = p->last.threads;
        identity.sockets = 1;
        wt_cpu_model_find(&identity, &p->model);
        describe_package(m, k);
        rc = wt_findings_add(notes, WT_FINDING_OK, "model", m->source.devices[k].id, "power model",
                             "", "%s", p->model.source);
        if (rc < 0)
            return wt_fail(err, rc, "no memory for the power model");
    }
    if (mem_bytes) {
        m->dram = wt_dram_model_power(mem_bytes, is_server(&m->packages[0].model));
        describe_dram(m, mem_bytes);
    }
    return 0;
}

static int model_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                      const struct wt_devices_options *options, struct wt_findings *notes,
                      struct wt_error *err)
{
    (void)options;
    struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return wt_fail(err, WT_E_NOMEM, "no memory for the power model");
    m->source.ops = &wt_model_ops;
    m->ctx = ctx;
    pthread_mutex_init(&m->lock, NULL);
    int rc = open_packages(m, notes, err);
    if (rc == 0) {
        *ret_source = &m->source;
        m = NULL;
    }
    model_close(m ? &m->source : NULL);
    return rc;
}

/* ---- reading ---- */

static int read_package(struct model *m, size_t k, struct wt_power *ret_power, struct wt_error *err)
{
    struct package *p = &m->packages[k];
    int64_t now_ns = wt_ctx_now_ns(m->ctx);
    if (now_ns - p->last_ns < RENEW_NS) {
        if (p->has_power) {
            *ret_power = p->power;
            return 0;
        }
        m->ctx->clock.sleep_until_ns(m->ctx->clock.data, p->last_ns + RENEW_NS);
    }
    struct ticks ticks;
    int rc = read_ticks(m, (int)k, &ticks, err);
    if (rc < 0)
        return rc;
    now_ns = wt_ctx_now_ns(m->ctx);
    double load = 0;
    rc = load_between(&p->last, &ticks, now_ns - p->last_ns, wt_tree_is_recorded(m->ctx), &load,
                      err);
    p->last = ticks;
    p->last_ns = now_ns;
    p->has_power = rc == 0;
    if (rc < 0)
        return rc;
    if (!isnan(p->freq) || p->freq_ns == 0) {
        if (p->freq_ns == 0 || now_ns - p->freq_ns >= FREQ_NS) {
            p->freq = read_freq(m, (int)k);
            p->freq_ns = now_ns;
        }
    }
    p->power =
        (struct wt_power){wt_cpu_model_power(&p->model, load, p->freq).mid_mw, now_ns, WT_MODELED};
    *ret_power = p->power;
    return 0;
}

static int model_read(struct wt_source *source, size_t k, unsigned what,
                      struct wt_reading *ret_reading, struct wt_error *err)
{
    struct model *m = (struct model *)source;
    int rc = 0;
    if (what & ~(unsigned)WT_READ_POWER)
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s is modeled: it has power and nothing else",
                     source->devices[k].id);
    if (!(what & WT_READ_POWER))
        return rc;
    int failed = 0;
    pthread_mutex_lock(&m->lock);
    ret_reading->t_before_ns = wt_ctx_now_ns(m->ctx);
    if (k < m->package_count)
        failed = read_package(m, k, &ret_reading->power, rc < 0 ? NULL : err);
    else
        ret_reading->power =
            (struct wt_power){m->dram.mid_mw, ret_reading->t_before_ns, WT_MODELED};
    ret_reading->t_after_ns = wt_ctx_now_ns(m->ctx);
    pthread_mutex_unlock(&m->lock);
    return rc < 0 ? rc : failed;
}

const struct wt_source_ops wt_model_ops = {
    .name = "model",
    .open = model_open,
    .read = model_read,
    .close = model_close,
};
