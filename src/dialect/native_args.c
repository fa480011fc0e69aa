#include "dialect/native_args.h"

#include "base/status.h"
#include "change/value.h"
#include "dialect/arguments.h"
#include "dialect/native.h"

json_t *native_argument(const struct command *cmd, const char *name)
{
    static const char *const places[] = {"data", "payload"};
    json_t *root = ((struct native_memory *)cmd->memory)->root;
    json_t *found = json_object_get(root, name);

    for (size_t i = 0; (!found || json_is_null(found)) && i < 2; i++)
        found = json_object_get(json_object_get(root, places[i]), name);
    return json_is_null(found) ? NULL : found;
}

int native_text(struct command *cmd, const char *name, struct text *to)
{
    json_t *j = native_argument(cmd, name);

    if (!j)
        return 0;
    if (!json_is_string(j))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s must be a string", name);
    *to = (struct text){json_string_value(j), json_string_length(j)};
    return 0;
}

int native_bool(struct command *cmd, const char *name, bool *to)
{
    json_t *j = native_argument(cmd, name);

    if (!j)
        return 0;
    if (!json_is_boolean(j))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s must be true or false", name);
    *to = json_is_true(j);
    return 0;
}

static void put_scalar(struct buf *out, const json_t *j)
{
    struct value v = {.type = VALUE_INTEGER};

    if (json_is_string(j)) {
        buf_put_json(out, json_string_value(j), json_string_length(j));
    } else if (json_is_integer(j)) {
        v.i = json_integer_value(j);
        value_put_json(out, &v);
    } else if (json_is_real(j)) {
        v.type = VALUE_REAL;
        v.r = json_get_real(j);
        value_put_json(out, &v);
    } else {
        buf_puts(out, json_is_true(j) ? "true" : json_is_false(j) ? "false" : "null");
    }
}

static void put_list(struct buf *out, const json_t *j)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < json_array_size(j); i++) {
        if (i)
            buf_putc(out, ',');
        native_put_json(out, json_array_get(j, i));
    }
    buf_putc(out, ']');
}

static void put_object(struct buf *out, const json_t *j)
{
    const char *name, *comma = "{";
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        buf_puts(out, comma);
        buf_put_json_text(out, name);
        buf_putc(out, ':');
        native_put_json(out, value);
        comma = ",";
    }
    buf_puts(out, *comma == '{' ? "{}" : "}");
}

void native_put_json(struct buf *out, const json_t *j)
{
    if (json_is_object(j))
        put_object(out, j);
    else if (json_is_array(j))
        put_list(out, j);
    else
        put_scalar(out, j);
}

int native_echo(
    struct command *cmd, const char *name, const json_t *j, struct buf *b, struct text *to)
{
    if (!j)
        return 0;
    if (json_is_object(j) || json_is_array(j))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "%s must not be an object or a list", name);
    b->max = NATIVE_ECHO_MAX;
    put_scalar(b, j);
    if (buf_error(b) == STATUS_NOMEM)
        return STATUS_NOMEM;
    if (buf_error(b))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "%s is longer than %d bytes", name, NATIVE_ECHO_MAX);
    *to = (struct text){b->data, b->len};
    return 0;
}
