/* search: what the files of a search share. Internal to the library. */
#ifndef WT_SEARCH_SEARCH_H
#define WT_SEARCH_SEARCH_H

#include <jansson.h>

#include "base/base.h"
#include "wattune/search.h"

#define WT_Z95 1.96

/* What is made small, in words: "energy-delay product". */
const char *wt_goal_words(const struct wt_goal *goal);
/* Its document (docs/json.md): the objective, its limits and what it needs. NULL: no memory. */
json_t *wt_goal_json(const struct wt_goal *goal);

/* wt_replay_read of an open file; path is for messages. */
int wt_replay_parse(struct wt_replay *ret_replay, FILE *in, const char *path, struct wt_error *err);

/* Fills the warnings: what the result does not say by itself, and what it rests on. */
int wt_search_warn(struct wt_search_result *result, const struct wt_candidate *candidates,
                   const bool *is_dropped, size_t count, struct wt_error *err);

#endif
