#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "filter/filter_index.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct table *table;
static struct filter_index *ix;

static int set_up(void **state)
{
    (void)state;
    table = TABLE("t", "id:INTEGER:", "owner:TEXT:n", "kind:TEXT:", "any::", "pad:TEXT:r");
    ix = filter_index_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    filter_index_free(ix);
    table_unref(table);
    return 0;
}

static struct filter *filter(const char *a, const char *b)
{
    const char *texts[] = {a, b};
    size_t lens[] = {a ? strlen(a) : 0, b ? strlen(b) : 0};
    char err[256];
    int status;
    struct filter *f = filter_new(table, texts, lens,
        !a  ? 0
        : b ? 2
            : 1,
        err, sizeof(err), &status);
    if (!f)
        fail_msg("%s", err);
    return f;
}

/* What a subscription is filed with: the filter is at its end. */
struct holder {
    struct subscription *owner;
    struct filter_entry entry;
};

/* A subscription, with what the index said about it. */
struct subscription {
    struct filter *filter;
    struct holder *holder;
    int offered;
    bool matched_new, matched_old;
    bool filed;
};

static void hold(struct subscription *s)
{
    s->holder = malloc(offsetof(struct holder, entry.filter) + s->filter->size);
    s->holder->owner = s;
    filter_copy(&s->holder->entry.filter, s->filter);
}

static int file(struct subscription *s)
{
    int rc = filter_index_add(ix, &s->holder->entry);
    s->filed = rc == 0;
    return rc;
}

static void drop(struct subscription *s)
{
    filter_free(s->filter);
    free(s->holder);
    *s = (struct subscription){0};
}

static void note(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx)
{
    struct subscription *s = ((struct holder *)((char *)e - offsetof(struct holder, entry)))->owner;
    s->offered++;
    s->matched_new = matched_new;
    s->matched_old = matched_old;
    ++*(int *)ctx;
}

static void subscribe(struct subscription *s, const char *a, const char *b)
{
    *s = (struct subscription){.filter = filter(a, b)};
    hold(s);
    assert_int_equal(file(s), 0);
}

static void unsubscribe(struct subscription *s)
{
    if (s->filed)
        filter_index_remove(ix, &s->holder->entry);
    drop(s);
}

static int match(const struct value *row, const struct value *old)
{
    int found = 0;
    filter_index_match(ix, row, row ? row[0].i : 0, old, old ? old[0].i : 0, note, &found);
    return found;
}

#define ROW(id, owner, kind)                                                                       \
    ((struct value[]){INTEGER(id), TEXT(owner), TEXT(kind), NULL_VALUE, NULL_VALUE})

static void an_update_enters_stays_and_leaves(void **state)
{
    (void)state;
    struct subscription ann, both, all, late;
    subscribe(&ann, "owner=ann", NULL);
    subscribe(&both, "owner in (ann,bob)", NULL);
    subscribe(&all, NULL, NULL);
    subscribe(&late, "id>100", NULL);
    assert_int_equal(filter_index_count(ix), 4);

    assert_int_equal(match(ROW(1, "Bob", "x"), ROW(1, "ANN", "x")), 3);
    assert_int_equal(ann.offered, 1);
    assert_true(!ann.matched_new && ann.matched_old);
    assert_int_equal(both.offered, 1);
    assert_true(both.matched_new && both.matched_old);
    assert_true(all.matched_new && all.matched_old);

    assert_int_equal(match(ROW(101, "ann", "x"), NULL), 4);
    assert_true(ann.matched_new && !ann.matched_old);
    assert_int_equal(match(NULL, ROW(1, "eve", "x")), 1);
    assert_int_equal(
        match((struct value[]){INTEGER(1), NULL_VALUE, ABSENT, ABSENT, ABSENT}, NULL), 1);

    unsubscribe(&ann);
    unsubscribe(&all);
    assert_int_equal(match(ROW(1, "ann", "x"), NULL), 1);
    unsubscribe(&both);
    unsubscribe(&late);
    assert_int_equal(match(ROW(1, "ann", "x"), NULL), 0);
    assert_int_equal(filter_index_count(ix), 0);
}

