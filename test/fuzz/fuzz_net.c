#include "fuzz.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/conn.h"
#include "net/deflate.h"
#include "net/extension.h"
#include "net/inflate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What WebSocket clients send: the offers of their handshake, and frames, compressed or not. */

#define MAX_MESSAGE 5000

/* What the first byte of a stream says: RSV1 is agreed on; a server sends it. */
enum { DEFLATED = 1, CLIENT = 2 };

static void same_choice(const char *value, const struct extension_choice *before)
{
    struct extension_choice c = {0};
    char answer[EXTENSION_ANSWER_MAX];
    REQUIRE(extension_read(&c, value) == 0);
    REQUIRE(c.window_bits == before->window_bits && c.named == before->named);
    size_t len = extension_answer(&c, answer);
    REQUIRE(len == strlen(answer) && (len > 0) == (c.window_bits != 0));
}

/* What is well-formed stays so, and means the same, behind something that means nothing. */
void fuzz_extension(const uint8_t *data, size_t size)
{
    char *value = malloc(size + 1); /* of exactly that size, so that the sanitizer sees its end */
    struct extension_choice c = {0};
    memcpy(value, data, size);
    value[size] = '\0';
    if (extension_read(&c, value) == 0) {
        struct buf longer = {0};
        fuzz_accepted++;
        REQUIRE(c.window_bits == 0 || (c.window_bits >= 8 && c.window_bits <= 15));
        buf_printf(&longer, "x; a=\"b\",, %s ,", value);
        if (buf_text(&longer))
            same_choice(buf_text(&longer), &c);
        buf_fini(&longer);
    }
    free(value);
}

static int heard_data(void *ctx, const char *data, size_t len)
{
    REQUIRE(len <= MAX_MESSAGE);
    buf_put(ctx, data, len);
    buf_putc(ctx, ';');
    return 0;
}

static int heard(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    REQUIRE(opcode == WS_TEXT || opcode == WS_BINARY);
    REQUIRE(opcode != WS_TEXT || utf8_valid(data, len));
    fuzz_accepted++;
    return heard_data(ctx, data, len);
}

static int heard_close(void *ctx, int code, const char *reason, size_t len)
{
    buf_put_i64(ctx, code);
    return heard_data(ctx, reason, len);
}

static const struct ws_events events = {heard, heard_data, heard_data, heard_close};

/* All that a parser says of a stream that comes in pieces of `step` bytes. */
static void listen(
    struct buf *log, struct inflater *i, const uint8_t *data, size_t size, size_t step)
{
    struct ws_parser p;
    ws_parser_init(&p, data[0] & CLIENT, MAX_MESSAGE);
    p.inflater = data[0] & DEFLATED ? i : NULL;
    data++;
    size--;
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *piece = malloc(n);
        memcpy(piece, data + at, n);
        int rc = ws_feed(&p, &events, log, piece, n);
        if (rc)
            buf_put_i64(log, rc);
        free(piece);
    }
    ws_parser_fini(&p);
}

/* However the stream is cut, the same is heard. */
void fuzz_frames(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 7, 100};
    struct inflater *i = inflater_new();
    struct buf whole = {0};
    if (i && size) {
        listen(&whole, i, data, size, size);
        for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
            struct buf cut = {0};
            listen(&cut, i, data, size, steps[k]);
            REQUIRE(mem_fail_hit() ||
                    (cut.len == whole.len && (!cut.len || !memcmp(cut.data, whole.data, cut.len))));
            buf_fini(&cut);
        }
    }
    buf_fini(&whole);
    inflater_free(i);
}

/* What was compressed gives itself again. */
static void round_trip(struct inflater *i, const char *text, size_t len, int bits)
{
    struct deflater *d = deflater_new(0);
    struct body *z = d ? deflater_text(d, text, len, bits) : NULL;
    const char *out;
    size_t out_len;
    if (z) {
        REQUIRE(z->len < len);
        int rc = inflater_run(i, z->data, z->len, len, &out, &out_len);
        REQUIRE(mem_fail_hit() || (rc == 0 && out_len == len && !memcmp(out, text, len)));
    }
    deflater_free(d);
}

