/* The device model. See model.h for what it promises and docs/emulator-model.md for the equations.
 *
 * Everything happens at events, taken in order of time and, at the same instant, in the order of
 * `step` below. Between two events power is constant, so energy is a product of integers. */
#include "emulator/model.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/random.h"
#include "emulator/physics.h"

#define NEVER      INT64_MAX
#define CTL_NS     (2 * WT_NS_PER_MS)   /* the controller's tick */
#define HEAT_NS    (100 * WT_NS_PER_MS) /* the thermal tick */
#define UTIL_NS    (WT_NS_PER_S / 6)    /* NVML: "between 1 s and 1/6 s, by product" */
#define SLEEP_KHZ  0.5                  /* clock changes below this are none */
#define HEAT_EPS_K 1e-4
/* At rest, only so many sensor periods back from the target are worth playing. */
#define REST_PERIODS (WT_MODEL_SAMPLES + 2)

static double watts(const struct wt_model *m)
{
    return (double)m->power_uw * 1e-6;
}

double wt_j_from_fj(wt_fj fj)
{
    return (double)fj * 1e-15;
}

/* Neighbouring seeds give unrelated devices. */
static double draw_between(struct wt_random *dice, double low, double high)
{
    return low + (high - low) * ((double)(wt_random_next(dice) >> 11) * 0x1p-53);
}

/* ---- physics ---- */

static double mem_scale(const struct wt_model *m, const struct wt_profile *p)
{
    return (double)m->memclock_khz / (double)p->memclock_khz[0];
}

static const struct wt_model_load *running(const struct wt_model *m)
{
    return &m->loads[m->load_head & (WT_MODEL_LOADS - 1)];
}

static const struct wt_model_kernel *kernel_at(const struct wt_model *m,
                                               const struct wt_model_load *load, uint32_t i)
{
    return &m->kernels[(load->first + i) & (WT_MODEL_KERNELS - 1)];
}

/* Power and pace follow from what runs, the clocks and the temperature. */
static void settle_power(struct wt_model *m, const struct wt_profile *p)
{
    double w;

    m->mem_busy_ppm = 0;
    m->kernel_span_ns = 0;
    if (!m->is_awake && m->lock_min_khz == 0) {
        /* At idle clocks the whole board is one number; heat moves the leaking part of it. */
        w = p->idle_w + p->leak_w * p->v_min * p->leak_per_k * (m->temp_c - p->ambient_c);
    } else {
        struct wt_pace pace = {0};
        double f = (double)m->clock_khz / (double)p->clock_max_khz;
        const struct wt_model_kernel *k = NULL;
        if (m->is_running && !m->is_gap) {
            k = kernel_at(m, running(m), m->kernel);
            pace = wt_physics_pace(p, k, f, m->duty, mem_scale(m, p));
            m->kernel_span_ns = pace.span_ns;
            m->mem_busy_ppm = (uint32_t)lround(fmin(pace.memory, 1.0) * 1e6);
        }
        w = wt_physics_power(p, k, &pace, f, m->temp_c);
    }
    m->power_uw = (uint64_t)llround(fmax(w, 0.001) * 1e6);
}

/* ---- what runs ---- */

static void set_work_end(struct wt_model *m)
{
    m->t_kernel_ns = m->t_ns;
    m->t_work_ns = m->t_ns + (int64_t)ceil(m->kernel_left * m->kernel_span_ns);
}

/* Before a clock changes: how much of the kernel is left. */
static void note_progress(struct wt_model *m)
{
    if (!m->is_running || m->is_gap)
        return;
    m->kernel_left -= (double)(m->t_ns - m->t_kernel_ns) / m->kernel_span_ns;
    if (m->kernel_left < 0)
        m->kernel_left = 0;
    m->t_kernel_ns = m->t_ns;
}

/* After it. */
static void retime(struct wt_model *m, const struct wt_profile *p)
{
    settle_power(m, p);
    if (m->is_running && !m->is_gap)
        set_work_end(m);
}

static double ceiling_khz(const struct wt_model *m, const struct wt_profile *p)
{
    double khz = m->lock_max_khz ? m->lock_max_khz : p->clock_max_khz;
    return fmin(khz, m->heat_khz);
}

