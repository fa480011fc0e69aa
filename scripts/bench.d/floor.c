/*
 * What a server could at best do: accepts WebSockets, commits rows to SQLite and sends each to all,
 * and nothing else. No filters, no history, no bound on slow readers but a ring.
 *
 *   floor each|coalesce DATABASE
 *
 * Prints "listening on http://127.0.0.1:PORT". It takes the INSERTs of `rowtap bench` as POST
 * /api/sql and sends messages of the same size as rowtap's. The writer is answered as soon as the
 * row is committed.
 *
 * each: then the row is sent to each subscriber, one system call for every message; all on one
 * thread. coalesce: the writers have a thread of their own; the other one sends each subscriber all
 * that there is by the time it is its turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RING ((size_t)16 << 20) /* bytes of messages not yet sent to all */
#define FRAME_MAX 70000

enum kind { LISTENER, WAKER, NEW, UPGRADING, WRITER, SUBSCRIBER };

struct connection {
    enum kind kind;
    int fd;
    char *in;
    size_t in_len, in_cap;
    uint64_t sent; /* SUBSCRIBER: place in the ring */
    bool live, waits;
    size_t index; /* among the subscribers */
};

static bool coalesce;
static int loop_epoll, writer_epoll;
static struct connection listener = {.kind = LISTENER}, waker = {.kind = WAKER};
static struct connection **subscribers;
static size_t subscriber_count, subscriber_cap;

static sqlite3 *db;
static sqlite3_stmt *insert;
static uint64_t seq;

/* The ring is mapped twice in a row, so that what is in it is always in one piece. */
static char *ring;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static uint64_t written, all_sent;

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void sql(const char *text)
{
    char *why = NULL;

    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) {
        fprintf(stderr, "floor: %s\n", why);
        exit(1);
    }
}

/* ---- sending ---- */

static size_t put_header(char *out, size_t len)
{
    out[0] = (char)0x81;
    if (len < 126) {
        out[1] = (char)len;
        return 2;
    }
    if (len < 65536) {
        out[1] = 126;
        out[2] = (char)(len >> 8);
        out[3] = (char)len;
        return 4;
    }
    out[1] = 127;
    for (int i = 0; i < 8; i++)
        out[2 + i] = (char)(len >> (56 - 8 * i));
    return 10;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void send_text(int fd, const char *text)
{
    char frame[512];
    size_t len = strlen(text), head = put_header(frame, len);

    memcpy(frame + head, text, len);
    send_all(fd, frame, head + len);
}

static void want_write(struct connection *c, bool wanted)
{
    struct epoll_event e = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};

    if (c->waits != wanted)
        epoll_ctl(loop_epoll, EPOLL_CTL_MOD, c->fd, &e);
    c->waits = wanted;
}

/* Whatever there is for it up to `end`, in one call. */
static void send_pending(struct connection *c, uint64_t end)
{
    ssize_t n;

    if (!c->live || c->sent == end)
        return;
    n = send(c->fd, ring + c->sent % RING, (size_t)(end - c->sent), MSG_NOSIGNAL);
    if (n > 0)
        c->sent += (uint64_t)n;
    else if (n < 0 && errno != EAGAIN)
        c->sent = end;
    want_write(c, c->sent != end);
}

static void turn_of_all(void)
{
    uint64_t end, least;

    pthread_mutex_lock(&lock);
    end = written;
    pthread_mutex_unlock(&lock);
    least = end;
    for (size_t i = 0; i < subscriber_count; i++) {
        struct connection *c = subscribers[i];

        if (!c->waits)
            send_pending(c, end);
        if (c->live && c->sent < least)
            least = c->sent;
    }
    pthread_mutex_lock(&lock);
    all_sent = least;
    pthread_cond_signal(&room);
    pthread_mutex_unlock(&lock);
}

/* A change is known to all from here on. */
static void publish(const char *frame, size_t len)
{
    static const uint64_t one = 1;

    pthread_mutex_lock(&lock);
    while (coalesce && written + len - all_sent > RING)
        pthread_cond_wait(&room, &lock);
    memcpy(ring + written % RING, frame, len);
    written += len;
    pthread_mutex_unlock(&lock);
    if (!coalesce) {
        for (size_t i = 0; i < subscriber_count; i++)
            send_pending(subscribers[i], written);
        all_sent = written;
    } else if (write(waker.fd, &one, sizeof one) < 0) {
        die("write");
    }
}

