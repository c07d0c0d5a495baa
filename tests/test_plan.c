/* plan: signals from files, their forecast, and plans held against brute force and against a
 * published result on two measured years. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define STEP_S INT64_C(300)

static uint64_t dice = 20260726;

static uint64_t draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (dice ^ (dice >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int64_t draw_between(int64_t low, int64_t high)
{
    return low + (int64_t)(draw() % (uint64_t)(high - low + 1));
}

static double draw_normal(void)
{
    double u = ((double)(draw() >> 11) + 0.5) / 9007199254740992.0;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * (double)(draw() >> 11) / 9007199254740992.0);
}

static int64_t at(const char *text)
{
    int64_t t_s;
    if (wt_moment_parse(text, &t_s) < 0)
        fail_msg("%s is no time", text);
    return t_s;
}

static struct wt_signal *parse(enum wt_signal_kind kind, const char *text)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(in);
    if (wt_signal_parse(&s, kind, in, "text", &err) < 0)
        fail_msg("%s", err.text);
    fclose(in);
    return s;
}

static struct wt_signal *year(const char *name)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s-2020-hourly.csv", WT_BENCH_CARBON, name);
    if (wt_signal_read(&s, WT_SIGNAL_CARBON, path, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static double value_at(const struct wt_signal *s, const char *time)
{
    double value;
    return wt_signal_at(s, at(time), &value, NULL) == WT_SIGNAL_UNKNOWN ? NAN : value;
}

/* ---- times ---- */

static void times_are_read_in_their_zone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } rows[] = {
        {"1970-01-01", 0},
        {"2020-02-29T00:00:00Z", 1582934400},
        {"2020-07-01 06:30", 1593585000},
        {"2020-07-01T06:30:00+02:00", 1593577800},
        {"2020-07-01T06:30-0130", 1593590400},
        {"2020-07-01T06:30:15.250Z", 1593585015},
        {"2000-12-31T23:59:59Z", 978307199},
        {"2021-02-29", -1},
        {"1900-02-29", -1},
        {"2020-13-01", -1},
        {"2020-00-01", -1},
        {"2020-07-00", -1},
        {"2020-07-01T24:00", -1},
        {"2020-07-01T06:60", -1},
        {"2020-07-01T06", -1},
        {"2020-07-01T06:30Zz", -1},
        {"2020-07-01T06:30:00.", -1},
        {"2020-7-1", -1},
        {"", -1},
        {"now", -1},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        int64_t got = -1;
        int rc = wt_moment_parse(rows[i].text, &got);
        if ((rc < 0) != (rows[i].want < 0) || got != rows[i].want)
            fail_msg("%s: %lld", rows[i].text, (long long)got);
    }
}

static void every_day_is_written_as_it_is_read(void **state)
{
    (void)state;
    char text[32];
    for (int64_t day = -100000; day < 200000; day += 7) {
        int64_t t_s = day * WT_DAY_S + 3661, back;
        wt_moment_text(text, sizeof(text), t_s);
        assert_int_equal(wt_moment_parse(text, &back), 0);
        assert_int_equal(back, t_s);
    }
}

/* ---- signals ---- */

static void a_row_is_held_until_the_next_and_the_last_as_long_as_the_one_before(void **state)
{
    (void)state;
    struct wt_signal *s = parse(WT_SIGNAL_CARBON, "# grid\ntime,other,gco2_per_kwh\n"
                                                  "2020-01-01T00:00:00Z,x,100\n"
                                                  "2020-01-01T01:00:00Z,x,200\n\n"
                                                  "2020-01-01T03:00:00Z,x,\n"
                                                  "2020-01-01T05:00:00Z,x,50\n");
    static const struct {
        const char *time;
        double want;
    } rows[] = {
        {"2019-12-31T23:59:59", NAN}, {"2020-01-01T00:00", 100},   {"2020-01-01T00:59:59", 100},
        {"2020-01-01T01:00", 200},    {"2020-01-01T02:30", 200},   {"2020-01-01T03:00", NAN},
        {"2020-01-01T05:00", 50},     {"2020-01-01T06:59:59", 50}, {"2020-01-01T07:00", NAN},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        double got = value_at(s, rows[i].time);
        if (isnan(rows[i].want) ? !isnan(got) : !(fabs(got - rows[i].want) < 1e-9))
            fail_msg("%s: %g", rows[i].time, got);
    }
    wt_signal_free(s);
}

static void tables_have_every_year_by_month_and_hour(void **state)
{
    (void)state;
    struct wt_signal *months = parse(WT_SIGNAL_PUE, "month,pue\n1,1.05\n7,1.49\n");
    assert_true(value_at(months, "2020-01-31T23:59") == 1.05);
    assert_true(value_at(months, "1999-07-01") == 1.49);
    assert_true(isnan(value_at(months, "2020-02-01")));
    struct wt_signal *hours = parse(WT_SIGNAL_PUE, "hour,pue\n0,1.1\n13,1.4\n");
    assert_true(value_at(hours, "2031-03-05T13:59") == 1.4);
    assert_true(isnan(value_at(hours, "2031-03-05T14:00")));
    struct wt_signal *both = parse(WT_SIGNAL_PRICE, "month,hour,price_per_kwh\n12,23,-0.25\n");
    assert_true(value_at(both, "2020-12-05T23:30") == -0.25);
    struct wt_signal *wide = parse(
        WT_SIGNAL_CARBON, "month,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
                          "6,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n");
    assert_true(value_at(wide, "2020-06-15T17:45") == 17);
    wt_signal_free(months);
    wt_signal_free(hours);
    wt_signal_free(both);
    wt_signal_free(wide);
}

