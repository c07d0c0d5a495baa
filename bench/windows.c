/* windows: how often the truth lies inside a window's interval, and how far its centre is off.
 *
 *     build/bench/windows [WINDOWS [SEED [slow]]]
 *
 * The emulator's device model runs on virtual time under random square, ramp and bursty loads; the
 * meter's own series and pacer poll its sensor as the sampler does, every 100 ms and finely where
 * the pacer says so, and a window is read off the counter or power as the meter chooses. For each
 * generation, load and length of window it prints the share of windows whose true energy lies
 * inside the 95 % interval, the median absolute error, the median half-width of the interval, and
 * beside it the error of the naive way: power polled at 10 Hz, trapezoids.
 *
 * "calibrated" boards have gain 1 and offset 0 and their traits say so: what is left is what
 * the sensor's timing does, and the traits say what the counter adds up. "as sold" boards draw gain
 * and offset as the profile says, and the traits are those that the library assumes.
 *
 * Square, ramp and bursty loads take no notice of the sensor. "steps" are nearly periodic, and
 * where the sensor sees a part of the time they may stay in step with it: no reading can show that,
 * and the rows say what it costs.
 *
 * With "slow" only an H100's counter whose reads take 3 ms, and one in twenty 16, the value being
 * that of some moment within: at once with cheap reads, read as if it were cheap, and read rarely.
 * Two windows a board, so that most of the time no edge is near. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/model.h"
#include "sampler/pacer.h"
#include "sensor/nvml.h"
#include "window/series.h"

#define MS     WT_NS_PER_MS
#define S      WT_NS_PER_S
#define DEVICE 10 /* windows measured on one board before the next is drawn */

/* ---- dice ---- */

static uint64_t dice;

static double draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = dice;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double draw_between(double low, double high)
{
    return low + (high - low) * draw();
}

static double draw_log(double low, double high)
{
    return low * exp(draw() * log(high / low));
}

/* ---- loads ---- */

enum load { LOAD_SQUARE, LOAD_RAMP, LOAD_BURSTY, LOAD_STEPS, LOAD_COUNT };
static const char *const load_names[] = {"square", "ramp", "bursty", "steps"};

struct loader {
    enum load kind;
    double high_s, low_s, scatter; /* square: dwell times of this board's load */
    double level;
};

/* A kernel of about this long at full clocks, with this share of compute against memory traffic. */
static struct wt_emu_kernel kernel(const struct wt_profile *p, double span_s, double compute)
{
    bool has_tensor = p->tensor_flops_s > 0;
    double flops_s =
        has_tensor ? p->tensor_flops_s * p->tensor_share : p->fp32_flops_s * p->fp32_share;
    return (struct wt_emu_kernel){
        .flops = span_s * compute * flops_s,
        .bytes = span_s * (1 - 0.9 * compute) * p->mem_bytes_s * p->mem_share,
        .engine = has_tensor ? WT_EMU_TENSOR : WT_EMU_FP32,
    };
}

static void loader_init(struct loader *l, enum load kind)
{
    l->kind = kind;
    /* From inside a sensor's period to long after it. */
    l->high_s = draw_log(0.02, 2);
    l->low_s = draw_log(0.02, 2);
    l->scatter = kind == LOAD_SQUARE ? 0.6 : 0.03;
    l->level = draw_between(0.3, 1);
}

/* Queues the next piece. */
static void feed(struct wt_model *m, const struct wt_profile *p, struct loader *l, uint64_t *id)
{
    struct wt_emu_kernel k[64];
    size_t count = 0;
    double gap_s = 0;
    switch (l->kind) {
    case LOAD_SQUARE:
    case LOAD_STEPS: /* of a training: nearly periodic, and so it may beat with the sensor */
        gap_s = l->low_s * draw_between(1 - l->scatter, 1 + l->scatter);
        k[count++] = kernel(p, l->high_s * draw_between(1 - l->scatter, 1 + l->scatter), l->level);
        break;
    case LOAD_RAMP: {
        double span_s = draw_log(0.2, 20), from = draw(), to = draw();
        for (; count < 32; count++)
            k[count] = kernel(p, span_s / 32, from + (to - from) * (double)count / 31);
        break;
    }
    default:
        gap_s = -log(1 - draw()) * 0.3;
        for (size_t n = 1 + (size_t)(draw() * 8); count < n; count++)
            k[count] = kernel(p, draw_log(0.002, 0.3), draw());
    }
    wt_model_submit(m, p, ++*id, k, count, (int64_t)(gap_s * 1e9), NULL);
}

