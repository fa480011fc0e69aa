#ifndef ROWTAP_TEST_HUB_FIXTURE_H
#define ROWTAP_TEST_HUB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../change/fixture.h"
#include "hub/hub.h"

/*
 * A hub with real loops, batches made by hand, and clients that speak raw WebSocket over one end of
 * a socket pair, without the server's own parser or allocator.
 */
struct feed {
    struct hub *hub;
    struct schema *schema;
    struct batch *batch;
    uint64_t seq, tx;
};

struct client {
    int fd;
    int code; /* of the Close frame seen, 0 before */
    uint64_t id;
    size_t len, taken;
    char data[1 << 21];
    char text[1 << 20];
};

/* What the next feed_start uses: loops 1 and so on. feed_stop frees its db, a fake pager. */
extern struct hub_options feed_options;

/* Takes over the tables; NULL ends them. The schema is sorted by name here. */
struct schema *schema_of(struct table *first, ...);
void feed_start(struct feed *f, struct schema *schema); /* takes over the schema */
void feed_stop(struct feed *f);

/* One change each, into the batch being built. Rows are arrays of the table's column_count values.
 */
void feed_insert(struct feed *f, const struct table *t, const struct value *row);
void feed_update(
    struct feed *f, const struct table *t, const struct value *old, const struct value *row);
void feed_delete(struct feed *f, const struct table *t, const struct value *old);
void feed_ddl(
    struct feed *f, enum change_kind kind, const struct table *t, const struct table *old);
/* Ends a transaction; schema (taken over) may be NULL. */
void feed_commit(struct feed *f, uint64_t origin, struct schema *schema);
void feed_publish(struct feed *f);
void feed_put(struct feed *f); /* the same, with hub_put: hub_wake has to follow */

#define ROW(...) ((struct value[]){__VA_ARGS__})

struct client *client_new(struct feed *f);                  /* connected; the ack has been read */
struct client *client_raw(struct feed *f);                  /* connected; nothing read */
struct client *client_as(struct feed *f, const char *user); /* as client_new; NULL: nobody */
struct client *client_claims(struct feed *f, const char *claims); /* as client_new; JSON */
void client_free(struct client *c); /* closes the socket without a word */
void client_send(struct client *c, const char *text);
void client_send_frame(struct client *c, int opcode, const char *data, size_t len);
/*
 * The next text message with what differs from run to run put as "T", "I" and "C" (timestamp, id,
 * connectionId). NULL when the connection was closed; fails the test after five seconds.
 */
const char *client_read(struct client *c);
void client_expect(struct client *c, const char *text);      /* the next message, whole */
void client_expect_part(struct client *c, const char *part); /* the next message has this in it */
void client_expect_close(struct client *c, int code);
/* Sends a ping and reads its pong: nothing else is on the way. */
void client_quiet(struct client *c);
/* Sends a request and skips its `subscribed`. */
void client_subscribe(struct client *c, const char *text);

#endif
