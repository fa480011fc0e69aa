#include "net/tls.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/tls_context.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/*
 * OpenSSL reads from the socket, but writes into memory: so a write never fails half-way with a
 * record that has to be repeated, what was given to tls_send is settled whatever is queued next,
 * and several records go out with one system call.
 */

#define READ_BUDGET (4 * TLS_RECORD) /* taken from the socket in one tls_recv */
#define KEPT_MAX (16 * TLS_RECORD)   /* encrypted and not taken by the socket */
/* Keys changed, or other keys asked for, so often without a byte in between. */
#define HANDSHAKES_MAX 32

struct tls_room {
    char plain[TLS_RECORD];
    char sealed[TLS_ROUND + 4096]; /* room for the records' heads and tags */
    size_t len;
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    int fd;
    unsigned handshakes; /* see HANDSHAKES_MAX */
    size_t budget;       /* see READ_BUDGET */
    struct tls_room *room;
    char *kept;
    size_t kept_at, kept_len;
    unsigned long problem;
    bool done;     /* the handshake */
    bool eof;      /* of the socket */
    bool more;     /* see tls_more */
    bool ended;    /* see tls_ended */
    bool broken;   /* nothing can be said any more */
    bool finished; /* the end was said */
};

/* Between OpenSSL and the socket. */

static int pull(BIO *b, char *to, int len)
{
    struct tls *t = BIO_get_data(b);
    ssize_t n;

    BIO_clear_retry_flags(b);
    if (!t->budget) {
        BIO_set_retry_read(b);
        return -1;
    }
    do
        n = recv(t->fd, to, (size_t)len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(b);
    if (n == 0)
        t->eof = true;
    if (n > 0)
        t->budget -= (size_t)n < t->budget ? (size_t)n : t->budget;
    return (int)n;
}

static int keep(struct tls *t, const char *p, size_t len)
{
    char *longer;

    if (len == 0)
        return 0;
    if (t->kept_len + len > KEPT_MAX)
        return STATUS_TOO_LARGE;
    if (t->kept_at) {
        memmove(t->kept, t->kept + t->kept_at, t->kept_len);
        t->kept_at = 0;
    }
    longer = mem_realloc(t->kept, t->kept_len + len);
    if (!longer)
        return STATUS_NOMEM;
    t->kept = longer;
    memcpy(t->kept + t->kept_len, p, len);
    t->kept_len += len;
    return 0;
}

static int push(BIO *b, const char *p, int len)
{
    struct tls *t = BIO_get_data(b);
    struct tls_room *r = t->room;

    BIO_clear_retry_flags(b);
    if (!r)
        return keep(t, p, (size_t)len) == 0 ? len : -1;
    if ((size_t)len > sizeof(r->sealed) - r->len)
        return -1;
    memcpy(r->sealed + r->len, p, (size_t)len);
    r->len += (size_t)len;
    return len;
}

static long control(BIO *b, int command, long number, void *p)
{
    const struct tls *t = BIO_get_data(b);

    (void)number, (void)p;
    if (command == BIO_CTRL_EOF)
        return t->eof;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rowtap socket");
    if (!method)
        return;
    BIO_meth_set_read(method, pull);
    BIO_meth_set_write(method, push);
    BIO_meth_set_ctrl(method, control);
}

static BIO *make_bio(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *b;

    pthread_once(&once, make_method);
    b = method ? BIO_new(method) : NULL;
    if (!b)
        return NULL;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}

/* Other keys cost us as much as the peer, and bring nothing. */
static void on_message(
    int ours, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
    struct tls *t = arg;

    (void)version, (void)ssl;
    if (!ours && type == SSL3_RT_HANDSHAKE && len && t->done &&
        *(const unsigned char *)buf == SSL3_MT_KEY_UPDATE)
        t->handshakes++;
}

/* A renegotiation is refused with a warning, and may be asked for again. */
static void on_event(const SSL *ssl, int where, int value)
{
    struct tls *t = SSL_get_app_data(ssl);

    if (where == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_NO_RENEGOTIATION)
        t->handshakes++;
}

struct tls *tls_new(struct tls_context *x, int fd)
{
    struct tls *t = mem_zalloc(sizeof(*t));
    BIO *b = NULL;

    if (!t)
        return NULL;
    t->fd = fd;
    t->context = x;
    t->ssl = SSL_new(tls_context_ssl(x));
    if (t->ssl)
        b = make_bio(t);
    if (!b) {
        ERR_clear_error();
        SSL_free(t->ssl);
        mem_free(t);
        return NULL;
    }
    tls_context_ref(x);
    SSL_set_bio(t->ssl, b, b);
    SSL_set_app_data(t->ssl, t);
    SSL_set_msg_callback(t->ssl, on_message);
    SSL_set_msg_callback_arg(t->ssl, t);
    SSL_set_info_callback(t->ssl, on_event);
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    tls_finish(t);
    SSL_free(t->ssl);
    tls_context_unref(t->context);
    mem_free(t->kept);
    mem_free(t);
}

/* What a call did not do: 0 when it waits, or the end. */
static int judge(struct tls *t, int result)
{
    int error = SSL_get_error(t->ssl, result);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 0;
    if (error == SSL_ERROR_ZERO_RETURN)
        return STATUS_CLOSED;
    t->broken = true;
    t->problem = ERR_peek_error();
    ERR_clear_error();
    return error == SSL_ERROR_SYSCALL || t->eof ? STATUS_CLOSED : STATUS_INVALID;
}

int tls_handshake(struct tls *t)
{
    int rc;

    t->budget = READ_BUDGET;
    ERR_clear_error();
    rc = SSL_do_handshake(t->ssl);
    if (rc != 1)
        rc = judge(t, rc);
    t->done = rc == 1;
    return tls_flush(t) < 0 && rc >= 0 ? STATUS_CLOSED : rc; /* a failure's alert has gone */
}

const char *tls_problem(const struct tls *t)
{
    const char *reason = t->problem ? ERR_reason_error_string(t->problem) : NULL;

    return reason ? reason : "the peer went away";
}

bool tls_was_http(const struct tls *t)
{
    return ERR_GET_LIB(t->problem) == ERR_LIB_SSL &&
           ERR_GET_REASON(t->problem) == SSL_R_HTTP_REQUEST;
}

bool tls_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl);
}

