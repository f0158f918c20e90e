/* Schedule: which thread does which steps of which chunks.
 *
 * Chunks need not know of each other, but the steps of one follow each other. A thread takes a
 * chunk through all of its steps, while it stays in cache, and then the next one. Whole chunks
 * seldom come out even (10 chunks on 4 threads, a last chunk of a few inputs, a core that
 * others use too), so the last ones, a few more than there are threads, go from thread to
 * thread: who is free takes the one with most left to do, and of n threads does 1 / (n + 1) of
 * that. So they come to their ends together, in ever smaller parts. (Chunks that may be
 * interrupted can come out even: R. McNaughton, "Scheduling with deadlines and loss functions",
 * Management Science 6, 1959. To go on with the longest keeps them so when nobody knows how
 * fast threads will be.) But a chunk's state comes from one processor's caches to the other's,
 * and where that takes long, measured by what a chunk takes, all of them stay whole. No bit
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
 * Of whole chunks it takes first those of its own part of the batch. Thread-safe, and so is the
 * next. */
bool lm_schedule_take(struct lm_schedule *schedule, int thread, struct lm_turn *turn);

/* It is done. */
void lm_schedule_give(struct lm_schedule *schedule, const struct lm_turn *turn);

#endif
