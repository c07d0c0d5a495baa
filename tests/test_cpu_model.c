/* Power where no sensor measures it: who the processor is, what it draws and how wrong that may be,
 * and the source on machines made here. */
#include <glob.h>
#include <math.h>

#include "bed.h"
#include "bench/cpu-fit.h"
#include "sensor/model.h"
#include "window/series.h"

#define MS WT_NS_PER_MS
#define S  WT_NS_PER_S

/* ---- the catalogue ---- */

static struct wt_cpu_model model_of(const char *name, unsigned seen, bool is_virtual)
{
    struct wt_cpu_identity id = {.threads_seen = seen, .sockets = 1, .is_virtual = is_virtual};
    struct wt_cpu_model m;
    wt_text(id.name, sizeof(id.name), "%s", name);
    wt_cpu_model_find(&id, &m);
    return m;
}

static void names_are_found_as_the_kernel_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want;
        unsigned tdp_w;
        const char *family, *why;
    } rows[] = {
        {"Intel(R) Xeon(R) CPU E5-2620 v3 @ 2.40GHz", "Intel Xeon E5-2620 v3", 85, "intel-server",
         "marks, CPU and the clock are chatter"},
        {"Intel(R) Xeon(R) CPU E5-2620 0 @ 2.00GHz", "Intel Xeon E5-2620", 95, "intel-server",
         "the first of its line is a 0"},
        {"AMD EPYC 8024P 8-Core Processor", "AMD EPYC 8024P", 90, "amd-server",
         "cores are counted"},
        {"AMD EPYC 7R13 Processor", "AMD EPYC 7R13", 225, "amd-server", "a cloud's own"},
        {"Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "Intel Xeon Platinum 8259CL", 210,
         "intel-server", "a cloud's own"},
        {"Intel(R) Xeon(R) Platinum 8480+", "Intel Xeon Platinum 8480+", 350, "intel-server",
         "a plus is part of it"},
        {"AMD Ryzen 7 PRO 4750U with Radeon Graphics", "AMD Ryzen 7 PRO 4750U", 15, "mobile",
         "its graphics are not"},
        {"AMD Ryzen Threadripper 1950X 16-Core Processor", "AMD Ryzen Threadripper 1950X", 180,
         "amd-server", "server dies"},
        {"Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", "Intel Core i7-7700K", 91, "intel-desktop",
         "marks"},
        {"11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", "Intel Core i7-1165G7", 28, "mobile",
         "its generation comes first"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_cpu_model m = model_of(rows[i].name, 4, false);
        if (m.known != WT_CPU_BY_NAME || strcmp(m.name, rows[i].want) != 0 ||
            m.tdp_mw != rows[i].tdp_w * 1000 || strcmp(m.family, rows[i].family) != 0)
            fail_msg("%s: %s, %llu mW, %s (%s)", rows[i].name, m.name, (unsigned long long)m.tdp_mw,
                     m.family, rows[i].why);
    }
}

static void a_name_that_is_not_there_is_not_guessed(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "AMD EPYC",
        "AMD EPYC-Milan Processor",
        "Intel(R) Xeon(R) Processor @ 2.70GHz",
        "Intel Xeon Processor (Skylake, IBRS)",
        "QEMU Virtual CPU version 2.5+",
        "Intel(R) Xeon(R) CPU E5-2620 v9 @ 2.40GHz", /* not the one without a version */
        "@",
        ",",
        "with",
        "-Core",
        "8-Core Processor",
        "((((",
        "Core",
    };
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        if (model_of(names[i], 4, true).known != WT_CPU_BY_THREADS)
            fail_msg("\"%s\" was taken for %s", names[i], model_of(names[i], 4, true).name);
}

