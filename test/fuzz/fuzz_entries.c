#include "fuzz.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/diff.h"
#include "capture/wal/record.h"
#include "capture/wal/trees.h"
#include "change/change_json.h"
#include "wal_image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t fuzz_accepted;

const struct fuzz_entry fuzz_entries[] = {
    {"record", "records and UTF-16", fuzz_record, fuzz_fill_records},
    {"page", "pages of b-trees and their cells", fuzz_page, fuzz_fill_pages},
    {"log", "frames, positions and overflow chains", fuzz_log, fuzz_fill_images},
    {"commit", "what commits did to the rows", fuzz_commit, fuzz_fill_images},
    {"extension", "offers of WebSocket extensions", fuzz_extension, fuzz_fill_extensions},
    {"frames", "WebSocket frames", fuzz_frames, fuzz_fill_frames},
    {"deflate", "compressed messages", fuzz_deflate, fuzz_fill_deflated},
    {"token", "tokens", fuzz_token, fuzz_fill_tokens},
    {"keys", "files of keys", fuzz_keys, fuzz_fill_keys},
    {"json", "JSON texts", fuzz_json, NULL},
    {"command", "clients' messages", fuzz_command, NULL},
    {"body", "bodies of requests that write", fuzz_body, NULL},
    {"filter", "filters", fuzz_filter, NULL},
    {"query", "query strings", fuzz_query, NULL},
    {"http", "heads of requests", fuzz_http, NULL},
    {"address", "addresses, names and amounts", fuzz_address, NULL},
    {"handshake", "answers to a client's handshake", fuzz_handshake, NULL},
    {"inflate", "compressed data that may become too much", fuzz_inflate, NULL},
    {"policy", "policy files and what they grant", fuzz_policy, NULL},
    {"forwarded", "whom a request comes from", fuzz_forwarded, NULL},
    {"session", "what a session does with messages", fuzz_session, NULL},
};
const size_t fuzz_entry_count = sizeof(fuzz_entries) / sizeof(fuzz_entries[0]);

/* So that the sanitizer looks at every byte. */
static volatile uint32_t sink;
static void touch(const void *p, size_t size)
{
    const uint8_t *bytes = p;
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    sink = sum;
}

static void touch_value(const struct value *v)
{
    REQUIRE(v->type <= VALUE_ABSENT);
    if (v->type == VALUE_TEXT || v->type == VALUE_BLOB)
        touch(v->p, v->len);
}

static void read_values(const uint8_t *payload, size_t size, int encoding)
{
    struct record r;
    struct value v;
    size_t count = 0;
    if (record_begin(&r, payload, size) != STATUS_OK)
        return;
    while (record_more(&r) && record_next(&r, &v) == STATUS_OK) {
        REQUIRE(++count <= size);
        touch_value(&v);
        if (v.type == VALUE_TEXT && encoding > 1) {
            struct buf out = {0};
            record_utf8(&out, v.p, v.len, encoding);
            REQUIRE(out.len <= 3 * ((size_t)v.len / 2));
            buf_fini(&out);
        }
    }
    fuzz_accepted += !record_more(&r);
}

void fuzz_record(const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    uint8_t *payload = malloc(size - 1); /* of exactly that size */
    memcpy(payload, data + 1, size - 1);
    read_values(payload, size - 1, data[0] % 4);
    free(payload);
}

void fuzz_page(const uint8_t *data, size_t size)
{
    if (size < 2 + 512)
        return;
    uint32_t number = data[0] & 1 ? 1 : 2, usable = size - 2 > 65536 ? 65536 : (uint32_t)(size - 2);
    usable = usable - data[1] < 480 ? 480 : usable - data[1];
    uint8_t *page = malloc(usable);
    struct btree_page p;
    memcpy(page, data + 2, usable);
    bool is_page = btree_page_parse(&p, page, usable, number) == STATUS_OK;
    fuzz_accepted += is_page;
    for (int i = 0; is_page && i <= p.cell_count; i++) {
        struct btree_cell c;
        uint32_t child;
        if (!p.leaf)
            btree_page_child(&p, i, &child);
        if (i == p.cell_count || btree_page_cell(&p, i, &c) != STATUS_OK || !c.local)
            continue;
        REQUIRE(c.local >= page && c.local_size <= usable - (size_t)(c.local - page));
        REQUIRE(c.local_size == c.size || (c.local_size < c.size && c.overflow));
        read_values(c.local, c.local_size, 1);
    }
    free(page);
}

/* False: this is no image at all. */
static bool load(struct wal_image *im, const uint8_t *data, size_t size)
{
    if (size < 4)
        return false;
    size_t log = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
    if (log > size - 4)
        log = size - 4;
    size_t file = size - 4 - log;
    uint8_t *log_bytes = malloc(log + 1), *file_bytes = malloc(file + 1);
    memcpy(log_bytes, data + 4, log);
    memcpy(file_bytes, data + 4 + log, file);
    wal_image_set(im, file_bytes, file, log_bytes, log);
    return true;
}

/* How many pages there can be at all; what the files say may be anything. */
static uint64_t units(const struct wal_image *im)
{
    return (im->file_size + im->log_size) / im->frames.page_size + 1;
}

