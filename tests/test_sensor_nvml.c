/* sensor over NVML: every call may fail, be missing, hang or answer rubbish, and a number comes out
 * only when one was read. Runs on tests/fake_nvml.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_nvml.h"
#include "sensor/nvml.h"
#include "trees.h"
#include "wattune/gather.h"

struct bed {
    void *handle;
    struct fake_nvml *fake;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_error err;
};

/* Opens a copy of the fake, all at its start values; the devices are opened by open_devices(). */
static void bed_init(struct bed *bed, const char *path)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("CUDA_VISIBLE_DEVICES");
    setenv("WATTUNE_NVML_TIMEOUT", "10", 1);
    bed->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(bed->handle);
    struct fake_nvml *(*reset)(void);
    void *symbol = dlsym(bed->handle, "fake_nvml_reset");
    memcpy(&reset, &symbol, sizeof(reset));
    bed->fake = reset();
    struct wt_ctx_options options = {.nvml_library = path};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, &bed->err), 0);
}

static int open_devices(struct bed *bed, const char *gpus)
{
    struct wt_devices_options options = {.gpus = gpus, .is_gpu_only = true};
    return wt_devices_open(&bed->devices, bed->ctx, &options, &bed->err);
}

static void close_devices(struct bed *bed)
{
    wt_devices_free(bed->devices);
    bed->devices = NULL;
}

static void bed_done(struct bed *bed)
{
    close_devices(bed);
    wt_ctx_free(bed->ctx);
    dlclose(bed->handle);
}

static bool has_note(const struct bed *bed, enum wt_finding_kind kind, const char *text)
{
    const struct wt_findings *notes = wt_devices_notes(bed->devices);
    for (size_t i = 0; i < notes->count; i++)
        if (notes->list[i].kind == kind &&
            (strstr(notes->list[i].value, text) || strstr(notes->list[i].fix, text)))
            return true;
    return false;
}

/* Whatever was read is what the fake holds; what was not has no state and no bit. */
static void assert_only_true_values(const struct wt_reading *r)
{
    if (r->energy.state != WT_ABSENT)
        assert_int_equal(r->energy.uj, FAKE_ENERGY_MJ * 1000u);
    if (r->power.state != WT_ABSENT)
        assert_int_equal(r->power.mw, FAKE_POWER_MW);
    const struct wt_status *s = &r->status;
    if (s->has & WT_HAS_TEMP)
        assert_int_equal(s->temp_mc, FAKE_TEMP_C * 1000);
    if (s->has & WT_HAS_CLOCK)
        assert_int_equal(s->clock_khz, FAKE_SM_MHZ * 1000);
    if (s->has & WT_HAS_MEMCLOCK)
        assert_int_equal(s->memclock_khz, FAKE_MEM_MHZ * 1000);
    if (s->has & WT_HAS_UTIL)
        assert_int_equal(s->util_ppm, 980000);
    if (s->has & WT_HAS_MEMUTIL)
        assert_int_equal(s->memutil_ppm, 400000);
    if (s->has & WT_HAS_MEM)
        assert_int_equal(s->mem_used_bytes, 2000);
    if (s->has & WT_HAS_LIMIT)
        assert_int_equal(s->power_limit_mw, FAKE_LIMIT_MAX_MW);
    if (s->has & WT_HAS_THROTTLE)
        assert_int_equal(s->throttle, WT_THROTTLE_POWER_CAP | WT_THROTTLE_THERMAL);
    if (s->has & WT_HAS_POWER_AVERAGE)
        assert_int_equal(s->power_average_mw, FAKE_AVERAGE_MW);
    if (s->has & WT_HAS_PCIE)
        assert_true(s->pcie_tx_bytes_s == 7000 && s->pcie_rx_bytes_s == 9000);
}

