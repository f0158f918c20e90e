/* Flops: counts by hand for a chain, a map of several operators and a graph. */
#include "flops.h"

#include "make_network.h"
#include "runner.h"

/* Of one input: conv 2 * 4 * 9 * 25 on 5 x 5 outputs from 7 x 7, linear 100 -> 6, 6 -> 5 and
 * 5 -> 3. */
enum { A = 2 * 4 * 9 * 25, B = 2 * 100 * 6, C = 2 * 6 * 5, D = 2 * 5 * 3 };

static struct lm_network *chain(void) {
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 2, {OP("conv2d", "4", "3"), OP("relu", 0)}},
        {"b", 0, {0}, 3, {OP("flatten", 0), OP("linear", "6"), OP("tanh", 0)}},
        {"c", 0, {0}, 2, {OP("linear", "5"), OP("relu", 0)}},
        {"d", 0, {0}, 1, {OP("linear", "3")}},
    };
    return make_network((struct lm_shape){3, {1, 7, 7}}, 4, layers);
}

static void expect(struct lm_flops found, double forward, double predict, double feedback,
                   double learn) {
    ck_assert_double_eq(found.forward, forward);
    ck_assert_double_eq(found.predict, predict);
    ck_assert_double_eq(found.feedback, feedback);
    ck_assert_double_eq(found.learn, learn);
    ck_assert_double_eq(lm_flops_sum(&found), forward + predict + feedback + learn);
}

static struct lm_flops count(const struct lm_network *network, const char *rule, double eta,
                             long n, bool presynaptic_value) {
    return lm_flops_training(network, lm_rule_find(rule, "deviation"), eta, n,
                             presynaptic_value);
}

START_TEST(backprop_goes_down_once) {
    struct lm_network *network = chain();
    expect(count(network, "backprop", 1, 1, false), A + B + C + D, 0, B + C + D, A + B + C + D);
    lm_network_destroy(network);
}
END_TEST

START_TEST(layers_are_counted_on_their_own) {
    struct lm_network *network = chain();
    struct lm_flops flops[4];
    const double map[] = {A, B, C, D}, steps[] = {0, 7, 8, 9};
    lm_flops_of_layers(network, lm_rule_find("strict", "deviation"), .1, 10, false, flops);
    for (int l = 0; l < 4; l++)
        expect(flops[l], map[l], steps[l] * map[l], steps[l] * map[l], map[l]);
    for (int l = 0; l < 4; l++)
        ck_assert_double_eq(lm_flops_pulls(&flops[l]), steps[l]);
    ck_assert_double_eq(lm_flops_pulls(&(struct lm_flops){.feedback = 0}), 0);
    lm_network_destroy(network);
}
END_TEST

/* 10 steps: the error of d is there from step 0 on, of c from 1, of b from 2, of a from 3; what
 * d predicts changes from step 1 on, of c from 2, of b from 3; the last feedback moves values
 * that nobody reads. */
START_TEST(strict_follows_the_wavefront) {
    struct lm_network *network = chain();
    double once = A + B + C + D, predict = 7 * B + 8 * C + 9 * D;
    expect(count(network, "strict", .1, 10, false), once, predict, predict, once);
    expect(count(network, "strict", 1, 10, false), once, predict, predict, once);
    lm_network_destroy(network);
}
END_TEST

/* Now it is read, and maps with an activation function are needed at the moved values. */
START_TEST(strict_may_learn_from_values) {
    struct lm_network *network = chain();
    double once = A + B + C + D, predict = 7 * B + 8 * C + 9 * D;
    expect(count(network, "strict", .1, 10, true), once, predict, 8 * B + 9 * C + 10 * D,
           once + B + C);
    lm_network_destroy(network);
}
END_TEST

START_TEST(fixed_prediction_has_nothing_to_predict) {
    struct lm_network *network = chain();
    double once = A + B + C + D;
    expect(count(network, "fixed-prediction", .1, 10, true), once, 0, 7 * B + 8 * C + D, once);
    lm_network_destroy(network);
}
END_TEST

START_TEST(fixed_prediction_with_step_size_1_costs_what_backprop_does) {
    struct lm_network *network = chain();
    struct lm_flops exact = count(network, "backprop", 1, 1, false);
    for (long n = 4; n <= 20; n += 8)
        expect(count(network, "fixed-prediction", 1, n, false), exact.forward, 0,
               exact.feedback, exact.learn);
    lm_network_destroy(network);
}
END_TEST

/* After 2 steps errors are in d and c only, and d's has been sent down. */
START_TEST(layers_that_errors_do_not_reach_learn_nothing) {
    struct lm_network *network = chain();
    double once = A + B + C + D;
    expect(count(network, "fixed-prediction", 1, 2, false), once, 0, D, C + D);
    expect(count(network, "strict", .1, 2, false), once, D, D, C + D);
    lm_network_destroy(network);
}
END_TEST

