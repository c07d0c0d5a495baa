/* The cases: every operation over a list of sizes and forms. */
#include "backend_contract.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "reference_backend.h"
#include "workload/random.h"

#define GUARD  64   /* values behind each output that must stay as they are */
#define POISON 0xff /* NaN in float and bfloat16 */
#define ARRAYS 64

enum kind { ACT, FLOAT, INT };

struct array {
    void *at[2]; /* of the tested backend, of the reference */
    enum kind kind;
    size_t n;
    bool is_output;
};

struct bed {
    struct wt_backend *b[2];
    struct wt_backend reference;
    double tolerance;
    const char *only;
    unsigned failures, finished;
    uint64_t seed;
    char name[160];
    struct array arrays[ARRAYS];
    size_t count;
    bool is_training; /* the backend trains: not int8 */
};

/* ---- numbers ---- */

static uint16_t bf16_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16); /* inputs are finite */
}

static float of_bf16(uint16_t x)
{
    uint32_t u = (uint32_t)x << 16;
    float out;
    memcpy(&out, &u, sizeof(out));
    return out;
}

/* -1 to 1, the bell's variance of about 1/3 */
static float value_at(uint64_t seed, size_t i)
{
    return (float)((double)(wt_random_at(seed, i) >> 11) * 0x1p-52 - 1);
}

static void *must(void *at)
{
    if (!at) {
        fprintf(stderr, "no memory for the contract\n");
        abort();
    }
    return at;
}

/* ---- arrays ---- */

static size_t bytes_of(const struct bed *bed, int side, enum kind kind, size_t n)
{
    return n * (kind == ACT ? wt_backend_act_bytes(bed->b[side]) : 4);
}

static struct array make(struct bed *bed, enum kind kind, size_t n)
{
    struct array a = {.kind = kind, .n = n};
    for (int side = 0; side < 2; side++) {
        struct wt_backend *b = bed->b[side];
        struct wt_error err = {0};
        if (b->ops->alloc(b->self, &a.at[side], bytes_of(bed, side, kind, n + GUARD), &err) < 0) {
            fprintf(stderr, "%s: %s\n", b->ops->name, err.text);
            abort();
        }
    }
    if (bed->count == ARRAYS)
        abort();
    return a;
}

/* values: host float [n], rounded to what the tested backend can hold. */
static void put(struct bed *bed, struct array *a, float *values)
{
    bool is_narrow = a->kind == ACT && wt_backend_act_bytes(bed->b[0]) == 2;
    uint16_t *narrow = must(calloc(a->n + 1, sizeof(*narrow)));
    for (size_t i = 0; is_narrow && i < a->n; i++) {
        narrow[i] = bf16_of(values[i]);
        values[i] = of_bf16(narrow[i]);
    }
    struct wt_backend *b = bed->b[0], *r = bed->b[1];
    b->ops->upload(b->self, a->at[0], is_narrow ? (void *)narrow : (void *)values,
                   bytes_of(bed, 0, a->kind, a->n));
    r->ops->upload(r->self, a->at[1], values, bytes_of(bed, 1, a->kind, a->n));
    b->ops->sync(b->self, NULL);
    free(narrow);
}

static void poison(struct bed *bed, const struct array *a)
{
    for (int side = 0; side < 2; side++) {
        struct wt_backend *b = bed->b[side];
        size_t bytes = bytes_of(bed, side, a->kind, a->n + GUARD);
        void *host = must(malloc(bytes));
        memset(host, POISON, bytes);
        b->ops->upload(b->self, a->at[side], host, bytes);
        b->ops->sync(b->self, NULL);
        free(host);
    }
}

static struct array keep(struct bed *bed, struct array a)
{
    bed->arrays[bed->count++] = a;
    return a;
}

/* scale times -1 .. 1, around middle */
static struct array numbers(struct bed *bed, enum kind kind, size_t n, float scale, float middle)
{
    struct array a = make(bed, kind, n);
    float *values = must(malloc((n + 1) * sizeof(*values)));
    uint64_t seed = ++bed->seed;
    for (size_t i = 0; i < n; i++)
        values[i] = middle + scale * value_at(seed, i);
    poison(bed, &a);
    put(bed, &a, values);
    free(values);
    return keep(bed, a);
}

static struct array input(struct bed *bed, enum kind kind, size_t n)
{
    return numbers(bed, kind, n, 1, 0);
}

static struct array integers(struct bed *bed, const int32_t *values, size_t n)
{
    struct array a = make(bed, INT, n);
    for (int side = 0; side < 2; side++) {
        struct wt_backend *b = bed->b[side];
        b->ops->upload(b->self, a.at[side], values, n * sizeof(*values));
        b->ops->sync(b->self, NULL);
    }
    return keep(bed, a);
}

/* from low to below high */
static struct array indices(struct bed *bed, size_t n, int32_t low, int32_t high)
{
    int32_t *values = must(malloc((n + 1) * sizeof(*values)));
    struct wt_random random = {++bed->seed, 0};
    for (size_t i = 0; i < n; i++)
        values[i] = low + (int32_t)wt_random_below(&random, (uint64_t)(high - low));
    struct array a = integers(bed, values, n);
    free(values);
    return a;
}

static struct array output(struct bed *bed, enum kind kind, size_t n)
{
    struct array a = make(bed, kind, n);
    poison(bed, &a);
    a.is_output = true;
    return keep(bed, a);
}

