#include "http/again.h"

#include <civetweb.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>

#define REQUESTS_BEFORE 3 /* of a connection, until it is worth finding its descriptor */
#define MISSES_MAX 2      /* after which a connection is left to civetweb for good */
#define DIGITS_MAX 9

static void put_header(struct again *a, const struct mg_header *h)
{
    bool length = strcasecmp(h->name, "Content-Length") == 0;

    buf_puts(&a->head, h->name);
    buf_puts(&a->head, ": ");
    if (length)
        a->split = a->head.len;
    else
        buf_puts(&a->head, h->value);
    buf_puts(&a->head, "\r\n");
}

/* As it is usually written; a client that writes it otherwise is not recognised. */
static bool put_head(struct again *a)
{
    const struct mg_request_info *info = a->r->info;

    buf_puts(&a->head, info->request_method);
    buf_putc(&a->head, ' ');
    buf_puts(&a->head, info->request_uri);
    buf_puts(&a->head, " HTTP/1.1\r\n");
    for (int i = 0; i < info->num_headers; i++)
        put_header(a, &info->http_headers[i]);
    buf_puts(&a->head, "\r\n");
    return !buf_error(&a->head) && a->split;
}

/* civetweb holds nothing of the next request yet. */
static bool nothing_taken(struct request *r)
{
    return peer_bytes_read(r->fd) == r->worker->bytes_before;
}

bool again_possible(struct request *r)
{
    struct worker *w = r->worker;

    return r->repeatable && r->keep && !r->info->query_string && w->stack &&
           w->misses < MISSES_MAX && ++w->requests > REQUESTS_BEFORE;
}

bool again_begin(struct again *a, struct request *r)
{
    a->r = r;
    a->split = 0;
    a->swift = 0;
    buf_init(&a->head, sizeof(a->text));
    if (request_socket(r) >= 0 && nothing_taken(r) && put_head(a) && request_wait(r))
        return true;
    r->worker->misses++;
    again_end(a);
    return false;
}

/* The length of the value, or 0: it is not plain digits. */
static size_t read_length(const char *p, size_t len, size_t *value)
{
    size_t n = 0;

    *value = 0;
    while (n < len && n < DIGITS_MAX && p[n] >= '0' && p[n] <= '9')
        *value = *value * 10 + (size_t)(p[n++] - '0');
    return n > 1 && *p == '0' ? 0 : n;
}

/* The bytes of the request that stands at the beginning of the text, or 0: it is another one. */
static size_t match(const struct again *a, size_t len, size_t *body)
{
    const char *p = a->text + a->split;
    size_t behind = a->head.len - a->split, left, digits;

    if (len < a->split || memcmp(a->text, a->head.data, a->split) != 0)
        return 0;
    left = len - a->split;
    digits = read_length(p, left, body);
    left -= digits;
    if (!digits || left < behind || memcmp(p + digits, a->head.data + a->split, behind) != 0)
        return 0;
    return left - behind < *body ? 0 : a->head.len + digits + *body;
}

/*
 * The state is set before `stopping` is looked at, and the end of the server looks at the states
 * after it has set that: either it shuts this connection down, or it is seen here.
 */
static ssize_t look(struct again *a, int flags)
{
    if (atomic_load(&a->r->http->stopping))
        return 0;
    return recv(a->r->fd, a->text, sizeof(a->text), MSG_PEEK | flags);
}

static enum again_found nothing(struct again *a, int flags)
{
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return AGAIN_OTHER;
    if (flags & MSG_DONTWAIT)
        return AGAIN_NONE;
    request_close_after(a->r);
    return AGAIN_OTHER;
}

enum again_found again_look(struct again *a, int flags)
{
    struct request *r = a->r;
    size_t size, body;
    ssize_t n;

    /* An answer that had to wait, for one, has given the socket back. */
    if (!r->waits || !r->repeatable || !r->keep)
        return AGAIN_OTHER;
    n = look(a, flags);
    if (n <= 0)
        return n < 0 ? nothing(a, flags) : AGAIN_OTHER;
    size = match(a, (size_t)n, &body);
    if (!size) {
        r->worker->misses += !(flags & MSG_DONTWAIT); /* or it is looked at once more */
        return AGAIN_OTHER;
    }
    if (recv(r->fd, NULL, size, MSG_TRUNC | MSG_DONTWAIT) != (ssize_t)size) {
        request_close_after(r);
        return AGAIN_OTHER;
    }
    workers_set(&r->http->workers, r->worker, WORKER_BUSY, NULL);
    request_repeat(r, size - body, a->text + size - body, body);
    return AGAIN_NEXT;
}

void again_end(struct again *a)
{
    request_unwait(a->r);
    if (a->head.data)
        OPENSSL_cleanse(a->head.data, a->head.cap);
    OPENSSL_cleanse(a->text, a->head.len < sizeof(a->text) ? a->head.len : sizeof(a->text));
    buf_fini(&a->head);
}
