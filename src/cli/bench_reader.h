#ifndef ROWTAP_CLI_BENCH_READER_H
#define ROWTAP_CLI_BENCH_READER_H

#include "base/buf.h"
#include "cli/histogram.h"
#include "cli/target.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Many subscribers to one table, all served by one thread, which checks that each gets the writers'
 * rows (bench_writer.h) once and in order, and measures how long they took.
 */
struct bench_reader;

/*
 * Connects `count` subscribers, one after the other, and waits until each is live. NULL: a sentence
 * for the user in err.
 */
struct bench_reader *bench_reader_new(
    const struct target *target, const char *table, int count, int writers, struct buf *err);
int bench_reader_start(struct bench_reader *r);               /* starts the thread. STATUS_NOMEM */
uint64_t bench_reader_received(const struct bench_reader *r); /* deliveries so far; any thread */
bool bench_reader_failed(const struct bench_reader *r);       /* something was wrong; any thread */
void bench_reader_stop(struct bench_reader *r);               /* ends the thread */
void bench_reader_free(struct bench_reader *r);

/* After bench_reader_stop. */
const struct histogram *bench_reader_latency(const struct bench_reader *r);
/*
 * Every subscriber got each writer's rows 1, 2, 3, … at least to the one given. Says in err what is
 * wrong when not.
 */
bool bench_reader_check(
    const struct bench_reader *r, const uint64_t *acknowledged, struct buf *err);

#endif
