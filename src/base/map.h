#ifndef ROWTAP_BASE_MAP_H
#define ROWTAP_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A hash map from byte strings (copied) to pointers (not owned). Open addressing, keyed hash, so a
 * client cannot choose colliding keys. Not thread-safe. A zeroed struct is an empty map.
 */
struct map_slot;
struct map {
    struct map_slot *slots;
    size_t cap, count, used;
    bool nocase; /* ASCII case is ignored: set it before the first entry */
};

void map_fini(struct map *m);
void *map_get(const struct map *m, const void *key, size_t len);
int map_set(struct map *m, const void *key, size_t len, void *value); /* value != NULL; replaces */
void *map_del(struct map *m, const void *key, size_t len); /* the removed value or NULL */
/* Iteration: start with *pos = 0; false at the end. The current entry may be deleted on the way. */
bool map_next(const struct map *m, size_t *pos, const char **key, size_t *len, void **value);

uint64_t hash_bytes(const void *p, size_t len);  /* keyed once per process, uniform in all bits */
uint64_t hash_nocase(const void *p, size_t len); /* the same for ASCII-case-insensitive keys */
uint64_t hash_u64(uint64_t v);

#endif
