#include "base/pulse.h"

static void answer(struct message *m, void *receiver)
{
    struct pulse *p = (struct pulse *)m;

    (void)receiver;
    atomic_store(&p->out, false);
}

bool pulse_ask(struct pulse *p, struct mailbox *m)
{
    if (atomic_exchange(&p->out, true))
        return false;
    p->message.run = answer;
    mailbox_post(m, &p->message);
    return true;
}
