#ifndef ROWTAP_HTTP_LISTEN_H
#define ROWTAP_HTTP_LISTEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Addresses to listen on, and which names a request may call the server by. A browser sends a
 * page's own origin and the name it connected to, so these checks keep web pages of other sites
 * from connecting (also under a name of theirs that resolves to this machine). Pure functions; any
 * thread.
 */
struct listen_address {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
};

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080", "*:80" or "8080" (loopback). STATUS_INVALID. */
int listen_parse(struct listen_address *out, const char *s);
bool listen_is_loopback(const struct listen_address *a);
bool listen_is_any(const struct listen_address *a); /* 0.0.0.0 or [::] */

int listen_port(const struct listen_address *a);
void listen_set_port(struct listen_address *a, int port);

/* "127.0.0.1:8080" or "[::1]:8080". */
#define LISTEN_TEXT_MAX 64
void listen_format(char out[LISTEN_TEXT_MAX], const struct listen_address *a);

/* "http://name:port" or "https://…" and nothing more. */
bool listen_origin_valid(const char *origin);

struct listen_names {
    const struct listen_address *addresses;
    int address_count;
    const char *const *origins; /* each listen_origin_valid */
    int origin_count;
};

/* The Host header names this server. NULL is no header. */
bool listen_host_allowed(const struct listen_names *names, const char *host);
/* One of `origins`, whatever the Host. */
bool listen_origin_listed(const struct listen_names *names, const char *origin);
/* The page came from the server itself: the origin is http://HOST or https://HOST. */
bool listen_origin_same(const char *origin, const char *host);

#endif
