#include "fuzz.h"

#include "access/base64url.h"
#include "access/tokens.h"
#include "base/mem.h"
#include "base/text.h"
#include "fuzz_tokens.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Tokens, which anybody may show, and files of keys. */

#define SECRET "a secret that the fuzzer signs with, too"
#define NOW INT64_C(1767225600000)

struct tokens *fuzz_tokens(const char **token)
{
    static struct tokens *tokens;
    static struct buf text;
    static char path[60];
    const struct tokens_options options = {.secret_file = path};
    struct buf err = {0};
    if (!tokens) {
        json_t *claims = json_pack("{s:s}", "sub", "ann");
        int fd = memfd_create("secret", 0);
        mem_fail_after(-1);
        REQUIRE(write(fd, SECRET, strlen(SECRET)) == (ssize_t)strlen(SECRET));
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        token_sign(&text, SECRET, strlen(SECRET), claims);
        json_decref(claims);
        tokens = tokens_new(&options, &err);
        REQUIRE(tokens && buf_text(&text));
    }
    *token = text.data;
    return tokens;
}

static struct keyset *secret_key(void)
{
    static struct keyset *set;
    struct buf err = {0};
    int passed_over;
    if (!set) {
        set = keyset_new();
        REQUIRE(
            set && keyset_add(set, KEYSET_SECRET, SECRET, strlen(SECRET), &passed_over, &err) == 0);
    }
    return set;
}

static void name_is_good(const char *name, size_t max)
{
    if (!name)
        return;
    REQUIRE(strlen(name) > 0 && strlen(name) <= max && utf8_valid(name, strlen(name)));
    for (const char *p = name; *p; p++)
        REQUIRE((unsigned char)*p >= ' ' && *p != 127);
}

/* Exactly this many bytes, so that the sanitizer sees their end. */
static bool verify(const char *token, size_t len, const struct token_rules *rules)
{
    char *copy = malloc(len + !len);
    const char *why;
    struct identity *who;
    memcpy(copy, token, len);
    who = token_verify(copy, len, secret_key(), rules, NOW, &why);
    free(copy);
    REQUIRE(who || why || mem_fail_hit());
    if (!who)
        return false;
    name_is_good(who->user_id, TOKEN_USER_MAX);
    name_is_good(who->role, TOKEN_ROLE_MAX);
    REQUIRE(who->expires_ms == 0 || who->expires_ms > NOW);
    REQUIRE(json_is_object(who->claims) && len <= TOKEN_MAX);
    identity_unref(who);
    return true;
}

/* What was accepted is refused with any other last byte, or one less, or one more. */
static void nothing_near(struct buf *token, const struct token_rules *rules)
{
    char last = token->data[token->len - 1];
    REQUIRE(!verify(token->data, token->len - 1, rules));
    token->data[token->len - 1] = last == 'A' ? 'E' : 'A';
    REQUIRE(!verify(token->data, token->len, rules));
    token->data[token->len - 1] = last;
    buf_putc(token, 'A');
    REQUIRE(!verify(token->data, token->len, rules));
}

static void sign(struct buf *token, const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t header = end ? (size_t)(end - data) : size;
    struct buf mac = {0};
    base64url_encode(token, data, header);
    buf_putc(token, '.');
    if (end)
        base64url_encode(token, end + 1, size - header - 1);
    key_sign_hs256(&mac, SECRET, strlen(SECRET), token->data, token->len);
    buf_putc(token, '.');
    base64url_encode(token, mac.data, mac.len);
    buf_fini(&mac);
}

void fuzz_token(const uint8_t *data, size_t size)
{
    static const struct token_rules rules[] = {
        {0}, {.issuer = "me", .audience = "shop", .leeway_ms = 5000}};
    struct buf token = {0};
    if (size == 0)
        return;
    /* By itself it is not signed with the secret. */
    if (!(data[0] & 1))
        REQUIRE(!verify((const char *)data + 1, size - 1, &rules[0]));
    sign(&token, data + 1, size - 1);
    if (buf_error(&token) == 0 && verify(token.data, token.len, &rules[data[0] >> 1 & 1])) {
        fuzz_accepted++;
        nothing_near(&token, &rules[data[0] >> 1 & 1]);
    }
    buf_fini(&token);
}

