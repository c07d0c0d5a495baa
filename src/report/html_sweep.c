/* html_sweep: the page of a sweep, or of A and B - the answer, ratios, settings and their runs. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"
#include "report/words.h"

/* "-21.3 %" with a real minus sign. */
static const char *change(char *buf, size_t size, double ratio)
{
    double percent = (ratio - 1) * 100;
    const char *sign = fabs(percent) < 0.05 ? "\u00b1" : percent < 0 ? "\u2212" : "+";
    return wt_text(buf, size, "%s%.1f\u2009%%", sign, fabs(percent));
}

static void put_warnings(FILE *out, char *const *warnings, size_t count)
{
    if (!count)
        return;
    fputs("<section class=\"warnings\"><h2>To know</h2><ul>\n", out);
    for (size_t i = 0; i < count; i++)
        wt_html_tag(out, "<li>", warnings[i], "</li>\n");
    fputs("</ul></section>\n", out);
}

static void put_ratio(FILE *out, const struct wt_estimate *e)
{
    char value[32], interval[64] = "";
    wt_text(value, sizeof(value), "%.3f", e->value);
    if (e->low < e->high)
        wt_text(interval, sizeof(interval), "[%.3f, %.3f]", e->low, e->high);
    wt_html_estimate(out, value, interval);
}

