/* Memory of a step's input. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/feed.h"

int wt_feed_init(struct wt_feed *feed, unsigned batch, unsigned seq, struct wt_error *err)
{
    size_t rows = (size_t)batch * seq;
    *feed = (struct wt_feed){
        .batch = batch,
        .seq = seq,
        .tokens = calloc(rows, sizeof(*feed->tokens)),
        .starts = calloc(batch, sizeof(*feed->starts)),
        .lengths = calloc(batch, sizeof(*feed->lengths)),
        .chosen = calloc(rows, sizeof(*feed->chosen)),
        .targets = calloc(rows, sizeof(*feed->targets)),
    };
    if (feed->tokens && feed->starts && feed->lengths && feed->chosen && feed->targets)
        return 0;
    wt_feed_done(feed);
    return wt_fail(err, WT_E_NOMEM, "no memory for a batch of %zu tokens", rows);
}

void wt_feed_done(struct wt_feed *feed)
{
    free(feed->tokens);
    free(feed->starts);
    free(feed->lengths);
    free(feed->chosen);
    free(feed->targets);
    memset(feed, 0, sizeof(*feed));
}

struct wt_input wt_feed_input(const struct wt_feed *feed, bool has_chosen, bool has_targets)
{
    return (struct wt_input){
        .tokens = feed->tokens,
        .starts = feed->is_packed ? feed->starts : NULL,
        .lengths = feed->lengths,
        .count = feed->count,
        .rows = feed->rows,
        .chosen = has_chosen ? feed->chosen : NULL,
        .targets = has_targets ? feed->targets : NULL,
        .chosen_count = has_chosen ? feed->chosen_count : 0,
    };
}

size_t wt_feed_tokens(const struct wt_feed *feed)
{
    size_t tokens = 0;
    for (size_t i = 0; i < feed->count; i++)
        tokens += (size_t)feed->lengths[i];
    return tokens;
}