static void bad_files_are_refused_by_name_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "text: it is empty"},
        {"time,gco2_per_kwh\n", "a header and no rows"},
        {"# rows: 3\ntime,gco2_per_kwh", "holds 0 whole rows, and says that it has 3"},
        {"# rows: 2\ntime,gco2_per_kwh\n2024-01-01T00:00:00Z,1\n2024-01-01T01:00:00Z,2",
         "holds 1 whole rows, and says that it has 2"},
        {"time,gco2_per_kwh\n2020-01-01,5\n", "one row only"},
        {"time,pue\n2020-01-01,5\n", "text:1: no column gco2_per_kwh"},
        {"when,gco2_per_kwh\n1,5\n", "text:1: no column time"},
        {"time,month,gco2_per_kwh\n", "text:1: both time and month"},
        {"time,time,gco2_per_kwh\n", "text:1: the column time is there twice"},
        {"month,0,1,2\n", "text:1: columns of hours, but none of hour 3"},
        {"time,gco2_per_kwh\nyesterday,5\n", "text:2: time is \"yesterday\""},
        {"time,gco2_per_kwh\n2020-01-02,5\n2020-01-01,5\n",
         "text:3: time is 2020-01-01, not after"},
        {"time,gco2_per_kwh\n2020-01-02,5\n2020-01-02,5\n",
         "text:3: time is 2020-01-02, not after"},
        {"time,gco2_per_kwh\n2020-01-01,five\n", "text:2: gco2_per_kwh is \"five\""},
        {"time,gco2_per_kwh\n2020-01-01,-5\n", "text:2: gco2_per_kwh is -5, and must be 0"},
        {"time,gco2_per_kwh\n2020-01-01,nan\n", "text:2: gco2_per_kwh is \"nan\""},
        {"time,gco2_per_kwh\n2020-01-01\n", "text:2: 1 fields where the header has 2"},
        {"time,gco2_per_kwh\n2020-01-01,5,6\n", "text:2: more than the 2 columns"},
        {"month,gco2_per_kwh\n13,5\n", "text:2: month is \"13\""},
        {"month,gco2_per_kwh\n0,5\n", "text:2: month is \"0\""},
        {"hour,gco2_per_kwh\n24,5\n", "text:2: hour is \"24\""},
        {"hour,gco2_per_kwh\n3,5\n3,6\n",
         "text:3: the row for this month and hour is there already"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_signal *s;
        struct wt_error err = {0};
        FILE *in = fmemopen((void *)(uintptr_t)rows[i].text, strlen(rows[i].text) + 1, "r");
        assert_non_null(in);
        char line[600]; /* the NUL that an empty fmemopen needs is no text */
        FILE *clean = tmpfile();
        while (fgets(line, sizeof(line), in))
            fputs(line, clean);
        rewind(clean);
        if (wt_signal_parse(&s, WT_SIGNAL_CARBON, clean, "text", &err) == 0)
            fail_msg("row %zu was read", i);
        if (err.code != WT_E_FORMAT || !strstr(err.text, rows[i].says))
            fail_msg("row %zu says: %s", i, err.text);
        fclose(clean);
        fclose(in);
    }
}

static void numbers_out_of_range_are_no_signal(void **state)
{
    (void)state;
    struct wt_signal *s;
    struct wt_error err = {0};
    assert_int_equal(wt_signal_constant(&s, WT_SIGNAL_PUE, 0.9, &err), WT_E_RANGE);
    assert_int_equal(wt_signal_constant(&s, WT_SIGNAL_CARBON, -1, &err), WT_E_RANGE);
    assert_int_equal(wt_signal_builtin(&s, WT_SIGNAL_CARBON, "paper", &err), WT_E_NOTFOUND);
    assert_int_equal(wt_signal_constant(&s, WT_SIGNAL_PRICE, -0.1, &err), 0);
    assert_true(value_at(s, "2020-01-01") == -0.1);
    wt_signal_free(s);
}

/* ---- forecast ---- */

/* A series of `days` whose value is a function of the hour of the week. */
static struct wt_signal *weekly(int days)
{
    struct wt_signal *s =
        parse(WT_SIGNAL_CARBON, "time,gco2_per_kwh\n2020-01-01,1\n2020-01-02,1\n");
    struct wt_error err = {0};
    s->count = 0;
    for (int64_t hour = 0; hour < 24 * days; hour++)
        assert_int_equal(wt_signal_append(s, at("2020-01-01") + hour * WT_HOUR_S,
                                          100 + (double)(hour % 168), &err),
                         0);
    s->end_s = at("2020-01-01") + days * WT_DAY_S;
    return s;
}

static void a_week_that_repeats_is_forecast_without_error(void **state)
{
    (void)state;
    struct wt_signal *s = weekly(70);
    struct wt_signal_forecast f;
    struct wt_error err = {0};
    int64_t end_s = s->end_s;
    assert_int_equal(wt_signal_forecast(s, end_s + 10 * WT_DAY_S, &f, &err), 0);
    assert_int_equal(f.from_s, end_s);
    assert_int_equal(f.weeks, 4);
    assert_true(f.trials >= 4);
    assert_true(f.mean_abs < 1e-9 && f.relative < 1e-9);
    for (int64_t hour = 0; hour < 240; hour++) {
        double value;
        assert_int_equal(wt_signal_at(s, end_s + hour * WT_HOUR_S, &value, NULL),
                         WT_SIGNAL_FORECAST);
        assert_true(fabs(value - (100 + (double)((70 * 24 + hour) % 168))) < 1e-9);
    }
    double value;
    assert_int_equal(wt_signal_at(s, end_s - 1, &value, NULL), WT_SIGNAL_GIVEN);
    /* Longer: from the same history. */
    assert_int_equal(wt_signal_forecast(s, end_s + 12 * WT_DAY_S, &f, &err), 0);
    assert_int_equal(f.from_s, end_s);
    assert_true(wt_signal_info(s).end_s == end_s);
    wt_signal_free(s);
}

static void a_short_history_is_forecast_by_the_day_and_no_farther_than_half_of_it(void **state)
{
    (void)state;
    struct wt_signal *s = weekly(4);
    struct wt_signal_forecast f;
    struct wt_error err = {0};
    assert_int_equal(wt_signal_forecast(s, s->end_s + 2 * WT_DAY_S + 1, &f, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "too far"));
    assert_int_equal(wt_signal_forecast(s, s->end_s + WT_DAY_S, &f, &err), 0);
    assert_int_equal(f.weeks, 0);
    assert_true(f.trials > 0 && f.mean_abs > 20); /* each day is 24 above the one before */
    wt_signal_free(s);
}

