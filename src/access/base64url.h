#ifndef ROWTAP_ACCESS_BASE64URL_H
#define ROWTAP_ACCESS_BASE64URL_H

#include "base/buf.h"

/*
 * RFC 4648 section 5 without padding, as RFC 7515 has it. Every text has one spelling: padding,
 * spaces and bits that say nothing are STATUS_INVALID. STATUS_NOMEM.
 */
int base64url_decode(struct buf *out, const char *s, size_t len);
void base64url_encode(struct buf *out, const void *p, size_t len);

#endif
