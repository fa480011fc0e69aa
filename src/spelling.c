#include "spelling.h"
#include "base/text.h"

#include <stddef.h>
#include <string.h>

#define WORD_MAX 64

int spelling_distance(const char *a, const char *b, int limit)
{
    int row[WORD_MAX + 1];
    size_t alen = strlen(a), blen = strlen(b);

    if (alen > WORD_MAX || blen > WORD_MAX)
        return limit + 1;
    for (size_t j = 0; j <= blen; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= alen; i++) {
        int diagonal = row[0];

        row[0] = (int)i;
        for (size_t j = 1; j <= blen; j++) {
            int change = diagonal + (text_lower(a[i - 1]) != text_lower(b[j - 1]));
            int shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[blen] > limit ? limit + 1 : row[blen];
}
