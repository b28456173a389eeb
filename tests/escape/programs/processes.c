/* Attacks on other processes, named by the number that they have on the host. */
#include "attack.h"

#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static pid_t pid_of(char **a) {
    return (pid_t)number(a[0]);
}

/* ptrace-read PID ADDRESS: attaches and reads a secret's words. */
static int ptrace_read(int count, char **a) {
    (void)count;
    pid_t pid = pid_of(a);
    unsigned long at = (unsigned long)number(a[1]);
    if (ptrace(PTRACE_ATTACH, pid, 0, 0) != 0)
        return failed("PTRACE_ATTACH");
    waitpid(pid, NULL, 0);
    for (int word = 0; word < 16; word++) {
        long value = ptrace(PTRACE_PEEKDATA, pid, at + 8 * (unsigned long)word, 0);
        fwrite(&value, 1, sizeof value, stdout);
    }
    putchar('\n');
    ptrace(PTRACE_DETACH, pid, 0, 0);
    return 0;
}

/* ptrace-seize PID: the other way to attach. */
static int ptrace_seize(int count, char **a) {
    (void)count;
    return ptrace(PTRACE_SEIZE, pid_of(a), 0, 0) == 0 ? worked() : failed("PTRACE_SEIZE");
}

/* vm-read PID ADDRESS / vm-write PID ADDRESS TEXT. */
static int vm_read(int count, char **a) {
    (void)count;
    char room[128];
    struct iovec here = { room, sizeof room }, there = { (void *)number(a[1]), sizeof room };
    ssize_t got = process_vm_readv(pid_of(a), &here, 1, &there, 1, 0);
    if (got < 0)
        return failed("process_vm_readv");
    fwrite(room, 1, (size_t)got, stdout);
    return 0;
}

static int vm_write(int count, char **a) {
    (void)count;
    struct iovec here = { a[2], strlen(a[2]) + 1 }, there = { (void *)number(a[1]), strlen(a[2]) + 1 };
    return process_vm_writev(pid_of(a), &here, 1, &there, 1, 0) > 0 ? worked() : failed("process_vm_writev");
}

/* mem-read PID ADDRESS / mem-write PID ADDRESS TEXT: by /proc/PID/mem. */
static int mem_open(char **a, int flags) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%s/mem", a[0]);
    return open(name, flags);
}

