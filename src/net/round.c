#include "base/clock.h"
#include "net/private.h"

#include <sched.h>

/* Sending, at the end of a turn. */

#define YIELD_SENDS 4
#define YIELD_WITHIN_NS 2000000 /* when messages come so closely that more may be expected */
#define YIELD_MAX_NS 1000000    /* where others take so long, they are … */
#define SELFISH_NS 100000000    /* … not let in for so long */
#define JOIN_SENDS 16
#define JOIN_NS 10000000 /* to take what is new costs another visit to each connection, … */
#define JOIN_TIMES 8     /* … so it is done seldom, and for a small part of the time */

void round_begin(struct loop *l, int64_t now_ns)
{
    l->join_ns = now_ns + JOIN_NS;
    if (!mailbox_waits(&l->mailbox))
        return;
    l->behind |= now_ns - l->told_ns < YIELD_WITHIN_NS;
    l->told_ns = now_ns;
}

/*
 * Who posts often may share this processor, needs little of it for each message, and is soon done
 * with many while we send. But the scheduler lets in who has just worked no sooner than its next
 * tick, milliseconds later, unless it is asked to. Not for those who then keep the processor.
 */
static void let_others_in(struct loop *l)
{
    int64_t began, ended;

    l->behind |= mailbox_waits(&l->mailbox);
    if (!l->behind)
        return;
    began = clock_mono_ns();
    if (began < l->selfish_ns)
        return;
    sched_yield();
    ended = clock_mono_ns();
    if (ended - began > YIELD_MAX_NS)
        l->selfish_ns = ended + SELFISH_NS;
}

void round_sent(struct loop *l)
{
    if (++l->sent_to % YIELD_SENDS == 0)
        let_others_in(l);
}

/*
 * To send to thousands takes long. Those whose turn is still to come get what is posted meanwhile
 * along with the rest, and not once more for it.
 */
static void join_in(struct loop *l)
{
    int64_t began, ended;

    if (!mailbox_waits(&l->mailbox))
        return;
    began = clock_mono_ns();
    if (began < l->join_ns)
        return;
    loop_run_mailbox(l);
    if (l->options.turn_end)
        l->options.turn_end(l->options.ctx);
    ended = clock_mono_ns();
    l->join_ns = ended + JOIN_NS + JOIN_TIMES * (ended - began);
}

void round_flush(struct loop *l)
{
    struct list end;
    unsigned count = 0;

    list_add_tail(&l->dirty, &end);
    while (l->dirty.next != &end) {
        struct conn *c = list_entry(l->dirty.next, struct conn, dirty);

        list_del(&c->dirty);
        conn_io_flush(c);
        if (++count % JOIN_SENDS == 0)
            join_in(l);
    }
    list_del(&end);
}