static void a_stripped_name_is_known_by_its_generation(void **state)
{
    (void)state;
    static const struct {
        struct wt_cpu_identity id;
        const char *want;
    } rows[] = {
        {{"AMD EPYC", "AuthenticAMD", 25, 1, 4, 0, 1, true}, "EPYC 7003 (Milan)"},
        {{"Intel(R) Xeon(R) Processor @ 2.70GHz", "GenuineIntel", 6, 143, 4, 0, 1, true},
         "Xeon (Sapphire Rapids)"},
        {{"", "0x41", 8, 0xd40, 4, 0, 1, true}, "Neoverse V1 (Graviton3)"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_cpu_model m;
        wt_cpu_model_find(&rows[i].id, &m);
        assert_int_equal(m.known, WT_CPU_BY_PLATFORM);
        assert_string_equal(m.name, rows[i].want);
        assert_true(m.tdp_mw > 4 * 1000 && m.tdp_mw < 4 * 6000);
    }
}

static void an_identity_is_read_from_cpuinfo(void **state)
{
    (void)state;
    struct wt_cpu_identity id;
    wt_cpu_identity_from(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n"
        "model name\t: AMD EPYC\nflags\t\t: fpu hypervisor lm\n\n",
        &id);
    assert_string_equal(id.name, "AMD EPYC");
    assert_string_equal(id.vendor, "AuthenticAMD");
    assert_int_equal(id.family, 25);
    assert_int_equal(id.model, 1);
    assert_true(id.is_virtual);
    wt_cpu_identity_from("processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n"
                         "CPU architecture: 8\nCPU part\t: 0xd0c\n",
                         &id);
    assert_string_equal(id.vendor, "0x41");
    assert_int_equal(id.model, 0xd0c);
    assert_false(id.is_virtual);
    wt_cpu_identity_from("flags\t: lm\nbugs\t: hypervisor\n", &id);
    assert_false(id.is_virtual);
    wt_cpu_identity_from("model name", &id);
    assert_string_equal(id.name, "");
}

static void a_vm_has_its_share_of_the_package(void **state)
{
    (void)state;
    struct wt_cpu_model m = model_of("Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", 12, true);
    assert_int_equal(m.threads, 48);
    assert_int_equal(m.tdp_mw, 240000 / 4);
    /* And a machine has the whole of it, however many threads are on. */
    m = model_of("Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", 12, false);
    assert_int_equal(m.tdp_mw, 240000);
    struct wt_cpu_identity two = {.name = "AMD EPYC 8024P", .threads_seen = 32, .sockets = 2};
    wt_cpu_model_find(&two, &m);
    assert_int_equal(m.tdp_mw, 180000);
}

static double width(const struct wt_cpu_model *m, double load)
{
    struct wt_power_band b = wt_cpu_model_power(m, load, NAN);
    return (double)(b.high_mw - b.low_mw) / (double)b.mid_mw;
}

static void what_is_not_known_widens_the_band(void **state)
{
    (void)state;
    struct wt_cpu_model metal = model_of("Intel Xeon E5-2620 v3", 12, false);
    struct wt_cpu_model vm = model_of("Intel Xeon E5-2620 v3", 4, true);
    struct wt_cpu_identity id = {"Intel Xeon Processor", "GenuineIntel", 6, 63, 4, 0, 1, true};
    struct wt_cpu_model platform, unknown;
    wt_cpu_model_find(&id, &platform);
    id.model = 999;
    wt_cpu_model_find(&id, &unknown);
    assert_string_equal(unknown.family, "intel-server");
    for (double load = 0.1; load <= 1; load += 0.1) {
        assert_true(width(&metal, load) < width(&vm, load));
        assert_true(width(&vm, load) < width(&platform, load));
        assert_true(width(&platform, load) < width(&unknown, load));
    }
}

/* ---- power ---- */

static void power_rises_with_load_inside_its_band(void **state)
{
    (void)state;
    static const char *const names[] = {"AMD EPYC 8024P", "Intel Core i7-7700K", "who knows",
                                        "AMD Ryzen 9 5950X", "Intel Core i7-1165G7"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        struct wt_cpu_model m = model_of(names[i], 8, i & 1);
        struct wt_power_band last = {0};
        for (int p = 0; p <= 100; p++) {
            struct wt_power_band b = wt_cpu_model_power(&m, p / 100.0, NAN);
            assert_true(b.low_mw <= b.mid_mw && b.mid_mw <= b.high_mw);
            assert_true(b.mid_mw > last.mid_mw);
            assert_true(b.low_mw >= last.low_mw && b.high_mw >= last.high_mw);
            /* The band that goes to the window holds this one. */
            double mid = (double)b.mid_mw;
            assert_true(mid * (1 - m.low_share) - (double)m.low_mw <= (double)b.low_mw + 5);
            assert_true(mid * (1 + m.high_share) + (double)m.high_mw >= (double)b.high_mw - 5);
            last = b;
        }
    }
}

static void loads_outside_are_the_nearest_inside(void **state)
{
    (void)state;
    struct wt_cpu_model m = model_of("AMD EPYC 8024P", 16, false);
    assert_int_equal(wt_cpu_model_power(&m, NAN, NAN).mid_mw,
                     wt_cpu_model_power(&m, 0, NAN).mid_mw);
    assert_int_equal(wt_cpu_model_power(&m, -1, 2).mid_mw, wt_cpu_model_power(&m, 0, 1).mid_mw);
    assert_int_equal(wt_cpu_model_power(&m, 9, NAN).mid_mw, wt_cpu_model_power(&m, 1, 1).mid_mw);
    assert_true(wt_cpu_model_power(&m, 1, 0.5).mid_mw < wt_cpu_model_power(&m, 1, 1).mid_mw);
}

/* What Teads measured on AWS (docs/model.md), which nothing was fitted on. */
static void a_published_curve_lies_in_the_band(void **state)
{
    (void)state;
    static const double load[] = {0, 0.1, 0.5, 1}, share[] = {0.12, 0.32, 0.75, 1.02};
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 48, false);
    for (size_t i = 0; i < WT_COUNTOF(load); i++) {
        struct wt_power_band b = wt_cpu_model_power(&m, load[i], NAN);
        assert_in_range(share[i] * 240000, b.low_mw, b.high_mw);
    }
}

