/* Placement: one layer per rank, balanced blocks against all possible ones, by hand. */
#include "placement.h"

#include "make_network.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { MOST_LAYERS = 9 };

/* A chain of n layers, of made-up costs. */
static struct lm_network *chain(int n, uint64_t seed) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct lm_layer_spec layers[MOST_LAYERS] = {{0}};
    for (int l = 0; l < n; l++)
        layers[l] = (struct lm_layer_spec){names[l], 0, {0}, 1, {OP("linear", "3")}};
    struct lm_network *network = make_network((struct lm_shape){1, {3, 1, 1}}, n, layers);
    for (int l = 0; l < n; l++)
        network->layers[l].flops =
            floor(1 + 100 * pow(lm_random_uniform(seed, LM_STREAM_TEST, 0, (uint64_t)l), 3));
    return network;
}

static void place(struct lm_placement *placement, const struct lm_network *network, int n_ranks,
                  const int *by_hand) {
    struct lm_status status = {.message = ""};
    struct lm_placement_plan plan = {.n_ranks = n_ranks, .by_hand = by_hand};
    ck_assert_msg(lm_placement_init(placement, network, &plan, &status), "%s", status.message);
    ck_assert(placement->n_replicas == 1 && placement->n_ranks == n_ranks &&
              placement->n_layers == network->n_layers);
}

START_TEST(as_many_ranks_as_layers_gives_one_each) {
    for (int n = 1; n <= MOST_LAYERS; n++) {
        struct lm_network *network = chain(n, 1);
        struct lm_placement placement;
        place(&placement, network, n, NULL);
        for (int l = 0; l < n; l++)
            ck_assert(placement.rank[l] == l);
        lm_placement_clear(&placement);
        lm_network_destroy(network);
    }
}
END_TEST

/* The largest cost of a block when bit l of `cuts` cuts behind layer l. */
static double largest_block(const struct lm_network *network, unsigned cuts) {
    double block = 0, largest = 0;
    for (int l = 0; l < network->n_layers; l++) {
        block += network->layers[l].flops;
        largest = fmax(largest, block);
        if (cuts >> l & 1)
            block = 0;
    }
    return largest;
}

/* The smallest of them over all ways to cut into n_ranks blocks. */
static double best_block(const struct lm_network *network, int n_ranks) {
    double best = INFINITY;
    for (unsigned cuts = 0; cuts < 1u << (network->n_layers - 1); cuts++)
        if (__builtin_popcount(cuts) == n_ranks - 1)
            best = fmin(best, largest_block(network, cuts));
    return best;
}

START_TEST(blocks_are_contiguous_and_balanced) {
    for (uint64_t seed = 0; seed < 40; seed++)
        for (int ranks = 1; ranks <= MOST_LAYERS; ranks++) {
            int n = MOST_LAYERS - (int)seed % 3;
            if (ranks > n)
                continue;
            struct lm_network *network = chain(n, seed);
            struct lm_placement placement;
            unsigned cuts = 0;
            place(&placement, network, ranks, NULL);
            ck_assert(placement.rank[0] == 0 && placement.rank[n - 1] == ranks - 1);
            for (int l = 1; l < n; l++) {
                int further = placement.rank[l] - placement.rank[l - 1];
                ck_assert(further == 0 || further == 1);
                cuts |= (unsigned)further << (l - 1);
            }
            ck_assert(largest_block(network, cuts) == best_block(network, ranks));
            lm_placement_clear(&placement);
            lm_network_destroy(network);
        }
}
END_TEST

START_TEST(by_hand_is_taken_as_it_is) {
    const int by_hand[] = {1, 0, 1, 2};
    char text[100], little[6];
    struct lm_network *network = chain(4, 1);
    struct lm_placement placement;
    place(&placement, network, 3, by_hand);
    ck_assert(memcmp(placement.rank, by_hand, sizeof by_hand) == 0);
    ck_assert_str_eq(lm_placement_text(&placement, network, text, sizeof text),
                     "a:1 b:0 c:1 d:2");
    ck_assert_str_eq(lm_placement_text(&placement, network, little, sizeof little), "a:1 b");
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

/* Ranks 0 to 2 hold one copy, ranks 3 to 5 the other. */
START_TEST(replicas_are_whole_copies) {
    struct lm_network *network = chain(4, 1);
    struct lm_placement one, two;
    struct lm_status status;
    place(&one, network, 3, NULL);
    struct lm_placement_plan plan = {.n_ranks = 6, .n_replicas = 2};
    ck_assert(lm_placement_init(&two, network, &plan, &status));
    ck_assert(two.n_replicas == 2 && two.n_ranks == 3);
    ck_assert(memcmp(one.rank, two.rank, 4 * sizeof *one.rank) == 0);
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++) {
            bool same_copy = a / 3 == b / 3;
            ck_assert(lm_placement_edges(&two, network, a, b) ==
                      (same_copy ? lm_placement_edges(&one, network, a % 3, b % 3) : 0));
            ck_assert(lm_placement_are_replicas(&two, a, b) == (!same_copy && a % 3 == b % 3));
        }
    for (int l = 0; l < 4; l++)
        for (int r = 0; r < 6; r++)
            ck_assert(lm_placement_holds(&two, r, l) == (one.rank[l] == r % 3));
    lm_placement_clear(&one);
    lm_placement_clear(&two);
    lm_network_destroy(network);
}
END_TEST

