/* sampler: when devices are read; a read that hangs, fails, or clears. The pacer on a hand-turned
 * clock, the threads over a double that hangs when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sampler/pacer.h"
#include "sampler/sampler.h"

#define MS WT_NS_PER_MS
#define S  WT_NS_PER_S

/* ---- the pacer ---- */

/* Polls from now on as the pacer says and every 100 ms, of a counter that ticks at phase_ns and
 * every 100 ms; returns how many polls that took. */
static unsigned polls_until(struct wt_pacer *p, int64_t now_ns, int64_t end_ns, int64_t phase_ns)
{
    unsigned polls = 0;
    int64_t grid_ns = now_ns;
    while (now_ns < end_ns) {
        wt_pacer_saw(p, now_ns, now_ns + MS / 50, true,
                     (uint64_t)((now_ns - phase_ns) / (100 * MS)));
        polls++;
        if (now_ns >= grid_ns)
            grid_ns += 100 * MS;
        int64_t next_ns = wt_pacer_next_ns(p, now_ns);
        now_ns = next_ns < grid_ns ? next_ns : grid_ns;
    }
    return polls;
}

static void an_edge_finds_the_phase_once_and_then_it_is_known(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    assert_true(wt_pacer_next_ns(&p, 0) == INT64_MAX);
    wt_pacer_edge(&p, 10 * S);
    unsigned first = polls_until(&p, 10 * S, 10 * S + 300 * MS, 37 * MS);
    assert_true(first > 10 && first < 60);
    assert_true(p.ref_ns > 10 * S && (p.ref_ns - 37 * MS) % (100 * MS) <= p.step_ns + MS / 50);
    /* A thousand more edges soon after cost nothing. */
    for (int64_t t_ns = 10 * S + 300 * MS; t_ns < 11 * S; t_ns += MS)
        wt_pacer_edge(&p, t_ns);
    assert_int_equal(polls_until(&p, 10 * S + 300 * MS, 11 * S + 300 * MS, 37 * MS), 10);
}

static void an_end_is_covered_by_a_poll_right_after_its_tick(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    wt_pacer_edge(&p, 10 * S);
    polls_until(&p, 10 * S, 10 * S + 300 * MS, 37 * MS);
    int64_t now_ns = 10 * S + 345 * MS;
    wt_pacer_cover(&p, now_ns, now_ns);
    int64_t next_ns = wt_pacer_next_ns(&p, now_ns);
    assert_true(next_ns > 10 * S + 425 * MS && next_ns < 10 * S + 437 * MS);
    assert_true(polls_until(&p, next_ns, 10 * S + 480 * MS, 37 * MS) < 10);
    assert_false(p.is_seeking);
}

static void a_frozen_counter_is_not_chased_for_ever(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    wt_pacer_edge(&p, 10 * S);
    unsigned polls = polls_until(&p, 10 * S, 20 * S, 100 * S);
    assert_true(polls < 130 + 100);
    assert_true(wt_pacer_next_ns(&p, 20 * S) == INT64_MAX);
}

static void following_catches_every_move_and_not_each_from_the_same_place(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    wt_pacer_follow(&p, 10 * S);
    polls_until(&p, 10 * S, 10 * S + 500 * MS, 37 * MS);
    int64_t earliest_ns = INT64_MAX, latest_ns = 0;
    for (int64_t t_ns = 10 * S + 500 * MS; t_ns < 15 * S; t_ns += 100 * MS) {
        assert_true(polls_until(&p, t_ns, t_ns + 100 * MS, 37 * MS) <= 8);
        int64_t after_ns = (p.ref_ns - 37 * MS) % (100 * MS); /* the poll that saw the move */
        assert_true(p.ref_ns > t_ns && after_ns <= p.step_ns + MS / 10);
        earliest_ns = after_ns < earliest_ns ? after_ns : earliest_ns;
        latest_ns = after_ns > latest_ns ? after_ns : latest_ns;
    }
    assert_true(latest_ns - earliest_ns > p.step_ns / 2);
    /* Nor is a counter that stands still chased without end. */
    assert_true(polls_until(&p, 15 * S, 25 * S, 100 * S) < 100 + 130 * 10);
}