static void the_error_of_a_forecast_is_that_of_the_past(void **state)
{
    (void)state;
    struct wt_signal *s = year("de"), *cut;
    struct wt_signal_forecast f;
    struct wt_error err = {0};
    /* Known until the end of October; the error foretold there is near the one that came. */
    int64_t end_s = at("2020-11-01");
    assert_int_equal(wt_signal_cut(&cut, s, end_s, &err), 0);
    assert_int_equal(wt_signal_forecast(cut, end_s + 3 * WT_DAY_S, &f, &err), 0);
    assert_int_equal(f.trials, 26);
    assert_true(f.relative > 0.1 && f.relative < 0.5);
    double off = 0;
    for (int64_t week = 0; week < 8; week++) {
        struct wt_signal *later;
        struct wt_signal_forecast g;
        int64_t from_s = end_s + week * WT_WEEK_S;
        assert_int_equal(wt_signal_cut(&later, s, from_s, &err), 0);
        assert_int_equal(wt_signal_forecast(later, from_s + 3 * WT_DAY_S, &g, &err), 0);
        for (int64_t t_s = from_s; t_s < from_s + 3 * WT_DAY_S; t_s += WT_HOUR_S) {
            double a, b;
            wt_signal_at(s, t_s, &a, NULL);
            wt_signal_at(later, t_s, &b, NULL);
            off += fabs(a - b) / (8 * 72);
        }
        wt_signal_free(later);
    }
    assert_true(off < 2 * f.mean_abs && off > f.mean_abs / 2);
    wt_signal_free(cut);
    wt_signal_free(s);
}

/* ---- plans against brute force ---- */

/* Everything that can be done with few steps: the least cost of pieces of `length` steps or more
 * that do `work` steps, when each but the first does `checkpoint` less. */
static double try_all(const double *cost, size_t n, int work, int checkpoint, int length)
{
    double best = INFINITY;
    for (unsigned set = 1; set < (1u << n); set++) {
        double sum = 0;
        int done = 0, pieces = 0, span = 0;
        bool is_allowed = true;
        for (size_t i = 0; i <= n; i++) {
            bool runs = i < n && ((set >> i) & 1u);
            if (runs) {
                sum += cost[i];
                span++;
                done++;
            } else if (span) {
                is_allowed &= span >= length;
                pieces++;
                span = 0;
            }
        }
        if (is_allowed && done - (pieces - 1) * checkpoint == work && sum < best)
            best = sum;
    }
    return best;
}

static void check_pieces(const struct wt_segment *s, size_t count, const double *cost, int64_t work,
                         int64_t checkpoint, int64_t length, double best)
{
    double sum = 0;
    int64_t done = 0, end = -1;
    for (size_t i = 0; i < count; i++) {
        assert_true(s[i].start_s >= end);
        end = s[i].end_s;
        assert_true(s[i].end_s - s[i].start_s >= length);
        done += s[i].end_s - s[i].start_s - (i ? checkpoint : 0);
        for (int64_t t = s[i].start_s; t < s[i].end_s; t++)
            sum += cost[t];
    }
    assert_int_equal(done, work);
    if (!(fabs(sum - best) <= 1e-9 * fabs(best) + 1e-9))
        fail_msg("the pieces cost %.12g, said is %.12g", sum, best);
}

static void pieces_are_the_best_of_all_there_are(void **state)
{
    (void)state;
    for (int i = 0; i < 6000; i++) {
        double cost[14], best = INFINITY;
        size_t n = (size_t)draw_between(1, 14), count;
        int work = (int)draw_between(1, (int64_t)n), checkpoint = (int)draw_between(0, 3);
        int segment = (int)draw_between(0, 5),
            length = segment > checkpoint ? segment : checkpoint + 1;
        bool is_coarse = draw() % 2; /* many plans cost the same */
        for (size_t t = 0; t < n; t++) {
            cost[t] = is_coarse ? (double)draw_between(0, 2) : (double)draw_between(-200, 1000);
            if (draw() % 15 == 0)
                cost[t] = INFINITY;
        }
        struct wt_segment *segments;
        struct wt_error err = {0};
        double want = try_all(cost, n, work, checkpoint, length);
        assert_int_equal(wt_segments_find(cost, n, (size_t)work, (size_t)checkpoint,
                                          (size_t)segment, &best, &segments, &count, &err),
                         0);
        if (work < length)
            want = INFINITY; /* one piece, which is not for here */
        if (isinf(want) ? count != 0 : !(fabs(best - want) < 1e-9))
            fail_msg("case %d: n %zu, work %d, checkpoint %d, length %d: %g, not %g", i, n, work,
                     checkpoint, length, count ? best : INFINITY, want);
        if (count)
            check_pieces(segments, count, cost, work, checkpoint, length, best);
        free(segments);
    }
}

/* The same by the whole table of steps and progress. */
static double try_table(const double *cost, size_t n, size_t work, size_t checkpoint, size_t length)
{
    size_t width = work + 1;
    double *off = malloc((n + 1) * width * sizeof(*off)),
           *run = malloc((n + 1) * width * sizeof(*run));
    for (size_t i = 0; i < (n + 1) * width; i++)
        off[i] = run[i] = INFINITY;
    for (size_t t = 0; t <= n; t++) {
        double piece = 0;
        for (size_t k = 0; t >= length && k < length; k++)
            piece += cost[t - length + k];
        for (size_t p = 0; p <= work; p++) {
            double *here = &run[t * width + p];
            if (t && p)
                *here = run[(t - 1) * width + p - 1] + cost[t - 1];
            if (t >= length && p == length)
                *here = fmin(*here, piece);
            if (t > length && p + checkpoint >= length && p + checkpoint - length <= work)
                *here =
                    fmin(*here, off[(t - length - 1) * width + p + checkpoint - length] + piece);
            off[t * width + p] = fmin(t ? off[(t - 1) * width + p] : INFINITY, *here);
        }
    }
    double best = off[n * width + work];
    free(off);
    free(run);
    return best;
}

