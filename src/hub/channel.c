#include "hub/channel.h"

#include "base/mem.h"

#include <string.h>

bool channel_name_valid(const char *name, size_t len)
{
    if (len < 1 || len > CHANNEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            c != '_' && c != ':' && c != '.' && c != '-')
            return false;
    }
    return true;
}

bool channel_is(const char *name, size_t len, const char *which)
{
    return len == strlen(which) && memcmp(name, which, len) == 0;
}

bool channel_server_speaks(const char *name, size_t len)
{
    return channel_is(name, len, "tables") || channel_is(name, len, "queries");
}

struct channel *channel_find(const struct map *channels, const char *name, size_t len)
{
    return map_get(channels, name, len);
}

static struct channel *create(struct map *channels, const char *name, size_t len)
{
    struct channel *c = mem_zalloc(sizeof(*c) + len);

    if (!c)
        return NULL;
    list_init(&c->members);
    c->len = len;
    memcpy(c->name, name, len);
    if (map_set(channels, name, len, c) < 0) {
        mem_free(c);
        return NULL;
    }
    return c;
}

bool channel_is_tables(const struct channel *c)
{
    return c->len == strlen("tables") && memcmp(c->name, "tables", c->len) == 0;
}

struct membership *channel_join(
    struct map *channels, const char *name, size_t len, struct session *session)
{
    struct membership *m = mem_zalloc(sizeof(*m));
    struct channel *c;

    if (!m)
        return NULL;
    c = channel_find(channels, name, len);
    if (!c)
        c = create(channels, name, len);
    if (!c) {
        mem_free(m);
        return NULL;
    }
    m->channel = c;
    m->session = session;
    m->self = true;
    list_add_tail(&c->members, &m->node);
    c->count++;
    return m;
}

void channel_leave(struct map *channels, struct membership *m)
{
    struct channel *c = m->channel;

    list_del(&m->node);
    mem_free(m);
    if (--c->count > 0)
        return;
    map_del(channels, c->name, c->len);
    mem_free(c);
}
