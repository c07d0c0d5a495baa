/* The kernels of cuda.c, compiled by NVRTC when a backend is made, for the device at hand.
 *
 * No header is included: NVRTC is given none, and clang shall compile this without a CUDA
 * installation (tests/cuda-clang). What the language lacks there is inline PTX.
 *
 * Defined from outside:
 *   WT_MODE   0: float, strict; 1: float, products by tf32; 2: bfloat16
 *   WT_PART   1: what does not depend on sizes
 *             2: norms of WT_N columns, WT_V of them at a time
 *             3: attention with heads of WT_HEAD, WT_V warps in a backward block
 * so sizes that rule registers and loops are constants; a part is compiled when its size is first
 * met. An operation's meaning is in backend.h; here stands only how it is done. */

typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;

#ifdef __CUDACC_RTC__
#define DEVICE static __device__ __forceinline__ __attribute__((unused))
#define DEVICE_CALL __device__ __noinline__
#define SHARED __shared__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#else
#define DEVICE static __attribute__((device)) inline __attribute__((always_inline, unused))
#define DEVICE_CALL __attribute__((device, noinline))
#define SHARED __attribute__((shared))
#define KERNEL(threads, blocks)                                                                    \
    extern "C" __attribute__((global)) __attribute__((launch_bounds(threads, blocks))) void
#endif
#define UNROLL _Pragma("unroll")

/* ---- what PTX has ---- */

DEVICE u32 thread_x()
{
    u32 v;
    asm("mov.u32 %0, %%tid.x;" : "=r"(v));
    return v;
}
DEVICE u32 block_x()
{
    u32 v;
    asm("mov.u32 %0, %%ctaid.x;" : "=r"(v));
    return v;
}
DEVICE u32 block_y()
{
    u32 v;
    asm("mov.u32 %0, %%ctaid.y;" : "=r"(v));
    return v;
}
DEVICE u32 block_z()
{
    u32 v;
    asm("mov.u32 %0, %%ctaid.z;" : "=r"(v));
    return v;
}
DEVICE u32 blocks_x()
{
    u32 v;
    asm("mov.u32 %0, %%nctaid.x;" : "=r"(v));
    return v;
}
DEVICE void barrier()
{
    asm volatile("bar.sync 0;" ::: "memory");
}
DEVICE void warp_barrier()
{
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}
DEVICE u32 bits_of(float x)
{
    u32 v;
    asm("mov.b32 %0, %1;" : "=r"(v) : "f"(x));
    return v;
}
DEVICE float float_of(u32 x)
{
    float v;
    asm("mov.b32 %0, %1;" : "=f"(v) : "r"(x));
    return v;
}
DEVICE float exchange(float x, u32 with)
{
    u32 v;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                 : "=r"(v)
                 : "r"(bits_of(x)), "r"(with));
    return float_of(v);
}
DEVICE float exp2_(float x)
{
    float v;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}
