/* machines: every recorded machine of machines/, through one contract for sensors, one for
 * settings, and the golden output of doctor.
 *
 * The contracts ask nothing of a machine in particular: whatever is found on it has to hold them.
 * WATTUNE_UPDATE=1 writes doctor.txt anew; the difference is then to be read before it is kept. */
#include <dirent.h>
#include <jansson.h>

#include "bed.h"
#include "knob/knob.h"
#include "spawned.h"

#define NOISE_BYTES (1 << 20)
#define FILES_MAX   64

static char **machines;
static size_t machine_count;
static char *noise; /* a megabyte */

struct machine {
    struct bed bed;
    const char *name;
    /* what the last watched call looked at */
    char files[FILES_MAX][256];
    size_t file_count;
};

static void watch(void *data, const char *path, bool is_dir, int rc, int errnum, const char *text)
{
    struct machine *m = data;
    (void)rc;
    (void)errnum;
    (void)text;
    for (size_t i = 0; i < m->file_count; i++)
        if (strcmp(m->files[i], path) == 0)
            return;
    if (!is_dir && m->file_count < FILES_MAX)
        wt_text(m->files[m->file_count++], sizeof(m->files[0]), "%s", path);
}

static void start(struct machine *m)
{
    if (bed_renew(&m->bed) < 0 ||
        wt_devices_open(&m->bed.devices, m->bed.ctx, NULL, &m->bed.err) < 0)
        fail_msg("%s: %s", m->name, m->bed.err.text);
}

static void each_machine(void (*fn)(struct machine *m))
{
    for (size_t i = 0; i < machine_count; i++) {
        struct machine m = {.name = machines[i]};
        char from[1024];
        bed_init(&m.bed);
        tree_copy(wt_text(from, sizeof(from), "%s/%s", WT_MACHINES, m.name), m.bed.root);
        start(&m);
        fn(&m);
        bed_done(&m.bed);
    }
}

/* Reads after two seconds, longer than any source's own pace. */
static int read_device(struct machine *m, size_t i, struct wt_reading *ret, struct wt_error *err)
{
    m->bed.now_ns += 2 * WT_NS_PER_S;
    unsigned what = wt_devices_info(m->bed.devices, i)->can & (WT_CAN_ENERGY | WT_CAN_POWER);
    return wt_devices_read(m->bed.devices, i, what, ret, err);
}

/* ---- sensors ---- */

