/* gather: a machine recorded as a folder, for a test or a report of a fault.
 *
 * What is recorded is what Wattune itself looks at: the sources and knobs are opened and surveyed
 * with somebody looking on (ctx->watch), so a new sensor is recorded without a line here. What is
 * somebody's own stays out: see scrub(). */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "knob/knob.h"
#include "sensor/machine.h"
#include "sensor/nvml.h"
#include "sensor/program.h"
#include "wattune/gather.h"

/* A BMC may be busy; the driver of cards that nobody uses is loaded first. */
#define TOOL_NS (60 * WT_NS_PER_S)

struct item {
    char *path, *text; /* owned; text NULL: a directory, or refused */
    bool is_dir;
    int errnum;
};

struct recorder {
    pthread_mutex_t lock;
    struct item *items; /* owned */
    size_t count, room;
    bool is_out_of_memory;
};

/* ---- looking on ---- */

/* Only what tells of sensors and settings, and the marks by which a container is known. */
static bool is_wanted(const char *path)
{
    static const char *const roots[] = {"/sys/",
                                        "/proc/cpuinfo",
                                        "/proc/meminfo",
                                        "/proc/stat",
                                        "/proc/driver/",
                                        "/proc/device-tree/model",
                                        "/proc/1/cgroup",
                                        "/proc/sys/kernel/perf_event_paranoid",
                                        "/run/systemd/container",
                                        "/.dockerenv",
                                        "/run/.containerenv",
                                        "/tools/"};
    for (size_t i = 0; i < WT_COUNTOF(roots); i++)
        if (strncmp(path, roots[i], strlen(roots[i])) == 0)
            return true;
    return false;
}

static void look_on(void *data, const char *path, bool is_dir, int rc, int errnum, const char *text)
{
    struct recorder *r = data;
    if (!is_wanted(path) || errnum == ENOENT || errnum == ENOTDIR)
        return;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i].path, path) == 0)
            goto out; /* the first look is kept */
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 256;
        struct item *more = realloc(r->items, room * sizeof(*more));
        if (!more) {
            r->is_out_of_memory = true;
            goto out;
        }
        r->items = more;
        r->room = room;
    }
    struct item item = {.path = strdup(path), .is_dir = is_dir, .errnum = errnum};
    if (text && rc == 0)
        item.text = strdup(text);
    if (item.path && (item.text || is_dir || rc < 0)) {
        r->items[r->count++] = item;
    } else {
        free(item.path);
        free(item.text);
        r->is_out_of_memory = true;
    }
out:
    pthread_mutex_unlock(&r->lock);
}

static void recorder_done(struct recorder *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->items[i].path);
        free(r->items[i].text);
    }
    free(r->items);
    pthread_mutex_destroy(&r->lock);
}

/* ---- what is somebody's own ---- */

static bool is_hex(char c)
{
    return strchr("0123456789abcdefABCDEF", c) && c;
}

/* Length of a UUID (8-4-4-4-12) at p, 0 when there is none. */
static size_t uuid_at(const char *p)
{
    static const unsigned groups[] = {8, 4, 4, 4, 12};
    const char *start = p;
    for (size_t g = 0; g < WT_COUNTOF(groups); g++) {
        for (unsigned i = 0; i < groups[g]; i++)
            if (!is_hex(*p++))
                return 0;
        if (g + 1 < WT_COUNTOF(groups) && *p++ != '-')
            return 0;
    }
    return (size_t)(p - start);
}

static void blank(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_hex(p[i]))
            p[i] = '0';
}

/* An AMD GPU's unique_id is its serial number: a number in order takes its place, so that cards can
 * still be told apart. One that begins with twelve zeros is such a number already. */
static void renumber(char *text, unsigned *io_count)
{
    size_t n = strspn(text, "0123456789abcdefABCDEF");
    char number[24];
    if (n < 12 || n >= sizeof(number) || strspn(text, "0") >= 12)
        return;
    wt_text(number, sizeof(number), "%0*x", (int)n, ++*io_count);
    memcpy(text, number, n);
}

/* Takes serial numbers, UUIDs and container ids out of a file's text. */
static void scrub(const char *path, char *text, unsigned *io_count)
{
    const char *name = strrchr(path, '/') + 1;
    if (strcmp(name, "unique_id") == 0)
        renumber(text, io_count);
    bool is_cgroup = strcmp(name, "cgroup") == 0;
    for (char *p = text; *p; p++) {
        size_t n = uuid_at(p);
        blank(p, n);
        if (is_cgroup) { /* docker's ids are 64 digits in hexadecimal, others' shorter */
            size_t run = 0;
            while (is_hex(p[run]))
                run++;
            if (run >= 12)
                blank(p, run);
            p += run ? run - 1 : 0;
        }
        /* Boards with a "Serial : ..." in /proc/cpuinfo. */
        if ((p == text || p[-1] == '\n') && strncasecmp(p, "serial", 6) == 0) {
            char *colon = strchr(p, ':');
            char *end = p + strcspn(p, "\n");
            if (colon && colon < end)
                memset(colon + 1, ' ', (size_t)(end - colon - 1));
        }
    }
}

