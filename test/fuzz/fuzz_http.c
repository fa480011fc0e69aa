#include "fuzz.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "dialect/dialects.h"
#include "fuzz_civetweb.h"
#include "fuzz_tokens.h"
#include "http/answer.h"
#include "http/auth.h"
#include "http/handover.h"
#include "http/limits.h"
#include "http/request_log.h"
#include "http/route.h"
#include "hub/hub.h"
#include <string.h>

/*
 * Heads of requests, from where civetweb has taken them apart to the handler or the hub: one whole
 * answer is sent, and what is guarded is reached only with the token and from where it may be.
 */
#define LISTED "https://app.example:8443"

static struct http http;
static const char *token;
static int reached, guarded; /* handlers, of the request that runs */

static void start(void)
{
    static struct listen_address addresses[2];
    static const char *const origins[] = {LISTED};
    if (http.tokens)
        return;
    mem_fail_after(-1);
    REQUIRE(listen_parse(&addresses[0], "127.0.0.1:8080") == 0);
    REQUIRE(listen_parse(&addresses[1], "[::]:8080") == 0);
    http.names = (struct listen_names){addresses, 2, origins, 1};
    http.origin_count = 1;
    http.workers.count = 64;
    http.max_body = 2000;
    http.silence_ms = 1000;
    http.compress = true;
    http.tokens = fuzz_tokens(&token);
}

/* In place of the handlers. */

static void handle(struct request *r, bool open)
{
    struct buf body = {0};
    reached++;
    guarded += !open;
    REQUIRE(open || r->who);
    if (request_body(r, &body))
        answer(r, 200, "application/json", NULL, "{}", 2);
    buf_fini(&body);
}

#define OPEN_HANDLER(name)                                                                         \
    void name(struct request *r, const char *rest)                                                 \
    {                                                                                              \
        REQUIRE(rest);                                                                             \
        handle(r, true);                                                                           \
    }
#define HANDLER(name)                                                                              \
    void name(struct request *r, const char *rest)                                                 \
    {                                                                                              \
        REQUIRE(rest);                                                                             \
        handle(r, false);                                                                          \
    }

OPEN_HANDLER(api_health)
OPEN_HANDLER(web_file)
HANDLER(api_websocket_health)
HANDLER(api_ws_status)
HANDLER(api_broadcast)
HANDLER(api_tables)
HANDLER(api_table)
HANDLER(api_sql)
HANDLER(api_realtime)
HANDLER(api_realtime_stats)
HANDLER(api_sync)
HANDLER(metrics)

const char handover_not_alone[] = "not alone";

const char *handover_run(
    struct request *r, const struct dialect *dialect, struct hub_client *client, const char *hello)
{
    reached++;
    guarded++;
    REQUIRE(r->who && client->who == r->who && r->body_read);
    buf_puts(&r->conn->written, hello);
    if (!dialect->put_keep_alive) {
        REQUIRE(strncmp(hello, "HTTP/1.1 101 ", 13) == 0);
        return NULL;
    }
    struct command c;
    int rc = dialect->decode(&c, client->request, strlen(client->request));
    REQUIRE(mem_fail_hit() || (rc == 0 && !c.error.code));
    dialect->command_fini(&c);
    buf_printf(&r->conn->written, "HTTP/1.1 200 OK\r\n%s\r\n", client->headers);
    return NULL;
}

/* What was answered. */

static bool known_line(const char *line, size_t len)
{
    static const char *const names[] = {"Date", "Content-Type", "Content-Length", "Connection",
        "X-Content-Type-Options", "Cache-Control", "Keep-Alive", "Vary", "Allow", "Retry-After",
        "Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
        "Access-Control-Allow-Headers", "Access-Control-Max-Age", "Access-Control-Expose-Headers",
        "WWW-Authenticate", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Accept",
        "Sec-WebSocket-Extensions", "X-Accel-Buffering"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t n = strlen(names[i]);
        if (len > n + 2 && memcmp(line, names[i], n) == 0 && memcmp(line + n, ": ", 2) == 0)
            return !memchr(line, '\n', len) && !memchr(line, '\r', len);
    }
    return false;
}

