#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log_limit.h"
#include "base/log_sink.h"
#include "base/status.h"
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 1024 /* bytes of a field's value */

static atomic_int current_level = LOG_INFO;
static atomic_bool as_json;
static const char *const names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    atomic_store(&current_level, level);
}

enum log_level log_get_level(void)
{
    return atomic_load_explicit(&current_level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return names[level];
}

int log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (text_casecmp(name, names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return STATUS_INVALID;
}

void log_set_json(bool json)
{
    atomic_store(&as_json, json);
}

static void stamp(char *out, size_t size)
{
    int64_t ms = clock_wall_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, size - n, ".%03dZ", (int)(ms % 1000));
}

/* Long text is cut, not inside of a character. */
static size_t cut(const char *s, size_t len)
{
    if (len <= TEXT_MAX)
        return len;
    len = TEXT_MAX;
    while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
        len--;
    return len;
}

/* A JSON string, in which DEL and U+0080 to U+009F, which a terminal obeys, are escaped too. */
static void put_quoted(struct buf *out, const char *s, size_t len)
{
    struct buf json = {0};

    buf_put_json(&json, s, len);
    for (size_t i = 0; i < json.len; i++) {
        unsigned char c = (unsigned char)json.data[i];
        unsigned char next = i + 1 < json.len ? (unsigned char)json.data[i + 1] : 0;

        if (c == 0x7f)
            buf_puts(out, "\\u007f");
        else if (c == 0xc2 && next < 0xa0)
            buf_printf(out, "\\u%04x", (unsigned char)json.data[++i]);
        else
            buf_putc(out, (char)c);
    }
    if (buf_error(&json))
        out->err = STATUS_NOMEM;
    buf_fini(&json);
}

static bool is_bare(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] >= 0x7f || strchr("\"'=\\", s[i]))
            return false;
    return len > 0;
}

static void put_text(struct buf *out, const char *s, bool json)
{
    size_t len = strlen(s), kept = cut(s, len);

    if (!json && kept == len && is_bare(s, len)) {
        buf_put(out, s, len);
        return;
    }
    put_quoted(out, s, kept);
    if (kept < len && !buf_error(out)) {
        buf_truncate(out, out->len - 1);
        buf_puts(out, "…\"");
    }
}

static void put_field(struct buf *out, const struct log_field *f, bool json)
{
    if (f->kind == LOG_FIELD_TEXT && !f->text)
        return;
    buf_printf(out, json ? ",\"%s\":" : " %s=", f->name);
    switch (f->kind) {
    case LOG_FIELD_UNSIGNED:
        buf_put_u64(out, f->number);
        break;
    case LOG_FIELD_SIGNED:
        buf_put_i64(out, (int64_t)f->number);
        break;
    case LOG_FIELD_REAL:
        buf_printf(out, "%.6f", isfinite(f->real) ? f->real : 0.0);
        break;
    default:
        put_text(out, f->text, json);
    }
}

/* A sentence, with a space for each control character. */
static void put_plain(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i], next = i + 1 < len ? (unsigned char)s[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;

        i += c1;
        buf_putc(out, c < 32 || c == 0x7f || c1 ? ' ' : (char)c);
    }
}

static void emit(enum log_level level, const char *text, size_t len, const struct log_field *fields)
{
    bool json = atomic_load_explicit(&as_json, memory_order_relaxed);
    struct buf line = {0};
    char when[32];

    stamp(when, sizeof(when));
    if (json) {
        buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", when, names[level]);
        put_quoted(&line, text, len);
    } else {
        buf_printf(&line, "%s %-5s ", when, names[level]);
        put_plain(&line, text, len);
    }
    for (; fields && fields->kind != LOG_FIELD_END; fields++)
        put_field(&line, fields, json);
    buf_puts(&line, json ? "}\n" : "\n");
    if (!buf_error(&line))
        log_sink_write(line.data, line.len);
    buf_fini(&line);
}

static void sum_up(enum log_level level, const char *event, uint64_t suppressed)
{
    const struct log_field fields[] = {
        log_text("event", event), log_uint("suppressed", suppressed), {0}};
    static const char text[] = "too many of one event in a second";

    emit(level, text, sizeof(text) - 1, fields);
}

static bool allowed(enum log_level level, const char *event)
{
    uint64_t suppressed = 0;
    bool pass = log_limit_pass(event, level == LOG_DEBUG, (int)level, clock_mono_ms(), &suppressed);

    if (suppressed)
        sum_up(level, event, suppressed);
    return pass;
}

void log_put(enum log_level level, const char *event, const struct log_field *fields)
{
    if (allowed(level, event))
        emit(level, event, strlen(event), fields);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;

    if (level > log_get_level() || !allowed(level, fmt))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    emit(level, text, strlen(text), NULL);
}

/* On the sink's thread, about once a second: what else would wait for the next of its kind. */
static void on_tick(uint64_t dropped)
{
    const struct log_field lines[] = {log_uint("lines", dropped), {0}};
    static const char text[] = "standard error was not read in time: lines of the log are missing";
    uint64_t suppressed;
    const char *event;
    int level;

    while ((event = log_limit_over(clock_mono_ms(), &level, &suppressed)))
        sum_up((enum log_level)level, event, suppressed);
    if (dropped)
        emit(LOG_WARN, text, sizeof(text) - 1, lines);
}

int log_start(void)
{
    return log_sink_start(on_tick);
}

void log_stop(void)
{
    log_sink_stop();
}
