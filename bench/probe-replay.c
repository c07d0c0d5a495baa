/* probe-replay: what `wattune probe` finds in a recording that `wattune probe --trace` kept.
 *
 *     build/bench/probe-replay FILE
 *
 * Prints the JSON that the probe would have printed. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/probe.h"

int main(int argc, char **argv)
{
    struct wt_probe_trace trace;
    struct wt_device_info info;
    struct wt_probe_result result;
    struct wt_error err = {0};
    if (argc != 2) {
        fputs("usage: probe-replay FILE\n", stderr);
        return 2;
    }
    if (wt_probe_trace_read(argv[1], &trace, &info, &err) < 0 ||
        wt_probe_analyse(&trace, &info, &result, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    char *text = wt_probe_to_json(&result, 1);
    if (text)
        puts(text);
    free(text);
    wt_probe_trace_done(&trace);
    return text ? 0 : 1;
}
