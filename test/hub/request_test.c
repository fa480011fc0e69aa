#include "hub_fixture.h"

#include "base/mem.h"
#include "fake_pager.h"
#include "fake_sql.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `request` and its `response`: SQL is answered by the test, in the order that it likes. */

static struct feed f;

static void start(int loops, uint32_t max_requests)
{
    feed_options.loops = loops;
    feed_options.max_requests = max_requests;
    feed_options.max_queue = 1 << 20;
    feed_options.db = fake_pager_new();
    feed_start(&f, schema_of(TABLE("users", "id:INTEGER:k", "name:TEXT:"), NULL));
}

static int setup(void **state)
{
    (void)state;
    start(1, 100);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    feed_options.loops = 1;
    feed_options.max_requests = 0;
    return 0;
}

#define REQUEST(id, payload) "{\"type\":\"request\",\"requestId\":" id ",\"payload\":{" payload "}}"
#define SQL(id) REQUEST(id, "\"action\":\"sql\",\"sql\":\"SELECT ?\",\"params\":[" id "]")
#define RESPONSE(id, rest)                                                                         \
    "{\"id\":\"c\",\"timestamp\":T,\"type\":\"response\",\"requestId\":" id rest "}"
#define MEMBERS(code, message) "{\"code\":\"" code "\",\"message\":\"" message "\"}"
#define FAILURE(id, code, message)                                                                 \
    "{\"id\":\"c\",\"timestamp\":T,\"type\":\"error\",\"requestId\":" id                           \
    ",\"error\":" MEMBERS(code, message) ",\"data\":" MEMBERS(                                     \
        code, message) ",\"payload\":{\"success\":false,\"error\":" MEMBERS(code, message) "}}"

static void test_commands(void **state)
{
    static const char *const talk[][2] = {
        {REQUEST("1", "\"action\":\"subscribe\",\"table\":\"users\""),
            RESPONSE("1", ",\"payload\":{\"success\":true,\"subscription\":\"s1\",\"table\":"
                          "\"users\",\"seq\":0}")},
        {REQUEST("\"two\"", "\"action\":\"subscribe\",\"data\":{\"channel\":\"tables\"}"),
            RESPONSE("\"two\"", ",\"channel\":\"tables\",\"payload\":{\"success\":true,"
                                "\"channel\":\"tables\",\"seq\":0}")},
        {REQUEST("3", "\"action\":\"unsubscribe\",\"subscription\":\"s1\""),
            RESPONSE("3", ",\"payload\":{\"success\":true,\"subscription\":\"s1\"}")},
        {REQUEST("4", "\"action\":\"unsubscribe\",\"subscription\":\"s1\""),
            FAILURE("4", "NOT_FOUND", "this connection has no subscription s1")},
        {REQUEST("5", "\"action\":\"ping\",\"sentAt\":1.5"),
            RESPONSE("5", ",\"sentAt\":1.5,\"payload\":{\"success\":true,\"sentAt\":1.5,"
                          "\"timestamp\":T}")},
        {REQUEST("6", "\"action\":\"heartbeat\""),
            RESPONSE("6", ",\"payload\":{\"success\":true}")},
        {"{\"type\":\"request\",\"requestId\":7,\"action\":\"heartbeat\"}",
            RESPONSE("7", ",\"payload\":{\"success\":true}")},
        {"{\"type\":\"request\",\"id\":8,\"data\":{\"action\":\"heartbeat\"}}",
            RESPONSE("8", ",\"payload\":{\"success\":true}")},
        {REQUEST("9", "\"action\":\"nothing\""),
            FAILURE("9", "NOT_FOUND", "there is no action \\\"nothing\\\"")},
        {REQUEST("10", "\"action\":\"request\""),
            FAILURE("10", "NOT_FOUND", "there is no action \\\"request\\\"")},
        {REQUEST("11", "\"action\":7"),
            FAILURE("11", "INVALID_FORMAT", "payload.action must be a string")},
        {REQUEST("12", ""), FAILURE("12", "INVALID_FORMAT", "payload.action is missing")},
        {REQUEST("13", "\"action\":\"sql\",\"sql\":7"),
            FAILURE("13", "INVALID_FORMAT", "sql is a number; it must be a string")},
        {REQUEST("14", "\"action\":\"sql\",\"sql\":\"\",\"params\":[[]]"),
            FAILURE("14", "INVALID_FORMAT",
                "params[0] is an array; values are numbers, strings, true, false, null and "
                "{\\\"$base64\\\":\\\"…\\\"}")},
        {REQUEST("15", "\"action\":\"stats\",\"limit\":-1"),
            FAILURE("15", "INVALID_FORMAT", "limit is the number of clients to list, 0 to 10000")},
        {"{\"type\":\"request\",\"payload\":{\"action\":\"ping\"}}",
            "{\"id\":\"c\",\"timestamp\":T,\"type\":\"error\",\"error\":" MEMBERS("INVALID_FORMAT",
                "a request needs a requestId") ",\"data\":" MEMBERS("INVALID_FORMAT",
                "a request needs a requestId") "}"},
    };
    struct client *c = client_new(&f);

    (void)state;
    for (size_t i = 0; i < sizeof(talk) / sizeof(*talk); i++) {
        client_send(c, talk[i][0]);
        client_expect(c, talk[i][1]);
    }
    client_free(c);
}

