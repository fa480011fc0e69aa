#include "fuzz.h"

#include "base/mem.h"
#include "base/text.h"
#include "fuzz_civetweb.h"
#include "http/limits.h"
#include <string.h>

/*
 * Whom a request comes from: the first line is the peer, the others are lines of X-Forwarded-For.
 * Nobody is believed but those in the networks of proxies; and several lines are one list.
 */
static struct network proxies[3];
static struct http http;
static struct worker worker; /* of another connection each time */

static void start(void)
{
    static const char *const texts[] = {"10.0.0.0/8", "fd00::/15", "::1"};
    if (http.proxies)
        return;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        REQUIRE(network_parse(&proxies[i], texts[i]) == 0);
    http.proxies = proxies;
    http.proxy_count = sizeof(texts) / sizeof(*texts);
}

/* Bit by bit, as RFC 4632 has it. */
static bool is_in(const struct network *n, const struct address *a)
{
    for (int i = 0; i < n->bits; i++)
        if ((n->address.bytes[i / 8] ^ a->bytes[i / 8]) >> (7 - i % 8) & 1)
            return false;
    return true;
}

static bool is_proxy(const char *text)
{
    struct address a;
    bool found = false;
    if (address_parse(&a, text, strlen(text)) < 0)
        return false;
    for (int i = 0; i < http.proxy_count; i++)
        found |= is_in(&proxies[i], &a);
    return found;
}

static void find(struct request *r, struct mg_connection *c, char *peer, char *const *lists, int n)
{
    *c = (struct mg_connection){0};
    snprintf(c->info.remote_addr, sizeof(c->info.remote_addr), "%s", peer);
    for (int i = 0; i < n; i++) {
        c->info.http_headers[i].name = i % 2 ? "X-Forwarded-For" : "x-forwarded-for";
        c->info.http_headers[i].value = lists[i];
    }
    c->info.num_headers = n;
    worker = (struct worker){0};
    *r = (struct request){.http = &http, .info = &c->info, .worker = &worker};
    limits_begin(r);
    limits_end(r);
}

static bool has_empty_item(const char *list)
{
    for (;;) {
        size_t len = strcspn(list, ",");
        if (strspn(list, " \t") >= len)
            return true;
        if (!list[len])
            return false;
        list += len + 1;
    }
}

static void check_one_list(const struct request *r, char *peer, char *const *lists, int n)
{
    struct buf all = {0};
    struct request joined;
    struct mg_connection c;
    bool empty = false;
    for (int i = 0; i < n; i++) {
        buf_printf(&all, "%s%s", i ? "," : "", lists[i]);
        empty |= has_empty_item(lists[i]);
    }
    if (n && !empty && buf_text(&all)) {
        char *list = all.data;
        find(&joined, &c, peer, &list, 1);
        REQUIRE(strcmp(joined.client, r->client) == 0 && joined.forwarded == r->forwarded);
    }
    buf_fini(&all);
}

static void check(char *peer, char *const *lists, int n)
{
    struct request r;
    struct mg_connection c;
    struct address a;
    find(&r, &c, peer, lists, n);
    if (address_parse(&a, c.info.remote_addr, strlen(c.info.remote_addr)) == 0) {
        char text[ADDRESS_TEXT_MAX];
        fuzz_accepted += r.forwarded;
        REQUIRE(address_parse(&a, r.client, strlen(r.client)) == 0);
        address_format(text, &a);
        REQUIRE(strcmp(text, r.client) == 0);
        REQUIRE(!r.forwarded || is_proxy(c.info.remote_addr));
        if (!r.forwarded)
            REQUIRE(address_parse(&a, c.info.remote_addr, strlen(c.info.remote_addr)) == 0 &&
                    (address_format(text, &a), strcmp(text, r.client) == 0));
    } else {
        REQUIRE(!r.forwarded);
    }
    check_one_list(&r, peer, lists, n);
}

/* A network has its own first address, and what is read and written is read as the same again. */
static void check_network(const char *text)
{
    struct network n, again;
    char address[ADDRESS_TEXT_MAX], out[ADDRESS_TEXT_MAX + 8];
    if (network_parse(&n, text) < 0)
        return;
    REQUIRE(n.bits >= 0 && n.bits <= 128 && network_has(&n, &n.address));
    address_format(address, &n.address);
    snprintf(out, sizeof(out), "%s/%d", address, n.bits - (address_is_v4(&n.address) ? 96 : 0));
    if (n.bits >= 96 || !address_is_v4(&n.address))
        REQUIRE(network_parse(&again, out) == 0 && again.bits == n.bits &&
                memcmp(&again.address, &n.address, sizeof(n.address)) == 0);
    for (int i = 0; i < 128; i++) {
        struct address other = n.address;
        other.bytes[i / 8] ^= (uint8_t)(0x80 >> i % 8);
        REQUIRE(network_has(&n, &other) == (i >= n.bits));
    }
}

void fuzz_forwarded(const uint8_t *data, size_t size)
{
    char *lines[12];
    int count = 0;
    const uint8_t *p = data, *end = data + size;
    start();
    while (p < end && count < 12) {
        const uint8_t *line = memchr(p, '\n', (size_t)(end - p));
        lines[count] = fuzz_string(p, (size_t)((line ? line : end) - p));
        lines[count][strcspn(lines[count], "\r")] = '\0';
        check_network(lines[count++]);
        p = line ? line + 1 : end;
    }
    if (count > 0)
        check(lines[0], lines + 1, count - 1);
    while (count > 0)
        free(lines[--count]);
}
