#include "cli/options.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <string.h>

static bool is_option(const char *s)
{
    if (s[0] != '-' || !s[1])
        return false;
    if (s[1] != '-')
        return !strchr("0123456789.", s[1]);
    return s[2] != ' ' && s[2] != '\t' && s[2] != '\n';
}

static const struct option_row *find(const struct option_row *rows, const char *name, size_t len)
{
    for (; rows->name; rows++)
        if (strlen(rows->name) == len && memcmp(rows->name, name, len) == 0)
            return rows;
    return NULL;
}

/* Levenshtein's distance, for names shorter than 32 bytes. */
static size_t distance(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t row[32];

    for (size_t j = 0; j <= blen; j++)
        row[j] = j;
    for (size_t i = 1; i <= alen; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[blen];
}

static void put_unknown(
    const struct option_row *rows, const char *name, size_t len, struct buf *err)
{
    const char *nearest = NULL;
    size_t best = 3;

    buf_puts(err, "unknown option --");
    buf_put(err, name, len);
    for (; rows->name && len < 32; rows++) {
        size_t d =
            strlen(rows->name) < 32 ? distance(name, len, rows->name, strlen(rows->name)) : best;

        if (d < best) {
            best = d;
            nearest = rows->name;
        }
    }
    if (nearest)
        buf_printf(err, "; did you mean --%s?", nearest);
}

static int set_choice(const struct option_row *row, int *to, const char *value)
{
    const char *p = row->arg;
    size_t len = strlen(value);

    for (int i = 0; *p; i++) {
        size_t n = strcspn(p, "|");

        if (n == len && memcmp(p, value, n) == 0) {
            *to = i;
            return 0;
        }
        p += n + (p[n] == '|');
    }
    return STATUS_INVALID;
}

static int set_list(struct option_list *list, const char *value, struct buf *err, const char *name)
{
    if (list->count == OPTION_LIST_MAX) {
        buf_printf(err, "--%s is given more than %d times", name, OPTION_LIST_MAX);
        return STATUS_TOO_LARGE;
    }
    list->items[list->count++] = value;
    return 0;
}

static int set_number(const struct option_row *row, int64_t *to, const char *value, struct buf *err)
{
    bool duration = row->kind == OPTION_DURATION;
    int bad = duration ? text_parse_duration(value, to) : text_parse_i64(value, strlen(value), to);

    if (!bad && *to >= row->min && *to <= row->max)
        return 0;
    if (duration)
        buf_printf(err,
            "--%s wants a duration between %g and %g seconds (10, 1.5s, 250ms), not \"%s\"",
            row->name, (double)row->min / 1e3, (double)row->max / 1e3, value);
    else
        buf_printf(err, "--%s wants a whole number between %lld and %lld, not \"%s\"", row->name,
            (long long)row->min, (long long)row->max, value);
    return STATUS_INVALID;
}

static int set(const struct option_row *row, void *into, const char *value, struct buf *err)
{
    char *to = (char *)into + row->offset;

    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)to = true;
        return 0;
    case OPTION_TEXT:
        if (!*value) {
            buf_printf(err, "--%s wants %s, not an empty text", row->name, row->arg);
            return STATUS_INVALID;
        }
        *(const char **)to = value;
        return 0;
    case OPTION_LIST:
        return set_list((struct option_list *)to, value, err, row->name);
    case OPTION_NUMBER:
    case OPTION_DURATION:
        return set_number(row, (int64_t *)to, value, err);
    case OPTION_CHOICE:
        if (set_choice(row, (int *)to, value) == 0)
            return 0;
        buf_printf(err, "--%s wants one of %s, not \"%s\"", row->name, row->arg, value);
        return STATUS_INVALID;
    }
    return STATUS_INVALID;
}

/* Takes the option at argv[*i] and its value, which may be the next word. */
static int take(
    const struct option_row *rows, void *into, int argc, char **argv, int *i, struct buf *err)
{
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct option_row *row = argv[*i][1] == '-' ? find(rows, name, len) : NULL;

    if (argv[*i][1] != '-') {
        buf_printf(err, "unknown option %s; options are written out, as in --help", argv[*i]);
        return STATUS_INVALID;
    }
    if (!row) {
        put_unknown(rows, name, len, err);
        return STATUS_INVALID;
    }
    if (row->kind == OPTION_FLAG && value) {
        buf_printf(err, "--%s takes no value", row->name);
        return STATUS_INVALID;
    }
    if (row->kind != OPTION_FLAG && !value) {
        if (*i + 1 == argc) {
            buf_printf(err, "--%s wants a value: --%s %s", row->name, row->name, row->arg);
            return STATUS_INVALID;
        }
        value = argv[++*i];
    }
    return set(row, into, value, err);
}

enum options_result options_parse(const struct option_row *rows, void *into, int argc, char **argv,
    int *arg_count, struct buf *err)
{
    int n = 0, i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (!is_option(argv[i])) {
            argv[n++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return OPTIONS_HELP;
        if (take(rows, into, argc, argv, &i, err) < 0)
            return OPTIONS_BAD;
    }
    for (; i < argc; i++)
        argv[n++] = argv[i];
    *arg_count = n;
    return OPTIONS_OK;
}

void options_put_help(struct buf *out, const struct option_row *rows)
{
    for (; rows->name; rows++) {
        size_t len = strlen(rows->name) + (rows->arg ? strlen(rows->arg) + 1 : 0);

        buf_printf(out, "  --%s%s%s", rows->name, rows->arg ? " " : "", rows->arg ? rows->arg : "");
        buf_printf(out, "%*s%s\n", len < 24 ? (int)(26 - len) : 2, "", rows->help);
    }
}
