/*
 * Pages of b-trees, cells and overflow chains: every row of real databases is found by walking the
 * tree, at every size around the thresholds; damaged pages and chains.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/btree.h"
#include "capture/wal/bytes.h"
#include "capture/wal/record.h"
#include "wal_image.h"
#include "wal_workload.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE (1 << 20)

struct walk {
    struct wal_view view;
    sqlite3_stmt *rows; /* in the tree's order; the column is the payload's */
    uint64_t cells, overflows;
};

/* Each cell's payload is a record of one blob or text: the next row's. */
static void expect_row(struct walk *w, const struct btree_cell *c, bool table)
{
    struct buf buf = {0};
    const uint8_t *payload;
    struct record r;
    struct value v;
    assert_int_equal(sqlite3_step(w->rows), SQLITE_ROW);
    assert_int_equal(btree_payload(&w->view, c, &buf, &payload), STATUS_OK);
    assert_int_equal(record_begin(&r, payload, c->size), STATUS_OK);
    assert_int_equal(record_next(&r, &v), STATUS_OK);
    if (table)
        assert_int_equal(c->rowid, sqlite3_column_int64(w->rows, 1));
    assert_int_equal(v.len, sqlite3_column_bytes(w->rows, 0));
    if (v.len)
        assert_memory_equal(v.p, sqlite3_column_blob(w->rows, 0), v.len);
    w->cells++;
    w->overflows += c->overflow != 0;
    buf_fini(&buf);
}

static void walk_page(struct walk *w, uint32_t number, bool table, int depth)
{
    struct wal_page *page;
    struct btree_page p;
    struct btree_cell c;
    uint32_t child;
    assert_true(depth < 20);
    assert_int_equal(wal_view_page(&w->view, number, &page), STATUS_OK);
    assert_int_equal(btree_page_parse(&p, page->data, w->view.usable, number), STATUS_OK);
    assert_int_equal(p.table, table);
    for (int i = 0; i < p.cell_count; i++) {
        assert_int_equal(btree_page_cell(&p, i, &c), STATUS_OK);
        if (!p.leaf) {
            assert_int_equal(btree_page_child(&p, i, &child), STATUS_OK);
            assert_int_equal(child, c.child);
            walk_page(w, child, table, depth + 1);
        }
        if (p.leaf || !table)
            expect_row(w, &c, table);
    }
    if (!p.leaf) {
        assert_int_equal(btree_page_child(&p, p.cell_count, &child), STATUS_OK);
        walk_page(w, child, table, depth + 1);
    }
    wal_page_done(page);
}

static void walk_tree(
    struct workload *w, struct wal_image *im, const char *name, const char *select, bool table)
{
    struct walk walk = {0};
    sqlite3_stmt *s;
    char sql[200];
    snprintf(sql, sizeof(sql), "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", name);
    assert_int_equal(sqlite3_prepare_v2(w->db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    uint32_t root = (uint32_t)sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    assert_int_equal(wal_view_init(&walk.view, &im->pages, im->frames.count), STATUS_OK);
    assert_int_equal(walk.view.usable, w->kind.page_size - (uint32_t)w->kind.reserved);
    assert_int_equal(sqlite3_prepare_v2(w->db, select, -1, &walk.rows, NULL), SQLITE_OK);
    walk_page(&walk, root, table, 0);
    assert_int_equal(sqlite3_step(walk.rows), SQLITE_DONE);
    sqlite3_finalize(walk.rows);
    assert_true(walk.cells > 50 && walk.overflows > 10);
}

/* Blobs of all sizes around where a page's part changes, and of a few pages. */
static void fill(struct workload *w)
{
    int u = (int)w->kind.page_size - w->kind.reserved;
    int corners[] = {0, u - 35, (u - 12) * 64 / 255 - 23, (u - 12) * 32 / 255 - 23, u,
        2 * (u - 4) + (u - 12) * 32 / 255 - 23, 2 * u - 39, 3 * u};
    workload_run(w, "CREATE TABLE sizes(b BLOB);"
                    "CREATE TABLE keys(b BLOB PRIMARY KEY) WITHOUT ROWID;BEGIN");
    for (size_t i = 0; i < sizeof(corners) / sizeof(corners[0]); i++)
        for (int d = -12; d <= 12; d++) {
            char sql[200];
            int n = corners[i] + d < 0 ? 0 : corners[i] + d;
            snprintf(sql, sizeof(sql),
                "INSERT INTO sizes VALUES (randomish(%d, %d)); INSERT OR IGNORE INTO keys "
                "VALUES (randomish(%d, %d))",
                (int)i, n, (int)i + 100 + d, n);
            workload_run(w, sql);
        }
    workload_run(w, "COMMIT");
}

static void every_row_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < workload_kind_count; i++) {
        struct workload w;
        struct wal_image im;
        workload_open(&w, &workload_kinds[i], 3);
        fill(&w);
        assert_true(wal_image_load(&im, w.path));
        assert_int_equal(wal_image_open(&im, CACHE), STATUS_OK);
        walk_tree(&w, &im, "sizes", "SELECT b, rowid FROM sizes ORDER BY rowid", true);
        walk_tree(&w, &im, "keys", "SELECT b FROM keys ORDER BY b", false);
        wal_image_free(&im);
        workload_close(&w);
    }
}

