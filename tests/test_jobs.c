/* jobs: facts of Slurm, the energy of jobs split exactly, rows that outlive a crash. The clock, the
 * meter and /proc are made here and turned by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/accounts.h"

#define S       WT_NS_PER_S
#define UNIX0   (INT64_C(1790000000) * S)
#define MONO0   (INT64_C(5000) * S)
#define DEVICES 4 /* two GPUs, a processor, a node's meter */
#define WINDOWS 4096
#define STEP_NS (S / 10)
#define HISTORY 40000 /* samples of the truth, at STEP_NS */

/* ---- facts ---- */

static void facts_are_read_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *error; /* NULL: read */
        const char *why;
    } table[] = {
        {"job=1\nbegin_ns=5\n", NULL, "the least"},
        {"job=1\nbegin_ns=5", NULL, "without a last newline"},
        {"job=1\nstep=batch\nbegin_ns=5\nend_ns=9\npid=4\npid_start=9\n", NULL, "a step"},
        {"job=1\nbegin_ns=5\nname=\xc3\xa9t\xc3\xa9\n", NULL, "UTF-8"},
        {"job=1\nbegin_ns=5\nname=\n", NULL, "an empty text is none"},
        {"job=1\nbegin_ns=5\nlease=77\nnote=a\nnote=b\nX=\n", NULL,
         "keys not known are passed over"},
        {"job=1\nbegin_ns=5\ngpus=0-3,7\n", NULL, "ranges"},
        {"job=1\nbegin_ns=5\ndevices=GPU-b,GPU-a\ngpus=0,3\n", NULL, "ids before numbers"},
        {"job=1\nbegin_ns=5\ngpus=0,3\ndevices=GPU-b\n", "devices=", "fewer ids than GPUs"},
        {"job=1\nbegin_ns=5\ndevices=GPU-b\n", "devices=", "ids of no GPUs"},
        {"job=1\nbegin_ns=5\ngpus=0,3\ndevices=GPU-b,GPU-b\n", NULL, "two parts of a card"},
        {"job=1\nbegin_ns=5\ngpus=0\ndevices=\n", "devices=", "an empty id"},
        {"job=1\nbegin_ns=5\ngpus=0,1\ndevices=GPU-b,\n", "devices=", "an empty last id"},
        {"job=1\nbegin_ns=5\ngpus=0\ndevices="
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxx"
         "\n",
         "devices=", "longer than an id may be"},
        {"begin_ns=5\n", "without job", "whose?"},
        {"job=1\n", "without begin_ns", "since when?"},
        {"job=0\nbegin_ns=5\n", "job=0", "no job"},
        {"job=4294967296\nbegin_ns=5\n", "job=4294967296", "more than 32 bits"},
        {"job=-1\nbegin_ns=5\n", "job=-1", "a sign"},
        {"job=1\njob=1\nbegin_ns=5\n", "job is there twice", "twice"},
        {"job=1\nbegin_ns=0\n", "begin_ns=0", "no time"},
        {"job=1\nbegin_ns=9223372036854775808\n", "begin_ns=", "beyond int64"},
        {"job=1\nbegin_ns=5\nstep=../x\n", "step=", "no step's name"},
        {"job=1\nbegin_ns=5\nstep=99999999999\n", "step=", "too long a number"},
        {"job=1\nbegin_ns=5\ngpus=\n", "gpus=", "empty list"},
        {"job=1\nbegin_ns=5\ngpus=0,,1\n", "gpus=", "empty entry"},
        {"job=1\nbegin_ns=5\ngpus=0,0\n", "gpus=", "one twice"},
        {"job=1\nbegin_ns=5\ngpus=3-1\n", "gpus=", "backwards"},
        {"job=1\nbegin_ns=5\ngpus=0-500\n", "gpus=", "more than a node has"},
        {"job=1\nbegin_ns=5\ncap_mw=1.5\n", "cap_mw=", "no whole number"},
        {"job=1\nbegin_ns=5\nuser\n", "line 3", "no value"},
        {"job=1\nbegin_ns=5\n=x\n", "line 3", "no key"},
        {"job=1\nbegin_ns=5\nname=a\x1b[2J\n", "line 3", "a control character"},
        {"job=1\nbegin_ns=5\nname=\xc3(\n", "line 3", "no UTF-8"},
        {"job=1\nbegin_ns=5\nname=\xc0\xaf\n", "line 3", "overlong"},
        {"job=1\nbegin_ns=5\nname=\xed\xa0\x80\n", "line 3", "a surrogate"},
        {"", "without job", "empty"},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct wt_job_facts f;
        struct wt_error err = {0};
        int rc = wt_job_facts_parse(&f, table[i].text, strlen(table[i].text), "F", &err);
        if (!table[i].error && rc < 0)
            fail_msg("%s: refused: %s", table[i].why, err.text);
        if (table[i].error && (rc != WT_E_FORMAT || !strstr(err.text, table[i].error) ||
                               strncmp(err.text, "F: ", 3) != 0))
            fail_msg("%s: %d, %s", table[i].why, rc, err.text);
    }
}

static void facts_hold_what_the_file_says(void **state)
{
    (void)state;
    static const char text[] =
        "job=1234\nstep=0\nuid=1000\nuser=ada\naccount=ml\npartition=gpu\nname=bert\ncluster=c\n"
        "node=n1\ngpus=0,3\ndevices=GPU-b,GPU-a\nnodes=2\ncap_mw=150000\ncap_set_mw=149000\nbegin_"
        "ns=17\nend_ns=18\n"
        "pid=4242\npid_start=123456\nmodel=bert-base\n";
    struct wt_job_facts f;
    assert_int_equal(wt_job_facts_parse(&f, text, strlen(text), "F", NULL), 0);
    assert_int_equal(f.job, 1234);
    assert_string_equal(f.step, "0");
    assert_string_equal(f.user, "ada");
    assert_string_equal(f.model, "bert-base");
    assert_int_equal(f.gpu_count, 2);
    assert_int_equal(f.gpus[1], 3);
    assert_int_equal(f.device_count, 2);
    assert_string_equal(f.devices[1], "GPU-a");
    assert_int_equal(f.cap_mw, 150000);
    assert_int_equal(f.cap_set_mw, 149000);
    assert_int_equal(f.begin_ns, 17);
    assert_int_equal(f.end_ns, 18);
    assert_int_equal(f.pid_start, 123456);
}

static void a_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[WT_JOB_FACTS_MAX + 8];
    struct wt_job_facts f;
    struct wt_error err;
    int n = snprintf(text, sizeof(text), "job=1\nbegin_ns=5\nuser=");
    for (int i = 0; i < 40; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "\xc3\xa9");
    assert_int_equal(wt_job_facts_parse(&f, text, (size_t)n, "F", NULL), 0);
    assert_int_equal(strlen(f.user), 62); /* 63 would be half a character */
    memset(text + n, 'x', sizeof(text) - (size_t)n);
    assert_int_equal(wt_job_facts_parse(&f, text, WT_JOB_FACTS_MAX + 1, "F", &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "longer than 4096"));
}

/* ---- the bed ---- */

