/*
 * Preloaded into a process, ends it with SIGKILL before or after its N-th flush or send.
 * The settings and the way to use it are told in crash_points.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum kind { NOTHING, FSYNC, SEND };

static enum kind kind = NOTHING;
static bool after;
static unsigned long deadly;
static const char *armed_by;
static atomic_ulong calls;

static __typeof__(fsync) *real_fsync;
static __typeof__(fdatasync) *real_fdatasync;
static __typeof__(send) *real_send;
static __typeof__(sendto) *real_sendto;
static __typeof__(sendmsg) *real_sendmsg;
static __typeof__(write) *real_write;
static __typeof__(writev) *real_writev;

static void die(int status) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    /* A container's first process is spared its own SIGKILL; this ends it as abruptly. */
    syscall(SYS_exit_group, status);
}

/* ---- Settings, read once ---- */

static bool is_this_process(const char *part) {
    static char line[1 << 16];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i + 1 < size; i++)
        if (line[i] == '\0')
            line[i] = ' ';
    return strstr(line, part) != NULL;
}

/* A setting that was misread would never fire, and the test would pass for the wrong reason. */
static void refuse(void) {
    static const char complaint[] = "crash_points: CRASH_AT is not <fsync|send>:<before|after>:<N>\n";
    syscall(SYS_write, STDERR_FILENO, complaint, sizeof complaint - 1);
    syscall(SYS_exit_group, 2);
}

static void read_settings(void) {
    const char *at = getenv("CRASH_AT"), *in = getenv("CRASH_IN"), *arm = getenv("CRASH_ARMED_BY");
    char what[6], when[7], rest;
    if (at == NULL || (in != NULL && !is_this_process(in)))
        return;
    if (sscanf(at, "%5[a-z]:%6[a-z]:%lu%c", what, when, &deadly, &rest) != 3 || deadly == 0)
        refuse();
    if (strcmp(when, "before") != 0 && strcmp(when, "after") != 0)
        refuse();
    if (strcmp(what, "fsync") != 0 && strcmp(what, "send") != 0)
        refuse();
    after = strcmp(when, "after") == 0;
    /* A copy: programs that change their title write over their first environment. */
    armed_by = arm == NULL ? NULL : strdup(arm);
    kind = strcmp(what, "fsync") == 0 ? FSYNC : SEND;
}

static void prepare(void) {
    real_fsync = (__typeof__(real_fsync))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (__typeof__(real_fdatasync))dlsym(RTLD_NEXT, "fdatasync");
    real_send = (__typeof__(real_send))dlsym(RTLD_NEXT, "send");
    real_sendto = (__typeof__(real_sendto))dlsym(RTLD_NEXT, "sendto");
    real_sendmsg = (__typeof__(real_sendmsg))dlsym(RTLD_NEXT, "sendmsg");
    real_write = (__typeof__(real_write))dlsym(RTLD_NEXT, "write");
    real_writev = (__typeof__(real_writev))dlsym(RTLD_NEXT, "writev");
    read_settings();
}

/* For a process that was forked, and is to die at a point of its own. */
void crash_points_begin_anew(void) {
    kind = NOTHING;
    atomic_store(&calls, 0);
    read_settings();
}

/*
 * At load, so that a signal handler's write never interrupts it half done; and once more from each
 * call, as another library's constructor may write before ours has run.
 */
__attribute__((constructor)) static void prepare_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

/* ---- Which calls count ---- */

/* Both ends of a socketpair are nameless, and event loops wake themselves up through those. */
static bool has_a_name(int fd) {
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    if (getpeername(fd, (struct sockaddr *)&name, &size) == 0 && size > sizeof name.sun_family)
        return true;
    size = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && size > sizeof name.sun_family;
}

static bool is_a_link(int fd) {
    int type, domain;
    socklen_t size = sizeof(int);
    if (fd == STDOUT_FILENO || fd == STDERR_FILENO)
        return false;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
        return false;
    size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0)
        return false;
    return domain == AF_INET || domain == AF_INET6 || (domain == AF_UNIX && has_a_name(fd));
}

static bool counts(enum kind called, int fd) {
    int saved = errno;
    bool yes = (called != SEND || is_a_link(fd)) && (!armed_by || access(armed_by, F_OK) == 0);
    errno = saved;
    return yes;
}

/* ---- Counting: only calls that succeed keep their number, so both sides of N are of one call ---- */

static void count(void) {
    if (atomic_fetch_add(&calls, 1) + 1 == deadly)
        die(128 + SIGKILL);
}

static bool begin(enum kind called, int fd) {
    prepare_once();
    if (called != kind || !counts(called, fd))
        return false;
    if (!after)
        count();
    return true;
}

static ssize_t end(bool counted, ssize_t result) {
    if (counted && after && result >= 0)
        count();
    if (counted && !after && result < 0)
        atomic_fetch_sub(&calls, 1);
    return result;
}

/* ---- The calls ---- */

int fsync(int fd) {
    bool counted = begin(FSYNC, fd);
    return (int)end(counted, real_fsync(fd));
}

int fdatasync(int fd) {
    bool counted = begin(FSYNC, fd);
    return (int)end(counted, real_fdatasync(fd));
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    bool counted = begin(SEND, fd);
    return end(counted, real_send(fd, data, size, flags));
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
               socklen_t to_size) {
    bool counted = begin(SEND, fd);
    return end(counted, real_sendto(fd, data, size, flags, to, to_size));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    bool counted = begin(SEND, fd);
    return end(counted, real_sendmsg(fd, message, flags));
}

ssize_t write(int fd, const void *data, size_t size) {
    bool counted = begin(SEND, fd);
    return end(counted, real_write(fd, data, size));
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    bool counted = begin(SEND, fd);
    return end(counted, real_writev(fd, parts, number));
}