static void memory_is_a_band_by_size(void **state)
{
    (void)state;
    struct wt_power_band none = wt_dram_model_power(0, true);
    assert_int_equal(none.high_mw, 0);
    struct wt_power_band server = wt_dram_model_power(UINT64_C(128000000000), true);
    struct wt_power_band other = wt_dram_model_power(UINT64_C(128000000000), false);
    assert_int_equal(server.mid_mw, 36352);
    assert_true(server.low_mw < server.mid_mw && server.mid_mw < server.high_mw);
    assert_true(other.mid_mw < server.mid_mw);
    /* Cloud Carbon Footprint's 0.392 W a GB. */
    assert_in_range(392 * 128, server.low_mw, server.high_mw);
}

static void a_gpu_is_known_by_name_or_limit(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t limit_mw;
        unsigned most_w;
    } rows[] = {
        {"Tesla V100-PCIE-32GB", 0, 250},  {"Tesla V100-SXM2-16GB", 0, 300},
        {"NVIDIA A100-SXM4-80GB", 0, 400}, {"NVIDIA A100 80GB PCIe", 0, 300},
        {"NVIDIA A10G", 0, 300},           {"NVIDIA A10", 0, 150},
        {"NVIDIA H100 80GB HBM3", 0, 700}, {"a GPU of tomorrow", 500000, 500},
        {"NVIDIA A40", 200000, 200},
    };
    struct wt_error err = {0};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_power_band b, last = {0};
        for (int u = 0; u <= 10; u++) {
            assert_int_equal(wt_gpu_model_power(rows[i].name, rows[i].limit_mw, u / 10.0, &b, &err),
                             0);
            assert_true(b.low_mw <= b.mid_mw && b.mid_mw <= b.high_mw);
            assert_true(u == 0 || b.mid_mw > last.mid_mw);
            last = b;
        }
        assert_int_equal(b.high_mw, rows[i].most_w * 1050);
    }
    struct wt_power_band b = {1, 2, 3};
    assert_int_equal(wt_gpu_model_power("a GPU of tomorrow", 0, 1, &b, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_gpu_model_power(NULL, 0, 1, &b, &err), WT_E_NOTFOUND);
    assert_int_equal(b.mid_mw, 2);
}

/* ---- how good ---- */

