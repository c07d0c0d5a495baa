/* The CUDA driver, NVRTC and cuBLASLt, opened at run time: nothing of CUDA is needed to build, and
 * a machine without it says what is missing.
 *
 * The declarations are ours, made from NVIDIA's public API references; only what is called is
 * declared. The driver and NVRTC have C interfaces of numbers, pointers and sizes; cuBLASLt's
 * descriptors are opaque here too.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_CUDA_API_H
#define WT_WORKLOAD_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

typedef uint64_t wt_cu_at; /* an address in the device's memory */

/* X(name, symbol, parameters); all return an int, 0 when all went well. The symbols are those of
 * CUDA 11, which 12 and 13 still have. */
#define WT_CUDA_CALLS(X)                                                                           \
    X(init, "cuInit", (unsigned))                                                                  \
    X(driver_version, "cuDriverGetVersion", (int *))                                               \
    X(error_string, "cuGetErrorString", (int, const char **))                                      \
    X(device_count, "cuDeviceGetCount", (int *))                                                   \
    X(device_get, "cuDeviceGet", (int *, int))                                                     \
    X(device_name, "cuDeviceGetName", (char *, int, int))                                          \
    X(device_attribute, "cuDeviceGetAttribute", (int *, int, int))                                 \
    X(context_flags, "cuDevicePrimaryCtxSetFlags_v2", (int, unsigned))                             \
    X(context_retain, "cuDevicePrimaryCtxRetain", (void **, int))                                  \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (int))                                      \
    X(context_set, "cuCtxSetCurrent", (void *))                                                    \
    X(stream_create, "cuStreamCreate", (void **, unsigned))                                        \
    X(stream_destroy, "cuStreamDestroy_v2", (void *))                                              \
    X(stream_sync, "cuStreamSynchronize", (void *))                                                \
    X(event_create, "cuEventCreate", (void **, unsigned))                                          \
    X(event_destroy, "cuEventDestroy_v2", (void *))                                                \
    X(event_record, "cuEventRecord", (void *, void *))                                             \
    X(event_sync, "cuEventSynchronize", (void *))                                                  \
    X(event_elapsed, "cuEventElapsedTime", (float *, void *, void *))                              \
    X(mem_info, "cuMemGetInfo_v2", (size_t *, size_t *))                                           \
    X(mem_alloc, "cuMemAlloc_v2", (wt_cu_at *, size_t))                                            \
    X(mem_free, "cuMemFree_v2", (wt_cu_at))                                                        \
    X(mem_range, "cuMemGetAddressRange_v2", (wt_cu_at *, size_t *, wt_cu_at))                      \
    X(host_alloc, "cuMemHostAlloc", (void **, size_t, unsigned))                                   \
    X(host_free, "cuMemFreeHost", (void *))                                                        \
    X(to_device, "cuMemcpyHtoDAsync_v2", (wt_cu_at, const void *, size_t, void *))                 \
    X(to_host, "cuMemcpyDtoHAsync_v2", (void *, wt_cu_at, size_t, void *))                         \
    X(fill, "cuMemsetD8Async", (wt_cu_at, unsigned char, size_t, void *))                          \
    X(module_load, "cuModuleLoadData", (void **, const void *))                                    \
    X(module_unload, "cuModuleUnload", (void *))                                                   \
    X(module_function, "cuModuleGetFunction", (void **, void *, const char *))                     \
    X(function_set, "cuFuncSetAttribute", (void *, int, int))                                      \
    X(launch, "cuLaunchKernel",                                                                    \
      (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,       \
       void **, void **))

#define WT_NVRTC_CALLS(X)                                                                          \
    X(rtc_arch_count, "nvrtcGetNumSupportedArchs", (int *))                                        \
    X(rtc_archs, "nvrtcGetSupportedArchs", (int *))                                                \
    X(rtc_create, "nvrtcCreateProgram",                                                            \
      (void **, const char *, const char *, int, const char *const *, const char *const *))        \
    X(rtc_destroy, "nvrtcDestroyProgram", (void **))                                               \
    X(rtc_compile, "nvrtcCompileProgram", (void *, int, const char *const *))                      \
    X(rtc_log_size, "nvrtcGetProgramLogSize", (void *, size_t *))                                  \
    X(rtc_log, "nvrtcGetProgramLog", (void *, char *))                                             \
    X(rtc_cubin_size, "nvrtcGetCUBINSize", (void *, size_t *))                                     \
    X(rtc_cubin, "nvrtcGetCUBIN", (void *, char *))                                                \
    X(rtc_ptx_size, "nvrtcGetPTXSize", (void *, size_t *))                                         \
    X(rtc_ptx, "nvrtcGetPTX", (void *, char *))

