/* fuzz: the reader of config.json. What it takes must be written as text that says the same. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_config first, second;
    char *text = NULL, *again = NULL;
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
