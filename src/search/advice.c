/* advice: what a sweep comes to in words, and how to do it. */
#include <math.h>
#include <string.h>

#include "search/sweep.h"

/* "150 W" as something to do. */
static void imperative(const struct wt_sweep *sweep, const struct wt_sweep_row *row, char *buf,
                       size_t size)
{
    static const struct {
        const char *knob, *words;
    } ways[] = {
        {"power", "cap at"},
        {"clock", "lock the clock at"},
        {"memclock", "lock the memory clock at"},
        {"cpu-power", "cap the processor at"},
        {"cpu-freq", "hold the processor at"},
        {"dram-power", "cap the memory at"},
        {"governor", "use the governor"},
        {"epp", "use the energy preference"},
    };
    for (size_t i = 0; i < WT_COUNTOF(ways); i++)
        if (strcmp(ways[i].knob, sweep->knob) == 0) {
            wt_text(buf, size, "%s %s", ways[i].words, row->label);
            return;
        }
    wt_text(buf, size, "use %s%s%s", sweep->knob, sweep->knob[0] ? "=" : "", row->label);
}

/* "150 W", "batch=16": a parameter by its name too. */
static const char *name_of(const struct wt_sweep *sweep, const struct wt_sweep_row *row, char *buf,
                           size_t size)
{
    bool is_param = sweep->plan.axis_count == 1 && sweep->plan.axes[0].is_param;
    return wt_text(buf, size, "%s%s%s", is_param ? sweep->knob : "", is_param ? "=" : "",
                   row->label);
}

/* Of what is modeled with its band: the value alone says too much. */
static const char *joules(const struct wt_sweep_row *row, const struct wt_estimate *e, double scale,
                          char *buf, size_t size)
{
    const struct wt_joules j = {e->value * scale, e->low * scale, e->high * scale, row->provenance};
    return row->provenance == WT_PROV_MODELED ? wt_format_interval(buf, size, &j)
                                              : wt_format_joules(buf, size, j.energy_j);
}

static void work_words(const struct wt_sweep *sweep, const struct wt_sweep_row *row, char *buf,
                       size_t size)
{
    const struct wt_sweep_row *reference = &sweep->rows[sweep->reference];
    char mine[80], theirs[80];
    if (sweep->is_to_target || isnan(row->j_per_work.value) || isnan(reference->j_per_work.value)) {
        wt_text(buf, size, " (%s: %s instead of %s)", sweep->is_to_target ? "to target" : "a run",
                joules(row, &row->energy_j, 1, mine, sizeof(mine)),
                joules(reference, &reference->energy_j, 1, theirs, sizeof(theirs)));
        return;
    }
    bool is_many = row->j_per_work.value < 1e-3;
    double scale = is_many ? 1e6 : 1e3;
    wt_text(buf, size, " (per %s %s: %s instead of %s)", is_many ? "1,000,000" : "1,000",
            sweep->work_unit, joules(row, &row->j_per_work, scale, mine, sizeof(mine)),
            joules(reference, &reference->j_per_work, scale, theirs, sizeof(theirs)));
}

/* "for 8.5 % more time [6.1, 10.9]", and when the interval holds both, that it does. */
static void time_words(const struct wt_sweep_row *row, char *buf, size_t size)
{
    const struct wt_estimate *t = &row->time_ratio;
    double more = (t->value - 1) * 100, low = (t->low - 1) * 100, high = (t->high - 1) * 100;
    bool is_same = t->low <= 1 && t->high >= 1;
    /* Without repeats there is no interval; a width of 0 would look like certainty. */
    if (t->low >= t->high) {
        wt_text(buf, size, "%s %.1f %% %s time (one run, no spread known)", more < 0 ? "in" : "for",
                fabs(more), more < 0 ? "less" : "more");
        return;
    }
    if (is_same && fabs(more) < 0.5)
        wt_text(buf, size, "at the same speed");
    else if (more > 0)
        wt_text(buf, size, "for %.1f %% more time [%.1f, %.1f]%s", more, low, high,
                is_same ? ", which may be none" : "");
    else
        wt_text(buf, size, "in %.1f %% less time [%.1f, %.1f]%s", -more, -high, -low,
                is_same ? ", which may be none" : "");
}

/* "24.1 % less energy [23.2, 25.0]". */
static void energy_words(const struct wt_sweep_row *row, char *buf, size_t size)
{
    const struct wt_estimate *e = &row->energy_ratio;
    double less = (1 - e->value) * 100, low = (1 - e->high) * 100, high = (1 - e->low) * 100;
    const char *none = e->low <= 1 && e->high >= 1 ? ", which may be none" : "";
    if (less >= 0)
        wt_text(buf, size, "%.1f %% less energy [%.1f, %.1f]%s", less, low, high, none);
    else
        wt_text(buf, size, "%.1f %% more energy [%.1f, %.1f]%s", -less, -high, -low, none);
}

/* What the choice is chosen for, where that is not the energy alone: "8.1 % lower energy-delay
 * product [7.2, 9.0], with ". */
static void goal_words(const struct wt_sweep *sweep, const struct wt_sweep_row *row, char *buf,
                       size_t size)
{
    const struct wt_goal *goal = &sweep->plan.goal;
    const struct wt_estimate *v = &row->value_ratio;
    buf[0] = '\0';
    if (!sweep->is_saving_real && row->is_admissible)
        wt_text(buf, size, "%s%s of what draws %.4g W at most, with ",
                goal->objective == WT_OBJECTIVE_TIME ? "the fastest" : "the lowest ",
                goal->objective == WT_OBJECTIVE_TIME ? "" : wt_goal_words(goal), goal->power_max_w);
    else if (!sweep->is_saving_real)
        wt_text(buf, size, "it draws least, with ");
    else if (goal->objective != WT_OBJECTIVE_ENERGY && goal->objective != WT_OBJECTIVE_TIME)
        wt_text(buf, size, "%.1f %% lower %s [%.1f, %.1f], with ", (1 - v->value) * 100,
                wt_goal_words(goal), (1 - v->high) * 100, (1 - v->low) * 100);
}