static double bottom_khz(const struct wt_profile *p)
{
    return p->clock_max_khz * p->floor_share * p->duty_min;
}

/* The controller's wish becomes a clock of the list and, under the floor, a duty. */
static void apply_clock(struct wt_model *m, const struct wt_profile *p)
{
    double top = ceiling_khz(m, p);
    double floor_khz = fmin(p->clock_max_khz * p->floor_share, top);
    uint32_t khz;

    m->duty = 1.0;
    if (!m->is_awake) {
        khz = m->lock_min_khz ? m->lock_min_khz : p->clock_idle_khz;
    } else if (m->drive_khz >= top) {
        khz = (uint32_t)top;
    } else if (m->drive_khz >= floor_khz) {
        double steps = floor((p->clock_max_khz - m->drive_khz) / p->clock_step_khz + 0.5);
        khz = (uint32_t)(p->clock_max_khz - steps * p->clock_step_khz);
        if (khz > (uint32_t)top)
            khz = (uint32_t)top;
    } else {
        khz = (uint32_t)floor_khz;
        m->duty = fmax(m->drive_khz / floor_khz, p->duty_min);
    }
    m->clock_khz = khz;
    m->memclock_khz = m->is_awake ? (m->mem_lock_khz ? m->mem_lock_khz : p->memclock_khz[0])
                                  : p->memclock_idle_khz;
}

static int64_t grid_after(int64_t t_ns, int64_t origin_ns, int64_t period_ns)
{
    return origin_ns + ((t_ns - origin_ns) / period_ns + 1) * period_ns;
}

static void start_control(struct wt_model *m)
{
    if (m->t_ctl_ns != NEVER)
        return;
    m->t_ctl_ns = grid_after(m->t_ns, m->t_init_ns, CTL_NS);
    m->ctl_t_ns = m->t_ns;
    m->ctl_energy_fj = m->energy_fj;
}

static void start_heat(struct wt_model *m)
{
    m->is_heat_settled = false;
    if (m->t_heat_ns == NEVER)
        m->t_heat_ns = grid_after(m->t_ns, m->t_init_ns, HEAT_NS);
}

static void wake(struct wt_model *m, const struct wt_profile *p)
{
    m->t_sleep_ns = NEVER;
    if (!m->is_awake) {
        m->is_awake = true;
        apply_clock(m, p);
    }
}

static void doze(struct wt_model *m, const struct wt_profile *p)
{
    if (m->is_awake && !m->is_running && m->contexts == 0)
        m->t_sleep_ns = m->t_ns + p->idle_after_ns;
}

static void start_load(struct wt_model *m, const struct wt_profile *p)
{
    struct wt_model_load *load = &m->loads[m->load_head & (WT_MODEL_LOADS - 1)];
    wake(m, p);
    load->t_start_ns = m->t_ns;
    load->energy_fj = m->energy_fj;
    m->is_running = true;
    m->kernel = 0;
    m->kernel_left = 1.0;
    m->is_gap = load->gap_ns > 0;
    settle_power(m, p);
    if (m->is_gap)
        m->t_work_ns = m->t_ns + load->gap_ns;
    else
        set_work_end(m);
    start_control(m);
    start_heat(m);
}

static void end_load(struct wt_model *m, const struct wt_profile *p)
{
    struct wt_model_load *load = &m->loads[m->load_head & (WT_MODEL_LOADS - 1)];
    load->t_done_ns = m->t_ns;
    load->energy_fj = m->energy_fj - load->energy_fj;
    m->done[m->done_count++ & (WT_MODEL_DONE - 1)] = *load;
    m->kernel_head += load->count;
    m->load_head++;
    m->is_running = m->is_gap = false;
    m->t_work_ns = NEVER;
    if (m->load_head != m->load_tail) {
        start_load(m, p);
        return;
    }
    settle_power(m, p);
    doze(m, p);
}

static void on_work(struct wt_model *m, const struct wt_profile *p)
{
    const struct wt_model_load *load = running(m);
    if (m->is_gap)
        m->is_gap = false;
    else
        m->kernel++;
    if (m->kernel >= load->count) {
        end_load(m, p);
        return;
    }
    m->kernel_left = 1.0;
    settle_power(m, p);
    set_work_end(m);
}

