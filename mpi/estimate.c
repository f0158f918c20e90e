#include "estimate.h"

#include "span.h"

/* Inputs, with padding, of the largest share of a batch. */
static double largest_share(const struct lm_workload *workload, int replicas) {
    int chunks = (int)((workload->batch + workload->chunk - 1) / workload->chunk);
    size_t most = 0;
    for (int r = 0; r < replicas; r++) {
        struct lm_span share = lm_span_share(chunks, replicas, r);
        size_t first = (size_t)share.first * workload->chunk;
        size_t end = (size_t)share.end * workload->chunk;
        size_t inputs = (end < workload->batch ? end : workload->batch) - first;
        most = share.end > share.first && inputs > most ? inputs : most;
    }
    return (double)lm_width(most);
}

/* Reals per input that pass over an edge, both ways. */
static double edge_traffic(const struct lm_workload *workload, const struct lm_edge *edge) {
    double messages = workload->rule->sweeps
                          ? 2
                          : 1 + (double)workload->n * (workload->rule->values_travel ? 2 : 1);
    return messages * (double)workload->network->layers[edge->parent].units;
}

double lm_estimate_exchange(const struct lm_workload *workload,
                            const struct lm_placement *placement, int a, int b) {
    int replica = a / placement->n_ranks;
    if (a == b || b / placement->n_ranks != replica)
        return 0;
    double sum = 0;
    for (int e = 0; e < workload->network->n_edges; e++) {
        const struct lm_edge *edge = &workload->network->edges[e];
        int parent = placement->rank[edge->parent], child = placement->rank[edge->child];
        int first = a % placement->n_ranks, second = b % placement->n_ranks;
        if ((parent == first && child == second) || (parent == second && child == first))
            sum += edge_traffic(workload, edge);
    }
    return sum * (double)sizeof(real);
}

/* Bytes that rank `rank` of a replica exchanges with other layers for one input. */
static double between_bytes(const struct lm_workload *workload,
                            const struct lm_placement *placement, int rank) {
    double sum = 0;
    for (int e = 0; e < workload->network->n_edges; e++) {
        const struct lm_edge *edge = &workload->network->edges[e];
        bool parent = placement->rank[edge->parent] == rank;
        bool child = placement->rank[edge->child] == rank;
        sum += parent != child ? edge_traffic(workload, edge) : 0;
    }
    return sum * (double)sizeof(real);
}

/* And with its replicas for one step: slices of sums, to and from each. */
static double within_bytes(const struct lm_workload *workload,
                           const struct lm_placement *placement, int rank) {
    double parameters = 0, k = placement->n_replicas;
    for (int l = 0; l < placement->n_layers; l++)
        if (placement->rank[l] == rank)
            parameters += (double)workload->network->layers[l].map.parameters;
    return 4 * parameters * (k - 1) / k * (double)sizeof(real);
}

/* Operations of a rank for one input. */
static double cost_of(const struct lm_workload *workload, const struct lm_placement *placement,
                      int rank) {
    double cost = 0;
    for (int l = 0; l < placement->n_layers; l++)
        cost += placement->rank[l] == rank ? workload->cost[l] : 0;
    return cost;
}

struct lm_estimate lm_estimate_rank(const struct lm_workload *workload,
                                    const struct lm_placement *placement, int rank) {
    double share = largest_share(workload, placement->n_replicas);
    struct lm_estimate estimate = {.between = between_bytes(workload, placement, rank) * share,
                                   .within = within_bytes(workload, placement, rank)};
    estimate.time = cost_of(workload, placement, rank) * share +
                    LM_FLOPS_PER_BYTE * (estimate.between + estimate.within);
    return estimate;
}

struct lm_estimate lm_estimate_step(const struct lm_workload *workload,
                                    const struct lm_placement *placement) {
    struct lm_estimate slowest = {0};
    double all = 0;
    for (int rank = 0; rank < placement->n_ranks; rank++) {
        struct lm_estimate estimate = lm_estimate_rank(workload, placement, rank);
        all += cost_of(workload, placement, rank) * (double)lm_width(workload->batch);
        if (estimate.time >= slowest.time)
            slowest = estimate;
    }
    slowest.speed_up = slowest.time > 0 ? all / slowest.time : 1;
    return slowest;
}
