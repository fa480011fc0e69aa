#include "sandbox.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * From linux/landlock.h, which older systems lack or have in part. The calls have the same numbers
 * on all architectures but Alpha.
 */
#define CREATE_RULESET 444
#define ADD_RULE 445
#define RESTRICT_SELF 446

#define GET_VERSION 1
#define RULE_PATH_BENEATH 1

#define EXECUTE (1U << 0)
#define WRITE_FILE (1U << 1)
#define READ_FILE (1U << 2)
#define READ_DIR (1U << 3)
#define REMOVE_FILE (1U << 5)
#define MAKE_REG (1U << 8)
#define ALL_OF_1 ((1U << 13) - 1)
#define REFER (1U << 13)     /* version 2 */
#define TRUNCATE (1U << 14)  /* version 3 */
#define IOCTL_DEV (1U << 15) /* version 5 */

#define CONNECT_TCP (1U << 1)  /* version 4 */
#define SCOPE_SIGNAL (1U << 1) /* version 6: no signal to who is not inside */

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

#define READ (READ_FILE | READ_DIR)
#define OF_A_FILE (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV)
#define READ_AND_WRITE (READ | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG)

struct box {
    int fd;
    uint64_t handled;
};

/* What is not there needs no rule. */
static bool allow(const struct box *b, const char *path, uint64_t access)
{
    struct path_beneath rule = {.fd = open(path, O_PATH | O_CLOEXEC)};
    struct stat st;
    bool done;

    if (rule.fd < 0)
        return true;
    rule.allowed = access & b->handled;
    if (fstat(rule.fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed &= OF_A_FILE;
    done = syscall(ADD_RULE, b->fd, RULE_PATH_BENEATH, &rule, 0) == 0;
    close(rule.fd);
    return done;
}

static bool allow_directory_of(const struct box *b, const char *path, uint64_t access)
{
    char copy[PATH_MAX];

    if (strlen(path) >= sizeof(copy))
        return true; /* nor can it be opened */
    strcpy(copy, path);
    return allow(b, dirname(copy), access);
}

/*
 * Its directory, because another file may be put in its place, and that of the file that it is a
 * link to now.
 */
static bool allow_file_of(const struct box *b, const char *path)
{
    char *real;
    bool done;

    if (!path)
        return true;
    real = realpath(path, NULL);
    done = allow_directory_of(b, path, READ) && (!real || allow_directory_of(b, real, READ));
    free(real);
    return done;
}

static bool allow_database(const struct box *b, const char *path)
{
    char *real = realpath(path, NULL);
    bool done = allow_directory_of(b, real ? real : path, READ_AND_WRITE);

    free(real);
    return done;
}

/* The one that SQLite takes (https://www.sqlite.org/tempfiles.html, section 5). */
static bool allow_temporary(const struct box *b)
{
    const char *const named[] = {
        getenv("SQLITE_TMPDIR"), getenv("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", "."};
    struct stat st;

    for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++)
        if (named[i] && stat(named[i], &st) == 0 && S_ISDIR(st.st_mode) &&
            access(named[i], W_OK | X_OK) == 0)
            return allow(b, named[i], READ_AND_WRITE);
    return true;
}

/* Names and time zones, libraries that load late, figures of the process and its cores. */
static bool allow_system(const struct box *b)
{
    static const char *const read[] = {"/etc", "/usr", "/lib", "/lib64", "/proc", "/sys",
        "/proc/self/exe" /* for the traces of sanitizers */};
    static const char *const devices[] = {"/dev/null", "/dev/random", "/dev/urandom"};

    for (size_t i = 0; i < sizeof(read) / sizeof(*read); i++)
        if (!allow(b, read[i], READ))
            return false;
    for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
        if (!allow(b, devices[i], READ_FILE | WRITE_FILE))
            return false;
    return allow(b, "/proc/self/task", READ | WRITE_FILE); /* the names of threads */
}

static bool allow_files(const struct box *b, const struct config *c)
{
    const char *const files[] = {c->jwt_secret_file, c->jwt_public_key_file, c->jwt_jwks_file,
        c->policy, c->tls_cert, c->tls_key};

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (!allow_file_of(b, files[i]))
            return false;
    return true;
}

/* With TLS, the threads that speak it connect to the HTTP side, on a port that is not known yet. */
static struct ruleset rules_of(long version, bool connects)
{
    struct ruleset r = {.fs = ALL_OF_1};

    if (version >= 2)
        r.fs |= REFER;
    if (version >= 3)
        r.fs |= TRUNCATE;
    if (version >= 4 && !connects)
        r.net = CONNECT_TCP;
    if (version >= 5)
        r.fs |= IOCTL_DEV;
    if (version >= 6)
        r.scoped = SCOPE_SIGNAL;
    return r;
}

static bool dangling(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) != 0;
}

bool sandbox_enter(const struct config *config, const char **why)
{
    long version = syscall(CREATE_RULESET, NULL, 0, GET_VERSION);
    struct ruleset rules = rules_of(version, config->tls_cert);
    struct box b = {.fd = -1, .handled = rules.fs};
    bool inside = false;

    if (dangling(config->database)) {
        *why = "the database is a link to a file that is not there yet";
        return false;
    }
    if (version >= 1)
        b.fd = (int)syscall(CREATE_RULESET, &rules, sizeof(rules), 0);
    if (b.fd >= 0) {
        inside = allow_database(&b, config->database) && allow_temporary(&b) && allow_system(&b) &&
                 allow_files(&b, config) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                 syscall(RESTRICT_SELF, b.fd, 0) == 0;
        *why = strerror(errno);
        close(b.fd);
    } else {
        *why = "this kernel has no Landlock";
    }
    return inside;
}
