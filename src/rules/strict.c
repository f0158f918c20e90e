/* strict: Algorithm 2 of Rosenbaum (2022). f_l and its Jacobian at the current values:
 * eps_l = f_l(v_{l-1}) - v_l, v_l += eta (eps_l - sum J^T eps of children), and the output
 * error is d loss / d mu_L at mu_L = f_L(v_{L-1}). The parameter update takes eps of the last
 * step and the values below after it. */
#include "rules.h"

#include <string.h>

/* Whether the values below are at hat v: mu is hat v too, and J is that of the feedforward
 * pass. */
static bool is_predicted(const struct lm_layer *layer, int c) {
    return layer->plan->on_input || layer->chunks[c].still;
}

/* Above the input mu is always hat v. The largest layers are there: that their error is not
 * read spares it the way through memory at every step. */
static struct lm_relaxation relaxation_deviation(const struct lm_inference *inference,
                                                 const struct lm_layer *layer, int c) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    const real *error = layer->plan->on_input ? NULL : chunk->error;
    struct lm_relaxation relaxation = lm_relaxation_of(inference->step, error, chunk->value);
    relaxation.fresh = chunk->fresh;
    return relaxation;
}

static void values_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    lm_rule_relax(relaxation_deviation(inference, layer, c), layer, c, scratch);
}

/* eps of the output layer and its feedback: mu = hat v + (f(v) - f(hat v)). */
static void output_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    const struct lm_map *map = &layer->plan->map;
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    lm_map_difference(&run, chunk->parent_value, scratch->activations, scratch->tape);
    lm_sum(layer->plan->units * chunk->width, chunk->forward,
           lm_map_output(map, scratch->activations, chunk->width), chunk->prediction);
    lm_rule_output_error(inference, layer, c);
    run.tape = scratch->tape;
    run.moved = true;
    lm_map_pull_input(&run, chunk->error, chunk->feedback);
}

static void errors_deviation(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    const struct lm_operator_error error = {.value = chunk->value};
    if (is_predicted(layer, c))
        lm_rule_predicted_error(inference, layer, c, scratch, false);
    else if (layer->is_output)
        output_deviation(inference, layer, c, scratch);
    else
        lm_map_infer(&run, chunk->parent_value, &error, scratch->activations, scratch->tape,
                     chunk->own_error, chunk->feedback);
}

/* The current values below: v of a parent, the input where it is clamped. */
static void current_values(const struct lm_layer *layer, const struct lm_layer_chunk *chunk,
                           const real *x[]) {
    for (int k = 0; k < layer->plan->n_parents; k++)
        x[k] = chunk->parent_value[k] ? chunk->parent_value[k] : chunk->parent_forward[k];
}

/* The map at the values x below, its activations and tape in the scratch. */
static struct lm_map_run run_at(const struct lm_layer *layer, int c, const real *const x[],
                                const struct lm_scratch *scratch) {
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    run.x = x;
    run.activations = scratch->activations;
    run.inner = false;
    run.tape = scratch->tape;
    return run;
}

static void errors_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                         const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    const struct lm_operator_error error = {.value = chunk->value};
    const real *x[LM_MAX_PARENTS];
    current_values(layer, chunk, x);
    struct lm_map_run run = run_at(layer, c, x, scratch);
    if (is_predicted(layer, c)) {
        lm_rule_predicted_error(inference, layer, c, scratch, true);
    } else if (layer->is_output) {
        lm_map_forward(&run);
        memcpy(chunk->prediction, lm_map_output(run.map, run.activations, run.width),
               layer->plan->units * chunk->width * sizeof *chunk->prediction);
        lm_rule_output_error(inference, layer, c);
        lm_map_pull_input(&run, chunk->error, chunk->feedback);
    } else {
        lm_map_infer(&run, NULL, &error, scratch->activations, scratch->tape, chunk->own_error,
                     chunk->feedback);
    }
}

/* d theta with the map at the values x below. */
static void learn_at(struct lm_layer *layer, int c, const real *const x[],
                     const struct lm_scratch *scratch, real *gradient) {
    struct lm_map_run run = run_at(layer, c, x, scratch);
    lm_map_forward(&run);
    lm_map_pull_parameters(&run, layer->chunks[c].error, gradient);
}

static void learn_deviation(const struct lm_inference *inference, struct lm_layer *layer, int c,
                            const struct lm_scratch *scratch, real *gradient) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    if (layer->plan->on_input || !inference->presynaptic_value) {
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
    learn_at(layer, c, x, scratch, gradient);
}

static void learn_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                        const struct lm_scratch *scratch, real *gradient) {
    if (layer->plan->on_input || !inference->presynaptic_value) {
        lm_rule_learn_forward(inference, layer, c, scratch, gradient);
        return;
    }
    const real *x[LM_MAX_PARENTS];
    current_values(layer, &layer->chunks[c], x);
    learn_at(layer, c, x, scratch, gradient);
}

const struct lm_rule lm_strict_deviation = {.name = "strict",
                                            .state = "deviation",
                                            .values_travel = true,
                                            .relaxation = relaxation_deviation,
                                            .errors = errors_deviation,
                                            .values = values_deviation,
                                            .learn = learn_deviation};

const struct lm_rule lm_strict_value = {.name = "strict",
                                        .state = "value",
                                        .values_travel = true,
                                        .begin = lm_rule_begin_value,
                                        .errors = errors_value,
                                        .values = lm_rule_relax_value,
                                        .learn = learn_value};
