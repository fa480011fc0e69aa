#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "net/outq.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * A queue against a model of it: what is forgotten or sent together, and the bytes. Frames are
 * private bytes, perhaps with a body, or parts of a body that all share.
 */
enum { UNITS = 4000, SHARED = 20000 };

struct unit {
    char *bytes;
    size_t len;
    bool news;
};

struct model {
    struct unit unit[UNITS];
    int first, count;
    size_t sent;             /* of the first */
    const struct body *body; /* of the last unit, when a part may be added to it */
    uint32_t end;
};

static struct outq_pool pool;
static struct outq queue;
static struct model model;
static struct body *shared;
static uint32_t used;
static char scratch[1 << 20];

static int set_up(void **state)
{
    (void)state;
    outq_pool_init(&pool);
    outq_init(&queue);
    model = (struct model){0};
    shared = body_new_empty(SHARED);
    for (int i = 0; i < SHARED; i++)
        shared->data[i] = (char)rand();
    used = 0;
    return 0;
}

static struct unit *unit_at(int i)
{
    return &model.unit[(model.first + i) % UNITS];
}

static void remove_first(void)
{
    free(unit_at(0)->bytes);
    model.first = (model.first + 1) % UNITS;
    model.count--;
    model.sent = 0;
}

static int tear_down(void **state)
{
    (void)state;
    outq_clear(&queue, &pool);
    outq_pool_fini(&pool);
    while (model.count)
        remove_first();
    assert_int_equal(shared->refs, 1);
    body_unref(shared);
    return 0;
}

static void model_add(const char *bytes, size_t len, bool news)
{
    assert_true(model.count < UNITS);
    *unit_at(model.count++) = (struct unit){memcpy(malloc(len ? len : 1), bytes, len), len, news};
    model.body = NULL;
}

static void put_private(void)
{
    char bytes[1200];
    size_t head = (size_t)rand() % 10 + 1, len = (size_t)rand() % (rand() % 8 ? 60 : 900);
    struct body *body = rand() % 3 == 0 ? body_new("a body of its own", 17) : NULL;
    bool news = rand() % 2;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)rand();
    int rc = outq_put(&queue, &pool, bytes, head, bytes + head, len, body, news);
    len += head;
    if (body)
        memcpy(bytes + len, body->data, body->len);
    if (rc == 0)
        model_add(bytes, len + (body ? body->len : 0), news);
    else
        assert_int_equal(rc, STATUS_NOMEM);
    body_unref(body);
}

static void put_part(void)
{
    uint32_t size = (uint32_t)rand() % 150 + 1;
    if (used + size > SHARED || rand() % 10 == 0)
        used = (uint32_t)rand() % 1000;
    int rc = outq_put_part(&queue, &pool, shared, used, size);
    if (rc < 0) {
        assert_int_equal(rc, STATUS_NOMEM);
    } else if (model.count && model.body == shared && model.end == used) {
        struct unit *last = unit_at(model.count - 1);
        last->bytes = realloc(last->bytes, last->len + size);
        memcpy(last->bytes + last->len, shared->data + used, size);
        last->len += size;
    } else {
        model_add(shared->data + used, size, true);
    }
    if (rc == 0) {
        model.body = shared;
        model.end = used + size;
    }
    used += size;
}

static size_t model_bytes(void)
{
    size_t n = 0;
    for (int i = 0; i < model.count; i++)
        n += unit_at(i)->len;
    return n - model.sent;
}

/* What would be sent now is how the model begins. */
static size_t check_gathered(void)
{
    struct outq_gather g = {.scratch = scratch, .cap = sizeof(scratch)};
    size_t total = 0, skip = model.sent, at = 0;
    int unit = 0;
    outq_gather(&queue, &g);
    for (int i = 0; i < g.count; i++) {
        const char *p = g.iov[i].iov_base;
        for (size_t k = 0; k < g.iov[i].iov_len; k++, total++) {
            while (at + skip == unit_at(unit)->len) {
                unit++;
                at = skip = 0;
            }
            assert_true(unit < model.count);
            assert_int_equal(p[k], unit_at(unit)->bytes[at + skip]);
            at++;
        }
    }
    assert_int_equal(total, g.total);
    assert_true(total > 0 || queue.bytes == 0);
    return total;
}

static void consume(size_t n)
{
    outq_consume(&queue, &pool, n);
    n += model.sent;
    while (model.count && n >= unit_at(0)->len) {
        n -= unit_at(0)->len;
        remove_first();
    }
    model.sent = n;
}

static void drop(void)
{
    outq_drop(&queue, &pool);
    int kept = model.sent > 0;
    while (model.count > kept)
        free(unit_at(--model.count)->bytes);
}

static void forget(void)
{
    int kept = 0;
    outq_forget(&queue, &pool);
    for (int i = 0; i < model.count; i++) {
        struct unit u = *unit_at(i);
        if (u.news && !(i == 0 && model.sent))
            free(u.bytes);
        else
            *unit_at(kept++) = u;
    }
    model.count = kept;
}

/* Whether more may be added to the last after that is the queue's own business: nothing is. */
static void step(void)
{
    switch (rand() % 12) {
    case 0:
    case 1:
        put_private();
        break;
    case 2:
    case 3:
        consume((size_t)rand() % (check_gathered() + 1));
        break;
    case 4:
        consume(check_gathered());
        break;
    case 5:
        if (rand() % 8)
            break;
        rand() % 2 ? drop() : forget();
        /* What comes next begins anew. */
        model.body = NULL;
        used = used + 1 < SHARED ? used + 1 : 0;
        break;
    default:
        put_part();
    }
    assert_int_equal(queue.bytes, model_bytes());
    assert_int_equal(pool.queued, queue.bytes);
    if (model.count == 0)
        assert_int_equal(shared->refs, 1);
}

static void like_the_model(void **state)
{
    (void)state;
    srand(5);
    for (int i = 0; i < 200000; i++)
        step();
}

static void memory_runs_out(void **state)
{
    (void)state;
    srand(6);
    for (int i = 0; i < 20000; i++) {
        mem_fail_after(rand() % 3);
        step();
        mem_fail_after(-1);
        if (i % 50 == 0)
            outq_pool_trim(&pool);
    }
}

/* A connection that gets all there is has one piece to send, and no memory of its own. */
static void what_follows_is_one_piece(void **state)
{
    (void)state;
    struct outq_gather g = {.scratch = scratch, .cap = sizeof(scratch)};
    mem_fail_after(0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(outq_put_part(&queue, &pool, shared, i * 100, 100), 0);
    assert_false(mem_fail_hit());
    mem_fail_after(-1);
    outq_gather(&queue, &g);
    assert_int_equal(g.count, 1);
    assert_ptr_equal(g.iov[0].iov_base, shared->data);
    assert_int_equal(g.iov[0].iov_len, 10000);
    assert_int_equal(shared->refs, 2);
    outq_consume(&queue, &pool, 50);
    assert_int_equal(outq_put_part(&queue, &pool, shared, 10000, 7), 0);
    outq_gather(&queue, &g);
    assert_int_equal(g.iov[0].iov_len, 9957);
    outq_consume(&queue, &pool, 9957);
    assert_int_equal(shared->refs, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(like_the_model),
        TEST(memory_runs_out),
        TEST(what_follows_is_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
