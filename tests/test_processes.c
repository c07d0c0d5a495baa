/* processes: a look that is left behind in a driver touches nothing that may be gone. The driver is
 * made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <unistd.h>

#include "serve/watch.h"

static atomic_int asked, returned, late;
static atomic_bool is_stuck, is_gone;
static const struct wt_device_info gpu = {.kind = WT_DEVICE_GPU};

static size_t fake_count(const struct wt_devices *devices)
{
    (void)devices;
    atomic_fetch_add(&late, atomic_load(&is_gone));
    return 2;
}

static const struct wt_device_info *fake_info(const struct wt_devices *devices, size_t i)
{
    (void)devices;
    (void)i;
    atomic_fetch_add(&late, atomic_load(&is_gone));
    return &gpu;
}

static int fake_processes(struct wt_devices *devices, size_t i, struct wt_device_process *procs,
                          size_t max, size_t *ret_count, struct wt_error *err)
{
    (void)devices;
    (void)i;
    (void)max;
    (void)err;
    atomic_fetch_add(&late, atomic_load(&is_gone));
    atomic_fetch_add(&asked, 1);
    while (atomic_load(&is_stuck))
        usleep(1000);
    procs[0] = (struct wt_device_process){.pid = 1};
    *ret_count = 1;
    atomic_fetch_add(&returned, 1);
    return 0;
}

static int fake_read_start(const struct wt_ctx *ctx, const char *path, char *buf, size_t size)
{
    (void)ctx;
    (void)path;
    (void)buf;
    (void)size;
    atomic_fetch_add(&late, atomic_load(&is_gone));
    return -1;
}

#define wt_devices_count     fake_count
#define wt_devices_info      fake_info
#define wt_devices_processes fake_processes
#define wt_fs_read_start     fake_read_start
#include "serve/processes.c"

static void a_look_left_behind_touches_nothing(void **state)
{
    (void)state;
    struct wt_process_watch *watch;
    atomic_store(&is_stuck, true);
    assert_int_equal(wt_process_watch_new(&watch, NULL, NULL, NULL), 0);
    while (!atomic_load(&asked))
        usleep(1000);
    wt_process_watch_free(watch); /* its thread hangs */
    atomic_store(&is_gone, true);
    atomic_store(&is_stuck, false);
    while (!atomic_load(&returned))
        usleep(1000);
    usleep(100000); /* what it does after that */
    assert_int_equal(atomic_load(&asked), 1);
    assert_int_equal(atomic_load(&late), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_left_behind_touches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
