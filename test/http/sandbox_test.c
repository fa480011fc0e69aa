#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "sandbox.h"

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not beneath the directory for temporary files, which stays open. */
#define PLACE "/dev/shm/rowtap-sandbox-XXXXXX"

static char place[sizeof(PLACE)];

static const char *at(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", place, name);
    return path;
}

static void put(const char *name)
{
    FILE *f = fopen(at(name), "we");

    assert_non_null(f);
    fputs("text\n", f);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(place, PLACE);
    if (!mkdtemp(place))
        return 0;
    mkdir(at("data"), 0700);
    mkdir(at("keys"), 0700);
    mkdir(at("keys/1"), 0700);
    mkdir(at("keys/2"), 0700);
    mkdir(at("real"), 0700);
    put("data/a.db");
    put("real/b.db");
    put("real/policy.json");
    put("keys/1/secret");
    put("keys/2/secret");
    put("outside");
    /* as a mounted volume of secrets has them, and as certbot has certificates */
    assert_int_equal(symlink("1", at("keys/now")), 0);
    assert_int_equal(symlink("now/secret", at("keys/secret")), 0);
    assert_int_equal(symlink("../real/policy.json", at("data/policy.json")), 0);
    assert_int_equal(symlink("../real/b.db", at("data/b.db")), 0);
    assert_int_equal(symlink("../real/none.db", at("data/none.db")), 0);
    return 0;
}

static int tear_down(void **state)
{
    char command[sizeof(place) + 16];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", place);
    return *place && system(command) == 0 ? 0 : -1;
}