/* ---- clocks ---- */

static void on_control(struct wt_model *m, const struct wt_profile *p)
{
    double span = (double)(m->t_ns - m->ctl_t_ns);
    double mean_w = (double)(m->energy_fj - m->ctl_energy_fj) / span * 1e-6;
    double aim_w = wt_physics_aim(p, (double)m->limit_mw * 1e-3,
                                  (double)m->clock_khz / (double)p->clock_max_khz);
    double top = ceiling_khz(m, p);
    double bottom = bottom_khz(p);

    /* An integral controller in the logarithm of the clock: the mean of the error goes to zero, and
     * a limit that does not bind leaves the
     * clock at its ceiling. */
    double gain = fmin(span / p->cap_tau_ns, 1.0);
    double drive = m->drive_khz * (1.0 + gain * fmax((aim_w - mean_w) / aim_w, -0.5));
    m->throttle &= ~(uint64_t)WT_MODEL_THROTTLE_POWER_CAP;
    if (drive < top)
        m->throttle |= WT_MODEL_THROTTLE_POWER_CAP;
    m->drive_khz = fmin(fmax(drive, bottom), fmax(top, bottom));
    m->ctl_t_ns = m->t_ns;
    m->ctl_energy_fj = m->energy_fj;

    uint32_t clock_was = m->clock_khz, memclock_was = m->memclock_khz;
    double duty_was = m->duty;
    note_progress(m);
    apply_clock(m, p);
    if (m->clock_khz != clock_was || m->duty != duty_was || m->memclock_khz != memclock_was) {
        retime(m, p);
        start_heat(m);
    }

    if (!m->is_running && m->drive_khz >= top)
        m->t_ctl_ns = NEVER;
    else
        m->t_ctl_ns = m->t_ns + CTL_NS;
}

static void on_heat(struct wt_model *m, const struct wt_profile *p)
{
    double rate = 1.0 - exp(-(double)HEAT_NS * 1e-9 / p->heat_tau_s);
    double goal = p->ambient_c + p->kelvin_per_w * watts(m);
    double step_k = (goal - m->temp_c) * rate;
    double heat_was = m->heat_khz;
    bool is_clocked = m->is_awake;

    m->temp_c += step_k;
    double notch = p->clock_max_khz / 50.0;
    if (m->temp_c > p->slowdown_c)
        m->heat_khz = fmax(m->heat_khz - notch, p->clock_min_khz);
    else if (m->heat_khz < p->clock_max_khz)
        m->heat_khz = fmin(m->heat_khz + notch, p->clock_max_khz);
    m->throttle &= ~(uint64_t)WT_MODEL_THROTTLE_THERMAL;
    if (m->heat_khz < p->clock_max_khz)
        m->throttle |= WT_MODEL_THROTTLE_THERMAL;

    note_progress(m);
    if (m->heat_khz != heat_was && is_clocked) {
        m->drive_khz = fmin(m->drive_khz, fmax(ceiling_khz(m, p), bottom_khz(p)));
        apply_clock(m, p);
        start_control(m);
    }
    retime(m, p);

    if (!m->is_running && m->t_ctl_ns == NEVER && m->heat_khz >= p->clock_max_khz &&
        fabs(step_k) < HEAT_EPS_K) {
        m->is_heat_settled = true;
        m->t_heat_ns = NEVER;
    } else {
        m->t_heat_ns = m->t_ns + HEAT_NS;
    }
}

static void on_sleep(struct wt_model *m, const struct wt_profile *p)
{
    m->t_sleep_ns = NEVER;
    m->is_awake = false;
    apply_clock(m, p);
    settle_power(m, p);
    start_heat(m);
}

/* ---- the sensor ---- */

static uint64_t seen_mw(const struct wt_model *m, double true_w)
{
    double mw = (true_w * m->gain + m->offset_w) * 1e3;
    return mw > 0 ? (uint64_t)llround(mw) : 0;
}

