/* wattune bench: the built-in workloads. They are a program of their own, wattune-bench, so that no
 * other command loads OpenBLAS; this becomes it, --help included. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int cmd_bench(int argc, char **argv)
{
    (void)argc;
    char path[2200];
    struct wt_error err = {0};
    if (wt_helper_path("wattune-bench", path, sizeof(path), &err) < 0)
        return cli_fail("bench", &err);
    execv(path, argv);
    err = (struct wt_error){.code = WT_E_IO};
    snprintf(err.text, sizeof(err.text), "%.400s: %s", path, strerror(errno));
    return cli_fail("bench", &err);
}
