#ifndef ROWTAP_CAPTURE_MIRROR_PARTS_H
#define ROWTAP_CAPTURE_MIRROR_PARTS_H

#include "access/grant.h"
#include "capture/mirror.h"

/* What the parts of a mirror share. */

/* One virtual table. */
struct mirror_table {
    struct mirror *mirror;
    const struct table *table;
    bool reads, writes; /* the role may */
    bool writes_all;    /* every column */
    uint64_t *readable; /* bit sets over the table's columns; NULL: all */
    uint64_t *writable;
    uint64_t *indexed; /* columns that an index begins with */
    int column_count;  /* of the virtual table … */
    int *columns;      /* … and which of the table's they are */
    const char *rowid; /* the name of the table's rowid, or NULL */
    /* For the present request. */
    bool bound;
    struct grant grant;         /* its rows are those that may be seen and written */
    struct buf where;           /* the conditions as SQL, "(…)" or "1" … */
    const struct value *params; /* … and what ?1, ?2, … in it are */
    int param_count;
};

struct mirror {
    struct sqlconn conn; /* in memory */
    struct sqlconn *file;
    struct list node;
    struct policy *policy; /* references */
    char *role;
    const struct schema *schema;
    struct mirror_table *tables;
    int table_count;
    struct map by_name; /* of tables, in any ASCII case */
    bool in_use;
    /* For the present request. */
    const struct identity *who;
    const char *sql; /* of the present statement */
    size_t len;
    sqlite3_stmt *write;  /* the last one that changed a row of the file … */
    struct buf write_sql; /* … and its text */
};

extern const sqlite3_module mirror_module; /* for reading alone */
extern const sqlite3_module mirror_write_module;

struct mirror_table *mirror_find(const struct mirror *m, const char *name);
static inline bool mirror_has(const uint64_t *columns, int column)
{
    return !columns || (columns[column / 64] >> (column % 64) & 1);
}

/* The authorizer of its connection; ctx is the struct mirror. */
int mirror_authorize(
    void *ctx, int code, const char *a, const char *b, const char *schema, const char *trigger);

/* Fills in the table's rule for the present request. A result code of SQLite. */
int mirror_bind_rule(struct mirror_table *t);
/* Binds the rule's values. The statement's further parameters follow them. */
int mirror_bind_values(struct mirror_table *t, sqlite3_stmt *s);
void mirror_put_name(struct buf *sql, const char *name);
void mirror_put_table(struct buf *sql, const struct table *t); /* main."name" */
/* Hands an error of the file's connection on, without what it may tell of what is denied. */
int mirror_failed(struct mirror_table *t, sqlite3_vtab *v, int rc);
/* The user is told that they may not; fails the statement. */
int mirror_refuse(struct mirror *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct mirror_table *mirror_table_of(sqlite3_vtab *v);
/* sqlite3_module's xUpdate. */
int mirror_update(sqlite3_vtab *v, int argc, sqlite3_value **argv, sqlite3_int64 *rowid);

#endif
