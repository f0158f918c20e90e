#include "traffic.h"

#include "comm.h"
#include "memory.h"
#include "mpi_check.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

struct count {
    atomic_int_fast64_t messages, bytes;
};

static struct count *counts; /* (LM_PHASES, ranks) */
static atomic_int open_phase = -1;
static atomic_long window; /* windows opened so far */
static _Thread_local struct {
    long window;
    int phase;
} turned; /* that this thread's phase is another one */
static atomic_int_fast64_t elsewhere;

static struct count *count_of(int phase, int to) {
    if (!counts)
        counts = lm_allocate((size_t)(LM_PHASES * lm_comm_size()), sizeof *counts);
    return &counts[phase * lm_comm_size() + to];
}

void lm_traffic_open(enum lm_phase phase) {
    count_of(0, 0);
    atomic_fetch_add(&window, 1);
    atomic_store(&open_phase, (int)phase);
}

void lm_traffic_close(void) {
    atomic_store(&open_phase, -1);
}

void lm_traffic_turn(enum lm_phase phase) {
    turned.window = atomic_load(&window);
    turned.phase = (int)phase;
}

/* -1: no window is open. */
static int phase_now(void) {
    int phase = atomic_load(&open_phase);
    return phase >= 0 && turned.window == atomic_load(&window) ? turned.phase : phase;
}

int64_t lm_traffic_messages(enum lm_phase phase, int to) {
    return atomic_load(&count_of((int)phase, to)->messages);
}

int64_t lm_traffic_bytes(enum lm_phase phase, int to) {
    return atomic_load(&count_of((int)phase, to)->bytes);
}

int64_t lm_traffic_elsewhere(void) {
    return atomic_load(&elsewhere);
}

void lm_traffic_reset(void) {
    lm_free(counts);
    counts = NULL;
    atomic_store(&elsewhere, 0);
}

/* The rank in the job of rank `to` of a communicator; MPI_UNDEFINED if it has none. */
static int rank_in_job(int to, MPI_Comm comm) {
    if (comm == lm_comm_links() || comm == lm_comm_replicas())
        return to;
    MPI_Group group, world;
    int rank = MPI_UNDEFINED;
    PMPI_Comm_group(comm, &group);
    PMPI_Comm_group(MPI_COMM_WORLD, &world);
    PMPI_Group_translate_ranks(group, 1, &to, world, &rank);
    PMPI_Group_free(&group);
    PMPI_Group_free(&world);
    return rank;
}

static void count_message(int n, MPI_Datatype type, int to, MPI_Comm comm) {
    int phase = phase_now(), bytes = 0;
    if (phase < 0 || to == MPI_PROC_NULL)
        return;
    int receiver = rank_in_job(to, comm);
    if (receiver == MPI_UNDEFINED) {
        atomic_fetch_add(&elsewhere, 1);
        return;
    }
    PMPI_Type_size(type, &bytes);
    struct count *count = count_of(phase, receiver);
    atomic_fetch_add(&count->messages, 1);
    atomic_fetch_add(&count->bytes, (int64_t)n * bytes);
}

void lm_traffic_share(int to, size_t bytes) {
    int phase = phase_now();
    if (phase >= 0)
        atomic_fetch_add(&count_of(phase, to)->bytes, (int64_t)bytes);
}

static void count_elsewhere(void) {
    if (atomic_load(&open_phase) >= 0)
        atomic_fetch_add(&elsewhere, 1);
}

/* Point-to-point sends: counted by receiver. MPI's own parameter names. */
#define SEND(NAME)                                                                             \
    int MPI_##NAME(const void *buffer, int n, MPI_Datatype type, int to, int tag,              \
                   MPI_Comm comm) {                                                            \
        count_message(n, type, to, comm);                                                      \
        return PMPI_##NAME(buffer, n, type, to, tag, comm);                                    \
    }
#define ISEND(NAME)                                                                            \
    int MPI_##NAME(const void *buffer, int n, MPI_Datatype type, int to, int tag,              \
                   MPI_Comm comm, MPI_Request *request) {                                      \
        count_message(n, type, to, comm);                                                      \
        return PMPI_##NAME(buffer, n, type, to, tag, comm, request);                           \
    }
SEND(Send)
SEND(Ssend)
SEND(Bsend)
SEND(Rsend)
ISEND(Isend)
ISEND(Issend)
ISEND(Ibsend)
ISEND(Irsend)

