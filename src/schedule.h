/* Schedule: which thread does which steps of which chunks.
 *
 * Chunks need not know of each other, but the steps of one follow each other. A thread takes a
 * chunk through all of its steps, while it stays in cache, and then the next one. Each has its
 * own part of the batch, and when that is done takes whole chunks of others: a thread that is
 * quicker waits no longer than a slow one has a chunk.
 *
 * Whole chunks seldom come out even (10 chunks on 4 threads, a last chunk of a few inputs).
 * Where a border between two parts of the same size lies within a chunk, the second thread
 * begins with the first steps of it, and the first one ends with the others, so that all come
 * to their ends together and of n threads n - 1 chunks change theirs, which is as few as can be
 * (R. McNaughton, "Scheduling with deadlines and loss functions", Management Science 6, 1959).
 * But such a chunk's state comes from one processor's caches to another's, so that all of them
 * stay whole unless the batch becomes shorter by a sixteenth, the price of it counted. No bit
 * depends on the schedule. */
#ifndef LAMINA_SCHEDULE_H
#define LAMINA_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

/* How far a chunk is. */
struct lm_reached {
    long steps; /* that are done */
    bool taken; /* a thread does some now */
};

/* n_chunks chunks, all `width` wide but the last. */
struct lm_schedule {
    int threads, n_chunks;
    size_t width, last_width;
    long steps;         /* of each chunk */
    const double *left; /* (steps + 1) what steps s and on cost one input, in any unit */
    double handover;    /* what it costs one, likewise, that its chunk changes threads */
    struct lm_reached *reached; /* (n_chunks) zero at first */
};

/* Steps first .. end - 1 of a chunk. */
struct lm_turn {
    int chunk;
    long first, end;
};

/* What thread `thread` < threads is to do next; false: nothing more. The steps before are done.
 * Thread-safe, and so is the next. */
bool lm_schedule_take(struct lm_schedule *schedule, int thread, struct lm_turn *turn);

/* It is done. */
void lm_schedule_give(struct lm_schedule *schedule, const struct lm_turn *turn);

#endif
