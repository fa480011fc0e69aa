#ifndef ROWTAP_CLI_CLIENT_H
#define ROWTAP_CLI_CLIENT_H

#include "base/buf.h"
#include "cli/target.h"
#include <jansson.h>
#include <stdint.h>

/*
 * HTTP to one server over one kept connection, by libcurl. Used by one thread at a time. Every
 * failure leaves a sentence for the user in `err`.
 */
struct client;

/* Resolves the target (its strings must stay). NULL: see err. */
struct client *client_new(struct target *target, int64_t timeout_ms, struct buf *err);
void client_free(struct client *c);
const char *client_url(
    const struct client *c); /* http(s)://HOST:PORT, without a slash at its end */

/*
 * One request; body NULL is GET, otherwise POST of JSON. The answer's text replaces what `answer`
 * holds. Returns the HTTP status, or STATUS_IO when no answer came, STATUS_CLOSED when ^C ended it,
 * STATUS_NOMEM.
 */
int client_request(struct client *c, const char *path, const struct buf *body, struct buf *answer,
    struct buf *err);

/*
 * Says in `err` what an answer other than 200 means: the server's own message where it has one.
 * `parsed` (may be NULL) takes the error object, which the caller releases.
 */
void client_explain(
    const struct client *c, int status, const struct buf *answer, json_t **parsed, struct buf *err);

/* To trust whom the target says, on a handle of libcurl (CURL *). */
void client_set_tls(void *curl, const struct target *target);

/* Says why libcurl could not reach `url`: its CURLcode, error buffer and CURLINFO_OS_ERRNO. */
void client_explain_curl(
    const char *url, int code, const char *detail, long os_error, struct buf *err);

#endif
