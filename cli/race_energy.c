/* race_energy: what a race's trials took - a window for each stretch in which one runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"

#define COLLECT_NS INT64_C(500000000) /* by then a window's end is covered by samples */

static void mark_phase(struct race_live *l, const struct race_trial *t, enum wt_mark_kind kind)
{
    struct wt_mark told = {.t_ns = cli_now_ns(), .pid = 1, .kind = kind, .count = 1};
    memcpy(told.name, t->phase, sizeof(told.name));
    race_mark(l, &told);
}

void race_stretch_open(struct race_live *l, struct race_trial *t)
{
    t->since_ns = cli_now_ns();
    t->has_window = wt_meter_begin(l->m.meter, t->name, &t->window) == 0;
    t->is_window_over = false;
    t->window_from = t->count;
    t->twice.until_s = 0;
    mark_phase(l, t, WT_MARK_BEGIN);
}

static void spend(struct race_trial *t, const struct wt_joules *energy)
{
    struct wt_joules before = t->spent, here = t->here;
    t->spent = t->here = *energy;
    if (t->has_spent)
        wt_joules_add(&t->spent, &before, energy);
    if (t->has_here)
        wt_joules_add(&t->here, &here, energy);
    t->has_spent = t->has_here = true;
}

static void end_stretch(struct race_trial *t, int64_t now)
{
    t->window_s = (double)(now - t->since_ns) * 1e-9;
    t->run_s += t->window_s;
    t->since_ns = 0;
    race_trial_close_again(t);
}

void race_stretch_close(struct race_live *l, struct race_trial *t)
{
    if (!t->since_ns)
        return;
    int64_t now = cli_now_ns();
    end_stretch(t, now);
    if (t->has_window)
        wt_meter_end(l->m.meter, t->window);
    t->is_window_over = t->has_window;
    t->over_ns = now;
    if (!t->has_window)
        spend(t, &(struct wt_joules){.provenance = WT_PROV_UNKNOWN});
    mark_phase(l, t, WT_MARK_END);
}

/* Of its slot's GPUs where several run at once: the rest of the node is nobody's alone. */
static struct wt_joules joules_of(const struct race_live *l, const struct race_trial *t,
                                  const struct wt_window_result *result)
{
    struct wt_joules sum = {.provenance = WT_PROV_UNKNOWN};
    if (l->slot_count ==
        1) /* without any sensor what is modeled is better than nothing, and says so */
        return result->total.provenance == WT_PROV_UNKNOWN && result->has_estimate
                   ? result->estimate
                   : result->total;
    const struct race_slot *slot = &l->slots[t->slot];
    for (size_t i = 0, n = 0; i < result->device_count; i++)
        for (size_t k = 0; k < slot->device_count; k++)
            if (result->devices[i].device == slot->devices[k]) {
                struct wt_joules before = sum;
                sum = result->devices[i].energy;
                if (n++)
                    wt_joules_add(&sum, &before, &result->devices[i].energy);
            }
    return sum;
}

/* How much of its stretch had passed by then. */
static double share_of(const struct race_trial *t, double run_s)
{
    double share = (run_s - (t->run_s - t->window_s)) / t->window_s;
    return fmin(fmax(share, 0), 1);
}

/* Of a stretch that is over. Its points lie on the straight line in time between what it had taken
 * before and after, less what it took to come to where the curve was. */
static void take_energy(struct race_trial *t, const struct wt_joules *energy)
{
    double before_j = t->has_spent ? t->spent.energy_j : 0;
    spend(t, energy);
    if (t->twice.until_s > 0)
        t->twice.run_j = before_j + energy->energy_j * share_of(t, t->twice.until_s) -
                         t->points[t->window_from - 1].energy_j;
    for (size_t i = t->window_from; i < t->count; i++)
        t->points[i].energy_j =
            t->spent.provenance == WT_PROV_UNKNOWN || t->is_skipped
                ? NAN
                : before_j - t->twice.run_j +
                      energy->energy_j * share_of(t, t->points[i].run_s + t->twice.run_s);
}

/* What is to be saved of a stretch that goes on, or whose end no sample covers yet: we may be
 * killed before more is known. `now` is a copy, and shares its points with the trial. */
static void settle(struct race_live *l, struct race_trial *now)
{
    struct wt_window_result so_far;
    struct wt_joules energy = {.provenance = WT_PROV_UNKNOWN};
    if (!now->since_ns && !now->is_window_over)
        return;
    if (now->since_ns)
        end_stretch(now, cli_now_ns());
    if (now->has_window && wt_meter_peek(l->m.meter, now->window, &so_far, NULL) == 0) {
        energy = joules_of(l, now, &so_far);
        wt_window_result_done(&so_far);
    }
    /* In its first moments nothing is known of it yet, and what was known before is not lost. */
    if (energy.provenance == WT_PROV_UNKNOWN && now->has_spent)
        now->count = now->window_from;
    else
        take_energy(now, &energy);
}

void race_save(struct race_live *l, const struct race_trial *t)
{
    struct wt_error why;
    struct race_trial now = *t;
    enum wt_race_state state = wt_race_trial(l->race, (size_t)(t - l->trials))->state;
    const char *remark = state == WT_RACE_DIVERGED   ? "failed"
                         : state != WT_RACE_FINISHED ? "unfinished"
                                                     : NULL;
    settle(l, &now);
    if (race_trial_save(&now, remark, t->since_ns != 0, &why) < 0) {
        race_clear_line(l);
        cli_note("%s is not written: %s", t->curve, why.text);
    }
}

void race_stretch_collect(struct race_live *l, struct race_trial *t, bool is_now)
{
    struct wt_window_result result;
    struct wt_error why;
    struct wt_joules energy = {.provenance = WT_PROV_UNKNOWN};
    if (!t->is_window_over || (!is_now && cli_now_ns() - t->over_ns < COLLECT_NS))
        return;
    t->is_window_over = t->has_window = false;
    if (wt_meter_result(l->m.meter, t->window, is_now ? COLLECT_NS : 0, &result, &why) == 0) {
        energy = joules_of(l, t, &result);
        wt_window_result_done(&result);
    }
    take_energy(t, &energy);
    race_save(l, t);
}

void race_fill_phases(const struct race_live *l, struct wt_run *run)
{
    bool is_any = false;
    for (size_t i = 0; i < run->phase_count; i++)
        for (size_t k = 0; k < l->count; k++) {
            struct wt_run_phase *p = &run->phases[i];
            const struct race_trial *t = &l->trials[k];
            if (!t->has_here || t->here.provenance == WT_PROV_UNKNOWN ||
                strcmp(p->name, t->phase) != 0)
                continue;
            double span_s = p->own_s > 0 ? p->own_s : p->wall_s;
            p->energy = t->here;
            p->mean_w = span_s > 0 ? t->here.energy_j / span_s : NAN;
            p->is_separable = is_any = true;
            p->joint = (struct wt_joules){.provenance = WT_PROV_UNKNOWN};
            p->with[0] = '\0';
        }
    if (is_any)
        snprintf(run->phases_note, sizeof(run->phases_note),
                 "energies of trials are %s while each ran, as the race took them",
                 l->slot_count > 1 ? "of their GPUs" : "the node's");
}

void race_collect_all(struct race_live *l)
{
    for (size_t i = 0; i < l->count; i++)
        race_stretch_collect(l, &l->trials[i], true);
}
