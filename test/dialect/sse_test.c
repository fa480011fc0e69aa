#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../change/fixture.h"
#include "base/status.h"
#include "dialect/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What comes as a URL and goes as events, byte for byte. */

static struct buf out;
static struct command cmd;

static void expect(const char *text)
{
    assert_string_equal(buf_text(&out), text);
    buf_fini(&out);
}

static void reply(struct reply r, const char *text)
{
    r.connection = 7;
    r.number = 2;
    r.time_ms = 1000;
    r.epoch = "e1";
    sse_dialect.put_reply(&out, &r);
    expect(text);
}

#define T(s) ((struct text){s, sizeof(s) - 1})
#define HEAD "{\"id\":\"c7-2\",\"timestamp\":1000,\"type\":"

/* Decoding. */

static void decode(const char *query)
{
    assert_int_equal(sse_decode(&cmd, query, strlen(query)), 0);
}

static void assert_text(struct text t, const char *wanted)
{
    assert_int_equal(t.len, strlen(wanted));
    assert_memory_equal(t.p, wanted, t.len);
}

static void assert_list(
    const char *const *texts, const size_t *lens, int count, const char *const *wanted)
{
    int i;

    for (i = 0; wanted[i]; i++) {
        assert_true(i < count);
        assert_text((struct text){texts[i], lens[i]}, wanted[i]);
    }
    assert_int_equal(count, i);
}

static void test_an_empty_query(void **state)
{
    static const char *const empty[] = {"", "&", "&&"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        decode(empty[i]);
        assert_null(cmd.error.code);
        assert_int_equal(cmd.type, COMMAND_SUBSCRIBE);
        assert_text(cmd.table, "*");
        assert_null(cmd.channel.p);
        assert_int_equal(cmd.events, EVENTS_ALL);
        assert_int_equal(cmd.since, SINCE_NOW);
        assert_false(cmd.has_filter || cmd.has_columns || cmd.batch || cmd.snapshot);
        assert_true(cmd.self);
        sse_decode_fini(&cmd);
    }
}

static void test_a_query_in_full(void **state)
{
    (void)state;
    decode("table=caf%C3%A9+x&filter=age%3E%3D18&filter=name='a%26b'&columns=id,na%2Bme&columns=x"
           "&events=insert,+delete&batch=1&snapshot&since=e:f:12&");
    assert_null(cmd.error.code);
    assert_text(cmd.table, "caf\xc3\xa9 x");
    assert_true(cmd.has_filter && cmd.has_columns && cmd.batch && cmd.snapshot);
    assert_list(cmd.filters, cmd.filter_lens, cmd.filter_count,
        (const char *const[]){"age>=18", "name='a&b'", NULL});
    assert_list(cmd.columns, cmd.column_lens, cmd.column_count,
        (const char *const[]){"id", "na+me", "x", NULL});
    assert_int_equal(cmd.events, 1u << CHANGE_INSERT | 1u << CHANGE_DELETE);
    assert_int_equal(cmd.since, SINCE_SEQ);
    assert_int_equal(cmd.since_seq, 12);
    assert_text(cmd.epoch, "e:f");
    sse_decode_fini(&cmd);
}

static void test_many_filters(void **state)
{
    char query[2000] = "table=t";

    (void)state;
    for (int i = 0; i < 100; i++)
        strcat(query, "&filter=a%3D1");
    decode(query);
    assert_null(cmd.error.code);
    assert_int_equal(cmd.filter_count, 100);
    for (int i = 0; i < 100; i++)
        assert_text((struct text){cmd.filters[i], cmd.filter_lens[i]}, "a=1");
    sse_decode_fini(&cmd);
}

