/* terminal: a run's summary and the list of runs, for people. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "record/record.h"
#include "report/table.h"
#include "report/words.h"

/* Above all figures of a run or sweep, where they are not of this machine. */
void wt_term_banners(const struct wt_term *term, const struct wt_run *run)
{
    if (run->is_emulated)
        wt_term_banner(term, "EMULATED", run->emulation, "no real device was measured");
    if (run->is_replayed)
        wt_term_banner(term, "REPLAYED", run->recording, wt_replayed_words(run));
}

enum { LABEL = 9 }; /* columns of the words at the left */

static void line(const struct wt_term *term, const char *head, const char *fmt, ...)
    WT_PRINTF(3, 4);
static void line(const struct wt_term *term, const char *head, const char *fmt, ...)
{
    char text[1000], lead[48];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    wt_text(lead, sizeof(lead), "  %-*s ", LABEL, head);
    wt_term_clean(term, lead); /* the name of a value is the program's */
    wt_term_wrap(term, WT_PLAIN, lead, text);
}

enum { NAME, DETAIL, ENERGY, MEAN, HIGHEST, BY };

/* "of it: core of CPU 0", further in for each whole it lies in; in a narrow window the place says
 * enough. */
static void put_name(struct wt_table *table, size_t row, const struct wt_run *run,
                     const struct wt_report_line *line)
{
    const struct wt_run_device *d = &run->devices[line->device];
    struct wt_cell *cell = wt_table_cell(table, row, NAME);
    char title[128], whole[128];
    int indent = (int)(2 * line->depth) + (line->is_counted ? 0 : 2);
    wt_device_title(run, line->device, title, sizeof(title));
    /* "core of CPU 0" has said it. */
    if (line->is_orphan && d->part_of[0] && !strstr(title, " of ")) {
        size_t n = strlen(title);
        wt_text(title + n, sizeof(title) - n, ", part of %s",
                wt_device_title_of(run, d->part_of, whole, sizeof(whole)));
    }
    wt_table_set(table, row, NAME, "%*s%s%s", indent, "", line->depth ? "of it: " : "", title);
    if (line->depth && strlen(title) + (size_t)indent < sizeof(cell->brief)) {
        wt_text(cell->brief, sizeof(cell->brief), "%*s%s", indent, "", title);
        wt_term_clean(table->term, cell->brief);
    }
}

static void put_device(struct wt_table *table, size_t row, const struct wt_run *run,
                       const struct wt_report_line *line)
{
    const struct wt_run_device *d = &run->devices[line->device];
    char text[128];
    put_name(table, row, run, line);
    wt_table_set(table, row, DETAIL, "%s", wt_device_detail(run, line->device, text, sizeof(text)));
    wt_table_set(table, row, ENERGY, "%s", wt_format_interval(text, sizeof(text), &d->energy));
    if (d->energy.provenance != WT_PROV_UNKNOWN)
        wt_table_watts(table, row, MEAN, d->mean_w);
    wt_table_watts(table, row, HIGHEST, d->max_w);
    wt_table_set(table, row, BY, "%s", wt_measured_by(d, false, text, sizeof(text)));
    wt_measured_by(d, true, wt_table_cell(table, row, BY)->brief,
                   sizeof(wt_table_cell(table, row, BY)->brief));
}

static void put_sum(struct wt_table *table, size_t row, const char *name,
                    const struct wt_joules *sum, double wall_s)
{
    char text[96];
    wt_table_set(table, row, NAME, "%s", name);
    wt_table_set(table, row, ENERGY, "%s", wt_format_interval(text, sizeof(text), sum));
    if (sum->provenance != WT_PROV_UNKNOWN && wall_s > 0)
        wt_table_watts(table, row, MEAN, sum->energy_j / wall_s);
    wt_table_set(table, row, BY, "%s", wt_provenance_name(sum->provenance));
    table->colours[row] = WT_BOLD;
}

