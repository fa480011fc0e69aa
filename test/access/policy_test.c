#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "access/policy.h"
#include "base/mem.h"
#include "base/status.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char example[] =
    "{\"roles\":{\"user\":{\"sql\":true,\"tables\":{\n"
    "  \"notes\":{\"read\":[\"id\",\"user_id\",\"title\"],\"write\":[\"user_id\",\"title\"],\n"
    "    \"rows\":\"user_id={sub}\"},\n"
    "  \"public\":{\"read\":true,\"write\":true}},\n"
    " \"channels\":{\"join\":[\"notifications\",\"tables\",\"room:*\"],\"broadcast\":[\"room:*\"]}}"
    ",\n"
    "\"admin\":{\"sql\":true,\"tables\":{\"*\":{\"read\":true,\"write\":true}},\n"
    " \"channels\":{\"join\":[\"*\"],\"broadcast\":[\"*\"]}}}}";

static struct policy *parse(const char *text)
{
    struct buf err = {0};
    int status;
    struct policy *p = policy_parse(text, strlen(text), &err, &status);
    if (!p)
        fail_msg("%s: %s", text, buf_text(&err));
    assert_int_equal(status, 0);
    assert_int_equal(err.len, 0);
    return p;
}

static void test_reads_the_example(void **state)
{
    (void)state;
    struct policy *p = parse(example);
    const struct policy_role *user = policy_role(p, "user"), *admin = policy_role(p, "admin");
    assert_true(user->sql);
    const struct policy_table *notes = policy_table(user, "NOTES");
    assert_non_null(notes);
    assert_true(policy_has_column(&notes->read, "ID"));
    assert_false(policy_has_column(&notes->write, "id"));
    assert_false(policy_has_column(&notes->read, "secret"));
    assert_int_equal(notes->rule_count, 1);
    assert_string_equal(notes->rules[0]->claims[0].name, "sub");
    assert_true(policy_has_column(&policy_table(user, "public")->read, "anything"));
    assert_null(policy_table(user, "other"));
    assert_string_equal(policy_table(admin, "other")->name, "*");
    assert_true(policy_channel(&user->join, "room:7", 6));
    assert_true(policy_channel(&user->join, "room:", 5));
    assert_true(policy_channel(&user->join, "tables", 6));
    assert_false(policy_channel(&user->join, "tables2", 7));
    assert_false(policy_channel(&user->join, "table", 5));
    assert_false(policy_channel(&user->join, "room", 4));
    assert_false(policy_channel(&user->broadcast, "tables", 6));
    assert_true(policy_channel(&admin->broadcast, "x", 1));
    policy_unref(policy_ref(p));
    policy_unref(p);
}

static void test_no_or_an_unknown_role_may_nothing(void **state)
{
    (void)state;
    struct policy *p = parse(example);
    assert_null(policy_role(p, NULL));
    assert_null(policy_role(p, ""));
    assert_null(policy_role(p, "User"));
    assert_null(policy_role(p, "roles"));
    assert_null(policy_table(policy_role(p, "nobody"), "public"));
    policy_unref(p);
}

/* A table that is named is not "*" as well, be it to give less. */
static void test_a_named_table_is_not_every_other(void **state)
{
    (void)state;
    struct policy *p = parse("{\"roles\":{\"r\":{\"tables\":{\"*\":{\"read\":true},\"pay\":{}}}}}");
    assert_false(policy_any_column(&policy_table(policy_role(p, "r"), "Pay")->read));
    assert_true(policy_any_column(&policy_table(policy_role(p, "r"), "x")->read));
    assert_false(policy_any_column(&policy_table(policy_role(p, "r"), "x")->write));
    assert_false(policy_role(p, "r")->sql);
    policy_unref(p);
}