/* Kind (1), content. */
void fuzz_keys(const uint8_t *data, size_t size)
{
    struct keyset *set = keyset_new();
    struct buf err = {0};
    char *copy = size ? malloc(size) : NULL;
    int passed_over = 0, rc;
    if (!set || !copy) {
        keyset_unref(set);
        free(copy);
        return;
    }
    memcpy(copy, data + 1, size - 1);
    rc = keyset_add(set, data[0] % KEYSET_FILES, copy, size - 1, &passed_over, &err);
    REQUIRE(rc == 0 ? set->count > 0 && err.len == 0 : err.len > 0 || buf_error(&err));
    fuzz_accepted += rc == 0;
    for (int i = 0; i < set->count; i++) {
        const struct key *k = set->keys[i];
        REQUIRE(k->algs && !k->secret == !!k->public && set->count <= KEYSET_MAX);
        for (int alg = 0; alg < KEY_ALGS; alg++)
            REQUIRE(key_verify(k, (enum key_alg)alg, "data", 4, copy, size - 1) != 1);
    }
    free(copy);
    buf_fini(&err);
    keyset_unref(set);
}

void fuzz_fill_tokens(struct fuzz_corpus *c, uint64_t seed)
{
    static const char *const texts[] = {
        "\1{\"alg\":\"HS256\",\"typ\":\"JWT\"}\n{\"sub\":\"ann\",\"role\":\"user\",\"exp\":"
        "1767229200}",
        "\3{\"alg\":\"HS256\",\"kid\":\"k1\"}\n{\"iss\":\"me\",\"aud\":[\"bank\",\"shop\"],\"nbf\":"
        "1,\"iat\":1.5}",
        "\1{\"alg\":\"HS256\",\"crit\":[\"b64\"]}\n{\"sub\":\"\\u00e5\\ud83d\\ude00\",\"x\":[[1,{"
        "\"y\":null}]]}",
        "\1{\"alg\":\"none\"}\n{\"sub\":7}",
        "\1{\"alg\":\"HS512\"}\n[]",
        "\1{\"typ\":\"at+jwt\",\"alg\":\"HS256\"}\n{\"sub\":\"a\",\"exp\":1e300,\"team\":[1,2,-3e-"
        "7]}",
        "\2eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "\2eyJhbGciOiJub25lIn0.e30.",
    };
    (void)seed;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        fuzz_corpus_add(c, texts[i], strlen(texts[i]));
}

void fuzz_fill_keys(struct fuzz_corpus *c, uint64_t seed)
{
    /* The examples of RFC 7517 appendix A.1, RFC 7515 appendix A.1 and RFC 8037 appendix A.2. */
    static const char *const texts[] = {
        "\2{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
        "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
        "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\"use\":\"sig\",\"kid\":\"1\"},"
        "{\"kty\":\"RSA\",\"n\":"
        "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPF"
        "FxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_"
        "RN5w6Cf0h4QyQ5v-65YGjQ"
        "R0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
        "bFTWhAI4vMQFh6W"
        "eZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\","
        "\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}]}",
        "\2{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
        "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
        "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwj"
        "AzZr1Z9CAow\",\"key_ops\":[\"sign\",\"verify\"],\"alg\":\"HS256\"}]}",
        "\1-----BEGIN PUBLIC "
        "KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
        "-----END PUBLIC KEY-----\n",
        "\1-----BEGIN PUBLIC "
        "KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8A\n"
        "iTo7Tu6KPAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==\n-----END PUBLIC KEY-----\n",
        "\1-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
        "\3a secret\r\n",
    };
    (void)seed;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        fuzz_corpus_add(c, texts[i], strlen(texts[i]));
}
