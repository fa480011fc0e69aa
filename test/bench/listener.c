/*
 * One WebSocket subscriber that reads everything and notes when, for scripts/bench.
 *
 *   listener HOST PORT TABLE [LOG]
 *
 * Prints "ready" when subscribed. Then, at each line "wait N SECONDS" on standard input, one line
 * of JSON as soon as N changes have come, the connection has ended or the time is up. At the end of
 * standard input it writes LOG: three native int64 per change, the row's `id` and `at` and the time
 * of arrival, so that rows of foreign_writer.c can be told apart. Clocks are CLOCK_MONOTONIC in
 * nanoseconds, taken when recv returns.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct arrival {
    int64_t id, at, arrived;
};

static int fd;
static bool ended, subscribed;
static char *in;
static size_t in_len, in_cap;
static uint64_t received, disorder, resyncs, last_seq;
static int64_t first_arrival, last_arrival;
static const char *log_path;
static struct arrival *arrivals;
static size_t arrival_count, arrival_cap;

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "listener: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void send_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            die("send");
        data += n;
        len -= (size_t)n;
    }
}

static void send_frame(int opcode, const char *data, size_t len)
{
    static const unsigned char key[4] = {0x3a, 0x91, 0x5c, 0x07};
    unsigned char frame[6 + 125];

    if (len > 125)
        len = 125;
    frame[0] = (unsigned char)(0x80 | opcode);
    frame[1] = (unsigned char)(0x80 | len);
    memcpy(frame + 2, key, 4);
    for (size_t i = 0; i < len; i++)
        frame[6 + i] = (unsigned char)data[i] ^ key[i & 3];
    send_all((char *)frame, 6 + len);
}

static void *grown(void *data, size_t size)
{
    data = realloc(data, size);
    if (!data)
        die("realloc");
    return data;
}

/* The number after `"name":`, or 0. */
static int64_t number(const char *data, size_t len, const char *name)
{
    const char *at = memmem(data, len, name, strlen(name));

    return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static void on_change(const char *data, size_t len, int64_t time)
{
    uint64_t seq = (uint64_t)number(data, len, "\"seq\":");

    disorder += seq <= last_seq;
    last_seq = seq;
    received++;
    if (first_arrival == 0)
        first_arrival = time;
    last_arrival = time;
    if (!log_path)
        return;
    if (arrival_count == arrival_cap) {
        arrival_cap = arrival_cap ? arrival_cap * 2 : 4096;
        arrivals = grown(arrivals, arrival_cap * sizeof *arrivals);
    }
    data = memmem(data, len, "\"data\":", 7) ? memmem(data, len, "\"data\":", 7) : data;
    len = strlen(data);
    arrivals[arrival_count++] =
        (struct arrival){number(data, len, "\"id\":"), number(data, len, "\"at\":"), time};
}

static void on_text(const char *data, size_t len, int64_t time)
{
    if (memmem(data, len, "\"database_change\"", 17)) {
        on_change(data, len, time);
    } else if (memmem(data, len, "\"type\":\"subscribed\"", 19)) {
        subscribed = true;
    } else if (memmem(data, len, "\"type\":\"resync\"", 15) ||
               memmem(data, len, "\"type\":\"error\"", 14)) {
        resyncs++;
        fprintf(stderr, "listener: %.*s\n", (int)(len < 300 ? len : 300), data);
    }
}

/* One frame at the start of data: its whole length, or 0 when it is not all there. */
static size_t on_frame(unsigned char *data, size_t len, int64_t time)
{
    size_t head = 2, size = len < 2 ? 0 : data[1] & 0x7f;
    int wide = size == 126 ? 2 : size == 127 ? 8 : 0;
    unsigned char after;

    head += (size_t)wide;
    if (len < head)
        return 0;
    if (wide)
        size = 0;
    for (int i = 0; i < wide; i++)
        size = size << 8 | data[2 + i];
    if (len < head + size)
        return 0;
    after = data[head + size]; /* room was left for it */
    data[head + size] = '\0';
    if ((data[0] & 0x0f) == 1)
        on_text((char *)data + head, size, time);
    else if ((data[0] & 0x0f) == 9)
        send_frame(10, (char *)data + head, size);
    else if ((data[0] & 0x0f) == 8)
        fprintf(stderr, "listener: closed with %d %.*s\n",
            size >= 2 ? data[head] << 8 | data[head + 1] : 0, size >= 2 ? (int)size - 2 : 0,
            data + head + 2);
    data[head + size] = after;
    return head + size;
}

static void receive(void)
{
    size_t used = 0, n;
    ssize_t got;
    int64_t time;

    if (in_cap - in_len < 1 << 18) {
        in_cap = in_cap * 2 + (1 << 20);
        in = grown(in, in_cap);
    }
    got = recv(fd, in + in_len, in_cap - in_len - 1, 0);
    time = now();
    if (got <= 0) {
        ended = got == 0 || errno != EINTR;
        return;
    }
    in_len += (size_t)got;
    while ((n = on_frame((unsigned char *)in + used, in_len - used, time)) > 0)
        used += n;
    in_len -= used;
    memmove(in, in + used, in_len);
}

static void upgrade(const char *host, const char *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    char text[512], *end;
    int one = 1, n;

    inet_pton(AF_INET, host, &addr.sin_addr);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    n = snprintf(text, sizeof text,
        "GET /ws HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        host, port);
    send_all(text, (size_t)n);
    in_cap = 1 << 20;
    in = grown(NULL, in_cap);
    do {
        ssize_t got = recv(fd, in + in_len, 4096, 0);

        if (got <= 0 || in_len > 65536)
            die("upgrade");
        in_len += (size_t)got;
        end = memmem(in, in_len, "\r\n\r\n", 4);
    } while (!end);
    if (!memmem(in, in_len, " 101 ", 5))
        die("upgrade");
    in_len -= (size_t)(end + 4 - in);
    memmove(in, end + 4, in_len);
}

static void subscribe(const char *table)
{
    char text[126];
    int n = snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"table\":\"%s\"}", table);

    send_frame(1, text, (size_t)n);
    while (!subscribed && !ended && resyncs == 0)
        receive();
    if (!subscribed)
        exit(1);
    printf("ready\n");
    fflush(stdout);
}

static void answer(void)
{
    printf("{\"received\":%llu,\"disorder\":%llu,\"resyncs\":%llu,\"ended\":%s,\"first\":%lld,"
           "\"last\":%lld}\n",
        (unsigned long long)received, (unsigned long long)disorder, (unsigned long long)resyncs,
        ended ? "true" : "false", (long long)first_arrival, (long long)last_arrival);
    fflush(stdout);
}

static void save_log(void)
{
    FILE *file = fopen(log_path, "wb");

    if (!file || fwrite(arrivals, sizeof *arrivals, arrival_count, file) != arrival_count ||
        fclose(file) != 0)
        die(log_path);
}

int main(int argc, char **argv)
{
    uint64_t wanted = 0;
    int64_t deadline = 0; /* of the line that is to be answered, or 0 */

    if (argc < 4) {
        fprintf(stderr, "usage: listener HOST PORT TABLE [LOG]\n");
        return 2;
    }
    log_path = argc > 4 ? argv[4] : NULL;
    upgrade(argv[1], argv[2]);
    subscribe(argv[3]);
    for (;;) {
        struct pollfd polled[2] = {{STDIN_FILENO, POLLIN, 0}, {ended ? -1 : fd, POLLIN, 0}};

        poll(polled, 2, deadline ? 20 : -1);
        if (polled[1].revents)
            receive();
        if (polled[0].revents) {
            char line[128];
            unsigned long long n;
            double seconds;
            ssize_t len = read(STDIN_FILENO, line, sizeof line - 1);

            if (len <= 0)
                break;
            line[len] = '\0';
            if (sscanf(line, "wait %llu %lf", &n, &seconds) != 2)
                return 2;
            wanted = n;
            deadline = now() + (int64_t)(seconds * 1e9);
        }
        if (deadline && (received >= wanted || ended || now() > deadline)) {
            answer();
            deadline = 0;
        }
    }
    if (log_path)
        save_log();
    return 0;
}
