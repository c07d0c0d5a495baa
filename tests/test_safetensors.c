/* safetensors: what is written is read again, bit for bit; a header that lies is found out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/random.h"
#include "workload/safetensors.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    wt_text(folder, sizeof(folder), "/tmp/wt-safetensors-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return wt_fs_remove_tree(folder, NULL);
}

static const char *in_folder(char *buf, size_t size, const char *name)
{
    return wt_text(buf, size, "%s/%s", folder, name);
}

/* A file of a header and so many bytes of values, in memory. */
static size_t make_file(unsigned char *buf, const char *header, size_t values)
{
    size_t length = strlen(header);
    for (size_t i = 0; i < 8; i++)
        buf[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(buf + 8, header, length);
    for (size_t i = 0; i < values; i++)
        buf[8 + length + i] = (unsigned char)i;
    return 8 + length + values;
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    char path[128];
    in_folder(path, sizeof(path), "model.safetensors");
    float a[6] = {0, -0.0f, 1.5f, -FLT_MAX, FLT_TRUE_MIN, INFINITY}, b[3] = {1, -2, 0.099975586f},
          c[3] = {1, -2, 0.099609375f}, d[1] = {7}, got[8];
    struct wt_tensor_source s[] = {
        {"z.bf16", WT_TENSOR_BF16, 1, {3}, c},      {"b.f16", WT_TENSOR_F16, 2, {3, 1}, b},
        {"a", WT_TENSOR_F32, 3, {1, 2, 3}, a},      {"scalar", WT_TENSOR_F32, 0, {0}, d},
        {"none", WT_TENSOR_F32, 2, {4, 0}, d}, /* shapes may hold a 0 */
        {"\xc3\xa9\"\\", WT_TENSOR_F32, 1, {1}, d},
    };
    struct wt_error err = {0};
    assert_int_equal(wt_safetensors_write(path, s, WT_COUNTOF(s), &err), 0);
    struct wt_safetensors *f = NULL;
    assert_int_equal(wt_safetensors_open(&f, path, &err), 0);
    assert_int_equal(wt_safetensors_count(f), WT_COUNTOF(s));
    for (size_t i = 0; i < WT_COUNTOF(s); i++) {
        const struct wt_tensor *t = wt_safetensors_find(f, s[i].name);
        assert_non_null(t);
        assert_int_equal(t->type, s[i].type);
        memset(got, 0xff, sizeof(got));
        assert_int_equal(wt_safetensors_read(f, s[i].name, s[i].rank, s[i].shape, got, &err), 0);
        assert_memory_equal(got, s[i].values, (size_t)t->elements * sizeof(float));
    }
    assert_null(wt_safetensors_find(f, "b"));
    assert_null(wt_safetensors_at(f, WT_COUNTOF(s)));
    /* Four bytes first, so that all are aligned; the values begin at a multiple of 8. */
    for (size_t i = 0; i < WT_COUNTOF(s); i++) {
        const struct wt_tensor *t = wt_safetensors_at(f, i);
        assert_int_equal(t->at % (t->type == WT_TENSOR_F32 ? 4 : 2), 0);
    }
    wt_safetensors_close(f);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal((st.st_size - 44) % 8, 0); /* 44: all the values */
}

static void a_tensor_of_another_shape_or_dtype_is_refused_by_name(void **state)
{
    (void)state;
    unsigned char buf[512];
    size_t size = make_file(buf,
                            "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                            "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]}}",
                            16);
    struct wt_safetensors *f = NULL;
    struct wt_error err = {0};
    float got[2];
    assert_int_equal(wt_safetensors_parse(&f, "M", buf, size, &err), 0);
    assert_int_equal(wt_safetensors_read(f, "w", 2, (uint64_t[]){1, 2}, got, &err), WT_E_FORMAT);
    assert_string_equal(err.text, "M: tensor \"w\" is [2, 1], not [1, 2]");
    assert_int_equal(wt_safetensors_read(f, "w", 1, (uint64_t[]){2}, got, &err), WT_E_FORMAT);
    assert_int_equal(wt_safetensors_read(f, "ids", 1, (uint64_t[]){1}, got, &err),
                     WT_E_UNSUPPORTED);
    assert_string_equal(err.text, "M: tensor \"ids\" is I64; F32, F16 and BF16 are read");
    assert_int_equal(wt_safetensors_read(f, "v", 1, (uint64_t[]){1}, got, &err), WT_E_NOTFOUND);
    wt_safetensors_close(f);
}

