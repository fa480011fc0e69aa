#include "server.h"
#include "access/limiter.h"
#include "access/policies.h"
#include "access/tokens.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "capture/database.h"
#include "config.h"
#include "demo_sql.h"
#include "http/http.h"
#include "hub/hub.h"
#include "net/tls.h"
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define FINISH_MS 1500   /* statements under way at the end may take this long */
#define INTERRUPT_MS 300 /* then this to answer that they were interrupted */
#define FAREWELL_MS 1200 /* clients have this to answer the Close frame */
#define BACKLOG_BYTES ((size_t)64 << 20)
#define OTHER_FILES 640 /* descriptors besides the WebSocket clients' */

struct server {
    const struct config *config;
    struct tokens *tokens;     /* NULL: nobody has to show one */
    struct policies *policies; /* NULL: everybody may do everything */
    struct rates rates;
    struct limiter *limiter;
    struct tls_context *tls; /* NULL: without TLS */
    struct database *db;
    struct hub *hub;
    struct http *http;
};

/* The hub is there before anything can ask the database to write. */
static void publish(void *ctx, struct batch *batch)
{
    struct server *s = ctx;

    hub_put(s->hub, batch);
}

static void published(void *ctx)
{
    struct server *s = ctx;

    hub_wake(s->hub);
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
        .slow_query_ms = c->slow_query_ms,
        .max_result = c->max_result,
        .max_transaction = c->max_transaction,
        .readers = (int)c->readers,
        .snapshots = (int)c->snapshots,
        .query_threads = (int)c->query_threads,
        .query_queue = (uint32_t)c->query_queue,
        .open_queries = (uint32_t)c->open_queries,
        .scan_timeout_ms = c->snapshot_timeout_ms,
        .keep_journal_mode = c->keep_journal_mode,
        .external = !c->no_external,
        .journal = c->journal,
        .journal_age_ms = c->journal_age_ms,
        .journal_changes = c->journal_changes,
        .journal_bytes = c->journal_bytes,
        .publish = publish,
        .published = published,
        .publish_ctx = s,
    };

    s->db = database_open(&options, err);
    return s->db ? 0 : -1;
}

static int read_keys(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    const struct tokens_options options = {
        .secret_file = c->jwt_secret_file,
        .public_key_file = c->jwt_public_key_file,
        .jwks_file = c->jwt_jwks_file,
        .rules = {c->jwt_issuer, c->jwt_audience, c->jwt_leeway_ms},
    };

    if (!config_has_keys(c))
        return 0;
    s->tokens = tokens_new(&options, err);
    return s->tokens ? 0 : -1;
}

/* Who is connected must not crowd out who is not. */
#define ACCOUNTS(connections) (65536 + 4 * (size_t)(connections))

static int start_limiter(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    const struct limiter_options options = {
        .rates = &s->rates,
        .max_per_address = (uint32_t)c->max_per_address,
        .max_accounts = ACCOUNTS(c->max_connections),
        .loopback = c->limit_loopback,
    };

    rates_init(&s->rates);
    if (rates_read(&s->rates, (const char *const *)c->rates.items, c->rates.count, err) == 0)
        s->limiter = limiter_new(&options);
    if (!s->limiter && !err->len)
        buf_puts(err, "out of memory");
    return s->limiter ? 0 : -1;
}

/* Tables may come later, so what does not fit the database is no more than a warning. */
static void compare_policy(struct server *s, const struct policy *p)
{
    struct schema *schema = database_schema(s->db);
    struct buf out = {0};
    const char *line;

    policy_check(p, schema, &out);
    schema_unref(schema);
    for (line = buf_text(&out); line && *line; line += strcspn(line, "\n") + 1)
        log_warn("the policy does not fit the database: %s, %.*s", s->config->policy,
            (int)strcspn(line, "\n"), line);
    buf_fini(&out);
}

static int read_policy(struct server *s, struct buf *err)
{
    struct policy *p;
    int status;

    if (!s->config->policy)
        return 0;
    p = policy_read(s->config->policy, err, &status);
    s->policies = p ? policies_new(p) : NULL;
    return s->policies ? 0 : -1;
}

static bool reload_policy(struct server *s)
{
    struct buf err = {0};
    int status;
    struct policy *p = policy_read(s->config->policy, &err, &status);
    bool good = p && hub_set_policy(s->hub, p) == 0;

    if (good) {
        policies_set(s->policies, p);
        log_event(LOG_INFO, "policy read", log_int("roles", p->role_count));
        compare_policy(s, p);
    } else {
        log_error("the policy could not be read, so the one from before stays in use: %s; see "
                  "rowtap policy check",
            err.len && buf_text(&err) ? buf_text(&err) : "out of memory");
    }
    policy_unref(p);
    buf_fini(&err);
    return good;
}

/* The certificate and its key. NULL: why is in err. */
static struct tls_context *read_certificate(const struct config *c, struct buf *err)
{
    struct buf warning = {0};
    struct tls_context *x = tls_context_new(c->tls_cert, c->tls_key, err, &warning);

