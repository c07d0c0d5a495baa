/* hwmon: power and energy sensors of boards, supplies and modules that Linux shows as hwmon chips.
 *
 * What a chip measures is known of few: those count, everything else that has a power or an energy
 * is listed as a part and never summed.
 *
 * power_meter (ACPI 4.0, chapter 10.4): the whole node, unless power1_oem_info says otherwise. Of
 *   several that say nothing each may be anything, and none counts. On NVIDIA's Grace there are
 * four a socket: Module (GPU, CPU and what their regulators lose) contains Grace, which contains
 * CPU, SysIO and the memory. CPU counts as the socket's processor; the others are parts. Source:
 * Documentation/hwmon/acpi_power_meter.rst; NVIDIA Grace Performance Tuning Guide, Power and
 * Thermals. 4294967295 mW is the firmware's mark for no value. ina3221 (Jetson): rails, each a
 * voltage and a current. VDD_IN and POM_5V_IN are the whole module or board. AGX boards have none
 * such, and the module is the sum of its input rails: on AGX Orin VDD_GPU_SOC, VDD_CPU_CV and
 * VIN_SYS_5V0 (VDDQ_VDD2_1V8AO hangs on the last), on AGX Xavier all six. What the carrier board
 * draws is in none. Thor has an ina238 of the board's input, VIN. Source:
 * Documentation/hwmon/ina3221.rst; NVIDIA Jetson Linux Developer Guide, power and performance;
 * rbonghi/jetson_stats issues 51 and 344, pull request 900; TI's INA3221 data sheet. corsairpsu:
 * "power total" is what the supply gives to the board: its own loss is not in it. Source:
 * Documentation/hwmon/corsair-psu.rst; liquidctl issue 300. amd_energy, and zenergy which comes
 * from it: energies of sockets (the kernel adds up the wraps), the same registers as RAPL's.
 * Source: Documentation/hwmon/amd_energy.rst of Linux 5.12.
 *
 * GPUs' chips and batteries belong to the sources that know them. */
#include <stdlib.h>
#include <string.h>

#include "sensor/gauge.h"

#define HWMON     "/sys/class/hwmon"
#define RAILS_MAX 16
#define OTHER_MAX 64
#define METER_MAX 16
#define GAIN_PPM  50000 /* assumed where nothing better is known */

/* One chip that is being looked at. */
struct chip {
    char dir[64];  /* its folder, or the device below it where its attributes are there */
    char name[32]; /* as the driver says */
    char id[48];   /* and with a number from the second of its name on */
};

struct rail {
    struct wt_gauge_file volts, amperes;
    char label[32], id[64];
    int64_t period_ns;
    uint32_t offset_mw;
};

struct meter {
    struct chip chip;
    char info[64]; /* power1_oem_info */
};

/* What is put together once all chips were seen. */
struct walk {
    struct wt_gauges *g;
    struct wt_findings *notes;
    struct rail rails[RAILS_MAX];
    size_t rail_count;
    struct meter meters[METER_MAX];
    size_t meter_count;
    size_t other_count;
    char seen[64][32]; /* names of chips so far */
    size_t seen_count;
};

/* The rails whose sum a node's power is; owned by the source. */
struct sum {
    size_t count;
    struct {
        struct wt_gauge_file volts, amperes;
    } rails[6];
};

/* ---- reading attributes ---- */

static int read_attr(const struct walk *w, const struct chip *c, const char *attr, char *buf,
                     size_t size)
{
    char path[176];
    wt_text(path, sizeof(path), "%s/%s", c->dir, attr);
    int rc = wt_fs_read(w->g->ctx, path, buf, size, NULL);
    if (rc < 0)
        buf[0] = '\0';
    return rc;
}

static bool is_zero(const struct walk *w, const struct chip *c, const char *attr)
{
    char text[16];
    return read_attr(w, c, attr, text, sizeof(text)) == 0 && strcmp(text, "0") == 0;
}

