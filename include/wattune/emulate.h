/* The device emulator: starting one, and submitting work to it.
 *
 * Emulated GPUs live in one shared file of an emulation directory; every process of the emulation
 * maps it. $WATTUNE_EMULATION names the directory, $LD_LIBRARY_PATH leads NVML clients to the
 * stand-in libnvidia-ml.so.1, which is never on a default library path. */
#ifndef WATTUNE_EMULATE_H
#define WATTUNE_EMULATE_H

#include "wattune/ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Host's side. */
struct wt_emulation;

struct wt_emulation_options {
    const char *dir;      /* where to make the directory; NULL: $XDG_RUNTIME_DIR or /tmp */
    const char *faults;   /* "denied:nvmlDeviceSetPowerManagementLimit", "lost@5s:gpu=1", ...:
                             docs/emulator.md */
    uint64_t seed;        /* of noise, sensor phase and gain; 0: from the clock */
    bool is_unprivileged; /* settings are refused as they are for an ordinary user */
};

/* spec: PROFILE or PROFILE:N, or several with commas. Errors: WT_E_NOTFOUND (names the profiles
 * there are), WT_E_USAGE, WT_E_IO, WT_E_FULL. */
WT_API int wt_emulation_start(struct wt_emulation **ret_emulation, const char *spec,
                              const struct wt_emulation_options *options, struct wt_error *err);
WT_API const char *wt_emulation_dir(const struct wt_emulation *emulation);
WT_API const char *wt_emulation_spec(const struct wt_emulation *emulation);
/* Path of the stand-in NVML, for wt_ctx_options.nvml_library. */
WT_API const char *wt_emulation_library(const struct wt_emulation *emulation);
/* Sets the variables a child needs in this process's environment. Threads: before start. */
WT_API int wt_emulation_setenv(const struct wt_emulation *emulation, struct wt_error *err);
/* Writes the truth so far: {"devices":[{"uuid":..,"energy_j":..}...],"loads":[...]}. */
WT_API int wt_emulation_truth(struct wt_emulation *emulation, const char *path,
                              struct wt_error *err);
/* Removes the directory. Processes still attached go on with what they mapped. */
WT_API void wt_emulation_free(struct wt_emulation *emulation);
/* The profiles: names, NULL-terminated, borrowed for ever. */
WT_API const char *const *wt_emulation_profiles(void);
/* One line about a profile ("Tesla V100-PCIE-32GB, 250 W"), NULL when there is none. */
WT_API const char *wt_emulation_profile_title(const char *name);

/* Program's side: the emulated device as a compute device. */
struct wt_emu;

/* Which peak the FLOPs run against. TENSOR: products of 16 bits; TF32: of float as the same cores
 * take it, at a rate of its own. What a device lacks FP32 serves. */
enum wt_emu_engine { WT_EMU_FP32 = 0, WT_EMU_TENSOR = 1, WT_EMU_TF32 = 2 };

/* One kernel: the roofline's two numbers. */
struct wt_emu_kernel {
    double flops;
    double bytes;
    enum wt_emu_engine engine;
};

/* Attaches to the emulation of $WATTUNE_EMULATION; gpu is the index the program sees (after
 * $CUDA_VISIBLE_DEVICES). Errors: WT_E_NOTFOUND (no emulation here; says how to start one),
 * WT_E_USAGE, WT_E_IO. */
WT_API int wt_emu_attach(struct wt_emu **ret_emu, unsigned gpu, struct wt_error *err);
WT_API void wt_emu_detach(struct wt_emu *emu);
/* Runs the kernels in order; returns when the emulated device has finished them. label names the
 * load in the truth. host_gap_ns: time before the load in which the device idles at its clock
 * (input pipeline, launch). Errors: WT_E_GONE (the device was lost). Threads: one thread an emu. */
WT_API int wt_emu_submit(struct wt_emu *emu, const char *label, const struct wt_emu_kernel *kernels,
                         size_t count, int64_t host_gap_ns, struct wt_error *err);
/* FLOP/s of an engine at its highest clock; NaN: the device has no such engine. */
WT_API double wt_emu_peak(const struct wt_emu *emu, enum wt_emu_engine engine);
/* Device memory the program says it uses, shown by NVML. Errors: WT_E_FULL. */
WT_API int wt_emu_memory(struct wt_emu *emu, uint64_t bytes, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
