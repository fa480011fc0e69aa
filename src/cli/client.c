#include "cli/client.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/interrupt.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000L
#define ANSWER_MAX ((size_t)1 << 30)

struct client {
    CURL *curl;
    struct curl_slist *get_headers, *post_headers;
    struct buf base, url;
    char detail[CURL_ERROR_SIZE];
};

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
    struct buf *answer = ctx;

    buf_put(answer, data, size * count);
    return buf_error(answer) ? 0 : size * count;
}

static int on_progress(
    void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    (void)ctx, (void)total, (void)now, (void)up_total, (void)up_now;
    return interrupt_seen();
}

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool set_headers(struct client *c, const char *token)
{
    struct buf line = {0};
    bool good;

    buf_printf(&line, "Authorization: Bearer %s", token ? token : "");
    good = buf_text(&line) != NULL;
    /* An empty Expect: libcurl would wait a second for "100 Continue" before larger bodies. */
    good = good && add_header(&c->get_headers, "Accept: application/json") &&
           add_header(&c->post_headers, "Accept: application/json") &&
           add_header(&c->post_headers, "Content-Type: application/json") &&
           add_header(&c->post_headers, "Expect:");
    if (token)
        good = good && add_header(&c->get_headers, buf_text(&line)) &&
               add_header(&c->post_headers, buf_text(&line));
    buf_fini(&line);
    return good;
}

void client_set_tls(void *curl, const struct target *target)
{
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (target->cacert)
        curl_easy_setopt(curl, CURLOPT_CAINFO, target->cacert);
    if (target->insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

struct client *client_new(struct target *target, int64_t timeout_ms, struct buf *err)
{
    struct client *c = mem_zalloc(sizeof(*c));

    if (!c) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    if (target_resolve(target, &c->base, err) < 0)
        goto fail;
    c->curl = curl_easy_init();
    if (!c->curl || !set_headers(c, target->token)) {
        buf_puts(err, "out of memory");
        goto fail;
    }
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->detail);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(c->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    client_set_tls(c->curl, target);
    if (target_is_loopback(client_url(c)))
        curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "rowtap");
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    return c;
fail:
    client_free(c);
    return NULL;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->get_headers);
    curl_slist_free_all(c->post_headers);
    buf_fini(&c->base);
    buf_fini(&c->url);
    mem_free(c);
}

const char *client_url(const struct client *c)
{
    return c->base.data;
}

void client_explain_curl(
    const char *url, int code, const char *detail, long os_error, struct buf *err)
{
    const char *why = os_error ? strerror((int)os_error) : detail;

    switch (code) {
    case CURLE_COULDNT_CONNECT:
        buf_printf(err,
            "cannot reach %s: %c%s; is `rowtap serve` running? give its address with --url", url,
            text_lower(*why), *why ? why + 1 : "");
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
        buf_printf(err, "cannot reach %s: no such host; check the address given with --url", url);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        buf_printf(err, "no answer from %s in time (%s)", url, *detail ? detail : "timed out");
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        buf_printf(err,
            "%s shows a certificate that cannot be trusted (%s); give its CA's certificate with "
            "--cacert FILE, or add --insecure to trust any",
            url, detail);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        buf_printf(err, "the CA's certificates cannot be read: %s", detail);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        buf_printf(err,
            "no TLS with %s (%s); does it speak TLS at all? http:// and ws:// do without", url,
            detail);
        break;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        buf_printf(err,
            "%s closed the connection without an answer; the server may have stopped, "
            "or the address is not a rowtap server's",
            url);
        break;
    default:
        buf_printf(err, "request to %s failed: %s", url,
            *detail ? detail : curl_easy_strerror((CURLcode)code));
    }
}

int client_request(
    struct client *c, const char *path, const struct buf *body, struct buf *answer, struct buf *err)
{
    CURLcode code;
    long status = 0, os_error = 0;

    buf_reset(answer);
    answer->max = ANSWER_MAX;
    buf_reset(&c->url);
    buf_printf(&c->url, "%s%s", client_url(c), path);
    if (!buf_text(&c->url) || (body && buf_error(body))) {
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    c->detail[0] = '\0';
    curl_easy_setopt(c->curl, CURLOPT_URL, buf_text(&c->url));
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, body ? c->post_headers : c->get_headers);
    if (body) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body->data);
    } else {
        curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    }
    code = curl_easy_perform(c->curl);
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        buf_puts(err, "interrupted; the server may still finish the request");
        return STATUS_CLOSED;
    }
    if (buf_error(answer)) {
        buf_puts(err, "the answer is too large for this program; ask for fewer rows (LIMIT)");
        return STATUS_NOMEM;
    }
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    /* A server that refuses a large body early may close before it was sent: its answer counts. */
    if (code != CURLE_OK && status < 400) {
        curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &os_error);
        client_explain_curl(client_url(c), (int)code, c->detail, os_error, err);
        return STATUS_IO;
    }
    return (int)status;
}

void client_explain(
    const struct client *c, int status, const struct buf *answer, json_t **parsed, struct buf *err)
{
    char why[128];
    json_t *top = json_read(answer->data ? answer->data : "", answer->len, why, sizeof(why));
    json_t *error = json_object_get(top, "error");
    const char *message = json_string_value(json_object_get(error, "message"));

    if (message)
        buf_puts(err, message);
    else if (status == 200)
        buf_printf(err, "the answer of %s makes no sense; is it a rowtap server?", client_url(c));
    else
        buf_printf(
            err, "%s answered with HTTP status %d; is it a rowtap server?", client_url(c), status);
    if (status == 401)
        buf_puts(err, " (give a token with --token)");
    if (parsed)
        *parsed = json_incref(error);
    json_decref(top);
}
