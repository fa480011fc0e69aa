#ifndef ROWTAP_FILTER_FILTER_H
#define ROWTAP_FILTER_FILTER_H

#include "change/schema.h"
#include "change/value.h"
#include <stdbool.h>
#include <stddef.h>

/*
 * Conditions on a row, as clients write them ("age >= 18"), bound to one table's definition. A list
 * of conditions is their AND. They compare as SQLite's WHERE would: by the column's affinity and
 * collation, and NULL matches nothing but "is null". Immutable after filter_new; any thread.
 */
enum filter_op {
    FILTER_EQ,
    FILTER_NE,
    FILTER_LT,
    FILTER_LE,
    FILTER_GT,
    FILTER_GE,
    FILTER_IN,
    FILTER_IS_NULL,
    FILTER_NOT_NULL,
};

struct filter_term {
    int16_t column; /* index in the table, or FILTER_ROWID; a table has at most 32767 columns */
    uint8_t op;
    uint8_t collation;
    uint16_t value_count; /* 1; 0 for the null tests; any number for IN (sorted, no doubles) */
    uint16_t first;       /* place of its values among the filter's */
};

#define FILTER_ROWID (-1)

/*
 * One block of memory: the terms, their values (all in one array, in the order of the terms) and
 * their text.
 */
struct filter {
    _Alignas(8) uint16_t term_count;
    uint32_t size; /* of the block, in bytes */
    struct filter_term terms[];
};

/* The values of all terms; those of one start at its `first`. */
static inline const struct value *filter_values(const struct filter *f)
{
    return (const struct value *)(f->terms + f->term_count);
}

/* Bounds on what a client may send. */
#define FILTER_MAX_TERMS 32
#define FILTER_MAX_VALUES 1000  /* of one `in` */
#define FILTER_MAX_LENGTH 65536 /* bytes of one condition */

/*
 * condition = column ( operator value | "in" "(" value { "," value } ")" | "is" ["not"] "null" )
 * operator  = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
 * column    = letters, digits, "_", "$", all beyond ASCII; or in double quotes, doubled inside
 * value     = text in single quotes, doubled inside; a blob x'hex'; or bare text, trimmed, that
 *             goes to the end, or in a list to the next "," or ")"
 *
 * Names and keywords in any case; rowid, _rowid_ and oid are the rowid where no column has that
 * name. Quoted text is TEXT. Bare text is a number if it is a numeric literal of SQL and the
 * column's affinity is not TEXT ("zip=01234" keeps its zero), else TEXT. Then the column's affinity
 * is applied. A bare null is refused: "is null" is what finds it.
 *
 * Parses and binds `count` conditions. On failure NULL, *status STATUS_INVALID, STATUS_TOO_LARGE or
 * STATUS_NOMEM, and a sentence for the user in err (at least 256 bytes). count 0 gives a filter
 * that matches every row.
 */
struct filter *filter_new(const struct table *table, const char *const *texts, const size_t *lens,
    int count, char *err, size_t errlen, int *status);
/*
 * The same for somebody who may see only the columns in a bit set (64 a word; NULL: all): any other
 * is one that does not exist.
 */
struct filter *filter_new_within(const struct table *table, const uint64_t *columns,
    const char *const *texts, const size_t *lens, int count, char *err, size_t errlen, int *status);
/* One that matches what both do; NULL: no memory. */
struct filter *filter_and(const struct filter *a, const struct filter *b);
void filter_free(struct filter *f);
/* A second one in memory of the caller's: f->size bytes, aligned to 8. */
void filter_copy(struct filter *to, const struct filter *f);

/* row has the table's column_count values. NULL rows match nothing. */
bool filter_match(const struct filter *f, const struct value *row, int64_t rowid);

#endif
