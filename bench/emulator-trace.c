/* See emulator-trace.h. */
#include "emulator-trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int trace_read(const char *path, struct trace_group groups[TRACE_GROUPS])
{
    FILE *file = fopen(path, "re");
    char line[256];
    int count = 0, number = 0;

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    while (fgets(line, sizeof(line), file)) {
        struct trace_group row = {.limits = 1};
        int i;
        if (++number == 1)
            continue;
        if (sscanf(line, "%31[^,],%31[^,],%u,%15[^,],%lf,%lf,%lf", row.dataset, row.network,
                   &row.batch, row.optimizer, &row.limit_w[0], &row.time_s[0],
                   &row.power_w[0]) != 7) {
            fprintf(stderr, "%s:%d: not a row of seven fields\n", path, number);
            fclose(file);
            return -1;
        }
        for (i = 0; i < count; i++)
            if (strcmp(groups[i].dataset, row.dataset) == 0 && groups[i].batch == row.batch &&
                strcmp(groups[i].network, row.network) == 0 &&
                strcmp(groups[i].optimizer, row.optimizer) == 0)
                break;
        if (i == count) {
            if (count == TRACE_GROUPS)
                continue;
            groups[count] = row;
            groups[count++].limits = 0;
        }
        struct trace_group *g = &groups[i];
        unsigned at = g->limits;
        if (at == TRACE_LIMITS)
            continue;
        for (; at > 0 && g->limit_w[at - 1] > row.limit_w[0]; at--) {
            g->limit_w[at] = g->limit_w[at - 1];
            g->time_s[at] = g->time_s[at - 1];
            g->power_w[at] = g->power_w[at - 1];
        }
        g->limit_w[at] = row.limit_w[0];
        g->time_s[at] = row.time_s[0];
        g->power_w[at] = row.power_w[0];
        g->limits++;
    }
    fclose(file);
    return count;
}

bool trace_is_judge(const struct trace_group *g)
{
    return strncmp(g->network, "bert", 4) == 0;
}

struct trace_point trace_run(struct wt_model *m, const struct wt_profile *p, double limit_w,
                             const struct wt_emu_kernel *kernels, size_t count, int64_t gap_ns,
                             int64_t warm_ns, int64_t span_ns)
{
    uint64_t id = 0, steps = 0;
    int64_t from_ns = 0;
    double from_j = 0;

    wt_model_init(m, p, 0, 1);
    m->temp_c = p->leak_ref_c; /* an epoch is long: start where it spends its time */
    wt_model_set_contexts(m, p, 1);
    if (wt_model_set_limit(m, p, (uint64_t)(limit_w * 1e3), NULL) < 0)
        return (struct trace_point){0, 0};
    for (;;) {
        if (from_ns == 0 && m->t_ns >= warm_ns) {
            from_ns = m->t_ns;
            from_j = wt_model_energy_j(m);
            steps = 0;
        }
        if (from_ns && m->t_ns - from_ns >= span_ns)
            break;
        if (wt_model_submit(m, p, ++id, kernels, count, gap_ns, NULL) < 0)
            return (struct trace_point){0, 0};
        int64_t done_ns;
        while (wt_model_load_done(m, id, &done_ns) == 0)
            wt_model_advance(m, p, wt_model_next_ns(m, p));
        steps++;
    }
    double span_s = (double)(m->t_ns - from_ns) * 1e-9;
    return (struct trace_point){span_s / (double)steps, (wt_model_energy_j(m) - from_j) / span_s};
}
