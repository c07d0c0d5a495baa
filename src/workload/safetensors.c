/* model.safetensors read and written. The JSON is jansson's; what it says is believed only after
 * check(). */
#include "workload/safetensors.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"

struct wt_safetensors {
    char *name;
    json_t *header; /* holds the tensors' names */
    struct wt_tensor *tensors;
    uint32_t *by_name; /* numbers of tensors, in the order of their names */
    size_t count;
    const unsigned char *values; /* behind the header */
    uint64_t values_size;
    void *map; /* NULL: not ours */
    size_t map_size;
    int fd; /* of the map, -1 */
};

/* The dtypes of the format, and how many bits each takes. */
static const struct {
    char name[12];
    unsigned bits;
    enum wt_tensor_type type;
} dtypes[] = {
    {"F32", 32, WT_TENSOR_F32},      {"F16", 16, WT_TENSOR_F16},
    {"BF16", 16, WT_TENSOR_BF16},    {"F64", 64, WT_TENSOR_OTHER},
    {"I64", 64, WT_TENSOR_OTHER},    {"I32", 32, WT_TENSOR_OTHER},
    {"I16", 16, WT_TENSOR_OTHER},    {"I8", 8, WT_TENSOR_OTHER},
    {"U64", 64, WT_TENSOR_OTHER},    {"U32", 32, WT_TENSOR_OTHER},
    {"U16", 16, WT_TENSOR_OTHER},    {"U8", 8, WT_TENSOR_OTHER},
    {"BOOL", 8, WT_TENSOR_OTHER},    {"F8_E4M3", 8, WT_TENSOR_OTHER},
    {"F8_E5M2", 8, WT_TENSOR_OTHER}, {"F8_E8M0", 8, WT_TENSOR_OTHER},
    {"C64", 64, WT_TENSOR_OTHER},
};

/* ---- values ---- */

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

float wt_float_from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t wt_bf16_from_float(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: rounding could make it infinite */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float wt_float_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f,
             fraction = bits & 0x3ffu;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) { /* 0 and subnormals: fraction * 2^-24, exact in a float */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t wt_f16_from_float(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
    if (size >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) { /* below 2^-14: subnormal, a multiple of 2^-24 */
        /* Adding 0.5 leaves 2^-24 as the unit in the last place, so the addition rounds. */
        return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - 0x3f000000));
    }
    size += 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | ((size - 0x38000000) >> 13));
}

/* ---- the header ---- */

static int complain(struct wt_error *err, const char *file, const char *tensor, const char *what)
{
    int rc = wt_fail(err, WT_E_FORMAT, "%s: tensor \"%.100s\": %s", file, tensor, what);
    wt_fix(err, "the file is damaged or was not written to its end; fetch or write it again");
    return rc;
}

/* A whole number from 0 on. */
static bool take_number(const json_t *value, uint64_t *ret)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

