/* files: what knobs that are files of the kernel have in common - who may write one, and what a
 * refusal means. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "knob/knob.h"
#include "sensor/machine.h"

static void say_readonly(const struct wt_ctx *ctx, const char *path, struct wt_knob_info *info)
{
    struct wt_machine machine;
    wt_machine_look(ctx, &machine);
    if (*machine.container) {
        wt_text(info->why_not, sizeof(info->why_not), "%s is read-only in this container (%s)",
                path, machine.container);
        wt_text(info->fix, sizeof(info->fix),
                "set it on the host, or start the container with --privileged");
    } else {
        wt_text(info->why_not, sizeof(info->why_not), "%s is read-only", path);
        wt_text(info->fix, sizeof(info->fix),
                "if it is /sys that is: sudo mount -o remount,rw /sys; a file that the driver "
                "offers for reading only stays so");
    }
}

void wt_knob_say_rights(const struct wt_ctx *ctx, const char *path, struct wt_knob_info *info)
{
    struct wt_error err = {0};
    int errnum = 0;
    bool is_root = wt_tree_is_recorded(ctx) ? wt_tree_uid(ctx) == 0 : geteuid() == 0;
    info->why_not[0] = info->fix[0] = '\0';
    info->is_settable = wt_fs_may_write(ctx, path, &errnum, &err) == 0;
    if (info->is_settable)
        return;
    if (errnum == EROFS) {
        say_readonly(ctx, path, info);
    } else if ((errnum == EACCES || errnum == EPERM) && !is_root) {
        wt_text(info->why_not, sizeof(info->why_not), "only root may write %s", path);
        wt_text(info->fix, sizeof(info->fix), "run the command with sudo");
    } else if (errnum == EACCES || errnum == EPERM) {
        wt_text(info->why_not, sizeof(info->why_not),
                "root here may not write %s: root of a user namespace only, or a security module",
                path);
        wt_text(info->fix, sizeof(info->fix), "set it on the host as root");
    } else {
        wt_text(info->why_not, sizeof(info->why_not), "%s", err.text);
    }
}

int wt_knob_write(const struct wt_ctx *ctx, const char *path, const char *text,
                  struct wt_error *err)
{
    struct wt_knob_info info = {0};
    wt_knob_say_rights(ctx, path, &info);
    if (!info.is_settable) {
        int rc = wt_fail(err, WT_E_DENIED, "%s", info.why_not);
        wt_fix(err, "%s", info.fix);
        return rc;
    }
    struct wt_error why = {0};
    int rc = wt_fs_write(ctx, path, text, &why);
    if (rc == WT_E_DENIED)
        rc = why.code = WT_E_STATE;
    if (rc < 0 && err)
        *err = why;
    return rc;
}
