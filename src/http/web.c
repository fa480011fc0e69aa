#include "http/answer.h"
#include "http/route.h"
#include "web_files.h"

#include <string.h>

/* The page may load and connect to nothing but this server. */
#define POLICY                                                                                     \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "           \
    "img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; "                         \
    "form-action 'none'; frame-ancestors 'none'\r\n"                                               \
    "Referrer-Policy: no-referrer\r\n"                                                             \
    "Cache-Control: no-cache\r\n"

static const struct {
    const char *path, *type;
    const unsigned char *data;
    size_t len;
} files[] = {
    {"/", "text/html; charset=utf-8", index_html, sizeof(index_html)},
    {"/console.css", "text/css; charset=utf-8", console_css, sizeof(console_css)},
    {"/console.js", "text/javascript; charset=utf-8", console_js, sizeof(console_js)},
    {"/page.js", "text/javascript; charset=utf-8", page_js, sizeof(page_js)},
    {"/feed.js", "text/javascript; charset=utf-8", feed_js, sizeof(feed_js)},
    {"/sql.js", "text/javascript; charset=utf-8", sql_js, sizeof(sql_js)},
    {"/channels.js", "text/javascript; charset=utf-8", channels_js, sizeof(channels_js)},
    {"/server.js", "text/javascript; charset=utf-8", server_js, sizeof(server_js)},
    {"/signin.js", "text/javascript; charset=utf-8", signin_js, sizeof(signin_js)},
    {"/rowtap.js", "text/javascript; charset=utf-8", rowtap_js, sizeof(rowtap_js)},
};

void web_file(struct request *r, const char *rest)
{
    (void)rest;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (strcmp(files[i].path, r->path) == 0)
            answer(r, 200, files[i].type, POLICY, files[i].data, files[i].len);
}
