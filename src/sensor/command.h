/* command: what `--sensor-command` takes, and what such a command prints.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_COMMAND_H
#define WT_SENSOR_COMMAND_H

#include "sensor/sensor.h"

struct wt_command_spec {
    enum wt_device_kind kind;
    char name[33]; /* "": none was given */
    int64_t period_ns;
    const char *command; /* within the text that was parsed */
};

/* [KIND[/NAME]@]PERIOD:COMMAND. Errors: WT_E_USAGE. */
int wt_command_parse(const char *spec, struct wt_command_spec *ret_spec, struct wt_error *err);

struct wt_command_value {
    bool is_energy;
    uint64_t value; /* uJ of an energy, else mW */
    uint64_t step;  /* what its last digit is worth, in the same unit */
};

/* "212.5 W", "1.2kWh". Errors: WT_E_FORMAT, which says what was expected. */
int wt_command_value(const char *line, struct wt_command_value *ret_value, struct wt_error *err);

#endif
