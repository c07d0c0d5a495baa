/* hold: see hold.h.
 *
 * What counts is what is on the device: a hold that is over while another's keeps the same value
 * there is still in force. Why it is not, is told by what this side knows: the time that wattuned
 * gave, the word with which it hung up; else something else did it: somebody, or another setting. A
 * setting that cannot be read back (a locked clock) goes by those two alone. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lease/hold.h"

/* The daemon's clock is ours, but its deadline is as old as its answer was on its way, and it puts
 * things back before it says that it was stopped. */
#define SLACK_NS (100 * WT_NS_PER_MS)

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

struct wt_hold *wt_holds_find(struct wt_holds *holds, size_t device, enum wt_knob knob)
{
    for (size_t i = 0; i < holds->count; i++)
        if (holds->list[i].device == device && holds->list[i].knob == knob)
            return &holds->list[i];
    return NULL;
}

void wt_holds_set(struct wt_holds *holds, const struct wt_hold *hold)
{
    struct wt_hold *h = wt_holds_find(holds, hold->device, hold->knob);
    if (!h && holds->count == holds->room) {
        size_t room = holds->room ? holds->room * 2 : 16;
        struct wt_hold *more = realloc(holds->list, room * sizeof(*more));
        if (!more)
            return;
        holds->list = more;
        holds->room = room;
    }
    if (!h)
        h = &holds->list[holds->count++];
    *h = *hold;
    h->told = (struct wt_lease_hold){.seen_ns = wt_clock_now_ns(), .span_ns = h->span_ns};
}

/* Whether the device has it; false: it cannot tell. */
static bool read_device(const struct wt_hold *h, const struct wt_lease_ops *ops,
                        bool *ret_is_in_force, int64_t *ret_value)
{
    struct wt_knob_info info = {.knob = h->knob};
    bool is_blind = false;
    if (ops->read(ops->data, h->device, h->knob, &info, &is_blind, NULL) < 0 || is_blind)
        return false;
    *ret_value = info.current;
    *ret_is_in_force = wt_knob_reads_as(h->knob, h->value, info.current, info.step);
    if (*ret_is_in_force && info.is_mixed) {
        *ret_is_in_force = wt_knob_reads_as(h->knob, h->value, info.mixed_with, info.step);
        *ret_value = info.mixed_with;
    }
    return true;
}

void wt_hold_look(struct wt_hold *h, const struct wt_lease_ops *ops, struct wt_remote *remote)
{
    struct wt_lease_hold *told = &h->told;
    bool is_in_force = true;
    int64_t value = 0;
    char text[48];
    if (told->is_lost)
        return;
    bool has_stopped = wt_remote_has_stopped(remote, 0);
    bool is_read = read_device(h, ops, &is_in_force, &value);
    int64_t now_ns = wt_clock_now_ns(), left_ns = h->end_ns ? h->end_ns - boot_now_ns() : 0;
    if (is_read && is_in_force) {
        told->seen_ns = now_ns;
        return;
    }
    bool is_over = h->end_ns && left_ns <= (is_read ? SLACK_NS : 0);
    if (!is_over && is_read && !has_stopped)
        has_stopped = wt_remote_has_stopped(remote, SLACK_NS);
    if (is_over) {
        int64_t end_ns = left_ns < 0 ? now_ns + left_ns : now_ns;
        told->seen_ns = told->seen_ns > end_ns ? told->seen_ns : end_ns;
        told->is_own_end = h->is_own_end;
        wt_text(told->why, sizeof(told->why),
                h->is_own_end ? "its time of %.*f s was over"
                              : "wattuned ended it, its policy gives %.*f s",
                h->span_ns < 100 * WT_NS_PER_S, wt_s_from_ns(h->span_ns));
    } else if (has_stopped) {
        wt_text(told->why, sizeof(told->why), "wattuned was stopped");
    } else if (is_read) {
        wt_text(told->why, sizeof(told->why), "something else made it %s",
                wt_knob_value_text(text, sizeof(text), h->knob, value));
    } else {
        told->seen_ns = now_ns; /* as far as can be known */
        return;
    }
    told->is_lost = true;
}