static uint64_t number_of(const struct walk *w, const struct chip *c, const char *attr,
                          uint64_t otherwise)
{
    char path[176];
    uint64_t value;
    wt_text(path, sizeof(path), "%s/%s", c->dir, attr);
    return wt_fs_read_u64(w->g->ctx, path, &value, NULL) < 0 ? otherwise : value;
}

static void set_file(struct wt_gauge_file *f, const struct chip *c, const char *attr, uint32_t div)
{
    wt_text(f->path, sizeof(f->path), "%s/%s", c->dir, attr);
    f->div = div;
}

/* A label as a part of an id. */
static void slug(const char *text, char *buf, size_t size)
{
    size_t used = 0;
    for (; *text && used + 1 < size; text++) {
        bool is_good = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                       (*text >= '0' && *text <= '9') || strchr("+._", *text);
        buf[used++] = is_good ? *text : '-';
    }
    buf[used] = '\0';
}

static int add(struct walk *w, const struct wt_device_info *info, const struct wt_gauge *gauge)
{
    return wt_gauges_add(w->g, info, gauge, "run as root", NULL, w->notes);
}

/* ---- ACPI power meters ---- */

/* "95.0%" is what the firmware says of its meter; no better than is assumed of others. */
static uint32_t gain_of(const struct walk *w, const struct chip *c)
{
    char text[16];
    double percent;
    if (read_attr(w, c, "power1_accuracy", text, sizeof(text)) < 0)
        return GAIN_PPM;
    text[strcspn(text, "%")] = '\0';
    if (wt_text_to_double(text, &percent) < 0 || !(percent > 0) || percent > 100)
        return GAIN_PPM;
    uint32_t ppm = (uint32_t)((100 - percent) * 1e4 + 0.5);
    return ppm > GAIN_PPM ? ppm : GAIN_PPM;
}

static int add_meter(struct walk *w, const struct meter *m, struct wt_device_info *info)
{
    struct wt_gauge gauge = {0};
    set_file(&gauge.power, &m->chip, "power1_average", 1000);
    /* A mean over the interval, by the driver's words; when it is renewed is not said, and once an
     * interval is what firmware does. */
    uint64_t ms = number_of(w, &m->chip, "power1_average_interval", 0);
    if (ms < 1 || ms > 3600000)
        ms = 1000;
    info->traits = (struct wt_sensor_traits){.power_period_ns = (int64_t)ms * WT_NS_PER_MS,
                                             .power_window_ns = (int64_t)ms * WT_NS_PER_MS,
                                             .gain_ppm = gain_of(w, &m->chip),
                                             .offset_mw = 500};
    return add(w, info, &gauge);
}

/* One of Grace's meters; each socket has up to four, one inside the other: the module holds the GPU
 * and Grace, and Grace the cores, SysIO and the memory, which has no meter of its own. What counts
 * is Grace, so that nothing is left out beside the GPU's own sensor. is_whole: the socket has that
 * meter; without it the cores are what there is. False: it is none of Grace's. */
static bool describe_grace(const struct meter *m, bool is_whole, struct wt_device_info *info)
{
    unsigned socket;
    int used = 0;
    char what[16];
    if (sscanf(m->info, "%15s Power Socket %u%n", what, &socket, &used) != 2 || m->info[used])
        return false;
    info->index = socket;
    info->kind = WT_DEVICE_CPU;
    if (strcmp(what, "Grace") == 0) {
        info->has_memory = true;
        wt_text(info->id, sizeof(info->id), "cpu-package-%u", socket);
        wt_text(info->name, sizeof(info->name), "Grace %u (cores, SysIO, memory)", socket);
    } else if (strcmp(what, "CPU") == 0) {
        info->is_part = is_whole;
        wt_text(info->id, sizeof(info->id), "cpu-package-%u%s", socket, is_whole ? "-cores" : "");
        wt_text(info->name, sizeof(info->name), "cores of Grace %u", socket);
        if (is_whole)
            wt_text(info->part_of, sizeof(info->part_of), "cpu-package-%u", socket);
    } else if (strcmp(what, "SysIO") == 0) {
        info->is_part = true;
        wt_text(info->id, sizeof(info->id), "sysio-socket-%u", socket);
        wt_text(info->name, sizeof(info->name), "SysIO of Grace %u", socket);
        wt_text(info->part_of, sizeof(info->part_of), "cpu-package-%u", socket);
    } else if (strcmp(what, "Module") == 0) {
        info->kind = WT_DEVICE_NODE;
        info->is_part = true; /* of a node that may have several, and with no say about the rest */
        wt_text(info->id, sizeof(info->id), "module-socket-%u", socket);
        wt_text(info->name, sizeof(info->name), "module %u (GPU, CPU, memory)", socket);
    } else {
        return false;
    }
    return true;
}

