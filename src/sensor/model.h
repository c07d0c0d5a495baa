/* model: the source for machines without an energy sensor; see model.c.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_MODEL_H
#define WT_SENSOR_MODEL_H

#include "sensor/sensor.h"

/* To be opened where no sensor measures the processor: its devices are named as those of RAPL, and
 * both in one set would count the processor twice. */
extern const struct wt_source_ops wt_model_ops;

#endif
