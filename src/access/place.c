#include "access/place.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

void place_put(const struct place *p, struct buf *out)
{
    for (int i = 0; i < p->depth; i++) {
        const struct place_step *s = &p->steps[i];

        if (s->name)
            buf_printf(out, "%s%.64s", i ? "." : "", s->name);
        else
            buf_printf(out, "[%zu]", s->index);
    }
    if (p->depth == 0)
        buf_puts(out, "the file");
}

/* Walks over valid JSON without building anything; braces and quotes are all that matters. */
struct walk {
    const char *text;
    size_t len, pos;
};

static void skip_spaces(struct walk *w)
{
    while (w->pos < w->len && strchr(" \t\r\n", w->text[w->pos]))
        w->pos++;
}

static char next(struct walk *w)
{
    skip_spaces(w);
    return w->pos < w->len ? w->text[w->pos] : 0;
}

static void skip_string(struct walk *w)
{
    for (w->pos++; w->pos < w->len && w->text[w->pos] != '"'; w->pos++)
        if (w->text[w->pos] == '\\')
            w->pos++;
    w->pos++;
}

static void skip_value(struct walk *w)
{
    int depth = 0;

    do {
        char c = next(w);

        if (c == '"') {
            skip_string(w);
        } else if (c) {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            w->pos++;
            /* A number or a word ends where something else begins. */
            while (depth == 0 && w->pos < w->len && !strchr(" \t\r\n,:{}[]\"", w->text[w->pos]) &&
                   !strchr("{}[]", c))
                w->pos++;
        }
    } while (depth > 0 && w->pos < w->len);
}

/* Whether the string that begins here is this one, whatever escapes it is written with. */
static bool is_name(const struct walk *w, const char *name)
{
    struct walk end = *w;
    json_t *value;
    bool same;

    skip_string(&end);
    if (end.pos > w->len)
        return false;
    value = json_loadb(w->text + w->pos, end.pos - w->pos, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    same = json_is_string(value) && strcmp(json_string_value(value), name) == 0;
    json_decref(value);
    return same;
}

/* Into the object or list that begins here, to the wanted value; false: it is not there. */
static bool enter(struct walk *w, const struct place_step *s)
{
    if (next(w) != (s->name ? '{' : '['))
        return false;
    w->pos++;
    for (size_t i = 0; next(w) && !strchr("]}", next(w)); i++) {
        bool found = s->name ? is_name(w, s->name) : i == s->index;

        if (s->name) {
            skip_string(w);
            if (next(w) == ':')
                w->pos++;
        }
        if (found)
            return true;
        skip_value(w);
        if (next(w) == ',')
            w->pos++;
    }
    return false;
}

size_t place_line(const struct place *p, const char *text, size_t len)
{
    struct walk w = {.text = text, .len = len};
    size_t line = 1;

    for (int i = 0; i < p->depth; i++)
        if (!enter(&w, &p->steps[i]))
            return 0;
    skip_spaces(&w);
    for (size_t i = 0; i < w.pos && i < len; i++)
        line += text[i] == '\n';
    return line;
}
