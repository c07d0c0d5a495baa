/* Knobs that are files of the kernel - powercap, cpufreq, amdgpu - on small trees: described
 * without a write, set within their range, read back, put back, and put back after a crash.
 *
 * A file of a tree takes whatever is written. What a kernel does instead (refuses, keeps the old
 * value) is done here from the look-on of the context, which sees every read. */
#include <sys/wait.h>

#include "bed.h"
#include "knob/knob.h"
#include "lease/lease.h"

#define ZONE      "/sys/class/powercap/intel-rapl:0"
#define CARD      "/sys/class/drm/card1/device"
#define POLICY(n) "/sys/devices/system/cpu/cpufreq/policy" #n

#define SCLK "0: 300Mhz *\n1: 600Mhz\n2: 900Mhz\n3: 1500Mhz"
#define MCLK "0: 167Mhz *\n1: 1000Mhz"

/* What the kernel of the machine does beside keeping what is written. */
static struct kernel {
    struct bed *bed;
    /* After so many reads of a path: a fault of it, or another content of another. */
    const char *watched, *changed, *content;
    unsigned after, seen;
    int errnum;
    char allowed[2][64]; /* what was written last to the levels of a card's two clocks */
} kernel;

/* ---- trees ---- */

static void put_in(const struct bed *bed, const char *dir, const char *file, const char *text)
{
    char path[256];
    wt_text(path, sizeof(path), "%s/%s", dir, file);
    bed_put_line(bed, path, text);
}

static void holds_(const struct bed *bed, const char *path, const char *want, int line)
{
    char text[256];
    char full[512];
    wt_text(full, sizeof(full), "%s%s", bed->root, path);
    assert_int_equal(wt_fs_read(NULL, full, text, sizeof(text), NULL), 0);
    if (strcmp(text, want) != 0)
        fail_msg("line %d: %s holds \"%s\", not \"%s\"", line, path, text, want);
}
#define HOLDS(path, want) holds_(&bed, path, want, __LINE__)

static void put_zone(const struct bed *bed, const char *dir, const char *name)
{
    put_in(bed, dir, "name", name);
    put_in(bed, dir, "energy_uj", "1000");
    put_in(bed, dir, "max_energy_range_uj", "262143328850");
}

static void put_limits(const struct bed *bed, const char *dir, const char *limit_uw,
                       const char *max_uw)
{
    put_in(bed, dir, "enabled", "1");
    put_in(bed, dir, "constraint_0_name", "long_term");
    put_in(bed, dir, "constraint_0_power_limit_uw", limit_uw);
    put_in(bed, dir, "constraint_0_max_power_uw", max_uw);
    put_in(bed, dir, "constraint_1_name", "short_term");
    put_in(bed, dir, "constraint_1_power_limit_uw", "180000000");
    put_in(bed, dir, "constraint_1_max_power_uw", "0");
}

static void put_policy(const struct bed *bed, unsigned number, unsigned package,
                       const char *max_khz)
{
    char path[160];
    const char *dir = "/sys/devices/system/cpu";
    wt_text(path, sizeof(path), "%s/cpu%u/topology/physical_package_id", dir, number);
    char text[16];
    bed_put_line(bed, path, wt_text(text, sizeof(text), "%u", package));
    wt_text(path, sizeof(path), "%s/cpufreq/policy%u", dir, number);
    put_in(bed, path, "affected_cpus", wt_text(text, sizeof(text), "%u", number));
    put_in(bed, path, "cpuinfo_min_freq", "800000");
    put_in(bed, path, "cpuinfo_max_freq", max_khz);
    put_in(bed, path, "scaling_max_freq", max_khz);
    put_in(bed, path, "scaling_driver", "intel_pstate");
    put_in(bed, path, "scaling_governor", "powersave");
    put_in(bed, path, "scaling_available_governors", "performance powersave");
    put_in(bed, path, "energy_performance_preference", "balance_performance");
    put_in(bed, path, "energy_performance_available_preferences",
           "default performance balance_performance balance_power power");
}

/* One package with its memory, and two policies. */
static void put_machine(const struct bed *bed)
{
    put_zone(bed, ZONE, "package-0");
    put_limits(bed, ZONE, "125000000", "125000000");
    put_zone(bed, "/sys/class/powercap/intel-rapl:0:0", "dram");
    put_limits(bed, "/sys/class/powercap/intel-rapl:0:0", "30000000", "40000000");
    put_policy(bed, 0, 0, "3600000");
    put_policy(bed, 1, 0, "3600000");
}

static void put_card(const struct bed *bed)
{
    put_in(bed, "/sys/class/drm/card0/device", "uevent", "DRIVER=ast\nPCI_SLOT_NAME=0000:02:00.0");
    put_in(bed, CARD, "uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c1:00.0");
    put_in(bed, CARD "/hwmon/hwmon5", "power1_cap", "300000000");
    put_in(bed, CARD "/hwmon/hwmon5", "power1_cap_min", "0");
    put_in(bed, CARD "/hwmon/hwmon5", "power1_cap_max", "350000000");
    put_in(bed, CARD "/hwmon/hwmon5", "power1_cap_default", "300000000");
    put_in(bed, CARD, "power_dpm_force_performance_level", "auto");
    put_in(bed, CARD, "pp_dpm_sclk", SCLK);
    put_in(bed, CARD, "pp_dpm_mclk", MCLK);
}

/* ---- the kernel ---- */

/* A driver takes the numbers of levels and goes on listing them all. */
static void take_levels(void)
{
    static const char *const paths[] = {CARD "/pp_dpm_sclk", CARD "/pp_dpm_mclk"};
    for (size_t i = 0; i < 2; i++) {
        char full[256], text[256];
        wt_text(full, sizeof(full), "%s%s", kernel.bed->root, paths[i]);
        if (wt_fs_read(NULL, full, text, sizeof(text), NULL) < 0 || strchr(text, ':') || !*text)
            continue;
        wt_text(kernel.allowed[i], sizeof(kernel.allowed[i]), "%s", text);
        bed_put_line(kernel.bed, paths[i], i == 0 ? SCLK : MCLK);
    }
}

static void look_on(void *data, const char *path, bool is_dir, int rc, int errnum, const char *text)
{
    (void)data;
    (void)is_dir;
    (void)rc;
    (void)errnum;
    (void)text;
    if (strcmp(path, CARD "/power_dpm_force_performance_level") == 0)
        take_levels();
    if (!kernel.watched || strcmp(path, kernel.watched) != 0 || ++kernel.seen != kernel.after)
        return;
    if (kernel.content)
        bed_put_line(kernel.bed, kernel.changed, kernel.content);
    else
        wt_tree_fault(kernel.bed->ctx, kernel.changed, kernel.errnum);
}

/* A program starts on the machine as it is now, under a kernel that looks on. */
static void start(struct bed *bed)
{
    kernel = (struct kernel){.bed = bed};
    if (bed_renew(bed) < 0)
        fail_msg("%s", bed->err.text);
    bed->ctx->watch = look_on;
}

static void start_open(struct bed *bed)
{
    start(bed);
    bed_open(bed);
}

