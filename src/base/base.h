/* base: what every stage stands on and nothing of energy - errors, log, clock, units, rooted reads.
 *
 * Internal to the library. */
#ifndef WT_BASE_H
#define WT_BASE_H

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

struct wt_ctx {
    wt_log_fn log;
    void *log_data;
    char *sysroot;      /* never NULL, without a trailing slash; "" is "/" */
    char *nvml_library; /* NULL: the default */
    struct wt_clock clock;
    const char *debug_areas; /* $WT_DEBUG, borrowed from the environment; NULL: none */
};

void wt_log(const struct wt_ctx *ctx, enum wt_log_level level, const char *area, const char *fmt,
            ...) WT_PRINTF(4, 5);

/* ---- clock.c ---- */

int64_t wt_clock_now_ns(void);        /* CLOCK_MONOTONIC */
int64_t wt_clock_unix_ns(void);       /* CLOCK_REALTIME: once per run */
int64_t wt_clock_thread_cpu_ns(void); /* CPU time of the calling thread */
void wt_clock_sleep_until_ns(int64_t t_ns);

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

/* ---- fs.c: reads below the context's root ---- */

/* Reads a small text file (at most size-1 bytes), strips trailing white space, terminates.
 * path is absolute ("/sys/..."), the sysroot goes before it.
 * Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_GONE (ENODEV, ENXIO), WT_E_FORMAT (longer than size, or
 * holds NUL bytes), WT_E_IO. */
int wt_fs_read(const struct wt_ctx *ctx, const char *path, char *buf, size_t size,
               struct wt_error *err);
/* The same as one unsigned decimal number and nothing else. Errors: besides, WT_E_FORMAT. */
int wt_fs_read_u64(const struct wt_ctx *ctx, const char *path, uint64_t *ret_value,
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

/* ---- text.c ---- */

/* snprintf that always terminates and never fails; too long is cut. Returns buf. */
char *wt_text(char *buf, size_t size, const char *fmt, ...) WT_PRINTF(3, 4);
/* Whole string to a number: no leading or trailing anything. Errors: WT_E_FORMAT, WT_E_RANGE. */
int wt_text_to_u64(const char *text, uint64_t *ret_value);
int wt_text_to_double(const char *text, double *ret_value); /* decimal point in every locale */

/* ---- json.c: jansson with our number format ---- */

typedef struct json_t json_t; /* jansson */
/* {"energy_j":..,"low_j":..,"high_j":..,"provenance":..} fields into an object; unknown energy is
 * null, as is a number that is not finite. */
json_t *wt_json_number(double value);
int wt_json_set_joules(json_t *object, const struct wt_joules *joules);
/* Serialises, frees the value; owned by the caller. NULL only without memory. */
char *wt_json_dump(json_t *value);

#endif
