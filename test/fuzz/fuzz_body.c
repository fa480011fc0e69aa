#include "fuzz.h"

#include "../change/fixture.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/native_args.h"
#include "dialect/sql_json.h"
#include "dialect/sync_json.h"
#include "fuzz_same.h"
#include "hub/sync.h"
#include <sqlite3.h>

/* Bodies of requests that write, and the SQL that operations become. */

static sqlite3 *db;
static struct schema *schema;
static int actions[64]; /* of SQLite's authorizer, for the statement being prepared */

static int note_action(
    void *ctx, int action, const char *a, const char *b, const char *c, const char *d)
{
    (void)ctx, (void)b, (void)c, (void)d;
    actions[action < 64 ? action : 63]++;
    if (action == SQLITE_INSERT || action == SQLITE_UPDATE || action == SQLITE_DELETE)
        REQUIRE(strcmp(a, "users") == 0 || strcmp(a, "it's a \"table\"") == 0);
    return SQLITE_OK;
}

static void open_tables(void)
{
    if (db)
        return;
    mem_fail_after(-1);
    schema = schema_new(2);
    schema->tables[0] = TABLE("it's a \"table\"", "a\"b:TEXT:", "rowid:TEXT:", "c];--:BLOB:");
    schema->tables[1] = TABLE("users", "id:INTEGER:k", "name:TEXT:n", "age:REAL:");
    REQUIRE(sqlite3_open(":memory:", &db) == SQLITE_OK);
    REQUIRE(
        sqlite3_exec(db,
            "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, age REAL);"
            "CREATE TABLE \"it's a \"\"table\"\"\"(\"a\"\"b\" TEXT, rowid TEXT, \"c];--\" BLOB)",
            NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_set_authorizer(db, note_action, NULL);
}

/* It is one statement, which SQLite takes, of that kind and with those parameters. */
static void prepare(const struct sync_operation *op, const struct sql_statement *s)
{
    static const int kinds[] = {[SYNC_INSERT] = SQLITE_INSERT,
        [SYNC_UPDATE] = SQLITE_UPDATE,
        [SYNC_DELETE] = SQLITE_DELETE};
    sqlite3_stmt *q;
    const char *tail;
    memset(actions, 0, sizeof(actions));
    int rc = sqlite3_prepare_v2(db, s->sql, (int)s->len + 1, &q, &tail);
    REQUIRE(strlen(s->sql) == s->len && s->param_count == op->data_count + op->key_count);
    if (rc == SQLITE_OK) {
        REQUIRE(q && *tail == '\0' && sqlite3_bind_parameter_count(q) == s->param_count);
        REQUIRE(actions[kinds[op->kind]] > 0 && !sqlite3_stmt_readonly(q));
    } else { /* SQLite has more bounds, on a statement's columns and parameters for one */
        REQUIRE(op->data_count + op->key_count > 100);
    }
    for (size_t k = SYNC_INSERT; k <= SYNC_DELETE; k++)
        REQUIRE(k == op->kind || actions[kinds[k]] == 0);
    REQUIRE(actions[SQLITE_SELECT] == 0 && actions[SQLITE_FUNCTION] == 0);
    sqlite3_finalize(q);
}

static void build(json_t *operations)
{
    struct sync s = {0};
    struct buf err = {0};
    int rc = sync_json_read(&s, operations, &err);
    REQUIRE(rc == STATUS_OK || rc == STATUS_INVALID || mem_fail_hit());
    REQUIRE(rc != STATUS_INVALID || err.len || buf_error(&err));
    if (rc == STATUS_OK) {
        open_tables();
        rc = sync_build(&s, schema, NULL, NULL);
        REQUIRE(rc == STATUS_OK || rc == STATUS_NOT_FOUND || mem_fail_hit());
        REQUIRE(rc != STATUS_NOT_FOUND || (s.sql.error.code[0] && s.sql.error.message[0]));
        fuzz_accepted += rc == STATUS_OK;
    }
    for (int i = 0; rc == STATUS_OK && i < s.count; i++)
        if (s.operations[i].kind != SYNC_SQL)
            prepare(&s.operations[i], &s.sql.statements[i]);
    buf_fini(&err);
    sync_fini(&s);
}

static void check_sql(const struct sql_request *r, int64_t wait_ms)
{
    REQUIRE(wait_ms >= -1 && wait_ms <= SQL_JSON_WAIT_MAX);
    REQUIRE(r->statement_count > 0 && (r->transaction || r->statement_count == 1));
    for (int i = 0; i < r->statement_count; i++) {
        const struct sql_statement *s = &r->statements[i];
        REQUIRE(strlen(s->sql) == s->len);
        for (int k = 0; k < s->param_count; k++) {
            const struct value *v = &s->params[k].value;
            REQUIRE(!s->params[k].name == !s->named);
            REQUIRE(v->type != VALUE_TEXT || utf8_valid(v->p, v->len));
        }
    }
}

static void read_again(const json_t *root, const struct sql_request *r, int64_t wait_ms)
{
    struct buf out = {0}, err = {0};
    native_put_json(&out, root);
    if (buf_error(&out) == 0) {
        struct sql_request again = {0};
        int64_t wait_again = -1;
        int rc = sql_json_read(&again, out.data, out.len, &wait_again, &err);
        REQUIRE(mem_fail_hit() || (rc == 0 && wait_ms == wait_again && fuzz_same_sql(r, &again)));
        sql_request_fini(&again);
    }
    buf_fini(&out);
    buf_fini(&err);
}

/* What is read without a tree is what the tree gives. */
static void read_tree(json_t *root, const struct sql_request *r)
{
    struct sql_request tree = {0};
    struct buf err = {0};
    json_object_del(root, "wait");
    json_object_del(root, "waitMs");
    int rc = sql_json_request(&tree, root, &err);
    REQUIRE(mem_fail_hit() || (rc == STATUS_OK && fuzz_same_sql(r, &tree)));
    sql_request_fini(&tree);
    buf_fini(&err);
}

void fuzz_body(const uint8_t *data, size_t size)
{
    struct sql_request r = {0};
    struct buf err = {0};
    char message[256];
    int64_t wait_ms = -1;
    int rc = sql_json_read(&r, (const char *)data, size, &wait_ms, &err);
    json_t *root = json_read((const char *)data, size, message, sizeof(message));
    REQUIRE(rc == STATUS_OK || rc == STATUS_INVALID || mem_fail_hit());
    REQUIRE(rc != STATUS_INVALID || err.len || buf_error(&err));
    if (rc == STATUS_OK) {
        fuzz_accepted++;
        check_sql(&r, wait_ms);
        REQUIRE(root || mem_fail_hit());
        if (root) {
            read_again(root, &r, wait_ms);
            read_tree(root, &r);
        }
    }
    if (json_object_get(root, "operations"))
        build(json_object_get(root, "operations"));
    json_decref(root);
    buf_fini(&err);
    sql_request_fini(&r);
}