static void a_gpu_is_described_and_read(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed, FAKE_NVML);
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    const struct wt_device_info *info = wt_devices_info(bed.devices, 1);
    assert_string_equal(info->id, "GPU-a1000000-fake");
    assert_string_equal(info->name, "Fake V100");
    assert_string_equal(info->driver, "535.104.05");
    assert_int_equal(info->index, 1);
    assert_int_equal(info->can, WT_CAN_ENERGY | WT_CAN_POWER | WT_CAN_STATUS | WT_CAN_PLAIN);
    assert_false(info->is_emulated);
    assert_null(wt_devices_info(bed.devices, 2));

    struct wt_reading r;
    assert_int_equal(
        wt_devices_read(bed.devices, 1, WT_READ_ENERGY | WT_READ_POWER | WT_READ_STATUS, &r, NULL),
        0);
    assert_int_equal(r.energy.state, WT_LIVE);
    assert_int_equal(r.power.state, WT_LIVE);
    assert_true(r.t_before_ns <= r.energy.t_ns && r.energy.t_ns <= r.power.t_ns &&
                r.power.t_ns <= r.t_after_ns);
    assert_only_true_values(&r);
    unsigned all = WT_HAS_TEMP | WT_HAS_CLOCK | WT_HAS_MEMCLOCK | WT_HAS_UTIL | WT_HAS_MEMUTIL |
                   WT_HAS_MEM | WT_HAS_LIMIT | WT_HAS_THROTTLE | WT_HAS_POWER_AVERAGE;
    assert_int_equal(r.status.has & all, all);

    assert_int_equal(wt_devices_read(bed.devices, 1, WT_READ_ENERGY, &r, NULL), 0);
    assert_int_equal(r.power.state, WT_ABSENT);
    assert_int_equal(r.status.has, 0);
    assert_int_equal(wt_devices_read(bed.devices, 1, WT_READ_PLAIN, &r, NULL), 0);
    assert_int_equal(r.plain.state, WT_LIVE);
    assert_int_equal(r.power.state, WT_ABSENT);
    assert_int_equal(wt_devices_read(bed.devices, 2, WT_READ_ENERGY, &r, &bed.err), WT_E_NOTFOUND);
    close_devices(&bed);
    assert_int_equal(bed.fake->shutdowns, 1);
    bed_done(&bed);
}

static int64_t hand_ns; /* of a clock turned by hand */

static int64_t hand_now(void *data)
{
    (void)data;
    return hand_ns;
}

/* The slow call is rare: not in the first second, for a short run would wait for it; one direction
 * at a time, and rested after. */
static void pcie_is_not_asked_every_time(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    bed.fake->fail = "nvmlDeviceGetPcieThroughput";
    bed.fake->fail_rc = WT_NVML_UNKNOWN;
    bed.fake->fail_for = 1000;
    bed.ctx->clock.now_ns = hand_now;
    hand_ns = 77 * WT_NS_PER_S;
    assert_int_equal(open_devices(&bed, NULL), 0);
    for (int i = 0; i < 99; i++, hand_ns += 10 * WT_NS_PER_MS)
        assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_STATUS, &r, NULL), 0);
    assert_int_equal(bed.fake->fail_for, 1000);
    for (int i = 0; i < 201; i++, hand_ns += 10 * WT_NS_PER_MS)
        (void)wt_devices_read(bed.devices, 0, WT_READ_STATUS, &r, NULL);
    assert_in_range(bed.fake->fail_for, 1000 - 21, 1000 - 18); /* every 100 ms */
    bed_done(&bed);
}

static const struct {
    int nvml, want;
} answers[] = {
    {WT_NVML_UNINITIALIZED, WT_E_GONE},
    {WT_NVML_NOT_SUPPORTED, WT_E_UNSUPPORTED},
    {WT_NVML_NO_PERMISSION, WT_E_DENIED},
    {WT_NVML_TIMEOUT, WT_E_TIMEOUT},
    {WT_NVML_GPU_IS_LOST, WT_E_GONE},
    {WT_NVML_RESET_REQUIRED, WT_E_GONE},
    {WT_NVML_NO_DATA, WT_E_IO},
    {WT_NVML_UNKNOWN, WT_E_IO},
    {12345, WT_E_IO},
};

static const char *const symbols[] = {
#define SYMBOL(member, symbol, older, parameters) symbol,
    WT_NVML_CALLS(SYMBOL)
#undef SYMBOL
};

