#include "replicas.h"

#include "crowd.h"
#include "memory.h"
#include "mpi_check.h"

#include <limits.h>
#include <string.h>

/* One sum under way. */
struct sum {
    int chunks;
    size_t n;
    real *result;
    int n_nodes; /* of this replica */
    struct lm_span nodes[LM_MAX_NODES];
    real *values[LM_MAX_NODES]; /* of nodes: result, then arrays in `others` */
    size_t others_size, received_size;
    real *others;   /* sums of our nodes but the first */
    real *received; /* sums of our slice from the other replicas */
    int n_requests;
    MPI_Request *requests; /* (2 * replicas * LM_MAX_NODES) */
};

struct lm_replicas {
    int n, index;         /* replicas, this one */
    int n_ranks, rank;    /* of one replica, and this rank among them */
    struct lm_span *node; /* (n, LM_MAX_NODES) of all replicas, in order */
    real **value;         /* likewise */
    int n_sums;
    struct sum *sums;
};

/* --- making ---------------------------------------------------------------------------- */

struct lm_replicas *lm_replicas_create(const struct lm_placement *placement, int rank,
                                       int n_sums) {
    struct lm_replicas *replicas = lm_allocate(1, sizeof *replicas);
    size_t n = (size_t)placement->n_replicas, nodes = n * LM_MAX_NODES;
    replicas->n = placement->n_replicas;
    replicas->index = rank / placement->n_ranks;
    replicas->n_ranks = placement->n_ranks;
    replicas->rank = rank % placement->n_ranks;
    replicas->node = lm_allocate(nodes, sizeof *replicas->node);
    replicas->value = lm_allocate(nodes, sizeof *replicas->value);
    replicas->n_sums = n_sums;
    replicas->sums = lm_allocate((size_t)n_sums, sizeof *replicas->sums);
    for (int i = 0; i < n_sums; i++)
        replicas->sums[i].requests = lm_allocate(2 * nodes, sizeof(MPI_Request));
    return replicas;
}

void lm_replicas_destroy(struct lm_replicas *replicas) {
    if (!replicas)
        return;
    for (int i = 0; i < replicas->n_sums; i++) {
        lm_free(replicas->sums[i].others);
        lm_free(replicas->sums[i].received);
        lm_free(replicas->sums[i].requests);
    }
    lm_free(replicas->sums);
    lm_free(replicas->node);
    lm_free(replicas->value);
    lm_free(replicas);
}

int lm_replicas_index(const struct lm_replicas *replicas) {
    return replicas->index;
}

struct lm_span lm_replicas_share(const struct lm_replicas *replicas, int chunks) {
    return lm_span_share(chunks, replicas->n, replicas->index);
}

/* The rank in the job that holds our layers in replica r. */
static int peer(const struct lm_replicas *replicas, int r) {
    return r * replicas->n_ranks + replicas->rank;
}

/* --- sums ---------------------------------------------------------------------------------
 */

/* Slice r of n reals: whole cache lines. */
static size_t slice_begin(const struct lm_replicas *replicas, size_t n, int r) {
    const size_t line = 16;
    size_t length = (n / (size_t)replicas->n + line) / line * line;
    return length * (size_t)r < n ? length * (size_t)r : n;
}

static int slice_length(const struct lm_replicas *replicas, size_t n, int r) {
    size_t length = slice_begin(replicas, n, r + 1) - slice_begin(replicas, n, r);
    if (length > INT_MAX)
        lm_abort(LM_SYSTEM, "a message of %zu parameters is too long: take more replicas",
                 length);
    return (int)length;
}

static void grow(real **array, size_t *size, size_t needed) {
    if (needed <= *size)
        return;
    lm_free(*array);
    *array = lm_allocate(needed, sizeof(real));
    *size = needed;
}

int lm_replicas_nodes(struct lm_replicas *replicas, int i, int chunks, size_t n, real *result,
                      struct lm_span nodes[LM_MAX_NODES], real *values[LM_MAX_NODES]) {
    struct sum *sum = &replicas->sums[i];
    sum->chunks = chunks;
    sum->n = n;
    sum->result = result;
    sum->n_nodes = lm_span_nodes(chunks, lm_replicas_share(replicas, chunks), sum->nodes);
    if (sum->n_nodes > 1)
        grow(&sum->others, &sum->others_size, lm_product((size_t)sum->n_nodes - 1, n));
    for (int k = 0; k < sum->n_nodes; k++)
        sum->values[k] = k == 0 ? result : sum->others + (size_t)(k - 1) * n;
    memcpy(nodes, sum->nodes, sizeof sum->nodes);
    memcpy(values, sum->values, sizeof sum->values);
    return sum->n_nodes;
}

static void send(struct lm_replicas *replicas, int i, int to, int tag, const real *data,
                 int n) {
    struct sum *sum = &replicas->sums[i];
    if (n == 0)
        return;
    LM_MPI(MPI_Isend(data, n, LM_MPI_REAL, peer(replicas, to), 2 * i + tag, lm_comm_replicas(),
                     &sum->requests[sum->n_requests++]));
    lm_crowd_wake(peer(replicas, to));
}

static void receive(struct lm_replicas *replicas, int i, int from, int tag, real *data, int n) {
    struct sum *sum = &replicas->sums[i];
    if (n > 0)
        LM_MPI(MPI_Irecv(data, n, LM_MPI_REAL, peer(replicas, from), 2 * i + tag,
                         lm_comm_replicas(), &sum->requests[sum->n_requests++]));
}

