/* survey: the lines of `wattune doctor`. Each is a value that was just read, or the reason why
 * there is none and what would change that. Nothing is written anywhere, not even a setting to
 * itself. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "knob/knob.h"
#include "sensor/machine.h"

#define STORE_MIN_BYTES (UINT64_C(16) << 20)

static void add_detail(char *text, size_t size, const char *fmt, ...) WT_PRINTF(3, 4);
static void add_detail(char *text, size_t size, const char *fmt, ...)
{
    size_t used = strlen(text);
    if (used && used + 3 < size) {
        memcpy(text + used, ", ", 3);
        used += 2;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + used, size - used, fmt, args);
    va_end(args);
}

/* "20 ms", "2 s". */
static const char *span_of(char *buf, size_t size, int64_t span_ns)
{
    double ms = (double)span_ns * 1e-6;
    return wt_text(buf, size, ms < 1000 ? "%.3g ms" : "%.3g s", ms < 1000 ? ms : ms * 1e-3);
}

/* "123.0 J", "43.20 MJ": four digits. (A window's energy has as many as its bound is worth; a
 * counter has none.) */
static const char *joules_of(char *buf, size_t size, uint64_t uj)
{
    static const struct {
        const char *unit;
        double scale;
    } units[] = {{"GJ", 1e9}, {"MJ", 1e6}, {"kJ", 1e3}, {"J", 1}};
    size_t u = 0;
    double j = wt_j_from_uj(uj);
    while (u + 1 < WT_COUNTOF(units) && j < units[u].scale * 0.99995)
        u++;
    double value = j / units[u].scale;
    return wt_text(buf, size, "%.*f %s",
                   value < 9.9995   ? 3
                   : value < 99.995 ? 2
                                    : 1,
                   value, units[u].unit);
}

static int add_energy(struct wt_findings *list, const struct wt_device_info *info,
                      const struct wt_energy *energy)
{
    char text[160] = "", period[24], joules[32];
    add_detail(text, sizeof(text), "%s so far", joules_of(joules, sizeof(joules), energy->uj));
    if (info->traits.energy_period_ns)
        add_detail(text, sizeof(text), "moves about every %s",
                   span_of(period, sizeof(period), info->traits.energy_period_ns));
    return wt_findings_add(list, WT_FINDING_OK, info->source, info->id, "energy counter", "", "%s",
                           text);
}

static int add_power(struct wt_findings *list, const struct wt_device_info *info,
                     const struct wt_power *power)
{
    const struct wt_sensor_traits *t = &info->traits;
    char text[160] = "", period[24], window[24];
    double period_ms = (double)t->power_period_ns * 1e-6;
    double window_ms = (double)t->power_window_ns * 1e-6;
    double w = wt_w_from_mw(power->mw);
    span_of(period, sizeof(period), t->power_period_ns);
    span_of(window, sizeof(window), t->power_window_ns);
    if (info->is_modeled)
        add_detail(text, sizeof(text), "%.1f W [%.1f, %.1f], estimated", w,
                   fmax(0, w * (1 - t->model_low_ppm * 1e-6) - t->model_low_mw * 1e-3),
                   w * (1 + t->model_high_ppm * 1e-6) + t->model_high_mw * 1e-3);
    else
        add_detail(text, sizeof(text), "%.1f W", w);
    if (info->is_modeled)
        ; /* it is as often as one asks */
    else if (t->is_power_averaged && !t->power_window_ns)
        add_detail(text, sizeof(text), "a running mean over a time that is not published");
    else if (t->is_power_averaged)
        add_detail(text, sizeof(text), "a running mean of %.3g s", window_ms * 1e-3);
    else if (t->power_period_ns && t->power_window_ns && window_ms < period_ms)
        add_detail(text, sizeof(text), "every %s, and sees %s (%.0f %%) of them", period, window,
                   100 * window_ms / period_ms);
    else if (t->power_period_ns)
        add_detail(text, sizeof(text), "every %s", period);
    else
        add_detail(text, sizeof(text), "sensor's period not published");
    return wt_findings_add(list, WT_FINDING_OK, info->source, info->id, "power", "", "%s", text);
}

