/*
 * Many users in channel "collaboration" in one process, for cursors_test.py: each moves its cursor
 * HZ times a second and keeps what it was last told of everybody else's. In the end all that must
 * be the truth.
 *
 *   cursor_client HOST PORT CLIENTS HZ SECONDS SLOW
 *
 * Every SLOW-th client (0: none) does not read while the cursors move. Prints "ready", later
 * "still" when nothing moves any more, and one line of JSON.
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

#define SETTLE_SECONDS 30
#define LAST_ID (1 << 20)

enum state { CONNECTING, UPGRADING, GREETING, JOINING, LIVE, CLOSED };

struct client {
    int fd;
    enum state state;
    bool slow, deaf; /* deaf: does not read now */
    char *in;        /* bytes of a frame not yet whole */
    size_t in_len, in_cap;
    uint64_t moves; /* told */
    uint32_t step;  /* its own last */
    uint32_t *seen; /* of everybody, the last step told */
};

static const char *host;
static int port, count, hz, slow_every;
static double seconds;
static struct client *clients;
static int *index_of;   /* by the connection's number, plus 1 */
static double *sent_at; /* by client and step */
static uint32_t most_steps;
static int epfd, opening, live, closed_count;
static uint64_t backwards;
static double delay_sum, delay_max;
static uint64_t delay_count;
static char chunk[1 << 22];