/* Does the vendor's text name something smaller than a node? */
static bool is_of_part(const char *info)
{
    static const char *const words[] = {"cpu",    "gpu",  "socket", "module",
                                        "memory", "dimm", "dram",   "psu"};
    for (size_t i = 0; i < WT_COUNTOF(words); i++)
        if (strcasestr(info, words[i]))
            return true;
    return false;
}

static int add_meters(struct walk *w)
{
    unsigned whole = 0, parts = 0;
    bool has_grace = false;
    struct wt_device_info info;
    for (size_t i = 0; i < w->meter_count; i++) {
        info = (struct wt_device_info){0};
        bool is_grace = describe_grace(&w->meters[i], true, &info);
        has_grace |= is_grace && info.kind == WT_DEVICE_CPU && !info.is_part;
        whole += !is_grace && !is_of_part(w->meters[i].info);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < w->meter_count; i++) {
        const struct meter *m = &w->meters[i];
        info = (struct wt_device_info){.kind = WT_DEVICE_NODE};
        if (describe_grace(m, has_grace, &info)) {
            rc = add_meter(w, m, &info);
            continue;
        }
        info.is_part = whole > 1 || is_of_part(m->info);
        if (info.is_part) {
            wt_text(info.part_of, sizeof(info.part_of), "node");
            wt_text(info.id, sizeof(info.id), "acpi-meter-%u", parts++);
        } else {
            wt_text(info.id, sizeof(info.id), "node-acpi");
        }
        wt_text(info.name, sizeof(info.name), "%s (ACPI power meter)",
                *m->info       ? m->info
                : info.is_part ? "unknown part"
                               : "node");
        rc = add_meter(w, m, &info);
    }
    if (rc == 0 && whole > 1)
        rc = wt_findings_add(w->notes, WT_FINDING_MISSING, "hwmon", "", "node power",
                             "where you know which is the node: --sensor-command '1s:echo $(($(cat "
                             "/sys/class/hwmon/hwmon1/device/power1_average) / 1000)) mW'",
                             "%u ACPI power meters, and none says what it measures", whole);
    return rc;
}

static int take_meter(struct walk *w, const struct chip *c)
{
    if (w->meter_count == METER_MAX || number_of(w, c, "power1_is_battery", 0) == 1)
        return 0;
    struct meter *m = &w->meters[w->meter_count++];
    m->chip = *c;
    read_attr(w, c, "power1_oem_info", m->info, sizeof(m->info));
    return 0;
}

/* ---- rails ---- */

static int read_sum(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_mw,
                    struct wt_error *err)
{
    struct sum *s = gauge->counter_data;
    uint64_t sum_mw = 0;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t mv, ma;
        int rc = wt_gauge_file_read(ctx, &s->rails[i].volts, &mv, err);
        if (rc == 0)
            rc = wt_gauge_file_read(ctx, &s->rails[i].amperes, &ma, err);
        if (rc == 0 && (mv > 1000000 || ma > 1000000))
            rc = wt_fail(err, WT_E_FORMAT, "%s%s: a power out of all proportion", wt_fs_root(ctx),
                         s->rails[i].volts.path);
        if (rc < 0)
            return rc;
        sum_mw += mv * ma / 1000;
    }
    *ret_mw = sum_mw;
    return 0;
}