/* The contract: with each call failing in each way, always, nothing is made up. */
static void a_call_that_fails_yields_no_number(void **state)
{
    (void)state;
    for (size_t s = 0; s < WT_COUNTOF(symbols); s++)
        for (size_t a = 0; a < WT_COUNTOF(answers); a++) {
            struct bed bed;
            bed_init(&bed, FAKE_NVML);
            bed.fake->mig_gpu = 2;
            bed.fake->fail = symbols[s];
            bed.fake->fail_rc = answers[a].nvml;
            assert_int_equal(open_devices(&bed, NULL), 0);
            for (size_t i = 0; i < wt_devices_count(bed.devices); i++) {
                const struct wt_device_info *info = wt_devices_info(bed.devices, i);
                assert_true(strncmp(info->id, "GPU-a", 5) == 0 ||
                            strncmp(info->id, "MIG-a", 5) == 0 ||
                            strncmp(info->id, "gpu-", 4) == 0 || strncmp(info->id, "mig-", 4) == 0);
                assert_true(strncmp(info->name, "Fake ", 5) == 0 ||
                            strcmp(info->name, "NVIDIA GPU") == 0);
                assert_true(strcmp(info->driver, "535.104.05") == 0 || !*info->driver);
                assert_true(info->mem_bytes == 32000 || info->mem_bytes == 0);
                struct wt_reading r;
                struct wt_device_process procs[8];
                size_t count = 0;
                (void)wt_devices_read(
                    bed.devices, i, WT_READ_ENERGY | WT_READ_POWER | WT_READ_STATUS, &r, &bed.err);
                assert_only_true_values(&r);
                if (wt_devices_processes(bed.devices, i, procs, 8, &count, &bed.err) == 0)
                    for (size_t p = 0; p < count; p++)
                        assert_true(procs[p].pid % 100 == 0 && procs[p].pid <= 300);
            }
            bed_done(&bed);
        }
}

/* A sensor that was there at the start and fails once: its error is told, its state is absent, the
 * other readings are there, and the next read is whole. */
static void every_call_fails_once_and_costs_one_reading(void **state)
{
    (void)state;
    static const struct {
        const char *symbol, *said;
        unsigned what;
    } rows[] = {
        {"nvmlDeviceGetTotalEnergyConsumption", "energy counter", WT_READ_ENERGY},
        {"nvmlDeviceGetFieldValues", "power", WT_READ_POWER},
        {"nvmlDeviceGetTemperature", "temperature", WT_READ_STATUS},
        {"nvmlDeviceGetClockInfo", "SM clock", WT_READ_STATUS},
        {"nvmlDeviceGetMemoryInfo", "memory", WT_READ_STATUS},
        {"nvmlDeviceGetEnforcedPowerLimit", "power limit", WT_READ_STATUS},
    };
    const unsigned all = WT_READ_ENERGY | WT_READ_POWER | WT_READ_STATUS;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        for (size_t a = 0; a < WT_COUNTOF(answers); a++) {
            struct bed bed;
            struct wt_reading r;
            bed_init(&bed, FAKE_NVML);
            assert_int_equal(open_devices(&bed, NULL), 0);
            bed.fake->fail = rows[i].symbol;
            bed.fake->fail_rc = answers[a].nvml;
            bed.fake->fail_for = 1;
            int rc = wt_devices_read(bed.devices, 0, all, &r, &bed.err);
            /* A piece of status that the device says it has not is no failure of status. */
            if (rows[i].what != WT_READ_STATUS || answers[a].want != WT_E_UNSUPPORTED) {
                assert_int_equal(rc, answers[a].want);
                assert_int_equal(bed.err.code, rc);
                assert_non_null(strstr(bed.err.text, rows[i].said));
                assert_non_null(strstr(bed.err.text, "GPU-a0000000-fake"));
            } else {
                assert_int_equal(rc, 0);
            }
            assert_int_equal(r.energy.state == WT_ABSENT, rows[i].what == WT_READ_ENERGY);
            assert_int_equal(r.power.state == WT_ABSENT, rows[i].what == WT_READ_POWER);
            assert_only_true_values(&r);
            assert_int_equal(wt_devices_read(bed.devices, 0, all, &r, &bed.err), 0);
            assert_true(r.energy.state == WT_LIVE && r.power.state == WT_LIVE);
            bed_done(&bed);
        }
}

/* A copy of the fake in which one symbol goes by another name: to dlsym it is not there. */
static void copy_without(const char *symbol, const char *to)
{
    FILE *f = fopen(FAKE_NVML, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long size = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    /* In the table of names it stands between two NULs; elsewhere it may do no harm. */
    size_t len = strlen(symbol) + 1, hits = 0;
    for (long i = 1; i + (long)len <= size; i++)
        if (bytes[i - 1] == '\0' && memcmp(bytes + i, symbol, len) == 0) {
            bytes[i] = 'x';
            hits++;
        }
    assert_true(hits > 0);
    f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, (size_t)size, f), (size_t)size);
    assert_int_equal(fclose(f), 0);
    free(bytes);
}

