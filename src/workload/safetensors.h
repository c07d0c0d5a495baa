/* model.safetensors: named tensors in one file. Eight bytes of length, a JSON header, then the
 * values, little-endian, one after the other without holes.
 *
 * A file is mapped when it is opened, and all that its header says is checked before any of it is
 * used: every tensor lies inside the file, is as long as its shape and dtype make it, overlaps no
 * other, and nothing is left over. Values become float when they are read. A tensor need not be
 * aligned.
 *
 * Format: the safetensors README of Hugging Face. Internal to the workload. Threads: constant once
 * open; any thread. */
#ifndef WT_WORKLOAD_SAFETENSORS_H
#define WT_WORKLOAD_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

#define WT_TENSOR_RANK_MAX   8
#define WT_TENSOR_HEADER_MAX (16u << 20) /* bytes; a tensor takes some 100 of them */

enum wt_tensor_type {
    WT_TENSOR_F32,
    WT_TENSOR_F16,
    WT_TENSOR_BF16,
    WT_TENSOR_OTHER, /* a dtype of the format that is not read: its place is checked all the same */
};

struct wt_tensor {
    const char *name; /* borrowed until close */
    enum wt_tensor_type type;
    char dtype[12]; /* as the file has it */
    unsigned rank;
    uint64_t shape[WT_TENSOR_RANK_MAX];
    uint64_t elements;
    uint64_t at, bytes; /* behind the header */
};

struct wt_safetensors;

/* Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_FORMAT (names the file and the tensor), WT_E_NOMEM. */
int wt_safetensors_open(struct wt_safetensors **ret_file, const char *path, struct wt_error *err);
/* The same of bytes in memory, borrowed until close. name is for messages. */
int wt_safetensors_parse(struct wt_safetensors **ret_file, const char *name, const void *data,
                         size_t size, struct wt_error *err);
void wt_safetensors_close(struct wt_safetensors *file);

size_t wt_safetensors_count(const struct wt_safetensors *file);
/* In the order in which they lie in the file; NULL past the end. Borrowed until close. */
const struct wt_tensor *wt_safetensors_at(const struct wt_safetensors *file, size_t i);
/* NULL: there is none of that name. */
const struct wt_tensor *wt_safetensors_find(const struct wt_safetensors *file, const char *name);

/* Reads a tensor that must have this shape into values (the product of the shape of them). Other
 * programs replace such files and do not write into them; one that is cut short while it is open is
 * found at the next read, but not during one.
 * Errors: WT_E_NOTFOUND, WT_E_FORMAT (another shape: says both; cut short), WT_E_UNSUPPORTED (a
 * dtype other than F32, F16, BF16). */
int wt_safetensors_read(const struct wt_safetensors *file, const char *name, unsigned rank,
                        const uint64_t *shape, float *values, struct wt_error *err);

/* A tensor to write; type is that of the file. Everything borrowed. */
struct wt_tensor_source {
    const char *name;
    enum wt_tensor_type type;
    unsigned rank;
    uint64_t shape[WT_TENSOR_RANK_MAX];
    const float *values;
};
/* Replaces the file at once or not at all: four-byte tensors first, then by name, which keeps each
 * aligned. Rounds to the nearest, ties to even; what a dtype cannot hold becomes infinite.
 * Errors: WT_E_USAGE (no or a doubled name, a dtype or shape that cannot be), WT_E_NOMEM, and those
 * of the system (WT_E_FULL, WT_E_DENIED, ...). */
int wt_safetensors_write(const char *path, const struct wt_tensor_source *tensors, size_t count,
                         struct wt_error *err);

/* One value each, for tests too. */
float wt_float_from_f16(uint16_t bits);
float wt_float_from_bf16(uint16_t bits);
uint16_t wt_f16_from_float(float value);
uint16_t wt_bf16_from_float(float value);

#endif
