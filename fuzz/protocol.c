/* fuzz: the decoder of what crosses the privilege line. Whatever it takes for a message must come
 * out of the encoder as a message that says the same. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lease/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_wire_message m, back;
    uint8_t first[WT_WIRE_MAX], second[WT_WIRE_MAX];
    if (wt_wire_decode(data, size, &m, NULL) < 0)
        return 0;
    size_t wrote = wt_wire_encode(&m, first);
    if (wrote != size || wrote > WT_WIRE_MAX || wt_wire_decode(first, wrote, &back, NULL) < 0 ||
        wt_wire_encode(&back, second) != wrote || memcmp(first, second, wrote) != 0)
        abort();
    return 0;
}
