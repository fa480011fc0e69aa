#include "access/keyset.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct keyset *keyset_new(void)
{
    struct keyset *set = mem_zalloc(sizeof(*set));

    if (set)
        atomic_init(&set->refs, 1);
    return set;
}

struct keyset *keyset_ref(struct keyset *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void keyset_unref(struct keyset *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < set->count; i++)
        key_free(set->keys[i]);
    mem_free(set);
}

/* Takes the key over. NULL: err says why there is none. */
static int add(struct keyset *set, struct key *k, struct buf *err)
{
    if (!k)
        return STATUS_INVALID;
    if (set->count == KEYSET_MAX) {
        key_free(k);
        buf_printf(err, "there are more than %d keys", KEYSET_MAX);
        return STATUS_INVALID;
    }
    set->keys[set->count++] = k;
    return 0;
}

static int add_any(struct keyset *set, struct key *k, struct buf *err)
{
    if (k)
        k->any_id = true;
    return add(set, k, err);
}

static int add_public(struct keyset *set, const char *data, size_t len, struct buf *err)
{
    BIO *bio = BIO_new_mem_buf(data, (int)len);
    int before = set->count, rc = 0;
    EVP_PKEY *pkey;

    while (bio && rc == 0 && (pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL)))
        rc = add_any(set, key_from_public(pkey, err), err);
    BIO_free(bio);
    ERR_clear_error();
    if (rc || set->count > before)
        return rc;
    if (memmem(data, len, "PRIVATE KEY-----", 16))
        buf_puts(err, "it has a private key, which must not be on this server: make the public one "
                      "with openssl pkey -pubout");
    else if (memmem(data, len, "-----BEGIN CERTIFICATE", 22))
        buf_puts(err, "it has a certificate: take the key out with openssl x509 -pubkey -noout");
    else
        buf_puts(err, "it has no public key in PEM (-----BEGIN PUBLIC KEY-----)");
    return STATUS_INVALID;
}

static int add_jwk(struct keyset *set, const json_t *jwk, int *passed_over, struct buf *err)
{
    size_t before = err->len;
    struct key *k = key_from_jwk(jwk, err);

    if (k)
        return add(set, k, err);
    if (err->len > before || buf_error(err))
        return STATUS_INVALID;
    ++*passed_over;
    return 0;
}

static int add_jwks(
    struct keyset *set, const char *data, size_t len, int *passed_over, struct buf *err)
{
    json_error_t e;
    bool nul = len && memchr(data, '\0', len); /* which jansson reads over here and there */
    json_t *top = nul ? NULL : json_loadb(data, len, JSON_REJECT_DUPLICATES, &e);
    const json_t *keys = json_object_get(top, "keys");
    int before = set->count, rc = 0;

    /* Not jansson's words, which repeat what is in the file. */
    if (nul)
        buf_puts(err, "it is not JSON: it has a NUL character");
    else if (!top)
        buf_printf(err, "it is not JSON (line %d column %d)", e.line, e.column);
    else if (!json_is_array(keys))
        buf_puts(err, "it is no JWKS: it has no list \"keys\"");
    for (size_t i = 0; i < json_array_size(keys) && rc == 0; i++) {
        struct buf why = {0};

        rc = add_jwk(set, json_array_get(keys, i), passed_over, &why);
        if (rc)
            buf_printf(err, "key %zu: %s", i, buf_text(&why) ? buf_text(&why) : "out of memory");
        buf_fini(&why);
    }
    json_decref(top);
    if (err->len || buf_error(err))
        return STATUS_INVALID;
    if (set->count > before)
        return 0;
    buf_puts(err, "none of its keys can be used here: there must be one of kty RSA (RS256), EC on "
                  "P-256 (ES256), OKP on Ed25519 (EdDSA) or oct (HS256)");
    return STATUS_INVALID;
}

