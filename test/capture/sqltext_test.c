#include "fixture.h"

#include "capture/sqltext.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The kinds of a text's tokens, one letter each. */
static const char *kinds(const char *sql, size_t len)
{
    static char out[256];
    size_t pos = 0, n = 0;
    struct sqltext_token t;
    while ((t = sqltext_next(sql, len, &pos)).kind != SQLTEXT_END && n < sizeof(out) - 1) {
        assert_true(t.len > 0 && t.p >= sql && t.p + t.len <= sql + len);
        out[n++] = "EWP;o"[t.kind];
    }
    out[n] = 0;
    return out;
}

static const struct {
    const char *sql, *kinds;
} cases[] = {
    {"", ""},
    {"SELECT a", "WW"},
    {"select 'a;b''c' ; \"x;\" [y;] `z;`", "Wo;ooo"},
    {"-- c ; ?\n/* ? ; */ x", "W"},
    {"?1,? , :a @b $c::d(e) #f", "PoPoPPPP"},
    {"x'00' 1e5 a$b", "WooW"},
    {"'unterminated ; ?", "o"},
    {"/* unterminated ; ?", ""},
    {": @ $", "ooo"},
    {"/ * - -", "oooo"},
};

static void tokens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(kinds(cases[i].sql, strlen(cases[i].sql)), cases[i].kinds);
}

static void whole_texts(void **state)
{
    (void)state;
    assert_true(sqltext_blank(" ;; -- x", 8));
    assert_false(sqltext_blank(" ;; x", 5));
    assert_true(sqltext_single(";SELECT 1; -- x", 15));
    assert_false(sqltext_single("SELECT 1;SELECT 2", 17));
    assert_true(sqltext_begins("/**/ vacuum into", 16, "VACUUM"));
    assert_false(sqltext_begins("'vacuum'", 8, "VACUUM"));
    assert_true(sqltext_has_word("insert or fail into", 19, "FAIL"));
    assert_false(sqltext_has_word("select 'fail' failed", 20, "FAIL"));
}

/* Every prefix, ending where reading on would crash. */
static void cut_anywhere(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (size_t len = 0; len <= strlen(cases[i].sql); len++) {
            char *at = map + page - len;
            memcpy(at, cases[i].sql, len);
            kinds(at, len);
            sqltext_blank(at, len);
            sqltext_single(at, len);
        }
    munmap(map, 2 * page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
