#include "cli/watch.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/show.h"
#include "cli/term.h"
#include "cli/ws_client.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_TIMEOUT_MS 10000
#define RETRY_FIRST_MS 250
#define RETRY_MAX_MS 10000
#define FLUSH_SIZE 65536

const struct option_row watch_option_rows[] = {
    TARGET_OPTIONS,
    {"filter", "F", "only rows that match, as 'age >= 18'; several must all match", OPTION_LIST,
        offsetof(struct watch_options, filters)},
    {"events", "LIST", "only these: insert,update,delete", OPTION_TEXT,
        offsetof(struct watch_options, events)},
    {"columns", "LIST", "only these columns: a,b", OPTION_TEXT,
        offsetof(struct watch_options, columns)},
    {"since", "SEQ", "first what came after SEQ (a number, EPOCH:SEQ, earliest)", OPTION_TEXT,
        offsetof(struct watch_options, since)},
    {"snapshot", NULL, "first the rows that are there", OPTION_FLAG,
        offsetof(struct watch_options, snapshot)},
    {"format", "pretty|json", "lines to read, or the server's messages as they came", OPTION_CHOICE,
        offsetof(struct watch_options, format)},
    {NULL},
};

const char watch_help[] =
    "Prints changes as they are committed: of one table, or without TABLE of all tables, and\n"
    "then also what becomes of the tables themselves. ^C ends it. It connects again by itself\n"
    "when the connection is lost and goes on where it was, if the server still has the changes.\n"
    "\n"
    "--snapshot prints the rows that are there first, all of one moment, and then every change\n"
    "after it. Where changes were lost it prints the rows again. With --since as well it prints\n"
    "the rows only where the changes since then cannot be had.\n"
    "\n"
    "--filter takes column = value, also != < <= > >=, in (a,b,c), is null, is not null.\n"
    "\n"
    "Examples:\n"
    "  rowtap watch users\n"
    "  rowtap watch users --filter 'age >= 18' --filter 'city in (Oslo, Bergen)'\n"
    "  rowtap watch users --snapshot --filter \"city = 'Oslo'\"\n"
    "  rowtap watch orders --events insert,delete --format json | jq .data.total\n";

/* How far one of the two subscriptions has come. */
struct place {
    int64_t seq;
    char epoch[64]; /* the numbering that seq belongs to */
    bool live;      /* it began in the present: what others have seen, it has seen */
};

struct watch {
    struct watch_options o;
    const char *table;
    bool json, colour;
    struct buf out;
    bool live;              /* this connection's subscription is answered */
    bool ever;              /* a subscription was live once */
    bool again;             /* connected again, and it was not said yet what that means */
    bool copying;           /* the snapshot is not complete: it cannot be gone on with */
    bool anew;              /* this connection ends because the rows have to be read again */
    bool slow;              /* or because not all was sent that waited for this client */
    bool in_vain;           /* the past cannot be had: a resync that says why is on its way */
    struct buf why;         /* of the last resync, in words */
    char epoch[64];         /* of this connection */
    struct place rows, ddl; /* where to go on after a reconnect */
    int64_t seen;           /* the last change seen on this connection */
    bool done;
    int exit_status;
    int64_t heartbeat_ms;
};

/* "a, b" as ["a","b"]. */
static void put_words(struct buf *out, const char *list)
{
    const char *comma = "[";

    while (*list) {
        size_t len = strcspn(list, ","), used = len;

        while (used && *list == ' ')
            list++, len--, used--;
        while (used && list[used - 1] == ' ')
            used--;
        buf_puts(out, comma);
        buf_put_json(out, list, used);
        comma = ",";
        list += len + (list[len] == ',');
    }
    buf_puts(out, *comma == '[' ? "[]" : "]");
}

/* Where to begin: where it was when the connection was lost, or as the user wants. */
static void put_since(struct buf *out, const struct watch *w, const struct place *p)
{
    int64_t seq;

    if (w->ever && w->copying)
        return;
    if (w->ever) {
        buf_puts(out, ",\"since\":");
        buf_put_i64(out, p->seq);
        buf_puts(out, ",\"epoch\":");
        buf_put_json_text(out, p->epoch);
    } else if (w->o.since) {
        buf_puts(out, ",\"since\":");
        if (text_parse_i64(w->o.since, strlen(w->o.since), &seq) == 0)
            buf_put_i64(out, seq);
        else
            buf_put_json_text(out, w->o.since);
    }
}

