/* Feeds: whatever a service answers is read or refused with a word, and what is read is a series
 * that can be kept and read again. The first byte chooses the service. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "plan/feed.h"

static void keep_and_read(const struct wt_signal *s)
{
    char *text = NULL;
    size_t size = 0;
    struct wt_signal *again;
    struct wt_error err = {0};
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return;
    wt_signal_print(s, out, NULL);
    fclose(out);
    FILE *in = fmemopen(text, size, "r");
    if (in && (wt_signal_parse(&again, s->kind, in, "kept", &err) < 0 ||
               wt_signal_info(again).end_s != wt_signal_info(s).end_s ||
               wt_signal_info(again).service_s != wt_signal_info(s).service_s))
        abort();
    if (in) {
        wt_signal_free(again);
        fclose(in);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_feed_rows rows = {0};
    struct wt_error err = {0};
    struct wt_signal *s;
    char currency[4] = "", token[64], reason[80];
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    size_t length = size - 1;
    const char *const keys[] = {"key"};
    int rc = 0;
    switch (data[0] % 6) {
    case 0:
        rc = wt_feed_electricitymaps(&rows, text, length, "DE", &err);
        break;
    case 1:
        rc = wt_feed_ukcarbon(&rows, text, length, 1780315200, &err);
        break;
    case 2:
        rc = wt_feed_watttime(&rows, text, length, "CAISO_NORTH", data[0] & 64, &err);
        break;
    case 3:
        rc = wt_feed_entsoe(&rows, text, length, currency, &err);
        break;
    case 4:
        rc = wt_feed_watttime_token(token, sizeof(token), text, length, &err);
        if (rc == 0 && strpbrk(token, " \r\n"))
            abort();
        break;
    default:
        wt_feed_reason(reason, sizeof(reason), text, length, keys, 1);
        if (strstr(reason, "key"))
            abort();
    }
    if (rc < 0 && !err.text[0])
        abort(); /* refused without a word */
    if (rc == 0 && data[0] % 6 < 4) {
        enum wt_signal_kind kind = data[0] % 6 == 3 ? WT_SIGNAL_PRICE : WT_SIGNAL_CARBON;
        if (wt_feed_series(&s, kind, &rows, "feed", &err) == 0) {
            keep_and_read(s);
            wt_signal_free(s);
        }
    }
    wt_feed_rows_done(&rows);
    return 0;
}
