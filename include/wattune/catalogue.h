/* Catalogue: what is known of GPUs, regions, cloud instances and data centres, each number with
 * its source; and a user's own additions to it.
 *
 * The tables of data/ are compiled in. A folder may hold tables of a user's own, under the same
 * names and columns: their rows come beside the built-in ones, and one with the id of a built-in
 * row takes its place. Every row says where it is from. */
#ifndef WATTUNE_CATALOGUE_H
#define WATTUNE_CATALOGUE_H

#include "wattune/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum wt_data {
    WT_DATA_GPUS,
    WT_DATA_REGIONS,
    WT_DATA_INSTANCES,
    WT_DATA_PUE,
    WT_DATA_CPUS,
    WT_DATA_KINDS
};
/* "gpus"; its table is gpus.csv. Never NULL. */
WT_API const char *wt_data_name(enum wt_data kind);
/* False: it is none of them. */
WT_API bool wt_data_named(const char *name, enum wt_data *ret_kind);

/* ---- rows ---- */

/* Of a row, where it is from: "": the built-in table, else "DIR/gpus.csv:3". */
#define WT_ORIGIN_SIZE 200

/* A board, as data/gpus.csv has it; NaN: not known. */
struct wt_gpu {
    char id[32];               /* "v100-pcie" */
    char name[64];             /* as NVML calls it */
    char arch[16], memory[12]; /* "Volta", "HBM2" */
    char profile[32];          /* of the emulator; "": none */
    double tdp_w, idle_w;
    double limit_min_w, limit_max_w;
    double clock_base_mhz, clock_max_mhz;
    double memory_gb, memory_gb_s;
    double memory_reached_gb_s; /* by a healthy board: of DCGM's least, over 0.75 */
    double fp32_tflop_s, tf32_tflop_s, bf16_tflop_s; /* dense; bf16: what there is of 16 bits */
    char origin[WT_ORIGIN_SIZE];
};

/* How much CO2e a kWh of electricity is, by cloud region and by country. */
struct wt_region {
    char id[48];       /* "gcp:europe-west4", "DEU" */
    char name[80];     /* "Eemshaven Netherlands" */
    char country[8];   /* ISO 3166-1 alpha-3; "": not known */
    double carbon_g;   /* g CO2e per kWh; NaN: not known */
    char date[16];     /* of the figure: "2023", "2024-05-01"; "": its source names none */
    char source[200];  /* who says so, as a statement prints it */
    bool is_catalogue; /* of data/regions.csv; else the user's own */
    char origin[WT_ORIGIN_SIZE];
};

/* A machine that a cloud lends. */
struct wt_instance {
    char id[64];  /* "aws:p4d.24xlarge" */
    char gpu[32]; /* id of a GPU of the catalogue */
    unsigned gpus;
    double vcpus, memory_gib; /* NaN: not known */
    char origin[WT_ORIGIN_SIZE];
};

/* A data centre's PUE, as an example. */
struct wt_pue {
    char id[48], name[80];
    double pue;
    char date[16]; /* "": its source names none */
    char source[200];
    char origin[WT_ORIGIN_SIZE];
};

/* ---- the catalogue ---- */

struct wt_catalogue;
/* folder: of the user's own tables, gpus.csv, regions.csv, instances.csv and pue.csv, each of which
 * may be missing; NULL: none. Errors: WT_E_NOTFOUND (no such folder), WT_E_FORMAT (names file, line
 * and column), those of reading a file, WT_E_NOMEM. Threads: any thread, also what is opened. */
WT_API int wt_catalogue_open(struct wt_catalogue **ret_catalogue, const char *folder,
                             struct wt_error *err);
WT_API void wt_catalogue_close(struct wt_catalogue *catalogue);
/* Where a user's own tables are looked for: $XDG_CONFIG_HOME/wattune/data, else
 * ~/.config/wattune/data. Whether it is there. buf "": there is no home. */
WT_API bool wt_catalogue_folder(char *buf, size_t size);