static const struct rail *find_rail(const struct walk *w, const char *label)
{
    for (size_t i = 0; i < w->rail_count; i++)
        if (strcmp(w->rails[i].label, label) == 0)
            return &w->rails[i];
    return NULL;
}

static struct wt_sensor_traits traits_of(const struct rail *r)
{
    return (struct wt_sensor_traits){.power_period_ns = r->period_ns,
                                     .power_window_ns = r->period_ns,
                                     .gain_ppm = GAIN_PPM,
                                     .offset_mw = r->offset_mw};
}

/* The whole of a board that has no rail for it: all of these, or nothing. */
static int add_sum(struct walk *w, bool *ret_is_there)
{
    static const struct {
        const char *name, *labels[6];
    } sums[] = {
        {"module (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)",
         {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}},
        {"module (GPU + CPU + SOC + CV + VDDRQ + SYS5V)",
         {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}},
    };
    for (size_t i = 0; i < WT_COUNTOF(sums); i++) {
        struct sum sum = {0};
        struct wt_device_info info = {.kind = WT_DEVICE_NODE, .id = "node-module"};
        const struct rail *rail = NULL;
        uint32_t offset_mw = 0;
        for (size_t k = 0; k < WT_COUNTOF(sums[i].labels) && sums[i].labels[k]; k++) {
            rail = find_rail(w, sums[i].labels[k]);
            if (!rail)
                break;
            sum.rails[sum.count].volts = rail->volts;
            sum.rails[sum.count++].amperes = rail->amperes;
            offset_mw += rail->offset_mw;
        }
        if (!rail)
            continue;
        struct sum *kept = malloc(sizeof(*kept));
        if (!kept)
            return WT_E_NOMEM;
        *kept = sum;
        w->g->data = kept;
        struct wt_gauge gauge = {.wattage = read_sum, .counter_data = kept};
        wt_text(info.name, sizeof(info.name), "%s", sums[i].name);
        info.traits = traits_of(rail);
        info.traits.offset_mw = offset_mw;
        *ret_is_there = true;
        return add(w, &info, &gauge);
    }
    return 0;
}

static bool is_whole(const struct rail *r)
{
    return strcmp(r->label, "VDD_IN") == 0 || strcmp(r->label, "POM_5V_IN") == 0;
}

static enum wt_device_kind kind_of(const char *label)
{
    if (strstr(label, "GPU"))
        return WT_DEVICE_GPU;
    if (strstr(label, "CPU"))
        return WT_DEVICE_CPU;
    if (strstr(label, "DDR") || strstr(label, "VDDQ") || strstr(label, "VDDRQ"))
        return WT_DEVICE_DRAM;
    return WT_DEVICE_NODE;
}

static int add_rails(struct walk *w)
{
    bool has_whole = false;
    int rc = 0;
    for (size_t i = 0; i < w->rail_count; i++)
        has_whole |= is_whole(&w->rails[i]);
    if (!has_whole)
        rc = add_sum(w, &has_whole);
    bool is_taken = false; /* one is the node; a second of its kind is not the same again */
    for (size_t i = 0; rc == 0 && i < w->rail_count; i++) {
        const struct rail *r = &w->rails[i];
        struct wt_device_info info = {.kind = WT_DEVICE_NODE, .traits = traits_of(r)};
        struct wt_gauge gauge = {.power = r->volts, .times = r->amperes};
        if (is_whole(r) && !is_taken) {
            is_taken = true;
            wt_text(info.id, sizeof(info.id), "node-module");
            wt_text(info.name, sizeof(info.name), "module (%s)", r->label);
        } else {
            info.kind = kind_of(r->label);
            info.is_part = true;
            wt_text(info.part_of, sizeof(info.part_of), "%s", has_whole ? "node-module" : "node");
            wt_text(info.id, sizeof(info.id), "%s", r->id);
            wt_text(info.name, sizeof(info.name), "rail %s", r->label);
        }
        rc = add(w, &info, &gauge);
    }
    return rc;
}

