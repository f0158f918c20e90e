/* Replicas: the ranks that hold the same layers in other copies of the network, each with its
 * part of every batch (src/span.h), and what they say to each other: sums of parameter updates,
 * and what is recorded of the batch. Nothing else passes between copies.
 *
 * The parameters of a layer are cut into as many slices as there are replicas. Each replica
 * sends the others its sums of their slices, adds the sums of its own slice along the tree of
 * the batch, and sends the result to the others. So all have the same update, and with any
 * number of replicas the same bits.
 *
 * Calls come from one thread, on all replicas in the same order with the same arguments. */
#ifndef LAMINA_REPLICAS_H
#define LAMINA_REPLICAS_H

#include "placement.h"
#include "span.h"

#include <stdint.h>

struct lm_replicas;

/* The replicas of this rank, for n_sums sums. Free with lm_replicas_destroy. Local. */
struct lm_replicas *lm_replicas_create(const struct lm_placement *placement, int rank,
                                       int n_sums);
void lm_replicas_destroy(struct lm_replicas *replicas);

/* This replica, from 0, and its part of a batch of `chunks` chunks. */
int lm_replicas_index(const struct lm_replicas *replicas);
struct lm_span lm_replicas_share(const struct lm_replicas *replicas, int chunks);

/* Sum number i, of arrays of n reals over a batch of `chunks` chunks. lm_replicas_nodes says
 * which nodes of the tree this replica must sum, and where to put them (the first into
 * `result`). Then lm_replicas_sum_begin sends them, and after lm_replicas_sum_end `result` (n)
 * holds the sum over the whole batch. Several sums may be under way, with ends in the order of
 * the begins; until its end nothing else touches a result. */
int lm_replicas_nodes(struct lm_replicas *replicas, int i, int chunks, size_t n, real *result,
                      struct lm_span nodes[LM_MAX_NODES], real *values[LM_MAX_NODES]);
void lm_replicas_sum_begin(struct lm_replicas *replicas, int i);

/* The two halves of the end: once all sums are reduced, all may be finished. */
void lm_replicas_sum_reduce(struct lm_replicas *replicas, int i);
void lm_replicas_sum_end(struct lm_replicas *replicas, int i);

/* Messages that this rank sends to rank `to` for one sum of n reals over `chunks` chunks. */
int64_t lm_replicas_messages(const struct lm_replicas *replicas, int to, int chunks, size_t n);

/* values holds n elements of `size` bytes, `each` for every chunk of a batch, the last chunk
 * perhaps fewer; each replica has filled in those of its chunks: afterwards the first replica
 * has all. */
void lm_replicas_gather(const struct lm_replicas *replicas, void *values, size_t size, size_t n,
                        size_t each);

#endif
