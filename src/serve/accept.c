/* accept: does whoever asks want OpenMetrics? Pure. */
#include <string.h>
#include <strings.h>

#include "serve/http.h"

/* The q of one range of an Accept header, 1 when it has none. */
static double quality(const char *range, size_t len)
{
    for (const char *p = range; p + 3 <= range + len; p++)
        if ((*p == ';' || *p == ' ' || *p == '\t') && strncasecmp(p + 1, "q=", 2) == 0) {
            double q;
            char text[16];
            size_t n = strspn(p + 3, "0123456789.");
            wt_text(text, sizeof(text), "%.*s", (int)n, p + 3);
            return wt_text_to_double(text, &q) == 0 ? q : 0;
        }
    return 1;
}

bool wt_http_wants_openmetrics(const char *accept)
{
    static const char open[] = "application/openmetrics-text";
    double open_q = 0, plain_q = 0;
    while (accept && *accept) {
        size_t len = strcspn(accept, ",");
        const char *range = accept + strspn(accept, " \t");
        size_t n =
            len - (size_t)(range - accept < (ptrdiff_t)len ? range - accept : (ptrdiff_t)len);
        size_t type = strcspn(range, ";, \t");
        double q = quality(range, n);
        if (type == sizeof(open) - 1 && strncasecmp(range, open, type) == 0)
            open_q = q > open_q ? q : open_q;
        else if ((type == 10 && strncasecmp(range, "text/plain", 10) == 0) ||
                 (type == 6 && strncasecmp(range, "text/*", 6) == 0))
            plain_q = q > plain_q ? q : plain_q;
        accept += len + (accept[len] == ',');
    }
    return open_q > 0 && open_q >= plain_q;
}