static int read_entry(const struct wt_safetensors *f, struct wt_tensor *t, const json_t *entry,
                      struct wt_error *err)
{
    const json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_object(entry))
        return complain(err, f->name, t->name, "is no JSON object");
    if (!json_is_string(dtype))
        return complain(err, f->name, t->name, "has no dtype");
    unsigned bits = 0;
    for (size_t i = 0; i < WT_COUNTOF(dtypes); i++)
        if (strcmp(dtypes[i].name, json_string_value(dtype)) == 0) {
            wt_text(t->dtype, sizeof(t->dtype), "%s", dtypes[i].name);
            t->type = dtypes[i].type;
            bits = dtypes[i].bits;
        }
    if (!bits)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: tensor \"%.100s\": dtype \"%.20s\" is none of the format's", f->name,
                       t->name, json_string_value(dtype));
    if (!json_is_array(shape))
        return complain(err, f->name, t->name, "has no shape");
    if (json_array_size(shape) > WT_TENSOR_RANK_MAX)
        return complain(err, f->name, t->name, "has more than 8 dimensions");
    t->rank = (unsigned)json_array_size(shape);
    t->elements = 1;
    for (unsigned i = 0; i < t->rank; i++)
        if (!take_number(json_array_get(shape, i), &t->shape[i]))
            return complain(err, f->name, t->name, "its shape holds something else than counts");
    for (unsigned i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->elements, t->shape[i], &t->elements))
            return complain(err, f->name, t->name, "its shape makes more than 2^64 values");
    uint64_t from, to, want;
    if (json_array_size(offsets) != 2 || !take_number(json_array_get(offsets, 0), &from) ||
        !take_number(json_array_get(offsets, 1), &to) || from > to)
        return complain(err, f->name, t->name, "data_offsets are not a beginning and an end");
    if (to > f->values_size) {
        int rc =
            wt_fail(err, WT_E_FORMAT,
                    "%s: tensor \"%.100s\" ends at byte %llu of %llu: the file is cut short",
                    f->name, t->name, (unsigned long long)to, (unsigned long long)f->values_size);
        wt_fix(err, "fetch or write it again");
        return rc;
    }
    t->at = from;
    t->bytes = to - from;
    if (__builtin_mul_overflow(t->elements, bits / 8, &want) || want != t->bytes)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: tensor \"%.100s\": %llu values of %s are not %llu bytes", f->name,
                       t->name, (unsigned long long)t->elements, t->dtype,
                       (unsigned long long)t->bytes);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct wt_tensor *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->bytes != y->bytes) /* what takes no bytes goes before what begins there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b, void *tensors)
{
    const struct wt_tensor *t = tensors;
    return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

/* Sorted by place: no overlap, no hole, nothing left over. */
static int check_places(const struct wt_safetensors *f, struct wt_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct wt_tensor *t = &f->tensors[i];
        if (t->at < at)
            return wt_fail(err, WT_E_FORMAT, "%s: tensors \"%.100s\" and \"%.100s\" overlap",
                           f->name, f->tensors[i - 1].name, t->name);
        if (t->at > at)
            return wt_fail(err, WT_E_FORMAT,
                           "%s: %llu bytes before tensor \"%.100s\" belong to none", f->name,
                           (unsigned long long)(t->at - at), t->name);
        at += t->bytes;
    }
    if (at != f->values_size)
        return wt_fail(err, WT_E_FORMAT, "%s: %llu bytes at the end belong to no tensor", f->name,
                       (unsigned long long)(f->values_size - at));
    return 0;
}

static int read_header(struct wt_safetensors *f, const unsigned char *data, size_t size,
                       struct wt_error *err)
{
    uint64_t length;
    if (size < sizeof(length))
        return wt_fail(err, WT_E_FORMAT, "%s: %zu bytes are too few for a safetensors file",
                       f->name, size);
    memcpy(&length, data, sizeof(length));
    length = le64toh(length);
    if (length > size - sizeof(length) || length > WT_TENSOR_HEADER_MAX) {
        int rc = wt_fail(err, WT_E_FORMAT, "%s: its header of %llu bytes %s", f->name,
                         (unsigned long long)length,
                         length > WT_TENSOR_HEADER_MAX ? "is longer than the 16 MiB that are read"
                                                       : "does not fit into the file");
        wt_fix(err, "give a model.safetensors that is whole; a .bin of PyTorch is not read");
        return rc;
    }
    f->values = data + sizeof(length) + length;
    f->values_size = size - sizeof(length) - length;
    json_error_t where;
    f->header = json_loadb((const char *)data + sizeof(length), (size_t)length,
                           JSON_REJECT_DUPLICATES, &where);
    if (!f->header)
        return wt_fail(err, WT_E_FORMAT, "%s: its header is no JSON: %.200s (byte %d)", f->name,
                       where.text, where.position);
    if (!json_is_object(f->header))
        return wt_fail(err, WT_E_FORMAT, "%s: its header is no JSON object", f->name);

    size_t most = json_object_size(f->header);
    f->tensors = calloc(most + 1, sizeof(*f->tensors));
    f->by_name = calloc(most + 1, sizeof(*f->by_name));
    if (!f->tensors || !f->by_name)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for %zu tensors", f->name, most);
    const char *name;
    json_t *entry;
    json_object_foreach(f->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct wt_tensor *t = &f->tensors[f->count];
        t->name = name;
        int rc = read_entry(f, t, entry, err);
        if (rc < 0)
            return rc;
        f->by_name[f->count] = (uint32_t)f->count;
        f->count++;
    }
    qsort(f->tensors, f->count, sizeof(*f->tensors), by_place);
    qsort_r(f->by_name, f->count, sizeof(*f->by_name), by_name, f->tensors);
    return check_places(f, err);
}

int wt_safetensors_parse(struct wt_safetensors **ret_file, const char *name, const void *data,
                         size_t size, struct wt_error *err)
{
    struct wt_safetensors *f = calloc(1, sizeof(*f));
    int rc = 0;
    if (f)
        f->fd = -1;
    if (!f || !(f->name = strdup(name))) {
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory to open it", name);
        goto out;
    }
    rc = read_header(f, data, size, err);
    if (rc < 0)
        goto out;
    *ret_file = f;
    f = NULL;
out:
    wt_safetensors_close(f);
    return rc;
}

