/* amdgpu: cards played as trees of files, and their library's counter. */
#include "bed.h"

#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

#include "fake_rocm.h"

struct card {
    unsigned number, bus, device;
    const char *unique_id;
    const char *average, *input; /* uW; NULL: no such file */
    const char *cap;
    bool is_apu;
};

static void put_of(const struct bed *bed, unsigned card, const char *name, const char *text)
{
    char path[160];
    wt_text(path, sizeof(path), "/sys/class/drm/card%u/device/%s", card, name);
    if (text)
        bed_put(bed, path, text);
}

static void put_card(const struct bed *bed, const struct card *c)
{
    char text[256];
    wt_text(text, sizeof(text),
            "DRIVER=amdgpu\nPCI_CLASS=38000\nPCI_ID=1002:%04X\n"
            "PCI_SLOT_NAME=0000:%02x:00.0\n",
            c->device, c->bus);
    put_of(bed, c->number, "uevent", text);
    put_of(bed, c->number, "unique_id", c->unique_id);
    put_of(bed, c->number, "hwmon/hwmon5/name", "amdgpu\n");
    put_of(bed, c->number, "hwmon/hwmon5/power1_average", c->average);
    put_of(bed, c->number, "hwmon/hwmon5/power1_input", c->input);
    put_of(bed, c->number, "hwmon/hwmon5/power1_cap", c->cap);
    if (c->is_apu)
        put_of(bed, c->number, "hwmon/hwmon5/in1_label", "vddnb\n");
}

static const struct card mi210 = {.bus = 0xc1,
                                  .device = 0x740f,
                                  .unique_id = "18f5bd7c0b4e6a21\n",
                                  .average = "41000000\n",
                                  .cap = "300000000\n"};

static void a_card_is_read_with_all_it_shows(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_card(&bed, &mi210);
    put_of(&bed, 0, "hwmon/hwmon5/temp1_label", "edge\n");
    put_of(&bed, 0, "hwmon/hwmon5/temp1_input", "41000\n");
    put_of(&bed, 0, "hwmon/hwmon5/temp2_label", "junction\n");
    put_of(&bed, 0, "hwmon/hwmon5/temp2_input", "47000\n");
    put_of(&bed, 0, "hwmon/hwmon5/freq1_input", "1700000000\n");
    put_of(&bed, 0, "hwmon/hwmon5/freq2_input", "1600000000\n");
    put_of(&bed, 0, "gpu_busy_percent", "87\n");
    put_of(&bed, 0, "mem_info_vram_used", "1073741824\n");
    put_of(&bed, 0, "mem_info_vram_total", "68702699520\n");
    /* What else lies there. */
    bed_put(&bed, "/sys/class/drm/card0-DP-1/status", "connected\n");
    bed_put(&bed, "/sys/class/drm/renderD128/dev", "226:128\n");
    bed_put(&bed, "/sys/class/drm/version", "drm 1.1.0\n");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    const struct wt_device_info *info = bed_device(&bed, "GPU-18f5bd7c0b4e6a21");
    assert_int_equal(info->kind, WT_DEVICE_GPU);
    assert_string_equal(info->source, "amdgpu");
    assert_string_equal(info->via, "hwmon");
    assert_string_equal(info->name, "AMD Instinct MI210");
    assert_true(info->is_counted);
    assert_true(info->traits.is_power_averaged);
    assert_int_equal(info->mem_bytes, 68702699520);
    assert_int_equal(info->can, WT_CAN_POWER | WT_CAN_STATUS);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER | WT_READ_STATUS, &r, &bed.err),
                     0);
    assert_int_equal(r.power.state, WT_LIVE);
    assert_int_equal(r.power.mw, 41000);
    assert_int_equal(r.status.has, WT_HAS_TEMP | WT_HAS_CLOCK | WT_HAS_MEMCLOCK | WT_HAS_UTIL |
                                       WT_HAS_MEM | WT_HAS_LIMIT);
    assert_int_equal(r.status.temp_mc, 47000);
    assert_int_equal(r.status.clock_khz, 1700000);
    assert_int_equal(r.status.memclock_khz, 1600000);
    assert_int_equal(r.status.util_ppm, 870000);
    assert_int_equal(r.status.mem_used_bytes, 1073741824);
    assert_int_equal(r.status.power_limit_mw, 300000);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_null(bed_note(&bed, "amdgpu", NULL));
    bed_done(&bed);
}

