#include "cli/dbfile.h"
#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_SIZE 100
#define READ_VERSION 19 /* offset in the header: 1 rollback journal, 2 write-ahead log */

/* NULL, or what is wrong with what stands there. */
static const char *check_stat(const struct stat *st)
{
    if (S_ISDIR(st->st_mode))
        return "it is a directory; give the path of a database file";
    if (!S_ISREG(st->st_mode))
        return "it is not a regular file";
    if (st->st_size == 0)
        return "it is empty: it becomes a database with its first table, or with PRAGMA "
               "journal_mode=WAL";
    return NULL;
}

static const char *check_header(const unsigned char *header, ssize_t len)
{
    if (len < 0)
        return strerror(errno);
    if (len < HEADER_SIZE || memcmp(header, "SQLite format 3", 16) != 0)
        return "it is not an SQLite database (or it is encrypted)";
    if (header[READ_VERSION] == 1)
        return "it is not in WAL mode, so there is no log of commits to follow. Once PRAGMA "
               "journal_mode=WAL was run in its application or in the sqlite3 shell it stays so; "
               "tail itself changes nothing";
    if (header[READ_VERSION] != 2)
        return "its format is newer than this program";
    return NULL;
}

/* A FIFO would wait for its writer: O_NONBLOCK. */
static const char *check(struct dbfile *f, const char *path)
{
    unsigned char header[HEADER_SIZE];
    const char *wrong;
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return errno == ENOENT ? "there is no such file" : strerror(errno);
    wrong = fstat(fd, &st) < 0 ? strerror(errno) : check_stat(&st);
    if (!wrong)
        wrong = check_header(header, pread(fd, header, sizeof(header), 0));
    close(fd);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    return wrong;
}

/* SQLite keeps the log next to the file itself, where the path leads through links. */
static char *log_path(const char *path)
{
    char *real = realpath(path, NULL), *log = NULL;
    struct buf b = {0};

    if (real) {
        buf_printf(&b, "%s-wal", real);
        log = buf_take(&b, NULL);
    }
    free(real);
    buf_fini(&b);
    return log;
}

int dbfile_init(struct dbfile *f, const char *path, struct buf *err)
{
    const char *wrong = check(f, path);

    f->path = path;
    f->log = wrong ? NULL : log_path(path);
    if (!wrong && !f->log)
        wrong = strerror(errno);
    if (wrong)
        buf_printf(err, "cannot follow %s: %s", path, wrong);
    return wrong ? STATUS_IO : 0;
}

void dbfile_fini(struct dbfile *f)
{
    mem_free(f->log);
}

bool dbfile_same(const struct dbfile *f)
{
    struct stat st;

    return stat(f->path, &st) == 0 && st.st_dev == f->device && st.st_ino == f->inode;
}

int64_t dbfile_log_size(const struct dbfile *f)
{
    struct stat st;

    return stat(f->log, &st) == 0 ? st.st_size : 0;
}
