/*
 * The log and the pages of a database at a position: real logs made by SQLite, compared with what
 * SQLite itself says a commit's pages are, and damaged ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/shm.h"
#include "wal_image.h"
#include "wal_workload.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE (1 << 20)
#define COMMITS 24

/* A database as SQLite sees it after a commit, and the frames that its log had then. */
struct moment {
    unsigned char *bytes;
    sqlite3_int64 size;
    uint32_t frames;
};

static uint32_t frames_now;

static int on_commit(void *ctx, sqlite3 *db, const char *name, int frames)
{
    (void)ctx, (void)db, (void)name;
    frames_now = (uint32_t)frames;
    return SQLITE_OK;
}

static void remember(struct workload *w, struct moment *m)
{
    m->bytes = sqlite3_serialize(w->db, "main", &m->size, 0);
    assert_non_null(m->bytes);
    m->frames = frames_now;
}

static void expect_moment(struct wal_image *im, const struct moment *m)
{
    struct wal_view v;
    assert_int_equal(wal_view_init(&v, &im->pages, m->frames), STATUS_OK);
    uint32_t size = im->frames.page_size;
    assert_int_equal(v.page_count, m->size / size);
    for (uint32_t n = 1; n <= v.page_count; n++) {
        struct wal_page *page;
        const unsigned char *wanted = m->bytes + (size_t)(n - 1) * size;
        uint32_t head;
        if (n == 0x40000000u / size + 1)
            continue;
        assert_int_equal(wal_view_head(&v, n, &head), STATUS_OK);
        assert_int_equal(wal_view_page(&v, n, &page), STATUS_OK);
        assert_int_equal(head, (uint32_t)page->data[0] << 24 | page->data[1] << 16 |
                                   page->data[2] << 8 | page->data[3]);
        assert_memory_equal(page->data, wanted, size);
        wal_page_done(page);
    }
    struct wal_page *none;
    assert_int_equal(wal_view_page(&v, 0, &none), STATUS_INVALID);
    assert_int_equal(wal_view_page(&v, v.page_count + 1, &none), STATUS_INVALID);
    assert_null(none);
}

/* Every commit of one generation, from the first frame on and with pages from the file below. */
static void compare_commits(struct workload *w)
{
    struct moment moments[COMMITS];
    for (int i = 0; i < COMMITS; i++) {
        workload_step(w);
        remember(w, &moments[i]);
    }
    struct wal_image im;
    assert_true(wal_image_load(&im, w->path));
    assert_int_equal(wal_image_open(&im, 64 << 10), STATUS_OK);
    assert_int_equal(im.frames.count, frames_now);
    for (int i = COMMITS - 1; i >= 0; i--)
        expect_moment(&im, &moments[i]);
    for (int i = 1; i < COMMITS; i++) { /* some steps are several commits, some none */
        uint32_t at = moments[i - 1].frames;
        for (int k = 0; k < 10 && at < moments[i].frames; k++)
            assert_int_equal(wal_log_commit(&im.frames, at, im.frames.count, &at), STATUS_OK);
        assert_int_equal(at, moments[i].frames);
    }
    assert_true(im.pages.count <= im.pages.max);
    wal_image_free(&im);
    for (int i = 0; i < COMMITS; i++)
        sqlite3_free(moments[i].bytes);
}

static void pages_at_every_commit_are_sqlites(void **state)
{
    (void)state;
    for (size_t i = 0; i < workload_kind_count; i++) {
        struct workload w;
        workload_open(&w, &workload_kinds[i], 11 + i);
        sqlite3_wal_hook(w.db, on_commit, NULL);
        workload_run(&w, "INSERT INTO loose VALUES (1, 2, 3)");
        compare_commits(&w);
        workload_checkpoint(&w);
        frames_now = 0;
        compare_commits(&w);
        workload_close(&w);
    }
}

/* A small log that the other tests damage. */
static void make_small(struct wal_image *im)
{
    struct workload w;
    workload_open(&w, &workload_kinds[1], 5);
    for (int i = 0; i < 5; i++)
        workload_rows(&w);
    assert_true(wal_image_load(im, w.path));
    workload_close(&w);
    assert_int_equal(wal_image_open(im, CACHE), STATUS_OK);
    assert_true(im->frames.count > 10);
}

static uint8_t *frame_head(struct wal_image *im, uint32_t n)
{
    return im->log + WAL_HEADER + (n - 1) * (size_t)(WAL_FRAME_HEADER + im->frames.page_size);
}

/* What the log itself says, by going through all of it. */
static uint32_t slow_find(struct wal_image *im, uint32_t page, uint32_t upto)
{
    for (uint32_t n = upto; n > 0; n--)
        if (im->frames.frames[n - 1].page == page)
            return n;
    return 0;
}

static void the_last_frame_of_a_page_is_found_at_every_position(void **state)
{
    struct wal_image im;
    (void)state;
    make_small(&im);
    for (uint32_t upto = 0; upto <= im.frames.count; upto++)
        for (uint32_t page = 1; page < 60; page++)
            assert_int_equal(wal_log_find(&im.frames, page, upto), slow_find(&im, page, upto));
    wal_image_free(&im);
}

