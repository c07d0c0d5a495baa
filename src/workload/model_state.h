/* What a model is made of. model.c makes it and gives its parts out, model_pass.c computes with it.
 *
 * Sizes in comments as in backend.h; M: chosen rows. Internal to those two. */
#ifndef WT_WORKLOAD_MODEL_STATE_H
#define WT_WORKLOAD_MODEL_STATE_H

#include "workload/model.h"

struct layer {
    struct wt_weight qkv, out, up, down;
    void *qkv_rows;      /* [T, 3 H] */
    void *context;       /* [T, H] */
    float *lse;          /* [A, T] */
    void *pre, *active;  /* [T, F]: before and after the nonlinearity */
    void *keys, *values; /* GENERATE: [B, seq, H] */
};

struct norm {
    size_t gain, bias; /* in the parameters */
    void *sum, *y;     /* [T, H] */
    float *mean, *rstd;
};

struct wt_model {
    struct wt_config config;
    struct wt_model_options options;
    struct wt_parameters at;
    struct wt_backend *b;
    bool has_training, is_pre, has_dropped;
    size_t rows_max, chosen_max, logit_rows;

    void *arena;
    uint64_t arena_bytes;
    float *p, *g, *first, *second; /* [total]; without training only p */
    void *working;                 /* act [total]; NULL: p is it */
    struct layer *layers;
    struct norm *norms; /* [2 L + 1] */
    struct wt_weight token, head, pool, class;
    bool is_prepared;

    void *embedded; /* [T, H] */
    void *out;      /* [T, H]: what a sublayer gives; backward, the context's gradient */
    void *ds, *dy;  /* [T, H]: gradients at a sum, and at a norm's or sublayer's output */
    void *wide;     /* [T, max(3 H, F)]: inference, and gradients */
    float *delta;   /* [A, T] */
    /* the head's, of M rows: gathered, dense before and after, normed; [M, H] */
    void *head_x, *head_pre, *head_active, *head_y, *head_dy;
    float *head_mean, *head_rstd;
    void *trim_context, *trim_residual; /* inference: of the rows that are wanted */
    float *logits;                      /* [logit_rows, V or classes] */
    void *dlogits;                      /* act [B, classes] */
    float *losses;                      /* [loss_capacity], those of several parts after another */
    float *host_losses;
    size_t loss_capacity;
    float *norm; /* [1] */
    /* The input on the device and, in the same order, on the host: one upload a pass. */
    struct ints {
        int32_t *tokens, *positions; /* [T] */
        int32_t *chosen, *targets;   /* [M], [M or T] */
        int32_t *starts, *lengths;   /* [B] */
        int32_t *iota;               /* [B]: 0, 1, 2, ... */
    } in, host;
    size_t ints_bytes;
    int32_t *next, *host_next; /* GENERATE: tokens, positions, lengths of one more, [3 B] */

    /* of the last forward pass */
    struct wt_sequences seqs;
    size_t rows, chosen_count, count;
    bool was_training;
    unsigned part;

    uint64_t steps;
    bool has_optimized, has_counted_back;
    double loss_sum; /* of those that were brought back */
    size_t loss_count, loss_at;
    size_t generating; /* sequences in the cache */
    size_t generated_longest;
};

#define OP(m, name, ...) (m)->b->ops->name((m)->b->self, __VA_ARGS__)

static inline size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline bool has_lm_head(const struct wt_model *m)
{
    return m->at.head_w != WT_NOWHERE;
}

#endif
