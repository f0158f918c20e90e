/* Comm: what ranks know of each other, and that they agree. Run with several rank counts. */
#include "comm.h"

#include "runner.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

START_TEST(ranks_know_where_they_are) {
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_assert(lm_comm_rank() == rank && lm_comm_size() == size);
    ck_assert(lm_comm_node_ranks() == size); /* tests run on one node */
    ck_assert(lm_comm_node_rank() == rank);
    ck_assert(lm_comm_is_threaded());
}
END_TEST

/* The communicator for files has the same ranks and is not the world itself. */
START_TEST(files_have_a_communicator_of_their_own) {
    int result;
    MPI_Comm_compare(*(const MPI_Comm *)lm_comm_files(), MPI_COMM_WORLD, &result);
    ck_assert(result == MPI_CONGRUENT);
}
END_TEST

START_TEST(all_good_leaves_the_status_alone) {
    struct lm_status status = {LM_OK, "untouched"};
    for (int i = 0; i < 3; i++)
        ck_assert(lm_comm_agree(true, &status));
    ck_assert(status.code == LM_OK);
    ck_assert_str_eq(status.message, "untouched");
}
END_TEST

/* Ranks fail when their bit in `failing` is set; all get the status of the lowest of them. */
static void expect_agreement(unsigned failing) {
    bool good = !(failing >> lm_comm_rank() & 1);
    int first = __builtin_ctz(failing);
    struct lm_status status = {LM_OK, "fine"};
    char expected[100];
    if (!good)
        lm_fail(&status, LM_CONFIG + lm_comm_rank(), "trouble of %d", lm_comm_rank());
    ck_assert(!lm_comm_agree(good, &status));
    if (__builtin_popcount(failing) < lm_comm_size())
        snprintf(expected, sizeof expected, "rank %d: trouble of %d", first, first);
    else
        snprintf(expected, sizeof expected, "trouble of 0");
    ck_assert_str_eq(status.message, expected);
    ck_assert((int)status.code == LM_CONFIG + first);
}

START_TEST(one_failure_is_told_to_all) {
    for (unsigned failing = 1; failing < 1u << lm_comm_size(); failing++)
        expect_agreement(failing);
}
END_TEST

START_TEST(every_rank_may_broadcast) {
    for (int root = 0; root < lm_comm_size(); root++) {
        unsigned char data[1000];
        memset(data, lm_comm_rank() + 1, sizeof data);
        data[999] = 77; /* not sent */
        lm_comm_broadcast(data, 999, root);
        for (int i = 0; i < 999; i++)
            ck_assert(data[i] == root + 1);
        ck_assert(data[999] == 77);
    }
}
END_TEST

START_TEST(gather_keeps_the_order_of_ranks) {
    double mine[2] = {lm_comm_rank(), -0.5 * lm_comm_rank()}, all[2 * 8];
    ck_assert(lm_comm_size() <= 8);
    lm_comm_gather(mine, 2, all);
    for (int r = 0; r < lm_comm_size(); r++)
        ck_assert(all[2 * r] == r && all[2 * r + 1] == -0.5 * r);
}
END_TEST

START_TEST(bits_of_all_ranks_are_united) {
    unsigned char bits[4] = {0, 0x80, 0, 0};
    bits[2] = (unsigned char)(1 << lm_comm_rank());
    lm_comm_node_unite(bits, 3);
    ck_assert(bits[0] == 0 && bits[1] == 0x80 && bits[3] == 0);
    ck_assert(bits[2] == (1 << lm_comm_size()) - 1);
}
END_TEST

/* What every rank wrote into shared memory before the barrier stands there after it. */
static void expect_to_wait(void (*wait)(void), long rounds) {
    MPI_Win window;
    MPI_Aint bytes = lm_comm_rank() == 0 ? lm_comm_size() * (MPI_Aint)sizeof(long) : 0;
    int unit;
    void *mine;
    volatile long *slots;
    MPI_Win_allocate_shared(bytes, sizeof(long), MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &window);
    MPI_Win_shared_query(window, 0, &bytes, &unit, &slots);
    MPI_Win_lock_all(0, window);
    for (long round = 1; round <= rounds; round++) {
        slots[lm_comm_rank()] = round;
        MPI_Win_sync(window);
        wait();
        MPI_Win_sync(window);
        for (int r = 0; r < lm_comm_size(); r++)
            ck_assert(slots[r] == round);
        wait();
    }
    MPI_Win_unlock_all(window);
    MPI_Win_free(&window);
}

START_TEST(barrier_waits_for_all) {
    expect_to_wait(lm_comm_barrier, 200);
}
END_TEST

START_TEST(rest_waits_for_all) {
    expect_to_wait(lm_comm_rest, 10);
}
END_TEST

/* The processor time of this process, in seconds. */
static double busy(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* While rank 0 does something else, the others leave the processors alone. */
START_TEST(rest_takes_no_processor) {
    lm_comm_rest();
    double before = busy();
    if (lm_comm_rank() == 0)
        usleep(500000);
    lm_comm_rest();
    ck_assert(busy() - before <= 0.25);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER(
        "comm", ranks_know_where_they_are, files_have_a_communicator_of_their_own,
        all_good_leaves_the_status_alone, one_failure_is_told_to_all, every_rank_may_broadcast,
        gather_keeps_the_order_of_ranks, bits_of_all_ranks_are_united, barrier_waits_for_all,
        rest_waits_for_all, rest_takes_no_processor);
    lm_comm_finish();
    return result;
}
