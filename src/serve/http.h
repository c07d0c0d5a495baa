/* http: libmicrohttpd as it is opened at run time, and what is judged of a request. Internal to the
 * library. */
#ifndef WT_SERVE_HTTP_H
#define WT_SERVE_HTTP_H

#include "base/base.h"

/* Does an Accept header (NULL: none) prefer OpenMetrics over Prometheus' own format? */
bool wt_http_wants_openmetrics(const char *accept);

/* The page in two pieces of which the later ones begin where a nonce goes in; put in by
 * report/embed.c. */
extern const char wt_asset_live_style[];
extern const char wt_asset_live_body[];
extern const char wt_asset_live_script[];

#endif
