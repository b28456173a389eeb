/* Uses of more than there is to be had. */
#include "attack.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

/* raise NUMBER VALUE: sets a limit of resources higher than it is. */
static int raise_limit(int count, char **a) {
    (void)count;
    struct rlimit limit = { (rlim_t)number(a[1]), (rlim_t)number(a[1]) };
    return setrlimit((int)number(a[0]), &limit) == 0 ? worked() : failed("setrlimit");
}

/* fill FILE BYTES: a file of that length, written. open-many COUNT. eat MIB. spin MS PERCENT: worked if it had that
 * much of a processor. */
static int fill(int count, char **a) {
    (void)count;
    static char block[65536];
    long left = number(a[1]);
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(a[0], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    while (fd >= 0 && left > 0) {
        ssize_t done = write(fd, block, left > (long)sizeof block ? sizeof block : (size_t)left);
        if (done <= 0)
            break;
        left -= done;
    }
    return fd >= 0 && left == 0 ? worked() : failed("write");
}

static int open_many(int count, char **a) {
    (void)count;
    long wanted = number(a[0]), got = 0;
    while (got < wanted && dup(1) >= 0)
        got++;
    return got == wanted ? worked() : failed("dup");
}

static int eat(int count, char **a) {
    (void)count;
    size_t size = (size_t)number(a[0]) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return failed("mmap");
    memset(memory, 1, size);
    return worked();
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int spin(int count, char **a) {
    (void)count;
    double start = seconds(CLOCK_MONOTONIC), length = (double)number(a[0]) / 1000, used;
    while (seconds(CLOCK_MONOTONIC) - start < length) {
    }
    used = seconds(CLOCK_PROCESS_CPUTIME_ID);
    printf("%.2f s of %.2f s\n", used, length);
    errno = EAGAIN;
    return used * 100 >= length * (double)number(a[1]) ? worked() : failed("processor");
}

const struct command LIMIT_COMMANDS[] = {
    { "raise", 2, raise_limit }, { "fill", 2, fill }, { "open-many", 1, open_many },
    { "eat", 1, eat },           { "spin", 2, spin }, { NULL, 0, NULL },
};
