#include "http/execute.h"

#include "capture/database.h"
#include "http/stack.h"

struct execution {
    struct database *db;
    struct sql_request *sql;
};

static void execute(void *arg)
{
    struct execution *x = arg;

    database_execute(x->db, x->sql);
}

bool execute_run(struct request *r, struct sql_request *sql)
{
    struct execution x = {r->http->db, sql};
    struct worker *w = r->worker;

    if (!w->stack)
        w->stack = stack_new();
    if (w->stack)
        stack_run(w->stack, execute, &x);
    return w->stack;
}
