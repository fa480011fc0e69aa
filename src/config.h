#ifndef ROWTAP_CONFIG_H
#define ROWTAP_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The settings of `rowtap serve`. The table of options in config_table.c gives the command line,
 * the environment (--query-timeout is ROWTAP_QUERY_TIMEOUT) and the help; the command line wins.
 */
struct config_list {
    char **items;
    int count;
    bool from_environment; /* the first item from the command line replaces what is there */
};

struct config {
    char *database; /* NULL: not given */
    struct config_list listen, origins, trusted_proxies, rates;
    char *jwt_secret_file, *jwt_public_key_file, *jwt_jwks_file; /* NULL: not given */
    char *jwt_issuer, *jwt_audience;
    char *policy;             /* NULL: not given */
    char *tls_cert, *tls_key; /* NULL: not given */
    int64_t jwt_leeway_ms;
    int64_t heartbeat_ms, idle_timeout_ms, handshake_timeout_ms, query_timeout_ms, busy_timeout_ms,
        slow_query_ms;
    uint64_t max_connections, max_message, max_queue, history, max_result, max_transaction,
        max_body;
    uint64_t journal_changes, journal_bytes;
    uint64_t slow_queue;
    int64_t slow_ms, journal_age_ms, snapshot_timeout_ms;
    uint64_t max_subscriptions, max_requests, loops, readers, snapshots, http_threads;
    uint64_t query_threads, query_queue, open_queries, max_queries;
    uint64_t max_per_address, max_all_subscriptions, max_queues, max_receiving;
    bool limit_loopback;
    bool journal, keep_journal_mode, no_external, insecure, demo, no_compression, no_sandbox;
    uint64_t compress_min;
    enum log_level log_level;
    bool log_json, resync_slow;
    uint64_t given; /* options that are not the defaults: bits by their place in the table */
};

void config_init(struct config *c);
void config_fini(struct config *c);

/*
 * Fills *c (initialised) with the defaults, then the environment, then argv[1…], and checks the
 * whole. 0; CONFIG_HELP when --help was asked for; STATUS_INVALID with a sentence for the user in
 * err; STATUS_NOMEM.
 */
#define CONFIG_HELP 1
int config_parse(struct config *c, int argc, char **argv, struct buf *err);

/* Somebody has to show a token: there is a key to verify one with. */
static inline bool config_has_keys(const struct config *c)
{
    return c->jwt_secret_file || c->jwt_public_key_file || c->jwt_jwks_file;
}

void config_put_help(struct buf *out);
/* The options that were given, here or there: "--listen=… --journal". */
void config_put_given(const struct config *c, struct buf *out);

#endif
