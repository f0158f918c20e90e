#include "schedule.h"

/* How many steps of a chunk that begins at `start` lie before `place`, to the nearest. */
static long steps_before(double place, double start, double width, long steps) {
    double before = (place - start) / width + 0.5;
    return before <= 0 ? 0 : before >= (double)steps ? steps : (long)before;
}

int lm_schedule(int threads, int thread, int n_chunks, const size_t width[], long first,
                long end, struct lm_turn turns[]) {
    long steps = end - first;
    double length = 0, start = 0;
    int n = 0;
    for (int c = 0; c < n_chunks; c++)
        length += (double)width[c] * (double)steps;
    double from = length * thread / threads, to = length * (thread + 1) / threads;
    for (int c = 0; c < n_chunks; c++) {
        double wide = (double)width[c];
        long before = steps_before(from, start, wide, steps);
        long behind = steps - steps_before(to, start, wide, steps);
        if (before + behind < steps)
            turns[n++] = (struct lm_turn){c, first + behind, end - before};
        start += wide * (double)steps;
    }
    return n;
}
