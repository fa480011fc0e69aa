#include "fuzz.h"

#include "base/mem.h"
#include "base/text.h"
#include "dialect/sse.h"
#include "fuzz_same.h"
#include <string.h>

/* Query strings of GET /api/changes, and percent-encoding. */

static void check(const struct command *c, bool poll)
{
    REQUIRE(c->type == COMMAND_SUBSCRIBE && !c->table.p != !c->channel.p);
    REQUIRE(c->events && !(c->events & ~EVENTS_ALL));
    REQUIRE(c->limit >= 1 && c->limit <= SSE_POLL_MAX_CHANGES);
    REQUIRE(c->wait_ms >= 0 && c->wait_ms <= SSE_POLL_MAX_MS);
    REQUIRE(poll ? !c->batch && !c->snapshot
                 : c->limit == SSE_POLL_CHANGES && c->wait_ms == SSE_POLL_MS);
    REQUIRE(c->has_filter == (c->filter_count > 0) && c->has_columns == (c->column_count > 0));
    REQUIRE(c->since == SINCE_SEQ || !c->since_seq);
    if (c->snapshot)
        REQUIRE(c->table.p && !(c->table.len == 1 && *c->table.p == '*'));
}

static bool put(struct buf *out, const char *name, const char *p, size_t len)
{
    char *value = fuzz_string(p, len);
    bool whole = strlen(value) == len;
    buf_printf(out, "%s%s=", out->len ? "&" : "", name);
    text_url_encode(out, value);
    free(value);
    return whole;
}

static void put_events(struct buf *out, uint32_t events)
{
    static const char *const names[] = {
        [CHANGE_INSERT] = "insert", [CHANGE_UPDATE] = "Update", [CHANGE_DELETE] = "DELETE"};
    for (int i = CHANGE_INSERT; i <= CHANGE_DELETE; i++)
        if (events >> i & 1)
            put(out, "events", names[i], strlen(names[i]));
}

static void put_position(struct buf *out, const struct command *c)
{
    if (c->since == SINCE_EARLIEST)
        put(out, "since", "earliest", 8);
    if (c->since != SINCE_SEQ)
        return;
    buf_printf(out, "%ssince=%llu", out->len ? "&" : "", (unsigned long long)c->since_seq);
}

/* False: a NUL cannot be written this way. */
static bool put_command(struct buf *out, const struct command *c, bool poll)
{
    bool whole = true;
    if (c->table.p)
        whole &= put(out, "table", c->table.p, c->table.len);
    if (c->channel.p)
        whole &= put(out, "channel", c->channel.p, c->channel.len);
    if (!c->channel.p)
        put_events(out, c->events);
    for (int i = 0; i < c->filter_count; i++)
        whole &= put(out, "filter", c->filters[i], c->filter_lens[i]);
    for (int i = 0; i < c->column_count; i++)
        whole &= put(out, "columns", c->columns[i], c->column_lens[i]);
    put_position(out, c);
    if (c->epoch.p)
        whole &= put(out, "epoch", c->epoch.p, c->epoch.len);
    if (poll)
        buf_printf(out, "&limit=%u&timeout=%lldms", (unsigned)c->limit, (long long)c->wait_ms);
    else
        buf_printf(out, "&batch=%d&snapshot=%s", c->batch, c->snapshot ? "" : "false");
    return whole;
}

/* What was read and is written is read as the same again. */
static void round_trip(const struct command *c, bool poll)
{
    struct buf out = {0};
    struct command again;
    if (put_command(&out, c, poll) && buf_error(&out) == 0) {
        int rc = (poll ? sse_decode_poll : sse_decode)(&again, out.data, out.len);
        REQUIRE(mem_fail_hit() || (rc == 0 && fuzz_same_command(c, &again)));
        sse_decode_fini(&again);
    }
    buf_fini(&out);
}

static void percent(const uint8_t *data, size_t size)
{
    struct buf plain = {0}, coded = {0}, again = {0};
    char *text = fuzz_string(data, size), *exact = (char *)fuzz_copy(data, size);
    int rc = text_url_decode(&plain, exact, size, size % 2);
    REQUIRE(plain.len <= size && (rc || memchr(exact, '%', size) || plain.len == size));
    text_url_encode(&coded, text);
    if (buf_error(&coded) == 0) {
        for (size_t i = 0; i < coded.len; i++)
            REQUIRE(coded.data[i] == '%' || strchr("-._~", coded.data[i]) ||
                    (coded.data[i] >= '0' && coded.data[i] <= '9') ||
                    (text_lower(coded.data[i]) >= 'a' && text_lower(coded.data[i]) <= 'z'));
        rc = text_url_decode(&again, coded.data, coded.len, true);
        REQUIRE(mem_fail_hit() || (rc == 0 && again.len == strlen(text) &&
                                      (!again.len || !memcmp(again.data, text, again.len))));
    }
    buf_fini(&plain);
    buf_fini(&coded);
    buf_fini(&again);
    free(exact);
    free(text);
}

void fuzz_query(const uint8_t *data, size_t size)
{
    struct command c;
    if (size == 0)
        return;
    bool poll = data[0] & 1;
    char *query = (char *)fuzz_copy(data + 1, size - 1);
    int rc = (poll ? sse_decode_poll : sse_decode)(&c, query, size - 1);
    REQUIRE(rc == 0 || mem_fail_hit());
    if (rc == 0 && c.error.code)
        REQUIRE(c.error.message[0]);
    if (rc == 0 && !c.error.code) {
        fuzz_accepted++;
        check(&c, poll);
        round_trip(&c, poll);
    }
    sse_decode_fini(&c);
    percent(data + 1, size - 1);
    free(query);
}
