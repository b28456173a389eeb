/* What leaves a sandbox, or what keeps others from leaving theirs: bytes of one's own to a proxy, a server or a name
 * server; and the servers that see what comes of it. */
#include "attack.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

/* Connects to HOST:PORT or [V6]:PORT, a name being looked up as any program would. */
static int reach(const char *where, int kind) {
    char host[256];
    struct addrinfo wanted = { .ai_socktype = kind }, *found = NULL;
    snprintf(host, sizeof host, "%s", where);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        errno = EINVAL;
        return -1;
    }
    *colon = 0;
    char *name = host;
    if (name[0] == '[' && colon[-1] == ']') {
        colon[-1] = 0;
        name++;
    }
    if (getaddrinfo(name, colon + 1, &wanted, &found) != 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *each = found; each != NULL && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype, 0);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static int all(int fd, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t done = send(fd, bytes, count, MSG_NOSIGNAL);
        if (done <= 0)
            return -1;
        bytes += done;
        count -= (size_t)done;
    }
    return 0;
}

/* raw WHERE [MS]: sends stdin, and says what is answered, until nothing comes for MS (1500). */
static int raw(int count, char **a) {
    int patience = count > 1 ? (int)number(a[1]) : 1500, fd = reach(a[0], SOCK_STREAM);
    char bytes[65536];
    ssize_t got;
    if (fd < 0)
        return failed("connect");
    while ((got = read(0, bytes, sizeof bytes)) > 0)
        if (all(fd, bytes, (size_t)got) != 0)
            return failed("send");
    struct pollfd waiting = { .fd = fd, .events = POLLIN };
    while (poll(&waiting, 1, patience) == 1 && (got = recv(fd, bytes, sizeof bytes, 0)) > 0)
        fwrite(bytes, 1, (size_t)got, stdout);
    putchar('\n');
    return 0;
}

/* socks NAME PORT: what a SOCKS5 client says to be connected to a name, all at once (RFC 1928). */
static int socks(int count, char **a) {
    (void)count;
    uint16_t port = htons((uint16_t)number(a[1]));
    unsigned char length = (unsigned char)strlen(a[0]);
    fwrite("\5\1\0\5\1\0\3", 1, 7, stdout);
    fwrite(&length, 1, 1, stdout);
    fwrite(a[0], 1, length, stdout);
    fwrite(&port, 1, 2, stdout);
    return 0;
}

static void two(unsigned char **at, size_t value) {
    *(*at)++ = (unsigned char)(value >> 8);
    *(*at)++ = (unsigned char)value;
}

/* hello NAME [two-records|two-names|ech|http]: a ClientHello (RFC 8446, 4.1.2) for that server name; for none if it
 * is "-". In two records, with a second name after it, with an encrypted one beside it. */
