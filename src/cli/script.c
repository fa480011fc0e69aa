#include "cli/script.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/split.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>

/* Bytes of JSON; half of what a server takes by default (--max-body). */
#define REQUEST_MAX ((size_t)8 << 20)

static const char dump_start[] = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n";

struct script {
    struct query *q;
    const char *text;
    size_t len;
    bool pieces;
    /* The statements not sent yet. */
    size_t start, end, size;
    const char *last; /* of what was sent last */
    size_t last_len;
    struct buf piece; /* BEGIN … COMMIT around statements of a large transaction */
    size_t piece_line;
    size_t pieces_sent, left_out;
};

static size_t json_size(const char *s, size_t len)
{
    size_t size = len;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t')
            size++;
        else if (c < 0x20)
            size += 5;
    }
    return size;
}

static int send_sql(struct script *s, const char *sql, size_t len, size_t line)
{
    int status = query_send(s->q, sql, len, NULL, line);

    s->last = sql;
    s->last_len = len;
    if (status == STATUS_TOO_LARGE)
        fprintf(stderr,
            "rowtap: line %zu: %.1f MB in one request are more than the server takes; start it with "
            "a larger --max-body, or let transactions be committed in pieces with --pieces\n",
            line, (double)len / 1e6);
    return status;
}

static int flush(struct script *s)
{
    int status = 0;

    if (s->end > s->start)
        status = send_sql(s, s->text + s->start, s->end - s->start, split_line(s->text, s->start));
    s->start = s->end;
    s->size = 0;
    return status;
}

static int flush_piece(struct script *s)
{
    int status = 0;

    if (s->size) {
        buf_puts(&s->piece, "\nCOMMIT;");
        if (buf_error(&s->piece)) {
            term_error("out of memory");
            return STATUS_NOMEM;
        }
        status = send_sql(s, s->piece.data, s->piece.len, s->piece_line);
        s->pieces_sent++;
    }
    buf_reset(&s->piece);
    s->size = 0;
    return status;
}

/* sqlite_sequence and its like are SQLite's own: they can only be written by SQLite. */
static bool is_internal(const struct split_statement *st)
{
    static const char *const starts[] = {"INSERT INTO sqlite_", "INSERT INTO \"sqlite_",
        "DELETE FROM sqlite_", "ANALYZE sqlite_", "PRAGMA writable_schema", "PRAGMA foreign_keys"};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        size_t n = strlen(starts[i]);

        if (st->len >= n && text_ncasecmp(st->sql, starts[i], n) == 0)
            return true;
    }
    return false;
}

static int add_to_piece(struct script *s, const struct split_statement *st)
{
    size_t size = json_size(st->sql, st->len) + 1;
    int status = 0;

    if (s->size && s->size + size > REQUEST_MAX)
        status = flush_piece(s);
    if (s->size == 0) {
        /* On the first statement's line, so that lines are counted right in what follows. */
        s->piece_line = split_line(s->text, (size_t)(st->sql - s->text));
        buf_puts(&s->piece, "BEGIN; PRAGMA defer_foreign_keys=ON; ");
    } else {
        buf_putc(&s->piece, '\n');
    }
    buf_put(&s->piece, st->sql, st->len);
    if (!st->complete)
        buf_putc(&s->piece, ';');
    s->size += size;
    return status;
}

/* The statements of text[at..end) in transactions of REQUEST_MAX; BEGIN and COMMIT are left out. */
static int run_in_pieces(struct script *s, size_t at, size_t end, bool dump)
{
    struct split_statement st;
    int status = 0;

    while (status == 0 && split_next(s->text, end, &at, &st)) {
        if (st.kind == SPLIT_BEGIN || st.kind == SPLIT_COMMIT)
            continue;
        if (dump && is_internal(&st)) {
            s->left_out++;
            continue;
        }
        if (st.kind == SPLIT_ROLLBACK) {
            term_error("this transaction ends with ROLLBACK; it cannot be committed in pieces");
            return STATUS_INVALID;
        }
        status = add_to_piece(s, &st);
    }
    return status < 0 ? status : flush_piece(s);
}

static int run_large_unit(struct script *s, size_t at, size_t end)
{
    size_t line = split_line(s->text, at);
    int status = flush(s);

    if (status < 0)
        return status;
    if (s->pieces) {
        fprintf(stderr, "rowtap: note: the transaction at line %zu is committed in pieces\n", line);
        status = run_in_pieces(s, at, end, false);
    } else {
        status = send_sql(s, s->text + at, end - at, line);
    }
    s->start = s->end = end;
    return status;
}

static int run_units(struct script *s)
{
    size_t at = 0, unit;
    bool complete;
    int status = 0;

    while (status == 0 && (unit = split_unit(s->text, s->len, &at, &complete)) > 0) {
        size_t size = json_size(s->text + at, unit) + 1, end = at + unit;

        if (size > REQUEST_MAX) {
            status = run_large_unit(s, at, end);
        } else {
            if (s->size + size > REQUEST_MAX)
                status = flush(s);
            if (s->size == 0)
                s->start = at;
            s->size += size;
            s->end = end;
        }
        at = end;
    }
    return status < 0 ? status : flush(s);
}

static int run_dump(struct script *s)
{
    int status = run_in_pieces(s, 0, s->len, true);

    if (status == 0 && s->left_out > 1)
        fprintf(stderr, "rowtap: note: %zu statements about SQLite's own settings and tables were left out\n",
            s->left_out);
    if (status == 0 && s->pieces_sent > 1)
        fprintf(stderr, "rowtap: note: the dump was committed in %zu pieces\n", s->pieces_sent);
    return status;
}

int script_run(struct query *q, const char *text, size_t len, bool pieces)
{
    struct script s = {.q = q, .text = text, .len = len, .pieces = pieces};
    bool dump = len >= sizeof(dump_start) - 1 && memcmp(text, dump_start, sizeof(dump_start) - 1) == 0;
    int status = dump ? run_dump(&s) : run_units(&s);

    if (status == 0 && q->result)
        status = query_print(q, s.last, s.last_len);
    buf_fini(&s.piece);
    return status;
}
