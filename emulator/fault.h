/* fault: what can be made to go wrong with an emulated device, and the words for it.
 *
 * A fault is KIND[@WHEN][:gpu=N][:FUNCTION], several are separated by commas. docs/emulator.md has
 * the grammar with examples. This file knows the words and the timing; what a fault does to a call
 * is the stand-in's business. */
#ifndef WT_EMULATOR_FAULT_H
#define WT_EMULATOR_FAULT_H

#include "base/base.h"

enum wt_fault_kind {
    WT_FAULT_DENIED,      /* NO_PERMISSION */
    WT_FAULT_LOST,        /* GPU_IS_LOST */
    WT_FAULT_HANG,        /* the call does not return while the fault lasts */
    WT_FAULT_UNSUPPORTED, /* NOT_SUPPORTED */
    WT_FAULT_UNKNOWN,     /* UNKNOWN */
    WT_FAULT_RESET,       /* the energy counter starts again at 0 */
    WT_FAULT_JUMP,        /* the energy counter leaps ahead */
    WT_FAULT_FROZEN,      /* sensors keep the value they had */
    WT_FAULT_GARBAGE,     /* sensors answer nonsense */
    WT_FAULT_SLOW,        /* the call takes 3 ms of a processor, as real energy counters do */
};

struct wt_fault {
    enum wt_fault_kind kind;
    int32_t gpu;                 /* -1: every one */
    char function[64];           /* "" : the calls that the kind is about; may end in '*' */
    bool is_by_call;             /* else by time */
    int64_t at_ns, span_ns;      /* after the fault was planted; span INT64_MAX: for good */
    uint64_t at_call, call_span; /* counted from 1 */
};

/* What a call is about: decides which faults without a FUNCTION it meets. */
enum {
    WT_CALL_DEVICE = 1u << 0, /* takes a device */
    WT_CALL_SET = 1u << 1,    /* changes one */
    WT_CALL_SENSOR = 1u << 2, /* reads something that varies */
    WT_CALL_ENERGY = 1u << 3, /* reads the energy counter */
};

/* "denied", ...; never NULL. */
const char *wt_fault_kind_name(enum wt_fault_kind kind);
/* Reads one fault from *text and moves *text behind it and its comma.
 * Errors: WT_E_USAGE, naming the part that is wrong. */
int wt_fault_parse(const char **text, struct wt_fault *ret_fault, struct wt_error *err);
/* Whether a fault is about this call. */
bool wt_fault_is_about(const struct wt_fault *fault, const char *function, unsigned call, int gpu);

#endif
