#include "fuzz.h"

#include "../change/fixture.h"
#include "../hub/fake_pager.h"
#include "access/identity.h"
#include "access/policy.h"
#include "base/clock.h"
#include "base/json.h"
#include "dialect/dialects.h"
#include "fuzz_database.h"
#include "fuzz_tokens.h"
#include "hub/hub.h"
#include "net/ws.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A client's messages, one a line, to a hub with a loop, a database that answers without running
 * anything, and a second client that listens. Whatever is asked, all that both hear are messages as
 * they have to be, and nothing is left when the client has gone. One whose first line begins with #
 * is a guest, who never hears what the policy withholds.
 */
#define MESSAGES 64
#define END "the fuzzer's last"
#define PATIENCE_MS 10000
#define WITHHELD "7305918264403127"

struct client {
    int fd;
    struct ws_parser parser;
    uint64_t ends; /* answers to END */
    int code;      /* of a Close frame */
    bool gone;
    bool guest;
};

static struct hub *hub;
static struct schema *schema;
static struct client listener = {.fd = -1};
static uint64_t seq, tx;

static const char policy_text[] =
    "{\"roles\":{"
    "\"guest\":{\"tables\":{\"users\":{\"read\":[\"id\",\"name\"],"
    "\"rows\":\"name={sub}\"}},"
    "\"channels\":{\"join\":[\"room:*\",\"tables\"],\"broadcast\":[\"room:1\"]}},"
    "\"admin\":{\"sql\":true,\"tables\":{\"*\":{\"read\":true,\"write\":true}},"
    "\"channels\":{\"join\":[\"*\"],\"broadcast\":[\"*\"]}}}}";

/* Of both tables; the policy shows a guest the first two columns of ann's rows of one. */
#define ROW(id, name, age)                                                                         \
    {                                                                                              \
        INTEGER(id), TEXT(name), REAL(age), TEXT("\n\"" WITHHELD)                                  \
    }
static const struct value ann[] = ROW(1, "Ann", 18), ann_later[] = ROW(1, "ann", 19.5),
                          bob[] = ROW(2, "bob" WITHHELD, 18);

static int heard(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    struct client *c = (struct client *)ctx;
    char err[256];
    json_t *j = json_read(data, len, err, sizeof(err));
    REQUIRE(opcode == WS_TEXT && json_is_object(j));
    REQUIRE(!c->guest || !memmem(data, len, WITHHELD, strlen(WITHHELD)));
    const json_t *type = json_object_get(j, "type"), *sent = json_object_get(j, "data");
    REQUIRE(json_is_string(type));
    sent = json_object_get(sent, "sentAt") ? json_object_get(sent, "sentAt")
                                           : json_object_get(j, "sentAt");
    if (strcmp(json_string_value(type), "pong") == 0 && json_is_string(sent) &&
        strcmp(json_string_value(sent), END) == 0)
        c->ends++;
    json_decref(j);
    return 0;
}

static int heard_nothing(void *ctx, const char *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return 0;
}

static int heard_close(void *ctx, int code, const char *reason, size_t len)
{
    ((struct client *)ctx)->code = code;
    return heard_nothing(ctx, reason, len);
}

static void open_client(struct client *c, const char *user, const char *role)
{
    struct identity *id = identity_new(json_pack("{s:s,s:s}", "sub", user, "role", role), 0);
    const struct hub_client who = {.who = id, .address = "test"};
    int pair[2];
    *c = (struct client){0};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    c->fd = pair[0];
    ws_parser_init(&c->parser, true, 8 << 20);
    REQUIRE(hub_reserve(hub));
    hub_adopt(hub, pair[1], dialects_find("/ws"), &who, NULL, 0);
    identity_unref(id);
}

static void close_client(struct client *c)
{
    close(c->fd);
    ws_parser_fini(&c->parser);
    c->fd = -1;
}

/* What has come, waiting so long for the first. */
static void hear(struct client *c, int ms)
{
    static const struct ws_events events = {heard, heard_nothing, heard_nothing, heard_close};
    static uint8_t data[1 << 16];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    while (!c->gone && poll(&p, 1, ms) == 1) {
        ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
        int rc = n > 0 ? ws_feed(&c->parser, &events, c, data, (size_t)n) : 0;
        REQUIRE(rc == 0 || mem_fail_hit());
        c->gone = n <= 0 || rc;
        ms = 0;
    }
}

static void say(struct client *c, const void *text, size_t len)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    uint8_t *frame = malloc(len + WS_HEADER_MAX);
    size_t head = ws_header_client(frame, WS_TEXT, len, key), done = 0;
    memcpy(frame + head, text, len);
    ws_mask(frame + head, len, key, 0);
    while (done < head + len && !c->gone) {
        ssize_t n = send(c->fd, frame + done, head + len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            hear(c, 1);
        else
            c->gone = true;
    }
    free(frame);
}

/* All that was said before has been done. */
static void settle(struct client *c)
{
    static const char ping[] = "{\"type\":\"ping\",\"sentAt\":\"" END "\"}";
    uint64_t before = c->ends;
    say(c, ping, sizeof(ping) - 1);
    for (int64_t start = clock_mono_ms(); !c->gone && !c->code && c->ends == before;) {
        fuzz_database_serve();
        hear(c, 1);
        REQUIRE(clock_mono_ms() - start < PATIENCE_MS);
    }
}