static void the_present_power_is_read_where_there_is_no_mean(void **state)
{
    (void)state;
    static const struct {
        const char *average, *input;
        uint64_t mw;
        bool is_averaged;
    } rows[] = {
        {"41000000\n", NULL, 41000, true},
        {"41000000\n", "52000000\n", 41000, true},
        {NULL, "52000000\n", 52000, false},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_reading r;
        struct card c = mi210;
        c.average = rows[i].average;
        c.input = rows[i].input;
        bed_init(&bed);
        put_card(&bed, &c);
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 1);
        assert_int_equal(wt_devices_info(bed.devices, 0)->traits.is_power_averaged,
                         rows[i].is_averaged);
        assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), 0);
        assert_int_equal(r.power.mw, rows[i].mw);
        bed_done(&bed);
    }
}

static void cards_are_numbered_along_the_bus(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    struct card a = mi210, b = mi210, c = mi210;
    a.number = 0, a.bus = 0xc1, a.unique_id = "0000000000000000\n";
    b.number = 1, b.bus = 0x21, b.unique_id = NULL;
    c.number = 10, c.bus = 0x41, c.unique_id = "not a number\n";
    put_card(&bed, &a);
    put_card(&bed, &b);
    put_card(&bed, &c);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    assert_int_equal(bed_device(&bed, "GPU-0000:21:00.0")->index, 0);
    assert_int_equal(bed_device(&bed, "GPU-0000:41:00.0")->index, 1);
    assert_int_equal(bed_device(&bed, "GPU-0000:c1:00.0")->index, 2);
    bed_done(&bed);
}

static void two_cards_of_one_number_have_two_ids(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    struct card other = mi210;
    other.number = 1, other.bus = 0xc6;
    put_card(&bed, &mi210);
    put_card(&bed, &other);
    bed_open(&bed);
    assert_int_equal(bed_device(&bed, "GPU-18f5bd7c0b4e6a21")->index, 0);
    assert_int_equal(bed_device(&bed, "GPU-0000:c6:00.0")->index, 1);
    bed_done(&bed);
}

/* Its sensor sees both dies, and 0 W of the second is no reading. */
static void the_second_die_of_a_card_is_a_part_of_the_first(void **state)
{
    (void)state;
    static const struct {
        const char *order; /* P: has power, S: second die */
        unsigned parts[4]; /* of die i, if S: the one it is part of */
    } rows[] = {{"PSPS", {0, 0, 0, 2}}, {"SPSP", {1, 0, 3, 0}}, {"PSSP", {0, 0, 3, 0}}};
    for (size_t k = 0; k < WT_COUNTOF(rows); k++) {
        struct bed bed;
        char ids[4][24], words[4][24];
        bed_init(&bed);
        for (unsigned i = 0; i < 4; i++) {
            bool is_first = rows[k].order[i] == 'P';
            wt_text(words[i], sizeof(words[i]), "a00%u\n", i);
            wt_text(ids[i], sizeof(ids[i]), "GPU-a00%u", i);
            struct card c = {.number = i,
                             .bus = 0xc1 + 5 * i,
                             .device = 0x7408,
                             .unique_id = words[i],
                             .average = is_first ? "89000000\n" : "0\n",
                             .cap = is_first ? "560000000\n" : "0\n"};
            put_card(&bed, &c);
            put_of(&bed, i, "hwmon/hwmon5/temp1_input", "40000\n");
        }
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 4);
        for (unsigned i = 0; i < 4; i++) {
            const struct wt_device_info *info = bed_device(&bed, ids[i]);
            bool is_first = rows[k].order[i] == 'P';
            assert_int_equal(info->index, i);
            assert_int_equal(info->is_part, !is_first);
            assert_int_equal(info->is_counted, is_first);
            assert_int_equal(info->can & WT_CAN_POWER, is_first ? WT_CAN_POWER : 0);
            assert_string_equal(info->part_of, is_first ? "" : ids[rows[k].parts[i]]);
        }
        struct wt_reading r;
        size_t second = bed_index(&bed, ids[rows[k].order[0] == 'S' ? 0 : 1]);
        assert_int_equal(wt_devices_read(bed.devices, second, WT_READ_POWER, &r, &bed.err),
                         WT_E_UNSUPPORTED);
        assert_int_equal(r.power.state, WT_ABSENT);
        assert_int_equal(wt_devices_read(bed.devices, second, WT_READ_STATUS, &r, &bed.err), 0);
        assert_true(r.status.has & WT_HAS_TEMP);
        assert_false(r.status.has & WT_HAS_LIMIT);
        bed_done(&bed);
    }
}