static struct wt_knob_info described(struct bed *bed, const char *id, enum wt_knob knob)
{
    struct wt_knob_info k = {0};
    if (wt_devices_knob(bed->devices, bed_index(bed, id), knob, &k, &bed->err) < 0)
        fail_msg("%s", bed->err.text);
    return k;
}

static int set_to(struct bed *bed, const char *id, enum wt_knob knob, int64_t value)
{
    return wt_knob_set(bed->devices, bed_index(bed, id), knob, value, NULL, &bed->err);
}

/* ---- values by name ---- */

static void a_value_is_typed_and_shown_in_its_own_words(void **state)
{
    (void)state;
    static const struct {
        enum wt_knob knob;
        const char *typed;
        int64_t value;
        const char *text;
    } rows[] = {
        {WT_KNOB_POWER, "150", 150000, "150 W"},
        {WT_KNOB_CPU_POWER, "62.5", 62500, "62.5 W"},
        {WT_KNOB_CPU_FREQ, "2400", 2400000, "2400 MHz"},
        {WT_KNOB_CLOCK, "0", 0, "not locked"},
        {WT_KNOB_CLOCK, "low", WT_CLOCK_LOW, "low"},
        {WT_KNOB_GOVERNOR, "performance", 1, "performance"},
        {WT_KNOB_GOVERNOR, "userspace", 6, "userspace"},
        {WT_KNOB_EPP, "balance_power", 4, "balance_power"},
        {WT_KNOB_EPP, "128", 1128, "128"},
        {WT_KNOB_EPP, "0", 1000, "0"},
        {WT_KNOB_EPP, "255", 1255, "255"},
    };
    static const struct {
        enum wt_knob knob;
        const char *typed, *why;
    } wrong[] = {
        {WT_KNOB_GOVERNOR, "2", "a number for a name"},
        {WT_KNOB_GOVERNOR, "turbo", "no governor"},
        {WT_KNOB_GOVERNOR, "", "nothing"},
        {WT_KNOB_EPP, "256", "off the scale"},
        {WT_KNOB_EPP, "-1", "off the scale"},
        {WT_KNOB_POWER, "performance", "a name"},
        {WT_KNOB_POWER, "1e3", "no plain number"},
        {WT_KNOB_POWER, "-1", "negative"},
        {WT_KNOB_POWER, "9999999999999", "out of reach"},
        {(enum wt_knob)77, "1", "no knob"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char text[48];
        int64_t value = -99;
        assert_int_equal(wt_knob_value_parse(rows[i].knob, rows[i].typed, &value), 0);
        assert_int_equal(value, rows[i].value);
        assert_string_equal(wt_knob_value_text(text, sizeof(text), rows[i].knob, value),
                            rows[i].text);
        assert_string_equal(wt_knob_value_typed(text, sizeof(text), rows[i].knob, value),
                            rows[i].typed);
    }
    for (size_t i = 0; i < WT_COUNTOF(wrong); i++) {
        int64_t value;
        if (wt_knob_value_parse(wrong[i].knob, wrong[i].typed, &value) != WT_E_FORMAT)
            fail_msg("%s was taken", wrong[i].why);
    }
}

static void a_preference_may_read_as_another_name_of_the_same(void **state)
{
    (void)state;
    static const struct {
        int64_t set, read;
        bool want;
        const char *why;
    } rows[] = {
        {1128, 2, true, "128 has a name"},
        {1000, 1, true, "0 is performance"},
        {1255, 5, true, "255 is power"},
        {1128, 1, false, "128 is not performance"},
        {1000, 2, false, "0 is performance"},
        {3, 2, true, "default is what it was at start"},
        {2, 4, false, "two names"},
        {1128, 1129, false, "two numbers"},
        {2, 1128, false, "a name is not shown as a number"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (wt_knob_reads_as(WT_KNOB_EPP, rows[i].set, rows[i].read, 1) != rows[i].want)
            fail_msg("%s", rows[i].why);
    assert_true(wt_knob_reads_as(WT_KNOB_CPU_POWER, 100100, 100000, 125));
    assert_false(wt_knob_reads_as(WT_KNOB_CPU_POWER, 100125, 100000, 125));
}

/* ---- powercap ---- */

static void a_package_limit_is_described_without_a_write(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_CPU_POWER);
    assert_true(k.current == 125000 && k.enforced == 125000 && k.max == 125000 && k.min == 12500 &&
                k.step == 125 && k.def == 125000 && k.is_settable && !k.is_lockable);
    k = described(&bed, "dram-package-0", WT_KNOB_DRAM_POWER);
    assert_true(k.current == 30000 && k.max == 40000 && k.min == 4000 && k.def == 40000);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
    /* The other set of limits is lower, so that one is obeyed. */
    put_zone(&bed, "/sys/class/powercap/intel-rapl-mmio:0", "package-0");
    put_limits(&bed, "/sys/class/powercap/intel-rapl-mmio:0", "65000000", "125000000");
    k = described(&bed, "cpu-package-0", WT_KNOB_CPU_POWER);
    assert_true(k.current == 125000 && k.enforced == 65000);
    bed_done(&bed);
}

static void a_package_limit_is_set_read_back_and_put_back(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_found found;
    int64_t enforced = 0;
    bed_init(&bed);
    put_machine(&bed);
    /* Found in steps of 1/32 W: no whole milliwatts, and rounding down would lose a step. */
    bed_put_line(&bed, ZONE "/constraint_0_power_limit_uw", "95031250");
    start_open(&bed);
    size_t i = bed_index(&bed, "cpu-package-0");
    assert_int_equal(wt_knob_snapshot(bed.devices, i, WT_KNOB_CPU_POWER, &found, &bed.err), 0);
    assert_true(found.value == 95032 && found.is_read);
    assert_int_equal(wt_knob_set(bed.devices, i, WT_KNOB_CPU_POWER, 80000, &enforced, &bed.err), 0);
    assert_int_equal(enforced, 80000);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "80000000");
    HOLDS(ZONE "/constraint_1_power_limit_uw", "180000000");
    assert_int_equal(wt_knob_restore(bed.devices, i, WT_KNOB_CPU_POWER, &found, &bed.err), 0);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "95032000");
    bed_done(&bed);
}

static void the_constraint_is_found_by_its_name(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    bed_put_line(&bed, ZONE "/constraint_0_name", "short_term");
    bed_put_line(&bed, ZONE "/constraint_1_name", "long_term");
    start_open(&bed);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, 100000), 0);
    HOLDS(ZONE "/constraint_1_power_limit_uw", "100000000");
    HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
    bed_done(&bed);
}

static void the_floor_is_a_tenth_or_five_watts_or_what_was_found(void **state)
{
    (void)state;
    static const struct {
        const char *limit_uw, *max_uw;
        int64_t min, max;
        const char *why;
    } rows[] = {
        {"350000000", "350000000", 35000, 350000, "a tenth"},
        {"15000000", "15000000", 5000, 15000, "five watts"},
        {"3000000", "15000000", 3000, 15000, "found below the floor"},
        {"253000000", "125000000", 25300, 253000, "a board that allows more than is published"},
        {"150000000", "0", 18000, 180000, "not published: the short-term limit"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        put_machine(&bed);
        put_limits(&bed, ZONE, rows[i].limit_uw, rows[i].max_uw);
        start_open(&bed);
        struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_CPU_POWER);
        if (k.min != rows[i].min || k.max != rows[i].max)
            fail_msg("%s: %lld to %lld", rows[i].why, (long long)k.min, (long long)k.max);
        assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, k.min - 1), WT_E_RANGE);
        assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, INT64_MAX), WT_E_RANGE);
        assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, INT64_MIN), WT_E_RANGE);
        bed_done(&bed);
    }
}