/* linear 8 -> 7, relu, linear 7 -> 4 above the input; linear 4 -> 6, tanh, linear 6 -> 3. */
START_TEST(maps_with_two_linear_operators) {
    const double lower[] = {2 * 8 * 7, 2 * 7 * 4}, upper[] = {2 * 4 * 6, 2 * 6 * 3};
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 3, {OP("linear", "7"), OP("relu", 0), OP("linear", "4")}},
        {"b", 0, {0}, 3, {OP("linear", "6"), OP("tanh", 0), OP("linear", "3")}},
    };
    struct lm_network *network = make_network((struct lm_shape){1, {8, 1, 1}}, 2, layers);
    double a = lower[0] + lower[1], b = upper[0] + upper[1], once = a + b;
    expect(count(network, "backprop", 1, 1, false), once, 0, b, once + lower[1]);
    expect(count(network, "strict", .1, 5, false), once, 4 * b, 4 * b,
           once + lower[1] + upper[1]);
    expect(count(network, "strict", .1, 5, true), once, 4 * b, 5 * b,
           once + lower[1] + upper[1] + upper[0]);
    expect(count(network, "fixed-prediction", .1, 5, false), once, 0, b, once + lower[1]);
    lm_network_destroy(network);
}
END_TEST

/* b and c both stand on a; d joins them, c also goes to e, so that a is 3 steps from the end
 * by b and by c, and 2 by c and e alone. */
START_TEST(paths_of_different_lengths) {
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 1, {OP("linear", "4")}},
        {"b", 1, {"a"}, 1, {OP("linear", "4")}},
        {"c", 1, {"a"}, 1, {OP("linear", "4")}},
        {"d", 2, {"b", "c"}, 2, {OP("add", 0), OP("linear", "4")}},
        {"e", 2, {"d", "c"}, 2, {OP("add", 0), OP("linear", "4")}},
    };
    const double x = 2 * 4 * 4;
    struct lm_network *network = make_network((struct lm_shape){1, {4, 1, 1}}, 5, layers);
    /* c's error changes at steps 1 and 2, b's at 2, d's at 1, e's at 0. */
    expect(count(network, "fixed-prediction", 1, 9, false), 5 * x, 0, 5 * x, 5 * x);
    expect(count(network, "fixed-prediction", .5, 9, false), 5 * x, 0, (6 + 7 + 7 + 1) * x,
           5 * x);
    /* What moves below: c from step 1 on and d too, so e predicts anew from step 1 on, d from
     * step 1, c and b, on a, from step 2. */
    expect(count(network, "strict", .5, 9, false), 5 * x, (8 + 8 + 7 + 7) * x,
           (8 + 7 + 7 + 6) * x, 5 * x);
    lm_network_destroy(network);
}
END_TEST

/* The network of Rosenbaum (2022), Fig 1, per input: the figures of a whole batch of 300 are
 * 229, 1024 and 1879 million. */
START_TEST(published_network) {
    const struct lm_layer_spec layers[] = {
        {"V1", 0, {0}, 3, {OP("conv2d", "10", "3"), OP("relu", 0), OP("maxpool2d", "2")}},
        {"V2", 0, {0}, 3, {OP("conv2d", "5", "3"), OP("relu", 0), OP("flatten", 0)}},
        {"IT", 0, {0}, 2, {OP("linear", "50"), OP("relu", 0)}},
        {"PFC", 0, {0}, 2, {OP("linear", "30"), OP("relu", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    const double all[] = {121680, 108900, 60500, 3000, 600};
    struct lm_network *network = make_network((struct lm_shape){3, {1, 28, 28}}, 5, layers);
    double once = all[0] + all[1] + all[2] + all[3] + all[4], below = once - all[0];
    double moving = 16 * all[1] + 17 * all[2] + 18 * all[3];
    expect(count(network, "backprop", 1, 1, false), once, 0, below, once);
    expect(count(network, "fixed-prediction", 1, 5, false), once, 0, below, once);
    expect(count(network, "fixed-prediction", .1, 20, false), once, 0, moving + all[4], once);
    expect(count(network, "strict", .1, 20, false), once, moving + 19 * all[4],
           moving + 19 * all[4], once);
    lm_network_destroy(network);
}
END_TEST

int main(void) {
    return RUN_TESTS("flops", layers_are_counted_on_their_own, backprop_goes_down_once,
                     strict_follows_the_wavefront, strict_may_learn_from_values,
                     fixed_prediction_has_nothing_to_predict,
                     fixed_prediction_with_step_size_1_costs_what_backprop_does,
                     layers_that_errors_do_not_reach_learn_nothing,
                     maps_with_two_linear_operators, paths_of_different_lengths,
                     published_network);
}
