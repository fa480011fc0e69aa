#include "access/key.h"

#include "access/base64url.h"
#include "base/mem.h"
#include "base/status.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define ES256_PART 32 /* bytes of r and of s: RFC 7518 section 3.4 */

static const char *const names[KEY_ALGS] = {[KEY_HS256] = "HS256",
    [KEY_HS384] = "HS384",
    [KEY_HS512] = "HS512",
    [KEY_RS256] = "RS256",
    [KEY_ES256] = "ES256",
    [KEY_EDDSA] = "EdDSA"};

int key_alg_find(const char *name)
{
    for (int i = 0; i < KEY_ALGS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

void key_free(struct key *k)
{
    if (!k)
        return;
    if (k->secret)
        OPENSSL_cleanse(k->secret, k->secret_len);
    mem_free(k->secret);
    mem_free(k->id);
    EVP_PKEY_free(k->public);
    mem_free(k);
}

size_t key_secret_length(const char *data, size_t len)
{
    size_t end = len;

    if (end && data[end - 1] == '\n')
        end--;
    if (end && end < len && data[end - 1] == '\r')
        end--;
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)data[i] < ' ' || (unsigned char)data[i] > '~')
            return len; /* bytes, not text */
    return end;
}

struct key *key_from_secret(const char *data, size_t len, struct buf *err)
{
    struct key *k;

    if (!len) {
        buf_puts(err, "the secret is empty");
        return NULL;
    }
    k = mem_zalloc(sizeof(*k));
    if (k)
        k->secret = mem_dup(data, len);
    if (!k || !k->secret) {
        buf_puts(err, "out of memory");
        key_free(k);
        return NULL;
    }
    k->secret_len = len;
    k->algs = 1u << KEY_HS256 | 1u << KEY_HS384 | 1u << KEY_HS512;
    return k;
}

static bool is_p256(const EVP_PKEY *pkey)
{
    char group[32];
    size_t len;

    return EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) &&
           strcmp(group, "prime256v1") == 0;
}

/* The algorithm that goes with it; -1: none, and err says why. */
static int alg_of(const EVP_PKEY *pkey, struct buf *err)
{
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        if (EVP_PKEY_get_bits(pkey) >= KEY_RSA_BITS_MIN)
            return KEY_RS256;
        buf_printf(err, "the RSA key has %d bits, and must have at least %d",
            EVP_PKEY_get_bits(pkey), KEY_RSA_BITS_MIN);
        return -1;
    case EVP_PKEY_EC:
        if (is_p256(pkey))
            return KEY_ES256;
        buf_puts(err, "the only curves understood are P-256 and Ed25519");
        return -1;
    case EVP_PKEY_ED25519:
        return KEY_EDDSA;
    default:
        buf_puts(err, "the key is neither RSA, nor on the curve P-256 or Ed25519");
        return -1;
    }
}

struct key *key_from_public(EVP_PKEY *pkey, struct buf *err)
{
    int alg = alg_of(pkey, err);
    struct key *k = alg < 0 ? NULL : mem_zalloc(sizeof(*k));

    if (k) {
        k->public = pkey;
        k->algs = 1u << alg;
        return k;
    }
    if (alg >= 0)
        buf_puts(err, "out of memory");
    EVP_PKEY_free(pkey);
    return NULL;
}

/* Signatures. */

void key_sign_hs256(
    struct buf *out, const char *secret, size_t secret_len, const void *data, size_t len)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (secret_len > INT32_MAX || !HMAC(EVP_sha256(), secret, (int)secret_len, data, len, mac, &n))
        out->err = STATUS_NOMEM;
    else
        buf_put(out, mac, n);
}

static int verify_secret(const struct key *k, const EVP_MD *md, const void *data, size_t len,
    const void *signature, size_t signature_len)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (k->secret_len > INT32_MAX || !HMAC(md, k->secret, (int)k->secret_len, data, len, mac, &n))
        return STATUS_NOMEM;
    return signature_len == n && CRYPTO_memcmp(mac, signature, n) == 0;
}

/* r and s side by side, as tokens have them, in the DER that OpenSSL wants. */
static int to_der(const unsigned char *signature, unsigned char **der)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, ES256_PART, NULL);
    BIGNUM *s = BN_bin2bn(signature + ES256_PART, ES256_PART, NULL);
    int len = -1;

    *der = NULL;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
        r = s = NULL; /* sig's */
        len = i2d_ECDSA_SIG(sig, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len;
}

static int verify_digest(EVP_PKEY *pkey, const EVP_MD *md, const void *data, size_t len,
    const void *signature, size_t signature_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = STATUS_NOMEM;

    if (ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, pkey) == 1)
        rc = EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return rc;
}

static int verify_es256(
    const struct key *k, const void *data, size_t len, const void *signature, size_t signature_len)
{
    unsigned char *der;
    int der_len, rc;

    if (signature_len != 2 * ES256_PART)
        return 0;
    der_len = to_der(signature, &der);
    rc = der_len < 0 ? STATUS_NOMEM
                     : verify_digest(k->public, EVP_sha256(), data, len, der, (size_t)der_len);
    OPENSSL_free(der);
    return rc;
}

int key_verify(const struct key *k, enum key_alg alg, const void *data, size_t len,
    const void *signature, size_t signature_len)
{
    if (!(k->algs >> alg & 1))
        return 0;
    switch (alg) {
    case KEY_HS256:
        return verify_secret(k, EVP_sha256(), data, len, signature, signature_len);
    case KEY_HS384:
        return verify_secret(k, EVP_sha384(), data, len, signature, signature_len);
    case KEY_HS512:
        return verify_secret(k, EVP_sha512(), data, len, signature, signature_len);
    case KEY_RS256:
        return verify_digest(k->public, EVP_sha256(), data, len, signature, signature_len);
    case KEY_ES256:
        return verify_es256(k, data, len, signature, signature_len);
    case KEY_EDDSA:
        return verify_digest(k->public, NULL, data, len, signature, signature_len);
    case KEY_ALGS:
        break;
    }
    return 0;
}
