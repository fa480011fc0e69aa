#include "dialect/sse.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "dialect/arguments.h"

#include <string.h>

struct texts {
    const char **p;
    size_t *lens;
    int count, cap;
};

/* What a decoded command's texts point into. */
struct sse_memory {
    struct buf text; /* the query, decoded; has its room from the start, so it never moves */
    struct texts filters, columns;
    struct text since, epoch, last_event_id;
    uint32_t seen; /* of the parameters below */
    bool poll;
};

static int add_text(struct texts *t, const char *p, size_t len)
{
    if (t->count == t->cap) {
        int cap = t->cap ? 2 * t->cap : 8;
        const char **texts = mem_realloc(t->p, (size_t)cap * sizeof(*texts));
        size_t *lens = texts ? mem_realloc(t->lens, (size_t)cap * sizeof(*lens)) : NULL;

        t->p = texts ? texts : t->p;
        if (!lens)
            return STATUS_NOMEM;
        t->lens = lens;
        t->cap = cap;
    }
    t->p[t->count] = p;
    t->lens[t->count++] = len;
    return 0;
}

static int read_table(struct command *cmd, struct text value)
{
    cmd->table = value;
    return 0;
}

static int read_channel(struct command *cmd, struct text value)
{
    if (!arguments_is(value, "tables"))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "the only channel that can be had as a stream of events is \"tables\"");
    cmd->channel = value;
    return 0;
}

static int read_filter(struct command *cmd, struct text value)
{
    struct sse_memory *m = cmd->memory;

    cmd->has_filter = true;
    return add_text(&m->filters, value.p, value.len);
}

static int read_columns(struct command *cmd, struct text value)
{
    struct sse_memory *m = cmd->memory;
    const char *p = value.p, *end = value.p + value.len;

    cmd->has_columns = true;
    for (;;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        int rc = add_text(&m->columns, p, (size_t)((comma ? comma : end) - p));

        if (rc < 0 || !comma)
            return rc;
        p = comma + 1;
    }
}

static int read_events(struct command *cmd, struct text value)
{
    return arguments_events(cmd, value.p, value.len);
}

static int read_since(struct command *cmd, struct text value)
{
    struct sse_memory *m = cmd->memory;

    m->since = value;
    return 0;
}

static int read_epoch(struct command *cmd, struct text value)
{
    struct sse_memory *m = cmd->memory;

    m->epoch = value;
    return 0;
}

static int read_last_event_id(struct command *cmd, struct text value)
{
    struct sse_memory *m = cmd->memory;

    m->last_event_id = value;
    return 0;
}

/* 1, 0 or STATUS_INVALID. */
static int truth(struct command *cmd, const char *name, struct text value)
{
    if (!value.len || arguments_is(value, "1") || arguments_is(value, "true"))
        return 1;
    if (arguments_is(value, "0") || arguments_is(value, "false"))
        return 0;
    return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s must be true or false", name);
}

static int read_batch(struct command *cmd, struct text value)
{
    int v = truth(cmd, "batch", value);

    cmd->batch = v > 0;
    return v < 0 ? v : 0;
}

static int read_snapshot(struct command *cmd, struct text value)
{
    int v = truth(cmd, "snapshot", value);

    cmd->snapshot = v > 0;
    return v < 0 ? v : 0;
}

static int read_timeout(struct command *cmd, struct text value)
{
    char text[32];
    int64_t ms;

    if (value.len >= sizeof(text))
        value.len = 0;
    memcpy(text, value.p, value.len);
    text[value.len] = '\0';
    if (!value.len || text_parse_duration(text, &ms) < 0 || ms < 0 || ms > SSE_POLL_MAX_MS)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "timeout is how many seconds to wait for the first change, 0 to %d",
            SSE_POLL_MAX_MS / 1000);
    cmd->wait_ms = ms;
    return 0;
}

static int read_limit(struct command *cmd, struct text value)
{
    int64_t n;

    if (text_parse_i64(value.p, value.len, &n) < 0 || n < 1 || n > SSE_POLL_MAX_CHANGES)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "limit is the number of changes in an answer, 1 to %d", SSE_POLL_MAX_CHANGES);
    cmd->limit = (uint32_t)n;
    return 0;
}

enum use { BOTH, STREAM, POLL };

static const struct {
    const char *name;
    int (*read)(struct command *cmd, struct text value);
    bool many; /* it may be given again */
    enum use use;
} parameters[] = {
    {"table", read_table, false, BOTH},
    {"channel", read_channel, false, BOTH},
    {"filter", read_filter, true, BOTH},
    {"columns", read_columns, true, BOTH},
    {"events", read_events, true, BOTH},
    {"since", read_since, false, BOTH},
    {"epoch", read_epoch, false, BOTH},
    {"last_event_id", read_last_event_id, true, BOTH},
    {"batch", read_batch, false, STREAM},
    {"snapshot", read_snapshot, false, STREAM},
    {"timeout", read_timeout, false, POLL},
    {"limit", read_limit, false, POLL},
};
#define PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

