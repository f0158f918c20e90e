/* Schedule: threads do every step of every chunk once and in order, each chunk in one go but
 * for one between two threads, and come to their ends together. */
#include "schedule.h"

#include "runner.h"

#include <stdbool.h>

enum { CHUNKS = 12, THREADS = 7, STEPS = 20, WIDTH = 32, LAST_WIDTH = 16 };

struct play {
    struct lm_schedule schedule;
    double left[STEPS + 1];
    struct lm_reached reached[CHUNKS];
    long done[CHUNKS];
    int turns, parts; /* taken in all, and of them those that are not whole chunks */
    double end[THREADS];
};

/* cost NULL: all steps cost 1. */
static void begin(struct play *play, int threads, int chunks, long steps, const double cost[]) {
    *play = (struct play){
        .schedule = {threads, chunks, WIDTH, LAST_WIDTH, steps, play->left, 0, play->reached}};
    for (long s = steps - 1; s >= 0; s--)
        play->left[s] = play->left[s + 1] + (cost ? cost[s] : 1);
}

static double cost_of(const struct play *play, const struct lm_turn *turn) {
    int width = turn->chunk < play->schedule.n_chunks - 1 ? WIDTH : LAST_WIDTH;
    return width * (play->left[turn->first] - play->left[turn->end]);
}

/* A thread takes a turn; whether there was one. What it takes must be next in its chunk. */
static bool take(struct play *play, int thread, struct lm_turn *turn) {
    if (!lm_schedule_take(&play->schedule, thread, turn))
        return false;
    CHECK_EACH(turn->first == play->done[turn->chunk] && turn->first < turn->end &&
                   turn->end <= play->schedule.steps,
               "chunk %d: steps %ld to %ld", turn->chunk, turn->first, turn->end);
    play->done[turn->chunk] = turn->end;
    play->turns++;
    play->parts += turn->end - turn->first < play->schedule.steps;
    return true;
}

/* All of it, by threads of so many units of cost a second (NULL: 1 each). */
static void run(struct play *play, const double speed[]) {
    int threads = play->schedule.threads, left = threads;
    struct lm_turn turn[THREADS];
    bool works[THREADS], ended[THREADS] = {false};
    for (int t = 0; t < threads; t++)
        works[t] = false;
    while (left > 0) {
        int next = -1;
        for (int t = 0; t < threads; t++)
            if (!ended[t] && (next < 0 || play->end[t] < play->end[next]))
                next = t;
        if (works[next])
            lm_schedule_give(&play->schedule, &turn[next]);
        works[next] = take(play, next, &turn[next]);
        ended[next] = !works[next];
        left -= ended[next];
        if (works[next])
            play->end[next] += cost_of(play, &turn[next]) / (speed ? speed[next] : 1);
    }
}

/* From no work at all to more threads than chunks; steps that cost the same, different steps,
 * some that cost nothing, and all of them. */
START_TEST(every_step_is_done_once_in_order) {
    static const double costs[][STEPS] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        {7, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.1, 30},
        {0, 3, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0},
        {0}};
    struct play play;
    for (int k = 0; k < 4; k++)
        for (int threads = 1; threads <= THREADS; threads++)
            for (int chunks = 0; chunks <= CHUNKS; chunks++)
                for (long steps = 0; steps <= STEPS; steps++) {
                    begin(&play, threads, chunks, steps, costs[k]);
                    run(&play, NULL);
                    for (int c = 0; c < chunks; c++)
                        CHECK_EACH(play.done[c] == steps, "%ld of %ld steps", play.done[c],
                                   steps);
                }
}
END_TEST

/* How long the first thread to end waits for the last one. */
static double wait_of(const struct play *play) {
    double first = play->end[0], last = play->end[0];
    for (int t = 1; t < play->schedule.threads; t++) {
        first = play->end[t] < first ? play->end[t] : first;
        last = play->end[t] > last ? play->end[t] : last;
    }
    return last - first;
}

/* 300 inputs in chunks of 32, which would not come out even as wholes: the ends of threads lie
 * no farther apart than a step takes, steps being alike or a feedforward pass, a sweep and
 * learning in two parts. */
START_TEST(threads_end_together) {
    static const double few[] = {5, 1, 4, 3};
    static const int uneven[] = {3, 4, 6, 7};
    struct play play;
    for (int i = 0; i < 4; i++) {
        begin(&play, uneven[i], 10, STEPS, NULL);
        run(&play, NULL);
        ck_assert_msg(wait_of(&play) <= WIDTH, "%d threads: %g", uneven[i], wait_of(&play));
        begin(&play, uneven[i], 10, 4, few);
        run(&play, NULL);
        ck_assert_msg(wait_of(&play) <= WIDTH * 5, "%d threads: %g", uneven[i], wait_of(&play));
    }
}
END_TEST

