#ifndef ROWTAP_TEST_FAKE_CURSOR_H
#define ROWTAP_TEST_FAKE_CURSOR_H

#include "capture/cursor.h"

/*
 * In place of the database's cursors: what a query gets, and when, is up to the test, which plays
 * the database's threads.
 */
struct cursor *fake_cursor_next(void); /* the next one that was opened, within five seconds */
/* A page of these rows (JSON); waits until one is free. */
void fake_cursor_page(struct cursor *c, const char *rows, uint32_t count, bool last);
void fake_cursor_progress(struct cursor *c, uint64_t rows);
void fake_cursor_done(struct cursor *c, const char *code); /* NULL: no error */
bool fake_cursor_cancelled(struct cursor *c);              /* within five seconds */
int fake_cursor_taken(struct cursor *c);                   /* pages that the hub has now */

#endif