/* Where there is something already that is added to. */
static struct array sums(struct bed *bed, enum kind kind, size_t n, bool is_adding)
{
    return is_adding ? input(bed, kind, n) : output(bed, kind, n);
}

static struct array none(void)
{
    return (struct array){.at = {NULL, NULL}};
}

static void start(struct bed *bed, const char *fmt, ...) WT_PRINTF(2, 3);
static void start(struct bed *bed, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(bed->name, sizeof(bed->name), fmt, args);
    va_end(args);
}

/* Whether this case is wanted. */
static bool is_wanted(const struct bed *bed)
{
    return !bed->only || strstr(bed->name, bed->only);
}

static void finish(struct bed *bed)
{
    for (size_t i = 0; i < bed->count; i++)
        for (int side = 0; side < 2; side++)
            bed->b[side]->ops->release(bed->b[side]->self, bed->arrays[i].at[side]);
    bed->count = 0;
    bed->finished++;
    fflush(stdout);
}

/* ---- comparing ---- */

static float *bring(struct bed *bed, int side, const struct array *a, bool *io_is_fine)
{
    struct wt_backend *b = bed->b[side];
    size_t bytes = bytes_of(bed, side, a->kind, a->n + GUARD);
    unsigned char *raw = must(malloc(bytes));
    float *values = must(malloc((a->n + 1) * sizeof(*values)));
    struct wt_error err = {0};
    if (b->ops->download(b->self, raw, a->at[side], bytes, &err) < 0) {
        printf("not ok %-52s %s\n", bed->name, err.text);
        *io_is_fine = false;
    }
    bool is_narrow = a->kind == ACT && wt_backend_act_bytes(b) == 2;
    for (size_t i = 0; i < a->n; i++) {
        uint16_t half;
        memcpy(&half, raw + 2 * i, sizeof(half));
        if (is_narrow)
            values[i] = of_bf16(half);
        else
            memcpy(&values[i], raw + 4 * i, sizeof(values[i]));
    }
    for (size_t i = bytes_of(bed, side, a->kind, a->n); a->is_output && i < bytes; i++)
        if (raw[i] != POISON) {
            printf("not ok %-52s %s wrote behind the end\n", bed->name, b->ops->name);
            *io_is_fine = false;
            break;
        }
    free(raw);
    return values;
}

/* has (NULL: all): which values count, repeated over the array. */
static void check_some(struct bed *bed, const struct array *a, const char *what, const bool *has,
                       size_t has_count)
{
    bool is_fine = true;
    float *got = bring(bed, 0, a, &is_fine), *want = bring(bed, 1, a, &is_fine);
    double off = 0, size = 0, worst = 0;
    size_t bad = SIZE_MAX, at = 0;
    for (size_t i = 0; i < a->n; i++) {
        if (has && !has[i % has_count])
            continue;
        if (!isfinite(want[i])) {
            printf("not ok %-52s the reference's %s[%zu] is %g\n", bed->name, what, i,
                   (double)want[i]);
            is_fine = false;
            break;
        }
        double d = (double)got[i] - (double)want[i];
        if (!isfinite(d) && bad == SIZE_MAX)
            bad = i;
        if (fabs(d) > worst) {
            worst = fabs(d);
            at = i;
        }
        off += d * d;
        size += (double)want[i] * (double)want[i];
    }
    double error = off == 0 ? 0 : sqrt(off) / sqrt(size);
    if (bad != SIZE_MAX) {
        printf("not ok %-52s %-8s [%zu] is %g\n", bed->name, what, bad, (double)got[bad]);
        is_fine = false;
    } else {
        if (!(error <= bed->tolerance))
            is_fine = false;
        printf("%-6s %-52s %-8s error %.2e, largest %.2e", is_fine ? "ok" : "not ok", bed->name,
               what, error, worst);
        if (worst > 0)
            printf(": [%zu] is %g for %g", at, (double)got[at], (double)want[at]);
        printf("\n");
    }
    if (!is_fine)
        bed->failures++;
    free(got);
    free(want);
}

static void check(struct bed *bed, const struct array *a, const char *what)
{
    check_some(bed, a, what, NULL, 1);
}

#define EACH_SIDE(bed, b, s)                                                                       \
    for (int s = 0; s < 2; s++)                                                                    \
        for (struct wt_backend *b = (bed)->b[s]; b; b = NULL)

static struct wt_dropout drop(struct bed *bed, float p)
{
    return (struct wt_dropout){p, wt_random_at(99, bed->seed++)};
}

/* ---- weights ---- */

struct weight {
    struct array master, values;
    struct wt_weight w[2];
};

static struct weight weight(struct bed *bed, size_t out, size_t in)
{
    struct weight w;
    float *values = must(malloc((out * in + 1) * sizeof(*values)));
    uint64_t seed = ++bed->seed;
    for (size_t i = 0; i < out * in; i++)
        values[i] = value_at(seed, i) * (float)sqrt(3.0 / (double)in);
    struct array v = make(bed, ACT, out * in);
    put(bed, &v, values); /* rounds them */
    w.values = keep(bed, v);
    struct array m = make(bed, FLOAT, out * in);
    put(bed, &m, values);
    w.master = keep(bed, m);
    free(values);
    for (int s = 0; s < 2; s++) {
        bool is_same = bed->b[s]->dtype != WT_BF16;
        w.w[s] = (struct wt_weight){.master = w.master.at[s],
                                    .values = is_same ? w.master.at[s] : w.values.at[s],
                                    .out = out,
                                    .in = in,
                                    .is_for_many_rows = true};
    }
    return w;
}

