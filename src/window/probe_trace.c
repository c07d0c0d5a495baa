/* probe_trace: a recording of the probe as a text file, so that what a sensor showed on one machine
 * can be analysed on another, and be a test. One item a line; all times in nanoseconds since the
 * first of them, so that nothing of the machine's clock is in it. Nothing that names a board is
 * written: no UUID, no serial number.
 *
 *     wattune-trace 1
 *     name NAME                     the device's
 *     driver VERSION
 *     source NAME                   the sensor source: nvml
 *     limit MILLIWATTS              0: unknown
 *     edge ON LOW HIGH              the load went on (1) or off (0) between these
 *     STREAM GAP FIRST_BEFORE FIRST_AFTER LAST_BEFORE LAST_AFTER VALUE
 *
 * STREAM is power, plain (mW) or energy (uJ), GAP is 1 when nothing was read for long before.
 * Source: wt_probe_run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "window/probe_fit.h"

/* No recording takes a year; their differences are far from what 64 bits hold. */
#define MOST_NS (365 * 86400 * WT_NS_PER_S)

static const char *const streams[WT_PROBE_STREAMS] = {
    [WT_PROBE_POWER] = "power",
    [WT_PROBE_PLAIN] = "plain",
    [WT_PROBE_ENERGY] = "energy",
};

static int64_t first_ns(const struct wt_probe_trace *trace)
{
    int64_t t0_ns = INT64_MAX;
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++)
        if (trace->series[i].count && trace->series[i].runs[0].first_before_ns < t0_ns)
            t0_ns = trace->series[i].runs[0].first_before_ns;
    if (trace->edge_count && trace->edges[0].lo_ns < t0_ns)
        t0_ns = trace->edges[0].lo_ns;
    return t0_ns;
}

int wt_probe_trace_write(const struct wt_probe_trace *trace, const struct wt_device_info *info,
                         const char *path, struct wt_error *err)
{
    struct wt_file_draft draft;
    int rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        return rc;
    FILE *out = draft.file;
    int64_t t0 = first_ns(trace);
    fprintf(out, "wattune-trace 1\nname %s\ndriver %s\nsource %s\nlimit %.0f\n", info->name,
            info->driver, info->source, trace->limit_w * 1e3);
    for (size_t i = 0; i < trace->edge_count; i++)
        fprintf(out, "edge %d %" PRId64 " %" PRId64 "\n", trace->edges[i].is_on,
                trace->edges[i].lo_ns - t0, trace->edges[i].hi_ns - t0);
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++)
        for (size_t k = 0; k < trace->series[i].count; k++) {
            const struct wt_probe_run *r = &trace->series[i].runs[k];
            fprintf(out, "%s %d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRIu64 "\n",
                    streams[i], r->is_after_gap, r->first_before_ns - t0, r->first_after_ns - t0,
                    r->last_before_ns - t0, r->last_after_ns - t0, r->value);
        }
    return wt_file_commit(&draft, err);
}

/* One run: the two looks that bound it stand for all between, which showed the same. */
static int add_run(struct wt_probe_series *s, const struct wt_probe_run *r)
{
    int64_t begin_ns = s->count ? s->runs[s->count - 1].last_before_ns : 0;
    if (r->first_before_ns < begin_ns || r->first_after_ns < r->first_before_ns ||
        r->last_before_ns < r->first_before_ns || r->last_after_ns < r->last_before_ns ||
        r->last_after_ns < r->first_after_ns || r->last_after_ns > MOST_NS)
        return WT_E_FORMAT;
    s->reads += r->last_before_ns > r->first_before_ns ? 2 : 1;
    return wt_probe_series_append(s, r);
}

static int add_edge(struct wt_probe_trace *trace, int64_t lo_ns, int64_t hi_ns, bool is_on)
{
    int64_t begin_ns = trace->edge_count ? trace->edges[trace->edge_count - 1].lo_ns : 0;
    if (lo_ns < begin_ns || hi_ns < lo_ns || hi_ns > MOST_NS)
        return WT_E_FORMAT;
    return wt_probe_trace_edge(trace, lo_ns, hi_ns, is_on);
}

