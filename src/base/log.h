#ifndef ROWTAP_BASE_LOG_H
#define ROWTAP_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/*
 * One line per event on stderr: text with key=value, or a JSON object. Row contents, parameters and
 * tokens never belong in a log. Any thread; the format is chosen once at the start, the level may
 * change at any time.
 */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name, enum log_level *level); /* STATUS_INVALID */
void log_set_json(bool json);

/*
 * From log_start to log_stop lines are written by a thread of their own, so that a reader of stderr
 * that stands still holds nobody up: they wait in a bounded buffer, and what does not fit is left
 * out and counted. Otherwise the caller writes. Calls may be nested. log_start fails with
 * STATUS_NOMEM or STATUS_IO, and then nothing has changed; log_stop waits at most half a second for
 * the reader.
 */
int log_start(void);
void log_stop(void);

struct log_field {
    const char *name;
    enum {
        LOG_FIELD_END,
        LOG_FIELD_TEXT,
        LOG_FIELD_UNSIGNED,
        LOG_FIELD_SIGNED,
        LOG_FIELD_REAL
    } kind;
    const char *text; /* NULL: the field is left out */
    uint64_t number;
    double real;
};

static inline struct log_field log_text(const char *name, const char *text)
{
    return (struct log_field){.name = name, .kind = LOG_FIELD_TEXT, .text = text};
}

static inline struct log_field log_uint(const char *name, uint64_t value)
{
    return (struct log_field){.name = name, .kind = LOG_FIELD_UNSIGNED, .number = value};
}

/* One that 0 leaves out. */
static inline struct log_field log_id(const char *name, uint64_t id)
{
    return (struct log_field){
        .name = name, .kind = id ? LOG_FIELD_UNSIGNED : LOG_FIELD_TEXT, .number = id};
}

static inline struct log_field log_int(const char *name, int64_t value)
{
    return (struct log_field){.name = name, .kind = LOG_FIELD_SIGNED, .number = (uint64_t)value};
}

static inline struct log_field log_seconds(const char *name, int64_t ns)
{
    return (struct log_field){.name = name, .kind = LOG_FIELD_REAL, .real = (double)ns / 1e9};
}

/*
 * An event with its fields, at least one:
 *     log_event(LOG_INFO, "connection opened", log_uint("connection", 7), log_text("user", name));
 * The event is a constant that names it. When the same one comes more often than some hundred times
 * a second, the rest of that second is summed up in one line with `suppressed`.
 */
#define log_event(level, event, ...)                                                               \
    do {                                                                                           \
        if ((level) <= log_get_level())                                                            \
            log_put(level, event, (const struct log_field[]){__VA_ARGS__, {0}});                   \
    } while (0)
void log_put(enum log_level level, const char *event, const struct log_field *fields);

/* A sentence without fields; the format is the event. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
