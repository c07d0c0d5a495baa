/* settings: what can be changed on a device - power limit, clocks, modes - and what is set now. */
#include "emulator/nvml/standin.h"

#define MHZ(khz) ((unsigned)((khz) / 1000))

/* NVML's words in place of MHz in a clock lock. */
enum { CLOCK_LIMIT_TDP = 0xffffff01u, CLOCK_LIMIT_UNLIMITED = 0xffffff02u };

static nvmlReturn_t from_rc(int rc)
{
    switch (rc) {
    case 0:
        return NVML_SUCCESS;
    case WT_E_UNSUPPORTED:
        return NVML_ERROR_NOT_SUPPORTED;
    case WT_E_RANGE:
        return NVML_ERROR_INVALID_ARGUMENT;
    default:
        return NVML_ERROR_UNKNOWN;
    }
}

/* ---- power limit ---- */

static nvmlReturn_t give_limit(struct call *c, unsigned *mw)
{
    *mw = (unsigned)c->d->model.limit_mw;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPowerManagementLimit, nvmlDevice_t device, unsigned *mw)
{
    ENTER(0, mw != NULL);
    return give_limit(&c, mw);
}

NVML_CALL(nvmlDeviceGetEnforcedPowerLimit, nvmlDevice_t device, unsigned *mw)
{
    ENTER(0, mw != NULL);
    return give_limit(&c, mw);
}

NVML_CALL(nvmlDeviceGetPowerManagementDefaultLimit, nvmlDevice_t device, unsigned *mw)
{
    ENTER(0, mw != NULL);
    *mw = c.p->limit_default_mw;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPowerManagementLimitConstraints, nvmlDevice_t device, unsigned *min_mw,
          unsigned *max_mw)
{
    ENTER(0, min_mw != NULL && max_mw != NULL);
    *min_mw = c.p->limit_min_mw;
    *max_mw = c.p->limit_max_mw;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPowerManagementMode, nvmlDevice_t device, int *mode)
{
    ENTER(0, mode != NULL);
    *mode = 1;
    return NVML_SUCCESS;
}

static nvmlReturn_t set_limit(struct call *c, unsigned mw)
{
    if (!call_may_set(c))
        return NVML_ERROR_NO_PERMISSION;
    wt_shared_change(c->d);
    return from_rc(wt_model_set_limit(&c->d->model, c->p, mw, NULL));
}

NVML_CALL(nvmlDeviceSetPowerManagementLimit, nvmlDevice_t device, unsigned mw)
{
    ENTER(WT_CALL_SET, true);
    return set_limit(&c, mw);
}

