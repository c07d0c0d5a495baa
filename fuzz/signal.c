/* Signals: any file is read or refused, and on what is read a job can be planned. The first byte
 * chooses the kind. */
#include <math.h>
#include <stdlib.h>

#include "fuzz.h"
#include "plan/signal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_signal *signal;
    struct wt_error err = {0};
    if (size < 2)
        return 0;
    enum wt_signal_kind kind = (enum wt_signal_kind)(data[0] % WT_SIGNAL_KINDS);
    static const enum wt_objective objectives[] = {WT_OBJECTIVE_CARBON, WT_OBJECTIVE_ENERGY,
                                                   WT_OBJECTIVE_COST};
    FILE *in = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
    if (!in)
        return 0;
    if (wt_signal_parse(&signal, kind, in, "signal", &err) == 0) {
        struct wt_signal_info info = wt_signal_info(signal);
        struct wt_place place = {.region = ""};
        place.signals[kind] = signal;
        struct wt_job job = {.objective = objectives[kind], .power_w = 1000, .duration_s = 5400};
        job.start_s = info.form == WT_SIGNAL_SERIES ? info.begin_s : 1593561600;
        job.deadline_s = job.start_s + 86400;
        for (int way = 0; way < 3; way++) {
            struct wt_plan_result result;
            job.is_interruptible = way > 0;
            job.checkpoint_s = way > 1 ? 600 : 0;
            if (wt_plan_places(&result, &job, NULL, &place, 1, &err) == 0) {
                if (!isfinite(wt_plan_objective(&result.plans[0].sum, job.objective)))
                    abort(); /* planned where nothing is known */
                char *text = wt_plan_to_json(&result);
                free(text);
                wt_plan_result_done(&result);
            }
        }
        wt_signal_free(signal);
    } else if (!err.text[0]) {
        abort(); /* refused without a word */
    }
    fclose(in);
    return 0;
}
