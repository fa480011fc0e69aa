#include "dialect/arguments.h"

#include "base/status.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int arguments_refuse(struct command *cmd, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    cmd->error.code = code;
    vsnprintf(cmd->error.message, sizeof(cmd->error.message), fmt, ap);
    va_end(ap);
    return STATUS_INVALID;
}

bool arguments_is(struct text t, const char *s)
{
    return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

static struct text trimmed(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct text){p, (size_t)(end - p)};
}

int arguments_event(struct command *cmd, const char *p, size_t len)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } events[] = {
        {"INSERT", 1u << CHANGE_INSERT},
        {"UPDATE", 1u << CHANGE_UPDATE},
        {"DELETE", 1u << CHANGE_DELETE},
        {"*", EVENTS_ALL},
    };

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (text_same_nocase(p, len, events[i].name, strlen(events[i].name))) {
            cmd->events |= events[i].bits;
            return 0;
        }
    return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
        "unknown event \"%.*s\": events are INSERT, UPDATE, DELETE or *",
        (int)(len < 64 ? len : 64), p);
}

int arguments_events(struct command *cmd, const char *p, size_t len)
{
    const char *end = p + len;

    for (;;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        struct text name = trimmed(p, comma ? comma : end);
        int rc = arguments_event(cmd, name.p, name.len);

        if (rc < 0 || !comma)
            return rc;
        p = comma + 1;
    }
}

/* Digits and nothing else. */
static bool read_seq(const char *p, size_t len, uint64_t *seq)
{
    int64_t v;

    if (!len || *p < '0' || *p > '9' || text_parse_i64(p, len, &v) < 0)
        return false;
    *seq = (uint64_t)v;
    return true;
}

/* The epoch is what stands before the last colon. */
static bool read_position(struct text s, struct text *epoch, uint64_t *seq)
{
    const char *colon = s.p ? memrchr(s.p, ':', s.len) : NULL;

    if (!colon || colon == s.p)
        return false;
    *epoch = (struct text){s.p, (size_t)(colon - s.p)};
    return read_seq(colon + 1, s.len - epoch->len - 1, seq);
}

int arguments_since(struct command *cmd, struct text s)
{
    struct text epoch = {0};

    if (s.p && arguments_is(s, "earliest")) {
        cmd->since = SINCE_EARLIEST;
        return 0;
    }
    if (!read_position(s, &epoch, &cmd->since_seq))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "since must be a seq (a whole number from 0), \"EPOCH:SEQ\" or \"earliest\"");
    cmd->since = SINCE_SEQ;
    if (epoch.p && cmd->epoch.p &&
        (epoch.len != cmd->epoch.len || memcmp(epoch.p, cmd->epoch.p, epoch.len) != 0))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "since and epoch name different epochs");
    if (epoch.p)
        cmd->epoch = epoch;
    return 0;
}

bool arguments_seq(struct command *cmd, struct text s)
{
    if (!read_seq(s.p, s.len, &cmd->since_seq))
        return false;
    cmd->since = SINCE_SEQ;
    return true;
}

int arguments_snapshot(struct command *cmd)
{
    cmd->snapshot = true;
    if (cmd->table.p && !arguments_is(cmd->table, "*"))
        return 0;
    return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "a snapshot is of one table: %s",
        cmd->table.p ? "name it instead of *" : "a channel has none");
}
