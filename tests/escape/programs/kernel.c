/* Attacks by system calls, each by its number, and by the other ways into the kernel. */
#include "attack.h"

#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static const struct { const char *name; long call; } CALLS[] = {
#define CALL(name) { #name, SYS_##name }
    CALL(unshare), CALL(setns), CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot), CALL(open_tree),
    CALL(move_mount), CALL(fsopen), CALL(fspick), CALL(mount_setattr), CALL(userfaultfd), CALL(bpf),
    CALL(perf_event_open), CALL(io_uring_setup), CALL(keyctl), CALL(add_key), CALL(request_key), CALL(syslog),
    CALL(acct), CALL(swapon), CALL(swapoff), CALL(delete_module), CALL(init_module), CALL(finit_module),
    CALL(kexec_load), CALL(kexec_file_load), CALL(clock_settime), CALL(settimeofday), CALL(adjtimex),
    CALL(clock_adjtime), CALL(quotactl), CALL(personality), CALL(fanotify_init), CALL(sethostname), CALL(setdomainname),
    CALL(vhangup), CALL(reboot), CALL(mknodat), CALL(ptrace), CALL(setuid), CALL(setgid), CALL(setgroups),
    CALL(landlock_create_ruleset), CALL(memfd_secret), CALL(pidfd_open),
#ifdef __x86_64__
    CALL(modify_ldt), CALL(iopl), CALL(ioperm), CALL(uselib),
#endif
    /* Newer than some libcs' headers; the same number on every processor. */
    { "open_tree_attr", 467 }, { "quotactl_fd", 443 }, { "process_madvise", 440 }, { "listmount", 458 },
    { "statmount", 457 }, { "lsm_set_self_attr", 460 },
};

static long argument(char **a, int count, int at) {
    if (at >= count)
        return 0;
    return strncmp(a[at], "s:", 2) == 0 ? (long)(a[at] + 2) : number(a[at]);
}

static long call(int count, char **a) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        if (strcmp(CALLS[i].name, a[0]) == 0)
            return syscall(CALLS[i].call, argument(a, count, 1), argument(a, count, 2), argument(a, count, 3),
                           argument(a, count, 4), argument(a, count, 5), argument(a, count, 6));
    fprintf(stderr, "attack: no such call: %s\n", a[0]);
    exit(2);
}

/* call NAME ARGUMENTS: worked if the kernel did it. s:TEXT is a string. */
static int do_call(int count, char **a) {
    return call(count, a) >= 0 ? worked() : failed(a[0]);
}

/* reach NAME ARGUMENTS: worked if the call's own code was reached, so that it complains about something else than
 * permission. For calls that would hurt the machine if they were done. */
static int reach(int count, char **a) {
    if (call(count, a) >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS)) {
        printf("%s: %s\n", a[0], strerror(errno));
        return worked();
    }
    return failed(a[0]);
}

/* New namespaces, with the caller's own user in them, where they are to be had. */
void renew(long namespaces) {
    char map[64];
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (syscall(SYS_unshare, namespaces) != 0 || !(namespaces & 0x10000000 /* CLONE_NEWUSER */))
        return;
    const char *files[] = { "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map" };
    for (int file = 0; file < 3; file++) {
        snprintf(map, sizeof map, "%u %u 1", file == 1 ? uid : gid, file == 1 ? uid : gid);
        int fd = open(files[file], O_WRONLY);
        const char *text = file == 0 ? "deny" : map;
        (void)!write(fd, text, strlen(text));
        close(fd);
    }
}

/* fresh NAMESPACES NAME ARGUMENTS: the call in new namespaces where they are to be had, else as we are. */
static int fresh(int count, char **a) {
    renew(number(a[0]));
    return call(count - 1, a + 1) >= 0 ? worked() : failed(a[1]);
}