/* As compressed data, and as text to be compressed. */
void fuzz_deflate(const uint8_t *data, size_t size)
{
    struct inflater *i = inflater_new();
    const char *out;
    size_t out_len;
    if (!i)
        return;
    int rc = inflater_run(i, data, size, MAX_MESSAGE, &out, &out_len);
    REQUIRE(rc == 0 || rc == WS_CLOSE_BAD_DATA || rc == WS_CLOSE_TOO_LARGE || mem_fail_hit());
    if (rc == 0) {
        REQUIRE(out_len <= MAX_MESSAGE);
        fuzz_accepted++;
        char *text = malloc(out_len + 1);
        memcpy(text, out, out_len);
        inflater_done(i);
        round_trip(i, text, out_len, 8 + (int)(size % 8));
        free(text);
    }
    round_trip(i, (const char *)data, size, 8 + (int)(size % 8));
    inflater_free(i);
}

void fuzz_fill_extensions(struct fuzz_corpus *c, uint64_t seed)
{
    static const char *const values[] = {
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"15\"",
        "permessage-deflate;server_max_window_bits=\"\\9\", permessage-deflate",
        "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=8,, mux; a=b",
    };
    (void)seed;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
        fuzz_corpus_add(c, values[i], strlen(values[i]));
}

static size_t make_text(char *text, size_t size, uint64_t seed)
{
    size_t n = 0;
    while (n + 40 < size) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        n += (size_t)snprintf(text + n, 40, "{\"id\":%u,\"name\":\"\u00e4%u\"}",
            (unsigned)(seed >> 60), (unsigned)(seed >> 50) & 31);
    }
    return n;
}

void fuzz_fill_deflated(struct fuzz_corpus *c, uint64_t seed)
{
    for (size_t size = 60; size < 7000; size = size * 2 + 3) {
        struct deflater *d = deflater_new(0);
        char text[8000];
        size_t len = make_text(text, size, seed + size);
        for (int bits = 9; bits <= 15; bits += 6) {
            struct body *z = deflater_text(d, text, len, bits);
            if (z)
                fuzz_corpus_add(c, z->data, z->len);
        }
        deflater_free(d);
    }
    fuzz_corpus_add(c, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7); /* RFC 7692 section 7.2.3 */
    fuzz_corpus_add(c, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11);
    fuzz_corpus_add(c, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8);
    fuzz_corpus_add(c, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13);
}

static void put_frame(struct buf *out, unsigned first_byte, const void *data, size_t len)
{
    static const uint8_t key[4] = {0, 0, 0, 0};
    uint8_t head[WS_HEADER_MAX];
    size_t n = out->data[0] & CLIENT ? ws_header(head, WS_TEXT, len)
                                     : ws_header_client(head, WS_TEXT, len, key);
    head[0] = (uint8_t)first_byte;
    buf_put(out, head, n);
    buf_put(out, data, len);
}

/* A message whole, in pieces around a ping, and a farewell. */
static void put_stream(struct fuzz_corpus *c, int flags, const void *data, size_t len)
{
    struct buf out = {0};
    unsigned rsv = flags & DEFLATED ? 0x40 : 0;
    buf_putc(&out, (char)flags);
    put_frame(&out, 0x81 | rsv, data, len);
    put_frame(&out, 0x01 | rsv, data, len / 3);
    put_frame(&out, 0x89, "ping", 4);
    put_frame(&out, 0x80, (const char *)data + len / 3, len - len / 3);
    put_frame(&out, 0x82, "plain", 5);
    put_frame(&out, 0x88,
        "\x03\xe8"
        "bye",
        5);
    fuzz_corpus_add(c, out.data, out.len);
    buf_fini(&out);
}

void fuzz_fill_frames(struct fuzz_corpus *c, uint64_t seed)
{
    struct fuzz_corpus deflated = {0};
    char text[3000];
    fuzz_fill_deflated(&deflated, seed);
    for (size_t i = 0; i < deflated.count; i++)
        put_stream(c, DEFLATED, deflated.items[i].data, deflated.items[i].size);
    for (size_t size = 60; size < sizeof(text); size *= 3)
        for (int flags = 0; flags <= (DEFLATED | CLIENT); flags++)
            put_stream(c, flags, text, make_text(text, size, seed));
    fuzz_corpus_fini(&deflated);
}