static void all_terms_count(void **state)
{
    (void)state;
    struct subscription s, t, u;
    subscribe(&s, "owner=ann", "kind=x");
    subscribe(&t, "kind=x", "id>5");
    subscribe(&u, "rowid=7", "kind=y");
    assert_int_equal(match(ROW(1, "ann", "x"), NULL), 1);
    assert_int_equal(match(ROW(7, "ann", "x"), NULL), 2);
    assert_int_equal(match(ROW(7, "eve", "y"), NULL), 1);
    assert_int_equal(match(ROW(8, "eve", "y"), NULL), 0);
    unsubscribe(&s);
    unsubscribe(&t);
    unsubscribe(&u);
}

static void the_index_may_go_before_its_entries(void **state)
{
    (void)state;
    struct subscription s, t, u, v;
    subscribe(&s, "owner in (a,b,c)", NULL);
    subscribe(&t, "kind=x", NULL);
    subscribe(&u, "id>5", NULL);
    subscribe(&v, "id>5", "id<=9");
    filter_index_free(ix);
    ix = NULL;
    drop(&s);
    drop(&t);
    drop(&u);
    drop(&v);
}

/*
 * Values that lie close to each other in SQLite's order, as a filter has them, and as a row does.
 * 9007199254740993 is the first integer that no double is.
 */
static const struct {
    const char *text;
    struct value value;
} extremes[] = {
    {"9007199254740991", {.i = 9007199254740991, .type = VALUE_INTEGER}},
    {"9007199254740992", {.i = 9007199254740992, .type = VALUE_INTEGER}},
    {"9007199254740993", {.i = 9007199254740993, .type = VALUE_INTEGER}},
    {"9007199254740994", {.i = 9007199254740994, .type = VALUE_INTEGER}},
    {"9007199254740992.0", {.r = 9007199254740992.0, .type = VALUE_REAL}},
    {"9007199254740994.0", {.r = 9007199254740994.0, .type = VALUE_REAL}},
    {"9223372036854775807", {.i = INT64_MAX, .type = VALUE_INTEGER}},
    {"9223372036854775808", {.r = 9223372036854775808.0, .type = VALUE_REAL}},
    {"-9223372036854775808", {.i = INT64_MIN, .type = VALUE_INTEGER}},
    {"-9.3e18", {.r = -9.3e18, .type = VALUE_REAL}},
    {"9e999", {.r = INFINITY, .type = VALUE_REAL}},
    {"-9e999", {.r = -INFINITY, .type = VALUE_REAL}},
    {"0", {.i = 0, .type = VALUE_INTEGER}},
    {"0.0", {.r = 0.0, .type = VALUE_REAL}},
    {"-0.0", {.r = -0.0, .type = VALUE_REAL}},
    {"5e-324", {.r = 5e-324, .type = VALUE_REAL}},
    {"'nan'", {.p = "nan", .len = 3, .type = VALUE_TEXT}},
    {"''", {.p = "", .len = 0, .type = VALUE_TEXT}},
    {"'a'", {.p = "a", .len = 1, .type = VALUE_TEXT}},
    {"'A'", {.p = "A", .len = 1, .type = VALUE_TEXT}},
    {"'a  '", {.p = "a  ", .len = 3, .type = VALUE_TEXT}},
    {"'a b'", {.p = "a b", .len = 3, .type = VALUE_TEXT}},
    {"'[1'", {.p = "[1", .len = 2, .type = VALUE_TEXT}},
    {"'\xc3\xa4'", {.p = "\xc3\xa4", .len = 2, .type = VALUE_TEXT}},
    {"x''", {.p = "", .len = 0, .type = VALUE_BLOB}},
    {"x'00'", {.p = "\0", .len = 1, .type = VALUE_BLOB}},
    {"x'61'", {.p = "a", .len = 1, .type = VALUE_BLOB}},
    {"x'6100'", {.p = "a\0", .len = 2, .type = VALUE_BLOB}},
    {"x'ff'", {.p = "\xff", .len = 1, .type = VALUE_BLOB}},
};
enum { EXTREMES = sizeof(extremes) / sizeof(extremes[0]) };

