#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "maker.h"

#include "access/tokens.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/rowtap-tokens-XXXXXX";
static char secret_path[64], jwks_path[64];

static void put(const char *path, const char *content)
{
    char other[80];
    snprintf(other, sizeof(other), "%s.new", path);
    FILE *f = fopen(other, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    assert_int_equal(chmod(other, 0600), 0);
    assert_int_equal(rename(other, path), 0);
}

static struct tokens *open_tokens(const char *secret, const char *jwks)
{
    const struct tokens_options o = {.secret_file = secret, .jwks_file = jwks};
    struct buf err = {0};
    struct tokens *t = tokens_new(&o, &err);
    if (!t)
        fail_msg("%s", buf_text(&err));
    buf_fini(&err);
    return t;
}

static bool accepts(struct tokens *t, const char *secret)
{
    const char *why;
    char *token = maker_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"ann\"}", secret, strlen(secret));
    struct identity *who = tokens_verify(t, token, strlen(token), &why);
    bool good = who != NULL;
    identity_unref(who);
    free(token);
    return good;
}

#define FIRST "first secret, which is long enough to be one"
#define SECOND "second secret, which is long enough as well"

static void test_read_again_when_changed(void **state)
{
    (void)state;
    put(secret_path, FIRST "\n");
    int64_t now = clock_mono_ms();
    struct tokens *t = open_tokens(secret_path, NULL);
    assert_true(accepts(t, FIRST));
    put(secret_path, SECOND "\r\n");
    tokens_refresh(t, now); /* not a second yet */
    assert_true(accepts(t, FIRST));
    tokens_refresh(t, now + 5000);
    assert_false(accepts(t, FIRST));
    assert_true(accepts(t, SECOND));
    put(secret_path, FIRST "\n");
    tokens_refresh(t, now + 5500);
    assert_false(accepts(t, FIRST));
    tokens_refresh(t, now + 6001);
    assert_true(accepts(t, FIRST));
    tokens_free(t);
}

static void test_a_bad_file_changes_nothing(void **state)
{
    (void)state;
    char *jwks = maker_jwks();
    const char *const bad[] = {"", "{", "{\"keys\":[]}", "{\"keys\":[{}]}", "{\"keys\":[[]]}",
        "{\"keys\":[{\"kty\":7}]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA==\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":[],\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"k\":\"AAAB\"}]}"};
    int64_t now = clock_mono_ms();
    put(secret_path, FIRST);
    put(jwks_path, jwks);
    struct tokens *t = open_tokens(secret_path, jwks_path);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        put(jwks_path, bad[i]);
        put(secret_path, SECOND); /* good, but all of them or none */
        tokens_refresh(t, now += 2000);
        assert_true(accepts(t, FIRST) && accepts(t, MAKER_SECRET) && !accepts(t, SECOND));
        assert_false(tokens_reload(t));
        assert_true(accepts(t, FIRST) && accepts(t, MAKER_SECRET) && !accepts(t, SECOND));
    }
    assert_int_equal(unlink(jwks_path), 0);
    assert_false(tokens_reload(t));
    assert_true(accepts(t, MAKER_SECRET));
    put(jwks_path, jwks);
    assert_true(tokens_reload(t));
    assert_true(accepts(t, SECOND) && accepts(t, MAKER_SECRET) && !accepts(t, FIRST));
    tokens_free(t);
    free(jwks);
}

static void test_secrets_of_bytes_are_taken_whole(void **state)
{
    (void)state;
    assert_int_equal(key_secret_length("abc\n", 4), 3);
    assert_int_equal(key_secret_length("abc\r\n", 5), 3);
    assert_int_equal(key_secret_length("abc\n\n", 5), 5); /* a line's end within is no text */
    assert_int_equal(key_secret_length("abc", 3), 3);
    assert_int_equal(key_secret_length("a\xff"
                                       "c\n",
                         4),
        4);
    assert_int_equal(key_secret_length("\n", 1), 0);
    assert_int_equal(key_secret_length("", 0), 0);
}

static atomic_bool done;

static void *verify_all_the_time(void *arg)
{
    while (!atomic_load(&done)) {
        bool first = accepts(arg, FIRST), second = accepts(arg, SECOND);
        (void)first, (void)second;
        assert_true(accepts(arg, MAKER_SECRET));
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    char *jwks = maker_jwks();
    put(secret_path, FIRST);
    put(jwks_path, jwks);
    struct tokens *t = open_tokens(secret_path, jwks_path);
    int64_t now = clock_mono_ms();
    atomic_store(&done, false);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_all_the_time, t), 0);
    for (int i = 0; i < 40; i++) {
        put(secret_path, i % 2 ? FIRST : SECOND);
        if (i % 3)
            tokens_refresh(t, now += 2000);
        else
            assert_true(tokens_reload(t));
    }
    atomic_store(&done, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    tokens_free(t);
    free(jwks);
}

/* For every allocation that fails: either there are keys, or a sentence. */
static void test_without_memory(void **state)
{
    (void)state;
    char *jwks = maker_jwks();
    int hit = 1;
    put(secret_path, FIRST);
    put(jwks_path, jwks);
    for (long n = 0; hit && n < 2000; n++) {
        const struct tokens_options o = {.secret_file = secret_path, .jwks_file = jwks_path};
        struct buf err = {0};
        mem_fail_after(n);
        struct tokens *t = tokens_new(&o, &err);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(t == NULL, hit);
        assert_true(t || err.len || buf_error(&err));
        tokens_free(t);
        buf_fini(&err);
    }
    assert_false(hit);
    struct tokens *t = open_tokens(secret_path, jwks_path);
    hit = 1;
    for (long n = 0; hit && n < 2000; n++) {
        mem_fail_after(n);
        bool good = tokens_reload(t);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(good, !hit);
        assert_true(accepts(t, FIRST));
    }
    tokens_free(t);
    free(jwks);
}

static int start(void **state)
{
    if (maker_start(state) || !mkdtemp(folder))
        return -1;
    log_set_level(LOG_ERROR);
    assert_non_null(freopen("/dev/null", "w", stderr));
    snprintf(secret_path, sizeof(secret_path), "%s/secret", folder);
    snprintf(jwks_path, sizeof(jwks_path), "%s/jwks", folder);
    return 0;
}

static int stop(void **state)
{
    unlink(secret_path);
    unlink(jwks_path);
    rmdir(folder);
    return maker_stop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_again_when_changed),
        cmocka_unit_test(test_a_bad_file_changes_nothing),
        cmocka_unit_test(test_secrets_of_bytes_are_taken_whole),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