static void on_publish(struct wt_model *m, const struct wt_profile *p)
{
    const struct wt_model_sample *last =
        &m->samples[(m->sample_count - 1) & (WT_MODEL_SAMPLES - 1)];
    double w;

    if (p->power_rise_ns) {
        /* No window but a slow filter over everything since the last reading. */
        wt_fj since_fj = m->sample_count ? last->energy_fj : 0;
        int64_t since_ns = m->sample_count ? last->t_ns : m->t_init_ns;
        double mean_w = (double)(m->energy_fj - since_fj) / (double)(m->t_ns - since_ns) * 1e-6;
        double rate = 1.0 - exp(-(double)p->power_period_ns / (double)p->power_rise_ns);
        m->rise_w += (mean_w - m->rise_w) * rate;
        w = m->rise_w;
    } else {
        w = (double)(m->energy_fj - m->open_energy_fj) / (double)p->power_window_ns * 1e-6;
    }
    struct wt_model_sample *sample = &m->samples[m->sample_count++ & (WT_MODEL_SAMPLES - 1)];
    sample->t_ns = m->t_ns;
    sample->energy_fj = m->energy_fj;
    sample->power_mw = seen_mw(m, w);
    m->counter_sum_fj += (wt_fj)(sample->power_mw * 1000u) * (uint64_t)p->power_period_ns;
    m->t_publish_ns += p->power_period_ns;
    if (p->power_window_ns >= p->power_period_ns)
        m->open_energy_fj = m->energy_fj; /* one window opens as the other closes */
}

static void on_open(struct wt_model *m, const struct wt_profile *p)
{
    m->open_energy_fj = m->energy_fj;
    m->t_open_ns += p->power_period_ns;
}

static void on_counter(struct wt_model *m, const struct wt_profile *p)
{
    wt_fj fj = m->counter_sum_fj;
    if (p->counter == WT_COUNTER_FULL) {
        /* Gain in ppm and offset in uW, so that the counter is as exact as what it counts. */
        __int128 gain_ppm = (__int128)llround(m->gain * 1e6);
        __int128 offset_uw = (__int128)llround(m->offset_w * 1e6);
        __int128 seen =
            (__int128)(m->energy_fj / 1000000u) * gain_ppm + offset_uw * (m->t_ns - m->t_init_ns);
        fj = seen > 0 ? (wt_fj)seen : 0;
    }
    uint64_t mj =
        (uint64_t)(fj / ((wt_fj)p->counter_quantum_mj * 1000000000000u)) * p->counter_quantum_mj;
    if (m->counter_first_mj + mj > m->counter_mj)
        m->counter_mj = m->counter_first_mj + mj;
    m->t_counter_ns += p->counter_period_ns;
}

static void on_util(struct wt_model *m)
{
    double span = (double)(m->t_ns - m->util_t_ns);
    if (span > 0) {
        m->util_ppm = (uint32_t)lround((double)(m->busy_ns - m->util_busy_ns) / span * 1e6);
        m->mem_util_ppm =
            (uint32_t)lround((double)(m->mem_busy_ppm_ns - m->util_mem_ppm_ns) / span);
    }
    m->util_busy_ns = m->busy_ns;
    m->util_mem_ppm_ns = m->mem_busy_ppm_ns;
    m->util_t_ns = m->t_ns;
    m->t_util_ns += UTIL_NS;
}

/* ---- time ---- */

static void accrue(struct wt_model *m, int64_t t_ns)
{
    uint64_t span = (uint64_t)(t_ns - m->t_ns);
    m->energy_fj += (wt_fj)m->power_uw * span;
    if (m->is_running && !m->is_gap) {
        m->busy_ns += span;
        m->mem_busy_ppm_ns += (unsigned __int128)m->mem_busy_ppm * span;
    }
    m->t_ns = t_ns;
}

static int64_t earliest(const struct wt_model *m)
{
    int64_t t = m->t_work_ns;
    const int64_t others[] = {m->t_ctl_ns,     m->t_heat_ns,    m->t_sleep_ns, m->t_open_ns,
                              m->t_publish_ns, m->t_counter_ns, m->t_util_ns};
    for (size_t i = 0; i < WT_COUNTOF(others); i++)
        if (others[i] < t)
            t = others[i];
    return t;
}

