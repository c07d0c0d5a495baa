/* metrics: a state in Prometheus' text format or in OpenMetrics. Base units; what is unknown is
 * absent. docs/serve.md has a row for each FAMILY here, held to it by tests/test_serve_docs.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/live.h"

enum type { GAUGE, COUNTER, INFO };

struct family {
    const char *name; /* as in Prometheus' format */
    const char *unit; /* its last word, or "" */
    enum type type;
    const char *help;
};

#define FAMILY(id, name, unit, type, help)                                                         \
    static const struct family id = {"wattune_" name, unit, type, help}
#define PROCESS(id, name, unit, type, help)                                                        \
    static const struct family id = {"process_" name, unit, type, help}

/* clang-format off */
FAMILY(build_info, "build_info", "", INFO, "Version of Wattune.");
FAMILY(device_info, "device_info", "", INFO, "What a device is; counted says whether its energy is in that of the node.");
FAMILY(energy, "energy_joules_total", "joules", COUNTER, "Energy of a device since wattune serve started.");
FAMILY(energy_low, "energy_lower_bound_joules", "joules", GAUGE, "Lower end of the 95 % interval of wattune_energy_joules_total.");
FAMILY(energy_high, "energy_upper_bound_joules", "joules", GAUGE, "Upper end of the 95 % interval of wattune_energy_joules_total.");
FAMILY(used, "attributed_energy_joules_total", "joules", COUNTER, "Energy of a device by its use: of Slurm jobs, or of nobody (idle).");
FAMILY(power, "power_watts", "watts", GAUGE, "Power of a device as its sensor shows it.");
FAMILY(limit, "power_limit_watts", "watts", GAUGE, "Power limit that the device obeys.");
FAMILY(temperature, "temperature_celsius", "celsius", GAUGE, "Temperature of a device.");
FAMILY(frequency, "clock_hertz", "hertz", GAUGE, "Clock of a device: of its cores, or of its memory.");
FAMILY(utilization, "utilization_ratio", "ratio", GAUGE, "Share of time in which a device, or its memory, was busy.");
FAMILY(memory_used, "memory_used_bytes", "bytes", GAUGE, "Memory of a device in use.");
FAMILY(memory_size, "memory_size_bytes", "bytes", GAUGE, "Memory of a device.");
FAMILY(throttle, "throttle_seconds_total", "seconds", COUNTER, "Time in which a device was held back, by reason, seen once a second.");
FAMILY(gap, "gap_seconds_total", "seconds", COUNTER, "Time in which a device was not measured; its bounds hold what it may have drawn.");
FAMILY(node_energy, "node_energy_joules_total", "joules", COUNTER, "Energy of the devices that are counted, each joule once.");
FAMILY(node_low, "node_energy_lower_bound_joules", "joules", GAUGE, "Lower end of the 95 % interval of wattune_node_energy_joules_total.");
FAMILY(node_high, "node_energy_upper_bound_joules", "joules", GAUGE, "Upper end of the 95 % interval of wattune_node_energy_joules_total.");
FAMILY(node_power, "node_power_watts", "watts", GAUGE, "Power of the devices that are counted.");
FAMILY(daemon_up, "wattuned_up", "", GAUGE, "Whether wattuned answers; what it holds is known only then.");
FAMILY(leases, "leases", "", GAUGE, "Leases that wattuned holds.");
FAMILY(unrestored, "leases_unrestored", "", GAUGE, "Settings that are still to be put back: their device refuses.");
FAMILY(lease_power, "lease_power_watts", "watts", GAUGE, "Power limit that leases hold on a device: the strictest of them.");
FAMILY(lease_clock, "lease_clock_hertz", "hertz", GAUGE, "Highest clock that leases hold on a device, of its cores or its memory.");
FAMILY(jobs, "jobs", "", GAUGE, "Slurm jobs that run here.");
FAMILY(jobs_dropped, "jobs_dropped_total", "", COUNTER, "Slurm jobs that ran beyond the number that is listed, and had no series of their own then.");
FAMILY(job_energy, "job_energy_joules_total", "joules", COUNTER, "Energy of a running Slurm job on this node.");
FAMILY(job_low, "job_energy_lower_bound_joules", "joules", GAUGE, "Lower end of the interval of wattune_job_energy_joules_total.");
FAMILY(job_high, "job_energy_upper_bound_joules", "joules", GAUGE, "Upper end of the interval of wattune_job_energy_joules_total.");
FAMILY(job_cap, "job_power_cap_watts", "watts", GAUGE, "Power cap of a running Slurm job, as its cards took it.");
FAMILY(jobs_unsent, "jobs_unsent_rows", "", GAUGE, "Rows of jobs that the central store does not have yet.");
FAMILY(reads, "sensor_reads_total", "", COUNTER, "Reads of sensors.");
FAMILY(failures, "sensor_read_failures_total", "", COUNTER, "Reads of sensors that failed.");
FAMILY(sampler, "sampler_cpu_seconds_total", "seconds", COUNTER, "CPU time of the threads that read sensors.");
PROCESS(process_cpu, "cpu_seconds_total", "seconds", COUNTER, "CPU time of wattune serve, the threads that read sensors included.");
PROCESS(process_start, "start_time_seconds", "seconds", GAUGE, "When wattune serve started, in seconds since 1970.");
PROCESS(process_memory, "resident_memory_bytes", "bytes", GAUGE, "Memory of wattune serve.");
/* clang-format on */