DEVICE float log2_(float x)
{
    float v;
    asm("lg2.approx.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}
DEVICE float inverse(float x)
{
    float v;
    asm("rcp.approx.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}
DEVICE float multiply_add(float x, float y, float z)
{
    float v;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(v) : "f"(x), "f"(y), "f"(z));
    return v;
}
DEVICE float size_of(float x)
{
    float v;
    asm("abs.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}
DEVICE float root(float x)
{
    float v;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}
DEVICE float largest(float a, float b)
{
    float v;
    asm("max.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
    return v;
}
DEVICE u32 shared_address(const void *at)
{
    u64 v;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(v) : "l"((u64)at));
    return (u32)v;
}
DEVICE void add_to(float *at, float x)
{
    asm volatile("red.global.add.f32 [%0], %1;" ::"l"(at), "f"(x) : "memory");
}

#define LOG2E 1.44269504f
#define LN2   0.693147181f

/* e^x. The product with log2(e) in two parts, since its rounding alone would cost |x| 6e-8. Minus
 * infinity gives next to nothing; what is no number stays none. */
DEVICE float exp_(float x)
{
    x = x < -100.0f ? -100.0f : x;
    float t = x * LOG2E;
    return exp2_(t) * (1.0f + LN2 * (multiply_add(x, LOG2E, -t) + x * 1.92596299e-8f));
}

DEVICE float warp_sum(float x)
{
    UNROLL
    for (u32 w = 16; w; w >>= 1)
        x += exchange(x, w);
    return x;
}
DEVICE float warp_largest(float x)
{
    UNROLL
    for (u32 w = 16; w; w >>= 1)
        x = largest(x, exchange(x, w));
    return x;
}

/* ---- activations ---- */

struct alignas(16) chunk {
    u32 x[4];
};
struct alignas(16) quad {
    float x[4];
};

#if WT_MODE == 2
typedef u16 act;
#define ACT_CHUNK 8 /* values in 16 bytes */
DEVICE float widen(act x)
{
    return float_of((u32)x << 16);
}
DEVICE u32 narrow_pair(float low, float high)
{
    u32 v;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
}
DEVICE act narrow_(float x)
{
    return (act)narrow_pair(x, 0.0f);
}
#else
typedef float act;
#define ACT_CHUNK 4
DEVICE float widen(act x)
{
    return x;
}
DEVICE act narrow_(float x)
{
    return x;
}
#endif

/* V values: a chunk of 16 bytes, or one. */
template <int V> DEVICE void load_act(float *v, const act *from)
{
    if constexpr (V == 1) {
        v[0] = widen(from[0]);
    } else {
        chunk c = *(const chunk *)from;
#if WT_MODE == 2
        UNROLL
        for (int i = 0; i < V / 2; i++) {
            v[2 * i] = float_of(c.x[i] << 16);
            v[2 * i + 1] = float_of(c.x[i] & 0xffff0000u);
        }
#else
        UNROLL
        for (int i = 0; i < V; i++)
            v[i] = float_of(c.x[i]);
#endif
    }
}
template <int V> DEVICE void store_act(act *to, const float *v)
{
    if constexpr (V == 1) {
        to[0] = narrow_(v[0]);
    } else {
        chunk c;
#if WT_MODE == 2
        UNROLL
        for (int i = 0; i < V / 2; i++)
            c.x[i] = narrow_pair(v[2 * i], v[2 * i + 1]);
#else
        UNROLL
        for (int i = 0; i < V; i++)
            c.x[i] = bits_of(v[i]);
#endif
        *(chunk *)to = c;
    }
}
/* The same of floats, whatever activations are. V: 1 or a multiple of 4. */
template <int V> DEVICE void load_float(float *v, const float *from)
{
    if constexpr (V == 1) {
        v[0] = from[0];
    } else {
        UNROLL
        for (int i = 0; i < V / 4; i++) {
            quad q = ((const quad *)from)[i];
            UNROLL
            for (int k = 0; k < 4; k++)
                v[4 * i + k] = q.x[k];
        }
    }
}
template <int V> DEVICE void store_float(float *to, const float *v)
{
    if constexpr (V == 1) {
        to[0] = v[0];
    } else {
        UNROLL
        for (int i = 0; i < V / 4; i++) {
            quad q;
            UNROLL
            for (int k = 0; k < 4; k++)
                q.x[k] = v[4 * i + k];
            ((quad *)to)[i] = q;
        }
    }
}
template <int V> DEVICE void add_to_all(float *at, const float *v)
{
#if __CUDA_ARCH__ >= 900 && defined(__CUDACC_RTC__)
    if constexpr (V % 4 == 0) {
        UNROLL
        for (int i = 0; i < V / 4; i++)
            asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(at + 4 * i),
                         "f"(v[4 * i]), "f"(v[4 * i + 1]), "f"(v[4 * i + 2]), "f"(v[4 * i + 3])
                         : "memory");
        return;
    }
#endif
    UNROLL
    for (int i = 0; i < V; i++)
        add_to(at + i, v[i]);
}

/* ---- dropout: wt_dropout_bits() of random.h ---- */

struct drop {
    u64 key;
    u32 below; /* dropped where the bits are below this; 0: nothing is */
    float scale;
};
DEVICE bool is_kept(const drop &d, u64 i)
{
    u32 h = (u32)i ^ (u32)d.key;
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h += (u32)(i >> 32) + (u32)(d.key >> 32);
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    return (h ^ (h >> 16)) >= d.below;
}
template <int V> DEVICE void drop_all(float *v, const drop &d, u64 first)
{
    if (d.below) {
        UNROLL
        for (int i = 0; i < V; i++)
            v[i] = is_kept(d, first + i) ? v[i] * d.scale : 0.0f;
    }
}

#if WT_PART == 1

/* ---- nonlinearities, numbered as enum wt_nonlinearity ---- */

enum { F_IDENTITY, F_GELU_ERF, F_GELU_TANH, F_TANH, F_RELU };

/* Phi(x) given e = exp(-x^2/2): Abramowitz and Stegun 7.1.26, as kernels.c has it. */
DEVICE float normal_cdf(float x, float e)
{
    float z = size_of(x) * 0.707106781f;
    float t = inverse(1.0f + 0.3275911f * z);
    float poly = 1.061405429f;
    poly = poly * t - 1.453152027f;
    poly = poly * t + 1.421413741f;
    poly = poly * t - 0.284496736f;
    poly = poly * t + 0.254829592f;
    float tail = 0.5f * poly * t * e;
    return x < 0 ? tail : 1.0f - tail;
}
/* e^(-x^2/2). Of bfloat16 its last bits are rounded away anyway. */
DEVICE float bell(float x)
{
#if WT_MODE == 2
    return exp2_(x * x * (-0.5f * LOG2E));
#else
    return exp_(-0.5f * x * x);
#endif
}
DEVICE float tanh_(float x)
{
    if (size_of(x) < 0.1f) {
        float s = x * x;
        return x * (1.0f + s * (-1.0f / 3 + s * (2.0f / 15 - s * (17.0f / 315))));
    }
    return 1.0f - 2.0f * inverse(1.0f + exp_(2.0f * x));
}
#define GELU_A 0.797884561f /* sqrt(2/pi) */
#define GELU_B 0.044715f
DEVICE float value_of(int f, float x)
{
    if (f == F_GELU_ERF)
        return x * normal_cdf(x, bell(x));
    if (f == F_GELU_TANH)
        return 0.5f * x * (1.0f + tanh_(GELU_A * (x + GELU_B * x * x * x)));
    if (f == F_TANH)
        return tanh_(x);
    if (f == F_RELU)
        return x < 0 ? 0.0f : x; /* a NaN stays one */
    return x;
}
DEVICE float slope_of(int f, float x)
{
    if (f == F_GELU_ERF) {
        float e = bell(x);
        return normal_cdf(x, e) + x * 0.398942280f * e;
    }
    if (f == F_GELU_TANH) {
        float t = tanh_(GELU_A * (x + GELU_B * x * x * x));
        return 0.5f * (1.0f + t) +
               0.5f * x * (1.0f - t * t) * GELU_A * (1.0f + 3.0f * GELU_B * x * x);
    }
    if (f == F_TANH) {
        float t = tanh_(x);
        return 1.0f - t * t;
    }
    if (f == F_RELU)
        return x <= 0 ? 0.0f : 1.0f; /* of a NaN: dy's goes through */
    return 1.0f;
}

/* z [m, n] + bias -> pre (may be z or null), f of it -> y (may be z). Of activations or, IS_FLOAT,
 * z and y floats. */
template <int V, bool IS_FLOAT>
DEVICE void finish_linear(const void *z, const float *bias, act *pre, void *y, u32 n, u64 total,
                          int f)
{
    u64 i = ((u64)block_x() * 256 + thread_x()) * V;
    if (i >= total)
        return;
    float v[V], b[V];
    if (IS_FLOAT)
        load_float<V>(v, (const float *)z + i);
    else
        load_act<V>(v, (const act *)z + i);
    if (bias) {
        load_float<V>(b, bias + (u32)(i % n));
        UNROLL
        for (int k = 0; k < V; k++)
            v[k] += b[k];
    }
    if (pre)
        store_act<V>(pre + i, v);
    UNROLL
    for (int k = 0; k < V; k++)
        v[k] = value_of(f, v[k]);
    if (IS_FLOAT)
        store_float<V>((float *)y + i, v);
    else
        store_act<V>((act *)y + i, v);
}
KERNEL(256, 1)
finish_linear_v(const void *z, const float *bias, act *pre, void *y, u32 n, u64 total, int f)
{
    finish_linear<ACT_CHUNK, false>(z, bias, pre, y, n, total, f);
}
KERNEL(256, 1)
finish_linear_1(const void *z, const float *bias, act *pre, void *y, u32 n, u64 total, int f)
{
    finish_linear<1, false>(z, bias, pre, y, n, total, f);
}
KERNEL(256, 1)
finish_linear_float(const void *z, const float *bias, act *pre, void *y, u32 n, u64 total, int f)
{
    finish_linear<1, true>(z, bias, pre, y, n, total, f);
}
/* The common case has no runtime choice of f. */
KERNEL(256, 1) gelu_erf_v(const act *z, act *y, u64 total)
{
    finish_linear<ACT_CHUNK, false>(z, 0, 0, y, 1, total, F_GELU_ERF);
}

/* dz = dy f'(pre) in place, and column sums of dz: a block has 32 V columns and a slab of rows; its
 * 8 warps take rows in turn. partial [slabs, width]; null: no sums. fold() adds the slabs up. */
template <int V>
DEVICE void bend_back(act *dy, const act *pre, float *partial, u32 m, u32 n, u32 ld, u32 width,
                      u32 slab, int f)
{
    SHARED static float sums[8][32 * V + 1];
    u32 lane = thread_x() & 31, warp = thread_x() >> 5;
    u32 column = (block_x() * 32 + lane) * V;
    u32 from = block_y() * slab, to = from + slab < m ? from + slab : m;
    float sum[V];
    UNROLL
    for (int k = 0; k < V; k++)
        sum[k] = 0;
    if (column < n) {
        _Pragma("unroll 4")
        for (u32 r = from + warp; r < to; r += 8) {
            u64 at = (u64)r * ld + column;
            float g[V];
            load_act<V>(g, dy + at);
            if (f != F_IDENTITY) {
                float x[V];
                load_act<V>(x, pre + at);
                UNROLL
                for (int k = 0; k < V; k++)
                    g[k] *= slope_of(f, x[k]);
                store_act<V>(dy + at, g);
            }
            UNROLL
            for (int k = 0; k < V; k++)
                sum[k] += g[k];
        }
    }
    if (!partial)
        return;
    UNROLL
    for (int k = 0; k < V; k++)
        sums[warp][lane * V + k] = sum[k];
    barrier();
    for (u32 c = thread_x(); c < 32 * V; c += 256) {
        u32 at = block_x() * 32 * V + c;
        if (at >= width)
            continue;
        float total = 0;
        UNROLL
        for (int w = 0; w < 8; w++)
            total += sums[w][c];
        partial[(u64)block_y() * width + at] = total;
    }
}
KERNEL(256, 1)
bend_back_v(act *dy, const act *pre, float *partial, u32 m, u32 n, u32 ld, u32 width, u32 slab,
            int f)
{
    bend_back<ACT_CHUNK>(dy, pre, partial, m, n, ld, width, slab, f);
}
KERNEL(256, 1)
bend_back_gelu_erf_v(act *dy, const act *pre, float *partial, u32 m, u32 n, u32 ld, u32 width,
                     u32 slab, int)
{
    bend_back<ACT_CHUNK>(dy, pre, partial, m, n, ld, width, slab, F_GELU_ERF);
}
KERNEL(256, 1)
column_sums_v(act *dy, const act *, float *partial, u32 m, u32 n, u32 ld, u32 width, u32 slab, int)
{
    bend_back<ACT_CHUNK>(dy, 0, partial, m, n, ld, width, slab, F_IDENTITY);
}
KERNEL(256, 1)
bend_back_1(act *dy, const act *pre, float *partial, u32 m, u32 n, u32 ld, u32 width, u32 slab,
            int f)
{
    bend_back<1>(dy, pre, partial, m, n, ld, width, slab, f);
}

/* out[c] (+)= sum over parts of partial[part * stride + c], c < n. A block has 32 columns. The
 * second row of blocks does the same for other, whose columns are n further. */
KERNEL(512, 1)
fold(const float *partial, float *out, float *other, u32 parts, u32 n, u32 stride, int is_adding)
{
    SHARED static float sums[16][32];
    u32 lane = thread_x() & 31, warp = thread_x() >> 5, c = block_x() * 32 + lane;
    float sum = 0;
    if (block_y()) {
        partial += n;
        out = other;
    }
    if (!out)
        return;
    if (c < n) {
        _Pragma("unroll 4")
        for (u32 p = warp; p < parts; p += 16)
            sum += partial[(u64)p * stride + c];
    }
    sums[warp][lane] = sum;
    barrier();
    if (warp == 0 && c < n) {
        float total = is_adding ? out[c] : 0.0f;
        UNROLL
        for (int w = 0; w < 16; w++)
            total += sums[w][lane];
        out[c] = total;
    }
}

/* ---- embeddings ---- */

/* A warp has a row. */
template <int V>
DEVICE void embed_row(const float *token, const float *position, const float *type,
                      const i32 *tokens, const i32 *positions, const i32 *types, act *out, u32 rows,
                      u32 n, const drop &d)
{
    u32 row = block_x() * 4 + (thread_x() >> 5), lane = thread_x() & 31;
    if (row >= rows)
        return;
    const float *a = token + (u64)tokens[row] * n, *b = position + (u64)positions[row] * n;
    const float *c = type ? type + (u64)(types ? types[row] : 0) * n : 0;
    for (u32 i = lane * V; i < n; i += 32 * V) {
        float v[V], w[V];
        load_float<V>(v, a + i);
        load_float<V>(w, b + i);
        UNROLL
        for (int k = 0; k < V; k++)
            v[k] += w[k];
        if (c) {
            load_float<V>(w, c + i);
            UNROLL
            for (int k = 0; k < V; k++)
                v[k] += w[k];
        }
        drop_all<V>(v, d, (u64)row * n + i);
        store_act<V>(out + (u64)row * n + i, v);
    }
}
#define EMBED_PARAMETERS                                                                           \
    const float *token, const float *position, const float *type, const i32 *tokens,              \
        const i32 *positions, const i32 *types, act *out, u32 rows, u32 n, drop d
KERNEL(128, 1) embed_v(EMBED_PARAMETERS)
{
    embed_row<ACT_CHUNK>(token, position, type, tokens, positions, types, out, rows, n, d);
}
KERNEL(128, 1) embed_1(EMBED_PARAMETERS)
{
    embed_row<1>(token, position, type, tokens, positions, types, out, rows, n, d);
}

/* A block has 32 rows and all columns. Rows of one type follow each other mostly, so their sum is
 * added when the type changes; tokens and positions are added one by one. */
template <int V>
DEVICE void embed_back(const act *dout, const i32 *tokens, const i32 *positions, const i32 *types,
                       float *dtoken, float *dposition, float *dtype, u32 rows, u32 n,
                       const drop &d)
{
    u32 from = block_x() * 32, to = from + 32 < rows ? from + 32 : rows;
    for (u32 i = thread_x() * V; i < n; i += 128 * V) {
        float sum[V];
        i32 of = -1;
        UNROLL
        for (int k = 0; k < V; k++)
            sum[k] = 0;
        for (u32 row = from; row < to; row++) {
            float g[V];
            load_act<V>(g, dout + (u64)row * n + i);
            drop_all<V>(g, d, (u64)row * n + i);
            add_to_all<V>(dtoken + (u64)tokens[row] * n + i, g);
            add_to_all<V>(dposition + (u64)positions[row] * n + i, g);
            if (!dtype)
                continue;
            i32 t = types ? types[row] : 0;
            if (t != of) {
                if (of >= 0)
                    add_to_all<V>(dtype + (u64)of * n + i, sum);
                of = t;
                UNROLL
                for (int k = 0; k < V; k++)
                    sum[k] = 0;
            }
            UNROLL
            for (int k = 0; k < V; k++)
                sum[k] += g[k];
        }
        if (dtype && of >= 0)
            add_to_all<V>(dtype + (u64)of * n + i, sum);
    }
}
#define EMBED_BACK_PARAMETERS                                                                      \
    const act *dout, const i32 *tokens, const i32 *positions, const i32 *types, float *dtoken,     \
        float *dposition, float *dtype, u32 rows, u32 n, drop d
KERNEL(128, 1) embed_back_v(EMBED_BACK_PARAMETERS)
{
    embed_back<ACT_CHUNK>(dout, tokens, positions, types, dtoken, dposition, dtype, rows, n, d);
}
KERNEL(128, 1) embed_back_1(EMBED_BACK_PARAMETERS)
{
    embed_back<1>(dout, tokens, positions, types, dtoken, dposition, dtype, rows, n, d);
}

/* ---- loss ---- */

DEVICE void block_reduce_softmax(float &top, float &sum)
{
    SHARED static float tops[32], sums[32];
    u32 lane = thread_x() & 31, warp = thread_x() >> 5;
    float t = warp_largest(top);
    /* a thread that saw nothing has top -inf and sum 0 */
    float s = warp_sum(sum > 0 ? sum * exp_(top - t) : 0.0f);
    if (lane == 0) {
        tops[warp] = t;
        sums[warp] = s;
    }
    barrier();
    t = lane < 16 ? tops[lane] : float_of(0xff800000u);
    s = lane < 16 ? sums[lane] : 0.0f;
    top = warp_largest(t);
    sum = warp_sum(s > 0 ? s * exp_(t - top) : 0.0f);
}

/* A block of 512 has a row of logits [ld], of which n count; they become their gradients. Two
 * passes: one for the largest and the sum, one for the gradient, by which time the row is in the
 * cache. bias: added here to columns from first to last, where the product did not. */
KERNEL(512, 2)
loss_rows(act *logits, const float *bias, const i32 *targets, float *losses, u32 n, u32 ld,
          u32 first, u32 last, float scale, int is_training)
{
    u32 row = block_x();
    act *x = logits + (u64)row * ld;
    i32 target = targets[row];
    if (target < 0) { /* also when the gradient is not wanted: x is scratch */
        float zero[ACT_CHUNK] = {};
        for (u32 i = thread_x() * ACT_CHUNK; i < ld; i += 512 * ACT_CHUNK)
            store_act<ACT_CHUNK>(x + i, zero);
        if (thread_x() == 0)
            losses[row] = 0;
        return;
    }
    const float lowest = float_of(0xff800000u);
    float top = lowest, sum = 0;
    for (u32 i = thread_x() * ACT_CHUNK; i < n; i += 512 * ACT_CHUNK) {
        float v[ACT_CHUNK], high = lowest;
        load_act<ACT_CHUNK>(v, x + i);
        UNROLL
        for (int k = 0; k < ACT_CHUNK; k++) {
            v[k] = i + k < n ? v[k] + (bias && i + k >= first && i + k < last ? bias[i + k] : 0.0f)
                             : lowest;
            high = largest(high, v[k]);
        }
        if (high > top) {
            sum *= exp_(top - high);
            top = high;
        }
        UNROLL
        for (int k = 0; k < ACT_CHUNK; k++)
            sum += exp_(v[k] - top);
    }
    float at_target = widen(x[target]) +
                      (bias && target >= (i32)first && target < (i32)last ? bias[target] : 0.0f);
    block_reduce_softmax(top, sum); /* its barrier is also between the reads and the writes */
    if (thread_x() == 0)
        losses[row] = top + LN2 * log2_(sum) - at_target;
    if (!is_training)
        return;
    float factor = scale * inverse(sum);
    for (u32 i = thread_x() * ACT_CHUNK; i < n; i += 512 * ACT_CHUNK) {
        float v[ACT_CHUNK];
        load_act<ACT_CHUNK>(v, x + i);
        UNROLL
        for (int k = 0; k < ACT_CHUNK; k++) {
            float b = bias && i + k >= first && i + k < last ? bias[i + k] : 0.0f;
            v[k] = exp_(v[k] + b - top) * factor - (i + k == (u32)target ? scale : 0.0f);
        }
        store_act<ACT_CHUNK>(x + i, v);
    }
}

/* A warp has a row; n is small. */
KERNEL(128, 1)
cross_entropy(const float *logits, const i32 *targets, float *losses, act *dlogits, u32 m, u32 n,
              float scale)
{
    u32 row = block_x() * 4 + (thread_x() >> 5), lane = thread_x() & 31;
    if (row >= m)
        return;
    const float *x = logits + (u64)row * n;
    i32 target = targets[row];
    float top = float_of(0xff800000u), sum = 0;
    for (u32 i = lane; i < n; i += 32)
        top = largest(top, x[i]);
    top = warp_largest(top);
    for (u32 i = lane; i < n; i += 32)
        sum += exp_(x[i] - top);
    sum = warp_sum(sum);
    if (lane == 0)
        losses[row] = target < 0 ? 0.0f : top + LN2 * log2_(sum) - x[target];
    if (!dlogits)
        return;
    for (u32 i = lane; i < n; i += 32) {
        float p = exp_(x[i] - top) * inverse(sum) - (i == (u32)target ? 1.0f : 0.0f);
        dlogits[(u64)row * n + i] = narrow_(target < 0 ? 0.0f : p * scale);
    }
}

/* ---- rows ---- */

/* out[i] = drop(x[rows[i]]); of scatter: out[rows[i]] = drop(x[i]). A warp has a row. */
template <int V>
DEVICE void move_row(act *out, const act *x, const i32 *rows, u32 count, u32 n, int is_scatter,
                     const drop &d)
{
    u32 row = block_x() * 4 + (thread_x() >> 5), lane = thread_x() & 31;
    if (row >= count)
        return;
    u64 other = (u64)rows[row] * n, mine = (u64)row * n;
    u64 from = is_scatter ? mine : other, to = is_scatter ? other : mine;
    for (u32 i = lane * V; i < n; i += 32 * V) {
        float v[V];
        load_act<V>(v, x + from + i);
        drop_all<V>(v, d, mine + i);
        store_act<V>(out + to + i, v);
    }
}
KERNEL(128, 1)
move_rows_v(act *out, const act *x, const i32 *rows, u32 count, u32 n, int is_scatter, drop d)
{
    move_row<ACT_CHUNK>(out, x, rows, count, n, is_scatter, d);
}
KERNEL(128, 1)
move_rows_1(act *out, const act *x, const i32 *rows, u32 count, u32 n, int is_scatter, drop d)
{
    move_row<1>(out, x, rows, count, n, is_scatter, d);
}

/* Keys and values of a sequence's rows into its cache. A block has a row. */
KERNEL(128, 1)
cache_rows(const act *qkv, const i32 *starts, const i32 *lengths, act *keys, act *values, u32 n,
           u32 capacity)
{
    u32 at = block_x(), b = block_y();
    if (at >= (u32)lengths[b])
        return;
    const act *from = qkv + (u64)(starts[b] + at) * 3 * n;
    u64 to = ((u64)b * capacity + at) * n;
    for (u32 i = thread_x(); i < n; i += 128) {
        keys[to + i] = from[n + i];
        values[to + i] = from[2 * n + i];
    }
}

/* One query of a sequence and head against its cache; a block of 128. Scores in shared memory. */
KERNEL(128, 1)
decode_token(const act *qkv, act *keys, act *values, const i32 *lengths, u32 capacity, u32 heads,
             u32 head, float scale, act *context)
{
    extern SHARED float scores[]; /* [longest], then the query [head], then sums [128] */
    u32 h = block_x(), b = block_y(), length = (u32)lengths[b], n = heads * head, t = thread_x();
    u32 lane = t & 31, warp = t >> 5;
    float *query = scores + ((length + 3) & ~3u), *parts = query + head;
    SHARED static float tops[4];
    const act *row = qkv + (u64)b * 3 * n + h * head;
    u64 cache = (u64)b * capacity * n + h * head, last = cache + (u64)(length - 1) * n;
    for (u32 i = t; i < head; i += 128) {
        query[i] = widen(row[i]) * scale;
        keys[last + i] = row[n + i];
        values[last + i] = row[2 * n + i];
    }
    barrier();
    float top = float_of(0xff800000u), sum = 0;
    for (u32 j = warp; j < length; j += 4) { /* a warp has a key */
        float s = 0;
        for (u32 i = lane; i < head; i += 32)
            s += query[i] * widen(keys[cache + (u64)j * n + i]);
        s = warp_sum(s);
        if (lane == 0)
            scores[j] = s;
        top = largest(top, s);
    }
    if (lane == 0)
        tops[warp] = top;
    barrier();
    top = largest(largest(tops[0], tops[1]), largest(tops[2], tops[3]));
    for (u32 j = lane; j < length; j += 32)
        sum += exp_(scores[j] - top);
    float factor = inverse(warp_sum(sum));
    for (u32 first = 0; first < head; first += 32) { /* a warp has every fourth value */
        u32 i = first + lane;
        float v = 0;
        if (i < head)
            for (u32 j = warp; j < length; j += 4)
                v += exp_(scores[j] - top) * widen(values[cache + (u64)j * n + i]);
        parts[t] = v;
        barrier();
        if (warp == 0 && i < head)
            context[(u64)b * n + h * head + i] = narrow_(
                (parts[lane] + parts[lane + 32] + parts[lane + 64] + parts[lane + 96]) * factor);
        barrier();
    }
}

/* ---- the optimizer ---- */

KERNEL(256, 1) narrow_all(act *to, const float *from, u64 n)
{
    u64 i = ((u64)block_x() * 256 + thread_x()) * 4;
    if (i + 4 <= n) {
        float v[4];
        load_float<4>(v, from + i);
#if WT_MODE == 2
        struct alignas(8) two {
            u32 x[2];
        } c = {{narrow_pair(v[0], v[1]), narrow_pair(v[2], v[3])}};
        *(two *)(to + i) = c;
#else
        store_act<4>(to + i, v);
#endif
    } else {
        for (; i < n; i++)
            to[i] = narrow_(from[i]);
    }
}
KERNEL(256, 1) narrow_any(act *to, const float *from, u64 n)
{
    u64 i = (u64)block_x() * 256 + thread_x();
    if (i < n)
        to[i] = narrow_(from[i]);
}

DEVICE double warp_sum_double(double total)
{
    UNROLL
    for (u32 w = 16; w; w >>= 1) {
        u32 low, high;
        asm("mov.b64 {%0, %1}, %2;" : "=r"(low), "=r"(high) : "d"(total));
        low = bits_of(exchange(float_of(low), w));
        high = bits_of(exchange(float_of(high), w));
        double other;
        asm("mov.b64 %0, {%1, %2};" : "=d"(other) : "r"(low), "r"(high));
        total += other;
    }
    return total;
}

/* Sums of squares, a block's each into partial[block]. */
KERNEL(512, 1) square_sums(const float *g, u64 n, double *partial)
{
    SHARED static double sums[16];
    u32 lane = thread_x() & 31, warp = thread_x() >> 5;
    u64 stride = (u64)blocks_x() * 512 * 4;
    double total = 0;
    for (u64 i = ((u64)block_x() * 512 + thread_x()) * 4; i < n; i += stride) {
        if (i + 4 <= n) {
            float v[4];
            load_float<4>(v, g + i);
            total += (double)(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
        } else {
            for (u64 k = i; k < n; k++)
                total += (double)g[k] * (double)g[k];
        }
    }
    total = warp_sum_double(total);
    if (lane == 0)
        sums[warp] = total;
    barrier();
    if (thread_x() == 0) {
        double all = 0;
        for (int w = 0; w < 16; w++)
            all += sums[w];
        partial[block_x()] = all;
    }
}

/* norm[0], and what gradients are multiplied by into norm_scale[0]: 0 where the norm is not finite.
 * One warp; the order of the sum does not depend on timing. */
KERNEL(32, 1)
finish_norm(const double *partial, u32 parts, float clip, float *norm, float *norm_scale)
{
    double total = 0;
    for (u32 i = thread_x(); i < parts; i += 32)
        total += partial[i];
    total = warp_sum_double(total);
    if (thread_x() != 0)
        return;
    float n;
    asm("{ .reg .f64 t; sqrt.rn.f64 t, %1; cvt.rn.f32.f64 %0, t; }" : "=f"(n) : "d"(total));
    norm[0] = n;
    bool is_finite = n - n == 0.0f;
    norm_scale[0] = !is_finite ? 0.0f : clip > 0.0f && n > clip ? clip / n : 1.0f;
}

struct span {
    u64 to;
    u64 is_decayed;
};
/* A block has 2048 parameters; its first thread looks up their first span. */
KERNEL(256, 1)
adamw_step(float *p, float *first, float *second, const float *g, act *working, const span *spans,
           u32 span_count, u64 total, float rate, float beta1, float beta2, float epsilon,
           float decay, float inverse1, float inverse2, const float *norm_scale)
{
    float scale = norm_scale[0];
    if (scale == 0.0f)
        return;
    SHARED static u32 found;
    u64 base = (u64)block_x() * 2048;
    if (thread_x() == 0) {
        u32 low = 0, high = span_count - 1; /* the first span that ends after base */
        while (low < high) {
            u32 middle = (low + high) / 2;
            if (spans[middle].to > base)
                high = middle;
            else
                low = middle + 1;
        }
        found = low;
    }
    barrier();
    u32 at = found;
    UNROLL
    for (int part = 0; part < 2; part++) {
        u64 i = base + (u64)part * 1024 + thread_x() * 4;
        if (i >= total)
            return;
        u32 count = total - i < 4 ? (u32)(total - i) : 4;
        float pv[4], mv[4], vv[4], gv[4];
        if (count == 4) {
            load_float<4>(pv, p + i);
            load_float<4>(mv, first + i);
            load_float<4>(vv, second + i);
            load_float<4>(gv, g + i);
        } else {
            for (u32 k = 0; k < 4; k++) {
                bool is_in = k < count;
                pv[k] = is_in ? p[i + k] : 0.0f;
                mv[k] = is_in ? first[i + k] : 0.0f;
                vv[k] = is_in ? second[i + k] : 0.0f;
                gv[k] = is_in ? g[i + k] : 0.0f;
            }
        }
        UNROLL
        for (int k = 0; k < 4; k++) {
            while (at + 1 < span_count && spans[at].to <= i + k)
                at++;
            float x = gv[k] * scale;
            mv[k] = beta1 * mv[k] + (1.0f - beta1) * x;
            vv[k] = beta2 * vv[k] + (1.0f - beta2) * x * x;
            float step = mv[k] * inverse1 / (root(vv[k] * inverse2) + epsilon);
            pv[k] -= rate * (step + (spans[at].is_decayed ? decay * pv[k] : 0.0f));
        }
        if (count == 4) {
            store_float<4>(p + i, pv);
            store_float<4>(first + i, mv);
            store_float<4>(second + i, vv);
#if WT_MODE == 2
            if (working) {
                struct alignas(8) two {
                    u32 x[2];
                } c = {{narrow_pair(pv[0], pv[1]), narrow_pair(pv[2], pv[3])}};
                *(two *)(working + i) = c;
            }
#else
            if (working)
                store_act<4>(working + i, pv);
#endif
        } else {
            for (u32 k = 0; k < count; k++) {
                p[i + k] = pv[k];
                first[i + k] = mv[k];
                second[i + k] = vv[k];
                if (working)
                    working[i + k] = narrow_(pv[k]);
            }
        }
    }
}

/* ---- a plain product, for what cuBLASLt has no kernel for ---- */

/* d [m, n] (+)= a b, where a(i, k) = a[i * a_row + k * a_column], and b likewise. d is float where
 * d_is_float. 16 x 16 threads. */
KERNEL(256, 1)
plain_product(const act *a, u64 a_row, u64 a_column, const act *b, u64 b_row, u64 b_column, void *d,
              u64 ld, int d_is_float, u32 m, u32 n, u32 k, int is_adding)
{
    u32 j = block_x() * 16 + (thread_x() & 15);
    u64 i = (u64)block_y() * 16 + (thread_x() >> 4);
    if (i >= m || j >= n)
        return;
    float sum = 0;
    for (u32 l = 0; l < k; l++)
        sum += widen(a[i * a_row + l * a_column]) * widen(b[l * b_row + j * b_column]);
    u64 at = i * ld + j;
    if (d_is_float)
        ((float *)d)[at] = sum + (is_adding ? ((float *)d)[at] : 0.0f);
    else
        ((act *)d)[at] = narrow_(sum + (is_adding ? widen(((act *)d)[at]) : 0.0f));
}

#endif /* WT_PART 1 */

#if WT_PART == 2

/* ---- norms: a warp has a row, in registers ---- */

#define CHUNKS ((WT_N + 32 * WT_V - 1) / (32 * WT_V))
#define INVERSE_N (1.0f / WT_N)

KERNEL(128, 1)
norm_rows(const act *x, const act *residual, act *sum, act *y, float *mean, float *rstd,
          const float *gain, const float *bias, u32 rows, float epsilon, drop in, drop out)
{
    u32 row = block_x() * 4 + (thread_x() >> 5), lane = thread_x() & 31;
    if (row >= rows)
        return;
    u64 base = (u64)row * WT_N;
    float v[CHUNKS][WT_V];
    float total = 0;
    UNROLL
    for (int c = 0; c < CHUNKS; c++) {
        u32 i = (c * 32 + lane) * WT_V;
        if (i < WT_N) {
            load_act<WT_V>(v[c], x + base + i);
            drop_all<WT_V>(v[c], in, base + i);
            if (residual) {
                float w[WT_V];
                load_act<WT_V>(w, residual + base + i);
                UNROLL
                for (int k = 0; k < WT_V; k++)
                    v[c][k] += w[k];
            }
            if (sum) {
                /* what is normed is what is kept: the backward pass sees the same numbers */
                UNROLL
                for (int k = 0; k < WT_V; k++)
                    v[c][k] = widen(narrow_(v[c][k]));
                store_act<WT_V>(sum + base + i, v[c]);
            }
        } else {
            UNROLL
            for (int k = 0; k < WT_V; k++)
                v[c][k] = 0;
        }
        UNROLL
        for (int k = 0; k < WT_V; k++)
            total += v[c][k];
    }
    if (!y)
        return;
    float m = warp_sum(total) * INVERSE_N, square = 0;
    UNROLL
    for (int c = 0; c < CHUNKS; c++)
        if ((c * 32 + lane) * WT_V < WT_N) {
            UNROLL
            for (int k = 0; k < WT_V; k++)
                square += (v[c][k] - m) * (v[c][k] - m);
        }
    float r = 1.0f / root(warp_sum(square) * INVERSE_N + epsilon);
    if (lane == 0 && mean) {
        mean[row] = m;
        rstd[row] = r;
    }
    UNROLL
    for (int c = 0; c < CHUNKS; c++) {
        u32 i = (c * 32 + lane) * WT_V;
        if (i < WT_N) {
            float g[WT_V], b[WT_V];
            load_float<WT_V>(g, gain + i);
            load_float<WT_V>(b, bias + i);
            UNROLL
            for (int k = 0; k < WT_V; k++)
                v[c][k] = (v[c][k] - m) * r * g[k] + b[k];
            drop_all<WT_V>(v[c], out, base + i);
            store_act<WT_V>(y + base + i, v[c]);
        }
    }
}

#define BACK_WARPS 12 /* as cuda.c has it */

/* Warps take rows in turn and keep their sums of dgain and dbias; partial [blocks, 2 n] is folded
 * by another kernel. */
KERNEL(BACK_WARPS * 32, 1)
norm_back(const act *dy, const act *dother, const act *sum, const float *mean, const float *rstd,
          const float *gain, act *dsum, act *dx, float *partial, u32 rows, drop in, drop out)
{
    SHARED static float sums[2 * CHUNKS * 32 * WT_V];
    u32 lane = thread_x() & 31, warp = thread_x() >> 5;
    float dg[CHUNKS][WT_V], db[CHUNKS][WT_V];
    UNROLL
    for (int c = 0; c < CHUNKS; c++)
        UNROLL
    for (int k = 0; k < WT_V; k++)
        dg[c][k] = db[c][k] = 0;

    for (u32 row = block_x() * BACK_WARPS + warp; row < rows; row += blocks_x() * BACK_WARPS) {
        u64 base = (u64)row * WT_N;
        float g[CHUNKS][WT_V], h[CHUNKS][WT_V];
        float m = mean[row], r = rstd[row], total = 0, dot = 0;
        UNROLL
        for (int c = 0; c < CHUNKS; c++) {
            u32 i = (c * 32 + lane) * WT_V;
            if (i < WT_N) {
                load_act<WT_V>(g[c], dy + base + i);
                load_act<WT_V>(h[c], sum + base + i);
                drop_all<WT_V>(g[c], out, base + i);
                float w[WT_V];
                load_float<WT_V>(w, gain + i);
                UNROLL
                for (int k = 0; k < WT_V; k++) {
                    h[c][k] = (h[c][k] - m) * r;
                    dg[c][k] += g[c][k] * h[c][k];
                    db[c][k] += g[c][k];
                    g[c][k] *= w[k];
                    total += g[c][k];
                    dot += g[c][k] * h[c][k];
                }
            }
        }
        total = warp_sum(total) * INVERSE_N;
        dot = warp_sum(dot) * INVERSE_N;
        UNROLL
        for (int c = 0; c < CHUNKS; c++) {
            u32 i = (c * 32 + lane) * WT_V;
            if (i < WT_N) {
                UNROLL
                for (int k = 0; k < WT_V; k++)
                    g[c][k] = r * (g[c][k] - total - h[c][k] * dot);
                if (dother) {
                    float w[WT_V];
                    load_act<WT_V>(w, dother + base + i);
                    UNROLL
                    for (int k = 0; k < WT_V; k++)
                        g[c][k] += w[k];
                }
                store_act<WT_V>(dsum + base + i, g[c]);
                if (dx) {
                    drop_all<WT_V>(g[c], in, base + i);
                    store_act<WT_V>(dx + base + i, g[c]);
                }
            }
        }
    }

    for (u32 turn = 0; turn < BACK_WARPS; turn++) {
        if (turn == warp) {
            UNROLL
            for (int c = 0; c < CHUNKS; c++)
                UNROLL
            for (int k = 0; k < WT_V; k++) {
                u32 i = (c * 32 + lane) * WT_V + k, j = i + CHUNKS * 32 * WT_V;
                sums[i] = (turn ? sums[i] : 0.0f) + dg[c][k];
                sums[j] = (turn ? sums[j] : 0.0f) + db[c][k];
            }
        }
        barrier();
    }
    for (u32 i = thread_x(); i < WT_N; i += BACK_WARPS * 32) {
        partial[(u64)block_x() * 2 * WT_N + i] = sums[i];
        partial[(u64)block_x() * 2 * WT_N + WT_N + i] = sums[i + CHUNKS * 32 * WT_V];
    }
}

/* dsum = dother, dx = drop_in(dsum): where y was not wanted. */
KERNEL(128, 1) norm_pass(const act *dother, act *dsum, act *dx, u32 rows, drop in)
{
    u32 row = block_x() * 4 + (thread_x() >> 5), lane = thread_x() & 31;
    if (row >= rows)
        return;
    u64 base = (u64)row * WT_N;
    for (u32 i = lane * WT_V; i < WT_N; i += 32 * WT_V) {
        float v[WT_V];
        load_act<WT_V>(v, dother + base + i);
        store_act<WT_V>(dsum + base + i, v);
        if (dx) {
            drop_all<WT_V>(v, in, base + i);
            store_act<WT_V>(dx + base + i, v);
        }
    }
}

#endif /* WT_PART 2 */

#if WT_PART == 3

/* ---- attention on tensor cores ----
 *
 * Products are of 16 x 8 pieces: mma.sync with 32 bytes of each row at a time, which is 16 bfloat16
 * or 8 tf32. In bytes the operands of both lie alike, so loading them (ldmatrix) is one piece of
 * code. A strict float is split into two tf32, and three products make one (what is left out is
 * below 2^-22 of it); before sm_80 a product is put together by shuffles and FFMA.
 *
 * A piece of the result: lane l has rows l/4 and l/4 + 8, columns 2 (l%4) and one further. As the
 * first operand of a next product its columns are what is summed over. bfloat16 packs them as they
 * are; with tf32 the sum takes them in another order (the second operand's rows 2t and 2t + 1 where
 * t and t + 4 are meant), which spares exchanges between lanes. */

#define BYTES    ((int)sizeof(act))
#define STEP     (32 / BYTES)                  /* columns summed over by one product */
#define WIDE     ((WT_HEAD + 15) / 16 * 16)    /* of a head, padded with zeros */
#define STEPS    (WIDE / STEP)
#define PIECES   (WIDE / 8)
#define STRIDE   (WIDE * BYTES + 16)           /* of a row in shared memory: no bank twice */
#define IS_WHOLE (WT_HEAD * BYTES % 16 == 0)   /* rows may move in chunks of 16 bytes */

DEVICE u32 as_tf32(float x)
{
#if __CUDA_ARCH__ >= 800
    u32 v;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(v) : "f"(x));
    return v;
#else
    return bits_of(x);
#endif
}

#if WT_MODE == 2
DEVICE void product(float *c, const u32 *a, const u32 *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#elif __CUDA_ARCH__ >= 800
DEVICE void product_tf32(float *c, const u32 *a, const u32 *b)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void product(float *c, const u32 *a, const u32 *b)
{
    u32 a1[4], b1[2];
    UNROLL
    for (int i = 0; i < 4; i++)
        a1[i] = as_tf32(float_of(a[i]));
    UNROLL
    for (int i = 0; i < 2; i++)
        b1[i] = as_tf32(float_of(b[i]));
#if WT_MODE == 0
    u32 a2[4], b2[2];
    UNROLL
    for (int i = 0; i < 4; i++)
        a2[i] = as_tf32(float_of(a[i]) - float_of(a1[i]));
    UNROLL
    for (int i = 0; i < 2; i++)
        b2[i] = as_tf32(float_of(b[i]) - float_of(b1[i]));
    product_tf32(c, a2, b1);
    product_tf32(c, a1, b2);
#endif
    product_tf32(c, a1, b1);
}
#else
DEVICE float from_lane(u32 x, u32 lane)
{
    u32 v;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(v) : "r"(x), "r"(lane));
    return float_of(v);
}
struct piece {
    float x[4];
};
/* Called, not inlined: there are hundreds of them in a kernel. */
static DEVICE_CALL piece product_by_shuffles(piece c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0,
                                             u32 b1)
{
    u32 lane = thread_x() & 31, g = lane >> 2, t = lane & 3;
    UNROLL
    for (int k = 0; k < 8; k++) {
        float above = from_lane(k < 4 ? a0 : a2, g * 4 + k % 4);
        float below = from_lane(k < 4 ? a1 : a3, g * 4 + k % 4);
        float left = from_lane(k < 4 ? b0 : b1, 2 * t * 4 + k % 4);
        float right = from_lane(k < 4 ? b0 : b1, (2 * t + 1) * 4 + k % 4);
        c.x[0] += above * left;
        c.x[1] += above * right;
        c.x[2] += below * left;
        c.x[3] += below * right;
    }
    return c;
}
DEVICE void product(float *c, const u32 *a, const u32 *b)
{
    piece p = {{c[0], c[1], c[2], c[3]}};
    p = product_by_shuffles(p, a[0], a[1], a[2], a[3], b[0], b[1]);
    UNROLL
    for (int i = 0; i < 4; i++)
        c[i] = p.x[i];
}
#endif

DEVICE u32 load_word(u32 at)
{
    u32 v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
    return v;
}
/* Four 8-row pieces of 16 bytes; the lane's at is the row lane%8 of piece lane/8. */
DEVICE void load_pieces(u32 *v, u32 at)
{
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at));
#else
    u32 lane = thread_x() & 31;
    UNROLL
    for (int p = 0; p < 4; p++) {
        u32 row;
        asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                     : "=r"(row)
                     : "r"(at), "r"(p * 8 + (lane >> 2)));
        v[p] = load_word(row + (lane & 3) * 4);
    }
#endif
}
DEVICE void load_pieces_turned(u32 *v, u32 at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at));
}

