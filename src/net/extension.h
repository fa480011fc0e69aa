#ifndef ROWTAP_NET_EXTENSION_H
#define ROWTAP_NET_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The server's side of negotiating permessage-deflate (RFC 7692 section 7.1), from the values of
 * Sec-WebSocket-Extensions (RFC 6455 section 9.1). Other extensions are read over. Of several
 * offers the first that can be met is taken; one with an unknown, repeated or wrong parameter
 * cannot.
 */
struct extension_choice {
    int window_bits; /* of what the server compresses, 8 to 15; 0: no offer was taken */
    bool named;      /* the client asked for them, and is told */
};

/*
 * Reads one header's value, in the order in which the headers stand; *c is zero before the first.
 * STATUS_INVALID: it is malformed, for which the connection has to be failed, whatever it offers.
 */
int extension_read(struct extension_choice *c, const char *value);

/*
 * The line for the 101, with CRLF; empty when nothing was taken. Neither side keeps its window from
 * one message to the next: that makes one compression do for all receivers, and an idle connection
 * cost nothing.
 */
#define EXTENSION_ANSWER_MAX 160
size_t extension_answer(const struct extension_choice *c, char out[EXTENSION_ANSWER_MAX]);

#endif