static void a_slow_vendor_call_makes_a_burst_coarser(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    assert_int_equal(p.step_ns, 2 * MS);
    wt_pacer_saw(&p, 0, 4 * MS, true, 1);
    assert_int_equal(p.step_ns, 6 * MS);
    /* One that took long by chance does not make all bursts coarse for ever. */
    wt_pacer_saw(&p, 100 * MS, 120 * MS, true, 2);
    for (int i = 2; i < 40; i++)
        wt_pacer_saw(&p, i * 100 * MS, i * 100 * MS + 4 * MS, true, 2);
    assert_in_range(p.step_ns, 6 * MS, 7 * MS);
    /* Nor coarser than that a move is caught. */
    for (int i = 40; i < 80; i++)
        wt_pacer_saw(&p, i * 100 * MS, i * 100 * MS + 90 * MS, true, 2);
    assert_int_equal(p.step_ns, 10 * MS);
}

/* An H100's counter: 3 ms a call, the value somewhere within, and one in twenty takes 16 ms. */
static void a_counter_that_takes_milliseconds_is_followed_all_the_same(void **state)
{
    (void)state;
    struct wt_pacer p;
    wt_pacer_init(&p, 100 * MS, true);
    wt_pacer_follow(&p, 10 * S);
    int64_t now_ns = 10 * S, grid_ns = now_ns, caught_ns = 0;
    unsigned polls = 0, caught = 0;
    while (now_ns < 30 * S) {
        int64_t cost_ns = polls++ % 20 == 19 ? 16 * MS : 3 * MS;
        wt_pacer_saw(&p, now_ns, now_ns + cost_ns, true,
                     (uint64_t)((now_ns + cost_ns / 2 - 37 * MS) / (100 * MS)));
        now_ns += cost_ns;
        if (p.ref_ns != caught_ns) {
            caught_ns = p.ref_ns;
            caught++;
        }
        while (grid_ns <= now_ns)
            grid_ns += 100 * MS;
        int64_t next_ns = wt_pacer_next_ns(&p, now_ns);
        next_ns = next_ns < grid_ns ? next_ns : grid_ns;
        now_ns = next_ns > now_ns ? next_ns : now_ns;
    }
    assert_in_range(caught, 150, 200); /* of 200 moves */
    assert_true(polls < 200 * 8);
}

/* As the sampler's thread, of a counter whose reads take cost_ns, ticking at 37 ms: until end_ns,
 * with an edge at edge_ns. Returns how often it was read. */
static unsigned reads_until(struct wt_pacer *p, int64_t *now_ns, int64_t end_ns, int64_t cost_ns,
                            int64_t edge_ns, int64_t *ret_first_ns, int64_t *ret_last_ns)
{
    unsigned reads = 0;
    int64_t grid_ns = *now_ns;
    bool is_told = false;
    while (*now_ns < end_ns) {
        if (!is_told && *now_ns >= edge_ns) {
            wt_pacer_edge(p, *now_ns);
            is_told = true;
        }
        wt_pacer_keep_apart(p, *now_ns);
        bool is_grid = *now_ns >= grid_ns;
        bool is_wanted = is_grid && wt_pacer_grid(p, *now_ns, true);
        if (is_wanted || wt_pacer_is_due(p, *now_ns)) {
            if (*now_ns >= edge_ns && *ret_first_ns < edge_ns)
                *ret_first_ns = *now_ns;
            *ret_last_ns = *now_ns;
            wt_pacer_saw(p, *now_ns, *now_ns + cost_ns, true,
                         (uint64_t)((*now_ns + cost_ns / 2 - 37 * MS) / (100 * MS)));
            *now_ns += cost_ns;
            reads++;
        }
        while (grid_ns <= *now_ns)
            grid_ns += 100 * MS;
        int64_t next_ns = wt_pacer_next_ns(p, *now_ns);
        next_ns = next_ns < grid_ns ? next_ns : grid_ns;
        next_ns = !is_told && edge_ns > *now_ns && edge_ns < next_ns ? edge_ns : next_ns;
        *now_ns = next_ns > *now_ns ? next_ns : *now_ns + MS / 10;
    }
    return reads;
}

