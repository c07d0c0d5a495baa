/* json: jansson, with one way to write numbers that may be missing. */
#include <jansson.h>
#include <math.h>

#include "base/base.h"

json_t *wt_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *wt_json_estimate(const struct wt_estimate *e)
{
    if (isnan(e->value))
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "value", wt_json_number(e->value), "low",
                     wt_json_number(e->low), "high", wt_json_number(e->high));
}

int wt_json_put(json_t *object, const char *key, json_t *value)
{
    if (object)
        return json_object_set_new(object, key, value) < 0 ? WT_E_NOMEM : 0;
    json_decref(value);
    return WT_E_NOMEM;
}

int wt_json_set_joules(json_t *object, const struct wt_joules *joules)
{
    bool known = joules->provenance != WT_PROV_UNKNOWN;
    int rc = 0;
    rc |= json_object_set_new(object, "energy_j",
                              known ? wt_json_number(joules->energy_j) : json_null());
    rc |= json_object_set_new(object, "low_j", known ? wt_json_number(joules->low_j) : json_null());
    rc |=
        json_object_set_new(object, "high_j", known ? wt_json_number(joules->high_j) : json_null());
    rc |= json_object_set_new(object, "provenance",
                              json_string(wt_provenance_name(joules->provenance)));
    return rc ? WT_E_NOMEM : 0;
}

/* Twelve digits keep a microjoule up to a megajoule, so that shares add up in the document too. */
char *wt_json_dump(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(12) | JSON_ENCODE_ANY);
    json_decref(value);
    return text;
}