/* Of what is modeled with the band: the value alone says too much. */
static void put_power(FILE *out, const struct wt_sweep_row *row)
{
    char value[32], text[96] = "";
    if (row->provenance == WT_PROV_MODELED && isfinite(row->power_w.value))
        wt_watts_interval(text, sizeof(text), &row->power_w);
    char *bracket = strchr(text, '[');
    if (bracket)
        wt_text(value, sizeof(value), "%.*s", (int)(bracket - text - 1), text);
    else
        wt_html_watts(value, sizeof(value), row->power_w.value);
    wt_html_estimate(out, value, bracket ? bracket : "");
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

static void put_sweep_table(FILE *out, const struct wt_sweep *sweep)
{
    char text[96], unit[32];
    bool has_work = sweep->work_unit[0] != '\0';
    wt_html_tag(out, "<h2>", sweep->is_pair ? "A and B" : "Settings compared",
                "</h2>\n<div class=\"scroll\"><table>\n<caption>");
    fputs("Mean of the repeats with its 95\u2009% interval; ratios are to ", out);
    wt_html_tag(out, "", sweep->rows[sweep->reference].label, "");
    if (sweep->is_per_work)
        wt_html_tag(out, ", per ", wt_html_singular(sweep->work_unit, unit, sizeof(unit)), "");
    if (sweep->is_to_target)
        fputs("; times and energies are to the target", out);
    if (isfinite(sweep->host_w))
        fprintf(out, "; energy includes %.0f W for the rest of the node", sweep->host_w);
    fputs(".</caption>\n<thead><tr><th class=\"l\" scope=\"col\">", out);
    wt_html_put(out, sweep->is_pair ? "" : sweep->knob[0] ? sweep->knob : "setting");
    fputs("</th><th scope=\"col\">runs</th><th scope=\"col\">time</th>"
          "<th scope=\"col\">energy</th><th scope=\"col\">mean power</th>"
          "<th scope=\"col\">time ratio</th><th scope=\"col\">energy ratio</th>"
          "<th scope=\"col\">power ratio</th>",
          out);
    const struct wt_goal *goal = &sweep->plan.goal;
    bool has_value = goal->objective != WT_OBJECTIVE_ENERGY && goal->objective != WT_OBJECTIVE_TIME;
    if (has_value)
        wt_html_tag(out, "<th scope=\"col\">", wt_goal_words(goal), " ratio</th>");
    if (has_work) {
        wt_html_tag(out, "<th scope=\"col\">per 1,000 ", sweep->work_unit, "</th>");
        wt_html_tag(out, "<th scope=\"col\">", sweep->work_unit, " a&nbsp;second</th>");
    }
    struct wt_sweep_told told;
    wt_sweep_told_names(sweep, &told);
    for (size_t k = 0; k < told.count; k++)
        wt_html_tag(out, "<th scope=\"col\">", told.names[k], "<small>as told</small></th>");
    fputs("<th class=\"l\" scope=\"col\">source</th></tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        fprintf(out, "<tr%s>", i == sweep->choice && !sweep->is_pair ? " class=\"choice\"" : "");
        wt_html_tag(out, "<th class=\"l\" scope=\"row\">", row->label, "");
        if (note_of(sweep, i)[0])
            wt_html_tag(out, "<small>", note_of(sweep, i), "</small>");
        fprintf(out, "</th><td>%u", row->repeats);
        if (row->outlier_count)
            fprintf(out, "<small>%u far off</small>", row->outlier_count);
        fputs("</td>", out);
        wt_html_tag(out, "<td>", wt_format_seconds(text, sizeof(text), row->time_s.value), "</td>");
        wt_html_joules(out, &row->energy_j, row->provenance);
        put_power(out, row);
        put_ratio(out, &row->time_ratio);
        put_ratio(out, &row->energy_ratio);
        put_ratio(out, &row->power_ratio);
        if (has_value)
            put_ratio(out, &row->value_ratio);
        if (has_work) {
            const struct wt_estimate *per = &row->j_per_work;
            const struct wt_estimate many = {per->value * 1000, per->low * 1000, per->high * 1000};
            wt_html_joules(out, &many, row->provenance);
            wt_html_tag(out, "<td>", wt_html_four(text, sizeof(text), row->work_per_s.value),
                        "</td>");
        }
        for (size_t k = 0; k < told.count; k++) {
            double value = wt_sweep_told(sweep, i, told.names[k]);
            wt_html_tag(out, "<td>", isnan(value) ? "" : wt_html_four(text, sizeof(text), value),
                        "</td>");
        }
        wt_html_tag(out, "<td class=\"l\">", wt_provenance_name(row->provenance), "</td></tr>\n");
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
    wt_html_tag(out, "<th class=\"l\" scope=\"col\">", what, "</th>");
    fputs("<th scope=\"col\">repeat</th><th scope=\"col\">time</th><th scope=\"col\">energy</th>"
          "<th scope=\"col\">exit</th><th class=\"l\" scope=\"col\"></th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < count; i++) {
        const struct wt_run *run = &runs[i];
        bool is_off = run->state != WT_RUN_DONE || run->exit_code != 0;
        fprintf(out, "<tr%s>", is_off ? " class=\"off\"" : "");
        wt_html_tag(out, "<td class=\"l\"><code>", run->id, "</code></td>");
        wt_html_tag(out, "<td class=\"l\">", run->label, "</td>");
        fprintf(out, "<td>%u</td>", run->repeat + 1);
        wt_html_tag(out, "<td>", wt_format_seconds(text, sizeof(text), run->wall_s), "</td>");
        wt_html_tag(out, "<td>", wt_format_interval(text, sizeof(text), &run->total), "</td>");
        if (run->state == WT_RUN_DONE)
            fprintf(out, "<td>%d</td>", run->exit_code);
        else
            fputs("<td></td>", out);
        wt_html_tag(out, "<td class=\"l\">", states[run->state], "</td></tr>\n");
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
    wt_html_tile(out, "", row->label, sweep->is_pair ? "compared with A" : "recommended setting",
                 "");
    wt_text(words, sizeof(words), "energy, against %.60s", reference->label);
    wt_text(detail, sizeof(detail), "[%s, %s]", change(low, sizeof(low), row->energy_ratio.low),
            change(high, sizeof(high), row->energy_ratio.high));
    wt_html_tile(out, "energy", change(value, sizeof(value), row->energy_ratio.value), words,
                 detail);
    detail[0] = '\0';
    if (row->time_ratio.low < row->time_ratio.high)
        wt_text(detail, sizeof(detail), "[%s, %s]", change(low, sizeof(low), row->time_ratio.low),
                change(high, sizeof(high), row->time_ratio.high));
    wt_html_tile(out, "time", change(value, sizeof(value), row->time_ratio.value), "time", detail);
    wt_text(words, sizeof(words), "mean power, was %s",
            wt_html_watts(low, sizeof(low), reference->power_w.value));
    detail[0] = '\0';
    if (row->provenance == WT_PROV_MODELED)
        wt_text(detail, sizeof(detail), "modeled: %s to %s",
                wt_html_watts(low, sizeof(low), row->power_w.low),
                wt_html_watts(high, sizeof(high), row->power_w.high));
    wt_html_tile(out, "power", wt_html_watts(value, sizeof(value), row->power_w.value), words,
                 detail);
    fputs("</div>\n", out);
}

int wt_html_sweep(FILE *out, const struct wt_sweep *sweep)
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
    wt_html_begin(out, title);
    wt_html_header(out, title, sweep->title, sweep->runs, sweep->run_count);
    wt_html_tag(out, "<p class=\"advice\">", sweep->advice, "</p>\n");
    if (sweep->apply[0])
        wt_html_tag(out, "<p>Apply it: <code>", sweep->apply, "</code></p>\n");
    put_sweep_tiles(out, sweep);
    put_warnings(out, sweep->warnings, sweep->warning_count);

    json_t *traces = wt_html_sweep_traces(sweep);
    fputs("<div class=\"plots\">\n", out);
    wt_html_figure(out, "relative", sweep->is_pair ? "Relative to A" : "Relative to the reference",
                   "Energy and time of the same work; bars are 95 % intervals.", false);
    wt_html_figure(out, "energy",
                   sweep->is_to_target  ? "Energy to the target"
                   : sweep->is_per_work ? "Energy of the work"
                                        : "Energy of a run",
                   "Mean of the repeats; bars are 95 % intervals.", false);
    if (json_array_size(traces))
        wt_html_figure(out, "power", "Power over time",
                       sweep->is_pair ? "The first run of each." : "The first run at each setting.",
                       true);
    fputs("</div>\n", out);
    put_sweep_table(out, sweep);
    put_runs_table(out, sweep->runs, sweep->run_count, sweep->is_pair ? "group" : "setting");
    wt_html_machine(out, &sweep->runs[sweep->rows[sweep->reference].first_run]);
    unsigned used = 0;
    for (size_t i = 0; i < sweep->row_count; i++)
        used |= 1u << sweep->rows[i].provenance;
    wt_html_legend(out, used, true);

    json_t *doc = wt_sweep_json(sweep);
    if (!doc || json_object_set_new(doc, "traces", traces) < 0 ||
        json_object_set_new(doc, "is_pair", json_boolean(sweep->is_pair)) < 0) {
        json_decref(doc);
        return WT_E_NOMEM;
    }
    return wt_html_end(out, json_pack("{s:o}", "sweep", doc));
}
