#include "lock.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct lm_lock {
    char *path, *name; /* of the file that is locked: path.lock */
    int descriptor;
};

static void destroy(struct lm_lock *lock) {
    if (lock->descriptor >= 0)
        close(lock->descriptor);
    lm_free(lock->path);
    lm_free(lock->name);
    lm_free(lock);
}

static bool open_file(struct lm_lock *lock, struct lm_status *status) {
    lock->descriptor = open(lock->name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return lock->descriptor >= 0 ||
           lm_fail(status, LM_CANT_CREATE, "cannot create %s: %s", lock->path, strerror(errno));
}

static struct lm_lock *open_lock(const char *path, struct lm_status *status) {
    size_t size = strlen(path) + 6;
    struct lm_lock *lock = lm_allocate(1, sizeof *lock);
    *lock = (struct lm_lock){lm_copy_string(path), lm_allocate(size, 1), -1};
    snprintf(lock->name, size, "%s.lock", path);
    if (open_file(lock, status))
        return lock;
    destroy(lock);
    return NULL;
}

/* Whether the name still is that of the open file: the last holder may have removed it. */
static bool is_there(const struct lm_lock *lock) {
    struct stat a, b;
    return fstat(lock->descriptor, &a) == 0 && stat(lock->name, &b) == 0 &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* Whether nobody else holds the lock, or nothing can be locked here. */
static bool try(const struct lm_lock *lock, int how) {
    int result;
    do
        result = flock(lock->descriptor, how | LOCK_NB);
    while (result != 0 && errno == EINTR);
    return result == 0 || errno != EWOULDBLOCK;
}

static bool is_held(const struct lm_lock *lock, struct lm_status *status) {
    char who[200] = "";
    ssize_t n = pread(lock->descriptor, who, sizeof who - 1, 0);
    who[n > 0 ? n : 0] = '\0';
    return lm_fail(status, LM_CANT_CREATE, "another run writes %s%s%s", lock->path,
                   *who ? ": " : "", who);
}

static void sign(const struct lm_lock *lock) {
    char host[100] = "", who[200];
    gethostname(host, sizeof host - 1);
    int n = snprintf(who, sizeof who, "process %ld on %s", (long)getpid(), host);
    /* Only for messages: it does no harm when this cannot be written. */
    if (ftruncate(lock->descriptor, 0) == 0 && pwrite(lock->descriptor, who, (size_t)n, 0) != n)
        errno = 0;
}

struct lm_lock *lm_lock_take(const char *path, double seconds, struct lm_status *status) {
    static const double pause = 0.05;
    struct lm_lock *lock = open_lock(path, status);
    for (; lock; seconds -= pause) {
        bool held = !try(lock, LOCK_EX);
        if (!held && is_there(lock)) {
            sign(lock);
            return lock;
        }
        if (held && seconds <= 0) {
            is_held(lock, status);
            break;
        }
        if (held)
            nanosleep(&(struct timespec){0, (long)(1e9 * pause)}, NULL);
        close(lock->descriptor);
        if (!open_file(lock, status))
            break;
    }
    if (lock)
        destroy(lock);
    return NULL;
}

bool lm_lock_share(struct lm_lock *lock, struct lm_status *status) {
    return try(lock, LOCK_SH) || is_held(lock, status);
}

struct lm_lock *lm_lock_join(const char *path, struct lm_status *status) {
    struct lm_lock *lock = open_lock(path, status);
    if (!lock || lm_lock_share(lock, status))
        return lock;
    destroy(lock);
    return NULL;
}

void lm_lock_release(struct lm_lock *lock, bool last) {
    if (!lock)
        return;
    if (last)
        unlink(lock->name);
    destroy(lock);
}
