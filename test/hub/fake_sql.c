#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_sql.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sql_request *waiting[256];
static int count;

void database_run(struct database *db, struct sql_request *r)
{
    (void)db;
    pthread_mutex_lock(&lock);
    waiting[count++] = r;
    pthread_mutex_unlock(&lock);
}

void fake_sql_expect(int wanted)
{
    for (int i = 0; i < 5000; i++) {
        int now;

        pthread_mutex_lock(&lock);
        now = count;
        pthread_mutex_unlock(&lock);
        if (now == wanted)
            return;
        usleep(1000);
    }
    fail_msg("%d requests instead of %d", count, wanted);
}

struct sql_request *fake_sql_at(int i)
{
    struct sql_request *r;

    pthread_mutex_lock(&lock);
    assert_in_range(i, 0, count - 1);
    r = waiting[i];
    pthread_mutex_unlock(&lock);
    return r;
}

static struct sql_request *take(int i)
{
    struct sql_request *r = fake_sql_at(i);

    pthread_mutex_lock(&lock);
    count--;
    memmove(&waiting[i], &waiting[i + 1], (size_t)(count - i) * sizeof(*waiting));
    pthread_mutex_unlock(&lock);
    return r;
}

void fake_sql_answer(int i, const char *json)
{
    struct sql_request *r = take(i);

    buf_puts(&r->json, json);
    r->done(r);
}

void fake_sql_fail(int i, const char *code, const char *message)
{
    struct sql_request *r = take(i);

    r->error.offset = r->error.statement = -1;
    snprintf(r->error.code, sizeof(r->error.code), "%s", code);
    snprintf(r->error.message, sizeof(r->error.message), "%s", message);
    r->done(r);
}

const char *database_path(const struct database *db)
{
    (void)db;
    return "/data/fake.db";
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
