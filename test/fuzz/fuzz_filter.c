#include "fuzz.h"

#include "../change/fixture.h"
#include "base/status.h"
#include "base/text.h"
#include "filter/filter.h"
#include "filter/filter_index.h"
#include "filter/filter_sql.h"
#include <math.h>
#include <sqlite3.h>

/*
 * Filters: SQLite, asked with the SQL that stands for a filter, keeps the same rows of a table, and
 * the index finds the same filters as trying each. The first byte is the collation, each line a
 * filter.
 */
#define ROWS 160
#define COLUMNS 5

/* The rows are what SQLite made of the values, one in all columns. */
struct subject {
    sqlite3 *db;
    struct table *table;
    sqlite3_stmt *insert, *look;
    struct value rows[ROWS][COLUMNS];
    int fixed, count;
};

static const char *const collations[] = {"BINARY", "NOCASE", "RTRIM"};
static struct subject subjects[3];

static const struct value stored[] = {
    {.type = VALUE_NULL},
    {.i = 0, .type = VALUE_INTEGER},
    {.i = 18, .type = VALUE_INTEGER},
    {.i = -5, .type = VALUE_INTEGER},
    {.i = INT64_MAX, .type = VALUE_INTEGER},
    {.i = INT64_MIN, .type = VALUE_INTEGER},
    {.i = 9007199254740993, .type = VALUE_INTEGER},
    {.r = -0.0, .type = VALUE_REAL},
    {.r = 5.5, .type = VALUE_REAL},
    {.r = 9007199254740992.0, .type = VALUE_REAL},
    {.r = 9223372036854775808.0, .type = VALUE_REAL},
    {.r = 1e300, .type = VALUE_REAL},
    {.r = INFINITY, .type = VALUE_REAL},
    {.r = -INFINITY, .type = VALUE_REAL},
    {.p = "", .len = 0, .type = VALUE_TEXT},
    {.p = " 5 ", .len = 3, .type = VALUE_TEXT},
    {.p = "5.0", .len = 3, .type = VALUE_TEXT},
    {.p = "0x10", .len = 4, .type = VALUE_TEXT},
    {.p = "Ann", .len = 3, .type = VALUE_TEXT},
    {.p = "ann  ", .len = 5, .type = VALUE_TEXT},
    {.p = "a\0c", .len = 3, .type = VALUE_TEXT},
    {.p = "\xc3\xa9", .len = 2, .type = VALUE_TEXT},
    {.p = "", .len = 0, .type = VALUE_BLOB},
    {.p = "Ann", .len = 3, .type = VALUE_BLOB},
    {.p = "\0\xff", .len = 2, .type = VALUE_BLOB},
};

static void bind_value(sqlite3_stmt *q, int i, const struct value *v)
{
    if (v->type == VALUE_INTEGER)
        sqlite3_bind_int64(q, i, v->i);
    else if (v->type == VALUE_REAL)
        sqlite3_bind_double(q, i, v->r);
    else if (v->type == VALUE_TEXT)
        sqlite3_bind_text(q, i, v->len ? v->p : "", (int)v->len, SQLITE_TRANSIENT);
    else if (v->type == VALUE_BLOB && v->len)
        sqlite3_bind_blob(q, i, v->p, (int)v->len, SQLITE_TRANSIENT);
    else if (v->type == VALUE_BLOB)
        sqlite3_bind_zeroblob(q, i, 0);
    else
        sqlite3_bind_null(q, i);
}

static void take_column(sqlite3_stmt *q, int i, struct value *v)
{
    int type = sqlite3_column_type(q, i);
    *v = (struct value){.type = VALUE_NULL};
    if (type == SQLITE_INTEGER)
        *v = INTEGER(sqlite3_column_int64(q, i));
    else if (type == SQLITE_FLOAT)
        *v = REAL(sqlite3_column_double(q, i));
    else if (type == SQLITE_TEXT || type == SQLITE_BLOB) {
        const void *p = type == SQLITE_TEXT ? (const void *)sqlite3_column_text(q, i)
                                            : sqlite3_column_blob(q, i);
        v->type = type == SQLITE_TEXT ? VALUE_TEXT : VALUE_BLOB;
        v->len = (uint32_t)sqlite3_column_bytes(q, i);
        v->p = (const char *)fuzz_copy(p, v->len);
    }
}

/* Row `count` with the value in all columns but the key, which is its number. */
static void store(struct subject *s, const struct value *v)
{
    if (s->count == ROWS || (v->type == VALUE_TEXT && v->len && memchr(v->p, 0, v->len)))
        return;
    for (int i = 2; i <= COLUMNS; i++)
        bind_value(s->insert, i, v);
    sqlite3_bind_int64(s->insert, 1, s->count + 1);
    REQUIRE(sqlite3_step(s->insert) == SQLITE_DONE);
    sqlite3_reset(s->insert);
    sqlite3_bind_int64(s->look, 1, s->count + 1);
    REQUIRE(sqlite3_step(s->look) == SQLITE_ROW);
    for (int i = 0; i < COLUMNS; i++)
        take_column(s->look, i, &s->rows[s->count][i]);
    sqlite3_reset(s->look);
    s->count++;
}

