/* Predict: time and energy of a model's work on a device that need not be at hand.
 *
 * The emulator's device model (docs/emulator-model.md), in the steady state, on the operations that
 * the workload's code counts. A device is a row of the catalogue; where its profile was calibrated
 * on measurements of such a board, that is used, else one is made from the row. What comes out is
 * WT_PROV_MODELED, with bounds as wide as the same predictions were off on measured boards. */
#ifndef WATTUNE_PREDICT_H
#define WATTUNE_PREDICT_H

#include "wattune/catalogue.h"
#include "wattune/run.h"
#include "wattune/workload.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- predictions ---- */

/* What a prediction stands on, weakest first. */
enum wt_predict_basis {
    WT_PREDICT_ROW,       /* the catalogue's row, and what boards have in common */
    WT_PREDICT_PROFILE,   /* a profile calibrated on such a board, or made for it by hand */
    WT_PREDICT_CALIBRATED /* a measured run of this very work */
};
/* "catalogue", "profile", "calibrated" */
WT_API const char *wt_predict_basis_name(enum wt_predict_basis basis);

/* Room for all that may be said against a run. */
#define WT_PREDICT_DOUBT_SIZE 640

/* One measured run of the work, which the prediction is made to meet. */
struct wt_predict_measured {
    double pass_s;  /* of one pass */
    double power_w; /* mean, of one device */
    double limit_w; /* that was enforced; 0: the device's highest */
    double clock_mhz;
    char run_id[40], emulation[64]; /* "": of a real device */
    char device[96];                /* the name of the first of them */
    double run_s;                   /* how long it was */
    /* What speaks against its being of this very work on this board, each after "; "; "": nothing.
     * Then the bounds are as wide as of another batch, and hold those without the run. */
    char doubt[WT_PREDICT_DOUBT_SIZE];
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
    char measured[40], emulation[64]; /* the run it was calibrated by, and what on; "" */
    /* Of all devices together. With 95 % bounds. */
    struct wt_estimate pass_s, power_w, energy_j; /* a pass, mean, a pass */
    struct wt_estimate tokens_per_s, j_per_token;
    /* Of the time, in which each decides; their sum is 1. */
    double compute_share, memory_share, launch_share, link_share, host_share;
    bool is_capped, is_hot;
    double flops;                      /* of a pass, all devices */
    double memory_gb;                  /* that each device needs */
    bool fits, is_fit_known;           /* in its memory, where the row says how large that is */
    char measured_on[96];              /* the name of the board that it was calibrated on; "" */
    double measured_s;                 /* how long that run was */
    char doubt[WT_PREDICT_DOUBT_SIZE]; /* of that run; "" */
};
/* One pass of the work. Errors: WT_E_NOTFOUND (the row lacks what is needed: says what), those of
 * wt_work_ops(), WT_E_RANGE (limit, clock), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_predict(struct wt_prediction *ret_prediction, const struct wt_gpu *gpu,
                      const struct wt_work *work, const struct wt_predict_options *options,
                      struct wt_error *err);
/* "memory", "compute", ...: what decides most of the time. */
WT_API const char *wt_prediction_limit(const struct wt_prediction *prediction);
/* "bf16": the type of its products. Never NULL. */
WT_API const char *wt_prediction_dtype(const struct wt_prediction *prediction);
/* ---- a whole job ---- */

struct wt_predict_part {
    char name[16]; /* "train", "encode", "prefill", "decode" */
    struct wt_prediction each;
    double passes;
};

/* Room for the words of wt_region_words(). */
#define WT_SITE_SOURCE_SIZE 400

/* What is known of where it runs; NaN: not. */
struct wt_predict_site {
    double host_w; /* the rest of the node, while it runs */
    double pue;
    double carbon_g_per_kwh;
    double price_per_kwh, price_per_hour; /* of all the devices together */
    /* Who says so; "": not told. */
    char pue_source[WT_SITE_SOURCE_SIZE], carbon_source[WT_SITE_SOURCE_SIZE];
};

struct wt_predict_job {
    struct wt_predict_part parts[2];
    size_t part_count;
    uint64_t tokens; /* that are read in training and encoding, that are made in generating */
    struct wt_estimate time_s, energy_j, power_w, tokens_per_s, j_per_token; /* of the devices */
    struct wt_predict_site site;
    /* With the rest of the node and what the facility adds, where they are given. NaN: unknown. */
    struct wt_estimate facility_kwh, carbon_g, cost;
};
/* What is asked for: work of one kind over so many tokens, or with answer > 0 prompts of work->seq
 * tokens that get answers so long, until so many tokens are made. tokens 0: one pass, or one batch
 * of answers. site may be NULL. Errors: as wt_predict(), WT_E_USAGE. */
WT_API int wt_predict_job(struct wt_predict_job *ret_job, const struct wt_gpu *gpu,
                          const struct wt_work *work, unsigned answer, uint64_t tokens,
                          const struct wt_predict_options *options,
                          const struct wt_predict_site *site, struct wt_error *err);
/* The same job elsewhere: facility, carbon and cost anew, for wt_predict_job() takes long. */
WT_API void wt_predict_job_place(struct wt_predict_job *job, const struct wt_predict_site *site);
/* The shape of the run JSON with what was not run, and "prediction" (docs/json.md); owned: free().
 * NULL: no memory. */