struct bed {
    char dir[64], facts[96], store[96], map[96];
    struct wt_ctx *ctx;
    int64_t now_ns, skew_ns; /* monotonic; CLOCK_REALTIME was set by so much */
    struct wt_device_info infos[DEVICES];
    const struct wt_device_info *pointers[DEVICES];
    double power_w[DEVICES];
    double cum_j[DEVICES][HISTORY]; /* the truth up to each STEP_NS since MONO0 */
    bool is_dead[DEVICES];
    int64_t dead_ns[DEVICES], alive_ns[DEVICES]; /* windows over this span know nothing */
    double wobble; /* windows that go on are off by so much, J, either way */
    double band_j; /* and their bounds are so much further out */
    struct {
        int64_t begin_ns, end_ns;
        bool is_open, is_used;
    } windows[WINDOWS];
    uint64_t window_count;
    unsigned waits;
    unsigned fails;      /* so many windows cannot be begun */
    const char *devices; /* the ids that tell() writes beside gpus; NULL: none */
    const char *cluster; /* and the cluster */
    uint64_t busy_ticks;
    struct wt_accounts_meter meter;
    struct wt_accounts *accounts;
    unsigned seed;
};

static int64_t bed_now(void *data)
{
    return ((struct bed *)data)->now_ns;
}

static void bed_sleep(void *data, int64_t t_ns)
{
    ((struct bed *)data)->now_ns = t_ns;
}

static int64_t unix_of(const struct bed *bed, int64_t mono_ns)
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

static void write_file(const char *path, const char *text)
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

/* Time goes on by whole steps, with this much busy CPU time (of all). */
static void pass(struct bed *bed, int64_t span_ns, int64_t busy_ns)
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

static void start(struct bed *bed)
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

/* The program dies: nothing is noted any more. */
static void crash(struct bed *bed)
{
    bed->accounts->has_begun = false;
    wt_accounts_free(bed->accounts);
    bed->accounts = NULL;
}

static struct bed *bed_new(void)
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

static void bed_free(struct bed *bed)
{
    wt_accounts_free(bed->accounts);
    wt_ctx_free(bed->ctx);
    wt_fs_remove_tree(bed->dir, NULL);
    free(bed);
}

/* A job's file, or with a step a step's. end 0: it runs; gpus NULL: none. */
static void tell(struct bed *bed, unsigned job, const char *step, const char *gpus,
                 int64_t begin_ns, int64_t end_ns, unsigned pid)
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

/* A slurmstepd in /proc with so much CPU time, in ticks of 10 ms. */
static void stepd(struct bed *bed, unsigned pid, unsigned ticks)
{
    char path[160], text[256];
    snprintf(path, sizeof(path), "%s/proc/%u", bed->dir, pid);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/proc/%u/stat", bed->dir, pid);
    snprintf(text, sizeof(text), "%u (slurmstepd) S 1 1 1 0 -1 0 0 0 0 0 %u 0 0 0 20 0 1 0 77 0\n",
             pid, ticks);
    write_file(path, text);
}

static void assert_conserved(struct bed *bed)
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

static void tick(struct bed *bed)
{
    struct wt_error err = {0};
    if (wt_accounts_tick(bed->accounts, &err) < 0)
        fail_msg("tick: %s", err.text);
    assert_conserved(bed);
}

/* Some seconds, a tick each. */
static void run_s(struct bed *bed, int seconds, int64_t busy_ns)
{
    for (int i = 0; i < seconds; i++) {
        pass(bed, S, busy_ns);
        tick(bed);
    }
}

