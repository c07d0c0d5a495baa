/* What a model is made of: its plan of the device's memory, its weights, and what can be asked of
 * it. model_pass.c computes with it. */
#include "workload/model_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "workload/random.h"

#define ALIGNMENT   256 /* bytes: of every array, for vectors and for a GPU's wide loads */
#define LOSS_MIN    65536
#define JUDGED_ROWS 256u       /* int8: logits of so many rows are there at a time */
#define INIT_PIECE  (1u << 20) /* values on the host at a time */
#define ROWS_MOST   (1u << 24)

/* ---- the plan ---- */

struct plan {
    char *base; /* NULL: only count */
    uint64_t at;
};

static void *take(struct plan *plan, uint64_t bytes)
{
    uint64_t here = plan->at;
    plan->at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return plan->base ? plan->base + here : NULL;
}

static void plan_ints(struct wt_model *m, struct ints *ints, int32_t *base)
{
    size_t rows = m->rows_max, batch = m->options.batch, chosen = m->chosen_max, at = 0;
    struct {
        int32_t **to;
        size_t count;
    } parts[] = {
        {&ints->tokens, rows},
        {&ints->positions, rows},
        {&ints->chosen, largest(chosen, batch)},
        {&ints->targets, largest(m->options.task == WT_TASK_CLM ? rows : chosen, batch)},
        {&ints->starts, batch},
        {&ints->lengths, batch},
        {&ints->iota, batch},
    };
    for (size_t i = 0; i < WT_COUNTOF(parts); i++) {
        *parts[i].to = base ? base + at : NULL;
        at += (parts[i].count + 15) / 16 * 16;
    }
    m->ints_bytes = at * sizeof(int32_t);
}

static void plan_training(struct wt_model *m, struct plan *plan)
{
    uint64_t act = wt_backend_act_bytes(m->b), rows = m->rows_max, h = m->config.hidden;
    uint64_t th = rows * h * act, tf = rows * m->config.ffn * act;
    uint64_t stats = rows * sizeof(float), lse = m->config.heads * stats;
    m->g = take(plan, m->at.total * sizeof(float));
    m->first = take(plan, m->at.total * sizeof(float));
    m->second = take(plan, m->at.total * sizeof(float));
    m->embedded = take(plan, th);
    for (size_t k = 0; k <= 2 * m->at.layer_count; k++) {
        struct norm *n = &m->norms[k];
        n->sum = k == 0 ? m->embedded : take(plan, th);
        n->y = take(plan, th);
        n->mean = take(plan, stats);
        n->rstd = take(plan, stats);
    }
    for (size_t i = 0; i < m->at.layer_count; i++) {
        struct layer *l = &m->layers[i];
        l->qkv_rows = take(plan, 3 * th);
        l->context = take(plan, th);
        l->lse = take(plan, lse);
        l->pre = take(plan, tf);
        l->active = take(plan, tf);
    }
    m->out = take(plan, th);
    m->ds = take(plan, th);
    m->dy = m->is_pre || m->has_dropped ? take(plan, th) : NULL;
    m->wide = take(plan, largest(3 * th, tf));
    m->delta = take(plan, lse);
    m->norm = take(plan, sizeof(float));
}

static void plan_inference(struct wt_model *m, struct plan *plan)
{
    uint64_t act = wt_backend_act_bytes(m->b), rows = m->rows_max, h = m->config.hidden;
    uint64_t th = rows * h * act, tf = rows * m->config.ffn * act;
    m->out = take(plan, th);
    m->embedded = m->is_pre ? take(plan, th) : m->out;
    void *context = take(plan, th), *y[2];
    m->wide = take(plan, largest(3 * th, tf));
    y[0] = take(plan, th);
    y[1] = m->is_pre ? y[0] : take(plan, th); /* a residual must not be written over */
    for (size_t k = 0; k <= 2 * m->at.layer_count; k++)
        m->norms[k].y = y[k % 2];
    uint64_t cache = m->options.task == WT_TASK_GENERATE ? th : 0;
    for (size_t i = 0; i < m->at.layer_count; i++) {
        struct layer *l = &m->layers[i];
        l->qkv_rows = l->active = m->wide;
        l->context = context;
        l->keys = cache ? take(plan, cache) : NULL;
        l->values = cache ? take(plan, cache) : NULL;
    }
    if (m->options.task != WT_TASK_ENCODE) {
        m->trim_context = take(plan, m->chosen_max * h * act);
        m->trim_residual = take(plan, m->chosen_max * h * act);
    }
}

