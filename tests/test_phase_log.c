/* phase_log: marks and moves of a counter become the energy of each phase, in bounded memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "window/phase_log.h"

#define MS WT_NS_PER_MS

static uint64_t seed;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

/* A GPU with a counter of 100 ms, and a program on it, in time that is not. */
struct scene {
    double strength; /* of the load, against one; 0: one */
    struct wt_device_info info[2];
    struct wt_phase_log *log;
    int64_t t_ns, tick_ns, same_ns;
    double energy_j, truth_j[4];
    size_t devices;
    bool is_deaf; /* the counter's moves do not get through */
};

static void scene_init(struct scene *sc, size_t devices, size_t rows)
{
    const struct wt_device_info *infos[] = {&sc->info[0], &sc->info[1]};
    const struct wt_phase_log_options options = {.rows = rows};
    memset(sc, 0, sizeof(*sc));
    for (size_t i = 0; i < devices; i++) {
        sc->info[i].can = WT_CAN_ENERGY;
        sc->info[i].traits.energy_period_ns = 100 * MS;
        wt_text(sc->info[i].name, sizeof(sc->info[i].name), "GPU %zu", i);
    }
    sc->devices = devices;
    sc->t_ns = sc->same_ns = 1000 * MS;
    sc->tick_ns = sc->t_ns + 37 * MS;
    assert_int_equal(wt_phase_log_new(&sc->log, infos, devices, &options, NULL), 0);
}

static void mark(struct scene *sc, enum wt_mark_kind kind, uint32_t pid, const char *name)
{
    struct wt_mark m = {.t_ns = sc->t_ns, .pid = pid, .kind = kind};
    wt_text(m.name, sizeof(m.name), "%s", name);
    wt_phase_log_mark(sc->log, &m);
}

/* So long at this power, the counter ticking meanwhile; each move is seen to within 2 ms. */
static void pass(struct scene *sc, double ms, double w)
{
    int64_t end_ns = sc->t_ns + (int64_t)(ms * 1e6);
    while (sc->tick_ns <= end_ns) {
        sc->energy_j += w * wt_s_from_ns(sc->tick_ns - sc->t_ns);
        sc->t_ns = sc->tick_ns;
        int64_t lo_ns = sc->tick_ns - (int64_t)(uniform() * 2e6);
        struct wt_meter_tick tick = {lo_ns, lo_ns + 2 * MS, sc->energy_j, false};
        wt_phase_log_known(sc->log, sc->t_ns);
        for (size_t i = 0; i < sc->devices && !sc->is_deaf; i++)
            wt_phase_log_tick(sc->log, i, &tick);
        sc->tick_ns += 100 * MS;
    }
    sc->energy_j += w * wt_s_from_ns(end_ns - sc->t_ns);
    sc->t_ns = end_ns;
}

static const char *const names[] = {"forward", "backward", "optimizer"};

static void train(struct scene *sc, uint32_t pid, unsigned steps)
{
    static const double ms[] = {8, 17, 5}, w[] = {180, 240, 110};
    for (unsigned s = 0; s < steps; s++) {
        for (int p = 0; p < 3; p++) {
            double length = ms[p] * (0.98 + 0.04 * uniform());
            double strong_w = w[p] * (sc->strength > 0 ? sc->strength : 1);
            mark(sc, WT_MARK_BEGIN, pid, names[p]);
            pass(sc, length, strong_w);
            sc->truth_j[p] += (double)(int64_t)(length * 1e6) * 1e-9 * strong_w;
            mark(sc, WT_MARK_END, pid, names[p]);
        }
        pass(sc, 0.3 + uniform(), 60);
    }
}

static struct wt_phases_result finish(struct scene *sc)
{
    struct wt_phases_result r;
    wt_phase_log_known(sc->log, sc->t_ns);
    assert_int_equal(wt_phase_log_result(sc->log, &r, NULL), 0);
    wt_phase_log_free(sc->log);
    return r;
}

static const struct wt_phase_energy *find(const struct wt_phases_result *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->phases[i].name, name) == 0)
            return &r->phases[i];
    fail_msg("there is no phase %s", name);
    return NULL;
}

