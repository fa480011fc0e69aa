#include "cli/query.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/cell.h"
#include "cli/split.h"
#include "cli/table.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONTEXT_WIDTH 76
#define MESSAGE_WIDTH 400 /* SQLite repeats a token that may be very long */

void query_fini(struct query *q)
{
    buf_fini(&q->body);
    buf_fini(&q->answer);
    buf_fini(&q->out);
    json_decref(q->result);
    q->result = NULL;
}

static int put_request(struct query *q, const char *sql, size_t len, char *const *params)
{
    buf_reset(&q->body);
    if (!utf8_valid(sql, len)) {
        term_error("the SQL is not valid UTF-8; convert it first (iconv -t UTF-8)");
        return STATUS_INVALID;
    }
    buf_puts(&q->body, "{\"sql\":");
    buf_put_json(&q->body, sql, len);
    if (params && *params) {
        buf_puts(&q->body, ",\"params\":[");
        for (int i = 0; params[i]; i++) {
            if (i)
                buf_putc(&q->body, ',');
            if (cell_put_param(&q->body, params[i]) == STATUS_INVALID) {
                fprintf(stderr, "rowtap: parameter %d is not valid UTF-8; write bytes as x'…'\n",
                    i + 1);
                return STATUS_INVALID;
            }
        }
        buf_putc(&q->body, ']');
    }
    buf_puts(&q->body, q->wait ? ",\"wait\":\"delivered\"}" : "}");
    return 0;
}

static void count_delivered(struct query *q)
{
    json_int_t delivered = json_integer_value(json_object_get(q->result, "delivered"));
    json_int_t pending = json_integer_value(json_object_get(q->result, "pending"));

    q->delivered = delivered > q->delivered ? delivered : q->delivered;
    q->pending = pending > q->pending ? pending : q->pending;
}

static void say_delivered(struct query *q)
{
    if (!q->wait)
        return;
    fprintf(stderr, "delivered to %lld subscriber%s", (long long)q->delivered,
        q->delivered == 1 ? "" : "s");
    if (q->pending)
        fprintf(stderr, "; %lld had not taken all of it in time", (long long)q->pending);
    fputc('\n', stderr);
    q->delivered = q->pending = 0;
}

/* Where the failed statement begins; 0 when the server does not say which one it was. */
static size_t find_statement(const char *sql, size_t len, const json_t *index)
{
    struct split_statement s;
    size_t next = 0;

    for (json_int_t i = 0; split_next(sql, len, &next, &s); i++)
        if (i == json_integer_value(index))
            return (size_t)(s.sql - sql);
    return 0;
}

/* The line of the text that holds `offset`, and a caret under it. */
static void put_context(
    struct buf *out, const char *sql, size_t len, size_t offset, size_t line, bool caret)
{
    const char *start = offset ? memrchr(sql, '\n', offset) : NULL;
    size_t from = start ? (size_t)(start - sql) + 1 : 0, before;
    const char *newline = memchr(sql + offset, '\n', len - offset);
    size_t to = newline ? (size_t)(newline - sql) : len;

    /* A long line is shown from a little before the place. */
    while (offset - from > CONTEXT_WIDTH / 2 &&
           term_width(sql + from, offset - from) > CONTEXT_WIDTH / 2)
        from++;
    while (from < offset && ((unsigned char)sql[from] & 0xc0) == 0x80)
        from++;
    buf_puts(out, "  ");
    term_put(out, sql + from, to - from, CONTEXT_WIDTH);
    buf_putc(out, '\n');
    if (caret) {
        before = term_width(sql + from, offset - from);
        buf_printf(out, "  %*s^", (int)before, "");
    }
    line += split_line(sql, offset) - 1;
    if (line > 1)
        buf_printf(out, "%s line %zu", caret ? "" : " ", line);
    if (caret || line > 1)
        buf_putc(out, '\n');
}

static void put_error(struct buf *out, const char *message, const json_t *error, const char *sql,
    size_t len, size_t line)
{
    const json_t *offset = json_object_get(error, "offset"), *seq = json_object_get(error, "seq");
    const json_t *statement = json_object_get(error, "statement");
    json_int_t at = json_is_integer(offset) ? json_integer_value(offset) : -1;

    buf_puts(out, "Error: ");
    term_put(out, message, strlen(message), MESSAGE_WIDTH);
    buf_putc(out, '\n');
    if (at >= 0 && (size_t)at <= len)
        put_context(out, sql, len, (size_t)at, line, true);
    else if (json_is_integer(statement))
        put_context(out, sql, len, find_statement(sql, len, statement), line, false);
    if (json_is_integer(seq))
        buf_printf(out, "What came before it was committed, up to seq %lld.\n",
            (long long)json_integer_value(seq));
}

static void report(struct query *q, int status, const char *sql, size_t len, size_t line)
{
    struct buf message = {0}, text = {0};
    json_t *error = NULL;

    client_explain(q->client, status, &q->answer, &error, &message);
    q->sqlite_code = (int)json_integer_value(json_object_get(error, "sqliteCode"));
    if (buf_text(&message)) {
        bool colour = term_colour(STDERR_FILENO);

        term_put_style(&text, colour, TERM_RED);
        put_error(&text, buf_text(&message), error, sql, len, line);
        term_put_plain(&text, colour);
    }
    fflush(stdout);
    fputs(buf_text(&text) && text.len ? text.data : "rowtap: out of memory\n", stderr);
    json_decref(error);
    buf_fini(&message);
    buf_fini(&text);
}

/*
 * A 413 may also be about the result or the transaction. What the server (or a proxy in front of
 * it) says about the body names the option, or is no JSON.
 */
static bool body_refused(const struct query *q)
{
    struct buf message = {0};
    json_t *error = NULL;
    const char *text;
    bool refused;

    client_explain(q->client, 413, &q->answer, &error, &message);
    text = buf_text(&message);
    refused = !error || (text && strstr(text, "--max-body"));
    json_decref(error);
    buf_fini(&message);
    return refused;
}

int query_send(struct query *q, const char *sql, size_t len, char *const *params, size_t line)
{
    struct buf err = {0};
    char why[128];
    int status;

    json_decref(q->result);
    q->result = NULL;
    q->sqlite_code = 0;
    status = put_request(q, sql, len, params);
    if (status < 0)
        return status;
    status = client_request(q->client, "/api/sql", &q->body, &q->answer, &err);
    if (status < 0) {
        fflush(stdout);
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
        buf_fini(&err);
        return status;
    }
    buf_fini(&err);
    if (status == 413 && body_refused(q))
        return STATUS_TOO_LARGE;
    if (status == 200)
        q->result =
            json_read(q->answer.data ? q->answer.data : "", q->answer.len, why, sizeof(why));
    if (q->result && json_is_object(q->result)) {
        count_delivered(q);
        return 0;
    }
    report(q, status, sql, len, line);
    return STATUS_INVALID;
}

/* What the text's last statement is: it decides how a result without rows is called. */
static bool last_changes(const char *sql, size_t len)
{
    struct split_statement s = {0};
    size_t at = 0;

    while (split_next(sql, len, &at, &s))
        ;
    return s.kind == SPLIT_CHANGE;
}

static void put_seq(struct buf *out, const json_t *result)
{
    const json_t *seq = json_object_get(result, "seq");
    const json_t *duration = json_object_get(result, "durationMs");

    buf_puts(out, " (");
    if (json_is_integer(seq))
        buf_printf(out, "seq %lld, ", (long long)json_integer_value(seq));
    buf_printf(out, "%.1f ms)\n", json_number_value(duration));
}

static void put_changes(struct query *q, const char *sql, size_t len)
{
    long long n = (long long)json_integer_value(json_object_get(q->result, "changes"));

    if (last_changes(sql, len))
        buf_printf(&q->out, "%lld row%s changed", n, n == 1 ? "" : "s");
    else
        buf_puts(&q->out, "done");
    put_seq(&q->out, q->result);
}

static void put_counts(struct query *q)
{
    static const char *const members[] = {"changes", "lastInsertRowid", "seq"};
    const char *comma = "{";

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        json_t *value = json_object_get(q->result, members[i]);

        if (!value)
            continue;
        buf_printf(&q->out, "%s\"%s\":", comma, members[i]);
        cell_put_json(&q->out, value);
        comma = ",";
    }
    buf_puts(&q->out, *comma == '{' ? "{}\n" : "}\n");
}

static void put_rows(struct query *q)
{
    size_t n = json_array_size(json_object_get(q->result, "rows"));
    double ms = json_number_value(json_object_get(q->result, "durationMs"));

    if (q->format == QUERY_CSV) {
        table_put_csv(&q->out, q->result);
    } else if (q->format == QUERY_JSON) {
        table_put_objects(&q->out, q->result);
    } else {
        table_put(&q->out, q->result, q->max_width, q->colour);
        buf_printf(&q->out, "(%zu row%s, %.1f ms)\n", n, n == 1 ? "" : "s", ms);
    }
}

int query_print(struct query *q, const char *sql, size_t len)
{
    bool rows = json_array_size(json_object_get(q->result, "columns")) > 0;
    int status;

    if (rows && !table_check(q->result)) {
        term_error("the server's answer has no sensible rows");
        return STATUS_INVALID;
    }
    if (rows)
        put_rows(q);
    else if (q->format == QUERY_TABLE)
        put_changes(q, sql, len);
    else if (q->format == QUERY_JSON)
        put_counts(q);
    status = term_flush(&q->out);
    say_delivered(q);
    return status;
}
