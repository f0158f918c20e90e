/* Crowd: who has a processor of its own, and that ranks keep to it. */
#include "crowd.h"

#include "comm.h"
#include "memory.h"
#include "runner.h"

#include <sched.h>
#include <stdlib.h>

enum { MOST_RANKS = 8 };

/* `exchange`: of each rank with the next. */
static void expect_choice_of_chain(int n, const double cost[], const double exchange[],
                                   int processors, const int expected[]) {
    int own[MOST_RANKS];
    double all[MOST_RANKS * MOST_RANKS] = {0};
    bool any = false;
    for (int r = 0; r + 1 < n; r++)
        all[r * n + r + 1] = all[(r + 1) * n + r] = exchange[r];
    bool chosen = lm_crowd_choose(n, cost, all, processors, own);
    for (int r = 0; r < n; r++) {
        ck_assert_int_eq(own[r], expected[r]);
        any = any || expected[r] >= 0;
    }
    ck_assert(chosen == any);
}

static void expect_choice(int n, const double cost[], int processors, const int expected[]) {
    const double nothing[MOST_RANKS] = {0};
    expect_choice_of_chain(n, cost, nothing, processors, expected);
}

START_TEST(who_has_more_than_a_share_is_alone) {
    expect_choice(5, (double[]){5, 60, 30, 4, 1}, 2, (int[]){-1, 0, -1, -1, -1});
    expect_choice(5, (double[]){5, 60, 30, 4, 1}, 4, (int[]){-1, 0, 1, -1, -1});
    expect_choice(4, (double[]){50, 20, 20, 10}, 2, (int[]){-1, -1, -1, -1}); /* just a share */
    expect_choice(3, (double[]){1, 1, 1}, 2, (int[]){-1, -1, -1});
    expect_choice(3, (double[]){0, 0, 0}, 2, (int[]){-1, -1, -1});
}
END_TEST

START_TEST(the_others_have_a_processor_left) {
    expect_choice(3, (double[]){8, 1, 1}, 1, (int[]){-1, -1, -1});
    expect_choice(4, (double[]){40, 40, 1, 1}, 3, (int[]){0, 1, -1, -1});
    expect_choice(4, (double[]){34, 34, 34, 0}, 3, (int[]){-1, -1, -1, -1});
    expect_choice(4, (double[]){30, 30, 30, 0.5}, 3, (int[]){-1, -1, -1, -1});
    expect_choice(5, (double[]){35, 35, 20, 1, 1}, 3, (int[]){0, 1, -1, -1, -1});
}
END_TEST

/* Layers of the network of Rosenbaum (2022), Fig. 1: what the second one exchanges with the
 * first costs more than that computes. */
START_TEST(who_exchanges_much_joins) {
    const double cost[] = {6.8, 221.4, 121.3, 6.2, 1.2};
    const double exchange[] = {67.6, 24.2, 2, 1.2}, little[] = {0.1, 24.2, 2, 1.2};
    expect_choice_of_chain(5, cost, exchange, 2, (int[]){0, 0, -1, -1, -1});
    expect_choice_of_chain(5, cost, little, 2, (int[]){-1, 0, -1, -1, -1});
    /* two have their own, and the first may join either */
    expect_choice_of_chain(4, (double[]){1, 50, 50, 1}, (double[]){9, 0, 0}, 3,
                           (int[]){0, 0, 1, -1});
    /* all exchange more than they compute */
    expect_choice_of_chain(3, (double[]){10, 60, 5}, (double[]){20, 20}, 2, (int[]){0, 0, 0});
    /* nobody is busier than others by more than the exchange */
    expect_choice_of_chain(3, (double[]){1, 1, 1}, (double[]){9, 9}, 2, (int[]){-1, -1, -1});
}
END_TEST

static cpu_set_t processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    ck_assert(sched_getaffinity(0, sizeof set, &set) == 0);
    return set;
}

