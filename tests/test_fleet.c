/* fleet: traces of both forms, the scheduler held against one of plain loops, and what a replay
 * says held against sums by the second and against the plan of one job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan/easy.h"
#include "plan/fleet.h"
#include "plan/signal.h"

static uint64_t dice = 20270301;

static uint64_t draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (dice ^ (dice >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int32_t between(int32_t low, int32_t high)
{
    return low + (int32_t)(draw() % (uint64_t)(high - low + 1));
}

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static int parse_text(struct wt_trace *t, const char *text, struct wt_error *err)
{
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(in);
    int rc = wt_trace_parse(t, in, "text", err);
    fclose(in);
    return rc;
}

static struct wt_trace parsed(const char *text)
{
    struct wt_trace t;
    struct wt_error err = {0};
    if (parse_text(&t, text, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static int64_t at(const char *text)
{
    int64_t t_s;
    if (wt_moment_parse(text, &t_s) < 0)
        fail_msg("%s is no time", text);
    return t_s;
}

/* ---- traces ---- */

#define SWF_HEAD "; MaxNodes: 4\n; MaxProcs: 16\n; UnixStartTime: 1577836800\n; Queue: 2 long (x)\n"

static void a_workload_file_is_read(void **state)
{
    (void)state;
    struct wt_trace t = parsed(SWF_HEAD "; Partition: 1 gpu\n"
                                        "1 0 30 100 8 -1 -1 8 200 -1 1 7 1 -1 2 1 -1 -1\n"
                                        "\n"
                                        " 2\t10 -1 50.6 -1 -1 -1 3 40 -1 0 8 1 -1 3 -1 1 5\n"
                                        "3 5 0 0 1 -1 -1 1 -1 -1 1 7 1 -1 -1 1 -1 -1\n"
                                        "4 11 0 -1 1 -1 -1 1 9 -1 1 7 1 -1 2 1 -1 -1\n"
                                        "5 12 0 5 -1 -1 -1 -1 9 -1 1 7 1 -1 2 1 -1 -1\n"
                                        "6 13 0 0 1 -1 -1 1 9 -1 5 7 1 -1 2 1 -1 -1\n"
                                        "7 -1 0 5 1 -1 -1 1 9 -1 2 7 1 -1 2 1 -1 -1\n"
                                        "8 -1 0 5 1 -1 -1 1 9 -1 1 7 1 -1 2 1 -1 -1\n");
    assert_int_equal(t.form, WT_TRACE_SWF);
    assert_true(t.is_dated);
    assert_int_equal(t.nodes, 4);
    assert_int_equal(t.processors, 16);
    assert_int_equal(t.count, 3);
    const struct wt_trace_job *j = t.jobs; /* by submission: 1, 3, 2 */
    assert_int_equal(j[0].submit_s, 1577836800);
    assert_int_equal(j[0].run_s, 100);
    assert_int_equal(j[0].asked_s, 200);
    assert_int_equal(j[0].wait_s, 30);
    assert_int_equal(j[0].processors, 8);
    assert_string_equal(t.partitions.names[j[0].partition], "gpu");
    assert_string_equal(t.queues.names[j[0].queue], "long");
    assert_string_equal(t.users.names[j[0].user], "7");
    assert_int_equal(j[1].run_s, 1);
    assert_int_equal(j[1].asked_s, 1);
    assert_string_equal(t.queues.names[j[1].queue], "");
    assert_int_equal(j[2].run_s, 51);
    assert_int_equal(j[2].asked_s, 51); /* ran beyond its 40 s */
    assert_int_equal(j[2].processors, 3);
    assert_string_equal(t.queues.names[j[2].queue], "3");
    assert_int_equal(t.counts.unknown_run, 1);
    assert_int_equal(t.counts.unknown_size, 1);
    assert_int_equal(t.counts.never_ran, 1);
    assert_int_equal(t.counts.steps, 1);
    assert_int_equal(t.counts.unknown_submit, 1);
    assert_int_equal(t.counts.over_asked, 1);
    assert_int_equal(t.counts.unknown_asked, 1);
    assert_int_equal(t.counts.short_run, 1);
    assert_int_equal(t.counts.depending, 1);
    wt_trace_move(&t, 5);
    assert_int_equal(t.jobs[0].submit_s, 5);
    assert_int_equal(t.jobs[2].submit_s, 15);
    wt_trace_done(&t);
}

#define SACCT                                                                                      \
    "JobID|Submit|Eligible|Start|End|Elapsed|Timelimit|NNodes|AllocTRES|Partition|QOS|User|"       \
    "State\n"

