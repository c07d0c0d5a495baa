/* nvml: NVIDIA GPUs, shared by the sensor and by the knobs on the same library.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_NVML_H
#define WT_SENSOR_NVML_H

#include <stdatomic.h>

#include "sensor/nvml_api.h"
#include "sensor/sensor.h"

/* How a GPU's power is read. */
enum wt_nvml_power {
    WT_NVML_POWER_NONE,
    WT_NVML_POWER_PLAIN,
    WT_NVML_POWER_FIELD,
    WT_NVML_POWER_MODELED, /* from the utilisation, where nothing else can be read (a vGPU) */
};

struct wt_nvml_gpu {
    wt_nvml_device handle;
    unsigned arch;    /* WT_NVML_ARCH_* */
    int major, minor; /* compute capability, 0.0 when unknown */
    enum wt_nvml_power power;
    uint64_t power_max_mw; /* a reading above is no reading */
    uint64_t limit_mw;     /* of a modeled one: its limit, or 0 */
    /* PCIe throughput, each direction as last read; 0 time: never. */
    _Atomic uint64_t pcie_bytes_s[2];
    _Atomic int64_t pcie_ns[2];
};

struct wt_nvml {
    struct wt_source source; /* first: a wt_source points here */
    struct wt_nvml_api api;
    struct wt_nvml_gpu *gpus; /* as many as source.devices */
    struct wt_clock clock;
    int64_t timeout_ns;  /* of calls outside the fast path */
    atomic_int refs;     /* the owner, and each call that is out */
    atomic_bool is_hung; /* a call has not come back: no more are made */
    _Atomic int64_t pcie_next_ns;
};

/* How long to wait for the driver: otherwise_ns, which $WATTUNE_NVML_TIMEOUT in seconds replaces;
 * INT64_MAX for its "none", which is wattuned's, whose every device has a thread that may wait for
 * ever. */
int64_t wt_nvml_timeout_ns(int64_t otherwise_ns);

/* The NVML source behind a device, NULL when another source reads it. */
struct wt_nvml *wt_nvml_of(const struct wt_devices *devices, size_t i, size_t *ret_k);

/* Runs fn(nvml, k, io) on a thread of its own with a deadline: for calls outside the sampler,
 * where nobody else would notice that the driver hangs. io (of io_size bytes) is copied there and
 * back. After one hung call the source answers WT_E_TIMEOUT at once. */
int wt_nvml_guarded(struct wt_nvml *nvml, size_t k, void *io, size_t io_size,
                    int (*fn)(struct wt_nvml *nvml, size_t k, void *io, struct wt_error *err),
                    struct wt_error *err);

/* ---- nvml_traits.c ---- */

/* Fills the traits by generation, as far as published; see docs/sensors.md. driver: "535.104.05".
 */
void wt_nvml_traits(unsigned arch, int major, int minor, const char *driver,
                    enum wt_nvml_power power, struct wt_sensor_traits *ret_traits);
/* The generation out of the compute capability, for libraries that do not say it. */
unsigned wt_nvml_arch_from(int major, int minor);
/* "Volta"; never NULL. */
const char *wt_nvml_arch_name(unsigned arch);

#endif