static void probe(struct machine *m)
{
    for (size_t i = 0; i < wt_devices_count(m->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(m->bed.devices, i);
        if (!*info->id || !*info->name || !*info->source || info->is_emulated)
            fail_msg("%s: device %zu is \"%s\", \"%s\" of \"%s\"", m->name, i, info->id, info->name,
                     info->source);
        for (size_t k = 0; k < i; k++)
            if (strcmp(wt_devices_info(m->bed.devices, k)->id, info->id) == 0)
                fail_msg("%s: two devices are called %s", m->name, info->id);
        if (info->is_counted && (info->is_part || !(info->can & (WT_CAN_ENERGY | WT_CAN_POWER))))
            fail_msg("%s: %s is counted, and cannot be", m->name, info->id);
    }
}

static void what_is_found_has_a_name_of_its_own(void **state)
{
    (void)state;
    each_machine(probe);
}

static void check_states(const struct machine *m, size_t i, const struct wt_reading *r)
{
    const struct wt_device_info *info = wt_devices_info(m->bed.devices, i);
    enum wt_state wanted = info->is_modeled ? WT_MODELED : WT_REPLAYED;
    if ((r->energy.state != WT_ABSENT && r->energy.state != wanted) ||
        (r->power.state != WT_ABSENT && r->power.state != wanted))
        fail_msg("%s: %s: a recorded reading is not called so", m->name, info->id);
}

static void read_all(struct machine *m)
{
    struct wt_reading r;
    struct wt_error err;
    for (size_t i = 0; i < wt_devices_count(m->bed.devices); i++) {
        int rc = read_device(m, i, &r, &err);
        if (rc < 0 && rc != WT_E_STATE) /* a battery on the mains sees no load */
            fail_msg("%s: %s: %s", m->name, wt_devices_info(m->bed.devices, i)->id, err.text);
        check_states(m, i, &r);
    }
}

static void what_is_found_can_be_read_and_is_called_recorded(void **state)
{
    (void)state;
    each_machine(read_all);
}

/* Under a fault: an error and no number, or the number that was there before. */
static void check_fault(struct machine *m, size_t i, const struct wt_reading *before,
                        const char *path, const char *fault)
{
    struct wt_reading r;
    struct wt_error err = {0};
    const struct wt_device_info *info = wt_devices_info(m->bed.devices, i);
    int rc = read_device(m, i, &r, &err);
    check_states(m, i, &r);
    bool is_whole = (r.energy.state != WT_ABSENT || before->energy.state == WT_ABSENT) &&
                    (r.power.state != WT_ABSENT || before->power.state == WT_ABSENT);
    if (rc == 0 && !is_whole)
        fail_msg("%s: %s: %s with %s: success without a number", m->name, info->id, path, fault);
    if (rc < 0 && (!*err.text || err.code != rc))
        fail_msg("%s: %s: %s with %s: no story to %s", m->name, info->id, path, fault,
                 wt_error_name(rc));
    if (info->is_modeled)
        return; /* the load of a frozen recording may be anything, and is bounded elsewhere */
    if ((r.energy.state != WT_ABSENT && r.energy.uj != before->energy.uj) ||
        (r.power.state != WT_ABSENT && r.power.mw != before->power.mw))
        fail_msg("%s: %s: %s with %s: %llu uJ and %llu mW instead of %llu and %llu", m->name,
                 info->id, path, fault, (unsigned long long)r.energy.uj,
                 (unsigned long long)r.power.mw, (unsigned long long)before->energy.uj,
                 (unsigned long long)before->power.mw);
}

static void damage(struct machine *m, size_t i)
{
    static const struct {
        const char *name;
        int errnum;
        const char *text; /* NULL with errnum 0: the file goes; "noise": a megabyte */
    } faults[] = {
        {"EACCES", EACCES, NULL}, {"EIO", EIO, NULL},       {"ENODEV", ENODEV, NULL},
        {"no file", 0, NULL},     {"an empty file", 0, ""}, {"a word", 0, "garbage\n"},
        {"noise", 0, "noise"},    {"a NUL", 0, "\001\n"},
    };
    struct wt_reading before, after;
    const char *id = wt_devices_info(m->bed.devices, i)->id;
    m->file_count = 0;
    m->bed.ctx->watch = watch;
    m->bed.ctx->watch_data = m;
    int rc = read_device(m, i, &before, NULL);
    m->bed.ctx->watch = NULL;
    for (size_t f = 0; f < m->file_count; f++) {
        const char *path = m->files[f];
        char *was = tree_get(m->bed.root, path);
        if (!was)
            continue; /* refused in the recording, or not there */
        for (size_t k = 0; k < WT_COUNTOF(faults); k++) {
            if (faults[k].errnum)
                assert_int_equal(wt_tree_fault(m->bed.ctx, path, faults[k].errnum), 0);
            else if (!faults[k].text)
                tree_remove(m->bed.root, path);
            else
                bed_put(&m->bed, path,
                        strcmp(faults[k].text, "noise") == 0 ? noise : faults[k].text);
            check_fault(m, i, &before, path, faults[k].name);
            assert_int_equal(wt_tree_fault(m->bed.ctx, path, 0), 0);
            bed_put(&m->bed, path, was);
        }
        free(was);
        if (read_device(m, i, &after, NULL) != rc ||
            (!wt_devices_info(m->bed.devices, i)->is_modeled &&
             (after.energy.uj != before.energy.uj || after.power.mw != before.power.mw)))
            fail_msg("%s: %s: %s: it does not come back after its faults", m->name, id, path);
    }
}

static void damage_all(struct machine *m)
{
    for (size_t i = 0; i < wt_devices_count(m->bed.devices); i++)
        damage(m, i);
}

static void no_fault_of_a_file_makes_a_wrong_number(void **state)
{
    (void)state;
    each_machine(damage_all);
}

/* A counter near its range goes on over it; what was drawn is added once. */
static void wrap(struct machine *m)
{
    for (size_t i = 0; i < wt_devices_count(m->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(m->bed.devices, i);
        uint64_t range_uj = info->traits.energy_range_uj;
        struct wt_reading high, low;
        char text[32];
        if (!(info->can & WT_CAN_ENERGY) || !range_uj || strcmp(info->source, "rapl") != 0)
            continue;
        m->file_count = 0;
        m->bed.ctx->watch = watch;
        m->bed.ctx->watch_data = m;
        assert_int_equal(read_device(m, i, &high, NULL), 0);
        m->bed.ctx->watch = NULL;
        assert_int_equal(m->file_count, 1);
        wt_text(text, sizeof(text), "%llu\n", (unsigned long long)(range_uj - 1000000));
        bed_put(&m->bed, m->files[0], text);
        assert_int_equal(read_device(m, i, &high, NULL), 0);
        bed_put(&m->bed, m->files[0], "2000000\n");
        assert_int_equal(read_device(m, i, &low, NULL), 0);
        if (low.energy.uj - high.energy.uj != 3000000)
            fail_msg("%s: %s: a wrap of 3 J became %lld uJ", m->name, info->id,
                     (long long)(low.energy.uj - high.energy.uj));
    }
}

static void a_counter_that_wraps_goes_on(void **state)
{
    (void)state;
    each_machine(wrap);
}

static void reopen(struct machine *m)
{
    char ids[128][96];
    size_t count = wt_devices_count(m->bed.devices);
    assert_true(count <= 128);
    for (size_t i = 0; i < count; i++)
        wt_text(ids[i], sizeof(ids[i]), "%s", wt_devices_info(m->bed.devices, i)->id);
    start(m);
    assert_int_equal(wt_devices_count(m->bed.devices), count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(wt_devices_info(m->bed.devices, i)->id, ids[i]);
}

static void opened_again_it_is_the_same(void **state)
{
    (void)state;
    each_machine(reopen);
}

/* ---- settings ---- */

/* Another value that the knob takes, or the same when there is no other. */
static int64_t other_value(const struct wt_knob_info *k)
{
    if (k->values) { /* named ones: the lowest there is beside the present */
        for (int64_t v = 1; v < 64; v++)
            if ((k->values >> v & 1) && v != k->current)
                return v;
        return k->current;
    }
    int64_t value = k->min + (k->max - k->min) / 2;
    value -= value % (k->step > 0 ? k->step : 1);
    if (value < k->min)
        value = k->min;
    return value != k->current ? value : k->max;
}

static void check_knob(struct machine *m, size_t i, enum wt_knob knob)
{
    struct wt_knob_info k, now;
    struct wt_knob_found found;
    struct wt_error err = {0};
    const char *id = wt_devices_info(m->bed.devices, i)->id, *name = wt_knob_name(knob);
    int rc = wt_devices_knob(m->bed.devices, i, knob, &k, &err);
    if (rc < 0) {
        if (!*err.text)
            fail_msg("%s: %s: %s: refused without a reason", m->name, id, name);
        return;
    }
    if (k.min > k.max || (!k.values && k.step <= 0))
        fail_msg("%s: %s: %s: %lld to %lld in steps of %lld", m->name, id, name, (long long)k.min,
                 (long long)k.max, (long long)k.step);
    if (wt_knob_snapshot(m->bed.devices, i, knob, &found, &err) < 0)
        fail_msg("%s: %s: %s: described, and then: %s", m->name, id, name, err.text);
    int64_t value = other_value(&k);
    /* A level is written into the file that lists the levels: a plain file forgets them, a kernel
     * does not. tests/test_knob_files.c plays the kernel. */
    bool is_level = strcmp(wt_devices_info(m->bed.devices, i)->source, "amdgpu") == 0 &&
                    (knob == WT_KNOB_CLOCK || knob == WT_KNOB_MEMCLOCK);
    if (is_level)
        return;
    if (!k.is_settable) {
        if (!*k.why_not || !*k.fix)
            fail_msg("%s: %s: %s: not settable, without a reason and a cure", m->name, id, name);
        /* Whose rights are missing is refused; what else stands in the way, the lease asks for. */
        bool is_denied =
            wt_tree_uid(m->bed.ctx) != 0 || wt_tree_is_readonly(m->bed.ctx, "/sys/class");
        rc = is_denied ? wt_knob_set(m->bed.devices, i, knob, value, NULL, &err) : WT_E_DENIED;
        if (rc != WT_E_DENIED && rc != WT_E_STATE && rc != WT_E_BUSY && rc != WT_E_RANGE)
            fail_msg("%s: %s: %s: set although it is not settable (%d)", m->name, id, name, rc);
    } else {
        rc = wt_knob_set(m->bed.devices, i, knob, value, NULL, &err);
        if (rc == WT_E_RANGE) /* not every value in between: the levels of a clock */
            rc = wt_knob_set(m->bed.devices, i, knob, value = k.max, NULL, &err);
        if (rc < 0)
            fail_msg("%s: %s: %s: %s", m->name, id, name, err.text);
        if (wt_devices_knob(m->bed.devices, i, knob, &now, &err) < 0)
            fail_msg("%s: %s: %s: set, and then: %s", m->name, id, name, err.text);
        if (now.current != value)
            fail_msg("%s: %s: %s: set to %lld, reads %lld", m->name, id, name, (long long)value,
                     (long long)now.current);
        rc = wt_knob_set(m->bed.devices, i, knob, k.max + 1000000000, NULL, &err);
        if (rc != WT_E_RANGE)
            fail_msg("%s: %s: %s: a value out of range is %s", m->name, id, name,
                     wt_error_name(rc));
        if (wt_knob_restore(m->bed.devices, i, knob, &found, &err) < 0)
            fail_msg("%s: %s: %s: %s", m->name, id, name, err.text);
    }
    if (wt_devices_knob(m->bed.devices, i, knob, &now, &err) < 0)
        fail_msg("%s: %s: %s: at the end: %s", m->name, id, name, err.text);
    if (now.current != k.current)
        fail_msg("%s: %s: %s: found %lld, left %lld", m->name, id, name, (long long)k.current,
                 (long long)now.current);
}

static void check_knobs(struct machine *m)
{
    for (size_t i = 0; i < wt_devices_count(m->bed.devices); i++)
        for (int knob = 1; knob < WT_KNOB_COUNT; knob++)
            check_knob(m, i, (enum wt_knob)knob);
}

static void what_is_set_is_verified_and_put_back(void **state)
{
    (void)state;
    each_machine(check_knobs);
}

/* ---- doctor ---- */

static void doctor_says_what_it_said(void **state)
{
    (void)state;
    char home[64];
    spawn_home(home, sizeof(home));
    bool is_updating = getenv("WATTUNE_UPDATE") != NULL;
    for (size_t m = 0; m < machine_count; m++) {
        char root[1024];
        struct spawned s;
        wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, machines[m]);
        spawn_run(&s, home, "wattune", "doctor", "--sysroot", root);
        char *golden = tree_get(root, "/doctor.txt");
        if (is_updating)
            tree_put(root, "/doctor.txt", s.out);
        else if (!golden || strcmp(golden, s.out) != 0)
            fail_msg("%s: doctor says\n%s\nand not what is in doctor.txt\n%s", machines[m], s.out,
                     golden ? golden : "(none)");
        free(golden);
        spawn_done(&s);
    }
    spawn_home_done(home);
}

/* Longer than the terminal is only what cannot be broken: a word alone in its line, or alone below
 * what a line begins with. */
static void check_width(const char *machine, char *line, unsigned columns)
{
    size_t length = strlen(line);
    if (length <= columns)
        return;
    if (length > 2 && strcmp(line + length - 2, " \\") == 0)
        line[length - 2] = '\0'; /* of a command */
    const char *last = strrchr(line, ' ');
    size_t indent = strspn(line, " ");
    bool is_alone = !last || (size_t)(last - line) + 1 == indent || last - line + 1 == 26;
    if (!is_alone)
        fail_msg("%s: more than %u columns: %s", machine, columns, line);
}

static void doctor_keeps_to_the_terminal(void **state)
{
    (void)state;
    char home[64];
    static const struct {
        const char *columns;
        unsigned count;
    } rows[] = {{"60", 60}, {"80", 80}, {"100", 100}};
    spawn_home(home, sizeof(home));
    for (size_t r = 0; r < WT_COUNTOF(rows); r++) {
        setenv("COLUMNS", rows[r].columns, 1);
        for (size_t m = 0; m < machine_count; m++) {
            char root[1024];
            struct spawned s;
            wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, machines[m]);
            spawn_run(&s, home, "wattune", "doctor", "--sysroot", root);
            for (char *rest = s.out, *line; (line = strsep(&rest, "\n"));)
                check_width(machines[m], line, rows[r].count);
            spawn_done(&s);
        }
    }
    unsetenv("COLUMNS");
    spawn_home_done(home);
}

/* "cpu-freq=2200,2800,3400 -- YOUR COMMAND": rising values that some device takes, each on its step
 * or at its highest. */
static void check_suggestion(struct machine *m, const char *text)
{
    enum wt_knob knob;
    char name[32], word[32];
    wt_text(name, sizeof(name), "%.*s", (int)strcspn(text, "="), text);
    assert_int_equal(wt_knob_from_name(name, &knob), 0);
    struct wt_knob_info k = {0};
    for (size_t i = 0; !k.is_settable && i < wt_devices_count(m->bed.devices); i++)
        if (wt_devices_knob(m->bed.devices, i, knob, &k, NULL) < 0)
            k.is_settable = false;
    assert_true(k.is_settable);
    int64_t last = -1, value;
    const char *p = text + strlen(name) + 1;
    if (strncmp(p, "auto ", 5) == 0)
        return;
    for (unsigned count = 0;; count++, p++) {
        size_t n = strcspn(p, ", ");
        wt_text(word, sizeof(word), "%.*s", (int)n, p);
        if (wt_knob_value_parse(knob, word, &value) < 0 || value <= last ||
            !wt_knob_takes(&k, value) ||
            (value != k.max && (value - k.min) % k.step != 0 && value % k.step != 0))
            fail_msg("%s: doctor suggests %s", m->name, text);
        last = value;
        p += n;
        if (*p != ',') {
            assert_true(count > 0);
            return;
        }
    }
}

static void what_doctor_suggests_can_be_set(void **state)
{
    (void)state;
    char home[64];
    spawn_home(home, sizeof(home));
    for (size_t m = 0; m < machine_count; m++) {
        struct machine machine = {.name = machines[m]};
        struct spawned s;
        char root[1024];
        wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, machines[m]);
        spawn_run(&s, home, "wattune", "doctor", "--sysroot", root);
        const char *sweep = strstr(s.out, "wattune sweep --set ");
        bed_init(&machine.bed);
        tree_copy(root, machine.bed.root);
        start(&machine);
        if (sweep)
            check_suggestion(&machine, sweep + strlen("wattune sweep --set "));
        bed_done(&machine.bed);
        spawn_done(&s);
    }
    spawn_home_done(home);
}