/* ---- SQL ---- */

/* As rowtap writes it. `text` is as it stood in the request's JSON. */
static void publish_row(int64_t id, int64_t k, const char *text, int text_len, int64_t at)
{
    static char message[FRAME_MAX], frame[FRAME_MAX + 16];
    struct timespec now;
    size_t head;
    int len;

    clock_gettime(CLOCK_REALTIME, &now);
    seq++;
    len = snprintf(message, sizeof message,
        "{\"subscriptions\":[\"s1\"],\"id\":\"c719yti068r3:%llu\",\"timestamp\":%lld,"
        "\"type\":\"database_change\",\"channel\":\"tables\",\"seq\":%llu,\"tx\":%llu,"
        "\"table\":\"bench\",\"event\":\"INSERT\",\"key\":{\"id\":%lld},\"data\":{\"id\":%lld,"
        "\"k\":%lld,\"payload\":\"%.*s\",\"at\":%lld}}",
        (unsigned long long)seq, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000,
        (unsigned long long)seq, (unsigned long long)seq, (long long)id, (long long)id,
        (long long)k, text_len, text, (long long)at);
    if (len >= (int)sizeof message)
        len = sizeof message - 1;
    head = put_header(frame, (size_t)len);
    memcpy(frame + head, message, (size_t)len);
    publish(frame, head + (size_t)len);
}

struct row {
    int64_t id, k, at;
    const char *text;
    int text_len;
};

/* The next of [k,"text",at,…]; false at the end. */
static bool next_row(const char **p, struct row *r)
{
    char *end;
    const char *quote;

    if (**p != '[' && **p != ',')
        return false;
    r->k = strtoll(*p + 1, &end, 10);
    if (end[0] != ',' || end[1] != '"' || !(quote = strstr(end + 2, "\",")))
        return false;
    r->text = end + 2;
    r->text_len = (int)(quote - r->text);
    r->at = strtoll(quote + 2, &end, 10);
    *p = end;
    return true;
}