/* ---- writing ---- */

/* A processor is a paragraph. */
static void end_with_a_paragraph(char *text)
{
    size_t n = strlen(text);
    while (n >= 2 && !(text[n - 1] == '\n' && text[n - 2] == '\n'))
        n--;
    if (n >= 2)
        text[n] = '\0';
}

static int write_file(const char *dir, const char *path, const char *text, struct wt_error *err)
{
    char full[4096];
    if ((size_t)snprintf(full, sizeof(full), "%s%s", dir, path) >= sizeof(full))
        return wt_fail(err, WT_E_RANGE, "%.100s: path too long", path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    int rc = wt_fs_mkdirs(full, 0755, err);
    *slash = '/';
    if (rc < 0)
        return rc;
    FILE *out = fopen(full, "wxe");
    bool ok = out && fputs(text, out) != EOF;
    int errnum = errno;
    if (out && fclose(out) == EOF && ok) {
        ok = false;
        errnum = errno;
    }
    return ok ? 0 : wt_fail_errno(err, errnum, "%s", full);
}

/* Does anything that was kept lie below this directory? */
static bool has_below(const struct recorder *r, const char *dir)
{
    size_t n = strlen(dir);
    for (size_t i = 0; i < r->count; i++)
        if (r->items[i].text && strncmp(r->items[i].path, dir, n) == 0 &&
            r->items[i].path[n] == '/')
            return true;
    return false;
}

static int by_path(const void *a, const void *b)
{
    return strverscmp(((const struct item *)a)->path, ((const struct item *)b)->path);
}

static int write_manifest(const char *dir, const struct recorder *r, const struct wt_ctx *ctx,
                          struct wt_gathered *g, struct wt_error *err)
{
    char full[4096], date[16] = "";
    wt_text(full, sizeof(full), "%s/machine.txt", dir);
    FILE *out = fopen(full, "wxe");
    if (!out)
        return wt_fail_errno(err, errno, "%s", full);
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&now, &tm));
    unsigned uid = wt_tree_is_recorded(ctx) ? wt_tree_uid(ctx) : geteuid() ? 1000 : 0;
    const char *origin = wt_tree_origin(ctx);
    fprintf(out,
            "wattune-machine 1\ntitle: %s\norigin: gathered by wattune %s on %s%s%s\nuid: %u\n",
            g->title, wt_version(), date, *origin ? " from a recording: " : "", origin, uid);
    struct statvfs fs;
    bool is_readonly = *ctx->sysroot ? wt_tree_is_readonly(ctx, "/sys")
                                     : statvfs("/sys", &fs) == 0 && (fs.f_flag & ST_RDONLY);
    if (is_readonly)
        fputs("readonly /sys\n", out);
    for (size_t i = 0; i < r->count; i++) {
        const struct item *item = &r->items[i];
        const char *name = wt_tree_errno_name(item->errnum);
        if (item->errnum == EACCES || item->errnum == EPERM) {
            fprintf(out, "deny %s\n", item->path);
            g->refused++;
        } else if (name) {
            fprintf(out, "error %s %s\n", name, item->path);
            g->refused++;
        } else if (item->is_dir && !item->errnum && !has_below(r, item->path)) {
            fprintf(out, "dir %s\n", item->path);
            g->directories++;
        }
    }
    bool ok = !ferror(out);
    if (fclose(out) == EOF || !ok)
        return wt_fail_errno(err, errno ? errno : EIO, "%s", full);
    return 0;
}

/* ---- tools ---- */

/* The stdout of a vendor's tool, owned; NULL when it is not there or fails, does not end, or says
 * more than is taken. Asked for nothing that names a person, a process or a board. */
static char *ask_tool(const char *const *argv, int64_t timeout_ns)
{
    char *text = NULL;
    struct wt_program_result *result = malloc(sizeof(*result));
    if (result && wt_program_run(argv, -1, timeout_ns, result, NULL) == 0 && result->code == 0 &&
        !result->is_cut)
        text = strdup(result->out);
    free(result);
    return text;
}

static int write_tools(const char *dir, struct wt_gathered *g, struct wt_error *err)
{
    static const char fields[] =
        "--query-gpu=index,name,driver_version,power.management,power.draw,"
        "power.limit,power.default_limit,power.min_limit,power.max_limit,"
        "clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,"
        "utilization.gpu,memory.used,memory.total,persistence_mode,mig.mode.current";
    static const struct {
        const char *path, *argv[4];
        bool is_nvml;
    } tools[] = {
        {"/tools/nvidia-smi.csv", {"nvidia-smi", fields, "--format=csv", NULL}, true},
        {"/tools/ipmi-dcmi.txt", {"ipmi-dcmi", "--get-system-power-statistics", NULL}, false},
    };
    int64_t nvml_ns = wt_nvml_timeout_ns(TOOL_NS);
    if (nvml_ns == INT64_MAX)
        nvml_ns = TOOL_NS;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(tools); i++) {
        char *text = ask_tool(tools[i].argv, tools[i].is_nvml ? nvml_ns : TOOL_NS);
        if (text && *text) {
            scrub(tools[i].path, text, NULL);
            rc = write_file(dir, tools[i].path, text, err);
            g->files += rc == 0;
        }
        free(text);
    }
    return rc;
}

