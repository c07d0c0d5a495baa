/* The memory of a step's input (struct wt_input), filled by corpus.c and items.c.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_FEED_H
#define WT_WORKLOAD_FEED_H

#include "workload/model.h"

struct wt_feed {
    unsigned batch, seq; /* there is room for */
    bool is_packed;      /* sequences lie one after the other; else all are as wide, rows / count */
    int32_t *tokens;     /* [batch * seq] */
    int32_t *starts, *lengths; /* [batch] */
    int32_t *chosen, *targets; /* [batch * seq] */
    size_t count, rows, chosen_count;
};

/* Errors: WT_E_NOMEM. */
int wt_feed_init(struct wt_feed *feed, unsigned batch, unsigned seq, struct wt_error *err);
void wt_feed_done(struct wt_feed *feed);
/* As a model takes it; borrowed from the feed. has_chosen, has_targets: NULL else. */
struct wt_input wt_feed_input(const struct wt_feed *feed, bool has_chosen, bool has_targets);
/* Of all sequences, without padding: what a step's products are counted by. */
size_t wt_feed_tokens(const struct wt_feed *feed);

#endif
