/*
 * `rowtap bench` for servers that speak socket.io: the same options, tests and checks, another
 * handshake (Engine.IO 4 over WebSocket, https://socket.io/docs/v4/socket-io-protocol/).
 *
 *   load TEST [OPTIONS]
 */
#include "base/buf.h"
#include "cli/bench.h"
#include "cli/bench_reader.h"
#include "cli/options.h"

#include <curl/curl.h>
#include <stdio.h>

static const struct bench_speech socketio = {
    .path = "/socket.io/?EIO=4&transport=websocket",
    .greeting = "\"sid\"",
    .hello = "40",
    .welcome = "\"sid\"",
    .before = "42[\"subscribe\",",
    .after = "]",
    .ping = "2",
    .pong = "3",
};

int main(int argc, char **argv)
{
    struct bench_options o = {.speech = &socketio};
    struct buf err = {0};
    int count = 0;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
        options_parse(bench_option_rows, &o, argc, argv, &count, &err) != OPTIONS_OK) {
        fprintf(stderr, "load: %s\n", buf_text(&err) ? err.data : "");
        return 2;
    }
    return bench_run(&o, count, argv);
}