/* The first four seconds, from 10 s on, of one that may be read rarely. Returns the time. */
static int64_t until_14_s(struct wt_pacer *p, int64_t cost_ns)
{
    int64_t now_ns = 10 * S, first_ns = INT64_MAX, last_ns;
    wt_pacer_init(p, 100 * MS, true);
    wt_pacer_allow_rare(p);
    wt_pacer_edge(p, now_ns);
    reads_until(p, &now_ns, 14 * S, cost_ns, INT64_MAX, &first_ns, &last_ns);
    return now_ns;
}

static void a_slow_counter_is_read_rarely_and_its_phase_stays_known(void **state)
{
    (void)state;
    struct wt_pacer p;
    int64_t now_ns = until_14_s(&p, 3 * MS), first_ns = INT64_MAX, last_ns;
    assert_true(wt_pacer_is_rare(&p, now_ns));
    unsigned reads = reads_until(&p, &now_ns, 114 * S, 3 * MS, INT64_MAX, &first_ns, &last_ns);
    /* At 3 ms: no more than 0.2 % of the time, and never out of sight for longer than 17 s. */
    assert_in_range(reads, 100 / 17 * 2, 66);
    int64_t off_ns = (p.ref_ns - 37 * MS) % (100 * MS);
    assert_true(114 * S - p.ref_ns < 17 * S && off_ns < 12 * MS);
    assert_true((p.ref_lo_ns - 37 * MS) % (100 * MS) >= 88 * MS);
}

static void a_cheap_counter_is_read_with_every_poll(void **state)
{
    (void)state;
    struct wt_pacer p;
    int64_t now_ns = until_14_s(&p, MS / 50), first_ns = INT64_MAX, last_ns;
    /* Nor do a few reads that took long by chance make it a slow one. */
    reads_until(&p, &now_ns, 14 * S + 500 * MS, 16 * MS, INT64_MAX, &first_ns, &last_ns);
    assert_in_range(
        reads_until(&p, &now_ns, 24 * S + 500 * MS, MS / 50, INT64_MAX, &first_ns, &last_ns), 99,
        101);
    /* And one that was not allowed to is never rare. */
    struct wt_pacer q;
    now_ns = 10 * S;
    wt_pacer_init(&q, 100 * MS, true);
    reads_until(&q, &now_ns, 14 * S, 3 * MS, INT64_MAX, &first_ns, &last_ns);
    assert_in_range(reads_until(&q, &now_ns, 24 * S, 3 * MS, INT64_MAX, &first_ns, &last_ns), 99,
                    101);
}

static void an_edge_has_a_slow_counter_read_at_once_and_after_its_next_move(void **state)
{
    (void)state;
    struct wt_pacer p;
    int64_t now_ns = until_14_s(&p, 3 * MS), first_ns = INT64_MAX, last_ns;
    for (int i = 0; i < 20; i++) {
        /* Anywhere in the counter's period, four seconds apart. */
        int64_t edge_ns = 15 * S + i * (4 * S + 5 * MS);
        first_ns = 0;
        unsigned reads =
            reads_until(&p, &now_ns, edge_ns + 300 * MS, 3 * MS, edge_ns, &first_ns, &last_ns);
        int64_t move_ns = (edge_ns - 37 * MS) / (100 * MS) * (100 * MS) + 137 * MS;
        assert_true(reads < 12);
        assert_true(first_ns - edge_ns < 25 * MS); /* put off while it would meet a move */
        assert_true(last_ns >= move_ns && last_ns < move_ns + 125 * MS);
        assert_true(wt_pacer_is_rare(&p, now_ns));
    }
    /* Due it stays, though it be looked at a moment later. */
    int64_t quiet_ns = 15 * S + 20 * (4 * S + 5 * MS) + 337 * MS + 50 * MS;
    quiet_ns = quiet_ns / (100 * MS) * (100 * MS) + 87 * MS; /* half way between two moves */
    wt_pacer_edge(&p, quiet_ns);
    wt_pacer_keep_apart(&p, quiet_ns + MS / 10);
    assert_true(wt_pacer_is_due(&p, quiet_ns));
    /* A window each 100 ms, and every move is wanted: it is read as a cheap one is. */
    for (int64_t t_ns = now_ns; t_ns < now_ns + S; t_ns += 100 * MS)
        wt_pacer_edge(&p, t_ns);
    assert_false(wt_pacer_is_rare(&p, now_ns + S));
    /* Told of phases it is followed, as ever. */
    now_ns += 10 * S;
    wt_pacer_follow(&p, now_ns);
    assert_false(wt_pacer_is_rare(&p, now_ns));
    assert_true(reads_until(&p, &now_ns, now_ns + 5 * S, 3 * MS, INT64_MAX, &first_ns, &last_ns) >
                100);
}

