/* Random: numbers from a counter-based generator (Random123, Philox 4x32-10).
 *
 * A number is a function of (seed, stream, index, element) and of nothing else, so
 * every rank can make the numbers it needs, in any order, without a message.
 * Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). */
#ifndef LAMINA_RANDOM_H
#define LAMINA_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What the numbers are for; a stream never shares numbers with another. */
enum lm_stream {
    LM_STREAM_PARAMETERS = 1, /* index: layer, element: parameter */
    LM_STREAM_TRAIN = 2,      /* index: epoch, element: position in the shuffle */
    LM_STREAM_TEST = 3,       /* index: pass over the test set */
    LM_STREAM_MADE_UP = 5,    /* index: made-up input, element: unit; last its label */
    LM_STREAM_LABEL = 6       /* index: input of a data set; a wrong label for it */
};

/* Uniform in the open interval (0, 1), 52 bits. element < 2^32, index < 2^32. */
double lm_random_uniform(uint64_t seed, enum lm_stream stream, uint64_t index,
                         uint64_t element);

/* A random permutation of 0 .. n-1 into order[n] (Fisher-Yates), n < 2^32. */
void lm_random_permutation(uint64_t seed, enum lm_stream stream, uint64_t index, size_t n,
                           uint32_t order[]);

#endif
