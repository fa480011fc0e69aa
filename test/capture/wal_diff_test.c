/*
 * The whole decoder against brute force: after every commit of a random workload the changes found
 * in the log must turn the rows that SELECT gave before into those that it gives now.
 *
 *   wal_diff_test [STEPS [SEED]]    steps for each kind of database
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/diff.h"
#include "capture/wal/trees.h"
#include "wal_image.h"
#include "wal_rows.h"
#include "wal_workload.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int step_count = 100;
static uint64_t seed = 1;

/* Follows the commits of one connection, as the server follows those of others. */
struct watcher {
    struct workload w;
    struct wal_image im;
    struct wal_diff diff;
    struct trees *trees;
    struct rows *rows;
    struct output {
        struct wal_output out;
        struct batch *all;
    } output;
    uint32_t frame; /* of the last commit seen */
    size_t cache;
    uint64_t commits, changes, resumed;
};

static void read_trees(struct watcher *x, const struct wal_view *v, struct trees **out)
{
    assert_int_equal(trees_read(v, x->trees, NULL, out), STATUS_OK);
    assert_int_equal((*out)->schema->cookie, v->cookie);
}

/* A small bound makes it stop and go on often; here it goes on in the same batch. */
static int on_full(struct wal_output *out)
{
    out->max += 2000;
    return STATUS_OK;
}

static struct batch *decode(struct watcher *x, uint32_t to, struct trees **trees)
{
    struct wal_view v;
    struct wal_output out = {.batch = batch_new(0), .max = 1000, .full = on_full};
    assert_int_equal(wal_view_init(&v, &x->im.pages, to), STATUS_OK);
    *trees = x->trees;
    if (v.cookie != x->trees->schema->cookie)
        read_trees(x, &v, trees);
    int status = wal_diff_begin(&x->diff, x->frame, to, x->trees, *trees);
    if (status == STATUS_OK)
        status = wal_diff_rows(&x->diff, &out);
    if (status != STATUS_OK)
        fail_msg("status %d, %s, seed %llu, commit %llu", status, x->w.last,
            (unsigned long long)seed, (unsigned long long)x->commits);
    batch_end_transaction(out.batch, 0, NULL);
    return out.batch;
}

static void check_commit(struct watcher *x, uint32_t to)
{
    struct trees *trees;
    struct buf wrong = {0};
    struct batch *b = decode(x, to, &trees);
    struct rows *now = rows_read(x->w.db, trees->schema);
    assert_non_null(now);
    if (!rows_follow(x->rows, now, trees, b, &wrong))
        fail_msg("%s (a commit of: %s; page size %u, seed %llu, commit %llu)", buf_text(&wrong),
            x->w.last, x->w.kind.page_size, (unsigned long long)seed,
            (unsigned long long)x->commits);
    buf_fini(&wrong);
    x->commits++;
    x->changes += b->change_count;
    batch_unref(b);
    rows_free(x->rows);
    x->rows = now;
    if (trees != x->trees) {
        wal_diff_forget(&x->diff);
        trees_free(x->trees);
        x->trees = trees;
    }
    x->frame = to;
}

/* SQLite calls this after each commit, when statements may be run again. */
static int on_commit(void *ctx, sqlite3 *db, const char *name, int frames)
{
    struct watcher *x = ctx;
    (void)db, (void)name;
    assert_true(wal_image_refresh(&x->im, x->w.path));
    assert_int_equal(x->im.frames.count, frames);
    check_commit(x, (uint32_t)frames);
    assert_true(x->im.pages.count <= x->im.pages.max);
    return SQLITE_OK;
}

/* The next commit begins the log again. */
static void checkpoint(struct watcher *x)
{
    workload_checkpoint(&x->w);
    assert_true(wal_image_refresh(&x->im, x->w.path));
    x->frame = 0;
}

