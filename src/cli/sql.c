#include "cli/sql.h"
#include "base/status.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/prompt.h"
#include "cli/query.h"
#include "cli/script.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct option_row sql_option_rows[] = {
    TARGET_OPTIONS,
    {"format", "table|json|csv", "how rows are printed; default table", OPTION_CHOICE,
        offsetof(struct sql_options, format)},
    {"timeout", "SECONDS", "give up waiting for an answer; default 0, never", OPTION_DURATION,
        offsetof(struct sql_options, timeout_ms), 0, 86400000},
    {"wait", NULL, "until the subscribers have been sent the changes, 5 s at most", OPTION_FLAG,
        offsetof(struct sql_options, wait)},
    {"pieces", NULL, "commit a transaction too large for one request in pieces", OPTION_FLAG,
        offsetof(struct sql_options, pieces)},
    {NULL},
};

const char sql_help[] =
    "Runs SQL on the server. Without SQL it reads standard input; on a terminal it prompts\n"
    "(.help there shows more). Several statements run as a script: each commits by itself\n"
    "unless the script says BEGIN, the first error stops it, and the last statement's result\n"
    "is printed.\n"
    "\n"
    "A PARAM is bound to ? by position: 42 and 1.5 are numbers, null is NULL, x'0aff' is a\n"
    "blob, 'quoted' is the text inside the quotes, anything else is text as it stands.\n"
    "--format json prints an array with one object for each row, csv is RFC 4180; a statement\n"
    "without rows prints its counts as an object, or nothing. --wait says on standard error to\n"
    "how many connections the changes have been sent.\n"
    "\n"
    "Examples:\n"
    "  rowtap sql \"INSERT INTO users(name, age) VALUES (?, ?)\" Ada 36\n"
    "  rowtap sql --format csv \"SELECT * FROM users\" > users.csv\n"
    "  sqlite3 old.db .dump | rowtap sql\n";

static int run_argument(struct query *q, char **argv)
{
    size_t len = strlen(argv[0]);
    int status = query_send(q, argv[0], len, argv + 1, 1);

    if (status == STATUS_TOO_LARGE)
        term_error("the server takes no request of this size; start it with a larger --max-body");
    return status < 0 ? status : query_print(q, argv[0], len);
}

static int run_input(struct query *q, bool pieces)
{
    struct buf text = {0};
    int status = input_read_all(&text);

    if (status == 0)
        status = script_run(q, text.data ? text.data : "", text.len, pieces);
    buf_fini(&text);
    return status;
}

int sql_run(const void *options, int argc, char **argv)
{
    struct sql_options o = *(const struct sql_options *)options;
    struct query q = {.format = (enum query_format)o.format, .wait = o.wait};
    struct buf err = {0};
    int status;

    q.colour = term_colour(STDOUT_FILENO);
    q.max_width = isatty(STDOUT_FILENO) ? 80 : 0;
    q.client = client_new(&o.target, o.timeout_ms, &err);
    if (!q.client) {
        term_error(buf_text(&err) ? buf_text(&err) : "out of memory");
        buf_fini(&err);
        return 1;
    }
    if (argc > 0)
        status = run_argument(&q, argv);
    else if (!isatty(STDIN_FILENO))
        status = run_input(&q, o.pieces);
    else
        status = prompt_run(&q);
    query_fini(&q);
    client_free(q.client);
    buf_fini(&err);
    return status < 0 && status != STATUS_CLOSED;
}
