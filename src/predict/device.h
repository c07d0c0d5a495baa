/* device: a profile of the device model, made from a row of the catalogue. */
#ifndef WT_PREDICT_DEVICE_H
#define WT_PREDICT_DEVICE_H

#include "emulator/model.h"
#include "wattune/predict.h"

/* From what the boards that profiles were calibrated on have in common: their powers as shares of
 * the TDP, their voltage against the clock. sources: those profiles, the board's own left out where
 * it is judged; count 0: all that were calibrated. Errors: WT_E_NOTFOUND (a cell that is needed is
 * not known). */
int wt_device_from_row(const struct wt_gpu *gpu, const struct wt_profile *const *sources,
                       size_t count, struct wt_profile *ret_profile, struct wt_error *err);
/* Of its bandwidth what is reached; NaN: not known. */
double wt_device_memory_share(const struct wt_gpu *gpu);
/* Whether a profile was fitted to measurements of such a board. */
bool wt_device_is_calibrated(const struct wt_profile *p);
/* What a device reaches to another one, bytes/s, one way. */
double wt_device_link_bytes_s(const struct wt_gpu *gpu);

#endif
