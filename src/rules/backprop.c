/* backprop: Algorithm 1 of Rosenbaum (2022), the exact errors in one downward sweep,
 * eps_L = d loss / d mu_L, eps_l = J_{l+1}^T eps_{l+1}. No state, so both states are one. */
#include "rules.h"

#include <string.h>

static void errors(const struct lm_inference *inference, struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch) {
    if (layer->is_output)
        lm_rule_output_forward_error(inference, layer, c);
    lm_rule_pull_forward(layer, c, scratch);
}

static void values(const struct lm_inference *inference, struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch) {
    (void)inference;
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    chunk->error = chunk->own_error;
    if (layer->plan->n_children == 1)
        chunk->error = chunk->child_feedback[0];
    else if (!layer->is_output)
        memcpy(chunk->own_error, lm_rule_feedback(layer, c, scratch),
               layer->plan->units * chunk->width * sizeof *chunk->own_error);
}

#define ROW(VARIABLE, STATE)                                                                   \
    const struct lm_rule VARIABLE = {.name = "backprop",                                       \
                                     .state = STATE,                                           \
                                     .sweeps = true,                                           \
                                     .errors = errors,                                         \
                                     .values = values,                                         \
                                     .learn = lm_rule_learn_forward}

ROW(lm_backprop_deviation, "deviation");
ROW(lm_backprop_value, "value");
