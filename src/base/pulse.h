#ifndef ROWTAP_BASE_PULSE_H
#define ROWTAP_BASE_PULSE_H

#include "base/mailbox.h"
#include <stdatomic.h>

/*
 * Whether a thread still takes what is posted to it: one message that goes out again when it was
 * answered. A zeroed struct is one that has nothing to ask.
 */
struct pulse {
    struct message message;
    atomic_bool out;
};

/*
 * True when the last question was answered: then the next is posted. False: nothing is done. The
 * asker's thread; the mailbox's thread must run on until then, or run what is left at its end.
 */
bool pulse_ask(struct pulse *p, struct mailbox *m);

#endif
