/*
 * What SQLite can at best do: inserts rows like those of `rowtap bench` as fast as it goes, with
 * the durability that rowtap has by default (WAL, synchronous=FULL).
 *
 *   insert DATABASE ROWS SECONDS [PAYLOAD]
 *
 * ROWS of one transaction; 1: each row commits by itself. Prints one line of JSON, with the number
 * of rows that a second connection finds afterwards.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sqlite3 *db;

static void check(int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return;
    fprintf(stderr, "insert: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static void sql(const char *text)
{
    check(sqlite3_exec(db, text, NULL, NULL, NULL));
}

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t count(const char *path)
{
    sqlite3 *other;
    sqlite3_stmt *s;
    int64_t n;

    check(sqlite3_open(path, &other));
    check(sqlite3_prepare_v2(other, "SELECT count(*) FROM bench", -1, &s, NULL));
    check(sqlite3_step(s));
    n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(other);
    return n;
}

int main(int argc, char **argv)
{
    sqlite3_stmt *insert, *begin, *commit;
    int rows, payload;
    int64_t start, end, total = 0;
    char *text;

    if (argc < 4) {
        fprintf(stderr, "usage: insert DATABASE ROWS SECONDS [PAYLOAD]\n");
        return 2;
    }
    rows = atoi(argv[2]);
    payload = argc > 4 ? atoi(argv[4]) : 43;
    text = malloc((size_t)payload);
    if (!text)
        return 1;
    memset(text, 'x', (size_t)payload);
    check(sqlite3_open(argv[1], &db));
    sql("PRAGMA journal_mode=WAL");
    sql("PRAGMA synchronous=FULL");
    sql("DROP TABLE IF EXISTS bench");
    sql("CREATE TABLE bench(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)");
    check(
        sqlite3_prepare_v2(db, "INSERT INTO bench(k, payload, at) VALUES (?,?,?)", -1, &insert, 0));
    check(sqlite3_prepare_v2(db, "BEGIN IMMEDIATE", -1, &begin, 0));
    check(sqlite3_prepare_v2(db, "COMMIT", -1, &commit, 0));
    start = now();
    end = start + (int64_t)(atof(argv[3]) * 1e9);
    while (now() < end) {
        if (rows > 1) {
            check(sqlite3_step(begin));
            sqlite3_reset(begin);
        }
        for (int i = 0; i < rows; i++) {
            sqlite3_bind_int64(insert, 1, ++total);
            sqlite3_bind_text(insert, 2, text, payload, SQLITE_STATIC);
            sqlite3_bind_int64(insert, 3, start);
            check(sqlite3_step(insert));
            check(sqlite3_reset(insert));
        }
        if (rows > 1) {
            check(sqlite3_step(commit));
            sqlite3_reset(commit);
        }
    }
    end = now();
    printf("{\"rows\":%lld,\"found\":%lld,\"seconds\":%.3f,\"writesPerSecond\":%.1f}\n",
        (long long)total, (long long)count(argv[1]), (double)(end - start) / 1e9,
        (double)total * 1e9 / (double)(end - start));
    return 0;
}
