#ifndef ROWTAP_NET_NOTIFY_H
#define ROWTAP_NET_NOTIFY_H

#include <stdbool.h>
#include <sys/un.h>

/*
 * Datagrams to a service manager, as sd_notify(3) describes them: "READY=1\nSTATUS=…". One thread.
 */
struct notify {
    int fd; /* -1: nobody wants to hear */
    struct sockaddr_un address;
    unsigned length;
};

/* `path` is $NOTIFY_SOCKET: absolute, or abstract after a '@'; NULL or another: fd is -1. */
void notify_init(struct notify *n, const char *path);
void notify_fini(struct notify *n);
bool notify_send(struct notify *n, const char *text); /* waits a second at most */

#endif