/* Costs that differ from the flops cut where they say. */
START_TEST(costs_that_are_given_count) {
    struct lm_network *network = chain(4, 1);
    const double costs[] = {1, 1, 1, 3}, others[] = {3, 1, 1, 1};
    struct lm_placement placement;
    struct lm_status status;
    struct lm_placement_plan plan = {.n_ranks = 2, .cost = costs};
    ck_assert(lm_placement_init(&placement, network, &plan, &status));
    ck_assert(placement.rank[2] == 0 && placement.rank[3] == 1);
    lm_placement_clear(&placement);
    plan.cost = others;
    ck_assert(lm_placement_init(&placement, network, &plan, &status));
    ck_assert(placement.rank[0] == 0 && placement.rank[1] == 1);
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

static void expect_refused(int n_ranks, int n_replicas, const int *by_hand,
                           const char *const words[]) {
    struct lm_network *network = chain(4, 1);
    struct lm_placement placement;
    struct lm_status status = {0};
    struct lm_placement_plan plan = {n_ranks, n_replicas, by_hand, NULL};
    ck_assert(!lm_placement_init(&placement, network, &plan, &status));
    ck_assert(status.code == LM_USAGE);
    for (; *words; words++)
        ck_assert_msg(strstr(status.message, *words) != NULL, "'%s' is not in: %s", *words,
                      status.message);
    lm_network_destroy(network);
}

#define REFUSED(N_RANKS, N_REPLICAS, BY_HAND, ...)                                             \
    expect_refused(N_RANKS, N_REPLICAS, BY_HAND, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(numbers_that_do_not_fit_are_refused) {
    const int idle[] = {0, 0, 2, 2}, above[] = {0, 1, 5, 1}, below[] = {0, -1, 1, 1};
    REFUSED(5, 1, NULL, "5 ranks are too many", "4 layers", "at most 4");
    REFUSED(10, 2, NULL, "10 ranks are too many", "4 layers", "at most 8");
    REFUSED(5, 2, NULL, "5 ranks", "2 replicas");
    REFUSED(0, 1, NULL, "0 ranks", "at least 1");
    REFUSED(3, 1, idle, "rank 1 of 3", "without a layer");
    REFUSED(2, 1, above, "layer c on rank 5", "0 to 1");
    REFUSED(4, 2, below, "layer b on rank -1");
}
END_TEST

/* A graph: a - b - d, a - c - d, a - d. */
START_TEST(edges_between_ranks_are_counted) {
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 1, {OP("linear", "3")}},
        {"b", 1, {"a"}, 1, {OP("linear", "3")}},
        {"c", 1, {"a"}, 1, {OP("linear", "3")}},
        {"d", 3, {"a", "b", "c"}, 1, {OP("add", 0)}},
    };
    const int by_hand[] = {0, 1, 0, 2};
    const int expected[3][3] = {{1, 1, 2}, {0, 0, 1}, {0, 0, 0}}; /* a-c stays on rank 0 */
    struct lm_network *network = make_network((struct lm_shape){1, {3, 1, 1}}, 4, layers);
    struct lm_placement placement;
    place(&placement, network, 3, by_hand);
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            ck_assert(lm_placement_edges(&placement, network, a, b) == expected[a][b]);
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

int main(void) {
    return RUN_TESTS("placement", as_many_ranks_as_layers_gives_one_each,
                     blocks_are_contiguous_and_balanced, by_hand_is_taken_as_it_is,
                     replicas_are_whole_copies, costs_that_are_given_count,
                     numbers_that_do_not_fit_are_refused, edges_between_ranks_are_counted);
}
