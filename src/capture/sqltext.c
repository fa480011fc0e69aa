#include "capture/sqltext.h"

#include "base/text.h"
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_id(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '$' || (c & 0x80);
}

static size_t line_comment(const char *s, size_t len)
{
    const char *end = memchr(s, '\n', len);
    return end ? (size_t)(end - s) + 1 : len;
}

static size_t block_comment(const char *s, size_t len)
{
    for (size_t i = 2; i + 1 < len; i++)
        if (s[i] == '*' && s[i + 1] == '/')
            return i + 2;
    return len;
}

static size_t skip_space(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (is_space(s[i]))
            i++;
        else if (len - i >= 2 && s[i] == '-' && s[i + 1] == '-')
            i += line_comment(s + i, len - i);
        else if (len - i >= 3 && s[i] == '/' && s[i + 1] == '*')
            i += block_comment(s + i, len - i);
        else
            break;
    }
    return i;
}

/* A string or quoted name; the quote is doubled inside. */
static size_t quoted(const char *s, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        if (s[i] != s[0])
            continue;
        if (i + 1 == len || s[i + 1] != s[0])
            return i + 1;
        i++;
    }
    return len;
}

static size_t bracketed(const char *s, size_t len)
{
    const char *end = memchr(s, ']', len);
    return end ? (size_t)(end - s) + 1 : len;
}

static size_t word(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len && is_id(s[i]))
        i++;
    return i;
}

/* ?, ?12, :name, @name, #name, $name::part(suffix) */
static size_t parameter(const char *s, size_t len)
{
    size_t i = 1, letters = 0;
    if (s[0] == '?') {
        while (i < len && is_digit(s[i]))
            i++;
        return i;
    }
    while (i < len) {
        if (is_id(s[i])) {
            letters++;
            i++;
        } else if (s[i] == '(' && letters > 0) {
            size_t end = i + 1;
            while (end < len && !is_space(s[end]) && s[end] != ')')
                end++;
            return end < len && s[end] == ')' ? end + 1 : i;
        } else if (s[i] == ':' && i + 1 < len && s[i + 1] == ':') {
            i += 2;
        } else {
            break;
        }
    }
    return i;
}

struct sqltext_token sqltext_next(const char *sql, size_t len, size_t *pos)
{
    *pos += skip_space(sql + *pos, len - *pos);
    const char *s = sql + *pos;
    size_t rest = len - *pos;
    struct sqltext_token t = {.kind = SQLTEXT_END, .p = s};
    if (rest == 0)
        return t;
    t.kind = SQLTEXT_OTHER;
    t.len = 1;
    if (*s == '\'' || *s == '"' || *s == '`') {
        t.len = quoted(s, rest);
    } else if (*s == '[') {
        t.len = bracketed(s, rest);
    } else if (*s == ';') {
        t.kind = SQLTEXT_SEMICOLON;
    } else if (strchr("?:@#$", *s) && *s) {
        t.len = parameter(s, rest);
        if (*s == '?' || t.len > 1)
            t.kind = SQLTEXT_PARAM;
    } else if (is_id(*s)) {
        t.len = word(s, rest);
        t.kind = is_digit(*s) ? SQLTEXT_OTHER : SQLTEXT_WORD;
    }
    *pos += t.len;
    return t;
}

bool sqltext_blank(const char *sql, size_t len)
{
    struct sqltext_token t;
    size_t pos = 0;
    do
        t = sqltext_next(sql, len, &pos);
    while (t.kind == SQLTEXT_SEMICOLON);
    return t.kind == SQLTEXT_END;
}

bool sqltext_single(const char *sql, size_t len)
{
    struct sqltext_token t;
    size_t pos = 0;
    while ((t = sqltext_next(sql, len, &pos)).kind == SQLTEXT_SEMICOLON)
        ;
    while (t.kind != SQLTEXT_END && t.kind != SQLTEXT_SEMICOLON)
        t = sqltext_next(sql, len, &pos);
    return sqltext_blank(sql + pos, len - pos);
}

bool sqltext_begins(const char *sql, size_t len, const char *expected)
{
    struct sqltext_token t;
    size_t pos = 0;
    while ((t = sqltext_next(sql, len, &pos)).kind == SQLTEXT_SEMICOLON)
        ;
    return t.kind == SQLTEXT_WORD && text_same_nocase(t.p, t.len, expected, strlen(expected));
}

bool sqltext_has_word(const char *sql, size_t len, const char *expected)
{
    struct sqltext_token t;
    size_t pos = 0;
    while ((t = sqltext_next(sql, len, &pos)).kind != SQLTEXT_END)
        if (t.kind == SQLTEXT_WORD && text_same_nocase(t.p, t.len, expected, strlen(expected)))
            return true;
    return false;
}
