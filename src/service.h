#ifndef ROWTAP_SERVICE_H
#define ROWTAP_SERVICE_H

/*
 * `rowtap serve` as a process: signals, the service manager and its watchdog, and what the log and
 * standard error say of the start and the end.
 */
struct config;

void service_block_signals(void); /* before any thread is started: they inherit it */
/* Serves until SIGTERM or SIGINT. The process's exit status. */
int service_run(const struct config *config);

#endif
