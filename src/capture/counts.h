#ifndef ROWTAP_CAPTURE_COUNTS_H
#define ROWTAP_CAPTURE_COUNTS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What the SQL function changes() says on a connection on which the server runs statements of its
 * own between the user's. SQLite lets nobody set that number, as it does for last_insert_rowid, so
 * the function is replaced.
 */
struct counts {
    sqlite3 *db;
    int64_t changes; /* what the user's last statement changed */
    int64_t after;   /* the connection's two counters when the server's had run */
    int64_t total_after;
    bool hidden; /* the server's ran last */
};

/* From now on changes() asks c, which has to live as long as the connection. A result code. */
int counts_init(struct counts *c, sqlite3 *db);
int64_t counts_changes(const struct counts *c);
/* After statements of the server's own: what counts_changes said before them. */
void counts_restore(struct counts *c, int64_t changes);

#endif
