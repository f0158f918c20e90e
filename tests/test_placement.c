/* Placement: blocks of layers, by hand, replicas. */
#include "placement.h"

#include "make_network.h"
#include "runner.h"

#include <string.h>

enum { MOST_LAYERS = 9 };

static struct lm_network *chain(int n) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct lm_layer_spec layers[MOST_LAYERS] = {{0}};
    for (int l = 0; l < n; l++)
        layers[l] = (struct lm_layer_spec){names[l], 0, {0}, 1, {OP("linear", "3")}};
    return make_network((struct lm_shape){1, {3, 1, 1}}, n, layers);
}

static void place(struct lm_placement *placement, const struct lm_network *network, int n_ranks,
                  const int *by_hand) {
    struct lm_status status = {.message = ""};
    struct lm_placement_plan plan = {.n_ranks = n_ranks, .by_hand = by_hand};
    ck_assert_msg(lm_placement_init(placement, network, &plan, &status), "%s", status.message);
    ck_assert(placement->n_replicas == 1 && placement->n_ranks == n_ranks &&
              placement->n_layers == network->n_layers);
}

/* As many ranks as layers get one each. */
START_TEST(ranks_get_blocks_of_about_as_many_layers) {
    for (int n = 1; n <= MOST_LAYERS; n++)
        for (int ranks = 1; ranks <= n; ranks++) {
            struct lm_network *network = chain(n);
            struct lm_placement placement;
            int layers[MOST_LAYERS] = {0};
            place(&placement, network, ranks, NULL);
            for (int l = 0; l < n; l++)
                layers[placement.rank[l]]++;
            for (int r = 0; r < ranks; r++)
                ck_assert(layers[r] == n / ranks || layers[r] == n / ranks + 1);
            for (int l = 1; l < n; l++)
                ck_assert(placement.rank[l] >= placement.rank[l - 1]);
            lm_placement_clear(&placement);
            lm_network_destroy(network);
        }
}
END_TEST

START_TEST(by_hand_is_taken_as_it_is) {
    const int by_hand[] = {1, 0, 1, 2};
    char text[100], little[6];
    struct lm_network *network = chain(4);
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
    struct lm_network *network = chain(4);
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

static void expect_refused(int n_ranks, int n_replicas, const int *by_hand,
                           const char *const words[]) {
    struct lm_network *network = chain(4);
    struct lm_placement placement;
    struct lm_status status = {0};
    struct lm_placement_plan plan = {n_ranks, n_replicas, by_hand};
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
    return RUN_TESTS("placement", ranks_get_blocks_of_about_as_many_layers,
                     by_hand_is_taken_as_it_is, replicas_are_whole_copies,
                     numbers_that_do_not_fit_are_refused, edges_between_ranks_are_counted);
}