/* clone FLAGS / clone3 FLAGS: a child in new namespaces. */
static int try_clone(int count, char **a) {
    (void)count;
    long child = syscall(SYS_clone, number(a[0]) | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    if (child < 0)
        return failed("clone");
    waitpid((pid_t)child, NULL, 0);
    return worked();
}

static int try_clone3(int count, char **a) {
    (void)count;
    uint64_t all[11] = { (uint64_t)number(a[0]), 0, 0, 0, SIGCHLD };
    long child = syscall(SYS_clone3, all, sizeof all);
    if (child == 0)
        _exit(0);
    if (child < 0)
        return failed("clone3");
    waitpid((pid_t)child, NULL, 0);
    return worked();
}

/* bind FROM TO PATH: in new namespaces, one folder mounted over another, and a file of it read. */
static int bind_read(int count, char **a) {
    (void)count;
    renew(0x10000000 | 0x20000); /* CLONE_NEWUSER | CLONE_NEWNS */
    if (mount(a[0], a[1], NULL, MS_BIND | MS_REC, NULL) != 0)
        return failed("bind");
    return spill(open(a[2], O_RDONLY));
}

/* uncover PATH FILE: takes away whatever is mounted at PATH, and reads FILE. */
static int uncover(int count, char **a) {
    (void)count;
    renew(0x10000000 | 0x20000);
    if (umount2(a[0], MNT_DETACH) != 0 && errno != EINVAL)
        return failed("umount");
    return spill(open(a[1], O_RDONLY));
}

/* enter PID KIND: setns(2) into a namespace by its /proc name. */
static int enter(int count, char **a) {
    (void)count;
    char name[64];
    snprintf(name, sizeof name, "/proc/%s/ns/%s", a[0], a[1]);
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return failed(name);
    return setns(fd, 0) == 0 ? worked() : failed("setns");
}

/* listener: a seccomp user-notify listener of our own, by which we would answer in the daemon's place. */
static int own_listener(int count, char **a) {
    (void)count;
    (void)a;
    struct { unsigned short code; unsigned char t, f; unsigned k; } allow = { 6, 0, 0, SECCOMP_RET_ALLOW };
    struct { unsigned short length; void *filter; } program = { 1, &allow };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd >= 0 ? worked() : failed("seccomp listener");
}

/* uring-socket NAME / uring-open PATH: by io_uring, whose operations no filter sees. */
static int uring(int opcode, int fd_field, uint64_t address, uint32_t length, uint64_t offset) {
    struct io_uring_params params = { 0 };
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (ring < 0)
        return -1;
    size_t size = params.sq_off.array + params.sq_entries * 4 + 4096;
    char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    size_t room = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    char *cq = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, 4 * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                                      IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)entry == MAP_FAILED)
        return -1;
    memset(entry, 0, sizeof *entry);
    entry->opcode = (uint8_t)opcode;
    entry->fd = fd_field;
    entry->addr = address;
    entry->len = length;
    entry->off = offset;
    *(unsigned *)(sq + params.sq_off.array) = 0;
    *(unsigned *)(sq + params.sq_off.tail) = 1;
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -1;
    int result = ((struct io_uring_cqe *)(cq + params.cq_off.cqes))[0].res;
    if (result < 0)
        errno = -result;
    return result < 0 ? -1 : result;
}

static int uring_socket(int count, char **a) {
    (void)count;
    (void)a;
    int fd = uring(45 /* IORING_OP_SOCKET */, AF_UNIX, 0, 0, SOCK_STREAM);
    return fd >= 0 ? worked() : failed("io_uring");
}

static int uring_open(int count, char **a) {
    (void)count;
    int fd = uring(IORING_OP_OPENAT, AT_FDCWD, (uint64_t)a[0], 0, 0);
    return fd >= 0 ? spill(fd) : failed("io_uring");
}

#ifdef __x86_64__
/* A 32-bit system call from a 64-bit program. Its pointers must lie below 4 GiB. */
static long int80(long call, long b, long c, long d) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(call), "b"(b), "c"(c), "d"(d) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static char *low(void) {
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
}

/* compat-read PATH, compat-write PATH TEXT, compat-unix, compat-call NUMBER ARGUMENTS: the 32-bit ABI. */
static int compat_open(const char *path, int flags) {
    char *text = low();
    strcpy(text, path);
    long fd = int80(5, (long)text, flags, 0644);
    if (fd < 0)
        errno = (int)-fd;
    return (int)fd;
}

static int compat_read(int count, char **a) {
    (void)count;
    return spill(compat_open(a[0], O_RDONLY));
}

static int compat_write(int count, char **a) {
    (void)count;
    int fd = compat_open(a[0], O_WRONLY | O_CREAT);
    return fd >= 0 && write(fd, a[1], strlen(a[1])) > 0 ? worked() : failed("int 0x80 open");
}