static void assert_told(const struct wt_phases_result *r, const char *name, double truth_j)
{
    const struct wt_phase_energy *e = find(r, name);
    assert_true(e->is_separable);
    assert_int_equal(e->energy.provenance, WT_PROV_COUNTER);
    assert_true(e->energy.low_j <= truth_j && truth_j <= e->energy.high_j);
    assert_true(fabs(e->energy.energy_j / truth_j - 1) < 0.05);
}

static void a_steps_phases_have_their_energy(void **state)
{
    (void)state;
    struct scene sc;
    seed = 11;
    scene_init(&sc, 1, 0);
    train(&sc, 5, 2000);
    struct wt_phases_result r = finish(&sc);
    for (int p = 0; p < 3; p++) {
        assert_told(&r, names[p], sc.truth_j[p]);
        assert_int_equal(find(&r, names[p])->count, 2000);
    }
    assert_string_equal(r.note, "");
    wt_phases_result_done(&r);
}

static void blocks_of_a_long_run_add_up(void **state)
{
    (void)state;
    unsigned inside = 0;
    for (unsigned trial = 0; trial < 20; trial++) {
        struct scene sc;
        seed = 1200 + trial;
        scene_init(&sc, 1, 300); /* of the 1,800 ticks to come */
        train(&sc, 5, 6000);
        struct wt_phases_result r = finish(&sc);
        for (int p = 0; p < 3; p++) {
            const struct wt_phase_energy *e = find(&r, names[p]);
            assert_true(e->is_separable);
            assert_true(fabs(e->energy.energy_j / sc.truth_j[p] - 1) < 0.005);
            inside += e->energy.low_j <= sc.truth_j[p] && sc.truth_j[p] <= e->energy.high_j;
        }
        wt_phases_result_done(&r);
    }
    assert_true(inside >= 53); /* of 60, at 95 % */
}

static void devices_add_up(void **state)
{
    (void)state;
    struct scene sc;
    seed = 13;
    scene_init(&sc, 2, 0);
    train(&sc, 5, 2000);
    struct wt_phases_result r = finish(&sc);
    for (int p = 0; p < 3; p++)
        assert_told(&r, names[p], 2 * sc.truth_j[p]);
    wt_phases_result_done(&r);
}

