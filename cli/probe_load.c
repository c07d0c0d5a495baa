/* probe_load: see the header. Three kinds.
 *
 * An emulated GPU: kernels of memory traffic. A pulse is submitted as a whole; how long it takes is
 * known from the fastest of all pulses per kernel, so a begin or end that the machine delayed shows
 * as a wide edge instead of a wrong one.
 *
 * A CPU: busy threads, one for each CPU but one, which polls.
 *
 * An NVIDIA GPU: a loop of multiplications through the CUDA driver library, opened at run time. One
 * kernel a pulse, its number of rounds bounded; it holds a few bytes of device memory. */
#include "probe_load.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PULSE_MAX_S 5.0

struct cuda;
struct emulated;
struct busy;

struct cli_load {
    char words[160];
    struct emulated *emulated;
    struct busy *busy;
    struct cuda *cuda;
};

static int say(struct wt_error *err, int code, const char *text)
{
    if (err) {
        memset(err, 0, sizeof(*err));
        err->code = code;
        snprintf(err->text, sizeof(err->text), "%s", text);
    }
    return code;
}

/* ---- an emulated GPU ---- */

#define KERNEL_S    0.0005
#define TRIAL_BYTES 1e8

struct emulated {
    struct wt_emu *emu;
    double bytes;    /* a kernel's */
    double kernel_s; /* and its time, launch included: the shortest seen */
    struct wt_emu_kernel *kernels;
    size_t room;
};

/* Runs count equal kernels. */
static int emulated_run(struct emulated *e, size_t count, int64_t *ret_before_ns,
                        int64_t *ret_after_ns, struct wt_error *err)
{
    if (count > e->room) {
        struct wt_emu_kernel *more = realloc(e->kernels, count * sizeof(*more));
        if (!more)
            return say(err, WT_E_NOMEM, "no memory for a load");
        e->kernels = more;
        e->room = count;
    }
    for (size_t i = 0; i < count; i++)
        e->kernels[i] = (struct wt_emu_kernel){.bytes = e->bytes, .engine = WT_EMU_FP32};
    *ret_before_ns = cli_now_ns();
    int rc = wt_emu_submit(e->emu, "probe", e->kernels, count, 0, err);
    *ret_after_ns = cli_now_ns();
    return rc;
}

/* Sets the size of a kernel and learns its time. */
static int emulated_size(struct emulated *e, double bytes, size_t count, struct wt_error *err)
{
    e->bytes = bytes;
    e->kernel_s = INFINITY;
    for (int i = 0; i < 3; i++) {
        int64_t before_ns, after_ns;
        int rc = emulated_run(e, count, &before_ns, &after_ns, err);
        if (rc < 0)
            return rc;
        e->kernel_s = fmin(e->kernel_s, (double)(after_ns - before_ns) * 1e-9 / (double)count);
    }
    return 0;
}

static int emulated_open(struct cli_load *load, const struct wt_device_info *info,
                         struct wt_error *err)
{
    /* What this program sees as GPU n need not be n: look for the UUID's place in the list that
     * $CUDA_VISIBLE_DEVICES makes; the devices that are probed were chosen by the same list. */
    struct emulated *e = calloc(1, sizeof(*e));
    if (!e)
        return say(err, WT_E_NOMEM, "no memory for a load");
    load->emulated = e;
    char *kept = getenv("CUDA_VISIBLE_DEVICES") ? strdup(getenv("CUDA_VISIBLE_DEVICES")) : NULL;
    setenv("CUDA_VISIBLE_DEVICES", info->id, 1);
    int rc = wt_emu_attach(&e->emu, 0, err);
    if (kept)
        setenv("CUDA_VISIBLE_DEVICES", kept, 1);
    else
        unsetenv("CUDA_VISIBLE_DEVICES");
    free(kept);
    if (rc == 0)
        rc = emulated_size(e, TRIAL_BYTES, 20, err);
    if (rc == 0)
        rc = emulated_size(e, TRIAL_BYTES * KERNEL_S / e->kernel_s, 100, err);
    snprintf(load->words, sizeof(load->words), "memory traffic on the emulated GPU");
    return rc;
}

