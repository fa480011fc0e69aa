#ifndef ROWTAP_CAPTURE_SQLMASK_H
#define ROWTAP_CAPTURE_SQLMASK_H

#include "base/buf.h"

/*
 * The text of SQL for others to see: numbers, strings and blobs are written as ?, comments are left
 * out, space is one space. What stands in double quotes is ? as well, for SQLite takes it for a
 * string where it names nothing. Past SQLMASK_MAX bytes it is cut, and ends with "…". Any thread.
 */
#define SQLMASK_MAX 1000

void sqlmask_put(struct buf *out, const char *sql, size_t len);

#endif
