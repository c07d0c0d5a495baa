/* Recording a machine: everything Wattune looks at, as a folder that `--sysroot` plays back. */
#ifndef WATTUNE_GATHER_H
#define WATTUNE_GATHER_H

#include "wattune/ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_gather_options {
    const char *sysroot; /* record what lies below here; NULL: this machine */
    const char *title;   /* of the machine, one line; NULL: made of what was found */
};

struct wt_gathered {
    size_t files, refused, directories;
    char title[160];
};

/* Looks at every sensor and setting, as wt_survey does, and writes each file that was looked at
 * below dir, with dir/machine.txt saying what files cannot (format: machines/README.md) and
 * dir/tools/ holding what the vendors' tools answered. No serial number, host name, UUID or
 * container id is kept; only /proc, /sys and marks of containers are. dir must not be there, or be
 * empty. Errors: WT_E_IO, WT_E_DENIED, WT_E_FULL, WT_E_NOMEM. Threads: any thread. */
WT_API int wt_gather(const char *dir, const struct wt_gather_options *options,
                     struct wt_gathered *ret_gathered, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
