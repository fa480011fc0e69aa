/*
 * Many WebSocket subscribers in one process, for the scale tests: opens N connections, subscribes
 * each, prints "ready", checks that seq rises strictly on each, and ends with one line of JSON.
 *
 *   fanout_client HOST PORT CONNECTIONS TABLE EXPECTED SECONDS [MODULO]
 *
 * EXPECTED messages are awaited by each connection; 0: stay idle until standard input ends. TABLE
 * "-" subscribes to nothing. With MODULO connection i asks for rows with k = i % MODULO, "%" in the
 * filter being done by the rows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { CONNECTING, UPGRADING, GREETING, SUBSCRIBING, LIVE, CLOSED };

struct client {
    int fd;
    enum state state;
    char *in; /* bytes of a frame not yet whole */
    size_t in_len, in_cap;
    uint64_t first_seq, last_seq, received, disorder;
};

struct options {
    const char *host, *table;
    int port, connections, modulo;
    uint64_t expected;
    double seconds;
};

static struct options opt;
static struct client *clients;
static int epfd;
static int opening, live, closed_count, complete;
static char chunk[1 << 18];

static void die(const char *what)
{
    fprintf(stderr, "fanout_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

#include "load_client.h"

static void open_client(struct client *c)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};

    inet_pton(AF_INET, opt.host, &addr.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof addr) < 0 && errno != EINPROGRESS)
        die("connect");
    c->state = CONNECTING;
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
    opening++;
}

static void end_client(struct client *c)
{
    if (c->state == CLOSED)
        return;
    if (c->state != LIVE)
        opening--;
    close(c->fd);
    c->state = CLOSED;
    closed_count++;
}

static void connected(struct client *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    char request[512];
    int n = snprintf(request, sizeof request,
        "GET /ws HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        opt.host, opt.port);

    write_all(c->fd, request, (size_t)n);
    c->state = UPGRADING;
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &event);
}

static void go_live(struct client *c)
{
    c->state = LIVE;
    opening--;
    live++;
}

static void subscribe(struct client *c)
{
    char text[256];
    int n, index = (int)(c - clients);

    if (strcmp(opt.table, "-") == 0) {
        go_live(c);
        return;
    }
    if (opt.modulo > 0)
        n = snprintf(text, sizeof text,
            "{\"type\":\"subscribe\",\"table\":\"%s\",\"filter\":\"k=%d\"}", opt.table,
            index % opt.modulo);
    else
        n = snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"table\":\"%s\"}", opt.table);
    send_frame(c->fd, 1, text, (size_t)n);
    c->state = SUBSCRIBING;
}

static const char *find(const char *data, size_t len, const char *what)
{
    return memmem(data, len, what, strlen(what));
}

static void count_change(struct client *c, const char *data, size_t len)
{
    const char *at = find(data, len, "\"seq\":");
    uint64_t seq = at ? strtoull(at + 6, NULL, 10) : 0;

    if (seq <= c->last_seq)
        c->disorder++;
    if (c->first_seq == 0)
        c->first_seq = seq;
    c->last_seq = seq;
    if (++c->received == opt.expected)
        complete++;
}

static void on_text(struct client *c, const char *data, size_t len)
{
    if (c->state == GREETING && find(data, len, "connection:ack")) {
        subscribe(c);
    } else if (c->state == SUBSCRIBING && find(data, len, "\"subscribed\"")) {
        go_live(c);
    } else if (find(data, len, "\"database_change\"")) {
        count_change(c, data, len);
    } else if (c->state == SUBSCRIBING || find(data, len, "\"error\"") ||
               find(data, len, "\"resync\"")) {
        fprintf(stderr, "fanout_client: %.*s\n", (int)(len < 300 ? len : 300), data);
        c->disorder++;
    }
}

/* One frame at the start of data: its whole length, or 0 when it is not all there. */
static size_t on_frame(struct client *c, const unsigned char *data, size_t len)
{
    size_t head = 2, size;

    if (len < 2)
        return 0;
    size = data[1] & 0x7f;
    if (size == 126) {
        head = 4;
        if (len < head)
            return 0;
        size = (size_t)data[2] << 8 | data[3];
    } else if (size == 127) {
        head = 10;
        if (len < head)
            return 0;
        size = 0;
        for (int i = 2; i < 10; i++)
            size = size << 8 | data[i];
    }
    if (len < head + size)
        return 0;
    switch (data[0] & 0x0f) {
    case 1:
        on_text(c, (const char *)data + head, size);
        break;
    case 8:
        fprintf(stderr, "fanout_client: closed with %d\n",
            size >= 2 ? data[head] << 8 | data[head + 1] : 0);
        break;
    case 9:
        send_frame(c->fd, 10, (const char *)data + head, size);
        break;
    default:
        break;
    }
    return head + size;
}

