/* nvml: NVIDIA GPUs, read through the vendor's management library.
 *
 * Readings are passed on as the library gives them, with two exceptions that are no readings at
 * all (WT_E_FORMAT): a power of more than ten times the card's highest limit, and an energy that
 * does not fit. A counter that runs backwards is passed on: only the window knows what came before
 * (a driver reload starts it anew).
 *
 * Threads: NVML locks for itself, so devices may be read from different threads. A call of the
 * sampler is made on the sampler's thread; every other one goes through wt_nvml_guarded. A call
 * that never comes back keeps a reference, so that closing leaves the library where it is. */
#include <stdlib.h>
#include <string.h>

#include "sensor/cpu_model.h"
#include "sensor/deadline.h"
#include "sensor/nvml.h"

/* Calls that only ask are answered in microseconds. Initialising a machine of eight cards without
 * persistence mode takes the driver many seconds. */
#define CALL_TIMEOUT_NS (5 * WT_NS_PER_S)
#define OPEN_TIMEOUT_NS (60 * WT_NS_PER_S)

#define DEFAULT_LIBRARY "libnvidia-ml.so.1"

/* No card and no module of today comes near. For devices that do not say their limit. */
#define POWER_MAX_MW UINT64_C(20000000)

static void nvml_unref(struct wt_nvml *nvml)
{
    if (!nvml || atomic_fetch_sub(&nvml->refs, 1) != 1)
        return;
    wt_nvml_call(&nvml->api, shutdown);
    wt_nvml_api_close(&nvml->api);
    free(nvml->gpus);
    free(nvml->source.devices);
    free(nvml);
}

static int64_t now_ns(const struct wt_nvml *nvml)
{
    return nvml->clock.now_ns(nvml->clock.data);
}

/* ---- opening ---- */

int64_t wt_nvml_timeout_ns(int64_t otherwise_ns)
{
    const char *text = getenv("WATTUNE_NVML_TIMEOUT");
    double seconds;
    if (text && strcmp(text, "none") == 0)
        return INT64_MAX;
    if (!text || wt_text_to_double(text, &seconds) < 0 || seconds < 0.01 || seconds > 86400)
        return otherwise_ns;
    return (int64_t)(seconds * (double)WT_NS_PER_S);
}

