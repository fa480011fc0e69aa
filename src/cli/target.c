#include "cli/target.h"
#include "base/status.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *scheme, *http;
} schemes[] = {
    {"http://", "http://"},
    {"https://", "https://"},
    {"ws://", "http://"},
    {"wss://", "https://"},
};

static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int check(const char *rest)
{
    if (!*rest || *rest == '/' || *rest == ':')
        return STATUS_INVALID;
    for (const char *p = rest; *p; p++)
        if (*p <= ' ' || *p == 0x7f || strchr("?#@\"\\", *p))
            return STATUS_INVALID;
    return 0;
}

int target_resolve(struct target *t, struct buf *base, struct buf *err)
{
    const char *rest, *http = "http://";
    size_t len;

    if (!t->url)
        t->url = environment("ROWTAP_URL");
    if (!t->url)
        t->url = "http://127.0.0.1:8080";
    if (!t->token)
        t->token = environment("ROWTAP_TOKEN");
    if (!t->cacert)
        t->cacert = environment("ROWTAP_CACERT");
    rest = t->url;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i].scheme);

        if (text_ncasecmp(rest, schemes[i].scheme, n) == 0) {
            rest += n;
            http = schemes[i].http;
            break;
        }
    }
    if (strstr(rest, "://") || check(rest) < 0) {
        buf_printf(
            err, "\"%s\" is not an address of a server; write it as http://HOST:PORT", t->url);
        return STATUS_INVALID;
    }
    if (t->token && strpbrk(t->token, "\r\n")) {
        buf_puts(err, "the token contains a line break");
        return STATUS_INVALID;
    }
    len = strlen(rest);
    while (len && rest[len - 1] == '/')
        len--;
    buf_puts(base, http);
    buf_put(base, rest, len);
    return buf_text(base) ? 0 : STATUS_NOMEM;
}

bool target_is_loopback(const char *base)
{
    static const char *const hosts[] = {"127.", "localhost", "[::1]"};
    const char *host = strstr(base, "://");

    for (size_t i = 0; host && i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (text_ncasecmp(host + 3, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return false;
}