static const char *text_of(const json_t *f, const char *key)
{
    return json_string_value(json_object_get(f, key));
}

static void each_line_is_a_value_or_the_reason_and_the_cure(void **state)
{
    (void)state;
    char home[64];
    spawn_home(home, sizeof(home));
    for (size_t m = 0; m < machine_count; m++) {
        char root[1024];
        struct spawned s;
        wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, machines[m]);
        spawn_run(&s, home, "wattune", "doctor", "--json", "--sysroot", root);
        json_t *doc = json_loads(s.out, 0, NULL);
        assert_non_null(doc);
        size_t i;
        const json_t *f;
        json_array_foreach(json_object_get(doc, "findings"), i, f)
        {
            bool is_denied = strcmp(text_of(f, "kind"), "denied") == 0;
            if (!*text_of(f, "value") || (is_denied && !*text_of(f, "fix")))
                fail_msg("%s: %s of \"%s\": \"%s\", cure \"%s\"", machines[m], text_of(f, "what"),
                         text_of(f, "device"), text_of(f, "value"), text_of(f, "fix"));
        }
        json_decref(doc);
        spawn_done(&s);
    }
    spawn_home_done(home);
}

/* ---- gather ---- */

/* What was gathered of a recorded machine says the same as the machine. */
static void gathered_and_played_back_it_says_the_same(void **state)
{
    (void)state;
    char home[64];
    spawn_home(home, sizeof(home));
    for (size_t m = 0; m < machine_count; m++) {
        char root[1024], archive[128], folder[128];
        struct spawned s, here, there;
        wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, machines[m]);
        wt_text(archive, sizeof(archive), "%s/%s.tar.gz", home, machines[m]);
        wt_text(folder, sizeof(folder), "%s/machine", home);
        spawn_run(&here, home, "wattune", "doctor", "--sysroot", root);
        char title[200] = "";
        const char *recorded = strstr(here.out, "recorded");
        wt_text(title, sizeof(title), "%s", recorded ? "" : "");
        char *manifest = tree_get(root, "/machine.txt");
        assert_non_null(manifest);
        const char *line = strstr(manifest, "\ntitle: ");
        assert_non_null(line);
        wt_text(title, sizeof(title), "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
        free(manifest);
        spawn_run(&s, home, "wattune", "gather", "--sysroot", root, "--output", archive, "--title",
                  title);
        if (spawn_code(&s) != 0)
            fail_msg("%s: gather: %s", machines[m], s.err);
        spawn_done(&s);
        spawn_run(&s, home, "tar", "-xzf", archive, "-C", home);
        assert_int_equal(spawn_code(&s), 0);
        spawn_done(&s);
        spawn_run(&there, home, "wattune", "doctor", "--sysroot", folder);
        if (strcmp(here.out, there.out) != 0)
            fail_msg("%s: doctor says\n%s\nand of what was gathered\n%s", machines[m], here.out,
                     there.out);
        char *kept = tree_get(folder, "/doctor.txt");
        assert_non_null(kept);
        assert_string_equal(kept, here.out);
        free(kept);
        spawn_done(&here);
        spawn_done(&there);
        tree_done(folder);
    }
    spawn_home_done(home);
}