/* First operand: 16 rows from row on, columns step * STEP on. */
DEVICE void load_first(u32 *a, u32 tile, u32 row, u32 step)
{
    u32 lane = thread_x() & 31;
    load_pieces(a, tile + (row + (lane & 15)) * STRIDE + step * 32 + (lane >> 4) * 16);
}
/* Second operand, its 8 columns being rows of the tile, two pieces (16 rows): b[0..1], b[2..3]. */
DEVICE void load_second(u32 *b, u32 tile, u32 row, u32 step)
{
    u32 lane = thread_x() & 31;
    load_pieces(b, tile + (row + (lane & 7) + (lane >> 4) * 8) * STRIDE + step * 32 +
                       ((lane >> 3) & 1) * 16);
}
/* Second operand, summed over STEP rows of the tile from row on; columns 8 piece on, two pieces. */
DEVICE void load_second_rows(u32 *b, u32 tile, u32 row, u32 piece)
{
    u32 lane = thread_x() & 31;
#if WT_MODE == 2
    load_pieces_turned(b, tile + (row + (lane & 15)) * STRIDE + (piece + (lane >> 4)) * 16);
#else
    u32 at = tile + (row + 2 * (lane & 3)) * STRIDE + (piece * 8 + (lane >> 2)) * 4;
    b[0] = load_word(at);
    b[1] = load_word(at + STRIDE);
    b[2] = load_word(at + 32);
    b[3] = load_word(at + STRIDE + 32);
#endif
}
/* A first operand of what products gave: STEP columns are 2 pieces (bfloat16) or 1 (float). */
DEVICE void turn_into_first(u32 *a, const float (*s)[4], int step)
{
#if WT_MODE == 2
    a[0] = narrow_pair(s[2 * step][0], s[2 * step][1]);
    a[1] = narrow_pair(s[2 * step][2], s[2 * step][3]);
    a[2] = narrow_pair(s[2 * step + 1][0], s[2 * step + 1][1]);
    a[3] = narrow_pair(s[2 * step + 1][2], s[2 * step + 1][3]);
#else
    a[0] = bits_of(s[step][0]);
    a[1] = bits_of(s[step][2]);
    a[2] = bits_of(s[step][1]);
    a[3] = bits_of(s[step][3]);
#endif
}

