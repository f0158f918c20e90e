#include "placement.h"

#include "memory.h"

#include <stdio.h>

static bool place_by_hand(struct lm_placement *placement, const struct lm_network *network,
                          const int *by_hand, struct lm_status *status) {
    int *layers = lm_allocate((size_t)placement->n_ranks, sizeof *layers);
    int bad_layer = -1, idle_rank = -1;
    for (int l = network->n_layers - 1; l >= 0; l--) {
        placement->rank[l] = by_hand[l];
        if (by_hand[l] < 0 || by_hand[l] >= placement->n_ranks)
            bad_layer = l;
        else
            layers[by_hand[l]]++;
    }
    for (int r = placement->n_ranks - 1; r >= 0; r--)
        if (layers[r] == 0)
            idle_rank = r;
    lm_free(layers);
    if (bad_layer >= 0)
        return lm_fail(
            status, LM_USAGE, "placement puts layer %s on rank %d: there are ranks 0 to %d",
            network->layers[bad_layer].name, by_hand[bad_layer], placement->n_ranks - 1);
    if (idle_rank >= 0)
        return lm_fail(status, LM_USAGE, "placement leaves rank %d of %d without a layer",
                       idle_rank, placement->n_ranks);
    return true;
}

static bool check_ranks(const struct lm_network *network, int n_ranks, int n_replicas,
                        struct lm_status *status) {
    if (n_ranks < 1)
        return lm_fail(status, LM_USAGE, "%d ranks: at least 1 is expected", n_ranks);
    if (n_ranks % n_replicas != 0)
        return lm_fail(status, LM_USAGE,
                       "%d rank%s cannot be divided among %d replicas of the network", n_ranks,
                       n_ranks == 1 ? "" : "s", n_replicas);
    if (n_ranks / n_replicas > network->n_layers)
        return lm_fail(
            status, LM_USAGE,
            "%d ranks are too many: the network has %d layers and can use at most %d "
            "ranks, one layer each; more need more replicas (placement.replicas)",
            n_ranks, network->n_layers, n_replicas * network->n_layers);
    return true;
}

static void place_evenly(struct lm_placement *placement) {
    for (int l = 0; l < placement->n_layers; l++)
        placement->rank[l] = (int)((long)l * placement->n_ranks / placement->n_layers);
}

bool lm_placement_init(struct lm_placement *placement, const struct lm_network *network,
                       const struct lm_placement_plan *plan, struct lm_status *status) {
    int n_replicas = plan->n_replicas > 0 ? plan->n_replicas : 1;
    *placement = (struct lm_placement){
        .n_replicas = n_replicas, .n_ranks = 1, .n_layers = network->n_layers};
    if (!check_ranks(network, plan->n_ranks, n_replicas, status))
        return false;
    placement->n_ranks = plan->n_ranks / n_replicas;
    placement->rank = lm_allocate((size_t)network->n_layers, sizeof *placement->rank);
    if (plan->by_hand && !place_by_hand(placement, network, plan->by_hand, status)) {
        lm_placement_clear(placement);
        return false;
    }
    if (!plan->by_hand)
        place_evenly(placement);
    return true;
}

void lm_placement_clear(struct lm_placement *placement) {
    lm_free(placement->rank);
    placement->rank = NULL;
}

const char *lm_placement_text(const struct lm_placement *placement,
                              const struct lm_network *network, char *text, size_t size) {
    size_t length = 0;
    for (int l = 0; l < placement->n_layers && length < size; l++)
        length += (size_t)snprintf(text + length, size - length, "%s%s:%d", l ? " " : "",
                                   network->layers[l].name, placement->rank[l]);
    return text;
}

bool lm_placement_holds(const struct lm_placement *placement, int rank, int layer) {
    return placement->rank[layer] == rank % placement->n_ranks;
}

bool lm_placement_are_replicas(const struct lm_placement *placement, int a, int b) {
    return a != b && a % placement->n_ranks == b % placement->n_ranks;
}

int lm_placement_edges(const struct lm_placement *placement, const struct lm_network *network,
                       int from, int to) {
    int n = 0;
    if (from / placement->n_ranks != to / placement->n_ranks)
        return 0;
    for (int e = 0; e < network->n_edges; e++)
        n += lm_placement_holds(placement, from, network->edges[e].parent) &&
             lm_placement_holds(placement, to, network->edges[e].child);
    return n;
}