static struct wt_job_row stored(struct bed *bed, unsigned job, const char *step, const char *device)
{
    struct wt_job_store *store;
    struct wt_job_row *rows, found = {0};
    size_t count = 0;
    struct wt_error err;
    const struct wt_job_filter filter = {.has_steps = true, .has_idle = true};
    if (wt_job_store_open(&store, bed->store, false, &err) < 0 ||
        wt_job_store_list(store, &filter, &rows, &count, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < count; i++)
        if (rows[i].job == job && strcmp(rows[i].step, step) == 0 &&
            strcmp(rows[i].device, device) == 0)
            found = rows[i];
    free(rows);
    wt_job_store_close(store);
    if (!found.begin_ns)
        fail_msg("no row of job %u, step \"%s\", %s", job, step, device);
    return found;
}

static bool has_file(const struct bed *bed, const char *dir, const char *name)
{
    char path[160];
    (void)bed;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void assert_uj(uint64_t uj, double j, const char *what)
{
    if (fabs((double)uj * 1e-6 - j) > 1e-5)
        fail_msg("%s: %f J, wanted %f", what, (double)uj * 1e-6, j);
}

/* ---- accounts ---- */

static void a_gpu_is_its_holders_from_begin_to_end(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 3, 0);
    /* Begins and ends between ticks. */
    tell(bed, 7, NULL, "0", bed->now_ns + 4 * STEP_NS, 0, 0);
    pass(bed, 4 * STEP_NS, 0);
    pass(bed, 6 * STEP_NS, 0);
    tick(bed);
    run_s(bed, 9, 0);
    struct wt_job_row row = stored(bed, 7, "", "GPU-0");
    assert_int_equal(row.state, WT_JOB_RUNNING);
    assert_true(has_file(bed, bed->map, "0"));
    assert_false(has_file(bed, bed->map, "1"));
    tell(bed, 7, NULL, "0", bed->now_ns - 96 * STEP_NS, bed->now_ns + 3 * STEP_NS, 0);
    run_s(bed, 1, 0);
    row = stored(bed, 7, "", "GPU-0");
    assert_int_equal(row.state, WT_JOB_ENDED);
    assert_uj(row.energy_uj, 200 * 9.9, "all the time it held it, and no more");
    assert_true((double)row.low_uj * 1e-6 < 0.96 * 200 * 9.9);
    assert_true((double)row.high_uj * 1e-6 > 1.04 * 200 * 9.9);
    assert_int_equal(row.provenance, WT_PROV_COUNTER);
    assert_string_equal(row.rule, "exclusive");
    assert_string_equal(row.user, "ada");
    assert_int_equal(row.gap_ns, 0);
    /* What was told of it is done with; the user is told. */
    assert_false(has_file(bed, bed->facts, "7"));
    /* For wattuned, which goes by the end in it, and five minutes long. */
    char path[160];
    snprintf(path, sizeof(path), "%s/7.ended", bed->facts);
    assert_int_equal(access(path, F_OK), 0);
    struct timespec old[2] = {{.tv_sec = time(NULL) - 301}, {.tv_sec = time(NULL) - 301}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    tick(bed);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(has_file(bed, bed->facts, "7.energy"));
    assert_false(has_file(bed, bed->map, "0"));
    bed_free(bed);
}

static void a_job_shorter_than_a_tick_has_its_energy(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[1] = 300;
    run_s(bed, 2, 0);
    tell(bed, 8, NULL, "1", bed->now_ns + 2 * STEP_NS, bed->now_ns + 5 * STEP_NS, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 8, "", "GPU-1").energy_uj, 300 * 0.3, "0.3 s");
    bed_free(bed);
}

static void two_holders_are_said_and_split_evenly(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 1, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 6, 0);
    tell(bed, 1, NULL, "0", bed->now_ns - 10 * S, bed->now_ns, 0);
    tell(bed, 2, NULL, "0", bed->now_ns - 6 * S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row one = stored(bed, 1, "", "GPU-0"), two = stored(bed, 2, "", "GPU-0");
    assert_uj(one.energy_uj, 100 * (4 + 3), "4 s alone, 6 s by halves");
    assert_uj(two.energy_uj, 100 * 3, "6 s by halves");
    assert_string_equal(two.rule, "split evenly");
    assert_non_null(strstr(two.note, "at once"));
    assert_int_equal(two.low_uj, 0);
    assert_true(two.high_uj >= 600000000);
    bed_free(bed);
}

static void host_devices_go_by_cpu_time(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[2] = 80;
    run_s(bed, 1, 0);
    stepd(bed, 4242, 0);
    tell(bed, 3, NULL, NULL, bed->now_ns, 0, 0);
    tell(bed, 3, "0", NULL, bed->now_ns, 0, 4242);
    for (unsigned i = 1; i <= 10; i++) {
        stepd(bed, 4242, i * 50); /* half a second each second, of two that all are busy */
        run_s(bed, 1, 2 * S);
    }
    tell(bed, 3, "0", NULL, bed->now_ns - 10 * S, bed->now_ns, 4242);
    tell(bed, 3, NULL, NULL, bed->now_ns - 10 * S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row job = stored(bed, 3, "", "cpu-package-0");
    struct wt_job_row step = stored(bed, 3, "0", "cpu-package-0");
    struct wt_job_row node = stored(bed, 3, "", "node-ipmi");
    assert_uj(job.energy_uj, 80 * 10 * 0.25, "a quarter");
    assert_uj(step.energy_uj, 80 * 10 * 0.25, "its step, inside it");
    assert_string_equal(job.rule, "by CPU time");
    /* A second of it against three of others that draw three times as much each, or a third. */
    assert_true((double)job.low_uj * 1e-6 < 800 * 0.1);
    assert_true((double)job.high_uj * 1e-6 > 800 * 0.5);
    assert_false(node.is_counted);
    bed_free(bed);
}

/* Where Slurm makes cgroups, a step's is read and not the processes'. */
static void a_steps_cgroup_goes_before_its_processes(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    char path[256];
    const char *const folders[] = {"sys",
                                   "sys/fs",
                                   "sys/fs/cgroup",
                                   "sys/fs/cgroup/slurm",
                                   "sys/fs/cgroup/slurm/job_3",
                                   "sys/fs/cgroup/slurm/job_3/step_0"};
    for (size_t i = 0; i < WT_COUNTOF(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", bed->dir, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    stepd(bed, 4242, 1000000);
    snprintf(path, sizeof(path), "%s/proc/4242/cgroup", bed->dir);
    write_file(path, "0::/slurm/job_3/step_0/slurm\n");
    snprintf(path, sizeof(path), "%s/sys/fs/cgroup/slurm/job_3/step_0/cpu.stat", bed->dir);
    write_file(path, "usage_usec 500000\n");
    run_s(bed, 1, 0);
    tell(bed, 3, NULL, NULL, bed->now_ns, 0, 0);
    tell(bed, 3, "0", NULL, bed->now_ns, 0, 4242);
    run_s(bed, 1, S);
    tell(bed, 3, NULL, NULL, bed->now_ns - S, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 3, "", "cpu-package-0").energy_uj, 50, "half a second of one");
    bed_free(bed);
}

/* slurmstepd dies and nobody tells the step's end. */
static void a_step_ends_with_its_slurmstepd(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    stepd(bed, 50, 0);
    tell(bed, 3, NULL, "0", bed->now_ns, 0, 0);
    tell(bed, 3, "batch", "0", bed->now_ns, 0, 50);
    run_s(bed, 3, 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/proc/50/stat", bed->dir);
    unlink(path);
    run_s(bed, 3, 0);
    struct wt_job_row step = stored(bed, 3, "batch", "GPU-0"), job = stored(bed, 3, "", "GPU-0");
    assert_int_equal(step.state, WT_JOB_ENDED);
    assert_int_equal(job.state, WT_JOB_RUNNING);
    assert_true(step.energy_uj >= 300000000 && step.energy_uj <= 500000000);
    assert_false(has_file(bed, bed->facts, "3.batch"));
    assert_true(has_file(bed, bed->facts, "3"));
    bed_free(bed);
}

/* Any history adds up in whole microjoules at every tick (tick() looks), and jobs get what they
 * held. */
static void histories_add_up(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 12; seed++) {
        struct bed *bed = bed_new();
        unsigned r = seed * 7919;
        struct {
            unsigned job;
            int64_t begin_ns;
            const char *gpus;
        } live[4] = {{0, 0, NULL}};
        static const char *const sets[] = {NULL, "0", "1", "0,1"};
        unsigned next = 100;
        bed->wobble = seed % 3 ? 0.5 : 0;
        for (int s = 0; s < 90; s++) {
            for (size_t i = 0; i < DEVICES; i++) {
                bed->power_w[i] = 50 + rand_r(&r) % 350;
                if (rand_r(&r) % 40 == 0)
                    bed->is_dead[i] = !bed->is_dead[i];
            }
            for (size_t k = 0; k < WT_COUNTOF(live); k++) {
                if (rand_r(&r) % 8)
                    continue;
                if (live[k].job) {
                    tell(bed, live[k].job, NULL, live[k].gpus, live[k].begin_ns,
                         bed->now_ns + rand_r(&r) % 9 * STEP_NS, 0);
                    live[k].job = 0;
                } else {
                    live[k].job = next++;
                    live[k].begin_ns = bed->now_ns + rand_r(&r) % 9 * STEP_NS;
                    live[k].gpus = sets[rand_r(&r) % 4];
                    stepd(bed, live[k].job, 0);
                    tell(bed, live[k].job, NULL, live[k].gpus, live[k].begin_ns, 0, 0);
                    tell(bed, live[k].job, "0", live[k].gpus, live[k].begin_ns, 0, live[k].job);
                }
            }
            for (size_t k = 0; k < WT_COUNTOF(live); k++)
                if (live[k].job)
                    stepd(bed, live[k].job, (unsigned)s * 40);
            run_s(bed, 1, rand_r(&r) % 4 * S);
        }
        bed_free(bed);
    }
}

static void a_job_goes_on_after_a_crash_with_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 40, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    assert_true(before.updated_ns >= unix_of(bed, bed->now_ns) - 31 * S);
    crash(bed);
    pass(bed, 20 * S, 0);
    start(bed);
    run_s(bed, 10, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_ENDED);
    assert_int_equal(after.begin_ns, before.begin_ns);
    int64_t noted_ns = before.updated_ns - before.begin_ns;
    assert_uj(after.energy_uj, (double)before.energy_uj * 1e-6 + 200 * 10, "what was seen");
    assert_int_equal(after.gap_ns, 60 * S - noted_ns); /* 40 + 20 s in all until the start */
    double truth_j = 200 * 70.0;
    assert_true((double)after.low_uj * 1e-6 <= truth_j && truth_j <= (double)after.high_uj * 1e-6);
    assert_true((double)after.high_uj * 1e-6 <=
                1.05 * (double)after.energy_uj * 1e-6 + 400 * (double)after.gap_ns * 1e-9 + 1);
    /* Of a meter whose most nobody knows there is no upper bound. */
    assert_true(stored(bed, 5, "", "node-ipmi").high_uj == UINT64_MAX);
    bed_free(bed);
}

static void a_job_that_ended_meanwhile_is_closed_up_to_its_end(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 35, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    pass(bed, 20 * S, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns - 5 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_ENDED);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_int_equal(after.gap_ns, after.end_ns - before.updated_ns);
    assert_uj(after.high_uj - before.high_uj, 400 * (double)after.gap_ns * 1e-9, "full power");
    assert_false(has_file(bed, bed->facts, "5"));
    bed_free(bed);
}

static void after_a_reboot_open_rows_are_lost_up_to_the_boot(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 35, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    pass(bed, 100 * S, 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/5", bed->facts); /* the folder is in memory */
    unlink(path);
    wt_text(bed->meter.boot, sizeof(bed->meter.boot), "boot-2");
    bed->meter.boot_ns = unix_of(bed, bed->now_ns - 40 * S);
    start(bed);
    run_s(bed, 2, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.state, WT_JOB_LOST);
    assert_int_equal(after.end_ns, bed->meter.boot_ns);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_int_equal(after.low_uj, before.low_uj);
    assert_int_equal(after.gap_ns, after.end_ns - before.updated_ns);
    assert_uj(after.high_uj - before.high_uj, 400 * (double)after.gap_ns * 1e-9, "full power");
    assert_non_null(strstr(after.note, "started anew"));
    bed_free(bed);
}

/* It died between the last rows and the removal of the file. */
static void an_ended_job_is_not_accounted_twice(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    int64_t end_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, end_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row before = stored(bed, 5, "", "GPU-0");
    crash(bed);
    tell(bed, 5, NULL, "0", begin_ns, end_ns, 0);
    start(bed);
    run_s(bed, 2, 0);
    struct wt_job_row after = stored(bed, 5, "", "GPU-0");
    assert_int_equal(after.seq, before.seq);
    assert_int_equal(after.energy_uj, before.energy_uj);
    assert_false(has_file(bed, bed->facts, "5"));
    bed_free(bed);
}

static void a_gpu_that_dies_leaves_a_bounded_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 10, 0);
    bed->is_dead[0] = true;
    bed->dead_ns[0] = bed->now_ns;
    run_s(bed, 40, 0);
    bed->is_dead[0] = false;
    bed->alive_ns[0] = bed->now_ns - 3 * S; /* windows from here on are whole */
    run_s(bed, 40, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row row = stored(bed, 5, "", "GPU-0");
    double truth_j = 100 * 90.0;
    assert_int_equal(row.provenance, WT_PROV_COUNTER);
    assert_true(row.gap_ns >= 30 * S && row.gap_ns <= 80 * S);
    assert_true((double)row.low_uj * 1e-6 <= truth_j && truth_j <= (double)row.high_uj * 1e-6);
    bed_free(bed);
}

static void a_gpu_no_sensor_reads_is_unknown_and_said(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0,6", bed->now_ns, 0, 0);
    run_s(bed, 2, 0);
    struct wt_job_row row = stored(bed, 5, "", "gpu-6");
    assert_int_equal(row.provenance, WT_PROV_UNKNOWN);
    assert_true(row.high_uj == UINT64_MAX);
    assert_non_null(strstr(row.note, "no sensor"));
    bed_free(bed);
}

static void a_requeued_job_is_another(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 3, 0);
    struct wt_job_store *store;
    struct wt_job_row *rows;
    size_t count, gpu = 0;
    const struct wt_job_filter filter = {.job = 5};
    assert_int_equal(wt_job_store_open(&store, bed->store, false, NULL), 0);
    assert_int_equal(wt_job_store_list(store, &filter, &rows, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].device, "GPU-0") == 0) {
            assert_int_equal(rows[i].state, gpu == 0 ? WT_JOB_ENDED : WT_JOB_RUNNING);
            gpu++;
        }
    assert_int_equal(gpu, 2);
    free(rows);
    wt_job_store_close(store);
    bed_free(bed);
}