static void put_subscribe(struct buf *out, const struct watch *w)
{
    buf_puts(out, "{\"type\":\"subscribe\",\"requestId\":\"rows\",\"table\":");
    buf_put_json_text(out, w->table);
    for (int i = 0; i < w->o.filters.count; i++) {
        buf_puts(out, i ? "," : ",\"filter\":[");
        buf_put_json_text(out, w->o.filters.items[i]);
    }
    if (w->o.filters.count)
        buf_putc(out, ']');
    if (w->o.events) {
        buf_puts(out, ",\"events\":");
        put_words(out, w->o.events);
    }
    if (w->o.columns) {
        buf_puts(out, ",\"columns\":");
        put_words(out, w->o.columns);
    }
    put_since(out, w, &w->rows);
    if (w->o.snapshot)
        buf_puts(out, ",\"snapshot\":true");
    buf_putc(out, '}');
}

static int subscribe(struct watch *w, struct ws_client *ws)
{
    struct buf message = {0};
    int status = 0;

    if (strcmp(w->table, "*") == 0) {
        buf_puts(&message, "{\"type\":\"subscribe\",\"requestId\":\"ddl\",\"channel\":\"tables\"");
        put_since(&message, w, &w->ddl);
        buf_putc(&message, '}');
        status = buf_error(&message) ? STATUS_NOMEM : ws_client_send(ws, message.data, message.len);
        buf_reset(&message);
    }
    put_subscribe(&message, w);
    if (status == 0)
        status = buf_error(&message) ? STATUS_NOMEM : ws_client_send(ws, message.data, message.len);
    buf_fini(&message);
    return status;
}

static void say_live(struct watch *w)
{
    const char *what = strcmp(w->table, "*") == 0 ? "all tables" : w->table;

    if (!w->ever)
        fprintf(stderr, "watching %s at %s (Ctrl-C to stop)\n", what, w->o.target.url);
    w->live = w->ever = true;
}

/* The answer to one of the two subscriptions. */
static void take_subscribed(struct watch *w, const json_t *message, struct place *p)
{
    const json_t *data = json_object_get(message, "data");
    bool recovered = json_is_true(json_object_get(data, "recovered"));

    p->seq = json_integer_value(json_object_get(data, "seq"));
    p->live = !recovered;
    snprintf(p->epoch, sizeof(p->epoch), "%s", w->epoch);
    if (p != &w->rows)
        return;
    say_live(w);
    w->in_vain = !recovered && json_object_get(data, "recovered");
    if (w->again && recovered)
        fputs("rowtap: connected again; nothing was missed\n", stderr);
    else if (w->again && !w->in_vain)
        fputs("rowtap: connected again; here are all rows anew\n", stderr);
    w->again = w->again && w->in_vain;
    w->copying = w->o.snapshot && !recovered;
}

static const char *reason_words(struct watch *w, const json_t *message)
{
    buf_reset(&w->why);
    show_put_reason(&w->why, message);
    return buf_text(&w->why) ? buf_text(&w->why) : "out of memory";
}

/* What is missing, where the rows are not read anew on another connection. */
static void say_missing(struct watch *w, const json_t *message)
{
    const char *why = reason_words(w, message);

    if (w->again)
        fprintf(stderr, "rowtap: connected again; changes in between were lost: %s", why);
    else if (w->in_vain)
        fprintf(stderr, "rowtap: the changes since %s cannot be had: %s", w->o.since, why);
    else
        fprintf(stderr, "rowtap: changes were lost: %s", why);
    fputs(w->o.snapshot ? "; here are all rows\n" : "\n", stderr);
    w->again = false;
}