static void plan_head(struct wt_model *m, struct plan *plan)
{
    uint64_t act = wt_backend_act_bytes(m->b), h = m->config.hidden;
    uint64_t mh = m->chosen_max * h * act, stats = m->chosen_max * sizeof(float);
    bool is_class = m->options.task == WT_TASK_CLASSIFY;
    if (m->options.task == WT_TASK_MLM || is_class) {
        m->head_x = take(plan, mh);
        m->head_dy = take(plan, mh);
    }
    if (has_lm_head(m) || is_class) {
        m->head_pre = m->has_training ? take(plan, mh) : NULL;
        m->head_active = take(plan, mh);
        m->head_y = take(plan, mh);
        m->head_mean = m->has_training ? take(plan, stats) : NULL;
        m->head_rstd = m->has_training ? take(plan, stats) : NULL;
    }
    if (m->logit_rows)
        m->logits = take(plan, m->logit_rows * sizeof(float) *
                                   (is_class ? m->options.classes : m->config.vocab));
    if (is_class)
        m->dlogits = take(plan, m->logit_rows * m->options.classes * act);
    if (m->has_training || m->options.task == WT_TASK_LIKELIHOOD) {
        size_t most = m->options.task == WT_TASK_CLM ? m->rows_max : m->chosen_max;
        m->loss_capacity = m->has_training ? largest(most, LOSS_MIN) : most;
        m->losses = take(plan, m->loss_capacity * sizeof(float));
    }
}

static struct wt_weight weight(const struct wt_model *m, size_t at, size_t out, size_t in)
{
    struct wt_weight w = {
        .out = out, .in = in, .is_for_many_rows = m->options.task != WT_TASK_GENERATE};
    if (at == WT_NOWHERE || !m->p)
        return w;
    w.master = m->p + at;
    w.values = m->working ? (const char *)m->working + at * wt_backend_act_bytes(m->b)
                          : (const char *)w.master;
    return w;
}

static void plan_weights(struct wt_model *m)
{
    size_t h = m->config.hidden, f = m->config.ffn;
    for (size_t i = 0; i < m->at.layer_count; i++) {
        const struct wt_layer_at *at = &m->at.layers[i];
        struct layer *l = &m->layers[i];
        l->qkv = weight(m, at->qkv_w, 3 * h, h);
        l->out = weight(m, at->out_w, h, h);
        l->up = weight(m, at->up_w, f, h);
        l->down = weight(m, at->down_w, h, f);
        /* After attention comes norm 2 i + 1, after the feed-forward part norm 2 i + 2. */
        if (m->is_pre) {
            m->norms[2 * i].gain = at->norm1_g;
            m->norms[2 * i].bias = at->norm1_b;
            m->norms[2 * i + 1].gain = at->norm2_g;
            m->norms[2 * i + 1].bias = at->norm2_b;
        } else {
            m->norms[2 * i + 1].gain = at->norm1_g;
            m->norms[2 * i + 1].bias = at->norm1_b;
            m->norms[2 * i + 2].gain = at->norm2_g;
            m->norms[2 * i + 2].bias = at->norm2_b;
        }
    }
    struct norm *outer = &m->norms[m->is_pre ? 2 * m->at.layer_count : 0];
    outer->gain = m->at.norm_g;
    outer->bias = m->at.norm_b;
    m->token = weight(m, m->at.token, m->config.vocab, h);
    m->head = weight(m, m->at.head_w, h, h);
    m->pool = weight(m, m->at.pool_w, h, h);
    m->class = weight(m, m->at.class_w, m->options.classes, h);
}

