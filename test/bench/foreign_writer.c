/*
 * A process that writes to a SQLite file beside a server, for scripts/bench: single-row commits in
 * a table of its own, or one SQL statement.
 *
 *   foreign_writer [options] DATABASE TABLE
 *   foreign_writer [-b MS] -q SQL DATABASE
 *
 *   -n COMMITS  -s SECONDS   ends after so many commits, so much time (default 600), or when
 * standard input ends, which only a writer with a rate looks at -r RATE                  commits
 * per second; default: as many as go -y normal|full           PRAGMA synchronous; default normal -b
 * MS                    busy timeout, default 5000; 0: none, a busy commit is counted and tried
 * again -c PAGES                 PRAGMA wal_autocheckpoint -l FILE                  at the end,
 * three native int64 per commit: rowid, the clock before the INSERT (column `at` of the row has it
 * too), the clock after the commit
 *
 * When all is prepared it prints "ready", and begins at a line on standard input. It ends with one
 * line of JSON. Clocks are CLOCK_MONOTONIC in nanoseconds.
 */
#include <errno.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct moment {
    int64_t id, before, after;
};

struct options {
    const char *path, *table, *sql, *synchronous, *log;
    int64_t commits;
    double seconds, rate;
    int busy_ms, autocheckpoint;
};

static struct options opt = {
    .synchronous = "normal", .seconds = 600, .busy_ms = 5000, .autocheckpoint = -1};
static sqlite3 *db;
static struct moment *moments;
static size_t moment_count, moment_cap;

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t processor_time(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * INT64_C(1000000000) +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * INT64_C(1000);
}

static void sleep_until(int64_t when)
{
    struct timespec t = {(time_t)(when / 1000000000), (long)(when % 1000000000)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void die(const char *what)
{
    fprintf(stderr, "foreign_writer: %s: %s\n", what, db ? sqlite3_errmsg(db) : strerror(errno));
    exit(1);
}

static void execute(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sql);
}

__attribute__((format(printf, 1, 2))) static void execute_f(const char *format, ...)
{
    char sql[512];
    va_list args;

    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    execute(sql);
}

static void open_database(void)
{
    if (sqlite3_open(opt.path, &db) != SQLITE_OK)
        die(opt.path);
    sqlite3_busy_timeout(db, 60000); /* while it is prepared */
    execute("PRAGMA journal_mode=WAL");
    execute_f("PRAGMA synchronous=%s", opt.synchronous);
    if (opt.autocheckpoint >= 0)
        execute_f("PRAGMA wal_autocheckpoint=%d", opt.autocheckpoint);
    if (opt.table)
        execute_f(
            "CREATE TABLE IF NOT EXISTS \"%s\"(id INTEGER PRIMARY KEY, at INTEGER, text TEXT)",
            opt.table);
    sqlite3_busy_timeout(db, opt.busy_ms);
}

static void wait_for_go(void)
{
    char byte;

    printf("ready\n");
    fflush(stdout);
    do {
        if (read(STDIN_FILENO, &byte, 1) != 1)
            exit(1);
    } while (byte != '\n');
}

static bool input_ended(void)
{
    struct pollfd in = {STDIN_FILENO, POLLIN, 0};

    return poll(&in, 1, 0) > 0;
}

static void remember(int64_t before, int64_t after)
{
    if (moment_count == moment_cap) {
        moment_cap = moment_cap ? moment_cap * 2 : 4096;
        moments = realloc(moments, moment_cap * sizeof *moments);
        if (!moments)
            die("no memory");
    }
    moments[moment_count++] = (struct moment){sqlite3_last_insert_rowid(db), before, after};
}

static void save_log(void)
{
    FILE *file = fopen(opt.log, "wb");

    if (!file || fwrite(moments, sizeof *moments, moment_count, file) != moment_count ||
        fclose(file) != 0) {
        perror(opt.log);
        exit(1);
    }
}

/* One commit; true when it found the database busy on the way. */
static bool commit_row(sqlite3_stmt *insert)
{
    int64_t before = now();
    bool busy = false;
    int result;

    sqlite3_bind_int64(insert, 1, before);
    do {
        sqlite3_step(insert);
        result = sqlite3_reset(insert);
        busy |= (result & 0xff) == SQLITE_BUSY;
    } while ((result & 0xff) == SQLITE_BUSY && opt.busy_ms == 0);
    if (result != SQLITE_OK)
        die("INSERT");
    if (opt.log)
        remember(before, now());
    return busy;
}

static void write_rows(void)
{
    static const char text[] =
        "The quick brown fox jumps over the lazy dog and is seen by the feed";
    char sql[256];
    sqlite3_stmt *insert;
    int64_t count = 0, busy = 0, begun, deadline, next, end, cpu;

    snprintf(sql, sizeof sql, "INSERT INTO \"%s\"(at, text) VALUES(?1, ?2)", opt.table);
    if (sqlite3_prepare_v2(db, sql, -1, &insert, NULL) != SQLITE_OK)
        die(sql);
    sqlite3_bind_text(insert, 2, text, -1, SQLITE_STATIC);
    wait_for_go();
    cpu = processor_time();
    begun = next = now();
    deadline = begun + (int64_t)(opt.seconds * 1e9);
    while ((opt.commits == 0 || count < opt.commits) && now() < deadline) {
        if (opt.rate > 0) {
            if (input_ended())
                break;
            sleep_until(next);
            next += (int64_t)(1e9 / opt.rate);
            if (next < now()) /* what was held up is not caught up with */
                next = now();
        }
        busy += commit_row(insert);
        count++;
    }
    end = now();
    cpu = processor_time() - cpu;
    sqlite3_finalize(insert);
    if (opt.log)
        save_log();
    printf("{\"commits\":%lld,\"busy\":%lld,\"begin\":%lld,\"end\":%lld,\"cpu\":%lld}\n",
        (long long)count, (long long)busy, (long long)begun, (long long)end, (long long)cpu);
}

static void run_statement(void)
{
    int64_t begun, end;

    wait_for_go();
    begun = now();
    execute(opt.sql);
    end = now();
    printf("{\"changes\":%d,\"begin\":%lld,\"end\":%lld}\n", sqlite3_changes(db), (long long)begun,
        (long long)end);
}

int main(int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "n:s:r:y:b:c:l:q:")) != -1) {
        switch (c) {
        case 'n':
            opt.commits = atoll(optarg);
            break;
        case 's':
            opt.seconds = atof(optarg);
            break;
        case 'r':
            opt.rate = atof(optarg);
            break;
        case 'y':
            opt.synchronous = optarg;
            break;
        case 'b':
            opt.busy_ms = atoi(optarg);
            break;
        case 'c':
            opt.autocheckpoint = atoi(optarg);
            break;
        case 'l':
            opt.log = optarg;
            break;
        case 'q':
            opt.sql = optarg;
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != (opt.sql ? 1 : 2)) {
        fprintf(stderr, "usage: foreign_writer [options] DATABASE TABLE | -q SQL DATABASE\n");
        return 2;
    }
    opt.path = argv[optind];
    opt.table = opt.sql ? NULL : argv[optind + 1];
    open_database();
    if (opt.sql)
        run_statement();
    else
        write_rows();
    fflush(stdout);
    sqlite3_close(db);
    return 0;
}
