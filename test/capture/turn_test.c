#include "mixed.h"

#include <string.h>

/* Requests that only read, one after the other in one transaction: database_turn. */

static void reads_in_turn(struct mixed *m, struct database_turn *turn, int id)
{
    char begin[64];
    snprintf(begin, sizeof(begin), "{\"columns\":[\"max(id)\"],\"rows\":[[%d]],", id);
    for (int i = 0; i < 3; i++) {
        struct sql_request r = {0};
        assert_non_null(sql_request_add(&r, "SELECT max(id) FROM t", 21));
        assert_true(database_execute_swiftly(m->f.db, turn, &r));
        expect_starts(buf_text(&r.json), begin);
        sql_request_fini(&r);
    }
}

/* What reads on in one transaction has every commit all the same, whoever made it. */
static void turns_read_the_newest(void **state)
{
    struct mixed *m = *state;
    struct database_turn *turn = database_turn_new();
    assert_non_null(turn);
    sql_ok(&m->f, "INSERT INTO t VALUES(1,'own')");
    for (int id = 2; id < 200; id++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "INSERT INTO t VALUES(%d,'x')", id);
        if (id % 3 == 0)
            other_ok(&m->o, "%s", sql);
        else
            sql_ok(&m->f, sql);
        reads_in_turn(m, turn, id);
        if (id % 50 == 0) {
            other_ok(&m->o, "PRAGMA wal_checkpoint(%s)", id % 100 ? "PASSIVE" : "TRUNCATE");
            reads_in_turn(m, turn, id);
        }
    }
    sql_ok(&m->f, "ALTER TABLE t ADD COLUMN more");
    reads_in_turn(m, turn, 199);
    other_ok(&m->o, "DELETE FROM t WHERE id>7");
    reads_in_turn(m, turn, 7);
    database_turn_end(m->f.db, turn);
    database_turn_free(turn);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(turns_read_the_newest, mixed_set_up, mixed_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