int wt_safetensors_open(struct wt_safetensors **ret_file, const char *path, struct wt_error *err)
{
    struct stat st;
    void *map = MAP_FAILED;
    size_t size = 0;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < 8) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: %s", path,
                     S_ISREG(st.st_mode) ? "too short for a safetensors file"
                                         : "not a regular file");
        goto out;
    }
    size = (size_t)st.st_size;
    map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        rc = wt_fail_errno(err, errno, "mapping %s", path);
        goto out;
    }
    rc = wt_safetensors_parse(ret_file, path, map, size, err);
    if (rc < 0)
        goto out;
    (*ret_file)->map = map;
    (*ret_file)->map_size = size;
    (*ret_file)->fd = fd;
    return 0;
out:
    if (map != MAP_FAILED)
        munmap(map, size);
    if (fd >= 0)
        close(fd);
    return rc;
}

void wt_safetensors_close(struct wt_safetensors *f)
{
    if (!f)
        return;
    if (f->map)
        munmap(f->map, f->map_size);
    if (f->fd >= 0)
        close(f->fd);
    json_decref(f->header);
    free(f->tensors);
    free(f->by_name);
    free(f->name);
    free(f);
}

size_t wt_safetensors_count(const struct wt_safetensors *f)
{
    return f->count;
}

const struct wt_tensor *wt_safetensors_at(const struct wt_safetensors *f, size_t i)
{
    return i < f->count ? &f->tensors[i] : NULL;
}

const struct wt_tensor *wt_safetensors_find(const struct wt_safetensors *f, const char *name)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct wt_tensor *t = &f->tensors[f->by_name[middle]];
        int order = strcmp(t->name, name);
        if (order == 0)
            return t;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const char *shape_text(char *buf, size_t size, unsigned rank, const uint64_t *shape)
{
    size_t used = 0;
    wt_text(buf, size, "[");
    for (unsigned i = 0; i < rank; i++) {
        used = strlen(buf);
        wt_text(buf + used, size - used, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    }
    used = strlen(buf);
    wt_text(buf + used, size - used, "]");
    return buf;
}

int wt_safetensors_read(const struct wt_safetensors *f, const char *name, unsigned rank,
                        const uint64_t *shape, float *values, struct wt_error *err)
{
    const struct wt_tensor *t = wt_safetensors_find(f, name);
    if (!t)
        return wt_fail(err, WT_E_NOTFOUND, "%s: has no tensor \"%s\"", f->name, name);
    bool is_same = t->rank == rank;
    for (unsigned i = 0; is_same && i < rank; i++)
        is_same = t->shape[i] == shape[i];
    if (!is_same) {
        char has[128], want[128];
        return wt_fail(err, WT_E_FORMAT, "%s: tensor \"%s\" is %s, not %s", f->name, name,
                       shape_text(has, sizeof(has), t->rank, t->shape),
                       shape_text(want, sizeof(want), rank, shape));
    }
    if (t->type == WT_TENSOR_OTHER)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s: tensor \"%s\" is %s; F32, F16 and BF16 are read",
                       f->name, name, t->dtype);
    struct stat st;
    if (f->fd >= 0 && (fstat(f->fd, &st) < 0 || (uint64_t)st.st_size < f->map_size))
        return wt_fail(err, WT_E_FORMAT, "%s: has been cut short since it was opened", f->name);
    const unsigned char *at = f->values + t->at;
    for (uint64_t i = 0; i < t->elements; i++) {
        if (t->type == WT_TENSOR_F32) {
            uint32_t bits;
            memcpy(&bits, at + 4 * i, sizeof(bits));
            values[i] = float_of(le32toh(bits));
        } else {
            uint16_t bits;
            memcpy(&bits, at + 2 * i, sizeof(bits));
            bits = le16toh(bits);
            values[i] =
                t->type == WT_TENSOR_F16 ? wt_float_from_f16(bits) : wt_float_from_bf16(bits);
        }
    }
    return 0;
}

/* ---- writing ---- */