static void print_devices(const struct wt_term *term, const struct wt_run *run)
{
    /* An energy never goes without its interval and where it comes from. */
    static const struct wt_column columns[] = {
        {"", false, NULL},    {"", false, NULL},       {"energy", true, NULL},
        {"mean", true, NULL}, {"highest", true, NULL}, {"measured by", false, "by"},
    };
    static const struct wt_table_step steps[] = {
        {BY, WT_BRIEF},   {DETAIL, WT_HIDDEN}, {HIGHEST, WT_HIDDEN},
        {NAME, WT_BRIEF}, {MEAN, WT_HIDDEN},
    };
    struct wt_table table;
    struct wt_report_line *lines = calloc(run->device_count + 3, sizeof(*lines));
    size_t count = lines ? wt_report_lines(run, lines) : 0;
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), count) && lines) {
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        table.is_whole = true;
        for (size_t i = 0; i < table.row_count; i++)
            switch (lines[i].kind) {
            case WT_LINE_DEVICE:
                put_device(&table, i, run, &lines[i]);
                break;
            case WT_LINE_TOTAL:
                put_sum(&table, i, "total", &run->total, run->wall_s);
                break;
            case WT_LINE_BESIDE:
                wt_table_set(&table, i, NAME, "beside the total:");
                table.colours[i] = WT_DIM;
                break;
            case WT_LINE_ESTIMATE:
                put_sum(&table, i, "with what is modeled", &run->estimate, 0);
                break;
            }
        if (table.row_count == 1)
            table.colours[0] = WT_BOLD;
        wt_table_print(&table);
    }
    wt_table_done(&table);
    free(lines);
}

static const char *unit_of(const struct wt_run *run)
{
    return strcmp(run->work.unit, "tokens") == 0 ? "token" : run->work.unit;
}

static void print_work(const struct wt_term *term, const struct wt_run *run)
{
    char count[40], per[64], unit[40], rate[48] = "", steps[48] = "";
    if (!run->work.is_known)
        return;
    struct wt_joules j = wt_run_j_per_work(run);
    if (run->wall_s > 0)
        wt_text(
            rate, sizeof(rate), ", %s/s",
            wt_grouped(per, sizeof(per), (uint64_t)llround((double)run->work.count / run->wall_s)));
    if (wt_work_has_steps(run))
        wt_text(steps, sizeof(steps), " in %s step%s",
                wt_grouped(per, sizeof(per), run->work.steps), run->work.steps == 1 ? "" : "s");
    line(term, "work", "%s %s%s%s", wt_grouped(count, sizeof(count), run->work.count),
         wt_work_unit(run, unit, sizeof(unit)), steps, rate);
    if (j.provenance != WT_PROV_UNKNOWN)
        line(term, "", "%s per %s%s%s", wt_format_interval(per, sizeof(per), &j), unit_of(run),
             j.provenance == WT_PROV_MODELED ? ", " : "",
             j.provenance == WT_PROV_MODELED ? "modeled" : "");
}

static void print_settings(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], held[96], text[48], was[48];
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        if (!knob)
            continue;
        held[0] = '\0';
        if (s->enforced != s->requested)
            wt_text(held, sizeof(held), ", the device holds %s",
                    wt_knob_value_text(text, sizeof(text), s->knob, s->enforced));
        line(term, i ? "" : "set", "%s %s on %s (was %s)%s", knob,
             wt_knob_value_text(text, sizeof(text), s->knob, s->requested),
             wt_device_title_of(run, s->device_id, name, sizeof(name)),
             wt_knob_value_text(was, sizeof(was), s->knob, s->found), held);
    }
}

