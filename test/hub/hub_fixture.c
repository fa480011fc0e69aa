#include "hub_fixture.h"

#include "access/identity.h"
#include "base/text.h"
#include "dialect/dialects.h"
#include "fake_pager.h"
#include "net/ws.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct hub_options feed_options = {
    .loops = 1,
    .max_message = 1 << 20,
    .max_queue = 1 << 20,
    .max_backlog = 1 << 26,
    .history = 1 << 26,
    .heartbeat_ms = 60000,
    .max_subscriptions = 100,
    .version = "1.2.3",
    .epoch = "e1",
};

static int by_name(const void *a, const void *b)
{
    return text_casecmp((*(struct table *const *)a)->name, (*(struct table *const *)b)->name);
}

struct schema *schema_of(struct table *first, ...)
{
    struct table *tables[16] = {first};
    int count = 0;
    struct schema *s;
    va_list ap;

    va_start(ap, first);
    while (tables[count])
        tables[++count] = va_arg(ap, struct table *);
    va_end(ap);
    s = schema_new(count);
    memcpy(s->tables, tables, (size_t)count * sizeof(*tables));
    qsort(s->tables, (size_t)count, sizeof(*tables), by_name);
    return s;
}

void feed_start(struct feed *f, struct schema *schema)
{
    struct buf err = {0};

    *f = (struct feed){.schema = schema};
    feed_options.schema = schema;
    f->hub = hub_new(&feed_options, &err);
    assert_non_null(f->hub);
    f->batch = batch_new(0);
}

void feed_stop(struct feed *f)
{
    hub_stop(f->hub, 200);
    if (feed_options.db)
        fake_pager_stop(feed_options.db);
    hub_free(f->hub);
    if (feed_options.db)
        fake_pager_free(feed_options.db);
    feed_options.db = NULL;
    batch_unref(f->batch);
    schema_unref(f->schema);
}

static struct value *copy_row(struct feed *f, const struct table *t, const struct value *row)
{
    struct value *copy = batch_row(f->batch, t->column_count);

    for (int i = 0; i < t->column_count; i++)
        assert_int_equal(batch_set_value(f->batch, &copy[i], &row[i]), 0);
    return copy;
}

static void add(struct feed *f, enum change_kind kind, const struct table *t,
    const struct value *old, const struct value *row)
{
    struct change *c = batch_add(f->batch, kind, t);

    assert_non_null(c);
    c->row = row ? copy_row(f, t, row) : NULL;
    c->old = old ? copy_row(f, t, old) : NULL;
    c->rowid = row ? row[0].i : 0;
    c->old_rowid = old ? old[0].i : 0;
}

void feed_insert(struct feed *f, const struct table *t, const struct value *row)
{
    add(f, CHANGE_INSERT, t, NULL, row);
}

void feed_update(
    struct feed *f, const struct table *t, const struct value *old, const struct value *row)
{
    add(f, CHANGE_UPDATE, t, old, row);
}

void feed_delete(struct feed *f, const struct table *t, const struct value *old)
{
    add(f, CHANGE_DELETE, t, old, NULL);
}

void feed_ddl(struct feed *f, enum change_kind kind, const struct table *t, const struct table *old)
{
    struct change *c = batch_add(f->batch, kind, t);

    assert_non_null(c);
    if (old)
        assert_int_equal(batch_hold(f->batch, old), 0);
    f->batch->changes[f->batch->change_count - 1].old_table = old;
}

void feed_commit(struct feed *f, uint64_t origin, struct schema *schema)
{
    assert_int_equal(batch_end_transaction(f->batch, origin, schema), 0);
    if (schema) {
        schema_unref(f->schema);
        f->schema = schema;
    }
}

void feed_put(struct feed *f)
{
    batch_seal(f->batch, &f->seq, &f->tx);
    if (feed_options.db && feed_options.db->journal)
        fake_pager_record(feed_options.db, f->batch);
    hub_put(f->hub, f->batch);
    batch_unref(f->batch);
    f->batch = batch_new(0);
}

void feed_publish(struct feed *f)
{
    feed_put(f);
    hub_wake(f->hub);
}

/* Takes over the claims. */
static struct client *connect_with(struct feed *f, json_t *claims)
{
    struct client *c = calloc(1, sizeof(*c));
    struct identity *id = claims ? identity_new(claims, 0) : NULL;
    const struct hub_client who = {.who = id, .address = "test"};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c->fd = pair[0];
    assert_true(hub_reserve(f->hub));
    hub_adopt(f->hub, pair[1], dialects_find("/ws"), &who, NULL, 0);
    identity_unref(id);
    return c;
}

static struct client *connect_as(struct feed *f, const char *user)
{
    return connect_with(f, user ? json_pack("{s:s}", "sub", user) : NULL);
}

struct client *client_claims(struct feed *f, const char *claims)
{
    struct client *c = connect_with(f, json_loads(claims, 0, NULL));

