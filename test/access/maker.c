#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "maker.h"

#include "access/base64url.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EVP_PKEY *maker_rsa, *maker_ec, *maker_ed, *maker_other_rsa;

int maker_start(void **state)
{
    (void)state;
    maker_rsa = EVP_RSA_gen(2048);
    maker_other_rsa = EVP_RSA_gen(2048);
    maker_ec = EVP_EC_gen("P-256");
    maker_ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return maker_rsa && maker_ec && maker_ed && maker_other_rsa ? 0 : -1;
}

int maker_stop(void **state)
{
    (void)state;
    EVP_PKEY_free(maker_rsa);
    EVP_PKEY_free(maker_other_rsa);
    EVP_PKEY_free(maker_ec);
    EVP_PKEY_free(maker_ed);
    return 0;
}

static char *take(struct buf *b)
{
    char *copy;
    assert_int_equal(buf_error(b), 0);
    copy = strdup(buf_text(b));
    buf_fini(b);
    return copy;
}

char *maker_encode(const void *p, size_t len)
{
    struct buf b = {0};
    base64url_encode(&b, p, len);
    return take(&b);
}

static size_t sign_with(EVP_PKEY *key, const EVP_MD *md, const char *text, unsigned char *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 512;
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, out, &len, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    return len;
}

static size_t sign_es256(const char *text, unsigned char *out)
{
    unsigned char der[512];
    const unsigned char *p = der;
    size_t len = sign_with(maker_ec, EVP_sha256(), text, der);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
    return 64;
}

static size_t hmac(
    const EVP_MD *md, const void *secret, size_t secret_len, const char *text, unsigned char *out)
{
    unsigned n = 0;
    HMAC(md, secret, (int)secret_len, (const unsigned char *)text, strlen(text), out, &n);
    return n;
}

static size_t sign(enum signer signer, const char *text, unsigned char *out)
{
    const size_t len = strlen(MAKER_SECRET);
    switch (signer) {
    case SIGN_HS256:
        return hmac(EVP_sha256(), MAKER_SECRET, len, text, out);
    case SIGN_HS384:
        return hmac(EVP_sha384(), MAKER_SECRET, len, text, out);
    case SIGN_HS512:
        return hmac(EVP_sha512(), MAKER_SECRET, len, text, out);
    case SIGN_RS256:
        return sign_with(maker_rsa, EVP_sha256(), text, out);
    case SIGN_ES256:
        return sign_es256(text, out);
    case SIGN_EDDSA:
        return sign_with(maker_ed, NULL, text, out);
    case SIGN_NONE:
        break;
    }
    return 0;
}

static void put_signed(struct buf *b, const char *header, const char *claims)
{
    base64url_encode(b, header, strlen(header));
    buf_putc(b, '.');
    base64url_encode(b, claims, strlen(claims));
}

char *maker_token(const char *header, const char *claims, enum signer signer)
{
    unsigned char signature[512];
    struct buf b = {0};
    size_t len;
    put_signed(&b, header, claims);
    len = sign(signer, buf_text(&b), signature);
    buf_putc(&b, '.');
    base64url_encode(&b, signature, len);
    return take(&b);
}

char *maker_hmac(const char *header, const char *claims, const void *secret, size_t secret_len)
{
    unsigned char mac[64];
    struct buf b = {0};
    size_t len;
    put_signed(&b, header, claims);
    len = hmac(EVP_sha256(), secret, secret_len, buf_text(&b), mac);
    buf_putc(&b, '.');
    base64url_encode(&b, mac, len);
    return take(&b);
}

char *maker_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *copy;
    long len;
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    len = BIO_get_mem_data(bio, &data);
    copy = strndup(data, (size_t)len);
    BIO_free(bio);
    return copy;
}

static void put_number(struct buf *b, const char *name, EVP_PKEY *key, const char *param, int pad)
{
    unsigned char bytes[512];
    BIGNUM *n = NULL;
    int len;
    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &n), 1);
    len = BN_bn2binpad(n, bytes, pad ? pad : BN_num_bytes(n));
    buf_printf(b, ",\"%s\":\"", name);
    base64url_encode(b, bytes, (size_t)len);
    buf_putc(b, '"');
    BN_free(n);
}

char *maker_jwks(void)
{
    unsigned char raw[32];
    size_t len = sizeof(raw);
    struct buf b = {0};
    buf_puts(&b, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r1\",\"use\":\"sig\",\"alg\":\"RS256\"");
    put_number(&b, "n", maker_rsa, OSSL_PKEY_PARAM_RSA_N, 0);
    put_number(&b, "e", maker_rsa, OSSL_PKEY_PARAM_RSA_E, 0);
    buf_puts(&b, "},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e1\"");
    put_number(&b, "x", maker_ec, OSSL_PKEY_PARAM_EC_PUB_X, 32);
    put_number(&b, "y", maker_ec, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    assert_int_equal(EVP_PKEY_get_raw_public_key(maker_ed, raw, &len), 1);
    buf_puts(&b, "},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"d1\",\"x\":\"");
    base64url_encode(&b, raw, len);
    buf_puts(&b, "\"},{\"kty\":\"oct\",\"kid\":\"s1\",\"alg\":\"HS256\",\"k\":\"");
    base64url_encode(&b, MAKER_SECRET, strlen(MAKER_SECRET));
    buf_puts(&b, "\"},{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"other\"},"
                 "{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":\"enc\"}]}");
    return take(&b);
}

struct keyset *maker_keys(int kind, const char *content)
{
    struct keyset *set = keyset_new();
    struct buf err = {0};
    int passed_over = 0;
    assert_non_null(set);
    if (keyset_add(set, kind, content, strlen(content), &passed_over, &err) < 0)
        fail_msg("%s", buf_text(&err));
    buf_fini(&err);
    return set;
}