/* Whose word the lines above stand on. */
static int add_probed(struct wt_findings *list, const struct wt_device_info *info)
{
    const struct wt_sensor_traits *t = &info->traits;
    char text[160] = "";
    add_detail(text, sizeof(text), "probed on %s", info->probed);
    if (t->power_delay_ns && (info->can & WT_CAN_POWER))
        add_detail(text, sizeof(text), "power shows %.3g ms late",
                   (double)t->power_delay_ns * 1e-6);
    if (t->energy_quantum_uj && (info->can & WT_CAN_ENERGY))
        add_detail(text, sizeof(text), "counter steps of %.3g mJ",
                   (double)t->energy_quantum_uj * 1e-3);
    return wt_findings_add(list, WT_FINDING_OK, info->source, info->id, "sensor", "", "%s", text);
}

static int add_state(struct wt_findings *list, const struct wt_device_info *info,
                     const struct wt_status *s)
{
    char text[160] = "";
    if (s->has & WT_HAS_TEMP)
        add_detail(text, sizeof(text), "%d C", s->temp_mc / 1000);
    if (s->has & WT_HAS_CLOCK)
        add_detail(text, sizeof(text), "%s %u MHz",
                   strcmp(info->source, "nvml") == 0 ? "SM" : "clock", s->clock_khz / 1000);
    if (s->has & WT_HAS_MEMCLOCK)
        add_detail(text, sizeof(text), "memory %u MHz", s->memclock_khz / 1000);
    if (s->has & WT_HAS_UTIL)
        add_detail(text, sizeof(text), "%u %% busy", s->util_ppm / 10000);
    if (s->has & WT_HAS_MEM)
        add_detail(text, sizeof(text), "%.1f of %.1f GiB used",
                   (double)s->mem_used_bytes / 1073741824.0,
                   (double)s->mem_total_bytes / 1073741824.0);
    return wt_findings_add(list, WT_FINDING_OK, info->source, info->id, "state", "", "%s", text);
}

/* Reads, and once more after two periods of the sensor when the first try failed in passing: a
 * sensor that was only just switched on has no sample yet. */
static int read_twice(struct wt_ctx *ctx, struct wt_devices *devices, size_t i, unsigned what,
                      struct wt_reading *ret_reading, struct wt_error *err)
{
    int rc = wt_devices_read(devices, i, what, ret_reading, err);
    if (rc != WT_E_IO)
        return rc;
    int64_t period_ns = wt_devices_info(devices, i)->traits.power_period_ns;
    if (period_ns <= 0 || period_ns > 100 * WT_NS_PER_MS)
        period_ns = 100 * WT_NS_PER_MS;
    ctx->clock.sleep_until_ns(ctx->clock.data, wt_ctx_now_ns(ctx) + 2 * period_ns);
    return wt_devices_read(devices, i, what, ret_reading, err);
}

