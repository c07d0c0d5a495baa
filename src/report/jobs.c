/* jobs: sums of Slurm's jobs on a terminal. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "record/record.h"
#include "report/table.h"
#include "wattune/jobs.h"

enum { KEY, USER, ACCOUNT, NAME, BEGUN, TIME, ENERGY, BY, STATE };

static void put_energy(struct wt_table *table, size_t row, const struct wt_job_sum *sum)
{
    const struct wt_joules *e = &sum->energy;
    char text[96];
    if (e->provenance == WT_PROV_UNKNOWN) {
        wt_table_set(table, row, ENERGY, "unknown");
    } else if (isfinite(e->high_j)) {
        wt_table_joules(table, row, ENERGY, e);
    } else {
        /* A part was not measured for a while, and nobody knows what it can draw. */
        wt_table_set(table, row, ENERGY, "%s or more",
                     wt_format_joules(text, sizeof(text), e->low_j));
    }
}

static void put_state(struct wt_table *table, size_t row, const struct wt_job_sum *sum,
                      enum wt_job_by by)
{
    char text[160] = "";
    const struct {
        bool is_so;
        const char *word;
        size_t count;
    } words[] = {
        {sum->is_emulated, "emulated", 0},
        {sum->is_replayed, "replayed", 0},
        {sum->running > 0, "running", sum->running},
        {sum->lost > 0, "lost", sum->lost},
        {sum->gap_s > 0, "gap", 0},
        {sum->unknown > 0, "a part unknown", 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(words); i++) {
        size_t used = strlen(text);
        if (!words[i].is_so)
            continue;
        if (by != WT_JOB_BY_JOB && words[i].count)
            wt_text(text + used, sizeof(text) - used, "%s%zu %s", used ? ", " : "", words[i].count,
                    words[i].word);
        else
            wt_text(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", words[i].word);
    }
    wt_table_set(table, row, STATE, "%s", text);
}

static void put_sum(struct wt_table *table, size_t i, const struct wt_job_sum *sum,
                    enum wt_job_by by)
{
    char text[96];
    struct tm tm;
    time_t t = (time_t)(sum->begin_ns / WT_NS_PER_S);
    wt_table_set(table, i, KEY, "%s%s",
                 sum->key[0]            ? sum->key
                 : by == WT_JOB_BY_NONE ? "all"
                                        : "-",
                 sum->is_idle ? " (idle)" : "");
    if (by == WT_JOB_BY_JOB) {
        wt_table_set(table, i, USER, "%s", sum->first->user);
        wt_table_set(table, i, ACCOUNT, "%s", sum->first->account);
        wt_table_set(table, i, NAME, "%.60s", sum->first->name);
    } else if (!sum->is_idle) {
        wt_table_set(table, i, USER, "%zu", sum->jobs);
    }
    if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm))
        wt_table_set(table, i, BEGUN, "%s", text);
    if (sum->nodes > 1 && by == WT_JOB_BY_JOB) {
        char span[48];
        wt_text(text, sizeof(text), "%zu x %s", sum->nodes,
                wt_format_seconds(span, sizeof(span), sum->node_s / (double)sum->nodes));
        wt_table_set(table, i, TIME, "%s", text);
    } else {
        wt_table_set(table, i, TIME, "%s", wt_format_seconds(text, sizeof(text), sum->node_s));
    }
    put_energy(table, i, sum);
    wt_table_set(table, i, BY, "%s",
                 sum->energy.provenance == WT_PROV_UNKNOWN
                     ? ""
                     : wt_provenance_name(sum->energy.provenance));
    put_state(table, i, sum, by);
    table->colours[i] = sum->lost || sum->unknown || sum->gap_s > 0 ? WT_YELLOW
                        : sum->is_idle                              ? WT_DIM
                                                                    : WT_PLAIN;
}

static void say_troubles(const struct wt_term *term, const struct wt_job_sum *sums, size_t count)
{
    size_t lost = 0, unknown = 0;
    double gap_s = 0;
    char text[320], span[48];
    for (size_t i = 0; i < count; i++) {
        lost += sums[i].lost;
        unknown += sums[i].unknown;
        gap_s = sums[i].gap_s > gap_s ? sums[i].gap_s : gap_s;
    }
    if (lost) {
        wt_text(
            text, sizeof(text),
            "%zu lost: the end was not seen (a node died, or nobody told of it). The least is what "
            "was noted last, the most adds full power until then.",
            lost);
        wt_term_wrap(term, WT_DIM, "  ", text);
    }
    if (gap_s > 0) {
        wt_text(text, sizeof(text),
                "gap: not measured for up to %s; the interval holds what may have been drawn then.",
                wt_format_seconds(span, sizeof(span), gap_s));
        wt_term_wrap(term, WT_DIM, "  ", text);
    }
    if (unknown) {
        wt_text(text, sizeof(text), "%zu device%s could not be read at all and %s in no sum.",
                unknown, unknown == 1 ? "" : "s", unknown == 1 ? "is" : "are");
        wt_term_wrap(term, WT_DIM, "  ", text);
    }
}

void wt_report_jobs(const struct wt_term *term, const struct wt_job_sum *sums, size_t count,
                    enum wt_job_by by)
{
    bool is_jobs = by == WT_JOB_BY_JOB;
    const struct wt_column columns[] = {
        [KEY] = {wt_job_by_name(by), false, NULL},
        [USER] = {is_jobs ? "user" : "jobs", !is_jobs, NULL},
        [ACCOUNT] = {is_jobs ? "account" : "", false, NULL},
        [NAME] = {is_jobs ? "name" : "", false, NULL},
        [BEGUN] = {is_jobs ? "begun" : "since", false, NULL},
        [TIME] = {is_jobs ? "time" : "node time", true, NULL},
        [ENERGY] = {"energy", true, NULL},
        [BY] = {"measured by", false, "by"},
        [STATE] = {"", false, NULL},
    };
    static const struct wt_table_step steps[] = {
        {NAME, WT_HIDDEN}, {BEGUN, WT_HIDDEN}, {ACCOUNT, WT_HIDDEN}, {BY, WT_BRIEF},
        {TIME, WT_HIDDEN}, {USER, WT_HIDDEN},  {ENERGY, WT_BRIEF}};
    struct wt_plain plain;
    struct wt_table table;
    if (!count) {
        fputs("no jobs\n", term->out);
        return;
    }
    wt_plain_enter(&plain);
    if (wt_table_init(&table, term, columns, WT_COUNTOF(columns), count)) {
        table.last_min = 8;
        table.steps = steps;
        table.step_count = WT_COUNTOF(steps);
        for (size_t i = 0; i < count; i++)
            put_sum(&table, i, &sums[i], by);
        wt_table_print(&table);
        say_troubles(term, sums, count);
    }
    wt_table_done(&table);
    wt_plain_leave(&plain);
}
