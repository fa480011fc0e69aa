#include "filter/filter.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "filter/filter_parse.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A condition with its values, which are its own when it has just been parsed. */
struct condition {
    struct filter_term term;
    union {
        const struct value *values;
        struct value *own;
    };
};

static int compare_for_sort(const void *a, const void *b, void *collation)
{
    return value_compare(a, b, *(const uint8_t *)collation);
}

static void sort_values(struct condition *c)
{
    struct filter_term *t = &c->term;
    uint16_t kept = 1;
    qsort_r(c->own, t->value_count, sizeof(*c->own), compare_for_sort, &t->collation);
    for (int i = 1; i < t->value_count; i++)
        if (value_compare(&c->values[i], &c->values[kept - 1], t->collation) != 0)
            c->own[kept++] = c->own[i];
    t->value_count = kept;
}

static bool has_bytes(const struct value *v)
{
    return v->type == VALUE_TEXT || v->type == VALUE_BLOB;
}

static size_t packed_size(const struct condition *conditions, int count)
{
    size_t size = sizeof(struct filter) + (size_t)count * sizeof(struct filter_term);
    for (int i = 0; i < count; i++) {
        const struct condition *c = &conditions[i];
        size += c->term.value_count * sizeof(struct value);
        for (int k = 0; k < c->term.value_count; k++)
            if (has_bytes(&c->values[k]))
                size += c->values[k].len;
    }
    return size;
}

/* Copies everything into one block: terms, values, text. There may be a million filters. */
static struct filter *pack(const struct condition *conditions, int count)
{
    size_t size = packed_size(conditions, count);
    struct filter *f = mem_alloc(size);
    uint16_t used = 0;
    if (!f)
        return NULL;
    f->term_count = (uint16_t)count;
    f->size = (uint32_t)size;
    struct value *values = (struct value *)(f->terms + count);
    for (int i = 0; i < count; i++) {
        const struct condition *c = &conditions[i];
        f->terms[i] = c->term;
        f->terms[i].first = used;
        if (c->term.value_count > 0)
            memcpy(values + used, c->values, c->term.value_count * sizeof(*values));
        used = (uint16_t)(used + c->term.value_count);
    }
    char *bytes = (char *)(values + used);
    for (struct value *v = values; v < values + used; v++) {
        if (!has_bytes(v))
            continue;
        v->p = memcpy(bytes, v->p, v->len);
        bytes += v->len;
    }
    return f;
}

void filter_copy(struct filter *to, const struct filter *f)
{
    memcpy(to, f, f->size);
    struct value *values = (struct value *)(to->terms + to->term_count);
    const char *old = (const char *)f, *new = (const char *)to;
    for (int i = 0; i < to->term_count; i++)
        for (int k = 0; k < to->terms[i].value_count; k++) {
            struct value *v = &values[to->terms[i].first + k];
            if (has_bytes(v))
                v->p = new + (v->p - old);
        }
}

/* Tells which of several filters the message is about, and never ends within a character. */
static void finish_message(char *err, size_t errlen, int number, int count)
{
    char text[512];
    snprintf(text, sizeof(text), "%s", err);
    if (count > 1)
        snprintf(err, errlen, "filter %d of %d, %s", number, count, text);
    size_t len = strlen(err);
    while (len > 0 && !utf8_valid(err, len))
        len--;
    err[len] = 0;
}

static int parse_all(struct condition *conditions, const struct table *table,
    const uint64_t *columns, const char *const *texts, const size_t *lens, int count, char *scratch,
    char *err, size_t errlen)
{
    for (int i = 0; i < count; i++) {
        struct filter_parse p = {.table = table,
            .columns = columns,
            .text = texts[i],
            .len = lens[i],
            .scratch = scratch,
            .err = err,
            .errlen = errlen};
        int rc = filter_parse(&p);
        conditions[i] = (struct condition){.term = p.term, .own = p.values};
        if (rc == STATUS_NOMEM)
            return rc;
        if (rc < 0) {
            finish_message(err, errlen, i + 1, count);
            return rc;
        }
        if (p.term.op == FILTER_IN)
            sort_values(&conditions[i]);
        scratch += lens[i];
    }
    return STATUS_OK;
}

