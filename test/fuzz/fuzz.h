#ifndef ROWTAP_TEST_FUZZ_FUZZ_H
#define ROWTAP_TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Fuzzing of the parsers that read what other programs wrote into the database and its log, or send
 * over HTTP or a WebSocket. An entry takes any bytes at all; it ends the program when a property
 * does not hold. What the sanitizers see, they end it for.
 */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fuzz_input {
    uint8_t *data; /* malloc */
    size_t size;
};

struct fuzz_corpus {
    struct fuzz_input *items;
    size_t count, cap;
};

struct fuzz_entry {
    const char *name;
    const char *what;
    void (*run)(const uint8_t *data, size_t size);
    /*
     * Real inputs besides those in corpus/NAME, from databases that SQLite makes: the same for the
     * same seed. Or NULL.
     */
    void (*fill)(struct fuzz_corpus *c, uint64_t seed);
};

extern const struct fuzz_entry fuzz_entries[];
extern const size_t fuzz_entry_count;
extern uint64_t fuzz_accepted; /* inputs that were taken for good ones, for the statistics */

void fuzz_record(const uint8_t *data, size_t size);    /* encoding (1), payload */
void fuzz_page(const uint8_t *data, size_t size);      /* is page 1 (1), reserved (1), page */
void fuzz_log(const uint8_t *data, size_t size);       /* size of the log (4), log, file */
void fuzz_commit(const uint8_t *data, size_t size);    /* the same */
void fuzz_extension(const uint8_t *data, size_t size); /* Sec-WebSocket-Extensions */
void fuzz_frames(const uint8_t *data, size_t size);    /* deflate agreed on (1), bytes */
void fuzz_deflate(const uint8_t *data, size_t size);   /* compressed data, or any text */
void fuzz_token(const uint8_t *data, size_t size);     /* unsigned, rules (1), token or its parts */
void fuzz_keys(const uint8_t *data, size_t size);      /* kind of file (1), content */
void fuzz_json(const uint8_t *data, size_t size);      /* a JSON text */
void fuzz_command(const uint8_t *data, size_t size);   /* a client's message */
void fuzz_body(const uint8_t *data, size_t size);      /* of POST /api/sql or /api/realtime */
void fuzz_session(const uint8_t *data, size_t size);   /* a client's messages, one a line */
void fuzz_filter(const uint8_t *data, size_t size);    /* collation (1), filters, one a line */
void fuzz_query(const uint8_t *data, size_t size);     /* stream or poll (1), a query string */
void fuzz_http(const uint8_t *data, size_t size);      /* the head of a request */
void fuzz_address(const uint8_t *data, size_t size);   /* which (1), address, name or amount */
void fuzz_handshake(const uint8_t *data, size_t size); /* what a server says to rowtap's client */
void fuzz_inflate(const uint8_t *data, size_t size);   /* bound (1), compressed data */
void fuzz_policy(const uint8_t *data, size_t size);    /* a file of --policy */
void fuzz_forwarded(const uint8_t *data, size_t size); /* peer, X-Forwarded-For, one a line */

void fuzz_fill_tokens(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_keys(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_extensions(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_frames(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_deflated(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_records(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_pages(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_images(struct fuzz_corpus *c, uint64_t seed);
void fuzz_corpus_add(struct fuzz_corpus *c, const void *data, size_t size);
/* The files in corpus/NAME, by name. */
void fuzz_corpus_files(struct fuzz_corpus *c, const char *name);
void fuzz_corpus_fini(struct fuzz_corpus *c);

/* Exactly these bytes, and with a NUL behind them: malloc. */
uint8_t *fuzz_copy(const void *data, size_t size);
char *fuzz_string(const void *data, size_t size);

/* A changed copy of an input, with parts of others now and then. */
struct fuzz_input fuzz_mutate(const struct fuzz_corpus *c, size_t which, uint64_t *dice);

#endif
