#include "capture/values.h"

#include "base/status.h"

static bool is_utf8(sqlite3_value *v)
{
#if SQLITE_VERSION_NUMBER >= 3040000
    return sqlite3_value_encoding(v) == SQLITE_UTF8;
#else
    (void)v;
    return false;
#endif
}

/* sqlite3_value_text would copy it all to put a NUL behind it. */
static int text_from(struct value *v, sqlite3_value *from)
{
    bool as_it_is = is_utf8(from);
    v->type = VALUE_TEXT;
    v->p = as_it_is ? sqlite3_value_blob(from) : (const char *)sqlite3_value_text(from);
    v->len = (uint32_t)sqlite3_value_bytes(from);
    if (as_it_is && v->len == 0)
        v->p = "";
    return v->p ? STATUS_OK : STATUS_NOMEM;
}

int values_from(struct value *v, sqlite3_value *from, enum affinity affinity)
{
    *v = (struct value){.type = VALUE_NULL};
    switch (sqlite3_value_type(from)) {
    case SQLITE_INTEGER:
        v->type = affinity == AFFINITY_REAL ? VALUE_REAL : VALUE_INTEGER;
        if (affinity == AFFINITY_REAL)
            v->r = (double)sqlite3_value_int64(from);
        else
            v->i = sqlite3_value_int64(from);
        break;
    case SQLITE_FLOAT:
        v->type = VALUE_REAL;
        v->r = sqlite3_value_double(from);
        break;
    case SQLITE_TEXT:
        return text_from(v, from);
    case SQLITE_BLOB:
        v->type = VALUE_BLOB;
        v->p = sqlite3_value_blob(from);
        v->len = (uint32_t)sqlite3_value_bytes(from);
        return v->p || v->len == 0 ? STATUS_OK : STATUS_NOMEM;
    }
    return STATUS_OK;
}

int values_bind(sqlite3_stmt *s, int index, const struct value *v)
{
    switch (v->type) {
    case VALUE_INTEGER:
        return sqlite3_bind_int64(s, index, v->i);
    case VALUE_REAL:
        return sqlite3_bind_double(s, index, v->r);
    case VALUE_TEXT:
        return sqlite3_bind_text64(
            s, index, v->len ? v->p : "", v->len, SQLITE_STATIC, SQLITE_UTF8);
    case VALUE_BLOB:
        return v->len ? sqlite3_bind_blob64(s, index, v->p, v->len, SQLITE_STATIC)
                      : sqlite3_bind_zeroblob(s, index, 0);
    }
    return sqlite3_bind_null(s, index);
}
