/* sweep_progress: how far it is - a bar that redraws itself on a terminal, a line a run elsewhere.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sweep.h"

static void print_clock(char *buf, size_t size, double seconds)
{
    unsigned s = (unsigned)(seconds < 0 ? 0 : seconds + 0.5);
    if (s >= 3600)
        snprintf(buf, size, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, size, "%u:%02u", s / 60, s % 60);
}

void cli_progress_draw(void *data, const struct wt_run *run, double elapsed_s)
{
    (void)run;
    struct progress *p = data;
    if (!p->is_tty)
        return;
    double watts = 0;
    bool is_known = false;
    for (size_t i = 0; i < wt_devices_count(p->measure->bed->devices); i++) {
        double w = wt_meter_power_w(p->measure->meter, i);
        if (!wt_devices_info(p->measure->bed->devices, i)->is_counted || !isfinite(w))
            continue;
        watts += w;
        is_known = true;
    }
    char bar[25], power[24] = "-", eta[16] = "-";
    double each = p->done ? p->spent_s / (double)p->done : 0;
    double part = each > 0 ? elapsed_s / each : 0;
    double share = ((double)p->done + (part < 1 ? part : 1)) / (double)p->total;
    for (size_t i = 0; i < sizeof(bar) - 1; i++)
        bar[i] = (double)i < share * (double)(sizeof(bar) - 1) ? '#' : '.';
    bar[sizeof(bar) - 1] = '\0';
    if (is_known)
        snprintf(power, sizeof(power), "%.0f W", watts);
    if (p->done)
        print_clock(eta, sizeof(eta), each * (double)(p->total - p->done) - elapsed_s);
    /* A line longer than the terminal would not be overwritten by the next. */
    struct winsize window = {0};
    char line[256];
    unsigned width =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col ? window.ws_col : 80;
    snprintf(line, sizeof(line), "%zu/%zu  %s: %s  ETA %s%s", p->done, p->total, p->label, power,
             eta, p->measure->bed->emulation_name[0] ? "  emulated" : "");
    if (strlen(line) + sizeof(bar) + 3 < width)
        fprintf(stderr, "\r\033[K[%s] %s", bar, line);
    else
        fprintf(stderr, "\r\033[K%.*s", (int)(width - 1), line);
    fflush(stderr);
}

void cli_progress_done(struct progress *p, const struct wt_run *run)
{
    p->spent_s += run->wall_s;
    p->done++;
    if (p->is_tty)
        return;
    fprintf(stderr, "  %zu/%zu  %-*s %7.2f s", p->done, p->total, p->label_width, run->label,
            run->wall_s);
    if (run->total.provenance != WT_PROV_UNKNOWN)
        fprintf(stderr, "  %9.1f J  %s", run->total.energy_j,
                wt_provenance_name(run->total.provenance));
    if (p->has_nodes)
        fprintf(stderr, "  %s", run->host);
    fputc('\n', stderr);
}

void cli_progress_clear(const struct progress *p)
{
    if (p->is_tty)
        fputs("\r\033[K", stderr);
}