struct writer {
    FILE *out;
    bool is_openmetrics;
    const struct family *said;
};

#define LABELS 768

/* A label's value: its quotes, backslashes and ends of lines escaped. */
static void put_label(char *labels, const char *name, const char *value)
{
    size_t n = strlen(labels);
    n += (size_t)snprintf(labels + n, LABELS - n, "%s%s=\"", n ? "," : "", name);
    for (; *value && n + 4 < LABELS; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            labels[n++] = '\\';
        labels[n++] = *value == '\n' ? 'n' : *value;
    }
    labels[n++] = '"';
    labels[n] = '\0';
}

/* OpenMetrics names a family without what its samples end in. */
static size_t family_length(const struct writer *w, const struct family *f)
{
    size_t n = strlen(f->name);
    if (w->is_openmetrics && f->type == COUNTER)
        return n - strlen("_total");
    return w->is_openmetrics && f->type == INFO ? n - strlen("_info") : n;
}

static void put_head(struct writer *w, const struct family *f)
{
    static const char *const types[] = {[GAUGE] = "gauge", [COUNTER] = "counter", [INFO] = "info"};
    int n = (int)family_length(w, f);
    fprintf(w->out, "# HELP %.*s %s\n", n, f->name, f->help);
    fprintf(w->out, "# TYPE %.*s %s\n", n, f->name,
            f->type == INFO && !w->is_openmetrics ? "gauge" : types[f->type]);
    if (w->is_openmetrics && f->unit[0])
        fprintf(w->out, "# UNIT %.*s %s\n", n, f->name, f->unit);
}

static void put(struct writer *w, const struct family *f, const char *labels, double value)
{
    char number[48];
    if (!isfinite(value))
        return;
    if (w->said != f) {
        put_head(w, f);
        w->said = f;
    }
    snprintf(number, sizeof(number), "%.15g", value);
    for (char *c = number; *c; c++)
        if (*c == ',') /* another locale's decimal point */
            *c = '.';
    fprintf(w->out, labels[0] ? "%s{%s} %s\n" : "%s%s %s\n", f->name, labels, number);
}

/* The same with one more label. */
static void put_by(struct writer *w, const struct family *f, const char *labels, const char *name,
                   const char *word, double value)
{
    char more[LABELS];
    wt_text(more, sizeof(more), "%s", labels);
    put_label(more, name, word);
    put(w, f, more, value);
}

/* ---- devices ---- */

typedef char device_labels[LABELS];

/* All of a device's series have these, so that they can be joined. */
static void label_device(const struct wt_live_device *d, char *labels)
{
    labels[0] = '\0';
    put_label(labels, "device", d->info->id);
    put_label(labels, "kind", wt_device_kind_name(d->info->kind));
    put_label(labels, "model", d->info->name);
    put_label(labels, "provenance", wt_provenance_name(d->provenance));
}

static bool has_energy(const struct wt_joules *j)
{
    return j->provenance != WT_PROV_UNKNOWN;
}

static double of_status(const struct wt_live_device *d, unsigned has, double value)
{
    return d->status.has & has ? value : NAN;
}

static const struct {
    uint64_t bit;
    const char *word;
} reasons[] = {
    {WT_THROTTLE_POWER_CAP, "power_cap"},
    {WT_THROTTLE_THERMAL, "thermal"},
    {WT_THROTTLE_POWER_BRAKE, "power_brake"},
    {WT_THROTTLE_LOCKED_CLOCK, "locked_clock"},
    {WT_THROTTLE_OTHER, "other"},
};

