#ifndef ROWTAP_CAPTURE_WAL_BYTES_H
#define ROWTAP_CAPTURE_WAL_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* The numbers of SQLite's file formats are big-endian (https://www.sqlite.org/fileformat2.html). */
static inline uint32_t get_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}
static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/*
 * A varint of at most 9 bytes (section 1.6): its length, 0 when it does not end before `end`.
 */
static inline size_t get_varint(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 9 && p + i < end; i++) {
        if (i == 8) {
            *v = value << 8 | p[8];
            return 9;
        }
        value = value << 7 | (p[i] & 0x7f);
        if (p[i] < 0x80) {
            *v = value;
            return i + 1;
        }
    }
    return 0;
}

#endif
