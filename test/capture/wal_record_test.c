/* Records: every serial type, and damaged ones; UTF-16 as SQLite turns it into UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/bytes.h"
#include "capture/wal/record.h"
#include "wal_workload.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The bytes at the end of a page behind which nothing can be read. */
static uint8_t *at_edge(const void *bytes, size_t size)
{
    static uint8_t *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size / page + 1) * page;
    static size_t mapped;
    if (pages)
        munmap(pages, mapped);
    mapped = room + page;
    pages = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + room, page, PROT_NONE), 0);
    memcpy(pages + room - size, bytes, size);
    return pages + room - size;
}

/* A record as words: "int 5, null, text 'ab', …", or what went wrong. */
static const char *read_record(const void *bytes, size_t size)
{
    static char out[4000];
    struct record r;
    struct buf words = {0};
    const uint8_t *p = at_edge(bytes, size);
    int status = record_begin(&r, p, size);
    while (status == STATUS_OK && record_more(&r)) {
        struct value v;
        status = record_next(&r, &v);
        if (status < 0)
            break;
        if (words.len)
            buf_puts(&words, ", ");
        if (v.type == VALUE_TEXT)
            buf_printf(&words, "text %.*s", (int)v.len, v.p);
        else if (v.type == VALUE_BLOB)
            buf_printf(&words, "blob of %u", v.len);
        else
            value_put_json(&words, &v);
    }
    if (status < 0)
        buf_puts(&words, status == STATUS_INVALID ? "!" : "?");
    snprintf(out, sizeof(out), "%s", buf_text(&words));
    buf_fini(&words);
    return out;
}