/* Half a step of the current times the voltage: 40 uV over the shunt. */
static uint32_t offset_of(const struct walk *w, const struct chip *c, unsigned n)
{
    char attr[32];
    wt_text(attr, sizeof(attr), "shunt%u_resistor", n);
    uint64_t uohm = number_of(w, c, attr, 0);
    wt_text(attr, sizeof(attr), "in%u_input", n);
    uint64_t mv = number_of(w, c, attr, 0);
    if (uohm < 100 || mv > 100000)
        return 0;
    return (uint32_t)(40000 * mv / uohm / 2000 + 1);
}

static int take_rails(struct walk *w, const struct chip *c)
{
    /* Conversions and the mean over `samples` of them: new each time, and all of the time. */
    uint64_t ms = number_of(w, c, "update_interval", 0);
    for (unsigned n = 1; n <= 3 && w->rail_count < RAILS_MAX; n++) {
        struct rail *r = &w->rails[w->rail_count];
        char attr[32], name[32];
        wt_text(attr, sizeof(attr), "in%u_enable", n);
        if (is_zero(w, c, attr))
            continue;
        wt_text(attr, sizeof(attr), "in%u_label", n);
        if (read_attr(w, c, attr, r->label, sizeof(r->label)) < 0 || !*r->label ||
            strcmp(r->label, "NC") == 0)
            continue;
        wt_text(attr, sizeof(attr), "in%u_input", n);
        set_file(&r->volts, c, attr, 1);
        wt_text(attr, sizeof(attr), "curr%u_input", n);
        set_file(&r->amperes, c, attr, 1);
        slug(r->label, name, sizeof(name));
        wt_text(r->id, sizeof(r->id), "rail-%s%s", name, find_rail(w, r->label) ? "-2" : "");
        r->period_ns = (ms && ms < 60000 ? (int64_t)ms : 1000) * WT_NS_PER_MS;
        r->offset_mw = offset_of(w, c, n);
        w->rail_count++;
    }
    return 0;
}

/* ---- everything else ---- */

struct channel {
    unsigned n;
    bool has_average, has_input, has_energy;
};

/* Which of a chip's files have a power or an energy. */
static int list_channels(const struct walk *w, const struct chip *c, struct channel *list,
                         size_t max, size_t *ret_count)
{
    char **names = NULL;
    size_t files = 0, count = 0;
    int rc = wt_fs_list(w->g->ctx, c->dir, &names, &files, NULL);
    for (size_t i = 0; i < files; i++) {
        unsigned n;
        int used = 0;
        bool is_energy = sscanf(names[i], "energy%u_%n", &n, &used) == 1 && used;
        if (!is_energy && (sscanf(names[i], "power%u_%n", &n, &used) != 1 || !used))
            continue;
        bool is_input = strcmp(names[i] + used, "input") == 0;
        bool is_average = strcmp(names[i] + used, "average") == 0;
        if (!is_input && !(is_average && !is_energy))
            continue;
        size_t k = 0;
        while (k < count && list[k].n != n)
            k++;
        if (k == max)
            continue;
        if (k == count)
            list[count++] = (struct channel){.n = n};
        list[k].has_energy |= is_energy;
        list[k].has_average |= is_average;
        list[k].has_input |= is_input && !is_energy;
    }
    wt_fs_list_free(names, files);
    *ret_count = count;
    return rc == WT_E_NOMEM ? rc : 0;
}

/* The channel's label, or the chip's. Power and energy of one number are the same thing only when
 * theirs do not differ. */
static void label_of(const struct walk *w, const struct chip *c, const struct channel *ch,
                     bool is_energy, char *buf, size_t size)
{
    char attr[32];
    wt_text(attr, sizeof(attr), "%s%u_label", is_energy ? "energy" : "power", ch->n);
    if (read_attr(w, c, attr, buf, size) < 0)
        read_attr(w, c, "label", buf, size);
}

