/* plan: how long a plan over a year at 5-minute steps takes, and what forecasts cost.
 *
 *     build/bench/plan [REPEATS]
 *
 * The German year of bench/carbon as 105,408 rows of 5 minutes: each hour's value with 2 % of noise
 * from step to step (no two alike), and as it is (twelve alike, and ties); and a table by month and
 * hour, the hardest for a search, as every day of a month is the same. Prints the median time of
 * one plan over the whole year by duration and by what an interruption costs. Exit code 1 when one
 * takes over 50 ms on the rows that differ.
 *
 * Then 400 jobs planned on a forecast (`wt_signal_forecast`) from what was known when they came,
 * paid on what happened: how much of the saving that perfect foresight has is left. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define BAR_MS 50.0

static uint64_t dice = 5;

static double draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (dice ^ (dice >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static void die(const struct wt_error *err)
{
    fprintf(stderr, "plan: %s\n", err->text);
    exit(EXIT_FAILURE);
}

static struct wt_signal *read_year(void)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    if (wt_signal_read(&s, WT_SIGNAL_CARBON, WT_BENCH_CARBON "/de-2020-hourly.csv", &err) < 0)
        die(&err);
    return s;
}

/* Twelve rows an hour. */
static struct wt_signal *finer(const struct wt_signal *hourly, double noise)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    if (wt_signal_cut(&s, hourly, hourly->end_s, &err) < 0)
        die(&err);
    s->count = 0;
    for (size_t i = 0; i < hourly->count * 12; i++)
        if (wt_signal_append(s, hourly->at_s[i / 12] + (int64_t)(i % 12) * 300,
                             hourly->values[i / 12] * (1 + noise * (2 * draw() - 1)), &err) < 0)
            die(&err);
    return s;
}

/* Mean of each month and hour. */
static struct wt_signal *table_of(const struct wt_signal *hourly)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    double counts[12][24] = {{0}};
    if (wt_signal_constant(&s, WT_SIGNAL_CARBON, 1, &err) < 0)
        die(&err);
    s->form = WT_SIGNAL_TABLE;
    memset(s->table, 0, sizeof(s->table));
    for (size_t i = 0; i < hourly->count; i++) {
        int64_t year, day = wt_floor_div(hourly->at_s[i], WT_DAY_S);
        unsigned month, of_month;
        wt_date_of(day, &year, &month, &of_month);
        size_t hour = (size_t)((hourly->at_s[i] - day * WT_DAY_S) / WT_HOUR_S);
        s->table[month - 1][hour] += hourly->values[i];
        counts[month - 1][hour]++;
    }
    for (size_t i = 0; i < 12 * 24; i++)
        s->table[i / 24][i % 24] /= counts[i / 24][i % 24];
    return s;
}

/* Of this thread's own: what others do on the machine does not count. */
static double now_ms(void)
{
    return (double)wt_clock_thread_cpu_ns() * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const struct {
    const char *name;
    bool is_interruptible;
    int64_t checkpoint_s, segment_min_s;
} ways[] = {
    {"one piece", false, 0, 0},
    {"free to stop", true, 0, 0},
    {"5 min a stop", true, 300, 0},
    {"30 min a stop", true, 1800, 0},
    {"15 min, 2 h a piece", true, 900, 7200},
};

static double time_plans(struct wt_signal *signal, const char *name, int64_t start_s, int64_t end_s,
                         int repeats)
{
    static const int64_t hours[] = {1, 8, 48, 336, 1440, 4392};
    double worst = 0, *times = calloc((size_t)repeats, sizeof(*times));
    printf("\n%s\n%-20s", name, "CPU ms a plan");
    for (size_t d = 0; d < WT_COUNTOF(hours); d++)
        printf(" %7lld h", (long long)hours[d]);
    printf("   pieces\n");
    for (size_t w = 0; times && w < WT_COUNTOF(ways); w++) {
        size_t pieces[WT_COUNTOF(hours)] = {0};
        printf("%-20s", ways[w].name);
        for (size_t d = 0; d < WT_COUNTOF(hours); d++) {
            struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                                 .power_w = 1000,
                                 .duration_s = hours[d] * WT_HOUR_S,
                                 .start_s = start_s,
                                 .deadline_s = end_s,
                                 .is_interruptible = ways[w].is_interruptible,
                                 .checkpoint_s = ways[w].checkpoint_s,
                                 .segment_min_s = ways[w].segment_min_s};
            struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = signal}};
            struct wt_error err = {0};
            int rc = 0;
            for (int i = 0; rc == 0 && i < repeats; i++) {
                struct wt_plan plan;
                double from_ms = now_ms();
                rc = wt_plan_make(&plan, &job, &place, &err);
                times[i] = now_ms() - from_ms;
                if (rc == 0) {
                    pieces[d] = plan.count;
                    wt_plan_done(&plan);
                }
            }
            if (rc < 0) {
                printf(" %9s", "refused");
                continue;
            }
            qsort(times, (size_t)repeats, sizeof(*times), by_size);
            printf(" %9.1f", times[repeats / 2]);
            worst = fmax(worst, times[repeats / 2]);
            fflush(stdout);
        }
        printf("  ");
        for (size_t d = 0; d < WT_COUNTOF(hours); d++)
            printf(" %zu", pieces[d]);
        printf("\n");
    }
    free(times);
    return worst;
}

