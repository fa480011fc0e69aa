#include "config.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "config_check.h"
#include "config_table.h"
#include "spelling.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 64
#define WORD_MAX 64

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
}

static void list_clear(struct config_list *l)
{
    for (int i = 0; i < l->count; i++)
        mem_free(l->items[i]);
    mem_free(l->items);
    l->items = NULL;
    l->count = 0;
}

void config_fini(struct config *c)
{
    mem_free(c->database);
    list_clear(&c->listen);
    list_clear(&c->origins);
    list_clear(&c->trusted_proxies);
    list_clear(&c->rates);
    for (size_t i = 0; i < config_rows; i++)
        if (config_table[i].kind == KIND_TEXT)
            mem_free(*(char **)((char *)c + config_table[i].offset));
}

static int list_add(struct config_list *l, const char *s, size_t len)
{
    char **items, *item;

    if (l->count == LIST_MAX)
        return STATUS_TOO_LARGE;
    item = mem_strndup(s, len);
    items = item ? mem_realloc(l->items, (size_t)(l->count + 1) * sizeof(*items)) : NULL;
    if (!items) {
        mem_free(item);
        return STATUS_NOMEM;
    }
    items[l->count++] = item;
    l->items = items;
    return 0;
}

static int list_split(struct config_list *l, const char *s)
{
    int rc = 0;

    while (*s && rc == 0) {
        size_t len = strcspn(s, ",");

        if (len)
            rc = list_add(l, s, len);
        s += len + (s[len] == ',');
    }
    return rc;
}

/* Where a value comes from: decides how lists behave and what an error message names. */
enum origin { FROM_DEFAULT, FROM_ENVIRONMENT, FROM_ARGUMENT };

static int set_list(struct config_list *l, const char *value, enum origin origin)
{
    if (origin == FROM_ARGUMENT) {
        if (l->from_environment) {
            list_clear(l);
            l->from_environment = false;
        }
        return list_add(l, value, strlen(value));
    }
    list_clear(l);
    l->from_environment = true;
    return list_split(l, value);
}

static int set_text(char **text, const char *value)
{
    char *copy = *value ? mem_strdup(value) : NULL;

    if (!copy)
        return *value ? STATUS_NOMEM : STATUS_INVALID;
    mem_free(*text);
    *text = copy;
    return 0;
}

static int set_flag(bool *flag, const char *value)
{
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {
                                                                     "", "0", "false", "no", "off"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
        if (text_casecmp(value, yes[i]) == 0) {
            *flag = true;
            return 0;
        }
    }
    *flag = false;
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
        if (text_casecmp(value, no[i]) == 0)
            return 0;
    return STATUS_INVALID;
}

static int set_number(const struct config_row *row, void *target, const char *value)
{
    uint64_t size = 0;
    int64_t n = 0;
    int rc;

    if (row->kind == KIND_DURATION)
        rc = text_parse_duration(value, &n);
    else if (row->kind == KIND_SIZE)
        rc = text_parse_size(value, &size);
    else
        rc = text_parse_i64(value, strlen(value), &n);
    if (rc < 0 || size > INT64_MAX)
        return STATUS_INVALID;
    if (row->kind == KIND_SIZE)
        n = (int64_t)size;
    if (n < row->min || n > row->max)
        return STATUS_INVALID;
    memcpy(target, &n, sizeof(n));
    return 0;
}

/* `words` is "first|second"; *second tells which it was. */
static int set_choice(bool *second, const char *words, const char *value)
{
    size_t len = strlen(value), first = strcspn(words, "|");

    *second = text_same_nocase(words + first + 1, strlen(words + first + 1), value, len);
    return *second || text_same_nocase(words, first, value, len) ? 0 : STATUS_INVALID;
}

static int set(
    struct config *c, const struct config_row *row, const char *value, enum origin origin)
{
    void *target = (char *)c + row->offset;

    switch (row->kind) {
    case KIND_FLAG:
        return set_flag(target, value);
    case KIND_COUNT:
    case KIND_SIZE:
    case KIND_DURATION:
        return set_number(row, target, value);
    case KIND_LIST:
        return set_list(target, value, origin);
    case KIND_TEXT:
        return set_text(target, value);
    case KIND_LOG_LEVEL:
        return log_level_parse(value, target);
    case KIND_CHOICE:
        return set_choice(target, row->argument, value);
    }
    return STATUS_INVALID;
}

