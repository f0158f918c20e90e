#include "bell.h"

#include "memory.h"
#include "mpi_check.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, NANOSECONDS = 1000000 };

struct bell {
    atomic_uint rings;
    atomic_uint asleep; /* threads */
    char apart[LINE];   /* bells in one line of a cache would disturb each other */
};

static MPI_Win window;
static struct bell **bells; /* (ranks of the job); NULL on other nodes */
static struct bell *mine;

/* The bells of the ranks of this node. */
static void find_bells(MPI_Comm job, MPI_Comm node) {
    MPI_Group all, here;
    int ranks, near, rank;
    LM_MPI(MPI_Comm_group(job, &all));
    LM_MPI(MPI_Comm_group(node, &here));
    LM_MPI(MPI_Comm_size(job, &ranks));
    LM_MPI(MPI_Comm_size(node, &near));
    LM_MPI(MPI_Comm_rank(job, &rank));
    bells = lm_allocate((size_t)ranks, sizeof(struct bell *));
    for (int i = 0; i < near; i++) {
        int in_job, unit;
        MPI_Aint bytes;
        struct bell *bell;
        LM_MPI(MPI_Group_translate_ranks(here, 1, &i, all, &in_job));
        LM_MPI(MPI_Win_shared_query(window, i, &bytes, &unit, &bell));
        bells[in_job] = bell;
    }
    LM_MPI(MPI_Group_free(&all));
    LM_MPI(MPI_Group_free(&here));
    mine = bells[rank];
}

void lm_bell_create(MPI_Comm job, MPI_Comm node) {
    struct bell *bell;
    LM_MPI(MPI_Win_allocate_shared(sizeof *bell, 1, MPI_INFO_NULL, node, &bell, &window));
    atomic_init(&bell->rings, 0);
    atomic_init(&bell->asleep, 0);
    find_bells(job, node);
    LM_MPI(MPI_Barrier(node));
}

void lm_bell_destroy(void) {
    lm_free(bells);
    bells = NULL;
    LM_MPI(MPI_Win_free(&window));
}

/* The C library has no function for it; see futex(2). */
static void futex(atomic_uint *word, int operation, unsigned value,
                  const struct timespec *limit) {
    syscall(SYS_futex, word, operation, value, limit, NULL, 0);
}

bool lm_bell_is_here(int rank) {
    return bells[rank] != NULL;
}

unsigned lm_bell_rings(void) {
    return atomic_load(&mine->rings);
}

void lm_bell_ring(int to) {
    struct bell *bell = bells[to];
    if (!bell)
        return;
    atomic_fetch_add(&bell->rings, 1);
    if (atomic_load(&bell->asleep) > 0)
        futex(&bell->rings, FUTEX_WAKE, INT32_MAX, NULL);
}

void lm_bell_wait(unsigned rings) {
    const struct timespec limit = {.tv_nsec = NANOSECONDS};
    atomic_fetch_add(&mine->asleep, 1);
    futex(&mine->rings, FUTEX_WAIT, rings, &limit);
    atomic_fetch_sub(&mine->asleep, 1);
}
