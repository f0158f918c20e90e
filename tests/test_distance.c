/* Distance: it is measured where there are two ranks, all know it, and it ends. */
#include "distance.h"

#include "comm.h"
#include "crowd.h"
#include "memory.h"
#include "runner.h"

#include <sched.h>

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

/* Three ranks on two processors would all be on one of them. */
START_TEST(who_share_a_processor_are_not_apart) {
    const double cost[] = {10, 60, 5}, exchange[][3] = {{0, 20, 0}, {20, 0, 20}, {0, 20, 0}};
    int rank = lm_comm_rank(), n = lm_comm_size();
    cpu_set_t before;
    ck_assert(sched_getaffinity(0, sizeof before, &before) == 0);
    if (n != 3)
        return;
    lm_crowd_gather(1, cost[rank], exchange[rank]);
    double kept = lm_crowd_processor(), all[3], seconds = lm_distance_measure(1);
    lm_comm_gather(&kept, 1, all);
    ck_assert((seconds == 0) == (all[0] >= 0 && all[0] == all[1] && all[1] == all[2]));
    ck_assert(CPU_COUNT(&before) != 2 || seconds == 0);
    sched_setaffinity(0, sizeof before, &before);
    lm_crowd_gather(0, 1, NULL);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result =
        RUN_TESTS_TOGETHER("distance", two_ranks_are_some_way_apart, so_are_two_threads,
                           all_ranks_of_a_node_are_told, who_share_a_processor_are_not_apart);
    lm_comm_finish();
    return result;
}