static void test_reports(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, REQUEST("1", "\"action\":\"status\""));
    client_expect(
        c, RESPONSE("1", ",\"payload\":{\"success\":true,\"connectedClients\":1,\"uptime\":0}"));
    client_send(c, REQUEST("2", "\"action\":\"realtime\""));
    client_expect(c, RESPONSE("2", ",\"payload\":{\"success\":true,\"status\":\"ready\",\"wsUrl\":"
                                   "null,\"userId\":\"ann\",\"timestamp\":T}"));
    client_send(c, REQUEST("3", "\"action\":\"tables\""));
    client_expect_part(c, ",\"payload\":{\"success\":true,\"tables\":[{\"name\":\"users\",");
    client_send(c, REQUEST("4", "\"action\":\"table\",\"table\":\"USERS\""));
    client_expect_part(c, ",\"payload\":{\"success\":true,\"name\":\"users\",\"columns\":[");
    client_send(c, REQUEST("5", "\"action\":\"table\",\"table\":\"none\""));
    client_expect(c, FAILURE("5", "NOT_FOUND", "no such table: none"));
    client_free(c);
}

static void test_health(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, REQUEST("1", "\"action\":\"health\""));
    fake_sql_expect(1);
    fake_sql_answer(0, "{}");
    client_expect_part(c, "{\"success\":true,\"status\":\"ok\",\"connectedClients\":1,");
    client_send(c, REQUEST("2", "\"action\":\"websocketHealth\""));
    fake_sql_expect(1);
    fake_sql_fail(0, "SQL_ERROR", "disk I/O error");
    client_expect_part(c, "{\"success\":true,\"status\":\"error\",\"connectedClients\":1,");
    client_free(c);
}

/* Answered in another order than asked, and in between all else goes on. */
static void test_many(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, SQL("1"));
    client_send(c, SQL("2"));
    client_send(c, SQL("3"));
    fake_sql_expect(3);
    assert_string_equal(fake_sql_at(1)->statements[0].sql, "SELECT ?");
    assert_int_equal(fake_sql_at(1)->statements[0].params[0].value.i, 2);
    assert_int_equal(fake_sql_at(1)->origin, c->id);
    fake_sql_answer(1, "{\"rows\":[[2]]}");
    client_expect(c, RESPONSE("2", ",\"payload\":{\"success\":true,\"rows\":[[2]]}"));
    client_quiet(c);
    fake_sql_fail(1, "SQL_ERROR", "no");
    client_expect(c, FAILURE("3", "SQL_ERROR", "no"));
    fake_sql_answer(0, "{\"rows\":[[1]]}");
    client_expect(c, RESPONSE("1", ",\"payload\":{\"success\":true,\"rows\":[[1]]}"));
    client_free(c);
}

