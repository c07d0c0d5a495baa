/* host: what tests want of a running emulation beyond the public interface. */
#ifndef WT_EMULATOR_HOST_H
#define WT_EMULATOR_HOST_H

#include "emulator/shared.h"

/* Plants one or more faults (docs/emulator.md) now; times count from now.
 * Errors: WT_E_USAGE, WT_E_FULL. */
int wt_emulation_fault_add(struct wt_emulation *emulation, const char *faults,
                           struct wt_error *err);
/* Takes all faults away. */
void wt_emulation_fault_clear(struct wt_emulation *emulation);
/* The shared devices. Borrowed until wt_emulation_free. */
struct wt_shared *wt_emulation_shared(struct wt_emulation *emulation);

#endif
