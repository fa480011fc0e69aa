#include "config_check.h"
#include "access/address.h"
#include "access/rates.h"
#include "base/status.h"
#include "http/listen.h"

static int check_listen(const struct config *c, struct buf *err)
{
    struct listen_address a;

    if (c->listen.count == 0) {
        buf_puts(err, "--listen is empty; give ADDR:PORT, such as 127.0.0.1:8080");
        return STATUS_INVALID;
    }
    for (int i = 0; i < c->listen.count; i++) {
        if (listen_parse(&a, c->listen.items[i]) < 0) {
            buf_printf(err,
                "cannot listen on \"%.100s\": give an address and a port, such as 127.0.0.1:8080, "
                "[::1]:8080 or 0.0.0.0:80",
                c->listen.items[i]);
            return STATUS_INVALID;
        }
        if (!listen_is_loopback(&a) && !c->insecure && !config_has_keys(c)) {
            buf_printf(err,
                "refusing to listen on %s: it is reachable from other machines, and anybody could "
                "read and write; ask for tokens (--jwt-secret-file FILE), or add --insecure if "
                "that is what you want",
                c->listen.items[i]);
            return STATUS_INVALID;
        }
    }
    return 0;
}

static int check_tokens(const struct config *c, struct buf *err)
{
    if (config_has_keys(c) || (!c->jwt_issuer && !c->jwt_audience))
        return 0;
    buf_printf(err,
        "--%s goes with a key: --jwt-secret-file, --jwt-public-key-file or --jwt-jwks-file",
        c->jwt_issuer ? "jwt-issuer" : "jwt-audience");
    return STATUS_INVALID;
}

static int check_policy(const struct config *c, struct buf *err)
{
    if (config_has_keys(c) || !c->policy)
        return 0;
    buf_puts(err, "--policy goes by the role in a token, so it needs a key: --jwt-secret-file, "
                  "--jwt-public-key-file or --jwt-jwks-file");
    return STATUS_INVALID;
}

static int check_origins(const struct config *c, struct buf *err)
{
    for (int i = 0; i < c->origins.count; i++) {
        if (listen_origin_valid(c->origins.items[i]))
            continue;
        buf_printf(err,
            "--origin \"%.100s\" is not an origin: give scheme, name and port only, such as "
            "https://app.example.com or http://localhost:3000",
            c->origins.items[i]);
        return STATUS_INVALID;
    }
    return 0;
}

static int check_proxies(const struct config *c, struct buf *err)
{
    struct network n;

    for (int i = 0; i < c->trusted_proxies.count; i++) {
        if (network_parse(&n, c->trusted_proxies.items[i]) == 0)
            continue;
        buf_printf(err,
            "--trusted-proxy \"%.100s\" is not a network: give an address such as 127.0.0.1 or "
            "::1, "
            "or one with a prefix such as 10.0.0.0/8, without bits behind it",
            c->trusted_proxies.items[i]);
        return STATUS_INVALID;
    }
    return 0;
}

static int check_rates(const struct config *c, struct buf *err)
{
    struct rates rates;
    int rc;

    rates_init(&rates);
    rc = rates_read(&rates, (const char *const *)c->rates.items, c->rates.count, err);
    rates_fini(&rates);
    return rc;
}

static int check_tls(const struct config *c, struct buf *err)
{
    if (!c->tls_cert == !c->tls_key)
        return 0;
    buf_printf(err, "--tls-%s goes with --tls-%s: a certificate and its key, both files in PEM",
        c->tls_cert ? "cert" : "key", c->tls_cert ? "key" : "cert");
    return STATUS_INVALID;
}

int config_check(const struct config *c, struct buf *err)
{
    static int (*const checks[])(const struct config *, struct buf *) = {check_listen,
        check_origins, check_tokens, check_policy, check_proxies, check_rates, check_tls};
    int rc = 0;

    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && rc == 0; i++)
        rc = checks[i](c, err);
    return rc;
}