static void test_positions(void **state)
{
    static const struct {
        const char *query, *epoch;
        enum since since;
        uint64_t seq;
    } cases[] = {
        {"since=0", NULL, SINCE_SEQ, 0},
        {"since=12&epoch=e", "e", SINCE_SEQ, 12},
        {"since=e%3A12", "e", SINCE_SEQ, 12},
        {"since=e:12&epoch=e", "e", SINCE_SEQ, 12},
        {"since=earliest", NULL, SINCE_EARLIEST, 0},
        {"last_event_id=e:9223372036854775807", "e", SINCE_SEQ, 9223372036854775807u},
        {"last_event_id=7", NULL, SINCE_SEQ, 7},
        {"last_event_id=", NULL, SINCE_NOW, 0},
        /* The last of them is the header's. */
        {"last_event_id=e:1&since=e:2&last_event_id=f:3", "f", SINCE_SEQ, 3},
        {"last_event_id=e:1&since=2&epoch=g", "e", SINCE_SEQ, 1},
        {"last_event_id=&since=earliest", NULL, SINCE_EARLIEST, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        decode(cases[i].query);
        assert_null(cmd.error.code);
        assert_int_equal(cmd.since, cases[i].since);
        assert_int_equal(cmd.since_seq, cases[i].seq);
        if (cases[i].epoch)
            assert_text(cmd.epoch, cases[i].epoch);
        else
            assert_null(cmd.epoch.p);
        sse_decode_fini(&cmd);
    }
}

static void test_errors(void **state)
{
    static const struct {
        const char *query, *message;
    } cases[] = {
        {"filtr=a", "unknown parameter \"filtr\": there are table, filter, events, columns,"},
        {"=x", "unknown parameter \"\""},
        {"Table=x", "unknown parameter \"Table\""},
        {"table=a&table=b", "table is given more than once"},
        {"since=1&since=2", "since is given more than once"},
        {"table=%4", "the query string has a % that is not followed by two hex digits"},
        {"table=%zz", "the query string has a %"},
        {"%=1", "the query string has a %"},
        {"events=insert,drop", "unknown event \"drop\""},
        {"events=", "unknown event \"\""},
        {"batch=2", "batch must be true or false"},
        {"snapshot=yes&table=t", "snapshot must be true or false"},
        {"snapshot=1", "a snapshot is of one table: name it instead of *"},
        {"snapshot=1&channel=tables", "a snapshot is of one table: a channel has none"},
        {"channel=room", "the only channel that can be had as a stream of events is \"tables\""},
        {"channel=tables&table=t", "a stream is of a table or of a channel, not of both"},
        {"channel=tables&filter=a", "need a table, not a channel"},
        {"channel=tables&events=insert", "need a table, not a channel"},
        {"since=", "since must be a seq"},
        {"since=-1", "since must be a seq"},
        {"since=1.0", "since must be a seq"},
        {"since=e:", "since must be a seq"},
        {"since=:1", "since must be a seq"},
        {"since=+1", "since must be a seq"},
        {"last_event_id=x", "since must be a seq"},
        {"last_event_id=99999999999999999999", "since must be a seq"},
        {"since=e:1&epoch=f", "since and epoch name different epochs"},
        {"epoch=f", "epoch goes with since"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        decode(cases[i].query);
        if (!cmd.error.code || !strstr(cmd.error.message, cases[i].message))
            fail_msg("%s: %s", cases[i].query, cmd.error.message);
        assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        sse_decode_fini(&cmd);
    }
}

#define FULL                                                                                       \
    "table=users&filter=a%3D1&filter=b+in+(1%2C2)&columns=a,b,c,d,e,f,g,h,i,j&events=insert"       \
    "&last_event_id=abc%3A12&batch=true"

/* Cut anywhere, and ending where the next byte may not be read. */
static void test_cut_anywhere(void **state)
{
    long page = sysconf(_SC_PAGESIZE);
    char *map =
        mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t len = strlen(FULL);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, (size_t)page, PROT_NONE), 0);
    for (size_t n = 0; n <= len; n++) {
        char *at = map + page - n;

        memcpy(at, FULL, n);
        assert_int_equal(sse_decode(&cmd, at, n), 0);
        assert_true(n < len || !cmd.error.code);
        sse_decode_fini(&cmd);
    }
    munmap(map, (size_t)page * 2);
}

