#ifndef ROWTAP_TEST_HTTP_HARNESS_H
#define ROWTAP_TEST_HTTP_HARNESS_H

#include <stdbool.h>
#include <stddef.h>

/* A whole server on a free port with a database of its own, and clients that speak bytes. */
struct server;

int harness_start(void **state); /* cmocka group set-up and tear-down */
int harness_stop(void **state);
/* Another server with these words after the database; stopped by harness_restart(NULL) or the end.
 */
void harness_restart(const char *const *words);

extern int harness_port;
struct server *harness_server(void);

int client_connect(void);
void client_send(int fd, const char *text);
void client_send_bytes(int fd, const void *p, size_t len);
/* Reads until end-of-file, `until` is in it, or ms milliseconds passed. The text stays until the
 * next. */
const char *client_read(int fd, const char *until, int ms);
bool client_at_end(int fd, int ms);
bool client_readable(int fd); /* now */
void client_finish(int fd);   /* sends nothing more */

/* True when the text is the pattern, in which '*' stands for anything. */
bool like(const char *text, const char *pattern);

/*
 * Sends the request on a connection of its own and reads until the server closes or answers; fails
 * the test unless the answer is like the pattern. "\n" in both is CRLF on the wire.
 */
#define exchange(request, pattern) exchange_at(request, pattern, __FILE__, __LINE__)
void exchange_at(const char *request, const char *pattern, const char *file, int line);

int count_threads(void);
int count_files(void);

#endif
