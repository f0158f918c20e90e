/* Flops: the floating-point operations of one training step done in the plain way, which
 * `lamina bench` divides by the machine's peak to get the least time a step can take so.
 *
 * What is counted: the multiplications and additions of operators with parameters (conv2d,
 * linear), two per weight and place where it is used; taps of a convolution that fall on
 * padding are none. Many convolutions are done with fewer (operators/winograd.h,
 * winograd1d.h), but count like others, so that a step with such may take less time than its
 * floor. Pooling, activation functions, errors, the loss and the optimizer are left out. Each
 * map counts
 *   forward    once, all layers
 *   predict    strict: at each step at which a value below has moved. A layer at distance d
 *              from the output (network.h) moves at the end of step d - 1 (from 0) for the
 *              first time, so a map above it changes its prediction from step d on
 *   feedback   J^T eps for the layers below, at each step at which eps has changed. Under
 *              strict predictive coding that is from step d on; under fixed prediction too,
 *              but with eta = 1 only at steps s such that some path to the output has s
 *              edges, and for the output layer only at step 0. Feedback of the last step is
 *              left out when nothing reads it: it moves values, which only
 *              `presynaptic: value` under strict predictive coding learns from
 *   learn      the gradient of the weights; what of J^T eps within a map it needs, if that
 *              was not counted before; under `presynaptic: value` the map at the moved values
 * and backprop: forward, one feedback, learn. Layers on the input alone have a
 * prediction that never changes and nobody below to send feedback to.
 *
 * So a chain under fixed prediction with eta = 1 and as many steps as layers counts what it
 * counts under backprop. */
#ifndef LAMINA_FLOPS_H
#define LAMINA_FLOPS_H

#include "rule.h"

/* Operations per input of a batch. */
struct lm_flops {
    double forward, predict, feedback, learn;
};

/* One training step with n steps of inference of step size eta (neither counts for backprop);
 * `presynaptic_value` as in struct lm_inference. */
struct lm_flops lm_flops_training(const struct lm_network *network, const struct lm_rule *rule,
                                  double eta, long n, bool presynaptic_value);

/* The same of each layer, flops (layers). */
void lm_flops_of_layers(const struct lm_network *network, const struct lm_rule *rule,
                        double eta, long n, bool presynaptic_value, struct lm_flops flops[]);

/* How many times eps of an input is pulled back through a layer whole. */
double lm_flops_pulls(const struct lm_flops *flops);

/* The sum of the parts. */
double lm_flops_sum(const struct lm_flops *flops);

#endif
