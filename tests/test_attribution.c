/* attribution: rows add up to the device to the microjoule, whatever processes do. */
#include "bed.h"
#include "wattune/users.h"
#include "window/attribution.h"

static uint64_t seed = 88172645463325252u;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Random process sets, births, deaths (a weight that stops), devices lost in the middle (energy
 * that stops while weights go on), idle above the total, weights that disagree with the total. */
static void rows_always_add_up_to_the_device(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 100000; round++) {
        struct wt_share shares[12];
        struct wt_attribution a;
        size_t count = draw() % 12;
        unsigned bits = (unsigned)(draw() % 64);
        for (size_t i = 0; i < count; i++)
            shares[i] = (struct wt_share){.pid = (uint32_t)i + 1,
                                          .weight = draw() % 4 ? draw() >> (draw() % 64) : 0};
        uint64_t device = draw() % 8 ? draw() >> bits : 0, idle = draw() >> (draw() % 64);
        uint64_t total = draw() % 2 ? draw() >> (draw() % 64) : 0;
        enum wt_share_rule rule = (enum wt_share_rule)(draw() % 3);
        wt_attribute(rule, device, idle, total, shares, count, &a);

        unsigned __int128 sum = (unsigned __int128)a.idle_uj + a.residual_uj;
        for (size_t i = 0; i < count; i++) {
            sum += shares[i].energy_uj;
            assert_true(shares[i].energy_uj <= device);
        }
        assert_true(sum == device);
        assert_true(a.device_uj == device);
    }
}

/* Spans of one device after each other: processes are born and die, the device is lost and comes
 * back, its energy is estimated anew and may turn out lower than it was thought. */
static void the_ledger_adds_up_through_births_deaths_and_losses(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        static struct wt_ledger ledger;
        struct wt_share shares[16];
        size_t count = 0;
        uint32_t next_pid = 1;
        uint64_t upto = 0, lost_from = 0;
        bool is_lost = false;
        memset(&ledger, 0, sizeof(ledger));
        for (unsigned span = 0; span < 25; span++) {
            if (draw() % 3 == 0 && count < 16) /* a birth; many more than there are rows in all */
                shares[count++] = (struct wt_share){.pid = next_pid++};
            if (draw() % 4 == 0 && count) { /* a death */
                size_t dead = draw() % count--;
                shares[dead] = shares[count];
            }
            for (size_t i = 0; i < count; i++)
                shares[i].weight = draw() % 3 ? draw() >> (20 + draw() % 30) : 0;
            uint64_t before[2] = {ledger.idle_uj, 0};
            for (size_t i = 0; i < ledger.row_count; i++)
                before[1] += ledger.rows[i].energy_uj;
            upto += draw() % 6 ? draw() >> (30 + draw() % 30) : 0;
            uint64_t seen = draw() % 8 ? upto : upto / 2;
            if (draw() % 6 == 0) {
                if (!is_lost)
                    lost_from = ledger.device_uj;
                is_lost = true;
                wt_ledger_lost(&ledger);
                assert_int_equal(ledger.device_uj, lost_from);
                continue;
            }
            uint64_t device = ledger.device_uj;
            if (span == 24)
                wt_ledger_close(&ledger, seen, draw() >> 40, draw() >> 20, shares, count);
            else
                wt_ledger_span(&ledger, seen, draw() >> 40, draw() >> 20, shares, count);
            uint64_t rows = 0;
            for (size_t i = 0; i < ledger.row_count; i++)
                rows += ledger.rows[i].energy_uj;
            assert_true(ledger.idle_uj + ledger.residual_uj + rows == ledger.device_uj);
            assert_true(ledger.device_uj == (span == 24 || seen > device ? seen : device));
            if (is_lost && seen > device) { /* nobody is charged for what was not seen */
                assert_true(rows == before[1] && ledger.idle_uj == before[0]);
                is_lost = false;
            }
        }
    }
}

