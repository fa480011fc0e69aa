#ifndef ROWTAP_TEST_FUZZ_FUZZ_CIVETWEB_H
#define ROWTAP_TEST_FUZZ_FUZZ_CIVETWEB_H

#include "base/buf.h"
#include "http/request.h"
#include <civetweb.h>

/*
 * In place of civetweb: one connection whose client has sent some bytes. A head is taken apart as
 * civetweb 1.15 does it, in place, with NULs where words and lines end.
 */
struct mg_connection {
    struct mg_request_info info;
    char *text; /* malloc */
    size_t body, size;
    struct worker worker;
    struct buf written;
};

/* False: civetweb would not call the server. The bytes are copied. */
bool fuzz_civetweb_parse(struct mg_connection *c, const void *data, size_t size);
void fuzz_civetweb_fini(struct mg_connection *c);

#endif
