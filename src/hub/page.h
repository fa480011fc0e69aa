#ifndef ROWTAP_HUB_PAGE_H
#define ROWTAP_HUB_PAGE_H

#include "base/list.h"
#include "capture/scan.h"

/*
 * Pages of the journal for the replays of one loop, read ahead by the database's pager. There are
 * only so many at a time: a replay that finds no place waits in line, and one that waits for its
 * client to read gives its pages up when somebody else wants them. Loop thread only.
 */
struct replay;
struct shard;

struct page {
    struct past past;
    struct shard *shard;
    struct replay *replay; /* NULL: nobody wants it any more, it is freed when it is back */
    bool away;             /* the pager has it */
};

#define SHARD_PAGES 16          /* pages of one loop at a time */
#define PAGE_BYTES (256u << 10) /* of one, about */

/*
 * The journal's batch that holds the change after the replay's. NULL and *status: 0, it has to be
 * asked for or waited for; or negative, it cannot be had.
 */
const struct batch *page_find(struct replay *r, int *status);
/*
 * Sees to it that the replay gets the page that page_find did not find; it is ready again then.
 * STATUS_NOMEM.
 */
int page_want(struct replay *r);
void page_drop(struct replay *r); /* the replay needs none any more, or not now */

#endif
