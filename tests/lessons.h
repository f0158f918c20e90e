/* A layer to learn from, lessons about it, and what their sums should be. */
#ifndef LAMINA_TEST_LESSONS_H
#define LAMINA_TEST_LESSONS_H

#include "learning.h"

enum { CHUNKS = 11, CHUNK = 16, UNITS = 9, INPUTS = 7, LESSON_THREADS = 3 };

/* A layer whose gradient of each chunk is known: made-up errors and values below. */
struct example {
    struct lm_network *network;
    struct lm_layer *layer;
    real below[CHUNKS][INPUTS * CHUNK];
    struct lm_scratch scratch[LESSON_THREADS];
    size_t n; /* parameters */
};

struct example *example_create(void);
void example_destroy(struct example *example);

/* What is learned by. */
extern const struct lm_inference lesson_inference;
const struct lm_rule *lesson_rule(void);

/* sum = gradient of the chunks of a node of the tree, written out once more. */
void plain_sum(const struct example *example, int first, int end, real *sum);

/* A lesson about the chunks in `part` of a batch of `chunks`, with room for its sums. */
struct lm_lesson make_lesson(const struct example *example, int chunks, struct lm_span part);

/* Each sum is that of its node, chunk c of the layer being chunk first + c; then they go. */
void expect_sums(const struct example *example, const struct lm_lesson *lesson, int first);

#endif