static void a_limit_that_the_firmware_locked_is_told_as_such(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    /* The kernel says EACCES to root. */
    kernel.watched = ZONE "/enabled";
    kernel.changed = ZONE "/constraint_0_power_limit_uw";
    kernel.after = 2;
    kernel.errnum = EACCES;
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, 100000), WT_E_STATE);
    assert_says(bed.err.text, "did not take");
    assert_says(bed.err.text, "locked by the firmware");
    assert_says(bed.err.fix, "firmware's setup");
    wt_tree_fault(bed.ctx, kernel.changed, 0);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
    /* Or it takes the write, and the register keeps what it has. */
    kernel.watched = ZONE "/constraint_0_name";
    kernel.content = "125000000";
    kernel.seen = 0;
    kernel.after = 3;
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, 100000), WT_E_STATE);
    assert_says(bed.err.text, "it reads 125 W");
    bed_done(&bed);
}

static void a_limit_that_is_not_enforced_is_described_and_not_set(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    bed_put_line(&bed, "/sys/class/powercap/intel-rapl:0:0/enabled", "0");
    start_open(&bed);
    struct wt_knob_info k = described(&bed, "dram-package-0", WT_KNOB_DRAM_POWER);
    assert_false(k.is_settable);
    assert_says(k.why_not, "not enforced");
    assert_says(k.fix, "intel-rapl:0:0/enabled");
    bed_done(&bed);
}

static void amd_has_counters_and_no_limit(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed);
    put_zone(&bed, ZONE, "package-0");
    bed_put_line(&bed, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD");
    put_policy(&bed, 0, 0, "3600000");
    start_open(&bed);
    size_t i = bed_index(&bed, "cpu-package-0");
    assert_int_equal(wt_devices_knob(bed.devices, i, WT_KNOB_CPU_POWER, &k, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_says(bed.err.text, "AMD");
    assert_says(bed.err.fix, "limit its frequency instead: cpu-freq, governor, epp");
    /* What is not there is no way out. */
    tree_remove(bed.root, POLICY(0) "/energy_performance_preference");
    assert_int_equal(wt_devices_knob(bed.devices, i, WT_KNOB_CPU_POWER, &k, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_string_equal(bed.err.fix, "limit its frequency instead: cpu-freq, governor");
    tree_remove(bed.root, POLICY(0) "/affected_cpus");
    assert_int_equal(wt_devices_knob(bed.devices, i, WT_KNOB_CPU_POWER, &k, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_string_equal(bed.err.fix, "");
    bed_done(&bed);
}

/* Two dies of a package, a core each. */
static void put_dies(const struct bed *bed)
{
    put_zone(bed, ZONE, "package-0-die-0");
    put_zone(bed, "/sys/class/powercap/intel-rapl:1", "package-0-die-1");
    for (unsigned core = 0; core < 2; core++) {
        char path[128], text[16];
        put_policy(bed, core, 0, "3600000");
        wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/die_id", core);
        bed_put_line(bed, path, wt_text(text, sizeof(text), "%u", core));
    }
}

static void a_die_has_its_own_cores_only_where_the_others_have_theirs(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_dies(&bed);
    bed_put_line(&bed, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel");
    start_open(&bed);
    assert_int_equal(set_to(&bed, "cpu-package-0-die-0", WT_KNOB_CPU_FREQ, 2400000), 0);
    HOLDS(POLICY(0) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(1) "/scaling_max_freq", "3600000");
    bed_done(&bed);

    /* AMD's second die is the same counter and a part: the first stands for the whole package. */
    bed_init(&bed);
    put_dies(&bed);
    bed_put_line(&bed, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD");
    start_open(&bed);
    assert_true(wt_devices_info(bed.devices, bed_index(&bed, "cpu-package-0-die-1"))->is_part);
    assert_int_equal(set_to(&bed, "cpu-package-0-die-0", WT_KNOB_CPU_FREQ, 2400000), 0);
    HOLDS(POLICY(0) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(1) "/scaling_max_freq", "2400000");
    bed_done(&bed);
}

#define MEMORY "/sys/class/powercap/intel-rapl:0:0"

static void a_limit_of_nothing_is_never_switched_on(void **state)
{
    (void)state;
    static const struct {
        const char *enabled, *limit_uw, *max_uw;
        const char *fix; /* NULL: there is no such knob; "": it is settable */
        int64_t min;
        const char *why;
    } rows[] = {
        {"0", "0", "40000000",
         "echo 40000000 | sudo tee " MEMORY
         "/constraint_0_power_limit_uw && echo 1 | sudo tee " MEMORY "/enabled",
         4000, "the highest first"},
        {"0", "2000000", "40000000",
         "echo 40000000 | sudo tee " MEMORY
         "/constraint_0_power_limit_uw && echo 1 | sudo tee " MEMORY "/enabled",
         4000, "below the floor"},
        {"0", "30000000", "40000000",
         "echo 1 | sudo tee " MEMORY "/enabled: from then on the 30 W hold", 4000,
         "one that is sane"},
        {"0", "0", "0", NULL, 0, "nothing says which would be sane"},
        {"1", "0", "0", NULL, 0, "nor when it is said to hold"},
        {"1", "0", "40000000", "", 4000, "0 W is none that was chosen"},
        {"1", "2000000", "40000000", "", 2000, "found below the floor"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_knob_info k;
        bed_init(&bed);
        put_machine(&bed);
        put_limits(&bed, MEMORY, rows[i].limit_uw, rows[i].max_uw);
        bed_put_line(&bed, MEMORY "/constraint_1_power_limit_uw", "0");
        bed_put_line(&bed, MEMORY "/enabled", rows[i].enabled);
        start_open(&bed);
        int rc = wt_devices_knob(bed.devices, bed_index(&bed, "dram-package-0"), WT_KNOB_DRAM_POWER,
                                 &k, &bed.err);
        if (!rows[i].fix) {
            if (rc != WT_E_UNSUPPORTED || *bed.err.fix)
                fail_msg("%s: %d, %s", rows[i].why, rc, bed.err.fix);
        } else if (rc < 0 || k.is_settable != !*rows[i].fix || strcmp(k.fix, rows[i].fix) != 0 ||
                   k.min != rows[i].min) {
            fail_msg("%s: %lld, %s", rows[i].why, (long long)k.min, k.fix);
        }
        bed_done(&bed);
    }
}

static void memory_that_is_modeled_has_a_limit_only_where_there_is_one(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    static const struct wt_device_info info = {.id = "dram", .kind = WT_DEVICE_DRAM};
    const struct wt_knob_ops *ops = &wt_powercap_knobs[1];
    bed_init(&bed);
    put_machine(&bed);
    start(&bed);
    struct wt_knob_at at = {.ctx = bed.ctx, .info = &info};
    assert_int_equal(ops->describe(&at, WT_KNOB_DRAM_POWER, &k, &bed.err), 0);
    assert_int_equal(k.current, 30000);
    put_zone(&bed, "/sys/class/powercap/intel-rapl:1", "package-1");
    put_zone(&bed, "/sys/class/powercap/intel-rapl:1:0", "dram");
    assert_int_equal(ops->describe(&at, WT_KNOB_DRAM_POWER, &k, &bed.err), WT_E_UNSUPPORTED);
    bed_done(&bed);
}

static void each_die_has_its_own_limit(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, ZONE, "package-0-die-0");
    put_limits(&bed, ZONE, "125000000", "125000000");
    put_zone(&bed, "/sys/class/powercap/intel-rapl:1", "package-0-die-1");
    put_limits(&bed, "/sys/class/powercap/intel-rapl:1", "125000000", "125000000");
    start_open(&bed);
    assert_int_equal(set_to(&bed, "cpu-package-0-die-1", WT_KNOB_CPU_POWER, 100000), 0);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
    HOLDS("/sys/class/powercap/intel-rapl:1/constraint_0_power_limit_uw", "100000000");
    bed_done(&bed);
}

/* ---- rights ---- */

static void who_may_set_is_said_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *container;
        const char *why_not, *fix;
    } rows[] = {
        {"wattune-machine 1\nuid: 1000", NULL,
         "only root may write " ZONE "/constraint_0_power_limit_uw", "sudo"},
        {"wattune-machine 1\nuid: 0\nreadonly /sys", NULL, "is read-only", "remount,rw /sys"},
        {"wattune-machine 1\nuid: 0\nreadonly /sys", "/.dockerenv",
         "read-only in this container (docker)", "--privileged"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        put_machine(&bed);
        bed_put_line(&bed, "/machine.txt", rows[i].manifest);
        if (rows[i].container)
            bed_put_line(&bed, rows[i].container, "");
        start_open(&bed);
        struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_CPU_POWER);
        assert_false(k.is_settable);
        assert_says(k.why_not, rows[i].why_not);
        assert_says(k.fix, rows[i].fix);
        assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, 100000), WT_E_DENIED);
        assert_says(bed.err.fix, rows[i].fix);
        HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
        bed_done(&bed);
    }
}

static void a_file_for_reading_only_is_not_for_root_either(void **state)
{
    (void)state;
    struct bed bed;
    char full[256];
    bed_init(&bed);
    put_machine(&bed);
    wt_text(full, sizeof(full), "%s" ZONE "/constraint_0_power_limit_uw", bed.root);
    assert_int_equal(chmod(full, 0444), 0);
    start_open(&bed);
    assert_false(described(&bed, "cpu-package-0", WT_KNOB_CPU_POWER).is_settable);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_POWER, 100000), WT_E_DENIED);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "125000000");
    bed_done(&bed);
}

/* ---- cpufreq ---- */

static void a_frequency_goes_to_every_policy_of_the_package_alone(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_found found;
    bed_init(&bed);
    put_machine(&bed);
    put_zone(&bed, "/sys/class/powercap/intel-rapl:1", "package-1");
    put_policy(&bed, 2, 1, "3600000");
    put_policy(&bed, 10, 0, "3600000");
    start_open(&bed);
    struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ);
    assert_true(k.current == 3600000 && k.min == 800000 && k.max == 3600000 && k.step == 100000 &&
                k.is_settable && !k.is_mixed);
    size_t i = bed_index(&bed, "cpu-package-0");
    assert_int_equal(wt_knob_snapshot(bed.devices, i, WT_KNOB_CPU_FREQ, &found, &bed.err), 0);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ, 2400000), 0);
    HOLDS(POLICY(0) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(1) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(10) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(2) "/scaling_max_freq", "3600000");
    assert_int_equal(wt_knob_restore(bed.devices, i, WT_KNOB_CPU_FREQ, &found, &bed.err), 0);
    HOLDS(POLICY(10) "/scaling_max_freq", "3600000");
    bed_done(&bed);
}

