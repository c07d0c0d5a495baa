/* search_json: a search's document and its sentence. The form is stable: docs/json.md. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "record/record.h"
#include "search/search.h"

/* The word that a value stands for; otherwise: of a number. */
static const char *word_of(const struct wt_search_axis *axis, double value, const char *otherwise)
{
    return axis->words && value >= 1 && value <= (double)axis->word_count
               ? axis->words[(size_t)value - 1]
               : otherwise;
}

const char *wt_search_words(const struct wt_search_result *result, const double *values, char *buf,
                            size_t size)
{
    buf[0] = '\0';
    for (size_t a = 0; a < result->axis_count; a++) {
        const struct wt_search_axis *axis = &result->axes[a];
        bool is_named = result->axis_count > 1 || !axis->unit[0];
        size_t used = strlen(buf);
        char number[32];
        wt_text(number, sizeof(number), "%g", values[a]);
        wt_text(buf + used, size - used, "%s%s%s%s%s%s", a ? ", " : "", is_named ? axis->name : "",
                is_named ? " " : "", word_of(axis, values[a], number), axis->unit[0] ? " " : "",
                axis->unit);
    }
    return buf;
}

/* ---- the document ---- */

/* power is power_w here and in replay files. */
static void key_of(const struct wt_search_axis *axis, char *buf, size_t size)
{
    if (axis->form == WT_AXIS_POWER)
        wt_text(buf, size, "%s_w", axis->name);
    else if (axis->form == WT_AXIS_CLOCK)
        wt_text(buf, size, "%s_mhz", axis->name);
    else
        wt_text(buf, size, "%s", axis->name);
}

