/* attribution: rows that add up, and the CPU times they are made from. */
#include "window/attribution.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIDS_MOST 65536u

const char *wt_share_rule_name(enum wt_share_rule rule)
{
    switch (rule) {
    case WT_SHARE_EXCLUSIVE:
        return "exclusive";
    case WT_SHARE_BY_WEIGHT:
        return "by share";
    case WT_SHARE_PART:
        return "part";
    }
    return "unknown";
}

void wt_attribute(enum wt_share_rule rule, uint64_t device_uj, uint64_t idle_uj,
                  uint64_t weight_total, struct wt_share *shares, size_t count,
                  struct wt_attribution *ret_attribution)
{
    struct wt_attribution a = {.rule = rule, .device_uj = device_uj};
    if (rule == WT_SHARE_EXCLUSIVE && count == 1) {
        shares[0].energy_uj = device_uj;
        *ret_attribution = a;
        return;
    }
    if (rule == WT_SHARE_EXCLUSIVE)
        a.rule = WT_SHARE_BY_WEIGHT;
    a.idle_uj = idle_uj < device_uj ? idle_uj : device_uj;

    /* Weights are ns and may be many: summed in 128 bits. Counters of different clocks may disagree
     * a little; the listed sum then rules, so that nobody gets more than there is. */
    unsigned __int128 listed = 0;
    for (size_t i = 0; i < count; i++)
        listed += shares[i].weight;
    unsigned __int128 total = listed > weight_total ? listed : weight_total;
    uint64_t active = device_uj - a.idle_uj, given = 0;
    for (size_t i = 0; i < count; i++) {
        /* 64 x 64 bits fit in 128; rounding down leaves the crumbs to the residual. */
        shares[i].energy_uj =
            total ? (uint64_t)((unsigned __int128)active * shares[i].weight / total) : 0;
        given += shares[i].energy_uj;
    }
    a.residual_uj = active - given;
    *ret_attribution = a;
}

static struct wt_share *row_of(struct wt_ledger *ledger, const struct wt_share *share)
{
    for (size_t i = 0; i < ledger->row_count; i++)
        if (ledger->rows[i].pid == share->pid && /* a name goes when its process has ended */
            (share->pid || strcmp(ledger->rows[i].name, share->name) == 0))
            return &ledger->rows[i];
    if (ledger->row_count == WT_LEDGER_ROWS)
        return &ledger->rows[WT_LEDGER_ROWS - 1];
    struct wt_share *row = &ledger->rows[ledger->row_count++];
    *row = (struct wt_share){0};
    if (ledger->row_count == WT_LEDGER_ROWS) {
        wt_text(row->name, sizeof(row->name), "(others)");
    } else {
        row->pid = share->pid;
        memcpy(row->name, share->name, sizeof(row->name));
    }
    return row;
}

void wt_ledger_span(struct wt_ledger *ledger, uint64_t upto_uj, uint64_t idle_uj,
                    uint64_t weight_total, struct wt_share *shares, size_t count)
{
    for (size_t i = 0; i < count; i++)
        shares[i].energy_uj = 0;
    if (upto_uj <= ledger->device_uj)
        return;
    uint64_t fresh_uj = upto_uj - ledger->device_uj;
    struct wt_attribution a = {.residual_uj = fresh_uj};
    if (!ledger->is_lost)
        wt_attribute(WT_SHARE_BY_WEIGHT, fresh_uj, idle_uj, weight_total, shares, count, &a);
    ledger->is_lost = false;
    ledger->device_uj = upto_uj;
    ledger->idle_uj += a.idle_uj;
    ledger->residual_uj += a.residual_uj;
    for (size_t i = 0; i < count; i++)
        if (shares[i].energy_uj || shares[i].weight)
            row_of(ledger, &shares[i])->energy_uj += shares[i].energy_uj;
}

void wt_ledger_lost(struct wt_ledger *ledger)
{
    ledger->is_lost = true;
}

static void take_back(uint64_t *row_uj, uint64_t *over_uj)
{
    uint64_t taken_uj = *row_uj < *over_uj ? *row_uj : *over_uj;
    *row_uj -= taken_uj;
    *over_uj -= taken_uj;
}

void wt_ledger_close(struct wt_ledger *ledger, uint64_t total_uj, uint64_t idle_uj,
                     uint64_t weight_total, struct wt_share *shares, size_t count)
{
    wt_ledger_span(ledger, total_uj, idle_uj, weight_total, shares, count);
    if (total_uj >= ledger->device_uj)
        return;
    uint64_t over_uj = ledger->device_uj - total_uj, sum_uj = 0;
    ledger->device_uj = total_uj;
    take_back(&ledger->residual_uj, &over_uj);
    take_back(&ledger->idle_uj, &over_uj);
    for (size_t i = 0; i < ledger->row_count; i++)
        sum_uj += ledger->rows[i].energy_uj;
    uint64_t all_uj = over_uj;
    for (size_t i = 0; i < ledger->row_count && over_uj; i++) {
        uint64_t part_uj =
            (uint64_t)((unsigned __int128)all_uj * ledger->rows[i].energy_uj / sum_uj);
        ledger->rows[i].energy_uj -= part_uj;
        over_uj -= part_uj;
    }
    for (size_t i = 0; i < ledger->row_count && over_uj; i++) /* crumbs of the division */
        take_back(&ledger->rows[i].energy_uj, &over_uj);
}

