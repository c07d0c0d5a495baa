/* tune: what the files of `wattune tune` share - its options and the two ways to search. */
#ifndef WT_CLI_TUNE_H
#define WT_CLI_TUNE_H

#include "measure.h"

#define TUNE_KNOBS      WT_SEARCH_AXES
#define TUNE_CANDIDATES 1024
#define TUNE_REMARKS    8

struct tune_options {
    struct cli_bed bed;
    struct cli_setting sets[TUNE_KNOBS];
    size_t set_count;
    struct wt_goal goal;
    bool has_host_w; /* given, and not measured */
    const char *replay, *tag, *progress, *mark;
    char work_unit[32];
    uint64_t work_per_step;
    size_t probes;
    double noise; /* NaN: not given */
    int64_t window_ns, settle_ns;
    bool is_json, is_per_gpu, is_dry_run, is_nvtx, is_without_store, is_fresh;
};

/* Searches while the command runs. Returns the exit code. */
int cli_tune_live(struct tune_options *o, char **command);

/* Shows a result as asked for. Returns the exit code. */
int cli_tune_show(const struct tune_options *o, const struct wt_search_result *result,
                  const struct wt_search_story *story);

#endif
