#include "http/http.h"
#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "http/answer.h"
#include "http/secure.h"
#include "http/serve.h"
#include "http/swift.h"

#include <civetweb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define DEFAULT_THREADS 64
#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)
#define WORKER_STACK (1 << 20) /* where civetweb leaves that to the system: see http/stack.h */
#define HEAD_BYTES 16384
#define ANSWERS_MS 400 /* for what has been answered to go out through TLS, at the end */

static struct http *http_of(const struct mg_connection *conn)
{
    return mg_get_user_data(mg_get_context(conn));
}

static void peer_of(const struct mg_connection *conn, struct peer *p)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    const struct worker *w = mg_get_thread_pointer(conn);
    bool secure = http_of(conn)->front;

    p->port = secure ? w->port : info->remote_port;
    p->server_port = info->server_port;
    snprintf(p->address, sizeof(p->address), "%s", secure ? "127.0.0.1" : info->remote_addr);
}

static void *thread_started(const struct mg_context *ctx, int type)
{
    struct http *h = mg_get_user_data(ctx);

    if (type != 1)
        return NULL;
    cores_ask_promptness();
    return workers_give(&h->workers);
}

/* civetweb tells the addresses only with the first request; until then its own time limit holds. */
static int connected(const struct mg_connection *conn, void **data)
{
    struct http *h = http_of(conn);
    struct peer unknown = {0};

    struct worker *w = mg_get_thread_pointer(conn);

    (void)data;
    w->bytes_before = 0;
    w->client.id = 0;
    w->answered = false;
    w->address_text[0] = '\0';
    w->requests = w->misses = w->refusals = 0;
    workers_set(&h->workers, w, WORKER_WAITING, &unknown);
    return 0;
}

/*
 * civetweb says nothing to "*" and to the URL of another host, neither to us nor to the client: it
 * only closes the connection.
 */
static void answer_strange_target(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    const struct worker *w = mg_get_thread_pointer(conn);

    if (w->answered || !info || !info->request_uri || info->local_uri_raw)
        return;
    if (strcmp(info->request_uri, "*") != 0)
        answer_unparsed(conn, 421, "the target is the URL of another server");
    else if (strcmp(info->request_method, "OPTIONS") == 0)
        answer_unparsed(conn, 200, NULL);
    else
        answer_unparsed(conn, 400, "the target \"*\" goes with OPTIONS only");
}

static void disconnecting(const struct mg_connection *conn)
{
    struct http *h = http_of(conn);

    answer_strange_target((struct mg_connection *)(uintptr_t)conn);
    workers_set(&h->workers, mg_get_thread_pointer(conn), WORKER_FREE, NULL);
}

static int begin_request(struct mg_connection *conn)
{
    struct http *h = http_of(conn);
    struct worker *w = mg_get_thread_pointer(conn);
    struct request r;
    struct peer p;

    if (!secure_identify(h, w, conn)) {
        answer_unparsed(conn, 421, "this port is the server's own");
        return 421;
    }
    if (!w->peer.port) /* the connection's first */
        peer_of(conn, &p);
    workers_set(&h->workers, w, WORKER_BUSY, w->peer.port ? NULL : &p);
    serve_request(&r, request_init(&r, h, conn));
    return r.status ? r.status : 500;
}

/* What civetweb says of a request that it could not parse, in words for the client. */
static const struct {
    const char *said;
    int status;
    const char *message;
} refusals[] = {
    {"Malformed message", 400, "the request's head is malformed"},
    {"Message too large", 431, "the request's head is larger than " TEXT_OF(HEAD_BYTES) " bytes"},
    {"Bad request", 400, "the request line or a header is malformed"},
};

/* civetweb has a word of its own for it, but uses that of a malformed one. */
static bool head_too_large(const struct mg_connection *conn, const struct worker *w)
{
    struct peer p;
    int fd;

    peer_of(conn, &p);
    fd = peer_find(&p);
    return fd >= 0 && peer_bytes_read(fd) - w->bytes_before >= HEAD_BYTES;
}

/* It has the words of the first line when the method was all that it did not like. */
static bool method_unknown(const struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);

    return info && info->http_version && strncmp(info->http_version - 5, "HTTP/", 5) == 0 &&
           info->num_headers == 0;
}

static void explain(const struct mg_connection *conn, int *status, const char **message)
{
    const struct worker *w = mg_get_thread_pointer(conn);

    if (clock_mono_ms() - w->since_ms >= http_of(conn)->silence_ms) {
        *status = 408;
        *message = "the request's head did not arrive in time";
        return;
    }
    if (strcmp(*message, "Bad request") == 0 && *status == 400 && method_unknown(conn)) {
        *status = 501;
        *message = "the request's method is not known here";
        return;
    }
    if (strcmp(*message, "Malformed message") == 0 && head_too_large(conn, w))
        *message = "Message too large";
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        if (strcmp(refusals[i].said, *message) == 0) {
            *status = refusals[i].status;
            *message = refusals[i].message;
            return;
        }
    }
}

