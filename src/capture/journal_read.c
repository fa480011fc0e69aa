#include "capture/journal.h"

#include "base/status.h"

static int status_of(int rc)
{
    return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
}

/* Adds the row's piece; `after` is the change before it. */
static int add_row(sqlite3_stmt *s, struct piece_reader *r, struct batch *b, uint64_t after)
{
    uint64_t last = (uint64_t)sqlite3_column_int64(s, 0);
    uint64_t first = (uint64_t)sqlite3_column_int64(s, 1);
    uint64_t tx = (uint64_t)sqlite3_column_int64(s, 2);
    const void *data = sqlite3_column_blob(s, 3);
    int len = sqlite3_column_bytes(s, 3);
    uint32_t before = b->change_count;
    int status;
    if (before ? first != after + 1 : first > after + 1)
        return STATUS_NOT_FOUND;
    if (!data)
        return len > 0 ? STATUS_NOMEM : STATUS_INVALID;
    status = piece_read(r, b, data, (size_t)len, first, tx);
    if (status == STATUS_OK && b->change_count - before != last - first + 1)
        status = STATUS_INVALID;
    return status;
}

static int read_rows(
    sqlite3_stmt *s, struct piece_reader *r, struct batch *b, uint64_t after, size_t max_bytes)
{
    int rc, status = STATUS_OK;
    while (status == STATUS_OK && (b->change_count == 0 || b->bytes < max_bytes)) {
        rc = sqlite3_step(s);
        if (rc == SQLITE_DONE)
            return b->change_count > 0 ? STATUS_OK : STATUS_NOT_FOUND;
        status = rc == SQLITE_ROW ? add_row(s, r, b, after) : status_of(rc);
        if (status == STATUS_OK)
            after = b->changes[b->change_count - 1].seq;
    }
    return status;
}

int journal_read(struct sqlconn *c, struct piece_reader *r, uint64_t after, size_t max_bytes,
    struct batch **batch)
{
    sqlite3_stmt *s;
    int status = STATUS_NOMEM;
    *batch = NULL;
    if (after >= INT64_MAX)
        return STATUS_NOT_FOUND;
    int rc = sqlconn_prepare(c, &s,
        "SELECT last_seq,first_seq,first_tx,data FROM main.rowtap_journal WHERE last_seq>%lld "
        "ORDER BY last_seq",
        (long long)after);
    if (rc == SQLITE_ERROR)
        return STATUS_NOT_FOUND;
    if (rc != SQLITE_OK)
        return status_of(rc);
    struct batch *b = batch_new(0);
    int longest = sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, JOURNAL_PIECE_MAX);
    if (b)
        status = read_rows(s, r, b, after, max_bytes);
    sqlite3_finalize(s);
    sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, longest);
    if (status == STATUS_OK) {
        piece_seal(b);
        *batch = b;
    } else {
        batch_unref(b);
    }
    return status;
}
