#ifndef ROWTAP_BASE_TEXT_H
#define ROWTAP_BASE_TEXT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ASCII case rules, as SQL identifiers and HTTP tokens have them; the locale plays no part. */
char text_lower(char c);
int text_casecmp(const char *a, const char *b);
int text_ncasecmp(const char *a, const char *b, size_t n);
bool text_same_nocase(const char *a, size_t alen, const char *b, size_t blen);

/*
 * UTF-8 as RFC 3629 has it (no surrogates, nothing overlong, at most U+10FFFF), checked piece by
 * piece: start with state 0, feed in order; false as soon as the bytes so far cannot begin valid
 * text. The text may end where the state is 0.
 */
bool utf8_feed(uint32_t *state, const void *p, size_t len);
bool utf8_valid(const void *p, size_t len);

/* RFC 4648 section 4. Decoding is strict about the alphabet and padding. */
void base64_encode(struct buf *out, const void *p, size_t len);
int base64_digit(char c);                                      /* its value; -1: it is none */
int base64_decode(struct buf *out, const char *s, size_t len); /* STATUS_INVALID, STATUS_NOMEM */

/*
 * Percent-decoding (RFC 3986 section 2.1); with `form`, '+' is a space. STATUS_INVALID: a '%'
 * without its two digits.
 */
int text_url_decode(struct buf *out, const char *s, size_t len, bool form);
/* Leaves letters, digits and "-._~" as they are. */
void text_url_encode(struct buf *out, const char *s);

/* len random characters of [0-9a-z] from the kernel's generator, and a NUL. */
void text_random(char *out, size_t len);
uint64_t random_u64(void);

/* "64MiB", "1k", "512" -> bytes; "30", "1.5s", "250ms", "1h" -> milliseconds. 0 or STATUS_INVALID
 */
int text_parse_size(const char *s, uint64_t *bytes);
int text_parse_duration(const char *s, int64_t *ms);
int text_parse_i64(const char *s, size_t len, int64_t *v); /* whole string, no spaces */

#endif
