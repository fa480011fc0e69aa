#ifndef ROWTAP_HTTP_STACK_H
#define ROWTAP_HTTP_STACK_H

#include <stdbool.h>

/*
 * civetweb's packages give its threads 100 KB of stack, whatever the process's default is. SQLite
 * takes more for what users may well send: a sum of 300 terms, deep JSON, a long LIKE pattern. So
 * their SQL runs on a stack of its own, with as much room as threads usually have, which a worker
 * gets with the first of it and keeps. A worker's own thread only.
 */
struct stack;

struct stack *stack_new(void);    /* NULL: no memory */
void stack_free(struct stack *s); /* from elsewhere, too; NULL is allowed */
/* Calls run(arg) on it, or at once where it is in use already, which is to say from within run. */
void stack_run(struct stack *s, void (*run)(void *arg), void *arg);

#endif
