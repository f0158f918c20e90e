/* Learning: the parameter gradients of layers, summed over the chunks of a batch along the tree
 * of span.h. Threads take different nodes of it, of several layers at a time where these are
 * small; neither their number nor the memory that is there changes a bit. */
#ifndef LAMINA_LEARNING_H
#define LAMINA_LEARNING_H

#include "rule.h"
#include "span.h"

struct lm_learning;

/* What is asked of a layer: sums[i] (parameters) = the gradient of the chunks of nodes[i], n
 * nodes of the tree over the batch, one behind the other. */
struct lm_lesson {
    struct lm_layer *layer;
    int n;
    struct lm_span nodes[LM_MAX_NODES];
    real *sums[LM_MAX_NODES];
};

/* Parameters of its layer, and chunks that it is about. */
size_t lm_lesson_parameters(const struct lm_lesson *lesson);
int lm_lesson_chunks(const struct lm_lesson *lesson);

/* Workspace for up to `layers` layers of a rank with at most `chunks` chunks of a batch there.
 * Its arrays come with the first use. Free with lm_learning_destroy. */
struct lm_learning *lm_learning_create(int layers, int chunks, int threads);
void lm_learning_destroy(struct lm_learning *learning);

/* Do n lessons. Chunk c of the batch is chunk c - first of the layers. scratch (threads). */
void lm_learning_run(struct lm_learning *learning, const struct lm_rule *rule,
                     const struct lm_inference *inference, int first, int n,
                     const struct lm_lesson lessons[], const struct lm_scratch scratch[]);

/* Arrays like its parameters that the workspace has for a layer, beside the gradient: one less
 * than there are chunks, but where these would take more than 1 GiB fewer threads share as
 * many as fit, and at least one for each level of the tree. */
int lm_learning_arrays(size_t parameters, int chunks);

#endif