static void bad_files_are_said_and_harm_no_others(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    char path[160];
    struct wt_error err = {0};
    struct wt_accounts_status status;
    snprintf(path, sizeof(path), "%s/9", bed->facts);
    write_file(path, "job=9\nbegin_ns=x\n");
    snprintf(path, sizeof(path), "%s/10", bed->facts);
    write_file(path, "job=11\nbegin_ns=5\n");
    snprintf(path, sizeof(path), "%s/README", bed->facts);
    write_file(path, "not ours\n");
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    pass(bed, S, 0);
    assert_int_equal(wt_accounts_tick(bed->accounts, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "/10: job=11"));
    wt_accounts_status(bed->accounts, &status);
    assert_int_equal(status.jobs, 1);
    assert_non_null(strstr(status.problem, "/10"));
    assert_int_equal(chmod(bed->facts, 0777), 0);
    assert_int_equal(wt_accounts_tick(bed->accounts, &err), WT_E_DENIED);
    wt_accounts_status(bed->accounts, &status);
    assert_int_equal(status.jobs, 1); /* what runs goes on */
    bed_free(bed);
}

static void without_a_folder_all_is_nobodys(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    assert_int_equal(rmdir(bed->facts), 0);
    run_s(bed, 35, 0);
    assert_uj(stored(bed, 0, "idle", "GPU-1").energy_uj + 0, 100 * 31, "up to the last note");
    bed_free(bed);
}

/* The rows of nobody in the store, and what they hold of one device. */
static size_t nobodys(struct bed *bed, const char *device, struct wt_job_row *ret, size_t max)
{
    struct wt_job_store *store;
    struct wt_job_row *rows;
    size_t count, found = 0;
    const struct wt_job_filter filter = {.has_idle = true};
    assert_int_equal(wt_job_store_open(&store, bed->store, false, NULL), 0);
    assert_int_equal(wt_job_store_list(store, &filter, &rows, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        if (rows[i].job == 0 && strcmp(rows[i].device, device) == 0 && found < max)
            ret[found++] = rows[i];
    free(rows);
    wt_job_store_close(store);
    return found;
}

static void another_cluster_ends_nobodys_rows(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    run_s(bed, 10, 0);
    bed->cluster = "other";
    tell(bed, 5, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 35, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 2);
    assert_string_equal(rows[0].cluster, "c");
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    assert_string_equal(rows[1].cluster, "other");
    assert_int_equal(rows[1].state, WT_JOB_RUNNING);
    assert_true(rows[0].end_ns <= rows[1].begin_ns);
    assert_uj(rows[0].energy_uj, 100 * 11, "until it was told");
    /* What was not written yet is only called another. */
    crash(bed);
    bed->cluster = "third";
    tell(bed, 6, NULL, NULL, bed->now_ns, 0, 0);
    start(bed);
    run_s(bed, 2, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 3);
    assert_int_equal(rows[1].state, WT_JOB_LOST);
    bed_free(bed);
}

static void midnight_ends_nobodys_rows_with_sound_bounds(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    const int64_t day_ns = 86400 * S;
    /* A minute before. */
    bed->skew_ns = day_ns - (UNIX0 + (bed->now_ns - MONO0)) % day_ns - 60 * S;
    wt_accounts_free(bed->accounts);
    start(bed);
    run_s(bed, 100, 0);
    assert_int_equal(nobodys(bed, "GPU-0", rows, 8), 2);
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    assert_int_equal(rows[0].end_ns % day_ns, 0);
    assert_uj(rows[0].energy_uj, 100 * 60, "until midnight");
    assert_uj(rows[0].high_uj, 105 * 60, "and its bounds");
    double j = (double)rows[1].energy_uj * 1e-6;
    assert_true(j > 100 * 5 && j <= 100 * 40);
    assert_true((double)rows[1].high_uj * 1e-6 < 1.06 * j); /* not the hour before, too */
    assert_true((double)rows[1].low_uj * 1e-6 > 0.94 * j);
    bed_free(bed);
}

static void a_stop_ends_nobodys_rows_and_loses_nothing(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_row rows[8];
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 5, 0);
    assert_true(has_file(bed, bed->facts, ".serve"));
    pass(bed, S / 2, 0); /* since the last tick */
    wt_accounts_free(bed->accounts);
    assert_false(has_file(bed, bed->facts, ".serve"));
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 1);
    assert_int_equal(rows[0].state, WT_JOB_ENDED);
    start(bed);
    run_s(bed, 5, 0);
    assert_int_equal(nobodys(bed, "GPU-1", rows, 8), 2);
    assert_int_equal(rows[0].state, WT_JOB_ENDED); /* and not lost */
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row job = stored(bed, 5, "", "GPU-0");
    assert_int_equal(job.gap_ns, 0); /* the next was there at once */
    double truth_j = 100 * 10.5;
    assert_uj(job.energy_uj, truth_j, "with the half second");
    assert_true((double)job.low_uj * 1e-6 <= truth_j && truth_j <= (double)job.high_uj * 1e-6);
    bed_free(bed);
}

