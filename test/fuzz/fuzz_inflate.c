#include "fuzz.h"

#include "base/mem.h"
#include "net/conn.h"
#include "net/inflate.h"
#include "net/ws.h"
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

/*
 * Compressed messages against zlib asked in one go, with bounds that the first byte chooses: no
 * more is written than the bound allows, whatever it would become.
 */
#define BOUND_MAX 100000
#define REPEATS 4 /* which is past WS_INFLATED_MAX */
static const size_t bounds[] = {0, 1, 100, 4095, 4096, 65535, BOUND_MAX};

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

/* 0: whole blocks and nothing behind them; 1: larger than max; -1: none of that. */
static int reference(const uint8_t *data, size_t size, size_t max, uint8_t *out, size_t *out_len)
{
    z_stream z = {0};
    uint8_t *whole = malloc(size + 4);
    memcpy(whole, data, size);
    memcpy(whole + size, "\x00\x00\xff\xff", 4);
    *out_len = 0;
    int rc = inflateInit2(&z, -15), result = -1;
    z.next_in = whole;
    z.avail_in = (uInt)size;
    for (bool tail = false; rc == Z_OK;) {
        z.next_out = out + *out_len;
        z.avail_out = (uInt)(max + 1 - *out_len);
        rc = inflate(&z, Z_SYNC_FLUSH);
        *out_len = (size_t)(z.next_out - out);
        if (rc == Z_BUF_ERROR && !z.avail_in)
            rc = Z_OK;
        if (*out_len > max && (rc == Z_OK || rc == Z_STREAM_END)) {
            result = 1;
            break;
        }
        if (rc == Z_STREAM_END) {
            if (!z.avail_in && !tail) {
                result = 0;
                break;
            }
            rc = inflateReset(&z);
        }
        if (rc == Z_OK && !z.avail_in) {
            if (tail) {
                result = z.data_type & 128 ? 0 : -1;
                break;
            }
            tail = true;
            z.avail_in = 4;
        }
    }
    inflateEnd(&z);
    free(whole);
    return result;
}

static void compare(struct inflater *i, const uint8_t *data, size_t size, size_t max)
{
    static uint8_t expected[BOUND_MAX + 1];
    size_t before = allocated(), len, out_len = 0;
    const char *out = NULL;
    int rc = inflater_run(i, data, size, max, &out, &out_len);
    REQUIRE(allocated() <= before + max + 1 + (64 << 10));
    int wanted = 0;
    len = 0;
    if (size)
        wanted = reference(data, size, max, expected, &len);
    REQUIRE(rc == 0 || rc == WS_CLOSE_BAD_DATA || rc == WS_CLOSE_TOO_LARGE || mem_fail_hit());
    if (!mem_fail_hit())
        REQUIRE(rc == (wanted == 0 ? 0 : wanted == 1 ? WS_CLOSE_TOO_LARGE : WS_CLOSE_BAD_DATA));
    if (rc == 0) {
        fuzz_accepted++;
        REQUIRE(out_len <= max && out_len == len && memcmp(out, expected, len) == 0);
    }
    inflater_done(i);
    REQUIRE(allocated() <= before + (128 << 10));
}

/* Messages one behind the other: the parser pauses before their work has no end. */

struct heard {
    size_t bytes, messages;
};

static int heard_message(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    struct heard *h = (struct heard *)ctx;
    (void)opcode, (void)data;
    h->bytes += len;
    h->messages++;
    return 0;
}

static int heard_control(void *ctx, const char *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return 0;
}

static int heard_close(void *ctx, int code, const char *reason, size_t len)
{
    (void)code;
    return heard_control(ctx, reason, len);
}

static void repeat(struct inflater *i, const uint8_t *data, size_t size, size_t max)
{
    static const struct ws_events events = {
        heard_message, heard_control, heard_control, heard_close};
    static const uint8_t key[4] = {0};
    uint8_t *stream = malloc(REPEATS * (size + WS_HEADER_MAX));
    struct ws_parser p;
    size_t len = 0, at = 0;
    int rc = 0, pauses = 0;
    for (int n = 0; n < REPEATS; n++) {
        size_t head = ws_header_client(stream + len, WS_BINARY, size, key);
        stream[len] |= 0x40;
        memcpy(stream + len + head, data, size);
        len += head + size;
    }
    ws_parser_init(&p, false, max);
    p.inflater = i;
    while (at < len && rc == 0) {
        struct heard h = {0};
        p.inflated = 0;
        rc = ws_feed(&p, &events, &h, stream + at, len - at);
        REQUIRE(rc || p.left <= len - at);
        REQUIRE(h.bytes <= WS_INFLATED_MAX + max);
        if (rc == 0) {
            REQUIRE(p.left < len - at && ++pauses <= REPEATS + 1);
            at = len - p.left;
        }
    }
    ws_parser_fini(&p);
    free(stream);
}

void fuzz_inflate(const uint8_t *data, size_t size)
{
    struct inflater *i = inflater_new();
    if (i && size) {
        size_t max = bounds[data[0] % (sizeof(bounds) / sizeof(*bounds))];
        uint8_t *exact = fuzz_copy(data + 1, size - 1);
        compare(i, exact, size - 1, max);
        if (size > 1 && max)
            repeat(i, exact, size - 1, max);
        free(exact);
    }
    inflater_free(i);
}