/* Whoever computes on the second die alone is measured by the card's sensor. */
static void naming_the_second_die_brings_the_card(void **state)
{
    (void)state;
    static const struct {
        const char *gpus, *visible;
    } rows[] = {{"1", NULL}, {NULL, "1"}, {NULL, "GPU-a001"}};
    for (size_t k = 0; k < WT_COUNTOF(rows); k++) {
        struct bed bed;
        bed_init(&bed);
        for (unsigned i = 0; i < 4; i++) {
            char word[8];
            wt_text(word, sizeof(word), "a00%u\n", i);
            struct card c = {.number = i,
                             .bus = 0xc1 + 5 * i,
                             .device = 0x7408,
                             .unique_id = word,
                             .average = i % 2 ? "0\n" : "89000000\n",
                             .cap = i % 2 ? "0\n" : "560000000\n"};
            put_card(&bed, &c);
            put_of(&bed, i, "hwmon/hwmon5/temp1_input", "40000\n");
        }
        struct wt_devices_options options = {.gpus = rows[k].gpus};
        if (rows[k].visible)
            setenv("ROCR_VISIBLE_DEVICES", rows[k].visible, 1);
        assert_int_equal(wt_devices_open(&bed.devices, bed.ctx, &options, &bed.err), 0);
        unsetenv("ROCR_VISIBLE_DEVICES");
        assert_int_equal(wt_devices_count(bed.devices), 2);
        assert_true(bed_device(&bed, "GPU-a000")->is_counted);
        assert_false(bed_device(&bed, "GPU-a001")->is_counted);
        bed_done(&bed);
    }
}

static void graphics_inside_a_processor_are_not_counted_beside_it(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    struct card apu = {.bus = 0x04, .device = 0x1681, .input = "15000000\n", .is_apu = true};
    bed_init(&bed);
    put_card(&bed, &apu);
    put_of(&bed, 0, "hwmon/hwmon5/power1_label", "PPT\n");
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", "1\n");
    bed_open(&bed);
    const struct wt_device_info *info = bed_device(&bed, "GPU-0000:04:00.0");
    assert_true(info->is_part);
    assert_false(info->is_counted);
    assert_string_equal(info->part_of, "cpu-package-0");
    assert_true(bed_device(&bed, "cpu-package-0")->is_counted);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), 0);
    assert_int_equal(r.power.mw, 15000);
    bed_done(&bed);
}

static void what_is_missing_denied_or_garbled_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text; /* what is put there; NULL: a refusal */
        int errnum;
        enum wt_finding_kind kind;
        const char *said, *fix;
    } rows[] = {
        {"hwmon/hwmon5/power1_average", "", 0, WT_FINDING_BROKEN, "power1_average", ""},
        {"hwmon/hwmon5/power1_average", "much\n", 0, WT_FINDING_BROKEN, "is no number", ""},
        {"hwmon/hwmon5/power1_average", "99999999999999\n", 0, WT_FINDING_BROKEN, "no reading", ""},
        {"hwmon/hwmon5/power1_average", NULL, EPERM, WT_FINDING_DENIED, "power1_average", "asleep"},
        {"hwmon/hwmon5/power1_average", NULL, EIO, WT_FINDING_BROKEN, "power1_average", ""},
        {"hwmon/hwmon5/name", "nouveau\n", 0, WT_FINDING_MISSING, "no sensors of amdgpu",
         "virtual"},
        {"uevent", "DRIVER=vfio-pci\nPCI_ID=1002:740F\nPCI_SLOT_NAME=0000:c1:00.0\n", 0,
         WT_FINDING_MISSING, "vfio-pci", "amdgpu"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        char path[128];
        bed_init(&bed);
        put_card(&bed, &mi210);
        put_of(&bed, 0, rows[i].file, rows[i].text);
        wt_text(path, sizeof(path), "/sys/class/drm/card0/device/%s", rows[i].file);
        wt_tree_fault(bed.ctx, path, rows[i].errnum);
        if (strstr(rows[i].file, "uevent"))
            wt_tree_fault(bed.ctx, "/sys/class/drm/card0/device/hwmon/hwmon5/name", ENOENT);
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        const struct wt_finding *f = bed_note(&bed, "amdgpu", "power");
        assert_non_null(f);
        if (f->kind != rows[i].kind || !strstr(f->value, rows[i].said) ||
            !strstr(f->fix, rows[i].fix))
            fail_msg("row %zu: %d \"%s\" \"%s\"", i, (int)f->kind, f->value, f->fix);
        bed_done(&bed);
    }
    /* And a card of which not even the maker can be told. */
    struct bed bed;
    bed_init(&bed);
    put_of(&bed, 0, "vendor", "what?\n");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_int_equal(bed_note(&bed, "amdgpu", "card0")->kind, WT_FINDING_BROKEN);
    bed_done(&bed);
    /* Without any card nothing needs to be said. */
    bed_init(&bed);
    bed_open(&bed);
    assert_null(bed_note(&bed, "amdgpu", NULL));
    assert_null(bed_note(&bed, "intel_gpu", NULL));
    bed_done(&bed);
}