/* Slow reads of its neighbours delay it each time until it would meet a move again. */
static void a_single_read_is_not_put_off_for_ever(void **state)
{
    (void)state;
    struct wt_pacer p;
    int64_t now_ns = until_14_s(&p, 3 * MS);
    assert_true(wt_pacer_is_rare(&p, now_ns));
    int64_t edge_ns = now_ns / (100 * MS) * (100 * MS) + 137 * MS, t_ns = edge_ns;
    wt_pacer_edge(&p, edge_ns);
    unsigned times = 0;
    for (wt_pacer_keep_apart(&p, t_ns); !wt_pacer_is_due(&p, t_ns) && times < 10; times++) {
        t_ns += 100 * MS;
        wt_pacer_keep_apart(&p, t_ns);
    }
    assert_in_range(times, 1, 3); /* the edge itself may have chosen a later moment */
    /* Of the next edge anew. */
    wt_pacer_saw(&p, t_ns, t_ns + 3 * MS, true, 1);
    wt_pacer_edge(&p, t_ns + 100 * MS);
    wt_pacer_keep_apart(&p, t_ns + 100 * MS);
    assert_false(wt_pacer_is_due(&p, t_ns + 100 * MS));
}

static void a_single_read_that_is_due_is_not_waited_for(void **state)
{
    (void)state;
    struct wt_pacer p;
    int64_t now_ns = until_14_s(&p, 3 * MS);
    int64_t edge_ns = now_ns / (100 * MS) * (100 * MS) + 187 * MS, late_ns = edge_ns + MS;
    wt_pacer_edge(&p, edge_ns);
    assert_true(wt_pacer_next_ns(&p, late_ns) <= late_ns);
    /* One that failed is not tried again at once, but soon. */
    wt_pacer_saw(&p, late_ns, late_ns + MS, false, 0);
    assert_false(wt_pacer_is_due(&p, late_ns + MS));
    int64_t next_ns = wt_pacer_next_ns(&p, late_ns + MS);
    assert_in_range(next_ns - late_ns, 2 * MS, 20 * MS);
    assert_true(wt_pacer_is_due(&p, next_ns));
}

