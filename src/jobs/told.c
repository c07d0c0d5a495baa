/* told: what goes to others in files: the energy in words, for the plugin to print to the user, and
 * dcgm-exporter's mapping of GPUs to jobs (its --hpc-job-mapping-dir: a file for each GPU, named by
 * its number, holding the numbers of its jobs, one a line). */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/accounts.h"
#include "wattune/run.h"

/* ---- in words ---- */

static void add(char *buf, size_t size, const char *text)
{
    size_t used = strlen(buf), len = strlen(text);
    if (used + len < size) /* a line that does not fit whole is left out */
        memcpy(buf + used, text, len + 1);
}

static const char *interval(char *buf, size_t size, const struct wt_joules *energy)
{
    char number[48];
    if (isfinite(energy->high_j))
        return wt_format_interval(buf, size, energy);
    return wt_text(buf, size, "%s or more",
                   wt_format_joules(number, sizeof(number), energy->low_j));
}

static void add_device(char *buf, size_t size, const struct wt_job_row *row)
{
    char line[320], number[96];
    const struct wt_joules energy = {
        .energy_j = (double)row->energy_uj * 1e-6,
        .low_j = (double)row->low_uj * 1e-6,
        .high_j = row->high_uj == UINT64_MAX ? INFINITY : (double)row->high_uj * 1e-6,
        .provenance = row->provenance,
    };
    bool is_known = row->provenance != WT_PROV_UNKNOWN;
    wt_text(line, sizeof(line), "  %s %d: %s%s%s%s%s\n", wt_device_kind_name(row->kind), row->index,
            is_known ? interval(number, sizeof(number), &energy) : "not known",
            is_known ? ", " : "", is_known ? wt_provenance_name(row->provenance) : "",
            row->kind == WT_DEVICE_GPU ? "" : ", by CPU time",
            row->is_counted ? "" : ", beside the total");
    add(buf, size, line);
}

char *wt_accounts_text(char *buf, size_t size, const struct wt_job_row *rows, size_t count)
{
    char line[400], number[96], span[48];
    struct wt_job_sum *sums = NULL;
    size_t sum_count = 0;
    buf[0] = '\0';
    if (!count)
        return wt_text(buf, size, "wattune: nothing is measured on this node\n");
    const struct wt_job_row *first = &rows[0];
    bool is_step = first->step[0];
    if (wt_job_sums(rows, count, WT_JOB_BY_JOB, is_step, &sums, &sum_count, NULL) < 0)
        return wt_text(buf, size, "wattune: no memory to sum up\n");
    for (size_t i = 0; i < sum_count; i++) {
        const struct wt_job_sum *sum = &sums[i];
        wt_text(
            line, sizeof(line), "wattune: %s%u%s%s on %s: %s%s%s%s%s in %s%s\n",
            is_step ? "step " : "job ", first->job, is_step ? "." : "", first->step, first->node,
            sum->is_emulated   ? "EMULATED "
            : sum->is_replayed ? "REPLAYED "
                               : "",
            sum->energy.provenance == WT_PROV_UNKNOWN
                ? "energy not known"
                : interval(number, sizeof(number), &sum->energy),
            sum->energy.provenance == WT_PROV_UNKNOWN ? "" : " (",
            sum->energy.provenance == WT_PROV_UNKNOWN ? ""
                                                      : wt_provenance_name(sum->energy.provenance),
            sum->energy.provenance == WT_PROV_UNKNOWN ? "" : ")",
            wt_format_seconds(span, sizeof(span), (double)(first->end_ns - first->begin_ns) * 1e-9),
            sum->unknown && sum->energy.provenance != WT_PROV_UNKNOWN ? "; a part is not known"
                                                                      : "");
        add(buf, size, line);
        if (sum->gap_s > 0) {
            wt_text(line, sizeof(line),
                    "  not measured for %s of it: the interval holds what that may be\n",
                    wt_format_seconds(span, sizeof(span), sum->gap_s));
            add(buf, size, line);
        }
    }
    free(sums);
    for (size_t i = 0; i < count; i++)
        add_device(buf, size, &rows[i]);
    return buf;
}

/* ---- dcgm-exporter ---- */

/* Each vendor counts from 0; the exporter is NVIDIA's. */
static bool is_mapped(const struct wt_accounts *a, const struct device *d)
{
    return d->is_split && d->info->kind == WT_DEVICE_GPU &&
           (!a->has_nvml || strcmp(d->info->source, "nvml") == 0);
}

void wt_accounts_map(struct wt_accounts *a)
{
    struct wt_error err = {0};
    if (!a->mapping_dir[0] || !a->is_mapping_stale)
        return;
    a->is_mapping_stale = false;
    if (wt_fs_mkdirs(a->mapping_dir, 0755, &err) < 0) {
        wt_accounts_trouble(a, err.code, &err);
        a->is_mapping_stale = true;
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct device *d = &a->devices[i];
        char path[640], fresh[640], text[4096] = "", line[16];
        if (!is_mapped(a, d))
            continue;
        wt_text(path, sizeof(path), "%s/%u", a->mapping_dir, d->info->index);
        for (size_t k = 0; k < d->segment.count; k++) {
            wt_text(line, sizeof(line), "%u\n", d->segment.holders[k]->facts.job);
            add(text, sizeof(text), line);
        }
        /* Its name is no number: the exporter passes it over. */
        wt_text(fresh, sizeof(fresh), "%s/.wattune-new", a->mapping_dir);
        int rc = 0;
        if (text[0])
            rc = wt_accounts_write(fresh, path, text, &err);
        else if (unlink(path) < 0 && errno != ENOENT)
            rc = wt_fail_errno(&err, errno, "%s", path);
        a->is_mapping_stale |= wt_accounts_trouble(a, rc, &err) < 0;
    }
}

/* Nobody keeps them up to date any more. */
void wt_accounts_unmap(struct wt_accounts *a)
{
    for (size_t i = 0; a->mapping_dir[0] && a->devices && i < a->count; i++) {
        char path[640];
        if (!is_mapped(a, &a->devices[i]))
            continue;
        wt_text(path, sizeof(path), "%s/%u", a->mapping_dir, a->devices[i].info->index);
        unlink(path);
    }
}
