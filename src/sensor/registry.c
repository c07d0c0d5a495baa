/* registry: the table of sources, and the set of devices they make up. */
#include <stdlib.h>
#include <string.h>

#include "sensor/model.h"
#include "sensor/probed.h"
#include "sensor/sensor.h"

/* In this order. The first that turns out emulated shuts out those after it, and an emulation is
 * only ever met in the GPU library. */
static const struct wt_source_ops *const sources[] = {
    &wt_nvml_ops,    &wt_amdgpu_ops,  &wt_intel_gpu_ops,
    &wt_rapl_ops,    &wt_command_ops, /* what the user names is the node's meter before any other */
    &wt_cray_ops,    &wt_ipmi_source, &wt_hwmon_ops,
    &wt_battery_ops, &wt_model_ops, /* last: it stands in for what was not found */
};

struct entry {
    struct wt_source *source;
    size_t k;
};

struct wt_devices {
    struct wt_ctx *ctx;
    struct wt_source *sources[WT_COUNTOF(sources)];
    size_t source_count;
    struct entry *entries;
    size_t count;
    bool has_left_out; /* GPUs that are there and that the user did not choose */
    struct wt_findings notes;
};

static int no_memory(struct wt_error *err)
{
    return wt_fail(err, WT_E_NOMEM, "no memory for the devices");
}

/* ---- which GPUs ---- */

/* All GPUs of all sources in one list, for a choice that names some of them. */
static int choose_gpus(struct wt_devices *devices, const char *list, struct wt_error *err)
{
    struct wt_device_info *gpus = calloc(devices->count + 1, sizeof(*gpus));
    bool *keep = calloc(devices->count + 1, sizeof(*keep));
    size_t count = 0, kept = 0;
    int rc = gpus && keep ? 0 : no_memory(err);
    for (size_t i = 0; rc == 0 && i < devices->count; i++)
        if (devices->entries[i].source->ops->is_gpu)
            gpus[count++] = *wt_devices_info(devices, i);
    if (rc == 0)
        rc = wt_gpu_select(gpus, count, list, false, keep, err);
    size_t g = 0;
    for (size_t i = 0; rc == 0 && i < devices->count; i++)
        if (!devices->entries[i].source->ops->is_gpu || keep[g++])
            devices->entries[kept++] = devices->entries[i];
    if (rc == 0) {
        devices->has_left_out |= kept < devices->count;
        devices->count = kept;
    }
    free(gpus);
    free(keep);
    return rc;
}

/* Marks what the source's own variable shows of it; all without one. */
static int look_visible(const struct wt_source *source, const struct wt_devices_options *options,
                        bool *keep, struct wt_error *err)
{
    const char *name = source->ops->visible_env;
    const char *list = name && !options->gpus ? getenv(name) : NULL;
    for (size_t k = 0; k < source->count; k++)
        keep[k] = true;
    return list ? wt_gpu_select(source->devices, source->count, list, true, keep, err) : 0;
}

/* GPUs that are there and that nobody sees are a riddle, unless it is said. */
static int note_hidden(struct wt_findings *notes, const struct wt_source *source,
                       const struct wt_devices_options *options, const bool *keep)
{
    const char *name = source->ops->visible_env;
    const char *list = name && !options->gpus ? getenv(name) : NULL;
    size_t gpus = 0;
    if (!list)
        return 0;
    for (size_t k = 0; k < source->count; k++) {
        if (keep[k])
            return 0;
        gpus += !source->devices[k].is_part;
    }
    char fix[120];
    wt_text(fix, sizeof(fix), "unset %s, or name GPUs yourself: --gpu 0", name);
    return wt_findings_add(notes, WT_FINDING_MISSING, source->ops->name, "", "GPUs", fix,
                           "%zu %s there, but %s=\"%.60s\" hides %s", gpus,
                           gpus == 1 ? "GPU is" : "GPUs are", name, list,
                           gpus == 1 ? "it" : "them all");
}

/* ---- what is in the set ---- */

/* What `wattune probe` has found of a device takes the place of what is assumed of its kind. What
 * was kept and does not hold any more is said, and changes nothing. */