static void prepare(struct bed *bed, struct weight *w)
{
    EACH_SIDE(bed, b, s)
    {
        struct wt_error err = {0};
        if (b->ops->prepare(b->self, &w->w[s], &err) < 0) {
            printf("not ok %-52s prepare: %s\n", bed->name, err.text);
            bed->failures++;
        }
    }
}

static void unprepare(struct bed *bed, struct weight *w)
{
    EACH_SIDE(bed, b, s) b->ops->unprepare(b->self, &w->w[s]);
}

/* ---- operations ---- */

static void embed_case(struct bed *bed, size_t rows, size_t n, int types, float p)
{
    enum { V = 97, P = 41 };
    start(bed, "embed rows %zu width %zu types %d dropout %g", rows, n, types, (double)p);
    if (!is_wanted(bed))
        return;
    struct array token = input(bed, FLOAT, V * n), position = input(bed, FLOAT, P * n);
    struct array type = types ? input(bed, FLOAT, 2 * n) : none();
    struct array tokens = indices(bed, rows, 0, V), positions = indices(bed, rows, 0, P);
    struct array kinds = types > 1 ? indices(bed, rows, 0, 2) : none();
    struct array out = output(bed, ACT, rows * n);
    struct array dout = input(bed, ACT, rows * n);
    struct array dtoken = input(bed, FLOAT, V * n), dposition = input(bed, FLOAT, P * n);
    struct array dtype = types ? input(bed, FLOAT, 2 * n) : none();
    struct wt_dropout d = drop(bed, p);
    EACH_SIDE(bed, b, s)
    {
        struct wt_embed e = {token.at[s], position.at[s], type.at[s], tokens.at[s], positions.at[s],
                             kinds.at[s], rows,           n,          out.at[s],    d};
        struct wt_embed_grad g = {dout.at[s], dtoken.at[s], dposition.at[s], dtype.at[s]};
        b->ops->embed(b->self, &e);
        if (bed->is_training)
            b->ops->embed_backward(b->self, &e, &g);
    }
    check(bed, &out, "out");
    if (bed->is_training) {
        check(bed, &dtoken, "dtoken");
        check(bed, &dposition, "dpos");
        if (types)
            check(bed, &dtype, "dtype");
    }
    finish(bed);
}

enum norm_form {
    NORM_PLAIN,    /* sum NULL, nothing added; rows and their mean are kept */
    NORM_INFER,    /* residual added, only y is wanted */
    NORM_RESIDUAL, /* residual added, sum kept apart */
    NORM_IN_X,     /* sum over x */
    NORM_IN_RES,   /* sum over the residual */
    NORM_SUM_ONLY, /* y NULL */
    NORM_FORMS
};
static const char *const norm_forms[] = {"plain",      "infer",        "sum kept",
                                         "sum over x", "sum over res", "sum only"};

static void norm_case(struct bed *bed, size_t rows, size_t n, enum norm_form form, float p_in,
                      float p_out)
{
    start(bed, "norm %s rows %zu width %zu dropout %g %g", norm_forms[form], rows, n, (double)p_in,
          (double)p_out);
    if (!is_wanted(bed))
        return;
    struct array x = input(bed, ACT, rows * n);
    struct array residual = form != NORM_PLAIN ? numbers(bed, ACT, rows * n, 1, 0.5f) : none();
    struct array sum = form == NORM_IN_X                                ? x
                       : form == NORM_IN_RES                            ? residual
                       : form == NORM_RESIDUAL || form == NORM_SUM_ONLY ? output(bed, ACT, rows * n)
                                                                        : none();
    struct array y = form == NORM_SUM_ONLY ? none() : output(bed, ACT, rows * n);
    bool has_rows = form != NORM_INFER && form != NORM_SUM_ONLY;
    struct array mean = has_rows ? output(bed, FLOAT, rows) : none();
    struct array rstd = has_rows ? output(bed, FLOAT, rows) : none();
    struct array gain = numbers(bed, FLOAT, n, 0.5f, 1), bias = input(bed, FLOAT, n);
    struct wt_dropout d_in = drop(bed, p_in), d_out = drop(bed, p_out);
    EACH_SIDE(bed, b, s)
    {
        struct wt_norm o = {x.at[s],    residual.at[s], sum.at[s],  y.at[s], mean.at[s],
                            rstd.at[s], gain.at[s],     bias.at[s], rows,    n,
                            1e-5f,      d_in,           d_out};
        b->ops->norm(b->self, &o);
    }
    if (sum.at[0])
        check(bed, &sum, "sum");
    if (y.at[0])
        check(bed, &y, "y");
    if (has_rows) {
        check(bed, &mean, "mean");
        check(bed, &rstd, "rstd");
    }
    finish(bed);
}

