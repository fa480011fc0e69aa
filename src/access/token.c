#include "access/token.h"

#include "access/base64url.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

/* The pieces of HEADER.CLAIMS.SIGNATURE. */
struct parts {
    const char *header, *claims, *signature;
    size_t header_len, claims_len, signature_len;
    size_t signed_len; /* of the first two with their dot, from the start */
};

static const char *split(struct parts *p, const char *token, size_t len)
{
    const char *end = token + len, *first, *second;

    if (len > TOKEN_MAX)
        return "the token is too long";
    first = memchr(token, '.', len);
    second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return "the token is not three parts with dots between them";
    *p = (struct parts){token, first + 1, second + 1, (size_t)(first - token),
        (size_t)(second - first - 1), (size_t)(end - second - 1), (size_t)(second - token)};
    if (!p->signature_len)
        return "the token is not signed";
    return NULL;
}

/* The JSON object in a part; NULL with *why, or without when there is no memory. */
static json_t *read_object(const char *s, size_t len, const char *wrong, const char **why)
{
    struct buf text = {0};
    json_error_t e = {0};
    json_t *j = NULL;
    int rc = base64url_decode(&text, s, len);

    *why = rc == STATUS_NOMEM ? NULL : wrong;
    /* jansson reads over a NUL behind a number or a word */
    if (rc == 0 && text.len && !memchr(text.data, '\0', text.len))
        j = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    if (rc == 0 && !j && json_error_code(&e) == json_error_out_of_memory)
        *why = NULL;
    buf_fini(&text);
    if (json_is_object(j))
        return j;
    json_decref(j);
    return NULL;
}

/* The header. */

struct header {
    json_t *json;
    int alg;
    const char *id; /* kid, or NULL */
};

/* The kinds of tokens that are for this: not those that were made for something else. */
static bool type_ok(const json_t *typ)
{
    const char *s = json_string_value(typ);

    if (!typ)
        return true;
    if (s && text_ncasecmp(s, "application/", 12) == 0)
        s += 12;
    return s && (text_casecmp(s, "JWT") == 0 || text_casecmp(s, "at+jwt") == 0);
}

static const char *check_header(struct header *h)
{
    const json_t *alg = json_object_get(h->json, "alg"), *id = json_object_get(h->json, "kid");

    if (!json_is_string(alg))
        return "the token does not say its algorithm";
    h->alg = key_alg_find(json_string_value(alg));
    if (h->alg < 0)
        return "the token's algorithm is not one of HS256, HS384, HS512, RS256, ES256 and EdDSA";
    if (json_object_get(h->json, "crit"))
        return "the token needs an extension that is not known here";
    if (!type_ok(json_object_get(h->json, "typ")))
        return "the token is of another type than JWT";
    if (id && (!json_is_string(id) || json_string_length(id) > KEY_ID_MAX))
        return "the token's kid is not a text, or too long";
    h->id = json_string_value(id);
    return NULL;
}

/* Signatures. */

static bool goes_with(const struct key *k, const struct header *h)
{
    if (!(k->algs >> h->alg & 1))
        return false;
    return !h->id || k->any_id || (k->id && strcmp(k->id, h->id) == 0);
}

/* Found by kid; without one, all that go with the algorithm are tried. */
static const char *check_signature(const struct header *h, const struct keyset *keys,
    const char *token, const struct parts *p, const struct buf *signature, bool *memory)
{
    bool tried = false;

    for (int i = 0; i < keys->count; i++) {
        int rc;

        if (!goes_with(keys->keys[i], h))
            continue;
        tried = true;
        rc = key_verify(
            keys->keys[i], h->alg, token, p->signed_len, signature->data, signature->len);
        if (rc == 1)
            return NULL;
        *memory |= rc == STATUS_NOMEM;
    }
    return tried ? "the token's signature is not that of a key of this server"
                 : "this server has no key for the token's kid and algorithm";
}

/* Claims. */

#define SECONDS_MAX 1e12

/* A NumericDate (RFC 7519 section 2), perhaps with a fraction, in milliseconds. */
static bool read_time(const json_t *j, int64_t *ms)
{
    double s = json_number_value(j);

    if (!json_is_number(j))
        return false;
    s = s > SECONDS_MAX ? SECONDS_MAX : s < -SECONDS_MAX ? -SECONDS_MAX : s;
    *ms = (int64_t)(s * 1000);
    return true;
}

static const char *check_times(
    const json_t *claims, const struct token_rules *rules, int64_t now, int64_t *expires)
{
    const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
    const json_t *iat = json_object_get(claims, "iat");
    int64_t from = INT64_MIN / 2, issued = from;

    *expires = 0;
    if ((exp && !read_time(exp, expires)) || (nbf && !read_time(nbf, &from)) ||
        (iat && !read_time(iat, &issued)))
        return "the token's exp, nbf and iat must be numbers";
    if (exp)
        *expires += rules->leeway_ms;
    if (exp && now >= *expires)
        return "the token has expired";
    if (now + rules->leeway_ms < from || now + rules->leeway_ms < issued)
        return "the token is not valid yet";
    return NULL;
}

