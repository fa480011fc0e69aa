#ifndef ROWTAP_ACCESS_TOKENS_H
#define ROWTAP_ACCESS_TOKENS_H

#include "access/token.h"

/*
 * The server's keys and what it expects of tokens. The files of the keys may change while it runs:
 * they are read again, and a bad one never takes the place of a good one.
 */
struct tokens;

struct tokens_options {
    const char *secret_file, *public_key_file, *jwks_file; /* at least one; they outlive it, … */
    struct token_rules rules;                              /* … and so do its texts */
};

/* NULL and a sentence for the user in err. */
struct tokens *tokens_new(const struct tokens_options *options, struct buf *err);
void tokens_free(struct tokens *t); /* NULL is allowed */

/*
 * Looks, at most once a second, whether a file has changed, and then reads them; on a thread that
 * may wait for a disk. tokens_reload reads them in any case; false: they were bad. The log says so.
 */
void tokens_refresh(struct tokens *t, int64_t mono_ms);
bool tokens_reload(struct tokens *t);

/* token_verify with these keys, now. Any thread; never waits for a file. */
struct identity *tokens_verify(struct tokens *t, const char *token, size_t len, const char **why);

#endif
