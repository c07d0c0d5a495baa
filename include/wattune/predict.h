/* Predict: time and energy of a model's work on a device that need not be at hand.
 *
 * The emulator's device model (docs/emulator-model.md), in the steady state, on the operations that
 * the workload's code counts. A device is a row of data/gpus.csv; where its profile was calibrated
 * on measurements of such a board, that is used, else one is made from the row. What comes out is
 * WT_PROV_MODELED, with bounds as wide as the same predictions were off on measured boards. */
#ifndef WATTUNE_PREDICT_H
#define WATTUNE_PREDICT_H

#include "wattune/run.h"
#include "wattune/workload.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the catalogue ---- */

/* A board, as data/gpus.csv has it; NaN: not known. */
struct wt_gpu {
    char id[32];   /* "v100-pcie" */
    char name[64]; /* as NVML calls it */
    char arch[16], memory[12]; /* "Volta", "HBM2" */
    char profile[32];          /* of the emulator; "": none */
    double tdp_w, idle_w;
    double limit_min_w, limit_max_w;
    double clock_base_mhz, clock_max_mhz;
    double memory_gb, memory_gb_s;
    double memory_reached_gb_s; /* by a healthy board: of DCGM's least, over 0.75 */
    double fp32_tflop_s, tf32_tflop_s, bf16_tflop_s; /* dense; bf16: what there is of 16 bits */
};
/* The i-th; false past the end. Threads: any thread. */
WT_API bool wt_gpu_at(size_t i, struct wt_gpu *ret_gpu);
/* By id, by NVML's name, or by the name of a profile. Errors: WT_E_NOTFOUND, naming those there
 * are. */
WT_API int wt_gpu_find(const char *name, struct wt_gpu *ret_gpu, struct wt_error *err);

/* ---- predictions ---- */

/* What a prediction stands on, weakest first. */
enum wt_predict_basis {
    WT_PREDICT_ROW,       /* the catalogue's row, and what boards have in common */
    WT_PREDICT_PROFILE,   /* a profile calibrated on such a board, or made for it by hand */
    WT_PREDICT_CALIBRATED /* a measured run of this very work */
};
/* "catalogue", "profile", "calibrated" */
WT_API const char *wt_predict_basis_name(enum wt_predict_basis basis);

/* One measured run of the work, which the prediction is made to meet. */
struct wt_predict_measured {
    double pass_s;  /* of one pass */
    double power_w; /* mean, of one device */
    double limit_w; /* that was enforced; 0: the device's highest */
    double clock_mhz;
    char run_id[40];
};

struct wt_predict_options {
    unsigned devices;  /* 0: 1; more: parts of a decoder, else copies that share the batch */
    double limit_w;    /* of each; 0: its highest */
    double clock_mhz;  /* locked; 0: not */
    double host_gap_s; /* between passes, nothing runs; 0: none */
    const struct wt_predict_measured *measured; /* NULL: none */
    bool is_row_only;                           /* no profile is used */
};

struct wt_prediction {
    struct wt_gpu gpu;
    struct wt_work work;
    unsigned devices;
    double limit_w, clock_mhz; /* of each; clock: where it comes to rest */
    enum wt_predict_basis basis;
    char measured[40]; /* the run it was calibrated by; "" */
    /* Of all devices together. With 95 % bounds. */
    struct wt_estimate pass_s, power_w, energy_j; /* a pass, mean, a pass */
    struct wt_estimate tokens_per_s, j_per_token;
    /* Of the time, in which each decides; their sum is 1. */
    double compute_share, memory_share, launch_share, link_share, host_share;
    bool is_capped, is_hot;
    double flops;     /* of a pass, all devices */
    double memory_gb; /* that each device needs */
    bool fits;        /* in its memory; true where that is not known */
};
/* One pass of the work. Errors: WT_E_NOTFOUND (the row lacks what is needed: says what), those of
 * wt_work_ops(), WT_E_RANGE (limit, clock), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_predict(struct wt_prediction *ret_prediction, const struct wt_gpu *gpu,
                      const struct wt_work *work, const struct wt_predict_options *options,
                      struct wt_error *err);
/* "memory", "compute", ...: what decides most of the time. */
WT_API const char *wt_prediction_limit(const struct wt_prediction *prediction);
/* As a run of so many tokens, which was not made: the shape of the run JSON. Errors: WT_E_NOMEM. */
WT_API int wt_prediction_run(const struct wt_prediction *prediction, uint64_t tokens,
                             struct wt_run *ret_run, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
