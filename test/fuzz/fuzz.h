#ifndef ROWTAP_TEST_FUZZ_FUZZ_H
#define ROWTAP_TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fuzzing of the parsers that read what other programs wrote into the database and its log, or send
 * over a WebSocket. An
 * entry takes any bytes at all; it ends the program when a property does not hold. What the
 * sanitizers see, they end it for.
 */
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
    /* Real inputs, from databases that SQLite makes: the same for the same seed. */
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

void fuzz_fill_tokens(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_keys(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_extensions(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_frames(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_deflated(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_records(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_pages(struct fuzz_corpus *c, uint64_t seed);
void fuzz_fill_images(struct fuzz_corpus *c, uint64_t seed);
void fuzz_corpus_add(struct fuzz_corpus *c, const void *data, size_t size);
void fuzz_corpus_fini(struct fuzz_corpus *c);

/* A changed copy of an input, with parts of others now and then. */
struct fuzz_input fuzz_mutate(const struct fuzz_corpus *c, size_t which, uint64_t *dice);

#endif
