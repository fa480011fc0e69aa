#include "capture/executor_parts.h"

#include "capture/result.h"
#include "capture/unit.h"

static enum step control_begin(struct run *x)
{
    if (x->w->open)
        return executor_refuse(x, "SQL_ERROR", "cannot start a transaction within a transaction");
    int rc = unit_begin(x->w, false);
    return rc == SQLITE_OK ? STEP_NEXT : executor_sqlite_failed(x, rc);
}

static enum step control_end(struct run *x, bool commit)
{
    if (!x->w->open)
        return executor_refuse(x, "SQL_ERROR",
            commit ? "cannot commit - no transaction is active"
                   : "cannot rollback - no transaction is active");
    if (commit)
        return executor_commit_unit(x);
    unit_rollback(x->w);
    return STEP_NEXT;
}

static enum step control_savepoint(struct run *x)
{
    struct writer *w = x->w;
    enum control control = x->p->report.control;
    const char *name = x->p->report.savepoint;
    bool opened = control == CONTROL_SAVEPOINT && !w->open;
    int rc = opened ? unit_begin(w, false) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    w->by_savepoint |= opened;
    sqlite3_step(x->p->stmt);
    rc = sqlite3_reset(x->p->stmt);
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    if (control == CONTROL_RELEASE)
        unit_release(w, name);
    else if (control == CONTROL_ROLLBACK_TO)
        unit_rollback_to(w, name);
    else if ((rc = unit_savepoint(w, name)) != SQLITE_OK)
        return rc == SQLITE_TOOBIG
                   ? executor_refuse(x, "LIMIT_EXCEEDED", "more than 1000 savepoints are open")
                   : executor_nomem(x);
    if (control == CONTROL_RELEASE && w->by_savepoint && w->savepoint_count == 0)
        return executor_commit_unit(x);
    return STEP_NEXT;
}

enum step executor_control(struct run *x)
{
    enum control control = x->p->report.control;
    enum step step;
    if (control >= CONTROL_SAVEPOINT)
        step = control_savepoint(x);
    else if (x->request->transaction)
        return executor_refuse(x, "FORBIDDEN",
            "BEGIN, COMMIT and ROLLBACK are refused here: `statements` is one transaction already");
    else
        step =
            control == CONTROL_BEGIN ? control_begin(x) : control_end(x, control == CONTROL_COMMIT);
    if (step == STEP_NEXT) {
        buf_truncate(&x->request->json, x->start);
        result_empty(&x->request->json);
        executor_end_answer(x, 0);
    }
    return step;
}
