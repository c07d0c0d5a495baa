/* A program that measures a part of itself:
 *
 *     cc window.c $(pkg-config --cflags --libs wattune) -o window
 *     ./window                                     (or: wattune emulate a40 -- ./window)
 */
#include <stdio.h>
#include <time.h>

#include <wattune/wattune.h>

static void work(void)
{
    const struct timespec span = {0, 500000000};
    nanosleep(&span, NULL);
}

int main(void)
{
    struct wt_ctx *ctx = NULL;
    struct wt_devices *devices = NULL;
    struct wt_meter *meter = NULL;
    struct wt_window_result result;
    struct wt_error err;
    uint64_t window;
    char text[80];

    int rc = wt_ctx_new(&ctx, NULL, &err);
    if (rc == 0)
        rc = wt_devices_open(&devices, ctx, NULL, &err);
    if (rc == 0)
        rc = wt_meter_new(&meter, ctx, devices, NULL, &err);
    if (rc < 0)
        goto out;

    rc = wt_meter_begin(meter, "work", &window);
    if (rc < 0) {
        snprintf(err.text, sizeof(err.text), "cannot begin a window: %s", wt_strerror(rc));
        goto out;
    }
    work();
    wt_meter_end(meter, window);

    /* Up to half a second for the sensor's next tick: the interval gets narrower. */
    rc = wt_meter_result(meter, window, 500000000, &result, &err);
    if (rc == 0) {
        printf("%s, %s\n", wt_format_interval(text, sizeof(text), &result.total),
               wt_provenance_name(result.total.provenance));
        wt_window_result_done(&result);
    }
out:
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    wt_meter_free(meter);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    return rc < 0;
}
