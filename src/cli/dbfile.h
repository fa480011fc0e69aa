#ifndef ROWTAP_CLI_DBFILE_H
#define ROWTAP_CLI_DBFILE_H

#include "base/buf.h"

/*
 * The file is a database in WAL mode that may be read, as far as its first bytes tell (the header:
 * https://www.sqlite.org/fileformat.html section 1.3). STATUS_IO and a sentence in err when not.
 * It opens and closes the file, which drops the locks that this process has on it: call it before
 * SQLite opens the file, never after.
 */
int dbfile_check(const char *path, struct buf *err);

#endif
