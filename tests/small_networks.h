/* Small networks for tests: a convolutional net like that of Rosenbaum (2022) in small, an
 * MLP of five layers, a net with skip connections, and one with a large layer; and a cortex
 * over any of them with made-up inputs. */
#ifndef LAMINA_SMALL_NETWORKS_H
#define LAMINA_SMALL_NETWORKS_H

#include "cortex.h"

/* "conv", "mlp", "skip", "wide": the network of a name; ends the test program when it cannot be
 * made. Free with lm_network_destroy. */
struct lm_network *small_network(const char *name);

/* A cortex of the network on `n_ranks` ranks seen from this rank, or of all layers on this
 * rank when n_ranks is 0, with initial parameters and made-up inputs and labels for a batch
 * of `batch` in chunks of `chunk`. */
struct small_cortex {
    struct lm_network *network;
    struct lm_placement placement;
    struct lm_cortex *cortex;
};
struct small_cortex *small_cortex_create(const char *name, int n_ranks, size_t batch,
                                         size_t chunk, int threads);

/* The same with the layers dealt out one by one, so that neighbours are on different ranks. */
struct small_cortex *small_cortex_deal(const char *name, int n_ranks, size_t batch,
                                       size_t chunk, int threads);

/* The same on the ranks of the job as n_replicas replicas of the network. */
struct small_cortex *small_cortex_replicate(const char *name, int n_replicas, size_t batch,
                                            size_t chunk, int threads);
void small_cortex_destroy(struct small_cortex *small);

/* What `rule` with the given settings makes of the batch: forward, n steps, learn (into
 * layer->exact if `exact`). */
struct lm_inference small_inference(const char *loss, double step, size_t batch);
void small_run(struct small_cortex *small, const char *rule, const char *state,
               const struct lm_inference *inference, long n, bool exact);

#endif
