#include "http/request.h"
#include "base/clock.h"
#include "base/text.h"
#include "http/answer.h"

#include <civetweb.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define BODY_MS 10000          /* for any body … */
#define BODY_BYTES_PER_S 65536 /* … and this rate on top */
#define LINGER_MS 1000
#define LINGER_BYTES (64 << 20)
#define READ_SIZE 65536
#define SCRAP_SIZE 16384

/* Most names differ in their first letter. */
static bool same_name(const char *a, const char *b)
{
    return ((*a ^ *b) & ~('a' ^ 'A')) == 0 && text_casecmp(a, b) == 0;
}

const char *request_header(const struct request *r, const char *name)
{
    for (int i = 0; i < r->info->num_headers; i++)
        if (same_name(r->info->http_headers[i].name, name))
            return r->info->http_headers[i].value;
    return NULL;
}

int request_header_count(const struct request *r, const char *name)
{
    int n = 0;

    for (int i = 0; i < r->info->num_headers; i++)
        n += same_name(r->info->http_headers[i].name, name);
    return n;
}

static bool list_has(const char *list, const char *token)
{
    size_t want = strlen(token);

    while (*list) {
        size_t len;

        list += strspn(list, " \t,");
        len = strcspn(list, " \t,");
        if (text_same_nocase(list, len, token, want))
            return true;
        list += len;
    }
    return false;
}

bool request_header_has(const struct request *r, const char *name, const char *token)
{
    for (int i = 0; i < r->info->num_headers; i++)
        if (same_name(r->info->http_headers[i].name, name) &&
            list_has(r->info->http_headers[i].value, token))
            return true;
    return false;
}

/* "text/html;q=0" (RFC 9110 section 12.4.2): any number of zeros. */
static bool is_refused(const char *parameters, size_t len)
{
    const char *p = memchr(parameters, ';', len), *end = parameters + len;

    if (!p)
        return false;
    p++;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (end - p < 3 || text_lower(p[0]) != 'q' || p[1] != '=' || p[2] != '0')
        return false;
    for (p += 3; p < end; p++)
        if (*p >= '1' && *p <= '9')
            return false;
    return true;
}

static bool accepts(const char *list, const char *type)
{
    size_t want = strlen(type);

    while (*list) {
        size_t len, name;

        list += strspn(list, " \t,");
        len = strcspn(list, ",");
        name = strcspn(list, " \t,;");
        if (text_same_nocase(list, name, type, want) && !is_refused(list, len))
            return true;
        list += len;
    }
    return false;
}

bool request_accepts(const struct request *r, const char *type)
{
    for (int i = 0; i < r->info->num_headers; i++)
        if (text_casecmp(r->info->http_headers[i].name, "Accept") == 0 &&
            accepts(r->info->http_headers[i].value, type))
            return true;
    return false;
}

static const char *end_of(const char *s)
{
    return s + strlen(s);
}

/*
 * civetweb takes any white space, line ends too, between the words of the first line and in front
 * of the first header (RFC 9112 section 3 has one space, section 2.2 none). It wrote NULs over it.
 */
static bool first_line_well_formed(const struct mg_request_info *info)
{
    const char *version = info->http_version - strlen("HTTP/");
    const char *target = info->query_string ? info->query_string : info->request_uri;

    return info->request_uri == end_of(info->request_method) + 1 && version == end_of(target) + 1 &&
           (info->num_headers == 0 || info->http_headers[0].name == end_of(info->http_version) + 2);
}

/*
 * civetweb stops reading header lines at one that it does not understand (a folded line, a byte
 * outside ASCII in a name, the 65th) and says nothing, so that what follows would be lost: a
 * Content-Length there would turn the body into a second request. The text after the last header it
 * took must be the end of the head, and every line must end in CRLF, which it takes no notice of
 * either. Line ends were overwritten: "value\r\n\r\n" is left as "value\0\0\r\0".
 */
static bool lines_well_formed(const struct mg_request_info *info)
{
    const char *end = end_of(info->http_version);

    for (int i = 0; i < info->num_headers; i++) {
        if (i && info->http_headers[i].name != end + 2)
            return false;
        end = end_of(info->http_headers[i].value);
    }
    return info->num_headers == 0 || (end[1] == '\0' && end[2] == '\r' && end[3] == '\0');
}

static size_t head_length(const struct mg_request_info *info)
{
    const char *last = info->http_version;

    if (info->num_headers)
        last = info->http_headers[info->num_headers - 1].value;
    return (size_t)(end_of(last) + strlen("\r\n\r\n") - info->request_method);
}

/* "Name : value" (RFC 9112 section 5.1); civetweb writes NULs over those spaces. */
static bool space_before_colon(const struct mg_header *h)
{
    const char *after = end_of(h->name) + 1;

    return *after == '\0' && h->value != after;
}