static const char *const operators[] = {"=", "<", "<=", ">", ">=", "!="};

static const char *extreme(void)
{
    return extremes[rand() % EXTREMES].text;
}

/* Over values of every kind, in columns of different collations. */
static void extreme_condition(char *out, size_t size)
{
    static const char *const columns[] = {"any", "any", "pad", "owner", "id"};
    const char *column = columns[rand() % 5];
    if (rand() % 6 == 0)
        snprintf(out, size, "%s in (%s,%s,%s)", column, extreme(), extreme(), extreme());
    else if (rand() % 12 == 0)
        snprintf(out, size, "%s is %s", column, rand() % 3 ? "null" : "not null");
    else
        snprintf(out, size, "%s%s%s", column, operators[rand() % 6], extreme());
}

/* Conditions over few values, so that rows meet them often. */
static const char *random_condition(char *out, size_t size)
{
    int a = rand() % 8, b = rand() % 8, c = rand() % 8;
    switch (rand() % 12) {
    case 0:
        snprintf(out, size, "id=%d", a);
        break;
    case 1:
        snprintf(out, size, "owner=%c", "aAbBcCdD"[a]);
        break;
    case 2:
        snprintf(out, size, "kind=k%d", a);
        break;
    case 3:
        snprintf(out, size, "owner in (%c,%c,%c)", "aAbBcCdD"[a], "aAbBcCdD"[b], "aAbBcCdD"[c]);
        break;
    case 4:
        snprintf(out, size, "rowid in (%d,%d)", a, b);
        break;
    case 5:
        snprintf(out, size, "kind!=k%d", a);
        break;
    case 6:
        snprintf(out, size, "kind is null");
        break;
    case 7:
        snprintf(out, size, "id=%d.5", a);
        break;
    case 8:
        snprintf(out, size, "owner%s%c", operators[rand() % 6], "aAbBcCdD"[a]);
        break;
    case 9:
        snprintf(out, size, "id%s%d%s", operators[rand() % 6], a, b % 2 ? "" : ".5");
        break;
    default:
        extreme_condition(out, size);
    }
    return out;
}

static struct value random_value(void)
{
    int i = rand() % (EXTREMES + 4);
    if (i >= EXTREMES)
        return i % 2 ? NULL_VALUE : ABSENT;
    return extremes[i].value;
}

static struct value *random_row(struct value *row)
{
    static const char *const owners[] = {"a", "A", "b", "B", "c", "C", "d", "D"};
    static const char *const kinds[] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    int owner = rand() % 9, kind = rand() % 9;
    row[0] = INTEGER(rand() % 8);
    row[1] =
        owner == 8 ? NULL_VALUE : (struct value){.p = owners[owner], .len = 1, .type = VALUE_TEXT};
    row[2] =
        kind == 8 ? NULL_VALUE : (struct value){.p = kinds[kind], .len = 2, .type = VALUE_TEXT};
    row[3] = random_value();
    row[4] = random_value();
    if (rand() % 4 == 0)
        row[rand() % 2] = random_value();
    return row;
}

static int64_t rowid_of(const struct value *row)
{
    return row ? row[0].i : 0;
}

static void check_against_scan(struct subscription *subs, int count)
{
    struct value rows[2][5];
    struct value *row = rand() % 4 ? random_row(rows[0]) : NULL;
    struct value *old = rand() % 2 || !row ? random_row(rows[1]) : NULL;
    /* As in most updates, little has changed. */
    if (row && old && rand() % 2) {
        memcpy(old, row, sizeof(rows[0]));
        old[3] = random_value();
    }
    int expected = 0;
    for (int i = 0; i < count; i++)
        subs[i].offered = 0;
    int found = match(row, old);
    for (int i = 0; i < count; i++) {
        struct subscription *s = &subs[i];
        bool new_match = s->filed && filter_match(s->filter, row, rowid_of(row));
        bool old_match = s->filed && filter_match(s->filter, old, rowid_of(old));
        assert_int_equal(s->offered, new_match || old_match);
        if (s->offered)
            assert_true(s->matched_new == new_match && s->matched_old == old_match);
        expected += s->offered;
    }
    assert_int_equal(found, expected);
}

