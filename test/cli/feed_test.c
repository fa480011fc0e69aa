#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "base/status.h"
#include "cli/feed.h"
#include "cli/term.h"

#include <stdlib.h>
#include <time.h>

static struct buf printed; /* what was flushed */
static int flushes, flush_status;

static int flush(struct buf *out)
{
    if (buf_error(out)) {
        buf_reset(out);
        return STATUS_NOMEM;
    }
    buf_put(&printed, out->data, out->len);
    buf_reset(out);
    flushes++;
    return flush_status;
}

/* A file with the tables users, orders and a view, and a feed of what was asked for. */
struct fixture {
    struct table *users, *orders, *view;
    struct schema *schema;
    struct option_list filters;
    struct feed feed;
    struct batch *b;
    struct buf err;
    uint64_t seq, tx;
};

static struct fixture *begin(bool json)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->users = TABLE("users", "id:INTEGER:k", "name:TEXT:n", "age:INT:");
    f->orders = TABLE("Orders", "id:INTEGER:k");
    f->orders->id = 2;
    f->view = TABLE("adults", "name:TEXT:");
    f->view->id = 3;
    f->view->kind = TABLE_VIEW;
    f->schema = schema_new(3);
    f->schema->tables[0] = table_ref(f->view);
    f->schema->tables[1] = table_ref(f->orders);
    f->schema->tables[2] = table_ref(f->users);
    f->feed = (struct feed){.json = json, .epoch = "run", .flush = flush};
    f->feed.selection.events = EVENTS_ALL;
    f->feed.selection.filters = &f->filters;
    f->b = batch_new(0);
    buf_reset(&printed);
    flushes = flush_status = 0;
    return f;
}

static void end(struct fixture *f)
{
    batch_unref(f->b);
    feed_fini(&f->feed);
    buf_fini(&f->err);
    schema_unref(f->schema);
    table_unref(f->users);
    table_unref(f->orders);
    table_unref(f->view);
    mem_free(f);
}

static struct value *user(struct fixture *f, int64_t id, const char *name, int64_t age)
{
    struct value *row = batch_row(f->b, 3);
    struct value values[] = {INTEGER(id), {.p = name, .type = VALUE_TEXT}, INTEGER(age)};

    values[1].len = (uint32_t)strlen(name);
    for (int i = 0; i < 3; i++)
        assert_int_equal(batch_set_value(f->b, &row[i], &values[i]), 0);
    return row;
}

static void change(struct fixture *f, enum change_kind kind, const struct table *t,
    struct value *old, struct value *row)
{
    struct change *c = batch_add(f->b, kind, t);

    c->old = old;
    c->row = row;
    c->rowid = row ? row[0].i : 0;
    c->old_rowid = old ? old[0].i : 0;
    c->external = true;
}

/* Commits, prints, and begins the next batch. */
static int commit(struct fixture *f)
{
    int status;

    batch_end_transaction(f->b, 0, NULL);
    if (f->b->transaction_count)
        f->b->transactions[f->b->transaction_count - 1].time_ms = 1000;
    batch_seal(f->b, &f->seq, &f->tx);
    status = feed_put(&f->feed, f->b, &f->err);
    batch_unref(f->b);
    f->b = batch_new(0);
    return status;
}

static void assert_printed(const char *text)
{
    assert_string_equal(buf_text(&printed), text);
    buf_reset(&printed);
}

static void rows_are_lines(void **state)
{
    struct fixture *f = begin(false);

    (void)state;
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 36));
    change(f, CHANGE_UPDATE, f->users, user(f, 1, "Ada", 36), user(f, 1, "Ada", 37));
    change(f, CHANGE_DELETE, f->users, user(f, 1, "Ada", 37), NULL);
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 + INSERT users id=1  name='Ada'  age=36\n"
                   "00:00:01.000 ~ UPDATE users id=1  age=36→37\n"
                   "00:00:01.000 - DELETE users id=1  name='Ada'  age=37\n");
    assert_int_equal(flushes, 1);
    assert_int_equal(commit(f), 0);
    assert_int_equal(flushes, 1);
    end(f);
}

static void json_is_what_a_server_sends(void **state)
{
    struct fixture *f = begin(true);

    (void)state;
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 36));
    assert_int_equal(commit(f), 0);
    assert_printed("{\"id\":\"run:1\",\"timestamp\":1000,\"type\":\"database_change\","
                   "\"channel\":\"tables\",\"seq\":1,\"tx\":1,\"table\":\"users\","
                   "\"event\":\"INSERT\",\"key\":{\"id\":1},"
                   "\"data\":{\"id\":1,\"name\":\"Ada\",\"age\":36},\"source\":\"external\"}\n");
    end(f);
}