/* ---- configurations ---- */

struct config {
    const char *name, *profile;
    enum wt_counter_kind counter;
    int counter_ms; /* 0: as the profile */
    bool is_plain;  /* read power the plain way: a 1 s mean on some */
    enum { CHEAP, SLOW, RARE } reads;
};

static const struct config configs[] = {
    {"V100 20/10, counter adds up readings", "v100-pcie-32gb", WT_COUNTER_SAMPLED, 20, false,
     CHEAP},
    {"V100 20/10, counter 100 ms sees all", "v100-pcie-32gb", WT_COUNTER_FULL, 100, false, CHEAP},
    {"A100 100/25, counter adds up readings", "a100-pcie-80gb", WT_COUNTER_SAMPLED, 100, false,
     CHEAP},
    {"A100 100/25, counter sees all", "a100-pcie-80gb", WT_COUNTER_FULL, 100, false, CHEAP},
    {"A40 100/100, counter", "a40", WT_COUNTER_FULL, 100, true, CHEAP},
    {"A40 plain power only, 1 s mean", "a40", WT_COUNTER_NONE, 0, true, CHEAP},
    {"H100 100/25, counter adds up readings", "h100-sxm-80gb", WT_COUNTER_SAMPLED, 100, false,
     CHEAP},
    {"H100 100/25, counter sees all", "h100-sxm-80gb", WT_COUNTER_FULL, 100, false, CHEAP},
    {"K80 power only", "k80", WT_COUNTER_NONE, 0, false, CHEAP},
};

static const struct config slow_configs[] = {
    {"H100 sees all, cheap reads", "h100-sxm-80gb", WT_COUNTER_FULL, 100, false, CHEAP},
    {"H100 sees all, 3 ms a read", "h100-sxm-80gb", WT_COUNTER_FULL, 100, false, SLOW},
    {"H100 sees all, 3 ms, read rarely", "h100-sxm-80gb", WT_COUNTER_FULL, 100, false, RARE},
};

struct length {
    const char *name;
    double low_s, high_s;
};
static const struct length slow_lengths[] = {
    {"0.2 s", 0.2, 0.2}, {"1 s", 1, 1}, {"5 s", 5, 5}, {"30 s", 30, 30}, {"50 ms-60 s", 0.05, 60}};
static const struct length lengths[] = {{"50 ms", 0.05, 0.05},
                                        {"0.5 s", 0.5, 0.5},
                                        {"5 s", 5, 5},
                                        {"5-60 s", 5, 60},
                                        {"50 ms-60 s", 0.05, 60}};
#define LENGTHS 5

struct window {
    int64_t begin_ns, end_ns;
    double begin_j, end_j; /* the truth */
    double naive_begin_j, naive_end_j;
};

struct sums {
    size_t count, inside, unknown, reads;
    double span_s;
    double *error, *width, *naive;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return count ? values[count / 2] : NAN;
}

/* One board: its model, what polls it, and the naive poller's trapezoids. */
struct board {
    struct wt_model *m;
    const struct wt_profile *p;
    struct wt_series energy, power;
    struct wt_pacer pacer;
    struct loader loader;
    uint64_t load_id;
    bool is_plain, has_counter, is_slow;
    size_t reads; /* of the counter */
    int64_t naive_t_ns;
    double naive_w, naive_j;
};

static void go_to(struct board *b, int64_t t_ns)
{
    while (b->m->load_head - b->m->load_tail < 8 || b->m->kernel_head - b->m->kernel_tail < 64) {
        uint64_t before = b->load_id;
        if (b->m->load_head - b->m->load_tail > 32)
            break;
        feed(b->m, b->p, &b->loader, &b->load_id);
        if (b->load_id == before)
            break;
    }
    wt_model_advance(b->m, b->p, t_ns);
}