/* errno of opening it so; 0: it could be. */
static int opening(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static void *open_outside(void *arg)
{
    *(int *)arg = opening(at("outside"), O_RDONLY);
    return NULL;
}

/* A line for each that is otherwise than it should be. */
#define IS(expression, wanted)                                                                     \
    do {                                                                                           \
        int is_ = (expression);                                                                    \
                                                                                                   \
        if (is_ != (wanted)) {                                                                     \
            fprintf(stderr, "# %s: %s\n", #expression, strerror(is_));                             \
            wrong = 1;                                                                             \
        }                                                                                          \
    } while (0)

static int connecting(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rc = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

static int listening(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = a.sin_port;
    return fd;
}

#define NO_SANDBOX 77 /* exit status of a child whose kernel has none */

static int enter(const char *database, const char *secret, const char *policy)
{
    struct config c = {.database = (char *)(uintptr_t)database,
        .jwt_secret_file = (char *)(uintptr_t)secret,
        .policy = (char *)(uintptr_t)policy};
    const char *why = "";

    if (sandbox_enter(&c, &why))
        return 0;
    return strstr(why, "no Landlock") ? NO_SANDBOX : 1;
}

/* In a process of its own, which stays inside. */
static void inside(int (*child)(void *), void *arg)
{
    int status;
    pid_t pid;

    if (!*place || access(place, W_OK) != 0)
        skip();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child(arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int use_files(void *arg)
{
    int wrong = enter(at("data/a.db"), at("keys/secret"), at("data/policy.json"));
    char comm[64];

    (void)arg;
    if (wrong)
        return wrong;
    IS(opening(at("data/a.db"), O_RDWR), 0);
    IS(opening(at("data/a.db-wal"), O_RDWR | O_CREAT), 0);
    IS(opening(at("data/a.db-wal"), O_RDWR | O_TRUNC), 0);
    IS(opening(at("data"), O_RDONLY | O_DIRECTORY), 0);
    IS(unlink(at("data/a.db-wal")), 0);
    IS(opening(at("keys/secret"), O_RDONLY), 0);
    IS(opening(at("keys/2/secret"), O_RDONLY), 0);
    IS(opening(at("data/policy.json"), O_RDONLY), 0);
    IS(opening("/etc/passwd", O_RDONLY), 0);
    IS(opening("/proc/self/stat", O_RDONLY), 0);
    IS(opening("/dev/urandom", O_RDONLY), 0);
    IS(pthread_setname_np(pthread_self(), "inside"), 0);
    snprintf(comm, sizeof(comm), "/proc/self/task/%d/comm", (int)getpid());
    IS(opening(comm, O_RDWR), 0);

    IS(opening(at("keys/secret"), O_WRONLY), EACCES);
    IS(opening(at("keys/new"), O_WRONLY | O_CREAT), EACCES);
    IS(opening(at("real/policy.json"), O_WRONLY), EACCES);
    IS(opening(at("outside"), O_RDONLY), EACCES);
    IS(opening(at("outside"), O_WRONLY | O_APPEND), EACCES);
    IS(opening(at("new"), O_WRONLY | O_CREAT), EACCES);
    IS(opening("/etc/rowtap-sandbox-test", O_WRONLY | O_CREAT), EACCES);
    IS(opening("/", O_RDONLY | O_DIRECTORY), EACCES);
    IS(truncate(at("outside"), 0) == 0 ? 0 : errno, EACCES);
    IS(unlink(at("outside")) == 0 ? 0 : errno, EACCES);
    IS(mkdir(at("data/directory"), 0700) == 0 ? 0 : errno, EACCES);
    IS(symlink("/", at("data/link")) == 0 ? 0 : errno, EACCES);
    IS(mkfifo(at("data/fifo"), 0600) == 0 ? 0 : errno, EACCES);
    return wrong;
}

static void reaches_what_it_needs_only(void **state)
{
    (void)state;
    inside(use_files, NULL);
}

static int use_link(void *arg)
{
    int wrong = enter(at("data/b.db"), NULL, NULL);

    (void)arg;
    if (wrong)
        return wrong;
    IS(opening(at("data/b.db"), O_RDWR), 0);
    IS(opening(at("real/b.db-wal"), O_RDWR | O_CREAT), 0);
    IS(opening(at("data/a.db"), O_RDONLY), EACCES);
    return wrong;
}

static void follows_the_link_to_a_database(void **state)
{
    (void)state;
    inside(use_link, NULL);
}

static int use_nothing(void *arg)
{
    struct config c = {.database = (char *)(uintptr_t)at("data/none.db")};
    const char *why = "";

    (void)arg;
    return !sandbox_enter(&c, &why) && strstr(why, "link") && opening(at("outside"), O_RDONLY) == 0
               ? 0
               : 1;
}

static void leaves_a_link_to_nothing_alone(void **state)
{
    (void)state;
    inside(use_nothing, NULL);
}

struct parent {
    uint16_t port;
    pid_t pid;
};

/* Kernels before 6.7 know of no connections, those before 6.12 of no signals. */
static int at_least(int major, int minor)
{
    FILE *f = fopen("/proc/sys/kernel/osrelease", "re");
    int a = 0, b = 0;

    if (f && fscanf(f, "%d.%d", &a, &b) != 2)
        a = 0;
    if (f)
        fclose(f);
    return a > major || (a == major && b >= minor);
}

static int use_others(void *arg)
{
    char *const program[] = {(char[]){"/bin/true"}, NULL};
    const struct parent *p = arg;
    int wrong = enter(at("data/a.db"), NULL, NULL), from_thread = 0, fd;
    uint16_t own;
    pthread_t t;

    if (wrong)
        return wrong;
    IS(execv(program[0], program) < 0 ? errno : 0, EACCES);
    IS(pthread_create(&t, NULL, open_outside, &from_thread), 0);
    pthread_join(t, NULL);
    IS(from_thread, EACCES);
    fd = listening(&own);
    if (at_least(6, 7))
        IS(connecting(p->port), EACCES);
    if (at_least(6, 12))
        IS(kill(p->pid, 0) == 0 ? 0 : errno, EPERM);
    IS(kill(getpid(), 0), 0);
    close(fd);
    return wrong;
}

static void keeps_from_programs_and_the_network(void **state)
{
    struct parent p = {.pid = getpid()};
    int fd = listening(&p.port);

    (void)state;
    assert_int_equal(connecting(p.port), 0);
    inside(use_others, &p);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reaches_what_it_needs_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(follows_the_link_to_a_database, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_a_link_to_nothing_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_from_programs_and_the_network, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
