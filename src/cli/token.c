#include "cli/token.h"

#include "access/token.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/term.h"
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define TTL_MS 3600000
#define TTL_MAX_MS (INT64_C(36500) * 86400000)

const struct option_row token_option_rows[] = {
    {"secret-file", "FILE", "the server's --jwt-secret-file", OPTION_TEXT,
        offsetof(struct token_options, secret_file)},
    {"sub", "USER", "whose token it is (claim sub)", OPTION_TEXT,
        offsetof(struct token_options, sub)},
    {"role", "ROLE", "what that user may do (claim role)", OPTION_TEXT,
        offsetof(struct token_options, role)},
    {"ttl", "DURATION", "how long it is good for, such as 90s, 15m or 8h; default 1h",
        OPTION_DURATION, offsetof(struct token_options, ttl_ms), 1000, TTL_MAX_MS},
    {"issuer", "NAME", "the claim iss, for --jwt-issuer", OPTION_TEXT,
        offsetof(struct token_options, issuer)},
    {"audience", "NAME", "the claim aud, for --jwt-audience", OPTION_TEXT,
        offsetof(struct token_options, audience)},
    {"claim", "NAME=JSON", "another claim, for rules of a policy; may be repeated", OPTION_LIST,
        offsetof(struct token_options, claims)},
    {NULL},
};

const char token_help[] =
    "Prints a JWT that is signed with a secret (HS256), to try things out with: a real service "
    "has\n"
    "its own way to sign in. The server does not have to run.\n"
    "\n"
    "Examples:\n"
    "  openssl rand -hex 32 > secret; chmod 600 secret\n"
    "  rowtap serve app.db --jwt-secret-file secret\n"
    "  export ROWTAP_TOKEN=$(rowtap token --secret-file secret --sub ann --ttl 8h)\n"
    "  rowtap watch users\n"
    "  rowtap token --secret-file secret --sub ann --claim team=7 --claim 'tags=[\"a\"]'\n";

static int set(json_t *claims, const char *name, json_t *value)
{
    return json_object_set_new(claims, name, value) < 0 ? STATUS_NOMEM : 0;
}

/* NAME=JSON. What is no JSON is a text: team=blue. */
static int set_claim(json_t *claims, const char *claim, struct buf *err)
{
    static const char *const taken[] = {"sub", "role", "iss", "aud", "exp", "iat"};
    size_t len = strcspn(claim, "=");
    char name[128], why[128];
    json_t *value;

    if (!len || !claim[len] || len >= sizeof(name)) {
        buf_printf(err, "--claim wants NAME=JSON, such as team=7, not \"%.100s\"", claim);
        return STATUS_INVALID;
    }
    snprintf(name, sizeof(name), "%.*s", (int)len, claim);
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
        if (strcmp(taken[i], name) == 0) {
            buf_printf(err, "--claim cannot set %s, which has its own option", name);
            return STATUS_INVALID;
        }
    }
    claim += len + 1;
    value = json_read(claim, strlen(claim), why, sizeof(why));
    return set(claims, name, value ? value : json_string(claim));
}

static int put_claims(json_t *claims, const struct token_options *o, struct buf *err)
{
    int64_t now = clock_wall_ms() / 1000, ttl = (o->ttl_ms ? o->ttl_ms : TTL_MS) / 1000;
    int rc = set(claims, "sub", json_string(o->sub));

    if (rc == 0 && o->role)
        rc = set(claims, "role", json_string(o->role));
    if (rc == 0 && o->issuer)
        rc = set(claims, "iss", json_string(o->issuer));
    if (rc == 0 && o->audience)
        rc = set(claims, "aud", json_string(o->audience));
    for (int i = 0; i < o->claims.count && rc == 0; i++)
        rc = set_claim(claims, o->claims.items[i], err);
    if (rc == 0)
        rc = set(claims, "iat", json_integer(now));
    if (rc == 0)
        rc = set(claims, "exp", json_integer(now + ttl));
    if (rc == STATUS_NOMEM)
        buf_puts(err, "the claims must be UTF-8");
    return rc;
}

/* A token that a server with this secret would refuse is of no use. */
static int check(const char *secret, size_t len, const struct token_options *o, struct buf *token,
    struct buf *err)
{
    const struct token_rules rules = {.issuer = o->issuer, .audience = o->audience};
    struct keyset *keys = keyset_new();
    struct key *key = keys ? key_from_secret(secret, len, err) : NULL;
    struct identity *who = NULL;
    const char *why = "out of memory";

    if (key) {
        keys->keys[keys->count++] = key;
        who = token_verify(token->data, token->len, keys, &rules, clock_wall_ms(), &why);
    }
    if (!who && !err->len)
        buf_puts(err, why ? why : "out of memory");
    keyset_unref(keys);
    identity_unref(who);
    return who ? 0 : STATUS_INVALID;
}

static int make(const struct token_options *o, struct buf *out, struct buf *err)
{
    struct buf secret = {0}, why = {0};
    json_t *claims = json_object();
    int rc = claims ? keyset_read_file(o->secret_file, &secret, &why) : STATUS_NOMEM;
    size_t len = rc == 0 && secret.len ? key_secret_length(secret.data, secret.len) : 0;

    if (rc)
        buf_printf(err, "%s: %s", o->secret_file, why.len ? buf_text(&why) : "out of memory");
    else if (!len)
        buf_printf(err, "%s: the secret is empty", o->secret_file);
    else if ((rc = put_claims(claims, o, err)) == 0)
        token_sign(out, secret.data, len, claims);
    if (!err->len && buf_error(out))
        buf_puts(err, "out of memory");
    if (!err->len)
        check(secret.data, len, o, out, err);
    if (secret.data)
        OPENSSL_cleanse(secret.data, secret.cap);
    json_decref(claims);
    buf_fini(&secret);
    buf_fini(&why);
    return err->len ? STATUS_INVALID : 0;
}

int token_run(const void *options, int argc, char **argv)
{
    const struct token_options *o = options;
    struct buf out = {0}, err = {0};
    int status = 0;

    (void)argc, (void)argv;
    if (!o->secret_file || !o->sub) {
        term_error(o->sub ? "which secret? Say --secret-file FILE"
                          : "whose token? Say --sub USER --secret-file FILE");
        return 2;
    }
    if (make(o, &out, &err) < 0) {
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
        status = 1;
    } else {
        buf_putc(&out, '\n');
        status = term_flush(&out) < 0;
    }
    buf_fini(&out);
    buf_fini(&err);
    return status;
}
