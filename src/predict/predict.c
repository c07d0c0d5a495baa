/* predict: see wattune/predict.h. One pass in the steady state, its parts, and its bounds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "emulator/physics.h"
#include "predict/device.h"
#include "workload/backend.h"

#define EXCHANGE_NS 10e3 /* of an all-reduce, before its first byte: assumed */

const char *wt_predict_basis_name(enum wt_predict_basis basis)
{
    static const char *const names[] = {"catalogue", "profile", "calibrated"};
    return names[basis];
}

/* How far off such predictions were, as a factor with 95 % of them within (bench/predict-judge,
 * docs/predict.md). Where a limit is below 60 % of the highest, boards part: some gate. */
#define LOW_LIMIT      0.6
#define LOW_LIMIT_TIME 1.6
static const struct {
    double time, power;
} bounds[] = {
    [WT_PREDICT_ROW] = {2.0, 1.5},
    [WT_PREDICT_PROFILE] = {1.7, 1.3},
    [WT_PREDICT_CALIBRATED] = {1.12, 1.1},
};

/* By a run of which it is doubted that it is of this work on this board. What there is of such
 * calibrations is those by another batch (predict-judge): a small one waits for its host, and what
 * it takes is then mistaken for the board's. Another board, model or type is not judged, and so the
 * bounds reach as far as those without the run, too: either it is of this work, or it says nothing.
 */
static const double doubted_time = 2.4, doubted_power = 1.4;

static struct wt_estimate within(double value, double factor)
{
    return (struct wt_estimate){value, value / factor, value * factor};
}

/* ---- the device ---- */

static int find_profile(const struct wt_gpu *gpu, const struct wt_predict_options *o,
                        struct wt_profile *ret_profile, enum wt_predict_basis *ret_basis,
                        struct wt_error *err)
{
    const struct wt_profile *p = o->is_row_only ? NULL : wt_profile_find(gpu->profile);
    *ret_basis = p ? WT_PREDICT_PROFILE : WT_PREDICT_ROW;
    if (!p)
        return wt_device_from_row(gpu, NULL, 0, ret_profile, err);
    *ret_profile = *p;
    if (!wt_device_is_calibrated(p) && gpu->memory_reached_gb_s > 0)
        ret_profile->mem_share = wt_device_memory_share(gpu);
    return 0;
}

/* As the program would be refused on the device itself (wt_cuda_new). */
static int check_dtype(const struct wt_profile *p, const struct wt_gpu *gpu, enum wt_dtype dtype,
                       struct wt_error *err)
{
    if (dtype != WT_TF32 || p->tf32_flops_s > 0)
        return 0;
    return wt_fail(err, WT_E_UNSUPPORTED, "%s: no TF32 rate of it is known; take fp32", gpu->name);
}

/* ---- calibration ---- */

static void scale_power(struct wt_profile *p, double factor)
{
    p->busy_w *= factor;
    p->fp32_w *= factor;
    p->tensor_w *= factor;
    p->memory_w *= factor;
}

static void scale_speed(struct wt_profile *p, double factor)
{
    p->fp32_share *= factor;
    p->tensor_share *= factor;
    p->mem_share *= factor;
    p->launch_ns /= factor;
}

/* Speed and the power of work until the measured run comes out. Under a limit that binds power is
 * the limit, and says nothing of the board: then only speed is fitted. */
static int calibrate(struct wt_profile *p, const struct wt_steady_load *load,
                     const struct wt_predict_measured *m, struct wt_error *err)
{
    for (int i = 0; i < 30; i++) {
        struct wt_steady now;
        int rc = wt_physics_steady(p, load, m->limit_w, (uint32_t)(m->clock_mhz * 1e3), &now, err);
        if (rc < 0)
            return rc;
        double rest_w = p->base_w + p->leak_w + p->tree_w;
        double power = (m->power_w - rest_w) / (now.power_w - rest_w);
        double speed = now.pass_ns * 1e-9 / m->pass_s;
        if (!(power > 0.1) || !(speed > 0.01) || power > 10 || speed > 100)
            return wt_fail(err, WT_E_RANGE,
                           "run %s took %.3g s and %.0f W a pass, where %.3g s and %.0f W are "
                           "predicted: is it the same work on the same device?",
                           m->run_id, m->pass_s, m->power_w, now.pass_ns * 1e-9, now.power_w);
        scale_speed(p, speed);
        if (!now.is_capped || power < 1)
            scale_power(p, power);
        if (fabs(speed - 1) < 1e-4 && fabs(power - 1) < 1e-4)
            break;
    }
    return 0;
}

/* ---- a pass ---- */

static double exchange_ns(const struct wt_gpu *gpu, const struct wt_work_ops *ops, unsigned devices)
{
    double n = devices;
    if (!(ops->exchanges > 0))
        return 0;
    return ops->exchanges * (EXCHANGE_NS + 2 * (n - 1) / n * ops->exchange_bytes /
                                               wt_device_link_bytes_s(gpu) * 1e9);
}

