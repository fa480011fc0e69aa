#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/front.h"
#include "peer.h"
#include "secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct server server;

/* Connections. */

static void new_keys(struct peer *p, int times)
{
    for (int i = 0; i < times; i++) {
        if (!SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED) || SSL_do_handshake(p->ssl) != 1)
            return;
    }
}

static void test_new_keys_now_and_then(void **state)
{
    struct peer *p;

    (void)state;
    server_start(&server, NULL);
    p = peer_new(&server);
    for (int i = 0; i < 5; i++) {
        new_keys(p, 20);
        peer_text(p, "still here");
        peer_expect(p, "text still here");
    }
    peer_send(p, 0x88, "", 0);
    peer_expect(p, "close ");
    peer_free(p);
    server_stop(&server);
}

static void test_new_keys_and_nothing_else(void **state)
{
    struct peer *p;

    (void)state;
    server_start(&server, NULL);
    p = peer_new(&server);
    new_keys(p, 1000);
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), WS_CLOSE_ABNORMAL);
    peer_free(p);
    server_stop(&server);
}

static void test_records_of_all_sizes_at_once(void **state)
{
    static char text[20000];
    struct peer *p;
    int sizes[] = {0, 1, 125, 126, 5000, 16375, 16376, 16377, 16384, 19999};

    (void)state;
    memset(text, 'r', sizeof(text));
    server_start(&server, NULL);
    p = peer_new(&server);
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
            peer_send(p, 0x81, text, (size_t)sizes[i]);
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
            assert_int_equal(strlen(peer_next(p)), strlen("text ") + (size_t)sizes[i]);
    peer_free(p);
    server_stop(&server);
}

static void test_garbage_instead_of_a_record(void **state)
{
    struct peer *p;

    (void)state;
    server_start(&server, NULL);
    p = peer_new(&server);
    peer_text(p, "in order");
    peer_expect(p, "text in order");
    assert_int_equal(send(p->fd, "\x17\x03\x03\x00\x20 this is not what was agreed on", 37, 0), 37);
    server_wait(&server.closed, 1);
    peer_free(p);
    server_stop(&server);
}

/* The front, with the test as the server behind it. */

struct behind {
    int listener, port;
    struct front *front;
    struct sockaddr_storage address;
};

