/* The load of `wattune probe`: square pulses whose edges are known in time, on whatever kind of
 * device it is. */
#ifndef WT_CLI_PROBE_LOAD_H
#define WT_CLI_PROBE_LOAD_H

#include "cli.h"

struct cli_load;

/* When a pulse began and ended: between these. */
struct cli_pulse {
    int64_t on_lo_ns, on_hi_ns, off_lo_ns, off_hi_ns;
};

/* Prepares a load for this device; words says what runs there. Errors: WT_E_UNSUPPORTED,
 * WT_E_NOTFOUND (no way to run one: the text says why), WT_E_NOMEM, WT_E_GONE. */
int cli_load_open(struct cli_load **ret_load, const struct wt_device_info *info,
                  struct wt_error *err);
void cli_load_close(struct cli_load *load);
const char *cli_load_words(const struct cli_load *load);
/* The next lighter kind of load, for a device that the power limit holds back. False: none. */
bool cli_load_lighter(struct cli_load *load);
/* Runs one pulse of about this long and returns when it is over. Threads: one thread a load. */
int cli_load_pulse(struct cli_load *load, double seconds, struct cli_pulse *ret_pulse,
                   struct wt_error *err);

#endif