static size_t total_length(const size_t *lens, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += lens[i] <= FILTER_MAX_LENGTH ? lens[i] : 0;
    return total;
}

struct filter *filter_new_within(const struct table *table, const uint64_t *columns,
    const char *const *texts, const size_t *lens, int count, char *err, size_t errlen, int *status)
{
    struct condition conditions[FILTER_MAX_TERMS] = {0};
    struct filter *f = NULL;
    assert(count >= 0);
    if (count > FILTER_MAX_TERMS) {
        snprintf(
            err, errlen, "%d filters were given; at most %d are allowed", count, FILTER_MAX_TERMS);
        *status = STATUS_TOO_LARGE;
        return NULL;
    }
    *status = STATUS_NOMEM;
    char *scratch = mem_alloc(total_length(lens, count));
    if (scratch)
        *status = parse_all(conditions, table, columns, texts, lens, count, scratch, err, errlen);
    if (*status == STATUS_OK && !(f = pack(conditions, count)))
        *status = STATUS_NOMEM;
    if (*status == STATUS_NOMEM)
        snprintf(err, errlen, "the server is out of memory for this filter; try again later");
    for (int i = 0; i < count; i++)
        mem_free(conditions[i].own);
    mem_free(scratch);
    return f;
}

struct filter *filter_new(const struct table *table, const char *const *texts, const size_t *lens,
    int count, char *err, size_t errlen, int *status)
{
    return filter_new_within(table, NULL, texts, lens, count, err, errlen, status);
}

struct filter *filter_and(const struct filter *a, const struct filter *b)
{
    int count = a->term_count + b->term_count;
    struct condition *conditions = mem_array(count ? (size_t)count : 1, sizeof(*conditions));
    struct filter *f = NULL;
    if (!conditions)
        return NULL;
    for (int i = 0; i < count; i++) {
        const struct filter *from = i < a->term_count ? a : b;
        const struct filter_term *t = &from->terms[i < a->term_count ? i : i - a->term_count];
        conditions[i] = (struct condition){.term = *t, .values = filter_values(from) + t->first};
    }
    f = pack(conditions, count);
    mem_free(conditions);
    return f;
}

void filter_free(struct filter *f)
{
    mem_free(f);
}

static bool in_values(
    const struct filter_term *t, const struct value *values, const struct value *v)
{
    int low = 0, high = t->value_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int c = value_compare(v, &values[middle], t->collation);
        if (c == 0)
            return true;
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* Which outcomes of comparing the row's value with the constant an operator accepts. */
enum { LESS = 1, EQUAL = 2, GREATER = 4 };
static const uint8_t accepted[] = {
    [FILTER_EQ] = EQUAL,
    [FILTER_NE] = LESS | GREATER,
    [FILTER_LT] = LESS,
    [FILTER_LE] = LESS | EQUAL,
    [FILTER_GT] = GREATER,
    [FILTER_GE] = GREATER | EQUAL,
};

static bool term_match(
    const struct filter_term *t, const struct value *values, const struct value *v)
{
    if (v->type == VALUE_NULL || v->type == VALUE_ABSENT)
        return t->op == FILTER_IS_NULL;
    if (t->op == FILTER_IS_NULL)
        return false;
    if (t->op == FILTER_NOT_NULL)
        return true;
    if (t->op == FILTER_IN)
        return in_values(t, values, v);
    int c = value_compare(v, values, t->collation);
    return accepted[t->op] & (c < 0 ? LESS : c > 0 ? GREATER : EQUAL);
}

bool filter_match(const struct filter *f, const struct value *row, int64_t rowid)
{
    struct value key = {.i = rowid, .type = VALUE_INTEGER};
    const struct value *values = filter_values(f);
    if (!row)
        return false;
    for (const struct filter_term *t = f->terms; t < f->terms + f->term_count; t++) {
        const struct value *v = t->column == FILTER_ROWID ? &key : &row[t->column];
        if (!term_match(t, values + t->first, v))
            return false;
    }
    return true;
}