/* There is no struct request for it: civetweb closes the connection afterwards. */
static int refuse(struct mg_connection *conn, int status, const char *message)
{
    struct worker *w = mg_get_thread_pointer(conn);
    struct peer p;

    if (!secure_identify(http_of(conn), w, conn)) {
        status = 421;
        message = "this port is the server's own";
    } else {
        explain(conn, &status, &message);
    }
    answer_unparsed(conn, status, message);
    w->answered = true;
    peer_of(conn, &p);
    request_linger(&p);
    return 0;
}

static int log_message(const struct mg_connection *conn, const char *message)
{
    struct http *h = http_of(conn);

    if (h && h->start_error && !h->start_error->len)
        buf_puts(h->start_error, message);
    if (!strcasestr(message, "token"))
        log_debug("civetweb: %s", message);
    return 1;
}

static char **copy_strings(const char *const *from, int count)
{
    char **to = mem_array((size_t)count + 1, sizeof(*to));

    for (int i = 0; to && i < count; i++) {
        to[i] = mem_strdup(from[i]);
        if (!to[i]) {
            while (i-- > 0)
                mem_free(to[i]);
            mem_free(to);
            return NULL;
        }
    }
    return to;
}

static void free_strings(char **s, int count)
{
    for (int i = 0; s && i < count; i++)
        mem_free(s[i]);
    mem_free(s);
}

static void http_free(struct http *h)
{
    front_stop(h->front, ANSWERS_MS);
    swift_stop(h->swift);
    workers_fini(&h->workers);
    free_strings(h->urls, h->address_count);
    free_strings(h->origins, h->origin_count);
    mem_free(h->addresses);
    mem_free(h->ports);
    mem_free(h->proxies);
    mem_free(h);
}

static int read_proxies(struct http *h, const struct http_options *o)
{
    h->proxies = mem_array((size_t)o->proxy_count + 1, sizeof(*h->proxies));
    for (int i = 0; h->proxies && i < o->proxy_count; i++)
        if (network_parse(&h->proxies[h->proxy_count], o->proxies[i]) == 0)
            h->proxy_count++;
    return h->proxies ? 0 : STATUS_NOMEM;
}

static struct http *http_new(const struct http_options *o, int threads)
{
    struct http *h = mem_zalloc(sizeof(*h));

    if (!h)
        return NULL;
    h->db = o->db;
    h->hub = o->hub;
    h->tokens = o->tokens;
    h->policies = o->policies;
    h->max_body = o->max_body;
    h->silence_ms = o->silence_ms > 0 ? o->silence_ms : SILENCE_MS;
    h->compress = o->compress;
    h->limiter = o->limiter;
    h->swift = swift_start(o->db, o->swift);
    h->addresses = mem_array((size_t)o->listen_count + 1, sizeof(*h->addresses));
    h->ports = mem_array((size_t)o->listen_count + 1, sizeof(*h->ports));
    h->urls = mem_array((size_t)o->listen_count + 1, sizeof(*h->urls));
    h->origins = copy_strings(o->origins, o->origin_count);
    if (!h->addresses || !h->ports || !h->urls || !h->origins || read_proxies(h, o) < 0 ||
        workers_init(&h->workers, threads) < 0) {
        http_free(h);
        return NULL;
    }
    h->origin_count = o->origin_count;
    h->address_count = o->listen_count;
    h->names = (struct listen_names){.addresses = h->addresses,
        .address_count = o->listen_count,
        .origins = (const char *const *)h->origins,
        .origin_count = o->origin_count};
    return h;
}

/* The listening addresses as civetweb wants them. */
static int put_ports(
    struct http *h, const struct http_options *o, struct buf *ports, struct buf *err)
{
    char text[LISTEN_TEXT_MAX];

    for (int i = 0; i < o->listen_count; i++) {
        struct listen_address *a = &h->addresses[i];

        if (listen_parse(a, o->listen[i]) < 0) {
            buf_printf(err, "cannot listen on \"%s\": it is not ADDR:PORT", o->listen[i]);
            return STATUS_INVALID;
        }
        if (!o->tls && a->sa.sa_family == AF_INET6 && !mg_check_feature(MG_FEATURES_IPV6)) {
            buf_printf(err,
                "cannot listen on %s: the installed civetweb library was built without IPv6; use "
                "an "
                "IPv4 address such as 127.0.0.1",
                o->listen[i]);
            return STATUS_INVALID;
        }
        listen_format(text, a);
        if (!o->tls)
            buf_printf(ports, "%s%s", i ? "," : "", text);
    }
    if (o->tls)
        buf_puts(ports, "127.0.0.1:0");
    return buf_error(ports);
}

