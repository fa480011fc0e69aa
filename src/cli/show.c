#include "cli/show.h"
#include "cli/cell.h"
#include "cli/term.h"

#include <string.h>
#include <time.h>

#define VALUE_WIDTH 60

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static void put_name(struct buf *out, const char *name)
{
    term_put(out, name, strlen(name), 0);
}

static void put_time(struct buf *out, const json_t *message)
{
    json_int_t ms = json_integer_value(json_object_get(message, "timestamp"));
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (ms > 0 && localtime_r(&seconds, &tm))
        buf_printf(out, "%02d:%02d:%02d.%03d ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
}

/* id=1 a=2; with `old`, a member that differs there is shown as id=1→2. */
static void put_key(struct buf *out, json_t *key, const json_t *old)
{
    const char *name;
    json_t *value;

    json_object_foreach(key, name, value)
    {
        json_t *before = json_object_get(old, name);

        buf_putc(out, ' ');
        put_name(out, name);
        buf_putc(out, '=');
        if (before && !json_equal(before, value)) {
            cell_put(out, before, VALUE_WIDTH, true);
            buf_puts(out, "→");
        }
        cell_put(out, value, VALUE_WIDTH, true);
    }
}

/* The columns that are not in the key. */
static void put_row(struct buf *out, json_t *row, const json_t *key, bool colour)
{
    const char *name;
    json_t *value;

    json_object_foreach(row, name, value)
    {
        if (json_object_get(key, name))
            continue;
        buf_puts(out, "  ");
        term_put_style(out, colour, TERM_DIM);
        put_name(out, name);
        buf_putc(out, '=');
        term_put_plain(out, colour);
        cell_put(out, value, VALUE_WIDTH, true);
    }
}

static void put_differences(
    struct buf *out, json_t *row, const json_t *old, const json_t *key, bool colour)
{
    const char *name;
    json_t *value;
    size_t before = out->len;

    json_object_foreach(row, name, value)
    {
        json_t *previous = json_object_get(old, name);

        if (json_object_get(key, name) || (previous && json_equal(previous, value)))
            continue;
        buf_puts(out, "  ");
        term_put_style(out, colour, TERM_DIM);
        put_name(out, name);
        buf_putc(out, '=');
        term_put_plain(out, colour);
        if (previous) {
            cell_put(out, previous, VALUE_WIDTH, true);
            buf_puts(out, "→");
        }
        cell_put(out, value, VALUE_WIDTH, true);
    }
    if (out->len == before)
        buf_puts(out, "  (none of the columns shown)");
}

struct event {
    const char *name, *sign;
    enum term_style style;
};

static const struct event events[] = {
    {"INSERT", "+", TERM_GREEN},
    {"UPDATE", "~", TERM_YELLOW},
    {"DELETE", "-", TERM_RED},
    {"table:created", "+", TERM_BOLD},
    {"table:altered", "~", TERM_BOLD},
    {"table:dropped", "-", TERM_BOLD},
};

static const struct event *find_event(const char *name)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (strcmp(events[i].name, name) == 0)
            return &events[i];
    return NULL;
}

static void put_start(struct buf *out, const json_t *message, const struct event *event,
    const char *table, bool colour)
{
    put_time(out, message);
    term_put_style(out, colour, event->style);
    buf_printf(out, "%s %s", event->sign, event->name);
    term_put_plain(out, colour);
    buf_putc(out, ' ');
    term_put_style(out, colour, TERM_BOLD);
    put_name(out, table);
    term_put_plain(out, colour);
}

static void put_change(struct buf *out, const json_t *message, bool colour)
{
    const struct event *event = find_event(text_of(message, "event"));
    json_t *row = json_object_get(message, "data"), *key = json_object_get(message, "key");
    const char *transition = text_of(message, "transition");

    if (!event)
        return;
    put_start(out, message, event, text_of(message, "table"), colour);
    put_key(out, key, json_object_get(message, "oldKey"));
    if (strcmp(event->name, "UPDATE") == 0)
        put_differences(out, row, json_object_get(message, "old"), key, colour);
    else
        put_row(out, row, key, colour);
    if (strcmp(transition, "enter") == 0)
        buf_puts(out, "  (now matches the filter)");
    else if (strcmp(transition, "leave") == 0)
        buf_puts(out, "  (no longer matches the filter)");
    buf_putc(out, '\n');
}

