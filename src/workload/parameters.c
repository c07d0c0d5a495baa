/* The tensors of each family in the order of the array: a table of names, sizes by letters. */
#include "workload/parameters.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* Sizes of tensors. */
enum size { S_NONE, S_HIDDEN, S_FFN, S_VOCAB, S_POSITIONS, S_TYPES, S_CLASSES, S_3HIDDEN };

/* A tensor or, where name has several words, several that lie one after the other. */
struct row {
    size_t at;         /* of the field that says where it lies, in its struct */
    const char *names; /* separated by '|': parts of equal size, rows of one matrix */
    enum size out, in; /* in S_NONE: a vector */
    enum wt_init init;
    bool is_embedding; /* [out, in] in every family's file */
    bool is_head;      /* files may leave it out */
};

#define OUTER(field) offsetof(struct wt_parameters, field)
#define LAYER(field) offsetof(struct wt_layer_at, field)
#define BELL         WT_INIT_BELL
#define RESIDUAL     WT_INIT_BELL_RESIDUAL
#define ZERO         WT_INIT_ZERO
#define ONE          WT_INIT_ONE

struct family {
    const char *layer; /* "bert.encoder.layer.%u." without the number and what follows */
    /* Each ends with a row without names. The vectors of odd length (vocabulary, classes) come
     * last, so that all else begins at a multiple of the width. */
    struct row before[6], layers[13], after[3], lm[6], classify[5];
};

