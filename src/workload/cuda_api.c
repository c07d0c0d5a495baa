/* cuda_api: see cuda_api.h. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/cuda_api.h"

/* The text of cuda_kernels.cu, made by make-bytes. */
static const char kernels[] = {
#include "workload/cuda_kernels.inc"
    0};

enum { DRIVER, NVRTC, LT };

static const struct library {
    const char *what;
    const char *names[6]; /* newest first */
    const char *fix;
} libraries[] = {
    [DRIVER] =
        {"the NVIDIA driver's libcuda",
         {"libcuda.so.1"},
         "install the NVIDIA driver (Debian: nvidia-driver and libcuda1); in a container, start "
         "it with the GPU"},
    [NVRTC] = {"NVRTC, CUDA's run-time compiler",
               {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"},
               "install it (Debian: libnvrtc12; pip: nvidia-cuda-nvrtc, of CUDA 12 "
               "nvidia-cuda-nvrtc-cu12) and, where it is in no folder of the system, name its "
               "folder in LD_LIBRARY_PATH"},
    [LT] = {"cuBLASLt",
            {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"},
            "install it (Debian: libcublaslt12; pip: nvidia-cublas, of CUDA 12 "
            "nvidia-cublas-cu12) and, where it is in no folder of the system, name its folder in "
            "LD_LIBRARY_PATH"},
};

/* Where CUDA's own installer puts them, which the loader does not always know. */
static const char *const folders[] = {"", "/usr/local/cuda/lib64/"};

enum {
    OLDEST = 11,       /* major version of CUDA that a library above is of */
    LAST_OF_VOLTA = 12 /* likewise: 13 compiles for and computes on 7.5 and later only */
};

/* newest: no library of a later major version; 0: any. */
static int open_library(struct wt_cuda_api *api, int which, int newest, struct wt_error *err)
{
    const struct library *l = &libraries[which];
    char said[160] = "";
    for (size_t f = 0; f < WT_COUNTOF(folders); f++)
        for (size_t i = 0; i < WT_COUNTOF(l->names) && l->names[i]; i++) {
            const char *version = strstr(l->names[i], ".so.");
            if (newest && version && atoi(version + 4) > newest)
                continue;
            char path[160];
            wt_text(path, sizeof(path), "%s%s", folders[f], l->names[i]);
            api->libraries[which] = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            if (api->libraries[which])
                return 0;
            const char *why = dlerror();
            if (!*said && why) /* the first says most: the others are other versions */
                wt_text(said, sizeof(said), "%s", why);
        }
    if (newest)
        wt_fail(err, WT_E_NOTFOUND, "%s of CUDA %d or older%s is not here: %s", l->what, newest,
                newest < api->driver / 1000 ? ", the last one for this GPU," : "", said);
    else
        wt_fail(err, WT_E_NOTFOUND, "%s is not here: %s", l->what, said);
    wt_fix(err, "%s", l->fix);
    return WT_E_NOTFOUND;
}

static int resolve(struct wt_cuda_api *api, int which, const char *symbol, void *ret_member,
                   size_t size, struct wt_error *err)
{
    /* Without the cast that ISO C has no rule for. */
    void *found = dlsym(api->libraries[which], symbol);
    memcpy(ret_member, &found, size);
    return found ? 0
                 : wt_fail(err, WT_E_UNSUPPORTED, "%s has no %s: it is too old or too new",
                           libraries[which].what, symbol);
}

#define WT_CUDA_RESOLVE(member, symbol, parameters)                                                \
    if (rc == 0)                                                                                   \
        rc = resolve(api, which, symbol, &api->member, sizeof(api->member), err);

int wt_cuda_api_open_compiler(struct wt_cuda_api *ret_api, struct wt_error *err)
{
    struct wt_cuda_api got = {0}, *api = &got;
    int which = NVRTC, rc = open_library(api, which, 0, err);
    WT_NVRTC_CALLS(WT_CUDA_RESOLVE)
    if (rc < 0)
        wt_cuda_api_close(api);
    else
        *ret_api = got;
    return rc;
}

int wt_cuda_api_open(struct wt_cuda_api *ret_api, struct wt_error *err)
{
    struct wt_cuda_api got = {0}, *api = &got;
    int which = DRIVER, rc = open_library(api, which, 0, err);
    WT_CUDA_CALLS(WT_CUDA_RESOLVE)
    if (rc == 0 && api->driver_version(&api->driver) != 0)
        rc = wt_fail(err, WT_E_UNSUPPORTED, "the NVIDIA driver does not say its version");
    if (rc < 0)
        wt_cuda_api_close(api);
    else
        *ret_api = got;
    return rc;
}

int wt_cuda_api_open_tools(struct wt_cuda_api *api, int architecture, struct wt_error *err)
{
    int newest = api->driver / 1000;
    if (newest < OLDEST) {
        int code = wt_fail(err, WT_E_UNSUPPORTED,
                           "the NVIDIA driver is of CUDA %d.%d: computing needs %d or later",
                           newest, api->driver % 1000 / 10, OLDEST);
        wt_fix(err, "install a newer NVIDIA driver");
        return code;
    }
    if (architecture < 75 && newest > LAST_OF_VOLTA)
        newest = LAST_OF_VOLTA;
    int which = NVRTC, rc = open_library(api, which, newest, err);
    WT_NVRTC_CALLS(WT_CUDA_RESOLVE)
    if (rc == 0)
        rc = open_library(api, which = LT, newest, err);
    WT_LT_CALLS(WT_CUDA_RESOLVE)
    return rc;
}

void wt_cuda_api_close(struct wt_cuda_api *api)
{
    for (size_t i = WT_COUNTOF(api->libraries); i-- > 0;)
        if (api->libraries[i])
            dlclose(api->libraries[i]);
    memset(api, 0, sizeof(*api));
}

/* What the compiler says, from its first error on. */
static int compiler_fail(const struct wt_cuda_api *api, void *program, int rc, struct wt_error *err)
{
    size_t size = 0;
    char *log = NULL;
    if (program && api->rtc_log_size(program, &size) == 0 && size > 1)
        log = calloc(1, size + 1);
    if (log)
        api->rtc_log(program, log);
    const char *first = log ? strstr(log, "error") : NULL;
    int code = wt_fail(err, WT_E_INTERNAL, "NVRTC cannot compile the CUDA kernels (%d): %.300s", rc,
                       first ? first : "it says nothing");
    free(log);
    return code;
}

int wt_cuda_compile(const struct wt_cuda_api *api, int architecture, enum wt_cuda_mode mode,
                    enum wt_cuda_part part, unsigned size, unsigned vector, char **ret_code,
                    size_t *ret_bytes, struct wt_error *err)
{
    char options[6][48];
    const char *list[6];
    for (size_t i = 0; i < 6; i++)
        list[i] = options[i];
    wt_text(options[0], sizeof(options[0]), "--gpu-architecture=sm_%d", architecture);
    wt_text(options[1], sizeof(options[1]), "-default-device");
    wt_text(options[2], sizeof(options[2]), "-DWT_MODE=%d", (int)mode);
    wt_text(options[3], sizeof(options[3]), "-DWT_PART=%d", (int)part);
    wt_text(options[4], sizeof(options[4]), "-DWT_%s=%u", part == WT_CUDA_NORM ? "N" : "HEAD",
            size);
    wt_text(options[5], sizeof(options[5]), "-DWT_V=%u", vector);

    void *program = NULL;
    char *code = NULL;
    size_t bytes = 0;
    int result = api->rtc_create(&program, kernels, "cuda_kernels.cu", 0, NULL, NULL), rc;
    if (result == 0)
        result = api->rtc_compile(program, 6, list);
    bool is_ptx = false;
    if (result == WT_RTC_INVALID_OPTION) {
        /* A device newer than this NVRTC: its newest, and the driver translates. */
        int count = 0, known[256] = {0}, best = 0;
        if (api->rtc_arch_count(&count) == 0 && count <= (int)WT_COUNTOF(known) &&
            api->rtc_archs(known) == 0)
            for (int i = 0; i < count; i++)
                if (known[i] <= architecture && known[i] > best)
                    best = known[i];
        if (best == 0) {
            rc = wt_fail(err, WT_E_UNSUPPORTED,
                         "this NVRTC compiles for no device of compute capability %d.%d",
                         architecture / 10, architecture % 10);
            wt_fix(err, "a GPU that old needs an older CUDA: libnvrtc.so.12 compiles from 5.0 on");
            goto out;
        }
        wt_text(options[0], sizeof(options[0]), "--gpu-architecture=compute_%d", best);
        is_ptx = true;
        result = api->rtc_compile(program, 6, list);
    }
    if (result == 0)
        result = is_ptx ? api->rtc_ptx_size(program, &bytes) : api->rtc_cubin_size(program, &bytes);
    if (result != 0) {
        rc = compiler_fail(api, program, result, err);
        goto out;
    }
    code = malloc(bytes + 1);
    if (!code) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the CUDA kernels");
        goto out;
    }
    result = is_ptx ? api->rtc_ptx(program, code) : api->rtc_cubin(program, code);
    if (result != 0) {
        rc = compiler_fail(api, program, result, err);
        goto out;
    }
    *ret_code = code;
    *ret_bytes = bytes;
    code = NULL;
    rc = 0;
out:
    free(code);
    if (program)
        api->rtc_destroy(&program);
    return rc;
}
