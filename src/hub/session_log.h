#ifndef ROWTAP_HUB_SESSION_LOG_H
#define ROWTAP_HUB_SESSION_LOG_H

#include "hub/session.h"

/* What the log says of a connection; never what it sends or gets. Its loop's thread. */
void session_log_opened(const struct session *s);
void session_log_closed(struct session *s, int code); /* counts the code for the statistics */
void session_log_refused(const struct session *s, const char *code); /* a command of its */
void session_log_slow(const struct session *s, const char *consequence);

#endif