/* White space behind a value is no part of it (RFC 9110 section 5.5). The memory is civetweb's. */
static void trim(const struct mg_header *h)
{
    char *value = (char *)(uintptr_t)h->value, *end = value + strlen(value);

    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
}

static const char *check_head(struct request *r)
{
    const struct mg_request_info *info = r->info;
    int hosts = request_header_count(r, "Host");

    if (!first_line_well_formed(info))
        return "the request line is malformed";
    if (!lines_well_formed(info)) {
        r->status = info->num_headers >= MG_MAX_HEADERS ? 431 : 400;
        return r->status == 431 ? "too many header lines" : "a header line is malformed";
    }
    for (int i = 0; i < info->num_headers; i++) {
        if (space_before_colon(&info->http_headers[i]))
            return "a header's name is followed by a space";
        trim(&info->http_headers[i]);
    }
    if (hosts > 1)
        return "more than one Host header";
    if (hosts == 0 && strcmp(info->http_version, "1.0") != 0)
        return "the Host header is missing";
    return NULL;
}

/* Digits only, with optional white space behind them. */
static bool parse_length(const char *s, int64_t *length)
{
    size_t digits = strspn(s, "0123456789");

    return digits && s[digits + strspn(s + digits, " \t")] == '\0' &&
           text_parse_i64(s, digits, length) == 0;
}

/* How the body is delimited (RFC 9112 section 6); civetweb is lenient here. */
static const char *check_framing(struct request *r)
{
    const char *length = request_header(r, "Content-Length");
    const char *coding = request_header(r, "Transfer-Encoding");

    if (coding && length)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (request_header_count(r, "Content-Length") > 1)
        return "more than one Content-Length header";
    if (coding) {
        if (request_header_count(r, "Transfer-Encoding") > 1 ||
            text_casecmp(coding, "chunked") != 0)
            return "the only Transfer-Encoding understood is chunked";
        if (strcmp(r->info->http_version, "1.0") == 0)
            return "HTTP/1.0 has no Transfer-Encoding";
        r->chunked = true;
        return NULL;
    }
    if (length && !parse_length(length, &r->content_length))
        return "Content-Length is not a number";
    return NULL;
}

static bool may_keep(const struct request *r)
{
    if (strcmp(r->info->http_version, "1.1") != 0 || r->chunked ||
        atomic_load(&r->http->stopping) || workers_scarce(&r->http->workers))
        return false;
    /* As civetweb decides it, so that both agree. */
    return !request_header(r, "Connection") || request_header_has(r, "Connection", "keep-alive");
}

bool request_init(struct request *r, struct http *h, struct mg_connection *conn)
{
    const char *wrong;

    *r = (struct request){.http = h,
        .conn = conn,
        .info = mg_get_request_info(conn),
        .began_ns = clock_mono_ns(),
        .fd = -1};
    r->worker = mg_get_thread_pointer(conn);
    r->method = r->info->request_method;
    r->path = r->info->local_uri_raw;
    r->query = r->info->query_string;
    r->head = strcmp(r->method, "HEAD") == 0;
    r->head_len = head_length(r->info);
    wrong = check_head(r);
    if (!wrong)
        wrong = check_framing(r);
    r->body_read = !r->chunked && r->content_length == 0;
    if (wrong) {
        answer_error(
            r, r->status ? r->status : 400, "INVALID_FORMAT", "malformed request: %s", wrong);
        return false;
    }
    r->keep = may_keep(r);
    return true;
}

int request_socket(struct request *r)
{
    if (r->fd < 0)
        r->fd = peer_find(&r->worker->peer);
    return r->fd;
}

bool request_alone(struct request *r)
{
    int fd = request_socket(r);
    int64_t taken = fd < 0 ? -1 : peer_bytes_read(fd);
    int unread = 0;

    if (taken >= 0 && r->http->front && ioctl(fd, FIONREAD, &unread) == 0)
        taken += unread;
    return taken < 0 || taken <= r->worker->bytes_before + (int64_t)r->head_len;
}

void request_close_after(struct request *r)
{
    r->keep = false;
    mg_disable_connection_keep_alive(r->conn);
}

static bool expectation(struct request *r)
{
    const char *expect = request_header(r, "Expect");
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (!expect)
        return true;
    if (text_casecmp(expect, "100-continue") != 0) {
        answer_error(r, 417, "INVALID_FORMAT", "cannot meet \"Expect: %.40s\"", expect);
        return false;
    }
    return request_write(r, go_on, sizeof(go_on) - 1);
}

static void too_large(struct request *r)
{
    answer_error(r, 413, "TOO_LARGE",
        "the body is larger than %zu bytes; send less at once or raise --max-body",
        r->http->max_body);
}

