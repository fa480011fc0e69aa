#ifndef ROWTAP_CAPTURE_SQLTEXT_H
#define ROWTAP_CAPTURE_SQLTEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Just enough of SQLite's tokenizer (https://www.sqlite.org/draft/tokenreq.html) to look at a text
 * before SQLite prepares it: words, parameters and the ends of statements. Strings, quoted names
 * and comments are stepped over. No state, no memory; any thread.
 */
enum sqltext_kind { SQLTEXT_END, SQLTEXT_WORD, SQLTEXT_PARAM, SQLTEXT_SEMICOLON, SQLTEXT_OTHER };

struct sqltext_token {
    enum sqltext_kind kind;
    const char *p; /* in the text */
    size_t len;
};

/* The next token at *pos, which moves behind it. */
struct sqltext_token sqltext_next(const char *sql, size_t len, size_t *pos);

bool sqltext_blank(const char *sql, size_t len);  /* nothing but space, comments and semicolons */
bool sqltext_single(const char *sql, size_t len); /* nothing stands behind the first semicolon */
bool sqltext_begins(const char *sql, size_t len, const char *word); /* its first word; any case */
bool sqltext_has_word(const char *sql, size_t len, const char *word);

#endif