static void every_symbol_is_optional(void **state)
{
    (void)state;
    char dir[] = "/tmp/wt-nvml-XXXXXX", path[128];
    assert_non_null(mkdtemp(dir));
    size_t tried = 0;
    struct bed whole;
    bed_init(&whole, FAKE_NVML);
    for (size_t s = 0; s < WT_COUNTOF(symbols); s++) {
        if (!dlsym(whole.handle, symbols[s]))
            continue;
        tried++;
        wt_text(path, sizeof(path), "%s/%zu.so", dir, s);
        copy_without(symbols[s], path);
        struct bed bed;
        bed_init(&bed, path);
        assert_null(dlsym(bed.handle, symbols[s]));
        bed.fake->mig_gpu = 1;
        assert_int_equal(open_devices(&bed, NULL), 0);
        /* Without these there is no way to any GPU, and that is said. */
        bool is_needed = strcmp(symbols[s], "nvmlInit_v2") == 0 ||
                         strcmp(symbols[s], "nvmlDeviceGetCount_v2") == 0 ||
                         strcmp(symbols[s], "nvmlDeviceGetHandleByIndex_v2") == 0;
        assert_int_equal(wt_devices_count(bed.devices) == 0, is_needed);
        if (is_needed)
            assert_true(has_note(&bed, WT_FINDING_MISSING, "no such function in this driver"));
        for (size_t i = 0; i < wt_devices_count(bed.devices); i++) {
            struct wt_reading r;
            unsigned can = wt_devices_info(bed.devices, i)->can;
            unsigned what = can & WT_CAN_ENERGY ? WT_READ_ENERGY : 0;
            what |= can & WT_CAN_POWER ? WT_READ_POWER : 0;
            assert_int_equal(wt_devices_read(bed.devices, i, what, &r, &bed.err), 0);
            int rc = wt_devices_read(bed.devices, i, WT_READ_STATUS, &r, &bed.err);
            assert_int_equal(rc, r.status.has ? 0 : WT_E_UNSUPPORTED);
            assert_only_true_values(&r);
        }
        bed_done(&bed);
        unlink(path);
    }
    assert_true(tried > 30);
    bed_done(&whole);
    assert_int_equal(rmdir(dir), 0);
}

static void a_failing_start_is_a_finding_with_its_fix(void **state)
{
    (void)state;
    static const struct {
        int nvml;
        enum wt_finding_kind kind;
        const char *said;
    } rows[] = {
        {WT_NVML_DRIVER_NOT_LOADED, WT_FINDING_MISSING, "NVIDIA"},
        {WT_NVML_VERSION_MISMATCH, WT_FINDING_BROKEN, "reboot"},
        {WT_NVML_NO_PERMISSION, WT_FINDING_DENIED, "/dev/nvidiactl"},
        {WT_NVML_OPERATING_SYSTEM, WT_FINDING_DENIED, "scheduler"},
        {WT_NVML_GPU_NOT_FOUND, WT_FINDING_MISSING, "nvidia-smi"},
        {WT_NVML_UNKNOWN, WT_FINDING_BROKEN, "dmesg"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed, FAKE_NVML);
        bed.fake->fail = "nvmlInit_v2";
        bed.fake->fail_rc = rows[i].nvml;
        assert_int_equal(open_devices(&bed, NULL), 0);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        assert_true(has_note(&bed, rows[i].kind, rows[i].said));
        close_devices(&bed);
        assert_int_equal(bed.fake->shutdowns, 0);
        bed_done(&bed);
    }
    struct wt_ctx *ctx;
    struct wt_ctx_options options = {.nvml_library = "/nowhere/libnvidia-ml.so.1"};
    struct wt_devices_options which = {.gpus = "0"};
    struct wt_error err;
    struct wt_devices *devices;
    assert_int_equal(wt_ctx_new(&ctx, &options, &err), 0);
    assert_int_equal(wt_devices_open(&devices, ctx, &which, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "wattune doctor"));
    wt_ctx_free(ctx);
}