static void print_troubles(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], bound[32], text[640];
    if (wt_is_standing(run))
        wt_term_wrap(term, WT_YELLOW, "  note      ", wt_standing_words);
    for (size_t i = 0; i < run->setting_count; i++)
        if (run->settings[i].lost[0])
            wt_term_wrap(term, WT_YELLOW, "  note      ",
                         wt_lost_words(run, &run->settings[i], text, sizeof(text)));
    for (size_t i = 0; i < run->gap_count; i++) {
        const struct wt_run_gap *g = &run->gaps[i];
        if (!wt_gap_is_said(run, i))
            continue;
        if (isfinite(g->bound_j))
            wt_format_joules(bound, sizeof(bound), g->bound_j);
        else
            wt_text(bound, sizeof(bound), "an unknown amount");
        wt_text(text, sizeof(text),
                "%s could not be read from %.1f s to %.1f s (%s): up to %s unseen",
                wt_device_title_of(run, g->device_id, name, sizeof(name)), g->from_s, g->to_s,
                g->why, bound);
        wt_term_wrap(term, WT_YELLOW, "  gap       ", text);
    }
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        wt_device_title(run, i, name, sizeof(name));
        if (wt_note_is_said(run, i)) {
            wt_text(text, sizeof(text), "%s: %s", name, d->note);
            wt_term_wrap(term, WT_PLAIN, "  note      ", text);
        }
        if (d->is_check_off) {
            char one[80], two[80];
            wt_text(text, sizeof(text),
                    "%s: counter and integrated power disagree beyond their bounds: %s and %s",
                    name, wt_format_interval(one, sizeof(one), &d->energy),
                    wt_format_interval(two, sizeof(two), &d->check));
            wt_term_wrap(term, WT_YELLOW, "  check     ", text);
        }
    }
    struct wt_node_check node = wt_run_node_check(run);
    if (node.is_off) {
        char one[80], two[80];
        wt_text(text, sizeof(text),
                "the parts were measured to draw more than the whole node, beyond their bounds: %s "
                "and %s",
                wt_format_interval(one, sizeof(one), &node.parts),
                wt_format_interval(two, sizeof(two), &run->devices[node.node].energy));
        wt_term_wrap(term, WT_YELLOW, "  check     ", text);
    }
    if (run->state == WT_RUN_INCOMPLETE)
        wt_term_wrap(term, WT_YELLOW, "  state     ",
                     "incomplete: Wattune ended before the run did; figures are as last written");
}

static void print_values(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->value_count; i++) {
        const char *name = run->values[i].name;
        size_t before = 0, last = i, count = 0;
        for (size_t k = 0; k < i; k++)
            before += strcmp(run->values[k].name, name) == 0;
        if (before)
            continue;
        for (size_t k = i; k < run->value_count; k++)
            if (strcmp(run->values[k].name, name) == 0) {
                last = k;
                count++;
            }
        char text[96];
        if (count == 1)
            wt_text(text, sizeof(text), "%.4g", run->values[i].value);
        else
            wt_text(text, sizeof(text), "%.4g at first, %.4g at the end", run->values[i].value,
                    run->values[last].value);
        if (wt_term_columns(name) <= LABEL)
            line(term, name, "%s", text);
        else /* a name that does not fit the column of labels */
            line(term, "reported", "%s: %s", name, text);
    }
}

static void print_race(const struct wt_term *term, const struct wt_run *run)
{
    char text[400];
    if (run->race.trials)
        line(term, "race", "%s", wt_race_words(run, text, sizeof(text)));
}

static void print_phases(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->phase_count; i++) {
        const struct wt_run_phase *p = &run->phases[i];
        char count[48] = "", span[32], of[80] = "", energy[400] = "", text[96];
        if (wt_run_phase_has_inner(p))
            wt_text(of, sizeof(of), " of %s (the rest: in other phases or programs)",
                    wt_format_seconds(span, sizeof(span), p->wall_s));
        if (p->count)
            wt_text(count, sizeof(count), "%llu time%s, ", (unsigned long long)p->count,
                    p->count == 1 ? "" : "s");
        if (p->energy.provenance != WT_PROV_UNKNOWN)
            wt_text(energy, sizeof(energy), ", %s, %.1f W",
                    wt_format_interval(text, sizeof(text), &p->energy), p->mean_w);
        else if (p->joint.provenance != WT_PROV_UNKNOWN)
            wt_text(energy, sizeof(energy), ", not separable%s%s: %s%s", p->with[0] ? " from " : "",
                    p->with, p->with[0] ? "together " : "",
                    wt_format_interval(text, sizeof(text), &p->joint));
        const struct wt_joules per = wt_run_phase_j_per_work(p);
        char work[160] = "", each[96];
        if (per.provenance != WT_PROV_UNKNOWN)
            wt_text(work, sizeof(work), ", %s per %s", wt_format_interval(each, sizeof(each), &per),
                    unit_of(run));
        line(term, i ? "" : "phases", "%s: %s%s%s%s%s", p->name, count,
             wt_format_seconds(span, sizeof(span), p->own_s > 0 ? p->own_s : p->wall_s), of, energy,
             work);
    }
    if (run->phases_note[0])
        line(term, "", "%s", run->phases_note);
}

