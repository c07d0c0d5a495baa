/* sensors: everything read off a device that varies - power, energy, heat, clocks, utilisation, and
 * the two ways of asking for many at once (field values, samples). */
#include <string.h>

#include "emulator/nvml/standin.h"

#define MHZ(khz) ((unsigned)((khz) / 1000))

/* ---- power and energy ---- */

NVML_CALL(nvmlDeviceGetPowerUsage, nvmlDevice_t device, unsigned *mw)
{
    ENTER(WT_CALL_SENSOR, mw != NULL);
    call_look(&c);
    if (!c.view.has_plain)
        return NVML_ERROR_NO_DATA;
    *mw = call_garble_u32(&c, c.view.plain_mw);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetTotalEnergyConsumption, nvmlDevice_t device, unsigned long long *mj)
{
    ENTER(WT_CALL_SENSOR | WT_CALL_ENERGY, mj != NULL);
    call_look(&c);
    if (!c.view.has_energy)
        return NVML_ERROR_NOT_SUPPORTED; /* before Volta */
    *mj = call_garble(&c, c.view.energy_mj, UINT64_MAX);
    return NVML_SUCCESS;
}

/* ---- heat ---- */

NVML_CALL(nvmlDeviceGetTemperature, nvmlDevice_t device, int sensor, unsigned *celsius)
{
    ENTER(WT_CALL_SENSOR, celsius != NULL && sensor == 0);
    call_look(&c);
    *celsius = call_garble_u32(&c, (uint64_t)(c.view.status.temp_mc / 1000));
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetTemperatureV, nvmlDevice_t device, struct nvml_temperature *t)
{
    ENTER(WT_CALL_SENSOR, t != NULL);
    if (t->version != NVML_VERSION_OF(*t, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (t->sensor != 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    call_look(&c);
    t->celsius = (int)call_garble(&c, (uint64_t)(c.view.status.temp_mc / 1000), INT32_MAX);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetTemperatureThreshold, nvmlDevice_t device, int threshold, unsigned *celsius)
{
    ENTER(0, celsius != NULL && threshold >= 0 && threshold < 8);
    switch (threshold) {
    case 0:
        *celsius = (unsigned)c.p->shutdown_c;
        return NVML_SUCCESS;
    case 1:
        *celsius = (unsigned)c.p->slowdown_c;
        return NVML_SUCCESS;
    case 3:
        *celsius = (unsigned)c.p->max_op_c;
        return NVML_SUCCESS;
    default: /* memory, acoustic: not on these boards */
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

NVML_CALL(nvmlDeviceGetMarginTemperature, nvmlDevice_t device, struct nvml_margin *margin)
{
    ENTER(WT_CALL_SENSOR, margin != NULL);
    if (margin->version != NVML_VERSION_OF(*margin, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!is_since(&c, NVML_ARCH_ADA))
        return NVML_ERROR_NOT_SUPPORTED;
    call_look(&c);
    margin->kelvin = (int)c.p->max_op_c - c.view.status.temp_mc / 1000;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetThermalSettings, nvmlDevice_t device, unsigned sensor,
          struct nvml_thermal *settings)
{
    ENTER(WT_CALL_SENSOR, settings != NULL && (sensor < 3 || sensor == 15));
    if (sensor != 0 && sensor != 15)
        return NVML_ERROR_NOT_SUPPORTED;
    call_look(&c);
    *settings = (struct nvml_thermal){.count = 1};
    settings->sensor[0].controller = 1; /* inside the GPU */
    settings->sensor[0].max_c = 127;
    settings->sensor[0].now_c = c.view.status.temp_mc / 1000;
    settings->sensor[0].target = 1; /* the GPU */
    return NVML_SUCCESS;
}

/* ---- clocks ---- */

/* The video clock follows the SM clock; NVIDIA's boards run it a little lower. */
static uint32_t video_khz(uint32_t sm_khz)
{
    return sm_khz / 10 * 9;
}

NVML_CALL(nvmlDeviceGetClockInfo, nvmlDevice_t device, int type, unsigned *mhz)
{
    ENTER(WT_CALL_SENSOR, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    call_look(&c);
    uint32_t khz = type == NVML_CLOCK_MEM     ? c.view.status.memclock_khz
                   : type == NVML_CLOCK_VIDEO ? video_khz(c.view.status.clock_khz)
                                              : c.view.status.clock_khz;
    *mhz = call_garble_u32(&c, MHZ(khz));
    return NVML_SUCCESS;
}

static unsigned max_mhz(const struct call *c, int type)
{
    return type == NVML_CLOCK_MEM     ? MHZ(c->p->memclock_khz[0])
           : type == NVML_CLOCK_VIDEO ? MHZ(video_khz(c->p->clock_max_khz))
                                      : MHZ(c->p->clock_max_khz);
}

NVML_CALL(nvmlDeviceGetMaxClockInfo, nvmlDevice_t device, int type, unsigned *mhz)
{
    ENTER(0, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    *mhz = max_mhz(&c, type);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetMaxCustomerBoostClock, nvmlDevice_t device, int type, unsigned *mhz)
{
    ENTER(0, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    *mhz = max_mhz(&c, type);
    return NVML_SUCCESS;
}

/* Application clocks: the default ones are base clock and full memory clock. */
static nvmlReturn_t app_clock(const struct call *c, int type, bool is_default, unsigned *mhz)
{
    uint32_t sm = c->d->state.app_clock_khz, mem = c->d->state.app_memclock_khz;
    if (type == NVML_CLOCK_VIDEO)
        return NVML_ERROR_NOT_SUPPORTED;
    if (type == NVML_CLOCK_MEM)
        *mhz = MHZ(mem && !is_default ? mem : c->p->memclock_khz[0]);
    else
        *mhz = MHZ(sm && !is_default ? sm : c->p->clock_base_khz);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetApplicationsClock, nvmlDevice_t device, int type, unsigned *mhz)
{
    ENTER(0, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    return app_clock(&c, type, false, mhz);
}

NVML_CALL(nvmlDeviceGetDefaultApplicationsClock, nvmlDevice_t device, int type, unsigned *mhz)
{
    ENTER(0, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    return app_clock(&c, type, true, mhz);
}

NVML_CALL(nvmlDeviceGetClock, nvmlDevice_t device, int type, int id, unsigned *mhz)
{
    ENTER(WT_CALL_SENSOR, mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO && id >= 0 &&
                              id <= NVML_CLOCK_ID_BOOST_MAX);
    switch (id) {
    case NVML_CLOCK_ID_CURRENT:
        call_look(&c);
        *mhz =
            call_garble_u32(&c, MHZ(type == NVML_CLOCK_MEM     ? c.view.status.memclock_khz
                                    : type == NVML_CLOCK_VIDEO ? video_khz(c.view.status.clock_khz)
                                                               : c.view.status.clock_khz));
        return NVML_SUCCESS;
    case NVML_CLOCK_ID_BOOST_MAX:
        *mhz = max_mhz(&c, type);
        return NVML_SUCCESS;
    default:
        return app_clock(&c, type, id == NVML_CLOCK_ID_APP_DEFAULT, mhz);
    }
}

static unsigned memclock_count(const struct wt_profile *p)
{
    unsigned n = 0;
    while (n < WT_COUNTOF(p->memclock_khz) && p->memclock_khz[n])
        n++;
    return n;
}

NVML_CALL(nvmlDeviceGetSupportedMemoryClocks, nvmlDevice_t device, unsigned *count, unsigned *mhz)
{
    ENTER(0, count != NULL && (mhz != NULL || *count == 0));
    unsigned room = *count, n = memclock_count(c.p);
    *count = n;
    if (room < n)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        mhz[i] = MHZ(c.p->memclock_khz[i]);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetSupportedGraphicsClocks, nvmlDevice_t device, unsigned mem_mhz,
          unsigned *count, unsigned *mhz)
{
    ENTER(0, count != NULL && (mhz != NULL || *count == 0));
    bool is_listed = false;
    for (unsigned i = 0; i < memclock_count(c.p); i++)
        is_listed |= MHZ(c.p->memclock_khz[i]) == mem_mhz;
    if (!is_listed)
        return NVML_ERROR_NOT_FOUND;
    unsigned room = *count, n = 0;
    while (wt_profile_clock_khz(c.p, n))
        n++;
    *count = n;
    if (room < n)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        mhz[i] = MHZ(wt_profile_clock_khz(c.p, i));
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetMinMaxClockOfPState, nvmlDevice_t device, int type, int pstate,
          unsigned *min_mhz, unsigned *most_mhz)
{
    ENTER(0, min_mhz != NULL && most_mhz != NULL && type >= 0 && type <= NVML_CLOCK_VIDEO);
    if (pstate != 0 && pstate != 8)
        return NVML_ERROR_INVALID_ARGUMENT;
    *most_mhz = pstate == 0 ? max_mhz(&c, type) : MHZ(c.p->clock_idle_khz);
    *min_mhz = type == NVML_CLOCK_MEM ? *most_mhz : MHZ(c.p->clock_min_khz);
    if (pstate == 8 && type == NVML_CLOCK_MEM)
        *min_mhz = *most_mhz = MHZ(c.p->memclock_idle_khz);
    return NVML_SUCCESS;
}

static nvmlReturn_t pstate_of(struct call *c, int *pstate)
{
    call_look(c);
    *pstate = (int)c->view.status.pstate;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPerformanceState, nvmlDevice_t device, int *pstate)
{
    ENTER(WT_CALL_SENSOR, pstate != NULL);
    return pstate_of(&c, pstate);
}

NVML_CALL(nvmlDeviceGetPowerState, nvmlDevice_t device, int *pstate)
{
    ENTER(WT_CALL_SENSOR, pstate != NULL);
    return pstate_of(&c, pstate);
}

NVML_CALL(nvmlDeviceGetSupportedPerformanceStates, nvmlDevice_t device, int *pstates, unsigned size)
{
    ENTER(0, pstates != NULL);
    if (size / sizeof(*pstates) < 2)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (size_t i = 0; i < size / sizeof(*pstates); i++)
        pstates[i] = i == 0 ? 0 : i == 1 ? 8 : 32; /* 32: unknown, ends the list */
    return NVML_SUCCESS;
}

static nvmlReturn_t reasons(struct call *c, unsigned long long *bits)
{
    call_look(c);
    *bits = c->view.status.throttle;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetCurrentClocksEventReasons, nvmlDevice_t device, unsigned long long *bits)
{
    ENTER(WT_CALL_SENSOR, bits != NULL);
    return reasons(&c, bits);
}

NVML_CALL(nvmlDeviceGetCurrentClocksThrottleReasons, nvmlDevice_t device, unsigned long long *bits)
{
    ENTER(WT_CALL_SENSOR, bits != NULL);
    return reasons(&c, bits);
}

#define ALL_REASONS                                                                                \
    (WT_MODEL_THROTTLE_IDLE | WT_MODEL_THROTTLE_APP_CLOCK | WT_MODEL_THROTTLE_POWER_CAP |          \
     WT_MODEL_THROTTLE_HW_SLOWDOWN | WT_MODEL_THROTTLE_THERMAL)

NVML_CALL(nvmlDeviceGetSupportedClocksEventReasons, nvmlDevice_t device, unsigned long long *bits)
{
    ENTER(0, bits != NULL);
    *bits = ALL_REASONS;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetSupportedClocksThrottleReasons, nvmlDevice_t device,
          unsigned long long *bits)
{
    ENTER(0, bits != NULL);
    *bits = ALL_REASONS;
    return NVML_SUCCESS;
}

/* ---- utilisation and memory ---- */

NVML_CALL(nvmlDeviceGetUtilizationRates, nvmlDevice_t device, struct nvml_utilization *util)
{
    ENTER(WT_CALL_SENSOR, util != NULL);
    call_look(&c);
    util->gpu = call_garble_u32(&c, c.view.status.util_ppm / 10000);
    util->memory = call_garble_u32(&c, c.view.status.mem_util_ppm / 10000);
    return NVML_SUCCESS;
}

/* Engines the model has no work for. */
static nvmlReturn_t resting(unsigned *util, unsigned *period_us)
{
    *util = 0;
    *period_us = 200000;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetEncoderUtilization, nvmlDevice_t device, unsigned *util, unsigned *period_us)
{
    ENTER(0, util != NULL && period_us != NULL);
    return resting(util, period_us);
}

NVML_CALL(nvmlDeviceGetDecoderUtilization, nvmlDevice_t device, unsigned *util, unsigned *period_us)
{
    ENTER(0, util != NULL && period_us != NULL);
    return resting(util, period_us);
}

NVML_CALL(nvmlDeviceGetJpgUtilization, nvmlDevice_t device, unsigned *util, unsigned *period_us)
{
    ENTER(0, util != NULL && period_us != NULL);
    return is_since(&c, NVML_ARCH_TURING) ? resting(util, period_us) : NVML_ERROR_NOT_SUPPORTED;
}

NVML_CALL(nvmlDeviceGetOfaUtilization, nvmlDevice_t device, unsigned *util, unsigned *period_us)
{
    ENTER(0, util != NULL && period_us != NULL);
    return is_since(&c, NVML_ARCH_TURING) ? resting(util, period_us) : NVML_ERROR_NOT_SUPPORTED;
}

NVML_CALL(nvmlDeviceGetEncoderStats, nvmlDevice_t device, unsigned *sessions, unsigned *fps,
          unsigned *latency)
{
    ENTER(0, sessions != NULL && fps != NULL && latency != NULL);
    *sessions = *fps = *latency = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetEncoderSessions, nvmlDevice_t device, unsigned *count, void *sessions)
{
    (void)sessions;
    ENTER(0, count != NULL);
    *count = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetFBCStats, nvmlDevice_t device, struct nvml_fbc *stats)
{
    ENTER(0, stats != NULL);
    *stats = (struct nvml_fbc){0};
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetFBCSessions, nvmlDevice_t device, unsigned *count, void *sessions)
{
    (void)sessions;
    ENTER(0, count != NULL);
    *count = 0;
    return NVML_SUCCESS;
}

static uint64_t mem_allocated(const struct call *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WT_SHARED_PROCS; i++)
        if (c->d->state.procs[i].pid)
            sum += c->d->state.procs[i].mem_bytes;
    return sum;
}

NVML_CALL(nvmlDeviceGetMemoryInfo, nvmlDevice_t device, struct nvml_memory *memory)
{
    ENTER(WT_CALL_SENSOR, memory != NULL);
    wt_shared_sweep(c.s, c.i);
    memory->total = c.p->mem_bytes;
    memory->used = mem_allocated(&c) + wt_shared_reserved_bytes(c.p);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetMemoryInfo_v2, nvmlDevice_t device, struct nvml_memory_v2 *memory)
{
    ENTER(WT_CALL_SENSOR, memory != NULL);
    if (memory->version != NVML_VERSION_OF(*memory, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    wt_shared_sweep(c.s, c.i);
    memory->total = c.p->mem_bytes;
    memory->reserved = wt_shared_reserved_bytes(c.p);
    memory->used = mem_allocated(&c);
    memory->free = memory->total - memory->reserved - memory->used;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetBAR1MemoryInfo, nvmlDevice_t device, struct nvml_bar1 *bar1)
{
    ENTER(0, bar1 != NULL);
    uint64_t total = UINT64_C(1) << 28; /* the next power of two that holds the memory */
    while (total < c.p->mem_bytes)
        total <<= 1;
    bar1->total = total;
    bar1->used = UINT64_C(1) << 21;
    bar1->free = bar1->total - bar1->used;
    return NVML_SUCCESS;
}

/* ---- fields ---- */

static nvmlReturn_t give_u64(struct nvml_field *f, uint64_t value)
{
    f->type = NVML_VALUE_ULONGLONG;
    f->value.ull = value;
    return NVML_SUCCESS;
}

static nvmlReturn_t give_u32(struct nvml_field *f, uint64_t value)
{
    f->type = NVML_VALUE_UINT;
    f->value.u = (unsigned)value;
    return NVML_SUCCESS;
}

static nvmlReturn_t field(const struct call *c, struct nvml_field *f)
{
    bool is_of_board = f->scope == 0;
    switch (f->field) {
    case NVML_FI_POWER_AVERAGE:
        if (f->scope > 2)
            return NVML_ERROR_INVALID_ARGUMENT;
        if (!is_of_board || !c->view.has_average)
            return NVML_ERROR_NOT_SUPPORTED;
        return give_u32(f, call_garble_u32(c, c->view.average_mw));
    case NVML_FI_POWER_INSTANT:
        if (f->scope > 2)
            return NVML_ERROR_INVALID_ARGUMENT;
        if (!is_of_board || !c->p->has_instant || !c->view.has_instant)
            return NVML_ERROR_NOT_SUPPORTED;
        return give_u32(f, call_garble_u32(c, c->view.instant_mw));
    case NVML_FI_TOTAL_ENERGY:
        if (!c->view.has_energy)
            return NVML_ERROR_NOT_SUPPORTED;
        return give_u64(f, call_garble(c, c->view.energy_mj, UINT64_MAX));
    case NVML_FI_POWER_MIN_LIMIT:
        return is_of_board ? give_u32(f, c->p->limit_min_mw) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_POWER_MAX_LIMIT:
        return is_of_board ? give_u32(f, c->p->limit_max_mw) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_POWER_DEFAULT_LIMIT:
        return is_of_board ? give_u32(f, c->p->limit_default_mw) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_POWER_CURRENT_LIMIT:
    case NVML_FI_POWER_REQUESTED_LIMIT:
        return is_of_board ? give_u32(f, c->d->model.limit_mw) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_ECC_CURRENT:
    case NVML_FI_ECC_PENDING:
        return c->p->has_volatile_ecc ? give_u32(f, 1) : NVML_ERROR_NOT_SUPPORTED;
    case NVML_FI_RETIRED_SBE:
    case NVML_FI_RETIRED_DBE:
    case NVML_FI_RETIRED_PENDING:
        return is_since(c, NVML_ARCH_AMPERE) ? NVML_ERROR_NOT_SUPPORTED : give_u32(f, 0);
    case NVML_FI_PCIE_REPLAY:
    case NVML_FI_PCIE_ROLLOVER:
        return give_u32(f, 0);
    default:
        if (f->field >= NVML_FI_ECC_FIRST_COUNT && f->field <= NVML_FI_ECC_LAST_COUNT)
            return c->p->has_volatile_ecc ? give_u64(f, 0) : NVML_ERROR_NOT_SUPPORTED;
        if (f->field >= NVML_FI_REMAPPED_COR && f->field <= NVML_FI_REMAPPED_FAILURE)
            return is_since(c, NVML_ARCH_AMPERE) ? give_u32(f, 0) : NVML_ERROR_NOT_SUPPORTED;
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

/* Only who asks for the counter meets its faults: on a real H100 a power field is cheap beside it.
 */
static unsigned fields_kind(int count, const struct nvml_field *values)
{
    for (int i = 0; values && i < count && i < NVML_MAX_FIELDS; i++)
        if (values[i].field == NVML_FI_TOTAL_ENERGY)
            return WT_CALL_SENSOR | WT_CALL_ENERGY;
    return WT_CALL_SENSOR;
}

NVML_CALL(nvmlDeviceGetFieldValues, nvmlDevice_t device, int count, struct nvml_field *values)
{
    ENTER(fields_kind(count, values), values != NULL && count > 0 && count <= NVML_MAX_FIELDS);
    call_look(&c);
    for (int i = 0; i < count; i++) {
        values[i].t_us = (long long)wt_shared_unix_us(c.s, c.view.t_ns);
        values[i].latency_us = 0;
        values[i].result = field(&c, &values[i]);
    }
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceClearFieldValues, nvmlDevice_t device, int count, struct nvml_field *values)
{
    ENTER(WT_CALL_SET, values != NULL && count > 0 && count <= NVML_MAX_FIELDS);
    for (int i = 0; i < count; i++)
        values[i].result = NVML_ERROR_NOT_SUPPORTED;
    return NVML_SUCCESS;
}

/* ---- samples ---- */

NVML_CALL(nvmlDeviceGetSamples, nvmlDevice_t device, int type, unsigned long long since_us,
          unsigned *value_type, unsigned *count, struct nvml_sample *samples)
{
    ENTER(WT_CALL_SENSOR, value_type != NULL && count != NULL && type >= 0 &&
                              type < NVML_SAMPLES_COUNT && (samples == NULL || *count > 0));
    /* The model remembers power; of what else the driver samples only the present value is known.
     */
    if (type > NVML_SAMPLES_MEMCLOCK || type == NVML_SAMPLES_ENC_UTIL ||
        type == NVML_SAMPLES_DEC_UTIL)
        return NVML_ERROR_NOT_SUPPORTED;
    *value_type = NVML_VALUE_UINT;
    unsigned room = *count;
    call_look(&c);
    if (type == NVML_SAMPLES_POWER) {
        struct wt_model_sample rows[WT_MODEL_SAMPLES];
        if (!samples) {
            *count = WT_MODEL_SAMPLES - 9; /* the driver's buffer has been seen to hold 119 */
            return NVML_SUCCESS;
        }
        size_t n =
            wt_model_power_samples(&c.d->model, c.p, c.view.t_ns,
                                   since_us ? wt_shared_from_unix_us(c.s, since_us) : INT64_MIN,
                                   rows, WT_MODEL_SAMPLES - 9);
        /* Stamps are whole microseconds: the last one seen is not given again. */
        size_t first = 0;
        while (first < n && wt_shared_unix_us(c.s, rows[first].t_ns) <= since_us)
            first++;
        if (first == n)
            return NVML_ERROR_NOT_FOUND;
        size_t given = n - first < room ? n - first : room;
        for (size_t i = 0; i < given; i++) {
            samples[i] = (struct nvml_sample){.t_us = wt_shared_unix_us(c.s, rows[first + i].t_ns)};
            samples[i].value.u = call_garble_u32(&c, rows[first + i].power_mw);
        }
        *count = (unsigned)given;
        return NVML_SUCCESS;
    }
    if (!samples) {
        *count = 1;
        return NVML_SUCCESS;
    }
    uint64_t t_us = wt_shared_unix_us(c.s, c.view.t_ns);
    if (t_us <= since_us)
        return NVML_ERROR_NOT_FOUND;
    const struct wt_model_status *st = &c.view.status;
    samples[0] = (struct nvml_sample){.t_us = t_us};
    samples[0].value.u =
        call_garble_u32(&c, type == NVML_SAMPLES_GPU_UTIL   ? st->util_ppm / 10000
                            : type == NVML_SAMPLES_MEM_UTIL ? st->mem_util_ppm / 10000
                            : type == NVML_SAMPLES_CLOCK    ? MHZ(st->clock_khz)
                                                            : MHZ(st->memclock_khz));
    *count = 1;
    return NVML_SUCCESS;
}
