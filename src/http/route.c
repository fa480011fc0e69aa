#include "http/route.h"
#include "access/identity.h"
#include "base/text.h"
#include "dialect/dialects.h"
#include "http/answer.h"
#include "http/auth.h"
#include "http/limits.h"
#include "http/upgrade.h"

#include <civetweb.h>
#include <string.h>

struct route {
    const char *method; /* HEAD comes with GET */
    const char *path;   /* ends in '/' and is longer than that: everything below it */
    void (*run)(struct request *r, const char *rest);
};

static const struct route routes[] = {
    {"GET", "/health", api_health},
    {"GET", "/api/websocket/health", api_websocket_health},
    {"GET", "/api/ws/status", api_ws_status},
    {"POST", "/api/ws/broadcast", api_broadcast},
    {"GET", "/api/tables", api_tables},
    {"GET", "/api/tables/", api_table},
    {"GET", "/api/changes", api_changes},
    {"POST", "/api/sql", api_sql},
    {"GET", "/api/realtime", api_realtime},
    {"POST", "/api/realtime", api_sync},
    {"GET", "/api/realtime/stats", api_realtime_stats},
    {"GET", "/metrics", metrics},
    {"GET", "/", web_file},
    {"GET", "/console.css", web_file},
    {"GET", "/page.js", web_file},
    {"GET", "/feed.js", web_file},
    {"GET", "/sql.js", web_file},
    {"GET", "/channels.js", web_file},
    {"GET", "/server.js", web_file},
    {"GET", "/signin.js", web_file},
    {"GET", "/console.js", web_file},
    {"GET", "/rowtap.js", web_file},
};

#define ROUTES (sizeof(routes) / sizeof(*routes))

/* What follows the route's path, or NULL when the path is another. */
static const char *match(const struct route *route, const char *path)
{
    size_t len = strlen(route->path);

    if (len > 1 && route->path[len - 1] == '/')
        return strncmp(path, route->path, len) == 0 && path[len] ? path + len : NULL;
    return strcmp(path, route->path) == 0 ? path + len : NULL;
}

