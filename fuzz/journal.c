/* fuzz: the reader of journals. An odd first byte has every slot sealed anew, so that what lies
 * behind the checksum is reached as well. What is opened and closed must add up, and each entry
 * must come out of the encoder as it went in. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lease/slot.h"

static void check_entry(const struct wt_lease_record *e)
{
    uint8_t slot[WT_JOURNAL_SLOT], again[WT_JOURNAL_SLOT];
    struct wt_lease_record back;
    wt_slot_encode(slot, e);
    if (wt_slot_decode(slot, &back) != WT_SLOT_RECORD)
        abort();
    wt_slot_encode(again, &back);
    if (memcmp(slot, again, sizeof(slot)) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_journal *journal = NULL;
    size_t count, open = 0;
    if (size == 0 || size > 1 << 20)
        return 0;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1)
        for (size_t at = 0; at + WT_JOURNAL_SLOT <= size - 1; at += WT_JOURNAL_SLOT)
            wt_slot_seal(bytes + at);
    if (wt_journal_parse(&journal, bytes, size - 1, NULL) == 0) {
        const struct wt_lease_record *entries = wt_journal_entries(journal, &count);
        struct wt_journal_totals t = wt_journal_totals(journal);
        for (size_t i = 0; i < count; i++) {
            open += wt_lease_is_open(&entries[i]);
            check_entry(&entries[i]);
        }
        if (t.opened != t.closed + open && !(data[0] & 1))
            abort();
        wt_journal_close(journal);
    }
    free(bytes);
    return 0;
}