/* A store asks its disk at each transaction, whose rows have one seq. */
static void a_tick_is_one_transaction(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    for (unsigned job = 1; job <= 3; job++) {
        tell(bed, job, NULL, job == 3 ? "1" : "0", begin_ns, 0, 0);
        tell(bed, job, "0", job == 3 ? "1" : "0", begin_ns, 0, 0);
    }
    run_s(bed, 3, 0);
    for (unsigned job = 1; job <= 3; job++) {
        tell(bed, job, NULL, job == 3 ? "1" : "0", begin_ns, bed->now_ns, 0);
        tell(bed, job, "0", job == 3 ? "1" : "0", begin_ns, bed->now_ns, 0);
    }
    run_s(bed, 1, 0);
    int64_t seq = stored(bed, 1, "", "GPU-0").seq;
    assert_true(seq > 0);
    assert_int_equal(stored(bed, 1, "0", "GPU-0").seq, seq);
    assert_int_equal(stored(bed, 2, "", "GPU-0").seq, seq);
    assert_int_equal(stored(bed, 3, "0", "GPU-1").seq, seq);
    assert_int_equal(stored(bed, 3, "", "cpu-package-0").seq, seq);
    bed_free(bed);
}

static void one_store_has_one_keeper(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_accounts *first = bed->accounts, *second = NULL;
    const struct wt_accounts_options options = {.facts_dir = bed->facts, .store = bed->store};
    struct wt_error err = {0};
    assert_int_equal(wt_accounts_new_over(&second, bed->ctx, bed->pointers, NULL, DEVICES,
                                          &bed->meter, &options, &err),
                     WT_E_STATE);
    char pid[32];
    snprintf(pid, sizeof(pid), "process %d ", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.fix, "--store"));
    assert_ptr_equal(first, bed->accounts);
    wt_accounts_free(bed->accounts);
    start(bed); /* fails the test where it may not */
    bed_free(bed);
}

/* A processor whose settings are all that it has here. */
static void what_has_no_sensor_has_no_row(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    wt_accounts_free(bed->accounts);
    assert_int_equal(unlink(bed->store), 0);
    bed->infos[1].can = bed->infos[2].can = 0;
    bed->is_dead[1] = bed->is_dead[2] = true;
    start(bed);
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0,1", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    tell(bed, 5, NULL, "0,1", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row nobody;
    struct wt_job_store *store;
    struct wt_job_row *rows;
    size_t count;
    const struct wt_job_filter filter = {.job = 5};
    assert_int_equal(wt_job_store_open(&store, bed->store, false, NULL), 0);
    assert_int_equal(wt_job_store_list(store, &filter, &rows, &count, NULL), 0);
    assert_int_equal(count, 3); /* two GPUs and the meter of the node */
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(rows[i].device, "cpu-package-0");
    free(rows);
    wt_job_store_close(store);
    assert_int_equal(nobodys(bed, "cpu-package-0", &nobody, 1), 0);
    struct wt_job_row gpu = stored(bed, 5, "", "GPU-1"); /* which the job was given */
    assert_true(gpu.begin_ns > 0);
    assert_int_equal(gpu.provenance, WT_PROV_UNKNOWN);
    bed_free(bed);
}

/* A device of the host that is not known for a while. */
static void a_host_device_that_dies_leaves_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[2] = 80;
    run_s(bed, 2, 0);
    uint64_t base = bed->accounts->devices[1].base;
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    run_s(bed, 10, S);
    bed->is_dead[2] = true;
    run_s(bed, 40, S);
    tell(bed, 5, "0", NULL, begin_ns, bed->now_ns, 50);
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    struct wt_job_row job = stored(bed, 5, "", "cpu-package-0");
    struct wt_job_row step = stored(bed, 5, "0", "cpu-package-0");
    assert_int_equal(job.gap_ns, 40 * S);
    assert_int_equal(step.gap_ns, 40 * S);
    assert_true((double)job.high_uj * 1e-6 >= 300 * 40.0); /* full power */
    assert_true((double)job.high_uj * 1e-6 < 300 * 40.0 + 80 * 30.0);
    assert_int_equal(stored(bed, 5, "", "node-ipmi").gap_ns, 0);
    assert_true(bed->accounts->devices[1].base == base); /* of others nothing begins anew */
    struct wt_job_row nobody;
    run_s(bed, 35, S);
    assert_int_equal(nobodys(bed, "cpu-package-0", &nobody, 1), 1);
    assert_true(nobody.gap_ns >= 45 * S); /* as of what was noted last */
    bed_free(bed);
}

/* It comes back, and its window knows what it drew meanwhile: no gap, and whose it was is open. */
static void what_comes_late_is_no_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    run_s(bed, 5, S);
    bed->is_dead[2] = true;
    run_s(bed, 10, S);
    bed->is_dead[2] = false;
    run_s(bed, 5, S);
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    struct wt_job_row job = stored(bed, 5, "", "cpu-package-0");
    assert_int_equal(job.gap_ns, 0);
    assert_true((double)job.high_uj * 1e-6 >= 100 * 10.0);
    bed_free(bed);
}

/* What a base knew of its bounds once holds for what was drawn then, and not for all before. */
static void bounds_are_of_their_own_time(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    stepd(bed, 50, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    for (unsigned i = 1; i <= 20; i++) {
        stepd(bed, 50, i * 100); /* all of it */
        run_s(bed, 1, S);
    }
    struct wt_job_row before, after, *rows;
    size_t count;
    before = after = (struct wt_job_row){0};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(wt_accounts_list(bed->accounts, false, &rows, &count, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(!rows[i].step[0] || !rows[i].job); /* steps were not asked for */
            if (rows[i].job == 5 && strcmp(rows[i].device, "cpu-package-0") == 0)
                *(k ? &after : &before) = rows[i];
        }
        free(rows);
        bed->band_j = 3; /* from here on the sensor may be off by that much more */
        stepd(bed, 50, 2000 + 100 + (unsigned)k * 100);
        run_s(bed, 1 - k, S);
    }
    /* That is in the bounds once, and not once a tick. */
    assert_true(after.high_uj > before.high_uj);
    assert_true((double)(after.high_uj - before.high_uj) * 1e-6 < 1.05 * 100 + 3 + 0.1);
    assert_true((double)before.high_uj * 1e-6 < 1.05 * 2000 + 110);
    bed_free(bed);
}

static void a_step_whose_gpu_went_away_has_a_gap(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 50);
    run_s(bed, 10, 0);
    bed->is_dead[0] = true;
    run_s(bed, 7, 0);
    tell(bed, 5, "0", "0", begin_ns, bed->now_ns, 50);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 5, "0", "GPU-0");
    assert_int_equal(step.gap_ns, 7 * S);
    assert_uj(step.energy_uj, 100 * 10, "what was seen");
    assert_uj(step.high_uj, 105 * 10 + 400 * 7, "and full power since");
    bed_free(bed);
}

/* A tick that fails after the store was read. */
static void a_gap_counts_once_whatever_fails(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 40, 0);
    crash(bed);
    pass(bed, 10 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct job *job = bed->accounts->jobs;
    int64_t gap_ns = job->places[0].gap_ns;
    assert_true(gap_ns > 0);
    job->is_new = true; /* as it stays when its first tick fails */
    run_s(bed, 1, 0);
    assert_int_equal(bed->accounts->jobs->places[0].gap_ns, gap_ns);
    bed_free(bed);
}