/* As older writers left them: a header that is not padded. */
static void values_that_are_not_aligned_are_read(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
        "\"b\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
        "\"b\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}} ",
        "{ \"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
        "\"b\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}} ",
    };
    for (size_t i = 0; i < WT_COUNTOF(headers); i++) {
        unsigned char buf[512];
        size_t size = make_file(buf, headers[i], 9);
        struct wt_safetensors *f = NULL;
        float got[2];
        assert_int_equal(wt_safetensors_parse(&f, "M", buf, size, NULL), 0);
        assert_int_equal(wt_safetensors_read(f, "w", 1, (uint64_t[]){2}, got, NULL), 0);
        assert_memory_equal(got, ((unsigned char[]){1, 2, 3, 4, 5, 6, 7, 8}), 8);
        wt_safetensors_close(f);
    }
}

#define T(offsets) "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}}"

static void a_header_that_lies_is_found_out(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t values;
        const char *want; /* NULL: it is fine */
    } rows[] = {
        {"{}", 0, NULL},
        {"{\"__metadata__\":{\"format\":\"pt\"}}", 0, NULL},
        {T("[0,8]"), 8, NULL},
        {"", 0, "header is no JSON"},
        {"{", 0, "header is no JSON"},
        {"[]", 0, "no JSON object"},
        {"{\"w\":1}", 0, "\"w\": is no JSON object"},
        {"{\"w\":{}}", 0, "\"w\": has no dtype"},
        {"{\"w\":{\"dtype\":\"Q4\"}}", 0, "dtype \"Q4\" is none of the format's"},
        {"{\"w\":{\"dtype\":\"F32\"}}", 0, "\"w\": has no shape"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1]}}", 0, "more than 8 dimensions"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[-1]}}", 0, "something else than counts"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1.5]}}", 0, "something else than counts"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[\"2\"]}}", 0, "something else than counts"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,3]}}", 0, "more than 2^64"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999]}}", 0, "no JSON"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
        {T("[0]"), 8, "data_offsets"},
        {T("[0,8,16]"), 16, "data_offsets"},
        {T("[8,0]"), 8, "data_offsets"},
        {T("[-8,0]"), 8, "data_offsets"},
        {T("[0,8]"), 7, "ends at byte 8 of 7: the file is cut short"},
        {T("[0,9223372036854775807]"), 8, "cut short"},
        {T("[0,4]"), 4, "2 values of F32 are not 4 bytes"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4,
         "are not 4 bytes"}, /* times 4 is 4 in 64 bits */
        {T("[4,12]"), 12, "4 bytes before tensor \"w\" belong to none"},
        {T("[0,8]"), 9, "1 bytes at the end belong to no tensor"},
        {"{}", 1, "1 bytes at the end"},
        {"{\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "\"v\" and \"w\" overlap"},
        {"{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"w\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[4,10]}}",
         10, "\"v\" and \"w\" overlap"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "duplicate object key"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        unsigned char buf[512];
        size_t size = make_file(buf, rows[i].header, rows[i].values);
        struct wt_safetensors *f = NULL;
        struct wt_error err = {0};
        int rc = wt_safetensors_parse(&f, "M", buf, size, &err);
        if ((rc == 0) != !rows[i].want || (rows[i].want && !strstr(err.text, rows[i].want)))
            print_error("%s: \"%s\"\n", rows[i].header, err.text);
        assert_int_equal(rc, rows[i].want ? WT_E_FORMAT : 0);
        if (rows[i].want) {
            assert_non_null(strstr(err.text, rows[i].want));
            assert_int_equal(strncmp(err.text, "M: ", 3), 0);
            assert_null(f);
        }
        wt_safetensors_close(f);
    }
}

static void a_length_that_cannot_be_is_not_believed(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        size_t size;
        const char *want;
    } rows[] = {
        {2, 9, "does not fit"},
        {UINT64_MAX, 64, "longer than"},
        {UINT64_MAX - 7, 64, "longer than"},
        {INT64_MAX, 64, "longer than"},
        {(16u << 20) + 1, 64, "longer than"},
        {57, 64, "does not fit"},
        {0, 8, "no JSON"},
        {0, 7, "too few"},
        {0, 0, "too few"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        unsigned char buf[64] = {0};
        for (size_t k = 0; k < 8; k++)
            buf[k] = (unsigned char)(rows[i].length >> 8 * k);
        struct wt_safetensors *f = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_safetensors_parse(&f, "M", buf, rows[i].size, &err), WT_E_FORMAT);
        assert_non_null(strstr(err.text, rows[i].want));
    }
}