static void norm_backward_case(struct bed *bed, size_t rows, size_t n, bool has_dy, int other,
                               int over_dy, float p_in, float p_out, bool is_adding)
{ /* over_dy 1: dsum lies over dy, 2: dx does */
    start(bed, "norm_backward rows %zu width %zu%s other %d%s drop %g %g%s", rows, n,
          has_dy ? "" : " no dy", other,
          over_dy == 0   ? ""
          : over_dy == 1 ? " over dy"
                         : " dx over dy",
          (double)p_in, (double)p_out, is_adding ? " adding" : "");
    if (!is_wanted(bed))
        return;
    struct array x = numbers(bed, ACT, rows * n, 2, 0.5f);
    struct array gain = numbers(bed, FLOAT, n, 0.5f, 1), bias = input(bed, FLOAT, n);
    struct array dy = has_dy ? input(bed, ACT, rows * n) : none();
    struct array dother = other ? input(bed, ACT, rows * n) : none();
    /* other 2: dsum lies over it */
    struct array dsum = over_dy == 1 ? dy : other == 2 ? dother : output(bed, ACT, rows * n);
    struct array dx = over_dy == 2 ? dy : p_in > 0 ? output(bed, ACT, rows * n) : none();
    struct array dgain = sums(bed, FLOAT, n, is_adding || !has_dy);
    struct array dbias = sums(bed, FLOAT, n, is_adding || !has_dy);
    struct wt_dropout d_in = drop(bed, p_in), d_out = drop(bed, p_out);
    /* Both sides have the same mean and rstd: those of the rounded x. */
    float *mean = must(malloc(rows * sizeof(*mean))), *rstd = must(malloc(rows * sizeof(*rstd)));
    const float *host = x.at[1];
    for (size_t r = 0; r < rows; r++) {
        double m = 0, v = 0;
        for (size_t i = 0; i < n; i++)
            m += (double)host[r * n + i] / (double)n;
        for (size_t i = 0; i < n; i++)
            v += ((double)host[r * n + i] - m) * ((double)host[r * n + i] - m) / (double)n;
        mean[r] = (float)m;
        rstd[r] = (float)(1 / sqrt(v + 1e-5));
    }
    struct array means = make(bed, FLOAT, rows), rstds = make(bed, FLOAT, rows);
    put(bed, &means, mean);
    put(bed, &rstds, rstd);
    keep(bed, means);
    keep(bed, rstds);
    free(mean);
    free(rstd);
    bool is_in_sum = n % 2; /* where the normed values are: as sum, or as x */
    EACH_SIDE(bed, b, s)
    {
        struct wt_norm o = {.x = x.at[s],
                            .sum = is_in_sum ? x.at[s] : NULL,
                            .mean = means.at[s],
                            .rstd = rstds.at[s],
                            .gain = gain.at[s],
                            .bias = bias.at[s],
                            .rows = rows,
                            .n = n,
                            .epsilon = 1e-5f,
                            .drop_in = d_in,
                            .drop_out = d_out};
        struct wt_norm_grad g = {dy.at[s],
                                 dother.at[s],
                                 dsum.at[s],
                                 dx.at[s],
                                 has_dy ? dgain.at[s] : NULL,
                                 has_dy ? dbias.at[s] : NULL,
                                 is_adding};
        b->ops->norm_backward(b->self, &o, &g);
    }
    check(bed, &dsum, "dsum");
    if (dx.at[0])
        check(bed, &dx, "dx");
    check(bed, &dgain, "dgain");
    check(bed, &dbias, "dbias");
    finish(bed);
}

static const char *const functions[] = {"identity", "gelu_erf", "gelu_tanh", "tanh", "relu"};

static void linear_case(struct bed *bed, size_t m, size_t in, size_t out, enum wt_nonlinearity f,
                        bool has_bias, bool has_pre, bool is_float, bool is_prepared)
{
    start(bed, "linear %s m %zu in %zu out %zu%s%s%s%s", functions[f], m, in, out,
          has_bias ? " bias" : "", has_pre ? " pre" : "", is_float ? " float" : "",
          is_prepared ? " prepared" : "");
    if (!is_wanted(bed))
        return;
    struct array x = numbers(bed, ACT, m * in, 2, 0), bias = input(bed, FLOAT, out);
    struct weight w = weight(bed, out, in);
    struct array pre = has_pre ? output(bed, ACT, m * out) : none();
    struct array y = output(bed, is_float ? FLOAT : ACT, m * out);
    if (is_prepared)
        prepare(bed, &w);
    EACH_SIDE(bed, b, s)
    {
        struct wt_linear l = {x.at[s], &w.w[s], has_bias ? bias.at[s] : NULL, m, f, pre.at[s],
                              y.at[s], is_float};
        b->ops->linear(b->self, &l);
    }
    if (has_pre)
        check(bed, &pre, "pre");
    check(bed, &y, "y");
    if (is_prepared)
        unprepare(bed, &w);
    finish(bed);
}

static void linear_backward_case(struct bed *bed, size_t m, size_t in, size_t out,
                                 enum wt_nonlinearity f, bool has_bias, int dx_form, bool is_adding)
{
    start(bed, "linear_backward %s m %zu in %zu out %zu%s dx %d%s", functions[f], m, in, out,
          has_bias ? " bias" : "", dx_form, is_adding ? " adding" : "");
    if (!is_wanted(bed))
        return;
    struct array x = input(bed, ACT, m * in);
    struct weight w = weight(bed, out, in);
    struct array pre = f == WT_IDENTITY ? none() : numbers(bed, ACT, m * out, 3, 0);
    struct array dy = input(bed, ACT, m * out);
    struct array dx = dx_form == 0 ? none() : sums(bed, ACT, m * in, dx_form == 2);
    struct array dw = sums(bed, FLOAT, out * in, is_adding);
    struct array dbias = has_bias ? sums(bed, FLOAT, out, is_adding) : none();
    struct array bias = input(bed, FLOAT, out);
    EACH_SIDE(bed, b, s)
    {
        struct wt_linear l = {x.at[s], &w.w[s], has_bias ? bias.at[s] : NULL, m, f, pre.at[s],
                              NULL,    false};
        struct wt_linear_grad g = {dy.at[s], dx.at[s],    dx_form == 2,
                                   dw.at[s], dbias.at[s], is_adding};
        b->ops->linear_backward(b->self, &l, &g);
    }
    check(bed, &dy, "dz");
    if (dx.at[0])
        check(bed, &dx, "dx");
    check(bed, &dw, "dw");
    if (has_bias)
        check(bed, &dbias, "dbias");
    finish(bed);
}

