#ifndef ROWTAP_BASE_U32MAP_H
#define ROWTAP_BASE_U32MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * From numbers other than 0 to numbers, in 8 bytes each: for pages and frames of a database, of
 * which there are many. A zeroed struct is an empty map. Not thread-safe.
 */
struct u32map {
    struct u32map_slot {
        uint32_t key, value;
    } * slots;
    size_t cap; /* a power of two, or 0 */
    size_t count;
};

/* STATUS_NOMEM. A key that is there stays in its slot. */
int u32map_put(struct u32map *m, uint32_t key, uint32_t value);
/* Whether it is there; *value (may be NULL) is set only then. */
bool u32map_get(const struct u32map *m, uint32_t key, uint32_t *value);
void u32map_clear(struct u32map *m); /* a large one gives its memory back */
void u32map_fini(struct u32map *m);

#endif
