#include "cli/bench_run.h"
#include "base/status.h"
#include "cli/interrupt.h"
#include "cli/term.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int bench_run_sql(struct bench_run *b, const char *sql)
{
    struct buf body = {0}, answer = {0};
    int status;

    buf_puts(&body, "{\"sql\":");
    buf_put_json_text(&body, sql);
    buf_putc(&body, '}');
    status = client_request(b->client, "/api/sql", &body, &answer, &b->err);
    if (status > 0 && status != 200)
        client_explain(b->client, status, &answer, NULL, &b->err);
    buf_fini(&body);
    buf_fini(&answer);
    return status == 200 ? 0 : STATUS_IO;
}

static int run_on_table(struct bench_run *b, const char *before, const char *after)
{
    struct buf sql = {0};
    int status = STATUS_NOMEM;

    buf_printf(&sql, "%s %s%s", before, b->quoted.data, after);
    if (buf_text(&sql))
        status = bench_run_sql(b, sql.data);
    buf_fini(&sql);
    return status;
}

int bench_run_open(struct bench_run *b, const char *columns, bool reuse)
{
    b->rounds = 0;
    return run_on_table(b, reuse ? "CREATE TABLE IF NOT EXISTS" : "CREATE TABLE", columns);
}

/* What was wrong before is the news; a table left behind comes second. */
int bench_run_close(struct bench_run *b, int status)
{
    struct buf first = b->err;

    interrupt_clear();
    if (b->o.keep)
        return status;
    buf_init(&b->err, 0);
    if (run_on_table(b, "DROP TABLE", "") < 0) {
        fprintf(stderr, "rowtap: table %s is left behind: %s\n", b->o.table,
            buf_text(&b->err) ? b->err.data : "");
        status = STATUS_IO;
    }
    buf_fini(&b->err);
    b->err = first;
    return status;
}

/* A line was read; false at the end of standard input and after ^C. */
static bool next_step(void)
{
    struct pollfd fds[2] = {
        {.fd = STDIN_FILENO, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
    char c = 0;

    while (c != '\n') {
        if (poll(fds, 2, -1) < 0 || interrupt_seen() || read(STDIN_FILENO, &c, 1) != 1)
            return false;
    }
    return true;
}

bool bench_run_round(struct bench_run *b, struct bench_reader *reader)
{
    bool go;

    if (!b->o.steps)
        return b->rounds++ == 0 && !interrupt_seen();
    if (b->rounds++ == 0)
        fprintf(stderr, "ready\n");
    if (reader && bench_reader_start(reader) < 0)
        return false;
    go = next_step();
    if (reader)
        bench_reader_stop(reader);
    return go;
}

int bench_run_print(struct bench_run *b, const struct bench_result *r)
{
    struct buf out = {0};
    int status;

    if (b->o.format == 1)
        bench_result_json(r, b->earlier, &out);
    else
        bench_result_text(r, b->earlier, &out);
    status = term_flush(&out) == STATUS_IO ? STATUS_IO : 0;
    fflush(stdout);
    b->bad = b->bad || !r->good;
    buf_fini(&out);
    return status;
}

static bool metric(const char *text, const char *name, double *value)
{
    size_t len = strlen(name);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            *value = strtod(line + len, NULL);
            return true;
        }
    }
    return false;
}

bool bench_run_cost(struct bench_run *b, struct bench_cost *cost)
{
    struct buf answer = {0}, ignored = {0};
    bool found = client_request(b->client, "/metrics", NULL, &answer, &ignored) == 200 &&
                 buf_text(&answer) &&
                 metric(answer.data, "process_cpu_seconds_total", &cost->cpu_seconds) &&
                 metric(answer.data, "process_resident_memory_bytes", &cost->bytes);

    buf_fini(&answer);
    buf_fini(&ignored);
    return found;
}

double bench_run_cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