static void host_words(const struct wt_sweep *sweep, char *buf, size_t size)
{
    char counted[80] = "";
    const char *what = sweep->plan.goal.objective == WT_OBJECTIVE_ENERGY ? "saving" : "advantage";
    if (!isnan(sweep->host_w))
        wt_text(counted, sizeof(counted), " The rest of the node is counted with %.0f W.",
                sweep->host_w);
    if (!sweep->is_saving_real || sweep->plan.goal.objective == WT_OBJECTIVE_TIME)
        wt_text(buf, size, "%s", counted);
    else if (!isnan(sweep->breakeven_w))
        wt_text(buf, size, "%s The %s vanishes where the rest of the node draws %.0f W.", counted,
                what, sweep->breakeven_w);
    else if (sweep->rows[sweep->choice].time_ratio.high <= 1)
        wt_text(buf, size, "%s The %s holds whatever the rest of the node draws.", counted, what);
    else
        wt_text(buf, size,
                "%s How much of the node's rest the %s bears is not known: the time may be longer "
                "or not.",
                counted, what);
}

/* The choice as a command: what was set in its first run, each knob once. */
static void apply_words(struct wt_sweep *sweep)
{
    const struct wt_run *run = &sweep->runs[sweep->rows[sweep->choice].first_run];
    char sets[160] = "", value[48];
    sweep->apply[0] = '\0';
    if (sweep->choice == sweep->reference || !sweep->rows[sweep->choice].is_admissible)
        return;
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        bool is_first = true;
        for (size_t k = 0; k < i; k++)
            is_first &= run->settings[k].knob != s->knob;
        size_t used = strlen(sets);
        if (knob && is_first)
            wt_text(sets + used, sizeof(sets) - used, " %s=%s", knob,
                    wt_knob_value_typed(value, sizeof(value), s->knob, s->requested));
    }
    /* Where parameters were varied too, the command is part of it. */
    if (sets[0])
        wt_text(sweep->apply, sizeof(sweep->apply), "wattune set%s%s%s -- %s",
                sweep->emulation[0] ? " --emulate " : "", sweep->emulation, sets,
                run->param_count ? run->command : "CMD");
}

/* How near the best other setting came, of those that are allowed. */
static void keep_words(const struct wt_sweep *sweep, char *buf, size_t size)
{
    const struct wt_sweep_row *other = NULL;
    const struct wt_goal *goal = &sweep->plan.goal;
    bool is_energy = goal->objective == WT_OBJECTIVE_ENERGY;
    char kept[96], lowest[96], lowers[64] = "saves energy that";
    name_of(sweep, &sweep->rows[sweep->reference], kept, sizeof(kept));
    if (!is_energy)
        wt_text(lowers, sizeof(lowers), "lowers the %s by what", wt_goal_words(goal));
    for (size_t i = 0; i < sweep->row_count; i++)
        if (i != sweep->reference && sweep->rows[i].is_admissible &&
            (!other || sweep->rows[i].value_ratio.value < other->value_ratio.value))
            other = &sweep->rows[i];
    if (!other) {
        wt_text(buf, size, "keep %s: no other setting keeps within the limits asked for.", kept);
        return;
    }
    name_of(sweep, other, lowest, sizeof(lowest));
    wt_text(buf, size,
            "keep %s: no other setting %s can be told from nothing. The lowest of the others, %s, ",
            kept, lowers, lowest);
    size_t used = strlen(buf);
    if (is_energy)
        wt_text(buf + used, size - used,
                "takes %.1f %% of the energy [%.1f, %.1f] in %.1f %% of the time.",
                other->energy_ratio.value * 100, other->energy_ratio.low * 100,
                other->energy_ratio.high * 100, other->time_ratio.value * 100);
    else
        wt_text(buf + used, size - used,
                "has %.1f %% of it [%.1f, %.1f], with %.1f %% of the energy in %.1f %% of the "
                "time.",
                other->value_ratio.value * 100, other->value_ratio.low * 100,
                other->value_ratio.high * 100, other->energy_ratio.value * 100,
                other->time_ratio.value * 100);
}

void wt_sweep_advise(struct wt_sweep *sweep)
{
    const struct wt_sweep_row *row = &sweep->rows[sweep->choice];
    char where[112] = "", text[720];
    if (sweep->is_emulated)
        wt_text(where, sizeof(where),
                "On the emulated %s: ", sweep->emulation[0] ? sweep->emulation : "device");
    if (sweep->row_count == 1) {
        wt_text(text, sizeof(text), "only %s was measured, so there is nothing to compare.",
                row->label);
    } else if (sweep->choice != sweep->reference) {
        char what[120], goal[120], energy[80], work[160], time[96], host[160];
        imperative(sweep, row, what, sizeof(what));
        goal_words(sweep, row, goal, sizeof(goal));
        energy_words(row, energy, sizeof(energy));
        work_words(sweep, row, work, sizeof(work));
        time_words(row, time, sizeof(time));
        host_words(sweep, host, sizeof(host));
        wt_text(text, sizeof(text), "%s: %s%s %s%s.%s", what, goal, energy, time, work, host);
    } else {
        keep_words(sweep, text, sizeof(text));
    }
    if (!where[0] && text[0] >= 'a' && text[0] <= 'z')
        text[0] = (char)(text[0] - 'a' + 'A');
    wt_text(sweep->advice, sizeof(sweep->advice), "%s%s", where, text);
    apply_words(sweep);
}
