#include "cli/script.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/split.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>

/*
 * Bytes of JSON. What fits in REQUEST_MAX, half of what a server takes by default (--max-body), is
 * one request; a longer script is cut into smaller ones, so that other writers get their turn in
 * between.
 */
#define REQUEST_MAX ((size_t)8 << 20)
#define PART_MAX ((size_t)1 << 20)

#define FOREIGN_KEY_FAILED 787 /* SQLITE_CONSTRAINT_FOREIGNKEY, sqlite.org/rescode.html */

static const char dump_start[] = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n";

struct script {
    struct query *q;
    const char *text;
    size_t len;
    bool pieces;
    size_t max; /* of one request */
    /* The statements not sent yet. */
    size_t start, end, size;
    const char *last; /* of what was sent last */
    size_t last_len;
    struct buf piece;      /* BEGIN … COMMIT around statements of a large transaction */
    const char *piece_end; /* in the text, of its last statement */
    size_t piece_line;     /* of its first line */
    size_t pieces_sent, left_out;
    size_t counted, lines; /* line ends in text[0..counted) */
};

/* The line of an offset; asked for in rising order, or after forget_lines. */
static size_t line_at(struct script *s, size_t offset)
{
    for (; s->counted < offset; s->counted++)
        s->lines += s->text[s->counted] == '\n';
    return s->lines + 1;
}

static void forget_lines(struct script *s)
{
    s->counted = s->lines = 0;
}

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

static void say_too_large(size_t len, size_t line)
{
    fprintf(stderr,
        "rowtap: line %zu: %.1f MB in one request are more than the server takes; start it with a "
        "larger --max-body, or let transactions be committed in pieces with --pieces\n",
        line, (double)len / 1e6);
}

static int send_part(struct script *s, size_t start, size_t end)
{
    size_t line = line_at(s, start);
    int status = query_send(s->q, s->text + start, end - start, NULL, line);

    s->last = s->text + start;
    s->last_len = end - start;
    if (status == STATUS_TOO_LARGE)
        say_too_large(end - start, line);
    return status;
}

static int flush(struct script *s)
{
    int status = s->end > s->start ? send_part(s, s->start, s->end) : 0;

    s->start = s->end;
    s->size = 0;
    return status;
}

