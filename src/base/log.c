#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void write_all(const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(STDERR_FILENO, p, len);

        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[1024], when[32];
    struct buf line;
    va_list ap;

    if (level > log_get_level())
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    stamp(when, sizeof(when));
    buf_init(&line, 0);
    if (atomic_load(&as_json)) {
        buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", when, names[level]);
        buf_put_json_text(&line, text);
        buf_puts(&line, "}\n");
    } else {
        buf_printf(&line, "%s %-5s ", when, names[level]);
        for (const char *p = text; *p; p++)
            buf_putc(&line, (unsigned char)*p < 32 ? ' ' : *p);
        buf_putc(&line, '\n');
    }
    if (!buf_error(&line))
        write_all(line.data, line.len);
    buf_fini(&line);
}