static int make_listener(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static bool begin(struct behind *b)
{
    struct sockaddr_in *a = (struct sockaddr_in *)&b->address;
    struct front_options options = {
        .addresses = &b->address, .count = 1, .threads = 1, .low_fd = 3, .timeout_ms = 2000};
    struct buf err = {0};

    *b = (struct behind){0};
    a->sin_family = AF_INET;
    a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->listener = make_listener(&b->port);
    b->front = front_new(&options, secure_context(), &err);
    buf_fini(&err);
    return b->front && front_start(b->front, b->port) == 0;
}

static void end(struct behind *b)
{
    front_stop(b->front, 200);
    close(b->listener);
}

/* A client whose request is on its way; NULL: it was not let in. */
static SSL *request(const struct behind *b, const char *text)
{
    static SSL_CTX *context;
    struct timeval limit = {5, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl;

    if (!context)
        context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (connect(fd, (const struct sockaddr *)&b->address, sizeof(struct sockaddr_in)) == 0 &&
        SSL_connect(ssl) == 1 && SSL_write(ssl, text, (int)strlen(text)) > 0)
        return ssl;
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void drop(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

static int next_connection(const struct behind *b, int *port)
{
    struct pollfd f = {b->listener, POLLIN, 0};
    struct sockaddr_in from = {0};
    socklen_t len = sizeof(from);
    int fd = poll(&f, 1, 1000) == 1 ? accept(b->listener, (struct sockaddr *)&from, &len) : -1;

    *port = ntohs(from.sin_port);
    return fd;
}

static bool reads(int fd, const char *text)
{
    char got[100];
    struct pollfd f = {fd, POLLIN, 0};
    size_t at = 0;
    ssize_t n = 1;

    while (at < strlen(text) && n > 0 && poll(&f, 1, 1000) == 1) {
        n = recv(fd, got + at, strlen(text) - at, 0);
        at += n > 0 ? (size_t)n : 0;
    }
    return at == strlen(text) && memcmp(got, text, at) == 0;
}

static void hears(SSL *ssl, const char *text)
{
    char got[100] = "";

    assert_int_equal(SSL_read(ssl, got, (int)strlen(text)), (int)strlen(text));
    assert_string_equal(got, text);
}

static void test_front_passes_on_and_gives_away(void **state)
{
    struct front_peer who = {0};
    struct front_taking t = {0};
    struct front_stats stats;
    struct tls_room *room = tls_room_new();
    struct behind b;
    SSL *ssl;
    int fd, port;

    (void)state;
    assert_true(begin(&b));
    ssl = request(&b, "hello");
    assert_non_null(ssl);
    fd = next_connection(&b, &port);
    assert_true(reads(fd, "hello"));
    assert_false(front_peer(b.front, port + 1 == b.port ? port + 2 : port + 1, &who));
    assert_true(front_peer(b.front, port, &who));
    assert_string_equal(who.address, "127.0.0.1");
    assert_string_equal(who.version, "TLSv1.3");
    assert_int_equal(send(fd, "answer", 6, 0), 6);
    hears(ssl, "answer");

    t = (struct front_taking){.id = who.id + 1, .port = port, .server_fd = fd, .bytes = 5};
    assert_int_equal(front_take(b.front, &t), STATUS_CLOSED); /* somebody else */
    t.id = who.id;
    t.bytes = 4;
    assert_int_equal(front_take(b.front, &t), STATUS_INVALID); /* one byte has not been read */
    t.bytes = 5;
    assert_int_equal(send(fd, " and more", 9, 0), 9);
    assert_int_equal(front_take(b.front, &t), 0);
    assert_false(front_peer(b.front, port, &who));
    hears(ssl, " and more"); /* is not lost */
    assert_int_equal(tls_send(t.tls, &(struct iovec){(char[]){"taken"}, 5}, 1, room), 5);
    hears(ssl, "taken");
    assert_true(recv(fd, &(char){0}, 1, 0) <= 0);
    tls_free(t.tls);
    close(t.fd);
    close(fd);
    drop(ssl);
    front_stats(b.front, &stats);
    assert_int_equal(stats.handshakes, 1);
    assert_int_equal(stats.connections, 0);
    tls_room_free(room);
    end(&b);
}

static void test_front_without_a_server(void **state)
{
    struct behind b;
    char byte;
    SSL *ssl;

    (void)state;
    assert_true(begin(&b));
    close(b.listener);
    b.listener = dup(0);
    ssl = request(&b, "hello");
    assert_non_null(ssl);
    assert_true(SSL_read(ssl, &byte, 1) <= 0);
    drop(ssl);
    end(&b);
}

/* Each allocation of ours fails in turn: the request gets through, or the client is let go. */
static void test_front_without_memory(void **state)
{
    int n, hit = 1;

    (void)state;
    secure_context();
    for (n = 0; n < 60 && hit; n++) {
        struct behind b;
        SSL *ssl;
        int fd = -1, port;

        mem_fail_after(n);
        if (begin(&b)) {
            ssl = request(&b, "hello");
            if (ssl && (fd = next_connection(&b, &port)) >= 0) {
                if (send(fd, "answer", 6, MSG_NOSIGNAL) == 6 && reads(fd, "hello"))
                    hears(ssl, "answer");
                close(fd);
            }
            if (ssl)
                drop(ssl);
        }
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!hit)
            assert_true(fd >= 0);
        end(&b);
    }
    assert_in_range(n, 5, 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_keys_now_and_then),
        cmocka_unit_test(test_new_keys_and_nothing_else),
        cmocka_unit_test(test_records_of_all_sizes_at_once),
        cmocka_unit_test(test_garbage_instead_of_a_record),
        cmocka_unit_test(test_front_passes_on_and_gives_away),
        cmocka_unit_test(test_front_without_a_server),
        cmocka_unit_test(test_front_without_memory),
    };

    setenv("ROWTAP_TEST_TLS", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
