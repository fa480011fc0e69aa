#include "service.h"
#include "base/clock.h"
#include "base/log.h"
#include "capture/database.h"
#include "config.h"
#include "net/notify.h"
#include "sandbox.h"
#include "server.h"
#include "version.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEMO_MS 2000
#define REFRESH_MS 1000
#define NEVER INT64_MAX

struct service {
    const struct config *config;
    struct server *server;
    struct notify notify;
    int64_t watchdog_ms; /* between two signs of life; 0: nobody waits for them */
    int64_t next_watchdog_ms, next_demo_ms, next_refresh_ms;
    bool stuck; /* a thread did not answer the last time */
};

static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

static sigset_t signal_set(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaddset(&set, signals[i]);
    return set;
}

void service_block_signals(void)
{
    sigset_t set = signal_set();

    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* A second Ctrl-C while stopping ends the process at once. */
static void let_interrupt_kill(void)
{
    sigset_t interrupt;

    signal(SIGINT, SIG_DFL);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

/* The manager. */

static void tell(struct service *s, const char *state, const char *status)
{
    struct buf text = {0};

    buf_puts(&text, state);
    if (status)
        buf_printf(&text, "\nSTATUS=%s", status);
    if (buf_text(&text))
        notify_send(&s->notify, buf_text(&text));
    buf_fini(&text);
}

static void tell_ready(struct service *s)
{
    const char *address = server_address(s->server, 0);
    struct buf status = {0};

    buf_printf(&status, "serving %s on %s", s->config->database, address ? address : "nothing");
    for (size_t i = 0; i < status.len; i++)
        if ((unsigned char)status.data[i] < 32) /* a path may have a line's end */
            status.data[i] = ' ';
    tell(s, "READY=1", buf_text(&status));
    buf_fini(&status);
}

/* sd_watchdog_enabled(3): half of the time in which a sign of life is due. */
static int64_t watchdog_interval(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    long long us = usec ? strtoll(usec, NULL, 10) : 0;

    if (us <= 0 || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    return us / 2000 > 0 ? us / 2000 : 1;
}

static void feed_watchdog(struct service *s)
{
    bool works = server_works(s->server);

    if (works)
        tell(s, "WATCHDOG=1", NULL);
    if (!works && !s->stuck)
        log_error("a thread of the server has not answered for %lld ms: the service manager is not "
                  "told that the server works",
            (long long)s->watchdog_ms);
    if (works && s->stuck)
        log_warn("all threads of the server answer again");
    s->stuck = !works;
}

/* Signals. */

static void change_level(int by)
{
    int level = (int)log_get_level() + by;

    if (level < LOG_ERROR || level > LOG_DEBUG)
        return;
    if (by > 0)
        log_set_level((enum log_level)level);
    log_event(LOG_INFO, "log level changed", log_text("to", log_level_name((enum log_level)level)));
    log_set_level((enum log_level)level);
}

static void reload(struct service *s)
{
    char state[64];

    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
        (long long)(clock_mono_ns() / 1000));
    tell(s, state, "reloading");
    if (s->config->tls_cert && server_reload_tls(s->server))
        log_info("SIGHUP: the certificate and its key have been read again, for new connections");
    if (config_has_keys(s->config) && server_reload(s->server))
        log_info("SIGHUP: the keys for tokens%s have been read again; options are read at the "
                 "start only",
            s->config->policy ? " and the policy" : "");
    if (!s->config->tls_cert && !config_has_keys(s->config))
        log_info("SIGHUP: there is nothing to read again: options are read at the start only");
    tell_ready(s);
}

static int64_t until_due(const struct service *s)
{
    int64_t due = s->next_watchdog_ms < s->next_demo_ms ? s->next_watchdog_ms : s->next_demo_ms;
    if (s->next_refresh_ms < due)
        due = s->next_refresh_ms;
    int64_t left = due - clock_mono_ms();

    return due == NEVER ? NEVER : left > 0 ? left : 0;
}

static int wait_for_signal(const struct service *s)
{
    const sigset_t set = signal_set();
    int64_t ms = until_due(s);
    const struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    return ms == NEVER ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &timeout);
}

static void run_due(struct service *s)
{
    int64_t now = clock_mono_ms();

    if (now >= s->next_watchdog_ms) {
        feed_watchdog(s);
        s->next_watchdog_ms = now + s->watchdog_ms;
    }
    if (now >= s->next_refresh_ms) {
        server_refresh(s->server);
        s->next_refresh_ms = now + REFRESH_MS;
    }
    if (now >= s->next_demo_ms) {
        server_change_demo(s->server);
        s->next_demo_ms = now + DEMO_MS;
    }
}

/* Until SIGTERM or SIGINT, which is the result. */
static int wait_for_end(struct service *s)
{
    for (;;) {
        int signo = wait_for_signal(s);

        if (signo == SIGTERM || signo == SIGINT)
            return signo;
        if (signo == SIGHUP)
            reload(s);
        else if (signo == SIGUSR1 || signo == SIGUSR2)
            change_level(signo == SIGUSR1 ? 1 : -1);
        run_due(s);
    }
}

/* The start and the end. */

static void announce(struct service *s)
{
    struct buf options = {0};
    const char *address;

    config_put_given(s->config, &options);
    server_log_start(s->server, buf_text(&options));
    buf_fini(&options);
    for (int i = 0; (address = server_address(s->server, i)); i++)
        fprintf(stderr, "listening on %s\n", address);
    tell_ready(s);
}

static void serve(struct service *s)
{
    int64_t now = clock_mono_ms(), began;
    int signo;

    s->watchdog_ms = s->notify.fd < 0 ? 0 : watchdog_interval();
    s->next_watchdog_ms = s->watchdog_ms ? now : NEVER;
    s->next_demo_ms = s->config->demo ? now + DEMO_MS : NEVER;
    s->next_refresh_ms = config_has_keys(s->config) ? now + REFRESH_MS : NEVER;
    announce(s);
    signo = wait_for_end(s);
    began = clock_mono_ns();
    log_event(LOG_INFO, "stopping", log_text("signal", signo == SIGTERM ? "SIGTERM" : "SIGINT"));
    tell(s, "STOPPING=1", "closing the clients");
    let_interrupt_kill();
    server_log_stop(s->server);
    server_stop(s->server);
    log_event(LOG_INFO, "stopped", log_seconds("duration", clock_mono_ns() - began));
}

/* Not having it is no reason not to serve. */
static void enter_sandbox(const struct config *config)
{
    const char *why;

    if (config->no_sandbox)
        return;
    if (sandbox_enter(config, &why))
        log_event(LOG_DEBUG, "sandbox", log_text("kind", "landlock"));
    else
        log_event(LOG_INFO, "no sandbox", log_text("reason", why));
}

int service_run(const struct config *config)
{
    struct service s = {.config = config};
    struct buf err = {0};
    int status = 1;

    notify_init(&s.notify, getenv("NOTIFY_SOCKET"));
    enter_sandbox(config);
    if (log_start() < 0) {
        fputs("rowtap: cannot start the thread that writes the log: too many threads?\n", stderr);
        notify_fini(&s.notify);
        return 1;
    }
    database_own_process();
    s.server = server_start(config, &err);
    if (s.server) {
        serve(&s);
        status = 0;
    }
    log_stop();
    if (status)
        fprintf(stderr, "rowtap: %s\n", buf_text(&err) ? buf_text(&err) : "out of memory");
    notify_fini(&s.notify);
    buf_fini(&err);
    return status;
}
