/* Traces: any file is read or refused, and what is read can be replayed: nobody starts before being
 * submitted, and what the schedules take adds up. */
#include <math.h>
#include <stdlib.h>

#include "fuzz.h"
#include "plan/fleet.h"

static void replay(const struct wt_trace *trace)
{
    struct wt_fleet_result r;
    struct wt_error err = {0};
    struct wt_place place = {.region = ""};
    struct wt_fleet_cluster cluster = {
        .nodes = 8, .node_gpus = 4, .idle_w = 1, .busy_w = 3, .host_w = NAN};
    struct wt_fleet_policy policy = {.objective = WT_OBJECTIVE_CARBON,
                                     .shifts = {{.of = WT_FLEET_ALL, .span_s = 3600}},
                                     .shift_count = 1};
    if (wt_signal_constant(&place.signals[WT_SIGNAL_CARBON], WT_SIGNAL_CARBON, 400, &err) < 0)
        return;
    for (int way = 0; way < 2; way++) {
        cluster.is_shared = way;
        if (wt_fleet_replay(&r, trace, &cluster, &policy, &place, &err) < 0)
            continue;
        for (size_t i = 0; i < r.case_count; i++) {
            const struct wt_fleet_case *c = &r.cases[i];
            if (!(c->wait_s.mean >= 0) || !(c->utilisation <= 1 + 1e-9) || !(c->jobs_kwh > 0) ||
                !(c->idle_kwh >= -1e-9 * c->jobs_kwh) || !(c->slowdown.mean >= 1))
                abort();
        }
        char *text = wt_fleet_to_json(&r);
        free(text);
        wt_fleet_result_done(&r);
    }
    wt_signal_free(place.signals[WT_SIGNAL_CARBON]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_trace trace;
    struct wt_error err = {0};
    if (!size)
        return 0;
    FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!in)
        return 0;
    if (wt_trace_parse(&trace, in, "trace", &err) == 0) {
        if (!trace.count)
            abort();
        replay(&trace);
        wt_trace_done(&trace);
    } else if (!err.text[0]) {
        abort(); /* refused without a word */
    }
    fclose(in);
    return 0;
}