/* Jobs of 4 to 48 h with one to five days of room, known is what came before. */
static void judge_forecasts(struct wt_signal *year)
{
    struct wt_place real = {.signals = {[WT_SIGNAL_CARBON] = year}};
    double now = 0, foreseen[2] = {0}, forecast[2] = {0};
    size_t worse = 0, jobs = 0;
    while (jobs < 400) {
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON, .power_w = 1000};
        struct wt_signal *cut;
        struct wt_signal_forecast f;
        struct wt_error err = {0};
        job.start_s = year->at_s[0] + (int64_t)(draw() * 300 + 60) * WT_DAY_S +
                      (int64_t)(draw() * 24) * WT_HOUR_S;
        job.duration_s = (int64_t)(4 + draw() * 45) * WT_HOUR_S;
        job.deadline_s = job.start_s + job.duration_s + (int64_t)(24 + draw() * 97) * WT_HOUR_S;
        if (job.deadline_s > year->end_s)
            continue;
        if (wt_signal_cut(&cut, year, job.start_s, &err) < 0 ||
            wt_signal_forecast(cut, job.deadline_s, &f, &err) < 0)
            die(&err);
        struct wt_place seen = {.signals = {[WT_SIGNAL_CARBON] = cut}};
        for (int i = 0; i < 2; i++) {
            struct wt_plan best, plan;
            job.is_interruptible = i;
            if (wt_plan_make(&best, &job, &real, &err) < 0 ||
                wt_plan_make(&plan, &job, &seen, &err) < 0)
                die(&err);
            double paid = wt_plan_value(plan.segments, plan.count, job.power_w, &real).carbon_g;
            foreseen[i] += best.sum.carbon_g;
            forecast[i] += paid;
            now += i ? 0 : best.baseline.carbon_g;
            worse += !i && paid > best.baseline.carbon_g * (1 + 1e-9);
            wt_plan_done(&best);
            wt_plan_done(&plan);
        }
        wt_signal_free(cut);
        jobs++;
    }
    printf(
        "\n400 jobs of 4 to 48 h with 1 to 5 days of room, less carbon than at once:\n"
        "  one piece     %5.1f %% on the forecast, %5.1f %% with perfect foresight; more than at "
        "once in %.0f %% of jobs\n"
        "  free to stop  %5.1f %% on the forecast, %5.1f %% with perfect foresight\n",
        100 * (1 - forecast[0] / now), 100 * (1 - foreseen[0] / now),
        100 * (double)worse / (double)jobs, 100 * (1 - forecast[1] / now),
        100 * (1 - foreseen[1] / now));
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? atoi(argv[1]) : 5;
    if (repeats < 1)
        repeats = 1;
    struct wt_signal *hourly = read_year(), *noisy = finer(hourly, 0.02), *flat = finer(hourly, 0),
                     *table = table_of(hourly);
    int64_t from_s = hourly->at_s[0], to_s = hourly->end_s;
    double worst = time_plans(noisy, "rows of 5 minutes that differ", from_s, to_s, repeats);
    time_plans(flat, "rows of 5 minutes, twelve alike", from_s, to_s, repeats);
    time_plans(table, "a table by month and hour", from_s, to_s, repeats);
    judge_forecasts(hourly);
    wt_signal_free(hourly);
    wt_signal_free(noisy);
    wt_signal_free(flat);
    wt_signal_free(table);
    printf("\nworst of rows that differ: %.1f ms (bar: %.0f)\n", worst, BAR_MS);
    return worst < BAR_MS ? EXIT_SUCCESS : EXIT_FAILURE;
}
