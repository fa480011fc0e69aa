#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "change/change_json.h"
#include "change/piece.h"
#include "fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN 9

static struct table *plain, *keyed, *before, *after, *bare;

static int set_up(void **state)
{
    (void)state;
    plain = TABLE("plain", "id:INTEGER:k", "v::", "name:TEXT:n!", "twice:INT:v");
    plain->rowid_alias = 0;
    plain->columns[3].stored = -1;
    keyed = TABLE("with out", "a:TEXT:k", "b:BLOB:k", "c:REAL:");
    keyed->without_rowid = true;
    keyed->id = 2;
    before = TABLE("old", "x:INTEGER:", "y:TEXT:");
    after = TABLE("new", "y:TEXT:", "z:TEXT:");
    before->id = after->id = 3;
    after->columns[0].id = before->columns[1].id;
    after->columns[1].id = 77;
    after->columns[1].default_sql = mem_strdup("'it''s'");
    bare = TABLE("bare", "only:ANY:");
    bare->id = 4;
    bare->strict = true;
    return 0;
}

static int tear_down(void **state)
{
    struct table *tables[] = {plain, keyed, before, after, bare};
    (void)state;
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        assert_int_equal(atomic_load(&tables[i]->refs), 1);
        table_unref(tables[i]);
    }
    return 0;
}

static struct value *row_of(struct batch *b, const struct value *values, int count)
{
    struct value *row = batch_row(b, count);
    assert_non_null(row);
    for (int i = 0; i < count; i++)
        assert_int_equal(batch_set_value(b, &row[i], &values[i]), 0);
    return row;
}

static struct change *add(
    struct batch *b, enum change_kind kind, struct table *t, struct value *old, struct value *row)
{
    struct change *c = batch_add(b, kind, t);
    assert_non_null(c);
    c->old = old;
    c->row = row;
    return c;
}

static struct value random_value(unsigned *seed)
{
    static const char text[] = "Grüße, some text that is longer than others";
    static const int64_t integers[] = {0, 1, -1, 63, 64, -65, INT64_MAX, INT64_MIN, 1000000};
    struct value v = {.p = text};
    switch (rand_r(seed) % 6) {
    case 0:
        return (struct value)NULL_VALUE;
    case 1:
        return (struct value)ABSENT;
    case 2:
        return (struct value)INTEGER(integers[(size_t)rand_r(seed) % 9]);
    case 3:
        return (struct value)REAL((double)rand_r(seed) / 7 - 1e8);
    default:
        v.len = (uint32_t)((unsigned)rand_r(seed) % sizeof(text));
        v.type = rand_r(seed) % 2 ? VALUE_TEXT : VALUE_BLOB;
        return v;
    }
}

static struct value *random_row(struct batch *b, const struct table *t, unsigned *seed)
{
    struct value values[8];
    for (int i = 0; i < t->column_count; i++)
        values[i] = random_value(seed);
    return row_of(b, values, t->column_count);
}

static void random_change(struct batch *b, unsigned *seed)
{
    struct table *tables[] = {plain, keyed, bare}, *t = tables[rand_r(seed) % 3];
    int kind = rand_r(seed) % 9;
    struct value *old, *row;
    struct change *c;
    switch (kind) {
    case 0:
        add(b, CHANGE_TABLE_CREATED, t, NULL, NULL);
        return;
    case 1:
        add(b, CHANGE_TABLE_DROPPED, t, NULL, NULL);
        return;
    case 8:
        add(b, CHANGE_ROWIDS_RENUMBERED, t, NULL, NULL);
        return;
    case 2:
        c = add(b, CHANGE_TABLE_ALTERED, after, NULL, NULL);
        assert_int_equal(batch_hold(b, before), 0);
        b->changes[b->change_count - 1].old_table = before;
        c->external = true;
        return;
    }
    old = kind == 3 ? NULL : random_row(b, t, seed);
    row = kind == 4 ? NULL : random_row(b, t, seed);
    if (old && row)
        row[0] = old[0];
    c = add(b, row && old ? CHANGE_UPDATE : row ? CHANGE_INSERT : CHANGE_DELETE, t, old, row);
    if (!t->without_rowid) {
        c->rowid = rand_r(seed) - 1000;
        c->old_rowid = !old ? 0 : row && rand_r(seed) % 2 ? c->rowid + 5 : c->rowid;
    }
    c->external = rand_r(seed) % 2;
}

