/* fuzz: the readers of config.json. What the models' takes must be written as text that says the
 * same; what the decoders' takes must be counted, or refused. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/config.h"
#include "workload/decoder.h"

static void try_decoder(const char *text, size_t size)
{
    struct wt_work work = {.kind = WT_WORK_DECODE, .is_decoder = true, .batch = 1, .seq = 1};
    struct wt_work_ops ops;
    if (wt_decoder_parse(&work.decoder, "c", text, size, NULL) < 0)
        return;
    if (work.decoder.layers > 100 || wt_work_ops(&work, &ops, NULL) < 0)
        return;
    for (size_t i = 0; i < ops.count; i++)
        if (!(ops.kernels[i].flops >= 0) || !(ops.kernels[i].bytes > 0))
            abort();
    wt_work_ops_done(&ops);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_config first, second;
    char *text = NULL, *again = NULL;
    try_decoder((const char *)data, size);
    if (wt_config_parse(&first, "c", (const char *)data, size, NULL) < 0)
        return 0;
    if (first.hidden % first.heads != 0 || wt_config_text(&first, &text, NULL) < 0 ||
        wt_config_parse(&second, "c", text, strlen(text), NULL) < 0 ||
        wt_config_text(&second, &again, NULL) < 0 || strcmp(text, again) != 0)
        abort();
    free(text);
    free(again);
    return 0;
}
