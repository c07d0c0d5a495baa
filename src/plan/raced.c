/* raced: what a race of commands came to: sums, and its document (docs/json.md, "A race of
 * commands"). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "plan/race.h"

static double last_loss(const struct wt_raced_trial *t)
{
    return t->state == WT_RACE_FINISHED ? t->loss : t->final_loss;
}

void wt_raced_sum_up(struct wt_raced *raced)
{
    const struct wt_race_options *o = &raced->options;
    raced->provenance = WT_PROV_COUNTER;
    raced->winner = raced->best = SIZE_MAX;
    raced->steps = raced->steps_full = raced->spent_j = raced->saved_j = 0;
    raced->steps_again = 0;
    raced->stopped = 0;
    raced->regret = NAN;
    for (size_t i = 0; i < raced->count; i++) {
        const struct wt_raced_trial *t = &raced->trials[i];
        double last = last_loss(t);
        raced->steps += t->step + t->again;
        raced->steps_again += t->again;
        double energy_j = t->energy.provenance == WT_PROV_UNKNOWN ? NAN : t->energy.energy_j;
        if (t->energy.provenance < raced->provenance)
            raced->provenance = t->energy.provenance;
        raced->spent_j += energy_j;
        /* One that broke down or ended early would have done so without a race, too. */
        raced->steps_full += t->state == WT_RACE_PAUSED ? o->step_max : t->step;
        raced->stopped += t->state == WT_RACE_PAUSED;
        double curve_j = energy_j - t->again_j; /* without a resume */
        if (t->state == WT_RACE_PAUSED)
            raced->saved_j +=
                raced->is_verified ? t->full_j - curve_j : t->step_j * (o->step_max - t->step);
        raced->saved_j -= t->again_j;
        if (t->state == WT_RACE_FINISHED && !isnan(t->loss) &&
            (raced->winner == SIZE_MAX || t->loss < raced->trials[raced->winner].loss))
            raced->winner = i;
        if (raced->is_verified && !isnan(last) &&
            (raced->best == SIZE_MAX || last < last_loss(&raced->trials[raced->best])))
            raced->best = i;
    }
    raced->saving = raced->saved_j / (raced->spent_j + raced->saved_j);
    if (raced->winner != SIZE_MAX && raced->best != SIZE_MAX) {
        double best = last_loss(&raced->trials[raced->best]);
        raced->regret = (raced->trials[raced->winner].loss - best) / fabs(best);
    }
}

static json_t *name_json(const struct wt_raced *raced, size_t i)
{
    return i == SIZE_MAX ? json_null() : json_string(raced->trials[i].name);
}

static json_t *trial_json(const struct wt_raced_trial *t)
{
    bool is_known = t->energy.provenance != WT_PROV_UNKNOWN;
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"step", t->step},
        {"loss", t->loss},
        {"score", t->score},
        {"run_s", t->run_s},
        {"energy_j", is_known ? t->energy.energy_j : NAN},
        {"low_j", is_known ? t->energy.low_j : NAN},
        {"high_j", is_known ? t->energy.high_j : NAN},
        {"final_loss", t->final_loss},
        {"full_j", t->full_j},
        {"steps_again", t->again},
        {"again_j", is_known ? t->again_j : NAN},
    };
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "name", t->name, "command",
                          t->command, "provenance", wt_provenance_name(t->energy.provenance),
                          "state", wt_race_state_name(t->state), "is_whole", !t->has_run_on,
                          "rungs", (json_int_t)t->rungs, "processes", (json_int_t)t->processes,
                          "exit", t->exit_code < 0 ? json_null() : json_integer(t->exit_code));
    for (size_t i = 0; i < WT_COUNTOF(numbers); i++)
        if (wt_json_put(o, numbers[i].key, wt_json_number(numbers[i].value)) < 0) {
            json_decref(o);
            return NULL;
        }
    return o;
}

static json_t *list_json(const struct wt_raced *raced, bool is_rungs)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < (is_rungs ? raced->rung_count : raced->count); i++)
        if (json_array_append_new(list, is_rungs ? wt_json_number(raced->rungs[i])
                                                 : trial_json(&raced->trials[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *run_json(const struct wt_run *run)
{
    char *text = run ? wt_run_to_json(run) : NULL;
    json_t *o = !run ? json_null() : text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return o;
}

char *wt_raced_to_json(const struct wt_raced *raced)
{
    const struct wt_run *run = raced->run;
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "provenance",
                            wt_provenance_name(raced->provenance), "folder", raced->folder, "rule",
                            wt_race_rule_name(raced->options.rule), "loss", raced->loss, "is_cut",
                            raced->is_cut, "is_verified", raced->is_verified);
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"eta", raced->options.eta},       {"step_max", raced->options.step_max},
        {"regret", raced->regret},         {"steps", raced->steps},
        {"steps_full", raced->steps_full}, {"steps_again", raced->steps_again},
        {"spent_j", raced->spent_j},       {"saved_j", raced->saved_j},
        {"saving", raced->saving},
    };
    bool is_whole = wt_json_put(doc, "winner", name_json(raced, raced->winner)) == 0 &&
                    wt_json_put(doc, "best", name_json(raced, raced->best)) == 0 &&
                    wt_json_put(doc, "rungs", list_json(raced, true)) == 0 &&
                    wt_json_put(doc, "trials", list_json(raced, false)) == 0 &&
                    wt_json_put(doc, "run", run_json(run)) == 0;
    for (size_t i = 0; is_whole && i < WT_COUNTOF(numbers); i++)
        is_whole = wt_json_put(doc, numbers[i].key, wt_json_number(numbers[i].value)) == 0;
    if (!is_whole) {
        json_decref(doc);
        return NULL;
    }
    return wt_json_dump(doc);
}