static struct batch *random_batch(unsigned *seed)
{
    struct batch *b = batch_new(0);
    struct schema *s = schema_new(0);
    int transactions = 1 + rand_r(seed) % 6;
    uint64_t seq = 1000, tx = 50;
    for (int i = 0; i < transactions; i++) {
        int changes = rand_r(seed) % 4 ? rand_r(seed) % 8 : 0;
        if (i == 0)
            changes++;
        while (changes-- > 0)
            random_change(b, seed);
        /* One without changes takes a number as well. */
        assert_int_equal(batch_end_transaction(b, (uint64_t)i * 300, s), 0);
        b->transactions[b->transaction_count - 1].time_ms = 1700000000000 + i;
    }
    schema_unref(s);
    batch_seal(b, &seq, &tx);
    return b;
}

/* A batch in words. */
static char *words(const struct batch *b)
{
    struct buf out = {0};
    char *text;
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct change *c = &b->changes[i];
        const struct transaction *t = &b->transactions[batch_transaction_of(b, i)];
        buf_printf(&out, "%llu %llu %llu %lld %d %d %lld %lld ", (unsigned long long)c->seq,
            (unsigned long long)t->tx, (unsigned long long)t->origin, (long long)t->time_ms,
            c->kind, c->external, (long long)c->rowid, (long long)c->old_rowid);
        table_put_json(&out, c->table);
        if (c->kind > CHANGE_DELETE)
            ddl_put_json(&out, c);
        for (int k = 0; k < c->table->column_count; k++) {
            if (c->old)
                buf_printf(&out, " %d", c->old[k].type);
            if (c->row)
                buf_printf(&out, ">%d", c->row[k].type);
        }
        if (c->old)
            row_put_json(&out, c->table, c->old, NULL);
        if (c->row)
            row_put_json(&out, c->table, c->row, NULL);
        buf_putc(&out, '\n');
    }
    text = mem_strdup(buf_text(&out));
    buf_fini(&out);
    return text;
}

/* Writes the batch in pieces of about max bytes and reads them into one. */
static struct batch *through_pieces(const struct batch *from, size_t max, uint64_t run)
{
    struct piece_reader r;
    struct batch *to = batch_new(0);
    piece_reader_init(&r, run);
    for (uint32_t i = 0; i < from->change_count;) {
        struct buf out = {0};
        uint32_t first = i, tx = batch_transaction_of(from, i);
        piece_write(&out, from, &i, max, RUN);
        assert_int_equal(buf_error(&out), 0);
        assert_true(i > first);
        assert_int_equal(piece_read(&r, to, out.data, out.len, from->changes[first].seq,
                             from->transactions[tx].tx),
            0);
        uint32_t end = batch_transaction_of(from, i - 1);
        assert_int_equal(
            to->continues, i < from->transactions[end].first + from->transactions[end].count);
        buf_fini(&out);
    }
    piece_seal(to);
    piece_reader_fini(&r);
    return to;
}

static void batches_come_back_as_they_were(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 400; n++) {
        unsigned seed = n;
        struct batch *b = random_batch(&seed);
        struct batch *copy = through_pieces(b, n % 4 ? (size_t)rand_r(&seed) % 600 : 1 << 20, RUN);
        char *expected = words(b), *got = words(copy);
        assert_string_equal(got, expected);
        assert_int_equal(copy->first_seq, b->first_seq);
        assert_int_equal(copy->last_seq, b->last_seq);
        mem_free(expected);
        mem_free(got);
        batch_unref(b);
        batch_unref(copy);
    }
}

static void origins_are_those_of_one_run(void **state)
{
    (void)state;
    unsigned seed = 3;
    struct batch *b = random_batch(&seed), *copy = through_pieces(b, 1 << 20, RUN + 1);
    for (uint32_t i = 0; i < copy->transaction_count; i++)
        assert_int_equal(copy->transactions[i].origin, 0);
    batch_unref(b);
    batch_unref(copy);
}

static void definitions_are_shared(void **state)
{
    (void)state;
    struct piece_reader r;
    struct batch *b = batch_new(0), *copies[2];
    uint64_t seq = 0, tx = 0;
    struct value values[4] = {INTEGER(1), NULL_VALUE, TEXT("a"), ABSENT};
    add(b, CHANGE_INSERT, plain, NULL, row_of(b, values, 4));
    batch_end_transaction(b, 0, NULL);
    batch_seal(b, &seq, &tx);
    piece_reader_init(&r, RUN);
    for (int i = 0; i < 2; i++) {
        struct buf out = {0};
        uint32_t next = 0;
        piece_write(&out, b, &next, 1000, RUN);
        copies[i] = batch_new(0);
        assert_int_equal(piece_read(&r, copies[i], out.data, out.len, 1, 1), 0);
        buf_fini(&out);
    }
    piece_reader_fini(&r);
    assert_ptr_equal(copies[0]->changes[0].table, copies[1]->changes[0].table);
    /* It is no living table's. */
    assert_true(copies[0]->changes[0].table->id != plain->id);
    batch_unref(b);
    batch_unref(copies[0]);
    batch_unref(copies[1]);
}

