#include "cli/ws_client.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/handshake.h"
#include "cli/interrupt.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define SEND_TIMEOUT_MS 10000
#define CLOSE_TIMEOUT_MS 1000
#define MESSAGE_MAX ((size_t)1 << 30)
#define READ_SIZE 16384

struct ws_client {
    CURL *curl;
    int fd;
    struct ws_parser parser;
    struct buf out;   /* a frame being built */
    struct buf early; /* frames that came together with the handshake's answer */
    int code;         /* 0 while the connection is open */
    char reason[124];
    char detail[CURL_ERROR_SIZE];
    /* While ws_client_read runs. */
    int (*on_message)(void *ctx, const char *text, size_t len);
    void *ctx;
    int stopped;
};

static int on_progress(
    void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    (void)ctx, (void)total, (void)now, (void)up_total, (void)up_now;
    return interrupt_seen();
}

/* Waits for the socket or ^C; false when neither came in time. */
static bool wait_for(const struct ws_client *w, short events, int64_t timeout_ms)
{
    struct pollfd fds[2] = {
        {.fd = w->fd, .events = events}, {.fd = interrupt_fd(), .events = POLLIN}};

    return poll(fds, 2, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms) != 0;
}

static int send_all(struct ws_client *w, const char *p, size_t len)
{
    int64_t end = clock_mono_ms() + SEND_TIMEOUT_MS;

    while (len) {
        size_t sent = 0;
        CURLcode code = curl_easy_send(w->curl, p, len, &sent);

        if (code != CURLE_OK && code != CURLE_AGAIN)
            return STATUS_CLOSED;
        p += sent;
        len -= sent;
        if (len && sent == 0) {
            int64_t left = end - clock_mono_ms();

            if (left <= 0 || !wait_for(w, POLLOUT, left) || interrupt_seen())
                return STATUS_CLOSED;
        }
    }
    return 0;
}

/* What can be read now; *len 0: nothing yet. */
static int receive(struct ws_client *w, void *to, size_t *len)
{
    CURLcode code = curl_easy_recv(w->curl, to, READ_SIZE, len);

    if (code == CURLE_AGAIN) {
        *len = 0;
        return 0;
    }
    return code == CURLE_OK && *len > 0 ? 0 : STATUS_CLOSED;
}

static void explain_connect(
    struct ws_client *w, const char *url, CURLcode code, bool *again, struct buf *err)
{
    long os_error = 0;

    curl_easy_getinfo(w->curl, CURLINFO_OS_ERRNO, &os_error);
    client_explain_curl(url, (int)code, w->detail, os_error, err);
    *again = code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_UNSUPPORTED_PROTOCOL &&
             code != CURLE_URL_MALFORMAT && code != CURLE_SSL_CACERT_BADFILE;
}