#define RECORD(...)                                                                                \
    read_record((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void every_serial_type(void **state)
{
    (void)state;
    assert_string_equal(RECORD(2, 0), "null");
    assert_string_equal(RECORD(2, 1, 0xff), "-1");
    assert_string_equal(RECORD(2, 1, 0x7f), "127");
    assert_string_equal(RECORD(2, 2, 0x80, 0), "-32768");
    assert_string_equal(RECORD(2, 3, 0x7f, 0xff, 0xff), "8388607");
    assert_string_equal(RECORD(2, 3, 0x80, 0, 0), "-8388608");
    assert_string_equal(RECORD(2, 4, 0x80, 0, 0, 0), "-2147483648");
    assert_string_equal(RECORD(2, 5, 0x80, 0, 0, 0, 0, 0), "-140737488355328");
    assert_string_equal(RECORD(2, 5, 0x7f, 255, 255, 255, 255, 255), "140737488355327");
    assert_string_equal(RECORD(2, 6, 0x80, 0, 0, 0, 0, 0, 0, 0), "-9223372036854775808");
    assert_string_equal(RECORD(2, 7, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), "1.5");
    assert_string_equal(RECORD(2, 7, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0), "9e999");
    assert_string_equal(RECORD(2, 7, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0), "null"); /* NaN */
    assert_string_equal(RECORD(3, 8, 9), "0, 1");
    assert_string_equal(RECORD(3, 12, 13), "blob of 0, text ");
    assert_string_equal(RECORD(4, 15, 18, 1, 'a', 1, 2, 3, 5), "text a, blob of 3, 5");
    assert_string_equal(RECORD(1), ""); /* no fields at all */
}

static void damaged_records(void **state)
{
    (void)state;
    assert_string_equal(RECORD(2, 10), "!"); /* reserved */
    assert_string_equal(RECORD(2, 11, 1), "!");
    assert_string_equal(RECORD(0), "!");
    assert_string_equal(RECORD(3, 1), "!"); /* the head is longer than all */
    assert_string_equal(RECORD(2, 1), "!");
    assert_string_equal(RECORD(2, 6, 1, 2, 3, 4, 5, 6, 7), "!");
    assert_string_equal(RECORD(2, 17, 'a'), "!");
    assert_string_equal(RECORD(2, 0x81), "!"); /* a varint past the head */
    assert_string_equal(RECORD(3, 1, 0x81, 5, 1), "5!");
    assert_string_equal(RECORD(0x80), "!");
    assert_string_equal(RECORD(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "!");
    assert_string_equal(RECORD(10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "!");
    assert_string_equal(RECORD(10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe), "!");
    struct record r;
    assert_int_equal(record_begin(&r, at_edge("", 0), 0), STATUS_INVALID);
}

static void every_cut_is_seen(void **state)
{
    (void)state;
    static const uint8_t whole[] = {
        8, 15, 18, 1, 7, 0x81, 0x01, 9, 'a', 1, 2, 3, 5, 64, 0, 0, 0, 0, 0, 0, 0, 'x', 'x'};
    /* 0x81 0x01 is 129: text of 58 bytes, which is not all there */
    for (size_t n = 0; n <= sizeof(whole); n++) {
        const char *words = read_record(whole, n);
        assert_int_equal(words[strlen(words) - 1], '!');
    }
}

static void varints(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455,
        268435456, UINT64_C(1) << 35, (UINT64_C(1) << 42) - 1, UINT64_C(1) << 49,
        (UINT64_C(1) << 56) - 1, UINT64_C(1) << 56, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[9];
        size_t size = 0;
        uint64_t v = values[i], got;
        if (v >> 56) {
            bytes[8] = (uint8_t)v;
            for (int k = 7; k >= 0; k--)
                bytes[k] = (uint8_t)(0x80 | (v >> (8 + 7 * (7 - k)) & 0x7f));
            size = 9;
        } else {
            for (uint64_t left = v; size == 0 || left; left >>= 7)
                size++;
            for (size_t k = 0; k < size; k++)
                bytes[k] = (uint8_t)((v >> 7 * (size - 1 - k) & 0x7f) | (k + 1 < size ? 0x80 : 0));
        }
        const uint8_t *p = at_edge(bytes, size);
        assert_int_equal(get_varint(p, p + size, &got), size);
        assert_true(got == v);
        for (size_t n = 0; n < size; n++) {
            p = at_edge(bytes, n);
            assert_int_equal(get_varint(p, p + n, &got), 0);
        }
    }
}

/* What SQLite stores is read as SQLite reads it: the record of a row is the payload of its cell. */
static void numbers_at_their_bounds(void **state)
{
    (void)state;
    for (int bits = 1; bits < 64; bits++)
        for (int d = -1; d <= 1; d++) {
            int64_t v = (int64_t)((UINT64_C(1) << bits) + (uint64_t)d),
                    back = (int64_t)(0 - (uint64_t)v);
            for (int type = 1; type <= 6; type++) {
                static const int sizes[] = {0, 1, 2, 3, 4, 6, 8};
                int size = sizes[type];
                int64_t most = size == 8 ? INT64_MAX : ((int64_t)1 << (8 * size - 1)) - 1;
                for (int sign = 0; sign < 2; sign++) {
                    int64_t n = sign ? back : v;
                    char wanted[32];
                    uint8_t bytes[10] = {2, (uint8_t)type};
                    if (n > most || n < -most - 1)
                        continue;
                    for (int k = 0; k < size; k++)
                        bytes[2 + k] = (uint8_t)((uint64_t)n >> 8 * (size - 1 - k));
                    snprintf(wanted, sizeof(wanted), "%lld", (long long)n);
                    assert_string_equal(read_record(bytes, 2 + (size_t)size), wanted);
                }
            }
        }
}

/* UTF-16 of any kind, pairs that are torn included, gives the bytes that SQLite gives. */
static void utf16_as_sqlite_reads_it(void **state)
{
    static const char *const encodings[] = {NULL, NULL, "UTF-16le", "UTF-16be"};
    static const uint16_t corners[] = {0, 'a', 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdbff,
        0xdc00, 0xdfff, 0xe000, 0xfeff, 0xfffd, 0xfffe, 0xffff};
    uint64_t dice = 7;
    (void)state;
    for (int encoding = 2; encoding <= 3; encoding++) {
        sqlite3 *db;
        sqlite3_stmt *s;
        char sql[100];
        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        snprintf(sql, sizeof(sql), "PRAGMA encoding='%s'; CREATE TABLE t(a)", encodings[encoding]);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, "SELECT ?", -1, &s, NULL), SQLITE_OK);
        for (int round = 0; round < 20000; round++) {
            uint8_t bytes[24];
            int size = (int)dice_below(&dice, sizeof(bytes) + 1);
            for (int i = 0; i < size; i++)
                bytes[i] = (uint8_t)dice_next(&dice);
            for (int i = 0; i + 1 < size; i += 2)
                if (dice_below(&dice, 4)) {
                    uint16_t c = corners[dice_below(&dice, 16)];
                    bytes[i + (encoding == 2)] = (uint8_t)(c >> 8);
                    bytes[i + (encoding == 3)] = (uint8_t)c;
                }
            struct buf out = {0};
            sqlite3_reset(s);
            /* a byte order mark at the start would be taken away before it is stored */
            if (size >= 2 && bytes[0] + bytes[1] == 0xfe + 0xff)
                bytes[0] = 'a';
            sqlite3_bind_text64(s, 1, (const char *)bytes, (sqlite3_uint64)size, SQLITE_STATIC,
                encoding == 2 ? SQLITE_UTF16LE : SQLITE_UTF16BE);
            assert_int_equal(sqlite3_step(s), SQLITE_ROW);
            const unsigned char *wanted = sqlite3_column_text(s, 0);
            int wanted_size = sqlite3_column_bytes(s, 0);
            record_utf8(&out, (const char *)at_edge(bytes, (size_t)size), (size_t)size, encoding);
            assert_int_equal(out.len, wanted_size);
            if (wanted_size)
                assert_memory_equal(out.data, wanted, (size_t)wanted_size);
            buf_fini(&out);
        }
        sqlite3_finalize(s);
        sqlite3_close(db);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_serial_type),
        cmocka_unit_test(damaged_records),
        cmocka_unit_test(every_cut_is_seen),
        cmocka_unit_test(varints),
        cmocka_unit_test(numbers_at_their_bounds),
        cmocka_unit_test(utf16_as_sqlite_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
