#include "access/offender.h"

#define SECOND INT64_C(1000000000)
#define FORGET (10 * SECOND)
#define FIRST (SECOND / 10) /* the second time; then it doubles */
#define LONGEST (60 * SECOND)
#define LEVEL_MAX 11

static void count(struct offender *o)
{
    o->refusals += o->refusals < UINT32_MAX;
}

int64_t offender_waits(struct offender *o, int kind, int64_t now)
{
    if (now >= o->until_ns || !(o->kinds >> kind & 1))
        return 0;
    count(o);
    return o->until_ns - now;
}

int64_t offender_refuse(struct offender *o, int kind, int64_t wait, int64_t now)
{
    int64_t delay;

    if (offender_is_forgotten(o, now))
        *o = (struct offender){.since_ns = now};
    if (now >= o->until_ns) {
        o->kinds = 0;
        o->level += o->level < LEVEL_MAX;
    }
    delay = o->level > 1 ? FIRST << (o->level - 2) : 0;
    if (delay > LONGEST)
        delay = LONGEST;
    if (delay < wait)
        delay = wait;
    if (now + delay > o->until_ns)
        o->until_ns = now + delay;
    o->kinds |= (uint8_t)(1u << kind);
    count(o);
    return o->until_ns - now;
}

bool offender_is_stubborn(const struct offender *o, int64_t now)
{
    return o->refusals >= OFFENDER_REFUSALS && now - o->since_ns >= OFFENDER_SECONDS * SECOND;
}

bool offender_is_forgotten(const struct offender *o, int64_t now)
{
    return o->level == 0 || now >= o->until_ns + FORGET;
}