int keyset_add(
    struct keyset *set, int kind, const char *data, size_t len, int *passed_over, struct buf *err)
{
    switch (kind) {
    case KEYSET_SECRET:
        return add_any(set, key_from_secret(data, key_secret_length(data, len), err), err);
    case KEYSET_PUBLIC:
        return add_public(set, data, len, err);
    default:
        return add_jwks(set, data, len, passed_over, err);
    }
}

/* Files. */

static int read_all(int fd, struct buf *out)
{
    out->max = KEYSET_FILE_MAX;
    for (;;) {
        char *room = buf_reserve(out, 4096);
        ssize_t n = room ? read(fd, room, 4096) : -1;

        if (!room)
            return buf_error(out);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? STATUS_IO : 0;
        out->len += (size_t)n;
    }
}

int keyset_read_file(const char *path, struct buf *out, struct buf *err)
{
    /* A pipe that nobody writes to must not hold the server up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = STATUS_IO;
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        buf_puts(err, "it is no regular file");
        close(fd);
        return STATUS_INVALID;
    }
    if (fd >= 0)
        rc = read_all(fd, out);
    if (rc == STATUS_TOO_LARGE)
        buf_printf(err, "it is larger than %u bytes", KEYSET_FILE_MAX - 4096);
    else if (rc == STATUS_NOMEM)
        buf_puts(err, "out of memory");
    else if (rc)
        buf_puts(err, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc ? STATUS_INVALID : 0;
}

static void look(struct key_file *f)
{
    struct stat st;

    memset(&f->seen, 0, sizeof(f->seen));
    if (stat(f->path, &st) < 0)
        return;
    f->seen.device = st.st_dev;
    f->seen.inode = st.st_ino;
    f->seen.size = (uint64_t)st.st_size;
    f->seen.modified = st.st_mtim;
    f->seen.changed = st.st_ctim;
}

bool keyset_changed(struct key_file *files)
{
    bool changed = false;

    for (int i = 0; i < KEYSET_FILES; i++) {
        struct key_file before = files[i];

        if (!files[i].path)
            continue;
        look(&files[i]);
        changed |= memcmp(&before.seen, &files[i].seen, sizeof(before.seen)) != 0;
    }
    return changed;
}

/* Once, when the keys are taken: what an administrator would want to know. */
static void advise(const struct keyset *set, int from, const char *path, int passed_over)
{
    struct stat st;
    bool secret = false;

    for (int i = from; i < set->count; i++) {
        secret |= set->keys[i]->secret != NULL;
        if (set->keys[i]->secret && set->keys[i]->secret_len < KEY_SECRET_GOOD)
            log_warn(
                "a secret in %s has only %zu bytes: who has a token can find it by trying; make "
                "one with openssl rand -hex 32",
                path, set->keys[i]->secret_len);
    }
    if (secret && stat(path, &st) == 0 && st.st_mode & (S_IROTH | S_IWOTH))
        log_warn("%s has a secret and every user of this machine may read it: chmod 600", path);
    if (passed_over)
        log_info(
            "%d keys in %s are of a kind or for a use that is not known here", passed_over, path);
}

static int read_one(struct keyset *set, int kind, const char *path, struct buf *err)
{
    struct buf data = {0}, why = {0};
    int from = set->count, passed_over = 0;
    int rc = keyset_read_file(path, &data, &why);

    if (rc == 0)
        rc = keyset_add(set, kind, data.data ? data.data : "", data.len, &passed_over, &why);
    if (rc == 0)
        advise(set, from, path, passed_over);
    else
        buf_printf(err, "%s: %s", path, buf_text(&why) ? buf_text(&why) : "out of memory");
    if (data.data)
        OPENSSL_cleanse(data.data, data.cap);
    buf_fini(&data);
    buf_fini(&why);
    return rc;
}

struct keyset *keyset_read(const struct key_file *files, struct buf *err)
{
    struct keyset *set = keyset_new();

    if (!set) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    for (int i = 0; i < KEYSET_FILES; i++) {
        if (files[i].path && read_one(set, i, files[i].path, err) < 0) {
            keyset_unref(set);
            return NULL;
        }
    }
    return set;
}