static void test_sync(void **state)
{
    struct client *c = client_new(&f);
    const struct sql_request *r;

    (void)state;
    client_send(c,
        REQUEST("1", "\"action\":\"sync\",\"operations\":["
                     "{\"type\":\"INSERT\",\"table\":\"users\",\"data\":{\"NAME\":\"x\",\"id\":1}},"
                     "{\"type\":\"update\",\"table\":\"Users\",\"data\":{\"name\":null},"
                     "\"key\":{\"id\":1}},"
                     "{\"type\":\"DELETE\",\"table\":\"users\",\"where\":{\"name\":null,\"id\":2}},"
                     "{\"type\":\"INSERT\",\"table\":\"users\",\"data\":{}},"
                     "{\"sql\":\"SELECT :a\",\"params\":{\"a\":7}}]"));
    fake_sql_expect(1);
    r = fake_sql_at(0);
    assert_true(r->transaction);
    assert_int_equal(r->statement_count, 5);
    assert_string_equal(r->statements[0].sql, "INSERT INTO \"users\"(\"name\",\"id\") VALUES(?,?)");
    assert_string_equal(
        r->statements[1].sql, "UPDATE \"users\" SET \"name\"=? WHERE \"users\".\"id\" IS ?");
    assert_string_equal(r->statements[2].sql,
        "DELETE FROM \"users\" WHERE \"users\".\"name\" IS ? AND \"users\".\"id\" IS ?");
    assert_int_equal(r->statements[2].params[0].value.type, VALUE_NULL);
    assert_int_equal(r->statements[2].params[1].value.i, 2);
    assert_string_equal(r->statements[3].sql, "INSERT INTO \"users\" DEFAULT VALUES");
    assert_string_equal(r->statements[4].sql, "SELECT :a");
    fake_sql_answer(0, "{\"results\":[]}");
    client_expect(c, RESPONSE("1", ",\"payload\":{\"success\":true,\"results\":[]}"));
    client_send(
        c, REQUEST("2", "\"action\":\"sync\",\"operations\":["
                        "{\"type\":\"DELETE\",\"table\":\"users\",\"key\":{\"id\":1}},"
                        "{\"type\":\"DELETE\",\"table\":\"users\",\"key\":{\"x\\\"\":1}}]"));
    client_expect_part(c, "\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"operations[1]: table "
                          "users has no column x\\\"\",\"operation\":1}");
    client_free(c);
}

static void test_limit(void **state)
{
    struct client *c;

    (void)state;
    start(1, 2);
    c = client_new(&f);
    client_send(c, SQL("1"));
    client_send(c, REQUEST("2", "\"action\":\"health\""));
    client_send(c, SQL("3"));
    client_expect(
        c, FAILURE("3", "LIMIT_EXCEEDED",
               "a connection may have at most 2 requests on their way: wait for answers"));
    fake_sql_expect(2);
    fake_sql_answer(0, "{\"rows\":[]}");
    client_expect_part(c, "\"requestId\":1,");
    client_send(c, SQL("4"));
    fake_sql_expect(2);
    fake_sql_answer(1, "{\"rows\":[]}");
    client_expect_part(c, "\"requestId\":4,");
    fake_sql_answer(0, "{}");
    client_expect_part(c, "\"requestId\":2,");
    client_free(c);
}

/* More than may wait for a client is an error to its request, and the connection stays. */
static void test_too_large(void **state)
{
    static char json[1 << 20];
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, SQL("1"));
    fake_sql_expect(1);
    memset(json, ' ', sizeof(json) - 1);
    json[0] = '{';
    json[sizeof(json) - 2] = '}';
    fake_sql_answer(0, json);
    client_expect_part(c, "\"requestId\":1,\"error\":{\"code\":\"TOO_LARGE\",");
    client_quiet(c);
    client_free(c);
}

static void expect_cancelled(const struct sql_request *r)
{
    for (int i = 0; i < 5000 && !atomic_load(&r->cancel); i++)
        usleep(1000);
    assert_true(atomic_load(&r->cancel));
}

