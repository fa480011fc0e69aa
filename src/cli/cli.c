#include "cli/cli.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/health.h"
#include "cli/options.h"
#include "cli/policy.h"
#include "cli/send.h"
#include "cli/sql.h"
#include "cli/tail.h"
#include "cli/term.h"
#include "cli/token.h"
#include "cli/watch.h"
#include "version.h"

#include <curl/curl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct verb {
    const char *name;
    const char *arguments;
    const char *summary;
    const char *help; /* with examples */
    const struct option_row *options;
    size_t options_size;
    int max_arguments;
    int (*run)(const void *options, int argc, char **argv);
};

static int help_run(const void *options, int argc, char **argv);
static int version_run(const void *options, int argc, char **argv);

static const struct option_row no_options[] = {{NULL}};

static const char help_help[] = "Shows what rowtap can do, or how one verb is used.\n\n"
                                "Examples:\n"
                                "  rowtap help\n"
                                "  rowtap help watch\n";
static const char version_help[] = "Prints the version of this program.\n";

static const struct verb verbs[] = {
    {"sql", "[SQL [PARAM...]]", "run SQL on the server, or prompt for it", sql_help,
        sql_option_rows, sizeof(struct sql_options), INT_MAX, sql_run},
    {"watch", "[TABLE]", "print changes as they are committed", watch_help, watch_option_rows,
        sizeof(struct watch_options), 1, watch_run},
    {"send", "CHANNEL TYPE [JSON]", "send a message to a channel", send_help, send_option_rows,
        sizeof(struct send_options), 3, send_run},
    {"tail", "DATABASE [TABLE]...", "print a file's commits, without a server", tail_verb_help,
        tail_verb_option_rows, sizeof(struct tail_verb_options), INT_MAX, tail_verb_run},
    {"health", "", "is the server well? exit status 0 when it is", health_help, health_option_rows,
        sizeof(struct health_options), 0, health_run},
    {"status", "", "what the server is doing", health_status_help, health_option_rows,
        sizeof(struct health_options), 0, health_run_status},
    {"token", "", "make a token for trying things out", token_help, token_option_rows,
        sizeof(struct token_options), 0, token_run},
    {"policy", "check FILE [DATABASE]", "explain who may what, and find mistakes", policy_help,
        policy_option_rows, sizeof(struct policy_options), 3, policy_run},
    {"bench", "[TEST]...", "measure a running server", bench_help, bench_option_rows,
        sizeof(struct bench_options), INT_MAX, bench_run},
    {"help", "[VERB]", "show this, or how a verb is used", help_help, no_options, 0, 1, help_run},
    {"version", "", "print the version", version_help, no_options, 0, 0, version_run},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int print(struct buf *text)
{
    int status = term_flush(text);

    buf_fini(text);
    return status < 0 && status != STATUS_CLOSED;
}

static int print_verb(const struct verb *v)
{
    struct buf text = {0};

    buf_printf(&text, "usage: rowtap %s%s%s%s\n\n%s", v->name, v->options->name ? " [options]" : "",
        *v->arguments ? " " : "", v->arguments, v->help);
    if (v->options->name) {
        buf_puts(&text, "\nOptions:\n");
        options_put_help(&text, v->options);
    }
    return print(&text);
}

static int print_overview(void)
{
    struct buf text = {0};

    buf_puts(&text,
        "rowtap turns a SQLite file into a realtime feed.\n\n"
        "  rowtap serve app.db                          serve a file (created if absent)\n"
        "  rowtap watch users                           see its changes as they are committed\n"
        "  rowtap sql \"INSERT INTO users(name) VALUES (?)\" Ada\n\n"
        "Verbs:\n"
        "  serve    DATABASE              serve a file; see rowtap serve --help\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        buf_printf(&text, "  %-8s %-21s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
    buf_puts(&text, "\nThe verbs but tail, token and policy talk to http://127.0.0.1:8080 unless "
                    "--url or $ROWTAP_URL says otherwise.\n"
                    "rowtap help VERB shows a verb's options and examples.\n");
    return print(&text);
}

static int help_run(const void *options, int argc, char **argv)
{
    const struct verb *v;

    (void)options;
    if (argc == 0)
        return print_overview();
    if (strcmp(argv[0], "serve") == 0) {
        puts("see rowtap serve --help");
        return 0;
    }
    v = find(argv[0]);
    if (!v) {
        fprintf(stderr, "rowtap: there is no verb \"%s\"; rowtap help lists them\n", argv[0]);
        return 2;
    }
    return print_verb(v);
}

static int version_run(const void *options, int argc, char **argv)
{
    (void)options, (void)argc, (void)argv;
    puts("rowtap " ROWTAP_VERSION);
    return 0;
}

static int usage(const struct verb *v, const char *message)
{
    fprintf(stderr, "rowtap %s: %s\ntry: rowtap help %s\n", v->name, message, v->name);
    return 2;
}

static int run(const struct verb *v, void *options, int argc, char **argv)
{
    struct buf err = {0};
    enum options_result result;
    int count = 0, status;

    result = options_parse(v->options, options, argc, argv, &count, &err);
    if (result == OPTIONS_HELP)
        status = print_verb(v);
    else if (result == OPTIONS_BAD)
        status = usage(v, buf_text(&err) ? buf_text(&err) : "out of memory");
    else if (count > v->max_arguments)
        status = usage(v, "too many arguments");
    else {
        argv[count] = NULL;
        status = v->run(options, count, argv);
    }
    buf_fini(&err);
    return status;
}

int cli_main(int argc, char **argv)
{
    const struct verb *v = argc > 0 ? find(argv[0]) : NULL;
    void *options;
    int status;

    if (!v) {
        fprintf(stderr, "rowtap: unknown verb \"%s\"; rowtap help lists them\n",
            argc > 0 ? argv[0] : "");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    term_start();
    options = mem_zalloc(v->options_size ? v->options_size : 1);
    if (!options || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        term_error("out of memory");
        mem_free(options);
        return 1;
    }
    status = run(v, options, argc, argv);
    curl_global_cleanup();
    mem_free(options);
    return status;
}
