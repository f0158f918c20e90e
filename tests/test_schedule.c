/* Schedule: threads do every step of every chunk once, evenly, and never wait for each other in
 * a circle. */
#include "schedule.h"

#include "runner.h"

#include <stdbool.h>

enum { CHUNKS = 12, THREADS = 7, FIRST = 3, STEPS = 20 };

struct turn {
    int chunk;
    struct lm_turn steps;
};

struct plan {
    int n[THREADS];
    struct turn turns[THREADS][CHUNKS];
};

/* Chunks of 32 inputs, the last of 16. */
static void make(struct plan *plan, int threads, int chunks, long end) {
    const struct lm_schedule schedule = {threads, chunks, 32, 16, FIRST, end};
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
static bool can_run(const struct plan *plan, int threads, int chunks, long end) {
    long reached[CHUNKS];
    int next[THREADS] = {0};
    for (int c = 0; c < CHUNKS; c++)
        reached[c] = FIRST;
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
        if (reached[c] != end)
            return false;
    for (int t = 0; t < threads; t++)
        if (next[t] != plan->n[t])
            return false;
    return true;
}

/* From no work at all to more threads than chunks. */
START_TEST(every_step_is_done_once_in_order) {
    struct plan plan;
    for (int threads = 1; threads <= THREADS; threads++)
        for (int chunks = 0; chunks <= CHUNKS; chunks++)
            for (long end = FIRST; end <= FIRST + STEPS; end++) {
                make(&plan, threads, chunks, end);
                ck_assert(can_run(&plan, threads, chunks, end));
            }
}
END_TEST

/* 300 inputs in chunks of 32 on two threads: 9.5 chunks, 4.75 for each. */
START_TEST(threads_get_the_same) {
    struct plan plan;
    make(&plan, 2, 10, FIRST + STEPS);
    for (int t = 0; t < 2; t++) {
        long work = 0;
        for (int i = 0; i < plan.n[t]; i++) {
            const struct turn *turn = &plan.turns[t][i];
            work += (turn->chunk < 9 ? 32 : 16) * (turn->steps.end - turn->steps.first);
        }
        ck_assert_int_eq(work, 152 * STEPS);
    }
}
END_TEST

/* The first steps of a chunk that is cut come first of all, the last ones last. */
START_TEST(a_chunk_is_passed_on_in_time) {
    struct plan plan;
    make(&plan, 2, 10, FIRST + STEPS);
    const struct turn *head = &plan.turns[1][0], *tail = &plan.turns[0][plan.n[0] - 1];
    ck_assert_int_eq(head->chunk, tail->chunk);
    ck_assert_int_eq(head->steps.first, FIRST);
    ck_assert_int_eq(head->steps.end, tail->steps.first);
    ck_assert_int_eq(tail->steps.end, FIRST + STEPS);
}
END_TEST

/* One step cannot be cut: whole chunks, none twice. */
START_TEST(single_steps_stay_whole) {
    struct plan plan;
    make(&plan, 2, 3, FIRST + 1);
    ck_assert_int_eq(plan.n[0] + plan.n[1], 3);
}
END_TEST

int main(void) {
    return RUN_TESTS("schedule", every_step_is_done_once_in_order, threads_get_the_same,
                     a_chunk_is_passed_on_in_time, single_steps_stay_whole);
}