static int hello(int count, char **a) {
    unsigned char body[1024], names[512], *at = names, *end = body;
    const char *how = count > 1 ? a[1] : "";
    const char *list[] = { a[0], strcmp(how, "two-names") == 0 ? "allowed.test" : NULL, NULL };
    for (const char **name = list; *name != NULL; name++) {
        *at++ = 0;
        two(&at, strlen(*name));
        memcpy(at, *name, strlen(*name));
        at += strlen(*name);
    }
    size_t named = (size_t)(at - names);
    unsigned char extensions[1024], *more = extensions;
    if (strcmp(a[0], "-") != 0) {
        two(&more, 0); /* server_name */
        two(&more, named + 2);
        two(&more, named);
        memcpy(more, names, named);
        more += named;
    }
    two(&more, 43); /* supported_versions: 1.3 */
    two(&more, 3);
    *more++ = 2;
    two(&more, 0x0304);
    two(&more, 10); /* supported_groups: x25519 */
    two(&more, 4);
    two(&more, 2);
    two(&more, 0x001d);
    two(&more, 13); /* signature_algorithms */
    two(&more, 4);
    two(&more, 2);
    two(&more, 0x0403);
    two(&more, 51); /* key_share */
    two(&more, 38);
    two(&more, 36);
    two(&more, 0x001d);
    two(&more, 32);
    memset(more, 9, 32);
    more += 32;
    if (strcmp(how, "ech") == 0) {
        /* encrypted_client_hello (RFC 9849): outer, HKDF-SHA256 with AES-128-GCM, its key and what it hides. */
        two(&more, 0xfe0d);
        two(&more, 1 + 4 + 1 + 2 + 32 + 2 + 128);
        *more++ = 0;
        two(&more, 1);
        two(&more, 1);
        *more++ = 7;
        two(&more, 32);
        memset(more, 5, 32);
        more += 32;
        two(&more, 128);
        memset(more, 6, 128);
        more += 128;
    }
    two(&end, 0x0303);
    memset(end, 7, 32);
    end += 32;
    *end++ = 0;
    two(&end, 2);
    two(&end, 0x1301);
    *end++ = 1;
    *end++ = 0;
    two(&end, (size_t)(more - extensions));
    memcpy(end, extensions, (size_t)(more - extensions));
    end += more - extensions;
    unsigned char message[2048], *whole = message;
    *whole++ = 1;
    *whole++ = 0;
    two(&whole, (size_t)(end - body));
    memcpy(whole, body, (size_t)(end - body));
    whole += end - body;
    size_t length = (size_t)(whole - message), first = strcmp(how, "two-records") == 0 ? 50 : length;
    for (size_t from = 0; from < length; from += first) {
        size_t part = length - from < first ? length - from : first;
        unsigned char head[5] = { 22, 3, 1, (unsigned char)(part >> 8), (unsigned char)part };
        fwrite(head, 1, 5, stdout);
        fwrite(message + from, 1, part, stdout);
    }
    return 0;
}

static size_t question(const char *name, int type, unsigned char *into) {
    unsigned char *at = into;
    memcpy(at, "\x12\x34\1\0\0\1\0\0\0\0\0\0", 12);
    at += 12;
    while (*name != 0) {
        size_t length = strcspn(name, ".");
        *at++ = (unsigned char)length;
        memcpy(at, name, length);
        at += length;
        name += length + (name[length] == '.');
    }
    *at++ = 0;
    two(&at, (size_t)type);
    two(&at, 1);
    return (size_t)(at - into);
}

/* query NAME TYPE: a question as it is over TCP. */
static int query(int count, char **a) {
    (void)count;
    unsigned char message[512];
    size_t length = question(a[0], (int)number(a[1]), message);
    putchar((int)(length >> 8));
    putchar((int)(length & 255));
    fwrite(message, 1, length, stdout);
    return 0;
}

/* ask KIND ADDRESS:PORT NAME TYPE: puts a question to a name server by `udp` or `tcp`; says its code and address. */
static int ask(int count, char **a) {
    (void)count;
    unsigned char message[516], answer[1024];
    int stream = strcmp(a[0], "tcp") == 0, fd = reach(a[1], stream ? SOCK_STREAM : SOCK_DGRAM);
    size_t length = question(a[2], (int)number(a[3]), message + 2);
    message[0] = (unsigned char)(length >> 8);
    message[1] = (unsigned char)length;
    if (fd < 0)
        return failed("connect");
    if (all(fd, (char *)(stream ? message : message + 2), stream ? length + 2 : length) != 0)
        return failed("send");
    struct pollfd waiting = { .fd = fd, .events = POLLIN };
    if (poll(&waiting, 1, 1500) != 1) {
        errno = ETIMEDOUT;
        return failed("answer");
    }
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    int skipped = stream ? 2 : 0;
    if (got < 12 + skipped)
        return failed("answer");
    printf("code %d, answers %d", answer[skipped + 3] & 15, answer[skipped + 7]);
    if (answer[skipped + 7] > 0 && got > 16)
        printf(", the last %d.%d.%d.%d", answer[got - 4], answer[got - 3], answer[got - 2], answer[got - 1]);
    putchar('\n');
    return 0;
}

/* ask-many ADDRESS:PORT COUNT: questions for as many names, each another, as fast as they are taken; says how many were
 * answered. */
