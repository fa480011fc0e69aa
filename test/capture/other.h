#ifndef ROWTAP_TEST_CAPTURE_OTHER_H
#define ROWTAP_TEST_CAPTURE_OTHER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * Another process with a connection of its own to the same file. It takes one line of SQL after the
 * other and answers each, so that a test says in which order who commits. A line ".times N SQL" is
 * run N times, each waiting for the others' locks; an error ends it.
 */
struct other {
    pid_t pid;
    FILE *to, *from;
    char answer[4096];
};

/*
 * First in main: the process that other_start starts is this program again, and does not return
 * from here.
 */
void other_main(int argc, char **argv);

void other_start(struct other *o, const char *path);
/* Closes the connection, or the process is killed where it stands. */
void other_end(struct other *o);
void other_kill(struct other *o);

/* Without waiting for the answer. */
void other_send(struct other *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whether other_wait would not wait. */
bool other_ready(struct other *o);
/* The answer to the oldest that has none: values of all rows with "|" between, or "error: …". */
const char *other_wait(struct other *o);
/* Both; the first one fails the test on an error. */
const char *other_ok(struct other *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *other_try(struct other *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
