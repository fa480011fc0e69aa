#ifndef ROWTAP_TEST_ACCESS_MAKER_H
#define ROWTAP_TEST_ACCESS_MAKER_H

#include "access/keyset.h"
#include <openssl/evp.h>

/* Makes keys and tokens of all kinds, right and wrong ones. Fails the test where it cannot. */
enum signer { SIGN_NONE, SIGN_HS256, SIGN_HS384, SIGN_HS512, SIGN_RS256, SIGN_ES256, SIGN_EDDSA };

#define MAKER_SECRET "0123456789abcdef0123456789abcdef"
/* 2026-01-01T00:00:00Z, at which the tests' clock stands. */
#define MAKER_NOW 1767225600

int maker_start(void **state); /* cmocka group set-up and tear-down */
int maker_stop(void **state);

extern EVP_PKEY *maker_rsa, *maker_ec, *maker_ed, *maker_other_rsa;

/* HEADER.CLAIMS.SIGNATURE of these texts, whatever they are; for the caller to free. */
char *maker_token(const char *header, const char *claims, enum signer signer);
char *maker_hmac(const char *header, const char *claims, const void *secret, size_t len);
char *maker_encode(const void *p, size_t len); /* base64url */
char *maker_pem(EVP_PKEY *key);                /* of the public key */
/* {"keys":[…]} with RSA "r1", EC "e1", Ed25519 "d1" and oct "s1". */
char *maker_jwks(void);
struct keyset *maker_keys(int kind, const char *content);

#endif