static void each_cpu_lies_in_the_band_fitted_without_it(void **state)
{
    (void)state;
    static struct cpu_measured cpus[CPUS_MOST];
    size_t count = 0;
    glob_t files;
    assert_int_equal(glob(WT_BENCH_CPU_LOAD "/*.csv", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        assert_int_equal(cpu_fit_load(files.gl_pathv[i], cpus, &count), 0);
    globfree(&files);
    assert_int_equal(count, 2);
    cpu_fit_find(cpus, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(cpus[i].model.known, WT_CPU_BY_NAME);
        double scale = cpu_fit_scale(cpus, count, i, cpus[i].model.family);
        static const enum cpu_column columns[] = {CPU_PRINTED, CPU_ENERGY};
        for (size_t k = 0; k < WT_COUNTOF(columns); k++) {
            struct cpu_judgement j = cpu_fit_judge(&cpus[i], scale, columns[k], false);
            assert_true((double)j.inside >= 0.9 * (double)j.count);
            assert_true(j.error_w < j.rule_error_w);
        }
        /* And the table holds what is fitted on all. */
        double all = cpu_fit_scale(cpus, count, SIZE_MAX, cpus[i].model.family);
        assert_true(fabs(all - cpus[i].model.scale) < 0.0006);
    }
}

/* ---- the source, on machines made here ---- */

struct host {
    struct bed bed;
    struct wt_source *source;
    struct wt_findings notes;
};

/* Two threads, with their busy and idle ticks. */
static void put_stat(const struct bed *bed, unsigned busy0, unsigned idle0, unsigned busy1,
                     unsigned idle1)
{
    char text[512];
    wt_text(text, sizeof(text),
            "cpu  %u 0 0 %u 0 0 0 0 0 0\ncpu0 %u 0 0 %u 0 0 0 0 0 0\ncpu1 %u 0 0 %u 0 0 0 0 0 0\n"
            "intr 1 2 3\nctxt 4\n",
            busy0 + busy1, idle0 + idle1, busy0, idle0, busy1, idle1);
    bed_put(bed, "/proc/stat", text);
}

static const char vm_cpuinfo[] = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n"
                                 "model\t\t: 85\nmodel name\t: Intel(R) Xeon(R) Platinum 8175M CPU "
                                 "@ 2.50GHz\nflags\t\t: fpu hypervisor lm\n";

static void host_init(struct host *host)
{
    memset(host, 0, sizeof(*host));
    bed_init(&host->bed);
    bed_put(&host->bed, "/proc/cpuinfo", vm_cpuinfo);
    bed_put(&host->bed, "/proc/meminfo", "MemTotal:        7812500 kB\nMemFree: 1 kB\n");
    put_stat(&host->bed, 1000, 5000, 2000, 4000);
}

static int host_open(struct host *host)
{
    return wt_model_ops.open(&host->source, host->bed.ctx, NULL, &host->notes, &host->bed.err);
}

static void host_done(struct host *host)
{
    wt_model_ops.close(host->source);
    wt_findings_done(&host->notes);
    bed_done(&host->bed);
}

static int read_power(struct host *host, size_t k, struct wt_power *ret_power)
{
    struct wt_reading r = {0};
    int rc = wt_model_ops.read(host->source, k, WT_READ_POWER, &r, &host->bed.err);
    *ret_power = r.power;
    if (rc < 0)
        assert_int_equal(r.power.state, WT_ABSENT);
    return rc;
}

static uint64_t power_at(struct host *host, size_t k)
{
    struct wt_power p;
    assert_int_equal(read_power(host, k, &p), 0);
    assert_int_equal(p.state, WT_MODELED);
    return p.mw;
}

static void a_vm_has_one_processor_and_its_memory(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    bed_put(&host.bed, "/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
    bed_put(&host.bed, "/sys/devices/system/cpu/cpu1/topology/physical_package_id", "1\n");
    assert_int_equal(host_open(&host), 0);
    assert_int_equal(host.source->count, 2);
    const struct wt_device_info *cpu = &host.source->devices[0], *dram = &host.source->devices[1];
    assert_string_equal(cpu->id, "cpu-package-0");
    assert_string_equal(cpu->name, "CPU, modeled: Intel Xeon Platinum 8175M");
    assert_int_equal(cpu->kind, WT_DEVICE_CPU);
    assert_int_equal(cpu->can, WT_CAN_POWER);
    assert_true(cpu->traits.model_high_ppm > cpu->traits.model_low_ppm);
    assert_string_equal(dram->id, "dram");
    assert_int_equal(dram->kind, WT_DEVICE_DRAM);
    assert_int_equal(dram->mem_bytes, UINT64_C(8000000000));
    assert_int_equal(host.notes.count, 1);
    assert_non_null(strstr(host.notes.list[0].value, "TDP 240 W x 2 of 48 threads"));
    assert_int_equal(power_at(&host, 1), 2272);
    host_done(&host);
}

static void power_follows_the_load_since_the_last_reading(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    assert_int_equal(host_open(&host), 0);
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 2, true);
    static const struct {
        unsigned busy0, busy1; /* of 100 ticks in a second */
        double load;
    } rows[] = {{0, 0, 0}, {100, 100, 1}, {100, 0, 0.5}, {25, 25, 0.25}, {0, 0, 0}};
    unsigned busy0 = 1000, idle0 = 5000, busy1 = 2000, idle1 = 4000;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put_stat(&host.bed, busy0 += rows[i].busy0, idle0 += 100 - rows[i].busy0,
                 busy1 += rows[i].busy1, idle1 += 100 - rows[i].busy1);
        host.bed.now_ns += S;
        assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, rows[i].load, NAN).mid_mw);
    }
    /* Asked again at once: the same, and the ticks meanwhile are kept for the next. */
    put_stat(&host.bed, busy0 + 1, idle0, busy1 + 1, idle1);
    host.bed.now_ns += 10 * MS;
    assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, 0, NAN).mid_mw);
    host_done(&host);
}