/* Every beginning of a good file, on disk as well, and every byte of it changed. */
static void a_file_cut_or_damaged_anywhere_is_refused_or_read_but_never_more(void **state)
{
    (void)state;
    unsigned char buf[512], changed[512];
    size_t size = make_file(buf,
                            "{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                            "\"w\":{\"dtype\":\"F16\",\"shape\":[1,3],\"data_offsets\":[8,14]}}",
                            14);
    char path[128];
    in_folder(path, sizeof(path), "cut");
    for (size_t cut = 0; cut < size; cut++) {
        struct wt_safetensors *f = NULL;
        struct wt_error err = {0};
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fwrite(buf, 1, cut, out);
        fclose(out);
        assert_int_equal(wt_safetensors_open(&f, path, &err), WT_E_FORMAT);
        assert_non_null(strstr(err.text, path));
    }
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(changed, buf, size);
            changed[i] ^= (unsigned char)(1 << bit);
            struct wt_safetensors *f = NULL;
            if (wt_safetensors_parse(&f, "M", changed, size, NULL) == 0) {
                float got[8];
                const struct wt_tensor *t;
                for (size_t k = 0; (t = wt_safetensors_at(f, k)); k++) {
                    assert_true(t->elements <= 8);
                    wt_safetensors_read(f, t->name, t->rank, t->shape, got, NULL);
                }
            }
            wt_safetensors_close(f);
        }
}

static void what_is_no_file_says_so(void **state)
{
    (void)state;
    struct wt_safetensors *f = NULL;
    struct wt_error err = {0};
    char path[128];
    assert_int_equal(wt_safetensors_open(&f, in_folder(path, sizeof(path), "nothing-here"), &err),
                     WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(wt_safetensors_open(&f, folder, &err), WT_E_FORMAT);
    assert_null(f);
}

static void a_file_cut_short_while_open_is_found_at_the_next_read(void **state)
{
    (void)state;
    char path[128];
    in_folder(path, sizeof(path), "shrinks");
    float values[4] = {1, 2, 3, 4};
    struct wt_tensor_source s = {"w", WT_TENSOR_F32, 1, {4}, values};
    struct wt_error err = {0};
    assert_int_equal(wt_safetensors_write(path, &s, 1, &err), 0);
    struct wt_safetensors *f = NULL;
    assert_int_equal(wt_safetensors_open(&f, path, &err), 0);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(wt_safetensors_read(f, "w", 1, (uint64_t[]){4}, values, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "cut short"));
    wt_safetensors_close(f);
}

static size_t files_in_folder(void)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void a_write_that_fails_leaves_the_old_file_and_nothing_else(void **state)
{
    (void)state;
    char path[128], got[16] = "";
    in_folder(path, sizeof(path), "old");
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs("old", out);
    fclose(out);
    size_t before = files_in_folder();
    float v[2] = {0};
    const struct {
        struct wt_tensor_source s[2];
        const char *want;
    } rows[] = {
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"w", WT_TENSOR_F16, 1, {1}, v}}, "\"w\" has a name"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"", WT_TENSOR_F16, 1, {1}, v}}, "has a name"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"__metadata__", WT_TENSOR_F16, 1, {1}, v}}, "name"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"v", WT_TENSOR_OTHER, 1, {1}, v}}, "dtype"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"v", WT_TENSOR_F32, 9, {1}, v}}, "shape"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"v", WT_TENSOR_F32, 2, {1ull << 40, 1ull << 40}, v}},
         "shape"},
        {{{"w", WT_TENSOR_F32, 1, {1}, v}, {"\xff", WT_TENSOR_F32, 1, {1}, v}}, "UTF-8"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        assert_int_equal(wt_safetensors_write(path, rows[i].s, 2, &err), WT_E_USAGE);
        assert_non_null(strstr(err.text, rows[i].want));
        assert_non_null(strstr(err.text, path));
    }
    struct wt_error err = {0};
    char nowhere[160];
    wt_text(nowhere, sizeof(nowhere), "%s/none/model.safetensors", folder);
    assert_int_equal(wt_safetensors_write(nowhere, rows[0].s, 1, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, nowhere));
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_int_equal(fread(got, 1, sizeof(got), in), 3);
    fclose(in);
    assert_memory_equal(got, "old", 3);
    assert_int_equal(files_in_folder(), before);
}