/* Steps of a signal from a moment on. */
static void fill(double *cost, size_t n, const struct wt_signal *s, int64_t start_s)
{
    for (size_t i = 0; i < n; i++) {
        wt_signal_at(s, start_s + (int64_t)i * STEP_S, &cost[i], NULL);
        cost[i] *= (double)STEP_S;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double try_whole(const double *cost, size_t n, size_t work)
{
    double best = INFINITY;
    for (size_t t = 0; t + work <= n; t++) {
        double sum = 0;
        for (size_t k = 0; k < work; k++)
            sum += cost[t + k];
        best = fmin(best, sum);
    }
    return best;
}

static double try_free(double *cost, size_t n, size_t work)
{
    double sum = 0;
    qsort(cost, n, sizeof(*cost), by_size);
    for (size_t k = 0; k < work; k++)
        sum += cost[k];
    return sum;
}

/* 1,000 jobs on a year, everything at 5 minutes: whole, free to stop, and with a price for it. */
static void check_year(const char *name)
{
    struct wt_signal *s = year(name);
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
    size_t kinds[3] = {0}, interrupted = 0;
    for (int i = 0; i < 1000; i++) {
        int kind = i % 3;
        size_t work = (size_t)draw_between(1, kind == 2 ? 200 : 600);
        size_t n = work + (size_t)draw_between(0, kind == 2 ? 900 : 4000);
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON, .power_w = 1000};
        job.duration_s = (int64_t)work * STEP_S;
        job.start_s = at("2020-01-01") + draw_between(0, 366 * 288 - (int64_t)n) * STEP_S;
        job.deadline_s = job.start_s + (int64_t)n * STEP_S;
        job.is_interruptible = kind > 0;
        size_t checkpoint = 0, segment = 0;
        if (kind == 2) {
            checkpoint = (size_t)draw_between(0, 6);
            segment = (size_t)draw_between(checkpoint ? 0 : 1, 24);
            job.checkpoint_s = (int64_t)checkpoint * STEP_S;
            job.segment_min_s = (int64_t)segment * STEP_S;
        }
        double *cost = calloc(n, sizeof(*cost));
        fill(cost, n, s, job.start_s);
        double want = try_whole(cost, n, work);
        if (kind == 2)
            want = fmin(want, try_table(cost, n, work, checkpoint,
                                        segment > checkpoint ? segment : checkpoint + 1));
        if (kind == 1)
            want = try_free(cost, n, work);
        struct wt_plan plan;
        struct wt_error err = {0};
        if (wt_plan_make(&plan, &job, &place, &err) < 0)
            fail_msg("%s case %d: %s", name, i, err.text);
        double got = plan.sum.carbon_g * 3600; /* g/kWh s, at 1 kW */
        if (fabs(got - want) > 1e-9 * want)
            fail_msg("%s case %d: %.10g, not %.10g (work %zu of %zu, checkpoint %zu, segment %zu)",
                     name, i, got, want, work, n, checkpoint, segment);
        assert_int_equal(plan.sum.run_s,
                         job.duration_s + (int64_t)(plan.count - 1) * job.checkpoint_s);
        assert_true(plan.sum.start_s >= job.start_s && plan.sum.end_s <= job.deadline_s);
        for (size_t k = 0; kind == 2 && plan.count > 1 && k < plan.count; k++)
            assert_true(plan.segments[k].end_s - plan.segments[k].start_s >= job.segment_min_s);
        interrupted += kind == 2 && plan.count > 1;
        kinds[kind]++;
        wt_plan_done(&plan);
        free(cost);
    }
    assert_true(kinds[0] > 300 && kinds[1] > 300 && kinds[2] > 300);
    assert_true(interrupted > 50); /* or nothing was asked of the pieces */
    wt_signal_free(s);
}

static void plans_on_the_german_year_are_those_of_brute_force(void **state)
{
    (void)state;
    check_year("de");
}

static void plans_on_the_french_year_are_those_of_brute_force(void **state)
{
    (void)state;
    check_year("fr");
}

static void a_whole_job_is_best_to_the_second(void **state)
{
    (void)state;
    struct wt_signal *s = year("de");
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
    for (int i = 0; i < 30; i++) {
        int64_t span_s = draw_between(7200, 40000);
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON, .power_w = 1000};
        job.duration_s = draw_between(1, span_s);
        job.start_s = at("2020-03-01") + draw_between(0, 9000000);
        job.deadline_s = job.start_s + span_s;
        double *cost = calloc((size_t)span_s, sizeof(*cost)), sum = 0, best;
        for (int64_t t = 0; t < span_s; t++)
            wt_signal_at(s, job.start_s + t, &cost[t], NULL);
        for (int64_t t = 0; t < job.duration_s; t++)
            sum += cost[t];
        best = sum;
        for (int64_t t = job.duration_s; t < span_s; t++) {
            sum += cost[t] - cost[t - job.duration_s];
            best = fmin(best, sum);
        }
        struct wt_plan plan;
        struct wt_error err = {0};
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        assert_true(fabs(plan.sum.carbon_g * 3600 - best) < 1e-7 * best);
        job.is_interruptible = true;
        wt_plan_done(&plan);
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        best = try_free(cost, (size_t)span_s, (size_t)job.duration_s);
        assert_true(fabs(plan.sum.carbon_g * 3600 - best) < 1e-7 * best);
        wt_plan_done(&plan);
        free(cost);
    }
    wt_signal_free(s);
}

static void odd_durations_are_done_and_paid_to_the_second(void **state)
{
    (void)state;
    struct wt_signal *s = year("de");
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
    int exact = 0;
    for (int i = 0; i < 200; i++) {
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON, .power_w = 1000};
        job.duration_s = draw_between(3600, 90000);
        job.start_s = at("2020-02-01") + draw_between(0, 20000000);
        job.deadline_s = job.start_s + job.duration_s + draw_between(0, 200000);
        job.is_interruptible = true;
        job.checkpoint_s = draw_between(1, 900);
        job.segment_min_s = draw_between(0, 7200);
        struct wt_plan plan;
        struct wt_error err = {0};
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        /* Where each piece has its least length nothing can be cut: under a minute too much each.
         */
        int64_t over_s =
            plan.sum.run_s - job.duration_s - (int64_t)(plan.count - 1) * job.checkpoint_s;
        assert_true(over_s >= 0 && over_s < 60 * (int64_t)plan.count);
        exact += over_s == 0;
        assert_true(plan.sum.start_s >= job.start_s && plan.sum.end_s <= job.deadline_s);
        assert_true(plan.sum.carbon_g <= plan.baseline.carbon_g * (1 + 1e-9));
        wt_plan_done(&plan);
    }
    assert_true(exact > 180);
    wt_signal_free(s);
}