static bool read_power(const struct board *b, int64_t t_ns, uint64_t *ret_mw)
{
    return b->is_plain ? wt_model_power_plain(b->m, b->p, t_ns, ret_mw)
                       : wt_model_power_instant(b->m, b->p, t_ns, ret_mw);
}

static double naive_at(const struct board *b, int64_t t_ns)
{
    return b->naive_j + b->naive_w * wt_s_from_ns(t_ns - b->naive_t_ns);
}

struct edge {
    int64_t t_ns;
    struct window *window;
    bool is_end;
};

static int compare_edges(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    return (x->t_ns > y->t_ns) - (x->t_ns < y->t_ns);
}

struct edges {
    struct edge *list;
    size_t count, passed, told;
    bool is_new; /* the pacer hears of one with its next poll */
};

/* Up to t, with the truth of the edges on the way. */
static void pass(struct board *b, struct edges *edges, int64_t t_ns)
{
    for (; edges->passed < edges->count && edges->list[edges->passed].t_ns <= t_ns;
         edges->passed++) {
        const struct edge *edge = &edges->list[edges->passed];
        go_to(b, edge->t_ns);
        double j = wt_model_energy_j(b->m);
        *(edge->is_end ? &edge->window->end_j : &edge->window->begin_j) = j;
        *(edge->is_end ? &edge->window->naive_end_j : &edge->window->naive_begin_j) =
            naive_at(b, edge->t_ns);
    }
    go_to(b, t_ns);
}

static void tell(struct board *b, struct edges *edges, int64_t now_ns)
{
    const struct wt_series *main = b->has_counter ? &b->energy : &b->power;
    for (; edges->told < edges->passed; edges->told++) {
        const struct edge *edge = &edges->list[edges->told];
        if (wt_pacer_is_rare(&b->pacer, now_ns)) /* its thread was woken */
            wt_pacer_edge(&b->pacer, now_ns);
        else
            edges->is_new = true;
        if (edge->is_end)
            wt_pacer_cover(&b->pacer, now_ns, wt_series_cover_ns(main, edge->t_ns));
    }
}

/* Returns when the poll is over. */
static int64_t poll_board(struct board *b, struct edges *edges, int64_t t_ns, bool is_grid)
{
    wt_pacer_keep_apart(&b->pacer, t_ns);
    /* As the sampler does: of a slow counter not with every poll of the grid. */
    bool is_due = wt_pacer_is_due(&b->pacer, t_ns);
    bool is_wanted = b->has_counter && (!is_grid || wt_pacer_grid(&b->pacer, t_ns, true) || is_due);
    int64_t took_ns = !b->is_slow ? 30000 : !is_wanted ? 1000 : draw() < 0.05 ? 16 * MS : 3 * MS;
    int64_t after_ns = t_ns + took_ns;
    pass(b, edges, b->is_slow ? t_ns + (int64_t)(draw() * (double)took_ns) : t_ns);
    uint64_t mw, mj = 0;
    bool has_power = (is_grid || !b->has_counter) && read_power(b, t_ns, &mw);
    if (has_power) {
        wt_series_note_power(&b->energy, wt_w_from_mw(mw));
        wt_series_add_power(&b->power, t_ns, after_ns, wt_w_from_mw(mw));
    }
    if (is_wanted) {
        b->reads++;
        wt_model_counter(b->m, b->p, &mj);
        b->energy.is_slow |= wt_pacer_is_slow(&b->pacer);
        wt_series_add_energy(&b->energy, t_ns, after_ns, mj * 1000);
    }
    wt_pacer_saw(&b->pacer, t_ns, after_ns, is_wanted, mj * 1000);
    if (is_grid && has_power) {
        double w = wt_w_from_mw(mw);
        if (b->naive_t_ns)
            b->naive_j += (w + b->naive_w) / 2 * wt_s_from_ns(t_ns - b->naive_t_ns);
        b->naive_t_ns = t_ns;
        b->naive_w = w;
    }
    return b->is_slow ? after_ns : t_ns;
}

