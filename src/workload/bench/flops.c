/* What a forward pass costs in products, by its sequences. */
#include "workload/bench/bench.h"

double bench_forward_flops(const struct wt_config *c, const struct wt_feed *feed, size_t positions,
                           unsigned classes)
{
    double h = c->hidden, f = c->ffn, tokens = 0, pairs = 0;
    for (size_t i = 0; i < feed->count; i++) {
        double n = feed->lengths[i];
        tokens += n;
        pairs += c->family == WT_FAMILY_GPT2 ? n * (n + 1) / 2 : n * n;
    }
    double layer = 2 * tokens * (4 * h * h + 2 * h * f) + 2 * 2 * pairs * h;
    double pool = c->family == WT_FAMILY_GPT2 ? 0 : h * h;
    double head = 2 * (double)positions * (pool + h * c->vocab);
    if (classes)
        head += 2 * (double)feed->count * (pool + h * classes);
    return c->layers * layer + head;
}
