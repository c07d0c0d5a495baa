/* rocm: the energy counters of AMD GPUs, through librocm_smi64 where it is installed.
 *
 * Each symbol is optional on its own. The library is opened and first asked on a thread with a
 * deadline: it waits for a lock that it shares with every other program that uses it.
 *
 * Internal to the library. Source: rocm_smi.h of ROCm 6. */
#ifndef WT_SENSOR_ROCM_H
#define WT_SENSOR_ROCM_H

#include "sensor/gauge.h"

#define WT_ROCM_GPUS_MAX 64

struct wt_rocm; /* may be used from several threads */

/* Opens the library and lists the GPUs. With a sysroot only $WATTUNE_ROCM_SMI is opened.
 * Errors: WT_E_NOTFOUND (no library, or none of its functions), WT_E_TIMEOUT, WT_E_IO, WT_E_NOMEM.
 */
int wt_rocm_open(struct wt_rocm **ret_rocm, const struct wt_ctx *ctx, struct wt_error *err);
void wt_rocm_close(struct wt_rocm *rocm);
/* The library's number of the GPU at this place of the bus (struct wt_drm_card). Errors:
 * WT_E_NOTFOUND. */
int wt_rocm_find(const struct wt_rocm *rocm, uint64_t bdf, unsigned *ret_index);
/* The counter, in uJ, and what one step of it is. ret_step_uj may be NULL. Errors:
 * WT_E_UNSUPPORTED, WT_E_DENIED, WT_E_BUSY, WT_E_FORMAT, WT_E_IO. */
int wt_rocm_energy(const struct wt_rocm *rocm, unsigned index, uint64_t *ret_uj,
                   double *ret_step_uj, struct wt_error *err);
/* A wt_gauge_counter; counter_data is the wt_rocm, counter_index the library's number. */
int wt_rocm_gauge_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                     struct wt_error *err);

#endif