static void test_says_what_is_wrong_and_where(void **state)
{
    (void)state;
#define TABLES(x) "{\"roles\":{\"r\":{\"tables\":" x "}}}"
#define NOTES(x) TABLES("{\"notes\":" x "}")
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "line "},
        {"[]", "line 1: the file: an object { } is expected here"},
        {"{}", "line 1: the file: the member \"roles\" is missing"},
        {"{\"roles\":{}} x", "line 1: "},
        {"{\"roles\":{},\"roles\":{}}", "line 1: duplicate object key"},
        {"{\"roles\":{},\n\"rules\":1}", "line 2: rules: unknown member; there can be \"roles\""},
        {"{\"roles\":[]}", "line 1: roles: an object {ROLE: { }} is expected here"},
        {"{\"roles\":{\"\":{}}}", "a role's name has 1 to 255 bytes"},
        {"{\"roles\":{\"r\":\n\n{\"sqll\":true}}}",
            "line 3: roles.r.sqll: unknown member; there can be \"sql\", \"tables\" and "
            "\"channels\""},
        {"{\"roles\":{\"r\":{\"sql\":1}}}", "roles.r.sql: true or false is expected here"},
        {"{\"roles\":{\"r\":{\"sql\":\"true\"}}}", "true or false"},
        {TABLES("[]"), "roles.r.tables: an object {TABLE: { }} is expected here"},
        {TABLES("{\"a\":{},\"A\":{}}"), "roles.r.tables.A: the table is there already"},
        {TABLES("{\"*\":{\"read\":[\"id\"]}}"), "columns are those of one table"},
        {NOTES("true"), "roles.r.tables.notes: an object { } is expected here"},
        {NOTES("{\"reed\":true}"), "tables.notes.reed: unknown member; there can be \"read\", "
                                   "\"write\" and \"rows\""},
        {NOTES("{\"read\":null}"), "notes.read: true, false or a list of columns"},
        {NOTES("{\"read\":[\"id\",\n7]}"), "line 2: roles.r.tables.notes.read[1]: a text is"},
        {NOTES("{\"read\":[\"id\",\n\"ID\"]}"), "line 2: roles.r.tables.notes.read[1]: ID is in"},
        {NOTES("{\"read\":[\"*\"]}"), "for all columns write true"},
        {NOTES("{\"read\":[\"\"]}"), "a column's name has 1 to 255 bytes"},
        {NOTES("{\"rows\":true}"), "notes.rows: a condition is expected here"},
        {NOTES("{\"rows\":\"\"}"), "notes.rows: the condition is empty"},
        {NOTES("{\"rows\":[]}"), "notes.rows: the list is empty"},
        {NOTES("{\"rows\":[\"a=1\",\n\"a={\"]}"), "line 2: roles.r.tables.notes.rows[1]: at "
                                                  "character 3: the name of a claim is expected"},
        {NOTES("{\"rows\":[\"a=1\",\"a=1\",\"a=1\",\"a=1\",\"a=1\",\"a=1\",\"a=1\",\"a=1\","
               "\"a=1\"]}"),
            "notes.rows: there can be at most 8 conditions"},
        {"{\"roles\":{\"r\":{\"channels\":[]}}}", "r.channels: an object { } is expected"},
        {"{\"roles\":{\"r\":{\"channels\":{\"send\":[]}}}}", "\"join\" and \"broadcast\""},
        {"{\"roles\":{\"r\":{\"channels\":{\"join\":\"*\"}}}}", "a list of channels"},
        {"{\"roles\":{\"r\":{\"channels\":{\"join\":[\"a*b\"]}}}}", "join[0]: a channel has"},
        {"{\"roles\":{\"r\":{\"channels\":{\"join\":[\"\"]}}}}", "join[0]: a channel has"},
        {"{\"roles\":{\"r\":{\"channels\":{\"join\":[\"a b\"]}}}}", "join[0]: a channel has"},
        {"{\"roles\":{\"r\":{\"channels\":{\"join\":[\"a\\u0000b\"]}}}}", "line 1: "},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf err = {0};
        int status = 0;
        struct policy *p = policy_parse(bad[i].text, strlen(bad[i].text), &err, &status);
        if (p)
            fail_msg("%s was accepted", bad[i].text);
        assert_int_equal(status, STATUS_INVALID);
        if (!strstr(buf_text(&err), bad[i].message))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, buf_text(&err), bad[i].message);
        buf_fini(&err);
    }
}

static void test_a_nul_is_no_space(void **state)
{
    (void)state;
    static const char text[] = "{\"roles\":{\"r\":{\"sql\":true\0}}}";
    struct buf err = {0};
    int status;
    assert_null(policy_parse(text, sizeof(text) - 1, &err, &status));
    assert_int_equal(status, STATUS_INVALID);
    assert_non_null(strstr(buf_text(&err), "NUL character"));
    buf_fini(&err);
}

