#include "capture/schema_file.h"

#include "capture/schema_read.h"
#include "capture/sqlconn.h"

#define WAIT_MS 5000 /* for who holds the file */

struct schema *schema_file_read(const char *path, struct buf *err)
{
    static const atomic_bool never;
    struct schema *schema = NULL;
    struct sqlconn c;
    int rc = sqlconn_open(&c, path, true, WAIT_MS, &never);

    if (rc == SQLITE_OK)
        rc = schema_read(&c, NULL, &schema);
    if (rc != SQLITE_OK)
        buf_printf(err, "cannot read %s: %s", path, c.db ? sqlite3_errmsg(c.db) : "out of memory");
    sqlconn_close(&c);
    return schema;
}