static void die(const char *what)
{
    fprintf(stderr, "cursor_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

#include "load_client.h"

static void open_client(struct client *c)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    int small = 4096;

    inet_pton(AF_INET, host, &addr.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->seen = calloc((size_t)count, sizeof *c->seen);
    if (c->fd < 0 || !c->seen)
        die("socket");
    if (c->slow)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
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

static void watch(struct client *c, bool read)
{
    struct epoll_event event = {.events = read ? EPOLLIN : 0, .data.ptr = c};

    if (c->state != CLOSED)
        epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &event);
    c->deaf = !read;
}

static void connected(struct client *c)
{
    char request[512];
    int n = snprintf(request, sizeof request,
        "GET /ws HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        host, port);

    write_all(c->fd, request, (size_t)n);
    c->state = UPGRADING;
    watch(c, true);
}

static const char *find(const char *data, size_t len, const char *what)
{
    return memmem(data, len, what, strlen(what));
}

/* {"id":"c12-345",…: the sender's connection. */
static int sender(const char *data, size_t len)
{
    long id = len > 8 && memcmp(data, "{\"id\":\"c", 8) == 0 ? strtol(data + 8, NULL, 10) : 0;

    return id > 0 && id < LAST_ID ? index_of[id] - 1 : -1;
}

static void on_cursor(struct client *c, const char *data, size_t len)
{
    const char *row = find(data + len - 60, 60, "\"row\":");
    int from = sender(data, len);
    uint32_t step = row ? (uint32_t)strtoul(row + 6, NULL, 10) : 0;

    if (from < 0 || !row || from == c - clients || step > most_steps) {
        fprintf(stderr, "cursor_client: %.*s\n", (int)(len < 300 ? len : 300), data);
        backwards++;
        return;
    }
    c->moves++;
    backwards += step < c->seen[from];
    c->seen[from] = step;
    if (!c->slow && step) {
        double delay = now() - sent_at[(size_t)from * (most_steps + 1) + step];

        delay_sum += delay;
        delay_count++;
        delay_max = delay > delay_max ? delay : delay_max;
    }
}

static void on_text(struct client *c, const char *data, size_t len)
{
    static const char join[] = "{\"type\":\"subscribe\",\"channel\":\"collaboration\"}";
    size_t head = len < 100 ? len : 100;
    const char *id;

    if (c->state == GREETING && (id = find(data, len, "\"connectionId\":\"c"))) {
        long number = strtol(id + 17, NULL, 10);

        if (number <= 0 || number >= LAST_ID)
            die("connectionId");
        index_of[number] = (int)(c - clients) + 1;
        send_frame(c->fd, 1, join, sizeof join - 1);
        c->state = JOINING;
    } else if (c->state == JOINING && find(data, head, "\"type\":\"subscribed\"")) {
        c->state = LIVE;
        opening--;
        live++;
    } else if (c->state == LIVE && find(data, head, "\"type\":\"user:cursor\"")) {
        on_cursor(c, data, len);
    } else if (!find(data, head, "\"type\":\"user:joined\"")) {
        fprintf(stderr, "cursor_client: %.*s\n", (int)(len < 300 ? len : 300), data);
        backwards++;
    }
}

/* One frame at the start of data: its whole length, or 0 when it is not all there. */
static size_t on_frame(struct client *c, const unsigned char *data, size_t len)
{
    size_t head = 2, size, wide;

    if (len < 2)
        return 0;
    size = data[1] & 0x7f;
    wide = size == 126 ? 2 : size == 127 ? 8 : 0;
    head += wide;
    if (len < head)
        return 0;
    if (wide)
        size = 0;
    for (size_t i = 0; i < wide; i++)
        size = size << 8 | data[2 + i];
    if (len < head + size)
        return 0;
    if ((data[0] & 0x0f) == 1)
        on_text(c, (const char *)data + head, size);
    else if ((data[0] & 0x0f) == 9)
        send_frame(c->fd, 10, (const char *)data + head, size);
    else if ((data[0] & 0x0f) == 8)
        fprintf(stderr, "cursor_client: closed with %d\n",
            size >= 2 ? data[head] << 8 | data[head + 1] : 0);
    return head + size;
}

static size_t consume(struct client *c, const char *data, size_t len)
{
    size_t used = 0, n;

    if (c->state == UPGRADING) {
        const char *end = find(data, len, "\r\n\r\n");

        if (!end)
            return 0;
        if (!find(data, len, " 101 ")) {
            fprintf(stderr, "cursor_client: %.*s\n", (int)(len < 200 ? len : 200), data);
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
        c->in_cap = len * 2;
        c->in = realloc(c->in, c->in_cap);
        if (!c->in)
            die("realloc");
    }
    if (len)
        memmove(c->in, data, len);
    c->in_len = len;
}

static void readable(struct client *c)
{
    size_t have = c->in_len, used;
    ssize_t n;

    if (have > sizeof chunk / 2)
        die("a frame is too large");
    if (have)
        memcpy(chunk, c->in, have);
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

static void turn(int ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epfd, events, 512, ms);

    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;

        if (c->state == CLOSED)
            continue;
        if (c->state == CONNECTING)
            connected(c);
        else if (!c->deaf)
            readable(c);
    }
}

static void open_all(void)
{
    double deadline = now() + 60;
    int next = 0;

    while (live + closed_count < count && now() < deadline) {
        while (next < count && opening < 64)
            open_client(&clients[next++]);
        turn(100);
    }
    printf("ready %d\n", live);
    fflush(stdout);
}

static void move(int i, double t)
{
    struct client *c = &clients[i];
    char text[200];
    int n;

    if (c->state != LIVE)
        return;
    c->step++;
    sent_at[(size_t)i * (most_steps + 1) + c->step] = t;
    n = snprintf(text, sizeof text,
        "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t\",\"row\":%u,\"column\":\"c\"}}",
        c->step);
    send_frame(c->fd, 1, text, (size_t)n);
}

/* Each client in its turn, all of them HZ times a second. */
static void move_all(void)
{
    uint64_t total = (uint64_t)count * most_steps, done = 0;
    double begun = now();

    while (done < total) {
        double t = now();
        uint64_t due = (uint64_t)((t - begun) * count * hz);

        for (int burst = 0; done < due && done < total && burst < 256; burst++, done++)
            move((int)(done % (uint64_t)count), t);
        turn(done < due ? 0 : 1);
    }
}

static uint64_t untrue(void)
{
    uint64_t n = 0;

    for (int i = 0; i < count; i++)
        for (int k = 0; k < count && clients[i].seen; k++)
            n += k != i && clients[i].seen[k] != clients[k].step;
    return n;
}

static void report(double settled)
{
    uint64_t fast = 0, slow = 0, slow_most = 0, fast_least = UINT64_MAX;
    int slows = 0;

    for (int i = 0; i < count; i++) {
        const struct client *c = &clients[i];

        slows += c->slow;
        *(c->slow ? &slow : &fast) += c->moves;
        if (c->slow && c->moves > slow_most)
            slow_most = c->moves;
        if (!c->slow && c->moves < fast_least)
            fast_least = c->moves;
    }
    printf("{\"clients\":%d,\"live\":%d,\"closed\":%d,\"steps\":%u,\"untrue\":%llu,\"backwards\":"
           "%llu,\"fast\":%d,\"fastMoves\":%llu,\"fastLeast\":%llu,\"slow\":%d,\"slowMoves\":%llu,"
           "\"slowMost\":%llu,\"delayMean\":%.4f,\"delayMax\":%.4f,\"settled\":%.3f}\n",
        count, live, closed_count, most_steps, (unsigned long long)untrue(),
        (unsigned long long)backwards, count - slows, (unsigned long long)fast,
        (unsigned long long)fast_least, slows, (unsigned long long)slow,
        (unsigned long long)slow_most, delay_count ? delay_sum / (double)delay_count : 0, delay_max,
        settled);
    fflush(stdout);
}

static void settle(void)
{
    double begun = now(), next = 0;

    for (int i = 0; i < count; i++)
        watch(&clients[i], true);
    while (now() < begun + SETTLE_SECONDS) {
        turn(20);
        if (now() < next)
            continue;
        if (untrue() == 0)
            break;
        next = now() + 0.1;
    }
    printf("still\n");
    fflush(stdout);
    report(now() - begun);
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    if (argc < 7) {
        fprintf(stderr, "usage: cursor_client HOST PORT CLIENTS HZ SECONDS SLOW\n");
        return 2;
    }
    host = argv[1];
    port = atoi(argv[2]);
    count = atoi(argv[3]);
    hz = atoi(argv[4]);
    seconds = atof(argv[5]);
    slow_every = atoi(argv[6]);
    most_steps = (uint32_t)(seconds * hz);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    clients = calloc((size_t)count, sizeof *clients);
    index_of = calloc(LAST_ID, sizeof *index_of);
    sent_at = calloc((size_t)count * (most_steps + 1), sizeof *sent_at);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !index_of || !sent_at || epfd < 0 || most_steps == 0)
        die("start");
    for (int i = 0; slow_every && i < count; i += slow_every)
        clients[i].slow = true;
    open_all();
    for (int i = 0; i < count; i++)
        watch(&clients[i], !clients[i].slow);
    move_all();
    settle();
    return 0;
}