/* Kernels as short as their launch: the device is at work for half of the time only. */
static bool emulated_lighter(struct cli_load *load)
{
    struct emulated *e = load->emulated;
    double rate = e->bytes / e->kernel_s;
    if (e->kernel_s < KERNEL_S / 10)
        return false;
    if (emulated_size(e, 0, 4000, NULL) < 0 || emulated_size(e, rate * e->kernel_s, 4000, NULL) < 0)
        return false;
    snprintf(load->words, sizeof(load->words), "light memory traffic on the emulated GPU");
    return true;
}

static int emulated_pulse(struct emulated *e, double seconds, struct cli_pulse *p,
                          struct wt_error *err)
{
    double wanted = seconds / e->kernel_s;
    size_t count = wanted < 1 ? 1 : (size_t)wanted;
    int64_t before_ns, after_ns;
    int rc = emulated_run(e, count, &before_ns, &after_ns, err);
    if (rc < 0)
        return rc;
    double each_s = (double)(after_ns - before_ns) * 1e-9 / (double)count;
    if (each_s < e->kernel_s)
        e->kernel_s = each_s;
    int64_t length_ns = (int64_t)(e->kernel_s * 1e9 * (double)count);
    *p = (struct cli_pulse){before_ns, after_ns - length_ns, before_ns + length_ns, after_ns};
    return 0;
}

/* ---- a CPU ---- */

#define THREADS_MAX 1024

struct busy {
    atomic_bool is_on, is_ending;
    pthread_mutex_t lock;
    pthread_cond_t change;
    pthread_t threads[THREADS_MAX];
    size_t count;
};

static void *busy_thread(void *data)
{
    struct busy *b = data;
    double x = 1;
    while (!atomic_load(&b->is_ending)) {
        pthread_mutex_lock(&b->lock);
        while (!atomic_load(&b->is_on) && !atomic_load(&b->is_ending))
            pthread_cond_wait(&b->change, &b->lock);
        pthread_mutex_unlock(&b->lock);
        while (atomic_load_explicit(&b->is_on, memory_order_relaxed)) {
            for (int i = 0; i < 1000; i++)
                x = fma(x, 0.999999, 1e-6);
            volatile double keep = x;
            (void)keep;
        }
    }
    return NULL;
}

static void busy_set(struct busy *b, bool is_on)
{
    pthread_mutex_lock(&b->lock);
    atomic_store(&b->is_on, is_on);
    pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->lock);
}

static int busy_open(struct cli_load *load, struct wt_error *err)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = cpus > 1 ? (size_t)(cpus - 1) : 1;
    struct busy *b = calloc(1, sizeof(*b));
    if (!b)
        return say(err, WT_E_NOMEM, "no memory for a load");
    load->busy = b;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->change, NULL);
    while (b->count < wanted && b->count < THREADS_MAX &&
           pthread_create(&b->threads[b->count], NULL, busy_thread, b) == 0)
        b->count++;
    if (!b->count)
        return say(err, WT_E_NOMEM, "no thread for a load");
    snprintf(load->words, sizeof(load->words), "%zu busy thread%s", b->count,
             b->count > 1 ? "s" : "");
    return 0;
}

static void busy_close(struct busy *b)
{
    pthread_mutex_lock(&b->lock);
    atomic_store(&b->is_ending, true);
    atomic_store(&b->is_on, false);
    pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < b->count; i++)
        pthread_join(b->threads[i], NULL);
    pthread_cond_destroy(&b->change);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static void busy_pulse(struct busy *b, double seconds, struct cli_pulse *p)
{
    p->on_lo_ns = cli_now_ns();
    busy_set(b, true);
    p->on_hi_ns = cli_now_ns();
    usleep((useconds_t)(seconds * 1e6));
    p->off_lo_ns = cli_now_ns();
    busy_set(b, false);
    p->off_hi_ns = cli_now_ns();
}

/* ---- an NVIDIA GPU ---- */

/* Handles of the CUDA driver interface: context, module, function, event; device memory is an
 * address, a device a number. Zero is success everywhere. */
