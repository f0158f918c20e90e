#include "shared.h"

#include "comm.h"
#include "mpi_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_wanted(void) {
    const char *links = getenv("LAMINA_LINKS");
    if (links && strcmp(links, "messages") != 0 && strcmp(links, "shared") != 0)
        lm_abort(LM_USAGE, "LAMINA_LINKS=%s: messages or shared is expected", links);
    return !links || strcmp(links, "shared") == 0;
}

static void *map(int file, size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Its memory is taken at once, so that it is known to be there. */
static bool reserve(int file, size_t bytes) {
    int result;
    do
        result = posix_fallocate(file, 0, (off_t)bytes);
    while (result == EINTR);
    return result == 0;
}

/* A file in memory without a name, which others find in our list of open files; -1: not to be
 * had. */
static int make_file(size_t bytes) {
    int file = is_wanted() ? open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (file >= 0 && !reserve(file, bytes)) {
        close(file);
        return -1;
    }
    return file;
}

/* Where the second finds the file, and how it knows that it is this one. */
struct place {
    long process;
    int file; /* -1: there is none */
    dev_t device;
    ino_t inode;
};

/* The file at a place as we reach it; -1 if we do not, or if it is another one there. */
static int open_file(const struct place *place) {
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", place->process, place->file);
    int file = place->file >= 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0 && (fstat(file, &found) != 0 || found.st_dev != place->device ||
                      found.st_ino != place->inode)) {
        close(file);
        return -1;
    }
    return file;
}

static void *open_first(int peer, int tag, size_t bytes) {
    int file = make_file(bytes), taken = 0;
    struct stat status = {0};
    void *memory = file >= 0 && fstat(file, &status) == 0 ? map(file, bytes) : NULL;
    const struct place place = {(long)getpid(), memory ? file : -1, status.st_dev,
                                status.st_ino};
    LM_MPI(MPI_Send(&place, sizeof place, MPI_BYTE, peer, tag, lm_comm_links()));
    LM_MPI(MPI_Recv(&taken, 1, MPI_INT, peer, tag, lm_comm_links(), MPI_STATUS_IGNORE));
    if (file >= 0)
        close(file);
    if (memory && !taken) {
        lm_shared_close(memory, bytes);
        memory = NULL;
    }
    return memory;
}

static void *open_second(int peer, int tag, size_t bytes) {
    struct place place;
    LM_MPI(MPI_Recv(&place, sizeof place, MPI_BYTE, peer, tag, lm_comm_links(),
                    MPI_STATUS_IGNORE));
    int file = open_file(&place);
    void *memory = file >= 0 ? map(file, bytes) : NULL;
    int taken = memory != NULL;
    if (file >= 0)
        close(file);
    LM_MPI(MPI_Send(&taken, 1, MPI_INT, peer, tag, lm_comm_links()));
    return memory;
}

void *lm_shared_open(int peer, bool first, int tag, size_t bytes) {
    if (peer == lm_comm_rank() || !lm_comm_is_near(peer))
        return NULL;
    return first ? open_first(peer, tag, bytes) : open_second(peer, tag, bytes);
}

void lm_shared_close(void *memory, size_t bytes) {
    munmap(memory, bytes);
}
