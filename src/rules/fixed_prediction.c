/* fixed-prediction: Algorithm 3 of Rosenbaum (2022). Predictions and Jacobians stay at the
 * feedforward values: eps_l = hat v_l - v_l, v_l += eta (eps_l - sum J^T eps of children),
 * with the output error fixed at d loss / d hat v_L. Without the values, so that nothing
 * cancels: the state is eps <- (1 - eta) eps + eta sum J^T eps. */
#include "rules.h"

#include <string.h>

/* eps where it is, unless it moves before it is read. */
static void take_error(const struct lm_layer *layer, struct lm_layer_chunk *chunk) {
    chunk->error = chunk->value;
    if (chunk->stays)
        return;
    memcpy(chunk->own_error, chunk->value,
           layer->plan->units * chunk->width * sizeof *chunk->value);
    chunk->error = chunk->own_error;
}

/* eps of a hidden layer is its own state: it needs nothing from below. */
static void errors_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    if (layer->is_output)
        lm_rule_output_forward_error(inference, layer, c);
    else
        take_error(layer, &layer->chunks[c]);
    lm_rule_pull_forward(layer, c, scratch);
}

static struct lm_relaxation relaxation_deviation(const struct lm_inference *inference,
                                                 const struct lm_layer *layer, int c) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    return (struct lm_relaxation){.keep = 1 - inference->step,
                                  .step = -inference->step,
                                  .value = chunk->value,
                                  .fresh = chunk->fresh};
}

static void values_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    lm_rule_relax(relaxation_deviation(inference, layer, c), layer, c, scratch);
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
                                                      .relaxation = relaxation_deviation,
                                                      .errors = errors_deviation,
                                                      .values = values_deviation,
                                                      .learn = lm_rule_learn_forward};

const struct lm_rule lm_fixed_prediction_value = {.name = "fixed-prediction",
                                                  .state = "value",
                                                  .begin = lm_rule_begin_value,
                                                  .errors = errors_value,
                                                  .values = lm_rule_relax_value,
                                                  .learn = lm_rule_learn_forward};
