#ifndef ROWTAP_CAPTURE_EXECUTOR_H
#define ROWTAP_CAPTURE_EXECUTOR_H

#include "capture/params.h"
#include "capture/writer.h"

/*
 * Runs the SQL of a request: splits scripts into statements, statements into units, and writes the
 * answer or the error.
 */
struct job {
    struct sql_request *request;
    struct sqlconn
        *sql;     /* what its SQL is prepared and run on: the writer's, or a mirror over it */
    uint64_t end; /* group: changes in the batch when it was through */
    int64_t begun_ns;
    bool wrote; /* something of it is kept, should the group commit */
    int index;  /* of the statement that runs; -1: what fails now is not one's fault */
};

enum outcome {
    OUTCOME_DONE,  /* with an answer or an error; what it wrote is in the batch */
    OUTCOME_ALONE, /* cannot be done in a group: undo what it did and run it by itself */
    OUTCOME_LOST,  /* it took the group's transaction with it */
};

/* On the writer, in a group or alone. Database thread. */
enum outcome executor_write(struct writer *w, struct job *j);

void executor_reset(struct job *j); /* forgets an answer or error, to run the request again */
void executor_finish(struct job *j, uint64_t seq); /* completes the answer */

#endif
