/* cpu: the CPU time of a step, by its cgroup where Slurm makes one (proctrack/cgroup), else by the
 * processes below its slurmstepd. A process that left that tree (its parent died first) is then
 * nobody's. */
#include <stdlib.h>
#include <string.h>

#include "jobs/jobs.h"
#include "window/attribution.h"

/* Field 22 of /proc/PID/stat (proc(5)): with the number a process's identity. */
static int start_of(const struct wt_ctx *ctx, uint32_t pid, uint64_t *ret_ticks)
{
    char path[64], text[2048];
    unsigned long long ticks;
    wt_text(path, sizeof(path), "/proc/%u/stat", pid);
    int rc = wt_fs_read(ctx, path, text, sizeof(text), NULL);
    if (rc < 0)
        return rc;
    const char *p = strrchr(text, ')');
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                     "%llu",
                     &ticks) != 1)
        return WT_E_FORMAT;
    /* One that has ended and was not waited for is gone, too. */
    if (p[1] == ' ' && p[2] == 'Z')
        return WT_E_GONE;
    *ret_ticks = ticks;
    return 0;
}

/* slurmstepd is in .../job_7/step_0/slurm or so (cgroup v2), its tasks beside it: up to the step it
 * is the step's. Without such parts it is slurmd's, of all jobs. */
static void cut_cgroup(char *path, uint32_t job)
{
    char part[32];
    wt_text(part, sizeof(part), "/job_%u/", job);
    char *at = strstr(path, part), *step;
    if (!at || strncmp(step = at + strlen(part), "step_", 5) != 0) {
        path[0] = '\0';
        return;
    }
    step[strcspn(step, "/")] = '\0';
}

bool wt_step_cpu_find(const struct wt_ctx *ctx, struct wt_step_cpu *cpu, uint32_t job)
{
    char path[64], text[4096];
    uint64_t start;
    if (!cpu->pid || start_of(ctx, cpu->pid, &start) < 0 ||
        (cpu->pid_start && start != cpu->pid_start))
        return false;
    cpu->pid_start = start;
    cpu->cgroup[0] = '\0';
    wt_text(path, sizeof(path), "/proc/%u/cgroup", cpu->pid);
    if (wt_fs_read(ctx, path, text, sizeof(text), NULL) < 0)
        return true;
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        uint64_t ns;
        if (strncmp(line, "0::", 3) != 0 || strlen(line + 3) >= sizeof(cpu->cgroup))
            continue;
        wt_text(cpu->cgroup, sizeof(cpu->cgroup), "%s", line + 3);
        cut_cgroup(cpu->cgroup, job);
        if (cpu->cgroup[0] && wt_cgroup_cpu_ns(ctx, cpu->cgroup, &ns, NULL) < 0)
            cpu->cgroup[0] = '\0';
    }
    return true;
}

/* The dead are in the time of those who waited for them. */
static int tree_ns(const struct wt_ctx *ctx, uint32_t pid, uint64_t *ret_ns, struct wt_error *err)
{
    uint64_t sum_ns, ns;
    int rc = wt_process_cpu_ns(ctx, pid, &sum_ns, NULL, 0, err);
    if (rc < 0)
        return rc;
    struct wt_pids pids = {0};
    rc = wt_process_children(ctx, pid, &pids, err);
    for (size_t i = 0; rc == 0 && i < pids.count; i++) {
        if (wt_process_cpu_ns(ctx, pids.at[i], &ns, NULL, 0, NULL) == 0)
            sum_ns += ns;
        rc = wt_process_children(ctx, pids.at[i], &pids, err);
    }
    free(pids.at);
    if (rc == 0)
        *ret_ns = sum_ns;
    return rc;
}

int wt_step_cpu_ns(const struct wt_ctx *ctx, const struct wt_step_cpu *cpu, uint64_t *ret_ns,
                   struct wt_error *err)
{
    return cpu->cgroup[0] ? wt_cgroup_cpu_ns(ctx, cpu->cgroup, ret_ns, err)
                          : tree_ns(ctx, cpu->pid, ret_ns, err);
}
