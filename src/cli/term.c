#include "cli/term.h"
#include "base/status.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

void term_start(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

bool term_colour(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

void term_put_style(struct buf *out, bool colour, enum term_style style)
{
    static const char *const codes[] = {"\033[2m", "\033[1m", "\033[31m", "\033[32m", "\033[33m"};

    if (colour)
        buf_puts(out, codes[style]);
}

void term_put_plain(struct buf *out, bool colour)
{
    if (colour)
        buf_puts(out, "\033[0m");
}

/* One character of text that is probably UTF-8; a stray byte gives U+FFFD. Returns its length. */
static size_t decode(const char *s, size_t len, uint32_t *c)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;

    *c = 0xfffd;
    if (n == 0 || n > len || p[0] > 0xf4)
        return 1;
    if (n == 1) {
        *c = p[0];
        return 1;
    }
    uint32_t v = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        v = v << 6 | (p[i] & 0x3f);
    }
    *c = v;
    return n;
}

/* Direction marks and other characters that would let text pretend to be something else. */
static bool deceives(uint32_t c)
{
    return c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* What stands for the character: itself, or an escape in `escape`. Returns its columns. */
static size_t show(uint32_t c, char escape[12], const char **shown)
{
    static const char letters[] = "abtnvfr";
    int width;

    *shown = NULL;
    if (c >= 0x20 && c < 0x7f)
        return 1;
    width = c >= 0xa0 && !deceives(c) ? wcwidth((wchar_t)c) : -1;
    if (width >= 0)
        return (size_t)width;
    if (c >= 7 && c <= 13)
        snprintf(escape, 12, "\\%c", letters[c - 7]);
    else
        snprintf(escape, 12, "\\u%04x", (unsigned)c);
    *shown = escape;
    return strlen(escape);
}

size_t term_width(const char *s, size_t len)
{
    size_t total = 0, n;
    char escape[12];
    const char *shown;
    uint32_t c;

    for (size_t i = 0; i < len; i += n) {
        n = decode(s + i, len - i, &c);
        total += show(c, escape, &shown);
    }
    return total;
}

size_t term_put(struct buf *out, const char *s, size_t len, size_t max)
{
    size_t total = 0, n;
    char escape[12];
    const char *shown;
    uint32_t c;
    size_t enough = max * 16 + 16;
    bool cut = max && (len > enough || term_width(s, len) > max);

    for (size_t i = 0; i < len; i += n) {
        size_t width;

        n = decode(s + i, len - i, &c);
        width = show(c, escape, &shown);
        if (cut && total + width >= max) {
            buf_puts(out, "…");
            return total + 1;
        }
        if (shown)
            buf_puts(out, shown);
        else if (c == 0xfffd)
            buf_puts(out, "\xef\xbf\xbd");
        else
            buf_put(out, s + i, n);
        total += width;
    }
    return total;
}

int term_flush(struct buf *out)
{
    int status = buf_error(out) ? STATUS_NOMEM : 0;

    if (status < 0) {
        term_error("out of memory");
    } else if ((out->len && fwrite(out->data, 1, out->len, stdout) != out->len) ||
               fflush(stdout) != 0) {
        status = errno == EPIPE ? STATUS_CLOSED : STATUS_IO;
        if (status == STATUS_IO)
            fprintf(stderr, "rowtap: cannot write the output: %s\n", strerror(errno));
    }
    buf_reset(out);
    return status;
}

void term_error(const char *message)
{
    struct buf line = {0};

    term_put(&line, message, strlen(message), 0);
    fprintf(stderr, "rowtap: %s\n", buf_text(&line) ? buf_text(&line) : "out of memory");
    buf_fini(&line);
}