static int find_urls(struct http *h)
{
    int count = h->front ? 1 : h->address_count;
    struct mg_server_port *ports = mem_array((size_t)count, sizeof(*ports));
    char text[LISTEN_TEXT_MAX], url[LISTEN_TEXT_MAX + 8];
    int rc = 0;

    if (!ports || mg_get_server_ports(h->ctx, count, ports) != count)
        rc = STATUS_NOMEM;
    for (int i = 0; i < count && rc == 0; i++)
        h->ports[i] = ports[i].port;
    for (int i = 0; i < h->address_count && rc == 0; i++) {
        if (!h->front)
            listen_set_port(&h->addresses[i], ports[i].port);
        listen_format(text, &h->addresses[i]);
        snprintf(url, sizeof(url), "%s://%s", h->front ? "https" : "http", text);
        h->urls[i] = mem_strdup(url);
        if (!h->urls[i])
            rc = STATUS_NOMEM;
    }
    mem_free(ports);
    if (rc == 0)
        workers_ports(&h->workers, h->ports, count);
    if (rc == 0 && h->front)
        rc = front_start(h->front, h->ports[0]);
    return rc;
}

static const struct mg_callbacks callbacks = {
    .begin_request = begin_request,
    .http_error = refuse,
    .log_message = log_message,
    .init_thread = thread_started,
    .init_connection = connected,
    .connection_close = disconnecting,
};

/* Everything civetweb could do by itself is off: it has no files and answers nothing on its own. */
/* clang-format off */
static const char *const settings[] = {
    "tcp_nodelay", "1",
    "enable_keep_alive", "yes",
    "keep_alive_timeout_ms", TEXT_OF(KEEP_ALIVE_MS),
    "connection_queue", "256",
    "listen_backlog", "1024",
    "max_request_size", TEXT_OF(HEAD_BYTES),
    "decode_url", "no",
    "enable_directory_listing", "no",
    "enable_auth_domain_check", "no",
    "authentication_domain", "",
    "ssi_pattern", "",
    "cgi_pattern", "",
    "access_control_allow_origin", "",
    "access_control_allow_methods", "",
};
/* clang-format on */

static struct mg_context *start_civetweb(struct http *h, const char *ports, int threads)
{
    char count[16], silence[24];
    const char *options[sizeof(settings) / sizeof(*settings) + 7] = {
        "listening_ports", ports, "num_threads", count, "request_timeout_ms", silence};
    pthread_attr_t before, small;
    struct mg_context *ctx;
    sigset_t signals;

    snprintf(count, sizeof(count), "%d", threads);
    snprintf(silence, sizeof(silence), "%lld", (long long)h->silence_ms);
    memcpy(options + 6, settings, sizeof(settings));
    pthread_getattr_default_np(&before);
    pthread_getattr_default_np(&small);
    pthread_attr_setstacksize(&small, WORKER_STACK);
    pthread_setattr_default_np(&small);
    thread_block_signals(&signals);
    ctx = mg_start(&callbacks, h, options);
    thread_restore_signals(&signals);
    pthread_setattr_default_np(&before);
    pthread_attr_destroy(&small);
    pthread_attr_destroy(&before);
    return ctx;
}

struct http *http_start(const struct http_options *o, struct buf *err)
{
    int threads = o->threads > 0 ? o->threads : DEFAULT_THREADS;
    struct http *h = http_new(o, threads);
    struct buf ports = {0}, said = {0};

    if (!h) {
        buf_puts(err, "out of memory while starting the HTTP server");
        return NULL;
    }
    if (put_ports(h, o, &ports, err) < 0 || (o->tls && secure_listen(h, o, err) < 0))
        goto fail;
    mg_init_library(0);
    h->start_error = &said;
    h->ctx = start_civetweb(h, buf_text(&ports), threads);
    h->start_error = NULL;
    if (!h->ctx) {
        buf_printf(err, "cannot listen on %s: %s", buf_text(&ports),
            said.len ? buf_text(&said) : "the HTTP server did not start");
        goto fail;
    }
    if (find_urls(h) < 0) {
        buf_puts(err, "out of memory while starting the HTTP server");
        mg_stop(h->ctx);
        goto fail;
    }
    buf_fini(&ports);
    buf_fini(&said);
    return h;
fail:
    buf_fini(&ports);
    buf_fini(&said);
    http_free(h);
    return NULL;
}

void http_set_tls(struct http *h, struct tls_context *tls)
{
    front_set_context(h->front, tls);
}

const char *http_address(const struct http *h, int i)
{
    return i >= 0 && i < h->address_count ? h->urls[i] : NULL;
}

/*
 * civetweb closes its listeners only when it ends altogether. A shut-down listening socket refuses
 * connections from now on. civetweb then polls it in a circle, which lasts no longer than
 * http_drain and ends its wait at once when it is to stop.
 */
static void close_listeners(struct http *h)
{
    if (h->front)
        front_stop_accepting(h->front);
    for (int i = 0; i < (h->front ? 1 : h->address_count); i++) {
        int fd = peer_find_listener(h->ports[i]);

        if (fd >= 0)
            shutdown(fd, SHUT_RDWR);
    }
}

void http_stop_accepting(struct http *h)
{
    if (!atomic_exchange(&h->stopping, true))
        close_listeners(h);
}

bool http_drain(struct http *h, int64_t timeout_ms)
{
    return workers_drain(&h->workers, timeout_ms);
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    http_stop_accepting(h);
    workers_drop_waiting(&h->workers);
    mg_stop(h->ctx);
    http_free(h);
}
