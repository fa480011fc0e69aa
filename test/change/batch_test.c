#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "change/batch.h"
#include "fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct table *table;

static int set_up(void **state)
{
    (void)state;
    table = TABLE("t", "id:INTEGER:k", "name:TEXT:");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(atomic_load(&table->refs), 1);
    table_unref(table);
    return 0;
}

/* INSERT INTO t VALUES (id, text) */
static int insert(struct batch *b, int64_t id, const char *text, size_t len)
{
    struct value name = {.p = text, .len = (uint32_t)len, .type = VALUE_TEXT}, key = INTEGER(id);
    struct batch_mark before = batch_mark(b);
    struct value *row = batch_row(b, 2);
    if (!row)
        return batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    assert_int_equal(row[1].type, VALUE_ABSENT);
    int rc = batch_set_value(b, &row[0], &key);
    if (rc == 0)
        rc = batch_set_value(b, &row[1], &name);
    struct change *c = rc == 0 ? batch_add(b, CHANGE_INSERT, table) : NULL;
    if (!c) {
        batch_rewind(b, &before);
        return rc < 0 ? rc : batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    }
    c->row = row;
    c->rowid = id;
    return 0;
}

static void assert_row(const struct batch *b, uint32_t i, int64_t id, const char *text, size_t len)
{
    const struct change *c = &b->changes[i];
    struct value name = {.p = text, .len = (uint32_t)len, .type = VALUE_TEXT};
    assert_ptr_equal(c->table, table);
    assert_int_equal(c->rowid, id);
    assert_int_equal(c->row[0].i, id);
    assert_true(value_same(&c->row[1], &name));
}

static void changes_are_numbered_across_transactions(void **state)
{
    (void)state;
    struct batch *b = batch_new(0);
    uint64_t seq = 100, tx = 7;
    struct schema *s = schema_new(0);
    assert_int_equal(insert(b, 1, "a", 1), 0);
    assert_int_equal(insert(b, 2, "b", 1), 0);
    assert_int_equal(batch_end_transaction(b, 5, s), 0);
    assert_int_equal(batch_end_transaction(b, 6, NULL), 0);
    assert_int_equal(insert(b, 3, "", 0), 0);
    assert_int_equal(batch_end_transaction(b, 0, NULL), 0);
    batch_seal(b, &seq, &tx);
    schema_unref(s);

    assert_int_equal(b->change_count, 3);
    assert_int_equal(b->transaction_count, 2);
    assert_int_equal(b->first_seq, 101);
    assert_int_equal(b->last_seq, 103);
    assert_int_equal(seq, 103);
    assert_int_equal(tx, 9);
    assert_int_equal(b->changes[2].seq, 103);
    assert_int_equal(b->transactions[0].tx, 8);
    assert_int_equal(b->transactions[0].origin, 5);
    assert_int_equal(b->transactions[0].count, 2);
    assert_ptr_equal(b->transactions[0].schema, s);
    assert_int_equal(b->transactions[1].first, 2);
    assert_true(b->transactions[1].time_ms > 0);
    assert_row(b, 0, 1, "a", 1);
    assert_row(b, 2, 3, "", 0);
    batch_unref(b);
}

/* A batch of transactions with so many changes each. */
static struct batch *part(const int *counts, bool continued, bool continues)
{
    struct batch *b = batch_new(0);
    while (*counts) {
        for (int i = *counts++; i > 0; i--)
            assert_int_equal(insert(b, i, "a", 1), 0);
        assert_int_equal(batch_end_transaction(b, 0, NULL), 0);
    }
    b->continued = continued;
    b->continues = continues;
    return b;
}

static void a_transaction_in_several_batches_has_one_number(void **state)
{
    (void)state;
    uint64_t seq = 10, tx = 3;
    struct batch *b[] = {
        part((int[]){1, 2, 0}, false, true),
        part((int[]){4, 0}, true, true),
        part((int[]){1, 1, 0}, true, true),
        part((int[]){1, 0}, true, false),
        part((int[]){1, 0}, false, false),
    };
    static const uint64_t first_tx[] = {4, 5, 5, 6, 7}, last_tx[] = {5, 5, 6, 6, 7},
                          last_seq[] = {13, 17, 19, 20, 21};
    for (int i = 0; i < 5; i++) {
        batch_seal(b[i], &seq, &tx);
        assert_int_equal(b[i]->transactions[0].tx, first_tx[i]);
        assert_int_equal(b[i]->transactions[b[i]->transaction_count - 1].tx, last_tx[i]);
        assert_int_equal(tx, last_tx[i]);
        assert_int_equal(b[i]->last_seq, last_seq[i]);
        batch_unref(b[i]);
    }
}

static void a_gap_takes_a_number(void **state)
{
    (void)state;
    uint64_t seq = 4, tx = 1;
    for (int i = 0; i < 2; i++) {
        struct batch *b = batch_new(0);
        struct schema *s = schema_new(0);
        b->gap = "capture_gap";
        assert_int_equal(batch_end_transaction(b, 0, i ? s : NULL), 0);
        batch_seal(b, &seq, &tx);
        assert_int_equal(b->first_seq, 5 + i);
        assert_int_equal(b->last_seq, 5 + i);
        assert_int_equal(seq, 5 + i);
        assert_int_equal(tx, 1 + i);
        schema_unref(s);
        batch_unref(b);
    }
}

