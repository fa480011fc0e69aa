#ifndef ROWTAP_CLI_BENCH_RESULT_H
#define ROWTAP_CLI_BENCH_RESULT_H

#include "base/buf.h"
#include "cli/histogram.h"
#include <jansson.h>
#include <stdbool.h>

/* What one measurement has found, as text, as JSON, and beside what an earlier one found. */
enum bench_kind {
    BENCH_PARAMETER, /* asked for: results are compared when these are the same */
    BENCH_FACT,
    BENCH_RATE, /* the more the better */
    BENCH_COST, /* the less the better */
};

struct bench_figure {
    enum bench_kind kind;
    const char *group, *name; /* in JSON; group may be NULL */
    const char *label, *unit; /* in text; label NULL: not shown */
    const char *word;         /* a parameter that is no number; NULL: `value` */
    double value;
    int digits;
};

#define BENCH_FIGURES_MAX 48

struct bench_result {
    const char *test;
    struct buf title; /* what was done, in words */
    struct bench_figure figures[BENCH_FIGURES_MAX];
    int count;
    const char *checked; /* what was checked, in words */
    bool good;           /* it was so */
};

void bench_result_fini(struct bench_result *r);
void bench_result_put(struct bench_result *r, struct bench_figure figure);
void bench_result_parameter(struct bench_result *r, const char *name, double value);
/* Percentiles in milliseconds. */
void bench_result_histogram(
    struct bench_result *r, const char *group, const char *label, const struct histogram *h);

/*
 * Earlier results, one JSON object on each line, as printed. NULL: a sentence in err. The caller
 * owns the array.
 */
json_t *bench_result_load(const char *path, struct buf *err);
/* Appends the result; `earlier` may be NULL. */
void bench_result_text(const struct bench_result *r, const json_t *earlier, struct buf *out);
void bench_result_json(const struct bench_result *r, const json_t *earlier, struct buf *out);

#endif
