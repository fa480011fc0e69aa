#ifndef ROWTAP_CAPTURE_GROUP_H
#define ROWTAP_CAPTURE_GROUP_H

#include "capture/executor.h"

/*
 * Group commit: the requests waiting together share one SQLite transaction, each in a savepoint of
 * its own, and are answered after the one COMMIT. What would disturb the others runs by itself.
 */
#define GROUP_MAX 256

struct group {
    struct writer *w;
    struct job jobs[GROUP_MAX];
    int count;
    struct sql_request *head, **tail; /* waiting, linked by message.next */
};

void group_init(struct group *g, struct writer *w);
void group_push(struct group *g, struct sql_request *r);
bool group_empty(const struct group *g);
void group_run(struct group *g); /* some of the waiting requests, from the first */
/* Answers all that wait with an error: nothing of them was run. */
void group_refuse(struct group *g, const char *code, const char *message);

#endif
