#ifndef ROWTAP_HUB_ROSTER_H
#define ROWTAP_HUB_ROSTER_H

#include "base/buf.h"
#include "base/mailbox.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Who is connected. Only a loop knows its clients, so a message goes from one loop to the next and
 * each adds its own; nobody waits for it.
 */
struct hub;

struct roster {
    struct message message;
    struct hub *hub;
    int next;       /* loop */
    uint32_t limit; /* of those listed */
    uint32_t listed;
    struct buf clients; /* JSON objects with commas between them */
    /* Called once, on any thread. The roster is the owner's again; roster_fini is due. */
    void (*done)(struct roster *r);
};

#define ROSTER_LIMIT 1000 /* unless asked for more */
#define ROSTER_MAX 10000

/* hub, limit and done are set, the rest is zero. Belongs to the hub until done. Any thread. */
void roster_start(struct roster *r);
void roster_fini(struct roster *r);
/* {"clientCount","clients":[…],"uptime","timestamp"} */
void roster_put_json(struct buf *out, struct roster *r);

#endif