static void what_the_hypervisor_took_is_not_our_load(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    bed_put(&host.bed, "/proc/stat", "cpu 0 0 0 0\ncpu0 100 0 0 100 50 0 0 10 0 0\n");
    assert_int_equal(host_open(&host), 0);
    /* 25 busy, 25 idle, 50 stolen; iowait fell, which it may. */
    bed_put(&host.bed, "/proc/stat", "cpu 0 0 0 0\ncpu0 110 5 5 125 48 3 2 60 0 0\n");
    host.bed.now_ns += S;
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 1, true);
    assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, 0.25, NAN).mid_mw);
    host_done(&host);
}

static void the_first_reading_waits_for_ticks(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    assert_int_equal(host_open(&host), 0);
    put_stat(&host.bed, 1004, 5004, 2004, 4004);
    int64_t opened_ns = host.bed.now_ns;
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 2, true);
    assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, 0.5, NAN).mid_mw);
    assert_int_equal(host.bed.now_ns - opened_ns, 80 * MS);
    host_done(&host);
}

static void each_package_has_its_own_load_and_clock(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    bed_put(&host.bed, "/proc/cpuinfo",
            "model name\t: Intel(R) Xeon(R) CPU E5-2620 v3 @ 2.40GHz\n");
    for (int i = 0; i < 2; i++) {
        char path[128];
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
                i);
        bed_put(&host.bed, path, i ? "0\n" : "3\n");
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", i);
        bed_put(&host.bed, path, i ? "1600000\n" : "3200000\n");
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", i);
        bed_put(&host.bed, path, "3200000\n");
    }
    assert_int_equal(host_open(&host), 0);
    assert_int_equal(host.source->count, 3);
    struct wt_cpu_model m = model_of("Intel Xeon E5-2620 v3", 1, false);
    put_stat(&host.bed, 1100, 5000, 2050, 4050);
    host.bed.now_ns += S;
    assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, 1, 1).mid_mw);
    assert_int_equal(power_at(&host, 1), wt_cpu_model_power(&m, 0.5, 0.5).mid_mw);
    assert_int_equal(m.tdp_mw, 85000);
    host_done(&host);
}