static void more_users_than_rows_share_the_last(void **state)
{
    (void)state;
    static struct wt_ledger ledger;
    memset(&ledger, 0, sizeof(ledger));
    for (uint32_t pid = 1; pid <= 1000; pid++) {
        struct wt_share share = {.pid = pid, .weight = 1};
        wt_ledger_span(&ledger, pid * 10, 0, 1, &share, 1);
    }
    assert_int_equal(ledger.row_count, WT_LEDGER_ROWS);
    assert_string_equal(ledger.rows[WT_LEDGER_ROWS - 1].name, "(others)");
    assert_int_equal(ledger.rows[WT_LEDGER_ROWS - 1].energy_uj, 10 * (1000 - WT_LEDGER_ROWS + 1));
    assert_int_equal(ledger.residual_uj, 0);
}

static void an_exclusive_device_is_wholly_its_users(void **state)
{
    (void)state;
    struct wt_share one = {.pid = 7, .weight = 3};
    struct wt_attribution a;
    wt_attribute(WT_SHARE_EXCLUSIVE, 1000, 400, 1000, &one, 1, &a);
    assert_int_equal(one.energy_uj, 1000);
    assert_int_equal(a.idle_uj, 0);
    assert_int_equal(a.residual_uj, 0);

    struct wt_share two[2] = {{.pid = 7, .weight = 1}, {.pid = 8, .weight = 1}};
    wt_attribute(WT_SHARE_EXCLUSIVE, 1000, 400, 2, two, 2, &a);
    assert_int_equal(a.rule, WT_SHARE_BY_WEIGHT);
    assert_int_equal(two[0].energy_uj, 300);
}

static void what_nobody_is_shown_to_have_used_is_residual(void **state)
{
    (void)state;
    struct wt_share shares[2] = {{.pid = 1, .weight = 30}, {.pid = 2, .weight = 20}};
    struct wt_attribution a;
    wt_attribute(WT_SHARE_BY_WEIGHT, 1000, 200, 100, shares, 2, &a);
    assert_int_equal(a.idle_uj, 200);
    assert_int_equal(shares[0].energy_uj, 240);
    assert_int_equal(shares[1].energy_uj, 160);
    assert_int_equal(a.residual_uj, 400);
    wt_attribute(WT_SHARE_BY_WEIGHT, 1000, 200, 100, shares, 0, &a);
    assert_int_equal(a.residual_uj, 800);
}