/* Changes are missing from now on, unless the server has begun a snapshot by itself. */
static int take_resync(struct watch *w, const json_t *message)
{
    bool channel = json_object_get(message, "channel");
    int64_t seq = json_integer_value(json_object_get(message, "seq"));

    if (w->slow)
        return STATUS_CLOSED;
    if (w->o.snapshot && !w->in_vain && !channel) {
        reason_words(w, message);
        w->anew = w->copying = true;
        return STATUS_CLOSED;
    }
    /* What was lost is not asked for again. */
    if (seq > w->rows.seq)
        w->rows.seq = seq;
    if (seq > w->ddl.seq)
        w->ddl.seq = seq;
    /* All tables' changes and the tables' own are lost together. */
    if (!channel)
        say_missing(w, message);
    w->in_vain = w->in_vain && channel;
    return 0;
}

/* Each change is shown by one of the two subscriptions; they come in order where both are live. */
static void take_change(struct watch *w, const json_t *message, const char *type)
{
    int64_t seq = json_integer_value(json_object_get(message, "seq"));
    bool channel = strncmp(type, "table:", 6) == 0 && !json_object_get(message, "subscriptions");
    struct place *p = channel ? &w->ddl : &w->rows;

    if (seq > p->seq)
        p->seq = seq;
    if (seq > w->seen)
        w->seen = seq;
}

/* The connection has ended: a subscription that was live has seen all that was sent. */
static void settle_place(struct watch *w, struct place *p)
{
    if (p->live && w->seen > p->seq)
        p->seq = w->seen;
}

static void take_ack(struct watch *w, const json_t *message)
{
    const json_t *data = json_object_get(message, "data");
    const char *epoch = json_string_value(json_object_get(data, "epoch"));

    w->heartbeat_ms = json_integer_value(json_object_get(data, "heartbeatInterval"));
    snprintf(w->epoch, sizeof(w->epoch), "%s", epoch ? epoch : "");
}

/* Ends the whole program's work, not only this connection. */
static int finish(struct watch *w, int exit_status)
{
    w->done = true;
    w->exit_status = exit_status;
    return STATUS_CLOSED;
}

static int say_refused(struct watch *w, const json_t *message)
{
    const char *why =
        json_string_value(json_object_get(json_object_get(message, "error"), "message"));

    term_error(why ? why : "the server refused without saying why");
    return finish(w, 1);
}

static int flush_when(struct watch *w, size_t size)
{
    int status = w->out.len > size ? term_flush(&w->out) : 0;

    return status < 0 ? finish(w, status != STATUS_CLOSED) : 0;
}

static int put_message(struct watch *w, json_t *message, const char *text, size_t len)
{
    if (w->json) {
        buf_put(&w->out, text, len);
        buf_putc(&w->out, '\n');
    } else {
        show_put(&w->out, message, w->colour);
    }
    return flush_when(w, FLUSH_SIZE);
}

static int on_message(void *ctx, const char *text, size_t len)
{
    struct watch *w = ctx;
    char why[128];
    json_t *message = json_read(text, len, why, sizeof(why));
    const char *type = json_string_value(json_object_get(message, "type"));
    const char *request = json_string_value(json_object_get(message, "requestId"));
    int status = 0;

    if (!type) {
        fprintf(stderr, "rowtap: the server sent something that cannot be read: %s\n",
            message ? "no type" : why);
    } else if (strcmp(type, "error") == 0) {
        status = say_refused(w, message);
    } else if (strcmp(type, "connection:ack") == 0) {
        take_ack(w, message);
    } else if (strcmp(type, "subscribed") == 0 && request) {
        take_subscribed(w, message, strcmp(request, "rows") == 0 ? &w->rows : &w->ddl);
    } else if (strcmp(type, "resync") == 0) {
        /* What was not sent to a slow client can be had on another connection. */
        w->slow = strcmp(show_reason(message), "slow_consumer") == 0;
        if (!w->slow || w->json)
            status = put_message(w, message, text, len);
        if (status == 0)
            status = take_resync(w, message);
    } else if (show_wants(message)) {
        if (json_is_true(json_object_get(message, "last")) && strcmp(type, "snapshot") == 0)
            w->copying = false;
        take_change(w, message, type);
        status = put_message(w, message, text, len);
    }
    json_decref(message);
    return status;
}

/*
 * Reads until the connection ends. The server pings; when it has been silent for more than two of
 * its heartbeats it is asked, and given up when that brings no answer either.
 */
