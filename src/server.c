#include "server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "capture/database.h"
#include "config.h"
#include "demo_sql.h"
#include "http/http.h"
#include "hub/hub.h"
#include "version.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define FINISH_MS 1500   /* statements under way at the end may take this long */
#define INTERRUPT_MS 300 /* then this to answer that they were interrupted */
#define FAREWELL_MS 500  /* clients have this to answer the Close frame */
#define BACKLOG_BYTES ((size_t)64 << 20)
#define OTHER_FILES 640 /* descriptors besides the WebSocket clients' */
#define DEMO_SECONDS 2

struct server {
    const struct config *config;
    struct database *db;
    struct hub *hub;
    struct http *http;
};

/* The hub is there before anything can ask the database to write. */
static void publish(void *ctx, struct batch *batch)
{
    struct server *s = ctx;

    hub_publish(s->hub, batch);
}

/* Raises the limit of open files as far as allowed; returns how many clients fit. */
static uint32_t client_limit(uint64_t wanted)
{
    struct rlimit files;
    uint64_t fit;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return (uint32_t)wanted;
    if (files.rlim_cur < files.rlim_max) {
        rlim_t before = files.rlim_cur;

        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            files.rlim_cur = before;
    }
    fit = files.rlim_cur > 2 * OTHER_FILES ? files.rlim_cur - OTHER_FILES : files.rlim_cur / 2;
    if (files.rlim_cur == RLIM_INFINITY || fit >= wanted)
        return (uint32_t)wanted;
    log_warn("the limit of open files is %llu, so at most %llu WebSocket clients fit instead of "
             "%llu; raise ulimit -n for more",
        (unsigned long long)files.rlim_cur, (unsigned long long)fit, (unsigned long long)wanted);
    return (uint32_t)fit;
}

static int open_database(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    const struct database_options options = {
        .path = c->database,
        .query_timeout_ms = c->query_timeout_ms,
        .busy_timeout_ms = c->busy_timeout_ms,
        .max_result = c->max_result,
        .max_transaction = c->max_transaction,
        .readers = (int)c->readers,
        .snapshots = (int)c->snapshots,
        .query_threads = (int)c->query_threads,
        .query_queue = (uint32_t)c->query_queue,
        .scan_timeout_ms = c->snapshot_timeout_ms,
        .keep_journal_mode = c->keep_journal_mode,
        .external = !c->no_external,
        .journal = c->journal,
        .journal_age_ms = c->journal_age_ms,
        .journal_changes = c->journal_changes,
        .journal_bytes = c->journal_bytes,
        .publish = publish,
        .publish_ctx = s,
    };

    s->db = database_open(&options, err);
    return s->db ? 0 : -1;
}

static int start_hub(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    struct schema *schema = database_schema(s->db);
    const struct hub_options options = {
        .loops = (int)c->loops,
        .max_message = c->max_message,
        .max_queue = c->max_queue,
        .slow_queue = c->slow_queue,
        .slow_ms = c->slow_ms,
        .resync_slow = c->resync_slow,
        .compress = !c->no_compression,
        .compress_min = c->compress_min,
        .max_backlog = BACKLOG_BYTES,
        .history = c->history,
        .heartbeat_ms = c->heartbeat_ms,
        .max_connections = client_limit(c->max_connections),
        .max_subscriptions = (uint32_t)c->max_subscriptions,
        .max_requests = (uint32_t)c->max_requests,
        .version = ROWTAP_VERSION,
        .epoch = database_epoch(s->db),
        .seq = database_seq(s->db),
        .schema = schema,
        .db = s->db,
    };

    s->hub = hub_new(&options, err);
    schema_unref(schema);
    return s->hub ? 0 : -1;
}

