/*
 * So many requests that insert a row each, one after the other, for counts_test.py to count their
 * instructions; with BATCH as the body of a request over HTTP has them, so many rows in each.
 *
 *   counts_commit REQUESTS [BATCH]
 */
#include "../capture/fixture.h"
#include "dialect/sql_json.h"

#include <stdio.h>
#include <stdlib.h>

static void put_body(struct buf *out, int rows)
{
    buf_puts(out, "{\"sql\":\"INSERT INTO \\\"bench\\\"(k, payload, at) VALUES ");
    for (int i = 0; i < rows; i++)
        buf_puts(out, i ? ",(?,?,?)" : "(?,?,?)");
    buf_puts(out, "\",\"params\":[");
    for (int i = 0; i < rows; i++)
        buf_puts(out, i ? ",123456,\"The quick brown fox jumps over the lazy dog\",123456789012345"
                        : "123456,\"The quick brown fox jumps over the lazy dog\",123456789012345");
    buf_puts(out, "]}");
}

static void insert_batch(struct fixture *f, const struct buf *body)
{
    struct sql_request r = {0};
    struct buf err = {0};
    int64_t wait_ms;

    assert_int_equal(sql_json_read(&r, body->data, body->len, &wait_ms, &err), 0);
    database_execute(f->db, &r);
    assert_string_equal(r.error.message, "");
    sql_request_fini(&r);
    buf_fini(&err);
}

int main(int argc, char **argv)
{
    struct fixture f;
    struct buf body = {0};
    int requests = argc > 1 ? atoi(argv[1]) : 0, batch = argc > 2 ? atoi(argv[2]) : 0;

    database_own_process();

    fixture_init(&f);
    f.quiet = true;
    f.options.external = false;
    fixture_open(&f);
    sql_ok(&f, "CREATE TABLE bench(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)");
    put_body(&body, batch);
    for (int i = 0; i < requests && batch; i++)
        insert_batch(&f, &body);
    for (int i = 0; i < requests && !batch; i++)
        sql_ok(&f, "INSERT INTO bench(k, payload, at) VALUES "
                   "(1, 'The quick brown fox jumps over the lazy dog', 123456789012345)");
    if (fixture_seq(&f) != (uint64_t)requests * (uint64_t)(batch ? batch : 1) + 1) {
        fprintf(stderr, "counts_commit: not every row was captured\n");
        return 1;
    }
    buf_fini(&body);
    fixture_close(&f);
    fixture_fini(&f);
    puts("done");
    return 0;
}