/* The i-th; false past the end. */
WT_API bool wt_gpu_at(const struct wt_catalogue *catalogue, size_t i, struct wt_gpu *ret_gpu);
/* By id, by NVML's name, or by the name of a profile. Errors: WT_E_NOTFOUND (names ids that are
 * close). */
WT_API int wt_gpu_find(const struct wt_catalogue *catalogue, const char *name,
                       struct wt_gpu *ret_gpu, struct wt_error *err);

WT_API bool wt_region_at(const struct wt_catalogue *catalogue, size_t i,
                         struct wt_region *ret_region);
/* By id, case aside. Errors: WT_E_NOTFOUND (names ids that are close). */
WT_API int wt_region_find(const struct wt_catalogue *catalogue, struct wt_region *ret_region,
                          const char *id, struct wt_error *err);
/* "gcp:europe-west4 (Eemshaven Netherlands), Google's ..., no year": whose figure it is. Returns
 * buf. */
WT_API const char *wt_region_words(const struct wt_region *region, char *buf, size_t size);

WT_API bool wt_instance_at(const struct wt_catalogue *catalogue, size_t i,
                           struct wt_instance *ret_instance);
/* By id, case aside. Errors: WT_E_NOTFOUND (names ids that are close). */
WT_API int wt_instance_find(const struct wt_catalogue *catalogue, struct wt_instance *ret_instance,
                            const char *id, struct wt_error *err);
/* Whether one of a list "aws,gcp:a3*" is its cloud, its GPU or its id; * and ? stand for any. */
WT_API bool wt_instance_matches(const struct wt_instance *instance, const char *patterns);

WT_API bool wt_pue_at(const struct wt_catalogue *catalogue, size_t i, struct wt_pue *ret_pue);
/* By id, case aside. Errors: WT_E_NOTFOUND (names those there are). */
WT_API int wt_pue_find(const struct wt_catalogue *catalogue, struct wt_pue *ret_pue, const char *id,
                       struct wt_error *err);
/* As wt_region_words. */
WT_API const char *wt_pue_words(const struct wt_pue *pue, char *buf, size_t size);

/* Rows of a table with the source of each number, those whose id or name holds the pattern (with *
 * or ?: is like it; NULL: all). docs/json.md; *ret_text owned: free(). Errors: WT_E_NOMEM. */
WT_API int wt_catalogue_to_json(const struct wt_catalogue *catalogue, enum wt_data kind,
                                const char *pattern, char **ret_text, struct wt_error *err);

/* ---- checking tables ---- */

struct wt_data_problem {
    char place[WT_ORIGIN_SIZE]; /* "DIR/gpus.csv:3", or the file where it is the whole of it */
    char column[32];            /* "": of the line */
    char text[240], fix[200];
    bool is_warning; /* the table is read all the same */
};
struct wt_data_file {
    char path[WT_ORIGIN_SIZE];
    enum wt_data kind;
    bool is_known;         /* false: what it is cannot be told, and nothing of it was read */
    size_t rows, replaced; /* that were read; of those, in place of built-in ones */
};
struct wt_data_check {
    struct wt_data_file *files;
    size_t file_count;
    struct wt_data_problem *problems; /* the first thousand */
    size_t problem_count;
    size_t errors, warnings; /* all of them */
};
/* Every problem of each file, or of the tables of each folder. What a table is, its name says
 * (gpus.csv), or else its columns. Instances may name a GPU of the built-in table or of any file of
 * the same call. Errors: WT_E_NOTFOUND, WT_E_DENIED (of a path), WT_E_NOMEM; a bad file is none.
 * Threads: any thread. */
WT_API int wt_data_check(struct wt_data_check *ret_check, const char *const *paths, size_t count,
                         struct wt_error *err);
WT_API void wt_data_check_done(struct wt_data_check *check);
/* docs/json.md; owned: free(). NULL: no memory. */
WT_API char *wt_data_check_to_json(const struct wt_data_check *check);

#ifdef __cplusplus
}
#endif
#endif
