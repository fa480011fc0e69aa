#include "cli/input.h"
#include "base/status.h"
#include "cli/term.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int input_read_all(struct buf *text)
{
    for (;;) {
        char *room = buf_reserve(text, 1 << 16);
        ssize_t n;

        if (!room) {
            term_error("out of memory while reading standard input");
            return STATUS_NOMEM;
        }
        n = read(STDIN_FILENO, room, 1 << 16);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fprintf(stderr, "rowtap: cannot read standard input: %s\n", strerror(errno));
            return STATUS_IO;
        }
        text->len += (size_t)n;
    }
}