/* Cut anywhere it is refused, and nothing behind it is read: it ends at an unmapped page. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), len = strlen(example);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED && len < page);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t n = 0; n <= len; n++) {
        struct buf err = {0};
        int status;
        char *text = memcpy(map + page - n, example, n);
        struct policy *p = policy_parse(text, n, &err, &status);
        assert_true((p != NULL) == (n == len));
        assert_true((err.len == 0) == (n == len));
        policy_unref(p);
        buf_fini(&err);
    }
    munmap(map, 2 * page);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    for (long n = 0, done = 0; !done; n++) {
        struct buf err = {0};
        int status;
        mem_fail_after(n);
        struct policy *p = policy_parse(example, strlen(example), &err, &status);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, done ? 0 : STATUS_NOMEM);
        assert_true((p != NULL) == done);
        policy_unref(p);
        buf_fini(&err);
    }
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/policy_test_XXXXXX";
    int fd = mkstemp(path), status;
    struct buf err = {0};
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"roles\":{}}\n", 13), 13);
    struct policy *p = policy_read(path, &err, &status);
    assert_non_null(p);
    policy_unref(p);
    assert_int_equal(write(fd, "}", 1), 1);
    assert_null(policy_read(path, &err, &status));
    assert_int_equal(status, STATUS_INVALID);
    assert_non_null(strstr(buf_text(&err), path));
    assert_non_null(strstr(buf_text(&err), "line 2: "));
    buf_reset(&err);
    assert_int_equal(ftruncate(fd, POLICY_MAX_FILE + 1), 0);
    assert_null(policy_read(path, &err, &status));
    assert_int_equal(status, STATUS_INVALID);
    assert_non_null(strstr(buf_text(&err), "is larger than"));
    close(fd);
    unlink(path);
    buf_reset(&err);
    assert_null(policy_read(path, &err, &status));
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(buf_text(&err), "No such file"));
    buf_fini(&err);
}

static void test_compares_with_a_database(void **state)
{
    (void)state;
    struct schema *schema = schema_new(2);
    schema->tables[0] = TABLE("notes", "id:INTEGER:k", "user_id:TEXT:", "title:TEXT:");
    schema->tables[1] = TABLE("other", "id:INTEGER:k", "title:TEXT:");
    struct buf out = {0};
    struct policy *p = parse(example);
    assert_int_equal(policy_check(p, schema, &out), 1);
    assert_string_equal(
        buf_text(&out), "line 4: roles.user.tables.public: there is no table of this name\n");
    policy_unref(p);

    buf_reset(&out);
    p = parse("{\"roles\":{\"r\":{\"tables\":{\"notes\":{\n"
              "\"read\":[\"title\",\n\"titel\"],\"write\":[\"ID\",\"x\"],\n"
              "\"rows\":[\"user_id={sub}\",\"usr={sub}\"]},\n"
              "\"*\":{\"read\":true,\"rows\":\"user_id={sub}\"}}}}}");
    assert_int_equal(policy_check(p, schema, &out), 5);
    assert_string_equal(buf_text(&out),
        "line 3: roles.r.tables.notes.read[1]: the table notes has no column \"titel\"\n"
        "line 3: roles.r.tables.notes.write[1]: the table notes has no column \"x\"\n"
        "line 2: roles.r.tables.notes.read: the column id is missing: it is in the primary key, "
        "which every event shows\n"
        "line 4: roles.r.tables.notes.rows[1]: at character 1: table \"notes\" has no column "
        "\"usr\"; its columns are id, user_id, title\n"
        "line 5: roles.r.tables.*.rows: at character 1: table \"other\" has no column "
        "\"user_id\"; its columns are id, title\n");
    policy_unref(p);
    buf_fini(&out);
    schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_the_example),
        cmocka_unit_test(test_no_or_an_unknown_role_may_nothing),
        cmocka_unit_test(test_a_named_table_is_not_every_other),
        cmocka_unit_test(test_says_what_is_wrong_and_where),
        cmocka_unit_test(test_a_nul_is_no_space),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_compares_with_a_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