static void step(struct wt_model *m, const struct wt_profile *p)
{
    /* The sensor first: a window that ends now has not seen what begins now. */
    if (m->t_publish_ns == m->t_ns)
        on_publish(m, p);
    if (m->t_open_ns == m->t_ns)
        on_open(m, p);
    if (m->t_counter_ns == m->t_ns)
        on_counter(m, p);
    if (m->t_util_ns == m->t_ns)
        on_util(m);
    if (m->t_ctl_ns == m->t_ns)
        on_control(m, p);
    if (m->t_heat_ns == m->t_ns)
        on_heat(m, p);
    if (m->t_sleep_ns == m->t_ns)
        on_sleep(m, p);
    if (m->t_work_ns == m->t_ns)
        on_work(m, p);
}

static int64_t periods_over(int64_t from_ns, int64_t to_ns, int64_t period_ns)
{
    int64_t n = (to_ns - from_ns) / period_ns - REST_PERIODS;
    return n > 0 ? n * period_ns : 0;
}

/* At rest nothing changes but the sensor's clocks: leap to where their last readings are. */
static void leap(struct wt_model *m, const struct wt_profile *p, int64_t t_ns)
{
    if (m->t_ctl_ns != NEVER || m->t_heat_ns != NEVER || m->t_sleep_ns != NEVER)
        return;
    int64_t longest =
        p->power_period_ns > p->counter_period_ns ? p->power_period_ns : p->counter_period_ns;
    int64_t start = t_ns - 2 * REST_PERIODS * (longest > UTIL_NS ? longest : UTIL_NS);
    if (start - m->t_ns < 10 * WT_NS_PER_S)
        return;

    int64_t over = periods_over(m->t_publish_ns, start, p->power_period_ns);
    m->t_publish_ns += over;
    if (m->t_open_ns != NEVER)
        m->t_open_ns += over;
    m->counter_sum_fj += (wt_fj)(seen_mw(m, watts(m)) * 1000u) * (uint64_t)over;
    if (m->t_counter_ns != NEVER)
        m->t_counter_ns += periods_over(m->t_counter_ns, start, p->counter_period_ns);
    m->t_util_ns += periods_over(m->t_util_ns, start, UTIL_NS);
    accrue(m, earliest(m));
    /* Nothing of before the leap is within a window that the coming samples end. */
    m->open_energy_fj = m->energy_fj - (wt_fj)m->power_uw * (uint64_t)p->power_window_ns;
    step(m, p);
}

void wt_model_advance(struct wt_model *m, const struct wt_profile *p, int64_t t_ns)
{
    if (t_ns <= m->t_ns)
        return;
    for (;;) {
        if (!m->is_running)
            leap(m, p, t_ns);
        int64_t next = earliest(m);
        if (next > t_ns)
            break;
        accrue(m, next);
        step(m, p);
    }
    accrue(m, t_ns);
}

void wt_model_init(struct wt_model *m, const struct wt_profile *p, int64_t t_ns, uint64_t seed)
{
    struct wt_random dice = {.seed = seed};

    memset(m, 0, sizeof(*m));
    m->t_ns = m->t_init_ns = m->util_t_ns = t_ns;
    m->seed = seed;
    m->limit_mw = p->limit_default_mw;
    m->drive_khz = m->heat_khz = p->clock_max_khz;
    m->t_work_ns = m->t_ctl_ns = m->t_sleep_ns = m->t_open_ns = m->t_counter_ns = NEVER;

    m->gain = draw_between(&dice, p->gain_low, p->gain_high);
    m->offset_w = draw_between(&dice, p->offset_low_w, p->offset_high_w);
    int64_t phase = (int64_t)(wt_random_next(&dice) % (uint64_t)p->power_period_ns);
    m->t_publish_ns = t_ns + p->power_period_ns + phase;
    if (p->power_window_ns < p->power_period_ns)
        m->t_open_ns = m->t_publish_ns - p->power_window_ns;
    if (p->counter != WT_COUNTER_NONE) {
        /* A driver loaded a while ago: the counter stands anywhere within a day at 100 W. */
        m->counter_mj = m->counter_first_mj = wt_random_next(&dice) % UINT64_C(8640000000) /
                                              p->counter_quantum_mj * p->counter_quantum_mj;
        m->t_counter_ns =
            t_ns + 1 + (int64_t)(wt_random_next(&dice) % (uint64_t)p->counter_period_ns);
    }
    m->t_util_ns = t_ns + 1 + (int64_t)(wt_random_next(&dice) % (uint64_t)UTIL_NS);

    /* Cool and settled: the temperature at which idle power holds itself. */
    m->temp_c = p->ambient_c + p->kelvin_per_w * p->idle_w;
    m->t_heat_ns = t_ns + HEAT_NS;
    apply_clock(m, p);
    settle_power(m, p);
    m->rise_w = watts(m);
}