static void cores_of_two_kinds_each_take_what_they_can(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_found found;
    bed_init(&bed);
    put_machine(&bed);
    put_policy(&bed, 0, 0, "5300000");
    put_policy(&bed, 1, 0, "3900000");
    start_open(&bed);
    struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ);
    assert_true(k.current == 5300000 && k.max == 5300000 && !k.is_mixed && k.is_settable);
    size_t i = bed_index(&bed, "cpu-package-0");
    assert_int_equal(wt_knob_snapshot(bed.devices, i, WT_KNOB_CPU_FREQ, &found, &bed.err), 0);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ, 4500000), 0);
    HOLDS(POLICY(0) "/scaling_max_freq", "4500000");
    HOLDS(POLICY(1) "/scaling_max_freq", "3900000");
    assert_int_equal(described(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ).current, 4500000);
    assert_int_equal(wt_knob_restore(bed.devices, i, WT_KNOB_CPU_FREQ, &found, &bed.err), 0);
    HOLDS(POLICY(0) "/scaling_max_freq", "5300000");
    HOLDS(POLICY(1) "/scaling_max_freq", "3900000");
    bed_done(&bed);
}

static void what_one_value_could_not_put_back_is_not_set(void **state)
{
    (void)state;
    static const struct {
        enum wt_knob knob;
        const char *path, *content, *says;
        int64_t value;
    } rows[] = {
        {WT_KNOB_CPU_FREQ, POLICY(1) "/scaling_max_freq", "2000000", "cores differ", 2400000},
        {WT_KNOB_GOVERNOR, POLICY(1) "/scaling_governor", "performance", "cores differ", 1},
        {WT_KNOB_EPP, POLICY(1) "/energy_performance_preference", "power", "cores differ", 1},
        {WT_KNOB_GOVERNOR, NULL, "userspace", "could not be put back", 1},
        {WT_KNOB_GOVERNOR, NULL, "interactive", "none that Wattune knows", 1},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_lease *lease;
        struct wt_lease_options options = {.is_without_guardian = true};
        bed_init(&bed);
        put_machine(&bed);
        bed_put_line(&bed, rows[i].path ? rows[i].path : POLICY(0) "/scaling_governor",
                     rows[i].content);
        if (!rows[i].path)
            bed_put_line(&bed, POLICY(1) "/scaling_governor", rows[i].content);
        start_open(&bed);
        struct wt_knob_info k = described(&bed, "cpu-package-0", rows[i].knob);
        assert_false(k.is_settable);
        assert_true(k.is_lost);
        assert_says(k.why_not, rows[i].says);
        assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
        assert_int_equal(wt_lease_set(lease, bed_index(&bed, "cpu-package-0"), rows[i].knob,
                                      rows[i].value, NULL, &bed.err),
                         WT_E_STATE);
        assert_says(bed.err.text, rows[i].says);
        assert_int_equal(wt_lease_close(lease, &bed.err), 0);
        if (rows[i].path)
            HOLDS(rows[i].path, rows[i].content);
        bed_done(&bed);
    }
}