    client_expect_part(c, "\"type\":\"connection:ack\"");
    return c;
}

struct client *client_raw(struct feed *f)
{
    return connect_as(f, "ann");
}

struct client *client_as(struct feed *f, const char *user)
{
    struct client *c = connect_as(f, user);

    client_expect_part(c, "\"type\":\"connection:ack\"");
    return c;
}

struct client *client_new(struct feed *f)
{
    struct client *c = client_raw(f);

    client_expect_part(c, "\"type\":\"connection:ack\"");
    return c;
}

void client_free(struct client *c)
{
    close(c->fd);
    free(c);
}

void client_send_frame(struct client *c, int opcode, const char *data, size_t len)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    uint8_t *frame = malloc(len + WS_HEADER_MAX);
    size_t head = ws_header_client(frame, opcode, len, key), done = 0;

    memcpy(frame + head, data, len);
    ws_mask(frame + head, len, key, 0);
    while (done < head + len) {
        ssize_t n = send(c->fd, frame + done, head + len - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    free(frame);
}

void client_send(struct client *c, const char *text)
{
    client_send_frame(c, WS_TEXT, text, strlen(text));
}

/* One more read; false at the end. */
static bool receive(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    ssize_t n;

    if (c->taken) {
        memmove(c->data, c->data + c->taken, c->len - c->taken);
        c->len -= c->taken;
        c->taken = 0;
    }
    if (poll(&p, 1, 5000) != 1)
        fail_msg("nothing came for five seconds");
    n = recv(c->fd, c->data + c->len, sizeof(c->data) - c->len, 0);
    if (n <= 0)
        return false;
    c->len += (size_t)n;
    return true;
}

/* The next frame's payload, or NULL at the end. Checks what a server's frame must look like. */
static const uint8_t *next_frame(struct client *c, int *opcode, size_t *len)
{
    for (;;) {
        const uint8_t *p = (const uint8_t *)c->data + c->taken;
        size_t have = c->len - c->taken, head = 2, n = 0;

        if (have >= 2) {
            assert_true(p[0] & 0x80);
            assert_false(p[1] & 0x80);
            n = p[1] & 0x7f;
            head += n == 127 ? 8 : n == 126 ? 2 : 0;
        }
        if (have >= head && head > 2)
            for (size_t i = n = 0; i < head - 2; i++)
                n = n << 8 | p[2 + i];
        if (have >= head && have >= head + n) {
            *opcode = p[0] & 15;
            *len = n;
            c->taken += head + n;
            return p + head;
        }
        if (!receive(c))
            return NULL;
    }
}

/* Replaces what stands between `before` and `end` by `by`. */
static void hide(char *text, const char *before, const char *end, const char *by)
{
    char *p = text;

    while ((p = strstr(p, before))) {
        size_t n;

        p += strlen(before);
        n = strcspn(p, end);
        memmove(p + strlen(by), p + n, strlen(p + n) + 1);
        memcpy(p, by, strlen(by));
    }
}

const char *client_read(struct client *c)
{
    const uint8_t *p;
    int opcode;
    size_t len;

    while ((p = next_frame(c, &opcode, &len))) {
        if (opcode == WS_CLOSE && len >= 2)
            c->code = p[0] << 8 | p[1];
        if (opcode == WS_CLOSE)
            client_send_frame(c, WS_CLOSE, (const char *)p, 2);
        if (opcode != WS_TEXT)
            continue;
        assert_true(len < sizeof(c->text));
        memcpy(c->text, p, len);
        c->text[len] = '\0';
        assert_true(utf8_valid(c->text, len));
        if (strstr(c->text, "\"connectionId\":\"c"))
            c->id = strtoull(strstr(c->text, "\"connectionId\":\"c") + 17, NULL, 10);
        hide(c->text, "\"timestamp\":", ",}", "T");
        hide(c->text, "{\"id\":\"c", "\"", "");
        hide(c->text, "\"connectionId\":\"c", "\"", "");
        return c->text;
    }
    return NULL;
}

void client_expect(struct client *c, const char *text)
{
    const char *got = client_read(c);

    if (!got)
        fail_msg("closed with %d instead of: %s", c->code, text);
    assert_string_equal(got, text);
}

void client_expect_part(struct client *c, const char *part)
{
    const char *got = client_read(c);

    if (!got)
        fail_msg("closed with %d instead of: %s", c->code, part);
    if (!strstr(got, part))
        fail_msg("expected %s\nin       %s", part, got);
}

void client_expect_close(struct client *c, int code)
{
    const char *got = client_read(c);

    if (got)
        fail_msg("not closed: %s", got);
    assert_int_equal(c->code, code);
}

void client_quiet(struct client *c)
{
    client_send(c, "{\"type\":\"ping\"}");
    client_expect_part(c, "\"type\":\"pong\"");
}

void client_subscribe(struct client *c, const char *text)
{
    client_send(c, text);
    client_expect_part(c, "\"type\":\"subscribed\"");
}