static void a_lost_device_is_lost_alone(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    assert_int_equal(open_devices(&bed, NULL), 0);
    bed.fake->lost_gpu = 1;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY | WT_READ_POWER, &r, &bed.err),
                     WT_E_GONE);
    assert_true(r.energy.state == WT_ABSENT && r.power.state == WT_ABSENT);
    assert_int_equal(wt_devices_read(bed.devices, 1, WT_READ_ENERGY | WT_READ_POWER, &r, &bed.err),
                     0);
    bed.fake->lost_gpu = 0;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), 0);
    close_devices(&bed);

    /* One that is lost from the start is listed, and so is why it cannot be read. */
    bed.fake->lost_gpu = 2;
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    assert_true(has_note(&bed, WT_FINDING_BROKEN, "lost"));
    assert_int_equal(wt_devices_read(bed.devices, 1, WT_READ_ENERGY, &r, &bed.err), WT_E_GONE);
    bed_done(&bed);
}

static void rubbish_is_no_reading(void **state)
{
    (void)state;
    static const struct {
        unsigned mw;
        unsigned long long mj;
        const char *type;
        int power_rc, energy_rc;
        const char *why;
    } rows[] = {
        {10 * FAKE_LIMIT_MAX_MW, 5, NULL, 0, 0, "ten times the limit is the last that counts"},
        {10 * FAKE_LIMIT_MAX_MW + 1, 5, NULL, WT_E_FORMAT, 0, "and above it nothing does"},
        {0xffffffffu, 5, NULL, WT_E_FORMAT, 0, "all ones"},
        {FAKE_POWER_MW, 0xffffffffffffffffull, NULL, 0, WT_E_FORMAT, "does not fit in uJ"},
        {FAKE_POWER_MW, 0, NULL, 0, 0, "a counter that starts at 0 is a counter"},
        {FAKE_POWER_MW, 5, "double", 0, 0, "the driver may change a field's type"},
        {FAKE_POWER_MW, 5, "ullong", 0, 0, "to this one too"},
        {FAKE_POWER_MW, 5, "negative", WT_E_IO, 0, "a negative power"},
        {FAKE_POWER_MW, 5, "alien", WT_E_IO, 0, "a type we do not know"},
    };
    struct bed bed;
    bed_init(&bed, FAKE_NVML);
    assert_int_equal(open_devices(&bed, NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_reading r;
        bed.fake->power_mw = rows[i].mw;
        bed.fake->energy_mj = rows[i].mj;
        bed.fake->field_type = rows[i].type;
        assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err),
                         rows[i].power_rc);
        assert_int_equal(r.power.state, rows[i].power_rc ? WT_ABSENT : WT_LIVE);
        if (rows[i].power_rc == 0)
            assert_int_equal(r.power.mw, rows[i].mw);
        assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err),
                         rows[i].energy_rc);
        assert_int_equal(r.energy.state, rows[i].energy_rc ? WT_ABSENT : WT_LIVE);
        if (rows[i].energy_rc == 0)
            assert_int_equal(r.energy.uj, rows[i].mj * 1000);
    }
    bed_done(&bed);
}

static void wait_for(unsigned *count, unsigned want)
{
    for (int i = 0; i < 10000 && __atomic_load_n(count, __ATOMIC_ACQUIRE) < want; i++)
        usleep(1000);
    assert_int_equal(__atomic_load_n(count, __ATOMIC_ACQUIRE), want);
}

static void a_hung_start_is_abandoned(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed, FAKE_NVML);
    setenv("WATTUNE_NVML_TIMEOUT", "0.05", 1);
    bed.fake->hang = "nvmlDeviceGetName";
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_true(has_note(&bed, WT_FINDING_BROKEN, "no answer from the driver in 0.05 s"));
    close_devices(&bed);
    /* When the call comes back after all, its thread tidies up after itself. */
    __atomic_store_n(&bed.fake->is_released, 1, __ATOMIC_RELEASE);
    wait_for(&bed.fake->shutdowns, 1);
    bed_done(&bed);
}

static int ask_name(struct wt_nvml *nvml, size_t k, void *io, struct wt_error *err)
{
    (void)err;
    return wt_nvml_code(wt_nvml_call(&nvml->api, name, nvml->gpus[k].handle, io, 32));
}