static void forget(struct subject *s)
{
    for (; s->count > s->fixed; s->count--)
        for (int i = 0; i < COLUMNS; i++)
            if (s->rows[s->count - 1][i].type == VALUE_TEXT ||
                s->rows[s->count - 1][i].type == VALUE_BLOB)
                free((void *)(uintptr_t)s->rows[s->count - 1][i].p);
    REQUIRE(sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
}

static struct subject *subject(int which)
{
    static const char *const flags[] = {"", "n", "r"};
    struct subject *s = &subjects[which];
    char text[300], c[4][30];
    if (s->db)
        return s;
    mem_fail_after(-1);
    snprintf(text, sizeof(text),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT COLLATE %s, age NUMERIC COLLATE %s, "
        "x BLOB COLLATE %s, \"r]'\" REAL)",
        collations[which], collations[which], collations[which]);
    REQUIRE(sqlite3_open(":memory:", &s->db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK);
    REQUIRE(sqlite3_prepare_v2(s->db, "INSERT INTO t VALUES(?,?,?,?,?)", -1, &s->insert, NULL) ==
            SQLITE_OK);
    REQUIRE(
        sqlite3_prepare_v2(s->db, "SELECT * FROM t WHERE id=?", -1, &s->look, NULL) == SQLITE_OK);
    snprintf(c[0], sizeof(c[0]), "name:TEXT:%s", flags[which]);
    snprintf(c[1], sizeof(c[1]), "age:NUMERIC:%s", flags[which]);
    snprintf(c[2], sizeof(c[2]), "x:BLOB:%s", flags[which]);
    s->table = TABLE("t", "id:INTEGER:k", c[0], c[1], c[2], "r]':REAL:");
    s->table->rowid_alias = 0;
    for (size_t i = 0; i < sizeof(stored) / sizeof(*stored); i++)
        store(s, &stored[i]);
    s->fixed = s->count;
    return s;
}

static void found_by(struct subject *s, const char *where, const struct value *params, int count,
    bool found[ROWS], bool *understood)
{
    struct buf sql = {0};
    sqlite3_stmt *q = NULL;
    buf_printf(&sql, "SELECT id FROM t WHERE %s", where);
    *understood = buf_text(&sql) && sqlite3_prepare_v2(s->db, sql.data, -1, &q, NULL) == SQLITE_OK;
    memset(found, 0, ROWS * sizeof(*found));
    for (int i = 0; *understood && i < count; i++)
        bind_value(q, i + 1, &params[i]);
    while (*understood && sqlite3_step(q) == SQLITE_ROW)
        found[sqlite3_column_int(q, 0) - 1] = true;
    sqlite3_finalize(q);
    buf_fini(&sql);
}

static void check_rows(struct subject *s, const struct filter *f, const bool found[ROWS])
{
    for (int i = 0; i < s->count; i++)
        REQUIRE(filter_match(f, s->rows[i], i + 1) == found[i]);
}

static void compare(struct subject *s, const struct filter *f)
{
    struct buf parts = {0}, where = {0};
    const struct value *params;
    bool found[ROWS], understood;
    int count;
    if (filter_put_sql(f, s->table, &parts, &params, &count) == 0 && buf_text(&parts)) {
        buf_puts(&where, "1");
        for (const char *p = parts.data; *p; p += strlen(p) + 1)
            buf_printf(&where, " AND %s", p);
        if (buf_text(&where)) {
            found_by(s, where.data, params, count, found, &understood);
            REQUIRE(understood || mem_fail_hit());
            if (understood)
                check_rows(s, f, found);
        }
    }
    buf_fini(&parts);
    buf_fini(&where);
}

/* Behind the column: the operator is the longest that SQL could see there. */
static const char *skip_operator(const char *p)
{
    static const char *const operators[] = {"=", "==", "!=", "<>", "<", "<=", ">", ">="};
    size_t len = strspn(p, "=<>!");
    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++)
        if (strlen(operators[i]) == len && memcmp(p, operators[i], len) == 0)
            return p + len;
    return *p == '(' ? p : NULL;
}

/* A filter without bare values and with SQL's own white space is SQL. */
static bool is_sql(const char *text, const struct filter *f)
{
    const char *p = text + strcspn(text, "=<>!(");
    int quotes = 0;
    if (strchr(text, '\v') || strchr(text, '\f') || strstr(text, "--") || strstr(text, "/*"))
        return false;
    if (!f->terms[0].value_count)
        return true;
    bool list = *p == '(';
    p = skip_operator(p);
    /* x>('') compares with the bare text ('') */
    if (p && !list && p[strspn(p, " \t\r\n")] == '(')
        return false;
    for (; p && *p; p++) {
        if (*p == '\'')
            quotes++;
        else if (quotes % 2 == 0 && !strchr("(), \t\r\n", *p) &&
                 !(text_lower(*p) == 'x' && p[1] == '\''))
            return false;
    }
    return quotes > 0;
}

static void compare_text(struct subject *s, const char *text, const struct filter *f)
{
    bool found[ROWS], understood;
    if (!is_sql(text, f))
        return;
    found_by(s, text, NULL, 0, found, &understood);
    if (understood)
        check_rows(s, f, found);
}

struct hits {
    int count;
    bool new, old;
};

static void count_hit(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx)
{
    struct hits *h = (struct hits *)ctx;
    (void)e;
    h->count++;
    h->new = matched_new;
    h->old = matched_old;
}

static struct filter_entry *entry_new(const struct filter *f)
{
    struct filter_entry *e = mem_alloc(offsetof(struct filter_entry, filter) + f->size);
    if (e)
        filter_copy(&e->filter, f);
    return e;
}

static void compare_matches(struct subject *s, struct filter_index *ix, const struct filter *f)
{
    for (int i = 0; i < s->count; i++) {
        int k = (i * 7 + 3) % s->count;
        const struct value *row = i % 5 == 4 ? NULL : s->rows[i];
        const struct value *old = i % 5 == 3 ? NULL : s->rows[k];
        bool new = filter_match(f, row, i + 1), was = filter_match(f, old, k + 1);
        struct hits h = {0};
        filter_index_match(ix, row, i + 1, old, k + 1, count_hit, &h);
        REQUIRE(h.count == (new || was));
        REQUIRE(h.count == 0 || (h.new == new &&h.old == was));
    }
}

/* What it is filed under does not matter, nor that another was filed beside it. */
static void compare_index(struct subject *s, const struct filter *f, const struct filter *other)
{
    struct filter_index *ix = filter_index_new();
    struct filter_entry *one = entry_new(f), *two = other ? entry_new(other) : NULL;
    bool has_two = ix && two && filter_index_add(ix, two) == 0;
    if (ix && one && filter_index_add(ix, one) == 0) {
        if (has_two)
            filter_index_remove(ix, two);
        compare_matches(s, ix, f);
        filter_index_remove(ix, one);
        REQUIRE(filter_index_count(ix) == 0);
    }
    filter_index_free(ix);
    mem_free(one);
    mem_free(two);
}

static void store_values(struct subject *s, const struct filter *f)
{
    for (int i = 0; i < f->term_count; i++)
        for (int k = 0; k < f->terms[i].value_count && k < 20; k++)
            store(s, &filter_values(f)[f->terms[i].first + k]);
}

static struct filter *make(
    struct subject *s, const char *const *texts, const size_t *lens, int count)
{
    char err[256] = "";
    int status = STATUS_OK;
    struct filter *f = filter_new(s->table, texts, lens, count, err, sizeof(err), &status);
    REQUIRE(f ? status == STATUS_OK : err[0] && strnlen(err, sizeof(err)) < sizeof(err));
    REQUIRE(f || status == STATUS_INVALID || status == STATUS_TOO_LARGE || mem_fail_hit());
    fuzz_accepted += f != NULL;
    return f;
}

static void check(struct subject *s, char *const *texts, const size_t *lens, int count)
{
    struct filter *all = make(s, (const char *const *)texts, lens, count), *last = NULL;
    REQUIRE(sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK);
    for (int i = 0; i < count && i < 8; i++) {
        const char *text = texts[i];
        struct filter *f = make(s, &text, &lens[i], 1);
        REQUIRE(f || !all || mem_fail_hit());
        if (f) {
            store_values(s, f);
            compare(s, f);
            if (strlen(text) == lens[i])
                compare_text(s, text, f);
            compare_index(s, f, all ? all : last);
        }
        filter_free(last);
        last = f;
    }
    if (all) {
        compare(s, all);
        compare_index(s, all, last);
    }
    filter_free(last);
    filter_free(all);
    forget(s);
}

void fuzz_filter(const uint8_t *data, size_t size)
{
    char *texts[40];
    size_t lens[40];
    int count = 0;
    if (size < 2)
        return;
    const uint8_t *p = data + 1, *end = data + size;
    while (p < end && count < 40) {
        const uint8_t *line = memchr(p, '\n', (size_t)(end - p));
        lens[count] = (size_t)((line ? line : end) - p);
        texts[count] = fuzz_string(p, lens[count]);
        count++;
        p = line ? line + 1 : end;
    }
    check(subject(data[0] % 3), texts, lens, count);
    while (count > 0)
        free(texts[--count]);
}