/* A series of hours, or of other spans, from 2020 on. */
static struct wt_signal *series(enum wt_signal_kind kind, const double *values, size_t count,
                                const int64_t *spans_s)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    int64_t t_s = at("2020-01-01");
    char text[120];
    snprintf(text, sizeof(text), "time,%s\n2020-01-01,1\n2020-01-02,1\n",
             wt_signal_kind_column(kind));
    s = parse(kind, text);
    s->count = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(wt_signal_append(s, t_s, values[i], &err), 0);
        t_s += spans_s ? spans_s[i] : WT_HOUR_S;
    }
    s->end_s = t_s;
    return s;
}

static void pieces_at_negative_prices_never_cost_more_than_one(void **state)
{
    (void)state;
    int pieces = 0, odd = 0;
    for (int i = 0; i < 3000; i++) {
        static const double prices[] = {-9, -5, -1, 1, 4};
        double values[20];
        int64_t spans_s[20];
        for (size_t k = 0; k < WT_COUNTOF(values); k++) {
            values[k] = prices[draw_between(0, 4)];
            spans_s[k] = 60 * draw_between(1, 3);
        }
        struct wt_signal *s = series(WT_SIGNAL_PRICE, values, WT_COUNTOF(values), spans_s);
        struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = s}};
        struct wt_job job = {.objective = WT_OBJECTIVE_COST, .power_w = 1000};
        job.start_s = at("2020-01-01");
        job.deadline_s = s->end_s;
        job.duration_s = i ? draw_between(30, 900) : 243;
        struct wt_plan whole, plan;
        struct wt_error err = {0};
        assert_int_equal(wt_plan_make(&whole, &job, &place, &err), 0);
        job.is_interruptible = true;
        job.checkpoint_s = i ? draw_between(1, 70) : 8;
        job.segment_min_s = draw() % 2 ? draw_between(0, 150) : 0;
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        if (plan.sum.cost > whole.sum.cost + 1e-9)
            fail_msg("case %d: %zu pieces cost %.10g, one %.10g (%lld s, checkpoint %lld s)", i,
                     plan.count, plan.sum.cost, whole.sum.cost, (long long)job.duration_s,
                     (long long)job.checkpoint_s);
        pieces += plan.count > 1;
        odd += plan.count > 1 && job.duration_s % 60;
        wt_plan_done(&whole);
        wt_plan_done(&plan);
        wt_signal_free(s);
    }
    assert_true(pieces > 300 && odd > 300); /* or nothing was asked of them */
}

/* The fewest pieces of hours that cost the least, of all choices of `work` hours. */
static int fewest_pieces(const double *rate, size_t n, int work)
{
    double best = INFINITY;
    int fewest = 0;
    for (unsigned set = 1; set < (1u << n); set++) {
        double sum = 0;
        int hours = 0, pieces = 0;
        for (size_t i = 0; i < n; i++)
            if ((set >> i) & 1u) {
                sum += rate[i];
                hours++;
                pieces += !i || !((set >> (i - 1)) & 1u);
            }
        if (hours == work && (sum < best || (!(sum > best) && pieces < fewest))) {
            best = sum;
            fewest = pieces;
        }
    }
    return fewest;
}

static void of_equal_plans_the_one_with_the_fewest_pieces_is_taken(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        double rate[10] = {100, 200, 50, 100, 300};
        size_t n = i ? (size_t)draw_between(1, 10) : 5;
        int work = i ? (int)draw_between(1, (int64_t)n) : 2;
        for (size_t k = 0; i && k < n; k++)
            rate[k] = 100 * (double)draw_between(1, 3);
        struct wt_signal *s = n > 1
                                  ? series(WT_SIGNAL_CARBON, rate, n, NULL)
                                  : series(WT_SIGNAL_CARBON, (double[]){rate[0], rate[0]}, 2, NULL);
        struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                             .power_w = 1000,
                             .duration_s = work * WT_HOUR_S,
                             .start_s = at("2020-01-01"),
                             .deadline_s = at("2020-01-01") + (int64_t)n * WT_HOUR_S,
                             .is_interruptible = true};
        struct wt_plan plan;
        struct wt_error err = {0};
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        double sorted[10];
        memcpy(sorted, rate, sizeof(sorted));
        double want = try_free(sorted, n, (size_t)work);
        if ((int)plan.count != fewest_pieces(rate, n, work) ||
            fabs(plan.sum.carbon_g - want) > 1e-9 * want)
            fail_msg("case %d: %zu pieces, not %d; %g, not %g", i, plan.count,
                     fewest_pieces(rate, n, work), plan.sum.carbon_g, want);
        assert_int_equal(plan.sum.run_s, job.duration_s);
        for (size_t k = 1; k < plan.count; k++)
            assert_true(plan.segments[k].start_s > plan.segments[k - 1].end_s);
        wt_plan_done(&plan);
        wt_signal_free(s);
    }
}

/* ---- what plans rest on ---- */

/* How many notes say it. */
static size_t noted(const struct wt_plan_result *r, const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < r->note_count; i++)
        count += strstr(r->notes[i].text, text) != NULL;
    return count;
}

