/* probed: the files in which `wattune probe` keeps what it found. See the header. */
#include "sensor/probed.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION    1
#define BYTES_MAX  (1 << 20)
#define PERIOD_MAX (60 * WT_NS_PER_S)

/* ---- where ---- */

static int folder(bool is_emulated, char *buf, size_t size, struct wt_error *err)
{
    const char *dir = getenv(is_emulated ? "WATTUNE_EMULATION" : "XDG_DATA_HOME");
    if (is_emulated) {
        if (!dir || *dir != '/')
            return wt_fail(err, WT_E_NOTFOUND, "no emulation to keep it in");
        wt_text(buf, size, "%s/sensors", dir);
        return 0;
    }
    if (dir && *dir == '/') {
        wt_text(buf, size, "%s/wattune/sensors", dir);
        return 0;
    }
    const char *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char text[4096];
    if ((!home || *home != '/') && getpwuid_r(getuid(), &entry, text, sizeof(text), &found) == 0 &&
        found)
        home = found->pw_dir;
    if (!home || *home != '/') {
        wt_fail(err, WT_E_NOTFOUND, "no home directory to keep it in");
        wt_fix(err, "set XDG_DATA_HOME to a folder of yours");
        return WT_E_NOTFOUND;
    }
    wt_text(buf, size, "%s/.local/share/wattune/sensors", home);
    return 0;
}

static bool is_uuid(const char *id)
{
    return strncmp(id, "GPU-", 4) == 0 || strncmp(id, "MIG-", 4) == 0;
}

/* FNV-1a: the machine's id itself is not to be shown around. */
static uint64_t digest(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

static int path_of(const struct wt_ctx *ctx, const struct wt_device_info *info, char *buf,
                   size_t size, struct wt_error *err)
{
    char dir[3900], name[128], machine[128], suffix[32] = "";
    int rc = folder(info->is_emulated, dir, sizeof(dir), err);
    if (rc < 0)
        return rc;
    wt_text(name, sizeof(name), "%s", info->id);
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
            *p = '_';
    if (!is_uuid(info->id)) {
        rc = wt_fs_read(ctx, "/etc/machine-id", machine, sizeof(machine), NULL);
        if (rc < 0 || !*machine)
            return wt_fail(err, WT_E_NOTFOUND,
                           "%s is no unique name, and this machine has none (/etc/machine-id)",
                           info->id);
        wt_text(suffix, sizeof(suffix), "@%016llx", (unsigned long long)digest(machine));
    }
    wt_text(buf, size, "%s/%s%s.json", dir, name, suffix);
    return 0;
}

/* ---- reading ---- */

static int damaged(struct wt_error *err, const char *path, const char *what)
{
    int rc = wt_fail(err, WT_E_FORMAT, "%s: damaged (%.120s); not used", path, what);
    wt_fix(err, "wattune probe");
    return rc;
}

/* A whole number within bounds; a key that is not there changes nothing. */
static bool take(const json_t *traits, const char *key, int64_t max, int64_t *io_value)
{
    const json_t *j = json_object_get(traits, key);
    if (!j)
        return true;
    if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > max)
        return false;
    *io_value = json_integer_value(j);
    return true;
}

static int read_traits(const json_t *traits, const char *path, struct wt_sensor_traits *io_traits,
                       struct wt_error *err)
{
    struct wt_sensor_traits t = *io_traits;
    int64_t quantum = (int64_t)(t.energy_quantum_uj & INT64_MAX);
    const json_t *averaged = json_object_get(traits, "is_power_averaged");
    if (!json_is_object(traits))
        return damaged(err, path, "no traits");
    if (!take(traits, "energy_period_ns", PERIOD_MAX, &t.energy_period_ns) ||
        !take(traits, "energy_window_ns", PERIOD_MAX, &t.energy_window_ns) ||
        !take(traits, "power_period_ns", PERIOD_MAX, &t.power_period_ns) ||
        !take(traits, "power_window_ns", PERIOD_MAX, &t.power_window_ns) ||
        !take(traits, "power_delay_ns", PERIOD_MAX, &t.power_delay_ns) ||
        !take(traits, "energy_quantum_uj", 1000000000, &quantum) ||
        (averaged && !json_is_boolean(averaged)))
        return damaged(err, path, "a trait that cannot be");
    t.energy_quantum_uj = (uint64_t)quantum;
    if (averaged)
        t.is_power_averaged = json_is_true(averaged);
    *io_traits = t;
    return 0;
}

