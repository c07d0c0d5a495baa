/* Recorded points: any file is read or refused, and what is read can be searched. */
#include <math.h>
#include <stdlib.h>

#include "fuzz.h"
#include "search/search.h"

#define SEARCHED_MAX                                                                               \
    6 /* rows: a search takes milliseconds, and a fuzzer needs thousands of runs                   \
       */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_replay replay;
    struct wt_error err = {0};
    FILE *in = size ? fmemopen((void *)data, size, "r") : NULL;
    if (!in)
        return 0;
    if (wt_replay_parse(&replay, in, "points", &err) == 0) {
        struct wt_search_options options = {.noise = NAN, .repeats_max = 2};
        struct wt_search_result result;
        wt_goal_init(&options.goal);
        if (replay.row_count <= SEARCHED_MAX &&
            wt_replay_search(&replay, &options, &result, &err) == 0)
            wt_search_result_done(&result);
        wt_replay_done(&replay);
    } else if (!err.text[0]) {
        abort(); /* refused without a word */
    }
    fclose(in);
    return 0;
}