static void fill(struct wt_prediction *r, const struct wt_steady *s, double link_ns, double flops,
                 double limit_max_w)
{
    double n = r->devices, tokens = (double)wt_work_tokens(&r->work), pass_s = s->pass_ns * 1e-9;
    double copies = r->work.is_decoder ? 1 : n; /* each does a batch of its own */
    double time = *r->doubt ? doubted_time : bounds[r->basis].time;
    double power = *r->doubt ? doubted_power : bounds[r->basis].power;
    if (s->is_capped && r->limit_w < LOW_LIMIT * limit_max_w)
        time *= LOW_LIMIT_TIME;
    /* Where time is wrong by a factor, power is not: they are taken as independent. */
    double both = exp(hypot(log(time), log(power)));
    tokens *= copies;
    r->pass_s = within(pass_s, time);
    r->power_w = within(n * s->power_w, power);
    r->energy_j = within(n * s->power_w * pass_s, both);
    r->tokens_per_s = within(tokens / pass_s, time);
    r->j_per_token = within(n * s->power_w * pass_s / tokens, both);
    r->compute_share = s->compute_share;
    r->memory_share = s->memory_share;
    r->launch_share = s->launch_share;
    r->link_share = s->pass_ns > 0 ? link_ns / s->pass_ns : 0;
    r->host_share = fmax(0, s->gap_share - r->link_share);
    r->is_capped = s->is_capped;
    r->is_hot = s->is_hot;
    r->flops = flops * n;
}

static void reach(struct wt_estimate *e, const struct wt_estimate *other)
{
    e->low = fmin(e->low, other->low);
    e->high = fmax(e->high, other->high);
}

/* So that they hold those of the prediction without the run. */
static int widen(struct wt_prediction *r, const struct wt_predict_options *options,
                 struct wt_error *err)
{
    struct wt_predict_options o = *options;
    struct wt_prediction other;
    o.measured = NULL;
    int rc = wt_predict(&other, &r->gpu, &r->work, &o, err);
    if (rc < 0)
        return rc;
    reach(&r->pass_s, &other.pass_s);
    reach(&r->power_w, &other.power_w);
    reach(&r->energy_j, &other.energy_j);
    reach(&r->tokens_per_s, &other.tokens_per_s);
    reach(&r->j_per_token, &other.j_per_token);
    return 0;
}

int wt_predict(struct wt_prediction *ret_prediction, const struct wt_gpu *gpu,
               const struct wt_work *work, const struct wt_predict_options *options,
               struct wt_error *err)
{
    static const struct wt_predict_options none;
    const struct wt_predict_options *o = options ? options : &none;
    struct wt_prediction r = {.gpu = *gpu, .work = *work, .devices = o->devices ? o->devices : 1};
    struct wt_profile p;
    struct wt_work_ops ops = {0};
    struct wt_steady steady;
    double flops = 0;
    if (work->is_decoder)
        r.work.parts = r.devices;
    int rc = find_profile(gpu, o, &p, &r.basis, err);
    if (rc == 0)
        rc = check_dtype(&p, gpu, work->dtype, err);
    if (rc == 0)
        rc = wt_work_ops(&r.work, &ops, err);
    if (rc < 0)
        return rc;
    double link_ns = exchange_ns(gpu, &ops, r.devices);
    const struct wt_steady_load load = {ops.kernels, ops.count, link_ns + o->host_gap_s * 1e9};
    if (o->measured) {
        rc = calibrate(&p, &load, o->measured, err);
        r.basis = WT_PREDICT_CALIBRATED;
        memcpy(r.measured, o->measured->run_id, sizeof(r.measured));
        memcpy(r.emulation, o->measured->emulation, sizeof(r.emulation));
        memcpy(r.measured_on, o->measured->device, sizeof(r.measured_on));
        memcpy(r.doubt, o->measured->doubt, sizeof(r.doubt));
        r.measured_s = o->measured->run_s;
    }
    if (rc == 0)
        rc = wt_physics_steady(&p, &load, o->limit_w, (uint32_t)(o->clock_mhz * 1e3), &steady, err);
    for (size_t i = 0; i < ops.count; i++)
        flops += ops.kernels[i].flops;
    if (rc == 0) {
        r.limit_w = o->limit_w > 0 ? o->limit_w : p.limit_default_mw * 1e-3;
        r.clock_mhz = steady.f * steady.duty * p.clock_max_khz * 1e-3;
        r.memory_gb = (double)ops.memory * 1e-9;
        r.is_fit_known = gpu->memory_gb > 0;
        r.fits = !r.is_fit_known || r.memory_gb <= gpu->memory_gb;
        fill(&r, &steady, link_ns, flops, p.limit_max_mw * 1e-3);
    }
    wt_work_ops_done(&ops);
    if (rc == 0 && *r.doubt)
        rc = widen(&r, o, err);
    if (rc == 0)
        *ret_prediction = r;
    return rc;
}

const char *wt_prediction_dtype(const struct wt_prediction *r)
{
    return wt_dtype_name(r->work.dtype);
}

const char *wt_prediction_limit(const struct wt_prediction *r)
{
    const struct {
        double share;
        const char *name;
    } rows[] = {{r->compute_share, r->is_capped ? "compute, held back by the limit" : "compute"},
                {r->memory_share, "memory"},
                {r->launch_share, "launches"},
                {r->link_share, "the link between devices"},
                {r->host_share, "the host"}};
    size_t most = 0;
    for (size_t i = 1; i < WT_COUNTOF(rows); i++)
        if (rows[i].share > rows[most].share)
            most = i;
    return rows[most].name;
}
