#include "access/key.h"

#include "access/base64url.h"
#include "base/mem.h"
#include "base/status.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

/* One key of a JWKS (RFC 7517, 7518 section 6, 8037). */

#define PART_MAX 2048 /* bytes of a number in a key: RSA with 16384 bits */

/* What a kind of key is made of, and what makes one. */
struct kind {
    const char *kty, *crv;  /* crv: NULL where there is none */
    const char *members[2]; /* base64url, all needed */
    EVP_PKEY *(*make)(const struct buf parts[2]);
};

/* The bytes of a P-256 coordinate and of an Ed25519 key. */
#define POINT_BYTES 32

/* Takes the parameters over. */
static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *make_rsa(const struct buf parts[2])
{
    BIGNUM *n = BN_bin2bn((const unsigned char *)parts[0].data, (int)parts[0].len, NULL);
    BIGNUM *e = BN_bin2bn((const unsigned char *)parts[1].data, (int)parts[1].len, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    if (n && e && bld && BN_is_odd(n) && BN_is_odd(e) && BN_cmp(e, BN_value_one()) > 0 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
        pkey = from_params("RSA", bld);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pkey;
}

static EVP_PKEY *make_p256(const struct buf parts[2])
{
    unsigned char point[1 + 2 * POINT_BYTES] = {4}; /* uncompressed */
    OSSL_PARAM_BLD *bld;
    EVP_PKEY *pkey = NULL;

    if (parts[0].len != POINT_BYTES || parts[1].len != POINT_BYTES)
        return NULL;
    memcpy(point + 1, parts[0].data, POINT_BYTES);
    memcpy(point + 1 + POINT_BYTES, parts[1].data, POINT_BYTES);
    bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
        pkey = from_params("EC", bld);
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

static EVP_PKEY *make_ed25519(const struct buf parts[2])
{
    if (parts[0].len != POINT_BYTES)
        return NULL;
    return EVP_PKEY_new_raw_public_key(
        EVP_PKEY_ED25519, NULL, (const unsigned char *)parts[0].data, parts[0].len);
}

static const struct kind kinds[] = {
    {"oct", NULL, {"k", NULL}, NULL},
    {"RSA", NULL, {"n", "e"}, make_rsa},
    {"EC", "P-256", {"x", "y"}, make_p256},
    {"OKP", "Ed25519", {"x", NULL}, make_ed25519},
};

static const char *text(const json_t *jwk, const char *name)
{
    const char *s = json_string_value(json_object_get(jwk, name));

    return s ? s : "";
}

static const struct kind *kind_of(const json_t *jwk)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(kinds[i].kty, text(jwk, "kty")) == 0 &&
            (!kinds[i].crv || strcmp(kinds[i].crv, text(jwk, "crv")) == 0))
            return &kinds[i];
    return NULL;
}

/* For signatures, by what it says of its use; each may be absent. */
static bool verifies(const json_t *jwk)
{
    const json_t *ops = json_object_get(jwk, "key_ops");
    const char *use = text(jwk, "use");

    if (*use && strcmp(use, "sig") != 0)
        return false;
    for (size_t i = 0; i < json_array_size(ops); i++) {
        const char *op = json_string_value(json_array_get(ops, i));

        if (op && strcmp(op, "verify") == 0)
            return true;
    }
    return !ops;
}

/* Where these are there they are texts, and operations a list. */
static const char *misshapen(const json_t *jwk)
{
    static const char *const texts[] = {"kty", "use", "alg", "kid", "crv"};
    const json_t *ops = json_object_get(jwk, "key_ops");

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        const json_t *j = json_object_get(jwk, texts[i]);

        if (j && !json_is_string(j))
            return texts[i];
    }
    if (strlen(text(jwk, "kid")) > KEY_ID_MAX)
        return "kid";
    return ops && !json_is_array(ops) ? "key_ops" : NULL;
}

static bool read_parts(
    const json_t *jwk, const struct kind *kind, struct buf parts[2], struct buf *err)
{
    for (int i = 0; i < 2 && kind->members[i]; i++) {
        const json_t *j = json_object_get(jwk, kind->members[i]);
        int rc = STATUS_INVALID;

        parts[i].max = PART_MAX;
        if (json_is_string(j))
            rc = base64url_decode(&parts[i], json_string_value(j), json_string_length(j));
        if (rc == 0 && parts[i].len)
            continue;
        if (rc == STATUS_NOMEM)
            buf_puts(err, "out of memory");
        else
            buf_printf(err, "its member \"%s\" is missing, or not base64url of 1 to %d bytes",
                kind->members[i], PART_MAX);
        return false;
    }
    return true;
}

static struct key *make(const struct kind *kind, const struct buf parts[2], struct buf *err)
{
    EVP_PKEY *pkey;

    if (!kind->make)
        return key_from_secret(parts[0].data, parts[0].len, err);
    pkey = kind->make(parts);
    ERR_clear_error();
    if (pkey)
        return key_from_public(pkey, err);
    buf_printf(err, "its numbers are no %s key", kind->kty);
    return NULL;
}

/* With its name, and the one algorithm that it says it is for. False: out of memory. */
static bool label(struct key *k, const json_t *jwk)
{
    const json_t *alg = json_object_get(jwk, "alg"), *id = json_object_get(jwk, "kid");

    if (alg) {
        int which = key_alg_find(json_string_value(alg));

        k->algs = which < 0 ? 0 : k->algs & 1u << which;
    }
    if (id)
        k->id = mem_strdup(json_string_value(id));
    return !id || k->id;
}

struct key *key_from_jwk(const json_t *jwk, struct buf *err)
{
    const char *wrong = json_is_object(jwk) ? misshapen(jwk) : "kty";
    const struct kind *kind = kind_of(jwk);
    struct buf parts[2] = {0};
    struct key *k = NULL;

    if (wrong || !json_object_get(jwk, "kty"))
        buf_printf(err, "its member \"%s\" is missing or malformed", wrong ? wrong : "kty");
    else if (kind && verifies(jwk) && read_parts(jwk, kind, parts, err))
        k = make(kind, parts, err);
    if (k && !label(k, jwk)) {
        buf_puts(err, "out of memory");
        key_free(k);
        k = NULL;
    }
    if (k && !k->algs) {
        key_free(k);
        k = NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (parts[i].data)
            OPENSSL_cleanse(parts[i].data, parts[i].len);
        buf_fini(&parts[i]);
    }
    return k;
}