int wt_model_submit(struct wt_model *m, const struct wt_profile *p, uint64_t load_id,
                    const struct wt_emu_kernel *kernels, size_t count, int64_t gap_ns,
                    struct wt_error *err)
{
    if (gap_ns < 0 || (count == 0 && gap_ns == 0))
        return wt_fail(err, WT_E_USAGE, "a load needs kernels or a gap of more than 0 ns");
    for (size_t i = 0; i < count; i++)
        if (!(kernels[i].flops >= 0 && kernels[i].flops < 1e24) ||
            !(kernels[i].bytes >= 0 && kernels[i].bytes < 1e24))
            return wt_fail(err, WT_E_USAGE, "kernel %zu: FLOPs and bytes must be numbers from 0",
                           i);
    if (count > WT_MODEL_KERNELS)
        return wt_fail(err, WT_E_FULL, "a load of %zu kernels: the queue holds %d", count,
                       WT_MODEL_KERNELS);
    if (m->load_tail - m->load_head >= WT_MODEL_LOADS ||
        m->kernel_tail - m->kernel_head + count > WT_MODEL_KERNELS)
        return wt_fail(err, WT_E_FULL, "the device's queue is full");

    for (size_t i = 0; i < count; i++)
        wt_physics_kernel(p, &kernels[i],
                          &m->kernels[(m->kernel_tail + i) & (WT_MODEL_KERNELS - 1)]);
    m->loads[m->load_tail & (WT_MODEL_LOADS - 1)] =
        (struct wt_model_load){.id = load_id,
                               .t_submit_ns = m->t_ns,
                               .gap_ns = gap_ns,
                               .first = (uint32_t)(m->kernel_tail & (WT_MODEL_KERNELS - 1)),
                               .count = (uint32_t)count};
    m->kernel_tail += count;
    m->load_tail++;
    if (!m->is_running)
        start_load(m, p);
    return 0;
}

const struct wt_model_load *wt_model_load_find(const struct wt_model *m, uint64_t load_id)
{
    uint64_t kept = m->done_count < WT_MODEL_DONE ? m->done_count : WT_MODEL_DONE;
    for (uint64_t i = 1; i <= kept; i++) {
        const struct wt_model_load *load = &m->done[(m->done_count - i) & (WT_MODEL_DONE - 1)];
        if (load->id == load_id)
            return load;
    }
    return NULL;
}

int wt_model_load_done(const struct wt_model *m, uint64_t load_id, int64_t *ret_t_ns)
{
    const struct wt_model_load *load = wt_model_load_find(m, load_id);
    if (load) {
        *ret_t_ns = load->t_done_ns;
        return 1;
    }
    for (uint64_t i = m->load_head; i != m->load_tail; i++)
        if (m->loads[i & (WT_MODEL_LOADS - 1)].id == load_id)
            return 0;
    return WT_E_NOTFOUND;
}

/* Due time of the queue's loads up to and with load `last`, at present clocks. */
static int64_t due_ns(const struct wt_model *m, const struct wt_profile *p, uint64_t last)
{
    double f = (double)m->clock_khz / (double)p->clock_max_khz;
    double mem = mem_scale(m, p);
    int64_t t = m->t_ns;
    for (uint64_t i = m->load_head; i <= last; i++) {
        const struct wt_model_load *load = &m->loads[i & (WT_MODEL_LOADS - 1)];
        uint32_t from = 0;
        double span = 0;
        if (i == m->load_head && m->is_running) {
            t = m->t_work_ns;
            from = m->is_gap ? 0 : m->kernel + 1;
        } else {
            t += load->gap_ns;
        }
        for (uint32_t k = from; k < load->count; k++)
            span += ceil(wt_physics_pace(p, kernel_at(m, load, k), f, m->duty, mem).span_ns);
        t += (int64_t)span;
    }
    return t;
}

