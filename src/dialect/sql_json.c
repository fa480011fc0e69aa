#include "dialect/sql_json.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/sql_scan.h"

#include <string.h>

static void put_place(struct buf *err, const struct sql_json_place *at)
{
    if (at->item >= 0)
        buf_printf(err, "%s[%d].", at->list, at->item);
    buf_puts(err, at->member);
    if (at->name)
        buf_printf(err, ".%.60s", at->name);
    else if (at->index >= 0)
        buf_printf(err, "[%d]", at->index);
}

static int wrong(struct buf *err, const struct sql_json_place *at, const char *what)
{
    put_place(err, at);
    buf_puts(err, what);
    return STATUS_INVALID;
}

const char *sql_json_type(const json_t *j)
{
    static const char *const names[] = {[JSON_OBJECT] = "an object",
        [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",
        [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",
        [JSON_NULL] = "null"};

    return names[json_typeof(j)];
}

static int bind_blob(struct sql_statement *s, const char *name, json_t *j,
    const struct sql_json_place *at, struct buf *err)
{
    json_t *text = json_object_get(j, "$base64");
    struct buf bytes = {0};
    struct value v = {.type = VALUE_BLOB};
    int rc;

    if (json_object_size(j) != 1 || !json_is_string(text))
        return wrong(err, at,
            " is an object; values are numbers, strings, true, false, null and "
            "{\"$base64\":\"…\"}");
    rc = base64_decode(&bytes, json_string_value(text), json_string_length(text));
    if (rc == STATUS_INVALID)
        wrong(err, at, " is not valid base64");
    if (rc == 0) {
        v.p = bytes.data;
        v.len = (uint32_t)bytes.len;
        rc = sql_statement_bind(s, name, &v);
    }
    buf_fini(&bytes);
    return rc;
}

int sql_json_bind(struct sql_statement *s, const char *name, json_t *j,
    const struct sql_json_place *at, struct buf *err)
{
    struct value v = {.type = VALUE_NULL};

    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return bind_blob(s, name, j, at, err);
    case JSON_ARRAY:
        return wrong(err, at,
            " is an array; values are numbers, strings, true, false, null and {\"$base64\":\"…\"}");
    case JSON_STRING:
        v.type = VALUE_TEXT;
        v.p = json_string_value(j);
        v.len = (uint32_t)json_string_length(j);
        break;
    case JSON_REAL:
        v.type = VALUE_REAL;
        v.r = json_get_real(j);
        break;
    case JSON_INTEGER:
        v.type = VALUE_INTEGER;
        v.i = json_integer_value(j);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v.type = VALUE_INTEGER;
        v.i = json_is_true(j);
        break;
    case JSON_NULL:
        break;
    }
    return sql_statement_bind(s, name, &v);
}

static int read_params(
    struct sql_statement *s, json_t *params, const struct sql_json_place *place, struct buf *err)
{
    struct sql_json_place at = *place;
    const char *name;
    json_t *value;
    size_t i;
    int rc = 0;

    at.member = "params";
    if (json_is_array(params)) {
        json_array_foreach(params, i, value)
        {
            at.index = (int)i;
            rc = sql_json_bind(s, NULL, value, &at, err);
            if (rc < 0)
                return rc;
        }
        return 0;
    }
    if (!json_is_object(params)) {
        put_place(err, &at);
        buf_printf(err, " is %s; it must be an array, or an object for named parameters",
            sql_json_type(params));
        return STATUS_INVALID;
    }
    s->named = true;
    json_object_foreach(params, name, value)
    {
        at.name = name;
        rc = sql_json_bind(s, name + (*name && strchr(":@$", *name) ? 1 : 0), value, &at, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* True when every member of the object is one of the two; otherwise says which is not. */
static bool known_members(
    json_t *object, int statement, const char *a, const char *b, const char *c, struct buf *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (strcmp(name, a) == 0 || strcmp(name, b) == 0 || (c && strcmp(name, c) == 0))
            continue;
        if (statement >= 0)
            buf_printf(err, "statements[%d]: ", statement);
        buf_printf(err, "unknown member \"%.60s\"; known are \"%s\" and \"%s\"", name, a, b);
        if (c)
            buf_printf(err, ", or \"%s\"", c);
        return false;
    }
    return true;
}

int sql_json_statement(
    struct sql_request *r, json_t *object, const char *list, int item, struct buf *err)
{
    struct sql_json_place at = {.list = list, .item = item, .index = -1, .member = "sql"};
    json_t *sql = json_object_get(object, "sql"), *params = json_object_get(object, "params");
    struct sql_statement *s;

    if (!sql)
        return wrong(err, &at, " is missing");
    if (!json_is_string(sql)) {
        put_place(err, &at);
        buf_printf(err, " is %s; it must be a string", sql_json_type(sql));
        return STATUS_INVALID;
    }
    if (memchr(json_string_value(sql), '\0', json_string_length(sql)))
        return wrong(err, &at, " contains a NUL character");
    s = sql_request_add(r, json_string_value(sql), json_string_length(sql));
    if (!s)
        return STATUS_NOMEM;
    return params ? read_params(s, params, &at, err) : 0;
}

static int read_transaction(struct sql_request *r, json_t *statements, struct buf *err)
{
    json_t *object;
    size_t i;

    if (!json_is_array(statements) || json_array_size(statements) == 0) {
        buf_puts(err, "statements must be an array of at least one {\"sql\":…,\"params\":…}");
        return STATUS_INVALID;
    }
    r->transaction = true;
    json_array_foreach(statements, i, object)
    {
        int rc;

        if (!json_is_object(object)) {
            buf_printf(err, "statements[%zu] is %s; it must be an object {\"sql\":…,\"params\":…}",
                i, sql_json_type(object));
            return STATUS_INVALID;
        }
        if (!known_members(object, (int)i, "sql", "params", NULL, err))
            return STATUS_INVALID;
        rc = sql_json_statement(r, object, "statements", (int)i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Takes "wait" and "waitMs" out of the object. */
static int take_wait(json_t *root, int64_t *wait_ms, struct buf *err)
{
    json_t *wait = json_object_get(root, "wait"), *ms = json_object_get(root, "waitMs");

    *wait_ms = -1;
    if (wait && (!json_is_string(wait) || strcmp(json_string_value(wait), "delivered") != 0)) {
        buf_puts(err, "wait must be \"delivered\"");
        return STATUS_INVALID;
    }
    if (ms && (!wait || !json_is_integer(ms) || json_integer_value(ms) < 0 ||
                  json_integer_value(ms) > SQL_JSON_WAIT_MAX)) {
        buf_printf(err,
            "waitMs must be a whole number of milliseconds from 0 to %d, and goes with wait",
            SQL_JSON_WAIT_MAX);
        return STATUS_INVALID;
    }
    if (wait)
        *wait_ms = ms ? json_integer_value(ms) : SQL_JSON_WAIT_MS;
    json_object_del(root, "wait");
    json_object_del(root, "waitMs");
    return 0;
}

int sql_json_request(struct sql_request *r, json_t *root, struct buf *err)
{
    json_t *statements;

    if (!known_members(root, -1, "sql", "params", "statements", err))
        return STATUS_INVALID;
    statements = json_object_get(root, "statements");
    if (!statements)
        return sql_json_statement(r, root, NULL, -1, err);
    if (json_object_size(root) != 1) {
        buf_puts(err, "statements stands alone: put sql and params into its items");
        return STATUS_INVALID;
    }
    return read_transaction(r, statements, err);
}

json_t *sql_json_body(const char *text, size_t len, const char *example, struct buf *err)
{
    char message[256] = "";
    json_t *root;

    if (!utf8_valid(text, len)) {
        buf_puts(err, "the body is not UTF-8");
        return NULL;
    }
    root = json_read(text, len, message, sizeof(message));
    if (!root) {
        buf_printf(err, "the body is not JSON: %s", message);
    } else if (!json_is_object(root)) {
        buf_printf(
            err, "the body is %s; it must be an object such as %s", sql_json_type(root), example);
        json_decref(root);
        root = NULL;
    }
    return root;
}

int sql_json_read(
    struct sql_request *r, const char *text, size_t len, int64_t *wait_ms, struct buf *err)
{
    int rc = sql_scan(r, text, len, wait_ms);
    json_t *root;

    if (rc != STATUS_INVALID)
        return rc;
    root = sql_json_body(text, len, "{\"sql\":\"SELECT 1\"}", err);
    if (!root)
        return STATUS_INVALID;
    rc = take_wait(root, wait_ms, err);
    if (rc == 0)
        rc = sql_json_request(r, root, err);
    json_decref(root);
    return rc;
}

void sql_json_put_error(struct buf *out, const struct sql_error *e)
{
    buf_puts(out, "{\"error\":{");
    sql_json_put_error_members(out, e, "statement");
    buf_puts(out, "}}");
}

void sql_json_put_error_members(struct buf *out, const struct sql_error *e, const char *item)
{
    buf_printf(out, "\"code\":\"%s\",\"message\":", e->code);
    buf_put_json_text(out, e->message);
    if (e->sqlite_code)
        buf_printf(out, ",\"sqliteCode\":%d", e->sqlite_code);
    if (e->offset >= 0)
        buf_printf(out, ",\"offset\":%d", e->offset);
    if (e->statement >= 0)
        buf_printf(out, ",\"%s\":%d", item, e->statement);
    if (e->has_seq) {
        buf_puts(out, ",\"seq\":");
        buf_put_u64(out, e->seq);
    }
}
