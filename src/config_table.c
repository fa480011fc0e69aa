#include "config_table.h"

#include <stddef.h>

#define AT(member) offsetof(struct config, member)
#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)

/* clang-format off */
const struct config_row config_table[] = {
    {"listen", "ADDR:PORT", "where to listen; may be repeated; port 0 takes a free one",
        KIND_LIST, AT(listen), "127.0.0.1:8080", 0, 0},
    {"insecure", NULL, "allow --listen on other than loopback addresses",
        KIND_FLAG, AT(insecure), NULL, 0, 0},
    {"origin", "URL", "web pages of this origin may connect too; may be repeated",
        KIND_LIST, AT(origins), NULL, 0, 0},
    {"heartbeat", "SECONDS", "ping each WebSocket client this often",
        KIND_DURATION, AT(heartbeat_ms), "30", 100, 86400000},
    {"query-timeout", "SECONDS", "interrupt SQL that runs longer; 0 for never",
        KIND_DURATION, AT(query_timeout_ms), "30", 0, 86400000},
    {"busy-timeout", "SECONDS", "how long to wait for another process's lock on the file",
        KIND_DURATION, AT(busy_timeout_ms), "5", 0, 3600000},
    {"max-connections", "N", "WebSocket clients at once",
        KIND_COUNT, AT(max_connections), "10000", 1, 10000000},
    {"max-subscriptions", "N", "subscriptions of one client",
        KIND_COUNT, AT(max_subscriptions), "1000", 1, 1000000},
    {"max-message", "BYTES", "size of a message from a client",
        KIND_SIZE, AT(max_message), "1MiB", 1024, GIB},
    {"max-queue", "BYTES", "what may wait for one slow client before it is closed",
        KIND_SIZE, AT(max_queue), "64MiB", 4096, 64 * GIB},
    {"history", "BYTES", "newest changes kept in memory for clients that resume; 0 for none",
        KIND_SIZE, AT(history), "64MiB", 0, 1024 * GIB},
    {"journal", NULL, "keep the changes in the database file too, so that clients can resume after a restart",
        KIND_FLAG, AT(journal), NULL, 0, 0},
    {"journal-age", "SECONDS", "forget what is older in the journal; 0 for never",
        KIND_DURATION, AT(journal_age_ms), "604800", 0, INT64_C(1) << 50},
    {"journal-rows", "N", "changes kept in the journal; 0 for any number",
        KIND_COUNT, AT(journal_changes), "10000000", 0, INT64_MAX},
    {"journal-bytes", "BYTES", "size of what is kept in the journal; 0 for any size",
        KIND_SIZE, AT(journal_bytes), "1GiB", 0, 1024 * GIB},
    {"snapshots", "N", "read transactions for clients' snapshots at once",
        KIND_COUNT, AT(snapshots), "4", 1, 256},
    {"snapshot-timeout", "SECONDS", "give a snapshot up that its client takes longer for; 0 for never",
        KIND_DURATION, AT(snapshot_timeout_ms), "300", 0, 86400000},
    {"max-body", "BYTES", "size of an HTTP request's body",
        KIND_SIZE, AT(max_body), "16MiB", 1024, GIB},
    {"max-result", "BYTES", "size of one SQL answer",
        KIND_SIZE, AT(max_result), "64MiB", 1024, GIB},
    {"max-transaction", "BYTES", "captured rows of one transaction",
        KIND_SIZE, AT(max_transaction), "1GiB", 4096, 1024 * GIB},
    {"loops", "N", "threads that serve the WebSocket clients; 0 for one per core",
        KIND_COUNT, AT(loops), "0", 0, 1024},
    {"readers", "N", "connections for SELECT",
        KIND_COUNT, AT(readers), "4", 1, 256},
    {"http-threads", "N", "HTTP requests served at once",
        KIND_COUNT, AT(http_threads), "64", 4, 1024},
    {"keep-journal-mode", NULL, "leave the file's journal mode as it is instead of switching to WAL",
        KIND_FLAG, AT(keep_journal_mode), NULL, 0, 0},
    {"no-external", NULL, "do not look for changes made by other processes",
        KIND_FLAG, AT(no_external), NULL, 0, 0},
    {"log-level", "LEVEL", "error, warn, info or debug",
        KIND_LOG_LEVEL, AT(log_level), "info", 0, 0},
    {"log-format", "FORMAT", "text or json",
        KIND_LOG_FORMAT, AT(log_json), "text", 0, 0},
    {"demo", NULL, "create sample tables if absent and change a row now and then",
        KIND_FLAG, AT(demo), NULL, 0, 0},
};
/* clang-format on */

const size_t config_rows = sizeof(config_table) / sizeof(*config_table);