static void garbage_is_an_error_and_no_joule(void **state)
{
    (void)state;
    static const struct {
        const char *stat;
        int want;
        const char *why;
    } rows[] = {
        {"", WT_E_FORMAT, "empty"},
        {"cpu  1 2 3 4\nintr 5\n", WT_E_FORMAT, "no thread, and the sum is none"},
        {"\xff\xfe garbage \x01\n", WT_E_FORMAT, "noise"},
        {"cpu  0 0 0 0\ncpu0 a b c d\ncpu1 1\n", WT_E_FORMAT, "no numbers"},
        {"cpu  0 0 0 0\ncpu0 900 0 0 5100\ncpu1 2000 0 0 4100\n", WT_E_FORMAT, "busy went back"},
        {"cpu  0 0 0 0\ncpu0 1050 0 0 4900\ncpu1 2050 0 0 4050\n", WT_E_FORMAT, "idle went back"},
        {"cpu  0 0 0 0\ncpu0 1000 0 0 5000\ncpu1 2000 0 0 4000\n", WT_E_FORMAT, "stands still"},
        {"cpu  0 0 0 0\ncpu0 1010 0 0 5000\ncpu1 2010 0 0 4000\n", WT_E_FORMAT, "idle is lost"},
        {"cpu  0 0 0 0\ncpu0 9000 0 0 5000\ncpu1 9000 0 0 4000\n", WT_E_FORMAT, "faster than time"},
        {"cpu  0 0 0 0\ncpu0 1050 0 0 5050\n", WT_E_STATE, "a thread went offline"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct host host;
        struct wt_power p;
        host_init(&host);
        assert_int_equal(host_open(&host), 0);
        bed_put(&host.bed, "/proc/stat", rows[i].stat);
        host.bed.now_ns += S;
        int rc = read_power(&host, 0, &p);
        if (rc != rows[i].want)
            fail_msg("%s: %d: %s", rows[i].why, rc, host.bed.err.text);
        assert_true(*host.bed.err.text);
        host_done(&host);
    }
}

static void after_garbage_it_goes_on(void **state)
{
    (void)state;
    struct host host;
    struct wt_power p;
    host_init(&host);
    assert_int_equal(host_open(&host), 0);
    put_stat(&host.bed, 10, 10, 10, 10);
    host.bed.now_ns += S;
    assert_int_equal(read_power(&host, 0, &p), WT_E_FORMAT);
    put_stat(&host.bed, 110, 10, 110, 10);
    host.bed.now_ns += S;
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 2, true);
    assert_int_equal(power_at(&host, 0), wt_cpu_model_power(&m, 1, NAN).mid_mw);
    host_done(&host);
}

static void a_long_stat_is_read_to_its_end(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    size_t size = 400000;
    char *text = malloc(size), *end = text;
    assert_non_null(text);
    end += sprintf(end, "cpu 0 0 0 0\n");
    for (int i = 0; i < 1024; i++)
        end += sprintf(end, "cpu%d 100 0 0 100 0 0 0 0 0 0\n", i);
    end += sprintf(end, "intr");
    while (end + 16 < text + size)
        end += sprintf(end, " 1234567");
    bed_put(&host.bed, "/proc/stat", text);
    free(text);
    assert_int_equal(host_open(&host), 0);
    assert_int_equal(host.source->count, 2);
    host_done(&host);
}

static void without_proc_there_is_no_source(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    tree_remove(host.bed.root, "/proc/stat");
    assert_int_equal(host_open(&host), WT_E_NOTFOUND);
    bed_put(&host.bed, "/proc/stat", "cpu  1 2 3 4\n");
    assert_int_equal(host_open(&host), WT_E_FORMAT);
    assert_null(host.source);
    host_done(&host);
}

static void only_power_is_there_to_read(void **state)
{
    (void)state;
    struct host host;
    struct wt_reading r = {0};
    host_init(&host);
    assert_int_equal(host_open(&host), 0);
    assert_int_equal(
        wt_model_ops.read(host.source, 1, WT_READ_ENERGY | WT_READ_POWER, &r, &host.bed.err),
        WT_E_UNSUPPORTED);
    assert_int_equal(r.energy.state, WT_ABSENT);
    assert_int_equal(r.power.state, WT_MODELED);
    host_done(&host);
}

/* ---- the window ---- */

