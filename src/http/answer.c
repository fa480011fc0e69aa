#include "http/answer.h"
#include "http/http.h"

#include <civetweb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COPY_MAX 65536 /* up to here head and body leave in one write */
#define HEAD_USUAL 400 /* bytes that most heads do not pass */

static const char out_of_memory[] =
    "{\"error\":{\"code\":\"LIMIT_EXCEEDED\",\"message\":\"the server is out of memory\"}}";

/* It is the same for a second. */
void answer_put_date(struct buf *out)
{
    static _Thread_local struct {
        time_t at;
        size_t len;
        char line[48];
    } last;
    time_t now = time(NULL);
    struct tm tm;

    if (now != last.at || last.len == 0) {
        last.at = now;
        last.len = strftime(last.line, sizeof(last.line), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
            gmtime_r(&now, &tm));
    }
    buf_put(out, last.line, last.len);
}

void answer_put_readers(struct buf *out, const struct request *r)
{
    if (r->http->origin_count)
        buf_puts(out, "Vary: Origin\r\n");
    if (r->origin)
        buf_printf(out, "Access-Control-Allow-Origin: %s\r\n", r->origin);
}

static void put_start(
    struct buf *out, struct mg_connection *conn, int status, const char *type, size_t len)
{
    if (status == 200)
        buf_puts(out, "HTTP/1.1 200 OK\r\n");
    else
        buf_printf(out, "HTTP/1.1 %d %s\r\n", status, mg_get_response_code_text(conn, status));
    answer_put_date(out);
    buf_puts(out, "Content-Type: ");
    buf_puts(out, type);
    buf_puts(out, "\r\nContent-Length: ");
    buf_put_u64(out, len);
    buf_puts(out, "\r\nX-Content-Type-Options: nosniff\r\n");
}

static void put_head(struct buf *out, struct request *r, int status, const char *type,
    const char *headers, size_t len)
{
    put_start(out, r->conn, status, type, len);
    if (!headers || !strstr(headers, "Cache-Control:"))
        buf_puts(out, "Cache-Control: no-store\r\n");
    if (headers)
        buf_puts(out, headers);
    answer_put_readers(out, r);
    if (headers && strncmp(headers, "Upgrade:", 8) == 0)
        buf_puts(out, "Connection: Upgrade, ");
    else
        buf_puts(out, "Connection: ");
    buf_puts(out, r->keep ? "keep-alive\r\nKeep-Alive: timeout=4\r\n\r\n" : "close\r\n\r\n");
}

void answer(struct request *r, int status, const char *type, const char *headers, const void *data,
    size_t len)
{
    struct buf out = {0};
    const char *text;
    bool together = !r->head && len <= COPY_MAX;

    r->status = status;
    if (!r->body_read || !r->keep)
        request_close_after(r);
    buf_reserve(&out, HEAD_USUAL + (together ? len : 0));
    put_head(&out, r, status, type, headers, len);
    if (together)
        buf_put(&out, data, len);
    text = buf_text(&out);
    if (!text)
        request_close_after(
            r); /* no memory even for the head: the client sees the connection close */
    else if (request_write(r, text, out.len) && !r->head && !together)
        request_write(r, data, len);
    buf_fini(&out);
}

void answer_json(struct request *r, int status, struct buf *json)
{
    if (buf_error(json))
        answer(r, 503, "application/json", "Retry-After: 1\r\n", out_of_memory,
            sizeof(out_of_memory) - 1);
    else
        answer(r, status, "application/json", NULL, json->data, json->len);
}

static void put_error(struct buf *out, const char *code, const char *message, int64_t retry_ms)
{
    buf_printf(out, "{\"error\":{\"code\":\"%s\",\"message\":", code);
    buf_put_json_text(out, message);
    if (retry_ms) {
        buf_puts(out, ",\"retryAfter\":");
        buf_put_i64(out, retry_ms);
    }
    buf_puts(out, "}}");
}

static void error_va(struct request *r, int status, const char *headers, const char *code,
    const char *fmt, va_list ap)
{
    struct buf message = {0}, json = {0};

    buf_vprintf(&message, fmt, ap);
    r->code = code;
    snprintf(r->why, sizeof(r->why), "%s", buf_text(&message) ? buf_text(&message) : "");
    put_error(&json, code, buf_error(&message) ? "out of memory" : buf_text(&message), r->retry_ms);
    if (buf_error(&json))
        answer_json(r, 503, &json);
    else
        answer(r, status, "application/json", headers, json.data, json.len);
    buf_fini(&message);
    buf_fini(&json);
}

void answer_error(struct request *r, int status, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_va(r, status, NULL, code, fmt, ap);
    va_end(ap);
}

void answer_error_with(
    struct request *r, int status, const char *headers, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_va(r, status, headers, code, fmt, ap);
    va_end(ap);
}

void answer_unparsed(struct mg_connection *conn, int status, const char *message)
{
    struct buf body = {0}, out = {0};

    mg_disable_connection_keep_alive(conn);
    if (message)
        put_error(&body, "INVALID_FORMAT", message, 0);
    put_start(&out, conn, status, "application/json", body.len);
    buf_puts(&out, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
    buf_put(&out, body.data, body.len);
    if (!buf_error(&body) && !buf_error(&out))
        mg_write(conn, out.data, out.len);
    buf_fini(&body);
    buf_fini(&out);
}
