#ifndef ROWTAP_CLI_BENCH_SPREAD_H
#define ROWTAP_CLI_BENCH_SPREAD_H

#include "base/buf.h"
#include <stdint.h>

/*
 * Which of the load generator's rows go to which subscriber. Without a filter all rows go to all.
 * Otherwise there are `subscriptions`, number i held by subscriber i % subscribers, each to values
 * of v of its own, and each writer's rows have such values in turn that the first `matching` of
 * the subscriptions are met at equal distances, one row each; the other rows are nobody's.
 */
enum bench_filter { BENCH_ALL, BENCH_EQUAL, BENCH_RANGE, BENCH_IN };

struct bench_spread {
    enum bench_filter filter;
    int64_t subscribers, subscriptions, matching;
};

/* A subscriber gets the rows first, first + stride, …, of each writer, counted from 1; 0: none. */
struct bench_share {
    uint64_t first, stride;
};

/* Fills what is 0. STATUS_INVALID: a sentence in err. */
int bench_spread_settle(struct bench_spread *s, struct buf *err);
int64_t bench_spread_value(const struct bench_spread *s, uint64_t row); /* v of a writer's row */
struct bench_share bench_spread_share(const struct bench_spread *s, int64_t subscriber);
/* The message that makes a subscription: to a table, with its filter. */
void bench_spread_put_subscribe(
    const struct bench_spread *s, const char *table, int64_t subscription, struct buf *out);

uint64_t bench_share_count(struct bench_share share, uint64_t rows); /* of a writer's first rows */
uint64_t bench_share_last(struct bench_share share, uint64_t rows);  /* the last of them; 0: none */

#endif
