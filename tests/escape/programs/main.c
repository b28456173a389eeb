/* The attacker's entry, and what its parts share. */
#include "attack.h"

#include <signal.h>

static const struct command *const ALL[] = {
    FILE_COMMANDS, RACE_COMMANDS, PROCESS_COMMANDS, SOCKET_COMMANDS, IPC_COMMANDS, KERNEL_COMMANDS, LIMIT_COMMANDS, VICTIM_COMMANDS,
    EGRESS_COMMANDS,
};

int worked(void) {
    puts("\nIT WORKED");
    return 0;
}

int failed(const char *what) {
    printf("refused: %s: %s\n", what, strerror(errno));
    return 1;
}

int not_here(const char *why) {
    printf("not applicable: %s\n", why);
    return 1;
}

int spill(int fd) {
    char buffer[4096];
    ssize_t count;
    if (fd < 0)
        return failed("open");
    while ((count = read(fd, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, (size_t)count, stdout);
    if (count < 0)
        return failed("read");
    putchar('\n');
    return 0;
}

void leave(const char *path, const char *text) {
    /* In one step, so that whoever waits for the file finds it whole. */
    char draft[4096];
    snprintf(draft, sizeof draft, "%s.draft", path);
    FILE *file = fopen(draft, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0 || rename(draft, path) != 0) {
        perror(path);
        exit(1);
    }
}

static int parent = -1;

void detach(void) {
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        exit(1);
    if (fork() != 0) {
        close(ends[1]);
        /* No byte: it ended before it was ready. */
        _exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
    }
    close(ends[0]);
    parent = ends[1];
    setsid();
    /* Should the runner fail to end us. */
    signal(SIGALRM, SIG_DFL);
    alarm(120);
}

void ready(void) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    if (write(parent, "", 1) != 1)
        _exit(1);
    close(parent);
}

long number(const char *text) {
    return (long)strtoull(text, NULL, 0);
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count < 2) {
        fputs("attack: which?\n", stderr);
        return 2;
    }
    for (size_t list = 0; list < sizeof ALL / sizeof *ALL; list++)
        for (const struct command *known = ALL[list]; known->name != NULL; known++)
            if (strcmp(known->name, words[1]) == 0) {
                if (count - 2 < known->arguments) {
                    fprintf(stderr, "attack: %s needs %d arguments\n", words[1], known->arguments);
                    return 2;
                }
                return known->run(count - 2, words + 2);
            }
    fprintf(stderr, "attack: no such attack: %s\n", words[1]);
    return 2;
}
