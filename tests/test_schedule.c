/* Schedule: threads do every step of every chunk once, evenly, and never wait for each other in
 * a circle. */
#include "schedule.h"

#include "runner.h"

#include <math.h>
#include <stdbool.h>

enum { CHUNKS = 12, THREADS = 7, STEPS = 20 };

struct turn {
    int chunk;
    struct lm_turn steps;
};

struct plan {
    int n[THREADS];
    struct turn turns[THREADS][CHUNKS];
};

/* Chunks of 32 inputs, the last of 16; NULL: all steps cost the same. */
static void make(struct plan *plan, int threads, int chunks, long steps, const double cost[]) {
    double same[STEPS];
    for (int s = 0; s < STEPS; s++)
        same[s] = 1;
    const struct lm_schedule schedule = {threads, chunks, 32, 16, steps, cost ? cost : same};
    for (int t = 0; t < threads; t++) {
        plan->n[t] = 0;
        for (int c = 0; c < chunks; c++) {
            struct turn *turn = &plan->turns[t][plan->n[t]];
            turn->chunk = c;
            if (lm_schedule_turn(&schedule, t, c, &turn->steps))
                plan->n[t]++;
        }
    }
}

/* Let threads go on one after the other as far as they can; whether all is done, each step when
 * those before it are. */
static bool can_run(const struct plan *plan, int threads, int chunks, long steps) {
    long reached[CHUNKS] = {0};
    int next[THREADS] = {0};
    for (bool moved = true; moved;) {
        moved = false;
        for (int t = 0; t < threads; t++) {
            const struct turn *turn = &plan->turns[t][next[t]];
            if (next[t] == plan->n[t] || reached[turn->chunk] != turn->steps.first)
                continue;
            ck_assert_int_lt(turn->steps.first, turn->steps.end);
            reached[turn->chunk] = turn->steps.end;
            next[t]++;
            moved = true;
        }
    }
    for (int c = 0; c < chunks; c++)
        if (reached[c] != steps)
            return false;
    for (int t = 0; t < threads; t++)
        if (next[t] != plan->n[t])
            return false;
    return true;
}

/* From no work at all to more threads than chunks; steps that cost the same, different steps,
 * some that cost nothing, and all of them. */
START_TEST(every_step_is_done_once_in_order) {
    static const double costs[][STEPS] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        {7, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.1, 30},
        {0, 3, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0},
        {0}};
    struct plan plan;
    for (int k = 0; k < 4; k++)
        for (int threads = 1; threads <= THREADS; threads++)
            for (int chunks = 0; chunks <= CHUNKS; chunks++)
                for (long steps = 0; steps <= STEPS; steps++) {
                    make(&plan, threads, chunks, steps, costs[k]);
                    ck_assert(can_run(&plan, threads, chunks, steps));
                }
}
END_TEST

/* What thread t has to do. */
static double work_of(const struct plan *plan, int t, const double cost[]) {
    double work = 0;
    for (int i = 0; i < plan->n[t]; i++) {
        const struct turn *turn = &plan->turns[t][i];
        for (long s = turn->steps.first; s < turn->steps.end; s++)
            work += (turn->chunk < 9 ? 32 : 16) * (cost ? cost[s] : 1);
    }
    return work;
}

/* 300 inputs in chunks of 32 on two threads: 9.5 chunks, 4.75 for each. */
START_TEST(threads_get_the_same) {
    struct plan plan;
    make(&plan, 2, 10, STEPS, NULL);
    for (int t = 0; t < 2; t++)
        ck_assert(work_of(&plan, t, NULL) == 152 * STEPS);
}
END_TEST

/* A feedforward pass, a sweep and learning: no more than half a step apart from even. */
START_TEST(costly_steps_count_for_more) {
    const double cost[] = {5, 1, 7};
    struct plan plan;
    make(&plan, 2, 10, 3, cost);
    ck_assert(can_run(&plan, 2, 10, 3));
    for (int t = 0; t < 2; t++)
        ck_assert(fabs(work_of(&plan, t, cost) - 152 * 13) <= 32 * 7 / 2.0);
    make(&plan, 2, 1, 3, cost); /* 5 + 1 by one, 7 by the other */
    ck_assert_int_eq(plan.turns[0][0].steps.first, 2);
    ck_assert_int_eq(plan.turns[1][0].steps.end, 2);
}
END_TEST

/* The first steps of a chunk that is cut come first of all, the last ones last. */
START_TEST(a_chunk_is_passed_on_in_time) {
    struct plan plan;
    make(&plan, 2, 10, STEPS, NULL);
    const struct turn *head = &plan.turns[1][0], *tail = &plan.turns[0][plan.n[0] - 1];
    ck_assert_int_eq(head->chunk, tail->chunk);
    ck_assert_int_eq(head->steps.first, 0);
    ck_assert_int_eq(head->steps.end, tail->steps.first);
    ck_assert_int_eq(tail->steps.end, STEPS);
}
END_TEST

/* One step cannot be cut: whole chunks, none twice. */
START_TEST(single_steps_stay_whole) {
    struct plan plan;
    make(&plan, 2, 3, 1, NULL);
    ck_assert_int_eq(plan.n[0] + plan.n[1], 3);
}
END_TEST

int main(void) {
    return RUN_TESTS("schedule", every_step_is_done_once_in_order, threads_get_the_same,
                     costly_steps_count_for_more, a_chunk_is_passed_on_in_time,
                     single_steps_stay_whole);
}
