#ifndef ROWTAP_CLI_OPTIONS_H
#define ROWTAP_CLI_OPTIONS_H

#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

/*
 * Command line options by table. Options and arguments may stand in any order; "--" ends the
 * options; "-5" and "-- text" are arguments, so negative numbers and SQL comments need no quoting.
 */
enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char *, into argv; may not be empty */
    OPTION_LIST,     /* struct option_list, repeatable */
    OPTION_NUMBER,   /* int64_t between min and max */
    OPTION_DURATION, /* int64_t, milliseconds between min and max */
    OPTION_CHOICE,   /* int, the index in `choices` */
};

struct option_row {
    const char *name; /* without its dashes; NULL ends the table */
    const char *arg;  /* placeholder in the help; for a choice "a|b|c" */
    const char *help;
    enum option_kind kind;
    size_t offset; /* in the structure that options_parse fills */
    int64_t min, max;
};

#define OPTION_LIST_MAX 32
struct option_list {
    int count;
    const char *items[OPTION_LIST_MAX];
};

enum options_result { OPTIONS_OK, OPTIONS_HELP, OPTIONS_BAD };

/*
 * Reads argv[1] to argv[argc - 1]. What an option sets goes to its row's offset in `into`; what is
 * not an option is moved to the front of argv, *arg_count of them from argv[0] on. --help and -h
 * give OPTIONS_HELP. OPTIONS_BAD leaves a sentence for the user in err.
 */
enum options_result options_parse(const struct option_row *rows, void *into, int argc, char **argv,
    int *arg_count, struct buf *err);

/* One line for each row, as --help shows them. */
void options_put_help(struct buf *out, const struct option_row *rows);

#endif
