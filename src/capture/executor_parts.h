#ifndef ROWTAP_CAPTURE_EXECUTOR_PARTS_H
#define ROWTAP_CAPTURE_EXECUTOR_PARTS_H

#include "capture/executor.h"

/* What the executor and its handling of transactions (executor_control.c) share. */

/* What becomes of the request after a step of it. */
enum step { STEP_NEXT, STEP_FAILED, STEP_ALONE };

/* The statement at work. */
struct run {
    struct writer *w;
    struct job *job;
    struct sql_request *request;
    struct params params;
    struct prepared *p;
    struct sqlconn *from; /* where that is from */
    const char *sql;      /* of the whole text */
    size_t len, pos;
    size_t start; /* of this text's answer in the JSON */
};

enum step executor_refuse(struct run *x, const char *code, const char *message);
enum step executor_sqlite_failed(struct run *x, int rc);
enum step executor_nomem(struct run *x);
enum step executor_commit_unit(struct run *x);
void executor_end_answer(struct run *x, int64_t changes);

/* BEGIN, COMMIT, ROLLBACK and what concerns savepoints. */
enum step executor_control(struct run *x);

#endif
