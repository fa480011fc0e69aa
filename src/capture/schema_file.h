#ifndef ROWTAP_CAPTURE_SCHEMA_FILE_H
#define ROWTAP_CAPTURE_SCHEMA_FILE_H

#include "base/buf.h"
#include "change/schema.h"

/*
 * The schema of a database file that nobody here serves, with one reference. Opens it to read and
 * closes it. NULL and a sentence in err.
 */
struct schema *schema_file_read(const char *path, struct buf *err);

#endif
