/* Estimate: a chain of equal layers counted by hand. */
#include "estimate.h"

#include "make_network.h"
#include "runner.h"

#include <math.h>

enum { LAYERS = 4, UNITS = 10, N = 5, BATCH = 320, CHUNK = 32 };

static struct lm_network *chain(void) {
    const struct lm_layer_spec layers[] = {{"a", 0, {0}, 1, {OP("linear", "10")}},
                                           {"b", 0, {0}, 1, {OP("linear", "10")}},
                                           {"c", 0, {0}, 1, {OP("linear", "10")}},
                                           {"d", 0, {0}, 1, {OP("linear", "10")}}};
    return make_network((struct lm_shape){1, {UNITS, 1, 1}}, LAYERS, layers);
}

static struct lm_estimate estimate(const char *rule, int ranks, int replicas, size_t batch,
                                   double cost) {
    const double costs[LAYERS] = {cost, cost, cost, cost};
    struct lm_network *network = chain();
    struct lm_placement placement;
    struct lm_status status;
    struct lm_placement_plan plan = {.n_ranks = ranks, .n_replicas = replicas};
    ck_assert(lm_placement_init(&placement, network, &plan, &status));
    struct lm_workload workload = {network, lm_rule_find(rule, "deviation"), N, batch, CHUNK,
                                   costs};
    struct lm_estimate found = lm_estimate_step(&workload, &placement);
    lm_placement_clear(&placement);
    lm_network_destroy(network);
    return found;
}

/* Messages cost next to nothing beside layers of 1e9 operations. */
START_TEST(speed_up_is_that_of_the_busiest_rank) {
    const double costly = 1e9;
    ck_assert(fabs(estimate("strict", 1, 1, BATCH, costly).speed_up - 1) < 1e-3);
    ck_assert(fabs(estimate("strict", 2, 1, BATCH, costly).speed_up - 2) < 1e-3);
    ck_assert(fabs(estimate("strict", 3, 1, BATCH, costly).speed_up - 2) < 1e-3);
    ck_assert(fabs(estimate("strict", 4, 1, BATCH, costly).speed_up - 4) < 1e-3);
    ck_assert(fabs(estimate("strict", 2, 2, BATCH, costly).speed_up - 2) < 1e-3);
    ck_assert(fabs(estimate("strict", 8, 2, BATCH, costly).speed_up - 8) < 1e-2);
    /* 10 chunks on 3 replicas, and 9 of 32 inputs with one of 12 on 2 */
    ck_assert(fabs(estimate("strict", 3, 3, BATCH, costly).speed_up - 2.5) < 1e-3);
    ck_assert(fabs(estimate("strict", 2, 2, 300, costly).speed_up - 1.9) < 1e-3);
}
END_TEST

START_TEST(bytes_are_those_of_the_messages) {
    double link = BATCH * UNITS * (double)sizeof(real);
    double parameters = UNITS * (UNITS + 1) * (double)sizeof(real);
    struct lm_estimate found = estimate("strict", 4, 1, BATCH, 1);
    ck_assert_double_eq(found.between,
                        2 * (2 * N + 1) * link); /* an inner rank has two links */
    ck_assert_double_eq(found.within, 0);
    ck_assert_double_eq(estimate("fixed-prediction", 2, 1, BATCH, 1).between, (N + 1) * link);
    ck_assert_double_eq(estimate("backprop", 2, 1, BATCH, 1).between, 2 * link);
    found = estimate("strict", 2, 2, BATCH, 1);
    ck_assert_double_eq(found.between, 0);
    /* half of the sums, and half of the results, to the other and from it */
    ck_assert_double_eq(found.within, LAYERS * 2 * parameters);
}
END_TEST

/* Two ranks' exchange is that of their link for one input; replicas have none with each other.
 */
START_TEST(ranks_exchange_over_their_links) {
    const double costs[LAYERS] = {1, 1, 1, 1};
    struct lm_network *network = chain();
    struct lm_placement placement;
    struct lm_status status;
    struct lm_placement_plan plan = {.n_ranks = 6, .n_replicas = 2}; /* a, b c, d */
    int by_hand[LAYERS] = {0, 1, 1, 2};
    plan.by_hand = by_hand;
    ck_assert(lm_placement_init(&placement, network, &plan, &status));
    struct lm_workload workload = {
        network, lm_rule_find("strict", "deviation"), N, BATCH, CHUNK, costs};
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++) {
            bool linked = a / 3 == b / 3 && (a - b == 1 || b - a == 1);
            ck_assert_double_eq(lm_estimate_exchange(&workload, &placement, a, b),
                                linked ? (2 * N + 1) * UNITS * (double)sizeof(real) : 0);
        }
    lm_placement_clear(&placement);
    lm_network_destroy(network);
}
END_TEST

/* Where layers cost little, messages decide. */
START_TEST(messages_count) {
    ck_assert(estimate("strict", 2, 1, BATCH, 1).speed_up < 1);
    ck_assert(estimate("strict", 2, 1, BATCH, 1e4).speed_up > 1);
}
END_TEST

int main(void) {
    return RUN_TESTS("estimate", speed_up_is_that_of_the_busiest_rank,
                     bytes_are_those_of_the_messages, ranks_exchange_over_their_links,
                     messages_count);
}