/* rows of a head into a tile, rows beyond count as zeros. */
DEVICE void load_tile(char *tile, const act *from, u64 ld, u32 rows, u32 count, u32 threads)
{
    if (IS_WHOLE && WIDE == WT_HEAD) {
        const u32 per_row = WIDE * BYTES / 16;
        for (u32 i = thread_x(); i < rows * per_row; i += threads) {
            u32 r = i / per_row, c = i % per_row;
            chunk v = {};
            if (r < count)
                v = *(const chunk *)((const char *)(from + r * ld) + c * 16);
            *(chunk *)(tile + r * STRIDE + c * 16) = v;
        }
    } else {
        for (u32 i = thread_x(); i < rows * WIDE; i += threads) {
            u32 r = i / WIDE, c = i % WIDE;
            *(act *)(tile + r * STRIDE + c * BYTES) =
                r < count && c < WT_HEAD ? from[r * ld + c] : narrow_(0.0f);
        }
    }
}
/* A warp's 16 rows of a result, times scale, through its rows of a tile to memory. */
DEVICE void store_rows(char *tile, u32 row, const float (*v)[4], float above, float below, act *to,
                       u64 ld, u32 count)
{
    u32 lane = thread_x() & 31, g = lane >> 2, t = lane & 3;
    char *mine = tile + row * STRIDE;
    UNROLL
    for (int p = 0; p < PIECES; p++) {
        act *upper = (act *)(mine + g * STRIDE) + p * 8 + 2 * t;
        act *lower = (act *)(mine + (g + 8) * STRIDE) + p * 8 + 2 * t;
#if WT_MODE == 2
        *(u32 *)upper = narrow_pair(v[p][0] * above, v[p][1] * above);
        *(u32 *)lower = narrow_pair(v[p][2] * below, v[p][3] * below);
#else
        upper[0] = v[p][0] * above;
        upper[1] = v[p][1] * above;
        lower[0] = v[p][2] * below;
        lower[1] = v[p][3] * below;
#endif
    }
    warp_barrier();
    if (IS_WHOLE && WIDE == WT_HEAD) {
        const u32 per_row = WIDE * BYTES / 16;
        for (u32 i = lane; i < 16 * per_row; i += 32) {
            u32 r = i / per_row, c = i % per_row;
            if (row + r < count)
                *(chunk *)((char *)(to + (row + r) * ld) + c * 16) =
                    *(const chunk *)(mine + r * STRIDE + c * 16);
        }
    } else {
        for (u32 i = lane; i < 16 * WT_HEAD; i += 32) {
            u32 r = i / WT_HEAD, c = i % WT_HEAD;
            if (row + r < count)
                to[(row + r) * ld + c] = *(const act *)(mine + r * STRIDE + c * BYTES);
        }
    }
    warp_barrier();
}
/* Rows of no sequence are zeros: those between this sequence and the next. The blocks of a
 * sequence's first tile write them, each the columns of its head. */
