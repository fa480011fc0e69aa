#ifndef ROWTAP_SANDBOX_H
#define ROWTAP_SANDBOX_H

#include <stdbool.h>

/*
 * Has the kernel hold this process to what it needs, for good, whatever somebody may make it do: it
 * reads and writes in the database's directory and those for temporary files, reads the system's
 * directories and those of the files that its options name, runs no program, connects to nobody
 * over TCP (unless it speaks TLS) and gains no privilege by exec (Landlock, landlock(7);
 * PR_SET_NO_NEW_PRIVS(2const)). Parts that the kernel is too old for are left out.
 *
 * Before any thread is started: they inherit it. False: it has no Landlock, or the database is a
 * link to a file that is not there yet, whose directory is not known; why is in *why, which lives
 * on.
 */
struct config;

bool sandbox_enter(const struct config *config, const char **why);

#endif
