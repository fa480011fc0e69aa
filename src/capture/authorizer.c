#include "capture/authorizer.h"

#include "base/mem.h"
#include "base/text.h"
#include "capture/refuse.h"
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { DDL = 1, DML = 2, NAME_A = 4, NAME_B = 8, REFUSED = 16 };

/* What each action means for capture, and which of its two arguments name objects. */
static const struct rule {
    int code;
    int flags;
    const char *refusal;
} rules[] = {
    {SQLITE_CREATE_INDEX, DDL | NAME_A | NAME_B, NULL},
    {SQLITE_CREATE_TABLE, DDL | NAME_A, NULL},
    {SQLITE_CREATE_TRIGGER, DDL | NAME_A | NAME_B, NULL},
    {SQLITE_CREATE_VIEW, DDL | NAME_A, NULL},
    {SQLITE_CREATE_VTABLE, DDL | NAME_A, NULL},
    {SQLITE_DROP_INDEX, DDL | NAME_A | NAME_B, NULL},
    {SQLITE_DROP_TABLE, DDL | NAME_A, NULL},
    {SQLITE_DROP_TRIGGER, DDL | NAME_A | NAME_B, NULL},
    {SQLITE_DROP_VIEW, DDL | NAME_A, NULL},
    {SQLITE_DROP_VTABLE, DDL | NAME_A, NULL},
    {SQLITE_ALTER_TABLE, DDL | NAME_B, NULL},
    {SQLITE_ANALYZE, DDL, NULL},
    {SQLITE_INSERT, DML | NAME_A, NULL},
    {SQLITE_UPDATE, DML | NAME_A, NULL},
    {SQLITE_DELETE, DML | NAME_A, NULL},
    {SQLITE_READ, NAME_A, NULL},
    {SQLITE_CREATE_TEMP_INDEX, REFUSED, "temporary indexes"},
    {SQLITE_CREATE_TEMP_TABLE, REFUSED, "temporary tables"},
    {SQLITE_CREATE_TEMP_TRIGGER, REFUSED, "temporary triggers"},
    {SQLITE_CREATE_TEMP_VIEW, REFUSED, "temporary views"},
    {SQLITE_DROP_TEMP_INDEX, REFUSED, "temporary indexes"},
    {SQLITE_DROP_TEMP_TABLE, REFUSED, "temporary tables"},
    {SQLITE_DROP_TEMP_TRIGGER, REFUSED, "temporary triggers"},
    {SQLITE_DROP_TEMP_VIEW, REFUSED, "temporary views"},
};

void statement_report_fini(struct statement_report *r)
{
    mem_free(r->savepoint);
    r->savepoint = NULL;
}

static bool reserved(const char *name)
{
    return name && text_ncasecmp(name, "rowtap_", 7) == 0;
}

static int deny(struct authorizer *a, const char *fmt, const char *what)
{
    snprintf(a->denied, sizeof(a->denied), fmt, what);
    return SQLITE_DENY;
}

static int check_object(struct authorizer *a, const struct rule *rule, const char *first,
    const char *second, const char *schema)
{
    bool temporary = rule->flags & DDL && schema && text_casecmp(schema, "temp") == 0;
    if (rule->flags & REFUSED || temporary)
        return deny(a,
            "%s are refused here: one connection serves everybody, so nothing in it can "
            "belong to one client; use a CTE or an ordinary table",
            temporary ? "temporary tables" : rule->refusal);
    const char *name = rule->flags & NAME_A && reserved(first)    ? first
                       : rule->flags & NAME_B && reserved(second) ? second
                                                                  : NULL;
    if (name)
        return deny(a,
            "the name %.64s is refused: names that begin with rowtap_ are kept for the "
            "server's own tables",
            name);
    if (rule->flags & DDL)
        a->report->ddl = true;
    if (rule->flags & DML)
        a->report->dml = true;
    return SQLITE_OK;
}

static int check_control(struct authorizer *a, int code, const char *verb, const char *name)
{
    static const struct {
        int code;
        const char *verb;
        enum control control;
    } controls[] = {
        {SQLITE_TRANSACTION, "BEGIN", CONTROL_BEGIN},
        {SQLITE_TRANSACTION, "COMMIT", CONTROL_COMMIT},
        {SQLITE_TRANSACTION, "ROLLBACK", CONTROL_ROLLBACK},
        {SQLITE_SAVEPOINT, "BEGIN", CONTROL_SAVEPOINT},
        {SQLITE_SAVEPOINT, "RELEASE", CONTROL_RELEASE},
        {SQLITE_SAVEPOINT, "ROLLBACK", CONTROL_ROLLBACK_TO},
    };
    struct statement_report *r = a->report;
    if (!a->preparing)
        return SQLITE_OK;
    for (size_t i = 0; i < sizeof(controls) / sizeof(*controls); i++)
        if (controls[i].code == code && strcmp(controls[i].verb, verb) == 0)
            r->control = controls[i].control;
    if (code != SQLITE_SAVEPOINT)
        return SQLITE_OK;
    if (reserved(name))
        return deny(a,
            "the savepoint name %.64s is refused: names that begin with rowtap_ are kept "
            "for the server",
            name);
    mem_free(r->savepoint);
    r->savepoint = mem_strdup(name);
    return r->savepoint ? SQLITE_OK : deny(a, "%s", "out of memory");
}

static int check_attach(struct authorizer *a, const char *file)
{
    /* VACUUM attaches a nameless temporary database while it runs, VACUUM INTO the file it writes.
     */
    if (!a->report->vacuum)
        return deny(a, "%s is refused here: the server serves one file", "ATTACH");
    if (!file || *file)
        return deny(
            a, "%s is refused here: it would write another file on the server", "VACUUM INTO");
    return SQLITE_OK;
}

static int check_function(struct authorizer *a, const char *name)
{
    if (text_casecmp(name, "load_extension") == 0 || text_casecmp(name, "fts3_tokenizer") == 0)
        return deny(
            a, "the function %.64s is refused here: it would run foreign code in the server", name);
    return SQLITE_OK;
}

static int check_pragma(struct authorizer *a, const char *name, const char *value)
{
    const struct pragma_rule *rule = refuse_find_pragma(name, value);
    if (!rule)
        return deny(a,
            "PRAGMA %.64s is not allowed here: it would change how the server uses the "
            "file",
            name);
    a->report->alone |= rule->alone;
    a->report->writer |= rule->writer;
    return SQLITE_OK;
}

int authorizer_check(
    void *ctx, int code, const char *a, const char *b, const char *schema, const char *trigger)
{
    struct authorizer *auth = ctx;
    (void)trigger;
    if (!auth->report || (auth->report->vacuum && !auth->preparing && code != SQLITE_ATTACH))
        return SQLITE_OK;
    switch (code) {
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return check_control(auth, code, a, b);
    case SQLITE_ATTACH:
        return check_attach(auth, a);
    case SQLITE_DETACH:
        return deny(auth, "%s is refused here: the server serves one file", "DETACH");
    case SQLITE_FUNCTION:
        return check_function(auth, b);
    case SQLITE_PRAGMA:
        return check_pragma(auth, a, b);
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
        if (rules[i].code == code)
            return check_object(auth, &rules[i], a, b, schema);
    return SQLITE_OK;
}
