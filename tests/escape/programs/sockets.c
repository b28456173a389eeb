/* Attacks through sockets of every family. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A path, or a name that begins with @ for an abstract one. Gives the length. */
static socklen_t unix_address(const char *name, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, name, sizeof address->sun_path - 1);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    if (name[0] == '@') {
        address->sun_path[0] = 0;
        return length;
    }
    return length + 1;
}

/* Says something, and prints what is answered within a second. */
static int talk(int fd) {
    char answer[4096];
    struct pollfd waiting = { .fd = fd, .events = POLLIN };
    if (send(fd, "owned\n", 6, MSG_NOSIGNAL) != 6)
        return failed("send");
    if (poll(&waiting, 1, 1000) != 1) {
        errno = ETIMEDOUT;
        return failed("answer");
    }
    ssize_t count = recv(fd, answer, sizeof answer, 0);
    if (count <= 0)
        return failed("answer");
    fwrite(answer, 1, (size_t)count, stdout);
    putchar('\n');
    return 0;
}

static int kind_of(const char *kind) {
    return strcmp(kind, "stream") == 0 ? SOCK_STREAM : strcmp(kind, "packet") == 0 ? SOCK_SEQPACKET : SOCK_DGRAM;
}

/* unix KIND NAME: connects and talks. */
static int talk_unix(int count, char **a) {
    (void)count;
    struct sockaddr_un address;
    socklen_t length = unix_address(a[1], &address);
    int fd = socket(AF_UNIX, kind_of(a[0]), 0);
    if (fd < 0)
        return failed("socket");
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    if (kind_of(a[0]) == SOCK_DGRAM)
        return send(fd, "owned\n", 6, 0) == 6 ? worked() : failed("send");
    return talk(fd);
}

/* unix-sendto NAME: a datagram without connecting, by sendto(2), sendmsg(2) and sendmmsg(2). */
static int send_unix(int count, char **a) {
    (void)count;
    struct sockaddr_un address;
    socklen_t length = unix_address(a[0], &address);
    struct iovec part = { "owned\n", 6 };
    struct mmsghdr message = { .msg_hdr = { .msg_name = &address, .msg_namelen = length, .msg_iov = &part,
                                            .msg_iovlen = 1 } };
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return failed("socket");
    int sent = sendto(fd, "owned\n", 6, 0, (struct sockaddr *)&address, length) == 6;
    sent |= sendmsg(fd, &message.msg_hdr, 0) == 6;
    sent |= sendmmsg(fd, &message, 1, 0) == 1;
    return sent ? worked() : failed("send");
}

/* unix-high NAME: as unix, with bits in the family that the kernel throws away and a filter might not. */
static int talk_unix_high(int count, char **a) {
    (void)count;
    struct sockaddr_un address;
    socklen_t length = unix_address(a[0], &address);
    int fd = (int)syscall(SYS_socket, 0x100000000L + AF_UNIX, 0x500000000L + SOCK_STREAM, 0);
    if (fd < 0)
        return failed("socket");
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    return talk(fd);
}

/* unix-pair NAME: half of a pair sends to an address of its own choosing. */
static int talk_unix_pair(int count, char **a) {
    (void)count;
    struct sockaddr_un address;
    socklen_t length = unix_address(a[0], &address);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0)
        return failed("socketpair");
    /* A pair of datagram sockets may be connected anew (connect(2)). */
    if (connect(pair[0], (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    return send(pair[0], "owned\n", 6, 0) == 6 ? worked() : failed("send");
}

/* receive-fd NAME: a descriptor that somebody outside hands over. */
static int receive_fd(int count, char **a) {
    (void)count;
    struct sockaddr_un address;
    socklen_t length = unix_address(a[0], &address);
    char byte, room[CMSG_SPACE(sizeof(int))];
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
    int taken = -1, fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return failed("socket");
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    if (send(fd, "fd please\n", 10, 0) < 0 || recvmsg(fd, &message, 0) < 0)
        return failed("recvmsg");
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part))
        if (part->cmsg_type == SCM_RIGHTS)
            memcpy(&taken, CMSG_DATA(part), sizeof taken);
    return spill(taken);
}

static socklen_t inet_address(const char *host, const char *port, struct sockaddr_storage *address) {
    struct sockaddr_in *four = (struct sockaddr_in *)address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)number(port));
        return sizeof *four;
    }
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)number(port));
    if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1) {
        fprintf(stderr, "not an address: %s\n", host);
        exit(2);
    }
    return sizeof *six;
}