static int by_width_and_name(const void *a, const void *b)
{
    const struct wt_tensor_source *x = *(const struct wt_tensor_source *const *)a,
                                  *y = *(const struct wt_tensor_source *const *)b;
    bool is_wide = x->type == WT_TENSOR_F32, is_other_wide = y->type == WT_TENSOR_F32;
    if (is_wide != is_other_wide)
        return is_wide ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Where each of them goes, as JSON; NULL and the story when one cannot be. */
static json_t *make_header(const char *path, const struct wt_tensor_source *const *order,
                           size_t count, uint64_t *elements, struct wt_error *err)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    json_t *header = json_object();
    uint64_t at = 0;
    int failed = !header;
    failed |= json_object_set_new(header, "__metadata__", json_pack("{ss}", "format", "pt"));
    for (size_t i = 0; i < count && !failed; i++) {
        const struct wt_tensor_source *s = order[i];
        uint64_t bytes;
        elements[i] = 1;
        bool is_fine = s->type != WT_TENSOR_OTHER && s->rank <= WT_TENSOR_RANK_MAX;
        json_t *shape = json_array();
        for (unsigned k = 0; k < s->rank && is_fine; k++) {
            is_fine = s->shape[k] <= INT64_MAX &&
                      !__builtin_mul_overflow(elements[i], s->shape[k], &elements[i]);
            failed |= json_array_append_new(shape, json_integer((json_int_t)s->shape[k]));
        }
        is_fine = is_fine &&
                  !__builtin_mul_overflow(elements[i], s->type == WT_TENSOR_F32 ? 4 : 2, &bytes) &&
                  bytes <= INT64_MAX - at;
        if (!is_fine || !*s->name || strcmp(s->name, "__metadata__") == 0 ||
            json_object_get(header, s->name)) {
            wt_fail(err, WT_E_USAGE, "%s: tensor \"%s\" %s", path, s->name,
                    is_fine ? "has a name that is taken or cannot be"
                            : "has no shape or dtype that can be written");
            json_decref(shape);
            json_decref(header);
            return NULL;
        }
        json_int_t from = (json_int_t)at;
        at += bytes;
        json_int_t to = (json_int_t)at;
        failed |= json_object_set_new(header, s->name,
                                      json_pack("{ss so s[II]}", "dtype", names[s->type], "shape",
                                                shape, "data_offsets", from, to));
    }
    if (failed) {
        json_decref(header);
        wt_fail(err, WT_E_USAGE, "%s: a name that is not UTF-8, or no memory for the header", path);
        return NULL;
    }
    return header;
}

static void write_values(FILE *file, const struct wt_tensor_source *s, uint64_t elements)
{
    unsigned char piece[16384];
    size_t width = s->type == WT_TENSOR_F32 ? 4 : 2;
    for (uint64_t i = 0; i < elements && !ferror(file);) {
        size_t n = 0;
        for (; i < elements && n < sizeof(piece); i++, n += width) {
            if (width == 4) {
                uint32_t bits = htole32(bits_of(s->values[i]));
                memcpy(piece + n, &bits, sizeof(bits));
            } else {
                uint16_t bits =
                    htole16(s->type == WT_TENSOR_F16 ? wt_f16_from_float(s->values[i])
                                                     : wt_bf16_from_float(s->values[i]));
                memcpy(piece + n, &bits, sizeof(bits));
            }
        }
        fwrite(piece, 1, n, file);
    }
}

int wt_safetensors_write(const char *path, const struct wt_tensor_source *tensors, size_t count,
                         struct wt_error *err)
{
    const struct wt_tensor_source **order = calloc(count + 1, sizeof(*order));
    uint64_t *elements = calloc(count + 1, sizeof(*elements));
    json_t *header = NULL;
    char *text = NULL;
    struct wt_file_draft draft = {0};
    int rc = 0;
    if (!order || !elements) {
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for %zu tensors", path, count);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        order[i] = &tensors[i];
    qsort(order, count, sizeof(*order), by_width_and_name);
    struct wt_error story = {0};
    header = make_header(path, order, count, elements, &story);
    if (!header) {
        if (err)
            *err = story;
        rc = story.code;
        goto out;
    }
    text = json_dumps(header, JSON_COMPACT);
    if (!text) {
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for the header", path);
        goto out;
    }
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    if (padded > WT_TENSOR_HEADER_MAX) {
        rc = wt_fail(err, WT_E_USAGE, "%s: %zu tensors make a header of %zu bytes", path, count,
                     padded);
        goto out;
    }
    rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        goto out;
    uint64_t stored = htole64(padded);
    fwrite(&stored, sizeof(stored), 1, draft.file);
    fprintf(draft.file, "%s%*s", text, (int)(padded - length), "");
    for (size_t i = 0; i < count; i++)
        write_values(draft.file, order[i], elements[i]);
    rc = wt_file_commit(&draft, err);
out:
    wt_file_drop(&draft);
    free(text);
    json_decref(header);
    free(elements);
    free(order);
    return rc;
}
