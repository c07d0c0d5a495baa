/* rocm: see rocm.h. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/deadline.h"
#include "sensor/rocm.h"

#define OPEN_TIMEOUT_NS (30 * WT_NS_PER_S)

/* The place of a GPU on the bus within what the library calls it: a partition's number lies
 * between. */
#define BDF_MASK UINT64_C(0xffffffff0000ffff)

struct wt_rocm {
    void *library;
    int (*init)(uint64_t flags);
    int (*shut_down)(void);
    int (*num_monitor_devices)(uint32_t *ret_count);
    int (*dev_pci_id_get)(uint32_t index, uint64_t *ret_bdf);
    int (*dev_energy_count_get)(uint32_t index, uint64_t *ret_count, float *ret_step_uj,
                                uint64_t *ret_t_ns);
    bool is_init;
    uint64_t bdfs[WT_ROCM_GPUS_MAX];
    uint32_t count;
    int rc; /* of the first of these that failed, as the library says it */
    const char *failed;
};

static void resolve(void *library, const char *symbol, void *ret_member, size_t size)
{
    void *found = dlsym(library, symbol);
    memcpy(ret_member, &found, size);
}

void wt_rocm_close(struct wt_rocm *r)
{
    if (!r)
        return;
    if (r->is_init && r->shut_down)
        r->shut_down();
    if (r->library)
        dlclose(r->library);
    free(r);
}

static int code_of(int rsmi_rc)
{
    static const struct {
        int rsmi, code;
    } rows[] = {
        {1, WT_E_RANGE}, {2, WT_E_UNSUPPORTED}, {3, WT_E_IO},    {4, WT_E_DENIED},
        {5, WT_E_NOMEM}, {9, WT_E_UNSUPPORTED}, {16, WT_E_BUSY},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].rsmi == rsmi_rc)
            return rows[i].code;
    return WT_E_IO;
}

static int open_job(void *job)
{
    struct wt_rocm *r = job;
    r->failed = "rsmi_init";
    r->rc = r->init(0);
    if (r->rc)
        return WT_E_IO;
    r->is_init = true;
    uint32_t count = 0;
    r->failed = "rsmi_num_monitor_devices";
    r->rc = r->num_monitor_devices(&count);
    if (r->rc)
        return WT_E_IO;
    for (uint32_t i = 0; i < count && i < WT_ROCM_GPUS_MAX; i++) {
        uint64_t bdf = 0;
        r->bdfs[i] = r->dev_pci_id_get(i, &bdf) == 0 ? bdf : UINT64_MAX;
        r->count++;
    }
    return 0;
}

static void drop_job(void *job)
{
    wt_rocm_close(job);
}

static void *open_library(const struct wt_ctx *ctx, struct wt_error *err)
{
    static const char *const names[] = {"librocm_smi64.so.1", "librocm_smi64.so",
                                        "/opt/rocm/lib/librocm_smi64.so"};
    const char *own = getenv("WATTUNE_ROCM_SMI");
    if (own && *own) {
        void *library = dlopen(own, RTLD_NOW | RTLD_LOCAL);
        const char *why = library ? NULL : dlerror();
        if (!library)
            wt_fail(err, WT_E_NOTFOUND, "%s", why ? why : own);
        return library;
    }
    /* Of another machine there are files only. */
    for (size_t i = 0; i < WT_COUNTOF(names) && !*ctx->sysroot; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    wt_fail(err, WT_E_NOTFOUND, "there is no %s", names[0]);
    wt_fix(err, "install rocm-smi-lib for the energy counters, or name the library: "
                "WATTUNE_ROCM_SMI");
    return NULL;
}

int wt_rocm_open(struct wt_rocm **ret_rocm, const struct wt_ctx *ctx, struct wt_error *err)
{
    struct wt_rocm *r = calloc(1, sizeof(*r));
    if (!r)
        return wt_fail(err, WT_E_NOMEM, "no memory for ROCm SMI");
    r->library = open_library(ctx, err);
    if (!r->library) {
        free(r);
        return WT_E_NOTFOUND;
    }
#define RESOLVE(member, symbol) resolve(r->library, symbol, &r->member, sizeof(r->member))
    RESOLVE(init, "rsmi_init");
    RESOLVE(shut_down, "rsmi_shut_down");
    RESOLVE(num_monitor_devices, "rsmi_num_monitor_devices");
    RESOLVE(dev_pci_id_get, "rsmi_dev_pci_id_get");
    RESOLVE(dev_energy_count_get, "rsmi_dev_energy_count_get");
#undef RESOLVE
    if (!r->init || !r->num_monitor_devices || !r->dev_pci_id_get || !r->dev_energy_count_get) {
        wt_rocm_close(r);
        return wt_fail(err, WT_E_NOTFOUND, "librocm_smi64 lacks the functions of energy counters");
    }
    bool is_abandoned;
    int rc = wt_deadline_run(open_job, drop_job, r, OPEN_TIMEOUT_NS, &is_abandoned);
    if (is_abandoned) {
        wt_fail(err, rc, "ROCm SMI did not start within %d s",
                (int)(OPEN_TIMEOUT_NS / WT_NS_PER_S));
        wt_fix(err, "a program that died may hold its lock: remove /dev/shm/rocm_smi_*");
        return rc;
    }
    if (rc < 0) {
        const char *failed = r->failed;
        int rsmi_rc = r->rc;
        wt_rocm_close(r);
        return wt_fail(err, code_of(rsmi_rc), "%s: ROCm SMI answers %d", failed, rsmi_rc);
    }
    *ret_rocm = r;
    return 0;
}

int wt_rocm_find(const struct wt_rocm *r, uint64_t bdf, unsigned *ret_index)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->bdfs[i] != UINT64_MAX && (r->bdfs[i] & BDF_MASK) == (bdf & BDF_MASK)) {
            *ret_index = i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

int wt_rocm_energy(const struct wt_rocm *r, unsigned index, uint64_t *ret_uj, double *ret_step_uj,
                   struct wt_error *err)
{
    uint64_t count = 0, t_ns = 0;
    float step_uj = 0;
    struct wt_gauge_scale scale;
    int rc = r->dev_energy_count_get(index, &count, &step_uj, &t_ns);
    if (rc)
        return wt_fail(err, code_of(rc), "rsmi_dev_energy_count_get: ROCm SMI answers %d", rc);
    /* What the firmware does not count reads as all ones. */
    if (count == UINT64_MAX)
        return wt_fail(err, WT_E_UNSUPPORTED, "rsmi_dev_energy_count_get: no counter");
    if (wt_gauge_scale_from((double)step_uj, &scale) < 0)
        return wt_fail(err, WT_E_FORMAT, "rsmi_dev_energy_count_get: a step of %g uJ",
                       (double)step_uj);
    *ret_uj = wt_gauge_scaled_uj(count, &scale);
    if (ret_step_uj)
        *ret_step_uj = (double)step_uj;
    return 0;
}

int wt_rocm_gauge_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                     struct wt_error *err)
{
    (void)ctx;
    return wt_rocm_energy(gauge->counter_data, gauge->counter_index, ret_uj, NULL, err);
}
