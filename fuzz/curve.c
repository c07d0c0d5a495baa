/* Loss curves: any file is read or refused, and what is read can be raced against itself. */
#include <math.h>
#include <stdlib.h>

#include "fuzz.h"
#include "plan/race.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_race_curve twins[2];
    struct wt_error err = {0};
    bool has_energy;
    if (!size)
        return 0;
    FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!in)
        return 0;
    if (wt_race_curve_parse(&twins[0], &has_energy, in, "loss", "curve", &err) == 0) {
        const struct wt_race_curve *c = twins;
        double last = c->steps[c->count - 1];
        twins[1] = twins[0];
        struct wt_race_curves curves = {.curves = twins,
                                        .count = 2,
                                        .has_energy = has_energy,
                                        .gap_steps = last / (double)c->count};
        for (int rule = 0; rule < WT_RACE_RULES; rule++) {
            struct wt_race_options o;
            struct wt_race_replayed r;
            wt_race_options_init(&o, 0);
            o.rule = (enum wt_race_rule)rule;
            if (wt_race_replay(&r, &curves, &o, 0, 1, &err) == 0) {
                if (c->is_diverged || r.spent > r.full || r.regret > 0)
                    abort(); /* of two alike none is the better */
                wt_race_replayed_done(&r);
            } else if (!c->is_diverged) {
                abort(); /* both have a final loss */
            }
        }
        wt_race_curve_done(&twins[0]);
    } else if (!err.text[0]) {
        abort(); /* refused without a word */
    }
    fclose(in);
    return 0;
}
