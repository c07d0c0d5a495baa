/* The next token by its logits: the likeliest, or drawn. */
#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/random.h"

int bench_sampler_init(struct bench_sampler *s, const struct bench_options *o, size_t n,
                       struct wt_error *err)
{
    *s = (struct bench_sampler){.is_greedy = o->is_greedy,
                                .temperature = o->temperature,
                                .top_p = o->top_p,
                                .top_k = o->top_k,
                                .scratch = malloc(n * sizeof(*s->scratch)),
                                .order = malloc(n * sizeof(*s->order))};
    if (s->scratch && s->order)
        return 0;
    bench_sampler_done(s);
    return wt_fail(err, WT_E_NOMEM, "no memory to choose one of %zu tokens", n);
}

void bench_sampler_done(struct bench_sampler *s)
{
    free(s->scratch);
    free(s->order);
    *s = (struct bench_sampler){0};
}

/* A heap whose root is the likeliest; ties go to the lower number. */
static bool is_before(const float *w, int32_t a, int32_t b)
{
    return w[a] != w[b] ? w[a] > w[b] : a < b;
}

static void sink(const float *w, int32_t *heap, size_t n, size_t i)
{
    int32_t here = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_before(w, heap[child + 1], heap[child]))
            child++;
        if (!is_before(w, heap[child], here))
            break;
        heap[i] = heap[child];
    }
    heap[i] = here;
}

int32_t bench_sample(struct bench_sampler *s, const float *logits, size_t n,
                     struct wt_random *random)
{
    size_t best = 0;
    bool has_nan = false;
    for (size_t i = 0; i < n; i++) {
        has_nan |= isnan(logits[i]);
        if (logits[i] > logits[best])
            best = i;
    }
    if (has_nan || !isfinite(logits[best])) /* -inf is a token that never comes */
        return -1;
    if (s->is_greedy)
        return (int32_t)best;

    float *w = s->scratch;
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        w[i] = expf((logits[i] - logits[best]) / s->temperature);
        total += w[i];
    }
    /* 53 bits: 0 <= share < 1 */
    double share = (double)(wt_random_next(random) >> 11) * 0x1p-53;
    if (s->top_k == 0 && s->top_p >= 1) {
        double left = share * total;
        for (size_t i = 0; i < n; i++) {
            left -= w[i];
            if (left < 0)
                return (int32_t)i;
        }
        return (int32_t)best;
    }
    /* The likeliest come off a heap until there are k of them, or they make up p. */
    for (size_t i = 0; i < n; i++)
        s->order[i] = (int32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        sink(w, s->order, n, i);
    size_t kept = 0, most = s->top_k && s->top_k < n ? s->top_k : n;
    double sum = 0;
    while (kept < most && (kept == 0 || sum < (double)s->top_p * total)) {
        int32_t top = s->order[0];
        s->order[0] = s->order[n - kept - 1];
        s->order[n - kept - 1] = top; /* from the end: the likeliest last */
        sum += w[top];
        kept++;
        sink(w, s->order, n - kept, 0);
    }
    double left = share * sum;
    for (size_t i = 0; i < kept; i++) {
        int32_t id = s->order[n - 1 - i];
        left -= w[id];
        if (left < 0)
            return id;
    }
    return (int32_t)best;
}