struct layout {
    struct array starts, lengths;
    size_t count, rows, longest;
    bool *has; /* [rows]: is in a sequence */
};

/* form 0: padded and full; 1: padded, lengths of 1 to longest; 2: packed, with two rows of no
 * sequence at the end. */
static struct layout lay(struct bed *bed, size_t count, size_t longest, int form)
{
    struct layout l = {.count = count, .longest = longest};
    int32_t *starts = must(malloc(count * sizeof(*starts)));
    int32_t *lengths = must(malloc(count * sizeof(*lengths)));
    struct wt_random random = {++bed->seed, 0};
    for (size_t b = 0; b < count; b++) {
        lengths[b] = form == 0 ? (int32_t)longest : 1 + (int32_t)wt_random_below(&random, longest);
        starts[b] = form == 2 ? (int32_t)l.rows : (int32_t)(b * longest);
        l.rows = form == 2 ? l.rows + (size_t)lengths[b] : (b + 1) * longest;
    }
    if (form == 2)
        l.rows += 2;
    l.has = must(calloc(l.rows, sizeof(*l.has)));
    for (size_t b = 0; b < count; b++)
        for (int32_t t = 0; t < lengths[b]; t++)
            l.has[starts[b] + t] = true;
    l.starts = integers(bed, starts, count);
    l.lengths = integers(bed, lengths, count);
    free(starts);
    free(lengths);
    return l;
}

static struct wt_sequences sequences(const struct layout *l, int side)
{
    return (struct wt_sequences){l->starts.at[side], l->lengths.at[side], l->count, l->rows,
                                 l->longest};
}

static const char *const layouts[] = {"full", "padded", "packed"};

static void attention_case(struct bed *bed, size_t count, size_t longest, int form, size_t heads,
                           size_t head, bool is_causal, float p, float scale, bool is_inference)
{
    start(bed, "attention%s %zu x %zu %s %zu heads of %zu%s dropout %g scale %g",
          is_inference ? " alone" : "", count, longest, layouts[form], heads, head,
          is_causal ? " causal" : "", (double)p, (double)scale);
    if (!is_wanted(bed))
        return;
    struct layout l = lay(bed, count, longest, form);
    size_t h = heads * head;
    struct array qkv = numbers(bed, ACT, l.rows * 3 * h, scale, 0);
    struct array context = output(bed, ACT, l.rows * h);
    struct array lse = is_inference ? none() : output(bed, FLOAT, heads * l.rows);
    struct array dcontext = input(bed, ACT, l.rows * h);
    struct array dqkv = output(bed, ACT, l.rows * 3 * h);
    struct array delta = output(bed, FLOAT, heads * l.rows);
    struct wt_dropout d = drop(bed, p);
    EACH_SIDE(bed, b, s)
    {
        struct wt_attention a = {qkv.at[s], context.at[s], lse.at[s], sequences(&l, s),
                                 heads,     head,          is_causal, d};
        struct wt_attention_grad g = {dcontext.at[s], dqkv.at[s], delta.at[s]};
        b->ops->attention(b->self, &a);
        if (!is_inference)
            b->ops->attention_backward(b->self, &a, &g);
    }
    check(bed, &context, "context");
    if (!is_inference) {
        check_some(bed, &lse, "lse", l.has, l.rows); /* those of no sequence have none */
        /* A weight is e^(score - lse): scores over 100 in float are off by 1e-5, and so is it. */
        double tolerance = bed->tolerance;
        bed->tolerance *= scale > 1 ? 4 : 1;
        check(bed, &dqkv, "dqkv");
        bed->tolerance = tolerance;
    }
    free(l.has);
    finish(bed);
}