static void put_info(struct writer *w, const struct wt_live_device *d, const char *labels)
{
    char more[LABELS], index[16];
    wt_text(more, sizeof(more), "%s", labels);
    put_label(more, "index", wt_text(index, sizeof(index), "%u", d->info->index));
    put_label(more, "source", d->info->source);
    put_label(more, "driver", d->info->driver);
    put_label(more, "counted", d->info->is_counted ? "yes" : "no");
    put(w, &device_info, more, 1);
}

static void put_devices(struct writer *w, const struct wt_live_state *s,
                        const device_labels *labels)
{
#define EACH for (size_t i = 0; i < s->device_count; i++)
#define D    (&s->devices[i])
    EACH put_info(w, D, labels[i]);
    EACH if (has_energy(&D->energy)) put(w, &energy, labels[i], D->energy.energy_j);
    EACH if (has_energy(&D->energy)) put(w, &energy_low, labels[i], D->energy.low_j);
    EACH if (has_energy(&D->energy)) put(w, &energy_high, labels[i], D->energy.high_j);
    EACH
    {
        put_by(w, &used, labels[i], "use", "jobs", D->jobs_j);
        put_by(w, &used, labels[i], "use", "idle", D->idle_j);
    }
    EACH put(w, &power, labels[i], D->power_w);
    EACH put(w, &limit, labels[i],
             of_status(D, WT_HAS_LIMIT, wt_w_from_mw(D->status.power_limit_mw)));
    EACH put(w, &temperature, labels[i], of_status(D, WT_HAS_TEMP, D->status.temp_mc * 1e-3));
    EACH
    {
        put_by(w, &frequency, labels[i], "clock", "core",
               of_status(D, WT_HAS_CLOCK, D->status.clock_khz * 1e3));
        put_by(w, &frequency, labels[i], "clock", "memory",
               of_status(D, WT_HAS_MEMCLOCK, D->status.memclock_khz * 1e3));
    }
    EACH
    {
        put_by(w, &utilization, labels[i], "of", "device",
               of_status(D, WT_HAS_UTIL, D->status.util_ppm * 1e-6));
        put_by(w, &utilization, labels[i], "of", "memory",
               of_status(D, WT_HAS_MEMUTIL, D->status.memutil_ppm * 1e-6));
    }
    EACH put(w, &memory_used, labels[i],
             of_status(D, WT_HAS_MEM, (double)D->status.mem_used_bytes));
    EACH put(w, &memory_size, labels[i],
             of_status(D, WT_HAS_MEM, (double)D->status.mem_total_bytes));
    EACH for (size_t k = 0; D->has_throttle && k < WT_COUNTOF(reasons); k++)
        put_by(w, &throttle, labels[i], "reason", reasons[k].word,
               D->throttle_s[__builtin_ctzll(reasons[k].bit)]);
    EACH if (D->info->can & (WT_CAN_ENERGY | WT_CAN_POWER)) put(w, &gap, labels[i], D->gap_s);
}

static void put_node(struct writer *w, const struct wt_live_state *s)
{
    char labels[LABELS] = "";
    if (has_energy(&s->energy)) {
        put_label(labels, "provenance", wt_provenance_name(s->energy.provenance));
        put(w, &node_energy, labels, s->energy.energy_j);
        put(w, &node_low, labels, s->energy.low_j);
        put(w, &node_high, labels, s->energy.high_j);
        put(w, &node_power, labels, s->power_w);
    }
}

/* ---- leases ---- */

/* What leases hold on a device by this knob; NAN: nothing. */
static double held(const struct wt_live_state *s, size_t device, enum wt_knob knob)
{
    for (size_t i = 0; i < s->lease_count; i++)
        if (s->leases[i].device == device && s->leases[i].knob == knob && s->leases[i].is_set &&
            s->leases[i].effective > 0)
            return (double)s->leases[i].effective;
    return NAN;
}

