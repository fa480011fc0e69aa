#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/conn.h"
#include "net/deflate.h"
#include "net/inflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define MAX 100000

/* The other side of the wire is zlib itself here. */
static size_t compress_text(
    uint8_t *out, size_t room, const void *data, size_t len, int bits, int flush)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    deflate(&z, flush);
    assert_int_equal(z.avail_in, 0);
    assert_true(z.avail_out > 0);
    len = room - z.avail_out;
    deflateEnd(&z);
    return flush == Z_SYNC_FLUSH ? len - 4 : len;
}

/* What a receiver with that window makes of one compressed message. */
static void decompress(const char *data, size_t len, int bits, const char *text, size_t text_len)
{
    z_stream z = {0};
    char *in = malloc(len + 4), *out = malloc(text_len + 1);

    assert_non_null(in);
    assert_non_null(out);
    memcpy(in, data, len);
    memcpy(in + len, "\0\0\xff\xff", 4);
    assert_int_equal(inflateInit2(&z, -bits), Z_OK);
    z.next_in = (Bytef *)in;
    z.avail_in = (uInt)len + 4;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)text_len + 1;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(z.avail_in, 0);
    assert_int_equal(z.total_out, text_len);
    assert_memory_equal(out, text, text_len);
    inflateEnd(&z);
    free(in);
    free(out);
}

/* Text with repetitions near and far: distances of all sizes. */
static char *make_text(size_t len)
{
    char *text = malloc(len + 64);
    unsigned dice = 7;

    assert_non_null(text);
    for (size_t n = 0; n < len;) {
        dice = dice * 1103515245 + 12345;
        if (n > 100 && dice >> 28 < 12) {
            size_t back = 1 + (dice >> 4) % n;
            size_t some = 4 + (dice >> 20) % 30;

            for (size_t i = 0; i < some; i++, n++)
                text[n] = text[n - back];
        } else {
            n += (size_t)snprintf(text + n, 20, "%u,", dice);
        }
    }
    text[len] = '\0';
    return text;
}

static int run(struct inflater *i, const void *data, size_t len, size_t max, size_t *out_len)
{
    const char *out = NULL;
    int rc;

    *out_len = 0;
    rc = inflater_run(i, data, len, max, &out, out_len);
    assert_true(*out_len <= max);
    if (rc == 0)
        inflater_done(i);
    return rc;
}

static void expect(struct inflater *i, const void *data, size_t len, const char *text)
{
    const char *out;
    size_t out_len;

    assert_int_equal(inflater_run(i, data, len, MAX, &out, &out_len), 0);
    assert_int_equal(out_len, strlen(text));
    assert_memory_equal(out, text, out_len);
    inflater_done(i);
}
#define EXPECT(i, bytes, text) expect(i, bytes, sizeof(bytes) - 1, text)

static void refuse(struct inflater *i, const void *data, size_t len, int code)
{
    size_t out_len;

    assert_int_equal(run(i, data, len, MAX, &out_len), code);
}
#define REFUSE(i, bytes, code) refuse(i, bytes, sizeof(bytes) - 1, code)

