/* sweep_csv: the measured points of a sweep as CSV, one row a run, with all that `tune --replay`
 * needs to come to what the sweep came to: the work, what the energy may be off by, the reference.
 * Limits of power and clocks have their units, whatever they are limits of; names and parameters
 * are as typed, and a replay takes them as numbers or words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

/* The name of a column; with several of them each has its own. */
static void column_name(char *buf, size_t size, const struct wt_sweep_axis *axis, size_t axes)
{
    enum wt_knob knob = WT_KNOB_POWER;
    snprintf(buf, size, "%s", axis->name);
    if (axis->is_param || wt_knob_from_name(axis->name, &knob) < 0)
        return;
    const char *unit = wt_knob_unit(knob);
    if (axes == 1)
        snprintf(buf, size, "%s",
                 wt_knob_is_named(knob) ? "setting"
                 : *unit == 'W'         ? "power_w"
                                        : "clock_mhz");
    else if (unit[0])
        snprintf(buf, size, "%s_%s", axis->name, *unit == 'W' ? "w" : "mhz");
    for (char *p = buf; *p; p++)
        *p = *p == '-' ? '_' : *p;
}

static const char *value_of(char *buf, size_t size, const struct wt_sweep_axis *axis,
                            const struct wt_run *run)
{
    buf[0] = '\0';
    for (size_t i = 0; axis->is_param && i < run->param_count; i++)
        if (strcmp(run->params[i].name, axis->name) == 0)
            snprintf(buf, size, "%s", run->params[i].value);
    for (size_t i = run->setting_count; !axis->is_param && i-- > 0;)
        if (strcmp(wt_knob_name(run->settings[i].knob), axis->name) == 0)
            wt_knob_value_typed(buf, size, run->settings[i].knob, run->settings[i].requested);
    return buf;
}

static bool is_reference(const struct wt_sweep *sweep, const struct wt_run *run)
{
    const struct wt_sweep_row *row = &sweep->rows[sweep->reference];
    return strcmp(run->label, sweep->runs[row->first_run].label) == 0;
}

static void print_title(FILE *out, const struct wt_sweep *sweep)
{
    fprintf(out, "# wattune %s, ", wt_version());
    for (const char *p = sweep->title; *p; p++) /* a command may have several lines */
        fputc(*p == '\n' ? ' ' : *p, out);
    bool is_modeled = false;
    for (size_t i = 0; i < sweep->row_count; i++)
        is_modeled |= sweep->rows[i].provenance == WT_PROV_MODELED;
    fprintf(out, "%s%s%s\n", is_modeled ? ", modeled" : "",
            sweep->emulation[0] ? ", emulated " : "", sweep->emulation);
}

int cli_sweep_write_csv(const char *path, const struct wt_sweep *sweep)
{
    const struct wt_sweep_plan *plan = &sweep->plan;
    struct wt_error err = {0};
    char text[80], *all = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&all, &size);
    if (!out) {
        cli_note("--csv %s: no memory", path);
        return -1;
    }
    char unit[sizeof(sweep->work_unit)]; /* the program's own word, in one field */
    memcpy(unit, sweep->work_unit, sizeof(unit));
    for (char *c = unit; (c = strpbrk(c, ",\"\r\n")); c++)
        *c = ' ';
    print_title(out, sweep);
    for (size_t a = 0; a < plan->axis_count; a++) {
        column_name(text, sizeof(text), &plan->axes[a], plan->axis_count);
        fprintf(out, "%s,", text);
    }
    fprintf(out, "time_s,energy_j,energy_bound_j,sensor_offset_w,%s%sis_reference\n",
            sweep->work_unit[0] ? "work,work_unit," : "", sweep->is_to_target ? "epochs," : "");
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (run->state != WT_RUN_DONE || run->exit_code != 0 ||
            run->total.provenance == WT_PROV_UNKNOWN)
            continue;
        for (size_t a = 0; a < plan->axis_count; a++)
            fprintf(out, "%s,", value_of(text, sizeof(text), &plan->axes[a], run));
        double offset_w, bound_j = wt_sweep_run_bound_j(sweep, i, &offset_w);
        fprintf(out, "%.6f,%.6f,%.6f,%.4g,", run->wall_s, run->total.energy_j, bound_j, offset_w);
        if (sweep->work_unit[0])
            fprintf(out, "%llu,%s,", (unsigned long long)run->work.count, unit);
        if (sweep->is_to_target)
            fprintf(out, "%.10g,", wt_sweep_run_need(sweep, i));
        fprintf(out, "%d\n", is_reference(sweep, run));
    }
    bool is_written = fclose(out) == 0;
    if (!is_written)
        cli_note("--csv %s: no memory", path);
    else if (wt_file_write(path, all, &err) < 0) {
        cli_note("--csv: %s", err.text);
        is_written = false;
    }
    free(all);
    return is_written ? 0 : -1;
}
