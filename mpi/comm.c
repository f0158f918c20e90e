#include "comm.h"

#include "bell.h"
#include "mpi_check.h"

#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double PATIENCE = 5; /* seconds, for all ranks to exit */

static MPI_Comm links, replicas, files, agreement, node, ending;
static int rank, size, node_ranks, node_rank, thread_level;
static char who[32];
static bool is_done;  /* whether an exit is meant */
static MPI_Win voice; /* one atomic_flag of each node: somebody has spoken */
static atomic_flag *spoken;

static void abort_all(int code) {
    PMPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

static const useconds_t WORD = 100000; /* microseconds, for a message to be out */

static bool may_speak(void) {
    bool first = !atomic_flag_test_and_set(spoken);
    if (!first)
        usleep(WORD); /* before this rank ends the job */
    return first;
}

static void share_voice(void) {
    MPI_Aint bytes = node_rank == 0 ? (MPI_Aint)sizeof *spoken : 0;
    int unit;
    LM_MPI(MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, node, &spoken, &voice));
    LM_MPI(MPI_Win_shared_query(voice, 0, &bytes, &unit, &spoken));
    if (node_rank == 0)
        atomic_flag_clear(spoken);
    LM_MPI(MPI_Barrier(node));
    lm_abort_voice(may_speak);
}

static MPI_Comm duplicate(MPI_Comm from) {
    MPI_Comm copy;
    LM_MPI(MPI_Comm_dup(from, &copy));
    LM_MPI(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN));
    return copy;
}

/* Whether no mpirun, srun or other launcher has started this process. */
static bool is_alone(void) {
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof launched / sizeof *launched; i++)
        if (getenv(launched[i]))
            return false;
    return true;
}

/* What Open MPI shall do, unless the user has said so already. */
static void set_parameters(void) {
    char eager[16];
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    snprintf(eager, sizeof eager, "%d", LM_EAGER);
    setenv("OMPI_MCA_btl_vader_eager_limit", eager, 0); /* Open MPI 4 */
    setenv("OMPI_MCA_btl_sm_eager_limit", eager, 0);    /* Open MPI 5 */
    /* Open MPI's first choice for the shared file pointers, which nobody uses, is a semaphore
     * named after the file: one left by a kill makes the next run wait for ever. */
    setenv("OMPI_MCA_sharedfp", "individual", 0);
    if (is_alone()) /* a search for networks takes as long as all the rest of the start */
        setenv("OMPI_MCA_pml", "ob1", 0);
}

void lm_comm_start(void) {
    set_parameters();
    LM_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &thread_level));
    LM_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    LM_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    LM_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
    if (size > 1)
        snprintf(who, sizeof who, "rank %d", rank);
    lm_abort_hook(abort_all, size > 1 ? who : NULL);
    links = duplicate(MPI_COMM_WORLD);
    replicas = duplicate(MPI_COMM_WORLD);
    files = duplicate(MPI_COMM_WORLD);
    agreement = duplicate(MPI_COMM_WORLD);
    ending = duplicate(MPI_COMM_WORLD);
    LM_MPI(MPI_Comm_split_type(agreement, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    LM_MPI(MPI_Comm_size(node, &node_ranks));
    LM_MPI(MPI_Comm_rank(node, &node_rank));
    share_voice();
    lm_bell_create(agreement, node);
}

void lm_comm_finish(void) {
    lm_abort_voice(NULL);
    lm_bell_destroy();
    LM_MPI(MPI_Win_free(&voice));
    LM_MPI(MPI_Comm_free(&links));
    LM_MPI(MPI_Comm_free(&replicas));
    LM_MPI(MPI_Comm_free(&files));
    LM_MPI(MPI_Comm_free(&agreement));
    LM_MPI(MPI_Comm_free(&ending));
    LM_MPI(MPI_Comm_free(&node));
    lm_abort_hook(NULL, NULL);
    LM_MPI(MPI_Finalize());
}

/* Wait asleep for all ranks, at most for some time; whether they came. */
static bool rest(MPI_Comm ranks, double seconds) {
    MPI_Request request;
    int done = 0;
    LM_MPI(MPI_Ibarrier(ranks, &request));
    for (double start = MPI_Wtime(); MPI_Wtime() - start < seconds; usleep(2000)) {
        LM_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done)
            break;
    }
    return done;
}

static void end(int status, void *unused) {
    (void)unused;
    if (!is_done && status == EXIT_FAILURE) /* none of lm_code: a library's */
        lm_abort(LM_SYSTEM, "a library has ended the program");
    if (!is_done && !rest(ending, PATIENCE))
        abort_all(status);
    lm_comm_finish();
}

void lm_comm_finish_at_exit(void) {
    on_exit(end, NULL);
}

void lm_comm_done(void) {
    is_done = true;
}

int lm_comm_rank(void) {
    return rank;
}

int lm_comm_size(void) {
    return size;
}

int lm_comm_node_ranks(void) {
    return node_ranks;
}

int lm_comm_node_rank(void) {
    return node_rank;
}

bool lm_comm_is_near(int other) {
    return lm_bell_is_here(other);
}

bool lm_comm_is_threaded(void) {
    return thread_level >= MPI_THREAD_MULTIPLE;
}

const void *lm_comm_files(void) {
    return &files;
}

MPI_Comm lm_comm_links(void) {
    return links;
}

MPI_Comm lm_comm_agreement(void) {
    return agreement;
}

MPI_Comm lm_comm_replicas(void) {
    return replicas;
}

MPI_Comm lm_comm_node(void) {
    return node;
}

bool lm_comm_agree(bool good, struct lm_status *status) {
    int mine[2] = {good ? size : rank, good ? 0 : 1}, first, failed;
    LM_MPI(MPI_Allreduce(&mine[0], &first, 1, MPI_INT, MPI_MIN, agreement));
    LM_MPI(MPI_Allreduce(&mine[1], &failed, 1, MPI_INT, MPI_SUM, agreement));
    if (failed == 0)
        return true;
    lm_comm_broadcast(status, sizeof *status, first);
    if (failed < size)
        lm_fail_prefix(status, "rank %d: ", first);
    return false;
}

void lm_comm_broadcast(void *data, size_t bytes, int root) {
    LM_ASSERT(bytes <= INT_MAX);
    LM_MPI(MPI_Bcast(data, (int)bytes, MPI_BYTE, root, agreement));
}

void lm_comm_gather(const double *mine, size_t n, double *all) {
    LM_ASSERT(n <= INT_MAX);
    LM_MPI(MPI_Allgather(mine, (int)n, MPI_DOUBLE, all, (int)n, MPI_DOUBLE, agreement));
}

void lm_comm_node_unite(void *bits, size_t bytes) {
    LM_ASSERT(bytes <= INT_MAX);
    LM_MPI(MPI_Allreduce(MPI_IN_PLACE, bits, (int)bytes, MPI_BYTE, MPI_BOR, node));
}

void lm_comm_barrier(void) {
    LM_MPI(MPI_Barrier(agreement));
}

void lm_comm_rest(void) {
    rest(agreement, INFINITY);
}

/* Under mpirun a rank's standard error is a pipe to its parent; what counts is where the
 * parent's goes. */
bool lm_comm_on_terminal(void) {
    if (isatty(STDERR_FILENO))
        return true;
    if (!getenv("OMPI_COMM_WORLD_RANK"))
        return false;
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/%ld/fd/2", (long)getppid());
    return readlink(path, target, sizeof target - 1) > 0 &&
           (strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0);
}