static int ask_many(int count, char **a) {
    (void)count;
    unsigned char message[512], answer[1024];
    char name[64];
    int fd = reach(a[0], SOCK_DGRAM);
    long sent = 0, answered = 0, wanted = number(a[1]);
    struct pollfd waiting = { .fd = fd, .events = POLLIN };
    if (fd < 0)
        return failed("connect");
    while (answered < wanted) {
        /* A hundred under way, or what was lost on the way would be all. */
        while (sent < wanted && sent < answered + 100) {
            snprintf(name, sizeof name, "told-%ld.denied.test", sent++);
            (void)!send(fd, message, question(name, 1, message), 0);
        }
        if (poll(&waiting, 1, 2000) != 1)
            break;
        if (recv(fd, answer, sizeof answer, 0) > 0)
            answered++;
    }
    printf("answered %ld\n", answered);
    return 0;
}

/* icmp ADDRESS TEXT: an echo request that tells something. */
static int icmp(int count, char **a) {
    (void)count;
    struct sockaddr_in address = { .sin_family = AF_INET };
    unsigned char packet[128] = { ICMP_ECHO };
    size_t length = 8 + strlen(a[1]);
    int sum = 0, fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (fd < 0)
        fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    if (fd < 0)
        return failed("socket");
    inet_pton(AF_INET, a[0], &address.sin_addr);
    memcpy(packet + 8, a[1], strlen(a[1]));
    for (size_t at = 0; at < length; at += 2)
        sum += packet[at] << 8 | packet[at + 1];
    sum = (sum >> 16) + (sum & 0xffff);
    sum += sum >> 16;
    packet[2] = (unsigned char)(~sum >> 8);
    packet[3] = (unsigned char)~sum;
    if (sendto(fd, packet, length, 0, (struct sockaddr *)&address, sizeof address) != (ssize_t)length)
        return failed("sendto");
    return 0;
}

static void append(const char *file, const char *bytes, size_t count) {
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
    (void)!write(fd, bytes, count);
    close(fd);
}

/* icmp-server LOG: notes what echo requests tell. */
static int icmp_server(int count, char **a) {
    (void)count;
    char packet[2048];
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (fd < 0) {
        /* Said before we are on our own. */
        return not_here("no raw sockets in the test's own network");
    }
    detach();
    ready();
    for (;;) {
        ssize_t got = recv(fd, packet, sizeof packet, 0);
        if (got > 28 && packet[20] == ICMP_ECHO)
            append(a[0], packet + 28, (size_t)got - 28);
    }
}

/* Listens at ADDRESS PORT, and returns in a process of its own for each that connects, with the connection and a minute
 * for it; -1 where nothing can listen there. */
static int served(char **a) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number(a[1])) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, a[0], &address.sin_addr);
    detach();
    signal(SIGCHLD, SIG_IGN);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0) {
        perror(a[0]);
        return -1;
    }
    ready();
    for (;;) {
        int each = accept(fd, NULL, NULL);
        if (each < 0)
            continue;
        if (fork() != 0) {
            close(each);
            continue;
        }
        alarm(60);
        return each;
    }
}

