#include "fuzz.h"

#include "capture/wal/btree.h"
#include "wal_image.h"
#include "wal_workload.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)

void fuzz_corpus_add(struct fuzz_corpus *c, const void *data, size_t size)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->items = realloc(c->items, c->cap * sizeof(*c->items));
    }
    struct fuzz_input *in = &c->items[c->count++];
    in->data = malloc(size ? size : 1);
    in->size = size;
    memcpy(in->data, data, size);
}

static void add_file(struct fuzz_corpus *c, const char *path)
{
    uint8_t *data = malloc(FILE_MAX);
    FILE *f = fopen(path, "rb");
    REQUIRE(f && data);
    fuzz_corpus_add(c, data, fread(data, 1, FILE_MAX, f));
    fclose(f);
    free(data);
}

static int no_dot(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

void fuzz_corpus_files(struct fuzz_corpus *c, const char *name)
{
    char path[1000];
    struct dirent **files;
    snprintf(path, sizeof(path), "%s/%s", FUZZ_CORPUS, name);
    int count = scandir(path, &files, no_dot, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s/%s", FUZZ_CORPUS, name, files[i]->d_name);
        add_file(c, path);
        free(files[i]);
    }
    if (count >= 0)
        free(files);
}

uint8_t *fuzz_copy(const void *data, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

char *fuzz_string(const void *data, size_t size)
{
    char *copy = malloc(size + 1);
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

void fuzz_corpus_fini(struct fuzz_corpus *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->items[i].data);
    free(c->items);
    *c = (struct fuzz_corpus){0};
}

/* A database with some content in its file and some commits in its log. */
static void make_image(struct wal_image *im, size_t kind, uint64_t seed)
{
    struct workload w;
    workload_open(&w, &workload_kinds[kind], seed);
    uint32_t before = 2 + dice_below(&w.dice, 8), after = 2 + dice_below(&w.dice, 5);
    for (uint32_t i = 0; i < before; i++)
        workload_step(&w);
    workload_checkpoint(&w);
    for (uint32_t i = 0; i < after; i++)
        workload_step(&w);
    workload_run(&w, "UPDATE loose SET a = 1 WHERE rowid % 5 = 0");
    if (!wal_image_load(im, w.path))
        abort();
    workload_close(&w);
}

static void each_image(
    struct fuzz_corpus *c, uint64_t seed, void (*add)(struct fuzz_corpus *, struct wal_image *))
{
    for (size_t kind = 0; kind < workload_kind_count; kind++)
        for (uint64_t round = 0; round < (workload_kinds[kind].page_size <= 4096 ? 3 : 1);
             round++) {
            struct wal_image im;
            make_image(&im, kind, seed * 100 + round * 10 + kind + 1);
            add(c, &im);
            wal_image_free(&im);
        }
}

static void add_image(struct fuzz_corpus *c, struct wal_image *im)
{
    size_t size = 4 + im->log_size + im->file_size;
    uint8_t *bytes = malloc(size);
    uint32_t n = (uint32_t)im->log_size;
    bytes[0] = (uint8_t)(n >> 24), bytes[1] = (uint8_t)(n >> 16);
    bytes[2] = (uint8_t)(n >> 8), bytes[3] = (uint8_t)n;
    if (im->log_size)
        memcpy(bytes + 4, im->log, im->log_size);
    memcpy(bytes + 4 + im->log_size, im->file, im->file_size);
    fuzz_corpus_add(c, bytes, size);
    free(bytes);
}

void fuzz_fill_images(struct fuzz_corpus *c, uint64_t seed)
{
    each_image(c, seed, add_image);
}

static void add_page(struct fuzz_corpus *c, const struct wal_view *v, uint32_t number)
{
    uint32_t size = v->pages->log->page_size;
    uint8_t *bytes = malloc(2 + (size_t)size);
    struct wal_page *page;
    if (wal_view_page(v, number, &page) == 0) {
        bytes[0] = number == 1;
        bytes[1] = (uint8_t)(size - v->usable);
        memcpy(bytes + 2, page->data, size);
        fuzz_corpus_add(c, bytes, 2 + (size_t)size);
        wal_page_done(page);
    }
    free(bytes);
}

static void add_records(struct fuzz_corpus *c, const struct wal_view *v, uint32_t number)
{
    struct wal_page *page;
    struct btree_page p;
    struct btree_cell cell;
    struct buf buf = {0};
    const uint8_t *payload;
    if (wal_view_page(v, number, &page) != 0)
        return;
    if (btree_page_parse(&p, page->data, v->usable, number) == 0 && p.leaf)
        for (int i = 0; i < p.cell_count && i < 4; i++)
            if (btree_page_cell(&p, i, &cell) == 0 &&
                btree_payload(v, &cell, &buf, &payload) == 0) {
                uint8_t *bytes = malloc(1 + (size_t)cell.size);
                bytes[0] = v->encoding;
                memcpy(bytes + 1, payload, cell.size);
                fuzz_corpus_add(c, bytes, 1 + (size_t)cell.size);
                free(bytes);
            }
    buf_fini(&buf);
    wal_page_done(page);
}

static void each_page(struct fuzz_corpus *c, struct wal_image *im,
    void (*add)(struct fuzz_corpus *, const struct wal_view *, uint32_t))
{
    struct wal_view v;
    if (wal_image_open(im, 1 << 20) != 0 || wal_view_init(&v, &im->pages, im->frames.count) != 0)
        abort();
    for (uint32_t n = 1; n <= v.page_count && n <= 12; n++)
        add(c, &v, n);
    wal_image_close(im);
}

static void add_pages(struct fuzz_corpus *c, struct wal_image *im)
{
    each_page(c, im, add_page);
}

static void add_all_records(struct fuzz_corpus *c, struct wal_image *im)
{
    each_page(c, im, add_records);
}

void fuzz_fill_pages(struct fuzz_corpus *c, uint64_t seed)
{
    each_image(c, seed, add_pages);
}

void fuzz_fill_records(struct fuzz_corpus *c, uint64_t seed)
{
    each_image(c, seed, add_all_records);
}
