#include "base/clock.h"
#include "base/mem.h"
#include "capture/database_parts.h"
#include "capture/query.h"
#include "capture/statement_log.h"

struct database_turn {
    struct sqlconn *conn; /* NULL: it has not begun */
    struct moment kept;
};

struct database_turn *database_turn_new(void)
{
    return mem_zalloc(sizeof(struct database_turn));
}

void database_turn_end(struct database *db, struct database_turn *turn)
{
    if (!turn->conn)
        return;
    if (turn->kept.placed)
        sqlconn_release(turn->conn);
    readers_give(&db->readers, turn->conn);
    *turn = (struct database_turn){.conn = NULL};
}

void database_turn_free(struct database_turn *turn)
{
    mem_free(turn);
}

bool database_execute_swiftly(
    struct database *db, struct database_turn *turn, struct sql_request *r)
{
    struct job j = {.request = r};
    if (r->policy || !query_possible(r))
        return false;
    if (!turn->conn)
        turn->conn = readers_try(&db->readers);
    if (!turn->conn)
        return false;
    r->posted_ns = clock_mono_ns();
    statement_log_begin(r);
    r->only_read = query_run_next(turn->conn, &db->published, &db->swift, &j, &turn->kept) &&
                   !r->error.code[0];
    if (r->only_read)
        statement_log_read(r, &db->published, &db->options);
    return r->only_read;
}
