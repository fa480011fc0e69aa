#include "http/auth.h"

#include "access/grant.h"
#include "access/policies.h"
#include "access/tokens.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/text.h"
#include "http/answer.h"
#include "http/route.h"
#include "hub/dialect.h"

#include <civetweb.h>
#include <openssl/crypto.h>
#include <string.h>

static void out_of_memory(struct request *r)
{
    if (api_changes_wanted(r))
        api_changes_later(r);
    else
        answer_error_with(
            r, 503, "Retry-After: 1\r\n", "LIMIT_EXCEEDED", "out of memory for the request");
}

/* The query string. */

static bool is_token(const char *name, size_t len)
{
    struct buf decoded = {0};
    bool is = text_url_decode(&decoded, name, len, true) == 0 && decoded.len == strlen("token") &&
              memcmp(decoded.data, "token", decoded.len) == 0;

    buf_fini(&decoded);
    return is;
}

/* Its value goes to r->token, or, if that is malformed, nothing that is a token does. */
static void take_parameter(struct request *r, const char *value, size_t len)
{
    r->token_count++;
    buf_reset(&r->token);
    if (text_url_decode(&r->token, value, len, true) == STATUS_INVALID)
        buf_reset(&r->token);
}

static void split_query(struct request *r, const char *query)
{
    while (*query) {
        size_t len = strcspn(query, "&"), name = strcspn(query, "&=");

        if (is_token(query, name)) {
            take_parameter(r, query + name + (name < len), len - name - (name < len));
        } else {
            if (r->rest.len)
                buf_putc(&r->rest, '&');
            buf_put(&r->rest, query, len);
        }
        query += len + (query[len] == '&');
    }
}

bool auth_init(struct request *r)
{
    const char *rest;

    if (!r->query)
        return true;
    split_query(r, r->query);
    rest = buf_text(&r->rest);
    if (!rest || buf_error(&r->token)) {
        r->query = NULL;
        out_of_memory(r);
        return false;
    }
    if (r->token_count)
        r->query = rest;
    return true;
}

void auth_fini(struct request *r)
{
    if (r->token.data)
        OPENSSL_cleanse(r->token.data, r->token.cap);
    buf_fini(&r->token);
    buf_fini(&r->rest);
    identity_unref(r->who);
    r->who = NULL;
    policy_unref(r->policy);
    r->policy = NULL;
}

/* Headers. */

/* The token in "Bearer TOKEN"; NULL: it is of another scheme. */
static const char *bearer(const char *header)
{
    static const char scheme[] = "Bearer";
    size_t len = sizeof(scheme) - 1;

    if (text_ncasecmp(header, scheme, len) != 0 || (header[len] != ' ' && header[len] != '\0'))
        return NULL;
    return header + len + strspn(header + len, " ");
}

/* One cookie, "name=value"; counts those of ours. */
static void read_cookie(const char *cookie, size_t len, struct text *value, int *count)
{
    size_t name = strlen(AUTH_COOKIE);

    while (len && (cookie[len - 1] == ' ' || cookie[len - 1] == '\t'))
        len--;
    if (len <= name || memcmp(cookie, AUTH_COOKIE, name) != 0 || cookie[name] != '=')
        return;
    *value = (struct text){cookie + name + 1, len - name - 1};
    if (value->len >= 2 && value->p[0] == '"' && value->p[value->len - 1] == '"') {
        value->p++;
        value->len -= 2;
    }
    ++*count;
}

static int find_cookie(const struct request *r, struct text *value)
{
    int count = 0;

    for (int i = 0; i < r->info->num_headers; i++) {
        const char *p = r->info->http_headers[i].value;

        if (text_casecmp(r->info->http_headers[i].name, "Cookie") != 0)
            continue;
        while (*p) {
            size_t len = strcspn(p, ";");
            size_t space = strspn(p, " \t");

            if (space < len)
                read_cookie(p + space, len - space, value, &count);
            p += len + (p[len] == ';');
        }
    }
    return count;
}

/* Refusing. */

static bool refuse(struct request *r, bool shown, const char *why)
{
    answer_error_with(r, 401,
        shown ? "WWW-Authenticate: Bearer realm=\"rowtap\", error=\"invalid_token\"\r\n"
              : "WWW-Authenticate: Bearer realm=\"rowtap\"\r\n",
        "UNAUTHORIZED", "%s", why);
    return false;
}

/*
 * A browser sends the cookie whichever page asks. Who may is told by Origin, which was checked
 * where there is one; and which browsers leave out of some requests that can only read.
 */
static bool cookie_allowed(struct request *r, bool upgrade)
{
    const char *site = request_header(r, "Sec-Fetch-Site");
    bool reads = !upgrade && (r->head || strcmp(r->method, "GET") == 0);

    if (request_header(r, "Origin") || (reads && !(site && text_casecmp(site, "cross-site") == 0)))
        return true;
    answer_error(r, 403, "FORBIDDEN",
        "with the cookie " AUTH_COOKIE " alone, a request that writes or opens a WebSocket has to "
        "say which page it comes from (Origin); others send Authorization: Bearer");
    return false;
}

/* Admitting. */

static bool verify(struct request *r, const char *token, size_t len)
{
    struct tokens *tokens = r->http->tokens;
    const char *why;

    tokens_refresh(tokens, clock_mono_ms());
    r->who = tokens_verify(tokens, token, len, &why);
    r->policy = policies_get(r->http->policies);
    if (r->who)
        return true;
    if (why)
        return refuse(r, true, why);
    out_of_memory(r);
    return false;
}

bool auth_admit(struct request *r, bool upgrade)
{
    const char *header = request_header(r, "Authorization");
    const char *shown = header ? bearer(header) : NULL;
    struct text cookie = {0};
    int cookies;

    if (!r->http->tokens)
        return true;
    if (request_header_count(r, "Authorization") > 1 || r->token_count + (shown != NULL) > 1)
        return refuse(r, true, "the request has more than one token");
    if (shown)
        return verify(r, shown, strlen(shown));
    if (r->token_count)
        return verify(r, r->token.data ? r->token.data : "", r->token.len);
    cookies = find_cookie(r, &cookie);
    if (cookies > 1)
        return refuse(r, true, "the request has more than one cookie " AUTH_COOKIE);
    if (cookies)
        return cookie_allowed(r, upgrade) && verify(r, cookie.p, cookie.len);
    return refuse(r, false,
        "this server wants a token: send Authorization: Bearer TOKEN, ?token=TOKEN or the "
        "cookie " AUTH_COOKIE);
}

bool auth_known(struct request *r)
{
    if (grant_known(r->policy, r->who))
        return true;
    answer_error(r, 403, "FORBIDDEN", "your token has no role that may do this");
    return false;
}

bool auth_sql(struct request *r)
{
    if (grant_sql(r->policy, r->who))
        return true;
    answer_error(r, 403, "FORBIDDEN", "your role may not run SQL");
    return false;
}