/* The time between polls is no more in the file: half a change's width tells it. */
static void restore_poll(struct wt_probe_series *s)
{
    int64_t shortest_ns = INT64_MAX;
    for (size_t i = 1; i < s->count; i++) {
        int64_t since_ns = s->runs[i].first_before_ns - s->runs[i - 1].last_before_ns;
        if (since_ns > 0 && since_ns < shortest_ns)
            shortest_ns = since_ns;
    }
    s->poll_ns = shortest_ns < INT64_MAX ? shortest_ns : 0;
}

static int read_line(const char *line, struct wt_probe_trace *trace, struct wt_device_info *info)
{
    char word[16];
    int flag, at = 0;
    long long a, b, c, d;
    unsigned long long value;
    double mw;
    if (sscanf(line, "%15s %n", word, &at) != 1)
        return 0; /* an empty line */
    const char *rest = line + at;
    if (strcmp(word, "name") == 0) {
        wt_text(info->name, sizeof(info->name), "%s", rest);
    } else if (strcmp(word, "driver") == 0) {
        wt_text(info->driver, sizeof(info->driver), "%s", rest);
    } else if (strcmp(word, "source") == 0) {
        wt_text(info->source, sizeof(info->source), "%s", rest);
    } else if (strcmp(word, "limit") == 0) {
        if (sscanf(rest, "%lf", &mw) != 1 || !(mw >= 0 && mw < 1e12))
            return WT_E_FORMAT;
        trace->limit_w = mw * 1e-3;
    } else if (strcmp(word, "edge") == 0) {
        if (sscanf(rest, "%d %lld %lld", &flag, &a, &b) != 3)
            return WT_E_FORMAT;
        return add_edge(trace, a, b, flag != 0);
    } else {
        size_t i = 0;
        while (i < WT_PROBE_STREAMS && strcmp(word, streams[i]) != 0)
            i++;
        if (i == WT_PROBE_STREAMS ||
            sscanf(rest, "%d %lld %lld %lld %lld %llu", &flag, &a, &b, &c, &d, &value) != 6)
            return WT_E_FORMAT;
        struct wt_probe_run run = {value, a, b, c, d, flag != 0};
        return add_run(&trace->series[i], &run);
    }
    return 0;
}

int wt_probe_trace_read(const char *path, struct wt_probe_trace *ret_trace,
                        struct wt_device_info *ret_info, struct wt_error *err)
{
    static const unsigned cans[WT_PROBE_STREAMS] = {
        [WT_PROBE_POWER] = WT_CAN_POWER,
        [WT_PROBE_PLAIN] = WT_CAN_PLAIN,
        [WT_PROBE_ENERGY] = WT_CAN_ENERGY,
    };
    struct wt_probe_trace trace = {0};
    struct wt_device_info info = {.kind = WT_DEVICE_GPU};
    char line[256];
    unsigned number = 0;
    int rc = 0;
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    while (rc == 0 && fgets(line, sizeof(line), in)) {
        line[strcspn(line, "\n")] = '\0';
        number++;
        if (number == 1)
            rc = strcmp(line, "wattune-trace 1") == 0 ? 0 : WT_E_FORMAT;
        else
            rc = read_line(line, &trace, &info);
    }
    if (rc == 0 && ferror(in))
        rc = WT_E_IO;
    if (rc == 0 && !number)
        rc = WT_E_FORMAT;
    fclose(in);
    if (rc < 0) {
        wt_probe_trace_done(&trace);
        return wt_fail(err, rc, "%s, line %u: no recording of a probe", path, number);
    }
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++) {
        restore_poll(&trace.series[i]);
        info.can |= trace.series[i].count ? cans[i] : 0;
    }
    *ret_trace = trace;
    *ret_info = info;
    return 0;
}