static void a_root_that_is_none_is_a_mistake(void **state)
{
    (void)state;
    char home[64], file[128], option[160];
    spawn_home(home, sizeof(home));
    tree_put(home, "/a-file", "");
    wt_text(file, sizeof(file), "%s/a-file", home);
    wt_text(option, sizeof(option), "--sysroot=%s/nothing", home);
    const struct {
        const char *argv[6];
        int want;
        const char *says;
    } rows[] = {
        {{"wattune", "doctor", "--sysroot="}, 2, "the name of a directory is missing"},
        {{"wattune", "gather", "--sysroot="}, 2, "the name of a directory is missing"},
        {{"wattune", "set", "--sysroot=", "power=150"}, 2, "the name of a directory is missing"},
        {{"wattune", "doctor", "--sysroot", file}, 4, "a-file is no directory"},
        {{"wattune", "doctor", option}, 4, "nothing: no such directory"},
        {{"wattune", "gather", "--no-such-option"}, 2, "--help"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_start(&s, home, rows[i].argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].says))
            fail_msg("%s %s: %d, %s", rows[i].argv[1], rows[i].argv[2], spawn_code(&s), s.err);
        spawn_done(&s);
    }
    spawn_home_done(home);
}

static void gathered_of_a_recording_keeps_its_origin(void **state)
{
    (void)state;
    char home[64], archive[128], folder[128], root[1024];
    struct spawned s;
    spawn_home(home, sizeof(home));
    wt_text(archive, sizeof(archive), "%s/a.tar.gz", home);
    wt_text(folder, sizeof(folder), "%s/machine", home);
    wt_text(root, sizeof(root), "%s/grace", WT_MACHINES);
    spawn_run(&s, home, "wattune", "gather", "--sysroot", root, "--output", archive);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "tar", "-xzf", archive, "-C", home);
    spawn_done(&s);
    char *was = tree_get(root, "/machine.txt"), *is = tree_get(folder, "/machine.txt");
    char *origin = strstr(was, "\norigin: ") + strlen("\norigin: ");
    *strchr(origin, '\n') = '\0';
    if (!strstr(is, origin) || !strstr(is, "from a recording: "))
        fail_msg("%s", is);
    free(was);
    free(is);
    tree_done(folder);
    assert_int_equal(unlink(archive), 0);
    spawn_run(&s, home, "wattune", "gather", "--help");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    /* And of a folder that is no machine there is nothing to keep. */
    spawn_run(&s, home, "wattune", "gather", "--sysroot", home, "--output", archive);
    assert_int_equal(spawn_code(&s), 1);
    if (!strstr(s.err, "nothing of a machine"))
        fail_msg("%s", s.err);
    assert_int_not_equal(access(archive, F_OK), 0);
    spawn_done(&s);
    spawn_home_done(home);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(void)
{
    char **names;
    size_t count;
    if (wt_fs_list(NULL, WT_MACHINES, &names, &count, NULL) < 0)
        return 1;
    machines = names;
    for (size_t i = 0; i < count; i++) {
        char path[1024];
        wt_text(path, sizeof(path), "%s/%s/machine.txt", WT_MACHINES, names[i]);
        if (access(path, R_OK) == 0) {
            char *swap = names[machine_count];
            names[machine_count++] = names[i];
            names[i] = swap;
        }
    }
    qsort(machines, machine_count, sizeof(*machines), by_name);
    noise = malloc(NOISE_BYTES + 1);
    if (machine_count < 12 || !noise)
        return 1;
    for (size_t i = 0; i < NOISE_BYTES; i++)
        noise[i] = (char)(33 + (i * 2654435761u >> 7) % 90);
    noise[NOISE_BYTES] = '\0';
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_has_a_name_of_its_own),
        cmocka_unit_test(what_is_found_can_be_read_and_is_called_recorded),
        cmocka_unit_test(no_fault_of_a_file_makes_a_wrong_number),
        cmocka_unit_test(a_counter_that_wraps_goes_on),
        cmocka_unit_test(opened_again_it_is_the_same),
        cmocka_unit_test(what_is_set_is_verified_and_put_back),
        cmocka_unit_test(doctor_says_what_it_said),
        cmocka_unit_test(doctor_keeps_to_the_terminal),
        cmocka_unit_test(what_doctor_suggests_can_be_set),
        cmocka_unit_test(each_line_is_a_value_or_the_reason_and_the_cure),
        cmocka_unit_test(a_root_that_is_none_is_a_mistake),
        cmocka_unit_test(gathered_and_played_back_it_says_the_same),
        cmocka_unit_test(gathered_of_a_recording_keeps_its_origin),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    wt_fs_list_free(names, count);
    free(noise);
    return failed;
}
