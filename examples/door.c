/* A program that tells Wattune of its steps and tokens. Measured from outside:
 *
 *     cc door.c $(pkg-config --cflags --libs wattune) -o door
 *     wattune run -- ./door
 *
 * Run by itself it does the same work and nothing listens. */
#include <stdio.h>
#include <time.h>

#include <wattune/wattune.h>

static void work(long ms)
{
    const struct timespec span = {0, ms * 1000000};
    nanosleep(&span, NULL);
}

int main(void)
{
    struct wt_door *door;
    struct wt_error err;
    if (wt_door_open(&door, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (int step = 0; step < 10; step++) {
        wt_door_mark(door, WT_MARK_BEGIN, "forward", 1);
        work(8);
        wt_door_mark(door, WT_MARK_END, "forward", 1);
        wt_door_mark(door, WT_MARK_BEGIN, "backward", 1);
        work(17);
        wt_door_mark(door, WT_MARK_END, "backward", 1);
        wt_door_mark(door, WT_MARK_STEP, "step", 1);
        wt_door_mark(door, WT_MARK_WORK, "tokens", 4096);
        wt_door_value(door, "loss", 10.0 / (step + 1));
    }
    wt_door_close(door);
    return 0;
}