static void like_a_linear_scan(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct subscription subs[COUNT];
    srand(3);
    for (int step = 0; step < 20000; step++) {
        struct subscription *s = &subs[rand() % COUNT];
        char a[128], b[128];
        bool growing = step / 2500 % 2 == 0;
        if (s->filed && (!growing || rand() % 4 == 0))
            unsubscribe(s);
        else if (!s->filed && growing)
            subscribe(s, rand() % 20 ? random_condition(a, sizeof(a)) : NULL,
                rand() % 3 == 0 ? random_condition(b, sizeof(b)) : NULL);
        if (step % 4 == 0)
            check_against_scan(subs, COUNT);
    }
    for (int i = 0; i < COUNT; i++)
        unsubscribe(&subs[i]);
    assert_int_equal(filter_index_count(ix), 0);
}

static void count_only(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx)
{
    (void)e, (void)matched_new, (void)matched_old;
    ++*(int *)ctx;
}

static void report(const char *what, int64_t since, int64_t times)
{
    printf("# %s: %.3f us each\n", what, (double)(clock_mono_ns() - since) / 1e3 / (double)times);
}

enum { MANY = 100000 };

static void a_hundred_thousand(const char *what, int distinct, int lookups)
{
    struct subscription *subs = calloc(MANY, sizeof(*subs));
    int64_t start;
    for (int i = 0; i < MANY; i++) {
        char text[32];
        snprintf(text, sizeof(text), "id=%d", i % distinct);
        subs[i].filter = filter(text, NULL);
        hold(&subs[i]);
    }
    printf("# %s\n", what);
    start = clock_mono_ns();
    for (int i = 0; i < MANY; i++)
        assert_int_equal(file(&subs[i]), 0);
    report("add", start, MANY);

    int found = 0;
    start = clock_mono_ns();
    for (int i = 0; i < lookups; i++) {
        struct value row[] = {
            INTEGER(i % distinct), NULL_VALUE, NULL_VALUE, NULL_VALUE, NULL_VALUE};
        filter_index_match(ix, row, row[0].i, row, row[0].i, count_only, &found);
    }
    report("match", start, lookups);
    assert_int_equal(found, (int64_t)lookups * (MANY / distinct));

    start = clock_mono_ns();
    for (int i = 0; i < MANY; i++) {
        int k = i % 2 ? i : MANY - 2 - i; /* from both ends */
        unsubscribe(&subs[k]);
    }
    report("remove", start, MANY);
    /* A scan of the entries for each would take a minute. */
    assert_true(clock_mono_ns() - start < 5000000000);
    assert_int_equal(filter_index_count(ix), 0);
    free(subs);
}

static void many_entries_on_distinct_keys(void **state)
{
    (void)state;
    a_hundred_thousand("100000 entries, each with its own key", MANY, MANY);
}

static void many_entries_on_one_key(void **state)
{
    (void)state;
    a_hundred_thousand("100000 entries with one key", 1, 10);
}

/* The second condition tells the entries apart, though the first comes first. */
static void the_rarer_equality_is_used(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct subscription *subs = calloc(COUNT, sizeof(*subs));
    for (int i = 0; i < COUNT; i++) {
        char text[32];
        snprintf(text, sizeof(text), "id=%d", i);
        subscribe(&subs[i], "kind=x", text);
    }
    int found = 0;
    int64_t start = clock_mono_ns();
    for (int i = 0; i < COUNT; i++)
        found += match(ROW(i, "o", "x"), NULL);
    report("match of kind=x and id=N", start, COUNT);
    assert_int_equal(found, COUNT);
    assert_true(clock_mono_ns() - start < 2000000000);
    for (int i = 0; i < COUNT; i++)
        unsubscribe(&subs[i]);
    free(subs);
}

