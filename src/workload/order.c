/* Shuffled epochs. */
#include "workload/order.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/random.h"

static void shuffle(struct wt_order *o)
{
    if (!o->now)
        return;
    struct wt_random random = {wt_random_at(o->seed, o->epoch), 0};
    memcpy(o->now, o->list, o->count * sizeof(*o->now));
    for (size_t i = o->count; i > 1; i--) {
        size_t other = wt_random_below(&random, i);
        uint32_t keep = o->now[i - 1];
        o->now[i - 1] = o->now[other];
        o->now[other] = keep;
    }
}

int wt_order_init(struct wt_order *o, uint32_t *list, size_t count, bool is_shuffled, uint64_t seed,
                  struct wt_error *err)
{
    *o = (struct wt_order){.list = list, .count = count, .seed = seed};
    if (!is_shuffled)
        return 0;
    o->now = malloc((count + 1) * sizeof(*o->now));
    if (!o->now) {
        wt_order_done(o);
        return wt_fail(err, WT_E_NOMEM, "no memory for the order of %zu sequences", count);
    }
    shuffle(o);
    return 0;
}

void wt_order_done(struct wt_order *o)
{
    free(o->list);
    free(o->now);
    memset(o, 0, sizeof(*o));
}

uint32_t wt_order_next(struct wt_order *o)
{
    if (o->at == o->count) {
        o->at = 0;
        o->epoch++;
        shuffle(o);
    }
    return (o->now ? o->now : o->list)[o->at++];
}

uint64_t wt_order_place(const struct wt_order *o)
{
    return o->epoch * o->count + o->at;
}

void wt_order_seek(struct wt_order *o, uint64_t place)
{
    if (o->count == 0)
        return;
    o->epoch = place / o->count;
    o->at = (size_t)(place % o->count);
    shuffle(o);
}