    if (x && warning.len && buf_text(&warning))
        log_warn("%s", buf_text(&warning));
    buf_fini(&warning);
    return x;
}

static int start_tls(struct server *s, struct buf *err)
{
    if (!s->config->tls_cert)
        return 0;
    s->tls = read_certificate(s->config, err);
    return s->tls ? 0 : -1;
}

static int start_hub(struct server *s, struct buf *err)
{
    const struct config *c = s->config;
    struct schema *schema = database_schema(s->db);
    struct policy *policy = policies_get(s->policies);
    const struct hub_options options = {
        .loops = (int)c->loops,
        .max_message = c->max_message,
        .max_queue = c->max_queue,
        .max_queues = c->max_queues,
        .max_halves = c->max_receiving,
        .slow_queue = c->slow_queue,
        .slow_ms = c->slow_ms,
        .resync_slow = c->resync_slow,
        .compress = !c->no_compression,
        .compress_min = c->compress_min,
        .max_backlog = BACKLOG_BYTES,
        .history = c->history,
        .heartbeat_ms = c->heartbeat_ms,
        .idle_ms = c->idle_timeout_ms,
        .max_connections = client_limit(c->max_connections),
        .max_subscriptions = (uint32_t)c->max_subscriptions,
        .max_all_subscriptions = c->max_all_subscriptions,
        .max_requests = (uint32_t)c->max_requests,
        .max_queries = (uint32_t)c->max_queries,
        .version = ROWTAP_VERSION,
        .epoch = database_epoch(s->db),
        .seq = database_seq(s->db),
        .schema = schema,
        .db = s->db,
        .tokens = s->tokens,
        .policy = policy,
    };

    s->hub = hub_new(&options, err);
    schema_unref(schema);
    if (policy && s->hub)
        compare_policy(s, policy);
    policy_unref(policy);
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
        .swift = (int)c->readers,
        .max_body = c->max_body,
        .silence_ms = c->handshake_timeout_ms,
        .compress = !c->no_compression,
        .proxies = (const char *const *)c->trusted_proxies.items,
        .proxy_count = c->trusted_proxies.count,
        .limiter = s->limiter,
        .db = s->db,
        .hub = s->hub,
        .tokens = s->tokens,
        .policies = s->policies,
        .tls = s->tls,
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

    if (!s || log_start() < 0) {
        buf_puts(err, "out of memory");
        mem_free(s);
        return NULL;
    }
    s->config = config;
    if (read_keys(s, err) < 0 || read_policy(s, err) < 0 || start_tls(s, err) < 0 ||
        start_limiter(s, err) < 0 || open_database(s, err) < 0 || start_hub(s, err) < 0)
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
    tokens_free(s->tokens);
    limiter_free(s->limiter);
    rates_fini(&s->rates);
    policies_free(s->policies);
    tls_context_unref(s->tls);
    mem_free(s);
    log_stop();
}

void server_change_demo(struct server *s)
{
    struct buf err = {0};

    if (run_script(s, demo_tick_sql, sizeof(demo_tick_sql), &err) < 0)
        log_warn("%s", buf_text(&err));
    buf_fini(&err);
}

bool server_reload(struct server *s)
{
    bool keys = !s->tokens || tokens_reload(s->tokens);
    bool policy = !s->policies || reload_policy(s);

    return keys && policy;
}

bool server_reload_tls(struct server *s)
{
    struct buf err = {0};
    struct tls_context *x = read_certificate(s->config, &err);

    if (x) {
        http_set_tls(s->http, x);
        tls_context_unref(s->tls);
        s->tls = x;
    } else {
        log_error("the certificate stays as it was: %s",
            buf_text(&err) ? buf_text(&err) : "out of memory");
    }
    buf_fini(&err);
    return x;
}

void server_refresh(struct server *s)
{
    if (s->tokens)
        tokens_refresh(s->tokens, clock_mono_ms());
}

bool server_works(struct server *s)
{
    bool loops = hub_turns(s->hub);

    return database_works(s->db) && loops;
}

void server_log_start(const struct server *s, const char *options)
{
    log_event(LOG_INFO, "started", log_text("version", ROWTAP_VERSION),
        log_text("sqlite", database_sqlite_version()), log_text("database", database_path(s->db)),
        log_text("journal_mode", database_journal_mode(s->db)),
        log_text("external_writes", database_external(s->db) ? "yes" : "no"),
        log_text("epoch", database_epoch(s->db)), log_uint("seq", database_seq(s->db)),
        log_text("options", options));
}

void server_log_stop(struct server *s)
{
    struct database_stats database;
    struct hub_stats hub;

    database_stats(s->db, &database);
    hub_stats(s->hub, &hub);
    log_event(LOG_INFO, "work so far", log_uint("connections", hub.connections),
        log_uint("accepted", hub.accepted), log_uint("commits", database.commits),
        log_uint("changes", database.changes), log_uint("delivered", hub.deliveries),
        log_uint("seq", database_seq(s->db)));
}