static void what_sacct_prints_is_read(void **state)
{
    (void)state;
    struct wt_trace t = parsed(
        SACCT
        "12|2024-01-15T10:00:00|2024-01-15T10:01:00|2024-01-15T11:00:00|2024-01-16T12:00:01|"
        "1-01:00:01|2-00:00:00|2|billing=8,cpu=8,gres/gpu=6,gres/gpu:a100=6,node=2|gpu|low|ann|"
        "COMPLETED\n"
        "12.batch|2024-01-15T10:00:00|||2024-01-16T12:00:01|1-01:00:01||1|cpu=4||||COMPLETED\n"
        "13_4|2024-01-15T09:00:00|Unknown|2024-01-15T09:00:00|2024-01-15T09:00:09|00:00:09|"
        "UNLIMITED|1|cpu=4,gres/gpu:a=1,gres/gpu:b=2,node=1|gpu||bob|FAILED\n"
        "14|2024-01-15T09:30:00|2024-01-15T09:30:00|Unknown|Unknown|00:00:00|01:00:00|1||gpu|low|"
        "bob|PENDING\n"
        "15|2024-01-15T09:30:00|2024-01-15T09:30:00|None|2024-01-15T09:40:00|00:00:00|01:00:00|1|"
        "|gpu|low|bob|CANCELLED by 0\n"
        "16|2024-01-15T09:30:00|2024-01-15T09:30:00|2024-01-15T09:30:00|Unknown|00:10:00|01:00:00|"
        "1|cpu=1,node=1|gpu|low|bob|RUNNING\n"
        "17+0|2024-01-15T12:00:00|2024-01-15T12:00:00|2024-01-15T12:00:05|2024-01-15T12:10:00|"
        "00:09:55|00:05:00|3|cpu=4,node=3|cpu|low|bob|TIMEOUT\n");
    assert_int_equal(t.form, WT_TRACE_SACCT);
    assert_int_equal(t.count, 3);
    const struct wt_trace_job *j = t.jobs;
    assert_int_equal(j[0].submit_s, at("2024-01-15T09:00"));
    assert_int_equal(j[0].gpus, 3);
    assert_int_equal(j[0].asked_s, 9);
    assert_int_equal(j[1].submit_s, at("2024-01-15T10:01"));
    assert_int_equal(j[1].wait_s, 59 * 60);
    assert_int_equal(j[1].run_s, 90001);
    assert_int_equal(j[1].asked_s, 172800);
    assert_int_equal(j[1].nodes, 2);
    assert_int_equal(j[1].gpus, 6);
    assert_string_equal(t.queues.names[j[1].queue], "low");
    assert_string_equal(t.users.names[j[1].user], "ann");
    assert_int_equal(j[2].gpus, 0);
    assert_int_equal(j[2].nodes, 3);
    assert_int_equal(j[2].asked_s, 595);
    assert_int_equal(t.counts.steps, 1);
    assert_int_equal(t.counts.never_ran, 2);
    assert_int_equal(t.counts.running, 1);
    assert_int_equal(t.counts.over_asked, 1);
    wt_trace_done(&t);
    /* sacct -p: a bar at the end; seconds and minutes as numbers; no Elapsed at all. */
    t = parsed("JobIDRaw|Submit|ElapsedRaw|TimelimitRaw|AllocNodes|\n"
               "5|2024-01-15T10:00:00|61|2|3|\n");
    assert_int_equal(t.jobs[0].run_s, 61);
    assert_int_equal(t.jobs[0].asked_s, 120);
    assert_int_equal(t.jobs[0].gpus, -1);
    wt_trace_done(&t);
    t = parsed("JobID|Submit|Start|End|AllocTRES\n"
               "5|2024-01-15T10:00:00|2024-01-15T10:00:30|2024-01-15T10:01:00|node=7\n");
    assert_int_equal(t.jobs[0].run_s, 30);
    assert_int_equal(t.jobs[0].nodes, 7);
    wt_trace_done(&t);
    /* A whole number of 1024 has a unit, without --noconvert. */
    t = parsed("JobID|Submit|Elapsed|NNodes\n5|2024-01-15T10:00:00|00:01:00|2K\r\n");
    assert_int_equal(t.jobs[0].nodes, 2048);
    wt_trace_done(&t);
}

/* Of a pipe or a disk without line ends no more than a line's room is kept. */
static void a_line_without_end_is_refused(void **state)
{
    (void)state;
    struct wt_trace t;
    struct wt_error err;
    FILE *in = fopen("/dev/zero", "re");
    assert_non_null(in);
    assert_int_equal(wt_trace_parse(&t, in, "zero", &err), WT_E_FORMAT);
    assert_string_equal(err.text, "zero:1: a line of 1048576 characters or more");
    fclose(in);
}

static void a_malformed_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "it is empty"},
        {"hello\n", "text:1: is neither"},
        {"a|b\n", "text:1: fields between bars, but no column JobID"},
        {"; Version: 2\n", "no job in it"},
        {"; x\n1 2 3\n", "text:2: 3 fields, and a job has 18"},
        {"1 0 0 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "text:1: more than 18 fields"},
        {"1 0 0 ten 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "field 4 (run time) is \"ten\""},
        {"1 0 0 -2 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "field 4 (run time) is -2"},
        {"1 0 0 1 1.5 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "a whole number"},
        {"1 0 0 nan 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "field 4"},
        {"1 0 0 1e300 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "field 4"},
        {"JobID|Elapsed|NNodes\n", "text:1: no column Submit"},
        {"JobID|Submit|NNodes\n", "text:1: no column Elapsed"},
        {"JobID|Submit|Elapsed\n", "text:1: no column NNodes or AllocTRES"},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:01:00\n", "text:2: 3 fields"},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:01:00|1|2\n", "text:2: more than"},
        {"JobID|Submit|Elapsed|NNodes\n1|noon|00:01:00|1\n", "Submit is \"noon\""},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:01:00|2Q\n", "NNodes is \"2Q\""},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:01:00|2KK\n", "NNodes is \"2KK\""},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|1h|1\n", "Elapsed is \"1h\""},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:61:00|1\n", "Elapsed is"},
        {"JobID|Submit|Elapsed|NNodes\n1|2024-01-15T10:00:00|00:01:00|x\n", "NNodes is \"x\""},
        {"JobID|Submit|Elapsed|NNodes\n|2024-01-15T10:00:00|00:01:00|1\n", "JobID is \"\""},
        {"JobID|Submit|Elapsed|NNodes|Timelimit\n1|2024-01-15T10:00:00|00:01:00|1|soon\n",
         "Timelimit is \"soon\""},
        {"JobID|Submit|Elapsed|AllocTRES\n1|2024-01-15T10:00:00|00:01:00|node=x\n", "AllocTRES is"},
        {"JobID|Submit|Start|End|NNodes\n1|2024-01-15T10:00:00|2024-01-15T10:00:00|"
         "2024-01-15T09:00:00|1\n",
         "End is"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_trace t;
        struct wt_error err = {0};
        if (!*rows[i].text) {
            FILE *in = fopen("/dev/null", "r");
            assert_int_equal(wt_trace_parse(&t, in, "text", &err), WT_E_FORMAT);
            fclose(in);
        } else {
            assert_int_equal(parse_text(&t, rows[i].text, &err), WT_E_FORMAT);
        }
        if (!strstr(err.text, rows[i].says))
            fail_msg("row %zu says: %s", i, err.text);
    }
}

