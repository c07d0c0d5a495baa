/* In which order the sequences of a text are gone through: epoch after epoch, each shuffled by the
 * seed and its own number alone, so that any place is reached at once.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_ORDER_H
#define WT_WORKLOAD_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

struct wt_order {
    uint32_t *list; /* [count], sorted */
    uint32_t *now;  /* [count], as this epoch has them; NULL: as the list has them */
    size_t count, at;
    uint64_t seed, epoch;
};

/* Of `count` sequences every `every`-th is held out for evaluation, of fewer than that the last. */
static inline bool wt_order_is_held_out(size_t i, size_t count, size_t every)
{
    return count >= every ? i % every == every - 1 : count > 1 && i == count - 1;
}

/* Takes the list, also where it fails. Errors: WT_E_NOMEM. */
int wt_order_init(struct wt_order *order, uint32_t *list, size_t count, bool is_shuffled,
                  uint64_t seed, struct wt_error *err);
void wt_order_done(struct wt_order *order);
/* There must be one. */
uint32_t wt_order_next(struct wt_order *order);
/* How many were handed out, over all epochs; and going there. */
uint64_t wt_order_place(const struct wt_order *order);
void wt_order_seek(struct wt_order *order, uint64_t place);

#endif
