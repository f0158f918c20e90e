/* Placement: which rank each layer lives on. Pure arithmetic, no message. */
#ifndef LAMINA_PLACEMENT_H
#define LAMINA_PLACEMENT_H

#include "network.h"

struct lm_placement {
    int n_ranks, n_layers;
    int *rank; /* of each layer of the network */
};

/* Place a network on n_ranks ranks: as many as layers gives one layer each; fewer gives
 * contiguous blocks whose largest cost of an inference step is as small as possible.
 * by_hand (rank of each layer of the network), if not NULL, is taken instead. LM_USAGE when
 * there are more ranks than layers, or when by_hand leaves a rank without a layer. Local;
 * free with lm_placement_clear. */
bool lm_placement_init(struct lm_placement *placement, const struct lm_network *network,
                       int n_ranks, const int *by_hand, struct lm_status *status);
void lm_placement_clear(struct lm_placement *placement);

/* "V1:0 V2:1 out:1" in text; returns text. */
const char *lm_placement_text(const struct lm_placement *placement,
                              const struct lm_network *network, char *text, size_t size);

/* Edges of the network from a layer on rank `from` up to a layer on rank `to`. */
int lm_placement_edges(const struct lm_placement *placement, const struct lm_network *network,
                       int from, int to);

#endif
