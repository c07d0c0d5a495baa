/* gauge: see gauge.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/gauge.h"

/* More than any socket, memory, board or node draws: a reading above is none, and a fall of a
 * counter that needs more is no wrap. */
#define POWER_MAX_MW   UINT64_C(20000000)
#define TRIES_TO_FRESH 3

static bool has_file(const struct wt_gauge_file *file)
{
    return file->path[0] != '\0';
}

/* A current or a power may swing below zero in passing; nothing of it is drawn, and it counts as 0.
 * Elsewhere a minus is a mistake. */
static int read_number(const struct wt_ctx *ctx, struct wt_gauge_file *file, bool may_swing,
                       uint64_t *ret_value, struct wt_error *err)
{
    char text[64];
    uint64_t value = 0;
    int rc = wt_fs_read_kept(ctx, file->path, &file->keep, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    if (file->has_tail)
        text[strcspn(text, " \t\n")] = '\0';
    bool is_negative = may_swing && text[0] == '-';
    if (wt_text_to_u64(text + is_negative, &value) < 0 || value > UINT64_MAX >> 1)
        return wt_fail(err, WT_E_FORMAT, "%s%s: %s%.40s%s", wt_fs_root(ctx), file->path,
                       *text ? "\"" : "", *text ? text : "empty", *text ? "\" is no number" : "");
    unsigned __int128 scaled = (unsigned __int128)value * (file->mul ? file->mul : 1);
    scaled /= file->div ? file->div : 1;
    if (scaled > UINT64_MAX >> 1)
        return wt_fail(err, WT_E_FORMAT, "%s%s: %.40s is out of all proportion", wt_fs_root(ctx),
                       file->path, text);
    *ret_value = is_negative ? 0 : (uint64_t)scaled;
    return 0;
}

int wt_gauge_file_read(const struct wt_ctx *ctx, struct wt_gauge_file *file, uint64_t *ret_value,
                       struct wt_error *err)
{
    return read_number(ctx, file, false, ret_value, err);
}

/* 53 bits of factor times 64 of count stay below 128. */
int wt_gauge_scale_from(double uj, struct wt_gauge_scale *ret_scale)
{
    if (!(uj > 0x1p-64) || uj > 0x1p+40)
        return WT_E_FORMAT;
    int exponent;
    uint64_t mul = (uint64_t)ldexp(frexp(uj, &exponent), 53);
    int shift = 53 - exponent;
    while (shift > 0 && !(mul & 1)) {
        mul >>= 1;
        shift--;
    }
    *ret_scale = (struct wt_gauge_scale){mul, (unsigned)shift};
    return 0;
}

uint64_t wt_gauge_scaled_uj(unsigned __int128 count, const struct wt_gauge_scale *scale)
{
    unsigned __int128 uj = count * scale->mul >> scale->shift;
    return uj > UINT64_MAX ? UINT64_MAX : (uint64_t)uj;
}

/* ---- reading ---- */

static int read_counter(const struct wt_gauges *g, struct wt_gauge *gauge, uint64_t *ret_uj,
                        struct wt_error *err)
{
    return gauge->counter ? gauge->counter(g->ctx, gauge, ret_uj, err)
                          : wt_gauge_file_read(g->ctx, &gauge->energy, ret_uj, err);
}

static uint64_t power_max_mw(const struct wt_gauge *gauge)
{
    return gauge->power_max_mw ? gauge->power_max_mw : POWER_MAX_MW;
}

/* What has been drawn since the gauge was opened, plus the first raw reading. */
static uint64_t unwrap(struct wt_gauge *gauge, uint64_t raw_uj, int64_t now_ns)
{
    uint64_t most_uj = wt_energy_uj_from(power_max_mw(gauge), (uint64_t)(now_ns - gauge->last_ns));
    if (gauge->has_last && raw_uj < gauge->last_uj && gauge->range_uj >= gauge->last_uj &&
        gauge->range_uj - gauge->last_uj + raw_uj <= most_uj)
        gauge->added_uj += gauge->range_uj;
    gauge->has_last = true;
    gauge->last_uj = raw_uj;
    gauge->last_ns = now_ns;
    return gauge->added_uj + raw_uj;
}

static int read_energy(struct wt_gauges *g, struct wt_gauge *gauge, struct wt_reading *r,
                       struct wt_error *err)
{
    uint64_t raw_uj;
    pthread_mutex_lock(&gauge->lock);
    int64_t before_ns = wt_ctx_now_ns(g->ctx);
    int rc = read_counter(g, gauge, &raw_uj, err);
    int64_t after_ns = wt_ctx_now_ns(g->ctx);
    if (rc == 0)
        r->energy = (struct wt_energy){.uj = unwrap(gauge, raw_uj, after_ns),
                                       .t_ns = before_ns + (after_ns - before_ns) / 2,
                                       .state = g->state};
    pthread_mutex_unlock(&gauge->lock);
    return rc;
}

static int read_power(struct wt_gauges *g, size_t k, struct wt_reading *r, struct wt_error *err)
{
    struct wt_gauge *gauge = g->list[k];
    uint64_t mw = 0, times = 0;
    int64_t before_ns = wt_ctx_now_ns(g->ctx);
    int rc = gauge->wattage ? gauge->wattage(g->ctx, gauge, &mw, err)
                            : read_number(g->ctx, &gauge->power, true, &mw, err);
    if (rc == 0 && has_file(&gauge->times)) {
        rc = read_number(g->ctx, &gauge->times, true, &times, err);
        if (rc == 0 && times && mw > POWER_MAX_MW * 1000 / times)
            rc = wt_fail(err, WT_E_FORMAT, "%s%s: a power out of all proportion",
                         wt_fs_root(g->ctx), gauge->power.path);
        else if (rc == 0)
            mw = mw * times / 1000; /* both in thousandths */
    }
    if (rc == 0 && mw > power_max_mw(gauge))
        rc =
            wt_fail(err, WT_E_FORMAT, "%s%s: %.0f W is no reading of it",
                    gauge->wattage ? "" : wt_fs_root(g->ctx),
                    gauge->wattage ? g->source.devices[k].id : gauge->power.path, wt_w_from_mw(mw));
    if (rc == 0) {
        int64_t after_ns = wt_ctx_now_ns(g->ctx);
        r->power = (struct wt_power){
            .mw = mw, .t_ns = before_ns + (after_ns - before_ns) / 2, .state = g->state};
    }
    return rc;
}

static void read_status(const struct wt_gauges *g, struct wt_gauge *gauge, struct wt_status *s)
{
    for (size_t i = 0; i < WT_GAUGE_STATUS_MAX; i++) {
        uint64_t value;
        unsigned bit = gauge->status[i].bit;
        if (!bit || wt_gauge_file_read(g->ctx, &gauge->status[i].file, &value, NULL) < 0)
            continue;
        if (bit == WT_HAS_MEM) {
            s->mem_used_bytes = value;
            if (wt_gauge_file_read(g->ctx, &gauge->mem_total, &s->mem_total_bytes, NULL) < 0)
                continue;
        } else if (bit == WT_HAS_LIMIT) {
            if (!value)
                continue;
            s->power_limit_mw = value;
        } else if (value > INT32_MAX) {
            continue;
        } else if (bit == WT_HAS_TEMP) {
            s->temp_mc = (int32_t)value;
        } else if (bit == WT_HAS_CLOCK) {
            s->clock_khz = (uint32_t)value;
        } else if (bit == WT_HAS_MEMCLOCK) {
            s->memclock_khz = (uint32_t)value;
        } else if (bit == WT_HAS_UTIL) {
            s->util_ppm = (uint32_t)value;
        } else {
            continue;
        }
        s->has |= bit;
    }
}

/* All that was asked for, once. Returns the first failure; of the others only the state tells. */
static int read_once(struct wt_gauges *g, size_t k, unsigned what, struct wt_reading *r,
                     struct wt_error *err)
{
    struct wt_gauge *gauge = g->list[k];
    unsigned can = g->source.devices[k].can;
    int rc = 0, code;
    if (what & WT_READ_ENERGY & can)
        rc = read_energy(g, gauge, r, err);
    if ((what & WT_READ_POWER & can) && (code = read_power(g, k, r, rc < 0 ? NULL : err)) < 0 &&
        rc == 0)
        rc = code;
    if (what & WT_READ_STATUS & can)
        read_status(g, gauge, &r->status);
    return rc;
}

/* A set of files that is renewed as a whole: what was read belongs together only when it was not
 * renewed meanwhile. */
static int read_fresh(struct wt_gauges *g, size_t k, unsigned what, struct wt_reading *r,
                      struct wt_error *err)
{
    struct wt_gauge *gauge = g->list[k];
    for (int i = 0; i < TRIES_TO_FRESH; i++) {
        uint64_t before = 0, after = 0;
        int rc = wt_gauge_file_read(g->ctx, &gauge->freshness, &before, err);
        if (rc == 0)
            rc = read_once(g, k, what, r, err);
        if (rc == 0)
            rc = wt_gauge_file_read(g->ctx, &gauge->freshness, &after, err);
        if (rc < 0 || before == after) {
            if (rc < 0)
                r->energy.state = r->power.state = WT_ABSENT;
            return rc;
        }
    }
    r->energy.state = r->power.state = WT_ABSENT;
    return wt_fail(err, WT_E_BUSY, "%s%s: renewed during each of %d reads", wt_fs_root(g->ctx),
                   gauge->freshness.path, TRIES_TO_FRESH);
}

int wt_gauges_read(struct wt_source *source, size_t k, unsigned what,
                   struct wt_reading *ret_reading, struct wt_error *err)
{
    struct wt_gauges *g = (struct wt_gauges *)source;
    unsigned can = source->devices[k].can;
    ret_reading->t_before_ns = wt_ctx_now_ns(g->ctx);
    int rc = has_file(&g->list[k]->freshness) ? read_fresh(g, k, what, ret_reading, err)
                                              : read_once(g, k, what, ret_reading, err);
    ret_reading->t_after_ns = wt_ctx_now_ns(g->ctx);
    /* The files were there when the set was opened. */
    if (rc == WT_E_NOTFOUND) {
        rc = WT_E_GONE;
        if (err)
            err->code = rc;
    }
    if (rc == 0 && (what & ~can))
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s has %s and nothing else", source->devices[k].id,
                     (can & WT_CAN_ENERGY) && (can & WT_CAN_POWER)
                         ? "an energy counter and a power reading"
                     : can & WT_CAN_ENERGY ? "an energy counter"
                                           : "a power reading");
    return rc;
}

