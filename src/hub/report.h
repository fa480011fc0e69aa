#ifndef ROWTAP_HUB_REPORT_H
#define ROWTAP_HUB_REPORT_H

#include "base/buf.h"
#include "hub/hub.h"

/*
 * What the server tells about itself, as JSON, the same over HTTP and over a WebSocket. Any thread;
 * nothing here waits. `ok`: the database can be read, which whoever asks has found out.
 */
void report_health(struct buf *out, struct hub *h, bool ok);
void report_websocket_health(struct buf *out, struct hub *h, bool ok);
void report_status(struct buf *out, struct hub *h);
void report_realtime(struct buf *out, const char *ws_url, const char *user_id); /* NULL: null */
/* The tables and columns that `who` may read; policy NULL: everything. */
void report_tables(struct buf *out, const struct schema *schema, const struct policy *policy,
    const struct identity *who);
/* False: there is no such table, for these eyes. */
bool report_table(struct buf *out, const struct schema *schema, const struct policy *policy,
    const struct identity *who, const char *name, size_t len);

#endif
