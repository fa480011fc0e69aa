#include "capture/counts.h"

#include <stddef.h>

static void changes_function(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    (void)argc;
    (void)argv;
    sqlite3_result_int64(context, counts_changes(sqlite3_user_data(context)));
}

int counts_init(struct counts *c, sqlite3 *db)
{
    *c = (struct counts){.db = db};
    return sqlite3_create_function_v2(
        db, "changes", 0, SQLITE_UTF8 | SQLITE_INNOCUOUS, c, changes_function, NULL, NULL, NULL);
}

/* A statement of the user's since then has moved one counter or both: the server's left `after` at
 * 1, and who changes one row moves the total. */
int64_t counts_changes(const struct counts *c)
{
    int64_t now = sqlite3_changes64(c->db);
    bool same = now == c->after && sqlite3_total_changes64(c->db) == c->total_after;
    return c->hidden && same ? c->changes : now;
}

void counts_restore(struct counts *c, int64_t changes)
{
    c->changes = changes;
    c->after = sqlite3_changes64(c->db);
    c->total_after = sqlite3_total_changes64(c->db);
    c->hidden = true;
}
