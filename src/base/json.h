#ifndef ROWTAP_BASE_JSON_H
#define ROWTAP_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Reads one JSON text (RFC 8259) with jansson. Integers past 64 bits become reals and reals past
 * the range of a double become infinities, as SQLite reads the same digits. At most 100 levels
 * deep. NULL on failure, with a message for the user ("line 1 column 7: …") in err (at least 128
 * bytes). The caller owns the result (json_decref).
 */
json_t *json_read(const char *text, size_t len, char *err, size_t errlen);

double json_get_real(const json_t *j);

#endif