static void a_governor_and_a_preference_are_set_by_name(void **state)
{
    (void)state;
    struct bed bed;
    char range[160];
    bed_init(&bed);
    put_machine(&bed);
    bed_put_line(&bed, POLICY(1) "/scaling_available_governors", "performance powersave schedutil");
    start_open(&bed);
    struct wt_knob_info k = described(&bed, "cpu-package-0", WT_KNOB_GOVERNOR);
    /* What not every policy has is not there. */
    assert_int_equal(k.values, 1u << WT_GOVERNOR_PERFORMANCE | 1u << WT_GOVERNOR_POWERSAVE);
    assert_int_equal(k.current, WT_GOVERNOR_POWERSAVE);
    assert_string_equal(wt_knob_range_text(range, sizeof(range), &k), "performance, powersave");
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_GOVERNOR, WT_GOVERNOR_SCHEDUTIL),
                     WT_E_RANGE);
    assert_says(bed.err.text, "governor=schedutil: it takes performance, powersave");
    k = described(&bed, "cpu-package-0", WT_KNOB_EPP);
    assert_string_equal(
        wt_knob_range_text(range, sizeof(range), &k),
        "performance, balance_performance, default, balance_power, power or 0 to 255");
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_EPP, WT_EPP_BALANCE_POWER), 0);
    HOLDS(POLICY(0) "/energy_performance_preference", "balance_power");
    HOLDS(POLICY(1) "/energy_performance_preference", "balance_power");
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_EPP, WT_EPP_RAW + 77), 0);
    HOLDS(POLICY(1) "/energy_performance_preference", "77");
    assert_int_equal(described(&bed, "cpu-package-0", WT_KNOB_EPP).current, WT_EPP_RAW + 77);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_EPP, WT_EPP_RAW + 256), WT_E_RANGE);
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_GOVERNOR, WT_GOVERNOR_PERFORMANCE), 0);
    HOLDS(POLICY(0) "/scaling_governor", "performance");
    /* And with that governor the driver holds the preference. */
    k = described(&bed, "cpu-package-0", WT_KNOB_EPP);
    assert_false(k.is_settable);
    assert_says(k.why_not, "the governor is \"performance\"");
    assert_says(k.fix, "governor=powersave");
    bed_done(&bed);
}

static void a_preference_that_is_held_is_told_as_such(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    kernel.watched = kernel.changed = POLICY(1) "/energy_performance_preference";
    kernel.after = 2; /* described, then looked at before the write */
    kernel.errnum = EBUSY;
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_EPP, WT_EPP_POWER), WT_E_BUSY);
    assert_says(bed.err.text, "the governor is \"performance\"");
    assert_says(bed.err.fix, "governor=powersave");
    bed_done(&bed);
}

static void a_frequency_that_did_not_take_names_its_policy(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    kernel.watched = POLICY(0) "/scaling_max_freq";
    kernel.changed = POLICY(1) "/scaling_max_freq";
    kernel.content = "1200000"; /* too hot */
    kernel.after = 3;
    assert_int_equal(set_to(&bed, "cpu-package-0", WT_KNOB_CPU_FREQ, 2400000), WT_E_STATE);
    assert_says(bed.err.text, "policy1 did not take: 2400 MHz was set, it reads 1200 MHz");
    bed_done(&bed);
}

static void a_machine_without_the_files_has_no_such_knobs(void **state)
{
    (void)state;
    static const enum wt_knob knobs[] = {WT_KNOB_CPU_POWER, WT_KNOB_CPU_FREQ, WT_KNOB_GOVERNOR,
                                         WT_KNOB_EPP};
    struct bed bed;
    struct wt_finding *findings;
    size_t count;
    bed_init(&bed);
    put_zone(&bed, ZONE, "package-0");
    start_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(knobs); i++) {
        struct wt_knob_info k;
        assert_int_equal(wt_devices_knob(bed.devices, 0, knobs[i], &k, &bed.err), WT_E_UNSUPPORTED);
    }
    assert_int_equal(wt_survey(bed.ctx, bed.devices, &findings, &count, &bed.err), 0);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(findings[i].source, "knob");
    free(findings);
    bed_done(&bed);
}

static void doctor_has_a_line_a_knob(void **state)
{
    (void)state;
    static const struct {
        const char *device, *what, *value;
    } rows[] = {
        {"cpu-package-0", "power limit", "125 W, 12.5 to 125 W, settable"},
        {"cpu-package-0", "top frequency", "3600 MHz, 800 to 3600 MHz, settable"},
        {"cpu-package-0", "governor", "powersave, one of performance, powersave, settable"},
        {"cpu-package-0", "preference", "balance_performance, one of performance"},
        {"dram-package-0", "power limit", "30 W, 4 to 40 W, default 40 W, settable"},
    };
    struct bed bed;
    struct wt_finding *findings;
    size_t count;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    assert_int_equal(wt_survey(bed.ctx, bed.devices, &findings, &count, &bed.err), 0);
    for (size_t r = 0; r < WT_COUNTOF(rows); r++) {
        bool is_there = false;
        for (size_t i = 0; i < count; i++)
            is_there |= strcmp(findings[i].device, rows[r].device) == 0 &&
                        strcmp(findings[i].what, rows[r].what) == 0 &&
                        strncmp(findings[i].value, rows[r].value, strlen(rows[r].value)) == 0;
        if (!is_there)
            fail_msg("no line \"%s\" of %s", rows[r].value, rows[r].device);
    }
    assert_int_equal(wt_survey_sum(findings, count).settable, 5);
    free(findings);
    bed_done(&bed);
}

/* ---- under a lease ---- */

static const struct {
    enum wt_knob knob;
    const char *id, *path, *found, *written;
    int64_t value;
} leased[] = {
    {WT_KNOB_CPU_POWER, "cpu-package-0", ZONE "/constraint_0_power_limit_uw", "125000000",
     "100000000", 100000},
    {WT_KNOB_DRAM_POWER, "dram-package-0",
     "/sys/class/powercap/intel-rapl:0:0/constraint_0_power_limit_uw", "30000000", "20000000",
     20000},
    {WT_KNOB_CPU_FREQ, "cpu-package-0", POLICY(1) "/scaling_max_freq", "3600000", "2400000",
     2400000},
    {WT_KNOB_GOVERNOR, "cpu-package-0", POLICY(1) "/scaling_governor", "powersave", "performance",
     WT_GOVERNOR_PERFORMANCE},
    {WT_KNOB_EPP, "cpu-package-0", POLICY(1) "/energy_performance_preference",
     "balance_performance", "power", WT_EPP_POWER},
};

static void put_back_after_a_crash(void **state)
{
    (void)state;
    struct wt_lease_options options = {.is_without_guardian = true};
    for (size_t r = 0; r < WT_COUNTOF(leased); r++) {
        struct bed bed;
        size_t restored = 0;
        bed_init(&bed);
        put_machine(&bed);
        pid_t pid = fork();
        if (pid == 0) {
            struct wt_lease *lease;
            start_open(&bed);
            int rc = wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err);
            if (rc == 0)
                rc = wt_lease_set(lease, bed_index(&bed, leased[r].id), leased[r].knob,
                                  leased[r].value, NULL, &bed.err);
            _exit(rc == 0 ? 0 : 1); /* without a word */
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        HOLDS(leased[r].path, leased[r].written);
        start_open(&bed);
        assert_int_equal(
            wt_lease_recover(bed.ctx, bed.devices, &options, NULL, NULL, &restored, &bed.err), 0);
        assert_int_equal(restored, 1);
        HOLDS(leased[r].path, leased[r].found);
        bed_done(&bed);
    }
}

