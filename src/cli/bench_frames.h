#ifndef ROWTAP_CLI_BENCH_FRAMES_H
#define ROWTAP_CLI_BENCH_FRAMES_H

#include "base/buf.h"
#include "net/ws.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Server's frames and changes, read with as little work as tells whether they are right: the load
 * generator must not be what is measured.
 */
#define BENCH_FRAMES_READ (256 * 1024) /* a frame has to fit */

struct bench_frame {
    int opcode; /* of a frame that is not the last of its message: -1 */
    const char *data;
    size_t len;
};

/*
 * Gives each whole frame to `take`, until that returns other than 0. The bytes taken; -1: a frame
 * that does not fit BENCH_FRAMES_READ, or `take` said stop.
 */
ssize_t bench_frames_read(
    uint8_t *data, size_t len, int (*take)(void *ctx, const struct bench_frame *frame), void *ctx);
/* A client's frame, masked. */
void bench_frames_put(struct buf *out, enum ws_opcode opcode, const char *data, size_t len);

struct bench_change {
    int64_t seq, key, at; /* `key` is the row's k */
};

/* Where the change before had its members. Zeroed at the start. */
struct bench_places {
    size_t type, seq, key, at;
};

bool bench_change_is(struct bench_places *p, const char *text, size_t len);
/* False when a member is missing. */
bool bench_change_read(
    struct bench_places *p, const char *text, size_t len, struct bench_change *c);

#endif