/* What is not known of a counter speaks against leaving it alone. */
static void only_a_counter_known_to_see_all_of_the_time_may_be_read_rarely(void **state)
{
    (void)state;
    static const struct {
        int64_t window_ns, power_ns;
        unsigned can;
        uint64_t range_uj;
        int64_t poll_ns;
        bool may_be;
        const char *why;
    } rows[] = {
        {100 * MS, 100 * MS, WT_CAN_ENERGY | WT_CAN_POWER, 0, 0, true, "Hopper"},
        {0, 0, WT_CAN_ENERGY | WT_CAN_POWER, 0, 0, false, "a generation that nobody knows"},
        {100 * MS, 0, WT_CAN_ENERGY | WT_CAN_POWER, 0, 0, false, "the pace of power is not known"},
        {0, 100 * MS, WT_CAN_ENERGY | WT_CAN_POWER, 0, 0, false, "its sight is not known"},
        {25 * MS, 100 * MS, WT_CAN_ENERGY | WT_CAN_POWER, 0, 0, false, "it adds up readings"},
        {100 * MS, 100 * MS, WT_CAN_ENERGY, 0, 0, false, "no power beside it"},
        {100 * MS, 100 * MS, WT_CAN_ENERGY | WT_CAN_POWER, 1000, 0, false, "it wraps"},
        {100 * MS, 100 * MS, WT_CAN_ENERGY | WT_CAN_POWER, 0, S, false,
         "it is asked once a second"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_device_info info = {.can = rows[i].can,
                                            .poll_ns = rows[i].poll_ns,
                                            .traits = {.energy_period_ns = 100 * MS,
                                                       .energy_window_ns = rows[i].window_ns,
                                                       .energy_range_uj = rows[i].range_uj,
                                                       .power_period_ns = rows[i].power_ns}};
        if (wt_sampler_may_be_rare(&info) != rows[i].may_be)
            fail_msg("%s", rows[i].why);
    }
}

static void poll_at_half_range(void **state)
{
    (void)state;
    /* 262 kJ at 250 W wrap in 1048 s. */
    assert_int_equal(wt_sampler_period_ns(3600 * S, 262143328850, 250000), 524286 * MS);
    assert_int_equal(wt_sampler_period_ns(100 * MS, 262143328850, 250000), 100 * MS);
}

static void unknown_tdp_has_a_period(void **state)
{
    (void)state;
    int64_t period_ns = wt_sampler_period_ns(3600 * S, 262143328850, 0);
    assert_true(period_ns > S && period_ns < 60 * S);
    assert_int_equal(wt_sampler_period_ns(3600 * S, 0, 0), 3600 * S);
    assert_int_equal(wt_sampler_period_ns(3600 * S, 1, UINT64_MAX), MS);
}

/* ---- the threads ---- */

#define DEVICES 3

struct bed {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool is_hung[DEVICES];
    int fail[DEVICES];      /* what reads return */
    bool is_early[DEVICES]; /* what fails does so before it looks at a clock */
    int64_t t_last_ns[DEVICES];
    unsigned called[DEVICES], delivered[DEVICES], returned;
    unsigned logged;
    char last_log[200];
    struct wt_ctx *ctx;
    struct wt_device_info infos[DEVICES];
    const struct wt_device_info *pointers[DEVICES];
};

static int read_double(void *devices, size_t device, unsigned what, struct wt_reading *ret_reading,
                       struct wt_error *err)
{
    struct bed *bed = devices;
    memset(ret_reading, 0, sizeof(*ret_reading));
    ret_reading->t_before_ns = wt_clock_now_ns();
    pthread_mutex_lock(&bed->lock);
    bed->called[device]++;
    pthread_cond_broadcast(&bed->moved);
    while (bed->is_hung[device])
        pthread_cond_wait(&bed->moved, &bed->lock);
    int rc = bed->fail[device];
    bed->returned++;
    pthread_cond_broadcast(&bed->moved);
    bool is_early = bed->is_early[device];
    pthread_mutex_unlock(&bed->lock);
    ret_reading->t_after_ns = wt_clock_now_ns();
    if (is_early)
        ret_reading->t_before_ns = ret_reading->t_after_ns = 0;
    if (rc < 0)
        return wt_fail(err, rc, "device %zu: told to fail", device);
    if (what & WT_READ_ENERGY)
        ret_reading->energy = (struct wt_energy){.uj = 1, .state = WT_LIVE};
    return 0;
}

static void sink_double(void *data, size_t device, unsigned what, bool is_grid,
                        const struct wt_reading *reading, int rc, const struct wt_error *err)
{
    (void)what;
    (void)is_grid;
    (void)rc;
    (void)err;
    struct bed *bed = data;
    pthread_mutex_lock(&bed->lock);
    bed->t_last_ns[device] = reading->t_before_ns;
    bed->delivered[device]++;
    pthread_cond_broadcast(&bed->moved);
    pthread_mutex_unlock(&bed->lock);
}

static void log_double(void *data, enum wt_log_level level, const char *area, const char *text)
{
    (void)level;
    (void)area;
    struct bed *bed = data;
    pthread_mutex_lock(&bed->lock);
    bed->logged++;
    wt_text(bed->last_log, sizeof(bed->last_log), "%s", text);
    pthread_cond_broadcast(&bed->moved);
    pthread_mutex_unlock(&bed->lock);
}

static void bed_open(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    pthread_mutex_init(&bed->lock, NULL);
    pthread_cond_init(&bed->moved, NULL);
    const struct wt_ctx_options options = {.log = log_double, .log_data = bed};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, NULL), 0);
    for (size_t i = 0; i < DEVICES; i++) {
        struct wt_device_info *info = &bed->infos[i];
        wt_text(info->id, sizeof(info->id), "GPU-%zu", i);
        wt_text(info->source, sizeof(info->source), "nvml");
        info->can = WT_CAN_ENERGY;
        info->traits.energy_period_ns = 20 * MS;
        bed->pointers[i] = info;
    }
}

