/* Multiplication of weights with the values or errors of a few inputs side by side, by which
 * linear and large convolutions make their outputs and pull back, and linear learns. Internal
 * to the operators.
 *
 * Sums are kept in registers, tiles of units x vectors of inputs (vector.h).
 * The weights are read where they are, but for such as would meet in the same lines of a cache.
 * x of more inputs than the widest tile has is copied, and y that does not stay in the L2 cache
 * is made some units at a time; neither changes a bit.
 * Weights that are made for many multiplications had better be made in packed order. */
#ifndef LAMINA_MULTIPLY_H
#define LAMINA_MULTIPLY_H

#include "../relaxation.h"

enum {
    LM_BLOCK = 192, /* inputs that are summed over in one go: their x stay in the L1 cache */
    LM_PACK = 6,    /* units whose weights lie side by side in packed order */
};

/* Packed order is that in which tiles read weights (outs, ins): of LM_PACK units, or the fewer
 * that are left at the end, those of the first input side by side, then those of the next one;
 * then likewise of the next units. */

/* y (outs, width) = bias + weights * x (ins, width); element (o, i) of the weights is at
 * weight[o * out_step + i * in_step], or where it is in packed order. The width is a multiple
 * of LM_LANE. */
struct lm_multiplication {
    ptrdiff_t outs, ins, width;
    const real *weight, *bias; /* bias NULL: zero */
    bool adds;                 /* to what y holds; no bias then */
    ptrdiff_t out_step, in_step;
    bool packed; /* the weights are in packed order, and have no steps */
    const real *x;
    real *y;
    ptrdiff_t x_step, y_step;               /* from one unit of x, or y, to the next */
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