/* A new object with the setting in it; NULL: no memory. */
static json_t *setting_json(const struct wt_search_result *r, const double *values)
{
    json_t *o = json_object();
    char key[48];
    for (size_t a = 0; o && a < r->axis_count; a++) {
        key_of(&r->axes[a], key, sizeof(key));
        const char *word = word_of(&r->axes[a], values[a], NULL);
        if (json_object_set_new(o, key, word ? wt_json_text(word) : wt_json_number(values[a])) <
            0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static json_t *estimate_json(const struct wt_estimate *e)
{
    return json_pack("{s:o, s:o, s:o}", "value", wt_json_number(e->value), "low",
                     wt_json_number(e->low), "high", wt_json_number(e->high));
}

static json_t *point_json(const struct wt_search_result *r, const struct wt_search_point *p)
{
    const struct wt_search_point *ref = &r->points[r->reference];
    json_t *o = setting_json(r, p->values);
    if (wt_json_put(o, "time_s", estimate_json(&p->time_s)) < 0 ||
        wt_json_put(o, "energy_j", estimate_json(&p->energy_j)) < 0 ||
        wt_json_put(o, "value", estimate_json(&p->value)) < 0 ||
        wt_json_put(o, "time_ratio", wt_json_number(p->time_s.value / ref->time_s.value)) < 0 ||
        wt_json_put(o, "energy_ratio", wt_json_number(p->energy_j.value / ref->energy_j.value)) <
            0 ||
        wt_json_put(o, "breakeven_host_w", wt_json_number(p->breakeven_w)) < 0 ||
        wt_json_put(o, "readings", json_integer((json_int_t)p->readings)) < 0 ||
        wt_json_put(o, "is_admissible", json_boolean(p->is_admissible)) < 0 ||
        wt_json_put(o, "is_tied", json_boolean(p->is_tied)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* Every reading in order, as it was. */
static json_t *probes_json(const struct wt_search_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->reading_count; i++) {
        const struct wt_search_point *p = r->points;
        while (p->candidate != r->order[i])
            p++;
        json_t *o = setting_json(r, p->values);
        if (wt_json_put(o, "time_s", wt_json_number(r->order_time_s[i])) < 0 ||
            wt_json_put(o, "energy_j", wt_json_number(r->order_energy_j[i])) < 0 ||
            json_array_append(list, o) < 0) {
            json_decref(list);
            list = NULL;
        }
        json_decref(o);
    }
    return list;
}

static json_t *points_json(const struct wt_search_result *r, const struct wt_search_point *points,
                           size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, point_json(r, &points[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *choice_json(const struct wt_search_result *r)
{
    const struct wt_search_point *c = &r->points[r->choice];
    json_t *o = setting_json(r, c->values);
    if (wt_json_put(o, "time_ratio", wt_json_number(r->time_ratio.value)) < 0 ||
        wt_json_put(o, "time_ratio_low", wt_json_number(r->time_ratio.low)) < 0 ||
        wt_json_put(o, "time_ratio_high", wt_json_number(r->time_ratio.high)) < 0 ||
        wt_json_put(o, "energy_ratio", wt_json_number(r->energy_ratio.value)) < 0 ||
        wt_json_put(o, "energy_ratio_low", wt_json_number(r->energy_ratio.low)) < 0 ||
        wt_json_put(o, "energy_ratio_high", wt_json_number(r->energy_ratio.high)) < 0 ||
        wt_json_put(o, "value_ratio", wt_json_number(r->value_ratio.value)) < 0 ||
        wt_json_put(o, "is_saving_real", json_boolean(r->is_saving_real)) < 0 ||
        wt_json_put(o, "is_tied", json_boolean(r->choice != r->best)) < 0 ||
        wt_json_put(o, "breakeven_host_w", wt_json_number(c->breakeven_w)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *ties_json(const struct wt_search_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->point_count; i++)
        if (r->points[i].is_tied &&
            json_array_append_new(list, setting_json(r, r->points[i].values)) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *words_json(char *const *texts, size_t count, const char *const *more,
                          size_t more_count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count + more_count; i++)
        if (json_array_append_new(list, wt_json_text(i < count ? texts[i] : more[i - count])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? wt_json_text(text) : json_null();
}

char *wt_search_to_json(const struct wt_search_result *result, const struct wt_search_story *story)
{
    const struct wt_search_result *r = result;
    char advice[700];
    wt_search_advice(r, story, advice, sizeof(advice));
    json_t *doc = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:b, s:o}",
        "wattune", wt_version(), "provenance", wt_provenance_name(story->provenance), "source",
        text_or_null(story->source), "machine", text_or_null(story->machine), "emulation",
        text_or_null(story->emulation), "work_unit", text_or_null(story->work_unit), "run",
        text_or_null(story->run_id), "searched_s", wt_json_number(story->searched_s), "extra_j",
        wt_json_number(story->extra_j), "goal", wt_goal_json(&r->goal), "probes", probes_json(r),
        "points", points_json(r, r->points, r->point_count), "choice", choice_json(r), "reference",
        setting_json(r, r->points[r->reference].values), "choice_gpu_only",
        setting_json(r, r->points[r->choice_gpu_only].values), "ties", ties_json(r), "curve",
        points_json(r, r->curve, r->curve_count), "noise", wt_json_number(r->noise),
        "is_noise_known", r->is_noise_known, "warnings",
        words_json(r->warnings, r->warning_count, story->remarks, story->remark_count));
    if (doc && wt_json_put(doc, "advice", wt_json_text(advice)) < 0) {
        json_decref(doc);
        doc = NULL;
    }
    return doc ? wt_json_dump(doc) : NULL;
}

/* ---- the sentence ---- */

/* "12.3 % less energy [11.0, 13.6]"; "more" where it is. */
static void change_words(const struct wt_estimate *ratio, const char *what, char *buf, size_t size)
{
    double less = (1 - ratio->value) * 100, low = (1 - ratio->high) * 100,
           high = (1 - ratio->low) * 100;
    if (less >= 0)
        wt_text(buf, size, "%.1f %% less %s [%.1f, %.1f]", less, what, low, high);
    else
        wt_text(buf, size, "%.1f %% more %s [%.1f, %.1f]", -less, what, -high, -low);
}

const char *wt_search_advice(const struct wt_search_result *result,
                             const struct wt_search_story *story, char *buf, size_t size)
{
    const struct wt_search_result *r = result;
    const struct wt_search_point *c = &r->points[r->choice];
    char setting[120], value[80], energy[80] = "", time[80], where[120] = "", host[160] = "";
    wt_search_words(r, c->values, setting, sizeof(setting));
    if (story->emulation && *story->emulation)
        wt_text(where, sizeof(where), "On the emulated %s: ", story->emulation);
    else if (story->provenance == WT_PROV_REPLAYED)
        wt_text(where, sizeof(where), "By the recorded points: ");
    if (!c->is_admissible) {
        wt_text(buf, size,
                "%s%s %s: none of the %zu setting%s measured keeps within the limits asked for.",
                where, *where ? "keep" : "Keep", setting, r->point_count,
                r->point_count == 1 ? "" : "s");
        return buf;
    }
    if (r->choice == r->reference) {
        const char *goal = wt_goal_words(&r->goal), *within = "";
        if (!isnan(r->goal.slowdown_max) || !isnan(r->goal.power_max_w))
            within = " within the limits";
        if (r->point_count == 1)
            wt_text(buf, size,
                    "%s%s %s: no other setting promises less %s%s, so none was measured.", where,
                    *where ? "keep" : "Keep", setting, goal, within);
        else
            wt_text(buf, size,
                    "%s%s %s: of %zu settings measured none has less %s that can be told from "
                    "nothing%s.",
                    where, *where ? "keep" : "Keep", setting, r->point_count, goal, within);
        return buf;
    }
    change_words(&r->value_ratio, wt_goal_words(&r->goal), value, sizeof(value));
    change_words(&r->time_ratio, "time", time, sizeof(time));
    if (r->goal.objective != WT_OBJECTIVE_ENERGY || r->goal.host_w > 0) {
        char change[80];
        change_words(&r->energy_ratio, "energy of the devices", change, sizeof(change));
        wt_text(energy, sizeof(energy), ", %s", change);
    }
    if (r->goal.host_w > 0)
        wt_text(host, sizeof(host), " The rest of the node is counted with %.0f W.",
                r->goal.host_w);
    size_t used = strlen(host);
    if (!isnan(c->breakeven_w))
        wt_text(host + used, sizeof(host) - used,
                " The saving of energy vanishes where the rest of the node draws %.0f W.",
                c->breakeven_w);
    else if (r->time_ratio.high <= 1)
        wt_text(host + used, sizeof(host) - used,
                " The saving of energy holds whatever the rest of the node draws.");
    else
        wt_text(
            host + used, sizeof(host) - used,
            " How much of the node's rest it bears is not known: the time may be longer or not.");
    wt_text(buf, size, "%s%s %s: %s, %s%s.%s", where, *where ? "use" : "Use", setting, value, time,
            energy, host);
    return buf;
}
