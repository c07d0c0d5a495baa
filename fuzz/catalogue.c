/* Tables of the catalogue: any file is read, its problems are told with where they are, and its
 * cells are its own. The first byte chooses the table. */
#include <stdlib.h>
#include <string.h>

#include "catalogue/sheet.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_sheet sheet;
    struct wt_problems problems = {0};
    struct wt_error err = {0};
    enum wt_data guess;
    if (size < 1)
        return 0;
    enum wt_data kind = (enum wt_data)(data[0] % WT_DATA_KINDS);
    char *text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    (void)wt_sheet_guess(text, &guess);
    if (wt_sheet_read(&sheet, kind, text, size - 1, "a/table.csv", &problems, &err) < 0)
        abort(); /* a bad table is a problem, and no failure */
    wt_sheet_check(&sheet, &problems);
    if (kind == WT_DATA_INSTANCES)
        wt_sheet_check_gpus(&sheet, &(struct wt_gpu_ids){0}, &problems);
    for (size_t i = 0; i < sheet.count; i++) {
        char origin[WT_ORIGIN_SIZE];
        if (!*wt_sheet_cell(&sheet, i, wt_schemas[kind].key) || !sheet.lines[i])
            abort(); /* a row that cannot be named */
        for (size_t k = 0; k < wt_schemas[kind].count; k++)
            if (strlen(wt_sheet_cell(&sheet, i, k)) >= size)
                abort();
        wt_sheet_origin(&sheet, i, origin, sizeof(origin));
    }
    for (size_t i = 0; i < problems.count; i++)
        if (!problems.list[i].text[0] || strncmp(problems.list[i].place, "a/table.csv", 11) != 0)
            abort(); /* told without a word, or without where */
    free(problems.list);
    wt_sheet_done(&sheet);
    return 0;
}
