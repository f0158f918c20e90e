#include "crowd.h"

#include "bell.h"
#include "comm.h"
#include "memory.h"
#include "mpi_check.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool crowded;
static int seat = -1; /* not known: that of a rank among those of the node */

/* --- waiting ------------------------------------------------------------------------------ */

unsigned lm_crowd_listen(void) {
    return lm_bell_rings();
}

void lm_crowd_idle(int n, unsigned heard) {
    enum { TESTS = 100 };
    if (crowded && n > TESTS)
        lm_bell_wait(heard);
    else
        sched_yield();
}

void lm_crowd_wake(int rank) {
    if (crowded)
        lm_bell_ring(rank);
}

void lm_mpi_wait(MPI_Request *request, MPI_Status *status) {
    int done = 0;
    for (int n = 1; crowded && !done; n++) {
        unsigned heard = lm_crowd_listen();
        LM_MPI(MPI_Test(request, &done, status));
        if (!done)
            lm_crowd_idle(n, heard);
    }
    if (!done)
        LM_MPI(MPI_Wait(request, status));
}

/* --- processors --------------------------------------------------------------------------- */

/* Ranks and processors: those below `taken` are somebody's own. */
struct choice {
    int n, processors, taken;
    const double *cost, *exchange;
    int *own; /* (n) */
};

/* What the busiest processor has to do. */
static double busiest(const struct choice *choice) {
    double most = 0;
    for (int p = -1; p < choice->taken; p++) {
        double sum = 0;
        for (int r = 0; r < choice->n; r++)
            for (int s = 0; choice->own[r] == p && s < choice->n; s++)
                sum += s == r                ? choice->cost[r]
                       : choice->own[s] != p ? choice->exchange[r * choice->n + s]
                                             : 0;
        sum /= p < 0 ? choice->processors - choice->taken : 1;
        most = sum > most ? sum : most;
    }
    return most;
}

/* Let the rank join another on its processor that relieves the busiest one most; false if none
 * does. */
static bool join(struct choice *choice) {
    double least = busiest(choice);
    int rank = -1, processor = -1;
    for (int r = 0; r < choice->n; r++)
        for (int p = 0; choice->own[r] < 0 && p < choice->taken; p++) {
            choice->own[r] = p;
            double time = busiest(choice);
            choice->own[r] = -1;
            if (time < least) {
                least = time;
                rank = r;
                processor = p;
            }
        }
    if (rank >= 0)
        choice->own[rank] = processor;
    return rank >= 0;
}

bool lm_crowd_choose(int n, const double cost[], const double exchange[], int processors,
                     int own[]) {
    struct choice choice = {n, processors, 0, cost, exchange, own};
    double sum = 0;
    for (int r = 0; r < n; r++)
        sum += cost[r];
    for (int r = 0; r < n; r++) {
        bool much = cost[r] * processors > sum;
        own[r] = much && choice.taken + 1 < processors ? choice.taken++ : -1;
    }
    while (join(&choice))
        continue;
    return choice.taken > 0;
}

/* Processor number `index` of a set. */
static size_t find_processor(const cpu_set_t *set, int index) {
    size_t p = 0;
    while (!CPU_ISSET(p, set) || index-- > 0)
        p++;
    return p;
}

/* Keep to our own processor, or to those that nobody has alone; counted from number `start`. */
static void bind(const cpu_set_t *all, int n, const int own[], int rank, int start) {
    cpu_set_t rest = *all, alone;
    for (int r = 0; r < n; r++)
        if (own[r] >= 0)
            CPU_CLR(find_processor(all, (start + own[r]) % CPU_COUNT(all)), &rest);
    CPU_ZERO(&alone);
    if (own[rank] >= 0)
        CPU_SET(find_processor(all, (start + own[rank]) % CPU_COUNT(all)), &alone);
    sched_setaffinity(0, sizeof rest, own[rank] >= 0 ? &alone : &rest);
}

