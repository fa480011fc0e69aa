/*
 * LD_PRELOAD: system calls that do less than they were asked, or nothing, as they may. Sockets and
 * files take and give a part (short); descriptors that do not block say that they would (EAGAIN);
 * and calls are interrupted (EINTR). Libraries that read and write by themselves get the first
 * alone, as threads without signal handlers are never interrupted, and SQLite the last too.
 * UNSTEADY is how many calls in a hundred; at the end it is written to standard error what was done
 * to how many.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SHORT, AGAIN, INTERRUPTED, KINDS };

static unsigned percent;
static _Atomic uint64_t done[KINDS], drawn;
static const char *sqlite_file;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *file_of(const void *address)
{
    Dl_info info;

    return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("UNSTEADY");

    percent = text ? (unsigned)atoi(text) : 0;
    sqlite_file = file_of(dlsym(RTLD_DEFAULT, "sqlite3_open"));
}

__attribute__((destructor)) static void end(void)
{
    dprintf(2, "unsteady: %llu short, %llu EAGAIN, %llu EINTR\n", (unsigned long long)done[SHORT],
        (unsigned long long)done[AGAIN], (unsigned long long)done[INTERRUPTED]);
}

static bool chance(unsigned *seed)
{
    static _Thread_local uint64_t state;

    if (!state)
        state = 0x9e3779b97f4a7c15u * (atomic_fetch_add(&drawn, 1) + 1);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    *seed = (unsigned)(state >> 33);
    return percent && (state >> 11) % 100 < percent;
}

static bool is_program(const void *caller)
{
    return !strstr(file_of(caller), ".so");
}

static bool is_sqlite(const void *caller)
{
    return sqlite_file && *sqlite_file && strcmp(file_of(caller), sqlite_file) == 0;
}

static bool never_blocks(int fd, int flags)
{
    return flags & MSG_DONTWAIT || fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static mode_t kind_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

/* How many of the n bytes; -1 with errno set: none. */
static ssize_t fate(int fd, size_t n, int flags, const void *caller)
{
    unsigned seed;
    mode_t kind = kind_of(fd);

    if (!chance(&seed))
        return (ssize_t)n;
    if ((is_program(caller) || is_sqlite(caller)) && seed % 3 == 0) {
        done[INTERRUPTED]++;
        errno = EINTR;
        return -1;
    }
    if (is_program(caller) && seed % 3 == 1 && kind == S_IFSOCK && never_blocks(fd, flags)) {
        done[AGAIN]++;
        errno = EAGAIN;
        return -1;
    }
    if ((kind != S_IFSOCK && kind != S_IFREG) || n < 2)
        return (ssize_t)n;
    done[SHORT]++;
    return (ssize_t)(1 + seed / 3 % (n - 1));
}

#define FATE(fd, n, flags)                                                                         \
    ssize_t part = fate(fd, n, flags, __builtin_return_address(0));                                \
    if (part < 0)                                                                                  \
    return -1

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    FATE(fd, n, flags);
    return REAL(recv)(fd, p, flags & MSG_PEEK ? n : (size_t)part, flags);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    FATE(fd, n, flags);
    return REAL(send)(fd, p, (size_t)part, flags);
}

ssize_t read(int fd, void *p, size_t n)
{
    FATE(fd, n, 0);
    return REAL(read)(fd, p, (size_t)part);
}

ssize_t write(int fd, const void *p, size_t n)
{
    FATE(fd, n, 0);
    return REAL(write)(fd, p, (size_t)part);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
    FATE(fd, n, 0);
    return REAL(pread64)(fd, p, (size_t)part, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    FATE(fd, n, 0);
    return REAL(pwrite64)(fd, p, (size_t)part, at);
}

static size_t total(const struct iovec *iov, size_t count)
{
    size_t n = 0;

    while (count)
        n += iov[--count].iov_len;
    return n;
}

/* The first `part` bytes of them, in `out`; how many pieces that is. */
static size_t cut(struct iovec *out, const struct iovec *iov, size_t part)
{
    size_t i = 0;

    for (; part; i++) {
        out[i] = iov[i];
        if (out[i].iov_len > part)
            out[i].iov_len = part;
        part -= out[i].iov_len;
    }
    return i;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct iovec iov[m->msg_iovlen + 1];
    struct msghdr less = *m;
    FATE(fd, total(m->msg_iov, m->msg_iovlen), flags);
    less.msg_iovlen = cut(iov, m->msg_iov, (size_t)part);
    less.msg_iov = iov;
    return REAL(sendmsg)(fd, &less, flags);
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
    struct iovec iov[count + 1];
    FATE(fd, total(v, (size_t)count), 0);
    return REAL(writev)(fd, iov, (int)cut(iov, v, (size_t)part));
}

static bool interrupted(const void *caller)
{
    unsigned seed;

    if (!is_program(caller) || !chance(&seed))
        return false;
    done[INTERRUPTED]++;
    errno = EINTR;
    return true;
}

int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    return interrupted(__builtin_return_address(0)) ? -1 : REAL(epoll_wait)(fd, events, n, timeout);
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    return interrupted(__builtin_return_address(0)) ? -1 : REAL(poll)(fds, n, timeout);
}
