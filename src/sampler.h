/* Sampler: which inputs of a data set make up the batch of a step.
 *
 * Every epoch is a permutation of its own, made by the counter-based generator from (seed,
 * stream, epoch), cut into batches; what is left at its end is dropped. So a batch depends
 * on its step alone, and every rank knows it without a message. */
#ifndef LAMINA_SAMPLER_H
#define LAMINA_SAMPLER_H

#include "random.h"
#include "status.h"

struct lm_sampler;

/* Batches of `batch` of the n inputs of the split that the stream is for. LM_CONFIG when the
 * data set is smaller than a batch, LM_DATA when it is too large (2^32 inputs). Free with
 * lm_sampler_destroy. */
struct lm_sampler *lm_sampler_create(uint64_t seed, enum lm_stream stream, size_t n,
                                     size_t batch, struct lm_status *status);
void lm_sampler_destroy(struct lm_sampler *sampler);

/* Batches of one epoch. */
long lm_sampler_epoch(const struct lm_sampler *sampler);

/* The inputs of batch number `step` = 0, 1, ...: `batch` indices, valid until the next call.
 * Steps may come in any order; within an epoch a call costs nothing. */
const uint32_t *lm_sampler_batch(struct lm_sampler *sampler, long step);

#endif
