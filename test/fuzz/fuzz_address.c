#include "fuzz.h"

#include "access/rates.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/handshake.h"
#include "cli/target.h"
#include "http/listen.h"
#include <string.h>

/* Addresses, names and amounts, from the command line and from a request's head. */

static void check_listen(const char *text)
{
    struct listen_address a, again;
    char out[LISTEN_TEXT_MAX], out_again[LISTEN_TEXT_MAX];
    if (listen_parse(&a, text) < 0)
        return;
    fuzz_accepted++;
    REQUIRE(listen_port(&a) >= 0 && listen_port(&a) <= 65535);
    REQUIRE(!(listen_is_any(&a) && listen_is_loopback(&a)));
    listen_format(out, &a);
    REQUIRE(strlen(out) < LISTEN_TEXT_MAX && listen_parse(&again, out) == 0);
    listen_format(out_again, &again);
    REQUIRE(strcmp(out, out_again) == 0);
    REQUIRE(listen_is_loopback(&a) == listen_is_loopback(&again));
    REQUIRE(listen_host_allowed(&(struct listen_names){.addresses = &a, .address_count = 1}, out));
}

/* What is behind the scheme is what a browser would send as Host. */
static void check_origin(const char *text)
{
    const struct listen_names names = {.origins = &text, .origin_count = 1}, none = {0};
    if (!listen_origin_valid(text))
        return;
    fuzz_accepted++;
    REQUIRE(!strpbrk(text, " \t\"\\,@?#") && strlen(text) < 300);
    const char *host = strstr(text, "://") + 3;
    REQUIRE(*host && listen_origin_listed(&names, text) && listen_origin_same(text, host));
    REQUIRE(listen_host_allowed(&names, host) && !listen_origin_listed(&none, text));
}

/* No page is let in for a name that only looks like the server's. */
static void check_host(const char *text)
{
    const char *const origins[] = {"https://app.example:8443"};
    struct listen_address any;
    REQUIRE(listen_parse(&any, "[::1]:80") == 0);
    const struct listen_names names = {&any, 1, origins, 1};
    struct buf origin = {0};
    if (!listen_host_allowed(&names, text))
        return;
    fuzz_accepted++;
    size_t len = *text == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":");
    REQUIRE((len == 9 && text_ncasecmp(text, "localhost", 9) == 0) || *text == '[' ||
            (len == 11 && text_ncasecmp(text, "app.example", 11) == 0) ||
            (strncmp(text, "127.", 4) == 0 && strspn(text, "0123456789.") == len));
    REQUIRE(text[len] == '\0' ||
            (text[len] == ':' && strspn(text + len + 1, "0123456789") == strlen(text + len + 1)));
    buf_printf(&origin, "http://%s", text);
    if (buf_text(&origin) && listen_origin_listed(&names, origin.data))
        REQUIRE(!"http is not https");
    buf_fini(&origin);
}

/* A request for such an address is one request: nothing in it ends a line. */
static void check_request(const char *base, const char *token)
{
    struct handshake h;
    struct buf out = {0};
    int lines = 0;
    handshake_init(&h);
    if (handshake_put_request(&h, base, "/ws", token, &out) == 0 && buf_text(&out)) {
        REQUIRE(strlen(out.data) == out.len && strncmp(out.data, "GET /", 5) == 0);
        for (const char *p = out.data; (p = strstr(p, "\n")); p++)
            lines++;
        REQUIRE(lines == (token ? 9 : 8) && strstr(out.data, "\r\n\r\n") == &out.data[out.len - 4]);
    }
    buf_fini(&out);
    handshake_fini(&h);
}

static void check_target(const char *text)
{
    const char *end = strchr(text, ' ');
    char *url = fuzz_string(text, end ? (size_t)(end - text) : strlen(text));
    struct target t = {.url = url, .token = end ? end + 1 : NULL};
    struct buf base = {0}, again = {0}, err = {0};
    int rc = target_resolve(&t, &base, &err);
    REQUIRE(rc == 0 || err.len || mem_fail_hit());
    if (rc == 0) {
        struct target same = {.url = base.data, .token = t.token};
        fuzz_accepted++;
        REQUIRE(strncmp(base.data, "http", 4) == 0 && base.data[base.len - 1] != '/');
        for (size_t i = 0; i < base.len; i++)
            REQUIRE((unsigned char)base.data[i] > ' ' && base.data[i] != 127);
        rc = target_resolve(&same, &again, &err);
        REQUIRE(mem_fail_hit() || (rc == 0 && strcmp(base.data, again.data) == 0));
        target_is_loopback(base.data);
        check_request(base.data, t.token);
    }
    buf_fini(&base);
    buf_fini(&again);
    buf_fini(&err);
    free(url);
}

static void check_amount(const char *text)
{
    uint64_t bytes, more;
    int64_t ms, i;
    char out[40];
    if (text_parse_size(text, &bytes) == 0) {
        REQUIRE(bytes <= 9000000000000000u && text[0] >= '0' && text[0] <= '9');
        snprintf(out, sizeof(out), "%llub", (unsigned long long)bytes);
        REQUIRE(text_parse_size(out, &more) == 0 && more == bytes);
        fuzz_accepted++;
    }
    if (text_parse_duration(text, &ms) == 0)
        REQUIRE(ms >= 0 && ms <= 9000000000000000);
    if (text_parse_i64(text, strlen(text), &i) == 0) {
        snprintf(out, sizeof(out), "%lld", (long long)i);
        REQUIRE(strspn(text, "+-0") > 0 || strcmp(out, text) == 0);
        fuzz_accepted++;
    }
}

/* An option of --rate. Whatever a role is given, everybody else has what they had. */
static void check_rate(const char *text)
{
    static struct rates rates, before;
    struct buf err = {0};
    rates_init(&rates);
    rates_init(&before);
    int rc = rates_read(&rates, &text, 1, &err);
    REQUIRE(rc == STATUS_OK || rc == STATUS_INVALID || mem_fail_hit());
    REQUIRE(rc != STATUS_INVALID || err.len || buf_error(&err));
    if (rc == STATUS_OK) {
        fuzz_accepted++;
        for (int i = 0; i < rates.count; i++)
            for (int k = 0; k < RATE_SCOPES * RATE_KINDS; k++) {
                const struct rate *r = &rates.tiers[i].rates[k / RATE_KINDS][k % RATE_KINDS];
                REQUIRE(r->period_ns >= 0 && r->depth_ns >= r->period_ns);
            }
        if (rates.count > 1)
            REQUIRE(rates.count == 2 && memcmp(rates.tiers[0].rates, before.tiers[0].rates,
                                            sizeof(before.tiers[0].rates)) == 0);
    }
    rates_fini(&rates);
    rates_fini(&before);
    buf_fini(&err);
}

void fuzz_address(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const char *) = {
        check_listen, check_origin, check_host, check_target, check_amount, check_rate};
    if (size == 0)
        return;
    char *text = fuzz_string(data + 1, size - 1);
    checks[data[0] % (sizeof(checks) / sizeof(*checks))](text);
    free(text);
}
