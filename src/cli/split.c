#include "cli/split.h"
#include "base/text.h"

#include <string.h>

enum token { TOKEN_END, TOKEN_SEMICOLON, TOKEN_SPACE, TOKEN_WORD, TOKEN_OTHER, TOKEN_UNFINISHED };

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v');
}

/* From the first byte after an opening mark to behind `end`, or to the end of the text. */
static enum token take_until(
    const char *text, size_t len, size_t *at, const char *end, enum token token)
{
    const char *found = memmem(text + *at, len - *at, end, strlen(end));

    if (!found) {
        *at = len;
        return TOKEN_UNFINISHED;
    }
    *at = (size_t)(found - text) + strlen(end);
    return token;
}

static enum token take_line_comment(const char *text, size_t len, size_t *at)
{
    const char *newline = memchr(text + *at, '\n', len - *at);

    *at = newline ? (size_t)(newline - text) + 1 : len;
    return TOKEN_SPACE;
}

/* Moves *at behind one token. A doubled quote inside quotes is two tokens, which comes to the same.
 */
static enum token take(const char *text, size_t len, size_t *at)
{
    char c, second;

    if (*at >= len)
        return TOKEN_END;
    c = text[(*at)++];
    second = *at < len ? text[*at] : '\0';
    if (c == ';')
        return TOKEN_SEMICOLON;
    if (c == '-' && second == '-')
        return take_line_comment(text, len, at);
    if (c == '/' && second == '*') {
        ++*at;
        return take_until(text, len, at, "*/", TOKEN_SPACE);
    }
    if (c == '\'' || c == '"' || c == '`')
        return take_until(text, len, at, (char[]){c, '\0'}, TOKEN_OTHER);
    if (c == '[')
        return take_until(text, len, at, "]", TOKEN_OTHER);
    if (is_space(c))
        return TOKEN_SPACE;
    if (!is_word(c))
        return TOKEN_OTHER;
    while (*at < len && is_word(text[*at]))
        ++*at;
    return TOKEN_WORD;
}

static bool same(const char *text, size_t len, const char *word)
{
    return text_same_nocase(text, len, word, strlen(word));
}

/* The states of sqlite3_complete between the start and the end of one statement. */
enum state { START, NORMAL, EXPLAIN, CREATE, TRIGGER, TRIGGER_SEMICOLON, TRIGGER_END, DONE };

static enum state after_word(enum state state, const char *word, size_t len)
{
    switch (state) {
    case START:
    case EXPLAIN:
        if (same(word, len, "create"))
            return CREATE;
        return state == EXPLAIN || same(word, len, "explain") ? EXPLAIN : NORMAL;
    case CREATE:
        if (same(word, len, "trigger"))
            return TRIGGER;
        return same(word, len, "temp") || same(word, len, "temporary") ? CREATE : NORMAL;
    case TRIGGER_SEMICOLON:
        return same(word, len, "end") ? TRIGGER_END : TRIGGER;
    case TRIGGER_END:
        return TRIGGER;
    default:
        return state;
    }
}

static enum state after_semicolon(enum state state)
{
    return state == TRIGGER || state == TRIGGER_SEMICOLON ? TRIGGER_SEMICOLON : DONE;
}

static enum state after_other(enum state state)
{
    if (state == TRIGGER_SEMICOLON || state == TRIGGER_END)
        return TRIGGER;
    return state == START || state == CREATE ? NORMAL : state;
}

/* The n-th word (from 0) of a statement, or NULL. */
static const char *word_at(const struct split_statement *s, int n, size_t *len)
{
    size_t at = 0;

    for (;;) {
        size_t start = at;
        enum token token = take(s->sql, s->len, &at);

        if (token == TOKEN_SPACE)
            continue;
        if (token != TOKEN_WORD && token != TOKEN_OTHER)
            return NULL;
        if (n-- == 0) {
            *len = at - start;
            return s->sql + start;
        }
    }
}

static bool word_is(const struct split_statement *s, int n, const char *word)
{
    size_t len;
    const char *found = word_at(s, n, &len);

    return found && same(found, len, word);
}

