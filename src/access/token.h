#ifndef ROWTAP_ACCESS_TOKEN_H
#define ROWTAP_ACCESS_TOKEN_H

#include "access/identity.h"
#include "access/keyset.h"

/*
 * JSON Web Tokens in their compact form (RFC 7519, 7515), read as RFC 8725 advises: the key decides
 * the algorithm, everything is checked, and what is not understood is refused. Any thread.
 */
#define TOKEN_MAX 8192     /* bytes of a token */
#define TOKEN_USER_MAX 256 /* bytes of a user's name */
#define TOKEN_ROLE_MAX 128

struct token_rules {
    const char *issuer;   /* claim iss has to be this; NULL: anything */
    const char *audience; /* claim aud has to have this; NULL: there may be no claim aud */
    int64_t leeway_ms;    /* by which clocks may differ */
};

/*
 * Who it says its bearer is, or NULL with what is wrong with it in *why, a sentence without
 * anything from the token; NULL there too: no memory. The identity ends at the claim exp and the
 * leeway.
 */
struct identity *token_verify(const char *token, size_t len, const struct keyset *keys,
    const struct token_rules *rules, int64_t now_ms, const char **why);

/* A token signed with HS256. The claims are borrowed. */
void token_sign(struct buf *out, const char *secret, size_t secret_len, const json_t *claims);

#endif