static void a_new_schema_is_a_transaction_even_without_changes(void **state)
{
    (void)state;
    struct batch *b = batch_new(0);
    uint64_t seq = 4, tx = 1;
    struct schema *s = schema_new(0);
    assert_int_equal(batch_end_transaction(b, 0, s), 0);
    batch_seal(b, &seq, &tx);
    assert_int_equal(b->transaction_count, 1);
    assert_ptr_equal(b->transactions[0].schema, s);
    assert_int_equal(b->transactions[0].count, 0);
    assert_int_equal(b->last_seq, 4);
    schema_unref(s);
    batch_unref(b);
}

static void an_empty_batch_takes_no_numbers(void **state)
{
    (void)state;
    struct batch *b = batch_new(0);
    uint64_t seq = 4, tx = 2;
    assert_int_equal(batch_end_transaction(b, 1, NULL), 0);
    batch_seal(b, &seq, &tx);
    assert_int_equal(seq, 4);
    assert_int_equal(tx, 2);
    assert_int_equal(b->transaction_count, 0);
    batch_unref(b);
    batch_unref(NULL);
}

static void a_rewind_forgets_exactly_what_came_after(void **state)
{
    (void)state;
    char large[300000];
    memset(large, 'x', sizeof(large));
    struct batch *b = batch_new(0);
    struct schema *s = schema_new(0);
    struct batch_mark empty = batch_mark(b);
    assert_int_equal(insert(b, 1, "kept", 4), 0);
    struct batch_mark one = batch_mark(b);
    size_t bytes = b->bytes;
    for (int64_t i = 0; i < 20; i++)
        assert_int_equal(insert(b, 100 + i, large, sizeof(large)), 0);
    assert_int_equal(batch_end_transaction(b, 1, s), 0);
    batch_rewind(b, &one);
    assert_int_equal(b->change_count, 1);
    assert_int_equal(b->transaction_count, 0);
    assert_int_equal(atomic_load(&s->refs), 1);
    assert_true(b->bytes < bytes + 10000);
    assert_row(b, 0, 1, "kept", 4);
    assert_int_equal(insert(b, 2, "after", 5), 0);
    assert_row(b, 0, 1, "kept", 4);
    assert_row(b, 1, 2, "after", 5);
    batch_rewind(b, &empty);
    assert_int_equal(b->change_count, 0);
    schema_unref(s);
    batch_unref(b);
}

/* A small commit takes one allocation, and none where a batch was freed before it. */
static void usual_ones_are_one_allocation(void **state)
{
    (void)state;
    struct batch *b[3000];
    for (int i = 0; i < 3000; i++)
        b[i] = batch_new(0); /* more than are kept */
    mem_fail_after(0);
    assert_int_equal(insert(b[0], 1, "text", 4), 0);
    assert_int_equal(batch_end_transaction(b[0], 0, NULL), 0);
    assert_false(mem_fail_hit());
    mem_fail_after(-1);
    for (int i = 0; i < 3000; i++)
        batch_unref(b[i]);
#if !defined(__SANITIZE_ADDRESS__)
    int again = 0;
    for (bool hit = false; !hit && again < 3000; again++) {
        mem_fail_after(0);
        b[again] = batch_new(0);
        hit = mem_fail_hit();
        mem_fail_after(-1);
    }
    assert_in_range(again, 1000, 2999);
    while (again-- > 0)
        batch_unref(b[again]);
#endif
}

/* Whoever makes one after a hundred others were freed may get the memory of one of them. */
static void what_was_freed_is_used_again(void **state)
{
    (void)state;
    struct batch *b[100];
    char text[2000];
    memset(text, 'x', sizeof(text));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            b[i] = batch_new(round == 1 ? 20000 : 0);
            struct batch_mark empty = batch_mark(b[i]);
            assert_int_equal(b[i]->change_count + b[i]->transaction_count + b[i]->table_count, 0);
            assert_null(b[i]->changes);
            assert_false(b[i]->continued || b[i]->continues || b[i]->full || b[i]->gap);
            for (int again = 0; again < 2; again++) {
                assert_int_equal(insert(b[i], i, text, i < 50 ? 10 : 1900), 0);
                for (int more = 0; more < i % 7; more++) {
                    assert_int_equal(insert(b[i], more, "more", 4), 0);
                    assert_int_equal(batch_end_transaction(b[i], 0, NULL), 0);
                }
                if (again == 0)
                    batch_rewind(b[i], &empty);
            }
        }
        for (int i = 0; i < 100; i++) {
            assert_row(b[i], 0, i, text, i < 50 ? 10 : 1900);
            for (int more = 0; more < i % 7; more++)
                assert_row(b[i], 1 + (uint32_t)more, more, "more", 4);
            batch_unref(b[i]);
        }
    }
}

/* Savepoints opened, released and rolled back at random, against a plain list of what should be
 * left. */
