/* jobs_bed: see jobs_bed.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs_bed.h"

static int64_t bed_now(void *data)
{
    return ((struct bed *)data)->now_ns;
}

static void bed_sleep(void *data, int64_t t_ns)
{
    ((struct bed *)data)->now_ns = t_ns;
}

int64_t unix_of(const struct bed *bed, int64_t mono_ns)
{
    return UNIX0 + bed->skew_ns + (mono_ns - MONO0);
}

static int64_t bed_unix(void *data)
{
    return unix_of(data, ((struct bed *)data)->now_ns);
}

static double cum_j(const struct bed *bed, size_t i, int64_t t_ns)
{
    int64_t at = (t_ns - MONO0) / STEP_NS;
    double part = (double)((t_ns - MONO0) % STEP_NS) / (double)STEP_NS;
    if (at < 0)
        return 0;
    assert_true(at + 1 < HISTORY);
    return bed->cum_j[i][at] + part * (bed->cum_j[i][at + 1] - bed->cum_j[i][at]);
}

static int fake_begin(void *data, int64_t t_ns, uint64_t *ret_window)
{
    struct bed *bed = data;
    if (bed->fails && bed->fails--)
        return WT_E_NOMEM;
    assert_true(bed->window_count < WINDOWS);
    bed->windows[bed->window_count].begin_ns = t_ns < bed->now_ns ? t_ns : bed->now_ns;
    bed->windows[bed->window_count].is_open = bed->windows[bed->window_count].is_used = true;
    *ret_window = ++bed->window_count;
    return 0;
}

static int fake_end(void *data, uint64_t window, int64_t t_ns)
{
    struct bed *bed = data;
    assert_true(bed->windows[window - 1].is_open);
    bed->windows[window - 1].end_ns = t_ns < bed->now_ns ? t_ns : bed->now_ns;
    bed->windows[window - 1].is_open = false;
    return 0;
}

static int fake_cancel(void *data, uint64_t window)
{
    struct bed *bed = data;
    assert_true(bed->windows[window - 1].is_used);
    bed->windows[window - 1].is_used = false;
    return 0;
}

static void fill(struct bed *bed, uint64_t window, int64_t end_ns, bool is_open,
                 struct wt_window_result *r)
{
    int64_t begin_ns = bed->windows[window - 1].begin_ns;
    memset(r, 0, sizeof(*r));
    r->begin_ns = begin_ns;
    r->end_ns = end_ns;
    r->device_count = DEVICES;
    r->devices = calloc(DEVICES, sizeof(*r->devices));
    for (size_t i = 0; i < DEVICES; i++) {
        struct wt_window_device *d = &r->devices[i];
        double j = cum_j(bed, i, end_ns) - cum_j(bed, i, begin_ns);
        if (is_open && bed->wobble > 0)
            j += bed->wobble * ((double)rand_r(&bed->seed) / RAND_MAX * 2 - 1);
        j = j > 0 ? j : 0;
        d->device = i;
        d->energy = (struct wt_joules){j, fmax(0, j * 0.95 - bed->band_j), j * 1.05 + bed->band_j,
                                       WT_PROV_COUNTER};
        if (bed->is_dead[i] ||
            (bed->alive_ns[i] && begin_ns < bed->alive_ns[i] && end_ns > bed->dead_ns[i])) {
            d->energy.provenance = WT_PROV_UNKNOWN;
            wt_text(d->note, sizeof(d->note), "dead");
        }
    }
}

static int fake_result(void *data, uint64_t window, struct wt_window_result *ret,
                       struct wt_error *err)
{
    struct bed *bed = data;
    (void)err;
    assert_true(bed->windows[window - 1].is_used && !bed->windows[window - 1].is_open);
    fill(bed, window, bed->windows[window - 1].end_ns, false, ret);
    bed->windows[window - 1].is_used = false;
    return 0;
}

static int fake_peek(void *data, uint64_t window, size_t device, struct wt_window_device *ret,
                     struct wt_error *err)
{
    struct bed *bed = data;
    struct wt_window_result r;
    (void)err;
    assert_true(bed->windows[window - 1].is_used && bed->windows[window - 1].is_open);
    fill(bed, window, bed->now_ns, true, &r);
    *ret = r.devices[device];
    wt_window_result_done(&r);
    return 0;
}

static void fake_wait(void *data, int64_t t_ns)
{
    struct bed *bed = data;
    assert_true(t_ns <= bed->now_ns);
    bed->waits++;
}

void write_file(const char *path, const char *text)
{
    char fresh[256];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *f = fopen(fresh, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(rename(fresh, path), 0);
}

static void write_stat(struct bed *bed)
{
    char path[128], text[128];
    snprintf(path, sizeof(path), "%s/proc/stat", bed->dir);
    snprintf(text, sizeof(text), "cpu %llu 0 0 1000 0 0 0 0 0 0\n",
             (unsigned long long)bed->busy_ticks);
    write_file(path, text);
}

void pass(struct bed *bed, int64_t span_ns, int64_t busy_ns)
{
    for (int64_t left = span_ns; left > 0; left -= STEP_NS) {
        int64_t at = (bed->now_ns - MONO0) / STEP_NS;
        assert_true(at + 1 < HISTORY);
        for (size_t i = 0; i < DEVICES; i++)
            bed->cum_j[i][at + 1] = bed->cum_j[i][at] + bed->power_w[i] * (double)STEP_NS * 1e-9;
        bed->now_ns += STEP_NS;
    }
    bed->busy_ticks += (uint64_t)(busy_ns / (S / sysconf(_SC_CLK_TCK)));
    write_stat(bed);
}

void start(struct bed *bed)
{
    const struct wt_accounts_options options = {.facts_dir = bed->facts,
                                                .store = bed->store,
                                                .node = "n1",
                                                .cluster = "c",
                                                .mapping_dir = bed->map};
    struct wt_error err;
    memset(bed->windows, 0, sizeof(bed->windows));
    bed->window_count = 0;
    if (wt_accounts_new_over(&bed->accounts, bed->ctx, bed->pointers, NULL, DEVICES, &bed->meter,
                             &options, &err) < 0)
        fail_msg("%s", err.text);
}

void crash(struct bed *bed)
{
    bed->accounts->has_begun = false;
    wt_accounts_free(bed->accounts);
    bed->accounts = NULL;
}

struct bed *bed_new(void)
{
    static const struct {
        const char *id;
        enum wt_device_kind kind;
        unsigned index;
        bool is_counted;
        uint64_t power_max_mw;
    } devices[DEVICES] = {
        {"GPU-0", WT_DEVICE_GPU, 0, true, 400000},
        {"GPU-1", WT_DEVICE_GPU, 1, true, 400000},
        {"cpu-package-0", WT_DEVICE_CPU, 0, true, 300000},
        {"node-ipmi", WT_DEVICE_NODE, 0, false, 0},
    };
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    /* The store asks for its disk at each commit: in memory that costs nothing. */
    snprintf(bed->dir, sizeof(bed->dir), "%s/wattune-jobs-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(bed->dir));
    snprintf(bed->facts, sizeof(bed->facts), "%s/facts", bed->dir);
    snprintf(bed->store, sizeof(bed->store), "%s/jobs.db", bed->dir);
    snprintf(bed->map, sizeof(bed->map), "%s/map", bed->dir);
    char proc[96];
    snprintf(proc, sizeof(proc), "%s/proc", bed->dir);
    assert_int_equal(mkdir(proc, 0755), 0);
    assert_int_equal(mkdir(bed->facts, 0755), 0);
    bed->now_ns = MONO0;
    bed->seed = 7;
    static struct wt_clock clock;
    clock = (struct wt_clock){bed_now, bed_sleep, bed};
    const struct wt_ctx_options options = {.sysroot = bed->dir, .clock = &clock};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, NULL), 0);
    for (size_t i = 0; i < DEVICES; i++) {
        struct wt_device_info *info = &bed->infos[i];
        wt_text(info->id, sizeof(info->id), "%s", devices[i].id);
        wt_text(info->name, sizeof(info->name), "%s", devices[i].id);
        info->kind = devices[i].kind;
        info->index = devices[i].index;
        info->is_counted = devices[i].is_counted;
        info->can = WT_CAN_ENERGY;
        info->power_max_mw = devices[i].power_max_mw;
        bed->pointers[i] = info;
        bed->power_w[i] = 100;
    }
    bed->meter =
        (struct wt_accounts_meter){fake_begin, fake_end, fake_cancel, fake_wait, fake_result,
                                   fake_peek,  bed,      bed_unix,    "boot-1",  UNIX0 - 1000 * S};
    bed->cluster = "c";
    write_stat(bed);
    start(bed);
    return bed;
}