/* Is there a card of the vendor's on the bus, driver or none? */
static bool has_nvidia_card(const struct wt_ctx *ctx)
{
    char **names;
    size_t count;
    bool found = false;
    if (wt_fs_list(ctx, "/sys/bus/pci/devices", &names, &count, NULL) < 0)
        return false;
    for (size_t i = 0; i < count && !found; i++) {
        char path[512], vendor[16], class[16];
        wt_text(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", names[i]);
        if (wt_fs_read(ctx, path, vendor, sizeof(vendor), NULL) < 0 ||
            strcmp(vendor, "0x10de") != 0)
            continue;
        wt_text(path, sizeof(path), "/sys/bus/pci/devices/%s/class", names[i]);
        found = wt_fs_read(ctx, path, class, sizeof(class), NULL) == 0 &&
                strncmp(class, "0x03", 4) == 0;
    }
    wt_fs_list_free(names, count);
    return found;
}

/* Version of the loaded kernel module, "" when none is loaded. */
static void module_version(const struct wt_ctx *ctx, char *buf, size_t size)
{
    if (wt_fs_read(ctx, "/sys/module/nvidia/version", buf, size, NULL) < 0)
        buf[0] = '\0';
}

/* A bus that was looked at and holds none of the vendor's cards. Where it is not in the tree nobody
 * knows, and a Jetson's GPU is on no bus. */
static bool has_no_card(const struct wt_ctx *ctx)
{
    char **names, model[128] = "";
    size_t count;
    if (wt_fs_list(ctx, "/sys/bus/pci/devices", &names, &count, NULL) < 0)
        return false;
    wt_fs_list_free(names, count);
    (void)wt_fs_read_start(ctx, "/proc/device-tree/model", model, sizeof(model));
    return !strstr(model, "NVIDIA") && !has_nvidia_card(ctx);
}

/* Below another root lies another machine, or a recording of one: its driver's files may name GPUs,
 * but a library answers only on the machine itself. 0: there is nothing to say. */
static int explain_sysroot(const struct wt_ctx *ctx, struct wt_error *err)
{
    char **names = NULL, text[1024] = "", path[512];
    size_t count = 0;
    int rc = wt_fs_list(ctx, "/proc/driver/nvidia/gpus", &names, &count, NULL);
    if (rc < 0 && !has_nvidia_card(ctx))
        return has_no_card(ctx) ? wt_fail(err, WT_E_NOTFOUND, "no NVIDIA GPU in this machine") : 0;
    for (size_t i = count; i-- > 0;) { /* the first one's stays */
        wt_text(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", names[i]);
        (void)wt_fs_read(ctx, path, text, sizeof(text), NULL);
    }
    const char *model = strncmp(text, "Model:", 6) == 0 ? text + 6 : "NVIDIA GPU";
    model += strspn(model, " \t");
    char many[24] = "";
    if (count > 1)
        wt_text(many, sizeof(many), "%zu x ", count);
    rc = wt_fail(err, WT_E_UNSUPPORTED,
                 "%s%.*s: not looked at, for NVML answers only on the machine itself", many,
                 (int)strcspn(model, "\n"), model);
    wt_fix(err, "run `wattune doctor` there, without --sysroot");
    wt_fs_list_free(names, count);
    return rc;
}

/* The library did not open: says what that means on this machine. */
static void explain_missing_library(const struct wt_ctx *ctx, struct wt_error *err)
{
    char version[64];
    module_version(ctx, version, sizeof(version));
    if (ctx->nvml_library) {
        wt_fix(err, "check the path in $WATTUNE_NVML");
    } else if (*version) {
        wt_fix(err,
               "the driver %s is loaded but its library is not here: install the libnvidia-ml of "
               "that version, or start the container with --gpus all",
               version);
    } else if (has_nvidia_card(ctx)) {
        wt_fix(err, "an NVIDIA card is in this machine: install its driver (sudo apt install "
                    "nvidia-driver)");
    } else {
        wt_fail(err, WT_E_NOTFOUND, "no NVIDIA GPU in this machine, and no " DEFAULT_LIBRARY);
    }
}

static void fix_failed_init(const struct wt_ctx *ctx, bool is_emulated, int nvml_rc,
                            struct wt_error *err)
{
    char version[64];
    if (is_emulated) {
        wt_fix(err, "the emulation is over, or $WATTUNE_EMULATION is not set: start one with "
                    "--emulate PROFILE");
        return;
    }
    switch (nvml_rc) {
    case WT_NVML_DRIVER_NOT_LOADED:
        if (has_nvidia_card(ctx))
            wt_fix(err, "sudo modprobe nvidia");
        else
            wt_fail(err, WT_E_NOTFOUND,
                    "the NVIDIA driver is installed, but no NVIDIA GPU is in this machine");
        break;
    case WT_NVML_VERSION_MISMATCH:
        module_version(ctx, version, sizeof(version));
        wt_fix(err,
               "the driver was updated but version %s is still loaded: reboot, or sudo rmmod "
               "nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia",
               *version ? version : "(unknown)");
        break;
    case WT_NVML_NO_PERMISSION:
        wt_fix(err, "you may not open /dev/nvidiactl: see ls -l /dev/nvidia*, and have yourself "
                    "added to its group (sudo usermod -aG video $USER)");
        break;
    case WT_NVML_OPERATING_SYSTEM:
        wt_fix(err, "the job's cgroup shuts the GPU out: ask the scheduler for a GPU (--gres=gpu)");
        break;
    case WT_NVML_GPU_NOT_FOUND:
        wt_fix(err, "nvidia-smi should list the GPUs; if it does not, see dmesg | grep NVRM");
        break;
    default:
        wt_fix(err, "see what nvidia-smi and dmesg | grep NVRM say");
    }
}

static bool is_unsupported(int nvml_rc)
{
    return wt_nvml_code(nvml_rc) == WT_E_UNSUPPORTED;
}

/* One field value as an integer. */
static int field_u64(const struct wt_nvml *nvml, wt_nvml_device handle, unsigned id,
                     uint64_t *ret_value)
{
    struct wt_nvml_field field = {.field = id, .rc = WT_NVML_NOT_SUPPORTED};
    int rc = wt_nvml_call(&nvml->api, fields, handle, 1, &field);
    if (rc != WT_NVML_SUCCESS)
        return rc;
    if (field.rc != WT_NVML_SUCCESS)
        return field.rc;
    switch (field.type) {
    case WT_NVML_TYPE_DOUBLE:
        if (!(field.value.d >= 0 && field.value.d < 1e18))
            return WT_NVML_UNKNOWN;
        *ret_value = (uint64_t)field.value.d;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_UINT:
        *ret_value = field.value.ui;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_ULONG:
        *ret_value = field.value.ul;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_ULLONG:
        *ret_value = field.value.ull;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_SLLONG:
        if (field.value.sll < 0)
            return WT_NVML_UNKNOWN;
        *ret_value = (uint64_t)field.value.sll;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_SINT:
        if (field.value.si < 0)
            return WT_NVML_UNKNOWN;
        *ret_value = (uint64_t)field.value.si;
        return WT_NVML_SUCCESS;
    case WT_NVML_TYPE_USHORT:
        *ret_value = field.value.us;
        return WT_NVML_SUCCESS;
    default:
        return WT_NVML_UNKNOWN;
    }
}

/* Room for one more device; both arrays grow together. */
static int add_device(struct wt_nvml *nvml, struct wt_device_info **ret_info,
                      struct wt_nvml_gpu **ret_gpu)
{
    size_t count = nvml->source.count;
    struct wt_device_info *infos =
        realloc(nvml->source.devices, (count + 1) * sizeof(*nvml->source.devices));
    if (!infos)
        return WT_E_NOMEM;
    nvml->source.devices = infos;
    struct wt_nvml_gpu *gpus = realloc(nvml->gpus, (count + 1) * sizeof(*nvml->gpus));
    if (!gpus)
        return WT_E_NOMEM;
    nvml->gpus = gpus;
    nvml->source.count++;
    *ret_info = &infos[count];
    *ret_gpu = &gpus[count];
    memset(*ret_info, 0, sizeof(**ret_info));
    memset(*ret_gpu, 0, sizeof(**ret_gpu));
    return 0;
}

/* A text answer made safe: terminated, and printable whatever the library wrote. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
}

static void describe(struct wt_nvml *nvml, wt_nvml_device handle, const char *driver,
                     struct wt_device_info *info)
{
    char text[96] = "";
    wt_text(info->source, sizeof(info->source), "nvml");
    wt_text(info->driver, sizeof(info->driver), "%s", driver);
    info->kind = WT_DEVICE_GPU;
    info->is_emulated = nvml->api.is_emulated;
    if (wt_nvml_call(&nvml->api, name, handle, text, sizeof(text)) == WT_NVML_SUCCESS) {
        clean(text, sizeof(text));
        wt_text(info->name, sizeof(info->name), "%s", text);
    } else {
        wt_text(info->name, sizeof(info->name), "NVIDIA GPU");
    }
    if (wt_nvml_call(&nvml->api, uuid, handle, text, sizeof(text)) == WT_NVML_SUCCESS) {
        clean(text, sizeof(text));
        wt_text(info->id, sizeof(info->id), "%s", text);
    }
    struct wt_nvml_memory memory;
    if (wt_nvml_call(&nvml->api, memory, handle, &memory) == WT_NVML_SUCCESS)
        info->mem_bytes = memory.total;
}

/* Of a GPU that shows neither energy nor power (a vGPU): power from its utilisation, if that can be
 * read and its limit is known. */
static int add_model(struct wt_nvml *nvml, struct wt_device_info *info, struct wt_nvml_gpu *gpu,
                     struct wt_findings *notes)
{
    struct wt_nvml_utilization use;
    struct wt_error why = {0};
    unsigned limit_mw = 0;
    if (wt_nvml_call(&nvml->api, utilization, gpu->handle, &use) != WT_NVML_SUCCESS)
        return 0;
    if (wt_nvml_call(&nvml->api, limit, gpu->handle, &limit_mw) == WT_NVML_SUCCESS)
        gpu->limit_mw = limit_mw;
    if (wt_gpu_model_traits(info->name, gpu->limit_mw, &info->traits, &why) < 0)
        return wt_findings_add_error(notes, "nvml", info->id, "power model", &why);
    gpu->power = WT_NVML_POWER_MODELED;
    info->can |= WT_CAN_POWER;
    info->is_modeled = true;
    return wt_findings_add(notes, WT_FINDING_MISSING, "nvml", info->id, "power", "",
                           "no sensor is shown (a vGPU): estimated from how busy it is");
}

static int add_gpu(struct wt_nvml *nvml, unsigned index, wt_nvml_device handle, const char *driver,
                   struct wt_findings *notes)
{
    const struct wt_nvml_api *api = &nvml->api;
    struct wt_device_info *info;
    struct wt_nvml_gpu *gpu;
    int rc = add_device(nvml, &info, &gpu);
    if (rc < 0)
        return rc;
    gpu->handle = handle;
    info->index = index;
    info->can = WT_CAN_STATUS;
    describe(nvml, handle, driver, info);
    if (!*info->id)
        wt_text(info->id, sizeof(info->id), "gpu-%u", index);

    if (wt_nvml_call(api, compute_capability, handle, &gpu->major, &gpu->minor) != WT_NVML_SUCCESS)
        gpu->major = gpu->minor = 0;
    if (wt_nvml_call(api, architecture, handle, &gpu->arch) != WT_NVML_SUCCESS || gpu->arch > 1000)
        gpu->arch = wt_nvml_arch_from(gpu->major, gpu->minor);

    unsigned min = 0, max = 0;
    gpu->power_max_mw = POWER_MAX_MW;
    if (wt_nvml_call(api, limit_range, handle, &min, &max) == WT_NVML_SUCCESS && max > 0)
        gpu->power_max_mw = UINT64_C(10) * max;

    /* A passing failure (a lost card, a fault) is no proof that the sensor is not there. */
    unsigned long long mj;
    int energy_rc = wt_nvml_call(api, energy, handle, &mj);
    if (!is_unsupported(energy_rc))
        info->can |= WT_CAN_ENERGY;

    uint64_t mw;
    unsigned plain_mw;
    if (!is_unsupported(field_u64(nvml, handle, WT_NVML_FIELD_POWER_INSTANT, &mw)))
        gpu->power = WT_NVML_POWER_FIELD;
    else if (!is_unsupported(wt_nvml_call(api, power, handle, &plain_mw)))
        gpu->power = WT_NVML_POWER_PLAIN;
    if (gpu->power != WT_NVML_POWER_NONE)
        info->can |= WT_CAN_POWER;
    if (gpu->power == WT_NVML_POWER_FIELD &&
        !is_unsupported(wt_nvml_call(api, power, handle, &plain_mw)))
        info->can |= WT_CAN_PLAIN;
    wt_nvml_traits(gpu->arch, gpu->major, gpu->minor, driver, gpu->power, &info->traits);
    if (!(info->can & (WT_CAN_ENERGY | WT_CAN_POWER))) {
        rc = add_model(nvml, info, gpu, notes);
        if (rc < 0)
            return rc;
    }

    if (energy_rc != WT_NVML_SUCCESS) {
        const char *why = !is_unsupported(energy_rc) ? "could not be read"
                          : gpu->arch && gpu->arch < WT_NVML_ARCH_VOLTA
                              ? "none before Volta: energy is integrated from power samples"
                              : "not offered here (a vGPU or an old driver)";
        rc = wt_findings_add(
            notes, is_unsupported(energy_rc) ? WT_FINDING_MISSING : WT_FINDING_BROKEN, "nvml",
            info->id, "energy counter", "", "%s (NVML: %s)", why, wt_nvml_name(energy_rc));
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The MIG instances of the GPU added last. They have memory of their own but no power sensor: the
 * card's is the only one. */
static int add_instances(struct wt_nvml *nvml, unsigned index, wt_nvml_device handle,
                         const char *driver)
{
    const struct wt_nvml_api *api = &nvml->api;
    unsigned mode, pending, max;
    if (wt_nvml_call(api, mig_mode, handle, &mode, &pending) != WT_NVML_SUCCESS || mode != 1 ||
        wt_nvml_call(api, mig_max, handle, &max) != WT_NVML_SUCCESS)
        return 0;
    char parent[96];
    wt_text(parent, sizeof(parent), "%s", nvml->source.devices[nvml->source.count - 1].id);
    for (unsigned i = 0; i < max && i < 64; i++) {
        wt_nvml_device instance;
        if (wt_nvml_call(api, mig_by_index, handle, i, &instance) != WT_NVML_SUCCESS)
            continue;
        struct wt_device_info *info;
        struct wt_nvml_gpu *gpu;
        int rc = add_device(nvml, &info, &gpu);
        if (rc < 0)
            return rc;
        gpu->handle = instance;
        describe(nvml, instance, driver, info);
        if (!*info->id)
            wt_text(info->id, sizeof(info->id), "mig-%u-%u", index, i);
        info->index = i;
        info->is_part = true;
        info->can = WT_CAN_STATUS;
        wt_text(info->part_of, sizeof(info->part_of), "%s", parent);
    }
    return 0;
}

/* What opening needs and makes, alone on its thread. */
struct open_job {
    char library[512];
    struct wt_nvml *nvml;
    struct wt_findings notes;
    struct wt_error err;
    int nvml_rc;    /* of init, when rc says that it failed */
    bool is_loaded; /* the library was there */
};

static void open_job_free(void *data)
{
    struct open_job *job = data;
    nvml_unref(job->nvml);
    wt_findings_done(&job->notes);
    free(job);
}

static int add_all(struct open_job *job)
{
    struct wt_nvml *nvml = job->nvml;
    const struct wt_nvml_api *api = &nvml->api;
    char driver[80] = "";
    if (wt_nvml_call(api, driver_version, driver, sizeof(driver)) == WT_NVML_SUCCESS)
        clean(driver, sizeof(driver));
    else
        driver[0] = '\0';
    int rc = wt_findings_add(&job->notes, WT_FINDING_OK, "nvml", "", "library", "", "%s%s%s%s",
                             api->path, *driver ? ", driver " : "", driver,
                             api->is_emulated ? ", EMULATED" : "");
    if (rc < 0)
        return rc;

    unsigned count;
    int nvml_rc = wt_nvml_call(api, count, &count);
    if (nvml_rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(&job->err, nvml_rc, "the GPUs cannot be counted");
    for (unsigned i = 0; i < count && i < 1024; i++) {
        wt_nvml_device handle;
        nvml_rc = wt_nvml_call(api, by_index, i, &handle);
        if (nvml_rc != WT_NVML_SUCCESS) {
            struct wt_error err;
            char what[32];
            wt_nvml_fail(&err, nvml_rc, "GPU %u cannot be opened", i);
            if (err.code == WT_E_GONE)
                wt_fix(&err, "sudo nvidia-smi --gpu-reset -i %u, or reboot; see dmesg | grep NVRM",
                       i);
            else if (err.code == WT_E_DENIED)
                wt_fix(&err,
                       "the job's cgroup or /dev/nvidia%u shuts it out: nothing to do if it "
                       "is not yours",
                       i);
            wt_text(what, sizeof(what), "GPU %u", i);
            if ((rc = wt_findings_add_error(&job->notes, "nvml", "", what, &err)) < 0)
                return rc;
            continue;
        }
        if ((rc = add_gpu(nvml, i, handle, driver, &job->notes)) < 0 ||
            (rc = add_instances(nvml, i, handle, driver)) < 0)
            return rc;
    }
    return 0;
}

static int open_all(void *data)
{
    struct open_job *job = data;
    struct wt_nvml_api *api = &job->nvml->api;
    int rc = wt_nvml_api_open(api, job->library, &job->err);
    if (rc < 0)
        return rc;
    job->is_loaded = true;
    int nvml_rc = wt_nvml_call(api, init);
    if (nvml_rc != WT_NVML_SUCCESS) {
        job->nvml_rc = nvml_rc;
        api->shutdown = NULL; /* nothing to shut down */
        return wt_nvml_fail(&job->err, nvml_rc, "%s does not start", api->path);
    }
    rc = add_all(job);
    if (rc == WT_E_NOMEM)
        wt_fail(&job->err, rc, "no memory for the GPUs");
    return rc;
}

/* A source of nothing, of which nothing is said. */
static int open_empty(struct wt_source **ret_source, struct wt_error *err)
{
    struct wt_nvml *nvml = calloc(1, sizeof(*nvml));
    if (!nvml)
        return wt_fail(err, WT_E_NOMEM, "no memory for NVML");
    nvml->source.ops = &wt_nvml_ops;
    atomic_init(&nvml->refs, 1);
    *ret_source = &nvml->source;
    return 0;
}

static int nvml_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                     const struct wt_devices_options *options, struct wt_findings *notes,
                     struct wt_error *err)
{
    (void)options;
    /* /proc and /sys below another root are another machine's; this one's GPUs are not there. */
    if (*ctx->sysroot && !ctx->nvml_library) {
        int said = explain_sysroot(ctx, err);
        return said < 0 ? said : open_empty(ret_source, err);
    }

    struct open_job *job = calloc(1, sizeof(*job));
    if (!job || !(job->nvml = calloc(1, sizeof(*job->nvml)))) {
        free(job);
        return wt_fail(err, WT_E_NOMEM, "no memory for NVML");
    }
    job->nvml->source.ops = &wt_nvml_ops;
    job->nvml->clock = ctx->clock;
    job->nvml->timeout_ns = wt_nvml_timeout_ns(CALL_TIMEOUT_NS);
    atomic_init(&job->nvml->refs, 1);
    const char *library = ctx->nvml_library ? ctx->nvml_library : DEFAULT_LIBRARY;
    wt_text(job->library, sizeof(job->library), "%s", library);

    int64_t timeout_ns = wt_nvml_timeout_ns(OPEN_TIMEOUT_NS);
    bool is_abandoned;
    int rc = wt_deadline_run(open_all, open_job_free, job, timeout_ns, &is_abandoned);
    if (is_abandoned) {
        wt_fail(err, rc, "%s: no answer from the driver in %.3g s", library,
                wt_s_from_ns(timeout_ns));
        wt_fix(err, "see dmesg | grep -i -e NVRM -e Xid; a hung driver needs a reboot. A slow "
                    "start: sudo nvidia-smi -pm 1, or set WATTUNE_NVML_TIMEOUT=SECONDS");
        return rc;
    }
    if (rc < 0) {
        if (!job->err.code)
            wt_fail(&job->err, rc, "no thread for NVML");
        else if (!job->is_loaded)
            explain_missing_library(ctx, &job->err);
        else if (job->nvml_rc)
            fix_failed_init(ctx, job->nvml->api.is_emulated, job->nvml_rc, &job->err);
        if (err)
            *err = job->err;
        open_job_free(job);
        return rc;
    }
    struct wt_nvml *nvml = job->nvml;
    for (size_t i = 0; rc == 0 && i < job->notes.count; i++) {
        const struct wt_finding *f = &job->notes.list[i];
        rc = wt_findings_add(notes, f->kind, f->source, f->device, f->what, f->fix, "%s", f->value);
    }
    if (rc < 0) {
        open_job_free(job);
        return wt_fail(err, rc, "no memory for NVML");
    }
    nvml->source.is_emulated = nvml->api.is_emulated;
    atomic_store(&nvml->pcie_next_ns, now_ns(nvml) + WT_NS_PER_S);
    wt_log(ctx, WT_LOG_DEBUG, "nvml", "%s: %zu devices", nvml->api.path, nvml->source.count);
    *ret_source = &nvml->source;
    job->nvml = NULL;
    open_job_free(job);
    return 0;
}

static void nvml_close(struct wt_source *source)
{
    nvml_unref((struct wt_nvml *)source);
}

/* ---- reading ---- */

static int read_energy(struct wt_nvml *nvml, size_t k, struct wt_energy *ret_energy,
                       struct wt_error *err)
{
    const struct wt_device_info *info = &nvml->source.devices[k];
    if (!(info->can & WT_CAN_ENERGY))
        return wt_fail(err, WT_E_UNSUPPORTED, "%s has no energy counter", info->id);
    unsigned long long mj;
    int64_t before = now_ns(nvml);
    int rc = wt_nvml_call(&nvml->api, energy, nvml->gpus[k].handle, &mj);
    int64_t after = now_ns(nvml);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: energy counter", info->id);
    if (mj > UINT64_MAX / 1000)
        return wt_fail(err, WT_E_FORMAT, "%s: an energy counter of %llu mJ", info->id, mj);
    ret_energy->uj = mj * 1000;
    ret_energy->t_ns = before + (after - before) / 2;
    ret_energy->state = nvml->api.is_emulated ? WT_EMULATED : WT_LIVE;
    return 0;
}

/* Power from the utilisation. */
static int model_power(struct wt_nvml *nvml, const struct wt_device_info *info,
                       const struct wt_nvml_gpu *gpu, uint64_t *ret_mw)
{
    struct wt_nvml_utilization use;
    struct wt_power_band band;
    int rc = wt_nvml_call(&nvml->api, utilization, gpu->handle, &use);
    if (rc != WT_NVML_SUCCESS)
        return rc;
    if (use.gpu > 100 ||
        wt_gpu_model_power(info->name, gpu->limit_mw, use.gpu / 100.0, &band, NULL) < 0)
        return WT_NVML_UNKNOWN;
    *ret_mw = band.mid_mw;
    return WT_NVML_SUCCESS;
}

static int read_power(struct wt_nvml *nvml, size_t k, enum wt_nvml_power which,
                      struct wt_power *ret_power, struct wt_error *err)
{
    const struct wt_device_info *info = &nvml->source.devices[k];
    const struct wt_nvml_gpu *gpu = &nvml->gpus[k];
    uint64_t mw = 0;
    unsigned plain_mw = 0;
    int rc = WT_NVML_NOT_SUPPORTED;
    int64_t before = now_ns(nvml);
    switch (which) {
    case WT_NVML_POWER_FIELD:
        rc = field_u64(nvml, gpu->handle, WT_NVML_FIELD_POWER_INSTANT, &mw);
        break;
    case WT_NVML_POWER_PLAIN:
        rc = wt_nvml_call(&nvml->api, power, gpu->handle, &plain_mw);
        mw = plain_mw;
        break;
    case WT_NVML_POWER_MODELED:
        rc = model_power(nvml, info, gpu, &mw);
        break;
    case WT_NVML_POWER_NONE:
        return wt_fail(err, WT_E_UNSUPPORTED, "%s has no power sensor", info->id);
    }
    int64_t after = now_ns(nvml);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: power", info->id);
    if (mw > gpu->power_max_mw)
        return wt_fail(err, WT_E_FORMAT, "%s: a power of %llu mW, ten times its highest limit",
                       info->id, (unsigned long long)mw);
    ret_power->mw = mw;
    ret_power->t_ns = before + (after - before) / 2;
    ret_power->state = nvml->api.is_emulated            ? WT_EMULATED
                       : which == WT_NVML_POWER_MODELED ? WT_MODELED
                                                        : WT_LIVE;
    return 0;
}

/* NVML's reasons by bit (nvmlClocksEventReason*), reduced to ours. */
static uint64_t throttle_from(unsigned long long reasons)
{
    static const struct {
        unsigned long long bit;
        uint64_t ours;
    } rows[] = {
        {0x001, WT_THROTTLE_IDLE},         /* idle */
        {0x002, WT_THROTTLE_LOCKED_CLOCK}, /* application clocks setting */
        {0x004, WT_THROTTLE_POWER_CAP},    /* software power cap */
        {0x008, WT_THROTTLE_OTHER},        /* hardware slowdown, said more exactly by others */
        {0x010, WT_THROTTLE_OTHER},        /* sync boost */
        {0x020, WT_THROTTLE_THERMAL},      /* software thermal */
        {0x040, WT_THROTTLE_THERMAL},      /* hardware thermal */
        {0x080, WT_THROTTLE_POWER_BRAKE},  /* hardware power brake */
        {0x100, WT_THROTTLE_OTHER},        /* display clock setting */
    };
    uint64_t ours = 0;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (reasons & rows[i].bit)
            ours |= rows[i].ours;
    return ours;
}

/* PCIe throughput makes the driver count for 20 ms, in which nothing else is read on the same
 * thread, so it is asked for rarely: one direction of one device at a time, all together for at
 * most a fiftieth of the time, and not in the first second, so that a short run does not wait. */
static int read_pcie(struct wt_nvml *nvml, struct wt_nvml_gpu *gpu, struct wt_status *status)
{
    int rc = WT_NVML_SUCCESS;
    int64_t now = now_ns(nvml);
    int64_t next = atomic_load(&nvml->pcie_next_ns);
    if (now >= next &&
        atomic_compare_exchange_strong(&nvml->pcie_next_ns, &next, now + 100 * WT_NS_PER_MS)) {
        int way = atomic_load(&gpu->pcie_ns[WT_NVML_PCIE_TX]) <=
                          atomic_load(&gpu->pcie_ns[WT_NVML_PCIE_RX])
                      ? WT_NVML_PCIE_TX
                      : WT_NVML_PCIE_RX;
        unsigned kb_s;
        rc = wt_nvml_call(&nvml->api, pcie, gpu->handle, way, &kb_s);
        int64_t after = now_ns(nvml);
        int64_t rest = 50 * (after - now);
        atomic_store(&nvml->pcie_next_ns,
                     after + (rest > 100 * WT_NS_PER_MS ? rest : 100 * WT_NS_PER_MS));
        if (rc == WT_NVML_SUCCESS) {
            atomic_store(&gpu->pcie_bytes_s[way], UINT64_C(1000) * kb_s);
            atomic_store(&gpu->pcie_ns[way], after);
        }
    }
    if (atomic_load(&gpu->pcie_ns[0]) && atomic_load(&gpu->pcie_ns[1])) {
        status->pcie_tx_bytes_s = atomic_load(&gpu->pcie_bytes_s[WT_NVML_PCIE_TX]);
        status->pcie_rx_bytes_s = atomic_load(&gpu->pcie_bytes_s[WT_NVML_PCIE_RX]);
        status->has |= WT_HAS_PCIE;
    }
    return rc;
}

/* What a device does not have is no failure; the first that it has and cannot read is. */
static int read_status(struct wt_nvml *nvml, size_t k, struct wt_status *s, struct wt_error *err)
{
    const struct wt_nvml_api *api = &nvml->api;
    struct wt_nvml_gpu *gpu = &nvml->gpus[k];
    const char *id = nvml->source.devices[k].id;
    int first = WT_NVML_SUCCESS, rc;
    const char *what = "";
#define NOTE(name)                                                                                 \
    if (rc != WT_NVML_SUCCESS && !is_unsupported(rc) && first == WT_NVML_SUCCESS) {                \
        first = rc;                                                                                \
        what = name;                                                                               \
    }

    unsigned value;
    rc = wt_nvml_call(api, temperature, gpu->handle, 0, &value);
    if (rc == WT_NVML_SUCCESS) {
        s->temp_mc = (int32_t)value * 1000;
        s->has |= WT_HAS_TEMP;
    } else if (is_unsupported(rc)) {
        struct wt_nvml_temperature t = {.version = (unsigned)sizeof(t) | 1u << 24};
        rc = wt_nvml_call(api, temperature_v, gpu->handle, &t);
        if (rc == WT_NVML_SUCCESS) {
            s->temp_mc = t.celsius * 1000;
            s->has |= WT_HAS_TEMP;
        }
    }
    NOTE("temperature")

    rc = wt_nvml_call(api, clock, gpu->handle, WT_NVML_CLOCK_SM, &value);
    if (rc == WT_NVML_SUCCESS) {
        s->clock_khz = value * 1000;
        s->has |= WT_HAS_CLOCK;
    }
    NOTE("SM clock")
    rc = wt_nvml_call(api, clock, gpu->handle, WT_NVML_CLOCK_MEM, &value);
    if (rc == WT_NVML_SUCCESS) {
        s->memclock_khz = value * 1000;
        s->has |= WT_HAS_MEMCLOCK;
    }
    NOTE("memory clock")

    struct wt_nvml_utilization use;
    rc = wt_nvml_call(api, utilization, gpu->handle, &use);
    if (rc == WT_NVML_SUCCESS && use.gpu <= 100 && use.memory <= 100) {
        s->util_ppm = use.gpu * 10000;
        s->memutil_ppm = use.memory * 10000;
        s->has |= WT_HAS_UTIL | WT_HAS_MEMUTIL;
    }
    NOTE("utilisation")

    struct wt_nvml_memory memory;
    rc = wt_nvml_call(api, memory, gpu->handle, &memory);
    if (rc == WT_NVML_SUCCESS) {
        s->mem_used_bytes = memory.used;
        s->mem_total_bytes = memory.total;
        s->has |= WT_HAS_MEM;
    }
    NOTE("memory")

    rc = wt_nvml_call(api, enforced_limit, gpu->handle, &value);
    if (is_unsupported(rc))
        rc = wt_nvml_call(api, limit, gpu->handle, &value);
    if (rc == WT_NVML_SUCCESS) {
        s->power_limit_mw = value;
        s->has |= WT_HAS_LIMIT;
    }
    NOTE("power limit")

    unsigned long long reasons;
    rc = wt_nvml_call(api, reasons, gpu->handle, &reasons);
    if (rc == WT_NVML_SUCCESS) {
        s->throttle = throttle_from(reasons);
        s->has |= WT_HAS_THROTTLE;
    }
    NOTE("throttle reasons")

    uint64_t mw;
    rc = field_u64(nvml, gpu->handle, WT_NVML_FIELD_POWER_AVERAGE, &mw);
    if (rc == WT_NVML_SUCCESS && gpu->power_max_mw && mw <= gpu->power_max_mw) {
        s->power_average_mw = mw;
        s->has |= WT_HAS_POWER_AVERAGE;
    }
    NOTE("average power")

    rc = read_pcie(nvml, gpu, s);
    NOTE("PCIe throughput")
#undef NOTE
    if (first != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, first, "%s: %s", id, what);
    if (!s->has)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s says nothing of its state", id);
    return 0;
}

static int nvml_read(struct wt_source *source, size_t k, unsigned what,
                     struct wt_reading *ret_reading, struct wt_error *err)
{
    struct wt_nvml *nvml = (struct wt_nvml *)source;
    if (atomic_load_explicit(&nvml->is_hung, memory_order_relaxed))
        return wt_fail(err, WT_E_TIMEOUT, "%s: the driver hangs", source->devices[k].id);
    atomic_fetch_add(&nvml->refs, 1);
    int rc = 0, part;
    ret_reading->t_before_ns = now_ns(nvml);
    /* The first failure is the story; the rest is still read. */
    if (what & WT_READ_ENERGY)
        rc = read_energy(nvml, k, &ret_reading->energy, err);
    if (what & WT_READ_POWER) {
        part = read_power(nvml, k, nvml->gpus[k].power, &ret_reading->power, rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : part;
    }
    if (what & WT_READ_PLAIN) {
        part = read_power(nvml, k,
                          nvml->source.devices[k].can & WT_CAN_PLAIN ? WT_NVML_POWER_PLAIN
                                                                     : WT_NVML_POWER_NONE,
                          &ret_reading->plain, rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : part;
    }
    if (what & WT_READ_STATUS) {
        part = read_status(nvml, k, &ret_reading->status, rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : part;
    }
    ret_reading->t_after_ns = now_ns(nvml);
    nvml_unref(nvml);
    return rc;
}

/* ---- processes ---- */

/* Adds a process, or the memory to one that is listed. Returns how many there are now. */
static size_t add_process(struct wt_device_process *procs, size_t max, size_t count, unsigned pid,
                          unsigned long long mem_bytes)
{
    uint64_t mem = mem_bytes == ~0ull ? 0 : mem_bytes;
    for (size_t i = 0; i < count && i < max; i++)
        if (procs[i].pid == pid) {
            if (mem > procs[i].mem_bytes)
                procs[i].mem_bytes = mem;
            return count;
        }
    if (count < max) {
        procs[count].pid = pid;
        procs[count].busy_ppm = UINT32_MAX;
        procs[count].mem_bytes = mem;
    }
    return count + 1;
}

#define PROCESSES_MAX 512
#define USE_MAX       65536
/* The driver samples about six times a second at most and may keep its samples longer than that. */
#define USE_US 1500000

/* How much of the time each process's work was on the device. A driver that has no sample (no
 * process ran, or it keeps none) leaves them unknown. */
static void add_use(const struct wt_nvml_api *api, wt_nvml_device handle,
                    struct wt_device_process *procs, size_t count)
{
    struct wt_nvml_process_use *use = calloc(PROCESSES_MAX, sizeof(*use));
    unsigned n = PROCESSES_MAX, room = PROCESSES_MAX;
    unsigned long long since_us = (unsigned long long)wt_clock_unix_ns() / 1000 - USE_US;
    int rc = use ? wt_nvml_call(api, process_use, handle, use, &n, since_us) : (int)WT_NVML_MEMORY;
    /* The driver asks for room for its whole ring of samples, whatever is in it. */
    if (rc == WT_NVML_INSUFFICIENT_SIZE && n > room && n <= USE_MAX) {
        struct wt_nvml_process_use *more = calloc(n, sizeof(*more));
        free(use);
        use = more;
        room = n;
        if (use)
            rc = wt_nvml_call(api, process_use, handle, use, &n, since_us);
    }
    if (use && rc == WT_NVML_SUCCESS)
        for (size_t i = 0; i < count; i++) {
            unsigned long long newest_us = 0;
            procs[i].busy_ppm = 0;
            for (unsigned k = 0; k < n && k < room; k++)
                if (use[k].pid == procs[i].pid && use[k].t_us >= newest_us) {
                    newest_us = use[k].t_us;
                    procs[i].busy_ppm = (use[k].sm < 100 ? use[k].sm : 100) * 10000u;
                }
        }
    free(use);
}

static int nvml_processes(struct wt_source *source, size_t k, struct wt_device_process *procs,
                          size_t max, size_t *ret_count, struct wt_error *err)
{
    struct wt_nvml *nvml = (struct wt_nvml *)source;
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    struct wt_nvml_process *list = calloc(PROCESSES_MAX, sizeof(*list));
    if (!list)
        return wt_fail(err, WT_E_NOMEM, "no memory for a list of processes");
    atomic_fetch_add(&nvml->refs, 1);

    size_t found = 0;
    unsigned count = PROCESSES_MAX;
    int rc = wt_nvml_call(api, compute_processes, handle, &count, list);
    if (rc == WT_NVML_SUCCESS) {
        for (unsigned i = 0; i < count && i < PROCESSES_MAX; i++)
            found = add_process(procs, max, found, list[i].pid, list[i].mem_bytes);
    } else if (is_unsupported(rc)) {
        /* Its rows are shorter than the newer ones, so they fit in the same room. */
        struct wt_nvml_process_v1 *old = (struct wt_nvml_process_v1 *)list;
        count = PROCESSES_MAX;
        rc = wt_nvml_call(api, compute_processes_v1, handle, &count, old);
        for (unsigned i = 0; rc == WT_NVML_SUCCESS && i < count && i < PROCESSES_MAX; i++)
            found = add_process(procs, max, found, old[i].pid, old[i].mem_bytes);
    }
    /* Programs that draw use the card as well; a library without the call just has none. */
    if (rc == WT_NVML_SUCCESS) {
        count = PROCESSES_MAX;
        if (wt_nvml_call(api, graphics_processes, handle, &count, list) == WT_NVML_SUCCESS)
            for (unsigned i = 0; i < count && i < PROCESSES_MAX; i++)
                found = add_process(procs, max, found, list[i].pid, list[i].mem_bytes);
    }
    if (rc == WT_NVML_SUCCESS && found)
        add_use(api, handle, procs, found < max ? found : max);
    if (rc == WT_NVML_SUCCESS)
        *ret_count = found;
    else
        rc = wt_nvml_fail(err, rc, "%s: processes", source->devices[k].id);
    nvml_unref(nvml);
    free(list);
    return rc;
}

const struct wt_source_ops wt_nvml_ops = {
    .name = "nvml",
    .is_gpu = true,
    .visible_env = "CUDA_VISIBLE_DEVICES",
    .open = nvml_open,
    .read = nvml_read,
    .processes = nvml_processes,
    .close = nvml_close,
};

/* ---- for the knobs ---- */

struct wt_nvml *wt_nvml_of(const struct wt_devices *devices, size_t i, size_t *ret_k)
{
    struct wt_source *source;
    if (!wt_devices_locate(devices, i, &source, ret_k) || source->ops != &wt_nvml_ops)
        return NULL;
    return (struct wt_nvml *)source;
}

struct guarded_job {
    struct wt_nvml *nvml;
    size_t k;
    int (*fn)(struct wt_nvml *nvml, size_t k, void *io, struct wt_error *err);
    struct wt_error err;
    max_align_t io[];
};

static int guarded_run(void *data)
{
    struct guarded_job *job = data;
    return job->fn(job->nvml, job->k, job->io, &job->err);
}

static void guarded_drop(void *data)
{
    struct guarded_job *job = data;
    nvml_unref(job->nvml);
    free(job);
}

int wt_nvml_guarded(struct wt_nvml *nvml, size_t k, void *io, size_t io_size,
                    int (*fn)(struct wt_nvml *nvml, size_t k, void *io, struct wt_error *err),
                    struct wt_error *err)
{
    const char *id = nvml->source.devices[k].id;
    if (atomic_load(&nvml->is_hung)) {
        int rc = wt_fail(err, WT_E_TIMEOUT, "%s: the driver has stopped answering", id);
        wt_fix(err, "see dmesg | grep -i -e NVRM -e Xid; a hung driver needs a reboot");
        return rc;
    }
    struct guarded_job *job = calloc(1, sizeof(*job) + io_size);
    if (!job)
        return wt_fail(err, WT_E_NOMEM, "no memory for a call of NVML");
    job->nvml = nvml;
    job->k = k;
    job->fn = fn;
    memcpy(job->io, io, io_size);
    atomic_fetch_add(&nvml->refs, 1);
    bool is_abandoned;
    int rc = wt_deadline_run(guarded_run, guarded_drop, job, nvml->timeout_ns, &is_abandoned);
    if (is_abandoned) {
        atomic_store(&nvml->is_hung, true);
        wt_fail(err, rc, "%s: no answer from the driver in %.3g s", id,
                wt_s_from_ns(nvml->timeout_ns));
        wt_fix(err, "see dmesg | grep -i -e NVRM -e Xid; a hung driver needs a reboot");
        return rc;
    }
    memcpy(io, job->io, io_size);
    if (rc < 0 && err) {
        if (job->err.code)
            *err = job->err;
        else
            wt_fail(err, rc, "%s: %s", id, wt_strerror(rc));
    }
    guarded_drop(job);
    return rc;
}