int64_t wt_model_load_due_ns(const struct wt_model *m, const struct wt_profile *p, uint64_t load_id)
{
    for (uint64_t i = m->load_head; i != m->load_tail; i++)
        if (m->loads[i & (WT_MODEL_LOADS - 1)].id == load_id)
            return due_ns(m, p, i);
    return m->t_ns;
}

int64_t wt_model_next_ns(const struct wt_model *m, const struct wt_profile *p)
{
    return m->load_head == m->load_tail ? NEVER : due_ns(m, p, m->load_tail - 1);
}

/* ---- settings ---- */

/* A setting changed: the controller looks at it at its next tick. */
static void changed(struct wt_model *m, const struct wt_profile *p)
{
    if (m->is_awake) {
        start_control(m);
        return;
    }
    apply_clock(m, p);
    settle_power(m, p);
    start_heat(m);
}

int wt_model_set_limit(struct wt_model *m, const struct wt_profile *p, uint64_t limit_mw,
                       struct wt_error *err)
{
    if (limit_mw < p->limit_min_mw || limit_mw > p->limit_max_mw)
        return wt_fail(err, WT_E_RANGE, "a limit of %.3f W: %s takes %.0f to %.0f W",
                       wt_w_from_mw(limit_mw), p->board, p->limit_min_mw * 1e-3,
                       p->limit_max_mw * 1e-3);
    m->limit_mw = limit_mw;
    changed(m, p);
    return 0;
}

int wt_model_set_clock_lock(struct wt_model *m, const struct wt_profile *p, uint32_t min_khz,
                            uint32_t max_khz, struct wt_error *err)
{
    if (max_khz < min_khz || (max_khz != 0 && max_khz < p->clock_min_khz))
        return wt_fail(err, WT_E_RANGE, "clocks %u to %u kHz: %s takes %u to %u kHz", min_khz,
                       max_khz, p->board, p->clock_min_khz, p->clock_max_khz);
    m->lock_min_khz = min_khz ? wt_profile_clock_round_khz(p, min_khz) : 0;
    m->lock_max_khz = max_khz ? wt_profile_clock_round_khz(p, max_khz) : 0;
    changed(m, p);
    return 0;
}

int wt_model_set_memclock_lock(struct wt_model *m, const struct wt_profile *p, uint32_t khz,
                               struct wt_error *err)
{
    bool is_listed = khz == 0;
    for (size_t i = 0; i < WT_COUNTOF(p->memclock_khz) && p->memclock_khz[i]; i++)
        is_listed |= p->memclock_khz[i] == khz;
    if (!is_listed)
        return wt_fail(err, WT_E_RANGE, "a memory clock of %u kHz is not one of %s", khz, p->board);
    m->mem_lock_khz = khz;
    changed(m, p);
    return 0;
}

void wt_model_set_contexts(struct wt_model *m, const struct wt_profile *p, uint32_t count)
{
    if (count == m->contexts)
        return;
    m->contexts = count;
    if (count == 0) {
        doze(m, p);
    } else if (!m->is_awake || m->t_sleep_ns != NEVER) {
        wake(m, p);
        settle_power(m, p);
        start_control(m);
        start_heat(m);
    }
}

/* ---- readings ---- */

