/* host: starting an emulation, what its children need to find it, and the truth afterwards. */
#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "emulator/host.h"

#define LIBRARY "libnvidia-ml.so.1"

struct wt_emulation {
    char dir[1024];
    char spec[256];
    char library[2048];
    struct wt_shared *shared;
};

const char *const *wt_emulation_profiles(void)
{
    return wt_profile_names();
}

const char *wt_emulation_profile_title(const char *name)
{
    const struct wt_profile *p = wt_profile_find(name);
    return p ? p->title : NULL;
}

static int no_profile(const char *spec, const char *name, struct wt_error *err)
{
    int rc = wt_fail(err, WT_E_NOTFOUND, "emulation %s: there is no profile \"%s\"", spec, name);
    char names[200] = "";
    const char *const *all = wt_profile_names();
    for (size_t i = 0, used = 0; all[i] && used < sizeof(names) - 1; i++) {
        wt_text(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", all[i]);
        used += strlen(names + used);
    }
    wt_fix(err, "profiles: %s", names);
    return rc;
}

/* "v100-pcie-32gb:2,a40" to a list of profiles. */
static int parse_spec(const char *spec, const struct wt_profile **profiles, unsigned *ret_count,
                      struct wt_error *err)
{
    unsigned count = 0;
    int rc;
    for (const char *p = spec;; p++) {
        size_t len = strcspn(p, ",");
        char part[64];
        uint64_t n = 1;
        if (len >= sizeof(part)) {
            rc = wt_fail(err, WT_E_USAGE, "emulation %.200s: a name too long", spec);
            goto out;
        }
        wt_text(part, sizeof(part), "%.*s", (int)len, p);
        char *colon = strchr(part, ':');
        if (colon)
            *colon++ = '\0';
        const struct wt_profile *profile = wt_profile_find(part);
        if (!profile)
            return no_profile(spec, part, err);
        if (colon && (wt_text_to_u64(colon, &n) < 0 || n == 0 || n > WT_SHARED_DEVICES)) {
            rc = wt_fail(err, WT_E_USAGE, "emulation %.200s: \"%s\" is no number of GPUs", spec,
                         colon);
            goto out;
        }
        if (count + n > WT_SHARED_DEVICES) {
            rc = wt_fail(err, WT_E_USAGE, "emulation %.200s: more than %d GPUs", spec,
                         WT_SHARED_DEVICES);
            goto out;
        }
        for (uint64_t i = 0; i < n; i++)
            profiles[count++] = profile;
        p += len;
        if (!*p)
            break;
    }
    *ret_count = count;
    return 0;
out:
    wt_fix(err,
           "PROFILE or PROFILE:N, several with commas, at most %d GPUs in all, as in "
           "\"v100-pcie-32gb:2\"",
           WT_SHARED_DEVICES);
    return rc;
}

/* A function named in a fault must be one that the stand-in has, or the fault would never come. */
static int check_function(const char *library, const char *function, struct wt_error *err)
{
    size_t len = strlen(function);
    if (len == 0 || function[len - 1] == '*')
        return 0;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return wt_fail(err, WT_E_IO, "%s: %s", library, dlerror());
    bool has = dlsym(handle, function) != NULL;
    dlclose(handle);
    if (has)
        return 0;
    int rc = wt_fail(err, WT_E_USAGE, "fault: the emulator has no function %s", function);
    wt_fix(err, "docs/emulator.md lists them; versions are functions of their own, as in "
                "nvmlDeviceGetCount_v2");
    return rc;
}

int wt_emulation_fault_add(struct wt_emulation *emulation, const char *faults, struct wt_error *err)
{
    for (const char *p = faults; *p;) {
        struct wt_fault fault;
        int rc = wt_fault_parse(&p, &fault, err);
        if (rc < 0)
            return rc;
        rc = check_function(emulation->library, fault.function, err);
        if (rc < 0)
            return rc;
        if (fault.gpu >= 0 && (unsigned)fault.gpu >= emulation->shared->file->device_count) {
            rc = wt_fail(err, WT_E_USAGE, "fault %s: gpu=%d, but there are %u GPUs", faults,
                         fault.gpu, emulation->shared->file->device_count);
            wt_fix(err, "GPUs are counted from 0");
            return rc;
        }
        rc = wt_shared_fault_add(emulation->shared, &fault, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void wt_emulation_fault_clear(struct wt_emulation *emulation)
{
    wt_shared_fault_clear(emulation->shared);
}

struct wt_shared *wt_emulation_shared(struct wt_emulation *emulation)
{
    return emulation->shared;
}

/* An emulation inside another one would hide the outer one's truth. The process that started the
 * outer one may start as many as it likes. */
static int refuse_nesting(struct wt_error *err)
{
    const char *outer = getenv("WATTUNE_EMULATION");
    struct wt_shared *shared;
    if (!outer || !*outer || wt_shared_open(&shared, outer, NULL) < 0)
        return 0;
    bool is_ours = shared->file->owner_pid == (uint32_t)getpid();
    char spec[256];
    wt_text(spec, sizeof(spec), "%s", shared->file->spec);
    wt_shared_close(shared);
    if (is_ours)
        return 0;
    int rc = wt_fail(err, WT_E_STATE, "already inside an emulation of %s (%s)", spec, outer);
    wt_fix(err, "use the GPUs of that one, or unset WATTUNE_EMULATION");
    return rc;
}

int wt_emulation_start(struct wt_emulation **ret_emulation, const char *spec,
                       const struct wt_emulation_options *options, struct wt_error *err)
{
    static const struct wt_emulation_options none;
    const struct wt_profile *profiles[WT_SHARED_DEVICES];
    unsigned count = 0;
    if (!options)
        options = &none;
    int rc = refuse_nesting(err);
    if (rc < 0)
        return rc;
    if (strlen(spec) >= sizeof(((struct wt_emulation *)NULL)->spec))
        return wt_fail(err, WT_E_USAGE, "emulation %.100s...: too long", spec);
    rc = parse_spec(spec, profiles, &count, err);
    if (rc < 0)
        return rc;
    struct wt_emulation *e = calloc(1, sizeof(*e));
    if (!e)
        return wt_fail(err, WT_E_NOMEM, "no memory for an emulation");
    wt_text(e->spec, sizeof(e->spec), "%s", spec);
    rc = wt_helper_path(LIBRARY, e->library, sizeof(e->library), err);
    if (rc < 0)
        goto out;

    const char *parent = options->dir ? options->dir : getenv("XDG_RUNTIME_DIR");
    if (!parent || !*parent || (!options->dir && access(parent, W_OK) < 0))
        parent = "/tmp";
    char dir[sizeof(e->dir)];
    if (snprintf(dir, sizeof(dir), "%s/wattune-emulation-XXXXXX", parent) >= (int)sizeof(dir)) {
        rc = wt_fail(err, WT_E_USAGE, "%.200s...: path too long", parent);
        goto out;
    }
    if (!mkdtemp(dir)) { /* 0700 */
        rc = wt_fail_errno(err, errno, "%s: a directory for the emulation", parent);
        goto out;
    }
    wt_text(e->dir, sizeof(e->dir), "%s", dir);

    uint64_t seed = options->seed ? options->seed : (uint64_t)wt_clock_unix_ns();
    rc = wt_shared_create(&e->shared, e->dir, profiles, count, e->spec, seed,
                          options->is_unprivileged, err);
    if (rc < 0)
        goto out;
    if (options->faults && (rc = wt_emulation_fault_add(e, options->faults, err)) < 0)
        goto out;
    *ret_emulation = e;
    e = NULL;
out:
    wt_emulation_free(e);
    return rc;
}

const char *wt_emulation_dir(const struct wt_emulation *emulation)
{
    return emulation->dir;
}

const char *wt_emulation_spec(const struct wt_emulation *emulation)
{
    return emulation->spec;
}

const char *wt_emulation_library(const struct wt_emulation *emulation)
{
    return emulation->library;
}

int wt_emulation_setenv(const struct wt_emulation *emulation, struct wt_error *err)
{
    char path[8192], *absolute = realpath(emulation->library, NULL);
    if (!absolute)
        return wt_fail_errno(err, errno, "%s", emulation->library);
    int rc = 0;
    if (setenv("WATTUNE_EMULATION", emulation->dir, 1) < 0 ||
        setenv("WATTUNE_EMULATION_SPEC", emulation->spec, 1) < 0 ||
        setenv("WATTUNE_NVML", absolute, 1) < 0) {
        rc = wt_fail_errno(err, errno, "the environment");
        goto out;
    }
    *strrchr(absolute, '/') = '\0';
    const char *old = getenv("LD_LIBRARY_PATH");
    if (old && *old) {
        size_t len = strlen(absolute);
        if (strncmp(old, absolute, len) == 0 && (old[len] == ':' || old[len] == '\0'))
            goto out; /* there already */
        if (snprintf(path, sizeof(path), "%s:%s", absolute, old) >= (int)sizeof(path)) {
            rc = wt_fail(err, WT_E_RANGE, "LD_LIBRARY_PATH is too long to lead it");
            goto out;
        }
    } else {
        wt_text(path, sizeof(path), "%s", absolute);
    }
    if (setenv("LD_LIBRARY_PATH", path, 1) < 0)
        rc = wt_fail_errno(err, errno, "the environment");
out:
    free(absolute);
    return rc;
}

/* ---- the truth ---- */

static json_t *truth_of_device(struct wt_shared *s, unsigned i)
{
    struct wt_shared_device *d = wt_shared_lock(s, i);
    double energy_j = wt_j_from_fj(d->model.energy_fj - d->start_fj);
    double span_s = wt_s_from_ns(d->model.t_ns - s->file->t_start_ns);
    wt_shared_unlock(d);
    return json_pack("{s:i, s:s, s:s, s:s, s:o, s:o}", "index", (int)i, "uuid", d->uuid, "profile",
                     d->profile, "name", s->profiles[i]->board, "energy_j",
                     wt_json_number(energy_j), "span_s", wt_json_number(span_s));
}

static int compare_loads(const void *a, const void *b)
{
    const struct wt_shared_load *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The parts of one submission are one load; a row written twice counts once. */
static json_t *truth_of_loads(struct wt_shared *s, struct wt_error *err)
{
    struct stat st;
    json_t *loads = NULL;
    struct wt_shared_load *rows = NULL;
    if (fstat(s->loads_fd, &st) < 0) {
        wt_fail_errno(err, errno, "the loads of the emulation");
        return NULL;
    }
    size_t count = (size_t)st.st_size / sizeof(*rows);
    rows = malloc((count + 1) * sizeof(*rows));
    loads = json_array();
    if (!rows || !loads)
        goto nomem;
    for (size_t done = 0; done < count * sizeof(*rows);) {
        ssize_t n =
            pread(s->loads_fd, (char *)rows + done, count * sizeof(*rows) - done, (off_t)done);
        if (n <= 0) {
            wt_fail_errno(err, n < 0 ? errno : EIO, "the loads of the emulation");
            goto fail;
        }
        done += (size_t)n;
    }
    qsort(rows, count, sizeof(*rows), compare_loads);
    int64_t origin = s->file->t_start_ns;
    for (size_t i = 0; i < count;) {
        const struct wt_shared_load *first = &rows[i];
        int64_t start_ns = first->t_start_ns, done_ns = first->t_done_ns;
        wt_fj energy_fj = first->energy_fj;
        size_t k = i + 1;
        for (; k < count && rows[k].device == first->device; k++) {
            if (rows[k].id == rows[k - 1].id)
                continue;
            if (rows[k].group != first->group)
                break;
            energy_fj += rows[k].energy_fj;
            done_ns = rows[k].t_done_ns;
        }
        json_t *load = json_pack("{s:s, s:i, s:i, s:o, s:o, s:o}", "label", first->label, "device",
                                 (int)first->device, "pid", (int)first->pid, "start_s",
                                 wt_json_number(wt_s_from_ns(start_ns - origin)), "end_s",
                                 wt_json_number(wt_s_from_ns(done_ns - origin)), "energy_j",
                                 wt_json_number(wt_j_from_fj(energy_fj)));
        if (!load || json_array_append_new(loads, load) < 0)
            goto nomem;
        i = k;
    }
    free(rows);
    return loads;
nomem:
    wt_fail(err, WT_E_NOMEM, "no memory for the truth");
fail:
    free(rows);
    json_decref(loads);
    return NULL;
}

int wt_emulation_truth(struct wt_emulation *emulation, const char *path, struct wt_error *err)
{
    struct wt_shared *s = emulation->shared;
    json_t *devices = json_array();
    for (unsigned i = 0; i < s->file->device_count; i++)
        if (json_array_append_new(devices, truth_of_device(s, i)) < 0) {
            json_decref(devices);
            return wt_fail(err, WT_E_NOMEM, "no memory for the truth");
        }
    json_t *loads = truth_of_loads(s, err);
    if (!loads) {
        json_decref(devices);
        return err ? err->code : WT_E_IO;
    }
    char seed[32];
    wt_text(seed, sizeof(seed), "%llu", (unsigned long long)s->file->seed);
    char *text = wt_json_dump(json_pack("{s:s, s:s, s:o, s:o}", "spec", s->file->spec, "seed", seed,
                                        "devices", devices, "loads", loads));
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "no memory for the truth");

    struct wt_file_draft draft;
    int rc = wt_file_begin(&draft, path, err);
    if (rc == 0) {
        fprintf(draft.file, "%s\n", text);
        rc = wt_file_commit(&draft, err);
    }
    free(text);
    return rc;
}

void wt_emulation_free(struct wt_emulation *emulation)
{
    if (!emulation)
        return;
    wt_shared_close(emulation->shared);
    if (emulation->dir[0])
        wt_fs_remove_tree(emulation->dir, NULL);
    free(emulation);
}
