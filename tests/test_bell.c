/* Bell: ranks in a ring ring for each other. */
#include "bell.h"

#include "comm.h"
#include "runner.h"

#include <time.h>

static int next_rank(void) {
    return (lm_comm_rank() + 1) % lm_comm_size();
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

START_TEST(rings_are_counted_where_they_are_meant) {
    unsigned before = lm_bell_rings();
    lm_comm_barrier();
    for (int i = 0; i < 5; i++)
        lm_bell_ring(next_rank());
    lm_comm_barrier();
    ck_assert_uint_eq(lm_bell_rings(), before + 5);
    lm_comm_barrier();
}
END_TEST

/* Each waits for the rank before it, around the ring many times. */
START_TEST(who_waits_is_woken) {
    enum { ROUNDS = 1000 };
    int rank = lm_comm_rank();
    unsigned first = lm_bell_rings();
    lm_comm_barrier();
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (rank == 0)
            lm_bell_ring(next_rank());
        while (lm_bell_rings() == first + round)
            lm_bell_wait(first + round);
        if (rank > 0)
            lm_bell_ring(next_rank());
    }
    lm_comm_barrier();
    ck_assert_uint_eq(lm_bell_rings(), first + ROUNDS);
    lm_comm_barrier();
}
END_TEST

/* Longer than a wait may take by a lot; without a limit it would never end. */
START_TEST(nobody_waits_for_ever) {
    double start = now();
    lm_bell_wait(lm_bell_rings());
    ck_assert(now() - start < 60);
}
END_TEST

START_TEST(a_ring_in_between_is_not_missed) {
    unsigned rings = lm_bell_rings();
    lm_bell_ring(lm_comm_rank());
    lm_bell_wait(rings);
    ck_assert_uint_eq(lm_bell_rings(), rings + 1);
}
END_TEST

START_TEST(ranks_of_this_node_are_here) {
    for (int r = 0; r < lm_comm_size(); r++)
        ck_assert(lm_bell_is_here(r)); /* tests run on one node */
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER(
        "bell", rings_are_counted_where_they_are_meant, who_waits_is_woken,
        nobody_waits_for_ever, a_ring_in_between_is_not_missed, ranks_of_this_node_are_here);
    lm_comm_finish();
    return result;
}
