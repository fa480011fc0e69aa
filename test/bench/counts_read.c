/*
 * So many requests that read a row each by its key, from the JSON of the request to that of the
 * answer, for counts_test.py to count their instructions.
 *
 *   counts_read REQUESTS [PER_TURN]
 *
 * With PER_TURN they are read as they are for many kept connections, so many in one transaction.
 */
#include "../capture/fixture.h"
#include "dialect/sql_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 1000

/* No turn: each is executed by itself. */
static int read_one(struct fixture *f, struct database_turn *turn, int id)
{
    struct sql_request r = {0};
    struct buf err = {0};
    char body[160], row[64];
    int64_t wait_ms;
    int len, found;

    len = snprintf(body, sizeof(body),
        "{\"sql\":\"SELECT id, k, payload, at FROM \\\"bench\\\" WHERE id = ?\",\"params\":[%d]}",
        id);
    snprintf(row, sizeof(row), "\"rows\":[[%d,%d,", id, id);
    found = sql_json_read(&r, body, (size_t)len, &wait_ms, &err) == 0;
    /* Whoever counts instructions is slow, so some take too long. */
    if (found && !(turn && database_execute_swiftly(f->db, turn, &r)))
        database_execute(f->db, &r);
    found = found && buf_text(&r.json) && strstr(r.json.data, row);
    sql_request_fini(&r);
    buf_fini(&err);
    return found;
}

int main(int argc, char **argv)
{
    struct fixture f;
    int requests = argc > 1 ? atoi(argv[1]) : 0, found = 0;
    int per_turn = argc > 2 ? atoi(argv[2]) : 0;
    struct database_turn *turn = per_turn ? database_turn_new() : NULL;

    fixture_init(&f);
    f.quiet = true;
    f.options.external = turn;
    fixture_open(&f);
    sql_ok(&f, "CREATE TABLE bench(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)");
    sql_ok(&f,
        "INSERT INTO bench WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c "
        "WHERE i < 1000) SELECT i, i, 'The quick brown fox jumps over the lazy dog', 0 FROM c");
    for (int i = 0; i < requests; i++) {
        found += read_one(&f, turn, 1 + i * 7 % ROWS);
        if (turn && (i + 1) % per_turn == 0)
            database_turn_end(f.db, turn);
    }
    if (turn)
        database_turn_end(f.db, turn);
    database_turn_free(turn);
    if (found != requests) {
        fprintf(stderr, "counts_read: %d of %d rows were found\n", found, requests);
        return 1;
    }
    fixture_close(&f);
    fixture_fini(&f);
    puts("done");
    return 0;
}