static void test_memory_runs_out(void **state)
{
    bool hit = true;
    long n;

    (void)state;
    for (n = 0; hit; n++) {
        int rc;

        mem_fail_after(n);
        rc = sse_decode(&cmd, FULL, strlen(FULL));
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(rc, hit ? STATUS_NOMEM : 0);
        sse_decode_fini(&cmd);
    }
    assert_true(n > 6);
}

/* Encoding. */

#define SUBSCRIBED                                                                                 \
    "event: subscribed\ndata: " HEAD                                                               \
    "\"subscribed\",\"data\":{\"subscription\":\"s1\",\"table\":\"t\",\"seq\":5}}\n"

static void test_the_first_reply(void **state)
{
    uint32_t one[] = {1};
    struct reply r = {.type = REPLY_SUBSCRIBED,
        .table = T("t"),
        .subscriptions = one,
        .subscription_count = 1,
        .seq = 5,
        .resumable = true,
        .position = 5,
        .headers = "Vary: Origin\r\n"};

    (void)state;
    reply(r, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nVary: Origin\r\n"
             "Connection: close\r\n\r\nretry: 2000\n" SUBSCRIBED "id: e1:5\n\n");
    r.headers = NULL;
    r.resumable = false;
    reply(r, SUBSCRIBED "\n");
}

/* An EventSource gives up at these, as it should. */
static void test_refusals(void **state)
{
    struct reply r = {
        .type = REPLY_ERROR, .code = "NOT_FOUND", .message = "no \"t\"", .headers = "A: b\r\n"};

    (void)state;
    reply(r, "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 51\r\n"
             "A: b\r\nConnection: close\r\n\r\n"
             "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no \\\"t\\\"\"}}");
    r.code = "INVALID_FILTER";
    r.headers = "";
    reply(r, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 56\r\n"
             "Connection: close\r\n\r\n"
             "{\"error\":{\"code\":\"INVALID_FILTER\",\"message\":\"no \\\"t\\\"\"}}");
}

/* What passes is no refusal: the client comes back by itself. */
static void test_a_busy_server(void **state)
{
    struct reply r = {.type = REPLY_ERROR,
        .busy = true,
        .code = "LIMIT_EXCEEDED",
        .message = "later",
        .headers = ""};

    (void)state;
    reply(r, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
             "retry: 5000\n\nevent: error\ndata: " HEAD
             "\"error\",\"error\":{\"code\":\"LIMIT_EXCEEDED\",\"message\":\"later\"},"
             "\"data\":{\"code\":\"LIMIT_EXCEEDED\",\"message\":\"later\"}}\n\n");
}

static void test_later_replies(void **state)
{
    uint32_t one[] = {1};

    (void)state;
    reply((struct reply){.type = REPLY_ERROR, .code = "NOT_FOUND", .message = "a\nb\r"},
        "event: error\ndata: " HEAD "\"error\","
        "\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"a\\nb\\r\"},"
        "\"data\":{\"code\":\"NOT_FOUND\",\"message\":\"a\\nb\\r\"}}\n\n");
    reply((struct reply){.type = REPLY_RESYNC, .reason = "slow_consumer"},
        "event: resync\ndata: " HEAD "\"resync\",\"reason\":\"slow_consumer\","
        "\"data\":{\"reason\":\"slow_consumer\"}}\n\n");
    reply(
        (struct reply){.type = REPLY_RESYNC, .reason = "future", .position = 8, .resumable = true},
        "event: resync\ndata: " HEAD "\"resync\",\"reason\":\"future\","
        "\"data\":{\"reason\":\"future\"}}\nid: e1:8\n\n");
    reply((struct reply){.type = REPLY_SNAPSHOT,
              .table = T("t"),
              .subscriptions = one,
              .subscription_count = 1,
              .rows = T("{}"),
              .seq = 3},
        "event: snapshot\ndata: " HEAD "\"snapshot\",\"subscription\":\"s1\",\"table\":\"t\","
        "\"seq\":3,\"data\":{\"rows\":[{}]},\"last\":false}\n\n");
    reply((struct reply){.type = REPLY_SNAPSHOT,
              .table = T("t"),
              .subscriptions = one,
              .subscription_count = 1,
              .rows = T(""),
              .seq = 3,
              .last = true,
              .position = 3,
              .resumable = true},
        "event: snapshot\ndata: " HEAD "\"snapshot\",\"subscription\":\"s1\",\"table\":\"t\","
        "\"seq\":3,\"data\":{\"rows\":[]},\"last\":true}\nid: e1:3\n\n");
}

