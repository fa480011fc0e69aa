#include "net/tls_context.h"
#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)

/* Forward secrecy and an authenticated cipher; those of TLS 1.3 all are like that. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"

struct tls_context {
    atomic_uint refs;
    SSL_CTX *ssl;
};

struct ssl_ctx_st *tls_context_ssl(const struct tls_context *x)
{
    return x->ssl;
}

void tls_context_ref(struct tls_context *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
}

void tls_context_unref(struct tls_context *x)
{
    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(x->ssl);
    mem_free(x);
}

/* RFC 7301: somebody who wants HTTP/2 only hears that there is none. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *offered, unsigned int len, void *arg)
{
    static const unsigned char http[] = "\x08http/1.1";

    (void)ssl, (void)arg;
    for (unsigned i = 0; i < len; i += 1u + offered[i]) {
        if (offered[i] == http[0] && len - i > http[0] &&
            memcmp(offered + i, http, sizeof(http) - 1) == 0) {
            *out = offered + i + 1;
            *out_len = http[0];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *make_ssl(void)
{
    SSL_CTX *s = SSL_CTX_new(TLS_server_method());

    if (!s)
        return NULL;
    if (!SSL_CTX_set_min_proto_version(s, TLS1_2_VERSION) || !SSL_CTX_set_cipher_list(s, CIPHERS) ||
        !SSL_CTX_set_session_id_context(s, (const unsigned char *)"rowtap", 6)) {
        SSL_CTX_free(s);
        return NULL;
    }
    SSL_CTX_set_options(s, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS);
    /* So that a peer cannot keep us reading with what carries no data. */
    SSL_CTX_clear_mode(s, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF); /* tickets need none */
    SSL_CTX_set_num_tickets(s, 1);
    SSL_CTX_set_alpn_select_cb(s, choose_protocol, NULL);
    return s;
}

/* What is said of a file. */

struct pem {
    const char *path, *what, *option;
    char *data;
    size_t len;
    struct buf *err;
};

static int say(const struct pem *p, const char *why)
{
    buf_printf(p->err, "the %s in %s cannot be used: %s", p->what, p->path, why);
    return STATUS_INVALID;
}

static int read_file(struct pem *p)
{
    FILE *f = fopen(p->path, "re");
    int error = errno;

    if (f) {
        p->data = mem_alloc(FILE_MAX + 1);
        errno = 0;
        if (p->data)
            p->len = fread(p->data, 1, FILE_MAX + 1, f);
        error = ferror(f) ? errno : 0;
        fclose(f);
    }
    if (!f || error) {
        buf_printf(p->err, "cannot read the %s in %s (--%s): %s", p->what, p->path, p->option,
            strerror(error));
        return STATUS_IO;
    }
    if (!p->data)
        return say(p, "out of memory");
    if (p->len > FILE_MAX)
        return say(p, "the file is larger than 1 MiB");
    return 0;
}

static void forget_file(struct pem *p)
{
    if (p->data)
        OPENSSL_cleanse(p->data, p->len);
    mem_free(p->data);
}

static bool has(const struct pem *p, const char *text)
{
    return memmem(p->data, p->len, text, strlen(text));
}

static const char *reason(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    return why ? why : "OpenSSL does not say why";
}

/* Why there was nothing to find. */
static int wrong_format(const struct pem *p, bool key)
{
    if (p->len == 0)
        return say(p, "the file is empty");
    if (key ? has(p, "-----BEGIN CERTIFICATE-----") : has(p, "PRIVATE KEY-----"))
        return say(p, key ? "the file has a certificate but no key; are --tls-cert and --tls-key "
                            "the wrong way round?"
                          : "the file has a key but no certificate; are --tls-cert and --tls-key "
                            "the wrong way round?");
    if (p->data[0] == 0x30)
        return say(p, key ? "the file is in DER, or PKCS #12; convert it to PEM: openssl pkey "
                            "-inform der, or openssl pkcs12 -nocerts -noenc"
                          : "the file is in DER, or PKCS #12; convert it to PEM: openssl x509 "
                            "-inform der, or openssl pkcs12 -nokeys");
    if (has(p, "-----BEGIN "))
        return say(p, reason());
    return say(p, "the file is not in PEM; it has no line that starts with -----BEGIN");
}