/* ---- making ---- */

int wt_gauges_new(struct wt_gauges **ret_gauges, struct wt_ctx *ctx,
                  const struct wt_source_ops *ops, struct wt_error *err)
{
    struct wt_gauges *g = calloc(1, sizeof(*g));
    if (!g)
        return wt_fail(err, WT_E_NOMEM, "no memory for the sensors of %s", ops->name);
    g->source.ops = ops;
    g->ctx = ctx;
    g->state = wt_fs_state(ctx);
    *ret_gauges = g;
    return 0;
}

static void drop_last(struct wt_gauges *g)
{
    struct wt_gauge *last = g->list[--g->source.count];
    struct wt_gauge_file *const files[] = {&last->energy, &last->power, &last->times,
                                           &last->freshness, &last->mem_total};
    for (size_t i = 0; i < WT_COUNTOF(files); i++)
        wt_fs_drop(&files[i]->keep);
    for (size_t i = 0; i < WT_GAUGE_STATUS_MAX; i++)
        wt_fs_drop(&last->status[i].file.keep);
    pthread_mutex_destroy(&last->lock);
    free(last);
}

/* Tries one kind of reading; takes it from info->can when it does not work, and says why. */
static int try_reading(struct wt_gauges *g, size_t k, unsigned what, const char *fix_denied,
                       struct wt_findings *notes)
{
    struct wt_reading reading = {0};
    struct wt_error why = {0};
    struct wt_device_info *info = &g->source.devices[k];
    if (!(info->can & what))
        return 0;
    int rc = wt_gauges_read(&g->source, k, what, &reading, &why);
    /* In passing only (a battery whose charger comes, a set that was just renewed): it may come. */
    if (rc == 0 || rc == WT_E_STATE || rc == WT_E_BUSY)
        return 0;
    info->can &= ~what;
    if (rc == WT_E_DENIED && fix_denied)
        wt_fix(&why, "%s", fix_denied);
    return wt_findings_add_error(notes, info->source, info->id,
                                 what == WT_READ_ENERGY ? "energy counter" : "power", &why);
}