static void cache_case(struct bed *bed, size_t count, size_t longest, int form, size_t heads,
                       size_t head, size_t capacity)
{
    start(bed, "cache and decode %zu x %zu %s %zu heads of %zu capacity %zu", count, longest,
          layouts[form], heads, head, capacity);
    if (!is_wanted(bed))
        return;
    struct layout l = lay(bed, count, longest, form);
    size_t h = heads * head;
    struct array qkv = input(bed, ACT, l.rows * 3 * h), context = output(bed, ACT, l.rows * h);
    /* Filled before: what lies behind a sequence is kept, and must not be read. */
    struct array keys = input(bed, ACT, count * capacity * h);
    struct array values = input(bed, ACT, count * capacity * h);
    struct array next = input(bed, ACT, count * 3 * h), out = output(bed, ACT, count * h);
    int32_t *lengths = must(malloc(count * sizeof(*lengths)));
    memcpy(lengths, l.lengths.at[1], count * sizeof(*lengths));
    for (size_t b = 0; b < count; b++)
        lengths[b]++;
    struct array longer = integers(bed, lengths, count);
    free(lengths);
    EACH_SIDE(bed, b, s)
    {
        struct wt_attention a = {.qkv = qkv.at[s],
                                 .context = context.at[s],
                                 .at = sequences(&l, s),
                                 .heads = heads,
                                 .head = head,
                                 .is_causal = true};
        b->ops->attention(b->self, &a);
        b->ops->cache(b->self, &a, keys.at[s], values.at[s], capacity);
        struct wt_decode d = {next.at[s], keys.at[s],  values.at[s], longer.at[s], count,
                              capacity,   longest + 1, heads,        head,         out.at[s]};
        b->ops->decode(b->self, &d);
    }
    check(bed, &keys, "keys");
    check(bed, &values, "values");
    check(bed, &out, "context");
    free(l.has);
    finish(bed);
}

static void loss_case(struct bed *bed, size_t m, size_t h, size_t v, bool has_bias, bool has_grad,
                      bool is_adding, int32_t lowest)
{
    start(bed, "loss m %zu width %zu vocabulary %zu%s%s%s%s", m, h, v, has_bias ? " bias" : "",
          has_grad ? " gradient" : "", is_adding ? " adding" : "", lowest < 0 ? " holes" : "");
    if (!is_wanted(bed))
        return;
    struct array x = numbers(bed, ACT, m * h, 2, 0), bias = input(bed, FLOAT, v);
    struct weight w = weight(bed, v, h);
    int32_t *hosts = must(malloc(m * sizeof(*hosts)));
    struct wt_random random = {++bed->seed, 0};
    for (size_t i = 0; i < m; i++) /* about every third */
        hosts[i] = lowest < 0 && i % 3 == 1 ? -1 : (int32_t)wt_random_below(&random, v);
    struct array targets = integers(bed, hosts, m);
    free(hosts);
    struct array losses = output(bed, FLOAT, m);
    struct array dx = has_grad ? output(bed, ACT, m * h) : none();
    struct array dw = has_grad ? sums(bed, FLOAT, v * h, is_adding) : none();
    struct array dbias = has_grad && has_bias ? sums(bed, FLOAT, v, is_adding) : none();
    EACH_SIDE(bed, b, s)
    {
        struct wt_loss l = {x.at[s],       &w.w[s],  has_bias ? bias.at[s] : NULL,
                            targets.at[s], m,        losses.at[s],
                            1 / 7.0f,      dx.at[s], dw.at[s],
                            dbias.at[s],   is_adding};
        b->ops->loss(b->self, &l);
    }
    check(bed, &losses, "losses");
    if (has_grad) {
        check(bed, &dx, "dx");
        check(bed, &dw, "dw");
        if (has_bias)
            check(bed, &dbias, "dbias");
    }
    finish(bed);
}

static void cross_entropy_case(struct bed *bed, size_t m, size_t n, bool has_grad)
{
    start(bed, "cross_entropy m %zu classes %zu%s", m, n, has_grad ? " gradient" : "");
    if (!is_wanted(bed))
        return;
    struct array logits = numbers(bed, FLOAT, m * n, 4, 0);
    struct array targets = indices(bed, m, m > 2 ? -1 : 0, (int32_t)n);
    struct array losses = output(bed, FLOAT, m);
    struct array dlogits = has_grad ? output(bed, ACT, m * n) : none();
    EACH_SIDE(bed, b, s)
    b->ops->cross_entropy(b->self, logits.at[s], targets.at[s], m, n, 0.25f, losses.at[s],
                          dlogits.at[s]);
    check(bed, &losses, "losses");
    if (has_grad)
        check(bed, &dlogits, "dlogits");
    finish(bed);
}

static void gather_case(struct bed *bed, size_t count, size_t total, size_t n, float p)
{
    start(bed, "gather and scatter %zu of %zu width %zu dropout %g", count, total, n, (double)p);
    if (!is_wanted(bed))
        return;
    struct array x = input(bed, ACT, total * n), out = output(bed, ACT, count * n);
    struct array rows = indices(bed, count, 0, (int32_t)total); /* some may come twice */
    int32_t *hosts = must(malloc(count * sizeof(*hosts)));
    for (size_t i = 0; i < count; i++) /* each once, not in order */
        hosts[i] = (int32_t)((i * 7 + 3) % total);
    struct array places = integers(bed, hosts, count);
    free(hosts);
    struct array dout = input(bed, ACT, count * n), dx = output(bed, ACT, total * n);
    struct wt_dropout d = drop(bed, p);
    EACH_SIDE(bed, b, s)
    {
        b->ops->gather(b->self, out.at[s], x.at[s], rows.at[s], count, n, p > 0 ? &d : NULL);
        b->ops->scatter(b->self, dx.at[s], dout.at[s], places.at[s], count, total, n,
                        p > 0 ? &d : NULL);
    }
    check(bed, &out, "out");
    check(bed, &dx, "dx");
    finish(bed);
}

