/* registry: the table of sources, and the set of devices they make up. */
#include <stdlib.h>
#include <string.h>

#include "sensor/probed.h"
#include "sensor/sensor.h"

/* In this order. The first that turns out emulated shuts out those after it, and an emulation is
 * only ever met in the GPU library. */
static const struct wt_source_ops *const sources[] = {
    &wt_nvml_ops,
    &wt_rapl_ops,
};

struct entry {
    struct wt_source *source;
    size_t k;
};

struct wt_devices {
    struct wt_source *sources[WT_COUNTOF(sources)];
    size_t source_count;
    struct entry *entries;
    size_t count;
    struct wt_findings notes;
};

/* Which of a source's devices are in the set. */
static int choose(const struct wt_source *source, const struct wt_devices_options *options,
                  bool *keep, struct wt_error *err)
{
    for (size_t k = 0; k < source->count; k++)
        keep[k] = true;
    if (!source->ops->is_gpu)
        return 0;
    const char *list = options->gpus;
    if (list)
        return wt_gpu_select(source->devices, source->count, list, false, keep, err);
    list = getenv("CUDA_VISIBLE_DEVICES");
    if (list)
        return wt_gpu_select(source->devices, source->count, list, true, keep, err);
    return 0;
}

/* What `wattune probe` has found of a device takes the place of what is assumed of its kind. What
 * was kept and does not hold any more is said, and changes nothing. */
static int use_probed(struct wt_ctx *ctx, struct wt_device_info *info, struct wt_findings *notes)
{
    struct wt_error why = {0};
    int rc = wt_traits_load(ctx, info, &info->traits, info->probed, sizeof(info->probed), &why);
    if (rc == 0 || rc == WT_E_NOTFOUND)
        return 0;
    wt_log(ctx, WT_LOG_WARN, "probe", "%s; %s", why.text, why.fix);
    return wt_findings_add_error(notes, info->source, info->id, "probed sensor", &why);
}

/* GPUs that are there and that nobody sees are a riddle, unless it is said. */
static int note_hidden(struct wt_findings *notes, const struct wt_source *source,
                       const struct wt_devices_options *options, const bool *keep)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    size_t gpus = 0;
    if (!source->ops->is_gpu || options->gpus || !list)
        return 0;
    for (size_t k = 0; k < source->count; k++) {
        if (keep[k])
            return 0;
        gpus += !source->devices[k].is_part;
    }
    return wt_findings_add(notes, WT_FINDING_MISSING, source->ops->name, "", "GPUs",
                           "unset CUDA_VISIBLE_DEVICES, or name GPUs yourself: --gpu 0",
                           "%zu %s there, but CUDA_VISIBLE_DEVICES=\"%.60s\" hides %s", gpus,
                           gpus == 1 ? "GPU is" : "GPUs are", list, gpus == 1 ? "it" : "them all");
}

static int add_source(struct wt_devices *devices, struct wt_ctx *ctx, struct wt_source *source,
                      const struct wt_devices_options *options, struct wt_error *err)
{
    devices->sources[devices->source_count++] = source;
    if (!source->count)
        return 0;
    bool *keep = calloc(source->count, sizeof(*keep));
    struct entry *entries =
        realloc(devices->entries, (devices->count + source->count) * sizeof(*entries));
    int rc = 0;
    if (entries)
        devices->entries = entries;
    if (!keep || !entries)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the devices");
    if (rc == 0)
        rc = choose(source, options, keep, err);
    if (rc == 0 && note_hidden(&devices->notes, source, options, keep) < 0)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the devices");
    for (size_t k = 0; rc == 0 && k < source->count; k++) {
        if (!keep[k])
            continue;
        devices->entries[devices->count++] = (struct entry){source, k};
        if (use_probed(ctx, &source->devices[k], &devices->notes) < 0)
            rc = wt_fail(err, WT_E_NOMEM, "no memory for the devices");
    }
    free(keep);
    return rc;
}