static void measure(struct board *b, struct window *windows, size_t count, int64_t end_ns)
{
    struct edges edges = {.list = calloc(2 * count, sizeof(struct edge)), .count = 2 * count};
    for (size_t i = 0; i < count; i++) {
        edges.list[2 * i] = (struct edge){windows[i].begin_ns, &windows[i], false};
        edges.list[2 * i + 1] = (struct edge){windows[i].end_ns, &windows[i], true};
    }
    qsort(edges.list, edges.count, sizeof(*edges.list), compare_edges);
    int64_t grid_ns = b->m->t_ns, now_ns = grid_ns;
    bool is_first = true;
    while (now_ns < end_ns) {
        int64_t next_ns = wt_pacer_next_ns(&b->pacer, now_ns);
        if (next_ns > grid_ns)
            next_ns = grid_ns;
        next_ns += (int64_t)(draw() * 100000); /* a wake-up is late */
        if (next_ns < now_ns)
            next_ns = now_ns;
        if (edges.passed < edges.count && edges.list[edges.passed].t_ns <= next_ns) {
            now_ns = edges.list[edges.passed].t_ns;
            pass(b, &edges, now_ns);
            tell(b, &edges, now_ns);
            continue;
        }
        now_ns = next_ns;
        bool is_grid = now_ns >= grid_ns;
        if (edges.is_new || is_first)
            wt_pacer_edge(&b->pacer, now_ns);
        is_first = edges.is_new = false;
        now_ns = poll_board(b, &edges, now_ns, is_grid);
        if (b->is_slow) {
            /* Edges that came while the read was out are heard of now. */
            pass(b, &edges, now_ns);
            tell(b, &edges, now_ns);
        }
        if (is_grid)
            grid_ns += 100 * MS;
    }
    free(edges.list);
}

static void run_config(const struct config *c, enum load load, double low_s, double high_s,
                       size_t wanted, bool is_calibrated, bool is_slow_run, struct sums *sums)
{
    struct wt_profile p = *wt_profile_find(c->profile);
    if (is_calibrated) {
        p.gain_low = p.gain_high = 1;
        p.offset_low_w = p.offset_high_w = 0;
    }
    p.counter = c->counter;
    if (c->counter_ms)
        p.counter_period_ns = c->counter_ms * MS;
    struct wt_sensor_traits traits;
    wt_nvml_traits(p.nvml_arch, (int)p.cc_major, (int)p.cc_minor, "535.104",
                   c->is_plain ? WT_NVML_POWER_PLAIN : WT_NVML_POWER_FIELD, &traits);
    if (is_calibrated)
        traits.gain_ppm = traits.offset_mw = 0;
    if (c->counter_ms)
        traits.energy_period_ns = c->counter_ms * MS;
    if (is_calibrated)
        traits.energy_window_ns =
            c->counter == WT_COUNTER_FULL ? traits.energy_period_ns : p.power_window_ns;

    struct window windows[DEVICE];
    size_t per_board = is_slow_run ? 2 : DEVICE;
    for (size_t done = 0; done < wanted; done += per_board) {
        struct board b = {.p = &p,
                          .m = malloc(sizeof(*b.m)),
                          .is_plain = c->is_plain,
                          .is_slow = c->reads != CHEAP,
                          .has_counter = c->counter != WT_COUNTER_NONE};
        int64_t t0_ns = 1000 * S;
        wt_model_init(b.m, &p, t0_ns, dice);
        wt_model_set_contexts(b.m, &p, 1);
        loader_init(&b.loader, load);
        go_to(&b, t0_ns + 3 * S);
        struct wt_series_traits st;
        wt_series_traits_counter(&traits, &st);
        wt_series_init(&b.energy, &st, SIZE_MAX);
        wt_series_traits_power(&traits, &st);
        wt_series_init(&b.power, &st, SIZE_MAX);
        wt_series_note_limit(&b.energy, p.limit_max_mw * 1e-3);
        wt_series_note_limit(&b.power, p.limit_max_mw * 1e-3);
        wt_pacer_init(&b.pacer, traits.energy_period_ns, b.has_counter);
        if (c->reads == RARE) {
            wt_pacer_allow_rare(&b.pacer);
            b.energy.shape = &b.power;
        }

        double total_s = 8 + 1.5 * high_s + 0.2 * DEVICE;
        if (is_slow_run)
            total_s += 10 + high_s;
        int64_t from_ns = b.m->t_ns;
        for (size_t i = 0; i < per_board; i++) {
            double length_s = draw_log(low_s, high_s);
            int64_t begin_ns = from_ns + (int64_t)(draw_between(3, total_s - length_s - 2.5) * 1e9);
            windows[i] = (struct window){.begin_ns = begin_ns,
                                         .end_ns = begin_ns + (int64_t)(length_s * 1e9)};
        }
        measure(&b, windows, per_board, from_ns + (int64_t)(total_s * 1e9));
        sums->reads += b.reads;
        sums->span_s += total_s;
        for (size_t i = 0; i < per_board; i++) {
            struct wt_span span;
            double true_j = windows[i].end_j - windows[i].begin_j;
            double naive_j = windows[i].naive_end_j - windows[i].naive_begin_j;
            wt_series_span(&b.power, windows[i].begin_ns, windows[i].end_ns, 1.959964, &span);
            if (b.has_counter) {
                struct wt_span by_power = span;
                wt_series_span(&b.energy, windows[i].begin_ns, windows[i].end_ns, 1.959964, &span);
                if (wt_span_is_by_power(&span, &by_power))
                    span = by_power;
            }
            if (!span.is_known) {
                sums->unknown++;
                continue;
            }
            sums->inside += true_j >= span.low_j && true_j <= span.high_j;
            sums->error[sums->count] = fabs(span.energy_j / true_j - 1);
            sums->width[sums->count] = (span.high_j - span.low_j) / 2 / true_j;
            sums->naive[sums->count] = fabs(naive_j / true_j - 1);
            sums->count++;
        }
        wt_series_done(&b.energy);
        wt_series_done(&b.power);
        free(b.m);
    }
}