static void put_leases(struct writer *w, const struct wt_live_state *s, const device_labels *labels)
{
    size_t count = 0;
    put(w, &daemon_up, "", s->has_daemon);
    if (!s->has_daemon)
        return;
    put(w, &leases, "", (double)(s->lease_count + s->leases_unlisted));
    for (size_t i = 0; i < s->lease_count; i++)
        count += s->leases[i].is_unrestored;
    put(w, &unrestored, "", (double)count);
    EACH
    {
        static const enum wt_knob knobs[] = {WT_KNOB_POWER, WT_KNOB_CPU_POWER, WT_KNOB_DRAM_POWER};
        for (size_t k = 0; k < WT_COUNTOF(knobs); k++)
            put(w, &lease_power, labels[i], held(s, i, knobs[k]) * 1e-3);
    }
    EACH
    {
        put_by(w, &lease_clock, labels[i], "clock", "core", held(s, i, WT_KNOB_CLOCK) * 1e3);
        put_by(w, &lease_clock, labels[i], "clock", "core", held(s, i, WT_KNOB_CPU_FREQ) * 1e3);
        put_by(w, &lease_clock, labels[i], "clock", "memory", held(s, i, WT_KNOB_MEMCLOCK) * 1e3);
    }
#undef EACH
#undef D
}

/* ---- jobs ---- */

static void put_jobs(struct writer *w, const struct wt_live_state *s)
{
    if (!s->has_jobs)
        return;
    device_labels *labels = calloc(s->job_count + 1, sizeof(*labels));
    if (!labels)
        return;
    for (size_t i = 0; i < s->job_count; i++) {
        char number[16];
        /* "job" is what Prometheus itself calls what it scrapes. */
        put_label(labels[i], "slurm_job", wt_text(number, sizeof(number), "%u", s->jobs[i].job));
        put_label(labels[i], "user", s->jobs[i].user);
        put_label(labels[i], "account", s->jobs[i].account);
        put_label(labels[i], "partition", s->jobs[i].partition);
        put_label(labels[i], "provenance", wt_provenance_name(s->jobs[i].energy.provenance));
    }
    put(w, &jobs, "", (double)(s->job_count + s->jobs_dropped));
    put(w, &jobs_dropped, "", (double)s->jobs_dropped_total);
#define EACH for (size_t i = 0; i < s->job_count; i++)
#define J    (&s->jobs[i])
    EACH if (has_energy(&J->energy)) put(w, &job_energy, labels[i], J->energy.energy_j);
    EACH if (has_energy(&J->energy)) put(w, &job_low, labels[i], J->energy.low_j);
    EACH if (has_energy(&J->energy)) put(w, &job_high, labels[i], J->energy.high_j);
    EACH put(w, &job_cap, labels[i], J->cap_w);
#undef EACH
#undef J
    if (s->accounts.central[0])
        put(w, &jobs_unsent, "", (double)s->accounts.unsent);
    free(labels);
}

/* ---- ourselves ---- */

static double resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *in = fopen("/proc/self/statm", "re");
    bool ok = in && fscanf(in, "%*u %lu", &pages) == 1;
    if (in)
        fclose(in);
    return ok ? (double)pages * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static void put_ourselves(struct writer *w, const struct wt_live_state *s)
{
    char labels[LABELS] = "";
    struct rusage usage;
    put_label(labels, "version", wt_version());
    put(w, &build_info, labels, 1);
    put(w, &reads, "", (double)s->cost.reads);
    put(w, &failures, "", (double)s->cost.failures);
    put(w, &sampler, "", s->cost.cpu_s);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        put(w, &process_cpu, "",
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6);
    put(w, &process_start, "", wt_s_from_ns(s->start_unix_ns));
    put(w, &process_memory, "", resident_bytes());
}

char *wt_live_metrics(const struct wt_live_state *s, bool is_openmetrics)
{
    char *text = NULL;
    size_t size;
    struct writer w = {.out = open_memstream(&text, &size), .is_openmetrics = is_openmetrics};
    device_labels *labels = calloc(s->device_count + 1, sizeof(*labels));
    if (!w.out || !labels)
        goto out;
    for (size_t i = 0; i < s->device_count; i++)
        label_device(&s->devices[i], labels[i]);
    put_devices(&w, s, (const device_labels *)labels);
    put_node(&w, s);
    put_leases(&w, s, (const device_labels *)labels);
    put_jobs(&w, s);
    put_ourselves(&w, s);
    if (is_openmetrics)
        fputs("# EOF\n", w.out);
out:
    free(labels);
    bool ok = labels && w.out && !ferror(w.out);
    if (w.out && fclose(w.out) != 0)
        ok = false;
    if (!ok) {
        free(text);
        return NULL;
    }
    return text;
}
