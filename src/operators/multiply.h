/* Multiplication of weights with the values or errors of a few inputs side by side, by which
 * linear and large convolutions make their outputs and pull back, and linear learns. Internal
 * to the operators.
 *
 * Sums are kept in registers, tiles of units x vectors of inputs (vector.h).
 * The weights are read where they are, but for such as would meet in the same lines of a cache.
 */
#ifndef LAMINA_MULTIPLY_H
#define LAMINA_MULTIPLY_H

#include "../relaxation.h"

/* Inputs that are summed over in one go: their x stay in the L1 cache. */
enum { LM_BLOCK = 192 };

/* y (outs, width) = bias + weights * x (ins, width); element (o, i) of the weights is at
 * weight[o * out_step + i * in_step]. The width is a multiple of LM_LANE. */
struct lm_multiplication {
    ptrdiff_t outs, ins, width;
    const real *weight, *bias; /* bias NULL: zero */
    bool adds;                 /* to what y holds; no bias then */
    ptrdiff_t out_step, in_step;
    const real *x;
    real *y;
    ptrdiff_t y_step;                       /* from one unit of y to the next */
    const struct lm_relaxation *relaxation; /* NULL; or y is not written, but its values relax;
                                               no bias then, and ins is LM_BLOCK at most */
};

/* Write y. Thread-safe. */
void lm_multiply(const struct lm_multiplication *multiplication);

/* What such weights are learned from: x (ins, width), and the errors (outs, width) of y. */
struct lm_multiplied {
    ptrdiff_t outs, ins, width;
    const real *x, *error;
};

/* gradient (outs, ins), without gaps, = errors times x transposed, or `adds` that to what is
 * there. Thread-safe. */
void lm_multiply_gradient(const struct lm_multiplied *multiplied, bool adds, real *gradient);

#endif
