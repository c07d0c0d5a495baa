/* Generation: the prompt is read at once (prefill), then a token of each sequence at a time
 * (decode). The two are phases of their own, since one is bound by arithmetic and the other by
 * memory. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/bench/bench.h"
#include "workload/random.h"
#include "workload/unicode.h"

#define PROMPT_MAX (16u << 20) /* bytes */

int bench_open_prompt(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    unsigned positions = b->source.config.positions;
    char *text = NULL;
    size_t size = 0;
    const char *name = o->prompt_file ? o->prompt_file : "--prompt";
    int rc = 0;
    if (!o->prompt && !o->prompt_file) {
        struct wt_random random = {o->seed ^ 0x70726f6d7074, 0};
        b->prompt_count = o->seq;
        b->prompt = calloc(o->seq, sizeof(*b->prompt));
        if (!b->prompt)
            return wt_fail(err, WT_E_NOMEM, "no memory for a prompt of %u tokens", o->seq);
        for (size_t i = 0; i < o->seq; i++)
            b->prompt[i] = (int32_t)wt_random_below(&random, b->source.config.vocab);
    } else if (o->prompt_file && access(o->prompt_file, R_OK) < 0) {
        rc = wt_fail_errno(err, errno, "--prompt-file %s", o->prompt_file);
    } else if (o->prompt_file) {
        rc = wt_file_read(o->prompt_file, PROMPT_MAX, &text, &size, err);
        size_t mark = rc == 0 ? wt_utf8_mark(text, size) : 0;
        if (rc == 0)
            rc = wt_vocabulary_encode(b->vocabulary, name, text + mark, size - mark, &b->prompt,
                                      &b->prompt_count, err);
        free(text);
    } else {
        rc = wt_vocabulary_encode(b->vocabulary, name, o->prompt, strlen(o->prompt), &b->prompt,
                                  &b->prompt_count, err);
    }
    if (rc == 0 && b->prompt_count == 0)
        rc = wt_fail(err, WT_E_USAGE, "%s: an empty prompt; there must be a token to go on from",
                     name);
    if (rc == 0 && b->prompt_count + o->tokens > positions) {
        rc = wt_fail(err, WT_E_USAGE,
                     "a prompt of %zu tokens and %u new ones: %s has %u positions for both",
                     b->prompt_count, o->tokens, b->source.name, positions);
        wt_fix(err, "shorten the prompt, or ask for fewer with --tokens");
    }
    return rc;
}

/* A round of generation. */
struct round {
    struct bench *b;
    struct bench_sampler sampler;
    struct wt_random *random; /* [batch] */
    float *logits;            /* [batch, V] */
    int32_t *next;            /* [batch]: the token to come */
    int32_t *written;         /* [batch, tokens]: of the last round */
    unsigned *counts;         /* [batch]: of written; up to the end of the text */
    bool *has_ended;          /* [batch] */
    int32_t end;              /* -1: there is none */
    size_t known;             /* entries of the vocabulary: a model may have room for more */
};

/* Chooses the next token of each sequence. *ret_going: how many go on; the others' texts have
 * ended.
 */
static int choose(struct round *r, unsigned at, unsigned *ret_going, struct wt_error *err)
{
    const struct bench_options *o = r->b->o;
    size_t vocab = r->b->source.config.vocab, known = r->known;
    unsigned going = 0;
    for (unsigned i = 0; i < o->batch; i++) {
        if (r->b->emu) {
            going++; /* there is nothing to choose by */
            continue;
        }
        if (r->has_ended[i])
            continue; /* its row is computed with the others', and thrown away */
        r->next[i] = bench_sample(&r->sampler, r->logits + i * vocab, known, &r->random[i]);
        if (r->next[i] < 0) {
            int rc = wt_fail(err, WT_E_STATE,
                             "generating broke down: in step %" PRIu64
                             " the logits of token %u are not numbers",
                             r->b->steps + 1, at + 1);
            bench_blame_weights(r->b, err);
            return rc;
        }
        r->has_ended[i] = r->next[i] == r->end;
        if (!r->has_ended[i]) {
            r->written[(size_t)i * o->tokens + at] = r->next[i];
            r->counts[i] = at + 1;
        }
        going += !r->has_ended[i];
    }
    *ret_going = going;
    return 0;
}

