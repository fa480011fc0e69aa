#include "base/buf.h"
#include "base/log.h"
#include "cli/cli.h"
#include "config.h"
#include "service.h"
#include "spelling.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const verbs[] = {"sql", "watch", "send", "tail", "policy", "health", "status",
    "token", "bench", "help", "version"};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

static int serve(int argc, char **argv)
{
    struct config config;
    struct buf text = {0};
    int status, rc;

    config_init(&config);
    rc = config_parse(&config, argc, argv, &text);
    if (rc == CONFIG_HELP) {
        config_put_help(&text);
        fputs(buf_text(&text) ? buf_text(&text) : "", stdout);
        status = 0;
    } else if (rc < 0) {
        fprintf(stderr, "rowtap: %s\n", text.len ? buf_text(&text) : "out of memory");
        status = 2;
    } else {
        log_set_level(config.log_level);
        log_set_json(config.log_json);
        service_block_signals();
        status = service_run(&config);
    }
    buf_fini(&text);
    config_fini(&config);
    return status;
}

static const char *find_verb(const char *word, int distance)
{
    for (size_t i = 0; i < VERBS; i++)
        if (spelling_distance(word, verbs[i], distance) <= distance)
            return verbs[i];
    return NULL;
}

/* A mistyped verb would otherwise become a new database of that name. */
static const char *mistyped_verb(const char *word)
{
    if (*word == '-' || strpbrk(word, "./") || access(word, F_OK) == 0)
        return NULL;
    return find_verb(word, strlen(word) > 4 ? 2 : 1);
}

int main(int argc, char **argv)
{
    char *help[] = {(char[]){"help"}, NULL}, *version[] = {(char[]){"version"}, NULL};
    const char *meant;

    if (argc < 2) {
        cli_main(1, help);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cli_main(1, help);
    if (strcmp(argv[1], "--version") == 0)
        return cli_main(1, version);
    if (strcmp(argv[1], "serve") == 0)
        return serve(argc - 1, argv + 1);
    if (find_verb(argv[1], 0))
        return cli_main(argc - 1, argv + 1);
    meant = mistyped_verb(argv[1]);
    if (meant) {
        fprintf(stderr,
            "rowtap: unknown command \"%s\"; did you mean \"%s\"? To serve a file of that name: "
            "rowtap serve %s\n",
            argv[1], meant, argv[1]);
        return 2;
    }
    return serve(argc, argv);
}
