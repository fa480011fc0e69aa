#include "http/answer.h"
#include "http/route.h"
#include "web_files.h"

#include <string.h>

/*
 * The page may load and connect to nothing but this server, and stand in no other page. Not every
 * browser takes 'self' for WebSockets too, so those are named; the Host was checked by now.
 */
static void put_policy(struct buf *out, const struct request *r)
{
    const char *host = request_header(r, "Host");

    buf_puts(out, "Content-Security-Policy: default-src 'none'; script-src 'self'; "
                  "style-src 'self'; img-src 'self' data:; connect-src 'self'");
    if (host && *host)
        buf_printf(out, " ws://%s wss://%s", host, host);
    buf_puts(out, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                  "X-Frame-Options: DENY\r\n"
                  "Cross-Origin-Opener-Policy: same-origin\r\n"
                  "Referrer-Policy: no-referrer\r\n"
                  "Cache-Control: no-cache\r\n");
}

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
    struct buf headers = {0};
    const char *text;

    (void)rest;
    put_policy(&headers, r);
    text = buf_text(&headers);
    if (!text)
        answer_json(r, 503, &headers);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (text && strcmp(files[i].path, r->path) == 0)
            answer(r, 200, files[i].type, text, files[i].data, files[i].len);
    buf_fini(&headers);
}
