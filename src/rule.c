#include "rule.h"

#include "rules/rules.h"

#include <string.h>

static const struct lm_rule *const rules[] = {
    &lm_backprop_deviation,
    &lm_backprop_value,
    &lm_strict_deviation,
    &lm_strict_value,
    &lm_fixed_prediction_deviation,
    &lm_fixed_prediction_value,
    NULL,
};

const struct lm_rule *const *lm_rules(void) {
    return rules;
}

const struct lm_rule *lm_rule_find(const char *name, const char *state) {
    for (int i = 0; rules[i]; i++)
        if (strcmp(rules[i]->name, name) == 0 && strcmp(rules[i]->state, state) == 0)
            return rules[i];
    return NULL;
}

const real *lm_rule_feedback(const struct lm_layer *layer, int c,
                             const struct lm_scratch *scratch) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    size_t n = layer->plan->units * chunk->width;
    if (layer->plan->n_children == 1)
        return chunk->child_feedback[0];
    lm_sum(n, chunk->child_feedback[0], chunk->child_feedback[1], scratch->sum);
    for (int k = 2; k < layer->plan->n_children; k++)
        lm_add(n, chunk->child_feedback[k], scratch->sum);
    return scratch->sum;
}

void lm_rule_relax(struct lm_relaxation relaxation, const struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch) {
    if (layer->is_output)
        return;
    relaxation.copy = layer->chunks[c].copy;
    relaxation.streams = layer->chunks[c].streams;
    lm_relax(&relaxation, layer->plan->units * layer->chunks[c].width,
             lm_rule_feedback(layer, c, scratch));
    layer->chunks[c].fresh = false;
}

/* The largest layers are those above the input: their error, which nobody else needs, is not
 * read here but made anew, so that it need not go through memory at every step. */
void lm_rule_relax_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                         const struct lm_scratch *scratch) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    if (layer->is_output || !layer->plan->on_input) {
        lm_rule_relax(lm_relaxation_of(inference->step, chunk->error, chunk->value), layer, c,
                      scratch);
        return;
    }
    const real *feedback = lm_rule_feedback(layer, c, scratch);
    size_t n = layer->plan->units * chunk->width;
    for (size_t i = 0; i < n; i++)
        chunk->value[i] +=
            inference->step * ((chunk->forward[i] - chunk->value[i]) - feedback[i]);
    if (chunk->copy)
        memcpy(chunk->copy, chunk->value, n * sizeof *chunk->copy);
}

void lm_rule_output_error(const struct lm_inference *inference, struct lm_layer *layer, int c) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    inference->loss->error(layer->plan->units, chunk->width, chunk->count, chunk->prediction,
                           chunk->label, inference->batch, chunk->own_error);
}

void lm_rule_output_forward_error(const struct lm_inference *inference, struct lm_layer *layer,
                                  int c) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    memcpy(chunk->prediction, chunk->forward,
           layer->plan->units * chunk->width * sizeof *chunk->forward);
    lm_rule_output_error(inference, layer, c);
}

void lm_rule_pull_forward(struct lm_layer *layer, int c, const struct lm_scratch *scratch) {
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    if (!layer->plan->on_input)
        lm_map_pull_input(&run, layer->chunks[c].error, layer->chunks[c].feedback);
}

void lm_rule_predicted_error(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch, bool value) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    const struct lm_operator_error error = {chunk->value, value ? chunk->forward : NULL};
    if (layer->is_output) {
        lm_rule_output_forward_error(inference, layer, c);
        lm_rule_pull_forward(layer, c, scratch);
        return;
    }
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    if (layer->plan->on_input)
        lm_stage_make_error(&error, layer->plan->units * chunk->width, NULL, chunk->own_error);
    else
        lm_map_pull_error(&run, &error, chunk->own_error, chunk->feedback);
}

void lm_rule_learn_forward(const struct lm_inference *inference, struct lm_layer *layer, int c,
                           const struct lm_scratch *scratch, real *gradient) {
    (void)inference;
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    lm_map_pull_parameters(&run, layer->chunks[c].error, gradient);
}

void lm_rule_begin_value(size_t n, const real *forward, real *value) {
    memcpy(value, forward, n * sizeof *value);
}
