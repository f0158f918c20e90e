#include "aside.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *join(const char *a, const char *b) {
    size_t size = strlen(a) + strlen(b) + 1;
    char *text = lm_allocate(size, 1);
    snprintf(text, size, "%s%s", a, b);
    return text;
}

void lm_aside_init(struct lm_aside *aside, const char *path) {
    *aside = (struct lm_aside){lm_copy_string(path), join(path, ".new"), -1};
}

void lm_aside_clear(struct lm_aside *aside) {
    if (aside->descriptor >= 0)
        close(aside->descriptor);
    lm_free(aside->path);
    lm_free(aside->name);
}

bool lm_aside_make(struct lm_aside *aside, struct lm_status *status) {
    struct stat info;
    if (stat(aside->path, &info) == 0 && S_ISDIR(info.st_mode))
        return lm_fail(status, LM_CANT_CREATE, "cannot create %s: it is a folder", aside->path);
    unlink(aside->name); /* not emptied: ranks of a killed run may still write to it */
    aside->descriptor = open(aside->name, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0666);
    return aside->descriptor >= 0 || lm_fail(status, LM_CANT_CREATE, "cannot create %s: %s",
                                             aside->path, strerror(errno));
}

bool lm_aside_see(const struct lm_aside *aside, struct lm_status *status) {
    int file = open(aside->name, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return lm_fail(status, LM_CANT_CREATE,
                       "cannot create %s: %s on a host that must share its folder with rank 0",
                       aside->path, strerror(errno));
    close(file);
    return true;
}

bool lm_aside_reserve(const struct lm_aside *aside, off_t end) {
    while (aside->descriptor >= 0 &&
           fallocate(aside->descriptor, FALLOC_FL_KEEP_SIZE, 0, end) != 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            break;
        if (errno != EINTR)
            return false;
    }
    return true;
}

bool lm_aside_expose(struct lm_aside *aside) {
    char *partial = join(aside->path, ".partial");
    bool ok = aside->descriptor < 0 || rename(aside->name, partial) == 0;
    lm_free(ok ? aside->name : partial);
    if (ok)
        aside->name = partial;
    return ok;
}

bool lm_aside_sync(const struct lm_aside *aside) {
    struct stat info;
    bool ok = fstat(aside->descriptor, &info) == 0 &&
              ftruncate(aside->descriptor, info.st_size) == 0 && fsync(aside->descriptor) == 0;
    if (ok)
        posix_fadvise(aside->descriptor, 0, 0, POSIX_FADV_DONTNEED);
    return ok;
}

/* Make a rename in the folder of a file last. */
static bool sync_folder(const char *path) {
    char *folder = lm_copy_string(path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int directory = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    lm_free(folder);
    /* EINVAL: a file system that cannot, or need not. */
    bool ok = directory < 0 || fsync(directory) == 0 || errno == EINVAL;
    if (directory >= 0)
        close(directory);
    return ok;
}

bool lm_aside_publish(const struct lm_aside *aside) {
    return rename(aside->name, aside->path) == 0 && sync_folder(aside->path);
}

void lm_aside_empty(const struct lm_aside *aside) {
    int unsure = aside->descriptor >= 0 ? ftruncate(aside->descriptor, 0) : 0;
    (void)unsure;
}

void lm_aside_remove(const struct lm_aside *aside) {
    if (aside->descriptor >= 0)
        unlink(aside->name);
}