static int add_device(struct wt_findings *list, struct wt_ctx *ctx, struct wt_devices *devices,
                      size_t i)
{
    const struct wt_device_info *info = wt_devices_info(devices, i);
    struct wt_reading reading;
    struct wt_error err;
    /* Where a part's own energy cannot be read, it is not lost: the whole's sensor sees it. */
    bool is_blind_part = info->is_part && info->kind == WT_DEVICE_GPU &&
                         !(info->can & (WT_CAN_ENERGY | WT_CAN_POWER));
    bool is_in_cpu = info->is_part && info->kind == WT_DEVICE_GPU &&
                     strncmp(info->part_of, "cpu", strlen("cpu")) == 0;
    int rc = wt_findings_add(list, WT_FINDING_OK, info->source, info->id, "device", "",
                             "%s%s%s%s%s%s%s", info->name, info->is_emulated ? ", EMULATED" : "",
                             *info->via ? ", read by way of " : "", info->via,
                             info->is_part ? ", a part, not in sums" : "",
                             is_in_cpu       ? "; its energy is in the processor's"
                             : is_blind_part ? "; its energy is in the card's"
                                             : "",
                             /* Some say it by their name. */
                             info->is_modeled ? (strstr(info->name, "modeled") ? "" : ", MODELED")
                             : info->is_part || info->is_counted ? ""
                                                                 : ", beside the total");
    if (rc == 0 && (info->can & WT_CAN_ENERGY)) {
        if (read_twice(ctx, devices, i, WT_READ_ENERGY, &reading, &err) == 0)
            rc = add_energy(list, info, &reading.energy);
        else
            rc = wt_findings_add_error(list, info->source, info->id, "energy counter", &err);
    }
    if (rc == 0 && (info->can & WT_CAN_POWER)) {
        if (read_twice(ctx, devices, i, WT_READ_POWER, &reading, &err) == 0)
            rc = add_power(list, info, &reading.power);
        else
            rc = wt_findings_add_error(list, info->source, info->id, "power", &err);
    }
    if (rc == 0 && *info->probed)
        rc = add_probed(list, info);
    if (rc == 0 && (info->can & WT_CAN_STATUS)) {
        if (read_twice(ctx, devices, i, WT_READ_STATUS, &reading, &err) == 0)
            rc = add_state(list, info, &reading.status);
        else
            rc = wt_findings_add_error(list, info->source, info->id, "state", &err);
    }
    return rc;
}

static int add_knob(struct wt_findings *list, struct wt_devices *devices, size_t i,
                    enum wt_knob knob, const char *what)
{
    const struct wt_device_info *info = wt_devices_info(devices, i);
    struct wt_knob_info k;
    struct wt_error err;
    char text[200] = "", value[48], range[160];
    int rc = wt_devices_knob(devices, i, knob, &k, &err);
    /* What a processor does not have and nothing will give it is no news. */
    if (rc == WT_E_UNSUPPORTED && info->kind != WT_DEVICE_GPU && !err.fix[0])
        return 0;
    if (rc < 0)
        return wt_findings_add_error(list, "knob", info->id, what, &err);
    if (k.is_mixed)
        add_detail(text, sizeof(text), "%s",
                   wt_knob_value_text(value, sizeof(value), knob, k.mixed_with));
    bool is_other_held = k.enforced != k.current;
    if (!k.is_lockable || k.current != 0)
        add_detail(text, sizeof(text), "%s%s",
                   wt_knob_value_text(value, sizeof(value), knob, k.current),
                   is_other_held ? " is set" : "");
    if (is_other_held)
        add_detail(text, sizeof(text), "%s in force",
                   wt_knob_value_text(value, sizeof(value), knob, k.enforced));
    add_detail(text, sizeof(text), "%s%s",
               k.values        ? "one of "
               : is_other_held ? "range "
                               : "",
               wt_knob_range_text(range, sizeof(range), &k));
    if (!k.is_lockable && k.def != k.current && !k.values)
        add_detail(text, sizeof(text), "default %s",
                   wt_knob_value_text(value, sizeof(value), knob, k.def));
    if (k.is_settable)
        return wt_findings_add(list, WT_FINDING_OK, "knob", info->id, what, "", "%s, settable",
                               text);
    return wt_findings_add(list, WT_FINDING_DENIED, "knob", info->id, what, k.fix, "%s; %s", text,
                           k.why_not);
}

