/* Distance: it is measured where there are two ranks, all know it, and it ends. */
#include "distance.h"

#include "comm.h"
#include "memory.h"
#include "runner.h"

START_TEST(two_ranks_are_some_way_apart) {
    for (int i = 0; i < 3; i++) {
        double seconds = lm_distance_measure(1);
        if (lm_comm_size() == 1)
            ck_assert(seconds == 0);
        else
            ck_assert(seconds > 1e-9 && seconds < 1);
    }
}
END_TEST

START_TEST(so_are_two_threads) {
    double seconds = lm_distance_measure(2);
    ck_assert(seconds > 1e-9 && seconds < 1);
}
END_TEST

START_TEST(all_ranks_of_a_node_are_told) {
    double seconds = lm_distance_measure(1);
    double *all = lm_allocate((size_t)lm_comm_size(), sizeof *all);
    lm_comm_gather(&seconds, 1, all);
    for (int r = 0; r < lm_comm_size(); r++)
        ck_assert(all[r] == seconds); /* tests run on one node */
    lm_free(all);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER("distance", two_ranks_are_some_way_apart,
                                    so_are_two_threads, all_ranks_of_a_node_are_told);
    lm_comm_finish();
    return result;
}