int wt_gauges_add(struct wt_gauges *g, const struct wt_device_info *info,
                  const struct wt_gauge *gauge, const char *fix_denied, bool *ret_added,
                  struct wt_findings *notes)
{
    size_t k = g->source.count;
    if (ret_added)
        *ret_added = false;
    struct wt_device_info *infos = realloc(g->source.devices, (k + 1) * sizeof(*infos));
    if (infos)
        g->source.devices = infos;
    struct wt_gauge **list = realloc(g->list, (k + 1) * sizeof(*list));
    if (list)
        g->list = list;
    struct wt_gauge *copy = malloc(sizeof(*copy));
    if (!infos || !list || !copy) {
        free(copy);
        return WT_E_NOMEM;
    }
    *copy = *gauge;
    pthread_mutex_init(&copy->lock, NULL);
    copy->has_last = false;
    copy->added_uj = 0;
    list[k] = copy;
    infos[k] = *info;
    infos[k].can = (has_file(&gauge->energy) || gauge->counter ? WT_CAN_ENERGY : 0) |
                   (has_file(&gauge->power) || gauge->wattage ? WT_CAN_POWER : 0);
    for (size_t i = 0; i < WT_GAUGE_STATUS_MAX; i++)
        infos[k].can |= gauge->status[i].bit ? WT_CAN_STATUS : 0;
    if (!infos[k].traits.energy_range_uj)
        infos[k].traits.energy_range_uj = gauge->range_uj;
    infos[k].power_max_mw = gauge->power_max_mw;
    wt_text(infos[k].source, sizeof(infos[k].source), "%s", g->source.ops->name);
    g->source.count++;

    int rc = try_reading(g, k, WT_READ_ENERGY, fix_denied, notes);
    if (rc == 0)
        rc = try_reading(g, k, WT_READ_POWER, fix_denied, notes);
    bool is_left = (infos[k].can & (WT_CAN_ENERGY | WT_CAN_POWER)) ||
                   (infos[k].is_part && (infos[k].can & WT_CAN_STATUS));
    if (rc < 0 || !is_left)
        drop_last(g);
    else if (ret_added)
        *ret_added = true;
    return rc;
}

void wt_gauges_close(struct wt_source *source)
{
    struct wt_gauges *g = (struct wt_gauges *)source;
    if (!g)
        return;
    if (g->free_data)
        g->free_data(g);
    while (g->source.count)
        drop_last(g);
    free(g->list);
    free(g->source.devices);
    free(g);
}