void wt_model_status(const struct wt_model *m, const struct wt_profile *p,
                     struct wt_model_status *ret_status)
{
    uint64_t throttle = m->throttle;
    if (m->is_awake && m->lock_max_khz && m->clock_khz == m->lock_max_khz)
        throttle |= WT_MODEL_THROTTLE_APP_CLOCK;
    if (!m->is_running)
        throttle = (throttle & WT_MODEL_THROTTLE_THERMAL) | WT_MODEL_THROTTLE_IDLE;
    (void)p;
    *ret_status = (struct wt_model_status){
        .clock_khz = m->clock_khz,
        .memclock_khz = m->memclock_khz,
        .util_ppm = m->util_ppm,
        .mem_util_ppm = m->mem_util_ppm,
        .temp_mc = (int32_t)lround(m->temp_c * 1e3),
        .pstate = m->is_awake ? 0 : 8,
        .throttle = throttle,
        .limit_mw = m->limit_mw,
        .duty_ppm = (uint32_t)lround(m->duty * 1e6),
    };
}

/* How many samples have been published and shown by t_ns. */
static uint64_t shown(const struct wt_model *m, int64_t t_ns, int64_t delay_ns)
{
    uint64_t n = m->sample_count;
    uint64_t oldest = n > WT_MODEL_SAMPLES ? n - WT_MODEL_SAMPLES : 0;
    while (n > oldest && m->samples[(n - 1) & (WT_MODEL_SAMPLES - 1)].t_ns + delay_ns > t_ns)
        n--;
    return n > oldest ? n : 0;
}

bool wt_model_power_instant(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                            uint64_t *ret_mw)
{
    uint64_t n = shown(m, t_ns, p->power_delay_ns);
    if (n == 0)
        return false;
    *ret_mw = m->samples[(n - 1) & (WT_MODEL_SAMPLES - 1)].power_mw;
    return true;
}

bool wt_model_power_average(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                            uint64_t *ret_mw)
{
    uint64_t n = p->average_ns ? shown(m, t_ns, p->average_delay_ns) : 0;
    if (n == 0)
        return false;
    uint64_t back = (uint64_t)(p->average_ns / p->power_period_ns);
    uint64_t oldest = m->sample_count > WT_MODEL_SAMPLES ? m->sample_count - WT_MODEL_SAMPLES : 0;
    const struct wt_model_sample *to = &m->samples[(n - 1) & (WT_MODEL_SAMPLES - 1)];
    wt_fj from_fj = 0;
    int64_t from_ns = m->t_init_ns; /* a device younger than the mean is long */
    if (n - 1 >= oldest + back) {
        const struct wt_model_sample *from = &m->samples[(n - 1 - back) & (WT_MODEL_SAMPLES - 1)];
        from_fj = from->energy_fj;
        from_ns = from->t_ns;
    }
    *ret_mw = seen_mw(m, (double)(to->energy_fj - from_fj) / (double)(to->t_ns - from_ns) * 1e-6);
    return true;
}

bool wt_model_power_plain(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                          uint64_t *ret_mw)
{
    return p->plain == WT_PLAIN_AVERAGE ? wt_model_power_average(m, p, t_ns, ret_mw)
                                        : wt_model_power_instant(m, p, t_ns, ret_mw);
}

size_t wt_model_power_samples(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                              int64_t since_ns, struct wt_model_sample *samples, size_t max)
{
    uint64_t end = shown(m, t_ns, p->power_delay_ns);
    uint64_t oldest = m->sample_count > WT_MODEL_SAMPLES ? m->sample_count - WT_MODEL_SAMPLES : 0;
    uint64_t first = end;
    while (first > oldest && end - first < max &&
           m->samples[(first - 1) & (WT_MODEL_SAMPLES - 1)].t_ns > since_ns)
        first--;
    for (uint64_t i = first; i < end; i++)
        samples[i - first] = m->samples[i & (WT_MODEL_SAMPLES - 1)];
    return (size_t)(end - first);
}

bool wt_model_counter(const struct wt_model *m, const struct wt_profile *p, uint64_t *ret_mj)
{
    if (p->counter == WT_COUNTER_NONE)
        return false;
    *ret_mj = m->counter_mj;
    return true;
}

double wt_model_energy_j(const struct wt_model *m)
{
    return wt_j_from_fj(m->energy_fj);
}

uint64_t wt_model_energy_uj(const struct wt_model *m)
{
    return (uint64_t)(m->energy_fj / 1000000000u);
}

uint64_t wt_model_power_true_uw(const struct wt_model *m)
{
    return m->power_uw;
}