/* In how many ranks' sets the only processor of the last rank is; 0 if it has more. */
static int holders(void) {
    int n = lm_comm_size(), sum = 0;
    cpu_set_t mine = processors();
    enum { MOST = 256 };
    double flags[MOST], *all = lm_allocate((size_t)n * MOST, sizeof *all);
    for (size_t p = 0; p < MOST; p++)
        flags[p] = CPU_ISSET(p, &mine) ? 1 : 0;
    lm_comm_gather(flags, MOST, all);
    double *last = all + (size_t)(n - 1) * MOST;
    size_t count = 0, its = 0;
    for (size_t p = 0; p < MOST; p++)
        if (last[p] > 0) {
            count++;
            its = p;
        }
    for (int r = 0; r < n; r++)
        sum += all[(size_t)r * MOST + its] > 0;
    lm_free(all);
    return count == 1 ? sum : 0;
}

/* The last rank has nearly all of the work. */
static double cost(void) {
    return lm_comm_rank() + 1 == lm_comm_size() ? 100 : 1;
}

START_TEST(ranks_keep_to_their_processors) {
    cpu_set_t before = processors();
    bool applies = lm_comm_size() > CPU_COUNT(&before) && CPU_COUNT(&before) > 1;
    setenv("LAMINA_BIND", "none", 1);
    lm_crowd_gather(1, cost(), NULL);
    ck_assert(CPU_COUNT(&before) == 1 || lm_crowd_processor() == -1);
    cpu_set_t free = processors();
    ck_assert(CPU_EQUAL(&free, &before));
    unsetenv("LAMINA_BIND");
    lm_crowd_gather(2, cost(), NULL); /* several threads have no place on one processor */
    free = processors();
    ck_assert(CPU_EQUAL(&free, &before));
    ck_assert_int_eq(lm_crowd_seat(), lm_comm_rank());
    lm_crowd_gather(1, cost(), NULL);
    ck_assert_int_eq(holders(), applies ? 1 : CPU_COUNT(&before) == 1 ? lm_comm_size() : 0);
    cpu_set_t kept = processors();
    int processor = lm_crowd_processor();
    ck_assert((processor >= 0) == (CPU_COUNT(&kept) == 1));
    ck_assert(processor < 0 || CPU_ISSET((size_t)processor, &kept));
    if (applies) /* its processor comes first, and then those of the others */
        ck_assert_int_eq(lm_crowd_seat(), (lm_comm_rank() + 1) % lm_comm_size());
    lm_crowd_gather(1, cost(), NULL); /* as before, though they are bound now */
    ck_assert_int_eq(holders(), applies ? 1 : CPU_COUNT(&before) == 1 ? lm_comm_size() : 0);
    sched_setaffinity(0, sizeof before, &before);
}
END_TEST

/* Messages in a ring of ranks that all sleep when they wait. */
START_TEST(who_sleeps_is_woken) {
    lm_crowd_gather(1 << 16, 1, NULL); /* more than any node has */
    int next = (lm_comm_rank() + 1) % lm_comm_size();
    unsigned heard = lm_crowd_listen();
    lm_comm_barrier();
    lm_crowd_wake(next);
    for (int n = 1; lm_crowd_listen() == heard; n++)
        lm_crowd_idle(n, heard);
    ck_assert_uint_eq(lm_crowd_listen(), heard + 1);
    lm_comm_barrier();
    lm_crowd_gather(0, 1, NULL);
    lm_crowd_wake(next); /* without a crowd nobody is woken */
    lm_comm_barrier();
    ck_assert_uint_eq(lm_crowd_listen(), heard + 1);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER("crowd", who_has_more_than_a_share_is_alone,
                                    the_others_have_a_processor_left, who_exchanges_much_joins,
                                    ranks_keep_to_their_processors, who_sleeps_is_woken);
    lm_comm_finish();
    return result;
}