/* What cuBLASLt says of one way to compute a product. */
struct wt_lt_choice {
    uint64_t algorithm[8];
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
};
#define WT_LT_CALLS(X)                                                                             \
    X(lt_create, "cublasLtCreate", (void **))                                                      \
    X(lt_destroy, "cublasLtDestroy", (void *))                                                     \
    X(lt_desc_create, "cublasLtMatmulDescCreate", (void **, int, int))                             \
    X(lt_desc_destroy, "cublasLtMatmulDescDestroy", (void *))                                      \
    X(lt_desc_set, "cublasLtMatmulDescSetAttribute", (void *, int, const void *, size_t))          \
    X(lt_layout_create, "cublasLtMatrixLayoutCreate", (void **, int, uint64_t, uint64_t, int64_t)) \
    X(lt_layout_destroy, "cublasLtMatrixLayoutDestroy", (void *))                                  \
    X(lt_wish_create, "cublasLtMatmulPreferenceCreate", (void **))                                 \
    X(lt_wish_destroy, "cublasLtMatmulPreferenceDestroy", (void *))                                \
    X(lt_wish_set, "cublasLtMatmulPreferenceSetAttribute", (void *, int, const void *, size_t))    \
    X(lt_choose, "cublasLtMatmulAlgoGetHeuristic",                                                 \
      (void *, void *, void *, void *, void *, void *, void *, int, struct wt_lt_choice *, int *)) \
    X(lt_check, "cublasLtMatmulAlgoCheck",                                                         \
      (void *, void *, void *, void *, void *, void *, const void *, struct wt_lt_choice *))       \
    X(lt_product, "cublasLtMatmul",                                                                \
      (void *, void *, const void *, wt_cu_at, void *, wt_cu_at, void *, const void *, wt_cu_at,   \
       void *, wt_cu_at, void *, const void *, wt_cu_at, size_t, void *))

/* Numbers of the interfaces above. */
enum {
    WT_CU_OUT_OF_MEMORY = 2,
    WT_CU_NO_DEVICE = 100,
    WT_CU_BLOCKING_SYNC = 4,       /* of a context: waiting sleeps */
    WT_CU_NON_BLOCKING = 1,        /* of a stream: apart from the default one */
    WT_CU_EVENT_BLOCKING_SYNC = 1, /* of an event: waiting sleeps */
    WT_CU_EVENT_NO_TIMING = 2,
    WT_CU_MULTIPROCESSORS = 16, /* device attributes */
    WT_CU_MAJOR = 75,
    WT_CU_MINOR = 76,
    WT_CU_SHARED_MOST = 97,
    WT_CU_FUNCTION_SHARED = 8, /* function attribute: most dynamic shared memory */
    WT_RTC_INVALID_OPTION = 5,
    WT_LT_FLOAT = 0, /* cudaDataType */
    WT_LT_BF16 = 14,
    WT_LT_COMPUTE_F32 = 68, /* cublasComputeType_t */
    WT_LT_COMPUTE_TF32 = 77,
    WT_LT_DESC_TURN_A = 3, /* attributes of a product */
    WT_LT_DESC_TURN_B = 4,
    WT_LT_DESC_EPILOGUE = 7,
    WT_LT_DESC_BIAS = 8,
    WT_LT_DESC_BIAS_TYPE = 26,
    WT_LT_PLAIN = 1, /* epilogues */
    WT_LT_ADD_BIAS = 4,
    WT_LT_BIAS_GRADIENT_B = 512,
    WT_LT_WISH_WORKSPACE = 1, /* attributes of a preference */
    WT_LT_WISH_REDUCTION = 3,
    WT_LT_WISH_ALIGN_A = 5, /* and B, C, D after it */
    WT_LT_REDUCE_WIDE = 2,  /* parts of a sum are added as floats */
};

/* What cuda_kernels.cu calls WT_MODE and WT_PART. */
enum wt_cuda_mode { WT_CUDA_FP32, WT_CUDA_TF32, WT_CUDA_BF16 };
enum wt_cuda_part { WT_CUDA_COMMON = 1, WT_CUDA_NORM, WT_CUDA_ATTENTION };

struct wt_cuda_api {
    void *libraries[3]; /* driver, NVRTC, cuBLASLt */
    int driver;         /* the CUDA version of the driver: 13000 is 13.0 */
#define WT_CUDA_MEMBER(name, symbol, parameters) int(*name) parameters;
    WT_CUDA_CALLS(WT_CUDA_MEMBER)
    WT_NVRTC_CALLS(WT_CUDA_MEMBER)
    WT_LT_CALLS(WT_CUDA_MEMBER)
#undef WT_CUDA_MEMBER
};

/* The driver alone: what the others have to be is known when it has been asked for the device.
 * Errors: WT_E_NOTFOUND (says what brings it), WT_E_UNSUPPORTED (it lacks a call). */
int wt_cuda_api_open(struct wt_cuda_api *ret_api, struct wt_error *err);
/* NVRTC and cuBLASLt of the driver's major version or an older one that still has the architecture.
 * Errors: WT_E_NOTFOUND (says which is missing and what brings it), WT_E_UNSUPPORTED (a driver too
 * old for all of them; a library that lacks a call). After one, the api can only be closed. */
int wt_cuda_api_open_tools(struct wt_cuda_api *api, int architecture, struct wt_error *err);
/* NVRTC alone, for compiling without a driver. */
int wt_cuda_api_open_compiler(struct wt_cuda_api *ret_api, struct wt_error *err);
void wt_cuda_api_close(struct wt_cuda_api *api);

/* A part of cuda_kernels.cu, compiled: a CUBIN for architecture (90 is sm_90), or PTX for an older
 * one where NVRTC does not know it. mode, part and the sizes are the source's macros. Owned by the
 * caller: free(). Errors: WT_E_INTERNAL (with what the compiler says), WT_E_NOMEM, WT_E_UNSUPPORTED
 * (a device older than all that this NVRTC compiles for). */
int wt_cuda_compile(const struct wt_cuda_api *api, int architecture, enum wt_cuda_mode mode,
                    enum wt_cuda_part part, unsigned size, unsigned vector, char **ret_code,
                    size_t *ret_bytes, struct wt_error *err);

#endif
