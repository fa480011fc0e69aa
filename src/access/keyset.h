#ifndef ROWTAP_ACCESS_KEYSET_H
#define ROWTAP_ACCESS_KEYSET_H

#include "access/key.h"
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* The keys of some files, as they were when they were read. Immutable, counted; any thread. */
#define KEYSET_MAX 64                /* keys in all */
#define KEYSET_FILE_MAX (256u << 10) /* bytes of a file */

struct keyset {
    atomic_uint refs;
    struct key *keys[KEYSET_MAX];
    int count;
};

struct keyset *keyset_ref(struct keyset *set);
void keyset_unref(struct keyset *set); /* NULL is allowed */

enum { KEYSET_SECRET, KEYSET_PUBLIC, KEYSET_JWKS, KEYSET_FILES };

/* A file that may change, and what tells that it has. */
struct key_file {
    const char *path; /* NULL: not used */
    struct {
        uint64_t device, inode, size;
        struct timespec modified, changed;
    } seen; /* all zero: there is none */
};

/* Of KEYSET_FILES files: whether any of them is another than when it was looked at last, which is
 * now. Reads no file. */
bool keyset_changed(struct key_file *files);
/*
 * The keys of all files, at least one from each; or NULL with a sentence in err that names the
 * file. Says in the log what is weak or was passed over.
 */
struct keyset *keyset_read(const struct key_file *files, struct buf *err);

/* What the content of a file of that kind adds to the set. STATUS_INVALID with a sentence. */
int keyset_add(
    struct keyset *set, int kind, const char *data, size_t len, int *passed_over, struct buf *err);
struct keyset *keyset_new(void); /* empty; NULL: no memory */

/* What is in a file that is to be kept secret, bounded; the caller wipes it. STATUS_INVALID. */
int keyset_read_file(const char *path, struct buf *out, struct buf *err);

#endif