/* Of unlike threads the quick ones take chunks of the others: none waits for longer than the
 * slowest one has a chunk. */
START_TEST(quick_threads_help_slow_ones) {
    static const double speeds[][THREADS] = {{1, 0.5, 1, 1, 0.9, 1, 1},
                                             {0.5, 1, 1.1, 1, 1, 0.8, 1}};
    struct play play;
    for (int k = 0; k < 2; k++)
        for (int threads = 2; threads <= THREADS; threads++)
            for (int whole = 0; whole < 2; whole++) {
                begin(&play, threads, CHUNKS, STEPS, NULL);
                play.schedule.handover = whole * STEPS;
                run(&play, speeds[k]);
                ck_assert_msg(wait_of(&play) <= WIDTH * STEPS / 0.5,
                              "%d threads, speeds %d: %g", threads, k, wait_of(&play));
            }
}
END_TEST

/* Of two wide chunks and a narrow one two threads have a chunk and a quarter each. The second
 * begins with the middle one and leaves a quarter of it: three cheap steps of four, or, which
 * is closest, nothing where the last costs three quarters. */
START_TEST(costly_steps_count_for_more) {
    const double first[] = {9, 1, 1, 1}, last[] = {1, 1, 1, 9};
    struct play play;
    struct lm_turn turn;
    begin(&play, 2, 3, 4, first);
    ck_assert(take(&play, 1, &turn) && turn.chunk == 1 && turn.end == 1);
    begin(&play, 2, 3, 4, last);
    ck_assert(take(&play, 1, &turn) && turn.chunk == 1 && turn.end == 4);
}
END_TEST

/* Of n threads n - 1 chunks change theirs. None does where that makes the batch hardly shorter
 * (two threads, by a twentieth), and of a single thread. */
START_TEST(few_chunks_change_threads) {
    static const int parts[] = {0, 0, 2, 3, 0, 5};
    struct play play;
    for (int threads = 1; threads <= 6; threads++) {
        begin(&play, threads, 10, STEPS, NULL);
        run(&play, NULL);
        ck_assert_int_eq(play.turns, 10 + parts[threads - 1]);
        ck_assert_int_eq(play.parts, 2 * parts[threads - 1]);
    }
}
END_TEST

/* Who goes on with a chunk has less to do beside, by what that costs; where it costs more than
 * it gains, all stay whole. */
START_TEST(chunks_stay_where_changing_is_costly) {
    struct play play;
    begin(&play, 4, 10, STEPS, NULL);
    play.schedule.handover = STEPS / 4.;
    run(&play, NULL);
    ck_assert_int_eq(play.turns, 13);
    ck_assert_double_eq_tol(play.end[3] - play.end[0], WIDTH * STEPS / 4., WIDTH);
    begin(&play, 4, 10, STEPS, NULL);
    play.schedule.handover = STEPS * 3 / 4.;
    run(&play, NULL);
    ck_assert_int_eq(play.turns, 10);
}
END_TEST

/* Threads begin far from each other, so that a chunk has the same one in most batches. */
START_TEST(threads_have_chunks_of_their_own) {
    struct play play;
    struct lm_turn turn;
    begin(&play, 2, 10, STEPS, NULL);
    ck_assert(take(&play, 1, &turn));
    ck_assert_int_eq(turn.chunk, 5);
    ck_assert(take(&play, 0, &turn));
    ck_assert_int_eq(turn.chunk, 0);
}
END_TEST

/* Who finds all chunks taken is not needed: those who have them go on. */
START_TEST(nothing_is_left_when_all_are_taken) {
    struct play play;
    struct lm_turn turn;
    begin(&play, 3, 2, STEPS, NULL);
    ck_assert(take(&play, 0, &turn) && turn.end == STEPS);
    ck_assert(take(&play, 1, &turn) && turn.end == STEPS);
    ck_assert(!take(&play, 2, &turn));
}
END_TEST

int main(void) {
    return RUN_TESTS("schedule", every_step_is_done_once_in_order, threads_end_together,
                     quick_threads_help_slow_ones, costly_steps_count_for_more,
                     few_chunks_change_threads, chunks_stay_where_changing_is_costly,
                     threads_have_chunks_of_their_own, nothing_is_left_when_all_are_taken);
}