/* ---- the scheduler ---- */

static void check_starts(const struct wt_easy_job *jobs, size_t count, int64_t width,
                         const int64_t *want)
{
    int64_t starts[16];
    size_t queue_max;
    struct wt_error err = {0};
    if (wt_easy_run(jobs, count, width, starts, &queue_max, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < count; i++)
        if (starts[i] != want[i])
            fail_msg("job %zu starts at %lld, not at %lld", i, (long long)starts[i],
                     (long long)want[i]);
}

static void schedules_by_hand(void **state)
{
    (void)state;
    /* release, run, asked, width. On 4 units. */
    const struct wt_easy_job first_come[] = {{0, 10, 10, 3}, {1, 10, 10, 3}, {2, 10, 10, 3}};
    check_starts(first_come, 3, 4, (int64_t[]){0, 10, 20});
    /* The third ends before the second can begin, the fourth would not. */
    const struct wt_easy_job fits[] = {{0, 10, 10, 3}, {1, 10, 10, 4}, {2, 8, 8, 1}, {3, 8, 8, 1}};
    check_starts(fits, 4, 4, (int64_t[]){0, 10, 2, 20});
    /* The second leaves one unit: the third may take it, as long as it likes; the fourth not. */
    const struct wt_easy_job spare[] = {
        {0, 10, 10, 2}, {1, 10, 10, 3}, {2, 90, 90, 1}, {3, 90, 90, 1}};
    check_starts(spare, 4, 4, (int64_t[]){0, 10, 2, 20});
    /* What was asked for counts, not what it will take: the first ends early, and the second
     * starts then; the third was too long to go before it. */
    const struct wt_easy_job early[] = {
        {0, 5, 20, 4}, {1, 10, 10, 3}, {2, 4, 30, 2}, {2, 4, 10, 1}};
    check_starts(early, 4, 4, (int64_t[]){0, 5, 15, 5});
    /* A job that ends in a second frees its units for one that comes in it. */
    const struct wt_easy_job same[] = {{0, 10, 10, 4}, {10, 1, 1, 4}, {10, 1, 1, 4}};
    check_starts(same, 3, 4, (int64_t[]){0, 10, 11});
    struct wt_error err = {0};
    int64_t start;
    size_t queue_max;
    assert_int_equal(wt_easy_run(first_come, 1, 2, &start, &queue_max, &err), WT_E_RANGE);
}

/* The same by plain loops over everything. reserved_s: the first reservation of a job that stood at
 * the head of the queue without room; INT64_MAX: none. */
static void schedule_plainly(const struct wt_easy_job *jobs, size_t count, int64_t width,
                             int64_t *starts_s, int64_t *reserved_s)
{
    size_t left = count;
    for (size_t i = 0; i < count; i++)
        starts_s[i] = reserved_s[i] = INT64_MAX;
    for (int64_t now_s = jobs[0].release_s; left;) {
        int64_t free = width;
        for (size_t i = 0; i < count; i++)
            if (starts_s[i] != INT64_MAX && starts_s[i] + jobs[i].run_s > now_s)
                free -= jobs[i].width;
        int64_t reservation_s = INT64_MAX, spare = 0;
        bool has_head = false;
        for (size_t i = 0; i < count && jobs[i].release_s <= now_s; i++) {
            if (starts_s[i] != INT64_MAX)
                continue;
            if (!has_head && jobs[i].width > free) {
                has_head = true; /* the earliest end by which enough is free */
                for (size_t k = 0; k < count; k++) {
                    if (starts_s[k] == INT64_MAX || starts_s[k] + jobs[k].run_s <= now_s)
                        continue;
                    int64_t then_s = starts_s[k] + jobs[k].asked_s, sum = free;
                    for (size_t m = 0; m < count; m++)
                        if (starts_s[m] != INT64_MAX && starts_s[m] + jobs[m].run_s > now_s &&
                            starts_s[m] + jobs[m].asked_s <= then_s)
                            sum += jobs[m].width;
                    if (sum >= jobs[i].width && then_s < reservation_s) {
                        reservation_s = then_s;
                        spare = sum - jobs[i].width;
                    }
                }
                if (reserved_s[i] == INT64_MAX)
                    reserved_s[i] = reservation_s;
                continue;
            }
            bool ends = now_s + jobs[i].asked_s <= reservation_s;
            if (jobs[i].width > free || (has_head && !ends && jobs[i].width > spare))
                continue;
            starts_s[i] = now_s;
            free -= jobs[i].width;
            spare -= has_head && !ends ? jobs[i].width : 0;
            left--;
        }
        int64_t next_s = INT64_MAX;
        for (size_t i = 0; i < count; i++) {
            int64_t end_s = starts_s[i] == INT64_MAX ? INT64_MAX : starts_s[i] + jobs[i].run_s;
            if (jobs[i].release_s > now_s && jobs[i].release_s < next_s)
                next_s = jobs[i].release_s;
            if (end_s > now_s && end_s < next_s)
                next_s = end_s;
        }
        now_s = next_s;
    }
}

enum { RANDOM_MAX = 60 };

static size_t draw_jobs(struct wt_easy_job *jobs, int32_t width)
{
    size_t count = (size_t)between(1, RANDOM_MAX);
    int32_t gap = between(0, 12), longest = between(1, 60), widest = between(1, width);
    int64_t t_s = between(0, 5);
    for (size_t i = 0; i < count; i++) {
        jobs[i].release_s = t_s;
        jobs[i].run_s = between(1, longest);
        jobs[i].asked_s = draw() % 3 ? jobs[i].run_s + between(0, longest) : jobs[i].run_s;
        jobs[i].width = between(1, draw() % 4 ? (widest + 3) / 4 : widest);
        t_s += between(0, gap);
    }
    return count;
}

static void random_schedules_equal_those_of_plain_loops(void **state)
{
    (void)state;
    for (int round = 0; round < 4000; round++) {
        struct wt_easy_job jobs[RANDOM_MAX];
        int64_t starts_s[RANDOM_MAX], want_s[RANDOM_MAX], reserved_s[RANDOM_MAX];
        int32_t width = between(1, 40);
        size_t count = draw_jobs(jobs, width), queue_max;
        struct wt_error err = {0};
        if (wt_easy_run(jobs, count, width, starts_s, &queue_max, &err) < 0)
            fail_msg("%s", err.text);
        schedule_plainly(jobs, count, width, want_s, reserved_s);
        for (size_t i = 0; i < count; i++) {
            int64_t used = 0;
            if (starts_s[i] != want_s[i])
                fail_msg("round %d, job %zu: %lld, not %lld", round, i, (long long)starts_s[i],
                         (long long)want_s[i]);
            assert_true(starts_s[i] >= jobs[i].release_s);
            assert_true(starts_s[i] <= reserved_s[i]); /* nobody delayed the head */
            for (size_t k = 0; k < count; k++)
                if (starts_s[k] <= starts_s[i] && starts_s[i] < starts_s[k] + jobs[k].run_s)
                    used += jobs[k].width;
            assert_true(used <= width); /* never more than there is */
        }
    }
}

/* ---- replays ---- */

static struct wt_signal *constant(enum wt_signal_kind kind, double value)
{
    struct wt_signal *s;
    struct wt_error err = {0};
    if (wt_signal_constant(&s, kind, value, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static struct wt_signal *hourly(enum wt_signal_kind kind, int64_t from_s, size_t hours)
{
    struct wt_signal *s;
    char text[20000], when[32];
    size_t n = (size_t)snprintf(text, sizeof(text), "time,%s\n", wt_signal_kind_column(kind));
    struct wt_error err = {0};
    for (size_t i = 0; i < hours && n + 64 < sizeof(text); i++)
        n += (size_t)snprintf(
            text + n, sizeof(text) - n, "%s,%d\n",
            wt_moment_text(when, sizeof(when), from_s + (int64_t)i * 3600),
            between(kind == WT_SIGNAL_PUE ? 1 : 100, kind == WT_SIGNAL_PUE ? 3 : 500));
    FILE *in = fmemopen(text, n, "r");
    if (wt_signal_parse(&s, kind, in, "hourly", &err) < 0)
        fail_msg("%s", err.text);
    fclose(in);
    return s;
}

static void free_signals(struct wt_place *place)
{
    for (int k = 0; k < WT_SIGNAL_KINDS; k++)
        wt_signal_free(place->signals[k]);
}

static struct wt_fleet_curve *curve_of(const char *text)
{
    struct wt_fleet_curve *c;
    struct wt_error err = {0};
    char path[] = "/tmp/wt-fleet-XXXXXX";
    FILE *out = fdopen(mkstemp(path), "w");
    fputs(text, out);
    fclose(out);
    if (wt_fleet_curve_read(&c, path, &err) < 0)
        fail_msg("%s", err.text);
    unlink(path);
    return c;
}

static struct wt_fleet_curve *curve(void)
{
    /* 250 W: 200 W for 100 s; 150 W: 150 W for 120 s. */
    return curve_of("power_w,time_s,energy_j\n150,120,18000\n250,100,20000\n");
}

static const struct wt_fleet_cluster unknown_cluster = {
    .idle_w = NAN, .busy_w = NAN, .host_w = NAN};

static struct wt_fleet_result replayed(const struct wt_trace *t, const struct wt_fleet_cluster *c,
                                       const struct wt_fleet_policy *p, const struct wt_place *s)
{
    struct wt_fleet_result r;
    struct wt_error err = {0};
    if (wt_fleet_replay(&r, t, c, p, s, &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

static bool has_note(const struct wt_fleet_result *r, const char *words)
{
    bool has = false;
    for (size_t i = 0; i < r->note_count; i++)
        has |= strstr(r->notes[i].text, words) != NULL;
    return has;
}

/* Two nodes of four processors; one job of both, one of one that has to wait. */
#define TWO                                                                                        \
    "; MaxNodes: 2\n; MaxProcs: 8\n; UnixStartTime: 1577836800\n"                                  \
    "1 0 0 3600 5 -1 -1 5 3600 -1 1 7 1 -1 1 1 -1 -1\n"                                            \
    "2 0 1800 1800 4 -1 -1 4 1800 -1 1 8 1 -1 1 2 -1 -1\n"

static void energy_and_waits_by_hand(void **state)
{
    (void)state;
    struct wt_trace t = parsed(TWO);
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON};
    struct wt_place s = {.signals = {[WT_SIGNAL_CARBON] = constant(WT_SIGNAL_CARBON, 400),
                                     [WT_SIGNAL_PUE] = constant(WT_SIGNAL_PUE, 1.5)}};
    c.busy_w = 1000;
    c.idle_w = 200;
    struct wt_fleet_result r = replayed(&t, &c, &p, &s);
    const struct wt_fleet_case *b = &r.cases[0];
    assert_int_equal(r.case_count, 1);
    assert_int_equal(r.cluster.node_processors, 4);
    assert_true(is_near(b->jobs_kwh, 2.5)); /* 2 nodes an hour, 1 half an hour */
    assert_true(is_near(b->idle_kwh, 0.1)); /* 1 node half an hour */
    assert_true(is_near(b->facility_kwh, 2.6 * 1.5));
    assert_true(is_near(b->carbon_g, 2.6 * 1.5 * 400));
    assert_true(isnan(b->cost));
    assert_true(is_near(b->utilisation, 2.5 / 3));
    assert_true(is_near(b->node_hours, 2.5));
    assert_true(is_near(b->wait_s.mean, 1800) && is_near(b->wait_s.p95, 3600));
    assert_true(is_near(b->slowdown.p95, 3));
    assert_int_equal(b->end_s - b->start_s, 5400);
    assert_true(is_near(r.recorded_wait_s[1], 900));
    wt_fleet_result_done(&r);
    /* Of shared nodes five of eight processors leave no room for four. */
    c.is_shared = true;
    r = replayed(&t, &c, &p, &s);
    assert_true(is_near(r.cases[0].jobs_kwh, 1.25 + 0.5));
    assert_true(is_near(r.cases[0].idle_kwh, 0.2 * (3 - 1.75)));
    wt_fleet_result_done(&r);
    /* What is not known is not 0. */
    c.idle_w = NAN;
    r = replayed(&t, &c, &p, &s);
    assert_true(isnan(r.cases[0].idle_kwh) && isnan(r.cases[0].energy_kwh));
    assert_true(is_near(r.cases[0].carbon_g, 1.75 * 1.5 * 400));
    wt_fleet_result_done(&r);
    c.busy_w = NAN;
    r = replayed(&t, &c, &p, &s);
    assert_true(isnan(r.cases[0].jobs_kwh) && isnan(r.cases[0].carbon_g));
    wt_fleet_result_done(&r);
    free_signals(&s);
    wt_trace_done(&t);
}

static void a_cap_slows_and_saves_as_the_curve_says(void **state)
{
    (void)state;
    struct wt_trace t = parsed(TWO);
    struct wt_fleet_curve *cv = curve();
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON, .cap_count = 1};
    struct wt_place s = {.region = ""};
    c.curve = cv;
    c.node_gpus = 4;
    c.host_w = 200;
    p.caps[0] = (struct wt_fleet_rule){WT_FLEET_PARTITION, "2", 150, 0};
    struct wt_fleet_result r = replayed(&t, &c, &p, &s);
    double time = r.caps[0].time_ratio.value, energy = r.caps[0].energy_ratio.value;
    assert_true(fabs(time - 1.2) < 0.005 && fabs(energy - 0.9) < 0.005);
    assert_true(fabs(r.cluster.busy_w - 1000) < 5);
    const struct wt_fleet_case *a = &r.cases[0], *b = &r.cases[1];
    double run_s = round(1800 * time);
    assert_int_equal(b->end_s - b->start_s, 3600 + (int64_t)run_s);
    assert_int_equal(b->capped, 1);
    assert_int_equal(b->over_limit, 1);
    assert_true(is_near(a->jobs_kwh, 2.5e-3 * r.cluster.busy_w));
    assert_true(is_near(b->jobs_kwh, 2e-3 * r.cluster.busy_w + r.caps[0].node_w * run_s / 3.6e6));
    /* The interval of the capped part is the curve's. */
    double cards_w = r.cluster.busy_w - 200, part = r.caps[0].node_w * run_s / 3.6e6;
    const struct wt_estimate *rt = &r.caps[0].time_ratio, *re = &r.caps[0].energy_ratio;
    assert_true(rt->low < time && time < rt->high);
    assert_true(is_near(b->jobs_low_kwh,
                        2e-3 * r.cluster.busy_w + part * (200 * rt->low + cards_w * re->low) /
                                                      (200 * time + cards_w * energy)));
    assert_true(is_near(b->jobs_high_kwh,
                        2e-3 * r.cluster.busy_w + part * (200 * rt->high + cards_w * re->high) /
                                                      (200 * time + cards_w * energy)));
    assert_true(isnan(a->jobs_low_kwh));
    assert_true(has_note(&r, "differ by 0.2 % if measured again"));
    double spread = re->high - re->low;
    wt_fleet_result_done(&r);
    wt_fleet_curve_free(cv);
    /* Rows of one limit that differ by more tell it, and widen the interval. */
    cv = curve_of("power_w,time_s,energy_j\n150,117,17600\n150,123,18400\n150,120,18000\n"
                  "250,97,19600\n250,103,20400\n250,100,20000\n");
    c.curve = cv;
    r = replayed(&t, &c, &p, &s);
    assert_false(has_note(&r, "if measured again"));
    assert_true(r.caps[0].energy_ratio.high - r.caps[0].energy_ratio.low > 2 * spread);
    wt_fleet_result_done(&r);
    wt_fleet_curve_free(cv);
    wt_trace_done(&t);
}

static void a_job_without_a_gpu_pays_for_no_card(void **state)
{
    (void)state;
    struct wt_trace t = parsed("JobID|Submit|ElapsedRaw|NNodes|AllocTRES\n"
                               "1|2024-01-15T10:00:00|3600|1|cpu=4,gres/gpu=4,node=1\n"
                               "2|2024-01-15T10:00:00|3600|2|cpu=4,node=2\n");
    struct wt_fleet_curve *cv = curve();
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON};
    struct wt_place s = {.region = ""};
    c.nodes = 3;
    c.curve = cv;
    c.node_gpus = 4;
    c.host_w = 200;
    struct wt_fleet_result r = replayed(&t, &c, &p, &s);
    assert_true(is_near(r.cases[0].jobs_kwh, (r.cluster.busy_w + 2 * 200) / 1000));
    assert_int_equal(r.bare, 1);
    assert_true(has_note(&r, "all cards of a node with a job draw as the curve's load does"));
    wt_fleet_result_done(&r);
    c.idle_w = 260; /* idle cards draw, too */
    r = replayed(&t, &c, &p, &s);
    assert_true(is_near(r.cases[0].jobs_kwh, (r.cluster.busy_w + 2 * 260) / 1000));
    wt_fleet_result_done(&r);
    wt_fleet_curve_free(cv);
    wt_trace_done(&t);
}

static void the_size_of_a_cluster_is_told_and_not_made_up(void **state)
{
    (void)state;
    struct wt_trace sacct = parsed("JobID|Submit|ElapsedRaw|NNodes\n1|2024-01-15T10:00:00|60|1\n");
    struct wt_trace swf = parsed(TWO);
    struct wt_fleet_curve *cv = curve();
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON};
    struct wt_place s = {.region = ""};
    struct wt_fleet_result r;
    struct wt_error err = {0};
    c.node_processors = 5;
    assert_int_equal(wt_fleet_replay(&r, &sacct, &c, &p, &s, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "counts nodes and not processors"));
    /* Half of the machine has as many processors a node. */
    c.node_processors = 0;
    c.nodes = 1;
    r = replayed(&swf, &c, &p, &s);
    assert_int_equal(r.cluster.node_processors, 4);
    assert_int_equal(r.too_large, 1);
    wt_fleet_result_done(&r);
    /* Under a cap a node may draw less than what idle nodes are said to. */
    c = (struct wt_fleet_cluster){.idle_w = 900, .busy_w = 1000, .host_w = NAN};
    c.curve = cv;
    c.node_gpus = 4;
    p.cap_count = 1;
    p.caps[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .cap_w = 150};
    assert_int_equal(wt_fleet_replay(&r, &swf, &c, &p, &s, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "draws more than with one capped at 150 W"));
    wt_fleet_curve_free(cv);
    wt_trace_done(&sacct);
    wt_trace_done(&swf);
}

static void a_shifted_job_costs_what_its_plan_says(void **state)
{
    (void)state;
    int64_t from_s = at("2020-03-01");
    struct wt_place s = {.signals = {[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, from_s, 240),
                                     [WT_SIGNAL_PUE] = hourly(WT_SIGNAL_PUE, from_s, 240)}};
    static const enum wt_objective objectives[] = {WT_OBJECTIVE_CARBON, WT_OBJECTIVE_ENERGY};
    for (int round = 0; round < 300; round++) {
        struct wt_trace_job job = {.submit_s = from_s + between(0, 86400),
                                   .run_s = between(1, 200000),
                                   .nodes = 3,
                                   .gpus = -1};
        char *names[] = {(char[]){""}};
        struct wt_trace_names one = {names, 1};
        job.asked_s = job.run_s;
        struct wt_trace t = {.form = WT_TRACE_SACCT,
                             .is_dated = true,
                             .jobs = &job,
                             .count = 1,
                             .partitions = one,
                             .queues = one,
                             .users = one};
        struct wt_fleet_cluster c = unknown_cluster;
        struct wt_fleet_policy p = {.shift_count = 1, .objective = objectives[round % 2]};
        c.nodes = 5;
        c.busy_w = 700;
        p.shifts[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .span_s = between(0, 300000)};
        struct wt_fleet_result r = replayed(&t, &c, &p, &s);
        struct wt_job single = {.objective = p.objective,
                                .power_w = 3 * 700,
                                .duration_s = job.run_s,
                                .start_s = job.submit_s,
                                .deadline_s = job.submit_s + p.shifts[0].span_s + job.run_s};
        struct wt_plan plan;
        struct wt_error err = {0};
        if (wt_plan_make(&plan, &single, &s, &err) < 0)
            fail_msg("%s", err.text);
        const struct wt_fleet_case *b = &r.cases[1];
        if (!is_near(b->carbon_g, plan.sum.carbon_g) ||
            !is_near(b->facility_kwh, plan.sum.facility_kwh) ||
            !is_near(r.cases[0].carbon_g, plan.baseline.carbon_g) ||
            !is_near(b->wait_s.mean + 1, (double)(plan.sum.start_s - job.submit_s) + 1))
            fail_msg("round %d: %.12g g, and the plan says %.12g g", round, b->carbon_g,
                     plan.sum.carbon_g);
        wt_plan_done(&plan);
        wt_fleet_result_done(&r);
    }
    free_signals(&s);
}

static void a_shift_looks_as_far_as_a_job_asked(void **state)
{
    (void)state;
    /* Both jobs ask for days and run an hour. */
    struct wt_trace t = parsed("; MaxNodes: 2\n; UnixStartTime: 1577836800\n"
                               "1 0 0 3600 1 -1 -1 1 345600 -1 1 7 1 -1 1 1 -1 -1\n"
                               "2 0 0 3600 1 -1 -1 1 172800 -1 1 8 1 -1 1 2 -1 -1\n");
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON, .shift_count = 1};
    struct wt_place s = {.signals = {[WT_SIGNAL_CARBON] = constant(WT_SIGNAL_CARBON, 400)}};
    p.shifts[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .span_s = 7200};
    struct wt_fleet_result r = replayed(&t, &c, &p, &s);
    assert_int_equal(r.cases[1].unplanned, 0);
    wt_fleet_result_done(&r);
    free_signals(&s);
    /* A series of ten days that ends with the jobs' submission: five more can be forecast, which
     * is enough for what they ask; of three days one and a half are, for the end they come to. */
    s.signals[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, 1577836800 - 240 * 3600, 240);
    r = replayed(&t, &c, &p, &s);
    assert_int_equal(r.cases[1].unplanned, 0);
    wt_fleet_result_done(&r);
    free_signals(&s);
    /* Who asks for a year cannot be planned; the other can all the same. */
    s.signals[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, 1577836800 - 240 * 3600, 240);
    t.jobs[0].asked_s = 365 * 86400;
    r = replayed(&t, &c, &p, &s);
    assert_int_equal(r.cases[1].unplanned, 1);
    wt_fleet_result_done(&r);
    free_signals(&s);
    t.jobs[0].asked_s = 345600;
    s.signals[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, 1577836800 - 72 * 3600, 72);
    c.busy_w = 500;
    p.shifts[0].span_s = 0;
    t.jobs[1].asked_s = 3600;
    r = replayed(&t, &c, &p, &s);
    assert_int_equal(r.cases[1].unplanned, 1);
    assert_true(r.cases[1].carbon_g > 0);
    wt_fleet_result_done(&r);
    free_signals(&s);
    wt_trace_done(&t);
}

/* A trace of random jobs; owned by the caller but for the names. */
static struct wt_trace random_trace(size_t count, int64_t from_s, char **names)
{
    struct wt_trace_names some = {names, 3};
    struct wt_trace t = {.form = WT_TRACE_SACCT,
                         .is_dated = true,
                         .count = count,
                         .partitions = some,
                         .queues = some,
                         .users = some};
    t.jobs = calloc(count, sizeof(*t.jobs));
    for (size_t i = 0; i < count; i++) {
        struct wt_trace_job *j = &t.jobs[i];
        from_s += between(0, 900);
        *j = (struct wt_trace_job){.submit_s = from_s, .run_s = between(1, 20000), .gpus = -1};
        j->asked_s = j->run_s + between(0, 9000);
        j->nodes = between(1, 5);
        j->user = (uint32_t)between(0, 2);
        j->partition = (uint32_t)between(0, 2);
    }
    return t;
}

/* Power of a replay's cluster at every second, by an own schedule, times the signals. */
static double carbon_by_the_second(const struct wt_trace *t, const struct wt_fleet_case *b,
                                   int64_t end_s, const double run_ratio, const double power_w[3],
                                   const struct wt_place *s, int64_t nodes)
{
    struct wt_easy_job jobs[RANDOM_MAX];
    int64_t starts_s[RANDOM_MAX];
    size_t queue_max, hour_count = (size_t)(end_s - b->start_s) / 3600 + 1;
    struct wt_error err = {0};
    double sum = 0, carbon, pue;
    for (size_t i = 0; i < t->count; i++) {
        bool is_capped = t->jobs[i].partition == 1 && b->has_caps;
        double ratio = is_capped ? run_ratio : 1;
        jobs[i] =
            (struct wt_easy_job){t->jobs[i].submit_s, (int32_t)round(t->jobs[i].run_s * ratio),
                                 (int32_t)round(t->jobs[i].asked_s * ratio), t->jobs[i].nodes};
    }
    assert_int_equal(wt_easy_run(jobs, t->count, nodes, starts_s, &queue_max, &err), 0);
    assert_true(hour_count > 0);
    for (int64_t now_s = b->start_s; now_s < end_s; now_s++) {
        double w = (double)nodes * power_w[0];
        for (size_t i = 0; i < t->count; i++)
            if (starts_s[i] <= now_s && now_s < starts_s[i] + jobs[i].run_s) {
                bool is_capped = t->jobs[i].partition == 1 && b->has_caps;
                w += t->jobs[i].nodes * (power_w[is_capped ? 2 : 1] - power_w[0]);
            }
        wt_signal_at(s->signals[WT_SIGNAL_CARBON], now_s, &carbon, NULL);
        wt_signal_at(s->signals[WT_SIGNAL_PUE], now_s, &pue, NULL);
        sum += w * carbon * pue / 3.6e6;
    }
    return sum;
}

static void sums_equal_power_added_up_by_the_second(void **state)
{
    (void)state;
    char *names[] = {(char[]){"a"}, (char[]){"b"}, (char[]){"c"}};
    struct wt_fleet_curve *cv = curve();
    for (int round = 0; round < 4; round++) {
        int64_t from_s = at("2020-03-01") + between(0, 7000);
        struct wt_trace t = random_trace(RANDOM_MAX / 2, from_s, names);
        struct wt_place s = {.signals = {[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, from_s, 300),
                                         [WT_SIGNAL_PUE] = hourly(WT_SIGNAL_PUE, from_s, 300)}};
        struct wt_fleet_cluster c = unknown_cluster;
        struct wt_fleet_policy p = {.cap_count = 1, .objective = WT_OBJECTIVE_CARBON};
        c.nodes = between(5, 12);
        c.curve = cv;
        c.node_gpus = 2;
        c.host_w = 150;
        c.idle_w = 90;
        p.caps[0] = (struct wt_fleet_rule){WT_FLEET_PARTITION, "b", 150, 0};
        struct wt_fleet_result r = replayed(&t, &c, &p, &s);
        int64_t end_s = r.cases[0].end_s > r.cases[1].end_s ? r.cases[0].end_s : r.cases[1].end_s;
        double power_w[3] = {90, r.cluster.busy_w, r.caps[0].node_w};
        for (int k = 0; k < 2; k++)
            if (!is_near(r.cases[k].carbon_g,
                         carbon_by_the_second(&t, &r.cases[k], end_s, r.caps[0].time_ratio.value,
                                              power_w, &s, c.nodes)))
                fail_msg("round %d, case %d: %.12g g", round, k, r.cases[k].carbon_g);
        size_t jobs = 0, slowed = 0;
        for (size_t i = 0; i < r.user_count; i++) {
            jobs += r.users[i].jobs;
            slowed += r.users[i].slowed;
        }
        assert_int_equal(jobs, t.count);
        assert_int_equal(slowed, r.slowed);
        wt_fleet_result_done(&r);
        free_signals(&s);
        free(t.jobs);
    }
    wt_fleet_curve_free(cv);
}

static void a_rebound_takes_its_share_of_the_saving(void **state)
{
    (void)state;
    char *names[] = {(char[]){"a"}, (char[]){"b"}, (char[]){"c"}};
    struct wt_trace t = random_trace(4000, 0, names);
    struct wt_fleet_curve *cv = curve();
    struct wt_place s = {.region = ""};
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.cap_count = 1, .objective = WT_OBJECTIVE_CARBON};
    double saved[3];
    for (size_t i = 0; i < t.count; i++) /* alike, so that copies stand for all */
        t.jobs[i].run_s = t.jobs[i].asked_s = 1000 * (t.jobs[i].nodes = 5);
    c.nodes = 100;
    c.curve = cv;
    c.node_gpus = 4;
    c.host_w = 100;
    p.caps[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .cap_w = 150};
    for (int i = 0; i < 3; i++) {
        p.rebound = 0.5 * i;
        struct wt_fleet_result r = replayed(&t, &c, &p, &s);
        saved[i] = r.cases[0].jobs_kwh - r.cases[1].jobs_kwh;
        assert_true((r.cases[1].added > 0) == (i > 0));
        assert_int_equal(r.cases[1].jobs, t.count + r.cases[1].added);
        wt_fleet_result_done(&r);
    }
    assert_true(saved[0] > 0);
    assert_true(fabs(saved[1] / saved[0] - 0.5) < 0.01 && fabs(saved[2] / saved[0]) < 0.01);
    wt_fleet_curve_free(cv);
    free(t.jobs);
}

static void what_is_not_known_is_said(void **state)
{
    (void)state;
    struct wt_trace t = parsed(TWO "9 2 0 60 99 -1 -1 99 60 -1 1 8 1 -1 1 2 -1 -1\n");
    struct wt_fleet_cluster c = unknown_cluster;
    struct wt_fleet_policy p = {.objective = WT_OBJECTIVE_CARBON, .shift_count = 1};
    struct wt_place s = {.region = ""};
    struct wt_fleet_result r;
    struct wt_error err = {0};
    p.shifts[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .span_s = 86400};
    assert_int_equal(wt_fleet_replay(&r, &t, &c, &p, &s, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "no signal of carbon"));
    /* A signal that ends before the second job does, and has no history to forecast from. */
    s.signals[WT_SIGNAL_CARBON] = hourly(WT_SIGNAL_CARBON, 1577836800, 2);
    c.busy_w = 500;
    p.shift_count = 0;
    r = replayed(&t, &c, &p, &s);
    assert_true(is_near(r.cases[0].jobs_kwh, 1.25));
    assert_int_equal(r.too_large, 1);
    assert_true(r.cases[0].carbon_g > 0);
    wt_fleet_result_done(&r);
    wt_trace_move(&t, 1577836800 + 5000);
    r = replayed(&t, &c, &p, &s);
    assert_true(isnan(r.cases[0].carbon_g));
    wt_fleet_result_done(&r);
    p.shift_count = 1;
    r = replayed(&t, &c, &p, &s);
    assert_int_equal(r.cases[1].unplanned, 1); /* the other fits before the end */
    assert_int_equal(r.cases[1].shifted, 0);
    wt_fleet_result_done(&r);
    t.is_dated = false;
    assert_int_equal(wt_fleet_replay(&r, &t, &c, &p, &s, &err), WT_E_USAGE);
    assert_non_null(strstr(err.fix, "--start"));
    t.is_dated = true;
    p.shifts[0] = (struct wt_fleet_rule){.of = WT_FLEET_USER, .name = "9"};
    assert_int_equal(wt_fleet_replay(&r, &t, &c, &p, &s, &err), WT_E_RANGE);
    assert_non_null(strstr(err.fix, "it has: 7, 8"));
    p.shift_count = 0;
    p.cap_count = 1;
    p.caps[0] = (struct wt_fleet_rule){.of = WT_FLEET_ALL, .cap_w = 90};
    assert_int_equal(wt_fleet_replay(&r, &t, &c, &p, &s, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "a curve of the card"));
    struct wt_fleet_curve *cv = curve();
    c.curve = cv;
    c.node_gpus = 2;
    assert_int_equal(wt_fleet_replay(&r, &t, &c, &p, &s, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "from 150 to 250 W"));
    wt_fleet_curve_free(cv);
    free_signals(&s);
    wt_trace_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_file_is_read),
        cmocka_unit_test(what_sacct_prints_is_read),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(a_malformed_line_is_named),
        cmocka_unit_test(schedules_by_hand),
        cmocka_unit_test(random_schedules_equal_those_of_plain_loops),
        cmocka_unit_test(energy_and_waits_by_hand),
        cmocka_unit_test(a_cap_slows_and_saves_as_the_curve_says),
        cmocka_unit_test(a_job_without_a_gpu_pays_for_no_card),
        cmocka_unit_test(the_size_of_a_cluster_is_told_and_not_made_up),
        cmocka_unit_test(a_shifted_job_costs_what_its_plan_says),
        cmocka_unit_test(a_shift_looks_as_far_as_a_job_asked),
        cmocka_unit_test(sums_equal_power_added_up_by_the_second),
        cmocka_unit_test(a_rebound_takes_its_share_of_the_saving),
        cmocka_unit_test(what_is_not_known_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
