/* Placement: which rank each layer lives on. Pure arithmetic, no message.
 *
 * The ranks of a job are n_replicas copies of the network, one after the other, of n_ranks
 * ranks each; every copy has its layers on the same ranks, counted from its first. */
#ifndef LAMINA_PLACEMENT_H
#define LAMINA_PLACEMENT_H

#include "network.h"

struct lm_placement {
    int n_replicas;
    int n_ranks, n_layers; /* of one replica */
    int *rank;             /* of each layer of the network, within a replica */
};

/* What is asked for. */
struct lm_placement_plan {
    int n_ranks;        /* of the job */
    int n_replicas;     /* 0: one */
    const int *by_hand; /* (layers) rank of each within a replica, or NULL: any */
};

/* Place a network: as many ranks per replica as layers gives one layer each; fewer gives, if
 * not by hand, blocks of equally many layers, which balance.h makes equally busy. LM_USAGE when
 * the ranks are no multiple of the replicas, when there are more ranks than layers, or when
 * by_hand names a rank that is not there or leaves one without a layer. Local; free with
 * lm_placement_clear. */
bool lm_placement_init(struct lm_placement *placement, const struct lm_network *network,
                       const struct lm_placement_plan *plan, struct lm_status *status);
void lm_placement_clear(struct lm_placement *placement);

/* Whether rank `rank` of the job holds a layer, and whether two ranks hold the same layers in
 * different replicas. */
bool lm_placement_holds(const struct lm_placement *placement, int rank, int layer);
bool lm_placement_are_replicas(const struct lm_placement *placement, int a, int b);

/* "V1:0 V2:1 out:1" in text, of the first replica; returns text. */
const char *lm_placement_text(const struct lm_placement *placement,
                              const struct lm_network *network, char *text, size_t size);

/* Edges of the network from a layer on rank `from` of the job up to a layer on rank `to`. */
int lm_placement_edges(const struct lm_placement *placement, const struct lm_network *network,
                       int from, int to);

#endif