int main(int argc, char **argv)
{
    uint64_t wanted = 500, seed = 1;
    if ((argc > 1 && (wt_text_to_u64(argv[1], &wanted) < 0 || !wanted || wanted > 1000000)) ||
        (argc > 2 && wt_text_to_u64(argv[2], &seed) < 0) || argc > 4 ||
        (argc == 4 && strcmp(argv[3], "slow") != 0)) {
        fprintf(stderr, "usage: windows [WINDOWS [SEED [slow]]]\n");
        return 2;
    }
    dice = seed;
    bool is_slow = argc == 4;
    const struct config *list = is_slow ? slow_configs : configs;
    const struct length *spans = is_slow ? slow_lengths : lengths;
    size_t config_count = is_slow ? WT_COUNTOF(slow_configs) : WT_COUNTOF(configs);
    size_t room = (wanted + DEVICE) * LOAD_COUNT;
    struct sums sums = {.error = calloc(room, sizeof(double)),
                        .width = calloc(room, sizeof(double)),
                        .naive = calloc(room, sizeof(double))};
    if (!sums.error || !sums.width || !sums.naive)
        return 1;
    for (int is_calibrated = 1; is_calibrated >= 0; is_calibrated--) {
        printf("%s\n%-38s %-7s %-11s %7s %8s %8s %8s\n",
               is_calibrated ? "calibrated boards" : "\nboards as sold", "sensor", "load", "window",
               "inside", "error", "bound", "naive");
        for (size_t c = 0; c < config_count; c++)
            for (size_t k = 0; k < LENGTHS; k++)
                for (int load = 0; load < LOAD_COUNT; load++) {
                    sums.count = sums.inside = sums.unknown = sums.reads = 0;
                    sums.span_s = 0;
                    run_config(&list[c], (enum load)load, spans[k].low_s, spans[k].high_s, wanted,
                               is_calibrated, is_slow, &sums);
                    printf("%-38s %-7s %-11s %6.1f%% %7.2f%% %7.2f%% %7.2f%%", list[c].name,
                           load_names[load], spans[k].name,
                           100.0 * (double)sums.inside / (double)sums.count,
                           100 * median(sums.error, sums.count),
                           100 * median(sums.width, sums.count),
                           100 * median(sums.naive, sums.count));
                    if (is_slow)
                        printf("  %5.2f reads a second", (double)sums.reads / sums.span_s);
                    printf(sums.unknown ? "  %zu unknown\n" : "\n", sums.unknown);
                    fflush(stdout);
                }
    }
    free(sums.error);
    free(sums.width);
    free(sums.naive);
    return 0;
}