static void watcher_open(struct watcher *x, const struct workload_kind *kind, uint64_t with)
{
    struct wal_view v;
    memset(x, 0, sizeof(*x));
    workload_open(&x->w, kind, with);
    assert_true(wal_image_load(&x->im, x->w.path));
    assert_int_equal(wal_image_open(&x->im, 100 * kind->page_size), STATUS_OK);
    x->frame = x->im.frames.count;
    assert_int_equal(wal_view_init(&v, &x->im.pages, x->frame), STATUS_OK);
    read_trees(x, &v, &x->trees);
    x->rows = rows_read(x->w.db, x->trees->schema);
    assert_non_null(x->rows);
    wal_diff_init(&x->diff, &x->im.pages);
    sqlite3_wal_hook(x->w.db, on_commit, x);
}

static void watcher_close(struct watcher *x)
{
    sqlite3_wal_hook(x->w.db, NULL, NULL);
    wal_diff_fini(&x->diff);
    rows_free(x->rows);
    trees_free(x->trees);
    wal_image_free(&x->im);
    workload_close(&x->w);
}

static void follow_kind(const struct workload_kind *kind, int steps, uint64_t with)
{
    struct watcher x;
    watcher_open(&x, kind, with);
    for (int i = 0; i < steps; i++) {
        workload_step(&x.w);
        if (dice_below(&x.w.dice, 25) == 0)
            checkpoint(&x);
    }
    printf("# page size %u, auto_vacuum %d, %s, %d reserved: %llu commits, %llu changes\n",
        kind->page_size, kind->auto_vacuum, kind->encoding, kind->reserved,
        (unsigned long long)x.commits, (unsigned long long)x.changes);
    watcher_close(&x);
}

static void changes_are_those_that_select_shows(void **state)
{
    (void)state;
    for (size_t i = 0; i < workload_kind_count; i++)
        follow_kind(&workload_kinds[i], step_count, seed + i);
}

/* A program writes into a large blob: nothing but overflow pages changes. */
static void write_blob(struct watcher *x, int offset, int size, char byte)
{
    sqlite3_blob *blob;
    char *bytes = malloc((size_t)size);
    memset(bytes, byte, (size_t)size);
    assert_int_equal(sqlite3_blob_open(x->w.db, "main", "loose", "a", 7, 1, &blob), SQLITE_OK);
    assert_int_equal(sqlite3_blob_write(blob, bytes, size, offset), SQLITE_OK);
    sqlite3_blob_close(blob);
    free(bytes);
    workload_run(&x->w, "SELECT 1"); /* only now SQLite calls the hook */
}

static void large_blobs_are_written_in_place(void **state)
{
    static const struct workload_kind kinds[] = {
        {512, 0, "UTF-8", 0}, {512, 1, "UTF-8", 0}, {4096, 0, "UTF-8", 0}, {4096, 2, "UTF-8", 0}};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct watcher x;
        int size = 1500 * (int)kinds[i].page_size;
        char sql[200];
        watcher_open(&x, &kinds[i], 1);
        snprintf(sql, sizeof(sql),
            "INSERT INTO loose(rowid, a, b) VALUES (6, zeroblob(9000), 1), (7, zeroblob(%d), 2)",
            size);
        workload_run(&x.w, sql);
        snprintf(x.w.last, sizeof(x.w.last), "a blob written in place");
        for (int again = 0; again < 3; again++) {
            write_blob(&x, size - 10, 10, 'a');
            write_blob(&x, size / 2, 1, 'b');
            write_blob(&x, 5000, size - 5000, (char)('c' + again)); /* all but its beginning */
            if (again == 0)
                checkpoint(&x);
            workload_run(&x.w, "UPDATE loose SET b = b + 1");
        }
        assert_int_equal(x.changes, 2 + 3 * (3 + 2));
        watcher_close(&x);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_blobs_are_written_in_place),
        cmocka_unit_test(changes_are_those_that_select_shows),
    };
    if (argc > 1)
        step_count = atoi(argv[1]);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