static void test_gone(void **state)
{
    struct client *c = client_new(&f), *other = client_new(&f);

    (void)state;
    client_send(c, SQL("1"));
    client_send(c, SQL("2"));
    fake_sql_expect(2);
    client_send(other, SQL("3"));
    fake_sql_expect(3);
    client_free(c);
    expect_cancelled(fake_sql_at(0));
    expect_cancelled(fake_sql_at(1));
    assert_false(atomic_load(&fake_sql_at(2)->cancel));
    fake_sql_fail(1, "QUERY_CANCELLED", "gone");
    fake_sql_answer(0, "{\"rows\":[]}");
    fake_sql_answer(0, "{\"rows\":[]}");
    client_expect_part(other, "\"requestId\":3,\"payload\":{\"success\":true");
    client_free(other);
}

/* What comes back after the end is freed with the hub. */
static void test_end(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, SQL("1"));
    client_send(c, REQUEST("2", "\"action\":\"health\""));
    fake_sql_expect(2);
    hub_stop(f.hub, 0);
    fake_sql_answer(0, "{\"rows\":[]}");
    fake_sql_fail(0, "QUERY_CANCELLED", "the end");
    client_free(c);
}

static int clients_in(const char *text)
{
    int count = 0;

    for (; (text = strstr(text, "\"connectedAt\":")); text++)
        count++;
    return count;
}

static void test_stats(void **state)
{
    struct client *clients[7];

    (void)state;
    start(3, 100);
    for (int i = 0; i < 7; i++)
        clients[i] = client_new(&f);
    client_send(clients[3], REQUEST("1", "\"action\":\"stats\""));
    client_expect_part(
        clients[3], "\"requestId\":1,\"payload\":{\"success\":true,\"clientCount\":7,");
    assert_int_equal(clients_in(clients[3]->text), 7);
    assert_non_null(strstr(clients[3]->text, "\"userId\":\"ann\""));
    assert_non_null(strstr(clients[3]->text, "\"messageCount\":1,\"isAlive\":true}"));
    client_send(clients[3], REQUEST("2", "\"action\":\"stats\",\"limit\":4"));
    client_expect_part(clients[3], "\"clientCount\":7,");
    assert_int_equal(clients_in(clients[3]->text), 4);
    client_send(clients[3], REQUEST("3", "\"action\":\"stats\",\"limit\":0"));
    client_expect_part(clients[3], "\"clientCount\":7,\"clients\":[],");
    for (int i = 0; i < 7; i++)
        client_free(clients[i]);
}

/* Each allocation on the way fails in turn: an answer, an error, or the end of the connection. */
static void sweep(const char *request, bool sql)
{
    bool hit = true;

    for (long n = 0; hit && n < 2000; n++) {
        struct client *c = client_new(&f);

        mem_fail_after(n);
        client_send(c, request);
        if (sql) {
            for (int i = 0; i < 200 && !mem_fail_hit(); i++)
                usleep(100);
            hit = mem_fail_hit();
            mem_fail_after(-1);
            if (!hit) {
                fake_sql_expect(1);
                fake_sql_answer(0, "{\"rows\":[]}");
            }
        }
        if (client_read(c))
            assert_true(strstr(c->text, "\"requestId\":1,") != NULL);
        else
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        if (!sql)
            hit = mem_fail_hit();
        mem_fail_after(-1);
        client_free(c);
    }
    assert_false(hit);
}

static void test_memory(void **state)
{
    (void)state;
    sweep(REQUEST("1", "\"action\":\"tables\""), false);
    sweep(REQUEST("1", "\"action\":\"stats\""), false);
    sweep(SQL("1"), true);
    sweep(REQUEST("1", "\"action\":\"sync\",\"operations\":[{\"type\":\"UPDATE\",\"table\":"
                       "\"users\",\"data\":{\"name\":\"a\"},\"key\":{\"id\":1}}]"),
        true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync, setup, teardown),
        cmocka_unit_test_teardown(test_limit, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        cmocka_unit_test_teardown(test_stats, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
