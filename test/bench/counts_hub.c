/*
 * A fixed amount of fan-out, for counts_test.py to count its instructions: changes of a table, all
 * of them to each of some subscribers, or each to one of many subscriptions.
 *
 *   counts_hub CHANGES SUBSCRIBERS     each gets all, and nothing else: they are a crowd
 *   counts_hub CHANGES SUBSCRIBERS 0   each gets all, and would get something else as well
 *   counts_hub CHANGES SUBSCRIBERS N   N subscriptions by =, one for each change in turn
 */
#include "../hub/hub_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BATCH 100 /* changes of a commit */

static const char wanted[] = "\"database_change\"";

/* Reads until so many changes have come. */
static void drain(struct client *c, int count)
{
    static char data[1 << 16];
    size_t kept = 0;

    while (count > 0) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        char *at = data, *end;
        ssize_t n;

        if (poll(&p, 1, 60000) != 1 ||
            (n = recv(c->fd, data + kept, sizeof(data) - kept, 0)) <= 0) {
            fprintf(stderr, "counts_hub: %d changes did not come\n", count);
            exit(1);
        }
        end = data + kept + n;
        for (; (at = memmem(at, (size_t)(end - at), wanted, sizeof(wanted) - 1)); at++)
            count--;
        kept =
            sizeof(wanted) - 2 < (size_t)(end - data) ? sizeof(wanted) - 2 : (size_t)(end - data);
        memmove(data, end - kept, kept);
    }
}

static void publish(struct feed *f, int first, int subscriptions)
{
    const struct table *t = schema_find(f->schema, "bench", 5);

    for (int i = first; i < first + BATCH; i++) {
        int key = subscriptions ? i % subscriptions : i;

        feed_insert(f, t,
            ROW(INTEGER(i + 1), INTEGER(key), TEXT("The quick brown fox jumps over the lazy dog"),
                INTEGER(123456789012345)));
    }
    feed_commit(f, 0, NULL);
    feed_publish(f);
}

int main(int argc, char **argv)
{
    int changes = argc > 1 ? atoi(argv[1]) : 0, count = argc > 2 ? atoi(argv[2]) : 0;
    int subscriptions = argc > 3 ? atoi(argv[3]) : 0;
    bool apart = argc > 3 && subscriptions == 0;
    struct client **clients;
    struct feed f;
    char text[128];

    if (changes < BATCH || changes % BATCH || count < 1 || subscriptions % count) {
        fprintf(stderr, "usage: counts_hub CHANGES SUBSCRIBERS [SUBSCRIPTIONS]\n");
        return 2;
    }
    feed_options.max_subscriptions = 100000;
    feed_options.max_queue = 1 << 26;
    feed_start(
        &f, schema_of(TABLE("bench", "id:INTEGER:k", "k:INTEGER:", "payload:TEXT:", "at:INTEGER:"),
                NULL));
    clients = calloc((size_t)count, sizeof(*clients));
    for (int i = 0; i < count; i++)
        clients[i] = client_new(&f);
    for (int i = 0; i < (subscriptions ? subscriptions : count); i++) {
        if (subscriptions)
            snprintf(text, sizeof(text),
                "{\"type\":\"subscribe\",\"table\":\"bench\",\"filter\":\"k=%d\"}", i);
        else
            snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"table\":\"bench\"}");
        client_subscribe(clients[i % count], text);
    }
    for (int i = 0; apart && i < count; i++)
        client_subscribe(
            clients[i], "{\"type\":\"subscribe\",\"table\":\"bench\",\"filter\":\"k=-1\"}");
    for (int first = 0; first < changes; first += BATCH) {
        publish(&f, first, subscriptions);
        for (int i = 0; i < count; i++)
            drain(clients[i], subscriptions ? BATCH / count : BATCH);
    }
    for (int i = 0; i < count; i++)
        client_free(clients[i]);
    feed_stop(&f);
    free(clients);
    puts("done");
    return 0;
}
