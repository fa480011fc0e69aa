/*
 * What the clients of the load tests have in common: time, and sending a masked frame on a socket
 * that does not block. Each is one file and this one; `die` is its own.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        struct pollfd wait = {fd, POLLOUT, 0};

        if (n >= 0) {
            p += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN || poll(&wait, 1, 5000) <= 0) {
            return;
        }
    }
}

static void send_frame(int fd, int opcode, const char *data, size_t len)
{
    static const unsigned char key[4] = {0x3a, 0x91, 0x5c, 0x07};
    unsigned char frame[512];
    size_t head = 2;

    if (len > sizeof frame - 8)
        die("a message is too long");
    frame[0] = (unsigned char)(0x80 | opcode);
    if (len < 126) {
        frame[1] = (unsigned char)(0x80 | len);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (unsigned char)(len >> 8);
        frame[3] = (unsigned char)len;
        head = 4;
    }
    memcpy(frame + head, key, 4);
    head += 4;
    for (size_t i = 0; i < len; i++)
        frame[head + i] = (unsigned char)data[i] ^ key[i & 3];
    write_all(fd, frame, head + len);
}
