/* fuzz: the reader of model.safetensors. What it takes must hold what it says: each tensor is read
 * in whole, its values lie inside the input, and together they are all of it behind the header. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_safetensors *file = NULL;
    struct wt_error err;
    if (wt_safetensors_parse(&file, "f", data, size, &err) < 0)
        return err.code == WT_E_FORMAT && strncmp(err.text, "f: ", 3) == 0 ? 0 : (abort(), 0);
    uint64_t bytes = 0;
    const struct wt_tensor *t;
    for (size_t i = 0; (t = wt_safetensors_at(file, i)); i++) {
        if (wt_safetensors_find(file, t->name) != t || t->elements > size)
            abort();
        bytes += t->bytes;
        float *values = malloc((size_t)t->elements * sizeof(*values) + 1);
        if (!values)
            continue;
        int rc = wt_safetensors_read(file, t->name, t->rank, t->shape, values, NULL);
        if (rc != (t->type == WT_TENSOR_OTHER ? WT_E_UNSUPPORTED : 0))
            abort();
        free(values);
    }
    if (bytes > size)
        abort();
    wt_safetensors_close(file);
    return 0;
}
