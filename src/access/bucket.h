#ifndef ROWTAP_ACCESS_BUCKET_H
#define ROWTAP_ACCESS_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A token bucket in one number: when it will be full again (ITU-T I.371's virtual scheduling). What
 * is missing until then is what was taken. A zeroed bucket is full. Any thread; no lock.
 */
struct bucket {
    _Atomic int64_t full_at; /* ns of the steady clock */
};

/* How fast it fills and how much it holds. */
struct rate {
    int64_t period_ns; /* one token comes this often; 0: no bound */
    int64_t depth_ns;  /* the time in which an empty one is full: burst times period */
};

#define RATE_MAX 1000000 /* a second, and of a burst */

/*
 * "50", "0.5/10", "off": RATE a second, with up to three decimals, and BURST, which is twice the
 * rate unless given, and at least 1. STATUS_INVALID.
 */
int rate_parse(struct rate *r, const char *s, size_t len);
struct rate rate_of(int64_t per_second, int64_t burst); /* 0: no bound */

/* Takes a token: 0, or none was there and this many ns are to be waited for one. */
int64_t bucket_take(struct bucket *b, const struct rate *r, int64_t now_ns);
void bucket_give_back(struct bucket *b, const struct rate *r); /* one that was taken */
bool bucket_is_full(const struct bucket *b, int64_t now_ns);   /* as if it were new */

#endif