static int follow(struct watch *w, struct ws_client *ws)
{
    int64_t started = clock_mono_ms();
    bool asked = false, idle = false;
    int status = 0;

    while (status == 0 && !interrupt_seen()) {
        int64_t timeout = w->heartbeat_ms > 0 ? w->heartbeat_ms * 2 + 1000 : 60000;

        status = ws_client_wait(ws, w->live ? timeout : ANSWER_TIMEOUT_MS, &idle, on_message, w);
        if (flush_when(w, 0) < 0)
            status = STATUS_CLOSED;
        if (status == 0 && !w->live && clock_mono_ms() - started > ANSWER_TIMEOUT_MS)
            status = STATUS_CLOSED;
        if (status == 0 && idle && w->live) {
            status = asked ? STATUS_CLOSED : ws_client_ping(ws);
            asked = true;
        } else if (!idle) {
            asked = false;
        }
    }
    return status;
}

static void say_lost(struct watch *w, const struct ws_client *ws, const char *why, int64_t delay)
{
    struct buf text = {0};

    if (w->anew) {
        buf_printf(&text, "the rows have to be read anew: %s",
            buf_text(&w->why) ? buf_text(&w->why) : "out of memory");
    } else if (w->slow) {
        buf_puts(&text, "the server did not wait for what is read here too slowly");
    } else if (ws) {
        buf_puts(&text, "connection lost");
        if (*ws_client_reason(ws))
            buf_printf(&text, " (%s)", ws_client_reason(ws));
    } else {
        buf_puts(&text, why ? why : "out of memory");
    }
    buf_printf(&text, "; retrying in %.1f s", (double)delay / 1e3);
    term_error(buf_text(&text) ? buf_text(&text) : "connection lost");
    buf_fini(&text);
}

/* Connects and follows until the connection ends. NULL: it never came to one, see err. */
static struct ws_client *run_connection(struct watch *w, bool *again, struct buf *err)
{
    struct ws_client *ws = ws_client_open(&w->o.target, "/ws", CONNECT_TIMEOUT_MS, again, err);

    w->live = w->rows.live = w->ddl.live = false;
    w->again = w->ever;
    w->seen = 0;
    w->anew = w->slow = false;
    if (ws && subscribe(w, ws) == 0)
        follow(w, ws);
    settle_place(w, &w->rows);
    settle_place(w, &w->ddl);
    if (ws && !w->live)
        buf_printf(err, "%s closed the connection before it answered (code %d)", w->o.target.url,
            ws_client_code(ws));
    return ws;
}

static void connect_once(struct watch *w, int64_t *delay)
{
    struct buf err = {0};
    bool again = true;
    struct ws_client *ws = run_connection(w, &again, &err);

    if (interrupt_seen()) {
        finish(w, 0);
    } else if (!w->done && (!again || !w->ever)) {
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
        finish(w, 1);
    } else if (!w->done) {
        int64_t wait;

        if (w->live && !w->anew)
            *delay = RETRY_FIRST_MS;
        wait = *delay / 2 + (int64_t)(random_u64() % (uint64_t)(*delay / 2 + 1));
        say_lost(w, w->live ? ws : NULL, buf_text(&err), wait);
        interrupt_wait(wait);
        *delay = *delay * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : *delay * 2;
    }
    if (ws && w->done)
        ws_client_close(ws);
    ws_client_free(ws);
    buf_fini(&err);
}

int watch_run(const void *options, int argc, char **argv)
{
    struct watch w = {.o = *(const struct watch_options *)options};
    int64_t delay = RETRY_FIRST_MS;

    w.table = argc > 0 ? argv[0] : "*";
    if (w.o.snapshot && strcmp(w.table, "*") == 0) {
        term_error("--snapshot reads the rows of one table: name it");
        return 2;
    }
    w.json = w.o.format == 1;
    w.colour = term_colour(STDOUT_FILENO);
    interrupt_catch();
    while (!w.done && !interrupt_seen())
        connect_once(&w, &delay);
    buf_fini(&w.out);
    buf_fini(&w.why);
    return w.exit_status;
}
