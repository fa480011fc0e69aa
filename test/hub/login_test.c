#include "hub_fixture.h"

#include "access/tokens.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dialect/dialects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections whose tokens end, at many times, and those that bring another. */

#define SECRET "a secret for the tests of connections"

static struct feed f;
static char path[] = "/tmp/rowtap-login-XXXXXX";

static int setup(void **state)
{
    (void)state;
    const struct tokens_options o = {.secret_file = path};
    struct buf err = {0};
    feed_options.tokens = tokens_new(&o, &err);
    if (!feed_options.tokens)
        fail_msg("%s", buf_text(&err));
    feed_options.loops = 2;
    feed_options.max_queue = 1 << 20;
    feed_start(&f, schema_of(TABLE("users", "id:INTEGER:k", "name:TEXT:"), NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct tokens *tokens = feed_options.tokens;
    feed_stop(&f);
    tokens_free(tokens);
    feed_options.tokens = NULL;
    feed_options.loops = 1;
    return 0;
}

static void make_token(struct buf *out, const char *user, int64_t ends_ms)
{
    json_t *claims = json_pack("{s:s,s:f}", "sub", user, "exp", (double)ends_ms / 1000);
    token_sign(out, SECRET, strlen(SECRET), claims);
    assert_int_equal(buf_error(out), 0);
    json_decref(claims);
}

static struct client *enter(const char *user, int64_t ends_ms)
{
    struct client *c = calloc(1, sizeof(*c));
    struct identity *who = identity_new(json_pack("{s:s}", "sub", user), ends_ms);
    const struct hub_client client = {.who = who, .address = "test"};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c->fd = pair[0];
    assert_true(hub_reserve(f.hub));
    assert_int_equal(hub_adopt(f.hub, pair[1], dialects_find("/ws"), &client, NULL, 0), 0);
    identity_unref(who);
    client_expect_part(c, "\"type\":\"connection:ack\"");
    return c;
}

static void renew(struct client *c, const char *user, int64_t ends_ms, const char *answer)
{
    struct buf message = {0};
    buf_puts(&message, "{\"type\":\"auth\",\"token\":\"");
    make_token(&message, user, ends_ms);
    buf_puts(&message, "\"}");
    client_send(c, buf_text(&message));
    client_expect_part(c, answer);
    buf_fini(&message);
}

static void expect_end(struct client *c)
{
    client_expect_part(c, "\"type\":\"token_expiring\"");
    client_expect_part(c, "\"code\":\"UNAUTHORIZED\",\"message\":\"the token has expired\"");
    client_expect_close(c, 1008);
}

#define MANY 60

/* Each at its time, whatever the order of their coming. */
static void test_each_at_its_time(void **state)
{
    (void)state;
    struct client *clients[MANY];
    int64_t ends[MANY], now = clock_wall_ms();
    for (int i = 0; i < MANY; i++) {
        ends[i] = now + 2000 + (i * 37) % MANY * 25;
        clients[i] = enter("ann", ends[i]);
    }
    for (int k = 0; k < MANY; k++) {
        int i = 0;
        for (int n = 0; n < MANY; n++)
            if (clients[n] && (!clients[i] || ends[n] < ends[i]))
                i = n;
        expect_end(clients[i]);
        assert_in_range(clock_wall_ms(), ends[i], ends[i] + 10000);
        client_free(clients[i]);
        clients[i] = NULL;
    }
}

/* Some go before their time, some are renewed: nobody else's time is changed by it. */
static void test_others_come_and_go(void **state)
{
    (void)state;
    struct client *clients[MANY];
    int64_t now = clock_wall_ms();
    for (int i = 0; i < MANY; i++)
        clients[i] = enter("ann", now + 4000 + (i * 29) % MANY * 10);
    for (int i = 0; i < MANY; i++) {
        if (i % 3 == 1)
            renew(clients[i], "ann", now + 3600000, "\"success\":true");
        if (i % 3 == 2) {
            client_free(clients[i]);
            clients[i] = NULL;
        }
    }
    for (int i = 0; i < MANY; i++) {
        if (i % 3 == 0)
            expect_end(clients[i]);
    }
    for (int i = 0; i < MANY; i++) {
        if (i % 3 == 1)
            client_quiet(clients[i]);
        if (clients[i])
            client_free(clients[i]);
    }
}

static void test_answers(void **state)
{
    (void)state;
    struct client *c = enter("ann", 0);
    int64_t later = clock_wall_ms() + 3600000;
    later -= later % 1000;
    char answer[256];
    snprintf(answer, sizeof(answer),
        "\"type\":\"auth_response\",\"data\":{\"success\":true,\"userId\":\"ann\","
        "\"permissions\":[\"*\"],\"role\":null,\"expiresAt\":%lld}}",
        (long long)later);
    renew(c, "ann", later, answer);
    renew(c, "bob", later,
        "\"success\":false,\"userId\":\"ann\",\"permissions\":[],\"error\":"
        "{\"code\":\"FORBIDDEN\"");
    renew(
        c, "ann", later - 7200000, "\"code\":\"UNAUTHORIZED\",\"message\":\"the token has expired");
    client_send(c, "{\"type\":\"auth\",\"token\":\"\"}");
    client_expect_part(c, "the token is not three parts");
    client_send(c, "{\"type\":\"auth\"}");
    client_expect_part(c, "INVALID_FORMAT");
    renew(c, "ann", later, "\"success\":true"); /* and the count of failures begins anew */
    for (int i = 0; i < 5; i++)
        renew(c, "bob", later, "\"success\":false");
    client_expect_close(c, 1008);
    client_free(c);
}

/* A renewal where each allocation fails in turn: it is done, or the connection ends. */
static void test_without_memory(void **state)
{
    (void)state;
    int64_t later = clock_wall_ms() + 3600000;
    bool renewed = false;
    for (long n = 0; n < 200 && !renewed; n++) {
        struct client *c = enter("ann", 0);
        struct buf message = {0};
        const char *text;
        buf_puts(&message, "{\"type\":\"auth\",\"token\":\"");
        make_token(&message, "ann", later);
        buf_puts(&message, "\"}");
        buf_text(&message);
        mem_fail_after(n);
        client_send(c, buf_text(&message));
        text = client_read(c);
        renewed = !mem_fail_hit();
        mem_fail_after(-1);
        if (text)
            assert_non_null(strstr(text, "\"success\":true"));
        else
            assert_int_equal(c->code, 1011);
        buf_fini(&message);
        client_free(c);
    }
    assert_true(renewed);
}

static int start(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    log_set_level(LOG_ERROR);
    if (fd < 0 || write(fd, SECRET, strlen(SECRET)) != (ssize_t)strlen(SECRET))
        return -1;
    return close(fd);
}

static int stop(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_at_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
