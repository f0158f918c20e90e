/* Learning: the parameter gradient of a layer, summed over the chunks of a batch along the tree
 * of span.h. Threads take different nodes of it; neither their number nor the memory that is
 * there changes a bit. */
#ifndef LAMINA_LEARNING_H
#define LAMINA_LEARNING_H

#include "rule.h"
#include "span.h"

struct lm_learning;

/* Workspace for the layers of a rank, one after the other, with at most `chunks` chunks of a
 * batch on this rank. Its arrays come with the first use. Free with lm_learning_destroy. */
struct lm_learning *lm_learning_create(int chunks, int threads);
void lm_learning_destroy(struct lm_learning *learning);

/* sums[i] (parameters) = the gradient of the chunks of nodes[i], n nodes of the tree over the
 * batch; chunk c of the batch is chunk c - first of the layer. scratch (threads). */
void lm_learning_run(struct lm_learning *learning, const struct lm_rule *rule,
                     const struct lm_inference *inference, struct lm_layer *layer, int first,
                     int n, const struct lm_span nodes[], real *const sums[],
                     const struct lm_scratch scratch[]);

/* Arrays like its parameters that the workspace has for a layer, beside the gradient: one less
 * than there are chunks, but where these would take more than 1 GiB fewer threads share as
 * many as fit, and at least one for each level of the tree. */
int lm_learning_arrays(size_t parameters, int chunks);

#endif
