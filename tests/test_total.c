/* total: the sum of a node counts each joule once, on the recorded two-socket machine (packages,
 * DRAM, psys around them) brought to life under a load that is known, and over sets of every
 * composition. */
#include <math.h>
#include <pthread.h>

#include "bed.h"
#include "window/meter.h"

#define MS       WT_NS_PER_MS
#define POWERCAP "/sys/class/powercap/"

/* What each domain draws: a base and a swing of so many watts over so many seconds. psys sees what
 * the packages and their memory draw, and 61 W that no other counter does. */
static const struct {
    const char *zone;
    double base_w, swing_w, period_s;
    uint64_t quantum_uj;
    bool is_psys;
} domains[] = {
    {"intel-rapl:0", 140, 60, 0.37, 61, false}, {"intel-rapl:0:0", 22, 9, 0.21, 15, false},
    {"intel-rapl:1", 61, 0, 1, 1000000, true},  {"intel-rapl:2", 95, 80, 0.53, 61, false},
    {"intel-rapl:2:0", 18, 5, 0.11, 15, false},
};
#define DOMAINS WT_COUNTOF(domains)

struct node {
    struct bed bed;
    struct wt_meter *meter;
    pthread_mutex_t lock;
    int fds[DOMAINS];
    uint64_t start_uj[DOMAINS], range_uj[DOMAINS];
    int64_t t0_ns;
};

/* Joules of one domain from the beginning to t. */
static double own_j(size_t d, double t_s)
{
    double omega = 2 * M_PI / domains[d].period_s;
    return domains[d].base_w * t_s + domains[d].swing_w * (1 - cos(omega * t_s)) / omega;
}

static double true_j(size_t d, double t_s)
{
    double sum = own_j(d, t_s);
    for (size_t i = 0; domains[d].is_psys && i < DOMAINS; i++)
        if (i != d)
            sum += own_j(i, t_s);
    return sum;
}

/* The counters as they stand at this moment, renewed every millisecond as RAPL's are. */
static void renew(struct node *node)
{
    double t_s = wt_s_from_ns((wt_clock_now_ns() - node->t0_ns) / MS * MS);
    for (size_t d = 0; d < DOMAINS; d++) {
        uint64_t uj = node->start_uj[d] + (uint64_t)(true_j(d, t_s) * 1e6);
        char text[32];
        wt_text(text, sizeof(text), "%llu\n",
                (unsigned long long)(uj % node->range_uj[d] / domains[d].quantum_uj *
                                     domains[d].quantum_uj));
        size_t n = strlen(text);
        if (pwrite(node->fds[d], text, n, 0) != (ssize_t)n || ftruncate(node->fds[d], (off_t)n) < 0)
            abort();
    }
}

static int read_live(void *devices, size_t i, unsigned what, struct wt_reading *ret,
                     struct wt_error *err)
{
    struct node *node = devices;
    pthread_mutex_lock(&node->lock);
    renew(node);
    int rc = wt_devices_read(node->bed.devices, i, what, ret, err);
    pthread_mutex_unlock(&node->lock);
    return rc;
}

static void node_open(struct node *node)
{
    memset(node, 0, sizeof(*node));
    pthread_mutex_init(&node->lock, NULL);
    bed_init(&node->bed);
    node->bed.clock = (struct wt_clock){0}; /* the counters follow the real one */
    tree_copy(WT_MACHINES "/intel-2s-psys", node->bed.root);
    tree_remove(node->bed.root, "/machine.txt"); /* from here on it lives */
    for (size_t d = 0; d < DOMAINS; d++) {
        char path[256];
        wt_text(path, sizeof(path), "%s" POWERCAP "%s/energy_uj", node->bed.root, domains[d].zone);
        assert_int_equal(wt_fs_read_u64(NULL, path, &node->start_uj[d], NULL), 0);
        node->fds[d] = open(path, O_RDWR | O_CLOEXEC);
        wt_text(path, sizeof(path), "%s" POWERCAP "%s/max_energy_range_uj", node->bed.root,
                domains[d].zone);
        assert_int_equal(wt_fs_read_u64(NULL, path, &node->range_uj[d], NULL), 0);
        /* One of them wraps while it is watched. */
        if (d == 3)
            node->start_uj[d] = node->range_uj[d] - 30000000;
    }
    node->t0_ns = wt_clock_now_ns();
    renew(node);
    assert_int_equal(bed_renew(&node->bed), 0);
    bed_open(&node->bed);
}

static void node_close(struct node *node)
{
    wt_meter_free(node->meter);
    for (size_t d = 0; d < DOMAINS; d++)
        close(node->fds[d]);
    bed_done(&node->bed);
}

