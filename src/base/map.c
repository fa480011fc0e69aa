#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <pthread.h>
#include <string.h>

struct map_slot {
    char *key; /* NULL: never used; TOMBSTONE: was deleted */
    size_t len;
    uint64_t hash;
    void *value;
};

static char tombstone;
#define TOMBSTONE (&tombstone)

static uint64_t hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void hash_seed(void)
{
    hash_key[0] = random_u64();
    hash_key[1] = random_u64();
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t hash_u64(uint64_t v)
{
    pthread_once(&hash_once, hash_seed);
    return mix(mix(v ^ hash_key[0], 0x9e3779b97f4a7c15u) ^ hash_key[1], 0xd6e8feb86659fd93u);
}

static uint64_t step(uint64_t h, uint64_t word)
{
    return mix(h ^ word, 0x9e3779b97f4a7c15u ^ hash_key[1]) + 0xd6e8feb86659fd93u;
}

/* Folds 8 bytes a step with a 128-bit product; the keys keep collisions from being chosen. */
static uint64_t fold(const unsigned char *p, size_t len, bool nocase)
{
    uint64_t h, word;

    pthread_once(&hash_once, hash_seed);
    h = hash_key[0] ^ len;
    for (; len >= 8 && !nocase; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = step(h, word);
    }
    while (len) {
        size_t n = len < 8 ? len : 8;
        unsigned char bytes[8] = {0};

        memcpy(bytes, p, n);
        if (nocase)
            for (size_t i = 0; i < n; i++)
                bytes[i] = (unsigned char)text_lower((char)bytes[i]);
        memcpy(&word, bytes, 8);
        h = step(h, word);
        p += n;
        len -= n;
    }
    return mix(h, 0xa0761d6478bd642fu ^ hash_key[1]);
}

uint64_t hash_bytes(const void *p, size_t len)
{
    return fold(p, len, false);
}

uint64_t hash_nocase(const void *p, size_t len)
{
    return fold(p, len, true);
}

static uint64_t key_hash(const struct map *m, const void *key, size_t len)
{
    return m->nocase ? hash_nocase(key, len) : hash_bytes(key, len);
}

static bool same(
    const struct map *m, const struct map_slot *s, uint64_t hash, const void *key, size_t len)
{
    if (s->key == TOMBSTONE || s->hash != hash || s->len != len)
        return false;
    return m->nocase ? text_same_nocase(s->key, len, key, len) : memcmp(s->key, key, len) == 0;
}

/* The slot that holds the key, or NULL. */
static struct map_slot *find(const struct map *m, uint64_t hash, const void *key, size_t len)
{
    if (!m->cap)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];

        if (!s->key)
            return NULL;
        if (same(m, s, hash, key, len))
            return s;
    }
}

static int resize(struct map *m)
{
    size_t cap = 8;
    struct map_slot *slots;

    while (cap < m->count * 2 + 2)
        cap *= 2;
    slots = mem_array(cap, sizeof(*slots));
    if (!slots)
        return STATUS_NOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        struct map_slot *s = &m->slots[i];
        size_t to;

        if (!s->key || s->key == TOMBSTONE)
            continue;
        for (to = s->hash & (cap - 1); slots[to].key; to = (to + 1) & (cap - 1))
            ;
        slots[to] = *s;
    }
    mem_free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->used = m->count;
    return 0;
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key && m->slots[i].key != TOMBSTONE)
            mem_free(m->slots[i].key);
    mem_free(m->slots);
    *m = (struct map){.nocase = m->nocase};
}

void *map_get(const struct map *m, const void *key, size_t len)
{
    struct map_slot *s = m->count ? find(m, key_hash(m, key, len), key, len) : NULL;

    return s ? s->value : NULL;
}

int map_set(struct map *m, const void *key, size_t len, void *value)
{
    uint64_t hash = key_hash(m, key, len);
    struct map_slot *s = find(m, hash, key, len);
    char *copy;
    size_t i;

    if (s) {
        s->value = value;
        return 0;
    }
    if ((m->used + 1) * 4 > m->cap * 3 && resize(m) < 0)
        return STATUS_NOMEM;
    copy = mem_strndup(key, len);
    if (!copy)
        return STATUS_NOMEM;
    for (i = hash & (m->cap - 1); m->slots[i].key && m->slots[i].key != TOMBSTONE;)
        i = (i + 1) & (m->cap - 1);
    if (!m->slots[i].key)
        m->used++;
    m->count++;
    m->slots[i] = (struct map_slot){copy, len, hash, value};
    return 0;
}

void *map_del(struct map *m, const void *key, size_t len)
{
    struct map_slot *s = m->count ? find(m, key_hash(m, key, len), key, len) : NULL;
    void *value;

    if (!s)
        return NULL;
    value = s->value;
    mem_free(s->key);
    *s = (struct map_slot){.key = TOMBSTONE};
    m->count--;
    return value;
}

bool map_next(const struct map *m, size_t *pos, const char **key, size_t *len, void **value)
{
    while (*pos < m->cap) {
        struct map_slot *s = &m->slots[(*pos)++];

        if (!s->key || s->key == TOMBSTONE)
            continue;
        if (key)
            *key = s->key;
        if (len)
            *len = s->len;
        if (value)
            *value = s->value;
        return true;
    }
    return false;
}