static int compat_unix(int count, char **a) {
    (void)count;
    (void)a;
    unsigned *words = (unsigned *)low();
    words[0] = AF_UNIX;
    words[1] = SOCK_STREAM;
    words[2] = 0;
    long fd = int80(102 /* socketcall */, 1 /* SYS_SOCKET */, (long)words, 0);
    errno = (int)-fd;
    return fd >= 0 ? worked() : failed("int 0x80 socketcall");
}

static int compat_call(int count, char **a) {
    long result = int80(number(a[0]), argument(a, count, 1), argument(a, count, 2), argument(a, count, 3));
    errno = (int)-result;
    return result >= 0 ? worked() : failed("int 0x80");
}

/* x32-call NUMBER ARGUMENTS: a call of the x32 ABI. */
static int x32_call(int count, char **a) {
    long result = syscall(0x40000000L | number(a[0]), argument(a, count, 1), argument(a, count, 2), argument(a, count, 3));
    if (result < 0 && errno == ENOSYS)
        return not_here("this kernel has no x32 ABI");
    return result >= 0 ? worked() : failed("x32");
}
#else
static int compat_read(int count, char **a) {
    (void)count;
    (void)a;
    return not_here("this processor has no such ABI");
}
#define compat_write compat_read
#define compat_unix compat_read
#define compat_call compat_read
#define x32_call compat_read
#endif

/* run-memory FILE ARGUMENTS: executes a program that no path leads to. */
static int run_memory(int count, char **a) {
    int from = open(a[0], O_RDONLY), to = memfd_create("program", 0);
    char room[65536];
    ssize_t got;
    if (from < 0)
        return failed("open");
    while ((got = read(from, room, sizeof room)) > 0)
        (void)!write(to, room, (size_t)got);
    char *none[] = { NULL };
    a[count] = NULL;
    syscall(SYS_execveat, to, "", a, none, 0x1000 /* AT_EMPTY_PATH */);
    return failed("execveat");
}

/* which PART: worked if the name of the program that runs has PART in it. */
static int which(int count, char **a) {
    (void)count;
    char name[4096] = "";
    errno = ENOENT;
    return readlink("/proc/self/exe", name, sizeof name - 1) > 0 && strstr(name, a[0]) != NULL ? worked()
                                                                                                 : failed("which");
}

/* whoami-really: worked if a setuid bit changed who we are. */
static int really(int count, char **a) {
    (void)count;
    (void)a;
    errno = EPERM;
    return geteuid() != getuid() || getegid() != getgid() ? worked() : failed("no other user");
}

/* caps: worked if any capability is in effect. */
static int caps(int count, char **a) {
    (void)count;
    (void)a;
    unsigned header[2] = { 0x20080522, 0 }, sets[6] = { 0 };
    renew(0x10000000);
    if (syscall(SYS_capget, header, sets) != 0)
        return failed("capget");
    printf("effective %08x%08x bounding-ambient unknown\n", sets[3], sets[0]);
    errno = EPERM;
    return sets[0] != 0 || sets[3] != 0 ? worked() : failed("no capability");
}

/* no-random: switches off the randomness of addresses for what is executed next. */
static int no_random(int count, char **a) {
    (void)count;
    (void)a;
    return personality(ADDR_NO_RANDOMIZE) >= 0 && (personality(0xffffffff) & ADDR_NO_RANDOMIZE) ? worked()
                                                                                                : failed("personality");
}

const struct command KERNEL_COMMANDS[] = {
    { "call", 1, do_call },            { "reach", 1, reach },              { "fresh", 2, fresh },
    { "clone", 1, try_clone },         { "clone3", 1, try_clone3 },        { "bind-read", 3, bind_read },
    { "uncover", 2, uncover },         { "enter", 2, enter },              { "listener", 0, own_listener },
    { "uring-socket", 0, uring_socket }, { "uring-open", 1, uring_open },  { "compat-read", 1, compat_read },
    { "compat-write", 2, compat_write }, { "compat-unix", 0, compat_unix }, { "compat-call", 1, compat_call },
    { "x32-call", 1, x32_call },       { "run-memory", 1, run_memory },    { "whoami-really", 0, really },
    { "which", 1, which },
    { "caps", 0, caps },               { "no-random", 0, no_random },      { NULL, 0, NULL },
};
