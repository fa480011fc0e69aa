#ifndef ROWTAP_TEST_FUZZ_FUZZ_TOKENS_H
#define ROWTAP_TEST_FUZZ_FUZZ_TOKENS_H

struct tokens;

/* A server's keys, always the same, and a token of a user "ann" that is good with them. */
struct tokens *fuzz_tokens(const char **token);

#endif