static void a_set_that_stopped_halfway_is_put_back(void **state)
{
    (void)state;
    struct wt_lease_options options = {.is_without_guardian = true};
    for (size_t r = 2; r < WT_COUNTOF(leased); r++) {
        struct bed bed;
        struct wt_lease *lease;
        char other[160];
        bed_init(&bed);
        put_machine(&bed);
        start_open(&bed);
        assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
        assert_int_equal(wt_lease_set(lease, 0, leased[r].knob, leased[r].value, NULL, &bed.err),
                         0);
        /* As if only the other policy had been reached. */
        bed_put_line(&bed, leased[r].path, leased[r].found);
        assert_int_equal(wt_lease_close(lease, &bed.err), 0);
        wt_text(other, sizeof(other), "%s", leased[r].path);
        *strstr(other, "policy1") = '\0';
        wt_text(other + strlen(other), sizeof(other) - strlen(other), "policy0%s",
                strstr(leased[r].path, "policy1") + strlen("policy1"));
        HOLDS(leased[r].path, leased[r].found);
        HOLDS(other, leased[r].found);
        bed_done(&bed);
    }
}

static void cores_that_someone_else_set_are_left_to_them(void **state)
{
    (void)state;
    struct wt_lease_options options = {.is_without_guardian = true};
    struct bed bed;
    struct wt_lease *lease;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CPU_FREQ, 2400000, NULL, &bed.err), 0);
    bed_put_line(&bed, POLICY(1) "/scaling_max_freq", "1800000");
    assert_int_equal(wt_lease_close(lease, &bed.err), WT_E_CHANGED);
    HOLDS(POLICY(0) "/scaling_max_freq", "2400000");
    HOLDS(POLICY(1) "/scaling_max_freq", "1800000");
    bed_done(&bed);
}

static void a_lease_may_go_back_up_to_what_it_found(void **state)
{
    (void)state;
    struct wt_lease_options options = {.is_without_guardian = true};
    struct bed bed;
    struct wt_lease *lease;
    bed_init(&bed);
    put_machine(&bed);
    /* A board that allows twice what is published: once lowered, nothing on the machine says so. */
    bed_put_line(&bed, ZONE "/constraint_0_power_limit_uw", "253000000");
    start_open(&bed);
    assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CPU_POWER, 100000, NULL, &bed.err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CPU_POWER, 200000, NULL, &bed.err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CPU_POWER, 253001, NULL, &bed.err), WT_E_RANGE);
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    HOLDS(ZONE "/constraint_0_power_limit_uw", "253000000");
    bed_done(&bed);
}

static void a_lease_over_the_range_says_what_it_takes(void **state)
{
    (void)state;
    struct wt_lease_options options = {.is_without_guardian = true};
    struct bed bed;
    struct wt_lease *lease;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CPU_POWER, 126000, NULL, &bed.err), WT_E_RANGE);
    assert_says(bed.err.text, "cpu-power=126: cpu-package-0 takes 12.5 to 125 W");
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_GOVERNOR, WT_GOVERNOR_ONDEMAND, NULL, &bed.err),
                     WT_E_RANGE);
    assert_says(bed.err.text, "governor=ondemand: cpu-package-0 takes performance, powersave");
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    bed_done(&bed);
}

static void a_damaged_journal_sends_no_nonsense_to_the_kernel(void **state)
{
    (void)state;
    static const struct {
        enum wt_knob knob;
        int64_t found;
    } rows[] = {
        {WT_KNOB_CPU_POWER, -1},       {WT_KNOB_CPU_POWER, INT64_MAX},
        {WT_KNOB_CPU_FREQ, 0},         {WT_KNOB_CPU_FREQ, INT64_MAX},
        {WT_KNOB_GOVERNOR, 0},         {WT_KNOB_GOVERNOR, 7},
        {WT_KNOB_GOVERNOR, INT64_MIN}, {WT_KNOB_EPP, 6},
        {WT_KNOB_EPP, 1256},           {WT_KNOB_EPP, 999},
    };
    struct bed bed;
    bed_init(&bed);
    put_machine(&bed);
    start_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_knob_found found = {.value = rows[i].found, .is_read = true};
        assert_int_equal(wt_knob_restore(bed.devices, 0, rows[i].knob, &found, &bed.err),
                         WT_E_RANGE);
    }
    HOLDS(POLICY(0) "/scaling_governor", "powersave");
    bed_done(&bed);
}

/* ---- amdgpu: the device by itself, without the source that finds it ---- */

static const struct wt_device_info card_info = {
    .id = "GPU-amd-1", .source = "amdgpu", .address = "0000:C1:00.0", .kind = WT_DEVICE_GPU};

static struct wt_knob_at at_card(const struct bed *bed)
{
    return (struct wt_knob_at){.ctx = bed->ctx, .info = &card_info};
}

static const struct wt_knob_ops *amd(enum wt_knob knob)
{
    for (size_t i = 0; i < WT_COUNTOF(wt_amdgpu_knobs); i++)
        if (wt_amdgpu_knobs[i].knob == knob)
            return &wt_amdgpu_knobs[i];
    return NULL;
}

/* The seam of the lease over that one card. */
static size_t card_count(void *data)
{
    (void)data;
    return 1;
}

static const char *card_id(void *data, size_t i, bool *ret_is_emulated)
{
    (void)data;
    (void)i;
    *ret_is_emulated = false;
    return card_info.id;
}

static int card_read(void *data, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
                     bool *ret_is_blind, struct wt_error *err)
{
    struct wt_knob_at at = at_card(data);
    struct wt_knob_found found;
    (void)i;
    int rc = amd(knob)->describe(&at, knob, ret_info, err);
    if (rc == 0)
        rc = amd(knob)->snapshot(&at, knob, &found, err);
    if (rc < 0)
        return rc;
    ret_info->current = found.value;
    *ret_is_blind = !found.is_read;
    return 0;
}

static int card_set(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err)
{
    struct wt_knob_at at = at_card(data);
    int64_t enforced;
    (void)i;
    return amd(knob)->set(&at, knob, value, &enforced, err);
}

static int card_restore(void *data, size_t i, enum wt_knob knob, int64_t value,
                        struct wt_error *err)
{
    struct wt_knob_at at = at_card(data);
    struct wt_knob_found found = {.value = value};
    (void)i;
    return amd(knob)->restore(&at, knob, &found, err);
}

static struct wt_lease *card_lease(struct bed *bed)
{
    struct wt_lease_ops ops = {card_count, card_id, card_read, card_set, card_restore, bed};
    struct wt_lease *lease;
    char dir[80];
    wt_text(dir, sizeof(dir), "%s/lease", bed->root);
    if (wt_lease_open_on(&lease, bed->ctx, &ops, dir, NULL, 0, NULL, &bed->err) < 0)
        fail_msg("%s", bed->err.text);
    return lease;
}