/* The schema's own tree begins on page 1, behind the database's header. */
static void the_first_page(void **state)
{
    struct workload w;
    struct wal_image im;
    struct walk walk = {0};
    (void)state;
    workload_open(&w, &workload_kinds[1], 3);
    assert_true(wal_image_load(&im, w.path));
    assert_int_equal(wal_image_open(&im, CACHE), STATUS_OK);
    assert_int_equal(wal_view_init(&walk.view, &im.pages, im.frames.count), STATUS_OK);
    assert_int_equal(
        sqlite3_prepare_v2(
            w.db, "SELECT type, rowid FROM sqlite_schema ORDER BY rowid", -1, &walk.rows, NULL),
        SQLITE_OK);
    walk_page(&walk, 1, true, 0);
    assert_int_equal(sqlite3_step(walk.rows), SQLITE_DONE);
    assert_true(walk.cells >= 7);
    sqlite3_finalize(walk.rows);
    wal_image_free(&im);
    workload_close(&w);
}

/* A page in memory of exactly that size. */
static struct btree_page page_of(uint8_t *bytes, uint32_t size, uint32_t number, int wanted)
{
    struct btree_page p;
    assert_int_equal(btree_page_parse(&p, bytes, size, number), wanted);
    return p;
}

static void what_is_no_page(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        uint8_t *bytes = calloc(1, 512);
        bytes[0] = bytes[100] = (uint8_t)type;
        bool right = type == 2 || type == 5 || type == 10 || type == 13;
        page_of(bytes, 512, 2, right ? STATUS_OK : STATUS_INVALID);
        page_of(bytes, 512, 1, right ? STATUS_OK : STATUS_INVALID);
        free(bytes);
    }
    /* the pointers of that many cells do not fit, or just do */
    uint8_t *bytes = calloc(1, 512);
    bytes[0] = 13;
    bytes[4] = (512 - 8) / 2;
    page_of(bytes, 512, 2, STATUS_OK);
    bytes[4]++;
    page_of(bytes, 512, 2, STATUS_INVALID);
    bytes[3] = bytes[4] = 255;
    page_of(bytes, 512, 2, STATUS_INVALID);
    free(bytes);
}

static void cells_that_do_not_fit(void **state)
{
    static const uint8_t types[] = {2, 5, 10, 13};
    uint64_t dice = 9;
    (void)state;
    for (int round = 0; round < 4000; round++) {
        uint8_t *bytes = malloc(512); /* its end is watched by the sanitizer */
        struct btree_page p;
        for (int i = 0; i < 512; i++)
            bytes[i] = (uint8_t)dice_next(&dice);
        bytes[0] = types[dice_below(&dice, 4)];
        bytes[3] = 0;
        bytes[4] %= 100;
        for (int i = 0; i < bytes[4]; i++)
            bytes[12 + 2 * i] &= dice_below(&dice, 3) ? 1 : 255;
        assert_int_equal(btree_page_parse(&p, bytes, 512, 2), STATUS_OK);
        for (int i = 0; i <= p.cell_count; i++) {
            struct btree_cell c;
            uint32_t child;
            if (!p.leaf)
                btree_page_child(&p, i, &child);
            if (i == p.cell_count || btree_page_cell(&p, i, &c) != STATUS_OK || !c.local)
                continue;
            assert_true(c.local >= bytes && c.local + c.local_size <= bytes + 512);
            assert_true(c.local_size == c.size || c.overflow != 0);
        }
        free(bytes);
    }
}

