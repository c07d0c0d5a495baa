/* race_json: a replayed race's document. The form is stable: docs/json.md, "A race". */
#include <jansson.h>
#include <math.h>

#include "plan/race.h"

static json_t *trials_json(const struct wt_race_curves *curves, const struct wt_race_replayed *r)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->count; i++) {
        const struct wt_race_trial *t = &r->trials[i];
        const struct wt_race_curve *c = &curves->curves[r->order[i]];
        double last = c->is_diverged || c->is_failed ? NAN : c->losses[c->count - 1];
        json_t *o = json_pack("{s:s, s:s, s:I}", "name", c->name, "state",
                              wt_race_state_name(t->state), "rungs", (json_int_t)t->rungs);
        if (wt_json_put(o, "step", wt_json_number(t->step)) < 0 ||
            wt_json_put(o, "loss", wt_json_number(t->loss)) < 0 ||
            wt_json_put(o, "score", wt_json_number(t->score)) < 0 ||
            wt_json_put(o, "cost", wt_json_number(t->energy_j)) < 0 ||
            wt_json_put(o, "full_cost", wt_json_number(c->costs[c->count - 1])) < 0 ||
            wt_json_put(o, "final_loss", wt_json_number(last)) < 0 ||
            json_array_append(list, o) < 0) {
            json_decref(list);
            list = NULL;
        }
        json_decref(o);
    }
    return list;
}

static json_t *rungs_json(const struct wt_race_replayed *r)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->rung_count; i++)
        if (json_array_append_new(list, wt_json_number(r->rungs[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *risk_json(const struct wt_race_risk *risk)
{
    json_t *o = json_pack("{s:I}", "races", (json_int_t)risk->races);
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"tolerance", risk->tolerance},      {"best_survived", risk->won_share},
        {"near_survived", risk->near_share}, {"saving", risk->saving},
        {"saving_min", risk->saving_min},    {"regret", risk->regret},
        {"regret_95", risk->regret_95},      {"regret_max", risk->regret_max},
    };
    for (size_t i = 0; i < WT_COUNTOF(numbers); i++)
        if (wt_json_put(o, numbers[i].key, wt_json_number(numbers[i].value)) < 0) {
            json_decref(o);
            return NULL;
        }
    return o;
}

char *wt_race_to_json(const struct wt_race_curves *curves, const struct wt_race_options *options,
                      const struct wt_race_replayed *replayed, const struct wt_race_risk *risk,
                      const char *folder)
{
    json_t *doc = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "wattune", WATTUNE_VERSION, "provenance",
        "replayed", "source", folder, "rule", wt_race_rule_name(options->rule), "loss",
        curves->column, "cost_unit", curves->has_energy ? "J" : "steps", "winner",
        curves->curves[replayed->winner].name, "best", curves->curves[replayed->best].name);
    if (wt_json_put(doc, "recorded",
                    curves->has_energy && curves->provenance != WT_PROV_UNKNOWN
                        ? json_string(wt_provenance_name(curves->provenance))
                        : json_null()) < 0 ||
        wt_json_put(doc, "eta", wt_json_number(options->eta)) < 0 ||
        wt_json_put(doc, "rungs", rungs_json(replayed)) < 0 ||
        wt_json_put(doc, "regret", wt_json_number(replayed->regret)) < 0 ||
        wt_json_put(doc, "spent", wt_json_number(replayed->spent)) < 0 ||
        wt_json_put(doc, "full", wt_json_number(replayed->full)) < 0 ||
        wt_json_put(doc, "saving", wt_json_number(1 - replayed->spent / replayed->full)) < 0 ||
        wt_json_put(doc, "trials", trials_json(curves, replayed)) < 0 ||
        wt_json_put(doc, "risk", risk ? risk_json(risk) : json_null()) < 0) {
        json_decref(doc);
        return NULL;
    }
    return wt_json_dump(doc);
}