/* A line a knob, in the order a person looks for them. */
static int add_knobs(struct wt_findings *list, struct wt_devices *devices, size_t i)
{
    static const struct {
        enum wt_knob knob;
        const char *what;
    } rows[] = {
        {WT_KNOB_POWER, "power limit"},      {WT_KNOB_CLOCK, "SM clock"},
        {WT_KNOB_MEMCLOCK, "memory clock"},  {WT_KNOB_CPU_POWER, "power limit"},
        {WT_KNOB_CPU_FREQ, "top frequency"}, {WT_KNOB_GOVERNOR, "governor"},
        {WT_KNOB_EPP, "preference"},         {WT_KNOB_DRAM_POWER, "power limit"},
    };
    const struct wt_device_info *info = wt_devices_info(devices, i);
    unsigned known = 0, unknown = 0;
    int rc = 0;
    for (size_t r = 0; rc == 0 && r < WT_COUNTOF(rows); r++) {
        if (info->is_part || wt_knob_kind(rows[r].knob) != info->kind)
            continue;
        if (!wt_knob_is_known(devices, i, rows[r].knob)) {
            unknown++;
            continue;
        }
        known++;
        rc = add_knob(list, devices, i, rows[r].knob,
                      rows[r].knob == WT_KNOB_CLOCK && strcmp(info->source, "nvml") != 0
                          ? "GPU clock"
                          : rows[r].what);
    }
    if (rc < 0 || !unknown || info->kind != WT_DEVICE_GPU)
        return rc;
    return wt_findings_add(list, WT_FINDING_MISSING, "knob", info->id,
                           known ? "clocks" : "settings", "", "Wattune sets none of %s",
                           strcmp(info->source, "intel_gpu") == 0 ? "Intel's GPUs yet"
                                                                  : "such a device");
}

/* Which machine is spoken of. */
static int add_machine(struct wt_findings *list, const struct wt_ctx *ctx)
{
    struct wt_machine m;
    char text[160] = "";
    wt_machine_look(ctx, &m);
    if (*m.board)
        add_detail(text, sizeof(text), "%s", m.board);
    if (*m.name)
        add_detail(text, sizeof(text), "%s", m.name);
    else if (m.is_arm)
        add_detail(text, sizeof(text), "ARM processor (implementer %s, part 0x%03x)", m.vendor,
                   m.model);
    else
        add_detail(text, sizeof(text), "%s", *m.vendor ? m.vendor : "unknown processor");
    if (m.sockets > 1)
        add_detail(text, sizeof(text), "%u sockets", m.sockets);
    add_detail(text, sizeof(text), "%u CPU%s", m.cpus, m.cpus == 1 ? "" : "s");
    if (m.is_virtual)
        add_detail(text, sizeof(text), "%s", m.virtual_name);
    if (*m.container)
        add_detail(text, sizeof(text), "in a container (%s)", m.container);
    if (wt_tree_is_recorded(ctx) && wt_findings_add(list, WT_FINDING_OK, "machine", "", "recorded",
                                                    "", "%s", wt_tree_title(ctx)) < 0)
        return WT_E_NOMEM;
    return wt_findings_add(list, WT_FINDING_OK, "machine", "", "machine", "", "%s", text);
}

