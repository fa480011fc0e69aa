#ifndef ROWTAP_TEST_CAPTURE_ASKER_H
#define ROWTAP_TEST_CAPTURE_ASKER_H

#include "fixture.h"

#include "capture/scan.h"
#include <semaphore.h>

/* Somebody who asks the pager and waits for its answers. Zeroed, then asker_init. */
struct asker {
    struct fixture *f;
    struct scan scan;
    struct past past;
    sem_t came;
    uint64_t rows, pages; /* that came so far */
    struct buf text;      /* the rows, as the fixture writes INSERTs down */
};

void asker_init(struct asker *a, struct fixture *f);
void asker_fini(struct asker *a);

void asker_post(struct asker *a, enum scan_step step); /* does not wait for the answer */
int asker_wait(struct asker *a);                       /* the answer's status */
int asker_step(struct asker *a, enum scan_step step);  /* both */

/* SCAN_OPEN and the table of that name in its schema; both must work. */
void asker_open(struct asker *a, const char *table);
/* One page, whose rows are written down. 0, 1 (the last one) or an error. */
int asker_page(struct asker *a);
void asker_rest(struct asker *a);  /* pages until the last */
void asker_close(struct asker *a); /* SCAN_CLOSE */

int asker_past(struct asker *a, uint64_t after, size_t max_bytes); /* a page of the journal */

#endif
