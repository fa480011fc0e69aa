#include "http/listen.h"
#include "base/status.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 255

/* Digits only, 0 to 65535; -1 otherwise. */
static int parse_port(const char *s, size_t len)
{
    int64_t port;

    if (len == 0 || len > 5 || strspn(s, "0123456789") < len)
        return -1;
    if (text_parse_i64(s, len, &port) < 0 || port > 65535)
        return -1;
    return (int)port;
}

static int parse_ip(struct listen_address *out, const char *s, size_t len, bool bracketed)
{
    char text[INET6_ADDRSTRLEN];

    if (len == 0 || len >= sizeof(text))
        return STATUS_INVALID;
    memcpy(text, s, len);
    text[len] = '\0';
    memset(out, 0, sizeof(*out));
    out->sa.sa_family = bracketed ? AF_INET6 : AF_INET;
    if (inet_pton(out->sa.sa_family, text,
            bracketed ? (void *)&out->in6.sin6_addr : (void *)&out->in.sin_addr) != 1)
        return STATUS_INVALID;
    return 0;
}

/* Splits "name:port", "[v6]:port" or "name"; the port is empty when absent. False: malformed. */
static bool split_authority(const char *s, size_t len, const char **name, size_t *name_len,
    const char **port, size_t *port_len, bool *bracketed)
{
    const char *end = s + len, *p;

    *bracketed = len && *s == '[';
    if (*bracketed) {
        p = memchr(s, ']', len);
        if (!p)
            return false;
        *name = s + 1;
        *name_len = (size_t)(p - s - 1);
        p++;
    } else {
        p = memchr(s, ':', len);
        p = p ? p : end;
        *name = s;
        *name_len = (size_t)(p - s);
    }
    if (p < end && *p != ':')
        return false;
    *port = p < end ? p + 1 : end;
    *port_len = (size_t)(end - *port);
    return *name_len > 0;
}

int listen_parse(struct listen_address *out, const char *s)
{
    const char *name, *port_text;
    size_t name_len, port_len;
    bool bracketed;
    int port = parse_port(s, strlen(s));

    if (port >= 0) {
        parse_ip(out, "127.0.0.1", 9, false);
    } else {
        if (!split_authority(s, strlen(s), &name, &name_len, &port_text, &port_len, &bracketed))
            return STATUS_INVALID;
        if (text_same_nocase(name, name_len, "localhost", 9) && !bracketed) {
            name = "127.0.0.1";
            name_len = 9;
        } else if (name_len == 1 && *name == '*' && !bracketed) {
            name = "0.0.0.0";
            name_len = 7;
        }
        port = parse_port(port_text, port_len);
        if (port < 0 || parse_ip(out, name, name_len, bracketed) < 0)
            return STATUS_INVALID;
    }
    listen_set_port(out, port);
    return 0;
}

