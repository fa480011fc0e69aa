#include "cli/bench_answer.h"

#include "base/json.h"
#include "base/status.h"
#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20)

/* The value of a header, which ends with the line; NULL when there is none. */
static const char *header(const char *head, size_t len, const char *name)
{
    size_t name_len = strlen(name);

    for (const char *line = memchr(head, '\n', len); line;) {
        size_t left = len - (size_t)(++line - head);

        if (left > name_len && text_ncasecmp(line, name, name_len) == 0) {
            line += name_len;
            return line + (*line == ' ');
        }
        line = memchr(line, '\n', left);
    }
    return NULL;
}

int bench_answer_read(struct bench_answer *a, const char *data, size_t len)
{
    const char *end = len ? memmem(data, len, "\r\n\r\n", 4) : NULL, *length, *way;
    size_t head;

    if (!end)
        return 0;
    head = (size_t)(end - data) + 4;
    length = header(data, head, "content-length:");
    a->len = length ? (size_t)strtoull(length, NULL, 10) : SIZE_MAX;
    if (head < 16 || memcmp(data, "HTTP/1.1 ", 9) != 0 || a->len > ANSWER_MAX)
        return STATUS_INVALID;
    if (len < head + a->len)
        return 0;
    way = header(data, head, "connection:");
    a->status = atoi(data + 9);
    a->body = data + head;
    a->closes = way && text_ncasecmp(way, "close", 5) == 0;
    return 1;
}

void bench_answer_explain(int status, const char *body, size_t len, struct buf *out)
{
    char why[128];
    json_t *answer = json_read(body, len, why, sizeof(why));
    const char *message =
        json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

    if (message)
        buf_puts(out, message);
    else
        buf_printf(out, "the server answered with HTTP status %d", status);
    json_decref(answer);
}
