#ifndef ROWTAP_CLI_SPLIT_H
#define ROWTAP_CLI_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Takes SQL text apart at the ends of statements, as https://www.sqlite.org/c3ref/complete.html
 * does: quotes, comments and the statements inside CREATE TRIGGER … END do not end one. It also
 * knows transactions, so that a script can be cut without cutting one of them.
 */
enum split_kind {
    SPLIT_OTHER,
    SPLIT_BEGIN,
    SPLIT_COMMIT,   /* COMMIT or END */
    SPLIT_ROLLBACK, /* of the whole transaction */
    SPLIT_SAVEPOINT,
    SPLIT_RELEASE,
    SPLIT_CHANGE, /* INSERT, REPLACE, UPDATE, DELETE, WITH: has a number of changed rows */
};

struct split_statement {
    const char *sql; /* its first token; points into the text */
    size_t len;      /* up to and with its semicolon */
    enum split_kind kind;
    bool complete; /* ended by a semicolon */
};

/*
 * The next statement at or after *at, and moves *at behind it. False when only spaces, comments and
 * semicolons are left. A text that ends inside a statement gives it with complete unset; the end
 * inside a comment or quote is such an end, too.
 */
bool split_next(const char *text, size_t len, size_t *at, struct split_statement *out);

/* Whether a transaction is open after the statements seen so far. Start with a zeroed struct. */
struct split_transaction {
    bool open;
    bool begun;             /* by BEGIN rather than by SAVEPOINT */
    const char *name;       /* the outermost savepoint's, in the statement's text */
    size_t name_len, depth; /* depth: savepoints of that name */
};
void split_track(struct split_transaction *t, const struct split_statement *s);

/*
 * The next unit: one statement, or a transaction from BEGIN (or the outermost SAVEPOINT) to its
 * end. Returns its length counted from text + *at, after moving *at to its first token; 0 at the
 * end of the text. *complete is unset when the text ends inside the unit.
 */
size_t split_unit(const char *text, size_t len, size_t *at, bool *complete);

/* The text has something to send and ends after a statement, outside any transaction. */
bool split_complete(const char *text, size_t len);

/* There is nothing to send: only spaces, finished comments and semicolons. */
bool split_blank(const char *text, size_t len);

/* The line (from 1) of a byte (from 0) of the text. */
size_t split_line(const char *text, size_t offset);

#endif
