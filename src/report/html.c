/* html: the report as one file that opens offline, prints, and can be read without its plots.
 *
 * Tables and words are plain HTML made here; the plots are drawn by page.js with Chart.js from the
 * JSON in the page. Everything that came from outside (commands, names, labels) is escaped: as
 * HTML in text, and as \uXXXX inside the JSON, so that no "</script>" can end it. Here are the file
 * and what every page has; html_sweep.c and html_run.c make the two pages, html_trace.c the lines
 * of their plots. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "record/record.h"
#include "report/assets.h"
#include "report/html.h"
#include "report/words.h"

/* ---- text ---- */

/* Text with the five characters that mean something in HTML taken out of it. */
void wt_html_put(FILE *out, const char *text)
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
void wt_html_tag(FILE *out, const char *open, const char *text, const char *close)
{
    fputs(open, out);
    wt_html_put(out, text);
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

const char *wt_html_watts(char *buf, size_t size, double w)
{
    if (!isfinite(w))
        return wt_text(buf, size, "unknown");
    return wt_text(buf, size, "%.*f W", fabs(w) < 9.95 ? 2 : fabs(w) < 99.95 ? 1 : 0, w);
}

const char *wt_html_singular(const char *unit, char *buf, size_t size)
{
    size_t n = strlen(unit);
    return wt_text(buf, size, "%.*s", (int)(n && unit[n - 1] == 's' ? n - 1 : n), unit);
}

/* Four digits that count, and never an exponent where the digits fit. */
const char *wt_html_four(char *buf, size_t size, double value)
{
    return wt_text(buf, size, fabs(value) >= 9999.5 && fabs(value) < 1e12 ? "%.0f" : "%.4g", value);
}

void wt_html_estimate(FILE *out, const char *value, const char *interval)
{
    fputs("<td>", out);
    wt_html_put(out, value);
    if (interval[0])
        wt_html_tag(out, "<small>", interval, "</small>");
    fputs("</td>", out);
}

/* The interval alone: "[1.20, 1.27]" out of "1.23 kJ [1.20, 1.27]". */
void wt_html_joules(FILE *out, const struct wt_estimate *e, enum wt_provenance provenance)
{
    const struct wt_joules j = {e->value, e->low, e->high, provenance};
    char text[96], value[48];
    wt_format_interval(text, sizeof(text), &j);
    char *bracket = strchr(text, '[');
    wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
    wt_html_estimate(out, value, bracket ? bracket : "");
}

/* ---- the frame ---- */

void wt_html_begin(FILE *out, const char *title)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"generator\" content=\"Wattune\">\n",
          out);
    wt_html_tag(out, "<title>", title, "</title>\n");
    fprintf(out, "<style>\n%s</style>\n</head>\n<body>\n<main>\n", wt_asset_style);
}

int wt_html_end(FILE *out, json_t *data)
{
    wt_html_tag(out, "<footer><p>Made by Wattune ", wt_version(),
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
        wt_html_tag(out, " (", what, ")");
    wt_html_tag(out, ".</strong> ", words, "</p>\n");
}

/* The devices whose energy is estimated, by name. */
const char *wt_html_modeled_names(const struct wt_run *run, char *buf, size_t size)
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
            of, wt_html_modeled_names(first, names, sizeof(names)));
        put_remark(out, "Modeled", "", words);
    }
    if (partly) {
        wt_text(words, sizeof(words),
                "No sensor measures %s: what it draws is estimated from load, and not in the "
                "totals.",
                wt_html_modeled_names(partly, names, sizeof(names)));
        put_remark(out, "Partly modeled", "", words);
    }
}

/* Above all figures: what they are not. */
static void put_unreal(FILE *out, const struct wt_run *run, size_t count)
{
    char words[900], text[96], names[400];
    const struct wt_joules *sum = &run->total;
    bool is_known = run->estimate.provenance != WT_PROV_UNKNOWN;
    wt_html_modeled_names(run, names, sizeof(names));
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
void wt_html_header(FILE *out, const char *title, const char *command, const struct wt_run *run,
                    size_t count)
{
    char when[32];
    fputs("<header>\n<p class=\"brand\">Wattune</p>\n", out);
    wt_html_tag(out, "<h1>", title, "</h1>\n");
    wt_time_text(when, sizeof(when), run->start_unix_ns);
    fputs("<p class=\"soft\">", out);
    fprintf(out, "<time datetime=\"%s\">%.10s %.5s UTC</time>", when, when, when + 11);
    if (run->host[0])
        wt_html_tag(out, " \u00b7 ", run->host, "");
    if (run->tag[0])
        wt_html_tag(out, " \u00b7 tag ", run->tag, "");
    fputs("</p>\n", out);
    wt_html_tag(out, "<code class=\"command\">", command, "</code>\n");
    put_unreal(out, run, count);
    fputs("</header>\n", out);
}

void wt_html_figure(FILE *out, const char *id, const char *title, const char *words, bool is_wide)
{
    fprintf(out, "<figure%s><figcaption>", is_wide ? " class=\"wide\"" : "");
    wt_html_tag(out, "<h3>", title, "</h3>");
    wt_html_tag(out, "<p>", words, "</p></figcaption>");
    fprintf(out, "<div class=\"canvas\"><canvas id=\"%s\" role=\"img\" aria-label=\"", id);
    wt_html_put(out, title);
    fputs(". The figures are in the tables.\"></canvas></div></figure>\n", out);
}

void wt_html_tile(FILE *out, const char *kind, const char *value, const char *words,
                  const char *detail)
{
    fprintf(out, "<div class=\"tile %s\">", kind);
    wt_html_tag(out, "<b>", value, "</b>");
    wt_html_tag(out, "<span>", words, "</span>");
    if (detail[0])
        wt_html_tag(out, "<span>", detail, "</span>");
    fputs("</div>\n", out);
}

/* What the words for the source of a figure mean; those that occur. */
void wt_html_legend(FILE *out, unsigned used, bool has_repeats)
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

void wt_html_machine(FILE *out, const struct wt_run *run)
{
    fputs("<h2>Machine</h2>\n<dl>\n", out);
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        char title[128];
        wt_html_tag(out, "<dt>", wt_device_title(run, i, title, sizeof(title)), "</dt><dd>");
        wt_html_put(out, d->name);
        wt_html_tag(out,
                    d->is_modeled ? " <span class=\"soft\">estimated by "
                                  : " <span class=\"soft\">read by ",
                    d->source, "");
        if (d->driver[0])
            wt_html_tag(out, ", driver ", d->driver, "");
        wt_html_tag(out, "</span><br><code>", d->id, "</code></dd>\n");
    }
    if (run->host[0])
        wt_html_tag(out, "<dt>host</dt><dd>", run->host, "</dd>\n");
    if (run->system[0])
        wt_html_tag(out, "<dt>system</dt><dd>", run->system, "</dd>\n");
    wt_html_tag(out, "<dt>Wattune</dt><dd>", run->version, "</dd>\n</dl>\n");
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
    int rc = sweep ? wt_html_sweep(out, sweep) : wt_html_runs(out, runs, count);
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
