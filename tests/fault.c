/* Fault: a library that is loaded before the C library (LD_PRELOAD) and makes one process of a
 * job meet a fault, at a moment that can be chosen exactly.
 *
 * FAULT=RANK:KIND:N:TEXT names the rank (0 without mpirun), and the Nth call, from 1, that
 * concerns a file with TEXT in its path:
 *     kill    before a call that changes the file (its content, length or name), SIGKILL
 *     enospc  this call that writes to the file and all later ones fail: no space left
 *     eio     opening the file fails
 *     flip    of a write of N bytes or more one bit comes out wrong, and nobody is told
 *     count   nothing; the number of changes is printed in the end
 *     log     nothing; every change, and advice on a file, is printed as it comes
 * or, whatever TEXT is,
 *     memory  the Nth block of lm_allocate is refused */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char kind[16], text[200];
static long number;
static atomic_long calls;

__attribute__((constructor)) static void read_fault(void) {
    const char *fault = getenv("FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    long chosen;
    if (!fault || sscanf(fault, "%ld:%15[a-z]:%ld:%199s", &chosen, kind, &number, text) != 4 ||
        chosen != (rank ? atol(rank) : 0))
        *kind = '\0';
}

__attribute__((destructor)) static void tell(void) {
    if (strcmp(kind, "count") == 0 && calls > 0)
        fprintf(stderr, "fault: %ld changes\n", (long)calls);
}

static int concerns(const char *path) {
    return *kind && strcmp(kind, "memory") != 0 && path && strstr(path, text) != NULL;
}

/* Whether a change of a file, by a function of that name, fails, with errno set. */
static int changes(const char *name, const char *path, int writes) {
    if (!concerns(path) || strcmp(kind, "eio") == 0 || strcmp(kind, "flip") == 0)
        return 0;
    if (strcmp(kind, "log") == 0) {
        dprintf(STDERR_FILENO, "fault: %s %s\n", name, path);
        return 0;
    }
    int full = strcmp(kind, "enospc") == 0;
    if (full && !writes)
        return 0;
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (strcmp(kind, "kill") == 0 && call == number)
        raise(SIGKILL);
    errno = ENOSPC;
    return full && call >= number;
}

static const char *path_of(int file, size_t size, char path[]) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, size - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

static int changes_open(const char *name, int file, int writes) {
    char path[1000];
    return *kind && changes(name, path_of(file, sizeof path, path), writes);
}

/* n bytes as they are to be written: a copy with a bit flipped in its last one, to be freed, or
 * NULL for the bytes themselves. */
static unsigned char *flipped(int file, const void *bytes, size_t n) {
    char path[1000];
    if (strcmp(kind, "flip") != 0 || n < (size_t)number ||
        !concerns(path_of(file, sizeof path, path)))
        return NULL;
    unsigned char *copy = malloc(n);
    memcpy(copy, bytes, n);
    copy[n - 1] ^= 4;
    return copy;
}

/* The C library's function of the same name and type. */
#define NEXT(NAME)                                                                             \
    static __typeof__(NAME) *next;                                                             \
    if (!next)                                                                                 \
    *(void **)&next = dlsym(RTLD_NEXT, #NAME)

#define CHANGE(TYPE, NAME, PARAMETERS, ARGUMENTS, WRITES)                                      \
    TYPE NAME PARAMETERS {                                                                     \
        NEXT(NAME);                                                                            \
        return changes_open(#NAME, file, WRITES) ? -1 : next ARGUMENTS;                        \
    }
#define WRITE(NAME, OFFSET)                                                                    \
    ssize_t NAME(int file, const void *bytes, size_t n, OFFSET at) {                           \
        NEXT(NAME);                                                                            \
        unsigned char *copy = flipped(file, bytes, n);                                         \
        ssize_t done =                                                                         \
            changes_open(#NAME, file, 1) ? -1 : next(file, copy ? copy : bytes, n, at);        \
        free(copy);                                                                            \
        return done;                                                                           \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
CHANGE(ssize_t, write, (int file, const void *b, size_t n), (file, b, n), 1)
CHANGE(ssize_t, writev, (int file, const struct iovec *v, int n), (file, v, n), 1)
CHANGE(ssize_t, pwritev, (int file, const struct iovec *v, int n, off_t o), (file, v, n, o), 1)
CHANGE(ssize_t, pwritev64, (int file, const struct iovec *v, int n, off64_t o), (file, v, n, o),
       1)
CHANGE(int, fallocate, (int file, int mode, off_t o, off_t n), (file, mode, o, n), 1)
CHANGE(int, fallocate64, (int file, int mode, off64_t o, off64_t n), (file, mode, o, n), 1)
CHANGE(int, ftruncate, (int file, off_t n), (file, n), 0)
CHANGE(int, ftruncate64, (int file, off64_t n), (file, n), 0)
CHANGE(int, fsync, (int file), (file), 0)

int posix_fadvise(int file, off_t from, off_t n, int advice) {
    NEXT(posix_fadvise);
    if (strcmp(kind, "log") == 0)
        changes_open("posix_fadvise", file, 0);
    return next(file, from, n, advice);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    return changes("rename", from, 0) ? -1 : next(from, to);
}

int unlink(const char *path) {
    NEXT(unlink);
    return changes("unlink", path, 0) ? -1 : next(path);
}

static int fails_to_open(const char *path) {
    errno = EIO;
    return concerns(path) && strcmp(kind, "eio") == 0 &&
           atomic_fetch_add(&calls, 1) + 1 >= number;
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    NEXT(aligned_alloc);
    int refused = strcmp(kind, "memory") == 0 && atomic_fetch_add(&calls, 1) + 1 == number;
    return refused ? NULL : next(alignment, bytes);
}

#define OPEN(NAME)                                                                             \
    int NAME(const char *path, int flags, ...) {                                               \
        NEXT(NAME);                                                                            \
        va_list arguments;                                                                     \
        va_start(arguments, flags);                                                            \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;                 \
        va_end(arguments);                                                                     \
        return fails_to_open(path) ? -1 : next(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

#define FOPEN(NAME)                                                                            \
    FILE *NAME(const char *path, const char *mode) {                                           \
        NEXT(NAME);                                                                            \
        return fails_to_open(path) ? NULL : next(path, mode);                                  \
    }
FOPEN(fopen)
FOPEN(fopen64)
