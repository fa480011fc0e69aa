#include "net/extension.h"

#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/*
 * RFC 6455 section 9.1, with the lists and the white space of RFC 2616:
 *
 *     extension-list  = 1#extension
 *     extension       = token *( ";" extension-param )
 *     extension-param = token [ "=" ( token | quoted-string ) ]
 *
 * What a quoted string stands for has to be a token, too.
 */
struct scanner {
    const char *at;
};

/* A token, without the escapes of a quoted string. What matters here is short. */
struct token {
    char text[40];
    size_t len; /* longer than text can hold: what is there is no name or number known here */
};

struct param {
    struct token name, value;
    bool has_value;
};

static void skip_space(struct scanner *s)
{
    s->at += strspn(s->at, " \t");
}

static bool is_token_char(char c)
{
    return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static bool take(struct scanner *s, char c)
{
    skip_space(s);
    if (*s->at != c)
        return false;
    s->at++;
    skip_space(s);
    return true;
}

static bool add(struct token *t, char c)
{
    if (t->len < sizeof(t->text))
        t->text[t->len] = c;
    t->len++;
    return is_token_char(c);
}

static bool read_token(struct scanner *s, struct token *t)
{
    t->len = 0;
    while (is_token_char(*s->at))
        add(t, *s->at++);
    return t->len > 0;
}

static bool read_quoted(struct scanner *s, struct token *t)
{
    t->len = 0;
    for (s->at++; *s->at && *s->at != '"'; s->at++) {
        if (*s->at == '\\')
            s->at++;
        if (!*s->at || !add(t, *s->at))
            return false;
    }
    return *s->at++ == '"' && t->len > 0;
}

static bool read_param(struct scanner *s, struct param *p)
{
    if (!read_token(s, &p->name))
        return false;
    p->has_value = take(s, '=');
    if (!p->has_value)
        return true;
    return *s->at == '"' ? read_quoted(s, &p->value) : read_token(s, &p->value);
}

static bool is(const struct token *t, const char *text)
{
    return t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

/* 8 to 15 without leading zeros; 0: anything else. */
static int window_bits(const struct token *t)
{
    if (t->len == 1 && (t->text[0] == '8' || t->text[0] == '9'))
        return t->text[0] - '0';
    if (t->len == 2 && t->text[0] == '1' && t->text[1] >= '0' && t->text[1] <= '5')
        return 10 + t->text[1] - '0';
    return 0;
}

enum {
    SERVER_NO_TAKEOVER,
    CLIENT_NO_TAKEOVER,
    SERVER_BITS,
    CLIENT_BITS,
};
static const struct {
    const char *name;
    bool may_have_value, may_have_none;
} params[] = {
    [SERVER_NO_TAKEOVER] = {"server_no_context_takeover", false, true},
    [CLIENT_NO_TAKEOVER] = {"client_no_context_takeover", false, true},
    [SERVER_BITS] = {"server_max_window_bits", true, false},
    [CLIENT_BITS] = {"client_max_window_bits", true, true},
};
#define PARAMS (sizeof(params) / sizeof(*params))

/* One offer, as it is read. */
struct offer {
    bool good;
    unsigned seen; /* bits: parameters */
    int bits;      /* the server's */
};

static void consider(struct offer *o, const struct param *p)
{
    unsigned i = 0;

    while (i < PARAMS && !is(&p->name, params[i].name))
        i++;
    if (i == PARAMS || o->seen & 1u << i) {
        o->good = false;
        return;
    }
    o->seen |= 1u << i;
    if (!(p->has_value ? params[i].may_have_value && window_bits(&p->value)
                       : params[i].may_have_none))
        o->good = false;
    else if (i == SERVER_BITS)
        o->bits = window_bits(&p->value);
}

static bool read_extension(struct scanner *s, struct extension_choice *c)
{
    struct offer o = {.good = true, .bits = 15};
    struct token name;

    if (!read_token(s, &name))
        return false;
    while (take(s, ';')) {
        struct param p;

        if (!read_param(s, &p))
            return false;
        consider(&o, &p);
    }
    if (o.good && is(&name, "permessage-deflate") && !c->window_bits) {
        c->window_bits = o.bits;
        c->named = o.seen & 1u << SERVER_BITS;
    }
    return true;
}

int extension_read(struct extension_choice *c, const char *value)
{
    struct scanner s = {value};
    bool any = false;

    skip_space(&s);
    do {
        if (!*s.at || *s.at == ',') /* a list may have empty places */
            continue;
        if (!read_extension(&s, c))
            return STATUS_INVALID;
        any = true;
    } while (take(&s, ','));
    return any && !*s.at ? 0 : STATUS_INVALID;
}

size_t extension_answer(const struct extension_choice *c, char out[EXTENSION_ANSWER_MAX])
{
    char bits[32] = "";

    out[0] = '\0';
    if (!c->window_bits)
        return 0;
    if (c->named)
        snprintf(bits, sizeof(bits), "; server_max_window_bits=%d", c->window_bits);
    return (size_t)snprintf(out, EXTENSION_ANSWER_MAX,
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
        "client_no_context_takeover%s\r\n",
        bits);
}