static int prefill(struct round *r, double *ret_flops, struct wt_error *err)
{
    struct bench *b = r->b;
    const struct bench_options *o = b->o;
    struct wt_feed *feed = &b->feed;
    feed->count = o->batch;
    feed->is_packed = false;
    feed->rows = (size_t)o->batch * b->prompt_count;
    for (unsigned i = 0; i < o->batch; i++) {
        memcpy(feed->tokens + i * b->prompt_count, b->prompt, b->prompt_count * sizeof(*b->prompt));
        feed->lengths[i] = (int32_t)b->prompt_count;
        r->counts[i] = 0;
        r->has_ended[i] = false;
        r->random[i] =
            (struct wt_random){wt_random_at(o->seed ^ 0x73616d706c65, i), b->steps << 32};
    }
    *ret_flops = bench_trimmed_flops(&b->source.config, feed, o->batch);
    struct wt_input input = wt_feed_input(feed, false, false);
    bench_begin(b, "prefill");
    int rc = wt_model_prefill(b->model, &input, b->emu ? NULL : r->logits, err);
    if (rc == 0)
        wt_door_mark(b->door, WT_MARK_WORK, "tokens", (uint64_t)o->batch * b->prompt_count);
    int ended = bench_end(b, "prefill", rc < 0 ? NULL : err);
    return rc < 0 ? rc : ended;
}

static int one_round(struct round *r, struct wt_error *err)
{
    struct bench *b = r->b;
    const struct bench_options *o = b->o;
    double flops = 0;
    int64_t from_ns = wt_ctx_now_ns(NULL);
    int rc = prefill(r, &flops, err);
    if (rc < 0)
        return rc;
    int64_t prefilled_ns = wt_ctx_now_ns(NULL);
    unsigned going = 0;
    rc = choose(r, 0, &going, err);
    if (rc < 0)
        return rc;
    int64_t now_ns = wt_ctx_now_ns(NULL);
    uint64_t decoded = 0;
    b->prefill_s += wt_s_from_ns(prefilled_ns - from_ns);
    b->prefill_tokens += (uint64_t)o->batch * b->prompt_count;
    b->prefill_flops += flops;
    if (!bench_times_add(&b->first_times, wt_s_from_ns(now_ns - from_ns)))
        return wt_fail(err, WT_E_NOMEM, "no memory for latencies");
    for (unsigned at = 1; at < o->tokens && going && !bench_asked_to_end(); at++) {
        int64_t token_ns = now_ns;
        unsigned writing = going; /* of whom this is a token */
        bench_begin(b, "decode");
        rc = wt_model_decode(b->model, r->next, b->emu ? NULL : r->logits, err);
        if (rc == 0)
            rc = choose(r, at, &going, err);
        if (rc == 0)
            wt_door_mark(b->door, WT_MARK_WORK, "tokens", writing);
        int ended = bench_end(b, "decode", rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : ended;
        if (rc < 0)
            return rc;
        now_ns = wt_ctx_now_ns(NULL);
        flops += bench_decode_flops(&b->source.config, writing, b->prompt_count + at);
        decoded += writing;
        if (!bench_times_add(&b->times, wt_s_from_ns(now_ns - token_ns)))
            return wt_fail(err, WT_E_NOMEM, "no memory for latencies");
        b->decode_s += wt_s_from_ns(now_ns - token_ns);
    }
    b->decode_tokens += decoded;
    bench_step_done(b, (uint64_t)o->batch * b->prompt_count + decoded, flops);
    return 0;
}

/* A byte-level model may write bytes that are no text, and end within a character: each such byte
 * becomes U+FFFD. Owned: free(); NULL without memory. */
static char *cleaned(const char *text, size_t *size)
{
    char *clean = malloc(3 * *size + 1);
    size_t used = 0;
    for (size_t at = 0; clean && at < *size;) {
        uint32_t code;
        size_t n = wt_utf8_decode(text + at, *size - at, &code);
        used += wt_utf8_encode(n && code ? code : 0xfffd, clean + used);
        at += n ? n : 1;
    }
    *size = used;
    return clean;
}

/* The text of each sequence, the prompt before it. */
static int keep_texts(struct round *r, struct wt_error *err)
{
    struct bench *b = r->b;
    const struct bench_options *o = b->o;
    int rc = 0;
    b->texts = json_array();
    for (unsigned i = 0; i < o->batch && b->vocabulary && rc == 0; i++) {
        char *text = NULL;
        size_t size = 0;
        rc = wt_vocabulary_decode(b->vocabulary, r->written + (size_t)i * o->tokens, r->counts[i],
                                  &text, &size, err);
        if (rc < 0)
            break;
        char *clean = cleaned(text, &size);
        free(text);
        if (!clean) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for a text of %zu bytes", size);
            break;
        }
        if (!o->is_quiet && !o->is_json) {
            if (o->batch > 1)
                printf("--- %u\n", i + 1);
            printf("%s", o->prompt ? o->prompt : "");
            fwrite(clean, 1, size, stdout);
            putchar('\n');
        }
        json_array_append_new(b->texts, json_stringn(clean, size));
        free(clean);
    }
    if (fflush(stdout) != 0 && rc == 0)
        rc = wt_fail_errno(err, errno, "writing the text to standard output");
    return rc;
}