static int use_probed(struct wt_ctx *ctx, struct wt_device_info *info, struct wt_findings *notes)
{
    struct wt_error why = {0};
    int rc = wt_traits_load(ctx, info, &info->traits, info->probed, sizeof(info->probed), &why);
    if (rc == 0 || rc == WT_E_NOTFOUND)
        return 0;
    wt_log(ctx, WT_LOG_WARN, "probe", "%s%s%s", why.text, *why.fix ? "; " : "", why.fix);
    return wt_findings_add_error(notes, info->source, info->id, "probed sensor", &why);
}

/* Is the total so far that of a meter of the node, or of its modules? */
static bool is_metered(const struct wt_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++)
        if (wt_devices_info(devices, i)->kind == WT_DEVICE_NODE &&
            wt_devices_info(devices, i)->is_counted)
            return true;
    return false;
}

/* A model stands in for a sensor that is not there, never beside one: not beside the device's own,
 * and of memory not beside a meter that has it in its total. */
static bool is_superseded(const struct wt_devices *devices, const struct wt_device_info *info)
{
    for (size_t i = 0; info->is_modeled && i < devices->count; i++) {
        const struct wt_device_info *other = wt_devices_info(devices, i);
        if (!other->is_part && !other->is_modeled &&
            (other->can & (WT_CAN_ENERGY | WT_CAN_POWER)) &&
            (other->kind == info->kind || (info->kind == WT_DEVICE_DRAM && other->has_memory)))
            return true;
    }
    return info->is_modeled && info->kind == WT_DEVICE_DRAM && is_metered(devices);
}

/* A processor that only a meter sees has its settings all the same: it stays in the set for them,
 * and has no power, estimated or other. */
static void hold_settings(struct wt_devices *devices, struct wt_device_info *info)
{
    static const char modeled[] = "CPU, modeled: ";
    if (!info->is_modeled || info->kind != WT_DEVICE_CPU || !is_metered(devices))
        return;
    info->is_modeled = false;
    info->can = 0;
    info->traits = (struct wt_sensor_traits){0};
    if (strncmp(info->name, modeled, strlen(modeled)) == 0)
        memmove(info->name, info->name + strlen(modeled), strlen(info->name + strlen(modeled)) + 1);
    wt_findings_drop(&devices->notes, info->source, info->id);
}

/* What an earlier source of another name measures already is listed once more as its part: two ways
 * to the same counter (RAPL and amd_energy, RAPL and Cray's) are the same joules. */
static void mark_repeat(const struct wt_devices *devices, struct wt_device_info *info)
{
    for (size_t i = 0; i < devices->count; i++) {
        if (strcmp(wt_devices_info(devices, i)->id, info->id) != 0)
            continue;
        char id[96];
        wt_text(id, sizeof(id), "%s", info->id);
        wt_text(info->part_of, sizeof(info->part_of), "%s", id);
        wt_text(info->id, sizeof(info->id), "%.78s-%s", id, info->source);
        info->is_part = true;
        return;
    }
}

static int choose_counted(struct wt_devices *devices, struct wt_error *err)
{
    struct wt_device_info **infos = calloc(devices->count + 1, sizeof(*infos));
    if (!infos)
        return no_memory(err);
    for (size_t i = 0; i < devices->count; i++)
        infos[i] = &devices->entries[i].source->devices[devices->entries[i].k];
    wt_total_choose(infos, devices->count, devices->has_left_out);
    free(infos);
    return 0;
}

static int add_source(struct wt_devices *devices, struct wt_source *source,
                      const struct wt_devices_options *options, struct wt_error *err)
{
    devices->sources[devices->source_count++] = source;
    if (!source->count)
        return 0;
    bool *keep = calloc(source->count, sizeof(*keep));
    struct entry *entries =
        realloc(devices->entries, (devices->count + source->count) * sizeof(*entries));
    if (entries)
        devices->entries = entries;
    int rc = keep && entries ? look_visible(source, options, keep, err) : no_memory(err);
    /* What counts so far decides on what is modeled. */
    if (rc == 0 && source->ops == &wt_model_ops)
        rc = choose_counted(devices, err);
    if (rc == 0 && note_hidden(&devices->notes, source, options, keep) < 0)
        rc = no_memory(err);
    for (size_t k = 0; rc == 0 && k < source->count; k++) {
        if (!keep[k]) {
            devices->has_left_out = true;
            continue;
        }
        if (is_superseded(devices, &source->devices[k])) {
            wt_findings_drop(&devices->notes, source->ops->name, source->devices[k].id);
            continue;
        }
        hold_settings(devices, &source->devices[k]);
        if (!source->ops->is_gpu)
            mark_repeat(devices, &source->devices[k]);
        devices->entries[devices->count++] = (struct entry){source, k};
        if (use_probed(devices->ctx, &source->devices[k], &devices->notes) < 0)
            rc = no_memory(err);
    }
    free(keep);
    return rc;
}