/* Where runs will be kept: the folder itself, or the first one above it that is there. */
static int add_store(struct wt_findings *list)
{
    char dir[4096], at[4096];
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (!home || *home != '/') {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : NULL;
    }
    if (data && *data == '/')
        wt_text(dir, sizeof(dir), "%s/wattune", data);
    else if (home && *home == '/')
        wt_text(dir, sizeof(dir), "%s/.local/share/wattune", home);
    else
        return wt_findings_add(list, WT_FINDING_MISSING, "store", "", "stored runs",
                               "set XDG_DATA_HOME to a folder of yours", "no home directory");
    wt_text(at, sizeof(at), "%s", dir);
    while (access(at, F_OK) < 0 && errno == ENOENT && strrchr(at, '/') != at)
        *strrchr(at, '/') = '\0';
    if (access(at, W_OK | X_OK) < 0) {
        struct wt_error err;
        wt_fail_errno(&err, errno, "%s", at);
        wt_fix(&err, "make it yours and writable, or set XDG_DATA_HOME to a folder that is");
        return wt_findings_add_error(list, "store", "", "stored runs", &err);
    }
    struct statvfs fs;
    if (statvfs(at, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < STORE_MIN_BYTES)
        return wt_findings_add(list, WT_FINDING_BROKEN, "store", "", "stored runs",
                               "free some space, or set XDG_DATA_HOME to another disk",
                               "%s: only %.1f MB free", dir,
                               (double)fs.f_bavail * (double)fs.f_frsize * 1e-6);
    return wt_findings_add(list, WT_FINDING_OK, "store", "", "stored runs", "", "%s", dir);
}

static int add_emulator(struct wt_findings *list)
{
    char path[4096];
    struct wt_error err;
    if (wt_helper_path("libnvidia-ml.so.1", path, sizeof(path), &err) < 0)
        return wt_findings_add_error(list, "emulator", "", "emulated GPUs", &err);
    return wt_findings_add(list, WT_FINDING_OK, "emulator", "", "emulated GPUs", "",
                           "there: --emulate PROFILE");
}

/* The listed device that a note's device is in, by its id: "cpu-package-0" of "cpu-package-0-core".
 * NULL: none. */
static const struct wt_device_info *whole_of(const struct wt_devices *devices, const char *id)
{
    const struct wt_device_info *whole = NULL;
    for (size_t i = 0; i < wt_devices_count(devices); i++) {
        const struct wt_device_info *info = wt_devices_info(devices, i);
        size_t n = strlen(info->id);
        if (strncmp(id, info->id, n) == 0 && (id[n] == '\0' || id[n] == '-') &&
            (!whole || n > strlen(whole->id)))
            whole = info;
    }
    return whole;
}

/* Of a device that something else measures, a counter that may not be read is no loss. */
static int add_note(struct wt_findings *list, const struct wt_finding *f,
                    const struct wt_device_info *of)
{
    if (of && (of->can & WT_CAN_ENERGY) && !of->is_modeled && strcmp(of->id, f->device) == 0 &&
        strcmp(of->source, f->source) != 0 && strcmp(f->what, "energy counter") == 0)
        return wt_findings_add(list, WT_FINDING_MISSING, f->source, f->device, "second counter",
                               f->fix, "by %s: %s", f->source, f->value);
    /* Memory that is modeled as one thing is one, whatever its sensors are called. */
    bool is_memory = of && of->is_modeled && of->kind == WT_DEVICE_DRAM;
    return wt_findings_add(list, f->kind, f->source, is_memory ? of->id : f->device, f->what,
                           f->fix, "%s", f->value);
}

/* What was noted when the set was opened: of nothing listed (info NULL), of a device (is_inside
 * false), or of what lies in it. Of no device at all is what comes first (is_inside false). */
static int add_notes(struct wt_findings *list, const struct wt_findings *notes,
                     const struct wt_devices *devices, const struct wt_device_info *info,
                     bool is_inside)
{
    int rc = 0;
    for (size_t k = 0; rc == 0 && k < notes->count; k++) {
        const struct wt_finding *f = &notes->list[k];
        const struct wt_device_info *of = *f->device ? whole_of(devices, f->device) : NULL;
        bool is_own = of && (strcmp(of->id, f->device) == 0 ||
                             (of->is_modeled && of->kind == WT_DEVICE_DRAM));
        if (of == info && (info ? is_own != is_inside : !*f->device != is_inside))
            rc = add_note(list, f, of);
    }
    return rc;
}

/* Everything of one device, and what is known of its parts that cannot be read. */
static int add_all_of(struct wt_findings *list, struct wt_ctx *ctx, struct wt_devices *devices,
                      size_t i)
{
    const struct wt_findings *notes = wt_devices_notes(devices);
    const struct wt_device_info *info = wt_devices_info(devices, i);
    size_t first = list->count;
    int rc = add_device(list, ctx, devices, i);
    if (rc == 0)
        rc = add_notes(list, notes, devices, info, false);
    if (rc == 0)
        rc = add_knobs(list, devices, i);
    for (size_t k = first; k < list->count; k++)
        list->list[k].is_part = info->is_part;
    return rc < 0 ? rc : add_notes(list, notes, devices, info, true);
}

int wt_survey(struct wt_ctx *ctx, struct wt_devices *devices, struct wt_finding **ret_findings,
              size_t *ret_count, struct wt_error *err)
{
    struct wt_findings list = {0};
    const struct wt_findings *notes = wt_devices_notes(devices);
    int rc = add_machine(&list, ctx);
    rc = rc < 0 ? rc : add_notes(&list, notes, devices, NULL, false);
    for (size_t i = 0; rc == 0 && i < wt_devices_count(devices); i++)
        rc = add_all_of(&list, ctx, devices, i);
    rc = rc < 0 ? rc : add_notes(&list, notes, devices, NULL, true);
    /* Of a recorded machine nothing is said that is this one's. */
    if (rc == 0 && !wt_tree_is_recorded(ctx))
        rc = add_store(&list);
    if (rc == 0 && !wt_tree_is_recorded(ctx))
        rc = add_emulator(&list);
    if (rc < 0) {
        wt_findings_done(&list);
        return wt_fail(err, rc, "no memory for what was found");
    }
    *ret_findings = list.list;
    *ret_count = list.count;
    return 0;
}

/* ---- what it comes to ---- */

struct wt_survey_sum wt_survey_sum(const struct wt_finding *findings, size_t count)
{
    struct wt_survey_sum sum = {0};
    const char *last = ""; /* the lines of a device stand together */
    for (size_t i = 0; i < count; i++) {
        const struct wt_finding *f = &findings[i];
        bool is_ok = f->kind == WT_FINDING_OK;
        if (is_ok && *f->device && !f->is_part && strcmp(f->device, last) != 0 &&
            (strcmp(f->what, "energy counter") == 0 || strcmp(f->what, "power") == 0)) {
            if (strcmp(f->source, "model") == 0)
                sum.modeled++;
            else
                sum.measurable++;
            last = f->device;
        }
        if (strcmp(f->source, "knob") == 0 && (is_ok || f->kind == WT_FINDING_DENIED)) {
            sum.knobs++;
            sum.settable += is_ok;
        }
    }
    return sum;
}

static json_t *device_to_json(const struct wt_device_info *info)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:b, s:s}", "id", info->id, "name",
                     info->name, "kind", wt_device_kind_name(info->kind), "source", info->source,
                     "driver", info->driver, "via", info->via, "index", (int)info->index,
                     "is_emulated", (int)info->is_emulated, "is_part", (int)info->is_part,
                     "part_of", info->part_of);
}

