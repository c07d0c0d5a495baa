/* Two runs, or two groups of runs, against each other: is the difference real? */
#ifndef WATTUNE_PAIR_H
#define WATTUNE_PAIR_H

#include "wattune/sweep.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What can be said of one figure of B against A's. */
enum wt_pair_verdict {
    WT_PAIR_ALIKE,    /* cannot be told apart: the interval of B/A holds 1 */
    WT_PAIR_LOWER,    /* B's is lower, beyond the interval */
    WT_PAIR_HIGHER,   /* B's is higher */
    WT_PAIR_UNPROVEN, /* they differ by more than a measurement's error, and nothing was repeated:
                         what two runs of the same differ by is not known */
};
/* "alike", "lower", "higher", "unproven". */
WT_API const char *wt_pair_verdict_name(enum wt_pair_verdict verdict);

enum wt_pair_what { WT_PAIR_TIME, WT_PAIR_ENERGY, WT_PAIR_POWER, WT_PAIR_PER_WORK };
#define WT_PAIR_FIGURES 4

struct wt_pair_figure {
    struct wt_estimate a, b;  /* s, J, W, J per unit of work; NaN: not known */
    struct wt_estimate ratio; /* B/A, per unit of work where is_per_work; low and high NaN: one run
                                 each tells nothing of how times spread */
    enum wt_pair_verdict verdict;
    unsigned repeats; /* of ALIKE: about how many of each would tell a difference of this size; 0:
                         no number of them, or not known as nothing was repeated */
};

struct wt_pair {
    struct wt_sweep sweep; /* owned: A and B as its two settings, A the reference; what an HTML
                              report is made of */
    struct wt_run *runs;   /* owned copies of heads, A's first; what they point to is borrowed */
    size_t a_count, b_count;
    bool has_own_devices; /* the copies' devices are owned, too: named with their host */
    struct wt_pair_figure figures[WT_PAIR_FIGURES]; /* by wt_pair_what; the last NaN without work */
    char origin[200]; /* emulated profiles or recordings; "" of real runs */
    bool is_emulated, is_replayed;
    char what[2][240];  /* what A and B are: their runs, and what was set */
    char sentence[900]; /* what it comes to */
    char **notes;       /* owned: what it rests on */
    size_t note_count;
};

/* Compares B with A by the arithmetic of a sweep (wt_sweep_make). a and b are borrowed until
 * wt_pair_done(). Errors: WT_E_USAGE (a run on both sides or twice; work of different kinds; no run
 * of a side ended well with a known energy), WT_E_MIXED (emulated, replayed, or neither),
 * WT_E_NOMEM. Threads: any thread. */
WT_API int wt_pair_make(struct wt_pair *ret_pair, const struct wt_run *a, size_t a_count,
                        const struct wt_run *b, size_t b_count, struct wt_error *err);
WT_API void wt_pair_done(struct wt_pair *pair);
/* The stable document (docs/json.md), owned by the caller: free(). NULL: no memory. */
WT_API char *wt_pair_to_json(const struct wt_pair *pair);

#ifdef __cplusplus
}
#endif
#endif
