#include "cli/send.h"
#include "base/json.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/input.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 10000

const struct option_row send_option_rows[] = {
    TARGET_OPTIONS,
    {"timeout", "SECONDS", "give up waiting for an answer; default 10", OPTION_DURATION,
        offsetof(struct send_options, timeout_ms), 1, 86400000},
    {NULL},
};

const char send_help[] =
    "Sends a message to all clients that hear a channel, and prints to how many. TYPE is the\n"
    "type that the message has for them; JSON is its data, - reads that from standard input,\n"
    "and without it the data is null. Everyone hears the channel notifications.\n"
    "\n"
    "Examples:\n"
    "  rowtap send notifications maintenance '{\"at\":\"22:00\"}'\n"
    "  rowtap send room:7 say '\"hello\"'\n"
    "  jq -c . news.json | rowtap send news published -\n";

static int usage(const char *message)
{
    fprintf(stderr, "rowtap send: %s\ntry: rowtap help send\n", message);
    return 2;
}

/* The text is put into the request as it is, so it has to be one JSON value. */
static bool check(const struct buf *data, struct buf *err)
{
    char why[128];
    json_t *value = json_read(data->data ? data->data : "", data->len, why, sizeof(why));
    bool good = value;

    if (!good)
        buf_printf(err, "the data is not JSON: %s; a text needs its quotes: '\"hello\"'", why);
    json_decref(value);
    return good;
}

static void put_request(
    struct buf *out, const char *channel, const char *type, const struct buf *data)
{
    buf_puts(out, "{\"channel\":");
    buf_put_json_text(out, channel);
    buf_puts(out, ",\"type\":");
    buf_put_json_text(out, type);
    buf_puts(out, ",\"data\":");
    buf_put(out, data->data, data->len);
    buf_putc(out, '}');
}

static int print(const struct buf *answer, struct buf *err)
{
    char why[128];
    json_t *top = json_read(answer->data ? answer->data : "", answer->len, why, sizeof(why));
    json_t *delivered = json_object_get(top, "delivered");
    long long count = json_integer_value(delivered);
    bool good = json_is_integer(delivered);

    if (good)
        printf("delivered to %lld %s%s\n", count, count == 1 ? "client" : "clients",
            json_object_get(top, "pending") ? " so far" : "");
    else
        buf_puts(err, "the answer makes no sense; is it a rowtap server?");
    json_decref(top);
    if (good && fflush(stdout) != 0)
        buf_puts(err, "cannot write to standard output");
    return err->len ? STATUS_IO : 0;
}

static int run(struct send_options *o, char **argv, const struct buf *data, struct buf *err)
{
    struct buf body = {0}, answer = {0};
    struct client *c = client_new(&o->target, o->timeout_ms ? o->timeout_ms : TIMEOUT_MS, err);
    int status = STATUS_NOMEM, http;

    if (c) {
        put_request(&body, argv[0], argv[1], data);
        http = client_request(c, "/api/ws/broadcast", &body, &answer, err);
        status = http < 0 ? http : STATUS_INVALID;
        if (http == 200)
            status = print(&answer, err);
        else if (http > 0)
            client_explain(c, http, &answer, NULL, err);
    }
    client_free(c);
    buf_fini(&body);
    buf_fini(&answer);
    return status;
}

int send_run(const void *options, int argc, char **argv)
{
    struct send_options o = *(const struct send_options *)options;
    struct buf data = {0}, err = {0};
    bool input = argc > 2 && strcmp(argv[2], "-") == 0;
    int status;

    if (argc < 2)
        return usage("name a channel and a type, as in: rowtap send notifications hello");
    if (input && input_read_all(&data) < 0) {
        buf_fini(&data);
        return 1;
    }
    if (!input)
        buf_puts(&data, argc > 2 ? argv[2] : "null");
    if (buf_error(&data)) {
        term_error("out of memory");
        status = 1;
    } else if (!check(&data, &err)) {
        const char *why = buf_text(&err) ? buf_text(&err) : "out of memory";

        status = input ? 1 : usage(why);
        if (input)
            term_error(why);
    } else {
        status = run(&o, argv, &data, &err) < 0;
        if (status)
            term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
    }
    buf_fini(&data);
    buf_fini(&err);
    return status;
}
