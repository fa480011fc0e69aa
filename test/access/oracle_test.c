#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "maker.h"

#include "access/token.h"
#include <jwt.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

/* The same tokens for libjwt, an implementation of its own: what it makes is accepted, and what is
 * accepted it accepts as well. */

static const struct token_rules no_rules;

static struct {
    const char *header;
    jwt_alg_t alg;
    enum signer signer;
} algs[] = {
    {"{\"alg\":\"HS256\"}", JWT_ALG_HS256, SIGN_HS256},
    {"{\"alg\":\"HS384\"}", JWT_ALG_HS384, SIGN_HS384},
    {"{\"alg\":\"HS512\"}", JWT_ALG_HS512, SIGN_HS512},
    {"{\"alg\":\"RS256\"}", JWT_ALG_RS256, SIGN_RS256},
    {"{\"alg\":\"ES256\"}", JWT_ALG_ES256, SIGN_ES256},
};
#define ALGS (sizeof(algs) / sizeof(*algs))

static char *private_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *copy;
    long len;
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    len = BIO_get_mem_data(bio, &data);
    copy = strndup(data, (size_t)len);
    BIO_free(bio);
    return copy;
}

static EVP_PKEY *pair_of(enum signer signer)
{
    return signer == SIGN_RS256 ? maker_rsa : signer == SIGN_ES256 ? maker_ec : NULL;
}

/* The key as libjwt wants it, to sign or to verify with. */
static char *key_text(enum signer signer, bool sign)
{
    EVP_PKEY *pair = pair_of(signer);
    if (!pair)
        return strdup(MAKER_SECRET);
    return sign ? private_pem(pair) : maker_pem(pair);
}

static bool we_accept(enum signer signer, const char *token)
{
    char *text = key_text(signer, false);
    struct keyset *keys = maker_keys(pair_of(signer) ? KEYSET_PUBLIC : KEYSET_SECRET, text);
    const char *why;
    struct identity *who =
        token_verify(token, strlen(token), keys, &no_rules, (int64_t)MAKER_NOW * 1000, &why);
    bool good = who && strcmp(who->user_id, "ann") == 0;
    identity_unref(who);
    keyset_unref(keys);
    free(text);
    return good;
}

static bool libjwt_accepts(enum signer signer, const char *token)
{
    char *text = key_text(signer, false);
    jwt_t *jwt = NULL;
    bool good = jwt_decode(&jwt, token, (const unsigned char *)text, (int)strlen(text)) == 0;
    jwt_free(jwt);
    free(text);
    return good;
}

static void test_what_libjwt_makes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALGS; i++) {
        char *text = key_text(algs[i].signer, true), *token;
        jwt_t *jwt;
        assert_int_equal(jwt_new(&jwt), 0);
        assert_int_equal(jwt_add_grant(jwt, "sub", "ann"), 0);
        assert_int_equal(jwt_add_grant_int(jwt, "exp", MAKER_NOW + 60), 0);
        assert_int_equal(
            jwt_set_alg(jwt, algs[i].alg, (const unsigned char *)text, (int)strlen(text)), 0);
        token = jwt_encode_str(jwt);
        assert_non_null(token);
        for (size_t k = 0; k < ALGS; k++) {
            bool same = k == i || (!pair_of(algs[i].signer) && !pair_of(algs[k].signer));
            assert_int_equal(we_accept(algs[k].signer, token), same);
        }
        jwt_free(jwt);
        free(token);
        free(text);
    }
}

static void test_what_is_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALGS; i++) {
        char *token = maker_token(algs[i].header, "{\"sub\":\"ann\"}", algs[i].signer);
        size_t len = strlen(token);
        assert_true(we_accept(algs[i].signer, token));
        assert_true(libjwt_accepts(algs[i].signer, token));
        for (size_t at = 0; at < len; at += 3) {
            char was = token[at];
            token[at] = was == 'A' ? 'B' : 'A';
            if (we_accept(algs[i].signer, token))
                assert_true(libjwt_accepts(algs[i].signer, token) && was == '.');
            token[at] = was;
        }
        free(token);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_libjwt_makes),
        cmocka_unit_test(test_what_is_accepted),
    };
    return cmocka_run_group_tests(tests, maker_start, maker_stop);
}
