#include "capture/wal/shm.h"

#include <stdatomic.h>
#include <string.h>

#define VERSION 3007000
#define HEAD 48

/* Other processes write it, so each byte is read once, and nothing is read early. */
static void copy(uint8_t *to, const volatile void *mapped, size_t offset, size_t size)
{
    const volatile uint32_t *from = (const volatile uint32_t *)mapped + offset / 4;
    for (size_t i = 0; i < size / 4; i++) {
        uint32_t word = from[i];
        memcpy(to + 4 * i, &word, sizeof(word));
    }
    atomic_thread_fence(memory_order_seq_cst);
}

static uint32_t word(const uint8_t *head, size_t offset)
{
    uint32_t v;
    memcpy(&v, head + offset, sizeof(v));
    return v;
}

/* The log's checksum, in the machine's byte order. */
static bool sum_is_right(const uint8_t *head)
{
    uint32_t a = 0, b = 0;
    for (size_t i = 0; i < 40; i += 8) {
        a += word(head, i) + b;
        b += word(head, i + 4) + a;
    }
    return a == word(head, 40) && b == word(head, 44);
}

bool wal_shm_read(const volatile void *mapped, struct wal_shm *out)
{
    uint8_t first[HEAD], second[HEAD], copied[4], most[4];
    uint16_t size;
    copy(first, mapped, 0, HEAD);
    copy(second, mapped, HEAD, HEAD);
    if (memcmp(first, second, HEAD) != 0 || !first[12] || word(first, 0) != VERSION ||
        !sum_is_right(first))
        return false;
    copy(copied, mapped, 96, 4);
    copy(most, mapped, 128, 4);
    memcpy(&size, first + 14, sizeof(size));
    memcpy(out->salt, first + 32, WAL_SALT);
    out->frames = word(first, 16);
    out->pages = word(first, 20);
    out->page_size = (size & 0xfe00u) + ((size & 1u) << 16);
    out->copied = word(copied, 0);
    out->copied_most = word(most, 0);
    return true;
}