WT_API char *wt_predict_job_to_json(const struct wt_predict_job *job);
/* What such a document says of its job. */
struct wt_predicted {
    struct wt_estimate time_s;
    struct wt_estimate power_w; /* mean, of the devices and the rest of the node */
    double host_w;              /* the rest, as it was given; 0: not given, and not in power_w */
    bool fits;                  /* into the devices' memory */
    char what[128];             /* "llama-3.1-8b on 8 x h100-sxm" */
    char emulation[64];         /* that it was calibrated on; "": none */
    bool is_doubted;            /* the run that it was calibrated by */
};
/* From text; name is for messages. Errors: WT_E_FORMAT: no JSON, or another document, and which.
 * Threads: any thread. */
WT_API int wt_predicted_parse(struct wt_predicted *ret_predicted, const char *name,
                              const char *text, size_t size, struct wt_error *err);
/* From a file or a pipe of at most 4 MiB; "-": standard input, to its end. Errors: besides, those
 * of reading a file, WT_E_NOMEM. */
WT_API int wt_predicted_read(struct wt_predicted *ret_predicted, const char *path,
                             struct wt_error *err);
/* The calibration that a stored run gives for this work on this board: its rate, its devices' mean
 * power, the limit that they had, and what is to be doubted of it. Errors: WT_E_USAGE (it counted
 * no tokens, or its GPUs have no energy; the work is generation, whose two kinds of passes one rate
 * does not tell). */
WT_API int wt_predict_measured_from(struct wt_predict_measured *ret_measured,
                                    const struct wt_run *run, const struct wt_catalogue *catalogue,
                                    const struct wt_gpu *gpu, const struct wt_work *work,
                                    unsigned devices, struct wt_error *err);

/* ---- side by side ---- */

/* A machine that can be had; NaN: not known. */
struct wt_offer {
    char name[64], region[48];
    char instance[64]; /* of the catalogue; "": it is none */
    struct wt_gpu gpu;
    unsigned devices;
    double vcpus, memory_gib; /* of an instance */
    double price_per_hour, carbon_g_per_kwh, pue;
    char pue_source[64];                     /* "": not known */
    char carbon_source[WT_SITE_SOURCE_SIZE]; /* likewise */
};
/* A CSV whose first line names its columns, in any order: name, gpu (of the catalogue), gpus,
 * instance (of the catalogue, in place of both), price_per_hour, region, gco2_per_kwh, pue; all but
 * gpu or instance may be left out or empty. Where gco2_per_kwh is, a region of the catalogue gives
 * it. Lines that begin with # are left out; a column of another name and a cell beyond the columns
 * are errors. *ret_offers owned: free(). Errors: WT_E_FORMAT (names file and line), those of
 * reading a file, WT_E_NOMEM. */
WT_API int wt_offers_read(const struct wt_catalogue *catalogue, const char *path,
                          struct wt_offer **ret_offers, size_t *ret_count, struct wt_error *err);
/* Every GPU of the catalogue, so many of each. *ret_offers owned: free(). Errors: WT_E_NOMEM. */
WT_API int wt_offers_catalogue(const struct wt_catalogue *catalogue, unsigned devices,
                               struct wt_offer **ret_offers, size_t *ret_count,
                               struct wt_error *err);
/* Its instances that match (wt_instance_matches; NULL: all). *ret_offers owned: free(). Errors:
 * WT_E_NOTFOUND (none does), WT_E_NOMEM. */
WT_API int wt_offers_instances(const struct wt_catalogue *catalogue, const char *patterns,
                               struct wt_offer **ret_offers, size_t *ret_count,
                               struct wt_error *err);
/* Each offer that has no region of its own, in each of these: "DEU,gcp:europe-west4". A region of
 * one cloud takes no instance of another: *ret_left_out, how many pairs. Replaces *io_offers.
 * Errors: WT_E_NOTFOUND (no such region), WT_E_USAGE (no factor of one is known; no pair is left),
 * WT_E_NOMEM; the offers are then as they were. */
WT_API int wt_offers_place(const struct wt_catalogue *catalogue, const char *regions,
                           struct wt_offer **io_offers, size_t *io_count, size_t *ret_left_out,
                           struct wt_error *err);

struct wt_compare_row {
    struct wt_offer offer;
    bool is_predicted;
    char why[200];           /* it is not */
    bool fits, is_fit_known; /* in the memory, where that is known */
    struct wt_predict_job job;
    /* Set by wt_compare_mark(), of those that are known to fit; of equal ones all: */
    bool is_fastest, is_thriftiest, is_cleanest, is_cheapest;
    bool is_pareto; /* none is better in something and worse in nothing that is known of all */
};
/* By the values; the intervals of several may overlap. */
WT_API void wt_compare_mark(struct wt_compare_row *rows, size_t count);
enum wt_compare_by { WT_COMPARE_TIME, WT_COMPARE_ENERGY, WT_COMPARE_CARBON, WT_COMPARE_COST };
/* Least first; what is not known, does not fit or is not predicted last. */
WT_API void wt_compare_sort(struct wt_compare_row *rows, size_t count, enum wt_compare_by by);
/* docs/json.md; owned: free(). NULL: no memory. */
WT_API char *wt_compare_to_json(const struct wt_compare_row *rows, size_t count);

#ifdef __cplusplus
}
#endif
#endif
