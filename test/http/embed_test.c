#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <rowtap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void serves_inside_a_program(void **state)
{
    char path[] = "/tmp/rowtap-XXXXXX", database[64], error[256] = "";
    const char *const words[] = {database, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0",
        "--log-level", "error", NULL};
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct rowtap *r;

    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(database, sizeof(database), "%s/test.db", path);
    r = rowtap_start(words, error, sizeof(error));
    if (!r)
        fail_msg("%s", error);
    assert_memory_equal(rowtap_address(r, 0), "http://127.0.0.1:", 17);
    assert_string_not_equal(rowtap_address(r, 0), rowtap_address(r, 1));
    assert_null(rowtap_address(r, 2));
    rowtap_stop(r);
    for (size_t i = 0; i < 3; i++) {
        char file[80];

        snprintf(file, sizeof(file), "%s%s", database, suffixes[i]);
        unlink(file);
    }
    rmdir(path);
}

static void says_why_not(void **state)
{
    const char *const unknown[] = {"x.db", "--frob", NULL};
    const char *const missing[] = {"/nonexistent/x.db", "--log-level", "error", NULL};
    char error[256];

    (void)state;
    assert_null(rowtap_start(unknown, error, sizeof(error)));
    assert_string_equal(error, "unknown option --frob; see rowtap serve --help");
    assert_null(rowtap_start(unknown, error, 8));
    assert_string_equal(error, "unknown");
    assert_null(rowtap_start(missing, error, sizeof(error)));
    assert_non_null(strstr(error, "/nonexistent"));
    rowtap_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_inside_a_program),
        cmocka_unit_test(says_why_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
