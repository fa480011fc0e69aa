#ifndef ROWTAP_CHANGE_SCHEMA_H
#define ROWTAP_CHANGE_SCHEMA_H

#include "base/buf.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Snapshots of a database's schema. Immutable once built and counted by references, so any thread
 * may read one it holds a reference to. A table whose definition did not change is shared between
 * successive snapshots: equal pointers mean an equal definition.
 */
/* The last two are generated columns. */
enum column_kind { COLUMN_PLAIN, COLUMN_HIDDEN, COLUMN_VIRTUAL, COLUMN_STORED };

struct column {
    char *name;
    char *type;        /* declared type, "" when none */
    char *default_sql; /* SQL text, or NULL */
    uint64_t id;       /* the same across renames of the column and the table */
    int stored;        /* index among the stored columns, -1 for a virtual generated one */
    int pk;            /* 1-based place in the PRIMARY KEY, 0 outside */
    uint8_t kind;      /* enum column_kind */
    uint8_t affinity;
    uint8_t collation;
    bool not_null;
};

enum table_kind { TABLE_PLAIN, TABLE_VIRTUAL, TABLE_SHADOW, TABLE_VIEW };

struct table {
    atomic_uint refs;
    uint64_t id; /* unique in the process; stays across ALTER TABLE, not across DROP and CREATE */
    char *name;
    char *sql; /* the CREATE statement, NULL for none */
    uint8_t kind;
    bool without_rowid;
    bool strict;
    bool internal; /* sqlite_*, rowtap_* and shadow tables: never shown to anyone */
    int column_count;
    struct column *columns;
    int key_count;    /* columns of the PRIMARY KEY; 0 = the key is the rowid */
    int *key_columns; /* column indexes in key order; mem_free'd with the table */
    int rowid_alias;  /* the INTEGER PRIMARY KEY's column, or -1 */
    int64_t root_page;
};

struct schema {
    atomic_uint refs;
    uint32_t cookie; /* PRAGMA schema_version */
    int table_count;
    struct table **tables; /* by name, ASCII case ignored; internal ones included */
};

/* Zeroed columns, one reference. The strings put into it become the table's (base/mem.h). */
struct table *table_new(const char *name, int column_count);
struct table *table_ref(const struct table *t);
void table_unref(const struct table *t);                               /* NULL is allowed */
int table_column(const struct table *t, const char *name, size_t len); /* index or -1; any case */
/* A name for the rowid that no column hides; NULL where there is no rowid or no such name. */
const char *table_rowid_name(const struct table *t);
/* The rows of this table are reported as changes. */
bool table_has_events(const struct table *t);
/* What a subscriber can see of the definition (name apart) is the same. */
bool table_same_columns(const struct table *a, const struct table *b);

/* One reference. The caller fills tables, in the order of text_casecmp, with its references. */
struct schema *schema_new(int table_count);
struct schema *schema_ref(const struct schema *s);
void schema_unref(const struct schema *s); /* NULL is allowed */
/* Without a new reference; NULL when there is none. */
struct table *schema_find(const struct schema *s, const char *name, size_t len);
struct table *schema_find_id(const struct schema *s, uint64_t id);

/* {"name":"users","columns":[{"name","type","notNull","default","primaryKey","generated"},…],…} */
void table_put_json(struct buf *out, const struct table *t);
void table_put_columns_json(struct buf *out, const struct table *t); /* the array alone */
/* With the columns in a bit set (64 a word) alone, which has those of the key; NULL: all. */
void table_put_some_json(struct buf *out, const struct table *t, const uint64_t *columns);

#endif