/* Other jobs on this node may choose too: they shall not all begin at the same processor. */
static int first_processor(const cpu_set_t *all) {
    int id = (int)getpid();
    LM_MPI(MPI_Bcast(&id, 1, MPI_INT, 0, lm_comm_node()));
    return id % CPU_COUNT(all);
}

static bool may_bind(void) {
    const char *wish = getenv("LAMINA_BIND");
    if (wish && strcmp(wish, "none") != 0 && strcmp(wish, "share") != 0)
        lm_abort(LM_USAGE, "LAMINA_BIND=%s: share or none is expected", wish);
    return !wish || strcmp(wish, "share") == 0;
}

/* On all ranks of the node. */
static bool everywhere(bool here) {
    int mine = here, all;
    LM_MPI(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_LAND, lm_comm_node()));
    return all;
}

/* Whether all ranks of the node may use the same processors, or have them from us. */
static bool is_free(const cpu_set_t *mine, const cpu_set_t *all) {
    static bool bound;
    bound = everywhere(bound || CPU_EQUAL(mine, all));
    return bound;
}

/* (n, n) of the node's ranks, from what each exchanges with those of the job. */
static double *gather_exchange(int n, const double exchange[]) {
    int *rank = lm_allocate((size_t)n, sizeof *rank), mine = lm_comm_rank();
    double *row = lm_allocate((size_t)n, sizeof *row);
    double *all = lm_allocate(lm_product((size_t)n, (size_t)n), sizeof *all);
    LM_MPI(MPI_Allgather(&mine, 1, MPI_INT, rank, 1, MPI_INT, lm_comm_node()));
    for (int r = 0; r < n; r++)
        row[r] = exchange ? exchange[rank[r]] : 0;
    LM_MPI(MPI_Allgather(row, n, MPI_DOUBLE, all, n, MPI_DOUBLE, lm_comm_node()));
    lm_free(rank);
    lm_free(row);
    return all;
}

/* The first rank on each processor that is somebody's own, then the first of the others. */
static int find_seat(int n, const int own[], int rank) {
    int taken = 0, before = 0;
    for (int r = 0; r < n; r++)
        taken = own[r] >= taken ? own[r] + 1 : taken;
    for (int r = 0; r < rank; r++)
        before += own[r] == own[rank];
    if (own[rank] >= 0)
        return before == 0 ? own[rank] : n;
    return taken + before;
}

static void share_processors(const cpu_set_t *mine, const cpu_set_t *all, double cost,
                             const double exchange[]) {
    int n = lm_comm_node_ranks(), rank = lm_comm_node_rank();
    double *costs = lm_allocate((size_t)n, sizeof *costs);
    double *exchanges = gather_exchange(n, exchange);
    int *own = lm_allocate((size_t)n, sizeof *own);
    LM_MPI(MPI_Allgather(&cost, 1, MPI_DOUBLE, costs, 1, MPI_DOUBLE, lm_comm_node()));
    if (is_free(mine, all) && lm_crowd_choose(n, costs, exchanges, CPU_COUNT(all), own)) {
        bind(all, n, own, rank, first_processor(all));
        seat = find_seat(n, own, rank);
    }
    lm_free(costs);
    lm_free(exchanges);
    lm_free(own);
}

int lm_crowd_processor(void) {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine);
    return CPU_COUNT(&mine) == 1 ? (int)find_processor(&mine, 0) : -1;
}

int lm_crowd_seat(void) {
    return seat < 0 ? lm_comm_node_rank() : seat;
}

void lm_crowd_gather(int threads, double cost, const double exchange[]) {
    cpu_set_t mine, all;
    int sum;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine);
    all = mine;
    lm_comm_node_unite(&all, sizeof all);
    LM_MPI(MPI_Allreduce(&threads, &sum, 1, MPI_INT, MPI_SUM, lm_comm_node()));
    seat = -1;
    crowded = CPU_COUNT(&all) > 0 && sum > CPU_COUNT(&all); /* 0: not known */
    if (everywhere(may_bind() && threads == 1) && crowded)
        share_processors(&mine, &all, cost, exchange);
}
