#include "fuzz_same.h"

#include "capture/database.h"
#include "hub/sync.h"
#include <string.h>

static bool same_text(struct text a, struct text b)
{
    return !a.p == !b.p && a.len == b.len && (!a.len || memcmp(a.p, b.p, a.len) == 0);
}

static bool same_string(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(const char *const *a, const size_t *a_lens, int a_count, const char *const *b,
    const size_t *b_lens, int b_count)
{
    if (a_count != b_count)
        return false;
    for (int i = 0; i < a_count; i++)
        if (!same_text((struct text){a[i], a_lens[i]}, (struct text){b[i], b_lens[i]}))
            return false;
    return true;
}

static bool same_statement(const struct sql_statement *a, const struct sql_statement *b)
{
    if (a->len != b->len || memcmp(a->sql, b->sql, a->len) != 0 || a->named != b->named ||
        a->param_count != b->param_count)
        return false;
    for (int i = 0; i < a->param_count; i++)
        if (!same_string(a->params[i].name, b->params[i].name) ||
            !value_same(&a->params[i].value, &b->params[i].value))
            return false;
    return true;
}

bool fuzz_same_sql(const struct sql_request *a, const struct sql_request *b)
{
    if (!a || !b)
        return a == b;
    if (a->transaction != b->transaction || a->statement_count != b->statement_count)
        return false;
    for (int i = 0; i < a->statement_count; i++)
        if (!same_statement(&a->statements[i], &b->statements[i]))
            return false;
    return true;
}

static bool same_operation(const struct sync_operation *a, const struct sync_operation *b)
{
    if (a->kind != b->kind || !same_text(a->table, b->table) || a->data_count != b->data_count ||
        a->key_count != b->key_count)
        return false;
    for (int i = 0; i < a->data_count + a->key_count; i++)
        if (!same_text(a->names[i], b->names[i]))
            return false;
    return true;
}

static bool same_sync(const struct sync *a, const struct sync *b)
{
    if (!a || !b)
        return a == b;
    if (a->count != b->count || !fuzz_same_sql(&a->sql, &b->sql))
        return false;
    for (int i = 0; i < a->count; i++)
        if (!same_operation(&a->operations[i], &b->operations[i]))
            return false;
    return true;
}

static bool same_subscription(const struct command *a, const struct command *b)
{
    return a->since == b->since && a->since_seq == b->since_seq && same_text(a->epoch, b->epoch) &&
           a->events == b->events && a->has_filter == b->has_filter &&
           a->has_columns == b->has_columns && a->self == b->self && a->batch == b->batch &&
           a->snapshot == b->snapshot && a->limit == b->limit && a->wait_ms == b->wait_ms &&
           same_list(a->filters, a->filter_lens, a->filter_count, b->filters, b->filter_lens,
               b->filter_count) &&
           same_list(a->columns, a->column_lens, a->column_count, b->columns, b->column_lens,
               b->column_count);
}

bool fuzz_same_command(const struct command *a, const struct command *b)
{
    if (!same_string(a->error.code, b->error.code) ||
        strcmp(a->error.message, b->error.message) != 0 || a->error.busy != b->error.busy ||
        !same_text(a->request_id, b->request_id))
        return false;
    if (a->error.code) /* nothing else is looked at */
        return true;
    return a->type == b->type && same_text(a->table, b->table) &&
           same_text(a->channel, b->channel) && same_text(a->subscription, b->subscription) &&
           same_text(a->sent_at, b->sent_at) && same_text(a->event, b->event) &&
           same_text(a->data, b->data) && same_text(a->query_id, b->query_id) &&
           same_text(a->token, b->token) && a->report == b->report &&
           a->report_limit == b->report_limit && same_subscription(a, b) &&
           fuzz_same_sql(a->sql, b->sql) && same_sync(a->sync, b->sync);
}
