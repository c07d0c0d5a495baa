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

int wt_knob_write_power(const struct wt_knob_at *at, enum wt_knob knob, const char *path,
                        int64_t mw, int64_t step_mw, int64_t *ret_now_mw, struct wt_error *err)
{
    char text[32];
    uint64_t now_uw = 0;
    wt_text(text, sizeof(text), "%lld", (long long)mw * 1000);
    int rc = wt_knob_write(at->ctx, path, text, err);
    if (rc == 0)
        rc = wt_fs_read_u64(at->ctx, path, &now_uw, err);
    if (rc < 0)
        return rc;
    if (now_uw > WT_KNOB_MOST_UW)
        return wt_fail(err, WT_E_FORMAT, "%s: %llu uW is no power limit", path,
                       (unsigned long long)now_uw);
    int64_t now_mw = (int64_t)((now_uw + 999) / 1000);
    if (!wt_knob_reads_as(knob, mw, now_mw, step_mw))
        return wt_fail(err, WT_E_STATE,
                       "%s: a power limit of %.10g W was accepted but reads %.10g W", at->info->id,
                       wt_knob_to_user(mw), wt_knob_to_user(now_mw));
    *ret_now_mw = now_mw;
    return 0;
}

int wt_knob_fail_power_range(const struct wt_knob_at *at, const struct wt_knob_info *info,
                             int64_t mw, struct wt_error *err)
{
    char range[64];
    return wt_fail(err, WT_E_RANGE, "%s: a power limit of %.10g W: the range is %s", at->info->id,
                   wt_knob_to_user(mw), wt_knob_range_text(range, sizeof(range), info));
}