static void a_card_s_limit_is_set_and_put_back(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed);
    put_card(&bed);
    start(&bed);
    struct wt_knob_at at = at_card(&bed);
    assert_int_equal(amd(WT_KNOB_POWER)->describe(&at, WT_KNOB_POWER, &k, &bed.err), 0);
    assert_true(k.min == 35000 && k.max == 350000 && k.current == 300000 && k.def == 300000 &&
                k.step == 1000 && k.is_settable);
    struct wt_lease *lease = card_lease(&bed);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 200000, NULL, &bed.err), 0);
    HOLDS(CARD "/hwmon/hwmon5/power1_cap", "200000000");
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_POWER, 351000, NULL, &bed.err), WT_E_RANGE);
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    HOLDS(CARD "/hwmon/hwmon5/power1_cap", "300000000");
    bed_done(&bed);
}

static void a_card_without_a_limit_and_a_card_that_is_gone_are_told_apart(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed);
    put_card(&bed);
    tree_remove(bed.root, CARD "/hwmon/hwmon5/power1_cap");
    start(&bed);
    struct wt_knob_at at = at_card(&bed);
    assert_int_equal(amd(WT_KNOB_POWER)->describe(&at, WT_KNOB_POWER, &k, &bed.err),
                     WT_E_UNSUPPORTED);
    tree_remove(bed.root, CARD "/uevent");
    assert_int_equal(amd(WT_KNOB_POWER)->describe(&at, WT_KNOB_POWER, &k, &bed.err), WT_E_GONE);
    bed_done(&bed);
}

static void levels_up_to_a_clock_are_allowed_and_automatic_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed);
    put_card(&bed);
    start(&bed);
    struct wt_knob_at at = at_card(&bed);
    assert_int_equal(amd(WT_KNOB_CLOCK)->describe(&at, WT_KNOB_CLOCK, &k, &bed.err), 0);
    assert_true(k.min == 300000 && k.max == 1500000 && k.step == 300000 && k.current == 0 &&
                k.is_lockable && k.is_settable);
    struct wt_lease *lease = card_lease(&bed);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 700000, NULL, &bed.err), WT_E_RANGE);
    assert_says(bed.err.fix, "300, 600, 900, 1500 MHz");
    HOLDS(CARD "/power_dpm_force_performance_level", "auto");
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 900000, NULL, &bed.err), 0);
    HOLDS(CARD "/power_dpm_force_performance_level", "manual");
    assert_string_equal(kernel.allowed[0], "0 1 2");
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    HOLDS(CARD "/power_dpm_force_performance_level", "auto");
    bed_done(&bed);
}

static void both_clocks_may_be_held_and_what_was_found_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_card(&bed);
    bed_put_line(&bed, CARD "/power_dpm_force_performance_level", "profile_peak");
    start(&bed);
    struct wt_lease *lease = card_lease(&bed);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 900000, NULL, &bed.err), 0);
    /* The card is in "manual", and by this lease's own doing. */
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_MEMCLOCK, 167000, NULL, &bed.err), 0);
    assert_string_equal(kernel.allowed[0], "0 1 2");
    assert_string_equal(kernel.allowed[1], "0");
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 600000, NULL, &bed.err), 0);
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    HOLDS(CARD "/power_dpm_force_performance_level", "profile_peak");
    bed_done(&bed);
}

static void levels_chosen_by_hand_are_left_alone(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_card(&bed);
    bed_put_line(&bed, CARD "/power_dpm_force_performance_level", "manual");
    start(&bed);
    struct wt_lease *lease = card_lease(&bed);
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 900000, NULL, &bed.err), WT_E_STATE);
    assert_says(bed.err.text, "cannot be read");
    assert_says(bed.err.fix, "echo auto");
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    HOLDS(CARD "/power_dpm_force_performance_level", "manual");
    bed_done(&bed);
}

static void levels_that_are_refused_leave_nothing_behind(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_card(&bed);
    start(&bed);
    struct wt_lease *lease = card_lease(&bed);
    kernel.watched = CARD "/power_dpm_force_performance_level";
    kernel.changed = CARD "/pp_dpm_sclk";
    kernel.after = 4; /* read for the lease twice, before "manual" and after it */
    kernel.errnum = EINVAL;
    assert_int_equal(wt_lease_set(lease, 0, WT_KNOB_CLOCK, 900000, NULL, &bed.err), WT_E_RANGE);
    HOLDS(CARD "/power_dpm_force_performance_level", "auto");
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    bed_done(&bed);
}

static void a_level_in_the_middle_that_moves_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        int64_t middle;
        int want;
        const char *why;
    } rows[] = {
        {"0: 500Mhz\n1: 1234Mhz *\n2: 2100Mhz", 1234000, WT_E_RANGE, "a fine-grained card"},
        {"0: 300Mhz *\n1: 1000Mhz\n2: 2000Mhz", 1000000, 0, "three levels"},
        {"S: 19Mhz *\n0: 500Mhz\n1: 2100Mhz", 500000, 0, "a card asleep"},
        {"0: 900Mhz\n1: 500Mhz *", 500000, WT_E_FORMAT, "clocks that fall"},
        {"", 500000, WT_E_UNSUPPORTED, "no levels"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        int64_t enforced;
        bed_init(&bed);
        put_card(&bed);
        bed_put_line(&bed, CARD "/pp_dpm_sclk", rows[i].list);
        start(&bed);
        struct wt_knob_at at = at_card(&bed);
        int rc = amd(WT_KNOB_CLOCK)->set(&at, WT_KNOB_CLOCK, rows[i].middle, &enforced, &bed.err);
        if (rc != rows[i].want)
            fail_msg("%s: %d, %s", rows[i].why, rc, bed.err.text);
        bed_done(&bed);
    }
}

/* ---- Intel's cards, as their source finds them ---- */

#define ARC     "GPU-0000:c1:00.0"
#define ARC_MON CARD "/hwmon/hwmon5"

static void put_arc(const struct bed *bed, const char *driver, const char *max_uw,
                    const char *rated_uw)
{
    char text[128];
    wt_text(text, sizeof(text), "DRIVER=%s\nPCI_ID=8086:56A0\nPCI_SLOT_NAME=0000:c1:00.0", driver);
    put_in(bed, CARD, "uevent", text);
    put_in(bed, ARC_MON, "name", driver);
    put_in(bed, ARC_MON, "energy1_input", "5000000");
    if (max_uw)
        put_in(bed, ARC_MON, "power1_max", max_uw);
    if (rated_uw)
        put_in(bed, ARC_MON, "power1_rated_max", rated_uw);
}

static void an_intel_card_s_limit_is_set_and_put_back(void **state)
{
    (void)state;
    static const char *const drivers[] = {"i915", "xe"};
    struct wt_lease_options options = {.is_without_guardian = true};
    for (size_t i = 0; i < WT_COUNTOF(drivers); i++) {
        struct bed bed;
        struct wt_lease *lease;
        bed_init(&bed);
        put_arc(&bed, drivers[i], "190000000", "225000000");
        start_open(&bed);
        struct wt_knob_info k = described(&bed, ARC, WT_KNOB_POWER);
        assert_true(k.min == 22500 && k.max == 225000 && k.current == 190000 && k.def == 225000 &&
                    k.step == 125 && k.is_settable);
        assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
        size_t card = bed_index(&bed, ARC);
        assert_int_equal(wt_lease_set(lease, card, WT_KNOB_POWER, 0, NULL, &bed.err), WT_E_RANGE);
        assert_int_equal(wt_lease_set(lease, card, WT_KNOB_POWER, 226000, NULL, &bed.err),
                         WT_E_RANGE);
        assert_int_equal(wt_lease_set(lease, card, WT_KNOB_POWER, 150000, NULL, &bed.err), 0);
        HOLDS(ARC_MON "/power1_max", "150000000");
        assert_int_equal(wt_lease_close(lease, &bed.err), 0);
        HOLDS(ARC_MON "/power1_max", "190000000");
        bed_done(&bed);
    }
}

