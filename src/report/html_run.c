/* html_run: the page of one run or several - devices, phases, who used what, and what was told. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "report/html.h"
#include "report/words.h"

static void put_sum_row(FILE *out, const char *name, const struct wt_joules *sum, double wall_s)
{
    const struct wt_estimate e = {sum->energy_j, sum->low_j, sum->high_j};
    char text[64] = "";
    wt_html_tag(out, "<tr class=\"sum\"><th class=\"l\" scope=\"row\">", name, "</th>");
    wt_html_joules(out, &e, sum->provenance);
    if (sum->provenance != WT_PROV_UNKNOWN && wall_s > 0)
        wt_html_watts(text, sizeof(text), sum->energy_j / wall_s);
    wt_html_tag(out, "<td>", text, "</td><td></td>");
    wt_html_tag(out, "<td class=\"l\">", wt_provenance_name(sum->provenance),
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
    wt_html_put(out, wt_device_title(run, line->device, text, sizeof(text)));
    if (wt_device_detail(run, line->device, text, sizeof(text))[0])
        wt_html_tag(out, "<small>", text, "</small>");
    if (d->is_part) {
        wt_device_title_of(run, d->part_of, text, sizeof(text));
        wt_html_tag(out, text[0] ? "<small>part of " : "<small>a part", text,
                    ", not in the total</small>");
    } else if (!d->is_counted) {
        fputs("<small>beside the total</small>", out);
    }
    fputs("</th>", out);
    wt_html_joules(out, &e, d->energy.provenance);
    wt_html_tag(out, "<td>", is_known ? wt_html_watts(text, sizeof(text), d->mean_w) : "", "</td>");
    wt_html_tag(out, "<td>", isfinite(d->max_w) ? wt_html_watts(text, sizeof(text), d->max_w) : "",
                "</td>");
    wt_html_tag(out, "<td class=\"l\">", wt_measured_by(d, false, text, sizeof(text)), "");
    bool is_noted = wt_note_is_said(run, line->device);
    /* Why there is no figure belongs where it would come from, and the word is there already. */
    if (is_noted && !is_known)
        wt_html_tag(out, "<small>", d->note + (strncmp(d->note, "unknown: ", 9) == 0 ? 9 : 0),
                    "</small>");
    fputs("</td><td class=\"l w\">", out);
    if (d->check.provenance != WT_PROV_UNKNOWN) {
        wt_html_put(out, wt_format_interval(text, sizeof(text), &d->check));
        fputs(d->is_check_off ? " <strong>disagrees</strong>" : " agrees", out);
    }
    if (is_noted && is_known)
        wt_html_tag(out, "<small>", d->note, "</small>");
    fputs("</td></tr>\n", out);
}

