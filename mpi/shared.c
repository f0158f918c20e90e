#include "shared.h"

#include "comm.h"
#include "mpi_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAME = 64 };

static bool is_wanted(void) {
    const char *links = getenv("LAMINA_LINKS");
    if (links && strcmp(links, "messages") != 0 && strcmp(links, "shared") != 0)
        lm_abort(LM_USAGE, "LAMINA_LINKS=%s: messages or shared is expected", links);
    return !links || strcmp(links, "shared") == 0;
}

/* Where nobody else has anything; the file is closed. */
static void *map(int file, size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Its memory is taken at once: a node may have less than its files may promise. */
static bool reserve(int file, size_t bytes) {
    int result;
    do
        result = posix_fallocate(file, 0, (off_t)bytes);
    while (result == EINTR);
    return result == 0;
}

/* Make memory with a name; name[0] is 0 if that failed. */
static void *make(size_t bytes, char name[NAME]) {
    static int n;
    snprintf(name, NAME, "/lamina-%ld-%d", (long)getpid(), n++);
    int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    void *memory = NULL;
    if (file >= 0 && reserve(file, bytes))
        memory = map(file, bytes);
    else if (file >= 0)
        close(file);
    if (file >= 0 && !memory)
        shm_unlink(name);
    if (!memory)
        name[0] = '\0';
    return memory;
}

static void *open_first(int peer, int tag, size_t bytes) {
    char name[NAME] = "";
    int taken = 0;
    void *memory = is_wanted() ? make(bytes, name) : NULL;
    LM_MPI(MPI_Send(name, NAME, MPI_CHAR, peer, tag, lm_comm_links()));
    LM_MPI(MPI_Recv(&taken, 1, MPI_INT, peer, tag, lm_comm_links(), MPI_STATUS_IGNORE));
    if (memory)
        shm_unlink(name);
    if (memory && !taken) {
        lm_shared_close(memory, bytes);
        memory = NULL;
    }
    return memory;
}

static void *open_second(int peer, int tag, size_t bytes) {
    char name[NAME];
    LM_MPI(MPI_Recv(name, NAME, MPI_CHAR, peer, tag, lm_comm_links(), MPI_STATUS_IGNORE));
    int file = name[0] ? shm_open(name, O_RDWR, 0) : -1;
    void *memory = file >= 0 ? map(file, bytes) : NULL;
    int taken = memory != NULL;
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