static void put_methods(struct buf *out, const char *path)
{
    bool any = dialects_find(path) != NULL;

    buf_puts(out, any ? "GET" : "");
    for (size_t i = 0; i < ROUTES; i++) {
        if (!match(&routes[i], path))
            continue;
        buf_puts(out, any ? ", " : "");
        buf_puts(out, strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
        any = true;
    }
    if (any)
        buf_puts(out, ", OPTIONS");
}

static void not_found(struct request *r)
{
    answer_error(r, 404, "NOT_FOUND", "there is nothing at %.200s", r->path);
}

/* The path exists, but not for this method; OPTIONS, with which a browser asks before it sends. */
static void other_method(struct request *r, struct buf *methods)
{
    struct buf headers = {0};
    const char *text;
    bool options = strcmp(r->method, "OPTIONS") == 0;

    buf_printf(&headers, "Allow: %s\r\n", buf_text(methods));
    if (options && r->origin)
        buf_printf(&headers,
            "Access-Control-Allow-Methods: %s\r\n"
            "Access-Control-Allow-Headers: Content-Type, Authorization, Last-Event-ID\r\n"
            "Access-Control-Max-Age: 600\r\n",
            buf_text(methods));
    text = buf_text(&headers);
    if (options && text)
        answer(r, 200, "text/plain", text, "", 0);
    else
        answer_error_with(r, 405, text, "INVALID_FORMAT", "%s does not work here; allowed: %s",
            r->method, buf_text(methods));
    buf_fini(&headers);
}

/* The name in a target that is a whole URL, "http://name/path", which stands for that of Host. */
static bool target_allowed(const struct request *r, char name[256])
{
    const char *start = strstr(r->info->request_uri, "://");
    size_t len;

    if (r->info->request_uri == r->path || !start)
        return true;
    start += strlen("://");
    len = (size_t)(r->path - start);
    if (len > 255)
        len = 255; /* too long to be allowed */
    memcpy(name, start, len);
    name[len] = '\0';
    return len < 255 && listen_host_allowed(&r->http->names, name);
}

static bool host_allowed(struct request *r)
{
    const char *host = request_header(r, "Host");
    char name[256];

    if (!target_allowed(r, name))
        host = name;
    else if (!host || listen_host_allowed(&r->http->names, host))
        return true;
    answer_error(r, 403, "FORBIDDEN",
        "this server does not answer to the name \"%.100s\"; if it should, start it with --origin "
        "http://%.100s",
        host, host);
    return false;
}

/*
 * A page that has an image or a script here sends no Origin, but browsers tell what it is for
 * (https://www.w3.org/TR/fetch-metadata/). A link that somebody follows is all right.
 */
static bool fetched_elsewhere(struct request *r)
{
    const char *site = request_header(r, "Sec-Fetch-Site");
    const char *mode = request_header(r, "Sec-Fetch-Mode");

    if (!site || (text_casecmp(site, "cross-site") != 0 && text_casecmp(site, "same-site") != 0) ||
        (mode && text_casecmp(mode, "navigate") == 0 && strcmp(r->method, "GET") == 0))
        return false;
    answer_error(r, 403, "FORBIDDEN",
        "pages of other sites may not use this server; to allow one, start it with --origin");
    return true;
}

/* Only what a page could misuse is guarded: the API and the WebSocket. */
static bool origin_allowed(struct request *r)
{
    const char *origin = request_header(r, "Origin");
    bool guarded = strncmp(r->path, "/api/", 5) == 0 || dialects_find(r->path);

    if (!origin)
        return !guarded || !fetched_elsewhere(r);
    if (request_header_count(r, "Origin") == 1) {
        if (listen_origin_same(origin, request_header(r, "Host")))
            return true;
        if (listen_origin_listed(&r->http->names, origin)) {
            r->origin = origin;
            return true;
        }
    }
    if (!guarded)
        return true;
    answer_error(r, 403, "FORBIDDEN",
        "pages of %.100s may not use this server; to allow them, start it with --origin %.100s",
        origin, origin);
    return false;
}

/* What needs no token: is the server well, and the pages to sign in from. */
static bool is_open(const struct route *route)
{
    return route->run == api_health || route->run == web_file;
}

static bool admit(struct request *r, bool upgrade)
{
    return auth_admit(r, upgrade) &&
           limits_identify(r, identity_user(r->who), r->who ? r->who->role : NULL);
}

static void dispatch(struct request *r)
{
    const char *method = r->head ? "GET" : r->method;
    const struct dialect *dialect = dialects_find(r->path);
    struct buf methods = {0};

    if (dialect && strcmp(r->method, "GET") == 0) {
        if (admit(r, true))
            upgrade_run(r, dialect);
        return;
    }
    for (size_t i = 0; i < ROUTES; i++) {
        const char *rest = match(&routes[i], r->path);

        if (rest && strcmp(routes[i].method, method) == 0) {
            if (is_open(&routes[i]) || admit(r, false))
                routes[i].run(r, rest);
            return;
        }
    }
    put_methods(&methods, r->path);
    if (buf_error(&methods))
        answer_json(r, 503, &methods);
    else if (methods.len == 0)
        not_found(r);
    else
        other_method(r, &methods);
    buf_fini(&methods);
}

void route_run(struct request *r)
{
    bool stopping = atomic_load(&r->http->stopping);

    if (stopping && !api_changes_wanted(r))
        answer_error_with(
            r, 503, "Retry-After: 1\r\n", "LIMIT_EXCEEDED", "the server is shutting down");
    else if (!limits_admit(r) || !auth_init(r) || !host_allowed(r) || !origin_allowed(r))
        return;
    else if (stopping)
        api_changes_later(r);
    else
        dispatch(r);
}