/* Lays everything out; without a base it only counts. */
static uint64_t plan_all(struct wt_model *m, char *base)
{
    struct plan plan = {base, 0};
    m->p = take(&plan, m->at.total * sizeof(float));
    m->working = m->b->dtype == WT_BF16 ? take(&plan, m->at.total * 2) : NULL;
    if (m->has_training)
        plan_training(m, &plan);
    else
        plan_inference(m, &plan);
    plan_head(m, &plan);
    plan_ints(m, &m->in, NULL);
    plan_ints(m, &m->in, take(&plan, m->ints_bytes));
    m->next = m->options.task == WT_TASK_GENERATE
                  ? take(&plan, 3 * (uint64_t)m->options.batch * sizeof(int32_t))
                  : NULL;
    plan_weights(m);
    return plan.at;
}

/* ---- making ---- */

size_t wt_masked_per_sequence(size_t seq)
{
    size_t n = (seq * 15 + 50) / 100;
    return n > 0 ? n : 1;
}

static const char *const task_names[] = {"masked-language training",
                                         "causal-language training",
                                         "classification",
                                         "encoding",
                                         "scoring",
                                         "judging",
                                         "generation"};

static int check_sizes(const struct wt_config *c, const struct wt_model_options *o,
                       const struct wt_backend *b, struct wt_error *err)
{
    const char *name = wt_family_name(c->family);
    bool is_gpt2 = c->family == WT_FAMILY_GPT2;
    unsigned least = o->task == WT_TASK_MLM ? 3 : o->task == WT_TASK_CLM ? 2 : 1;
    struct wt_error why = {0};
    if (wt_config_check(c, name, &why) < 0)
        return wt_fail(err, WT_E_USAGE, "%s", why.text);
    if ((is_gpt2 && (o->task == WT_TASK_MLM || o->task == WT_TASK_ENCODE)) ||
        (!is_gpt2 && (o->task == WT_TASK_CLM || o->task == WT_TASK_GENERATE)))
        return wt_fail(err, WT_E_USAGE, "a %s is not made for %s", name, task_names[o->task]);
    if (o->batch < 1 || o->batch > WT_BATCH_MOST)
        return wt_fail(err, WT_E_USAGE, "--batch %u: 1 to %u sequences are possible", o->batch,
                       WT_BATCH_MOST);
    if (o->seq < least || o->seq > c->positions)
        return wt_fail(err, WT_E_USAGE, "--seq %u: this %s takes %u to %u tokens", o->seq, name,
                       least, c->positions);
    if ((uint64_t)o->batch * o->seq > ROWS_MOST)
        return wt_fail(err, WT_E_USAGE,
                       "--batch %u of --seq %u: at most %u tokens a pass are possible", o->batch,
                       o->seq, ROWS_MOST);
    if (o->chosen > o->batch * o->seq)
        return wt_fail(err, WT_E_USAGE, "%u chosen positions: a batch has %u", o->chosen,
                       o->batch * o->seq);
    if (b->dtype == WT_INT8 && o->task <= WT_TASK_CLASSIFY)
        return wt_fail(err, WT_E_UNSUPPORTED, "int8 is for inference: training takes fp32 or bf16");
    return 0;
}

/* A bell of deviation 1: the sum of four 16-bit uniforms (variance 4/12 of their range's square),
 * so it ends at 3.5 deviations. */
static double bell(uint64_t seed, size_t i)
{
    uint64_t r = wt_random_at(seed, i);
    int32_t sum = (int32_t)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    return (double)(sum - 131070) * (1.7320508075688772 / 65536.0);
}

static void refresh(struct wt_model *m)
{
    if (m->working)
        OP(m, narrow, m->working, m->p, m->at.total);
    m->is_prepared = false;
}

