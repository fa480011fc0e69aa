/*
 * The digest of a handshake keeps no secret (RFC 6455 section 10.8), and EVP would load a provider
 * for it: 2 MB for the first, and a search under a lock for each.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/status.h"
#include "net/ws.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#define FIN 0x80
#define MASK 0x80

size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len)
{
    int i;

    out[0] = (uint8_t)(FIN | opcode);
    if (len < 126) {
        out[1] = (uint8_t)len;
        return 2;
    }
    if (len <= 0xffff) {
        out[1] = 126;
        out[2] = (uint8_t)(len >> 8);
        out[3] = (uint8_t)len;
        return 4;
    }
    out[1] = 127;
    for (i = 0; i < 8; i++)
        out[2 + i] = (uint8_t)(len >> (56 - 8 * i));
    return 10;
}

size_t ws_header_client(
    uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len, const uint8_t key[4])
{
    size_t n = ws_header(out, opcode, len);

    out[1] |= MASK;
    memcpy(out + n, key, 4);
    return n + 4;
}

void ws_mask(uint8_t *data, size_t len, const uint8_t key[4], uint64_t offset)
{
    uint8_t wide[8];
    uint64_t mask, word;
    size_t i;

    for (i = 0; i < 8; i++)
        wide[i] = key[(offset + i) & 3];
    memcpy(&mask, wide, 8);
    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        word ^= mask;
        memcpy(data, &word, 8);
    }
    for (i = 0; i < len; i++)
        data[i] ^= wide[i];
}

size_t ws_close_payload(uint8_t out[125], int code, const char *reason)
{
    size_t len = reason ? strlen(reason) : 0;

    if (code == WS_CLOSE_NO_STATUS)
        return 0;
    if (len > 123) {
        len = 123;
        while (len && (reason[len] & 0xc0) == 0x80)
            len--;
    }
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    if (len)
        memcpy(out + 2, reason, len);
    return 2 + len;
}

bool ws_close_code_valid(int code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && code != 1004 && code != WS_CLOSE_NO_STATUS &&
           code != WS_CLOSE_ABNORMAL;
}

/* 22 digits and "==". Bits left over in the last digit are let pass, as most decoders do. */
static bool key_valid(const char *key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    return strspn(key, digits) == 22 && strcmp(key + 22, "==") == 0;
}

int ws_accept(char out[WS_ACCEPT_LEN + 1], const char *key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[24 + sizeof(guid)];
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA_CTX sha;

    if (!key_valid(key))
        return STATUS_INVALID;
    memcpy(text, key, 24);
    memcpy(text + 24, guid, sizeof(guid));
    if (!SHA1_Init(&sha) || !SHA1_Update(&sha, text, sizeof(text) - 1) || !SHA1_Final(digest, &sha))
        return STATUS_NOMEM;
    EVP_EncodeBlock((unsigned char *)out, digest, 20);
    return 0;
}
