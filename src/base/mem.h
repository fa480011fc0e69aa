#ifndef ROWTAP_BASE_MEM_H
#define ROWTAP_BASE_MEM_H

#include <stddef.h>

/*
 * The allocator every part of the server uses. Results are NULL when memory ran out. Any thread.
 * Sizes are bytes; the product in mem_array is checked for overflow.
 */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_array(size_t count, size_t size); /* zeroed */
void *mem_realloc(void *p, size_t size);    /* on NULL the old block is still valid */
void *mem_dup(const void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len); /* copies len bytes and adds a NUL */
void mem_free(void *p);

/*
 * For tests: the allocation after `after` further successful ones fails, and all later ones work
 * again; negative turns this off. mem_fail_hit tells whether the failure has happened.
 */
void mem_fail_after(long after);
int mem_fail_hit(void);

#endif