/* STATUS_TOO_LARGE is not reported: that is the caller's to judge. */
static int flush_piece(struct script *s)
{
    int status = 0;

    if (s->size) {
        buf_puts(&s->piece, "\nCOMMIT;");
        if (buf_error(&s->piece)) {
            term_error("out of memory");
            return STATUS_NOMEM;
        }
        status = query_send(s->q, s->piece.data, s->piece.len, NULL, s->piece_line);
        s->last_len = 0;
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

/* As many line ends as lie between two statements, so that the server's places are right. */
static void put_gap(struct buf *out, const char *from, const char *to)
{
    buf_putc(out, ' ');
    for (; from < to; from++)
        if (*from == '\n')
            buf_putc(out, '\n');
}

static int add_to_piece(struct script *s, const struct split_statement *st)
{
    size_t size = json_size(st->sql, st->len) + 1;
    int status = 0;

    if (s->size && (s->size > s->max || size > s->max - s->size))
        status = flush_piece(s);
    if (s->size == 0) {
        buf_puts(&s->piece, "BEGIN; PRAGMA defer_foreign_keys=ON;\n");
        s->piece_line = line_at(s, (size_t)(st->sql - s->text)) - 1;
    } else {
        put_gap(&s->piece, s->piece_end, st->sql);
    }
    buf_put(&s->piece, st->sql, st->len);
    if (!st->complete)
        buf_putc(&s->piece, ';');
    s->piece_end = st->sql + st->len;
    s->size += size;
    return status;
}

/* Whether text[at..end) can be cut anywhere: a message when not. */
static bool can_be_cut(struct script *s, size_t at, size_t end)
{
    struct split_statement st;

    while (split_next(s->text, end, &at, &st)) {
        if (st.kind != SPLIT_ROLLBACK && st.kind != SPLIT_SAVEPOINT)
            continue;
        fprintf(stderr, "rowtap: line %zu: a transaction with %s cannot be committed in pieces\n",
            line_at(s, (size_t)(st.sql - s->text)),
            st.kind == SPLIT_ROLLBACK ? "ROLLBACK" : "savepoints");
        return false;
    }
    return true;
}

/* The statements of text[at..end) in transactions that fit; their own BEGIN and COMMIT are left
 * out. */
static int run_in_pieces(struct script *s, size_t at, size_t end, bool dump)
{
    struct split_statement st;
    int status = 0;

    while (status == 0 && split_next(s->text, end, &at, &st)) {
        if (st.kind == SPLIT_BEGIN || st.kind == SPLIT_COMMIT)
            continue;
        if (dump && is_internal(&st))
            s->left_out++;
        else
            status = add_to_piece(s, &st);
    }
    return status < 0 ? status : flush_piece(s);
}

static int run_large_unit(struct script *s, size_t at, size_t end, size_t size)
{
    int status = flush(s);

    if (status < 0)
        return status;
    s->start = s->end = end;
    if (!s->pieces || size <= REQUEST_MAX)
        return send_part(s, at, end);
    if (!can_be_cut(s, at, end))
        return STATUS_INVALID;
    forget_lines(s);
    fprintf(stderr, "rowtap: note: the transaction at line %zu is committed in pieces\n",
        line_at(s, at));
    status = run_in_pieces(s, at, end, false);
    if (status == STATUS_TOO_LARGE)
        say_too_large(PART_MAX, s->piece_line);
    return status;
}

static int run_units(struct script *s)
{
    size_t at = 0, unit;
    bool complete;
    int status = 0;

    while (status == 0 && (unit = split_unit(s->text, s->len, &at, &complete)) > 0) {
        size_t size = json_size(s->text + at, unit) + 1, end = at + unit;

        if (size > s->max) {
            status = run_large_unit(s, at, end, size);
        } else {
            if (s->size + size > s->max)
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

static void say_refers_ahead(const struct script *s)
{
    fprintf(stderr,
        "rowtap: rows of this dump refer to rows further down, so it has to be loaded in one "
        "transaction: start the server with --max-body %zuMiB, on a database without these "
        "tables\n",
        (json_size(s->text, s->len) >> 20) + 2);
}

/* In one transaction if the server takes so much in one request, otherwise in several. */
static int run_dump(struct script *s)
{
    int status;

    if (!can_be_cut(s, 0, s->len))
        return STATUS_INVALID;
    forget_lines(s);
    s->max = SIZE_MAX;
    status = run_in_pieces(s, 0, s->len, true);
    if (status == STATUS_TOO_LARGE) {
        forget_lines(s);
        s->max = PART_MAX;
        s->left_out = s->pieces_sent = 0;
        status = run_in_pieces(s, 0, s->len, true);
        if (status == STATUS_TOO_LARGE)
            say_too_large(PART_MAX, s->piece_line);
    }
    if (status < 0 && s->q->sqlite_code == FOREIGN_KEY_FAILED && s->max == PART_MAX)
        say_refers_ahead(s);
    if (status == 0 && s->left_out > 1)
        fprintf(stderr,
            "rowtap: note: %zu statements about SQLite's own settings and tables were left out\n",
            s->left_out);
    if (status == 0 && s->pieces_sent > 1)
        fprintf(stderr, "rowtap: note: the dump was committed in %zu pieces\n", s->pieces_sent);
    return status;
}

int script_run(struct query *q, const char *text, size_t len, bool pieces)
{
    struct script s = {.q = q, .text = text, .len = len, .pieces = pieces};
    bool dump =
        len >= sizeof(dump_start) - 1 && memcmp(text, dump_start, sizeof(dump_start) - 1) == 0;
    int status;

    s.max = json_size(text, len) <= REQUEST_MAX ? REQUEST_MAX : PART_MAX;
    status = dump ? run_dump(&s) : run_units(&s);
    if (status == 0 && q->result)
        status = query_print(q, s.last, s.last_len);
    buf_fini(&s.piece);
    return status;
}