static void print_attribution(const struct wt_term *term, const struct wt_run *run)
{
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        char name[128], who[128], text[96], pid[24];
        wt_device_title(run, i, name, sizeof(name));
        if (d->attribution.is_known) {
            line(term, "used by", "%s, %s%s:", name, d->attribution.rule,
                 d->energy.provenance == WT_PROV_MODELED ? ", modeled" : "");
            for (size_t k = 0; k < d->attribution.share_count; k++) {
                const struct wt_run_share *share = &d->attribution.shares[k];
                pid[0] = '\0';
                if (share->pid)
                    wt_text(pid, sizeof(pid), " (%u)", share->pid);
                line(term, "", "%s%s%s: %s", wt_share_name(run, share, who, sizeof(who)), pid,
                     share->is_ours && share->pid ? ", of this run" : "",
                     wt_share_text(d, share->energy_uj, text, sizeof(text)));
            }
            if (d->attribution.idle_uj)
                line(term, "", "idle: %s",
                     wt_share_text(d, d->attribution.idle_uj, text, sizeof(text)));
            if (d->attribution.residual_uj)
                line(term, "", "%s: %s", wt_residual_words(d),
                     wt_share_text(d, d->attribution.residual_uj, text, sizeof(text)));
        }
        /* That its energy is unknown has been said. */
        if (d->attribution.note[0] && d->energy.provenance != WT_PROV_UNKNOWN)
            line(term, d->attribution.is_known ? "" : "used by", "%s: %s", name,
                 d->attribution.note);
    }
}

static void print_details(const struct wt_term *term, const struct wt_run *run)
{
    char name[128], text[80], when[32];
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->check.provenance == WT_PROV_UNKNOWN || d->is_check_off)
            continue;
        wt_device_title(run, i, name, sizeof(name));
        line(term, "check", "%s by the other method: %s, agrees", name,
             wt_format_interval(text, sizeof(text), &d->check));
    }
    struct wt_node_check node = wt_run_node_check(run);
    if (node.node != SIZE_MAX && !node.is_off)
        line(term, "check", "%s: %s, of it no part's sensor sees %s; agrees",
             wt_device_title(run, node.node, name, sizeof(name)),
             wt_format_joules(when, sizeof(when), run->devices[node.node].energy.energy_j),
             wt_format_interval(text, sizeof(text), &node.rest));
    print_race(term, run);
    print_phases(term, run);
    print_attribution(term, run);
    if (run->cost.wall_s > 0)
        line(term, "own cost", "%.3f %% of one core (%.3f s), %llu reads, %llu failed",
             run->cost.cpu_s / run->cost.wall_s * 100, run->cost.cpu_s,
             (unsigned long long)run->cost.reads, (unsigned long long)run->cost.failures);
    line(term, "command", "%s", run->command);
    line(term, "machine", "%s%s%s", run->host, run->system[0] ? ": " : "", run->system);
    if (run->recording_title[0])
        line(term, "recording", "%s", run->recording_title);
    line(term, "begun", "%s", wt_time_text(when, sizeof(when), run->start_unix_ns));
    if (run->group[0] && run->node.count)
        line(term, "group", "%s", run->group);
    else if (run->group[0])
        line(term, "sweep", "%s, %s, run %u", run->group, run->label, run->repeat + 1);
}

