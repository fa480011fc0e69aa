#ifndef ROWTAP_NET_WS_H
#define ROWTAP_NET_WS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The WebSocket framing of RFC 6455, without I/O: bytes in, whole messages out, and frame headers
 * to send. Both roles (the CLI is a client). Not thread-safe.
 */
enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xA,
};

enum ws_close {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire */
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_LARGE = 1009,
    WS_CLOSE_INTERNAL = 1011,
    WS_CLOSE_RESTART = 1012,
    WS_CLOSE_TRY_LATER = 1013,
};

/*
 * What the parser reports while it is fed. Data is valid only during the call. A message is whole:
 * fragments are put together, compression is undone and text is valid UTF-8. A callback returns 0
 * to go on, or anything
 * else to stop: ws_feed then returns at once.
 */
struct ws_events {
    int (*message)(void *ctx, enum ws_opcode opcode, const char *data, size_t len);
    int (*ping)(void *ctx, const char *data, size_t len);
    int (*pong)(void *ctx, const char *data, size_t len);
    /* A Close frame that is well-formed; code WS_CLOSE_NO_STATUS when it had none. */
    int (*close)(void *ctx, int code, const char *reason, size_t len);
};

struct inflater;

struct ws_parser {
    /* Bytes of a message: a frame that announces more fails before memory is taken. */
    size_t max_message;
    /*
     * May be set after the initialisation: messages may be compressed (RFC 7692). max_message is
     * of what comes out. Not the parser's own.
     */
    struct inflater *inflater;
    uint32_t inflated; /* bytes that came out since the caller set this to 0: see ws_feed */
    uint32_t left;     /* bytes of the last ws_feed that it has not taken */
    uint16_t idle;     /* what frames cost that brought nothing, since the caller set this to 0 */
    bool bounded;      /* may be set after the initialisation: that may be up to WS_IDLE_MAX */
    /* The rest is private; some 90 bytes, and no memory outside while nothing is half received. */
    uint64_t frame_left; /* payload bytes still to come */
    struct buf *message; /* what has arrived of a message that did not come whole in one piece */
    uint8_t *control;    /* likewise of a control frame: 125 bytes */
    uint32_t utf8;
    uint8_t mask[4];
    uint8_t head[14];
    uint8_t head_len, length_end; /* header bytes seen; where its length field ends */
    uint8_t opcode, message_opcode;
    uint8_t control_len;
    uint8_t mask_at; /* payload bytes unmasked so far, modulo 4 */
    bool fin, in_frame, in_message, closed;
    bool compressed; /* the message that is in `message` */
    bool pause;      /* not private: set by a callback, ws_feed takes no further frame; see there */
    bool client;     /* our role, as given: a client's parser wants unmasked frames */
};

void ws_parser_init(struct ws_parser *p, bool client, size_t max_message);
void ws_parser_fini(struct ws_parser *p);
size_t ws_held(const struct ws_parser *p); /* bytes of memory for a message half received */

/*
 * Takes len bytes (unmasked in place). 0: all taken, or all but `left`: after a compressed message
 * with which `inflated` passes WS_INFLATED_MAX the parser pauses, so that few bytes cannot make
 * work without end, where it is `bounded` when `idle` has come to WS_IDLE_MAX (an empty piece of a
 * message is 1, a control frame WS_IDLE_CONTROL), and when a callback set `pause`; the caller sets
 * it to 0 and feeds the rest another time. A positive number: the close code to fail the connection
 * with (1002, 1007, 1009, 1011 when memory ran out). -1: a callback stopped it. After anything but
 * 0, and after a Close frame, the parser ignores all further bytes.
 */
#define WS_INFLATED_MAX (256 * 1024)
#define WS_IDLE_MAX 5000
#define WS_IDLE_CONTROL 10
int ws_feed(
    struct ws_parser *p, const struct ws_events *events, void *ctx, uint8_t *data, size_t len);

/*
 * Writes an unmasked, unfragmented frame's header (2 to 10 bytes); returns its length.
 * ws_header_client also writes a mask key (up to 14 bytes): apply it to the payload with ws_mask.
 */
#define WS_HEADER_MAX 14
size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len);
size_t ws_header_client(
    uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len, const uint8_t key[4]);
void ws_mask(uint8_t *data, size_t len, const uint8_t key[4], uint64_t offset);

/*
 * A Close frame's payload: code and reason (may be NULL; cut to 123 bytes at a UTF-8 boundary).
 * Returns its length, which is 0 for WS_CLOSE_NO_STATUS.
 */
size_t ws_close_payload(uint8_t out[125], int code, const char *reason);
/* A code that may stand in a received Close frame (RFC 6455 section 7.4). */
bool ws_close_code_valid(int code);

/*
 * The value of Sec-WebSocket-Accept for a client's key (section 4.2.2), NUL-terminated. The key
 * must be the base64 of 16 bytes: STATUS_INVALID otherwise. STATUS_NOMEM when libcrypto fails.
 */
#define WS_ACCEPT_LEN 28
int ws_accept(char out[WS_ACCEPT_LEN + 1], const char *key);

#endif
