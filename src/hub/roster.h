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
struct identity;
struct policy;

struct roster {
    struct message message;
    struct hub *hub;
    int next;       /* loop */
    uint32_t limit; /* of those listed */
    uint32_t listed;
    bool own;             /* only connections of the user of … */
    struct identity *who; /* … this one, a reference; NULL: of nobody's, which are none */
    struct buf clients;   /* JSON objects with commas between them */
    /* Called once, on any thread. The roster is the owner's again; roster_fini is due. */
    void (*done)(struct roster *r);
};

#define ROSTER_LIMIT 1000 /* unless asked for more */
#define ROSTER_MAX 10000

/* Who may not read everything is shown their own connections only. Before the start. */
void roster_limit_to(struct roster *r, const struct policy *policy, struct identity *who);
/* hub, limit and done are set, the rest is zero. Belongs to the hub until done. Any thread. */
void roster_start(struct roster *r);
void roster_fini(struct roster *r);
/* {"clientCount","clients":[…],"uptime","timestamp"} */
void roster_put_json(struct buf *out, struct roster *r);

#endif
