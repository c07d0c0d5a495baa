/* physics: see physics.h. */
#include "emulator/physics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

double wt_physics_voltage(const struct wt_profile *p, double f)
{
    if (f <= p->f_knee)
        return p->v_min;
    return p->v_min + (1.0 - p->v_min) * (f - p->f_knee) / (1.0 - p->f_knee);
}

/* A member at a time: emulated devices are compared by their bytes. */
void wt_physics_kernel(const struct wt_profile *p, const struct wt_emu_kernel *kernel,
                       struct wt_model_kernel *ret_kernel)
{
    double tensor_flops_s = kernel->engine == WT_EMU_TENSOR ? p->tensor_flops_s
                            : kernel->engine == WT_EMU_TF32 ? p->tf32_flops_s
                                                            : 0;
    bool is_tensor = tensor_flops_s > 0;
    double flops_s = is_tensor ? tensor_flops_s * p->tensor_share : p->fp32_flops_s * p->fp32_share;
    ret_kernel->engine = is_tensor ? WT_EMU_TENSOR : WT_EMU_FP32;
    ret_kernel->compute_ns = (float)(kernel->flops / flops_s * 1e9);
    ret_kernel->memory_ns = (float)(kernel->bytes / (p->mem_bytes_s * p->mem_share) * 1e9);
}

/* Memory's time of a whole kernel, which a low SM clock makes longer. */
static double memory_ns(const struct wt_profile *p, const struct wt_model_kernel *k, double f,
                        double mem)
{
    double ns = (double)k->memory_ns * (1.0 + p->mem_sm_share * (1.0 / f - 1.0)) / mem;
    return f < p->mem_sm_knee ? ns * (p->mem_sm_knee / f) : ns;
}

struct wt_pace wt_physics_pace(const struct wt_profile *p, const struct wt_model_kernel *k,
                               double f, double duty, double mem)
{
    double compute = (double)k->compute_ns / f;
    double memory = memory_ns(p, k, f, mem);
    double body =
        compute > memory ? compute + p->overlap_lost * memory : memory + p->overlap_lost * compute;
    struct wt_pace pace = {.span_ns = (body + p->launch_ns) / duty,
                           .launch_ns = p->launch_ns / duty};
    if (pace.span_ns < 1.0)
        pace.span_ns = 1.0;
    pace.compute = compute / pace.span_ns;
    pace.memory = (double)k->memory_ns / pace.span_ns;
    pace.busy = (pace.span_ns - pace.launch_ns) * duty / pace.span_ns;
    return pace;
}

double wt_physics_power(const struct wt_profile *p, const struct wt_model_kernel *k,
                        const struct wt_pace *pace, double f, double temp_c)
{
    double leak = 1.0 + p->leak_per_k * (temp_c - p->leak_ref_c);
    double v = wt_physics_voltage(p, f);
    double w = p->base_w + p->leak_w * v * leak + v * v * f * p->tree_w;
    if (!k)
        return w;
    double engine_w = k->engine == WT_EMU_TENSOR ? p->tensor_w : p->fp32_w;
    return w + (v * v * f * (p->busy_w * pace->busy + engine_w * pace->compute) +
                p->memory_w * pace->memory);
}

double wt_physics_aim(const struct wt_profile *p, double limit_w, double f)
{
    /* Measured boards stay further below a high limit than below a low one. */
    double rise = (wt_physics_voltage(p, f) - p->v_min) / (1.0 - p->v_min);
    return limit_w * (p->cap_share_low + (p->cap_share - p->cap_share_low) * rise);
}

/* ---- the steady state ---- */

/* Kernels that are alike, once: a model's layers are. */
struct kind {
    struct wt_model_kernel kernel;
    double count;
};

static int by_work(const void *a, const void *b)
{
    const struct wt_emu_kernel *x = a, *y = b;
    if (x->flops != y->flops)
        return x->flops < y->flops ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return (x->engine > y->engine) - (x->engine < y->engine);
}

static struct kind *kinds_of(const struct wt_profile *p, const struct wt_steady_load *load,
                             size_t *ret_count)
{
    struct wt_emu_kernel *sorted = malloc((load->count + 1) * sizeof(*sorted));
    struct kind *kinds = calloc(load->count + 1, sizeof(*kinds));
    size_t count = 0;
    if (!sorted || !kinds) {
        free(sorted);
        free(kinds);
        return NULL;
    }
    if (load->count)
        memcpy(sorted, load->kernels, load->count * sizeof(*sorted));
    qsort(sorted, load->count, sizeof(*sorted), by_work);
    for (size_t i = 0; i < load->count; i++) {
        if (i == 0 || by_work(&sorted[i], &sorted[i - 1]) != 0)
            wt_physics_kernel(p, &sorted[i], &kinds[count++].kernel);
        kinds[count - 1].count++;
    }
    free(sorted);
    *ret_count = count;
    return kinds;
}

