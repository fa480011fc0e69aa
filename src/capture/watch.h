#ifndef ROWTAP_CAPTURE_WATCH_H
#define ROWTAP_CAPTURE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Tells when somebody may have committed to a write-ahead log. A commit is written to the log, of
 * which inotify tells, and only then to its index, at once or after the disk has it; so after news
 * the index is to be looked at again and again, at growing intervals. It is looked at now and then
 * in any case, and often where the system has no inotify, or no more of it.
 */
struct watch {
    int fd;   /* of inotify; -1: there is none */
    int ears; /* an epoll with fd in it, unless deaf: for poll */
    bool deaf;
    int descriptor;
    char *path;
    int64_t again_ns; /* until the next look; 0: all is quiet */
    int64_t found_ns; /* when the last commit was found, by the steady clock */
    int64_t wrote_ns; /* when we committed ourselves */
    bool rush;        /* they come one after the other: nothing is told */
};

/* Copies the path. STATUS_NOMEM; what else fails leaves fd at -1. */
int watch_init(struct watch *w, const char *path);
void watch_fini(struct watch *w);
/* A look found commits. */
void watch_found(struct watch *w);
/*
 * We made one, just now, which is told to us as well: this hears it, and all that others wrote up
 * to now. With true a rush begins: the looks have to come at watch_timeout from now on.
 */
bool watch_wrote(struct watch *w);
/* Others may have written as well: look soon. */
void watch_missed(struct watch *w);
/*
 * While we write ourselves nobody who waits for watch_fd is to be woken by it; whatever is told
 * meanwhile is there afterwards, unless watch_wrote hears it.
 */
void watch_deafen(struct watch *w);
void watch_hear(struct watch *w);
/* What to wait for: fd, or -1 while commits rush in. */
int watch_fd(const struct watch *w);
/* How long to wait, in nanoseconds, where there is other cause to look after wait_ms (-1: none). */
int64_t watch_timeout(const struct watch *w, int64_t wait_ms);
/* The wait is over; `readable`: fd is. */
void watch_woke(struct watch *w, bool readable);

#endif
