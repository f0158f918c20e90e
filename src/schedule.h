/* Schedule: which steps of inference of which chunks each thread does.
 *
 * Chunks need not know of each other, but the steps of one follow each other. Whole chunks
 * seldom come out even (10 chunks on 4 threads, or a last chunk of a few inputs), so a chunk
 * may pass from one thread to the next: the chunks stand one behind the other, as long as they
 * are wide, and each thread takes the same length of that line (R. McNaughton, "Scheduling with
 * deadlines and loss functions", Management Science 6, 1959). Of a chunk that is cut, the
 * thread behind the cut does the first steps before all else, and the thread before it the last
 * ones, after all else: then they are mostly ready for it. No bit depends on the schedule. */
#ifndef LAMINA_SCHEDULE_H
#define LAMINA_SCHEDULE_H

#include <stddef.h>

/* Steps first .. end - 1 of a chunk, to be done when those before are. */
struct lm_turn {
    int chunk;
    long first, end;
};

/* The turns of thread `thread` of `threads` in the order it does them, for the steps first ..
 * end - 1 of chunks of width[n_chunks]; `turns` has room for n_chunks. Returns how many. No
 * thread waits for ever: a turn only waits for one of a later thread, which waits for none
 * before. */
int lm_schedule(int threads, int thread, int n_chunks, const size_t width[], long first,
                long end, struct lm_turn turns[]);

#endif
