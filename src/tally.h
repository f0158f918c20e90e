/* Tally: the parameter gradients of layers, learned chunk by chunk in any order and added up as
 * they come.
 *
 * Sums go along the tree of span.h: who learns the second chunk of two that are added there
 * adds them at once, while they are in cache, and so on up the tree. The array that was added
 * is the next one in which that thread learns. Neither threads nor order change a bit. Where
 * the arrays of all chunks would take more than 64 MiB, layers learn one behind the other
 * (learning.h). */
#ifndef LAMINA_TALLY_H
#define LAMINA_TALLY_H

#include "learning.h"

struct lm_tally;

/* For up to `layers` layers of a rank with at most `chunks` chunks of a batch there, learned by
 * up to `threads` threads of a parallel region. Its arrays come with the first use. Free with
 * lm_tally_destroy. */
struct lm_tally *lm_tally_create(int layers, int chunks, int threads);
void lm_tally_destroy(struct lm_tally *tally);

/* Begin n lessons, which must stay where they are, if their arrays are not too large; else
 * false, and nothing begins. Chunk c of the batch is chunk c - first of the layers. When
 * lm_tally_learn has had each chunk of each lesson, their sums are there. */
bool lm_tally_open(struct lm_tally *tally, int first, int n, const struct lm_lesson lessons[]);

/* Learn chunk c of the layer of lesson l. Thread-safe for different chunks or lessons. */
void lm_tally_learn(struct lm_tally *tally, const struct lm_rule *rule,
                    const struct lm_inference *inference, int l, int c,
                    const struct lm_scratch *scratch);

#endif