static void a_hung_call_silences_the_source_and_nothing_else(void **state)
{
    (void)state;
    struct bed bed;
    size_t k;
    char name[32] = "";
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    assert_int_equal(open_devices(&bed, NULL), 0);
    struct wt_nvml *nvml = wt_nvml_of(bed.devices, 1, &k);
    assert_non_null(nvml);
    assert_int_equal(wt_nvml_guarded(nvml, k, name, sizeof(name), ask_name, &bed.err), 0);
    assert_string_equal(name, "Fake V100");

    nvml->timeout_ns = 20 * WT_NS_PER_MS;
    bed.fake->hang = "nvmlDeviceGetName";
    memset(name, 0, sizeof(name));
    assert_int_equal(wt_nvml_guarded(nvml, k, name, sizeof(name), ask_name, &bed.err),
                     WT_E_TIMEOUT);
    assert_non_null(strstr(bed.err.fix, "dmesg"));
    unsigned calls = __atomic_load_n(&bed.fake->calls, __ATOMIC_RELAXED);
    assert_int_equal(wt_nvml_guarded(nvml, k, name, sizeof(name), ask_name, &bed.err),
                     WT_E_TIMEOUT);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_TIMEOUT);
    assert_int_equal(__atomic_load_n(&bed.fake->calls, __ATOMIC_RELAXED), calls);

    /* The set is closed while the call is still out; what the call uses outlives it. */
    close_devices(&bed);
    assert_int_equal(__atomic_load_n(&bed.fake->shutdowns, __ATOMIC_ACQUIRE), 0);
    __atomic_store_n(&bed.fake->is_released, 1, __ATOMIC_RELEASE);
    wait_for(&bed.fake->shutdowns, 1);
    assert_string_equal(name, "");
    bed_done(&bed);
}

static void instances_are_named_as_parts(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    bed.fake->mig_gpu = 1;
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 4);
    for (size_t i = 1; i <= 2; i++) {
        const struct wt_device_info *info = wt_devices_info(bed.devices, i);
        assert_true(info->is_part);
        assert_string_equal(info->part_of, "GPU-a0000000-fake");
        assert_string_equal(info->name, "Fake MIG 1g.5gb");
        assert_int_equal(info->can, WT_CAN_STATUS);
        assert_int_equal(wt_devices_read(bed.devices, i, WT_READ_ENERGY, &r, &bed.err),
                         WT_E_UNSUPPORTED);
        assert_int_equal(wt_devices_read(bed.devices, i, WT_READ_POWER, &r, &bed.err),
                         WT_E_UNSUPPORTED);
        assert_int_equal(wt_devices_read(bed.devices, i, WT_READ_STATUS, &r, &bed.err), 0);
        assert_int_equal(r.status.has & ~(unsigned)WT_HAS_PCIE, WT_HAS_MEM);
    }
    close_devices(&bed);

    setenv("CUDA_VISIBLE_DEVICES", "MIG-a0000001-fake", 1);
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    assert_string_equal(wt_devices_info(bed.devices, 0)->id, "GPU-a0000000-fake");
    assert_string_equal(wt_devices_info(bed.devices, 1)->id, "MIG-a0000001-fake");
    unsetenv("CUDA_VISIBLE_DEVICES");
    bed_done(&bed);
}

static void forty_gpus_are_forty_and_no_shift_overflows(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    bed.fake->gpus = 40;
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_count(bed.devices), 40);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(wt_devices_read(bed.devices, i,
                                         WT_READ_ENERGY | WT_READ_POWER | WT_READ_STATUS, &r,
                                         &bed.err),
                         0);
    close_devices(&bed);
    assert_int_equal(open_devices(&bed, "39,33"), 0);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    assert_int_equal(wt_devices_info(bed.devices, 0)->index, 33);
    bed_done(&bed);
}

static void processes_are_listed_once(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_device_process procs[8];
    size_t count;
    bed_init(&bed, FAKE_NVML);
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_processes(bed.devices, 0, procs, 8, &count, &bed.err), 0);
    assert_int_equal(count, 3);
    assert_true(procs[0].pid == 100 && procs[0].mem_bytes == 6000);
    assert_true(procs[1].pid == 200 && procs[1].mem_bytes == 0);
    assert_int_equal(procs[2].pid, 300);
    assert_true(procs[1].busy_ppm == 370000 && procs[0].busy_ppm == 0);
    procs[1].pid = 1;
    assert_int_equal(wt_devices_processes(bed.devices, 0, procs, 1, &count, &bed.err), 0);
    assert_int_equal(count, 3);
    assert_int_equal(procs[1].pid, 1);
    bed_done(&bed);
}

/* The library reads the cards, so nothing looks at their files: a recording has them all the same,
 * and what is cut off of a long file ends with a whole processor. */