static int count_page(void *ctx, uint32_t page)
{
    (void)page;
    ++*(uint64_t *)ctx;
    return 0;
}

static void read_chain(struct wal_image *im, const struct wal_view *v, const struct btree_cell *c)
{
    struct buf buf = {0};
    const uint8_t *payload;
    uint64_t steps = 0, before = im->reads;
    if (btree_payload(v, c, &buf, &payload) == STATUS_OK)
        touch(payload, c->size);
    buf_fini(&buf);
    btree_overflow(v, c, count_page, &steps);
    REQUIRE(steps <= units(im) + 1);
    REQUIRE(im->reads - before <= 2 * units(im) + 2);
}

static void read_page(struct wal_image *im, const struct wal_view *v, uint32_t number)
{
    struct wal_page *page;
    struct btree_page p;
    uint32_t head;
    wal_view_is_special(v, number);
    wal_view_head(v, number, &head);
    if (wal_view_page(v, number, &page) != STATUS_OK)
        return;
    bool is_page = btree_page_parse(&p, page->data, v->usable, number) == STATUS_OK;
    for (int i = 0; is_page && i < p.cell_count && i < 20; i++) {
        struct btree_cell c;
        if (btree_page_cell(&p, i, &c) == STATUS_OK && c.local)
            read_chain(im, v, &c);
    }
    wal_page_done(page);
}

void fuzz_log(const uint8_t *data, size_t size)
{
    struct wal_image im;
    if (!load(&im, data, size))
        return;
    int status = wal_image_open(&im, 1 << 16);
    REQUIRE(status == STATUS_OK || status == STATUS_INVALID || mem_fail_hit());
    for (uint32_t frame = 0, n = 0; status == STATUS_OK && n < 4; n++) {
        struct wal_view v;
        if (wal_view_init(&v, &im.pages, frame) == STATUS_OK) {
            fuzz_accepted++;
            for (uint32_t page = 0; page <= v.page_count && page < 40; page++)
                read_page(&im, &v, page);
            read_page(&im, &v, UINT32_MAX);
        }
        if (wal_log_commit(&im.frames, frame, im.frames.count, &frame) < 0 || !frame)
            break;
    }
    wal_image_free(&im);
}

static int never_full(struct wal_output *out)
{
    out->max += 1 << 16;
    return STATUS_OK;
}

static void touch_changes(const struct batch *b)
{
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct change *c = &b->changes[i];
        REQUIRE(c->kind <= CHANGE_DELETE && c->external);
        REQUIRE((c->old != NULL) == (c->kind != CHANGE_INSERT));
        REQUIRE((c->row != NULL) == (c->kind != CHANGE_DELETE));
        REQUIRE(!change_is_empty(c));
        for (int k = 0; k < c->table->column_count; k++) {
            if (c->row)
                touch_value(&c->row[k]);
            if (c->old)
                touch_value(&c->old[k]);
        }
    }
}

/* One commit, with the trees before; those after it take their place. */
static int read_commit(
    struct wal_image *im, struct wal_diff *d, uint32_t from, uint32_t to, struct trees **trees)
{
    struct wal_view v;
    struct trees *after = *trees;
    struct wal_output out = {.batch = batch_new(32 << 20), .max = 1 << 12, .full = never_full};
    int status = out.batch ? wal_view_init(&v, &im->pages, to) : STATUS_NOMEM;
    if (status == STATUS_OK && v.cookie != (*trees)->schema->cookie)
        status = trees_read(&v, *trees, NULL, &after);
    uint64_t before = im->reads;
    if (status == STATUS_OK)
        status = wal_diff_begin(d, from, to, *trees, after);
    if (status == STATUS_OK)
        status = wal_diff_rows(d, &out);
    REQUIRE(im->reads - before <= 100 * units(im) + 1000);
    if (out.batch) {
        touch_changes(out.batch);
        batch_unref(out.batch);
    }
    if (after && after != *trees) {
        wal_diff_forget(d);
        trees_free(*trees);
        *trees = after;
    }
    return status;
}

static void read_commits(struct wal_image *im)
{
    struct wal_view v;
    struct wal_diff d;
    struct trees *trees = NULL;
    int status = wal_view_init(&v, &im->pages, 0);
    if (status == STATUS_OK)
        status = trees_read(&v, NULL, NULL, &trees);
    wal_diff_init(&d, &im->pages);
    for (uint32_t from = 0, to; status == STATUS_OK; from = to) {
        if (wal_log_commit(&im->frames, from, im->frames.count, &to) < 0 || !to)
            break;
        status = read_commit(im, &d, from, to, &trees);
        fuzz_accepted += status == STATUS_OK;
    }
    REQUIRE(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_TOO_LARGE ||
            mem_fail_hit());
    wal_diff_fini(&d);
    trees_free(trees);
}

void fuzz_commit(const uint8_t *data, size_t size)
{
    struct wal_image im;
    if (!load(&im, data, size))
        return;
    if (wal_image_open(&im, 1 << 18) == STATUS_OK)
        read_commits(&im);
    wal_image_free(&im);
}
