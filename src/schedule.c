#include "schedule.h"

static double sum_of(long steps, const double cost[]) {
    double sum = 0;
    for (long s = 0; s < steps; s++)
        sum += cost[s];
    return sum;
}

/* How many of its last steps a chunk has before `place`, to the nearest. */
static long steps_before(const struct lm_schedule *schedule, double place, double start,
                         double width) {
    long last = schedule->steps - 1, n = 0;
    for (double at = start; n <= last; n++) {
        double length = width * schedule->cost[last - n];
        if (at + length / 2 > place)
            break;
        at += length;
    }
    return n;
}

bool lm_schedule_turn(const struct lm_schedule *schedule, int thread, int c,
                      struct lm_turn *turn) {
    int last = schedule->n_chunks - 1, threads = schedule->threads;
    double all = sum_of(schedule->steps, schedule->cost), wide = (double)schedule->width;
    double own = c < last ? wide : (double)schedule->last_width, start = c * wide * all;
    double length = (last * wide + (double)schedule->last_width) * all;
    long before = 0, within = schedule->steps;
    if (thread > 0)
        before = steps_before(schedule, length * thread / threads, start, own);
    if (thread < threads - 1)
        within = steps_before(schedule, length * (thread + 1) / threads, start, own);
    *turn = (struct lm_turn){schedule->steps - within, schedule->steps - before};
    return turn->first < turn->end;
}