int wt_process_cpu_ns(const struct wt_ctx *ctx, uint32_t pid, uint64_t *ret_ns, char *name,
                      size_t name_size, struct wt_error *err)
{
    char path[64], text[2048];
    wt_text(path, sizeof(path), "/proc/%u/stat", pid);
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc == WT_E_NOTFOUND)
        return wt_fail(err, WT_E_GONE, "process %u has ended", pid);
    if (rc < 0)
        return rc;
    /* Fields 14 to 17 (proc(5)), counted from the last bracket: a name may hold brackets itself. */
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    unsigned long long user, system;
    long long child_user, child_system;
    if (!open || !close ||
        sscanf(close + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld", &user,
               &system, &child_user, &child_system) != 4)
        return wt_fail(err, WT_E_FORMAT, "%s: not as proc(5) says", path);
    uint64_t ticks = user + system + (uint64_t)child_user + (uint64_t)child_system;
    *ret_ns = ticks * (uint64_t)(WT_NS_PER_S / sysconf(_SC_CLK_TCK));
    if (name)
        wt_text(name, name_size, "%.*s", (int)(close - open - 1), open + 1);
    return 0;
}

static int add_pid(struct wt_pids *pids, uint32_t pid, struct wt_error *err)
{
    if (pids->count == PIDS_MOST)
        return wt_fail(err, WT_E_RANGE, "more than %u processes below one", PIDS_MOST);
    if (pids->count == pids->room) {
        size_t room = pids->room ? 2 * pids->room : 64;
        uint32_t *more = realloc(pids->at, room * sizeof(*more));
        if (!more)
            return wt_fail(err, WT_E_NOMEM, "no memory for the processes of a program");
        pids->at = more;
        pids->room = room;
    }
    pids->at[pids->count++] = pid;
    return 0;
}

/* A file of any length, owned. */
static int read_long(const struct wt_ctx *ctx, const char *path, char **ret_text,
                     struct wt_error *err)
{
    for (size_t size = 4096;; size *= 2) {
        char *text = malloc(size);
        if (!text)
            return wt_fail(err, WT_E_NOMEM, "no memory for %s", path);
        int rc = wt_fs_read(ctx, path, text, size, err);
        if (rc == 0) {
            *ret_text = text;
            return 0;
        }
        free(text);
        if (rc != WT_E_FORMAT || size > 16 * PIDS_MOST)
            return rc;
    }
}

/* The kernel lists children by the thread that started them. */
static int add_children(const struct wt_ctx *ctx, const char *path, struct wt_pids *pids,
                        struct wt_error *err)
{
    char *text = NULL;
    int rc = read_long(ctx, path, &text, err);
    if (rc < 0)
        return rc == WT_E_NOTFOUND || rc == WT_E_GONE ? 0 : rc;
    for (char *save, *word = strtok_r(text, " ", &save); rc == 0 && word;
         word = strtok_r(NULL, " ", &save)) {
        uint64_t child;
        if (wt_text_to_u64(word, &child) < 0 || child > UINT32_MAX)
            rc = wt_fail(err, WT_E_FORMAT, "%s: not as proc(5) says", path);
        else
            rc = add_pid(pids, (uint32_t)child, err);
    }
    free(text);
    return rc;
}

int wt_process_children(const struct wt_ctx *ctx, uint32_t pid, struct wt_pids *io_pids,
                        struct wt_error *err)
{
    char path[96], **tasks;
    size_t task_count;
    wt_text(path, sizeof(path), "/proc/%u/task", pid);
    int rc = wt_fs_list(ctx, path, &tasks, &task_count, err);
    if (rc < 0)
        return rc == WT_E_NOTFOUND || rc == WT_E_GONE ? 0 : rc;
    for (size_t t = 0; rc == 0 && t < task_count; t++) {
        wt_text(path, sizeof(path), "/proc/%u/task/%.20s/children", pid, tasks[t]);
        rc = add_children(ctx, path, io_pids, err);
    }
    wt_fs_list_free(tasks, task_count);
    return rc;
}

int wt_cgroup_cpu_ns(const struct wt_ctx *ctx, const char *cgroup, uint64_t *ret_ns,
                     struct wt_error *err)
{
    char path[1024], text[4096];
    if (strstr(cgroup, ".."))
        return wt_fail(err, WT_E_FORMAT, "cgroup %.200s: no path of a cgroup", cgroup);
    wt_text(path, sizeof(path), "/sys/fs/cgroup%s%s/cpu.stat", *cgroup == '/' ? "" : "/", cgroup);
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        uint64_t us;
        if (strncmp(line, "usage_usec ", 11) != 0)
            continue;
        if (wt_text_to_u64(line + 11, &us) < 0 || us > UINT64_MAX / 1000)
            break;
        *ret_ns = us * 1000;
        return 0;
    }
    return wt_fail(err, WT_E_FORMAT, "%s: holds no usage_usec", path);
}

int wt_busy_cpu_ns(const struct wt_ctx *ctx, uint64_t *ret_ns, struct wt_error *err)
{
    /* The file lists every CPU and interrupt; its first line is all we want of it. */
    char full[4096];
    wt_text(full, sizeof(full), "%s/proc/stat", ctx ? ctx->sysroot : "");
    FILE *f = fopen(full, "re");
    if (!f)
        return wt_fail(err, WT_E_NOTFOUND, "%s: cannot be read", full);
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                   &wait, &irq, &softirq, &steal);
    fclose(f);
    if (n != 8)
        return wt_fail(err, WT_E_FORMAT, "%s: not as proc(5) says", full);
    /* Stolen time was somebody else's CPU. */
    *ret_ns =
        (user + nice + system + irq + softirq) * (uint64_t)(WT_NS_PER_S / sysconf(_SC_CLK_TCK));
    return 0;
}