static void stops_that_are_paid_for_are_said(void **state)
{
    (void)state;
    struct wt_signal *s = series(WT_SIGNAL_PRICE, (double[]){-0.1, -0.1, -0.1, -0.1}, 4, NULL);
    struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_COST,
                         .power_w = 1000,
                         .duration_s = WT_HOUR_S,
                         .start_s = at("2020-01-01"),
                         .deadline_s = at("2020-01-01T04:00"),
                         .is_interruptible = true,
                         .checkpoint_s = 300};
    struct wt_plan_result r;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_places(&r, &job, NULL, &place, 1, &err), 0);
    assert_true(r.plans[0].count > 1);
    assert_int_equal(noted(&r, "earn by drawing longer at a negative price"), 1);
    wt_plan_result_done(&r);
    for (size_t i = 0; i < s->count; i++)
        s->values[i] = i % 2 ? 0.5 : 0.1;
    assert_int_equal(wt_plan_places(&r, &job, NULL, &place, 1, &err), 0);
    assert_int_equal(noted(&r, "negative price"), 0);
    wt_plan_result_done(&r);
    job.duration_s = 90 * 60;
    assert_int_equal(wt_plan_places(&r, &job, NULL, &place, 1, &err), 0);
    assert_int_equal(r.plans[0].count, 2);
    assert_int_equal(noted(&r, "1 interruption takes "), 1);
    wt_plan_result_done(&r);
    wt_signal_free(s);
}

static void a_forecast_of_nothing_has_no_error_in_percent(void **state)
{
    (void)state;
    double zeros[24 * 35] = {0};
    struct wt_signal *s = series(WT_SIGNAL_PRICE, zeros, WT_COUNTOF(zeros), NULL);
    struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_COST,
                         .power_w = 1000,
                         .duration_s = WT_HOUR_S,
                         .start_s = s->end_s,
                         .deadline_s = s->end_s + WT_DAY_S};
    struct wt_plan_result r;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_places(&r, &job, NULL, &place, 1, &err), 0);
    assert_int_equal(noted(&r, "it was off by 0 on average"), 1);
    assert_int_equal(noted(&r, "nan"), 0);
    wt_plan_result_done(&r);
    wt_signal_free(s);
}

static void a_forecast_is_told_by_every_plan_that_meets_it_and_once(void **state)
{
    (void)state;
    struct wt_signal *shared = weekly(70), *own = weekly(69);
    struct wt_place places[] = {{.region = "DE", .signals = {shared}},
                                {.region = "FR", .signals = {shared}},
                                {.region = "IT", .signals = {own}}};
    struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                         .power_w = 1000,
                         .duration_s = WT_HOUR_S,
                         .start_s = own->end_s,
                         .deadline_s = own->end_s + 3 * WT_DAY_S};
    struct wt_plan_result r;
    struct wt_error err = {0};
    for (int i = 0; i < 2; i++) { /* the second time they reach so far already */
        assert_int_equal(wt_plan_places(&r, &job, NULL, places, 3, &err), 0);
        assert_int_equal(r.forecast_count, 3);
        assert_string_equal(r.forecasts[1].region, "FR");
        assert_true(r.forecasts[1].forecast.trials > 0);
        assert_int_equal(noted(&r, "is a forecast from"), 2);
        assert_int_equal(noted(&r, "carbon of DE and others is a forecast"), 1);
        assert_int_equal(noted(&r, "carbon of IT is a forecast"), 1);
        wt_plan_result_done(&r);
    }
    assert_int_equal(wt_plan_places(&r, &job, NULL, places, 2, &err), 0);
    assert_int_equal(noted(&r, "carbon is a forecast"), 1); /* of both: it is that of none */
    wt_plan_result_done(&r);
    /* What is over before the forecast begins does not rest on it. */
    job.start_s -= 5 * WT_DAY_S;
    job.deadline_s = own->forecast_s;
    assert_int_equal(wt_plan_places(&r, &job, NULL, places, 3, &err), 0);
    assert_int_equal(r.forecast_count, 0);
    assert_int_equal(noted(&r, "forecast"), 0);
    wt_plan_result_done(&r);
    wt_signal_free(shared);
    wt_signal_free(own);
}

static void nothing_is_planned_where_a_signal_is_not_known(void **state)
{
    (void)state;
    struct wt_signal *s = parse(WT_SIGNAL_CARBON, "time,gco2_per_kwh\n2020-01-01T00:00Z,300\n"
                                                  "2020-01-01T04:00Z,\n2020-01-01T08:00Z,200\n"
                                                  "2020-01-01T10:00Z,100\n2020-01-01T12:00Z,400\n");
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                         .power_w = 500,
                         .duration_s = 5 * WT_HOUR_S,
                         .start_s = at("2020-01-01"),
                         .deadline_s = at("2020-01-01T14:00")};
    struct wt_plan plan;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    assert_int_equal(plan.sum.start_s, at("2020-01-01T08:00"));
    assert_true(isnan(plan.baseline.carbon_g) && isnan(plan.saving)); /* not 0 */
    wt_plan_done(&plan);
    job.is_interruptible = true;
    for (int64_t checkpoint_s = 0; checkpoint_s <= 600; checkpoint_s += 600) {
        job.checkpoint_s = checkpoint_s;
        assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
        for (size_t i = 0; i < plan.count; i++)
            assert_true(plan.segments[i].end_s <= at("2020-01-01T04:00") ||
                        plan.segments[i].start_s >= at("2020-01-01T08:00"));
        assert_true(plan.sum.carbon_g > 0);
        wt_plan_done(&plan);
    }
    job.duration_s = 11 * WT_HOUR_S;
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "not known"));
    wt_signal_free(s);
}

static void a_hole_in_a_series_is_said(void **state)
{
    (void)state;
    char text[2000] = "time,gco2_per_kwh\n";
    for (int hour = 0; hour < 24; hour++)
        if (hour < 10 || hour > 17)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "2020-01-01T%02d:00Z,%d\n",
                     hour, 100 + hour);
    struct wt_signal *s = parse(WT_SIGNAL_CARBON, text);
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                         .power_w = 500,
                         .duration_s = WT_HOUR_S,
                         .start_s = at("2020-01-01"),
                         .deadline_s = at("2020-01-01T08:00")};
    struct wt_error err = {0};
    for (int i = 0; i < 2; i++) {
        struct wt_plan_result r;
        bool is_said = false;
        assert_int_equal(wt_plan_places(&r, &job, NULL, &place, 1, &err), 0);
        for (size_t k = 0; k < r.note_count; k++)
            is_said |= strstr(r.notes[k].text,
                              "between 2020-01-01T09:00:00Z and 2020-01-01T18:00:00Z") != NULL;
        assert_true(is_said == (i == 1)); /* only where the plan may meet it */
        wt_plan_result_done(&r);
        job.deadline_s = at("2020-01-01T14:00");
    }
    wt_signal_free(s);
}

