/* Inference: an encoder over batches of lines, or a GPT-2 that scores them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "workload/bench/bench.h"

/* Positions whose next token is known, in the order of the feed; their number. Where each sequence
 * is one token, there is none: then the first token is read, and nothing is judged by it. */
static size_t choose(struct wt_feed *feed)
{
    feed->chosen_count = 0;
    for (size_t i = 0; i < feed->count; i++)
        for (int32_t k = 0; k + 1 < feed->lengths[i]; k++) {
            feed->targets[feed->chosen_count] = feed->tokens[feed->starts[i] + k + 1];
            feed->chosen[feed->chosen_count++] = feed->starts[i] + k;
        }
    size_t known = feed->chosen_count;
    if (known == 0) {
        feed->chosen[0] = feed->starts[0];
        feed->targets[0] = feed->tokens[feed->starts[0]];
        feed->chosen_count = 1;
    }
    return known;
}

static bool are_finite(const struct bench *b, const float *rows)
{
    size_t hidden = b->source.config.hidden;
    for (size_t i = 0; i < b->feed.count; i++) {
        const float *row = rows + (size_t)b->feed.starts[i] * hidden;
        for (size_t k = 0; k < (size_t)b->feed.lengths[i] * hidden; k++)
            if (!isfinite(row[k]))
                return false;
    }
    return true;
}

/* The first batch is looked at, too; what it costs to bring back is not part of those after it. */
static int encode(struct bench *b, const struct wt_input *input, bool *ret_is_finite,
                  struct wt_error *err)
{
    *ret_is_finite = true;
    if (b->steps > 0 || b->emu)
        return wt_model_encode(b->model, input, NULL, err);
    float *rows = calloc(b->feed.rows, b->source.config.hidden * sizeof(*rows));
    int rc = rows ? wt_model_encode(b->model, input, rows, err)
                  : wt_fail(err, WT_E_NOMEM, "no memory for %zu encoded tokens", b->feed.rows);
    if (rc == 0)
        *ret_is_finite = are_finite(b, rows);
    free(rows);
    return rc;
}

int bench_infer(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    bool scores = b->source.config.family == WT_FAMILY_GPT2;
    int rc = wt_model_prepare(b->model, err);
    if (b->emu)
        wt_count_reset(&b->backend);
    b->start_ns = wt_ctx_now_ns(NULL);
    while (rc == 0 && bench_goes_on(b)) {
        size_t tokens = wt_items_next(&b->items, &b->feed, o->batch);
        size_t positions = scores ? choose(&b->feed) : 0;
        double flops = scores
                           ? bench_trimmed_flops(&b->source.config, &b->feed, b->feed.chosen_count)
                           : bench_forward_flops(&b->source.config, &b->feed, 0, 0);
        struct wt_input input = wt_feed_input(&b->feed, scores, scores);
        double nats = 0;
        bool is_finite = true;
        b->rows += b->feed.rows;
        int64_t from_ns = wt_ctx_now_ns(NULL);
        bench_begin(b, "infer");
        if (scores)
            rc = wt_model_likelihood(b->model, &input, b->emu ? NULL : &nats, err);
        else
            rc = encode(b, &input, &is_finite, err);
        if (rc == 0)
            rc = bench_sync(b, err);
        int ended = bench_end(b, "infer", rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : ended;
        double seconds = wt_s_from_ns(wt_ctx_now_ns(NULL) - from_ns);
        if (rc == 0 && (!is_finite || !isfinite(nats))) {
            rc = wt_fail(err, WT_E_STATE, "reading broke down: in step %" PRIu64 " %s not a number",
                         b->steps + 1, is_finite ? "the loss is" : "what comes out is");
            bench_blame_weights(b, err);
        }
        if (rc == 0 && !bench_times_add(&b->times, seconds))
            rc = wt_fail(err, WT_E_NOMEM, "no memory for %zu latencies", b->times.count);
        if (rc < 0)
            break;
        bench_step_done(b, tokens, flops);
        if (positions > 0 && !b->emu) {
            b->scored_sum += nats;
            b->scored += positions;
        }
    }
    return rc;
}

/* Of how much of the text a loss is: each line anew, in the order of the file. */
static void say_share(const struct bench *b)
{
    uint64_t lines = b->items.count, read = wt_items_place(&b->items);
    char all[32], part[32];
    wt_grouped(all, sizeof(all), lines);
    if (read < lines)
        fprintf(stderr, " of the first %s of %s lines", wt_grouped(part, sizeof(part), read), all);
    else if (read == lines)
        fprintf(stderr, " of all %s lines", all);
    else
        fprintf(stderr, " of %s line%s, read %.3g times", all, lines == 1 ? "" : "s",
                (double)read / (double)lines);
}

int bench_infer_report(struct bench *b)
{
    const struct bench_options *o = b->o;
    double p50 = bench_times_at(&b->times, 0.5), p95 = bench_times_at(&b->times, 0.95),
           p99 = bench_times_at(&b->times, 0.99);
    double nats = b->scored ? b->scored_sum / (double)b->scored : NAN;
    double padding = b->rows ? 1 - (double)b->tokens / (double)b->rows : NAN;
    if (!o->is_quiet) {
        char a[32], c[32], d[32];
        bench_say_summary(b);
        if (b->steps > 0)
            fprintf(stderr, "; a batch takes %s (p50), %s (p95), %s (p99)",
                    bench_time_words(a, sizeof(a), p50), bench_time_words(c, sizeof(c), p95),
                    bench_time_words(d, sizeof(d), p99));
        if (padding > 0)
            fprintf(stderr, ", %.1f %% of its rows padding", 100 * padding);
        if (isfinite(nats))
            fprintf(stderr, "; loss %.4f, perplexity %.4g", nats, exp(nats));
        if (isfinite(nats) && b->vocabulary)
            say_share(b);
        bench_say_end();
    }
    if (!o->is_json)
        return 0;
    json_t *j = bench_json(b);
    json_t *more = json_pack(
        "{s:b, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "packed", o->is_packed, "sequences",
        (json_int_t)b->items.count, "sequences_read", (json_int_t)wt_items_place(&b->items),
        "padding_share", wt_json_number(padding), "latency_p50_s", wt_json_number(p50),
        "latency_p95_s", wt_json_number(p95), "latency_p99_s", wt_json_number(p99), "loss",
        wt_json_number(nats), "perplexity", wt_json_number(exp(nats)));
    if (!j || !more || json_object_update(j, more) < 0) {
        json_decref(j);
        j = NULL;
    }
    json_decref(more);
    return bench_print_json(j);
}