static bool is(const json_t *j, const char *text)
{
    return json_is_string(j) && strcmp(json_string_value(j), text) == 0;
}

/* Whoever is not told what its name is must refuse what has one: RFC 7519 section 4.1.3. */
static const char *check_audience(const json_t *aud, const char *wanted)
{
    bool found = wanted && is(aud, wanted);

    if (!aud)
        return wanted ? "the token does not say that it is for this server (aud)" : NULL;
    if (!json_is_string(aud) && !json_is_array(aud))
        return "the token's aud must be a text or a list of texts";
    for (size_t i = 0; i < json_array_size(aud); i++) {
        const json_t *one = json_array_get(aud, i);

        if (!json_is_string(one))
            return "the token's aud must be a text or a list of texts";
        found |= wanted && is(one, wanted);
    }
    return found ? NULL : "the token is for another server (aud)";
}

/* A name: a text, not empty, not long, nothing in it that would break a line. */
static bool name_ok(const json_t *j, size_t max)
{
    const char *s = json_string_value(j);
    size_t len = json_string_length(j);

    if (!j)
        return true;
    if (!s || !len || len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 127)
            return false;
    return true;
}

static const char *check_claims(
    const json_t *claims, const struct token_rules *rules, int64_t now, int64_t *expires)
{
    const json_t *iss = json_object_get(claims, "iss");
    const char *why = check_times(claims, rules, now, expires);

    if (!why && iss && !json_is_string(iss))
        why = "the token's iss must be a text";
    if (!why && rules->issuer && !(iss && is(iss, rules->issuer)))
        why = "the token is of another issuer (iss)";
    if (!why)
        why = check_audience(json_object_get(claims, "aud"), rules->audience);
    if (!why && !name_ok(json_object_get(claims, "sub"), TOKEN_USER_MAX))
        why = "the token's sub must be a text of 1 to 256 bytes on one line";
    if (!why && !name_ok(json_object_get(claims, "role"), TOKEN_ROLE_MAX))
        why = "the token's role must be a text of 1 to 128 bytes on one line";
    return why;
}

/* The whole. */

static const char *check_signed(const char *token, const struct parts *p, const struct header *h,
    const struct keyset *keys, bool *memory)
{
    struct buf signature = {0};
    int rc = base64url_decode(&signature, p->signature, p->signature_len);
    const char *why = "the token's signature is not base64url";

    if (rc == STATUS_NOMEM)
        *memory = true;
    else if (rc == 0)
        why = check_signature(h, keys, token, p, &signature, memory);
    buf_fini(&signature);
    return why;
}

static struct identity *read_claims(
    const struct parts *p, const struct token_rules *rules, int64_t now_ms, const char **why)
{
    int64_t expires;
    json_t *claims =
        read_object(p->claims, p->claims_len, "the token's claims are not a JSON object", why);

    if (!claims)
        return NULL;
    *why = check_claims(claims, rules, now_ms, &expires);
    if (!*why)
        return identity_new(claims, expires);
    json_decref(claims);
    return NULL;
}

struct identity *token_verify(const char *token, size_t len, const struct keyset *keys,
    const struct token_rules *rules, int64_t now_ms, const char **why)
{
    struct header h = {0};
    struct parts p;
    bool memory = false;

    *why = split(&p, token, len);
    if (*why)
        return NULL;
    h.json = read_object(p.header, p.header_len, "the token's header is not a JSON object", why);
    if (!h.json)
        return NULL;
    *why = check_header(&h);
    if (!*why)
        *why = check_signed(token, &p, &h, keys, &memory);
    json_decref(h.json);
    if (*why) {
        *why = memory ? NULL : *why;
        return NULL;
    }
    return read_claims(&p, rules, now_ms, why);
}

void token_sign(struct buf *out, const char *secret, size_t secret_len, const json_t *claims)
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char *text = json_dumps(claims, JSON_COMPACT);
    struct buf mac = {0};
    size_t from = out->len;

    base64url_encode(out, header, sizeof(header) - 1);
    buf_putc(out, '.');
    if (text)
        base64url_encode(out, text, strlen(text));
    if (!text)
        out->err = STATUS_NOMEM;
    if (!buf_error(out))
        key_sign_hs256(&mac, secret, secret_len, out->data + from, out->len - from);
    buf_putc(out, '.');
    base64url_encode(out, mac.data, mac.len);
    if (buf_error(&mac))
        out->err = buf_error(&mac);
    free(text);
    buf_fini(&mac);
}
