/* read: what a document of `wattune predict --json` says of its job, for a plan. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/predict.h"

#define DOCUMENT_MAX (4u << 20) /* bytes; a prediction on 10,000 devices has 3 million */
#define TIME_MAX_S   3e9        /* 95 years; beyond them a plan has no moments */
#define POWER_MAX_W  1e12

/* All of a file, or of a pipe that a prediction is written to. */
static int read_all(const char *path, const char *name, char **ret_text, size_t *ret_size,
                    struct wt_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    char *text = malloc(DOCUMENT_MAX + 1);
    size_t size = 0;
    int rc = 0;
    errno = 0;
    if (!text)
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory to read it", name);
    else
        size = fread(text, 1, DOCUMENT_MAX + 1, in);
    if (rc == 0 && ferror(in))
        rc = wt_fail_errno(err, errno ? errno : EIO, "reading %s", name);
    else if (rc == 0 && size > DOCUMENT_MAX)
        rc = wt_fail(err, WT_E_FORMAT, "%s: more than the %u bytes that are read", name,
                     DOCUMENT_MAX);
    if (!is_stdin)
        fclose(in);
    if (rc < 0) {
        free(text);
        return rc;
    }
    *ret_text = text;
    *ret_size = size;
    return 0;
}

/* What else it is, where it has no prediction. */
static int refuse(const json_t *doc, const char *name, struct wt_error *err)
{
    const char *id = json_string_value(json_object_get(doc, "id"));
    int rc;
    if (json_is_array(json_object_get(doc, "rows")) && json_object_get(doc, "tokens")) {
        rc = wt_fail(err, WT_E_FORMAT,
                     "%s: is a comparison of several devices, and a plan is of one", name);
        wt_fix(err, "wattune predict ... --gpu GPU --json");
    } else if (json_is_array(json_object_get(doc, "devices")) && id && *id) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: is a run that was measured, and no prediction", name);
        wt_fix(err, "--run %.60s", id);
    } else {
        rc = wt_fail(err, WT_E_FORMAT, "%s: there is no prediction in it", name);
        wt_fix(err, "wattune predict ... --json writes one");
    }
    return rc;
}

static int take_estimate(const json_t *from, const char *key, const char *name, double most,
                         struct wt_estimate *ret_estimate, struct wt_error *err)
{
    const json_t *e = json_object_get(from, key);
    struct wt_estimate v = {json_number_value(json_object_get(e, "value")),
                            json_number_value(json_object_get(e, "low")),
                            json_number_value(json_object_get(e, "high"))};
    if (!e || json_is_null(e))
        return wt_fail(err, WT_E_FORMAT, "%s: its prediction has no %s", name, key);
    /* What is no number is 0. */
    if (!(v.low > 0) || !(v.value >= v.low) || !(v.high >= v.value) || !(v.high <= most))
        return wt_fail(err, WT_E_FORMAT,
                       "%s: %s of its prediction is no value with a low and a high bound around it",
                       name, key);
    *ret_estimate = v;
    return 0;
}

static const char *text_at(const json_t *from, const char *key)
{
    const char *text = json_string_value(json_object_get(from, key));
    return text ? text : "";
}

static int take(struct wt_predicted *p, const json_t *doc, const char *name, struct wt_error *err)
{
    const json_t *from = json_object_get(doc, "prediction"), *part;
    if (!json_is_object(from))
        return refuse(doc, name, err);
    int rc = take_estimate(from, "time_s", name, TIME_MAX_S, &p->time_s, err);
    if (rc == 0)
        rc = take_estimate(from, "power_w", name, POWER_MAX_W, &p->power_w, err);
    if (rc < 0)
        return rc;
    double host_w = json_number_value(json_object_get(doc, "host_w"));
    if (host_w > 0 && host_w <= POWER_MAX_W) {
        p->host_w = host_w;
        p->power_w.value += host_w;
        p->power_w.low += host_w;
        p->power_w.high += host_w;
    }
    json_int_t gpus = json_integer_value(json_object_get(from, "gpus"));
    char many[32] = "";
    if (gpus > 1)
        wt_text(many, sizeof(many), "%lld x ", (long long)gpus);
    wt_text(p->what, sizeof(p->what), "%.48s on %s%.40s", text_at(from, "model"), many,
            text_at(from, "gpu"));
    wt_text(p->emulation, sizeof(p->emulation), "%s", text_at(from, "calibrated_on_emulated"));
    p->is_doubted = json_is_string(json_object_get(from, "calibration_doubt"));
    p->fits = true;
    size_t i;
    json_array_foreach(json_object_get(from, "parts"), i, part) p->fits &=
        !json_is_false(json_object_get(part, "fits"));
    return 0;
}

int wt_predicted_parse(struct wt_predicted *ret_predicted, const char *name, const char *text,
                       size_t size, struct wt_error *err)
{
    struct wt_predicted p = {.host_w = 0};
    json_error_t where;
    int rc;
    if (!size) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: is empty", name);
        wt_fix(err, "wattune predict ... --json, and what it said on stderr");
        return rc;
    }
    json_t *doc = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!doc) {
        rc = wt_fail(err, WT_E_FORMAT, "%s:%d: is no JSON: %.200s", name, where.line, where.text);
        wt_fix(err, "wattune predict ... --json writes it");
        return rc;
    }
    rc = take(&p, doc, name, err);
    json_decref(doc);
    if (rc == 0)
        *ret_predicted = p;
    return rc;
}

int wt_predicted_read(struct wt_predicted *ret_predicted, const char *path, struct wt_error *err)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    char *text = NULL;
    size_t size = 0;
    int rc = read_all(path, name, &text, &size, err);
    if (rc < 0)
        return rc;
    rc = wt_predicted_parse(ret_predicted, name, text, size, err);
    free(text);
    return rc;
}