static void check_body(const char *head, const char *body, const struct request *r)
{
    const char *length = strstr(head, "Content-Length: ");
    char err[256];
    if (!length || length > body)
        return;
    size_t len = strtoul(length + 16, NULL, 10);
    REQUIRE(strlen(body) == (r->head ? 0 : len));
    if (r->status >= 400 && !r->head) {
        json_t *j = json_read(body, len, err, sizeof(err));
        const json_t *error = json_object_get(j, "error");
        REQUIRE(json_is_string(json_object_get(error, "code")));
        REQUIRE(json_is_string(json_object_get(error, "message")));
        json_decref(j);
    }
}

static void check_answer(struct mg_connection *c, const struct request *r)
{
    const char *text = buf_text(&c->written), *end, *line;
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!text || mem_fail_hit())
        return;
    REQUIRE(strlen(text) == c->written.len);
    if (strncmp(text, go_on, sizeof(go_on) - 1) == 0)
        text += sizeof(go_on) - 1;
    REQUIRE(strncmp(text, "HTTP/1.1 ", 9) == 0 && r->status >= 100 && r->status < 600);
    end = strstr(text, "\r\n\r\n");
    REQUIRE(end);
    for (line = strstr(text, "\r\n") + 2; line < end; line = strstr(line, "\r\n") + 2)
        REQUIRE(known_line(line, (size_t)(strstr(line, "\r\n") - line)));
    check_body(text, end + 4, r);
}

/* Who may be let in, by other means. */

static bool shows_token(const void *data, size_t size)
{
    char *text = fuzz_string(data, size), *to = text;
    bool found;
    for (const char *p = text; p < text + size; p++) {
        int byte, taken = 0;
        if (*p == '%' && sscanf(p + 1, "%2x%n", (unsigned *)&byte, &taken) == 1 && taken == 2) {
            *to++ = (char)byte;
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    found = memmem(text, (size_t)(to - text), token, strlen(token)) != NULL;
    free(text);
    return found;
}

/* The name without its port. */
static size_t name_len(const char *s)
{
    size_t len = *s == '[' ? strcspn(s, "]") + 1 : strcspn(s, ":");
    return len;
}

static bool is_name(const char *host, const char *name)
{
    size_t len = strlen(name);
    return name_len(host) == len && text_ncasecmp(host, name, len) == 0;
}

static void check_names(const struct request *r)
{
    const char *host = request_header(r, "Host"), *origin = request_header(r, "Origin");
    if (host && r->info->request_uri == r->path)
        REQUIRE(is_name(host, "localhost") || is_name(host, "app.example") || host[0] == '[' ||
                strncmp(host, "127.", 4) == 0);
    if (!origin || !guarded || r->path[1] == 'm') /* only /metrics may be read by any page */
        return;
    const char *name = strstr(origin, "://");
    REQUIRE(name && text_ncasecmp(origin, "http", 4) == 0);
    name += 3;
    if (text_casecmp(origin, LISTED) != 0)
        REQUIRE(host && name_len(host) == name_len(name) &&
                text_ncasecmp(host, name, name_len(host)) == 0);
}

static void run(struct mg_connection *c, const uint8_t *data, size_t size)
{
    struct request r;
    reached = guarded = 0;
    if (request_init(&r, &http, c)) {
        limits_begin(&r);
        route_run(&r);
    }
    REQUIRE(reached <= 1 && (r.status || mem_fail_hit()));
    if (reached) {
        fuzz_accepted++;
        check_names(&r);
    }
    if (guarded)
        REQUIRE(shows_token(data, size));
    check_answer(c, &r);
    request_finish(&r);
    request_log(&r);
    limits_end(&r);
    auth_fini(&r);
}

void fuzz_http(const uint8_t *data, size_t size)
{
    struct mg_connection c;
    start();
    if (fuzz_civetweb_parse(&c, data, size))
        run(&c, data, size);
    fuzz_civetweb_fini(&c);
}
