/* Schedule: which steps of which chunks each thread does.
 *
 * Chunks need not know of each other, but the steps of one follow each other. Whole chunks
 * seldom come out even (10 chunks on 4 threads, or a last chunk of a few inputs), so a chunk
 * may pass from one thread to the next: the chunks stand one behind the other, as long as they
 * are wide and their steps costly, and each thread takes the same length of that line (R.
 * McNaughton, "Scheduling with deadlines and loss functions", Management Science 6, 1959). Of a
 * chunk that is cut, the thread behind the cut does the first steps before all else, and the
 * thread before it the last ones, after all else: then they are mostly ready for it. No bit
 * depends on the schedule. */
#ifndef LAMINA_SCHEDULE_H
#define LAMINA_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

/* n_chunks chunks, all `width` wide but the last, and the steps of each. */
struct lm_schedule {
    int threads, n_chunks;
    size_t width, last_width;
    long steps;
    const double *cost; /* (steps) of each, in any unit; 0 or more */
};

/* Steps first .. end - 1 of a chunk, to be done when those before are. */
struct lm_turn {
    long first, end;
};

/* The turn of thread `thread` in chunk c, if it has one. Threads do theirs in the order of the
 * chunks. None waits for ever: a turn only waits for one of a later thread, which waits for
 * none before. Thread-safe. */
bool lm_schedule_turn(const struct lm_schedule *schedule, int thread, int c,
                      struct lm_turn *turn);

#endif
