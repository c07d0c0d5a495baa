/* probe_sim: see the header. The load is that of `wattune probe`: square pulses of random lengths.
 */
#include "probe_sim.h"

#include <math.h>
#include <stdlib.h>

#include "base/base.h"

#define MS WT_NS_PER_MS
#define S  WT_NS_PER_S

static double draw(uint64_t *dice)
{
    *dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *dice;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

/* Memory traffic only, in kernels as short as their launch: far below the power cap. */
static struct wt_emu_kernel light_kernel(const struct wt_profile *p)
{
    return (struct wt_emu_kernel){0, p->mem_bytes_s * p->mem_share * p->launch_ns * 1e-9,
                                  WT_EMU_FP32};
}

struct feeder {
    uint64_t dice, load_id;
    struct wt_emu_kernel *kernels;
    double kernel_ns;
    bool is_on;
    size_t left;               /* kernels not yet queued */
    int64_t begin_ns, next_ns; /* the present pulse began; the next begins */
};

#define CHUNK 4096

/* Most lengths lie between 10 and 300 ms, some are as long as a running mean. */
static double length_s(uint64_t *dice)
{
    double coin = draw(dice), x = draw(dice);
    return coin < 0.85 ? 0.01 * pow(30, x) : 0.3 + x;
}

static void note_edge(struct wt_probe_trace *trace, const struct probe_sim *sim, struct feeder *f,
                      int64_t t_ns, bool is_on)
{
    double half = sim->edge_ms * 1e6, off = (draw(&f->dice) - 0.5) * 2 * half;
    wt_probe_trace_edge(trace, t_ns + (int64_t)(off - half), t_ns + (int64_t)(off + half), is_on);
}

/* Takes the device to t_ns under the load. */
static void go_to(struct feeder *f, const struct probe_sim *sim, struct wt_model *m, int64_t t_ns,
                  struct wt_probe_trace *trace)
{
    const struct wt_profile *p = sim->profile;
    if (!f->is_on && !sim->is_idle && t_ns >= f->next_ns) {
        wt_model_advance(m, p, f->next_ns);
        f->is_on = true;
        f->left = (size_t)(length_s(&f->dice) * 1e9 / f->kernel_ns) + 1;
        f->begin_ns = m->t_ns;
        note_edge(trace, sim, f, m->t_ns, true);
    }
    while (f->left) {
        size_t n = f->left < CHUNK ? f->left : CHUNK;
        if (wt_model_submit(m, p, f->load_id + 1, f->kernels, n, 0, NULL) < 0)
            break;
        f->load_id++;
        f->left -= n;
    }
    wt_model_advance(m, p, t_ns);
    int64_t end_ns;
    if (f->is_on && !f->left && wt_model_load_done(m, f->load_id, &end_ns) == 1) {
        f->is_on = false;
        note_edge(trace, sim, f, end_ns, false);
        f->next_ns = end_ns + (int64_t)(length_s(&f->dice) * 1e9);
        if (f->next_ns < m->t_ns)
            f->next_ns = m->t_ns;
    }
}

static void look(const struct probe_sim *sim, const struct wt_model *m, double at_s,
                 int64_t before_ns, uint64_t frozen[WT_PROBE_STREAMS], struct wt_probe_trace *trace)
{
    const struct wt_profile *p = sim->profile;
    int64_t t_ns = m->t_ns, after_ns = t_ns + 20000;
    uint64_t value[WT_PROBE_STREAMS];
    bool is_there[WT_PROBE_STREAMS] = {
        sim->has_no_instant || !p->has_instant
            ? wt_model_power_plain(m, p, t_ns, &value[WT_PROBE_POWER])
            : wt_model_power_instant(m, p, t_ns, &value[WT_PROBE_POWER]),
        !sim->has_no_instant && p->has_instant &&
            wt_model_power_plain(m, p, t_ns, &value[WT_PROBE_PLAIN]),
        wt_model_counter(m, p, &value[WT_PROBE_ENERGY]),
    };
    double from_s[WT_PROBE_STREAMS] = {sim->frozen_power_s, sim->frozen_power_s,
                                       sim->frozen_energy_s};
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++) {
        if (!is_there[i])
            continue;
        if (sim->failing_s > 0 && at_s >= sim->failing_s) {
            wt_probe_series_fail(&trace->series[i], t_ns);
            continue;
        }
        if (i == WT_PROBE_ENERGY) {
            uint64_t first_mj = m->counter_first_mj;
            if (sim->reset_s > 0 && at_s >= sim->reset_s)
                value[i] = value[i] - first_mj - frozen[i];
            else if (sim->reset_s > 0)
                frozen[i] = value[i] - first_mj;
            if (sim->jump_s > 0 && at_s >= sim->jump_s)
                value[i] += UINT64_C(1) << 32;
            value[i] *= 1000;
        }
        if (from_s[i] > 0 && at_s >= from_s[i])
            value[i] = frozen[i];
        else if (from_s[i] > 0)
            frozen[i] = value[i];
        wt_probe_series_add(&trace->series[i], before_ns, after_ns, value[i]);
    }
}

void probe_sim_run(const struct probe_sim *sim, struct wt_probe_trace *ret_trace)
{
    const struct wt_profile *p = sim->profile;
    struct wt_model *m = malloc(sizeof(*m));
    struct feeder f = {.dice = sim->seed, .kernels = calloc(CHUNK, sizeof(*f.kernels))};
    uint64_t frozen[WT_PROBE_STREAMS] = {0};
    *ret_trace = (struct wt_probe_trace){.limit_w = p->limit_max_mw * 1e-3};
    for (size_t i = 0; i < CHUNK; i++)
        f.kernels[i] = light_kernel(p);
    f.kernel_ns = 2 * p->launch_ns;
    int64_t t0_ns = 1000 * S;
    wt_model_init(m, p, t0_ns, sim->seed);
    wt_model_set_contexts(m, p, 1);
    wt_model_advance(m, p, t0_ns += 15 * S);
    f.next_ns = t0_ns + S / 2;
    double poll_ns = (sim->poll_ms > 0 ? sim->poll_ms : 1) * 1e6;
    for (int64_t t_ns = t0_ns; t_ns < t0_ns + (int64_t)(sim->seconds * 1e9);) {
        double late_ns = draw(&f.dice) * sim->jitter_ms * 1e6;
        if (draw(&f.dice) < 0.01)
            late_ns *= 10;
        t_ns += (int64_t)(poll_ns + late_ns);
        go_to(&f, sim, m, t_ns, ret_trace);
        look(sim, m, wt_s_from_ns(t_ns - t0_ns), t_ns - 20000, frozen, ret_trace);
    }
    free(f.kernels);
    free(m);
}

void probe_sim_info(const struct probe_sim *sim, struct wt_device_info *ret_info)
{
    *ret_info = (struct wt_device_info){.is_emulated = true, .kind = WT_DEVICE_GPU};
    wt_text(ret_info->id, sizeof(ret_info->id), "GPU-of-%s", sim->profile->name);
    wt_text(ret_info->name, sizeof(ret_info->name), "%s", sim->profile->board);
    wt_text(ret_info->source, sizeof(ret_info->source), "model");
    ret_info->traits.gain_ppm = 50000;
}
