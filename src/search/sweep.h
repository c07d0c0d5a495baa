/* search: what the report shares of a sweep. Internal to the library. */
#ifndef WT_SEARCH_SWEEP_H
#define WT_SEARCH_SWEEP_H

#include "base/base.h"
#include "wattune/sweep.h"

/* The sweep's document as a jansson value. NULL: no memory. */
json_t *wt_sweep_json(const struct wt_sweep *sweep);

#endif