void wt_report_run(const struct wt_term *term, const struct wt_run *run, bool is_verbose)
{
    struct wt_plain plain;
    wt_plain_enter(&plain);
    char text[80];
    wt_term_banners(term, run);
    if (run->device_count)
        print_devices(term, run);
    else if (wt_run_is_unstarted(run))
        wt_term_wrap(term, WT_YELLOW, "  energy    ",
                     "none: the command did not start, as it was not there or no program");
    else
        wt_term_wrap(term, WT_YELLOW, "  energy    ",
                     "unknown: no energy or power sensor could be read here; `wattune doctor` "
                     "says why");
    wt_format_seconds(text, sizeof(text), run->wall_s);
    if (run->state == WT_RUN_DONE && run->exit_code)
        line(term, "time", "%s, exit code %d", text, run->exit_code);
    else
        line(term, "time", "%s", text);
    print_work(term, run);
    print_values(term, run);
    print_settings(term, run);
    if (run->node.count) {
        if (run->node.nodes)
            wt_text(text, sizeof(text), " %u of %u", run->node.index + 1, run->node.nodes);
        line(term, "node", "%s,%s covers %u of %u ranks", run->host, run->node.nodes ? text : "",
             run->node.count, run->node.ranks);
    }
    print_troubles(term, run);
    if (is_verbose)
        print_details(term, run);
    if (run->id[0])
        line(term, "run", "%s%s%s%s", run->id, run->tag[0] ? ", tag " : "", run->tag,
             run->is_unstored ? ", not stored" : "");
    wt_plain_leave(&plain);
}

/* ---- a job on several nodes ---- */

void wt_report_sum(const struct wt_term *term, const struct wt_run_sum *sum,
                   const struct wt_run *runs)
{
    struct wt_plain plain;
    char text[96], time[48], per[96];
    wt_plain_enter(&plain);
    fprintf(term->out, "  %s, %zu", runs[sum->parts[0]].group, sum->count);
    if (sum->nodes)
        fprintf(term->out, " of %u", sum->nodes);
    fprintf(term->out, " node%s\n", sum->count > 1 || sum->nodes > 1 ? "s" : "");
    for (size_t i = 0; i < sum->count; i++) {
        const struct wt_run *run = &runs[sum->parts[i]];
        line(term, run->host, "%s, %s%s%s",
             run->total.provenance == WT_PROV_UNKNOWN
                 ? "unknown energy"
                 : wt_format_interval(text, sizeof(text), &run->total),
             wt_format_seconds(time, sizeof(time), run->wall_s),
             run->total.provenance == WT_PROV_UNKNOWN ? "" : ", ",
             run->total.provenance == WT_PROV_UNKNOWN ? ""
                                                      : wt_provenance_name(run->total.provenance));
    }
    if (!sum->is_whole) {
        wt_term_wrap(term, WT_YELLOW, "  no sum    ", sum->why);
    } else {
        line(term, "sum", "%s, %s, %s", wt_format_interval(text, sizeof(text), &sum->total),
             wt_format_seconds(time, sizeof(time), sum->wall_s),
             wt_provenance_name(sum->total.provenance));
        if (sum->unit[0] && sum->work) {
            double work = (double)sum->work;
            struct wt_joules each = {sum->total.energy_j / work, sum->total.low_j / work,
                                     sum->total.high_j / work, sum->total.provenance};
            line(term, "work", "%llu %s, %s each", (unsigned long long)sum->work, sum->unit,
                 wt_format_interval(per, sizeof(per), &each));
        }
    }
    wt_plain_leave(&plain);
}

/* ---- the list of runs ---- */

/* How much of their ids tells these runs apart: a beginning is as good as the whole to name one.
 * Never less than date and time. */
