#ifndef ROWTAP_BASE_LIST_H
#define ROWTAP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A circular doubly linked list whose nodes sit inside the listed structures. */
struct list {
    struct list *prev, *next;
};

#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_add_tail(struct list *l, struct list *node)
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}
/* Takes the node out; it is an empty list afterwards, so a second call does no harm. */
static inline void list_del(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif
