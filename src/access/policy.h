#ifndef ROWTAP_ACCESS_POLICY_H
#define ROWTAP_ACCESS_POLICY_H

#include "access/rule.h"
#include "base/buf.h"
#include "base/map.h"
#include "change/schema.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Who may what, as the file of --policy says it. Immutable once read, counted by references, shared
 * by threads. What is not granted is denied: no role, or one that the file does not have, may do
 * nothing.
 *
 *   {"roles": {ROLE: {
 *       "sql": BOOL,                              may run SQL, as far as `tables` reaches
 *       "tables": {TABLE or "*": {
 *           "read":  BOOL or [COLUMN, …],
 *           "write": BOOL or [COLUMN, …],
 *           "rows":  RULE or [RULE, …]}},         see access/rule.h
 *       "channels": {"join": [PATTERN, …], "broadcast": [PATTERN, …]}}}}
 *
 * Every member may be left out. Names of tables and columns are in any ASCII case. A table that is
 * named is not also "*". A PATTERN is a channel's name, or the beginning of one with "*" behind it.
 */
struct policy_columns {
    bool all;
    int count; /* of names; neither all nor any: none */
    char **names;
};

struct policy_table {
    char *name; /* "*": every other */
    struct policy_columns read, write;
    bool rules_listed;   /* in the file they are a list */
    struct rule **rules; /* a row is permitted when all of them hold */
    int rule_count;
};

struct policy_patterns {
    char **items;
    int count;
};

struct policy_role {
    char *name;
    json_t *source; /* as in the file */
    bool sql;
    struct policy_table **tables;
    int table_count;
    struct map by_name; /* of tables, in any ASCII case */
    struct policy_patterns join, broadcast;
};

struct policy {
    atomic_uint refs;
    char *text; /* as read, for messages that name a line */
    size_t text_len;
    struct policy_role **roles;
    int role_count;
};

/* Bounds on what a file may hold. */
#define POLICY_MAX_FILE (4u << 20)
#define POLICY_MAX_RULES 8

/*
 * Reads a file, or the text of one. On failure NULL, STATUS_INVALID, STATUS_IO or STATUS_NOMEM in
 * *status, and in err a sentence that names the line and the place in the file.
 */
struct policy *policy_read(const char *path, struct buf *err, int *status);
struct policy *policy_parse(const char *text, size_t len, struct buf *err, int *status);

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL is allowed */

/* What a role may do; NULL: nothing. `role` NULL: nobody's. */
const struct policy_role *policy_role(const struct policy *p, const char *role);
/* What the role may do with a table of that name; NULL: nothing. */
const struct policy_table *policy_table(const struct policy_role *r, const char *name);
bool policy_has_column(const struct policy_columns *c, const char *name);
static inline bool policy_any_column(const struct policy_columns *c)
{
    return c->all || c->count > 0;
}
/* The role may read every row and column of every table that there is or will be. */
bool policy_reads_all(const struct policy *p, const char *role);
/* And may run SQL, and write all of it: no statement has to be looked at. */
bool policy_unlimited(const struct policy *p, const char *role);
bool policy_channel(const struct policy_patterns *p, const char *name, size_t len);
/* Both say the same of a role, or nothing. */
bool policy_same_role(const struct policy *a, const struct policy *b, const char *role);

/*
 * Compares it with a database: a line in `out` for each table and column that is not there, each
 * condition that does not fit its table, and each table whose events could not be sent because its
 * primary key may not be read. Returns how many they are. A table that is not there may come later.
 */
int policy_check(const struct policy *p, const struct schema *schema, struct buf *out);

#endif