static void a_device_without_a_counter_makes_phases_unknown_and_is_named(void **state)
{
    (void)state;
    static const struct {
        unsigned can;
        int64_t seen_ns;
        const char *why;
    } rows[] = {{WT_CAN_POWER, 0, "no energy counter"},
                {WT_CAN_ENERGY, 25 * MS, "only a part of the time"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct scene sc;
        struct wt_phases_result r;
        seed = 14;
        scene_init(&sc, 1, 0);
        wt_phase_log_free(sc.log);
        sc.info[0].can = rows[i].can;
        sc.info[0].traits.energy_window_ns = rows[i].seen_ns;
        sc.info[0].traits.power_period_ns = 100 * MS;
        const struct wt_device_info *infos[] = {&sc.info[0]};
        assert_int_equal(wt_phase_log_new(&sc.log, infos, 1, NULL, NULL), 0);
        train(&sc, 5, 1000);
        r = finish(&sc);
        assert_int_equal(r.count, 3);
        for (int p = 0; p < 3; p++) {
            assert_int_equal(r.phases[p].energy.provenance, WT_PROV_UNKNOWN);
            assert_int_equal(r.phases[p].joint.provenance, WT_PROV_UNKNOWN);
            assert_int_equal(r.phases[p].count, 1000);
        }
        assert_non_null(strstr(r.note, rows[i].why));
        wt_phases_result_done(&r);
    }
}

/* Its window is its own period, which was found to be a hair shorter than the power reading's: an
 * H200, probed. */
static void a_counter_as_whole_as_its_own_period_is_used(void **state)
{
    (void)state;
    struct scene sc;
    seed = 16;
    scene_init(&sc, 1, 0);
    wt_phase_log_free(sc.log);
    sc.info[0].traits.energy_period_ns = sc.info[0].traits.energy_window_ns = 99996552;
    sc.info[0].traits.power_period_ns = 100193539;
    sc.info[0].traits.power_window_ns = 25 * MS;
    const struct wt_device_info *infos[] = {&sc.info[0]};
    assert_int_equal(wt_phase_log_new(&sc.log, infos, 1, NULL, NULL), 0);
    train(&sc, 5, 2000);
    struct wt_phases_result r = finish(&sc);
    for (int p = 0; p < 3; p++)
        assert_told(&r, names[p], sc.truth_j[p]);
    wt_phases_result_done(&r);
}

static void phases_in_lock_with_the_counter_are_not_separable(void **state)
{
    (void)state;
    struct scene sc;
    seed = 15;
    scene_init(&sc, 1, 0);
    double truth_j = 0;
    for (unsigned s = 0; s < 2400; s++) {
        mark(&sc, WT_MARK_BEGIN, 1, "a");
        pass(&sc, 10, 200);
        mark(&sc, WT_MARK_END, 1, "a");
        mark(&sc, WT_MARK_BEGIN, 1, "b");
        pass(&sc, 15, 100);
        mark(&sc, WT_MARK_END, 1, "b");
        truth_j += 2 + 1.5;
    }
    struct wt_phases_result r = finish(&sc);
    const struct wt_phase_energy *a = find(&r, "a"), *b = find(&r, "b");
    assert_false(a->is_separable);
    assert_false(b->is_separable);
    assert_int_equal(a->energy.provenance, WT_PROV_UNKNOWN);
    assert_non_null(strstr(a->with, "b"));
    assert_non_null(strstr(b->with, "a"));
    assert_true(fabs(a->joint.energy_j / truth_j - 1) < 0.01);
    wt_phases_result_done(&r);
}

static void time_counts_for_the_innermost_phase(void **state)
{
    (void)state;
    struct scene sc;
    seed = 16;
    scene_init(&sc, 1, 0);
    mark(&sc, WT_MARK_BEGIN, 1, "step");
    pass(&sc, 3, 100);
    mark(&sc, WT_MARK_BEGIN, 1, "inner");
    pass(&sc, 5, 100);
    mark(&sc, WT_MARK_END, 1, "inner");
    pass(&sc, 2, 100);
    mark(&sc, WT_MARK_END, 1, "step");
    struct wt_phases_result r = finish(&sc);
    assert_true(fabs(find(&r, "step")->wall_s - 0.010) < 1e-9);
    assert_true(fabs(find(&r, "step")->own_s - 0.005) < 1e-9);
    assert_true(fabs(find(&r, "inner")->own_s - 0.005) < 1e-9);
    assert_int_equal(find(&r, "step")->energy.provenance, WT_PROV_UNKNOWN); /* too few ticks */
    assert_non_null(strstr(r.note, "too few"));
    wt_phases_result_done(&r);
}

static void other_ranks_are_counted_and_the_first_is_followed(void **state)
{
    (void)state;
    struct scene sc;
    seed = 17;
    scene_init(&sc, 1, 0);
    for (int s = 0; s < 10; s++) {
        mark(&sc, WT_MARK_BEGIN, 1, "step");
        mark(&sc, WT_MARK_BEGIN, 2, "step");
        pass(&sc, 4, 100);
        mark(&sc, WT_MARK_END, 2, "step");
        mark(&sc, WT_MARK_END, 1, "step");
    }
    struct wt_phases_result r = finish(&sc);
    assert_int_equal(find(&r, "step")->count, 20);
    assert_true(fabs(find(&r, "step")->own_s - 0.040) < 1e-9);
    assert_non_null(strstr(r.note, "process 1"));
    wt_phases_result_done(&r);
}

/* A script that trains twice: the GPU is idle in between, and the second model draws less. The
 * counter may see a part of the time only, so what it counts must be explained. */
static void programs_in_turn_have_all_their_energy(void **state)
{
    (void)state;
    struct scene sc;
    seed = 22;
    scene_init(&sc, 1, 0);
    wt_phase_log_free(sc.log);
    sc.info[0].traits.power_period_ns = 100 * MS;
    sc.info[0].traits.power_window_ns = 25 * MS;
    const struct wt_device_info *infos[] = {&sc.info[0]};
    assert_int_equal(wt_phase_log_new(&sc.log, infos, 1, NULL, NULL), 0);
    double pause_j = 0;
    for (uint32_t pid = 5; pid < 8; pid++) {
        sc.strength = pid == 6 ? 0.7 : 1;
        train(&sc, pid, 2000);
        mark(&sc, WT_MARK_GONE, pid, "");
        pass(&sc, 15000, 40);
        pause_j += 15 * 40;
    }
    struct wt_phases_result r = finish(&sc);
    assert_string_equal(r.note, "");
    for (int p = 0; p < 3; p++) {
        assert_told(&r, names[p], sc.truth_j[p]);
        assert_int_equal(find(&r, names[p])->count, 6000);
        assert_true(fabs(find(&r, names[p])->wall_s - find(&r, names[p])->own_s) < 1e-6);
    }
    double truth_j = pause_j, told_j = find(&r, "")->energy.energy_j;
    truth_j += sc.energy_j - pause_j - sc.truth_j[0] - sc.truth_j[1] - sc.truth_j[2];
    assert_true(find(&r, "")->is_separable);
    assert_true(fabs(told_j / truth_j - 1) < 0.03);
    wt_phases_result_done(&r);
}

/* Killed in a phase, which must not have the time after it. */
static void a_program_that_is_gone_has_left_its_phases(void **state)
{
    (void)state;
    struct scene sc;
    seed = 23;
    scene_init(&sc, 1, 0);
    mark(&sc, WT_MARK_BEGIN, 1, "step");
    mark(&sc, WT_MARK_BEGIN, 2, "other");
    pass(&sc, 5, 100);
    mark(&sc, WT_MARK_GONE, 1, "");
    pass(&sc, 5, 100);
    mark(&sc, WT_MARK_BEGIN, 2, "inner"); /* from here on 2 is followed, in its phases */
    pass(&sc, 3, 100);
    mark(&sc, WT_MARK_END, 2, "inner");
    pass(&sc, 2, 100);
    mark(&sc, WT_MARK_BEGIN, 3, "beside");
    pass(&sc, 1, 100);
    mark(&sc, WT_MARK_GONE, 3, "");
    mark(&sc, WT_MARK_GONE, 2, "");
    pass(&sc, 50, 100);
    struct wt_phases_result r = finish(&sc);
    static const struct {
        const char *name;
        double wall_s, own_s;
        unsigned count; /* that ended */
    } rows[] = {{"step", 0.005, 0.005, 0},
                {"other", 0.016, 0.003, 0},
                {"inner", 0.003, 0.003, 1},
                {"beside", 0.001, 0, 0}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_phase_energy *e = find(&r, rows[i].name);
        assert_int_equal(e->count, rows[i].count);
        assert_true(fabs(e->wall_s - rows[i].wall_s) < 1e-9);
        assert_true(fabs(e->own_s - rows[i].own_s) < 1e-9);
    }
    assert_non_null(strstr(r.note, "process 1"));
    wt_phases_result_done(&r);
}

static void marks_without_a_partner_are_said_and_do_no_harm(void **state)
{
    (void)state;
    struct scene sc;
    seed = 18;
    scene_init(&sc, 1, 0);
    mark(&sc, WT_MARK_END, 1, "never begun");
    mark(&sc, WT_MARK_BEGIN, 1, "never ended");
    pass(&sc, 5, 100);
    for (int i = 0; i < 100; i++) { /* deeper than is followed */
        mark(&sc, WT_MARK_BEGIN, 1, "deep");
        pass(&sc, 1, 100);
    }
    struct wt_phases_result r = finish(&sc);
    assert_non_null(strstr(r.note, "no partner"));
    assert_true(find(&r, "never ended")->own_s > 0.004);
    wt_phases_result_done(&r);
}

static void names_without_end_share_the_last_place(void **state)
{
    (void)state;
    struct scene sc;
    seed = 19;
    scene_init(&sc, 1, 0);
    for (int s = 0; s < 5000; s++) {
        char name[32];
        wt_text(name, sizeof(name), "step %d", s);
        mark(&sc, WT_MARK_BEGIN, 1, name);
        pass(&sc, 2, 100);
        mark(&sc, WT_MARK_END, 1, name);
    }
    struct wt_phases_result r = finish(&sc);
    assert_true(r.count <= WT_PHASES_MOST + 1);
    assert_int_equal(find(&r, "(others)")->count, 5000 - (WT_PHASES_MOST - 1));
    wt_phases_result_done(&r);
}

static void a_counter_that_stops_does_not_fill_the_memory(void **state)
{
    (void)state;
    struct scene sc;
    seed = 20;
    scene_init(&sc, 1, 0);
    train(&sc, 5, 2000);
    sc.is_deaf = true;
    train(&sc, 5, 500000);
    sc.is_deaf = false;
    struct wt_phases_result r = finish(&sc);
    /* Most of the time lay in no tick: then nothing is said of it. */
    for (int p = 0; p < 3; p++)
        assert_int_equal(find(&r, names[p])->energy.provenance, WT_PROV_UNKNOWN);
    wt_phases_result_done(&r);
}

static void moves_are_placed_on_their_lattice(void **state)
{
    (void)state;
    struct wt_meter_tick ticks[200];
    int64_t at_ns[200], half_ns[200];
    seed = 21;
    for (int i = 0; i < 200; i++) {
        int64_t truth_ns = 5000 * MS + (int64_t)i * 100003000; /* 30 ppm off */
        ticks[i].lo_ns = truth_ns - (int64_t)(uniform() * 2e6);
        ticks[i].hi_ns = ticks[i].lo_ns + 2 * MS;
    }
    wt_phase_log_place(ticks, 200, 100 * MS, at_ns, half_ns);
    for (int i = 0; i < 200; i++) {
        assert_true(llabs(at_ns[i] - (5000 * MS + (int64_t)i * 100003000)) < MS / 10);
        assert_true(half_ns[i] < MS / 5);
    }
    /* One that jumps in the middle: two lattices. */
    for (int i = 100; i < 200; i++) {
        ticks[i].lo_ns += 31 * MS;
        ticks[i].hi_ns += 31 * MS;
    }
    wt_phase_log_place(ticks, 200, 100 * MS, at_ns, half_ns);
    for (int i = 0; i < 200; i++) {
        int64_t truth_ns = 5000 * MS + (int64_t)i * 100003000 + (i >= 100 ? 31 * MS : 0);
        assert_true(llabs(at_ns[i] - truth_ns) < MS / 2);
    }
    /* No lattice at all: no worse than what was read. */
    for (int i = 0; i < 200; i++) {
        ticks[i].lo_ns = 5000 * MS + (int64_t)i * 100 * MS + (int64_t)(uniform() * 60e6);
        ticks[i].hi_ns = ticks[i].lo_ns + 2 * MS;
    }
    wt_phase_log_place(ticks, 200, 100 * MS, at_ns, half_ns);
    for (int i = 0; i < 200; i++)
        assert_true(at_ns[i] >= ticks[i].lo_ns - 1 && at_ns[i] <= ticks[i].hi_ns + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steps_phases_have_their_energy),
        cmocka_unit_test(blocks_of_a_long_run_add_up),
        cmocka_unit_test(devices_add_up),
        cmocka_unit_test(a_device_without_a_counter_makes_phases_unknown_and_is_named),
        cmocka_unit_test(a_counter_as_whole_as_its_own_period_is_used),
        cmocka_unit_test(phases_in_lock_with_the_counter_are_not_separable),
        cmocka_unit_test(time_counts_for_the_innermost_phase),
        cmocka_unit_test(other_ranks_are_counted_and_the_first_is_followed),
        cmocka_unit_test(programs_in_turn_have_all_their_energy),
        cmocka_unit_test(a_program_that_is_gone_has_left_its_phases),
        cmocka_unit_test(marks_without_a_partner_are_said_and_do_no_harm),
        cmocka_unit_test(names_without_end_share_the_last_place),
        cmocka_unit_test(a_counter_that_stops_does_not_fill_the_memory),
        cmocka_unit_test(moves_are_placed_on_their_lattice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
