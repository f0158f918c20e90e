#include "distance.h"

#include "comm.h"
#include "crowd.h"
#include "mpi_check.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>

enum { TRIES = 5, TURNS = 500, PATIENCE = 1000, LINE = 64 };

/* Wait until the word says so; the other player may need this processor for it. */
static void wait_for(atomic_int *word, int turn) {
    for (int n = 1; atomic_load(word) != turn; n++)
        if (n % PATIENCE == 0)
            sched_yield();
}

/* Turns from number `turn` on: the first player sets odd numbers, the second even ones. */
static void play(atomic_int *word, bool first, int turn) {
    for (int end = turn + 2 * TURNS; turn < end; turn += 2) {
        if (first)
            atomic_store(word, turn + 1);
        wait_for(word, first ? turn + 2 : turn + 1);
        if (!first)
            atomic_store(word, turn + 2);
    }
}

/* Seconds of a turn, at best. */
static double time_play(atomic_int *word, bool first) {
    double best = 0;
    for (int try = 0; try < TRIES; try++) {
        double start = MPI_Wtime();
        play(word, first, try * 2 * TURNS);
        double seconds = (MPI_Wtime() - start) / TURNS;
        if (try == 0 || seconds < best)
            best = seconds;
    }
    return best;
}

/* All threads are there: libgomp would end those that are not. */
static double between_threads(int threads) {
    _Alignas(LINE) atomic_int word = 0;
    double seconds = 0;
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        double taken =
            thread < 2 && omp_get_num_threads() > 1 ? time_play(&word, thread == 0) : 0;
        if (thread == 0)
            seconds = taken;
    }
    return seconds;
}

/* Whether there is a rank for each of the first two seats: those on one processor share a seat.
 */
static bool are_two_seated(int seat) {
    int seated = seat < 2, all;
    LM_MPI(MPI_Allreduce(&seated, &all, 1, MPI_INT, MPI_SUM, lm_comm_node()));
    return all == 2;
}

static double between_ranks(void) {
    int rank = lm_comm_node_rank(), seat = lm_crowd_seat(), unit;
    MPI_Comm node = lm_comm_node();
    if (!are_two_seated(seat))
        return 0;
    MPI_Aint bytes = rank == 0 ? LINE : 0;
    MPI_Win window;
    void *mine;
    atomic_int *word;
    LM_MPI(MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, node, &mine, &window));
    LM_MPI(MPI_Win_shared_query(window, 0, &bytes, &unit, &word));
    if (rank == 0)
        atomic_init(word, 0);
    LM_MPI(MPI_Barrier(node));
    double seconds = seat < 2 ? time_play(word, seat == 0) : 0;
    LM_MPI(MPI_Win_free(&window));
    return seconds;
}

double lm_distance_measure(int threads) {
    double seconds = 0;
    int most;
    LM_MPI(MPI_Allreduce(&threads, &most, 1, MPI_INT, MPI_MAX, lm_comm_node()));
    if (most == 1 && lm_comm_node_ranks() > 1)
        seconds = between_ranks();
    else if (threads > 1 && lm_comm_node_rank() == 0)
        seconds = between_threads(threads);
    double longest;
    LM_MPI(MPI_Allreduce(&seconds, &longest, 1, MPI_DOUBLE, MPI_MAX, lm_comm_node()));
    return longest;
}
