#include "other.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUSY_MS 20000

/* In the other process. */

struct row_text {
    char text[4000];
    size_t len;
};

static int add_row(void *ctx, int count, char **values, char **names)
{
    struct row_text *t = ctx;
    (void)names;
    for (int i = 0; i < count && t->len < sizeof(t->text) - 1; i++) {
        int n = snprintf(t->text + t->len, sizeof(t->text) - t->len, "%s%s", t->len ? "|" : "",
            values[i] ? values[i] : "NULL");
        t->len += (size_t)n;
    }
    return 0;
}

static int run_sql(sqlite3 *db, const char *sql, struct row_text *rows, char **err)
{
    int rc = sqlite3_exec(db, sql, add_row, rows, err);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db) && strncmp(sql, "BEGIN", 5) == 0)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static void run_line(sqlite3 *db, char *line)
{
    struct row_text rows = {.text = "ok"};
    char *err = NULL;
    long times = 1;
    if (strncmp(line, ".times ", 7) == 0)
        times = strtol(line + 7, &line, 10);
    int rc = SQLITE_OK;
    while (times-- > 0 && rc == SQLITE_OK) {
        rows.len = 0;
        rc = run_sql(db, line, &rows, &err);
    }
    if (rc == SQLITE_OK)
        printf("%s\n", rows.text);
    else
        printf("error: %s\n", err ? err : sqlite3_errstr(rc));
    sqlite3_free(err);
    fflush(stdout);
}

void other_main(int argc, char **argv)
{
    sqlite3 *db;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    if (argc != 3 || strcmp(argv[1], "--other") != 0)
        return;
    if (sqlite3_open(argv[2], &db) != SQLITE_OK)
        exit(1);
    sqlite3_busy_timeout(db, BUSY_MS);
    while ((len = getline(&line, &size, stdin)) > 0) {
        line[len - 1] = 0;
        run_line(db, line);
    }
    free(line);
    sqlite3_close(db);
    exit(0);
}

/* In the test. */

void other_start(struct other *o, const char *path)
{
    extern char **environ;
    int in[2], out[2];
    char self[] = "/proc/self/exe", word[] = "--other", copy[4096];
    char *argv[] = {self, word, copy, NULL};
    posix_spawn_file_actions_t actions;
    snprintf(copy, sizeof(copy), "%s", path);
    signal(SIGPIPE, SIG_IGN);
    /* Nobody else may inherit an end, or closing it would not be seen. */
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&o->pid, self, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    o->to = fdopen(in[1], "w");
    o->from = fdopen(out[0], "r");
}

void other_end(struct other *o)
{
    int status;
    fclose(o->to);
    fclose(o->from);
    assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void other_kill(struct other *o)
{
    kill(o->pid, SIGKILL);
    waitpid(o->pid, NULL, 0);
    fclose(o->to);
    fclose(o->from);
}

static void send_line(struct other *o, const char *fmt, va_list ap)
{
    vfprintf(o->to, fmt, ap);
    fputc('\n', o->to);
    fflush(o->to);
}

void other_send(struct other *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    send_line(o, fmt, ap);
    va_end(ap);
}

bool other_ready(struct other *o)
{
    struct pollfd p = {.fd = fileno(o->from), .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

const char *other_wait(struct other *o)
{
    if (!fgets(o->answer, sizeof(o->answer), o->from))
        fail_msg("the other process is gone");
    o->answer[strcspn(o->answer, "\n")] = 0;
    return o->answer;
}

const char *other_try(struct other *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    send_line(o, fmt, ap);
    va_end(ap);
    return other_wait(o);
}

const char *other_ok(struct other *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    send_line(o, fmt, ap);
    va_end(ap);
    if (strncmp(other_wait(o), "error:", 6) == 0) {
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fail_msg(": %s", o->answer);
    }
    return o->answer;
}
