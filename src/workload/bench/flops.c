/* What a pass costs in products, by its sequences. */
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

double bench_trimmed_flops(const struct wt_config *c, const struct wt_feed *feed, size_t rows)
{
    double h = c->hidden, f = c->ffn, left_out = (double)wt_feed_tokens(feed) - (double)rows;
    return bench_forward_flops(c, feed, rows, 0) - 2 * left_out * (h * h + 2 * h * f);
}

double bench_decode_flops(const struct wt_config *c, size_t sequences, size_t length)
{
    double h = c->hidden, f = c->ffn;
    double layer = 2 * (4 * h * h + 2 * h * f) + 2 * 2 * (double)length * h;
    return (double)sequences * (c->layers * layer + 2 * h * c->vocab);
}
