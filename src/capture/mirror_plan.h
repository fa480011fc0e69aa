#ifndef ROWTAP_CAPTURE_MIRROR_PLAN_H
#define ROWTAP_CAPTURE_MIRROR_PLAN_H

#include "capture/mirror_parts.h"

/*
 * Which comparisons of a statement in a mirror the file makes, so that its indexes are used, and in
 * which order it gives the rows (https://www.sqlite.org/vtab.html#the_xbestindex_method).
 */
#define MIRROR_TERMS 16

/* A comparison that goes down to the file. */
struct mirror_term {
    char op;
    int column; /* of the table; -1: the rowid */
    char collation;
};

/* What xBestIndex decided on, as xFilter reads it from the text in between. */
struct mirror_plan {
    unsigned long long used; /* columns of the virtual table; the last bit: all from there on */
    char order;              /* 'a' or 'd': by the rowid */
    int count;
    struct mirror_term terms[MIRROR_TERMS];
};

int mirror_best_index(sqlite3_vtab *v, sqlite3_index_info *info);
void mirror_plan_read(struct mirror_plan *p, const char *text);
/* What follows the rule in the WHERE, for these values; and binds them. */
void mirror_plan_put(struct buf *sql, const struct mirror_table *t, const struct mirror_plan *plan,
    sqlite3_value **argv);
int mirror_plan_bind(sqlite3_stmt *s, const struct mirror_table *t, const struct mirror_plan *plan,
    sqlite3_value **argv);

#endif