static int init_weights(struct wt_model *m, struct wt_error *err)
{
    float *piece = malloc(INIT_PIECE * sizeof(*piece));
    if (!piece)
        return wt_fail(err, WT_E_NOMEM, "no memory for initial weights");
    double range = m->config.initializer_range;
    double residual = range / sqrt(2.0 * m->config.layers);
    size_t filled = 0, start = 0;
    for (size_t t = 0; t < m->at.tensor_count; t++) {
        size_t to = t + 1 < m->at.tensor_count ? m->at.tensors[t + 1].at : m->at.total;
        enum wt_init init = m->at.tensors[t].init;
        for (size_t i = m->at.tensors[t].at; i < to; i++) {
            piece[filled++] =
                init == WT_INIT_ONE ? 1
                : init == WT_INIT_ZERO
                    ? 0
                    : (float)((init == WT_INIT_BELL ? range : residual) * bell(m->options.seed, i));
            if (filled == INIT_PIECE || i + 1 == m->at.total) {
                OP(m, upload, m->p + start, piece, filled * sizeof(*piece));
                start += filled;
                filled = 0;
            }
        }
    }
    free(piece);
    return 0;
}

int wt_model_new(struct wt_model **ret_model, const struct wt_config *config,
                 const struct wt_model_options *options, struct wt_backend *backend,
                 struct wt_error *err)
{
    int rc = check_sizes(config, options, backend, err);
    if (rc < 0)
        return rc;
    struct wt_model *m = calloc(1, sizeof(*m));
    if (!m)
        return wt_fail(err, WT_E_NOMEM, "no memory for a model");
    m->config = *config;
    m->options = *options;
    m->b = backend;
    enum wt_task task = options->task;
    m->has_training = task <= WT_TASK_CLASSIFY;
    m->is_pre = config->family == WT_FAMILY_GPT2;
    m->has_dropped = m->has_training && options->has_dropout && config->dropout_hidden > 0;
    m->rows_max = (size_t)options->batch * options->seq;
    m->chosen_max = options->chosen       ? options->chosen
                    : task == WT_TASK_MLM ? options->batch * wt_masked_per_sequence(options->seq)
                                          : options->batch;
    m->logit_rows = task == WT_TASK_CLASSIFY || task == WT_TASK_GENERATE ? options->batch
                    : task == WT_TASK_SCORE                              ? m->chosen_max
                    : task == WT_TASK_LIKELIHOOD && backend->dtype == WT_INT8 && !backend->is_narrow
                        ? (m->chosen_max < JUDGED_ROWS ? m->chosen_max : JUDGED_ROWS)
                        : 0;
    enum wt_head head = task == WT_TASK_CLASSIFY ? WT_HEAD_CLASSIFY
                        : task == WT_TASK_ENCODE ? WT_HEAD_NONE
                                                 : WT_HEAD_LM;
    if (task == WT_TASK_CLASSIFY || task == WT_TASK_GENERATE)
        m->chosen_max = options->batch;
    rc = wt_parameters_init(&m->at, config, head, options->classes, err);
    if (rc < 0)
        goto out;
    m->layers = calloc(m->at.layer_count, sizeof(*m->layers));
    m->norms = calloc(2 * m->at.layer_count + 1, sizeof(*m->norms));
    if (!m->layers || !m->norms) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a model");
        goto out;
    }
    m->arena_bytes = plan_all(m, NULL);
    int32_t *host = calloc(1, m->ints_bytes + 3 * (size_t)options->batch * sizeof(*host));
    if (!host) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the input of a step");
        goto out;
    }
    plan_ints(m, &m->host, host);
    m->host_next = host + m->ints_bytes / sizeof(*host);
    for (unsigned i = 0; i < options->batch; i++)
        m->host.iota[i] = (int32_t)i;

    struct wt_error why = {0};
    rc = backend->ops->alloc(backend->self, &m->arena, m->arena_bytes, &why);
    if (rc < 0) {
        rc =
            wt_fail(err, rc, "no memory for a %s of %u layers: %u x %u tokens want %.1f GB: %.300s",
                    wt_family_name(config->family), config->layers, options->batch, options->seq,
                    (double)m->arena_bytes * 1e-9, why.text);
        wt_fix(err, "take a smaller --batch or --seq, or a smaller model");
        goto out;
    }
    plan_all(m, m->arena);
    m->host_losses = calloc(m->loss_capacity + 1, sizeof(*m->host_losses));
    if (!m->host_losses) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %zu losses", m->loss_capacity);
        goto out;
    }
    if (!options->is_blank) {
        rc = init_weights(m, err);
        if (rc < 0)
            goto out;
    }
    refresh(m);
    rc = OP(m, sync, err);
    if (rc < 0)
        goto out;
    *ret_model = m;
    m = NULL;
