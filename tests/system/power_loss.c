/*
 * Preloaded into a process, keeps aside what a loss of power would leave of its files.
 * The way to use it is told in power_loss.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* What was flushed must be kept, or the test would find a loss that is none. */
static void fail(const char *what) {
    perror(what);
    syscall(SYS_exit_group, 3);
}

/*
 * Reads through the descriptor that is there: to close another one of the same file would free the
 * locks that SQLite has on it.
 */
static void copy(int fd, const char *to) {
    static char piece[1 << 16];
    off_t at = 0;
    ssize_t size;
    int copied = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (copied < 0)
        fail(to);
    while ((size = pread(fd, piece, sizeof piece, at)) > 0) {
        if (write(copied, piece, (size_t)size) != size)
            fail(to);
        at += size;
    }
    if (size < 0 || close(copied) != 0)
        fail(to);
}

static void keep(int fd) {
    static char link[64], path[PATH_MAX], fresh[PATH_MAX + 300], kept[PATH_MAX + 300];
    const char *folder = getenv("POWER_LOSS_KEPT");
    struct stat status;
    int saved = errno;
    if (folder == NULL || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    pthread_mutex_lock(&one_at_a_time);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        fail(link);
    path[size] = '\0';
    const char *name = strrchr(path, '/') + 1;
    snprintf(kept, sizeof kept, "%s/%s", folder, name);
    snprintf(fresh, sizeof fresh, "%s/%s.fresh", folder, name);
    copy(fd, fresh);
    if (rename(fresh, kept) != 0)
        fail(kept);
    pthread_mutex_unlock(&one_at_a_time);
    errno = saved;
}

int fsync(int fd) {
    int result = ((__typeof__(fsync) *)dlsym(RTLD_NEXT, "fsync"))(fd);
    if (result == 0)
        keep(fd);
    return result;
}

int fdatasync(int fd) {
    int result = ((__typeof__(fdatasync) *)dlsym(RTLD_NEXT, "fdatasync"))(fd);
    if (result == 0)
        keep(fd);
    return result;
}
