#include "access/grant.h"
#include "base/json.h"
#include "base/status.h"
#include "dialect/native_args.h"
#include "dialect/native_channel.h"
#include "dialect/sql_json.h"
#include "http/answer.h"
#include "http/limits.h"
#include "http/route.h"
#include "hub/channel.h"
#include "hub/hub.h"

#include <string.h>

#define EXAMPLE "{\"channel\":\"room:1\",\"type\":\"note\",\"data\":{}}"
#define WAIT_MS 5000 /* for the loops to have queued it */

static const char *string_member(const json_t *top, const char *name)
{
    return json_string_value(json_object_get(top, name));
}

/* "channel", "type" and "message" are strings; nothing but "data" and these is known. */
static bool members_ok(struct request *r, json_t *top)
{
    static const char *const texts[] = {"channel", "type"};
    const char *name;
    json_t *value;

    json_object_foreach(top, name, value)
    {
        if (strcmp(name, "data") != 0 && strcmp(name, "message") != 0 &&
            strcmp(name, texts[0]) != 0 && strcmp(name, texts[1]) != 0) {
            answer_error(r, 400, "INVALID_FORMAT", "unknown member \"%.100s\"", name);
            return false;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        json_t *j = json_object_get(top, texts[i]);

        if (!j || (json_is_string(j) && strlen(json_string_value(j)) == json_string_length(j)))
            continue;
        answer_error(r, 400, "INVALID_FORMAT", "%s must be a string", texts[i]);
        return false;
    }
    return true;
}

static bool content_ok(struct request *r, const json_t *top)
{
    bool message = json_object_get(top, "message"), data = json_object_get(top, "data");
    bool channel = json_object_get(top, "channel"), type = json_object_get(top, "type");

    if (message && data)
        answer_error(r, 400, "INVALID_FORMAT", "send message or data, not both");
    else if (!message && !channel)
        answer_error(r, 400, "INVALID_FORMAT",
            "send {\"message\":…} to everyone, or {\"channel\",\"type\",\"data\"}");
    else if (!message && !data && !type)
        answer_error(r, 400, "INVALID_FORMAT", "a broadcast needs a type or data");
    else
        return true;
    return false;
}

static bool names_ok(struct request *r, const char *channel, const char *type)
{
    size_t len = type ? strlen(type) : 0;

    if (!channel_name_valid(channel, strlen(channel)))
        answer_error(r, 400, "INVALID_FORMAT",
            "a channel's name has 1 to %d characters of A-Z a-z 0-9 _ : . -", CHANNEL_NAME_MAX);
    else if (channel_server_speaks(channel, strlen(channel)))
        answer_error(r, 403, "FORBIDDEN", "only the server sends to the channel %s", channel);
    else if (!grant_broadcast(r->policy, r->who, channel, strlen(channel)))
        answer_error(r, 403, "FORBIDDEN", "your role may not broadcast to the channel %s", channel);
    else if (type && (len < 1 || len > NATIVE_EVENT_MAX))
        answer_error(r, 400, "INVALID_FORMAT", "type must have 1 to %d bytes", NATIVE_EVENT_MAX);
    else if (type && native_type_reserved((struct text){type, len}))
        answer_error(r, 403, "FORBIDDEN",
            "the type \"%s\" is that of the server's own messages: choose another", type);
    else
        return true;
    return false;
}

/* {"message":…} is data too, so that all messages are read alike. */
static void put_data(struct buf *out, const json_t *top)
{
    const json_t *message = json_object_get(top, "message"), *data = json_object_get(top, "data");

    if (message) {
        buf_puts(out, "{\"message\":");
        native_put_json(out, message);
        buf_putc(out, '}');
    } else if (data) {
        native_put_json(out, data);
    } else {
        buf_puts(out, "null");
    }
}

static void answer_delivered(struct request *r, uint64_t delivered, unsigned pending)
{
    struct buf json = {0};

    buf_puts(&json, "{\"success\":true,\"delivered\":");
    buf_put_u64(&json, delivered);
    if (pending)
        buf_puts(&json, ",\"pending\":true");
    buf_putc(&json, '}');
    answer_json(r, 200, &json);
    buf_fini(&json);
}

static void send_out(struct request *r, const json_t *top)
{
    const char *channel = string_member(top, "channel");
    struct hub_message m = {.channel = channel ? channel : CHANNEL_NOTIFICATIONS,
        .event = string_member(top, "type"),
        .user_id = identity_user(r->who)};
    struct buf data = {0};
    uint64_t delivered = 0;
    unsigned pending = 0;
    int rc = STATUS_NOMEM;

    if (!names_ok(r, m.channel, m.event))
        return;
    put_data(&data, top);
    m.data = data.data;
    m.data_len = data.len;
    if (!buf_error(&data))
        rc = hub_broadcast(r->http->hub, &m, WAIT_MS, &delivered, &pending);
    if (rc == STATUS_TOO_LARGE)
        answer_error(r, 413, "TOO_LARGE", "the message is larger than the server's --max-message");
    else if (rc == STATUS_CONFLICT)
        answer_error_with(
            r, 503, "Retry-After: 1\r\n", "LIMIT_EXCEEDED", "too many broadcasts are on their way");
    else if (rc < 0)
        answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
    else
        answer_delivered(r, delivered, pending);
    buf_fini(&data);
}

void api_broadcast(struct request *r, const char *rest)
{
    struct buf body = {0};
    struct buf err = {0};
    json_t *top;

    (void)rest;
    if (api_sql_is_json(r) && limits_take(r, RATE_BROADCASTS) && request_body(r, &body)) {
        top = sql_json_body(body.data ? body.data : "", body.len, EXAMPLE, &err);
        if (!top)
            answer_error(r, 400, "INVALID_FORMAT", "%s",
                buf_text(&err) ? buf_text(&err) : "the body is not JSON");
        else if (members_ok(r, top) && content_ok(r, top))
            send_out(r, top);
        json_decref(top);
    }
    buf_fini(&body);
    buf_fini(&err);
}