static json_t *finding_to_json(const struct wt_finding *f)
{
    static const char *const kinds[] = {
        [WT_FINDING_OK] = "ok",
        [WT_FINDING_MISSING] = "missing",
        [WT_FINDING_DENIED] = "denied",
        [WT_FINDING_BROKEN] = "broken",
    };
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kind", kinds[f->kind], "source", f->source,
                     "device", f->device, "what", f->what, "value", f->value, "fix", f->fix);
}

char *wt_survey_to_json(const struct wt_devices *devices, const struct wt_finding *findings,
                        size_t count)
{
    struct wt_survey_sum sum = wt_survey_sum(findings, count);
    json_t *found = json_array(), *listed = json_array();
    bool is_emulated = false;
    int failed = 0;
    for (size_t i = 0; i < wt_devices_count(devices); i++) {
        const struct wt_device_info *info = wt_devices_info(devices, i);
        is_emulated |= info->is_emulated;
        failed |= json_array_append_new(listed, device_to_json(info));
    }
    for (size_t i = 0; i < count; i++)
        failed |= json_array_append_new(found, finding_to_json(&findings[i]));
    json_t *root =
        json_pack("{s:b, s:I, s:I, s:I, s:o, s:o}", "is_emulated", (int)is_emulated, "measurable",
                  (json_int_t)sum.measurable, "modeled", (json_int_t)sum.modeled, "settable",
                  (json_int_t)sum.settable, "devices", listed, "findings", found);
    if (failed || !root) {
        json_decref(root);
        return NULL;
    }
    return wt_json_dump(root);
}