static void wait_all(struct sum *sum) {
    for (int i = 0; i < sum->n_requests; i++)
        lm_mpi_wait(&sum->requests[i], MPI_STATUS_IGNORE);
    sum->n_requests = 0;
}

/* Our slice of all nodes of the batch, in order: where each is, or will be received. */
static int list_nodes(struct lm_replicas *replicas, int i) {
    struct sum *sum = &replicas->sums[i];
    size_t begin = slice_begin(replicas, sum->n, replicas->index);
    size_t length = (size_t)slice_length(replicas, sum->n, replicas->index);
    int n = 0;
    for (int r = 0; r < replicas->n; r++)
        n += lm_span_nodes(sum->chunks, lm_span_share(sum->chunks, replicas->n, r),
                           replicas->node + n);
    grow(&sum->received, &sum->received_size, lm_product((size_t)n, length));
    struct lm_span mine = lm_replicas_share(replicas, sum->chunks);
    for (int k = 0, own = 0; k < n; k++) {
        bool is_own = mine.first <= replicas->node[k].first &&
                      replicas->node[k].end <= mine.end && own < sum->n_nodes;
        replicas->value[k] =
            is_own ? sum->values[own++] + begin : sum->received + (size_t)k * length;
    }
    return n;
}

void lm_replicas_sum_begin(struct lm_replicas *replicas, int i) {
    struct sum *sum = &replicas->sums[i];
    if (replicas->n == 1)
        return;
    int length = slice_length(replicas, sum->n, replicas->index);
    list_nodes(replicas, i);
    for (int r = 0, k = 0; r < replicas->n; r++) {
        struct lm_span share = lm_span_share(sum->chunks, replicas->n, r), nodes[LM_MAX_NODES];
        int end = k + lm_span_nodes(sum->chunks, share, nodes);
        for (; k < end; k++)
            if (r != replicas->index)
                receive(replicas, i, r, 0, replicas->value[k], length);
    }
    for (int r = 0; r < replicas->n; r++)
        for (int k = 0; r != replicas->index && k < sum->n_nodes; k++)
            send(replicas, i, r, 0, sum->values[k] + slice_begin(replicas, sum->n, r),
                 slice_length(replicas, sum->n, r));
}

/* result[slice] = the sum of all nodes. */
static void reduce(struct lm_replicas *replicas, int i) {
    enum { STEP = 4096 };
    struct sum *sum = &replicas->sums[i];
    const struct lm_span whole = {0, sum->chunks};
    size_t n = (size_t)slice_length(replicas, sum->n, replicas->index);
    real *result = sum->result + slice_begin(replicas, sum->n, replicas->index);
    list_nodes(replicas, i);
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < n; first += STEP) {
        size_t count = n - first < STEP ? n - first : STEP;
        real *from = lm_span_sum(whole, replicas->node, replicas->value, first, count);
        if (from != result)
            memcpy(result + first, from + first, count * sizeof *result);
    }
}

void lm_replicas_sum_reduce(struct lm_replicas *replicas, int i) {
    struct sum *sum = &replicas->sums[i];
    if (replicas->n == 1)
        return;
    wait_all(sum);
    reduce(replicas, i);
    for (int r = 0; r < replicas->n; r++)
        if (r != replicas->index) {
            receive(replicas, i, r, 1, sum->result + slice_begin(replicas, sum->n, r),
                    slice_length(replicas, sum->n, r));
            send(replicas, i, r, 1,
                 sum->result + slice_begin(replicas, sum->n, replicas->index),
                 slice_length(replicas, sum->n, replicas->index));
        }
}

void lm_replicas_sum_end(struct lm_replicas *replicas, int i) {
    wait_all(&replicas->sums[i]);
}

int64_t lm_replicas_messages(const struct lm_replicas *replicas, int to, int chunks, size_t n) {
    if (to % replicas->n_ranks != replicas->rank || to == peer(replicas, replicas->index))
        return 0;
    struct lm_span nodes[LM_MAX_NODES];
    int parts = lm_span_nodes(chunks, lm_replicas_share(replicas, chunks), nodes);
    return (slice_length(replicas, n, to / replicas->n_ranks) > 0 ? parts : 0) +
           (slice_length(replicas, n, replicas->index) > 0);
}

/* --- records ------------------------------------------------------------------------------
 */

void lm_replicas_gather(const struct lm_replicas *replicas, void *values, size_t size, size_t n,
                        size_t each) {
    int chunks = (int)((n + each - 1) / each), tag = 2 * replicas->n_sums;
    int first = replicas->index == 0 ? 1 : replicas->index;
    int last = replicas->index == 0 ? replicas->n - 1 : replicas->index;
    for (int r = first; r <= last; r++) {
        struct lm_span share = lm_span_share(chunks, replicas->n, r);
        size_t begin = (size_t)share.first * each, end = (size_t)share.end * each;
        end = end < n ? end : n;
        if (begin >= end)
            continue;
        LM_ASSERT((end - begin) * size <= INT_MAX);
        char *part = (char *)values + begin * size;
        int bytes = (int)((end - begin) * size);
        if (replicas->index == 0)
            LM_MPI(MPI_Recv(part, bytes, MPI_BYTE, peer(replicas, r), tag, lm_comm_replicas(),
                            MPI_STATUS_IGNORE));
        else
            LM_MPI(MPI_Send(part, bytes, MPI_BYTE, peer(replicas, 0), tag, lm_comm_replicas()));
    }
}
