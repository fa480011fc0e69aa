#ifndef ROWTAP_DIALECT_SSE_H
#define ROWTAP_DIALECT_SSE_H

#include "hub/dialect.h"

/*
 * Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html), a stream
 * whose command is a URL's query string. Changes are unnamed events, which is what an EventSource's
 * onmessage hears; all else is named by its type. An event's data is the native dialect's message,
 * its id is EPOCH:seq, and only what a client may go on after has one.
 */
extern const struct dialect sse_dialect;

/*
 * "table=users&filter=age%3E%3D18". Of several last_event_id the last counts, and any of them but
 * an empty one more than `since`. No table: all of them.
 */
int sse_decode(struct command *cmd, const char *data, size_t len);
/* The same for a long poll (dialect/poll.h), which has two parameters more and some less. */
int sse_decode_poll(struct command *cmd, const char *data, size_t len);
#define SSE_POLL_MS 25000 /* without `timeout` */
#define SSE_POLL_MAX_MS 60000
#define SSE_POLL_CHANGES 1000 /* without `limit` */
#define SSE_POLL_MAX_CHANGES 10000
void sse_decode_fini(struct command *cmd);

/* The head of the response that a stream begins with; `headers` are further lines of it. */
void sse_put_head(struct buf *out, const char *headers);
/* The status line's "404 Not Found" for an error that a stream or a poll is refused with. */
const char *sse_status(const char *code);
/* The whole body of a response that has the client come back in some seconds. */
#define SSE_COME_BACK "retry: 5000\n\n"

#endif