/* wire-server ADDRESS PORT LOG: an HTTP server that notes every byte it gets, and answers each end of a head. */
static int wire_server(int count, char **a) {
    (void)count;
    int each = served(a);
    if (each < 0)
        return 1;
    char bytes[65536];
    ssize_t got;
    while ((got = recv(each, bytes, sizeof bytes, 0)) > 0) {
        append(a[2], bytes, (size_t)got);
        if (memmem(bytes, (size_t)got, "\r\n\r\n", 4) != NULL)
            all(each, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", 41);
    }
    _exit(0);
}

/* relay ADDRESS PORT: a proxy that CONNECTs to wherever it is told, and takes absolute URIs too. */
static int relay(int count, char **a) {
    (void)count;
    int near = served(a);
    if (near < 0)
        return 1;
    char head[4096] = "", where[256] = "";
    ssize_t got = recv(near, head, sizeof head - 1, 0);
    if (got <= 0)
        _exit(0);
    int tunnel = sscanf(head, "CONNECT %255s", where) == 1;
    if (!tunnel && sscanf(head, "%*s http://%255[^/ ]", where) != 1) {
        all(near, "HTTP/1.1 400 not for a proxy\r\nContent-Length: 0\r\n\r\n", 51);
        _exit(0);
    }
    int far = reach(where, SOCK_STREAM);
    if (far < 0)
        _exit(0);
    if (tunnel)
        all(near, "HTTP/1.1 200 OK\r\n\r\n", 19);
    else
        all(far, head, (size_t)got);
    struct pollfd both[2] = { { .fd = near, .events = POLLIN }, { .fd = far, .events = POLLIN } };
    while (poll(both, 2, -1) > 0)
        for (int from = 0; from < 2; from++)
            if (both[from].revents != 0) {
                got = recv(both[from].fd, head, sizeof head, 0);
                if (got <= 0 || all(both[1 - from].fd, head, (size_t)got) != 0)
                    _exit(0);
            }
    _exit(0);
}

static size_t unescaped(const char *from, char *into) {
    char *at = into;
    for (; *from != 0; from++) {
        int end = from[0] == '\\' && (from[1] == 'r' || from[1] == 'n');
        *at++ = !end ? *from : *++from == 'r' ? '\r' : '\n';
    }
    return (size_t)(at - into);
}

/* hold WHERE COUNT TEXT DRIP: opens that many connections, a thousand in each of as many processes as it takes, and
 * says TEXT on each (\r and \n for line ends), then DRIP on each twice a second. After a while it says how many
 * stand, and keeps them until it is killed. WHERE is an IPv4 address and port: names take their time. */
static int hold(int count, char **a) {
    (void)count;
    struct rlimit limit;
    static char text[4096], drip[64];
    size_t texts = unescaped(a[2], text), drips = unescaped(a[3], drip);
    struct sockaddr_in address = { .sin_family = AF_INET };
    char host[64];
    snprintf(host, sizeof host, "%s", a[0]);
    char *colon = strrchr(host, ':');
    if (colon == NULL)
        return 2;
    *colon = 0;
    inet_pton(AF_INET, host, &address.sin_addr);
    address.sin_port = htons((uint16_t)number(colon + 1));
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    long wanted = number(a[1]), each = 1000, sum = 0;
    int done[2];
    if (pipe(done) != 0)
        return failed("pipe");
    for (long begun = 0; begun < wanted; begun += each) {
        if (fork() != 0)
            continue;
        static struct pollfd ours[1000];
        int have = 0, stand = 0;
        while (have < each && begun + have < wanted) {
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS))
                break;
            ours[have++] = (struct pollfd){ .fd = fd, .events = POLLOUT };
            /* At once they overrun the queue of whoever accepts. */
            if (have % 50 == 0)
                usleep(50000);
        }
        for (int turn = 0;; turn++) {
            usleep(500000);
            (void)!poll(ours, (nfds_t)have, 0);
            stand = 0;
            for (int which = 0; which < have; which++) {
                if ((ours[which].revents & (POLLOUT | POLLERR | POLLHUP)) != POLLOUT)
                    continue;
                stand++;
                if (turn == 0)
                    (void)!send(ours[which].fd, text, texts, MSG_NOSIGNAL);
                else
                    (void)!send(ours[which].fd, drip, drips, MSG_NOSIGNAL);
            }
            if (turn == 5)
                (void)!write(done[1], &stand, sizeof stand);
        }
    }
    for (long begun = 0; begun < wanted; begun += each) {
        int have;
        if (read(done[0], &have, sizeof have) == sizeof have)
            sum += have;
    }
    printf("holding %ld\n", sum);
    while (wait(NULL) > 0)
        ;
    return 0;
}

const struct command EGRESS_COMMANDS[] = {
    { "raw", 1, raw },   { "socks", 2, socks }, { "hello", 1, hello },             { "query", 2, query },
    { "ask", 4, ask },   { "icmp", 2, icmp },   { "icmp-server", 1, icmp_server }, { "wire-server", 3, wire_server },
    { "relay", 2, relay }, { "hold", 4, hold }, { "ask-many", 2, ask_many },       { NULL, 0, NULL },
};
