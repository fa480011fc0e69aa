/*
 * So many requests that insert a row each, one after the other, for counts_test.py to count their
 * instructions.
 *
 *   counts_commit ROWS
 */
#include "../capture/fixture.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct fixture f;
    int rows = argc > 1 ? atoi(argv[1]) : 0;

    fixture_init(&f);
    f.quiet = true;
    f.options.external = false;
    fixture_open(&f);
    sql_ok(&f, "CREATE TABLE bench(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)");
    for (int i = 0; i < rows; i++)
        sql_ok(&f, "INSERT INTO bench(k, payload, at) VALUES "
                   "(1, 'The quick brown fox jumps over the lazy dog', 123456789012345)");
    if (fixture_seq(&f) != (uint64_t)rows + 1) {
        fprintf(stderr, "counts_commit: not every row was captured\n");
        return 1;
    }
    fixture_close(&f);
    fixture_fini(&f);
    puts("done");
    return 0;
}