/* RFC 7692 section 7.2.3. */
static void inflates_the_examples(void **state)
{
    struct inflater *i = inflater_new();

    (void)state;
    EXPECT(i, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    EXPECT(i, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello");         /* a stored block */
    EXPECT(i, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello");                     /* the last block */
    EXPECT(i, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"); /* two blocks */
    EXPECT(i, "\x00", "");
    EXPECT(i, "", "");
    EXPECT(i, "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"); /* nothing behind the last block */
    EXPECT(i, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00", "HelloHello");
    EXPECT(i, "\x02\x00", ""); /* an empty block of the other kind */
    EXPECT(i, "\x00\x00\x00\xff\xff\x00", "");
    /* The second message of the example with context takeover refers to the first, which is gone.
     */
    EXPECT(i, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    REFUSE(i, "\xf2\x00\x11\x00\x00", WS_CLOSE_BAD_DATA);
    assert_int_equal(inflater_totals(i)->messages, 11);
    inflater_free(i);
}

static void refuses_what_is_broken(void **state)
{
    struct inflater *i = inflater_new();
    unsigned dice = 1;

    (void)state;
    REFUSE(i, "\xff", WS_CLOSE_BAD_DATA); /* no such kind of block */
    REFUSE(i, "\x07", WS_CLOSE_BAD_DATA);
    REFUSE(i, "\x00\x05\x00\xfa\xfe\x48", WS_CLOSE_BAD_DATA);             /* LEN and NLEN */
    REFUSE(i, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c", WS_CLOSE_BAD_DATA); /* a byte is missing */
    REFUSE(i, "\xf2\x48\xcd\xc9", WS_CLOSE_BAD_DATA);
    REFUSE(i, "\xf3\x48\xcd\xc9\xc9\x07\x00\x07", WS_CLOSE_BAD_DATA); /* behind the last block */
    REFUSE(i, "\x03\x00\x00\x00\xff\xff\x00\x00", WS_CLOSE_BAD_DATA);
    EXPECT(i, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    for (int n = 0; n < 20000; n++) {
        uint8_t junk[40];
        size_t len = (dice >> 8) % sizeof(junk), out_len;
        int rc;

        for (size_t k = 0; k < len; k++) {
            dice = dice * 1103515245 + 12345;
            junk[k] = (uint8_t)(dice >> 16);
        }
        rc = run(i, junk, len, 1000, &out_len);
        assert_true(rc == 0 || rc == WS_CLOSE_BAD_DATA || rc == WS_CLOSE_TOO_LARGE);
        dice++;
    }
    EXPECT(i, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    inflater_free(i);
}

/* No beginning of a message passes for the whole, and nothing behind its end is read. */
static void refuses_every_cut(void **state)
{
    static const size_t sizes[] = {30, 500, 3000};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct inflater *i = inflater_new();
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t k = 0; k < 3; k++) {
        char *text = make_text(sizes[k]);
        uint8_t z[4096];
        size_t len = compress_text(z, sizeof(z), text, sizes[k], 15, Z_SYNC_FLUSH), out_len;

        for (size_t n = 1; n < len; n++) {
            memcpy(map + page - n, z, n);
            if (run(i, map + page - n, n, MAX, &out_len) != WS_CLOSE_BAD_DATA)
                fail_msg("%zu of %zu bytes pass", n, len);
        }
        memcpy(map + page - len, z, len);
        expect(i, map + page - len, len, text);
        free(text);
    }
    munmap(map, 2 * page);
    inflater_free(i);
}

static void inflates_every_window_and_size(void **state)
{
    struct inflater *i = inflater_new();
    uint8_t *z = malloc(MAX + 1000);

    (void)state;
    assert_non_null(z);
    for (size_t size = 1; size <= MAX; size = size * 3 + 1) {
        char *text = make_text(size);

        for (int bits = 9; bits <= 15; bits++) {
            expect(i, z, compress_text(z, MAX + 1000, text, size, bits, Z_SYNC_FLUSH), text);
            expect(i, z, compress_text(z, MAX + 1000, text, size, bits, Z_FINISH), text);
        }
        free(text);
    }
    free(z);
    inflater_free(i);
}

/* 1,000 to one. Exactly `max` is good, a byte more is not, and never is more than that written. */
static void bounds_bombs(void **state)
{
    size_t size = 16 << 20, len, out_len;
    struct inflater *i = inflater_new();
    char *text = calloc(1, size);
    uint8_t *z = malloc(100000);

    (void)state;
    assert_non_null(text);
    assert_non_null(z);
    len = compress_text(z, 100000, text, size, 15, Z_SYNC_FLUSH);
    assert_true(len < size / 900);
    for (size_t max = 1; max < size; max *= 7)
        assert_int_equal(run(i, z, len, max, &out_len), WS_CLOSE_TOO_LARGE);
    assert_int_equal(run(i, z, len, size - 1, &out_len), WS_CLOSE_TOO_LARGE);
    assert_int_equal(run(i, z, len, size, &out_len), 0);
    assert_int_equal(out_len, size);
    for (size_t max = 0; max < 70; max++) {
        size_t exact = compress_text(z, 1000, text, max, 15, Z_SYNC_FLUSH);

        assert_int_equal(run(i, z, exact, max, &out_len), 0);
        assert_int_equal(out_len, max);
        exact = compress_text(z, 1000, text, max + 1, 15, Z_SYNC_FLUSH);
        assert_int_equal(run(i, z, exact, max, &out_len), WS_CLOSE_TOO_LARGE);
    }
    free(z);
    free(text);
    inflater_free(i);
}

static struct body *body_of(const char *text, size_t len)
{
    struct body *b = body_new(text, len);

    assert_non_null(b);
    return b;
}

/* Whatever the window, the receiver's decompressor with exactly that window reads it. */
static void deflates_for_every_window(void **state)
{
    static const size_t sizes[] = {64, 255, 256, 257, 512, 513, 4096, 32768, 32769, 200000};
    char *text = make_text(200000);

    (void)state;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
        struct deflater *d = deflater_new(1);
        struct body *b = body_of(text, sizes[k]), *form[16];

        for (int bits = 8; bits <= 15; bits++) {
            form[bits] = deflater_body(d, b, bits);
            if (bits == 8 && sizes[k] > 256) {
                assert_null(form[bits]); /* zlib cannot */
                continue;
            }
            assert_non_null(form[bits]);
            assert_true(form[bits]->len < sizes[k]);
            assert_ptr_equal(deflater_body(d, b, bits), form[bits]);
            decompress(form[bits]->data, form[bits]->len, bits, text, sizes[k]);
        }
        /* Not more than two, however many windows there are. */
        assert_ptr_equal(form[9], form[sizes[k] <= 512 ? 15 : 9]);
        assert_true(form[9] == form[14] || form[14] == form[15]);
        assert_true(deflater_totals(d)->bodies <= 2);
        body_unref(b);
        deflater_free(d);
    }
    free(text);
}

static void joins_private_and_shared(void **state)
{
    struct deflater *d = deflater_new(1);
    char *text = make_text(2 * DEFLATE_STORED_MAX);
    static const size_t prefixes[] = {1, 2, 255, 256, 1000, 65534, DEFLATE_STORED_MAX};
    struct body *b = body_of(text + DEFLATE_STORED_MAX, 5000), *z = deflater_body(d, b, 15);

    (void)state;
    assert_non_null(z);
    for (size_t k = 0; k < sizeof(prefixes) / sizeof(*prefixes); k++) {
        size_t n = prefixes[k], len = DEFLATE_STORED_HEAD + n + z->len;
        uint8_t *wire = malloc(len);
        char *start = text + DEFLATE_STORED_MAX - n;

        assert_non_null(wire);
        deflate_stored_head(wire, n);
        memcpy(wire + DEFLATE_STORED_HEAD, start, n);
        memcpy(wire + DEFLATE_STORED_HEAD + n, z->data, z->len);
        decompress((char *)wire, len, 15, start, n + 5000);
        free(wire);
    }
    body_unref(b);
    free(text);
    deflater_free(d);
}

static void leaves_alone_what_does_not_shrink(void **state)
{
    struct deflater *d = deflater_new(100);
    char noise[3000];
    unsigned dice = 3;
    struct body *b;

    (void)state;
    for (size_t i = 0; i < sizeof(noise); i++) {
        dice = dice * 1103515245 + 12345;
        noise[i] = (char)(dice >> 16);
    }
    b = body_of(noise, sizeof(noise));
    for (int i = 0; i < 10; i++) {
        assert_null(deflater_body(d, b, 15));
        assert_null(deflater_text(d, noise, sizeof(noise), 15));
    }
    assert_int_equal(deflater_totals(d)->bodies, 2); /* tried once each */
    body_unref(b);
    memset(noise, 'x', sizeof(noise));
    b = body_of(noise, 99);
    assert_null(deflater_body(d, b, 15));
    assert_null(deflater_text(d, noise, 99, 15));
    assert_null(deflater_text(d, "", 0, 15));
    assert_int_equal(deflater_totals(d)->bodies, 2);
    body_unref(b);
    b = body_of(noise, 100);
    assert_non_null(deflater_body(d, b, 15));
    body_unref(b);
    deflater_free(d);
}

/* Even with --compress-min-size 0 nothing gets longer. */
static void never_lengthens(void **state)
{
    struct deflater *d = deflater_new(0);
    char *text = make_text(300);

    (void)state;
    for (size_t len = 0; len < 300; len++) {
        struct body *b = body_of(text, len), *z = deflater_body(d, b, 15);

        assert_true(!z || DEFLATE_STORED_HEAD + z->len <= len);
        body_unref(b);
        deflater_turn(d);
    }
    free(text);
    deflater_free(d);
}

static void knows_a_text_again(void **state)
{
    struct deflater *d = deflater_new(1);
    char *text = make_text(6000);
    struct body *first;

    (void)state;
    for (int i = 0; i < 30; i++) {
        size_t at = (size_t)(i % 3) * 2000;
        struct body *z = deflater_text(d, text + at, 2000, 15);

        assert_non_null(z);
        decompress(z->data, z->len, 15, text + at, 2000);
    }
    assert_int_equal(deflater_totals(d)->bodies, 3);
    for (size_t i = 0; i < 30; i++) /* too many to be remembered */
        assert_non_null(deflater_text(d, text + i, 2000, 15));
    assert_int_equal(deflater_totals(d)->bodies, 32); /* the first is one of the three */
    first = deflater_text(d, text, 2000, 15);
    body_ref(first);
    deflater_turn(d); /* forgets them, but not what is queued */
    decompress(first->data, first->len, 15, text, 2000);
    body_unref(first);
    free(text);
    deflater_free(d);
}

/* A loop does not compress for long while others wait; what is compressed already still goes. */
static void stops_at_the_end_of_its_turn(void **state)
{
    struct deflater *d = deflater_new(1);
    char *text = make_text(500000);
    struct body *a = body_of(text, 500000), *b = body_of(text, 499999), *c = body_of(text, 499998);

    (void)state;
    assert_non_null(deflater_body(d, a, 15));
    assert_non_null(deflater_body(d, b, 15));
    assert_null(deflater_body(d, c, 15));
    assert_null(deflater_text(d, text, 499997, 15));
    assert_non_null(deflater_body(d, a, 15));
    assert_int_equal(deflater_totals(d)->bodies, 2);
    deflater_turn(d);
    assert_non_null(deflater_body(d, c, 15));
    body_unref(a);
    body_unref(b);
    body_unref(c);
    free(text);
    deflater_free(d);
}

/* Without memory a message is sent as it is, or one that came is not read; both work again. */
static void survives_failing_allocations(void **state)
{
    char *text = make_text(50000);
    uint8_t *z = malloc(60000);
    size_t len = compress_text(z, 60000, text, 50000, 15, Z_SYNC_FLUSH), out_len;
    long n;

    (void)state;
    for (n = 0;; n++) {
        struct body *b = body_of(text, 50000);
        struct deflater *d;
        struct inflater *i;
        int rc;

        mem_fail_after(n);
        d = deflater_new(1);
        i = inflater_new();
        if (d && i) {
            deflater_body(d, b, 15);
            deflater_body(d, b, 9);
            deflater_text(d, text, 40000, 15);
            rc = run(i, z, len, MAX, &out_len);
            assert_true(rc == 0 || (rc == WS_CLOSE_INTERNAL && mem_fail_hit()));
        }
        if (!mem_fail_hit()) {
            mem_fail_after(-1);
            body_unref(b);
            deflater_free(d);
            inflater_free(i);
            break;
        }
        mem_fail_after(-1);
        if (d && i) {
            assert_non_null(deflater_body(d, b, 15));
            assert_non_null(deflater_body(d, b, 9));
            assert_int_equal(run(i, z, len, MAX, &out_len), 0);
            assert_int_equal(out_len, 50000);
        }
        body_unref(b);
        deflater_free(d);
        inflater_free(i);
    }
    assert_true(n > 12);
    free(text);
    free(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inflates_the_examples),
        cmocka_unit_test(refuses_what_is_broken),
        cmocka_unit_test(refuses_every_cut),
        cmocka_unit_test(inflates_every_window_and_size),
        cmocka_unit_test(bounds_bombs),
        cmocka_unit_test(deflates_for_every_window),
        cmocka_unit_test(joins_private_and_shared),
        cmocka_unit_test(leaves_alone_what_does_not_shrink),
        cmocka_unit_test(never_lengthens),
        cmocka_unit_test(knows_a_text_again),
        cmocka_unit_test(stops_at_the_end_of_its_turn),
        cmocka_unit_test(survives_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