static void a_window_over_a_model_has_its_band(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    assert_int_equal(host_open(&host), 0);
    struct wt_series_traits traits;
    struct wt_series series;
    wt_series_traits_power(&host.source->devices[0].traits, &traits);
    wt_series_init(&series, &traits, 10000);
    struct wt_cpu_model m = model_of("Intel Xeon Platinum 8175M", 2, true);
    struct wt_power_band b = wt_cpu_model_power(&m, 0.5, NAN);
    for (int i = 0; i < 200; i++)
        assert_int_equal(
            wt_series_add_power(&series, i * 100 * MS, i * 100 * MS + MS, wt_w_from_mw(b.mid_mw)),
            0);
    struct wt_span span;
    for (double z = 1; z < 3; z++) {
        wt_series_span(&series, 2 * S, 12 * S, z, &span);
        assert_true(span.is_known);
        assert_true(fabs(span.energy_j - 10 * wt_w_from_mw(b.mid_mw)) < 0.1);
        assert_true(span.low_j <= 10 * wt_w_from_mw(b.low_mw) + 0.01);
        assert_true(span.high_j >= 10 * wt_w_from_mw(b.high_mw) - 0.01);
        /* And not much wider: the band is one-sided on each side. */
        assert_true(span.low_j > 0.9 * 10 * wt_w_from_mw(b.low_mw));
        assert_true(span.high_j < 1.1 * 10 * wt_w_from_mw(b.high_mw));
    }
    wt_series_done(&series);
    host_done(&host);
}

static void a_gpus_traits_hold_its_band_at_every_utilisation(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t limit_mw;
    } rows[] = {{"NVIDIA A100-SXM4-80GB", 0}, {"Tesla T4", 0}, {"GRID something", 300000}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_sensor_traits t = {0};
        struct wt_error err = {0};
        if (wt_gpu_model_traits(rows[i].name, rows[i].limit_mw, &t, &err) < 0)
            fail_msg("%s: %s", rows[i].name, err.text);
        for (int u = 0; u <= 100; u++) {
            struct wt_power_band band;
            assert_int_equal(
                wt_gpu_model_power(rows[i].name, rows[i].limit_mw, u / 100.0, &band, NULL), 0);
            double mid = (double)band.mid_mw;
            double low = mid * (1 - t.model_low_ppm * 1e-6) - t.model_low_mw;
            double high = mid * (1 + t.model_high_ppm * 1e-6) + t.model_high_mw;
            if (low > (double)band.low_mw + 2 || high < (double)band.high_mw - 2)
                fail_msg("%s at %d %%: [%.0f, %.0f] does not hold [%llu, %llu]", rows[i].name, u,
                         low, high, (unsigned long long)band.low_mw,
                         (unsigned long long)band.high_mw);
        }
    }
    struct wt_sensor_traits t = {0};
    assert_int_equal(wt_gpu_model_traits("no such GPU", 0, &t, NULL), WT_E_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpus_traits_hold_its_band_at_every_utilisation),
        cmocka_unit_test(names_are_found_as_the_kernel_writes_them),
        cmocka_unit_test(a_name_that_is_not_there_is_not_guessed),
        cmocka_unit_test(a_stripped_name_is_known_by_its_generation),
        cmocka_unit_test(an_identity_is_read_from_cpuinfo),
        cmocka_unit_test(a_vm_has_its_share_of_the_package),
        cmocka_unit_test(what_is_not_known_widens_the_band),
        cmocka_unit_test(power_rises_with_load_inside_its_band),
        cmocka_unit_test(loads_outside_are_the_nearest_inside),
        cmocka_unit_test(a_published_curve_lies_in_the_band),
        cmocka_unit_test(memory_is_a_band_by_size),
        cmocka_unit_test(a_gpu_is_known_by_name_or_limit),
        cmocka_unit_test(each_cpu_lies_in_the_band_fitted_without_it),
        cmocka_unit_test(a_vm_has_one_processor_and_its_memory),
        cmocka_unit_test(power_follows_the_load_since_the_last_reading),
        cmocka_unit_test(what_the_hypervisor_took_is_not_our_load),
        cmocka_unit_test(the_first_reading_waits_for_ticks),
        cmocka_unit_test(each_package_has_its_own_load_and_clock),
        cmocka_unit_test(garbage_is_an_error_and_no_joule),
        cmocka_unit_test(after_garbage_it_goes_on),
        cmocka_unit_test(a_long_stat_is_read_to_its_end),
        cmocka_unit_test(without_proc_there_is_no_source),
        cmocka_unit_test(only_power_is_there_to_read),
        cmocka_unit_test(a_window_over_a_model_has_its_band),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