static void a_recording_names_the_cards_that_the_library_reads(void **state)
{
    (void)state;
    char root[64], into[64], cpus[16384] = "";
    struct wt_gathered g;
    struct wt_error err;
    tree_new(root, sizeof(root));
    tree_new(into, sizeof(into));
    for (int i = 0; i < 200; i++)
        wt_text(cpus + strlen(cpus), sizeof(cpus) - strlen(cpus),
                "processor : %d\nvendor_id : GenuineIntel\nmodel name : Some CPU\n\n", i);
    assert_true(strlen(cpus) > 10000);
    tree_put(root, "/proc/cpuinfo", cpus);
    tree_put(root, "/proc/driver/nvidia/version", "NVRM version: 580.159.04\n");
    tree_put(root, "/proc/driver/nvidia/gpus/0000:00:06.0/information",
             "Model: NVIDIA H100\nGPU UUID: GPU-12345678-1234-1234-1234-123456789abc\n");
    tree_put(root, "/sys/bus/pci/devices/0000:00:06.0/vendor", "0x10de\n");
    setenv("WATTUNE_NVML", FAKE_NVML, 1);
    struct wt_gather_options options = {.sysroot = root};
    int rc = wt_gather(into, &options, &g, &err);
    unsetenv("WATTUNE_NVML");
    if (rc < 0)
        fail_msg("%s", err.text);
    char *card = tree_get(into, "/proc/driver/nvidia/gpus/0000:00:06.0/information");
    char *vendor = tree_get(into, "/sys/bus/pci/devices/0000:00:06.0/vendor");
    char *cpuinfo = tree_get(into, "/proc/cpuinfo");
    assert_true(card && vendor && cpuinfo);
    assert_non_null(strstr(card, "NVIDIA H100"));
    assert_null(strstr(card, "12345678"));
    assert_string_equal(vendor, "0x10de\n");
    size_t n = strlen(cpuinfo);
    assert_true(n > 1000 && n < strlen(cpus));
    assert_string_equal(cpuinfo + n - 2, "\n\n");
    free(card);
    free(vendor);
    free(cpuinfo);
    tree_done(root);
    tree_done(into);
}

/* What a sensor is like follows from the generation, and for the plain reading from the driver. */
static void traits_follow_the_generation(void **state)
{
    (void)state;
    static const struct {
        unsigned arch;
        int major, minor;
        const char *driver;
        enum wt_nvml_power power;
        int period_ms, window_ms;
        bool is_averaged;
        const char *why;
    } rows[] = {
        {5, 7, 0, "535.1", WT_NVML_POWER_FIELD, 20, 10, false, "V100"},
        {5, 7, 0, "418.1", WT_NVML_POWER_PLAIN, 20, 10, false, "V100's plain reading is instant"},
        {6, 7, 5, "535.1", WT_NVML_POWER_FIELD, 100, 100, false, "T4"},
        {7, 8, 0, "535.1", WT_NVML_POWER_FIELD, 100, 25, false, "A100 sees a quarter"},
        {7, 8, 0, "470.1", WT_NVML_POWER_PLAIN, 100, 25, false, "GA100's plain one is instant"},
        {7, 8, 6, "535.1", WT_NVML_POWER_FIELD, 100, 100, false, "A40"},
        {7, 8, 6, "470.1", WT_NVML_POWER_PLAIN, 100, 1000, true, "A40's plain one is a mean"},
        {7, 8, 6, "530.30.02", WT_NVML_POWER_PLAIN, 100, 100, false, "but not by driver 530"},
        {7, 8, 6, "550.1", WT_NVML_POWER_PLAIN, 100, 1000, true, "and again after it"},
        {9, 9, 0, "550.1", WT_NVML_POWER_FIELD, 100, 25, false, "H100"},
        {9, 9, 0, "550.1", WT_NVML_POWER_PLAIN, 100, 1000, true, "H100's plain one is a mean"},
        {2, 3, 7, "470.1", WT_NVML_POWER_PLAIN, 15, 100, false, "K80"},
        {10, 10, 0, "580.1", WT_NVML_POWER_FIELD, 0, 0, false, "nothing is published yet"},
        {0, 0, 0, "", WT_NVML_POWER_PLAIN, 0, 1000, true, "unknown: the worst"},
        {7, 0, 0, "535.1", WT_NVML_POWER_PLAIN, 100, 1000, true, "Ampere of unknown kind"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_sensor_traits t;
        wt_nvml_traits(rows[i].arch, rows[i].major, rows[i].minor, rows[i].driver, rows[i].power,
                       &t);
        assert_int_equal(t.power_period_ns, rows[i].period_ms * WT_NS_PER_MS);
        assert_int_equal(t.power_window_ns, rows[i].window_ms * WT_NS_PER_MS);
        assert_int_equal(t.is_power_averaged, rows[i].is_averaged);
        assert_true(t.gain_ppm >= 50000 && t.energy_period_ns > 0);
        /* Measured on Hopper alone that the counter sees all of the time. */
        assert_int_equal(t.energy_window_ns, rows[i].arch == 9 ? 100 * WT_NS_PER_MS : 0);
    }
    static const struct {
        int major, minor;
        unsigned arch;
    } caps[] = {{3, 7, 2}, {5, 2, 3}, {6, 1, 4}, {7, 0, 5}, {7, 5, 6},
                {8, 0, 7}, {8, 6, 7}, {8, 9, 8}, {9, 0, 9}, {99, 0, 0}};
    for (size_t i = 0; i < WT_COUNTOF(caps); i++)
        assert_int_equal(wt_nvml_arch_from(caps[i].major, caps[i].minor), caps[i].arch);
}

static void a_card_before_volta_has_no_counter_and_says_so(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed, FAKE_NVML);
    bed.fake->arch = WT_NVML_ARCH_PASCAL;
    bed.fake->major = 6;
    bed.fake->field_type = "none";
    assert_int_equal(open_devices(&bed, NULL), 0);
    assert_int_equal(wt_devices_info(bed.devices, 0)->can, WT_CAN_POWER | WT_CAN_STATUS);
    assert_true(has_note(&bed, WT_FINDING_MISSING, "none before Volta"));
    struct wt_reading r;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), 0);
    assert_int_equal(r.power.mw, FAKE_POWER_MW);
    bed_done(&bed);
}

