/* base: what every stage stands on and nothing of energy - errors, log, clock, units, rooted reads.
 *
 * Internal to the library. */
#ifndef WT_BASE_H
#define WT_BASE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "wattune/ctx.h"

#define WT_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))
#define WT_NS_PER_S   INT64_C(1000000000)
#define WT_NS_PER_MS  INT64_C(1000000)

/* ---- error.c ---- */

/* Tells the story of a failure and returns its code: `return wt_fail(err, WT_E_IO, "%s: ...",
 * ...)`. err may be NULL. */
int wt_fail(struct wt_error *err, int code, const char *fmt, ...) WT_PRINTF(3, 4);
/* Adds what to do about it to a story already told. */
void wt_fix(struct wt_error *err, const char *fmt, ...) WT_PRINTF(2, 3);
/* From errno, choosing the code by it: "PATH: Permission denied". */
int wt_fail_errno(struct wt_error *err, int errnum, const char *fmt, ...) WT_PRINTF(3, 4);
/* The code an errno is in our table. */
int wt_code_from_errno(int errnum);

/* ---- ctx.c ---- */

struct wt_tree;
struct wt_perf_ops;
struct wt_msr_ops;
struct wt_ipmi_ops;

/* Told of every file and directory that is looked at, from whatever thread looks: `wattune gather`
 * makes a recorded machine of it. rc: as wt_fs_read or wt_fs_list returned; errnum: why the system
 * refused, or 0; text: what was read, NULL of a directory. */
typedef void (*wt_fs_watch)(void *data, const char *path, bool is_dir, int rc, int errnum,
                            const char *text);

struct wt_ctx {
    wt_log_fn log;
    void *log_data;
    char *sysroot;      /* never NULL, without a trailing slash; "" is "/" */
    char *nvml_library; /* NULL: the default */
    struct wt_clock clock;
    const char *debug_areas; /* $WT_DEBUG, borrowed from the environment; NULL: none */
    struct wt_tree *tree;    /* what the sysroot says of itself; tree.c */
    wt_fs_watch watch;       /* NULL: nobody looks on */
    void *watch_data;
    /* What a source asks of the kernel beside files. NULL: the kernel of this machine, and with a
     * sysroot nobody. A test puts its own here. Borrowed. */
    const struct wt_perf_ops *perf;
    const struct wt_msr_ops *msr; /* NULL: /dev/cpu below the sysroot */
    const struct wt_ipmi_ops *ipmi;
    const char *jobs_dir; /* Slurm jobs' facts; NULL: where they are by default. Borrowed */
};

void wt_log(const struct wt_ctx *ctx, enum wt_log_level level, const char *area, const char *fmt,
            ...) WT_PRINTF(4, 5);

/* ---- clock.c ---- */

int64_t wt_clock_now_ns(void);        /* CLOCK_MONOTONIC */
int64_t wt_clock_unix_ns(void);       /* CLOCK_REALTIME: once per run */
int64_t wt_clock_thread_cpu_ns(void); /* CPU time of the calling thread */
void wt_clock_sleep_until_ns(int64_t t_ns);

/* ---- thread.c ---- */

/* pthread_create with all signals blocked in the new thread: a process's signals are for the
 * threads that expect them. Errors: WT_E_NOMEM. */
int wt_thread_start(pthread_t *ret_thread, void *(*run)(void *data), void *data);
/* A condition variable whose timed waits are on CLOCK_MONOTONIC. */
void wt_cond_init(pthread_cond_t *cond);

/* ---- library.c ---- */

struct wt_library_symbol {
    const char *name;
    size_t at; /* offset of the pointer in the struct that takes it */
};
/* A library that is not needed to start: its functions go into a struct of pointers. */
struct wt_library {
    const char *what;         /* what takes it, for messages: "a live feed" */
    const char *const *names; /* tried in order, the last is NULL */
    const char *fix;          /* "install libcurl4 ..." */
    const struct wt_library_symbol *symbols;
    size_t count;
};
/* Opens it for as long as the process lives. Errors: WT_E_UNSUPPORTED, with the fix. Threads: any
 * thread. */
int wt_library_open(const struct wt_library *library, void *ret_functions, struct wt_error *err);

/* ---- units.c ---- */

/* mW times ns, in uJ; taken in 128 bits. Saturates at UINT64_MAX. */
uint64_t wt_energy_uj_from(uint64_t power_mw, uint64_t span_ns);
static inline double wt_j_from_uj(uint64_t uj)
{
    return (double)uj * 1e-6;
}
static inline double wt_w_from_mw(uint64_t mw)
{
    return (double)mw * 1e-3;
}
static inline double wt_s_from_ns(int64_t ns)
{
    return (double)ns * 1e-9;
}

