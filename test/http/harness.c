#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "harness.h"
#include "server.h"

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int harness_port;

static char directory[64], database[96];
static struct config config;
static struct server *server;
static char answer_text[1 << 20];

struct server *harness_server(void)
{
    return server;
}

static int start(const char *const *words)
{
    char *argv[32] = {(char[]){"serve"}, database, (char[]){"--listen"}, (char[]){"127.0.0.1:0"}};
    struct buf err = {0};
    int argc = 4;

    for (; words && *words; words++)
        argv[argc++] = strdup(*words);
    config_init(&config);
    if (config_parse(&config, argc, argv, &err) == 0)
        server = server_start(&config, &err);
    for (int i = 4; i < argc; i++)
        free(argv[i]);
    if (!server) {
        print_error("%s\n", buf_text(&err));
        buf_fini(&err);
        return -1;
    }
    harness_port = atoi(strrchr(server_address(server, 0), ':') + 1);
    return 0;
}

static void stop(void)
{
    server_stop(server);
    server = NULL;
    config_fini(&config);
}

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char path[128];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        snprintf(path, sizeof(path), "%s%s", database, suffixes[i]);
        unlink(path);
    }
    rmdir(directory);
}

int harness_start(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    log_set_level(LOG_ERROR);
    snprintf(directory, sizeof(directory), "%.40s/rowtap-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(directory))
        return -1;
    snprintf(database, sizeof(database), "%s/test.db", directory);
    return start(NULL);
}

int harness_stop(void **state)
{
    (void)state;
    stop();
    remove_files();
    return 0;
}

void harness_restart(const char *const *words)
{
    stop();
    assert_int_equal(start(words), 0);
}

int client_connect(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)harness_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

void client_send_bytes(int fd, const void *p, size_t len)
{
    const char *at = p;

    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the server may close early */
        at += n;
        len -= (size_t)n;
    }
}

void client_send(int fd, const char *text)
{
    char *wire = malloc(2 * strlen(text) + 1), *to = wire;

    assert_non_null(wire);
    for (; *text; text++) {
        if (*text == '\n')
            *to++ = '\r';
        *to++ = *text;
    }
    client_send_bytes(fd, wire, (size_t)(to - wire));
    free(wire);
}

static void drop_returns(char *s)
{
    char *to = s;

    for (; *s; s++)
        if (*s != '\r')
            *to++ = *s;
    *to = '\0';
}

const char *client_read(int fd, const char *until, int ms)
{
    int64_t end = clock_mono_ms() + ms;
    size_t len = 0;

    answer_text[0] = '\0';
    while (len < sizeof(answer_text) - 1 && !(until && strstr(answer_text, until))) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - clock_mono_ms();
        ssize_t n;

        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            break;
        n = recv(fd, answer_text + len, sizeof(answer_text) - 1 - len, 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (!answer_text[len + (size_t)i])
                answer_text[len + (size_t)i] = '?'; /* frame headers have NULs */
        len += (size_t)n;
        answer_text[len] = '\0';
    }
    drop_returns(answer_text);
    return answer_text;
}

bool client_at_end(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char c;

    return poll(&p, 1, ms) > 0 && recv(fd, &c, 1, 0) <= 0;
}

bool client_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

void client_finish(int fd)
{
    shutdown(fd, SHUT_WR);
}

bool like(const char *text, const char *pattern)
{
    const char *star = NULL, *resume = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

void exchange_at(const char *request, const char *pattern, const char *file, int line)
{
    int fd = client_connect();
    const char *text;

    client_send(fd, request);
    text = client_read(fd, NULL, 10000);
    close(fd);
    if (!like(text, pattern)) {
        print_error("sent:\n%s\ngot:\n%s\nexpected:\n%s\n", request, text, pattern);
        _fail(file, line);
    }
}

static int count_entries(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

int count_threads(void)
{
    return count_entries("/proc/self/task");
}

int count_files(void)
{
    return count_entries("/proc/self/fd");
}
