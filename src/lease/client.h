/* client: the library's side of wattuned's socket - one connection, one request at a time.
 *
 * A connection that breaks (the daemon was upgraded, or crashed) is made anew by the next request;
 * the daemon knows the claims of this process again by its pid and start time. */
#ifndef WT_LEASE_CLIENT_H
#define WT_LEASE_CLIENT_H

#include "lease/protocol.h"

struct wt_client;
struct wt_ctx;

/* The socket there would be for real devices or for the emulation of $WATTUNE_EMULATION:
 * $WATTUNE_SOCKET, else the default. false: none is to be used ($WATTUNE_SOCKET=none). */
bool wt_client_path(const struct wt_ctx *ctx, bool is_emulated, char *buf, size_t size);
/* Errors: WT_E_NOTFOUND (nobody listens there), WT_E_DENIED, WT_E_TIMEOUT, WT_E_BUSY (too many
 * connections), WT_E_UNSUPPORTED (another version). */
int wt_client_open(struct wt_client **ret_client, const char *path, struct wt_error *err);
void wt_client_close(struct wt_client *client);
/* What the daemon said of itself. */
size_t wt_client_devices(const struct wt_client *client);
bool wt_client_is_emulated(const struct wt_client *client);
/* It said that it was stopped, and that it has put back all it held. */
bool wt_client_has_stopped(const struct wt_client *client);
/* Hears what the daemon says without being asked, which is why it hangs up; waits for it so long.
 */
void wt_client_listen(struct wt_client *client, int64_t wait_ns);
/* Sends a request and waits for its answer. A refusal is the error it carries. *ret_answer may be
 * the request itself. Errors: besides, WT_E_GONE (the daemon is not there, and did not come back
 * within 2 s), WT_E_TIMEOUT (no answer in 30 s), WT_E_FORMAT. */
int wt_client_ask(struct wt_client *client, const struct wt_wire_message *request,
                  struct wt_wire_message *ret_answer, struct wt_error *err);
/* The daemon's index of a device. Errors: besides, WT_E_NOTFOUND. */
int wt_client_find(struct wt_client *client, const char *device_id, uint32_t *ret_index,
                   struct wt_error *err);

#endif
