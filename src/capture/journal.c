#include "capture/journal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "journal_sql.h"
#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define PIECE_BYTES (256 << 10)
#define TRIM_EXTRA 4    /* pieces deleted by a commit beyond as many as it adds */
#define TRIM_IDLE 16    /* by a step of journal_trim */
#define TRIM_NS 5000000 /* journal_trim takes about so long */

/* Of the server's own: past the authorizer's rules, as sqlconn_run. */
static int step(struct journal *j, sqlite3_stmt *s)
{
    struct statement_report *report = j->conn->auth.report;
    j->conn->auth.report = NULL;
    int rc = sqlite3_step(s);
    j->conn->auth.report = report;
    return rc;
}

static int step_to_end(struct journal *j, sqlite3_stmt *s)
{
    int rc = step(j, s), reset = sqlite3_reset(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : reset;
}

static int run(struct journal *j, const char *sql, size_t len)
{
    int rc = SQLITE_OK;
    const char *end = sql + len;
    while (rc == SQLITE_OK && sql < end) {
        sqlite3_stmt *s;
        struct statement_report *report = j->conn->auth.report;
        j->conn->auth.report = NULL;
        rc = sqlite3_prepare_v2(j->conn->db, sql, (int)(end - sql), &s, &sql);
        j->conn->auth.report = report;
        if (rc == SQLITE_OK && s)
            rc = step_to_end(j, s);
        sqlite3_finalize(s);
    }
    return rc;
}

static int runf(struct journal *j, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *sql = sqlite3_vmprintf(fmt, ap);
    va_end(ap);
    int rc = sql ? run(j, sql, strlen(sql)) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return rc;
}

static uint64_t column(sqlite3_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s, i);
}