static void a_gpu_that_shows_only_its_use_is_modeled_and_says_so(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, FAKE_NVML);
    bed.fake->is_vgpu = 1;
    assert_int_equal(open_devices(&bed, NULL), 0);
    const struct wt_device_info *info = wt_devices_info(bed.devices, 0);
    assert_true(info->is_modeled && info->is_counted);
    assert_int_equal(info->can, WT_CAN_POWER | WT_CAN_STATUS);
    assert_true(has_note(&bed, WT_FINDING_MISSING, "estimated"));
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), 0);
    assert_int_equal(r.power.state, WT_MODELED);
    /* 98 % busy under a limit of 250 W: its band holds 15 % of the limit and all of it. */
    const struct wt_sensor_traits *t = &info->traits;
    double w = wt_w_from_mw(r.power.mw);
    assert_true(w > 100 && w < 250);
    assert_true(w * (1 - t->model_low_ppm * 1e-6) - t->model_low_mw * 1e-3 < 45);
    assert_true(w * (1 + t->model_high_ppm * 1e-6) + t->model_high_mw * 1e-3 > 250);
    bed.fake->fail = "nvmlDeviceGetUtilizationRates";
    bed.fake->fail_rc = WT_NVML_GPU_IS_LOST;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), WT_E_GONE);
    assert_int_equal(r.power.state, WT_ABSENT);
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_is_described_and_read),
        cmocka_unit_test(pcie_is_not_asked_every_time),
        cmocka_unit_test(a_call_that_fails_yields_no_number),
        cmocka_unit_test(every_call_fails_once_and_costs_one_reading),
        cmocka_unit_test(every_symbol_is_optional),
        cmocka_unit_test(a_failing_start_is_a_finding_with_its_fix),
        cmocka_unit_test(a_lost_device_is_lost_alone),
        cmocka_unit_test(rubbish_is_no_reading),
        cmocka_unit_test(a_hung_start_is_abandoned),
        cmocka_unit_test(a_hung_call_silences_the_source_and_nothing_else),
        cmocka_unit_test(instances_are_named_as_parts),
        cmocka_unit_test(forty_gpus_are_forty_and_no_shift_overflows),
        cmocka_unit_test(processes_are_listed_once),
        cmocka_unit_test(a_recording_names_the_cards_that_the_library_reads),
        cmocka_unit_test(traits_follow_the_generation),
        cmocka_unit_test(a_card_before_volta_has_no_counter_and_says_so),
        cmocka_unit_test(a_gpu_that_shows_only_its_use_is_modeled_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
