/* sweep_told: what the programs told of themselves at each setting, such as a loss. It is shown
 * beside time and energy and decides nothing. */
#include <math.h>
#include <string.h>

#include "search/sweep.h"

static bool is_new(const struct wt_sweep_told *told, const char *name)
{
    for (size_t i = 0; i < told->count; i++)
        if (strcmp(told->names[i], name) == 0)
            return false;
    return true;
}

void wt_sweep_told_names(const struct wt_sweep *sweep, struct wt_sweep_told *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t r = 0; r < sweep->run_count; r++) {
        const struct wt_run *run = &sweep->runs[r];
        for (size_t i = 0; wt_sweep_is_usable(run) && i < run->value_count; i++)
            if (ret->count < WT_SWEEP_TOLD_MAX && is_new(ret, run->values[i].name))
                memcpy(ret->names[ret->count++], run->values[i].name, sizeof(ret->names[0]));
    }
}

double wt_sweep_told(const struct wt_sweep *sweep, size_t row, const char *name)
{
    const char *label = sweep->runs[sweep->rows[row].first_run].label;
    double sum = 0;
    size_t count = 0;
    for (size_t r = 0; r < sweep->run_count; r++) {
        const struct wt_run *run = &sweep->runs[r];
        if (!wt_sweep_is_usable(run) || strcmp(run->label, label) != 0)
            continue;
        for (size_t i = run->value_count; i-- > 0;) /* the last is the run's */
            if (strcmp(run->values[i].name, name) == 0) {
                sum += run->values[i].value;
                count++;
                break;
            }
    }
    return count ? sum / (double)count : (double)NAN;
}