int listen_port(const struct listen_address *a)
{
    return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

void listen_set_port(struct listen_address *a, int port)
{
    if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons((uint16_t)port);
    else
        a->in.sin_port = htons((uint16_t)port);
}

bool listen_is_loopback(const struct listen_address *a)
{
    if (a->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
    return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}

bool listen_is_any(const struct listen_address *a)
{
    if (a->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
    return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

void listen_format(char out[LISTEN_TEXT_MAX], const struct listen_address *a)
{
    char text[INET6_ADDRSTRLEN] = "?";
    bool v6 = a->sa.sa_family == AF_INET6;

    inet_ntop(a->sa.sa_family, v6 ? (const void *)&a->in6.sin6_addr : (const void *)&a->in.sin_addr,
        text, sizeof(text));
    snprintf(out, LISTEN_TEXT_MAX, v6 ? "[%s]:%d" : "%s:%d", text, listen_port(a));
}

/* The part after "http://" or "https://", or NULL. *secure tells which. */
static const char *after_scheme(const char *origin, bool *secure)
{
    *secure = text_ncasecmp(origin, "https://", 8) == 0;
    if (*secure)
        return origin + 8;
    return text_ncasecmp(origin, "http://", 7) == 0 ? origin + 7 : NULL;
}

bool listen_origin_valid(const char *origin)
{
    const char *name, *port;
    size_t name_len, port_len;
    bool bracketed, secure;
    const char *rest = after_scheme(origin, &secure);

    if (!rest || strlen(rest) > NAME_MAX_LEN || strpbrk(rest, "/?#@ \t\"\\,"))
        return false;
    if (!split_authority(rest, strlen(rest), &name, &name_len, &port, &port_len, &bracketed))
        return false;
    return rest[strlen(rest) - 1] != ':' && (port_len == 0 || parse_port(port, port_len) > 0);
}

static bool same_ip(const struct listen_address *a, const struct listen_address *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
}

/*
 * A page cannot make a browser send an IP literal as Host unless the connection really goes there,
 * so with a listener on every address any literal of that family is the address connected to.
 */
static bool ip_allowed(const struct listen_names *names, const struct listen_address *ip)
{
    if (listen_is_loopback(ip))
        return true;
    for (int i = 0; i < names->address_count; i++) {
        const struct listen_address *a = &names->addresses[i];

        if (same_ip(a, ip) || (listen_is_any(a) && a->sa.sa_family == ip->sa.sa_family))
            return true;
    }
    return false;
}

static bool origin_has_name(const char *origin, const char *name, size_t len)
{
    const char *oname, *oport;
    size_t oname_len, oport_len;
    bool bracketed, secure;
    const char *rest = after_scheme(origin, &secure);

    return rest &&
           split_authority(
               rest, strlen(rest), &oname, &oname_len, &oport, &oport_len, &bracketed) &&
           text_same_nocase(oname, oname_len, name, len);
}

bool listen_host_allowed(const struct listen_names *names, const char *host)
{
    const char *name, *port;
    size_t name_len, port_len;
    bool bracketed;
    struct listen_address ip;

    if (!host || strlen(host) > NAME_MAX_LEN)
        return false;
    if (!split_authority(host, strlen(host), &name, &name_len, &port, &port_len, &bracketed))
        return false;
    if (port_len && parse_port(port, port_len) < 0)
        return false;
    if (parse_ip(&ip, name, name_len, bracketed) == 0 && ip_allowed(names, &ip))
        return true;
    if (!bracketed && text_same_nocase(name, name_len, "localhost", 9))
        return true;
    for (int i = 0; i < names->origin_count; i++)
        if (origin_has_name(names->origins[i], name, name_len))
            return true;
    return false;
}

/* Compares with the scheme's default port left out on either side, as browsers do. */
static bool same_authority(const char *a, const char *b, const char *default_port)
{
    const char *aname, *aport, *bname, *bport;
    size_t aname_len, aport_len, bname_len, bport_len;
    bool abracket, bbracket;

    if (!split_authority(a, strlen(a), &aname, &aname_len, &aport, &aport_len, &abracket) ||
        !split_authority(b, strlen(b), &bname, &bname_len, &bport, &bport_len, &bbracket))
        return false;
    if (aport_len == 0) {
        aport = default_port;
        aport_len = strlen(default_port);
    }
    if (bport_len == 0) {
        bport = default_port;
        bport_len = strlen(default_port);
    }
    return abracket == bbracket && text_same_nocase(aname, aname_len, bname, bname_len) &&
           parse_port(aport, aport_len) >= 0 &&
           parse_port(aport, aport_len) == parse_port(bport, bport_len);
}

bool listen_origin_listed(const struct listen_names *names, const char *origin)
{
    bool secure, listed_secure;
    const char *rest = after_scheme(origin, &secure);

    for (int i = 0; rest && i < names->origin_count; i++) {
        const char *listed = after_scheme(names->origins[i], &listed_secure);

        if (secure == listed_secure && same_authority(rest, listed, secure ? "443" : "80"))
            return true;
    }
    return false;
}

bool listen_origin_same(const char *origin, const char *host)
{
    bool secure;
    const char *rest = after_scheme(origin, &secure);

    return rest && host && same_authority(rest, host, secure ? "443" : "80");
}