static void put_device_table(FILE *out, const struct wt_run *run)
{
    if (!run->device_count && wt_run_is_unstarted(run)) {
        fputs("<h2>Devices</h2>\n<p>None was looked at: the command did not start, as it was not "
              "there or no program.</p>\n",
              out);
        return;
    }
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
    wt_html_tile(out, "energy", value, words, bracket ? bracket : "");
    if (run->has_estimate && run->estimate.provenance != WT_PROV_UNKNOWN) {
        wt_format_interval(text, sizeof(text), &run->estimate);
        bracket = strchr(text, '[');
        wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
        wt_html_tile(out, "energy", value, "energy, with what is modeled", bracket ? bracket : "");
    }
    wt_text(text, sizeof(text), "exit code %d", run->exit_code);
    wt_html_tile(out, "time", wt_format_seconds(value, sizeof(value), run->wall_s), "time",
                 run->state == WT_RUN_DONE && run->exit_code ? text : "");
    if (is_known && run->wall_s > 0) {
        bool is_modeled = total->provenance == WT_PROV_MODELED;
        char low[24], high[24];
        text[0] = '\0';
        if (is_modeled)
            wt_text(text, sizeof(text), "[%s, %s]",
                    wt_html_watts(low, sizeof(low), total->low_j / run->wall_s),
                    wt_html_watts(high, sizeof(high), total->high_j / run->wall_s));
        wt_html_tile(out, "power",
                     wt_html_watts(value, sizeof(value), total->energy_j / run->wall_s),
                     is_modeled ? "mean power, modeled" : "mean power", text);
    }
    struct wt_joules per = wt_run_j_per_work(run);
    if (per.provenance != WT_PROV_UNKNOWN) {
        wt_format_interval(text, sizeof(text), &per);
        bracket = strchr(text, '[');
        wt_text(value, sizeof(value), "%.*s", (int)(bracket ? bracket - text - 1 : 40), text);
        wt_text(words, sizeof(words), "per %s%s%s",
                wt_html_singular(run->work.unit, unit, sizeof(unit)), unreal[0] ? ", " : "",
                unreal);
        wt_html_tile(out, "", value, words, bracket ? bracket : "");
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
        wt_html_tag(out, "<li>", wt_standing_words, "</li>\n");
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
        wt_html_tag(out, "<li>", wt_device_title_of(run, g->device_id, name, sizeof(name)), " ");
        fprintf(out, "could not be read from %.1f s to %.1f s (", g->from_s, g->to_s);
        wt_html_put(out, g->why);
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
        wt_html_tag(out, "<th scope=\"col\">per 1,000 ", run->work.unit, "</th>");
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < run->phase_count; i++) {
        const struct wt_run_phase *p = &run->phases[i];
        const struct wt_estimate e = {p->energy.energy_j, p->energy.low_j, p->energy.high_j};
        bool is_known = p->energy.provenance != WT_PROV_UNKNOWN;
        wt_html_tag(out, "<tr><th class=\"l\" scope=\"row\">", p->name, "</th>");
        if (p->count)
            fprintf(out, "<td>%llu</td>", (unsigned long long)p->count);
        else
            fputs("<td></td>", out);
        double span_s = p->own_s > 0 ? p->own_s : p->wall_s;
        wt_html_tag(out, "<td>", wt_format_seconds(text, sizeof(text), span_s), "");
        if (wt_run_phase_has_inner(p))
            wt_html_tag(out, "<small>of ", wt_format_seconds(text, sizeof(text), p->wall_s),
                        ": the rest is in other phases or programs</small>");
        fputs("</td>", out);
        if (is_known) {
            wt_html_joules(out, &e, p->energy.provenance);
        } else if (p->joint.provenance != WT_PROV_UNKNOWN) {
            fputs("<td>not separable", out);
            if (p->with[0])
                wt_html_tag(out, " from ", p->with, "");
            wt_html_tag(out, "<small>together ", wt_format_interval(text, sizeof(text), &p->joint),
                        "</small></td>");
        } else {
            fputs("<td>unknown</td>", out);
        }
        wt_html_tag(out, "<td>", is_known ? wt_html_watts(text, sizeof(text), p->mean_w) : "",
                    "</td>");
        const struct wt_joules one = wt_run_phase_j_per_work(p);
        const struct wt_estimate per = {one.energy_j * 1000, one.low_j * 1000, one.high_j * 1000};
        if (run->work.is_known && one.provenance != WT_PROV_UNKNOWN)
            wt_html_joules(out, &per, one.provenance);
        else if (run->work.is_known)
            fputs("<td></td>", out);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
    if (run->phases_note[0])
        wt_html_tag(out, "<p class=\"soft\">", run->phases_note, "</p>\n");
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
            wt_html_put(out, wt_device_title(run, device, text, sizeof(text)));
            wt_html_tag(out, "<small>", d->attribution.rule, "");
            fputs(d->energy.provenance == WT_PROV_MODELED ? ", modeled</small></th>"
                                                          : "</small></th>",
                  out);
        }
        is_first = false;
        fputs("<td class=\"l\">", out);
        wt_html_put(out, share         ? wt_share_name(run, share, text, sizeof(text))
                         : k == shares ? "idle"
                                       : wt_residual_words(d));
        if (share && share->pid)
            fprintf(out, " (%u)", share->pid);
        wt_html_tag(out, "</td><td>", wt_share_text(d, uj, text, sizeof(text)), "</td></tr>\n");
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
        has_single |= !wt_html_has_line(run, run->values[i].name);
    if (run->setting_count || run->work.is_known || run->label[0] || run->race.trials || has_single)
        fputs("<h2>Run</h2>\n<dl>\n", out);
    else
        return;
    if (run->label[0])
        wt_html_tag(out, "<dt>setting</dt><dd>", run->label, "</dd>\n");
    if (run->race.trials)
        wt_html_tag(out, "<dt>race</dt><dd>", wt_race_words(run, text, sizeof(text)), "</dd>\n");
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        char is[48], was[48], words[480];
        if (!knob)
            continue;
        fprintf(out, "<dt>%s</dt><dd>%s <span class=\"soft\">(was %s) on ", knob,
                wt_knob_value_text(is, sizeof(is), s->knob, s->enforced),
                wt_knob_value_text(was, sizeof(was), s->knob, s->found));
        char name[128];
        wt_html_tag(out, "", wt_device_title_of(run, s->device_id, name, sizeof(name)), "</span>");
        if (s->lost[0])
            wt_html_tag(out, "<br>", wt_lost_words(run, s, words, sizeof(words)), "");
        fputs("</dd>\n", out);
    }
    if (run->work.is_known) {
        fprintf(out, "<dt>work</dt><dd>%llu ", (unsigned long long)run->work.count);
        wt_html_put(out, wt_work_unit(run, text, sizeof(text)));
        if (wt_work_has_steps(run))
            fprintf(out, " in %llu step%s", (unsigned long long)run->work.steps,
                    run->work.steps == 1 ? "" : "s");
        fputs("</dd>\n", out);
    }
    for (size_t i = 0; i < run->value_count; i++) /* what was told at one moment has no plot */
        if (!wt_html_has_line(run, run->values[i].name)) {
            wt_html_tag(out, "<dt>", run->values[i].name, "</dt>");
            wt_html_tag(out, "<dd>", wt_html_four(text, sizeof(text), run->values[i].value),
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
    for (size_t d = 0, all = wt_html_traced_devices(run); d < all; d++) {
        char label[160];
        wt_device_title(run, d, label, 128);
        if (d < run->device_count && run->devices[d].is_modeled)
            strcat(label, ", modeled");
        if (json_array_append_new(traces, wt_html_device_trace(run, d, label)) < 0)
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
    if (!wt_html_modeled_names(run, names, sizeof(names))[0])
        return wt_text(buf, size, "As read from each device.%s", limit);
    return wt_text(buf, size, "%s%s: estimated from load, within the band of the table.%s",
                   has_read ? "As read from each device; " : "", names, limit);
}

int wt_html_runs(FILE *out, const struct wt_run *runs, size_t count)
{
    json_t *array = json_array();
    unsigned used = 0;
    char id[64], title[64], words[600];
    wt_html_begin(out, count == 1 ? "Energy of a run" : "Energy of runs");
    for (size_t n = 0; n < count; n++) {
        const struct wt_run *run = &runs[n];
        if (n)
            fputs("<hr>\n", out);
        wt_text(title, sizeof(title), "Run %s", run->id);
        wt_html_header(out, title, run->command, run, 1);
        put_run_tiles(out, run);
        put_run_troubles(out, run);
        fputs("<div class=\"plots\">\n", out);
        if (wt_html_has_trace(run)) {
            wt_text(id, sizeof(id), "power-%zu", n);
            wt_html_figure(out, id, "Power over time", trace_words(run, words, sizeof(words)),
                           true);
        }
        bool is_joint = are_of_phases(run), has_any = false;
        for (size_t i = 0; i < run->value_count && !has_any; i++)
            has_any = wt_html_has_line(run, run->values[i].name);
        if (is_joint && has_any) {
            wt_text(id, sizeof(id), "value-%zu-0", n);
            wt_html_figure(out, id, "Values of the phases",
                           "As the program reported them, a line for each phase.", true);
        }
        for (size_t i = 0, series = 0; !is_joint && i < run->value_count; i++) {
            if (!is_first_of_name(run, i))
                continue;
            wt_text(id, sizeof(id), "value-%zu-%zu", n, series++);
            wt_text(words, sizeof(words), "As the program reported it.");
            if (wt_html_has_line(run, run->values[i].name))
                wt_html_figure(out, id, run->values[i].name, words, true);
        }
        fputs("</div>\n", out);
        put_device_table(out, run);
        put_phase_table(out, run);
        put_user_table(out, run);
        put_run_facts(out, run);
        wt_html_machine(out, run);
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
    wt_html_legend(out, used, false);
    return wt_html_end(out, json_pack("{s:o}", "runs", array));
}
