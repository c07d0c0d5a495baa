/* html: the report as one file that opens offline, prints, and can be read without its plots.
 *
 * Tables and words are plain HTML made here; the plots are drawn by page.js with Chart.js from the
 * JSON in the page. Everything that came from outside (commands, names, labels) is escaped: as
 * HTML in text, and as \uXXXX inside the JSON, so that no "</script>" can end it. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "record/record.h"
#include "report/assets.h"
#include "report/words.h"
#include "search/sweep.h"
#include "wattune/report.h"

/* More points than this a line are not seen on a screen. */
enum { PLOT_POINTS = 500 };

/* ---- text ---- */

/* Text with the five characters that mean something in HTML taken out of it. */
static void put(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc(*text, out);
        }
}

/* A tag around escaped text. */
static void tag(FILE *out, const char *open, const char *text, const char *close)
{
    fputs(open, out);
    put(out, text);
    fputs(close, out);
}

/* JSON into a script element: what could end the element or begin a comment is written as escape.
 * These characters occur in strings only, where \u003c is the same character. */
static int put_json(FILE *out, json_t *doc)
{
    if (!doc)
        return WT_E_NOMEM;
    char *text = json_dumps(doc, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    json_decref(doc);
    if (!text)
        return WT_E_NOMEM;
    for (const char *p = text; *p; p++)
        if (*p == '<' || *p == '>' || *p == '&')
            fprintf(out, "\\u%04x", (unsigned)*p);
        else
            fputc(*p, out);
    free(text);
    return 0;
}

static const char *watts(char *buf, size_t size, double w)
{
    if (!isfinite(w))
        return wt_text(buf, size, "unknown");
    return wt_text(buf, size, "%.*f W", fabs(w) < 9.95 ? 2 : fabs(w) < 99.95 ? 1 : 0, w);
}

/* "-21.3 %" with a real minus sign. */
static const char *change(char *buf, size_t size, double ratio)
{
    double percent = (ratio - 1) * 100;
    const char *sign = fabs(percent) < 0.05 ? "\u00b1" : percent < 0 ? "\u2212" : "+";
    return wt_text(buf, size, "%s%.1f\u2009%%", sign, fabs(percent));
}

static const char *singular(const char *unit, char *buf, size_t size)
{
    size_t n = strlen(unit);
    return wt_text(buf, size, "%.*s", (int)(n && unit[n - 1] == 's' ? n - 1 : n), unit);
}

/* ---- the frame ---- */

static void page_begin(FILE *out, const char *title)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"generator\" content=\"Wattune\">\n",
          out);
    tag(out, "<title>", title, "</title>\n");
    fprintf(out, "<style>\n%s</style>\n</head>\n<body>\n<main>\n", wt_asset_style);
}

static int page_end(FILE *out, json_t *data)
{
    tag(out, "<footer><p>Made by Wattune ", wt_version(),
        ". This file holds its own data and scripts and loads nothing. Plots by Chart.js, "
        "\u00a9 Chart.js Contributors, MIT licence.</p></footer>\n</main>\n");
    fputs("<script type=\"application/json\" id=\"data\">", out);
    int rc = put_json(out, data);
    fputs("</script>\n<script>\n", out);
    fputs(wt_asset_chart, out);
    fputs("\n</script>\n<script>\n", out);
    fputs(wt_asset_page, out);
    fputs("</script>\n</body>\n</html>\n", out);
    return rc;
}

static void put_remark(FILE *out, const char *word, const char *what, const char *words)
{
    fprintf(out, "<p class=\"emulated\" role=\"note\"><strong>%s", word);
    if (what[0])
        tag(out, " (", what, ")");
    tag(out, ".</strong> ", words, "</p>\n");
}

/* The devices whose energy is estimated, by name. */
static const char *modeled_names(const struct wt_run *run, char *buf, size_t size)
{
    char name[128];
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < run->device_count && used + 1 < size; i++) {
        if (!run->devices[i].is_modeled)
            continue;
        wt_text(buf + used, size - used, "%s%s", used ? ", " : "",
                wt_device_title(run, i, name, sizeof(name)));
        used = strlen(buf);
    }
    return buf;
}

/* Of several runs: how many have a total that is estimated. No figure: each run has its own, and
 * the first one's is not theirs. */
static void put_unreal_totals(FILE *out, const struct wt_run *runs, size_t count)
{
    char words[900], names[400];
    const struct wt_run *first = NULL, *partly = NULL;
    size_t modeled = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_modeled = runs[i].total.provenance == WT_PROV_MODELED;
        modeled += is_modeled;
        first = is_modeled && !first ? &runs[i] : first;
        partly = !is_modeled && runs[i].has_estimate && !partly ? &runs[i] : partly;
    }
    if (first) {
        char of[48] = "";
        if (modeled < count)
            wt_text(of, sizeof(of), " of %zu of the %zu runs", modeled, count);
        wt_text(
            words, sizeof(words),
            "The totals%s are estimated from load and not measured: %s. Their intervals are the "
            "bands in which the truth is expected.",
            of, modeled_names(first, names, sizeof(names)));
        put_remark(out, "Modeled", "", words);
    }
    if (partly) {
        wt_text(words, sizeof(words),
                "No sensor measures %s: what it draws is estimated from load, and not in the "
                "totals.",
                modeled_names(partly, names, sizeof(names)));
        put_remark(out, "Partly modeled", "", words);
    }
}

