#include "asker.h"

#include "base/status.h"
#include "change/change_json.h"
#include <string.h>

static void scan_done(struct scan *s)
{
    struct asker *a = s->ctx;
    sem_post(&a->came);
}

static void past_done(struct past *p)
{
    struct asker *a = p->ctx;
    sem_post(&a->came);
}

void asker_init(struct asker *a, struct fixture *f)
{
    memset(a, 0, sizeof(*a));
    a->f = f;
    a->scan.done = scan_done;
    a->past.done = past_done;
    a->scan.ctx = a->past.ctx = a;
    a->scan.page_bytes = 16384;
    sem_init(&a->came, 0, 0);
}

void asker_fini(struct asker *a)
{
    buf_fini(&a->text);
    sem_destroy(&a->came);
}

void asker_post(struct asker *a, enum scan_step step)
{
    a->scan.step = step;
    database_scan(a->f->db, &a->scan);
}

int asker_wait(struct asker *a)
{
    while (sem_wait(&a->came) < 0)
        ;
    return a->scan.status;
}

int asker_step(struct asker *a, enum scan_step step)
{
    asker_post(a, step);
    return asker_wait(a);
}

void asker_open(struct asker *a, const char *table)
{
    assert_int_equal(asker_step(a, SCAN_OPEN), STATUS_OK);
    a->scan.table = schema_find(a->scan.schema, table, strlen(table));
    assert_non_null(a->scan.table);
}

static void write_row(struct asker *a, const struct change *c)
{
    assert_int_equal(c->kind, CHANGE_INSERT);
    assert_ptr_equal(c->table, a->scan.table);
    assert_true(c->seq == a->scan.seq);
    assert_null(c->old);
    buf_printf(&a->text, "INSERT %s ", c->table->name);
    key_put_json(&a->text, c->table, c->row, c->rowid);
    buf_putc(&a->text, ' ');
    row_put_json(&a->text, c->table, c->row, NULL);
    buf_putc(&a->text, '\n');
}

int asker_page(struct asker *a)
{
    int status = asker_step(a, SCAN_PAGE);
    struct batch *b = a->scan.batch;
    assert_int_equal(b != NULL, status == STATUS_OK);
    if (status < 0)
        return status;
    assert_true(b->bytes <= a->scan.page_bytes || b->change_count <= 1);
    for (uint32_t i = 0; i < b->change_count; i++)
        write_row(a, &b->changes[i]);
    a->rows += b->change_count;
    a->pages++;
    batch_unref(b);
    return a->scan.last;
}

void asker_rest(struct asker *a)
{
    int status;
    while ((status = asker_page(a)) == 0)
        ;
    assert_int_equal(status, 1);
}

void asker_close(struct asker *a)
{
    assert_int_equal(asker_step(a, SCAN_CLOSE), STATUS_OK);
    assert_null(a->scan.schema);
}

int asker_past(struct asker *a, uint64_t after, size_t max_bytes)
{
    a->past.after = after;
    a->past.max_bytes = max_bytes;
    database_read_past(a->f->db, &a->past);
    asker_wait(a);
    assert_int_equal(a->past.batch != NULL, a->past.status == STATUS_OK);
    return a->past.status;
}