/* As on a full disk: the system takes no more than 64 KiB. */
static void a_write_that_finds_no_room_leaves_the_old_file(void **state)
{
    (void)state;
    char path[128];
    static float values[100000] = {1};
    in_folder(path, sizeof(path), "no-room");
    struct wt_tensor_source s = {"w", WT_TENSOR_F32, 1, {7}, values};
    assert_int_equal(wt_safetensors_write(path, &s, 1, NULL), 0);
    size_t before = files_in_folder();
    struct rlimit was, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct wt_error err = {0};
    s.shape[0] = 100000;
    int rc = wt_safetensors_write(path, &s, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_true(rc < 0);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(files_in_folder(), before);
    struct wt_safetensors *f = NULL;
    assert_int_equal(wt_safetensors_open(&f, path, &err), 0);
    assert_int_equal(wt_safetensors_at(f, 0)->elements, 7);
    wt_safetensors_close(f);
}

/* Against arithmetic in double: every half is exact, and rounding picks the nearest, ties to even.
 */
static void halves_round_to_the_nearest(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x10000; i++) {
        uint16_t h = (uint16_t)i;
        float f = wt_float_from_f16(h), b = wt_float_from_bf16(h);
        if (isnan(f))
            assert_true(isnan(wt_float_from_f16(wt_f16_from_float(f))));
        else
            assert_int_equal(wt_f16_from_float(f), h);
        if (isnan(b))
            assert_true(isnan(wt_float_from_bf16(wt_bf16_from_float(b))));
        else
            assert_int_equal(wt_bf16_from_float(b), h);
        unsigned exponent = i >> 10 & 31, fraction = i & 1023;
        if (exponent < 31) {
            double want =
                exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);
            assert_true((double)f == (i & 0x8000 ? -want : want));
        }
        /* Halfway to the next one and just beside it. */
        if (i + 1 < 0x7c00) {
            float next = wt_float_from_f16((uint16_t)(i + 1)), middle = (f + next) / 2;
            assert_int_equal(wt_f16_from_float(middle), i + (i & 1));
            assert_int_equal(wt_f16_from_float(nextafterf(middle, 0)), i);
            assert_int_equal(wt_f16_from_float(nextafterf(middle, INFINITY)), i + 1);
        }
        if (i + 1 < 0x7f80) {
            uint32_t bits = i << 16 | 0x8000;
            float middle;
            memcpy(&middle, &bits, sizeof(middle));
            assert_int_equal(wt_bf16_from_float(middle), i + (i & 1));
            assert_int_equal(wt_bf16_from_float(nextafterf(middle, 0)), i);
            assert_int_equal(wt_bf16_from_float(nextafterf(middle, INFINITY)), i + 1);
        }
    }
    static const struct {
        float value;
        uint16_t f16, bf16;
    } rows[] = {
        {65504, 0x7bff, 0x4780},    {65519.996f, 0x7bff, 0x4780}, {65520, 0x7c00, 0x4780},
        {FLT_MAX, 0x7c00, 0x7f80},  {-FLT_MAX, 0xfc00, 0xff80},   {0x1p-25f, 0, 0x3300},
        {0x1.8p-25f, 1, 0x3340},    {-0.0f, 0x8000, 0x8000},      {FLT_TRUE_MIN, 0, 0},
        {INFINITY, 0x7c00, 0x7f80}, {1, 0x3c00, 0x3f80},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        assert_int_equal(wt_f16_from_float(rows[i].value), rows[i].f16);
        assert_int_equal(wt_bf16_from_float(rows[i].value), rows[i].bf16);
    }
}

static void many_tensors_are_found_by_name_and_come_in_order(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static struct wt_tensor_source s[COUNT];
    static char names[COUNT][24];
    static float values[COUNT];
    char path[128];
    in_folder(path, sizeof(path), "many");
    for (size_t i = 0; i < COUNT; i++) {
        wt_text(names[i], sizeof(names[i]), "layer.%zu.w", (i * 7919) % COUNT);
        values[i] = (float)i;
        s[i] = (struct wt_tensor_source){
            names[i], i % 3 ? WT_TENSOR_F32 : WT_TENSOR_F16, 1, {1}, &values[i]};
    }
    struct wt_safetensors *f = NULL;
    assert_int_equal(wt_safetensors_write(path, s, COUNT, NULL), 0);
    assert_int_equal(wt_safetensors_open(&f, path, NULL), 0);
    for (size_t i = 0; i < COUNT; i++) {
        float got = -1;
        assert_int_equal(wt_safetensors_read(f, names[i], 1, (uint64_t[]){1}, &got, NULL), 0);
        assert_true(got == values[i]);
        if (i > 0)
            assert_true(wt_safetensors_at(f, i)->at > wt_safetensors_at(f, i - 1)->at);
    }
    wt_safetensors_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(a_tensor_of_another_shape_or_dtype_is_refused_by_name),
        cmocka_unit_test(values_that_are_not_aligned_are_read),
        cmocka_unit_test(a_header_that_lies_is_found_out),
        cmocka_unit_test(a_length_that_cannot_be_is_not_believed),
        cmocka_unit_test(a_file_cut_or_damaged_anywhere_is_refused_or_read_but_never_more),
        cmocka_unit_test(what_is_no_file_says_so),
        cmocka_unit_test(a_file_cut_short_while_open_is_found_at_the_next_read),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file_and_nothing_else),
        cmocka_unit_test(a_write_that_finds_no_room_leaves_the_old_file),
        cmocka_unit_test(halves_round_to_the_nearest),
        cmocka_unit_test(many_tensors_are_found_by_name_and_come_in_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
