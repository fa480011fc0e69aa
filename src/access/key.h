#ifndef ROWTAP_ACCESS_KEY_H
#define ROWTAP_ACCESS_KEY_H

#include "base/buf.h"
#include <jansson.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Keys that signatures of tokens are verified with (RFC 7515, 7518, 8037), and what signs for
 * trying things out. All cryptography is OpenSSL's. A key is immutable; any thread.
 *
 * The key decides which algorithms go with it, never the token: a secret with HS256, HS384 and
 * HS512, an RSA key with RS256, one on P-256 with ES256, one on Ed25519 with EdDSA; and where a JWK
 * names its algorithm, with that alone.
 */
enum key_alg { KEY_HS256, KEY_HS384, KEY_HS512, KEY_RS256, KEY_ES256, KEY_EDDSA, KEY_ALGS };

#define KEY_ID_MAX 256     /* bytes of a kid */
#define KEY_SECRET_GOOD 32 /* shorter secrets can be guessed from a token: RFC 7518 section 3.2 */
#define KEY_RSA_BITS_MIN 2048

/* The algorithm of that name, in its one spelling, or -1; "none" is none of them. */
int key_alg_find(const char *name);

struct key {
    unsigned algs; /* bits, 1 << enum key_alg */
    char *id;      /* of a JWK, or NULL */
    bool any_id;   /* tokens may name it as they like: it came from a file with no room for one */
    EVP_PKEY *public; /* or … */
    char *secret;
    size_t secret_len;
};

void key_free(struct key *k); /* wipes a secret; NULL is allowed */

/*
 * Each gives a key, or NULL with a sentence in err. The last: NULL and nothing in err is a JWK that
 * is to be passed over, of another kind or for another use (RFC 7517 section 5).
 */
struct key *key_from_secret(const char *data, size_t len, struct buf *err);
struct key *key_from_public(EVP_PKEY *pkey, struct buf *err); /* takes pkey over */
struct key *key_from_jwk(const json_t *jwk, struct buf *err);

/* The secret in the content of a file: one line of text ends before its line's end. */
size_t key_secret_length(const char *data, size_t len);

/* 1: it is the key's signature of the data; 0: it is not; STATUS_NOMEM. */
int key_verify(const struct key *k, enum key_alg alg, const void *data, size_t len,
    const void *signature, size_t signature_len);

/* Appends the HS256 signature. */
void key_sign_hs256(
    struct buf *out, const char *secret, size_t secret_len, const void *data, size_t len);

#endif
