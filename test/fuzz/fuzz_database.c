#include "fuzz_database.h"

#include "../hub/fake_pager.h"
#include "base/mem.h"
#include "capture/cursor.h"
#include "fuzz.h"
#include <string.h>

#define WAITING_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sql_request *requests[WAITING_MAX];
static struct cursor *cursors[WAITING_MAX];
static int request_count, cursor_count;

static void fail(struct sql_request *r, const char *code)
{
    r->error.offset = r->error.statement = -1;
    snprintf(r->error.code, sizeof(r->error.code), "%s", code);
    snprintf(r->error.message, sizeof(r->error.message), "it says \"%s\"\n", code);
}

static bool says(const struct sql_request *r, const char *word)
{
    for (int i = 0; i < r->statement_count; i++)
        if (memmem(r->statements[i].sql, r->statements[i].len, word, strlen(word)))
            return true;
    return false;
}

void database_run(struct database *db, struct sql_request *r)
{
    (void)db;
    pthread_mutex_lock(&lock);
    REQUIRE(request_count < WAITING_MAX && r->statement_count > 0);
    requests[request_count++] = r;
    pthread_mutex_unlock(&lock);
}

static bool serve_request(void)
{
    pthread_mutex_lock(&lock);
    struct sql_request *r = request_count ? requests[--request_count] : NULL;
    pthread_mutex_unlock(&lock);
    if (!r)
        return false;
    if (atomic_load(&r->cancel))
        fail(r, "QUERY_CANCELLED");
    else if (says(r, "fail"))
        fail(r, "SQL_ERROR");
    else
        buf_puts(&r->json, "{\"results\":[{\"columns\":[\"a\"],\"rows\":[[1]]}],\"seq\":1}");
    r->done(r);
    return true;
}

void cursor_open(struct database *db, struct cursor *c)
{
    (void)db;
    c->request.error.offset = c->request.error.statement = -1;
    atomic_init(&c->percent, -1);
    pthread_mutex_lock(&lock);
    REQUIRE(cursor_count < WAITING_MAX && c->request.statement_count > 0);
    cursors[cursor_count++] = c;
    pthread_mutex_unlock(&lock);
}

void cursor_give(struct cursor *c, struct cursor_page *p)
{
    pthread_mutex_lock(&lock);
    REQUIRE(p->cursor == c && p->taken);
    p->taken = false;
    pthread_mutex_unlock(&lock);
}

void cursor_cancel(struct cursor *c)
{
    atomic_store(&c->request.cancel, true);
}

void cursor_fini(struct cursor *c)
{
    for (int i = 0; i < CURSOR_PAGES; i++)
        buf_fini(&c->pages[i].rows);
    buf_fini(&c->columns);
    sql_request_fini(&c->request);
}

static void give_page(struct cursor *c)
{
    struct cursor_page *p = &c->pages[0];
    if (!c->columns.len)
        buf_puts(&c->columns, "[\"a\"]");
    buf_puts(&p->rows, "[1],[\"x\"]");
    if (buf_error(&p->rows) || buf_error(&c->columns)) {
        fail(&c->request, "LIMIT_EXCEEDED");
        return;
    }
    pthread_mutex_lock(&lock);
    p->taken = true;
    pthread_mutex_unlock(&lock);
    p->cursor = c;
    p->number = c->made++;
    p->last = true;
    p->count = 2;
    atomic_fetch_add(&c->rows, 2);
    c->page(c, p);
}

static void end(int i)
{
    struct cursor *c = cursors[i];
    pthread_mutex_lock(&lock);
    cursors[i] = cursors[--cursor_count];
    c->state = CURSOR_ENDED;
    pthread_mutex_unlock(&lock);
    c->done(c);
}

/* True: something came of it. */
static bool serve_cursor(int i)
{
    pthread_mutex_lock(&lock);
    struct cursor *c = i < cursor_count ? cursors[i] : NULL;
    pthread_mutex_unlock(&lock);
    if (!c)
        return false;
    if (atomic_load(&c->request.cancel)) {
        fail(&c->request, "QUERY_CANCELLED");
    } else if (says(&c->request, "slow")) {
        c->progress(c);
        return false;
    } else if (says(&c->request, "fail")) {
        fail(&c->request, "SQL_ERROR");
    } else {
        give_page(c);
    }
    end(i);
    return true;
}

bool fuzz_database_serve(void)
{
    bool any = false;
    while (serve_request())
        any = true;
    for (int i = cursor_count - 1; i >= 0; i--)
        any |= serve_cursor(i);
    return any;
}

const char *database_path(const struct database *db)
{
    (void)db;
    return "/data/fuzz.db";
}

const char *database_journal_mode(const struct database *db)
{
    (void)db;
    return "wal";
}

bool database_external(const struct database *db)
{
    (void)db;
    return true;
}

uint64_t database_seq(const struct database *db)
{
    (void)db;
    return 7;
}

const char *database_epoch(const struct database *db)
{
    (void)db;
    return "e1";
}
