/* What telling Wattune costs a C program: a mark through the door, and a pair of NVTX push and pop
 * through the injection library. In nanoseconds each, percentiles over batches of 100.
 *
 *     build/wattune run --quiet --nvtx -- build/bench/doors
 *
 * Without `wattune run` the same calls go nowhere. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wattune/door.h"

#define BATCH   100
#define BATCHES 5000

typedef void (*function)(void);
static function core[16];
static function *places[16];
struct callbacks {
    size_t size;
    int (*table)(int module, function ***ret_table, unsigned *ret_size);
};

static int get_table(int module, function ***ret_table, unsigned *ret_size)
{
    *ret_table = places;
    *ret_size = 16;
    return module == 1;
}

static const void *get_export_table(uint32_t id)
{
    static const struct callbacks callbacks = {sizeof(callbacks), get_table};
    return id == 1 ? &callbacks : NULL;
}

static struct wt_door *door;

static void mark(void)
{
    wt_door_mark(door, WT_MARK_STEP, "bench", 0);
}

static void push_and_pop(void)
{
    ((int (*)(const char *))core[9])("range");
    ((int (*)(void))core[11])();
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *what, void (*fn)(void))
{
    static double each[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        double begin = now_ns();
        for (int j = 0; j < BATCH; j++)
            fn();
        each[i] = (now_ns() - begin) / BATCH;
    }
    qsort(each, BATCHES, sizeof(each[0]), by_size);
    printf("%-24s %6.0f ns median, %6.0f at 90 %%, %6.0f at 99 %%\n", what, each[BATCHES / 2],
           each[BATCHES * 9 / 10], each[BATCHES * 99 / 100]);
}

int main(void)
{
    if (wt_door_open(&door, NULL) < 0)
        return 1;
    measure(getenv("WATTUNE_DOOR") ? "door mark" : "door mark, nobody listens", mark);
    wt_door_close(door);

    const char *path = getenv("NVTX_INJECTION64_PATH");
    void *library = path ? dlopen(path, RTLD_LAZY) : NULL;
    if (!library)
        return 0;
    for (int i = 1; i < 16; i++)
        places[i] = &core[i];
    int (*initialize)(const void *(*)(uint32_t)) =
        (int (*)(const void *(*)(uint32_t)))dlsym(library, "InitializeInjectionNvtx2");
    if (initialize && initialize(get_export_table) && core[9] && core[11])
        measure("NVTX push and pop", push_and_pop);
    return 0;
}