static int cut(size_t len)
{
    return (int)(len < 64 ? len : 64);
}

static int read_parameter(struct command *cmd, struct text name, struct text value)
{
    struct sse_memory *m = cmd->memory;
    size_t i = 0;

    while (i < PARAMETERS && !arguments_is(name, parameters[i].name))
        i++;
    if (i == PARAMETERS)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "unknown parameter \"%.*s\": there are table, filter, events, columns, since, "
            "epoch, last_event_id, batch, snapshot, timeout, limit and channel",
            cut(name.len), name.p);
    if (parameters[i].use && (parameters[i].use == POLL) != m->poll)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            m->poll ? "%s is for a stream: ask for it with \"Accept: text/event-stream\""
                    : "%s is for a long poll, not for a stream of events",
            parameters[i].name);
    if (m->seen >> i & 1 && !parameters[i].many)
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "%s is given more than once", parameters[i].name);
    m->seen |= 1u << i;
    return parameters[i].read(cmd, value);
}

/* The bytes from p to end, decoded. */
static int decode_text(struct command *cmd, const char *p, const char *end, struct text *to)
{
    struct buf *out = &((struct sse_memory *)cmd->memory)->text;
    size_t at = out->len;

    if (text_url_decode(out, p, (size_t)(end - p), true) < 0)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "the query string has a %% that is not followed by two hex digits");
    *to = (struct text){out->data + at, out->len - at};
    return 0;
}

static int read_pair(struct command *cmd, const char *p, const char *end)
{
    const char *equals = memchr(p, '=', (size_t)(end - p));
    struct text name = {0}, value = {0};
    int rc = decode_text(cmd, p, equals ? equals : end, &name);

    if (rc == 0)
        rc = decode_text(cmd, equals ? equals + 1 : end, end, &value);
    return rc < 0 ? rc : read_parameter(cmd, name, value);
}

static int read_pairs(struct command *cmd, const char *p, const char *end)
{
    while (p < end) {
        const char *next = memchr(p, '&', (size_t)(end - p));
        int rc = 0;

        if (!next)
            next = end;
        if (next > p)
            rc = read_pair(cmd, p, next);
        if (rc < 0)
            return rc;
        p = next + 1;
    }
    return 0;
}

static int read_position(struct command *cmd)
{
    struct sse_memory *m = cmd->memory;
    struct text from = m->last_event_id;

    if (m->epoch.p && !m->since.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "epoch goes with since");
    if (!from.len) {
        from = m->since;
        cmd->epoch = m->epoch;
    }
    if (!from.p || arguments_seq(cmd, from))
        return 0;
    return arguments_since(cmd, from);
}

/* What only shows when all has been read. */
static int finish(struct command *cmd)
{
    struct sse_memory *m = cmd->memory;
    bool events = cmd->events;
    int rc;

    cmd->filters = m->filters.p;
    cmd->filter_lens = m->filters.lens;
    cmd->filter_count = m->filters.count;
    cmd->columns = m->columns.p;
    cmd->column_lens = m->columns.lens;
    cmd->column_count = m->columns.count;
    cmd->events = events ? cmd->events : EVENTS_ALL;
    rc = read_position(cmd);
    if (rc < 0)
        return rc;
    if (cmd->channel.p && cmd->table.p)
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "a stream is of a table or of a channel, not of both");
    if (cmd->channel.p && (cmd->has_filter || cmd->has_columns || cmd->batch || events))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "filter, columns, events and batch need a table, not a channel");
    if (!cmd->channel.p && !cmd->table.p)
        cmd->table = (struct text){"*", 1};
    return cmd->snapshot ? arguments_snapshot(cmd) : 0;
}

static int decode(struct command *cmd, const char *data, size_t len, bool poll)
{
    struct sse_memory *m;
    int rc;

    *cmd = (struct command){
        .type = COMMAND_SUBSCRIBE, .self = true, .limit = SSE_POLL_CHANGES, .wait_ms = SSE_POLL_MS};
    cmd->memory = m = mem_zalloc(sizeof(*m));
    if (!m || !buf_reserve(&m->text, len + 1))
        return STATUS_NOMEM;
    m->poll = poll;
    rc = read_pairs(cmd, data, data + len);
    if (rc == 0)
        rc = finish(cmd);
    return rc == STATUS_NOMEM ? rc : 0;
}

int sse_decode(struct command *cmd, const char *data, size_t len)
{
    return decode(cmd, data, len, false);
}

int sse_decode_poll(struct command *cmd, const char *data, size_t len)
{
    return decode(cmd, data, len, true);
}

void sse_decode_fini(struct command *cmd)
{
    struct sse_memory *m = cmd->memory;

    if (!m)
        return;
    buf_fini(&m->text);
    mem_free(m->filters.p);
    mem_free(m->filters.lens);
    mem_free(m->columns.p);
    mem_free(m->columns.lens);
    mem_free(m);
    cmd->memory = NULL;
}