DEVICE void clear_gap(act *to, u64 ld, const i32 *starts, const i32 *lengths, u32 b, u32 count,
                      u32 rows, u32 threads)
{
    u32 end = (u32)(starts[b] + lengths[b]), next = b + 1 < count ? (u32)starts[b + 1] : rows;
    for (u32 i = end * WT_HEAD + thread_x(); i < next * WT_HEAD; i += threads)
        to[(u64)(i / WT_HEAD) * ld + i % WT_HEAD] = narrow_(0.0f);
    if (b == 0) /* the first one's also before it */
        for (u32 i = thread_x(); i < (u32)starts[0] * WT_HEAD; i += threads)
            to[(u64)(i / WT_HEAD) * ld + i % WT_HEAD] = narrow_(0.0f);
}

extern SHARED char memory[]; /* as much as the launch says */

#define QUERIES 64 /* of a forward block: 4 warps */
#define KEYS    64 /* at a time */

#define ATTEND_BLOCKS (WT_MODE == 2 && WIDE <= 64 ? 4 : 1) /* at least, of a processor */

/* qkv's row is 3 n long. Block: a tile of queries, a head, a sequence. */
KERNEL(128, ATTEND_BLOCKS)
attend(const act *qkv, act *context, float *lse, const i32 *starts, const i32 *lengths, u32 count,
       u32 rows, u32 longest, u32 heads, float scale_log2, int is_causal, drop d)
{
    char *q_tile = memory, *k_tile = q_tile + QUERIES * STRIDE, *v_tile = k_tile + KEYS * STRIDE;
    u32 b = block_z(), h = block_y(), first = block_x() * QUERIES;
    u32 start = (u32)starts[b], length = (u32)lengths[b], n = heads * WT_HEAD;
    if (block_x() == 0)
        clear_gap(context + h * WT_HEAD, n, starts, lengths, b, count, rows, 128);
    if (first >= length)
        return;
    const act *base = qkv + (u64)start * 3 * n + h * WT_HEAD;
    u32 lane = thread_x() & 31, warp = thread_x() >> 5, g = lane >> 2, t = lane & 3;
    u32 row = warp * 16, query = first + row + g; /* and query + 8 */

    load_tile(q_tile, base + (u64)first * 3 * n, 3 * n, QUERIES, length - first, 128);
    barrier();
    u32 a[STEPS][4];
    UNROLL
    for (int s = 0; s < STEPS; s++)
        load_first(a[s], shared_address(q_tile), row, s);

    float o[PIECES][4] = {};
    float top[2] = {float_of(0xff800000u), float_of(0xff800000u)}, sum[2] = {0, 0};
    u32 end = is_causal && first + QUERIES < length ? first + QUERIES : length;
    u64 draw = ((u64)(b * heads + h) * longest + query) * longest;
    for (u32 from = 0; from < end; from += KEYS) {
        barrier();
        load_tile(k_tile, base + n + (u64)from * 3 * n, 3 * n, KEYS, length - from, 128);
        load_tile(v_tile, base + 2 * n + (u64)from * 3 * n, 3 * n, KEYS, length - from, 128);
        barrier();

        float s[KEYS / 8][4] = {};
        UNROLL
        for (int k = 0; k < STEPS; k++)
            UNROLL
        for (int p = 0; p < KEYS / 8; p += 2) {
            u32 second[4];
            load_second(second, shared_address(k_tile), p * 8, k);
            product(s[p], a[k], second);
            product(s[p + 1], a[k], second + 2);
        }

        bool is_edge = from + KEYS > length || (is_causal && from + KEYS > first + row);
        float high[2] = {top[0], top[1]};
        UNROLL
        for (int p = 0; p < KEYS / 8; p++)
            UNROLL
        for (int i = 0; i < 4; i++) {
            s[p][i] *= scale_log2;
            if (is_edge) {
                u32 key = from + p * 8 + 2 * t + (i & 1);
                if (key >= length || (is_causal && key > query + (i >> 1) * 8))
                    s[p][i] = float_of(0xff800000u);
            }
            high[i >> 1] = largest(high[i >> 1], s[p][i]);
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            high[i] = largest(high[i], exchange(high[i], 1));
            high[i] = largest(high[i], exchange(high[i], 2));
            float shrink = exp2_(top[i] - high[i]);
            top[i] = high[i];
            sum[i] *= shrink;
            UNROLL
            for (int p = 0; p < PIECES; p++) {
                o[p][2 * i] *= shrink;
                o[p][2 * i + 1] *= shrink;
            }
        }
        UNROLL
        for (int p = 0; p < KEYS / 8; p++)
            UNROLL
        for (int i = 0; i < 4; i++) {
            s[p][i] = exp2_(s[p][i] - top[i >> 1]);
            sum[i >> 1] += s[p][i];
        }
        if (d.below) {
            UNROLL
            for (int p = 0; p < KEYS / 8; p++)
                UNROLL
            for (int i = 0; i < 4; i++) {
                u64 at = draw + (u64)((i >> 1) * 8) * longest + from + p * 8 + 2 * t + (i & 1);
                s[p][i] = is_kept(d, at) ? s[p][i] * d.scale : 0.0f;
            }
        }
        UNROLL
        for (int k = 0; k < KEYS / STEP; k++) {
            u32 weights[4];
            turn_into_first(weights, s, k);
            UNROLL
            for (int p = 0; p < PIECES; p += 2) {
                u32 second[4];
                load_second_rows(second, shared_address(v_tile), k * STEP, p);
                product(o[p], weights, second);
                product(o[p + 1], weights, second + 2);
            }
        }
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        sum[i] += exchange(sum[i], 1);
        sum[i] += exchange(sum[i], 2);
        if (lse && t == 0 && query + 8 * i < length)
            lse[(u64)h * rows + start + query + 8 * i] = (top[i] + log2_(sum[i])) * LN2;
    }
    store_rows(q_tile, row, o, inverse(sum[0]), inverse(sum[1]),
               context + (u64)(start + first) * n + h * WT_HEAD, n, length - first);
}