static void tables_are_lines(void **state)
{
    struct fixture *f = begin(false);
    struct table *people = TABLE("people", "id:INTEGER:k", "name:TEXT:n", "age:INT:");

    (void)state;
    change(f, CHANGE_TABLE_CREATED, f->orders, NULL, NULL);
    change(f, CHANGE_TABLE_ALTERED, people, NULL, NULL);
    f->b->changes[1].old_table = f->users;
    batch_hold(f->b, f->users);
    change(f, CHANGE_TABLE_DROPPED, f->orders, NULL, NULL);
    assert_int_equal(commit(f), 0);
    assert_printed(
        "00:00:01.000 + table:created Orders(id INTEGER)\n"
        "00:00:01.000 ~ table:altered people(id INTEGER, name TEXT, age INT)  renamed from users\n"
        "00:00:01.000 - table:dropped Orders(id INTEGER)\n");
    table_unref(people);
    end(f);
}

static void only_the_named_tables(void **state)
{
    struct fixture *f = begin(false);
    char *names[] = {(char[]){"ORDERS"}, (char[]){"Users"}};
    struct table *people = TABLE("people", "id:INTEGER:k", "name:TEXT:n", "age:INT:");
    struct value *order = batch_row(f->b, 1);

    (void)state;
    f->feed.selection.tables = names;
    f->feed.selection.table_count = 1;
    assert_int_equal(selection_check(&f->feed.selection, f->schema, "a.db", &f->err), 0);
    order[0] = INTEGER(7);
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 36));
    change(f, CHANGE_INSERT, f->orders, NULL, order);
    change(f, CHANGE_TABLE_DROPPED, f->users, NULL, NULL);
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 + INSERT Orders id=7\n");

    /* Who follows a table is told that it has another name now. */
    f->feed.selection.table_count = 2;
    change(f, CHANGE_TABLE_ALTERED, people, NULL, NULL);
    f->b->changes[0].old_table = f->users;
    batch_hold(f->b, f->users);
    change(f, CHANGE_INSERT, people, NULL, user(f, 2, "Bob", 1));
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 ~ table:altered people(id INTEGER, name TEXT, age INT)  renamed "
                   "from users\n");
    table_unref(people);
    end(f);
}

static void only_some_events(void **state)
{
    struct fixture *f = begin(false);

    (void)state;
    f->feed.selection.events = selection_events(" delete,Insert ", &f->err);
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 36));
    change(f, CHANGE_UPDATE, f->users, user(f, 1, "Ada", 36), user(f, 1, "Ada", 37));
    change(f, CHANGE_DELETE, f->users, user(f, 1, "Ada", 37), NULL);
    change(f, CHANGE_TABLE_DROPPED, f->users, NULL, NULL);
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 + INSERT users id=1  name='Ada'  age=36\n"
                   "00:00:01.000 - DELETE users id=1  name='Ada'  age=37\n"
                   "00:00:01.000 - table:dropped users(id INTEGER, name TEXT, age INT)\n");
    assert_int_equal(selection_events(NULL, &f->err), EVENTS_ALL);
    assert_int_equal(selection_events("insert,,update,", &f->err), 0);
    assert_string_equal(buf_text(&f->err), "--events wants some of insert,update,delete, not \"\"");
    end(f);
}

static void only_rows_that_match(void **state)
{
    struct fixture *f = begin(false);
    char *names[] = {(char[]){"users"}};

    (void)state;
    f->feed.selection.tables = names;
    f->feed.selection.table_count = 1;
    f->filters = (struct option_list){2, {"age >= 18", "name = ADA"}};
    assert_int_equal(selection_check(&f->feed.selection, f->schema, "a.db", &f->err), 0);
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 17));
    change(f, CHANGE_UPDATE, f->users, user(f, 1, "Ada", 17), user(f, 1, "Ada", 18));
    change(f, CHANGE_UPDATE, f->users, user(f, 1, "Ada", 18), user(f, 1, "Eve", 18));
    change(f, CHANGE_DELETE, f->users, user(f, 1, "Eve", 18), NULL);
    change(f, CHANGE_INSERT, f->users, NULL, user(f, 2, "ada", 90));
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 ~ UPDATE users id=1  age=17→18  (now matches the filter)\n"
                   "00:00:01.000 ~ UPDATE users id=1  name='Ada'→'Eve'  (no longer matches the "
                   "filter)\n"
                   "00:00:01.000 + INSERT users id=2  name='ada'  age=90\n");
    end(f);
}

/* The table may get another definition, and another table the name. */
static void filters_follow_the_definition(void **state)
{
    struct fixture *f = begin(false);
    char *names[] = {(char[]){"users"}};
    struct table *other = TABLE("users", "age:TEXT:", "id:INTEGER:k");
    struct table *without = TABLE("users", "id:INTEGER:k");
    struct value *row;

    (void)state;
    f->feed.selection.tables = names;
    f->feed.selection.table_count = 1;
    f->filters = (struct option_list){1, {"age > 5"}};
    assert_int_equal(selection_check(&f->feed.selection, f->schema, "a.db", &f->err), 0);
    row = batch_row(f->b, 2);
    row[0] = TEXT("50"), row[1] = INTEGER(1);
    change(f, CHANGE_TABLE_CREATED, other, NULL, NULL);
    change(f, CHANGE_INSERT, other, NULL, row);
    row = batch_row(f->b, 2);
    row[0] = TEXT("40"), row[1] = INTEGER(2);
    change(f, CHANGE_INSERT, other, NULL, row);
    f->b->changes[1].rowid = f->b->changes[2].rowid = 1;
    assert_int_equal(commit(f), 0);
    assert_printed("00:00:01.000 + table:created users(age TEXT, id INTEGER)\n"
                   "00:00:01.000 + INSERT users id=1  age='50'\n");

    row = batch_row(f->b, 1);
    row[0] = INTEGER(1);
    change(f, CHANGE_INSERT, without, NULL, row);
    assert_int_equal(commit(f), STATUS_INVALID);
    assert_non_null(strstr(buf_text(&f->err), "cannot be used on users: "));
    assert_non_null(strstr(buf_text(&f->err), "age"));
    table_unref(other);
    table_unref(without);
    end(f);
}