static int start_http(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    const struct http_options options = {
        .listen = (const char *const *)c->listen.items,
        .listen_count = c->listen.count,
        .origins = (const char *const *)c->origins.items,
        .origin_count = c->origins.count,
        .threads = (int)c->http_threads,
        .max_body = c->max_body,
        .compress = !c->no_compression,
        .db = s->db,
        .hub = s->hub,
    };

    s->http = http_start(&options, err);
    return s->http ? 0 : -1;
}

static int run_script(struct server *s, const void *sql, size_t len, struct buf *err)
{
    struct sql_request r = {0};
    int rc = -1;

    if (sql_request_add(&r, sql, len)) {
        database_execute(s->db, &r);
        rc = r.error.code[0] ? -1 : 0;
    }
    if (rc < 0)
        buf_printf(err, "the demonstration's SQL failed: %s", r.error.message);
    sql_request_fini(&r);
    return rc;
}

struct server *server_start(const struct config *config, struct buf *err)
{
    struct server *s = mem_zalloc(sizeof(*s));

    if (!s) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    s->config = config;
    if (open_database(s, err) < 0 || start_hub(s, err) < 0)
        goto fail;
    database_follow(s->db);
    if (config->demo && run_script(s, demo_sql, sizeof(demo_sql), err) < 0)
        goto fail;
    if (start_http(s, err) < 0)
        goto fail;
    return s;
fail:
    server_stop(s);
    return NULL;
}

const char *server_address(const struct server *s, int i)
{
    return http_address(s->http, i);
}

/* Of HTTP requests and of WebSocket clients, which can still be told how they end. */
static void finish_statements(struct server *s)
{
    int64_t end = clock_mono_ms() + FINISH_MS;
    bool http, database;

    http_stop_accepting(s->http);
    http = http_drain(s->http, FINISH_MS);
    database = database_drain(s->db, end - clock_mono_ms());
    if (http && database)
        return;
    database_interrupt(s->db);
    end = clock_mono_ms() + INTERRUPT_MS;
    http_drain(s->http, INTERRUPT_MS);
    database_drain(s->db, end - clock_mono_ms());
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    if (s->http) {
        finish_statements(s);
        http_stop(s->http);
    }
    /* The loops may ask the database to read for them until they end. */
    if (s->hub)
        hub_stop(s->hub, FAREWELL_MS);
    if (s->db)
        database_close(s->db);
    hub_free(s->hub);
    mem_free(s);
}

/* A second Ctrl-C while stopping ends the process at once. */
static void let_interrupt_kill(void)
{
    sigset_t interrupt;

    signal(SIGINT, SIG_DFL);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

static void demo_tick(struct server *s)
{
    struct buf err = {0};

    if (run_script(s, demo_tick_sql, sizeof(demo_tick_sql), &err) < 0)
        log_warn("%s", buf_text(&err));
    buf_fini(&err);
}

static void wait_for_end(struct server *s)
{
    const struct timespec tick = {.tv_sec = DEMO_SECONDS};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    for (;;) {
        int signo = s->config->demo ? sigtimedwait(&set, NULL, &tick) : sigwaitinfo(&set, NULL);

        if (signo == SIGTERM || signo == SIGINT) {
            log_info("stopping on %s", signo == SIGTERM ? "SIGTERM" : "SIGINT");
            return;
        }
        if (signo == SIGHUP)
            log_info("SIGHUP: nothing to reread");
        else if (signo < 0 && errno == EAGAIN)
            demo_tick(s);
    }
}

int server_run(const struct config *config)
{
    struct buf err = {0};
    struct server *s = server_start(config, &err);
    const char *address;

    if (!s) {
        fprintf(stderr, "rowtap: %s\n", buf_text(&err) ? buf_text(&err) : "out of memory");
        buf_fini(&err);
        return 1;
    }
    for (int i = 0; (address = server_address(s, i)); i++)
        fprintf(stderr, "listening on %s\n", address);
    wait_for_end(s);
    let_interrupt_kill();
    server_stop(s);
    buf_fini(&err);
    return 0;
}