/* delta = sum over a head of dcontext context. 8 lanes have a row of a head. */
KERNEL(256, 1)
attend_delta(const act *dcontext, const act *context, float *delta, u32 rows, u32 heads)
{
    u32 i = (block_x() * 256 + thread_x()) >> 3, part = thread_x() & 7;
    bool is_in = i < rows * heads;
    float sum = 0;
    if (is_in) {
        u64 at = (u64)i * WT_HEAD; /* row i / heads, head i % heads */
        if (IS_WHOLE) {
            for (u32 c = part * ACT_CHUNK; c < WT_HEAD; c += 8 * ACT_CHUNK) {
                float v[ACT_CHUNK], w[ACT_CHUNK];
                load_act<ACT_CHUNK>(v, dcontext + at + c);
                load_act<ACT_CHUNK>(w, context + at + c);
                UNROLL
                for (int k = 0; k < ACT_CHUNK; k++)
                    sum += v[k] * w[k];
            }
        } else {
            for (u32 c = part; c < WT_HEAD; c += 8)
                sum += widen(dcontext[at + c]) * widen(context[at + c]);
        }
    }
    sum += exchange(sum, 1);
    sum += exchange(sum, 2);
    sum += exchange(sum, 4);
    if (is_in && part == 0)
        delta[(u64)(i % heads) * rows + i / heads] = sum;
}

