#include "access/tokens.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include <pthread.h>

#define LOOK_MS 1000

struct tokens {
    struct token_rules rules;
    pthread_mutex_t lock; /* of keys; held to take a reference, no longer */
    struct keyset *keys;
    pthread_mutex_t reading; /* of files */
    struct key_file files[KEYSET_FILES];
    _Atomic int64_t next_look_ms;
};

struct tokens *tokens_new(const struct tokens_options *o, struct buf *err)
{
    struct tokens *t = mem_zalloc(sizeof(*t));

    if (!t) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    t->rules = o->rules;
    t->files[KEYSET_SECRET].path = o->secret_file;
    t->files[KEYSET_PUBLIC].path = o->public_key_file;
    t->files[KEYSET_JWKS].path = o->jwks_file;
    atomic_init(&t->next_look_ms, clock_mono_ms() + LOOK_MS);
    keyset_changed(t->files);
    t->keys = keyset_read(t->files, err);
    if (!t->keys) {
        mem_free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->reading, NULL);
    return t;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    keyset_unref(t->keys);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->reading);
    mem_free(t);
}

static struct keyset *take(struct tokens *t)
{
    struct keyset *keys;

    pthread_mutex_lock(&t->lock);
    keys = keyset_ref(t->keys);
    pthread_mutex_unlock(&t->lock);
    return keys;
}

/* What was there before goes on where they are bad. `reading` is held. */
static bool read_keys(struct tokens *t)
{
    struct buf err = {0};
    struct keyset *keys = keyset_read(t->files, &err), *before;

    if (keys) {
        log_event(LOG_INFO, "keys read", log_int("keys", keys->count));
        pthread_mutex_lock(&t->lock);
        before = t->keys;
        t->keys = keys;
        pthread_mutex_unlock(&t->lock);
        keyset_unref(before);
    } else {
        log_error("the keys for tokens could not be read, so those from before stay in use: %s",
            buf_text(&err) ? buf_text(&err) : "out of memory");
    }
    buf_fini(&err);
    return keys != NULL;
}

bool tokens_reload(struct tokens *t)
{
    bool good;

    pthread_mutex_lock(&t->reading);
    keyset_changed(t->files);
    good = read_keys(t);
    pthread_mutex_unlock(&t->reading);
    return good;
}

void tokens_refresh(struct tokens *t, int64_t mono_ms)
{
    int64_t due = atomic_load_explicit(&t->next_look_ms, memory_order_relaxed);

    if (mono_ms < due ||
        !atomic_compare_exchange_strong(&t->next_look_ms, &due, mono_ms + LOOK_MS) ||
        pthread_mutex_trylock(&t->reading))
        return;
    if (keyset_changed(t->files))
        read_keys(t);
    pthread_mutex_unlock(&t->reading);
}

struct identity *tokens_verify(struct tokens *t, const char *token, size_t len, const char **why)
{
    struct keyset *keys = take(t);
    struct identity *who = token_verify(token, len, keys, &t->rules, clock_wall_ms(), why);

    keyset_unref(keys);
    return who;
}