static void a_card_that_goes_is_gone_and_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_card(&bed, &mi210);
    bed_open(&bed);
    char path[128];
    wt_text(path, sizeof(path), "%s/sys/class/drm/card0/device/hwmon/hwmon5/power1_average",
            bed.root);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), WT_E_GONE);
    assert_int_equal(r.power.state, WT_ABSENT);
    put_of(&bed, 0, "hwmon/hwmon5/power1_average", "7000000\n");
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err), 0);
    assert_int_equal(r.power.mw, 7000);
    bed_done(&bed);
}

/* ---- the library ---- */

static struct fake_rocm *rocm(struct bed *bed)
{
    bed_init(bed);
    setenv("WATTUNE_ROCM_SMI", FAKE_ROCM, 1);
    void *library = dlopen(FAKE_ROCM, RTLD_NOW); /* stays open: one copy for both */
    assert_non_null(library);
    struct fake_rocm *(*reset)(void);
    *(void **)&reset = dlsym(library, "fake_rocm_reset");
    assert_non_null(reset);
    struct fake_rocm *fake = reset();
    fake->bdf[0] = 0xc100;
    fake->step[0] = 65536;
    put_card(bed, &mi210);
    return fake;
}

static void the_librarys_counter_is_taken_when_it_moves(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    struct fake_rocm *fake = rocm(&bed);
    fake->bdf[0] |= UINT64_C(3) << 28; /* a partition's number */
    int64_t before_ns = bed.now_ns;
    bed_open(&bed);
    assert_int_equal(bed.now_ns - before_ns, 100 * WT_NS_PER_MS);
    const struct wt_device_info *info = bed_device(&bed, "GPU-18f5bd7c0b4e6a21");
    assert_string_equal(info->via, "rocm-smi");
    assert_int_equal(info->can & (WT_CAN_ENERGY | WT_CAN_POWER), WT_CAN_ENERGY | WT_CAN_POWER);
    assert_int_equal(info->traits.energy_quantum_uj, 16);
    fake->count[0] = UINT64_C(1) << 50;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY | WT_READ_POWER, &r, &bed.err),
                     0);
    assert_int_equal(r.energy.uj, (UINT64_C(61) << 50) / 4); /* 15.25 uJ each, no bit lost */
    assert_int_equal(r.power.mw, 41000);
    bed_done(&bed);
    assert_int_equal(fake->inits, 1);
    assert_int_equal(fake->shut_downs, 1);
}

static void a_counter_that_stands_still_is_left_out_and_said(void **state)
{
    (void)state;
    static const struct {
        const char *power, *said;
        enum wt_finding_kind kind;
    } rows[] = {
        {"41000000\n", "stands still while power reads 41 W", WT_FINDING_BROKEN},
        {"0\n", "did not move", WT_FINDING_MISSING},
        {NULL, "did not move", WT_FINDING_MISSING},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct fake_rocm *fake = rocm(&bed);
        fake->step[0] = 0;
        fake->count[0] = 123456;
        if (rows[i].power)
            put_of(&bed, 0, "hwmon/hwmon5/power1_average", rows[i].power);
        else
            wt_tree_fault(bed.ctx, "/sys/class/drm/card0/device/hwmon/hwmon5/power1_average",
                          ENOENT);
        bed_open(&bed);
        const struct wt_finding *f = bed_note(&bed, "amdgpu", "energy counter");
        assert_non_null(f);
        assert_int_equal(f->kind, rows[i].kind);
        assert_non_null(strstr(f->value, rows[i].said));
        assert_int_equal(wt_devices_count(bed.devices), rows[i].power != NULL);
        if (rows[i].power)
            assert_int_equal(wt_devices_info(bed.devices, 0)->can & WT_CAN_ENERGY, 0);
        bed_done(&bed);
    }
}