static int add_other(struct walk *w, const struct chip *c, const struct channel *ch,
                     const char *label, bool with_power, bool with_energy)
{
    char attr[32], name[48];
    struct wt_gauge gauge = {0};
    struct wt_device_info info = {.kind = WT_DEVICE_NODE, .is_part = true, .part_of = "node"};
    /* Nothing is published of a chip that is not known. */
    info.traits.gain_ppm = GAIN_PPM;
    if (w->other_count == OTHER_MAX)
        return 0;
    wt_text(attr, sizeof(attr), "power%u_enable", ch->n);
    if (with_power && is_zero(w, c, attr))
        return 0;
    w->other_count++;
    if (with_power) {
        wt_text(attr, sizeof(attr), "power%u_%s", ch->n, ch->has_average ? "average" : "input");
        set_file(&gauge.power, c, attr, 1000);
    }
    if (with_energy) {
        wt_text(attr, sizeof(attr), "energy%u_input", ch->n);
        set_file(&gauge.energy, c, attr, 1);
    }
    if (*label)
        slug(label, name, sizeof(name));
    else
        wt_text(name, sizeof(name), "%s%u", with_power ? "power" : "energy", ch->n);
    wt_text(info.id, sizeof(info.id), "%.40s-%s", c->id, name);
    wt_text(info.name, sizeof(info.name), "%.40s %.40s", c->id, *label ? label : name);
    if (strcmp(c->name, "corsairpsu") == 0 && strcmp(label, "power total") == 0) {
        info.is_part = false;
        info.part_of[0] = '\0';
        wt_text(info.id, sizeof(info.id), "node-%s", c->id);
        wt_text(info.name, sizeof(info.name), "what the power supply delivers (%s)", c->id);
    } else if (strcmp(c->name, "ina238") == 0 && strcmp(label, "VIN") == 0) {
        info.is_part = false;
        info.part_of[0] = '\0';
        wt_text(info.id, sizeof(info.id), "node-module");
        wt_text(info.name, sizeof(info.name), "board (VIN)");
    }
    return add(w, &info, &gauge);
}

/* amd_energy: Esocket0, and a core's energies inside it, of which there are too many to list. */
static int add_socket(struct walk *w, const struct chip *c, const struct channel *ch)
{
    char attr[32], label[32];
    unsigned socket;
    int used = 0;
    struct wt_gauge gauge = {0};
    struct wt_device_info info = {.kind = WT_DEVICE_CPU};
    label_of(w, c, ch, true, label, sizeof(label));
    if (sscanf(label, "Esocket%u%n", &socket, &used) != 1 || label[used])
        return 0;
    wt_text(attr, sizeof(attr), "energy%u_input", ch->n);
    set_file(&gauge.energy, c, attr, 1);
    info.index = socket;
    info.traits = (struct wt_sensor_traits){
        .energy_period_ns = WT_NS_PER_MS, .energy_quantum_uj = 61, .gain_ppm = GAIN_PPM};
    wt_text(info.id, sizeof(info.id), "cpu-package-%u", socket);
    wt_text(info.name, sizeof(info.name), "CPU package %u (%s)", socket, c->name);
    return add(w, &info, &gauge);
}

static int take_channels(struct walk *w, const struct chip *c)
{
    struct channel list[320]; /* amd_energy: a core each */
    size_t count;
    bool is_amd = strcmp(c->name, "amd_energy") == 0 || strcmp(c->name, "zenergy") == 0;
    int rc = list_channels(w, c, list, WT_COUNTOF(list), &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct channel *ch = &list[i];
        char power[32], energy[32];
        bool has_power = ch->has_average || ch->has_input;
        if (is_amd) {
            rc = add_socket(w, c, ch);
            continue;
        }
        label_of(w, c, ch, false, power, sizeof(power));
        label_of(w, c, ch, true, energy, sizeof(energy));
        bool is_one =
            has_power && ch->has_energy && (!*power || !*energy || strcmp(power, energy) == 0);
        if (has_power)
            rc = add_other(w, c, ch, *power ? power : is_one ? energy : "", true, is_one);
        if (rc == 0 && ch->has_energy && !is_one)
            rc = add_other(w, c, ch, energy, false, true);
    }
    return rc;
}

