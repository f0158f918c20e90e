/* Span: a run of neighbouring chunks of a batch, and the one order in which sums over chunks
 * are made.
 *
 * The chunks 0 .. n - 1 of a batch are the leaves of a binary tree: the sum of n > 1 chunks is
 * the sum of the first n / 2 (rounded down) plus the sum of the rest. A node of the tree is the
 * span of its leaves. All parameter updates are added along this tree, so they have the same
 * bits whichever thread or replica holds which chunks: each sums the largest nodes that it
 * holds wholly, and these are added as the tree says. */
#ifndef LAMINA_SPAN_H
#define LAMINA_SPAN_H

#include "tensor.h"

struct lm_span {
    int first, end; /* chunks first .. end - 1 */
};

/* Most nodes that a span can be made of: two for each level of the tree. */
enum { LM_MAX_NODES = 64 };

/* Chunks that replica i of n takes of a batch of `chunks`: as many as the others or one less.
 * When n is a power of two it is a node of the tree. May be empty. */
struct lm_span lm_span_share(int chunks, int n, int i);

/* The largest nodes of the tree over `chunks` chunks that make up `part`, in their order;
 * returns how many. */
int lm_span_nodes(int chunks, struct lm_span part, struct lm_span nodes[LM_MAX_NODES]);

/* Replace nodes in a list of n by their two halves, the largest first, until there are `wanted`
 * or all are single chunks; returns how many. nodes has room for `wanted`. */
int lm_span_split(int n, struct lm_span nodes[], int wanted);

/* Levels below a node of n chunks: the arrays needed, beside the result, to sum it one chunk
 * after another. */
int lm_span_depth(int n);

/* Sum arrays of nodes that together make up node `whole` of the tree, in the tree's order:
 * values[i][first .. first + count - 1] belong to nodes[i]. The arrays are overwritten; returns
 * values[0], which holds the sum. Thread-safe for different elements. */
real *lm_span_sum(struct lm_span whole, const struct lm_span nodes[], real *const values[],
                  size_t first, size_t count);

#endif
