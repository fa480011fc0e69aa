#include "hub/subscription.h"

#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

static size_t text_size(const size_t *lens, int count)
{
    size_t sum = 0;

    for (int i = 0; i < count; i++) {
        if (lens[i] > SUBSCRIPTION_MAX_TEXT || sum > SUBSCRIPTION_MAX_TEXT)
            return SUBSCRIPTION_MAX_TEXT + 1;
        sum += lens[i] + sizeof(uint16_t);
    }
    return sum;
}

static char *copy_texts(char *to, const char *const *texts, const size_t *lens, int count)
{
    for (int i = 0; i < count; i++) {
        uint16_t len = (uint16_t)lens[i];

        memcpy(to, &len, sizeof(len));
        memcpy(to + sizeof(len), texts[i], len);
        to += sizeof(len) + len;
    }
    return to;
}

struct subscription *subscription_new(
    struct session *session, const struct command *cmd, int *status)
{
    size_t len = text_size(cmd->filter_lens, cmd->filter_count) +
                 text_size(cmd->column_lens, cmd->column_count);
    struct subscription *s;

    *status = STATUS_TOO_LARGE;
    if (len > SUBSCRIPTION_MAX_TEXT || cmd->filter_count > FILTER_MAX_TERMS)
        return NULL;
    *status = STATUS_NOMEM;
    s = mem_zalloc(offsetof(struct subscription, text) + len);
    if (!s)
        return NULL;
    *status = 0;
    s->session = session;
    list_init(&s->node);
    s->events = (uint8_t)cmd->events;
    s->self = cmd->self;
    s->batch = cmd->batch;
    s->filter_count = (uint8_t)cmd->filter_count;
    s->column_count = (uint16_t)cmd->column_count;
    s->text_len = (uint16_t)len;
    copy_texts(copy_texts(s->text, cmd->filters, cmd->filter_lens, cmd->filter_count), cmd->columns,
        cmd->column_lens, cmd->column_count);
    return s;
}

void subscription_free(struct subscription *s)
{
    mem_free(s);
}

struct text subscription_text(const struct subscription *s, size_t *pos)
{
    uint16_t len;
    struct text t;

    memcpy(&len, s->text + *pos, sizeof(len));
    t = (struct text){s->text + *pos + sizeof(len), len};
    *pos += sizeof(len) + len;
    return t;
}

struct filter *subscription_filter(const struct subscription *s, const struct table *table,
    const struct grant *g, struct error_text *err, int *status)
{
    const char *texts[FILTER_MAX_TERMS];
    size_t lens[FILTER_MAX_TERMS], pos = 0;
    struct filter *f;

    for (int i = 0; i < s->filter_count; i++) {
        struct text t = subscription_text(s, &pos);

        texts[i] = t.p;
        lens[i] = t.len;
    }
    *err = (struct error_text){0};
    f = grant_filter(
        g, table, texts, lens, s->filter_count, err->message, sizeof(err->message), status);
    if (!f)
        err->code = *status == STATUS_TOO_LARGE ? ERROR_LIMIT_EXCEEDED : ERROR_INVALID_FILTER;
    return f;
}

int subscription_columns(const struct subscription *s, const struct table *table,
    const struct grant *g, uint64_t *bits, bool *all, struct error_text *err)
{
    size_t pos = 0;
    int distinct = 0;

    for (int i = 0; i < s->filter_count; i++)
        subscription_text(s, &pos);
    for (int i = 0; i < s->column_count; i++) {
        struct text t = subscription_text(s, &pos);
        int column = table_column(table, t.p, t.len);

        if (column < 0 || !grant_column(g, column)) {
            err->code = ERROR_NOT_FOUND;
            snprintf(err->message, sizeof(err->message), "no such column: %s.%.*s", table->name,
                (int)(t.len < 128 ? t.len : 128), t.p);
            return STATUS_INVALID;
        }
        distinct += !(bits[column / 64] >> (column % 64) & 1);
        bits[column / 64] |= UINT64_C(1) << (column % 64);
    }
    for (int i = 0; s->column_count == 0 && i < table->column_count; i++)
        if (grant_column(g, i)) {
            bits[i / 64] |= UINT64_C(1) << (i % 64);
            distinct++;
        }
    *all = distinct == table->column_count;
    return 0;
}
