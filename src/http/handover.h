#ifndef ROWTAP_HTTP_HANDOVER_H
#define ROWTAP_HTTP_HANDOVER_H

#include "http/request.h"

struct dialect;
struct hub_client;

/*
 * civetweb would keep a thread for as long as the connection lives, so the socket is taken from it
 * and given to the hub: its descriptor is found by its addresses, duplicated above civetweb's own,
 * and one end of a dead socket pair is put in its place. civetweb reads end-of-file and its thread
 * is free. `hello` and the client are as in hub_adopt; the client's address and limits are filled
 * in, the latter from the request, after limits_connect.
 *
 * NULL: the hub has it. Otherwise why not, for the user; the request is still to be answered then.
 * handover_not_alone, and nothing equal to it: the client's mistake.
 */
extern const char handover_not_alone[];
const char *handover_run(
    struct request *r, const struct dialect *dialect, struct hub_client *client, const char *hello);

#endif