int wt_devices_open(struct wt_devices **ret_devices, struct wt_ctx *ctx,
                    const struct wt_devices_options *options, struct wt_error *err)
{
    static const struct wt_devices_options none;
    if (!options)
        options = &none;
    struct wt_devices *devices = calloc(1, sizeof(*devices));
    if (!devices)
        return wt_fail(err, WT_E_NOMEM, "no memory for the devices");

    int rc = 0;
    bool is_emulated = false, has_gpu_source = false;
    for (size_t i = 0; i < WT_COUNTOF(sources) && !is_emulated; i++) {
        const struct wt_source_ops *ops = sources[i];
        if (options->is_gpu_only && !ops->is_gpu)
            continue;
        struct wt_source *source;
        struct wt_error why = {0};
        rc = ops->open(&source, ctx, &devices->notes, &why);
        if (rc == WT_E_NOMEM) {
            if (err)
                *err = why;
            goto out;
        }
        if (rc < 0) {
            /* A machine without this source is no failure, but doctor and the log say why. */
            wt_log(ctx, rc == WT_E_NOTFOUND || rc == WT_E_UNSUPPORTED ? WT_LOG_DEBUG : WT_LOG_WARN,
                   ops->name, "%s%s%s", why.text, *why.fix ? "; " : "", why.fix);
            rc = wt_findings_add_error(&devices->notes, ops->name, "", "library", &why);
            if (rc < 0)
                goto no_memory;
            continue;
        }
        has_gpu_source |= ops->is_gpu;
        is_emulated = source->is_emulated;
        rc = add_source(devices, ctx, source, options, err);
        if (rc < 0)
            goto out;
    }
    if (options->gpus && !has_gpu_source) {
        rc = wt_fail(err, WT_E_NOTFOUND, "GPU \"%.100s\": no GPU can be read here", options->gpus);
        wt_fix(err, "`wattune doctor` says why");
        goto out;
    }
    *ret_devices = devices;
    devices = NULL;
    rc = 0;
    goto out;
no_memory:
    rc = wt_fail(err, WT_E_NOMEM, "no memory for the devices");
out:
    wt_devices_free(devices);
    return rc;
}

void wt_devices_free(struct wt_devices *devices)
{
    if (!devices)
        return;
    for (size_t i = 0; i < devices->source_count; i++)
        devices->sources[i]->ops->close(devices->sources[i]);
    wt_findings_done(&devices->notes);
    free(devices->entries);
    free(devices);
}

size_t wt_devices_count(const struct wt_devices *devices)
{
    return devices ? devices->count : 0;
}

const struct wt_device_info *wt_devices_info(const struct wt_devices *devices, size_t i)
{
    if (i >= wt_devices_count(devices))
        return NULL;
    const struct entry *entry = &devices->entries[i];
    return &entry->source->devices[entry->k];
}

bool wt_devices_locate(const struct wt_devices *devices, size_t i, struct wt_source **ret_source,
                       size_t *ret_k)
{
    if (i >= wt_devices_count(devices))
        return false;
    *ret_source = devices->entries[i].source;
    *ret_k = devices->entries[i].k;
    return true;
}

const struct wt_findings *wt_devices_notes(const struct wt_devices *devices)
{
    return &devices->notes;
}

int wt_devices_read(struct wt_devices *devices, size_t i, unsigned what,
                    struct wt_reading *ret_reading, struct wt_error *err)
{
    struct wt_source *source;
    size_t k;
    memset(ret_reading, 0, sizeof(*ret_reading));
    if (!wt_devices_locate(devices, i, &source, &k))
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", i);
    /* The set may be freed while this call is out: nothing of it is touched afterwards. */
    return source->ops->read(source, k, what, ret_reading, err);
}

int wt_devices_processes(struct wt_devices *devices, size_t i, struct wt_device_process *procs,
                         size_t max, size_t *ret_count, struct wt_error *err)
{
    struct wt_source *source;
    size_t k;
    if (!wt_devices_locate(devices, i, &source, &k))
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", i);
    if (!source->ops->processes)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s does not say which processes use it",
                       source->devices[k].id);
    return source->ops->processes(source, k, procs, max, ret_count, err);
}