static void an_intel_card_s_limit_is_never_written_as_0(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_lease *lease;
    struct wt_lease_options options = {.is_without_guardian = true};
    bed_init(&bed);
    put_arc(&bed, "i915", "0", "225000000");
    start_open(&bed);
    struct wt_knob_info k = described(&bed, ARC, WT_KNOB_POWER);
    assert_false(k.is_settable);
    assert_says(k.why_not, "its limit is off");
    assert_says(k.fix, "echo 225000000 | sudo tee " ARC_MON "/power1_max");
    assert_int_equal(wt_lease_open(&lease, bed.ctx, bed.devices, &options, &bed.err), 0);
    assert_int_equal(
        wt_lease_set(lease, bed_index(&bed, ARC), WT_KNOB_POWER, 150000, NULL, &bed.err),
        WT_E_STATE);
    assert_int_equal(wt_lease_close(lease, &bed.err), 0);
    /* Nor is it because a journal says so. */
    struct wt_knob_found found = {.value = 0, .is_read = true};
    bed_put_line(&bed, ARC_MON "/power1_max", "190000000");
    assert_int_equal(
        wt_knob_restore(bed.devices, bed_index(&bed, ARC), WT_KNOB_POWER, &found, &bed.err),
        WT_E_RANGE);
    HOLDS(ARC_MON "/power1_max", "190000000");
    bed_done(&bed);
}

static void an_intel_card_s_limits_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *max_uw, *rated_uw;
        int rc;
        int64_t min, max;
        const char *why;
    } rows[] = {
        {NULL, "225000000", WT_E_UNSUPPORTED, 0, 0, "a card that shows none"},
        {"0", NULL, WT_E_UNSUPPORTED, 0, 0, "off, and nothing says which would be sane"},
        {"190000000", NULL, 0, 19000, 190000, "no rating: what was found is the highest"},
        {"190000000", "0", 0, 19000, 190000, "a rating of 0 is none"},
        {"250000000", "225000000", 0, 25000, 250000, "found above its rating"},
        {"10000000", "225000000", 0, 10000, 225000, "found below the floor"},
        {"much", "225000000", WT_E_FORMAT, 0, 0, "no number"},
        {"9999999999999999", "225000000", WT_E_FORMAT, 0, 0, "no power limit"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_knob_info k = {0};
        bed_init(&bed);
        put_arc(&bed, "xe", rows[i].max_uw, rows[i].rated_uw);
        start_open(&bed);
        int rc = wt_devices_knob(bed.devices, bed_index(&bed, ARC), WT_KNOB_POWER, &k, &bed.err);
        if (rc != rows[i].rc || k.min != rows[i].min || k.max != rows[i].max)
            fail_msg("%s: %d, %lld to %lld", rows[i].why, rc, (long long)k.min, (long long)k.max);
        bed_done(&bed);
    }
}

static void an_intel_card_that_refuses_is_told_as_such(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_arc(&bed, "i915", "190000000", "225000000");
    start_open(&bed);
    /* Between the look at what there is and the write. */
    kernel.watched = CARD "/uevent";
    kernel.changed = ARC_MON "/power1_max";
    kernel.errnum = EACCES;
    kernel.after = 2;
    assert_int_equal(set_to(&bed, ARC, WT_KNOB_POWER, 150000), WT_E_STATE);
    assert_says(bed.err.text, "power1_max");
    wt_tree_fault(bed.ctx, kernel.changed, 0);
    HOLDS(ARC_MON "/power1_max", "190000000");
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_typed_and_shown_in_its_own_words),
        cmocka_unit_test(a_preference_may_read_as_another_name_of_the_same),
        cmocka_unit_test(a_package_limit_is_described_without_a_write),
        cmocka_unit_test(a_package_limit_is_set_read_back_and_put_back),
        cmocka_unit_test(the_constraint_is_found_by_its_name),
        cmocka_unit_test(the_floor_is_a_tenth_or_five_watts_or_what_was_found),
        cmocka_unit_test(a_limit_that_the_firmware_locked_is_told_as_such),
        cmocka_unit_test(a_limit_that_is_not_enforced_is_described_and_not_set),
        cmocka_unit_test(amd_has_counters_and_no_limit),
        cmocka_unit_test(a_die_has_its_own_cores_only_where_the_others_have_theirs),
        cmocka_unit_test(a_limit_of_nothing_is_never_switched_on),
        cmocka_unit_test(memory_that_is_modeled_has_a_limit_only_where_there_is_one),
        cmocka_unit_test(each_die_has_its_own_limit),
        cmocka_unit_test(who_may_set_is_said_exactly),
        cmocka_unit_test(a_file_for_reading_only_is_not_for_root_either),
        cmocka_unit_test(a_frequency_goes_to_every_policy_of_the_package_alone),
        cmocka_unit_test(cores_of_two_kinds_each_take_what_they_can),
        cmocka_unit_test(what_one_value_could_not_put_back_is_not_set),
        cmocka_unit_test(a_governor_and_a_preference_are_set_by_name),
        cmocka_unit_test(a_preference_that_is_held_is_told_as_such),
        cmocka_unit_test(a_frequency_that_did_not_take_names_its_policy),
        cmocka_unit_test(a_machine_without_the_files_has_no_such_knobs),
        cmocka_unit_test(doctor_has_a_line_a_knob),
        cmocka_unit_test(put_back_after_a_crash),
        cmocka_unit_test(a_set_that_stopped_halfway_is_put_back),
        cmocka_unit_test(cores_that_someone_else_set_are_left_to_them),
        cmocka_unit_test(a_lease_may_go_back_up_to_what_it_found),
        cmocka_unit_test(a_lease_over_the_range_says_what_it_takes),
        cmocka_unit_test(a_damaged_journal_sends_no_nonsense_to_the_kernel),
        cmocka_unit_test(a_card_s_limit_is_set_and_put_back),
        cmocka_unit_test(a_card_without_a_limit_and_a_card_that_is_gone_are_told_apart),
        cmocka_unit_test(levels_up_to_a_clock_are_allowed_and_automatic_comes_back),
        cmocka_unit_test(both_clocks_may_be_held_and_what_was_found_comes_back),
        cmocka_unit_test(levels_chosen_by_hand_are_left_alone),
        cmocka_unit_test(levels_that_are_refused_leave_nothing_behind),
        cmocka_unit_test(a_level_in_the_middle_that_moves_is_none),
        cmocka_unit_test(an_intel_card_s_limit_is_set_and_put_back),
        cmocka_unit_test(an_intel_card_s_limit_is_never_written_as_0),
        cmocka_unit_test(an_intel_card_s_limits_are_told_apart),
        cmocka_unit_test(an_intel_card_that_refuses_is_told_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
