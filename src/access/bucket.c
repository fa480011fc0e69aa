#include "access/bucket.h"

#include "base/status.h"
#include "base/text.h"

#include <string.h>

#define SECOND INT64_C(1000000000)
#define DECIMALS 3

/* "12.5" in thousandths. */
static int parse_thousandths(const char *s, size_t len, int64_t *out)
{
    const char *point = memchr(s, '.', len);
    size_t whole = point ? (size_t)(point - s) : len, decimals = point ? len - whole - 1 : 0;
    int64_t v = 0;

    if (whole == 0 || whole > 7 || (point && (decimals == 0 || decimals > DECIMALS)))
        return STATUS_INVALID;
    for (size_t i = 0; i < len; i++) {
        if (s + i == point)
            continue;
        if (s[i] < '0' || s[i] > '9')
            return STATUS_INVALID;
        v = v * 10 + (s[i] - '0');
    }
    for (; decimals < DECIMALS; decimals++)
        v *= 10;
    *out = v;
    return 0;
}

/* Rounded up, so that it is never more than was allowed. */
static struct rate make(int64_t thousandths, int64_t burst)
{
    int64_t period = (1000 * SECOND + thousandths - 1) / thousandths;

    return (struct rate){period, burst * period};
}

struct rate rate_of(int64_t per_second, int64_t burst)
{
    return per_second ? make(per_second * 1000, burst) : (struct rate){0};
}

int rate_parse(struct rate *r, const char *s, size_t len)
{
    const char *slash = memchr(s, '/', len);
    size_t first = slash ? (size_t)(slash - s) : len;
    int64_t thousandths, burst;

    if (text_same_nocase(s, len, "off", 3)) {
        *r = (struct rate){0};
        return 0;
    }
    if (parse_thousandths(s, first, &thousandths) < 0 || thousandths == 0 ||
        thousandths > INT64_C(1000) * RATE_MAX)
        return STATUS_INVALID;
    burst = thousandths / 500 ? thousandths / 500 : 1;
    if (slash && (text_parse_i64(slash + 1, len - first - 1, &burst) < 0 || burst < 1))
        return STATUS_INVALID;
    if (burst > (slash ? RATE_MAX : 2 * RATE_MAX))
        return STATUS_INVALID;
    *r = make(thousandths, burst);
    return 0;
}

int64_t bucket_take(struct bucket *b, const struct rate *r, int64_t now)
{
    int64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);

    if (r->period_ns == 0)
        return 0;
    for (;;) {
        int64_t next = (full_at > now ? full_at : now) + r->period_ns;

        if (next - now > r->depth_ns)
            return next - now - r->depth_ns;
        if (atomic_compare_exchange_weak_explicit(
                &b->full_at, &full_at, next, memory_order_relaxed, memory_order_relaxed))
            return 0;
    }
}

void bucket_give_back(struct bucket *b, const struct rate *r)
{
    atomic_fetch_sub_explicit(&b->full_at, r->period_ns, memory_order_relaxed);
}

bool bucket_is_full(const struct bucket *b, int64_t now)
{
    return atomic_load_explicit(&b->full_at, memory_order_relaxed) <= now;
}