const char *tls_version(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}

/* One record, or a part of the handshake protocol. */
static bool read_record(struct tls *t, char *to, size_t size, size_t *n)
{
    int rc;

    ERR_clear_error();
    if (SSL_read_ex(t->ssl, to, size, n)) {
        t->handshakes = 0;
        return true;
    }
    rc = judge(t, 0);
    if (t->handshakes > HANDSHAKES_MAX) {
        t->broken = true;
        rc = STATUS_INVALID;
    }
    t->ended = rc < 0;
    t->more = t->ended;
    return false;
}

ssize_t tls_recv(struct tls *t, void *buf, size_t size)
{
    char *to = buf;
    size_t got = 0, n;

    assert(size >= TLS_RECORD);
    t->budget = READ_BUDGET;
    t->more = true;
    while (!t->ended && size - got >= TLS_RECORD && read_record(t, to + got, size - got, &n))
        got += n;
    if (got)
        return (ssize_t)got;
    if (!t->ended)
        errno = EAGAIN;
    else if (t->broken)
        errno = ECONNRESET;
    return t->ended && !t->broken ? 0 : -1;
}

bool tls_more(const struct tls *t)
{
    return t->more;
}

bool tls_ended(const struct tls *t)
{
    return t->ended;
}

struct tls_room *tls_room_new(void)
{
    return mem_alloc(sizeof(struct tls_room));
}

void tls_room_free(struct tls_room *r)
{
    mem_free(r);
}

static bool seal(struct tls *t, const char *p, size_t len)
{
    size_t n;

    ERR_clear_error();
    if (len == 0 || (SSL_write_ex(t->ssl, p, len, &n) && n == len))
        return true;
    ERR_clear_error();
    t->broken = true;
    return false;
}

/* Small pieces share a record. */
static ssize_t seal_all(struct tls *t, const struct iovec *iov, int count, struct tls_room *r)
{
    size_t taken = 0, waiting = 0;

    for (int i = 0; i < count && taken < TLS_ROUND; i++) {
        const char *p = iov[i].iov_base;
        size_t left = iov[i].iov_len;

        while (left && taken < TLS_ROUND) {
            bool direct = !waiting && (left >= TLS_RECORD || i == count - 1);
            size_t n = TLS_RECORD - waiting, bound = TLS_ROUND - taken;

            n = n < left ? n : left;
            n = n < bound ? n : bound;
            if (!direct)
                memcpy(r->plain + waiting, p, n);
            waiting = direct ? 0 : waiting + n;
            if (direct && !seal(t, p, n))
                return -1;
            if (waiting == TLS_RECORD) {
                if (!seal(t, r->plain, waiting))
                    return -1;
                waiting = 0;
            }
            p += n;
            left -= n;
            taken += n;
        }
    }
    return seal(t, r->plain, waiting) ? (ssize_t)taken : -1;
}

/* How much of it the socket takes; -1 and errno. */
static ssize_t transmit(struct tls *t, const char *p, size_t len)
{
    ssize_t n;

    do
        n = send(t->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0)
        t->broken = true;
    return n;
}

ssize_t tls_send(struct tls *t, const struct iovec *iov, int count, struct tls_room *room)
{
    ssize_t taken, n;

    if (t->broken) {
        errno = EPIPE;
        return -1;
    }
    if (tls_flush(t) < 0)
        return -1;
    if (t->kept_len)
        return 0;
    room->len = 0;
    t->room = room;
    taken = seal_all(t, iov, count, room);
    t->room = NULL;
    if (taken < 0) {
        errno = EPROTO;
        return -1;
    }
    n = transmit(t, room->sealed, room->len);
    if (n < 0)
        return -1;
    if (keep(t, room->sealed + n, room->len - (size_t)n) == 0)
        return taken;
    t->broken = true;
    errno = ENOMEM;
    return -1;
}

size_t tls_unsent(const struct tls *t)
{
    return t->kept_len;
}

int tls_flush(struct tls *t)
{
    ssize_t n;

    if (!t->kept_len)
        return 0;
    n = transmit(t, t->kept + t->kept_at, t->kept_len);
    if (n < 0)
        return -1;
    t->kept_at += (size_t)n;
    t->kept_len -= (size_t)n;
    if (t->kept_len)
        return 0;
    mem_free(t->kept);
    t->kept = NULL;
    t->kept_at = 0;
    return 0;
}

void tls_finish(struct tls *t)
{
    if (t->finished || t->broken || !t->done)
        return;
    t->finished = true;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
    tls_flush(t);
}