void bed_free(struct bed *bed)
{
    wt_accounts_free(bed->accounts);
    wt_ctx_free(bed->ctx);
    wt_fs_remove_tree(bed->dir, NULL);
    free(bed);
}

void tell(struct bed *bed, unsigned job, const char *step, const char *gpus, int64_t begin_ns,
          int64_t end_ns, unsigned pid)
{
    char path[160], text[1024];
    int n = snprintf(text, sizeof(text),
                     "job=%u\nuid=1000\nuser=ada\naccount=ml\npartition=gpu\nname=bert\n"
                     "cluster=%s\nnode=n1\nnodes=1\nbegin_ns=%lld\n",
                     job, bed->cluster, (long long)unix_of(bed, begin_ns));
    if (step)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "step=%s\n", step);
    if (gpus)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "gpus=%s\n", gpus);
    if (gpus && !step && bed->devices)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "devices=%s\n", bed->devices);
    if (pid)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "pid=%u\npid_start=77\n", pid);
    if (end_ns)
        snprintf(text + n, sizeof(text) - (size_t)n, "end_ns=%lld\n",
                 (long long)unix_of(bed, end_ns));
    snprintf(path, sizeof(path), "%s/%u%s%s", bed->facts, job, step ? "." : "", step ? step : "");
    write_file(path, text);
}