NVML_CALL(nvmlDeviceSetPowerManagementLimit_v2, nvmlDevice_t device, struct nvml_power_value *value)
{
    ENTER(WT_CALL_SET, value != NULL);
    if (value->version != NVML_VERSION_OF(*value, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (value->scope > 2)
        return NVML_ERROR_INVALID_ARGUMENT;
    return value->scope == 0 ? set_limit(&c, value->mw) : NVML_ERROR_NOT_SUPPORTED;
}

/* ---- clocks ---- */

static nvmlReturn_t lock_clocks(struct call *c, uint32_t min_khz, uint32_t max_khz)
{
    wt_shared_change(c->d);
    return from_rc(wt_model_set_clock_lock(&c->d->model, c->p, min_khz, max_khz, NULL));
}

NVML_CALL(nvmlDeviceSetGpuLockedClocks, nvmlDevice_t device, unsigned min_mhz, unsigned max_mhz)
{
    ENTER(WT_CALL_SET, true);
    if (!is_since(&c, NVML_ARCH_VOLTA))
        return NVML_ERROR_NOT_SUPPORTED;
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    bool is_min_word = min_mhz == CLOCK_LIMIT_TDP || min_mhz == CLOCK_LIMIT_UNLIMITED;
    bool is_max_word = max_mhz == CLOCK_LIMIT_TDP || max_mhz == CLOCK_LIMIT_UNLIMITED;
    if (is_min_word != is_max_word)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (is_min_word) {
        if (min_mhz == CLOCK_LIMIT_UNLIMITED && max_mhz == CLOCK_LIMIT_UNLIMITED)
            return lock_clocks(&c, 0, 0);
        return lock_clocks(&c,
                           min_mhz == CLOCK_LIMIT_TDP ? c.p->clock_base_khz : c.p->clock_min_khz,
                           max_mhz == CLOCK_LIMIT_TDP ? c.p->clock_base_khz : c.p->clock_max_khz);
    }
    if (min_mhz > max_mhz || max_mhz < MHZ(c.p->clock_min_khz))
        return NVML_ERROR_INVALID_ARGUMENT;
    /* The driver takes a wish beyond what the board can do, and does what it can. */
    if (min_mhz < MHZ(c.p->clock_min_khz))
        min_mhz = MHZ(c.p->clock_min_khz);
    if (min_mhz > MHZ(c.p->clock_max_khz))
        min_mhz = MHZ(c.p->clock_max_khz);
    if (max_mhz > MHZ(c.p->clock_max_khz))
        max_mhz = MHZ(c.p->clock_max_khz);
    return lock_clocks(&c, min_mhz * 1000, max_mhz * 1000);
}

NVML_CALL(nvmlDeviceResetGpuLockedClocks, nvmlDevice_t device)
{
    ENTER(WT_CALL_SET, true);
    if (!is_since(&c, NVML_ARCH_VOLTA))
        return NVML_ERROR_NOT_SUPPORTED;
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    return lock_clocks(&c, 0, 0);
}

static nvmlReturn_t lock_memclock(struct call *c, uint32_t khz)
{
    wt_shared_change(c->d);
    return from_rc(wt_model_set_memclock_lock(&c->d->model, c->p, khz, NULL));
}

/* The supported memory clock that NVML shows as mhz; 0: none. */
static uint32_t memclock_at(const struct wt_profile *p, unsigned mhz)
{
    for (size_t i = 0; i < WT_COUNTOF(p->memclock_khz) && p->memclock_khz[i]; i++)
        if (MHZ(p->memclock_khz[i]) == mhz)
            return p->memclock_khz[i];
    return 0;
}

NVML_CALL(nvmlDeviceSetMemoryLockedClocks, nvmlDevice_t device, unsigned min_mhz, unsigned max_mhz)
{
    ENTER(WT_CALL_SET, true);
    if (!is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    if (min_mhz > max_mhz)
        return NVML_ERROR_INVALID_ARGUMENT;
    /* The fastest one in the range. */
    for (size_t i = 0; i < WT_COUNTOF(c.p->memclock_khz) && c.p->memclock_khz[i]; i++) {
        unsigned mhz = MHZ(c.p->memclock_khz[i]);
        if (mhz >= min_mhz && mhz <= max_mhz)
            return lock_memclock(&c, c.p->memclock_khz[i]);
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

NVML_CALL(nvmlDeviceResetMemoryLockedClocks, nvmlDevice_t device)
{
    ENTER(WT_CALL_SET, true);
    if (!is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    return lock_memclock(&c, 0);
}

/* Application clocks are an upper bound that the cap controller may go below: to the model, a lock
 * with the lowest clock as its other end. */
NVML_CALL(nvmlDeviceSetApplicationsClocks, nvmlDevice_t device, unsigned mem_mhz, unsigned sm_mhz)
{
    ENTER(WT_CALL_SET, true);
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    uint32_t mem_khz = memclock_at(c.p, mem_mhz), sm_khz = 0;
    for (size_t i = 0; wt_profile_clock_khz(c.p, i); i++)
        if (MHZ(wt_profile_clock_khz(c.p, i)) == sm_mhz)
            sm_khz = wt_profile_clock_khz(c.p, i);
    if (!mem_khz || !sm_khz)
        return NVML_ERROR_INVALID_ARGUMENT;
    /* The list shows whole MHz, so its lowest clock may be a cut one. */
    if (sm_khz < c.p->clock_min_khz)
        sm_khz = c.p->clock_min_khz;
    nvmlReturn_t result = lock_clocks(&c, c.p->clock_min_khz, sm_khz);
    if (result != NVML_SUCCESS)
        return result;
    c.d->state.app_clock_khz = sm_khz;
    c.d->state.app_memclock_khz = mem_khz;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceResetApplicationsClocks, nvmlDevice_t device)
{
    ENTER(WT_CALL_SET, true);
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    if (!c.d->state.app_clock_khz)
        return NVML_SUCCESS;
    nvmlReturn_t result = lock_clocks(&c, 0, 0);
    c.d->state.app_clock_khz = c.d->state.app_memclock_khz = 0;
    return result;
}

/* ---- modes ---- */

NVML_CALL(nvmlDeviceGetPersistenceMode, nvmlDevice_t device, int *mode)
{
    ENTER(0, mode != NULL);
    *mode = (int)c.d->state.is_persistent;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceSetPersistenceMode, nvmlDevice_t device, int mode)
{
    ENTER(WT_CALL_SET, mode == 0 || mode == 1);
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    wt_shared_change(c.d);
    c.d->state.is_persistent = (uint32_t)mode;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetComputeMode, nvmlDevice_t device, int *mode)
{
    ENTER(0, mode != NULL);
    *mode = (int)c.d->state.compute_mode;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceSetComputeMode, nvmlDevice_t device, int mode)
{
    ENTER(WT_CALL_SET, mode >= 0 && mode < 4);
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    wt_shared_change(c.d);
    c.d->state.compute_mode = (uint32_t)mode;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetAccountingMode, nvmlDevice_t device, int *mode)
{
    ENTER(0, mode != NULL);
    *mode = (int)c.d->state.is_accounting;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceSetAccountingMode, nvmlDevice_t device, int mode)
{
    ENTER(WT_CALL_SET, mode == 0 || mode == 1);
    if (!call_may_set(&c))
        return NVML_ERROR_NO_PERMISSION;
    wt_shared_change(c.d);
    c.d->state.is_accounting = (uint32_t)mode;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetAPIRestriction, nvmlDevice_t device, int api, int *is_restricted)
{
    ENTER(0, is_restricted != NULL && api >= 0 && api < 2);
    *is_restricted = 1; /* application clocks and boost: root only, as delivered */
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetEccMode, nvmlDevice_t device, int *current, int *pending)
{
    ENTER(0, current != NULL && pending != NULL);
    if (!c.p->has_volatile_ecc)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = 1;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetDefaultEccMode, nvmlDevice_t device, int *mode)
{
    ENTER(0, mode != NULL);
    if (!c.p->has_volatile_ecc)
        return NVML_ERROR_NOT_SUPPORTED;
    *mode = 1;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetMigMode, nvmlDevice_t device, unsigned *current, unsigned *pending)
{
    ENTER(0, current != NULL && pending != NULL);
    if (!is_mig_capable(c.p))
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = 0;
    return NVML_SUCCESS;
}
