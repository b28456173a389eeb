/* What the parts of the attacker share. One program, many subcommands: `attack NAME ARGUMENTS`. */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A subcommand: its name, how many arguments it needs at least, and what it does. The result is the exit status. */
struct command {
    const char *name;
    int arguments;
    int (*run)(int count, char **arguments);
};

/* Ends each list. */
extern const struct command FILE_COMMANDS[];
extern const struct command RACE_COMMANDS[];
extern const struct command PROCESS_COMMANDS[];
extern const struct command SOCKET_COMMANDS[];
extern const struct command IPC_COMMANDS[];
extern const struct command KERNEL_COMMANDS[];
extern const struct command LIMIT_COMMANDS[];
extern const struct command VICTIM_COMMANDS[];
extern const struct command EGRESS_COMMANDS[];

/* Says the line by which the runner knows that an attack did what it is for. */
int worked(void);
/* Says what was refused, with errno. */
int failed(const char *what);
/* Says that this kernel or machine has not got what the attack uses. */
int not_here(const char *why);
/* Copies all that can be read to stdout, which is how a secret comes out. */
int spill(int fd);
/* Writes a whole text to a file of the host, made anew: what a victim tells the setup script. Ends us if it cannot. */
void leave(const char *path, const char *text);
/* Goes on as a process of its own, without the caller's streams. The caller returns when `ready` was called. */
void detach(void);
void ready(void);
/* Enters new namespaces (flags of clone(2)), with the caller's own user in them, where they are to be had. */
void renew(long namespaces);
/* A number in any base of strtol. */
long number(const char *text);

#endif
