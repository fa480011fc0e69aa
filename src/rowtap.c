#include "base/mem.h"
#include "config.h"
#include "server.h"
#include <rowtap.h>

#include <stdio.h>

struct rowtap {
    struct config config;
    struct server *server;
};

static int parse(struct config *config, const char *const *words, struct buf *err)
{
    char **argv;
    int argc = 0, rc;

    while (words[argc])
        argc++;
    argv = mem_array((size_t)argc + 2, sizeof(*argv));
    if (!argv)
        return -1;
    argv[0] = (char[]){"rowtap"};
    for (int i = 0; i < argc; i++) {
        argv[i + 1] = mem_strdup(words[i]);
        if (!argv[i + 1])
            buf_puts(err, "out of memory");
    }
    rc = err->len ? -1 : config_parse(config, argc + 1, argv, err);
    if (rc == CONFIG_HELP)
        buf_puts(err, "--help belongs on a command line");
    for (int i = 0; i < argc; i++)
        mem_free(argv[i + 1]);
    mem_free(argv);
    return rc;
}

struct rowtap *rowtap_start(const char *const *words, char *error, size_t size)
{
    struct rowtap *r = mem_zalloc(sizeof(*r));
    struct buf err = {0};

    if (r) {
        config_init(&r->config);
        if (parse(&r->config, words, &err) == 0)
            r->server = server_start(&r->config, &err);
    }
    if (!r || !r->server) {
        snprintf(error, size, "%s", err.len && buf_text(&err) ? buf_text(&err) : "out of memory");
        rowtap_stop(r);
        r = NULL;
    }
    buf_fini(&err);
    return r;
}

const char *rowtap_address(const struct rowtap *r, int i)
{
    return server_address(r->server, i);
}

void rowtap_stop(struct rowtap *r)
{
    if (!r)
        return;
    server_stop(r->server);
    config_fini(&r->config);
    mem_free(r);
}