/* Above all figures: what they are not. */
static void put_unreal(FILE *out, const struct wt_run *run, size_t count)
{
    char words[900], text[96], names[400];
    const struct wt_joules *sum = &run->total;
    bool is_known = run->estimate.provenance != WT_PROV_UNKNOWN;
    modeled_names(run, names, sizeof(names));
    if (run->is_emulated)
        put_remark(out, "Emulated", run->emulation,
                   "These figures come from Wattune\u2019s built-in device model. No real device "
                   "was measured.");
    if (run->is_replayed) {
        wt_text(words, sizeof(words), "This is %s.%s%s", wt_replayed_words(run),
                run->recording_title[0] ? " It says of itself: " : "", run->recording_title);
        put_remark(out, "Replayed", run->recording, words);
    }
    if (count > 1) {
        put_unreal_totals(out, run, count);
    } else if (sum->provenance == WT_PROV_MODELED) {
        wt_text(words, sizeof(words),
                "The total, %s, is estimated from load and not measured: %s. The interval is the "
                "band in which the truth is expected.",
                wt_format_interval(text, sizeof(text), sum), names);
        put_remark(out, "Modeled", "", words);
    } else if (run->has_estimate) {
        wt_text(words, sizeof(words),
                "No sensor measures %s: what it draws is estimated from load, and not in the "
                "total.%s%s%s",
                names, is_known ? " With it: " : "",
                is_known ? wt_format_interval(text, sizeof(text), &run->estimate) : "",
                is_known ? ", modeled." : "");
        put_remark(out, "Partly modeled", "", words);
    }
}

/* Of one run, or of the runs of a comparison. */
static void put_header(FILE *out, const char *title, const char *command, const struct wt_run *run,
                       size_t count)
{
    char when[32];
    fputs("<header>\n<p class=\"brand\">Wattune</p>\n", out);
    tag(out, "<h1>", title, "</h1>\n");
    wt_time_text(when, sizeof(when), run->start_unix_ns);
    fputs("<p class=\"soft\">", out);
    fprintf(out, "<time datetime=\"%s\">%.10s %.5s UTC</time>", when, when, when + 11);
    if (run->host[0])
        tag(out, " \u00b7 ", run->host, "");
    if (run->tag[0])
        tag(out, " \u00b7 tag ", run->tag, "");
    fputs("</p>\n", out);
    tag(out, "<code class=\"command\">", command, "</code>\n");
    put_unreal(out, run, count);
    fputs("</header>\n", out);
}

static void put_figure(FILE *out, const char *id, const char *title, const char *words,
                       bool is_wide)
{
    fprintf(out, "<figure%s><figcaption>", is_wide ? " class=\"wide\"" : "");
    tag(out, "<h3>", title, "</h3>");
    tag(out, "<p>", words, "</p></figcaption>");
    fprintf(out, "<div class=\"canvas\"><canvas id=\"%s\" role=\"img\" aria-label=\"", id);
    put(out, title);
    fputs(". The figures are in the tables.\"></canvas></div></figure>\n", out);
}

static void put_tile(FILE *out, const char *kind, const char *value, const char *words,
                     const char *detail)
{
    fprintf(out, "<div class=\"tile %s\">", kind);
    tag(out, "<b>", value, "</b>");
    tag(out, "<span>", words, "</span>");
    if (detail[0])
        tag(out, "<span>", detail, "</span>");
    fputs("</div>\n", out);
}

static void put_warnings(FILE *out, char *const *warnings, size_t count)
{
    if (!count)
        return;
    fputs("<section class=\"warnings\"><h2>To know</h2><ul>\n", out);
    for (size_t i = 0; i < count; i++)
        tag(out, "<li>", warnings[i], "</li>\n");
    fputs("</ul></section>\n", out);
}

/* What the words for the source of a figure mean; those that occur. */
static void put_legend(FILE *out, unsigned used, bool has_repeats)
{
    static const char *const meanings[] = {
        [WT_PROV_UNKNOWN] = "could not be read; never shown as 0",
        [WT_PROV_EMULATED] = "from the built-in device emulator, not from a real device",
        [WT_PROV_REPLAYED] = "from a recorded machine, not measured here",
        [WT_PROV_MODELED] = "estimated from load, without a sensor",
        [WT_PROV_SAMPLED] = "integral of power readings",
        [WT_PROV_COUNTER] = "difference of a hardware energy counter",
    };
    if (!used) /* no device, so no figure with an interval */
        return;
    fputs("<h2>How to read it</h2>\n<dl>\n", out);
    for (size_t i = 0; i < WT_COUNTOF(meanings); i++)
        if (used & (1u << i))
            fprintf(out, "<dt>%s</dt><dd>%s</dd>\n", wt_provenance_name((enum wt_provenance)i),
                    meanings[i]);
    unsigned modeled = 1u << WT_PROV_MODELED, unknown = 1u << WT_PROV_UNKNOWN;
    fputs("<dt>[low, high]</dt><dd>", out);
    if (used & ~(modeled | unknown)) {
        fputs("95\u2009% interval. It covers what the sensor may have missed at both ends and in "
              "gaps, and its gain error",
              out);
        fputs(has_repeats ? ", and the spread of the repeats. In a ratio the gain error cancels as "
                            "far as both settings were measured by the same sensor. "
                          : ". ",
              out);
    }
    if (used & modeled)
        fputs("Of what is modeled: the band in which the truth is expected, from the least to the "
              "most that the model\u2019s errors allow.",
              out);
    fputs("</dd>\n</dl>\n", out);
}

static void put_machine(FILE *out, const struct wt_run *run)
{
    fputs("<h2>Machine</h2>\n<dl>\n", out);
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        char title[128];
        tag(out, "<dt>", wt_device_title(run, i, title, sizeof(title)), "</dt><dd>");
        put(out, d->name);
        tag(out,
            d->is_modeled ? " <span class=\"soft\">estimated by "
                          : " <span class=\"soft\">read by ",
            d->source, "");
        if (d->driver[0])
            tag(out, ", driver ", d->driver, "");
        tag(out, "</span><br><code>", d->id, "</code></dd>\n");
    }
    if (run->host[0])
        tag(out, "<dt>host</dt><dd>", run->host, "</dd>\n");
    if (run->system[0])
        tag(out, "<dt>system</dt><dd>", run->system, "</dd>\n");
    tag(out, "<dt>Wattune</dt><dd>", run->version, "</dd>\n</dl>\n");
}

/* ---- traces for the plots ---- */

/* Means over equal spans of time, so that a long trace keeps its shape. */
struct bins {
    double sum[PLOT_POINTS], limit[PLOT_POINTS];
    size_t count[PLOT_POINTS];
    double span_s;
};