/* ---- the walk ---- */

static bool is_for_others(const char *name)
{
    static const char *const names[] = {"amdgpu", "radeon", "i915", "xe", "nouveau"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The kernel makes a chip of each battery and charger too. */
static bool is_supply(const struct walk *w, const char *entry)
{
    char path[96], type[32];
    wt_text(path, sizeof(path), HWMON "/%s/device/type", entry);
    if (wt_fs_read(w->g->ctx, path, type, sizeof(type), NULL) < 0)
        return false;
    return strcmp(type, "Battery") == 0 || strcmp(type, "Mains") == 0 || strcmp(type, "UPS") == 0 ||
           strncmp(type, "USB", 3) == 0;
}

/* The second of a name is "NAME-2": the numbers of hwmon are those of this boot. */
static void number(struct walk *w, struct chip *c)
{
    unsigned same = 1;
    for (size_t i = 0; i < w->seen_count; i++)
        same += strcmp(w->seen[i], c->name) == 0;
    if (w->seen_count < WT_COUNTOF(w->seen))
        wt_text(w->seen[w->seen_count++], sizeof(w->seen[0]), "%s", c->name);
    char name[32];
    slug(c->name, name, sizeof(name));
    wt_text(c->id, sizeof(c->id), same > 1 ? "%s-%u" : "%s", name, same);
}

static int look_at(struct walk *w, const char *entry)
{
    struct chip c = {0};
    char text[16];
    wt_text(c.dir, sizeof(c.dir), HWMON "/%.40s", entry);
    if (read_attr(w, &c, "name", c.name, sizeof(c.name)) < 0) {
        /* Old drivers have all of their files at the device. */
        wt_text(c.dir, sizeof(c.dir), HWMON "/%.40s/device", entry);
        if (read_attr(w, &c, "name", c.name, sizeof(c.name)) < 0)
            return 0;
    }
    if (!*c.name || is_for_others(c.name) || is_supply(w, entry))
        return 0;
    number(w, &c);
    if (strcmp(c.name, "ina3221") == 0)
        return take_rails(w, &c);
    if (strcmp(c.name, "power_meter") != 0)
        return take_channels(w, &c);
    if (read_attr(w, &c, "power1_average", text, sizeof(text)) == WT_E_NOTFOUND)
        wt_text(c.dir, sizeof(c.dir), HWMON "/%.40s/device", entry);
    return take_meter(w, &c);
}

static void free_data(struct wt_gauges *g)
{
    free(g->data);
}

static int hwmon_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                      const struct wt_devices_options *options, struct wt_findings *notes,
                      struct wt_error *err)
{
    (void)options;
    struct wt_gauges *g;
    char **names = NULL;
    size_t count = 0;
    int rc = wt_gauges_new(&g, ctx, &wt_hwmon_ops, err);
    if (rc < 0)
        return rc;
    g->free_data = free_data;
    struct walk *w = calloc(1, sizeof(*w));
    rc = w ? wt_fs_list(ctx, HWMON, &names, &count, NULL) : WT_E_NOMEM;
    rc = rc == WT_E_NOMEM ? rc : 0;
    if (w) {
        w->g = g;
        w->notes = notes;
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = look_at(w, names[i]);
    if (rc == 0)
        rc = add_meters(w);
    if (rc == 0)
        rc = add_rails(w);
    wt_fs_list_free(names, count);
    free(w);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for hwmon");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_hwmon_ops = {
    .name = "hwmon",
    .open = hwmon_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
