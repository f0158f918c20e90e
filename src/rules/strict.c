/* strict: Algorithm 2 of Rosenbaum (2022). f_l and its Jacobian at the current values:
 * eps_l = f_l(v_{l-1}) - v_l, v_l += eta (eps_l - sum J^T eps of children), and the output
 * error is d loss / d mu_L at mu_L = f_L(v_{L-1}). The parameter update takes eps of the last
 * step and the values below after it. */
#include "rules.h"

#include <string.h>

/* Feedback from eps and the tape of the current values. */
static void pull_current(struct lm_layer *layer, struct lm_layer_chunk *chunk,
                         const struct lm_scratch *scratch) {
    if (!layer->plan->clamped)
        lm_map_pull_input(&layer->plan->map, layer->parameters, scratch->tape, chunk->error,
                          chunk->width, chunk->feedback, scratch->pull);
}

/* f(v) - f(hat v), NULL where nothing below moves. */
static const real *prediction_change(const struct lm_layer *layer,
                                     const struct lm_layer_chunk *chunk,
                                     const struct lm_scratch *scratch) {
    const struct lm_map *map = &layer->plan->map;
    if (layer->plan->clamped)
        return NULL;
    lm_map_difference(map, layer->parameters, chunk->parent_forward, chunk->activations,
                      chunk->parent_value, chunk->width, scratch->activations, scratch->tape);
    return lm_map_output(map, scratch->activations, chunk->width);
}

/* mu = hat v + (f(v) - f(hat v)), and eps = (f(v) - f(hat v)) - u. */
static void errors_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    const real *change = prediction_change(layer, chunk, scratch);
    size_t n = layer->plan->units * chunk->width;
    if (layer->is_output && !change) {
        lm_rule_output_forward_error(inference, layer, c);
    } else if (layer->is_output) {
        lm_sum(n, chunk->forward, change, chunk->prediction);
        lm_rule_output_error(inference, layer, c);
    } else {
        for (size_t i = 0; i < n; i++)
            chunk->error[i] = (change ? change[i] : 0) - chunk->value[i];
    }
    pull_current(layer, chunk, scratch);
}

/* The current values below: v of a parent, the input where it is clamped. */
static void current_values(const struct lm_layer *layer, const struct lm_layer_chunk *chunk,
                           const real *x[]) {
    for (int k = 0; k < layer->plan->n_parents; k++)
        x[k] = chunk->parent_value[k] ? chunk->parent_value[k] : chunk->parent_forward[k];
}

static void errors_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                         const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    const struct lm_map *map = &layer->plan->map;
    size_t n = layer->plan->units * chunk->width;
    const real *mu = chunk->forward, *x[LM_MAX_PARENTS];
    if (!layer->plan->clamped) {
        current_values(layer, chunk, x);
        lm_map_forward(map, layer->parameters, x, chunk->width, scratch->activations,
                       scratch->tape);
        mu = lm_map_output(map, scratch->activations, chunk->width);
    }
    if (layer->is_output) {
        memcpy(chunk->prediction, mu, n * sizeof *mu);
        lm_rule_output_error(inference, layer, c);
    } else {
        for (size_t i = 0; i < n; i++)
            chunk->error[i] = mu[i] - chunk->value[i];
    }
    pull_current(layer, chunk, scratch);
}

/* d theta with the map at the values x below. */
static void learn_at(struct lm_layer *layer, struct lm_layer_chunk *chunk,
                     const real *const x[], const struct lm_scratch *scratch, real *gradient) {
    const struct lm_map *map = &layer->plan->map;
    lm_map_forward(map, layer->parameters, x, chunk->width, scratch->activations,
                   scratch->tape);
    lm_map_pull_parameters(map, layer->parameters, x, scratch->activations, scratch->tape,
                           chunk->error, chunk->width, gradient, scratch->pull);
}

static void learn_deviation(const struct lm_inference *inference, struct lm_layer *layer, int c,
                            const struct lm_scratch *scratch, real *gradient) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    if (layer->plan->clamped || !inference->presynaptic_value) {
        lm_rule_learn_forward(inference, layer, c, scratch, gradient);
        return;
    }
    const real *x[LM_MAX_PARENTS];
    real *sum = scratch->inputs;
    for (int k = 0; k < layer->plan->n_parents; k++) {
        x[k] = chunk->parent_forward[k];
        if (!chunk->parent_value[k])
            continue;
        size_t n = lm_shape_units(&layer->plan->map.operators[0].in[k]) * chunk->width;
        lm_sum(n, chunk->parent_forward[k], chunk->parent_value[k], sum);
        x[k] = sum;
        sum += n;
    }
    learn_at(layer, chunk, x, scratch, gradient);
}

static void learn_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                        const struct lm_scratch *scratch, real *gradient) {
    if (layer->plan->clamped || !inference->presynaptic_value) {
        lm_rule_learn_forward(inference, layer, c, scratch, gradient);
        return;
    }
    const real *x[LM_MAX_PARENTS];
    current_values(layer, &layer->chunks[c], x);
    learn_at(layer, &layer->chunks[c], x, scratch, gradient);
}

const struct lm_rule lm_strict_deviation = {.name = "strict",
                                            .state = "deviation",
                                            .values_travel = true,
                                            .begin = lm_rule_begin_deviation,
                                            .errors = errors_deviation,
                                            .values = lm_rule_relax_deviation,
                                            .learn = learn_deviation};

const struct lm_rule lm_strict_value = {.name = "strict",
                                        .state = "value",
                                        .values_travel = true,
                                        .begin = lm_rule_begin_value,
                                        .errors = errors_value,
                                        .values = lm_rule_relax_value,
                                        .learn = learn_value};
