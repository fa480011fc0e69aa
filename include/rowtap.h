#ifndef ROWTAP_H
#define ROWTAP_H

#include <stddef.h>

/*
 * rowtap inside a C program: the same server that `rowtap serve` runs, in threads of its own. Link
 * with -lrowtap.
 *
 *     const char *const words[] = {"shop.db", "--listen", "127.0.0.1:0", NULL};
 *     char error[512];
 *     struct rowtap *r = rowtap_start(words, error, sizeof(error));
 *     if (!r)
 *         return fprintf(stderr, "%s\n", error), 1;
 *     printf("%s\n", rowtap_address(r, 0));
 *     …
 *     rowtap_stop(r);
 *
 * The program may write to the same file through its own SQLite connections as any other process
 * may. Threads inherit the signal mask of the one that calls rowtap_start; SIGPIPE is ignored from
 * then on.
 */
#ifdef __cplusplus
extern "C" {
#endif

struct rowtap;

/*
 * Starts a server. `words` are what would follow `rowtap serve` on a command line and end with
 * NULL; the environment's ROWTAP_… variables count too. NULL on failure, with a sentence in error
 * (size bytes; cut if it does not fit).
 */
struct rowtap *rowtap_start(const char *const *words, char *error, size_t size);

/* The i-th address listened on, "http://127.0.0.1:43211", or NULL past the last. */
const char *rowtap_address(const struct rowtap *r, int i);

/* Stops within 5 seconds and frees. NULL is allowed. */
void rowtap_stop(struct rowtap *r);

#ifdef __cplusplus
}
#endif

#endif