int MPI_Sendrecv(const void *out, int n_out, MPI_Datatype out_type, int to, int out_tag,
                 void *in, int n_in, MPI_Datatype in_type, int from, int in_tag, MPI_Comm comm,
                 MPI_Status *status) {
    count_message(n_out, out_type, to, comm);
    return PMPI_Sendrecv(out, n_out, out_type, to, out_tag, in, n_in, in_type, from, in_tag,
                         comm, status);
}

int MPI_Sendrecv_replace(void *buffer, int n, MPI_Datatype type, int to, int out_tag, int from,
                         int in_tag, MPI_Comm comm, MPI_Status *status) {
    count_message(n, type, to, comm);
    return PMPI_Sendrecv_replace(buffer, n, type, to, out_tag, from, in_tag, comm, status);
}

/* Everything else that communicates: counted as elsewhere. */
#define OTHER(NAME, PARAMETERS, ARGUMENTS)                                                     \
    int MPI_##NAME PARAMETERS {                                                                \
        count_elsewhere();                                                                     \
        return PMPI_##NAME ARGUMENTS;                                                          \
    }
OTHER(Start, (MPI_Request * r), (r))
OTHER(Startall, (int n, MPI_Request *r), (n, r))
OTHER(Barrier, (MPI_Comm c), (c))
OTHER(Ibarrier, (MPI_Comm c, MPI_Request *r), (c, r))
OTHER(Bcast, (void *b, int n, MPI_Datatype t, int root, MPI_Comm c), (b, n, t, root, c))
OTHER(Ibcast, (void *b, int n, MPI_Datatype t, int root, MPI_Comm c, MPI_Request *r),
      (b, n, t, root, c, r))
OTHER(Reduce, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, int root, MPI_Comm c),
      (a, b, n, t, o, root, c))
OTHER(Allreduce, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c),
      (a, b, n, t, o, c))
OTHER(Iallreduce,
      (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c, MPI_Request *r),
      (a, b, n, t, o, c, r))
OTHER(Scan, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c),
      (a, b, n, t, o, c))
OTHER(Exscan, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c),
      (a, b, n, t, o, c))
OTHER(Reduce_scatter,
      (const void *a, void *b, const int n[], MPI_Datatype t, MPI_Op o, MPI_Comm c),
      (a, b, n, t, o, c))
OTHER(Reduce_scatter_block,
      (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (a, b, n, t, o, c))
OTHER(Ireduce,
      (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, int root, MPI_Comm c,
       MPI_Request *r),
      (a, b, n, t, o, root, c, r))
OTHER(Gather,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root,
       MPI_Comm c),
      (a, n, t, b, m, u, root, c))
OTHER(Gatherv,
      (const void *a, int n, MPI_Datatype t, void *b, const int m[], const int d[],
       MPI_Datatype u, int root, MPI_Comm c),
      (a, n, t, b, m, d, u, root, c))
OTHER(Scatter,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root,
       MPI_Comm c),
      (a, n, t, b, m, u, root, c))
OTHER(Scatterv,
      (const void *a, const int n[], const int d[], MPI_Datatype t, void *b, int m,
       MPI_Datatype u, int root, MPI_Comm c),
      (a, n, d, t, b, m, u, root, c))
OTHER(Igather,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root,
       MPI_Comm c, MPI_Request *r),
      (a, n, t, b, m, u, root, c, r))
OTHER(Iscatter,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root,
       MPI_Comm c, MPI_Request *r),
      (a, n, t, b, m, u, root, c, r))
OTHER(Iallgather,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c,
       MPI_Request *r),
      (a, n, t, b, m, u, c, r))
OTHER(Ialltoall,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c,
       MPI_Request *r),
      (a, n, t, b, m, u, c, r))
OTHER(Allgather,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
      (a, n, t, b, m, u, c))
OTHER(Allgatherv,
      (const void *a, int n, MPI_Datatype t, void *b, const int m[], const int d[],
       MPI_Datatype u, MPI_Comm c),
      (a, n, t, b, m, d, u, c))
OTHER(Alltoall,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
      (a, n, t, b, m, u, c))
OTHER(Alltoallv,
      (const void *a, const int n[], const int e[], MPI_Datatype t, void *b, const int m[],
       const int d[], MPI_Datatype u, MPI_Comm c),
      (a, n, e, t, b, m, d, u, c))
