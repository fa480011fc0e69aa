#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/buf.h"
#include "cli/split.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The statements of a text with | between them; an unfinished one ends with ~. */
static void statements(const char *text, const char *expected)
{
    struct split_statement s;
    struct buf b = {0};
    size_t at = 0;

    while (split_next(text, strlen(text), &at, &s)) {
        if (b.len)
            buf_putc(&b, '|');
        buf_put(&b, s.sql, s.len);
        if (!s.complete)
            buf_putc(&b, '~');
    }
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
}

static void units(const char *text, const char *expected)
{
    struct buf b = {0};
    size_t at = 0, len;
    bool complete;

    while ((len = split_unit(text, strlen(text), &at, &complete)) > 0) {
        if (b.len)
            buf_putc(&b, '|');
        buf_put(&b, text + at, len);
        if (!complete)
            buf_putc(&b, '~');
        at += len;
    }
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
}

static void statements_end_at_semicolons(void **state)
{
    (void)state;
    statements("", "");
    statements(" \n\t;; ; ", "");
    statements("select 1", "select 1~");
    statements("select 1;", "select 1;");
    statements("  a ; ;b; c", "a ;|b;|c~");
}

static void quotes_and_comments_hide_semicolons(void **state)
{
    (void)state;
    statements("select ';' ; x;", "select ';' ;|x;");
    statements("select 'it''s;' ; x;", "select 'it''s;' ;|x;");
    statements("select \";\", `;`, [;]; x;", "select \";\", `;`, [;];|x;");
    statements("a -- ; b\n; c /* ; */ ; -- d;", "a -- ; b\n;|c /* ; */ ;");
    statements("-- only ; this\n/* ; */", "");
    statements("/* lead */ a;", "a;");
    statements("a /* open ;", "a /* open ;~");
    statements("/* open ;", "");
    statements("'open ;", "'open ;~");
    statements("a - b; c / d;", "a - b;|c / d;");
}

static void triggers_end_at_their_own_end(void **state)
{
    (void)state;
    statements("CREATE TRIGGER t AFTER INSERT ON u BEGIN SELECT 1; UPDATE v SET x = 1; END; x;",
        "CREATE TRIGGER t AFTER INSERT ON u BEGIN SELECT 1; UPDATE v SET x = 1; END;|x;");
    statements("create temp trigger t begin select case when 1 then 2 end; end; x;",
        "create temp trigger t begin select case when 1 then 2 end; end;|x;");
    statements("create/**/temporary -- c\n trigger t begin a;\nEND -- c\n ;x;",
        "create/**/temporary -- c\n trigger t begin a;\nEND -- c\n ;|x;");
    statements("explain query plan create trigger t begin a; end; x;",
        "explain query plan create trigger t begin a; end;|x;");
    statements("create table trigger_log(a); x;", "create table trigger_log(a);|x;");
    statements("create trigger t begin select 1;", "create trigger t begin select 1;~");
    statements("create trigger t begin a; end_of; end;", "create trigger t begin a; end_of; end;");
}

static enum split_kind kind(const char *text)
{
    struct split_statement s;
    size_t at = 0;

    assert_true(split_next(text, strlen(text), &at, &s));
    return s.kind;
}

static void kinds_are_known(void **state)
{
    (void)state;
    assert_int_equal(kind("Begin immediate;"), SPLIT_BEGIN);
    assert_int_equal(kind("END;"), SPLIT_COMMIT);
    assert_int_equal(kind("/* x */ commit transaction"), SPLIT_COMMIT);
    assert_int_equal(kind("rollback;"), SPLIT_ROLLBACK);
    assert_int_equal(kind("rollback to a;"), SPLIT_OTHER);
    assert_int_equal(kind("ROLLBACK /**/ TRANSACTION TO a;"), SPLIT_OTHER);
    assert_int_equal(kind("rollback transaction;"), SPLIT_ROLLBACK);
    assert_int_equal(kind("beginning"), SPLIT_OTHER);
    assert_int_equal(kind("insert into t values(1)"), SPLIT_CHANGE);
    assert_int_equal(kind("select 1"), SPLIT_OTHER);
}

static void transactions_stay_whole(void **state)
{
    (void)state;
    units("a; begin; b; c; commit; d;", "a;|begin; b; c; commit;|d;");
    units("begin; a; rollback to x; b; end; c", "begin; a; rollback to x; b; end;|c~");
    units("begin; a;", "begin; a;~");
    units(
        "savepoint x; a; savepoint y; release x; b;", "savepoint x; a; savepoint y; release x;|b;");
    units("savepoint x; savepoint X; release x; a; release savepoint x; b;",
        "savepoint x; savepoint X; release x; a; release savepoint x;|b;");
    units("begin; savepoint x; release x; a; commit; b;",
        "begin; savepoint x; release x; a; commit;|b;");
    units("savepoint x; rollback; a;", "savepoint x; rollback;|a;");
}

static bool complete(const char *text)
{
    return split_complete(text, strlen(text));
}

static void a_prompt_knows_when_to_run(void **state)
{
    (void)state;
    assert_false(complete(""));
    assert_false(complete("select 1"));
    assert_true(complete("select 1;\n"));
    assert_true(complete("select 1; -- done\n"));
    assert_false(complete("select 1; select"));
    assert_false(complete("begin; insert into t values(1);"));
    assert_true(complete("begin; insert into t values(1); commit;"));
    assert_false(complete("select ';"));
    assert_true(split_blank(" -- a\n;/* b */", 14));
    assert_false(split_blank("/* open", 7));
    assert_false(split_blank("x", 1));
}

/* Nothing is read behind the end, wherever the text is cut. */
static void any_cut_is_safe(void **state)
{
    static const char text[] =
        "create trigger t begin select '/*'; -- x\n end; /* y */ savepoint \"a\"; "
        "release [a]; rollback /* z";
    size_t page = (size_t)sysconf(_SC_PAGESIZE), len = sizeof(text) - 1;
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t cut = 0; cut <= len; cut++) {
        char *start = map + page - cut;
        struct split_statement s;
        size_t at = 0, before = 0;
        bool is_complete;

        memcpy(start, text, cut);
        while (split_next(start, cut, &at, &s)) {
            assert_true(at > before);
            before = at;
        }
        at = 0;
        while (at < cut) {
            size_t unit = split_unit(start, cut, &at, &is_complete);

            if (unit == 0)
                break;
            at += unit;
        }
    }
    munmap(map, 2 * page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_end_at_semicolons),
        cmocka_unit_test(quotes_and_comments_hide_semicolons),
        cmocka_unit_test(triggers_end_at_their_own_end),
        cmocka_unit_test(kinds_are_known),
        cmocka_unit_test(transactions_stay_whole),
        cmocka_unit_test(a_prompt_knows_when_to_run),
        cmocka_unit_test(any_cut_is_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
