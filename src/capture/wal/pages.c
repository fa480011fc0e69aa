#include "capture/wal/pages.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/bytes.h"

#define MIN_PAGES 64
/* The byte at which SQLite's file locks stand, in every file. */
#define LOCK_BYTE 0x40000000u

void wal_pages_init(struct wal_pages *p, struct wal_log *log, size_t max_bytes)
{
    *p = (struct wal_pages){.log = log, .max = max_bytes / log->page_size};
    if (p->max < MIN_PAGES)
        p->max = MIN_PAGES;
    list_init(&p->recent);
}

static struct wal_page **bucket(struct wal_pages *p, uint32_t frame, uint32_t number)
{
    return &p->buckets[(frame * 2654435761u ^ number) % WAL_BUCKETS];
}

static void drop(struct wal_pages *p, struct wal_page *page)
{
    struct wal_page **at = bucket(p, page->frame, page->number);
    while (*at != page)
        at = &(*at)->next;
    *at = page->next;
    list_del(&page->recent);
    mem_free(page);
    p->count--;
}

void wal_pages_clear(struct wal_pages *p)
{
    while (p->count)
        drop(p, list_entry(p->recent.next, struct wal_page, recent));
}

void wal_pages_fini(struct wal_pages *p)
{
    if (p->log)
        wal_pages_clear(p);
}

static void make_room(struct wal_pages *p)
{
    struct list *n = p->recent.next;
    while (p->count >= p->max && n != &p->recent) {
        struct wal_page *page = list_entry(n, struct wal_page, recent);
        n = n->next;
        if (page->users == 0)
            drop(p, page);
    }
}

static int read_bytes(const struct wal_log *l, uint32_t frame, uint32_t number, void *to, size_t n)
{
    if (frame)
        return wal_log_read(l, frame, 0, to, n);
    return l->source.read_file(l->source.ctx, to, n, (int64_t)(number - 1) * l->page_size);
}

static int load(struct wal_pages *p, uint32_t frame, uint32_t number, struct wal_page **out)
{
    make_room(p);
    struct wal_page *page = mem_alloc(sizeof(*page) + p->log->page_size);
    if (!page)
        return STATUS_NOMEM;
    int status = read_bytes(p->log, frame, number, page->data, p->log->page_size);
    if (status < 0) {
        mem_free(page);
        return status;
    }
    struct wal_page **at = bucket(p, frame, number);
    page->frame = frame;
    page->number = number;
    page->users = 0;
    page->next = *at;
    *at = page;
    list_add_tail(&p->recent, &page->recent);
    p->count++;
    p->reads++;
    *out = page;
    return STATUS_OK;
}

static struct wal_page *find(struct wal_pages *p, uint32_t frame, uint32_t number)
{
    struct wal_page *page = *bucket(p, frame, number);
    while (page && (page->frame != frame || page->number != number))
        page = page->next;
    return page;
}

int wal_view_page(const struct wal_view *v, uint32_t number, struct wal_page **out)
{
    *out = NULL;
    if (number == 0 || number > v->page_count)
        return STATUS_INVALID;
    uint32_t frame = wal_log_find(v->pages->log, number, v->frame);
    struct wal_page *page = find(v->pages, frame, number);
    if (page) {
        list_del(&page->recent);
        list_add_tail(&v->pages->recent, &page->recent);
    } else {
        int status = load(v->pages, frame, number, &page);
        if (status < 0)
            return status;
    }
    page->users++;
    *out = page;
    return STATUS_OK;
}

void wal_page_done(struct wal_page *p)
{
    if (p)
        p->users--;
}

int wal_view_head(const struct wal_view *v, uint32_t number, uint32_t *head)
{
    uint8_t bytes[4];
    if (number == 0 || number > v->page_count)
        return STATUS_INVALID;
    uint32_t frame = wal_log_find(v->pages->log, number, v->frame);
    const struct wal_page *page = find(v->pages, frame, number);
    int status = STATUS_OK;
    if (!page)
        status = read_bytes(v->pages->log, frame, number, bytes, sizeof(bytes));
    if (status == STATUS_OK)
        *head = get_u32(page ? page->data : bytes);
    return status;
}

static int count_pages(struct wal_view *v)
{
    const struct wal_log *l = v->pages->log;
    int64_t size;
    int status = l->source.file_size(l->source.ctx, &size);
    if (status < 0)
        return status;
    uint64_t in_file = (uint64_t)size / l->page_size, there = in_file + v->frame;
    uint32_t frame = v->frame;
    while (frame > 0 && !l->frames[frame - 1].pages)
        frame--;
    if (!frame && in_file > UINT32_MAX - 1)
        return STATUS_INVALID;
    v->page_count = frame ? l->frames[frame - 1].pages : (uint32_t)in_file;
    v->most = there < v->page_count ? (uint32_t)there : v->page_count;
    return STATUS_OK;
}

/* The header of a database, section 1.3 of the file format. */
static int read_header(struct wal_view *v)
{
    struct wal_page *page;
    uint32_t page_size = v->pages->log->page_size;
    int status = wal_view_page(v, 1, &page);
    if (status < 0)
        return status;
    const uint8_t *h = page->data;
    uint32_t said = get_u16(h + 16), encoding = get_u32(h + 56);
    v->usable = page_size - h[20];
    v->auto_vacuum = get_u32(h + 52) != 0;
    v->cookie = get_u32(h + 40);
    v->encoding = (uint8_t)encoding;
    /* 0: nothing was created in it so far */
    bool right = (said == 1 ? 65536 : said) == page_size && v->usable >= 480 && encoding <= 3;
    wal_page_done(page);
    return right ? STATUS_OK : STATUS_INVALID;
}

int wal_view_init(struct wal_view *v, struct wal_pages *pages, uint32_t frame)
{
    *v = (struct wal_view){.pages = pages, .frame = frame, .usable = pages->log->page_size};
    int status = count_pages(v);
    if (status < 0 || v->page_count == 0)
        return status;
    return read_header(v);
}

uint32_t wal_view_lock_page(const struct wal_view *v)
{
    return LOCK_BYTE / v->pages->log->page_size + 1;
}

uint32_t wal_view_map_page(const struct wal_view *v, uint32_t number)
{
    /* Each holds entries of 5 bytes for as many pages behind it. */
    uint32_t every = v->usable / 5 + 1, map = (number - 2) / every * every + 2;
    return map == wal_view_lock_page(v) ? map + 1 : map;
}

bool wal_view_is_special(const struct wal_view *v, uint32_t number)
{
    if (number == wal_view_lock_page(v))
        return true;
    return v->auto_vacuum && number >= 2 && number == wal_view_map_page(v, number);
}