static void cpu_times_are_read_as_the_kernel_writes_them(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_put(&bed, "/proc/42/stat",
            "42 (a) b(c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 7 3 20 0 1 0 1000 0 0\n");
    bed_put(&bed, "/proc/stat", "cpu  100 20 30 4000 50 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
    bed_put(&bed, "/sys/fs/cgroup/job_1/cpu.stat",
            "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n");
    uint64_t ns, tick = (uint64_t)(WT_NS_PER_S / sysconf(_SC_CLK_TCK));
    char name[64];
    assert_int_equal(wt_process_cpu_ns(bed.ctx, 42, &ns, name, sizeof(name), NULL), 0);
    assert_int_equal(ns, 210 * tick);
    assert_string_equal(name, "a) b(c");
    assert_int_equal(wt_process_cpu_ns(bed.ctx, 43, &ns, NULL, 0, NULL), WT_E_GONE);
    assert_int_equal(wt_busy_cpu_ns(bed.ctx, &ns, NULL), 0);
    assert_int_equal(ns, 163 * tick);
    assert_int_equal(wt_cgroup_cpu_ns(bed.ctx, "/job_1", &ns, NULL), 0);
    assert_int_equal(ns, 123456000);
    assert_int_equal(wt_cgroup_cpu_ns(bed.ctx, "/../../etc", &ns, NULL), WT_E_FORMAT);
    bed_put(&bed, "/sys/fs/cgroup/job_1/cpu.stat", "usage_usec\n");
    assert_int_equal(wt_cgroup_cpu_ns(bed.ctx, "job_1", &ns, NULL), WT_E_FORMAT);
    bed_done(&bed);
}

/* A server's program that forks for each of its connections. */
static void thousands_of_children_are_listed(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct bed bed;
    bed_init(&bed);
    char *text = malloc(COUNT * 8 + 1);
    assert_non_null(text);
    for (unsigned i = 0; i < COUNT; i++)
        snprintf(text + 8 * i, 9, "%u ", 1000000 + i);
    bed_put(&bed, "/proc/42/task/42/children", text);
    bed_put(&bed, "/proc/42/task/43/children", "7 8 ");
    bed_put(&bed, "/proc/42/task/44/children", "");
    struct wt_pids pids = {0};
    assert_int_equal(wt_process_children(bed.ctx, 42, &pids, NULL), 0);
    assert_int_equal(wt_process_children(bed.ctx, 1000000, &pids, NULL), 0); /* it has ended */
    assert_int_equal(pids.count, COUNT + 2);
    assert_int_equal(pids.at[COUNT - 1], 1000000 + COUNT - 1);
    assert_int_equal(pids.at[COUNT + 1], 8);
    free(pids.at);
    free(text);
    bed_done(&bed);
}

/* What is not told to be the run's is not told to be others' either. */
static void without_the_list_of_children_the_runs_share_is_unknown(void **state)
{
    (void)state;
    for (int is_broken = 0; is_broken < 2; is_broken++) {
        struct bed bed;
        bed_init(&bed);
        bed_put(&bed, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
        bed_put(&bed, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
        bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
        bed_put(&bed, "/proc/stat", "cpu  100 0 0 0 0 0 0 0 0 0\n");
        bed_put(&bed, "/proc/42/task/42/children", "43 ");
        bed_put(&bed, "/proc/43/stat",
                "43 (a) S 1 42 42 0 -1 4194560 900 0 0 0 50 0 0 0 20 0 1 0 1000 0 0\n");
        bed_open(&bed);
        struct wt_users *users;
        assert_int_equal(wt_users_new(&users, bed.ctx, bed.devices, 42, NULL), 0);
        struct wt_window_device device = {
            .device = bed_index(&bed, "cpu-package-0"),
            .energy = {0, 0, 0, WT_PROV_COUNTER},
        };
        struct wt_window_result so_far = {.devices = &device, .device_count = 1, .end_ns = 1};
        struct wt_run_device out = {.energy = {100, 99, 101, WT_PROV_COUNTER}};
        struct wt_run run = {.devices = &out, .device_count = 1};
        wt_users_span(users, &so_far, &run);
        bed_put(&bed, "/proc/stat", "cpu  200 0 0 0 0 0 0 0 0 0\n");
        bed_put(&bed, "/proc/42/task/42/children", is_broken ? "none" : "43 ");
        bed_put(&bed, "/proc/43/stat",
                "43 (a) S 1 42 42 0 -1 4194560 900 0 0 0 75 0 0 0 20 0 1 0 1000 0 0\n");
        device.energy.energy_j = 100;
        so_far.end_ns = WT_NS_PER_S;
        wt_users_span(users, &so_far, &run);
        assert_int_equal(wt_users_finish(users, &run, NULL), 0);
        assert_int_equal(out.attribution.is_known, !is_broken);
        if (is_broken) {
            assert_says(out.attribution.note, "CPU time is not known: /proc/42/task/42/children");
        } else {
            assert_int_equal(out.attribution.share_count, 1);
            assert_int_equal(out.attribution.shares[0].energy_uj, 25000000);
        }
        free(out.attribution.shares);
        wt_users_free(users);
        bed_done(&bed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_always_add_up_to_the_device),
        cmocka_unit_test(the_ledger_adds_up_through_births_deaths_and_losses),
        cmocka_unit_test(more_users_than_rows_share_the_last),
        cmocka_unit_test(an_exclusive_device_is_wholly_its_users),
        cmocka_unit_test(what_nobody_is_shown_to_have_used_is_residual),
        cmocka_unit_test(cpu_times_are_read_as_the_kernel_writes_them),
        cmocka_unit_test(thousands_of_children_are_listed),
        cmocka_unit_test(without_the_list_of_children_the_runs_share_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
