#ifndef ROWTAP_CLI_CLI_H
#define ROWTAP_CLI_CLI_H

/*
 * The verbs that talk to a running server (sql, watch, health, status, bench) and help and version.
 * argv[0] is the verb. Returns the process's exit status: 0 done, 1 it failed (message on stderr),
 * 2 wrong usage. Main thread, once per process: it sets signal handlers and the locale.
 */
int cli_main(int argc, char **argv);

#endif