/* A backward block has KV_WARPS * 16 keys and goes over the queries, Q_ROWS of them in shared
 * memory and 32 at a time. */
#define KV_WARPS WT_V /* 2, 4 or 8, as much as the device's shared memory takes: see cuda.c */
#define KV_ROWS  (KV_WARPS * 16)
#define Q_ROWS   KV_ROWS
#define DS_BYTES 80 /* a row of 32 bfloat16 of dS, and no bank twice */

/* delta of a tile's rows, as attend_delta() has it; their dcontext is there already. 8 lanes have a
 * row. */
DEVICE void find_delta(const char *tile, const act *context, u64 ld, u32 count, float *delta,
                       u32 threads)
{
    u32 part = thread_x() & 7;
    for (u32 r = thread_x() >> 3; r < Q_ROWS; r += threads / 8) {
        float sum = 0;
        if (r < count) {
            const act *mine = (const act *)(tile + r * STRIDE);
            if constexpr (IS_WHOLE && WIDE == WT_HEAD) {
                for (u32 c = part * ACT_CHUNK; c < WT_HEAD; c += 8 * ACT_CHUNK) {
                    float v[ACT_CHUNK], w[ACT_CHUNK];
                    load_act<ACT_CHUNK>(v, mine + c);
                    load_act<ACT_CHUNK>(w, context + r * ld + c);
                    UNROLL
                    for (int k = 0; k < ACT_CHUNK; k++)
                        sum += v[k] * w[k];
                }
            } else {
                for (u32 c = part; c < WT_HEAD; c += 8)
                    sum += widen(mine[c]) * widen(context[r * ld + c]);
            }
        }
        sum += exchange(sum, 1);
        sum += exchange(sum, 2);
        sum += exchange(sum, 4);
        if (part == 0)
            delta[r] = sum;
    }
}

/* dk and dv; with bfloat16 and no more keys than one block has also dq, which then needs no second
 * pass. Everything is turned: rows are keys, columns queries. */