static void what_cannot_be_followed(void **state)
{
    static const struct {
        const char *table, *filter, *message;
        int status;
    } cases[] = {
        {"userz", NULL, "a.db has no table \"userz\"; its tables: Orders, users", STATUS_NOT_FOUND},
        {"adults", NULL, "adults in a.db is a view: follow the tables that it reads from",
            STATUS_INVALID},
        {"users", "nosuch = 1", "the filter cannot be used on users: ", STATUS_INVALID},
        {"users", "age", "the filter cannot be used on users: ", STATUS_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = begin(false);
        char name[16], *names[] = {name};

        strcpy(name, cases[i].table);
        f->feed.selection.tables = names;
        f->feed.selection.table_count = 1;
        if (cases[i].filter)
            f->filters = (struct option_list){1, {cases[i].filter}};
        assert_int_equal(
            selection_check(&f->feed.selection, f->schema, "a.db", &f->err), cases[i].status);
        assert_int_equal(strncmp(buf_text(&f->err), cases[i].message, strlen(cases[i].message)), 0);
        end(f);
    }
}

static void a_gap_is_a_line(void **state)
{
    struct fixture *f = begin(false);

    (void)state;
    f->b->gap = "capture_gap";
    assert_int_equal(commit(f), 0);
    assert_non_null(strstr(buf_text(&printed), " ! resync: changes are missing here: "));
    assert_non_null(strstr(buf_text(&printed), "(capture_gap)\n"));
    end(f);
}

static void much_is_flushed_in_pieces_until_nobody_reads(void **state)
{
    struct fixture *f = begin(false);

    (void)state;
    for (int i = 0; i < 5000; i++)
        change(f, CHANGE_INSERT, f->users, NULL, user(f, i, "Ada", 36));
    assert_int_equal(commit(f), 0);
    assert_true(flushes > 2 && flushes < 20);
    flushes = 0;
    flush_status = STATUS_CLOSED;
    for (int i = 0; i < 5000; i++)
        change(f, CHANGE_INSERT, f->users, NULL, user(f, i, "Ada", 36));
    assert_int_equal(commit(f), STATUS_CLOSED);
    assert_int_equal(flushes, 1);
    end(f);
}

static void sweep(bool json)
{
    bool hit = true;
    long n;

    for (n = 0; hit; n++) {
        struct fixture *f = begin(json);
        char *names[] = {(char[]){"users"}};
        int status;

        assert_true(n < 1000);
        assert_non_null(buf_reserve(&printed, 4096));
        f->feed.selection.tables = names;
        f->feed.selection.table_count = 1;
        f->filters = (struct option_list){2, {"age >= 18", "name = ADA"}};
        change(f, CHANGE_INSERT, f->users, NULL, user(f, 1, "Ada", 36));
        change(f, CHANGE_UPDATE, f->users, user(f, 1, "Ada", 36), user(f, 1, "Ada", 37));
        batch_end_transaction(f->b, 0, NULL);
        batch_seal(f->b, &f->seq, &f->tx);
        mem_fail_after(n);
        status = selection_check(&f->feed.selection, f->schema, "a.db", &f->err);
        if (status == 0)
            status = feed_put(&f->feed, f->b, &f->err);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_true(status == (hit ? STATUS_NOMEM : 0));
        end(f);
    }
    assert_true(n > 5);
}

static void no_memory_is_a_failure_that_leaks_nothing(void **state)
{
    (void)state;
    sweep(false);
    sweep(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_lines),
        cmocka_unit_test(json_is_what_a_server_sends),
        cmocka_unit_test(tables_are_lines),
        cmocka_unit_test(only_the_named_tables),
        cmocka_unit_test(only_some_events),
        cmocka_unit_test(only_rows_that_match),
        cmocka_unit_test(filters_follow_the_definition),
        cmocka_unit_test(what_cannot_be_followed),
        cmocka_unit_test(a_gap_is_a_line),
        cmocka_unit_test(much_is_flushed_in_pieces_until_nobody_reads),
        cmocka_unit_test(no_memory_is_a_failure_that_leaks_nothing),
    };
    int failed;

    setenv("TZ", "UTC", 1);
    tzset();
    term_start();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&printed);
    return failed;
}
