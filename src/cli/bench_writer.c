#include "cli/bench_writer.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/interrupt.h"

#include <string.h>
#include <time.h>

#define TIMEOUT_MS 60000
#define NAP_NS 50000000 /* between looks at `stop` */

void bench_put_payload(struct buf *out, int len)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog";

    for (size_t left = (size_t)len, n; left; left -= n) {
        n = left < sizeof(text) - 1 ? left : sizeof(text) - 1;
        buf_put(out, text, n);
    }
}

static void put_insert(struct buf *body, const struct bench_writer *w, int64_t now)
{
    buf_reset(body);
    buf_puts(body, "{\"sql\":\"INSERT INTO ");
    /* The quoted name holds double quotes, which JSON wants escaped. */
    for (const char *p = w->table; *p; p++)
        buf_puts(body, *p == '"' ? "\\\"" : (char[]){*p, '\0'});
    buf_puts(body, "(k, payload, at) VALUES ");
    for (int i = 0; i < w->rows; i++)
        buf_puts(body, i ? ",(?,?,?)" : "(?,?,?)");
    buf_puts(body, "\",\"params\":");
    for (int i = 0; i < w->rows; i++) {
        buf_putc(body, i ? ',' : '[');
        buf_put_i64(
            body, (int64_t)w->number << BENCH_KEY_SHIFT | (int64_t)(w->sent + 1 + (uint64_t)i));
        buf_puts(body, ",\"");
        bench_put_payload(body, w->payload);
        buf_puts(body, "\",");
        buf_put_i64(body, now);
    }
    buf_puts(body, "]}");
}

/* When the next request counts from. */
static int64_t wait_for_turn(struct bench_writer *w)
{
    int64_t now = clock_mono_ns(), due = w->due;

    if (!w->interval)
        return now;
    for (; now < due && !atomic_load(w->stop) && !interrupt_seen(); now = clock_mono_ns()) {
        int64_t nap = due - now < NAP_NS ? due - now : NAP_NS;

        nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
    }
    w->due += w->interval;
    return due;
}

static void *run(void *ctx)
{
    struct bench_writer *w = ctx;
    struct client *c = client_new(&w->target, TIMEOUT_MS, &w->err);
    struct buf body = {0}, answer = {0};

    while (c && !atomic_load(w->stop) && !interrupt_seen()) {
        int64_t from = wait_for_turn(w);
        int status;

        if (atomic_load(w->stop))
            break;
        put_insert(&body, w, from);
        status = client_request(c, "/api/sql", &body, &answer, &w->err);
        w->sent += (uint64_t)w->rows;
        if (status != 200) {
            if (status > 0)
                client_explain(c, status, &answer, NULL, &w->err);
            else if (status == STATUS_CLOSED)
                buf_reset(&w->err);
            break;
        }
        w->acknowledged += (uint64_t)w->rows;
        w->requests++;
        histogram_add(&w->answers, clock_mono_ns() - from);
    }
    client_free(c);
    buf_fini(&body);
    buf_fini(&answer);
    return NULL;
}

int bench_writer_start(struct bench_writer *w)
{
    return pthread_create(&w->thread, NULL, run, w) ? STATUS_NOMEM : 0;
}

void bench_writer_join(struct bench_writer *w)
{
    pthread_join(w->thread, NULL);
}