static void a_tick_without_memory_loses_no_job(void **state)
{
    (void)state;
    for (unsigned fails = 1; fails <= 3; fails++) {
        struct bed *bed = bed_new();
        run_s(bed, 2, 0);
        int64_t begin_ns = bed->now_ns;
        tell(bed, 5, NULL, "0", begin_ns, 0, 0);
        tell(bed, 5, "0", "0", begin_ns, 0, 0);
        for (int i = 0; i < 10; i++) {
            pass(bed, S, 0);
            bed->fails = i == 0 ? fails : 0;
            int rc = wt_accounts_tick(bed->accounts, NULL);
            assert_int_equal(rc, i == 0 ? WT_E_NOMEM : 0);
            assert_conserved(bed);
        }
        tell(bed, 5, "0", "0", begin_ns, bed->now_ns, 0);
        tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
        pass(bed, S, 0);
        bed->fails = 1;
        assert_int_equal(wt_accounts_tick(bed->accounts, NULL), WT_E_NOMEM);
        run_s(bed, 1, 0);
        struct wt_job_row job = stored(bed, 5, "", "GPU-0"), step = stored(bed, 5, "0", "GPU-0");
        assert_int_equal(job.state, WT_JOB_ENDED);
        assert_uj(job.energy_uj, 100 * 10, "all of it");
        assert_uj(step.energy_uj, 100 * 10, "and of the step");
        assert_int_equal(job.gap_ns + step.gap_ns, 0);
        bed_free(bed);
    }
}

/* The job ended while nobody looked, and so did its steps. */
static void steps_of_an_ended_job_are_closed_with_it(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    stepd(bed, 50, 0);
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 50);
    run_s(bed, 35, 0);
    crash(bed);
    pass(bed, 20 * S, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns - 15 * S, 0);
    start(bed);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 5, "0", "GPU-0"), job = stored(bed, 5, "", "GPU-0");
    assert_int_equal(step.state, WT_JOB_ENDED);
    assert_int_equal(step.end_ns, job.end_ns);
    assert_int_equal(step.gap_ns, job.gap_ns);
    assert_false(has_file(bed, bed->facts, "5.0"));
    /* And of one that nobody ever saw alive. */
    tell(bed, 6, NULL, "1", bed->now_ns, bed->now_ns + S / 2, 0);
    tell(bed, 6, "0", "1", bed->now_ns, 0, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 6, "0", "GPU-1").energy_uj, 50, "half a second");
    bed_free(bed);
}

static void steps_on_a_shared_gpu_get_what_their_job_does(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 1, NULL, "0", begin_ns, 0, 0);
    tell(bed, 1, "0", "0", begin_ns, 0, 0);
    run_s(bed, 4, 0);
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 6, 0);
    tell(bed, 1, "0", "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    struct wt_job_row step = stored(bed, 1, "0", "GPU-0");
    assert_uj(step.energy_uj, 100 * (4 + 3), "4 s alone, 6 s by halves");
    assert_string_equal(step.rule, "split evenly");
    bed_free(bed);
}

/* What was told of a job that runs never falls, even where its segment was thought too much. */
static void who_goes_on_gives_nothing_back(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    tell(bed, 1, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 5, 0);
    struct job *job = bed->accounts->jobs;
    struct segment *s = &bed->accounts->devices[0].segment;
    /* As after a look that knew too much. */
    bed->accounts->nobody.places[0].acc_uj -= 50000000;
    bed->accounts->devices[0].idle_uj -= 50000000;
    bed->accounts->devices[0].jobs_uj += 50000000;
    job->places[0].acc_uj += 50000000;
    s->given_uj += 50000000;
    uint64_t told_uj = job->places[0].acc_uj;
    tell(bed, 2, NULL, "0", bed->now_ns, 0, 0);
    run_s(bed, 1, 0);
    assert_true(job->places[0].acc_uj >= told_uj);
    bed_free(bed);
}

static void cpu_time_that_falls_is_not_counted_again(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 1, 0);
    stepd(bed, 50, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, NULL, begin_ns, 0, 0);
    tell(bed, 5, "0", NULL, begin_ns, 0, 50);
    static const unsigned ticks[] = {100, 40, 100, 100};
    for (size_t i = 0; i < WT_COUNTOF(ticks); i++) {
        stepd(bed, 50, ticks[i]);
        run_s(bed, 1, S);
    }
    tell(bed, 5, NULL, NULL, begin_ns, bed->now_ns, 0);
    run_s(bed, 1, S);
    assert_uj(stored(bed, 5, "", "cpu-package-0").energy_uj, 100, "a second of it");
    bed_free(bed);
}

static void a_tick_waits_for_samples_once(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 1, NULL, "0", begin_ns, 0, 0);
    tell(bed, 2, NULL, "1", begin_ns, 0, 0);
    tell(bed, 1, "0", "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    bed->waits = 0;
    tell(bed, 1, NULL, "0", begin_ns, bed->now_ns, 0);
    tell(bed, 2, NULL, "1", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_int_equal(bed->waits, 1);
    run_s(bed, 3, 0);
    assert_int_equal(bed->waits, 1); /* nothing ends: nothing waits */
    bed_free(bed);
}

/* Slurm's numbers are of another order than the driver's. */
static void ids_go_before_numbers(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    bed->devices = "GPU-1,MIG-7";
    tell(bed, 5, NULL, "0,4", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 0);
    run_s(bed, 5, 0);
    tell(bed, 5, NULL, "0,4", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 5, "", "GPU-1").energy_uj, 100 * 5, "the one that is called so");
    assert_uj(stored(bed, 5, "0", "GPU-1").energy_uj, 100 * 5, "its step by its job's ids");
    assert_int_equal(stored(bed, 5, "", "MIG-7").provenance, WT_PROV_UNKNOWN);
    struct wt_job_store *store;
    struct wt_job_row *rows;
    size_t count;
    const struct wt_job_filter filter = {.job = 5, .has_steps = true};
    assert_int_equal(wt_job_store_open(&store, bed->store, false, NULL), 0);
    assert_int_equal(wt_job_store_list(store, &filter, &rows, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(rows[i].device, "GPU-0");
    free(rows);
    wt_job_store_close(store);
    bed_free(bed);
}

/* The plugin knows the ids only once it has asked, and writes again. */
static void ids_that_come_later_move_the_job(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    bed->power_w[0] = 200;
    run_s(bed, 2, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    tell(bed, 5, "0", "0", begin_ns, 0, 0);
    run_s(bed, 2, 0);
    bed->devices = "GPU-1";
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 4, 0);
    bed->devices = "GPU-0"; /* once said, it stays */
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 1, 0);
    tell(bed, 5, NULL, "0", begin_ns, bed->now_ns, 0);
    run_s(bed, 1, 0);
    assert_uj(stored(bed, 5, "", "GPU-1").energy_uj, 100 * 7, "from its begin on");
    assert_uj(stored(bed, 5, "0", "GPU-1").energy_uj, 100 * 7, "and its step");
    assert_uj(stored(bed, 5, "", "GPU-0").energy_uj, 0, "a row that was written has its end");
    assert_int_equal(stored(bed, 5, "", "GPU-0").state, WT_JOB_ENDED);
    bed_free(bed);
}

/* An AMD card with the same number on a node whose numbers are NVIDIA's. */
static void numbers_are_nvidias_where_there_are_such(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    wt_text(bed->infos[0].source, sizeof(bed->infos[0].source), "amdgpu");
    wt_text(bed->infos[1].source, sizeof(bed->infos[1].source), "nvml");
    bed->infos[1].index = 0;
    wt_accounts_free(bed->accounts);
    start(bed);
    run_s(bed, 1, 0);
    int64_t begin_ns = bed->now_ns;
    tell(bed, 5, NULL, "0", begin_ns, 0, 0);
    run_s(bed, 3, 0);
    assert_int_equal(bed->accounts->devices[0].segment.count, 0);
    assert_int_equal(bed->accounts->devices[1].segment.count, 1);
    bed_free(bed);
}

static void the_users_text_is_short_and_printable(void **state)
{
    (void)state;
    struct wt_job_row rows[24] = {0};
    char text[2048];
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_job_row *row = &rows[i];
        row->job = 12;
        row->begin_ns = UNIX0;
        row->end_ns = UNIX0 + 90 * S;
        row->is_counted = true;
        row->provenance = i % 5 ? WT_PROV_COUNTER : WT_PROV_UNKNOWN;
        row->energy_uj = 1000000 * (i + 1);
        row->low_uj = 900000 * (i + 1);
        row->high_uj = i == 3 ? UINT64_MAX : 1100000 * (i + 1);
        row->gap_ns = i == 3 ? 20 * S : 0;
        row->index = (int)i;
        wt_text(row->node, sizeof(row->node), "n1");
        wt_text(row->device, sizeof(row->device), "GPU-%zu", i);
    }
    wt_accounts_text(text, sizeof(text), rows, WT_COUNTOF(rows));
    assert_non_null(strstr(text, "wattune: job 12 on n1: "));
    assert_non_null(strstr(text, "or more"));
    assert_non_null(strstr(text, "a part is not known"));
    assert_non_null(strstr(text, "not measured for 20"));
    for (const char *c = text; *c; c++)
        assert_true(*c == '\n' || ((unsigned char)*c >= 0x20 && (unsigned char)*c != 0x7f));
}