static int mem_read(int count, char **a) {
    (void)count;
    char room[128];
    int fd = mem_open(a, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : pread(fd, room, sizeof room, number(a[1]));
    if (got < 0)
        return failed("/proc/PID/mem");
    fwrite(room, 1, (size_t)got, stdout);
    return 0;
}

static int mem_write(int count, char **a) {
    (void)count;
    int fd = mem_open(a, O_RDWR);
    return fd >= 0 && pwrite(fd, a[2], strlen(a[2]) + 1, number(a[1])) > 0 ? worked() : failed("/proc/PID/mem");
}

/* signal HOW PID SIGNAL: the ways to send one. */
static int send_signal(int count, char **a) {
    (void)count;
    pid_t pid = (pid_t)number(a[1]);
    int signal = (int)number(a[2]);
    long result = -1;
    if (strcmp(a[0], "kill") == 0)
        result = kill(pid, signal);
    else if (strcmp(a[0], "group") == 0)
        result = kill(-pid, signal);
    else if (strcmp(a[0], "tkill") == 0)
        result = syscall(SYS_tkill, pid, signal);
    else if (strcmp(a[0], "tgkill") == 0)
        result = syscall(SYS_tgkill, pid, pid, signal);
    else if (strcmp(a[0], "queue") == 0)
        result = sigqueue(pid, signal, (union sigval){ .sival_int = 1 });
    else if (strcmp(a[0], "pidfd") == 0) {
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        result = fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
    } else if (strcmp(a[0], "procfd") == 0) {
        char name[64];
        snprintf(name, sizeof name, "/proc/%d", pid);
        int fd = open(name, O_DIRECTORY | O_RDONLY);
        result = fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
    } else if (strcmp(a[0], "owner") == 0) {
        /* The kernel sends it in our name when the pipe has something to read. */
        int ends[2];
        if (pipe(ends) != 0)
            return failed("pipe");
        result = fcntl(ends[0], F_SETOWN, pid);
        if (result == 0)
            result = fcntl(ends[0], F_SETSIG, signal);
        if (result == 0)
            result = fcntl(ends[0], F_SETFL, O_ASYNC);
        if (result == 0)
            result = write(ends[1], "x", 1) == 1 ? 0 : -1;
    }
    return result == 0 ? worked() : failed(a[0]);
}

/* take-fd PID NUMBER: another process's descriptor, by pidfd_getfd(2). */
static int take_fd(int count, char **a) {
    (void)count;
    int fd = (int)syscall(SYS_pidfd_open, pid_of(a), 0);
    if (fd < 0)
        return failed("pidfd_open");
    int taken = (int)syscall(SYS_pidfd_getfd, fd, (int)number(a[1]), 0);
    if (taken < 0)
        return failed("pidfd_getfd");
    lseek(taken, 0, SEEK_SET);
    return spill(taken);
}

/* meddle HOW PID: changes or learns something of a process without a signal. */
static int meddle(int count, char **a) {
    (void)count;
    pid_t pid = (pid_t)number(a[1]);
    long result = -1;
    if (strcmp(a[0], "prlimit") == 0) {
        struct rlimit none = { 0, 0 };
        result = prlimit(pid, RLIMIT_CORE, &none, NULL);
    } else if (strcmp(a[0], "nice") == 0)
        result = setpriority(PRIO_PROCESS, (id_t)pid, 19);
    else if (strcmp(a[0], "scheduler") == 0) {
        struct sched_param usual = { 0 };
        result = sched_setscheduler(pid, SCHED_BATCH, &usual);
    } else if (strcmp(a[0], "affinity") == 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(0, &set);
        result = sched_setaffinity(pid, sizeof set, &set);
    } else if (strcmp(a[0], "ioprio") == 0)
        result = syscall(SYS_ioprio_set, 1, pid, 3 << 13);
    else if (strcmp(a[0], "group") == 0)
        result = getpgid(pid) >= 0 ? 0 : -1;
    else if (strcmp(a[0], "kcmp") == 0)
        result = syscall(SYS_kcmp, pid, pid, KCMP_FILE, 1, 2) >= 0 ? 0 : -1;
    else if (strcmp(a[0], "robust") == 0) {
        void *head;
        size_t size;
        result = syscall(SYS_get_robust_list, pid, &head, &size);
    } else if (strcmp(a[0], "migrate") == 0) {
        unsigned long nodes = 1;
        result = syscall(SYS_migrate_pages, pid, 8 * sizeof nodes, &nodes, &nodes) >= 0 ? 0 : -1;
    } else if (strcmp(a[0], "perf") == 0) {
        struct perf_event_attr what = { .type = PERF_TYPE_SOFTWARE, .size = sizeof what,
                                        .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1 };
        result = syscall(SYS_perf_event_open, &what, pid, -1, -1, 0) >= 0 ? 0 : -1;
    }
    return result == 0 ? worked() : failed(a[0]);
}

/* outlive FILE: leaves every group and session, ignores signals, and makes FILE longer as long as it lives. */
static int outlive(int count, char **a) {
    (void)count;
    for (int generation = 0; generation < 2; generation++) {
        if (fork() != 0)
            _exit(0);
        setsid();
    }
    for (int signal = 1; signal < 32; signal++)
        sigaction(signal, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    prctl(PR_SET_PDEATHSIG, 0);
    prctl(PR_SET_NAME, "kworker/0:1");
    for (int beat = 0; beat < 3000; beat++) {
        int fd = open(a[0], O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (fd < 0 || write(fd, ".", 1) != 1)
            return 1;
        close(fd);
        usleep(20000);
    }
    return 0;
}

/* fork-bomb COUNT [MS]: so many processes at once, for so long; worked if all are there. */
static int fork_bomb(int count, char **a) {
    long wanted = number(a[0]), made = 0;
    pid_t *children = calloc((size_t)wanted, sizeof *children);
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            pause();
            _exit(0);
        }
        if (child < 0)
            break;
        children[made] = child;
    }
    printf("%ld processes\n", made);
    if (count > 1)
        usleep((useconds_t)number(a[1]) * 1000);
    int result = made == wanted ? worked() : failed("fork");
    for (long child = 0; child < made; child++)
        kill(children[child], SIGKILL);
    while (wait(NULL) > 0) {
    }
    return result;
}

const struct command PROCESS_COMMANDS[] = {
    { "ptrace-read", 2, ptrace_read }, { "ptrace-seize", 1, ptrace_seize }, { "vm-read", 2, vm_read },
    { "vm-write", 3, vm_write },       { "mem-read", 2, mem_read },         { "mem-write", 3, mem_write },
    { "signal", 3, send_signal },      { "take-fd", 2, take_fd },           { "meddle", 2, meddle },
    { "outlive", 1, outlive },         { "fork-bomb", 1, fork_bomb },       { NULL, 0, NULL },
};