static void adamw_case(struct bed *bed, size_t total, float clip, float poisoned)
{
    start(bed, "adamw of %zu clip %g%s", total, (double)clip, poisoned != 0 ? " not finite" : "");
    if (!is_wanted(bed))
        return;
    struct array p = input(bed, FLOAT, total), g = input(bed, FLOAT, total);
    struct array first = numbers(bed, FLOAT, total, 0.1f, 0);
    struct array second = numbers(bed, FLOAT, total, 0.01f, 0.02f);
    bool has_working = bed->b[0]->dtype == WT_BF16;
    struct array working = has_working ? input(bed, ACT, total) : none();
    struct array norm = output(bed, FLOAT, 1);
    size_t middle = total / 3;
    struct wt_span spans[] = {{0, middle, true}, {middle, total, false}};
    EACH_SIDE(bed, b, s)
    {
        if (poisoned != 0)
            b->ops->upload(b->self, (float *)g.at[s] + total / 2, &poisoned, sizeof(poisoned));
        struct wt_adam a = {.p = p.at[s],
                            .first = first.at[s],
                            .second = second.at[s],
                            .g = g.at[s],
                            .working = working.at[s],
                            .spans = spans,
                            .span_count = 2,
                            .total = total,
                            .rate = 0.01f,
                            .beta1 = 0.9f,
                            .beta2 = 0.999f,
                            .epsilon = 1e-8f,
                            .decay = 0.1f,
                            .correction1 = 0.271f,
                            .correction2 = 0.003f,
                            .clip = clip,
                            .norm = norm.at[s]};
        b->ops->adamw(b->self, &a);
    }
    check(bed, &p, "p");
    check(bed, &first, "first");
    check(bed, &second, "second");
    if (has_working)
        check(bed, &working, "working");
    if (poisoned == 0) {
        check(bed, &norm, "norm");
    } else {
        bool is_fine = true;
        float *got = bring(bed, 0, &norm, &is_fine);
        bool is_wrong = isfinite(*got);
        printf("%-6s %-52s norm     is %g\n", is_wrong ? "not ok" : "ok", bed->name, (double)*got);
        bed->failures += is_wrong;
        free(got);
    }
    finish(bed);
}

static void memory_case(struct bed *bed, size_t n)
{
    start(bed, "fill and narrow of %zu", n);
    if (!is_wanted(bed))
        return;
    struct array from = input(bed, FLOAT, n), zeroed = output(bed, FLOAT, n);
    struct array narrowed = output(bed, ACT, n);
    struct array fresh = make(bed, FLOAT, n); /* as alloc left it: zeroed */
    keep(bed, fresh);
    EACH_SIDE(bed, b, s)
    {
        b->ops->fill_zero(b->self, zeroed.at[s], n * sizeof(float));
        b->ops->narrow(b->self, narrowed.at[s], from.at[s], n);
    }
    check(bed, &zeroed, "zeroed");
    check(bed, &narrowed, "narrowed");
    check(bed, &fresh, "fresh");
    finish(bed);
}

/* ---- the list ---- */

static void norm_cases(struct bed *bed)
{
    /* Not of 2: such a row is normed to -1 and 1 whatever it is, and its gradient is rounding. */
    static const size_t sizes[][2] = {{1, 4},    {3, 5},   {7, 32},    {16, 64},
                                      {33, 257}, {5, 768}, {70, 1024}, {130, 48}};
    for (size_t i = 0; i < WT_COUNTOF(sizes); i++) {
        size_t rows = sizes[i][0], n = sizes[i][1];
        for (enum norm_form form = 0; form < NORM_FORMS; form++) {
            norm_case(bed, rows, n, form, 0, 0);
            if (form >= NORM_RESIDUAL && bed->is_training)
                norm_case(bed, rows, n, form, 0.1f, form == NORM_RESIDUAL ? 0.1f : 0);
            if (form == NORM_PLAIN && bed->is_training)
                norm_case(bed, rows, n, form, 0, 0.1f);
        }
        if (!bed->is_training)
            continue;
        norm_backward_case(bed, rows, n, true, 0, 0, 0, 0, false);
        norm_backward_case(bed, rows, n, true, 0, 1, 0, 0.1f, true);
        norm_backward_case(bed, rows, n, true, 1, 1, 0.1f, 0, true);
        norm_backward_case(bed, rows, n, true, 2, 0, 0.1f, 0.1f, false);
        norm_backward_case(bed, rows, n, true, 2, 2, 0.1f, 0, false);
        norm_backward_case(bed, rows, n, false, 1, 0, 0.1f, 0, false);
        norm_backward_case(bed, rows, n, false, 2, 0, 0.1f, 0, false);
    }
}

static void linear_cases(struct bed *bed)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {3, 5, 7},     {17, 33, 29},
                                      {64, 64, 64},  {1, 256, 768}, {130, 96, 200},
                                      {8, 768, 100}, {300, 32, 5},  {129, 128, 512}};
    for (size_t i = 0; i < WT_COUNTOF(sizes); i++) {
        size_t m = sizes[i][0], in = sizes[i][1], out = sizes[i][2];
        for (enum wt_nonlinearity f = WT_IDENTITY; f <= WT_RELU; f++) {
            linear_case(bed, m, in, out, f, true, false, false, true);
            if (!bed->is_training)
                continue;
            linear_case(bed, m, in, out, f, true, f != WT_IDENTITY, false, false);
            linear_backward_case(bed, m, in, out, f, true, 1, false);
            linear_backward_case(bed, m, in, out, f, true, (int)f % 3, f % 2);
        }
        linear_case(bed, m, in, out, WT_IDENTITY, false, false, true, true);
        if (bed->is_training) {
            linear_case(bed, m, in, out, WT_IDENTITY, true, false, true, false);
            linear_case(bed, m, in, out, WT_IDENTITY, false, false, false, false);
            linear_backward_case(bed, m, in, out, WT_IDENTITY, false, 2, true);
            linear_backward_case(bed, m, in, out, WT_IDENTITY, false, 0, false);
        }
    }
}

