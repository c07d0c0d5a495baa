/* search: what the files of a sweep share with each other and the report. Internal to the library.
 */
#ifndef WT_SEARCH_SWEEP_H
#define WT_SEARCH_SWEEP_H

#include "base/base.h"
#include "wattune/sweep.h"

/* Fills advice and apply from the rows, the choice and the break-even. */
void wt_sweep_advise(struct wt_sweep *sweep);

/* The sweep's document as a jansson value. NULL: no memory. */
json_t *wt_sweep_json(const struct wt_sweep *sweep);

#endif
