// A disk that fails, for programs that are started with this in LD_PRELOAD: writes and syncs of files whose name begins with
// srt.db fail while the file that SRT_TEST_FAULT names says so, "write 5" (EIO for every write) or "sync 30" (EROFS for
// every sync). Nothing else changes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

// The error that an operation on a descriptor is to fail with; 0 where it is not.
static int fault(const char *operation, int fd) {
  const char *place = getenv("SRT_TEST_FAULT");
  if (place == NULL) return 0;
  int before = errno;
  char link[64], name[4096], text[64], kind[16];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof name - 1);
  int error = 0;
  if (length > 0) {
    name[length] = 0;
    const char *last = strrchr(name, '/');
    if (last != NULL && strncmp(last + 1, "srt.db", 6) == 0) {
      int file = open(place, O_RDONLY | O_CLOEXEC);
      if (file >= 0) {
        ssize_t got = read(file, text, sizeof text - 1);
        close(file);
        text[got > 0 ? got : 0] = 0;
        if (sscanf(text, "%15s %d", kind, &error) != 2 || strcmp(kind, operation) != 0) error = 0;
      }
    }
  }
  errno = before;
  return error;
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(operation, fd) do { int error = fault(operation, fd); if (error != 0) { errno = error; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
  NEXT(write);
  FAIL("write", fd);
  return next(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  NEXT(pwrite);
  FAIL("write", fd);
  return next(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  NEXT(pwrite64);
  FAIL("write", fd);
  return next(fd, bytes, count, offset);
}

int ftruncate(int fd, off_t length) {
  NEXT(ftruncate);
  FAIL("write", fd);
  return next(fd, length);
}

int ftruncate64(int fd, off64_t length) {
  NEXT(ftruncate64);
  FAIL("write", fd);
  return next(fd, length);
}

int fsync(int fd) {
  NEXT(fsync);
  FAIL("sync", fd);
  return next(fd);
}

int fdatasync(int fd) {
  NEXT(fdatasync);
  FAIL("sync", fd);
  return next(fd);
}