struct cuda {
    void *library;
    int (*init)(unsigned flags);
    int (*device_count)(int *count);
    int (*device_get)(int *device, int ordinal);
    int (*device_uuid)(unsigned char *uuid, int device);
    int (*device_attribute)(int *value, int attribute, int device);
    int (*retain)(void **context, int device);
    int (*release)(int device);
    int (*set_current)(void *context);
    int (*module_load)(void **module, const void *image);
    int (*module_unload)(void *module);
    int (*function_get)(void **function, void *module, const char *name);
    int (*mem_alloc)(unsigned long long *address, size_t bytes);
    int (*mem_free)(unsigned long long address);
    int (*launch)(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void *stream, void **params, void **extra);
    int (*synchronize)(void);
    int (*event_create)(void **event, unsigned flags);
    int (*event_destroy)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_elapsed)(float *ms, void *start, void *end);

    int device;
    bool is_retained;
    void *context, *module, *function, *start, *end;
    unsigned long long memory;
    unsigned blocks;
    double rounds_s; /* of the loop, in a second */
};

#define CUDA_MULTIPROCESSORS 16 /* CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT */
#define CUDA_THREADS         256
#define CUDA_ROUNDS_MAX      1e9

/* Four independent chains of multiply-add a thread; the result is stored only if it is a number
 * that it never is, so that nothing can be left out. */
static const char kernel_text[] = ".version 6.0\n"
                                  ".target sm_30\n"
                                  ".address_size 64\n"
                                  ".visible .entry spin(.param .u64 to, .param .u32 rounds)\n"
                                  "{\n"
                                  ".reg .pred %p<3>;\n"
                                  ".reg .f32 %f<8>;\n"
                                  ".reg .b32 %r<4>;\n"
                                  ".reg .b64 %rd<3>;\n"
                                  "ld.param.u64 %rd1, [to];\n"
                                  "ld.param.u32 %r1, [rounds];\n"
                                  "mov.u32 %r2, %tid.x;\n"
                                  "cvt.rn.f32.u32 %f1, %r2;\n"
                                  "mov.f32 %f2, %f1;\n"
                                  "mov.f32 %f3, %f1;\n"
                                  "mov.f32 %f4, %f1;\n"
                                  "mov.f32 %f5, 0f3F7FFFEF;\n"
                                  "mov.u32 %r3, 0;\n"
                                  "again:\n"
                                  "fma.rn.f32 %f1, %f1, %f5, %f5;\n"
                                  "fma.rn.f32 %f2, %f2, %f5, %f5;\n"
                                  "fma.rn.f32 %f3, %f3, %f5, %f5;\n"
                                  "fma.rn.f32 %f4, %f4, %f5, %f5;\n"
                                  "add.u32 %r3, %r3, 1;\n"
                                  "setp.lt.u32 %p1, %r3, %r1;\n"
                                  "@%p1 bra again;\n"
                                  "add.f32 %f6, %f1, %f2;\n"
                                  "add.f32 %f7, %f3, %f4;\n"
                                  "add.f32 %f6, %f6, %f7;\n"
                                  "setp.eq.f32 %p2, %f6, 0fBF800000;\n"
                                  "cvta.to.global.u64 %rd2, %rd1;\n"
                                  "@%p2 st.global.f32 [%rd2], %f6;\n"
                                  "ret;\n"
                                  "}\n";

static bool cuda_symbols(struct cuda *c)
{
    const struct {
        void *to;
        const char *name, *other;
    } rows[] = {
        {&c->init, "cuInit", NULL},
        {&c->device_count, "cuDeviceGetCount", NULL},
        {&c->device_get, "cuDeviceGet", NULL},
        {&c->device_uuid, "cuDeviceGetUuid_v2", "cuDeviceGetUuid"},
        {&c->device_attribute, "cuDeviceGetAttribute", NULL},
        {&c->retain, "cuDevicePrimaryCtxRetain", NULL},
        {&c->release, "cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRelease"},
        {&c->set_current, "cuCtxSetCurrent", NULL},
        {&c->module_load, "cuModuleLoadData", NULL},
        {&c->module_unload, "cuModuleUnload", NULL},
        {&c->function_get, "cuModuleGetFunction", NULL},
        {&c->mem_alloc, "cuMemAlloc_v2", NULL},
        {&c->mem_free, "cuMemFree_v2", NULL},
        {&c->launch, "cuLaunchKernel", NULL},
        {&c->synchronize, "cuCtxSynchronize", NULL},
        {&c->event_create, "cuEventCreate", NULL},
        {&c->event_destroy, "cuEventDestroy_v2", NULL},
        {&c->event_record, "cuEventRecord", NULL},
        {&c->event_elapsed, "cuEventElapsedTime", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *symbol = dlsym(c->library, rows[i].name);
        if (!symbol && rows[i].other)
            symbol = dlsym(c->library, rows[i].other);
        if (!symbol)
            return false;
        memcpy(rows[i].to, &symbol, sizeof(symbol));
    }
    return true;
}

/* "GPU-8f6b..." of the 16 bytes. */
static bool is_this(const unsigned char *uuid, const char *id)
{
    char text[64] = "GPU-";
    size_t at = 4;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%02x", uuid[i]);
    }
    return strcasecmp(text, id) == 0;
}