static void a_deadline_in_the_far_future_is_refused_and_not_laid_out(void **state)
{
    (void)state;
    struct wt_signal *s = parse(WT_SIGNAL_PRICE, "hour,price_per_kwh\n0,0.1\n1,0.2\n");
    struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_COST,
                         .power_w = 500,
                         .duration_s = WT_HOUR_S,
                         .start_s = at("2020-01-01"),
                         .deadline_s = at("9999-12-31")};
    struct wt_plan plan;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "change more than 4000000 times"));
    assert_non_null(strstr(err.fix, "earlier --deadline"));
    job.deadline_s = at("2320-01-01"); /* of what anybody may mean there is enough */
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    wt_plan_done(&plan);
    wt_signal_free(s);
}

static void pue_price_and_power_multiply(void **state)
{
    (void)state;
    struct wt_signal *pue = parse(WT_SIGNAL_PUE, "hour,pue\n0,1.2\n1,1.1\n2,1.5\n"), *price,
                     *carbon;
    struct wt_error err = {0};
    assert_int_equal(wt_signal_constant(&price, WT_SIGNAL_PRICE, 0.3, &err), 0);
    assert_int_equal(wt_signal_constant(&carbon, WT_SIGNAL_CARBON, 400, &err), 0);
    struct wt_place place = {.signals = {carbon, pue, price}};
    struct wt_job job = {.objective = WT_OBJECTIVE_ENERGY,
                         .power_w = 2000,
                         .duration_s = WT_HOUR_S,
                         .start_s = at("2020-05-05"),
                         .deadline_s = at("2020-05-05T03:00")};
    struct wt_plan plan;
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    assert_int_equal(plan.sum.start_s, at("2020-05-05T01:00"));
    assert_true(fabs(plan.sum.energy_kwh - 2) < 1e-12);
    assert_true(fabs(plan.sum.facility_kwh - 2.2) < 1e-12);
    assert_true(fabs(plan.sum.carbon_g - 880) < 1e-9);
    assert_true(fabs(plan.sum.cost - 0.66) < 1e-12);
    assert_true(fabs(plan.baseline.facility_kwh - 2.4) < 1e-12);
    assert_true(fabs(plan.saving - (1 - 1.1 / 1.2)) < 1e-12);
    wt_plan_done(&plan);
    place.signals[WT_SIGNAL_PUE] = NULL;
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), WT_E_USAGE);
    job.objective = WT_OBJECTIVE_COST;
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    assert_true(isnan(plan.sum.facility_kwh));       /* not known, and not the job's own */
    assert_int_equal(plan.sum.start_s, job.start_s); /* of equals the earliest */
    wt_plan_done(&plan);
    wt_signal_free(pue);
    wt_signal_free(price);
    wt_signal_free(carbon);
}

static void negative_prices_are_taken(void **state)
{
    (void)state;
    struct wt_signal *s = parse(WT_SIGNAL_PRICE, "time,price_per_kwh\n2020-01-01T00:00Z,-0.01\n"
                                                 "2020-01-01T01:00Z,0.2\n2020-01-01T02:00Z,-0.05\n"
                                                 "2020-01-01T03:00Z,0.1\n");
    struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = s}};
    struct wt_job job = {.objective = WT_OBJECTIVE_COST,
                         .power_w = 1000,
                         .duration_s = WT_HOUR_S,
                         .start_s = at("2020-01-01"),
                         .deadline_s = at("2020-01-01T04:00")};
    struct wt_plan plan;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    assert_int_equal(plan.sum.start_s, at("2020-01-01T02:00"));
    assert_true(plan.saving > 0); /* -0.05 is less than -0.01 */
    wt_plan_done(&plan);
    wt_signal_free(s);
}

static void the_cleanest_place_is_best_and_each_stands_against_itself(void **state)
{
    (void)state;
    struct wt_signal *de = year("de"), *fr = year("fr");
    struct wt_place places[] = {{.region = "DE", .signals = {de}},
                                {.region = "FR", .signals = {fr}}};
    struct wt_job job = {.objective = WT_OBJECTIVE_CARBON,
                         .power_w = 1000,
                         .duration_s = 8 * WT_HOUR_S,
                         .start_s = at("2020-12-30"),
                         .deadline_s = at("2021-01-02")};
    struct wt_plan_result r;
    struct wt_error err = {0};
    assert_int_equal(wt_plan_places(&r, &job, NULL, places, 2, &err), 0);
    assert_int_equal(r.best, 1);
    assert_int_equal(r.forecast_count, 2); /* both series end on the 31st */
    assert_true(r.saving > r.plans[1].saving && r.saving > 0.5);
    char *text = wt_plan_to_json(&r);
    json_t *doc = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(doc, "region")), "FR");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(doc, "baseline"), "region")), "DE");
    assert_int_equal(json_array_size(json_object_get(doc, "regions")), 2);
    assert_int_equal(json_array_size(json_object_get(doc, "forecasts")), 2);
    json_decref(doc);
    free(text);
    wt_plan_result_done(&r);
    /* Years later there is nothing to forecast from. */
    job.start_s = at("2025-12-30");
    job.deadline_s = at("2026-01-02");
    assert_int_equal(wt_plan_places(&r, &job, NULL, places, 2, &err), WT_E_RANGE);
    wt_signal_free(de);
    wt_signal_free(fr);
}

/* ---- published results ---- */

static void january_saves_what_the_paper_says_against_july(void **state)
{
    (void)state;
    struct wt_signal *pue;
    struct wt_error err = {0};
    assert_int_equal(wt_signal_builtin(&pue, WT_SIGNAL_PUE, "paper", &err), 0);
    struct wt_place place = {.signals = {[WT_SIGNAL_PUE] = pue}};
    struct wt_job job = {.objective = WT_OBJECTIVE_ENERGY,
                         .power_w = 1000,
                         .duration_s = 14 * WT_DAY_S,
                         .start_s = at("2020-07-01"),
                         .deadline_s = at("2021-02-01")};
    struct wt_plan plan;
    assert_int_equal(wt_plan_make(&plan, &job, &place, &err), 0);
    assert_true(fabs(plan.saving - 0.295) < 0.0005);
    wt_plan_done(&plan);
    wt_signal_free(pue);
}