static int insert_row(struct row *r)
{
    sqlite3_bind_int64(insert, 1, r->k);
    sqlite3_bind_text(insert, 2, r->text, r->text_len, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 3, r->at);
    if (sqlite3_step(insert) != SQLITE_DONE || sqlite3_reset(insert) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    r->id = sqlite3_last_insert_rowid(db);
    return 0;
}

/* The rows of one request; how many. They are published when `out` is told to. */
static int insert_rows(const char *params, bool out)
{
    const char *p = params;
    struct row r;
    int count = 0;

    while (next_row(&p, &r)) {
        if (out) {
            r.id = sqlite3_last_insert_rowid(db);
            publish_row(r.id, r.k, r.text, r.text_len, r.at);
        } else {
            insert_row(&r);
        }
        count++;
    }
    return count;
}

/* Other SQL, its text as JSON. */
static void run_other(const char *json)
{
    static char text[4096];
    size_t n = 0;
    sqlite3_stmt *last;

    for (const char *p = json; *p && *p != '"' && n < sizeof text - 1; p++)
        text[n++] = *p == '\\' ? *++p : *p;
    text[n] = '\0';
    if (strncmp(text, "DROP", 4) == 0) {
        sqlite3_finalize(insert);
        insert = NULL;
    }
    sql(text);
    if (strncmp(text, "CREATE", 6) == 0 &&
        sqlite3_prepare_v2(
            db, "INSERT INTO bench(k, payload, at) VALUES (?,?,?)", -1, &insert, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    if (strncmp(text, "INSERT", 6) == 0 &&
        sqlite3_prepare_v2(db, "SELECT id, k, at FROM bench WHERE id = last_insert_rowid()", -1,
            &last, NULL) == SQLITE_OK) {
        if (sqlite3_step(last) == SQLITE_ROW)
            publish_row(sqlite3_column_int64(last, 0), sqlite3_column_int64(last, 1), "", 0,
                sqlite3_column_int64(last, 2));
        sqlite3_finalize(last);
    }
}

/* ---- HTTP ---- */

static void answer(int fd, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);

    send_all(fd, text, (size_t)n);
}

static void metrics(int fd)
{
    char text[512];
    struct timespec cpu;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%*d %ld", &pages) != 1)
        die("/proc/self/statm");
    fclose(file);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    snprintf(text, sizeof text,
        "process_cpu_seconds_total %lld.%09ld\nprocess_resident_memory_bytes %ld\n",
        (long long)cpu.tv_sec, cpu.tv_nsec, pages * sysconf(_SC_PAGESIZE));
    answer(fd, text);
}

static void run_sql(int fd, const char *body)
{
    static const char before[] = "{\"sql\":\"";
    const char *params = strstr(body, "\"params\":");
    char text[160];
    int rows = 0;

    if (strncmp(body, before, sizeof before - 1) != 0)
        die("a request that is not understood");
    if (params && strncmp(body + sizeof before - 1, "INSERT", 6) == 0) {
        const char *second = strchr(strstr(params, "\",") + 2, ',');

        if (second)
            sql("BEGIN");
        rows = insert_rows(params + 9, false);
        if (second)
            sql("COMMIT");
    } else {
        run_other(body + sizeof before - 1);
    }
    snprintf(text, sizeof text,
        "{\"columns\":[],\"rows\":[],\"changes\":%d,\"lastInsertRowid\":%lld,\"seq\":%llu,"
        "\"durationMs\":0.1}",
        rows, (long long)sqlite3_last_insert_rowid(db), (unsigned long long)seq + (unsigned)rows);
    answer(fd, text);
    if (rows)
        insert_rows(params + 9, true);
}

/* A request at the start of what came: its length, or 0 when it is not all there. */
static size_t take_request(struct connection *c)
{
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4), *length;
    size_t head, body = 0;
    char kept;

    if (!end)
        return 0;
    *end = '\0';
    head = (size_t)(end - c->in) + 4;
    length = strcasestr(c->in, "\r\nContent-Length:");
    if (length)
        body = strtoull(length + 17, NULL, 10);
    *end = '\r';
    if (c->in_len < head + body)
        return 0;
    kept = c->in[head + body]; /* there is room for one byte more */
    c->in[head + body] = '\0';
    if (strncmp(c->in, "GET /metrics", 12) == 0)
        metrics(c->fd);
    else if (strncmp(c->in, "POST ", 5) == 0)
        run_sql(c->fd, c->in + head);
    else
        answer(c->fd, "{\"status\":\"ok\"}");
    c->in[head + body] = kept;
    return head + body;
}

/* ---- WebSocket ---- */

static void upgrade(struct connection *c)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char *key = strcasestr(c->in, "Sec-WebSocket-Key: "), text[256], accept[64];
    unsigned char digest[SHA_DIGEST_LENGTH];

    if (!key)
        die("no key");
    snprintf(text, sizeof text, "%.24s%s", key + 19, magic);
    SHA1((unsigned char *)text, strlen(text), digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
    snprintf(text, sizeof text,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n",
        accept);
    send_all(c->fd, text, strlen(text));
    send_text(c->fd, "{\"type\":\"connection:ack\"}");
    c->kind = SUBSCRIBER;
    c->in_len = 0;
    if (subscriber_count == subscriber_cap) {
        subscriber_cap = subscriber_cap ? subscriber_cap * 2 : 1024;
        subscribers = realloc(subscribers, subscriber_cap * sizeof *subscribers);
        if (!subscribers)
            die("realloc");
    }
    c->index = subscriber_count;
    subscribers[subscriber_count++] = c;
}

static size_t take_frame(struct connection *c)
{
    const unsigned char *p = (const unsigned char *)c->in;
    size_t head = 6, len;

    if (c->in_len < 2)
        return 0;
    len = p[1] & 0x7f;
    if (len == 126) {
        head = 8;
        if (c->in_len < 4)
            return 0;
        len = (size_t)p[2] << 8 | p[3];
    }
    if (c->in_len < head + len)
        return 0;
    if ((p[0] & 0x0f) == 1) {
        pthread_mutex_lock(&lock);
        c->sent = written;
        pthread_mutex_unlock(&lock);
        send_text(c->fd, "{\"type\":\"subscribed\",\"data\":{\"subscription\":\"s1\"}}");
        c->live = true;
    }
    return head + len;
}

/* ---- connections ---- */

static void open_connections(void)
{
    int fd;

    while ((fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        int on = 1;

        if (!c)
            die("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c->fd = fd;
        c->kind = NEW;
        epoll_ctl(loop_epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

static void end_connection(struct connection *c)
{
    if (c->kind == SUBSCRIBER) {
        subscribers[c->index] = subscribers[--subscriber_count];
        subscribers[c->index]->index = c->index;
    }
    close(c->fd);
    free(c->in);
    free(c);
}

/* The first bytes decide what a connection is, and who serves it; they are not taken. */
static bool sort(struct connection *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    char first[7];
    ssize_t n = recv(c->fd, first, sizeof first, MSG_PEEK);

    if (n == 0) {
        end_connection(c);
        return false;
    }
    if (n < (ssize_t)sizeof first)
        return false;
    c->kind = memcmp(first, "GET /ws", sizeof first) == 0 ? UPGRADING : WRITER;
    if (c->kind == UPGRADING || !coalesce)
        return true;
    epoll_ctl(loop_epoll, EPOLL_CTL_DEL, c->fd, NULL);
    if (epoll_ctl(writer_epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll_ctl");
    return false;
}

static void consume(struct connection *c)
{
    size_t n;

    while ((n = c->kind == WRITER ? take_request(c) : take_frame(c)) > 0) {
        memmove(c->in, c->in + n, c->in_len - n);
        c->in_len -= n;
    }
    if (c->kind == SUBSCRIBER && c->in_len == 0) {
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
}

static void readable(struct connection *c)
{
    ssize_t n;

    if (c->kind == NEW && !sort(c))
        return;
    if (c->in_cap - c->in_len < 4096) {
        c->in_cap = c->in_cap ? c->in_cap * 2 : 8192;
        c->in = realloc(c->in, c->in_cap);
        if (!c->in)
            die("realloc");
    }
    n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len - 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end_connection(c);
        return;
    }
    c->in_len += (size_t)n;
    c->in[c->in_len] = '\0';
    if (c->kind == UPGRADING && memmem(c->in, c->in_len, "\r\n\r\n", 4))
        upgrade(c);
    if (c->kind != UPGRADING)
        consume(c);
}

static void *serve_writers(void *unused)
{
    struct epoll_event events[64];

    for (;;) {
        int n = epoll_wait(writer_epoll, events, 64, -1);

        for (int i = 0; i < n; i++)
            readable(events[i].data.ptr);
    }
    return unused;
}

static void serve(void)
{
    struct epoll_event events[256];

    for (;;) {
        int n = epoll_wait(loop_epoll, events, 256, -1);
        bool woken = false;

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t ignored;

            if (c->kind == LISTENER) {
                open_connections();
            } else if (c->kind == WAKER) {
                woken = read(waker.fd, &ignored, sizeof ignored) > 0;
            } else {
                if (events[i].events & EPOLLOUT) {
                    want_write(c, false);
                    woken = true;
                }
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                    readable(c);
            }
        }
        if (woken)
            turn_of_all();
    }
}

static void map_ring(void)
{
    int fd = memfd_create("ring", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)RING) < 0)
        die("memfd_create");
    ring = mmap(NULL, 2 * RING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED ||
        mmap(ring, RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
        mmap(ring + RING, RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
        die("mmap");
    memset(ring, 0, RING); /* so that it counts as memory from the start */
    close(fd);
}

static void listen_somewhere(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listener};
    socklen_t len = sizeof to;

    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener.fd < 0 || bind(listener.fd, (struct sockaddr *)&to, sizeof to) < 0 ||
        listen(listener.fd, 1024) < 0 || getsockname(listener.fd, (struct sockaddr *)&to, &len) < 0)
        die("listen");
    epoll_ctl(loop_epoll, EPOLL_CTL_ADD, listener.fd, &e);
    e.data.ptr = &waker;
    epoll_ctl(loop_epoll, EPOLL_CTL_ADD, waker.fd, &e);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(to.sin_port));
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    pthread_t writers;

    if (argc != 3 || (strcmp(argv[1], "each") != 0 && strcmp(argv[1], "coalesce") != 0)) {
        fprintf(stderr, "usage: floor each|coalesce DATABASE\n");
        return 2;
    }
    coalesce = argv[1][0] == 'c';
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (sqlite3_open(argv[2], &db) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    sql("PRAGMA journal_mode=WAL");
    sql("PRAGMA synchronous=FULL");
    map_ring();
    loop_epoll = epoll_create1(EPOLL_CLOEXEC);
    writer_epoll = epoll_create1(EPOLL_CLOEXEC);
    waker.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop_epoll < 0 || writer_epoll < 0 || waker.fd < 0)
        die("start");
    listen_somewhere();
    if (pthread_create(&writers, NULL, serve_writers, NULL) != 0)
        die("pthread_create");
    serve();
}