static void bed_close(struct bed *bed)
{
    wt_ctx_free(bed->ctx);
    pthread_cond_destroy(&bed->moved);
    pthread_mutex_destroy(&bed->lock);
}

static struct wt_sampler *start(struct bed *bed)
{
    const struct wt_sampler_options options = {.period_ns = 2 * MS,
                                               .hang_ns = 20 * MS,
                                               .stop_ns = 20 * MS,
                                               .read = read_double,
                                               .devices = bed,
                                               .sink = sink_double,
                                               .sink_data = bed};
    struct wt_sampler *sampler;
    assert_int_equal(wt_sampler_new(&sampler, bed->ctx, bed->pointers, DEVICES, &options, NULL), 0);
    return sampler;
}

/* Waits for as long as it takes: a test that hangs is ended from outside. */
static void await(struct bed *bed, const unsigned *counter, unsigned least)
{
    pthread_mutex_lock(&bed->lock);
    while (*counter < least)
        pthread_cond_wait(&bed->moved, &bed->lock);
    pthread_mutex_unlock(&bed->lock);
}

static void set_hung(struct bed *bed, size_t device, bool is_hung)
{
    pthread_mutex_lock(&bed->lock);
    bed->is_hung[device] = is_hung;
    pthread_cond_broadcast(&bed->moved);
    pthread_mutex_unlock(&bed->lock);
}

static void every_device_is_read_and_stopping_stops(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    struct wt_sampler *sampler = start(&bed);
    for (size_t i = 0; i < DEVICES; i++)
        await(&bed, &bed.delivered[i], 5);
    struct wt_sampler_cost cost;
    wt_sampler_cost(sampler, &cost);
    assert_true(cost.reads >= 15 && cost.failures == 0 && cost.hung == 0);
    wt_sampler_free(sampler);
    assert_true(bed.called[0] == bed.delivered[0]);
    bed_close(&bed);
}

static void a_sensor_with_a_pace_of_its_own_is_not_asked_more_often(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.infos[1].poll_ns = 3600 * S;
    struct wt_sampler *sampler = start(&bed);
    await(&bed, &bed.delivered[0], 20);
    await(&bed, &bed.delivered[2], 20);
    wt_sampler_free(sampler);
    assert_int_equal(bed.called[1], 1);
    bed_close(&bed);
}

/* With 0 for a time its search for the counter's phase would never end. */
static void a_read_that_failed_at_once_has_its_time(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.fail[1] = WT_E_IO;
    bed.is_early[1] = true;
    int64_t start_ns = wt_clock_now_ns();
    struct wt_sampler *sampler = start(&bed);
    await(&bed, &bed.delivered[1], 3);
    wt_sampler_free(sampler);
    assert_true(bed.t_last_ns[1] >= start_ns);
    bed_close(&bed);
}

