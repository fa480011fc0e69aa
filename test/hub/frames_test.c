#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "hub/frames.h"
#include <stdio.h>
#include <string.h>

/* A dialect that counts how often it encodes. */
static int encoded;
static size_t body_len;

static void put_body(struct buf *out, const struct change_message *m)
{
    (void)m;
    encoded++;
    for (size_t i = 0; i < body_len; i++)
        buf_putc(out, (char)('a' + i % 26));
}

static void put_prefix(struct buf *out, const struct change_prefix *p)
{
    assert_int_equal(p->subscription_count, 1);
    buf_printf(out, "{s%u,%d}", p->subscriptions[0], p->transition);
}

static const struct dialect dialect = {.put_body = put_body, .put_prefix = put_prefix};
static struct projection projection = {.dialect = &dialect};
static struct projection other = {.dialect = &dialect};
static const struct change_message message;
static struct frames frames;
static struct buf scratch;

static int set_up(void **state)
{
    (void)state;
    encoded = 0;
    body_len = 100;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    frames_fini(&frames);
    buf_fini(&scratch);
    return 0;
}

static const struct frame *add(struct projection *p, uint32_t number, enum transition t)
{
    assert_null(frames_find(&frames, p, number, t));
    return frames_add(&frames, p, number, t, &message, &scratch);
}

static void check(const struct frame *f, const char *prefix)
{
    uint8_t head[WS_HEADER_MAX];
    size_t payload = strlen(prefix) + body_len, n = ws_header(head, WS_TEXT, payload);
    const char *at = frames.body->data + f->from;
    assert_non_null(f);
    assert_int_equal(f->payload, payload);
    assert_int_equal(f->size, n + payload);
    assert_memory_equal(at, head, n);
    assert_memory_equal(at + n, prefix, strlen(prefix));
    for (size_t i = 0; i < body_len; i++)
        assert_int_equal(at[n + strlen(prefix) + i], 'a' + i % 26);
}

static void each_kind_of_message_has_a_frame(void **state)
{
    (void)state;
    const struct frame *first = add(&projection, 1, TRANSITION_NONE);
    check(first, "{s1,0}");
    check(add(&projection, 2, TRANSITION_NONE), "{s2,0}");
    check(add(&projection, 1, TRANSITION_LEAVE), "{s1,2}");
    assert_int_equal(encoded, 1);
    check(add(&other, 1, TRANSITION_NONE), "{s1,0}");
    assert_int_equal(encoded, 2);
    assert_ptr_equal(frames_find(&frames, &projection, 1, TRANSITION_NONE), first);
    assert_null(add(&other, 2, TRANSITION_NONE)); /* there are FRAMES_MAX */
    assert_int_equal(encoded, 2);
    assert_int_equal(frames_body(&frames, &projection).len, body_len);

    frames_next(&frames);
    assert_null(frames_body(&frames, &projection).p);
    check(add(&projection, 1, TRANSITION_NONE), "{s1,0}");
    assert_int_equal(encoded, 3);
}

static void what_a_slow_one_got_is_not_encoded_again(void **state)
{
    (void)state;
    body_len = 3;
    projection.body = body_new("abc", 3);
    check(add(&projection, 1, TRANSITION_NONE), "{s1,0}");
    assert_int_equal(encoded, 0);
    body_unref(projection.body);
    projection.body = NULL;
}

static void a_large_message_is_tried_once(void **state)
{
    (void)state;
    body_len = 20000;
    assert_null(add(&projection, 1, TRANSITION_NONE));
    assert_null(add(&projection, 2, TRANSITION_NONE));
    assert_int_equal(encoded, 1);
    frames_next(&frames);
    body_len = 10;
    check(add(&projection, 1, TRANSITION_NONE), "{s1,0}");
}

static void what_waits_to_be_sent_stays(void **state)
{
    (void)state;
    struct body *held[40];
    uint32_t from[40];
    int count = 0;
    body_len = 5000;
    /* Somebody holds each frame: they lie one behind the other, and then in another body. */
    for (; count < 40; count++) {
        const struct frame *f = add(&projection, (uint32_t)count, TRANSITION_NONE);
        char prefix[32];
        snprintf(prefix, sizeof(prefix), "{s%d,0}", count);
        check(f, prefix);
        held[count] = frames.body;
        from[count] = f->from;
        body_ref(held[count]);
        if (count && held[count] == held[count - 1])
            assert_true(from[count] > from[count - 1]);
        frames_next(&frames);
    }
    assert_ptr_not_equal(held[0], held[39]);
    for (int i = 0; i < count; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "{s%d,0}", i);
        assert_memory_equal(held[i]->data + from[i] + 4, text, n);
        body_unref(held[i]);
    }
    /* Nobody waits for anything any more. */
    frames_next(&frames);
    assert_int_equal(add(&projection, 1, TRANSITION_NONE)->from, 0);
}

static void a_new_body_begins_within_a_change(void **state)
{
    (void)state;
    body_len = 8000;
    for (int change = 0; change < 10; change++) {
        struct body *held = NULL;
        for (uint32_t i = 1; i <= 3; i++) {
            char prefix[32];
            snprintf(prefix, sizeof(prefix), "{s%u,0}", i);
            check(add(&projection, i, TRANSITION_NONE), prefix);
            if (!held)
                body_ref(held = frames.body);
        }
        frames_next(&frames);
        body_unref(held);
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        frames_fini(&frames);
        buf_fini(&scratch);
        mem_fail_after(n);
        const struct frame *f = add(&projection, 1, TRANSITION_NONE);
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(!f, hit);
        frames_next(&frames);
        check(add(&projection, 1, TRANSITION_NONE), "{s1,0}");
        if (!hit)
            break;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_kind_of_message_has_a_frame),
        TEST(what_a_slow_one_got_is_not_encoded_again),
        TEST(a_large_message_is_tried_once),
        TEST(what_waits_to_be_sent_stays),
        TEST(a_new_body_begins_within_a_change),
        TEST(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
