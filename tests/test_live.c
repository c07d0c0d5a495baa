/* live: what is looked at beside a machine, and its state, while others look on. In suite unit so
 * that ThreadSanitizer and valgrind see its threads; tests/test_cli_serve.py has all of it. */
#include "bed.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fake_nvml.h"
#include "serve/watch.h"

/* ---- watch ---- */

struct looked {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned looks, drops;
    bool hangs;
};

static void look(void *data)
{
    struct looked *l = data;
    pthread_mutex_lock(&l->lock);
    l->looks++;
    pthread_cond_broadcast(&l->changed);
    while (l->hangs)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

static void drop(void *data)
{
    struct looked *l = data;
    pthread_mutex_lock(&l->lock);
    l->drops++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void wait_for(struct looked *l, const unsigned *what, unsigned count)
{
    pthread_mutex_lock(&l->lock);
    while (*what < count)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

static void a_watch_looks_until_it_is_stopped(void **state)
{
    (void)state;
    /* Outlives this function, as the thread may on a busy machine: a stop waits 0.3 s. */
    static struct looked l = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
    struct wt_watch *watch;
    assert_int_equal(wt_watch_start(&watch, look, drop, &l, WT_NS_PER_MS / 10), 0);
    wait_for(&l, &l.looks, 3);
    assert_int_equal(l.drops, 0);
    wt_watch_stop(watch);
    wait_for(&l, &l.drops, 1);
    assert_int_equal(l.drops, 1);
}

static void a_look_that_hangs_is_left_behind(void **state)
{
    (void)state;
    static struct looked l = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .hangs = true}; /* outlives this function, as the thread may */
    struct wt_watch *watch;
    assert_int_equal(wt_watch_start(&watch, look, drop, &l, WT_NS_PER_MS), 0);
    wait_for(&l, &l.looks, 1);
    wt_watch_stop(watch);
    pthread_mutex_lock(&l.lock);
    assert_int_equal(l.drops, 0); /* it is still in use */
    l.hangs = false;
    pthread_cond_broadcast(&l.changed);
    pthread_mutex_unlock(&l.lock);
    wait_for(&l, &l.drops, 1);
    assert_int_equal(l.looks, 1);
}

/* ---- processes ---- */

static void a_gpus_processes_have_names_and_users(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_ctx *ctx;
    struct wt_process_watch *watch;
    struct wt_live_state now = {0};
    setenv("WATTUNE_NVML_TIMEOUT", "1000", 1);
    void *library = dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    struct fake_nvml *(*reset)(void);
    void *symbol = dlsym(library, "fake_nvml_reset");
    memcpy(&reset, &symbol, sizeof(reset));
    reset();
    /* The GPUs of one machine, and the processes of another. */
    bed_init(&bed);
    bed_put(&bed, "/proc/100/status", "Name:\ttrain\nUmask:\t0022\nUid:\t987654\t0\t0\t0\n");
    struct wt_ctx_options options = {.nvml_library = FAKE_NVML};
    struct wt_devices_options only = {.is_gpu_only = true};
    assert_int_equal(wt_ctx_new(&ctx, &options, NULL), 0);
    assert_int_equal(wt_devices_open(&bed.devices, ctx, &only, NULL), 0);
    assert_int_equal(wt_process_watch_new(&watch, bed.ctx, bed.devices, NULL), 0);
    while (!now.process_count) { /* it is asked by another thread */
        usleep(1000);
        assert_int_equal(wt_process_watch_copy(watch, &now), 0);
    }
    wt_process_watch_free(watch);
    assert_int_equal(now.processes[0].pid, 100);
    assert_string_equal(now.processes[0].program, "train");
    assert_string_equal(now.processes[0].user, "987654");
    assert_int_equal(now.processes[0].mem_bytes, 6000);
    assert_int_equal(now.processes[1].pid, 200); /* it has ended */
    assert_string_equal(now.processes[1].program, "");
    assert_int_equal(now.processes[1].mem_bytes, 0);
    assert_true(fabs(now.processes[1].busy - 0.37) < 1e-9);
    free(now.processes);
    wt_devices_free(bed.devices);
    bed.devices = NULL;
    wt_ctx_free(ctx);
    bed_done(&bed);
    dlclose(library);
}

/* ---- the whole ---- */

static atomic_bool is_over;

static void *look_on(void *live)
{
    uintptr_t bad = 0;
    while (!atomic_load(&is_over)) {
        struct wt_live_state now;
        if (wt_live_state(live, &now, NULL) < 0)
            return (void *)1;
        char *metrics = wt_live_metrics(&now, true), *json = wt_live_json(&now);
        bad |= !metrics || !json || now.device_count != 1;
        free(metrics);
        free(json);
        wt_live_state_done(&now);
    }
    return (void *)bad;
}

static void a_state_is_whole_whoever_looks_on(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_live *live;
    pthread_t lookers[2];
    bed_init(&bed);
    bed.clock = (struct wt_clock){0};
    assert_int_equal(bed_renew(&bed), 0);
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
    bed_open(&bed);
    char socket[96];
    wt_text(socket, sizeof(socket), "%s/nobody", bed.root);
    setenv("WATTUNE_SOCKET", socket, 1);
    const struct wt_live_options options = {.has_processes = true};
    if (wt_live_new(&live, bed.ctx, bed.devices, NULL, &options, &bed.err) < 0)
        fail_msg("%s", bed.err.text);
    atomic_store(&is_over, false);
    for (size_t i = 0; i < WT_COUNTOF(lookers); i++)
        assert_int_equal(pthread_create(&lookers[i], NULL, look_on, live), 0);
    struct wt_live_state now = {0};
    for (unsigned i = 0; i < 20 || !strstr(now.daemon_why, "nobody"); i++) {
        usleep(1000);
        assert_int_equal(wt_live_tick(live, &bed.err), 0);
        wt_live_state_done(&now);
        assert_int_equal(wt_live_state(live, &now, NULL), 0);
    }
    assert_false(now.has_daemon);
    assert_string_equal(now.devices[0].info->id, "cpu-package-0");
    atomic_store(&is_over, true);
    for (size_t i = 0; i < WT_COUNTOF(lookers); i++) {
        void *bad;
        pthread_join(lookers[i], &bad);
        assert_null(bad);
    }
    wt_live_state_done(&now);
    wt_live_free(live);
    unsetenv("WATTUNE_SOCKET");
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_looks_until_it_is_stopped),
        cmocka_unit_test(a_look_that_hangs_is_left_behind),
        cmocka_unit_test(a_gpus_processes_have_names_and_users),
        cmocka_unit_test(a_state_is_whole_whoever_looks_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