/* ---- the whole ---- */

/* NVIDIA's cards are read through a library, so nothing above looks at these; played back, they are
 * all that says which cards there were. */
static void look_at_nvidia(const struct wt_ctx *ctx)
{
    static const char *const files[] = {"vendor", "device", "class", "numa_node"};
    char **names, path[512], text[1024];
    size_t count;
    (void)wt_fs_read(ctx, "/proc/driver/nvidia/version", text, sizeof(text), NULL);
    if (wt_fs_list(ctx, "/proc/driver/nvidia/gpus", &names, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        wt_text(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", names[i]);
        (void)wt_fs_read(ctx, path, text, sizeof(text), NULL);
        for (size_t k = 0; k < WT_COUNTOF(files); k++) {
            wt_text(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", names[i], files[k]);
            (void)wt_fs_read(ctx, path, text, sizeof(text), NULL);
        }
    }
    wt_fs_list_free(names, count);
}

/* Opens and surveys everything, for the sake of being looked on. */
static int look_at_everything(struct wt_ctx *ctx, struct wt_error *err)
{
    struct wt_devices *devices = NULL;
    struct wt_finding *findings = NULL;
    size_t count;
    /* What is hidden from a program is recorded all the same. */
    int rc = wt_devices_open(&devices, ctx, NULL, err);
    look_at_nvidia(ctx);
    if (rc == 0)
        rc = wt_survey(ctx, devices, &findings, &count, err);
    free(findings);
    wt_devices_free(devices);
    return rc;
}

static void make_title(const struct wt_ctx *ctx, const char *wanted, char *buf, size_t size)
{
    struct wt_machine m;
    wt_machine_look(ctx, &m);
    if (wanted)
        wt_text(buf, size, "%s", wanted);
    else
        wt_text(buf, size, "%s%s%s%s%s",
                *m.board    ? m.board
                : *m.name   ? m.name
                : *m.vendor ? m.vendor
                            : "unknown processor",
                m.sockets > 1 ? ", several sockets" : "", m.is_virtual ? ", " : "",
                m.is_virtual ? m.virtual_name : "", *m.container ? ", in a container" : "");
    for (char *p = buf; *p; p++)
        if (*p == '\n')
            *p = ' ';
}

int wt_gather(const char *dir, const struct wt_gather_options *options,
              struct wt_gathered *ret_gathered, struct wt_error *err)
{
    static const struct wt_gather_options none;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct wt_gathered g = {0};
    struct wt_ctx *ctx = NULL;
    unsigned cards = 0;
    if (!options)
        options = &none;
    int rc = wt_ctx_new(&ctx, &(struct wt_ctx_options){.sysroot = options->sysroot}, err);
    if (rc < 0)
        return rc;
    make_title(ctx, options->title, g.title, sizeof(g.title));
    ctx->watch = look_on;
    ctx->watch_data = &r;
    rc = look_at_everything(ctx, err);
    /* A thread that a hung driver keeps may still look at files. */
    pthread_mutex_lock(&r.lock);
    if (rc == 0 && r.is_out_of_memory)
        rc = wt_fail(err, WT_E_NOMEM, "no memory to record the machine");
    if (rc == 0)
        rc = wt_fs_mkdirs(dir, 0755, err);
    if (r.count)
        qsort(r.items, r.count, sizeof(*r.items), by_path);
    for (size_t i = 0; rc == 0 && i < r.count; i++) {
        if (!r.items[i].text)
            continue;
        scrub(r.items[i].path, r.items[i].text, &cards);
        /* Only its beginning is read: the last processor in it may be cut off. */
        if (strcmp(r.items[i].path, "/proc/cpuinfo") == 0 &&
            strlen(r.items[i].text) + 1 >= WT_MACHINE_CPUINFO_SIZE)
            end_with_a_paragraph(r.items[i].text);
        rc = write_file(dir, r.items[i].path, r.items[i].text, err);
        g.files++;
    }
    if (rc == 0)
        rc = write_manifest(dir, &r, ctx, &g, err);
    pthread_mutex_unlock(&r.lock);
    if (rc == 0 && !*ctx->sysroot)
        rc = write_tools(dir, &g, err);
    wt_ctx_free(ctx);
    recorder_done(&r);
    if (rc == 0 && ret_gathered)
        *ret_gathered = g;
    return rc;
}
