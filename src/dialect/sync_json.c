#include "dialect/sync_json.h"

#include "base/status.h"
#include "base/text.h"
#include "dialect/sql_json.h"

#include <string.h>

static int wrong(struct buf *err, size_t i, const char *what)
{
    buf_printf(err, "operations[%zu]%s", i, what);
    return STATUS_INVALID;
}

static int kind_of(json_t *object, size_t i, enum sync_kind *kind, struct buf *err)
{
    static const char *const names[] = {
        [SYNC_INSERT] = "INSERT", [SYNC_UPDATE] = "UPDATE", [SYNC_DELETE] = "DELETE"};
    json_t *type = json_object_get(object, "type");

    *kind = SYNC_SQL;
    if (!type && json_object_get(object, "sql"))
        return 0;
    for (size_t k = SYNC_INSERT; json_is_string(type) && k < sizeof(names) / sizeof(*names); k++) {
        if (text_casecmp(json_string_value(type), names[k]) == 0) {
            *kind = (enum sync_kind)k;
            return 0;
        }
    }
    return wrong(err, i, ".type must be INSERT, UPDATE or DELETE; or give \"sql\" and \"params\"");
}

/* Which members an operation may have, and which of them it must. */
static int check_members(json_t *object, size_t i, enum sync_kind kind, struct buf *err)
{
    static const struct {
        const char *name;
        unsigned kinds;
    } members[] = {
        {"type", 1u << SYNC_INSERT | 1u << SYNC_UPDATE | 1u << SYNC_DELETE},
        {"table", 1u << SYNC_INSERT | 1u << SYNC_UPDATE | 1u << SYNC_DELETE},
        {"data", 1u << SYNC_INSERT | 1u << SYNC_UPDATE},
        {"key", 1u << SYNC_UPDATE | 1u << SYNC_DELETE},
        {"where", 1u << SYNC_UPDATE | 1u << SYNC_DELETE},
        {"sql", 1u << SYNC_SQL},
        {"params", 1u << SYNC_SQL},
    };
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        size_t k = 0;

        while (k < sizeof(members) / sizeof(*members) && strcmp(members[k].name, name) != 0)
            k++;
        if (k < sizeof(members) / sizeof(*members) && members[k].kinds >> kind & 1)
            continue;
        buf_printf(err, "operations[%zu]: \"%.60s\" is not a member of such an operation", i, name);
        return STATUS_INVALID;
    }
    return 0;
}

static int read_columns(
    struct sync *s, size_t i, const char *member, json_t *object, int *count, struct buf *err)
{
    struct sync_operation *op = &s->operations[s->count - 1];
    struct sql_statement *statement = &s->sql.statements[s->sql.statement_count - 1];
    struct sql_json_place at = {
        .list = "operations", .item = (int)i, .index = -1, .member = member};
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        int rc;

        at.name = name;
        op->names[op->data_count + op->key_count] = (struct text){name, strlen(name)};
        rc = sql_json_bind(statement, NULL, value, &at, err);
        if (rc < 0)
            return rc;
        ++*count;
    }
    return 0;
}

/* The objects that an operation of this kind needs. */
static int find_parts(
    json_t *object, size_t i, enum sync_kind kind, json_t **data, json_t **key, struct buf *err)
{
    json_t *where = json_object_get(object, "where");

    *data = json_object_get(object, "data");
    *key = json_object_get(object, "key");
    if (*key && where)
        return wrong(err, i, ": key and where are the same, give one");
    *key = *key ? *key : where;
    if (kind != SYNC_DELETE && !json_is_object(*data))
        return wrong(err, i, ".data must be an object of columns and their values");
    if (kind == SYNC_UPDATE && json_object_size(*data) == 0)
        return wrong(err, i, ".data has no columns to set");
    if (kind != SYNC_INSERT && (!json_is_object(*key) || json_object_size(*key) == 0))
        return wrong(err, i,
            ".key (or where) must be an object of columns and values that says which rows; for all "
            "of them use \"sql\"");
    return 0;
}

static int read_row(struct sync *s, json_t *object, size_t i, enum sync_kind kind, struct buf *err)
{
    json_t *table = json_object_get(object, "table"), *data, *key;
    struct sync_operation *op;
    int rc = find_parts(object, i, kind, &data, &key, err);

    if (rc < 0)
        return rc;
    if (!json_is_string(table))
        return wrong(err, i, ".table must be the name of a table");
    op = sync_add(s, kind, json_object_size(data) + json_object_size(key));
    if (!op || !sql_request_add(&s->sql, "", 0))
        return STATUS_NOMEM;
    op->table = (struct text){json_string_value(table), json_string_length(table)};
    rc = read_columns(s, i, "data", data, &op->data_count, err);
    if (rc == 0)
        rc = read_columns(s, i, "key", key, &op->key_count, err);
    return rc;
}

int sync_json_read(struct sync *s, json_t *operations, struct buf *err)
{
    json_t *object;
    size_t i;

    if (!json_is_array(operations)) {
        buf_puts(err, operations ? "operations must be a list" : "operations is missing");
        return STATUS_INVALID;
    }
    json_array_foreach(operations, i, object)
    {
        enum sync_kind kind;
        int rc;

        if (!json_is_object(object))
            return wrong(err, i, " must be an object");
        rc = kind_of(object, i, &kind, err);
        if (rc == 0)
            rc = check_members(object, i, kind, err);
        if (rc == 0 && kind != SYNC_SQL)
            rc = read_row(s, object, i, kind, err);
        else if (rc == 0)
            rc = sync_add(s, kind, 0)
                     ? sql_json_statement(&s->sql, object, "operations", (int)i, err)
                     : STATUS_NOMEM;
        if (rc < 0)
            return rc;
    }
    return 0;
}

void sync_json_put_outcome(struct buf *out, const struct sql_request *r)
{
    if (!r->error.code[0]) {
        buf_puts(out, "\"success\":true,");
        buf_put(out, r->json.data + 1, r->json.len - 2);
        if (buf_error(&r->json))
            out->err = buf_error(&r->json);
        return;
    }
    buf_puts(out, "\"success\":false,\"results\":[],\"error\":{");
    sql_json_put_error_members(out, &r->error, "operation");
    buf_putc(out, '}');
}
