#include "schedule.h"

/* How many steps of a chunk that begins at `start` lie before `place`, to the nearest. */
static long steps_before(double place, double start, double width, long steps) {
    double before = (place - start) / width + 0.5;
    return before <= 0 ? 0 : before >= (double)steps ? steps : (long)before;
}

bool lm_schedule_turn(const struct lm_schedule *schedule, int thread, int c,
                      struct lm_turn *turn) {
    int last = schedule->n_chunks - 1;
    long steps = schedule->end - schedule->first;
    double wide = (double)schedule->width, own = c < last ? wide : (double)schedule->last_width;
    double start = c * wide * (double)steps;
    double length = (last * wide + (double)schedule->last_width) * (double)steps;
    long before = steps_before(length * thread / schedule->threads, start, own, steps);
    long behind =
        steps - steps_before(length * (thread + 1) / schedule->threads, start, own, steps);
    *turn = (struct lm_turn){schedule->first + behind, schedule->end - before};
    return turn->first < turn->end;
}