static void listen_to_it(void)
{
    static const char *const messages[] = {"{\"type\":\"subscribe\",\"channel\":\"collaboration\"}",
        "{\"type\":\"subscribe\",\"channel\":\"queries\"}",
        "{\"type\":\"subscribe\",\"channel\":\"room:1\"}",
        "{\"type\":\"subscribe\",\"channel\":\"tables\"}",
        "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":[\"age>=18\"],\"batch\":true}"};
    if (listener.fd >= 0 && !listener.gone)
        return;
    if (listener.fd >= 0)
        close_client(&listener);
    open_client(&listener, "bob", "admin");
    for (size_t i = 0; i < sizeof(messages) / sizeof(*messages); i++)
        say(&listener, messages[i], strlen(messages[i]));
}

static void fill_row(struct value *row, int64_t i)
{
    memcpy(row, i % 2 ? ann : bob, sizeof(ann));
    row[0].i = i;
}

static struct database *make_database(void)
{
    struct database *db = fake_pager_new();
    db->schema = schema_ref(schema);
    db->rows = 5;
    db->page_rows = 2;
    db->fill = fill_row;
    return db;
}

static void start(void)
{
    const char *token;
    struct buf err = {0};
    int status;
    mem_fail_after(-1);
    schema = schema_new(2);
    schema->tables[0] = TABLE("notes", "id:INTEGER:k", "name:TEXT:n", "age:REAL:", "secret:TEXT:");
    schema->tables[1] = TABLE("users", "id:INTEGER:k", "name:TEXT:n", "age:REAL:", "secret:TEXT:");
    schema->tables[0]->id = 2;
    struct policy *policy = policy_parse(policy_text, strlen(policy_text), &err, &status);
    REQUIRE(policy);
    const struct hub_options options = {.loops = 1,
        .max_message = 1 << 20,
        .max_queue = 1 << 20,
        .max_backlog = 1 << 26,
        .history = 1 << 16,
        .heartbeat_ms = 60000,
        .max_subscriptions = 20,
        .max_requests = 20,
        .max_queries = 4,
        .version = "1.2.3",
        .epoch = "e1",
        .schema = schema,
        .tokens = fuzz_tokens(&token),
        .policy = policy,
        .db = make_database()};
    hub = hub_new(&options, &err);
    REQUIRE(hub);
}

static bool add(struct batch *b, int table, const struct value *old, const struct value *row)
{
    enum change_kind kind = !old ? CHANGE_INSERT : row ? CHANGE_UPDATE : CHANGE_DELETE;
    struct value *before = batch_row(b, 4), *after = batch_row(b, 4);
    struct change *c = before && after ? batch_add(b, kind, schema->tables[table]) : NULL;
    if (!c)
        return false;
    if (old)
        c->old = memcpy(before, old, sizeof(ann));
    if (row)
        c->row = memcpy(after, row, sizeof(ann));
    c->rowid = row ? row->i : 0;
    c->old_rowid = old ? old->i : 0;
    return true;
}

static void publish(void)
{
    struct batch *b = batch_new(0);
    bool good = b != NULL;
    for (int table = 0; good && table < 2; table++)
        good = add(b, table, NULL, ann) && add(b, table, NULL, bob) && add(b, table, bob, ann) &&
               add(b, table, ann, ann_later) && add(b, table, ann_later, bob) &&
               add(b, table, bob, NULL);
    if (good && batch_end_transaction(b, 0, NULL) == 0) {
        batch_seal(b, &seq, &tx);
        hub_publish(hub, b);
    }
    batch_unref(b);
}

/* What is away comes back, and then nothing is left but the listener and its subscription. */
static void see_it_off(void)
{
    struct hub_stats s;
    int64_t begun = clock_mono_ms();
    do {
        REQUIRE(clock_mono_ms() - begun < PATIENCE_MS);
        fuzz_database_serve();
        hear(&listener, 0);
        hub_stats(hub, &s);
        if (s.connections > 1 || s.running_queries || s.subscriptions > 1)
            sched_yield();
    } while (s.connections > 1 || s.running_queries || s.subscriptions > 1);
}

void fuzz_session(const uint8_t *data, size_t size)
{
    struct client c;
    const uint8_t *p = data, *end = data + size;
    bool guest = size && *data == '#';
    if (!hub)
        start();
    listen_to_it();
    open_client(&c, "ann", guest ? "guest" : "admin");
    c.guest = guest && !memmem(data, size, WITHHELD, strlen(WITHHELD) / 2);
    for (int n = 0; n < MESSAGES && p < end && !c.gone; n++) {
        const uint8_t *line = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((line ? line : end) - p);
        say(&c, p, len);
        hear(&c, 0);
        p += len + 1;
    }
    settle(&c);
    publish();
    settle(&c);
    REQUIRE(c.code != WS_CLOSE_PROTOCOL && (c.code != WS_CLOSE_INTERNAL || mem_fail_hit()));
    fuzz_accepted += !c.gone && !c.code;
    close_client(&c);
    see_it_off();
}
