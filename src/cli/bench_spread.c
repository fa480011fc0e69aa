#include "cli/bench_spread.h"
#include "base/status.h"

#define WIDTH 10 /* values of v that are of one subscription */
#define PLACE 3  /* of a row's among them */

int bench_spread_settle(struct bench_spread *s, struct buf *err)
{
    if (!s->subscribers)
        s->filter = BENCH_ALL;
    else if (s->filter == BENCH_ALL && (s->subscriptions || s->matching)) {
        buf_puts(err, "--subscriptions and --matching need a --filter");
        return STATUS_INVALID;
    }
    if (s->filter == BENCH_ALL)
        return 0;
    if (!s->subscriptions)
        s->subscriptions = s->subscribers;
    if (!s->matching)
        s->matching = s->subscriptions;
    if (s->subscriptions % s->subscribers) {
        buf_puts(err, "--subscriptions has to be a multiple of --subscribers");
        return STATUS_INVALID;
    }
    if (s->matching > s->subscriptions || s->subscriptions % s->matching ||
        (s->matching > s->subscribers && s->matching % s->subscribers)) {
        buf_puts(err, "--matching has to divide the number of subscriptions, and to be a multiple "
                      "of --subscribers where it is larger");
        return STATUS_INVALID;
    }
    return 0;
}

int64_t bench_spread_value(const struct bench_spread *s, uint64_t row)
{
    int64_t place = (int64_t)((row - 1) % (uint64_t)s->subscriptions);
    int64_t step = s->subscriptions / s->matching;
    int64_t subscription = place % step ? s->subscriptions + place : place / step;

    return subscription * WIDTH + PLACE;
}

struct bench_share bench_spread_share(const struct bench_spread *s, int64_t subscriber)
{
    uint64_t step;

    if (s->filter == BENCH_ALL)
        return (struct bench_share){1, 1};
    step = (uint64_t)(s->subscriptions / s->matching);
    if (subscriber >= s->matching)
        return (struct bench_share){0, 1};
    if (s->matching < s->subscribers)
        return (struct bench_share){step * (uint64_t)subscriber + 1, (uint64_t)s->subscriptions};
    return (struct bench_share){step * (uint64_t)subscriber + 1, step * (uint64_t)s->subscribers};
}

void bench_spread_put_subscribe(
    const struct bench_spread *s, const char *table, int64_t subscription, struct buf *out)
{
    long long from = subscription * WIDTH;

    buf_puts(out, "{\"type\":\"subscribe\",\"table\":");
    buf_put_json_text(out, table);
    if (s->filter == BENCH_EQUAL)
        buf_printf(out, ",\"filter\":\"v=%lld\"", from + PLACE);
    else if (s->filter == BENCH_RANGE)
        buf_printf(out, ",\"filter\":[\"v>=%lld\",\"v<%lld\"]", from, from + WIDTH);
    else if (s->filter == BENCH_IN)
        buf_printf(out, ",\"filter\":\"v in (%lld,%lld,%lld)\"", from + 1, from + PLACE, from + 7);
    buf_putc(out, '}');
}

uint64_t bench_share_count(struct bench_share share, uint64_t rows)
{
    return share.first && rows >= share.first ? (rows - share.first) / share.stride + 1 : 0;
}

uint64_t bench_share_last(struct bench_share share, uint64_t rows)
{
    uint64_t count = bench_share_count(share, rows);

    return count ? share.first + (count - 1) * share.stride : 0;
}