/* A chain of three pages, 2 to 4, in a file of 6. */
struct chain {
    struct wal_image im;
    struct wal_view view;
    struct btree_cell cell;
    uint8_t local[40];
};

static void set_next(struct chain *c, uint32_t page, uint32_t next)
{
    uint8_t *p = c->im.file + (page - 1) * 512;
    p[0] = (uint8_t)(next >> 24), p[1] = (uint8_t)(next >> 16), p[2] = (uint8_t)(next >> 8);
    p[3] = (uint8_t)next;
    wal_pages_clear(&c->im.pages);
}

static void make_chain(struct chain *c)
{
    uint8_t *file = calloc(6, 512);
    memset(c, 0, sizeof(*c));
    for (int i = 0; i < 6 * 512; i++)
        file[i] = (uint8_t)(i * 7);
    file[16] = 2, file[17] = 0, file[20] = 0;
    memset(file + 52, 0, 8);
    wal_image_set(&c->im, file, 6 * 512, NULL, 0);
    assert_int_equal(wal_image_open(&c->im, CACHE), STATUS_OK);
    assert_int_equal(wal_view_init(&c->view, &c->im.pages, 0), STATUS_OK);
    for (uint32_t n = 2; n <= 4; n++)
        set_next(c, n, n < 4 ? n + 1 : 0);
    c->cell = (struct btree_cell){
        .size = 40 + 508 + 508 + 100, .local = c->local, .local_size = 40, .overflow = 2};
}

static int read_chain(struct chain *c)
{
    struct buf buf = {0};
    const uint8_t *payload;
    int status = btree_payload(&c->view, &c->cell, &buf, &payload);
    buf_fini(&buf);
    return status;
}

static int count_page(void *ctx, uint32_t page)
{
    (void)page;
    return ++*(int *)ctx > 1000 ? STATUS_TOO_LARGE : 0;
}

static int visit_chain(struct chain *c, int *count)
{
    *count = 0;
    return btree_overflow(&c->view, &c->cell, count_page, count);
}

static void overflow_chains(void **state)
{
    struct chain c;
    int count;
    (void)state;
    make_chain(&c);
    assert_int_equal(read_chain(&c), STATUS_OK);
    assert_int_equal(visit_chain(&c, &count), STATUS_OK);
    assert_int_equal(count, 3);
    static const struct {
        uint32_t page, next;
    } damage[] = {
        {2, 0}, {2, 7}, {3, 0xffffffff}, {3, 0}, {4, 5}, /* too short, out of range, too long */
        {3, 2}, {2, 2}, {4, 2},                          /* loops */
    };
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        set_next(&c, damage[i].page, damage[i].next);
        assert_int_equal(read_chain(&c), STATUS_INVALID);
        visit_chain(&c, &count);
        assert_true(count <= 3);
        set_next(&c, damage[i].page, damage[i].page < 4 ? damage[i].page + 1 : 0);
        assert_int_equal(read_chain(&c), STATUS_OK);
    }
    wal_image_free(&c.im);
}

/* A size that no file of this length can hold is not even begun. */
static void a_loop_with_a_huge_size(void **state)
{
    struct chain c;
    (void)state;
    int count;
    make_chain(&c);
    set_next(&c, 2, 2);
    c.cell.size = 100 << 20;
    uint64_t before = c.im.reads;
    assert_int_equal(read_chain(&c), STATUS_INVALID);
    assert_true(c.im.reads - before < 10);
    assert_int_equal(visit_chain(&c, &count), STATUS_INVALID);
    assert_true(count <= 6);
    c.cell.size = INT32_MAX;
    assert_true(read_chain(&c) == STATUS_TOO_LARGE || read_chain(&c) == STATUS_INVALID);
    wal_image_free(&c.im);
}

static void memory_may_run_out(void **state)
{
    struct chain c;
    (void)state;
    make_chain(&c);
    for (long after = 0; after < 100; after++) {
        wal_pages_clear(&c.im.pages);
        mem_fail_after(after);
        int status = read_chain(&c);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, hit ? STATUS_NOMEM : STATUS_OK);
        if (!hit)
            break;
    }
    wal_image_free(&c.im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found),
        cmocka_unit_test(the_first_page),
        cmocka_unit_test(what_is_no_page),
        cmocka_unit_test(cells_that_do_not_fit),
        cmocka_unit_test(overflow_chains),
        cmocka_unit_test(a_loop_with_a_huge_size),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