static void random_savepoints(void **state)
{
    (void)state;
    static int64_t model[4096];
    struct batch_mark marks[16];
    uint32_t depth = 0, count = 0;
    char text[4096];
    memset(text, 'y', sizeof(text));
    srand(11);
    struct batch *b = batch_new(0);
    for (int64_t step = 0; step < 4000; step++) {
        int what = rand() % 10;
        if (what == 0 && depth < 16) {
            marks[depth++] = batch_mark(b);
        } else if (what == 1 && depth > 0) {
            depth = (uint32_t)rand() % depth;
            batch_rewind(b, &marks[depth]);
            count = b->change_count;
        } else {
            model[count++] = step;
            assert_int_equal(insert(b, step, text, (size_t)step), 0);
        }
        assert_int_equal(b->change_count, count);
    }
    for (uint32_t i = 0; i < count; i++)
        assert_row(b, i, model[i], text, (size_t)model[i]);
    batch_unref(b);
}

static void the_bound_holds(void **state)
{
    (void)state;
    for (size_t max = 0; max < 3; max++) {
        size_t limit = (size_t[]){1000, 50000, 5000000}[max];
        struct batch *b = batch_new(limit);
        int rc;
        while ((rc = insert(b, 1, "0123456789012345678901234567890123456789", 40)) == 0)
            assert_true(b->bytes <= limit);
        assert_int_equal(rc, STATUS_TOO_LARGE);
        assert_true(batch_full(b));
        assert_true(b->bytes <= limit);
        batch_unref(b);
    }
}

static void a_value_larger_than_the_bound_is_refused(void **state)
{
    (void)state;
    char *large = malloc(100000);
    memset(large, 'z', 100000);
    struct batch *b = batch_new(50000);
    assert_int_equal(insert(b, 1, large, 100000), STATUS_TOO_LARGE);
    assert_int_equal(insert(b, 2, large, 20000), 0);
    assert_row(b, 0, 2, large, 20000);
    batch_unref(b);
    free(large);
}

static void tables_are_held_once_each(void **state)
{
    (void)state;
    struct table *many[40];
    struct batch *b = batch_new(0);
    for (int i = 0; i < 40; i++)
        many[i] = TABLE("m", "id:INTEGER:k");
    for (int i = 0; i < 400; i++)
        assert_non_null(batch_add(b, CHANGE_INSERT, many[i * 7 % 40]));
    for (int i = 0; i < 40; i++) {
        assert_int_equal(atomic_load(&many[i]->refs), 2);
        table_unref(many[i]);
    }
    assert_int_equal(b->table_count, 40);
    batch_unref(b);
}

static void failing_allocations_leave_the_batch_whole(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'w', sizeof(text));
    for (long n = 0;; n++) {
        mem_fail_after(n);
        struct batch *b = batch_new(0);
        int done = 0, refused = 0;
        for (int64_t i = 0; b && i < 40; i++) {
            int rc = insert(b, i, text, 500);
            assert_true(rc == 0 || rc == STATUS_NOMEM);
            refused += rc < 0;
            if (rc == 0)
                assert_row(b, (uint32_t)done++, i, text, 500);
        }
        if (b && batch_end_transaction(b, 0, NULL) < 0) {
            refused++;
            assert_int_equal(batch_end_transaction(b, 0, NULL), 0);
        }
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(!b || refused > 0, hit);
        if (b)
            assert_int_equal(b->transactions[0].count, done);
        batch_unref(b);
        if (!hit)
            break;
    }
}

static void *read_and_release(void *arg)
{
    struct batch *b = arg;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < b->change_count; i++)
        sum += b->changes[i].seq;
    batch_unref(b);
    return (void *)(uintptr_t)sum;
}

static void a_sealed_batch_is_shared_by_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct batch *b = batch_new(0);
        pthread_t threads[4];
        uint64_t seq = 0, tx = 0;
        for (int64_t i = 0; i < 10; i++)
            assert_int_equal(insert(b, i, "x", 1), 0);
        assert_int_equal(batch_end_transaction(b, 0, NULL), 0);
        batch_seal(b, &seq, &tx);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, read_and_release, batch_ref(b)), 0);
        batch_unref(b);
        for (int i = 0; i < 4; i++) {
            void *sum;
            pthread_join(threads[i], &sum);
            assert_int_equal((uintptr_t)sum, 55);
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changes_are_numbered_across_transactions),
        TEST(a_transaction_in_several_batches_has_one_number),
        TEST(a_gap_takes_a_number),
        TEST(a_new_schema_is_a_transaction_even_without_changes),
        TEST(an_empty_batch_takes_no_numbers),
        TEST(a_rewind_forgets_exactly_what_came_after),
        TEST(usual_ones_are_one_allocation),
        TEST(what_was_freed_is_used_again),
        TEST(random_savepoints),
        TEST(the_bound_holds),
        TEST(a_value_larger_than_the_bound_is_refused),
        TEST(tables_are_held_once_each),
        TEST(failing_allocations_leave_the_batch_whole),
        TEST(a_sealed_batch_is_shared_by_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
