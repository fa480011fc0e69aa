#ifndef ROWTAP_CAPTURE_WATCH_H
#define ROWTAP_CAPTURE_WATCH_H

#include <stdbool.h>

/*
 * Tells when somebody writes to a file (inotify). Where the system has none of it, or no more of
 * it, fd is -1 and the caller looks now and then.
 */
struct watch {
    int fd; /* readable when there is news; for poll */
    int descriptor;
    char *path;
};

/* Copies the path. STATUS_NOMEM; what else fails leaves fd at -1. */
int watch_init(struct watch *w, const char *path);
void watch_fini(struct watch *w);
void watch_drain(struct watch *w); /* fd was readable */

#endif
