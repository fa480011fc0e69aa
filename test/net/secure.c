#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "secure.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool secure_wanted(void)
{
    return getenv("ROWTAP_TEST_TLS") != NULL;
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);

    X509_NAME_add_entry_by_txt(
        name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_set_pubkey(cert, key);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

struct tls_context *secure_context(void)
{
    static struct tls_context *made;
    char path[] = "/tmp/rowtap-test-XXXXXX";
    struct buf err = {0}, warning = {0};
    EVP_PKEY *key;
    X509 *cert;
    FILE *f;

    if (made)
        return made;
    key = EVP_EC_gen("P-256");
    cert = make_certificate(key);
    f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    PEM_write_X509(f, cert);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    made = tls_context_new(path, path, &err, &warning);
    unlink(path);
    X509_free(cert);
    EVP_PKEY_free(key);
    assert_non_null(made);
    return made;
}

SSL *secure_pair(const int fds[2], int version, struct tls **tls)
{
    static SSL_CTX *context;
    struct tls_context *ours = secure_context();
    int client = 0, server = 0;
    SSL *ssl;

    if (!context)
        context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    signal(SIGPIPE, SIG_IGN); /* SSL_write writes without MSG_NOSIGNAL */
    fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK);
    ssl = SSL_new(context);
    SSL_set_fd(ssl, fds[0]);
    SSL_set_connect_state(ssl);
    if (version)
        SSL_set_max_proto_version(ssl, version);
    *tls = tls_new(ours, fds[1]);
    while (*tls && (client != 1 || server != 1)) {
        struct pollfd wait[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};

        client = SSL_do_handshake(ssl);
        server = server == 1 ? 1 : tls_handshake(*tls);
        if (server < 0) { /* no memory: the client is none that would fail it */
            tls_free(*tls);
            *tls = NULL;
        }
        assert_true(client == 1 || SSL_get_error(ssl, client) == SSL_ERROR_WANT_READ);
        if (client != 1 || server != 1)
            poll(wait, 2, 10);
    }
    return ssl;
}