struct search {
    const struct wt_profile *p;
    const struct kind *kinds;
    size_t count;
    double gap_ns, limit_w, top;
};

/* One pass with the controller's wish at drive (relative clock): below the floor it gates. */
static void pass_at(const struct search *s, double drive, struct wt_steady *r)
{
    const struct wt_profile *p = s->p;
    double floor_f = fmin(p->floor_share, s->top), energy = 0;
    r->f = fmax(drive, floor_f);
    r->duty = drive < floor_f ? fmax(drive / floor_f, p->duty_min) : 1;
    r->pass_ns = s->gap_ns;
    r->compute_share = r->memory_share = r->launch_share = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct wt_model_kernel *k = &s->kinds[i].kernel;
        struct wt_pace pace = wt_physics_pace(p, k, r->f, r->duty, 1);
        double span_ns = pace.span_ns * s->kinds[i].count;
        double launch_ns = fmin(pace.launch_ns * s->kinds[i].count, span_ns);
        r->pass_ns += span_ns;
        energy += span_ns * wt_physics_power(p, k, &pace, r->f, r->temp_c);
        r->launch_share += launch_ns;
        if (k->compute_ns / r->f > memory_ns(p, k, r->f, 1))
            r->compute_share += span_ns - launch_ns;
        else
            r->memory_share += span_ns - launch_ns;
    }
    energy += s->gap_ns * wt_physics_power(p, NULL, NULL, r->f, r->temp_c);
    r->power_w = energy / r->pass_ns;
    r->compute_share /= r->pass_ns;
    r->memory_share /= r->pass_ns;
    r->launch_share /= r->pass_ns;
    r->gap_share = s->gap_ns / r->pass_ns;
}

/* The highest wish at which the mean power is within the aim, at a temperature. */
static void control(const struct search *s, struct wt_steady *r)
{
    const struct wt_profile *p = s->p;
    double high = s->top, low = p->floor_share * p->duty_min;
    pass_at(s, high, r);
    r->is_capped = r->power_w > wt_physics_aim(p, s->limit_w, r->f);
    if (!r->is_capped)
        return;
    for (int i = 0; i < 40 && low < high; i++) {
        double middle = (low + high) / 2;
        pass_at(s, middle, r);
        if (r->power_w > wt_physics_aim(p, s->limit_w, r->f))
            high = middle;
        else
            low = middle;
    }
    pass_at(s, low, r);
    r->is_capped = true;
}

int wt_physics_steady(const struct wt_profile *p, const struct wt_steady_load *load, double limit_w,
                      uint32_t clock_khz, struct wt_steady *ret_steady, struct wt_error *err)
{
    struct search s = {.p = p, .gap_ns = load->gap_ns};
    if (!load->count && !(load->gap_ns > 0))
        return wt_fail(err, WT_E_USAGE, "nothing to run");
    s.limit_w = limit_w > 0 ? limit_w : p->limit_default_mw * 1e-3;
    if (s.limit_w < p->limit_min_mw * 1e-3 || s.limit_w > p->limit_max_mw * 1e-3)
        return wt_fail(err, WT_E_RANGE, "%s: a limit of %g W: it takes %g to %g W", p->title,
                       s.limit_w, p->limit_min_mw * 1e-3, p->limit_max_mw * 1e-3);
    if (clock_khz && (clock_khz < p->clock_min_khz || clock_khz > p->clock_max_khz))
        return wt_fail(err, WT_E_RANGE, "%s: a clock of %g MHz: it takes %g to %g MHz", p->title,
                       clock_khz * 1e-3, p->clock_min_khz * 1e-3, p->clock_max_khz * 1e-3);
    s.top = clock_khz ? (double)clock_khz / p->clock_max_khz : 1;
    struct kind *kinds = kinds_of(p, load, &s.count);
    if (!kinds)
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu kernels", load->count);
    s.kinds = kinds;
    *ret_steady = (struct wt_steady){.temp_c = p->leak_ref_c};
    /* Warmer draws more, and what draws more is warmer: it converges fast, as little of the power
     * leaks. */
    for (int i = 0; i < 8; i++) {
        double was_c = ret_steady->temp_c;
        control(&s, ret_steady);
        ret_steady->temp_c = p->ambient_c + p->kelvin_per_w * ret_steady->power_w;
        if (fabs(ret_steady->temp_c - was_c) < 0.01)
            break;
    }
    /* Too hot: it steps down until it is not. */
    while (ret_steady->temp_c > p->slowdown_c && s.top > p->floor_share + 0.01) {
        s.top -= 0.01;
        ret_steady->is_hot = true;
        control(&s, ret_steady);
        ret_steady->temp_c = p->ambient_c + p->kelvin_per_w * ret_steady->power_w;
    }
    free(kinds);
    return 0;
}
