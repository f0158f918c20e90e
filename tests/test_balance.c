/* Balance: blocks against all possible ones, layers that change ranks, messages that count. */
#include "balance.h"

#include "flops.h"
#include "make_network.h"
#include "random.h"
#include "runner.h"

#include <math.h>

enum { MOST = 9, N = 20, BATCH = 64, CHUNK = 32 };

/* A chain of n layers of 2 units, whose messages cost next to nothing, but for layer b. */
static struct lm_network *chain(int n, const char *units) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct lm_layer_spec layers[MOST] = {{0}};
    for (int l = 0; l < n; l++)
        layers[l] =
            (struct lm_layer_spec){names[l], 0, {0}, 1, {OP("linear", l == 1 ? units : "2")}};
    return make_network((struct lm_shape){1, {2, 1, 1}}, n, layers);
}

static struct lm_workload workload_of(const struct lm_network *network, const double *cost) {
    return (struct lm_workload){network, lm_rule_find("strict", "deviation"), N, BATCH, CHUNK,
                                cost};
}

static void place(const struct lm_workload *workload, int ranks, int replicas,
                  struct lm_placement *placement) {
    struct lm_status status = {.message = ""};
    struct lm_placement_plan plan = {.n_ranks = ranks, .n_replicas = replicas};
    ck_assert_msg(lm_placement_init(placement, workload->network, &plan, &status), "%s",
                  status.message);
    lm_balance(workload, placement);
}

static double time_of(const struct lm_workload *workload,
                      const struct lm_placement *placement) {
    return lm_estimate_step(workload, placement).time;
}

/* The shortest time over all ways to cut the layers into blocks, one for each rank. */
static double best_blocks(const struct lm_workload *workload,
                          const struct lm_placement *placement) {
    int rank[MOST] = {0}, n = placement->n_layers;
    struct lm_placement other = *placement;
    double best = INFINITY;
    other.rank = rank;
    for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) {
        if (__builtin_popcount(cuts) != placement->n_ranks - 1)
            continue;
        for (int l = 1; l < n; l++)
            rank[l] = rank[l - 1] + (int)(cuts >> (l - 1) & 1);
        best = fmin(best, time_of(workload, &other));
    }
    return best;
}

/* The shortest time over all ways to share the layers between two ranks. */
static double best_of_all(const struct lm_workload *workload,
                          const struct lm_placement *placement) {
    int rank[MOST] = {0};
    struct lm_placement other = *placement;
    double best = INFINITY;
    other.rank = rank;
    for (unsigned second = 0; second < 1u << placement->n_layers; second++) {
        for (int l = 0; l < placement->n_layers; l++)
            rank[l] = (int)(second >> l & 1);
        best = fmin(best, time_of(workload, &other));
    }
    return best;
}

static bool is_blocks(const struct lm_placement *placement) {
    for (int l = 1; l < placement->n_layers; l++)
        if (placement->rank[l] - placement->rank[l - 1] > 1 ||
            placement->rank[l] < placement->rank[l - 1])
            return false;
    return true;
}

static void make_up(uint64_t seed, int n, double cost[]) {
    for (int l = 0; l < n; l++)
        cost[l] =
            floor(1 + 1e6 * pow(lm_random_uniform(seed, LM_STREAM_TEST, 0, (uint64_t)l), 3));
}

/* Blocks that are the best, or else something better by more than one in twenty. */
START_TEST(made_up_costs_are_shared_out) {
    int others = 0;
    for (uint64_t seed = 0; seed < 40; seed++)
        for (int ranks = 1; ranks <= MOST; ranks++) {
            int n = MOST - (int)seed % 3;
            if (ranks > n)
                continue;
            double cost[MOST];
            make_up(seed, n, cost);
            struct lm_network *network = chain(n, "2");
            struct lm_workload workload = workload_of(network, cost);
            struct lm_placement placement;
            place(&workload, ranks, 1, &placement);
            double time = time_of(&workload, &placement);
            double best = best_blocks(&workload, &placement);
            if (is_blocks(&placement))
                ck_assert(fabs(time - best) <= 1e-9 * best);
            else
                ck_assert(time <= 0.95 * best);
            others += !is_blocks(&placement);
            lm_placement_clear(&placement);
            lm_network_destroy(network);
        }
    ck_assert(others > 0);
}
END_TEST

START_TEST(as_many_ranks_as_layers_get_one_each) {
    double cost[MOST];
    make_up(1, MOST, cost);
    struct lm_network *network = chain(MOST, "2");
    struct lm_workload workload = workload_of(network, cost);
    struct lm_placement placement;
    place(&workload, 2 * MOST, 2, &placement);
    for (int l = 0; l < MOST; l++)
        ck_assert(placement.rank[l] == l);
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

/* Layers far from the output have errors at fewer steps: blocks cannot be equal. */
START_TEST(layers_far_from_the_input_cost_more) {
    struct lm_network *network = chain(MOST, "2");
    struct lm_flops flops[MOST];
    double cost[MOST];
    lm_flops_of_layers(network, lm_rule_find("strict", "deviation"), 0.1, N, false, flops);
    for (int l = 0; l < MOST; l++)
        cost[l] = 1e5 * lm_flops_sum(&flops[l]);
    struct lm_workload workload = workload_of(network, cost);
    struct lm_placement placement;
    place(&workload, 2, 1, &placement);
    double time = time_of(&workload, &placement);
    ck_assert(time < 0.95 * best_blocks(&workload, &placement));
    ck_assert(time < 1.02 * best_of_all(&workload, &placement));
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

/* Four layers of equal cost on two ranks: halves, but where the second one's many units make a
 * link behind it as dear as a layer. */
START_TEST(messages_count) {
    const double cost[] = {1e6, 1e6, 1e6, 1e6};
    for (int many = 0; many < 2; many++) {
        struct lm_network *network = chain(4, many ? "2000" : "2");
        struct lm_workload workload = workload_of(network, cost);
        struct lm_placement placement;
        place(&workload, 2, 1, &placement);
        const int *rank = placement.rank;
        ck_assert(rank[0] != rank[2] && rank[1] != rank[3]);
        ck_assert((rank[1] == rank[2]) == many);
        lm_placement_clear(&placement);
        lm_network_destroy(network);
    }
}
END_TEST

int main(void) {
    return RUN_TESTS("balance", made_up_costs_are_shared_out,
                     as_many_ranks_as_layers_get_one_each, layers_far_from_the_input_cost_more,
                     messages_count);
}
