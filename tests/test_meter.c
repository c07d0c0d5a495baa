/* meter: windows over sampled devices, on devices made here: a steady 200 W behind a counter that
 * ticks every 20 ms of real time. No assertion is about how long something took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "window/meter.h"

#define MS      WT_NS_PER_MS
#define TICK    (20 * MS)
#define POWER_W 200
#define DEVICES 3
#define WAIT    (20 * WT_NS_PER_S) /* longer than any test may take: waiting ends with the samples */

struct bed {
    struct wt_ctx *ctx;
    struct wt_meter *meter;
    struct wt_device_info infos[DEVICES];
    const struct wt_device_info *pointers[DEVICES];
    atomic_int fail[DEVICES];
    atomic_bool is_stuck[DEVICES]; /* the counter */
    atomic_uint shown_w[DEVICES];  /* by the power reading */
    int64_t t0_ns;
    atomic_uint points;
};

static int read_double(void *devices, size_t i, unsigned what, struct wt_reading *r,
                       struct wt_error *err)
{
    struct bed *bed = devices;
    enum wt_state state = bed->infos[i].is_emulated ? WT_EMULATED : WT_LIVE;
    memset(r, 0, sizeof(*r));
    r->t_before_ns = wt_clock_now_ns();
    int rc = atomic_load(&bed->fail[i]);
    if (rc == 0 && (what & WT_READ_ENERGY)) {
        int64_t ticks = (r->t_before_ns - bed->t0_ns) / TICK;
        if (atomic_load(&bed->is_stuck[i]))
            ticks = 0;
        r->energy =
            (struct wt_energy){.uj = UINT64_C(1000000000) +
                                     wt_energy_uj_from(POWER_W * 1000, (uint64_t)(ticks * TICK)),
                               .state = state};
    }
    if (rc == 0 && (what & WT_READ_POWER))
        r->power = (struct wt_power){.mw = atomic_load(&bed->shown_w[i]) * 1000, .state = state};
    if (rc == 0 && (what & WT_READ_STATUS)) {
        r->status.has = WT_HAS_LIMIT | WT_HAS_TEMP;
        r->status.power_limit_mw = 250000;
        r->status.temp_mc = 55000;
    }
    r->t_after_ns = wt_clock_now_ns();
    return rc < 0 ? wt_fail(err, rc, "told to fail") : 0;
}

static void bed_open(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    assert_int_equal(wt_ctx_new(&bed->ctx, NULL, NULL), 0);
    for (size_t i = 0; i < DEVICES; i++) {
        struct wt_device_info *info = &bed->infos[i];
        wt_text(info->id, sizeof(info->id), "GPU-%zu", i);
        wt_text(info->source, sizeof(info->source), "nvml");
        info->can = WT_CAN_ENERGY | WT_CAN_POWER | WT_CAN_STATUS;
        info->is_counted = true;
        info->traits = (struct wt_sensor_traits){.energy_period_ns = TICK,
                                                 .energy_quantum_uj = 1000,
                                                 .power_period_ns = TICK,
                                                 .power_window_ns = TICK};
        bed->pointers[i] = info;
        atomic_init(&bed->shown_w[i], POWER_W);
    }
    bed->t0_ns = wt_clock_now_ns() - WT_NS_PER_S;
}

static void bed_start(struct bed *bed, size_t count)
{
    const struct wt_meter_options options = {.period_ns = 10 * MS};
    assert_int_equal(wt_meter_new_over(&bed->meter, bed->ctx, bed->pointers, count, read_double,
                                       bed, &options, NULL),
                     0);
}

static void bed_close(struct bed *bed)
{
    wt_meter_free(bed->meter);
    wt_ctx_free(bed->ctx);
}

/* Lets the devices tick. */
static void pass(int64_t span_ns)
{
    wt_clock_sleep_until_ns(wt_clock_now_ns() + span_ns);
}

static struct wt_window_result measure(struct bed *bed, int64_t span_ns)
{
    struct wt_window_result r;
    uint64_t id;
    assert_int_equal(wt_meter_begin(bed->meter, "work", &id), 0);
    pass(span_ns);
    assert_int_equal(wt_meter_end(bed->meter, id), 0);
    assert_int_equal(wt_meter_result(bed->meter, id, WAIT, &r, NULL), 0);
    assert_string_equal(r.name, "work");
    return r;
}

static double true_j(const struct wt_window_result *r)
{
    return POWER_W * wt_s_from_ns(r->end_ns - r->begin_ns);
}

static void assert_holds(const struct wt_joules *joules, double j)
{
    if (!(joules->low_j <= j && j <= joules->high_j))
        fail_msg("%f J is not between %f and %f", j, joules->low_j, joules->high_j);
}