static int unique_length(const struct wt_run *runs, size_t count)
{
    size_t length = 15;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count && k < i + 2; k++) { /* they are in order */
            size_t n = 0;
            while (runs[i].id[n] && runs[i].id[n] == runs[k].id[n])
                n++;
            length = n + 1 > length ? n + 1 : length;
        }
    return (int)length;
}

static void put_state(struct wt_table *table, size_t row, size_t column, const struct wt_run *run,
                      const char *what)
{
    struct wt_cell *cell = wt_table_cell(table, row, column);
    bool is_modeled = run->total.provenance == WT_PROV_MODELED;
    const char *real = run->is_emulated ? "emulated" : run->is_replayed ? "replayed" : "";
    const char *brief = run->is_emulated ? "emu." : run->is_replayed ? "replay" : "";
    wt_table_set(table, row, column, "%s%s%s%s%s", what, what[0] && real[0] ? ", " : "", real,
                 is_modeled && (what[0] || real[0]) ? ", " : "", is_modeled ? "modeled" : "");
    wt_text(cell->brief, sizeof(cell->brief), "%s%s%s%s%s", what, what[0] && real[0] ? "," : "",
            brief, is_modeled && (what[0] || real[0]) ? "," : "", is_modeled ? "modeled" : "");
}

void wt_report_runs(const struct wt_term *term, const struct wt_run *runs, size_t count)
{
    static const struct wt_column columns[] = {
        {"id", false, NULL},    {"begun", false, NULL},   {"energy", true, NULL},
        {"time", true, NULL},   {"setting", false, NULL}, {"tag", false, NULL},
        {"state", false, NULL}, {"command", false, NULL},
    };
    /* An id begins with the time. */
    static const struct wt_table_step steps[] = {{2, WT_BRIEF},  {1, WT_HIDDEN}, {0, WT_BRIEF},
                                                 {5, WT_HIDDEN}, {3, WT_HIDDEN}, {4, WT_BRIEF},
                                                 {6, WT_BRIEF},  {4, WT_HIDDEN}};
    if (!count) {
        fputs("no runs are stored yet; `wattune run -- CMD` makes one\n", term->out);
        return;
    }
    struct wt_plain plain;
    struct wt_table table;
    char text[64];
    wt_plain_enter(&plain);
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), count)) {
        int id_length = unique_length(runs, count);
        table.last_min = 12;
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < count; i++) {
            const struct wt_run *run = &runs[i];
            time_t t = (time_t)(run->start_unix_ns / WT_NS_PER_S);
            struct tm tm;
            wt_table_set(&table, i, 0, "%s", run->id);
            wt_text(wt_table_cell(&table, i, 0)->brief, sizeof(wt_table_cell(&table, i, 0)->brief),
                    "%.*s", id_length, wt_table_cell(&table, i, 0)->full);
            if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm))
                wt_table_set(&table, i, 1, "%s", text);
            if (!wt_run_is_unstarted(run))
                wt_table_joules(&table, i, 2, &run->total);
            wt_table_set(&table, i, 3, "%s", wt_format_seconds(text, sizeof(text), run->wall_s));
            wt_table_set(&table, i, 4, "%s", run->label);
            wt_table_brief_label(wt_table_cell(&table, i, 4));
            wt_table_set(&table, i, 5, "%s", run->tag);
            char what[32] = "";
            if (run->state == WT_RUN_RUNNING)
                wt_text(what, sizeof(what), "running");
            else if (run->state == WT_RUN_INCOMPLETE)
                wt_text(what, sizeof(what), "incomplete");
            else if (wt_run_is_unstarted(run))
                wt_text(what, sizeof(what), "not started");
            else if (run->exit_code)
                wt_text(what, sizeof(what), "exit %d", run->exit_code);
            put_state(&table, i, 6, run, what);
            wt_table_set(&table, i, 7, "%.190s", run->command);
            table.colours[i] = run->state == WT_RUN_INCOMPLETE ? WT_YELLOW : WT_PLAIN;
        }
        wt_table_print(&table);
    }
    wt_table_done(&table);
    wt_plain_leave(&plain);
}
