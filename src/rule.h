/* Rule: how errors and values evolve while a batch is inferred, and what is learned
 * from them. One rule is one row of functions on one layer and one chunk; the cortex
 * (mpi/cortex.h) calls them in the right order and carries what they exchange:
 *
 *   infer, n times for all layers at once (Jacobi):
 *     errors   eps from the values below; feedback J^T eps for each parent  (sent down)
 *     values   the state from the feedback of the children                  (sent up)
 *   learn      d theta from eps and the values below
 *
 * or, for a rule that `sweeps`, values then errors once per layer from the output down.
 *
 * Algorithms 1, 2 and 3 of Rosenbaum, "On the relationship between predictive coding and
 * backpropagation", PLoS ONE 17(3), 2022. Each layer sees its own state, its parents'
 * values and its children's feedback, nothing else. */
#ifndef LAMINA_RULE_H
#define LAMINA_RULE_H

#include "layer.h"
#include "loss.h"

/* What the functions need beside the layer. */
struct lm_inference {
    const struct lm_loss *loss;
    double batch;           /* the loss is a mean over this many inputs */
    real step;              /* eta, dimensionless */
    bool presynaptic_value; /* learn from the values below, else from their hat v */
};

struct lm_rule {
    const char *name, *state; /* as in settings: inference.rule, inference.state */
    bool sweeps;              /* one downward sweep instead of n steps */
    bool values_travel;       /* children need the values anew at every step */

    /* Whether the layer's eps at a step > 0 is sure to be, bit by bit, that of the step before;
     * NULL: never. Its errors need not be called then, nor its values in the step before. */
    bool (*settled)(const struct lm_inference *inference, const struct lm_plan *plan,
                    long step);
    /* The relaxation (relaxation.h) that `values` of a hidden layer is; NULL: it is none. An
     * only child may be asked to do it as it makes its feedback (layer.h). */
    struct lm_relaxation (*relaxation)(const struct lm_inference *inference,
                                       const struct lm_layer *layer, int c);
    /* The state at the start of inference, before it moves in the first step: value[n] from
     * hat v[n]. NULL: it is 0, and need not be written before it moves for the first time,
     * unless others read it before (chunk->fresh). */
    void (*begin)(size_t n, const real *forward, real *value);
    /* chunk->error (eps) and every chunk->feedback[k] (J^T eps, what operator.h calls the error
     * pulled back) that is not NULL from chunk->parent_value, chunk->parent_forward and the
     * layer's own state; the output layer's chunk->prediction too. Of a rule that `sweeps` only
     * the output layer's error: `values` makes the others. Of a layer at distance d from the
     * output called from step d (counted from 0) on: before, nothing has moved there, so error
     * and feedback are zero. Of a hidden layer on the input called in the last step only: it
     * has no feedback to give. */
    void (*errors)(const struct lm_inference *inference, struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch);
    /* chunk->value from chunk->error (but of a hidden layer on the input from its own state)
     * and chunk->child_feedback. Of a rule that `sweeps`, which has no state, chunk->error of a
     * hidden layer from chunk->child_feedback. */
    void (*values)(const struct lm_inference *inference, struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch);
    /* gradient = d theta of chunk c (descent: the optimizer subtracts), packed as
     * layer->parameters. */
    void (*learn)(const struct lm_inference *inference, struct lm_layer *layer, int c,
                  const struct lm_scratch *scratch, real *gradient);
};

/* The rules there are, ended by NULL; and the one of a name and a state ("deviation" or
 * "value"), NULL if none. */
const struct lm_rule *const *lm_rules(void);
const struct lm_rule *lm_rule_find(const char *name, const char *state);

/* --- for the files of src/rules/ --- */

/* The sum of the children's feedback (units, width), in the order of the children. */
const real *lm_rule_feedback(const struct lm_layer *layer, int c,
                             const struct lm_scratch *scratch);

/* values by a relaxation of theirs. The output has none that are free: nothing is done. */
void lm_rule_relax(struct lm_relaxation relaxation, const struct lm_layer *layer, int c,
                   const struct lm_scratch *scratch);

/* values of a hidden layer that are kept as such: v += eta (eps - sum of the children's
 * feedback). eps of a layer on the input is made from its own state: chunk->error is not read.
 */
void lm_rule_relax_value(const struct lm_inference *inference, struct lm_layer *layer, int c,
                         const struct lm_scratch *scratch);

/* eps of the output layer at chunk->prediction. */
void lm_rule_output_error(const struct lm_inference *inference, struct lm_layer *layer, int c);

/* The same with the prediction of the feedforward pass. */
void lm_rule_output_forward_error(const struct lm_inference *inference, struct lm_layer *layer,
                                  int c);

/* eps of a layer whose prediction is hat v, minus its deviation or, if it keeps the `value`,
 * hat v - v; of the output layer lm_rule_output_forward_error. And the feedback to the parents
 * with the tape at hat v. */
void lm_rule_predicted_error(const struct lm_inference *inference, struct lm_layer *layer,
                             int c, const struct lm_scratch *scratch, bool value);

/* Feedback to the parents from eps and the tape at hat v. */
void lm_rule_pull_forward(struct lm_layer *layer, int c, const struct lm_scratch *scratch);

/* learn at hat v: what backprop and fixed prediction do. */
void lm_rule_learn_forward(const struct lm_inference *inference, struct lm_layer *layer, int c,
                           const struct lm_scratch *scratch, real *gradient);

#endif