static void frames_of_another_generation_are_refused(void **state)
{
    struct wal_image im;
    (void)state;
    make_small(&im);
    uint32_t count = im.frames.count;
    for (uint32_t n = 1; n <= count; n++)
        for (int at = 8; at < 16; at++) {
            frame_head(&im, n)[at] ^= 1;
            wal_log_restart(&im.frames, im.log + 16);
            assert_int_equal(wal_log_extend(&im.frames, count), STATUS_INVALID);
            assert_true(im.frames.count < count);
            frame_head(&im, n)[at] ^= 1;
            assert_int_equal(wal_log_extend(&im.frames, count), STATUS_OK);
        }
    wal_image_free(&im);
}

static void page_0_is_no_page(void **state)
{
    struct wal_image im;
    (void)state;
    make_small(&im);
    memset(frame_head(&im, 3), 0, 4);
    wal_log_restart(&im.frames, im.log + 16);
    assert_int_equal(wal_log_extend(&im.frames, im.frames.count + 5), STATUS_INVALID);
    wal_image_free(&im);
}

static void a_log_that_ends_early_is_refused(void **state)
{
    struct wal_image im;
    (void)state;
    make_small(&im);
    uint32_t count = im.frames.count;
    size_t step = WAL_FRAME_HEADER + im.frames.page_size;
    for (size_t size = 0; size < WAL_HEADER + (count - 1) * step + WAL_FRAME_HEADER; size += 7) {
        im.log_size = size;
        wal_log_restart(&im.frames, im.log + 16);
        assert_int_equal(wal_log_extend(&im.frames, count), STATUS_INVALID);
    }
    wal_image_free(&im);
}

/* The first page that the commits of the log left in some frame. */
static void a_page_cut_off_is_refused(void **state)
{
    struct wal_image im;
    struct wal_view v;
    struct wal_page *page;
    (void)state;
    make_small(&im);
    uint32_t last = im.frames.count, number = im.frames.frames[last - 1].page, head;
    assert_int_equal(wal_view_init(&v, &im.pages, last), STATUS_OK);
    wal_pages_clear(&im.pages);
    im.log_size = WAL_HEADER + last * (size_t)(WAL_FRAME_HEADER + im.frames.page_size) - 1;
    assert_int_equal(wal_view_page(&v, number, &page), STATUS_INVALID);
    im.log_size -= im.frames.page_size - 4;
    assert_int_equal(wal_view_head(&v, number, &head), STATUS_INVALID);
    assert_int_equal(im.pages.count, 0);
    wal_image_free(&im);
}

/*
 * With a tiny cache a transaction's pages spill into the log and are rewritten there before the
 * commit; those rolled back are overwritten by the next transaction.
 */
static void frames_that_spill_are_read_as_committed(void **state)
{
    struct workload w;
    struct wal_image im;
    struct moment m[6];
    (void)state;
    workload_open(&w, &workload_kinds[1], 3);
    sqlite3_wal_hook(w.db, on_commit, NULL);
    workload_run(&w, "PRAGMA cache_size = 2");
    for (int i = 0; i < 6; i++) {
        workload_run(&w,
            "BEGIN; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) "
            "INSERT INTO loose SELECT i, hex(zeroblob(i)), i FROM c; UPDATE loose SET a = a + 1;"
            "UPDATE loose SET c = 'x' WHERE rowid % 3 = 0; SAVEPOINT s; DELETE FROM loose;"
            "ROLLBACK TO s; UPDATE loose SET a = a + 1;");
        workload_run(&w, i == 2 ? "ROLLBACK; DELETE FROM loose WHERE rowid % 2" : "COMMIT");
        remember(&w, &m[i]);
    }
    assert_true(wal_image_load(&im, w.path));
    assert_int_equal(wal_image_open(&im, CACHE), STATUS_OK);
    assert_int_equal(im.frames.count, frames_now);
    for (int i = 0; i < 6; i++) {
        expect_moment(&im, &m[i]);
        sqlite3_free(m[i].bytes);
    }
    wal_image_free(&im);
    workload_close(&w);
}

static void a_bad_first_page_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } damage[] = {{16, 0x55}, {17, 1}, {20, 255}, {56, 1}, {59, 4}, {59, 0xff}};
    struct workload w;
    struct wal_image im;
    (void)state;
    workload_open(&w, &workload_kinds[1], 3);
    workload_checkpoint(&w);
    assert_true(wal_image_load(&im, w.path));
    workload_close(&w);
    im.log_size = 0;
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        struct wal_view v;
        uint8_t before = im.file[damage[i].at];
        assert_int_equal(wal_image_open(&im, CACHE), STATUS_OK);
        assert_int_equal(wal_view_init(&v, &im.pages, 0), STATUS_OK);
        wal_pages_clear(&im.pages);
        im.file[damage[i].at] = damage[i].byte;
        assert_int_equal(wal_view_init(&v, &im.pages, 0), STATUS_INVALID);
        im.file[damage[i].at] = before;
        wal_image_close(&im);
    }
    wal_image_free(&im);
}