/* A clock of 0 or less is no clock but a state of the GPU: not locked, or a performance level of
 * amdgpu, as found and put back. They are in journals. */
enum {
    WT_CLOCK_FREE = 0,
    WT_CLOCK_LOW = -1,
    WT_CLOCK_HIGH = -2,
    WT_CLOCK_STANDARD = -3,
    WT_CLOCK_MIN_SCLK = -4,
    WT_CLOCK_MIN_MCLK = -5,
    WT_CLOCK_PEAK = -6,
    WT_CLOCK_MANUAL = -7, /* somebody's choice of levels, which cannot be read */
};
/* Whether a device that was set to one value may then read as another: less than a step off, or
 * the same preference under another name. */
bool wt_knob_reads_as(enum wt_knob knob, int64_t set, int64_t read, int64_t step);

/* ---- fs.c: reads below the context's root ---- */

/* Reads a small text file (at most size-1 bytes), strips trailing white space, terminates.
 * path is absolute ("/sys/..."), the sysroot goes before it.
 * Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_GONE (ENODEV, ENXIO), WT_E_FORMAT (longer than size, or
 * holds NUL bytes), WT_E_IO. */
int wt_fs_read(const struct wt_ctx *ctx, const char *path, char *buf, size_t size,
               struct wt_error *err);
/* wt_fs_read of a file that is read over and over: it stays open, in *io_keep (0 at first, then the
 * descriptor plus one), as long as it is the file at this path and reading it works. */
int wt_fs_read_kept(const struct wt_ctx *ctx, const char *path, int *io_keep, char *buf,
                    size_t size, struct wt_error *err);
void wt_fs_drop(int *io_keep);
/* The beginning of a file that may be longer than the buffer, as text. Errors: as above but for
 * WT_E_FORMAT. */
int wt_fs_read_start(const struct wt_ctx *ctx, const char *path, char *buf, size_t size);
/* The same as one unsigned decimal number and nothing else. Errors: besides, WT_E_FORMAT. */
int wt_fs_read_u64(const struct wt_ctx *ctx, const char *path, uint64_t *ret_value,
                   struct wt_error *err);
/* The same with a sign, for what may be negative (a current, a temperature). */
int wt_fs_read_i64(const struct wt_ctx *ctx, const char *path, int64_t *ret_value,
                   struct wt_error *err);
/* Writes text to a file that is there, as one write. Errors: WT_E_DENIED (also where the file
 * system is read-only), WT_E_NOTFOUND, WT_E_RANGE (EINVAL: the kernel takes no such value),
 * WT_E_GONE, WT_E_BUSY, WT_E_IO. */
int wt_fs_write(const struct wt_ctx *ctx, const char *path, const char *text, struct wt_error *err);
/* 0 when this process may write the file (of a recorded machine: when its user might). Writes
 * nothing. *ret_errno (may be NULL) says why not: EROFS, also where the file itself is for reading
 * only, even to root (an attribute of the kernel without a way to write it); EACCES, EPERM, ...
 * Errors: WT_E_DENIED, WT_E_NOTFOUND. */
int wt_fs_may_write(const struct wt_ctx *ctx, const char *path, int *ret_errno,
                    struct wt_error *err);
/* Lists a directory's entries, sorted naturally (a2 before a10). Owned: wt_fs_list_free. */
int wt_fs_list(const struct wt_ctx *ctx, const char *path, char ***ret_names, size_t *ret_count,
               struct wt_error *err);
void wt_fs_list_free(char **names, size_t count);
/* Makes a directory and its parents with this mode. 0 when it is there already. */
int wt_fs_mkdirs(const char *path, unsigned mode, struct wt_error *err);
/* Removes a directory and everything in it, never following links. */
int wt_fs_remove_tree(const char *path, struct wt_error *err);
/* The start time of a process in clock ticks since boot, with the pid its identity.
 * Errors: WT_E_NOTFOUND (no such process). */
int wt_fs_process_start(uint32_t pid, uint64_t *ret_ticks, struct wt_error *err);

/* ---- tree.c: a sysroot that is a recorded machine ---- */

