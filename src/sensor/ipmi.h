/* ipmi: the messages of DCMI's power reading, and who carries them.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_IPMI_H
#define WT_SENSOR_IPMI_H

#include "sensor/sensor.h"

/* Carries one request (network function, command, data) to the BMC and brings its response, which
 * begins with the completion code. Should come back when stop_fd can be read. Called from one
 * thread at a time. */
struct wt_ipmi_ops {
    int (*transact)(void *data, const uint8_t *request, size_t length, int stop_fd,
                    uint8_t *response, size_t size, size_t *ret_length, struct wt_error *err);
    void *data;
    int64_t deadline_ns; /* of the first answer; 0: 6 s */
    int64_t retry_ns;    /* between two tries when the BMC is busy; 0: 200 ms */
};

struct wt_dcmi_power {
    uint16_t current_w, min_w, max_w, mean_w;
    uint32_t period_ms; /* that the last three are over */
    bool is_active;     /* says that it measures */
};

#define WT_DCMI_REQUEST_SIZE  6
#define WT_DCMI_RESPONSE_SIZE 19

void wt_dcmi_power_request(uint8_t request[WT_DCMI_REQUEST_SIZE]);
/* Errors: WT_E_UNSUPPORTED (no DCMI, no power reading), WT_E_DENIED, WT_E_BUSY (try again),
 * WT_E_STATE (it does not measure), WT_E_FORMAT (no such response, or no power), WT_E_IO (another
 * completion code). */
int wt_dcmi_power_parse(const uint8_t *response, size_t length, struct wt_dcmi_power *ret_power,
                        struct wt_error *err);
/* The same of what `ipmi-dcmi --get-system-power-statistics` prints. Errors: WT_E_FORMAT,
 * WT_E_STATE. */
int wt_dcmi_text_parse(const char *text, struct wt_dcmi_power *ret_power, struct wt_error *err);

#endif