/* Each row is in a few of the ranges only. */
static void many_ranges(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static const char *const shapes[][2] = {
        {"id>=%d", "id<%d"}, {"id>%d", "id<=%d"}, {"rowid>=%d", "rowid<=%d"}};
    struct subscription *subs = calloc(COUNT, sizeof(*subs));
    char a[32], b[32];
    for (int i = 0; i < COUNT; i++) {
        int k = i * 7919 % COUNT;
        snprintf(a, sizeof(a), shapes[k % 3][0], k);
        snprintf(b, sizeof(b), shapes[k % 3][1], k + 2);
        subscribe(&subs[i], a, b);
    }
    int found = 0;
    int64_t start = clock_mono_ns();
    for (int i = 0; i < COUNT; i++)
        found += match(ROW(i, "o", "x"), ROW(i, "p", "x"));
    report("match of a range", start, COUNT);
    assert_in_range(found, 2 * COUNT, 3 * COUNT);
    assert_true(clock_mono_ns() - start < 2000000000);
    for (int i = 0; i < COUNT; i++)
        unsubscribe(&subs[i]);
    assert_int_equal(match(ROW(5, "o", "x"), NULL), 0);
    free(subs);
}

/* What all have in common does not keep the rest from telling them apart. */
static void a_range_is_used_where_the_equality_is_common(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct subscription *subs = calloc(COUNT, sizeof(*subs));
    char a[32], b[32];
    for (int i = 0; i < COUNT; i++) {
        const char *texts[] = {"kind=x", a, b};
        size_t lens[3];
        char err[256];
        int status;
        snprintf(a, sizeof(a), "id>=%d", i);
        snprintf(b, sizeof(b), "id<%d", i + 1);
        for (int k = 0; k < 3; k++)
            lens[k] = strlen(texts[k]);
        subs[i].filter = filter_new(table, texts, lens, 3, err, sizeof(err), &status);
        hold(&subs[i]);
        assert_int_equal(file(&subs[i]), 0);
    }
    int found = 0;
    int64_t start = clock_mono_ns();
    for (int i = 0; i < COUNT; i++)
        found += match(ROW(i, "o", "x"), NULL);
    report("match of kind=x and a range", start, COUNT);
    assert_int_equal(found, COUNT);
    assert_true(clock_mono_ns() - start < 2000000000);
    for (int i = 0; i < COUNT; i++)
        unsubscribe(&subs[i]);
    free(subs);
}

static void failing_allocations(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    static struct subscription subs[COUNT];
    srand(9);
    for (int i = 0; i < COUNT; i++) {
        char text[128];
        subs[i].filter = filter(random_condition(text, sizeof(text)), NULL);
        hold(&subs[i]);
    }
    for (long n = 0;; n++) {
        int refused = 0;
        mem_fail_after(n);
        struct filter_index *mine = ix, *other = ix = filter_index_new();
        for (int i = 0; other && i < COUNT; i++)
            refused += file(&subs[i]) < 0;
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        /* A hash table that cannot grow goes on as it is. */
        assert_true(hit || refused == 0);
        assert_in_range(refused, 0, 1);
        if (other) {
            assert_int_equal(filter_index_count(ix), COUNT - refused);
            for (int i = 0; i < 50; i++)
                check_against_scan(subs, COUNT);
            for (int i = 0; i < COUNT; i++)
                if (subs[i].filed && i % 2)
                    filter_index_remove(ix, &subs[i].holder->entry), subs[i].filed = false;
            for (int i = 0; i < 50; i++)
                check_against_scan(subs, COUNT);
            filter_index_free(other);
        }
        ix = mine;
        if (!hit)
            break;
    }
    for (int i = 0; i < COUNT; i++)
        drop(&subs[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_update_enters_stays_and_leaves),
        TEST(all_terms_count),
        TEST(the_index_may_go_before_its_entries),
        TEST(like_a_linear_scan),
        TEST(many_entries_on_distinct_keys),
        TEST(many_entries_on_one_key),
        TEST(the_rarer_equality_is_used),
        TEST(many_ranges),
        TEST(a_range_is_used_where_the_equality_is_common),
        TEST(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
