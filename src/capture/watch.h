#ifndef ROWTAP_CAPTURE_WATCH_H
#define ROWTAP_CAPTURE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Tells when somebody may have committed to a write-ahead log. A commit is written to the log, of
 * which inotify tells, and only then to its index, at once or after the disk has it; so after news
 * the index is to be looked at again and again, at growing intervals; less often where the news was
 * of ourselves. It is looked at now and then in any case, and often where the system has no
 * inotify, or no more of it.
 */
struct watch {
    int fd; /* for poll; -1: there is none */
    int descriptor;
    char *path;
    int64_t again_ns; /* until the next look; 0: all is quiet */
    int growth;       /* that grows by so many times */
    int64_t found_ns; /* when the last commit was found, by the steady clock */
    int64_t wrote_ns; /* when we committed ourselves */
    bool rush;        /* they come one after the other: nothing is told */
};

/* Copies the path. STATUS_NOMEM; what else fails leaves fd at -1. */
int watch_init(struct watch *w, const char *path);
void watch_fini(struct watch *w);
/* A look found commits. */
void watch_found(struct watch *w);
/* We made one, just now, which is told to us as well: this hears it. */
void watch_wrote(struct watch *w);
/* What to wait for: fd, or -1 while commits rush in. */
int watch_fd(const struct watch *w);
/* How long to wait, in nanoseconds, where there is other cause to look after wait_ms (-1: none). */
int64_t watch_timeout(const struct watch *w, int64_t wait_ms);
/* The wait is over; `readable`: fd is. */
void watch_woke(struct watch *w, bool readable);

#endif
