/* race: what the files of a race share. Internal to the library. */
#ifndef WT_PLAN_RACE_H
#define WT_PLAN_RACE_H

#include <stdio.h>

#include "base/base.h"
#include "wattune/race.h"

/* One curve of an open file; column is the loss's, path for messages. */
int wt_race_curve_parse(struct wt_race_curve *ret_curve, bool *ret_has_energy, FILE *in,
                        const char *column, const char *path, struct wt_error *err);
void wt_race_curve_done(struct wt_race_curve *curve);

#endif
