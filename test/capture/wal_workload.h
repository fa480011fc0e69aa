#ifndef ROWTAP_TEST_CAPTURE_WAL_WORKLOAD_H
#define ROWTAP_TEST_CAPTURE_WAL_WORKLOAD_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Makes real databases in WAL mode and writes to them at random, one transaction a step: what
 * SQLite's pages and logs can look like. The same seed and kind give the same steps. Failures end
 * the program: there is nothing to test then.
 */
struct workload_kind {
    uint32_t page_size;
    int auto_vacuum;      /* 0, 1 or 2 */
    const char *encoding; /* of PRAGMA encoding */
    int reserved;         /* bytes at the end of each page */
};

struct workload {
    char dir[64], path[128];
    struct workload_kind kind;
    sqlite3 *db; /* no automatic checkpoints */
    uint64_t dice;
    int created;    /* names and columns that were made so far */
    char last[200]; /* the kind of the last step, in words */
};

/* A fresh directory and file with some tables; `small` keeps rows and transactions short. */
void workload_open(struct workload *w, const struct workload_kind *kind, uint64_t seed);
void workload_step(struct workload *w);       /* of any kind, DDL and VACUUM now and then */
void workload_rows(struct workload *w);       /* of rows only */
void workload_checkpoint(struct workload *w); /* everything into the file; the log is restarted */
void workload_run(struct workload *w, const char *sql);
void workload_close(struct workload *w); /* removes the directory */

/* The kinds that are worth trying, `count` of them. */
extern const struct workload_kind workload_kinds[];
extern const size_t workload_kind_count;

/* Numbers that look random; *state must not be 0. */
uint64_t dice_next(uint64_t *state);
uint32_t dice_below(uint64_t *state, uint32_t n); /* 0 <= it < n, n > 0 */

#endif