static void put_columns(struct buf *out, const json_t *columns)
{
    size_t count = json_array_size(columns);

    if (count == 0)
        return;
    buf_putc(out, '(');
    for (size_t i = 0; i < count; i++) {
        const json_t *column = json_array_get(columns, i);
        const char *type = text_of(column, "type");

        if (i)
            buf_puts(out, ", ");
        put_name(out, text_of(column, "name"));
        if (*type)
            buf_putc(out, ' ');
        put_name(out, type);
    }
    buf_putc(out, ')');
}

static void put_ddl(struct buf *out, const json_t *message, bool colour)
{
    const struct event *event = find_event(text_of(message, "type"));
    const json_t *data = json_object_get(message, "data"),
                 *changes = json_object_get(data, "changes");
    const json_t *renamed = json_object_get(changes, "renamed");
    const char *from = text_of(changes, "renamedFrom");

    put_start(out, message, event, text_of(data, "tableName"), colour);
    put_columns(out, json_object_get(changes, "columns"));
    if (*from) {
        buf_puts(out, "  renamed from ");
        put_name(out, from);
    }
    for (size_t i = 0; i < json_array_size(renamed); i++) {
        buf_puts(out, "  column ");
        put_name(out, text_of(json_array_get(renamed, i), "from"));
        buf_puts(out, "→");
        put_name(out, text_of(json_array_get(renamed, i), "to"));
    }
    buf_putc(out, '\n');
}

static void put_snapshot(struct buf *out, const json_t *message, bool colour)
{
    static const struct event row_event = {"ROW", "=", TERM_DIM};
    const json_t *rows = json_object_get(json_object_get(message, "data"), "rows");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        json_t *key = json_object_get(row, "key");

        put_start(out, message, &row_event, text_of(message, "table"), colour);
        put_key(out, key, NULL);
        put_row(out, json_object_get(row, "data"), key, colour);
        buf_putc(out, '\n');
    }
}

const char *show_reason(const json_t *message)
{
    const char *reason = text_of(message, "reason");

    return *reason ? reason : text_of(json_object_get(message, "data"), "reason");
}

void show_put_reason(struct buf *out, const json_t *message)
{
    static const struct {
        const char *reason, *words;
    } reasons[] = {
        {"slow_consumer", "this client read too slowly"},
        {"history_lost", "the server does not keep them for so long"},
        {"epoch_changed", "the server's history began anew"},
        {"future", "the server has not come so far yet"},
        {"capture_gap", "the server could not read what another program wrote"},
        {"schema_changed", "the table was another then"},
        {"rowids_renumbered", "VACUUM gave the rows other rowids"},
        {"snapshot_timeout", "reading the rows took longer than the server's --snapshot-timeout"},
        {"snapshot_failed", "the server could not read the rows; its log says why"},
    };
    const char *reason = show_reason(message);

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (strcmp(reasons[i].reason, reason) == 0)
            buf_printf(out, "%s ", reasons[i].words);
    buf_putc(out, '(');
    put_name(out, *reason ? reason : "no reason given");
    buf_putc(out, ')');
}

static void put_resync(struct buf *out, const json_t *message, bool colour)
{
    bool rows = strncmp(show_reason(message), "snapshot_", 9) == 0;

    put_time(out, message);
    term_put_style(out, colour, TERM_RED);
    buf_printf(out, "! resync: %s are missing here: ", rows ? "rows" : "changes");
    show_put_reason(out, message);
    term_put_plain(out, colour);
    buf_putc(out, '\n');
}

bool show_wants(const json_t *message)
{
    static const char *const types[] = {"database_change", "changes", "snapshot", "resync"};
    const char *type = text_of(message, "type");

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return strncmp(type, "table:", 6) == 0 && find_event(type);
}

void show_put(struct buf *out, json_t *message, bool colour)
{
    const char *type = text_of(message, "type");
    const json_t *changes = json_object_get(message, "changes");

    if (strcmp(type, "database_change") == 0)
        put_change(out, message, colour);
    else if (strcmp(type, "snapshot") == 0)
        put_snapshot(out, message, colour);
    else if (strcmp(type, "resync") == 0)
        put_resync(out, message, colour);
    else if (find_event(type))
        put_ddl(out, message, colour);
    for (size_t i = 0; i < json_array_size(changes); i++)
        put_change(out, json_array_get(changes, i), colour);
}
