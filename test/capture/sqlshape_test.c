#include "fixture.h"

#include "base/mem.h"
#include "capture/sqlshape.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A schema with the table users(id, "full name"). */
static struct schema *make_schema(void)
{
    struct schema *s = schema_new(1);
    struct table *t = table_new("users", 2);
    assert_non_null(s);
    assert_non_null(t);
    t->columns[0].name = mem_strdup("id");
    t->columns[1].name = mem_strdup("full name");
    s->tables[0] = t;
    return s;
}

static const struct {
    const char *sql, *shape;
} cases[] = {
    {"", ""},
    {"SELECT 1", "SELECT ?"},
    {"  SELECT\t a ,\n b -- 's' \n FROM/* 1 */t ;", "SELECT a , b FROM t ;"},
    {"SELECT 'it''s', x'00FF', X'ab', 1, 1.5, .5, 1e5, 1.5E3, 0x1f, 1_000, -7",
        "SELECT ?, ?, ?, ?, ?, .?, ?, ?, ?, ?, -?"},
    {"SELECT t.a, t1.b2, a1 FROM t1", "SELECT t.a, t1.b2, a1 FROM t1"},
    {"SELECT ?, ?12, :name, @name, $name, $a::b(c)", "SELECT ?, ?, ?, ?, ?, ?"},
    {"SELECT \"id\", \"Full Name\", [users], `USERS`, \"secret\", [secret], `secret`, \"\"",
        "SELECT \"id\", \"Full Name\", [users], `USERS`, \"?\", \"?\", \"?\", \"?\""},
    {"SELECT \"full\"\"name\" x", "SELECT \"?\" x"},
    {"INSERT INTO users VALUES('secret", "INSERT INTO users VALUES(?"},
    {"SELECT \"secret", "SELECT \"?\""},
    {"SELECT [secret", "SELECT \"?\""},
    {"SELECT x'secret", "SELECT ?"},
    {"SELECT 1.secret.2e+3, 1e-5, 1.5E+7, 1-2, 1 -2", "SELECT ?, ?, ?, ?-?, ? -?"},
    {"x", "x"},
    {"'a''b'", "?"},
};

static void literals_are_hidden(void **state)
{
    struct schema *known = make_schema();
    struct buf out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        buf_reset(&out);
        sqlshape_put(&out, cases[i].sql, strlen(cases[i].sql), 1000, known);
        assert_string_equal(buf_text(&out), cases[i].shape);
    }
    buf_reset(&out);
    sqlshape_put(&out, "SELECT \"id\"", 11, 1000, NULL);
    assert_string_equal(buf_text(&out), "SELECT \"?\"");
    buf_fini(&out);
    schema_unref(known);
}

static void long_text_is_cut_between_tokens(void **state)
{
    struct buf out = {0};
    (void)state;
    buf_puts(&out, "before ");
    sqlshape_put(&out, "SELECT aaaaaaaaaa, bbbbbbbbbb, cccccccccc", 41, 30, NULL);
    assert_string_equal(buf_text(&out), "before SELECT aaaaaaaaaa, …");
    buf_fini(&out);
}

/* Every prefix, ending where reading on would crash; nothing of the literals is ever shown. */
static void cut_anywhere(void **state)
{
    static const char sql[] = "SELECT 'secret', \"secret\", x'secret', [secret], `secret`, 12.5e3, "
                              "$v, -- secret\n id /* secret */ FROM users";
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct schema *known = make_schema();
    struct buf out = {0};
    (void)state;
    assert_true(pages != MAP_FAILED);
    mprotect(pages + size, size, PROT_NONE);
    for (size_t len = 0; len < sizeof(sql); len++) {
        char *at = pages + size - len;
        memcpy(at, sql, len);
        buf_reset(&out);
        sqlshape_put(&out, at, len, 1000, known);
        assert_null(strstr(buf_text(&out), "secret"));
    }
    munmap(pages, 2 * size);
    buf_fini(&out);
    schema_unref(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_hidden),
        cmocka_unit_test(long_text_is_cut_between_tokens),
        cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