static void what_the_library_refuses_leaves_the_power(void **state)
{
    (void)state;
    static const struct {
        int init_rc, list_rc, energy_rc;
        float resolution_uj;
        uint64_t count;
        const char *what, *said;
    } rows[] = {
        {8, 0, 0, 15.25f, 0, "energy counters", "rsmi_init"},
        {0, 6, 0, 15.25f, 0, "energy counters", "rsmi_num_monitor_devices"},
        {0, 0, 2, 15.25f, 0, "energy counter", "answers 2"},
        {0, 0, 4, 15.25f, 0, "energy counter", "answers 4"},
        {0, 0, 0, 0.0f, 0, "energy counter", "a step of 0 uJ"},
        {0, 0, 0, -1.0f, 0, "energy counter", "a step of -1 uJ"},
        {0, 0, 0, 15.25f, UINT64_MAX, "energy counter", "no counter"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct fake_rocm *fake = rocm(&bed);
        fake->init_rc = rows[i].init_rc;
        fake->list_rc = rows[i].list_rc;
        fake->energy_rc = rows[i].energy_rc;
        fake->resolution_uj = rows[i].resolution_uj;
        fake->count[0] = rows[i].count;
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 1);
        assert_int_equal(wt_devices_info(bed.devices, 0)->can & (WT_CAN_ENERGY | WT_CAN_POWER),
                         WT_CAN_POWER);
        const struct wt_finding *f = bed_note(&bed, "amdgpu", rows[i].what);
        if (!f || !strstr(f->value, rows[i].said))
            fail_msg("row %zu: \"%s\"", i, f ? f->value : "(none)");
        bed_done(&bed);
        assert_int_equal(fake->shut_downs, fake->inits);
    }
}

static void a_library_without_the_functions_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *file, *said;
    } rows[] = {{"libm.so.6", "lacks the functions"}, {"/nonexistent/librocm.so", "nonexistent"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        (void)rocm(&bed);
        setenv("WATTUNE_ROCM_SMI", rows[i].file, 1);
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 1);
        assert_non_null(strstr(bed_note(&bed, "amdgpu", "energy counters")->value, rows[i].said));
        bed_done(&bed);
    }
}

static void a_counter_of_another_place_on_the_bus_is_not_this_cards(void **state)
{
    (void)state;
    struct bed bed;
    struct fake_rocm *fake = rocm(&bed);
    fake->bdf[0] = 0xc600;
    bed_open(&bed);
    assert_int_equal(wt_devices_info(bed.devices, 0)->can & WT_CAN_ENERGY, 0);
    bed_done(&bed);
}

static void a_read_that_fails_later_changes_nothing(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    struct fake_rocm *fake = rocm(&bed);
    bed_open(&bed);
    fake->count[0] = 4000;
    fake->energy_rc = 16;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_BUSY);
    assert_int_equal(r.energy.state, WT_ABSENT);
    fake->energy_rc = 0;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), 0);
    assert_int_equal(r.energy.uj, 61000);
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_card_is_read_with_all_it_shows),
        cmocka_unit_test(the_present_power_is_read_where_there_is_no_mean),
        cmocka_unit_test(cards_are_numbered_along_the_bus),
        cmocka_unit_test(two_cards_of_one_number_have_two_ids),
        cmocka_unit_test(the_second_die_of_a_card_is_a_part_of_the_first),
        cmocka_unit_test(naming_the_second_die_brings_the_card),
        cmocka_unit_test(graphics_inside_a_processor_are_not_counted_beside_it),
        cmocka_unit_test(what_is_missing_denied_or_garbled_is_said),
        cmocka_unit_test(a_card_that_goes_is_gone_and_comes_back),
        cmocka_unit_test(the_librarys_counter_is_taken_when_it_moves),
        cmocka_unit_test(a_counter_that_stands_still_is_left_out_and_said),
        cmocka_unit_test(what_the_library_refuses_leaves_the_power),
        cmocka_unit_test(a_library_without_the_functions_is_none),
        cmocka_unit_test(a_counter_of_another_place_on_the_bus_is_not_this_cards),
        cmocka_unit_test(a_read_that_fails_later_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