static void put_number(struct buf *out, enum config_kind kind, int64_t n)
{
    static const struct {
        const char *unit;
        int64_t size;
    } units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};

    if (kind == KIND_DURATION) {
        buf_printf(out, "%g", (double)n / 1000);
        return;
    }
    for (size_t i = 0; kind == KIND_SIZE && i < sizeof(units) / sizeof(*units); i++) {
        if (n >= units[i].size && n % units[i].size == 0) {
            buf_printf(out, "%lld%s", (long long)(n / units[i].size), units[i].unit);
            return;
        }
    }
    buf_put_i64(out, n);
}

/* What a value of this option has to look like, after "must be ". */
static void put_rule(struct buf *out, const struct config_row *row)
{
    static const char *const nouns[] = {[KIND_COUNT] = "a whole number",
        [KIND_SIZE] = "a number of bytes, such as 64KiB or 1MiB,",
        [KIND_DURATION] = "a number of seconds, such as 30 or 0.5,"};

    switch (row->kind) {
    case KIND_FLAG:
        buf_puts(out, "1 or 0");
        break;
    case KIND_LIST:
        buf_printf(out, "at most %d values", LIST_MAX);
        break;
    case KIND_TEXT:
        buf_puts(out, "a text that is not empty");
        break;
    case KIND_LOG_LEVEL:
        buf_puts(out, row->help);
        break;
    case KIND_CHOICE:
        buf_printf(out, "one of %s", row->argument);
        break;
    default:
        buf_printf(out, "%s from ", nouns[row->kind]);
        put_number(out, row->kind, row->min);
        buf_puts(out, " to ");
        put_number(out, row->kind, row->max);
    }
}

static void put_value(struct buf *out, const struct config *c, const struct config_row *row)
{
    const void *value = (const char *)c + row->offset;
    const struct config_list *list = value;
    const char *words = row->argument;
    int64_t n;

    switch (row->kind) {
    case KIND_FLAG:
        buf_puts(out, *(const bool *)value ? "" : "=0");
        break;
    case KIND_LIST:
        for (int i = 0; i < list->count; i++)
            buf_printf(out, "%c%s", i ? ',' : '=', list->items[i]);
        break;
    case KIND_TEXT:
        buf_printf(out, "=%s", *(char *const *)value);
        break;
    case KIND_LOG_LEVEL:
        buf_printf(out, "=%s", log_level_name(*(const enum log_level *)value));
        break;
    case KIND_CHOICE:
        n = (int64_t)strcspn(words, "|");
        buf_printf(out, "=%.*s", *(const bool *)value ? INT_MAX : (int)n,
            *(const bool *)value ? words + n + 1 : words);
        break;
    default:
        memcpy(&n, value, sizeof(n));
        buf_putc(out, '=');
        put_number(out, row->kind, n);
    }
}

void config_put_given(const struct config *c, struct buf *out)
{
    for (size_t i = 0; i < config_rows; i++) {
        if (!(c->given >> i & 1))
            continue;
        buf_printf(out, "%s--%s", out->len ? " " : "", config_table[i].name);
        put_value(out, c, &config_table[i]);
    }
}

static void variable_name(char out[WORD_MAX], const struct config_row *row)
{
    snprintf(out, WORD_MAX, "ROWTAP_%s", row->name);
    for (char *p = out; *p; p++)
        *p = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
}

static int assign(struct config *c, const struct config_row *row, const char *value,
    enum origin origin, struct buf *err)
{
    char name[WORD_MAX];
    int rc = set(c, row, value, origin);

    if (origin != FROM_DEFAULT)
        c->given |= UINT64_C(1) << (row - config_table);

    if (rc == 0 || rc == STATUS_NOMEM)
        return rc;
    if (origin == FROM_ENVIRONMENT)
        variable_name(name, row);
    else
        snprintf(name, sizeof(name), "--%s", row->name);
    buf_printf(err, "%s is \"%.100s\" but must be ", name, value);
    put_rule(err, row);
    return STATUS_INVALID;
}

static void unknown_option(const char *name, struct buf *err)
{
    const struct config_row *best = NULL;
    int best_distance = 4;

    buf_printf(err, "unknown option --%.60s", name);
    for (size_t i = 0; i < config_rows; i++) {
        int distance = spelling_distance(name, config_table[i].name, 3);

        if (distance < best_distance) {
            best_distance = distance;
            best = &config_table[i];
        }
    }
    if (best)
        buf_printf(err, "; did you mean --%s?", best->name);
    else
        buf_puts(err, "; see rowtap serve --help");
}