static void attention_cases(struct bed *bed)
{
    static const size_t shapes[][4] = {/* sequences, longest, heads, head */
                                       {1, 1, 1, 64},  {3, 5, 2, 64},   {2, 17, 3, 32},
                                       {4, 64, 2, 64}, {2, 65, 1, 32},  {3, 130, 2, 64},
                                       {2, 33, 2, 24}, {2, 40, 1, 128}, {1, 384, 1, 64}};
    for (size_t i = 0; i < WT_COUNTOF(shapes); i++)
        for (int form = 0; form < 3; form++)
            for (int causal = 0; causal < 2; causal++) {
                const size_t *z = shapes[i];
                attention_case(bed, z[0], z[1], form, z[2], z[3], causal, 0, 1, true);
                if (!bed->is_training)
                    continue;
                attention_case(bed, z[0], z[1], form, z[2], z[3], causal, 0, 1, false);
                attention_case(bed, z[0], z[1], form, z[2], z[3], causal, 0.1f, 1, false);
                if (form == 1) /* weights of almost 0 and 1, scores over 100 */
                    attention_case(bed, z[0], z[1], form, z[2], z[3], causal, 0, 8, false);
            }
    cache_case(bed, 1, 1, 0, 1, 64, 2);
    cache_case(bed, 3, 17, 1, 2, 64, 40);
    cache_case(bed, 4, 33, 2, 3, 32, 34);
    cache_case(bed, 2, 130, 1, 2, 64, 160);
    cache_case(bed, 2, 20, 2, 1, 24, 64);
}

static void loss_cases(struct bed *bed)
{
    static const size_t sizes[][3] = {{1, 8, 11},     {7, 32, 513},    {33, 64, 1000},
                                      {9, 48, 30522}, {70, 128, 2049}, {160, 32, 97}};
    for (size_t i = 0; i < WT_COUNTOF(sizes); i++) {
        size_t m = sizes[i][0], h = sizes[i][1], v = sizes[i][2];
        loss_case(bed, m, h, v, true, false, false, 0);
        loss_case(bed, m, h, v, false, false, false, 0);
        if (!bed->is_training)
            continue;
        loss_case(bed, m, h, v, true, true, false, 0);
        loss_case(bed, m, h, v, false, true, true, -1);
        loss_case(bed, m, h, v, true, true, true, -1);
    }
    static const size_t classes[][2] = {{1, 2}, {8, 3}, {33, 17}, {70, 2}};
    for (size_t i = 0; i < WT_COUNTOF(classes); i++) {
        cross_entropy_case(bed, classes[i][0], classes[i][1], false);
        if (bed->is_training)
            cross_entropy_case(bed, classes[i][0], classes[i][1], true);
    }
}

unsigned wt_backend_contract(struct wt_backend *tested, double tolerance, const char *only)
{
    struct bed bed = {.tolerance = tolerance, .only = only};
    if (wt_reference_new(&bed.reference, NULL) < 0)
        return 1;
    bed.b[0] = tested;
    bed.b[1] = &bed.reference;
    bed.is_training = tested->dtype != WT_INT8;

    static const size_t counts[] = {1, 7, 64, 1001};
    for (size_t i = 0; i < WT_COUNTOF(counts); i++)
        memory_case(&bed, counts[i]);
    static const size_t embeds[][2] = {{1, 8}, {7, 32}, {33, 33}, {130, 64}, {5, 768}};
    for (size_t i = 0; i < WT_COUNTOF(embeds); i++)
        for (int types = 0; types < 3; types++) {
            embed_case(&bed, embeds[i][0], embeds[i][1], types, 0);
            if (bed.is_training)
                embed_case(&bed, embeds[i][0], embeds[i][1], types, 0.1f);
        }
    norm_cases(&bed);
    linear_cases(&bed);
    attention_cases(&bed);
    loss_cases(&bed);
    static const size_t rows[][3] = {
        {1, 1, 8}, {3, 10, 5}, {20, 128, 64}, {33, 33, 257}, {8, 64, 768}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        gather_case(&bed, rows[i][0], rows[i][1], rows[i][2], 0);
        if (bed.is_training)
            gather_case(&bed, rows[i][0], rows[i][1], rows[i][2], 0.1f);
    }
    if (bed.is_training) {
        static const size_t totals[] = {3, 100, 4099, 70001};
        for (size_t i = 0; i < WT_COUNTOF(totals); i++) {
            adamw_case(&bed, totals[i], 0, 0);
            adamw_case(&bed, totals[i], 1, 0);
            adamw_case(&bed, totals[i], 1, NAN);
            adamw_case(&bed, totals[i], 0, INFINITY);
        }
    }

    struct wt_error err = {0};
    if (tested->ops->sync(tested->self, &err) < 0) {
        printf("not ok sync: %s\n", err.text);
        bed.failures++;
    }
    if (!bed.finished) {
        printf("not ok there is no case \"%s\"\n", only ? only : "");
        bed.failures++;
    }
    bed.reference.ops->free(bed.reference.self);
    return bed.failures;
}
