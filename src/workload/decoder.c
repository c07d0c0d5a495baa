/* decoder: see decoder.h. A layer is norm, attention over grouped keys with rotary positions, norm,
 * and a gated MLP; count.c's rules hold, but for attention, which is counted as the fused kernels
 * of today's servers do it: no scores in memory.
 *
 * In parts, heads and the MLP's inner rows are split over the devices, as Megatron does it: two
 * all-reduces a layer of the forward pass, and two more of the backward pass. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/config.h"
#include "workload/count.h"
#include "workload/decoder.h"

/* Their authors' config.json on Hugging Face. */
static const struct wt_decoder_shape shapes[] = {
    {"llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, true, false},
    {"llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, false, false},
    {"llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256, false, false},
    {"qwen3-8b", 36, 4096, 32, 8, 128, 12288, 151936, false, true},
    {"qwen3-32b", 64, 5120, 64, 8, 128, 25600, 151936, false, true},
};
static const char *const names[] = {"llama-3.2-1b", "llama-3.1-8b", "llama-3.1-70b",
                                    "qwen3-8b",     "qwen3-32b",    NULL};

const char *const *wt_decoder_names(void)
{
    _Static_assert(WT_COUNTOF(names) == WT_COUNTOF(shapes) + 1, "a name each, and NULL");
    return names;
}

bool wt_decoder_named(const char *name, struct wt_decoder_shape *ret_shape)
{
    for (size_t i = 0; i < WT_COUNTOF(shapes); i++)
        if (strcmp(shapes[i].name, name) == 0) {
            *ret_shape = shapes[i];
            return true;
        }
    return false;
}

/* ---- config.json ---- */

/* So that no product of them overflows 64 bits. */
#define SIZE_MOST  (1u << 20)
#define VOCAB_MOST (1u << 24)
#define WIDTH_MOST (1u << 22) /* of all heads together */

static int take_size(const json_t *object, const char *name, const char *key, unsigned fallback,
                     unsigned most, unsigned *ret_size, struct wt_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        *ret_size = fallback;
        return fallback ? 0 : wt_fail(err, WT_E_FORMAT, "%s: %s is not there", name, key);
    }
    if (!json_is_integer(value))
        return wt_fail(err, WT_E_FORMAT, "%s: %s is no integer", name, key);
    json_int_t n = json_integer_value(value);
    if (n < 1 || n > most)
        return wt_fail(err, WT_E_RANGE, "%s: %s is %lld; 1 to %u can be", name, key, (long long)n,
                       most);
    *ret_size = (unsigned)n;
    return 0;
}

static int take_shape(struct wt_decoder_shape *s, const char *name, const json_t *object,
                      const char *type, struct wt_error *err)
{
    const json_t *tied = json_object_get(object, "tie_word_embeddings");
    int rc = take_size(object, name, "num_hidden_layers", 0, SIZE_MOST, &s->layers, err);
    if (rc == 0)
        rc = take_size(object, name, "hidden_size", 0, SIZE_MOST, &s->hidden, err);
    if (rc == 0)
        rc = take_size(object, name, "num_attention_heads", 0, SIZE_MOST, &s->heads, err);
    if (rc == 0)
        rc = take_size(object, name, "num_key_value_heads", s->heads, SIZE_MOST, &s->kv_heads, err);
    if (rc == 0)
        rc = take_size(object, name, "head_dim", s->hidden / s->heads, SIZE_MOST, &s->head, err);
    if (rc == 0)
        rc = take_size(object, name, "intermediate_size", 0, SIZE_MOST, &s->ffn, err);
    if (rc == 0)
        rc = take_size(object, name, "vocab_size", 0, VOCAB_MOST, &s->vocab, err);
    if (rc < 0)
        return rc;
    if (s->layers > 10000 || s->heads % s->kv_heads != 0 ||
        (uint64_t)s->heads * s->head > WIDTH_MOST)
        return wt_fail(err, WT_E_RANGE, "%s: %u layers, %u heads over %u keys do not fit", name,
                       s->layers, s->heads, s->kv_heads);
    s->is_tied = json_is_true(tied);
    s->has_head_norm = strcmp(type, "qwen3") == 0;
    wt_text(s->name, sizeof(s->name), "%s", type);
    return 0;
}

int wt_decoder_parse(struct wt_decoder_shape *ret_shape, const char *name, const char *text,
                     size_t size, struct wt_error *err)
{
    static const char *const types[] = {"llama", "mistral", "qwen2", "qwen3"};
    struct wt_decoder_shape s = {0};
    json_error_t where;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return wt_fail(err, WT_E_FORMAT, "%s:%d: %.200s", name, where.line, where.text);
    const char *type = json_string_value(json_object_get(object, "model_type"));
    int rc = WT_E_UNSUPPORTED;
    for (size_t i = 0; i < WT_COUNTOF(types) && type; i++)
        if (strcmp(type, types[i]) == 0)
            rc = take_shape(&s, name, object, type, err);
    if (rc == WT_E_UNSUPPORTED)
        wt_fail(err, rc,
                "%s: model_type is \"%.40s\"; llama, mistral, qwen2, qwen3, bert, "
                "distilbert and gpt2 are known",
                name, type ? type : "");
    if (rc == 0)
        *ret_shape = s;
    json_decref(object);
    return rc;
}

int wt_decoder_read(struct wt_decoder_shape *ret_shape, const char *path, struct wt_error *err)
{
    char *text;
    size_t size;
    int rc = wt_file_read(path, WT_CONFIG_MAX_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    rc = wt_decoder_parse(ret_shape, path, text, size, err);
    free(text);
    return rc;
}

/* ---- counts ---- */

uint64_t wt_decoder_parameters(const struct wt_decoder_shape *s)
{
    uint64_t h = s->hidden, q = (uint64_t)s->heads * s->head, kv = (uint64_t)s->kv_heads * s->head;
    uint64_t layer = h * (q + 2 * kv) + q * h + 3 * h * s->ffn + 2 * h +
                     (s->has_head_norm ? 2 * (uint64_t)s->head : 0);
    return s->layers * layer + h + (s->is_tied ? 1 : 2) * h * s->vocab;
}

/* What a pass is over; all sizes of one device. */
struct sizes {
    double rows, outs;    /* tokens, and those of them that get logits */
    double hidden, q, kv; /* q: all its heads together */
    double ffn, vocab;
    double pairs, cached; /* query and key that see each other, a head; keys read from the cache */
    bool is_decode;
};

static void forward(struct count *c, const struct wt_decoder_shape *s, const struct sizes *z)
{
    wt_count_elementwise(c, z->rows * z->hidden, 6, 3); /* norm, with the residual */
    wt_count_product(c, z->rows, z->q + 2 * z->kv, z->hidden, c->act);
    if (s->has_head_norm)
        wt_count_elementwise(c, z->rows * (z->q + z->kv), 6, 2);
    wt_count_elementwise(c, z->rows * (z->q + z->kv), 6, 2); /* rotary; keys go to the cache */
    wt_count_elementwise(c, z->rows * z->kv, 0, 2);          /* and so do the values */
    /* Both products of attention; what is read once: q and the result, keys and values. */
    wt_count_add(c, 4 * z->pairs * z->q, (2 * z->rows * z->q + 2 * z->cached * z->kv) * c->act,
                 c->engine);
    wt_count_product(c, z->rows, z->hidden, z->q, c->act);
    wt_count_elementwise(c, z->rows * z->hidden, 6, 3);
    wt_count_product(c, z->rows, 2 * z->ffn, z->hidden, c->act);
    wt_count_elementwise(c, z->rows * z->ffn, 12, 3); /* SiLU times the gate */
    wt_count_product(c, z->rows, z->hidden, z->ffn, c->act);
}

static void backward_product(struct count *c, double m, double n, double k)
{
    wt_count_product_input(c, m, n, k);
    wt_count_product_weight(c, m, n, k);
}

static void backward(struct count *c, const struct wt_decoder_shape *s, const struct sizes *z)
{
    backward_product(c, z->rows, z->hidden, z->ffn);
    wt_count_elementwise(c, z->rows * z->ffn, 20, 5);
    backward_product(c, z->rows, 2 * z->ffn, z->hidden);
    wt_count_elementwise(c, z->rows * z->hidden, 12, 5);
    backward_product(c, z->rows, z->hidden, z->q);
    /* Four products; the fifth, which the fused kernel computes a second time, is not the model's.
     */
    wt_count_add(c, 8 * z->pairs * z->q, (4 * z->rows * z->q + 4 * z->cached * z->kv) * c->act,
                 c->engine);
    wt_count_elementwise(c, z->rows * (z->q + z->kv), 6, 2);
    if (s->has_head_norm)
        wt_count_elementwise(c, z->rows * (z->q + z->kv), 12, 4);
    backward_product(c, z->rows, z->q + 2 * z->kv, z->hidden);
    wt_count_elementwise(c, z->rows * z->hidden, 12, 5);
}

/* Weights, and of training their gradients, masters and moments; the cache; what is kept of the
 * activations for the backward pass, without recomputing. */
static double memory_of(const struct count *c, const struct wt_work *work, const struct sizes *z,
                        double parameters)
{
    const struct wt_decoder_shape *s = &work->decoder;
    double memory = parameters * c->weight;
    if (work->kind == WT_WORK_TRAIN)
        return memory + parameters * (c->act < 4 ? 16 : 12) +
               z->rows * c->act *
                   (s->layers * (5 * z->hidden + 3 * z->q + 3 * z->kv + 4 * z->ffn) + z->vocab);
    double kept = work->kind == WT_WORK_ENCODE ? 0 : (double)work->batch * (work->seq + 1.0);
    return memory + kept * 2 * z->kv * s->layers * c->act +
           z->rows * c->act * (4 * z->hidden + 2 * z->ffn) + z->outs * z->vocab * 4;
}

int wt_decoder_ops(const struct wt_work *work, struct wt_work_ops *ret_ops, struct wt_error *err)
{
    const struct wt_decoder_shape *s = &work->decoder;
    unsigned parts = work->parts ? work->parts : 1;
    struct count c = {0};
    wt_count_dtype(&c, work->dtype);
    if (s->heads % parts || s->ffn % parts || (s->kv_heads % parts && parts % s->kv_heads))
        return wt_fail(err, WT_E_USAGE,
                       "%s: %u heads and %u rows cannot be split over %u devices (--gpu GPU:N)",
                       s->name, s->heads, s->ffn, parts);
    double seq = work->seq, batch = work->batch;
    bool is_decode = work->kind == WT_WORK_DECODE, is_train = work->kind == WT_WORK_TRAIN;
    struct sizes z = {
        .rows = (double)wt_work_tokens(work),
        .hidden = s->hidden,
        .q = (double)s->heads * s->head / parts,
        /* With more devices than keys each has one of its own. */
        .kv = (double)(s->kv_heads > parts ? s->kv_heads / parts : 1) * s->head,
        .ffn = (double)s->ffn / parts,
        .vocab = (double)s->vocab / parts,
        .is_decode = is_decode,
    };
    z.outs = is_train || work->kind == WT_WORK_ENCODE ? z.rows : batch;
    z.pairs = is_decode ? batch * (seq + 1) : batch * seq * (seq + 1) / 2;
    z.cached = is_decode ? batch * (seq + 1) : z.rows;

    wt_count_elementwise(&c, z.rows * z.hidden, 0, 2); /* embedding */
    for (unsigned i = 0; i < s->layers; i++)
        forward(&c, s, &z);
    wt_count_elementwise(&c, z.rows * z.hidden, 6, 3);
    wt_count_product(&c, z.outs, z.vocab, z.hidden, is_train ? c.act : 4);
    wt_count_elementwise(&c, z.outs * z.vocab, 4, 1); /* sampling, or the loss */
    double parameters = (double)wt_decoder_parameters(s) / parts;
    if (is_train) {
        wt_count_elementwise(&c, z.outs * z.vocab, 4, 2);
        backward_product(&c, z.outs, z.vocab, z.hidden);
        for (unsigned i = 0; i < s->layers; i++)
            backward(&c, s, &z);
        wt_count_elementwise(&c, z.rows * z.hidden, 2, 3);
        wt_count_optimizer(&c, parameters, c.act < 4);
    }
    if (c.is_short) {
        free(c.kernels);
        return wt_fail(err, WT_E_NOMEM, "no memory for %u layers", s->layers);
    }
    *ret_ops = (struct wt_work_ops){.kernels = c.kernels, .count = c.count};
    if (parts > 1) {
        ret_ops->exchanges = (is_train ? 4.0 : 2.0) * s->layers;
        ret_ops->exchange_bytes = z.rows * z.hidden * c.act;
    }
    ret_ops->memory = (uint64_t)memory_of(&c, work, &z, parameters);
    return 0;
}