OTHER(Alltoallw,
      (const void *a, const int n[], const int e[], const MPI_Datatype t[], void *b,
       const int m[], const int d[], const MPI_Datatype u[], MPI_Comm c),
      (a, n, e, t, b, m, d, u, c))
OTHER(Neighbor_allgather,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
      (a, n, t, b, m, u, c))
OTHER(Neighbor_alltoall,
      (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
      (a, n, t, b, m, u, c))
OTHER(Neighbor_alltoallw,
      (const void *a, const int n[], const MPI_Aint e[], const MPI_Datatype t[], void *b,
       const int m[], const MPI_Aint d[], const MPI_Datatype u[], MPI_Comm c),
      (a, n, e, t, b, m, d, u, c))
OTHER(Put,
      (const void *a, int n, MPI_Datatype t, int to, MPI_Aint d, int m, MPI_Datatype u,
       MPI_Win w),
      (a, n, t, to, d, m, u, w))
OTHER(Get,
      (void *a, int n, MPI_Datatype t, int to, MPI_Aint d, int m, MPI_Datatype u, MPI_Win w),
      (a, n, t, to, d, m, u, w))
OTHER(Accumulate,
      (const void *a, int n, MPI_Datatype t, int to, MPI_Aint d, int m, MPI_Datatype u,
       MPI_Op o, MPI_Win w),
      (a, n, t, to, d, m, u, o, w))
OTHER(Win_fence, (int assertion, MPI_Win w), (assertion, w))
OTHER(Win_allocate_shared,
      (MPI_Aint n, int unit, MPI_Info i, MPI_Comm c, void *base, MPI_Win *w),
      (n, unit, i, c, base, w))
OTHER(Win_free, (MPI_Win * w), (w))
OTHER(Comm_create, (MPI_Comm c, MPI_Group g, MPI_Comm *part), (c, g, part))
OTHER(Comm_split_type, (MPI_Comm c, int type, int key, MPI_Info i, MPI_Comm *part),
      (c, type, key, i, part))
OTHER(Comm_dup, (MPI_Comm c, MPI_Comm *copy), (c, copy))
OTHER(Comm_split, (MPI_Comm c, int color, int key, MPI_Comm *part), (c, color, key, part))
OTHER(Comm_free, (MPI_Comm * c), (c))
/* Writes to files are looked at too: Open MPI reports success when the disk is full. */
static void (*short_write)(int number);

void lm_traffic_on_short_write(void (*hook)(int number)) {
    short_write = hook;
}

static int check_write(int result, const MPI_Status *status, int n, MPI_Datatype type) {
    int number = errno, size = 0;
    MPI_Count bytes = 0;
    if (!short_write || status == MPI_STATUS_IGNORE)
        return result;
    PMPI_Type_size(type, &size);
    PMPI_Get_elements_x(status, MPI_BYTE, &bytes);
    if (result != MPI_SUCCESS || bytes < (MPI_Count)n * size)
        short_write(number);
    return result;
}

#define WRITE(NAME)                                                                            \
    int MPI_##NAME(MPI_File file, MPI_Offset offset, const void *data, int n,                  \
                   MPI_Datatype type, MPI_Status *status) {                                    \
        count_elsewhere();                                                                     \
        errno = 0;                                                                             \
        return check_write(PMPI_##NAME(file, offset, data, n, type, status), status, n, type); \
    }
WRITE(File_write_at)
WRITE(File_write_at_all)
OTHER(File_read_at, (MPI_File f, MPI_Offset o, void *b, int n, MPI_Datatype t, MPI_Status *s),
      (f, o, b, n, t, s))
OTHER(File_read_at_all,
      (MPI_File f, MPI_Offset o, void *b, int n, MPI_Datatype t, MPI_Status *s),
      (f, o, b, n, t, s))
OTHER(File_open, (MPI_Comm c, const char *name, int mode, MPI_Info i, MPI_File *f),
      (c, name, mode, i, f))
OTHER(File_close, (MPI_File * f), (f))
OTHER(File_set_size, (MPI_File f, MPI_Offset size), (f, size))
OTHER(File_set_view,
      (MPI_File f, MPI_Offset o, MPI_Datatype e, MPI_Datatype t, const char *data, MPI_Info i),
      (f, o, e, t, data, i))
OTHER(File_sync, (MPI_File f), (f))
