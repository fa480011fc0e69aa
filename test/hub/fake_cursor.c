#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_cursor.h"
#include <pthread.h>
#include <stdio.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cursor *opened[1024];
static int count, next;

static bool is_open(void)
{
    pthread_mutex_lock(&lock);
    bool open = next < count;
    pthread_mutex_unlock(&lock);
    return open;
}

static void pause_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

struct cursor *fake_cursor_next(void)
{
    for (int i = 0; i < 5000 && !is_open(); i++)
        pause_ms();
    assert_true(is_open());
    return opened[next++];
}

void cursor_open(struct database *db, struct cursor *c)
{
    (void)db;
    c->request.error.offset = c->request.error.statement = -1;
    atomic_init(&c->percent, -1);
    pthread_mutex_lock(&lock);
    opened[count++] = c;
    pthread_mutex_unlock(&lock);
}

void cursor_give(struct cursor *c, struct cursor_page *p)
{
    pthread_mutex_lock(&lock);
    assert_ptr_equal(p->cursor, c);
    assert_true(p->taken);
    assert_int_not_equal(c->state, CURSOR_ENDED);
    p->taken = false;
    pthread_mutex_unlock(&lock);
}

void cursor_cancel(struct cursor *c)
{
    assert_int_not_equal(c->state, CURSOR_ENDED);
    atomic_store(&c->request.cancel, true);
}

void cursor_fini(struct cursor *c)
{
    for (int i = 0; i < CURSOR_PAGES; i++)
        buf_fini(&c->pages[i].rows);
    buf_fini(&c->columns);
    sql_request_fini(&c->request);
}

int fake_cursor_taken(struct cursor *c)
{
    int taken = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < CURSOR_PAGES; i++)
        taken += c->pages[i].taken;
    pthread_mutex_unlock(&lock);
    return taken;
}

void fake_cursor_page(struct cursor *c, const char *rows, uint32_t row_count, bool last)
{
    for (int i = 0; i < 5000 && fake_cursor_taken(c) == CURSOR_PAGES; i++)
        pause_ms();
    pthread_mutex_lock(&lock);
    struct cursor_page *p = &c->pages[c->pages[0].taken];
    assert_false(p->taken);
    p->taken = true;
    p->cursor = c;
    p->number = c->made++;
    p->last = last;
    p->count = row_count;
    pthread_mutex_unlock(&lock);
    if (c->columns.len == 0)
        buf_puts(&c->columns, "[\"a\"]");
    buf_reset(&p->rows);
    buf_puts(&p->rows, rows);
    atomic_fetch_add(&c->rows, row_count);
    c->page(c, p);
}

void fake_cursor_progress(struct cursor *c, uint64_t rows)
{
    atomic_store(&c->rows, rows);
    c->progress(c);
}

void fake_cursor_done(struct cursor *c, const char *code)
{
    if (code)
        snprintf(c->request.error.code, sizeof(c->request.error.code), "%s", code);
    pthread_mutex_lock(&lock);
    c->state = CURSOR_ENDED;
    pthread_mutex_unlock(&lock);
    c->done(c);
}

bool fake_cursor_cancelled(struct cursor *c)
{
    for (int i = 0; i < 5000 && !atomic_load(&c->request.cancel); i++)
        pause_ms();
    return atomic_load(&c->request.cancel);
}
