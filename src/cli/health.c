#include "cli/health.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/cell.h"
#include "cli/client.h"
#include "cli/term.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS 10000

const struct option_row health_option_rows[] = {
    TARGET_OPTIONS,
    {"format", "text|json", "lines to read, or the server's answer as it came", OPTION_CHOICE,
        offsetof(struct health_options, format)},
    {"timeout", "SECONDS", "give up waiting for an answer; default 10", OPTION_DURATION,
        offsetof(struct health_options, timeout_ms), 1, 86400000},
    {NULL},
};

const char health_help[] =
    "Asks the server whether it is well. The exit status is 0 when it is, 1 when it is not or\n"
    "cannot be reached, so that it can be used in scripts and container checks.\n"
    "\n"
    "Examples:\n"
    "  rowtap health\n"
    "  rowtap health --url https://db.example.org --format json\n";

const char health_status_help[] =
    "Shows what the server is doing: connections, latency, sizes. The exit status is 0 when the\n"
    "server is well, 1 when it is not or cannot be reached.\n"
    "\n"
    "Examples:\n"
    "  rowtap status\n"
    "  rowtap status --format json | jq .activeConnections\n";

#define LABEL_WIDTH 26

/* journalMode -> "Journal mode:". Returns its width, the indent not counted. */
static size_t put_label(struct buf *out, const char *name, size_t indent)
{
    size_t before;

    buf_printf(out, "%*s", (int)indent, "");
    before = out->len;
    for (const char *p = name; *p; p++) {
        bool upper = *p >= 'A' && *p <= 'Z';

        if (p == name && *p >= 'a' && *p <= 'z')
            buf_putc(out, (char)(*p - 'a' + 'A'));
        else if (upper && p > name)
            buf_printf(out, " %c", text_lower(*p));
        else
            term_put(out, p, 1, 0);
    }
    buf_putc(out, ':');
    return out->len - before;
}

static void put_duration(struct buf *out, double seconds)
{
    long long s = (long long)seconds;

    if (s >= 86400)
        buf_printf(out, "%lld d ", s / 86400);
    if (s >= 3600)
        buf_printf(out, "%lld h ", s / 3600 % 24);
    if (s >= 60)
        buf_printf(out, "%lld min ", s / 60 % 60);
    buf_printf(out, "%lld s", s % 60);
}

static void put_value(struct buf *out, const char *name, json_t *value)
{
    if (strcmp(name, "uptime") == 0 && json_is_number(value)) {
        put_duration(out, json_number_value(value));
    } else if (json_is_boolean(value)) {
        buf_puts(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_null(value)) {
        buf_putc(out, '-');
    } else if (strcmp(name, "averageLatency") == 0 && json_is_number(value)) {
        buf_printf(out, "%.2f ms", json_number_value(value));
    } else {
        cell_put(out, value, 0, false);
    }
}

static void put_lines(struct buf *out, json_t *object, size_t indent)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        size_t width = put_label(out, name, indent);

        if (json_is_object(value) && indent < 8) {
            buf_putc(out, '\n');
            put_lines(out, value, indent + 2);
            continue;
        }
        buf_printf(out, "%*s", width < LABEL_WIDTH ? (int)(LABEL_WIDTH - width) : 1, "");
        put_value(out, name, value);
        buf_putc(out, '\n');
    }
}

static int print(
    const struct health_options *o, const struct client *c, int http, const struct buf *answer)
{
    char why[128];
    json_t *top = json_read(answer->data ? answer->data : "", answer->len, why, sizeof(why));
    const char *health = json_string_value(json_object_get(top, "status"));
    struct buf out = {0};
    int status =
        http == 200 && json_is_object(top) && (!health || strcmp(health, "ok") == 0) ? 0 : 1;

    if (!json_is_object(top) || json_object_get(top, "error")) {
        struct buf err = {0};

        client_explain(c, http, answer, NULL, &err);
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
        buf_fini(&err);
    } else {
        if (o->format == 1) {
            buf_put(&out, answer->data, answer->len);
            buf_putc(&out, '\n');
        } else {
            put_lines(&out, top, 0);
        }
        if (term_flush(&out) == STATUS_IO)
            status = 1;
    }
    json_decref(top);
    buf_fini(&out);
    return status;
}

static int ask(const void *options, const char *path)
{
    struct health_options o = *(const struct health_options *)options;
    struct buf answer = {0}, err = {0};
    struct client *c = client_new(&o.target, o.timeout_ms ? o.timeout_ms : TIMEOUT_MS, &err);
    int status = 1, http = c ? client_request(c, path, NULL, &answer, &err) : STATUS_NOMEM;

    if (http < 0)
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
    else
        status = print(&o, c, http, &answer);
    client_free(c);
    buf_fini(&answer);
    buf_fini(&err);
    return status;
}

int health_run(const void *options, int argc, char **argv)
{
    (void)argc, (void)argv;
    return ask(options, "/health");
}

int health_run_status(const void *options, int argc, char **argv)
{
    (void)argc, (void)argv;
    return ask(options, "/api/websocket/health");
}