/* Monday or Thursday, 9:00, not before t_s. */
static int64_t semi_weekly(int64_t t_s)
{
    for (int64_t day = wt_floor_div(t_s, WT_DAY_S);; day++) {
        int64_t weekday = (day + 3) % 7; /* 1970-01-01 was a Thursday; 0: Monday */
        if ((weekday == 0 || weekday == 3) && day * WT_DAY_S + 9 * WT_HOUR_S >= t_s)
            return day * WT_DAY_S + 9 * WT_HOUR_S;
    }
}

struct outcome {
    double interrupted, whole; /* shares of carbon saved */
    size_t jobs;
};

/* The semi-weekly jobs of Wiesner et al.: 3,387 in a year, begun on a workday between 9 and 17,
 * 4 to 90 hours long, both in half hours and evenly; done by the first Monday or Thursday 9:00
 * after they would have been done anyway. Planned on `known`, paid on the year. */
static struct outcome semi_weekly_jobs(const struct wt_signal *paid, struct wt_signal *known)
{
    struct wt_place real = {.signals = {[WT_SIGNAL_CARBON] = (struct wt_signal *)(uintptr_t)paid}};
    struct wt_place seen = {.signals = {[WT_SIGNAL_CARBON] = known}};
    double now = 0, sums[2] = {0};
    struct outcome o = {0};
    dice = 3387; /* the same jobs whatever is known */
    while (o.jobs < 3387) {
        struct wt_job job = {.objective = WT_OBJECTIVE_CARBON, .power_w = 1000};
        int64_t day = at("2020-01-01") / WT_DAY_S + draw_between(0, 365);
        job.start_s = day * WT_DAY_S + 9 * WT_HOUR_S + draw_between(0, 15) * 1800;
        job.duration_s = draw_between(8, 179) * 1800;
        job.deadline_s = semi_weekly(job.start_s + job.duration_s);
        if ((day + 3) % 7 > 4 || job.deadline_s > at("2021-01-01")) /* the series ends there */
            continue;
        for (int i = 0; i < 2; i++) {
            struct wt_plan plan;
            struct wt_error err = {0};
            job.is_interruptible = i;
            if (wt_plan_make(&plan, &job, &seen, &err) < 0)
                fail_msg("%s", err.text);
            sums[i] += wt_plan_value(plan.segments, plan.count, job.power_w, &real).carbon_g;
            wt_plan_done(&plan);
        }
        struct wt_segment at_once = {job.start_s, job.start_s + job.duration_s};
        now += wt_plan_value(&at_once, 1, job.power_w, &real).carbon_g;
        o.jobs++;
    }
    o.whole = 1 - sums[0] / now;
    o.interrupted = 1 - sums[1] / now;
    return o;
}

static void semi_weekly_jobs_save_what_was_published(void **state)
{
    (void)state;
    struct wt_signal *s = year("de"), *noisy = year("de");
    double mean = 0;
    for (size_t i = 0; i < s->count; i++)
        mean += s->values[i] / (double)s->count;
    for (size_t i = 0; i < s->count; i++)
        noisy->values[i] = fmax(0, noisy->values[i] + 0.05 * mean * draw_normal());
    struct outcome known = semi_weekly_jobs(s, s), guessed = semi_weekly_jobs(s, noisy);
    print_message("3,387 semi-weekly jobs, Germany: interruptible %.1f %%, whole %.1f %% less "
                  "carbon; with 5 %% "
                  "of error in the forecast %.1f %% and %.1f %%\n",
                  100 * known.interrupted, 100 * known.whole, 100 * guessed.interrupted,
                  100 * guessed.whole);
    assert_true(known.interrupted > 0.13 && known.interrupted < 0.19);
    assert_true(guessed.interrupted > 0.13 && guessed.interrupted < 0.19);
    assert_true(known.whole < known.interrupted);
    wt_signal_free(s);
    wt_signal_free(noisy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_in_their_zone),
        cmocka_unit_test(every_day_is_written_as_it_is_read),
        cmocka_unit_test(a_row_is_held_until_the_next_and_the_last_as_long_as_the_one_before),
        cmocka_unit_test(tables_have_every_year_by_month_and_hour),
        cmocka_unit_test(bad_files_are_refused_by_name_and_line),
        cmocka_unit_test(numbers_out_of_range_are_no_signal),
        cmocka_unit_test(a_week_that_repeats_is_forecast_without_error),
        cmocka_unit_test(a_short_history_is_forecast_by_the_day_and_no_farther_than_half_of_it),
        cmocka_unit_test(the_error_of_a_forecast_is_that_of_the_past),
        cmocka_unit_test(pieces_are_the_best_of_all_there_are),
        cmocka_unit_test(plans_on_the_german_year_are_those_of_brute_force),
        cmocka_unit_test(plans_on_the_french_year_are_those_of_brute_force),
        cmocka_unit_test(a_whole_job_is_best_to_the_second),
        cmocka_unit_test(odd_durations_are_done_and_paid_to_the_second),
        cmocka_unit_test(pieces_at_negative_prices_never_cost_more_than_one),
        cmocka_unit_test(of_equal_plans_the_one_with_the_fewest_pieces_is_taken),
        cmocka_unit_test(stops_that_are_paid_for_are_said),
        cmocka_unit_test(a_forecast_of_nothing_has_no_error_in_percent),
        cmocka_unit_test(a_forecast_is_told_by_every_plan_that_meets_it_and_once),
        cmocka_unit_test(nothing_is_planned_where_a_signal_is_not_known),
        cmocka_unit_test(a_hole_in_a_series_is_said),
        cmocka_unit_test(a_deadline_in_the_far_future_is_refused_and_not_laid_out),
        cmocka_unit_test(pue_price_and_power_multiply),
        cmocka_unit_test(negative_prices_are_taken),
        cmocka_unit_test(the_cleanest_place_is_best_and_each_stands_against_itself),
        cmocka_unit_test(january_saves_what_the_paper_says_against_july),
        cmocka_unit_test(semi_weekly_jobs_save_what_was_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
