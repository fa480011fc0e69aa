#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "maker.h"

#include "access/base64url.h"
#include "access/token.h"
#include "base/mem.h"
#include "base/status.h"
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HS "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define ANN "{\"sub\":\"ann\",\"role\":\"user\",\"exp\":1767229200}"

static const struct token_rules no_rules;
static struct keyset *secret;

static struct identity *verify(
    const struct keyset *keys, const struct token_rules *rules, const char *token, const char **why)
{
    return token_verify(token, strlen(token), keys, rules, (int64_t)MAKER_NOW * 1000, why);
}

/* NULL: it must be accepted; otherwise what the refusal has to say. Frees the token. */
static void expect(
    const struct keyset *keys, const struct token_rules *rules, char *token, const char *wanted)
{
    const char *why;
    struct identity *who = verify(keys, rules, token, &why);
    if (!wanted && !who)
        fail_msg("refused (%s): %s", why ? why : "no memory", token);
    if (wanted && who)
        fail_msg("accepted, though %s: %s", wanted, token);
    if (wanted && (!why || !strstr(why, wanted)))
        fail_msg("refused because %s, not %s: %s", why ? why : "no memory", wanted, token);
    identity_unref(who);
    free(token);
}

static void refused(char *token, const char *wanted)
{
    expect(secret, &no_rules, token, wanted);
}

static void test_tells_who_it_is(void **state)
{
    (void)state;
    char *token = maker_token(HS, ANN, SIGN_HS256);
    const char *why;
    struct identity *who = verify(secret, &no_rules, token, &why);
    assert_non_null(who);
    assert_string_equal(who->user_id, "ann");
    assert_string_equal(who->role, "user");
    assert_int_equal(who->expires_ms, 1767229200000);
    assert_string_equal(json_string_value(json_object_get(who->claims, "sub")), "ann");
    identity_unref(who);
    free(token);
}

/* What the claims may be, with no rules but the clock. */
static void test_claims(void **state)
{
    (void)state;
    static const struct {
        const char *claims, *refusal;
    } cases[] = {
        {"{\"sub\":\"ann\"}", NULL},
        {"{}", NULL},
        {"{\"sub\":\"ann\",\"exp\":1767225601}", NULL},
        {"{\"sub\":\"ann\",\"exp\":1767225600.5}", NULL},
        {"{\"sub\":\"ann\",\"exp\":1767225600}", "expired"},
        {"{\"sub\":\"ann\",\"exp\":1767225599.999}", "expired"},
        {"{\"sub\":\"ann\",\"exp\":0}", "expired"},
        {"{\"sub\":\"ann\",\"exp\":-1}", "expired"},
        {"{\"sub\":\"ann\",\"exp\":-1e300}", "expired"},
        {"{\"sub\":\"ann\",\"exp\":1e300}", NULL},
        {"{\"sub\":\"ann\",\"exp\":9223372036854775807}", NULL},
        {"{\"sub\":\"ann\",\"exp\":1e999}", "not a JSON object"},
        {"{\"sub\":\"ann\",\"exp\":99999999999999999999}", "not a JSON object"},
        {"{\"sub\":\"ann\",\"exp\":\"1767229200\"}", "must be numbers"},
        {"{\"sub\":\"ann\",\"exp\":null}", "must be numbers"},
        {"{\"sub\":\"ann\",\"exp\":true}", "must be numbers"},
        {"{\"sub\":\"ann\",\"exp\":[1767229200]}", "must be numbers"},
        {"{\"sub\":\"ann\",\"nbf\":1767225600}", NULL},
        {"{\"sub\":\"ann\",\"nbf\":1767225601}", "not valid yet"},
        {"{\"sub\":\"ann\",\"nbf\":\"0\"}", "must be numbers"},
        {"{\"sub\":\"ann\",\"nbf\":1e300}", "not valid yet"},
        {"{\"sub\":\"ann\",\"iat\":1767225600}", NULL},
        {"{\"sub\":\"ann\",\"iat\":1767225601}", "not valid yet"},
        {"{\"sub\":\"ann\",\"iat\":{}}", "must be numbers"},
        {"{\"sub\":7}", "sub must be"},
        {"{\"sub\":null}", "sub must be"},
        {"{\"sub\":\"\"}", "sub must be"},
        {"{\"sub\":[\"ann\"]}", "sub must be"},
        {"{\"sub\":\"ann\\nbob\"}", "sub must be"},
        {"{\"sub\":\"ann\\u007f\"}", "sub must be"},
        {"{\"sub\":\"ann\\u0000bob\"}", "not a JSON object"},
        {"{\"sub\":\"\\u00e5nn \\ud83d\\ude00\"}", NULL},
        {"{\"sub\":\"\\ud83d\"}", "not a JSON object"},
        {"{\"sub\":\"ann\",\"role\":1}", "role must be"},
        {"{\"sub\":\"ann\",\"role\":[\"admin\"]}", "role must be"},
        {"{\"sub\":\"ann\",\"role\":\"\"}", "role must be"},
        {"{\"sub\":\"ann\",\"iss\":7}", "iss must be"},
        {"{\"sub\":\"ann\",\"aud\":\"shop\"}", "another server"},
        {"{\"sub\":\"ann\",\"aud\":7}", "aud must be"},
        {"{\"sub\":\"ann\",\"sub\":\"root\"}", "not a JSON object"},
        {"{\"sub\":\"ann\",\"s\\u0075b\":\"root\"}", "not a JSON object"},
        {"{\"sub\":\"ann\",\"exp\":1,\"exp\":1767229200}", "not a JSON object"},
        {"[{\"sub\":\"ann\"}]", "not a JSON object"},
        {"\"ann\"", "not a JSON object"},
        {"null", "not a JSON object"},
        {"", "not a JSON object"},
        {"{\"sub\":\"ann\"", "not a JSON object"},
        {"{\"sub\":\"ann\"}x", "not a JSON object"},
        {"{'sub':'ann'}", "not a JSON object"},
        {"{\"sub\":\"\xff\xfe\"}", "not a JSON object"},
        {"{\"sub\":\"\xc0\xaf\"}", "not a JSON object"},
        {"{\"\xed\xa0\x80\":1}", "not a JSON object"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect(secret, &no_rules, maker_token(HS, cases[i].claims, SIGN_HS256), cases[i].refusal);
}

/* Whatever reads it elsewhere may see less of it, or more. */
static void test_a_nul_is_no_space(void **state)
{
    static const char claims[] = "{\"sub\":\"ann\",\"admin\":true\0}";
    struct buf token = {0}, mac = {0};
    const char *why;

    (void)state;
    base64url_encode(&token, HS, strlen(HS));
    buf_putc(&token, '.');
    base64url_encode(&token, claims, sizeof(claims) - 1);
    key_sign_hs256(&mac, MAKER_SECRET, strlen(MAKER_SECRET), token.data, token.len);
    buf_putc(&token, '.');
    base64url_encode(&token, mac.data, mac.len);
    assert_null(verify(secret, &no_rules, buf_text(&token), &why));
    assert_string_equal(why, "the token's claims are not a JSON object");
    buf_fini(&token);
    buf_fini(&mac);
}

static void test_a_nul_in_a_jwks(void **state)
{
    static const char text[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"x\":true\0}]}";
    struct keyset *set = keyset_new();
    struct buf err = {0};
    int passed_over = 0;

    (void)state;
    assert_int_equal(
        keyset_add(set, KEYSET_JWKS, text, sizeof(text) - 1, &passed_over, &err), STATUS_INVALID);
    assert_string_equal(buf_text(&err), "it is not JSON: it has a NUL character");
    buf_fini(&err);
    keyset_unref(set);
}

static void test_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header, *refusal;
    } cases[] = {
        {"{\"alg\":\"HS256\"}", NULL},
        {"{\"alg\":\"HS256\",\"typ\":\"jwt\",\"x\":[1]}", NULL},
        {"{\"alg\":\"HS256\",\"typ\":\"application/at+jwt\"}", NULL},
        {"{\"alg\":\"HS256\",\"kid\":\"whatever\"}", NULL},
        {"{\"typ\":\"JWT\"}", "its algorithm"},
        {"{\"alg\":256}", "its algorithm"},
        {"{\"alg\":null}", "its algorithm"},
        {"{\"alg\":[\"HS256\"]}", "its algorithm"},
        {"{\"alg\":\"none\"}", "not one of"},
        {"{\"alg\":\"None\"}", "not one of"},
        {"{\"alg\":\"nOnE\"}", "not one of"},
        {"{\"alg\":\"\"}", "not one of"},
        {"{\"alg\":\"hs256\"}", "not one of"},
        {"{\"alg\":\"HS256 \"}", "not one of"},
        {"{\"alg\":\"RS512\"}", "not one of"},
        {"{\"alg\":\"HS384\"}", "signature"},
        {"{\"alg\":\"HS512\"}", "signature"},
        {"{\"alg\":\"RS256\"}", "no key"},
        {"{\"alg\":\"ES256\"}", "no key"},
        {"{\"alg\":\"EdDSA\"}", "no key"},
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", "not a JSON object"},
        {"{\"alg\":\"none\",\"alg\":\"HS256\"}", "not a JSON object"},
        {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", "extension"},
        {"{\"alg\":\"HS256\",\"crit\":[]}", "extension"},
        {"{\"alg\":\"HS256\",\"typ\":\"secevent+jwt\"}", "another type"},
        {"{\"alg\":\"HS256\",\"typ\":7}", "another type"},
        {"{\"alg\":\"HS256\",\"kid\":7}", "kid"},
        {"{\"alg\":\"HS256\",\"kid\":[\"a\"]}", "kid"},
        {"[]", "not a JSON object"},
        {"\"HS256\"", "not a JSON object"},
        {"", "not a JSON object"},
        {"{\"alg\":\"HS256\xff\"}", "not a JSON object"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect(secret, &no_rules, maker_token(cases[i].header, ANN, SIGN_HS256), cases[i].refusal);
}

static void test_rules(void **state)
{
    (void)state;
    const struct token_rules rules = {.issuer = "https://id", .audience = "shop"};
    static const struct {
        const char *claims, *refusal;
    } cases[] = {
        {"{\"iss\":\"https://id\",\"aud\":\"shop\"}", NULL},
        {"{\"iss\":\"https://id\",\"aud\":[\"bank\",\"shop\"]}", NULL},
        {"{\"iss\":\"https://id\"}", "does not say"},
        {"{\"iss\":\"https://id\",\"aud\":\"Shop\"}", "another server"},
        {"{\"iss\":\"https://id\",\"aud\":\"shop2\"}", "another server"},
        {"{\"iss\":\"https://id\",\"aud\":\"\"}", "another server"},
        {"{\"iss\":\"https://id\",\"aud\":[]}", "another server"},
        {"{\"iss\":\"https://id\",\"aud\":[\"bank\"]}", "another server"},
        {"{\"iss\":\"https://id\",\"aud\":[\"shop\",7]}", "aud must be"},
        {"{\"iss\":\"https://id\",\"aud\":[[\"shop\"]]}", "aud must be"},
        {"{\"iss\":\"https://id\",\"aud\":{\"shop\":1}}", "aud must be"},
        {"{\"iss\":\"https://id\",\"aud\":null}", "aud must be"},
        {"{\"aud\":\"shop\"}", "issuer"},
        {"{\"iss\":\"https://id/\",\"aud\":\"shop\"}", "issuer"},
        {"{\"iss\":[\"https://id\"],\"aud\":\"shop\"}", "iss must be"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect(secret, &rules, maker_token(HS, cases[i].claims, SIGN_HS256), cases[i].refusal);
}

static void test_leeway(void **state)
{
    (void)state;
    const struct token_rules rules = {.leeway_ms = 5000};
    const char *why;
    char *token = maker_token(HS, "{\"sub\":\"a\",\"exp\":1767225600}", SIGN_HS256);
    struct identity *who = verify(secret, &rules, token, &why);
    assert_non_null(who);
    assert_int_equal(who->expires_ms, 1767225605000);
    identity_unref(who);
    free(token);
    expect(secret, &rules, maker_token(HS, "{\"exp\":1767225595.001}", SIGN_HS256), NULL);
    expect(secret, &rules, maker_token(HS, "{\"exp\":1767225595}", SIGN_HS256), "expired");
    expect(secret, &rules, maker_token(HS, "{\"nbf\":1767225605}", SIGN_HS256), NULL);
    expect(secret, &rules, maker_token(HS, "{\"nbf\":1767225606}", SIGN_HS256), "not valid yet");
    expect(secret, &rules, maker_token(HS, "{\"iat\":1767225606}", SIGN_HS256), "not valid yet");
}

static const struct {
    const char *alg;
    enum signer signer;
    const char *kid; /* in maker_jwks */
} algs[] = {
    {"HS256", SIGN_HS256, "s1"},
    {"HS384", SIGN_HS384, NULL},
    {"HS512", SIGN_HS512, NULL},
    {"RS256", SIGN_RS256, "r1"},
    {"ES256", SIGN_ES256, "e1"},
    {"EdDSA", SIGN_EDDSA, "d1"},
};
#define ALGS (sizeof(algs) / sizeof(*algs))

static struct keyset *keys_for(enum signer signer)
{
    EVP_PKEY *key = signer == SIGN_RS256   ? maker_rsa
                    : signer == SIGN_ES256 ? maker_ec
                    : signer == SIGN_EDDSA ? maker_ed
                                           : NULL;
    char *pem = key ? maker_pem(key) : NULL;
    struct keyset *keys =
        key ? maker_keys(KEYSET_PUBLIC, pem) : maker_keys(KEYSET_SECRET, MAKER_SECRET "\n");
    free(pem);
    return keys;
}

/* Every algorithm with every kind of key: only its own will do, whatever the header says. */
static void test_algorithms_and_keys(void **state)
{
    (void)state;
    for (size_t k = 0; k < ALGS; k++) {
        struct keyset *keys = keys_for(algs[k].signer);
        for (size_t said = 0; said < ALGS; said++)
            for (size_t done = 0; done < ALGS; done++) {
                char header[64];
                bool good = said == done && (said == k || (said <= 2 && k <= 2));
                bool key = (said <= 2) == (k <= 2) && (said <= 2 || said == k);
                snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algs[said].alg);
                expect(keys, &no_rules, maker_token(header, ANN, algs[done].signer),
                    good  ? NULL
                    : key ? "signature"
                          : "no key");
            }
        keyset_unref(keys);
    }
}

/* The public key is public: it must not do as a secret, in any of its forms. */
static void test_public_key_as_secret(void **state)
{
    (void)state;
    EVP_PKEY *const pairs[] = {maker_rsa, maker_ec, maker_ed};
    for (size_t i = 0; i < 3; i++) {
        char *pem = maker_pem(pairs[i]), *jwks = maker_jwks();
        struct keyset *one = maker_keys(KEYSET_PUBLIC, pem), *all = maker_keys(KEYSET_JWKS, jwks);
        unsigned char *der = NULL;
        int len = i2d_PUBKEY(pairs[i], &der);
        expect(one, &no_rules, maker_hmac(HS, ANN, pem, strlen(pem)), "no key");
        expect(one, &no_rules, maker_hmac(HS, ANN, pem, strlen(pem) - 1), "no key");
        expect(one, &no_rules, maker_hmac(HS, ANN, der, (size_t)len), "no key");
        expect(one, &no_rules, maker_hmac(HS, ANN, "", 0), "no key");
        expect(all, &no_rules, maker_hmac(HS, ANN, pem, strlen(pem)), "signature");
        expect(all, &no_rules,
            maker_hmac("{\"alg\":\"HS256\",\"kid\":\"r1\"}", ANN, pem, strlen(pem)), "no key");
        OPENSSL_free(der);
        keyset_unref(one);
        keyset_unref(all);
        free(pem);
        free(jwks);
    }
}

static void test_kid_selects(void **state)
{
    (void)state;
    char *jwks = maker_jwks(), header[128];
    struct keyset *keys = maker_keys(KEYSET_JWKS, jwks);
    assert_int_equal(keys->count, 4);
    for (size_t i = 0; i < ALGS; i++)
        for (size_t k = 0; algs[i].kid && k < ALGS; k++) {
            if (!algs[k].kid)
                continue;
            snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", algs[i].alg,
                algs[k].kid);
            expect(keys, &no_rules, maker_token(header, ANN, algs[i].signer),
                i == k ? NULL : "no key");
        }
    /* Without one, what goes with the algorithm is tried. */
    expect(keys, &no_rules, maker_token("{\"alg\":\"ES256\"}", ANN, SIGN_ES256), NULL);
    expect(keys, &no_rules, maker_token("{\"alg\":\"ES256\",\"kid\":\"e2\"}", ANN, SIGN_ES256),
        "no key");
    expect(keys, &no_rules, maker_token("{\"alg\":\"ES256\",\"kid\":\"\"}", ANN, SIGN_ES256),
        "no key");
    expect(keys, &no_rules, maker_token("{\"alg\":\"RS256\",\"kid\":\"enc\"}", ANN, SIGN_RS256),
        "no key");
    /* The JWK says HS256 and means it. */
    expect(keys, &no_rules, maker_token("{\"alg\":\"HS512\",\"kid\":\"s1\"}", ANN, SIGN_HS512),
        "no key");
    keyset_unref(keys);
    free(jwks);
}

static void test_several_keys_of_one_kind(void **state)
{
    (void)state;
    char *first = maker_pem(maker_other_rsa), *second = maker_pem(maker_rsa), both[4096];
    struct keyset *keys;
    snprintf(both, sizeof(both), "the old one\n%s\nthe new one\n%s", first, second);
    keys = maker_keys(KEYSET_PUBLIC, both);
    assert_int_equal(keys->count, 2);
    expect(keys, &no_rules, maker_token("{\"alg\":\"RS256\"}", ANN, SIGN_RS256), NULL);
    keyset_unref(keys);
    keys = maker_keys(KEYSET_PUBLIC, first);
    expect(keys, &no_rules, maker_token("{\"alg\":\"RS256\"}", ANN, SIGN_RS256), "signature");
    keyset_unref(keys);
    free(first);
    free(second);
}

/* Nothing may be left out, added or changed. */
static void test_every_byte_counts(void **state)
{
    (void)state;
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n%";
    const char *why;
    for (size_t a = 0; a < ALGS; a++) {
        struct keyset *keys = keys_for(algs[a].signer);
        char header[64], *good;
        size_t len, page = (size_t)sysconf(_SC_PAGESIZE);
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algs[a].alg);
        good = maker_token(header, ANN, algs[a].signer);
        len = strlen(good);
        /* Cut anywhere, ending where memory ends. */
        char *map =
            mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
        for (size_t n = 0; n < len; n++) {
            memcpy(map + page - n, good, n);
            assert_null(
                token_verify(map + page - n, n, keys, &no_rules, (int64_t)MAKER_NOW * 1000, &why));
            assert_non_null(why);
        }
        munmap(map, 2 * page);
        for (size_t i = 0; i < len; i++) {
            char was = good[i];
            good[i] = digits[(i * 7 + a) % (sizeof(digits) - 1)];
            if (good[i] == was)
                good[i] = was == 'A' ? 'B' : 'A';
            if (verify(keys, &no_rules, good, &why))
                fail_msg("%s accepted with byte %zu changed to %c", algs[a].alg, i, good[i]);
            good[i] = was;
        }
        expect(keys, &no_rules, good, NULL);
        keyset_unref(keys);
    }
}

static char *with(char *token, const char *suffix)
{
    char *both = malloc(strlen(token) + strlen(suffix) + 1);
    sprintf(both, "%s%s", token, suffix);
    free(token);
    return both;
}

static char *cut_at_last_dot(char *token, size_t keep)
{
    strrchr(token, '.')[keep] = '\0';
    return token;
}

static void test_shapes(void **state)
{
    (void)state;
    refused(strdup(""), "three parts");
    refused(strdup("."), "three parts");
    refused(strdup(".."), "not signed");
    refused(strdup("..."), "three parts");
    refused(strdup("a.b.c"), "header");
    refused(strdup("..c"), "header");
    refused(strdup("eyJhbGciOiJub25lIn0.e30."), "not signed");
    refused(maker_token("{\"alg\":\"none\"}", ANN, SIGN_NONE), "not signed");
    refused(maker_token("{\"alg\":\"none\"}", ANN, SIGN_HS256), "not one of");
    refused(maker_token(HS, ANN, SIGN_NONE), "not signed");
    refused(cut_at_last_dot(maker_token(HS, ANN, SIGN_HS256), 0), "three parts");
    refused(cut_at_last_dot(maker_token(HS, ANN, SIGN_HS256), 1), "not signed");
    refused(cut_at_last_dot(maker_token(HS, ANN, SIGN_HS256), 23), "signature");
    refused(with(maker_token(HS, ANN, SIGN_HS256), "="), "base64url");
    refused(with(maker_token(HS, ANN, SIGN_HS256), "A"), "signature");
    refused(with(maker_token(HS, ANN, SIGN_HS256), "."), "three parts");
    refused(with(maker_token(HS, ANN, SIGN_HS256), ".e30.e30"), "three parts");
    refused(with(maker_token(HS, ANN, SIGN_HS256), "\n"), "base64url");
    refused(with(strdup(" "), "eyJhbGciOiJIUzI1NiJ9.e30.AA"), "header");
    /* An array of the JSON form. */
    refused(strdup("{\"payload\":\"e30\",\"signatures\":[]}"), "three parts");
    /* Five parts: an encrypted one. */
    refused(strdup("a.b.c.d.e"), "three parts");
}

/* ES256: r and s are numbers from 1 on, in 32 bytes each, and not in DER. */
static void test_ecdsa_edges(void **state)
{
    (void)state;
    struct keyset *keys = keys_for(SIGN_ES256);
    unsigned char zeros[64] = {0}, ones[64];
    static const size_t lens[] = {0, 1, 32, 63, 64, 65, 70, 72, 128};
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
        char *z = maker_encode(lens[i] <= 64 ? zeros : ones, lens[i] <= 64 ? lens[i] : 64);
        char *t = cut_at_last_dot(maker_token("{\"alg\":\"ES256\"}", ANN, SIGN_ES256), 1);
        expect(keys, &no_rules, with(t, z), lens[i] ? "signature" : "not signed");
        free(z);
    }
    keyset_unref(keys);
}

static void test_huge(void **state)
{
    (void)state;
    char claims[12000];
    char *token;
    size_t at = (size_t)sprintf(claims, "{\"sub\":\"ann\",\"x\":\"");
    size_t fill = 6000;
    memset(claims + at, 'x', fill);
    strcpy(claims + at + fill, "\"}");
    token = maker_token(HS, claims, SIGN_HS256);
    assert_true(strlen(token) <= TOKEN_MAX && strlen(token) > 8000);
    expect(secret, &no_rules, token, NULL);
    memset(claims + at, 'x', 9000);
    strcpy(claims + at + 9000, "\"}");
    refused(maker_token(HS, claims, SIGN_HS256), "too long");
    memset(claims, '[', 6000);
    claims[6000] = '\0';
    refused(maker_token(HS, claims, SIGN_HS256), "not a JSON object");
    memset(claims, '{', 6000);
    refused(maker_token(claims, "{}", SIGN_HS256), "header");
    token = malloc(1 << 20);
    memset(token, '.', 1 << 20);
    token[(1 << 20) - 1] = '\0';
    refused(token, "too long");
    snprintf(claims, sizeof(claims), "{\"sub\":\"%0*d\"}", TOKEN_USER_MAX, 1);
    expect(secret, &no_rules, maker_token(HS, claims, SIGN_HS256), NULL);
    snprintf(claims, sizeof(claims), "{\"sub\":\"%0*d\"}", TOKEN_USER_MAX + 1, 1);
    refused(maker_token(HS, claims, SIGN_HS256), "sub must be");
}

static void test_base64url(void **state)
{
    (void)state;
    static const char *const bad[] = {"A", "AAAAA", "AA==", "AAA=", "A-A=", "AB", "AAB", "A A",
        "A+", "A/", "AA\n", "\xc3\xa4", "A.A"};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_true(base64url_decode(&b, bad[i], strlen(bad[i])) < 0);
    buf_reset(&b);
    assert_int_equal(base64url_decode(&b, "_-8", 3), 0);
    assert_memory_equal(b.data, "\xff\xef", 2);
    buf_fini(&b);
    for (size_t len = 0; len < 70; len++) {
        unsigned char bytes[70];
        char *text;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (unsigned char)(i * 89 + len * 31);
        text = maker_encode(bytes, len);
        assert_int_equal(base64url_decode(&b, text, strlen(text)), 0);
        assert_int_equal(b.len, len);
        assert_true(!len || memcmp(b.data, bytes, len) == 0);
        buf_fini(&b);
        free(text);
    }
}

static void test_signs(void **state)
{
    (void)state;
    struct buf out = {0};
    json_t *claims = json_pack("{s:s,s:I}", "sub", "bob", "exp", (json_int_t)MAKER_NOW + 60);
    token_sign(&out, MAKER_SECRET, strlen(MAKER_SECRET), claims);
    assert_int_equal(buf_error(&out), 0);
    expect(secret, &no_rules, strdup(buf_text(&out)), NULL);
    json_decref(claims);
    buf_fini(&out);
}

static void test_without_memory(void **state)
{
    (void)state;
    for (size_t a = 0; a < ALGS; a++) {
        struct keyset *keys = keys_for(algs[a].signer);
        char header[64], *token;
        int hit = 1;
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algs[a].alg);
        token = maker_token(header, ANN, algs[a].signer);
        for (long n = 0; hit && n < 1000; n++) {
            const char *why;
            struct identity *who;
            mem_fail_after(n);
            who = verify(keys, &no_rules, token, &why);
            hit = mem_fail_hit();
            mem_fail_after(-1);
            assert_int_equal(who == NULL, hit);
            assert_true(who || !why);
            identity_unref(who);
        }
        assert_false(hit);
        free(token);
        keyset_unref(keys);
    }
}

static int start(void **state)
{
    if (maker_start(state))
        return -1;
    secret = maker_keys(KEYSET_SECRET, MAKER_SECRET);
    return 0;
}

static int stop(void **state)
{
    keyset_unref(secret);
    return maker_stop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_who_it_is),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_a_nul_is_no_space),
        cmocka_unit_test(test_a_nul_in_a_jwks),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_leeway),
        cmocka_unit_test(test_algorithms_and_keys),
        cmocka_unit_test(test_public_key_as_secret),
        cmocka_unit_test(test_kid_selects),
        cmocka_unit_test(test_several_keys_of_one_kind),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_ecdsa_edges),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_base64url),
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
