#include "capture/params.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/sqlerror.h"
#include "capture/sqltext.h"
#include "capture/values.h"
#include <string.h>

static int highest_number(const struct sqltext_token *t, int count)
{
    int64_t number;
    if (text_parse_i64(t->p + 1, t->len - 1, &number) < 0 || number < count)
        return count;
    return number > INT32_MAX ? INT32_MAX : (int)number;
}

/*
 * How many values by position the text takes: for each statement the highest number of a parameter,
 * counted as SQLite does (https://www.sqlite.org/lang_expr.html#varparam).
 */
static int count_positions(const char *sql, size_t len, int64_t *total)
{
    struct map seen = {0};
    struct sqltext_token t;
    size_t pos = 0;
    int count = 0, status = STATUS_OK;
    *total = 0;
    do {
        t = sqltext_next(sql, len, &pos);
        if (t.kind == SQLTEXT_SEMICOLON || t.kind == SQLTEXT_END) {
            *total += count;
            count = 0;
            map_fini(&seen);
            seen = (struct map){0};
        } else if (t.kind == SQLTEXT_PARAM && t.len > 1 && t.p[0] == '?') {
            count = highest_number(&t, count);
        } else if (t.kind == SQLTEXT_PARAM && (t.len == 1 || !map_get(&seen, t.p, t.len))) {
            count++;
            if (t.len > 1)
                status = map_set(&seen, t.p, t.len, &seen);
        }
    } while (t.kind != SQLTEXT_END && status == STATUS_OK);
    map_fini(&seen);
    return status;
}

static int check_positions(const struct sql_statement *s, int known, struct sql_error *error)
{
    int64_t wanted = known;
    int status = known < 0 ? count_positions(s->sql, s->len, &wanted) : STATUS_OK;
    if (status < 0 || wanted == s->param_count)
        return status;
    sqlerror_set(error, "INVALID_FORMAT", "the SQL takes %lld parameter%s but %d %s given",
        (long long)wanted, wanted == 1 ? "" : "s", s->param_count,
        s->param_count == 1 ? "was" : "were");
    return STATUS_INVALID;
}

static int fill_names(struct params *p, struct sql_error *error)
{
    const struct sql_statement *s = p->from;
    for (int i = 0; i < s->param_count; i++) {
        const char *name = s->params[i].name;
        if (!name) {
            sqlerror_set(error, "INVALID_FORMAT", "parameter %d has no name", i + 1);
            return STATUS_INVALID;
        }
        if (map_get(&p->names, name, strlen(name))) {
            sqlerror_set(error, "INVALID_FORMAT", "the parameter %.64s is given twice", name);
            return STATUS_INVALID;
        }
        if (map_set(&p->names, name, strlen(name), &s->params[i]) < 0)
            return STATUS_NOMEM;
    }
    return STATUS_OK;
}

static int check_mentions(struct params *p, struct map *used, struct sql_error *error)
{
    const struct sql_statement *s = p->from;
    struct sqltext_token t;
    size_t pos = 0;
    while ((t = sqltext_next(s->sql, s->len, &pos)).kind != SQLTEXT_END) {
        if (t.kind != SQLTEXT_PARAM)
            continue;
        if (t.p[0] == '?') {
            sqlerror_set(error, "INVALID_FORMAT",
                "the SQL has a parameter by position (?): give the parameters as an array, or name "
                "it (:name)");
            return STATUS_INVALID;
        }
        struct sql_param *param = map_get(&p->names, t.p + 1, t.len - 1);
        if (!param) {
            sqlerror_set(error, "INVALID_FORMAT", "the parameter %.*s was not given",
                (int)(t.len < 64 ? t.len : 64), t.p);
            return STATUS_INVALID;
        }
        if (map_set(used, t.p + 1, t.len - 1, param) < 0)
            return STATUS_NOMEM;
    }
    return STATUS_OK;
}

static int check_names(struct params *p, struct sql_error *error)
{
    const struct sql_statement *s = p->from;
    struct map used = {0};
    int status = fill_names(p, error);
    if (status == STATUS_OK)
        status = check_mentions(p, &used, error);
    for (int i = 0; status == STATUS_OK && i < s->param_count; i++) {
        const char *name = s->params[i].name;
        if (map_get(&used, name, strlen(name)))
            continue;
        sqlerror_set(error, "INVALID_FORMAT", "the SQL has no parameter :%.64s", name);
        status = STATUS_INVALID;
    }
    map_fini(&used);
    return status;
}

int params_init(
    struct params *p, const struct sql_statement *from, int known, struct sql_error *error)
{
    *p = (struct params){.from = from};
    return from->named ? check_names(p, error) : check_positions(from, known, error);
}

void params_fini(struct params *p)
{
    map_fini(&p->names);
}

int params_bind(struct params *p, struct prepared *statement)
{
    sqlite3_stmt *s = statement->stmt;
    int count = sqlite3_bind_parameter_count(s);
    for (int i = 1; i <= count; i++) {
        const struct sql_param *param = NULL;
        const char *name = p->from->named ? sqlite3_bind_parameter_name(s, i) : NULL;
        if (!p->from->named && p->next < p->from->param_count)
            param = &p->from->params[p->next++];
        else if (name)
            param = map_get(&p->names, name + 1, strlen(name + 1));
        if (!param)
            return SQLITE_RANGE;
        int rc = values_bind(s, i, &param->value);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}
