/* region: the catalogue's text. Internal to the library. */
#ifndef WT_PLAN_REGION_H
#define WT_PLAN_REGION_H

#include "base/base.h"
#include "wattune/region.h"

extern const char wt_asset_regions[]; /* data/regions.csv, MIT licence (CodeCarbon) */

#endif
