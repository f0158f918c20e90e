#include "bell.h"

#include "comm.h"
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
static void find_bells(void) {
    MPI_Group job, here;
    LM_MPI(MPI_Comm_group(lm_comm_agreement(), &job));
    LM_MPI(MPI_Comm_group(lm_comm_node(), &here));
    bells = lm_allocate((size_t)lm_comm_size(), sizeof(struct bell *));
    for (int i = 0; i < lm_comm_node_ranks(); i++) {
        int in_job, unit;
        MPI_Aint bytes;
        struct bell *bell;
        LM_MPI(MPI_Group_translate_ranks(here, 1, &i, job, &in_job));
        LM_MPI(MPI_Win_shared_query(window, i, &bytes, &unit, &bell));
        bells[in_job] = bell;
    }
    LM_MPI(MPI_Group_free(&job));
    LM_MPI(MPI_Group_free(&here));
    mine = bells[lm_comm_rank()];
}

void lm_bell_create(void) {
    MPI_Comm node = lm_comm_node();
    struct bell *bell;
    LM_MPI(MPI_Win_allocate_shared(sizeof *bell, 1, MPI_INFO_NULL, node, &bell, &window));
    atomic_init(&bell->rings, 0);
    atomic_init(&bell->asleep, 0);
    find_bells();
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