/* Reads DIR/machine.txt where there is one. Errors: WT_E_FORMAT (names the line), WT_E_NOMEM. */
int wt_tree_open(struct wt_ctx *ctx, struct wt_error *err);
void wt_tree_close(struct wt_ctx *ctx);
bool wt_tree_is_recorded(const struct wt_ctx *ctx);
const char *wt_tree_title(const struct wt_ctx *ctx);  /* "" when there is none; borrowed */
const char *wt_tree_origin(const struct wt_ctx *ctx); /* likewise */
unsigned wt_tree_uid(const struct wt_ctx *ctx);       /* whose view it is */
/* The errno that a read of the path answers; 0: none. Threads: any thread. */
int wt_tree_errno(const struct wt_ctx *ctx, const char *path);
bool wt_tree_is_readonly(const struct wt_ctx *ctx, const char *path);
bool wt_tree_has_dir(const struct wt_ctx *ctx, const char *path);
/* From now on reads of the path answer this errno, 0: as they are. For tests. Threads: any. */
int wt_tree_fault(struct wt_ctx *ctx, const char *path, int errnum);
/* "EIO", or NULL for an error that a manifest has no word for. */
const char *wt_tree_errno_name(int errnum);
/* What goes before a path when it is named to people: the sysroot, but of a recorded machine
 * nothing, so that it says the same wherever it lies. Borrowed; never NULL. */
static inline const char *wt_fs_root(const struct wt_ctx *ctx)
{
    return !ctx || wt_tree_is_recorded(ctx) ? "" : ctx->sysroot;
}
/* The state of a reading from a file: WT_REPLAYED of a recorded machine, else WT_LIVE. */
static inline enum wt_state wt_fs_state(const struct wt_ctx *ctx)
{
    return wt_tree_is_recorded(ctx) ? WT_REPLAYED : WT_LIVE;
}

/* ---- text.c ---- */

/* snprintf that always terminates and never fails; too long is cut. Returns buf. */
char *wt_text(char *buf, size_t size, const char *fmt, ...) WT_PRINTF(3, 4);
/* Whole string to a number: no leading or trailing anything. Errors: WT_E_FORMAT, WT_E_RANGE. */
int wt_text_to_u64(const char *text, uint64_t *ret_value);
int wt_text_to_double(const char *text, double *ret_value); /* decimal point in every locale */
/* The next field of a line of CSV, cut out of it, without the blanks and quotes around it; a comma
 * within quotes is one all the same. NULL: none left. */
char *wt_text_field(char **io_line);
bool wt_text_ends_in(const char *text, const char *end);
/* The length of the byte order mark that some programs (Excel) put before a text; 0: there is none.
 * It is no part of the text. */
size_t wt_utf8_mark(const char *text, size_t size);
/* A file's first line without that mark. */
char *wt_text_after_mark(char *line);
/* What makes these bytes no text, as words to say ("it is UTF-16"); NULL: nothing. is_begin: a file
 * begins with them. */
const char *wt_text_flaw(const char *bytes, size_t size, bool is_begin);
/* fgets that returns how many bytes it read, NUL bytes too; 0: none are left. */
size_t wt_text_line(char *buf, size_t size, FILE *in);

/* How many bytes of a whole UTF-8 character begin here; 0 when it is none (RFC 3629: neither
 * overlong, nor a surrogate, nor above U+10FFFF, nor longer than size). NUL is one of 1 byte. */
size_t wt_utf8_length(const char *text, size_t size);
/* One more text of a list, whose texts are owned. Errors: WT_E_NOMEM. */
int wt_texts_add(char ***io_texts, size_t *io_count, const char *fmt, va_list args) WT_PRINTF(3, 0);

/* "51,200": digits in groups of three. Returns buf. */
const char *wt_grouped(char *buf, size_t size, uint64_t count);

/* ---- json.c: jansson with our number format ---- */

typedef struct json_t json_t; /* jansson */
/* {"energy_j":..,"low_j":..,"high_j":..,"provenance":..} fields into an object; unknown energy is
 * null, as is a number that is not finite. */
json_t *wt_json_number(double value);
/* {"value":..,"low":..,"high":..}; null where the value is NaN. NULL: no memory. */
json_t *wt_json_estimate(const struct wt_estimate *e);
int wt_json_set_joules(json_t *object, const struct wt_joules *joules);
/* Sets a field and takes the value, whatever comes of it. Either may be NULL: no memory for it.
 * Errors: WT_E_NOMEM. */
int wt_json_put(json_t *object, const char *key, json_t *value);
/* Serialises, frees the value; owned by the caller. NULL only without memory. */
char *wt_json_dump(json_t *value);

#endif
