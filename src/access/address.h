#ifndef ROWTAP_ACCESS_ADDRESS_H
#define ROWTAP_ACCESS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* IP addresses, networks, and whom to believe about them. Pure functions; any thread. */
struct address {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2) */
};

/* "10.1.2.3", "2001:db8::1"; no zone, no brackets, no port. STATUS_INVALID. */
int address_parse(struct address *out, const char *s, size_t len);
bool address_is_v4(const struct address *a);
bool address_is_loopback(const struct address *a); /* 127.0.0.0/8, ::1 */

#define ADDRESS_TEXT_MAX 46
void address_format(char out[ADDRESS_TEXT_MAX], const struct address *a);

struct network {
    struct address address;
    int bits; /* of 128 */
};

/* "10.0.0.0/8", "fd00::/8", or one address. Bits behind the prefix must be 0. STATUS_INVALID. */
int network_parse(struct network *out, const char *s);
bool network_has(const struct network *n, const struct address *a);

/*
 * One step from a peer that is believed to whom it speaks for: the last of an X-Forwarded-For list,
 * "client, proxy1, proxy2", which may have ports. *len is cut to what is left of it. False: nothing
 * is left, or it is no address.
 */
bool address_last_forwarded(struct address *out, const char *list, size_t *len);

#endif
