#ifndef ROWTAP_ACCESS_OFFENDER_H
#define ROWTAP_ACCESS_OFFENDER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The memory of who was told to wait. The first time that is until there is a token again; who then
 * goes on too fast waits twice as long each time, up to a minute; who has kept quiet for ten
 * seconds past that begins anew. Kinds of messages are bits of `kinds`: only those that were too
 * many are refused. Not thread-safe.
 */
struct offender {
    int64_t since_ns, until_ns; /* of the steady clock */
    uint32_t refusals;          /* since then */
    uint8_t level;              /* how often it was told; 0: there is no offence */
    uint8_t kinds;
};

#define OFFENDER_REFUSALS 1000 /* so many … */
#define OFFENDER_SECONDS 5     /* … over this time are stubborn */

/* ns that this kind is still to wait, which counts as a refusal; 0: it is not. */
int64_t offender_waits(struct offender *o, int kind, int64_t now_ns);
/* There was no token for `wait_ns`: how long it is to wait. */
int64_t offender_refuse(struct offender *o, int kind, int64_t wait_ns, int64_t now_ns);
bool offender_is_stubborn(const struct offender *o, int64_t now_ns);
bool offender_is_forgotten(const struct offender *o, int64_t now_ns);

#endif
