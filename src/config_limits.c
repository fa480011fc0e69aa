#include "config_limits.h"
#include "access/address.h"
#include "access/rates.h"
#include "base/status.h"

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

int config_limits_check(const struct config *c, struct buf *err)
{
    int rc = check_proxies(c, err);

    return rc ? rc : check_rates(c, err);
}