static void a_window_holds_the_energy_of_its_devices(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_start(&bed, 2);
    pass(10 * TICK);
    /* In one of less than 80 ms the highest reading may be from before it, and is not told where
     * the counter says more than it. */
    struct wt_window_result r = measure(&bed, 10 * TICK);
    assert_int_equal(r.device_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct wt_window_device *d = &r.devices[i];
        assert_holds(&d->energy, true_j(&r));
        assert_int_equal(d->energy.provenance, WT_PROV_COUNTER);
        assert_int_equal(d->method, WT_PROV_COUNTER);
        assert_int_equal(d->check.provenance, WT_PROV_SAMPLED);
        assert_false(d->is_check_off);
        double span_s = wt_s_from_ns(r.end_ns - r.begin_ns);
        assert_true(fabs(d->mean_w * span_s - d->energy.energy_j) < 1e-6);
        /* The mean may be off by when its two moves were seen. */
        assert_true(d->max_w > POWER_W - 1 && d->max_w < fmax(POWER_W, d->mean_w) + 1);
        assert_string_equal(d->note, "");
    }
    assert_holds(&r.total, 2 * true_j(&r));
    assert_int_equal(r.total.provenance, WT_PROV_COUNTER);
    assert_int_equal(r.gap_count, 0);
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void a_part_of_another_device_is_not_in_the_total(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.infos[1].is_part = true;
    bed.infos[1].is_counted = false;
    bed_start(&bed, 2);
    pass(10 * TICK);
    struct wt_window_result r = measure(&bed, 40 * MS);
    assert_true(r.total.energy_j == r.devices[0].energy.energy_j);
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void the_total_names_its_weakest_part(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.infos[1].can = WT_CAN_POWER | WT_CAN_STATUS;
    bed_start(&bed, 3);
    pass(4 * TICK);
    struct wt_window_result r = measure(&bed, 80 * MS);
    assert_int_equal(r.devices[1].method, WT_PROV_SAMPLED);
    assert_holds(&r.devices[1].energy, true_j(&r));
    assert_int_equal(r.total.provenance, WT_PROV_SAMPLED);
    assert_string_equal(r.weakest, "GPU-1");
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void emulated_devices_say_so_and_do_not_mix(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.infos[0].is_emulated = bed.infos[1].is_emulated = true;
    bed_start(&bed, 2);
    pass(10 * TICK);
    struct wt_window_result r = measure(&bed, 40 * MS);
    assert_int_equal(r.devices[0].energy.provenance, WT_PROV_EMULATED);
    assert_int_equal(r.devices[0].method, WT_PROV_COUNTER);
    assert_int_equal(r.total.provenance, WT_PROV_EMULATED);
    wt_window_result_done(&r);
    wt_meter_free(bed.meter);

    bed_start(&bed, 3); /* the third is real */
    pass(10 * TICK);
    r = measure(&bed, 40 * MS);
    assert_int_equal(r.total.provenance, WT_PROV_UNKNOWN);
    assert_true(isnan(r.total.energy_j));
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void a_device_that_cannot_be_read_is_unknown_with_its_reason(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    atomic_store(&bed.fail[1], WT_E_DENIED);
    bed_start(&bed, 2);
    pass(10 * TICK);
    struct wt_window_result r = measure(&bed, 40 * MS);
    assert_int_equal(r.devices[1].energy.provenance, WT_PROV_UNKNOWN);
    assert_true(isnan(r.devices[1].energy.energy_j) && isnan(r.devices[1].mean_w));
    assert_string_equal(r.devices[1].note, "unknown: told to fail");
    assert_int_equal(r.total.provenance, WT_PROV_UNKNOWN);
    assert_string_equal(r.weakest, "GPU-1");
    assert_true(r.gap_count == 1 && r.gaps[0].device == 1 && isinf(r.gaps[0].bound_j));
    assert_string_equal(r.gaps[0].why, "told to fail"); /* the sensor's own words */
    assert_true(isnan(wt_meter_power_w(bed.meter, 1)));
    assert_true(wt_meter_power_w(bed.meter, 0) > POWER_W - 1);
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void a_frozen_counter_gives_way_to_integrated_power(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    atomic_store(&bed.is_stuck[0], true);
    bed_start(&bed, 1);
    pass(4 * TICK);
    struct wt_window_result r = measure(&bed, 200 * MS);
    assert_int_equal(r.devices[0].method, WT_PROV_SAMPLED);
    assert_holds(&r.devices[0].energy, true_j(&r));
    assert_non_null(strstr(r.devices[0].note, "the sensor stands still"));
    wt_window_result_done(&r);
    bed_close(&bed);
}

/* Both froze: what power says is of before. Where it moves, it is believed. */
static void a_power_reading_that_stands_still_with_the_counter_is_not_believed(void **state)
{
    (void)state;
    for (int is_moving = 0; is_moving < 2; is_moving++) {
        struct bed bed;
        bed_open(&bed);
        atomic_store(&bed.is_stuck[0], true);
        bed_start(&bed, 1);
        uint64_t id;
        pass(4 * TICK);
        assert_int_equal(wt_meter_begin(bed.meter, "work", &id), 0);
        for (unsigned i = 0; i < 15; i++) {
            pass(100 * MS);
            if (is_moving)
                atomic_store(&bed.shown_w[0], POWER_W + (i % 2 ? 1 : -1));
        }
        assert_int_equal(wt_meter_end(bed.meter, id), 0);
        struct wt_window_result r;
        assert_int_equal(wt_meter_result(bed.meter, id, WAIT, &r, NULL), 0);
        assert_int_equal(r.devices[0].method, is_moving ? WT_PROV_SAMPLED : WT_PROV_UNKNOWN);
        assert_string_equal(r.devices[0].note, is_moving ? "integrated power: of the counter, the "
                                                           "sensor stands still"
                                                         : "unknown: the sensor stands still");
        assert_int_equal(r.gap_count, is_moving ? 0 : 1);
        wt_window_result_done(&r);
        bed_close(&bed);
    }
}

static void what_is_highest_is_never_below_the_mean(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    atomic_store(&bed.shown_w[0], POWER_W - 6);
    bed.infos[0].traits.gain_ppm = 50000;
    bed_start(&bed, 1);
    pass(4 * TICK);
    struct wt_window_result r = measure(&bed, 400 * MS);
    assert_false(r.devices[0].is_check_off);
    assert_true(r.devices[0].mean_w > POWER_W - 6);
    assert_true(r.devices[0].max_w == r.devices[0].mean_w);
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void a_counter_that_disagrees_with_power_is_flagged(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    atomic_store(&bed.shown_w[0], POWER_W / 2);
    bed_start(&bed, 1);
    pass(4 * TICK);
    struct wt_window_result r = measure(&bed, 400 * MS);
    assert_true(r.devices[0].is_check_off);
    assert_holds(&r.devices[0].energy, true_j(&r));
    assert_non_null(strstr(r.devices[0].note, "disagree"));
    assert_true(isnan(r.devices[0].max_w)); /* half of the mean is no highest */
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void nothing_to_sample_is_a_window_of_time_only(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_start(&bed, 0);
    struct wt_window_result r = measure(&bed, MS);
    assert_true(r.end_ns - r.begin_ns >= MS);
    assert_int_equal(r.device_count, 0);
    assert_int_equal(r.total.provenance, WT_PROV_UNKNOWN);
    wt_window_result_done(&r);
    bed_close(&bed);
}

static void one_device_is_peeked_at_alone(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_window_device one;
    struct wt_window_result all;
    uint64_t id;
    bed_open(&bed);
    bed_start(&bed, 2);
    pass(10 * TICK);
    assert_int_equal(wt_meter_begin(bed.meter, "work", &id), 0);
    pass(60 * MS);
    int64_t before_ns = wt_clock_now_ns();
    wt_meter_wait(bed.meter, before_ns, WAIT); /* and may be kept waiting beyond it */
    assert_int_equal(wt_meter_peek_device(bed.meter, id, 1, &one, NULL), 0);
    int64_t after_ns = wt_clock_now_ns();
    assert_int_equal(wt_meter_peek(bed.meter, id, &all, NULL), 0);
    assert_int_equal(one.device, 1);
    assert_int_equal(one.energy.provenance, WT_PROV_COUNTER);
    assert_string_equal(one.note, all.devices[1].note);
    /* Of some moment between the two, which lie apart where all is slow. */
    assert_true(one.energy.low_j <= POWER_W * wt_s_from_ns(after_ns - all.begin_ns));
    assert_true(one.energy.high_j >= POWER_W * wt_s_from_ns(before_ns - all.begin_ns));
    assert_true(one.energy.energy_j <= all.devices[1].energy.high_j);
    wt_window_result_done(&all);
    assert_int_equal(wt_meter_peek_device(bed.meter, id, 2, &one, NULL), WT_E_NOTFOUND);
    assert_int_equal(wt_meter_peek_device(bed.meter, 77, 1, &one, NULL), WT_E_NOTFOUND);
    bed_close(&bed);
}

static void misuse_of_windows_is_an_error_by_name(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_window_result r;
    uint64_t a, b, c;
    bed_open(&bed);
    bed_start(&bed, 1);
    assert_int_equal(wt_meter_end(bed.meter, 0), WT_E_NOTFOUND);
    assert_int_equal(wt_meter_end(bed.meter, UINT64_MAX), WT_E_NOTFOUND);
    assert_int_equal(wt_meter_begin(bed.meter, NULL, &a), 0);
    assert_int_equal(wt_meter_result(bed.meter, a, 0, &r, NULL), WT_E_STATE);
    assert_int_equal(wt_meter_end(bed.meter, a), 0);
    assert_int_equal(wt_meter_end(bed.meter, a), WT_E_STATE);
    assert_int_equal(wt_meter_result(bed.meter, a, 0, &r, NULL), 0);
    wt_window_result_done(&r);
    assert_int_equal(wt_meter_result(bed.meter, a, 0, &r, NULL), WT_E_NOTFOUND);
    assert_int_equal(wt_meter_begin(bed.meter, "b", &b), 0);
    assert_int_equal(wt_meter_cancel(bed.meter, b), 0);
    assert_int_equal(wt_meter_cancel(bed.meter, b), WT_E_NOTFOUND);
    assert_int_equal(wt_meter_begin(bed.meter, "c", &c), 0);
    assert_true(a != b && b != c && a != c); /* the place is used again, the id is not */
    bed_close(&bed);

    const struct wt_meter_options wrong[] = {{.confidence = 1}, {.period_ns = -1}};
    for (size_t i = 0; i < WT_COUNTOF(wrong); i++)
        assert_int_equal(
            wt_meter_new_over(&bed.meter, NULL, NULL, 0, read_double, &bed, &wrong[i], NULL),
            WT_E_USAGE);
}

#define THREADS 4
#define WINDOWS 2000

static void *open_and_close(void *data)
{
    struct wt_meter *meter = data;
    uint64_t outer, inner;
    struct wt_window_result r;
    for (int i = 0; i < WINDOWS; i++) {
        int rc = wt_meter_begin(meter, "outer", &outer) | wt_meter_begin(meter, "inner", &inner) |
                 wt_meter_end(meter, outer);
        rc |= i % 3 ? wt_meter_end(meter, inner) | wt_meter_result(meter, inner, 0, &r, NULL)
                    : wt_meter_cancel(meter, inner);
        if (rc == 0 && i % 3)
            wt_window_result_done(&r);
        rc |= wt_meter_result(meter, outer, 0, &r, NULL);
        if (rc != 0)
            return data;
        wt_window_result_done(&r);
    }
    return NULL;
}

static void windows_overlap_and_nest_from_any_thread(void **state)
{
    (void)state;
    struct bed bed;
    pthread_t threads[THREADS];
    bed_open(&bed);
    bed_start(&bed, 2);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, bed.meter), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    bed_close(&bed);
}

static void keep_point(void *data, const struct wt_trace_point *point)
{
    struct bed *bed = data;
    if (point->device < 2 && fabs(point->power_w - POWER_W) < 1 && point->temp_c > 54 &&
        fabs(point->limit_w - 250) < 1 && isnan(point->clock_mhz))
        atomic_fetch_add(&bed->points, 1);
}

static void the_trace_gets_a_point_a_poll(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_meter_cost cost;
    bed_open(&bed);
    bed_start(&bed, 2);
    wt_meter_on_trace(bed.meter, keep_point, &bed);
    while (atomic_load(&bed.points) < 6)
        pass(5 * MS);
    wt_meter_cost(bed.meter, &cost);
    assert_true(cost.reads >= 6 && cost.failures == 0);
    assert_true(cost.cpu_s > 0 && cost.cpu_s < cost.wall_s);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_holds_the_energy_of_its_devices),
        cmocka_unit_test(a_part_of_another_device_is_not_in_the_total),
        cmocka_unit_test(the_total_names_its_weakest_part),
        cmocka_unit_test(emulated_devices_say_so_and_do_not_mix),
        cmocka_unit_test(a_device_that_cannot_be_read_is_unknown_with_its_reason),
        cmocka_unit_test(a_frozen_counter_gives_way_to_integrated_power),
        cmocka_unit_test(a_power_reading_that_stands_still_with_the_counter_is_not_believed),
        cmocka_unit_test(what_is_highest_is_never_below_the_mean),
        cmocka_unit_test(a_counter_that_disagrees_with_power_is_flagged),
        cmocka_unit_test(nothing_to_sample_is_a_window_of_time_only),
        cmocka_unit_test(one_device_is_peeked_at_alone),
        cmocka_unit_test(misuse_of_windows_is_an_error_by_name),
        cmocka_unit_test(windows_overlap_and_nest_from_any_thread),
        cmocka_unit_test(the_trace_gets_a_point_a_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