template <bool IS_ALL>
DEVICE void attend_back(const act *qkv, const act *context, const act *dcontext, const float *lse,
                        const float *delta, act *dqkv, const i32 *starts, const i32 *lengths,
                        u32 count, u32 rows, u32 longest, u32 heads, float scale, int is_causal,
                        const drop &d)
{
    char *k_tile = memory, *v_tile = k_tile + KV_ROWS * STRIDE, *q_tile = v_tile + KV_ROWS * STRIDE;
    char *o_tile = q_tile + Q_ROWS * STRIDE;
    float *row_lse = (float *)(o_tile + Q_ROWS * STRIDE), *row_delta = row_lse + Q_ROWS;
#if WT_MODE == 2
    char *ds_tile = (char *)(row_delta + Q_ROWS); /* [KV_ROWS] */
#endif
    const u32 threads = KV_WARPS * 32;
    u32 b = block_z(), h = block_y(), first = block_x() * KV_ROWS;
    u32 start = (u32)starts[b], length = (u32)lengths[b], n = heads * WT_HEAD;
    if (block_x() == 0)
        for (u32 part = 0; part < 3; part++)
            clear_gap(dqkv + part * n + h * WT_HEAD, 3 * n, starts, lengths, b, count, rows,
                      threads);
    if (first >= length)
        return;
    const act *base = qkv + (u64)start * 3 * n + h * WT_HEAD;
    const act *dbase = dcontext + (u64)start * n + h * WT_HEAD;
    act *out = dqkv + (u64)start * 3 * n + h * WT_HEAD;
    const float *lses = lse + (u64)h * rows + start, *deltas = delta + (u64)h * rows + start;
    u32 lane = thread_x() & 31, warp = thread_x() >> 5, g = lane >> 2, t = lane & 3;
    u32 row = warp * 16, key = first + row + g; /* and key + 8 */
    float scale_log2 = scale * LOG2E;

    load_tile(k_tile, base + n + (u64)first * 3 * n, 3 * n, KV_ROWS, length - first, threads);
    load_tile(v_tile, base + 2 * n + (u64)first * 3 * n, 3 * n, KV_ROWS, length - first, threads);

    float dk[PIECES][4] = {}, dv[PIECES][4] = {};
    u64 head_draw = (u64)(b * heads + h) * longest * longest;
    for (u32 from = is_causal ? first / Q_ROWS * Q_ROWS : 0; from < length; from += Q_ROWS) {
        barrier();
        load_tile(q_tile, base + (u64)from * 3 * n, 3 * n, Q_ROWS, length - from, threads);
        load_tile(o_tile, dbase + (u64)from * n, n, Q_ROWS, length - from, threads);
        for (u32 i = thread_x(); i < Q_ROWS; i += threads) {
            bool is_in = from + i < length;
            row_lse[i] = is_in ? lses[from + i] * LOG2E : 0.0f;
            row_delta[i] = is_in && !IS_ALL ? deltas[from + i] : 0.0f;
        }
        barrier();
        if (IS_ALL) {
            find_delta(o_tile, context + (u64)(start + from) * n + h * WT_HEAD, n, length - from,
                       row_delta, threads);
            barrier();
        }
        u32 here = length - from < Q_ROWS ? length - from : Q_ROWS;
        for (u32 at = 0; at < here; at += 32) {
            float s[4][4] = {}, dp[4][4] = {};
            UNROLL
            for (int k = 0; k < STEPS; k++) {
                u32 of_k[4], of_v[4];
                load_first(of_k, shared_address(k_tile), row, k);
                load_first(of_v, shared_address(v_tile), row, k);
                UNROLL
                for (int p = 0; p < 4; p += 2) {
                    u32 second[4];
                    load_second(second, shared_address(q_tile), at + p * 8, k);
                    product(s[p], of_k, second);
                    product(s[p + 1], of_k, second + 2);
                    load_second(second, shared_address(o_tile), at + p * 8, k);
                    product(dp[p], of_v, second);
                    product(dp[p + 1], of_v, second + 2);
                }
            }
            UNROLL
            for (int p = 0; p < 4; p++)
                UNROLL
            for (int i = 0; i < 4; i++) {
                u32 in_tile = at + p * 8 + 2 * t + (i & 1), query = from + in_tile;
                u32 my_key = key + (i >> 1) * 8;
                float w = exp2_(s[p][i] * scale_log2 - row_lse[in_tile]);
                if (query >= length || my_key >= length || (is_causal && my_key > query))
                    w = 0;
                float dw = dp[p][i];
                s[p][i] = w;
                if (d.below) {
                    bool is_in = is_kept(d, head_draw + (u64)query * longest + my_key);
                    s[p][i] = is_in ? w * d.scale : 0.0f;
                    dw = is_in ? dw * d.scale : 0.0f;
                }
                dp[p][i] = w * (dw - row_delta[in_tile]);
            }
            UNROLL
            for (int k = 0; k < 32 / STEP; k++) {
                u32 weights[4], dscores[4];
                turn_into_first(weights, s, k);
                turn_into_first(dscores, dp, k);
                UNROLL
                for (int p = 0; p < PIECES; p += 2) {
                    u32 second[4];
                    load_second_rows(second, shared_address(o_tile), at + k * STEP, p);
                    product(dv[p], weights, second);
                    product(dv[p + 1], weights, second + 2);
                    load_second_rows(second, shared_address(q_tile), at + k * STEP, p);
                    product(dk[p], dscores, second);
                    product(dk[p + 1], dscores, second + 2);
                }
            }
#if WT_MODE == 2
            if (IS_ALL) {
                /* dq = ds k: over all warps' keys, so ds goes through shared memory, keys as rows.
                 * Half of the warps take the upper 16 queries; a warp's columns are a share of the
                 * head. */
                UNROLL
                for (int p = 0; p < 4; p++) {
                    *(u32 *)(ds_tile + (row + g) * DS_BYTES + (p * 8 + 2 * t) * 2) =
                        narrow_pair(dp[p][0], dp[p][1]);
                    *(u32 *)(ds_tile + (row + g + 8) * DS_BYTES + (p * 8 + 2 * t) * 2) =
                        narrow_pair(dp[p][2], dp[p][3]);
                }
                barrier();
                const u32 teams = KV_WARPS / 2;
                u32 upper = (warp / teams) * 16;
                for (u32 p = (warp % teams) * 2; p < PIECES; p += teams * 2) {
                    float dq[2][4] = {};
                    UNROLL
                    for (int k = 0; k < KV_ROWS / 16; k++) {
                        u32 ds[4], second[4];
                        /* pieces: queries 0-7 and 8-15 of keys 0-7, then of keys 8-15 */
                        load_pieces_turned(ds, shared_address(ds_tile) +
                                                   (k * 16 + (lane & 7) + (lane >> 4) * 8) *
                                                       DS_BYTES +
                                                   (upper + ((lane >> 3) & 1) * 8) * 2);
                        load_second_rows(second, shared_address(k_tile), k * 16, p);
                        product(dq[0], ds, second);
                        product(dq[1], ds, second + 2);
                    }
                    UNROLL
                    for (int i = 0; i < 2; i++)
                        UNROLL
                    for (int half = 0; half < 2; half++) {
                        u32 query = from + at + upper + g + 8 * half, c = (p + i) * 8 + 2 * t;
                        if (query < length && c < WT_HEAD) {
                            act *to = out + (u64)query * 3 * n + c;
                            if (WT_HEAD % 2 == 0) {
                                *(u32 *)to = narrow_pair(dq[i][2 * half] * scale,
                                                         dq[i][2 * half + 1] * scale);
                            } else {
                                to[0] = narrow_(dq[i][2 * half] * scale);
                                if (c + 1 < WT_HEAD)
                                    to[1] = narrow_(dq[i][2 * half + 1] * scale);
                            }
                        }
                    }
                }
                barrier();
            }
#endif
        }
    }
    barrier();
    store_rows(k_tile, row, dk, scale, scale, out + n + (u64)first * 3 * n, 3 * n, length - first);
    store_rows(v_tile, row, dv, 1.0f, 1.0f, out + 2 * n + (u64)first * 3 * n, 3 * n,
               length - first);
}
#define BACK_PARAMETERS                                                                            \
    const act *qkv, const act *context, const act *dcontext, const float *lse,                     \
        const float *delta, act *dqkv, const i32 *starts, const i32 *lengths, u32 count, u32 rows, \
        u32 longest, u32 heads, float scale, int is_causal, drop d
KERNEL(KV_WARPS * 32, WIDE <= 64 ? 2 : 1) attend_back_keys(BACK_PARAMETERS)
{
    attend_back<false>(qkv, context, dcontext, lse, delta, dqkv, starts, lengths, count, rows,
                       longest, heads, scale, is_causal, d);
}
#if WT_MODE == 2
KERNEL(KV_WARPS * 32, WIDE <= 64 ? 2 : 1) attend_back_all(BACK_PARAMETERS)
{
    attend_back<true>(qkv, context, dcontext, lse, delta, dqkv, starts, lengths, count, rows,
                      longest, heads, scale, is_causal, d);
}
#endif

/* dq, for a tile of queries as attend() has it. */
#define BACK_KEYS 32 /* at a time */
KERNEL(128, 1) attend_back_queries(BACK_PARAMETERS)
{
    char *q_tile = memory, *o_tile = q_tile + QUERIES * STRIDE;
    char *k_tile = o_tile + QUERIES * STRIDE, *v_tile = k_tile + BACK_KEYS * STRIDE;
    u32 b = block_z(), h = block_y(), first = block_x() * QUERIES;
    u32 start = (u32)starts[b], length = (u32)lengths[b], n = heads * WT_HEAD;
    if (first >= length)
        return;
    const act *base = qkv + (u64)start * 3 * n + h * WT_HEAD;
    u32 lane = thread_x() & 31, warp = thread_x() >> 5, g = lane >> 2, t = lane & 3;
    u32 row = warp * 16, query = first + row + g;
    load_tile(q_tile, base + (u64)first * 3 * n, 3 * n, QUERIES, length - first, 128);
    load_tile(o_tile, dcontext + (u64)(start + first) * n + h * WT_HEAD, n, QUERIES, length - first,
              128);
    float row_lse[2], row_delta[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
        u64 at = (u64)h * rows + start + query + 8 * i;
        bool is_in = query + 8 * i < length;
        row_lse[i] = is_in ? lse[at] * LOG2E : 0.0f;
        row_delta[i] = is_in ? delta[at] : 0.0f;
    }
    float dq[PIECES][4] = {};
    u32 end = is_causal && first + QUERIES < length ? first + QUERIES : length;
    u64 draw = ((u64)(b * heads + h) * longest + query) * longest;
    float scale_log2 = scale * LOG2E;
    for (u32 from = 0; from < end; from += BACK_KEYS) {
        barrier();
        load_tile(k_tile, base + n + (u64)from * 3 * n, 3 * n, BACK_KEYS, length - from, 128);
        load_tile(v_tile, base + 2 * n + (u64)from * 3 * n, 3 * n, BACK_KEYS, length - from, 128);
        barrier();
        float s[BACK_KEYS / 8][4] = {}, dp[BACK_KEYS / 8][4] = {};
        UNROLL
        for (int k = 0; k < STEPS; k++) {
            u32 of_q[4], of_o[4];
            load_first(of_q, shared_address(q_tile), row, k);
            load_first(of_o, shared_address(o_tile), row, k);
            UNROLL
            for (int p = 0; p < BACK_KEYS / 8; p += 2) {
                u32 second[4];
                load_second(second, shared_address(k_tile), p * 8, k);
                product(s[p], of_q, second);
                product(s[p + 1], of_q, second + 2);
                load_second(second, shared_address(v_tile), p * 8, k);
                product(dp[p], of_o, second);
                product(dp[p + 1], of_o, second + 2);
            }
        }
        UNROLL
        for (int p = 0; p < BACK_KEYS / 8; p++)
            UNROLL
        for (int i = 0; i < 4; i++) {
            u32 key = from + p * 8 + 2 * t + (i & 1), my_query = query + (i >> 1) * 8;
            float w = exp2_(s[p][i] * scale_log2 - row_lse[i >> 1]);
            if (key >= length || (is_causal && key > my_query))
                w = 0;
            float dw = dp[p][i];
            if (d.below)
                dw = is_kept(d, draw + (u64)((i >> 1) * 8) * longest + key) ? dw * d.scale : 0.0f;
            dp[p][i] = w * (dw - row_delta[i >> 1]);
        }
        UNROLL
        for (int k = 0; k < BACK_KEYS / STEP; k++) {
            u32 dscores[4];
            turn_into_first(dscores, dp, k);
            UNROLL
            for (int p = 0; p < PIECES; p += 2) {
                u32 second[4];
                load_second_rows(second, shared_address(k_tile), k * STEP, p);
                product(dq[p], dscores, second);
                product(dq[p + 1], dscores, second + 2);
            }
        }
    }
    barrier();
    store_rows(q_tile, row, dq, scale, scale,
               dqkv + (u64)(start + first) * 3 * n + h * WT_HEAD, 3 * n, length - first);
}

#endif /* WT_PART 3 */