static enum split_kind kind_of(const struct split_statement *s)
{
    static const struct {
        const char *word;
        enum split_kind kind;
    } kinds[] = {{"begin", SPLIT_BEGIN}, {"commit", SPLIT_COMMIT}, {"end", SPLIT_COMMIT},
        {"savepoint", SPLIT_SAVEPOINT}, {"release", SPLIT_RELEASE}, {"insert", SPLIT_CHANGE},
        {"replace", SPLIT_CHANGE}, {"update", SPLIT_CHANGE}, {"delete", SPLIT_CHANGE},
        {"with", SPLIT_CHANGE}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (word_is(s, 0, kinds[i].word))
            return kinds[i].kind;
    if (word_is(s, 0, "rollback") && !word_is(s, 1, "to") && !word_is(s, 2, "to"))
        return SPLIT_ROLLBACK;
    return SPLIT_OTHER;
}

bool split_next(const char *text, size_t len, size_t *at, struct split_statement *out)
{
    enum state state = START;
    enum token token = TOKEN_SPACE;
    size_t start = *at, end;

    while (state != DONE && token != TOKEN_END && token != TOKEN_UNFINISHED) {
        start = state == START ? *at : start;
        end = *at;
        token = take(text, len, at);
        if (token == TOKEN_SEMICOLON)
            state = state == START ? START : after_semicolon(state);
        else if (token == TOKEN_WORD)
            state = after_word(state, text + end, *at - end);
        else if (token == TOKEN_OTHER)
            state = after_other(state);
    }
    /* An open comment at the end is no statement; an open quote is the beginning of one. */
    if (state == START && (token != TOKEN_UNFINISHED || text[start] == '/'))
        return false;
    out->sql = text + start;
    out->len = *at - start;
    out->complete = state == DONE;
    out->kind = kind_of(out);
    return true;
}

static bool is_outermost(const struct split_transaction *t, const struct split_statement *s)
{
    int n = s->kind == SPLIT_RELEASE && word_is(s, 1, "savepoint") ? 2 : 1;
    size_t len;
    const char *name = word_at(s, n, &len);

    return name && text_same_nocase(name, len, t->name, t->name_len);
}

static void open_savepoint(struct split_transaction *t, const struct split_statement *s)
{
    if (!t->open) {
        t->name = word_at(s, 1, &t->name_len);
        t->open = t->name != NULL;
        t->begun = false;
        t->depth = t->open;
    } else if (!t->begun) {
        t->depth += is_outermost(t, s);
    }
}

void split_track(struct split_transaction *t, const struct split_statement *s)
{
    switch (s->kind) {
    case SPLIT_BEGIN:
        t->begun = t->begun || !t->open;
        t->open = true;
        break;
    case SPLIT_COMMIT:
    case SPLIT_ROLLBACK:
        *t = (struct split_transaction){0};
        break;
    case SPLIT_SAVEPOINT:
        open_savepoint(t, s);
        break;
    case SPLIT_RELEASE:
        if (t->open && !t->begun && is_outermost(t, s) && --t->depth == 0)
            *t = (struct split_transaction){0};
        break;
    default:
        break;
    }
}

size_t split_unit(const char *text, size_t len, size_t *at, bool *complete)
{
    struct split_transaction t = {0};
    struct split_statement s;
    size_t next = *at, start = 0, end = 0;

    *complete = false;
    while (split_next(text, len, &next, &s)) {
        if (end == 0)
            start = (size_t)(s.sql - text);
        end = (size_t)(s.sql - text) + s.len;
        split_track(&t, &s);
        if (!t.open) {
            *complete = s.complete;
            break;
        }
    }
    if (end == 0)
        return 0;
    *at = start;
    return end - start;
}

bool split_complete(const char *text, size_t len)
{
    struct split_transaction t = {0};
    struct split_statement s;
    size_t at = 0;
    bool complete = false;

    while (split_next(text, len, &at, &s)) {
        split_track(&t, &s);
        complete = s.complete && !t.open;
    }
    return complete;
}

bool split_blank(const char *text, size_t len)
{
    enum token token;
    size_t at = 0;

    do
        token = take(text, len, &at);
    while (token == TOKEN_SPACE || token == TOKEN_SEMICOLON);
    return token == TOKEN_END;
}

size_t split_line(const char *text, size_t offset)
{
    size_t line = 1;

    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return line;
}