int bench_generate(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    size_t vocab = b->source.config.vocab, batch = o->batch;
    struct round r = {
        .b = b,
        .end = b->vocabulary && !b->emu ? wt_vocabulary_marks(b->vocabulary).end : -1,
        .known = b->vocabulary ? wt_vocabulary_size(b->vocabulary) : vocab,
        .random = calloc(batch, sizeof(*r.random)),
        .logits = calloc(batch, vocab * sizeof(*r.logits)),
        .next = calloc(batch, sizeof(*r.next)),
        .written = calloc(batch, o->tokens * sizeof(*r.written)),
        .counts = calloc(batch, sizeof(*r.counts)),
        .has_ended = calloc(batch, sizeof(*r.has_ended)),
    };
    int rc = 0;
    if (!r.random || !r.logits || !r.next || !r.written || !r.counts || !r.has_ended)
        rc = wt_fail(err, WT_E_NOMEM, "no memory to generate %zu texts", batch);
    if (rc == 0)
        rc = bench_sampler_init(&r.sampler, o, vocab, err);
    if (rc == 0)
        rc = wt_model_prepare(b->model, err);
    if (rc == 0 && b->emu)
        wt_count_reset(&b->backend);
    b->start_ns = wt_ctx_now_ns(NULL);
    while (rc == 0 && bench_goes_on(b))
        rc = one_round(&r, err);
    if (rc == 0 && b->prefill_s > 0)
        wt_door_value(b->door, "prefill tokens/s", (double)b->prefill_tokens / b->prefill_s);
    if (rc == 0 && b->decode_s > 0)
        wt_door_value(b->door, "decode tokens/s", (double)b->decode_tokens / b->decode_s);
    if (rc == 0 && !b->emu)
        rc = keep_texts(&r, err);
    bench_sampler_done(&r.sampler);
    free(r.random);
    free(r.logits);
    free(r.next);
    free(r.written);
    free(r.counts);
    free(r.has_ended);
    return rc;
}

int bench_generate_report(struct bench *b)
{
    const struct bench_options *o = b->o;
    double first = bench_times_at(&b->first_times, 0.5), p50 = bench_times_at(&b->times, 0.5),
           p95 = bench_times_at(&b->times, 0.95);
    double prefill_s = (double)b->prefill_tokens / b->prefill_s,
           decode_s = (double)b->decode_tokens / b->decode_s;
    if (!o->is_quiet) {
        char a[64], c[64];
        bench_say_summary(b);
        if (b->prefill_tokens)
            fprintf(stderr, "\n%s: prefill %s; the first token after %s", PROGRAM,
                    bench_rate_words(a, sizeof(a), (double)b->prefill_tokens, b->prefill_s),
                    bench_time_words(c, sizeof(c), first));
        if (b->decode_tokens)
            fprintf(stderr, "\n%s: decode %s", PROGRAM,
                    bench_rate_words(a, sizeof(a), (double)b->decode_tokens, b->decode_s));
        if (b->decode_tokens)
            fprintf(stderr, "; a token takes %s (p50), %s (p95)",
                    bench_time_words(a, sizeof(a), p50), bench_time_words(c, sizeof(c), p95));
        bench_say_end();
    }
    if (!o->is_json)
        return 0;
    json_t *j = bench_json(b);
    json_t *more =
        json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:O?}", "prompt_tokens",
                  (json_int_t)b->prompt_count, "prefill_tokens", (json_int_t)b->prefill_tokens,
                  "decode_tokens", (json_int_t)b->decode_tokens, "prefill_tokens_per_s",
                  wt_json_number(prefill_s), "decode_tokens_per_s", wt_json_number(decode_s),
                  "prefill_mfu", wt_json_number(b->prefill_flops / b->prefill_s / b->peak_flops_s),
                  "first_token_p50_s", wt_json_number(first), "token_p50_s", wt_json_number(p50),
                  "token_p95_s", wt_json_number(p95), "texts", b->texts);
    if (!j || !more || json_object_update(j, more) < 0) {
        json_decref(j);
        j = NULL;
    }
    json_decref(more);
    return bench_print_json(j);
}