/* A machine without this source is no failure, but doctor and the log say why. */
static int note_missing(struct wt_devices *devices, const struct wt_source_ops *ops, int rc,
                        const struct wt_error *why)
{
    wt_log(devices->ctx, rc == WT_E_NOTFOUND || rc == WT_E_UNSUPPORTED ? WT_LOG_DEBUG : WT_LOG_WARN,
           ops->name, "%s%s%s", why->text, *why->fix ? "; " : "", why->fix);
    return wt_findings_add_error(&devices->notes, ops->name, "", "library", why);
}

/* What the user says while a source is waited for is remembered, whatever the source makes of it.
 */
struct waiter {
    const struct wt_devices_options *options;
    bool is_stopped;
};

static bool on_wait(void *data, const char *what, int64_t waited_ns)
{
    struct waiter *w = data;
    w->is_stopped |= !w->options->on_wait(w->options->wait_data, what, waited_ns);
    return !w->is_stopped;
}

/* Each source in turn; the first that turns out emulated is the last. */
static int open_sources(struct wt_devices *devices, const struct wt_devices_options *options,
                        bool *ret_has_gpu_source, struct wt_error *err)
{
    bool is_emulated = false;
    struct waiter waiter = {.options = options};
    struct wt_devices_options told = *options;
    if (options->on_wait) {
        told.on_wait = on_wait;
        told.wait_data = &waiter;
    }
    for (size_t i = 0; i < WT_COUNTOF(sources) && !is_emulated; i++) {
        const struct wt_source_ops *ops = sources[i];
        if (options->is_gpu_only && !ops->is_gpu)
            continue;
        struct wt_source *source;
        struct wt_error why = {0};
        int rc = ops->open(&source, devices->ctx, &told, &devices->notes, &why);
        if (waiter.is_stopped) {
            if (rc == 0)
                ops->close(source);
            return wt_fail(err, WT_E_STATE, "stopped while a sensor was waited for");
        }
        if (rc == WT_E_NOMEM || rc == WT_E_USAGE) {
            if (err)
                *err = why;
            return rc;
        }
        if (rc < 0) {
            if (note_missing(devices, ops, rc, &why) < 0)
                return no_memory(err);
            continue;
        }
        *ret_has_gpu_source |= ops->is_gpu && source->count;
        is_emulated = source->is_emulated;
        rc = add_source(devices, source, options, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int wt_devices_open(struct wt_devices **ret_devices, struct wt_ctx *ctx,
                    const struct wt_devices_options *options, struct wt_error *err)
{
    static const struct wt_devices_options none;
    if (!options)
        options = &none;
    struct wt_devices *devices = calloc(1, sizeof(*devices));
    if (!devices)
        return no_memory(err);
    devices->ctx = ctx;
    bool has_gpu_source = false;
    int rc = open_sources(devices, options, &has_gpu_source, err);
    if (rc == 0 && options->gpus && !has_gpu_source) {
        rc = wt_fail(err, WT_E_NOTFOUND, "GPU \"%.100s\": no GPU can be read here", options->gpus);
        wt_fix(err, "`wattune doctor` says why");
    } else if (rc == 0 && options->gpus) {
        rc = choose_gpus(devices, options->gpus, err);
    }
    if (rc == 0)
        rc = choose_counted(devices, err);
    if (rc < 0)
        wt_devices_free(devices);
    else
        *ret_devices = devices;
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

struct wt_ctx *wt_devices_ctx(const struct wt_devices *devices)
{
    return devices->ctx;
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