static int cuda_spin(struct cuda *c, double rounds, double *ret_s, struct cli_pulse *p)
{
    unsigned n = (unsigned)fmin(fmax(rounds, 1), CUDA_ROUNDS_MAX);
    void *params[] = {&c->memory, &n};
    float ms = 0;
    p->on_lo_ns = cli_now_ns();
    int rc = c->event_record(c->start, NULL);
    if (rc == 0)
        rc = c->launch(c->function, c->blocks, 1, 1, CUDA_THREADS, 1, 1, 0, NULL, params, NULL);
    if (rc == 0)
        rc = c->event_record(c->end, NULL);
    int done = c->synchronize();
    p->off_hi_ns = cli_now_ns();
    if (rc == 0)
        rc = done;
    if (rc == 0)
        rc = c->event_elapsed(&ms, c->start, c->end);
    *ret_s = (double)ms * 1e-3;
    int64_t length_ns = (int64_t)((double)ms * 1e6);
    p->on_hi_ns = p->off_hi_ns - length_ns;
    p->off_lo_ns = p->on_lo_ns + length_ns;
    if (p->on_hi_ns < p->on_lo_ns) /* two clocks, a little apart */
        p->on_hi_ns = p->on_lo_ns;
    if (p->off_lo_ns > p->off_hi_ns)
        p->off_lo_ns = p->off_hi_ns;
    return rc;
}

/* Rounds in a second, from growing trials: the longest takes some 20 ms. */
static int cuda_learn(struct cuda *c)
{
    double rounds = 1000, seconds = 0;
    struct cli_pulse p;
    for (int i = 0; i < 20 && seconds < 0.01; i++) {
        int rc = cuda_spin(c, rounds, &seconds, &p);
        if (rc != 0)
            return rc;
        if (seconds > 0)
            c->rounds_s = rounds / seconds;
        rounds *= 4;
    }
    return c->rounds_s > 0 ? 0 : -1;
}

static int cuda_fail(struct wt_error *err, const char *what, int rc)
{
    char text[160];
    snprintf(text, sizeof(text), "CUDA: %s failed (error %d)", what, rc);
    return say(err, WT_E_IO, text);
}

static int cuda_open(struct cli_load *load, const struct wt_device_info *info, struct wt_error *err)
{
    struct cuda *c = calloc(1, sizeof(*c));
    if (!c)
        return say(err, WT_E_NOMEM, "no memory for a load");
    load->cuda = c;
    c->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!c->library)
        return say(err, WT_E_NOTFOUND, "no libcuda.so.1 to run a load with");
    if (!cuda_symbols(c))
        return say(err, WT_E_UNSUPPORTED, "libcuda.so.1 lacks a function that the load needs");
    int count = 0, rc = c->init(0);
    if (rc == 0)
        rc = c->device_count(&count);
    if (rc != 0)
        return cuda_fail(err, "cuInit", rc);
    c->device = -1;
    for (int i = 0; i < count && c->device < 0; i++) {
        int device;
        unsigned char uuid[16];
        if (c->device_get(&device, i) == 0 && c->device_uuid(uuid, device) == 0 &&
            is_this(uuid, info->id))
            c->device = device;
    }
    if (c->device < 0)
        return say(err, WT_E_NOTFOUND, "CUDA does not see this GPU");
    int units = 0;
    rc = c->device_attribute(&units, CUDA_MULTIPROCESSORS, c->device);
    if (rc != 0 || units < 1 || units > 10000)
        return cuda_fail(err, "cuDeviceGetAttribute", rc);
    c->blocks = (unsigned)units;
    rc = c->retain(&c->context, c->device);
    if (rc != 0)
        return cuda_fail(err, "cuDevicePrimaryCtxRetain", rc);
    c->is_retained = true;
    if ((rc = c->set_current(c->context)) != 0)
        return cuda_fail(err, "cuCtxSetCurrent", rc);
    if ((rc = c->module_load(&c->module, kernel_text)) != 0)
        return cuda_fail(err, "cuModuleLoadData", rc);
    if ((rc = c->function_get(&c->function, c->module, "spin")) != 0)
        return cuda_fail(err, "cuModuleGetFunction", rc);
    if ((rc = c->mem_alloc(&c->memory, 256)) != 0)
        return cuda_fail(err, "cuMemAlloc", rc);
    if ((rc = c->event_create(&c->start, 0)) != 0 || (rc = c->event_create(&c->end, 0)) != 0)
        return cuda_fail(err, "cuEventCreate", rc);
    if ((rc = cuda_learn(c)) != 0)
        return cuda_fail(err, "the first kernel", rc);
    snprintf(load->words, sizeof(load->words), "multiplications on %d multiprocessors", units);
    return 0;
}