static int connect_to(struct ws_client *w, const struct target *target, const char *url,
    int64_t timeout_ms, bool *again, struct buf *err)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode code;

    curl_easy_setopt(w->curl, CURLOPT_URL, url);
    curl_easy_setopt(w->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(w->curl, CURLOPT_ERRORBUFFER, w->detail);
    curl_easy_setopt(w->curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(w->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(w->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(w->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(w->curl, CURLOPT_HTTPPROXYTUNNEL, 1L);
    curl_easy_setopt(w->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(w->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    client_set_tls(w->curl, target);
    if (target_is_loopback(url))
        curl_easy_setopt(w->curl, CURLOPT_NOPROXY, "*");
    code = curl_easy_perform(w->curl);
    if (code != CURLE_OK) {
        explain_connect(w, url, code, again, err);
        return STATUS_IO;
    }
    if (curl_easy_getinfo(w->curl, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
        fd == CURL_SOCKET_BAD) {
        buf_printf(err, "cannot reach %s: the connection was lost at once", url);
        return STATUS_IO;
    }
    w->fd = fd;
    return 0;
}

/* Reads the answer to the handshake; what follows its head stays in h->rest. */
static int read_answer(
    struct ws_client *w, const char *url, int64_t timeout_ms, struct handshake *h, struct buf *err)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    char scratch[READ_SIZE];
    int status = 0;

    while (status == 0 && !handshake_done(h)) {
        int64_t left = end - clock_mono_ms();
        size_t len = 0;

        status = receive(w, scratch, &len);
        if (status == 0 && len == 0) {
            if (left <= 0 || interrupt_seen()) {
                buf_printf(err, "no answer from %s in time", url);
                return STATUS_IO;
            }
            wait_for(w, POLLIN, left);
        } else if (status == 0) {
            status = handshake_feed(h, scratch, len);
        }
    }
    return status == STATUS_CLOSED ? handshake_end(h) : status;
}

static int shake_hands(struct ws_client *w, const char *base, const char *path, const char *token,
    int64_t timeout_ms, bool *again, struct buf *err)
{
    struct handshake h;
    int status;

    handshake_init(&h);
    status = handshake_put_request(&h, base, path, token, &w->out);
    if (status == 0)
        status = send_all(w, w->out.data, w->out.len);
    buf_reset(&w->out);
    if (status == 0)
        status = read_answer(w, base, timeout_ms, &h, err);
    if (status == 0)
        status = handshake_check(&h, base, again, err);
    if (status == 0 && h.rest.len) {
        buf_put(&w->early, h.rest.data, h.rest.len);
        status = buf_error(&w->early);
    }
    if (status < 0 && !err->len)
        buf_printf(err, "%s closed the connection during the handshake", base);
    handshake_fini(&h);
    return status;
}

struct ws_client *ws_client_open(
    struct target *target, const char *path, int64_t timeout_ms, bool *again, struct buf *err)
{
    struct ws_client *w = mem_zalloc(sizeof(*w));
    struct buf base = {0};

    *again = true;
    if (!w) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    ws_parser_init(&w->parser, true, MESSAGE_MAX);
    w->curl = curl_easy_init();
    if (!w->curl) {
        buf_puts(err, "out of memory");
        goto fail;
    }
    if (target_resolve(target, &base, err) < 0) {
        *again = false;
        goto fail;
    }
    if (connect_to(w, target, buf_text(&base), timeout_ms, again, err) < 0 ||
        shake_hands(w, buf_text(&base), path, target->token, timeout_ms, again, err) < 0)
        goto fail;
    buf_fini(&base);
    return w;
fail:
    buf_fini(&base);
    ws_client_free(w);
    return NULL;
}

void ws_client_free(struct ws_client *w)
{
    if (!w)
        return;
    curl_easy_cleanup(w->curl);
    ws_parser_fini(&w->parser);
    buf_fini(&w->out);
    buf_fini(&w->early);
    mem_free(w);
}

int ws_client_fd(const struct ws_client *w)
{
    return w->fd;
}

static int ended(struct ws_client *w, int code, const char *reason, size_t len)
{
    if (!w->code) {
        w->code = code;
        len = len < sizeof(w->reason) ? len : sizeof(w->reason) - 1;
        memcpy(w->reason, reason, len);
        w->reason[len] = '\0';
    }
    return STATUS_CLOSED;
}

static int send_frame(struct ws_client *w, enum ws_opcode opcode, const void *data, size_t len)
{
    uint64_t random = random_u64();
    uint8_t header[WS_HEADER_MAX], key[4];
    size_t header_len;

    memcpy(key, &random, sizeof(key));
    header_len = ws_header_client(header, opcode, len, key);
    buf_reset(&w->out);
    buf_put(&w->out, header, header_len);
    buf_put(&w->out, data, len);
    if (buf_error(&w->out))
        return STATUS_NOMEM;
    ws_mask((uint8_t *)w->out.data + header_len, len, key, 0);
    if (send_all(w, w->out.data, w->out.len) < 0)
        return ended(w, WS_CLOSE_ABNORMAL, "", 0);
    return 0;
}

int ws_client_send(struct ws_client *w, const char *text, size_t len)
{
    return w->code ? STATUS_CLOSED : send_frame(w, WS_TEXT, text, len);
}

int ws_client_ping(struct ws_client *w)
{
    return w->code ? STATUS_CLOSED : send_frame(w, WS_PING, NULL, 0);
}

static int on_message(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    struct ws_client *w = ctx;

    if (opcode == WS_TEXT)
        w->stopped = w->on_message(w->ctx, data, len);
    return w->stopped;
}

static int on_ping(void *ctx, const char *data, size_t len)
{
    struct ws_client *w = ctx;

    w->stopped = send_frame(w, WS_PONG, data, len);
    return w->stopped;
}

static int on_pong(void *ctx, const char *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return 0;
}

static int on_close(void *ctx, int code, const char *reason, size_t len)
{
    struct ws_client *w = ctx;
    uint8_t payload[125];

    send_frame(w, WS_CLOSE, payload, ws_close_payload(payload, code, NULL));
    w->stopped = ended(w, code, reason, len);
    return w->stopped;
}

static int feed(struct ws_client *w, char *data, size_t len)
{
    static const char broken[] = "the server broke the protocol";
    static const struct ws_events events = {on_message, on_ping, on_pong, on_close};
    uint8_t payload[125];
    int failed;

    w->stopped = 0;
    failed = ws_feed(&w->parser, &events, w, (uint8_t *)data, len);
    if (failed <= 0)
        return w->stopped;
    send_frame(w, WS_CLOSE, payload, ws_close_payload(payload, failed, NULL));
    return ended(w, failed, broken, sizeof(broken) - 1);
}

static int read_early(struct ws_client *w)
{
    int status = feed(w, w->early.data, w->early.len);

    buf_reset(&w->early);
    return status;
}

int ws_client_read(
    struct ws_client *w, int (*callback)(void *ctx, const char *text, size_t len), void *ctx)
{
    char scratch[READ_SIZE];
    int status = 0;
    size_t len;

    if (w->code)
        return STATUS_CLOSED;
    w->on_message = callback;
    w->ctx = ctx;
    if (w->early.len)
        status = read_early(w);
    /* To the end: with TLS, what libcurl has already read would not wake a poll. */
    while (status == 0 && !interrupt_seen()) {
        if (receive(w, scratch, &len) < 0)
            return ended(w, WS_CLOSE_ABNORMAL, "", 0);
        if (len == 0)
            break;
        status = feed(w, scratch, len);
    }
    return status;
}

int ws_client_wait(struct ws_client *w, int64_t timeout_ms, bool *idle,
    int (*callback)(void *ctx, const char *text, size_t len), void *ctx)
{
    bool ready = w->code || w->early.len || wait_for(w, POLLIN, timeout_ms);

    if (idle)
        *idle = !ready;
    return ready ? ws_client_read(w, callback, ctx) : 0;
}

int ws_client_code(const struct ws_client *w)
{
    return w->code ? w->code : WS_CLOSE_ABNORMAL;
}

const char *ws_client_reason(const struct ws_client *w)
{
    return w->reason;
}

static int ignore(void *ctx, const char *text, size_t len)
{
    (void)ctx, (void)text, (void)len;
    return 0;
}

void ws_client_close(struct ws_client *w)
{
    int64_t end = clock_mono_ms() + CLOSE_TIMEOUT_MS;
    uint8_t payload[125];

    if (w->code)
        return;
    interrupt_clear();
    send_frame(w, WS_CLOSE, payload, ws_close_payload(payload, WS_CLOSE_NORMAL, NULL));
    while (!w->code && clock_mono_ms() < end && !interrupt_seen())
        ws_client_wait(w, end - clock_mono_ms(), NULL, ignore, NULL);
}
