/* What stands on the host and is attacked: processes with secrets, sockets, shared memory, a terminal's other end.
 * Each returns to the setup script when it is ready, lives on by itself, and ends with the case. */
#include "attack.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static char secret[128];
static const char *log_file;

static void note(const char *bytes, size_t count) {
    int fd = open(log_file, O_WRONLY | O_APPEND | O_CREAT, 0600);
    (void)!write(fd, bytes, count);
    close(fd);
}

/* process FILE SECRET: holds a secret in memory and in descriptor 50; leaves its pid and the secret's address. */
static int process(int count, char **a) {
    (void)count;
    char text[64];
    detach();
    strncpy(secret, a[1], sizeof secret - 1);
    int fd = memfd_create("secret", 0);
    (void)!write(fd, a[1], strlen(a[1]));
    lseek(fd, 0, SEEK_SET);
    dup2(fd, 50);
    /* Even where Yama guards against siblings. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    snprintf(text, sizeof text, "pid=%d address=%p\n", getpid(), (void *)secret);
    leave(a[0], text);
    ready();
    for (;;)
        pause();
    return 0;
}

/* Answers whoever connects with the secret (or a descriptor), and notes what was said before it answers. */
static int serve(int listening, const char *answer, int stream) {
    ready();
    for (;;) {
        char said[512];
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        if (!stream) {
            ssize_t got = recvfrom(listening, said, sizeof said, 0, (struct sockaddr *)&from, &length);
            if (got > 0)
                note(said, (size_t)got);
            if (got > 0 && length > sizeof(sa_family_t))
                sendto(listening, answer, strlen(answer), 0, (struct sockaddr *)&from, length);
            continue;
        }
        int fd = accept(listening, NULL, NULL);
        if (fd < 0)
            continue;
        note("connected\n", 10);
        ssize_t got = read(fd, said, sizeof said);
        if (got > 0)
            note(said, (size_t)got);
        if (got >= 2 && memcmp(said, "fd", 2) == 0) {
            char room[CMSG_SPACE(sizeof(int))] = { 0 };
            struct iovec part = { "x", 1 };
            struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room,
                                      .msg_controllen = sizeof room };
            struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
            int file = memfd_create("secret", 0);
            (void)!write(file, answer, strlen(answer));
            lseek(file, 0, SEEK_SET);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(rights), &file, sizeof file);
            sendmsg(fd, &message, 0);
            close(file);
        } else {
            if (got >= 4 && memcmp(said, "GET ", 4) == 0)
                (void)!write(fd, "HTTP/1.0 200 OK\r\n\r\n", 19);
            (void)!write(fd, answer, strlen(answer));
        }
        close(fd);
    }
    return 0;
}

/* unix-server KIND NAME LOG SECRET. */
static int unix_server(int count, char **a) {
    (void)count;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int kind = strcmp(a[0], "stream") == 0 ? SOCK_STREAM : strcmp(a[0], "packet") == 0 ? SOCK_SEQPACKET : SOCK_DGRAM;
    strncpy(address.sun_path, a[1], sizeof address.sun_path - 1);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a[1]) + (a[1][0] != '@'));
    if (a[1][0] == '@')
        address.sun_path[0] = 0;
    detach();
    log_file = a[2];
    int fd = socket(AF_UNIX, kind, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || (kind != SOCK_DGRAM && listen(fd, 8) != 0)) {
        perror(a[1]);
        return 1;
    }
    return serve(fd, a[3], kind != SOCK_DGRAM);
}

/* inet-server KIND ADDRESS PORT PORTFILE LOG SECRET: port 0 chooses one; PORTFILE tells which. */
static int inet_server(int count, char **a) {
    (void)count;
    struct sockaddr_storage address = { 0 };
    struct sockaddr_in *four = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
    socklen_t length = sizeof *four;
    int on = 1, kind = strcmp(a[0], "tcp") == 0 ? SOCK_STREAM : SOCK_DGRAM;
    char text[32];
    if (inet_pton(AF_INET, a[1], &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)number(a[2]));
    } else {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)number(a[2]));
        inet_pton(AF_INET6, a[1], &six->sin6_addr);
        length = sizeof *six;
    }
    detach();
    log_file = a[4];
    int fd = socket(address.ss_family, kind, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || (kind == SOCK_STREAM && listen(fd, 8) != 0)) {
        perror(a[1]);
        return 1;
    }
    getsockname(fd, (struct sockaddr *)&address, &length);
    snprintf(text, sizeof text, "%d", ntohs(address.ss_family == AF_INET ? four->sin_port : six->sin6_port));
    leave(a[3], text);
    return serve(fd, a[5], kind == SOCK_STREAM);
}