static void two_sockets_with_memory_and_psys_count_each_joule_once(void **state)
{
    (void)state;
    struct node node;
    struct wt_window_result r;
    uint64_t window;
    node_open(&node);
    size_t count = wt_devices_count(node.bed.devices), counted = 0;
    const struct wt_device_info *infos[64];
    for (size_t i = 0; i < count; i++)
        infos[i] = wt_devices_info(node.bed.devices, i);
    const struct wt_meter_options options = {.period_ns = 20 * MS};
    assert_int_equal(wt_meter_new_over(&node.meter, node.bed.ctx, infos, count, read_live, &node,
                                       &options, NULL),
                     0);
    wt_clock_sleep_until_ns(wt_clock_now_ns() + 100 * MS);
    assert_int_equal(wt_meter_begin(node.meter, "load", &window), 0);
    wt_clock_sleep_until_ns(wt_clock_now_ns() + 1200 * MS);
    assert_int_equal(wt_meter_end(node.meter, window), 0);
    assert_int_equal(wt_meter_result(node.meter, window, 20 * WT_NS_PER_S, &r, NULL), 0);

    double from_s = wt_s_from_ns(r.begin_ns - node.t0_ns),
           to_s = wt_s_from_ns(r.end_ns - node.t0_ns);
    double want_j = 0, psys_j = 0;
    for (size_t d = 0; d < DOMAINS; d++)
        *(domains[d].is_psys ? &psys_j : &want_j) += true_j(d, to_s) - true_j(d, from_s);
    for (size_t i = 0; i < count; i++) {
        counted += infos[i]->is_counted;
        if (strcmp(infos[i]->id, "node-psys") == 0) {
            assert_false(infos[i]->is_counted);
            assert_true(r.devices[i].energy.low_j <= psys_j &&
                        psys_j <= r.devices[i].energy.high_j);
        }
    }
    assert_int_equal(counted, 4);
    if (!(r.total.low_j <= want_j && want_j <= r.total.high_j))
        fail_msg("%.3f J were drawn, %.3f [%.3f, %.3f] counted; psys saw %.3f", want_j,
                 r.total.energy_j, r.total.low_j, r.total.high_j, psys_j);
    /* Without the gain that is taken on trust, the sum is near the truth: a domain counted twice
     * or left out is 10 % at least. */
    assert_true(fabs(r.total.energy_j - want_j) < 0.03 * want_j);
    assert_int_equal(r.total.provenance, WT_PROV_COUNTER);
    wt_window_result_done(&r);
    node_close(&node);
}

/* ---- what counts, by what there is ---- */

static void what_counts_follows_what_is_measured(void **state)
{
    (void)state;
    enum {
        GPU,
        GPU_MODELED,
        MIG,
        CPU,
        CORE,
        CPU_MODELED,
        DRAM,
        DRAM_MODELED,
        PSYS,
        METER,
        BLIND,
        ACCEL
    };
    static const struct wt_device_info kinds[] = {
        [GPU] = {.kind = WT_DEVICE_GPU, .can = WT_CAN_ENERGY},
        [GPU_MODELED] = {.kind = WT_DEVICE_GPU, .can = WT_CAN_POWER, .is_modeled = true},
        [MIG] = {.kind = WT_DEVICE_GPU, .is_part = true},
        [CPU] = {.kind = WT_DEVICE_CPU, .can = WT_CAN_ENERGY},
        [CORE] = {.kind = WT_DEVICE_CPU, .can = WT_CAN_ENERGY, .is_part = true},
        [CPU_MODELED] = {.kind = WT_DEVICE_CPU, .can = WT_CAN_POWER, .is_modeled = true},
        [DRAM] = {.kind = WT_DEVICE_DRAM, .can = WT_CAN_ENERGY},
        [DRAM_MODELED] = {.kind = WT_DEVICE_DRAM, .can = WT_CAN_POWER, .is_modeled = true},
        [PSYS] = {.kind = WT_DEVICE_NODE, .can = WT_CAN_ENERGY, .is_part = true},
        [METER] = {.id = "node", .kind = WT_DEVICE_NODE, .can = WT_CAN_POWER},
        [BLIND] = {.kind = WT_DEVICE_GPU},
        [ACCEL] = {.id = "accel0",
                   .kind = WT_DEVICE_GPU,
                   .can = WT_CAN_ENERGY,
                   .is_part = true,
                   .part_of = "node"},
    };
    static const struct {
        const char *why;
        int set[6];
        const char *counted; /* '1' where it counts */
        size_t count;
    } rows[] = {
        {"measured parts make the sum", {GPU, CPU, CORE, DRAM, PSYS}, "11010", 5},
        {"a meter stands beside them", {GPU, CPU, DRAM, METER}, "1110", 4},
        {"a meter counts alone where the CPUs are not measured",
         {GPU, CPU_MODELED, METER},
         "001",
         3},
        {"one meter of two", {METER, METER}, "10", 2},
        {"a model stands beside a measured GPU", {GPU, CPU_MODELED, DRAM_MODELED}, "100", 3},
        {"a model counts where nothing is measured", {CPU_MODELED, DRAM_MODELED}, "11", 2},
        {"memory may be modeled beside a measured CPU", {CPU, DRAM_MODELED}, "10", 2},
        {"a modeled GPU counts in any case", {GPU_MODELED, CPU, CPU_MODELED}, "110", 3},
        {"an instance is inside its card", {GPU, MIG}, "10", 2},
        {"a device that shows nothing makes the sum unknown", {BLIND, CPU}, "11", 2},
        {"a meter that sees GPUs nobody else does counts alone",
         {CPU, DRAM, METER, ACCEL},
         "0010",
         4},
        {"and stands beside where somebody does", {GPU, CPU, METER, ACCEL}, "1100", 4},
        {"psys alone is no meter of the node", {PSYS, CPU_MODELED}, "01", 2},
    };
    for (size_t r = 0; r < WT_COUNTOF(rows); r++) {
        struct wt_device_info infos[6], *pointers[6];
        for (size_t i = 0; i < rows[r].count; i++) {
            infos[i] = kinds[rows[r].set[i]];
            pointers[i] = &infos[i];
        }
        wt_total_choose(pointers, rows[r].count);
        for (size_t i = 0; i < rows[r].count; i++)
            if (infos[i].is_counted != (rows[r].counted[i] == '1'))
                fail_msg("%s: device %zu %s", rows[r].why, i,
                         infos[i].is_counted ? "counts" : "does not count");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sockets_with_memory_and_psys_count_each_joule_once),
        cmocka_unit_test(what_counts_follows_what_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