static void a_hung_device_does_not_stop_its_neighbours(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    struct wt_sampler *sampler = start(&bed);
    await(&bed, &bed.delivered[1], 2);
    set_hung(&bed, 1, true);
    await(&bed, &bed.logged, 1); /* the supervisor says so */
    assert_non_null(strstr(bed.last_log, "GPU-1"));
    pthread_mutex_lock(&bed.lock);
    unsigned first = bed.delivered[0] + 10, last = bed.delivered[2] + 10, stuck = bed.delivered[1];
    pthread_mutex_unlock(&bed.lock);
    await(&bed, &bed.delivered[0], first);
    await(&bed, &bed.delivered[2], last);
    assert_int_equal(bed.delivered[1], stuck);
    struct wt_sampler_cost cost;
    wt_sampler_cost(sampler, &cost);
    assert_int_equal(cost.hung, 1);
    set_hung(&bed, 1, false);
    await(&bed, &bed.delivered[1], stuck + 3);
    wt_sampler_free(sampler);
    bed_close(&bed);
}

static void hung_vendor_call_is_abandoned_safely(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    set_hung(&bed, 0, true);
    struct wt_sampler *sampler = start(&bed);
    await(&bed, &bed.called[0], 1);
    wt_sampler_free(sampler); /* comes back although the call does not */
    wt_ctx_free(bed.ctx);
    bed.ctx = NULL;
    pthread_mutex_lock(&bed.lock);
    unsigned delivered = bed.delivered[0], returned = bed.returned;
    pthread_mutex_unlock(&bed.lock);
    assert_int_equal(delivered, 0);
    /* Now it returns: to a thread that owns what it needs and touches nothing else. */
    set_hung(&bed, 0, false);
    await(&bed, &bed.returned, returned + 1);
    pthread_mutex_lock(&bed.lock);
    assert_int_equal(bed.delivered[0], 0);
    pthread_mutex_unlock(&bed.lock);
    bed_close(&bed);
}

static void a_repeating_failure_is_said_once_and_once_more_when_it_clears(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.fail[2] = WT_E_GONE;
    struct wt_sampler *sampler = start(&bed);
    await(&bed, &bed.delivered[2], 10);
    pthread_mutex_lock(&bed.lock);
    assert_int_equal(bed.logged, 1);
    assert_string_equal(bed.last_log, "GPU-2 cannot be read: device 2: told to fail");
    bed.fail[2] = 0;
    pthread_mutex_unlock(&bed.lock);
    await(&bed, &bed.logged, 2);
    assert_non_null(strstr(bed.last_log, "GPU-2 can be read again, after "));
    struct wt_sampler_cost cost;
    wt_sampler_cost(sampler, &cost);
    assert_true(cost.failures >= 10);
    wt_sampler_free(sampler);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_finds_the_phase_once_and_then_it_is_known),
        cmocka_unit_test(an_end_is_covered_by_a_poll_right_after_its_tick),
        cmocka_unit_test(a_frozen_counter_is_not_chased_for_ever),
        cmocka_unit_test(following_catches_every_move_and_not_each_from_the_same_place),
        cmocka_unit_test(a_slow_vendor_call_makes_a_burst_coarser),
        cmocka_unit_test(a_counter_that_takes_milliseconds_is_followed_all_the_same),
        cmocka_unit_test(a_slow_counter_is_read_rarely_and_its_phase_stays_known),
        cmocka_unit_test(a_cheap_counter_is_read_with_every_poll),
        cmocka_unit_test(an_edge_has_a_slow_counter_read_at_once_and_after_its_next_move),
        cmocka_unit_test(a_single_read_is_not_put_off_for_ever),
        cmocka_unit_test(a_single_read_that_is_due_is_not_waited_for),
        cmocka_unit_test(only_a_counter_known_to_see_all_of_the_time_may_be_read_rarely),
        cmocka_unit_test(poll_at_half_range),
        cmocka_unit_test(unknown_tdp_has_a_period),
        cmocka_unit_test(every_device_is_read_and_stopping_stops),
        cmocka_unit_test(a_sensor_with_a_pace_of_its_own_is_not_asked_more_often),
        cmocka_unit_test(a_read_that_failed_at_once_has_its_time),
        cmocka_unit_test(a_hung_device_does_not_stop_its_neighbours),
        cmocka_unit_test(hung_vendor_call_is_abandoned_safely),
        cmocka_unit_test(a_repeating_failure_is_said_once_and_once_more_when_it_clears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
