#include "base/mem.h"
#include "base/status.h"
#include "net/private.h"

#include <string.h>
#include <unistd.h>

/* Sockets on their way to a loop. */

struct adoption {
    struct message message;
    struct loop *loop;
    const struct conn_ops *ops;
    void *start_ctx;
    struct tls *tls;
    int fd;
    size_t hello_len;
    char hello[];
};

static void refuse(int fd, struct tls *tls, const struct conn_ops *ops, void *start_ctx)
{
    tls_free(tls);
    close(fd);
    ops->refused(start_ctx);
}

static void run_adoption(struct message *m, void *receiver)
{
    struct adoption *a = (struct adoption *)m;
    struct conn *c = NULL;

    (void)receiver;
    if (!a->loop->stopping)
        c = conn_new(a->loop, a->fd, a->tls, a->ops, a->hello, a->hello_len);
    if (c) {
        c->owner = a->ops->open(c, a->start_ctx);
        if (!c->owner)
            conn_close(c, WS_CLOSE_INTERNAL, "internal error");
    } else {
        refuse(a->fd, a->tls, a->ops, a->start_ctx);
    }
    mem_free(a);
}

int loop_adopt_tls(struct loop *l, int fd, struct tls *tls, const struct conn_ops *ops,
    void *start_ctx, const void *hello, size_t hello_len)
{
    struct adoption *a = mem_alloc(sizeof(*a) + hello_len);

    if (!a) {
        refuse(fd, tls, ops, start_ctx);
        return STATUS_NOMEM;
    }
    *a = (struct adoption){.message.run = run_adoption,
        .loop = l,
        .ops = ops,
        .start_ctx = start_ctx,
        .tls = tls,
        .fd = fd,
        .hello_len = hello_len};
    if (hello_len)
        memcpy(a->hello, hello, hello_len);
    loop_post(l, &a->message);
    return 0;
}