int wt_traits_load(const struct wt_ctx *ctx, const struct wt_device_info *info,
                   struct wt_sensor_traits *io_traits, char *ret_date, size_t date_size,
                   struct wt_error *err)
{
    char path[4096];
    int rc = path_of(ctx, info, path, sizeof(path), err);
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return wt_fail(err, WT_E_NOTFOUND, "%s has not been probed", info->id);
    if (fd < 0) {
        rc = wt_fail_errno(err, errno, "what was probed is not used: %s", path);
        wt_fix(err, "let this user read it, or delete it and run `wattune probe`");
        return rc;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > BYTES_MAX) {
        close(fd);
        return damaged(err, path, "no file of a probe");
    }
    json_error_t why;
    json_t *root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
    close(fd);
    if (!root)
        return damaged(err, path, why.text);

    const char *id = json_string_value(json_object_get(root, "id"));
    const char *driver = json_string_value(json_object_get(root, "driver"));
    const char *date = json_string_value(json_object_get(root, "date"));
    const json_t *emulated = json_object_get(root, "is_emulated");
    if (json_integer_value(json_object_get(root, "version")) != VERSION || !id || !driver ||
        !date || !json_is_boolean(emulated) || strcmp(id, info->id) != 0) {
        rc = damaged(err, path, "not what `wattune probe` writes");
    } else if (json_is_true(emulated) != info->is_emulated) {
        rc = wt_fail(err, WT_E_MIXED, "%s: found on %s device; not used for %s", path,
                     info->is_emulated ? "a real" : "an emulated", info->id);
        wt_fix(err, "wattune probe");
    } else if (strcmp(driver, info->driver) != 0) {
        rc = wt_fail(err, WT_E_CHANGED, "%s: found with driver %.40s, and now it is %s; not used",
                     path, driver, info->driver);
        wt_fix(err, "wattune probe");
    } else {
        rc = read_traits(json_object_get(root, "traits"), path, io_traits, err);
        if (rc == 0)
            wt_text(ret_date, date_size, "%s", date);
    }
    json_decref(root);
    return rc;
}

/* ---- writing ---- */

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}

static int replace_file(const char *path, const char *text, struct wt_error *err)
{
    char dir[4096], fresh[4200];
    wt_text(dir, sizeof(dir), "%s", path);
    *strrchr(dir, '/') = '\0';
    int rc = wt_fs_mkdirs(dir, 0700, err);
    if (rc < 0)
        return rc;
    wt_text(fresh, sizeof(fresh), "%s.XXXXXX", path);
    int fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s", fresh);
    int failed = write_all(fd, text) < 0 || fsync(fd) < 0 ? errno : 0;
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && rename(fresh, path) < 0)
        failed = errno;
    if (!failed)
        return 0;
    unlink(fresh);
    return wt_fail_errno(err, failed, "%s", path);
}

int wt_traits_save(const struct wt_ctx *ctx, const struct wt_device_info *info, const char *date,
                   const struct wt_probed_traits *probed, json_t *details, char *ret_path,
                   size_t size, struct wt_error *err)
{
    const struct wt_sensor_traits *t = &probed->traits;
    char path[4096];
    int rc = path_of(ctx, info, path, sizeof(path), err), failed = 0;
    if (rc < 0) {
        json_decref(details);
        return rc;
    }
    json_t *traits = json_object();
    const struct {
        bool is_there;
        const char *key;
        int64_t value;
    } rows[] = {
        {probed->has_energy_period, "energy_period_ns", t->energy_period_ns},
        {probed->has_energy_quantum, "energy_quantum_uj", (int64_t)t->energy_quantum_uj},
        {probed->has_energy_window, "energy_window_ns", t->energy_window_ns},
        {probed->has_power_period, "power_period_ns", t->power_period_ns},
        {probed->has_power_shape, "power_window_ns", t->power_window_ns},
        {probed->has_power_shape, "power_delay_ns", t->power_delay_ns},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].is_there)
            failed |= json_object_set_new(traits, rows[i].key, json_integer(rows[i].value));
    if (probed->has_power_shape)
        failed |=
            json_object_set_new(traits, "is_power_averaged", json_boolean(t->is_power_averaged));
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:o, s:o}", "version", VERSION, "id", info->id,
                  "name", info->name, "driver", info->driver, "date", date, "is_emulated",
                  (int)info->is_emulated, "traits", traits, "found", details);
    if (failed || !root) {
        json_decref(root);
        return wt_fail(err, WT_E_NOMEM, "no memory for what was found");
    }
    char *text = wt_json_dump(root);
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "no memory for what was found");
    rc = replace_file(path, text, err);
    free(text);
    if (rc == 0 && ret_path)
        wt_text(ret_path, size, "%s", path);
    return rc;
}