static const struct config_row *find(const char *name, size_t len)
{
    for (size_t i = 0; i < config_rows; i++)
        if (strlen(config_table[i].name) == len && memcmp(config_table[i].name, name, len) == 0)
            return &config_table[i];
    return NULL;
}

/* One "--name", "--name=value" or "--name value"; *used is how many words it took. */
static int parse_option(struct config *c, char **argv, int left, int *used, struct buf *err)
{
    const char *name = argv[0] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct config_row *row = find(name, len);
    char word[WORD_MAX];

    *used = 1;
    if (!row) {
        snprintf(word, sizeof(word), "%.*s", (int)(len < 60 ? len : 60), name);
        unknown_option(word, err);
        return STATUS_INVALID;
    }
    if (row->kind == KIND_FLAG && equals) {
        buf_printf(err, "--%s takes no value", row->name);
        return STATUS_INVALID;
    }
    if (row->kind == KIND_FLAG)
        return assign(c, row, "1", FROM_ARGUMENT, err);
    if (equals)
        return assign(c, row, equals + 1, FROM_ARGUMENT, err);
    if (left < 2) {
        buf_printf(err, "--%s needs a value: --%s %s", row->name, row->name, row->argument);
        return STATUS_INVALID;
    }
    *used = 2;
    return assign(c, row, argv[1], FROM_ARGUMENT, err);
}

static int parse_word(struct config *c, const char *word, struct buf *err)
{
    if (c->database) {
        buf_printf(err, "unexpected argument \"%.100s\": the database is already \"%.100s\"", word,
            c->database);
        return STATUS_INVALID;
    }
    c->database = mem_strdup(word);
    return c->database ? 0 : STATUS_NOMEM;
}

static int parse_arguments(struct config *c, int argc, char **argv, struct buf *err)
{
    bool options = true;
    int used, rc;

    for (int i = 1; i < argc; i += used) {
        used = 1;
        if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
            return CONFIG_HELP;
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            continue;
        }
        if (options && strncmp(argv[i], "--", 2) == 0) {
            rc = parse_option(c, argv + i, argc - i, &used, err);
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            buf_printf(err, "unknown option %.60s; see rowtap serve --help", argv[i]);
            rc = STATUS_INVALID;
        } else {
            rc = parse_word(c, argv[i], err);
        }
        if (rc)
            return rc;
    }
    return 0;
}

int config_parse(struct config *c, int argc, char **argv, struct buf *err)
{
    char name[WORD_MAX];
    int rc = 0;

    for (size_t i = 0; i < config_rows && rc == 0; i++) {
        const char *value;

        if (config_table[i].value)
            rc = assign(c, &config_table[i], config_table[i].value, FROM_DEFAULT, err);
        variable_name(name, &config_table[i]);
        value = getenv(name);
        if (rc == 0 && value && (*value || config_table[i].kind == KIND_FLAG))
            rc = assign(c, &config_table[i], value, FROM_ENVIRONMENT, err);
    }
    /* --help works however broken the environment is. */
    for (int i = 1; rc < 0 && i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return CONFIG_HELP;
    if (rc == 0)
        rc = parse_arguments(c, argc, argv, err);
    if (rc == 0 && !c->database) {
        buf_puts(err, "which database? Say rowtap serve FILE (it is created if absent)");
        rc = STATUS_INVALID;
    }
    return rc ? rc : config_check(c, err);
}

void config_put_help(struct buf *out)
{
    char left[WORD_MAX];

    buf_puts(out, "Usage: rowtap [serve] DATABASE [options]\n\n"
                  "Serves the SQLite file DATABASE (created if absent): SQL over HTTP, and every "
                  "change of a row\nas a message to WebSocket subscribers.\n\nOptions:\n");
    for (size_t i = 0; i < config_rows; i++) {
        snprintf(left, sizeof(left), "--%s %s", config_table[i].name,
            config_table[i].argument ? config_table[i].argument : "");
        buf_printf(out, "  %-24s %s", left, config_table[i].help);
        if (config_table[i].value)
            buf_printf(out, " (%s)", config_table[i].value);
        buf_putc(out, '\n');
    }
    buf_puts(out,
        "  --help                   print this\n\n"
        "Each option is also an environment variable: ROWTAP_LISTEN for --listen (several "
        "values with\ncommas), ROWTAP_QUERY_TIMEOUT for --query-timeout, ROWTAP_INSECURE=1 "
        "for --insecure, and so on.\n\nExamples:\n"
        "  rowtap shop.db\n"
        "  rowtap serve shop.db --listen 127.0.0.1:9000 --origin http://localhost:3000\n");
}
