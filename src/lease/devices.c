/* devices: the machine's devices behind the lease's seam, and where their journal lies. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "knob/knob.h"
#include "lease/lease.h"

static size_t count(void *data)
{
    return wt_devices_count(data);
}

static const char *id(void *data, size_t i, bool *ret_is_emulated)
{
    const struct wt_device_info *info = wt_devices_info(data, i);
    *ret_is_emulated = info->is_emulated;
    return info->id;
}

static int read_knob(void *data, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
                     bool *ret_is_blind, struct wt_error *err)
{
    struct wt_knob_found found;
    int rc = wt_devices_knob(data, i, knob, ret_info, err);
    if (rc == 0)
        rc = wt_knob_snapshot(data, i, knob, &found, err);
    if (rc < 0)
        return rc;
    ret_info->current = found.value;
    *ret_is_blind = !found.is_read;
    return 0;
}

static int set_knob(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err)
{
    return wt_knob_set(data, i, knob, value, NULL, err);
}

static int restore_knob(void *data, size_t i, enum wt_knob knob, int64_t value,
                        struct wt_error *err)
{
    struct wt_knob_found now;
    int rc = wt_knob_snapshot(data, i, knob, &now, err);
    if (rc < 0)
        return rc;
    now.value = value;
    return wt_knob_restore(data, i, knob, &now, err);
}

struct wt_lease_ops wt_lease_ops_devices(struct wt_devices *devices)
{
    return (struct wt_lease_ops){.count = count,
                                 .id = id,
                                 .read = read_knob,
                                 .set = set_knob,
                                 .restore = restore_knob,
                                 .data = devices};
}

int wt_lease_state_dir(const struct wt_ctx *ctx, struct wt_devices *devices, const char *wanted,
                       char *buf, size_t size, struct wt_error *err)
{
    const char *emulation = getenv("WATTUNE_EMULATION");
    bool is_emulated = wt_devices_count(devices) == 0 && emulation && *emulation;
    for (size_t i = 0; i < wt_devices_count(devices); i++)
        is_emulated |= wt_devices_info(devices, i)->is_emulated;
    if (is_emulated) {
        /* Beside the emulated devices themselves, so that the journal ends with them and never
         * speaks of real ones. */
        if (!emulation || !*emulation)
            return wt_fail(err, WT_E_STATE, "emulated devices, but WATTUNE_EMULATION is not set");
        wt_text(buf, size, "%s/lease", emulation);
        return 0;
    }
    const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME");
    if (wanted) {
        wt_text(buf, size, "%s", wanted);
    } else if (ctx && *ctx->sysroot) {
        wt_text(buf, size, "%s/var/lib/wattune", ctx->sysroot);
    } else if (geteuid() == 0) {
        wt_text(buf, size, "/var/lib/wattune");
    } else if (state && *state == '/') {
        wt_text(buf, size, "%s/wattune", state);
    } else if (home && *home == '/') {
        wt_text(buf, size, "%s/.local/state/wattune", home);
    } else {
        int rc = wt_fail(err, WT_E_NOTFOUND, "no place for the journal of leases: HOME is not set");
        wt_fix(err, "set HOME or XDG_STATE_HOME");
        return rc;
    }
    return 0;
}
