#ifndef ROWTAP_CLI_WS_CLIENT_H
#define ROWTAP_CLI_WS_CLIENT_H

#include "base/buf.h"
#include "cli/target.h"
#include "net/ws.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * A WebSocket client: libcurl finds, connects and encrypts, the handshake and the frames are ours.
 * Used by one thread at a time.
 */
struct ws_client;

/*
 * Connects to PATH under the target's address and finishes the handshake. NULL: a sentence for the
 * user in err; *again tells whether trying later makes sense (it does not when the server said no).
 */
struct ws_client *ws_client_open(
    struct target *target, const char *path, int64_t timeout_ms, bool *again, struct buf *err);
void ws_client_free(struct ws_client *w); /* drops the connection; NULL is allowed */

int ws_client_fd(const struct ws_client *w); /* to wait on; readable when there may be something */

/* Sends a text message, waiting until it is written (at most 10 s). STATUS_CLOSED, STATUS_NOMEM. */
int ws_client_send(struct ws_client *w, const char *text, size_t len);
int ws_client_ping(struct ws_client *w);

/*
 * Takes what has arrived, without waiting, and calls on_message for each whole message; pings are
 * answered. Anything but 0 from on_message stops and is returned. STATUS_CLOSED: the connection has
 * ended, see ws_client_code.
 */
int ws_client_read(
    struct ws_client *w, int (*on_message)(void *ctx, const char *text, size_t len), void *ctx);

/*
 * Waits up to timeout_ms for something to read, or for ^C (interrupt.h), then reads. 0 as well when
 * nothing came; *idle (may be NULL) tells.
 */
int ws_client_wait(struct ws_client *w, int64_t timeout_ms, bool *idle,
    int (*on_message)(void *ctx, const char *text, size_t len), void *ctx);

/* How it ended: the close code (1006 when the server just went) and the server's reason. */
int ws_client_code(const struct ws_client *w);
const char *ws_client_reason(const struct ws_client *w);

/* Says goodbye (1000) and waits a moment for the answer. Then ws_client_free. */
void ws_client_close(struct ws_client *w);

#endif
