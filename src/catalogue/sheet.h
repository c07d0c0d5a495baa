/* sheet: a CSV of the catalogue, read by the names of its columns, and what is wrong with one.
 *
 * Internal to the library. */
#ifndef WT_CATALOGUE_SHEET_H
#define WT_CATALOGUE_SHEET_H

#include "base/base.h"
#include "wattune/catalogue.h"

/* The tables of data/, compiled in by report/embed.c. Each ends with NUL. */
extern const char wt_asset_cpus[];          /* data/cpus.csv, MIT licence (CodeCarbon) */
extern const char wt_asset_cpu_families[];  /* data/cpu-families.csv */
extern const char wt_asset_cpu_platforms[]; /* data/cpu-platforms.csv */
extern const char wt_asset_gpus[];          /* data/gpus.csv */
extern const char wt_asset_instances[];     /* data/instances.csv */
extern const char wt_asset_pue[];           /* data/pue.csv */
extern const char wt_asset_regions[];       /* data/regions.csv, MIT licence (CodeCarbon) */

#define WT_SHEET_BYTES (4u << 20)
enum { WT_FIELDS_MAX = 26 };

/* ---- what a table is made of: schema.c ---- */

enum wt_field_type {
    WT_FIELD_ID,   /* no blanks, and by what a row is found */
    WT_FIELD_TEXT, /* any */
    WT_FIELD_SOURCE,
    WT_FIELD_NUMBER,
    WT_FIELD_COUNT,   /* a whole number */
    WT_FIELD_DATE,    /* 2025, 2025-06 or 2025-06-30 */
    WT_FIELD_COUNTRY, /* three capitals */
    WT_FIELD_GPU      /* the id of one */
};
struct wt_field {
    const char *name;
    enum wt_field_type type;
    int source;       /* column that says whose it is; -1: none */
    double low, high; /* of a number */
    size_t longest;   /* of a text, in bytes; 0: as a source */
};
struct wt_schema {
    const char *name; /* "gpus" */
    const char *text; /* the built-in table */
    const struct wt_field *fields;
    size_t count;
    size_t key, title; /* columns: the id; a name for people */
    bool is_case_kept; /* two keys that differ in case are two */
};
extern const struct wt_schema wt_schemas[WT_DATA_KINDS];

/* Columns by their place in the schema: the order of the built-in table. */
enum {
    WT_GPU_NAME,
    WT_GPU_TDP,
    WT_GPU_TDP_SOURCE,
    WT_GPU_IDLE,
    WT_GPU_IDLE_SOURCE,
    WT_GPU_ID,
    WT_GPU_MEMORY,
    WT_GPU_ARCH,
    WT_GPU_MEM_GB,
    WT_GPU_MEM_GB_SOURCE,
    WT_GPU_MEM_GB_S,
    WT_GPU_MEM_GB_S_SOURCE,
    WT_GPU_LIMIT_MIN,
    WT_GPU_LIMIT_MAX,
    WT_GPU_LIMIT_SOURCE,
    WT_GPU_CLOCK_BASE,
    WT_GPU_CLOCK_MAX,
    WT_GPU_CLOCK_SOURCE,
    WT_GPU_FP32,
    WT_GPU_TF32,
    WT_GPU_BF16,
    WT_GPU_TFLOP_SOURCE,
    WT_GPU_PROFILE,
    WT_GPU_MEM_TARGET,
    WT_GPU_MEM_TARGET_SOURCE
};
enum {
    WT_REGION_ID,
    WT_REGION_NAME,
    WT_REGION_COUNTRY,
    WT_REGION_CARBON,
    WT_REGION_YEAR,
    WT_REGION_SOURCE
};
enum {
    WT_INSTANCE_ID,
    WT_INSTANCE_GPU,
    WT_INSTANCE_GPU_SOURCE,
    WT_INSTANCE_GPUS,
    WT_INSTANCE_GPUS_SOURCE,
    WT_INSTANCE_VCPUS,
    WT_INSTANCE_VCPUS_SOURCE,
    WT_INSTANCE_MEMORY,
    WT_INSTANCE_MEMORY_SOURCE
};
enum { WT_PUE_ID, WT_PUE_NAME, WT_PUE_PUE, WT_PUE_YEAR, WT_PUE_SOURCE };
enum {
    WT_CPU_NAME,
    WT_CPU_TDP,
    WT_CPU_TDP_SOURCE,
    WT_CPU_THREADS,
    WT_CPU_THREADS_SOURCE,
    WT_CPU_FAMILY,
    WT_CPU_FAMILY_SOURCE
};