static void cuda_close(struct cuda *c)
{
    if (c->is_retained) {
        c->set_current(c->context);
        if (c->end)
            c->event_destroy(c->end);
        if (c->start)
            c->event_destroy(c->start);
        if (c->memory)
            c->mem_free(c->memory);
        if (c->module)
            c->module_unload(c->module);
        c->release(c->device);
    }
    /* The driver's library keeps threads of its own and is not made to be unloaded. */
    free(c);
}

static bool cuda_lighter(struct cli_load *load)
{
    struct cuda *c = load->cuda;
    if (c->blocks < 8)
        return false;
    c->blocks /= 2;
    snprintf(load->words, sizeof(load->words), "multiplications on %u multiprocessors", c->blocks);
    return c->set_current(c->context) == 0 && cuda_learn(c) == 0;
}

static int cuda_pulse(struct cuda *c, double seconds, struct cli_pulse *p, struct wt_error *err)
{
    double took;
    int rc = c->set_current(c->context); /* of the calling thread */
    if (rc == 0)
        rc = cuda_spin(c, seconds * c->rounds_s, &took, p);
    return rc == 0 ? 0 : cuda_fail(err, "a kernel", rc);
}

/* ---- all of them ---- */

int cli_load_open(struct cli_load **ret_load, const struct wt_device_info *info,
                  struct wt_error *err)
{
    struct cli_load *load = calloc(1, sizeof(*load));
    int rc;
    if (!load)
        return say(err, WT_E_NOMEM, "no memory for a load");
    if (info->kind == WT_DEVICE_GPU && info->is_emulated)
        rc = emulated_open(load, info, err);
    else if (info->kind == WT_DEVICE_GPU)
        rc = cuda_open(load, info, err);
    else
        rc = busy_open(load, err);
    if (rc < 0) {
        cli_load_close(load);
        return rc;
    }
    *ret_load = load;
    return 0;
}

void cli_load_close(struct cli_load *load)
{
    if (!load)
        return;
    if (load->emulated) {
        wt_emu_detach(load->emulated->emu);
        free(load->emulated->kernels);
        free(load->emulated);
    }
    if (load->busy)
        busy_close(load->busy);
    if (load->cuda)
        cuda_close(load->cuda);
    free(load);
}

const char *cli_load_words(const struct cli_load *load)
{
    return load->words;
}

bool cli_load_lighter(struct cli_load *load)
{
    if (load->emulated)
        return emulated_lighter(load);
    return load->cuda && cuda_lighter(load);
}

int cli_load_pulse(struct cli_load *load, double seconds, struct cli_pulse *ret_pulse,
                   struct wt_error *err)
{
    seconds = fmin(seconds, PULSE_MAX_S);
    if (load->emulated)
        return emulated_pulse(load->emulated, seconds, ret_pulse, err);
    if (load->cuda)
        return cuda_pulse(load->cuda, seconds, ret_pulse, err);
    busy_pulse(load->busy, seconds, ret_pulse);
    return 0;
}