static void bins_add(struct bins *bins, double t_s, double power_w, double limit_w)
{
    double at = bins->span_s > 0 ? t_s / bins->span_s * PLOT_POINTS : 0;
    size_t i = at < 0 ? 0 : at >= PLOT_POINTS ? PLOT_POINTS - 1 : (size_t)at;
    bins->sum[i] += power_w;
    bins->limit[i] = limit_w;
    bins->count[i]++;
}

static json_t *bins_json(const struct bins *bins, const char *label)
{
    json_t *t = json_array(), *power = json_array(), *limit = json_array();
    int rc = 0;
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        if (!bins->count[i])
            continue;
        double at = ((double)i + 0.5) * bins->span_s / PLOT_POINTS;
        rc |= json_array_append_new(t, wt_json_number(at));
        rc |= json_array_append_new(power, wt_json_number(bins->sum[i] / (double)bins->count[i]));
        rc |= json_array_append_new(limit, wt_json_number(bins->limit[i]));
    }
    if (rc != 0) {
        json_decref(t);
        json_decref(power);
        json_decref(limit);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "label", wt_json_text(label), "t_s", t, "power_w",
                     power, "limit_w", limit);
}

static double span_of(const struct wt_run *run)
{
    double span = isfinite(run->wall_s) ? run->wall_s : 0;
    return run->point_count ? fmax(span, run->points[run->point_count - 1].t_s) : span;
}

/* Devices that the trace speaks of: a run that was cut short has points, but no list of them. */
static size_t traced_devices(const struct wt_run *run)
{
    size_t count = run->device_count;
    for (size_t i = 0; i < run->point_count; i++)
        count = run->points[i].device >= count ? run->points[i].device + 1 : count;
    return count;
}

/* Does this device's power add to the run's sum? */
static bool is_summed(const struct wt_run *run, const struct wt_run_point *p)
{
    return !isnan(p->power_w) &&
           !(p->device < run->device_count && !run->devices[p->device].is_counted);
}

/* One device's power. */
static json_t *device_trace_json(const struct wt_run *run, size_t device, const char *label)
{
    struct bins *bins = calloc(1, sizeof(*bins));
    if (!bins)
        return NULL;
    bins->span_s = span_of(run);
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (p->device == device && !isnan(p->power_w))
            bins_add(bins, p->t_s, p->power_w, p->limit_w);
    }
    json_t *result = bins_json(bins, label);
    free(bins);
    return result;
}

/* The power of all devices that are not part of another. They are read in turns: with each reading
 * the sum has a new value, from the moment on when each has been read once. */
static json_t *sum_trace_json(const struct wt_run *run, const char *label)
{
    size_t count = traced_devices(run), missing = 0;
    struct bins *bins = calloc(1, sizeof(*bins));
    double *now = calloc(count + 1, sizeof(*now));
    json_t *result = NULL;
    if (!bins || !now)
        goto out;
    bins->span_s = span_of(run);
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (is_summed(run, p) && !isnan(now[p->device])) {
            now[p->device] = NAN;
            missing++;
        }
    }
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (!is_summed(run, p))
            continue;
        missing -= isnan(now[p->device]) ? 1 : 0;
        now[p->device] = p->power_w;
        double sum = 0;
        for (size_t d = 0; d < count; d++)
            sum += now[d];
        if (!missing)
            bins_add(bins, p->t_s, sum, NAN);
    }
    result = bins_json(bins, label);
out:
    free(bins);
    free(now);
    return result;
}

/* One moment is no line: whether this one is after the first, which it is itself where none was. */
static bool is_later(double *io_first_s, double t_s)
{
    *io_first_s = isnan(*io_first_s) ? t_s : *io_first_s;
    return t_s > *io_first_s;
}

static bool has_trace(const struct wt_run *run)
{
    double first_s = NAN;
    for (size_t i = 0; i < run->point_count; i++)
        if (!isnan(run->points[i].power_w) && is_later(&first_s, run->points[i].t_s))
            return true;
    return false;
}

/* Whether a value that the program told has a line. */
static bool has_line(const struct wt_run *run, const char *name)
{
    double first_s = NAN;
    for (size_t i = 0; i < run->value_count; i++)
        if (strcmp(run->values[i].name, name) == 0 && is_later(&first_s, run->values[i].t_s))
            return true;
    return false;
}

