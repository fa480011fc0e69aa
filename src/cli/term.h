#ifndef ROWTAP_CLI_TERM_H
#define ROWTAP_CLI_TERM_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

/* What is shown to a person: colours, widths, and text that cannot move the cursor. */
enum term_style { TERM_DIM, TERM_BOLD, TERM_RED, TERM_GREEN, TERM_YELLOW };

void term_start(void); /* chooses a locale that knows UTF-8; once */
/* The descriptor is a terminal, NO_COLOR is unset or empty and TERM is not "dumb". */
bool term_colour(int fd);
void term_put_style(struct buf *out, bool colour, enum term_style style);
void term_put_plain(struct buf *out, bool colour); /* ends the style */

/*
 * Appends UTF-8 text with control characters, and those that change the direction of writing, shown
 * as \n or \u001b. At most `max` columns, the last one … when text was left out; 0 is no bound.
 * Returns the columns taken.
 */
size_t term_put(struct buf *out, const char *s, size_t len, size_t max);
size_t term_width(const char *s, size_t len); /* columns that term_put without a bound would take */

/*
 * Sends what `out` holds to standard output and empties it. STATUS_CLOSED: a closed pipe, which is
 * nothing to report; STATUS_IO or STATUS_NOMEM, said on standard error.
 */
int term_flush(struct buf *out);
/* "rowtap: message" on standard error, made visible as term_put does; ends the line. */
void term_error(const char *message);

#endif