/* Handles what is whole in data and returns how much that was. */
static size_t consume(struct client *c, const char *data, size_t len)
{
    size_t used = 0, n;

    if (c->state == UPGRADING) {
        const char *end = find(data, len, "\r\n\r\n");

        if (!end)
            return 0;
        if (!find(data, len, " 101 ")) {
            fprintf(stderr, "fanout_client: %.*s\n", (int)(len < 200 ? len : 200), data);
            end_client(c);
            return len;
        }
        used = (size_t)(end + 4 - data);
        c->state = GREETING;
    }
    while ((n = on_frame(c, (const unsigned char *)data + used, len - used)) > 0)
        used += n;
    return used;
}

static void keep(struct client *c, const char *data, size_t len)
{
    if (len > c->in_cap) {
        c->in_cap = len < 4096 ? 4096 : len * 2;
        c->in = realloc(c->in, c->in_cap);
        if (!c->in)
            die("realloc");
    }
    memmove(c->in, data, len);
    c->in_len = len;
}

static void readable(struct client *c)
{
    size_t have = c->in_len, used;
    ssize_t n;

    if (have > sizeof chunk / 2)
        die("a frame is too large");
    memcpy(chunk, c->in ? c->in : "", have);
    n = recv(c->fd, chunk + have, sizeof chunk - have, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end_client(c);
        return;
    }
    have += (size_t)n;
    used = consume(c, chunk, have);
    keep(c, chunk + used, have - used);
}

/* One turn: waits at most 100 ms. */
static void turn(void)
{
    struct epoll_event events[512];
    int n = epoll_wait(epfd, events, 512, 100);

    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;

        if (c->state == CLOSED)
            continue;
        if (c->state == CONNECTING)
            connected(c);
        else
            readable(c);
    }
}

static bool input_ended(void)
{
    struct pollfd in = {STDIN_FILENO, POLLIN, 0};
    char byte[16];

    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, byte, sizeof byte) <= 0;
}

static void report(double seconds)
{
    uint64_t total = 0, least = UINT64_MAX, most = 0, disorder = 0, first = UINT64_MAX, last = 0;

    for (int i = 0; i < opt.connections; i++) {
        const struct client *c = &clients[i];

        total += c->received;
        disorder += c->disorder;
        least = c->received < least ? c->received : least;
        most = c->received > most ? c->received : most;
        first = c->first_seq < first ? c->first_seq : first;
        last = c->last_seq > last ? c->last_seq : last;
    }
    printf("{\"connections\":%d,\"live\":%d,\"closed\":%d,\"total\":%llu,\"least\":%llu,\"most\":%"
           "llu,\"disorder\":%llu,"
           "\"firstSeq\":%llu,\"lastSeq\":%llu,\"seconds\":%.3f}\n",
        opt.connections, live, closed_count, (unsigned long long)total, (unsigned long long)least,
        (unsigned long long)most, (unsigned long long)disorder, (unsigned long long)first,
        (unsigned long long)last, seconds);
}

static void open_all(double deadline)
{
    int next = 0;

    while (live + closed_count < opt.connections && now() < deadline) {
        while (next < opt.connections && opening < 64)
            open_client(&clients[next++]);
        turn();
    }
    printf("ready %d\n", live);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    double begun, deadline, settle = 0;

    if (argc < 7) {
        fprintf(
            stderr, "usage: fanout_client HOST PORT CONNECTIONS TABLE EXPECTED SECONDS [MODULO]\n");
        return 2;
    }
    opt = (struct options){.host = argv[1],
        .port = atoi(argv[2]),
        .connections = atoi(argv[3]),
        .table = argv[4],
        .expected = strtoull(argv[5], NULL, 10),
        .seconds = atof(argv[6]),
        .modulo = argc > 7 ? atoi(argv[7]) : 0};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    clients = calloc((size_t)opt.connections, sizeof *clients);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epfd < 0)
        die("start");
    begun = now();
    deadline = begun + opt.seconds;
    open_all(deadline);
    while (now() < deadline && closed_count < opt.connections) {
        turn();
        if (opt.expected == 0 ? input_ended() : complete >= opt.connections) {
            /* a moment more, so that a message too many would be seen */
            if (opt.expected == 0)
                break;
            if (settle == 0)
                settle = now() + 0.3;
            if (now() > settle)
                break;
        }
    }
    report(now() - begun);
    return 0;
}