/* The first run of each row. */
static json_t *sweep_traces(const struct wt_sweep *sweep)
{
    json_t *array = json_array();
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        const struct wt_run *run = &sweep->runs[row->first_run];
        if (has_trace(run) && json_array_append_new(array, sum_trace_json(run, row->label)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* ---- a sweep ---- */

static void put_estimate(FILE *out, const char *value, const char *interval)
{
    fputs("<td>", out);
    put(out, value);
    if (interval[0])
        tag(out, "<small>", interval, "</small>");
    fputs("</td>", out);
}

static void put_ratio(FILE *out, const struct wt_estimate *e)
{
    char value[32], interval[64] = "";
    wt_text(value, sizeof(value), "%.3f", e->value);
    if (e->low < e->high)
        wt_text(interval, sizeof(interval), "[%.3f, %.3f]", e->low, e->high);
    put_estimate(out, value, interval);
}

/* The interval alone: "[1.20, 1.27]" out of "1.23 kJ [1.20, 1.27]". */
static void put_joules(FILE *out, const struct wt_estimate *e, enum wt_provenance provenance)
{
    const struct wt_joules j = {e->value, e->low, e->high, provenance};
    char text[96], value[48];
    wt_format_interval(text, sizeof(text), &j);
    char *bracket = strchr(text, '[');
    wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
    put_estimate(out, value, bracket ? bracket : "");
}

static const char *note_of(const struct wt_sweep *sweep, size_t i)
{
    const struct wt_sweep_row *row = &sweep->rows[i];
    if (sweep->is_pair)
        return "";
    if (i == sweep->choice)
        return row->is_reference ? "reference, keep" : "choice";
    if (row->is_reference)
        return "reference";
    if (!row->is_admissible)
        return "ruled out by the limits asked for";
    if (row->is_binding_known && !row->is_binding)
        return "does not bind";
    return row->is_overlapping_best ? "as low as the best" : "";
}

/* Four digits that count, and never an exponent where the digits fit. */
static const char *four(char *buf, size_t size, double value)
{
    return wt_text(buf, size, fabs(value) >= 9999.5 && fabs(value) < 1e12 ? "%.0f" : "%.4g", value);
}

static void put_sweep_table(FILE *out, const struct wt_sweep *sweep)
{
    char text[96], unit[32];
    bool has_work = sweep->work_unit[0] != '\0';
    tag(out, "<h2>", sweep->is_pair ? "A and B" : "Settings compared",
        "</h2>\n<div class=\"scroll\"><table>\n<caption>");
    fputs("Mean of the repeats with its 95\u2009% interval; ratios are to ", out);
    tag(out, "", sweep->rows[sweep->reference].label, "");
    if (sweep->is_per_work)
        tag(out, ", per ", singular(sweep->work_unit, unit, sizeof(unit)), "");
    if (sweep->is_to_target)
        fputs("; times and energies are to the target", out);
    if (isfinite(sweep->host_w))
        fprintf(out, "; energy includes %.0f W for the rest of the node", sweep->host_w);
    fputs(".</caption>\n<thead><tr><th class=\"l\" scope=\"col\">", out);
    put(out, sweep->is_pair ? "" : sweep->knob[0] ? sweep->knob : "setting");
    fputs("</th><th scope=\"col\">runs</th><th scope=\"col\">time</th>"
          "<th scope=\"col\">energy</th><th scope=\"col\">mean power</th>"
          "<th scope=\"col\">time ratio</th><th scope=\"col\">energy ratio</th>"
          "<th scope=\"col\">power ratio</th>",
          out);
    const struct wt_goal *goal = &sweep->plan.goal;
    bool has_value = goal->objective != WT_OBJECTIVE_ENERGY && goal->objective != WT_OBJECTIVE_TIME;
    if (has_value)
        tag(out, "<th scope=\"col\">", wt_goal_words(goal), " ratio</th>");
    if (has_work) {
        tag(out, "<th scope=\"col\">per 1,000 ", sweep->work_unit, "</th>");
        tag(out, "<th scope=\"col\">", sweep->work_unit, " a second</th>");
    }
    struct wt_sweep_told told;
    wt_sweep_told_names(sweep, &told);
    for (size_t k = 0; k < told.count; k++)
        tag(out, "<th scope=\"col\">", told.names[k], "<small>as told</small></th>");
    fputs("<th class=\"l\" scope=\"col\">source</th></tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        fprintf(out, "<tr%s>", i == sweep->choice && !sweep->is_pair ? " class=\"choice\"" : "");
        tag(out, "<th class=\"l\" scope=\"row\">", row->label, "");
        if (note_of(sweep, i)[0])
            tag(out, "<small>", note_of(sweep, i), "</small>");
        fprintf(out, "</th><td>%u", row->repeats);
        if (row->outlier_count)
            fprintf(out, "<small>%u far off</small>", row->outlier_count);
        fputs("</td>", out);
        tag(out, "<td>", wt_format_seconds(text, sizeof(text), row->time_s.value), "</td>");
        put_joules(out, &row->energy_j, row->provenance);
        tag(out, "<td>", watts(text, sizeof(text), row->power_w.value), "</td>");
        put_ratio(out, &row->time_ratio);
        put_ratio(out, &row->energy_ratio);
        put_ratio(out, &row->power_ratio);
        if (has_value)
            put_ratio(out, &row->value_ratio);
        if (has_work) {
            tag(out, "<td>", wt_format_joules(text, sizeof(text), row->j_per_work.value * 1000),
                "</td>");
            tag(out, "<td>", four(text, sizeof(text), row->work_per_s.value), "</td>");
        }
        for (size_t k = 0; k < told.count; k++) {
            double value = wt_sweep_told(sweep, i, told.names[k]);
            tag(out, "<td>", isnan(value) ? "" : four(text, sizeof(text), value), "</td>");
        }
        tag(out, "<td class=\"l\">", wt_provenance_name(row->provenance), "</td></tr>\n");
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_runs_table(FILE *out, const struct wt_run *runs, size_t count, const char *what)
{
    static const char *const states[] = {"running", "", "incomplete"};
    char text[96];
    fputs("<h2>Runs</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
          "<th class=\"l\" scope=\"col\">id</th>",
          out);
    tag(out, "<th class=\"l\" scope=\"col\">", what, "</th>");
    fputs("<th scope=\"col\">repeat</th><th scope=\"col\">time</th><th scope=\"col\">energy</th>"
          "<th scope=\"col\">exit</th><th class=\"l\" scope=\"col\"></th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < count; i++) {
        const struct wt_run *run = &runs[i];
        bool is_off = run->state != WT_RUN_DONE || run->exit_code != 0;
        fprintf(out, "<tr%s>", is_off ? " class=\"off\"" : "");
        tag(out, "<td class=\"l\"><code>", run->id, "</code></td>");
        tag(out, "<td class=\"l\">", run->label, "</td>");
        fprintf(out, "<td>%u</td>", run->repeat + 1);
        tag(out, "<td>", wt_format_seconds(text, sizeof(text), run->wall_s), "</td>");
        tag(out, "<td>", wt_format_interval(text, sizeof(text), &run->total), "</td>");
        if (run->state == WT_RUN_DONE)
            fprintf(out, "<td>%d</td>", run->exit_code);
        else
            fputs("<td></td>", out);
        tag(out, "<td class=\"l\">", states[run->state], "</td></tr>\n");
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_sweep_tiles(FILE *out, const struct wt_sweep *sweep)
{
    const struct wt_sweep_row *reference = &sweep->rows[sweep->reference];
    const struct wt_sweep_row *row =
        &sweep->rows[sweep->is_pair ? !sweep->reference : sweep->choice];
    char value[48], words[96], low[32], high[32], detail[96];
    if (row == reference)
        return;
    fputs("<div class=\"tiles\">\n", out);
    put_tile(out, "", row->label, sweep->is_pair ? "compared with A" : "recommended setting", "");
    wt_text(words, sizeof(words), "energy, against %.60s", reference->label);
    wt_text(detail, sizeof(detail), "[%s, %s]", change(low, sizeof(low), row->energy_ratio.low),
            change(high, sizeof(high), row->energy_ratio.high));
    put_tile(out, "energy", change(value, sizeof(value), row->energy_ratio.value), words, detail);
    detail[0] = '\0';
    if (row->time_ratio.low < row->time_ratio.high)
        wt_text(detail, sizeof(detail), "[%s, %s]", change(low, sizeof(low), row->time_ratio.low),
                change(high, sizeof(high), row->time_ratio.high));
    put_tile(out, "time", change(value, sizeof(value), row->time_ratio.value), "time", detail);
    wt_text(words, sizeof(words), "mean power, was %s",
            watts(low, sizeof(low), reference->power_w.value));
    put_tile(out, "power", watts(value, sizeof(value), row->power_w.value), words, "");
    fputs("</div>\n", out);
}

static int put_sweep(FILE *out, const struct wt_sweep *sweep)
{
    char title[160];
    bool is_cap = strcmp(sweep->knob, "power") == 0;
    if (sweep->is_pair)
        wt_text(title, sizeof(title), "Time and energy of A and B");
    else
        wt_text(title, sizeof(title), "Time and energy against %s",
                is_cap           ? "the power cap"
                : sweep->knob[0] ? sweep->knob
                                 : "settings");
    page_begin(out, title);
    put_header(out, title, sweep->title, sweep->runs, sweep->run_count);
    tag(out, "<p class=\"advice\">", sweep->advice, "</p>\n");
    if (sweep->apply[0])
        tag(out, "<p>Apply it: <code>", sweep->apply, "</code></p>\n");
    put_sweep_tiles(out, sweep);
    put_warnings(out, sweep->warnings, sweep->warning_count);

    json_t *traces = sweep_traces(sweep);
    fputs("<div class=\"plots\">\n", out);
    put_figure(out, "relative", sweep->is_pair ? "Relative to A" : "Relative to the reference",
               "Energy and time of the same work; bars are 95 % intervals.", false);
    put_figure(out, "energy",
               sweep->is_to_target  ? "Energy to the target"
               : sweep->is_per_work ? "Energy of the work"
                                    : "Energy of a run",
               "Mean of the repeats; bars are 95 % intervals.", false);
    if (json_array_size(traces))
        put_figure(out, "power", "Power over time",
                   sweep->is_pair ? "The first run of each." : "The first run at each setting.",
                   true);
    fputs("</div>\n", out);
    put_sweep_table(out, sweep);
    put_runs_table(out, sweep->runs, sweep->run_count, sweep->is_pair ? "group" : "setting");
    put_machine(out, &sweep->runs[sweep->rows[sweep->reference].first_run]);
    unsigned used = 0;
    for (size_t i = 0; i < sweep->row_count; i++)
        used |= 1u << sweep->rows[i].provenance;
    put_legend(out, used, true);

    json_t *doc = wt_sweep_json(sweep);
    if (!doc || json_object_set_new(doc, "traces", traces) < 0 ||
        json_object_set_new(doc, "is_pair", json_boolean(sweep->is_pair)) < 0) {
        json_decref(doc);
        return WT_E_NOMEM;
    }
    return page_end(out, json_pack("{s:o}", "sweep", doc));
}

/* ---- runs ---- */

static void put_sum_row(FILE *out, const char *name, const struct wt_joules *sum, double wall_s)
{
    const struct wt_estimate e = {sum->energy_j, sum->low_j, sum->high_j};
    char text[64] = "";
    tag(out, "<tr class=\"sum\"><th class=\"l\" scope=\"row\">", name, "</th>");
    put_joules(out, &e, sum->provenance);
    if (sum->provenance != WT_PROV_UNKNOWN && wall_s > 0)
        watts(text, sizeof(text), sum->energy_j / wall_s);
    tag(out, "<td>", text, "</td><td></td>");
    tag(out, "<td class=\"l\">", wt_provenance_name(sum->provenance),
        "</td><td class=\"l\"></td></tr>\n");
}

static void put_device_row(FILE *out, const struct wt_run *run, const struct wt_report_line *line)
{
    const struct wt_run_device *d = &run->devices[line->device];
    const struct wt_estimate e = {d->energy.energy_j, d->energy.low_j, d->energy.high_j};
    bool is_known = d->energy.provenance != WT_PROV_UNKNOWN;
    char text[128];
    fprintf(out, "<tr class=\"in%u\"><th class=\"l\" scope=\"row\">",
            line->depth < 3 ? line->depth : 3);
    put(out, wt_device_title(run, line->device, text, sizeof(text)));
    if (wt_device_detail(run, line->device, text, sizeof(text))[0])
        tag(out, "<small>", text, "</small>");
    if (d->is_part) {
        wt_device_title_of(run, d->part_of, text, sizeof(text));
        tag(out, text[0] ? "<small>part of " : "<small>a part", text, ", not in the total</small>");
    } else if (!d->is_counted) {
        fputs("<small>beside the total</small>", out);
    }
    fputs("</th>", out);
    put_joules(out, &e, d->energy.provenance);
    tag(out, "<td>", is_known ? watts(text, sizeof(text), d->mean_w) : "", "</td>");
    tag(out, "<td>", isfinite(d->max_w) ? watts(text, sizeof(text), d->max_w) : "", "</td>");
    tag(out, "<td class=\"l\">", wt_measured_by(d, false, text, sizeof(text)), "");
    bool is_noted = wt_note_is_said(run, line->device);
    /* Why there is no figure belongs where it would come from, and the word is there already. */
    if (is_noted && !is_known)
        tag(out, "<small>", d->note + (strncmp(d->note, "unknown: ", 9) == 0 ? 9 : 0), "</small>");
    fputs("</td><td class=\"l w\">", out);
    if (d->check.provenance != WT_PROV_UNKNOWN) {
        put(out, wt_format_interval(text, sizeof(text), &d->check));
        fputs(d->is_check_off ? " <strong>disagrees</strong>" : " agrees", out);
    }
    if (is_noted && is_known)
        tag(out, "<small>", d->note, "</small>");
    fputs("</td></tr>\n", out);
}

static void put_device_table(FILE *out, const struct wt_run *run)
{
    if (!run->device_count) {
        fputs("<h2>Devices</h2>\n<p>None is listed: no energy or power sensor could be read here. "
              "<code>wattune doctor</code> says why.</p>\n",
              out);
        return;
    }
    fputs("<h2>Devices</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
          "<th class=\"l\" scope=\"col\">device</th><th scope=\"col\">energy</th>"
          "<th scope=\"col\">mean</th><th scope=\"col\">highest</th>"
          "<th class=\"l\" scope=\"col\">measured by</th><th class=\"l\" scope=\"col\">"
          "cross-check</th></tr></thead>\n<tbody>\n",
          out);
    struct wt_report_line *lines = calloc(run->device_count + 3, sizeof(*lines));
    size_t count = lines ? wt_report_lines(run, lines) : 0;
    for (size_t i = 0; i < count; i++)
        if (lines[i].kind == WT_LINE_DEVICE)
            put_device_row(out, run, &lines[i]);
        else if (lines[i].kind == WT_LINE_TOTAL)
            put_sum_row(out, "total", &run->total, run->wall_s);
        else if (lines[i].kind == WT_LINE_ESTIMATE)
            put_sum_row(out, "with what is modeled", &run->estimate, 0);
    fputs("</tbody></table></div>\n", out);
    free(lines);
}

static void put_run_tiles(FILE *out, const struct wt_run *run)
{
    char value[64], text[96], unit[40];
    const struct wt_joules *total = &run->total;
    bool is_known = total->provenance != WT_PROV_UNKNOWN;
    fputs("<div class=\"tiles\">\n", out);
    wt_format_interval(text, sizeof(text), total);
    char *bracket = strchr(text, '[');
    wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
    const char *unreal = wt_run_unreal(run);
    char words[96];
    wt_text(words, sizeof(words), "energy%s%s", unreal[0] ? ", " : "", unreal);
    put_tile(out, "energy", value, words, bracket ? bracket : "");
    if (run->has_estimate && run->estimate.provenance != WT_PROV_UNKNOWN) {
        wt_format_interval(text, sizeof(text), &run->estimate);
        bracket = strchr(text, '[');
        wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
        put_tile(out, "energy", value, "energy, with what is modeled", bracket ? bracket : "");
    }
    wt_text(text, sizeof(text), "exit code %d", run->exit_code);
    put_tile(out, "time", wt_format_seconds(value, sizeof(value), run->wall_s), "time",
             run->state == WT_RUN_DONE && run->exit_code ? text : "");
    if (is_known && run->wall_s > 0) {
        bool is_modeled = total->provenance == WT_PROV_MODELED;
        char low[24], high[24];
        text[0] = '\0';
        if (is_modeled)
            wt_text(text, sizeof(text), "[%s, %s]",
                    watts(low, sizeof(low), total->low_j / run->wall_s),
                    watts(high, sizeof(high), total->high_j / run->wall_s));
        put_tile(out, "power", watts(value, sizeof(value), total->energy_j / run->wall_s),
                 is_modeled ? "mean power, modeled" : "mean power", text);
    }
    struct wt_joules per = wt_run_j_per_work(run);
    if (per.provenance != WT_PROV_UNKNOWN) {
        wt_format_interval(text, sizeof(text), &per);
        bracket = strchr(text, '[');
        wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
        wt_text(words, sizeof(words), "per %s%s%s", singular(run->work.unit, unit, sizeof(unit)),
                unreal[0] ? ", " : "", unreal);
        put_tile(out, "", value, words, bracket ? bracket : "");
    }
    fputs("</div>\n", out);
}

static void put_run_troubles(FILE *out, const struct wt_run *run)
{
    struct wt_node_check node = wt_run_node_check(run);
    bool is_standing = wt_is_standing(run);
    bool is_any = is_standing || run->state == WT_RUN_INCOMPLETE || node.is_off;
    for (size_t i = 0; i < run->gap_count; i++)
        is_any |= wt_gap_is_said(run, i);
    if (!is_any)
        return;
    char bound[40], name[128];
    fputs("<section class=\"warnings\"><h2>To know</h2><ul>\n", out);
    if (run->state == WT_RUN_INCOMPLETE)
        fputs("<li>Incomplete: Wattune ended before the run did. The figures are as last written."
              "</li>\n",
              out);
    if (is_standing)
        tag(out, "<li>", wt_standing_words, "</li>\n");
    if (node.is_off) {
        char one[80], two[80];
        fprintf(out,
                "<li>The parts were measured to draw more than the whole node, beyond their "
                "bounds: %s and %s.</li>\n",
                wt_format_interval(one, sizeof(one), &node.parts),
                wt_format_interval(two, sizeof(two), &run->devices[node.node].energy));
    }
    for (size_t i = 0; i < run->gap_count; i++) {
        const struct wt_run_gap *g = &run->gaps[i];
        if (!wt_gap_is_said(run, i))
            continue;
        tag(out, "<li>", wt_device_title_of(run, g->device_id, name, sizeof(name)), " ");
        fprintf(out, "could not be read from %.1f s to %.1f s (", g->from_s, g->to_s);
        put(out, g->why);
        fprintf(out, "): up to %s unseen.</li>\n",
                isfinite(g->bound_j) ? wt_format_joules(bound, sizeof(bound), g->bound_j)
                                     : "an unknown amount");
    }
    fputs("</ul></section>\n", out);
}

static void put_phase_table(FILE *out, const struct wt_run *run)
{
    char text[96];
    if (!run->phase_count)
        return;
    fputs("<h2>Phases</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
          "<th class=\"l\" scope=\"col\">phase</th><th scope=\"col\">times</th>"
          "<th scope=\"col\">time</th><th scope=\"col\">energy</th>"
          "<th scope=\"col\">mean power</th>",
          out);
    if (run->work.is_known)
        tag(out, "<th scope=\"col\">per 1,000 ", run->work.unit, "</th>");
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < run->phase_count; i++) {
        const struct wt_run_phase *p = &run->phases[i];
        const struct wt_estimate e = {p->energy.energy_j, p->energy.low_j, p->energy.high_j};
        bool is_known = p->energy.provenance != WT_PROV_UNKNOWN;
        tag(out, "<tr><th class=\"l\" scope=\"row\">", p->name, "</th>");
        if (p->count)
            fprintf(out, "<td>%llu</td>", (unsigned long long)p->count);
        else
            fputs("<td></td>", out);
        double span_s = p->own_s > 0 ? p->own_s : p->wall_s;
        tag(out, "<td>", wt_format_seconds(text, sizeof(text), span_s), "");
        if (wt_run_phase_has_inner(p))
            tag(out, "<small>of ", wt_format_seconds(text, sizeof(text), p->wall_s),
                ": the rest is in other phases or programs</small>");
        fputs("</td>", out);
        if (is_known) {
            put_joules(out, &e, p->energy.provenance);
        } else if (p->joint.provenance != WT_PROV_UNKNOWN) {
            fputs("<td>not separable", out);
            if (p->with[0])
                tag(out, " from ", p->with, "");
            tag(out, "<small>together ", wt_format_interval(text, sizeof(text), &p->joint),
                "</small></td>");
        } else {
            fputs("<td>unknown</td>", out);
        }
        tag(out, "<td>", is_known ? watts(text, sizeof(text), p->mean_w) : "", "</td>");
        const struct wt_joules one = wt_run_phase_j_per_work(p);
        const struct wt_estimate per = {one.energy_j * 1000, one.low_j * 1000, one.high_j * 1000};
        if (run->work.is_known && one.provenance != WT_PROV_UNKNOWN)
            put_joules(out, &per, one.provenance);
        else if (run->work.is_known)
            fputs("<td></td>", out);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
    if (run->phases_note[0])
        tag(out, "<p class=\"soft\">", run->phases_note, "</p>\n");
}

/* One device's rows: who used it, then what is nobody's. */
static void put_users_of(FILE *out, const struct wt_run *run, size_t device)
{
    const struct wt_run_device *d = &run->devices[device];
    size_t shares = d->attribution.share_count;
    size_t rows = shares + (d->attribution.idle_uj > 0) + (d->attribution.residual_uj > 0);
    char text[128];
    bool is_first = true;
    for (size_t k = 0; k < shares + 2; k++) {
        const struct wt_run_share *share = k < shares ? &d->attribution.shares[k] : NULL;
        uint64_t uj = share         ? share->energy_uj
                      : k == shares ? d->attribution.idle_uj
                                    : d->attribution.residual_uj;
        if (!share && !uj)
            continue;
        fputs("<tr>", out);
        if (is_first) {
            fprintf(out, "<th class=\"l\" scope=\"rowgroup\" rowspan=\"%zu\">", rows);
            put(out, wt_device_title(run, device, text, sizeof(text)));
            tag(out, "<small>", d->attribution.rule, "");
            fputs(d->energy.provenance == WT_PROV_MODELED ? ", modeled</small></th>"
                                                          : "</small></th>",
                  out);
        }
        is_first = false;
        fputs("<td class=\"l\">", out);
        put(out, share         ? wt_share_name(run, share, text, sizeof(text))
                 : k == shares ? "idle"
                               : wt_residual_words(d));
        if (share && share->pid)
            fprintf(out, " (%u)", share->pid);
        tag(out, "</td><td>", wt_share_text(d, uj, text, sizeof(text)), "</td></tr>\n");
    }
}

static void put_user_table(FILE *out, const struct wt_run *run)
{
    bool is_any = false;
    for (size_t i = 0; i < run->device_count; i++)
        is_any |= run->devices[i].attribution.is_known;
    if (!is_any)
        return;
    fputs("<h2>Used by</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
          "<th class=\"l\" scope=\"col\">device</th><th class=\"l\" scope=\"col\">who</th>"
          "<th scope=\"col\">energy</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < run->device_count; i++)
        if (run->devices[i].attribution.is_known)
            put_users_of(out, run, i);
    fputs("</tbody></table></div>\n", out);
}

static void put_run_facts(FILE *out, const struct wt_run *run)
{
    char text[400];
    bool has_single = false;
    for (size_t i = 0; i < run->value_count; i++)
        has_single |= !has_line(run, run->values[i].name);
    if (run->setting_count || run->work.is_known || run->label[0] || run->race.trials || has_single)
        fputs("<h2>Run</h2>\n<dl>\n", out);
    else
        return;
    if (run->label[0])
        tag(out, "<dt>setting</dt><dd>", run->label, "</dd>\n");
    if (run->race.trials)
        tag(out, "<dt>race</dt><dd>", wt_race_words(run, text, sizeof(text)), "</dd>\n");
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        char is[48], was[48];
        if (!knob)
            continue;
        fprintf(out, "<dt>%s</dt><dd>%s <span class=\"soft\">(was %s) on ", knob,
                wt_knob_value_text(is, sizeof(is), s->knob, s->enforced),
                wt_knob_value_text(was, sizeof(was), s->knob, s->found));
        char name[128];
        tag(out, "", wt_device_title_of(run, s->device_id, name, sizeof(name)), "</span></dd>\n");
    }
    if (run->work.is_known) {
        fprintf(out, "<dt>work</dt><dd>%llu ", (unsigned long long)run->work.count);
        put(out, run->work.unit);
        if (run->work.steps)
            fprintf(out, " in %llu step%s", (unsigned long long)run->work.steps,
                    run->work.steps == 1 ? "" : "s");
        fputs("</dd>\n", out);
    }
    for (size_t i = 0; i < run->value_count; i++) /* what was told at one moment has no plot */
        if (!has_line(run, run->values[i].name)) {
            tag(out, "<dt>", run->values[i].name, "</dt>");
            tag(out, "<dd>", four(text, sizeof(text), run->values[i].value),
                " <span class=\"soft\">as the program reported it</span></dd>\n");
        }
    if (run->cost.wall_s > 0)
        fprintf(out, "<dt>own cost</dt><dd>%.3f\u2009%% of one core</dd>\n",
                run->cost.cpu_s / run->cost.wall_s * 100);
    fputs("</dl>\n", out);
}

static bool is_first_of_name(const struct wt_run *run, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(run->values[i].name, run->values[at].name) == 0)
            return false;
    return true;
}

/* Whether each of several values is of the phase that has its name, as a race's trials are: they
 * are drawn as one. */
static bool are_of_phases(const struct wt_run *run)
{
    size_t names = 0;
    for (size_t i = 0; i < run->value_count; i++) {
        bool is_phase = false;
        if (!is_first_of_name(run, i))
            continue;
        for (size_t k = 0; k < run->phase_count && !is_phase; k++)
            is_phase = strcmp(run->phases[k].name, run->values[i].name) == 0;
        if (!is_phase)
            return false;
        names++;
    }
    return names > 1;
}

static json_t *run_json(const struct wt_run *run)
{
    json_t *full = wt_run_json(run, true), *traces = json_array();
    if (!full || !traces)
        goto broken;
    for (size_t d = 0, all = traced_devices(run); d < all; d++) {
        char label[160];
        wt_device_title(run, d, label, 128);
        if (d < run->device_count && run->devices[d].is_modeled)
            strcat(label, ", modeled");
        if (json_array_append_new(traces, device_trace_json(run, d, label)) < 0)
            goto broken;
    }
    json_t *doc = json_pack("{s:O, s:o, s:b}", "series", json_object_get(full, "series"), "traces",
                            traces, "is_joint", are_of_phases(run));
    json_decref(full);
    return doc;
broken:
    json_decref(full);
    json_decref(traces);
    return NULL;
}

/* What the lines of the plot are. */
static const char *trace_words(const struct wt_run *run, char *buf, size_t size)
{
    char names[400];
    bool has_limit = false, has_read = !run->device_count;
    for (size_t i = 0; i < run->point_count; i++)
        has_limit |= isfinite(run->points[i].limit_w) && !isnan(run->points[i].power_w);
    for (size_t i = 0; i < run->device_count; i++)
        has_read |= !run->devices[i].is_modeled;
    const char *limit = has_limit ? " Dashed is its limit." : "";
    if (!modeled_names(run, names, sizeof(names))[0])
        return wt_text(buf, size, "As read from each device.%s", limit);
    return wt_text(buf, size, "%s%s: estimated from load, within the band of the table.%s",
                   has_read ? "As read from each device; " : "", names, limit);
}

static int put_runs(FILE *out, const struct wt_run *runs, size_t count)
{
    json_t *array = json_array();
    unsigned used = 0;
    char id[64], title[64], words[600];
    page_begin(out, count == 1 ? "Energy of a run" : "Energy of runs");
    for (size_t n = 0; n < count; n++) {
        const struct wt_run *run = &runs[n];
        if (n)
            fputs("<hr>\n", out);
        wt_text(title, sizeof(title), "Run %s", run->id);
        put_header(out, title, run->command, run, 1);
        put_run_tiles(out, run);
        put_run_troubles(out, run);
        fputs("<div class=\"plots\">\n", out);
        if (has_trace(run)) {
            wt_text(id, sizeof(id), "power-%zu", n);
            put_figure(out, id, "Power over time", trace_words(run, words, sizeof(words)), true);
        }
        bool is_joint = are_of_phases(run), has_any = false;
        for (size_t i = 0; i < run->value_count && !has_any; i++)
            has_any = has_line(run, run->values[i].name);
        if (is_joint && has_any) {
            wt_text(id, sizeof(id), "value-%zu-0", n);
            put_figure(out, id, "Values of the phases",
                       "As the program reported them, a line for each phase.", true);
        }
        for (size_t i = 0, series = 0; !is_joint && i < run->value_count; i++) {
            if (!is_first_of_name(run, i))
                continue;
            wt_text(id, sizeof(id), "value-%zu-%zu", n, series++);
            wt_text(words, sizeof(words), "As the program reported it.");
            if (has_line(run, run->values[i].name))
                put_figure(out, id, run->values[i].name, words, true);
        }
        fputs("</div>\n", out);
        put_device_table(out, run);
        put_phase_table(out, run);
        put_user_table(out, run);
        put_run_facts(out, run);
        put_machine(out, run);
        for (size_t i = 0; i < run->device_count; i++) {
            enum wt_provenance from = run->devices[i].energy.provenance;
            used |= 1u << from;
            if (from != WT_PROV_MODELED && from != WT_PROV_UNKNOWN)
                used |= 1u << run->devices[i].method;
        }
        if (json_array_append_new(array, run_json(run)) < 0) {
            json_decref(array);
            return WT_E_NOMEM;
        }
    }
    put_legend(out, used, false);
    return page_end(out, json_pack("{s:o}", "runs", array));
}

/* ---- the file ---- */

static int write_failed(struct wt_error *err, int rc)
{
    if (rc == WT_E_NOTFOUND)
        wt_fix(err, "make the folder first, or name another with -o");
    else
        wt_fix(err, "name a file in another folder with -o");
    return rc;
}

static int write_page(FILE *out, const struct wt_sweep *sweep, const struct wt_run *runs,
                      size_t count)
{
    struct wt_plain plain;
    wt_plain_enter(&plain);
    int rc = sweep ? put_sweep(out, sweep) : put_runs(out, runs, count);
    wt_plain_leave(&plain);
    return rc;
}

int wt_report_html(const char *path, const struct wt_sweep *sweep, const struct wt_run *runs,
                   size_t count, struct wt_error *err)
{
    struct wt_file_draft draft;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        wt_fail(err, WT_E_IO, "%s: is a folder, so the report cannot be written there", path);
        wt_fix(err, "name a file: -o %.150s/wattune-report.html", path);
        return WT_E_IO;
    }
    int rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        return write_failed(err, rc);
    rc = write_page(draft.file, sweep, runs, count);
    if (rc < 0) {
        wt_file_drop(&draft);
        return wt_fail(err, rc, "%s: no memory for the report", path);
    }
    rc = wt_file_commit(&draft, err);
    return rc < 0 ? write_failed(err, rc) : 0;
}