out:
    wt_model_free(m);
    return rc;
}

/* fn for each weight of products. */
static int each_weight(struct wt_model *m,
                       int (*fn)(struct wt_model *, struct wt_weight *, struct wt_error *),
                       struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < m->at.layer_count; i++) {
        struct wt_weight *all[] = {&m->layers[i].qkv, &m->layers[i].out, &m->layers[i].up,
                                   &m->layers[i].down};
        for (size_t k = 0; rc == 0 && k < WT_COUNTOF(all); k++)
            rc = fn(m, all[k], err);
    }
    bool has_logits = m->logits && m->options.task != WT_TASK_CLASSIFY;
    if (rc == 0 && has_logits)
        rc = fn(m, &m->token, err);
    if (rc == 0 && m->head.master)
        rc = fn(m, &m->head, err);
    return rc;
}

static int prepare_one(struct wt_model *m, struct wt_weight *w, struct wt_error *err)
{
    if (w->prepared)
        OP(m, unprepare, w);
    w->prepared = NULL;
    return OP(m, prepare, w, err);
}

static int unprepare_one(struct wt_model *m, struct wt_weight *w, struct wt_error *err)
{
    (void)err;
    if (w->prepared)
        OP(m, unprepare, w);
    w->prepared = NULL;
    return 0;
}

void wt_model_free(struct wt_model *m)
{
    if (!m)
        return;
    if (m->arena) {
        each_weight(m, unprepare_one, NULL);
        m->b->ops->release(m->b->self, m->arena);
    }
    free(m->host.tokens); /* the beginning of all of them */
    free(m->host_losses);
    free(m->layers);
    free(m->norms);
    wt_parameters_done(&m->at);
    free(m);
}

int wt_model_prepare(struct wt_model *m, struct wt_error *err)
{
    if (m->is_prepared || m->has_training)
        return 0;
    int rc = each_weight(m, prepare_one, err);
    if (rc == 0)
        m->is_prepared = true;
    return rc;
}

/* ---- what it is ---- */

const struct wt_parameters *wt_model_parameters_of(const struct wt_model *m)
{
    return &m->at;
}

const struct wt_config *wt_model_config_of(const struct wt_model *m)
{
    return &m->config;
}

int wt_model_get(struct wt_model *m, float *values, struct wt_error *err)
{
    return OP(m, download, values, m->p, m->at.total * sizeof(*values), err);
}

int wt_model_set(struct wt_model *m, const float *values, struct wt_error *err)
{
    OP(m, upload, m->p, values, m->at.total * sizeof(*values));
    refresh(m);
    return OP(m, sync, err);
}

int wt_model_get_gradients(struct wt_model *m, float *values, struct wt_error *err)
{
    assert(m->has_training);
    return OP(m, download, values, m->g, m->at.total * sizeof(*values), err);
}

int wt_model_get_optimizer(struct wt_model *m, float *first, float *second, uint64_t *steps,
                           struct wt_error *err)
{
    assert(m->has_training);
    int rc = OP(m, download, first, m->first, m->at.total * sizeof(*first), err);
    if (rc == 0)
        rc = OP(m, download, second, m->second, m->at.total * sizeof(*second), err);
    if (rc == 0)
        *steps = m->steps;
    return rc;
}

int wt_model_set_optimizer(struct wt_model *m, const float *first, const float *second,
                           uint64_t steps, struct wt_error *err)
{
    assert(m->has_training);
    OP(m, upload, m->first, first, m->at.total * sizeof(*first));
    OP(m, upload, m->second, second, m->at.total * sizeof(*second));
    m->steps = steps;
    return OP(m, sync, err);
}

uint64_t wt_model_memory(const struct wt_model *m)
{
    return m->arena_bytes;
}
