#ifndef ROWTAP_TEST_CHANGE_FIXTURE_H
#define ROWTAP_TEST_CHANGE_FIXTURE_H

#include "base/mem.h"
#include "change/schema.h"
#include "change/value.h"
#include <string.h>

#define INTEGER(v) ((struct value){.i = (v), .type = VALUE_INTEGER})
#define REAL(v) ((struct value){.r = (v), .type = VALUE_REAL})
#define TEXT(s) ((struct value){.p = (s), .len = sizeof(s) - 1, .type = VALUE_TEXT})
#define BLOB(s) ((struct value){.p = (s), .len = sizeof(s) - 1, .type = VALUE_BLOB})
#define NULL_VALUE ((struct value){.type = VALUE_NULL})
#define ABSENT ((struct value){.type = VALUE_ABSENT})

static inline void fixture_flags(struct table *t, int i, const char *flags)
{
    struct column *c = &t->columns[i];
    for (; *flags; flags++) {
        switch (*flags) {
        case 'k':
            c->pk = ++t->key_count;
            t->key_columns[c->pk - 1] = i;
            break;
        case 'n':
            c->collation = COLLATION_NOCASE;
            break;
        case 'r':
            c->collation = COLLATION_RTRIM;
            break;
        case 'v':
            c->kind = COLUMN_VIRTUAL;
            break;
        case 's':
            c->kind = COLUMN_STORED;
            break;
        case 'h':
            c->kind = COLUMN_HIDDEN;
            break;
        case '!':
            c->not_null = true;
            break;
        }
    }
}

/*
 * A table from strings "name:type:flags", ended by NULL. Flags: k key, n NOCASE, r RTRIM, v
 * virtual, s stored, h hidden, ! NOT NULL. Column ids are 1, 2, 3, ….
 */
static inline struct table *fixture_table(const char *name, const char *const *columns)
{
    int count = 0;
    while (columns[count])
        count++;
    struct table *t = table_new(name, count);
    t->id = 1;
    t->key_columns = mem_array((size_t)count + 1, sizeof(int));
    for (int i = 0; i < count; i++) {
        const char *type = strchr(columns[i], ':');
        const char *flags = strchr(type + 1, ':');
        struct column *c = &t->columns[i];
        c->name = mem_strndup(columns[i], (size_t)(type - columns[i]));
        c->type = mem_strndup(type + 1, (size_t)(flags - type - 1));
        c->affinity = (uint8_t)affinity_of_type(c->type);
        c->id = (uint64_t)i + 1;
        c->stored = i;
        fixture_flags(t, i, flags + 1);
    }
    return t;
}

#define TABLE(name, ...) fixture_table(name, (const char *const[]){__VA_ARGS__, NULL})

#endif