/* The certificate. */

static void check_dates(const struct pem *p, const X509 *cert, struct buf *warning)
{
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        buf_printf(warning, "the certificate in %s has expired: clients will refuse it", p->path);
    else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        buf_printf(
            warning, "the certificate in %s is not valid yet: clients will refuse it", p->path);
}

static int add_chain(SSL_CTX *s, BIO *b, const struct pem *p)
{
    X509 *cert;

    while ((cert = PEM_read_bio_X509(b, NULL, NULL, NULL))) {
        if (!SSL_CTX_add0_chain_cert(s, cert)) {
            X509_free(cert);
            return say(p, reason());
        }
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return say(p, "one of the certificates behind the first is damaged");
    return 0;
}

static int take_certificate(SSL_CTX *s, const struct pem *p, struct buf *warning)
{
    BIO *b = BIO_new_mem_buf(p->data, (int)p->len);
    X509 *cert = b ? PEM_read_bio_X509_AUX(b, NULL, NULL, NULL) : NULL;
    int rc;

    if (!cert)
        rc = wrong_format(p, false);
    else if (!SSL_CTX_use_certificate(s, cert))
        rc = say(p, reason()); /* the key is too short, say */
    else
        rc = add_chain(s, b, p);
    if (rc == 0)
        check_dates(p, cert, warning);
    X509_free(cert);
    BIO_free(b);
    ERR_clear_error();
    return rc;
}

/* The key. */

static int no_password(char *buf, int size, int writing, void *asked)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int take_key(SSL_CTX *s, const struct pem *p, const char *cert_file)
{
    bool encrypted = false;
    BIO *b = BIO_new_mem_buf(p->data, (int)p->len);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, &encrypted) : NULL;
    int rc = 0;

    if (encrypted)
        rc = say(p, "it is encrypted; decrypt it, into a file that only the server may read: "
                    "openssl pkey -in FILE -out FILE");
    else if (!key)
        rc = wrong_format(p, true);
    else if (X509_check_private_key(SSL_CTX_get0_certificate(s), key) != 1) {
        buf_printf(
            p->err, "the key in %s is not that of the certificate in %s", p->path, cert_file);
        rc = STATUS_INVALID;
    } else if (!SSL_CTX_use_PrivateKey(s, key))
        rc = say(p, reason());
    EVP_PKEY_free(key);
    BIO_free(b);
    ERR_clear_error();
    return rc;
}

struct tls_context *tls_context_new(
    const char *cert_file, const char *key_file, struct buf *err, struct buf *warning)
{
    struct tls_context *x = mem_zalloc(sizeof(*x));
    struct pem cert = {.path = cert_file, .what = "certificate", .option = "tls-cert", .err = err};
    struct pem key = {.path = key_file, .what = "key", .option = "tls-key", .err = err};
    int rc = STATUS_NOMEM;

    ERR_clear_error();
    if (x)
        x->ssl = make_ssl();
    if (!x || !x->ssl) {
        buf_puts(err, "TLS cannot be used: OpenSSL refused its settings, or memory ran out");
        goto done;
    }
    atomic_init(&x->refs, 1);
    rc = read_file(&cert);
    if (rc == 0)
        rc = read_file(&key);
    if (rc == 0)
        rc = take_certificate(x->ssl, &cert, warning);
    if (rc == 0)
        rc = take_key(x->ssl, &key, cert_file);
done:
    forget_file(&cert);
    forget_file(&key);
    ERR_clear_error();
    if (rc == 0)
        return x;
    if (x)
        SSL_CTX_free(x->ssl);
    mem_free(x);
    return NULL;
}
