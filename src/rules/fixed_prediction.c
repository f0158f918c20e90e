/* fixed-prediction: Algorithm 3 of Rosenbaum (2022). Predictions and Jacobians stay at the
 * feedforward values: eps_l = hat v_l - v_l, v_l += eta (eps_l - sum J^T eps of children),
 * with the output error fixed at d loss / d hat v_L. In deviations u = v - hat v = -eps:
 * u <- (1 - eta) u - eta sum J^T eps, so that nothing cancels. */
#include "rules.h"

/* eps of a hidden layer is made from its own state: it needs nothing from below. */
static void errors_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    lm_rule_predicted_error(inference, layer, c, scratch, false);
}

static void values_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    lm_rule_relax(lm_rule_relaxation_alone(inference, layer, c), layer, c, scratch);
}

/* The error of the output never changes. With eta = 1 a layer's is the feedback that came last:
 * the same as ever once that over the longest path has come. (In `value`, rounding goes on.) */
static bool settled_deviation(const struct lm_inference *inference, const struct lm_plan *plan,
                              long step) {
    return step > plan->farthest && (plan->n_children == 0 || inference->step == 1);
}

static void errors_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                         const struct lm_scratch *scratch) {
    lm_rule_predicted_error(inference, layer, c, scratch, true);
}

const struct lm_rule lm_fixed_prediction_deviation = {.name = "fixed-prediction",
                                                      .state = "deviation",
                                                      .settled = settled_deviation,
                                                      .relaxation = lm_rule_relaxation_alone,
                                                      .begin = lm_rule_begin_deviation,
                                                      .errors = errors_deviation,
                                                      .values = values_deviation,
                                                      .learn = lm_rule_learn_forward};

const struct lm_rule lm_fixed_prediction_value = {.name = "fixed-prediction",
                                                  .state = "value",
                                                  .begin = lm_rule_begin_value,
                                                  .errors = errors_value,
                                                  .values = lm_rule_relax_value,
                                                  .learn = lm_rule_learn_forward};