static const struct family families[] =
    {
        [WT_FAMILY_BERT] =
            {
                "bert.encoder.layer.",
                {{OUTER(token), "bert.embeddings.word_embeddings.weight", S_VOCAB, S_HIDDEN, BELL,
                  true, false},
                 {OUTER(position), "bert.embeddings.position_embeddings.weight", S_POSITIONS,
                  S_HIDDEN, BELL, true, false},
                 {OUTER(type), "bert.embeddings.token_type_embeddings.weight", S_TYPES, S_HIDDEN,
                  BELL, true, false},
                 {OUTER(norm_g), "bert.embeddings.LayerNorm.weight", S_HIDDEN, 0, ONE, false,
                  false},
                 {OUTER(norm_b), "bert.embeddings.LayerNorm.bias", S_HIDDEN, 0, ZERO, false,
                  false}},
                {{LAYER(qkv_w),
                  "attention.self.query.weight|attention.self.key.weight|attention.self.value."
                  "weight",
                  S_3HIDDEN, S_HIDDEN, BELL, false, false},
                 {LAYER(qkv_b),
                  "attention.self.query.bias|attention.self.key.bias|attention.self.value.bias",
                  S_3HIDDEN, 0, ZERO, false, false},
                 {LAYER(out_w), "attention.output.dense.weight", S_HIDDEN, S_HIDDEN, BELL, false,
                  false},
                 {LAYER(out_b), "attention.output.dense.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(norm1_g), "attention.output.LayerNorm.weight", S_HIDDEN, 0, ONE, false,
                  false},
                 {LAYER(norm1_b), "attention.output.LayerNorm.bias", S_HIDDEN, 0, ZERO, false,
                  false},
                 {LAYER(up_w), "intermediate.dense.weight", S_FFN, S_HIDDEN, BELL, false, false},
                 {LAYER(up_b), "intermediate.dense.bias", S_FFN, 0, ZERO, false, false},
                 {LAYER(down_w), "output.dense.weight", S_HIDDEN, S_FFN, BELL, false, false},
                 {LAYER(down_b), "output.dense.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(norm2_g), "output.LayerNorm.weight", S_HIDDEN, 0, ONE, false, false},
                 {LAYER(norm2_b), "output.LayerNorm.bias", S_HIDDEN, 0, ZERO, false, false}},
                {{0, NULL, 0, 0, 0, false, false}},
                {{OUTER(head_w), "cls.predictions.transform.dense.weight", S_HIDDEN, S_HIDDEN, BELL,
                  false, true},
                 {OUTER(head_b), "cls.predictions.transform.dense.bias", S_HIDDEN, 0, ZERO, false,
                  true},
                 {OUTER(head_norm_g), "cls.predictions.transform.LayerNorm.weight", S_HIDDEN, 0,
                  ONE, false, true},
                 {OUTER(head_norm_b), "cls.predictions.transform.LayerNorm.bias", S_HIDDEN, 0, ZERO,
                  false, true},
                 {OUTER(decode_b), "cls.predictions.bias", S_VOCAB, 0, ZERO, false, true}},
                {{OUTER(pool_w), "bert.pooler.dense.weight", S_HIDDEN, S_HIDDEN, BELL, false, true},
                 {OUTER(pool_b), "bert.pooler.dense.bias", S_HIDDEN, 0, ZERO, false, true},
                 {OUTER(class_w), "classifier.weight", S_CLASSES, S_HIDDEN, BELL, false, true},
                 {OUTER(class_b), "classifier.bias", S_CLASSES, 0, ZERO, false, true}},
            },
        [WT_FAMILY_DISTILBERT] =
            {
                "distilbert.transformer.layer.",
                {{OUTER(token), "distilbert.embeddings.word_embeddings.weight", S_VOCAB, S_HIDDEN,
                  BELL, true, false},
                 {OUTER(position), "distilbert.embeddings.position_embeddings.weight", S_POSITIONS,
                  S_HIDDEN, BELL, true, false},
                 {OUTER(norm_g), "distilbert.embeddings.LayerNorm.weight", S_HIDDEN, 0, ONE, false,
                  false},
                 {OUTER(norm_b), "distilbert.embeddings.LayerNorm.bias", S_HIDDEN, 0, ZERO, false,
                  false}},
                {{LAYER(qkv_w),
                  "attention.q_lin.weight|attention.k_lin.weight|attention.v_lin.weight", S_3HIDDEN,
                  S_HIDDEN, BELL, false, false},
                 {LAYER(qkv_b), "attention.q_lin.bias|attention.k_lin.bias|attention.v_lin.bias",
                  S_3HIDDEN, 0, ZERO, false, false},
                 {LAYER(out_w), "attention.out_lin.weight", S_HIDDEN, S_HIDDEN, BELL, false, false},
                 {LAYER(out_b), "attention.out_lin.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(norm1_g), "sa_layer_norm.weight", S_HIDDEN, 0, ONE, false, false},
                 {LAYER(norm1_b), "sa_layer_norm.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(up_w), "ffn.lin1.weight", S_FFN, S_HIDDEN, BELL, false, false},
                 {LAYER(up_b), "ffn.lin1.bias", S_FFN, 0, ZERO, false, false},
                 {LAYER(down_w), "ffn.lin2.weight", S_HIDDEN, S_FFN, BELL, false, false},
                 {LAYER(down_b), "ffn.lin2.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(norm2_g), "output_layer_norm.weight", S_HIDDEN, 0, ONE, false, false},
                 {LAYER(norm2_b), "output_layer_norm.bias", S_HIDDEN, 0, ZERO, false, false}},
                {{0, NULL, 0, 0, 0, false, false}},
                {{OUTER(head_w), "vocab_transform.weight", S_HIDDEN, S_HIDDEN, BELL, false, true},
                 {OUTER(head_b), "vocab_transform.bias", S_HIDDEN, 0, ZERO, false, true},
                 {OUTER(head_norm_g), "vocab_layer_norm.weight", S_HIDDEN, 0, ONE, false, true},
                 {OUTER(head_norm_b), "vocab_layer_norm.bias", S_HIDDEN, 0, ZERO, false, true},
                 {OUTER(decode_b), "vocab_projector.bias", S_VOCAB, 0, ZERO, false, true}},
                {{OUTER(pool_w), "pre_classifier.weight", S_HIDDEN, S_HIDDEN, BELL, false, true},
                 {OUTER(pool_b), "pre_classifier.bias", S_HIDDEN, 0, ZERO, false, true},
                 {OUTER(class_w), "classifier.weight", S_CLASSES, S_HIDDEN, BELL, false, true},
                 {OUTER(class_b), "classifier.bias", S_CLASSES, 0, ZERO, false, true}},
            },
        [WT_FAMILY_GPT2] =
            {
                "transformer.h.",
                {{OUTER(token), "transformer.wte.weight", S_VOCAB, S_HIDDEN, BELL, true, false},
                 {OUTER(position), "transformer.wpe.weight", S_POSITIONS, S_HIDDEN, BELL, true,
                  false}},
                {{LAYER(norm1_g), "ln_1.weight", S_HIDDEN, 0, ONE, false, false},
                 {LAYER(norm1_b), "ln_1.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(qkv_w), "attn.c_attn.weight", S_3HIDDEN, S_HIDDEN, BELL, false, false},
                 {LAYER(qkv_b), "attn.c_attn.bias", S_3HIDDEN, 0, ZERO, false, false},
                 {LAYER(out_w), "attn.c_proj.weight", S_HIDDEN, S_HIDDEN, RESIDUAL, false, false},
                 {LAYER(out_b), "attn.c_proj.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(norm2_g), "ln_2.weight", S_HIDDEN, 0, ONE, false, false},
                 {LAYER(norm2_b), "ln_2.bias", S_HIDDEN, 0, ZERO, false, false},
                 {LAYER(up_w), "mlp.c_fc.weight", S_FFN, S_HIDDEN, BELL, false, false},
                 {LAYER(up_b), "mlp.c_fc.bias", S_FFN, 0, ZERO, false, false},
                 {LAYER(down_w), "mlp.c_proj.weight", S_HIDDEN, S_FFN, RESIDUAL, false, false},
                 {LAYER(down_b), "mlp.c_proj.bias", S_HIDDEN, 0, ZERO, false, false}},
                {{OUTER(norm_g), "transformer.ln_f.weight", S_HIDDEN, 0, ONE, false, false},
                 {OUTER(norm_b), "transformer.ln_f.bias", S_HIDDEN, 0, ZERO, false, false}},
                {{0, NULL, 0, 0, 0, false, false}},
                {{OUTER(class_w), "score.weight", S_CLASSES, S_HIDDEN, BELL, true, true}},
            },
};

struct plan {
    struct wt_parameters *p;
    const struct wt_config *config;
    unsigned classes;
    struct wt_parameter *tensors; /* NULL: only count */
    size_t count, at;
};

static uint64_t size_of(const struct plan *plan, enum size size)
{
    const struct wt_config *c = plan->config;
    switch (size) {
    case S_NONE:
        return 1;
    case S_HIDDEN:
        return c->hidden;
    case S_3HIDDEN:
        return 3 * (uint64_t)c->hidden;
    case S_FFN:
        return c->ffn;
    case S_VOCAB:
        return c->vocab;
    case S_POSITIONS:
        return c->positions;
    case S_TYPES:
        return c->types;
    case S_CLASSES:
        return plan->classes;
    }
    return 0;
}

/* to: the struct whose field says where it lies. */
static void add(struct plan *plan, void *to, const struct row *row, const char *prefix,
                unsigned layer)
{
    memcpy((char *)to + row->at, &plan->at, sizeof(plan->at));
    size_t parts = 1;
    for (const char *c = row->names; *c; c++)
        parts += *c == '|';
    uint64_t out = size_of(plan, row->out) / parts, in = size_of(plan, row->in);
    const char *name = row->names;
    for (size_t i = 0; i < parts; i++) {
        size_t len = strcspn(name, "|");
        if (plan->tensors) {
            struct wt_parameter *t = &plan->tensors[plan->count];
            *t = (struct wt_parameter){.at = plan->at,
                                       .rank = row->in ? 2 : 1,
                                       .shape = {out, in},
                                       .is_decayed = row->in != S_NONE,
                                       .is_optional = row->is_head,
                                       .init = row->init};
            if (prefix)
                wt_text(t->name, sizeof(t->name), "%s%u.%.*s", prefix, layer, (int)len, name);
            else
                wt_text(t->name, sizeof(t->name), "%.*s", (int)len, name);
            if (plan->config->family == WT_FAMILY_GPT2 && row->in && !row->is_embedding) {
                t->is_transposed = true;
                t->shape[0] = in;
                t->shape[1] = out;
            }
        }
        plan->count++;
        plan->at += out * in;
        name += len + 1;
    }
}

static void add_all(struct plan *plan, enum wt_head head)
{
    const struct family *f = &families[plan->config->family];
    plan->count = plan->at = 0;
    for (size_t i = 0; i < WT_COUNTOF(f->before) && f->before[i].names; i++)
        add(plan, plan->p, &f->before[i], NULL, 0);
    for (unsigned l = 0; l < plan->config->layers; l++)
        for (size_t i = 0; i < WT_COUNTOF(f->layers) && f->layers[i].names; i++)
            add(plan, &plan->p->layers[l], &f->layers[i], f->layer, l);
    for (size_t i = 0; i < WT_COUNTOF(f->after) && f->after[i].names; i++)
        add(plan, plan->p, &f->after[i], NULL, 0);
    if (head == WT_HEAD_LM) {
        for (size_t i = 0; i < WT_COUNTOF(f->lm) && f->lm[i].names; i++)
            add(plan, plan->p, &f->lm[i], NULL, 0);
    } else if (head == WT_HEAD_CLASSIFY) {
        for (size_t i = 0; i < WT_COUNTOF(f->classify) && f->classify[i].names; i++)
            add(plan, plan->p, &f->classify[i], NULL, 0);
    }
    plan->p->total = plan->at;
}

int wt_parameters_init(struct wt_parameters *ret, const struct wt_config *config, enum wt_head head,
                       unsigned classes, struct wt_error *err)
{
    if (head == WT_HEAD_CLASSIFY && classes < 2)
        return wt_fail(err, WT_E_USAGE, "%u classes: there are at least 2", classes);
    struct wt_parameters p = {.layer_count = config->layers};
    size_t *const may_miss[] = {&p.type,     &p.head_w, &p.head_b, &p.head_norm_g, &p.head_norm_b,
                                &p.decode_b, &p.pool_w, &p.pool_b, &p.class_w,     &p.class_b};
    for (size_t i = 0; i < WT_COUNTOF(may_miss); i++)
        *may_miss[i] = WT_NOWHERE;

    struct plan plan = {.p = &p, .config = config, .classes = classes};
    p.layers = calloc(config->layers, sizeof(*p.layers));
    if (!p.layers)
        goto nomem;
    add_all(&plan, head);
    p.tensor_count = plan.count;
    p.tensors = calloc(plan.count, sizeof(*p.tensors));
    p.spans = calloc(plan.count, sizeof(*p.spans));
    if (!p.tensors || !p.spans)
        goto nomem;
    plan.tensors = p.tensors;
    add_all(&plan, head);

    for (size_t i = 0; i < p.tensor_count; i++) {
        const struct wt_parameter *t = &p.tensors[i];
        size_t to = i + 1 < p.tensor_count ? p.tensors[i + 1].at : p.total;
        if (p.span_count > 0 && p.spans[p.span_count - 1].is_decayed == t->is_decayed)
            p.spans[p.span_count - 1].to = to;
        else
            p.spans[p.span_count++] = (struct wt_span){t->at, to, t->is_decayed};
    }
    *ret = p;
    return 0;
nomem:
    wt_parameters_done(&p);
    return wt_fail(err, WT_E_NOMEM, "no memory for the list of parameters");
}

unsigned wt_parameters_classes(const struct wt_parameters *p)
{
    for (size_t i = 0; i < p->tensor_count && p->class_w != WT_NOWHERE; i++)
        if (p->tensors[i].at == p->class_w)
            return (unsigned)p->tensors[i].shape[0];
    return 0;
}

void wt_parameters_done(struct wt_parameters *p)
{
    free(p->layers);
    free(p->tensors);
    free(p->spans);
    *p = (struct wt_parameters){0};
}