/* A source's word at length ("k": general knowledge ...); of any other text itself. Never NULL. */
const char *wt_source_words(const char *word);

/* ---- a table that was read ---- */

struct wt_sheet {
    enum wt_data kind;
    char *path;         /* owned; NULL: built in */
    char *text;         /* owned; cut into the cells */
    const char **cells; /* rows times the schema's columns; "" where a file has none */
    unsigned *lines;
    size_t count, room;
};

/* What a reader tells of; NULL where nobody listens. */
struct wt_problems {
    struct wt_data_problem *list; /* the first WT_PROBLEMS_MAX */
    size_t count, errors, warnings;
    bool has_no_memory;
};
enum { WT_PROBLEMS_MAX = 1000 };

/* Reads a table from text, which it takes over; path: of the file, NULL: built in. What is wrong
 * goes to problems and is passed over; rows without a key are left out. Errors: WT_E_NOMEM. */
int wt_sheet_read(struct wt_sheet *ret_sheet, enum wt_data kind, char *text, size_t size,
                  const char *path, struct wt_problems *problems, struct wt_error *err);
void wt_sheet_done(struct wt_sheet *sheet);
const char *wt_sheet_cell(const struct wt_sheet *sheet, size_t row, size_t column);
/* NaN: empty, or no number. */
double wt_sheet_number(const struct wt_sheet *sheet, size_t row, size_t column);
/* "DIR/gpus.csv:3", "" of a built-in row. Of a path that is too long its end. Returns buf. */
char *wt_sheet_origin(const struct wt_sheet *sheet, size_t row, char *buf, size_t size);
/* Whether two ids are the same of this table. */
bool wt_same_key(enum wt_data kind, const char *a, const char *b);
/* The kind whose columns a header has; false: none, or it may be of several. */
bool wt_sheet_guess(const char *text, enum wt_data *ret_kind);

/* What rows say of each other and of other rows: twice the same id, limits the wrong way round. */
void wt_sheet_check(const struct wt_sheet *sheet, struct wt_problems *problems);
/* column -1: of the whole row; line 0: of the file. */
void wt_problem_add(struct wt_problems *problems, const struct wt_sheet *sheet, unsigned line,
                    int column, bool is_warning, const char *fix, const char *fmt, ...)
    WT_PRINTF(7, 8);
/* GPUs that instances name and nobody has. */
struct wt_gpu_ids {
    const struct wt_sheet *const *sheets; /* of GPUs */
    size_t count;
};
void wt_sheet_check_gpus(const struct wt_sheet *sheet, const struct wt_gpu_ids *ids,
                         struct wt_problems *problems);

/* ---- the catalogue ---- */

struct wt_entry {
    const struct wt_sheet *sheet;
    size_t row;
    bool is_replacing; /* a built-in row */
};
struct wt_catalogue {
    char *folder; /* owned; NULL: none */
    struct wt_sheet built_in[WT_DATA_KINDS], own[WT_DATA_KINDS];
    struct wt_entry *entries[WT_DATA_KINDS];
    size_t counts[WT_DATA_KINDS];
};
/* The entries of a table; of processors read for this call, and *ret_read to be passed to
 * wt_catalogue_close(). Errors: as wt_catalogue_open(). */
int wt_catalogue_rows(const struct wt_catalogue *catalogue, enum wt_data kind,
                      struct wt_catalogue **ret_read, const struct wt_entry **ret_entries,
                      size_t *ret_count, struct wt_error *err);
/* Whether a row's id or name is like the pattern, or holds it. */
bool wt_entry_matches(const struct wt_entry *entry, const char *pattern);

#endif