/* The oldest row, after those before it were deleted. */
static int find_oldest(struct journal *j)
{
    struct journal_span *n = &j->now;
    int rc = step(j, j->oldest);
    if (rc == SQLITE_ROW) {
        n->oldest_seq = column(j->oldest, 0);
        n->after = column(j->oldest, 1) - 1;
        n->oldest_ms = sqlite3_column_int64(j->oldest, 2);
        n->oldest_total = column(j->oldest, 3);
    } else if (rc == SQLITE_DONE) {
        n->oldest_seq = 0;
        n->after = n->last_seq;
    }
    int reset = sqlite3_reset(j->oldest);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int find_newest(struct journal *j)
{
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(j->conn, &s,
        "SELECT last_seq,last_tx,total FROM main.rowtap_journal ORDER BY last_seq DESC LIMIT 1");
    if (rc == SQLITE_OK && (rc = step(j, s)) == SQLITE_ROW) {
        j->now.last_seq = column(s, 0);
        j->now.last_tx = column(s, 1);
        j->now.total = column(s, 2);
        rc = SQLITE_DONE;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Opening. */

/* What rowtap_journal_info says. */
struct info {
    bool there, ended;
    int64_t format;
};

/* It becomes part of what clients send and get, in several formats. */
static bool is_epoch(const char *s)
{
    size_t len = strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return len > 0 && len <= JOURNAL_EPOCH_MAX && !s[len];
}

static int read_info(struct journal *j, struct info *info)
{
    sqlite3_stmt *s;
    bool tables = false;
    *info = (struct info){0};
    int rc = sqlconn_prepare(j->conn, &s,
        "SELECT count(*) FROM main.sqlite_master WHERE type='table' AND name IN "
        "('rowtap_journal','rowtap_journal_info','rowtap_journal_place')");
    if (rc == SQLITE_OK) {
        rc = step(j, s);
        tables = rc == SQLITE_ROW && sqlite3_column_int(s, 0) == 3;
        sqlite3_finalize(s);
    }
    if (rc != SQLITE_ROW || !tables)
        return rc == SQLITE_ROW ? SQLITE_OK : rc;
    rc = sqlconn_prepare(
        j->conn, &s, "SELECT format,epoch,run,ended FROM main.rowtap_journal_info LIMIT 1");
    if (rc == SQLITE_OK && (rc = step(j, s)) == SQLITE_ROW) {
        const char *epoch = (const char *)sqlite3_column_text(s, 1);
        info->there = epoch && is_epoch(epoch);
        info->format = sqlite3_column_int64(s, 0);
        info->ended = sqlite3_column_int(s, 3) != 0;
        j->run = column(s, 2) + 1;
        snprintf(j->epoch, sizeof(j->epoch), "%s", info->there ? epoch : "");
        rc = SQLITE_DONE;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int begin_history(struct journal *j, const char *epoch)
{
    int rc = runf(j,
        "DROP TABLE IF EXISTS main.rowtap_journal; DROP TABLE IF EXISTS main.rowtap_journal_info; "
        "DROP TABLE IF EXISTS main.rowtap_journal_place");
    if (rc == SQLITE_OK)
        rc = run(j, (const char *)journal_sql, sizeof(journal_sql));
    snprintf(j->epoch, sizeof(j->epoch), "%s", epoch);
    j->run = 1;
    j->place = (struct journal_place){.there = false};
    if (rc == SQLITE_OK)
        rc = runf(j, "INSERT INTO main.rowtap_journal_info VALUES(%d,%Q,1,0)", FORMAT, j->epoch);
    return rc;
}

static int prepare(struct journal *j)
{
    int rc = sqlconn_prepare(
        j->conn, &j->insert, "INSERT INTO main.rowtap_journal VALUES(?1,?2,?3,?4,?5,?6,?7)");
    if (rc == SQLITE_OK)
        rc = sqlconn_prepare(
            j->conn, &j->remove, "DELETE FROM main.rowtap_journal WHERE last_seq=?1");
    if (rc == SQLITE_OK)
        rc = sqlconn_prepare(j->conn, &j->oldest,
            "SELECT last_seq,first_seq,time_ms,total FROM main.rowtap_journal ORDER BY last_seq "
            "LIMIT 1");
    if (rc == SQLITE_OK)
        rc = sqlconn_prepare(j->conn, &j->move,
            "UPDATE main.rowtap_journal_place SET salt=?1,frame=?2,done=?3,writes=writes+1,"
            "time_ms=?4");
    return rc;
}

static int begin_place(struct journal *j)
{
    uint64_t writes = j->place.writes;
    int rc = SQLITE_OK;
    if (!j->place.there)
        rc = runf(j, "INSERT INTO main.rowtap_journal_place VALUES(x'0000000000000000',0,0,0,0)");
    j->place = j->options.place;
    j->place.writes = writes;
    return rc == SQLITE_OK ? journal_write_place(j) : rc;
}

static int open_history(
    struct journal *j, const struct info *info, const char *epoch, struct buf *err)
{
    int rc;
    if (info->there && info->format > FORMAT) {
        buf_printf(err,
            "the journal in the file has format %lld, which a newer rowtap wrote; this one reads "
            "%d: use the newer one, or serve without --journal",
            (long long)info->format, FORMAT);
        return SQLITE_ERROR;
    }
    if (info->there && !info->ended && !j->options.anew) {
        rc = runf(j, "UPDATE main.rowtap_journal_info SET run=%lld", (long long)j->run);
    } else {
        if (info->there)
            log_info("the journal missed changes while the file was %s: a new one begins",
                j->options.anew ? "changed by others and not served" : "served without it");
        rc = begin_history(j, epoch);
    }
    if (rc == SQLITE_OK)
        rc = prepare(j);
    if (rc == SQLITE_OK)
        rc = counts_init(&j->counts, j->conn->db);
    if (rc == SQLITE_OK)
        rc = begin_place(j);
    if (rc == SQLITE_OK)
        rc = find_newest(j);
    return rc == SQLITE_OK ? find_oldest(j) : rc;
}

/* What is written from now on will not be in the journal that the file has. */
static int end_history(struct journal *j, const struct info *info)
{
    if (!info->there || info->ended)
        return SQLITE_OK;
    log_warn("the file has a journal, which ends here: it would miss what is written without "
             "--journal");
    return runf(j, "UPDATE main.rowtap_journal_info SET ended=1");
}

int journal_open(struct journal *j, struct sqlconn *c, const struct journal_options *options,
    const char *epoch, struct buf *err)
{
    struct info info;
    *j = (struct journal){.conn = c, .options = *options};
    int rc = read_info(j, &info);
    if (rc == SQLITE_OK && info.there)
        rc = journal_read_place(c, &j->place);
    if (rc != SQLITE_OK || (!options->enabled && !info.there))
        return rc;
    rc = sqlconn_run(c, OWN_BEGIN);
    if (rc == SQLITE_OK)
        rc = options->enabled ? open_history(j, &info, epoch, err) : end_history(j, &info);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(c, OWN_COMMIT);
    if (rc == SQLITE_OK)
        journal_committed(j);
    else if (!sqlite3_get_autocommit(c->db))
        sqlconn_run(c, OWN_ROLLBACK);
    return rc;
}

void journal_close(struct journal *j)
{
    sqlite3_finalize(j->insert);
    sqlite3_finalize(j->remove);
    sqlite3_finalize(j->oldest);
    sqlite3_finalize(j->move);
    buf_fini(&j->piece);
    *j = (struct journal){0};
}

/* Writing. */

static int insert(struct journal *j, uint64_t first_seq, uint64_t first_tx, uint64_t last_seq,
    uint64_t last_tx, int64_t time_ms)
{
    struct journal_span *n = &j->now;
    sqlite3 *db = j->conn->db;
    if (buf_error(&j->piece))
        return SQLITE_NOMEM;
    int longest = sqlite3_limit(db, SQLITE_LIMIT_LENGTH, JOURNAL_PIECE_MAX);
    sqlite3_bind_int64(j->insert, 1, (int64_t)last_seq);
    sqlite3_bind_int64(j->insert, 2, (int64_t)first_seq);
    sqlite3_bind_int64(j->insert, 3, (int64_t)first_tx);
    sqlite3_bind_int64(j->insert, 4, (int64_t)last_tx);
    sqlite3_bind_int64(j->insert, 5, time_ms);
    sqlite3_bind_int64(j->insert, 6, (int64_t)(n->total + j->piece.len));
    int rc = sqlite3_bind_blob64(j->insert, 7, j->piece.data, j->piece.len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = step_to_end(j, j->insert);
    sqlite3_bind_null(j->insert, 7);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, longest);
    if (rc != SQLITE_OK)
        return rc;
    n->total += j->piece.len;
    n->last_seq = last_seq;
    n->last_tx = last_tx;
    if (!n->oldest_seq) {
        n->oldest_seq = last_seq;
        n->oldest_total = n->total;
        n->oldest_ms = time_ms;
        n->after = first_seq - 1;
    }
    return SQLITE_OK;
}

/* The newest row stays in any case: the next numbers are known by it. */
static bool past_bounds(const struct journal *j, int64_t now_ms)
{
    const struct journal_options *o = &j->options;
    const struct journal_span *n = &j->now;
    return n->oldest_seq && n->oldest_seq != n->last_seq &&
           ((o->max_age_ms && now_ms - n->oldest_ms > o->max_age_ms) ||
               (o->max_changes && n->last_seq - n->oldest_seq >= o->max_changes) ||
               (o->max_bytes && n->total - n->oldest_total >= o->max_bytes));
}

/* The open transaction adds more than it has deleted so far; rows differ much in size. */
static bool grew(const struct journal *j)
{
    const struct journal_span *n = &j->now, *c = &j->committed;
    return n->total - n->oldest_total > c->total - c->oldest_total ||
           n->last_seq - n->oldest_seq > c->last_seq - c->oldest_seq;
}

static int trim(struct journal *j, int count)
{
    int64_t now_ms = clock_wall_ms();
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && (count-- > 0 || grew(j)) && past_bounds(j, now_ms)) {
        sqlite3_bind_int64(j->remove, 1, (int64_t)j->now.oldest_seq);
        rc = step_to_end(j, j->remove);
        if (rc == SQLITE_OK)
            rc = find_oldest(j);
    }
    return rc;
}

int journal_read_place(struct sqlconn *c, struct journal_place *place)
{
    sqlite3_stmt *s;
    *place = (struct journal_place){.there = false};
    int rc = sqlconn_prepare(
        c, &s, "SELECT salt,frame,done,writes,time_ms FROM main.rowtap_journal_place LIMIT 1");
    /* The table is not there. */
    if (rc == SQLITE_ERROR)
        return SQLITE_OK;
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        place->there = sqlite3_column_bytes(s, 0) == (int)sizeof(place->salt);
        if (place->there)
            memcpy(place->salt, sqlite3_column_blob(s, 0), sizeof(place->salt));
        place->frame = (uint32_t)column(s, 1);
        place->done = column(s, 2);
        place->writes = column(s, 3);
        place->time_ms = sqlite3_column_int64(s, 4);
        rc = SQLITE_DONE;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int journal_write_place(struct journal *j)
{
    const struct journal_place *place = &j->place;
    sqlite3 *db = j->conn->db;
    int64_t rowid = sqlite3_last_insert_rowid(db), changes = counts_changes(&j->counts);
    sqlite3_bind_blob(j->move, 1, place->salt, sizeof(place->salt), SQLITE_STATIC);
    sqlite3_bind_int64(j->move, 2, place->frame);
    sqlite3_bind_int64(j->move, 3, (int64_t)place->done);
    sqlite3_bind_int64(j->move, 4, place->time_ms);
    int rc = step_to_end(j, j->move);
    sqlite3_bind_null(j->move, 1);
    j->place.writes++;
    j->place.there = true;
    sqlite3_set_last_insert_rowid(db, rowid);
    if (j->counts.db)
        counts_restore(&j->counts, changes);
    return rc;
}

int journal_write_gap(struct journal *j, uint64_t seq, uint64_t tx)
{
    int rc = runf(j, "DELETE FROM main.rowtap_journal");
    buf_reset(&j->piece);
    j->now.oldest_seq = 0;
    /* No change lies between the two, so nothing can be read from it. */
    if (rc == SQLITE_OK)
        rc = insert(j, seq + 1, tx, seq, tx, clock_wall_ms());
    return rc;
}

int journal_write(struct journal *j, const struct batch *b, uint64_t seq, uint64_t tx)
{
    sqlite3 *db = j->conn->db;
    int rc = SQLITE_OK, pieces = 0;
    if (!j->options.enabled || b->change_count == 0)
        return SQLITE_OK;
    int64_t rowid = sqlite3_last_insert_rowid(db), changes = counts_changes(&j->counts);
    uint64_t base = tx + !b->continued; /* number of the batch's first transaction */
    for (uint32_t i = 0; i < b->change_count && rc == SQLITE_OK; pieces++) {
        uint32_t first = i;
        uint32_t first_tx = batch_transaction_of(b, i);
        buf_reset(&j->piece);
        piece_write(&j->piece, b, &i, PIECE_BYTES, j->run);
        uint32_t last_tx = batch_transaction_of(b, i - 1);
        rc = insert(j, seq + 1 + first, base + first_tx, seq + i, base + last_tx,
            b->transactions[last_tx].time_ms);
    }
    if (rc == SQLITE_OK)
        rc = trim(j, pieces + TRIM_EXTRA);
    if (j->piece.cap > 4 * PIECE_BYTES)
        buf_fini(&j->piece);
    /* A script's next statement may ask for them. */
    sqlite3_set_last_insert_rowid(db, rowid);
    counts_restore(&j->counts, changes);
    return rc;
}

void journal_committed(struct journal *j)
{
    j->committed = j->now;
}

void journal_rolled_back(struct journal *j)
{
    j->now = j->committed;
}

bool journal_overdue(const struct journal *j)
{
    return j->options.enabled && past_bounds(j, clock_wall_ms());
}

int journal_trim(struct journal *j)
{
    int rc = sqlconn_run(j->conn, OWN_BEGIN);
    if (rc != SQLITE_OK)
        return rc;
    int64_t end_ns = clock_mono_ns() + TRIM_NS;
    do
        rc = trim(j, TRIM_IDLE);
    while (rc == SQLITE_OK && journal_overdue(j) && clock_mono_ns() < end_ns);
    if (rc == SQLITE_OK)
        rc = journal_write_place(j);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(j->conn, OWN_COMMIT);
    if (rc == SQLITE_OK) {
        journal_committed(j);
        return rc;
    }
    journal_rolled_back(j);
    if (!sqlite3_get_autocommit(j->conn->db))
        sqlconn_run(j->conn, OWN_ROLLBACK);
    return rc;
}
