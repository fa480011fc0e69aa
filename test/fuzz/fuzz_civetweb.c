#include "fuzz_civetweb.h"

#include "fuzz.h"
#include <ctype.h>
#include <string.h>

/* Up to and with the empty line; 0: there is none, or something that may not be in a head. */
static size_t head_size(const char *s, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 128 && c != '\r' && c != '\n' && !isprint(c))
            return 0;
        if (i + 1 < size && s[i] == '\n' && s[i + 1] == '\n')
            return i + 2;
        if (i + 3 < size && memcmp(s + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    }
    return 0;
}

static bool end_word(char **p, bool line)
{
    while (isgraph((unsigned char)**p))
        ++*p;
    if (line ? **p != '\r' && **p != '\n' : **p != ' ')
        return false;
    do
        *(*p)++ = '\0';
    while (isspace((unsigned char)**p));
    return line || isgraph((unsigned char)**p);
}

/* A header's line; NULL: this is none. *more: another may follow. */
static char *take_header(char *p, struct mg_header *h, bool *whole, bool *more)
{
    char *start = p;
    *whole = *more = false;
    while (*p != ':' && *p >= 33 && *p <= 126)
        p++;
    if (p == start)
        return NULL;
    while (*p == ' ')
        *p++ = '\0';
    if (*p != ':')
        return NULL;
    *p++ = '\0';
    h->name = start;
    p += strspn(p, " \t");
    h->value = p;
    p += strcspn(p, "\r\n");
    if (*p == '\r') {
        *p++ = '\0';
        if (*p != '\n')
            return NULL;
    }
    *whole = true;
    if (!*p)
        return p;
    *p++ = '\0';
    *more = *p != '\r' && *p != '\n';
    return p;
}

static void take_headers(struct mg_request_info *info, char *p)
{
    bool whole = true, more = true;
    for (int i = 0; i < MG_MAX_HEADERS && more && p; i++) {
        p = take_header(p, &info->http_headers[i], &whole, &more);
        if (whole)
            info->num_headers = i + 1;
    }
}

/* The path, or that of a URL; not "*". */
static bool take_target(struct mg_request_info *info, char *target)
{
    char *path = target;
    for (char *p = target; *p; p++)
        if (*(unsigned char *)p < 33)
            return false;
    if (*path != '/') {
        path = strstr(target, "://");
        path = path ? strchr(path + 3, '/') : NULL;
    }
    if (!path)
        return false;
    info->request_uri = target;
    info->local_uri_raw = path;
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    info->query_string = query;
    return true;
}

static bool is_method(const char *s)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS",
        "CONNECT", "PATCH", "PROPFIND", "MKCOL", "REPORT"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (strcmp(methods[i], s) == 0)
            return true;
    return false;
}

bool fuzz_civetweb_parse(struct mg_connection *c, const void *data, size_t size)
{
    *c = (struct mg_connection){.text = fuzz_string(data, size), .size = size};
    char *p = c->text, *method, *target, *version;
    while (size && isspace((unsigned char)*p))
        p++, size--;
    size_t head = head_size(p, size);
    if (!head || head > 16384)
        return false;
    c->body = (size_t)(p - c->text) + head;
    p[head - 1] = '\0';
    method = p;
    if (!end_word(&p, false))
        return false;
    target = p;
    if (!end_word(&p, false))
        return false;
    version = p;
    if (!end_word(&p, true) || strncmp(version, "HTTP/", 5) != 0 || !is_method(method))
        return false;
    c->info.request_method = method;
    c->info.http_version = version + 5;
    take_headers(&c->info, p);
    return (strcmp(version + 5, "1.1") == 0 || strcmp(version + 5, "1.0") == 0) &&
           take_target(&c->info, target);
}

void fuzz_civetweb_fini(struct mg_connection *c)
{
    free(c->text);
    buf_fini(&c->written);
}

const struct mg_request_info *mg_get_request_info(const struct mg_connection *c)
{
    return &c->info;
}

void *mg_get_thread_pointer(const struct mg_connection *c)
{
    return (void *)(uintptr_t)&c->worker;
}

const char *mg_get_response_code_text(const struct mg_connection *c, int code)
{
    (void)c, (void)code;
    return "Some Words";
}

void mg_disable_connection_keep_alive(struct mg_connection *c)
{
    (void)c;
}

int mg_read(struct mg_connection *c, void *to, size_t size)
{
    size_t left = c->size - c->body;
    size = size < left ? size : left;
    memcpy(to, c->text + c->body, size);
    c->body += size;
    return (int)size;
}

int mg_write(struct mg_connection *c, const void *data, size_t size)
{
    REQUIRE(size < 1 << 24);
    buf_put(&c->written, data, size);
    return (int)size;
}