void stepd(struct bed *bed, unsigned pid, unsigned ticks)
{
    char path[160], text[256];
    snprintf(path, sizeof(path), "%s/proc/%u", bed->dir, pid);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/proc/%u/stat", bed->dir, pid);
    snprintf(text, sizeof(text), "%u (slurmstepd) S 1 1 1 0 -1 0 0 0 0 0 %u 0 0 0 20 0 1 0 77 0\n",
             pid, ticks);
    write_file(path, text);
}

void assert_conserved(struct bed *bed)
{
    struct wt_account_device *devices;
    size_t count;
    assert_int_equal(wt_accounts_devices(bed->accounts, &devices, &count, NULL), 0);
    size_t split = 0;
    for (size_t i = 0; i < DEVICES; i++)
        split += bed->infos[i].kind == WT_DEVICE_GPU || bed->infos[i].can;
    assert_int_equal(count, split);
    for (size_t i = 0; i < count; i++)
        if (devices[i].device_uj != devices[i].idle_uj + devices[i].jobs_uj)
            fail_msg("%s: %llu is not %llu + %llu", devices[i].id,
                     (unsigned long long)devices[i].device_uj,
                     (unsigned long long)devices[i].idle_uj,
                     (unsigned long long)devices[i].jobs_uj);
    free(devices);
    /* And of what runs: each row is between its bounds, and no more than its device. */
    struct wt_job_row *rows;
    assert_int_equal(wt_accounts_list(bed->accounts, true, &rows, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        if (rows[i].provenance != WT_PROV_UNKNOWN &&
            (rows[i].low_uj > rows[i].energy_uj || rows[i].energy_uj > rows[i].high_uj))
            fail_msg("job %u %s: %llu [%llu, %llu]", rows[i].job, rows[i].device,
                     (unsigned long long)rows[i].energy_uj, (unsigned long long)rows[i].low_uj,
                     (unsigned long long)rows[i].high_uj);
    free(rows);
}

void tick(struct bed *bed)
{
    struct wt_error err = {0};
    if (wt_accounts_tick(bed->accounts, &err) < 0)
        fail_msg("tick: %s", err.text);
    assert_conserved(bed);
}

void run_s(struct bed *bed, int seconds, int64_t busy_ns)
{
    for (int i = 0; i < seconds; i++) {
        pass(bed, S, busy_ns);
        tick(bed);
    }
}

struct wt_job_row *rows_of(const struct bed *bed, const struct wt_job_filter *filter,
                           size_t *ret_count)
{
    struct wt_job_store *store;
    struct wt_job_row *rows = NULL;
    struct wt_error err;
    if (wt_job_store_open(&store, bed->store, false, &err) < 0 ||
        wt_job_store_list(store, filter, &rows, ret_count, &err) < 0)
        fail_msg("%s", err.text);
    wt_job_store_close(store);
    return rows;
}

struct wt_job_row stored(const struct bed *bed, unsigned job, const char *step, const char *device)
{
    struct wt_job_row found = {0};
    size_t count;
    const struct wt_job_filter filter = {.has_steps = true, .has_idle = true};
    struct wt_job_row *rows = rows_of(bed, &filter, &count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].job == job && strcmp(rows[i].step, step) == 0 &&
            strcmp(rows[i].device, device) == 0)
            found = rows[i];
    free(rows);
    if (!found.begin_ns)
        fail_msg("no row of job %u, step \"%s\", %s", job, step, device);
    return found;
}

size_t nobodys(const struct bed *bed, const char *device, struct wt_job_row *ret, size_t max)
{
    size_t count, found = 0;
    const struct wt_job_filter filter = {.has_idle = true};
    struct wt_job_row *rows = rows_of(bed, &filter, &count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].job == 0 && strcmp(rows[i].device, device) == 0 && found < max)
            ret[found++] = rows[i];
    free(rows);
    return found;
}

bool has_file(const char *dir, const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

void assert_uj(uint64_t uj, double j, const char *what)
{
    if (fabs((double)uj * 1e-6 - j) > 1e-5)
        fail_msg("%s: %f J, wanted %f", what, (double)uj * 1e-6, j);
}
