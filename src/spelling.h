#ifndef ROWTAP_SPELLING_H
#define ROWTAP_SPELLING_H

/*
 * How many single-character edits turn one word into the other, ASCII case ignored; at most `limit`
 * + 1 is told. For "did you mean".
 */
int spelling_distance(const char *a, const char *b, int limit);

#endif
