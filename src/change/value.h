#ifndef ROWTAP_CHANGE_VALUE_H
#define ROWTAP_CHANGE_VALUE_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One SQLite value. VALUE_ABSENT stands for a column whose value was not captured (virtual
 * generated columns). Text and blobs point into memory that somebody else owns: the batch, the
 * filter, ….
 */
enum value_type {
    VALUE_NULL,
    VALUE_INTEGER,
    VALUE_REAL,
    VALUE_TEXT,
    VALUE_BLOB,
    VALUE_ABSENT,
};

struct value {
    union {
        int64_t i;
        double r;
        const char *p;
    };
    uint32_t len; /* bytes of text or blob */
    uint8_t type; /* enum value_type */
};

/* https://www.sqlite.org/datatype3.html section 3 and 7 */
enum affinity { AFFINITY_BLOB, AFFINITY_TEXT, AFFINITY_NUMERIC, AFFINITY_INTEGER, AFFINITY_REAL };
enum collation { COLLATION_BINARY, COLLATION_NOCASE, COLLATION_RTRIM, COLLATION_OTHER };

/*
 * SQLite's order over all values: NULL, numbers by exact value, text by the collation, blobs. <0, 0
 * or >0. COLLATION_OTHER (defined by an application) compares as BINARY. ABSENT equals NULL.
 */
int value_compare(const struct value *a, const struct value *b, enum collation collation);

/* The same type and the same bytes (1 and 1.0 differ; reals by their bits). */
bool value_same(const struct value *a, const struct value *b);

/* Equal hashes for whatever value_compare calls equal under that collation. */
uint64_t value_hash(const struct value *v, enum collation collation);

/*
 * Turns a comparison's constant into what SQLite would compare with for a column of that affinity
 * (datatype3 section 4.2): numeric affinities turn number-like text into a number, TEXT turns
 * numbers into text. New text goes to *text, which the caller frees with mem_free; it stays NULL
 * otherwise. STATUS_NOMEM leaves *v as it was.
 */
int value_apply_affinity(struct value *v, enum affinity affinity, char **text);

/*
 * Reads a decimal number as SQLite's numeric affinity does: spaces around it are allowed,
 * hexadecimal is not, an integer past 64 bits is a REAL. STATUS_INVALID when it is no number,
 * STATUS_NOMEM; *v is unchanged then. The process must keep the C locale's decimal point.
 */
int value_parse_number(struct value *v, const char *s, size_t len);

/* The affinity that a declared type gives (datatype3 section 3.1); NULL or "" gives BLOB. */
enum affinity affinity_of_type(const char *declared);

/* INTEGER 1, REAL 1.0, text "…", blob {"$base64":"…"}, NULL and ABSENT null, infinities ±9e999. */
void value_put_json(struct buf *out, const struct value *v);

#endif