static void an_empty_database_has_no_pages(void **state)
{
    struct wal_image im;
    struct wal_view v;
    (void)state;
    wal_image_set(&im, NULL, 0, NULL, 0);
    assert_int_equal(wal_image_open(&im, CACHE), STATUS_INVALID);
    wal_log_init(&im.frames, &im.source, 4096);
    wal_pages_init(&im.pages, &im.frames, CACHE);
    im.open = true;
    assert_int_equal(wal_view_init(&v, &im.pages, 0), STATUS_OK);
    assert_int_equal(v.page_count, 0);
    wal_image_free(&im);
}

/* Section 1.8 of the file format: page 2, then one after every usable / 5 pages, not the lock's. */
static void pages_that_are_in_no_tree_are_known(void **state)
{
    struct wal_image im;
    struct wal_view v = {.pages = &im.pages, .usable = 512, .auto_vacuum = true};
    (void)state;
    wal_image_set(&im, NULL, 0, NULL, 0);
    wal_log_init(&im.frames, &im.source, 512);
    wal_pages_init(&im.pages, &im.frames, CACHE);
    im.open = true;
    uint32_t lock = 0x40000000u / 512 + 1, count = 0;
    for (uint32_t n = 1; n < 3000; n++) {
        assert_int_equal(wal_view_is_special(&v, n), n > 1 && (n - 2) % 103 == 0);
        count += wal_view_is_special(&v, n);
    }
    assert_int_equal(count, 30);
    assert_true(wal_view_is_special(&v, lock));
    v.auto_vacuum = false;
    assert_true(wal_view_is_special(&v, lock));
    assert_false(wal_view_is_special(&v, 2));
    wal_image_free(&im);
}

/* The head of the index in shared memory, as SQLite keeps it, and while it is being written. */
static void the_index_tells_what_is_committed(void **state)
{
    struct workload w;
    struct wal_image im;
    struct wal_shm shm;
    char name[200];
    uint32_t mapped[WAL_SHM_SIZE / 4];
    (void)state;
    workload_open(&w, &workload_kinds[4], 3);
    workload_rows(&w);
    assert_true(wal_image_load(&im, w.path));
    assert_int_equal(wal_image_open(&im, CACHE), STATUS_OK);
    snprintf(name, sizeof(name), "%s-shm", w.path);
    FILE *f = fopen(name, "rb");
    assert_non_null(f);
    assert_int_equal(fread(mapped, 1, WAL_SHM_SIZE, f), WAL_SHM_SIZE);
    fclose(f);
    assert_true(wal_shm_read(mapped, &shm));
    assert_int_equal(shm.frames, im.frames.count);
    assert_int_equal(shm.page_size, 65536);
    assert_int_equal(shm.pages, im.frames.frames[shm.frames - 1].pages);
    assert_memory_equal(shm.salt, im.frames.salt, WAL_SALT);
    assert_int_equal(shm.copied, 0);
    for (size_t i = 0; i < 24; i++) {
        mapped[i] ^= 0x100; /* one copy differs */
        assert_false(wal_shm_read(mapped, &shm));
        mapped[i % 12] ^= i < 12 ? 0 : 0x100; /* both do, and the checksum does not fit */
        assert_false(wal_shm_read(mapped, &shm));
        mapped[i % 12] ^= i < 12 ? 0 : 0x100;
        mapped[i] ^= 0x100;
    }
    assert_true(wal_shm_read(mapped, &shm));
    wal_image_free(&im);
    workload_close(&w);
}

static void memory_may_run_out(void **state)
{
    struct wal_image im;
    (void)state;
    make_small(&im);
    uint32_t last = im.frames.count;
    wal_image_close(&im);
    for (long after = 0; after < 1000; after++) {
        struct wal_view v;
        struct wal_page *page = NULL;
        mem_fail_after(after);
        int status = wal_image_open(&im, CACHE);
        if (status == STATUS_OK)
            status = wal_view_init(&v, &im.pages, last);
        for (uint32_t n = 1; status == STATUS_OK && n <= v.page_count; n++) {
            status = wal_view_page(&v, n, &page);
            wal_page_done(page);
        }
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        wal_image_close(&im);
        assert_int_equal(status, hit ? STATUS_NOMEM : STATUS_OK);
        if (!hit)
            break;
    }
    wal_image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_at_every_commit_are_sqlites),
        cmocka_unit_test(the_last_frame_of_a_page_is_found_at_every_position),
        cmocka_unit_test(frames_of_another_generation_are_refused),
        cmocka_unit_test(page_0_is_no_page),
        cmocka_unit_test(a_log_that_ends_early_is_refused),
        cmocka_unit_test(a_page_cut_off_is_refused),
        cmocka_unit_test(frames_that_spill_are_read_as_committed),
        cmocka_unit_test(a_bad_first_page_is_refused),
        cmocka_unit_test(an_empty_database_has_no_pages),
        cmocka_unit_test(pages_that_are_in_no_tree_are_known),
        cmocka_unit_test(the_index_tells_what_is_committed),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
