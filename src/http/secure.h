#ifndef ROWTAP_HTTP_SECURE_H
#define ROWTAP_HTTP_SECURE_H

#include "http/request.h"

struct http_options;
struct tls;

/*
 * With TLS the front (net/front.h) listens, and civetweb only hears of connections from it, on a
 * port of the loopback interface that is nobody else's business.
 */

/* Opens h->addresses, and fills in the ports. STATUS_IO and a sentence for the user. */
int secure_listen(struct http *h, const struct http_options *o, struct buf *err);
/*
 * For everything that civetweb reports of a connection: who is really behind it, in civetweb's own
 * description of it and in w->client. False: it does not come from the front. True without TLS.
 */
bool secure_identify(struct http *h, struct worker *w, struct mg_connection *conn);
/*
 * Takes the connection for the hub: its descriptor, or -1 and why. more_allowed: what the client
 * has sent behind its request is thrown away.
 */
int secure_take(struct request *r, bool more_allowed, struct tls **tls, const char **why);

#endif
