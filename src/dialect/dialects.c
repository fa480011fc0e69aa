#include "dialect/dialects.h"
#include "dialect/native.h"

#include <string.h>

static const struct dialect_route routes[] = {
    {"/ws", &native_dialect},
};

const struct dialect_route *dialects_at(int i)
{
    return i >= 0 && (size_t)i < sizeof(routes) / sizeof(routes[0]) ? &routes[i] : NULL;
}

const struct dialect *dialects_find(const char *path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (strcmp(routes[i].path, path) == 0)
            return routes[i].dialect;
    return NULL;
}