static void read_body(struct request *r, struct buf *body)
{
    size_t left = r->chunked ? SIZE_MAX : (size_t)r->content_length;

    while (left) {
        size_t want = left < READ_SIZE ? left : READ_SIZE;
        char *room = buf_reserve(body, want);
        int n;

        if (!room)
            return;
        n = mg_read(r->conn, room, want);
        if (n <= 0) {
            r->body_read = r->chunked && n == 0;
            return;
        }
        body->len += (size_t)n;
        if (r->chunked) {
            if (body->len > r->http->max_body)
                return;
            continue;
        }
        if ((size_t)n < want) /* civetweb waited in vain for the rest */
            return;
        left -= (size_t)n;
    }
    r->body_read = true;
}

static void incomplete(struct request *r, int64_t since)
{
    bool late = clock_mono_ms() - since >= r->http->silence_ms;

    if (late)
        answer_error(r, 408, "INVALID_FORMAT", "the body did not arrive in time");
    else
        answer_error(r, 400, "INVALID_FORMAT",
            r->chunked ? "the chunked body is malformed or incomplete"
                       : "the body is shorter than its Content-Length");
    r->body_read = true; /* nothing more is expected */
}

bool request_body(struct request *r, struct buf *body)
{
    int64_t since = clock_mono_ms();

    if (r->content_length > (int64_t)r->http->max_body) {
        too_large(r);
        return false;
    }
    if (r->given) {
        buf_put(body, r->given, (size_t)r->content_length);
        r->body_read = true;
    } else if (!r->body_read) {
        if (!expectation(r))
            return false;
        workers_deadline(r->worker, BODY_MS + r->content_length * 1000 / BODY_BYTES_PER_S, SHUT_RD);
        read_body(r, body);
        workers_deadline(r->worker, 0, 0);
    }
    if (buf_error(body)) {
        answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the body");
        return false;
    }
    if (body->len > r->http->max_body) {
        too_large(r);
        return false;
    }
    if (!r->body_read) {
        request_close_after(r);
        incomplete(r, since);
        return false;
    }
    return true;
}

/* What the socket takes at once, as it takes nearly all answers. False: it takes none any more. */
static bool send_now(struct request *r, const char **p, size_t *len)
{
    ssize_t n = send(r->fd, *p, *len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        request_close_after(r);
        return false;
    }
    *p += n > 0 ? n : 0;
    *len -= n > 0 ? (size_t)n : 0;
    return true;
}

static bool leave(struct request *r, const char *p, size_t len)
{
    buf_put(&r->unsent, p, len);
    if (buf_error(&r->unsent))
        request_close_after(r);
    return !buf_error(&r->unsent);
}

bool request_send_left(struct request *r)
{
    const char *p = r->unsent.data;
    size_t len = r->unsent.len;

    if (!send_now(r, &p, &len))
        len = 0;
    if (len)
        memmove(r->unsent.data, p, len);
    buf_truncate(&r->unsent, len);
    return len == 0;
}

bool request_write(struct request *r, const void *data, size_t len)
{
    const char *p = data;

    if (r->waits) {
        if (r->swift)
            return leave(r, p, len);
        if (!send_now(r, &p, &len))
            return false;
        if (len == 0)
            return true;
        request_unwait(r);
    }
    workers_deadline(r->worker, BODY_MS + (int64_t)len * 1000 / BODY_BYTES_PER_S, SHUT_RDWR);
    while (len) {
        size_t piece = len < 1 << 20 ? len : 1 << 20;
        int n = mg_write(r->conn, p, piece);

        if (n < (int)piece) {
            request_close_after(r);
            break;
        }
        p += piece;
        len -= piece;
    }
    workers_deadline(r->worker, 0, 0);
    return len == 0;
}

/*
 * Closing a socket with unread data resets the connection, and the client may lose the answer that
 * tells it why: what it still sends is thrown away for a while.
 */
void request_linger(const struct peer *peer)
{
    char scrap[SCRAP_SIZE];
    int64_t end = clock_mono_ms() + LINGER_MS, left = LINGER_BYTES;
    struct pollfd p = {.events = POLLIN};

    p.fd = peer_find(peer);
    if (p.fd < 0 || shutdown(p.fd, SHUT_WR) < 0)
        return;
    while (left > 0 && clock_mono_ms() < end) {
        ssize_t n;

        if (poll(&p, 1, (int)(end - clock_mono_ms() > 0 ? end - clock_mono_ms() : 0)) <= 0)
            break;
        n = recv(p.fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            break;
        left -= n > 0 ? n : 0;
    }
}

void request_finish(struct request *r)
{
    r->worker->bytes_before += (int64_t)r->head_len + r->content_length;
    if (!r->body_read)
        request_linger(&r->worker->peer);
}