/* shared FILE SECRET: a segment, a semaphore and queues with a secret; FILE gets `key=… name=…`. They go with us. */
static int ids[3];
static char queue_name[64];

static void unshare_all(int signal) {
    (void)signal;
    shmctl(ids[0], IPC_RMID, NULL);
    semctl(ids[1], 0, IPC_RMID);
    msgctl(ids[2], IPC_RMID, NULL);
    mq_unlink(queue_name);
    shm_unlink(queue_name);
    _exit(0);
}

static int shared(int count, char **a) {
    (void)count;
    char text[128];
    struct { long type; char text[128]; } message = { 1, "" };
    /* A user has 800 KiB for all queues. */
    struct mq_attr small = { .mq_maxmsg = 1, .mq_msgsize = 256 };
    detach();
    key_t key = (key_t)(0x5e000000 + getpid());
    snprintf(queue_name, sizeof queue_name, "/srt-escape-%d", getpid());
    ids[0] = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600);
    ids[1] = semget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
    ids[2] = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
    mqd_t queue = mq_open(queue_name, O_CREAT | O_RDWR | O_EXCL, 0600, &small);
    int file = shm_open(queue_name, O_CREAT | O_RDWR | O_EXCL, 0600);
    strncpy(message.text, a[1], sizeof message.text - 1);
    char *at = shmat(ids[0], NULL, 0);
    if (at == (char *)-1 || ids[1] < 0 || msgsnd(ids[2], &message, sizeof message.text, 0) != 0 || queue < 0
        || mq_send(queue, a[1], strlen(a[1]) + 1, 0) != 0 || write(file, a[1], strlen(a[1])) < 0) {
        perror("shared");
        return 1;
    }
    strcpy(at, a[1]);
    signal(SIGTERM, unshare_all);
    signal(SIGALRM, unshare_all);
    signal(SIGUSR1, SIG_IGN);
    snprintf(text, sizeof text, "pid=%d key=%d name=%s\n", getpid(), key, queue_name);
    leave(a[0], text);
    ready();
    for (;;) {
        /* What a writer put there is left for the check on the host. */
        usleep(20000);
        if (strcmp(at, a[1]) != 0)
            leave(a[0], "overwritten\n");
    }
    return 0;
}

/* terminal LOG COMMAND…: runs a command on a terminal of its own, whose other end writes to LOG what it sees, and
 * types nothing. What the command's own input held when it was over is read by the line discipline's echo. */
static int terminal(int count, char **a) {
    int master;
    struct termios settings;
    pid_t child = forkpty(&master, NULL, NULL, NULL);
    if (child == 0) {
        a[count] = NULL;
        execvp(a[1], a + 1);
        _exit(127);
    }
    tcgetattr(master, &settings);
    log_file = a[0];
    char said[4096];
    ssize_t got;
    while ((got = read(master, said, sizeof said)) > 0) {
        note(said, (size_t)got);
        fwrite(said, 1, (size_t)got, stdout);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* wrapper NAME=VALUE… -- COMMAND…: sets variables by its arguments, as the peer's wrapper does, and stays. */
static int wrapper(int count, char **a) {
    int at = 0;
    for (; at < count && strcmp(a[at], "--") != 0; at++)
        putenv(a[at]);
    pid_t child = fork();
    if (child == 0) {
        execvp(a[at + 1], a + at + 1);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

const struct command VICTIM_COMMANDS[] = {
    { "process", 2, process }, { "unix-server", 4, unix_server }, { "inet-server", 6, inet_server },
    { "shared", 2, shared },   { "terminal", 2, terminal },       { "wrapper", 2, wrapper },
    { NULL, 0, NULL },
};