/* More definitions than a reader keeps. */
static void many_definitions(void **state)
{
    (void)state;
    struct piece_reader r;
    struct batch *copy = batch_new(0);
    piece_reader_init(&r, RUN);
    for (int i = 0; i < 600; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        struct table *t = TABLE(name, "a:INT:");
        struct batch *b = batch_new(0);
        struct buf out = {0};
        uint32_t next = 0;
        uint64_t seq = (uint64_t)i, tx = (uint64_t)i;
        add(b, CHANGE_TABLE_CREATED, t, NULL, NULL);
        batch_end_transaction(b, 0, NULL);
        batch_seal(b, &seq, &tx);
        piece_write(&out, b, &next, 1000, RUN);
        assert_int_equal(piece_read(&r, copy, out.data, out.len, (uint64_t)i + 1, tx), 0);
        buf_fini(&out);
        batch_unref(b);
        table_unref(t);
    }
    piece_reader_fini(&r);
    assert_string_equal(copy->changes[599].table->name, "t599");
    assert_string_equal(copy->changes[0].table->name, "t0");
    batch_unref(copy);
}

static struct buf sample(unsigned seed)
{
    struct batch *b = random_batch(&seed);
    struct buf out = {0};
    uint32_t next = 0;
    piece_write(&out, b, &next, 1 << 20, RUN);
    batch_unref(b);
    return out;
}

/* Whatever comes, it is read or refused, and a refused piece leaves nothing in the batch. */
static int read_damaged(struct batch *b, const char *data, size_t len)
{
    struct piece_reader r;
    uint32_t changes = b->change_count, transactions = b->transaction_count;
    piece_reader_init(&r, RUN);
    int status = piece_read(&r, b, data, len, 1, 1);
    piece_reader_fini(&r);
    if (status < 0) {
        assert_int_equal(status, STATUS_INVALID);
        assert_int_equal(b->change_count, changes);
        assert_int_equal(b->transaction_count, transactions);
    }
    return status;
}

static void cut_pieces_are_refused(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 64 * page;
    char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + room, page, PROT_NONE), 0);
    for (unsigned seed = 0; seed < 12; seed++) {
        struct buf piece = sample(seed);
        for (size_t len = 0; len < piece.len; len++) {
            struct batch *b = batch_new(0);
            memcpy(map + room - len, piece.data, len);
            int status = read_damaged(b, map + room - len, len);
            /* A piece that ends with a whole transaction is one. */
            assert_true(status < 0 || b->change_count > 0);
            batch_unref(b);
        }
        buf_fini(&piece);
    }
    munmap(map, room + page);
}

static void damaged_pieces_do_no_harm(void **state)
{
    (void)state;
    int refused = 0;
    for (unsigned seed = 0; seed < 3000; seed++) {
        struct buf piece = sample(seed % 20);
        unsigned dice = seed;
        struct batch *b = batch_new(1 << 22);
        for (int i = rand_r(&dice) % 3; i >= 0; i--)
            piece.data[(size_t)rand_r(&dice) % piece.len] ^= (char)(1 << rand_r(&dice) % 8);
        struct piece_reader r;
        piece_reader_init(&r, RUN);
        int status = piece_read(&r, b, piece.data, piece.len, 1, 1);
        piece_reader_fini(&r);
        refused += status < 0;
        if (status == 0)
            mem_free(words(b));
        batch_unref(b);
        buf_fini(&piece);
    }
    assert_true(refused > 300);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct buf piece = sample(7);
    int n = 0, status;
    do {
        struct piece_reader r;
        struct batch *b = batch_new(0);
        piece_reader_init(&r, RUN);
        mem_fail_after(n++);
        status = piece_read(&r, b, piece.data, piece.len, 1, 1);
        mem_fail_after(-1);
        assert_true(status == 0 || status == STATUS_NOMEM);
        if (status < 0)
            assert_int_equal(b->change_count, 0);
        batch_unref(b);
        piece_reader_fini(&r);
    } while (status < 0 && n < 10000);
    assert_true(n > 5);
    /* The reader's memory of definitions is only a help: the last failures may have been there. */
    buf_fini(&piece);

    unsigned seed = 7;
    struct batch *b = random_batch(&seed);
    for (n = 0, status = -1; status < 0; n++) {
        struct buf out = {0};
        uint32_t next = 0;
        mem_fail_after(n);
        piece_write(&out, b, &next, 1 << 20, RUN);
        mem_fail_after(-1);
        status = buf_error(&out);
        buf_fini(&out);
    }
    assert_true(n > 3);
    batch_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(batches_come_back_as_they_were),
        CASE(origins_are_those_of_one_run),
        CASE(definitions_are_shared),
        CASE(many_definitions),
        CASE(cut_pieces_are_refused),
        CASE(damaged_pieces_do_no_harm),
        CASE(memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