#define BODY                                                                                       \
    "\"id\":\"e1:9\",\"timestamp\":1000,\"type\":\"database_change\",\"channel\":\"tables\","      \
    "\"seq\":9,\"tx\":4,\"table\":\"t\",\"event\":\"INSERT\",\"key\":{\"id\":1},"                  \
    "\"data\":{\"id\":1,\"s\":\"a\\r\\nid: x\\n\\n\"}}"

static void test_changes(void **state)
{
    struct table *table = TABLE("t", "id:INTEGER:k", "s:TEXT:");
    struct value row[] = {INTEGER(1), TEXT("a\r\nid: x\n\n")};
    const struct transaction t = {.tx = 4, .time_ms = 1000};
    const struct change c = {
        .kind = CHANGE_INSERT, .seq = 9, .table = table, .row = row, .rowid = 1};
    const struct change_message m = {.epoch = "e1", .transaction = &t, .change = &c};
    uint32_t one[] = {1};
    const struct change_prefix plain = {one, 1, TRANSITION_NONE},
                               enter = {one, 1, TRANSITION_ENTER};
    struct batch_message batch = {.epoch = "e1", .transaction = &t, .seq = 9, .table = "t"};
    struct buf items = {0}, body = {0};

    (void)state;
    sse_dialect.put_body(&body, &m);
    assert_string_equal(buf_text(&body), BODY "\nid: e1:9\n\n");
    sse_dialect.put_prefix(&out, &plain);
    expect("data: {\"subscriptions\":[\"s1\"],");
    sse_dialect.put_prefix(&out, &enter);
    expect("data: {\"subscriptions\":[\"s1\"],\"transition\":\"enter\",");
    sse_dialect.put_item(&items, &plain, body.data, body.len);
    sse_dialect.put_item(&items, &enter, body.data, body.len);
    batch.items = items.data;
    batch.items_len = items.len;
    sse_dialect.put_batch(&out, &batch);
    expect("data: {\"id\":\"e1:9\",\"timestamp\":1000,\"type\":\"changes\",\"channel\":\"tables\","
           "\"seq\":9,\"tx\":4,\"table\":\"t\",\"changes\":[{\"subscriptions\":[\"s1\"]," BODY
           ",{\"subscriptions\":[\"s1\"],\"transition\":\"enter\"," BODY "]}\nid: e1:9\n\n");
    buf_fini(&items);
    buf_fini(&body);
    table_unref(table);
}

static void test_keep_alive(void **state)
{
    (void)state;
    sse_dialect.put_keep_alive(&out, NULL, 5);
    expect(":\n\n");
    sse_dialect.put_keep_alive(&out, "e1", 5);
    expect(":\nid: e1:5\n\n");
}

/* A full buffer is an error, never half a message. */
static void test_no_room(void **state)
{
    struct reply r = {
        .type = REPLY_ERROR, .code = "NOT_FOUND", .message = "m", .headers = "", .epoch = "e"};
    bool hit = true;

    (void)state;
    for (long n = 0; hit; n++) {
        mem_fail_after(n);
        sse_dialect.put_reply(&out, &r);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(buf_error(&out), hit ? STATUS_NOMEM : 0);
        buf_fini(&out);
        buf_init(&out, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_query),
        cmocka_unit_test(test_a_query_in_full),
        cmocka_unit_test(test_many_filters),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_the_first_reply),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_busy_server),
        cmocka_unit_test(test_later_replies),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