/* tcp ADDRESS PORT: connects and talks; what is answered comes out. */
static int talk_tcp(int count, char **a) {
    struct sockaddr_storage address;
    socklen_t length = inet_address(a[0], a[1], &address);
    int protocol = count > 2 ? (int)number(a[2]) : 0;
    int fd = socket(address.ss_family, SOCK_STREAM, protocol);
    if (fd < 0)
        return failed("socket");
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    return talk(fd);
}

/* fast-open ADDRESS PORT: data in the first packet, without connect(2). */
static int talk_fast(int count, char **a) {
    (void)count;
    struct sockaddr_storage address;
    socklen_t length = inet_address(a[0], a[1], &address);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (sendto(fd, "owned\n", 6, MSG_FASTOPEN, (struct sockaddr *)&address, length) < 0)
        return failed("sendto");
    return talk(fd);
}

/* udp ADDRESS PORT [broadcast]: one datagram; the answer comes out. */
static int talk_udp(int count, char **a) {
    struct sockaddr_storage address;
    socklen_t length = inet_address(a[0], a[1], &address);
    int on = 1, fd = socket(address.ss_family, SOCK_DGRAM, 0);
    if (fd < 0)
        return failed("socket");
    if (count > 2)
        setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("connect");
    return talk(fd);
}

/* socket FAMILY TYPE PROTOCOL [fresh]: whether there is such a socket to be had. With `fresh`, in new namespaces. */
static int make_socket(int count, char **a) {
    if (count > 3)
        renew(0x10000000 | 0x40000000); /* CLONE_NEWUSER | CLONE_NEWNET */
    int fd = socket((int)number(a[0]), (int)number(a[1]), (int)number(a[2]));
    if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT))
        return not_here(strerror(errno));
    return fd >= 0 ? worked() : failed("socket");
}

/* uevents: listens to the kernel's own announcements. */
static int uevents(int count, char **a) {
    (void)count;
    (void)a;
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
    return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? worked() : failed("uevent");
}

/* proxy HOW HOSTPORT TARGET PORT: asks a proxy for a target: `connect`, `get` or `socks`. */
static int by_proxy(int count, char **a) {
    (void)count;
    char host[256], request[2048];
    snprintf(host, sizeof host, "%s", a[1]);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        errno = EINVAL;
        return failed("no proxy");
    }
    *colon = 0;
    struct sockaddr_storage address;
    socklen_t length = inet_address(host, colon + 1, &address);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        return failed("proxy");
    if (strcmp(a[0], "socks") == 0) {
        size_t name = strlen(a[2]), at = 0;
        uint16_t port = htons((uint16_t)number(a[3]));
        if (write(fd, "\5\1\0", 3) != 3 || read(fd, request, 2) != 2)
            return failed("greeting");
        memcpy(request, "\5\1\0\3", 4);
        request[4] = (char)name;
        memcpy(request + 5, a[2], name);
        at = 5 + name;
        memcpy(request + at, &port, 2);
        if (write(fd, request, at + 2) < 0 || read(fd, request, 10) < 10 || request[1] != 0) {
            errno = EACCES;
            return failed("socks");
        }
        return talk(fd);
    }
    if (strcmp(a[0], "connect") == 0)
        snprintf(request, sizeof request, "CONNECT %s:%s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", a[2], a[3], a[2], a[3]);
    else
        snprintf(request, sizeof request, "GET http://%s:%s/ HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", a[2],
                 a[3], a[2], a[3]);
    if (write(fd, request, strlen(request)) < 0)
        return failed("request");
    if (strcmp(a[0], "connect") == 0) {
        ssize_t got = read(fd, request, sizeof request - 1);
        request[got < 0 ? 0 : got] = 0;
        printf("%.60s\n", request);
        return strstr(request, " 200 ") != NULL ? talk(fd) : 1;
    }
    return spill(fd);
}

const struct command SOCKET_COMMANDS[] = {
    { "unix-sendto", 1, send_unix },    { "unix", 2, talk_unix },           { "unix-high", 1, talk_unix_high }, { "unix-pair", 1, talk_unix_pair },
    { "receive-fd", 1, receive_fd },    { "tcp", 2, talk_tcp },             { "fast-open", 2, talk_fast },
    { "udp", 2, talk_udp },             { "socket", 3, make_socket },       { "uevents", 0, uevents },
    { "proxy", 4, by_proxy },           { NULL, 0, NULL },
};