/* ---- the store ---- */

static struct wt_job_row a_row(unsigned job, const char *device, uint64_t j)
{
    struct wt_job_row row = {.job = job,
                             .begin_ns = UNIX0 + job * S,
                             .end_ns = UNIX0 + (job + 10) * S,
                             .state = WT_JOB_ENDED,
                             .is_counted = true,
                             .provenance = WT_PROV_COUNTER,
                             .energy_uj = j * 1000000,
                             .low_uj = j * 900000,
                             .high_uj = j * 1100000};
    wt_text(row.cluster, sizeof(row.cluster), "c");
    wt_text(row.node, sizeof(row.node), "n1");
    wt_text(row.device, sizeof(row.device), "%s", device);
    wt_text(row.user, sizeof(row.user), job % 2 ? "ada" : "bob");
    wt_text(row.account, sizeof(row.account), "ml");
    return row;
}

static void a_stores_rows_come_back_whole(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store;
    struct wt_job_row in = a_row(3, "GPU-0", 5), *rows;
    size_t count;
    char path[128];
    in.high_uj = UINT64_MAX;
    in.index = -1;
    in.gap_ns = 77;
    in.cap_mw = 150000;
    wt_text(in.note, sizeof(in.note), "it's \"quoted\"; DROP TABLE job");
    snprintf(path, sizeof(path), "%s/sub/other.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
    assert_int_equal(wt_job_store_write(store, &in, 1, NULL), 0);
    int64_t first_seq = in.seq;
    assert_int_equal(wt_job_store_write(store, &in, 1, NULL), 0);
    assert_true(in.seq > first_seq);
    assert_int_equal(wt_job_store_list(store, NULL, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        if (memcmp((char *)&in + column->at, (char *)&rows[0] + column->at,
                   column->form == WT_COLUMN_TEXT ? strlen((char *)&in + column->at) + 1
                                                  : column->size) != 0)
            fail_msg("%s came back as another", column->name);
    }
    free(rows);
    wt_job_store_close(store);
    bed_free(bed);
}

static void a_new_store_is_for_its_owner_and_group(void **state)
{
    (void)state;
    char dir[] = "/tmp/wattune-jobs-XXXXXX", path[64], log[80];
    struct wt_job_store *store;
    struct wt_job_row row = {.job = 1, .begin_ns = 1};
    struct stat st;
    static const mode_t umasks[] = {022, 077};
    for (size_t i = 0; i < WT_COUNTOF(umasks); i++) {
        memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/jobs.db", dir);
        snprintf(log, sizeof(log), "%s-wal", path);
        mode_t old = umask(umasks[i]);
        assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
        assert_int_equal(wt_job_store_write(store, &row, 1, NULL), 0);
        umask(old);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        if (stat(log, &st) == 0) /* what is not in the file yet */
            assert_int_equal(st.st_mode & 0777, 0640);
        wt_job_store_close(store);
        assert_int_equal(chmod(path, 0604), 0); /* the site's to say */
        assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
        wt_job_store_close(store);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0604);
        wt_fs_remove_tree(dir, NULL);
    }
}

static void a_list_holds_what_was_asked_for(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store;
    struct wt_job_row rows[] = {a_row(1, "GPU-0", 1), a_row(2, "GPU-0", 1), a_row(30, "GPU-0", 1),
                                a_row(1, "GPU-1", 1), a_row(1, "GPU-0", 1), a_row(0, "GPU-0", 1)};
    wt_text(rows[4].step, sizeof(rows[4].step), "batch");
    wt_text(rows[5].step, sizeof(rows[5].step), "idle");
    static const struct {
        struct wt_job_filter filter;
        size_t want;
        const char *why;
    } table[] = {
        {{.user = NULL}, 4, "neither steps nor nobody's"},
        {{.has_steps = true}, 5, "steps too"},
        {{.has_idle = true}, 5, "nobody's too"},
        {{.user = "bob"}, 2, "jobs 2 and 30"},
        {{.user = "bob' OR 1=1 --"}, 0, "a value is no SQL"},
        {{.job = 1}, 2, "both devices"},
        {{.since_ns = UNIX0 + 20 * S}, 1, "only the last was there"},
        {{.until_ns = UNIX0 + 2 * S}, 2, "begun before"},
        {{.account = "ml", .user = "ada", .node = "n1", .cluster = "c"}, 2, "all of them"},
        {{.partition = "x"}, 0, "none"},
        {{.is_open_only = true}, 0, "none runs"},
        {{.latest = 1}, 1, "job 30"},
        {{.latest = 3}, 4, "job 1 with both devices"},
        {{.latest = 1, .user = "ada"}, 2, "the latest of a user"},
        {{.latest = 9, .has_steps = true}, 1, "steps only"},
    };
    char path[128];
    snprintf(path, sizeof(path), "%s/other.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, true, NULL), 0);
    assert_int_equal(wt_job_store_write(store, rows, WT_COUNTOF(rows), NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        struct wt_job_row *got;
        size_t count;
        assert_int_equal(wt_job_store_list(store, &table[i].filter, &got, &count, NULL), 0);
        free(got);
        if (count != table[i].want)
            fail_msg("%s: %zu, wanted %zu", table[i].why, count, table[i].want);
    }
    wt_job_store_close(store);
    bed_free(bed);
}

static void what_is_no_store_is_refused_with_a_way_out(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    struct wt_job_store *store = NULL;
    struct wt_error err;
    char path[128];
    snprintf(path, sizeof(path), "%s/none.db", bed->dir);
    assert_int_equal(wt_job_store_open(&store, path, false, &err), WT_E_NOTFOUND);
    assert_true(err.fix[0]);
    assert_false(has_file(bed, bed->dir, "none.db")); /* to read makes none */
    write_file(path, "this is no database, and long enough to be looked at by SQLite as one.....");
    assert_int_equal(wt_job_store_open(&store, path, true, &err), WT_E_FORMAT);
    assert_int_equal(wt_job_store_open(&store, "mysql://u:secret@h/d", false, &err), WT_E_USAGE);
    assert_null(strstr(err.text, "secret"));
    assert_int_equal(wt_job_store_open(&store, "", false, &err), WT_E_USAGE);
    bed_free(bed);
}

static void what_was_written_since_stays_unsent(void **state)
{
    (void)state;
    struct bed *bed = bed_new();
    void *data;
    struct wt_job_row row = a_row(1, "GPU-0", 1), *unsent;
    size_t count;
    char path[128];
    snprintf(path, sizeof(path), "%s/other.db", bed->dir);
    assert_int_equal(wt_job_sqlite.open(&data, path, true, NULL), 0);
    assert_int_equal(wt_job_sqlite.write(data, &row, 1, NULL), 0);
    assert_int_equal(wt_job_sqlite_unsent(data, 10, &unsent, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(wt_job_sqlite.write(data, &row, 1, NULL), 0); /* while it travels */
    assert_int_equal(wt_job_sqlite_sent(data, unsent, count, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 1);
    /* And what was not sent is not removed. */
    assert_int_equal(wt_job_sqlite_prune(data, INT64_MAX, true, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(wt_job_sqlite_sent(data, &row, 1, NULL), 0);
    assert_int_equal(wt_job_sqlite_count_unsent(data, &count, NULL), 0);
    assert_int_equal(count, 0);
    free(unsent);
    wt_job_sqlite.close(data);
    bed_free(bed);
}

/* ---- sums ---- */

static const struct wt_job_sum *sum_of(const struct wt_job_sum *sums, size_t count, const char *key,
                                       bool is_emulated)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(sums[i].key, key) == 0 && sums[i].is_emulated == is_emulated)
            return &sums[i];
    fail_msg("no sum of \"%s\"", key);
    return NULL;
}

static void sums_keep_worlds_and_unknowns_apart(void **state)
{
    (void)state;
    struct wt_job_row rows[] = {
        a_row(1, "GPU-0", 10), a_row(1, "GPU-1", 20), a_row(3, "GPU-0", 40),
        a_row(5, "emu-0", 80), a_row(5, "gpu-9", 7),  a_row(2, "GPU-0", 5),
        a_row(1, "node", 99),  a_row(0, "GPU-0", 3),  a_row(1, "GPU-0", 9),
    };
    rows[1].provenance = WT_PROV_SAMPLED;
    rows[2].state = WT_JOB_LOST;
    rows[2].high_uj = UINT64_MAX;
    rows[2].gap_ns = 9 * S;
    rows[3].provenance = WT_PROV_EMULATED;
    rows[4].provenance = WT_PROV_UNKNOWN; /* of an emulated node */
    rows[6].is_counted = false;
    wt_text(rows[8].step, sizeof(rows[8].step), "0");
    struct wt_job_sum *sums;
    size_t count;
    assert_int_equal(
        wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_USER, false, &sums, &count, NULL), 0);
    assert_int_equal(count, 3);
    const struct wt_job_sum *ada = sum_of(sums, count, "ada", false);
    assert_true(fabs(ada->energy.energy_j - 70) < 1e-9);
    assert_true(isinf(ada->energy.high_j));
    assert_int_equal(ada->energy.provenance, WT_PROV_SAMPLED);
    assert_string_equal(ada->weakest, "GPU-1");
    assert_int_equal(ada->jobs, 2);
    assert_int_equal(ada->lost, 1);
    assert_true(fabs(ada->gap_s - 9) < 1e-9);
    assert_true(fabs(ada->node_s - 20) < 1e-9);
    assert_int_equal(ada->unknown, 0);
    const struct wt_job_sum *emulated = sum_of(sums, count, "ada", true);
    assert_true(fabs(emulated->energy.energy_j - 80) < 1e-9);
    assert_int_equal(emulated->unknown, 1);
    free(sums);
    assert_int_equal(wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_JOB, true, &sums, &count, NULL),
                     0);
    assert_int_equal(count, 1);
    assert_string_equal(sums[0].key, "1.0");
    free(sums);
    assert_int_equal(
        wt_job_sums(rows, WT_COUNTOF(rows), WT_JOB_BY_NODE, false, &sums, &count, NULL), 0);
    assert_int_equal(count, 3); /* jobs, emulated jobs, nobody's */
    free(sums);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_read_or_refused),
        cmocka_unit_test(facts_hold_what_the_file_says),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(a_gpu_is_its_holders_from_begin_to_end),
        cmocka_unit_test(a_job_shorter_than_a_tick_has_its_energy),
        cmocka_unit_test(two_holders_are_said_and_split_evenly),
        cmocka_unit_test(host_devices_go_by_cpu_time),
        cmocka_unit_test(a_steps_cgroup_goes_before_its_processes),
        cmocka_unit_test(a_step_ends_with_its_slurmstepd),
        cmocka_unit_test(histories_add_up),
        cmocka_unit_test(a_job_goes_on_after_a_crash_with_a_gap),
        cmocka_unit_test(a_job_that_ended_meanwhile_is_closed_up_to_its_end),
        cmocka_unit_test(after_a_reboot_open_rows_are_lost_up_to_the_boot),
        cmocka_unit_test(an_ended_job_is_not_accounted_twice),
        cmocka_unit_test(a_gpu_that_dies_leaves_a_bounded_gap),
        cmocka_unit_test(a_gpu_no_sensor_reads_is_unknown_and_said),
        cmocka_unit_test(a_requeued_job_is_another),
        cmocka_unit_test(bad_files_are_said_and_harm_no_others),
        cmocka_unit_test(without_a_folder_all_is_nobodys),
        cmocka_unit_test(another_cluster_ends_nobodys_rows),
        cmocka_unit_test(midnight_ends_nobodys_rows_with_sound_bounds),
        cmocka_unit_test(a_stop_ends_nobodys_rows_and_loses_nothing),
        cmocka_unit_test(a_tick_is_one_transaction),
        cmocka_unit_test(one_store_has_one_keeper),
        cmocka_unit_test(what_has_no_sensor_has_no_row),
        cmocka_unit_test(a_host_device_that_dies_leaves_a_gap),
        cmocka_unit_test(what_comes_late_is_no_gap),
        cmocka_unit_test(bounds_are_of_their_own_time),
        cmocka_unit_test(a_step_whose_gpu_went_away_has_a_gap),
        cmocka_unit_test(a_gap_counts_once_whatever_fails),
        cmocka_unit_test(a_tick_without_memory_loses_no_job),
        cmocka_unit_test(steps_of_an_ended_job_are_closed_with_it),
        cmocka_unit_test(steps_on_a_shared_gpu_get_what_their_job_does),
        cmocka_unit_test(who_goes_on_gives_nothing_back),
        cmocka_unit_test(cpu_time_that_falls_is_not_counted_again),
        cmocka_unit_test(a_tick_waits_for_samples_once),
        cmocka_unit_test(ids_go_before_numbers),
        cmocka_unit_test(ids_that_come_later_move_the_job),
        cmocka_unit_test(numbers_are_nvidias_where_there_are_such),
        cmocka_unit_test(the_users_text_is_short_and_printable),
        cmocka_unit_test(a_stores_rows_come_back_whole),
        cmocka_unit_test(a_new_store_is_for_its_owner_and_group),
        cmocka_unit_test(a_list_holds_what_was_asked_for),
        cmocka_unit_test(what_is_no_store_is_refused_with_a_way_out),
        cmocka_unit_test(what_was_written_since_stays_unsent),
        cmocka_unit_test(sums_keep_worlds_and_unknowns_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
